//! Certificates in words for people: the engine's figures with thousands, powers of two, and shares that mean something.
//!
//! Place in the data flow: the engine's checks stay as they are stored; the room Export shows what stands here.

use super::words;
use crate::format;
use temper_protocol::event::Check;

/// The engine's name of the share of the trained change that is left: 1 less the difference over the change, so below
/// zero once what was written is further from the trained model than the base is.
const SURVIVAL: &str = "share of the change that survives";
/// The engine's word for nothing of it.
const NONE: &str = "none";
/// The engine's name of the comparison of hashes.
const FILES: &str = "files are as they were written";

/// Whether `check` measured a share of the change and found nothing of it left.
fn is_destroyed(check: &Check) -> bool {
    let share = check.measured.trim_end_matches('%').trim().replace(',', "");
    // Certificates of earlier programs have a share below zero.
    let none = |share: f64| share <= 0.0 || share.is_nan();
    check.name == SURVIVAL && (share == NONE || share.parse::<f64>().is_ok_and(none))
}

/// A figure of the engine's: powers of ten that are no smaller than a thousandth become decimals.
fn figure(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if text.contains('e') && (1e-3..1e4).contains(&value.abs()) => format::plain(value),
        _ => format::figures(text),
    }
}

/// What was measured, as the table shows it.
#[must_use]
pub fn measured(check: &Check) -> String {
    if is_destroyed(check) { t!("words-none-left").to_owned() } else { figure(&check.measured) }
}

/// The limit, as the table shows it.
#[must_use]
pub fn limit(check: &Check) -> String {
    figure(&check.limit)
}

/// Whether the files of an export are no longer what was written.
#[must_use]
pub fn is_damaged(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.name == FILES && !check.pass)
}

/// A reason of a certificate as a sentence.
#[must_use]
pub fn reason(checks: &[Check], text: &str) -> String {
    let text = text.trim_end_matches('.');
    let is_of = |check: &&Check| text == format!("{}: {} (limit {})", check.name, check.measured, check.limit);
    match checks.iter().find(is_of) {
        Some(check) if is_destroyed(check) => {
            t!("words-none-survives", limit = limit(check))
        }
        Some(check) => {
            t!(
                "words-check",
                name = words::sentence_case(&check.name),
                measured = measured(check),
                limit = limit(check)
            )
        }
        None => format!("{}.", words::sentence_case(&format::figures(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, measured: &str, limit: &str, pass: bool) -> Check {
        Check {
            name: name.to_owned(),
            measured: measured.to_owned(),
            limit: limit.to_owned(),
            over: "4096 positions".to_owned(),
            pass,
        }
    }

    #[test]
    fn a_destroyed_change_is_none_not_minus_eight_hundred_per_cent() {
        let destroyed = check(SURVIVAL, "-830.0 %", "90 %", false);
        assert_eq!(measured(&destroyed), "none");
        let checks = [destroyed];
        let said = reason(&checks, "share of the change that survives: -830.0 % (limit 90 %)");
        assert_eq!(said, "None of the change survives; the limit is 90 %.");
        assert_eq!(measured(&check(SURVIVAL, "-0.0 %", "90 %", false)), "none");
        let none = [check(SURVIVAL, "none", "90 %", false)];
        assert_eq!(reason(&none, "share of the change that survives: none (limit 90 %)"), said);
        assert_eq!(measured(&check(SURVIVAL, "12.5 %", "90 %", false)), "12.5 %");
        assert_eq!(measured(&check("same best token", "0.0 %", "98 %", false)), "0.0 %");
    }

    #[test]
    fn other_reasons_stay_as_they_are_with_readable_figures() {
        let checks = [check(SURVIVAL, "12.5 %", "90 %", false)];
        let said = reason(&checks, "share of the change that survives: 12.5 % (limit 90 %)");
        assert_eq!(said, "Share of the change that survives: 12.5 %, the limit is 90 %.");
        let relative = check("largest logit difference, relative", "3.1e-1", "5e-2", false);
        assert_eq!((measured(&relative), limit(&relative)), ("0.31".to_owned(), "0.05".to_owned()));
        let exact = check("largest logit difference, relative", "6.6e-7", "1e-3", true);
        assert_eq!((measured(&exact), limit(&exact)), ("6.6e-7".to_owned(), "0.001".to_owned()));
        assert_eq!(reason(&checks, "compared over 12288 tokens."), "Compared over 12,288 tokens.");
    }

    #[test]
    fn only_changed_files_are_damage() {
        assert!(is_damaged(&[check(FILES, "3 of 4", "all", false)]));
        assert!(!is_damaged(&[check(FILES, "4 of 4", "all", true), check(SURVIVAL, "-3 %", "90 %", false)]));
    }
}
