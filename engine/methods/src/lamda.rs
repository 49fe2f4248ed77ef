//! LaMDA: a small square core between two projections from the weight, one frozen from the start, the other column by column.
//!
//! Paper: Azizi et al. 2024, "LaMDA: Large Model Fine-Tuning via Spectrally Decomposed Low-Dimensional Adaptation"
//! (arXiv 2406.12832). Where the core starts is this program's reading.
//!
//! ```text
//! W ≈ U S Vᵀ, k = r triplets       A = √S Vᵀ / √s    B = U √S / √s       ΔW = s · B C A       s = α / r
//! trained: C, B       frozen: A       at step t ≤ t_i the first ⌊r t / t_i⌋ columns of B are frozen too
//! ```
//!
//! | symbol | shape    | meaning                                        |
//! |--------|----------|------------------------------------------------|
//! | A      | (r, in)  | projection down, never trained                 |
//! | B      | (out, r) | projection up, trained at first                |
//! | C      | (r, r)   | core, 0 at start: the layer starts unchanged   |

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, ITERATIONS, LAYERS, NUMBER, RANK, TARGETS};
use temper_nn::slots::{
    Action, Calibration, Chain, Core, Delta, Factor, Init, Part, Rule, Scale, Scope, Score, Slots, When,
};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Lamda;

/// When the projection up is frozen whole.
pub(crate) const FREEZE_SHARE: Setting = Setting {
    key: "freeze_share",
    label: "Share until all is frozen",
    default: "0.3",
    min: Some(0.0),
    max: Some(1.0),
    help: "share of all steps after which the last column of the projection up is frozen and only the core learns",
    ..NUMBER
};

const SETTINGS: &[Setting] = &[
    Setting { default: "32", ..RANK },
    Setting { default: "32", ..ALPHA },
    FREEZE_SHARE,
    ITERATIONS,
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "lamda",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "LaMDA",
    summary: "A small square core between two projections taken from the weight; soon only the core is trained.",
    paper: Some(Paper {
        title: "LaMDA: Large Model Fine-Tuning via Spectrally Decomposed Low-Dimensional Adaptation",
        authors: "Azizi et al.",
        year: 2024,
        id: "arXiv 2406.12832",
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
The leading singular directions of each weight become two projections, A down to the rank and B up again; a square core
between them starts at zero and learns the change. A is never trained. B is trained at first, and its columns are frozen one
after another, strongest first, until only the core is left.

## What it costs
rank² + out · rank trained numbers per layer at the start, rank² from the freezing's end on; the optimiser's memory of B goes
with it. Each weight is decomposed before training. A step folds the core into B once.

## When to use it
When the number of trained numbers matters more than the fit: at equal trained numbers it goes further than LoRA, at equal
rank LoRA is ahead. Take ranks of 32 and more.

## Pitfalls
The authors' released program decomposes nothing and freezes three columns at most; this follows the paper. The projections
are regenerated from the weight when a run is loaded, so the file of the run belongs to this base. The saved adapter is plain
LoRA with the core folded in.";

/// LaMDA.
struct Lamda;

impl Method for Lamda {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            calibration: Calibration::Svd { iterations: values.integer("iterations").unsigned_abs() as usize },
            delta: Delta::Chain(Chain {
                rank: common::usable_rank(values, site),
                b: Factor::trained(Init::Calibrated),
                core: Core::Dense(Factor::trained(Init::Zeros)),
                a: Factor::frozen(Init::Calibrated),
            }),
            scale: Scale::AlphaOverRank(values.number("alpha")),
            dropout: values.number("dropout"),
            rules: vec![Rule {
                when: When::Every { steps: 1, from: 0.0, until: values.number("freeze_share") },
                scope: Scope::Site,
                score: Score::Index,
                action: Action::Freeze { part: Part::B },
            }],
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            let rank = common::usable_rank(values, site);
            rank * rank + site.out_features * rank
        })
    }
}
