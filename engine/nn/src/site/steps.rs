//! What a linear layer's adapters do around an optimiser step, and what they keep for a checkpoint.
//!
//! Place in the data flow: the step of a whole model ([`crate::rules`]) calls these in turn; checkpoints read and fill
//! [`LinearSite::memory`] and [`LinearSite::restore`].

use super::LinearSite;
use crate::Result;
use crate::adapter::{Adapter, Find};
use crate::param::Grads;
use crate::rules::At;
use crate::telemetry::Routing;
use candle_core::Tensor;
use std::sync::atomic::Ordering;

impl LinearSite {
    /// While on, what adapters treat as constant in their backward pass keeps its present value, so that finite
    /// differences see the function whose gradient is taken.
    pub fn hold_constants(&self, on: bool) {
        self.adapters.iter().for_each(|adapter| adapter.hold_constants(on));
    }

    /// Puts the mean of what routers were seen choosing in their place, or the routers back; says whether a mean stood there
    /// before. See [`Adapter::fix_routing`].
    pub fn fix_routing(&self, on: bool) -> bool {
        let before: Vec<bool> = self.adapters.iter().map(|adapter| adapter.fix_routing(on)).collect();
        before.contains(&true)
    }

    /// What a router on it was seen choosing; none where no change depends on the input.
    #[must_use]
    pub fn routing(&self) -> Option<Routing> {
        self.adapters.iter().find_map(|adapter| adapter.routing())
    }

    /// Sum of the adapters' extra losses, a scalar; none while they are switched off.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn extra_loss(&self) -> Result<Option<Tensor>> {
        let mut sum: Option<Tensor> = None;
        if !self.enabled.load(Ordering::Relaxed) {
            return Ok(sum);
        }
        for adapter in &self.adapters {
            if let Some(loss) = adapter.extra_loss()? {
                sum = Some(match sum {
                    Some(sum) => (sum + loss)?,
                    None => loss,
                });
            }
        }
        Ok(sum)
    }

    /// Lets every adapter change its own gradients before clipping.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn map_grads(&self, grads: &mut Grads) -> Result<()> {
        self.adapters.iter().try_for_each(|adapter| adapter.map_grads(grads))
    }

    /// Lets every adapter change its own parameters after optimiser step `step`, counted from 1.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn after_step(&mut self, step: u64) -> Result<()> {
        self.adapters.iter_mut().try_for_each(|adapter| adapter.after_step(step))
    }

    /// Lets every adapter look at its clipped gradients.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn observe(&mut self, grads: &Grads) -> Result<()> {
        self.adapters.iter_mut().try_for_each(|adapter| adapter.observe(grads))
    }

    /// Lets every adapter turn its clipped gradients into what the optimiser is to take.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn map_step(&mut self, grads: &mut Grads, at: At) -> Result<()> {
        self.adapters.iter_mut().try_for_each(|adapter| adapter.map_step(grads, at))
    }

    /// Takes adapter number `at` off.
    pub(crate) fn remove_adapter(&mut self, at: usize) {
        if at < self.adapters.len() {
            self.adapters.remove(at);
        }
    }

    /// The adapters, lowest first, to change them by their rules.
    pub(crate) fn adapters_mut(&mut self) -> &mut [Box<dyn Adapter>] {
        &mut self.adapters
    }

    /// What the adapters remember beside their parameters; see [`Adapter::memory`].
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn memory(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = Vec::new();
        for adapter in &self.adapters {
            all.extend(adapter.memory()?);
        }
        Ok(all)
    }

    /// Gives the adapters saved shapes and memories; see [`Adapter::restore`]. What is held beneath them becomes what
    /// belongs to these; see [`Adapter::base_again`].
    ///
    /// # Errors
    /// What `find` says; shapes that fit nothing.
    pub fn restore(&mut self, find: &Find<'_>) -> Result<()> {
        self.adapters.iter_mut().try_for_each(|adapter| adapter.restore(find))?;
        for at in 0..self.adapters.len() {
            let Some(adapter) = self.adapters.get(at) else { continue };
            if let Some(base) = adapter.base_again(self.below(at))? {
                self.hold(base);
            }
        }
        Ok(())
    }
}
