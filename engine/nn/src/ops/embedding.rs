//! Token embeddings: rows of a table by id.
//!
//! Place in the data flow: the first stage of every language model.

use super::{Values, has_kernel, output, reference, slice, tensor};
use crate::error::shape_error;
use crate::frozen::FrozenWeight;
use crate::{NnError, Result};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};
use std::sync::Arc;

/// Where embeddings come from.
#[derive(Clone, Debug)]
pub enum EmbeddingTable {
    /// Not trained, as the file has it (V, D).
    Frozen(Arc<FrozenWeight>),
    /// Trained (V, D).
    Trained(Tensor),
}

/// Rows of `table` by id, shaped (B, T, D). A trained table gets a dense gradient.
///
/// # Errors
/// Ids outside the table, or not B·T of them.
pub fn embedding(ids: &Arc<[u32]>, shape: (usize, usize), table: &EmbeddingTable) -> Result<Tensor> {
    let (batch, width) = shape;
    if ids.len() != batch * width {
        return shape_error(format!("{} ids for {batch} rows of {width}", ids.len()));
    }
    let rows = match table {
        EmbeddingTable::Frozen(weight) => weight.rows,
        EmbeddingTable::Trained(table) => table.dims2()?.0,
    };
    if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
        return Err(NnError::Value(format!("token {id} is not in a vocabulary of {rows}")));
    }
    match table {
        EmbeddingTable::Frozen(weight) => {
            let mut values = vec![0f32; ids.len() * weight.cols];
            for (&id, row) in ids.iter().zip(values.chunks_exact_mut(weight.cols.max(1))) {
                weight.read_rows(id as usize..id as usize + 1, row)?;
            }
            Ok(Tensor::from_vec(values, (batch, width, weight.cols), &Device::Cpu)?)
        }
        EmbeddingTable::Trained(table) if !has_kernel(&[table]) => reference::embedding(ids, shape, table),
        EmbeddingTable::Trained(table) => {
            Ok(table.contiguous()?.apply_op1(Embedding { ids: Arc::clone(ids), shape })?)
        }
    }
}

struct Embedding {
    ids: Arc<[u32]>,
    shape: (usize, usize),
}

impl CustomOp1 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(&self, table: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (_, features) = layout.shape().dims2()?;
        let table = slice(table, layout)?;
        let mut rows = Vec::with_capacity(self.ids.len() * features);
        for &id in self.ids.iter() {
            rows.extend_from_slice(&table[id as usize * features..(id as usize + 1) * features]);
        }
        output(rows, (self.shape.0, self.shape.1, features))
    }

    fn bwd(&self, table: &Tensor, _rows: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (vocabulary, features) = table.dims2()?;
        let gradient = gradient.contiguous()?;
        let g = Values::of(&gradient)?;
        // One after the other: the same token may occur often, and the order of the sums is kept.
        let mut sums = vec![0f32; vocabulary * features];
        for (&id, g) in self.ids.iter().zip(g.chunks_exact(features.max(1))) {
            let sums = &mut sums[id as usize * features..(id as usize + 1) * features];
            for (sum, g) in sums.iter_mut().zip(g) {
                *sum += g;
            }
        }
        Ok(Some(tensor(sums, (vocabulary, features))?))
    }
}
