//! The tensors of a vision model: names, shapes and how a new model starts; and their values on the way into a graph.

use super::parts::{Affine, OwnTensor};
use crate::{ModelError, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;
use temper_nn::ops::ChannelStatistics;
use temper_nn::rng::Stream;
use temper_nn::{ConvShape, ConvSite, FrozenLinear, FrozenWeight, LinearSite, Role};

/// First values of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Start {
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// All the same.
    Value(f32),
}

/// A tensor of a vision model.
#[derive(Debug, Clone, PartialEq)]
pub struct VisionSlot {
    /// Name here, such as `layers.3.attn.q.weight`.
    pub name: String,
    /// Name in the file.
    pub file: String,
    /// Shape in the file, slowest dimension first.
    pub shape: Vec<usize>,
    /// How a new model starts.
    pub start: Start,
    /// The linear layer or convolution it belongs to.
    pub site: Option<String>,
}

impl VisionSlot {
    /// Number of values.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its values in a new model: each tensor has a random stream of its own under its name.
    fn drawn(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0f32; self.elements()];
        match self.start {
            Start::Normal(std) => Stream::new(seed, &format!("init/{}", self.name)).fill_normal(&mut values, std),
            Start::Value(value) => values.fill(value),
        }
        values
    }
}

/// A list of slots in the making.
#[derive(Debug, Default)]
pub(crate) struct SlotList(pub(crate) Vec<VisionSlot>);

impl SlotList {
    pub(crate) fn own(&mut self, name: &str, file: &str, shape: &[usize], start: Start) {
        let slot =
            VisionSlot { name: name.to_owned(), file: file.to_owned(), shape: shape.to_vec(), start, site: None };
        self.0.push(slot);
    }

    /// Weight (of any dimensions, outputs first) and bias of a linear layer or convolution; the weight starts with a
    /// standard deviation of `gain / √(inputs)`.
    pub(crate) fn site(&mut self, name: &str, file: &str, shape: &[usize], gain: f64, bias: bool) {
        let inputs: usize = shape.iter().skip(1).product();
        let outputs = shape.first().copied().unwrap_or(0);
        let mut push = |part: &str, shape: Vec<usize>, start: Start| {
            let (site, file) = (Some(name.to_owned()), format!("{file}.{part}"));
            self.0.push(VisionSlot { name: format!("{name}.{part}"), file, shape, start, site });
        };
        push("weight", shape.to_vec(), Start::Normal(gain / (inputs.max(1) as f64).sqrt()));
        if bias {
            push("bias", vec![outputs], Start::Value(0.0));
        }
    }

    pub(crate) fn norm(&mut self, name: &str, file: &str, width: usize) {
        self.own(&format!("{name}.weight"), &format!("{file}.weight"), &[width], Start::Value(1.0));
        self.own(&format!("{name}.bias"), &format!("{file}.bias"), &[width], Start::Value(0.0));
    }
}

/// Values by slot name, each taken once.
#[derive(Debug, Default)]
pub(crate) struct VisionWeights(pub(crate) BTreeMap<String, (VisionSlot, Vec<f32>)>);

impl VisionWeights {
    /// A new model's.
    pub(crate) fn random(slots: &[VisionSlot], seed: u64) -> Self {
        Self(slots.iter().map(|slot| (slot.name.clone(), (slot.clone(), slot.drawn(seed)))).collect())
    }

    fn take(&mut self, name: &str) -> Result<(VisionSlot, Vec<f32>)> {
        self.0.remove(name).ok_or_else(|| ModelError::Request(format!("weight {name} is missing")))
    }

    fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let (slot, values) = self.take(name)?;
        Ok(Tensor::from_vec(values, slot.shape, &Device::Cpu)?)
    }

    /// A linear layer over the weight read as a matrix, with its bias if there is one.
    fn layer(&mut self, site: &str) -> Result<FrozenLinear> {
        let (slot, values) = self.take(&format!("{site}.weight"))?;
        let rows = slot.shape.first().copied().unwrap_or(0);
        let columns = slot.elements().checked_div(rows).unwrap_or(0);
        let weight = Arc::new(FrozenWeight::from_f32(slot.file, rows, columns, values)?);
        let bias = format!("{site}.bias");
        let bias = if self.0.contains_key(&bias) { Some(self.tensor(&bias)?) } else { None };
        Ok(FrozenLinear { weight, bias })
    }

    pub(crate) fn site(&mut self, name: &str) -> Result<LinearSite> {
        Ok(LinearSite::new(name, self.layer(name)?))
    }

    pub(crate) fn conv(&mut self, name: &str, shape: ConvShape) -> Result<ConvSite> {
        Ok(ConvSite::new(name, self.layer(name)?, shape)?)
    }

    pub(crate) fn own(&mut self, name: &str, role: Role) -> Result<OwnTensor> {
        Ok(OwnTensor::new(name, role, self.tensor(name)?))
    }

    pub(crate) fn norm(&mut self, name: &str) -> Result<Affine> {
        let weight = self.own(&format!("{name}.weight"), Role::Norm)?;
        Ok(Affine { weight, bias: self.own(&format!("{name}.bias"), Role::Bias)? })
    }

    /// Running statistics of a norm of channels.
    pub(crate) fn statistics(&mut self, name: &str) -> Result<ChannelStatistics> {
        let (_, mean) = self.take(&format!("{name}.mean"))?;
        let (_, variance) = self.take(&format!("{name}.variance"))?;
        Ok(ChannelStatistics { mean, variance })
    }
}
