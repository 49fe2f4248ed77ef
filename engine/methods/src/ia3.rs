//! IA3: one trained scale per feature of keys, values and the inner layer of the MLP.
//!
//! Paper: Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning"
//! (arXiv 2205.05638).
//!
//! ```text
//! y = ℓ ∘ (x Wᵀ + b)       W_eff = diag(ℓ) W, b_eff = ℓ ∘ b      ℓ (out), layers of attention
//! y = (ℓ ∘ x) Wᵀ + b       W_eff = W diag(ℓ)                    ℓ (in), layers listed under `feedforward`
//! trained: ℓ, 1 at start        frozen: W, b
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, TARGETS};
use crate::targets;
use temper_nn::slots::{Factor, Init, Normaliser, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Ia3;

const SETTINGS: &[Setting] = &[
    Setting { default: "k_proj,v_proj,down_proj", ..TARGETS },
    EXCLUDE,
    LAYERS,
    Setting {
        key: "feedforward",
        label: "Scaled at their input",
        default: "down_proj",
        help: "which of the adapted layers have their inputs scaled instead of their outputs: the second layer of the \
               MLP in the paper",
        ..TARGETS
    },
];

const DECLARED: Declared = Declared {
    id: "ia3",
    kind: Kind::Adapter,
    family: "scales",
    families: &[],
    bases: &[],
    title: "IA3",
    summary: "One trained number per feature of keys, values and the MLP: a few thousand in all.",
    paper: Some(Paper {
        title: "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
        authors: "Liu et al.",
        year: 2022,
        id: "arXiv 2205.05638",
    }),
    exports_as: &["peft", "hf", "gguf"],
    peft_type: Some("IA3"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Keys and values are multiplied by a trained scale per output feature, bias included; the second layer of the MLP gets
one per input feature. All scales start at 1, so the model starts as it is. Nothing new can be added: features are
made stronger or weaker.

## What it costs
out numbers per layer, in for the ones scaled at their input: with the defaults about a thousandth of LoRA's. A step
costs one multiplication per feature more than the frozen layer.

## When to use it
Very little data (tens of examples), many small tasks over one model, or as a cheap lower bound for what an adapter
can do. It needs a large learning rate: 3e-3 to 1e-2.

## Pitfalls
What no scale of existing features can express, it does not learn. A scale that crosses zero turns a feature around:
merging is exact all the same, but the scales cannot be read off the merged weight again. A quantised file rounds the
scaled weight; the certificate says by how much.";

/// IA3.
struct Ia3;

impl Method for Ia3 {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let at_input = input_scaled(values, sites)?;
        let scale = Factor::trained(Init::Ones).without_decay();
        common::plan(SETTINGS, values, sites, |_, site| Slots {
            normaliser: if at_input.contains(&site.name) {
                Normaliser::ColumnScale(scale)
            } else {
                Normaliser::RowScale(scale)
            },
            ..Slots::default()
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let at_input = input_scaled(values, &dims.sites)?;
        common::sum(SETTINGS, values, dims, |_, site| {
            if at_input.contains(&site.name) { site.in_features } else { site.out_features }
        })
    }
}

/// Names of the layers that are scaled at their input.
fn input_scaled(values: &Values, sites: &[SiteDims]) -> Result<Vec<String>, MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let hits = targets::listed("feedforward", &values, sites)?;
    Ok(sites.iter().zip(hits).filter(|(_, hit)| *hit).map(|(site, _)| site.name.clone()).collect())
}
