//! A first look at data of any size: the head read in full, the rest reckoned from rows at a few places.
//!
//! The work is bounded by a number of rows, so that a file of a gigabyte takes as long as one of a megabyte. Each row read
//! at a place stands for as many as fit into that place's part of the file. What is reckoned is marked so (`estimated`);
//! the full count follows from reading all rows.

use super::{Lens, LensFile};
use crate::DataError;
use crate::read::{Container, Item, Row, RowSource, lines_from, open};
use crate::schema::{Converted, Plan, column_names, is_threaded};
use crate::tokens::{Tokens, tokenise};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use temper_protocol::Event;
use temper_protocol::event::{PreviewRow, QuarantineRow};

/// Rows read at the head of each file.
const HEAD_ROWS: usize = 256;
/// Rows read at each place behind it.
const PLACE_ROWS: usize = 24;
/// Such places in a file, evenly spread.
const PLACES: u64 = 12;
/// Files looked into; the others count by their size.
const MOST_FILES: usize = 8;
/// Bytes passed over at a place until a line begins there.
const MOST_SKIPPED: u64 = 8 << 20;
const HISTOGRAM_BINS: usize = 24;

/// A token row that was made.
#[derive(Debug, Clone, Copy)]
struct Made {
    tokens: u64,
    trained: u64,
    /// Rows of the data that it stands for.
    weight: f64,
}

/// Sums over the rows that were read.
#[derive(Debug, Default)]
struct Sums {
    /// Rows looked at, good or not.
    rows: u64,
    bad: f64,
    cut: f64,
    made: Vec<Made>,
    examples: Vec<PreviewRow>,
    aside: Vec<QuarantineRow>,
    columns: Vec<Row>,
}

impl Lens {
    /// The first look, with `rows` rows to show. `validation` is the share kept for validation.
    ///
    /// # Errors
    /// [`DataError`] when a file cannot be read, or no row that was looked at is good.
    pub fn peek(&self, rows: usize, validation: f64) -> Result<Event, DataError> {
        let mut sums = Sums::default();
        let mut whole = true;
        let mut seen = 0;
        for (index, (file, plan)) in self.files.iter().zip(&self.plans).take(MOST_FILES).enumerate() {
            let place = Place { file, plan, most: rows, weight: 1.0, numbered: true, first: index == 0 };
            whole &= self.look_into(place, &mut sums)?;
            seen += file.bytes;
        }
        whole &= self.files.len() <= MOST_FILES;
        if sums.made.is_empty() {
            return Err(no_good_row(&sums, self.files.first()));
        }
        let bytes: u64 = self.files.iter().map(|file| file.bytes).sum();
        // Files that were not looked into are taken to be like the others.
        let scale = bytes as f64 / seen.max(1) as f64;
        let scaled = |sum: f64| (sum * scale).round() as u64;
        let sum = |of: fn(&Made) -> f64| scaled(sums.made.iter().map(|made| of(made) * made.weight).sum());
        let all = sum(|_| 1.0);
        let held = (all as f64 * validation).round() as u64;
        let longest = sums.made.iter().map(|made| made.tokens).max().unwrap_or(0);
        let mut histogram = vec![0.0; HISTOGRAM_BINS];
        for made in &sums.made {
            let bin = (made.tokens * HISTOGRAM_BINS as u64 / longest.max(1)).min(HISTOGRAM_BINS as u64 - 1);
            if let Some(count) = histogram.get_mut(bin as usize) {
                *count += made.weight;
            }
        }
        let plan = self.plans.first();
        Ok(Event::Preview {
            rows: all,
            train_rows: all - held,
            validation_rows: held,
            bad_rows: scaled(sums.bad),
            cut_rows: scaled(sums.cut),
            tokens: sum(|made| made.tokens as f64),
            trained_tokens: sum(|made| made.trained as f64),
            median_tokens: median(&sums.made),
            longest_tokens: longest,
            histogram: histogram.into_iter().map(scaled).collect(),
            examples: sums.examples,
            quarantine: sums.aside,
            schema: plan.map_or("", |plan| plan.schema.name()).to_owned(),
            confidence: plan.map_or(0.0, |plan| plan.confidence),
            mapping: plan.map(|plan| plan.mapping(&column_names(&sums.columns))).unwrap_or_default(),
            estimated: !whole,
        })
    }

    /// Head and places of one file; gives whether that was all of it.
    fn look_into(&self, head: Place<'_>, sums: &mut Sums) -> Result<bool, DataError> {
        let file = head.file;
        if file.container == Container::Text {
            let Some(row) = crate::sniff::text_head(&file.file.path)? else { return Ok(true) };
            let read = row.get("text").and_then(serde_json::Value::as_str).map_or(0, str::len) as u64;
            let weight = file.bytes as f64 / read.max(1) as f64;
            self.take(Place { weight: weight.max(1.0), ..head }, 0, Item::Row { line: 1, row }, sums);
            return Ok(read >= file.bytes);
        }
        let (_, mut source) = open(&file.file.path)?;
        let (items, ended) = next(source.as_mut(), HEAD_ROWS)?;
        let count = items.len().max(1) as f64;
        let rest = match source.rows_total() {
            Some(total) => total as f64 / count,
            None => file.bytes as f64 / source.bytes_read().max(1) as f64,
        };
        let by_places = file.container == Container::JsonLines;
        let head = Place { weight: if ended || by_places { 1.0 } else { rest.max(1.0) }, ..head };
        (0..).zip(items).for_each(|(number, item)| self.take(head, number, item, sums));
        if ended || !by_places {
            return Ok(ended);
        }
        let head_bytes = source.bytes_read().min(file.bytes);
        let part = (file.bytes - head_bytes) as f64 / PLACES as f64;
        for number in 0..PLACES {
            // The middle of its part.
            let at = head_bytes + (part * (number as f64 + 0.5)) as u64;
            let Some(begin) = line_at(file, at)? else { continue };
            let mut source = lines_from(&file.file.path, begin, 1, 0)?;
            let (items, _) = next(source.as_mut(), PLACE_ROWS)?;
            let weight = part / source.bytes_read().max(1) as f64;
            let place = Place { weight, numbered: false, ..head };
            items.into_iter().for_each(|item| self.take(place, 0, item, sums));
        }
        Ok(false)
    }

    /// Counts a row, the `number`th of its file. Behind the head its place is not known: it is counted, but not listed.
    fn take(&self, place: Place<'_>, number: u64, item: Item, sums: &mut Sums) {
        let Place { file, plan, most, weight, numbered, first } = place;
        sums.rows += 1;
        let (line, result) = match item {
            Item::Bad { line, reason } => (line, Err(reason)),
            Item::Row { line, row } => {
                if sums.columns.len() < HEAD_ROWS {
                    sums.columns.push(row.clone());
                }
                (line, plan.convert(row))
            }
        };
        let tokens = match result {
            Ok(Converted::LeftOut) => return,
            Ok(Converted::Sample(sample)) => {
                let rows = tokenise(&sample, &self.codec, self.request.loss_on, self.request.max_tokens);
                rows.map(|rows| (sample.summary(), rows))
            }
            Err(reason) => Err(reason),
        };
        match tokens {
            Ok(((input, output), rows)) => {
                let of = |row: &Tokens| Made {
                    tokens: row.ids.len() as u64,
                    trained: row.trained.iter().filter(|trained| **trained).count() as u64,
                    weight,
                };
                sums.cut += weight * rows.iter().filter(|row| row.cut).count() as f64;
                let made: Vec<Made> = rows.iter().map(of).collect();
                if numbered && sums.examples.len() < most {
                    let tokens = made.iter().map(|made| made.tokens).sum();
                    let trained = made.iter().map(|made| made.trained).sum();
                    // Rows of JSON Lines are found by their lines, also over blank ones.
                    let number = if file.container == Container::JsonLines { line.saturating_sub(1) } else { number };
                    let row = (first && !is_threaded(plan)).then_some(number);
                    sums.examples.push(PreviewRow { line, input, output, tokens, trained, row });
                }
                sums.made.extend(made);
            }
            // What a thread is made of is only known when all rows are read.
            Err(_) if is_threaded(plan) => {}
            Err(reason) => {
                sums.bad += weight;
                if numbered {
                    sums.aside.push(QuarantineRow { file: file.file.path.clone(), line, reason });
                }
            }
        }
    }
}

/// Where a row was read, and what it stands for.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a LensFile,
    plan: &'a Plan,
    /// Rows to show at most.
    most: usize,
    /// Rows of the data that one of here stands for.
    weight: f64,
    /// Whether its line is known.
    numbered: bool,
    /// Whether it is of the first file, whose rows are numbered before all others.
    first: bool,
}

/// The next `count` rows, and whether the source has ended before.
fn next(source: &mut dyn RowSource, count: usize) -> Result<(Vec<Item>, bool), DataError> {
    let mut items = Vec::with_capacity(count);
    while items.len() < count {
        match source.next_item()? {
            Some(item) => items.push(item),
            None => return Ok((items, true)),
        }
    }
    Ok((items, false))
}

/// The length that half of the rows do not exceed.
fn median(made: &[Made]) -> u64 {
    let mut made = made.to_vec();
    made.sort_by_key(|made| made.tokens);
    let half = made.iter().map(|made| made.weight).sum::<f64>() / 2.0;
    let mut passed = 0.0;
    let middle = made.iter().find(|made| {
        passed += made.weight;
        passed > half
    });
    middle.or_else(|| made.last()).map_or(0, |made| made.tokens)
}

/// The byte behind the next line end from `at` on; none when the file ends first, or the line is very long.
fn line_at(file: &LensFile, at: u64) -> Result<Option<u64>, DataError> {
    let path = &file.file.path;
    let failed = |error| DataError::io("cannot read the data file", path, error);
    let mut reader = File::open(path).map_err(failed)?;
    reader.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut block = vec![0; 64 << 10];
    let mut passed = 0;
    while passed < MOST_SKIPPED {
        let read = reader.read(&mut block).map_err(failed)?;
        let seen = block.get(..read).unwrap_or_default();
        if let Some(end) = seen.iter().position(|byte| *byte == b'\n') {
            let begin = at + passed + end as u64 + 1;
            return Ok((begin < file.bytes).then_some(begin));
        }
        if read == 0 {
            break;
        }
        passed += read as u64;
    }
    Ok(None)
}

fn no_good_row(sums: &Sums, file: Option<&LensFile>) -> DataError {
    let reasons: Vec<String> =
        sums.aside.iter().take(3).map(|row| format!("line {}: {}", row.line, row.reason)).collect();
    let place = file.map(|file| file.file.path.display().to_string()).unwrap_or_default();
    let what = if reasons.is_empty() {
        format!("none of the {} rows that were looked at is trained", sums.rows)
    } else {
        format!("none of the {} rows that were looked at can be used: {}", sums.rows, reasons.join("; "))
    };
    DataError::data(what, place, "repair the rows, raise data.max_tokens, or map the columns in [data.columns]")
}
