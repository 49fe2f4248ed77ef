//! The model as its file has it, for the one in training to imitate: adapters off, weights as they were before they were
//! rounded.
//!
//! Place in the data flow: the drivers of texts and of images ask for it in each micro-step of a run's imitating part
//! ([`Imitation`]). Nothing of it is kept between steps: it costs a forward pass without gradients, and reads the mapped
//! file instead of holding logits. What a trained position is to a text, an image with a class is to images.

use crate::driver::{Tokens, plain_forward};
use crate::error::Result;
use crate::images::Pictures;
use candle_core::{Device, Tensor};
use temper_methods::Imitation;
use temper_models::{Flow, Labels, Model, VisionModel};
use temper_nn::LinearSite;
use temper_nn::ops::{IGNORE, Parent, add_constant, with_slice};
use temper_protocol::Problem;

/// A model that can answer as its file has it.
pub trait HasOriginal {
    /// The layers whose weights may have been rounded from others.
    fn layers(&self) -> Vec<&LinearSite>;

    /// Switches adapters and trained weights on or off.
    fn switch(&self, on: bool);
}

impl HasOriginal for Model {
    fn layers(&self) -> Vec<&LinearSite> {
        self.sites()
    }

    fn switch(&self, on: bool) {
        self.set_enabled(on);
    }
}

impl HasOriginal for VisionModel {
    fn layers(&self) -> Vec<&LinearSite> {
        self.sites()
    }

    fn switch(&self, on: bool) {
        self.set_enabled(on);
    }
}

/// Makes a model answer as its file has it for as long as it lives.
pub struct AsOriginal<'a>(&'a dyn HasOriginal);

impl<'a> AsOriginal<'a> {
    /// Switches adapters off and rounding back.
    #[must_use]
    pub fn of(model: &'a dyn HasOriginal) -> Self {
        model.switch(false);
        model.layers().into_iter().for_each(|site| site.set_original(true));
        Self(model)
    }
}

impl Drop for AsOriginal<'_> {
    fn drop(&mut self) {
        for site in self.0.layers() {
            site.set_original(false);
            // Its pages need not stay in memory until the next step.
            if let Some(source) = site.source() {
                source.bytes().let_go();
            }
        }
        self.0.switch(true);
    }
}

/// What the original makes of a batch.
pub(crate) struct ParentStates {
    imitation: Imitation,
    /// What each head says: the one of a text, those of the tasks that images are labelled for.
    predictions: Vec<Parent>,
    /// Hidden states behind each block, where features are imitated.
    features: Vec<Tensor>,
    /// 1 at what is trained on, 0 elsewhere: positions (batch, width) of a text, images (batch).
    counts: Tensor,
}

/// How far hidden states are from the parent's.
pub(crate) struct Away {
    /// Σ over what is trained on of the mean square over features, over the number of blocks.
    pub(crate) sum: f64,
    /// Its gradient times the factor of the imitation.
    pub(crate) gradient: Tensor,
}

impl ParentStates {
    /// Runs the original on `tokens`.
    pub(crate) fn of(model: &Model, tokens: &Tokens, imitation: Imitation) -> Result<Self> {
        let _original = AsOriginal::of(model);
        let mut flow = model.embed.forward(&tokens.ids, &tokens.ctx)?.detach();
        let mut features = Vec::new();
        for block in &model.blocks {
            flow = plain_forward(block.as_ref(), flow, &tokens.ctx, true)?;
            if imitation.features > 0.0 {
                features.push(flow.hidden.clone());
            }
        }
        let predictions = vec![model.head.parent(&flow.hidden, &tokens.targets)?];
        let trained = tokens.targets.iter().map(|target| *target != IGNORE);
        let counts = ones_at(trained, &[tokens.ctx.batch, tokens.ctx.width], &flow.hidden)?;
        Ok(Self { imitation, predictions, features, counts })
    }

    /// Runs the original on images. Behind the stem no features are compared: it is no block. The classifier of a task that
    /// was added to the file's says at random what it says, so that only features of such a model are worth imitating.
    pub(crate) fn of_images(model: &VisionModel, batch: &Pictures, imitation: Imitation) -> Result<Self> {
        let _original = AsOriginal::of(model);
        let mut flow = Flow::new(batch.pixels.clone());
        let mut features = Vec::new();
        for (number, stage) in model.stages.iter().enumerate() {
            flow = stage.forward(flow, &batch.ctx)?.detach();
            if number > 0 && imitation.features > 0.0 {
                features.push(flow.hidden.clone());
            }
        }
        let parent = |labels: &Labels| -> Result<Parent> {
            let logits = model.head.logits(&flow, labels.task, &batch.ctx)?;
            Ok(model.head.parent(&logits, labels)?)
        };
        let predictions = batch.labels.iter().map(parent).collect::<Result<_>>()?;
        let images = batch.pixels.dim(0)?;
        let has_class = |image: usize| {
            batch.labels.iter().any(|labels| labels.classes.get(image).is_some_and(|class| *class != IGNORE))
        };
        let counts = ones_at((0..images).map(has_class), &[images], &flow.hidden)?;
        Ok(Self { imitation, predictions, features, counts })
    }

    /// The loss of hidden states before the head as a graph, and the sums of cross-entropy and divergence in it.
    pub(crate) fn loss(&self, model: &Model, hidden: &Tensor, tokens: &Tokens) -> Result<(Tensor, f64, f64)> {
        self.weighed(model.head.divergence(hidden, &tokens.targets, self.prediction(0)?)?)
    }

    /// The same of the logits (batch, classes) of images for labels number `number` of their batch.
    pub(crate) fn loss_of_images(
        &self,
        model: &VisionModel,
        logits: &Tensor,
        (number, labels): (usize, &Labels),
    ) -> Result<(Tensor, f64, f64)> {
        self.weighed(model.head.divergence(logits, labels, self.prediction(number)?)?)
    }

    fn prediction(&self, head: usize) -> Result<&Parent> {
        let missing = || Problem::internal(format!("the original was not asked for head {head} of a batch"));
        Ok(self.predictions.get(head).ok_or_else(missing)?)
    }

    /// Divergence and cross-entropy by their factors.
    fn weighed(&self, (divergence, loss): (Tensor, Tensor)) -> Result<(Tensor, f64, f64)> {
        let sums = (f64::from(loss.to_scalar::<f32>()?), f64::from(divergence.to_scalar::<f32>()?));
        let divergence = divergence.affine(self.imitation.divergence, 0.0)?;
        Ok(((divergence + loss.affine(self.imitation.cross_entropy, 0.0)?)?, sums.0, sums.1))
    }

    /// How far the output of block `block` is from the parent's; none where features are not imitated.
    pub(crate) fn away(&self, block: usize, hidden: &Tensor) -> Result<Option<Away>> {
        let Some(parent) = self.features.get(block) else { return Ok(None) };
        let counts = self.counts.elem_count();
        let mut beside = self.counts.dims().to_vec();
        beside.resize(hidden.rank(), 1);
        let off = add_constant(&hidden.detach(), parent, -1.0)?.broadcast_mul(&self.counts.reshape(beside)?)?;
        // Features of a position; of an image those of all its tokens or maps.
        let width = hidden.elem_count().checked_div(counts).unwrap_or(1);
        let share = 1.0 / (self.features.len() * width).max(1) as f64;
        let squares = with_slice(&off, |off| off.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>())?;
        let gradient = off.affine(2.0 * share * self.imitation.features, 0.0)?;
        Ok(Some(Away { sum: squares * share, gradient }))
    }
}

/// 1 where `counts` is true, 0 elsewhere, on the device of `beside`.
fn ones_at(counts: impl Iterator<Item = bool>, dims: &[usize], beside: &Tensor) -> Result<Tensor> {
    let counts: Vec<f32> = counts.map(|counts| f32::from(u8::from(counts))).collect();
    Ok(Tensor::from_vec(counts, dims, &Device::Cpu)?.to_device(beside.device())?)
}
