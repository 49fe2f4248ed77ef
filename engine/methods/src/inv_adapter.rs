//! Language adapters: a bottleneck behind each MLP and an invertible map of the embeddings.
//!
//! Papers: Pfeiffer et al. 2020, "MAD-X: An Adapter-Based Framework for Multi-Task Cross-Lingual Transfer" (arXiv
//! 2005.00052); recipe for small models: Gurgurov et al. 2025, "Small Models, Big Impact" (arXiv 2502.10140).
//!
//! ```text
//! embeddings x = (x₁, x₂):  y₁ = x₁ + F(x₂)   y₂ = x₂ + G(y₁)      before the head the inverse:  x₂ = y₂ − G(y₁)   x₁ = y₁ − F(x₂)
//! behind each MLP           h ← h + act(h W_dᵀ + b_d) W_uᵀ + b_u
//! trained: F, G (two layers each), W_d, b_d, W_u, b_u              start: second layers zero
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::points::{self, ACTIVATION, BlockDims, START};
use crate::settings::{INTEGER, LAYERS};
use temper_nn::insertion::{Bottleneck, Coupling};
use temper_nn::{Insert, Insertion, Point};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &InvAdapter;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "reduction",
        label: "Reduction",
        default: "16",
        min: Some(1.0),
        max: Some(512.0),
        help: "the bottlenecks are this much narrower than the stream",
        ..INTEGER
    },
    Setting {
        key: "coupling_reduction",
        label: "Reduction of the map",
        default: "2",
        min: Some(1.0),
        max: Some(512.0),
        help: "the two nets of the invertible map are this much narrower than half of the stream",
        ..INTEGER
    },
    ACTIVATION,
    START,
    LAYERS,
];

const DECLARED: Declared = Declared {
    id: "inv-adapter",
    kind: Kind::Insertion,
    family: "bottleneck",
    families: &["decoder"],
    bases: &[],
    title: "Invertible language adapter",
    summary: "Bottlenecks behind the MLPs and an invertible map of the embeddings, undone before the head.",
    paper: Some(Paper {
        title: "MAD-X: An Adapter-Based Framework for Multi-Task Cross-Lingual Transfer",
        authors: "Pfeiffer et al.",
        year: 2020,
        id: "arXiv 2005.00052",
    }),
    exports_as: &["native"],
    peft_type: None,
    mergeable: false,
    settings: SETTINGS,
    series: &[],
    waivers: &[Waiver { clause: "merge", reason: "there are functions between its layers, so no weight can hold it" }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Embeddings pass an invertible map of their two halves, y₁ = x₁ + F(x₂), y₂ = x₂ + G(y₁); what the head reads passes the
exact inverse of it. Between them, each MLP has a bottleneck behind it. All second layers start at zero, so the model is
unchanged at first.

## What it costs
Per block 2 · d · w + w + d numbers with w = d / reduction; the map once, two nets between halves of the stream. Before
the head the inverse is computed for every position.

## When to use it
To teach a small model another language or a vocabulary of its own from plain text, with the base untouched: meanings of
tokens move in the map, grammar in the bottlenecks.

## Settings worth knowing
Reduction 16 is the recipe for small models. A learning rate of 1e-4 with plain text; a task adapter can be trained on
top of it afterwards.

## Pitfalls
It cannot be merged: what is exported is an adapter folder of this program. The inverse belongs to the head also where
embedding and head are not tied. The start normal moves answers a little before the first step; the map never does. The
paper's models fill in masked words and are measured by pseudo-perplexity; there is no such model here, and exp(loss) of the
next token stands in its place: the number of tokens where all are equally likely.";

/// Language adapters.
struct InvAdapter;

/// The blocks, the bottleneck of each of them, and the map.
fn chosen(values: &Values, sites: &[SiteDims]) -> Result<(Vec<BlockDims>, Bottleneck, Coupling), MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let blocks = points::blocks(&values, sites)?;
    let hidden = blocks.first().map_or(0, |block| block.hidden);
    let narrower = |features: usize, key: &str| (features / points::size(&values, key).max(1)).max(1);
    let width = narrower(hidden, "reduction");
    let behind = points::bottleneck(&values, (Point::MlpOut, Point::MlpOut), width, 1.0);
    let width = narrower(hidden / 2, "coupling_reduction");
    Ok((blocks, behind, Coupling { width, activation: points::activation(&values), inverse: false }))
}

impl Method for InvAdapter {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let (blocks, behind, map) = chosen(values, sites)?;
        let at =
            |stage: &str, coupling: Coupling| Insertion { stage: stage.to_owned(), what: Insert::Coupling(coupling) };
        let mut all = vec![at("embed", map.clone())];
        all.extend(points::in_blocks(&blocks, &[behind]));
        all.push(at("head", Coupling { inverse: true, ..map }));
        Ok(Plan::inserting(all))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let (blocks, behind, map) = chosen(values, &dims.sites)?;
        let hidden = blocks.first().map_or(0, |block| block.hidden);
        let (half, other) = (hidden / 2, hidden - hidden / 2);
        let net = |input: usize, output: usize| map.width * (input + 1) + output * (map.width + 1);
        Ok(points::count(&blocks, &[behind]) + (net(other, half) + net(half, other)) as u64)
    }
}
