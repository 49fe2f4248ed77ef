//! SoKA: the change as a sum of Kronecker products that starts as the weight's own strongest ones, as many as its spectrum
//! asks for.
//!
//! Paper: Chong, Qu 2025, "Singular Value Decomposition on Kronecker Adaptation for Large Language Model" (arXiv
//! 2506.15251). No program of the authors was found: which matrix the start is taken from and how terms are counted is this
//! program's reading.
//!
//! ```text
//! out = a · b, in = c · d      W ≈ Σ σ_k U_k ⊗ V_k, the singular triplets of W laid out as (a c, b d)
//! terms: the fewest that hold τ of Σσ², or those before the bend of σ
//! y = x (W − s Σ U⁰_k ⊗ V⁰_k + s Σ U_k ⊗ V_k)ᵀ + b      U⁰, V⁰ with √σ each      trained: U, V
//! start "zero": U normal with variance 1 / (a c), V = 0, W untouched
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{CHOICE, EFFECTIVE_RANK, ENERGY, EXCLUDE, INTEGER, ITERATIONS, LAYERS, NUMBER, TARGETS};
use temper_nn::slots::{
    Action, Base, Calibration, Delta, Factor, Init, Kron, KronFactor, Rule, Scale, Scope, Score, Slots, When,
};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Soka;

/// The smaller divisor of a side may not be below this.
const LEAST_DIVISOR: usize = 4;

const SETTINGS: &[Setting] = &[
    Setting {
        key: "max_terms",
        label: "Most terms",
        default: "16",
        min: Some(1.0),
        max: Some(256.0),
        help: "Kronecker products a layer at most; with the start from the weight its spectrum decides how many there are",
        ..INTEGER
    },
    Setting {
        key: "start",
        label: "Start",
        default: "weight",
        choices: &["weight", "zero"],
        help: "weight: the weight's own strongest products, taken off it; zero: new ones beside it, all of them",
        ..CHOICE
    },
    Setting {
        key: "scale",
        label: "Scale",
        default: "1",
        min: Some(0.001),
        max: Some(1024.0),
        help: "strength: the sum is multiplied by it",
        ..NUMBER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    Setting {
        key: "energy",
        label: "Energy to hold",
        default: "0.9",
        min: Some(0.0),
        max: Some(0.999),
        help: "share of the weight's energy that the terms of a layer hold at least, as far as there are so many",
        advanced: true,
        ..NUMBER
    },
    Setting {
        key: "min_terms",
        label: "Fewest terms",
        default: "1",
        min: Some(1.0),
        max: Some(256.0),
        help: "Kronecker products a layer at least",
        advanced: true,
        ..INTEGER
    },
    ITERATIONS,
];

const DECLARED: Declared = Declared {
    id: "soka",
    kind: Kind::Adapter,
    family: "kronecker",
    families: &[],
    bases: &[],
    title: "SoKA",
    summary: "A sum of Kronecker products taken from the weight itself: many directions from few numbers.",
    paper: Some(Paper {
        title: "Singular Value Decomposition on Kronecker Adaptation for Large Language Model",
        authors: "Chong and Qu",
        year: 2025,
        id: "arXiv 2506.15251",
    }),
    exports_as: &["hf", "gguf"],
    peft_type: None,
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Both sides of each chosen weight are written as products of two numbers as equal as they get. The weight is decomposed into
Kronecker products, strongest first; the leading ones become the trained terms and are taken off the weight. Each layer
decides by its own spectrum how many it gets. With the start at zero the terms are new ones beside the whole weight.

## What it costs
terms · (a · c + b · d) trained numbers per layer, as much again for the start that is taken off. The count that is shown
before a run is for the most terms. Before training one decomposition per layer. The rows of the weight take the terms up on
their way into the product, so a step costs one product a layer more than the frozen one, whatever their number: on
SmolLM2 1.5 times the time of LoRA with as many numbers, which has nearly none.

## When to use it
For changes that repeat over the weight in blocks. On a small layer two terms solve a goal of two products with 256 numbers
where LoRA with 512 leaves half of it, and on a goal of low rank it is the other way round.

## Pitfalls
The number of terms is no rank: a term may have full rank, so compare by parameters. Started from the weight, old and new
terms share their number, which costs more than it gives where the change is another structure than the weight. Layers with
a side that has no divisors of 4 or more near its root are left out. There is no PEFT type for a sum of products: it leaves
merged. A term's entries are large beside LoRA's: a lower learning rate may be needed.";

/// SoKA.
struct Soka;

/// Rows and columns of U and V; none where a side splits too unevenly.
fn sizes(site: &SiteDims) -> Option<((usize, usize), (usize, usize))> {
    let ((a, b), (c, d)) = (common::divisors(site.out_features, -1), common::divisors(site.in_features, -1));
    (a.min(c) >= LEAST_DIVISOR).then_some(((a, c), (b, d)))
}

/// The most terms of a layer: no weight has more.
fn terms(values: &Values, ((a, c), (b, d)): ((usize, usize), (usize, usize))) -> usize {
    (values.integer("max_terms").unsigned_abs() as usize).min(a * c).min(b * d)
}

fn slots(values: &Values, (u_size, v_size): ((usize, usize), (usize, usize))) -> Slots {
    let from_weight = values.text("start") == "weight";
    let terms = terms(values, (u_size, v_size));
    let count = |key: &str| values.integer(key).unsigned_abs() as usize;
    let (u, v) = match from_weight {
        true => (Init::Calibrated, Init::Calibrated),
        false => (Init::Gaussian { std: ((u_size.0 * u_size.1) as f64).sqrt().recip() }, Init::Zeros),
    };
    let rule = Rule {
        when: When::Before,
        scope: Scope::Site,
        score: Score::Explained,
        action: Action::SetTerms { share: values.number("energy"), least: count("min_terms") },
    };
    Slots {
        base: if from_weight { Base::Residual } else { Base::Original },
        calibration: match from_weight {
            true => Calibration::Kronecker { iterations: count("iterations") },
            false => Calibration::None,
        },
        delta: Delta::Kron(Kron {
            terms,
            u_size,
            v_size,
            u: KronFactor::Full(Factor::trained(u)),
            v: KronFactor::Full(Factor::trained(v)),
            decompose_factor: -1,
        }),
        scale: Scale::Fixed(values.number("scale")),
        rules: if from_weight { vec![rule] } else { Vec::new() },
        ..Slots::default()
    }
}

impl Method for Soka {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let mut plan = common::plan(SETTINGS, values, sites, |values, site| {
            sizes(site).map_or_else(Slots::default, |sizes| slots(values, sizes))
        })?;
        let all = plan.adapters.len();
        plan.adapters.retain(|(_, slots)| slots.delta != Delta::None);
        let kept = plan.adapters.len();
        if kept == 0 {
            let exists = format!("sides whose smaller divisor is {LEAST_DIVISOR} at least can be split");
            return Err(MethodError::Nothing {
                what: "no chosen layer splits into Kronecker products".to_owned(),
                exists,
            });
        }
        if kept < all {
            plan.notes.push(format!("{} layers are left out: a side of theirs splits too unevenly", all - kept));
        }
        Ok(plan)
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            sizes(site).map_or(0, |sizes| {
                let ((a, c), (b, d)) = sizes;
                terms(values, sizes) * (a * c + b * d)
            })
        })
    }
}
