//! What the Setup room shows of a data set.

use crate::dataset::{Dataset, MOST_QUARANTINED};
use temper_protocol::Event;

const HISTOGRAM_BINS: usize = 24;

/// The `preview` event of a data set with its first `rows` rows. `rows` of the event counts token rows: a
/// long document counts once for each piece, a weighted row once for each copy.
#[must_use]
pub fn preview_event(data: &Dataset, rows: usize) -> Event {
    Event::Preview {
        rows: (data.train.len() + data.validation.len()) as u64,
        train_rows: data.train.len() as u64,
        validation_rows: data.validation.len() as u64,
        bad_rows: data.stats.bad_rows,
        cut_rows: data.stats.cut_rows,
        tokens: data.stats.tokens,
        trained_tokens: data.stats.trained_tokens,
        median_tokens: data.stats.median_tokens,
        longest_tokens: data.stats.longest_tokens,
        histogram: data.histogram(HISTOGRAM_BINS),
        examples: data.previews.iter().take(rows).cloned().collect(),
        quarantine: data.quarantine.iter().take(MOST_QUARANTINED).cloned().collect(),
        schema: data.schema.name().to_owned(),
        confidence: data.confidence,
        mapping: data.mapping.clone(),
        estimated: false,
    }
}
