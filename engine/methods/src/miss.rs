//! MiSS: sums of every r-th input feature through one trained matrix (the later form of Bone).
//!
//! Paper: Kang, Yin 2024, "Balancing LoRA Performance and Efficiency with Simple Shard Sharing" (arXiv 2409.15371).
//!
//! ```text
//! z = Σ x in pieces of r features (n, r)      y = x Wᵀ + b + z D        trained: D (r, out), 0 at start
//! ΔW = Dᵀ J, J (r, in) with J[j, i] = 1 where i mod r = j: LoRA whose inner factor adds features up
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Slots, Source};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Miss;

const SETTINGS: &[Setting] = &[
    Setting { default: "64", help: "how many sums of features are formed; memory and parameters grow with it", ..RANK },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
];

const DECLARED: Declared = Declared {
    id: "miss",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "MiSS",
    summary: "One trained matrix over sums of input features: LoRA with a fixed, free inner factor.",
    paper: Some(Paper {
        title: "Balancing LoRA Performance and Efficiency with Simple Shard Sharing",
        authors: "Kang, Yin",
        year: 2024,
        id: "arXiv 2409.15371",
    }),
    exports_as: &["peft", "gguf-lora", "hf", "gguf"],
    peft_type: Some("MISS"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
The input of each chosen layer is cut into pieces of rank features, the pieces are added up, and the sums go through a
trained matrix D whose output is added to the layer's: y = x Wᵀ + z D. D starts at zero. It is LoRA with a fixed inner
factor of ones, tiled. PEFT calls the type MISS; older releases called it BONE.

## What it costs
rank · out trained numbers per layer. No gradient flows to a second factor, and the first steps learn at once, because
the inner factor is not small or random.

## When to use it
As a light alternative to LoRA at equal parameters, with a rank of about twice LoRA's. The scripts of the paper use a
rank of 64 and a learning rate of 2e-5; on small models ten times that works.

## Pitfalls
Features that are added up cannot be told apart: on a change without structure it fits less per trained number than
LoRA. The name changed its meaning twice: today's Bat was the first Bone. There is no alpha: the learning rate alone
sets the speed.";

/// MiSS.
struct Miss;

impl Method for Miss {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, site| Slots {
            delta: Delta::Chain(Chain {
                rank: sums(values, site),
                b: Factor::trained(Init::Zeros),
                core: Core::None,
                a: Factor::of(Source::TiledIdentity),
            }),
            dropout: values.number("dropout"),
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| sums(values, site) * site.out_features)
    }
}

/// No more sums than there are features.
fn sums(values: &Values, site: &SiteDims) -> usize {
    common::rank(values).min(site.in_features)
}
