//! What methods of low rank share beside their settings: which layers, which rank fits them, sums over them.
//!
//! Place in the data flow: method files call these from `plan` and `trained_parameters`.

use crate::error::MethodError;
use crate::method::{ModelDims, Plan, Promote, SiteDims};
use crate::targets;
use temper_nn::slots::Slots;
use temper_protocol::{Setting, Values};

/// Completed values, and the plan that puts `slots` on every layer they select.
///
/// # Errors
/// Settings that are unknown or out of range, targets that hit nothing.
pub fn plan(
    settings: &'static [Setting],
    values: &Values,
    sites: &[SiteDims],
    slots: impl Fn(&Values, &SiteDims) -> Slots,
) -> Result<Plan, MethodError> {
    let values = values.complete(settings, "[method]")?;
    let chosen = targets::select(&values, sites)?;
    let adapters = chosen.iter().map(|site| (site.name.clone(), slots(&values, site))).collect();
    Ok(Plan { adapters, insertions: Vec::new(), promote: Promote::None, notes: Vec::new() })
}

/// Sum over the layers that the settings select.
///
/// # Errors
/// As [`plan`].
pub fn sum(
    settings: &'static [Setting],
    values: &Values,
    dims: &ModelDims,
    entries: impl Fn(&Values, &SiteDims) -> usize,
) -> Result<u64, MethodError> {
    let values = values.complete(settings, "[method]")?;
    let chosen = targets::select(&values, &dims.sites)?;
    Ok(chosen.into_iter().map(|site| entries(&values, site) as u64).sum())
}

/// The setting `rank`.
#[must_use]
pub fn rank(values: &Values) -> usize {
    values.integer("rank").unsigned_abs() as usize
}

/// The setting `rank`, at most what the weight of a layer has: for starts that are taken from it.
#[must_use]
pub fn usable_rank(values: &Values, site: &SiteDims) -> usize {
    rank(values).min(site.in_features.min(site.out_features))
}

/// The smaller and the larger of two numbers whose product is `side`: as close to each other as they get with the smaller
/// at most `factor`; exactly `factor` and the rest where it divides. A factor below 1 sets no limit.
#[must_use]
pub fn divisors(side: usize, factor: i64) -> (usize, usize) {
    let factor = usize::try_from(factor).ok().filter(|factor| *factor > 0);
    if let Some(factor) = factor.filter(|factor| side.is_multiple_of(*factor)) {
        return (factor, side / factor);
    }
    let most = factor.unwrap_or(side);
    let smaller = (1..=side).take_while(|small| small * small <= side && *small <= most);
    let small = smaller.filter(|small| side.is_multiple_of(*small)).last().unwrap_or(1);
    (small, side / small)
}
