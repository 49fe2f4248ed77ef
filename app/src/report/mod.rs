//! A run as one HTML file, to read without this program, to print, and to pass on.
//!
//! Place in the data flow: the project's store is read by the reader that serves the window, so that a report shows what
//! the room Watch shows; [`text`] makes a page of it. The window asks its thread for files, the command line calls
//! [`write()`] itself; both speak the language of their thread. A report holds neither the time nor the place of its making:
//! equal runs have equal reports.

pub mod card;
mod html;
mod plot;
mod sections;
mod words;

use crate::reader::ViewRequest;
use crate::reader::view::RunCache;
use crate::texts;
use html::Page;
use sections::Source;
use std::collections::BTreeMap;
use std::path::Path;
use temper_protocol::{Code, Problem};
use temper_store::{Reader, RunRow, StoreError};

/// Name of the file in the folder of a run.
pub const FILE_NAME: &str = "report.html";

/// Points that a curve is wide.
const PLOT_PX: u32 = 900;

/// The report of `row`, a run of the project that `reader` reads, in the language of this thread.
///
/// # Errors
/// Whatever the store says.
pub fn text(reader: &Reader, row: &RunRow) -> Result<String, StoreError> {
    let request = ViewRequest {
        project: Some(reader.project_dir().to_path_buf()),
        run: Some(row.run),
        plot_px: PLOT_PX,
        language: texts::spoken(),
        ..ViewRequest::default()
    };
    let mut view = RunCache::default().build(reader, row, std::slice::from_ref(row), &request)?;
    if view.row.forgetting == 0.0 && matches!(view.kept_step, None | Some(0)) {
        // Nothing but the base was measured: what the run forgot is not known.
        view.row.forgetting = f64::NAN;
    }
    let first = match view.rank.steps.first() {
        Some(step) => reader.rank_at(row.run, *step)?,
        None => Vec::new(),
    };
    let first_ranks: BTreeMap<String, u64> = first.into_iter().map(|rank| (rank.site, rank.rank)).collect();
    let source = Source { view: &view, first_ranks };
    let mut page = Page::new(texts::spoken().tag(), &source.title());
    source.fill(&mut page);
    Ok(page.finish())
}

/// Writes the report of run `run` of the project in `project` to `path`.
///
/// # Errors
/// A [`Problem`] when there is no such run, its store cannot be read, or the file cannot be written.
pub fn write(project: &Path, run: u64, path: &Path) -> Result<u64, Problem> {
    let reader = Reader::open(project)?;
    let row = reader.run(run)?.ok_or_else(|| {
        Problem::new(
            Code::NotFound,
            t!("report-no-run", run = run),
            project.display().to_string(),
            t!("report-no-run-do"),
        )
    })?;
    let page = text(&reader, &row)?;
    temper_protocol::whole_file::write(path, &page)
        .map_err(|error| crate::files::io_problem(t!("problem-file"), path, &error))?;
    Ok(page.len() as u64)
}

/// A moment as people write it: `2026-11-24 15:46 UTC`; nothing for one before 1970, which no run is from.
fn moment(millis: i64) -> Option<String> {
    let minutes = u64::try_from(millis).ok().filter(|millis| *millis > 0)? / 60_000;
    let (hour, minute) = (minutes / 60 % 24, minutes % 60);
    let (mut days, mut year) = (minutes / 1440, 1970_u64);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1_u64;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let day = days + 1;
    Some(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_by_the_calendar() {
        for (millis, words) in [
            (1_795_535_160_000, "2026-11-24 15:46 UTC"),
            (951_782_400_000, "2000-02-29 00:00 UTC"),
            (1_709_251_199_000, "2024-02-29 23:59 UTC"),
            (1_704_067_199_000, "2023-12-31 23:59 UTC"),
        ] {
            assert_eq!(moment(millis).as_deref(), Some(words));
        }
        assert_eq!(moment(0), None);
        assert_eq!(moment(-5), None);
    }
}
