//! LN-tuning: trains the scales of the normalisation layers and nothing else.
//!
//! Paper: Zhao et al. 2023, "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning"
//! (arXiv 2312.11420).
//!
//! ```text
//! y = g ∘ x / rms(x)        trained: g (hidden) of every norm, from the file        frozen: everything else
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, Promote, SiteDims};
use crate::settings::{FLAG, LAYERS};
use crate::targets::parse_layers;
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Ln;

const SETTINGS: &[Setting] = &[
    Setting { label: "Blocks whose norms are trained", ..LAYERS },
    Setting {
        key: "train_final",
        label: "Train the last norm",
        default: "true",
        help: "the norm between the last block and the head",
        advanced: true,
        ..FLAG
    },
];

const DECLARED: Declared = Declared {
    id: "ln",
    kind: Kind::Adapter,
    family: "scales",
    families: &[],
    bases: &[],
    title: "Norms",
    summary: "Trains the scales of the normalisation layers only: a few ten thousand numbers in all.",
    paper: Some(Paper {
        title: "Tuning LayerNorm in Attention: Towards Efficient Multi-Modal LLM Finetuning",
        authors: "Zhao et al.",
        year: 2023,
        id: "arXiv 2312.11420",
    }),
    exports_as: &["peft", "hf", "gguf"],
    peft_type: Some("LN_TUNING"),
    mergeable: true,
    settings: SETTINGS,
    series: &[],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Every normalisation layer multiplies its features by a scale; those scales are trained, from the values of the file.
Linear layers, embedding and head stay frozen, in whatever form the file has them.

## What it costs
hidden numbers per norm, two norms per block and one at the end: about forty thousand on a model of 30 blocks with 576
features. Blocks stay on the fused path, and a step costs what the frozen model's two passes cost.

## When to use it
A very small, very cheap adaptation of tone or domain, or beside another experiment as a lower bound. It takes a
learning rate of 1e-3 and more.

## Pitfalls
Scales change every feature for all positions alike: nothing that depends on the input can be learned. An adapter file
replaces the norms, so it belongs to this base and no other. Saved states of a run hold the norms as weights of the
model.";

/// LN-tuning.
struct Ln;

/// Which weights the settings promote in a model with these linear layers.
fn promotion(values: &Values, sites: &[SiteDims]) -> Result<Promote, MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let count = sites.iter().filter_map(|site| site.layer).max().map_or(0, |last| last + 1);
    let blocks = match parse_layers(&values.list("layers").join(","), count)? {
        None => r"\d+".to_owned(),
        Some(layers) => layers.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"),
    };
    let mut patterns = vec![format!(r"layers\.(?:{blocks})\.(?:.*\.)?[^.]*norm[^.]*")];
    if values.flag("train_final") {
        patterns.push(r"[^.]*norm[^.]*".to_owned());
    }
    Ok(Promote::Named(patterns))
}

impl Method for Ln {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        Ok(Plan::promoting(promotion(values, sites)?))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let selector = promotion(values, &dims.sites)?.selector()?;
        Ok(dims.own.iter().filter(|own| selector.selects(&own.name)).map(|own| own.entries).sum())
    }
}
