//! Mix-and-match: a short prefix in every attention and a scaled parallel adapter beside every MLP.
//!
//! Paper: He et al. 2021, "Towards a Unified View of Parameter-Efficient Transfer Learning" (arXiv 2110.04366).
//!
//! ```text
//! attention(q, [P_k; k], [P_v; v])      y = mlp(x) + s · (act(x W_dᵀ + b_d) W_uᵀ + b_u)
//! trained: P_k, P_v (n, kv heads · head width), W_d (w, d), W_u (d, w), b_d, b_u        s: a constant
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::par_adapter::SCALE;
use crate::points::{self, ACTIVATION, BlockDims, WIDTH};
use crate::prefix::{self, LENGTH, NO_START, THROUGH};
use temper_nn::Point;
use temper_nn::insertion::{Bottleneck, Prefix};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &MixAndMatch;

const SETTINGS: &[Setting] = &[LENGTH, WIDTH, SCALE, ACTIVATION, Setting { default: "512", ..THROUGH }];

const DECLARED: Declared = Declared {
    id: "mam",
    kind: Kind::Insertion,
    family: "bottleneck",
    families: &["decoder"],
    bases: &[],
    title: "Mix-and-match adapter",
    summary: "A short prefix in the attentions and a scaled parallel adapter beside the MLPs.",
    paper: Some(Paper {
        title: "Towards a Unified View of Parameter-Efficient Transfer Learning",
        authors: "He et al.",
        year: 2021,
        id: "arXiv 2110.04366",
    }),
    exports_as: &["native"],
    peft_type: None,
    mergeable: false,
    settings: SETTINGS,
    series: &[],
    waivers: &[
        NO_START,
        Waiver { clause: "merge", reason: "neither the prefix nor the net beside the MLP is a change of a weight" },
    ],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each attention gets a short prefix of trained keys and values, each MLP a narrow net beside it whose scaled result is
added. The unified view found a few numbers to be best spent on attention, many on the MLP; this is both.

## What it costs
The sum of prefix and par-adapter: 2 · n · (features of the keys) and 2 · d · width + width + d numbers per block in a
file, more while the net behind the prefix is trained.

## When to use it
When a bottleneck family adapter is wanted and its size is not the first concern: of that family it came closest to full
training in the paper, with 6.7 % of the weights.

## Settings worth knowing
Width takes most of the budget, the prefix stays short. Scale as for par-adapter. All settings of the two methods mean
the same here.

## Pitfalls
It is not the base before the first step, because of the prefix. The context is shorter by the prefix. It cannot be
merged, and PEFT has no type for it: what is exported is an adapter folder of this program.";

/// Mix-and-match.
struct MixAndMatch;

/// The blocks, and the two things that each of them gets.
fn chosen(values: &Values, sites: &[SiteDims]) -> Result<(Vec<BlockDims>, Prefix, Bottleneck), MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let (width, scale) = (points::size(&values, "width"), values.number("scale"));
    let beside = points::bottleneck(&values, (Point::MlpIn, Point::MlpOut), width, scale);
    Ok((points::blocks(&values, sites)?, prefix::of(&values), beside))
}

impl Method for MixAndMatch {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let (blocks, prefix, beside) = chosen(values, sites)?;
        let bottlenecks = points::in_blocks(&blocks, &[beside]);
        Ok(Plan::inserting(prefix::in_blocks(&blocks, &prefix).chain(bottlenecks).collect()))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let (blocks, prefix, beside) = chosen(values, &dims.sites)?;
        Ok(prefix::count(&blocks, &prefix) + points::count(&blocks, &[beside]))
    }
}
