//! Rows of a batch with something in front of each of their segments.
//!
//! Place in the data flow: a prompt or a prefix makes the rows of a batch longer; [`Spread`] says where each token of the
//! shorter rows lies in the longer ones, puts tensors in and takes them out again.

use crate::context::ForwardContext;
use crate::ops::{Pick, pick_rows};
use crate::{NnError, Result};
use candle_core::Tensor;
use std::sync::Arc;

/// Where tokens lie when `count` others stand before each segment.
#[derive(Debug, Clone)]
pub struct Spread {
    /// Positions of a row with them.
    pub width: usize,
    /// For each row, where its longer segments begin, from 0 to the end of the last one.
    pub borders: Arc<Vec<Vec<u32>>>,
    /// Positions of a row without them.
    narrow: usize,
    out: Arc<[Pick]>,
    back: Arc<[Pick]>,
}

impl Spread {
    /// For rows of `width` positions with these segments. What follows the last segment of a row is padding and has no
    /// place in the longer rows.
    #[must_use]
    pub fn new(borders: &[Vec<u32>], width: usize, count: usize) -> Self {
        let segments = |row: &Vec<u32>| -> Vec<(u32, u32)> {
            row.windows(2).filter_map(|pair| if let [start, end] = *pair { Some((start, end)) } else { None }).collect()
        };
        // An empty segment gets nothing in front of it.
        let longer = |(start, end): (u32, u32)| if end > start { end - start + count as u32 } else { 0 };
        let rows: Vec<Vec<(u32, u32)>> = borders.iter().map(segments).collect();
        let wide: Vec<Vec<u32>> = rows
            .iter()
            .map(|row| {
                let mut ends = vec![0];
                let mut end = 0;
                for segment in row {
                    end += longer(*segment);
                    ends.push(end);
                }
                ends
            })
            .collect();
        let longest = wide.iter().filter_map(|ends| ends.last()).max().copied().unwrap_or(0).max(1) as usize;
        let mut out = Vec::with_capacity(rows.len() * longest);
        let mut back = vec![Pick::Zero; rows.len() * width];
        for (index, row) in rows.iter().enumerate() {
            let (first, first_wide) = (index * width, index * longest);
            for (start, end) in row.iter().filter(|(start, end)| end > start) {
                out.extend((0..count as u32).map(Pick::Extra));
                for place in first + *start as usize..first + *end as usize {
                    if let Some(back) = back.get_mut(place) {
                        *back = Pick::Row(out.len() as u32);
                    }
                    out.push(Pick::Row(place as u32));
                }
            }
            out.resize(first_wide + longest, Pick::Zero);
        }
        Self { width: longest, borders: Arc::new(wide), narrow: width, out: out.into(), back: back.into() }
    }

    /// The pass over the longer rows: positions count from 0 in each longer segment.
    #[must_use]
    pub fn context(&self, ctx: &ForwardContext) -> ForwardContext {
        ForwardContext {
            training: ctx.training,
            seed: ctx.seed,
            step: ctx.step,
            rows_in_step: Arc::clone(&ctx.rows_in_step),
            ..ForwardContext::with_borders(self.width, self.borders.to_vec())
        }
    }

    /// `x` (B, T, ..) with the rows of `extra` (count, features) in front of each segment, (B, [`Self::width`], ..);
    /// zeros without `extra`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn put(&self, x: &Tensor, extra: Option<&Tensor>) -> Result<Tensor> {
        let (flat, mut dims) = self.flat(x, self.narrow)?;
        let picks = match extra {
            Some(_) => Arc::clone(&self.out),
            None => {
                self.out.iter().map(|pick| if matches!(pick, Pick::Extra(_)) { Pick::Zero } else { *pick }).collect()
            }
        };
        if let Some(width) = dims.get_mut(1) {
            *width = self.width;
        }
        Ok(pick_rows(&flat, extra, &picks)?.reshape(dims)?)
    }

    /// The positions of the shorter rows out of `y` (B, [`Self::width`], ..); padding becomes zero.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn take(&self, y: &Tensor) -> Result<Tensor> {
        let (flat, mut dims) = self.flat(y, self.width)?;
        if let Some(width) = dims.get_mut(1) {
            *width = self.narrow;
        }
        Ok(pick_rows(&flat, None, &self.back)?.reshape(dims)?)
    }

    /// As rows of features, and the shape that it had.
    fn flat(&self, x: &Tensor, width: usize) -> Result<(Tensor, Vec<usize>)> {
        let dims = x.dims().to_vec();
        let rows = self.borders.len() * width;
        if dims.get(..2) != Some(&[self.borders.len(), width]) {
            return Err(NnError::Shape(format!("{dims:?} for {} rows of {width}", self.borders.len())));
        }
        let features = x.elem_count().checked_div(rows).unwrap_or(0);
        Ok((x.contiguous()?.reshape((rows, features))?, dims))
    }
}
