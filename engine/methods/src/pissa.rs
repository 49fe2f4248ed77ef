//! PiSSA: LoRA that starts as the principal part of the weight and leaves the rest frozen.
//!
//! Paper: Meng, Wang, Zhang 2024, "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language
//! Models" (arXiv 2404.02948).
//!
//! ```text
//! W ≈ U S Vᵀ (r leading triplets)     B₀ = U √S / √s     A₀ = √S Vᵀ / √s     s = α / r
//! y = x (W − s · B₀ A₀ + s · B A)ᵀ + b          trained: A, B, from A₀, B₀    frozen: W, A₀, B₀, b
//! ΔW = s · (B A − B₀ A₀) = s · [B, −B₀] [A; A₀]      leaves as LoRA of rank 2 r over the untouched weight
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, ITERATIONS, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Base, Calibration, Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Pissa;

const SETTINGS: &[Setting] = &[
    RANK,
    Setting {
        default: "16",
        help: "strength: the change is multiplied by alpha / rank; the same as the rank is advised",
        ..ALPHA
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
    Setting {
        help: "rounds of the fast randomised decomposition, 4 to 16; 0 decomposes exactly, which takes longer on large \
               layers",
        ..ITERATIONS
    },
];

const DECLARED: Declared = Declared {
    id: "pissa",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "PiSSA",
    summary: "LoRA that trains the strongest directions of each weight instead of new ones beside it.",
    paper: Some(Paper {
        title: "PiSSA: Principal Singular Values and Singular Vectors Adaptation of Large Language Models",
        authors: "Meng et al.",
        year: 2024,
        id: "arXiv 2404.02948",
    }),
    exports_as: &["peft", "gguf-lora", "hf", "gguf"],
    peft_type: Some("LORA"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each chosen weight is split by its singular values: the strongest rank directions become the factors A and B, which
are trained; the rest stays frozen, W − s · B₀ A₀. Together they are the weight, so the model starts as it is, but
training moves what matters most from the first step on.

## What it costs
rank · (in + out) trained numbers per layer as LoRA, the start values once more beside them (not trained), and two thin
products more per step than LoRA. Before training each weight is decomposed: seven seconds for a model of 135
million parameters on two cores with the randomised decomposition.

## When to use it
When the task moves what the model already does strongly: the first steps go further than LoRA's at the same rank.
For a task that needs something new, LoRA keeps more freedom: with PiSSA, start and change together have no more than
the rank.

## Pitfalls
The factors alone are useless on the untouched weight. Temper therefore always writes LoRA of twice the rank, which
takes the start values off again, and no file needs a decomposition to be read. The frozen weight is never rewritten,
so a quantised base stays as it is and the rounding of its values is not repaired. A resumed run computes the start
values again: on another machine the last digits of the randomised decomposition can differ.";

/// PiSSA.
struct Pissa;

impl Method for Pissa {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let found = Factor::trained(Init::Calibrated);
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            base: Base::Residual,
            calibration: Calibration::Svd { iterations: values.integer("iterations").unsigned_abs() as usize },
            delta: Delta::Chain(Chain {
                rank: common::usable_rank(values, site),
                b: found,
                core: Core::None,
                a: found,
            }),
            scale: Scale::AlphaOverRank(values.number("alpha")),
            dropout: values.number("dropout"),
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            common::usable_rank(values, site) * (site.in_features + site.out_features)
        })
    }
}
