//! From the grammar of the command line to one protocol command.

use crate::cli::args::{Bench, ModelArgs, Task, TrainArgs};
use std::path::{Path, PathBuf};
use temper_protocol::command::{BenchRows, ExportSource, MethodsBench, TrainBench};
use temper_protocol::{Code, Command, ExportFormat, GenerateLimits, ModelRef, Problem, RunRef, StorageType, named};

/// The command for `task`.
///
/// # Errors
/// A usage problem for names that do not exist; a task that is no single command is a fault.
pub(crate) fn command(task: Task) -> Result<Command, Problem> {
    Ok(match task {
        Task::New { dir, model, data, method } => Command::NewProject {
            dir: absolute(&dir)?,
            model: absolute_name(&model)?,
            data: data.iter().map(|name| absolute_name(name)).collect::<Result<_, _>>()?,
            method,
        },
        Task::Inspect { paths } => {
            Command::Inspect { paths: paths.iter().map(|path| absolute_or_bundled(path)).collect::<Result<_, _>>()? }
        }
        Task::Preflight { project } => Command::Preflight { project: absolute(&project)? },
        Task::Train(arguments) => train(arguments)?,
        Task::Eval { model, data, metrics } => {
            let (project, model) = model_ref(model)?;
            Command::Evaluate { project, model, data: absolute_name(&data)?, metrics }
        }
        Task::Compare { model, data, rows } => {
            let (project, model) = model_ref(model)?;
            Command::Compare { project, model, data: absolute_name(&data)?, rows }
        }
        Task::Generate { model, prompt, chat, max_tokens, seed, temperature, top_p } => {
            let (project, model) = model_ref(model)?;
            let limits = GenerateLimits { max_tokens, seed, temperature, top_p };
            Command::Generate { project, model, prompt, chat, limits }
        }
        Task::Export { source, format, dtype, out, model, card, project } => Command::Export {
            project: Some(absolute(&project.unwrap_or_else(|| PathBuf::from(".")))?),
            source: export_source(&source, model.as_deref())?,
            format: ExportFormat::from_name(&format).ok_or_else(|| {
                let known: Vec<&str> = ExportFormat::ALL.iter().map(|format| format.name()).collect();
                usage(
                    format!("\"{format}\" is not a format"),
                    "--format",
                    format!("choose one of: {}", known.join(", ")),
                )
            })?,
            dtype: dtype
                .map(|name| {
                    StorageType::from_name(&name).ok_or_else(|| {
                        let known: Vec<&str> = StorageType::ALL.iter().map(|kind| kind.name()).collect();
                        let action = format!("choose one of: {}", known.join(", "));
                        usage(format!("\"{name}\" is not a storage type"), "--dtype", action)
                    })
                })
                .transpose()?,
            out: absolute(&out)?,
            card: card.map(|file| card_text(&file)).transpose()?,
        },
        Task::Verify { path, against, project } => Command::Verify {
            project: Some(absolute(&project.unwrap_or_else(|| PathBuf::from(".")))?),
            path: absolute(&path)?,
            against: against.map(|text| RunRef::parse(&text).0),
        },
        Task::Logits { model, tokens, out } => {
            let (project, model) = model_ref(model)?;
            Command::Logits { project, model, tokens: absolute(&tokens)?, out: absolute(&out)? }
        }
        Task::Runs(runs) => {
            let project = absolute(&runs.project)?;
            match runs.order() {
                Some(order) => Command::Housekeep { project, order },
                None => Command::Repair { project },
            }
        }
        Task::Bench { what } => bench(what)?,
        Task::Doctor => Command::Doctor {},
        other => return Err(Problem::internal(format!("{other:?} is not a single command"))),
    })
}

/// `key=value` pairs of `--set`; `example` shows how one looks.
fn pairs(set: Vec<String>, example: &str) -> Result<Vec<(String, String)>, Problem> {
    let pair = |pair: String| match pair.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => Err(usage(format!("\"{pair}\" has no value"), "--set", format!("write it as in --set {example}"))),
    };
    set.into_iter().map(pair).collect()
}

fn bench(what: Bench) -> Result<Command, Problem> {
    let names = |names: Vec<String>| names.iter().map(|name| absolute_name(name)).collect::<Result<Vec<_>, _>>();
    Ok(match what {
        Bench::Ui(_) | Bench::UiWindow(_) => {
            return Err(Problem::internal("the bench of the window is no single command"));
        }
        Bench::Train {
            model,
            base,
            method,
            rank,
            set,
            batch,
            seq,
            steps,
            threads,
            recompute,
            keep_prefix,
            optim_state,
            data,
            pack,
            row_tokens,
            dump_rows,
        } => {
            let mut set = pairs(set, "targets=q_proj")?;
            set.extend(rank.map(|rank| ("rank".to_owned(), rank.to_string())));
            let model = absolute_name(&model)?;
            let row_tokens = row_tokens.map_or(Ok((2, seq)), |text| span(&text))?;
            let rows = match data {
                Some(data) => {
                    let dump = dump_rows.map(|file| absolute(&file)).transpose()?;
                    Some(BenchRows { data: absolute_name(&data)?, pack, row_tokens, dump })
                }
                None => None,
            };
            Command::BenchTrain(TrainBench {
                model,
                base,
                method,
                set,
                batch,
                seq,
                steps,
                threads,
                recompute,
                keep_prefix,
                optim_state,
                rows,
            })
        }
        Bench::Data { model, data, batch, seq, threads, preview } => {
            let (model, data) = (absolute_name(&model)?, absolute_name(&data)?);
            Command::BenchData { model, data, batch, seq, threads, preview }
        }
        Bench::Load { model, project, threads } => Command::BenchLoad {
            models: names(model)?,
            project: project.map(|dir| absolute(&dir)).transpose()?,
            threads,
        },
        Bench::Scale { model, table, quick, steps, threads } => {
            Command::BenchScale { models: names(model)?, tables: table, quick, steps, threads }
        }
        Bench::Methods { model, data, out, method, rates, set, steps, batch, seq, threads, times } => {
            Command::BenchMethods(MethodsBench {
                model: absolute_name(&model)?,
                data: absolute_name(&data)?,
                out: absolute(&out)?,
                methods: method,
                rates,
                set: pairs(set, "model.base=nf4")?,
                steps,
                batch,
                seq,
                threads,
                times,
            })
        }
        Bench::Ops { threads, op } => Command::BenchOps { threads, only: op },
    })
}

/// The text of a model card.
fn card_text(file: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(file).map_err(|error| {
        usage(
            format!("the model card cannot be read: {error}"),
            file.display().to_string(),
            "give a text file in UTF-8 with --card",
        )
    })
}

/// A span of whole numbers such as `20-120`.
fn span(text: &str) -> Result<(usize, usize), Problem> {
    let numbers =
        text.split_once('-').and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
    numbers.filter(|(from, to)| from <= to).ok_or_else(|| {
        usage(format!("\"{text}\" is no span of tokens"), "--row-tokens", "write it as in --row-tokens 20-120")
    })
}

fn train(arguments: TrainArgs) -> Result<Command, Problem> {
    let mut set = pairs(arguments.set, "train.steps=100")?;
    if !arguments.race.is_empty() {
        return Ok(Command::Race { project: absolute(&arguments.project)?, methods: arguments.race, set });
    }
    if let Some(from) = arguments.from {
        let from = if named::run(&from).is_some() { from } else { absolute(Path::new(&from))?.display().to_string() };
        set.push(("train.from".to_owned(), from));
    }
    Ok(Command::Train {
        project: absolute(&arguments.project)?,
        set,
        method: arguments.method,
        out: arguments.out.map(|dir| absolute(&dir)).transpose()?,
        resume: arguments.resume.map(|text| run_ref(&text)).transpose()?,
        max_steps: arguments.max_steps,
    })
}

/// A run named by number or word stays as it is; a folder becomes absolute.
fn run_ref(text: &str) -> Result<RunRef, Problem> {
    Ok(match RunRef::parse(text).0 {
        RunRef::Path(path) => RunRef::Path(absolute(&path)?),
        other => other,
    })
}

/// An adapter folder holds a description under one of two names; everything else names a run.
fn export_source(text: &str, model: Option<&str>) -> Result<ExportSource, Problem> {
    let path = Path::new(text);
    if ["adapter_config.json", "temper_adapter.json"].iter().any(|name| path.join(name).is_file()) {
        let model = model.ok_or_else(|| {
            usage("a bare adapter needs its base model", text, "add --model with the base's folder or GGUF file")
        })?;
        return Ok(ExportSource::Adapter { path: absolute(path)?, model: absolute_name(model)? });
    }
    let (run, step) = RunRef::parse(text);
    let run = match run {
        RunRef::Path(path) => RunRef::Path(absolute(&path)?),
        other => other,
    };
    Ok(ExportSource::Run { run, step })
}

fn model_ref(arguments: ModelArgs) -> Result<(Option<PathBuf>, ModelRef), Problem> {
    let project = absolute(&arguments.project.unwrap_or_else(|| PathBuf::from(".")))?;
    let adapters = arguments
        .adapter
        .iter()
        .map(|name| if named::run(name).is_some() { Ok(name.clone()) } else { absolute_name(name) })
        .collect::<Result<_, _>>()?;
    Ok((Some(project), ModelRef { model: absolute_name(&arguments.model)?, adapters, base: None }))
}

/// Paths become absolute before they reach the engine, whose current folder may be another.
fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(path).map_err(|error| {
        usage(format!("the path cannot be resolved: {error}"), path.display().to_string(), "give a path that exists")
    })
}

/// A path as the engine takes it: absolute, or the name of something bundled.
fn absolute_or_bundled(path: &Path) -> Result<PathBuf, Problem> {
    match path.to_str() {
        Some(name) => Ok(PathBuf::from(absolute_name(name)?)),
        None => absolute(path),
    }
}

/// Names of bundled things stay, paths become absolute.
pub(crate) fn absolute_name(name: &str) -> Result<String, Problem> {
    if named::builtin(name).is_some() {
        return Ok(name.to_owned());
    }
    if let Some(config) = named::random(name) {
        return Ok(format!("{}{}", named::RANDOM, absolute(Path::new(config))?.display()));
    }
    Ok(absolute(Path::new(name))?.display().to_string())
}

fn usage(what: impl Into<String>, place: impl Into<String>, action: impl Into<String>) -> Problem {
    Problem::new(Code::Usage, what, place, action)
}
