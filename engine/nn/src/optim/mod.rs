//! AdamW with groups, decay exclusion and a state that can be stored and resumed to the bit.
//!
//! Place in the data flow: the trainer hands it parameters, gradients and the learning rate of the step; its
//! state goes into checkpoints as safetensors.
//!
//! Loshchilov, Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2; the order of operations and
//! the place of epsilon are PyTorch's. The moments are kept in f32, or in 8 bits by blocks (Dettmers et al. 2022,
//! `kernels/dynamic_map.rs`): a quarter of the memory; `engine/decisions/007-storage-and-optimiser-state.md` has what
//! that changes.

mod moments;

pub use moments::{StateTensor, StateValues};

use crate::kernels::adamw;
use crate::ops::Values;
use crate::param::{Grads, Param, Update};
use crate::{NnError, Result};
use candle_core::{CpuStorage, InplaceOp1, Layout, Tensor};
use moments::Moments;
use parking_lot::Mutex;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the two moments of a parameter are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentStorage {
    /// 8 bytes a value: two 32-bit floats.
    #[default]
    F32,
    /// 2.03 bytes a value: two 8-bit codes, and two 32-bit scales for each block of 256 values. Parameters of fewer
    /// than [`Self::LEAST_VALUES`] values stay in f32, as the paper and bitsandbytes have it: norms and biases are few
    /// and sensitive.
    Int8,
}

impl MomentStorage {
    /// Values from which on a parameter's moments are kept in 8 bits.
    pub const LEAST_VALUES: usize = 4096;

    /// Name as people write it: `f32`, `int8`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }

    /// By the name that people write.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::F32, Self::Int8].into_iter().find(|storage| storage.name() == name)
    }

    /// How the moments of a parameter of `count` values are kept.
    #[must_use]
    pub const fn of(self, count: usize) -> Self {
        if count < Self::LEAST_VALUES { Self::F32 } else { self }
    }

    /// Bytes that the two moments of a value take, small parameters aside.
    #[must_use]
    pub const fn bytes_per_value(self) -> f64 {
        match self {
            Self::F32 => 8.0,
            Self::Int8 => 2.0 * (1.0 + size_of::<f32>() as f64 / adamw::BLOCK as f64),
        }
    }
}

/// Settings of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay, applied to parameters that allow it.
    pub weight_decay: f64,
    /// How the moments of parameters met from now on are kept.
    #[serde(default)]
    pub moments: MomentStorage,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0, moments: MomentStorage::F32 }
    }
}

/// What a changed parameter asks of the optimiser's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptimiserEdit {
    /// To forget all about it.
    Forget {
        /// Name of the parameter.
        name: String,
    },
    /// To follow its values to other places: sliced, grown, or partly started anew.
    Move {
        /// Name of the parameter.
        name: String,
        /// Its shape now.
        shape: Vec<usize>,
        /// For each of its values the place it had before; none for one that starts without memory.
        from: Vec<Option<u32>>,
    },
}

/// The optimiser.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// Settings; may be changed between steps.
    pub config: AdamWConfig,
    moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// Without memory.
    #[must_use]
    pub const fn new(config: AdamWConfig) -> Self {
        Self { config, moments: BTreeMap::new() }
    }

    /// Moves every parameter that has a gradient, in place; parameters side by side, each in one pass over its values.
    /// `lr` is the learning rate of the step; each parameter's own ratio is multiplied in. A parameter without
    /// gradient is left alone, decay included, and so are the values that its mask holds. A parameter whose update is
    /// plain moves by its gradient and leaves no memory.
    ///
    /// # Errors
    /// [`NnError::Param`] when a gradient or the remembered state has another shape than the parameter; nothing has
    /// moved then.
    pub fn step<'a>(&mut self, params: impl IntoIterator<Item = &'a Param>, grads: &Grads, lr: f64) -> Result<()> {
        let (mut wanted, mut plain) = (BTreeMap::new(), Vec::new());
        for param in params {
            let Some(gradient) = grads.get(&param.name) else { continue };
            let refuse = |what: String| NnError::Param { name: param.name.clone(), what };
            let shape = param.var.dims();
            if gradient.dims() != shape {
                let gradient = gradient.dims();
                return Err(refuse(format!("a gradient of shape {gradient:?} for a parameter of shape {shape:?}")));
            }
            if param.mask.as_ref().is_some_and(|mask| mask.dims() != shape) {
                return Err(refuse(format!("a mask of another shape than its {shape:?}")));
            }
            // What is held as a whole needs no memory.
            if param.mask.is_some() && param.trained()? == 0 {
                continue;
            }
            if param.update == Update::Plain {
                plain.push((param, gradient));
                continue;
            }
            let storage = self.config.moments;
            let moments = self.moments.entry(param.name.clone()).or_insert_with(|| Moments::new(shape, storage));
            if moments.shape != shape {
                let held = &moments.shape;
                return Err(refuse(format!("the optimiser remembers shape {held:?}, the parameter has {shape:?}")));
            }
            wanted.insert(param.name.as_str(), (param, gradient));
        }
        let config = self.config;
        let work = self.moments.iter_mut().filter_map(|(name, moments)| {
            let (param, gradient) = wanted.get(name.as_str())?;
            Some((*param, *gradient, moments))
        });
        let work: Vec<(&Param, &Tensor, &mut Moments)> = work.collect();
        work.into_par_iter().try_for_each(|(param, gradient, moments)| {
            let step = numbers(&config, moments.steps + 1, lr * param.lr_ratio, param.decay);
            let gradient = gradient.contiguous()?;
            let mask = param.mask.as_ref().map(Tensor::contiguous).transpose()?;
            let mask = mask.as_ref().map(Values::of).transpose()?;
            let update = Move { gradient: Values::of(&gradient)?, mask, moments: Mutex::new(moments), step };
            param.var.inplace_op1(&update)?;
            update.moments.into_inner().steps += 1;
            Ok::<(), NnError>(())
        })?;
        plain.into_iter().try_for_each(|(param, gradient)| step_plain(&config, param, gradient, lr * param.lr_ratio))
    }

    /// Follows a parameter that was changed outside of a step.
    pub fn edit(&mut self, edit: &OptimiserEdit) {
        match edit {
            OptimiserEdit::Forget { name } => self.forget(name),
            OptimiserEdit::Move { name, shape, from } => {
                if let Some(moments) = self.moments.get_mut(name) {
                    *moments = moments.moved(shape, from, self.config.moments);
                }
            }
        }
    }

    /// Bytes of memory the state takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.moments.values().map(Moments::memory_bytes).sum()
    }

    /// Forgets what is remembered of one parameter, for one that was reset or changed its shape.
    pub fn forget(&mut self, name: &str) {
        self.moments.remove(name);
    }

    /// How many steps a parameter took.
    #[must_use]
    pub fn steps(&self, name: &str) -> u64 {
        self.moments.get(name).map_or(0, |moments| moments.steps)
    }

    /// The state without copies, for a writer that streams what [`Self::to_safetensors`] holds in memory.
    pub fn state(&self) -> impl Iterator<Item = StateTensor<'_>> {
        self.moments.iter().flat_map(|(name, moments)| moments.tensors(name))
    }

    /// The state as the bytes of a safetensors file: `first.NAME` and `second.NAME` (of the parameter's shape; f32, or
    /// u8 codes with f32 `first_scale.NAME` and `second_scale.NAME`) and `steps.NAME` (i64, one value). The settings
    /// are not in it.
    ///
    /// # Errors
    /// Only what safetensors reports.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        moments::write(&self.state().collect::<Vec<_>>())
    }

    /// Reads what [`Self::to_safetensors`] wrote.
    ///
    /// # Errors
    /// [`NnError::Safetensors`] for bytes that are no such file, [`NnError::Param`] for a parameter whose tensors are
    /// not all there or do not fit each other, or whose moments are not kept as `config` says.
    pub fn from_safetensors(config: AdamWConfig, bytes: &[u8]) -> Result<Self> {
        Ok(Self { config, moments: moments::read(bytes, config.moments)? })
    }
}

/// The constants of step number `t` (from 1).
fn numbers(config: &AdamWConfig, t: u64, lr: f64, decay: bool) -> adamw::Step {
    // Beyond this both corrections are 1 in f64 for any usable rate.
    let t = i32::try_from(t).unwrap_or(i32::MAX);
    adamw::Step {
        beta1: config.beta1 as f32,
        beta2: config.beta2 as f32,
        rest1: (1.0 - config.beta1) as f32,
        rest2: (1.0 - config.beta2) as f32,
        epsilon: config.epsilon as f32,
        keep: if decay { (1.0 - lr * config.weight_decay) as f32 } else { 1.0 },
        step_size: (lr / (1.0 - config.beta1.powi(t))) as f32,
        second_correction: (1.0 - config.beta2.powi(t)).sqrt() as f32,
    }
}

/// `p ← keep · p − lr · g`, under the mask.
fn step_plain(config: &AdamWConfig, param: &Param, gradient: &Tensor, lr: f64) -> Result<()> {
    let decay = if param.decay { lr * config.weight_decay } else { 0.0 };
    let value = param.var.as_tensor().detach();
    let change = (gradient.affine(lr, 0.0)? + value.affine(decay, 0.0)?)?;
    let change = match &param.mask {
        Some(mask) => (change * mask)?,
        None => change,
    };
    Ok(param.var.set(&(value - change)?)?)
}

/// The step as an in-place operation: the only way candle lets a parameter be written without a copy.
struct Move<'a> {
    gradient: Values<'a>,
    mask: Option<Values<'a>>,
    moments: Mutex<&'a mut Moments>,
    step: adamw::Step,
}

impl InplaceOp1 for Move<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(values) = storage else {
            candle_core::bail!("parameters are trained in f32");
        };
        let range = layout.contiguous_offsets().map(|(start, end)| start..end);
        let Some(parameter) = range.and_then(|range| values.get_mut(range)) else {
            candle_core::bail!("the values of a parameter do not lie in order");
        };
        match &self.mask {
            None => self.moments.lock().step(parameter, &self.gradient, self.step),
            Some(mask) => self.moments.lock().step_masked(parameter, &self.gradient, mask, self.step),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
