//! The vision transformer as stages: patches, blocks, head.
//!
//! Dosovitskiy et al. 2020 (arXiv:2010.11929), with the names and the order of transformers' `ViTForImageClassification`.
//! A block: `x += o(attention(q(n), k(n), v(n)))` with `n = layer_norm(x)`, every token seeing every other, then
//! `x += down(gelu(up(m)))` with `m = layer_norm(x)`.

mod block;
mod config;
mod embed;

pub use config::VitConfig;

use crate::Result;
use crate::stage::Stage;
use crate::vision::ClassifierHead;
use crate::vision::slots::VisionWeights;

/// Stages and a head without classifiers.
pub(crate) fn build(config: &VitConfig, weights: &mut VisionWeights) -> Result<(Vec<Box<dyn Stage>>, ClassifierHead)> {
    let mut stages: Vec<Box<dyn Stage>> = vec![Box::new(embed::EmbedStage::new(config, weights)?)];
    for layer in 0..config.layers {
        stages.push(Box::new(block::BlockStage::new(config, layer, weights)?));
    }
    Ok((stages, ClassifierHead::new(Some(weights.norm("norm")?), config.norm_eps, config.pooling)))
}
