//! Scales of features and rows, constants added, dropout alone.

use crate::support::{check, normal};
use candle_core::{DType, Tensor, Var};
use temper_nn::ops::{Dropout, add_bias, add_constant, dropout, reference, scale_features, scale_rows};

#[test]
fn scales_give_the_gradients_of_their_references() {
    for dims in [vec![1, 1], vec![5, 3], vec![2, 19, 33], vec![70, 40]] {
        let (x, features) = (normal("x", &dims), normal("f", &dims[dims.len() - 1..]));
        let inputs = [x.clone(), features];
        check(|x| scale_features(&x[0], &x[1]), |x| reference::diagonal(&x[0], &x[1], false), &inputs);
        if dims.len() == 2 {
            // Turned inputs of more dimensions would scale another one.
            let inputs = [x, normal("r", &dims[..1])];
            check(|x| scale_rows(&x[0], &x[1]), |x| reference::diagonal(&x[0], &x[1], true), &inputs);
        }
    }
    let (x, short) = (normal("x", &[4, 3]), normal("s", &[2]));
    assert!(scale_features(&x, &short).is_err() && scale_rows(&x, &short).is_err() && add_bias(&x, &short).is_err());
}

#[test]
fn what_is_constant_gets_no_gradient() {
    let (x, c) = (Var::from_tensor(&normal("x", &[4, 3])).unwrap(), normal("c", &[4, 3]));
    let (row, column) = (normal("row", &[3]), normal("column", &[4]));
    let y = add_bias(&scale_rows(&scale_features(x.as_tensor(), &row).unwrap(), &column).unwrap(), &row).unwrap();
    let y = add_constant(&y, &c, 2.0).unwrap();
    let store = y.sum_all().unwrap().backward().unwrap();
    assert!(store.get(x.as_tensor()).is_some());
    assert_eq!(store.get_ids().count(), 1, "only the variable keeps a gradient");
    let scale = Var::from_tensor(&row).unwrap();
    let store = scale_features(&c, scale.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(store.get_ids().count(), 1);
    assert!(store.get(scale.as_tensor()).is_some());
}

#[test]
fn constants_and_biases_are_added_and_pass_the_gradient_on() {
    let (c, bias) = (normal("c", &[2, 5, 3]), normal("b", &[3]));
    let wide = |x: &Tensor, like: &Tensor| x.to_dtype(like.dtype()).unwrap();
    let x = [normal("x", &[2, 5, 3])];
    let turned = |c: &Tensor, x: &Tensor| if x.dims()[0] == 2 { c.clone() } else { c.transpose(0, 1).unwrap() };
    let expected = |x: &[Tensor]| Ok((&x[0] + (wide(&turned(&c, &x[0]), &x[0]) * -0.5)?)?);
    check(|x| add_constant(&x[0], &turned(&c, &x[0]), -0.5), expected, &x);
    check(|x| add_bias(&x[0], &bias), |x| Ok(x[0].broadcast_add(&wide(&bias, &x[0]))?), &x);
    let inputs = [x[0].clone(), bias];
    check(|x| add_bias(&x[0], &x[1]), |x| Ok(x[0].broadcast_add(&x[1])?), &inputs);
}

#[test]
fn dropout_alone_is_the_mask_of_the_low_rank_term() {
    let drop = Dropout { p: 0.4, key: 77, rows: [3, 9].into(), width: 5 };
    let x = [normal("x", &[2, 5, 40])];
    let expected = |x: &[Tensor]| Ok((&x[0] * reference::dropout_mask(&drop, &x[0])?)?);
    let same = |x: &[Tensor]| dropout(&x[0], &drop);
    temper_nn::gradcheck::compare_with_reference(same, expected, &x, 1e-6).unwrap();
    let y = dropout(&x[0], &drop).unwrap();
    let zeros = y.eq(0f32).unwrap().to_dtype(DType::F32).unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!((zeros - 0.4).abs() < 0.1, "{zeros} of the features are dropped");
    assert!(dropout(&normal("x", &[3, 5, 40]), &drop).is_err(), "three rows where the mask knows two");
}
