//! INT2.1: what it adds to a base in bits, and when it imitates. The divergence itself is tested in `temper_nn`, the repair
//! of a real model in the trainer's tests.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - codes packed and unpacked to the bit -> `nn/src/kernels/grouped.rs`,
//!   `packed_codes_come_back_to_the_bit_for_every_width`; int8 `nn/src/kernels/base_blocks.rs`,
//!   `what_came_back_goes_to_the_same_bytes_again`
//! - the gap of two bits closed, the loss alone beside it -> `train/tests/trainer/imitate.rs`,
//!   `repair_closes_more_than_half_of_the_gap_of_two_bits_and_the_loss_alone_recovers_less`
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `language.rs` and `small_net.rs`,
//!   what begins with `int2.1:`

use crate::bench::{Outcome, SIDE, inputs, normal, off, slots, values, weight};
use candle_core::{Tensor, Var};
use std::sync::Arc;
use temper_methods::{ModelDims, SiteDims, find};
use temper_nn::ops::{HeadTable, Parent, head_divergence};
use temper_nn::slots::{Scale, Slots};
use temper_nn::{Bits, ForwardContext, FrozenLinear, FrozenWeight, Group, GroupedInt, LinearSite, StorageKind};
use temper_protocol::Value;

/// The seven linear layers of a block of a 7B LLaMA.
fn block() -> Vec<SiteDims> {
    let site = |(name, out_features, in_features): (&str, usize, usize)| SiteDims {
        name: format!("layers.0.{name}"),
        hf_name: format!("model.layers.0.{name}"),
        out_features,
        in_features,
        layer: Some(0),
        bias: false,
        window: (1, 1),
    };
    let (hidden, inner) = (4096, 11008);
    let square = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
    let square = square.map(|name| (name, hidden, hidden)).into_iter();
    let wide = [("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden), ("mlp.down_proj", hidden, inner)];
    square.chain(wide).map(site).collect()
}

#[test]
fn adapters_in_16_bits_add_what_the_name_counts() -> Outcome {
    let sites = block();
    let values_of_base: u64 = sites.iter().map(|site| (site.out_features * site.in_features) as u64).sum();
    let dims = ModelDims { sites, own: Vec::new(), head_features: 64 };
    for (rank, bits) in [(8, 0.049), (16, 0.099), (32, 0.198)] {
        let trained = find("int2.1")?.trained_parameters(&values(&[("rank", Value::Integer(rank))]), &dims)?;
        let added = 16.0 * trained as f64 / values_of_base as f64;
        assert!((added - bits).abs() < 6e-4, "rank {rank}: {added}");
    }
    Ok(())
}

#[test]
fn it_is_lora_and_imitates_for_its_share_of_the_steps() -> Outcome {
    let expected = Slots { dropout: 0.05, ..Slots::low_rank(32, Scale::AlphaOverRank(128.0)) };
    assert_eq!(slots("int2.1", &[])?, expected);
    let method = find("int2.1")?;
    let imitation = method.imitates(&values(&[])).ok_or("it does not imitate")?;
    assert_eq!((imitation.divergence, imitation.cross_entropy, imitation.features), (1.0, 0.1, 0.0));
    let imitates: Vec<bool> = (1..=7).map(|step| imitation.is_at(step, 7)).collect();
    assert_eq!(imitates, [true, true, true, false, false, false, false]);
    assert!(method.belongs_to_its_base(&values(&[])));
    let whole = values(&[("repair_share", Value::Number(1.0))]);
    assert!(method.imitates(&whole).ok_or("it does not imitate")?.is_at(7, 7));
    let none = values(&[("repair_share", Value::Number(0.0))]);
    assert!(method.imitates(&none).is_none() && !method.belongs_to_its_base(&none));
    assert!(find("lora")?.imitates(&values(&[])).is_none());
    Ok(())
}

/// The bases that it is for: groups of integers of two to four bits, and eight bits.
fn bases() -> Vec<StorageKind> {
    let grouped = |bits| StorageKind::Grouped(GroupedInt { bits, group: Group::G32 });
    vec![grouped(Bits::Two), grouped(Bits::Three), grouped(Bits::Four), StorageKind::Int8]
}

fn rounded(kind: StorageKind) -> Outcome<LinearSite> {
    let weight = FrozenWeight::from_tensor("w", &weight()?, kind)?;
    Ok(LinearSite::new("w", FrozenLinear { weight: Arc::new(weight), bias: None }))
}

fn held(site: &LinearSite) -> Outcome<Tensor> {
    Ok(site.frozen().ok_or("no frozen weight")?.weight.to_tensor()?)
}

/// Codes themselves are packed and unpacked in `temper_nn`. Here: what comes back is on no more levels than the bits have,
/// row by row, and rounding it again hardly moves it (of groups the best range is looked for anew; int8 keeps its bytes).
#[test]
fn what_comes_back_of_two_three_four_and_eight_bits_has_their_levels_and_is_read_row_by_row() -> Outcome {
    for kind in bases() {
        let once = FrozenWeight::from_tensor("w", &weight()?, kind)?;
        let levels = |row: &[f32]| {
            let mut seen: Vec<u32> = row.iter().map(|value| value.to_bits()).collect();
            seen.sort_unstable();
            seen.dedup();
            seen.len()
        };
        let unpacked = once.to_tensor()?.to_vec2::<f32>()?;
        let most = match kind {
            StorageKind::Grouped(GroupedInt { bits: Bits::Two, .. }) => 4,
            StorageKind::Grouped(GroupedInt { bits: Bits::Three, .. }) => 8,
            StorageKind::Grouped(_) => 16,
            _ => 256,
        };
        assert!(unpacked.iter().flat_map(|row| row.chunks(32)).all(|group| levels(group) <= most), "{}", kind.name());
        // A row read alone is the row of the whole.
        let mut row = vec![0f32; SIDE];
        once.read_rows(7..8, &mut row)?;
        assert_eq!(row, unpacked[7], "{}", kind.name());
        let again = FrozenWeight::from_tensor("w", &once.to_tensor()?, kind)?;
        let moved = off(&once.to_tensor()?, &again.to_tensor()?)?;
        assert!(moved <= 1e-3, "{}: {moved}", kind.name());
        if kind == StorageKind::Int8 {
            assert!(once.bytes().as_slice() == again.bytes().as_slice(), "int8 keeps its bytes");
        }
    }
    Ok(())
}

#[test]
fn packed_products_equal_dense_ones_forward_and_backward_and_the_base_gets_no_gradient() -> Outcome {
    for kind in bases() {
        let site = rounded(kind)?;
        let (x, ctx) = (Var::from_tensor(&inputs()?)?, ForwardContext::plain(1, 2 * SIDE));
        let (y, dense) = (site.forward(x.as_tensor(), &ctx)?, x.as_tensor().matmul(&held(&site)?.t()?)?);
        let largest = dense.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off(&y, &dense)? <= 1e-5 * largest, "{}: {}", kind.name(), off(&y, &dense)?);
        let gradient = |y: &Tensor| -> Outcome<(Tensor, usize)> {
            let store = y.sqr()?.sum_all()?.backward()?;
            Ok((store.get(x.as_tensor()).ok_or("no gradient")?.clone(), store.get_ids().count()))
        };
        let ((packed, kept), (plain, _)) = (gradient(&y)?, gradient(&dense)?);
        let largest = plain.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(off(&packed, &plain)? <= 1e-5 * largest, "{}: {}", kind.name(), off(&packed, &plain)?);
        assert_eq!(kept, 1, "{}: a gradient beside the input's", kind.name());
    }
    Ok(())
}

#[test]
fn at_the_start_the_output_is_the_rounded_bases_to_the_bit() -> Outcome {
    for kind in bases() {
        let (mut site, base) = (rounded(kind)?, rounded(kind)?);
        site.attach(&slots("int2.1", &[])?, 3)?;
        let (x, ctx) = (inputs()?, ForwardContext::plain(1, 2 * SIDE));
        assert_eq!(off(&site.forward(&x, &ctx)?, &base.forward(&x, &ctx)?)?, 0.0, "{}", kind.name());
    }
    Ok(())
}

#[test]
fn divergence_from_itself_is_zero_it_is_finite_and_twice_the_length_is_twice_the_sum() -> Outcome {
    let head = HeadTable::Frozen(Arc::new(FrozenWeight::from_tensor(
        "head",
        &normal("head", 50, SIDE, 3.0)?,
        StorageKind::F32,
    )?));
    let (parent, student) = (normal("parent", 6, SIDE, 3.0)?, normal("student", 6, SIDE, 3.0)?);
    let targets: Arc<[u32]> = (0..6).map(|at| at * 7).collect();
    let of = |hidden: &Tensor, parent: &Tensor, targets: &Arc<[u32]>| -> Outcome<f32> {
        let parent = Parent::of(parent, &head, targets)?;
        Ok(head_divergence(hidden, &head, targets, &parent)?.0.to_scalar()?)
    };
    assert_eq!(of(&parent, &parent, &targets)?, 0.0);
    let once = of(&student, &parent, &targets)?;
    assert!(once.is_finite() && once > 0.0, "{once}");
    let twice = |tensor: &Tensor| Tensor::cat(&[tensor, tensor], 0);
    let long: Arc<[u32]> = targets.iter().chain(targets.iter()).copied().collect();
    let doubled = of(&twice(&student)?, &twice(&parent)?, &long)?;
    assert!((doubled / once - 2.0).abs() < 1e-4, "{once} and {doubled}");
    Ok(())
}
