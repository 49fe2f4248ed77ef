//! A change of single entries of a weight: all of them, or some that are picked.
//!
//! Place in the data flow: one of the changes that [`super::SlotAdapter`] holds. A change of all entries is a matrix beside
//! the weight; picked ones are a list of values and their places, never a matrix.

use super::held::{Held, Place, values};
use crate::adapter::{Entries, MergedWeight};
use crate::frozen::FrozenWeight;
use crate::fused::FusedEntries;
use crate::linalg;
use crate::ops::{Places, linear_at, linear_trained, scale_features};
use crate::param::Role;
use crate::site::Layer;
use crate::slots::{Picked, Scatter};
use crate::{NnError, Result};
use candle_core::{Device, Tensor};
use std::sync::Arc;

/// Singular values below this share of the largest are no directions.
const SMALLEST: f64 = 1e-9;

/// The entries with their values.
pub(super) struct HeldScatter {
    size: (usize, usize),
    scale: f64,
    values: Held,
    /// Where the values are; none where all entries have one.
    places: Option<Arc<Places>>,
    /// The weight's own values at the places, and what is the largest of them, where they are picked by size.
    own: Option<(Vec<f32>, f32)>,
}

impl HeldScatter {
    /// Builds the values under the name `<name>.values`.
    pub(super) fn build(name: &str, scatter: &Scatter, scale: f64, below: Layer<'_>, seed: u64) -> Result<Self> {
        let size = (below.out_features(), below.in_features());
        let (mut places, mut own) = (None, None);
        if let Picked::Smallest { .. } = scatter.picked {
            let weight = below.merged(name)?.weight;
            let numbers = smallest(&weight, scatter.picked.count(size.0, size.1));
            let of: Vec<f32> = numbers.iter().filter_map(|at| weight.get(*at as usize)).copied().collect();
            let limit = of.iter().fold(0f32, |limit, value| limit.max(value.abs()));
            places = Some(Arc::new(Places::new(size.0, size.1, &numbers)?));
            own = Some((of, limit));
        }
        let shape = places.as_ref().map_or_else(|| vec![size.0, size.1], |places| vec![places.len()]);
        let name = format!("{name}.values");
        let place = Place { name: &name, role: Role::Core, shape: &shape, seed, found: None, principal: None };
        Ok(Self { size, scale, values: Held::build(&scatter.values, &place)?, places, own })
    }

    /// The trained values.
    pub(super) const fn values(&self) -> &Held {
        &self.values
    }

    /// The same, to change them.
    pub(super) const fn values_mut(&mut self) -> &mut Held {
        &mut self.values
    }

    /// How many entries the weight has.
    pub(super) const fn entries(&self) -> usize {
        self.size.0 * self.size.1
    }

    fn scaled(&self) -> Result<Tensor> {
        let values = self.values.tensor()?;
        if self.scale == 1.0 { Ok(values) } else { Ok(values.affine(self.scale, 0.0)?) }
    }

    /// `x Δᵀ`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.places {
            None => linear_trained(x, &self.scaled()?, None),
            Some(places) => linear_at(x, &self.scaled()?, places),
        }
    }

    /// In the rows of a frozen weight.
    pub(super) fn in_rows(&self, weight: &Arc<FrozenWeight>) -> Result<FusedEntries> {
        let (weight, places) = (Arc::clone(weight), self.places.clone());
        Ok(FusedEntries { weight, scale: self.scale as f32, values: self.values.fused()?, places })
    }

    /// Adds the change to a weight, rounded once.
    pub(super) fn merge_into(&self, weight: &mut MergedWeight) -> Result<()> {
        let all = values(&self.values.tensor()?)?;
        let cols = self.size.1;
        weight.add_rows(|row, sum| match &self.places {
            None => {
                let own = all.get(row * cols..(row + 1) * cols).unwrap_or_default();
                sum.iter_mut().zip(own).for_each(|(sum, value)| *sum += self.scale * f64::from(*value));
            }
            Some(places) => {
                for (col, value) in places.of_row(row, &all) {
                    if let Some(sum) = sum.get_mut(col) {
                        *sum += self.scale * f64::from(value);
                    }
                }
            }
        });
        Ok(())
    }

    /// How far each entry has moved.
    pub(super) fn moved(&self) -> Result<Vec<f64>> {
        Ok(values(&self.values.tensor()?)?.into_iter().map(|value| f64::from(value.abs())).collect())
    }

    /// Keeps the entries with these numbers and starts them from 0 again.
    pub(super) fn pick(&mut self, numbers: &[u32]) -> Result<()> {
        self.places = Some(Arc::new(Places::new(self.size.0, self.size.1, numbers)?));
        self.values.replace(&Tensor::zeros(numbers.len(), candle_core::DType::F32, &Device::Cpu)?)
    }

    /// For each picked entry whether it is still no larger than the largest was when they were picked.
    pub(super) fn small(&self) -> Result<Vec<bool>> {
        let Some((own, limit)) = &self.own else { return Ok(Vec::new()) };
        let moved = values(&self.scaled()?)?;
        Ok(own.iter().zip(moved).map(|(own, moved)| (own + moved).abs() <= *limit).collect())
    }

    /// Places as they are kept in a checkpoint, where they cannot be found in the weight again.
    pub(super) fn remembered(&self) -> Result<Option<(Tensor, Tensor)>> {
        if self.own.is_some() { Ok(None) } else { self.list() }
    }

    /// The entries with what is added to them; none where all have a value.
    pub(super) fn listed(&self) -> Result<Option<Entries>> {
        let Some((rows, cols)) = self.list()? else { return Ok(None) };
        Ok(Some(Entries { rows, cols, values: self.scaled()?.copy()?.detach() }))
    }

    /// Rows and columns of the places, f32 (whole numbers up to 2²⁴ are exact).
    fn list(&self) -> Result<Option<(Tensor, Tensor)>> {
        let Some(places) = &self.places else { return Ok(None) };
        let list = |numbers: &[u32]| {
            let numbers: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
            let count = numbers.len();
            Tensor::from_vec(numbers, count, &Device::Cpu)
        };
        Ok(Some((list(places.rows())?, list(places.cols())?)))
    }

    /// Takes places from a checkpoint; the values come afterwards.
    pub(super) fn recall(&mut self, rows: &Tensor, cols: &Tensor) -> Result<()> {
        let width = self.size.1 as u64;
        let pairs = values(rows)?.into_iter().zip(values(cols)?);
        let numbers = pairs.map(|(row, col)| u32::try_from(row as u64 * width + col as u64).ok());
        let too_large = || NnError::Shape("a remembered place lies outside of the weight".to_owned());
        let numbers: Vec<u32> = numbers.collect::<Option<_>>().ok_or_else(too_large)?;
        self.pick(&numbers)
    }

    /// `weight · ‖P‖_*` of the matrix P of the picked entries, the weight's own values included, 0 elsewhere. Its gradient
    /// is `U Vᵀ` at the places.
    pub(super) fn nuclear(&self, weight: f64) -> Result<Option<Tensor>> {
        let (Some(places), Some((own, _))) = (&self.places, &self.own) else { return Ok(None) };
        let (rows, cols) = self.size;
        let trained = self.scaled()?;
        let now: Vec<f64> =
            own.iter().zip(values(&trained)?).map(|(own, moved)| f64::from(*own) + f64::from(moved)).collect();
        let mut whole = vec![0f64; rows * cols];
        for ((row, col), value) in places.iter().zip(&now) {
            if let Some(place) = whole.get_mut(row * cols + col) {
                *place = *value;
            }
        }
        let svd = linalg::svd(&whole, rows, cols)?;
        let side = svd.s.len();
        let used = svd.s.iter().take_while(|value| **value > SMALLEST * svd.s.first().copied().unwrap_or(0.0)).count();
        let of = |matrix: &[f64], at: usize| matrix.get(at * side..at * side + used).unwrap_or_default().to_vec();
        let slope = |(row, col): (usize, usize)| -> f64 {
            of(&svd.u, row).iter().zip(of(&svd.v, col)).map(|(u, v)| u * v).sum()
        };
        let slopes: Vec<f32> = places.iter().map(|place| slope(place) as f32).collect();
        let fixed: f64 = own.iter().zip(&slopes).map(|(own, slope)| f64::from(*own) * f64::from(*slope)).sum();
        let slopes = Tensor::from_vec(slopes, places.len(), &Device::Cpu)?;
        Ok(Some(scale_features(&trained, &slopes)?.sum_all()?.affine(weight, weight * fixed)?))
    }
}

/// The numbers of the `count` smallest values, ascending; of equal ones the first.
fn smallest(weight: &[f32], count: usize) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..u32::try_from(weight.len()).unwrap_or(u32::MAX)).collect();
    let size = |at: &u32| weight.get(*at as usize).map_or(f32::INFINITY, |value| value.abs());
    if count < numbers.len() {
        numbers.select_nth_unstable_by(count, |one, other| size(one).total_cmp(&size(other)).then(one.cmp(other)));
        numbers.truncate(count);
    }
    numbers.sort_unstable();
    numbers
}
