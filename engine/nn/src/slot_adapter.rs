//! The one interpreter of slots: gives a choice of [`Slots`] its parameters, forward pass, merge and export.
//!
//! Place in the data flow: [`crate::LinearSite::attach`] builds one per site and adapter. Forward, merge and
//! export all start from `Factors::folded`, so that they cannot disagree about what the change is. The
//! matches below have no catch-all arm on purpose: a new slot variant does not compile until each of them
//! says what it means.

use crate::adapter::{Adapter, AdapterExport, MergedWeight};
use crate::context::ForwardContext;
use crate::fused::{FusedFactor, FusedLowRank};
use crate::ops::{Dropout, linear_low_rank, low_rank};
use crate::param::{Param, Role};
use crate::rng::Stream;
use crate::site::Layer;
use crate::slots::{Base, Core, Delta, Factor, Group, Slots, Source};
use crate::{NnError, Result};
use candle_core::{Device, Tensor, Var};

/// An adapter made of [`Slots`].
pub struct SlotAdapter {
    name: String,
    slots: Slots,
    factors: Option<Factors>,
}

/// The tensors of a chain.
struct Factors {
    rank: usize,
    b: Held,
    core: HeldCore,
    a: Held,
}

enum HeldCore {
    None,
    Diagonal(Held),
    Dense(Held),
}

/// A factor with its values.
enum Held {
    Trained { name: String, var: Var, role: Role, group: Group },
    Frozen(Tensor),
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
        let (out_features, in_features) = (below.out_features(), below.in_features());
        let Base::Original = slots.base;
        let factors = match &slots.delta {
            Delta::None => None,
            Delta::Chain(chain) => {
                let rank = chain.rank;
                let hold = |factor: &Factor, role: Role, shape: &[usize]| {
                    let key = match role {
                        Role::FactorA => "a",
                        Role::FactorB => "b",
                        _ => "core",
                    };
                    Held::build(&format!("{name}.{key}"), factor, role, shape, seed)
                };
                let core = match &chain.core {
                    Core::None => HeldCore::None,
                    Core::Diagonal(factor) => HeldCore::Diagonal(hold(factor, Role::Core, &[rank])?),
                    Core::Dense(factor) => HeldCore::Dense(hold(factor, Role::Core, &[rank, rank])?),
                };
                Some(Factors {
                    rank,
                    b: hold(&chain.b, Role::FactorB, &[out_features, rank])?,
                    core,
                    a: hold(&chain.a, Role::FactorA, &[rank, in_features])?,
                })
            }
        };
        Ok(Self { name: name.to_owned(), slots: slots.clone(), factors })
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
}

impl Held {
    fn build(name: &str, factor: &Factor, role: Role, shape: &[usize], seed: u64) -> Result<Self> {
        let fan_in = shape.last().copied().unwrap_or(1);
        let mut stream = Stream::new(seed, &format!("init/{name}"));
        let values = factor.init().values(shape.iter().product(), fan_in, &mut stream);
        let value = Tensor::from_vec(values, shape, &Device::Cpu)?;
        Ok(match factor.source {
            Source::Dense(_) => {
                Self::Trained { name: name.to_owned(), var: Var::from_tensor(&value)?, role, group: factor.group }
            }
            Source::Frozen(_) => Self::Frozen(value),
        })
    }

    fn tensor(&self) -> &Tensor {
        match self {
            Self::Trained { var, .. } => var.as_tensor(),
            Self::Frozen(value) => value,
        }
    }

    fn fused(&self) -> FusedFactor {
        match self {
            Self::Trained { name, var, .. } => FusedFactor { name: Some(name.clone()), value: var.as_tensor().clone() },
            Self::Frozen(value) => FusedFactor { name: None, value: value.clone() },
        }
    }

    fn param(&self) -> Option<Param> {
        match self {
            Self::Trained { name, var, role, group } => Some(Param {
                name: name.clone(),
                var: var.clone(),
                role: *role,
                lr_ratio: group.lr_ratio,
                decay: group.decay,
            }),
            Self::Frozen(_) => None,
        }
    }
}

impl Factors {
    /// A (rank, in) and B (out, rank) with the core folded into B; differentiable in every trained factor.
    fn folded(&self) -> Result<(Tensor, Tensor)> {
        let b = self.b.tensor();
        let b = match &self.core {
            HeldCore::None => b.clone(),
            HeldCore::Diagonal(diagonal) => b.broadcast_mul(diagonal.tensor())?,
            HeldCore::Dense(core) => b.matmul(core.tensor())?,
        };
        Ok((self.a.tensor().clone(), b))
    }

    fn held(&self) -> impl Iterator<Item = &Held> {
        let core = match &self.core {
            HeldCore::None => None,
            HeldCore::Diagonal(held) | HeldCore::Dense(held) => Some(held),
        };
        [Some(&self.a), Some(&self.b), core].into_iter().flatten()
    }
}

impl Adapter for SlotAdapter {
    fn params(&self) -> Vec<Param> {
        self.factors.iter().flat_map(Factors::held).filter_map(Held::param).collect()
    }

    fn forward(&self, x: &Tensor, below: Layer<'_>, ctx: &ForwardContext) -> Result<Tensor> {
        let Some(factors) = &self.factors else {
            return below.forward(x, ctx);
        };
        let (a, b) = factors.folded()?;
        let scale = self.slots.scale.value(factors.rank) as f32;
        let dropout = self.dropout(ctx);
        match below.frozen() {
            Some(layer) => linear_low_rank(x, layer, &a, &b, scale, dropout),
            None => Ok((below.forward(x, ctx)? + low_rank(x, &a, &b, scale, dropout)?)?),
        }
    }

    fn plain_chain(&self, ctx: &ForwardContext) -> Option<FusedLowRank> {
        let factors = self.factors.as_ref()?;
        let (Base::Original, HeldCore::None) = (self.slots.base, &factors.core) else { return None };
        let scale = self.slots.scale.value(factors.rank) as f32;
        Some(FusedLowRank { a: factors.a.fused(), b: factors.b.fused(), scale, dropout: self.dropout(ctx) })
    }

    fn merge_into(&self, weight: &mut MergedWeight) -> Result<bool> {
        if let Some(factors) = &self.factors {
            let (a, b) = factors.folded()?;
            let values = |factor: &Tensor| -> Result<Vec<f32>> { Ok(factor.flatten_all()?.to_vec1()?) };
            weight.add_product(&values(&b)?, &values(&a)?, factors.rank, self.slots.scale.value(factors.rank))?;
        }
        Ok(true)
    }

    fn export(&self) -> Result<AdapterExport> {
        let Some(factors) = &self.factors else {
            return Err(NnError::Adapter { site: self.name.clone(), what: "has no change to write".to_owned() });
        };
        let (a, b) = factors.folded()?;
        let rank = factors.rank;
        Ok(AdapterExport::LowRank {
            a: a.copy()?.detach(),
            b: b.copy()?.detach(),
            scale: self.slots.scale.value(rank),
            rank,
            alpha: self.slots.scale.alpha(rank),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{GradCheck, check_parameters};
    use crate::slots::{Chain, Init, Scale};
    use crate::{FrozenLinear, FrozenWeight, LinearSite};
    use std::sync::Arc;

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

    fn largest_difference(left: &Tensor, right: &Tensor) -> f32 {
        (left - right).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn every_structure_trains_what_it_counts_and_its_gradients_are_right() {
        let x = random("x", &[2, 4, 6]);
        let ctx = ForwardContext { training: true, seed: 1, step: 3, ..ForwardContext::plain(2, 4) };
        for trained_base in [false, true] {
            for (name, slots) in structures() {
                let mut site = site(5, 6);
                if trained_base {
                    site.promote().unwrap();
                }
                let own = site.params().len();
                site.attach(&slots, 7).unwrap();
                let params = site.params();
                let entries: usize = params.iter().skip(own).map(Param::elements).sum();
                assert_eq!(entries, slots.trained_entries(5, 6), "{name}");
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
            let [AdapterExport::LowRank { a, b, scale, rank: 3, alpha }] = exports.as_slice() else {
                panic!("{name} leaves in another form");
            };
            assert!((alpha / 3.0 - scale).abs() < 1e-12);
            let change = product(&b.matmul(a).unwrap().affine(*scale, 0.0).unwrap()).reshape((2, 4, 5)).unwrap();
            assert!(largest_difference(&(base + change).unwrap(), &y) < 1e-5, "{name}");
        }
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
