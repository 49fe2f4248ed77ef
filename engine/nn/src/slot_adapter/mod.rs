//! The one interpreter of slots: gives a choice of [`Slots`] its parameters, forward pass, merge and export.
//!
//! Place in the data flow: [`crate::LinearSite::attach`] builds one per site and adapter. Forward, merge and
//! export all start from the terms of `chain.rs`, so that they cannot disagree about what the change is. The
//! matches here have no catch-all arm on purpose: a new slot variant does not compile until each of them
//! says what it means. `calibrate.rs` computes starts from the weight, `normalise.rs` holds what is done to the
//! changed weight, `peft.rs` the forms of PEFT's own types.

mod calibrate;
mod chain;
mod follow;
mod forward;
mod found;
mod fused;
mod gradient;
mod held;
mod kron;
mod look_up;
mod loss;
mod mix;
mod normalise;
mod peft;
mod ring;
mod scatter;
mod transform;
mod tucker;
mod weighed;

use crate::adapter::{Adapter, AdapterExport, Edit, Edited, Entries, Find, FusedChange, MergedWeight, PeftLayer};
use crate::context::ForwardContext;
use crate::frozen::FrozenWeight;
use crate::layer_stats::LayerStats;
use crate::ops::{self, Seen, scale_features};
use crate::param::{Grads, Param, Role};
use crate::repair::Shape;
use crate::rng::Stream;
use crate::rules::At;
use crate::site::Layer;
use crate::slots::{
    Action, Base, Calibration, Chain, Delta, Factor, GradientMap, Init, Mix, Rule, Score, Slots, Source,
};
use crate::telemetry::Routing;
use crate::{NnError, Result};
use calibrate::Starts;
use candle_core::Tensor;
use chain::{HeldChain, Spot};
use follow::Memory;
use held::{Held, Place, Subspace, values};
use kron::HeldKron;
use look_up::HeldLookUp;
use mix::HeldMix;
use normalise::HeldNormaliser;
use scatter::HeldScatter;
use std::sync::Arc;
use transform::HeldTransform;
use weighed::Weighed;

/// An adapter made of [`Slots`].
pub struct SlotAdapter {
    name: String,
    slots: Slots,
    change: Change,
    /// Who of the change's parts answers for a token.
    mix: Option<HeldMix>,
    transform: HeldTransform,
    normaliser: HeldNormaliser,
    bias: Option<Held>,
    /// The weight that the layer is to hold from now on, where the start asks for another one.
    new_base: Option<FrozenWeight>,
    /// What the weight that is held was rounded by, where that was seen in data.
    weighed: Option<Weighed>,
    /// Seed of the run: what grows later is drawn with it.
    seed: u64,
    memory: Memory,
    /// The gradient of the whole weight, where a rule is scored by it.
    seen: Option<Arc<Seen>>,
}

/// What is added to the base.
enum Change {
    None,
    /// Thin products.
    LowRank(Box<HeldChain>),
    /// Kronecker products.
    Kron(HeldKron),
    /// Single entries.
    Scatter(HeldScatter),
    /// Looked up.
    LookUp(HeldLookUp),
}

/// What is found in the weight before anything is built.
#[derive(Default)]
struct Found {
    starts: Option<Starts>,
    principal: Option<(Subspace, Subspace)>,
    /// Another weight to hold.
    base: Option<FrozenWeight>,
    /// What that was rounded by.
    weighed: Option<Weighed>,
}

impl Found {
    fn of(name: &str, slots: &Slots, below: Layer<'_>, seed: u64, stats: Option<&LayerStats>) -> Result<Self> {
        let energy = slots.complement();
        if matches!(slots.calibration, Calibration::None | Calibration::Sketch) && energy == 0.0 {
            return Ok(Self::default());
        }
        if let Calibration::Repair { storage, fisher_rows, .. } = slots.calibration {
            let weighed = match stats {
                Some(LayerStats::Fisher(fisher)) => Some(fisher).filter(|fisher| fisher.samples() > 0),
                Some(LayerStats::Components(_) | LayerStats::Energy(_) | LayerStats::SecondMoment(_)) | None => None,
            };
            let weighed = weighed.map(|fisher| Weighed::of(fisher, storage));
            // Nothing was looked at: it is made again from a checkpoint.
            if fisher_rows > 0 && weighed.is_none() {
                return Ok(Self::default());
            }
            let Some((starts, base)) = weighed::repaired(name, slots, below, seed, weighed.as_ref())? else {
                return Ok(Self::default());
            };
            return Ok(Self { starts: Some(starts), base, weighed, ..Self::default() });
        }
        if let Calibration::Compensate { iterations, .. } = slots.calibration {
            let seen = match stats {
                Some(LayerStats::SecondMoment(moment)) => Some(moment),
                Some(LayerStats::Components(_) | LayerStats::Energy(_) | LayerStats::Fisher(_)) | None => None,
            };
            let (Some(source), Some(layer), Some(moment)) = (below.source(), below.frozen(), seen) else {
                return Ok(Self::default());
            };
            let mut stream = Stream::new(seed, &format!("calibration/{name}"));
            let (out_features, in_features) = (below.out_features(), below.in_features());
            let shape = Shape { out_features, in_features, rank: slots.rank(), iterations };
            let scale = slots.scale.value(slots.rank());
            let starts = calibrate::compensated((source, &layer.weight), shape, &moment.mean(), scale, &mut stream)?;
            return Ok(Self { starts: Some(starts), ..Self::default() });
        }
        if matches!(slots.calibration, Calibration::Energy { .. }) && energy == 0.0 {
            let starts = match stats {
                Some(LayerStats::Energy(energies)) => {
                    Some(calibrate::picked(energies, slots.rank(), below.in_features()))
                }
                Some(LayerStats::SecondMoment(_) | LayerStats::Components(_) | LayerStats::Fisher(_)) | None => None,
            };
            return Ok(Self { starts, ..Self::default() });
        }
        let weight = below.original(slots.base, name)?;
        let mut stream = Stream::new(seed, &format!("calibration/{name}"));
        let scale = slots.scale.value(slots.rank());
        let starts = match (slots.calibration, &slots.delta) {
            (Calibration::None | Calibration::Sketch, _) => None,
            (Calibration::Kronecker { iterations }, Delta::Kron(kron)) => {
                Some(calibrate::kronecker(iterations, &weight, kron, scale, &mut stream)?)
            }
            (calibration, _) => Some(calibrate::starts(calibration, &weight, slots.rank(), scale, &mut stream, stats)?),
        };
        Ok(Self { starts, principal: calibrate::principal(&weight, energy)?, ..Self::default() })
    }
}

impl SlotAdapter {
    /// Builds the factors of `slots` for the layer `below`. `name` is unique in the model and stays the
    /// same between runs: together with `seed` it decides every random start, so that the order in which
    /// adapters are built does not matter.
    ///
    /// # Errors
    /// [`NnError`] when the slots cannot be built on this layer.
    pub fn build(name: &str, slots: &Slots, below: Layer<'_>, seed: u64) -> Result<Self> {
        Self::build_with(name, slots, below, seed, None)
    }

    /// The same with what was gathered of the layer's inputs; without it a calibration that asks for it finds zeros.
    ///
    /// # Errors
    /// [`NnError`] when the slots cannot be built on this layer.
    pub fn build_with(
        name: &str,
        slots: &Slots,
        below: Layer<'_>,
        seed: u64,
        stats: Option<&LayerStats>,
    ) -> Result<Self> {
        slots.check(name)?;
        let size = (below.out_features(), below.in_features());
        let found = Found::of(name, slots, below, seed, stats)?;
        let scale = slots.scale.value(slots.rank());
        let prefix = format!("{name}.");
        let spot = Spot {
            prefix: &prefix,
            suffix: "",
            size,
            seed,
            starts: found.starts.as_ref(),
            principal: found.principal.as_ref(),
        };
        let change = match &slots.delta {
            Delta::None | Delta::Tile => Change::None,
            Delta::Chain(chain) => {
                let repairs = matches!(slots.calibration, Calibration::Repair { .. } | Calibration::Compensate { .. });
                let repaired = repairs && found.starts.is_some();
                let chain = if repaired { &from_calibration(chain) } else { chain };
                Change::LowRank(Box::new(HeldChain::chain(chain, scale, slots.base, &spot)?))
            }
            Delta::Hadamard(first, second) => {
                Change::LowRank(Box::new(HeldChain::hadamard(first, second, scale, &spot)?))
            }
            Delta::Tucker(tucker) => Change::LowRank(Box::new(HeldChain::tucker(tucker, scale, &spot)?)),
            Delta::Scatter(scatter) => Change::Scatter(HeldScatter::build(name, scatter, scale, below, seed)?),
            Delta::Kron(kron) => {
                let fits = (kron.u_size.0 * kron.v_size.0, kron.u_size.1 * kron.v_size.1) == size;
                if !fits {
                    let what = format!("has products of another size than {} x {}", size.0, size.1);
                    return Err(NnError::Adapter { site: name.to_owned(), what });
                }
                Change::Kron(HeldKron::build(&prefix, kron, scale, slots.base, seed, found.starts.as_ref())?)
            }
            Delta::LookUp { groups, bits, table } => {
                let weight = below.original(slots.base, name)?;
                let table = (*groups, *bits, table);
                Change::LookUp(HeldLookUp::build(&format!("{name}.table"), &weight, table, seed)?)
            }
        };
        let mix = match &slots.mix {
            Mix::One => None,
            Mix::Routed(router) => Some(HeldMix::build(name, router, size.1, seed)?),
        };
        let parts = (&slots.left, &slots.right, &slots.delta);
        let transform = HeldTransform::build(name, parts, scale, size, seed)?;
        let normaliser = HeldNormaliser::build(name, &slots.normaliser, below, seed)?;
        let bias = match &slots.bias {
            None => None,
            Some(factor) => {
                let (name, role, shape) = (format!("{name}.shift"), Role::Bias, [size.0]);
                let place = Place { name: &name, role, shape: &shape, seed, found: None, principal: None };
                Some(Held::build(factor, &place)?)
            }
        };
        let (name, slots, memory) = (name.to_owned(), slots.clone(), Memory::default());
        let seen = slots.rules.iter().any(Rule::sees_weight).then(Arc::default);
        let (new_base, weighed) = (found.base, found.weighed);
        let mut adapter =
            Self { name, slots, change, mix, transform, normaliser, bias, new_base, weighed, seed, memory, seen };
        adapter.hold_back()?;
        Ok(adapter)
    }

    /// The weight that the layer is to hold from now on, once; none where it stays as it is.
    pub(crate) fn take_base(&mut self) -> Option<FrozenWeight> {
        self.new_base.take()
    }

    /// The slots it was built from.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }
}

/// The chain whose factors start as the calibration says.
fn from_calibration(chain: &Chain) -> Chain {
    let calibrated = |factor: Factor| Factor { source: Source::Dense(Init::Calibrated), ..factor };
    Chain { a: calibrated(chain.a), b: calibrated(chain.b), ..chain.clone() }
}

impl Adapter for SlotAdapter {
    fn params(&self) -> Vec<Param> {
        let change = match &self.change {
            Change::None => Vec::new(),
            Change::LowRank(chain) => chain.params(),
            Change::Kron(kron) => kron.params(),
            Change::Scatter(scatter) => scatter.values().params().collect(),
            Change::LookUp(table) => table.params(),
        };
        let single = [self.normaliser.held(), self.bias.as_ref()].into_iter().flatten().flat_map(Held::params);
        let router = self.mix.iter().flat_map(HeldMix::params);
        change.into_iter().chain(router).chain(self.transform.params()).chain(single).collect()
    }

    fn forward(&self, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor> {
        let y = match &self.normaliser {
            HeldNormaliser::None => self.changed(x, below, ctx)?,
            HeldNormaliser::RowMagnitude(magnitude) => self.magnified(magnitude, x, below, ctx)?,
            HeldNormaliser::RowScale(scale) => scale_features(&self.changed(x, below, ctx)?, &scale.tensor()?)?,
            HeldNormaliser::ColumnScale(scale) => self.changed(&scale_features(x, &scale.tensor()?)?, below, ctx)?,
        };
        let y = match &self.seen {
            Some(seen) if ctx.training => ops::tap(&y, x, seen)?,
            _ => y,
        };
        match &self.bias {
            None => Ok(y),
            Some(bias) => ops::add_bias(&y, &bias.tensor()?),
        }
    }

    fn fused_change(&self, below: Layer<'_>, ctx: &ForwardContext) -> Result<Option<FusedChange>> {
        self.fused(below, ctx)
    }

    fn merge_into(&self, weight: &mut MergedWeight) -> Result<bool> {
        if self.is_routed() {
            return Ok(false);
        }
        self.transform.merge_into(weight)?;
        if self.slots.base == Base::Dropped {
            weight.weight.fill(0.0);
        }
        match &self.change {
            Change::None => {}
            Change::LowRank(chain) => match &self.mix {
                None => chain.merge_into(weight)?,
                Some(mix) => {
                    let (a, b, scale) = mix.mean(chain)?;
                    weight.add_product(&values(&b)?, &values(&a)?, a.dim(0)?, scale)?;
                }
            },
            Change::Kron(kron) => kron.merge_into(weight)?,
            Change::Scatter(scatter) => scatter.merge_into(weight)?,
            Change::LookUp(table) => table.replace(weight)?,
        }
        self.normaliser.merge_into(weight)?;
        if let Some(bias) = &self.bias {
            weight.add_bias(&values(&bias.tensor()?)?);
        }
        Ok(true)
    }

    fn export(&self, below: Layer<'_>) -> Result<Option<AdapterExport>> {
        let changes = self.bias.is_some()
            || !matches!(self.change, Change::None)
            || !matches!(self.transform, HeldTransform::None)
            || !matches!(self.normaliser, HeldNormaliser::None);
        if !changes {
            return Err(NnError::Adapter { site: self.name.clone(), what: "has no change to write".to_owned() });
        }
        if !self.only_adds_low_rank() || self.is_routed() {
            return Ok(None);
        }
        let left = match &self.transform {
            HeldTransform::Left(_) => self.transform.as_product(&below.merged(&self.name)?)?,
            HeldTransform::None | HeldTransform::RowGroups { .. } | HeldTransform::Ring(_) => None,
        };
        let mut bias = match &self.bias {
            None => None,
            Some(bias) => Some(bias.tensor()?.copy()?.detach()),
        };
        let (a, b, scale, own_rank) = match (&self.change, left) {
            (Change::LowRank(chain), None) => {
                let (a, b, scale) = match &self.mix {
                    None => chain.joined()?,
                    Some(mix) => mix.mean(chain)?,
                };
                (a, b, scale, chain.has_own_rank())
            }
            (Change::LowRank(chain), Some(left)) => {
                let (a, b, scale) = chain.joined()?;
                bias = added(bias, left.bias)?;
                (Tensor::cat(&[a, left.a], 0)?, Tensor::cat(&[b, left.b], 1)?, scale, false)
            }
            (Change::None | Change::Kron(_) | Change::Scatter(_) | Change::LookUp(_), Some(left)) => {
                bias = added(bias, left.bias)?;
                (left.a, left.b, left.scale, false)
            }
            (Change::None | Change::Kron(_) | Change::Scatter(_) | Change::LookUp(_), None) => return Ok(None),
        };
        let rank = a.dim(0)?;
        // Directions may have come and gone since the scale was chosen.
        let own_rank = own_rank && rank == self.slots.rank();
        let alpha = if own_rank { self.slots.scale.alpha(rank) } else { scale * rank as f64 };
        Ok(Some(AdapterExport::LowRank { a, b, scale, rank, alpha, bias }))
    }

    fn chosen_terms(&self) -> Option<usize> {
        let chosen = self.slots.rules.iter().any(|rule| matches!(rule.action, Action::SetTerms { .. }));
        chosen.then(|| self.slots.rank())
    }

    fn only_adds_low_rank(&self) -> bool {
        let change = match (&self.change, &self.transform) {
            (Change::LowRank(_), HeldTransform::None | HeldTransform::Left(_))
            | (Change::None, HeldTransform::Left(_)) => true,
            (Change::None | Change::Kron(_) | Change::Scatter(_) | Change::LookUp(_), _)
            | (_, HeldTransform::RowGroups { .. } | HeldTransform::Ring(_)) => false,
        };
        change && self.slots.base != Base::Dropped && matches!(self.normaliser, HeldNormaliser::None)
    }

    fn peft(&self, below: Layer<'_>) -> Result<Option<PeftLayer>> {
        // A mean that stands in a router's place is plain LoRA.
        if self.mix.is_some() { Ok(None) } else { self.peft_layer(below) }
    }

    fn fix_routing(&self, on: bool) -> bool {
        self.mix.as_ref().is_some_and(|mix| mix.fix(on))
    }

    fn routing(&self) -> Option<Routing> {
        self.mix.as_ref().map(HeldMix::routing)
    }

    fn entries(&self) -> Result<Option<Entries>> {
        match &self.change {
            Change::Scatter(scatter) => scatter.listed(),
            Change::None | Change::LowRank(_) | Change::Kron(_) | Change::LookUp(_) => Ok(None),
        }
    }

    fn as_slots(&self) -> Option<&Slots> {
        Some(&self.slots)
    }

    fn hold_constants(&self, on: bool) {
        self.normaliser.hold_constants(on);
        if let Some(mix) = &self.mix {
            mix.hold(on);
        }
    }

    fn extra_loss(&self) -> Result<Option<Tensor>> {
        self.own_loss()
    }

    fn map_grads(&self, grads: &mut Grads) -> Result<()> {
        self.mask_grads(grads)
    }

    fn observe(&mut self, grads: &Grads) -> Result<()> {
        self.look(grads)
    }

    fn map_step(&mut self, grads: &mut Grads, at: At) -> Result<()> {
        match self.slots.gradient {
            GradientMap::Own => Ok(()),
            GradientMap::LoraPro { moments } => self.paired(grads, moments),
            GradientMap::InTurn { from } => self.in_turn(grads, from, at),
        }
    }

    fn after_step(&mut self, step: u64) -> Result<()> {
        self.count_step(step);
        self.threshold()
    }

    fn rules(&self) -> &[Rule] {
        &self.slots.rules
    }

    fn directions(&self) -> Result<Vec<bool>> {
        self.in_use()
    }

    fn scores(&self, score: Score) -> Result<Vec<f64>> {
        self.rule_scores(score)
    }

    fn apply(&mut self, edit: &Edit) -> Result<Edited> {
        self.edited(edit)
    }

    fn memory(&self) -> Result<Vec<(String, Tensor)>> {
        self.remembered()
    }

    fn restore(&mut self, find: &Find<'_>) -> Result<()> {
        self.recalled(find)
    }

    fn base_again(&self, below: Layer<'_>) -> Result<Option<FrozenWeight>> {
        self.weighed_base(below)
    }
}

/// The sum of two changes of a bias that may each be missing.
fn added(first: Option<Tensor>, second: Option<Tensor>) -> Result<Option<Tensor>> {
    Ok(match (first, second) {
        (Some(first), Some(second)) => Some((first + second)?),
        (first, second) => first.or(second),
    })
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_fused;
