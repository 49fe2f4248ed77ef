//! MoLA: counts by bands, one expert as LoRA, experts in another order, weights of the chosen, the sheet's mixture of four
//! kinds of inputs, and what its mean loses as a file.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - one expert of one is LoRA to 1e-6, permuted experts -> `nn/src/slot_adapter/tests/router.rs`,
//!   `one_expert_is_its_chain_and_permuted_experts_are_the_same`
//! - goals and comparisons over three seeds -> `tests/examples/structure_seeds.rs`, mixture

use crate::bench::{Outcome, count, dims, layer, normal, off, orthogonal, param, slots, tell, values};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;
use temper_methods::{ModelDims, SiteDims, find};
use temper_nn::optim::{AdamW, AdamWConfig};
use temper_nn::slots::{Mix, Scale, Slots};
use temper_nn::{ForwardContext, FrozenLinear, FrozenWeight, Grads, LinearSite, ParamSet, StorageKind};
use temper_protocol::{Problem, Value};

fn settings(experts: &str, rank: i64, top: i64) -> Vec<(&'static str, Value)> {
    let experts = experts.split(',').map(|count| count.trim().to_owned()).collect();
    let alpha = ("alpha", Value::Number(rank as f64));
    let plain = [("experts", Value::List(experts)), ("rank", Value::Integer(rank)), ("top", Value::Integer(top))];
    plain.into_iter().chain([alpha, ("dropout", Value::Number(0.0))]).collect()
}

/// Queries of so many blocks.
fn model(blocks: usize) -> ModelDims {
    let site = |layer: usize| SiteDims {
        name: format!("layers.{layer}.attn.q"),
        layer: Some(layer),
        ..dims(&format!("model.layers.{layer}.self_attn.q_proj"), false)
    };
    ModelDims { sites: (0..blocks).map(site).collect(), own: Vec::new(), head_features: 4 }
}

#[test]
fn params_are_the_experts_of_each_band_and_their_routers() -> Outcome {
    // One layer, in block 0 of 1.
    assert_eq!(count("mola", 48, 40, &settings("5", 3, 2))?, 5 * (3 * (48 + 40) + 40));
    let one = (2 * 64 * 8 + 64) as u64;
    for (blocks, experts) in [(32, 8 * (2 + 4 + 6 + 8)), (4, 2 + 4 + 6 + 8), (6, 2 + 2 + 4 + 6 + 6 + 8)] {
        let found = find("mola")?.trained_parameters(&values(&[]), &model(blocks))?;
        assert_eq!(found, experts * one, "{blocks} blocks");
    }
    for wrong in ["0", "2, x", "65", ""] {
        let Err(error) = find("mola")?.plan(&values(&settings(wrong, 3, 2)), &model(4).sites, 1) else {
            return Err(format!("{wrong:?} is taken").into());
        };
        assert!(Problem::from(error).r#where.contains("experts"));
    }
    Ok(())
}

#[test]
fn more_experts_stand_higher_and_no_more_answer_than_there_are() -> Outcome {
    let plan = find("mola")?.plan(&values(&settings("1, 4", 3, 2)), &model(4).sites, 1)?;
    let found = plan.adapters.iter().map(|(_, slots)| match slots.mix {
        Mix::Routed(router) => (router.experts, router.top, slots.rank()),
        Mix::One => (0, 0, 0),
    });
    assert_eq!(found.collect::<Vec<_>>(), [(1, 1, 3), (1, 1, 3), (4, 2, 12), (4, 2, 12)]);
    Ok(())
}

/// Moves every parameter.
fn shaken(slots: &Slots) -> Outcome<LinearSite> {
    let mut site = layer()?;
    site.attach(slots, 3)?;
    for param in site.params() {
        let noise = normal(&param.name, 1, param.elements(), 0.3)?.reshape(param.var.dims())?;
        param.var.set(&(param.var.as_tensor() + noise)?)?;
    }
    Ok(site)
}

fn answers(site: &LinearSite, x: &Tensor) -> Outcome<Tensor> {
    Ok(site.forward(x, &ForwardContext::plain(1, x.dim(0)?))?)
}

#[test]
fn one_expert_of_one_is_lora() -> Outcome {
    let x = normal("x", 9, 64, 1.0)?;
    let ours = shaken(&slots("mola", &settings("1", 4, 2))?)?;
    let theirs = shaken(&slots("lora", &[("rank", Value::Integer(4)), ("alpha", Value::Number(4.0))])?)?;
    assert!(off(&param(&ours, "w.a")?, &param(&theirs, "w.a")?)? == 0.0, "they start alike");
    assert!(off(&answers(&ours, &x)?, &answers(&theirs, &x)?)? <= 1e-6 * 64.0);
    Ok(())
}

#[test]
fn experts_in_another_order_answer_the_same_and_weights_add_up_to_one() -> Outcome {
    let x = normal("x", 9, 64, 1.0)?;
    let site = shaken(&slots("mola", &settings("4", 2, 2))?)?;
    let before = answers(&site, &x)?;
    let (order, wide) =
        (Tensor::new(&[3u32, 1, 0, 2], &Device::Cpu)?, Tensor::new(&[6u32, 7, 2, 3, 0, 1, 4, 5], &Device::Cpu)?);
    for param in site.params() {
        let (numbers, dim) = match param.name.as_str() {
            "w.router" => (&order, 0),
            "w.a" => (&wide, 0),
            _ => (&wide, 1),
        };
        param.var.set(&param.var.index_select(numbers, dim)?)?;
    }
    assert!(off(&answers(&site, &x)?, &before)? <= 1e-5);
    // Experts that all say the same answer as one of them: their weights add up to 1.
    for param in site.params().iter().filter(|param| param.name != "w.router") {
        let dim = usize::from(param.name == "w.b");
        let first = param.var.narrow(dim, 0, 2)?;
        param.var.set(&Tensor::cat(&[&first, &first, &first, &first], dim)?)?;
    }
    let scale = Scale::Fixed(1.0).value(2);
    let (a, b) = (param(&site, "w.a")?.narrow(0, 0, 2)?, param(&site, "w.b")?.narrow(1, 0, 2)?);
    let base = site.forward_base(&x)?;
    let one = (base + x.matmul(&a.t()?)?.matmul(&b.t()?)?.affine(scale, 0.0)?)?;
    assert!(off(&answers(&site, &x)?, &one)? <= 1e-4);
    Ok(())
}

#[test]
fn experts_that_are_not_chosen_get_no_gradient() -> Outcome {
    let x = normal("x", 1, 64, 1.0)?;
    let site = shaken(&slots("mola", &settings("5", 3, 2))?)?;
    let store = answers(&site, &x)?.sqr()?.sum_all()?.backward()?;
    let gradient = |name: &str| -> Outcome<Vec<Vec<f32>>> {
        let param = site.params().into_iter().find(|param| param.name == name).ok_or("no such parameter")?;
        Ok(store.get(param.var.as_tensor()).ok_or("no gradient")?.to_vec2()?)
    };
    let moved = |rows: &[Vec<f32>]| rows.iter().any(|row| row.iter().any(|value| *value != 0.0));
    let (a, b, router) = (gradient("w.a")?, gradient("w.b")?, gradient("w.router")?);
    let experts: Vec<[bool; 3]> = (0..5)
        .map(|expert| {
            let of_b: Vec<Vec<f32>> = b.iter().map(|row| row[3 * expert..3 * expert + 3].to_vec()).collect();
            [moved(&a[3 * expert..3 * expert + 3]), moved(&of_b), moved(&router[expert..=expert])]
        })
        .collect();
    assert_eq!(experts.iter().filter(|moved| moved[0]).count(), 2);
    assert!(experts.iter().all(|moved| moved[0] == moved[1] && moved[1] == moved[2]), "{experts:?}");
    Ok(())
}

/// Four kinds of inputs around centres of their own, each with a change of rank 2 of its own.
struct Mixture {
    x: Tensor,
    wanted: Tensor,
}

impl Mixture {
    const SIDE: usize = 32;
    const EACH: usize = 256;

    fn new() -> Outcome<Self> {
        let (mut x, mut wanted) = (Vec::new(), Vec::new());
        let centres = orthogonal("centres")?;
        for kind in 0..4 {
            let centre = centres.narrow(0, kind, 1)?.narrow(1, 0, Self::SIDE)?.affine(6.0, 0.0)?;
            let rows = normal(&format!("rows{kind}"), Self::EACH, Self::SIDE, 1.0)?.broadcast_add(&centre)?;
            let change = normal(&format!("b{kind}"), Self::SIDE, 2, 1.0)?.matmul(&normal(
                &format!("a{kind}"),
                2,
                Self::SIDE,
                1.0,
            )?)?;
            wanted.push(rows.matmul(&change.t()?)?.affine(1.0 / (Self::SIDE as f64).sqrt(), 0.0)?);
            x.push(rows);
        }
        Ok(Self { x: Tensor::cat(&x, 0)?, wanted: Tensor::cat(&wanted, 0)? })
    }

    /// Residual over variance after training, the best of two learning rates, and the layer.
    fn left(&self, slots: &Slots) -> Outcome<(f64, LinearSite)> {
        let zeros = Tensor::zeros((Self::SIDE, Self::SIDE), DType::F32, &Device::Cpu)?;
        let mean = |tensor: &Tensor| -> Outcome<f64> { Ok(f64::from(tensor.sqr()?.mean_all()?.to_scalar::<f32>()?)) };
        let variance = mean(&self.wanted)?;
        let steps = 600u32;
        let mut best: Option<(f64, LinearSite)> = None;
        for lr in [1e-2, 3e-2] {
            let held = FrozenWeight::from_tensor("w", &zeros, StorageKind::F32)?;
            let mut site = LinearSite::new("w", FrozenLinear { weight: Arc::new(held), bias: None });
            site.attach(slots, 3)?;
            let set = ParamSet::new(site.params())?;
            let mut optimiser = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
            let rows = self.x.dim(0)?;
            for step in 0..steps {
                let ctx = ForwardContext { training: true, step: u64::from(step), ..ForwardContext::plain(1, rows) };
                let loss =
                    (site.forward(&self.x, &ctx)? - &self.wanted)?.sqr()?.mean_all()?.affine(1.0 / variance, 0.0)?;
                let loss = match site.extra_loss()? {
                    Some(extra) => (loss + extra)?,
                    None => loss,
                };
                let mut grads = Grads::new();
                grads.collect(&set, &mut loss.backward()?)?;
                let share = f64::from(step) / f64::from(steps);
                optimiser.step(&set, &grads, lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos()))?;
            }
            let left = mean(&(site.forward(&self.x, &ForwardContext::plain(1, rows))? - &self.wanted)?)? / variance;
            if best.as_ref().is_none_or(|(least, _)| left < *least) {
                best = Some((left, site));
            }
        }
        best.ok_or_else(|| "nothing was trained".into())
    }
}

/// The sheet's bench on one draw (three in `tests/examples`): a change for each kind, where one change for all is a
/// compromise; and what is left when the mean choice stands in the router's place.
#[test]
fn experts_learn_kinds_of_inputs_that_one_change_cannot_hold() -> Outcome {
    let bench = Mixture::new()?;
    let small = |site: &str| SiteDims { out_features: 32, in_features: 32, ..dims(site, false) };
    let on = |id: &str, with: &[(&str, Value)]| -> Outcome<Slots> {
        let plan = find(id)?.plan(&values(with), &[small("model.layers.0.self_attn.v_proj")], 1)?;
        Ok(plan.adapters.first().ok_or("the layer is left out")?.1.clone())
    };
    let (lora, _) = bench.left(&on("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))])?)?;
    let (ours, site) = bench.left(&on("mola", &settings("4", 2, 2))?)?;
    let with = [settings("4", 2, 2), vec![("balance", Value::Number(1e-2))]].concat();
    let (balanced, even) = bench.left(&on("mola", &with)?)?;
    site.fix_routing(true);
    let rows = bench.x.dim(0)?;
    let off = (site.forward(&bench.x, &ForwardContext::plain(1, rows))? - &bench.wanted)?.sqr()?.mean_all()?;
    let mean = f64::from(off.to_scalar::<f32>()? / bench.wanted.sqr()?.mean_all()?.to_scalar::<f32>()?);
    site.fix_routing(false);
    let loads = (site.routing().ok_or("no router")?, even.routing().ok_or("no router")?);
    tell(&format!(
        "four kinds: LoRA of rank 8 leaves {lora:.3}, four experts of 2 {ours:.3}, balanced {balanced:.3}, their mean {mean:.3}"
    ));
    tell(&format!(
        "loads {:.2?} and {:.2?}, entropies {:.2} and {:.2}",
        loads.0.load, loads.1.load, loads.0.entropy, loads.1.entropy
    ));
    assert!(ours < 0.5 * lora, "experts leave {ours}, LoRA {lora}");
    assert!(mean > ours, "a mean cannot be better than the choice it stands for");
    Ok(())
}
