//! What is seen of a layer before training: of its inputs their second moment, the size of each feature, or the directions
//! along which they spread; of its weight the gradients of single samples.
//!
//! Place in the data flow: [`gather`] puts a [`Gathering`] on the sites, forward passes over some batches feed it, and
//! [`crate::LinearSite::attach_with`] hands what was seen to the calibration. Sites that read the same tensor (q, k and v;
//! gate and up) share one. In f64; the same batches in the same order give the same bits. A second moment costs 8 · in²
//! bytes, components 8 · (count + 1) · in: who gathers for a large model does so for a few layers at a time, see
//! [`in_portions`].

use crate::linalg;
use crate::rng::Stream;
use crate::site::LinearSite;
use crate::{NnError, Result};
use candle_core::TensorId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

pub use fisher::Fisher;

mod fisher;

/// Cosine above which a component counts as where it was before.
const STEADY: f64 = 0.99;
/// Rounds of the randomised decomposition of a batch.
const ITERATIONS: usize = 4;

/// What is gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gather {
    /// `(1/n) Σ x xᵀ`, not centred.
    SecondMoment,
    /// The mean square of each feature: the second moment's diagonal.
    Energy,
    /// The leading principal components of the inputs, centred.
    Components {
        /// How many are kept.
        count: usize,
    },
    /// The squares of the weight's gradient, sample by sample, summed up by row and by column: the margins of the diagonal
    /// Fisher information. It is seen in backward passes, where the loss is a sum over the rows of a batch.
    Fisher,
}

/// What was gathered.
#[derive(Debug, Clone)]
pub enum LayerStats {
    /// See [`Gather::SecondMoment`].
    SecondMoment(SecondMoment),
    /// See [`Gather::Energy`].
    Energy(Energies),
    /// See [`Gather::Components`].
    Components(StreamingPca),
    /// See [`Gather::Fisher`].
    Fisher(Fisher),
}

impl Gather {
    /// Bytes that it takes while it is gathered for inputs of `features` values.
    #[must_use]
    pub fn bytes(self, features: usize) -> usize {
        match self {
            Self::SecondMoment => 8 * features * features,
            Self::Energy | Self::Fisher => 8 * features,
            Self::Components { count } => 8 * (count + 1) * features,
        }
    }
}

impl LayerStats {
    /// Nothing seen yet, of inputs of `features` values.
    #[must_use]
    pub fn new(gather: Gather, features: usize) -> Self {
        match gather {
            Gather::SecondMoment => {
                Self::SecondMoment(SecondMoment { features, count: 0, sum: vec![0.0; features * features] })
            }
            Gather::Energy => Self::Energy(Energies { count: 0, sum: vec![0.0; features] }),
            Gather::Components { count } => Self::Components(StreamingPca::new(features, count)),
            Gather::Fisher => Self::Fisher(Fisher::new(features)),
        }
    }

    /// Takes in inputs, row by row; of gradients the rows of one sample's.
    ///
    /// # Errors
    /// Values that are not finite, or that fill no rows.
    pub fn take_in(&mut self, rows: &[f32]) -> Result<()> {
        match self {
            Self::SecondMoment(moment) => moment.take_in(rows),
            Self::Energy(energies) => energies.take_in(rows),
            Self::Components(pca) => pca.take_in(rows),
            Self::Fisher(fisher) => fisher.take_in(rows),
        }
    }

    /// Whether more inputs would hardly change it: every leading component points where it did before the last ones. Moments
    /// want all there are.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        match self {
            Self::SecondMoment(_) | Self::Energy(_) | Self::Fisher(_) => false,
            Self::Components(pca) => pca.steadiness >= STEADY,
        }
    }
}

/// What is being gathered on several sites.
#[derive(Default)]
pub struct Gathering(Mutex<Groups>);

#[derive(Default)]
struct Groups {
    /// What each tensor of the first pass belongs to.
    seen: Vec<(TensorId, Gather, usize)>,
    /// By site: its group, and whether it is the one that feeds it.
    of_site: BTreeMap<String, (usize, bool)>,
    stats: Vec<LayerStats>,
}

impl Gathering {
    /// Whether the inputs of the site called `name` are wanted in this pass: a site that reads what another one has read
    /// already shares what that one sees. Gradients no two sites share.
    pub(crate) fn wants(&self, name: &str, gather: Gather, tensor: TensorId, features: usize) -> bool {
        let mut groups = self.0.lock();
        if let Some((_, feeds)) = groups.of_site.get(name) {
            return *feeds;
        }
        let shared =
            |(id, what, _): &&(TensorId, Gather, usize)| (*id, *what) == (tensor, gather) && gather != Gather::Fisher;
        let known = groups.seen.iter().find(shared).map(|(.., group)| *group);
        let group = known.unwrap_or(groups.stats.len());
        groups.of_site.insert(name.to_owned(), (group, known.is_none()));
        if known.is_none() {
            groups.seen.push((tensor, gather, group));
            groups.stats.push(LayerStats::new(gather, features));
        }
        known.is_none()
    }

    /// Takes in the inputs of a site, or one sample's gradient.
    pub(crate) fn take_in(&self, name: &str, rows: &[f32]) -> Result<()> {
        let mut groups = self.0.lock();
        let Some((group, _)) = groups.of_site.get(name).copied() else { return Ok(()) };
        groups.stats.get_mut(group).map_or(Ok(()), |stats| stats.take_in(rows))
    }

    fn is_steady(&self) -> bool {
        let groups = self.0.lock();
        !groups.stats.is_empty() && groups.stats.iter().all(LayerStats::is_steady)
    }

    fn finish(&self) -> BTreeMap<String, Arc<LayerStats>> {
        let groups = std::mem::take(&mut *self.0.lock());
        let stats: Vec<Arc<LayerStats>> = groups.stats.into_iter().map(Arc::new).collect();
        let of = |(name, (group, _)): (String, (usize, bool))| Some((name, Arc::clone(stats.get(group)?)));
        groups.of_site.into_iter().filter_map(of).collect()
    }
}

/// Gathers on sites what is wanted of them, by their names. `pass` runs one more batch through the model and says whether
/// there was one; the last ones are left out when everything is steady before.
///
/// # Errors
/// What `pass` says.
pub fn gather<E>(
    wanted: &[(&LinearSite, Gather)],
    mut pass: impl FnMut() -> std::result::Result<bool, E>,
) -> std::result::Result<BTreeMap<String, Arc<LayerStats>>, E> {
    let gathering = Arc::new(Gathering::default());
    for (site, gather) in wanted {
        site.watch_inputs(Some((Arc::clone(&gathering), *gather)));
    }
    let mut run = || -> std::result::Result<(), E> {
        while !wanted.is_empty() && pass()? {
            if gathering.is_steady() {
                break;
            }
        }
        Ok(())
    };
    let passed = run();
    wanted.iter().for_each(|(site, _)| site.watch_inputs(None));
    passed.map(|()| gathering.finish())
}

/// Cuts what is wanted into portions that take at most `bytes` while they are gathered, a layer at least each; components
/// and energies are small and in one portion.
#[must_use]
pub fn in_portions(wanted: &[(usize, Gather)], bytes: usize) -> Vec<std::ops::Range<usize>> {
    let (mut portions, mut first, mut taken) = (Vec::new(), 0, 0);
    for (at, (features, gather)) in wanted.iter().enumerate() {
        let own = match gather {
            Gather::SecondMoment => gather.bytes(*features),
            Gather::Energy | Gather::Components { .. } | Gather::Fisher => 0,
        };
        if at > first && taken + own > bytes {
            portions.push(first..at);
            (first, taken) = (at, 0);
        }
        taken += own;
    }
    if first < wanted.len() {
        portions.push(first..wanted.len());
    }
    portions
}

/// `Σ x xᵀ` and how many inputs it is of.
#[derive(Debug, Clone)]
pub struct SecondMoment {
    features: usize,
    count: u64,
    sum: Vec<f64>,
}

impl SecondMoment {
    fn take_in(&mut self, rows: &[f32]) -> Result<()> {
        let inputs = linalg::rows_of(rows, self.features)?;
        linalg::add_gram(&mut self.sum, &inputs, self.features);
        self.count += (rows.len() / self.features.max(1)) as u64;
        Ok(())
    }

    /// How many inputs it is of.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// `(1/n) Σ x xᵀ`, (in, in), row by row.
    #[must_use]
    pub fn mean(&self) -> Vec<f64> {
        let count = self.count.max(1) as f64;
        self.sum.iter().map(|value| value / count).collect()
    }
}

/// `Σ x²` of each feature and how many inputs it is of.
#[derive(Debug, Clone)]
pub struct Energies {
    count: u64,
    sum: Vec<f64>,
}

impl Energies {
    fn take_in(&mut self, rows: &[f32]) -> Result<()> {
        let features = self.sum.len();
        for row in linalg::rows_of(rows, features)?.chunks_exact(features.max(1)) {
            self.sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value * value);
            self.count += 1;
        }
        Ok(())
    }

    /// How many inputs it is of.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The `most` features with the largest mean square, ascending by number; of equal ones the first.
    #[must_use]
    pub fn strongest(&self, most: usize) -> Vec<u32> {
        let mut order: Vec<usize> = (0..self.sum.len()).collect();
        let of = |at: &usize| self.sum.get(*at).copied().unwrap_or(0.0);
        order.sort_by(|one, other| of(other).total_cmp(&of(one)).then(one.cmp(other)));
        order.truncate(most);
        order.sort_unstable();
        order.into_iter().map(|at| u32::try_from(at).unwrap_or(u32::MAX)).collect()
    }
}

/// Principal components of a stream of inputs, a few at a time (Ross et al. 2008, "Incremental Learning for Robust Visual
/// Tracking"): components and values so far, the new inputs without their mean and the way between the means are
/// decomposed together.
#[derive(Debug, Clone)]
pub struct StreamingPca {
    features: usize,
    kept: usize,
    count: u64,
    mean: Vec<f64>,
    /// Squares of all centred inputs, for the share that components explain.
    energy: f64,
    singular: Vec<f64>,
    /// (components, in).
    components: Vec<f64>,
    /// Smallest cosine between a leading component and the one before the last batch.
    steadiness: f64,
}

impl StreamingPca {
    fn new(features: usize, kept: usize) -> Self {
        Self {
            features,
            kept: kept.min(features),
            count: 0,
            mean: vec![0.0; features],
            energy: 0.0,
            singular: Vec::new(),
            components: Vec::new(),
            steadiness: 0.0,
        }
    }

    fn take_in(&mut self, rows: &[f32]) -> Result<()> {
        let features = self.features;
        let mut stacked: Vec<f64> = Vec::new();
        for (component, singular) in self.components.chunks(features.max(1)).zip(&self.singular) {
            stacked.extend(component.iter().map(|value| value * singular));
        }
        let inputs = linalg::rows_of(rows, features)?;
        let new = (inputs.len() / features.max(1)) as u64;
        if new == 0 {
            return Ok(());
        }
        let mut mean = vec![0f64; features];
        for row in inputs.chunks_exact(features) {
            mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value / new as f64);
        }
        for row in inputs.chunks_exact(features) {
            let centred = row.iter().zip(&mean).map(|(value, mean)| value - mean);
            stacked.extend(centred.inspect(|value| self.energy += value * value));
        }
        let (old, all) = (self.count as f64, (self.count + new) as f64);
        if self.count > 0 {
            let way = (old * new as f64 / all).sqrt();
            let between = self.mean.iter().zip(&mean).map(|(old, new)| way * (old - new));
            stacked.extend(between.inspect(|value| self.energy += value * value));
        }
        self.mean.iter_mut().zip(&mean).for_each(|(old_mean, new_mean)| {
            *old_mean = (*old_mean * old + new_mean * new as f64) / all;
        });
        self.count += new;
        let rows = stacked.len() / features.max(1);
        let kept = self.kept.min(rows.min(features));
        // Drawn, but always the same: the run's seed has no part in it.
        let mut stream = Stream::new(self.count, "components");
        let svd = linalg::leading_svd(&stacked, rows, features, kept, ITERATIONS, &mut stream)?;
        let column = |k: usize| svd.v.iter().skip(k).step_by(kept.max(1)).copied();
        let components: Vec<f64> = (0..kept).flat_map(column).collect();
        self.steadiness = steadiness(&self.components, &components, features);
        self.singular = svd.s;
        self.components = components;
        Ok(())
    }

    /// The leading components, (count, in), as rows of norm 1.
    #[must_use]
    pub fn components(&self) -> &[f64] {
        &self.components
    }

    /// How many inputs were seen.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Singular value of each component.
    #[must_use]
    pub fn singular_values(&self) -> &[f64] {
        &self.singular
    }

    /// Share of the inputs' spread along each component.
    #[must_use]
    pub fn explained(&self) -> Vec<f64> {
        self.singular.iter().map(|value| value * value / self.energy.max(f64::MIN_POSITIVE)).collect()
    }
}

/// The smallest |cosine| between rows of the same number, over the leading half of them: the rest is looked at in case
/// directions are shared out, and its last ones are noise.
fn steadiness(before: &[f64], after: &[f64], features: usize) -> f64 {
    if before.len() != after.len() || before.is_empty() {
        return 0.0;
    }
    let cosine = |(before, after): (&[f64], &[f64])| before.iter().zip(after).map(|(b, a)| b * a).sum::<f64>().abs();
    let needed = (before.len() / features.max(1)).div_ceil(2);
    before.chunks(features).zip(after.chunks(features)).take(needed).map(cosine).fold(1.0, f64::min)
}

/// `C` with as much of its mean diagonal added as makes `‖C C⁻¹ − I‖` at most 0.05, from 1 % on, and its inverse.
///
/// # Errors
/// A matrix that no damping makes invertible: no inputs were seen.
pub fn damped_inverse(moment: &[f64], features: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    const FIRST: f64 = 0.01;
    const CLOSE: f64 = 0.05;
    let diagonal = (0..features).filter_map(|at| moment.get(at * features + at)).sum::<f64>() / features.max(1) as f64;
    let mut share = FIRST;
    for _ in 0..20 {
        let mut damped = moment.to_vec();
        (0..features).for_each(|at| {
            if let Some(value) = damped.get_mut(at * features + at) {
                *value += share * diagonal;
            }
        });
        if let Ok((inverse, off)) = linalg::inverse(&damped, features)
            && off <= CLOSE
        {
            return Ok((damped, inverse));
        }
        share *= 2.0;
    }
    Err(NnError::Value("the inputs of a layer have no second moment that could be inverted: was any seen?".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEATURES: usize = 12;

    /// Inputs whose spread falls from feature to feature, away from 0.
    fn inputs(count: usize) -> Vec<f32> {
        let mut values = vec![0f32; count * FEATURES];
        Stream::new(5, "inputs").fill_normal(&mut values, 1.0);
        for row in values.chunks_mut(FEATURES) {
            for (at, value) in row.iter_mut().enumerate() {
                *value = *value * 0.7f32.powi(at as i32) + 3.0;
            }
        }
        values
    }

    fn streamed(gather: Gather, rows: &[f32], batch: usize) -> LayerStats {
        let mut stats = LayerStats::new(gather, FEATURES);
        rows.chunks(batch * FEATURES).for_each(|rows| stats.take_in(rows).unwrap());
        stats
    }

    fn components(stats: &LayerStats) -> &StreamingPca {
        match stats {
            LayerStats::Components(pca) => pca,
            LayerStats::SecondMoment(_) | LayerStats::Energy(_) | LayerStats::Fisher(_) => panic!("no components"),
        }
    }

    #[test]
    fn components_of_a_stream_are_those_of_all_inputs_at_once() {
        let rows = inputs(600);
        let gather = Gather::Components { count: 6 };
        let (stream, whole) = (streamed(gather, &rows, 37), streamed(gather, &rows, 600));
        let (stream, whole) = (components(&stream), components(&whole));
        // What is left of the leading components outside of the others' span: the sine of the angle.
        for (at, component) in whole.components().chunks(FEATURES).take(3).enumerate() {
            let inside: f64 = stream
                .components()
                .chunks(FEATURES)
                .take(3)
                .map(|other| component.iter().zip(other).map(|(one, other)| one * other).sum::<f64>().powi(2))
                .sum();
            assert!((1.0 - inside).max(0.0).sqrt() < 1e-2, "component {at} is off by {}", (1.0 - inside).sqrt());
        }
        // The mean is taken off: nothing points along it.
        let along: f64 = whole.components().iter().take(FEATURES).sum::<f64>().abs() / (FEATURES as f64).sqrt();
        assert!(along < 0.5, "{along}");
        let explained = whole.explained();
        assert!(explained.is_sorted_by(|more, less| more >= less) && explained.iter().sum::<f64>() <= 1.0);
        for (one, other) in explained.iter().zip(stream.explained()).take(3) {
            assert!((one - other).abs() < 1e-2, "{one} and {other}");
        }
        // Rows of norm 1, at right angles.
        for (at, one) in whole.components().chunks(FEATURES).enumerate() {
            for (beside, other) in whole.components().chunks(FEATURES).enumerate() {
                let product: f64 = one.iter().zip(other).map(|(one, other)| one * other).sum();
                assert!((product - if at == beside { 1.0 } else { 0.0 }).abs() < 1e-6, "{product}");
            }
        }
    }

    #[test]
    fn a_second_moment_is_the_mean_of_products_and_does_not_depend_on_the_batches() {
        let rows = inputs(50);
        let LayerStats::SecondMoment(moment) = streamed(Gather::SecondMoment, &rows, 7) else { panic!("no moment") };
        assert_eq!(moment.count(), 50);
        let mean = moment.mean();
        for (at, found) in mean.iter().enumerate() {
            let (i, j) = (at / FEATURES, at % FEATURES);
            let products = rows.chunks(FEATURES).map(|row| f64::from(row[i]) * f64::from(row[j]));
            assert!((products.sum::<f64>() / 50.0 - found).abs() < 1e-9, "{found} at {at}");
        }
    }

    #[test]
    fn the_strongest_features_are_those_of_the_largest_mean_square() {
        let mut rows = inputs(40);
        // The last feature swings about zero, further than the others are away from it.
        rows.chunks_mut(FEATURES)
            .enumerate()
            .for_each(|(at, row)| row[FEATURES - 1] = if at % 2 == 0 { 9.0 } else { -9.0 });
        rows.chunks_mut(FEATURES).for_each(|row| row[4] *= 2.0);
        let LayerStats::Energy(energies) = streamed(Gather::Energy, &rows, 7) else { panic!("no energies") };
        assert_eq!((energies.count(), energies.strongest(2)), (40, vec![4, FEATURES as u32 - 1]));
        assert_eq!(energies.strongest(100).len(), FEATURES);
        let LayerStats::Energy(nothing) = LayerStats::new(Gather::Energy, FEATURES) else { panic!("no energies") };
        assert_eq!(nothing.strongest(3), [0, 1, 2], "of equal ones the first");
    }

    #[test]
    fn damping_grows_until_the_inverse_is_one() {
        // Of one input only: singular without damping.
        let LayerStats::SecondMoment(moment) = streamed(Gather::SecondMoment, &inputs(1), 1) else { panic!("none") };
        let (damped, inverse) = damped_inverse(&moment.mean(), FEATURES).unwrap();
        let product = linalg::product(&damped, &inverse, (FEATURES, FEATURES, FEATURES)).unwrap();
        for (at, value) in product.iter().enumerate() {
            let expected = if at / FEATURES == at % FEATURES { 1.0 } else { 0.0 };
            assert!((value - expected).abs() < 0.05, "{value} at {at}");
        }
        assert!(damped_inverse(&vec![0.0; FEATURES * FEATURES], FEATURES).is_err(), "nothing was seen");
    }

    #[test]
    fn portions_hold_what_fits_and_a_layer_at_least() {
        let moment = |features| (features, Gather::SecondMoment);
        let wanted = [moment(10), moment(10), moment(100), moment(10)];
        assert_eq!(in_portions(&wanted, 1600), [0..2, 2..3, 3..4]);
        let components = [(100, Gather::Components { count: 4 }); 3];
        assert!(in_portions(&components, 1).into_iter().eq(std::iter::once(0..3)));
        assert!(in_portions(&[], 1).is_empty());
    }
}
