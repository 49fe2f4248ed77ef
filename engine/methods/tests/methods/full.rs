//! Full training beyond the contract: what its switches promote, and what that adds up to.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `forget.rs` and `layer_cases.rs`, what
//!   begins with `full:`

use crate::bench::{
    Outcome, SIDE, dense_goal, fit, inputs, layer, loss, low_rank_goal, normal, orthogonal, sized, slots, train, weight,
};
use crate::forget::Forget;
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;
use temper_methods::{ModelDims, OwnDims, Promote, SiteDims, find};
use temper_nn::{FrozenLinear, FrozenWeight, LinearSite, StorageKind, linalg};
use temper_protocol::{Problem, Value, Values};

/// Two blocks of one linear layer with bias, two norms each, embedding, final norm, own head.
fn model() -> ModelDims {
    let site = |layer: usize| SiteDims {
        name: format!("layers.{layer}.attn.q"),
        hf_name: format!("model.layers.{layer}.self_attn.q_proj"),
        out_features: 8,
        in_features: 4,
        layer: Some(layer),
        bias: true,
        window: (1, 1),
    };
    let own = |name: &str, entries: u64| OwnDims { name: name.to_owned(), entries };
    ModelDims {
        sites: (0..12).map(site).collect(),
        own: [own("embed", 1000), own("norm", 4), own("head", 2000)]
            .into_iter()
            .chain((0..12).flat_map(|layer| {
                [own(&format!("layers.{layer}.attn_norm"), 4), own(&format!("layers.{layer}.attn.q_norm"), 2)]
            }))
            .collect(),
        head_features: 2,
    }
}

fn values(settings: &[(&str, Value)]) -> Values {
    Values(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
}

fn promoted(settings: &[(&str, Value)]) -> Outcome<Vec<String>> {
    let (model, values) = (model(), values(settings));
    let full = find("full")?;
    let selector = full.plan(&values, &model.sites, 1)?.promote.selector()?;
    let names = model.sites.iter().map(|site| site.name.clone()).chain(model.own.iter().map(|own| own.name.clone()));
    let selected: Vec<String> = names.filter(|name| selector.selects(name)).collect();
    let entries = |name: &String| {
        let site = model.sites.iter().find(|site| site.name == *name).map(SiteDims::entries);
        site.or_else(|| model.own.iter().find(|own| own.name == *name).map(|own| own.entries)).unwrap_or(0)
    };
    assert_eq!(full.trained_parameters(&values, &model)?, selected.iter().map(entries).sum::<u64>());
    Ok(selected)
}

#[test]
fn everything_is_trained_unless_asked_otherwise() -> Outcome {
    let full = find("full")?;
    assert_eq!(full.plan(&Values::default(), &model().sites, 1)?.promote, Promote::Everything);
    assert_eq!(full.trained_parameters(&Values::default(), &model())?, 12 * (8 * 4 + 8 + 4 + 2) + 1000 + 4 + 2000);
    assert_eq!(promoted(&[])?.len(), 12 * 3 + 3);
    Ok(())
}

#[test]
fn switches_leave_out_what_they_name_and_nothing_else() -> Outcome {
    let off = Value::Flag(false);
    let without = |gone: &[&str], settings: &[(&str, Value)]| -> Outcome {
        let left = promoted(settings)?;
        for name in promoted(&[])? {
            let expected = !gone.iter().any(|part| name.ends_with(part));
            assert_eq!(left.contains(&name), expected, "{name} with {settings:?}");
        }
        Ok(())
    };
    without(&["embed"], &[("train_embeddings", off.clone())])?;
    without(&["head"], &[("train_head", off.clone())])?;
    without(&["norm"], &[("train_norms", off.clone())])?;
    without(
        &["norm", "embed", "head"],
        &[("train_norms", off.clone()), ("train_embeddings", off.clone()), ("train_head", off)],
    )
}

#[test]
fn layers_choose_blocks_by_number_and_not_by_prefix() -> Outcome {
    let chosen = promoted(&[("layers", Value::Text("1".to_owned())), ("train_embeddings", Value::Flag(false))])?;
    assert_eq!(chosen, ["layers.1.attn.q", "norm", "head", "layers.1.attn_norm", "layers.1.attn.q_norm"]);
    let outside = find("full")?.plan(&values(&[("layers", Value::Text("12".to_owned()))]), &model().sites, 1);
    let Err(error) = outside else { return Err("block 12 does not exist".into()) };
    let problem = Problem::from(error);
    assert!(problem.what.contains("the last one is 11"), "{problem}");
    Ok(())
}

#[test]
fn weights_and_biases_go_with_their_site() -> Outcome {
    let settings = values(&[("layers", Value::Integer(1))]);
    let selector = find("full")?.plan(&settings, &model().sites, 1)?.promote.selector()?;
    assert!(selector.selects("layers.1.attn.q.weight") && selector.selects("layers.1.attn.q.bias"));
    assert!(!selector.selects("layers.10.attn.q.weight") && !selector.selects("layers.0.attn.q.bias"));
    Ok(())
}

/// The changes that the other methods are measured on, each by its kind.
fn changes() -> Outcome<Vec<(&'static str, Tensor)>> {
    let (weight, drawn) = (weight()?, |name: &str, rows: usize, cols: usize| normal(name, rows, cols, 1.0));
    let kron = |left: &str, right: &str| -> Outcome<Tensor> {
        let (left, right) = (drawn(left, 8, 8)?.reshape((8, 1, 8, 1))?, drawn(right, 8, 8)?.reshape((1, 8, 1, 8))?);
        Ok(left.broadcast_mul(&right)?.reshape((SIDE, SIDE))?)
    };
    let groups = (0..SIDE / 8).map(|group| -> Outcome<Tensor> {
        let block = drawn(&format!("block {group}"), 8, 8)?;
        let piece = |piece: usize| -> Outcome<Tensor> {
            let own = weight.narrow(0, group * 8, 8)?.narrow(1, piece * 8, 8)?.contiguous()?;
            Ok((own.matmul(&block)? + &block)?)
        };
        Ok(Tensor::cat(&(0..SIDE / 8).map(piece).collect::<Outcome<Vec<_>>>()?, 1)?)
    });
    let values: Vec<f64> = weight.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let lu = linalg::leading_lu(&values, SIDE, SIDE, 16)?;
    let matrix = |values: &[f64], rows: usize, cols: usize| {
        Tensor::from_vec(values.iter().map(|value| *value as f32).collect::<Vec<f32>>(), (rows, cols), &Device::Cpu)
    };
    let pivots = matrix(&lu.l, SIDE, 16)?.broadcast_mul(&drawn("pivots", 1, 16)?)?.matmul(&matrix(&lu.u, 16, SIDE)?)?;
    let leading = |name: &str| -> Outcome<Tensor> { Ok(orthogonal(name)?.narrow(1, 0, 8)?.contiguous()?) };
    let principal = leading("left")?.matmul(&drawn("core", 8, 8)?)?.matmul(&leading("right")?.t()?.contiguous()?)?;
    Ok(vec![
        ("two Kronecker products", (kron("u", "v")? + kron("other u", "other v")?)?),
        ("a curve through the values", (&weight * weight.abs()?)?),
        ("blocks", Tensor::cat(&groups.collect::<Outcome<Vec<_>>>()?, 0)?),
        ("pivots", pivots),
        ("the weight's own directions", principal),
        ("rows by a factor each", weight.broadcast_mul(&drawn("rows", SIDE, 1)?)?),
        ("outputs recombined", drawn("b", SIDE, 4)?.matmul(&drawn("a", 4, SIDE)?)?.matmul(&weight)?),
    ])
}

#[test]
fn a_goal_of_any_kind_is_solved() -> Outcome {
    assert_eq!(find("full")?.plan(&Values::default(), &model().sites, 1)?.promote, Promote::Everything);
    let mut goals = vec![("every entry", dense_goal()?), ("low rank", low_rank_goal()?)];
    for (kind, change) in changes()? {
        goals.push((kind, (weight()? + sized(&change, 4.0)?)?));
    }
    for (kind, goal) in goals {
        let mut site = layer()?;
        site.promote()?;
        let left = fit(&mut site, &goal, 400, 1e-2)?;
        assert!(left < 0.01, "{kind}: {left} is left");
    }
    // A shift of the outputs is the bias's to learn.
    let zeros = Tensor::zeros(SIDE, DType::F32, &Device::Cpu)?;
    let held = FrozenWeight::from_tensor("w", &weight()?, StorageKind::F32)?;
    let mut site = LinearSite::new("w", FrozenLinear { weight: Arc::new(held), bias: Some(zeros) });
    site.promote()?;
    let x = inputs()?;
    let wanted = x.matmul(&weight()?.t()?)?.broadcast_add(&normal("shift", 1, SIDE, 0.5)?)?;
    let before = loss(&layer()?, &x, &wanted)?.to_scalar::<f32>()?;
    train(&mut site, &x, &wanted, 400, 1e-2)?;
    let left = loss(&site, &x, &wanted)?.to_scalar::<f32>()? / before;
    assert!(left < 0.01, "a shift: {left} is left");
    Ok(())
}

#[test]
fn ten_steps_go_further_than_loras_and_forget_more() -> Outcome {
    const LR: f64 = 3e-3;
    let bench = Forget::new()?;
    let lora = slots("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))])?;
    let (lora, full) = (bench.curve(&lora, &bench.task, 10, LR)?, bench.whole(10, LR)?);
    let (Some(lora), Some(full)) = (lora.last(), full.last()) else { return Err("no step".into()) };
    assert!(full.0 < 0.6 * lora.0, "error {} beside LoRA's {}", full.0, lora.0);
    assert!(full.1 > 1.5 * lora.1, "forgotten {} beside LoRA's {}", full.1, lora.1);
    Ok(())
}
