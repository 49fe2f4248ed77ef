//! Rows put into another order: rows of a second tensor between them, zeros where there is none.
//!
//! Place in the data flow: what methods put in front of each segment of a packed row (a prompt before the embeddings, a
//! prefix before keys and values) goes in through [`pick_rows`], and comes out the same way.

use super::{Values, beside, has_kernel, output, reference, slice, tensor};
use crate::Result;
use crate::error::shape_error;
use crate::kernels::memory::written;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Shape, Tensor};
use std::sync::Arc;

/// Values per piece of work.
const PIECE: usize = 8192;

/// Where a row of the result comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This row of the first tensor.
    Row(u32),
    /// This row of the second tensor.
    Extra(u32),
    /// Nowhere: it is zero.
    Zero,
}

/// `x (rows, features)` and, where given, `extra (count, features)` to (picks, features), row by row as `picks` says.
/// Gradients for both where tracked; a row that is picked several times gets the sum.
///
/// # Errors
/// Shapes that do not fit, or a pick outside its tensor.
pub fn pick_rows(x: &Tensor, extra: Option<&Tensor>, picks: &Arc<[Pick]>) -> Result<Tensor> {
    let (rows, features) = x.dims2()?;
    let count = match extra {
        None => 0,
        Some(extra) if extra.dims2()?.1 == features => extra.dims2()?.0,
        Some(extra) => return shape_error(format!("rows of {:?} between rows of {features} features", extra.dims())),
    };
    let inside = |pick: &Pick| match *pick {
        Pick::Row(row) => (row as usize) < rows,
        Pick::Extra(row) => (row as usize) < count,
        Pick::Zero => true,
    };
    if let Some(pick) = picks.iter().find(|pick| !inside(pick)) {
        return shape_error(format!("{pick:?} of {rows} rows and {count} others"));
    }
    let picks = Arc::clone(picks);
    match extra {
        None if has_kernel(&[x]) => Ok(x.contiguous()?.apply_op1(PickRows { picks })?),
        Some(extra) if has_kernel(&[x, extra]) => {
            Ok(x.contiguous()?.apply_op2(&extra.contiguous()?, PickRows { picks })?)
        }
        extra => {
            let extra = extra.map(|extra| beside(x, extra)).transpose()?;
            reference::pick_rows(x, extra.as_ref(), &picks)
        }
    }
}

struct PickRows {
    picks: Arc<[Pick]>,
}

impl PickRows {
    fn gather(&self, x: &[f32], extra: &[f32], features: usize) -> Vec<f32> {
        let row = |row: u32| row as usize * features..(row as usize + 1) * features;
        written(self.picks.len() * features, features, PIECE, |index| {
            let values = match self.picks.get(index) {
                Some(Pick::Row(from)) => x.get(row(*from)),
                Some(Pick::Extra(from)) => extra.get(row(*from)),
                Some(Pick::Zero) | None => None,
            };
            values.unwrap_or_default().iter().copied()
        })
    }

    /// Gradient of the tensor of `like`'s shape whose rows `of` finds in a pick.
    fn scatter(
        &self,
        gradient: &Tensor,
        like: &Tensor,
        of: impl Fn(Pick) -> Option<u32>,
    ) -> candle_core::Result<Tensor> {
        let (rows, features) = like.dims2()?;
        let gradient = gradient.contiguous()?;
        let g = Values::of(&gradient)?;
        let mut sums = vec![0f32; rows * features];
        for (pick, g) in self.picks.iter().zip(g.chunks_exact(features.max(1))) {
            let Some(row) = of(*pick) else { continue };
            let start = row as usize * features;
            for (sum, g) in sums.iter_mut().skip(start).zip(g) {
                *sum += g;
            }
        }
        tensor(sums, (rows, features))
    }

    fn of_x(&self, gradient: &Tensor, x: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let row = |pick: Pick| if let Pick::Row(row) = pick { Some(row) } else { None };
        x.track_op().then(|| self.scatter(gradient, x, row)).transpose()
    }
}

impl CustomOp1 for PickRows {
    fn name(&self) -> &'static str {
        "pick-rows"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let features = layout.shape().dims2()?.1;
        output(self.gather(slice(x, layout)?, &[], features), (self.picks.len(), features))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.of_x(gradient, x)
    }
}

impl CustomOp2 for PickRows {
    fn name(&self) -> &'static str {
        "pick-rows-of-two"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        extra: &CpuStorage,
        extra_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let features = x_layout.shape().dims2()?.1;
        let values = self.gather(slice(x, x_layout)?, slice(extra, extra_layout)?, features);
        output(values, (self.picks.len(), features))
    }

    fn bwd(
        &self,
        x: &Tensor,
        extra: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let row = |pick: Pick| if let Pick::Extra(row) = pick { Some(row) } else { None };
        let d_extra = extra.track_op().then(|| self.scatter(gradient, extra, row)).transpose()?;
        Ok((self.of_x(gradient, x)?, d_extra))
    }
}
