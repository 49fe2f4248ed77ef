//! Full fine-tuning: every weight of the model is trained. Also the way a new model is trained from random
//! weights. Plain practice, no single paper.
//!
//! ```text
//! y = x Wᵀ + b            trained: W, b, embedding, norms, head      start: the weights of the file
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, Promote, SiteDims};
use crate::settings::{FLAG, LAYERS};
use crate::targets::parse_layers;
use temper_protocol::{Declared, Kind, SeriesDef, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Full;

const SETTINGS: &[Setting] = &[
    Setting { label: "Blocks to train", ..LAYERS },
    Setting {
        key: "train_embeddings",
        label: "Train the embedding",
        default: "true",
        help: "the table of token vectors; a head that shares it is trained with it",
        ..FLAG
    },
    Setting {
        key: "train_norms",
        label: "Train the norms",
        default: "true",
        help: "the scales of the normalisation layers: few numbers",
        advanced: true,
        ..FLAG
    },
    Setting {
        key: "train_head",
        label: "Train the head",
        default: "true",
        help: "the output matrix, where it is not the embedding itself",
        advanced: true,
        ..FLAG
    },
];

const DECLARED: Declared = Declared {
    id: "full",
    kind: Kind::Adapter,
    family: "everything",
    families: &[],
    bases: &[],
    title: "Full training",
    summary: "Trains every weight: the closest fit to the data, the most memory, the most forgetting.",
    paper: None,
    exports_as: &["hf", "gguf"],
    peft_type: None,
    mergeable: true,
    settings: SETTINGS,
    series: &[
        SeriesDef {
            name: "effective_rank",
            unit: "",
            higher_is_better: None,
            help: "how many directions the change of a layer uses: the exponential of the entropy of its \
                   normalised singular values; a low value says that an adapter would have done",
        },
        SeriesDef {
            name: "energy",
            unit: "",
            higher_is_better: None,
            help: "size of the change of a layer over the size of its weight, ‖W − W₀‖ / ‖W₀‖",
        },
    ],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Every weight becomes trained: linear layers and their biases, the embedding, the norms, the head. A quantised or
16-bit base is unpacked to 32-bit floats first.

## What it costs
Sixteen bytes per trained number (weight, gradient, two moments of the optimiser; ten where train.optim_state
is int8), against half a byte to four bytes for a frozen one, and a checkpoint as large as the model.

## When to use it
To train a new model from random weights; to teach much new knowledge or a new language to a small model; as the
reference that adapters are measured against.

## Settings worth knowing
Blocks to train: the last blocks alone often come close at a fraction of the memory. Leaving the embedding
frozen saves much on small models, whose vocabulary is a large part of them.

## Pitfalls
It needs a learning rate 10 to 20 times below LoRA's: 1e-5 to 2e-5 for language models, more for new ones. It
forgets more than any adapter: keep the probe sets on. The result is a whole model, there is no adapter file.";

/// Full fine-tuning.
struct Full;

/// A pattern for the blocks in `layers`.
fn blocks(layers: impl Iterator<Item = usize>) -> String {
    let numbers: Vec<String> = layers.map(|layer| layer.to_string()).collect();
    format!(r"layers\.(?:{})", numbers.join("|"))
}

/// What the settings promote in a model with these linear layers.
fn promotion(values: &Values, sites: &[SiteDims]) -> Result<Promote, MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let count = sites.iter().filter_map(|site| site.layer).max().map_or(0, |last| last + 1);
    let layers = parse_layers(&values.list("layers").join(","), count)?;
    let (embeddings, norms, head) =
        (values.flag("train_embeddings"), values.flag("train_norms"), values.flag("train_head"));
    if layers.is_none() && embeddings && norms && head {
        return Ok(Promote::Everything);
    }
    let mut patterns: Vec<String> = sites
        .iter()
        .filter(|site| match (&layers, site.layer) {
            (None, Some(_)) => true,
            (Some(layers), Some(layer)) => layers.contains(&layer),
            // The head, where a model lists it among its linear layers, has a switch of its own.
            (_, None) => site.name != "head" || head,
        })
        .map(|site| regex::escape(&site.name))
        .collect();
    if norms {
        let of_blocks = layers.map_or_else(|| r"layers\.\d+".to_owned(), |layers| blocks(layers.into_iter()));
        patterns.push(format!(r"{of_blocks}\.(?:.*\.)?[^.]*norm[^.]*"));
        patterns.push(r"[^.]*norm[^.]*".to_owned());
    }
    if embeddings {
        patterns.push("embed".to_owned());
    }
    if head {
        patterns.push("head".to_owned());
    }
    Ok(Promote::Named(patterns))
}

impl Method for Full {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        Ok(Plan::promoting(promotion(values, sites)?))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let selector = promotion(values, &dims.sites)?.selector()?;
        let sites = dims.sites.iter().filter(|site| selector.selects(&site.name)).map(SiteDims::entries);
        let own = dims.own.iter().filter(|own| selector.selects(&own.name)).map(|own| own.entries);
        Ok(sites.chain(own).sum())
    }
}
