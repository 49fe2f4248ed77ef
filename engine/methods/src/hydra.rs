//! Hydra: one low-rank branch beside the layer, one behind it.
//!
//! Paper: Kim et al. 2023, "Hydra: Multi-head Low-rank Adaptation for Parameter Efficient Fine-tuning"
//! (arXiv 2309.06922).
//!
//! ```text
//! h = x Wᵀ + b          y = h + s · (x A_pᵀ) B_pᵀ + s · (h A_sᵀ) B_sᵀ          s = α / r_p
//! W_eff = (I + s · B_s A_s) W + s · B_p A_p        b_eff = b + s · B_s A_s b
//! trained: A_p (r_p, in), B_p (out, r_p), A_s (r_s, out), B_s (out, r_s)       frozen: W, b
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Chain, Core, Factor, Init, Left, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Hydra;

const SETTINGS: &[Setting] = &[
    Setting { default: "8", label: "Parallel rank", help: "inner width of the branch beside the layer", ..RANK },
    Setting {
        key: "sequential_rank",
        label: "Sequential rank",
        default: "8",
        help: "inner width of the branch behind the layer, which recombines its outputs",
        ..RANK
    },
    Setting { default: "16", help: "strength: both changes are multiplied by alpha / parallel rank", ..ALPHA },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "hydra",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "Hydra",
    summary: "LoRA with a second branch that recombines what the layer already computes.",
    paper: Some(Paper {
        title: "Hydra: Multi-head Low-rank Adaptation for Parameter Efficient Fine-tuning",
        authors: "Kim et al.",
        year: 2023,
        id: "arXiv 2309.06922",
    }),
    exports_as: &["peft", "hf", "gguf"],
    peft_type: Some("LORA"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Beside each chosen layer runs LoRA's branch, which can create new features; behind it a second one of the same form takes
the layer's own output h, bias included, and recombines what the model computes already: y = h + s · B A x + s · B' A' h.
Both outer factors start at zero.

## What it costs
parallel rank · (in + out) + sequential rank · 2 · out trained numbers per layer. The second branch
needs the output of the frozen layer: of the last layers of the two halves it is kept, out numbers more per token than
LoRA; of the others it is found in what is kept anyway.

## When to use it
When the task needs the model's features in another mixture rather than new ones: with few examples the second branch
alone is often the best of the three. Measured on one layer, means of three seeds: of a goal that recombines the layer's
outputs 16 noisy examples leave 0.45 of the error where LoRA of equal size leaves 0.56 and the second branch alone 0.36; 48
leave 0.110, 0.171 and 0.083. Where the goal is unrelated to the outputs LoRA is ahead and the second branch alone last: 48
examples leave 0.185, 0.169 and 0.196.

## Pitfalls
Merging changes the bias too: an adapter file holds it as LoRA with a bias on the outer factor, which Python PEFT loads
but merges only into layers that have a bias. As an adapter file the second branch is multiplied with the weight once:
the file belongs to this base and no other. Dropout is on the parallel branch. The four biases that the paper's program can
put into the branches (both ranks + 2 · out numbers more) are not there: together they are one bias of the layer, as BitFit
trains it, and most of the paper's runs go without.";

/// Hydra.
struct Hydra;

impl Method for Hydra {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, _| Slots {
            left: Left::LowRank(Box::new(Chain {
                rank: sequential(values),
                b: Factor::trained(Init::Zeros),
                core: Core::None,
                a: Factor::trained(Init::KaimingUniform),
            })),
            dropout: values.number("dropout"),
            ..Slots::low_rank(common::rank(values), Scale::AlphaOverRank(values.number("alpha")))
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            let parallel = common::rank(values) * (site.in_features + site.out_features);
            parallel + sequential(values) * 2 * site.out_features
        })
    }
}

/// Width of the branch behind the layer.
fn sequential(values: &Values) -> usize {
    values.integer("sequential_rank").unsigned_abs() as usize
}
