//! MoLA: several LoRA experts on each layer and a router that chooses some of them for each token, more experts higher up.
//!
//! Paper: Gao et al. 2024, "Higher Layers Need More LoRA Experts" (arXiv 2402.08562).
//!
//! ```text
//! p = softmax(R x) for each token, R (E, in)      w_e = p_e / Σ_top p for the top K experts, 0 for the others
//! y = x Wᵀ + b + Σ_e w_e · s · (drop(x) A_eᵀ) B_eᵀ      s = α / r      trained: all A_e, B_e and R
//! loss + c · E Σ_e f_e P_e, a router at a time: f_e its share of the choices, P_e the mean of p_e
//! E by bands of blocks from the bottom up, 2, 4, 6, 8      A_e, R: Kaiming      B_e = 0 at start
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, INTEGER, LAYERS, NUMBER, RANK, TARGETS};
use temper_nn::slots::{Chain, Core, Delta, ExtraLoss, Factor, Init, Mix, Router, Scale, Slots};
use temper_protocol::{Code, Declared, Kind, Paper, Problem, SeriesDef, Setting, SettingType, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &Mola;

/// Most experts of a layer.
const MOST: usize = 64;

const SETTINGS: &[Setting] = &[
    Setting { default: "8", help: "inner width of one expert", ..RANK },
    Setting { default: "16", ..ALPHA },
    Setting {
        key: "experts",
        label: "Experts by band",
        kind: SettingType::List,
        default: "2, 4, 6, 8",
        help: "how many experts the layers of a block have, from the lowest band of blocks to the highest: as many bands as \
               numbers, each with as many blocks as they get; one number gives all layers the same",
        ..TARGETS
    },
    Setting {
        key: "top",
        label: "Experts per token",
        default: "2",
        // The renormalised weight of one alone is 1 whatever its score: its router would learn nothing.
        min: Some(2.0),
        max: Some(64.0),
        help: "how many experts answer for a token, at most what a layer has",
        ..INTEGER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    Setting { default: "0.05", ..DROPOUT },
    Setting {
        key: "balance",
        label: "Balance",
        default: "0",
        min: Some(0.0),
        max: Some(10.0),
        help: "factor of the loss that spreads tokens over the experts of each layer; 0.001 is usual where some lie idle",
        advanced: true,
        ..NUMBER
    },
];

const DECLARED: Declared = Declared {
    id: "mola",
    kind: Kind::Adapter,
    family: "mixture",
    families: &[],
    bases: &[],
    title: "MoLA",
    summary: "Several small LoRAs on each layer and a router that picks some for every token, more of them higher up.",
    paper: Some(Paper {
        title: "Higher Layers Need More LoRA Experts",
        authors: "Gao et al.",
        year: 2024,
        id: "arXiv 2402.08562",
    }),
    exports_as: &["native"],
    peft_type: None,
    mergeable: false,
    settings: SETTINGS,
    series: &[
        SeriesDef {
            name: "router_entropy",
            unit: "nats",
            higher_is_better: None,
            help: "mean entropy of a layer's router; the logarithm of the number of experts when it tells no tokens apart",
        },
        SeriesDef {
            name: "largest_load",
            unit: "share",
            higher_is_better: Some(false),
            help: "share of a router's choices that fall on its busiest expert; the series experts/LAYER/load have all",
        },
        EFFECTIVE_RANK,
        ENERGY,
    ],
    waivers: &[
        Waiver { clause: "merge", reason: "which experts answer depends on the token: no weight can hold the change" },
        Waiver {
            clause: "export",
            reason: "no sum to the weight does what a router does: it leaves whole, as a native folder",
        },
        Waiver {
            clause: "telemetry",
            reason: "a change that depends on the token has no merged weight to be measured against; its mean is measured",
        },
    ],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each chosen layer gets several experts, each a LoRA of its own, and a router: a small linear layer that scores the experts
for every token. The few best answer, weighted by the softmax over their scores. Higher blocks get more experts than lower
ones, after the finding that experts of low layers come to say the same.

## What it costs
E · rank · (in + out) + E · in trained numbers on a layer of E experts, E as its block's band says. All experts are
computed for all tokens and the unchosen ones set to zero, so that a step costs what LoRA of rank E · rank costs outside
the fused path.

## When to use it
For data of several kinds at once, or tasks learned one after the other, where one change for all would be a compromise.
On data of one kind it is a LoRA with more numbers than it needs. Measured on a layer of 32 x 32 and four kinds of inputs with
a map of rank 2 each, means of three seeds: LoRA of rank 8 leaves 32 % of the error, two experts of rank 4 19 %, four of
rank 2 nothing when two answer for a token, and 39 % when one does. A prototype of the same had one answer ahead of LoRA
(10 % against 17 %), which does not come out here.

## Settings worth knowing
Experts by band: the paper's 2, 4, 6, 8 for 32 blocks; fewer blocks are split into the same bands. Balance is off, as in
the paper's runs; a layer with idle experts is told of, and 0.001 spreads its tokens. It is counted for every layer by
itself: opposite leanings of two layers do not cancel.

## Pitfalls
It cannot be merged, and no type of PEFT's holds it. It leaves as a native folder. Every other format gets an approximation:
the mean of what its routers chose in training stands in their place, a LoRA of rank E · rank, and the certificate says by
how much answers are off. Which expert answers changes from one token to the next without a step between: gradients are
right on either side. Of equal scores the first expert is chosen.";

/// MoLA.
struct Mola;

/// Numbers of experts by band.
fn bands(values: &Values) -> Result<Vec<usize>, MethodError> {
    let text = values.list("experts").join(",");
    let count = |word: &str| word.trim().parse().ok().filter(|count| (1..=MOST).contains(count));
    let bands: Option<Vec<usize>> = text.split(',').map(count).collect();
    bands.ok_or_else(|| {
        let what = format!("\"{text}\" is no list of numbers of experts");
        Problem::new(
            Code::MethodInvalid,
            what,
            "method.experts",
            format!("give numbers from 1 to {MOST}, such as 2, 4, 6, 8"),
        )
        .into()
    })
}

/// Experts of a layer of a model with `blocks` blocks; layers outside the blocks count to the highest band.
fn experts(bands: &[usize], site: &SiteDims, blocks: usize) -> usize {
    let last = bands.len().saturating_sub(1);
    let band = site.layer.map_or(last, |layer| layer * bands.len() / blocks.max(1));
    bands.get(band.min(last)).copied().unwrap_or(1)
}

fn blocks(sites: &[SiteDims]) -> usize {
    sites.iter().filter_map(|site| site.layer).max().map_or(1, |last| last + 1)
}

impl Method for Mola {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let bands = bands(&values.complete(SETTINGS, "[method]")?)?;
        let blocks = blocks(sites);
        common::plan(SETTINGS, values, sites, |values, site| {
            let (rank, experts) = (common::rank(values), experts(&bands, site, blocks));
            let top = (values.integer("top").unsigned_abs() as usize).min(experts);
            let weight = values.number("balance");
            let random = Factor::trained(Init::KaimingUniform);
            Slots {
                delta: Delta::Chain(Chain {
                    rank: experts * rank,
                    b: Factor::trained(Init::Zeros),
                    core: Core::None,
                    a: random,
                }),
                mix: Mix::Routed(Router { experts, top, factor: random }),
                scale: Scale::Fixed(values.number("alpha") / rank as f64),
                dropout: values.number("dropout"),
                loss: if weight > 0.0 { ExtraLoss::Balance { weight } } else { ExtraLoss::None },
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let bands = bands(&values.complete(SETTINGS, "[method]")?)?;
        let blocks = blocks(&dims.sites);
        common::sum(SETTINGS, values, dims, |values, site| {
            let (rank, experts) = (common::rank(values), experts(&bands, site, blocks));
            experts * (rank * (site.in_features + site.out_features) + site.in_features)
        })
    }
}
