//! EVA: LoRA whose inner factor starts along the directions in which a layer's inputs spread, and whose directions go to the
//! layers where they explain most.
//!
//! Paper: Paischer et al. 2024, "One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation"
//! (arXiv 2410.07170).
//!
//! ```text
//! v_i, ξ_i: principal components of the layer's inputs and the share of their spread that each explains
//! the r · layers largest ξ of the model, at most ρ r of a layer, decide the ranks       A = [v_1 .. v_r]ᵀ    B = 0
//! ΔW = s · B A       s = α / r as before the ranks were shared out       trained: A, B
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{
    ALPHA, CALIBRATION_ROWS, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, INTEGER, LAYERS, RANK, TARGETS,
};
use temper_nn::slots::{Action, Calibration, Chain, Core, Delta, Factor, Init, Rule, Scale, Scope, Score, Slots, When};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Eva;

const SETTINGS: &[Setting] = &[
    Setting { default: "16", help: "directions a layer on average; a budget over all layers", ..RANK },
    Setting { default: "16", ..ALPHA },
    Setting {
        key: "most",
        label: "Largest share of a layer",
        default: "2",
        min: Some(1.0),
        max: Some(2.0),
        help: "how many times the rank a single layer may get; 1 shares nothing out",
        ..INTEGER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
    Setting { default: "64", ..CALIBRATION_ROWS },
];

const DECLARED: Declared = Declared {
    id: "eva",
    kind: Kind::Adapter,
    family: "rank-allocation",
    families: &[],
    bases: &[],
    title: "EVA",
    summary: "LoRA that looks at your data first: it starts along the inputs' own directions and puts rank where they spread.",
    paper: Some(Paper {
        title: "One Initialization to Rule them All: Fine-tuning via Explained Variance Adaptation",
        authors: "Paischer et al.",
        year: 2024,
        id: "arXiv 2410.07170",
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
Before training the base reads some of the data, and the principal components of each layer's inputs are followed until they
stay where they are. A starts as those components, B at zero: the layer starts unchanged. The directions of all layers
together are shared out by how much of the inputs' spread each explains; a layer may get none.

## What it costs
As LoRA while it trains. Before it the base reads up to calibration_rows rows, with a small randomised decomposition per
batch for each input that layers share (q, k and v read the same); it ends early once all leading components are steady.
Memory: the components, 16 · rank · in bytes a layer.

## When to use it
When few steps have to go far: the first ones do more than LoRA's.

## Pitfalls
The mean of the inputs is taken off first, so a strong constant direction is not in A. A run needs more tokens to look at
than the largest width has directions. Checkpoints hold A and the widths: a resumed run or an export looks at nothing
again.";

/// EVA.
struct Eva;

impl Method for Eva {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            calibration: Calibration::Components { rows: values.integer("calibration_rows").unsigned_abs() as usize },
            delta: Delta::Chain(Chain {
                rank: common::usable_rank(values, site),
                b: Factor::trained(Init::Zeros),
                core: Core::None,
                a: Factor::trained(Init::Calibrated),
            }),
            scale: Scale::AlphaOverRank(values.number("alpha")),
            dropout: values.number("dropout"),
            rules: vec![Rule {
                when: When::Before,
                scope: Scope::Model,
                score: Score::Explained,
                action: Action::ShareOut { most: values.integer("most").unsigned_abs() as usize },
            }],
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            common::usable_rank(values, site) * (site.in_features + site.out_features)
        })
    }
}
