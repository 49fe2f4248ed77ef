//! The first stage: images to tokens.

use super::VitConfig;
use crate::stage::{Flow, Stage};
use crate::vision::parts::{self, OwnTensor, Parts};
use crate::vision::slots::VisionWeights;
use crate::{ModelError, Result};
use candle_core::Tensor;
use temper_nn::{ForwardContext, LinearSite, Param, Role};

/// Patches, class token, positions.
pub(super) struct EmbedStage {
    patch: LinearSite,
    class: Option<OwnTensor>,
    positions: OwnTensor,
    config: VitConfig,
}

impl EmbedStage {
    pub(super) fn new(config: &VitConfig, weights: &mut VisionWeights) -> Result<Self> {
        let class = config.has_class_token().then(|| weights.own("embed.class", Role::Embedding)).transpose()?;
        Ok(Self {
            patch: weights.site("embed.patch")?,
            class,
            positions: weights.own("embed.positions", Role::Embedding)?,
            config: config.clone(),
        })
    }

    /// The patches of `images` as rows (batch, patches, channels · side · side): a convolution whose window moves by its
    /// own size is a linear layer over them.
    fn patches(&self, images: &Tensor) -> Result<Tensor> {
        let ((height, width), side) = (self.config.classes.image_size, self.config.patch_size);
        let wanted = [self.config.classes.channels, height, width];
        if images.dims().get(1..) != Some(wanted.as_slice()) {
            let what = format!(
                "images of shape {:?}, the model takes (batch, channels, height, width) with {wanted:?}",
                images.dims()
            );
            return Err(ModelError::Request(what));
        }
        let (batch, channels) = (images.dim(0)?, wanted[0]);
        let (down, across) = self.config.patches();
        let cut = images.reshape(&[batch, channels, down, side, across, side][..])?;
        let rows = cut.permute(&[0, 2, 4, 1, 3, 5][..])?.contiguous()?;
        Ok(rows.reshape((batch, down * across, channels * side * side))?)
    }
}

impl Parts for EmbedStage {
    fn linear(&self) -> Vec<&LinearSite> {
        vec![&self.patch]
    }

    fn linear_mut(&mut self) -> Vec<&mut LinearSite> {
        vec![&mut self.patch]
    }

    fn own(&self) -> Vec<&OwnTensor> {
        self.class.iter().chain([&self.positions]).collect()
    }

    fn own_mut(&mut self) -> Vec<&mut OwnTensor> {
        self.class.iter_mut().chain([&mut self.positions]).collect()
    }
}

impl Stage for EmbedStage {
    fn name(&self) -> &str {
        "embed"
    }

    fn forward(&self, mut flow: Flow, ctx: &ForwardContext) -> Result<Flow> {
        let patches = self.patches(&flow.hidden)?;
        let (batch, count, _) = patches.dims3()?;
        let mut tokens = self.patch.forward(&patches, &ctx.resized(count))?;
        if let Some(class) = &self.class {
            let class = class.active().broadcast_as((batch, 1, self.config.hidden_size))?;
            tokens = Tensor::cat(&[&class.contiguous()?, &tokens], 1)?;
        }
        flow.hidden = tokens.broadcast_add(self.positions.active())?;
        if ctx.training {
            flow.add_loss(self.patch.extra_loss()?)?;
        }
        Ok(flow)
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
        parts::read_weight(self, name)
    }

    fn trained_weights(&self) -> Vec<String> {
        parts::trained_weights(self)
    }
}
