//! What methods that insert something into stages share: the blocks of a model, settings of bottlenecks, their sizes.
//!
//! Place in the data flow: method files of kind insertion call these from `plan` and `trained_parameters`.

use crate::error::MethodError;
use crate::method::SiteDims;
use crate::settings::{CHOICE, FLAG, INTEGER, LAYERS};
use crate::targets::{describe, parse_layers};
use temper_nn::insertion::{Activation, Bottleneck, BottleneckStart, Branch, Share, TaskBottleneck};
use temper_nn::{Insert, Insertion, Point};
use temper_protocol::{Code, Problem, Setting, Values};

/// A block as methods that insert something see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockDims {
    /// Name of its stage.
    pub stage: String,
    /// Features of the stream.
    pub hidden: usize,
    /// Features of its keys, all key heads together.
    pub keys: usize,
}

/// The blocks that the setting `layers` picks, all without that setting.
///
/// # Errors
/// A list that cannot be read, or a model without blocks of attention.
pub fn blocks(values: &Values, sites: &[SiteDims]) -> Result<Vec<BlockDims>, MethodError> {
    let count = sites.iter().filter_map(|site| site.layer).max().map_or(0, |last| last + 1);
    let layers = parse_layers(&values.list("layers").join(","), count)?;
    let chosen = |layer: usize| layers.as_ref().is_none_or(|layers| layers.contains(&layer));
    let blocks: Vec<BlockDims> = (0..count)
        .filter(|layer| chosen(*layer))
        .filter_map(|layer| {
            let stage = format!("layers.{layer}");
            let keys = format!("{stage}.attn.k");
            let site = sites.iter().find(|site| site.name == keys)?;
            Some(BlockDims { stage, hidden: site.in_features, keys: site.out_features })
        })
        .collect();
    if blocks.is_empty() {
        let what = "there is no block with an attention to insert anything into".to_owned();
        return Err(MethodError::Nothing { what, exists: describe(sites) });
    }
    Ok(blocks)
}

/// Width of bottlenecks.
pub const WIDTH: Setting = Setting {
    key: "width",
    label: "Width",
    default: "64",
    min: Some(1.0),
    max: Some(16384.0),
    help: "features between the two layers; parameters and time grow with it",
    ..INTEGER
};

/// The function inside a bottleneck.
pub const ACTIVATION: Setting = Setting {
    key: "activation",
    label: "Function",
    default: "relu",
    choices: &["relu", "gelu", "silu"],
    help: "the function between the two layers",
    advanced: true,
    ..CHOICE
};

/// First values of a bottleneck.
pub const START: Setting = Setting {
    key: "start",
    label: "Start",
    default: "zero-up",
    choices: &["zero-up", "normal"],
    help: "zero-up: the second layer is zero, so that nothing is changed at first; normal: both are small random numbers, \
           as in the first papers, which changes the model a little before the first step",
    advanced: true,
    ..CHOICE
};

/// Whether bottlenecks have biases.
pub const BIASES: Setting = Setting {
    key: "bias",
    label: "Biases",
    default: "true",
    help: "a trained shift behind each of the two layers",
    advanced: true,
    ..FLAG
};

/// What the blocks have in common.
pub const SHARE: Setting = Setting {
    key: "share",
    label: "Shared layers",
    default: "none",
    choices: &["none", "down", "up", "both"],
    help: "which of the two layers is one set of numbers for all blocks: fewer parameters, less freedom",
    advanced: true,
    ..CHOICE
};

/// Which tasks get something of their own.
pub const TASKS: Setting = Setting {
    key: "tasks",
    label: "Tasks",
    default: OWN,
    help: "names of the heads whose tasks get a path of their own; own is the model's own head",
    advanced: false,
    ..LAYERS
};

/// How the model's own head is called in [`TASKS`]; in a model its name is empty.
pub const OWN: &str = "own";

/// A refusal of a setting.
#[must_use]
pub fn refused(what: String, setting: &str, action: &str) -> MethodError {
    MethodError::Setting(Problem::new(Code::MethodInvalid, what, format!("method.{setting}"), action))
}

/// Names of the tasks of the setting `tasks`, as the model's heads have them; none for an empty list.
///
/// # Errors
/// A name that stands there twice.
pub fn tasks(values: &Values) -> Result<Vec<String>, MethodError> {
    let mut all: Vec<String> = Vec::new();
    let listed = values.list("tasks").join(",");
    for task in listed.split(',').map(str::trim).filter(|task| !task.is_empty()) {
        let name = if task == OWN { String::new() } else { task.to_owned() };
        if all.contains(&name) {
            return Err(refused(format!("the task {task} is listed twice"), "tasks", "name each task once"));
        }
        all.push(name);
    }
    Ok(all)
}

/// The same in each block.
#[must_use]
pub fn branches(blocks: &[BlockDims], branches: &[Branch]) -> Vec<Insertion> {
    let all = blocks.iter().flat_map(|block| branches.iter().map(move |branch| (block, branch)));
    all.map(|(block, branch)| Insertion { stage: block.stage.clone(), what: Insert::Branch(branch.clone()) }).collect()
}

/// A setting that says what is shared.
#[must_use]
pub fn share(values: &Values, key: &str) -> Share {
    match values.text(key) {
        "down" => Share::Down,
        "up" => Share::Up,
        "both" => Share::Both,
        _ => Share::None,
    }
}

/// Numbers of bottlenecks of so many tasks in these blocks; what the tasks share counts once a block.
#[must_use]
pub fn count_of_tasks(blocks: &[BlockDims], tasks: usize, of: &TaskBottleneck) -> u64 {
    let (width, bias) = (of.width, usize::from(of.bias));
    let times = |shared: bool| if shared { tasks.min(1) } else { tasks };
    let down = times(matches!(of.share, Share::Down | Share::Both));
    let up = times(matches!(of.share, Share::Up | Share::Both));
    let block = |block: &BlockDims| down * width * (block.hidden + bias) + up * block.hidden * (width + bias);
    blocks.iter().map(block).sum::<usize>() as u64
}

/// The bottleneck that the settings describe; what a method has no setting for is as [`ACTIVATION`], [`START`],
/// [`BIASES`] and [`SHARE`] have it by default.
#[must_use]
pub fn bottleneck(values: &Values, (reads, adds): (Point, Point), width: usize, scale: f64) -> Bottleneck {
    Bottleneck {
        reads,
        adds,
        width,
        activation: activation(values),
        scale,
        start: if values.text("start") == "normal" { BottleneckStart::Normal } else { BottleneckStart::ZeroUp },
        bias: !values.0.contains_key("bias") || values.flag("bias"),
        share: share(values, "share"),
    }
}

/// The setting `activation`.
#[must_use]
pub fn activation(values: &Values) -> Activation {
    match values.text("activation") {
        "gelu" => Activation::Gelu,
        "silu" => Activation::Silu,
        _ => Activation::Relu,
    }
}

/// A whole number that is no less than 0.
#[must_use]
pub fn size(values: &Values, key: &str) -> usize {
    values.integer(key).unsigned_abs() as usize
}

/// The same bottleneck in each block, at each of these places.
#[must_use]
pub fn in_blocks(blocks: &[BlockDims], at: &[Bottleneck]) -> Vec<Insertion> {
    let all = blocks.iter().flat_map(|block| at.iter().map(move |bottleneck| (block, bottleneck)));
    all.map(|(block, bottleneck)| Insertion {
        stage: block.stage.clone(),
        what: Insert::Bottleneck(bottleneck.clone()),
    })
    .collect()
}

/// Numbers of such bottlenecks: per place 2 · d · width, with biases width + d more; what is shared counts once.
#[must_use]
pub fn count(blocks: &[BlockDims], at: &[Bottleneck]) -> u64 {
    let mut sum = 0;
    for bottleneck in at {
        let (width, bias) = (bottleneck.width, usize::from(bottleneck.bias));
        let layer = |shared: bool, entries: &dyn Fn(usize) -> usize| -> usize {
            let counted = if shared { blocks.get(..1).unwrap_or_default() } else { blocks };
            counted.iter().map(|block| entries(block.hidden)).sum()
        };
        let down = layer(matches!(bottleneck.share, Share::Down | Share::Both), &|hidden| width * (hidden + bias));
        let up = layer(matches!(bottleneck.share, Share::Up | Share::Both), &|hidden| hidden * (width + bias));
        sum += (down + up) as u64;
    }
    sum
}
