//! VeRA: two trained vectors per layer around random matrices that all layers share.
//!
//! Paper: Kopiczko, Blankevoort, Asano 2023, "VeRA: Vector-based Random Matrix Adaptation" (arXiv 2310.11454).
//!
//! ```text
//! y = x Wᵀ + b + λ_b ∘ (λ_d ∘ (x Aᵀ)) Bᵀ        A (r, largest in), B (largest out, r): drawn once, cut to each layer
//! trained: λ_d (r), 0.1 at start; λ_b (out), 0 at start                          frozen: W, b, A, B
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, NUMBER, RANK, TARGETS};
use crate::targets;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Map, Slots, Source};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Vera;

const SETTINGS: &[Setting] = &[
    Setting { default: "256", help: "inner width of the shared matrices; costs time and little memory", ..RANK },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
    Setting {
        key: "d_initial",
        label: "Start of the inner vector",
        default: "0.1",
        min: Some(1e-7),
        max: Some(10.0),
        help: "value that all entries of λ_d start at",
        advanced: true,
        ..NUMBER
    },
];

const DECLARED: Declared = Declared {
    id: "vera",
    kind: Kind::Adapter,
    family: "shared-random",
    families: &[],
    bases: &[],
    title: "VeRA",
    summary: "Two trained vectors per layer around random matrices that all layers share.",
    paper: Some(Paper {
        title: "VeRA: Vector-based Random Matrix Adaptation",
        authors: "Kopiczko et al.",
        year: 2023,
        id: "arXiv 2310.11454",
    }),
    exports_as: &["peft", "gguf-lora", "hf", "gguf"],
    peft_type: Some("VERA"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
One pair of random matrices A and B is drawn for the whole model and never trained; each layer takes the part that fits
its size. Trained are two vectors per layer: λ_d scales the inner directions, λ_b the outputs. λ_b starts at zero, so
the model starts as it is.

## What it costs
rank + out trained numbers per layer, about a tenth of LoRA's or less. The products cost what LoRA of that rank costs:
with the default of 256 that is noticeable. Layers of one shape share the memory of their matrices.

## When to use it
Where many adapters of one model are kept and LoRA's files are too large. Train it with ten times LoRA's learning rate:
1e-3 to 1e-2.

## Pitfalls
Its directions are random and the same everywhere: a small rank is worth little. An adapter file holds the shared
matrices too, so that no other program has to draw them again; the vectors alone are a few kilobytes. As plain LoRA (a
GGUF adapter) every layer has both factors whole, of that large rank.";

/// VeRA.
struct Vera;

impl Method for Vera {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let (rows, cols) = largest(values, sites)?;
        common::plan(SETTINGS, values, sites, |values, _| {
            let rank = common::rank(values);
            let shared = |rows: usize, cols: usize| Factor::of(Source::Shared { init: Init::HeUniform, rows, cols });
            Slots {
                delta: Delta::Chain(Chain {
                    rank,
                    b: shared(rows, rank).with_map(Map::Rows(Init::Zeros)),
                    core: Core::Diagonal(Factor::trained(Init::Constant(values.number("d_initial")))),
                    a: shared(rank, cols),
                }),
                dropout: values.number("dropout"),
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| common::rank(values) + site.out_features)
    }
}

/// The most outputs and inputs of the layers that are adapted.
fn largest(values: &Values, sites: &[SiteDims]) -> Result<(usize, usize), MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let chosen = targets::select(&values, sites)?;
    let most = |side: fn(&SiteDims) -> usize| chosen.iter().map(|site| side(site)).max().unwrap_or(1);
    Ok((most(|site| site.out_features), most(|site| site.in_features)))
}
