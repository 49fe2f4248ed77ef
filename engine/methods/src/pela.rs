//! PELA: each weight is replaced by two thin ones, which learn to do what it did, and then the task.
//!
//! Paper: Guo et al. 2023, "PELA: Learning Parameter-Efficient Models with Low-Rank Approximation" (arXiv 2310.10700).
//!
//! ```text
//! W ≈ B₀ A₀    B₀ = U_r √S_r    A₀ = √S_r V_rᵀ    r = ⌊in · out / (ρ · (in + out))⌋
//! y = (x Aᵀ) Bᵀ + b       trained: A, B, from A₀, B₀     frozen: b     W is left out
//! healing: L = Σ_t CE + w_f · mean over blocks of mean (h − h_parent)² + w_kl · KL(p_parent ‖ p)     then: L = Σ_t CE
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Imitation, Method, ModelDims, Plan, SiteDims};
use crate::settings::{ENERGY, EXCLUDE, ITERATIONS, LAYERS, NUMBER, TARGETS};
use temper_nn::slots::{Base, Calibration, Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &Pela;

/// Layers with fewer outputs are left as they are.
const LEAST_OUTPUTS: usize = 10;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "ratio",
        label: "Ratio",
        default: "2",
        min: Some(1.0),
        max: Some(64.0),
        help: "how many times fewer numbers the chosen layers have afterwards: 1.5 to 3",
        ..NUMBER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    Setting {
        key: "healing_share",
        label: "Healing",
        default: "0.5",
        min: Some(0.0),
        max: Some(1.0),
        help: "share of the run's steps, at its start, that imitate the whole model; 1 only heals, 0 only trains",
        ..NUMBER
    },
    Setting {
        key: "features_weight",
        label: "Weight of the features",
        default: "1",
        min: Some(0.0),
        max: Some(1000.0),
        help: "while it heals: factor of the squared distance of the hidden states behind each block",
        advanced: true,
        ..NUMBER
    },
    Setting {
        key: "divergence_weight",
        label: "Weight of the divergence",
        default: "0",
        min: Some(0.0),
        max: Some(1000.0),
        help: "while it heals: factor of the divergence from the whole model's predictions, per token",
        advanced: true,
        ..NUMBER
    },
    Setting {
        default: "0",
        help: "rounds of the fast randomised decomposition; 0 decomposes exactly, which ranks this high mostly need",
        ..ITERATIONS
    },
];

const DECLARED: Declared = Declared {
    id: "pela",
    kind: Kind::Adapter,
    family: "compression",
    families: &[],
    bases: &[],
    title: "PELA",
    summary: "Makes the model itself smaller: each layer becomes two thin ones that first learn what it did, then your task.",
    paper: Some(Paper {
        title: "PELA: Learning Parameter-Efficient Models with Low-Rank Approximation",
        authors: "Guo et al.",
        year: 2023,
        id: "arXiv 2310.10700",
    }),
    exports_as: &["hf", "gguf"],
    peft_type: None,
    mergeable: true,
    settings: SETTINGS,
    series: &[ENERGY],
    waivers: &[Waiver {
        clause: "start",
        reason: "the layer is another, smaller one from the start: what its rank cannot hold is gone",
    }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each chosen weight is decomposed and replaced by the product of two thin matrices of the rank at which they have ratio times
fewer numbers than it; the weight itself is left out of the layer. Both are trained whole. In the first part of the run the
loss also draws the hidden states behind every block (and, if asked for, the predictions) to those of the model as it was;
afterwards it is the usual loss alone.

## What it costs
rank · (in + out) trained numbers per layer, which is 1/ratio of the weight: nearly as many as full training has at a ratio
of 2, with their gradients and moments. Products cost 1/ratio of before. A healing step also runs the whole model forward
once. Exact decompositions of all weights come first.

## When to use it
To get a smaller model that is then fine-tuned and served as two thin layers each, where data and time for healing are there.
As a way to adapt with little memory it is none: take LoRA.

## Settings worth knowing
Ratio: 768 x 768 becomes rank 256, 192 or 128 at 1.5, 2 or 3; 768 x 3072 409, 307 or 204. Below 1 layers would grow, which
is refused. Embedding, projection of patches, stem, norms and head stay whole, and so do layers with fewer than ten outputs.
Kernels of a CNN's blocks are decomposed as matrices, outputs by inputs times window; the paper leaves convolutions alone.

## Pitfalls
Before healing the model is clearly worse than it was. Measured on the starter at a ratio of 2, 90 steps of 192 tokens of plain
text, on text held out: loss 4.65 whole, 4.74 when the first half of the steps heals, 4.87 without healing, 5.91 from random
factors of the same size. It leaves as a model of the original shape (hf, gguf) with both factors multiplied out, which is
exact and as large as before; the factors themselves are in the run's checkpoint. The paper's term against the largest drift
of a single weight is not there (its own default is 0 for its main model); biases, norms and embedding stay frozen, which
the paper trains too.";

/// PELA.
struct Pela;

/// The rank at which two thin matrices have `ratio` times fewer numbers than the weight.
fn rank(values: &Values, site: &SiteDims) -> usize {
    let (rows, cols) = (site.out_features as f64, site.in_features as f64);
    let rank = (rows * cols / (values.number("ratio").max(1.0) * (rows + cols))).floor() as usize;
    rank.clamp(1, site.out_features.min(site.in_features).max(1))
}

/// Whether a layer becomes two thin ones. The stem of a CNN, which is in no block, is left as a projection of patches is.
fn becomes_thin(site: &SiteDims) -> bool {
    site.out_features >= LEAST_OUTPUTS && site.layer.is_some()
}

impl Method for Pela {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let mut plan = common::plan(SETTINGS, values, sites, |values, site| {
            let found = Factor::trained(Init::Calibrated);
            Slots {
                base: Base::Dropped,
                calibration: Calibration::Svd { iterations: values.integer("iterations").unsigned_abs() as usize },
                delta: Delta::Chain(Chain { rank: rank(values, site), b: found, core: Core::None, a: found }),
                scale: Scale::Fixed(1.0),
                ..Slots::default()
            }
        })?;
        let whole = |name: &String| sites.iter().any(|site| site.name == *name && !becomes_thin(site));
        plan.adapters.retain(|(name, _)| !whole(name));
        Ok(plan)
    }

    fn imitates(&self, values: &Values) -> Option<Imitation> {
        let values = values.complete(SETTINGS, "[method]").ok()?;
        let imitation = Imitation {
            share: values.number("healing_share"),
            divergence: values.number("divergence_weight"),
            cross_entropy: 1.0,
            features: values.number("features_weight"),
        };
        Some(imitation).filter(|imitation| imitation.share > 0.0)
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            if becomes_thin(site) { rank(values, site) * (site.in_features + site.out_features) } else { 0 }
        })
    }
}
