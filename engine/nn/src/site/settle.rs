//! What is trained no more becomes part of the layer it lies on.
//!
//! Place in the data flow: finished adapters that are to lie frozen beneath a trained one are attached, filled from their
//! files and settled, one after the other. From then on the layer is a frozen one like any other: it gives no gradient,
//! every method starts from it and stands on it, and switched off it answers with what was settled.
//!
//! A change that is a sum of thin products stays one beside weights that are not stored as f32, so that a base in blocks
//! keeps its memory ([`FrozenWeight::with_product`]); everything else is added up once, in f64, to a weight of f32.

use super::{LinearSite, Weight};
use crate::adapter::{AdapterExport, MergedWeight};
use crate::frozen::FrozenWeight;
use crate::ops::FrozenLinear;
use crate::{NnError, Result};
use candle_core::{Device, Tensor};
use std::sync::{Arc, OnceLock};

/// `scale · b a` and a change of the bias.
struct Sum {
    b: Vec<f32>,
    a: Vec<f32>,
    rank: usize,
    scale: f64,
    bias: Option<Vec<f32>>,
}

impl LinearSite {
    /// Makes `share` of everything that was trained here part of the frozen weight, and takes the adapters off: with 1 the
    /// layer answers as before, with `s` its weight is `W + s (W' − W)` where W' is the merged one. The weight of its file,
    /// where the frozen one was rounded from it, moves as far.
    ///
    /// # Errors
    /// A change that depends on the input; a weight that cannot be read.
    pub fn settle(&mut self, share: f64) -> Result<()> {
        self.absorb(share).map(drop)
    }

    /// Makes the adapters part of the weight, all of their change, so that what comes next stands on a frozen weight;
    /// switched off, the layer still answers as the model it came from. Leaves alone what depends on the input.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn fold(&mut self) -> Result<()> {
        if self.adapters.is_empty() || self.routing().is_some() {
            return Ok(());
        }
        if let Some((before, source)) = self.absorb(1.0)? {
            (self.origin, self.source) = (Some(before), source);
        }
        Ok(())
    }

    /// Takes the changes into the weight and returns what the layer was without them, with the weight of its file; none
    /// where there are none.
    fn absorb(&mut self, share: f64) -> Result<Option<(Weight, Option<Weight>)>> {
        if !self.is_adapted() {
            return Ok(None);
        }
        let sums = match (&self.weight, &self.origin) {
            (Weight::Frozen(layer), None) if layer.weight.as_f32().is_none() => self.sums()?,
            _ => None,
        };
        let (settled, source) = match &sums {
            Some(sums) => {
                let Weight::Frozen(layer) = &self.weight else { return Ok(None) };
                (added(layer, sums, share)?, self.source_layer().map(|layer| added(layer, sums, share)).transpose()?)
            }
            None => self.blended(share)?,
        };
        let before = std::mem::replace(&mut self.weight, Weight::Frozen(settled));
        let before = self.origin.take().unwrap_or(before);
        let file = std::mem::replace(&mut self.source, source.map(Weight::Frozen));
        self.original_norm = OnceLock::new();
        self.adapters.clear();
        Ok(Some((before, file)))
    }

    fn source_layer(&self) -> Option<&FrozenLinear> {
        match &self.source {
            Some(Weight::Frozen(layer)) => Some(layer),
            Some(Weight::Trained { .. }) | None => None,
        }
    }

    /// The changes as sums of thin products; none where one of them is something else.
    fn sums(&self) -> Result<Option<Vec<Sum>>> {
        let values = |tensor: &Tensor| Ok::<_, NnError>(tensor.flatten_all()?.to_vec1::<f32>()?);
        let mut sums = Vec::new();
        for (below, adapter) in self.adapters.iter().enumerate() {
            match adapter.export(self.below(below))? {
                Some(AdapterExport::LowRank { a, b, scale, rank, bias, .. }) if rank > 0 => {
                    let bias = bias.as_ref().map(values).transpose()?;
                    sums.push(Sum { b: values(&b)?, a: values(&a)?, rank, scale, bias });
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(sums))
    }

    /// The layer with `share` of its change in a weight of f32, and the weight of its file moved as far.
    fn blended(&self, share: f64) -> Result<(FrozenLinear, Option<FrozenLinear>)> {
        let name = self.frozen().map_or_else(|| self.name.clone(), |layer| layer.weight.name.clone());
        let Some(mut merged) = self.merge()? else {
            let what = "is changed in a way that depends on the input, which no weight can hold".to_owned();
            return Err(NnError::Adapter { site: self.name.clone(), what });
        };
        let before = self.origin.as_ref().unwrap_or(&self.weight).values()?;
        if share != 1.0 {
            blend(&before.weight, &mut merged.weight, share);
            if let Some(bias) = &mut merged.bias {
                let zeros = vec![0f32; bias.len()];
                blend(before.bias.as_ref().unwrap_or(&zeros), bias, share);
            }
        }
        let source = match &self.source {
            None => None,
            Some(source) => {
                let mut moved = source.values()?;
                for ((value, after), before) in moved.weight.iter_mut().zip(&merged.weight).zip(&before.weight) {
                    *value = (f64::from(*value) + f64::from(*after) - f64::from(*before)) as f32;
                }
                moved.bias.clone_from(&merged.bias);
                Some(frozen(&name, moved)?)
            }
        };
        Ok((frozen(&name, merged)?, source))
    }
}

/// `after` becomes `before + share (after − before)`.
fn blend(before: &[f32], after: &mut [f32], share: f64) {
    for (after, before) in after.iter_mut().zip(before) {
        let before = f64::from(*before);
        *after = (before + share * (f64::from(*after) - before)) as f32;
    }
}

/// A layer over values of f32.
fn frozen(name: &str, values: MergedWeight) -> Result<FrozenLinear> {
    let MergedWeight { out_features, in_features, weight, bias } = values;
    let bias = bias.map(|bias| Tensor::from_vec(bias, out_features, &Device::Cpu)).transpose()?;
    Ok(FrozenLinear { weight: Arc::new(FrozenWeight::from_f32(name, out_features, in_features, weight)?), bias })
}

/// A layer with thin products beside its stored weight.
fn added(layer: &FrozenLinear, sums: &[Sum], share: f64) -> Result<FrozenLinear> {
    let mut weight = FrozenWeight::clone(&layer.weight);
    let mut bias = layer.bias.as_ref().map(Tensor::to_vec1::<f32>).transpose()?;
    for sum in sums {
        weight = weight.with_product(&sum.b, &sum.a, sum.rank, sum.scale * share)?;
        if let Some(change) = &sum.bias {
            let bias = bias.get_or_insert_with(|| vec![0f32; change.len()]);
            for (bias, change) in bias.iter_mut().zip(change) {
                *bias = (f64::from(*bias) + share * f64::from(*change)) as f32;
            }
        }
    }
    let rows = weight.rows;
    let bias = bias.map(|bias| Tensor::from_vec(bias, rows, &Device::Cpu)).transpose()?;
    Ok(FrozenLinear { weight: Arc::new(weight), bias })
}
