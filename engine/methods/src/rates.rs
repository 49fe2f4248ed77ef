//! The learning rate that a method usually takes.
//!
//! Place in the data flow: a project that names no rate gets this one; the window offers it. The rates were measured: each
//! method trained at several rates on the starter (`temper bench methods --rates`), and `measured/lr_peak.csv` keeps what it
//! was chosen from. The rule is the one that people train by here: learn what can be learned while what the model knew stays
//! within the budget that a project has unless it says otherwise.

use temper_protocol::{Declared, Kind};

/// Method, model family, rate and the trials it was chosen from, a line each; the first line names the columns.
const MEASURED: &str = include_str!("../measured/lr_peak.csv");
/// Nats a token that a trial may forget: a project's budget unless it says otherwise.
const BUDGET_NATS: f64 = 0.05;

/// What one learning rate gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AtRate {
    /// Highest learning rate.
    pub rate: f64,
    /// Loss on the task afterwards, nats a trained token.
    pub loss: f64,
    /// Mean over the kept sets of the loss after less before, nats a token.
    pub forgetting: f64,
}

impl std::fmt::Display for AtRate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:.4}/{:.4}", self.rate, self.loss, self.forgetting)
    }
}

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
    Some(format!(" (measured on {family}; by rate, loss on the task / forgetting: {losses})"))
}

fn unmeasured(declared: &Declared) -> f64 {
    match (declared.kind, declared.family) {
        (_, "everything") => 2e-5,
        (Kind::Insertion, _) => 1e-3,
        _ => 2e-4,
    }
}

/// The rate at which a method forgets as much as the budget allows, from trials in rising order of rates, to one digit;
/// `None` where no rate learns anything, or all learn the same: nothing is trained there.
///
/// Between two trials the forgetting is taken to be linear in the logarithm of the rate. Rates above the one that learned
/// most are not looked at: they forget and gain nothing. Where the lowest rate is over the budget, as with methods that do
/// not begin as the base, the budget counts from what that rate forgets.
#[must_use]
pub fn choose(before: f64, trials: &[AtRate]) -> Option<f64> {
    let whole = |trial: &&AtRate| trial.loss.is_finite() && trial.forgetting.is_finite();
    let trials: Vec<&AtRate> = trials.iter().filter(whole).collect();
    let (best, most) = trials.iter().enumerate().min_by(|(_, a), (_, b)| a.loss.total_cmp(&b.loss))?;
    let same = trials.len() > 1 && trials.iter().all(|trial| trial.loss == most.loss);
    if same || most.loss >= before {
        return None;
    }
    let useful = &trials[..=best];
    let first = useful.first()?.forgetting;
    let allowed = if first > BUDGET_NATS { first + BUDGET_NATS } else { BUDGET_NATS };
    let last = useful.iter().rposition(|trial| trial.forgetting <= allowed)?;
    let below = useful[last];
    let rate = useful.get(last + 1).map_or(below.rate, |above| {
        let share = (allowed - below.forgetting) / (above.forgetting - below.forgetting);
        below.rate * (above.rate / below.rate).powf(share)
    });
    let rate = format!("{rate:.0e}");
    rate.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    impl AtRate {
        /// As it stands in the file: `0.0003: 3.0795/0.0494`.
        fn parse(text: &str) -> Option<Self> {
            let (rate, figures) = text.split_once(": ")?;
            let (loss, forgetting) = figures.split_once('/')?;
            Some(Self { rate: rate.parse().ok()?, loss: loss.parse().ok()?, forgetting: forgetting.parse().ok()? })
        }
    }

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
            let (before, trials) = evidence.split_once("; ").expect("a loss before and trials");
            let before: f64 = before.strip_prefix("before: ").expect("before").parse().expect("a loss");
            let trials: Vec<AtRate> = trials.split("; ").map(|trial| AtRate::parse(trial).expect("a trial")).collect();
            assert_eq!(choose(before, &trials), rate.parse().ok(), "{line}");
        }
    }

    fn trials(of: &[(f64, f64, f64)]) -> Vec<AtRate> {
        of.iter().map(|&(rate, loss, forgetting)| AtRate { rate, loss, forgetting }).collect()
    }

    #[test]
    fn the_budget_is_that_of_a_new_project() {
        let plain = temper_protocol::Project::new("p", "m", &[], "lora");
        assert_eq!(BUDGET_NATS, plain.keep.budget_nats);
    }

    #[test]
    fn the_rate_that_uses_the_budget_up_is_chosen() {
        let rising = trials(&[(1e-4, 4.0, 0.0), (1e-3, 2.0, 0.1), (1e-2, 1.0, 2.0)]);
        assert_eq!(choose(5.0, &rising), Some(3e-4), "half of the way in the logarithm");
        assert_eq!(choose(5.0, &trials(&[(1e-4, 4.0, -0.1), (1e-3, 2.0, 0.01)])), Some(1e-3));
        let wasted = trials(&[(1e-4, 1.0, 0.01), (1e-3, 1.5, 0.02), (1e-2, 9.0, 3.0)]);
        assert_eq!(choose(5.0, &wasted), Some(1e-4), "a higher rate learns less");
        let dear = trials(&[(1e-4, 4.0, 0.2), (1e-3, 3.0, 0.22), (1e-2, 2.0, 0.9)]);
        assert_eq!(choose(5.0, &dear), Some(1e-3), "the start itself forgets");
        assert_eq!(choose(2.0, &trials(&[(1e-4, 2.1, 0.0), (1e-3, f64::NAN, 0.0)])), None);
        assert_eq!(choose(5.0, &trials(&[(1e-4, 4.0, 0.01), (1e-3, 4.0, 0.01)])), None, "nothing is trained");
    }

    #[test]
    fn a_trial_is_read_as_it_is_written() {
        let trial = AtRate { rate: 3e-4, loss: 3.0795, forgetting: 0.0494 };
        assert_eq!(AtRate::parse(&trial.to_string()), Some(trial));
        assert_eq!(AtRate::parse("0.1: 2"), None);
    }
}
