//! Rotary position embedding in the half-split convention of Hugging Face.
//!
//! Place in the data flow: queries and keys pass through it before attention.
//!
//! Su, Lu, Pan, Murtadha, Wen, Liu, "RoFormer" (2021).

use super::{Values, has_kernel, output, reference, slice, tensor};
use crate::Result;
use crate::error::shape_error;
use crate::kernels::rotary::{Pairs, rotate};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};
use parking_lot::RwLock;
use std::sync::Arc;

/// Cosines and sines of position times frequency, computed as far as positions were asked for.
#[derive(Debug)]
pub struct RotaryTable {
    inv_freq: Vec<f32>,
    attention_scale: f32,
    /// (positions, 2 · half): the cosines of a position, then its sines.
    values: RwLock<Arc<Vec<f32>>>,
}

impl RotaryTable {
    /// From the inverse frequencies (half of the rotated features) and the factor that some long-context
    /// scalings put on both cosines and sines (1 otherwise).
    #[must_use]
    pub fn new(inv_freq: Vec<f32>, attention_scale: f32) -> Self {
        Self { inv_freq, attention_scale, values: RwLock::default() }
    }

    /// The inverse frequencies.
    #[must_use]
    pub fn inv_freq(&self) -> &[f32] {
        &self.inv_freq
    }

    /// Number of rotated pairs.
    #[must_use]
    pub fn half(&self) -> usize {
        self.inv_freq.len()
    }

    /// A table that covers at least the positions below `positions`: row p holds the cosines of p, then its
    /// sines, 2 · half values in all.
    #[must_use]
    pub fn up_to(&self, positions: usize) -> Arc<Vec<f32>> {
        let per_position = 2 * self.half();
        {
            let held = self.values.read();
            if held.len() >= positions * per_position {
                return Arc::clone(&held);
            }
        }
        let mut held = self.values.write();
        // Another thread may have been first.
        if held.len() < positions * per_position {
            let wanted = positions.next_power_of_two();
            let mut values = held.as_ref().clone();
            for position in values.len() / per_position.max(1)..wanted {
                self.push_position(position, &mut values);
            }
            *held = Arc::new(values);
        }
        Arc::clone(&held)
    }

    fn push_position(&self, position: usize, values: &mut Vec<f32>) {
        // The angle is rounded to f32 first: that is what models were trained with.
        let angles = self.inv_freq.iter().map(|frequency| f64::from(position as f32 * frequency));
        let scale = f64::from(self.attention_scale);
        let start = values.len();
        values.extend(angles.clone().map(|angle| (libm::cos(angle) * scale) as f32));
        values.extend(angles.map(|angle| (libm::sin(angle) * scale) as f32));
        debug_assert_eq!(values.len() - start, 2 * self.half());
    }
}

/// Rotates feature pairs (i, i + half) of `x` (B, T, H, Dh) by their positions (B·T); features beyond 2·half
/// pass through.
///
/// # Errors
/// Shapes that do not fit.
pub fn rotary(x: &Tensor, table: &RotaryTable, positions: &Arc<[u32]>) -> Result<Tensor> {
    let (batch, width, heads, features) = x.dims4()?;
    if 2 * table.half() > features || positions.len() != batch * width {
        let (half, positions) = (table.half(), positions.len());
        let dims = x.dims();
        return shape_error(format!("{half} rotary pairs and {positions} positions do not fit {dims:?}"));
    }
    let needed = positions.iter().max().map_or(0, |&largest| largest as usize + 1);
    let values = table.up_to(needed);
    let half = table.half();
    if !has_kernel(&[x]) {
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        for &position in positions.iter() {
            let (cosine, sine) = values[position as usize * 2 * half..][..2 * half].split_at(half);
            cosines.extend_from_slice(cosine);
            sines.extend_from_slice(sine);
        }
        let cosines = Tensor::from_vec(cosines, (positions.len(), half), &Device::Cpu)?;
        let sines = Tensor::from_vec(sines, (positions.len(), half), &Device::Cpu)?;
        return reference::rotary(x, &cosines, &sines);
    }
    let pairs = Pairs { heads, features, half, turn: 1.0 };
    Ok(x.contiguous()?.apply_op1(Rotary { table: values, positions: Arc::clone(positions), pairs })?)
}

struct Rotary {
    table: Arc<Vec<f32>>,
    positions: Arc<[u32]>,
    pairs: Pairs,
}

impl CustomOp1 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        output(rotate(slice(x, layout)?, &self.table, &self.positions, self.pairs), layout.shape().clone())
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let back = Pairs { turn: -1.0, ..self.pairs };
        let dx = rotate(&Values::of(&gradient)?, &self.table, &self.positions, back);
        Ok(Some(tensor(dx, x.dims())?))
    }
}
