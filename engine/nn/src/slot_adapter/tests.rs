//! Every choice of slots: counts, gradients, merge and export against each other.

use super::*;
use crate::gradcheck::{GradCheck, check_gradients, check_parameters};
use crate::ops::FrozenLinear;
use crate::optim::OptimiserEdit;
use crate::slots::{
    Action, Base, Chain, Core, Factor, Group, Init, Kron, KronFactor, Left, Map, Mode, Normaliser, Part, Picked, Right,
    Scale, Scatter, Scope, Source, Tucker, When,
};
use crate::{FrozenWeight, LinearSite};
use candle_core::{DType, Device, Var};

mod router;

pub(super) fn random(name: &str, shape: &[usize]) -> Tensor {
    let mut values = vec![0f32; shape.iter().product()];
    Stream::new(9, name).fill_normal(&mut values, 0.5);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

pub(super) fn site(out_features: usize, in_features: usize) -> LinearSite {
    let weight = random("w", &[out_features, in_features]);
    let weight = FrozenWeight::from_tensor("w", &weight, crate::StorageKind::F32).unwrap();
    LinearSite::new("here", FrozenLinear { weight: Arc::new(weight), bias: Some(random("bias", &[out_features])) })
}

/// Every structure a chain can have today, with random starts so that no gradient vanishes.
pub(super) fn structures() -> Vec<(&'static str, Slots)> {
    let init = Init::Gaussian { std: 0.5 };
    let (trained, frozen) = (Factor::trained(init), Factor::frozen(init));
    let chain = |b, core, a| Slots {
        delta: Delta::Chain(Chain { rank: 3, b, core, a }),
        scale: Scale::AlphaOverRank(4.0),
        dropout: 0.25,
        ..Slots::default()
    };
    vec![
        ("plain", chain(trained, Core::None, trained)),
        ("frozen a", chain(trained, Core::None, frozen)),
        ("frozen b", chain(frozen, Core::None, trained)),
        ("diagonal between frozen factors", chain(frozen, Core::Diagonal(trained), frozen)),
        ("dense between frozen factors", chain(frozen, Core::Dense(trained), frozen)),
        ("everything, diagonal", chain(trained, Core::Diagonal(trained), trained)),
        ("everything, dense", chain(trained, Core::Dense(trained), trained)),
        ("frozen core", chain(trained, Core::Dense(frozen), trained)),
    ]
}

/// What is no plain sum to the weight: residual bases over calibrated starts, normalisers, biases.
pub(super) fn other_choices() -> Vec<(&'static str, Slots)> {
    let init = Init::Gaussian { std: 0.5 };
    let plain = |base, dropout| Slots {
        base,
        dropout,
        delta: Delta::Chain(Chain { rank: 3, b: Factor::trained(init), core: Core::None, a: Factor::trained(init) }),
        scale: Scale::AlphaOverRank(4.0),
        ..Slots::default()
    };
    let calibrated = |calibration, b: Factor, core, a: Factor| Slots {
        base: Base::Residual,
        calibration,
        delta: Delta::Chain(Chain { rank: 3, b, core, a }),
        scale: Scale::AlphaOverRank(4.0),
        dropout: 0.25,
        ..Slots::default()
    };
    let (found, fixed) = (Factor::trained(Init::Calibrated), Factor::frozen(Init::Calibrated));
    let one = Factor::trained(Init::Gaussian { std: 1.0 });
    let magnitude = Normaliser::RowMagnitude(Group::default());
    let with = |delta| Slots { delta, dropout: 0.25, ..Slots::default() };
    let chain = |rank, b, a| Chain { rank, b, core: Core::None, a };
    let kron = |terms, u, v| Delta::Kron(Kron { terms, u_size: (5, 3), v_size: (1, 2), u, v, decompose_factor: -1 });
    let product = KronFactor::Product { rank: 2, outer: one, inner: one };
    let shared = |rows, cols| Factor::of(Source::Shared { init: Init::HeUniform, rows, cols });
    let seeded = Factor::of(Source::Seeded { bases: 7, start: Init::KaimingUniform });
    vec![
        ("residual", plain(Base::Residual, 0.25)),
        ("svd", calibrated(Calibration::Svd { iterations: 0 }, found, Core::None, found)),
        ("qr", calibrated(Calibration::Qr, found, Core::None, found)),
        ("lu", calibrated(Calibration::Lu, fixed, Core::Diagonal(found), fixed)),
        (
            "picked inputs",
            Slots {
                delta: Delta::Chain(Chain { rank: 3, b: one, core: Core::None, a: Factor::of(Source::Select) }),
                ..Slots::default()
            },
        ),
        (
            "added inputs",
            Slots {
                delta: Delta::Chain(Chain { rank: 4, b: one, core: Core::None, a: Factor::of(Source::TiledIdentity) }),
                ..Slots::default()
            },
        ),
        ("magnitude alone", Slots { normaliser: magnitude, ..Slots::default() }),
        ("magnitude", Slots { normaliser: magnitude, ..plain(Base::Original, 0.0) }),
        ("magnitude, dropout", Slots { normaliser: magnitude, ..plain(Base::Original, 0.25) }),
        ("magnitude, residual", Slots { normaliser: magnitude, ..plain(Base::Residual, 0.0) }),
        ("row scale", Slots { normaliser: Normaliser::RowScale(one), ..Slots::default() }),
        ("row scale, chain", Slots { normaliser: Normaliser::RowScale(one), ..plain(Base::Original, 0.25) }),
        ("column scale", Slots { normaliser: Normaliser::ColumnScale(one), ..Slots::default() }),
        ("column scale, chain", Slots { normaliser: Normaliser::ColumnScale(one), ..plain(Base::Original, 0.25) }),
        ("hadamard", with(Delta::Hadamard(chain(2, one, one), chain(2, one, one)))),
        ("kronecker", with(kron(1, KronFactor::Full(one), KronFactor::Full(one)))),
        ("kronecker of products, three terms", with(kron(3, product, product))),
        (
            "nearest kronecker, residual",
            Slots {
                base: Base::Residual,
                calibration: Calibration::Kronecker { iterations: 0 },
                scale: Scale::Fixed(0.5),
                ..with(kron(2, KronFactor::Full(found), KronFactor::Full(found)))
            },
        ),
        (
            "shared",
            with(Delta::Chain(Chain {
                rank: 3,
                b: shared(9, 3).with_map(Map::Rows(Init::Gaussian { std: 0.5 })),
                core: Core::Diagonal(one),
                a: shared(3, 8),
            })),
        ),
        ("seeded", with(Delta::Chain(chain(3, seeded, seeded)))),
        ("gate", with(Delta::Chain(Chain { core: Core::Gate(one), ..chain(3, one, one) }))),
        (
            "tucker",
            with(Delta::Tucker(Tucker {
                rank: 3,
                outer: one,
                core: one,
                modes: vec![Mode { size: 3, rank: 2, factor: one }, Mode { size: 2, rank: 2, factor: one }],
            })),
        ),
        ("all entries", with(Delta::Scatter(Scatter { picked: Picked::All, values: one }))),
        ("smallest entries", with(Delta::Scatter(Scatter { picked: Picked::Smallest { share: 0.3 }, values: one }))),
        (
            "ring",
            Slots {
                right: Right::Ring { sizes: [3, 1, 2], bond: 2, group: Group::default() },
                ..with(Delta::Chain(chain(2, one, one)))
            },
        ),
        (
            "complement",
            with(Delta::Chain(chain(
                3,
                one.with_map(Map::Complement { energy: 0.5 }),
                one.with_map(Map::Complement { energy: 0.5 }),
            ))),
        ),
        ("left", Slots { left: Left::LowRank(Box::new(chain(2, one, one))), ..Slots::default() }),
        (
            "left, chain, bias",
            Slots { left: Left::LowRank(Box::new(chain(2, one, one))), bias: Some(one), ..plain(Base::Original, 0.25) },
        ),
        ("row groups", Slots { right: Right::RowGroups { size: 1, blocks: one }, ..Slots::default() }),
        ("row groups, tiled", Slots { right: Right::RowGroups { size: 1, blocks: one }, ..with(Delta::Tile) }),
        ("bias", Slots { bias: Some(one), ..Slots::default() }),
        ("bias, chain", Slots { bias: Some(one), ..plain(Base::Original, 0.25) }),
        ("bias, magnitude", Slots { bias: Some(one), normaliser: magnitude, ..plain(Base::Original, 0.0) }),
    ]
}

pub(super) fn shake(site: &LinearSite) {
    for param in site.params() {
        let noise = random(&format!("shake/{}", param.name), param.var.dims());
        param.var.set(&(param.var.as_tensor() + noise).unwrap()).unwrap();
    }
}

fn largest_difference(left: &Tensor, right: &Tensor) -> f32 {
    (left - right).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn every_structure_trains_what_it_counts_and_its_gradients_are_right() {
    let x = random("x", &[2, 4, 6]);
    let ctx = ForwardContext { training: true, seed: 1, step: 3, ..ForwardContext::plain(2, 4) };
    for trained_base in [false, true] {
        for (name, slots) in structures().into_iter().chain(other_choices()) {
            let mut site = site(5, 6);
            if trained_base {
                site.promote().unwrap();
            }
            if trained_base && matches!(slots.right, Right::RowGroups { .. }) {
                continue;
            }
            if trained_base && matches!(slots.normaliser, Normaliser::RowMagnitude(_)) {
                let error = site.attach(&slots, 7).unwrap_err().to_string();
                assert!(error.contains("frozen weight"), "{error}");
                continue;
            }
            let own = site.params().len();
            site.attach(&slots, 7).unwrap();
            let params = site.params();
            let entries: usize = params.iter().skip(own).map(|param| param.trained().unwrap()).sum();
            assert_eq!(entries, slots.trained_entries(5, 6), "{name}");
            site.hold_constants(true);
            check_parameters(|| site.forward(&x, &ctx), &params, &GradCheck::f32())
                .unwrap_or_else(|error| panic!("{name}, trained base {trained_base}: {error}"));
        }
    }
}

/// `x Wᵀ + bias + s · x Aᵀ Cᵀ Bᵀ` in the type of its inputs x (8, 6), A, B and, where there is one, the core.
fn by_formula(inputs: &[Tensor]) -> Result<Tensor> {
    let (x, a, b) = (&inputs[0], &inputs[1], &inputs[2]);
    let fixed = |name: &str, shape: &[usize]| random(name, shape).to_dtype(x.dtype());
    let inner = x.matmul(&a.t()?)?;
    let inner = match inputs.get(3) {
        None => inner,
        Some(core) if core.rank() == 1 => inner.broadcast_mul(core)?,
        Some(core) => inner.matmul(&core.t()?)?,
    };
    let base = x.matmul(&fixed("w", &[5, 6])?.t()?)?.broadcast_add(&fixed("bias", &[5])?)?;
    Ok((base + inner.matmul(&b.t()?)?.affine(4.0 / 3.0, 0.0)?)?)
}

/// Differences in f64 know the gradient to 1e-7; ours in f32 are those of f64 to 1e-5.
#[test]
fn gradients_are_those_of_the_formula_in_f64_and_those_are_the_ones_of_finite_differences() {
    let ctx = ForwardContext::plain(2, 4);
    let (x, seed) = (random("x", &[8, 6]), random("seed", &[8, 5]));
    let flat = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let mut checked = 0;
    for (name, slots) in structures() {
        let mut site = site(5, 6);
        site.attach(&Slots { dropout: 0.0, ..slots }, 7).unwrap();
        let params = site.params();
        let of = |key: &str| params.iter().find(|param| param.name == format!("here.{key}"));
        let (Some(a), Some(b)) = (of("a"), of("b")) else { continue };
        let core = of("core");
        if core.is_none() && name != "plain" {
            continue;
        }
        checked += 1;
        let input = Var::from_tensor(&x).unwrap();
        let y = site.forward(&input.as_tensor().reshape((2, 4, 6)).unwrap(), &ctx).unwrap();
        let ours = (y.reshape((8, 5)).unwrap() * &seed).unwrap().sum_all().unwrap().backward().unwrap();
        let vars: Vec<&Var> =
            [Some(&input), Some(&a.var), Some(&b.var), core.map(|core| &core.var)].into_iter().flatten().collect();
        let wide: Vec<Var> =
            vars.iter().map(|var| Var::from_tensor(&var.to_dtype(DType::F64).unwrap()).unwrap()).collect();
        let tracked: Vec<Tensor> = wide.iter().map(|var| var.as_tensor().clone()).collect();
        let seed = seed.to_dtype(DType::F64).unwrap();
        let theirs = (by_formula(&tracked).unwrap() * &seed).unwrap().sum_all().unwrap().backward().unwrap();
        for (at, (ours_of, theirs_of)) in vars.iter().zip(&wide).enumerate() {
            let found = flat(ours.get(ours_of.as_tensor()).unwrap());
            let expected = flat(theirs.get(theirs_of.as_tensor()).unwrap());
            let largest = expected.iter().fold(0f64, |largest, value| largest.max(value.abs()));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-5 * largest, "{name}, input {at}: {found} {expected}");
            }
        }
        let values: Vec<Tensor> = tracked.iter().map(Tensor::detach).collect();
        check_gradients(by_formula, &values, &GradCheck::f64()).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    assert_eq!(checked, 3, "without a core, with a diagonal and with a dense one");
}

#[test]
fn merged_and_exported_forms_are_what_forward_computes() {
    let x = random("x", &[2, 4, 6]);
    let ctx = ForwardContext::plain(2, 4);
    for (name, slots) in structures() {
        let mut site = site(5, 6);
        let base = site.forward(&x, &ctx).unwrap();
        site.attach(&slots, 7).unwrap();
        let y = site.forward(&x, &ctx).unwrap();
        assert!(largest_difference(&y, &base) > 0.01, "{name} changes nothing");
        let product = |weight: &Tensor| x.reshape((8, 6)).unwrap().matmul(&weight.t().unwrap()).unwrap();
        let merged = site.merged().unwrap().unwrap();
        let merged = product(&merged).broadcast_add(&random("bias", &[5])).unwrap().reshape((2, 4, 5)).unwrap();
        assert!(largest_difference(&merged, &y) < 1e-5, "{name}");
        let exports = site.export().unwrap();
        let [AdapterExport::LowRank { a, b, scale, rank: 3, alpha, bias: None }] = exports.as_slice() else {
            panic!("{name} leaves in another form");
        };
        assert!((alpha / 3.0 - scale).abs() < 1e-12);
        let change = product(&b.matmul(a).unwrap().affine(*scale, 0.0).unwrap()).reshape((2, 4, 5)).unwrap();
        assert!(largest_difference(&(base + change).unwrap(), &y) < 1e-5, "{name}");
    }
}

#[test]
fn a_start_that_is_taken_off_again_or_normalised_leaves_the_layer_as_it_is() {
    let (x, ctx) = (random("x", &[2, 4, 6]), ForwardContext::plain(2, 4));
    for (name, slots) in other_choices() {
        let base = site(5, 6).forward(&x, &ctx).unwrap();
        let mut site = site(5, 6);
        site.attach(&slots, 7).unwrap();
        let y = site.forward(&x, &ctx).unwrap();
        // Those with random starts change the layer from the first step on; the others must not.
        let starts_as_it_is = slots.base == Base::Residual || name == "magnitude alone";
        assert_eq!(largest_difference(&y, &base) < 1e-5, starts_as_it_is, "{name}");
    }
}

#[test]
fn whatever_is_chosen_merges_and_leaves_as_what_forward_computes() {
    let (x, ctx) = (random("x", &[2, 4, 6]), ForwardContext::plain(2, 4));
    let flat = x.reshape((8, 6)).unwrap();
    for (name, slots) in other_choices() {
        let mut site = site(5, 6);
        let base = site.forward(&x, &ctx).unwrap();
        site.attach(&slots, 7).unwrap();
        shake(&site);
        let y = site.forward(&x, &ctx).unwrap();
        assert!(largest_difference(&y, &base) > 0.01, "{name} changes nothing");
        let dense = |weight: &Tensor, bias: &Tensor| {
            flat.matmul(&weight.t().unwrap()).unwrap().broadcast_add(bias).unwrap().reshape((2, 4, 5)).unwrap()
        };
        let merged = site.merge().unwrap().unwrap();
        let bias = Tensor::new(merged.bias.clone().unwrap(), &Device::Cpu).unwrap();
        let merged = dense(&merged.into_tensor().unwrap(), &bias);
        assert!(largest_difference(&merged, &y) < 1e-5, "{name}: {}", largest_difference(&merged, &y));
        let exported = match site.export().unwrap().as_slice() {
            [AdapterExport::Dense { weight, bias: Some(bias) }] => {
                assert!(site.measures_whole_weight(), "{name}");
                dense(weight, bias)
            }
            [AdapterExport::LowRank { a, b, scale, bias, .. }] => {
                let sum = slots.only_adds() || slots.base == Base::Residual || slots.left != Left::None;
                assert!(sum && !site.measures_whole_weight(), "{name}");
                let change = b.matmul(a).unwrap().affine(*scale, 0.0).unwrap();
                let weight = (random("w", &[5, 6]) + change).unwrap();
                let own = random("bias", &[5]);
                dense(
                    &weight,
                    &match bias {
                        Some(bias) => (own + bias).unwrap(),
                        None => own,
                    },
                )
            }
            _ => panic!("{name} leaves in no form"),
        };
        assert!(largest_difference(&exported, &y) < 1e-5, "{name}: exported");
    }
}

#[test]
fn row_norms_are_those_of_the_dense_weight() {
    let mut site = site(5, 6);
    let slots = Slots { normaliser: Normaliser::RowMagnitude(Group::default()), ..structures()[0].1.clone() };
    site.attach(&slots, 7).unwrap();
    let params = site.params();
    let values = |name: &str| params.iter().find(|param| param.name == name).unwrap().var.as_tensor().clone();
    let change = values("here.b").matmul(&values("here.a")).unwrap().affine(4.0 / 3.0, 0.0).unwrap();
    let norms = |weight: &Tensor| weight.sqr().unwrap().sum(1).unwrap().sqrt().unwrap();
    let weight = random("w", &[5, 6]);
    assert!(largest_difference(&values("here.scale"), &norms(&weight)) < 1e-6, "magnitudes start as the norms");
    // With magnitudes equal to the norms of the changed rows the normaliser is the identity.
    let changed = (weight + change).unwrap();
    params.last().unwrap().var.set(&norms(&changed)).unwrap();
    let merged = site.merged().unwrap().unwrap();
    assert!(largest_difference(&merged, &changed) < 1e-5);
    let (x, ctx) = (random("x", &[1, 4, 6]), ForwardContext::plain(1, 4));
    let expected = x.reshape((4, 6)).unwrap().matmul(&changed.t().unwrap()).unwrap();
    let expected = expected.broadcast_add(&random("bias", &[5])).unwrap().reshape((1, 4, 5)).unwrap();
    assert!(largest_difference(&site.forward(&x, &ctx).unwrap(), &expected) < 1e-5);
}

#[test]
fn several_adapters_on_a_site_add_up_and_keep_apart() {
    let x = random("x", &[1, 4, 6]);
    let ctx = ForwardContext::plain(1, 4);
    let all = structures();
    let (first, second) = (&all[0].1, &all[5].1);
    let alone = |slots: &Slots| {
        let mut site = site(5, 6);
        site.attach(slots, 7).unwrap();
        (site.forward(&x, &ctx).unwrap() - self::site(5, 6).forward(&x, &ctx).unwrap()).unwrap()
    };
    let mut both = site(5, 6);
    both.attach(first, 7).unwrap();
    both.attach(second, 7).unwrap();
    // The second one draws other numbers than it would alone, because its name differs.
    let names: Vec<String> = both.params().into_iter().map(|param| param.name).collect();
    assert_eq!(names, ["here.a", "here.b", "here+1.a", "here+1.b", "here+1.core"]);
    let base = site(5, 6).forward(&x, &ctx).unwrap();
    let y = both.forward(&x, &ctx).unwrap();
    let rest = ((&y - &base).unwrap() - alone(first)).unwrap();
    assert!(rest.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.01);
    let merged = both.merged().unwrap().unwrap();
    let merged = x.reshape((4, 6)).unwrap().matmul(&merged.t().unwrap()).unwrap();
    let merged = merged.broadcast_add(&random("bias", &[5])).unwrap().reshape((1, 4, 5)).unwrap();
    assert!(largest_difference(&merged, &y) < 1e-5);
    let telemetry = both.telemetry().unwrap().unwrap();
    assert_eq!(telemetry.rank, 6);
    both.set_enabled(false);
    assert_eq!(largest_difference(&both.forward(&x, &ctx).unwrap(), &base), 0.0);
    both.set_enabled(true);
    both.detach_all();
    assert_eq!(largest_difference(&both.forward(&x, &ctx).unwrap(), &base), 0.0);
    assert!(both.telemetry().unwrap().is_none());
}

#[test]
fn starts_depend_on_seed_and_name_and_not_on_order() {
    let slots = Slots::low_rank(3, Scale::Fixed(1.0));
    let weight = FrozenWeight::from_tensor("w", &random("w", &[5, 6]), crate::StorageKind::F32).unwrap();
    let named = |name: &str| LinearSite::new(name, FrozenLinear { weight: Arc::new(weight.clone()), bias: None });
    let values = |names: &[&str], wanted: &str, seed: u64| {
        let sites = names.iter().map(|name| {
            let mut site = named(name);
            site.attach(&slots, seed).unwrap();
            site
        });
        let sites: Vec<LinearSite> = sites.collect();
        let site = sites.iter().find(|site| site.name() == wanted).unwrap();
        site.params()[0].var.flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    assert_eq!(values(&["p", "q"], "q", 1), values(&["q", "p"], "q", 1));
    assert_ne!(values(&["p", "q"], "q", 1), values(&["p", "q"], "p", 1));
    assert_ne!(values(&["q"], "q", 1), values(&["q"], "q", 2));
}

#[test]
fn dropout_follows_seed_step_and_row_and_is_off_outside_training() {
    let (_, slots) = structures().swap_remove(0);
    let mut site = site(5, 6);
    site.attach(&slots, 7).unwrap();
    let x = random("x", &[2, 4, 6]);
    let train = |seed, step| ForwardContext { training: true, seed, step, ..ForwardContext::plain(2, 4) };
    let run = |ctx: &ForwardContext| site.forward(&x, ctx).unwrap();
    let first = run(&train(1, 1));
    assert_eq!(largest_difference(&first, &run(&train(1, 1))), 0.0);
    assert!(largest_difference(&first, &run(&train(1, 2))) > 1e-3);
    assert!(largest_difference(&first, &run(&train(2, 1))) > 1e-3);
    let off = run(&ForwardContext::plain(2, 4));
    assert!(largest_difference(&first, &off) > 1e-3);
    // One row at a time gives what both rows gave at once.
    for row in 0..2u64 {
        let ctx = ForwardContext { rows_in_step: [row].into(), ..train(1, 1) };
        let ctx = ForwardContext { batch: 1, ..ctx };
        let alone = site.forward(&x.narrow(0, row as usize, 1).unwrap(), &ctx).unwrap();
        assert!(largest_difference(&alone, &first.narrow(0, row as usize, 1).unwrap()) < 1e-6);
    }
}

#[test]
fn no_change_at_all_is_the_layer_itself() {
    let mut site = site(5, 6);
    let (x, ctx) = (random("x", &[1, 4, 6]), ForwardContext::plain(1, 4));
    let base = site.forward(&x, &ctx).unwrap();
    site.attach(&Slots::default(), 1).unwrap();
    assert!(site.params().is_empty());
    assert_eq!(largest_difference(&site.forward(&x, &ctx).unwrap(), &base), 0.0);
    assert!(site.export().is_err());
}

/// A chain with a diagonal core, random factors, and `ahead` directions whose entry is held at 1e-5.
fn directions(rank: usize, ahead: usize) -> Slots {
    let one = Factor::trained(Init::Gaussian { std: 0.1 });
    let core = Factor::trained(Init::Tail { count: ahead, value: 1e-5 });
    let grow = Rule {
        when: When::Every { steps: 1, from: 0.0, until: 1.0 },
        scope: Scope::Model,
        score: Score::ChangeSensitivity { beta1: 0.85, beta2: 0.85 },
        action: Action::Grow { target: 4, sites: 1, by: ahead },
    };
    Slots {
        delta: Delta::Chain(Chain { rank, b: one, core: Core::Diagonal(core), a: one }),
        rules: if ahead > 0 { vec![grow] } else { Vec::new() },
        ..Slots::default()
    }
}

/// Each edit that only freezes, grows or drops what counts for nothing leaves the layer as it is.
#[test]
fn every_edit_but_a_choice_leaves_the_function_unchanged() {
    let (x, ctx) = (random("x", &[2, 4, 6]), ForwardContext::plain(2, 4));
    let set_core = |site: &LinearSite, values: &[f32]| {
        let core = site.params().into_iter().find(|param| param.name.ends_with(".core")).unwrap();
        core.var.set(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
    };
    let cases = [
        ("freeze B", 0, Edit::Freeze { part: Part::B, share: 0.5 }, vec![0.3f32, 0.0, -0.4]),
        ("freeze A", 0, Edit::Freeze { part: Part::A, share: 1.0 }, vec![0.3, 0.0, -0.4]),
        ("drop what is zero", 0, Edit::Keep { kept: vec![true, false, true], hold: true }, vec![0.3, 0.0, -0.4]),
        ("grow", 2, Edit::Grow { free: 2 }, vec![0.3, 1e-5, 1e-5]),
        ("drop what is ahead", 1, Edit::DropHeld, vec![0.3, -0.4, 1e-7]),
    ];
    for (name, ahead, edit, core) in cases {
        let mut site = site(5, 6);
        site.attach(&directions(3, ahead), 7).unwrap();
        set_core(&site, &core);
        let before = site.forward(&x, &ctx).unwrap();
        let edited = site.adapters_mut()[0].apply(&edit).unwrap();
        let off = largest_difference(&site.forward(&x, &ctx).unwrap(), &before);
        assert!(off <= 1e-6, "{name}: {off:e}");
        assert!(edited.params, "{name}");
        // Shapes, masks and what the optimiser is told fit each other.
        for param in site.params() {
            let mask = param.mask.as_ref().map(|mask| mask.dims().to_vec());
            assert!(mask.is_none_or(|mask| mask == param.var.dims()), "{name}: {}", param.name);
        }
        for edit in &edited.optimiser {
            if let OptimiserEdit::Move { name: moved, shape, from } = edit {
                let params = site.params();
                let param = params.iter().find(|param| param.name == *moved).unwrap();
                assert_eq!((param.var.dims(), param.elements()), (shape.as_slice(), from.len()), "{name}: {moved}");
            }
        }
    }
}

#[test]
fn a_growth_keeps_old_values_where_they_were_and_names_their_places() {
    let mut site = site(5, 6);
    site.attach(&directions(3, 1), 7).unwrap();
    let values = |site: &LinearSite, key: &str| -> Vec<f32> {
        let params = site.params();
        let param = params.iter().find(|param| param.name.ends_with(key)).unwrap();
        param.var.flatten_all().unwrap().to_vec1().unwrap()
    };
    let old = [".a", ".b", ".core"].map(|key| values(&site, key));
    let edited = site.adapters_mut()[0].apply(&Edit::Grow { free: 1 }).unwrap();
    assert!(edited.moved && edited.optimiser.len() == 3);
    for ((key, old), edit) in [".a", ".b", ".core"].iter().zip(&old).zip(&edited.optimiser) {
        let OptimiserEdit::Move { name, from, .. } = edit else { panic!("{edit:?}") };
        assert!(name.ends_with(key));
        for (new, from) in values(&site, key).iter().zip(from) {
            assert!(from.is_none_or(|from| old[from as usize].to_bits() == new.to_bits()), "{key}");
        }
        assert_eq!(from.iter().flatten().count(), old.len(), "{key}: every old value has a place");
    }
    assert_eq!(site.adapters()[0].directions().unwrap(), [true, true, true, false]);
    // The same growth again, on a layer that was restored: the same bytes.
    let mut other = self::site(5, 6);
    other.attach(&directions(3, 1), 7).unwrap();
    other.adapters_mut()[0].apply(&Edit::Grow { free: 1 }).unwrap();
    assert_eq!(values(&site, ".a"), values(&other, ".a"));
    let saved: std::collections::BTreeMap<String, Tensor> = site
        .params()
        .into_iter()
        .map(|param| (param.name.clone(), param.var.as_tensor().copy().unwrap()))
        .chain(site.memory().unwrap())
        .collect();
    let mut back = self::site(5, 6);
    back.attach(&directions(3, 1), 7).unwrap();
    back.restore(&|name| Ok(saved.get(name).cloned())).unwrap();
    for (param, old) in back.params().iter().zip(site.params()) {
        assert_eq!((param.name.as_str(), param.var.dims()), (old.name.as_str(), old.var.dims()));
        assert_eq!(param.mask.is_some(), old.mask.is_some(), "{}", param.name);
        assert_eq!(param.trained().unwrap(), old.trained().unwrap());
    }
}
