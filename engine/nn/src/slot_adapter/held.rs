//! A factor with its values: trained, or constant and regenerated.

use crate::Result;
use crate::fused::FusedFactor;
use crate::param::{Param, Role};
use crate::rng::Stream;
use crate::slots::{Factor, Group, Init, Source};
use candle_core::{Device, Tensor, Var};

/// A factor with its values.
pub(super) enum Held {
    /// A parameter.
    Trained { name: String, var: Var, role: Role, group: Group },
    /// Never trained.
    Frozen(Tensor),
}

impl Held {
    /// Values of `factor` for `shape`. `found` is what the calibration found for this place.
    pub(super) fn build(
        name: &str,
        factor: &Factor,
        role: Role,
        shape: &[usize],
        seed: u64,
        found: Option<&[f32]>,
    ) -> Result<Self> {
        let mut stream = Stream::new(seed, &format!("init/{name}"));
        let (fan_in, entries) = (shape.last().copied().unwrap_or(1), shape.iter().product());
        let values = match factor.source {
            Source::Dense(Init::Calibrated) | Source::Frozen(Init::Calibrated) => {
                found.map_or_else(|| vec![0f32; entries], <[f32]>::to_vec)
            }
            Source::Dense(init) | Source::Frozen(init) => init.values(entries, fan_in, &mut stream),
            Source::Select => select(shape, &mut stream),
            Source::TiledIdentity => tiled_identity(shape),
        };
        let value = Tensor::from_vec(values, shape, &Device::Cpu)?;
        if factor.is_trained() {
            return Self::trained(name, &value, role, factor.group);
        }
        Ok(Self::Frozen(value))
    }

    /// A parameter that starts as `value`.
    pub(super) fn trained(name: &str, value: &Tensor, role: Role, group: Group) -> Result<Self> {
        Ok(Self::Trained { name: name.to_owned(), var: Var::from_tensor(value)?, role, group })
    }

    pub(super) fn tensor(&self) -> &Tensor {
        match self {
            Self::Trained { var, .. } => var.as_tensor(),
            Self::Frozen(value) => value,
        }
    }

    pub(super) fn is_trained(&self) -> bool {
        matches!(self, Self::Trained { .. })
    }

    pub(super) fn fused(&self) -> FusedFactor {
        match self {
            Self::Trained { name, var, .. } => FusedFactor::trained(name.clone(), var.as_tensor().clone()),
            Self::Frozen(value) => FusedFactor::fixed(value.clone()),
        }
    }

    pub(super) fn param(&self) -> Option<Param> {
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

/// The values of a tensor, row by row.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// One row of zeros and a one per picked column; as many distinct columns as there are rows, ascending.
fn select(shape: &[usize], stream: &mut Stream) -> Vec<f32> {
    let (rows, cols) = (shape.first().copied().unwrap_or(0), shape.last().copied().unwrap_or(0));
    let mut columns: Vec<usize> = (0..cols).collect();
    stream.shuffle(&mut columns);
    columns.truncate(rows);
    columns.sort_unstable();
    let mut values = vec![0f32; rows * cols];
    for (row, column) in columns.into_iter().enumerate() {
        if let Some(value) = values.get_mut(row * cols + column) {
            *value = 1.0;
        }
    }
    values
}

/// 1 where column mod rows is the row.
fn tiled_identity(shape: &[usize]) -> Vec<f32> {
    let (rows, cols) = (shape.first().copied().unwrap_or(1).max(1), shape.last().copied().unwrap_or(0));
    (0..rows * cols).map(|at| if (at % cols) % rows == at / cols { 1.0 } else { 0.0 }).collect()
}
