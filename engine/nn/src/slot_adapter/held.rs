//! A factor with its values: trained, constant and regenerated, or made from either.

use crate::Result;
use crate::fused::{FusedFactor, FusedInputs};
use crate::ops::{Seeded, linear_trained, scale_rows, seeded_sum};
use crate::param::{Param, Role};
use crate::rng::Stream;
use crate::slots::{Factor, Group, Init, Map, Source};
use candle_core::{Device, Tensor, Var};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

/// A factor with its values.
pub(super) struct Held {
    source: HeldSource,
    map: HeldMap,
    /// What its rows give of an input, where they are no product.
    inputs: Option<FusedInputs>,
}

enum HeldSource {
    /// A parameter.
    Trained(Leaf),
    /// Never trained.
    Frozen(Tensor),
    /// Part of a matrix that other sites use too.
    Shared(Arc<Tensor>, Whole),
    /// The same of a matrix that came from a file.
    Given(Arc<Tensor>, Tensor),
    /// Trained coefficients over drawn matrices.
    Seeded(Leaf, Arc<Seeded>),
}

enum HeldMap {
    None,
    /// Each row multiplied by a trained number.
    Rows(Leaf),
    /// Without what lies in a subspace: of the columns of B, of the rows of A.
    Complement(Subspace),
}

/// A parameter with its name.
struct Leaf {
    name: String,
    var: Var,
    role: Role,
    group: Group,
    /// What is trained of it; all without one.
    mask: Option<Tensor>,
}

/// An orthonormal basis, (features, k), and its transpose.
#[derive(Clone)]
pub(super) struct Subspace {
    pub(super) basis: Tensor,
    pub(super) transposed: Tensor,
}

/// What decides a shared matrix.
#[derive(Clone, Debug)]
struct Whole {
    seed: u64,
    role: Role,
    rows: usize,
    cols: usize,
    init: Init,
}

/// Where a factor of a layer is held.
pub(super) struct Place<'a> {
    /// Name of its parameter.
    pub(super) name: &'a str,
    /// What it is.
    pub(super) role: Role,
    /// Its shape, outer dimension first.
    pub(super) shape: &'a [usize],
    /// Seed of the run.
    pub(super) seed: u64,
    /// What the calibration found for it.
    pub(super) found: Option<&'a [f32]>,
    /// The subspace of the weight's leading directions on its side.
    pub(super) principal: Option<&'a Subspace>,
}

impl Held {
    /// Values of `factor` for a place.
    pub(super) fn build(factor: &Factor, place: &Place<'_>) -> Result<Self> {
        let Place { name, role, shape, seed, found, principal } = *place;
        let mut stream = Stream::new(seed, &format!("init/{name}"));
        let (fan_in, entries) = (shape.last().copied().unwrap_or(1), shape.iter().product());
        let start = |init: Init, stream: &mut Stream| -> Result<Tensor> {
            let values = match (init, found) {
                (Init::Calibrated, Some(found)) if !found.is_empty() => found.to_vec(),
                _ => init.values(entries, fan_in, stream),
            };
            Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
        };
        let leaf = |value: &Tensor, group: Group| Leaf::new(name, value, role, group);
        let constant = |values: Vec<f32>| Tensor::from_vec(values, shape, &Device::Cpu);
        let mut inputs = None;
        let source = match factor.source {
            Source::Dense(init) => HeldSource::Trained(leaf(&start(init, &mut stream)?, factor.group)?),
            Source::Frozen(init) => HeldSource::Frozen(start(init, &mut stream)?),
            Source::Select => {
                let columns = match found {
                    Some(found) if !found.is_empty() => ones_of(found, shape),
                    _ => select(shape, &mut stream),
                };
                let values = constant(ones_at(&columns, shape))?;
                inputs = Some(FusedInputs::Picked(columns.into()));
                HeldSource::Frozen(values)
            }
            Source::TiledIdentity => {
                inputs = Some(FusedInputs::Summed(shape.first().copied().unwrap_or(1)));
                HeldSource::Frozen(constant(tiled_identity(shape))?)
            }
            Source::Shared { init, rows, cols } => {
                let whole = Whole { seed, role, rows, cols, init };
                HeldSource::Shared(whole.part(shape)?, whole)
            }
            Source::Seeded { bases, start: init } => {
                let coefficients = Tensor::zeros(bases, candle_core::DType::F32, &Device::Cpu)?;
                let key = Stream::new(seed, &format!("bases/{name}")).next_u64();
                let seeded = Seeded { key, start: start(init, &mut stream)?, bases };
                HeldSource::Seeded(leaf(&coefficients, factor.group)?, Arc::new(seeded))
            }
        };
        let map = match (factor.map, principal) {
            (Map::None, _) | (Map::Complement { .. }, None) => HeldMap::None,
            (Map::Complement { .. }, Some(principal)) => HeldMap::Complement(principal.clone()),
            (Map::Rows(init), _) => {
                let rows = shape.first().copied().unwrap_or(0);
                let values = init.values(rows, 1, &mut Stream::new(seed, &format!("init/{name}/rows")));
                HeldMap::Rows(leaf(&Tensor::from_vec(values, rows, &Device::Cpu)?, factor.group)?)
            }
        };
        let inputs = inputs.filter(|_| matches!(map, HeldMap::None));
        Ok(Self { source, map, inputs })
    }

    /// A parameter that starts as `value`.
    pub(super) fn trained(name: &str, value: &Tensor, role: Role, group: Group) -> Result<Self> {
        Ok(Self { source: HeldSource::Trained(Leaf::new(name, value, role, group)?), map: HeldMap::None, inputs: None })
    }

    /// What its rows give of an input, where they are no product.
    pub(super) fn inputs(&self) -> Option<FusedInputs> {
        self.inputs.clone()
    }

    /// The features that its rows pick, ascending; none where they are not picked.
    pub(super) fn columns(&self) -> Option<&[u32]> {
        match &self.inputs {
            Some(FusedInputs::Picked(columns)) => Some(columns),
            Some(FusedInputs::Summed(_)) | None => None,
        }
    }

    /// Picks other features, as many as before; nothing where none are picked.
    ///
    /// # Errors
    /// Another number of features, or one that is not there.
    pub(super) fn pick(&mut self, columns: &[u32]) -> Result<()> {
        let (HeldSource::Frozen(values), Some(FusedInputs::Picked(before))) = (&self.source, &self.inputs) else {
            return Ok(());
        };
        let (_, features) = values.dims2()?;
        if columns.len() != before.len() || columns.iter().any(|column| *column as usize >= features) {
            let what =
                format!("{} features of {features} cannot be picked in the place of {}", columns.len(), before.len());
            return Err(crate::NnError::Shape(what));
        }
        let ones = ones_at(columns, values.dims());
        self.source = HeldSource::Frozen(Tensor::from_vec(ones, values.dims(), &Device::Cpu)?);
        self.inputs = Some(FusedInputs::Picked(columns.into()));
        Ok(())
    }

    /// Its values; differentiable in everything trained behind them.
    pub(super) fn tensor(&self) -> Result<Tensor> {
        let values = match &self.source {
            HeldSource::Trained(leaf) => leaf.var.as_tensor().clone(),
            HeldSource::Frozen(value) => value.clone(),
            HeldSource::Shared(value, _) | HeldSource::Given(value, _) => Tensor::clone(value),
            HeldSource::Seeded(leaf, seeded) => seeded_sum(leaf.var.as_tensor(), seeded)?,
        };
        Ok(match &self.map {
            HeldMap::None => values,
            HeldMap::Rows(scale) => scale_rows(&values, scale.var.as_tensor())?,
            HeldMap::Complement(subspace) => {
                // The features of A are its columns, those of B its rows.
                if self.is_inner() {
                    subspace.complement(&values)?
                } else {
                    subspace.complement(&values.t()?.contiguous()?)?.t()?.contiguous()?
                }
            }
        })
    }

    /// Whether it is the inner factor of a chain.
    fn is_inner(&self) -> bool {
        self.leaves().any(|leaf| leaf.role == Role::FactorA)
    }

    /// Whether anything behind it is trained.
    pub(super) fn is_trained(&self) -> bool {
        self.leaves().next().is_some()
    }

    fn leaves(&self) -> impl Iterator<Item = &Leaf> {
        let source = match &self.source {
            HeldSource::Trained(leaf) | HeldSource::Seeded(leaf, _) => Some(leaf),
            HeldSource::Frozen(_) | HeldSource::Shared(..) | HeldSource::Given(..) => None,
        };
        let map = match &self.map {
            HeldMap::Rows(leaf) => Some(leaf),
            HeldMap::None | HeldMap::Complement(_) => None,
        };
        [source, map].into_iter().flatten()
    }

    /// Its parameters.
    pub(super) fn params(&self) -> impl Iterator<Item = Param> {
        self.leaves().map(|leaf| Param {
            name: leaf.name.clone(),
            var: leaf.var.clone(),
            role: leaf.role,
            lr_ratio: leaf.group.lr_ratio,
            decay: leaf.group.decay,
            update: leaf.group.update,
            mask: leaf.mask.clone(),
        })
    }

    /// Name and values of a factor whose every entry is trained.
    pub(super) fn trained_values(&self) -> Option<(&str, &Var)> {
        match &self.source {
            HeldSource::Trained(leaf) => Some((&leaf.name, &leaf.var)),
            HeldSource::Frozen(_) | HeldSource::Shared(..) | HeldSource::Given(..) | HeldSource::Seeded(..) => None,
        }
    }

    /// What is trained of it; all without one.
    pub(super) fn mask(&self) -> Option<&Tensor> {
        match &self.source {
            HeldSource::Trained(leaf) => leaf.mask.as_ref(),
            HeldSource::Frozen(_) | HeldSource::Shared(..) | HeldSource::Given(..) | HeldSource::Seeded(..) => None,
        }
    }

    /// Says what is trained of it.
    pub(super) fn set_mask(&mut self, mask: Option<Tensor>) {
        if let HeldSource::Trained(leaf) = &mut self.source {
            leaf.mask = mask;
        }
    }

    /// Puts values of any shape in the place of the trained ones.
    pub(super) fn replace(&mut self, values: &Tensor) -> Result<()> {
        if let HeldSource::Trained(leaf) = &mut self.source {
            leaf.var = Var::from_tensor(&values.detach())?;
        }
        Ok(())
    }

    /// The values and where their gradient goes.
    pub(super) fn fused(&self) -> Result<FusedFactor> {
        match (&self.source, &self.map) {
            (HeldSource::Trained(leaf), HeldMap::None) => {
                Ok(FusedFactor::trained(leaf.name.clone(), leaf.var.as_tensor().clone()))
            }
            _ => FusedFactor::folded(self.tensor()?, self.params().collect()),
        }
    }

    /// What all sites share of it, whole.
    pub(super) fn shared(&self) -> Result<Option<Tensor>> {
        Ok(match &self.source {
            HeldSource::Shared(_, whole) => Some(Tensor::clone(&*whole.part(&[whole.rows, whole.cols])?)),
            HeldSource::Given(_, whole) => Some(whole.clone()),
            HeldSource::Trained(_) | HeldSource::Frozen(_) | HeldSource::Seeded(..) => None,
        })
    }

    /// What all sites share of it, whole, where it came from a file and cannot be drawn again.
    pub(super) fn given(&self) -> Option<&Tensor> {
        match &self.source {
            HeldSource::Given(_, whole) => Some(whole),
            HeldSource::Trained(_) | HeldSource::Frozen(_) | HeldSource::Shared(..) | HeldSource::Seeded(..) => None,
        }
    }

    /// Puts a matrix of a file in the place of the one that all sites share; nothing where none is shared.
    ///
    /// # Errors
    /// A matrix that is too small for this layer.
    pub(super) fn give(&mut self, whole: &Tensor) -> Result<()> {
        let (HeldSource::Shared(part, _) | HeldSource::Given(part, _)) = &self.source else { return Ok(()) };
        let (rows, cols) = part.dims2()?;
        let fits = whole.rank() == 2 && whole.dim(0)? >= rows && whole.dim(1)? >= cols;
        if !fits {
            let what = format!("a shared matrix {:?} has no part of {rows} x {cols}", whole.dims());
            return Err(crate::NnError::Shape(what));
        }
        let part = kept_part(format!("{:?} {rows} x {cols}", whole.id()), || {
            Ok(whole.narrow(0, 0, rows)?.narrow(1, 0, cols)?.contiguous()?)
        })?;
        self.source = HeldSource::Given(part, whole.clone());
        Ok(())
    }

    /// The trained numbers that its rows are multiplied by.
    pub(super) fn row_scale(&self) -> Option<&Tensor> {
        match &self.map {
            HeldMap::Rows(leaf) => Some(leaf.var.as_tensor()),
            HeldMap::None | HeldMap::Complement(_) => None,
        }
    }
}

impl Leaf {
    fn new(name: &str, value: &Tensor, role: Role, group: Group) -> Result<Self> {
        Ok(Self { name: name.to_owned(), var: Var::from_tensor(value)?, role, group, mask: None })
    }
}

impl Subspace {
    /// `values` (.., features) without what lies in the subspace.
    fn complement(&self, values: &Tensor) -> Result<Tensor> {
        let inside = linear_trained(&linear_trained(values, &self.transposed, None)?, &self.basis, None)?;
        Ok((values - inside)?)
    }
}

/// Parts of shared matrices that sites hold at the moment, by what decides them.
static PARTS: Mutex<BTreeMap<String, Weak<Tensor>>> = Mutex::new(BTreeMap::new());

/// The part under `key`, the same memory for all who ask while somebody holds it.
fn kept_part(key: String, make: impl FnOnce() -> Result<Tensor>) -> Result<Arc<Tensor>> {
    let mut parts = PARTS.lock();
    if let Some(part) = parts.get(&key).and_then(Weak::upgrade) {
        return Ok(part);
    }
    let part = Arc::new(make()?);
    parts.retain(|_, part| part.strong_count() > 0);
    parts.insert(key, Arc::downgrade(&part));
    Ok(part)
}

impl Whole {
    /// The top left part of this shape.
    fn part(&self, shape: &[usize]) -> Result<Arc<Tensor>> {
        kept_part(format!("{self:?} {shape:?}"), || {
            let mut stream = Stream::new(self.seed, &format!("shared/{:?}", self.role));
            let values = self.init.values(self.rows * self.cols, self.cols, &mut stream);
            let (rows, cols) = (shape.first().copied().unwrap_or(0), shape.last().copied().unwrap_or(0));
            let cut: Vec<f32> =
                values.chunks(self.cols.max(1)).take(rows).flat_map(|row| row.iter().take(cols).copied()).collect();
            Ok(Tensor::from_vec(cut, shape, &Device::Cpu)?)
        })
    }
}

/// The values of a tensor, row by row.
pub(super) fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// As many distinct columns as there are rows, ascending.
fn select(shape: &[usize], stream: &mut Stream) -> Vec<u32> {
    let (rows, cols) = (shape.first().copied().unwrap_or(0), shape.last().copied().unwrap_or(0));
    let mut columns: Vec<usize> = (0..cols).collect();
    stream.shuffle(&mut columns);
    columns.truncate(rows);
    columns.sort_unstable();
    columns.into_iter().map(|column| u32::try_from(column).unwrap_or(u32::MAX)).collect()
}

/// The column of the one in each row.
fn ones_of(values: &[f32], shape: &[usize]) -> Vec<u32> {
    let cols = shape.last().copied().unwrap_or(1).max(1);
    let one = |row: &[f32]| row.iter().position(|value| *value != 0.0).unwrap_or(0);
    values.chunks(cols).map(|row| u32::try_from(one(row)).unwrap_or(u32::MAX)).collect()
}

/// One row of zeros and a one per picked column.
fn ones_at(columns: &[u32], shape: &[usize]) -> Vec<f32> {
    let (rows, cols) = (shape.first().copied().unwrap_or(0), shape.last().copied().unwrap_or(0));
    let mut values = vec![0f32; rows * cols];
    for (row, &column) in columns.iter().enumerate() {
        if let Some(value) = values.get_mut(row * cols + column as usize) {
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
