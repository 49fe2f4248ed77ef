//! IncreLoRA: starts with one direction a layer and lets the layers that matter grow.
//!
//! Paper: Zhang et al. 2023, "IncreLoRA: Incremental Parameter Allocation Method for Parameter-Efficient Fine-tuning"
//! (arXiv 2308.12043).
//!
//! ```text
//! ΔW = s · Σ_k e_k b_k a_k       loss + c · mean over layers (‖A Aᵀ − I‖ + ‖Bᵀ B − I‖)
//! S = Σ |ΔW ∘ G| / √entries      G: gradient of the whole weight
//! Ī ← β₁ Ī + (1 − β₁) S    Ū ← β₂ Ū + (1 − β₂) |S − Ī|    score = Ī · Ū
//! every `every_steps` steps: the best `top` layers get `grow_by` directions more, until there are `rank` a layer
//! ```
//!
//! | symbol  | shape              | meaning                                                             |
//! |---------|--------------------|---------------------------------------------------------------------|
//! | a, b    | (1, in), (out, 1)  | a direction, N(0, 0.02) at start                                    |
//! | e       | (1)                | its strength, 0 at start; held at 1e-5 while it is trained ahead    |

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{
    DROPOUT, EFFECTIVE_RANK, ENERGY, EVERY_STEPS, EXCLUDE, INTEGER, LAYERS, NUMBER, ORTHOGONALITY, TARGETS,
};
use crate::targets;
use temper_nn::slots::{Action, Chain, Core, Delta, ExtraLoss, Factor, Init, Rule, Scale, Scope, Score, Slots, When};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &IncreLora;

/// Strength of a direction that is trained ahead.
const AHEAD: f64 = 1e-5;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "rank",
        label: "Rank at the end",
        default: "8",
        min: Some(1.0),
        max: Some(1024.0),
        help: "directions a layer at the end, on average over all layers; each starts with one",
        ..INTEGER
    },
    Setting {
        key: "scale",
        label: "Scale",
        default: "4",
        min: Some(0.001),
        max: Some(1024.0),
        help: "what the change is multiplied by; it stays the same while the layers grow",
        ..NUMBER
    },
    Setting {
        key: "top",
        label: "Layers that grow at a time",
        default: "9",
        min: Some(1.0),
        max: Some(1024.0),
        help: "how many of the best layers grow at each choice; one alone would take everything",
        ..INTEGER
    },
    Setting {
        key: "grow_by",
        label: "Directions at a time",
        default: "4",
        min: Some(1.0),
        max: Some(64.0),
        help: "by how many directions a layer grows; half the rank at the end is usual",
        ..INTEGER
    },
    Setting {
        default: "20",
        help: "how often layers grow; the budget should be used up in the first half of the run",
        ..EVERY_STEPS
    },
    Setting {
        key: "warmup_share",
        label: "Share before the first choice",
        default: "0.05",
        min: Some(0.0),
        max: Some(0.9),
        help: "share of all steps before any layer grows",
        advanced: true,
        ..NUMBER
    },
    Setting { default: "0.1", ..ORTHOGONALITY },
    Setting { key: "beta1", label: "Smoothing of the score", help: "decay of the mean of the score", ..BETA },
    Setting { key: "beta2", label: "Smoothing of its doubt", help: "decay of the distance from that mean", ..BETA },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const BETA: Setting = Setting { default: "0.85", min: Some(0.0), max: Some(0.999), advanced: true, ..NUMBER };

const DECLARED: Declared = Declared {
    id: "increlora",
    kind: Kind::Adapter,
    family: "rank-allocation",
    families: &[],
    bases: &[],
    title: "IncreLoRA",
    summary: "Starts with one direction a layer and adds more, a few at a time, where the loss asks for them.",
    paper: Some(Paper {
        title: "IncreLoRA: Incremental Parameter Allocation Method for Parameter-Efficient Fine-tuning",
        authors: "Zhang et al.",
        year: 2023,
        id: "arXiv 2308.12043",
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
Each layer starts with one direction, b a times a strength e. Beside it directions are trained ahead with their strength
held at 1e-5, so that they count for nothing yet. Every few steps the layers are ranked by how much the loss depends on their
change, and the best ones let the directions go that they have trained ahead and get new ones. When there are as many
directions as the rank at the end asks for, on average a layer, what is still ahead is dropped.

## What it costs
Directions in use and ahead · (in + out) trained numbers per layer, and one for each in use; it grows with the run. The score
needs the gradient of each whole weight: a product of the size of the layer's own more per token, half as much again as the
frozen layer costs, and a matrix of its size in memory. It is formed to the end of the run.

## When to use it
With little data and a small budget of directions, when you do not know which layers need them. On eight small layers that
need 12, 8, 2, 1, 1, 0, 0 and 0 directions, two layers growing at a time end with 9, 9 and one each, and leave 0.04 of the
error where LoRA with three directions everywhere leaves 0.33.

## Settings worth knowing
How many layers grow at a time decides how greedy it is: with one at a time nearly everything goes to the layer that was
first. The run should be long enough for the budget to be used up in its first half: rank · layers / (layers at a time ·
directions at a time) choices are needed.

## Pitfalls
The authors' program divides by the number of directions, so that each growth shrinks what was learnt before; here the scale
stays, and growing changes the layer by less than 1e-6; what is still ahead when the last ones have grown is dropped, which
changes it by less than 1e-5. New
directions share the optimiser's count of steps and have no warm-up of their own. No layer ever has less than one direction.
Until the last growth a layer's rank counts those that are trained ahead.";

/// IncreLoRA.
struct IncreLora;

/// A setting that is a count.
fn count(values: &Values, key: &str) -> usize {
    values.integer(key).unsigned_abs() as usize
}

impl Method for IncreLora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let completed = values.complete(SETTINGS, "[method]")?;
        let chosen = targets::select(&completed, sites)?.len().max(1) as f64;
        common::plan(SETTINGS, values, sites, |values, _| {
            let by = count(values, "grow_by");
            let gaussian = Factor::trained(Init::Gaussian { std: 0.02 });
            Slots {
                delta: Delta::Chain(Chain {
                    rank: 1 + by,
                    b: gaussian,
                    core: Core::Diagonal(Factor::trained(Init::Tail { count: by, value: AHEAD })),
                    a: gaussian,
                }),
                scale: Scale::Fixed(values.number("scale")),
                dropout: values.number("dropout"),
                loss: ExtraLoss::Orthogonal { weight: values.number("orthogonality") / chosen },
                rules: vec![Rule {
                    when: When::Every {
                        steps: values.integer("every_steps").unsigned_abs(),
                        from: values.number("warmup_share"),
                        until: 1.0,
                    },
                    scope: Scope::Model,
                    score: Score::ChangeSensitivity { beta1: values.number("beta1"), beta2: values.number("beta2") },
                    action: Action::Grow { target: common::rank(values), sites: count(values, "top"), by },
                }],
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            (1 + count(values, "grow_by")) * (site.in_features + site.out_features) + 1
        })
    }
}
