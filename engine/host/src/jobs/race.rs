//! A race of methods: all train on the same rows in the same order, and after each round the worse half drops out.
//!
//! Place in the data flow: each method is an ordinary run of the project, trained by `temper train` in a process of its
//! own up to the end of the round and taken up again in the next one, so that there is never more than one base in
//! memory and what a person gets is what a run alone would have given. The rounds double in length; the last one is the
//! whole training. Method: successive halving (Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and
//! Hyperparameter Optimization"), judged by paired differences of the validation rows.

use super::child;
use super::race_kept::Kept;
use super::request::read_project;
use crate::job::JobContext;
use crate::power::is_of_power;
use std::path::PathBuf;
use temper_protocol::event::{RaceRound, Standing};
use temper_protocol::{Code, Event, Kind, Problem, Project};

/// Fewest and most methods.
const RACERS: (usize, usize) = (2, 8);
/// Standard errors on each side of a 95 % band.
const BAND: f64 = 1.96;

/// What a person asked for.
pub(super) struct Order {
    pub(super) project: PathBuf,
    pub(super) methods: Vec<String>,
    pub(super) set: Vec<(String, String)>,
}

/// A method that is still in the race, or why it is not.
struct Racer {
    method: String,
    run: Option<u64>,
    /// Loss, nats, and trained tokens of each validation row after the last round.
    rows: Vec<(f64, f64)>,
    refused: Option<String>,
}

/// Carries the order out.
pub(super) fn race(order: &Order, context: &JobContext) -> Result<(), Problem> {
    let (project, folder) = read_project(&order.project, &order.set)?;
    check(order, &project)?;
    let mut kept = Kept::begin(&folder, &project, (&order.methods, &order.set), context);
    let ended = run_rounds(order, project.train.steps, &mut kept, context);
    kept.end(&ended);
    ended
}

/// Runs all rounds of a race whose whole training has `steps`.
fn run_rounds(order: &Order, steps: u64, kept: &mut Kept<'_>, context: &JobContext) -> Result<(), Problem> {
    let mut racers: Vec<Racer> = order
        .methods
        .iter()
        .map(|method| Racer { method: method.clone(), run: None, rows: Vec::new(), refused: None })
        .collect();
    let rounds = rounds(racers.len());
    for round in 1..=rounds {
        let step = steps >> (rounds - round);
        for racer in &mut racers {
            context.check_cancelled()?;
            if let Err(problem) = run_until(racer, step, (order, &mut *kept), context) {
                context.check_cancelled()?;
                // Files that cannot be written are no fault of a method: who drops out must not depend on a disk.
                if problem.code == Code::Io && problem.r#where != child::PLACE {
                    return Err(problem);
                }
                racer.refused = Some(problem.what);
            }
        }
        let keep = racers.iter().filter(|racer| racer.refused.is_none()).count().div_ceil(2);
        let standings = standings(&racers, if round == rounds { 1 } else { keep });
        let said = RaceRound { round, rounds, step, standings: standings.clone() };
        // On record first: whoever hears of it finds it there.
        kept.round(said.clone());
        context.emit(Event::Race(said));
        let stays = |racer: &Racer| standings.iter().any(|one| one.stays && one.method == racer.method);
        racers.retain(stays);
        if racers.is_empty() {
            let action = "see the reasons beside the methods, and choose others";
            return Err(Problem::new(Code::MethodInvalid, "no method of the race could run", "--race", action));
        }
    }
    Ok(())
}

/// Rounds of a race: each but the last lets half of the methods go.
fn rounds(methods: usize) -> u64 {
    u64::from(methods.next_power_of_two().trailing_zeros())
}

/// Whether the race can be run at all.
fn check(order: &Order, project: &Project) -> Result<(), Problem> {
    let wrong = |what: String, action: &str| Problem::new(Code::Usage, what, "--race", action);
    let count = order.methods.len();
    if count < RACERS.0 || count > RACERS.1 {
        let what = format!("{count} methods cannot race");
        return Err(wrong(what, "name two to eight, such as lora,dora,miss"));
    }
    for (index, id) in order.methods.iter().enumerate() {
        let declared = temper_methods::find(id)?.declared();
        if !matches!(declared.kind, Kind::Adapter | Kind::Insertion) {
            return Err(wrong(format!("{id} is not trained"), "name methods that train an adapter or weights"));
        }
        if order.methods.iter().take(index).any(|earlier| earlier == id) {
            return Err(wrong(format!("{id} is named twice"), "name each method once"));
        }
    }
    if project.train.epochs.is_some() {
        let action = "set train.steps and leave train.epochs away";
        return Err(wrong("a race is measured in steps, and this project counts epochs".to_owned(), action));
    }
    let least = 1 << (rounds(count) - 1);
    if project.train.steps < least {
        let what = format!("{} steps are too few for {} rounds", project.train.steps, rounds(count));
        return Err(wrong(what, "set train.steps higher"));
    }
    Ok(())
}

/// Trains a method up to `step` and keeps the losses of its validation rows.
fn run_until(
    racer: &mut Racer,
    step: u64,
    (order, kept): (&Order, &mut Kept<'_>),
    context: &JobContext,
) -> Result<(), Problem> {
    let mut words = vec!["train".to_owned(), order.project.display().to_string()];
    match racer.run {
        Some(run) => words.extend(["--resume".to_owned(), run.to_string()]),
        None => {
            words.extend(["--method".to_owned(), racer.method.clone()]);
            words.extend(order.set.iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]));
            words.extend(["--set".to_owned(), "train.row_losses=true".to_owned()]);
        }
    }
    words.extend(["--max-steps".to_owned(), step.to_string()]);
    words.extend(context.upkeep_words());
    let (mut rows, mut failed) = (Vec::new(), None);
    let mut before: Option<(u64, f64)> = None;
    let ended = child::run(&words, context, &mut |secs, event| {
        match event {
            Event::Started { run, .. } => {
                racer.run = Some(*run);
                kept.started(&racer.method, *run);
            }
            Event::Step { step: done, .. } => {
                if let Some((from, at)) = before.replace((*done, secs)) {
                    kept.went(&racer.method, done.saturating_sub(from), secs - at);
                }
                context.progress(&racer.method, *done, step, "steps");
            }
            Event::RowLosses(found) => {
                rows = found.losses.iter().copied().zip(found.tokens.iter().map(|tokens| *tokens as f64)).collect();
            }
            // Why nothing goes on for a while.
            Event::Warning { code, .. } if is_of_power(code) => context.emit(event.clone()),
            Event::Finished { problem, .. } => failed.clone_from(problem),
            _ => {}
        }
        false
    });
    // A run that failed says more than the process that ended with it.
    failed.map_or(ended, Err)?;
    if rows.is_empty() {
        let action = "give validation rows: data.validation as a share or a file";
        return Err(Problem::new(Code::DataInvalid, "nothing was held back to compare on", &racer.method, action));
    }
    racer.rows = rows;
    Ok(())
}

/// Mean loss a token of rows of (loss, tokens).
fn mean(rows: &[(f64, f64)]) -> f64 {
    rows.iter().map(|row| row.0).sum::<f64>() / rows.iter().map(|row| row.1).sum::<f64>()
}

/// Difference a token of two losses of the same rows, and half of the width of its 95 % band: the rows are what was drawn,
/// so that the band comes from how the difference spreads over them (the ratio estimator, as tokens differ too).
fn paired(one: &[(f64, f64)], other: &[(f64, f64)]) -> (f64, f64) {
    let tokens: f64 = one.iter().map(|row| row.1).sum();
    let difference = mean(one) - mean(other);
    let count = one.len() as f64;
    let spread = |(one, other): (&(f64, f64), &(f64, f64))| (one.0 - other.0 - difference * one.1).powi(2);
    let squares: f64 = one.iter().zip(other).map(spread).sum();
    let error = if count > 1.0 { (count / (count - 1.0) * squares).sqrt() / tokens } else { f64::NAN };
    (difference, BAND * error)
}

/// Everyone in the race, best first; of those that ran, the first `keep` stay.
fn standings(racers: &[Racer], keep: usize) -> Vec<Standing> {
    let mut order: Vec<&Racer> = racers.iter().collect();
    let loss = |racer: &Racer| if racer.refused.is_some() { f64::NAN } else { mean(&racer.rows) };
    // What is no number comes after every number.
    order.sort_by(|one, other| loss(one).abs().total_cmp(&loss(other).abs()));
    let best = order.first().map(|racer| racer.rows.clone()).unwrap_or_default();
    let mut places = 0..keep;
    let standing = |racer: &&Racer| {
        let (difference, band) = match racer.refused {
            Some(_) => (f64::NAN, f64::NAN),
            None => paired(&racer.rows, &best),
        };
        Standing {
            method: racer.method.clone(),
            run: racer.run,
            loss: loss(racer),
            difference,
            band,
            stays: loss(racer).is_finite() && places.next().is_some(),
            refused: racer.refused.clone(),
        }
    };
    order.iter().map(standing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn racer(method: &str, losses: &[f64], refused: Option<&str>) -> Racer {
        let rows = losses.iter().map(|loss| (*loss, 2.0)).collect();
        Racer { method: method.to_owned(), run: Some(1), rows, refused: refused.map(str::to_owned) }
    }

    #[test]
    fn the_better_half_stays_and_the_band_is_of_paired_rows() {
        let racers = [
            racer("a", &[2.0, 8.0, 20.0, 4.0], None),
            racer("b", &[3.0, 9.0, 21.0, 5.0], None),
            racer("c", &[1.0, 30.0, 20.0, 5.0], None),
            racer("d", &[], Some("no")),
        ];
        let found = standings(&racers, 2);
        let names: Vec<(&str, bool)> = found.iter().map(|one| (one.method.as_str(), one.stays)).collect();
        assert_eq!(names, [("a", true), ("b", true), ("c", false), ("d", false)]);
        assert_eq!((found[0].difference, found[0].band), (0.0, 0.0));
        assert!((found[1].difference - 0.5).abs() < 1e-12, "one nat a row of two tokens");
        assert!(found[1].band < 1e-9, "every row says the same, however far the rows are from each other");
        assert!(found[2].band > found[2].difference, "one row says all of it");
    }

    #[test]
    fn a_loss_that_is_no_number_drops_out() {
        let racers = [racer("a", &[f64::NAN], None), racer("b", &[3.0], None)];
        let found = standings(&racers, 2);
        assert_eq!((found[0].method.as_str(), found[0].stays), ("b", true));
        assert!(!found[1].stays);
    }
}
