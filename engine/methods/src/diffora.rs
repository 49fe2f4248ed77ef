//! DiffoRA: LoRA on half of the layers, chosen by gates that are trained first.
//!
//! Paper: Jiang, Wang, Yuan 2025, "DiffoRA: Enabling Parameter-Efficient LLM Fine-Tuning via Differential Low-Rank Matrix
//! Adaptation" (arXiv 2502.08905). No program of the authors was found: how gates and factors take turns, and when the choice falls, is
//! this program's reading.
//!
//! ```text
//! search: y = x Wᵀ + b + σ(g) · s · (drop(x) Aᵀ) Bᵀ      trained: A, B and g, in turn      loss + cost · σ(g), averaged
//! then: the ρ · layers most open gates become 1 and begin again, the other layers lose their change
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, FLAG, LAYERS, NUMBER, RANK, TARGETS};
use crate::targets;
use temper_nn::slots::{
    Action, Chain, Core, Delta, ExtraLoss, Factor, GradientMap, Init, Rule, Scale, Scope, Score, Slots, When,
};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Diffora;

/// Share of the search in which only the factors move: a gate learns nothing while B is zero.
const WARM: f64 = 0.2;

const SETTINGS: &[Setting] = &[
    Setting { default: "8", ..RANK },
    Setting { default: "16", ..ALPHA },
    Setting {
        key: "keep",
        label: "Layers to keep",
        default: "0.5",
        min: Some(0.01),
        max: Some(1.0),
        help: "share of the chosen layers that have a change in the end",
        ..NUMBER
    },
    Setting {
        key: "search_share",
        label: "Search",
        default: "0.1",
        min: Some(0.01),
        max: Some(0.9),
        help: "share of all steps after which the choice falls",
        ..NUMBER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
    Setting {
        key: "gate_lr_ratio",
        label: "Learning rate of the gates",
        default: "100",
        min: Some(0.1),
        max: Some(10_000.0),
        help: "over that of the run: gates have few steps to move apart; 0.05 in all is a good place to start",
        advanced: true,
        ..NUMBER
    },
    Setting {
        key: "cost",
        label: "Cost of open gates",
        default: "0.01",
        min: Some(0.0),
        max: Some(100.0),
        help: "what the loss gains when all gates are open; without any, gates tend to open everywhere",
        advanced: true,
        ..NUMBER
    },
    Setting {
        key: "begin_again",
        label: "Begin again after the search",
        default: "true",
        help: "let the layers that stay start from their first values; otherwise they go on from where they are",
        advanced: true,
        ..FLAG
    },
];

const DECLARED: Declared = Declared {
    id: "diffora",
    kind: Kind::Adapter,
    family: "rank-allocation",
    families: &[],
    bases: &[],
    title: "DiffoRA",
    summary: "LoRA that first finds out which layers are worth a change and leaves the others alone.",
    paper: Some(Paper {
        title: "DiffoRA: Enabling Parameter-Efficient LLM Fine-Tuning via Differential Low-Rank Matrix Adaptation",
        authors: "Jiang et al.",
        year: 2025,
        id: "arXiv 2502.08905",
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
Every chosen layer gets a LoRA change behind a gate that starts half open. During the search the factors and the gates move
in turn, a step each, so that a gate is judged on rows that the factors were not just fitted to. Then the layers whose gates
are open furthest keep their change, with the gate open for good, and begin again; the change is taken off the others. What
is left is plain LoRA on a list of layers.

## What it costs
During the search rank · (in + out) + 1 trained numbers on every chosen layer, afterwards on the share that is kept. The
learning rate's schedule is that of the whole run: the search takes its steps from it.

## When to use it
When a budget of parameters should go to few layers and you do not know which.

## Pitfalls
Rows of the training data serve both kinds of steps, so in later epochs a gate sees rows again that the factors have been
fitted to: keep the search within the first. The search wants a learning rate that moves the factors within its few steps;
a warm-up that fills it leaves gates where they were. The choice can differ between seeds. Layers that are not kept get
nothing: they share no change. Measured on eight layers of which the first needs twelve directions and three need none, half
of them at rank 6, means of three seeds: 14 % of the error is left, 31 % with rank 3 everywhere, 64 % with rank 6 on half of
the layers by chance; the three that need most were kept under every seed.";

/// DiffoRA.
struct Diffora;

impl Method for Diffora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let completed = values.complete(SETTINGS, "[method]")?;
        let chosen = targets::select(&completed, sites)?.len().max(1) as f64;
        common::plan(SETTINGS, values, sites, |values, _| {
            let search = values.number("search_share");
            let gate = Factor::trained(Init::Zeros).without_decay().with_lr_ratio(values.number("gate_lr_ratio"));
            Slots {
                delta: Delta::Chain(Chain {
                    rank: common::rank(values),
                    b: Factor::trained(Init::Zeros),
                    core: Core::Gate(gate),
                    a: Factor::trained(Init::KaimingUniform),
                }),
                scale: Scale::AlphaOverRank(values.number("alpha")),
                dropout: values.number("dropout"),
                gradient: GradientMap::InTurn { from: WARM * search },
                loss: ExtraLoss::Open { weight: values.number("cost") / chosen },
                rules: vec![Rule {
                    when: When::Every { steps: u64::MAX, from: search, until: search },
                    scope: Scope::Model,
                    score: Score::Gate,
                    action: Action::KeepSites { share: values.number("keep"), fresh: values.flag("begin_again") },
                }],
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            common::rank(values) * (site.in_features + site.out_features) + 1
        })
    }
}
