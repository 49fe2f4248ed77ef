//! Targets: the same layers, ranks and alphas as PEFT for what PEFT can say, and clear refusals for slips.
//!
//! `peft_targets.json` was measured with PEFT by `peft_targets.py`, both beside this file.

use proptest::prelude::*;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::error::Error;
use temper_methods::targets::{parse_layers, select};
use temper_methods::{MethodError, Plan, SiteDims, find};
use temper_protocol::{Problem, Value, Values};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const OWN: [(&str, &str); 7] = [
    ("self_attn.q_proj", "attn.q"),
    ("self_attn.k_proj", "attn.k"),
    ("self_attn.v_proj", "attn.v"),
    ("self_attn.o_proj", "attn.o"),
    ("mlp.gate_proj", "mlp.gate"),
    ("mlp.up_proj", "mlp.up"),
    ("mlp.down_proj", "mlp.down"),
];

/// A layer by its Hugging Face name, with the name of this program.
fn site(hf_name: &str) -> SiteDims {
    let mut parts = hf_name.splitn(4, '.');
    let layer = parts.nth(2).and_then(|layer| layer.parse::<usize>().ok());
    let own = OWN.iter().find(|(hf, _)| parts.next() == Some(hf) || hf_name.ends_with(&format!(".{hf}")));
    let name = match (layer, own) {
        (Some(layer), Some((_, own))) => format!("layers.{layer}.{own}"),
        _ => "head".to_owned(),
    };
    SiteDims {
        name,
        hf_name: hf_name.to_owned(),
        out_features: 32,
        in_features: 32,
        layer,
        bias: false,
        window: (1, 1),
    }
}

/// A llama of `layers` blocks with its head.
fn llama(layers: usize) -> Vec<SiteDims> {
    let blocks = (0..layers).flat_map(|layer| OWN.map(|(hf, _)| site(&format!("model.layers.{layer}.{hf}"))));
    blocks.chain([site("lm_head")]).collect()
}

fn values(settings: &[(&str, Value)]) -> Values {
    Values(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// PEFT's arguments as this program's settings: lists stay lists, tables tables, layer numbers become a list.
fn settings(arguments: &Json) -> Outcome<BTreeMap<String, Value>> {
    let mut settings =
        BTreeMap::from([("rank".to_owned(), Value::Integer(8)), ("alpha".to_owned(), Value::Number(16.0))]);
    for (argument, value) in arguments.as_object().ok_or("no arguments")? {
        let key = match argument.as_str() {
            "target_modules" => "targets",
            "exclude_modules" => "exclude",
            "layers_to_transform" => "layers",
            other => other,
        };
        let value = match value {
            Json::Number(number) => text(&number.to_string()),
            other => serde_json::from_value(other.clone())?,
        };
        settings.insert(key.to_owned(), value);
    }
    Ok(settings)
}

/// Layer to (rank, alpha, scale).
type Adapted = BTreeMap<String, (usize, f64, f64)>;

fn adapted(plan: &Plan, sites: &[SiteDims]) -> Adapted {
    let hf = |name: &str| sites.iter().find(|site| site.name == name).map(|site| site.hf_name.clone());
    let slots = plan.adapters.iter().filter_map(|(name, slots)| Some((hf(name)?, slots)));
    slots
        .map(|(name, slots)| (name, (slots.rank(), slots.scale.alpha(slots.rank()), slots.scale.value(slots.rank()))))
        .collect()
}

#[test]
fn every_case_measured_with_peft_selects_the_same_layers_ranks_and_scales() -> Outcome {
    let table: Json = serde_json::from_str(include_str!("peft_targets.json"))?;
    let names: Vec<&str> =
        table["linear_layers"].as_array().ok_or("no layers")?.iter().filter_map(Json::as_str).collect();
    let sites: Vec<SiteDims> = names.iter().map(|name| site(name)).collect();
    let lora = find("lora")?;
    let (mut cases, mut refused_keys) = (0, Vec::new());
    for case in table["cases"].as_array().ok_or("no cases")? {
        cases += 1;
        let name = case["name"].as_str().unwrap_or_default();
        let mut expected = Adapted::new();
        for group in case["adapted"].as_array().ok_or_else(|| format!("{name} was refused by PEFT"))? {
            let (rank, alpha) = (group[0].as_u64().unwrap_or(0) as usize, group[1].as_f64().unwrap_or(0.0));
            for number in group[3].as_array().ok_or("no layers")? {
                let hf = names[number.as_u64().unwrap_or(u64::MAX) as usize];
                expected.insert(hf.to_owned(), (rank, alpha, group[2].as_f64().unwrap_or(0.0)));
            }
        }
        let mut settings = settings(&case["arguments"])?;
        // PEFT lets pattern keys pass that hit nothing; here they are refused, and the rest must agree without them.
        let plan = loop {
            match lora.plan(&Values(settings.clone()), &sites, 1) {
                Err(MethodError::NoTarget { setting: "rank_pattern", entry, .. }) => {
                    if let Some(Value::Table(table)) = settings.get_mut("rank_pattern") {
                        table.remove(&entry);
                    }
                    refused_keys.push(entry);
                }
                other => break other.map_err(|error| format!("{name}: {error}"))?,
            }
        };
        assert_eq!(adapted(&plan, &sites), expected, "{name}");
    }
    assert!(cases >= 30, "only {cases} cases");
    assert_eq!(refused_keys, [r"^self_attn\.q_proj", "_proj"]);
    Ok(())
}

#[test]
fn names_of_this_program_work_like_those_of_hugging_face() -> Outcome {
    let sites = llama(3);
    let chosen = |settings: &[(&str, Value)]| -> Outcome<Vec<String>> {
        let values = values(settings);
        Ok(select(&values, &sites)?.into_iter().map(|site| site.name.clone()).collect())
    };
    for (ours, theirs) in
        [("attn.q", "q_proj"), ("layers.1.mlp.down", "model.layers.1.mlp.down_proj"), ("head", "lm_head")]
    {
        assert_eq!(chosen(&[("targets", text(ours))])?, chosen(&[("targets", text(theirs))])?);
    }
    // A list in one text, as --set gives it; a comma within brackets belongs to an expression.
    assert_eq!(chosen(&[("targets", text("attn.q, v_proj"))])?.len(), 6);
    assert_eq!(chosen(&[("targets", text(r"layers\.\d{1,2}\.attn\.[qk],mlp.up"))])?.len(), 9);
    // Marked as an expression although it could be a name: the dots are any character.
    assert_eq!(chosen(&[("targets", text("re:model.layers.2.self_attn.q_proj"))])?, ["layers.2.attn.q"]);
    assert_eq!(
        chosen(&[("targets", text("all-linear")), ("layers", text("1-")), ("exclude", text("re:.*attn.*"))])?.len(),
        6
    );
    assert!(!chosen(&[("targets", text("all-linear"))])?.contains(&"head".to_owned()));
    Ok(())
}

#[test]
fn slips_are_answered_with_the_nearest_name_and_what_exists() {
    let sites = llama(4);
    let refusal = |settings: &[(&str, Value)]| match select(&values(settings), &sites) {
        Ok(chosen) => Problem::internal(format!("{} layers were chosen", chosen.len())),
        Err(error) => error.into(),
    };
    type Case<'a> = (&'a [(&'a str, Value)], &'a [&'a str]);
    let cases: [Case<'_>; 11] = [
        (
            &[("targets", text("q_porj"))],
            &["q_porj", "did you mean \"q_proj\"", "down_proj (mlp.down)", "blocks 0 to 3"],
        ),
        (&[("targets", text("attn.qq"))], &["did you mean \"attn.q\""]),
        (&[("targets", text("all-liner"))], &["did you mean \"all-linear\""]),
        (
            &[("targets", text("model.layers.9.self_attn.q_proj"))],
            &["did you mean \"model.layers.0.self_attn.q_proj\""],
        ),
        (&[("targets", text("proj"))], &["hits no linear layer", "q_proj (attn.q)"]),
        (&[("targets", text("q_proj")), ("exclude", text("v_porj"))], &["method.exclude", "did you mean \"v_proj\""]),
        (&[("targets", text("q_proj")), ("exclude", text("attn.q"))], &["leave no layer"]),
        (&[("targets", text("")), ("layers", text("1"))], &["empty"]),
        (&[("targets", text("(q_proj"))], &["not a regular expression", "method.targets"]),
        (&[("targets", text("q_proj")), ("layers", text("2-7"))], &["block 7 does not exist, the last one is 3"]),
        (
            &[("targets", text("q_proj")), ("layers", text("first"))],
            &["\"first\" is not a block number", "method.layers"],
        ),
    ];
    for (settings, words) in cases {
        let problem = refusal(settings).to_string();
        for word in words {
            assert!(problem.contains(word), "{settings:?}: \"{word}\" is missing in: {problem}");
        }
    }
}

#[test]
fn layer_lists_are_read_exactly() -> Outcome {
    let list = |text: &str| -> Outcome<Vec<usize>> { Ok(parse_layers(text, 12)?.ok_or("all")?.into_iter().collect()) };
    assert_eq!(list("0-5,10")?, [0, 1, 2, 3, 4, 5, 10]);
    assert_eq!(list(" 3 , 1-2 ,")?, [1, 2, 3]);
    assert_eq!(list("9-")?, [9, 10, 11]);
    assert!(parse_layers("  ", 12)?.is_none());
    for bad in ["5-2", "12", "3-12", "-1", "a", "1..3", ",", "99999999999999999999999"] {
        assert!(parse_layers(bad, 12).is_err(), "{bad}");
    }
    assert!(parse_layers("0", 0).is_err());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is typed, targets either select existing layers or are refused; nothing panics.
    #[test]
    fn any_text_selects_or_is_refused(targets in ".{0,24}", exclude in ".{0,12}", layers in "[0-9,\\- a]{0,10}") {
        let sites = llama(2);
        let settings = values(&[("targets", text(&targets)), ("exclude", text(&exclude)), ("layers", text(&layers))]);
        match select(&settings, &sites) {
            Ok(chosen) => prop_assert!(!chosen.is_empty()),
            Err(error) => prop_assert!(!Problem::from(error).action.is_empty()),
        }
    }

    /// Any set of blocks written as numbers and ranges is read back.
    #[test]
    fn any_set_of_blocks_can_be_written(numbers in prop::collection::btree_set(0usize..40, 1..20)) {
        let text: Vec<String> = numbers.iter().map(usize::to_string).collect();
        prop_assert_eq!(parse_layers(&text.join(","), 40).ok().flatten(), Some(numbers.clone()));
        let ranges: Vec<String> = numbers.iter().map(|number| format!("{number}-{number}")).collect();
        prop_assert_eq!(parse_layers(&ranges.join(" , "), 40).ok().flatten(), Some(numbers));
    }
}
