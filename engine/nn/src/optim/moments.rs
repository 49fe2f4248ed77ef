//! What the optimiser remembers of each parameter, and how that becomes a file and comes back.
//!
//! Place in the data flow: [`super::AdamW`] holds one [`Moments`] per parameter; checkpoints write
//! [`StateTensor`]s, and [`read`] takes them back.
//!
//! Names in a file: `first.NAME` and `second.NAME` (of the parameter's shape, f32 or, in 8 bits, u8 codes), for codes
//! also `first_scale.NAME` and `second_scale.NAME` (f32, one per block of 256 values), and `steps.NAME` (i64).

use super::MomentStorage;
use crate::kernels::adamw::{self, BLOCK, Coded};
use crate::{NnError, Result};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;

const FIRST: &str = "first.";
const SECOND: &str = "second.";
const FIRST_SCALE: &str = "first_scale.";
const SECOND_SCALE: &str = "second_scale.";
const STEPS: &str = "steps.";
const PREFIXES: [&str; 5] = [FIRST, SECOND, FIRST_SCALE, SECOND_SCALE, STEPS];

/// What is remembered of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Moments {
    pub(super) steps: u64,
    pub(super) shape: Vec<usize>,
    held: Held,
}

/// The two moments.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    Floats { first: Vec<f32>, second: Vec<f32> },
    Codes { first: Coded, second: Coded },
}

/// A tensor of the state, for a writer.
#[derive(Clone, Debug, PartialEq)]
pub struct StateTensor<'a> {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: StateValues<'a>,
}

/// The values of a [`StateTensor`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StateValues<'a> {
    /// f32.
    Floats(&'a [f32]),
    /// u8.
    Codes(&'a [u8]),
    /// One whole number, i64 in the file.
    Count(i64),
}

impl Moments {
    /// Zeros for a parameter of this shape.
    pub(super) fn new(shape: &[usize], storage: MomentStorage) -> Self {
        let count = shape.iter().product();
        let held = match storage.of(count) {
            MomentStorage::F32 => Held::Floats { first: vec![0.0; count], second: vec![0.0; count] },
            MomentStorage::Int8 => Held::Codes { first: Coded::zero_first(count), second: Coded::zero_second(count) },
        };
        Self { steps: 0, shape: shape.to_vec(), held }
    }

    pub(super) const fn memory_bytes(&self) -> usize {
        match &self.held {
            Held::Floats { first, second } => (first.len() + second.len()) * size_of::<f32>(),
            Held::Codes { first, second } => first.memory_bytes() + second.memory_bytes(),
        }
    }

    /// Moves the parameter and what is remembered of it.
    pub(super) fn step(&mut self, parameter: &mut [f32], gradient: &[f32], step: adamw::Step) {
        match &mut self.held {
            Held::Floats { first, second } => adamw::step(parameter, gradient, first, second, step),
            Held::Codes { first, second } => adamw::step_int8(parameter, gradient, first, second, step),
        }
    }

    /// The same for the values that `mask` does not hold. In 8 bits the moments of a block are coded anew.
    pub(super) fn step_masked(&mut self, parameter: &mut [f32], gradient: &[f32], mask: &[f32], step: adamw::Step) {
        match &mut self.held {
            Held::Floats { first, second } => adamw::step_masked(parameter, gradient, mask, first, second, step),
            Held::Codes { first, second } => {
                let (mut m, mut v) = (first.values(true), second.values(false));
                adamw::step_masked(parameter, gradient, mask, &mut m, &mut v, step);
                (*first, *second) = (Coded::of(&m, true), Coded::of(&v, false));
            }
        }
    }

    /// What is remembered after the parameter took another shape: each new value has the moments of the old value named
    /// in `from`, or none.
    pub(super) fn moved(&self, shape: &[usize], from: &[Option<u32>], storage: MomentStorage) -> Self {
        let (first, second) = match &self.held {
            Held::Floats { first, second } => (first.clone(), second.clone()),
            Held::Codes { first, second } => (first.values(true), second.values(false)),
        };
        let gather = |values: &[f32]| -> Vec<f32> {
            from.iter().map(|from| from.and_then(|at| values.get(at as usize).copied()).unwrap_or(0.0)).collect()
        };
        let (first, second) = (gather(&first), gather(&second));
        let held = match storage.of(from.len()) {
            MomentStorage::F32 => Held::Floats { first, second },
            MomentStorage::Int8 => Held::Codes { first: Coded::of(&first, true), second: Coded::of(&second, false) },
        };
        Self { steps: self.steps, shape: shape.to_vec(), held }
    }

    /// The tensors that hold it.
    pub(super) fn tensors<'a>(&'a self, name: &str) -> Vec<StateTensor<'a>> {
        let tensor = |prefix: &str, shape: &[usize], values: StateValues<'a>| StateTensor {
            name: format!("{prefix}{name}"),
            shape: shape.to_vec(),
            values,
        };
        let mut tensors = Vec::with_capacity(PREFIXES.len());
        match &self.held {
            Held::Floats { first, second } => {
                tensors.push(tensor(FIRST, &self.shape, StateValues::Floats(first)));
                tensors.push(tensor(SECOND, &self.shape, StateValues::Floats(second)));
            }
            Held::Codes { first, second } => {
                for (codes, scales, moment) in [(FIRST, FIRST_SCALE, first), (SECOND, SECOND_SCALE, second)] {
                    tensors.push(tensor(codes, &self.shape, StateValues::Codes(&moment.codes)));
                    tensors.push(tensor(scales, &[moment.scales.len()], StateValues::Floats(&moment.scales)));
                }
            }
        }
        let steps = i64::try_from(self.steps).unwrap_or(i64::MAX);
        tensors.push(tensor(STEPS, &[1], StateValues::Count(steps)));
        tensors
    }
}

/// Tensors as the bytes of a safetensors file.
pub(super) fn write(tensors: &[StateTensor<'_>]) -> Result<Vec<u8>> {
    let counts = tensors.iter().map(|tensor| match tensor.values {
        StateValues::Count(count) => count.to_le_bytes(),
        StateValues::Floats(_) | StateValues::Codes(_) => [0; 8],
    });
    let counts: Vec<[u8; 8]> = counts.collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (tensor, count) in tensors.iter().zip(&counts) {
        let (dtype, bytes): (Dtype, &[u8]) = match tensor.values {
            StateValues::Floats(values) => (Dtype::F32, bytemuck::cast_slice(values)),
            StateValues::Codes(codes) => (Dtype::U8, codes),
            StateValues::Count(_) => (Dtype::I64, count),
        };
        views.push((tensor.name.clone(), TensorView::new(dtype, tensor.shape.clone(), bytes)?));
    }
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The moments in the bytes of a safetensors file, by the parameters' names. Each must be held as `storage` wants it.
pub(super) fn read(bytes: &[u8], storage: MomentStorage) -> Result<BTreeMap<String, Moments>> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut moments = BTreeMap::new();
    for full_name in file.names() {
        let name = PREFIXES.iter().find_map(|prefix| full_name.strip_prefix(prefix));
        let name = name.ok_or_else(|| refuse(full_name, "this is no tensor of an optimiser's state"))?;
        if !moments.contains_key(name) {
            moments.insert(name.to_owned(), read_one(&file, name, storage)?);
        }
    }
    Ok(moments)
}

fn refuse(name: &str, what: impl Into<String>) -> NnError {
    NnError::Param { name: name.to_owned(), what: what.into() }
}

fn read_one(file: &SafeTensors<'_>, name: &str, storage: MomentStorage) -> Result<Moments> {
    let part = |prefix: &str| {
        file.tensor(&format!("{prefix}{name}")).map_err(|_absent| refuse(name, "its optimiser state is incomplete"))
    };
    let wrong_type = || refuse(name, "its optimiser state has a wrong type");
    let (first, second, steps) = (part(FIRST)?, part(SECOND)?, part(STEPS)?);
    if steps.dtype() != Dtype::I64 || first.dtype() != second.dtype() {
        return Err(wrong_type());
    }
    let steps = <[u8; 8]>::try_from(steps.data()).map(i64::from_le_bytes).ok();
    let steps = steps.and_then(|steps| u64::try_from(steps).ok());
    let steps = steps.ok_or_else(|| refuse(name, "its number of steps is no count"))?;
    if first.shape() != second.shape() {
        return Err(refuse(name, "its two moments differ in shape"));
    }
    let shape = first.shape().to_vec();
    let count = shape.iter().product::<usize>();
    let found = match first.dtype() {
        Dtype::F32 => MomentStorage::F32,
        Dtype::U8 => MomentStorage::Int8,
        _ => return Err(wrong_type()),
    };
    if storage.of(count) != found {
        let (found, wanted) = (found.name(), storage.name());
        let what = format!(
            "its optimiser state is stored as {found}, the settings ask for {wanted}: go on with train.optim_state as \
             it was, or start a new run"
        );
        return Err(refuse(name, what));
    }
    let held = match found {
        MomentStorage::F32 => Held::Floats {
            first: bytemuck::pod_collect_to_vec(first.data()),
            second: bytemuck::pod_collect_to_vec(second.data()),
        },
        MomentStorage::Int8 => {
            let coded = |codes: &TensorView<'_>, prefix: &str| {
                let scales = part(prefix)?;
                if scales.dtype() != Dtype::F32 || scales.shape() != [count.div_ceil(BLOCK)] {
                    return Err(refuse(name, "the scales of its optimiser state do not fit"));
                }
                Ok(Coded { codes: codes.data().to_vec(), scales: bytemuck::pod_collect_to_vec(scales.data()) })
            };
            Held::Codes { first: coded(&first, FIRST_SCALE)?, second: coded(&second, SECOND_SCALE)? }
        }
    };
    Ok(Moments { steps, shape, held })
}
