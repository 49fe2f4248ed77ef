//! LQ-LoRA: a base of few bits and a product that together are the weight as nearly as possible, the bits spread over the
//! layers by an integer programme.
//!
//! Paper: Guo, Greengard, Xing, Kim 2023, "LQ-LoRA: Low-rank Plus Quantized Matrix Decomposition for Efficient Language
//! Model Finetuning" (arXiv 2311.12023).
//!
//! ```text
//! W ≈ Q + s · B₀ A₀        B A ← best of rank r for W, then in turn   Q ← rounded(W − s · B A)
//!                                                                    s · B A ← best of rank r for W − Q
//! y = x (Q + s · B A)ᵀ + b      trained: A, B, from A₀, B₀     frozen: Q, b      s = α / r
//! storages: min Σ cᵢⱼ xᵢⱼ   with Σ bᵢⱼ xᵢⱼ ≤ budget · Σ valuesᵢ, one j for each layer i
//!     cᵢⱼ = ‖rounded_j(Wᵢ − BᵢAᵢ) − (Wᵢ − BᵢAᵢ)‖²       bᵢⱼ: bits of layer i in storage j
//! weighing = fisher: ‖D_r (·) D_c‖ in the place of each ‖·‖, "best" by the decomposition of D_r M D_c
//!     F = Σ over samples of (∂loss/∂W)², entry by entry    D_r, D_c: roots of the means of F over rows, over columns
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{
    ALPHA, CALIBRATION_ROWS, CHOICE, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, INTEGER, ITERATIONS, LAYERS, NUMBER,
    RANK, TARGETS,
};
use temper_nn::slots::{Calibration, Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &LqLora;

const SETTINGS: &[Setting] = &[
    Setting { default: "64", ..RANK },
    Setting { default: "16", ..ALPHA },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
    Setting {
        key: "budget",
        label: "Bits a value",
        default: "3",
        min: Some(0.0),
        max: Some(9.0),
        help: "bits that the adapted layers may take per value, scales included and adapters not: 2.5 to 4; 0 keeps the \
               storage that model.base says for all of them",
        ..NUMBER
    },
    Setting {
        key: "rounds",
        label: "Rounds",
        default: "100",
        min: Some(1.0),
        max: Some(1000.0),
        help: "most rounds of rounding and decomposing; they end when the error rises or falls by less than half a percent",
        advanced: true,
        ..INTEGER
    },
    Setting {
        key: "weighing",
        label: "Weighing",
        default: "plain",
        choices: &["plain", "fisher"],
        help: "plain: all errors of a weight count alike; fisher: by the squares of the gradients that rows of the data give",
        ..CHOICE
    },
    Setting {
        help: "with weighing = fisher: rows of the training data whose gradients are taken, at most",
        ..CALIBRATION_ROWS
    },
    ITERATIONS,
];

const DECLARED: Declared = Declared {
    id: "lq-lora",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "LQ-LoRA",
    summary: "Fits a model into so many bits: each layer gets its own storage, and LoRA starts with what rounding lost.",
    paper: Some(Paper {
        title: "LQ-LoRA: Low-rank Plus Quantized Matrix Decomposition for Efficient Language Model Finetuning",
        authors: "Guo et al.",
        year: 2023,
        id: "arXiv 2311.12023",
    }),
    exports_as: &["hf", "gguf"],
    peft_type: None,
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[Waiver {
        clause: "export",
        reason: "the product fits its own rounded weights alone, which no other program has: it leaves merged into them",
    }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each chosen weight W is taken apart into a part Q of few bits and a product B A of low rank, so that both together are W
as nearly as possible: the product takes the strongest directions of W, the rest is rounded, the product is fitted again
to what rounding left, and so on until a round gains less than half a percent; the best round is kept. Q is frozen, A
and B are trained on.
How many bits each layer gets is an integer programme: the least squared error of all layers together within the budget.
The storages are those of model.base: int2, int3 and int4 in groups of 32, 64 and 128, nf2, nf3, nf4, nf4-double, int8.
With weighing = fisher an error counts by what it does to the loss: rows of the data go through the base, the gradient of
each one is squared, and rows and columns of a weight count by the means of these squares. Product, rounds and bits follow
that measure.

## What it costs
rank · (in + out) trained numbers per layer, as LoRA; the paper's rank is 64. Before training every weight is decomposed
and rounded to every storage once, and then once more per round. weighing = fisher takes a forward and a backward pass over
the rows first, block by block, and 4 · (in + out) bytes a layer in the checkpoint.

## When to use it
When the model does not fit otherwise, or to train over 2.5 to 4 bits what QLoRA needs 4.1 for. With model.base = auto
and a folder or a file in 16 bits the original stays mapped and is read once per run.

## Settings worth knowing
Bits a value: the whole budget, scales included, the adapters not. 2.2 is the least that can be. At 0 every layer keeps
the storage of model.base, and only the start is LQ-LoRA's; over a base that was not rounded that is plain LoRA.

## Pitfalls
The product begins with the strongest directions of the weight, so a rank that is small leaves little for new ones: on one
layer of 64 x 64 at two bits, rank 8, a change of four new directions was fitted in 100 steps to 0.41 of the loss before,
by LoRA over the same rounded weight to 0.22; within the weight's own directions it is the other way round.
What is trained belongs to these very rounded weights: it leaves merged (hf, gguf), not as an adapter. The weighing
knows rows and columns, not single entries, as in the paper, and the rounding itself takes the nearest level whatever
counts. The paper's 432 storages are fourteen here. A run that is resumed rounds again from the original and gives the
same bytes on the same kind of machine; on another one the last digits of a decomposition can differ, and with them a
bit of the base.";

/// LQ-LoRA.
struct LqLora;

impl Method for LqLora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            calibration: Calibration::Repair {
                rounds: values.integer("rounds").unsigned_abs() as usize,
                from_nothing: true,
                iterations: values.integer("iterations").unsigned_abs() as usize,
                storage: None,
                fisher_rows: match values.text("weighing") {
                    "fisher" => values.integer("calibration_rows").unsigned_abs() as usize,
                    _ => 0,
                },
            },
            delta: Delta::Chain(Chain {
                rank: common::usable_rank(values, site),
                b: Factor::trained(Init::Zeros),
                core: Core::None,
                a: Factor::trained(Init::KaimingUniform),
            }),
            scale: Scale::AlphaOverRank(values.number("alpha")),
            dropout: values.number("dropout"),
            ..Slots::default()
        })
    }

    fn belongs_to_its_base(&self, _values: &Values) -> bool {
        true
    }

    fn bits_per_value(&self, values: &Values) -> Option<f64> {
        let values = values.complete(SETTINGS, "[method]").ok()?;
        Some(values.number("budget")).filter(|budget| *budget > 0.0)
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            common::usable_rank(values, site) * (site.in_features + site.out_features)
        })
    }
}
