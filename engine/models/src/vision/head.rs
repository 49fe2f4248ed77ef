//! The last stage of a classifier: pooling, and a linear layer for each task.

use super::parts::{Affine, OwnTensor, Parts};
use crate::stage::Flow;
use crate::{ModelError, Result};
use candle_core::Tensor;
use std::sync::Arc;
use temper_nn::ops::{self, HeadTable, Parent};
use temper_nn::{ForwardContext, FrozenWeight, LinearSite};

/// How the tokens or maps of an image become one vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token, which was put there for this.
    ClassToken,
    /// The mean of all tokens, each weighed by how many it stands for.
    MeanToken,
    /// The mean of each feature map.
    Maps,
}

/// Classes of the images of a batch, for one of the model's heads.
#[derive(Debug, Clone)]
pub struct Labels {
    /// Number of the head: 0 is the model's own, the others are its further tasks in their order.
    pub task: usize,
    /// A class for each image; [`temper_nn::ops::IGNORE`] where there is none.
    pub classes: Arc<[u32]>,
}

/// Norm, pooling and classifiers.
pub struct ClassifierHead {
    norm: Option<Affine>,
    norm_eps: f64,
    pooling: Pooling,
    tasks: Vec<TaskHead>,
}

/// The classifier of one task.
struct TaskHead {
    /// Its name, and the name of its branch in a flow; empty for the model's own.
    name: String,
    site: LinearSite,
    /// The unit matrix: the cross-entropy of the output head takes hidden states times a table.
    unit: Arc<FrozenWeight>,
}

impl ClassifierHead {
    pub(crate) const fn new(norm: Option<Affine>, norm_eps: f64, pooling: Pooling) -> Self {
        Self { norm, norm_eps, pooling, tasks: Vec::new() }
    }

    pub(crate) fn push(&mut self, name: &str, site: LinearSite) -> Result<()> {
        let classes = site.out_features();
        let unit = (0..classes * classes).map(|at| if at / classes == at % classes { 1f32 } else { 0.0 }).collect();
        let unit = Arc::new(FrozenWeight::from_f32("unit", classes, classes, unit)?);
        self.tasks.push(TaskHead { name: name.to_owned(), site, unit });
        Ok(())
    }

    fn task(&self, task: usize) -> Result<&TaskHead> {
        let known = self.tasks.len();
        self.tasks.get(task).ok_or_else(|| ModelError::Request(format!("head {task} of {known} was asked for")))
    }

    /// One vector for each image (batch, hidden): what the classifier of `task` is given.
    ///
    /// # Errors
    /// Shapes that do not fit, or no such task.
    pub fn pooled(&self, flow: &Flow, task: usize) -> Result<Tensor> {
        let name = &self.task(task)?.name;
        let hidden = flow.side.get(name).unwrap_or(&flow.hidden);
        let normed = |x: &Tensor| -> Result<Tensor> {
            match &self.norm {
                Some(norm) => Ok(ops::layer_norm(x, norm.weight.active(), Some(norm.bias.active()), self.norm_eps)?),
                None => Ok(x.clone()),
            }
        };
        match self.pooling {
            // the norm is each token's own: only the one that is read needs it
            Pooling::ClassToken => normed(&hidden.narrow(1, 0, 1)?.squeeze(1)?.contiguous()?),
            Pooling::MeanToken => {
                let hidden = normed(hidden)?;
                match flow.token_sizes.as_ref() {
                    None => Ok(hidden.mean(1)?),
                    Some(sizes) => {
                        let total = sizes.sum_keepdim(1)?;
                        let shares = sizes.broadcast_div(&total)?.unsqueeze(2)?;
                        Ok(hidden.broadcast_mul(&shares)?.sum(1)?)
                    }
                }
            }
            Pooling::Maps => Ok(ops::global_avg_pool(hidden)?),
        }
    }

    /// Logits (batch, classes) of `task`.
    ///
    /// # Errors
    /// Shapes that do not fit, or no such task.
    pub fn logits(&self, flow: &Flow, task: usize, ctx: &ForwardContext) -> Result<Tensor> {
        Ok(self.task(task)?.site.forward(&self.pooled(flow, task)?, &ctx.resized(1))?)
    }

    /// Sum over labelled images of the cross-entropy in nats, a scalar, of logits (batch, classes).
    ///
    /// # Errors
    /// Another number of labels than images, a class that does not exist, or no such task.
    pub fn loss_of(&self, logits: &Tensor, labels: &Labels) -> Result<Tensor> {
        let unit = HeadTable::Frozen(Arc::clone(&self.task(labels.task)?.unit));
        Ok(ops::head_cross_entropy(logits, &unit, &labels.classes, None)?)
    }

    /// What this model says of labelled images by its logits (batch, classes), for another one to imitate.
    ///
    /// # Errors
    /// As [`Self::loss_of`].
    pub fn parent(&self, logits: &Tensor, labels: &Labels) -> Result<Parent> {
        let unit = HeadTable::Frozen(Arc::clone(&self.task(labels.task)?.unit));
        Ok(Parent::of(logits, &unit, &labels.classes)?)
    }

    /// Sums over labelled images of the divergence of the parent's predictions from those of `logits` (batch, classes), and
    /// of the cross-entropy: two scalars in nats.
    ///
    /// # Errors
    /// As [`Self::parent`]; another number of images than the parent saw.
    pub fn divergence(&self, logits: &Tensor, labels: &Labels, parent: &Parent) -> Result<(Tensor, Tensor)> {
        let unit = HeadTable::Frozen(Arc::clone(&self.task(labels.task)?.unit));
        Ok(ops::head_divergence(logits, &unit, &labels.classes, parent)?)
    }

    /// Names of the tasks; the model's own is the empty name.
    #[must_use]
    pub fn tasks(&self) -> Vec<&str> {
        self.tasks.iter().map(|task| task.name.as_str()).collect()
    }
}

impl Parts for ClassifierHead {
    fn linear(&self) -> Vec<&LinearSite> {
        self.tasks.iter().map(|task| &task.site).collect()
    }

    fn linear_mut(&mut self) -> Vec<&mut LinearSite> {
        self.tasks.iter_mut().map(|task| &mut task.site).collect()
    }

    fn own(&self) -> Vec<&OwnTensor> {
        self.norm.iter().flat_map(Affine::both).collect()
    }

    fn own_mut(&mut self) -> Vec<&mut OwnTensor> {
        self.norm.iter_mut().flat_map(Affine::both_mut).collect()
    }
}
