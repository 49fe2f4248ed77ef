//! PaCA: trains a few columns of the weight itself, drawn at random or those whose inputs are largest.
//!
//! Paper: Woo et al. 2025, "PaCA: Partial Connection Adaptation for Efficient Fine-Tuning" (arXiv 2503.01905).
//!
//! ```text
//! W_eff[:, I] = W[:, I] + s · D        I: r columns of a layer, ascending              s = α / r
//! y = x Wᵀ + b + s · x[:, I] Dᵀ        trained: D (out, r), 0 at start                 frozen: W, b
//! ΔW = s · D P, P (r, in) with a 1 per row: LoRA whose inner factor picks inputs
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{
    ALPHA, CALIBRATION_ROWS, CHOICE, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, RANK, TARGETS,
};
use temper_nn::slots::{Calibration, Chain, Core, Delta, Factor, Init, Scale, Slots, Source};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Paca;

const SETTINGS: &[Setting] = &[
    Setting { label: "Columns", help: "how many columns of each weight are trained; memory grows with it", ..RANK },
    Setting {
        default: "64",
        help: "strength: the change is multiplied by alpha / columns, which works like a factor on the learning rate",
        ..ALPHA
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
    Setting {
        key: "columns",
        label: "Which columns",
        default: "random",
        choices: &["random", "energy"],
        help: "random: drawn from the run's seed, as the paper has it; energy: those whose inputs have the largest mean \
               square over some rows of the data",
        advanced: true,
        ..CHOICE
    },
    Setting { default: "64", ..CALIBRATION_ROWS },
];

const DECLARED: Declared = Declared {
    id: "paca",
    kind: Kind::Adapter,
    family: "sparse",
    families: &[],
    bases: &[],
    title: "PaCA",
    summary: "Trains a few randomly picked columns of each weight: half of LoRA's numbers, no second factor.",
    paper: Some(Paper {
        title: "PaCA: Partial Connection Adaptation for Efficient Fine-Tuning",
        authors: "Woo et al.",
        year: 2025,
        id: "arXiv 2503.01905",
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
Each chosen layer gets a trained change of a few of its columns, W_eff[:, I] = W[:, I] + s · D with s = alpha / columns.
The columns I are drawn at random per layer from the run's seed, or, as an addition to the paper, are those whose inputs have
the largest mean square over some rows of the data. D starts at zero. It is LoRA whose inner factor is
fixed and picks inputs, so adapter files are plain LoRA.

## What it costs
columns · out trained numbers per layer, half of LoRA's on a square one. The change goes into the weight's columns on
their way into the product, so neither pass has a product more than the frozen layer, and of the layer's input only the
picked features are needed for the gradient, columns numbers a token where LoRA needs in + rank: one thin product, where
LoRA has six. With dropout the change is computed beside the weight, as LoRA's is.

## When to use it
When memory and time decide, at equal memory rather than at equal parameters: per trained number random columns fit a
dense change less well than LoRA's free directions, but more of them fit in.

## Settings worth knowing
Which columns: energy looks at up to calibration_rows rows before the first step, which costs a pass over them and 8 bytes a
feature. Checkpoints hold what was found: a resumed run or an export looks at nothing again.

## Pitfalls
Alpha multiplies the change itself, so doubling it doubles every step. Which columns are picked depends on the seed: the
file holds them, a change of the seed between runs does not mix. Columns that are not picked never change, which no
number of steps makes up for.";

/// PaCA.
struct Paca;

impl Method for Paca {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            delta: Delta::Chain(Chain {
                rank: columns(values, site),
                b: Factor::trained(Init::Zeros),
                core: Core::None,
                a: Factor::of(Source::Select),
            }),
            calibration: match values.text("columns") {
                "energy" => Calibration::Energy { rows: values.integer("calibration_rows").unsigned_abs() as usize },
                _ => Calibration::None,
            },
            scale: Scale::AlphaOverRank(values.number("alpha")),
            dropout: values.number("dropout"),
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| columns(values, site) * site.out_features)
    }
}

/// No more columns than there are.
fn columns(values: &Values, site: &SiteDims) -> usize {
    common::rank(values).min(site.in_features)
}
