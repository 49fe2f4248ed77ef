//! LT-SFT: full training first, to find the few entries that move most; then those alone, from where they began.
//!
//! Paper: Ansell, Ponti, Korhonen, Vulić 2022, "Composable Sparse Fine-Tuning for Cross-Lingual Transfer" (arXiv 2110.07560).
//!
//! ```text
//! first: y = x (W + Φ)ᵀ + b, Φ (out, in) = 0 at start, all of it trained      loss + (λ / N) Σ |φ|
//! at the choice: of the N entries of all layers those with the k largest |φ| stay, φ = 0 again, fresh optimiser
//! then: Φ is 0 but at the chosen places; trained: their values
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{EFFECTIVE_RANK, ENERGY, EXCLUDE, LAYERS, NUMBER, TARGETS};
use crate::targets;
use temper_nn::slots::{
    Action, Delta, ExtraLoss, Factor, Init, Part, Picked, Rule, Scale, Scatter, Scope, Score, Slots, When,
};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &LtSft;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "share",
        label: "Entries to keep",
        default: "0.01",
        min: Some(1e-6),
        max: Some(1.0),
        help: "share of all entries of the chosen layers that are changed in the end",
        ..NUMBER
    },
    Setting {
        key: "search_share",
        label: "Full training",
        default: "0.3",
        min: Some(0.01),
        max: Some(0.9),
        help: "share of all steps in which every entry is trained, to see which move; the others start again after it",
        ..NUMBER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    Setting {
        key: "l1",
        label: "Pull to the start",
        default: "0",
        min: Some(0.0),
        max: Some(100.0),
        help: "factor of the mean distance of the entries from their start; 0.1 for language modelling, 0 for tasks",
        advanced: true,
        ..NUMBER
    },
];

const DECLARED: Declared = Declared {
    id: "lt-sft",
    kind: Kind::Adapter,
    family: "sparse",
    families: &[],
    bases: &[],
    title: "LT-SFT",
    summary: "Changes few single entries, those that full training moves most; such changes add up.",
    paper: Some(Paper {
        title: "Composable Sparse Fine-Tuning for Cross-Lingual Transfer",
        authors: "Ansell et al.",
        year: 2022,
        id: "arXiv 2110.07560",
    }),
    exports_as: &["native", "hf", "gguf"],
    peft_type: None,
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
In the first part of a run every entry of the chosen weights is trained. Then the entries of all layers together are ranked
by how far they have moved; the share that is to be kept goes back to its start and is trained alone, with a fresh
optimiser. What comes out is a list of entries and what is added to each: it leaves as a native folder of places and values.
Folders of several runs go on one model together and add up in any order: a language's change and a task's. For a task in
another language, train the source language, merge it, train the task on that, and put the target language's and the
task's folders on the base.

## What it costs
Until the choice as much memory as full training of the chosen layers, 12 bytes a number beside the base and 4 more for the
ranking; afterwards next to nothing.

## When to use it
For changes that are to be put together, or that are sparse by nature. Measured on a layer of 64 x 64, means of three seeds:
of a goal that changes 256 entries, 512 entries leave 0.1 % of the error, entries picked by the first gradient 11 %, picked by
chance 68 %, LoRA with as many numbers 48 %; of a dense goal 37 %, by chance 66 %, LoRA 49 %. A task learned on one language
and put on another, each change of 128, 205, 410, 1024 or all 4096 entries from noisy samples: 34, 30, 25, 46 and 91 %.

## Pitfalls
The learning rate's schedule is that of the whole run: the second part goes on in it and does not warm up again. Interference
of added changes and over-fitting both grow with the share: a few per cent are a good place to start. A layer of which no
entry is kept loses its change.";

/// LT-SFT.
struct LtSft;

impl Method for LtSft {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let completed = values.complete(SETTINGS, "[method]")?;
        let entries = |site: &SiteDims| (site.out_features * site.in_features) as f64;
        let all: f64 = targets::select(&completed, sites)?.into_iter().map(entries).sum();
        common::plan(SETTINGS, values, sites, |values, site| {
            let (search, l1) = (values.number("search_share"), values.number("l1"));
            Slots {
                delta: Delta::Scatter(Scatter {
                    picked: Picked::All,
                    values: Factor::trained(Init::Zeros).without_decay(),
                }),
                scale: Scale::Fixed(1.0),
                loss: match l1 > 0.0 {
                    true => ExtraLoss::L1 { part: Part::Values, weight: l1 * entries(site) / all.max(1.0) },
                    false => ExtraLoss::None,
                },
                rules: vec![Rule {
                    when: When::Every { steps: u64::MAX, from: search, until: search },
                    scope: Scope::Model,
                    score: Score::Moved,
                    action: Action::KeepEntries { share: values.number("share") },
                }],
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |_, site| site.out_features * site.in_features)
    }
}
