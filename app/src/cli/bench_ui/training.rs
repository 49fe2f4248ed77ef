//! What an open Watch room costs a training run: one run that goes on, with and without the window, in turn.
//!
//! Place in the data flow: the run is `temper train` in a process of its own, read as lines of JSON; the window opens
//! the same project and follows the run through the store, as a person would.

use super::child::{Started, processor_secs};
use super::{Bench, Rows, SETTLE, TRAINING_PERCENT, median, project};
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};
use temper_protocol::{Code, Event, Problem, project_file};

/// After the window closed.
const PAUSE: Duration = Duration::from_secs(1);

/// Trains in `folder` and adds what the open window takes from it.
///
/// # Errors
/// A [`Problem`] when the run or the window cannot be started, or the run is too slow to be measured.
pub(super) fn measure(bench: &Bench<'_>, folder: &Path, rows: &mut Rows) -> Result<(), Problem> {
    bench.note("training with and without the window");
    let mut project = project::project(&crate::cli::translate::absolute_name(&bench.arguments.model)?);
    project.train.threads = bench.arguments.threads;
    std::fs::create_dir_all(folder).map_err(|error| {
        Problem::new(Code::Io, error.to_string(), folder.display().to_string(), "make room there or set TMPDIR")
    })?;
    project_file::save(&project, &folder.join(project_file::FILE_NAME))?;
    let line = ["--json", "train"].map(OsString::from).into_iter().chain([folder.as_os_str().to_owned()]);
    let mut training = Started::program("the training run", &line.collect::<Vec<_>>())?;
    training.wait(tokens)?;
    std::thread::sleep(SETTLE);
    let (mut alone, mut watched, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut used = Vec::new();
    for round in 0..bench.arguments.rounds.max(1) {
        // Every second round the other way round: a machine that gets slower or faster favours neither.
        let (without, with) = if round % 2 == 0 {
            let without = rate(&mut training, bench.seconds())?;
            (without, beside_window(bench, folder, &mut training, &mut used)?)
        } else {
            let with = beside_window(bench, folder, &mut training, &mut used)?;
            (rate(&mut training, bench.seconds())?, with)
        };
        alone.push(without);
        watched.push(with);
        ratios.push(with / without);
    }
    let lost = 100.0 * (1.0 - median(&mut ratios));
    rows.limit("speed that training loses to the open Watch room", lost, TRAINING_PERCENT, "%");
    rows.plain("training alone, median", median(&mut alone), "tokens/s");
    rows.plain("training watched, median", median(&mut watched), "tokens/s");
    rows.plain("processor use of the open Watch room, software renderer included", median(&mut used), "%");
    Ok(())
}

/// The run's speed while the window shows it; `used` gets the window's processor use meanwhile, per cent of one.
fn beside_window(
    bench: &Bench<'_>,
    folder: &Path,
    training: &mut Started,
    used: &mut Vec<f64>,
) -> Result<f64, Problem> {
    let mut window = bench.window("idle", Some(folder), Some(1))?;
    window.wait(|line| line.contains("opened").then_some(()))?;
    std::thread::sleep(SETTLE);
    let processor = || processor_secs(window.pid()).unwrap_or(f64::NAN);
    let (since, before) = (Instant::now(), processor());
    let rate = rate(training, bench.seconds())?;
    used.push(100.0 * (processor() - before) / since.elapsed().as_secs_f64());
    drop(window);
    std::thread::sleep(PAUSE);
    Ok(rate)
}

/// Trained tokens of a step.
fn tokens(line: &str) -> Option<u64> {
    match serde_json::from_str(line).ok()? {
        Event::Step { trained_tokens, .. } => Some(trained_tokens),
        _ => None,
    }
}

/// Trained tokens a second during the next `span`.
fn rate(training: &mut Started, span: Duration) -> Result<f64, Problem> {
    let from = Instant::now();
    let lines = training.lines_until(from + span);
    let steps: Vec<(Instant, u64)> = lines
        .iter()
        .filter(|(when, _)| *when >= from)
        .filter_map(|(when, line)| Some((*when, tokens(line)?)))
        .collect();
    between(&steps).ok_or_else(|| {
        Problem::new(
            Code::Refused,
            format!("the run made {} steps in {:.0} s, too few to tell its speed", steps.len(), span.as_secs_f64()),
            "bench ui",
            "give it more time with --seconds, or a smaller --model",
        )
    })
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
    fn only_steps_count() {
        let step = r#"{"event":"step","step":3,"max_steps":9,"train_loss":1.5,"lr":0.1,"grad_norm":1.0,
                      "tokens_per_sec":10.0,"trained_tokens":77,"rss_mib":1.0}"#;
        assert_eq!(tokens(step), Some(77));
        assert_eq!(tokens(r#"{"event":"done"}"#), None);
    }
}
