//! PYRA: schedules, sizes, what each block gets. Merging itself is tested where tokens merge, on whole models further up.
//!
//! Acceptance, each with its test:
//! - 197 − Σ r tokens are left: here, `the_paper_s_schedules_leave_the_tokens_that_it_says`
//! - sizes sum to the tokens there were: `tests/tests/vision_methods.rs`,
//!   `merging_shortens_the_sequence_and_counts_every_token`
//! - the class token stays: `nn/src/insertion/tests_encoder.rs`,
//!   `tokens_with_like_keys_merge_by_their_sizes_and_the_class_token_stays`
//! - b = 0 is plain merging, r = 0 the plain model: `tests/tests/vision_methods.rs`,
//!   `without_pairs_it_is_the_plain_model_and_gates_start_as_plain_merging`
//! - gates do no worse than merging without them: `tests/examples/encoder_seeds.rs`, five seeds

use crate::bench::{Outcome, values};
use temper_methods::{SiteDims, find};
use temper_nn::Insert;
use temper_protocol::Value;

/// Queries, keys, values and the MLP's first layer of so many blocks of `hidden` features.
fn sites(blocks: usize, hidden: usize) -> Vec<SiteDims> {
    let site = |layer: usize, part: &str, out_features: usize| SiteDims {
        name: format!("layers.{layer}.{part}"),
        hf_name: format!("vit.encoder.layer.{layer}.{part}"),
        out_features,
        in_features: hidden,
        layer: Some(layer),
        bias: true,
        window: (1, 1),
    };
    let parts = [("attn.q", hidden), ("attn.k", hidden), ("attn.v", hidden), ("mlp.up", 4 * hidden)];
    (0..blocks).flat_map(|layer| parts.map(|(part, out)| site(layer, part, out))).collect()
}

/// Pairs that merge in each block that merges any.
fn pairs(text: &str) -> Outcome<Vec<usize>> {
    let plan = find("pyra")?.plan(&values(&[("merge", Value::Text(text.to_owned()))]), &sites(12, 768), 1)?;
    let merging = plan.insertions.iter().filter_map(|insertion| match &insertion.what {
        Insert::Merge(merge) => Some(merge.pairs),
        _ => None,
    });
    Ok(merging.collect())
}

#[test]
fn the_paper_s_schedules_leave_the_tokens_that_it_says() -> Outcome {
    let low = pairs("16x11,10")?;
    assert_eq!((low.len(), 197 - low.iter().sum::<usize>()), (12, 11));
    let high = pairs("40,34,30,24,18,14,10,8,4,4,3,3")?;
    assert_eq!(197 - high.iter().sum::<usize>(), 5);
    assert_eq!(pairs("3")?, [3; 12]);
    assert_eq!(pairs("0x6,2x6")?, [2; 6], "blocks that merge nothing get nothing");
    for (wrong, why) in [("16x11", "it has 11 numbers"), ("two", "\"two\""), ("", "it has 0 numbers")] {
        let error = pairs(wrong).expect_err("no schedule").to_string();
        assert!(error.contains(why), "{wrong}: {error}");
    }
    Ok(())
}

#[test]
fn gates_take_r_plus_3d_numbers_a_block_beside_lora_on_qkv() -> Outcome {
    let sites = sites(12, 768);
    let dims = temper_methods::ModelDims { sites, own: Vec::new(), head_features: 64 };
    let count = |settings: &[(&str, Value)]| find("pyra")?.trained_parameters(&values(settings), &dims);
    let merge = ("merge", Value::Text("16x11,10".to_owned()));
    let lora = 12 * 3 * 8 * 2 * 768;
    assert_eq!(count(std::slice::from_ref(&merge))?, lora + 11 * 16 + 10 + 12 * 3 * 768);
    assert_eq!(count(&[merge, ("gates", Value::Flag(false))])?, lora);
    assert_eq!(count(&[("merge", Value::Text("0".to_owned()))])?, lora);
    Ok(())
}
