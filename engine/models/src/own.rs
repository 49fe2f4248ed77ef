//! Weights that belong to a stage itself rather than to a linear site: norms, and the token table that embedding and
//! head may share.

use crate::Result;
use candle_core::{Tensor, Var};
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use temper_nn::fused::FusedNorm;
use temper_nn::ops::{EmbeddingTable, HeadTable};
use temper_nn::{FrozenWeight, Param, Role};

/// The weight of an RMS norm.
#[derive(Debug)]
pub(crate) struct Norm {
    name: String,
    frozen: Tensor,
    trained: Option<Var>,
    enabled: AtomicBool,
}

impl Norm {
    pub(crate) fn new(name: impl Into<String>, weight: Tensor) -> Self {
        Self { name: name.into(), frozen: weight, trained: None, enabled: AtomicBool::new(true) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The weight for a forward pass; tracked when it is trained.
    pub(crate) fn weight(&self) -> &Tensor {
        match &self.trained {
            Some(var) if self.enabled.load(Ordering::Relaxed) => var.as_tensor(),
            _ => &self.frozen,
        }
    }

    /// The norm as part of a fused half.
    pub(crate) fn fused(&self, eps: f64) -> Result<FusedNorm> {
        let trained = self.trained.is_some() && self.enabled.load(Ordering::Relaxed);
        let name = trained.then(|| self.name.clone());
        Ok(FusedNorm { name, weight: self.weight().contiguous()?, eps })
    }

    pub(crate) fn promote(&mut self) -> Result<()> {
        if self.trained.is_none() {
            // a copy: a variable is written in place, and the base's values must stay
            self.trained = Some(Var::from_tensor(&self.frozen.copy()?)?);
        }
        Ok(())
    }

    /// Makes `share` of what was trained the weight that is not trained.
    pub(crate) fn settle(&mut self, share: f64) -> Result<()> {
        if let Some(var) = self.trained.take() {
            let change = (var.as_tensor().detach() - &self.frozen)?;
            // Without a detour where it is the whole: the values stay what they are.
            self.frozen = if share == 1.0 { var.copy()?.detach() } else { (&self.frozen + (change * share)?)? };
        }
        Ok(())
    }

    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    pub(crate) fn is_trained(&self) -> bool {
        self.trained.is_some()
    }

    pub(crate) fn param(&self) -> Option<Param> {
        let var = self.trained.clone()?;
        Some(Param::new(self.name.clone(), var, Role::Norm, false))
    }

    pub(crate) fn read(&self) -> Result<Vec<f32>> {
        let current = self.trained.as_ref().map_or(&self.frozen, Var::as_tensor);
        Ok(current.to_vec1()?)
    }
}

/// The (vocabulary, hidden) table of an embedding, of a head, or of both. Clones are the same table: a tied model
/// has one variable under one name, whichever stage it is asked from.
#[derive(Debug, Clone)]
pub(crate) struct Table(Arc<TableInner>);

#[derive(Debug)]
struct TableInner {
    name: &'static str,
    role: Role,
    frozen: Arc<FrozenWeight>,
    trained: RwLock<Option<Var>>,
    enabled: AtomicBool,
}

impl Table {
    pub(crate) fn new(name: &'static str, role: Role, frozen: Arc<FrozenWeight>) -> Self {
        let (trained, enabled) = (RwLock::new(None), AtomicBool::new(true));
        Self(Arc::new(TableInner { name, role, frozen, trained, enabled }))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.0.name
    }

    pub(crate) fn frozen(&self) -> &Arc<FrozenWeight> {
        &self.0.frozen
    }

    fn active(&self) -> Option<Tensor> {
        let trained = self.0.trained.read();
        trained.as_ref().filter(|_| self.0.enabled.load(Ordering::Relaxed)).map(|var| var.as_tensor().clone())
    }

    pub(crate) fn embedding(&self) -> EmbeddingTable {
        match self.active() {
            Some(tensor) => EmbeddingTable::Trained(tensor),
            None => EmbeddingTable::Frozen(Arc::clone(&self.0.frozen)),
        }
    }

    pub(crate) fn head(&self) -> HeadTable {
        match self.active() {
            Some(tensor) => HeadTable::Trained(tensor),
            None => HeadTable::Frozen(Arc::clone(&self.0.frozen)),
        }
    }

    pub(crate) fn promote(&self) -> Result<()> {
        let mut trained = self.0.trained.write();
        if trained.is_none() {
            *trained = Some(Var::from_tensor(&self.0.frozen.to_tensor()?)?);
            self.0.frozen.bytes().let_go();
        }
        Ok(())
    }

    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.0.enabled.store(enabled, Ordering::Relaxed);
    }

    pub(crate) fn is_trained(&self) -> bool {
        self.0.trained.read().is_some()
    }

    pub(crate) fn param(&self) -> Option<Param> {
        let var = self.0.trained.read().clone()?;
        Some(Param::new(self.0.name, var, self.0.role, true))
    }

    pub(crate) fn read(&self) -> Result<Vec<f32>> {
        match self.0.trained.read().as_ref() {
            Some(var) => Ok(var.flatten_all()?.to_vec1()?),
            None => Ok(self.0.frozen.to_f32()?.into_owned()),
        }
    }
}
