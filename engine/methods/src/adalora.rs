//! AdaLoRA: directions with a trained strength each, and a budget over all layers that the weakest ones leave.
//!
//! Paper: Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning" (arXiv 2303.10512).
//!
//! ```text
//! ΔW = s · B diag(E) A       s = α / (r₀ + 1e-5)       loss + c · mean over layers (‖A Aᵀ − I‖ + ‖Bᵀ B − I‖)
//! u = |p · ∂p|    Ī ← β₁ Ī + (1 − β₁) u    Ū ← β₂ Ū + (1 − β₂) |u − Ī|    score(p) = Ī · Ū
//! S_k = score(E_k) + mean score(A_k) + mean score(B_k)       every ΔT steps: E_k = 0 outside the best b(t) of all layers
//! b(t) = b_T + (b₀ − b_T) (1 − (t − t_i) / (T − t_i − t_f))³       from T − t_f on what is left stays
//! ```
//!
//! | symbol | shape             | meaning                                                     |
//! |--------|-------------------|-------------------------------------------------------------|
//! | A, B   | (r₀, in), (out, r₀) | directions, N(0, 0.02) at start                           |
//! | E      | (r₀)              | strengths, 0 at start: the layer starts unchanged           |
//! | r₀     |                   | directions a layer at the start; b₀ = r₀ · layers           |

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{
    ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EVERY_STEPS, EXCLUDE, INTEGER, LAYERS, NUMBER, ORTHOGONALITY, TARGETS,
};
use crate::targets;
use temper_nn::slots::{Action, Chain, Core, Delta, ExtraLoss, Factor, Init, Rule, Scale, Scope, Score, Slots, When};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &AdaLora;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "init_rank",
        label: "Rank at the start",
        default: "12",
        min: Some(1.0),
        max: Some(1024.0),
        help: "directions of each layer at the start; half as many again as at the end is usual",
        ..INTEGER
    },
    Setting {
        key: "rank",
        label: "Rank at the end",
        default: "8",
        min: Some(1.0),
        max: Some(1024.0),
        help: "directions a layer at the end, on average over all layers; at most the rank at the start counts",
        ..INTEGER
    },
    Setting { default: "32", ..ALPHA },
    Setting {
        key: "warmup_share",
        label: "Share before the budget falls",
        default: "0.1",
        min: Some(0.0),
        max: Some(0.45),
        help: "share of all steps in which every layer keeps all its directions",
        ..NUMBER
    },
    Setting {
        key: "final_share",
        label: "Share with the final ranks",
        default: "0.35",
        min: Some(0.0),
        max: Some(0.5),
        help: "share of all steps, at the end, in which the directions that are left stay",
        ..NUMBER
    },
    Setting { help: "how often the weakest directions are set to zero", advanced: true, ..EVERY_STEPS },
    ORTHOGONALITY,
    Setting { key: "beta1", label: "Smoothing of the score", help: "decay of the mean of |p · ∂p|", ..BETA },
    Setting { key: "beta2", label: "Smoothing of its doubt", help: "decay of the distance from that mean", ..BETA },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const BETA: Setting = Setting { default: "0.85", min: Some(0.0), max: Some(0.999), advanced: true, ..NUMBER };

const DECLARED: Declared = Declared {
    id: "adalora",
    kind: Kind::Adapter,
    family: "rank-allocation",
    families: &[],
    bases: &[],
    title: "AdaLoRA",
    summary: "Starts with more directions than it may keep and lets the layers compete for them while training.",
    paper: Some(Paper {
        title: "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
        authors: "Zhang et al.",
        year: 2023,
        id: "arXiv 2303.10512",
    }),
    exports_as: &["peft", "gguf-lora", "hf", "gguf"],
    peft_type: Some("ADALORA"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
The change of each layer is B diag(E) A: directions with a trained strength each. Every few steps all directions of all
layers are ranked by how sensitive the loss is to them, and the strengths of the weakest are set to zero. The number that
may stay falls from the rank at the start to the rank at the end, on average a layer, as a cubic; for the last part of the
run what is left stays. A loss beside the task's keeps the directions of a layer apart.

## What it costs
rank at the start · (in + out + 1) trained numbers per layer to the end of the run, and two more for each as smoothed scores.
Directions that were set to zero are still computed: the saving is in the file, not in the step. The strengths are folded
into B once a step, nothing is added per token.

## When to use it
When the budget of directions is small and you do not know where they belong. Directions move to the layers that need them;
the rank map shows it. On eight small layers that need 12, 8, 2, 1, 1, 0, 0 and 0 directions it finds just these, and leaves
less than a thousandth of the error where LoRA with three directions everywhere leaves 0.33.

## Settings worth knowing
The run must know its length: shares are of all its steps, and a run that is cut short has not finished choosing. The rank at
the end is an average, single layers may keep all or none.

## Pitfalls
Between two choices a direction that was set to zero may grow again and win its place back; only the last choice is final.
The scale stays alpha over the rank at the start, also where few directions are left. As plain LoRA the file leaves out what
is zero (one direction stays where none would be left); as PEFT's ADALORA it holds all directions with their strengths.";

/// AdaLoRA.
struct AdaLora;

/// A setting that is a count.
fn count(values: &Values, key: &str) -> usize {
    values.integer(key).unsigned_abs() as usize
}

impl Method for AdaLora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let completed = values.complete(SETTINGS, "[method]")?;
        let chosen = targets::select(&completed, sites)?.len().max(1) as f64;
        common::plan(SETTINGS, values, sites, |values, _| {
            let start = count(values, "init_rank");
            let (gaussian, target) = (Factor::trained(Init::Gaussian { std: 0.02 }), common::rank(values).min(start));
            Slots {
                delta: Delta::Chain(Chain {
                    rank: start,
                    b: gaussian,
                    core: Core::Diagonal(Factor::trained(Init::Zeros)),
                    a: gaussian,
                }),
                scale: Scale::Fixed(values.number("alpha") / (start as f64 + 1e-5)),
                dropout: values.number("dropout"),
                loss: ExtraLoss::Orthogonal { weight: values.number("orthogonality") / chosen },
                rules: vec![Rule {
                    when: When::Every {
                        steps: values.integer("every_steps").unsigned_abs(),
                        from: values.number("warmup_share"),
                        until: 1.0 - values.number("final_share"),
                    },
                    scope: Scope::Model,
                    score: Score::Sensitivity { beta1: values.number("beta1"), beta2: values.number("beta2") },
                    action: Action::KeepTop { target },
                }],
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            count(values, "init_rank") * (site.in_features + site.out_features + 1)
        })
    }
}
