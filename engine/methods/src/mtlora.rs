//! MTLoRA: LoRA that all tasks share, and low-rank changes of single tasks in the last block.
//!
//! Paper: Agiza et al. 2024, "MTLoRA: A Low-Rank Adaptation Approach for Efficient Multi-Task Learning" (arXiv 2403.20320).
//!
//! ```text
//! shared:  y = W x + s · B A x, everywhere      task t, in the last block's attention output and MLP:
//! matrix:  y_t = W x + s · B_t A_t x_t          matrix-v2:  y_t = W x + s · B A x + s · B_t A_t x_t
//! x: the shared stream, x_t: that of the task, which leaves it in this block and ends at the task's head
//! ```
//!
//! | symbol   | shape              | meaning                                       |
//! |----------|--------------------|-----------------------------------------------|
//! | A, B     | (r, in), (out, r)  | trained, shared by all tasks, B = 0 at start  |
//! | A_t, B_t | (r_t, in), (out, r_t) | trained, of one task, B_t = 0 at start     |
//! | W        | (out, in)          | frozen; norms are trained when asked for      |

use crate::common;
use crate::error::MethodError;
use crate::method::{Method, ModelDims, Plan, Promote, SiteDims};
use crate::points::{self, BlockDims, TASKS};
use crate::settings::{CHOICE, DROPOUT, EXCLUDE, NUMBER, RANK, TARGETS};
use crate::targets;
use temper_nn::insertion::{Branch, Branched, TaskLowRank};
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{Declared, Kind, Paper, Setting, Values, Waiver};

/// The registry entry.
pub const METHOD: &dyn Method = &MtLora;

const SETTINGS: &[Setting] = &[
    TASKS,
    Setting { label: "Shared rank", ..RANK },
    Setting {
        key: "task_rank",
        label: "Rank of a task",
        default: "4",
        help: "inner width of the changes that one task has of its own",
        ..RANK
    },
    Setting {
        key: "scale",
        label: "Scale",
        default: "4",
        min: Some(0.001),
        max: Some(64.0),
        help: "factor on all changes, whatever their rank",
        ..NUMBER
    },
    Setting {
        key: "mode",
        label: "Task outputs",
        default: "matrix",
        choices: &["matrix", "matrix-v2"],
        help: "matrix: a layer's output for a task is that of the frozen weight and of the task's change; matrix-v2: the \
               shared change is in it, too",
        ..CHOICE
    },
    Setting {
        key: "also",
        label: "Trained with them",
        default: "norms",
        choices: &["nothing", "norms", "norms-and-patches"],
        help: "weights of the model that are trained whole: none, its norms, or the projection of patches too",
        ..CHOICE
    },
    TARGETS,
    EXCLUDE,
    Setting { default: "0.05", ..DROPOUT },
];

const DECLARED: Declared = Declared {
    id: "mtlora",
    kind: Kind::Insertion,
    family: "multi-task",
    families: &["encoder"],
    bases: &[],
    title: "MTLoRA",
    summary: "One LoRA for all tasks, and in the last block a small one for each: several heads over one encoder.",
    paper: Some(Paper {
        title: "MTLoRA: A Low-Rank Adaptation Approach for Efficient Multi-Task Learning",
        authors: "Agiza et al.",
        year: 2024,
        id: "arXiv 2403.20320",
    }),
    exports_as: &["native"],
    peft_type: None,
    mergeable: false,
    settings: SETTINGS,
    series: &[],
    waivers: &[Waiver {
        clause: "merge",
        reason: "in the last block each task has weights of its own, and one file holds one",
    }],
    docs: DOCS,
};

const DOCS: &str = "\
## What it does
All linear layers get LoRA that every task shares. In the last block, attention output and MLP have a further change of
low rank for each task: there the tasks part, and each goes to its own head. All changes start at zero.

## What it costs
Per layer rank · (in + out) shared numbers, per task task_rank · 12 · d more with an MLP of four times the width. Time is
that of LoRA and of half a block for each further task.

## When to use it
Several tasks over the same images, in one run and one model. Tasks that help each other gain by the shared part, those
that disagree by their own.

## Settings worth knowing
Tasks: names of the heads, `own` is the model's own; the losses of all are added. Shared rank: of the paper's models only
that with rank 64 beat full training. Scale is used as it is and does not shrink with the rank.

## Pitfalls
In the mode matrix a task's outputs miss the shared change of those three layers: the last one's would reach no task, so it
is left out. An adapter is right only with the mode it was trained with. The model is plain: the paper's parts tasks at the
end of each of four stages. Every task of the list is run for every batch. What leaves is an adapter folder of this program
with the task parts; the shared LoRA stays with the run.";

/// MTLoRA.
struct MtLora;

/// What a task changes in the last block, and the name of a layer that the shared change must leave alone.
fn chosen(values: &Values, sites: &[SiteDims]) -> Result<(BlockDims, Branch, Option<String>), MethodError> {
    let blocks = points::blocks(values, sites)?;
    let Some(last) = blocks.into_iter().next_back() else {
        return Err(MethodError::Nothing { what: "there is no block".to_owned(), exists: targets::describe(sites) });
    };
    let with_shared = values.text("mode") == "matrix-v2";
    let what = TaskLowRank { rank: points::size(values, "task_rank"), scale: values.number("scale"), with_shared };
    let unused = (!with_shared).then(|| format!("{}.mlp.down", last.stage));
    Ok((last, Branch { tasks: points::tasks(values)?, what: Branched::LowRank(what) }, unused))
}

fn promoted(values: &Values) -> Promote {
    let mut names = vec![r"layers\.\d+\.(attn|mlp)_norm".to_owned(), "norm".to_owned()];
    match values.text("also") {
        "norms" => Promote::Named(names),
        "norms-and-patches" => {
            names.push(r"embed\.patch".to_owned());
            Promote::Named(names)
        }
        _ => Promote::None,
    }
}

impl Method for MtLora {
    fn declared(&self) -> &'static Declared {
        &DECLARED
    }

    fn plan(&self, values: &Values, sites: &[SiteDims], _seed: u64) -> Result<Plan, MethodError> {
        let slots = |values: &Values, _: &SiteDims| Slots {
            delta: Delta::Chain(Chain {
                rank: common::rank(values),
                b: Factor::trained(Init::Zeros),
                core: Core::None,
                a: Factor::trained(Init::KaimingUniform),
            }),
            scale: Scale::Fixed(values.number("scale")),
            dropout: values.number("dropout"),
            ..Slots::default()
        };
        let mut plan = common::plan(SETTINGS, values, sites, slots)?;
        let values = values.complete(SETTINGS, "[method]")?;
        let (last, branch, unused) = chosen(&values, sites)?;
        plan.adapters.retain(|(name, _)| Some(name) != unused.as_ref());
        Ok(Plan { insertions: points::branches(&[last], &[branch]), promote: promoted(&values), ..plan })
    }

    fn trained_parameters(&self, values: &Values, dims: &ModelDims) -> Result<u64, MethodError> {
        let values = values.complete(SETTINGS, "[method]")?;
        let (last, branch, unused) = chosen(&values, &dims.sites)?;
        let targets = targets::select(&values, &dims.sites)?;
        let shared = targets.into_iter().filter(|site| Some(&site.name) != unused.as_ref());
        let shared: usize = shared.map(|site| common::rank(&values) * (site.in_features + site.out_features)).sum();
        let of_block = |part: &str| dims.sites.iter().find(|site| site.name == format!("{}.{part}", last.stage));
        let both = |site: &SiteDims| site.in_features + site.out_features;
        let task: usize = ["attn.o", "mlp.up", "mlp.down"].into_iter().filter_map(of_block).map(both).sum();
        let selector = promoted(&values).selector()?;
        let own: u64 = dims.own.iter().filter(|own| selector.selects(&own.name)).map(|own| own.entries).sum();
        Ok((shared + branch.tasks.len() * points::size(&values, "task_rank") * task) as u64 + own)
    }
}
