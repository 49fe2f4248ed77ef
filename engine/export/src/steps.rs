//! Whether the blocks of a written GGUF file hold the merged values: read tensor by tensor through candle's reader and
//! compared with what the trained model holds, each value against the step of its own block.
//!
//! Place in the data flow: one check of the certificate of files in K-quants. Logits alone could not tell a rounding that
//! is as coarse as its type from one that went wrong in a tensor that matters little.
//!
//! The step of a block is what its type can tell apart at best, for the widest of its runs (32 or 16 values with a scale
//! of their own): the range over the levels. Rounding costs half of it. An end of the range may be cut off by up to one
//! step, because the quantiser fits scales to all values of a run, or because there is one level less on one side of
//! zero. The scales of the runs are themselves whole numbers of 6 or 8 bits, an eighth of a step each for scale and minimum.
//! All of it stays below two steps, which is the limit; a value from another row, block or tensor is many steps away.

use crate::error::{ExportError, Result};
use crate::gguf::file_order;
use crate::independent::StoredTensors;
use crate::merged::{Cancel, merged_values};
use candle_core::quantized::GgmlDType;
use std::path::Path;
use temper_models::{Model, names};
use temper_protocol::event::Check;

/// Most steps that a stored value may be from the merged one.
const LIMIT: f32 = 2.0;

/// Checks every matrix of `file` that is stored in blocks a mixture may hold. `progress` is told tensors done and in all.
///
/// # Errors
/// A file that cannot be read back, a weight that cannot be read, cancellation.
pub(crate) fn check(model: &Model, file: &Path, progress: &mut Cancel<'_>) -> Result<Check> {
    let mut stored = StoredTensors::open(file)?;
    let slots = names::slots(model.config.as_llama());
    let total = slots.len() as u64;
    let (mut worst, mut tensors) = (0f32, 0u64);
    for (index, slot) in slots.iter().enumerate() {
        if slot.shape.len() == 2 {
            match stored.read(&slot.gguf)? {
                Some((kind, values)) => {
                    if let Some(steps) = Steps::of(kind) {
                        let wanted = file_order(slot, merged_values(model, slot)?);
                        worst = worst.max(steps.worst(&wanted, &values));
                        tensors += 1;
                    }
                }
                None => worst = f32::INFINITY,
            }
        }
        if !progress(index as u64 + 1, total) {
            return Err(ExportError::Cancelled);
        }
    }
    Ok(Check {
        name: "blocks hold the merged values".to_owned(),
        measured: format!("{worst:.2} steps"),
        limit: format!("{LIMIT:.0} steps"),
        over: format!("{tensors} tensors"),
        pass: worst <= LIMIT,
    })
}

/// What a block type can tell apart.
#[derive(Debug, Clone, Copy)]
struct Steps {
    /// Values with common scales of the runs.
    block: usize,
    /// Values with a scale of their own.
    run: usize,
    /// Levels over the range of a run, or over its largest magnitude.
    levels: f32,
    /// Whether a run has a minimum of its own.
    has_minimum: bool,
    /// The largest number that the 16-bit scale of a block is multiplied by: what its own smallest step becomes.
    reach: f32,
}

impl Steps {
    /// Of a type that a mixture may hold in blocks.
    fn of(kind: GgmlDType) -> Option<Self> {
        let of = |block, run, levels, has_minimum, reach| Some(Self { block, run, levels, has_minimum, reach });
        match kind {
            GgmlDType::Q4K => of(256, 32, 15.0, true, 63.0 * 15.0),
            GgmlDType::Q5K => of(256, 32, 31.0, true, 63.0 * 31.0),
            GgmlDType::Q6K => of(256, 16, 32.0, false, 128.0 * 32.0),
            GgmlDType::Q5_0 => of(32, 32, 16.0, false, 16.0),
            GgmlDType::Q5_1 => of(32, 32, 31.0, true, 31.0),
            GgmlDType::Q8_0 => of(32, 32, 127.0, false, 127.0),
            _ => None,
        }
    }

    /// The step of a block. The smallest number of a 16-bit scale and its 11 bits are part of it: a block of tiny values
    /// cannot be told finer.
    fn step(self, block: &[f32]) -> f32 {
        let range = |run: &[f32]| {
            let (low, high) = run.iter().fold((0f32, 0f32), |(low, high), value| (low.min(*value), high.max(*value)));
            if self.has_minimum { high - low } else { high.max(-low) }
        };
        let widest = block.chunks(self.run).map(range).fold(0f32, f32::max);
        let largest = block.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        widest / self.levels + largest / 4096.0 + self.reach * 2f32.powi(-25)
    }

    /// The largest distance of a stored value from the wanted one, in steps of its block.
    fn worst(self, wanted: &[f32], stored: &[f32]) -> f32 {
        if wanted.len() != stored.len() {
            return f32::INFINITY;
        }
        let mut worst = 0f32;
        for (wanted, stored) in wanted.chunks(self.block).zip(stored.chunks(self.block)) {
            let step = self.step(wanted);
            for (wanted, stored) in wanted.iter().zip(stored) {
                let steps = (wanted - stored).abs() / step;
                // `max` would pass over what is no number.
                worst = if steps.is_finite() { worst.max(steps) } else { f32::INFINITY };
            }
        }
        worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_nn::rng::Stream;
    use temper_nn::storage::dequantise_reference;
    use temper_nn::{StorageKind, dequantise, quantise};

    const KINDS: [(GgmlDType, StorageKind); 6] = [
        (GgmlDType::Q4K, StorageKind::Q4K),
        (GgmlDType::Q5K, StorageKind::Q5K),
        (GgmlDType::Q6K, StorageKind::Q6K),
        (GgmlDType::Q5_0, StorageKind::Q5_0),
        (GgmlDType::Q5_1, StorageKind::Q5_1),
        (GgmlDType::Q8_0, StorageKind::Q8_0),
    ];

    /// Rows of different size, one with an outlier, one of zeros.
    fn values() -> Vec<f32> {
        let mut values = vec![0f32; 16 * 512];
        Stream::new(17, "values").fill_normal(&mut values, 0.05);
        for (row, values) in values.chunks_mut(512).enumerate() {
            let size = 0.25 * (row + 1) as f32;
            values.iter_mut().for_each(|value| *value *= size);
            if row == 3 {
                values[40] = 0.7;
            }
            if row == 5 {
                values.fill(0.0);
            }
        }
        values
    }

    #[test]
    fn what_is_rounded_in_a_type_reads_back_within_two_of_its_steps() {
        let wanted = values();
        for (ggml, kind) in KINDS {
            let bytes = quantise(kind, &wanted).unwrap();
            assert_eq!(Some(bytes.len()), kind.bytes_for(wanted.len()));
            let (mut back, mut reference) = (vec![0f32; wanted.len()], vec![0f32; wanted.len()]);
            dequantise(kind, &bytes, &mut back).unwrap();
            dequantise_reference(kind, &bytes, &mut reference).unwrap();
            assert_eq!(back, reference, "{}", kind.name());
            let worst = Steps::of(ggml).unwrap().worst(&wanted, &back);
            assert!(worst > 0.0 && worst <= LIMIT, "{}: {worst} steps", kind.name());
        }
    }

    #[test]
    fn finer_types_are_closer() {
        let wanted = values();
        let off = |kind: StorageKind| {
            let mut back = vec![0f32; wanted.len()];
            dequantise(kind, &quantise(kind, &wanted).unwrap(), &mut back).unwrap();
            wanted.iter().zip(&back).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>()
        };
        assert!(off(StorageKind::Q6K) < off(StorageKind::Q5K) && off(StorageKind::Q5K) < off(StorageKind::Q4K));
        assert!(off(StorageKind::Q8_0) < off(StorageKind::Q5_1));
    }

    #[test]
    fn rows_in_another_order_other_scales_and_lost_values_are_found() {
        let wanted = values();
        for (ggml, kind) in KINDS {
            let steps = Steps::of(ggml).unwrap();
            let mut back = vec![0f32; wanted.len()];
            dequantise(kind, &quantise(kind, &wanted).unwrap(), &mut back).unwrap();
            let mut swapped = back.clone();
            swapped.rotate_left(512);
            let doubled: Vec<f32> = back.iter().map(|value| value * 2.0).collect();
            let mut broken = back.clone();
            broken[7] = f32::NAN;
            for damaged in [&swapped, &doubled, &broken, &back[..512].to_vec()] {
                assert!(steps.worst(&wanted, damaged) > LIMIT, "{}", kind.name());
            }
        }
    }
}
