//! A small convolutional network as stages: a stem, blocks of convolution, batch norm and ReLU, a head over pooled maps.
//!
//! A plain network in the manner of VGG (Simonyan, Zisserman 2014, arXiv:1409.1556) with batch normalisation (Ioffe,
//! Szegedy 2015, arXiv:1502.03167) and a mean over maps before the classifier (Lin, Chen, Yan 2013, arXiv:1312.4400):
//! the smallest thing that has kernels to adapt and statistics to follow. The format of its folders is this program's
//! own.

mod config;
mod stage;

pub use config::CnnConfig;

use crate::Result;
use crate::stage::Stage;
use crate::vision::slots::VisionWeights;
use crate::vision::{ClassifierHead, Pooling};
use stage::ConvStage;

/// Stages and a head without classifiers.
pub(crate) fn build(config: &CnnConfig, weights: &mut VisionWeights) -> Result<(Vec<Box<dyn Stage>>, ClassifierHead)> {
    let mut stages: Vec<Box<dyn Stage>> = Vec::new();
    for layer in config.convolutions() {
        stages.push(Box::new(ConvStage::new(config, layer, weights)?));
    }
    Ok((stages, ClassifierHead::new(None, config.norm_eps, Pooling::Maps)))
}
