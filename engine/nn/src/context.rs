//! What every layer must know about the batch it is run on.
//!
//! Place in the data flow: the trainer (or generator) makes one per forward pass; stages, sites and adapters
//! read it.

use std::sync::Arc;

/// One forward pass over a batch of `batch` rows, each padded to `width` positions.
#[derive(Clone, Debug)]
pub struct ForwardContext {
    /// Whether dropout and other noise is on.
    pub training: bool,
    /// Seed of the run.
    pub seed: u64,
    /// Optimiser step the pass belongs to.
    pub step: u64,
    /// For each batch row, its number within the step: noise is keyed by it, so that accumulating eight
    /// batches of one row gives what one batch of eight rows gives.
    pub rows_in_step: Arc<[u64]>,
    /// Rows in the batch (B).
    pub batch: usize,
    /// Positions per row (T).
    pub width: usize,
    /// Position of each token within its segment, (B·T) row by row.
    pub positions: Arc<[u32]>,
    /// For each row, where its segments begin, from 0 to the end of the last one; what follows is padding.
    pub borders: Arc<Vec<Vec<u32>>>,
}

impl ForwardContext {
    /// A pass without noise in which every row is one segment that fills it.
    #[must_use]
    pub fn plain(batch: usize, width: usize) -> Self {
        let row = vec![0, width as u32];
        Self::with_borders(width, vec![row; batch])
    }

    /// A pass without noise over rows with the given segments. Positions count from 0 in each segment and are
    /// 0 in the padding.
    #[must_use]
    pub fn with_borders(width: usize, borders: Vec<Vec<u32>>) -> Self {
        let batch = borders.len();
        let mut positions = vec![0u32; batch * width];
        for (row, borders) in positions.chunks_mut(width.max(1)).zip(&borders) {
            for segment in borders.windows(2) {
                if let [start, end] = *segment {
                    for (place, position) in row.iter_mut().take(end as usize).skip(start as usize).zip(0..) {
                        *place = position;
                    }
                }
            }
        }
        Self {
            training: false,
            seed: 0,
            step: 0,
            rows_in_step: (0..batch as u64).collect(),
            batch,
            width,
            positions: positions.into(),
            borders: Arc::new(borders),
        }
    }

    /// The same pass over rows of another width, each one segment that fills it: the places of a feature map, or tokens
    /// after some were merged.
    #[must_use]
    pub fn resized(&self, width: usize) -> Self {
        Self {
            training: self.training,
            seed: self.seed,
            step: self.step,
            rows_in_step: Arc::clone(&self.rows_in_step),
            ..Self::plain(self.batch, width)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_start_again_in_each_segment_and_padding_stays_zero() {
        let context = ForwardContext::with_borders(6, vec![vec![0, 2, 5], vec![0, 6], vec![0]]);
        assert_eq!(context.batch, 3);
        assert_eq!(context.positions[..6], [0, 1, 0, 1, 2, 0]);
        assert_eq!(context.positions[6..12], [0, 1, 2, 3, 4, 5]);
        assert_eq!(context.positions[12..], [0; 6]);
    }

    #[test]
    fn another_width_keeps_what_noise_is_keyed_by() {
        let context = ForwardContext { training: true, seed: 3, step: 4, ..ForwardContext::plain(2, 5) };
        let context = ForwardContext { rows_in_step: [7, 8].into(), ..context }.resized(3);
        assert_eq!((context.training, context.seed, context.step, context.batch, context.width), (true, 3, 4, 2, 3));
        assert_eq!(context.rows_in_step[..], [7, 8]);
        assert_eq!(context.borders[..], [vec![0, 3], vec![0, 3]]);
    }
}
