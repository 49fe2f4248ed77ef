//! A run as JSON lines: its points, then its events.
//!
//! Place in the data flow: reads through [`Reader`]; a point is
//! `{"run":1,"series":"train_loss","unit":"nats","step":7,"value":2.1}`, an event
//! `{"run":1,"id":3,"at_millis":1764000000000,"step":50,"event":{"event":"eval",...}}`. JSON knows no
//! not-a-number: such a value is null.

use crate::csv_export::cannot_write;
use crate::error::StoreError;
use crate::reader::Reader;
use serde_json::json;
use std::io::Write;

/// Events read at a time.
const PAGE: usize = 1000;

/// Writes the run; returns the number of lines.
///
/// # Errors
/// Those of the database and of `out`.
pub fn export_jsonl(reader: &Reader, run: u64, mut out: impl Write) -> Result<u64, StoreError> {
    let mut lines = 0;
    for series in reader.series_names(run)? {
        let mut cursor = reader.cursor(run, &series.name)?;
        while let Some(point) = cursor.peek() {
            let line = json!({
                "run": run, "series": series.name, "unit": series.unit, "step": point.step, "value": point.value,
            });
            writeln!(out, "{line}").map_err(cannot_write)?;
            lines += 1;
            cursor.advance()?;
        }
    }
    let mut after = 0;
    loop {
        let events = reader.events_after(run, after, PAGE)?;
        let Some(last) = events.last() else {
            break;
        };
        after = last.id;
        for stored in &events {
            let line = json!({
                "run": run, "id": stored.id, "at_millis": stored.at_millis, "step": stored.step,
                "event": stored.event,
            });
            writeln!(out, "{line}").map_err(cannot_write)?;
            lines += 1;
        }
    }
    out.flush().map_err(cannot_write)?;
    Ok(lines)
}
