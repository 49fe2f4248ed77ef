//! What a stage of a vision model holds: linear layers, and tensors of its own. What the trainer asks of a stage is
//! answered here once for all of them.

use crate::Result;
use candle_core::{Tensor, Var};
use std::sync::atomic::{AtomicBool, Ordering};
use temper_nn::{LinearSite, Param, Role, Weight};

/// A tensor that is no linear layer: weight or bias of a norm, class token, positions.
#[derive(Debug)]
pub(crate) struct OwnTensor {
    name: String,
    role: Role,
    frozen: Tensor,
    trained: Option<Var>,
    enabled: AtomicBool,
}

impl OwnTensor {
    pub(crate) fn new(name: &str, role: Role, values: Tensor) -> Self {
        Self { name: name.to_owned(), role, frozen: values, trained: None, enabled: AtomicBool::new(true) }
    }

    /// The values for a forward pass; tracked when they are trained.
    pub(crate) fn active(&self) -> &Tensor {
        match &self.trained {
            Some(var) if self.enabled.load(Ordering::Relaxed) => var.as_tensor(),
            _ => &self.frozen,
        }
    }

    /// Whether it is trained and a forward pass uses what was trained.
    pub(crate) fn is_learning(&self) -> bool {
        self.trained.is_some() && self.enabled.load(Ordering::Relaxed)
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// What it is selected by: the norm it belongs to, or its own name.
    fn module(&self) -> &str {
        let name = self.name.as_str();
        name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).unwrap_or(name)
    }

    fn promote(&mut self) -> Result<()> {
        if self.trained.is_none() {
            // a copy: a variable is written in place, and the base's values must stay
            self.trained = Some(Var::from_tensor(&self.frozen.copy()?)?);
        }
        Ok(())
    }

    fn param(&self) -> Option<Param> {
        let var = self.trained.clone()?;
        Some(Param::new(self.name.clone(), var, self.role, false))
    }

    fn read(&self) -> Result<Vec<f32>> {
        let current = self.trained.as_ref().map_or(&self.frozen, Var::as_tensor);
        Ok(current.flatten_all()?.to_vec1()?)
    }
}

/// Weight and bias of a norm.
#[derive(Debug)]
pub(crate) struct Affine {
    pub(crate) weight: OwnTensor,
    pub(crate) bias: OwnTensor,
}

impl Affine {
    pub(crate) const fn both(&self) -> [&OwnTensor; 2] {
        [&self.weight, &self.bias]
    }

    pub(crate) const fn both_mut(&mut self) -> [&mut OwnTensor; 2] {
        [&mut self.weight, &mut self.bias]
    }
}

/// Something made of linear layers and tensors of its own, in the order of the graph.
pub(crate) trait Parts {
    fn linear(&self) -> Vec<&LinearSite>;
    fn linear_mut(&mut self) -> Vec<&mut LinearSite>;
    fn own(&self) -> Vec<&OwnTensor>;
    fn own_mut(&mut self) -> Vec<&mut OwnTensor>;
}

pub(crate) fn params(parts: &impl Parts) -> Vec<Param> {
    let own = parts.own().into_iter().filter_map(OwnTensor::param);
    own.chain(parts.linear().into_iter().flat_map(LinearSite::params)).collect()
}

pub(crate) fn promote(parts: &mut impl Parts, select: &dyn Fn(&str) -> bool) -> Result<()> {
    for own in parts.own_mut() {
        if select(own.module()) {
            own.promote()?;
        }
    }
    for site in parts.linear_mut() {
        if select(site.name()) {
            site.promote()?;
        }
    }
    Ok(())
}

pub(crate) fn set_enabled(parts: &impl Parts, enabled: bool) {
    parts.own().into_iter().for_each(|own| own.enabled.store(enabled, Ordering::Relaxed));
    parts.linear().into_iter().for_each(|site| site.set_enabled(enabled));
}

pub(crate) fn read_weight(parts: &impl Parts, name: &str) -> Result<Option<Vec<f32>>> {
    if let Some(own) = parts.own().into_iter().find(|own| own.name == name) {
        return own.read().map(Some);
    }
    let Some((site, part)) = name.rsplit_once('.') else { return Ok(None) };
    let Some(site) = parts.linear().into_iter().find(|known| known.name() == site) else { return Ok(None) };
    let flat = |tensor: &Tensor| -> Result<Vec<f32>> { Ok(tensor.flatten_all()?.to_vec1()?) };
    Ok(match (part, &site.weight) {
        ("weight", Weight::Frozen(layer)) => Some(layer.weight.to_f32()?.into_owned()),
        ("weight", Weight::Trained { weight, .. }) => Some(flat(weight)?),
        ("bias", Weight::Frozen(layer)) => layer.bias.as_ref().map(flat).transpose()?,
        ("bias", Weight::Trained { bias, .. }) => bias.as_ref().map(|bias| flat(bias)).transpose()?,
        _ => None,
    })
}

pub(crate) fn trained_weights(parts: &impl Parts) -> Vec<String> {
    let own = parts.own().into_iter().filter(|own| own.trained.is_some()).map(|own| own.name.clone());
    let trained = |site: &&LinearSite| matches!(site.weight, Weight::Trained { .. });
    let sites = parts.linear().into_iter().filter(trained).flat_map(|site| {
        let bias = site.has_bias().then(|| format!("{}.bias", site.name()));
        std::iter::once(format!("{}.weight", site.name())).chain(bias)
    });
    own.chain(sites).collect()
}
