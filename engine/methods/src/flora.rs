//! FLoRA: a trained core between factors of every dimension, for linear layers and for kernels of convolutions as they are.
//!
//! Paper: Si et al. 2024, "FLoRA: Low-Rank Core Space for N-dimension" (arXiv 2405.14739).
//!
//! ```text
//! linear: ΔW = s · U_out G U_inᵀ      kernel (out, in, h, w): ΔW = s · G ×₁ U_out ×₂ U_in ×₃ U_h ×₄ U_w
//! G = 0 at start, factors normal with variance 1 / (2 · side) (Kaiming, a = √3)      trained: G and all U
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, INTEGER, LAYERS, NUMBER, RANK, TARGETS};
use temper_nn::slots::{Delta, Factor, Init, Mode, Scale, Slots, Tucker};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Flora;

const SETTINGS: &[Setting] = &[
    Setting { default: "16", help: "inner width on the side of the outputs and of the inputs", ..RANK },
    Setting {
        key: "window_rank",
        label: "Rank of the window",
        default: "2",
        min: Some(1.0),
        max: Some(64.0),
        help: "inner width for the rows and columns of a kernel's window, at most what they have",
        ..INTEGER
    },
    Setting {
        key: "scale",
        label: "Scale",
        default: "4",
        min: Some(0.001),
        max: Some(1024.0),
        help: "strength: the change is multiplied by it",
        ..NUMBER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "flora",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "FLoRA",
    summary: "A small trained core between factors of each dimension; kernels keep their four.",
    paper: Some(Paper {
        title: "FLoRA: Low-Rank Core Space for N-dimension",
        authors: "Si et al.",
        year: 2024,
        id: "arXiv 2405.14739",
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
The change of a weight is a core with a factor for each of its dimensions: two for a linear layer, four for the kernel of a
convolution, whose window is not flattened together with its channels. The core starts at zero and the factors at random.

## What it costs
rank · (in + out) + rank² trained numbers for a linear layer; for a kernel the factors of its window and a core of rank² ·
window_rank² instead. The factors fold into two once per step, so that a token costs what it costs with LoRA.

## When to use it
For models with convolutions, where LoRA would treat a window as so many more channels. Measured on a kernel of 32 x 32
channels and 3 x 3 places that has its form, means of three seeds: 332 numbers leave nothing of it, LoRA over the flattened
window leaves 45 % with 320 and 16 % with 640, over the kernel read as 96 x 96 27 % with 768 (laid out by (out, rows) and
(in, columns) instead, 4 %). On linear layers it is LoRA with a core between: close to it.

## Pitfalls
At the first step only the core has a gradient. Several unrelated methods are called FLoRA too. It leaves as plain LoRA of
the outer rank, exactly: the input factors and the core become A.";

/// FLoRA.
struct Flora;

/// Size and rank of each dimension of the input side.
fn modes(values: &Values, site: &SiteDims) -> Vec<(usize, usize)> {
    let (rows, columns) = site.window;
    let channels = site.in_features / (rows * columns).max(1);
    let window = values.integer("window_rank").unsigned_abs() as usize;
    let all = [(channels, common::rank(values)), (rows, window), (columns, window)];
    let sides = if site.window == (1, 1) { 1 } else { all.len() };
    all.into_iter().take(sides).map(|(size, rank)| (size, rank.min(size))).collect()
}

fn outer_rank(values: &Values, site: &SiteDims) -> usize {
    common::rank(values).min(site.out_features)
}

impl Method for Flora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, site| {
            let normal = |side: usize| Factor::trained(Init::Gaussian { std: (2.0 * side as f64).sqrt().recip() });
            let mode = |(size, rank): (usize, usize)| Mode { size, rank, factor: normal(size) };
            Slots {
                delta: Delta::Tucker(Tucker {
                    rank: outer_rank(values, site),
                    outer: normal(site.out_features),
                    core: Factor::trained(Init::Zeros),
                    modes: modes(values, site).into_iter().map(mode).collect(),
                }),
                scale: Scale::Fixed(values.number("scale")),
                dropout: values.number("dropout"),
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            let (outer, modes) = (outer_rank(values, site), modes(values, site));
            let core: usize = modes.iter().map(|(_, rank)| rank).product();
            let factors: usize = modes.iter().map(|(size, rank)| size * rank).sum();
            site.out_features * outer + outer * core + factors
        })
    }
}
