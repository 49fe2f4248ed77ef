//! Names of parameters and sites, and what they are called in files.
//!
//! Sites: `layers.N.attn.{q,k,v,o}`, `layers.N.mlp.{gate,up,down}`. Parameters: `embed`, `layers.N.attn_norm`,
//! `layers.N.mlp_norm`, `norm`, `head` (absent when tied), and `<site>.weight`, `<site>.bias`; in some families
//! `layers.N.attn.{q_norm,k_norm}`, `layers.N.attn_post_norm`, `layers.N.mlp_post_norm`.

use crate::config::LlamaConfig;
use crate::family::{Part, PartKind};
use std::sync::Arc;

/// One tensor of a model: its names and shape.
#[derive(Debug, Clone)]
pub struct Slot {
    /// Name here.
    pub name: String,
    /// Tensor name in a Hugging Face folder.
    pub hf: String,
    /// Tensor name in a GGUF file.
    pub gguf: String,
    /// Shape, slowest dimension first.
    pub shape: Vec<usize>,
    /// What it does.
    pub kind: PartKind,
    /// The site it belongs to, for weights and biases of linear layers.
    pub site: Option<String>,
    /// Order of the rows in a GGUF file, none when it is the logical one.
    pub gguf_rows: Option<Arc<[u32]>>,
    /// What is added to every value that a Hugging Face folder stores, and taken off when one is written.
    pub hf_shift: f32,
}

/// Every tensor of a model in writing order; the head only when it is not tied.
#[must_use]
pub fn slots(config: &LlamaConfig) -> Vec<Slot> {
    let parts = config.family.parts;
    // the order of rows is the same in every block: made once and shared
    let parts: Vec<(&Part, Option<Arc<[u32]>>)> =
        parts.iter().map(|part| (part, part.gguf_row_order(config))).collect();
    let in_block = |(part, _): &(&Part, Option<Arc<[u32]>>)| part.name.contains("{}");
    let first = parts.iter().position(in_block).unwrap_or(parts.len());
    let last = parts.iter().rposition(in_block).map_or(first, |at| at + 1);
    let mut all = Vec::new();
    for (part, rows) in parts.get(..first).unwrap_or_default() {
        push(&mut all, part, rows, None, config);
    }
    for layer in 0..config.layers {
        for (part, rows) in parts.get(first..last).unwrap_or_default() {
            push(&mut all, part, rows, Some(layer), config);
        }
    }
    for (part, rows) in parts.get(last..).unwrap_or_default() {
        push(&mut all, part, rows, None, config);
    }
    all
}

fn push(all: &mut Vec<Slot>, part: &Part, gguf_rows: &Option<Arc<[u32]>>, layer: Option<usize>, config: &LlamaConfig) {
    if part.kind == PartKind::Head && config.tied {
        return;
    }
    let fill =
        |pattern: &str| layer.map_or_else(|| pattern.to_owned(), |layer| pattern.replace("{}", &layer.to_string()));
    let (name, hf, gguf) = (fill(part.name), fill(part.hf), fill(part.gguf));
    let rows = part.shape.0.size(config);
    let columns = part.shape.1.map(|dim| dim.size(config));
    let site = (part.kind == PartKind::Linear).then(|| name.clone());
    let slot = |suffix: &str, shape: Vec<usize>| Slot {
        name: if site.is_some() { format!("{name}.{suffix}") } else { name.clone() },
        hf: format!("{hf}.{suffix}"),
        gguf: format!("{gguf}.{suffix}"),
        shape,
        kind: part.kind,
        site: site.clone(),
        gguf_rows: gguf_rows.clone(),
        hf_shift: if part.kind == PartKind::Norm { config.family.traits.hf_norm_shift } else { 0.0 },
    };
    all.push(slot("weight", std::iter::once(rows).chain(columns).collect()));
    if part.has_bias(config) {
        all.push(slot("bias", vec![rows]));
    }
}

/// A linear layer that methods can change, as its names and size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteName {
    /// Name here, `layers.3.attn.q`.
    pub name: String,
    /// Module path in a Hugging Face folder, `model.layers.3.self_attn.q_proj`.
    pub hf: String,
    /// Name in a GGUF file without suffix, `blk.3.attn_q`.
    pub gguf: String,
    /// Rows of the weight.
    pub out_features: usize,
    /// Columns of the weight.
    pub in_features: usize,
    /// Number of the block.
    pub layer: usize,
}

/// Every site of a model, in the order of the graph.
#[must_use]
pub fn sites(config: &LlamaConfig) -> Vec<SiteName> {
    let linear = || config.family.parts.iter().filter(|part| part.kind == PartKind::Linear);
    (0..config.layers)
        .flat_map(|layer| {
            linear().map(move |part| {
                let fill = |pattern: &str| pattern.replace("{}", &layer.to_string());
                SiteName {
                    name: fill(part.name),
                    hf: fill(part.hf),
                    gguf: fill(part.gguf),
                    out_features: part.shape.0.size(config),
                    in_features: part.shape.1.map_or(1, |dim| dim.size(config)),
                    layer,
                }
            })
        })
        .collect()
}

/// Parameters of a model by its configuration; a tied head counts once.
#[must_use]
pub fn parameter_count(config: &LlamaConfig) -> u64 {
    slots(config).iter().map(|slot| slot.shape.iter().map(|&dim| dim as u64).product::<u64>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::paired_row_order;

    fn smollm2() -> LlamaConfig {
        LlamaConfig { intermediate_size: 1536, kv_heads: 3, ..LlamaConfig::new(49_152, 576, 30, 9) }
    }

    #[test]
    fn smollm2_has_its_published_number_of_parameters_and_sites() {
        let config = smollm2();
        assert_eq!(parameter_count(&config), 134_515_008);
        let sites = sites(&config);
        assert_eq!(sites.len(), 210);
        let third = sites.iter().find(|site| site.name == "layers.3.attn.k").unwrap();
        assert_eq!(third.hf, "model.layers.3.self_attn.k_proj");
        assert_eq!(third.gguf, "blk.3.attn_k");
        assert_eq!((third.out_features, third.in_features, third.layer), (192, 576, 3));
    }

    #[test]
    fn an_untied_head_and_biases_are_tensors_of_their_own() {
        let config =
            LlamaConfig { tied: false, attention_bias: true, mlp_bias: true, ..LlamaConfig::new(96, 64, 2, 4) };
        let slots = slots(&config);
        let find = |name: &str| slots.iter().find(|slot| slot.name == name).unwrap();
        assert_eq!(slots.len(), 3 + 2 * (2 + 14));
        assert_eq!(find("head").hf, "lm_head.weight");
        assert_eq!(find("head").gguf, "output.weight");
        assert_eq!(find("layers.1.attn.q.bias").gguf, "blk.1.attn_q.bias");
        assert_eq!(find("layers.1.attn.q.bias").gguf_rows.as_ref().unwrap().len(), 64);
        assert_eq!(find("layers.1.attn.v.bias").gguf_rows, None);
        assert_eq!(find("layers.0.mlp.down.bias").shape, [64]);
        assert_eq!(find("layers.1.mlp_norm").hf, "model.layers.1.post_attention_layernorm.weight");
        assert_eq!(find("norm").gguf, "output_norm.weight");
    }

    #[test]
    fn gguf_rows_put_the_two_halves_of_a_rotary_pair_side_by_side() {
        // two heads of width 6: logical rows 0,1,2 | 3,4,5 of the first are its halves
        let order = paired_row_order(2, 6);
        assert_eq!(order.as_ref(), [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }
}
