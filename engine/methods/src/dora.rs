//! DoRA: the rows of the changed weight keep a trained magnitude, LoRA changes only their direction.
//!
//! Paper: Liu et al. 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation" (arXiv 2402.09353).
//!
//! ```text
//! V = W + s · B A        W_eff = diag(m / ‖V‖) V        ‖V‖: norm of each row, a constant in the backward pass
//! y = x W_effᵀ + b       s = α / r                      trained: A, B, m        frozen: W, b
//! ‖V‖² = ‖W‖² + 2 s ⟨W Aᵀ, B⟩ + s² ⟨B A Aᵀ, B⟩          row by row, so that V itself is never made
//! ```
//!
//! | symbol | shape     | meaning                                              |
//! |--------|-----------|------------------------------------------------------|
//! | A, B   | (r, in), (out, r) | as LoRA: A random, B 0 at start               |
//! | m      | (out)     | magnitude of each row, ‖W‖ at start: unchanged layer |

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Group, Normaliser, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Dora;

const SETTINGS: &[Setting] =
    &[Setting { default: "8", ..RANK }, Setting { default: "16", ..ALPHA }, TARGETS, EXCLUDE, LAYERS, DROPOUT];

const DECLARED: Declared = Declared {
    id: "dora",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "DoRA",
    summary: "LoRA for the direction of each row of a weight, and a trained number for its length.",
    paper: Some(Paper {
        title: "DoRA: Weight-Decomposed Low-Rank Adaptation",
        authors: "Liu et al.",
        year: 2024,
        id: "arXiv 2402.09353",
    }),
    exports_as: &["peft", "hf", "gguf"],
    peft_type: Some("LORA"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each row of a chosen weight W is seen as a direction and a length. LoRA changes the direction, V = W + s · B A with
s = alpha / rank; a trained magnitude m sets the length: W_eff = diag(m / ‖V‖) V, with the norm of each row. At the
start m is the norm of W's rows and B is zero, so the model starts as it is. Gradients treat ‖V‖ as a constant, as the
paper proposes: that saves memory.

## What it costs
rank · (in + out) + out trained numbers per layer. Beside LoRA's products a step computes the row norms from W Aᵀ and
A Aᵀ, which costs as much as rank more tokens, and scales the output; of the last layers of the two halves, and of layers
with a bias, the output is kept once more than LoRA keeps it. With dropout the frozen product runs twice and the block is
a graph of single operations, which takes several times as long. The change is not of low rank: measuring its spectrum
takes a whole weight, so layers are measured in turn.

## When to use it
Where LoRA at the same rank stays a little behind, mostly at ranks of 4 to 16. Half of LoRA's rank and its learning
rate (1e-4 to 2e-4) are a good start.

## Pitfalls
An adapter file is only right with its magnitudes: a reader that knows LoRA alone gives another model, so no GGUF
adapter is written. It must be the first adapter on a frozen weight, because it needs the norms of the rows. The
magnitudes have no weight decay here: pulling them to zero would shrink the rows.";

/// DoRA.
struct Dora;

impl Method for Dora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, _| Slots {
            normaliser: Normaliser::RowMagnitude(Group { decay: false, ..Group::default() }),
            dropout: values.number("dropout"),
            ..Slots::low_rank(common::rank(values), Scale::AlphaOverRank(values.number("alpha")))
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            common::rank(values) * (site.in_features + site.out_features) + site.out_features
        })
    }
}
