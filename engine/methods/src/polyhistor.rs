//! Polyhistor: bottleneck adapters for several tasks, generated from a small vector for each.
//!
//! Paper: Liu et al. 2022, "Polyhistor: Parameter-Efficient Multi-Task Adaptation for Dense Vision Tasks" (arXiv 2210.03265).
//! No program was published: the formulas are read from the paper's text, starts and sizes are ours.
//!
//! ```text
//! task t, block l:  h ← h + act(h D_tᵀ) U_tᵀ      D_t = S_D ⊗ (L_D(v_t) R_D(v_t))      U_t = S_U ⊗ (L_U(v_t) R_U(v_t))
//! trained: v_t (k), L, R linear in v_t for all blocks and tasks, S (m, m) for each block      frozen: everything else
//! L_U = 0 at the start; D_t (width, d), L_D(v) (width/m, q), R_D(v) (q, d/m); U_t likewise
//! ```

use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, SiteDims};
use crate::points::{self, ACTIVATION, BlockDims, TASKS};
use crate::settings::{CHOICE, INTEGER, LAYERS};
use temper_nn::Point;
use temper_nn::insertion::{Branch, Branched, Generated, Share, TaskBottleneck};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &Polyhistor;

const SETTINGS: &[Setting] = &[
    TASKS,
    Setting {
        key: "reduction",
        label: "Reduction",
        default: "4",
        min: Some(1.0),
        max: Some(256.0),
        help: "the adapters are this much narrower than the stream",
        ..INTEGER
    },
    Setting {
        key: "task_width",
        label: "Numbers a task",
        default: "64",
        min: Some(1.0),
        max: Some(4096.0),
        help: "size of the vector that stands for a task",
        ..INTEGER
    },
    Setting {
        key: "rank",
        label: "Rank",
        default: "8",
        min: Some(1.0),
        max: Some(256.0),
        help: "rank of the matrix that a vector makes, before it is scaled to a block",
        ..INTEGER
    },
    Setting {
        key: "copies",
        label: "Scaling of a block",
        default: "2",
        min: Some(1.0),
        max: Some(64.0),
        help: "side of the matrix of each block whose entries weigh copies of the generated one: the larger, the fewer \
               numbers are generated; divides the width of stream and adapters",
        ..INTEGER
    },
    Setting {
        key: "placement",
        label: "Placement",
        default: "both",
        choices: &["mlp", "both"],
        help: "behind the MLP of a block alone, or behind its attention too",
        ..CHOICE
    },
    Setting { default: "gelu", ..ACTIVATION },
    LAYERS,
];

const DECLARED: Declared = Declared {
    id: "polyhistor",
    kind: Kind::Insertion,
    family: "multi-task",
    families: &["encoder"],
    bases: &[],
    title: "Polyhistor",
    summary: "Adapters for several tasks out of a few numbers each: small networks make them, blocks scale them.",
    paper: Some(Paper {
        title: "Polyhistor: Parameter-Efficient Multi-Task Adaptation for Dense Vision Tasks",
        authors: "Liu et al.",
        year: 2022,
        id: "arXiv 2210.03265",
    }),
    exports_as: &["native"],
    peft_type: None,
    mergeable: false,
    settings: SETTINGS,
    series: &[],
    waivers: &[Waiver {
        clause: "merge",
        reason: "there is a function between the two layers of an adapter, so no weight can hold it",
    }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
Each task has a short vector. Two pairs of linear maps, the same for all blocks and tasks, make small matrices of it; each
block weighs copies of them by a matrix of its own, and what comes out are the two layers of a bottleneck behind attention
and MLP. Each task goes its own way through the model from the first such block on, to its own head.

## What it costs
Per task k numbers, per place 2 · k · q · (d + width) / m for all blocks and tasks together and 2 · m² a block. Time grows
with the number of tasks: every one runs all blocks.

## When to use it
Several related tasks over one frozen encoder, with little room for each: the paper came close to adapters of ten times
the size. For one task take `adapter`, for more freedom a task `mtlora`.

## Settings worth knowing
Tasks: names of the heads, `own` is the model's own. Numbers a task and rank decide how different tasks can be. A
vector is trained with everything else; it and the maps take a small share of the learning rate, so that generated layers
move as fast as trained ones would.

## Pitfalls
No program of the authors was published: starts and sizes here are ours, and figures of the paper are not to be expected
to the digit. That generated adapters do no worse than independent ones of the same size where tasks are related is not seen
here: on three related tasks over a small random encoder, 64 images each, 1992 generated numbers get 0.387 of other images
wrong and 1980 of independent adapters 0.356 (means of three seeds; one adapter for all tasks of a third of the size 0.318).
All tasks of a batch are run, also those without labels in it. Generated layers leave as plain ones in an
adapter folder of this program; no merged model can hold them.";

/// Polyhistor.
struct Polyhistor;

/// The blocks, and what each of them gets.
fn chosen(values: &Values, sites: &[SiteDims]) -> Result<(Vec<BlockDims>, Vec<Branch>), MethodError> {
    let values = values.complete(SETTINGS, "[method]")?;
    let blocks = points::blocks(&values, sites)?;
    let hidden = blocks.first().map_or(1, |block| block.hidden);
    let generated = Generated {
        task_width: points::size(&values, "task_width"),
        rank: points::size(&values, "rank"),
        copies: points::size(&values, "copies"),
    };
    let width = (hidden / points::size(&values, "reduction").max(1)).max(1);
    if !width.is_multiple_of(generated.copies) || !hidden.is_multiple_of(generated.copies) {
        let what = format!("copies = {} does not divide {hidden} features and a width of {width}", generated.copies);
        return Err(points::refused(what, "copies", "choose a number that divides both, such as 1"));
    }
    let tasks = points::tasks(&values)?;
    let at = |adds: Point| Branch {
        tasks: tasks.clone(),
        what: Branched::Bottleneck(TaskBottleneck {
            adds,
            width,
            activation: points::activation(&values),
            scale: 1.0,
            bias: false,
            share: Share::None,
            generated: Some(generated.clone()),
        }),
    };
    let both = [at(Point::AttnOut), at(Point::MlpOut)];
    let branches = both.into_iter().skip(usize::from(values.text("placement") == "mlp")).collect();
    Ok((blocks, branches))
}

impl Method for Polyhistor {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let (blocks, branches) = chosen(values, sites)?;
        Ok(Plan::inserting(points::branches(&blocks, &branches)))
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let (blocks, branches) = chosen(values, &dims.sites)?;
        let hidden = blocks.first().map_or(0, |block| block.hidden);
        let mut sum = 0;
        for (place, branch) in branches.iter().enumerate() {
            let Branched::Bottleneck(TaskBottleneck { width, generated: Some(generated), .. }) = &branch.what else {
                continue;
            };
            let Generated { task_width: k, rank: q, copies: m } = *generated;
            let vectors = if place == 0 { branch.tasks.len() * k } else { 0 };
            sum += vectors + 2 * k * q * (hidden + width) / m + blocks.len() * 2 * m * m;
        }
        Ok(sum as u64)
    }
}
