//! `compare`: a base and adapters of it on the same rows.
//!
//! Place in the data flow: each model is loaded as `generate` and `eval` load it, one after the other, and measured row by
//! row (`comparison` events); of a run its other kept checkpoints too, because what was learned and lost again shows in them
//! alone. The statistics are [`temper_train::verdict`]'s.

use super::evaluate::{Rows, held_out, read_rows, split_alike};
use super::load::{Kept, Loaded, adapter_path};
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names;
use std::path::{Path, PathBuf};
use temper_protocol::comparison::{ComparedRow, Comparison, RowKind, RowKinds, RowScores};
use temper_protocol::whole_file::first_free;
use temper_protocol::{Code, Event, ModelRef, Problem, Project, named};
use temper_train::TrainError;
use temper_train::checkpoint::Checkpoints;
use temper_train::eval::{AsBase, RowScore, counted_rows, row_scores, spread};
use temper_train::verdict::{kind, verdict};

/// Name of the model that nothing was done to.
const BASE: &str = "base";
/// Most adapters: what a person can still look at side by side.
const MOST: usize = 8;
/// Most checkpoints of a run beside the one that is compared.
const CHECKPOINTS: usize = 4;
/// Characters of a row's text.
const TEXT: usize = 160;

/// What a person asked for.
pub(super) struct Order {
    pub(super) project: Option<PathBuf>,
    pub(super) model: ModelRef,
    pub(super) data: String,
    pub(super) rows: usize,
}

/// A model that was measured.
struct Measured {
    name: String,
    scores: Vec<RowScore>,
}

/// Carries the order out.
pub(super) fn compare(builtins: &Builtins, kept: &Kept, order: &Order, context: &JobContext) -> Result<(), Problem> {
    check(order)?;
    let folder = names::project_dir_of(order.project.as_deref())?;
    let is_held_out = order.data == named::HELD_OUT;
    let data = if is_held_out { PathBuf::new() } else { names::data_path(builtins, &order.data, &folder)? };
    let mut rows: Option<Rows> = None;
    // That of the run whose rows these are.
    let mut split: Option<Project> = None;
    let mut measured: Vec<Measured> = Vec::new();
    let mut kinds = Vec::new();
    for adapter in &order.model.adapters {
        let loaded = load(builtins, kept, order, adapter, context)?;
        let rows = match &mut rows {
            Some(rows) => rows,
            None => {
                let found = if is_held_out {
                    split.clone_from(&loaded.project);
                    held_out(builtins, &loaded, &folder, context)?
                } else {
                    read_rows(&loaded, &data, context)?
                };
                let found = chosen(found, order)?;
                say_rows(&found, &loaded, context)?;
                rows.insert(found)
            }
        };
        fits(rows, &loaded)?;
        if is_held_out && !split_alike(split.as_ref(), loaded.project.as_ref()) {
            return Err(Problem::new(
                Code::Usage,
                format!("{} was trained on rows that another run kept from its training", loaded.adapter_name),
                named::HELD_OUT,
                "compare runs of the same data, validation and seed, or name a data file",
            ));
        }
        if measured.is_empty() {
            let scores = {
                let _as_base = AsBase::of(&loaded.model);
                measure(&loaded, rows, BASE, None, context)?
            };
            measured.push(Measured { name: BASE.to_owned(), scores });
        }
        let name = unique(&loaded.adapter_name, &measured);
        let scores = measure(&loaded, rows, &name, None, context)?;
        drop(loaded);
        let checkpoints = checkpoints(builtins, kept, (order, adapter, &folder), (rows, &name), context)?;
        if let (Some(checkpoints), Some(base)) = (checkpoints, measured.first()) {
            kinds.push((name.clone(), row_kinds(&base.scores, &scores, &checkpoints)));
        }
        measured.push(Measured { name, scores });
    }
    for (model, kinds) in kinds {
        context.emit(Event::Comparison(Comparison::Kinds(RowKinds { model, kinds })));
    }
    for (index, b) in measured.iter().enumerate() {
        for a in measured.iter().take(index) {
            context.check_cancelled()?;
            context.emit(Event::Comparison(Comparison::Verdict(verdict((&a.name, &a.scores), (&b.name, &b.scores)))));
        }
    }
    Ok(())
}

/// Whether the order can be carried out at all.
fn check(order: &Order) -> Result<(), Problem> {
    let adapters = &order.model.adapters;
    let wrong = |what: String, action: &str| Err(Problem::new(Code::Usage, what, "--adapter", action));
    if adapters.is_empty() || adapters.len() > MOST {
        let what = format!("{} adapters cannot be compared with their base", adapters.len());
        return wrong(what, "name one to eight, such as --adapter run:1 --adapter run:2");
    }
    match adapters.iter().enumerate().find(|(index, name)| adapters.iter().take(*index).any(|other| other == *name)) {
        Some((_, twice)) => wrong(format!("{twice} is named twice"), "name each adapter once"),
        None => Ok(()),
    }
}

fn load(
    builtins: &Builtins,
    kept: &Kept,
    order: &Order,
    adapter: &str,
    context: &JobContext,
) -> Result<std::sync::Arc<Loaded>, Problem> {
    let one = ModelRef { adapters: vec![adapter.to_owned()], ..order.model.clone() };
    kept.load(builtins, order.project.as_deref(), &one, context)
}

/// The rows with a trained token, as many as were asked for.
fn chosen(mut rows: Rows, order: &Order) -> Result<Rows, Problem> {
    let most = if order.rows == 0 { usize::MAX } else { order.rows };
    rows.dataset.train = counted_rows(&rows.dataset.train, most);
    if rows.dataset.train.is_empty() {
        let what = "no token of the data counts";
        return Err(Problem::new(Code::DataInvalid, what, &order.data, "give data with answers or text"));
    }
    Ok(rows)
}

/// Whether the model reads the tokens of the rows, which were made for the first one.
fn fits(rows: &Rows, loaded: &Loaded) -> Result<(), Problem> {
    let vocabulary = loaded.model.config.vocab_size();
    let unknown = rows.dataset.train.iter().flat_map(|row| &row.ids).any(|id| *id as usize >= vocabulary);
    if !unknown {
        return Ok(());
    }
    let what = format!("it knows {vocabulary} tokens, fewer than the first model");
    Err(Problem::new(Code::AdapterInvalid, what, &loaded.adapter_name, "compare adapters of one base"))
}

fn say_rows(rows: &Rows, loaded: &Loaded, context: &JobContext) -> Result<(), Problem> {
    let mut said = Vec::with_capacity(rows.dataset.train.len());
    for row in &rows.dataset.train {
        let text: String = loaded.codec.decode(&row.ids, true)?.chars().take(TEXT).collect();
        let file = rows.dataset.files.get(row.file as usize).cloned().unwrap_or_default();
        said.push(ComparedRow { file, line: row.line, text, tokens: row.trained_tokens() as u64 });
    }
    context.emit(Event::Comparison(Comparison::Rows { rows: said }));
    Ok(())
}

/// The name, told apart from those that are there.
fn unique(name: &str, measured: &[Measured]) -> String {
    let numbered = |number| if number == 1 { name.to_owned() } else { format!("{name} ({number})") };
    first_free(numbered, |name| measured.iter().all(|one| one.name != *name))
}

fn measure(
    loaded: &Loaded,
    rows: &Rows,
    name: &str,
    step: Option<u64>,
    context: &JobContext,
) -> Result<Vec<RowScore>, Problem> {
    let stage = step.map_or_else(|| format!("measuring {name}"), |step| format!("measuring {name} at step {step}"));
    let scores = row_scores(&loaded.model, &rows.dataset.train, rows.layout, false, &mut |done, total| {
        if context.is_cancelled() {
            return Err(TrainError::Cancelled);
        }
        context.progress(&stage, done, total, "rows");
        Ok(())
    })?;
    context.emit(Event::Comparison(Comparison::Scores(RowScores {
        model: name.to_owned(),
        step,
        losses: scores.iter().map(|row| row.loss).collect(),
        right: scores.iter().map(|row| row.right as u64).collect(),
    })));
    Ok(scores)
}

/// What the kept checkpoints of a run make of the rows, oldest first; none where the adapter is no run of the project or a
/// step of it is meant.
fn checkpoints(
    builtins: &Builtins,
    kept: &Kept,
    (order, adapter, folder): (&Order, &str, &Path),
    (rows, name): (&Rows, &str),
    context: &JobContext,
) -> Result<Option<Vec<Vec<RowScore>>>, Problem> {
    if !matches!(named::run(adapter), Some((_, None))) {
        return Ok(None);
    }
    let best = adapter_path(adapter, folder)?.folder;
    let run_dir = best.parent().and_then(Path::parent).unwrap_or(&best);
    let steps: Vec<u64> = Checkpoints::existing(run_dir).steps().into_iter().collect();
    let mut all = Vec::new();
    for step in spread(&steps, CHECKPOINTS) {
        let loaded = load(builtins, kept, order, &format!("{adapter}@{step}"), context)?;
        all.push(measure(&loaded, rows, name, Some(step), context)?);
    }
    Ok(Some(all))
}

/// How the run came to stand to each row: the model that is compared is its best checkpoint, which may be any of those.
fn row_kinds(base: &[RowScore], best: &[RowScore], checkpoints: &[Vec<RowScore>]) -> Vec<RowKind> {
    let per_token = |row: Option<&RowScore>| row.map_or(f64::NAN, |row| row.loss / row.tokens);
    let of_row = |index: usize| {
        let history: Vec<f64> = checkpoints.iter().map(|rows| per_token(rows.get(index))).collect();
        let history = if history.is_empty() { vec![per_token(best.get(index))] } else { history };
        kind(per_token(base.get(index)), &history)
    };
    (0..base.len()).map(of_row).collect()
}
