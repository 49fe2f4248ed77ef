//! Bottleneck adapters behind the halves of a block.
//!
//! Papers: Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP" (arXiv 1902.00751), behind both halves;
//! Pfeiffer et al. 2020, "AdapterFusion" (arXiv 2005.00247), behind the MLP alone. Sharing: Sung et al. 2021,
//! "VL-Adapter" (arXiv 2112.06825).
//!
//! ```text
//! h ← h + act(h W_dᵀ + b_d) W_uᵀ + b_u      h: what a half adds to the stream, (.., d)
//! trained: W_d (width, d), b_d, W_u (d, width), b_u      start: W_u = 0      frozen: everything else
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::points::{self, ACTIVATION, BIASES, BlockDims, SHARE, START, TASKS, WIDTH};
use crate::settings::{CHOICE, LAYERS};
use temper_nn::Point;
use temper_nn::insertion::{Bottleneck, BottleneckStart, Branch, Branched, Share, TaskBottleneck};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &Adapter;

const SETTINGS: &[Setting] = &[
    WIDTH,
    Setting {
        key: "placement",
        label: "Placement",
        default: "pfeiffer",
        choices: &["pfeiffer", "houlsby"],
        help: "pfeiffer: behind the MLP of each block; houlsby: behind attention and MLP, twice the parameters",
        ..CHOICE
    },
    ACTIVATION,
    START,
    BIASES,
    SHARE,
    Setting {
        key: "tasks",
        label: "Tasks",
        default: "",
        help: "encoders only: names of the heads whose tasks get adapters of their own, own is the model's own; empty: one \
               adapter for whatever is trained",
        advanced: true,
        ..TASKS
    },
    Setting {
        key: "share_tasks",
        label: "Shared by tasks",
        default: "none",
        choices: &["none", "down", "up", "both"],
        help: "which of the two layers is one set of numbers for all tasks of a block; both is one adapter for all, which \
               VL-Adapter recommends",
        advanced: true,
        ..CHOICE
    },
    LAYERS,
];

const DECLARED: Declared = Declared {
    id: "adapter",
    kind: Kind::Insertion,
    family: "bottleneck",
    families: &["decoder", "encoder"],
    bases: &[],
    title: "Bottleneck adapter",
    summary: "A narrow two-layer net behind each block's MLP, or behind both halves.",
    paper: Some(Paper {
        title: "Parameter-Efficient Transfer Learning for NLP",
        authors: "Houlsby et al.",
        year: 2019,
        id: "arXiv 1902.00751",
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
What the MLP of a block adds to the stream (with houlsby, also what its attention adds) passes a narrow net on its way:
h becomes h + act(h W_d + b_d) W_u + b_u. W_u starts at zero, so the model is unchanged at first.

## What it costs
2 · d · width + width + d numbers per place, with d the features of the stream: at width 64 about as much as LoRA of
rank 8 on the seven layers of a block. The net stays in the model for good, which costs some time in every pass, and a
block that has one leaves the fused path while training.

## When to use it
For comparison with the literature, and where the change should be a function of its own rather than a change of
weights. In the unified view of He et al. a parallel adapter does better at the same size: see par-adapter.

## Settings worth knowing
Placement: pfeiffer does nearly as well as houlsby with half the numbers. Shared layers: one set for all blocks. Tasks: on
an encoder with several heads each task can have its own adapters, or share a layer of them; VL-Adapter recommends one
adapter for all tasks (reduction 8, so a width of d / 8). A learning rate of 1e-4 to 1e-3.

## Pitfalls
It cannot be merged: what is exported is an adapter folder of this program, which other programs do not read. With the
start normal, switching it on changes the answers a little before the first step.";

/// Bottleneck adapters.
struct Adapter;

/// The blocks, and what each of them gets: for all tasks, and for single ones.
struct Chosen {
    blocks: Vec<BlockDims>,
    common: Vec<Bottleneck>,
    tasks: Vec<String>,
    own: Vec<TaskBottleneck>,
}

fn chosen(values: &Values, sites: &[SiteDims]) -> Result<Chosen, MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let behind = |point: Point| points::bottleneck(&values, (point, point), points::size(&values, "width"), 1.0);
    let mut at = vec![behind(Point::MlpOut)];
    if values.text("placement") == "houlsby" {
        at.insert(0, behind(Point::AttnOut));
    }
    let (blocks, tasks) = (points::blocks(&values, sites)?, points::tasks(&values)?);
    let share = points::share(&values, "share_tasks");
    // One adapter that all tasks share in both layers is one without tasks.
    if tasks.is_empty() || share == Share::Both {
        return Ok(Chosen { blocks, common: at, tasks: Vec::new(), own: Vec::new() });
    }
    if at.iter().any(|of| of.share != Share::None || of.start != BottleneckStart::ZeroUp) {
        let what = "adapters of single tasks share no layers between blocks and start at zero".to_owned();
        return Err(points::refused(what, "tasks", "leave share at none and start at zero-up, or tasks empty"));
    }
    let own = at.into_iter().map(|of| TaskBottleneck {
        adds: of.adds,
        width: of.width,
        activation: of.activation,
        scale: of.scale,
        bias: of.bias,
        share,
        generated: None,
    });
    Ok(Chosen { blocks, common: Vec::new(), tasks, own: own.collect() })
}

impl Method for Adapter {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let Chosen { blocks, common, tasks, own } = chosen(values, sites)?;
        let branch = |what| Branch { tasks: tasks.clone(), what: Branched::Bottleneck(what) };
        let own: Vec<Branch> = own.into_iter().map(branch).collect();
        let mut insertions = points::in_blocks(&blocks, &common);
        insertions.extend(points::branches(&blocks, &own));
        Ok(Plan::inserting(insertions))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let Chosen { blocks, common, tasks, own } = chosen(values, &dims.sites)?;
        let own: u64 = own.iter().map(|of| points::count_of_tasks(&blocks, tasks.len(), of)).sum();
        Ok(points::count(&blocks, &common) + own)
    }
}
