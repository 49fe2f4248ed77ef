//! NOLA: LoRA whose factors are trained mixes of drawn matrices.
//!
//! Paper: Koohpayegani et al. 2024, "NOLA: Compressing LoRA using Linear Combination of Random Basis" (arXiv 2310.02556).
//!
//! ```text
//! A = A₀ + Σ αᵢ Aᵢ      B = Σ βⱼ Bⱼ      ΔW = s · B A      s = α / r
//! Aᵢ, Bⱼ: uniform in ±1/√k, drawn again from the seed at every step, never held        trained: α (k), β (k), 0 at start
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, INTEGER, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots, Source};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Nola;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "bases",
        label: "Matrices",
        default: "64",
        min: Some(1.0),
        max: Some(4096.0),
        help: "how many drawn matrices each factor mixes: the number of trained numbers, and the time to draw them again",
        ..INTEGER
    },
    Setting { default: "8", help: "inner width of the change; costs time but no trained numbers", ..RANK },
    Setting { default: "16", ..ALPHA },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "nola",
    kind: Kind::Adapter,
    family: "shared-random",
    families: &[],
    bases: &[],
    title: "NOLA",
    summary: "LoRA's factors as mixes of random matrices: a seed and a hundred numbers per layer.",
    paper: Some(Paper {
        title: "NOLA: Compressing LoRA using Linear Combination of Random Basis",
        authors: "Koohpayegani et al.",
        year: 2024,
        id: "arXiv 2310.02556",
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
Both factors of a low-rank change are sums of random matrices, and only the coefficients of the sums are trained. The
matrices follow from the seed, the layer and their number, and are drawn again whenever they are needed. B starts at
zero, A at a random matrix, so the model starts as it is and B's coefficients learn first.

## What it costs
2 · matrices trained numbers per layer, whatever the rank: 128 by default, less than LoRA of rank 1. Drawing costs
matrices · rank · (in + out) operations per layer in each direction of every step, which is much for large numbers of
matrices; the products themselves cost what LoRA of that rank costs.

## When to use it
Where thousands of adapters have to be stored or sent. At equal trained numbers it is about as good as LoRA of rank 1 on
changes without structure, and it goes below what LoRA can go to at all. It needs a large learning rate: 1e-3 to 1e-2.

## Pitfalls
The run's checkpoint is small; adapter files are LoRA of the rank and as large as LoRA's. A change that really is of low
rank is found better by LoRA itself. The matrices come from this program's own generator and are the same on every
machine.";

/// NOLA.
struct Nola;

impl Method for Nola {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, _| {
            let mix = |start: Init| Factor::of(Source::Seeded { bases: bases(values), start });
            Slots {
                delta: Delta::Chain(Chain {
                    rank: common::rank(values),
                    b: mix(Init::Zeros),
                    core: Core::None,
                    a: mix(Init::KaimingUniform),
                }),
                scale: Scale::AlphaOverRank(values.number("alpha")),
                dropout: values.number("dropout"),
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, _| 2 * bases(values))
    }
}

/// Matrices of each factor.
fn bases(values: &Values) -> usize {
    values.integer("bases").unsigned_abs() as usize
}
