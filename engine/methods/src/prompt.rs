//! Prompt tuning: trained rows before the embeddings of every segment.
//!
//! Paper: Lester, Al-Rfou, Constant 2021, "The Power of Scale for Parameter-Efficient Prompt Tuning" (arXiv 2104.08691).
//!
//! ```text
//! x = [P; embed(tokens)]      trained: P (n, d)      positions count through, labels stay with their tokens
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::points;
use crate::settings::{CHOICE, INTEGER};
use temper_nn::insertion::{Prompt, PromptStart};
use temper_nn::{Insert, Insertion};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &PromptTuning;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "prompt_length",
        label: "Prompt length",
        default: "20",
        min: Some(1.0),
        max: Some(1024.0),
        help: "trained rows before the embeddings of every text; the paper used 20 to 100",
        ..INTEGER
    },
    Setting {
        key: "start",
        label: "Start",
        default: "vocabulary",
        choices: &["vocabulary", "normal"],
        help: "vocabulary: embeddings of tokens drawn at random; normal: small random numbers",
        ..CHOICE
    },
];

const DECLARED: Declared = Declared {
    id: "prompt",
    kind: Kind::Insertion,
    family: "prompts",
    families: &["decoder"],
    bases: &[],
    title: "Prompt tuning",
    summary: "Trains a handful of rows before the embeddings of every text: the smallest adapter there is.",
    paper: Some(Paper {
        title: "The Power of Scale for Parameter-Efficient Prompt Tuning",
        authors: "Lester et al.",
        year: 2021,
        id: "arXiv 2104.08691",
    }),
    exports_as: &["peft", "native"],
    peft_type: Some("PROMPT_TUNING"),
    mergeable: false,
    settings: SETTINGS,
    series: &[],
    waivers: &[
        Waiver { clause: "start", reason: "rows before the text are read by every token, whatever their values" },
        Waiver { clause: "merge", reason: "it is no change of a weight but something before the text" },
    ],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Before the embeddings of every text stand n trained rows, as if n words had been said that no vocabulary has. Everything
else is the untouched model. In a packed row each text has the rows of its own.

## What it costs
n · d numbers in all, with d the features of the stream: tens of kilobytes. Every text is n positions longer in each
block; the blocks stay on the fused path, but gradients go through all of them down to the embeddings.

## When to use it
On large models with many small tasks. The paper found it level with full training only from about ten billion
parameters on; on small models it stays well behind every other method here.

## Settings worth knowing
Prompt length: 20 to 100. Start: rows of the vocabulary begin where the model knows its way. It takes a high learning
rate, from 1e-2 on, and many steps.

## Pitfalls
It is not the base before the first step. The context is shorter by n. It cannot be merged into weights.";

/// Prompt tuning.
struct PromptTuning;

/// The prompt of the settings.
fn of(values: &Values) -> Result<Prompt, MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let start = if values.text("start") == "normal" { PromptStart::Normal } else { PromptStart::Vocabulary };
    Ok(Prompt { length: points::size(&values, "prompt_length"), start })
}

impl Method for PromptTuning {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, _sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        Ok(Plan::inserting(vec![Insertion { stage: "embed".to_owned(), what: Insert::Prompt(of(values)?) }]))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let blocks = points::blocks(&Values::default(), &dims.sites)?;
        Ok((of(values)?.length * blocks.first().map_or(0, |block| block.hidden)) as u64)
    }
}
