//! Inputs for the tests.

use candle_core::{Device, Tensor};
use temper_nn::Result;
use temper_nn::gradcheck::{GradCheck, check_gradients, compare_with_reference};
use temper_nn::rng::Stream;

/// Agreement asked of f32 operations and their f64 references.
pub(crate) const CLOSE: f64 = 1e-4;

/// Normal values of this standard deviation.
pub(crate) fn values(name: &str, n: usize, std: f64) -> Vec<f32> {
    let mut values = vec![0f32; n];
    Stream::new(5, name).fill_normal(&mut values, std);
    values
}

/// A tensor of standard normal values.
pub(crate) fn normal(name: &str, dims: &[usize]) -> Tensor {
    Tensor::from_vec(values(name, dims.iter().product(), 1.0), dims, &Device::Cpu).unwrap()
}

/// Checks an operation against its reference, its own differences, and once more with inputs whose values do not
/// lie in order (each is handed in transposed and turned back inside).
pub(crate) fn check(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
) {
    compare_with_reference(&f, &reference, inputs, CLOSE).unwrap();
    check_gradients(&f, inputs, &GradCheck::f32()).unwrap();
    let turned = |x: &Tensor| if x.rank() < 2 { x.clone() } else { x.transpose(0, 1).unwrap() };
    let turn_all = |inputs: &[Tensor]| inputs.iter().map(turned).collect::<Vec<_>>();
    let inputs = turn_all(inputs).iter().map(|x| x.contiguous().unwrap()).collect::<Vec<_>>();
    let strided = |x: &[Tensor]| f(&turn_all(x));
    compare_with_reference(strided, |x| reference(&turn_all(x)), &inputs, CLOSE).unwrap();
}
