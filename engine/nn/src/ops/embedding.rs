//! Token embeddings: rows of a table by id.
//!
//! Place in the data flow: the first stage of every language model.

use super::reference;
use crate::error::shape_error;
use crate::frozen::FrozenWeight;
use crate::{NnError, Result};
use candle_core::{Device, Tensor};
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
        // Candle's own: its gradient adds rows to what is held already, where a kernel would hand in a second dense table.
        EmbeddingTable::Trained(table) => reference::embedding(ids, shape, table),
    }
}
