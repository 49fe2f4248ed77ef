//! TLoRA: the weight turned by a small structured matrix from the right, and a low-rank change beside it.
//!
//! Paper: Tao et al. 2025, "Transformed Low-rank Adaptation via Tensor Decomposition and Its Applications to Text-to-image
//! Models" (arXiv 2501.08727).
//!
//! ```text
//! in = I_0 · I_1 · I_2      T[i, j] = tr( Π_d A_d[:, :, i_d, j_d] ), A_d (R, R, I_d, I_d), T = I at start
//! y = (T x) Wᵀ + b + s · (drop(x) Aᵀ) Bᵀ      s = α / √r      trained: all A_d, A, B
//! loss + λ · Σ ‖A_d[r, r'] − I / R‖²
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, DROPOUT, EFFECTIVE_RANK, ENERGY, EXCLUDE, INTEGER, LAYERS, NUMBER, RANK, TARGETS};
use temper_nn::slots::{Chain, Core, Delta, ExtraLoss, Factor, Group, Init, Right, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Tlora;

/// A side of the ring may not be above this: its matrix has the square of it.
const LARGEST_SIDE: usize = 256;

const SETTINGS: &[Setting] = &[
    Setting { default: "1", help: "inner width of the change beside the turned weight", ..RANK },
    Setting { default: "1", help: "strength of the change: it is multiplied by alpha / √rank", ..ALPHA },
    Setting {
        key: "bond",
        label: "Links of the ring",
        default: "1",
        min: Some(1.0),
        max: Some(8.0),
        help: "how many links join the small matrices; numbers grow with its square, 1 makes a Kronecker product",
        ..INTEGER
    },
    TARGETS,
    EXCLUDE,
    LAYERS,
    DROPOUT,
    Setting {
        key: "identity",
        label: "Hold near the identity",
        default: "0",
        min: Some(0.0),
        max: Some(1e6),
        help: "factor of the squared distance of the small matrices from where the transform is the identity",
        advanced: true,
        ..NUMBER
    },
];

const DECLARED: Declared = Declared {
    id: "tlora",
    kind: Kind::Adapter,
    family: "transform",
    families: &[],
    bases: &[],
    title: "TLoRA",
    summary: "Turns the whole weight with a few small matrices and adds a thin change: full rank from few numbers.",
    paper: Some(Paper {
        title: "Transformed Low-rank Adaptation via Tensor Decomposition and Its Applications to Text-to-image Models",
        authors: "Tao et al.",
        year: 2025,
        id: "arXiv 2501.08727",
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
The inputs of a layer are turned by a matrix that is made of two or three small ones, the identity at first, before the
frozen weight sees them; beside it there is a low-rank change as LoRA's. The turned weight may differ from the old one in
all directions.

## What it costs
bond² · (I_0² + I_1² + I_2²) + rank · (in + out) trained numbers per layer, for sides that multiply to in and are as equal
as they get: 209 for 576 inputs, beside the change. A step applies the small matrices to pieces of the input, outside
the fused path; the whole matrix is formed only when a weight is merged.

## When to use it
Where the task recombines what a layer reads. Measured on a layer of 64 x 64, means of three seeds: of a goal turned by two
matrices of 8 x 8 the transform's 128 numbers leave nothing, LoRA of rank 1, 4 and 16 leaves 65, 35 and 8 % of the error; with a
term of rank 1 beside it the transform alone leaves 5 %, with rank 1 nothing. Of a goal of rank 4, LoRA of rank 4 leaves nothing
and TLoRA of rank 3 10 %.

## Pitfalls
With more than one link the published start makes all of them equal for ever; here they start apart, with the same
identity. Sides follow the divisors of the width: layers whose width has only large ones are left out. The change has full
rank, so that it leaves merged. The paper's other change beside the turned weight, a ring of matrices over both sides of the
layer (bond² times the sum of their sides in numbers), is not there: the change is LoRA's.";

/// TLoRA.
struct Tlora;

/// Sides as equal as they get; none where one is too large.
fn sides(width: usize) -> Option<[usize; 3]> {
    let split = |first: usize| {
        let (second, third) = common::divisors(width / first, -1);
        [first, second, third]
    };
    let firsts = (1..=width).take_while(|first| first * first * first <= width);
    let all = firsts.filter(|first| width.is_multiple_of(*first)).map(split);
    let best = all.min_by_key(|sides| sides.iter().map(|side| side * side).sum::<usize>())?;
    best.iter().all(|side| *side <= LARGEST_SIDE).then_some(best)
}

fn bond(values: &Values) -> usize {
    values.integer("bond").unsigned_abs() as usize
}

impl Method for Tlora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let mut plan = common::plan(SETTINGS, values, sites, |values, site| {
            let Some(sizes) = sides(site.in_features) else { return Slots::default() };
            let weight = values.number("identity");
            Slots {
                right: Right::Ring { sizes, bond: bond(values), group: Group::default() },
                delta: Delta::Chain(Chain {
                    rank: common::rank(values),
                    b: Factor::trained(Init::Zeros),
                    core: Core::None,
                    a: Factor::trained(Init::KaimingUniform),
                }),
                scale: Scale::AlphaOverRootRank(values.number("alpha")),
                dropout: values.number("dropout"),
                loss: if weight > 0.0 { ExtraLoss::Identity { weight } } else { ExtraLoss::None },
                ..Slots::default()
            }
        })?;
        let all = plan.adapters.len();
        plan.adapters.retain(|(_, slots)| slots.right != Right::None);
        let kept = plan.adapters.len();
        if kept == 0 {
            let exists = format!("widths with sides of at most {LARGEST_SIDE} can be split");
            return Err(MethodError::Nothing {
                what: "no chosen layer's width splits into small sides".to_owned(),
                exists,
            });
        }
        if kept < all {
            plan.notes.push(format!("{} layers are left out: their width has only large divisors", all - kept));
        }
        Ok(plan)
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            sides(site.in_features).map_or(0, |sides| {
                let ring: usize = sides.iter().filter(|side| **side > 1).map(|side| side * side).sum();
                bond(values) * bond(values) * ring + common::rank(values) * (site.in_features + site.out_features)
            })
        })
    }
}
