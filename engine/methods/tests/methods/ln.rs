//! Norms: which weights are trained, and that nothing else is.

use crate::bench::{Outcome, values};
use temper_methods::{ModelDims, OwnDims, SiteDims, find};
use temper_protocol::Value;

fn model() -> ModelDims {
    let site = |layer: usize| SiteDims {
        name: format!("layers.{layer}.attn.q"),
        layer: Some(layer),
        ..crate::bench::dims(&format!("model.layers.{layer}.self_attn.q_proj"), true)
    };
    let own = |name: String, entries: u64| OwnDims { name, entries };
    let blocks =
        (0..12).flat_map(|layer| ["attn_norm", "mlp_norm"].map(|part| own(format!("layers.{layer}.{part}"), 8)));
    let others = [("embed", 1000), ("norm", 8), ("head", 1000)].map(|(name, entries)| own(name.to_owned(), entries));
    ModelDims { sites: (0..12).map(site).collect(), own: blocks.chain(others).collect(), head_features: 4 }
}

fn selected(settings: &[(&str, Value)]) -> Outcome<Vec<String>> {
    let (ln, model, values) = (find("ln")?, model(), values(settings));
    let selector = ln.plan(&values, &model.sites, 1)?.promote.selector()?;
    assert!(model.sites.iter().all(|site| !selector.selects(&site.name)), "a linear layer is trained");
    let own: Vec<&OwnDims> = model.own.iter().filter(|own| selector.selects(&own.name)).collect();
    assert_eq!(ln.trained_parameters(&values, &model)?, own.iter().map(|own| own.entries).sum::<u64>());
    Ok(own.into_iter().map(|own| own.name.clone()).collect())
}

#[test]
fn params_are_the_norms_and_nothing_else() -> Outcome {
    let all = selected(&[])?;
    assert_eq!(all.len(), 25);
    assert!(all.iter().all(|name| name.contains("norm")));
    Ok(())
}

#[test]
fn settings_choose_blocks_and_the_last_norm() -> Outcome {
    let without = [("train_final", Value::Flag(false))];
    assert!(!selected(&without)?.contains(&"norm".to_owned()));
    let one = selected(&[("layers", Value::Text("1".to_owned())), ("train_final", Value::Flag(false))])?;
    assert_eq!(one, ["layers.1.attn_norm", "layers.1.mlp_norm"]);
    Ok(())
}
