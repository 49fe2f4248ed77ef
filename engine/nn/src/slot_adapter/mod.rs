//! The one interpreter of slots: gives a choice of [`Slots`] its parameters, forward pass, merge and export.
//!
//! Place in the data flow: [`crate::LinearSite::attach`] builds one per site and adapter. Forward, merge and
//! export all start from the terms of `chain.rs`, so that they cannot disagree about what the change is. The
//! matches here have no catch-all arm on purpose: a new slot variant does not compile until each of them
//! says what it means. `calibrate.rs` computes starts from the weight, `normalise.rs` holds what is done to the
//! changed weight, `peft.rs` the forms of PEFT's own types.

mod calibrate;
mod chain;
mod held;
mod kron;
mod normalise;
mod peft;
mod transform;

use crate::adapter::{Adapter, AdapterExport, FusedChange, MergedWeight, PeftLayer};
use crate::context::ForwardContext;
use crate::ops::{self, Dropout, FrozenLinear, linear_low_rank, scale_features};
use crate::param::{Param, Role};
use crate::rng::Stream;
use crate::site::Layer;
use crate::slots::{Calibration, Delta, Slots};
use crate::{NnError, Result};
use calibrate::Starts;
use candle_core::Tensor;
use chain::{HeldChain, Spot, Term};
use held::{Held, Place, Subspace, values};
use kron::HeldKron;
use normalise::{HeldNormaliser, Magnitude};
use std::sync::Arc;
use transform::HeldTransform;

/// An adapter made of [`Slots`].
pub struct SlotAdapter {
    name: String,
    slots: Slots,
    change: Change,
    transform: HeldTransform,
    normaliser: HeldNormaliser,
    bias: Option<Held>,
}

/// What is added to the base.
enum Change {
    None,
    /// Thin products.
    LowRank(Box<HeldChain>),
    /// Kronecker products.
    Kron(HeldKron),
}

/// What is found in the weight before anything is built.
struct Found {
    starts: Option<Starts>,
    principal: Option<(Subspace, Subspace)>,
}

impl Found {
    fn of(name: &str, slots: &Slots, below: Layer<'_>, seed: u64) -> Result<Self> {
        let energy = slots.complement();
        if slots.calibration == Calibration::None && energy == 0.0 {
            return Ok(Self { starts: None, principal: None });
        }
        let weight = below.merged(name)?;
        let mut stream = Stream::new(seed, &format!("calibration/{name}"));
        let scale = slots.scale.value(slots.rank());
        let starts = match (slots.calibration, &slots.delta) {
            (Calibration::None, _) => None,
            (Calibration::Kronecker { iterations }, Delta::Kron(kron)) => {
                Some(calibrate::kronecker(iterations, &weight, kron, scale, &mut stream)?)
            }
            (calibration, _) => Some(calibrate::starts(calibration, &weight, slots.rank(), scale, &mut stream)?),
        };
        Ok(Self { starts, principal: calibrate::principal(&weight, energy)? })
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
        slots.check(name)?;
        let size = (below.out_features(), below.in_features());
        let found = Found::of(name, slots, below, seed)?;
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
            Delta::Chain(chain) => Change::LowRank(Box::new(HeldChain::chain(chain, scale, slots.base, &spot)?)),
            Delta::Hadamard(first, second) => {
                Change::LowRank(Box::new(HeldChain::hadamard(first, second, scale, &spot)?))
            }
            Delta::Kron(kron) => {
                let fits = (kron.u_size.0 * kron.v_size.0, kron.u_size.1 * kron.v_size.1) == size;
                if !fits {
                    let what = format!("has products of another size than {} x {}", size.0, size.1);
                    return Err(NnError::Adapter { site: name.to_owned(), what });
                }
                Change::Kron(HeldKron::build(&prefix, kron, scale, slots.base, seed, found.starts.as_ref())?)
            }
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
        Ok(Self { name: name.to_owned(), slots: slots.clone(), change, transform, normaliser, bias })
    }

    /// The slots it was built from.
    #[must_use]
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The mask of this step, or none outside training.
    fn dropout(&self, ctx: &ForwardContext) -> Option<Dropout> {
        if !ctx.training || self.slots.dropout == 0.0 {
            return None;
        }
        let key = Stream::new(ctx.seed, &format!("dropout/{}/{}", self.name, ctx.step)).next_u64();
        Some(Dropout { p: self.slots.dropout as f32, key, rows: ctx.rows_in_step.clone(), width: ctx.width })
    }

    /// The layer with its base transformed and the change added.
    fn changed(&self, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor> {
        let base = self.transform.forward(x, below.frozen(), || below.forward(x, ctx), &self.name)?;
        let chain = match &self.change {
            Change::None => return base.map_or_else(|| below.forward(x, ctx), Ok),
            Change::Kron(kron) => {
                let base = base.map_or_else(|| below.forward(x, ctx), Ok)?;
                let x = self.dropped(x, ctx)?;
                return match kron.forward(&x)? {
                    Some(change) => Ok((base + change)?),
                    None => Ok(base),
                };
            }
            Change::LowRank(chain) => chain,
        };
        let (terms, dropout) = (chain.terms()?, self.dropout(ctx));
        match (base, below.frozen(), terms.split_first()) {
            (Some(base), ..) => HeldChain::add_terms(&terms, base, x, dropout.as_ref()),
            (None, Some(layer), Some((first, others))) => {
                let y = with_first(x, layer, first, dropout.clone())?;
                HeldChain::add_terms(others, y, x, dropout.as_ref())
            }
            _ => HeldChain::add_terms(&terms, below.forward(x, ctx)?, x, dropout.as_ref()),
        }
    }

    /// The input with this step's mask on it.
    fn dropped(&self, x: &Tensor, ctx: &ForwardContext) -> Result<Tensor> {
        match self.dropout(ctx) {
            Some(dropout) => ops::dropout(x, &dropout),
            None => Ok(x.clone()),
        }
    }

    /// `y = d ∘ (W + Δ) x + b` with the row factors d = m / ‖W + Δ‖. While features are dropped, only what differs from
    /// the layer as it was sees them: `y = W x + b + (d ∘ (W + Δ) − W) drop(x)`, as PEFT has it.
    fn magnified(&self, magnitude: &Magnitude, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor> {
        let Some(layer) = below.frozen() else {
            let what = "brings rows to a magnitude and lies no longer on a frozen weight".to_owned();
            return Err(NnError::Adapter { site: self.name.clone(), what });
        };
        let terms = match &self.change {
            Change::None => Vec::new(),
            Change::LowRank(chain) => chain.terms()?,
            Change::Kron(_) => {
                let what = "brings rows to a magnitude, which Kronecker products do not have yet".to_owned();
                return Err(NnError::Adapter { site: self.name.clone(), what });
            }
        };
        let ratio = magnitude.ratio(layer, &terms)?;
        let bare = FrozenLinear { weight: Arc::clone(&layer.weight), bias: None };
        let changed = |x: &Tensor| -> Result<Tensor> {
            match terms.split_first() {
                None => ops::linear(x, &bare),
                Some((first, others)) => {
                    let y = with_first(x, &bare, first, None)?;
                    HeldChain::add_terms(others, y, x, None)
                }
            }
        };
        match self.dropout(ctx) {
            None => {
                let y = scale_features(&changed(x)?, &ratio)?;
                match &layer.bias {
                    None => Ok(y),
                    Some(bias) => ops::add_bias(&y, bias),
                }
            }
            Some(dropout) => {
                let dropped = ops::dropout(x, &dropout)?;
                let difference = (scale_features(&changed(&dropped)?, &ratio)? - ops::linear(&dropped, &bare)?)?;
                Ok((ops::linear(x, layer)? + difference)?)
            }
        }
    }
}

/// The layer with the first term of a change, in one operation.
fn with_first(x: &Tensor, layer: &FrozenLinear, term: &Term, dropout: Option<Dropout>) -> Result<Tensor> {
    linear_low_rank(x, layer, &term.a, &term.b, term.scale as f32, dropout.filter(|_| term.dropped))
}

impl Adapter for SlotAdapter {
    fn params(&self) -> Vec<Param> {
        let change = match &self.change {
            Change::None => Vec::new(),
            Change::LowRank(chain) => chain.params(),
            Change::Kron(kron) => kron.params(),
        };
        let single = [self.normaliser.held(), self.bias.as_ref()].into_iter().flatten().flat_map(Held::params);
        change.into_iter().chain(self.transform.params()).chain(single).collect()
    }

    fn forward(&self, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor> {
        let y = match &self.normaliser {
            HeldNormaliser::None => self.changed(x, below, ctx)?,
            HeldNormaliser::RowMagnitude(magnitude) => self.magnified(magnitude, x, below, ctx)?,
            HeldNormaliser::RowScale(scale) => scale_features(&self.changed(x, below, ctx)?, &scale.tensor()?)?,
            HeldNormaliser::ColumnScale(scale) => self.changed(&scale_features(x, &scale.tensor()?)?, below, ctx)?,
        };
        match &self.bias {
            None => Ok(y),
            Some(bias) => ops::add_bias(&y, &bias.tensor()?),
        }
    }

    fn fused_change(&self, ctx: &ForwardContext) -> Result<Option<FusedChange>> {
        match (&self.normaliser, &self.transform) {
            (HeldNormaliser::None, HeldTransform::None) => {}
            (
                HeldNormaliser::None
                | HeldNormaliser::RowMagnitude(_)
                | HeldNormaliser::RowScale(_)
                | HeldNormaliser::ColumnScale(_),
                HeldTransform::None | HeldTransform::Left(_) | HeldTransform::RowGroups { .. },
            ) => return Ok(None),
        }
        let bias = self.bias.as_ref().map(Held::fused).transpose()?;
        let mut change = FusedChange { bias, ..FusedChange::default() };
        match &self.change {
            Change::None => {}
            Change::LowRank(chain) => {
                let (low_rank, residual) = chain.fused(self.dropout(ctx))?;
                (change.low_rank, change.residual) = (Some(low_rank), residual);
            }
            Change::Kron(_) => return Ok(None),
        }
        Ok(Some(change))
    }

    fn merge_into(&self, weight: &mut MergedWeight) -> Result<bool> {
        self.transform.merge_into(weight)?;
        match &self.change {
            Change::None => {}
            Change::LowRank(chain) => chain.merge_into(weight)?,
            Change::Kron(kron) => kron.merge_into(weight)?,
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
        if !self.only_adds_low_rank() {
            return Ok(None);
        }
        let left = match &self.transform {
            HeldTransform::Left(_) => self.transform.as_product(&below.merged(&self.name)?)?,
            HeldTransform::None | HeldTransform::RowGroups { .. } => None,
        };
        let mut bias = match &self.bias {
            None => None,
            Some(bias) => Some(bias.tensor()?.copy()?.detach()),
        };
        let (a, b, scale, own_rank) = match (&self.change, left) {
            (Change::LowRank(chain), None) => {
                let (a, b, scale) = chain.joined()?;
                (a, b, scale, chain.has_own_rank())
            }
            (Change::LowRank(chain), Some(left)) => {
                let (a, b, scale) = chain.joined()?;
                bias = added(bias, left.bias)?;
                (Tensor::cat(&[a, left.a], 0)?, Tensor::cat(&[b, left.b], 1)?, scale, false)
            }
            (Change::None | Change::Kron(_), Some(left)) => {
                bias = added(bias, left.bias)?;
                (left.a, left.b, left.scale, false)
            }
            (Change::None | Change::Kron(_), None) => return Ok(None),
        };
        let rank = a.dim(0)?;
        let alpha = if own_rank { self.slots.scale.alpha(rank) } else { scale * rank as f64 };
        Ok(Some(AdapterExport::LowRank { a, b, scale, rank, alpha, bias }))
    }

    fn only_adds_low_rank(&self) -> bool {
        let change = match (&self.change, &self.transform) {
            (Change::LowRank(_), HeldTransform::None | HeldTransform::Left(_))
            | (Change::None, HeldTransform::Left(_)) => true,
            (Change::None | Change::Kron(_), _) | (_, HeldTransform::RowGroups { .. }) => false,
        };
        change && matches!(self.normaliser, HeldNormaliser::None)
    }

    fn peft(&self, below: Layer<'_>) -> Result<Option<PeftLayer>> {
        self.peft_layer(below)
    }

    fn hold_constants(&self, on: bool) {
        self.normaliser.hold_constants(on);
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
mod tests {
    use super::*;
    use crate::gradcheck::{GradCheck, check_parameters};
    use crate::slots::{
        Base, Chain, Core, Factor, Group, Init, Kron, KronFactor, Left, Map, Normaliser, Right, Scale, Source,
    };
    use crate::{FrozenWeight, LinearSite};
    use candle_core::Device;

    fn random(name: &str, shape: &[usize]) -> Tensor {
        let mut values = vec![0f32; shape.iter().product()];
        Stream::new(9, name).fill_normal(&mut values, 0.5);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn site(out_features: usize, in_features: usize) -> LinearSite {
        let weight = random("w", &[out_features, in_features]);
        let weight = FrozenWeight::from_tensor("w", &weight, crate::StorageKind::F32).unwrap();
        LinearSite::new("here", FrozenLinear { weight: Arc::new(weight), bias: Some(random("bias", &[out_features])) })
    }

    /// Every structure a chain can have today, with random starts so that no gradient vanishes.
    fn structures() -> Vec<(&'static str, Slots)> {
        let init = Init::Gaussian { std: 0.5 };
        let (trained, frozen) = (Factor::trained(init), Factor::frozen(init));
        let chain = |b, core, a| Slots {
            delta: Delta::Chain(Chain { rank: 3, b, core, a }),
            scale: Scale::AlphaOverRank(4.0),
            dropout: 0.25,
            ..Slots::default()
        };
        vec![
            ("plain", chain(trained, Core::None, trained)),
            ("frozen a", chain(trained, Core::None, frozen)),
            ("frozen b", chain(frozen, Core::None, trained)),
            ("diagonal between frozen factors", chain(frozen, Core::Diagonal(trained), frozen)),
            ("dense between frozen factors", chain(frozen, Core::Dense(trained), frozen)),
            ("everything, diagonal", chain(trained, Core::Diagonal(trained), trained)),
            ("everything, dense", chain(trained, Core::Dense(trained), trained)),
            ("frozen core", chain(trained, Core::Dense(frozen), trained)),
        ]
    }

    /// What is no plain sum to the weight: residual bases over calibrated starts, normalisers, biases.
    fn other_choices() -> Vec<(&'static str, Slots)> {
        let init = Init::Gaussian { std: 0.5 };
        let plain = |base, dropout| Slots {
            base,
            dropout,
            delta: Delta::Chain(Chain {
                rank: 3,
                b: Factor::trained(init),
                core: Core::None,
                a: Factor::trained(init),
            }),
            scale: Scale::AlphaOverRank(4.0),
            ..Slots::default()
        };
        let calibrated = |calibration, b: Factor, core, a: Factor| Slots {
            base: Base::Residual,
            calibration,
            delta: Delta::Chain(Chain { rank: 3, b, core, a }),
            scale: Scale::AlphaOverRank(4.0),
            dropout: 0.25,
            ..Slots::default()
        };
        let (found, fixed) = (Factor::trained(Init::Calibrated), Factor::frozen(Init::Calibrated));
        let one = Factor::trained(Init::Gaussian { std: 1.0 });
        let magnitude = Normaliser::RowMagnitude(Group::default());
        let with = |delta| Slots { delta, dropout: 0.25, ..Slots::default() };
        let chain = |rank, b, a| Chain { rank, b, core: Core::None, a };
        let kron =
            |terms, u, v| Delta::Kron(Kron { terms, u_size: (5, 3), v_size: (1, 2), u, v, decompose_factor: -1 });
        let product = KronFactor::Product { rank: 2, outer: one, inner: one };
        let shared = |rows, cols| Factor::of(Source::Shared { init: Init::HeUniform, rows, cols });
        let seeded = Factor::of(Source::Seeded { bases: 7, start: Init::KaimingUniform });
        vec![
            ("residual", plain(Base::Residual, 0.25)),
            ("svd", calibrated(Calibration::Svd { iterations: 0 }, found, Core::None, found)),
            ("qr", calibrated(Calibration::Qr, found, Core::None, found)),
            ("lu", calibrated(Calibration::Lu, fixed, Core::Diagonal(found), fixed)),
            (
                "picked inputs",
                Slots {
                    delta: Delta::Chain(Chain { rank: 3, b: one, core: Core::None, a: Factor::of(Source::Select) }),
                    ..Slots::default()
                },
            ),
            (
                "added inputs",
                Slots {
                    delta: Delta::Chain(Chain {
                        rank: 4,
                        b: one,
                        core: Core::None,
                        a: Factor::of(Source::TiledIdentity),
                    }),
                    ..Slots::default()
                },
            ),
            ("magnitude alone", Slots { normaliser: magnitude, ..Slots::default() }),
            ("magnitude", Slots { normaliser: magnitude, ..plain(Base::Original, 0.0) }),
            ("magnitude, dropout", Slots { normaliser: magnitude, ..plain(Base::Original, 0.25) }),
            ("magnitude, residual", Slots { normaliser: magnitude, ..plain(Base::Residual, 0.0) }),
            ("row scale", Slots { normaliser: Normaliser::RowScale(one), ..Slots::default() }),
            ("row scale, chain", Slots { normaliser: Normaliser::RowScale(one), ..plain(Base::Original, 0.25) }),
            ("column scale", Slots { normaliser: Normaliser::ColumnScale(one), ..Slots::default() }),
            ("column scale, chain", Slots { normaliser: Normaliser::ColumnScale(one), ..plain(Base::Original, 0.25) }),
            ("hadamard", with(Delta::Hadamard(chain(2, one, one), chain(2, one, one)))),
            ("kronecker", with(kron(1, KronFactor::Full(one), KronFactor::Full(one)))),
            ("kronecker of products, three terms", with(kron(3, product, product))),
            (
                "nearest kronecker, residual",
                Slots {
                    base: Base::Residual,
                    calibration: Calibration::Kronecker { iterations: 0 },
                    scale: Scale::Fixed(0.5),
                    ..with(kron(2, KronFactor::Full(found), KronFactor::Full(found)))
                },
            ),
            (
                "shared",
                with(Delta::Chain(Chain {
                    rank: 3,
                    b: shared(9, 3).with_map(Map::Rows(Init::Gaussian { std: 0.5 })),
                    core: Core::Diagonal(one),
                    a: shared(3, 8),
                })),
            ),
            ("seeded", with(Delta::Chain(chain(3, seeded, seeded)))),
            (
                "complement",
                with(Delta::Chain(chain(
                    3,
                    one.with_map(Map::Complement { energy: 0.5 }),
                    one.with_map(Map::Complement { energy: 0.5 }),
                ))),
            ),
            ("left", Slots { left: Left::LowRank(Box::new(chain(2, one, one))), ..Slots::default() }),
            (
                "left, chain, bias",
                Slots {
                    left: Left::LowRank(Box::new(chain(2, one, one))),
                    bias: Some(one),
                    ..plain(Base::Original, 0.25)
                },
            ),
            ("row groups", Slots { right: Right::RowGroups { size: 1, blocks: one }, ..Slots::default() }),
            ("row groups, tiled", Slots { right: Right::RowGroups { size: 1, blocks: one }, ..with(Delta::Tile) }),
            ("bias", Slots { bias: Some(one), ..Slots::default() }),
            ("bias, chain", Slots { bias: Some(one), ..plain(Base::Original, 0.25) }),
            ("bias, magnitude", Slots { bias: Some(one), normaliser: magnitude, ..plain(Base::Original, 0.0) }),
        ]
    }

    fn shake(site: &LinearSite) {
        for param in site.params() {
            let noise = random(&format!("shake/{}", param.name), param.var.dims());
            param.var.set(&(param.var.as_tensor() + noise).unwrap()).unwrap();
        }
    }

    fn largest_difference(left: &Tensor, right: &Tensor) -> f32 {
        (left - right).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn every_structure_trains_what_it_counts_and_its_gradients_are_right() {
        let x = random("x", &[2, 4, 6]);
        let ctx = ForwardContext { training: true, seed: 1, step: 3, ..ForwardContext::plain(2, 4) };
        for trained_base in [false, true] {
            for (name, slots) in structures().into_iter().chain(other_choices()) {
                let mut site = site(5, 6);
                if trained_base {
                    site.promote().unwrap();
                }
                if trained_base && matches!(slots.right, Right::RowGroups { .. }) {
                    continue;
                }
                if trained_base && matches!(slots.normaliser, Normaliser::RowMagnitude(_)) {
                    let error = site.attach(&slots, 7).unwrap_err().to_string();
                    assert!(error.contains("frozen weight"), "{error}");
                    continue;
                }
                let own = site.params().len();
                site.attach(&slots, 7).unwrap();
                let params = site.params();
                let entries: usize = params.iter().skip(own).map(Param::elements).sum();
                assert_eq!(entries, slots.trained_entries(5, 6), "{name}");
                site.hold_constants(true);
                check_parameters(|| site.forward(&x, &ctx), &params, &GradCheck::f32())
                    .unwrap_or_else(|error| panic!("{name}, trained base {trained_base}: {error}"));
            }
        }
    }

    #[test]
    fn merged_and_exported_forms_are_what_forward_computes() {
        let x = random("x", &[2, 4, 6]);
        let ctx = ForwardContext::plain(2, 4);
        for (name, slots) in structures() {
            let mut site = site(5, 6);
            let base = site.forward(&x, &ctx).unwrap();
            site.attach(&slots, 7).unwrap();
            let y = site.forward(&x, &ctx).unwrap();
            assert!(largest_difference(&y, &base) > 0.01, "{name} changes nothing");
            let product = |weight: &Tensor| x.reshape((8, 6)).unwrap().matmul(&weight.t().unwrap()).unwrap();
            let merged = site.merged().unwrap().unwrap();
            let merged = product(&merged).broadcast_add(&random("bias", &[5])).unwrap().reshape((2, 4, 5)).unwrap();
            assert!(largest_difference(&merged, &y) < 1e-5, "{name}");
            let exports = site.export().unwrap();
            let [AdapterExport::LowRank { a, b, scale, rank: 3, alpha, bias: None }] = exports.as_slice() else {
                panic!("{name} leaves in another form");
            };
            assert!((alpha / 3.0 - scale).abs() < 1e-12);
            let change = product(&b.matmul(a).unwrap().affine(*scale, 0.0).unwrap()).reshape((2, 4, 5)).unwrap();
            assert!(largest_difference(&(base + change).unwrap(), &y) < 1e-5, "{name}");
        }
    }

    #[test]
    fn a_start_that_is_taken_off_again_or_normalised_leaves_the_layer_as_it_is() {
        let (x, ctx) = (random("x", &[2, 4, 6]), ForwardContext::plain(2, 4));
        for (name, slots) in other_choices() {
            let base = site(5, 6).forward(&x, &ctx).unwrap();
            let mut site = site(5, 6);
            site.attach(&slots, 7).unwrap();
            let y = site.forward(&x, &ctx).unwrap();
            // Those with random starts change the layer from the first step on; the others must not.
            let starts_as_it_is = slots.base == Base::Residual || name == "magnitude alone";
            assert_eq!(largest_difference(&y, &base) < 1e-5, starts_as_it_is, "{name}");
        }
    }

    #[test]
    fn whatever_is_chosen_merges_and_leaves_as_what_forward_computes() {
        let (x, ctx) = (random("x", &[2, 4, 6]), ForwardContext::plain(2, 4));
        let flat = x.reshape((8, 6)).unwrap();
        for (name, slots) in other_choices() {
            let mut site = site(5, 6);
            let base = site.forward(&x, &ctx).unwrap();
            site.attach(&slots, 7).unwrap();
            shake(&site);
            let y = site.forward(&x, &ctx).unwrap();
            assert!(largest_difference(&y, &base) > 0.01, "{name} changes nothing");
            let dense = |weight: &Tensor, bias: &Tensor| {
                flat.matmul(&weight.t().unwrap()).unwrap().broadcast_add(bias).unwrap().reshape((2, 4, 5)).unwrap()
            };
            let merged = site.merge().unwrap().unwrap();
            let bias = Tensor::new(merged.bias.clone().unwrap(), &Device::Cpu).unwrap();
            let merged = dense(&merged.into_tensor().unwrap(), &bias);
            assert!(largest_difference(&merged, &y) < 1e-5, "{name}: {}", largest_difference(&merged, &y));
            let exported = match site.export().unwrap().as_slice() {
                [AdapterExport::Dense { weight, bias: Some(bias) }] => {
                    assert!(site.measures_whole_weight(), "{name}");
                    dense(weight, bias)
                }
                [AdapterExport::LowRank { a, b, scale, bias, .. }] => {
                    let sum = slots.only_adds() || slots.base == Base::Residual || slots.left != Left::None;
                    assert!(sum && !site.measures_whole_weight(), "{name}");
                    let change = b.matmul(a).unwrap().affine(*scale, 0.0).unwrap();
                    let weight = (random("w", &[5, 6]) + change).unwrap();
                    let own = random("bias", &[5]);
                    dense(
                        &weight,
                        &match bias {
                            Some(bias) => (own + bias).unwrap(),
                            None => own,
                        },
                    )
                }
                _ => panic!("{name} leaves in no form"),
            };
            assert!(largest_difference(&exported, &y) < 1e-5, "{name}: exported");
        }
    }

    #[test]
    fn row_norms_are_those_of_the_dense_weight() {
        let mut site = site(5, 6);
        let slots = Slots { normaliser: Normaliser::RowMagnitude(Group::default()), ..structures()[0].1.clone() };
        site.attach(&slots, 7).unwrap();
        let params = site.params();
        let values = |name: &str| params.iter().find(|param| param.name == name).unwrap().var.as_tensor().clone();
        let change = values("here.b").matmul(&values("here.a")).unwrap().affine(4.0 / 3.0, 0.0).unwrap();
        let norms = |weight: &Tensor| weight.sqr().unwrap().sum(1).unwrap().sqrt().unwrap();
        let weight = random("w", &[5, 6]);
        assert!(largest_difference(&values("here.scale"), &norms(&weight)) < 1e-6, "magnitudes start as the norms");
        // With magnitudes equal to the norms of the changed rows the normaliser is the identity.
        let changed = (weight + change).unwrap();
        params.last().unwrap().var.set(&norms(&changed)).unwrap();
        let merged = site.merged().unwrap().unwrap();
        assert!(largest_difference(&merged, &changed) < 1e-5);
        let (x, ctx) = (random("x", &[1, 4, 6]), ForwardContext::plain(1, 4));
        let expected = x.reshape((4, 6)).unwrap().matmul(&changed.t().unwrap()).unwrap();
        let expected = expected.broadcast_add(&random("bias", &[5])).unwrap().reshape((1, 4, 5)).unwrap();
        assert!(largest_difference(&site.forward(&x, &ctx).unwrap(), &expected) < 1e-5);
    }

    /// Everything that a fused half carries, against the graph: output, gradient of the input, of every parameter.
    #[test]
    fn fused_layers_compute_what_the_graph_does() {
        let ctx = ForwardContext { training: true, seed: 1, step: 3, ..ForwardContext::plain(2, 4) };
        let (x, g) = (random("x", &[8, 6]), random("g", &[8, 5]));
        let flat = |tensor: &Tensor| values(tensor).unwrap();
        let mut fused = 0;
        for (name, slots) in structures().into_iter().chain(other_choices()) {
            let mut site = site(5, 6);
            site.attach(&slots, 7).unwrap();
            shake(&site);
            let Some(layer) = site.fused(&ctx).unwrap() else {
                let transformed = slots.left != Left::None || slots.right != Right::None;
                let graph = transformed || slots.normaliser != Normaliser::None;
                assert!(graph || matches!(slots.delta, Delta::Kron(_)), "{name} is not fused");
                continue;
            };
            fused += 1;
            let (y, inner) = layer.forward_new(&flat(&x), 8).unwrap();
            let (mut dx, mut grads) = (vec![0f32; 48], crate::Grads::new());
            layer.backward(&flat(&x), &inner, &flat(&g), 8, Some(&mut dx), false, &mut grads).unwrap();
            let input = candle_core::Var::from_tensor(&x.reshape((2, 4, 6)).unwrap()).unwrap();
            let expected = site.forward(input.as_tensor(), &ctx).unwrap();
            let seeded = ops::seed_gradient(&expected, &g.reshape((2, 4, 5)).unwrap()).unwrap();
            let mut store = seeded.backward().unwrap();
            let close = |found: &[f32], expected: &Tensor, what: &str| {
                let off = found.iter().zip(flat(expected)).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                assert!(off < 1e-4, "{name}: {what} is off by {off}");
            };
            close(&y, &expected, "the output");
            close(&dx, &store.remove(input.as_tensor()).unwrap(), "the gradient of the input");
            assert_eq!(grads.len(), site.params().len(), "{name}");
            for param in site.params() {
                let expected = store.remove(param.var.as_tensor()).unwrap();
                close(&flat(grads.get(&param.name).unwrap()), &expected, &param.name);
            }
        }
        assert!(fused >= 18, "{fused} choices were fused");
    }

    #[test]
    fn several_adapters_on_a_site_add_up_and_keep_apart() {
        let x = random("x", &[1, 4, 6]);
        let ctx = ForwardContext::plain(1, 4);
        let all = structures();
        let (first, second) = (&all[0].1, &all[5].1);
        let alone = |slots: &Slots| {
            let mut site = site(5, 6);
            site.attach(slots, 7).unwrap();
            (site.forward(&x, &ctx).unwrap() - self::site(5, 6).forward(&x, &ctx).unwrap()).unwrap()
        };
        let mut both = site(5, 6);
        both.attach(first, 7).unwrap();
        both.attach(second, 7).unwrap();
        // The second one draws other numbers than it would alone, because its name differs.
        let names: Vec<String> = both.params().into_iter().map(|param| param.name).collect();
        assert_eq!(names, ["here.a", "here.b", "here+1.a", "here+1.b", "here+1.core"]);
        let base = site(5, 6).forward(&x, &ctx).unwrap();
        let y = both.forward(&x, &ctx).unwrap();
        let rest = ((&y - &base).unwrap() - alone(first)).unwrap();
        assert!(rest.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() > 0.01);
        let merged = both.merged().unwrap().unwrap();
        let merged = x.reshape((4, 6)).unwrap().matmul(&merged.t().unwrap()).unwrap();
        let merged = merged.broadcast_add(&random("bias", &[5])).unwrap().reshape((1, 4, 5)).unwrap();
        assert!(largest_difference(&merged, &y) < 1e-5);
        let telemetry = both.telemetry().unwrap().unwrap();
        assert_eq!(telemetry.rank, 6);
        both.set_enabled(false);
        assert_eq!(largest_difference(&both.forward(&x, &ctx).unwrap(), &base), 0.0);
        both.set_enabled(true);
        both.detach_all();
        assert_eq!(largest_difference(&both.forward(&x, &ctx).unwrap(), &base), 0.0);
        assert!(both.telemetry().unwrap().is_none());
    }

    #[test]
    fn starts_depend_on_seed_and_name_and_not_on_order() {
        let slots = Slots::low_rank(3, Scale::Fixed(1.0));
        let weight = FrozenWeight::from_tensor("w", &random("w", &[5, 6]), crate::StorageKind::F32).unwrap();
        let named = |name: &str| LinearSite::new(name, FrozenLinear { weight: Arc::new(weight.clone()), bias: None });
        let values = |names: &[&str], wanted: &str, seed: u64| {
            let sites = names.iter().map(|name| {
                let mut site = named(name);
                site.attach(&slots, seed).unwrap();
                site
            });
            let sites: Vec<LinearSite> = sites.collect();
            let site = sites.iter().find(|site| site.name() == wanted).unwrap();
            site.params()[0].var.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(values(&["p", "q"], "q", 1), values(&["q", "p"], "q", 1));
        assert_ne!(values(&["p", "q"], "q", 1), values(&["p", "q"], "p", 1));
        assert_ne!(values(&["q"], "q", 1), values(&["q"], "q", 2));
    }

    #[test]
    fn dropout_follows_seed_step_and_row_and_is_off_outside_training() {
        let (_, slots) = structures().swap_remove(0);
        let mut site = site(5, 6);
        site.attach(&slots, 7).unwrap();
        let x = random("x", &[2, 4, 6]);
        let train = |seed, step| ForwardContext { training: true, seed, step, ..ForwardContext::plain(2, 4) };
        let run = |ctx: &ForwardContext| site.forward(&x, ctx).unwrap();
        let first = run(&train(1, 1));
        assert_eq!(largest_difference(&first, &run(&train(1, 1))), 0.0);
        assert!(largest_difference(&first, &run(&train(1, 2))) > 1e-3);
        assert!(largest_difference(&first, &run(&train(2, 1))) > 1e-3);
        let off = run(&ForwardContext::plain(2, 4));
        assert!(largest_difference(&first, &off) > 1e-3);
        // One row at a time gives what both rows gave at once.
        for row in 0..2u64 {
            let ctx = ForwardContext { rows_in_step: [row].into(), ..train(1, 1) };
            let ctx = ForwardContext { batch: 1, ..ctx };
            let alone = site.forward(&x.narrow(0, row as usize, 1).unwrap(), &ctx).unwrap();
            assert!(largest_difference(&alone, &first.narrow(0, row as usize, 1).unwrap()) < 1e-6);
        }
    }

    #[test]
    fn no_change_at_all_is_the_layer_itself() {
        let mut site = site(5, 6);
        let (x, ctx) = (random("x", &[1, 4, 6]), ForwardContext::plain(1, 4));
        let base = site.forward(&x, &ctx).unwrap();
        site.attach(&Slots::default(), 1).unwrap();
        assert!(site.params().is_empty());
        assert_eq!(largest_difference(&site.forward(&x, &ctx).unwrap(), &base), 0.0);
        assert!(site.export().is_err());
    }
}
