//! Series of a run as CSV, for spreadsheets and plotting tools.
//!
//! Place in the data flow: reads through [`Reader`], one block per series in memory. A value that is not
//! a number is written as `NaN`, infinities as `inf` and `-inf`.

use crate::error::StoreError;
use crate::pyramid::PointCursor;
use crate::reader::Reader;
use std::io::Write;
use std::path::Path;

/// A failure of the receiving end.
pub(crate) fn cannot_write(error: impl Into<std::io::Error>) -> StoreError {
    StoreError::io(Path::new("the export"), error.into())
}

/// Writes a row per point: `run,series,unit,step,value`. Returns the number of points.
///
/// # Errors
/// Those of the database and of `out`.
pub fn export_csv_long(reader: &Reader, run: u64, out: impl Write) -> Result<u64, StoreError> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(["run", "series", "unit", "step", "value"]).map_err(cannot_write)?;
    let mut written = 0;
    for series in reader.series_names(run)? {
        let mut cursor = reader.cursor(run, &series.name)?;
        while let Some(point) = cursor.peek() {
            writer
                .write_record([
                    run.to_string().as_str(),
                    &series.name,
                    &series.unit,
                    point.step.to_string().as_str(),
                    point.value.to_string().as_str(),
                ])
                .map_err(cannot_write)?;
            written += 1;
            cursor.advance()?;
        }
    }
    writer.flush().map_err(cannot_write)?;
    Ok(written)
}

/// Writes a row per step and a column per series; empty where a series has no point at a step. Returns
/// the number of rows.
///
/// # Errors
/// Those of the database and of `out`.
pub fn export_csv_wide(reader: &Reader, run: u64, out: impl Write) -> Result<u64, StoreError> {
    let mut writer = csv::Writer::from_writer(out);
    let series = reader.series_names(run)?;
    writer
        .write_record(std::iter::once("step").chain(series.iter().map(|series| series.name.as_str())))
        .map_err(cannot_write)?;
    let mut cursors: Vec<PointCursor<'_>> =
        series.iter().map(|series| reader.cursor(run, &series.name)).collect::<Result<_, _>>()?;
    let mut rows = 0;
    while let Some(step) = cursors.iter().filter_map(|cursor| cursor.peek().map(|point| point.step)).min() {
        let mut record = Vec::with_capacity(cursors.len() + 1);
        record.push(step.to_string());
        for cursor in &mut cursors {
            match cursor.peek() {
                Some(point) if point.step == step => {
                    record.push(point.value.to_string());
                    cursor.advance()?;
                }
                _ => record.push(String::new()),
            }
        }
        writer.write_record(&record).map_err(cannot_write)?;
        rows += 1;
    }
    writer.flush().map_err(cannot_write)?;
    Ok(rows)
}
