//! LoLDU: trains the pivots of the weight's LDU decomposition and nothing else.
//!
//! Paper: Shi et al. 2024, "LoLDU: Low-Rank Adaptation via Lower-Diag-Upper Decomposition for Parameter-Efficient
//! Fine-Tuning" (arXiv 2410.13618).
//!
//! ```text
//! W = P L D U      L_r = (P L)[:, :r]      U_r = U[:r, :]      σ = α / r
//! W_eff = W + σ · L_r diag(z − D_r) U_r        trained: z (r), D_r at start        frozen: W, L_r, U_r, D_r
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Base, Calibration, Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Loldu;

const SETTINGS: &[Setting] = &[
    Setting { default: "64", label: "Pivots", help: "how many pivots of each weight are trained", ..RANK },
    Setting {
        default: "64",
        help: "strength: the change is multiplied by alpha / pivots, which works like a factor on the learning rate",
        ..ALPHA
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
];

const DECLARED: Declared = Declared {
    id: "loldu",
    kind: Kind::Adapter,
    family: "scales",
    families: &[],
    bases: &[],
    title: "LoLDU",
    summary: "Trains a handful of pivots per weight, in the coordinates of its LDU decomposition.",
    paper: Some(Paper {
        title: "LoLDU: Low-Rank Adaptation via Lower-Diag-Upper Decomposition for Parameter-Efficient Fine-Tuning",
        authors: "Shi et al.",
        year: 2024,
        id: "arXiv 2410.13618",
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
Each chosen weight is decomposed by Gaussian elimination with row exchanges, W = P L D U. The first pivots D become
trained numbers z; the triangles stay frozen: W_eff = W + s · L diag(z − D) U with s = alpha / pivots. It starts exactly
as the model is.

## What it costs
pivots numbers per layer: 64 where LoRA of rank 1 trains in + out. The triangles take pivots · (in + out) numbers of
memory that are not trained and not saved, and a step costs what LoRA of that rank costs.

## When to use it
Where files must be tiny, many tasks share a model, and the task moves what the weight does already. It needs a large
learning rate, 1e-3 to 1e-2.

## Pitfalls
The first pivots are not the largest ones: row exchanges do not sort them, so a small number of pivots is an arbitrary
part of the weight. On a change that is no scaling in these coordinates nearly nothing is learned. A pivot below a
millionth of the largest gets a direction that nothing else shares, instead of a row divided by it. Files hold the
triangles as LoRA factors and are as large as LoRA's of that rank.";

/// LoLDU.
struct Loldu;

impl Method for Loldu {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let fixed = Factor::frozen(Init::Calibrated);
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            base: Base::Residual,
            calibration: Calibration::Lu,
            delta: Delta::Chain(Chain {
                rank: common::usable_rank(values, site),
                b: fixed,
                core: Core::Diagonal(Factor::trained(Init::Calibrated).without_decay()),
                a: fixed,
            }),
            scale: Scale::AlphaOverRank(values.number("alpha")),
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, common::usable_rank)
    }
}
