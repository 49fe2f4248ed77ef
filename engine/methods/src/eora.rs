//! EoRA: what rounding took from each weight, given back as a product of low rank where the data feel it most. Nothing has to
//! be trained.
//!
//! Paper: Liu et al. 2024, "EoRA: Training-free Compensation for Compressed LLM with Eigenspace Low-Rank Approximation"
//! (arXiv 2410.21271).
//!
//! ```text
//! ΔW = W − Q      G = Σ x xᵀ = V diag(l) Vᵀ over the layer's inputs      S = V diag(√l)
//! U Σ Zᵀ ← the r largest of ΔW S       B₀ A₀ = U Σ Zᵀ S⁻¹ = U Uᵀ ΔW, each direction's size shared evenly
//! y = x Qᵀ + b + (drop(x) Aᵀ) Bᵀ       trained: A, B, from A₀, B₀, if at all     frozen: Q, b
//! block by block: the inputs of a block have gone through the corrected blocks below it
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, INTEGER, ITERATIONS, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Calibration, Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &Eora;

const SETTINGS: &[Setting] = &[
    Setting { default: "128", ..RANK },
    Setting {
        key: "calibration_rows",
        label: "Rows looked at",
        default: "64",
        min: Some(1.0),
        max: Some(100_000.0),
        help: "rows of the training data that the layers' inputs are taken from, best of the task itself",
        ..INTEGER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
    ITERATIONS,
];

const DECLARED: Declared = Declared {
    id: "eora",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "EoRA",
    summary: "Repairs a rounded model without training: gives back what your data feel most of what rounding took.",
    paper: Some(Paper {
        title: "EoRA: Training-free Compensation for Compressed LLM with Eigenspace Low-Rank Approximation",
        authors: "Liu et al.",
        year: 2024,
        id: "arXiv 2410.21271",
    }),
    exports_as: &["hf", "gguf"],
    peft_type: None,
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[Waiver {
        clause: "export",
        reason: "the product fits its own rounded weights alone, which no other program has: it leaves merged into them",
    }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
The base is rounded while it is read (model.base = int4, int3, int2, nf4 ...). Then some rows of the data go through the model
block by block, and the inputs of each layer are summed up in the matrix of their second moments. What rounding took from the
layer is decomposed as its outputs feel it: the product of the given rank that is kept has the least error at the outputs of
all products of that rank. The next block sees what the corrected ones make of the rows.

## What it costs
Two passes over the rows, for each layer a matrix of 8 · in² bytes while its block is at work, and two decompositions. The
hidden states of the rows are kept: 4 · hidden bytes a token. rank · (in + out) numbers per layer afterwards, as LoRA. With
train.steps = 0 nothing is trained: the run saves the repaired model and ends.

## When to use it
To get a rounded model back to work in minutes, with a few rows of the task it is for; or as a start for LoRA on a rounded
base that is lower than a zero one, with train.steps as usual.

## Settings worth knowing
Rows looked at: 64 are enough in the paper. Of text that is not like the task's much of the gain is lost. Rank: more holds
more of what was taken; the eight largest of a layer say little about the rest when rounding is coarse.

## Pitfalls
Over a base that was not rounded in memory there is nothing to give back, and the run is LoRA with alpha equal to the rank.
The error of the weights themselves becomes larger than that of a plain decomposition: only what the rows feel becomes smaller.
Measured on the starter at two bits, rank 16, 64 rows of 48 tokens looked at, on text held out, means of three seeds:
divergence from the model before rounding 0.109 as rounded, 0.074 with a plain decomposition of the same rank, 0.062 with this
one; loss 4.855, 4.842 and 4.818, before rounding 4.775. On a classifier of two layers (32-96-8, two bits in groups of 32,
rank 4): divergence 0.150, 0.090 and 0.070.
What is found fits this very base: it leaves merged into it (hf, gguf), not as an adapter for the original weights. The paper's
rounding of the product itself is not there.";

/// EoRA.
struct Eora;

impl Method for Eora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            calibration: Calibration::Compensate {
                iterations: values.integer("iterations").unsigned_abs() as usize,
                rows: values.integer("calibration_rows").unsigned_abs() as usize,
            },
            delta: Delta::Chain(Chain {
                rank: common::usable_rank(values, site),
                b: Factor::trained(Init::Zeros),
                core: Core::None,
                a: Factor::trained(Init::KaimingUniform),
            }),
            scale: Scale::Fixed(1.0),
            dropout: values.number("dropout"),
            ..Slots::default()
        })
    }

    fn belongs_to_its_base(&self, _values: &Values) -> bool {
        true
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            common::usable_rank(values, site) * (site.in_features + site.out_features)
        })
    }
}
