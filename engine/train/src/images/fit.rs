//! The loop over steps, and the measure of what came out.

use super::attach::Attached;
use super::driver::{ImageDriver, Pictures, count_correct};
use super::skipping::{SearchPoint, Skipping};
use crate::error::Result;
use crate::saving::adamw;
use crate::schedule::Schedule;
use candle_core::{Device, Tensor};
use temper_data::images::{ImageSet, Normalise, order};
use temper_models::{Labels, VisionModel};
use temper_nn::rules::{At, take_step};
use temper_nn::{AdamW, ForwardContext, Grads, device};
use temper_protocol::project::Train;
use temper_protocol::{Code, Problem};

/// Images measured at a time.
const EVAL_BATCH: usize = 128;

/// Some images of a set, for one task of a model.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The set.
    pub set: &'a ImageSet,
    /// Their numbers in it.
    pub rows: &'a [u32],
    /// How their values become numbers around 0.
    pub normalise: &'a Normalise,
    /// Number of the head that learns their classes.
    pub task: usize,
}

/// How well a model tells classes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// Mean cross-entropy, nats an image.
    pub loss: f64,
    /// Share of images whose class had the largest logit.
    pub accuracy: f64,
    /// Images measured.
    pub images: usize,
}

/// What a training measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fitted {
    /// Mean loss of each step over its images, nats.
    pub losses: Vec<f64>,
    /// Norm of the gradient of each step, before clipping.
    pub grad_norms: Vec<f64>,
    /// Share of each step's images that were told right before the step.
    pub accuracies: Vec<f64>,
    /// How far each step that imitates the original was from it: the first ones, where a method asks for that.
    pub imitated: Vec<Imitated>,
    /// What a search for blocks to leave out saw.
    pub search: Vec<SearchPoint>,
    /// Names of the blocks that are left out in the end.
    pub left_out: Vec<String>,
}

/// How far a model is from the one that its file has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Imitated {
    /// Mean squared distance of the hidden states behind the blocks, 0 where they are not imitated.
    pub features: f64,
    /// Divergence of the original's predictions from the model's, nats an image and task.
    pub divergence: f64,
}

impl Images<'_> {
    /// The images of these rows as the model takes them.
    fn pictures(self, rows: &[u32], ctx: ForwardContext) -> Result<Pictures> {
        let batch = self.set.batch(rows, self.normalise);
        let pixels = Tensor::from_vec(batch.pixels, &batch.shape[..], &Device::Cpu)?.to_device(&device::current())?;
        Ok(Pictures { pixels, labels: vec![Labels { task: self.task, classes: batch.classes.into() }], ctx })
    }
}

/// Trains what a method put on a model for `train.steps` steps of `train.batch` times `train.accumulate` images. Every
/// pass goes over all images in an order of its own; the same seed gives the same bytes. Where a method imitates the model
/// as its file has it, the first steps do. Where it searches for blocks to leave out, every tenth image is held out for
/// that and not trained on.
///
/// # Errors
/// No images, shapes or classes that do not fit the model, or a loss or gradient that is not finite.
pub fn fit(model: &mut VisionModel, attached: &Attached, images: Images<'_>, train: &Train) -> Result<Fitted> {
    if images.rows.is_empty() || train.batch == 0 {
        return Err(Problem::new(Code::DataInvalid, "there are no images to train on", "[data]", "add some").into());
    }
    let mut params = attached.params.clone();
    let mut driver = ImageDriver::new(model, train.recompute == "on");
    let schedule = Schedule::new(train, train.steps);
    let mut optimiser = AdamW::new(adamw(train));
    let mut skipping = Skipping::of(model, train.steps, train.seed);
    let (trained, held_out) = hold_out(images.rows, skipping.is_some());
    let mut rows = Rows { all: &trained, seed: train.seed, epoch: 0, order: Vec::new() };
    let mut compared = Rows { all: &held_out, seed: train.seed, epoch: 0, order: Vec::new() };
    let mut fitted = Fitted::default();
    for step in 1..=train.steps {
        if let Some(skipping) = &skipping {
            model.leave_out(&skipping.names(&skipping.for_step(step)));
        }
        let imitation = attached.imitation.filter(|imitation| imitation.is_at(step, train.steps));
        driver.imitate(imitation);
        let mut grads = Grads::new();
        let (mut loss_sum, mut correct, mut seen) = (0.0, 0, 0);
        let mut imitated = Imitated { features: 0.0, divergence: 0.0 };
        let micro_steps = train.accumulate.max(1);
        let scales = (1.0 / (train.batch * micro_steps) as f64, 1.0 / micro_steps as f64);
        for micro in 0..micro_steps {
            let first = (micro * train.batch) as u64;
            let plain = model.context(train.batch);
            let rows_in_step = (first..first + train.batch as u64).collect();
            let ctx = ForwardContext { training: true, seed: train.seed, step, rows_in_step, ..plain };
            let batch = images.pictures(&rows.take(train.batch), ctx)?;
            let measured = driver.micro_step(model, &batch, scales, &mut grads)?;
            model.follow(&measured.buffers);
            loss_sum += measured.loss_sum;
            correct += measured.correct;
            seen += measured.labelled;
            imitated.features += measured.features;
            imitated.divergence += measured.divergence;
        }
        for site in model.sites() {
            site.map_grads(&mut grads)?;
        }
        let of_images = |sum: f64| sum / seen.max(1) as f64;
        let loss = of_images(loss_sum);
        let norm =
            if train.clip_norm > 0.0 { grads.clip_global_norm(train.clip_norm)? } else { grads.global_norm()? };
        if !loss.is_finite() || !norm.is_finite() {
            let what = format!("the loss of step {step} is {loss} and its gradient {norm}");
            return Err(Problem::new(Code::NonFinite, what, "[train]", "lower lr_peak").into());
        }
        let at = At { step, total: train.steps };
        let mut sites = model.sites_mut();
        let moved = take_step(&mut sites, &params, &mut optimiser, &mut grads, schedule.lr(step), at)?;
        drop(sites);
        if moved.params {
            params = model.params()?;
            driver = ImageDriver::new(model, train.recompute == "on");
        }
        fitted.losses.push(loss);
        fitted.grad_norms.push(norm);
        fitted.accuracies.push(of_images(correct as f64));
        if imitation.is_some() {
            let Imitated { features, divergence } = imitated;
            fitted.imitated.push(Imitated { features: of_images(features), divergence: of_images(divergence) });
        }
        if let Some(skipping) = skipping.as_mut().filter(|skipping| skipping.is_due(step)) {
            let rows = compared.take(train.batch);
            fitted.search.push(skipping.compare(step, |left_out| -> Result<f64> {
                model.leave_out(left_out);
                Ok((-evaluate(model, Images { rows: &rows, ..images })?.loss).exp())
            })?);
        }
    }
    if let Some(skipping) = &skipping {
        model.leave_out(&skipping.names(&skipping.chosen()));
    }
    fitted.left_out = model.left_out().into_iter().map(str::to_owned).collect();
    Ok(fitted)
}

/// The rows to train on, and every tenth of them when some are to be held out.
fn hold_out(rows: &[u32], wanted: bool) -> (Vec<u32>, Vec<u32>) {
    if !wanted || rows.len() < 2 {
        return (rows.to_vec(), rows.to_vec());
    }
    let (mut trained, mut held_out) = (Vec::with_capacity(rows.len()), Vec::new());
    for (at, row) in rows.iter().enumerate() {
        if at % 10 == 0 { held_out.push(*row) } else { trained.push(*row) }
    }
    (trained, held_out)
}

/// Rows in the order of training, pass after pass.
struct Rows<'a> {
    all: &'a [u32],
    seed: u64,
    epoch: u64,
    /// What is left of this pass, last first.
    order: Vec<u32>,
}

impl Rows<'_> {
    fn take(&mut self, count: usize) -> Vec<u32> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            match self.order.pop() {
                Some(row) => taken.push(row),
                None => {
                    self.order = order(self.all, self.seed, self.epoch);
                    self.epoch += 1;
                }
            }
        }
        taken
    }
}

/// Loss and accuracy over images, without noise.
///
/// # Errors
/// No images, or shapes or classes that do not fit the model.
pub fn evaluate(model: &VisionModel, images: Images<'_>) -> Result<Accuracy> {
    let (mut loss, mut correct, mut seen) = (0.0, 0, 0);
    for rows in images.rows.chunks(EVAL_BATCH) {
        let Pictures { pixels, labels, .. } = images.pictures(rows, model.context(rows.len()))?;
        let logits = model.logits(&pixels, images.task)?;
        for labels in &labels {
            loss += f64::from(model.head.loss_of(&logits, labels)?.to_scalar::<f32>()?);
            let (right, all) = count_correct(&logits, &labels.classes)?;
            correct += right;
            seen += all;
        }
    }
    if seen == 0 {
        return Err(Problem::new(Code::DataInvalid, "there are no images to measure", "[data]", "add some").into());
    }
    Ok(Accuracy { loss: loss / seen as f64, accuracy: correct as f64 / seen as f64, images: seen })
}
