//! What is measured of a linear layer: how much of it is where, and how far training has moved it.
//!
//! Place in the data flow: rank allocation asks for the spectrum before a run, the trainer for the telemetry while one
//! goes on; neither changes the layer.

use super::{LinearSite, Weight};
use crate::adapter::AdapterExport;
use crate::frozen::FrozenWeight;
use crate::rng::Stream;
use crate::slots::{Calibration, Delta, Slots};
use crate::telemetry::{self, SiteTelemetry};
use crate::{Result, linalg};
use rayon::prelude::*;

impl LinearSite {
    /// The leading singular values of the weight with everything on it, at most `count` of them and found as the calibration
    /// of `slots` asks, and Σσ² of all.
    ///
    /// # Errors
    /// A weight that cannot be read or has values that are not finite.
    pub fn spectrum(&self, slots: &Slots, count: usize, seed: u64) -> Result<(Vec<f64>, f64)> {
        let iterations = match slots.calibration {
            Calibration::Svd { iterations }
            | Calibration::Repair { iterations, .. }
            | Calibration::Compensate { iterations, .. }
            | Calibration::Kronecker { iterations } => iterations,
            Calibration::None
            | Calibration::Qr
            | Calibration::Lu
            | Calibration::Sketch
            | Calibration::Components { .. }
            | Calibration::Energy { .. }
            | Calibration::Context { .. } => 0,
        };
        let merged = self.below(self.adapters.len()).merged(&self.name)?;
        let (rows, cols) = (merged.out_features, merged.in_features);
        let values: Vec<f64> = merged.weight.iter().copied().map(f64::from).collect();
        let mut stream = Stream::new(seed, &format!("spectrum/{}", self.name));
        let energy = values.iter().map(|value| value * value).sum();
        if let Delta::Kron(kron) = &slots.delta {
            // The weight laid out so that Kronecker products are products of two vectors.
            let terms = linalg::kronecker(&values, kron.u_size, kron.v_size, count, iterations, &mut stream)?;
            return Ok((terms.into_iter().map(|term| term.s).collect(), energy));
        }
        let svd = linalg::leading_svd(&values, rows, cols, count.min(rows.min(cols)), iterations, &mut stream)?;
        Ok((svd.s, energy))
    }

    /// Where the rank of the change goes. `None` when nothing is trained here, or the change is a whole
    /// matrix too large to decompose while training (see [`telemetry::DENSE_LIMIT`]).
    ///
    /// # Errors
    /// A failing decomposition.
    pub fn telemetry(&self) -> Result<Option<SiteTelemetry>> {
        if !self.is_adapted() {
            return Ok(None);
        }
        let norm = match self.original_norm.get() {
            Some(norm) => *norm,
            None => {
                let norm = match self.frozen() {
                    Some(layer) => frobenius_norm(&layer.weight)?,
                    None => 0.0,
                };
                *self.original_norm.get_or_init(|| norm)
            }
        };
        let routing = self.routing();
        // A change that depends on the token has no one size: its mean has.
        let before = self.fix_routing(true);
        let changes = self.export();
        self.fix_routing(before);
        let (mut low_rank, mut shift) = (Vec::new(), 0.0);
        for change in changes? {
            match change {
                AdapterExport::LowRank { a, b, scale, bias, .. } => {
                    low_rank.push((b, a, scale));
                    shift += bias.map_or(Ok(0.0), |bias| telemetry::norm(&bias, None))?;
                }
                AdapterExport::Dense { weight, bias } => {
                    let Some(layer) = self.frozen() else {
                        return Ok(None);
                    };
                    let found = telemetry::of_dense(&weight, &layer.weight, norm)?;
                    let shift = bias.map_or(Ok(0.0), |bias| telemetry::norm(&bias, layer.bias.as_ref()))?;
                    let rank = |measured: usize| self.chosen_terms().unwrap_or(measured);
                    return Ok(found.map(|found| SiteTelemetry { rank: rank(found.rank), bias_shift: shift, ..found }));
                }
            }
        }
        let found = telemetry::of_low_rank(&low_rank, norm)?;
        Ok(Some(SiteTelemetry { bias_shift: shift, routing, ..found }))
    }

    /// How many terms rules chose for the sums of products on this layer, where they did: such a sum has no rank of its own.
    #[must_use]
    pub fn chosen_terms(&self) -> Option<usize> {
        self.adapters.iter().filter_map(|adapter| adapter.chosen_terms()).reduce(|one, other| one + other)
    }

    /// Whether [`telemetry`](Self::telemetry) has to decompose a whole matrix here, which takes time.
    #[must_use]
    pub fn measures_whole_weight(&self) -> bool {
        let frozen = matches!(self.weight, Weight::Frozen(_));
        !(frozen && self.adapters.iter().all(|adapter| adapter.only_adds_low_rank()))
    }
}

/// √Σ w², accumulated in f64 over blocks of rows so that a quantised weight is never unpacked whole.
fn frobenius_norm(weight: &FrozenWeight) -> Result<f64> {
    const BLOCK_ROWS: usize = 32;
    let blocks = weight.rows.div_ceil(BLOCK_ROWS);
    let sums: Vec<f64> = (0..blocks)
        .into_par_iter()
        .map(|block| {
            let rows = block * BLOCK_ROWS..weight.rows.min((block + 1) * BLOCK_ROWS);
            let mut values = vec![0f32; rows.len() * weight.cols];
            weight.read_rows(rows, &mut values)?;
            Ok(values.iter().map(|&value| f64::from(value).powi(2)).sum())
        })
        .collect::<Result<_>>()?;
    Ok(sums.iter().sum::<f64>().sqrt())
}
