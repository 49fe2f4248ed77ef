//! LoRA-Pro: LoRA whose two gradients are replaced by the pair that moves the weight most like full training would.
//!
//! Paper: Wang et al. 2024, "LoRA-Pro: Are Low-Rank Adapters Properly Optimized?" (arXiv 2407.18242).
//!
//! ```text
//! gB = s G Aᵀ    gA = s Bᵀ G    M = BᵀB    N = A Aᵀ       G: gradient of the weight, s = α / r
//! δA = s⁻² M⁻¹ gA + X A         δB = s⁻² (I − B M⁻¹ Bᵀ) gB N⁻¹ − B X        M X + X N = −s⁻² M⁻¹ gA Aᵀ
//! trained: A (r, in), B (out, r)           P_B, P_A: projections on the columns of B and the rows of A
//! s (B δA + δB A) = P_B G + G P_A − P_B G P_A: of all steps of two factors the closest to G
//! ```
//!
//! With moments: the right side goes through Adam's moments of the size of the weight and becomes a pair again.

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, CHOICE, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, FLAG, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Chain, Core, Delta, Factor, GradientMap, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &LoraPro;

const SETTINGS: &[Setting] = &[
    Setting { default: "8", ..RANK },
    Setting { default: "16", ..ALPHA },
    Setting {
        key: "form",
        label: "Form",
        default: "adam",
        choices: &["adam", "sgd"],
        help: "adam: two moments of the size of each weight, steps as AdamW's; sgd: plain steps and no moments at all",
        ..CHOICE
    },
    Setting {
        key: "rslora",
        label: "Rank-stabilised scale",
        help: "multiply by alpha / √rank instead, so that high ranks learn as fast as low ones",
        ..FLAG
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "lora-pro",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "LoRA-Pro",
    summary: "LoRA that steps as closely to full training as two thin factors can, at the price of its memory.",
    paper: Some(Paper {
        title: "LoRA-Pro: Are Low-Rank Adapters Properly Optimized?",
        authors: "Wang et al.",
        year: 2024,
        id: "arXiv 2407.18242",
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
LoRA's factors A and B are trained, but not along their own gradients: those are replaced by the pair whose common step
changes the weight as closely to the weight's own gradient as a step of two thin factors can. The adapter itself is plain
LoRA, and so is its file.

## What it costs
rank · (in + out) trained numbers per layer as LoRA. In the adam form two moments of the size of every adapted weight are
kept and saved, 8 bytes a weight: the memory of full training less its weights. Each step forms such a matrix a few times
per layer; nothing is added per token.

## When to use it
Short runs on hard tasks, where LoRA learns too slowly and memory is there. Late in a long run LoRA has caught up. On one
layer, means of three seeds, rank 8 and 30 plain steps at the best rate of each leave 0.060 of the error where the goal has
rank 4 (LoRA 0.150), 0.184 where it has rank 16 (0.343), and 0.360 where it is dense (0.472); 30 steps with moments 0.017
(0.040), 0.163 (0.233) and 0.370 (0.401). After 200 steps both leave the same.

## Settings worth knowing
The learning rate of the adam form is that of full training with AdamW, about 2e-5, not LoRA's. The sgd form takes rates of
plain gradient descent, which depend on the loss: try several.

## Pitfalls
The optimiser's own moments, its epsilon and 8-bit storage do not apply: the factors move by the pair as it is, with Adam's
usual constants (0.9, 0.999, 1e-8) inside. Gradients are clipped before they are replaced. Changing the gradients and then
giving them to an ordinary AdamW would be worse than plain LoRA, because the huge first pairs spoil its moments; that is not
offered. Weight decay acts on the factors.";

/// LoRA-Pro.
struct LoraPro;

impl Method for LoraPro {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, _| {
            let alpha = values.number("alpha");
            Slots {
                delta: Delta::Chain(Chain {
                    rank: common::rank(values),
                    b: Factor::trained(Init::Zeros).moved_plainly(),
                    core: Core::None,
                    a: Factor::trained(Init::KaimingUniform).moved_plainly(),
                }),
                scale: if values.flag("rslora") {
                    Scale::AlphaOverRootRank(alpha)
                } else {
                    Scale::AlphaOverRank(alpha)
                },
                dropout: values.number("dropout"),
                gradient: GradientMap::LoraPro { moments: values.text("form") == "adam" },
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            common::rank(values) * (site.in_features + site.out_features)
        })
    }
}
