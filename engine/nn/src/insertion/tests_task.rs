//! What single tasks have of their own: shared layers, generated layers, changes of single layers; and the net in a block's
//! place.

use super::tests::{DIMS, normal, off, values};
use super::*;
use crate::Param;
use crate::gradcheck::{GradCheck, check_parameters};
use crate::linalg;
use crate::ops::reference;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

/// 8 features in the stream, so that two copies fill them.
const EIGHT: InsertDims = InsertDims { hidden: 8, open: true, protected: 1, ..DIMS };

fn inserted(what: &[Insert]) -> Inserts {
    let (mut inserts, mut shared) = (Inserts::default(), BTreeMap::new());
    for what in what {
        let points = [Point::AttnOut, Point::MlpOut, Point::Block];
        inserts.attach(what, &points, &mut At::new("layers.1", EIGHT, 3, &mut shared)).unwrap();
    }
    inserts
}

fn move_all(inserts: &Inserts) {
    for param in inserts.params() {
        let noise = normal(&param.name, param.var.dims()).affine(0.3, 0.0).unwrap();
        param.var.set(&(param.var.as_tensor() + noise).unwrap()).unwrap();
    }
}

fn branch(share: Share, generated: Option<Generated>) -> Insert {
    let bottleneck = TaskBottleneck {
        adds: Point::MlpOut,
        width: 4,
        activation: Activation::Gelu,
        scale: 0.7,
        bias: generated.is_none(),
        share,
        generated,
    };
    Insert::Branch(Branch { tasks: vec![String::new(), "b".to_owned()], what: Branched::Bottleneck(bottleneck) })
}

fn generated() -> Option<Generated> {
    Some(Generated { task_width: 5, rank: 1, copies: 2 })
}

/// What the vector of task `b` makes of a generator of the first layer.
fn made(inserts: &Inserts, name: &str) -> Vec<f32> {
    let vector = values(named(inserts, "shared.block.task_b.vector").var.as_tensor());
    let map = values(named(inserts, &format!("shared.mlp_out.{name}")).var.as_tensor());
    map.chunks(vector.len()).map(|row| row.iter().zip(&vector).map(|(a, b)| a * b).sum()).collect()
}

/// The first layer of task `b` as it leaves for a file, (4, 8).
fn folded_down(inserts: &Inserts) -> Tensor {
    let folded = inserts.folded().unwrap();
    let mut tensors = folded.into_iter().flat_map(|(_, tensors)| tensors);
    tensors.find(|(name, _)| name == "layers.1.mlp_out.task_b.down").map(|(_, tensor)| tensor).unwrap()
}

fn named(inserts: &Inserts, name: &str) -> Param {
    inserts.params().into_iter().find(|param| param.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn tasks_share_as_many_numbers_as_they_are_told_to() {
    let x = normal("x", &[2, 3, 8]);
    let (down, up) = (4 * 8 + 4, 8 * 4 + 8);
    for (share, count) in [
        (Share::None, 2 * (down + up)),
        (Share::Down, down + 2 * up),
        (Share::Up, 2 * down + up),
        (Share::Both, down + up),
    ] {
        let inserts = inserted(&[branch(share, None)]);
        assert_eq!(inserts.params().iter().map(Param::elements).sum::<usize>(), count, "{share:?}");
        assert_eq!(inserts.tasks(), ["", "b"]);
        let of = |task: &str| inserts.of_task(Point::MlpOut, x.clone(), task).unwrap();
        assert_eq!(off(&of(""), &x), 0.0, "zero at the start");
        move_all(&inserts);
        assert_eq!(off(&of(""), &of("b")) == 0.0, share == Share::Both, "{share:?}");
        assert!(off(&of("b"), &x) > 1e-2);
        assert_eq!(off(&of("c"), &x), 0.0, "a task that is not listed");
        assert_eq!(off(&inserts.of_task(Point::AttnOut, x.clone(), "b").unwrap(), &x), 0.0, "another point");
        let params = inserts.params();
        for task in ["", "b"] {
            let own: Vec<Param> = params
                .iter()
                .filter(|param| {
                    task == "b" && !param.name.contains(".own.") || task.is_empty() && !param.name.contains(".task_")
                })
                .cloned()
                .collect();
            check_parameters(|| inserts.of_task(Point::MlpOut, x.clone(), task), &own, &GradCheck::f32()).unwrap();
        }
    }
}

#[test]
fn a_generated_layer_is_a_kronecker_product_of_what_the_vector_of_its_task_makes() {
    let inserts = inserted(&[branch(Share::None, generated())]);
    move_all(&inserts);
    let (left, right) = (made(&inserts, "down_left"), made(&inserts, "down_right"));
    assert_eq!((left.len(), right.len()), (2, 4), "of rank 1");
    let scale = values(named(&inserts, "layers.1.mlp_out.down_scale").var.as_tensor());
    let folded = inserts.folded().unwrap();
    let (what, tensors) = &folded[0];
    let found = folded_down(&inserts);
    assert_eq!(found.dims(), [4, 8]);
    for (at, value) in values(&found).into_iter().enumerate() {
        let (row, col) = (at / 8, at % 8);
        let wanted = scale[(row / 2) * 2 + col / 4] * left[row % 2] * right[col % 4];
        assert!((value - wanted).abs() < 1e-6, "{row}, {col}: {value} instead of {wanted}");
    }
    // As plain layers it computes the same.
    let plain = inserted(std::slice::from_ref(what));
    for (name, tensor) in tensors {
        named(&plain, name).var.set(tensor).unwrap();
    }
    let x = normal("x", &[2, 3, 8]);
    for task in ["", "b"] {
        let of = |inserts: &Inserts| inserts.of_task(Point::MlpOut, x.clone(), task).unwrap();
        assert_eq!(off(&of(&plain), &of(&inserts)), 0.0, "{task}");
        assert!(off(&of(&inserts), &x) > 1e-3);
    }
    let own: Vec<Param> = inserts.params().into_iter().filter(|param| !param.name.contains(".own.")).collect();
    check_parameters(|| inserts.of_task(Point::MlpOut, x.clone(), "b"), &own, &GradCheck::f32()).unwrap();
}

#[test]
fn a_generated_layer_sums_over_its_rank_and_has_at_most_that_times_the_rank_of_its_scaling() {
    let of = |rank: usize, copies: usize| {
        let inserts = inserted(&[branch(Share::None, Some(Generated { task_width: 5, rank, copies }))]);
        move_all(&inserts);
        inserts
    };
    // S is (copies, copies), L (4 / copies, q), R (q, 8 / copies).
    let q = 2;
    let inserts = of(q, 2);
    let (left, right) = (made(&inserts, "down_left"), made(&inserts, "down_right"));
    assert_eq!((left.len(), right.len()), (2 * q, q * 4));
    let scale = values(named(&inserts, "layers.1.mlp_out.down_scale").var.as_tensor());
    for (at, value) in values(&folded_down(&inserts)).into_iter().enumerate() {
        let (row, col) = (at / 8, at % 8);
        let sum: f32 = (0..q).map(|term| left[row % 2 * q + term] * right[term * 4 + col % 4]).sum();
        let wanted = scale[(row / 2) * 2 + col / 4] * sum;
        assert!((value - wanted).abs() < 1e-6, "{row}, {col}: {value} instead of {wanted}");
    }
    let rank = |inserts: &Inserts| {
        let all: Vec<f64> = values(&folded_down(inserts)).into_iter().map(f64::from).collect();
        let singular = linalg::singular_values(&all, 4, 8).unwrap();
        singular.iter().filter(|value| **value > 1e-6 * singular[0]).count()
    };
    let scaled = |rank: usize, scale: [[f32; 2]; 2]| {
        let inserts = of(rank, 2);
        let scale = Tensor::new(&scale, &Device::Cpu).unwrap();
        named(&inserts, "layers.1.mlp_out.down_scale").var.set(&scale).unwrap();
        inserts
    };
    assert_eq!((rank(&of(1, 1)), rank(&of(2, 1))), (1, 2), "one copy: q alone");
    assert_eq!(rank(&scaled(1, [[3.0, 4.0], [6.0, 8.0]])), 1, "a scaling of rank 1");
    assert_eq!(rank(&scaled(1, [[1.0, 0.0], [0.0, 1.0]])), 2, "a scaling of rank 2");
    assert_eq!(rank(&scaled(2, [[3.0, 4.0], [6.0, 8.0]])), 2, "two terms under a scaling of rank 1");
}

#[test]
fn equal_vectors_make_equal_adapters_and_blocks_share_what_makes_them() {
    let (mut shared, mut both) = (BTreeMap::new(), Vec::new());
    for stage in ["layers.0", "layers.1"] {
        let mut inserts = Inserts::default();
        inserts
            .attach(&branch(Share::None, generated()), &[Point::MlpOut], &mut At::new(stage, EIGHT, 3, &mut shared))
            .unwrap();
        both.push(inserts);
    }
    let x = normal("x", &[2, 3, 8]);
    let of = |inserts: &Inserts, task: &str| inserts.of_task(Point::MlpOut, x.clone(), task).unwrap();
    assert_eq!(off(&of(&both[0], "b"), &x), 0.0, "zero at the start");
    move_all(&both[0]);
    assert!(off(&of(&both[0], ""), &of(&both[0], "b")) > 1e-3, "tasks differ");
    assert!(off(&of(&both[0], "b"), &of(&both[1], "b")) > 1e-3, "blocks differ by their scaling");
    let vector = named(&both[0], "shared.block.own.vector");
    named(&both[0], "shared.block.task_b.vector").var.set(vector.var.as_tensor()).unwrap();
    for inserts in &both {
        assert_eq!(off(&of(inserts, ""), &of(inserts, "b")), 0.0, "equal vectors");
    }
    let wrong = branch(Share::None, Some(Generated { task_width: 5, rank: 1, copies: 3 }));
    let mut at = At::new("layers.0", EIGHT, 3, &mut shared);
    let error = Inserts::default().attach(&wrong, &[Point::MlpOut], &mut at).unwrap_err().to_string();
    assert!(error.contains("3 x 3 parts"), "{error}");
}

#[test]
fn a_task_adds_its_change_of_low_rank_beside_three_layers() {
    let what = TaskLowRank { rank: 2, scale: 4.0, with_shared: false };
    let inserts =
        inserted(&[Insert::Branch(Branch { tasks: vec!["b".to_owned()], what: Branched::LowRank(what.clone()) })]);
    assert_eq!((inserts.layers_of_task("b"), inserts.layers_of_task("")), (Some(&what), None));
    move_all(&inserts);
    for (part, cols) in [(TaskPart::Out, 8), (TaskPart::Up, 8), (TaskPart::Down, 11)] {
        let x = normal("x", &[2, 3, cols]);
        let factor = |name: &str| {
            named(&inserts, &format!("layers.1.block.task_b.{}_{name}", part.name())).var.as_tensor().clone()
        };
        let narrow = reference::linear(&x, &factor("a"), None).unwrap();
        let wanted = reference::linear(&narrow, &factor("b"), None).unwrap().affine(4.0, 0.0).unwrap();
        let found = inserts.beside_layer(part, &x, "b").unwrap().unwrap();
        assert!(off(&found, &wanted) < 1e-4, "{part:?}");
        assert!(inserts.beside_layer(part, &x, "").unwrap().is_none());
        let own: Vec<Param> =
            inserts.params().into_iter().filter(|param| param.name.contains(&format!(".{}_", part.name()))).collect();
        let change = || Ok(inserts.beside_layer(part, &x, "b")?.unwrap());
        check_parameters(change, &own, &GradCheck::f32()).unwrap();
    }
}

#[test]
fn the_net_in_a_block_s_place_is_normed_and_its_gradients_are_right() {
    let skip = Skip { width: 5, skipped: true, search: None };
    let inserts = inserted(&[Insert::Skip(skip)]);
    let x = normal("x", &[2, 3, 8]);
    let instead = |x: &Tensor| inserts.instead(x).unwrap().unwrap();
    assert_eq!(off(&instead(&x), &x), 0.0, "zero at the start");
    move_all(&inserts);
    let change = (instead(&x) - &x).unwrap();
    let shifted = x.affine(2.0, 3.0).unwrap();
    assert!(off(&(instead(&shifted) - &shifted).unwrap(), &change) < 1e-4, "the norm takes shift and size away");
    // Near the corner of relu, differences have to be narrow.
    let options = GradCheck { width: 2e-3, tolerance: 1e-2, ..GradCheck::f32() };
    check_parameters(|| Ok(inserts.instead(&x)?.unwrap()), &inserts.params(), &options).unwrap();
    inserts.set_skipped(false);
    assert!(inserts.instead(&x).unwrap().is_none());
}
