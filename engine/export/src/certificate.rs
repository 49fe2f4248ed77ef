//! The certificate: what was written is read back by an independent path and compared with the trained
//! model on probe prompts. Below the limits the export is refused, with the reason.
//!
//! Place in the data flow: [`crate::export`] calls this on the staged files; `verify` calls it again on
//! finished ones.

use crate::ends::{Ends, Stops};
use crate::error::Result;
use crate::measure::{Measured, compare_case};
use crate::second_opinion::SecondOpinion;
use crate::yardstick::Yardstick;
use temper_models::Model;
use temper_protocol::event::Check;
use temper_protocol::{Event, ExportFormat};

/// Name of the check of how much of the trained change is left.
pub(crate) const SURVIVAL: &str = "share of the change that survives";

/// Tokens that each prompt is continued by.
pub const GREEDY_TOKENS: usize = 32;

/// What the comparison runs over.
#[derive(Debug, Clone, Default)]
pub struct Cases {
    /// Windows of probe text: name of the set and token ids.
    pub windows: Vec<(String, Vec<u32>)>,
    /// Prompts that are continued greedily.
    pub prompts: Vec<Vec<u32>>,
}

/// Limits of a storage type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Largest logit difference over the largest logit.
    pub relative: f64,
    /// Share of positions with the same best token.
    pub top1: f64,
    /// Share of the trained change that must survive.
    pub survival: f64,
    /// Whether greedy continuations must be equal up to near ties.
    pub greedy: bool,
}

impl Limits {
    /// Limits for tensors stored as `storage`, such as `f32` or `Q4_1`. A faithful copy of SmolLM2-135M after 100 steps
    /// measures 1.1e-2, 99.5 % and 98 % as bf16, 6.1e-2, 97.7 % and 93 % as q8_0: one scale for 32 values rounds more
    /// coarsely than 8 bits of mantissa, and the largest of 31 million differences shows it first.
    /// K-quants have the last line's limits, widened by what the same rounding does to the base (`yardstick.rs`).
    #[must_use]
    pub fn of(storage: &str) -> Self {
        match storage.to_ascii_lowercase().as_str() {
            "f32" => Self { relative: 1e-3, top1: 0.99, survival: 0.98, greedy: true },
            "f16" => Self { relative: 1e-2, top1: 0.98, survival: 0.9, greedy: true },
            "bf16" => Self { relative: 5e-2, top1: 0.95, survival: 0.7, greedy: false },
            "q8_0" => Self { relative: 1e-1, top1: 0.95, survival: 0.7, greedy: false },
            _ => Self { relative: 0.3, top1: 0.85, survival: 0.5, greedy: false },
        }
    }
}

/// The verdict over one export.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The table.
    pub checks: Vec<Check>,
    /// What limits it or why it failed.
    pub reasons: Vec<String>,
    /// What was measured.
    pub measured: Measured,
    /// Whether greedy continuations were equal up to near ties.
    pub greedy_equal: bool,
    /// Answers that end at the same token, and answers compared.
    pub stops_alike: (usize, usize),
}

impl Certificate {
    /// Whether every check passed.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.checks.iter().all(|check| check.pass)
    }

    /// The event that tells it.
    #[must_use]
    pub fn event(&self, format: ExportFormat, path: &std::path::Path) -> Event {
        Event::Certificate {
            pass: self.pass(),
            format: format.name().to_owned(),
            mean_abs_diff: self.measured.mean_abs(),
            max_abs_diff: self.measured.max_abs,
            relative_diff: self.measured.relative(),
            top1_agreement: self.measured.top1(),
            greedy_equal: self.greedy_equal,
            reasons: self.reasons.clone(),
            checks: self.checks.clone(),
            path: path.to_path_buf(),
        }
    }
}

/// Compares `second` with the trained model. `stops` end its answers, `extra` are checks that the format adds (stop
/// tokens, tokenizer, tensors); `yardstick` is what the same rounding does to the base, where that is the measure.
/// `progress` is told cases done and in all, and answers whether to go on.
///
/// # Errors
/// A failing tensor operation, cancellation.
pub fn certify(
    model: &Model,
    second: &mut SecondOpinion,
    storage: &str,
    cases: &Cases,
    (stops, extra, yardstick): (&Stops, Vec<Check>, Option<&Yardstick>),
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Certificate> {
    let usual = Limits::of(storage);
    let limits = yardstick.map_or(usual, |yardstick| yardstick.widen(usual));
    let total = (cases.windows.len() + cases.prompts.len()) as u64;
    let mut measured = Measured::default();
    let mut done = 0;
    let mut step = |done: &mut u64| {
        *done += 1;
        if progress(*done, total) { Ok(()) } else { Err(crate::ExportError::Cancelled) }
    };
    let windows: Vec<&[u32]> = cases.windows.iter().map(|(_, tokens)| tokens.as_slice()).collect();
    for side_by_side in together(&windows, model.config.vocab_size()) {
        let written = second.logits(side_by_side)?;
        for (tokens, written) in side_by_side.iter().zip(&written) {
            let base = compare_case::base_logits(model, tokens)?;
            let trained = compare_case::trained_logits(model, tokens)?;
            measured.add(&trained, written, Some(&base));
            step(&mut done)?;
        }
    }
    let mut unequal = Vec::new();
    let mut ends = Ends::default();
    let mut tokens_compared = 0;
    for (index, prompt) in cases.prompts.iter().enumerate() {
        let ours = compare_case::greedy(model, prompt, GREEDY_TOKENS)?;
        let theirs = second.greedy(prompt, GREEDY_TOKENS)?;
        tokens_compared += ours.len();
        let mut tied = None;
        if let Some(position) = compare_case::first_difference(&ours, &theirs) {
            let margin = compare_case::margin_at(model, prompt, &ours, position)?;
            if margin > 2.0 * measured.max_abs {
                unequal.push(format!(
                    "prompt {} differs at token {} although the trained model prefers its own by {margin:.3}",
                    index + 1,
                    position + 1
                ));
            } else {
                tied = Some(position);
            }
        }
        ends.add(stops, &ours, &theirs, tied);
        step(&mut done)?;
    }
    let greedy_equal = unequal.is_empty();
    let positions = format!("{} positions", measured.positions);
    let mut checks = vec![Check {
        name: "numbers are finite".to_owned(),
        measured: if measured.finite { "all".to_owned() } else { "not all".to_owned() },
        limit: "all".to_owned(),
        over: positions.clone(),
        pass: measured.finite,
    }];
    checks.push(Check {
        name: "largest logit difference, relative".to_owned(),
        measured: format!("{:.1e}", measured.relative()),
        limit: match yardstick {
            Some(_) => format!("{:.1e}", limits.relative),
            None => format!("{:.0e}", limits.relative),
        },
        over: positions.clone(),
        pass: measured.relative() <= limits.relative,
    });
    checks.push(Check {
        name: "same best token".to_owned(),
        measured: format!("{:.1} %", measured.top1() * 100.0),
        limit: format!("{:.0} %", limits.top1 * 100.0),
        over: positions.clone(),
        pass: measured.top1() >= limits.top1,
    });
    let first_of_change = checks.len();
    if let Some(yardstick) = yardstick {
        checks.extend(yardstick.checks(&measured, limits, &positions));
    } else if let Some(survival) = measured.survival() {
        checks.push(Check {
            name: SURVIVAL.to_owned(),
            measured: share_left(survival),
            limit: format!("{:.0} %", limits.survival * 100.0),
            over: positions,
            pass: survival >= limits.survival,
        });
    }
    let is_erased = checks.iter().skip(first_of_change).any(|check| !check.pass);
    checks.push(Check {
        name: "greedy continuations".to_owned(),
        measured: if greedy_equal { "equal".to_owned() } else { format!("{} differ", unequal.len()) },
        limit: if limits.greedy { "equal".to_owned() } else { "told only".to_owned() },
        over: format!("{} prompts, {tokens_compared} tokens", cases.prompts.len()),
        pass: greedy_equal || !limits.greedy,
    });
    let stops_alike = (ends.alike, ends.all);
    if ends.all > 0 {
        checks.push(ends.check(limits.greedy));
    }
    unequal.extend(ends.apart());
    checks.extend(extra);
    let reasons = reasons(&checks, is_erased.then(|| rounding_reason(storage)), second, unequal);
    Ok(Certificate { checks, reasons, measured, greedy_equal, stops_alike })
}

/// Logits of windows that are asked for at once: 128 MiB of them.
const MOST_LOGITS: usize = 1 << 25;

/// Cuts `windows` into runs of equal length that the second opinion can answer for together.
pub(crate) fn together<'a>(windows: &'a [&'a [u32]], vocabulary: usize) -> impl Iterator<Item = &'a [&'a [u32]]> {
    windows.chunk_by(|one, next| one.len() == next.len()).flat_map(move |same| {
        let logits = same.first().map_or(1, |window| window.len() * vocabulary).max(1);
        same.chunks((MOST_LOGITS / logits).max(1))
    })
}

fn rounding_reason(storage: &str) -> String {
    format!(
        "the change is small against the rounding step of {storage}: rounding erases much of it. \
         Choose f16 or q8_0, or keep the adapter file"
    )
}

impl Certificate {
    /// Adds the check of hashes. Files that were changed explain every difference, so they stand first and nothing
    /// is said about rounding.
    pub(crate) fn add_files(&mut self, files: Check, storage: &str) {
        if !files.pass {
            let rounding = rounding_reason(storage);
            self.reasons.retain(|reason| *reason != rounding);
            self.reasons.insert(
                0,
                format!(
                    "files changed after they were written ({} are the same); write the export again",
                    files.measured
                ),
            );
        }
        self.checks.push(files);
    }
}

/// The share of a change that is left, in words: below zero, what was written is further from the trained model than the base
/// is, and nothing of the change is left.
pub(crate) fn share_left(survival: f64) -> String {
    // A share that would read as 0.0 % is none as well; neither is one that is no number.
    if survival * 100.0 >= 0.05 { format!("{:.1} %", survival * 100.0) } else { "none".to_owned() }
}

fn reasons(checks: &[Check], rounding: Option<String>, second: &SecondOpinion, unequal: Vec<String>) -> Vec<String> {
    let mut reasons: Vec<String> = rounding.into_iter().collect();
    for check in checks.iter().filter(|check| !check.pass) {
        reasons.push(format!("{}: {} (limit {})", check.name, check.measured, check.limit));
    }
    reasons.extend(unequal);
    reasons.extend(second.notes().iter().cloned());
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_destroyed_change_none_is_left() {
        assert_eq!(share_left(0.983), "98.3 %");
        assert_eq!(share_left(0.0006), "0.1 %");
        for destroyed in [0.000_4, 0.0, -0.0, -8.3, f64::NAN] {
            assert_eq!(share_left(destroyed), "none", "{destroyed}");
        }
    }

    #[test]
    fn windows_are_asked_for_together_when_they_are_equally_long_and_not_too_many() {
        let (long, short) = (vec![0; 1 << 10], vec![0; 8]);
        let windows: Vec<&[u32]> = vec![&long, &long, &long, &short, &short, &long];
        let lengths = |vocabulary: usize| -> Vec<usize> { together(&windows, vocabulary).map(<[_]>::len).collect() };
        assert_eq!(lengths(1 << 14), [2, 1, 2, 1], "two long windows have as many logits as are allowed");
        assert_eq!(lengths(100), [3, 2, 1]);
        assert_eq!(lengths(1 << 30), [1, 1, 1, 1, 1, 1]);
    }
}
