//! Softmax over the last dimension.
//!
//! Place in the data flow: routers and readers of attention; attention itself has its own in its kernel.

use super::reference;
use crate::Result;
use candle_core::Tensor;

/// Softmax over the last dimension.
///
/// # Errors
/// A scalar.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    super::rows_and_features(x)?;
    reference::softmax(x)
}
