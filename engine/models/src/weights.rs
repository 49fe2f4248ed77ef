//! From the tensors of a source to the weights of a model: names, shapes and types checked all at once, matrices kept
//! in the map where they lie (or converted when the person asked for it), norms and biases read as f32.
//!
//! A base in NF4 or whole numbers of 2 to 8 bits is made here, while the file is read: linear weights are narrowed a few rows at a time, and
//! the pages they came from are let go. The embedding and the head keep the 16 bits or the blocks that the file has, or
//! become f16: they are looked up and compared value by value, every token leans on them, and QLoRA leaves them alone,
//! too. Norms and biases are f32 in every base.

use crate::config::LlamaConfig;
use crate::family::PartKind;
use crate::names::{Slot, slots};
use crate::source::{ModelSource, SourceTensor};
use crate::{ModelError, Progress, Result};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use temper_nn::{FrozenWeight, GroupedInt, StorageKind, dequantise};

/// How the frozen matrices are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BaseKind {
    /// As the file has them, mapped.
    #[default]
    Auto,
    /// Converted to f32.
    F32,
    /// Converted to f16.
    F16,
    /// Converted to bf16.
    Bf16,
    /// Linear weights rounded to 8-bit blocks, 8.25 bits a value.
    Int8,
    /// Linear weights rounded to QLoRA's 4-bit NormalFloat blocks, 4.25 bits a value.
    Nf4,
    /// The same with eight levels, 3.25 bits a value.
    Nf3,
    /// The same with four levels, 2.25 bits a value.
    Nf2,
    /// As NF4, with QLoRA's second quantisation of the blocks' magnitudes, 4.13 bits a value.
    Nf4Double,
    /// Linear weights rounded to whole numbers of 2 to 4 bits in groups of this size at most: of a matrix whose rows it
    /// does not divide the groups are half or a quarter of it.
    Grouped(GroupedInt),
}

impl FromStr for BaseKind {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self> {
        Self::all().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::all().map(Self::name).collect();
            ModelError::Request(format!("base is \"{text}\"; it can be one of {}", names.join(", ")))
        })
    }
}

impl fmt::Display for BaseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl BaseKind {
    /// All of them; the most bits first.
    fn all() -> impl Iterator<Item = Self> {
        let plain = [Self::Auto, Self::F32, Self::F16, Self::Bf16, Self::Int8];
        let normal = [Self::Nf4, Self::Nf4Double, Self::Nf3, Self::Nf2];
        plain.into_iter().chain(normal).chain(GroupedInt::ALL.into_iter().rev().map(Self::Grouped))
    }

    /// As project files write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
            Self::Nf3 => "nf3",
            Self::Nf2 => "nf2",
            Self::Nf4Double => "nf4-double",
            Self::Grouped(kind) => kind.name(),
        }
    }

    /// How a matrix with rows of `cols` values is held that the source has as `stored`.
    pub(crate) fn wanted(self, stored: StorageKind, part: PartKind, cols: usize) -> StorageKind {
        let of_table = if stored == StorageKind::F32 { StorageKind::F16 } else { stored };
        match self {
            Self::Auto => stored,
            Self::F32 => StorageKind::F32,
            Self::F16 => StorageKind::F16,
            Self::Bf16 => StorageKind::Bf16,
            _ if self.is_memory_only() && part != PartKind::Linear => of_table,
            Self::Int8 => StorageKind::Int8,
            Self::Nf4 => StorageKind::Nf4,
            Self::Nf3 => StorageKind::Nf3,
            Self::Nf2 => StorageKind::Nf2,
            Self::Nf4Double => StorageKind::Nf4Double,
            Self::Grouped(kind) => StorageKind::Grouped(GroupedInt { group: kind.group.dividing(cols), ..kind }),
        }
    }

    /// Whether linear weights are rounded to blocks that no file has.
    #[must_use]
    pub const fn is_memory_only(self) -> bool {
        !matches!(self, Self::Auto | Self::F32 | Self::F16 | Self::Bf16)
    }
}

/// The weights of a model by the names of its slots: matrices as they are held, norms and biases in f32.
#[derive(Default)]
pub(crate) struct Weights {
    pub(crate) matrices: BTreeMap<String, Arc<FrozenWeight>>,
    pub(crate) vectors: BTreeMap<String, Tensor>,
    /// Names of all slots in the order of the source.
    pub(crate) order: Vec<String>,
    /// How the source stores each slot.
    pub(crate) stored: BTreeMap<String, StorageKind>,
    /// Matrices of the source, still mapped, that are held as something rounded in memory.
    pub(crate) sources: BTreeMap<String, Arc<FrozenWeight>>,
}

impl Weights {
    pub(crate) fn matrix(&mut self, name: &str) -> Result<Arc<FrozenWeight>> {
        self.matrices.remove(name).ok_or_else(|| ModelError::Request(format!("weight {name} is missing")))
    }

    pub(crate) fn vector(&mut self, name: &str) -> Result<Tensor> {
        self.vectors.remove(name).ok_or_else(|| ModelError::Request(format!("weight {name} is missing")))
    }
}

/// Takes every weight of the model out of its source.
pub(crate) fn collect(
    config: &LlamaConfig,
    source: &ModelSource,
    base: BaseKind,
    progress: &mut Progress<'_>,
) -> Result<Weights> {
    let slots = slots(config);
    let tensors = source.tensors()?;
    check(config, source, &slots, &tensors)?;
    let by_name: BTreeMap<String, &Slot> = slots.iter().map(|slot| (source.name_of(slot), slot)).collect();
    let mut weights = Weights::default();
    let total = tensors.iter().map(|tensor| tensor.data.as_slice().len() as u64).sum();
    let mut done = 0;
    for tensor in &tensors {
        done += tensor.data.as_slice().len() as u64;
        if let (Some(slot), Some(kind)) = (by_name.get(&tensor.name), tensor.kind) {
            take(slot, tensor, kind, source, base, &mut weights)?;
        }
        progress("reading the model", done, total);
    }
    Ok(weights)
}

fn take(
    slot: &Slot,
    tensor: &SourceTensor,
    kind: StorageKind,
    source: &ModelSource,
    base: BaseKind,
    weights: &mut Weights,
) -> Result<()> {
    let row_order = if matches!(source, ModelSource::Gguf(_)) { slot.gguf_rows.clone() } else { None };
    weights.order.push(slot.name.clone());
    weights.stored.insert(slot.name.clone(), kind);
    if let [rows, cols] = *slot.shape {
        let data = tensor.data.clone();
        let stored = FrozenWeight::new(tensor.name.clone(), rows, cols, kind, data, row_order)?;
        let wanted = base.wanted(kind, slot.kind, cols);
        let held = if wanted == kind {
            stored
        } else {
            let converted = convert(&stored, wanted, source)?;
            if wanted.is_memory_only() {
                weights.sources.insert(slot.name.clone(), Arc::new(stored));
            }
            converted
        };
        weights.matrices.insert(slot.name.clone(), Arc::new(held));
        return Ok(());
    }
    let count = slot.shape.iter().product();
    let mut values = vec![0.0_f32; count];
    dequantise(kind, tensor.data.as_slice(), &mut values)?;
    if let Some(order) = row_order {
        let at = |&stored: &u32| values.get(stored as usize).copied().unwrap_or_default();
        values = order.iter().map(at).collect();
    }
    if matches!(source, ModelSource::HfFolder(_)) && slot.hf_shift != 0.0 {
        values.iter_mut().for_each(|value| *value += slot.hf_shift);
    }
    weights.vectors.insert(slot.name.clone(), Tensor::from_vec(values, count, &Device::Cpu)?);
    Ok(())
}

/// The matrix in another storage, a block of rows at a time; what it was read from may leave memory.
pub(crate) fn convert(stored: &FrozenWeight, wanted: StorageKind, source: &ModelSource) -> Result<FrozenWeight> {
    let (rows, cols) = (stored.rows, stored.cols);
    if wanted.bytes_for(cols).is_none() {
        let (name, kind, block) = (&stored.name, wanted.name(), wanted.block_len());
        let why = format!("{name} has rows of {cols} values, and {kind} holds whole blocks of {block}");
        return Err(ModelError::unsupported(source.path(), why, "set model.base to auto, f16 or bf16"));
    }
    let rounded =
        FrozenWeight::rounded(stored.name.clone(), rows, cols, wanted, |range, out| stored.read_rows(range, out))?;
    stored.bytes().let_go();
    Ok(rounded)
}

/// Every problem at once: a person fixes a model once, not tensor by tensor.
pub(crate) fn check(
    config: &LlamaConfig,
    source: &ModelSource,
    slots: &[Slot],
    tensors: &[SourceTensor],
) -> Result<()> {
    let found: BTreeMap<&str, &SourceTensor> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut expected = BTreeMap::new();
    let mut problems = Vec::new();
    for slot in slots {
        let name = source.name_of(slot);
        match found.get(name.as_str()) {
            None => problems.push(format!("{name} is missing")),
            Some(tensor) if tensor.shape != slot.shape => {
                problems.push(format!("{name} has shape {:?}, {:?} is needed", tensor.shape, slot.shape));
            }
            Some(tensor) if tensor.kind.is_none() => {
                problems.push(format!("{name} is stored as {}, which cannot be read", tensor.type_name));
            }
            Some(_) => {}
        }
        expected.insert(name, ());
    }
    for tensor in tensors {
        if !expected.contains_key(&tensor.name) && !source.may_ignore(&tensor.name, config) {
            problems.push(format!("{} is not part of this model", tensor.name));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ModelError::Tensors { path: source.path().to_owned(), problems: shorten(problems) })
}

/// A wrong configuration makes hundreds of problems: the first ones and the count say as much.
fn shorten(mut problems: Vec<String>) -> Vec<String> {
    const MOST: usize = 40;
    let more = problems.len().saturating_sub(MOST);
    if more > 0 {
        problems.truncate(MOST);
        problems.push(format!("and {more} more"));
    }
    problems
}
