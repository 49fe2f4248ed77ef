//! Chains whose directions are experts leave: with their router in a native folder, and without it, by the mean of what it
//! chose, as everything that a weight can hold.
//!
//! Place in the data flow: [`crate::export`] and [`crate::verify`] put [`MeanRouting`] in place for every format but the
//! native one; `insertions.rs` comes here for the layers of a native folder.

use crate::certificate::{Cases, Certificate, share_left};
use crate::error::{ExportError, Result};
use crate::measure::{Measured, compare_case};
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use temper_models::Model;
use temper_nn::LinearSite;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Mix, Router, Scale, Slots};
use temper_protocol::ExportFormat;
use temper_protocol::event::Check;

/// A layer with a router as a native folder describes it. Its tensors are `SITE.a` (experts · rank, in), `SITE.b` (out,
/// experts · rank) and `SITE.router` (experts, in): expert e has the rows and columns e · rank and on. `routed.SITE` has what
/// the router was seen choosing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoutedLayer {
    /// Name of the layer here.
    site: String,
    experts: usize,
    /// Directions of one expert.
    rank: usize,
    /// Experts that answer for a token.
    top: usize,
    scale: f64,
}

impl RoutedLayer {
    /// Directions of all experts.
    pub(crate) const fn directions(&self) -> usize {
        self.experts.saturating_mul(self.rank)
    }

    fn slots(&self) -> Slots {
        let factor = Factor::trained(Init::Zeros);
        Slots {
            delta: Delta::Chain(Chain { rank: self.directions(), b: factor, core: Core::None, a: factor }),
            mix: Mix::Routed(Router { experts: self.experts, top: self.top, factor }),
            scale: Scale::Fixed(self.scale),
            ..Slots::default()
        }
    }
}

impl RoutedLayer {
    /// Holds what the description says against the tensors and the layer, before anything of that size is made.
    fn check(&self, values: &BTreeMap<String, Tensor>, site: &LinearSite) -> Result<(), String> {
        let name = &self.site;
        let directions = self.experts.checked_mul(self.rank).filter(|directions| *directions > 0);
        let Some(directions) = directions.filter(|_| (1..=self.experts).contains(&self.top)) else {
            let (experts, rank, top) = (self.experts, self.rank, self.top);
            return Err(format!("{name} cannot have {experts} experts of rank {rank} of which {top} answer"));
        };
        let (rows, cols) = (site.out_features(), site.in_features());
        for (key, wanted) in [("a", [directions, cols]), ("b", [rows, directions]), ("router", [self.experts, cols])] {
            let key = format!("{name}.{key}");
            let found = values.get(&key).ok_or_else(|| format!("{key} is missing"))?.dims();
            if found != wanted {
                return Err(format!("{key} is {found:?} instead of {wanted:?}"));
            }
        }
        let Some(seen) = values.get(&format!("routed.{name}")) else { return Ok(()) };
        let numbers: Vec<f32> = seen
            .to_dtype(DType::F32)
            .and_then(|seen| seen.flatten_all()?.to_vec1())
            .map_err(|error| format!("routed.{name}: {error}"))?;
        let wanted = 1 + 2 * self.experts;
        if numbers.len() != wanted || !numbers.iter().all(|number| number.is_finite() && *number >= 0.0) {
            return Err(format!("routed.{name} is not {wanted} numbers of what the router was seen choosing"));
        }
        Ok(())
    }
}

/// The layers with routers, and their tensors by name; none where there are none.
///
/// # Errors
/// [`ExportError::NotRepresentable`] where something else is trained beside them.
pub(crate) fn layers(model: &Model) -> Result<(Vec<RoutedLayer>, BTreeMap<String, Tensor>)> {
    let (mut layers, mut tensors) = (Vec::new(), BTreeMap::new());
    let sites = model.sites();
    if sites.iter().all(|site| site.routing().is_none()) {
        return Ok((layers, tensors));
    }
    let weight = model.trained_weights().into_iter().next();
    for site in sites.into_iter().filter(|site| site.is_adapted()) {
        let found = match site.adapters() {
            [adapter] if weight.is_none() => adapter.as_slots().and_then(|slots| layer(site, slots)),
            _ => None,
        };
        let Some(layer) = found else {
            return Err(ExportError::NotRepresentable {
                what: format!("{} carries something beside a router and its experts", site.name()),
                action: "train and export the two one after the other".to_owned(),
            });
        };
        layers.push(layer);
        tensors.extend(site.params().into_iter().map(|param| (param.name, param.var.as_tensor().clone())));
        tensors.extend(site.memory()?);
    }
    Ok((layers, tensors))
}

fn layer(site: &LinearSite, slots: &Slots) -> Option<RoutedLayer> {
    let Mix::Routed(router) = slots.mix else { return None };
    let rank = slots.rank() / router.experts.max(1);
    let scale = slots.scale.value(slots.rank());
    Some(RoutedLayer { site: site.name().to_owned(), experts: router.experts, rank, top: router.top, scale })
}

/// Puts the layers of a native folder on a model; `values` has its tensors.
///
/// # Errors
/// [`ExportError::Adapter`] for layers that the model does not have, and tensors that are missing or do not fit.
pub(crate) fn attach(
    model: &mut Model,
    layers: &[RoutedLayer],
    values: &BTreeMap<String, Tensor>,
    path: &Path,
) -> Result<()> {
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    let mut used = 0;
    for layer in layers {
        let name = &layer.site;
        let site = model.site_mut(name).ok_or_else(|| broken(format!("the model has no layer {name}")))?;
        if site.is_adapted() {
            return Err(broken(format!("{name} carries an adapter already")));
        }
        layer.check(values, site).map_err(&broken)?;
        site.attach(&layer.slots(), 0)?;
        let found = |name: &str| Ok(values.get(name).cloned());
        site.restore(&found)?;
        used += site.memory()?.len();
        for param in site.params() {
            let value = values.get(&param.name).ok_or_else(|| broken(format!("{} is missing", param.name)))?;
            if value.dims() != param.var.dims() {
                let (found, wanted) = (value.dims(), param.var.dims());
                return Err(broken(format!("{} is {found:?} instead of {wanted:?}", param.name)));
            }
            let value = value.to_dtype(DType::F32)?.contiguous()?;
            if !value.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                return Err(broken(format!("{} holds numbers that are not finite", param.name)));
            }
            param.var.set(&value)?;
            used += 1;
        }
    }
    if used != values.len() {
        return Err(broken(format!("it holds {} tensors, of which {used} belong to its layers", values.len())));
    }
    Ok(())
}

/// The mean of what routers were seen choosing, in their place while this lives.
pub(crate) struct MeanRouting<'a> {
    model: &'a Model,
    /// How far answers are from those with the routers.
    measured: Option<Measured>,
}

impl<'a> MeanRouting<'a> {
    /// Puts it in place where `format` cannot hold a router and measures over `cases` what that costs.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub(crate) fn of(model: &'a Model, format: ExportFormat, cases: &Cases) -> Result<Self> {
        let routed = format != ExportFormat::Native && model.sites().iter().any(|site| site.routing().is_some());
        let mut mean = Self { model, measured: None };
        if !routed {
            return Ok(mean);
        }
        let windows = cases.windows.iter().map(|(_, tokens)| tokens);
        let exact: Vec<_> = windows
            .map(|tokens| -> Result<_> {
                let (base, trained) =
                    (compare_case::base_logits(model, tokens)?, compare_case::trained_logits(model, tokens)?);
                Ok((tokens, base, trained))
            })
            .collect::<Result<_>>()?;
        // From here on dropping it puts the routers back.
        mean.measured = Some(Measured::default());
        model.sites().iter().for_each(|site| {
            site.fix_routing(true);
        });
        let mut measured = Measured::default();
        for (tokens, base, trained) in exact {
            measured.add(&trained, &compare_case::trained_logits(model, tokens)?, Some(&base));
        }
        mean.measured = Some(measured);
        Ok(mean)
    }

    /// Says in a certificate over the files what the model lost before it was written.
    pub(crate) fn tell(&self, certificate: &mut Certificate) {
        let Some(measured) = &self.measured else { return };
        let left =
            measured.survival().map_or_else(String::new, |left| format!(", {} of the change left", share_left(left)));
        let figures = format!(
            "{:.1e} of the largest logit, same best token {:.1} %{left}",
            measured.relative(),
            measured.top1() * 100.0
        );
        certificate.reasons.push(format!(
            "its routers fit no weight: the mean of what they chose stands in their place, and answers are off by \
             {figures}; the checks compare the files with that mean (--format native keeps the routers)"
        ));
        certificate.checks.push(Check {
            name: "mean choice in the routers' place".to_owned(),
            measured: figures,
            limit: "told only".to_owned(),
            over: format!("{} positions", measured.positions),
            pass: true,
        });
    }
}

impl Drop for MeanRouting<'_> {
    fn drop(&mut self) {
        if self.measured.is_some() {
            self.model.sites().iter().for_each(|site| {
                site.fix_routing(false);
            });
        }
    }
}
