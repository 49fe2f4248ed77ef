//! `bench methods`: every method on one task, from the same seed, over the same rows in the same order.
//!
//! Place in the data flow: the order becomes a project whose runs can be opened like any others; each trial (see
//! [`super::trial`]) adds a line to `trials.jsonl` as it ends, so that an interrupted table goes on where it was. The
//! table leaves as an event, as `methods.md` and, drawn, as `methods.svg`; with several learning rates also as
//! `lr_peak.csv`, which the registry's usual rates are taken from.

use super::bench::scratch_folder;
use super::bench_times::{self, REFERENCE, Timing};
use super::load;
use super::pareto::{self, Point};
use super::trial::{self, Files, Outcome, Trial};
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use temper_methods::rates::{self, AtRate};
use temper_protocol::command::MethodsBench;
use temper_protocol::event::{Figure, Figures};
use temper_protocol::{Code, Event, Kind, Problem, Project, project_file};

const TRIALS: &str = "trials.jsonl";
const TABLE: &str = "methods.md";
const PLOT: &str = "methods.svg";
const RATES: &str = "lr_peak.csv";
const TIMES: &str = "times.jsonl";
const COLUMNS: [&str; 15] = [
    "method",
    "rate",
    "loss before",
    "loss after",
    "forgetting",
    "trained, thousand",
    "file, MiB",
    "peak, MiB",
    "ms a token",
    "LoRA of as many, rank",
    "time over its",
    "leaves as",
    "off by",
    "as LoRA off by",
    "remark",
];

/// Carries the order out.
pub(super) fn methods(builtins: &Builtins, order: &MethodsBench, context: &JobContext) -> Result<(), Problem> {
    let family = family_of(builtins, &order.model)?;
    // What no method could train on is said once and not as a row of each.
    temper_data::sniff(&names::data_path(builtins, &order.data, Path::new("."))?)?;
    let trials = trials(order, &family)?;
    prepare(order)?;
    let scratch = scratch_folder()?;
    let files = Files { scratch: scratch.path(), gguf_base: order.model.ends_with(".gguf") };
    let mut times: Vec<Timing> = known(&order.out.join(TIMES))?;
    let mut outcomes: Vec<Outcome> = known(&order.out.join(TRIALS))?;
    // What gave nothing is tried again: the reason may be gone. What trained and only has no file stays.
    outcomes.retain(|outcome| {
        trials.contains(&outcome.trial) && (outcome.refused.is_none() || outcome.final_loss.is_some())
    });
    for (done, trial) in (0_u64..).zip(&trials) {
        let stage = format!("{} at {}", trial.method, trial.lr_peak);
        context.progress(&stage, done, trials.len() as u64, "trainings");
        if outcomes.iter().any(|outcome| outcome.trial == *trial) {
            continue;
        }
        let outcome = trial::run(trial, &order.out, (order.rates.len() < 2).then_some(&files), context)?;
        add(&order.out.join(TRIALS), &outcome)?;
        outcomes.push(outcome);
        outcomes.sort_by_key(|outcome| trials.iter().position(|trial| *trial == outcome.trial));
        write_all(order, &family, &outcomes, &times)?;
    }
    if order.times {
        measure_times(order, &outcomes, &mut times, context)?;
    }
    write_all(order, &family, &outcomes, &times)?;
    context.emit(Event::Figures(figures(order, &outcomes, &times)));
    Ok(())
}

/// Adds the times that are not known yet of all methods that trained.
fn measure_times(
    order: &MethodsBench,
    outcomes: &[Outcome],
    times: &mut Vec<Timing>,
    context: &JobContext,
) -> Result<(), Problem> {
    let project = project(order)?;
    let Some(lora) = outcomes.iter().find(|outcome| outcome.trial.method == REFERENCE) else {
        let what = format!("times are compared with those of {REFERENCE}, which is not among the methods");
        return Err(Problem::new(Code::Usage, what, "--times", format!("add --method {REFERENCE}")));
    };
    let settings = project.method.settings.complete(temper_methods::find(REFERENCE)?.declared().settings, "--set")?;
    let rank = settings.number("rank").max(1.0);
    let numbers_per_rank = lora.trained_parameters.max(1) as f64 / rank;
    let trained: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.trained_parameters > 0).collect();
    for (done, outcome) in (0_u64..).zip(&trained) {
        let method = outcome.trial.method.as_str();
        context.progress(&format!("time of {method}"), done, trained.len() as u64, "methods");
        if times.iter().any(|timing| timing.method == method) {
            continue;
        }
        let numbers = (method, outcome.trained_parameters);
        match bench_times::measure(order, &project, numbers, numbers_per_rank, context) {
            Ok(timing) => {
                add(&order.out.join(TIMES), &timing)?;
                times.push(timing);
            }
            // The table has a gap there, and the next call tries again.
            Err(problem) => {
                context.check_cancelled()?;
                tracing::warn!("no time of {method}: {}", problem.what);
            }
        }
    }
    Ok(())
}

/// Everything that decides a trial except the method and its rate.
fn project(order: &MethodsBench) -> Result<Project, Problem> {
    let mut plain = Project::new("methods", &order.model, std::slice::from_ref(&order.data), REFERENCE);
    plain.train.steps = order.steps;
    plain.train.batch = order.batch;
    plain.train.threads = order.threads;
    plain.train.warmup_steps = (order.steps / 10).max(1);
    plain.train.eval_steps = 0;
    plain.train.checkpoint_steps = 0;
    plain.train.snapshot_mib = 0;
    plain.keep.every_steps = 0;
    plain.data.max_tokens = order.seq;
    project_file::parse_with(&project_file::to_text(&plain)?, Path::new("--set"), &order.set)
}

/// Makes the folder, or sees that the table in it is of the same order.
fn prepare(order: &MethodsBench) -> Result<(), Problem> {
    let wanted = project(order)?;
    let file = order.out.join(project_file::FILE_NAME);
    if file.is_file() {
        if project_file::load(&file)? == wanted {
            return Ok(());
        }
        let what = "there is another project, or a table of another order";
        return Err(Problem::new(Code::Refused, what, file.display().to_string(), "choose another --out"));
    }
    let io = |error: std::io::Error| {
        let what = format!("the folder cannot be made: {error}");
        Problem::new(Code::Io, what, order.out.display().to_string(), "choose a folder that you may write to")
    };
    std::fs::create_dir_all(&order.out).map_err(io)?;
    project_file::save(&wanted, &order.out)?;
    Ok(())
}

/// Family of the model, such as `llama`; empty for a new one.
fn family_of(builtins: &Builtins, model: &str) -> Result<String, Problem> {
    if model.starts_with(names::RANDOM) {
        return Ok(String::new());
    }
    Ok(temper_models::describe(&names::model_path(builtins, model, Path::new("."))?)?.architecture)
}

/// The trials in the order of the registry.
fn trials(order: &MethodsBench, family: &str) -> Result<Vec<Trial>, Problem> {
    for id in &order.methods {
        temper_methods::find(id)?;
    }
    if let Some(rate) = order.rates.iter().find(|rate| !rate.is_finite() || **rate <= 0.0) {
        let action = "give rates above 0, such as 1e-4,1e-3";
        return Err(Problem::new(Code::Usage, format!("{rate} is no learning rate"), "--rates", action));
    }
    let mut trials = Vec::new();
    for method in temper_methods::registry() {
        let declared = method.declared();
        let wanted = order.methods.is_empty() || order.methods.iter().any(|id| id == declared.id);
        if !wanted || !matches!(declared.kind, Kind::Adapter | Kind::Insertion) {
            continue;
        }
        let usual = [rates::lr_peak(declared, family)];
        let wanted = if order.rates.is_empty() { &usual[..] } else { &order.rates };
        trials.extend(wanted.iter().map(|rate| Trial { method: declared.id.to_owned(), lr_peak: *rate }));
    }
    Ok(trials)
}

/// The lines of an earlier, interrupted table. A last line that was cut off is none.
fn known<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>, Problem> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unwritten(file, &error)),
    }
}

fn unwritten(file: &Path, error: &std::io::Error) -> Problem {
    let what = format!("it cannot be read or written: {error}");
    Problem::new(Code::Io, what, file.display().to_string(), "check the folder's permissions and free space")
}

/// A new line, begun on a line of its own even where the one before was cut off.
fn add<T: Serialize>(file: &Path, outcome: &T) -> Result<(), Problem> {
    let line = serde_json::to_string(outcome)
        .map_err(|error| Problem::internal(format!("an outcome cannot be written: {error}")))?;
    let whole = std::fs::read(file).map_or(true, |text| text.last().is_none_or(|byte| *byte == b'\n'));
    let begin = if whole { "" } else { "\n" };
    let mut out =
        std::fs::OpenOptions::new().create(true).append(true).open(file).map_err(|error| unwritten(file, &error))?;
    out.write_all(format!("{begin}{line}\n").as_bytes()).map_err(|error| unwritten(file, &error))
}

fn number(value: Option<f64>) -> Figure {
    value.map_or(Figure::Missing, Figure::from)
}

fn figures(order: &MethodsBench, outcomes: &[Outcome], times: &[Timing]) -> Figures {
    let row = |outcome: &Outcome| -> Vec<Figure> {
        let timing = times.iter().find(|timing| timing.method == outcome.trial.method);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let of_step = |timing: &Timing| timing.secs * 1000.0 / (order.batch * order.seq) as f64;
        vec![
            outcome.trial.method.as_str().into(),
            outcome.trial.lr_peak.into(),
            number(outcome.base_loss),
            number(outcome.final_loss),
            number(outcome.forgetting),
            number((outcome.trained_parameters > 0).then(|| outcome.trained_parameters as f64 / 1000.0)),
            number(outcome.file_bytes.map(mib)),
            number(outcome.peak_rss_mib),
            number(timing.map(of_step).or(outcome.ms_per_token)),
            number(timing.map(|timing| timing.lora_rank as f64)),
            number(timing.map(Timing::over)),
            outcome.format.as_deref().map_or(Figure::Missing, Figure::from),
            number(outcome.file_difference),
            number(outcome.lora_difference),
            outcome.refused.as_deref().map_or(Figure::Missing, Figure::from),
        ]
    };
    let text = format!(
        "{} steps of {} rows of up to {} tokens of {}, model {}, the same rows in the same order from the same seed; loss in \
         nats a trained token on rows held back, forgetting as the mean over the kept sets of the loss after less before; \
         off by: largest difference of logits over the largest logit; time over its: seconds a step over those of LoRA with \
         as many trained numbers, in turn",
        order.steps,
        order.batch,
        order.seq,
        load::short_name(&order.data),
        load::short_name(&order.model),
    );
    let columns = COLUMNS.map(str::to_owned).to_vec();
    Figures { what: "methods".to_owned(), text, columns, rows: outcomes.iter().map(row).collect() }
}

fn write_all(order: &MethodsBench, family: &str, outcomes: &[Outcome], times: &[Timing]) -> Result<(), Problem> {
    let write = |name: &str, text: String| {
        let file = order.out.join(name);
        std::fs::write(&file, text).map_err(|error| unwritten(&file, &error))
    };
    write(TABLE, markdown(&figures(order, outcomes, times)))?;
    let point = |outcome: &Outcome| {
        Some(Point { name: outcome.trial.method.clone(), x: outcome.forgetting?, y: outcome.final_loss? })
    };
    let points: Vec<Point> = outcomes.iter().filter_map(point).collect();
    write(PLOT, pareto::svg(&points, "forgetting, nats a token", "loss on the task, nats a trained token"))?;
    if order.rates.len() > 1 {
        write(RATES, rates_csv(order, family, outcomes))?;
    }
    Ok(())
}

/// The usual rate of every method, with the trials it was chosen from.
fn rates_csv(order: &MethodsBench, family: &str, outcomes: &[Outcome]) -> String {
    let mut text = "method,family,lr_peak,losses\n".to_owned();
    let mut methods: Vec<&str> = outcomes.iter().map(|outcome| outcome.trial.method.as_str()).collect();
    methods.dedup();
    for method in methods {
        let of = outcomes.iter().filter(|outcome| outcome.trial.method == method);
        let at_rate = |outcome: &Outcome| {
            // Rounded as they are written, so that the choice follows from the file.
            let written = |value: f64| (value * 1e4).round() / 1e4;
            let (loss, forgetting) = (written(outcome.final_loss?), written(outcome.forgetting?));
            Some(AtRate { rate: outcome.trial.lr_peak, loss, forgetting })
        };
        let mut trials: Vec<AtRate> = of.clone().filter_map(at_rate).collect();
        trials.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let before = of.clone().find_map(|outcome| outcome.base_loss);
        if let (Some(before), true) = (before, of.count() == order.rates.len())
            && let Some(rate) = rates::choose(before, &trials)
        {
            let evidence: Vec<String> = trials.iter().map(AtRate::to_string).collect();
            let _never_fails = writeln!(text, "{method},{family},{rate},before: {before:.4}; {}", evidence.join("; "));
        }
    }
    text
}

fn markdown(table: &Figures) -> String {
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = format!("{}.\n\n{}", table.text, row(table.columns.clone()));
    text.push_str(&row(table.columns.iter().map(|_| "---".to_owned()).collect()));
    for cells in &table.rows {
        text.push_str(&row(cells.iter().map(cell).collect()));
    }
    text
}

/// Three figures that count.
fn cell(figure: &Figure) -> String {
    match figure {
        Figure::Text(text) => text.replace('|', "/"),
        Figure::Missing => String::new(),
        Figure::Number(value) if *value != 0.0 && value.abs() < 1e-3 => format!("{value:.1e}"),
        Figure::Number(value) if value.abs() >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        Figure::Number(value) if value.abs() >= 1.0 => format!("{value:.2}"),
        Figure::Number(value) => format!("{value:.4}"),
    }
}
