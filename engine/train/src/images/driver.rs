//! Forward and backward over images, one stage at a time.
//!
//! As [`crate::driver`], which says how stages hand gradients to each other: every stage is a graph here, and the first
//! one takes images, which need no gradient. What norms of channels saw is handed back once a pass, so that a stage that
//! is run again for its gradient is not counted twice. A part of a run that imitates the model as its file has it does so
//! through [`crate::imitate`], as for texts.

use crate::driver::{FlowGradient, Inputs, seed_of};
use crate::error::Result;
use crate::imitate::{Away, ParentStates};
use candle_core::{D, Tensor};
use std::collections::BTreeMap;
use temper_methods::Imitation;
use temper_models::{Flow, Labels, Seen, VisionModel};
use temper_nn::ops::IGNORE;
use temper_nn::{ForwardContext, Grads, Param};

/// The images of one forward pass.
#[derive(Debug, Clone)]
pub struct Pictures {
    /// (batch, channels, height, width), normalised.
    pub pixels: Tensor,
    /// Their classes, for one task or for several at once, whose losses are added.
    pub labels: Vec<Labels>,
    /// Shape and noise.
    pub ctx: ForwardContext,
}

/// What a micro-step measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageLoss {
    /// Sum of the cross-entropy over labelled images and tasks, nats.
    pub loss_sum: f64,
    /// Sum of the adapters' extra losses.
    pub extra_loss: f64,
    /// While it imitates: sum over labelled images and tasks of the divergence from its parent, nats; else 0.
    pub divergence: f64,
    /// While it imitates features: sum over labelled images of their mean squared distance from its parent's; else 0.
    pub features: f64,
    /// Labelled images whose class had the largest logit, over all tasks.
    pub correct: usize,
    /// Labelled images, over all tasks.
    pub labelled: usize,
    /// What norms of channels saw.
    pub buffers: BTreeMap<String, Seen>,
}

/// Drives the stages of a vision model. Knows which parameters belong to which stage.
pub struct ImageDriver {
    stages: Vec<Vec<Param>>,
    head: Vec<Param>,
    /// Lowest stage with something to train; their number when only the head is trained.
    lowest: usize,
    /// Whether activations are computed again in the backward pass.
    recompute: bool,
    /// What is learnt from the model as its file has it.
    imitation: Option<Imitation>,
}

/// What the forward pass keeps of a stage.
enum Kept {
    Input(Flow),
    Graph { inputs: Inputs, output: Flow },
}

/// A stage of the backward pass: its number, what is kept of it, how far its output is from a parent's.
type Visit = (usize, Kept, Option<Away>);

impl ImageDriver {
    /// A driver of `model` as it is now: to be made anew when parameters come or go.
    #[must_use]
    pub fn new(model: &VisionModel, recompute: bool) -> Self {
        let stages: Vec<Vec<Param>> = model.stages.iter().map(|stage| stage.params()).collect();
        let lowest = stages.iter().position(|params| !params.is_empty()).unwrap_or(stages.len());
        Self { stages, head: model.head_params(), lowest, recompute, imitation: None }
    }

    /// From here on the loss is that of an imitation, or the cross-entropy alone.
    pub fn imitate(&mut self, imitation: Option<Imitation>) {
        self.imitation = imitation;
    }

    /// Runs one micro-step: adds the gradients of `scale · (sum of losses) + extra_scale · (extra losses)` to `grads`.
    ///
    /// # Errors
    /// Shapes that do not fit, or classes that do not exist.
    pub fn micro_step(
        &self,
        model: &VisionModel,
        batch: &Pictures,
        (scale, extra_scale): (f64, f64),
        grads: &mut Grads,
    ) -> Result<ImageLoss> {
        let mut measured = ImageLoss::default();
        let parent = self.imitation.map(|imitation| ParentStates::of_images(model, batch, imitation)).transpose()?;
        let (mut kept, last) = self.forward(model, batch, parent.as_ref(), &mut measured)?;
        let (inputs, flow) =
            if self.lowest < self.stages.len() { Inputs::track(last)? } else { (Inputs::default(), last) };
        let loss = self.losses(model, &flow, batch, parent.as_ref(), &mut measured)?;
        let mut store = loss.affine(scale, 0.0)?.backward()?;
        drop((loss, flow, parent));
        grads.collect(&self.head, &mut store)?;
        let mut gradient = inputs.gradients(&mut store);
        drop((store, inputs));
        while let Some((stage, kept, away)) = kept.pop() {
            if let Some(away) = away {
                measured.features += away.sum;
                gradient.add(&away.gradient, scale)?;
            }
            let (inputs, output) = match kept {
                Kept::Graph { inputs, output } => (inputs, output),
                Kept::Input(input) => self.run(model, stage, input, &batch.ctx)?,
            };
            if let Some(extra) = &output.extra_loss {
                measured.extra_loss += f64::from(extra.to_scalar::<f32>()?);
            }
            let Some(seed) = seed_of(&output, &gradient, extra_scale)? else {
                gradient = FlowGradient::default();
                continue;
            };
            drop(output);
            let mut store = seed.backward()?;
            drop(seed);
            if let Some(params) = self.stages.get(stage) {
                grads.collect(params, &mut store)?;
            }
            gradient = inputs.gradients(&mut store);
        }
        Ok(measured)
    }

    /// Up to the head: what was kept of each stage from the lowest trained one up, and the last output.
    fn forward(
        &self,
        model: &VisionModel,
        batch: &Pictures,
        parent: Option<&ParentStates>,
        measured: &mut ImageLoss,
    ) -> Result<(Vec<Visit>, Flow)> {
        let mut flow = Flow::new(batch.pixels.clone());
        let mut kept = Vec::with_capacity(self.stages.len());
        // The stem, number 0, is no block.
        let away = |number: usize, flow: &Flow| match (parent, number.checked_sub(1)) {
            (Some(parent), Some(block)) => parent.away(block, &flow.hidden),
            _ => Ok(None),
        };
        for (number, stage) in model.stages.iter().enumerate() {
            flow.extra_loss = None;
            if number < self.lowest {
                flow = stage.forward(flow, &batch.ctx)?.detach();
                if let Some(extra) = &flow.extra_loss {
                    measured.extra_loss += f64::from(extra.to_scalar::<f32>()?);
                }
            } else if self.recompute {
                let input = flow.clone();
                flow = stage.forward(flow, &batch.ctx)?.detach();
                kept.push((number, Kept::Input(input), away(number, &flow)?));
            } else {
                let (inputs, output) = self.run(model, number, flow, &batch.ctx)?;
                flow = output.detach();
                kept.push((number, Kept::Graph { inputs, output }, away(number, &flow)?));
            }
            measured.buffers.append(&mut flow.buffers);
        }
        flow.extra_loss = None;
        Ok((kept, flow))
    }

    /// Sum of the losses of all tasks, a scalar.
    fn losses(
        &self,
        model: &VisionModel,
        flow: &Flow,
        batch: &Pictures,
        parent: Option<&ParentStates>,
        measured: &mut ImageLoss,
    ) -> Result<Tensor> {
        let mut sum: Option<Tensor> = None;
        for (number, labels) in batch.labels.iter().enumerate() {
            let logits = model.head.logits(flow, labels.task, &batch.ctx)?;
            let (correct, labelled) = count_correct(&logits, &labels.classes)?;
            measured.correct += correct;
            measured.labelled += labelled;
            let (loss, loss_sum, divergence) = match parent {
                Some(parent) => parent.loss_of_images(model, &logits, (number, labels))?,
                None => {
                    let loss = model.head.loss_of(&logits, labels)?;
                    let sum = f64::from(loss.to_scalar::<f32>()?);
                    (loss, sum, 0.0)
                }
            };
            measured.loss_sum += loss_sum;
            measured.divergence += divergence;
            sum = Some(match sum {
                Some(sum) => (sum + loss)?,
                None => loss,
            });
        }
        let Some(sum) = sum else {
            return Err(temper_protocol::Problem::internal("a batch of images has no labels".to_owned()).into());
        };
        Ok(sum)
    }

    /// Runs a stage so that its graph is recorded, from variables when a stage below needs their gradients.
    fn run(&self, model: &VisionModel, number: usize, input: Flow, ctx: &ForwardContext) -> Result<(Inputs, Flow)> {
        let Some(stage) = model.stages.get(number) else {
            return Err(temper_protocol::Problem::internal(format!("there is no stage {number}")).into());
        };
        let (inputs, input) = if number > self.lowest { Inputs::track(input)? } else { (Inputs::default(), input) };
        Ok((inputs, stage.forward(input, ctx)?))
    }
}

/// How many labelled images have their class at the largest of logits (batch, classes), and how many are labelled.
///
/// # Errors
/// A failing tensor operation.
pub fn count_correct(logits: &Tensor, classes: &[u32]) -> Result<(usize, usize)> {
    let best = logits.detach().argmax(D::Minus1)?.to_vec1::<u32>()?;
    let labelled = best.iter().zip(classes).filter(|(_, class)| **class != IGNORE);
    Ok(labelled.fold((0, 0), |(correct, all), (best, class)| (correct + usize::from(best == class), all + 1)))
}
