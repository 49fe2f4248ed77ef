//! `peek`, `index rows`, `rows`, `row texts` and `clean rows`: a first look at a project's data, its rows one by one as the
//! model sees them, their texts to be edited, and a copy without some of them.
//!
//! Place in the data flow: the first request opens the data with the model's tokenizer and keeps it; later ones find it
//! again as long as project, model and files are the same.

use super::preview::reading;
use super::request::{build, read_project};
use crate::builtin::Builtins;
use crate::job::JobContext;
use parking_lot::Mutex;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use temper_data::lens::{Cleaned, Cleaning, Extent};
use temper_data::{DataError, Lens, ValidationSource};
use temper_protocol::data::RowField;
use temper_protocol::event::{DataRows, LensRow};
use temper_protocol::{Code, Event, Problem};
use temper_train::TrainRequest;

/// Rows that are shown at once at most, and tokens of all of them.
const MOST_ROWS: usize = 512;
const MOST_TOKENS: usize = 200_000;
/// Blocks of the index between two reports.
const REPORT_EVERY: usize = 8;

/// The data that was looked at last.
#[derive(Default)]
pub(super) struct Lenses(Mutex<Option<(String, Arc<Opened>)>>);

/// Data that is being looked at.
struct Opened {
    lens: Lens,
    /// Sizes and times of the files when they were opened.
    stamp: String,
    /// Share of the rows kept for validation.
    validation: f64,
}

impl Opened {
    /// Carries the index on until row `row` is known, or the data ends.
    fn find(&self, row: u64, context: &JobContext) -> Result<(), Problem> {
        while self.lens.extent().rows <= row && self.lens.look_on()? {
            context.check_cancelled()?;
        }
        context.check_cancelled()
    }
}

/// A row with other texts at some places, at most `most_tokens` tokens of it, and how many tokens the model sees at once.
pub(super) fn one(
    builtins: &Builtins,
    lenses: &Lenses,
    project: &Path,
    (row, fields): (u64, &[RowField]),
    most_tokens: usize,
    context: &JobContext,
) -> Result<(LensRow, usize), Problem> {
    let opened = lenses.open(builtins, project)?;
    opened.find(row, context)?;
    let found = if fields.is_empty() {
        opened.lens.rows(row, 1, most_tokens)?.pop()
    } else {
        Some(opened.lens.row_texts(row, fields, most_tokens)?.seen)
    };
    let missing = || {
        let what = format!("there is no row {}", row + 1);
        Problem::new(Code::DataInvalid, what, "data.train", "look at the rows again and choose another")
    };
    Ok((found.ok_or_else(missing)?, opened.lens.max_tokens()))
}

/// What a person wants to see.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) first: u64,
    pub(super) count: usize,
    pub(super) most_tokens: usize,
}

impl Lenses {
    fn open(&self, builtins: &Builtins, project: &Path) -> Result<Arc<Opened>, Problem> {
        let (project, project_dir) = read_project(project, &[])?;
        let key = format!("{:?} {:?} {}", project.model, project.data, project_dir.display());
        // Held while it is opened: two that ask for the same at once wait for one tokenizer.
        let mut kept = self.0.lock();
        // A project whose key is known had its paths resolved before; whether the files changed is asked of the files.
        if let Some((known, opened)) = &*kept
            && *known == key
            && opened.stamp == stamp_of(&opened.lens)
        {
            return Ok(Arc::clone(opened));
        }
        *kept = None;
        let request = build(builtins, project, &project_dir)?;
        let opened = Arc::new(open(&request)?);
        *kept = Some((key, Arc::clone(&opened)));
        Ok(opened)
    }
}

fn open(request: &TrainRequest) -> Result<Opened, Problem> {
    let (_, codec, load) = reading(request)?;
    let validation = match load.validation {
        ValidationSource::Share(share) => share,
        ValidationSource::Path(_) => 0.0,
    };
    let lens = Lens::open(load, codec)?;
    let stamp = stamp_of(&lens);
    Ok(Opened { lens, stamp, validation })
}

/// Sizes and times of the files, by which a change shows, as a short word.
fn stamp_of(lens: &Lens) -> String {
    let mut all = DefaultHasher::new();
    for path in lens.paths() {
        match std::fs::metadata(path) {
            Ok(meta) => format!("{} {:?}", meta.len(), meta.modified().ok()).hash(&mut all),
            Err(error) => error.to_string().hash(&mut all),
        }
    }
    format!("{:016x}", all.finish())
}

/// The first look, with the columns in front of it: what they are must be seen above all when their meaning is not clear.
pub(super) fn peek(
    builtins: &Builtins,
    lenses: &Lenses,
    project: &Path,
    rows: usize,
    context: &JobContext,
) -> Result<(), Problem> {
    let (said, project_dir) = read_project(project, &[])?;
    let (schema, mapping) = (said.data.schema.clone(), said.data.columns.clone());
    let request = build(builtins, said, &project_dir)?;
    // A file that cannot be read is told by what follows.
    if let Some((path, _)) = request.data_sources.first()
        && let Ok(found) = temper_data::lens::columns(path, &schema, &mapping)
    {
        context.emit(Event::Columns(found));
    }
    let opened = lenses.open(builtins, project)?;
    context.check_cancelled()?;
    context.emit(opened.lens.peek(rows, opened.validation)?);
    Ok(())
}

/// Finds where all rows begin.
pub(super) fn index(builtins: &Builtins, lenses: &Lenses, project: &Path, context: &JobContext) -> Result<(), Problem> {
    let opened = lenses.open(builtins, project)?;
    let report = || {
        let extent = opened.lens.extent();
        context.progress("finding rows", extent.done, extent.total, "bytes");
        context.emit(rows_event(&opened, 0, Vec::new()));
    };
    let mut blocks = 0;
    while opened.lens.look_on()? {
        context.check_cancelled()?;
        if blocks % REPORT_EVERY == 0 {
            report();
        }
        blocks += 1;
    }
    report();
    Ok(())
}

/// Shows rows. When the index does not reach them yet, it is carried on to them.
pub(super) fn rows(
    builtins: &Builtins,
    lenses: &Lenses,
    project: &Path,
    wanted: Wanted,
    context: &JobContext,
) -> Result<(), Problem> {
    let opened = lenses.open(builtins, project)?;
    let count = wanted.count.clamp(1, MOST_ROWS);
    let last = wanted.first.saturating_add(count as u64);
    while opened.lens.extent().rows < last && opened.lens.look_on()? {
        context.check_cancelled()?;
    }
    context.check_cancelled()?;
    let most_tokens = wanted.most_tokens.min(MOST_TOKENS / count);
    let found = opened.lens.rows(wanted.first, count, most_tokens)?;
    context.emit(rows_event(&opened, wanted.first, found));
    Ok(())
}

/// The texts of a row, and the row as it would be with others. The index is carried on to it where it must be.
pub(super) fn texts(
    builtins: &Builtins,
    lenses: &Lenses,
    project: &Path,
    (row, fields): (u64, &[RowField]),
    most_tokens: usize,
    context: &JobContext,
) -> Result<(), Problem> {
    let opened = lenses.open(builtins, project)?;
    opened.find(row, context)?;
    context.emit(Event::RowTexts(opened.lens.row_texts(row, fields, most_tokens.min(MOST_TOKENS))?));
    Ok(())
}

/// Writes a cleaned copy into the project's folder.
pub(super) fn clean(
    builtins: &Builtins,
    lenses: &Lenses,
    project: &Path,
    (cleaning, stamp): (&Cleaning, &str),
    context: &JobContext,
) -> Result<(), Problem> {
    let opened = lenses.open(builtins, project)?;
    if !stamp.is_empty() && stamp != opened.stamp {
        let place = opened.lens.paths().next().map(|path| path.display().to_string()).unwrap_or_default();
        let what = "the data changed since its rows were chosen: their numbers may be those of other rows";
        let action = "take the choices back, look at the rows again and choose anew";
        return Err(Problem::new(Code::DataInvalid, what, place, action));
    }
    let (_, folder) = read_project(project, &[])?;
    let total = opened.lens.extent().total;
    let mut tell = |read: u64| context.progress("copying rows", read, total, "bytes");
    let cleaned = match opened.lens.clean(cleaning, &folder, &mut tell, &|| context.is_cancelled()) {
        Err(DataError::Cancelled) => return Err(crate::job::cancelled()),
        other => other?,
    };
    let Cleaned { path, rows, edited, left_out, duplicates, bytes, sha256 } = cleaned;
    context.emit(Event::Written { format: "jsonl".to_owned(), path, bytes, sha256 });
    let text = format!(
        "{rows} rows were copied, {edited} of them edited; {left_out} were left out by number, {duplicates} because they \
         occur before"
    );
    context.emit(Event::Warning { code: "cleaned".to_owned(), text, step: 0 });
    Ok(())
}

fn rows_event(opened: &Opened, first: u64, rows: Vec<LensRow>) -> Event {
    let Extent { rows: known, complete, shortened, .. } = opened.lens.extent();
    Event::Rows(DataRows { first, known, complete, shortened, stamp: opened.stamp.clone(), rows })
}
