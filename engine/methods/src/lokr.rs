//! LoKr: the change as a Kronecker product of a small and a larger matrix.
//!
//! Papers: Edalati et al. 2022, "KronA: Parameter Efficient Tuning with Kronecker Adapter" (arXiv 2212.10650); Yeh et al.
//! 2023, "Navigating Text-To-Image Customization" (arXiv 2309.14859).
//!
//! ```text
//! out = a · b, in = c · d      ΔW = s · U ⊗ V      U (a, c), 0 at start      V (b, d), or V = V_b V_a of rank r
//! y = x Wᵀ + b + s · x (U ⊗ V)ᵀ                   s = α / r                  trained: U, V
//! ```

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::settings::{ALPHA, EFFECTIVE_RANK, ENERGY, EXCLUDE, FLAG, INTEGER, LAYERS, RANK, TARGETS};
use temper_nn::slots::{Delta, Factor, Init, Kron, KronFactor, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values};

/// The registry entry.
pub const METHOD: &dyn Method = &Lokr;

const SETTINGS: &[Setting] = &[
    Setting {
        default: "8",
        help: "inner width of the larger side; from half its longer edge on it is kept whole",
        ..RANK
    },
    Setting { default: "16", ..ALPHA },
    TARGETS,
    EXCLUDE,
    LAYERS,
    Setting {
        key: "decompose_factor",
        label: "Size of the small side",
        default: "-1",
        min: Some(-1.0),
        max: Some(1024.0),
        help: "the small side gets at most this many rows and columns; -1 makes both sides as equal as they get",
        advanced: true,
        ..INTEGER
    },
    Setting {
        key: "decompose_both",
        label: "Thin factors on both sides",
        help: "let the small side be a product of thin factors too where it is large enough",
        advanced: true,
        ..FLAG
    },
];

const DECLARED: Declared = Declared {
    id: "lokr",
    kind: Kind::Adapter,
    family: "kronecker",
    families: &[],
    bases: &[],
    title: "LoKr",
    summary: "The change as a Kronecker product: full rank possible from very few numbers.",
    paper: Some(Paper {
        title: "KronA: Parameter Efficient Tuning with Kronecker Adapter",
        authors: "Edalati et al.",
        year: 2022,
        id: "arXiv 2212.10650",
    }),
    exports_as: &["peft", "hf", "gguf"],
    peft_type: Some("LOKR"),
    mergeable: true,
    settings: SETTINGS,
    series: &[EFFECTIVE_RANK, ENERGY],
    waivers: &[],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Both sides of each chosen weight are written as products, out = a · b and in = c · d. The change is the Kronecker product
of a matrix U (a, c) and a matrix V (b, d): V repeated with the entries of U as weights. V may itself be a product of two
thin factors. U starts at zero. The rank of the change is the product of both ranks, so it can be full.

## What it costs
a · c + rank · (b + d) trained numbers per layer, or b · d instead where the rank is large: a few hundred to a few
thousand. The rows of the weight take the change up on their way into the product and the gradient of the whole
weight is made some rows at a time: one product a layer more than the frozen one. Spectra are measured in turn.

## When to use it
Where files must be small and the change may have many directions that repeat over the weight. A structured change is
found with very few numbers, an unstructured one better with LoRA.

## Pitfalls
How sides are split follows PEFT's rule: divisors as close to each other as they get, or at most the size given. A side
of prime length leaves a factor of 1 and makes V as large as the weight. The alpha is divided by the rank even where V is
whole and no rank is in use.";

/// LoKr.
struct Lokr;

impl Method for Lokr {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        common::plan(SETTINGS, values, sites, |values, site| {
            let Split { u, v } = Split::of(values, site);
            Slots {
                delta: Delta::Kron(Kron {
                    terms: 1,
                    u_size: u.size,
                    v_size: v.size,
                    u: u.factor(Init::Zeros),
                    v: v.factor(Init::KaimingUniform),
                    decompose_factor: values.integer("decompose_factor") as i32,
                }),
                scale: Scale::Fixed(values.number("alpha") / common::rank(values) as f64),
                ..Slots::default()
            }
        })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        common::sum(SETTINGS, values, dims, |values, site| {
            let Split { u, v } = Split::of(values, site);
            u.entries() + v.entries()
        })
    }
}

/// How the weight of a layer is split.
struct Split {
    u: Side,
    v: Side,
}

/// One side of the product.
struct Side {
    size: (usize, usize),
    /// Rank of its thin factors; none where it is whole.
    rank: Option<usize>,
}

impl Split {
    /// PEFT's rule: a side is whole from half of its longer edge on, the small one also unless both may be thin.
    fn of(values: &Values, site: &SiteDims) -> Self {
        let (rank, factor) = (common::rank(values), values.integer("decompose_factor"));
        let ((a, b), (c, d)) =
            (common::divisors(site.out_features, factor), common::divisors(site.in_features, factor));
        let thin = |rows: usize, cols: usize| (2 * rank < rows.max(cols)).then_some(rank);
        let both = values.flag("decompose_both");
        let small = if both { thin(a, c) } else { None };
        Self { u: Side { size: (a, c), rank: small }, v: Side { size: (b, d), rank: thin(b, d) } }
    }
}

impl Side {
    /// Where thin, `init` is the outer factor's if that makes the side zero; the inner one is random.
    fn factor(&self, init: Init) -> KronFactor {
        match self.rank {
            None => KronFactor::Full(Factor::trained(init)),
            Some(rank) => {
                KronFactor::Product { rank, outer: Factor::trained(init), inner: Factor::trained(Init::KaimingUniform) }
            }
        }
    }

    fn entries(&self) -> usize {
        let (rows, cols) = self.size;
        self.rank.map_or(rows * cols, |rank| rank * (rows + cols))
    }
}
