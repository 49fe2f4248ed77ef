//! The output head and its cross-entropy.

use crate::support::{CLOSE, check, normal};
use candle_core::{Tensor, Var};
use std::sync::Arc;
use temper_nn::gradcheck::{GradCheck, check_gradients, compare_with_reference};
use temper_nn::ops::{
    HeadOptions, HeadTable, IGNORE, Parent, head_cross_entropy, head_cross_entropy_with, head_divergence, head_logits,
    reference,
};
use temper_nn::{FrozenWeight, StorageKind};

fn frozen(head: &Tensor, kind: StorageKind) -> HeadTable {
    HeadTable::Frozen(Arc::new(FrozenWeight::from_tensor("head", head, kind).unwrap()))
}

fn targets(n: usize, vocabulary: u32) -> Arc<[u32]> {
    (0..n as u32).map(|i| if i % 3 == 1 { IGNORE } else { i * 7919 % vocabulary }).collect()
}

#[test]
fn the_loss_of_a_frozen_head_has_the_gradient_of_its_reference() {
    for (kind, with_bias) in [(StorageKind::F32, false), (StorageKind::F32, true), (StorageKind::Q8_0, true)] {
        let head = normal("head", &[301, 32]);
        let table = frozen(&head, kind);
        let HeadTable::Frozen(weight) = &table else { unreachable!() };
        let (targets, bias) = (targets(7, 301), normal("bias", &[301]));
        let bias = with_bias.then_some(&bias);
        let f = |x: &[Tensor]| head_cross_entropy(&x[0], &table, &targets, bias);
        let expected = |x: &[Tensor]| {
            let like = |y: &Tensor| y.to_dtype(x[0].dtype());
            let bias = bias.map(like).transpose()?;
            reference::head_cross_entropy(&x[0], &like(&weight.to_tensor()?)?, &targets, bias.as_ref())
        };
        check(f, expected, &[normal("hidden", &[7, 32])]);
    }
}

#[test]
fn a_trained_head_gets_its_gradient_too() {
    let inputs = [normal("hidden", &[6, 9]), normal("head", &[53, 9])];
    let targets = targets(6, 53);
    let f = |x: &[Tensor]| head_cross_entropy(&x[0], &HeadTable::Trained(x[1].clone()), &targets, None);
    check(f, |x| reference::head_cross_entropy(&x[0], &x[1], &targets, None), &inputs);
}

#[test]
fn vocabularies_and_texts_of_many_chunks_agree_with_the_whole() {
    // Several chunks of the vocabulary, several blocks of positions, neither a multiple of its size.
    let (n, vocabulary, features) = (1100, 4500, 6);
    // Growing logits make the running maximum change from chunk to chunk.
    let ramp = Tensor::arange(0f32, vocabulary as f32, &candle_core::Device::Cpu).unwrap();
    let ramp = (ramp.reshape((vocabulary, 1)).unwrap() / (vocabulary as f64 / 4.0)).unwrap();
    let head = normal("head", &[vocabulary, features]).broadcast_add(&ramp).unwrap();
    let hidden = normal("hidden", &[n, features]);
    let targets: Arc<[u32]> = (0..n as u32).map(|i| i * 31 % vocabulary as u32).collect();
    let table = frozen(&head, StorageKind::F32);
    let wide = reference::to_f64(&head).unwrap();
    let f = |x: &[Tensor]| head_cross_entropy(&x[0], &table, &targets, None);
    let expected = |x: &[Tensor]| reference::head_cross_entropy(&x[0], &wide, &targets, None);
    compare_with_reference(f, expected, std::slice::from_ref(&hidden), CLOSE).unwrap();
    let f = |x: &[Tensor]| head_cross_entropy(&x[0], &HeadTable::Trained(x[1].clone()), &targets, None);
    let expected = |x: &[Tensor]| reference::head_cross_entropy(&x[0], &x[1], &targets, None);
    compare_with_reference(f, expected, &[hidden, head], CLOSE).unwrap();
}

#[test]
fn untrained_positions_have_no_influence_and_get_zeros() {
    let head = frozen(&normal("head", &[50, 8]), StorageKind::F32);
    let targets: Arc<[u32]> = Arc::from([IGNORE, 4, IGNORE, 9]);
    let run = |noise: f64| {
        let hidden = normal("hidden", &[4, 8]);
        let rows = (0..4).map(|row| {
            let x = hidden.narrow(0, row, 1).unwrap();
            if row % 2 == 0 { (x * noise).unwrap() } else { x }
        });
        let var = Var::from_tensor(&Tensor::cat(&rows.collect::<Vec<_>>(), 0).unwrap()).unwrap();
        let loss = head_cross_entropy(var.as_tensor(), &head, &targets, None).unwrap();
        let gradient = loss.backward().unwrap().get(var.as_tensor()).unwrap().to_vec2::<f32>().unwrap();
        assert!(gradient[0].iter().chain(&gradient[2]).all(|&g| g == 0.0));
        (loss.to_scalar::<f32>().unwrap(), gradient)
    };
    assert_eq!(run(1.0), run(1e5));
    let nothing: Arc<[u32]> = Arc::from([IGNORE; 4]);
    let loss = head_cross_entropy(&normal("hidden", &[4, 8]), &head, &nothing, None).unwrap();
    assert_eq!(loss.to_scalar::<f32>().unwrap(), 0.0);
}

#[test]
fn a_divided_loss_has_a_divided_gradient() {
    let head = frozen(&normal("head", &[50, 8]), StorageKind::F32);
    let targets: Arc<[u32]> = Arc::from([1u32, 4, 2, 9]);
    let f = |x: &[Tensor]| Ok((head_cross_entropy(&x[0], &head, &targets, None)? / 4.0)?);
    check_gradients(f, &[normal("hidden", &[4, 8])], &GradCheck::f32()).unwrap();
}

#[test]
fn certain_and_impossible_targets_give_finite_losses() {
    let head = (normal("head", &[50, 8]) * 100.0).unwrap();
    let hidden = Var::from_tensor(&(normal("hidden", &[4, 8]) * 10.0).unwrap()).unwrap();
    let targets: Arc<[u32]> = Arc::from([1u32, 4, 2, 9]);
    let loss = head_cross_entropy(hidden.as_tensor(), &frozen(&head, StorageKind::F32), &targets, None).unwrap();
    let gradient = loss.backward().unwrap().get(hidden.as_tensor()).unwrap().flatten_all().unwrap();
    assert!(loss.to_scalar::<f32>().unwrap().is_finite());
    assert!(gradient.to_vec1::<f32>().unwrap().iter().all(|g| g.is_finite()));
}

#[test]
fn logits_are_those_the_loss_is_made_of() {
    let head = normal("head", &[40, 32]);
    let hidden = normal("hidden", &[3, 32]);
    for table in [frozen(&head, StorageKind::Q8_0), HeadTable::Trained(head.clone())] {
        let logits = head_logits(&hidden, &table).unwrap();
        assert_eq!(logits.dims(), [3, 40]);
        let targets: Arc<[u32]> = Arc::from([5u32, 0, 39]);
        let loss = head_cross_entropy(&hidden, &table, &targets, None).unwrap().to_scalar::<f32>().unwrap();
        let rows = logits.to_vec2::<f32>().unwrap();
        let by_hand = rows.iter().zip(targets.iter()).map(|(row, &target)| {
            let sum = row.iter().map(|x| f64::from(*x).exp()).sum::<f64>();
            sum.ln() - f64::from(row[target as usize])
        });
        assert!((f64::from(loss) - by_hand.sum::<f64>()).abs() < 1e-4);
    }
}

/// Loss and gradients (hidden, and the head where it is trained).
fn loss_and_gradients(
    hidden: &Tensor,
    head: &Tensor,
    trained: bool,
    targets: &Arc<[u32]>,
    negligible: f32,
) -> (f32, Vec<Vec<f32>>) {
    let (hidden, head) = (Var::from_tensor(hidden).unwrap(), Var::from_tensor(head).unwrap());
    let table = match trained {
        true => HeadTable::Trained(head.as_tensor().clone()),
        false => frozen(head.as_tensor(), StorageKind::F32),
    };
    let options = HeadOptions { bias: None, negligible };
    let loss = head_cross_entropy_with(hidden.as_tensor(), &table, targets, &options).unwrap();
    let store = loss.backward().unwrap();
    let gradients = [&hidden, &head].into_iter().filter_map(|var| store.get(var.as_tensor()));
    let values = gradients.map(|gradient| gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    (loss.to_scalar::<f32>().unwrap(), values.collect())
}

#[test]
fn leaving_out_negligible_tokens_costs_no_more_than_their_probability() {
    // Several blocks of positions and chunks of the vocabulary; a few tokens carry most of the probability.
    let (n, vocabulary, features, limit) = (300usize, 4500usize, 16usize, 2e-4f32);
    let (hidden, head) = (normal("hidden", &[n, features]), normal("head", &[vocabulary, features]));
    let targets: Arc<[u32]> = (0..n as u32).map(|i| if i % 7 == 0 { IGNORE } else { i * 31 % 4500 }).collect();
    let logits = hidden.matmul(&head.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
    let rows = head.to_vec2::<f32>().unwrap();
    for trained in [false, true] {
        let (loss, exact) = loss_and_gradients(&hidden, &head, trained, &targets, 0.0);
        let (same, skipped) = loss_and_gradients(&hidden, &head, trained, &targets, limit);
        assert!((loss - same).abs() <= 1e-5 * loss, "the loss is not touched: {loss} {same}");
        assert!(exact[0] != skipped[0], "something was left out");
        let mut bound_of_head = vec![0f64; vocabulary * features];
        for (position, logits) in logits.iter().enumerate().filter(|(position, _)| targets[*position] != IGNORE) {
            let largest = logits.iter().fold(f32::NEG_INFINITY, |most, x| most.max(*x));
            let weights = logits.iter().map(|x| f64::from(x - largest).exp()).collect::<Vec<_>>();
            let sum = weights.iter().sum::<f64>();
            let small = |token: &usize| weights[*token] / sum <= f64::from(limit) * 1.001;
            let hidden = hidden.get(position).unwrap().to_vec1::<f32>().unwrap();
            for feature in 0..features {
                let place = position * features + feature;
                let bound = (0..vocabulary)
                    .filter(small)
                    .map(|token| weights[token] / sum * f64::from(rows[token][feature].abs()));
                let error = f64::from((exact[0][place] - skipped[0][place]).abs());
                let bound = bound.sum::<f64>();
                assert!(error <= bound + 1e-5, "{error} above {bound}");
                if trained {
                    for token in (0..vocabulary).filter(small) {
                        bound_of_head[token * features + feature] +=
                            weights[token] / sum * f64::from(hidden[feature].abs());
                    }
                }
            }
        }
        if trained {
            for ((exact, skipped), bound) in exact[1].iter().zip(&skipped[1]).zip(&bound_of_head) {
                assert!(f64::from((exact - skipped).abs()) <= bound + 1e-5);
            }
        }
    }
}

#[test]
fn a_limit_below_every_probability_leaves_nothing_out_and_one_without_sense_is_refused() {
    let (hidden, head) = (normal("hidden", &[140, 8]), normal("head", &[600, 8]));
    let targets = targets(140, 600);
    for trained in [false, true] {
        let (_, exact) = loss_and_gradients(&hidden, &head, trained, &targets, 0.0);
        let (_, all) = loss_and_gradients(&hidden, &head, trained, &targets, 1e-20);
        let pairs = exact.iter().flatten().zip(all.iter().flatten());
        assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5));
    }
    for bad in [-0.1, 1.0, f32::NAN] {
        let options = HeadOptions { bias: None, negligible: bad };
        assert!(head_cross_entropy_with(&hidden, &HeadTable::Trained(head.clone()), &targets, &options).is_err());
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let head = frozen(&normal("head", &[50, 8]), StorageKind::F32);
    let hidden = normal("hidden", &[2, 8]);
    assert!(head_cross_entropy(&hidden, &head, &Arc::from([1u32]), None).is_err());
    let error = head_cross_entropy(&hidden, &head, &Arc::from([1u32, 50]), None).unwrap_err().to_string();
    assert!(error.contains("50"), "{error}");
    assert!(head_cross_entropy(&normal("hidden", &[2, 7]), &head, &Arc::from([1u32, 2]), None).is_err());
    let bias = Var::from_tensor(&normal("bias", &[50])).unwrap();
    assert!(head_cross_entropy(&hidden, &head, &Arc::from([1u32, 2]), Some(bias.as_tensor())).is_err());
}

#[test]
fn the_divergence_from_a_parent_is_that_of_the_probabilities_and_has_its_gradient() {
    for kind in [StorageKind::F32, StorageKind::Q8_0] {
        let head = (normal("head", &[301, 32]) * 0.3).unwrap();
        let table = frozen(&head, kind);
        let HeadTable::Frozen(weight) = &table else { unreachable!() };
        let (targets, parent_hidden) = (targets(7, 301), normal("parent", &[7, 32]));
        let parent = Parent::of(&parent_hidden, &table, &targets).unwrap();
        let f = |x: &[Tensor]| Ok(head_divergence(&x[0], &table, &targets, &parent)?.0);
        let expected = |x: &[Tensor]| {
            let like = |y: &Tensor| y.to_dtype(x[0].dtype());
            reference::head_divergence(&x[0], &like(&parent_hidden)?, &like(&weight.to_tensor()?)?, &targets)
        };
        check(f, expected, &[normal("hidden", &[7, 32])]);
        // The cross-entropy beside it is the usual one.
        let hidden = normal("hidden", &[7, 32]);
        let (_, beside) = head_divergence(&hidden, &table, &targets, &parent).unwrap();
        let usual = head_cross_entropy(&hidden, &table, &targets, None).unwrap();
        assert_eq!(beside.to_scalar::<f32>().unwrap(), usual.to_scalar::<f32>().unwrap());
    }
}

#[test]
fn the_divergence_from_oneself_is_zero_to_the_bit_and_twice_the_text_diverges_twice_as_much() {
    let head = normal("head", &[53, 9]);
    let (table, hidden) = (frozen(&head, StorageKind::F32), normal("hidden", &[6, 9]));
    let divergence = |from: &Tensor, to: &Tensor, targets: &Arc<[u32]>| {
        let parent = Parent::of(from, &table, targets).unwrap();
        let to = Var::from_tensor(to).unwrap();
        let (divergence, _) = head_divergence(to.as_tensor(), &table, targets, &parent).unwrap();
        let store = divergence.backward().unwrap();
        let gradient = store.get(to.as_tensor()).unwrap().abs().unwrap().max_all().unwrap();
        (divergence.to_scalar::<f32>().unwrap(), gradient.to_scalar::<f32>().unwrap())
    };
    let once = targets(6, 53);
    assert_eq!(divergence(&hidden, &hidden, &once), (0.0, 0.0));
    let other = normal("parent", &[6, 9]);
    let twice = |tensor: &Tensor| Tensor::cat(&[tensor, tensor], 0).unwrap();
    let doubled: Arc<[u32]> = once.iter().chain(once.iter()).copied().collect();
    let (one, two) = (divergence(&other, &hidden, &once).0, divergence(&twice(&other), &twice(&hidden), &doubled).0);
    assert!((two / one - 2.0).abs() < 1e-5, "{one} {two}");
    let parent = Parent::of(&other, &table, &once).unwrap();
    assert!(head_divergence(&twice(&hidden), &table, &doubled, &parent).is_err(), "another number of positions");
    assert!(Parent::of(&other, &HeadTable::Trained(head), &once).is_err(), "a trained head");
}
