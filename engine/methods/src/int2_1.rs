//! INT2.1: LoRA over a base of very few bits that first learns to predict what the model predicted before it was rounded.
//!
//! Paper: Chai et al. 2023, "INT2.1: Towards Fine-Tunable Quantized Large Language Models with Error Correction through
//! Low-Rank Adaptation" (arXiv 2306.08162).
//!
//! ```text
//! y = x Qᵀ + b + s · (drop(x) Aᵀ) Bᵀ       s = α / r     trained: A random, B = 0 at start     frozen: Q, b
//! repair: L = Σ_t w_kl · KL(p_parent ‖ p) + w_ce · CE       parent: the same model with W as its file has it
//! then:   L = Σ_t CE                                        over the trained tokens t
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Imitation, Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, NUMBER, RANK, TARGETS};
use temper_nn::slots::{Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Int21;

const SETTINGS: &[Setting] = &[
    Setting { default: "32", ..RANK },
    Setting { default: "128", ..ALPHA },
    TARGETS,
    EXCLUDE,
    LAYERS,
    Setting { default: "0.05", ..DROPOUT },
    Setting {
        key: "repair_share",
        label: "Repair",
        default: "0.5",
        min: Some(0.0),
        max: Some(1.0),
        help: "share of the run's steps, at its start, that imitate the model before rounding; 1 only repairs, 0 only \
               trains",
        ..NUMBER
    },
    Setting {
        key: "divergence_weight",
        label: "Weight of the divergence",
        default: "1",
        min: Some(0.0),
        max: Some(1000.0),
        help: "while it repairs: factor of the divergence from the model before rounding, per token",
        advanced: true,
        ..NUMBER
    },
    Setting {
        key: "loss_weight",
        label: "Weight of the loss",
        default: "0.1",
        min: Some(0.0),
        max: Some(1000.0),
        help: "while it repairs: factor of the usual loss, per token; the reference's 1 to 200 at 2048 tokens is 1 to 0.1",
        advanced: true,
        ..NUMBER
    },
];

const DECLARED: Declared = Declared {
    id: "int2.1",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "INT2.1",
    summary: "LoRA on two or three bits: it first repairs the rounded model from its own original, then learns your task.",
    paper: Some(Paper {
        title: "INT2.1: Towards Fine-Tunable Quantized Large Language Models with Error Correction through Low-Rank \
                Adaptation",
        authors: "Chai et al.",
        year: 2023,
        id: "arXiv 2306.08162",
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
The base is rounded to few bits while it is read (model.base = int2, int3, int4, nf4 ...) and stays frozen; products unpack it
a few rows at a time, forward and backward, and no gradient of it exists. Each chosen layer gets LoRA. In the first part of
the run the loss is the divergence of the rounded model's predictions from those of the same model before rounding, with a
little of the usual loss; afterwards the usual loss alone. The series loss/divergence shows the way back, in nats a token.

## What it costs
rank · (in + out) trained numbers per layer, as LoRA. In 16 bits they add 16 · rank · Σ(in + out) / Σ(in · out) bits to each
value of the base: for the seven layers of a 7B LLaMA 0.049 at rank 8, 0.099 at 16, 0.198 at 32. A base of int2 takes 2.19
bits itself with its scales. A repairing step also runs the model before rounding forward once, from the mapped file: nothing
of it stays in memory, but each step reads it. Its usual dropout of 0.05 takes a fifth of a step's time, in LoRA as here: on
SmolLM2 1.26 times LoRA without one, 0.98 times at a dropout of 0.

## When to use it
At two and three bits, where rounding alone makes a model unusable and a rank is not enough to take up the error in closed
form. The repair needs no labels: any text like that which the model is for. At four bits LoRA with start = loftq is cheaper.

## Settings worth knowing
Repair: with 1, and plain text as data, the run only repairs; go on from there with a task, or split one run. The divergence
counts per trained token here, so that length does not change its weight against the loss; the reference sums it over a text
and weighs 1 to 200, which at its 2048 tokens is 1 to 0.1.

## Pitfalls
The usual loss alone recovers less and drifts away from the model that was. Measured on the starter at two bits, rank 8, 90
steps of 192 tokens of plain text, on text held out: loss 4.647 before rounding, 4.743 rounded, 4.672 repaired, 4.694 by the
usual loss alone; divergence from the model before rounding 0.110 rounded, 0.064 repaired, 0.155 by the usual loss. On a classifier of two
layers (32-96-8, two bits in groups of 32, rank 4, 400 steps, three seeds): divergence 0.150 rounded, 0.031 repaired, 0.217
by its labels alone; loss 0.975 before rounding, 1.107, 0.980 and 1.024. Over a base that was not
rounded in memory there is nothing to repair. What is repaired fits this very base: it leaves merged into it (hf, gguf), not
as an adapter for the original weights; with a repair of 0 it is LoRA and leaves as such. Validation loss before and after the
repair says what it was worth: a base of two bits may stay clearly worse than its original.";

/// INT2.1.
struct Int21;

impl Method for Int21 {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, _| Slots {
            dropout: values.number("dropout"),
            ..Slots::low_rank(common::rank(values), Scale::AlphaOverRank(values.number("alpha")))
        })
    }

    fn belongs_to_its_base(&self, values: &Values) -> bool {
        self.imitates(values).is_some()
    }

    fn imitates(&self, values: &Values) -> Option<Imitation> {
        let values = values.complete(SETTINGS, "[method]").ok()?;
        let imitation = Imitation {
            share: values.number("repair_share"),
            divergence: values.number("divergence_weight"),
            cross_entropy: values.number("loss_weight"),
            features: 0.0,
        };
        Some(imitation).filter(|imitation| imitation.share > 0.0)
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            common::rank(values) * (site.in_features + site.out_features)
        })
    }
}
