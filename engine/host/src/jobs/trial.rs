//! One training as a trial: what it gave, what it took, and what its adapter loses on the way into a file.
//!
//! Place in the data flow: comparisons of methods and searches for learning rates run `temper train` and `temper export`
//! in processes of their own, because the peak memory of a process never falls, and read their events.

use super::child;
use crate::job::JobContext;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use temper_protocol::{Code, Event, Problem};

/// What is to be trained: a method of a project at a learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Trial {
    /// Method id.
    pub(super) method: String,
    /// Highest learning rate.
    pub(super) lr_peak: f64,
}

/// What a trial gave. Losses are nats a trained token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// What was trained.
    pub(super) trial: Trial,
    /// Why it gave nothing, if it did not.
    pub(super) refused: Option<String>,
    /// Validation loss of the base.
    pub(super) base_loss: Option<f64>,
    /// Validation loss after the last step.
    pub(super) final_loss: Option<f64>,
    /// Mean over the kept sets of the loss after the last step less the base's.
    pub(super) forgetting: Option<f64>,
    /// Numbers trained.
    pub(super) trained_parameters: u64,
    /// Size of the adapter in the format it leaves as first, bytes; of methods that change the model itself nothing.
    pub(super) file_bytes: Option<u64>,
    /// Format it leaves as first.
    pub(super) format: Option<String>,
    /// Largest difference of logits to those of that file over the largest logit.
    pub(super) file_difference: Option<f64>,
    /// The same of a plain LoRA, where it leaves as one.
    pub(super) lora_difference: Option<f64>,
    /// Highest resident memory, MiB.
    pub(super) peak_rss_mib: Option<f64>,
    /// Milliseconds a token, the median over the steps after the first.
    pub(super) ms_per_token: Option<f64>,
}

impl Outcome {
    fn of(trial: &Trial) -> Self {
        Self {
            trial: trial.clone(),
            refused: None,
            base_loss: None,
            final_loss: None,
            forgetting: None,
            trained_parameters: 0,
            file_bytes: None,
            format: None,
            file_difference: None,
            lora_difference: None,
            peak_rss_mib: None,
            ms_per_token: None,
        }
    }
}

/// Where files are written to be measured.
pub(super) struct Files<'a> {
    /// A folder that is gone in the end.
    pub(super) scratch: &'a Path,
    /// Whether the base is a GGUF file, which alone can have a plain LoRA of its own format beside it.
    pub(super) gguf_base: bool,
}

/// Formats that hold an adapter and not a model.
const ADAPTERS: [&str; 2] = ["peft", "native"];
/// The format that is a plain LoRA and nothing else.
const PLAIN_LORA: &str = "gguf-lora";

/// The middle one, in place.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Trains a trial in `project` and, where it is asked for, writes its adapter into `scratch`. A trial that cannot be trained is an outcome too.
///
/// # Errors
/// Cancelling, or a process that cannot be started or heard.
pub(super) fn run(
    trial: &Trial,
    project: &Path,
    files: Option<&Files<'_>>,
    context: &JobContext,
) -> Result<Outcome, Problem> {
    let mut outcome = Outcome::of(trial);
    let mut run = None;
    let trained = train(trial, project, &mut outcome, &mut run, context);
    if let Err(problem) = trained {
        context.check_cancelled()?;
        outcome.refused.get_or_insert(problem.what);
        return Ok(outcome);
    }
    let (Some(run), None, Some(files)) = (run, &outcome.refused, files) else { return Ok(outcome) };
    let formats = temper_methods::find(&trial.method)?.declared().exports_as;
    let first = formats.iter().copied().find(|format| ADAPTERS.contains(format));
    let plain = formats.iter().copied().filter(|format| *format == PLAIN_LORA && files.gguf_base);
    for format in first.into_iter().chain(plain) {
        context.check_cancelled()?;
        let out = files.scratch.join(format!("{}-{format}", trial.method));
        match export(project, run, format, &out, context) {
            Ok(difference) if format == PLAIN_LORA => outcome.lora_difference = difference,
            Ok(difference) => {
                outcome.format = Some(format.to_owned());
                outcome.file_difference = difference;
                outcome.file_bytes = Some(tensor_bytes(&out));
            }
            Err(problem) => {
                context.check_cancelled()?;
                outcome.refused = Some(format!("as {format}: {}", problem.what));
            }
        }
        // What cannot be removed goes with the scratch folder.
        let _removed = if out.is_dir() { std::fs::remove_dir_all(&out) } else { std::fs::remove_file(&out) };
    }
    Ok(outcome)
}

fn train(
    trial: &Trial,
    project: &Path,
    outcome: &mut Outcome,
    run: &mut Option<u64>,
    context: &JobContext,
) -> Result<(), Problem> {
    let mut ms_per_token = Vec::new();
    let mut kept: Vec<(u64, f64)> = Vec::new();
    let mut done = 0;
    let words = ["train".to_owned(), project.display().to_string(), "--method".to_owned(), trial.method.clone()];
    let rate = ["--set".to_owned(), format!("train.lr_peak={}", trial.lr_peak)];
    child::run(&[words.as_slice(), rate.as_slice()].concat(), context, &mut |_, event| {
        match event {
            Event::Started { trained_parameters, .. } => outcome.trained_parameters = *trained_parameters,
            Event::Step { step, tokens_per_sec, .. } if *step > 1 => ms_per_token.push(1000.0 / tokens_per_sec),
            Event::Probe { step, loss_delta, .. } if *step > 0 => kept.push((*step, *loss_delta)),
            Event::Finished { run: number, steps, base_loss, final_loss, peak_rss_mib, problem, .. } => {
                *run = Some(*number);
                done = *steps;
                outcome.base_loss = finite(*base_loss);
                outcome.final_loss = finite(*final_loss);
                outcome.peak_rss_mib = finite(*peak_rss_mib).filter(|mib| *mib > 0.0);
                outcome.refused = problem.as_ref().map(|problem| problem.what.clone());
            }
            _ => {}
        }
        false
    })?;
    if run.is_none() {
        return Err(Problem::new(
            Code::Io,
            "the run ended without a word",
            &trial.method,
            "see what the run's log says",
        ));
    }
    let last: Vec<f64> = kept.iter().filter(|(step, _)| *step == done).map(|(_, delta)| *delta).collect();
    outcome.forgetting = if last.is_empty() { None } else { finite(last.iter().sum::<f64>() / last.len() as f64) };
    outcome.ms_per_token = median(&mut ms_per_token).and_then(finite);
    Ok(())
}

/// Writes run `run` as `format` and gives the certificate's relative difference of logits.
fn export(project: &Path, run: u64, format: &str, out: &Path, context: &JobContext) -> Result<Option<f64>, Problem> {
    let mut difference = None;
    let words = ["export", &run.to_string(), "--format", format].map(str::to_owned);
    let places = ["--project".to_owned(), project.display().to_string(), "--out".to_owned(), out.display().to_string()];
    let ended = child::run(&[words, places].concat(), context, &mut |_, event| {
        if let Event::Certificate { relative_diff, .. } = event {
            difference = Some(*relative_diff);
        }
        false
    });
    // A certificate that does not pass ends the process with 1; how far it is off is what is asked for here.
    match (ended, difference) {
        (_, Some(difference)) => Ok(finite(difference)),
        (Err(problem), None) => Err(problem),
        (Ok(()), None) => Ok(None),
    }
}

/// Size of the tensors in a folder or file, bytes.
fn tensor_bytes(path: &Path) -> u64 {
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
    if path.is_file() {
        return size(&path.to_path_buf());
    }
    let files = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|file| file.extension().is_some_and(|end| end == "safetensors")).map(|file| size(&file)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_survives_a_line_of_json_and_says_nothing_where_nothing_was_measured() {
        let outcome = Outcome::of(&Trial { method: "lora".to_owned(), lr_peak: 3e-4 });
        let line = serde_json::to_string(&outcome).expect("json");
        assert_eq!(serde_json::from_str::<Outcome>(&line).expect("outcome"), outcome);
        assert_eq!(finite(f64::NAN), None);
        assert_eq!((median(&mut [3.0, 1.0, 2.0]), median(&mut [])), (Some(2.0), None));
    }
}
