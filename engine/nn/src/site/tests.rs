//! Stacks of adapters, hooks, promoted weights.

use super::*;
use crate::param::Grads;
use crate::rng::Stream;
use crate::slots::Scale;
use candle_core::Device;

fn random(name: &str, shape: &[usize], std: f64) -> Tensor {
    let mut values = vec![0f32; shape.iter().product()];
    Stream::new(11, name).fill_normal(&mut values, std);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn site() -> LinearSite {
    let weight = FrozenWeight::from_tensor("w", &random("w", &[40, 64], 0.3), crate::StorageKind::Q8_0).unwrap();
    LinearSite::new("here", FrozenLinear { weight: Arc::new(weight), bias: Some(random("b", &[40], 0.3)) })
}

/// An adapter whose change depends on the input, with every hook in use.
struct Doubling {
    steps: u64,
}

impl Adapter for Doubling {
    fn params(&self) -> Vec<Param> {
        Vec::new()
    }

    fn forward(&self, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor> {
        Ok((below.forward(x, ctx)? * 2.0)?)
    }

    fn merge_into(&self, _weight: &mut MergedWeight) -> Result<bool> {
        Ok(false)
    }

    fn export(&self, _below: Layer<'_>) -> Result<Option<AdapterExport>> {
        Err(NnError::Adapter { site: "here".to_owned(), what: "cannot leave".to_owned() })
    }

    fn extra_loss(&self) -> Result<Option<Tensor>> {
        Ok(Some(Tensor::new(1.5f32, &Device::Cpu)?))
    }

    fn map_grads(&self, grads: &mut Grads) -> Result<()> {
        grads.scale(0.5)
    }

    fn after_step(&mut self, step: u64) -> Result<()> {
        self.steps += step;
        if self.steps > 3 {
            return Err(NnError::Value("too far".to_owned()));
        }
        Ok(())
    }
}

#[test]
fn an_adapter_sees_the_layer_with_all_adapters_below_it() {
    let (x, ctx) = (random("x", &[1, 3, 64], 1.0), ForwardContext::plain(1, 3));
    let mut site = site();
    let mut slots = Slots::low_rank(2, Scale::Fixed(1.0));
    if let crate::slots::Delta::Chain(chain) = &mut slots.delta {
        chain.b = crate::slots::Factor::trained(crate::slots::Init::Ones);
    }
    site.attach(&slots, 1).unwrap();
    let one = site.forward(&x, &ctx).unwrap();
    site.attach_adapter(Box::new(Doubling { steps: 0 }));
    let two = site.forward(&x, &ctx).unwrap();
    let difference = (two - (one * 2.0).unwrap()).unwrap().abs().unwrap().max_all().unwrap();
    assert_eq!(difference.to_scalar::<f32>().unwrap(), 0.0);
    assert!(site.merged().unwrap().is_none(), "what depends on the input must not merge");
    assert!(site.export().is_err());
}

#[test]
fn hooks_reach_every_adapter() {
    let mut site = site();
    assert!(site.extra_loss().unwrap().is_none());
    site.attach_adapter(Box::new(Doubling { steps: 0 }));
    site.attach_adapter(Box::new(Doubling { steps: 1 }));
    assert_eq!(site.extra_loss().unwrap().unwrap().to_scalar::<f32>().unwrap(), 3.0);
    let mut grads = Grads::new();
    grads.add("p", &Tensor::new(&[8f32], &Device::Cpu).unwrap()).unwrap();
    site.map_grads(&mut grads).unwrap();
    assert_eq!(grads.get("p").unwrap().to_vec1::<f32>().unwrap(), [2.0]);
    site.after_step(2).unwrap();
    assert!(site.after_step(1).is_err(), "the second adapter counted to four");
}

#[test]
fn a_promoted_weight_starts_as_the_frozen_one_and_can_return_to_it() {
    let (x, ctx) = (random("x", &[1, 3, 64], 1.0), ForwardContext::plain(1, 3));
    let mut site = site();
    let base = site.forward(&x, &ctx).unwrap();
    site.promote().unwrap();
    site.promote().unwrap();
    let largest = |left: &Tensor, right: &Tensor| {
        (left - right).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    };
    assert!(largest(&site.forward(&x, &ctx).unwrap(), &base) < 1e-5);
    let params = site.params();
    let summary: Vec<(&str, Role, bool)> =
        params.iter().map(|param| (param.name.as_str(), param.role, param.decay)).collect();
    assert_eq!(summary, [("here.weight", Role::Weight, true), ("here.bias", Role::Bias, false)]);
    let zero = site.telemetry().unwrap().unwrap();
    assert_eq!((zero.energy, zero.effective_rank, zero.rank), (0.0, 0.0, 0));
    let change = (random("u", &[40, 2], 0.1).matmul(&random("v", &[2, 64], 0.1))).unwrap();
    params[0].var.set(&(params[0].var.as_tensor() + &change).unwrap()).unwrap();
    params[1].var.set(&random("new bias", &[40], 0.3)).unwrap();
    let telemetry = site.telemetry().unwrap().unwrap();
    assert_eq!(telemetry.rank, 2);
    let norm = |tensor: &Tensor| tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
    let energy = norm(&change) / norm(&site.frozen().unwrap().weight.to_tensor().unwrap());
    assert!((telemetry.energy - f64::from(energy)).abs() < 1e-5);
    assert!(largest(&site.forward(&x, &ctx).unwrap(), &base) > 0.1);
    let exports = site.export().unwrap();
    let [AdapterExport::Dense { weight, bias: Some(bias) }] = exports.as_slice() else {
        panic!("a trained weight leaves whole");
    };
    assert_eq!(largest(weight, params[0].var.as_tensor()), 0.0);
    assert_eq!(largest(bias, params[1].var.as_tensor()), 0.0);
    site.set_enabled(false);
    assert_eq!(largest(&site.forward(&x, &ctx).unwrap(), &base), 0.0);
}

/// A site whose weight is stored as `kind`, with two adapters on it that are not nothing.
fn stacked(kind: crate::StorageKind) -> LinearSite {
    let weight = FrozenWeight::from_tensor("w", &random("w", &[40, 64], 0.3), kind).unwrap();
    let mut site = LinearSite::new("here", FrozenLinear { weight: Arc::new(weight), bias: None });
    for (index, rank) in [2, 3].into_iter().enumerate() {
        let mut slots = Slots::low_rank(rank, Scale::Fixed(0.7));
        slots.bias = Some(crate::slots::Factor::trained(crate::slots::Init::Zeros));
        site.attach(&slots, 1).unwrap();
        for param in site.adapters()[index].params() {
            param.var.set(&random(&format!("{index}{}", param.name), param.var.dims(), 0.2)).unwrap();
        }
    }
    site
}

#[test]
fn what_is_settled_answers_as_before_gives_no_gradient_and_takes_the_next_adapter() {
    let (x, ctx) = (random("x", &[1, 3, 64], 1.0), ForwardContext::plain(1, 3));
    let largest = |left: &Tensor, right: &Tensor| {
        (left - right).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    };
    for (kind, stays) in [(crate::StorageKind::F32, false), (crate::StorageKind::Q8_0, true)] {
        let mut site = stacked(kind);
        let (before, merged) = (site.forward(&x, &ctx).unwrap(), site.merged().unwrap().unwrap());
        let bare = site.forward_base(&x).unwrap();
        site.settle(1.0).unwrap();
        assert!(site.params().is_empty() && !site.is_adapted());
        assert!(largest(&site.forward(&x, &ctx).unwrap(), &before) < 2e-5, "{kind:?}");
        assert!(largest(&site.merged().unwrap().unwrap(), &merged) < 1e-6, "{kind:?}");
        assert!(largest(&site.forward_base(&x).unwrap(), &bare) > 0.1, "switched off it is what was settled");
        assert_eq!((site.has_bias(), site.came_with_bias()), (true, false));
        let held = &site.frozen().unwrap().weight;
        assert_eq!(held.kind == kind && held.as_f32().is_none(), stays, "blocks stay blocks");
        // Half of the change is half of the way.
        let mut half = stacked(kind);
        let from = half.weight.values().unwrap().into_tensor().unwrap();
        half.settle(0.5).unwrap();
        let middle = ((from + merged).unwrap() * 0.5).unwrap();
        assert!(largest(&half.merged().unwrap().unwrap(), &middle) < 1e-6, "{kind:?}");
        // What comes next has the name that it would have on a bare layer, and is a part of the fused path.
        site.attach(&Slots::low_rank(2, Scale::Fixed(1.0)), 1).unwrap();
        assert_eq!(site.params()[0].name, "here.a");
        assert!(site.fused(&ctx).unwrap().is_some());
        assert!(largest(&site.forward(&x, &ctx).unwrap(), &before) < 2e-5);
    }
}

#[test]
fn what_is_folded_can_still_be_switched_off() {
    let (x, ctx) = (random("x", &[1, 3, 64], 1.0), ForwardContext::plain(1, 3));
    let bits = |tensor: Tensor| -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    };
    for kind in [crate::StorageKind::F32, crate::StorageKind::Q8_0] {
        let mut site = stacked(kind);
        let (on, off) = (site.forward(&x, &ctx).unwrap(), bits(site.forward_base(&x).unwrap()));
        site.fold().unwrap();
        assert!(site.adapters().is_empty());
        let change = (site.forward(&x, &ctx).unwrap() - on).unwrap().abs().unwrap().max_all().unwrap();
        assert!(change.to_scalar::<f32>().unwrap() < 2e-5, "{kind:?}");
        assert!(bits(site.forward_base(&x).unwrap()) == off, "{kind:?}");
    }
}

#[test]
fn what_depends_on_the_input_cannot_settle() {
    let mut site = site();
    site.attach_adapter(Box::new(Doubling { steps: 0 }));
    let error = site.settle(1.0).unwrap_err().to_string();
    assert!(error.contains("cannot leave") || error.contains("depends on the input"), "{error}");
    assert!(site.is_adapted(), "it is left as it was");
}

#[test]
fn a_rounded_layer_keeps_its_rounding_error_when_something_settles() {
    let source =
        Arc::new(FrozenWeight::from_tensor("w", &random("w", &[40, 64], 0.3), crate::StorageKind::F32).unwrap());
    let rounded = FrozenWeight::from_tensor("w", &source.to_tensor().unwrap(), crate::StorageKind::Nf4).unwrap();
    let error = |site: &LinearSite| {
        let held = site.frozen().unwrap().weight.to_tensor().unwrap();
        (site.source().unwrap().to_tensor().unwrap() - held).unwrap()
    };
    // A sum stays beside the blocks, factors of rows do not.
    let rows = Slots {
        normaliser: crate::slots::Normaliser::RowScale(crate::slots::Factor::trained(crate::slots::Init::Ones)),
        ..Slots::default()
    };
    for slots in [Slots::low_rank(2, Scale::Fixed(1.0)), rows] {
        let layer = FrozenLinear { weight: Arc::new(rounded.clone()), bias: None };
        let mut site = LinearSite::new("here", layer).with_source(Arc::clone(&source));
        let before = error(&site);
        site.attach(&slots, 1).unwrap();
        for param in site.params() {
            param.var.set(&random(&param.name, param.var.dims(), 0.5)).unwrap();
        }
        site.settle(1.0).unwrap();
        let off = (error(&site) - before).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(off < 1e-6, "{off}");
    }
}

#[test]
fn fisher_information_is_the_sum_of_the_squares_of_each_samples_gradient() {
    let (site, ctx) = (site(), ForwardContext::plain(2, 3));
    let (x, factor) = (random("x", &[2, 3, 64], 1.0), random("factor", &[2, 3, 40], 1.0));
    let mut passes = 0;
    let seen = crate::layer_stats::gather(&[(&site, Gather::Fisher)], || -> Result<bool> {
        passes += 1;
        // The input is tracked, nothing is trained: the second sample's gradient is not the first's.
        let input = Var::from_tensor(&x)?;
        let y = site.forward(input.as_tensor(), &ctx)?;
        (y * &factor)?.sum_all()?.backward()?;
        Ok(passes < 1)
    });
    let seen = seen.unwrap();
    let Some(LayerStats::Fisher(fisher)) = seen.get("here").map(|stats| &**stats) else { panic!("nothing was seen") };
    assert_eq!(fisher.samples(), 2);
    let alone = |samples: std::ops::Range<usize>| {
        let mut stats = LayerStats::new(Gather::Fisher, 64);
        for sample in samples {
            let rows = |tensor: &Tensor| tensor.get(sample).unwrap();
            let gradient = rows(&factor).t().unwrap().matmul(&rows(&x)).unwrap();
            stats.take_in(&gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap()).unwrap();
        }
        let LayerStats::Fisher(fisher) = stats else { panic!("no Fisher information") };
        fisher.weights()
    };
    let close = |found: &(Vec<f32>, Vec<f32>), expected: &(Vec<f32>, Vec<f32>)| {
        let mut all = found.0.iter().chain(&found.1).zip(expected.0.iter().chain(&expected.1));
        all.all(|(found, expected)| (found - expected).abs() <= 1e-4 * expected)
    };
    assert!(close(&fisher.weights(), &alone(0..2)));
    assert!(!close(&fisher.weights(), &alone(0..1)), "one sample is not both");
    // Off, nothing is seen any more.
    assert!(!site.is_watched());
}
