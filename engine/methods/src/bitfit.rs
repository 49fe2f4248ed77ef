//! BitFit: trains the biases and nothing else.
//!
//! Paper: Ben Zaken, Ravfogel, Goldberg 2022, "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based
//! Masked Language-models" (arXiv 2106.10199).
//!
//! ```text
//! y = x Wᵀ + b + δ        trained: δ (out), 0 at start        frozen: W, b
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{BIAS_SHIFT, EXCLUDE, FLAG, LAYERS, TARGETS};
use crate::targets;
use temper_nn::slots::{Factor, Init, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &BitFit;

const SETTINGS: &[Setting] = &[
    TARGETS,
    EXCLUDE,
    LAYERS,
    Setting {
        key: "create",
        label: "Add missing biases",
        help: "give layers without a bias one that starts at 0; such a change fits adapter files, but not a merged model \
               of a family without biases",
        ..FLAG
    },
];

const DECLARED: Declared = Declared {
    id: "bitfit",
    kind: Kind::Adapter,
    family: "biases",
    families: &[],
    bases: &[],
    title: "BitFit",
    summary: "Trains the biases of the linear layers only; needs a model that has some.",
    paper: Some(Paper {
        title: "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models",
        authors: "Ben Zaken et al.",
        year: 2022,
        id: "arXiv 2106.10199",
    }),
    exports_as: &["peft", "hf", "gguf"],
    peft_type: Some("BEFT"),
    mergeable: true,
    settings: SETTINGS,
    series: &[BIAS_SHIFT],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Every chosen linear layer that has a bias gets a trained change of it: y = x Wᵀ + b + δ, with δ at zero at the start.
Weights stay as they are; so do the norms (this family's norms have no shift; the method Norms trains their scales).

## What it costs
out numbers per layer: the least memory of all methods, and no product more than the frozen layer. The layer stays on
the fused path.

## When to use it
On models with biases (Qwen 2, GPT-2, BERT) when memory is very short, or as a cheap baseline. A learning rate of 1e-4
to 1e-3, without weight decay.

## Settings worth knowing
Layers to adapt: the paper found the biases of the queries and of the MLP's second layer to carry most of the effect.
Add missing biases: an extension for decoders without any. Adapter files can hold it; a merged model can only where
the family has a place for biases.

## Pitfalls
Most modern decoders have no biases at all: the method says so and stops. A shift of the output is all it can learn;
with inputs of mean zero and a target that only rotates them, nothing happens. Other programs may count the norms'
shifts as biases: compare parameter counts.";

/// BitFit.
struct BitFit;

/// The settings with the layers that have, or get, a bias.
fn chosen<'a>(values: &Values, sites: &'a [SiteDims]) -> Result<Vec<&'a SiteDims>, MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let mut chosen = targets::select(&values, sites)?;
    chosen.retain(|site| site.bias || values.flag("create"));
    if chosen.is_empty() {
        let what = "none of the chosen layers has a bias; create = true gives them one".to_owned();
        return Err(MethodError::Nothing { what, exists: targets::describe(sites) });
    }
    Ok(chosen)
}

impl Method for BitFit {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let chosen = chosen(values, sites)?;
        let shift = Factor::trained(Init::Zeros).without_decay();
        let mut plan = common::plan(SETTINGS, values, sites, |_, _| Slots { bias: Some(shift), ..Slots::default() })?;
        plan.adapters.retain(|(name, _)| chosen.iter().any(|site| site.name == *name));
        Ok(plan)
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        Ok(chosen(values, &dims.sites)?.into_iter().map(|site| site.out_features as u64).sum())
    }
}
