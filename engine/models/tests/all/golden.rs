//! Logits, loss and gradients agree with transformers' (golden vectors, see `assets/golden/README.md`).

use crate::tools::{Golden, flat, golden, load, next_tokens, relative};
use std::path::Path;
use temper_models::hf::config_from_hf;
use temper_models::names::slots;
use temper_models::{BaseKind, Model};
use temper_nn::ForwardContext;

const CASES: [&str; 16] = [
    "gqa_untied",
    "tied",
    "mha",
    "head_dim",
    "bias",
    "rope_linear",
    "rope_dynamic",
    "rope_dynamic_short",
    "rope_llama3",
    "rope_yarn",
    "rope_yarn_mscale",
    "bf16",
    "sharded",
    "gemma3_pattern",
    "gemma3_kinds",
    "gemma3_bf16",
];

#[test]
fn every_golden_folder_is_tested() {
    let folders = std::fs::read_dir(golden("tied").parent().unwrap()).unwrap();
    let names = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let folders = names.filter(|name| !name.ends_with(".md"));
    let mut found: Vec<String> = folders.map(|name| name.strip_prefix("llama_").unwrap_or(&name).to_owned()).collect();
    found.sort();
    let mut tested = CASES.to_vec();
    tested.sort_unstable();
    assert_eq!(found, tested);
}

#[test]
fn logits_agree() {
    for case in CASES {
        let (model, golden) = (load(&golden(case)).unwrap(), Golden::open(case));
        let (tokens, batch, width) = golden.tokens();
        let logits = model.logits(&tokens, &ForwardContext::plain(batch, width)).unwrap();
        let error = relative(&flat(&logits), &golden.values("logits"));
        assert!(error < 1e-5, "{case}: relative error {error:e}");
    }
}

#[test]
fn loss_and_every_gradient_agree() {
    for case in CASES {
        let (mut model, golden) = (load(&golden(case)).unwrap(), Golden::open(case));
        model.promote(&|_| true).unwrap();
        let (tokens, batch, width) = golden.tokens();
        let sum = model.loss(&tokens, &next_tokens(&tokens, width), &ForwardContext::plain(batch, width)).unwrap();
        let count = (batch * (width - 1)) as f64;
        let mean = (sum / count).unwrap();
        let error = relative(&flat(&mean), &golden.values("loss"));
        assert!(error < 1e-5, "{case}: loss off by {error:e}");

        let gradients = mean.backward().unwrap();
        let params = model.params().unwrap();
        let slots = slots(model.config.as_llama());
        assert_eq!(params.len(), slots.len(), "{case}");
        for slot in &slots {
            let param = params.get(&slot.name).unwrap();
            let gradient = flat(gradients.get(param.var.as_tensor()).unwrap());
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt() as f32;
            let error = relative(&[norm], &golden.values(&format!("grad_norm.{}", slot.hf)));
            assert!(error < 1e-4, "{case}: gradient norm of {} off by {error:e}", slot.hf);
            let whole = format!("grad.{}", slot.hf);
            if golden.names().contains(&whole) {
                let error = relative(&gradient, &golden.values(&whole));
                assert!(error < 1e-4, "{case}: gradient of {} off by {error:e}", slot.hf);
            }
        }
    }
}

#[test]
fn the_older_form_of_the_configuration_means_the_same_model() {
    let read = |path: &Path| {
        let json = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        config_from_hf(&json, path).unwrap()
    };
    for case in CASES {
        let new = read(&golden(case).join("config.json"));
        assert_eq!(new, read(&golden(case).join("config_v4.json")), "{case}");
        let written = new.to_hf_json("float32");
        assert_eq!(config_from_hf(&written, Path::new("written")).unwrap(), new, "{case}");
    }
}

#[test]
fn converted_weights_stay_close_and_are_held_as_asked() {
    let golden_logits = Golden::open("mha");
    let (tokens, batch, width) = golden_logits.tokens();
    let expected = golden_logits.values("logits");
    let mut sizes = Vec::new();
    for (base, tolerance) in [(BaseKind::F32, 1e-4), (BaseKind::F16, 5e-3), (BaseKind::Bf16, 5e-2)] {
        let model = Model::load(&golden("mha"), base, &mut |_, _, _| {}).unwrap();
        let logits = flat(&model.logits(&tokens, &ForwardContext::plain(batch, width)).unwrap());
        let error = relative(&logits, &expected);
        assert!(error < tolerance, "{base}: {error:e}");
        sizes.push(model.memory_bytes());
    }
    assert_eq!(sizes[0], 2 * sizes[1]);
    assert_eq!(sizes[1], sizes[2]);
}

#[test]
fn linear_weights_are_rounded_while_they_are_read_and_the_rest_keeps_its_bits() {
    use temper_models::LlamaConfig;
    use temper_nn::{Bits, FrozenWeight, Group, GroupedInt, StorageKind};
    let dir = tempfile::tempdir().unwrap();
    let config = LlamaConfig { kv_heads: 2, intermediate_size: 192, ..LlamaConfig::new(100, 64, 2, 4) };
    let original = Model::random(&config, 3).unwrap();
    let path = dir.path().join("model.gguf");
    crate::tools::write_gguf(&original, StorageKind::F32, &path);
    let tokens: std::sync::Arc<[u32]> = (0..24).map(|i| i * 7 % 100).collect();
    let ctx = ForwardContext::plain(2, 12);
    let exact = flat(&original.logits(&tokens, &ctx).unwrap());
    let mut bytes = Vec::new();
    let grouped = |bits, group| GroupedInt { bits, group };
    for (base, kind, tolerance) in [
        (BaseKind::Int8, StorageKind::Int8, 0.02),
        (BaseKind::Nf4, StorageKind::Nf4, 0.3),
        (BaseKind::Nf4Double, StorageKind::Nf4Double, 0.3),
        (BaseKind::Nf3, StorageKind::Nf3, 0.6),
        (BaseKind::Nf2, StorageKind::Nf2, 1.2),
        // The rows of 64 and 192 values have no groups of 128.
        (
            BaseKind::Grouped(grouped(Bits::Four, Group::G128)),
            StorageKind::Grouped(grouped(Bits::Four, Group::G64)),
            0.3,
        ),
        (
            BaseKind::Grouped(grouped(Bits::Three, Group::G64)),
            StorageKind::Grouped(grouped(Bits::Three, Group::G64)),
            0.6,
        ),
        (BaseKind::Grouped(grouped(Bits::Two, Group::G64)), StorageKind::Grouped(grouped(Bits::Two, Group::G64)), 1.2),
    ] {
        assert_eq!(base.to_string().parse::<BaseKind>().unwrap(), base);
        let from_file = Model::load(&path, base, &mut |_, _, _| {}).unwrap();
        let drawn = Model::random_as(&config, 3, base).unwrap();
        for model in [&from_file, &drawn] {
            let held = model.held();
            assert_eq!((held.linear, held.table), (kind, StorageKind::F16));
            assert!(held.bytes < held.source_bytes / 3, "{held:?}");
            for slot in slots(&config) {
                let (now, before) = (model.read_weight(&slot.name).unwrap(), original.read_weight(&slot.name).unwrap());
                let expected = match (slot.shape.len(), slot.site.is_some()) {
                    (1, _) => before,
                    (_, true) => widened(kind, &before, slot.shape[1]),
                    (_, false) => widened(StorageKind::F16, &before, slot.shape[1]),
                };
                assert!(now == expected, "{base}: {}", slot.name);
            }
        }
        let logits = flat(&from_file.logits(&tokens, &ctx).unwrap());
        assert_eq!(logits, flat(&drawn.logits(&tokens, &ctx).unwrap()));
        let error = relative(&logits, &exact);
        assert!(error > 1e-5 && error < tolerance, "{base}: {error:e}");
        bytes.push(from_file.memory_bytes());
    }
    assert!(bytes.windows(2).all(|pair| pair[1] != pair[0]) && bytes[1] < bytes[0] && bytes[2] < bytes[1]);
    assert!(bytes[3] > bytes[4], "{bytes:?}");
    assert!(bytes[5] > bytes[6] && bytes[6] > bytes[7], "{bytes:?}");

    fn widened(kind: StorageKind, values: &[f32], cols: usize) -> Vec<f32> {
        let read = |range: std::ops::Range<usize>, out: &mut [f32]| {
            out.copy_from_slice(&values[range.start * cols..range.end * cols]);
            Ok(())
        };
        let weight = FrozenWeight::rounded("w", values.len() / cols, cols, kind, read).unwrap();
        weight.to_f32().unwrap().into_owned()
    }
}

#[test]
fn a_table_in_blocks_or_16_bits_stays_as_the_file_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        temper_models::LlamaConfig { intermediate_size: 128, ..temper_models::LlamaConfig::new(100, 64, 1, 4) };
    let path = dir.path().join("model.gguf");
    for kind in [temper_nn::StorageKind::Q8_0, temper_nn::StorageKind::Bf16] {
        crate::tools::write_gguf(&Model::random(&config, 3).unwrap(), kind, &path);
        assert_eq!(Model::load(&path, BaseKind::Nf4, &mut |_, _, _| {}).unwrap().held().table, kind);
    }
}
