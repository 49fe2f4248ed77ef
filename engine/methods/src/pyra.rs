//! PYRA: LoRA on queries, keys and values, and tokens that merge between the halves of each block, behind trained gates.
//!
//! Paper: Xiong et al. 2024, "PYRA: Parallel Yielding Re-Activation for Training-Inference Efficient Task Adaptation"
//! (arXiv 2403.09192); the merging is that of Bolya et al. 2022, "Token Merging: Your ViT But Faster" (arXiv 2210.09461).
//!
//! ```text
//! of so many pairs of tokens (source, destination) of an image, r pairs become one, x̂ = n ∘ x with n what a token stands for:
//! P = LN(x̂_src + x̂_dst)  (r, d)      w₁ = 2 σ(aᵀ P)      w₂ = 2 σ(P bᵀ) − 1      x̂_src ← x̂_src + x̂_src ∘ (w₂ w₁)
//! x_dst ← (x̂_dst + Σ x̂_src) / Σ n      later scores of attention + log n      q, k, v: W + (α / rank) B A
//! ```
//!
//! | symbol | shape   | meaning                                                  |
//! |--------|---------|----------------------------------------------------------|
//! | a      | (r, 1)  | trained, random at start                                 |
//! | b      | (1, d)  | trained, 0 at start: the gates begin as plain merging    |
//! | LN     | 2 · (d) | trained weight and bias of the gates' norm               |
//! | A, B   |         | trained, B = 0 at start; W is frozen                     |

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::points::{self, BlockDims};
use crate::settings::{ALPHA, EXCLUDE, FLAG, RANK, TARGETS};
use crate::{common, targets};
use temper_nn::insertion::Merge;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_nn::{Insert, Insertion};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &Pyra;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "merge",
        label: "Pairs to merge",
        default: "1",
        help: "how many pairs of tokens become one in each block: one number for all blocks, or one for each, where \
               16x11,10 means eleven times 16 and then 10; the paper's ViT-B had that as its low rate",
        ..TARGETS
    },
    Setting {
        key: "gates",
        label: "Re-activation",
        default: "true",
        help: "trained gates change a token before it merges into another; without them this is LoRA with plain merging",
        ..FLAG
    },
    Setting { default: "8", ..RANK },
    Setting { default: "8", ..ALPHA },
    Setting { default: "attn.q,attn.k,attn.v", ..TARGETS },
    EXCLUDE,
];

const DECLARED: Declared = Declared {
    id: "pyra",
    kind: Kind::Insertion,
    family: "token-merging",
    families: &["encoder"],
    bases: &[],
    title: "PYRA",
    summary: "LoRA for encoders that also makes them faster: tokens merge from block to block, small gates repair them.",
    paper: Some(Paper {
        title: "PYRA: Parallel Yielding Re-Activation for Training-Inference Efficient Task Adaptation",
        authors: "Xiong et al.",
        year: 2024,
        id: "arXiv 2403.09192",
    }),
    exports_as: &["native"],
    peft_type: None,
    mergeable: false,
    settings: SETTINGS,
    series: &[],
    waivers: &[
        Waiver {
            clause: "start",
            reason: "tokens merge from the first step on, and that changes what the model answers",
        },
        Waiver { clause: "merge", reason: "fewer tokens and their gates are no change of a weight, only its LoRA is" },
    ],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Queries, keys and values get LoRA. Between attention and MLP of each block, the pairs of tokens whose keys are most alike
become one token, the mean of what both stand for; the class token never does. A token that stands for more weighs more
in later attentions. Before a token merges, two small gates change it; they start as doing nothing.

## What it costs
Per block r + 3 · d numbers for r pairs and d features, beside LoRA's. It saves time, in training and for good: every
later half works on r tokens fewer. The first answers are a little worse than the base's.

## When to use it
Vision transformers that have to be adapted and made faster at once. Without a need for speed, take LoRA.

## Settings worth knowing
Pairs to merge: 17 tokens can lose 8 at most in the first block. A learning rate of 1e-3, weight decay 1e-4. Re-activation
off is the plain merging that the gates are there to beat; on this program's small ViT they did not
(0.732 and 0.734 of turned Fashion-MNIST at 34 % fewer multiplications, means of five seeds).

## Pitfalls
a belongs to one number of pairs: another schedule or image size that changes it makes the gates useless. Prompts in
front of the tokens would lose their place and are not combined with it. Behind the last attention a class token reads no
other token: gates there learn only where the head takes the mean of all tokens. The gates take the run's learning rate, as in
the paper's program, whose smaller rate for them never takes effect. No merged model can hold it: what a file can take is
an adapter folder of this program.";

/// PYRA.
struct Pyra;

/// The blocks, and how many pairs merge in each.
fn chosen(values: &Values, sites: &[SiteDims]) -> Result<Vec<(BlockDims, usize)>, MethodError> {
    let blocks = points::blocks(values, sites)?;
    let schedule = schedule(&values.list("merge").join(","), blocks.len())?;
    Ok(blocks.into_iter().zip(schedule).collect())
}

/// Pairs by block: `2`, `16x11,10`.
fn schedule(text: &str, blocks: usize) -> Result<Vec<usize>, MethodError> {
    let bad = |why: String| {
        let what = format!("\"{text}\" is no schedule of merging for {blocks} blocks: {why}");
        points::refused(what, "merge", "write one number, or one for each block, such as 16x11,10")
    };
    let number = |part: &str| {
        let read = part.trim().parse::<usize>().ok().filter(|number| *number <= 1 << 16);
        read.ok_or_else(|| bad(format!("\"{}\" is not a possible number", part.trim())))
    };
    let mut all = Vec::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        match part.split_once(['x', '*']) {
            Some((pairs, times)) => all.extend(std::iter::repeat_n(number(pairs)?, number(times)?.min(blocks + 1))),
            None => all.push(number(part)?),
        }
    }
    match all.as_slice() {
        [one] => Ok(vec![*one; blocks]),
        all if all.len() == blocks => Ok(all.to_vec()),
        all => Err(bad(format!("it has {} numbers", all.len()))),
    }
}

impl Method for Pyra {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let slots = |values: &Values, _: &SiteDims| Slots {
            delta: Delta::Chain(Chain {
                rank: common::rank(values),
                b: Factor::trained(Init::Zeros),
                core: Core::None,
                a: Factor::trained(Init::KaimingUniform),
            }),
            scale: Scale::AlphaOverRank(values.number("alpha")),
            ..Slots::default()
        };
        let plan = common::plan(SETTINGS, values, sites, slots)?;
        let values = values.complete(SETTINGS, "[method]")?;
        let gates = values.flag("gates");
        let merging = chosen(&values, sites)?.into_iter().filter(|(_, pairs)| *pairs > 0);
        let insertions = merging
            .map(|(block, pairs)| Insertion { stage: block.stage, what: Insert::Merge(Merge { pairs, gates }) })
            .collect();
        Ok(Plan { insertions, ..plan })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let values = values.complete(SETTINGS, "[method]")?;
        let low_rank = |site: &SiteDims| common::rank(&values) * (site.in_features + site.out_features);
        let low_rank: usize = targets::select(&values, &dims.sites)?.into_iter().map(low_rank).sum();
        let gates = |(block, pairs): &(BlockDims, usize)| if *pairs > 0 { pairs + 3 * block.hidden } else { 0 };
        let gates: usize = chosen(&values, &dims.sites)?.iter().filter(|_| values.flag("gates")).map(gates).sum();
        Ok((low_rank + gates) as u64)
    }
}
