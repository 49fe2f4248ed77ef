//! MTLoRA: which layers, which parameters, how many. What the tasks make of them is tested on whole models.
//!
//! Acceptance, each with its test; without a file it is in `tests/tests/vision_tasks.rs`:
//! - zero at the start, every task answers as the base and as the shared path:
//!   `at_the_start_every_task_answers_as_the_base_and_has_a_path_of_its_own`
//! - the list of trained names: here, `exactly_these_names_are_trained`
//! - without changes of their own tasks share their features: `without_changes_of_their_own_tasks_share_their_features`
//! - the relative gain of the single-task reference is 0: `train/src/verdict.rs`,
//!   `the_relative_gain_of_the_reference_is_zero_and_has_the_sign_of_what_is_better`
//! - tasks that disagree gain at equal size: `tasks_that_disagree_gain_by_changes_of_their_own_at_equal_size`, over seeds
//!   `tests/examples/method_seeds/tasks.rs`

use crate::bench::{Outcome, values};
use temper_methods::{ModelDims, OwnDims, SiteDims, find};
use temper_nn::insertion::Branched;
use temper_nn::slots::Scale;
use temper_nn::{Insert, Insertion};
use temper_protocol::Value;

/// The layers of so many blocks of 32 features.
fn model(blocks: usize) -> ModelDims {
    let parts = [
        ("attn.q", 32, 32),
        ("attn.k", 32, 32),
        ("attn.v", 32, 32),
        ("attn.o", 32, 32),
        ("mlp.up", 128, 32),
        ("mlp.down", 32, 128),
    ];
    let site = |layer: usize, (part, out_features, in_features): (&str, usize, usize)| SiteDims {
        name: format!("layers.{layer}.{part}"),
        hf_name: format!("vit.encoder.layer.{layer}.{part}"),
        out_features,
        in_features,
        layer: Some(layer),
        bias: true,
        window: (1, 1),
    };
    let sites = (0..blocks).flat_map(|layer| parts.map(|part| site(layer, part))).collect();
    let own = |name: &str, entries: u64| OwnDims { name: name.to_owned(), entries };
    let own =
        vec![own("embed.patch", 500), own("layers.0.attn_norm", 64), own("layers.1.mlp_norm", 64), own("norm", 64)];
    ModelDims { sites, own, head_features: 8 }
}

#[test]
fn shared_changes_are_everywhere_and_those_of_tasks_in_the_last_block() -> Outcome {
    let dims = model(2);
    let count = |settings: &[(&str, Value)]| find("mtlora")?.trained_parameters(&values(settings), &dims);
    let text = |value: &str| Value::Text(value.to_owned());
    let (block, last) = (16 * (4 * 64 + 2 * 160), 16 * 160);
    let task = 4 * (64 + 2 * 160);
    let also = ("also", text("nothing"));
    assert_eq!(count(std::slice::from_ref(&also))?, 2 * block - last + task);
    assert_eq!(count(&[also.clone(), ("tasks", text("own,a,b"))])?, 2 * block - last + 3 * task);
    assert_eq!(count(&[also, ("mode", text("matrix-v2"))])?, 2 * block + task);
    assert_eq!(count(&[])?, 2 * block - last + task + 3 * 64);
    assert_eq!(count(&[("also", text("norms-and-patches"))])?, 2 * block - last + task + 3 * 64 + 500);
    Ok(())
}

#[test]
fn the_scale_is_the_number_itself_for_both() -> Outcome {
    let plan = find("mtlora")?.plan(&values(&[("rank", Value::Integer(64))]), &model(3).sites, 1)?;
    assert!(plan.adapters.iter().all(|(_, slots)| slots.scale == Scale::Fixed(4.0)));
    assert_eq!(plan.adapters.len(), 17, "all but the last block's last layer, whose change would reach no task");
    assert!(plan.slots("layers.2.mlp.down").is_none() && plan.slots("layers.2.mlp.up").is_some());
    let [Insertion { stage, what: Insert::Branch(branch) }] = plan.insertions.as_slice() else {
        return Err("one branch is planned".into());
    };
    let Branched::LowRank(low_rank) = &branch.what else { return Err("it is of low rank".into()) };
    assert_eq!((stage.as_str(), low_rank.rank, low_rank.scale), ("layers.2", 4, 4.0));
    Ok(())
}

#[test]
fn exactly_these_names_are_trained() -> Outcome {
    let dims = model(2);
    let plan = find("mtlora")?.plan(&values(&[]), &dims.sites, 1)?;
    let adapted: Vec<&str> = plan.adapters.iter().map(|(name, _)| name.as_str()).collect();
    let block = |layer: usize, parts: &[&str]| -> Vec<String> {
        parts.iter().map(|part| format!("layers.{layer}.{part}")).collect()
    };
    let all = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.up", "mlp.down"];
    assert_eq!(adapted, [block(0, &all), block(1, &all[..5])].concat());
    let selector = plan.promote.selector()?;
    let own: Vec<&str> = dims.own.iter().map(|own| own.name.as_str()).filter(|name| selector.selects(name)).collect();
    assert_eq!(own, ["layers.0.attn_norm", "layers.1.mlp_norm", "norm"]);
    assert!(dims.sites.iter().all(|site| !selector.selects(&site.name)), "a whole layer is trained");
    Ok(())
}
