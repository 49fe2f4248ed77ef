//! Parallel and scaled parallel bottleneck adapters.
//!
//! Paper: He et al. 2021, "Towards a Unified View of Parameter-Efficient Transfer Learning" (arXiv 2110.04366).
//!
//! ```text
//! y = f(x) + s · (act(x W_dᵀ + b_d) W_uᵀ + b_u)      f: MLP or attention of a block, x its normed input (.., d)
//! trained: W_d (width, d), b_d, W_u (d, width), b_u      start: W_u = 0      frozen: everything else
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::points::{self, ACTIVATION, BIASES, BlockDims, SHARE, START, WIDTH};
use crate::settings::{CHOICE, LAYERS, NUMBER};
use temper_nn::Point;
use temper_nn::insertion::Bottleneck;
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &ParAdapter;

/// Factor on a parallel adapter.
pub(crate) const SCALE: Setting = Setting {
    key: "scale",
    label: "Scale",
    default: "4",
    min: Some(0.0),
    max: Some(64.0),
    help: "factor on the adapter's result; 1 is the plain parallel adapter, the paper's best is 4",
    ..NUMBER
};

const SETTINGS: &[Setting] = &[
    WIDTH,
    SCALE,
    Setting {
        key: "placement",
        label: "Placement",
        default: "mlp",
        choices: &["mlp", "attention", "both"],
        help: "which half of a block gets one beside it; beside the MLP it does best",
        ..CHOICE
    },
    ACTIVATION,
    START,
    BIASES,
    SHARE,
    LAYERS,
];

const DECLARED: Declared = Declared {
    id: "par-adapter",
    kind: Kind::Insertion,
    family: "bottleneck",
    families: &["decoder", "encoder"],
    bases: &[],
    title: "Parallel adapter",
    summary: "A narrow two-layer net beside the MLP of each block, its result scaled and added.",
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
    waivers: &[Waiver {
        clause: "merge",
        reason: "there is a function between its two layers, so no weight can hold it",
    }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Beside the MLP of each block (or its attention) stands a narrow net that reads the same normed input; its result, times
the scale, is added to that of the MLP. W_u starts at zero, so the model is unchanged at first. LoRA on the whole half
would be the same without the function in between.

## What it costs
2 · d · width + width + d numbers per place, with d the features of the stream. The net stays in the model for good.

## When to use it
The strongest single placement of the unified view: beside the MLP, wide and scaled. On hard generation tasks it came
closer to full training than prefixes, sequential adapters and LoRA of the same size. On the bundled model, which had to
learn texts read backwards (width 32, 120 steps, each at the best of five rates, mean of five seeds), the order is that of
the paper: 1.059 nats behind the MLP, 1.049 beside it, 0.951 beside it and scaled by 4. Scaling is what
counts: unscaled, the two are within 0.01, and after 40 steps the one beside the MLP was behind (2.08 against 2.05).

## Settings worth knowing
Scale: a tuned constant beats a trained one; the paper used 4 for summaries and translation, 2 for classification. It
acts like a factor on the learning rate of the second layer. Width: the paper went up to 512 for d = 1024.

## Pitfalls
It cannot be merged: what is exported is an adapter folder of this program, which other programs do not read. A scale of
0 trains nothing.";

/// Parallel adapters.
struct ParAdapter;

/// The blocks, and what each of them gets.
fn chosen(values: &Values, sites: &[SiteDims]) -> Result<(Vec<BlockDims>, Vec<Bottleneck>), MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let (width, scale) = (points::size(&values, "width"), values.number("scale"));
    let beside = |from: Point, to: Point| points::bottleneck(&values, (from, to), width, scale);
    let attention = beside(Point::AttnIn, Point::AttnOut);
    let mlp = beside(Point::MlpIn, Point::MlpOut);
    let at = match values.text("placement") {
        "attention" => vec![attention],
        "both" => vec![attention, mlp],
        _ => vec![mlp],
    };
    Ok((points::blocks(&values, sites)?, at))
}

impl Method for ParAdapter {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let (blocks, at) = chosen(values, sites)?;
        Ok(Plan::inserting(points::in_blocks(&blocks, &at)))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let (blocks, at) = chosen(values, &dims.sites)?;
        Ok(points::count(&blocks, &at))
    }
}
