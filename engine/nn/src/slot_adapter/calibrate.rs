//! Starts that are computed from a layer's weight.

use super::held::Subspace;
use crate::adapter::MergedWeight;
use crate::frozen::FrozenWeight;
use crate::layer_stats::{Energies, LayerStats, StreamingPca, damped_inverse};
use crate::linalg;
use crate::repair::{self, Rounds, Shape, Weighing};
use crate::rng::Stream;
use crate::slots::{Calibration, Kron};
use crate::{NnError, Result};
use candle_core::{Device, Tensor};

/// What a calibration found for the places of a chain of some rank.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// (out, rank); every U, one after the other.
    pub(super) b: Vec<f32>,
    /// (rank), for a diagonal core.
    pub(super) core: Vec<f32>,
    /// (rank, in); every V, one after the other.
    pub(super) a: Vec<f32>,
}

/// The starts of a sum of Kronecker products on `weight`, whose change is multiplied by `scale`.
///
/// # Errors
/// More terms than the weight has, values that are not finite.
pub(super) fn kronecker(
    iterations: usize,
    weight: &MergedWeight,
    kron: &Kron,
    scale: f64,
    stream: &mut Stream,
) -> Result<Starts> {
    let values: Vec<f64> = weight.weight.iter().copied().map(f64::from).collect();
    let found = linalg::kronecker(&values, kron.u_size, kron.v_size, kron.terms, iterations, stream)?;
    let mut starts = Starts::default();
    for term in found {
        let share = (term.s / scale).sqrt();
        starts.b.extend(term.u.iter().map(|u| (u * share) as f32));
        starts.a.extend(term.v.iter().map(|v| (v * share) as f32));
    }
    Ok(starts)
}

/// The leading directions of `weight` that hold `energy` of Σσ²: left ones (out, k) and right ones (in, k).
///
/// # Errors
/// Values that are not finite.
pub(super) fn principal(weight: &MergedWeight, energy: f64) -> Result<Option<(Subspace, Subspace)>> {
    let (rows, cols) = (weight.out_features, weight.in_features);
    let values: Vec<f64> = weight.weight.iter().copied().map(f64::from).collect();
    let svd = linalg::svd(&values, rows, cols)?;
    let total: f64 = svd.s.iter().map(|value| value * value).sum();
    let mut held = 0.0;
    let needed = svd.s.iter().take_while(|value| {
        let more = held < energy * total;
        held += **value * **value;
        more
    });
    let (count, side) = (needed.count(), svd.s.len());
    if count == 0 {
        return Ok(None);
    }
    let subspace = |vectors: &[f64], features: usize| -> Result<Subspace> {
        let columns: Vec<f32> =
            vectors.chunks(side).flat_map(|row| row.iter().take(count).map(|&value| value as f32)).collect();
        let basis = Tensor::from_vec(columns, (features, count), &Device::Cpu)?;
        Ok(Subspace { transposed: basis.t()?.contiguous()?, basis })
    };
    Ok(Some((subspace(&svd.u, rows)?, subspace(&svd.v, cols)?)))
}

/// The starts of a chain of `rank` on `weight`, whose change is multiplied by `scale`.
///
/// # Errors
/// A rank that the weight does not have, values that are not finite.
pub(super) fn starts(
    calibration: Calibration,
    weight: &MergedWeight,
    rank: usize,
    scale: f64,
    stream: &mut Stream,
    stats: Option<&LayerStats>,
) -> Result<Starts> {
    let (rows, cols) = (weight.out_features, weight.in_features);
    if rank > rows.min(cols) {
        return Err(NnError::Shape(format!("a weight of {rows} x {cols} has no {rank} directions to start from")));
    }
    let values: Vec<f64> = weight.weight.iter().copied().map(f64::from).collect();
    Ok(match calibration {
        // Kronecker products, repairs, picked inputs and sketches have starts of their own.
        Calibration::None
        | Calibration::Kronecker { .. }
        | Calibration::Repair { .. }
        | Calibration::Compensate { .. }
        | Calibration::Energy { .. }
        | Calibration::Sketch => Starts::default(),
        Calibration::Components { .. } => match stats {
            Some(LayerStats::Components(pca)) => components(pca, rank, (rows, cols))?,
            // To be filled from a checkpoint.
            Some(LayerStats::SecondMoment(_) | LayerStats::Energy(_) | LayerStats::Fisher(_)) | None => {
                Starts::default()
            }
        },
        Calibration::Context { weakest, iterations, .. } => match stats {
            Some(LayerStats::SecondMoment(moment)) => {
                let choice = Choice { weakest, iterations, rank, scale };
                in_context(&values, (rows, cols), &moment.mean(), choice, stream)?
            }
            Some(LayerStats::Components(_) | LayerStats::Energy(_) | LayerStats::Fisher(_)) | None => Starts::default(),
        },
        Calibration::Svd { iterations } => {
            let svd = linalg::leading_svd(&values, rows, cols, rank, iterations, stream)?;
            // s · B A = U S Vᵀ with the singular values shared between the factors.
            let shares: Vec<f64> = svd.s.iter().map(|value| (value / scale).sqrt()).collect();
            Starts {
                b: svd.u.iter().enumerate().map(|(at, u)| (u * share(&shares, at % rank)) as f32).collect(),
                core: Vec::new(),
                a: transposed(&svd.v, cols, rank, |k| share(&shares, k)),
            }
        }
        Calibration::Qr => {
            let qr = linalg::leading_qr(&values, rows, cols, rank)?;
            Starts { b: narrow(&qr.q), core: Vec::new(), a: narrow(&qr.r) }
        }
        Calibration::Lu => {
            let lu = linalg::leading_lu(&values, rows, cols, rank)?;
            Starts { b: narrow(&lu.l), core: narrow(&lu.d), a: narrow(&lu.u) }
        }
    })
}

/// A with a 1 in each of the `rank` inputs that are strongest, (rank, in).
pub(super) fn picked(energies: &Energies, rank: usize, cols: usize) -> Starts {
    let mut a = vec![0f32; rank * cols];
    for (row, column) in a.chunks_mut(cols.max(1)).zip(energies.strongest(rank)) {
        if let Some(value) = row.get_mut(column as usize) {
            *value = 1.0;
        }
    }
    Starts { a, ..Starts::default() }
}

/// A of principal components, B of zeros.
fn components(pca: &StreamingPca, rank: usize, (rows, cols): (usize, usize)) -> Result<Starts> {
    let Some(found) = pca.components().get(..rank * cols) else {
        let what = format!("{} inputs have fewer than {rank} components: look at more rows of data", pca.count());
        return Err(NnError::Value(what));
    };
    Ok(Starts { b: vec![0.0; rows * rank], core: Vec::new(), a: narrow(found) })
}

/// Which directions of a weight are taken.
#[derive(Clone, Copy)]
struct Choice {
    weakest: bool,
    iterations: usize,
    rank: usize,
    scale: f64,
}

/// CorDA's start: directions of `W C`, turned back by C⁻¹.
fn in_context(
    weight: &[f64],
    (rows, cols): (usize, usize),
    moment: &[f64],
    choice: Choice,
    stream: &mut Stream,
) -> Result<Starts> {
    let Choice { weakest, iterations, rank, scale } = choice;
    let (damped, inverse) = damped_inverse(moment, cols)?;
    let seen = linalg::product(weight, &damped, (rows, cols, cols))?;
    let svd = match weakest {
        true => linalg::svd(&seen, rows, cols)?,
        false => linalg::leading_svd(&seen, rows, cols, rank, iterations, stream)?,
    };
    let side = svd.s.len();
    let first = if weakest { side.saturating_sub(rank) } else { 0 };
    let shares: Vec<f64> = (0..rank).map(|k| (share(&svd.s, first + k) / scale).sqrt()).collect();
    let value = |matrix: &[f64], row: usize, k: usize| share(matrix, row * side + first + k);
    let b: Vec<f64> =
        (0..rows * rank).map(|at| value(&svd.u, at / rank, at % rank) * share(&shares, at % rank)).collect();
    let v_t: Vec<f64> = (0..rank * cols).map(|at| value(&svd.v, at % cols, at / cols)).collect();
    let mut a = linalg::product(&v_t, &inverse, (rank, cols, cols))?;
    for (row, factor) in a.chunks_mut(cols.max(1)).zip(&shares) {
        row.iter_mut().for_each(|value| *value *= factor);
    }
    Ok(Starts { b: narrow(&b), core: Vec::new(), a: narrow(&a) })
}

/// The start of a chain of `shape.rank` that gives back what rounding took from `original`, and the weight to hold in the
/// place of `held` if it is another one.
///
/// # Errors
/// A rank that the weight does not have, values that are not finite.
pub(super) fn repaired(
    (original, held): (&FrozenWeight, &FrozenWeight),
    shape: Shape,
    rounds: Rounds,
    (scale, weighing): (f64, Weighing<'_>),
    stream: &mut Stream,
) -> Result<(Starts, Option<FrozenWeight>)> {
    let side = shape.out_features.min(shape.in_features);
    if shape.rank > side {
        let what = format!("a start that repairs needs a rank of at most {side} here, not {}", shape.rank);
        return Err(NnError::Weight { name: held.name.clone(), what });
    }
    let found = repair::alternate(original, held, shape, rounds, weighing, stream)?;
    let root = scale.sqrt();
    let scaled = |values: &[f64]| values.iter().map(|value| (value / root) as f32).collect();
    let starts = Starts { b: scaled(&found.compensation.b), core: Vec::new(), a: scaled(&found.compensation.a) };
    Ok((starts, found.base))
}

/// The start of a chain of `shape.rank` that gives back what rounding took from `original` where inputs with the second
/// moment `moment` feel it.
///
/// # Errors
/// A rank that the weight does not have, values that are not finite, inputs that are all zero.
pub(super) fn compensated(
    (original, held): (&FrozenWeight, &FrozenWeight),
    shape: Shape,
    moment: &[f64],
    scale: f64,
    stream: &mut Stream,
) -> Result<Starts> {
    let rest: Vec<f64> =
        original.to_f32()?.iter().zip(held.to_f32()?.iter()).map(|(w, q)| f64::from(*w) - f64::from(*q)).collect();
    original.bytes().let_go();
    let refuse = |error: NnError| NnError::Weight { name: held.name.clone(), what: error.to_string() };
    let found = repair::compensate(&rest, shape, Weighing::Inputs(moment), stream).map_err(refuse)?;
    let root = scale.sqrt();
    let scaled = |values: &[f64]| values.iter().map(|value| (value / root) as f32).collect();
    Ok(Starts { b: scaled(&found.b), core: Vec::new(), a: scaled(&found.a) })
}

fn share(shares: &[f64], index: usize) -> f64 {
    shares.get(index).copied().unwrap_or(0.0)
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

/// `v` (cols, rank) as (rank, cols), row k multiplied by `factor(k)`.
fn transposed(v: &[f64], cols: usize, rank: usize, factor: impl Fn(usize) -> f64) -> Vec<f32> {
    let mut out = vec![0f32; rank * cols];
    for (col, row) in v.chunks_exact(rank.max(1)).enumerate() {
        for (k, value) in row.iter().enumerate() {
            if let Some(place) = out.get_mut(k * cols + col) {
                *place = (value * factor(k)) as f32;
            }
        }
    }
    out
}
