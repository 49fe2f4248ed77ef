//! SketchTune: each weight becomes codes into small tables, one per row and group of columns, and the tables are trained.
//!
//! Paper: Zhang et al. 2025, "Sketch to Adapt: Fine-Tunable Sketches for Efficient LLM Adaptation" (arXiv 2410.06364).
//!
//! ```text
//! W_eff[o, j] = table[o, g(j), code[o, j]]     trained: table (out, groups · 2^bits)     frozen: codes of 2 to 4 bits, b
//! ∂L/∂table[o, g, c] = Σ_{j in g, code[o, j] = c} ∂L/∂W_eff[o, j]
//! start: per row and group the 2^bits means of k-means over the values of W
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{CHOICE, ENERGY, EXCLUDE, LAYERS, TARGETS};
use temper_nn::slots::{Base, Calibration, Delta, Factor, Init, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &SketchTune;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "bits",
        label: "Bits of a code",
        default: "4",
        choices: &["4", "3", "2"],
        help: "each row has so many numbers to choose from: 16, 8 or 4 per group",
        ..CHOICE
    },
    Setting {
        key: "groups",
        label: "Groups in a row",
        default: "4",
        choices: &["1", "2", "4", "8"],
        help: "pieces of a row with tables of their own; more of them hold and learn more",
        ..CHOICE
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
];

const DECLARED: Declared = Declared {
    id: "sketchtune",
    kind: Kind::Adapter,
    family: "compression",
    families: &[],
    bases: &[],
    title: "SketchTune",
    summary: "Presses each row into a few numbers and trains those: every weight moves with the ones that share its number.",
    paper: Some(Paper {
        title: "Sketch to Adapt: Fine-Tunable Sketches for Efficient LLM Adaptation",
        authors: "Zhang et al.",
        year: 2025,
        id: "arXiv 2410.06364",
    }),
    exports_as: &["hf", "gguf"],
    peft_type: None,
    mergeable: true,
    settings: SETTINGS,
    series: &[ENERGY],
    waivers: &[Waiver {
        clause: "start",
        reason: "the base is its own sketch: it starts from the sketched weights, whose distance from the original is shown",
    }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each row of a chosen weight is cut into groups of neighbouring columns, and each group keeps 2^bits numbers; every weight is
one of them, told by a code that never changes. The numbers are trained: weights with the same code move together. Nothing of
low rank is assumed, so the change can be of full rank.

## What it costs
out · groups · 2^bits trained numbers per layer: for a 7B LLaMA with 4 groups and 4 bits 87 million. A code takes half a byte.
Weights are widened some rows at a time, forward and backward, so a step costs the product of the weight's whole gradient more
than LoRA's. Before training every row is sorted and clustered once.

## When to use it
When the change wanted is spread over the weight and is like a curve through its values; the paper reports more than LoRA of
as many numbers on commonsense and arithmetic tasks with a base of a third of the size. Learning rates are low: 2e-5 to 8e-5
for its models; keep weight decay at 0, the numbers are the weights (it does not apply to them here).

## Settings worth knowing
Groups: 4 holds a base at 4 bits nearly as it was; 1 is the least. Fewer bits: fewer numbers to train, and a coarser start.

## Pitfalls
The start is the sketched model, not the base: its first validation loss shows the distance, and the kept texts are
measured at step 0 beside the base itself. On one layer of 64 x 64 whose goal was a curve through its weights, 1024
trained numbers left 0.02 of the loss where LoRA of as many left 0.26, 512 left 0.18 and 0.41; of a goal of rank 4,
which LoRA solved, they left 0.56, of a dense one 0.52 and LoRA 0.39. The sketch here looks at no data: the paper
weighs values by their inputs and passes a column's rounding on to the next ones, which holds more at few bits. Codes
are made again from the weights when a run is resumed or exported. It leaves merged (hf, gguf); PEFT has no such type.";

/// SketchTune.
struct SketchTune;

fn number(values: &Values, key: &str) -> usize {
    values.text(key).parse().unwrap_or(1)
}

impl Method for SketchTune {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, _| Slots {
            base: Base::Dropped,
            calibration: Calibration::Sketch,
            delta: Delta::LookUp {
                groups: number(values, "groups"),
                bits: number(values, "bits"),
                table: Factor::trained(Init::Calibrated).without_decay(),
            },
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            site.out_features * (number(values, "groups") << number(values, "bits"))
        })
    }
}
