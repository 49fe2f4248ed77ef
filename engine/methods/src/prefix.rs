//! Prefix tuning: trained keys and values before those of every segment, in every attention.
//!
//! Paper: Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation" (arXiv 2101.00190).
//!
//! ```text
//! attention(q, [P_k; k], [P_v; v])      P_k, P_v (n, kv heads · head width) per block; tokens stand at positions n, n+1, ..
//! trained: P_k, P_v, or E and the net they come from        frozen: the model
//! through a net: [P_k P_v] = tanh(E W₁ᵀ + b₁) W₂ᵀ + b₂      E (n, ·), W₁ for all blocks, W₂ per block; gone in files
//! = (1 − λ) attention(q, k, v) + λ attention(q, P_k, P_v)      λ: share of the attention that falls on the prefix
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::points::{self, BlockDims};
use crate::settings::INTEGER;
use temper_nn::insertion::Prefix;
use temper_nn::{Insert, Insertion};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &PrefixTuning;

/// How many keys and values.
pub(crate) const LENGTH: Setting = Setting {
    key: "prefix_length",
    label: "Prefix length",
    default: "30",
    min: Some(1.0),
    max: Some(1024.0),
    help: "trained keys and values before those of every text; beyond about 200 nothing is gained",
    ..INTEGER
};

/// Width of the net that makes them.
pub(crate) const THROUGH: Setting = Setting {
    key: "net_width",
    label: "Width of the net",
    default: "800",
    min: Some(0.0),
    max: Some(4096.0),
    help: "hidden features of the net that makes keys and values while training, which steadies it; 0 trains them \
           directly. Files hold its result, not the net",
    advanced: true,
    ..INTEGER
};

/// Why a prefix is no unchanged start.
pub(crate) const NO_START: Waiver =
    Waiver { clause: "start", reason: "any key before the text takes a share of the attention, whatever its value" };

const SETTINGS: &[Setting] = &[LENGTH, THROUGH];

const DECLARED: Declared = Declared {
    id: "prefix",
    kind: Kind::Insertion,
    family: "prompts",
    families: &["decoder"],
    bases: &[],
    title: "Prefix tuning",
    summary: "Trains keys and values that stand before every text in each attention; no weight changes.",
    paper: Some(Paper {
        title: "Prefix-Tuning: Optimizing Continuous Prompts for Generation",
        authors: "Li and Liang",
        year: 2021,
        id: "arXiv 2101.00190",
    }),
    exports_as: &["peft", "native"],
    peft_type: Some("PREFIX_TUNING"),
    mergeable: false,
    settings: SETTINGS,
    series: &[],
    waivers: &[
        NO_START,
        Waiver { clause: "merge", reason: "it is no change of a weight but something before the text" },
    ],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Before the keys and values of every text stand n trained ones in each attention. A query's answer becomes a mix of what
it would have been and of what the prefix says, by the share of attention that falls on it. In a packed row each text has
the prefix of its own. The tokens of a text take the positions from n on, as in PEFT.

## What it costs
2 · n · (features of the keys) numbers per block in a file. While training, the net that makes them is larger: its
width times the features of all keys and values, and its values are made anew every step. Attention sees n positions
more per text, and runs once more in the backward pass.

## When to use it
When the base must not change at all and many tasks share it: a prefix is kilobytes and can be switched per request. On
hard tasks it stays behind bottlenecks and LoRA of the same size; at very small sizes it is ahead of them.

## Settings worth knowing
Prefix length: 10 to 30 for classification and short answers, up to 200 for long ones. Width of the net: training keys
and values directly (0) is cheaper and less steady. A learning rate ten times LoRA's is usual: 1e-3 to 1e-2 for
keys and values themselves, less through the net.

## Pitfalls
It is not the base before the first step: untrained keys already take attention. The context is shorter by n. It cannot
be merged into weights. Other programs must put tokens at positions from n on; PEFT does.";

/// Prefix tuning.
struct PrefixTuning;

/// The prefix of the settings.
pub(crate) fn of(values: &Values) -> Prefix {
    let width = points::size(values, "net_width");
    Prefix { length: points::size(values, "prefix_length"), through: (width > 0).then_some(width) }
}

/// The same prefix in each block.
pub(crate) fn in_blocks<'a>(blocks: &'a [BlockDims], prefix: &'a Prefix) -> impl Iterator<Item = Insertion> + 'a {
    blocks.iter().map(|block| Insertion { stage: block.stage.clone(), what: Insert::Prefix(prefix.clone()) })
}

/// Numbers trained for it.
pub(crate) fn count(blocks: &[BlockDims], prefix: &Prefix) -> u64 {
    let all: usize = match prefix.through {
        None => blocks.iter().map(|block| 2 * prefix.length * block.keys).sum(),
        Some(width) => {
            let own: usize = blocks.iter().map(|block| 2 * block.keys * (width + 1)).sum();
            // One table and one first layer for all.
            own + blocks.first().map_or(0, |block| prefix.length * block.keys + width * (block.keys + 1))
        }
    };
    all as u64
}

impl Method for PrefixTuning {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let values = values.complete(SETTINGS, "[method]")?;
        let (blocks, prefix) = (points::blocks(&values, sites)?, of(&values));
        Ok(Plan::inserting(in_blocks(&blocks, &prefix).collect()))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let values = values.complete(SETTINGS, "[method]")?;
        Ok(count(&points::blocks(&values, &dims.sites)?, &of(&values)))
    }
}
