//! LaMDA++: LaMDA with a width for each layer that follows the spectrum of its weight.
//!
//! Paper: Azizi et al. 2024, "LaMDA: Large Model Fine-Tuning via Spectrally Decomposed Low-Dimensional Adaptation"
//! (arXiv 2406.12832). How a spectrum becomes a width, and where the core starts, is this program's reading.
//!
//! ```text
//! W ≈ U S Vᵀ, k = r triplets       A = √S Vᵀ / √s    B = U √S / √s       ΔW = s · B C A       s = α / r
//! r = the fewest k with Σ_{i≤k} σ² ≥ τ Σσ², scaled to the budget and taken from {r₀/2, r₀, 2 r₀}
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
use crate::lamda::FREEZE_SHARE;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, ITERATIONS, LAYERS, NUMBER, RANK, TARGETS};
use temper_nn::slots::{
    Action, Calibration, Chain, Core, Delta, Factor, Init, Part, Rule, Scale, Scope, Score, Slots, When,
};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &LamdaPp;

const SETTINGS: &[Setting] = &[
    Setting { default: "32", help: "width of a layer on average; single ones get half of it or twice as much", ..RANK },
    Setting {
        key: "energy",
        label: "Share of the energy",
        default: "0.5",
        min: Some(0.01),
        max: Some(0.99),
        help: "a layer wants as many directions as hold this share of its weight's energy",
        ..NUMBER
    },
    Setting { default: "32", ..ALPHA },
    FREEZE_SHARE,
    ITERATIONS,
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "lamda++",
    kind: Kind::Adapter,
    family: "rank-allocation",
    families: &[],
    bases: &[],
    title: "LaMDA++",
    summary: "LaMDA with wider cores where a weight spreads its energy and narrower ones where it does not.",
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
Before training each layer gets a width: as many directions as hold the wanted share of its weight's energy, scaled so
that all layers together have no more than the rank allows on average, and taken from half, once and twice the rank. Then the
leading singular directions of each weight become two projections, A down to the rank and B up again; a square core
between them starts at zero and learns the change. A is never trained. B is trained at first, and its columns are
frozen one after another, strongest first, until only the core is left.

## What it costs
width² + out · width trained numbers per layer at the start, width² from the freezing's end on; the optimiser's memory of B
goes with it. Each weight is decomposed twice before training, for its width and for its directions. A step folds the core into B once.

## When to use it
As LaMDA, on models whose layers differ in how their weights spread their energy.

## Pitfalls
The paper does not give the rule for the widths in numbers; this is a reading of it. Energy is not need: a flat spectrum does
not say that the task changes this layer. The projections
are regenerated from the weight when a run is loaded, so the file of the run belongs to this base. The saved adapter is plain
LoRA with the core folded in.";

/// LaMDA++.
struct LamdaPp;

impl Method for LamdaPp {
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
            rules: vec![
                Rule {
                    when: When::Before,
                    scope: Scope::Model,
                    score: Score::Explained,
                    action: Action::SetRank { share: values.number("energy") },
                },
                Rule {
                    when: When::Every { steps: 1, from: 0.0, until: values.number("freeze_share") },
                    scope: Scope::Site,
                    score: Score::Index,
                    action: Action::Freeze { part: Part::B },
                },
            ],
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
