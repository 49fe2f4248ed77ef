//! Convolution, pooling and batch normalisation of feature maps.

use crate::support::{CLOSE, check, normal, values};
use candle_core::{DType, Device, Tensor, Var};
use temper_nn::gradcheck::{GradCheck, check_gradients, compare_with_reference};
use temper_nn::ops::{
    ChannelStatistics, Slide, avg_pool2d, batch_norm, batch_norm_frozen, conv2d, global_avg_pool, max_pool2d,
    reference, seed_gradient,
};
use temper_nn::rng::Stream;

fn slide(stride: (usize, usize), padding: (usize, usize)) -> Slide {
    Slide { stride, padding }
}

/// Input and kernels, stride, padding and groups.
type Shape = ([usize; 4], [usize; 4], Slide, usize);

fn shapes() -> Vec<Shape> {
    vec![
        ([2, 3, 7, 6], [4, 3, 3, 3], Slide::even(1, 1), 1),
        ([2, 3, 9, 8], [5, 3, 3, 2], slide((2, 3), (1, 0)), 1),
        ([3, 5, 4, 5], [6, 5, 1, 1], Slide::even(1, 0), 1),
        ([1, 6, 5, 5], [4, 3, 3, 3], Slide::even(2, 1), 2),
        ([2, 4, 6, 5], [4, 1, 3, 3], Slide::even(1, 1), 4),
        ([2, 3, 7, 8], [6, 1, 3, 2], slide((2, 2), (0, 1)), 3),
        // One channel in, as a stem over grey images; a kernel as large as the map.
        ([2, 1, 8, 8], [3, 1, 4, 4], Slide::even(4, 0), 1),
        ([2, 2, 3, 4], [5, 2, 3, 4], Slide::even(1, 0), 1),
    ]
}

#[test]
fn convolutions_give_the_gradients_of_their_reference() {
    for (x, weight, slide, groups) in shapes() {
        let inputs = [normal("x", &x), normal("w", &weight), normal("b", &weight[..1])];
        let f = |x: &[Tensor]| conv2d(&x[0], &x[1], Some(&x[2]), slide, groups);
        let expected = |x: &[Tensor]| reference::conv2d(&x[0], &x[1], Some(&x[2]), slide, groups);
        check(f, expected, &inputs);
        let expected = |x: &[Tensor]| reference::conv2d(&x[0], &x[1], None, slide, groups);
        check(|x| conv2d(&x[0], &x[1], None, slide, groups), expected, &inputs[..2]);
    }
}

#[test]
fn a_frozen_kernel_gets_no_gradient_and_its_bias_is_added() {
    let (weight, bias) = (normal("w", &[4, 3, 3, 3]), normal("b", &[4]));
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    let slide = Slide::even(1, 1);
    let f = |x: &[Tensor]| conv2d(&x[0], &weight, Some(&bias), slide, 1);
    let expected = |x: &[Tensor]| reference::conv2d(&x[0], &wide(&weight), Some(&wide(&bias)), slide, 1);
    compare_with_reference(f, expected, &[normal("x", &[2, 3, 5, 5])], CLOSE).unwrap();
    let x = Var::from_tensor(&normal("x", &[2, 3, 5, 5])).unwrap();
    let store = f(&[x.as_tensor().clone()]).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(store.get(x.as_tensor()).is_some() && store.get(&weight).is_none() && store.get(&bias).is_none());
    assert!(!conv2d(&normal("x", &[1, 3, 4, 4]), &weight, None, slide, 1).unwrap().track_op());
}

#[test]
fn maps_of_many_blocks_agree_with_the_whole() {
    // Several blocks of output rows, several pieces of channels, neither a multiple of its size.
    let (x, weight) = (normal("x", &[1, 9, 90, 130]), normal("w", &[3, 9, 5, 5]));
    let slide = Slide::even(1, 2);
    let f = |x: &[Tensor]| conv2d(&x[0], &x[1], None, slide, 1);
    let expected = |x: &[Tensor]| reference::conv2d(&x[0], &x[1], None, slide, 1);
    compare_with_reference(f, expected, &[x, weight], CLOSE).unwrap();
}

#[test]
fn convolutions_are_those_of_candle() {
    let (x, weight) = (normal("x", &[2, 4, 9, 9]), normal("w", &[6, 2, 3, 3]));
    let ours = conv2d(&x, &weight, None, Slide::even(2, 1), 2).unwrap();
    let candle = x.conv2d(&weight, 1, 2, 1, 2).unwrap();
    assert_eq!(ours.dims(), candle.dims());
    let difference = (ours - candle).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(difference < 1e-5, "{difference}");
}

/// All different, at least 0.01 apart, within -1 and 1: no difference of the check moves one past another.
fn apart(dims: &[usize]) -> Tensor {
    let n = dims.iter().product::<usize>();
    assert!(n <= 200);
    let mut places = (0..n).collect::<Vec<_>>();
    Stream::new(9, "apart").shuffle(&mut places);
    let values = places.into_iter().map(|place| place as f32 * 0.01 - 1.0).collect::<Vec<_>>();
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

#[test]
fn pools_give_the_gradients_of_their_references() {
    for (dims, kernel, slide) in [
        ([2, 2, 6, 8], (2, 2), Slide::even(2, 0)),
        ([1, 3, 7, 9], (3, 2), slide((2, 1), (1, 1))),
        ([2, 1, 5, 6], (3, 3), Slide::even(1, 2)),
        ([1, 2, 4, 5], (4, 5), Slide::even(1, 0)),
        // Side by side, two wide and three wide, with rests at the right and below.
        ([1, 2, 7, 9], (3, 2), slide((3, 2), (0, 0))),
        ([1, 2, 7, 10], (2, 3), slide((2, 3), (0, 0))),
    ] {
        let x = normal("x", &dims);
        let expected = |x: &[Tensor]| reference::avg_pool2d(&x[0], kernel, slide);
        check(|x| avg_pool2d(&x[0], kernel, slide), expected, std::slice::from_ref(&x));
        check(|x| global_avg_pool(&x[0]), |x| reference::global_avg_pool(&x[0]), &[x]);
        let x = [apart(&dims)];
        let f = |x: &[Tensor]| max_pool2d(&x[0], kernel, slide);
        compare_with_reference(f, |x| reference::max_pool2d(&x[0], kernel, slide), &x, CLOSE).unwrap();
        check_gradients(f, &x, &GradCheck { width: 2e-3, ..GradCheck::f32() }).unwrap();
        let turned = |x: &[Tensor]| max_pool2d(&x[0].transpose(0, 1)?, kernel, slide);
        let expected = |x: &[Tensor]| reference::max_pool2d(&x[0].transpose(0, 1)?, kernel, slide);
        let x = [x[0].transpose(0, 1).unwrap().contiguous().unwrap()];
        compare_with_reference(turned, expected, &x, CLOSE).unwrap();
    }
}

#[test]
fn the_first_of_equal_values_wins_and_a_nan_stays() {
    let x = Var::new(&[[[[1f32, 1.0, -3.0, 0.0], [1.0, 0.0, -2.0, f32::NAN]]]], &Device::Cpu).unwrap();
    let y = max_pool2d(x.as_tensor(), (2, 2), Slide::even(2, 0)).unwrap();
    let found = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(found[0] == 1.0 && found[1].is_nan(), "{found:?}");
    let gradient = y.sum_all().unwrap().backward().unwrap().get(x.as_tensor()).unwrap().flatten_all().unwrap();
    assert_eq!(gradient.to_vec1::<f32>().unwrap(), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn batch_norm_gives_the_gradients_of_its_reference() {
    for dims in [vec![6, 3], vec![2, 4, 3, 5], vec![3, 2, 20, 30], vec![1, 3, 700]] {
        let (weight, bias) = (normal("w", &[dims[1]]), normal("b", &[dims[1]]));
        let inputs = [normal("x", &dims), weight, bias];
        let f = |x: &[Tensor]| Ok(batch_norm(&x[0], &x[1], &x[2], 1e-5)?.0);
        check(f, |x| reference::batch_norm(&x[0], &x[1], &x[2], 1e-5), &inputs);
        let statistics = ChannelStatistics {
            mean: values("mean", dims[1], 1.0),
            variance: values("variance", dims[1], 1.0).iter().map(|x| x * x + 0.1).collect(),
        };
        let f = |x: &[Tensor]| batch_norm_frozen(&x[0], &x[1], &x[2], &statistics, 1e-5);
        check(f, |x| reference::batch_norm_frozen(&x[0], &x[1], &x[2], &statistics, 1e-5), &inputs);
    }
}

#[test]
fn statistics_of_a_batch_keep_their_digits_and_are_followed_as_pytorch_does() {
    let x = normal("x", &[8, 2, 30, 30]).affine(2.0, 500.0).unwrap();
    let ones = Tensor::ones(2, DType::F32, &Device::Cpu).unwrap();
    let (y, batch) = batch_norm(&x, &ones, &ones.zeros_like().unwrap(), 1e-5).unwrap();
    let y = y.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let n = y.len() as f64;
    assert!((y.iter().map(|y| f64::from(*y)).sum::<f64>() / n).abs() < 1e-3);
    assert!((y.iter().map(|y| f64::from(*y).powi(2)).sum::<f64>() / n - 1.0).abs() < 1e-3);
    let wide = x.to_dtype(DType::F64).unwrap().transpose(0, 1).unwrap().flatten_from(1).unwrap();
    for (channel, values) in wide.to_vec2::<f64>().unwrap().iter().enumerate() {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((f64::from(batch.mean[channel]) - mean).abs() < 1e-3);
        assert!((f64::from(batch.variance[channel]) / variance - 1.0).abs() < 1e-4);
    }
    let mut running = ChannelStatistics::fresh(1);
    running.follow(&ChannelStatistics { mean: vec![3.0], variance: vec![2.0] }, 5, 0.1);
    // 0.9 · 0 + 0.1 · 3 and 0.9 · 1 + 0.1 · 2 · 5/4.
    assert_eq!(running, ChannelStatistics { mean: vec![0.3], variance: vec![1.15] });
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut bits = Vec::new();
            for (weight, groups) in [([6, 12, 3, 3], 1), ([12, 1, 3, 3], 12), ([6, 4, 3, 3], 3)] {
                let x = Var::from_tensor(&normal("x", &[3, 12, 17, 19])).unwrap();
                let weight = Var::from_tensor(&normal("w", &weight)).unwrap();
                let y = conv2d(x.as_tensor(), weight.as_tensor(), None, Slide::even(1, 1), groups).unwrap();
                let ones = Tensor::ones(y.dim(1).unwrap(), DType::F32, &Device::Cpu).unwrap();
                let y = batch_norm(&y, &ones, &ones, 1e-5).unwrap().0;
                let y = max_pool2d(&y, (3, 3), Slide::even(2, 1)).unwrap();
                let store = seed_gradient(&y, &normal("g", y.dims())).unwrap().backward().unwrap();
                let gradients = [&x, &weight].map(|var| store.get(var.as_tensor()).unwrap().clone());
                for tensor in gradients.into_iter().chain([y.detach()]) {
                    bits.extend(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits));
                }
            }
            bits
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(5) == one);
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = normal("x", &[2, 4, 6, 6]);
    let even = Slide::even(1, 0);
    assert!(conv2d(&x, &normal("w", &[3, 3, 3, 3]), None, even, 1).is_err(), "three channels of four");
    assert!(conv2d(&x, &normal("w", &[3, 2, 3, 3]), None, even, 2).is_err(), "three outputs in two groups");
    assert!(conv2d(&x, &normal("w", &[3, 4, 3, 3]), None, even, 0).is_err());
    assert!(conv2d(&x, &normal("w", &[3, 4, 7, 3]), None, even, 1).is_err(), "a kernel larger than the map");
    assert!(conv2d(&x, &normal("w", &[3, 4, 3, 3]), None, Slide::even(0, 0), 1).is_err());
    assert!(conv2d(&x, &normal("w", &[3, 4, 3, 3]), Some(&normal("b", &[4])), even, 1).is_err());
    assert!(max_pool2d(&x, (2, 2), Slide::even(1, 2)).is_err(), "a window of nothing but padding");
    assert!(avg_pool2d(&x, (0, 2), even).is_err());
    let (three, four) = (normal("three", &[3]), normal("four", &[4]));
    assert!(batch_norm(&x, &three, &three, 1e-5).is_err());
    assert!(batch_norm(&normal("x", &[1, 4]), &four, &four, 1e-5).is_err(), "one value has no variance");
    assert!(batch_norm_frozen(&x, &four, &four, &ChannelStatistics::fresh(3), 1e-5).is_err());
}
