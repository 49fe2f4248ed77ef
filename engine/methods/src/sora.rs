//! SoRA: LoRA with a gate on each direction, and a threshold that drives gates to exactly zero.
//!
//! Paper: Ding et al. 2023, "Sparse Low-rank Adaptation of Pre-trained Language Models" (arXiv 2311.11696).
//!
//! ```text
//! ΔW = s · B diag(g) A       s = α / r       trained: A, B, g       loss + λ · mean |g|
//! after each step: g ← T_ξ(g)       T_ξ(v) = sign(v) · max(|v| − ξ, 0)
//! ```
//!
//! | symbol | shape             | meaning                                   |
//! |--------|-------------------|-------------------------------------------|
//! | A, B   | (r, in), (out, r) | as LoRA: A random, B 0 at start           |
//! | g      | (r)               | gates, N(0, 1) at start, no weight decay  |
//! | ξ, λ   |                   | threshold of a step, weight of the L1 loss |

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, NUMBER, RANK, TARGETS};
use crate::targets;
use temper_nn::slots::{Chain, Core, Delta, ExtraLoss, Factor, Init, Part, Proximal, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Sora;

const SETTINGS: &[Setting] = &[
    Setting { default: "8", help: "directions at the start; the threshold decides how many are left", ..RANK },
    Setting { default: "16", ..ALPHA },
    Setting {
        key: "threshold",
        label: "Threshold",
        default: "0.0003",
        min: Some(0.0),
        max: Some(0.02),
        help: "how far each gate moves towards zero after every step; a larger one leaves fewer directions",
        ..NUMBER
    },
    Setting {
        key: "l1",
        label: "L1 weight",
        default: "10",
        min: Some(0.0),
        max: Some(1000.0),
        help: "weight of the mean size of all gates in the loss; the threshold does most of the work",
        advanced: true,
        ..NUMBER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "sora",
    kind: Kind::Adapter,
    family: "rank-allocation",
    families: &[],
    bases: &[],
    title: "SoRA",
    summary: "LoRA whose directions carry gates; a threshold after every step closes the gates that earn too little.",
    paper: Some(Paper {
        title: "Sparse Low-rank Adaptation of Pre-trained Language Models",
        authors: "Ding et al.",
        year: 2023,
        id: "arXiv 2311.11696",
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
Each direction of a LoRA change gets a gate g: ΔW = s · B diag(g) A with s = alpha / rank. After every step all gates move
towards zero by the threshold, and those that reach it stay there until a gradient brings them back. A gate that is closed
at the end takes its direction with it: the saved adapter has as many directions a layer as gates are open.

## What it costs
rank · (in + out) + rank trained numbers per layer. A step folds the gates into B once, nothing per token. The rank map
shows which layers keep their directions.

## When to use it
When you do not know which layers need rank: start with more directions than LoRA would get and let the threshold choose.

## Settings worth knowing
The threshold is taken as it is, not times the learning rate: 3e-4 over a thousand steps moves an idle gate by 0.3. There
is no budget of directions; compare two or three thresholds.

## Pitfalls
Too large a threshold closes every gate and the model is the base again: a warning says so once, and the energy of all layers
falls to zero. A closed
gate still gets a gradient and may open again, so the count of directions is not monotone. The authors' program compares a
value again after it was moved, so that everything below twice the threshold is closed; this is the formula of the paper.";

/// SoRA.
struct Sora;

impl Method for Sora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let completed = values.complete(SETTINGS, "[method]")?;
        let chosen = targets::select(&completed, sites)?.len().max(1) as f64;
        common::plan(SETTINGS, values, sites, |values, _| Slots {
            delta: Delta::Chain(Chain {
                rank: common::rank(values),
                b: Factor::trained(Init::Zeros),
                core: Core::Diagonal(Factor::trained(Init::Gaussian { std: 1.0 }).without_decay()),
                a: Factor::trained(Init::KaimingUniform),
            }),
            scale: Scale::AlphaOverRank(values.number("alpha")),
            dropout: values.number("dropout"),
            proximal: Proximal::SoftThreshold { part: Part::Core, amount: values.number("threshold") },
            // A mean over the gates of all layers.
            loss: ExtraLoss::L1 { part: Part::Core, weight: values.number("l1") / chosen },
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            common::rank(values) * (site.in_features + site.out_features + 1)
        })
    }
}
