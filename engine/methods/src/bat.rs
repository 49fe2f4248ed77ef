//! Bat: block-affine change of the weight, one trained block per group of rows (the first form of Bone).
//!
//! Paper: Kang 2024, "Bone: Block-Affine Adaptation of Large Language Models" (arXiv 2409.15371, first version).
//!
//! ```text
//! W in blocks W_ij of r x r      W'_ij = W_ij + W_ij B_i + B_i      trained: B (out/r, r, r), 0 at start
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Delta, Factor, Init, Right, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Bat;

const SETTINGS: &[Setting] = &[
    Setting {
        default: "64",
        label: "Block",
        help: "side of the blocks; a layer takes the largest size up to it that divides both its sides",
        ..RANK
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
];

const DECLARED: Declared = Declared {
    id: "bat",
    kind: Kind::Adapter,
    family: "blocks",
    families: &[],
    bases: &[],
    title: "Bat",
    summary: "Changes the weight through its own values: a trained block per group of rows, shared along the row.",
    paper: Some(Paper {
        title: "Bone: Block-Affine Adaptation of Large Language Models",
        authors: "Kang",
        year: 2024,
        id: "arXiv 2409.15371",
    }),
    exports_as: &["peft", "hf", "gguf"],
    peft_type: Some("MISS"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each chosen weight is cut into square blocks. All blocks of a group of rows share one trained block B: a block W becomes
W + W B + B. The change depends on the weight's own values and has full rank with few numbers. B starts at zero.

## What it costs
out · block trained numbers per layer. The changed weight is made for one group of rows at a time, in both directions,
and its gradient costs a product as large as the layer's own: about twice the time of LoRA. Spectra are
measured in turn.

## When to use it
Where LoRA's low rank is the limit and a full-rank change is affordable in time but not in memory.

## Pitfalls
It needs the values of the weight and must be the first adapter on it. Sides that share no large divisor get small
blocks with fewer numbers. PEFT reads it as MISS with init_weights bat and one block size for all layers; where layers
take different sizes, export the merged model. Merging cannot be taken back exactly: keep the base.";

/// Bat.
struct Bat;

impl Method for Bat {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            right: Right::RowGroups { size: block(values, site), blocks: Factor::trained(Init::Zeros) },
            delta: Delta::Tile,
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| block(values, site) * site.out_features)
    }
}

/// The largest size up to the setting that divides both sides.
fn block(values: &Values, site: &SiteDims) -> usize {
    let fits = |size: &usize| site.out_features.is_multiple_of(*size) && site.in_features.is_multiple_of(*size);
    (1..=common::usable_rank(values, site)).rev().find(fits).unwrap_or(1)
}
