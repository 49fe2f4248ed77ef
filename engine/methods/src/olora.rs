//! OLoRA: LoRA that starts on an orthonormal basis of the weight's own columns.
//!
//! Paper: Büyükakyüz 2024, "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models" (arXiv 2406.01775).
//!
//! ```text
//! W = Q R      B₀ = Q[:, :r] (orthonormal columns)      A₀ = R[:r, :]      s = α / r
//! y = x (W − s · B₀ A₀ + s · B A)ᵀ + b          trained: A, B, from A₀, B₀    frozen: W, A₀, B₀, b
//! ΔW = s · [B, −B₀] [A; A₀]                     leaves as LoRA of rank 2 r over the untouched weight
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Base, Calibration, Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Olora;

const SETTINGS: &[Setting] = &[
    RANK,
    Setting {
        default: "16",
        help: "strength: the change is multiplied by alpha / rank; the same as the rank is usual",
        ..ALPHA
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "olora",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "OLoRA",
    summary: "LoRA whose outer factor starts orthonormal, from a QR decomposition of the weight.",
    paper: Some(Paper {
        title: "OLoRA: Orthonormal Low-Rank Adaptation of Large Language Models",
        authors: "Büyükakyüz",
        year: 2024,
        id: "arXiv 2406.01775",
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
The weight is decomposed as W = Q R. B starts as the first rank columns of Q, which are orthonormal, A as the first
rank rows of R, and their product is taken off the frozen weight, so that the model starts as it is. Training moves
both factors.

## What it costs
rank · (in + out) trained numbers per layer as LoRA, the start values once more beside them (not trained), and two thin
products more per step than LoRA. The decomposition before training needs the first columns only and takes a fraction
of a second per layer.

## When to use it
As a faster start than LoRA's where many steps are not affordable: neither factor begins at zero, so both learn from
the first step on. PiSSA does the same with the strongest directions and a costlier decomposition.

## Pitfalls
The basis depends on the order of the input features, which means nothing: the first columns are no better than
others. Like PiSSA the factors alone are useless on the untouched weight; Temper always writes LoRA of twice the rank.
The scale multiplies the start as well, so an alpha far above the rank starts with large factors and steps.";

/// OLoRA.
struct Olora;

impl Method for Olora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let found = Factor::trained(Init::Calibrated);
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            base: Base::Residual,
            calibration: Calibration::Qr,
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
