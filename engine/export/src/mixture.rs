//! Which block type each tensor of a merged GGUF file gets.
//!
//! Place in the data flow: [`crate::gguf`] asks while it plans a file. The rules are those that llama.cpp's own quantiser
//! follows without an importance matrix, so that a file is what its `general.file_type` says:
//!
//! - `q4_k` is its `Q4_K_M` and `q5_k` its `Q5_K_M`: the value and down projections of half of the layers (the first and
//!   the last eighth, and every third one between) have 6 bits, where an error is carried on by everything above.
//! - `q6_k` is its `Q6_K`: 6 bits throughout.
//! - The output, and the embedding where it is the output too, has 6 bits in all three.
//! - Rows that are no whole super-blocks of 256 values cannot be stored so. They fall back to the next type that is no
//!   coarser and has blocks of 32: `Q4_K` to `Q5_0`, `Q5_K` to `Q5_1`, `Q6_K` to `Q8_0`; rows that do not fill those either
//!   are f16. SmolLM2-135M, whose rows have 576 values, is stored so nearly throughout.
//!
//! Norms and biases are never in blocks: the caller keeps what has one dimension as it was, or as f32.

use temper_models::names::Slot;
use temper_nn::StorageKind;
use temper_protocol::StorageType;

/// What the rules need to know of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Layers.
    pub(crate) layers: usize,
    /// Whether the embedding is the output too.
    pub(crate) tied: bool,
}

impl Shape {
    /// Of a model with these tensors.
    pub(crate) fn of(slots: &[Slot]) -> Self {
        let layers = slots.iter().filter_map(|slot| layer_of(&slot.gguf)).max().map_or(0, |last| last + 1);
        Self { layers, tied: !slots.iter().any(|slot| slot.gguf == OUTPUT) }
    }
}

const OUTPUT: &str = "output.weight";
const EMBEDDING: &str = "token_embd.weight";
/// llama.cpp takes models of so many layers for those of 70 billion parameters, whose value projections are small beside
/// the rest because eight heads share one.
const LAYERS_OF_70B: usize = 80;

/// The type of a matrix in a file asked for as `dtype`.
pub(crate) fn kind_of(dtype: StorageType, slot: &Slot, shape: Shape) -> StorageKind {
    let main = match dtype {
        StorageType::F32 => return StorageKind::F32,
        StorageType::F16 => return StorageKind::F16,
        StorageType::Bf16 => return StorageKind::Bf16,
        StorageType::Q8_0 => return fitting(StorageKind::Q8_0, slot),
        StorageType::Q4K => StorageKind::Q4K,
        StorageType::Q5K => StorageKind::Q5K,
        StorageType::Q6K => StorageKind::Q6K,
    };
    let is_output = slot.gguf == OUTPUT || shape.tied && slot.gguf == EMBEDDING;
    let more = layer_of(&slot.gguf).is_some_and(|layer| has_more_bits(layer, shape.layers));
    let is_value = slot.gguf.ends_with(".attn_v.weight");
    let kind = if is_output || more && (is_value || slot.gguf.ends_with(".ffn_down.weight")) {
        StorageKind::Q6K
    } else if is_value && main == StorageKind::Q4K && shape.layers == LAYERS_OF_70B {
        StorageKind::Q5K
    } else {
        main
    };
    fitting(kind, slot)
}

/// The number in `blk.7.ffn_down.weight`.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// The first and the last eighth of the layers, and every third one between.
fn has_more_bits(layer: usize, layers: usize) -> bool {
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// Blocks need rows of whole blocks: the type itself, the one that stands in for it, or f16.
pub(crate) fn fitting(kind: StorageKind, slot: &Slot) -> StorageKind {
    let width = slot.shape.last().copied().unwrap_or(0);
    let fits = |kind: StorageKind| width.is_multiple_of(kind.block_len());
    if fits(kind) {
        return kind;
    }
    let stand_in = match kind {
        StorageKind::Q4K => StorageKind::Q5_0,
        StorageKind::Q5K => StorageKind::Q5_1,
        StorageKind::Q6K => StorageKind::Q8_0,
        _ => StorageKind::F16,
    };
    if fits(stand_in) { stand_in } else { StorageKind::F16 }
}

/// llama.cpp's number for a whole file of a mixture, whatever its tensors fell back to: what `general.file_type` says.
/// `None` for other types, of which a file is named after most of its matrices.
pub(crate) fn file_type(dtype: StorageType) -> Option<u32> {
    match dtype {
        StorageType::Q4K => Some(15),
        StorageType::Q5K => Some(17),
        StorageType::Q6K => Some(18),
        StorageType::F32 | StorageType::F16 | StorageType::Bf16 | StorageType::Q8_0 => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_models::LlamaConfig;
    use temper_models::names::slots;

    fn kinds(config: &LlamaConfig, dtype: StorageType) -> Vec<(String, StorageKind)> {
        let slots = slots(config);
        let shape = Shape::of(&slots);
        let matrices = slots.iter().filter(|slot| slot.shape.len() == 2);
        matrices.map(|slot| (slot.gguf.clone(), kind_of(dtype, slot, shape))).collect()
    }

    fn of(kinds: &[(String, StorageKind)], name: &str) -> StorageKind {
        kinds.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    #[test]
    fn half_of_the_layers_have_value_and_down_projections_of_six_bits() {
        let config = LlamaConfig { intermediate_size: 512, ..LlamaConfig::new(96, 256, 32, 4) };
        for (dtype, main) in [(StorageType::Q4K, StorageKind::Q4K), (StorageType::Q5K, StorageKind::Q5K)] {
            let kinds = kinds(&config, dtype);
            let finer: Vec<usize> = (0..32)
                .filter(|layer| of(&kinds, &format!("blk.{layer}.ffn_down.weight")) == StorageKind::Q6K)
                .collect();
            assert_eq!(finer, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
            for layer in 0..32 {
                let name = |part: &str| format!("blk.{layer}.{part}.weight");
                assert_eq!(of(&kinds, &name("attn_v")), of(&kinds, &name("ffn_down")));
                for part in ["attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up"] {
                    assert_eq!(of(&kinds, &name(part)), main, "{part}");
                }
            }
        }
        assert!(kinds(&config, StorageType::Q6K).iter().all(|(_, kind)| *kind == StorageKind::Q6K));
    }

    #[test]
    fn what_gives_the_logits_has_six_bits() {
        let tied = LlamaConfig { tied: true, ..LlamaConfig::new(96, 256, 2, 4) };
        assert_eq!(of(&kinds(&tied, StorageType::Q4K), EMBEDDING), StorageKind::Q6K);
        let untied = LlamaConfig { tied: false, ..tied };
        let kinds = kinds(&untied, StorageType::Q4K);
        assert_eq!((of(&kinds, EMBEDDING), of(&kinds, OUTPUT)), (StorageKind::Q4K, StorageKind::Q6K));
    }

    #[test]
    fn rows_that_are_no_whole_super_blocks_fall_back_as_in_llama_cpp() {
        // SmolLM2-135M: 576 and 1536 wide
        let config = LlamaConfig { intermediate_size: 1536, kv_heads: 3, ..LlamaConfig::new(96, 576, 30, 9) };
        for (dtype, narrow, wide) in [
            (StorageType::Q4K, StorageKind::Q5_0, StorageKind::Q4K),
            (StorageType::Q5K, StorageKind::Q5_1, StorageKind::Q5K),
            (StorageType::Q6K, StorageKind::Q8_0, StorageKind::Q6K),
        ] {
            let kinds = kinds(&config, dtype);
            assert_eq!(of(&kinds, "blk.4.attn_q.weight"), narrow);
            assert_eq!(of(&kinds, "blk.3.ffn_down.weight"), wide);
            assert_eq!(of(&kinds, "blk.0.attn_v.weight"), StorageKind::Q8_0, "six bits fall back to eight");
            assert_eq!(of(&kinds, "blk.0.ffn_down.weight"), StorageKind::Q6K);
        }
        let odd = LlamaConfig { intermediate_size: 40, ..LlamaConfig::new(96, 64, 1, 4) };
        assert_eq!(of(&kinds(&odd, StorageType::Q4K), "blk.0.ffn_down.weight"), StorageKind::F16);
    }
}
