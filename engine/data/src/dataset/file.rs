//! One data file to token rows, from the cache or by reading it.

use super::{LoadRequest, MOST_QUARANTINED};
use crate::codec::TextCodec;
use crate::read::{Container, DataFile, Item, Row, RowSource, open};
use crate::schema::{Converted, Plan, Sample, column_names, is_threaded, threads};
use crate::tokens::tokenise;
use crate::{DataError, cache, hash, random};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;
use temper_protocol::event::PreviewRow;

/// Rows handled together: enough to keep all threads busy, few enough to stay in memory.
pub(crate) const BATCH_ROWS: usize = 1024;
/// Rows kept as people read them.
const PREVIEW_ROWS: usize = 64;

/// A token row with the hash that decides on its side of the split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EncodedRow {
    pub(crate) line: u64,
    pub(crate) key: u64,
    pub(crate) ids: Vec<u32>,
    pub(crate) trained: Vec<bool>,
    pub(crate) cut: bool,
}

/// A tokenised file; what is serialised here is the head of a cache entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EncodedFile {
    pub(crate) container: Container,
    /// `None` when no row could be read.
    pub(crate) plan: Option<Plan>,
    pub(crate) columns: Vec<String>,
    pub(crate) quarantine: Vec<(u64, String)>,
    pub(crate) bad_rows: u64,
    pub(crate) left_out: u64,
    pub(crate) repairs: u64,
    pub(crate) previews: Vec<PreviewRow>,
    #[serde(skip)]
    pub(crate) rows: Vec<EncodedRow>,
    #[serde(skip)]
    pub(crate) from_cache: bool,
}

impl EncodedFile {
    fn set_aside(&mut self, line: u64, reason: String) {
        self.bad_rows += 1;
        if self.quarantine.len() < MOST_QUARANTINED {
            self.quarantine.push((line, reason));
        }
    }
}

/// Loads one file; `tell` hears the bytes done.
pub(super) fn load(
    file: &DataFile,
    request: &LoadRequest,
    codec: &TextCodec,
    tell: &mut dyn FnMut(u64),
    cancel: &dyn Fn() -> bool,
) -> Result<EncodedFile, DataError> {
    // Refuse what is no data file before hashing it.
    let (container, source) = open(&file.path)?;
    let entry = match &request.cache_dir {
        Some(dir) => Some(dir.join(cache::entry_name(&cache_key(file, request, codec, cancel)?))),
        None => None,
    };
    if let Some(cached) = entry.as_deref().and_then(cache::load) {
        return Ok(EncodedFile { from_cache: true, ..cached });
    }
    let encoded = Reader { file, request, codec, container }.read(source, tell, cancel)?;
    if let Some(path) = entry
        && let Err(error) = cache::store(&path, &encoded)
    {
        tracing::warn!(path = %path.display(), %error, "the tokenised data could not be cached");
    }
    Ok(encoded)
}

/// Hash of everything that decides on the token rows of a file.
fn cache_key(
    file: &DataFile,
    request: &LoadRequest,
    codec: &TextCodec,
    cancel: &dyn Fn() -> bool,
) -> Result<[u8; 32], DataError> {
    let content = hash::of_file(&file.path, cancel)?;
    let extension = file.path.extension().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let settings = serde_json::to_string(&(
        &request.schema,
        &request.columns,
        &file.columns,
        request.max_tokens,
        request.loss_on,
        extension,
    ))
    .map_err(|error| DataError::Internal(error.to_string()))?;
    Ok(hash::of_parts([content.as_slice(), codec.fingerprint().as_bytes(), settings.as_bytes()]))
}

struct Reader<'a> {
    file: &'a DataFile,
    request: &'a LoadRequest,
    codec: &'a TextCodec,
    container: Container,
}

/// Whether rows are worked on by one thread or by all: by whichever was faster on the rows before. A tokenizer asks
/// for memory several times a token, and where all threads share one heap, several of them can be slower than one.
/// The rows that come out are the same either way.
#[derive(Debug, Default)]
struct Pace {
    /// Bytes a second of one thread.
    one: Option<f64>,
    /// Bytes a second of all threads.
    all: Option<f64>,
}

impl Pace {
    fn wants_all(&self) -> bool {
        match (self.one, self.all) {
            (None, _) => false,
            (Some(_), None) => rayon::current_num_threads() > 1,
            (Some(one), Some(all)) => all > one,
        }
    }

    fn note(&mut self, all: bool, bytes_per_sec: f64) {
        *(if all { &mut self.all } else { &mut self.one }) = Some(bytes_per_sec);
    }
}

/// Where a row stands in its file.
#[derive(Debug, Clone, Copy)]
struct At {
    /// Its line, counted from 1.
    line: u64,
    /// Its number as the token lens counts, from 0 over good and bad rows; none for a thread, which is many rows.
    number: Option<u64>,
}

/// What became of one row.
enum Outcome {
    Rows { key: u64, sample: Box<(String, String)>, rows: Vec<crate::tokens::Tokens>, repairs: u32 },
    LeftOut,
    Bad(String),
}

impl Reader<'_> {
    fn read(
        &self,
        mut source: Box<dyn RowSource>,
        tell: &mut dyn FnMut(u64),
        cancel: &dyn Fn() -> bool,
    ) -> Result<EncodedFile, DataError> {
        let mut out = EncodedFile {
            container: self.container,
            plan: None,
            columns: Vec::new(),
            quarantine: Vec::new(),
            bad_rows: 0,
            left_out: 0,
            repairs: 0,
            previews: Vec::new(),
            rows: Vec::new(),
            from_cache: false,
        };
        let mut whole: Vec<(u64, Row)> = Vec::new();
        let mut pace = Pace::default();
        let mut number = 0;
        loop {
            if cancel() {
                return Err(DataError::Cancelled);
            }
            let read = source.bytes_read();
            let (rows, more) = self.next_rows(source.as_mut(), &mut number, &mut out)?;
            if out.plan.is_none() && !rows.is_empty() {
                let first: Vec<Row> = rows.iter().map(|(_, row)| row.clone()).collect();
                out.columns = column_names(&first);
                let said = (self.request.schema.as_str(), &self.request.columns);
                out.plan = Some(plan_of(self.file, self.container, said, &first)?);
            }
            if let Some(plan) = out.plan.clone() {
                if is_threaded(&plan) {
                    whole.extend(rows.into_iter().map(|(at, row)| (at.line, row)));
                } else {
                    let (all, begun) = (pace.wants_all(), Instant::now());
                    let work = |(at, row)| (at, self.work(row, &plan));
                    let outcomes: Vec<_> = if all {
                        rows.into_par_iter().map(work).collect()
                    } else {
                        rows.into_iter().map(work).collect()
                    };
                    let bytes = source.bytes_read() - read;
                    pace.note(all, bytes as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE));
                    self.collect(outcomes, &mut out);
                }
            }
            tell(source.bytes_read());
            if !more {
                break;
            }
        }
        if let Some(plan) = out.plan.clone().filter(|_| !whole.is_empty()) {
            let samples = threads(whole, &plan);
            let outcomes = samples
                .into_par_iter()
                .map(|(line, sample)| (line, sample.map_or_else(Outcome::Bad, |sample| self.encode(&sample))))
                .map(|(line, outcome)| (At { line, number: None }, outcome));
            self.collect(outcomes.collect(), &mut out);
        }
        Ok(out)
    }

    /// The next rows, from the `number`th on; unreadable ones are set aside. Also says whether more may follow.
    fn next_rows(
        &self,
        source: &mut dyn RowSource,
        number: &mut u64,
        out: &mut EncodedFile,
    ) -> Result<(Vec<(At, Row)>, bool), DataError> {
        let mut rows = Vec::new();
        while rows.len() < BATCH_ROWS {
            match source.next_item()? {
                Some(Item::Row { line, row }) => {
                    // Rows of JSON Lines are found by their lines, also over blank ones.
                    let by_line = self.container == Container::JsonLines;
                    let number = if by_line { line.saturating_sub(1) } else { *number };
                    rows.push((At { line, number: Some(number) }, row));
                }
                Some(Item::Bad { line, reason }) => out.set_aside(line, reason),
                None => return Ok((rows, false)),
            }
            *number += 1;
        }
        Ok((rows, true))
    }

    fn work(&self, row: Row, plan: &Plan) -> Outcome {
        match plan.convert(row) {
            Ok(Converted::Sample(sample)) => self.encode(&sample),
            Ok(Converted::LeftOut) => Outcome::LeftOut,
            Err(reason) => Outcome::Bad(reason),
        }
    }

    fn encode(&self, sample: &Sample) -> Outcome {
        let content = match serde_json::to_vec(&sample.body) {
            Ok(content) => content,
            Err(error) => return Outcome::Bad(error.to_string()),
        };
        let key = hash::number(&hash::of_parts([content.as_slice()]));
        match tokenise(sample, self.codec, self.request.loss_on, self.request.max_tokens) {
            Ok(rows) => Outcome::Rows { key, sample: Box::new(sample.summary()), rows, repairs: sample.repairs },
            Err(reason) => Outcome::Bad(reason),
        }
    }

    fn collect(&self, outcomes: Vec<(At, Outcome)>, out: &mut EncodedFile) {
        for (At { line, number }, outcome) in outcomes {
            match outcome {
                Outcome::Bad(reason) => out.set_aside(line, reason),
                Outcome::LeftOut => out.left_out += 1,
                Outcome::Rows { key, sample, rows, repairs } => {
                    out.repairs += u64::from(repairs);
                    if out.previews.len() < PREVIEW_ROWS {
                        let tokens = rows.iter().map(|row| row.ids.len() as u64).sum();
                        let flags = rows.iter().flat_map(|row| &row.trained);
                        let trained = flags.filter(|flag| **flag).count() as u64;
                        let (input, output) = *sample;
                        out.previews.push(PreviewRow { line, input, output, tokens, trained, row: number });
                    }
                    for row in rows {
                        out.rows.push(EncodedRow {
                            line,
                            key: self.key_of(key, &row.ids),
                            ids: row.ids,
                            trained: row.trained,
                            cut: row.cut,
                        });
                    }
                }
            }
        }
    }

    /// A document in a table is split as one; a text file is one document, so its pieces are split.
    fn key_of(&self, key: u64, ids: &[u32]) -> u64 {
        if self.container != Container::Text {
            return key;
        }
        let mixed = ids.iter().fold(key, |state, id| random::mix(state ^ u64::from(*id)).wrapping_add(1));
        random::combine(&[key, mixed])
    }
}

/// How the rows of `file` are read, decided by its `first` rows.
pub(crate) fn plan_of(
    file: &DataFile,
    container: Container,
    (schema, columns): (&str, &BTreeMap<String, String>),
    first: &[Row],
) -> Result<Plan, DataError> {
    let place = file.path.display().to_string();
    if container == Container::Text {
        return Ok(Plan { schema: crate::Schema::Text, columns: BTreeMap::new(), confidence: 1.0 });
    }
    // The project's mapping wins over the folder's description.
    let described = columns.is_empty() && !file.columns.is_empty();
    if !described {
        return Plan::decide(first, schema, columns, &place);
    }
    let present = Plan::present(&file.columns, first);
    match Plan::decide(first, schema, &present, &place) {
        Err(DataError::Setting { .. }) => Plan::decide(first, schema, &BTreeMap::new(), &place),
        decided => decided,
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn the_faster_way_is_taken_once_both_were_tried() {
        let pool = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let mut pace = Pace::default();
        assert!(!pace.wants_all());
        pace.note(false, 100.0);
        assert!(pool(2).install(|| pace.wants_all()), "the other way is tried");
        assert!(!pool(1).install(|| pace.wants_all()), "there is no other way");
        pace.note(true, 150.0);
        assert!(pace.wants_all());
        pace.note(true, 80.0);
        assert!(!pace.wants_all(), "what was measured last counts");
    }
}
