//! What rounding alone does: the base, rounded exactly as the export was, beside the base as it is.
//!
//! Place in the data flow: [`crate::export`] and `verify` measure it before they certify a merged GGUF in K-quants, and
//! [`crate::certificate`] judges by it.
//!
//! With 4 to 6 bits the rounding of a whole model moves its logits about as far as a short training does, whoever rounds
//! it and however well it was trained, so a fixed limit would either refuse every such file or let everything through.
//! Therefore the same writer rounds the base as its file has it into a file of the same types, the same reader reads it,
//! and the same windows of text are asked. From that follow the limits:
//!
//! - The largest logit difference may be twice the base's, or 0.3 of the largest logit as in other coarse types.
//! - The share of equal best tokens may be lower than the base's by 5 points, or by two standard errors where there are
//!   few positions, or 85 % as in other coarse types.
//! - Where more than half of the change stands out of the rounding, that is said and nothing else is asked. Where it does
//!   not, the mean logit difference over the mean size of a logit may be one and a half times the base's, and of the
//!   change at least half must be left in its own direction, the base's rounding taken off. Rounding that adds noise
//!   leaves it nearly whole; rounding back onto the values that the base had, which erases a weak change, leaves none.
//!
//! A base that is stored in the same types already is not moved by rounding: there is no yardstick then, and the export is
//! judged by the limits of other coarse types, where half of the change must survive.

use crate::certificate::{Cases, Limits, SURVIVAL, share_left, together};
use crate::error::{ExportError, Result};
use crate::gguf;
use crate::measure::{Measured, along, compare_case};
use crate::merged::Cancel;
use crate::second_opinion::SecondOpinion;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_models::{BaseKind, Model, ModelSource};
use temper_protocol::StorageType;
use temper_protocol::event::Check;

/// Most that the mean difference may be over the base's.
const MOST_NOISE: f64 = 1.5;
/// Most that the largest difference may be over the base's: the largest of millions varies more than their mean.
const MOST_LARGEST: f64 = 2.0;
/// Share of positions by which the best token may differ more often than for the base.
const FEWER_BEST: f64 = 0.05;
/// Below this share of the mean size of a logit, the base was not moved: two graphs in f32 differ by some millionths, 6 bits
/// by about a hundredth.
const UNMOVED: f64 = 1e-4;

/// What rounding did to the base.
#[derive(Debug, Clone)]
pub struct Yardstick {
    /// The base as its file has it against the base rounded.
    of_base: Measured,
    /// The same difference along the trained change, summed over all logits.
    along: f64,
}

impl Yardstick {
    /// Rounds the base of `model` to `dtype` into the file `scratch`, which is removed again, and asks both about the
    /// windows of `cases`. `None` when there is no base to round, or rounding does not move it. `progress` is told tensors
    /// written, then windows asked, each with how many in all.
    ///
    /// # Errors
    /// I/O, a base that cannot be read again, a failing tensor operation, cancellation.
    pub(crate) fn measure(
        (model, codec): (&Model, &TextCodec),
        dtype: StorageType,
        cases: &Cases,
        scratch: PathBuf,
        progress: &mut Cancel<'_>,
    ) -> Result<Option<Self>> {
        if matches!(model.source, ModelSource::Random) || cases.windows.is_empty() {
            return Ok(None);
        }
        // Read afresh: as its file has it, without adapters, whatever it is held as for training.
        let plain = Model::load(model.source.path(), BaseKind::Auto, &mut |_, _, _| {})?;
        // Dropped after the reader: a mapped file cannot be removed everywhere.
        let scratch = Scratch(scratch);
        write(&plain, codec, dtype, &scratch.0, progress)?;
        let rounded = SecondOpinion::gguf(&scratch.0, false)?;
        let windows: Vec<&[u32]> = cases.windows.iter().map(|(_, tokens)| tokens.as_slice()).collect();
        let total = windows.len() as u64;
        let mut yardstick = Self { of_base: Measured::default(), along: 0.0 };
        let mut done = 0;
        for side_by_side in together(&windows, model.config.vocab_size()) {
            let answers = rounded.logits(side_by_side)?;
            for (tokens, rounded) in side_by_side.iter().zip(&answers) {
                let before = compare_case::trained_logits(&plain, tokens)?;
                let base = compare_case::base_logits(model, tokens)?;
                let trained = compare_case::trained_logits(model, tokens)?;
                yardstick.of_base.add(&before, rounded, None);
                yardstick.along += along((&before, rounded), (&base, &trained));
                done += 1;
                if !progress(done, total) {
                    return Err(ExportError::Cancelled);
                }
            }
        }
        Ok((yardstick.of_base.unlike() > UNMOVED).then_some(yardstick))
    }

    /// The limits of `storage` for the single differences, as far as rounding the base keeps them.
    pub(crate) fn widen(&self, limits: Limits) -> Limits {
        let (same, positions) = (self.of_base.top1(), self.of_base.positions.max(1) as f64);
        // Of the difference of two shares over as many positions each.
        let error = (2.0 * same * (1.0 - same) / positions).sqrt();
        let top1 = limits.top1.min(same - FEWER_BEST.max(2.0 * error)).max(0.0);
        Limits { relative: limits.relative.max(MOST_LARGEST * self.of_base.relative()), top1, ..limits }
    }

    /// The checks of what is left of the trained change beside the rounding.
    pub(crate) fn checks(&self, measured: &Measured, limits: Limits, over: &str) -> Vec<Check> {
        let share = |name: &str, value: f64| Check {
            name: name.to_owned(),
            measured: share_left(value),
            limit: format!("{:.0} %", limits.survival * 100.0),
            over: over.to_owned(),
            pass: value >= limits.survival,
        };
        if let Some(survival) = measured.survival().filter(|survival| *survival >= limits.survival) {
            return vec![share(SURVIVAL, survival)];
        }
        let noise = measured.unlike() / self.of_base.unlike();
        let noise = Check {
            name: "difference beside the base rounded alike".to_owned(),
            measured: format!("{noise:.2} x"),
            limit: format!("{MOST_NOISE} x"),
            over: over.to_owned(),
            pass: noise <= MOST_NOISE,
        };
        let kept = measured.kept(self.along).map(|kept| share("share of the change in its direction", kept));
        std::iter::once(noise).chain(kept).collect()
    }
}

fn write(model: &Model, codec: &TextCodec, dtype: StorageType, path: &Path, progress: &mut Cancel<'_>) -> Result<()> {
    let mut sink = BufWriter::with_capacity(1 << 20, File::create(path).map_err(ExportError::io(path))?);
    gguf::write(model, codec, Some(dtype), "base", &mut sink, progress)?;
    sink.flush().map_err(ExportError::io(path))
}

/// A file that is there only while it is needed.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "the rounded base could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { relative: 0.3, top1: 0.85, survival: 0.5, greedy: false };

    fn measured(trained: [f32; 4], written: [f32; 4], base: [f32; 4]) -> Measured {
        let mut measured = Measured::default();
        measured.add(&[trained.to_vec()], &[written.to_vec()], Some(&[base.to_vec()]));
        measured
    }

    /// A base of mean size 1 that rounding moves by 0.5 in the mean.
    fn yardstick() -> Yardstick {
        Yardstick { of_base: measured([1.0, 1.0, 1.0, 1.0], [1.5, 0.5, 1.5, 0.5], [0.0; 4]), along: 0.0 }
    }

    #[test]
    fn rounding_that_does_to_the_export_what_it_does_to_the_base_passes() {
        let checks = yardstick().checks(
            &measured([1.0, 1.0, 1.0, 1.25], [0.5, 1.5, 0.5, 1.25], [1.0, 1.0, 1.0, 1.0]),
            LIMITS,
            "4 positions",
        );
        assert_eq!(checks.len(), 2, "{checks:?}");
        assert!(checks.iter().all(|check| check.pass), "{checks:?}");
    }

    #[test]
    fn an_erased_change_and_a_worse_rounding_fail() {
        let erased = measured([1.0, 1.0, 1.0, 1.25], [1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]);
        let checks = yardstick().checks(&erased, LIMITS, "");
        assert!(checks[0].pass && !checks[1].pass, "close, and nothing learned: {checks:?}");
        assert_eq!(checks[1].measured, "none");
        let worse = measured([1.0, 1.0, 1.0, 1.25], [3.0, -1.0, 3.0, 1.25], [1.0, 1.0, 1.0, 1.0]);
        let checks = yardstick().checks(&worse, LIMITS, "");
        assert!(!checks[0].pass && checks[1].pass, "more noise than the base has: {checks:?}");
    }

    #[test]
    fn a_change_that_stands_out_is_said_by_its_share() {
        let clear = measured([5.0, 1.0, -3.0, 1.0], [5.5, 1.0, -3.5, 1.0], [1.0, 1.0, 1.0, 1.0]);
        let checks = yardstick().checks(&clear, LIMITS, "");
        assert_eq!(checks.len(), 1);
        assert!(checks[0].name == SURVIVAL && checks[0].pass, "{checks:?}");
    }

    #[test]
    fn limits_give_way_only_as_far_as_the_base_does() {
        let widened = yardstick().widen(LIMITS);
        assert!((widened.relative - 1.0).abs() < 1e-9, "twice 0.5 of 1");
        assert!(widened.survival == LIMITS.survival && widened.top1 <= LIMITS.top1);
        let close = Yardstick { of_base: measured([1.0; 4], [1.01, 1.0, 1.0, 1.0], [0.0; 4]), along: 0.0 };
        let kept = close.widen(LIMITS);
        assert!(kept.relative == LIMITS.relative && kept.top1 == LIMITS.top1, "{kept:?}");
    }
}
