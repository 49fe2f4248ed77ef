//! What an open Watch room costs a training run: one run that goes on, with and without the window, in turn.
//!
//! Place in the data flow: the run is `temper train` in a process of its own, read as lines of JSON; the window opens
//! the same project, with all its other runs, and follows the run through the store, as a person would. In between it is
//! held by the system, which costs the run as little as no window.

use super::child::{Started, processor_secs};
use super::{Bench, Rows, SETTLE, TRAINING_PERCENT, median, project};
use std::ffi::OsString;
use std::time::{Duration, Instant};
use temper_protocol::{Code, Event, Problem, project_file};

/// One measurement. A machine's own speed drifts by far more than the limit within half a minute and by little within
/// a few seconds: many short spans in turn tell a small effect, a few long ones do not.
pub(super) const SPAN: Duration = Duration::from_millis(2_500);
/// After the window was held or woken: what it missed meanwhile is drawn, and a step that saw both is over.
const PAUSE: Duration = Duration::from_millis(700);

/// Trains in the project of the bench and adds what the open window takes from it.
///
/// # Errors
/// A [`Problem`] when the run or the window cannot be started or held, or the run is too slow to be measured.
pub(super) fn measure(bench: &Bench<'_>, rows: &mut Rows) -> Result<(), Problem> {
    bench.note("training with and without the window");
    let mut project = project::project(&crate::cli::translate::absolute_name(&bench.arguments.model)?);
    project.train.threads = bench.arguments.threads;
    project_file::save(&project, &bench.project.join(project_file::FILE_NAME))?;
    let line = ["--json", "train"].map(OsString::from).into_iter().chain([bench.project.as_os_str().to_owned()]);
    let mut training = Started::program("the training run", &line.collect::<Vec<_>>())?;
    let (_, run) = training.wait(started)?;
    training.wait(tokens)?;
    let mut window = bench.window("idle", Some(&bench.project), Some(run))?;
    window.wait(|line| line.contains("opened").then_some(()))?;
    std::thread::sleep(SETTLE);
    let (mut alone, mut watched, mut lost, mut used) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for pair in 0..bench.arguments.pairs.max(1) {
        // Every second pair the other way round: a machine that gets slower or faster favours neither.
        let (without, with) = if pair % 2 == 0 {
            let without = rate(&window, true, &mut training, &mut used)?;
            (without, rate(&window, false, &mut training, &mut used)?)
        } else {
            let with = rate(&window, false, &mut training, &mut used)?;
            (rate(&window, true, &mut training, &mut used)?, with)
        };
        alone.push(without);
        watched.push(with);
        lost.push(100.0 * (1.0 - with / without));
    }
    rows.limit("speed that training loses to the open Watch room, median", median(&mut lost), TRAINING_PERCENT, "%");
    let (low, high) = interval(&lost);
    rows.plain("the same, 95 % interval of the median from", low, "%");
    rows.plain("to", high, "%");
    rows.plain("training alone, median", median(&mut alone), "tokens/s");
    rows.plain("training watched, median", median(&mut watched), "tokens/s");
    rows.plain("processor use of the open Watch room, software renderer included", median(&mut used), "%");
    Ok(())
}

/// The run's speed while the window is held or shows it; `used` gets the processor use of a window that runs, per cent
/// of one processor.
fn rate(window: &Started, held: bool, training: &mut Started, used: &mut Vec<f64>) -> Result<f64, Problem> {
    window.hold(held)?;
    std::thread::sleep(PAUSE);
    let processor = || processor_secs(window.pid()).unwrap_or(f64::NAN);
    let (from, before) = (Instant::now(), processor());
    let lines = training.lines_until(from + SPAN);
    if !held {
        used.push(100.0 * (processor() - before) / from.elapsed().as_secs_f64());
    }
    let steps: Vec<(Instant, u64)> = lines
        .iter()
        .filter(|(when, _)| *when >= from)
        .filter_map(|(when, line)| Some((*when, tokens(line)?)))
        .collect();
    between(&steps).ok_or_else(|| {
        Problem::new(
            Code::Refused,
            format!("the run made {} steps in {:.1} s, too few to tell its speed", steps.len(), SPAN.as_secs_f64()),
            "bench ui",
            "take a smaller --model, or more --threads",
        )
    })
}

/// Where the median of what some sorted values are drawn from lies, with 95 % confidence and whatever their
/// distribution: the values whose places the binomial distribution names.
fn interval(sorted: &[f64]) -> (f64, f64) {
    let count = sorted.len() as f64;
    let place = ((count - 1.96 * count.sqrt()) / 2.0).floor().max(0.0) as usize;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    (at(place), at(sorted.len().saturating_sub(place + 1)))
}

/// Number of the run that begins.
fn started(line: &str) -> Option<u64> {
    match serde_json::from_str(line).ok()? {
        Event::Started { run, .. } => Some(run),
        _ => None,
    }
}

/// Trained tokens of a step.
fn tokens(line: &str) -> Option<u64> {
    match serde_json::from_str(line).ok()? {
        Event::Step { trained_tokens, .. } => Some(trained_tokens),
        _ => None,
    }
}

/// Tokens a second from the first to the last of some steps; nothing of fewer than four.
fn between(steps: &[(Instant, u64)]) -> Option<f64> {
    let ((first, before), (last, after)) = (steps.first()?, steps.last()?);
    let secs = last.duration_since(*first).as_secs_f64();
    (steps.len() >= 4 && secs > 0.0).then(|| after.saturating_sub(*before) as f64 / secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_tokens_between_the_first_and_the_last_step() {
        let start = Instant::now();
        let steps: Vec<(Instant, u64)> =
            (0..5).map(|index| (start + Duration::from_millis(250 * index), 100 + 500 * index)).collect();
        assert_eq!(between(&steps), Some(2000.0));
        assert_eq!(between(&steps[..3]), None, "too few");
    }

    #[test]
    fn the_interval_leaves_out_the_tails_and_few_values_have_none_to_leave_out() {
        let sorted: Vec<f64> = (0..30).map(f64::from).collect();
        assert_eq!(interval(&sorted), (9.0, 20.0));
        assert_eq!(interval(&sorted[..3]), (0.0, 2.0));
        assert!(interval(&[]).0.is_nan());
    }

    #[test]
    fn only_steps_count() {
        let step = r#"{"event":"step","step":3,"max_steps":9,"train_loss":1.5,"lr":0.1,"grad_norm":1.0,
                      "tokens_per_sec":10.0,"trained_tokens":77,"rss_mib":1.0}"#;
        assert_eq!(tokens(step), Some(77));
        assert_eq!(tokens(r#"{"event":"done"}"#), None);
    }
}
