//! LoRA: low-rank adaptation, with rank-stabilised scaling and LoRA+'s two learning rates as settings.
//!
//! Papers: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685);
//! Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA" (arXiv 2312.03732);
//! Hayou et al. 2024, "LoRA+: Efficient Low Rank Adaptation of Large Models" (arXiv 2402.12354);
//! Li et al. 2023, "LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models" (arXiv 2310.08659).
//!
//! ```text
//! y = x Wᵀ + b + s · (drop(x) Aᵀ) Bᵀ       s = α / r, rank-stabilised α / √r
//! ΔW = s · B A                              trained: A, B        frozen: W, b
//! ∂L/∂B = s · G Aᵀ   ∂L/∂A = s · Bᵀ G       with G = ∂L/∂W_eff
//! start = loftq, over a base Q that was rounded in memory from W, for up to start_rounds rounds:
//!     s · B A ← best of rank r for W − Q        Q ← rounded(W − s · B A)
//! ```
//!
//! | symbol | shape     | meaning                                              |
//! |--------|-----------|------------------------------------------------------|
//! | W, b   | (out, in), (out) | frozen weight and bias                        |
//! | A      | (r, in)   | inner factor, random at start                        |
//! | B      | (out, r)  | outer factor, 0 at start: the layer starts unchanged |
//! | r, α   |           | rank, alpha                                          |
//! | λ      |           | LoRA+: B's learning rate over A's                    |

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, Promote, SiteDims};
use crate::patterns::Patterns;
use crate::settings::{CHOICE, EXCLUDE, FLAG, INTEGER, LAYERS, NUMBER, TABLE, TARGETS};
use crate::targets;
use temper_nn::slots::{Calibration, Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, SeriesDef, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Lora;

const LARGEST_RANK: f64 = 1024.0;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "rank",
        label: "Rank",
        default: "16",
        min: Some(1.0),
        max: Some(LARGEST_RANK),
        help: "inner width of the change; memory and parameters grow with it",
        ..INTEGER
    },
    Setting {
        key: "alpha",
        label: "Alpha",
        default: "32",
        min: Some(0.001),
        max: Some(65536.0),
        help: "strength: the change is multiplied by alpha / rank; twice the rank is usual",
        ..NUMBER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    Setting {
        key: "dropout",
        label: "Dropout",
        default: "0",
        min: Some(0.0),
        max: Some(0.9),
        help: "share of the adapter's inputs dropped while training; 0.05 to 0.1 helps on small data",
        ..NUMBER
    },
    Setting {
        key: "rslora",
        label: "Rank-stabilised scale",
        help: "multiply by alpha / √rank instead, so that high ranks learn as fast as low ones",
        ..FLAG
    },
    Setting {
        key: "lora_plus_ratio",
        label: "LoRA+ ratio",
        default: "1",
        min: Some(0.01),
        max: Some(1000.0),
        help: "learning rate of B over that of A; 1 is plain LoRA, the LoRA+ paper suggests 16",
        advanced: true,
        ..NUMBER
    },
    Setting {
        key: "init",
        label: "Start of A",
        default: "kaiming",
        choices: &["kaiming", "gaussian"],
        help: "kaiming: uniform in ±1/√in; gaussian: normal with standard deviation 1/rank",
        advanced: true,
        ..CHOICE
    },
    Setting {
        key: "start",
        label: "Start of the change",
        default: "zero",
        choices: &["zero", "loftq"],
        help: "zero: the model starts as it is held; loftq: over a base rounded in memory (int8 to int2, nf4) it starts \
               with what rounding lost, elsewhere as zero",
        advanced: true,
        ..CHOICE
    },
    Setting {
        key: "start_rounds",
        label: "LoftQ rounds",
        default: "5",
        min: Some(1.0),
        max: Some(100.0),
        help: "with start loftq: how often base and change are fitted to each other; 1 leaves the base as it is",
        advanced: true,
        ..INTEGER
    },
    Setting {
        key: "rank_pattern",
        label: "Ranks by layer",
        help: "module path pattern to rank, such as layers.0.self_attn.q_proj = 8; the first key that fits decides",
        ..TABLE
    },
    Setting {
        key: "alpha_pattern",
        label: "Alphas by layer",
        help: "module path pattern to alpha; the first key that fits decides",
        ..TABLE
    },
];

const DECLARED: Declared = Declared {
    id: "lora",
    kind: Kind::Adapter,
    family: "low-rank",
    families: &[],
    bases: &[],
    title: "LoRA",
    summary: "Trains two thin matrices beside each frozen layer: little memory, small files, exact merging.",
    paper: Some(Paper {
        title: "LoRA: Low-Rank Adaptation of Large Language Models",
        authors: "Hu et al.",
        year: 2021,
        id: "arXiv 2106.09685",
    }),
    exports_as: &["peft", "gguf-lora", "hf", "gguf"],
    peft_type: Some("LORA"),
    mergeable: true,
    settings: SETTINGS,
    series: &[
        SeriesDef {
            name: "effective_rank",
            unit: "",
            higher_is_better: None,
            help: "how many directions the change of a layer really uses: the exponential of the entropy of its \
                   normalised singular values; far below the rank, a smaller rank would do",
        },
        SeriesDef {
            name: "energy",
            unit: "",
            higher_is_better: None,
            help: "size of the change of a layer over the size of its weight, ‖s·BA‖ / ‖W‖",
        },
    ],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each chosen linear layer keeps its weight W and gets a change of low rank beside it:
y = x Wᵀ + s · (x Aᵀ) Bᵀ, with A of shape (rank, in), B of shape (out, rank) and s = alpha / rank.
A starts random and B at zero, so the first step starts from the model as it is.

## What it costs
rank · (in + out) trained numbers per layer, each with a gradient and two moments of the optimiser; the frozen
weights stay in the form the file has. Per token the forward pass costs 2 · rank · (in + out) operations more
than the layer's own 2 · in · out.

## When to use it
The first thing to try: instruction following, style, format, a narrow domain, with a few hundred to some ten
thousand examples. Rank 8 to 32 on all linear layers with alpha twice the rank and a learning rate of 1e-4 to
3e-4 is a good start. Take full training when much new knowledge has to go in and memory allows it.

## Settings worth knowing
Rank-stabilised scale: with alpha / rank, the change of a high rank learns ever more slowly; alpha / √rank keeps
its speed. Choose it for ranks above 32, and a smaller alpha with it.
LoRA+: B can take a higher learning rate than A. The paper suggests a ratio of 16 for wide models; on small ones
there is nothing to gain.
Ranks by layer: the first pattern, in alphabetical order, that fits the end of a module path decides.
Start loftq: over a base that is rounded in memory (model.base = nf4, int4, int2 ...) the change starts as what
rounding took away, as far as its rank reaches, and the base is rounded once more beside it. The fewer bits, the more
it gives. Over any other base it changes nothing. What is trained then belongs to this very base: it leaves merged
(hf, gguf), not as an adapter for the original weights.

## Pitfalls
A learning rate fit for full training is ten times too low here. Changing alpha or the scale rule after training
changes the model: an adapter is only right with the values it was trained with. Dropout is off outside
training, so merged and unmerged model agree. Merging into a quantised file rounds the change with the weight;
the certificate says by how much.";

/// LoRA, rsLoRA and LoRA+.
struct Lora;

/// The settings, read once.
struct Choice {
    rank: usize,
    alpha: f64,
    ranks: Patterns,
    alphas: Patterns,
}

impl Choice {
    /// Reads completed `values` for the layers that are adapted.
    fn read(values: &Values, chosen: &[&SiteDims]) -> Result<Self, MethodError> {
        let is_rank = |value: f64| value.fract() == 0.0 && (1.0..=LARGEST_RANK).contains(&value);
        let is_alpha = |value: f64| value.is_finite() && value > 0.0;
        let (ranks, alphas) = (values.table("rank_pattern"), values.table("alpha_pattern"));
        Ok(Self {
            rank: values.integer("rank").unsigned_abs() as usize,
            alpha: values.number("alpha"),
            ranks: Patterns::compile("rank_pattern", &ranks, chosen, "a whole number from 1 to 1024", is_rank)?,
            alphas: Patterns::compile("alpha_pattern", &alphas, chosen, "a number above 0", is_alpha)?,
        })
    }

    fn rank(&self, site: &SiteDims) -> usize {
        self.ranks.value(site).map_or(self.rank, |rank| rank as usize)
    }

    fn alpha(&self, site: &SiteDims) -> f64 {
        self.alphas.value(site).unwrap_or(self.alpha)
    }
}

impl Method for Lora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let values = values.complete(SETTINGS, "[method]")?;
        let chosen = targets::select(&values, sites)?;
        let choice = Choice::read(&values, &chosen)?;
        let lr_ratio = values.number("lora_plus_ratio");
        let slots = |site: &SiteDims| {
            let (rank, alpha) = (choice.rank(site), choice.alpha(site));
            let init = match values.text("init") {
                "gaussian" => Init::Gaussian { std: 1.0 / rank as f64 },
                _ => Init::KaimingUniform,
            };
            Slots {
                delta: Delta::Chain(Chain {
                    rank,
                    b: Factor::trained(Init::Zeros).with_lr_ratio(lr_ratio),
                    core: Core::None,
                    a: Factor::trained(init),
                }),
                scale: if values.flag("rslora") {
                    Scale::AlphaOverRootRank(alpha)
                } else {
                    Scale::AlphaOverRank(alpha)
                },
                dropout: values.number("dropout"),
                calibration: match values.text("start") {
                    "loftq" => Calibration::Repair {
                        rounds: values.integer("start_rounds").unsigned_abs() as usize,
                        from_nothing: false,
                        iterations: 4,
                        storage: None,
                        fisher_rows: 0,
                    },
                    _ => Calibration::None,
                },
                ..Slots::default()
            }
        };
        let adapters: Vec<(String, Slots)> = chosen.iter().map(|site| (site.name.clone(), slots(site))).collect();
        Ok(Plan { notes: notes(&chosen, &choice), adapters, insertions: Vec::new(), promote: Promote::None })
    }

    fn belongs_to_its_base(&self, values: &Values) -> bool {
        values.complete(SETTINGS, "[method]").is_ok_and(|values| values.text("start") == "loftq")
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let values = values.complete(SETTINGS, "[method]")?;
        let chosen = targets::select(&values, &dims.sites)?;
        let choice = Choice::read(&values, &chosen)?;
        let per_site = |site: &&SiteDims| (choice.rank(site) * (site.in_features + site.out_features)) as u64;
        Ok(chosen.iter().map(per_site).sum())
    }
}

/// A rank above the smaller side of a layer buys nothing.
fn notes(chosen: &[&SiteDims], choice: &Choice) -> Vec<String> {
    let side = |site: &SiteDims| site.in_features.min(site.out_features);
    let too_high: Vec<&&SiteDims> = chosen.iter().filter(|site| choice.rank(site) > side(site)).collect();
    match too_high.first() {
        None => Vec::new(),
        Some(site) => vec![format!(
            "rank {} is more than the {} that {} can use; {} of {} layers are concerned",
            choice.rank(site),
            side(site),
            site.name,
            too_high.len(),
            chosen.len()
        )],
    }
}
