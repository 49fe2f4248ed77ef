//! A convolution, its batch norm, ReLU, and perhaps a pool.

use super::CnnConfig;
use super::config::Convolution;
use crate::stage::{Flow, Seen, Stage};
use crate::vision::parts::{self, Affine, OwnTensor, Parts};
use crate::vision::slots::VisionWeights;
use crate::{ModelError, Result};
use std::collections::BTreeMap;
use temper_nn::ops::{self, ChannelStatistics, Slide};
use temper_nn::{ConvSite, ForwardContext, LinearSite, Param};

/// Stem or block.
pub(super) struct ConvStage {
    name: String,
    conv: ConvSite,
    norm_name: String,
    norm: Affine,
    /// Of the file.
    original: ChannelStatistics,
    /// Followed since.
    running: ChannelStatistics,
    pool: bool,
    norm_eps: f64,
    norm_momentum: f64,
}

impl ConvStage {
    pub(super) fn new(config: &CnnConfig, layer: Convolution, weights: &mut VisionWeights) -> Result<Self> {
        let norm_name = format!("{}.norm", layer.name);
        let original = weights.statistics(&norm_name)?;
        Ok(Self {
            conv: weights.conv(&format!("{}.conv", layer.name), layer.shape)?,
            norm: weights.norm(&norm_name)?,
            name: layer.name,
            norm_name,
            running: original.clone(),
            original,
            pool: layer.pool,
            norm_eps: config.norm_eps,
            norm_momentum: config.norm_momentum,
        })
    }
}

impl Parts for ConvStage {
    fn linear(&self) -> Vec<&LinearSite> {
        vec![self.conv.site()]
    }

    fn linear_mut(&mut self) -> Vec<&mut LinearSite> {
        vec![self.conv.site_mut()]
    }

    fn own(&self) -> Vec<&OwnTensor> {
        self.norm.both().into_iter().collect()
    }

    fn own_mut(&mut self) -> Vec<&mut OwnTensor> {
        self.norm.both_mut().into_iter().collect()
    }
}

impl Stage for ConvStage {
    fn name(&self) -> &str {
        &self.name
    }

    fn forward(&self, mut flow: Flow, ctx: &ForwardContext) -> Result<Flow> {
        let (_, channels, _, _) = flow.hidden.dims4()?;
        if channels != self.conv.shape().in_channels {
            let wanted = self.conv.shape().in_channels;
            let what = format!("{} takes {wanted} channels, the maps have {channels}", self.name);
            return Err(ModelError::Request(what));
        }
        let maps = self.conv.forward(&flow.hidden, ctx)?;
        let Affine { weight, bias } = &self.norm;
        // a norm that is not trained belongs to a frozen base, whose statistics are part of it
        let normed = if ctx.training && weight.is_learning() {
            let (normed, statistics) = ops::batch_norm(&maps, weight.active(), bias.active(), self.norm_eps)?;
            let count = maps.elem_count().checked_div(maps.dim(1)?).unwrap_or(0);
            flow.buffers.insert(self.norm_name.clone(), Seen { statistics, count });
            normed
        } else {
            let statistics = if weight.is_enabled() { &self.running } else { &self.original };
            ops::batch_norm_frozen(&maps, weight.active(), bias.active(), statistics, self.norm_eps)?
        };
        let active = normed.relu()?;
        flow.hidden = if self.pool { ops::max_pool2d(&active, (2, 2), Slide::even(2, 0))? } else { active };
        if ctx.training {
            flow.add_loss(self.conv.site().extra_loss()?)?;
        }
        Ok(flow)
    }

    fn follow(&mut self, buffers: &BTreeMap<String, Seen>) {
        if let Some(Seen { statistics, count }) = buffers.get(&self.norm_name) {
            self.running.follow(statistics, *count, self.norm_momentum);
        }
    }

    fn sites(&self) -> Vec<&LinearSite> {
        self.linear()
    }

    fn sites_mut(&mut self) -> Vec<&mut LinearSite> {
        self.linear_mut()
    }

    fn params(&self) -> Vec<Param> {
        parts::params(self)
    }

    fn promote(&mut self, select: &dyn Fn(&str) -> bool) -> Result<()> {
        parts::promote(self, select)
    }

    fn set_enabled(&self, enabled: bool) {
        parts::set_enabled(self, enabled);
    }

    fn read_weight(&self, name: &str) -> Result<Option<Vec<f32>>> {
        match name.strip_prefix(self.norm_name.as_str()) {
            Some(".mean") => Ok(Some(self.running.mean.clone())),
            Some(".variance") => Ok(Some(self.running.variance.clone())),
            _ => parts::read_weight(self, name),
        }
    }

    fn trained_weights(&self) -> Vec<String> {
        parts::trained_weights(self)
    }
}
