//! A linear layer of a model that methods can change: the weight and the adapters on it.
//!
//! Place in the data flow: a model's stages call [`LinearSite::forward`]; methods fill sites through
//! [`LinearSite::attach`] and [`LinearSite::promote`]; the trainer reads [`LinearSite::params`]; exporters
//! read [`LinearSite::merged`] and [`LinearSite::export`].

use crate::adapter::{Adapter, AdapterExport, FusedChange, MergedWeight, PeftLayer};
use crate::context::ForwardContext;
use crate::frozen::FrozenWeight;
use crate::fused::{FusedFactor, FusedLinear, FusedWeight};
use crate::layer_stats::{Gather, Gathering, LayerStats};
use crate::ops::{FrozenLinear, linear, linear_trained, tap_each, with_slice};
use crate::param::{Param, Role};
use crate::slot_adapter::SlotAdapter;
use crate::slots::Slots;
use crate::{NnError, Result};
use candle_core::{Tensor, Var};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

pub use layer::Layer;

/// The weight of a linear layer, (out, in).
pub enum Weight {
    /// Held as the file has it, never changed.
    Frozen(FrozenLinear),
    /// Trained in f32.
    Trained {
        /// (out, in).
        weight: Var,
        /// (out).
        bias: Option<Var>,
    },
}

/// A linear layer `y = x Wᵀ + b` with the adapters on it.
pub struct LinearSite {
    name: String,
    /// The weight below all adapters.
    pub weight: Weight,
    adapters: Vec<Box<dyn Adapter>>,
    /// The weight before [`LinearSite::promote`]: what "disabled" returns to and what changes are
    /// measured against.
    origin: Option<Weight>,
    /// The weight as its file has it, where the frozen one was rounded from it.
    source: Option<Weight>,
    enabled: AtomicBool,
    /// Whether "disabled" returns to the source, where there is one.
    original: AtomicBool,
    /// Frobenius norm of the original weight, measured once.
    original_norm: OnceLock<f64>,
    /// Whether the layer came with a bias.
    came_with_bias: bool,
    /// Who wants to see the inputs, while somebody does.
    watched: Mutex<Option<(Arc<Gathering>, Gather)>>,
}

impl Weight {
    /// Rows.
    #[must_use]
    pub fn out_features(&self) -> usize {
        match self {
            Self::Frozen(layer) => layer.weight.rows,
            Self::Trained { weight, .. } => weight.dims().first().copied().unwrap_or(0),
        }
    }

    /// Columns.
    #[must_use]
    pub fn in_features(&self) -> usize {
        match self {
            Self::Frozen(layer) => layer.weight.cols,
            Self::Trained { weight, .. } => weight.dims().last().copied().unwrap_or(0),
        }
    }

    /// Whether there is a bias.
    #[must_use]
    pub fn has_bias(&self) -> bool {
        match self {
            Self::Frozen(layer) => layer.bias.is_some(),
            Self::Trained { bias, .. } => bias.is_some(),
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Frozen(layer) => linear(x, layer),
            Self::Trained { weight, bias } => linear_trained(x, weight, bias.as_ref().map(|bias| bias.as_tensor())),
        }
    }

    /// The numbers, in f32.
    fn values(&self) -> Result<MergedWeight> {
        let (out_features, in_features) = (self.out_features(), self.in_features());
        let (weight, bias) = match self {
            Self::Frozen(layer) => {
                let mut values = vec![0f32; out_features * in_features];
                layer.weight.read_rows(0..out_features, &mut values)?;
                (values, layer.bias.as_ref().map(Tensor::to_vec1).transpose()?)
            }
            Self::Trained { weight, bias } => {
                let bias = bias.as_ref().map(|bias| bias.to_vec1()).transpose()?;
                (weight.flatten_all()?.to_vec1()?, bias)
            }
        };
        Ok(MergedWeight { out_features, in_features, weight, bias })
    }
}

impl LinearSite {
    /// A site over a frozen layer. `name` is unique in the model, such as `layers.3.attn.q`.
    #[must_use]
    pub fn new(name: impl Into<String>, layer: FrozenLinear) -> Self {
        Self {
            name: name.into(),
            came_with_bias: layer.bias.is_some(),
            weight: Weight::Frozen(layer),
            adapters: Vec::new(),
            origin: None,
            source: None,
            enabled: AtomicBool::new(true),
            original: AtomicBool::new(false),
            original_norm: OnceLock::new(),
            watched: Mutex::new(None),
        }
    }

    /// From now on every forward pass without a fused half shows its inputs to `watch`, until there is none.
    pub(crate) fn watch_inputs(&self, watch: Option<(Arc<Gathering>, Gather)>) {
        *self.watched.lock() = watch;
    }

    /// Whether somebody wants to see the inputs.
    pub(crate) fn is_watched(&self) -> bool {
        self.watched.lock().is_some()
    }

    /// Shows the inputs (.., in) of a pass to whoever wants to see them, padding left out.
    pub(crate) fn look_at(&self, x: &Tensor, ctx: &ForwardContext) -> Result<()> {
        let watched = self.watched.lock();
        let Some((gathering, gather)) = watched.as_ref().filter(|(_, gather)| *gather != Gather::Fisher) else {
            return Ok(());
        };
        let features = self.in_features();
        if !gathering.wants(&self.name, *gather, x.id(), features) {
            return Ok(());
        }
        with_slice(x, |values| {
            let mut rows = Vec::with_capacity(values.len());
            for (row, borders) in values.chunks(ctx.width.max(1) * features.max(1)).zip(ctx.borders.iter()) {
                let end = borders.last().copied().unwrap_or(0) as usize * features;
                rows.extend_from_slice(row.get(..end).unwrap_or(row));
            }
            gathering.take_in(&self.name, &rows)
        })?
    }

    /// Shows the gradient of each sample, in the backward pass of an output `y` (.., out) made of `x` (.., in), to whoever
    /// wants to see it.
    fn look_back(&self, y: Tensor, x: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        let watched = self.watched.lock();
        let Some((gathering, Gather::Fisher)) = watched.as_ref() else { return Ok(y) };
        gathering.wants(&self.name, Gather::Fisher, x.id(), self.in_features());
        let (gathering, name) = (Arc::clone(gathering), self.name.clone());
        tap_each(&y, x, ctx.width, move |gradient| gathering.take_in(&name, gradient))
    }

    /// The same site, which knows the weight of its file beside the one that was rounded from it: starts that repair what
    /// rounding took ask for it. It is mapped, so that it takes no memory until then.
    #[must_use]
    pub fn with_source(self, source: Arc<FrozenWeight>) -> Self {
        let bias = match &self.weight {
            Weight::Frozen(layer) => layer.bias.clone(),
            Weight::Trained { .. } => None,
        };
        Self { source: Some(Weight::Frozen(FrozenLinear { weight: source, bias })), ..self }
    }

    /// The weight of its file, where the one that is held was rounded from it in memory.
    #[must_use]
    pub fn source(&self) -> Option<&FrozenWeight> {
        match &self.source {
            Some(Weight::Frozen(layer)) => Some(&layer.weight),
            Some(Weight::Trained { .. }) | None => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Rows of the weight.
    #[must_use]
    pub fn out_features(&self) -> usize {
        self.weight.out_features()
    }

    /// Columns of the weight.
    #[must_use]
    pub fn in_features(&self) -> usize {
        self.weight.in_features()
    }

    /// Whether it has a bias.
    #[must_use]
    pub fn has_bias(&self) -> bool {
        self.weight.has_bias()
    }

    /// Whether its file has a bias for it: an adapter that lies frozen on it may have brought one.
    #[must_use]
    pub fn came_with_bias(&self) -> bool {
        self.came_with_bias
    }

    /// Its frozen layer; after [`promote`](Self::promote) the one it was before.
    #[must_use]
    pub fn frozen(&self) -> Option<&FrozenLinear> {
        match (&self.weight, &self.origin) {
            (Weight::Frozen(layer), _) | (_, Some(Weight::Frozen(layer))) => Some(layer),
            _ => None,
        }
    }

    /// The adapters, lowest first.
    #[must_use]
    pub fn adapters(&self) -> &[Box<dyn Adapter>] {
        &self.adapters
    }

    /// Whether an adapter is attached or the weight itself is trained.
    #[must_use]
    pub fn is_adapted(&self) -> bool {
        !self.adapters.is_empty() || matches!(self.weight, Weight::Trained { .. })
    }

    /// Puts an adapter made of `slots` on top of the ones that are there. The first adapter's parameters
    /// are named `<site>.a`, `<site>.b`, `<site>.core`; those of the next ones `<site>+1.a` and so on.
    ///
    /// # Errors
    /// [`NnError`] when the slots cannot be built on this layer.
    pub fn attach(&mut self, slots: &Slots, seed: u64) -> Result<()> {
        self.attach_with(slots, seed, None)
    }

    /// The same with what was gathered of the inputs, for slots whose calibration asks for it. Without it their starts are
    /// zeros, to be filled from a checkpoint.
    ///
    /// # Errors
    /// [`NnError`] when the slots cannot be built on this layer.
    pub fn attach_with(&mut self, slots: &Slots, seed: u64, stats: Option<&LayerStats>) -> Result<()> {
        let adapter = self.prepare(slots, seed, stats)?;
        self.put(adapter);
        Ok(())
    }

    /// Makes the adapter that [`attach_with`](Self::attach_with) would put on top, and changes nothing: layers can be
    /// prepared at the same time.
    ///
    /// # Errors
    /// [`NnError`] when the slots cannot be built on this layer.
    pub fn prepare(&self, slots: &Slots, seed: u64, stats: Option<&LayerStats>) -> Result<SlotAdapter> {
        let name = match self.adapters.len() {
            0 => self.name.clone(),
            count => format!("{}+{count}", self.name),
        };
        SlotAdapter::build_with(&name, slots, self.below(self.adapters.len()), seed, stats)
    }

    /// Puts on top what [`prepare`](Self::prepare) made for this layer as it is now.
    pub fn put(&mut self, mut adapter: SlotAdapter) {
        if let Some(base) = adapter.take_base() {
            self.hold(base);
        }
        self.adapters.push(Box::new(adapter));
    }

    /// Holds another frozen weight in the place of its own.
    fn hold(&mut self, base: FrozenWeight) {
        if let Weight::Frozen(layer) = &self.weight {
            // Off, the layer is still what it was.
            let layer = FrozenLinear { weight: Arc::new(base), bias: layer.bias.clone() };
            let before = std::mem::replace(&mut self.weight, Weight::Frozen(layer));
            self.origin.get_or_insert(before);
        }
    }

    /// Puts any adapter on top of the ones that are there.
    pub fn attach_adapter(&mut self, adapter: Box<dyn Adapter>) {
        self.adapters.push(adapter);
    }

    /// Takes all adapters off, lowest first; [`LinearSite::attach_adapter`] puts each back.
    pub fn take_adapters(&mut self) -> Vec<Box<dyn Adapter>> {
        std::mem::take(&mut self.adapters)
    }

    /// Removes all adapters; their parameters are lost.
    pub fn detach_all(&mut self) {
        self.adapters.clear();
    }

    /// Switches adapters and trained weights on or off in [`forward`](Self::forward) only: off, the layer
    /// answers as the model it came from. Merging, export and parameters are not affected.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    /// While on, switched off means the weight of its file, not the one that was rounded from it.
    pub fn set_original(&self, original: bool) {
        self.original.store(original, Ordering::Relaxed);
    }

    /// The weight that the layer has when it is switched off.
    fn base(&self) -> &Weight {
        let source = self.source.as_ref().filter(|_| self.original.load(Ordering::Relaxed));
        source.or(self.origin.as_ref()).unwrap_or(&self.weight)
    }

    /// The weight and the adapters that a forward pass uses now: off, the original weight and no adapter.
    pub(crate) fn active(&self) -> (&Weight, &[Box<dyn Adapter>]) {
        if self.enabled.load(Ordering::Relaxed) { (&self.weight, &self.adapters) } else { (self.base(), &[]) }
    }

    /// Output (.., out) for `x` (.., in).
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        self.look_at(x, ctx)?;
        let y = if self.enabled.load(Ordering::Relaxed) {
            self.below(self.adapters.len()).forward(x, ctx)?
        } else {
            self.forward_base(x)?
        };
        self.look_back(y, x, ctx)
    }

    /// Output of the layer as it came, without anything on it.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward_base(&self, x: &Tensor) -> Result<Tensor> {
        self.base().forward(x)
    }

    /// Output (.., out) for `x` (.., in) of the weight alone, whatever adapters are on it.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward_weight(&self, x: &Tensor) -> Result<Tensor> {
        self.active().0.forward(x)
    }

    /// Bytes of f32 values that the backward pass of this layer reads of what goes through it in the pass `ctx`: of its
    /// input, of the insides of what is on it, of its output. They are kept from the forward pass or made again from what
    /// is. `None` for a layer that is run as a graph, which keeps whatever its operations were given.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn kept_bytes(&self, ctx: &ForwardContext) -> Result<Option<usize>> {
        self.fused(ctx)?.map(|layer| layer.kept_bytes(ctx.batch * ctx.width)).transpose()
    }

    /// The layer as part of a fused half; `None` when something on it needs a graph. Extra losses are no part of it: who
    /// runs the half adds them.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn fused(&self, ctx: &ForwardContext) -> Result<Option<FusedLinear>> {
        let enabled = self.enabled.load(Ordering::Relaxed);
        let weight = if enabled { &self.weight } else { self.base() };
        let change = match (enabled, self.adapters.as_slice()) {
            (false, _) | (true, []) => FusedChange::default(),
            (true, [adapter]) => match adapter.fused_change(self.below(0), ctx)? {
                Some(change) => change,
                None => return Ok(None),
            },
            (true, _) => return Ok(None),
        };
        let FusedChange { low_rank, residual, bias: shift, seen, left, graph, columns, rows, weight: instead } = change;
        let (weight, own) = match weight {
            // A bias that is tracked belongs to a graph.
            Weight::Frozen(layer) if layer.bias.as_ref().is_some_and(Tensor::track_op) => return Ok(None),
            Weight::Frozen(layer) => {
                let bias = layer.bias.as_ref().map(|bias| Ok::<_, NnError>(FusedFactor::fixed(bias.contiguous()?)));
                (instead.unwrap_or_else(|| FusedWeight::Frozen(Arc::clone(&layer.weight))), bias.transpose()?)
            }
            Weight::Trained { .. } if instead.is_some() => return Ok(None),
            Weight::Trained { weight, bias } => {
                let own = |key: &str, var: &Var| {
                    FusedFactor::trained(format!("{}.{key}", self.name), var.as_tensor().clone())
                };
                (FusedWeight::Trained(own("weight", weight)), bias.as_ref().map(|bias| own("bias", bias)))
            }
        };
        let beside = rows.as_ref().is_some_and(|rows| rows.beside_bias);
        // Where nothing stands between them, both biases are one; the gradient of the sum is that of the change.
        let (bias, shift) = match (own, shift) {
            (Some(own), Some(shift)) if !own.is_trained() && (beside || rows.is_none() && left.is_none()) => {
                let sum = Some(shift.plus(&own.value)?);
                if beside { (None, sum) } else { (sum, None) }
            }
            (Some(own), None) if beside => (None, Some(own)),
            (None, shift) if rows.is_none() && left.is_none() => (shift, None),
            (Some(_), _) if beside => return Ok(None),
            (own, shift) => (own, shift),
        };
        let rows = rows.map(|rows| rows.factors);
        Ok(Some(FusedLinear { weight, bias, low_rank, residual, left, graph, columns, rows, shift, seen }))
    }

    /// Everything that is trained here: the weight itself (`<site>.weight`, `<site>.bias`) if it was
    /// promoted, then the adapters' parameters.
    #[must_use]
    pub fn params(&self) -> Vec<Param> {
        let mut params = Vec::new();
        if let Weight::Trained { weight, bias } = &self.weight {
            let mut own = |key: &str, var: &Var, role: Role| {
                params.push(Param::new(format!("{}.{key}", self.name), var.clone(), role, role == Role::Weight));
            };
            own("weight", weight, Role::Weight);
            if let Some(bias) = bias {
                own("bias", bias, Role::Bias);
            }
        }
        params.extend(self.adapters.iter().flat_map(|adapter| adapter.params()));
        params
    }

    /// Makes the weight itself trained, in f32. The frozen weight stays within reach (it is mapped from its
    /// file where possible): [`set_enabled`](Self::set_enabled) returns to it and
    /// [`telemetry`](Self::telemetry) measures against it. Does nothing the second time.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn promote(&mut self) -> Result<()> {
        let Weight::Frozen(layer) = &self.weight else {
            return Ok(());
        };
        let weight = Var::from_tensor(&layer.weight.to_tensor()?)?;
        let bias = match &layer.bias {
            Some(bias) => Some(Var::from_tensor(&bias.copy()?.detach())?),
            None => None,
        };
        layer.weight.bytes().let_go();
        let frozen = std::mem::replace(&mut self.weight, Weight::Trained { weight, bias });
        self.origin = Some(frozen);
        Ok(())
    }

    /// Weight and bias with every adapter folded in. `None` when an adapter's change depends on the input.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn merge(&self) -> Result<Option<MergedWeight>> {
        let mut merged = self.weight.values()?;
        for adapter in &self.adapters {
            if !adapter.merge_into(&mut merged)? {
                return Ok(None);
            }
        }
        Ok(Some(merged))
    }

    /// The weight (out, in) with every adapter folded in, f32; the weight as it is when there are none.
    /// `None` when an adapter's change depends on the input.
    ///
    /// # Errors
    /// A weight that cannot be read.
    pub fn merged(&self) -> Result<Option<Tensor>> {
        self.merge()?.map(MergedWeight::into_tensor).transpose()
    }

    /// The forms in which the change leaves for a file, lowest adapter first: one whole weight when the
    /// weight itself is trained or an adapter is no sum to it, empty when nothing is trained.
    ///
    /// # Errors
    /// [`NnError`] when a change fits neither form.
    pub fn export(&self) -> Result<Vec<AdapterExport>> {
        if let Weight::Frozen(_) = self.weight {
            let layers = (0..self.adapters.len()).map(|below| self.below(below));
            let sums = self.adapters.iter().zip(layers).map(|(adapter, below)| adapter.export(below));
            if let Some(sums) = sums.collect::<Result<Option<Vec<_>>>>()? {
                return Ok(sums);
            }
        }
        let Some(merged) = self.merge()? else {
            let what = "carries an adapter whose change depends on the input".to_owned();
            return Err(NnError::Adapter { site: self.name.clone(), what });
        };
        let bias = match merged.bias.clone() {
            Some(bias) => Some(Tensor::new(bias, &candle_core::Device::Cpu)?),
            None => None,
        };
        Ok(vec![AdapterExport::Dense { weight: merged.into_tensor()?, bias }])
    }

    /// The layer in PEFT's own type, when a frozen weight carries one adapter for which PEFT has a type beside plain
    /// LoRA.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn peft(&self) -> Result<Option<PeftLayer>> {
        match (&self.weight, self.adapters.as_slice()) {
            (Weight::Frozen(_), [adapter]) => adapter.peft(self.below(0)),
            _ => Ok(None),
        }
    }

    /// The layer below adapter number `count`.
    pub(crate) fn below(&self, count: usize) -> Layer<'_> {
        let adapters = self.adapters.get(..count).unwrap_or_default();
        Layer { weight: &self.weight, adapters, source: self.source() }
    }
}

mod layer;
mod measure;
mod settle;
mod steps;
#[cfg(test)]
mod tests;
