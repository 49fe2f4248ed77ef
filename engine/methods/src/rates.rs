//! The learning rate that a method usually takes.
//!
//! Place in the data flow: a project that names no rate gets this one; the window offers it. The rates were measured: each
//! method trained at several rates on the starter (`temper bench methods --rates`), and `measured/lr_peak.csv` keeps what it was
//! chosen from.

use temper_protocol::{Declared, Kind};

/// Method, model family, rate and the losses it was chosen from, a line each; the first line names the columns.
const MEASURED: &str = include_str!("../measured/lr_peak.csv");
/// Share of the best rate's gain that a lower rate must reach to be chosen instead: of two rates that learn about as much
/// the lower one forgets less and is safer on a larger model.
const ENOUGH: f64 = 0.95;

/// The usual highest learning rate of a method on models of `family`: what was measured on that family, or on any other;
/// of a method that was not measured a tenth of an adapter's for whole weights.
#[must_use]
pub fn lr_peak(declared: &Declared, family: &str) -> f64 {
    let of_method = || {
        MEASURED.lines().skip(1).filter_map(|line| {
            let mut cells = line.split(',');
            (cells.next()? == declared.id).then_some(())?;
            Some((cells.next()?, cells.next()?.parse::<f64>().ok()?))
        })
    };
    let same = of_method().find(|(measured_on, _)| *measured_on == family);
    same.or_else(|| of_method().next()).map_or_else(|| unmeasured(declared), |(_, rate)| rate)
}

/// What the rate of method `id` was chosen from, in words; `None` where nothing was measured.
#[must_use]
pub fn evidence(id: &str) -> Option<String> {
    let mut cells = MEASURED.lines().skip(1).map(|line| line.splitn(4, ',')).find_map(|mut cells| {
        (cells.next()? == id).then_some(())?;
        Some(cells)
    })?;
    let (family, _rate, losses) = (cells.next()?, cells.next()?, cells.next()?);
    Some(format!(" (measured on {family}; loss by rate: {losses})"))
}

fn unmeasured(declared: &Declared) -> f64 {
    match (declared.kind, declared.family) {
        (_, "everything") => 2e-5,
        (Kind::Insertion, _) => 1e-3,
        _ => 2e-4,
    }
}

/// The lowest of (rate, loss) that gains nearly as much over the loss `before` as the best one; `None` where nothing is
/// gained.
#[must_use]
pub fn choose(before: f64, losses: &[(f64, f64)]) -> Option<f64> {
    let gains = || losses.iter().map(|(rate, loss)| (*rate, before - loss)).filter(|(_, gain)| *gain > 0.0);
    let best = gains().map(|(_, gain)| gain).max_by(f64::total_cmp)?;
    gains().filter(|(_, gain)| *gain >= ENOUGH * best).map(|(rate, _)| rate).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn every_method_has_a_rate_that_can_be_trained_with() {
        for method in registry() {
            let rate = lr_peak(method.declared(), "llama");
            assert!(rate > 0.0 && rate <= 1.0, "{}: {rate}", method.declared().id);
        }
    }

    #[test]
    fn each_line_of_the_measured_rates_names_a_method_and_follows_from_its_evidence() {
        for line in MEASURED.lines().skip(1) {
            let cells: Vec<&str> = line.splitn(4, ',').collect();
            let [id, _family, rate, evidence] = cells[..] else { panic!("{line}") };
            assert!(crate::find(id).is_ok(), "{line}");
            let number = |pair: &str| -> (f64, f64) {
                let (rate, loss) = pair.split_once(": ").expect("a pair");
                (rate.parse().unwrap_or(0.0), loss.parse().expect("a loss"))
            };
            let pairs: Vec<(f64, f64)> = evidence.split("; ").map(number).collect();
            let (before, losses) = pairs.split_first().expect("evidence");
            assert_eq!(choose(before.1, losses), rate.parse().ok(), "{line}");
        }
    }

    #[test]
    fn the_lowest_rate_that_learns_enough_is_chosen() {
        assert_eq!(choose(2.0, &[(1e-4, 1.5), (1e-3, 1.02), (1e-2, 1.0)]), Some(1e-3));
        assert_eq!(choose(2.0, &[(1e-4, 1.0), (1e-3, 1.5), (1e-2, 9.0)]), Some(1e-4));
        assert_eq!(choose(2.0, &[(1e-4, 2.1), (1e-3, f64::NAN)]), None);
    }
}
