//! DAS: some blocks are left out for good, with a small net in the place of each; a search finds which.
//!
//! Paper: Wu et al. 2023, "Parameter and Computation Efficient Transfer Learning for Vision-Language Pre-trained Models"
//! (arXiv 2309.01479).
//!
//! ```text
//! left out:  h ← h + relu(LN(h) D_dᵀ + c_d) D_uᵀ + c_u      kept:  h ← block(h), with h_mlp + relu(h_mlp W_dᵀ + b_d) W_uᵀ + b_u
//! search:  p_i = σ(a_i), k blocks drawn by p;  R = exp(−loss) of some subsets S on held-out images
//! a_i ← a_i + (R − R̄) p_i (1 − p_i)  for i in S;  the k largest a stay left out
//! ```
//!
//! | symbol       | shape               | meaning                                             |
//! |--------------|---------------------|-----------------------------------------------------|
//! | D_d, D_u, LN | (R, d), (d, R), 2·(d) | trained net in the place of a block, D_u = 0 at start |
//! | W_d, W_u     | (r, d), (d, r)      | trained bottleneck behind a kept MLP, W_u = 0 at start |
//! | a            | one a block         | moved by rewards, not by gradients; frozen: the model |

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::points::{self, BlockDims};
use crate::settings::{INTEGER, LAYERS, NUMBER};
use crate::targets::parse_layers;
use std::collections::BTreeSet;
use temper_nn::insertion::{Bottleneck, Skip, SkipSearch};
use temper_nn::{Insert, Insertion, Point};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &Das;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "share",
        label: "Share left out",
        default: "0.33",
        min: Some(0.01),
        max: Some(0.9),
        help: "how many of the blocks are left out; the paper left out 4 of 12",
        ..NUMBER
    },
    Setting {
        key: "width",
        label: "Width",
        default: "96",
        min: Some(1.0),
        max: Some(16384.0),
        help: "features inside the bottleneck of a kept block",
        ..INTEGER
    },
    Setting {
        key: "instead_width",
        label: "Width in a block's place",
        default: "288",
        min: Some(1.0),
        max: Some(16384.0),
        help: "features inside the net that stands in the place of a block",
        ..INTEGER
    },
    Setting {
        key: "skip",
        label: "Blocks to leave out",
        help: "block numbers from 0, such as 2,5-6: these are left out and nothing is searched; empty: they are searched",
        ..LAYERS
    },
    Setting {
        key: "every",
        label: "Steps between comparisons",
        default: "10",
        min: Some(1.0),
        max: Some(10000.0),
        help: "subsets of blocks are compared after so many steps",
        advanced: true,
        ..INTEGER
    },
    Setting {
        key: "subsets",
        label: "Subsets to compare",
        default: "3",
        min: Some(2.0),
        max: Some(16.0),
        help: "how many subsets are compared at a time, each on one batch that is not trained on",
        advanced: true,
        ..INTEGER
    },
    Setting {
        key: "search_from",
        label: "Search from",
        default: "0.1",
        min: Some(0.0),
        max: Some(0.9),
        help: "share of the steps after which comparisons begin: adapters learn a little before",
        advanced: true,
        ..NUMBER
    },
    Setting {
        key: "search_until",
        label: "Search until",
        default: "0.4",
        min: Some(0.0),
        max: Some(1.0),
        help: "share of the steps after which the choice is final",
        advanced: true,
        ..NUMBER
    },
];

const DECLARED: Declared = Declared {
    id: "das",
    kind: Kind::Insertion,
    family: "skipping",
    families: &["encoder"],
    bases: &[],
    title: "DAS",
    summary: "Finds blocks that a task can do without and leaves them out for good; small nets stand in their places.",
    paper: Some(Paper {
        title: "Parameter and Computation Efficient Transfer Learning for Vision-Language Pre-trained Models",
        authors: "Wu et al.",
        year: 2023,
        id: "arXiv 2309.01479",
    }),
    exports_as: &["native"],
    peft_type: None,
    mergeable: false,
    settings: SETTINGS,
    series: &[],
    waivers: &[Waiver {
        clause: "merge",
        reason: "blocks that are left out are a change of the graph, not of a weight",
    }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
While the adapters learn, each step leaves out some blocks at random. From time to time a few such subsets are compared on
images that are not trained on, and blocks of the better ones become more likely. After the search the likeliest stay left
out, each with a small net in its place; kept blocks have an ordinary bottleneck behind their MLP.

## What it costs
Per block 2 · d · width numbers for the bottleneck and as many of the wider net, of which one of the two is used in the
end. A comparison is one batch forward for each subset. What it saves is for good: a left-out block costs 2 · d · width
operations a token instead of 12 · d² and its attention.

## When to use it
An encoder that is deeper than its task needs, and a need for speed: the paper saved 12 % of the operations at the quality
of adapters.

## Settings worth knowing
Share left out: how much is saved. Blocks to leave out: a choice made by hand, without a search.

## Pitfalls
A tenth of the images is held out for the comparisons. Rewards are those of single batches and noisy: a short search
chooses little better than chance. On simulated losses, four blocks that cost 0.01 among eight that cost 0.1 to 0.5, a reward
with noise of 0.1 and 200 comparisons, it finds all four under each of 20 seeds. The paper's program defines a rate for the search that it never applies; the step is 1
there and here. No merged model can hold it: what leaves is an adapter folder of this program that says which blocks are
left out.";

/// DAS.
struct Das;

/// The blocks, those that are left out if it is settled, and what each gets.
struct Chosen {
    blocks: Vec<BlockDims>,
    settled: Option<BTreeSet<usize>>,
    behind: Bottleneck,
    skip: Skip,
}

fn chosen(values: &Values, sites: &[SiteDims]) -> Result<Chosen, MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let blocks = points::blocks(&values, sites)?;
    let settled = parse_layers(&values.list("skip").join(","), blocks.len())?;
    let behind = points::bottleneck(&values, (Point::MlpOut, Point::MlpOut), points::size(&values, "width"), 1.0);
    let count = (values.number("share") * blocks.len() as f64).round() as usize;
    let search = SkipSearch {
        count: count.clamp(1, blocks.len().saturating_sub(1).max(1)),
        every: points::size(&values, "every") as u64,
        subsets: points::size(&values, "subsets"),
        from: values.number("search_from"),
        until: values.number("search_until"),
    };
    let skip = Skip {
        width: points::size(&values, "instead_width"),
        skipped: settled.is_some(),
        search: settled.is_none().then_some(search),
    };
    Ok(Chosen { blocks, settled, behind, skip })
}

impl Chosen {
    /// Each block, whether it has a bottleneck, whether it can be left out.
    fn parts(&self) -> impl Iterator<Item = (&BlockDims, bool, bool)> {
        self.blocks.iter().enumerate().map(|(number, block)| match &self.settled {
            None => (block, true, true),
            Some(left_out) => (block, !left_out.contains(&number), left_out.contains(&number)),
        })
    }
}

impl Method for Das {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let chosen = chosen(values, sites)?;
        let mut insertions = Vec::new();
        for (block, kept, skippable) in chosen.parts() {
            let behind = kept.then(|| Insert::Bottleneck(chosen.behind.clone()));
            let skip = skippable.then(|| Insert::Skip(chosen.skip.clone()));
            let all = behind.into_iter().chain(skip);
            insertions.extend(all.map(|what| Insertion { stage: block.stage.clone(), what }));
        }
        Ok(Plan::inserting(insertions))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let chosen = chosen(values, &dims.sites)?;
        let net = |hidden: usize, width: usize| 2 * hidden * width + width + hidden;
        let count = chosen.parts().map(|(block, kept, skippable)| {
            let behind = if kept { net(block.hidden, chosen.behind.width) } else { 0 };
            let instead = if skippable { net(block.hidden, chosen.skip.width) + 2 * block.hidden } else { 0 };
            behind + instead
        });
        Ok(count.sum::<usize>() as u64)
    }
}
