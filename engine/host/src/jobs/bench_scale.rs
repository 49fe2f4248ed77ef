//! `bench scale`: training steps while one thing grows, beside what is expected of it.
//!
//! Place in the data flow: every case is `bench train` in a process of its own, because the peak memory of a process
//! never falls. The expected law: seconds a token grow as the operations a token do (which the bench counts, attention
//! included) and fall as threads are added; memory grows linearly with the tokens of a step and with the layers, so that
//! the two smallest cases of a table say what the larger ones should take.

use super::bench::scratch_folder;
use super::{child, load};
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names;
use std::path::Path;
use temper_protocol::event::{Figure, Figures};
use temper_protocol::{Code, Event, Problem};

/// The tables, in their order.
const TABLES: [&str; 5] = ["threads", "length", "batch", "layers", "models"];
const COLUMNS: [&str; 11] = [
    "table",
    "model",
    "layers",
    "threads",
    "rows",
    "tokens a row",
    "tokens/s",
    "ms a token",
    "expected, ms a token",
    "peak memory, MiB",
    "expected memory, MiB",
];

/// What a person asked for.
pub(super) struct Order {
    pub(super) models: Vec<String>,
    pub(super) tables: Vec<String>,
    pub(super) quick: bool,
    pub(super) steps: u64,
    pub(super) threads: usize,
}

/// One case of a table.
#[derive(Debug, Clone, PartialEq)]
struct Case {
    table: &'static str,
    /// As `bench train` takes it.
    model: String,
    /// For people.
    name: String,
    layers: Option<u64>,
    threads: usize,
    batch: usize,
    seq: usize,
}

/// What a case took.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    tokens_per_sec: f64,
    peak_rss_mib: f64,
    /// Useful operations a token, 10^9.
    gflop_per_token: f64,
}

/// Carries the order out.
pub(super) fn scale(builtins: &Builtins, order: &Order, context: &JobContext) -> Result<(), Problem> {
    if let Some(unknown) = order.tables.iter().find(|table| !TABLES.contains(&table.as_str())) {
        let action = format!("choose of: {}", TABLES.join(", "));
        return Err(Problem::new(Code::Usage, format!("there is no table \"{unknown}\""), "--table", action));
    }
    let scratch = scratch_folder()?;
    let cases = cases(builtins, order, scratch.path())?;
    let mut measured: Vec<(Case, Cost)> = Vec::with_capacity(cases.len());
    for (done, case) in (0_u64..).zip(&cases) {
        let stage = format!("{}: {} x {} on {} threads", case.table, case.batch, case.seq, case.threads);
        context.progress(&stage, done, cases.len() as u64, "cases");
        measured.push((case.clone(), measure(case, order.steps, context)?));
    }
    let rows = TABLES.iter().flat_map(|table| rows_of(&of_table(&measured, table))).collect();
    let text = "LoRA of rank 16 on all linear layers, random tokens, activations computed again in the backward pass, each \
                case in a process of its own; expected: time by operations, memory on the line through the two smallest \
                cases of its table"
        .to_owned();
    let columns = COLUMNS.map(str::to_owned).to_vec();
    context.emit(Event::Figures(Figures { what: "scale".to_owned(), text, columns, rows }));
    Ok(())
}

/// Doublings from 1 up to `most`, and `most` itself.
fn doublings(most: usize) -> Vec<usize> {
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|n| *n < most).collect();
    counts.push(most.max(1));
    counts
}

fn cases(builtins: &Builtins, order: &Order, scratch: &Path) -> Result<Vec<Case>, Problem> {
    let Some(first) = order.models.first() else {
        return Err(Problem::new(Code::Usage, "there is no model to measure", "--model", "name a model"));
    };
    let most = temper_train::threads::threads_for(order.threads);
    let path = names::model_path(builtins, first, Path::new("."))?;
    let usual = Case {
        table: "threads",
        model: first.clone(),
        name: load::short_name(first),
        layers: None,
        threads: most,
        batch: 1,
        seq: 256,
    };
    let wanted = |table: &str| order.tables.is_empty() || order.tables.iter().any(|name| name == table);
    let mut cases = Vec::new();
    if wanted("threads") {
        cases.extend(doublings(most).into_iter().map(|threads| Case { threads, ..usual.clone() }));
    }
    if wanted("length") {
        let lengths: &[usize] = if order.quick { &[256, 512, 1024] } else { &[256, 512, 1024, 2048, 4096] };
        cases.extend(lengths.iter().map(|seq| Case { table: "length", seq: *seq, ..usual.clone() }));
    }
    if wanted("batch") {
        let batches: &[usize] = if order.quick { &[1, 2, 4] } else { &[1, 2, 4, 8] };
        cases.extend(batches.iter().map(|batch| Case { table: "batch", batch: *batch, ..usual.clone() }));
    }
    if wanted("layers") {
        cases.extend(layered(&path, &usual, order.quick, scratch)?);
    }
    if wanted("models") && order.models.len() > 1 {
        cases.extend(order.models.iter().map(|model| Case {
            table: "models",
            model: model.clone(),
            name: load::short_name(model),
            seq: 512,
            ..usual.clone()
        }));
    }
    Ok(cases)
}

/// New models of the same configuration with a part of its layers. Only a folder has a configuration of its own.
fn layered(path: &Path, usual: &Case, quick: bool, scratch: &Path) -> Result<Vec<Case>, Problem> {
    let failed = |what: String, place: &Path| {
        Problem::new(Code::Io, what, place.display().to_string(), "choose a model folder with a config.json")
    };
    let file = path.join("config.json");
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let text = std::fs::read(&file).map_err(|error| failed(format!("it cannot be read: {error}"), &file))?;
    let mut config: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| failed(format!("it is not JSON: {error}"), &file))?;
    let all = config.get("num_hidden_layers").and_then(serde_json::Value::as_u64).unwrap_or(0);
    let parts: &[u64] = if quick { &[4, 2, 1] } else { &[4, 3, 2, 1] };
    let mut cases = Vec::new();
    for part in parts {
        let layers = (all / part).max(1);
        if let Some(entry) = config.get_mut("num_hidden_layers") {
            *entry = layers.into();
        }
        let cut = scratch.join(format!("layers-{layers}.json"));
        std::fs::write(&cut, config.to_string())
            .map_err(|error| failed(format!("it cannot be written: {error}"), &cut))?;
        let model = format!("{}{}", names::RANDOM, cut.display());
        cases.push(Case { table: "layers", model, layers: Some(layers), ..usual.clone() });
    }
    Ok(cases)
}

fn measure(case: &Case, steps: u64, context: &JobContext) -> Result<Cost, Problem> {
    let number = |name: &str, value: usize| [format!("--{name}"), value.to_string()];
    let mut arguments = ["bench", "train", "--recompute", "--model", &case.model].map(str::to_owned).to_vec();
    arguments.extend(number("rank", 16));
    arguments.extend(number("batch", case.batch));
    arguments.extend(number("seq", case.seq));
    arguments.extend(number("threads", case.threads));
    arguments.extend(["--steps".to_owned(), steps.to_string()]);
    let mut cost = None;
    child::run(&arguments, context, &mut |_, event| {
        if let Event::Bench(bench) = event {
            cost = Some(Cost {
                tokens_per_sec: bench.tokens_per_sec,
                peak_rss_mib: bench.peak_rss_mib,
                gflop_per_token: bench.useful_gflop_per_step / bench.tokens_per_step.max(1) as f64,
            });
        }
        false
    })?;
    cost.ok_or_else(|| Problem::internal("a case of the bench ended without figures"))
}

fn of_table<'a>(measured: &'a [(Case, Cost)], table: &str) -> Vec<&'a (Case, Cost)> {
    measured.iter().filter(|(case, _)| case.table == table).collect()
}

/// What memory should grow with.
fn size(case: &Case) -> f64 {
    case.layers.map_or((case.batch * case.seq) as f64, |layers| layers as f64)
}

/// Rows of one table; the first case is what the others are expected from.
fn rows_of(measured: &[&(Case, Cost)]) -> Vec<Vec<Figure>> {
    let Some((first, first_cost)) = measured.first() else { return Vec::new() };
    let slope = measured.get(1).and_then(|(second, cost)| {
        let grown = size(second) - size(first);
        (grown != 0.0).then(|| (cost.peak_rss_mib - first_cost.peak_rss_mib) / grown)
    });
    let row = |(number, (case, cost)): (usize, &&(Case, Cost))| -> Vec<Figure> {
        let ms = 1000.0 / cost.tokens_per_sec;
        let by_operations = cost.gflop_per_token / first_cost.gflop_per_token;
        let by_threads = first.threads as f64 / case.threads as f64;
        let expected_ms = 1000.0 / first_cost.tokens_per_sec * by_operations * by_threads;
        let expected_mib = match (case.table, slope) {
            // Another model is another amount of everything.
            ("models", _) => f64::NAN,
            (_, Some(slope)) if number > 1 => first_cost.peak_rss_mib + slope * (size(case) - size(first)),
            ("threads", None) if number > 0 => first_cost.peak_rss_mib,
            _ => f64::NAN,
        };
        vec![
            case.table.into(),
            case.name.as_str().into(),
            case.layers.map_or(Figure::Missing, |layers| (layers as f64).into()),
            (case.threads as f64).into(),
            (case.batch as f64).into(),
            (case.seq as f64).into(),
            cost.tokens_per_sec.into(),
            ms.into(),
            if number == 0 { Figure::Missing } else { expected_ms.into() },
            cost.peak_rss_mib.into(),
            expected_mib.into(),
        ]
    };
    measured.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(table: &'static str, threads: usize, seq: usize, layers: Option<u64>) -> Case {
        let name = "model".to_owned();
        Case { table, model: "model.gguf".to_owned(), name, layers, threads, batch: 1, seq }
    }

    fn number(figure: &Figure) -> Option<f64> {
        if let Figure::Number(value) = figure { Some(*value) } else { None }
    }

    #[test]
    fn time_follows_operations_and_memory_the_line_through_the_two_smallest() {
        let cost = |tokens_per_sec: f64, peak_rss_mib: f64, gflop_per_token: f64| Cost {
            tokens_per_sec,
            peak_rss_mib,
            gflop_per_token,
        };
        let measured = [
            (case("length", 2, 256, None), cost(100.0, 300.0, 0.5)),
            (case("length", 2, 512, None), cost(90.0, 350.0, 0.55)),
            (case("length", 2, 1024, None), cost(70.0, 470.0, 0.65)),
        ];
        let rows = rows_of(&of_table(&measured, "length"));
        assert_eq!(rows.len(), 3);
        assert!(rows.iter().all(|row| row.len() == COLUMNS.len()));
        // 10 ms a token, 1.3 times the operations.
        assert!((number(&rows[2][8]).expect("time") - 13.0).abs() < 1e-9);
        // 50 MiB for 256 tokens more.
        assert!((number(&rows[2][10]).expect("memory") - 450.0).abs() < 1e-9);
        assert_eq!((number(&rows[0][8]), number(&rows[1][10])), (None, None), "these are what is measured from");
        assert!(rows_of(&of_table(&measured, "batch")).is_empty());
    }

    #[test]
    fn threads_share_the_time_and_layers_are_what_memory_grows_with() {
        let cost = |tokens_per_sec: f64, peak_rss_mib: f64| Cost { tokens_per_sec, peak_rss_mib, gflop_per_token: 0.5 };
        let threads =
            [(case("threads", 1, 256, None), cost(50.0, 300.0)), (case("threads", 2, 256, None), cost(90.0, 310.0))];
        let rows = rows_of(&of_table(&threads, "threads"));
        assert!((number(&rows[1][8]).expect("time") - 10.0).abs() < 1e-9);
        assert_eq!(number(&rows[1][10]), Some(300.0));
        let layers = [
            (case("layers", 2, 256, Some(7)), cost(100.0, 200.0)),
            (case("layers", 2, 256, Some(15)), cost(50.0, 280.0)),
            (case("layers", 2, 256, Some(30)), cost(25.0, 440.0)),
        ];
        let rows = rows_of(&of_table(&layers, "layers"));
        assert!((number(&rows[2][10]).expect("memory") - 430.0).abs() < 1e-9);
    }

    #[test]
    fn threads_double_up_to_the_most() {
        assert_eq!(doublings(1), [1]);
        assert_eq!(doublings(2), [1, 2]);
        assert_eq!(doublings(6), [1, 2, 4, 6]);
    }
}
