//! Weights of a new model.

use crate::Result;
use crate::config::LlamaConfig;
use crate::family::PartKind;
use crate::names::slots;
use crate::source::ModelSource;
use crate::weights::{BaseKind, Weights, convert};
use candle_core::{Device, Tensor};
use std::sync::Arc;
use temper_nn::rng::Stream;
use temper_nn::{FrozenWeight, StorageKind};

/// Standard deviation of every matrix.
const STD: f64 = 0.02;

/// Draws every weight: see [`crate::Model::random`]. Each matrix is brought into its storage before the next is drawn.
pub(crate) fn weights(config: &LlamaConfig, seed: u64, base: BaseKind) -> Result<Weights> {
    let residual_std = STD / (2.0 * config.layers as f64).sqrt();
    let mut weights = Weights::default();
    for slot in slots(config) {
        let count = slot.shape.iter().product();
        if let [rows, cols] = *slot.shape {
            let writes_residual = slot.name.ends_with(".attn.o.weight") || slot.name.ends_with(".mlp.down.weight");
            let mut values = vec![0.0_f32; count];
            let std = if writes_residual { residual_std } else { STD };
            Stream::new(seed, &format!("init/{}", slot.name)).fill_normal(&mut values, std);
            let drawn = FrozenWeight::from_f32(slot.hf, rows, cols, values)?;
            let wanted = base.wanted(StorageKind::F32, slot.kind, cols);
            let held = if wanted == StorageKind::F32 { drawn } else { convert(&drawn, wanted, &ModelSource::Random)? };
            weights.matrices.insert(slot.name.clone(), Arc::new(held));
        } else {
            let value = if slot.kind == PartKind::Norm { 1.0_f32 } else { 0.0 };
            let tensor = Tensor::from_vec(vec![value; count], count, &Device::Cpu)?;
            weights.vectors.insert(slot.name.clone(), tensor);
        }
        weights.stored.insert(slot.name.clone(), StorageKind::F32);
        weights.order.push(slot.name);
    }
    Ok(weights)
}
