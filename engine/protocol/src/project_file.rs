//! Reading and writing `project.toml`.
//!
//! Unknown keys are an error that names the nearest known key; values out of range are refused with
//! the range. Settings of `[method]` are checked later against the method's declaration, because this
//! crate does not know the registry. Older schema versions are migrated on reading.

use crate::project::{Project, Validation};
use crate::{Code, ExportFormat, Problem, SCHEMA_VERSION};
use std::path::{Path, PathBuf};

/// Name of the file in a project folder.
pub const FILE_NAME: &str = "project.toml";

/// Keys per table; `[method]` takes what its declaration knows.
const TABLES: &[(&str, &[&str])] = &[
    ("", &["schema", "name", "model", "data", "method", "train", "keep", "samples", "export"]),
    ("model", &["path", "base", "adapters"]),
    ("data", &["train", "schema", "columns", "validation", "max_tokens", "packing", "loss_on", "chat_template"]),
    (
        "train",
        &[
            "steps",
            "epochs",
            "batch",
            "accumulate",
            "lr_peak",
            "from",
            "method_seed",
            "lr_floor",
            "schedule",
            "warmup_steps",
            "decay_share",
            "beta1",
            "beta2",
            "epsilon",
            "weight_decay",
            "optim_state",
            "clip_norm",
            "seed",
            "threads",
            "device",
            "recompute",
            "kept_mib",
            "prefix_cache_mib",
            "snapshot_mib",
            "checkpoint_steps",
            "keep_checkpoints",
            "eval_steps",
            "eval_rows",
            "row_losses",
            "patience",
            "best_by",
            "on_spike",
            "spike_factor",
        ],
    ),
    ("keep", &["probes", "budget_nats", "on_exceed", "every_steps"]),
    ("samples", &["prompts", "every_steps", "max_tokens"]),
    ("export", &["formats", "dtype"]),
];

/// The problem of an unknown key, with the nearest known one.
#[must_use]
pub fn unknown_key(key: &str, known: &[&str], place: &str) -> Problem {
    let nearest = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(key, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len().max(key.len()) / 2 + 1);
    let action = match nearest {
        Some((_, candidate)) => format!("did you mean \"{candidate}\"?"),
        None => format!("known keys: {}", known.join(", ")),
    };
    Problem::new(Code::ProjectInvalid, format!("unknown key \"{key}\""), place, action)
}

/// The file of a project given as a folder or as the file itself.
#[must_use]
pub fn locate(project: &Path) -> PathBuf {
    if project.is_dir() { project.join(FILE_NAME) } else { project.to_path_buf() }
}

/// Reads a project from a folder or file.
///
/// # Errors
/// A [`Problem`] with the file and line.
pub fn load(project: &Path) -> Result<Project, Problem> {
    let file = locate(project);
    let text = std::fs::read_to_string(&file).map_err(|error| {
        let action = if error.kind() == std::io::ErrorKind::NotFound {
            "give a folder with a project.toml, or make one with: temper new DIR --model M --data D"
        } else {
            "check that the file can be read and is UTF-8 text"
        };
        Problem::new(Code::Io, format!("the project cannot be read: {error}"), file.display().to_string(), action)
    })?;
    parse(&text, &file)
}

/// Reads a project from text; `file` is only named in errors.
///
/// # Errors
/// A [`Problem`] with the file and line or key.
pub fn parse(text: &str, file: &Path) -> Result<Project, Problem> {
    parse_with(text, file, &[])
}

/// Reads a project from text with dotted keys set on top, as `--set key=value` gives them.
///
/// # Errors
/// A [`Problem`] with the file and line or key.
pub fn parse_with(text: &str, file: &Path, set: &[(String, String)]) -> Result<Project, Problem> {
    let name = file.display().to_string();
    let mut table: toml::Table = toml::from_str(text).map_err(|error| syntax(text, &error, &name))?;
    for (key, value) in set {
        set_key(&mut table, key, value)?;
    }
    migrate(&mut table, &name)?;
    check_keys(&table, text, &name)?;
    let says_rate =
        table.get("train").and_then(toml::Value::as_table).is_some_and(|train| train.contains_key("lr_peak"));
    let mut project: Project = toml::Value::Table(table).try_into().map_err(|error: toml::de::Error| {
        Problem::new(
            Code::ProjectInvalid,
            error.message().lines().next().unwrap_or("a value has the wrong type").to_owned(),
            name.clone(),
            "compare with the example in projects/quickstart/project.toml",
        )
    })?;
    if !says_rate {
        project.train.lr_peak = 0.0;
    }
    check_ranges(&project, &name)?;
    Ok(project)
}

/// The text of a project, with a line of explanation on top.
///
/// # Errors
/// A [`Problem`] when a value cannot be written as TOML.
pub fn to_text(project: &Project) -> Result<String, Problem> {
    let body = toml::to_string(project)
        .map_err(|error| Problem::internal(format!("the project cannot be written: {error}")))?;
    Ok(format!("# What Temper will run. Paths are relative to this file.\n{body}"))
}

/// Writes a project to a folder or file, by a temporary name.
///
/// # Errors
/// A [`Problem`] when the text cannot be written.
pub fn save(project: &Project, target: &Path) -> Result<PathBuf, Problem> {
    let file = locate(target);
    let fail = |error: std::io::Error| {
        Problem::new(
            Code::Io,
            format!("the project cannot be written: {error}"),
            file.display().to_string(),
            "check the folder's permissions and free space",
        )
    };
    let text = to_text(project)?;
    crate::whole_file::write(&file, text).map_err(fail)?;
    Ok(file)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

fn syntax(text: &str, error: &toml::de::Error, name: &str) -> Problem {
    let place = match error.span() {
        Some(span) => format!("{name}, line {}", line_of(text, span.start)),
        None => name.to_owned(),
    };
    Problem::new(Code::ProjectInvalid, error.message().to_owned(), place, "correct the line")
}

/// `key` is dotted; the value is read as TOML, and as text where that fails.
fn set_key(table: &mut toml::Table, key: &str, value: &str) -> Result<(), Problem> {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut parts: Vec<&str> = key.split('.').collect();
    let Some(last) = parts.pop() else {
        return Err(Problem::new(Code::Usage, "an empty key", "--set", "write --set table.key=value"));
    };
    let mut place = table;
    for part in parts {
        let entry = place.entry(part.to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = match entry {
            toml::Value::Table(inner) => inner,
            _ => {
                return Err(Problem::new(
                    Code::Usage,
                    format!("{part} is not a table"),
                    "--set",
                    "write --set table.key=value",
                ));
            }
        };
    }
    place.insert(last.to_owned(), parsed);
    Ok(())
}

/// Brings tables of older schema versions up to date. Version 0 is what had no `schema` key.
fn migrate(table: &mut toml::Table, name: &str) -> Result<(), Problem> {
    let version = table.get("schema").and_then(toml::Value::as_integer).unwrap_or(0);
    if version > i64::from(SCHEMA_VERSION) {
        return Err(Problem::new(
            Code::ProjectInvalid,
            format!("the project was written by a newer Temper (schema {version})"),
            name,
            "update Temper to open it",
        ));
    }
    if version == 0 {
        // Version 0 kept the forgetting budget under [train].
        let budget =
            table.get_mut("train").and_then(toml::Value::as_table_mut).and_then(|train| train.remove("budget_nats"));
        let keep = table.entry("keep".to_owned()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        if let (Some(budget), Some(keep)) = (budget, keep.as_table_mut()) {
            keep.entry("budget_nats".to_owned()).or_insert(budget);
        }
        table.insert("schema".to_owned(), toml::Value::Integer(i64::from(SCHEMA_VERSION)));
    }
    Ok(())
}

fn check_keys(table: &toml::Table, text: &str, name: &str) -> Result<(), Problem> {
    for (prefix, known) in TABLES {
        let inner = if prefix.is_empty() { Some(table) } else { table.get(*prefix).and_then(toml::Value::as_table) };
        let Some(inner) = inner else { continue };
        for key in inner.keys() {
            if !known.contains(&key.as_str()) {
                let line =
                    text.lines().position(|line| line.trim_start().trim_start_matches('[').starts_with(key.as_str()));
                let table_name = if prefix.is_empty() { String::new() } else { format!(" [{prefix}]") };
                let place = match line {
                    Some(index) => format!("{name}, line {}{table_name}", index + 1),
                    None => format!("{name}{table_name}"),
                };
                return Err(unknown_key(key, known, &place));
            }
        }
    }
    Ok(())
}

fn check_ranges(project: &Project, name: &str) -> Result<(), Problem> {
    let train = &project.train;
    let choice = |key: &str, value: &str, choices: &[&str]| {
        if choices.contains(&value) {
            Ok(())
        } else {
            Err(Problem::new(
                Code::ProjectInvalid,
                format!("{key} = \"{value}\" is not a choice"),
                name,
                format!("choose one of: {}", choices.join(", ")),
            ))
        }
    };
    let range = |key: &str, value: f64, min: f64, max: f64| {
        if value.is_finite() && value >= min && value <= max {
            Ok(())
        } else {
            Err(Problem::new(
                Code::ProjectInvalid,
                format!("{key} = {value} is out of range"),
                name,
                format!("give a value from {min} to {max}"),
            ))
        }
    };
    if project.model.path.trim().is_empty() {
        return Err(Problem::new(
            Code::ProjectInvalid,
            "no model is chosen",
            format!("{name} [model]"),
            "set path to a folder or a GGUF file",
        ));
    }
    if project.data.train.is_empty() {
        return Err(Problem::new(
            Code::ProjectInvalid,
            "no data is chosen",
            format!("{name} [data]"),
            "set train to a list of files",
        ));
    }
    choice("data.loss_on", &project.data.loss_on, &["answers", "last-answer", "everything"])?;
    choice("train.schedule", &train.schedule, &["constant", "linear", "cosine", "wsd"])?;
    choice("train.device", &train.device, &["auto", "cpu", "cuda", "metal"])?;
    choice("train.optim_state", &train.optim_state, &["f32", "int8"])?;
    choice("train.recompute", &train.recompute, &["auto", "on", "off"])?;
    choice("train.on_spike", &train.on_spike, &["stop", "roll-back"])?;
    choice("train.best_by", &train.best_by, &crate::project::BEST_BY)?;
    choice("keep.on_exceed", &project.keep.on_exceed, &["warn", "slow-down", "replay", "roll-back", "stop"])?;
    choice("model.base", &project.model.base, &crate::project::BASES)?;
    for format in &project.export.formats {
        choice("export.formats", format, &ExportFormat::ALL.map(ExportFormat::name))?;
    }
    if let Validation::Share(share) = project.data.validation {
        range("data.validation", share, 0.0, 0.9)?;
    }
    for source in &project.data.train {
        range("data.train weight", source.weight(), 1e-6, 1e6)?;
    }
    for adapter in &project.model.adapters {
        // Less than none takes a change away; none of it is no adapter.
        range("model.adapters weight", adapter.weight(), -10.0, 10.0)?;
        if adapter.weight() == 0.0 {
            let what = format!("model.adapters has {} with weight 0", adapter.path());
            return Err(Problem::new(Code::ProjectInvalid, what, name, "leave it out, or give it another weight"));
        }
    }
    range("data.max_tokens", project.data.max_tokens as f64, 2.0, 1_048_576.0)?;
    // With none a run saves what its method starts as: a training-free repair.
    range("train.steps", train.steps as f64, 0.0, 1e9)?;
    if let Some(epochs) = train.epochs {
        range("train.epochs", epochs, 1e-6, 1e6)?;
    }
    range("train.batch", train.batch as f64, 1.0, 4096.0)?;
    range("train.accumulate", train.accumulate as f64, 1.0, 65_536.0)?;
    range("train.lr_peak", train.lr_peak, 0.0, 10.0)?;
    range("train.lr_floor", train.lr_floor, 0.0, 1.0)?;
    range("train.decay_share", train.decay_share, 0.0, 1.0)?;
    range("train.beta1", train.beta1, 0.0, 0.9999)?;
    range("train.beta2", train.beta2, 0.0, 0.999_999)?;
    range("train.epsilon", train.epsilon, 1e-20, 1.0)?;
    range("train.weight_decay", train.weight_decay, 0.0, 10.0)?;
    range("train.clip_norm", train.clip_norm, 0.0, 1e9)?;
    range("train.spike_factor", train.spike_factor, 0.0, 1e6)?;
    range("keep.budget_nats", project.keep.budget_nats, 0.0, 1e3)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "schema = 1\n[model]\npath = \"m.gguf\"\n[data]\ntrain = [\"d.jsonl\"]\n";

    #[test]
    fn a_small_file_is_completed_by_defaults_and_survives_a_round_trip() {
        let project = parse(SMALL, Path::new("project.toml")).expect("small project");
        assert_eq!(project.train.steps, 200);
        assert_eq!(project.method.id, "lora");
        let again = parse(&to_text(&project).expect("text"), Path::new("project.toml")).expect("round trip");
        assert_eq!(project, again);
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_key() {
        let text = format!("{SMALL}[train]\nlr_peek = 1e-3\n");
        let problem = parse(&text, Path::new("p.toml")).expect_err("unknown key");
        assert_eq!(problem.code, Code::ProjectInvalid);
        assert!(problem.action.contains("lr_peak"), "{problem}");
        assert!(problem.r#where.contains("line 7"), "{problem}");
    }

    #[test]
    fn a_newer_schema_and_values_out_of_range_are_refused() {
        let newer = SMALL.replace("schema = 1", "schema = 99");
        assert!(parse(&newer, Path::new("p.toml")).expect_err("newer").what.contains("newer"));
        let zero = format!("{SMALL}[train]\nbatch = 0\n");
        assert!(parse(&zero, Path::new("p.toml")).expect_err("batch").what.contains("train.batch"));
    }

    #[test]
    fn storage_of_the_base_and_of_the_optimiser_are_choices() {
        let text = SMALL.replace("path = \"m.gguf\"", "path = \"m.gguf\"\nbase = \"nf4\"");
        let project = parse(&format!("{text}[train]\noptim_state = \"int8\"\n"), Path::new("p.toml")).expect("both");
        assert_eq!((project.model.base.as_str(), project.train.optim_state.as_str()), ("nf4", "int8"));
        assert!(to_text(&project).expect("text").contains("optim_state = \"int8\""));
        let problem = parse(&text.replace("nf4", "nf5"), Path::new("p.toml")).expect_err("no such base");
        assert!(["nf4", "int8", "int4-g64", "int2"].iter().all(|base| problem.action.contains(base)), "{problem}");
        let fp8 = format!("{SMALL}[train]\noptim_state = \"fp8\"\n");
        assert!(parse(&fp8, Path::new("p.toml")).expect_err("no such state").what.contains("train.optim_state"));
        assert_eq!(parse(SMALL, Path::new("p.toml")).expect("defaults").train.optim_state, "f32");
    }

    #[test]
    fn the_best_checkpoint_is_chosen_by_one_of_three_and_a_file_says_it_only_where_it_is_not_the_loss() {
        let plain = parse(SMALL, Path::new("p.toml")).expect("defaults");
        assert_eq!(plain.train.best_by, "loss");
        assert!(!to_text(&plain).expect("text").contains("best_by"));
        for by in ["budget", "mix"] {
            let text = format!("{SMALL}[train]\nbest_by = \"{by}\"\n");
            let project = parse(&text, Path::new("p.toml")).expect("a choice");
            assert_eq!(project.train.best_by, by);
            let again = parse(&to_text(&project).expect("text"), Path::new("p.toml")).expect("round trip");
            assert_eq!(project, again);
        }
        let other = format!("{SMALL}[train]\nbest_by = \"luck\"\n");
        assert!(parse(&other, Path::new("p.toml")).expect_err("no choice").what.contains("train.best_by"));
    }

    #[test]
    fn adapters_of_the_model_are_names_or_names_with_weights() {
        let with = |list: &str| SMALL.replace("path = \"m.gguf\"", &format!("path = \"m.gguf\"\nadapters = {list}"));
        let text = with(r#"["a", { path = "b", weight = 0.5 }]"#);
        let project = parse(&text, Path::new("p.toml")).expect("adapters");
        let found: Vec<_> = project.model.adapters.iter().map(|one| (one.path(), one.weight())).collect();
        assert_eq!(found, [("a", 1.0), ("b", 0.5)]);
        let again = parse(&to_text(&project).expect("text"), Path::new("p.toml")).expect("round trip");
        assert_eq!(project, again);
        assert!(!to_text(&parse(SMALL, Path::new("p.toml")).expect("none")).expect("text").contains("adapters"));
        for weight in ["0.0", "11.0", "nan"] {
            let text = with(&format!(r#"[{{ path = "b", weight = {weight} }}]"#));
            assert!(parse(&text, Path::new("p.toml")).expect_err(weight).what.contains("model.adapters"), "{weight}");
        }
    }

    #[test]
    fn a_project_of_version_0_keeps_its_budget() {
        let old = "[model]\npath = \"m\"\n[data]\ntrain = [\"d\"]\n[train]\nbudget_nats = 0.2\n";
        let project = parse(old, Path::new("p.toml")).expect("migrates");
        assert_eq!(project.schema, SCHEMA_VERSION);
        assert!((project.keep.budget_nats - 0.2).abs() < 1e-12);
    }

    #[test]
    fn set_reads_toml_values_and_plain_text() {
        let set = [("train.steps".to_owned(), "7".to_owned()), ("method.targets".to_owned(), "q_proj".to_owned())];
        let project = parse_with(SMALL, Path::new("p.toml"), &set).expect("set");
        assert_eq!(project.train.steps, 7);
        assert_eq!(project.method.settings.text("targets"), "q_proj");
    }
}
