//! LoHa: the elementwise product of two low-rank changes.
//!
//! Papers: Hyeon-Woo, Ye-Bin, Oh 2021, "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning"
//! (arXiv 2108.06098); Yeh et al. 2023, "Navigating Text-To-Image Customization" (arXiv 2309.14859).
//!
//! ```text
//! ΔW = s · (B₁ A₁) ∘ (B₂ A₂)      s = α / r      rank up to r²      trained: all four; B₂ 0 at start
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Loha;

const SETTINGS: &[Setting] = &[
    Setting {
        default: "4",
        max: Some(64.0),
        help: "inner width of both products; the change has up to this number squared as its rank, and costs as much",
        ..RANK
    },
    Setting { default: "8", ..ALPHA },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "loha",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "LoHa",
    summary: "The elementwise product of two low-rank changes: rank r² from twice the numbers of rank r.",
    paper: Some(Paper {
        title: "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning",
        authors: "Hyeon-Woo et al.",
        year: 2021,
        id: "arXiv 2108.06098",
    }),
    exports_as: &["peft", "gguf-lora", "hf", "gguf"],
    peft_type: Some("LOHA"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
The change of each chosen weight is the elementwise product of two low-rank matrices, s · (B₁ A₁) ∘ (B₂ A₂) with
s = alpha / rank. Its rank reaches rank squared. B₂ starts at zero, the others random, so the model starts as it is.

## What it costs
2 · rank · (in + out) trained numbers per layer. The dense product is never made: as a product of thin factors the
change has rank · rank directions, and a step costs what LoRA of that rank costs. Rank 4 costs like LoRA of rank 16.

## When to use it
When a change should reach many directions with few numbers. Common in image models; for language models LoRA of equal
cost is the usual measure to beat.

## Pitfalls
Cost grows with the square of the rank. The factors multiply each other, so large learning rates run away: start below
LoRA's. As plain LoRA (a GGUF adapter) the file has the squared rank; PEFT's own type LOHA keeps it small.";

/// LoHa.
struct Loha;

impl Method for Loha {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let normal = |std: f64| Factor::trained(Init::Gaussian { std });
        let chain = |rank: usize, b: Factor| Chain { rank, b, core: Core::None, a: normal(1.0) };
        common::plan(SETTINGS, values, sites, |values, _| {
            let rank = common::rank(values);
            Slots {
                delta: Delta::Hadamard(chain(rank, normal(0.1)), chain(rank, Factor::trained(Init::Zeros))),
                scale: Scale::AlphaOverRank(values.number("alpha")),
                dropout: values.number("dropout"),
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            2 * common::rank(values) * (site.in_features + site.out_features)
        })
    }
}
