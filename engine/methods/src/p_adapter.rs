//! p-Adapter: attention's messages smoothed again by differences of features, and a bottleneck behind the MLP.
//!
//! Paper: Wu et al. 2024, "p-Laplacian Adaptation for Generative Pre-trained Vision-Language Models" (arXiv 2312.10613).
//!
//! ```text
//! w_ij = ‖√(A_ij + ε) (F_i − F_j) + ε‖^(p−2)      Ã = A ∘ w      α_i = 1 / (Σ_j Ã_ij + 2μ/p)      β_i = 2 μ α_i / p
//! h ← h + (GELU(gate(h)) ∘ (α Ã F + β F)) W_uᵀ + b_u      F = [q v] W_nᵀ + b_n, per head      trained: p, θ, W_n, gate, W_u
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::points::{self, BlockDims};
use crate::settings::{FLAG, INTEGER, LAYERS, NUMBER};
use temper_nn::insertion::{Bottleneck, Laplacian};
use temper_nn::{Insert, Insertion, Point};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &PAdapter;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "reduction",
        label: "Reduction",
        default: "8",
        min: Some(1.0),
        max: Some(256.0),
        help: "nodes are this much narrower than a head, the bottleneck than the stream",
        ..INTEGER
    },
    Setting {
        key: "p",
        label: "Exponent",
        default: "1.25",
        min: Some(1.05),
        max: Some(4.0),
        help: "start of the trained exponent: 2 is plain smoothing, less favours tokens that are alike; the paper used \
               1.25 to 1.75",
        ..NUMBER
    },
    Setting {
        key: "mu",
        label: "Weight of the token itself",
        default: "0.1",
        min: Some(0.001),
        max: Some(100.0),
        help: "how much of a token's own node stays in its message; the paper used 0.1, for entailment 10",
        ..NUMBER
    },
    Setting {
        key: "own_edge",
        label: "Edges to oneself",
        help: "the literal formula: each token's edge to itself, which at an exponent below 2 outweighs all others",
        advanced: true,
        ..FLAG
    },
    LAYERS,
];

const DECLARED: Declared = Declared {
    id: "p-adapter",
    kind: Kind::Insertion,
    family: "bottleneck",
    families: &["encoder"],
    bases: &[],
    title: "p-Adapter (experimental)",
    summary: "Smooths what the attention adds over a graph of feature differences; for encoders.",
    paper: Some(Paper {
        title: "p-Laplacian Adaptation for Generative Pre-trained Vision-Language Models",
        authors: "Wu et al.",
        year: 2024,
        id: "arXiv 2312.10613",
    }),
    exports_as: &["native"],
    peft_type: None,
    mergeable: false,
    settings: SETTINGS,
    series: &[],
    waivers: &[Waiver {
        clause: "merge",
        reason: "it is a function of the attention's own weights, so no weight can hold it",
    }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Behind the attention of each block, queries and values of every head become narrow nodes, which are averaged once more
over the attention's graph, its edges weighed by how far apart the nodes are. A gate and a wide layer turn that into a
change of what the attention adds. Behind the MLP stands a plain bottleneck. The wide layers start at zero.

## What it costs
Little in numbers, much in memory: probabilities of the attention and differences of all pairs of tokens are held per
head, tokens² · width values. It is meant for images of a few hundred tokens.

## When to use it
Experimental, on encoders: where neighbours in feature space matter more than attention shows. It is refused on decoders
of text, which hand out no probabilities.

## Settings worth knowing
Exponent: trained from its start; nearer to 2 is safer. Weight of the token itself: higher keeps messages local. A
learning rate of 3e-4 to 5e-4, weight decay 0.05.

## Pitfalls
Read literally, the formula gives each token's edge to itself a weight of a hundred thousand at 1.25, and the smoothing
becomes the identity: such edges are left out here unless asked for. The paper's other branch, cross attention with
pooled values, has no place in these models. No merged model can hold it.";

/// p-Adapter.
struct PAdapter;

/// The blocks, and the two things that each of them gets.
fn chosen(values: &Values, sites: &[SiteDims]) -> Result<(Vec<BlockDims>, Laplacian, Bottleneck), MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let blocks = points::blocks(&values, sites)?;
    let reduction = points::size(&values, "reduction").max(1);
    let width = blocks.first().map_or(1, |block| (block.hidden / reduction).max(1));
    let behind = points::bottleneck(&values, (Point::MlpOut, Point::MlpOut), width, 1.0);
    let (p, mu, own_edge) = (values.number("p"), values.number("mu"), values.flag("own_edge"));
    Ok((blocks, Laplacian { reduction, p, mu, own_edge }, behind))
}

impl Method for PAdapter {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let (blocks, laplacian, behind) = chosen(values, sites)?;
        let smoothing = blocks
            .iter()
            .map(|block| Insertion { stage: block.stage.clone(), what: Insert::Laplacian(laplacian.clone()) });
        Ok(Plan::inserting(smoothing.chain(points::in_blocks(&blocks, &[behind])).collect()))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let (blocks, laplacian, behind) = chosen(values, &dims.sites)?;
        let features = dims.head_features.max(1);
        let width = (features / laplacian.reduction).max(1);
        let smoothing = blocks.iter().map(|block| {
            let inner = block.keys / features * width;
            width * (2 * features + 1) + inner * (block.hidden + 1) + block.hidden * (inner + 1) + 2
        });
        Ok(smoothing.sum::<usize>() as u64 + points::count(&blocks, &[behind]))
    }
}
