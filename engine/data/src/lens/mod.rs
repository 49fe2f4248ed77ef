//! Single rows of a data set of any size, by number, as the model sees them; and a first look at the whole from its head
//! and samples.
//!
//! Place in the data flow: the host keeps a [`Lens`] for the project whose data somebody looks at. Rows of JSON Lines are
//! found through an index of the places of their lines, which grows ([`Lens::look_on`]) while rows before its end are
//! read already; other files have no lines to find rows by, so the first of their rows are kept in memory. Nothing here
//! decides what is trained: that is [`crate::Dataset`], whose tokens and marks a test compares with these.

mod clean;
mod columns;
mod edit;
mod index;
mod peek;

pub use clean::{Cleaned, Cleaning};
pub use columns::columns;

use crate::codec::TextCodec;
use crate::dataset::{BATCH_ROWS, LoadRequest, plan_of};
use crate::read::{Container, DataFile, Item, Row, RowSource, lines_from, list, open, parse_row};
use crate::schema::{Converted, Plan, is_threaded};
use crate::tokens::seen::{Seen, see};
use crate::tokens::tokenise;
use crate::{DataError, sniff};
use index::LineIndex;
use parking_lot::RwLock;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use temper_protocol::data::{RowField, RowTexts};
use temper_protocol::event::LensRow;

/// Bytes looked through before somebody else may use the index.
const BLOCK: usize = 4 << 20;
/// Rows of a file without an index that are kept.
const MOST_KEPT: usize = 100_000;
/// Bytes of such a file that are read for them.
const MOST_KEPT_BYTES: u64 = 256 << 20;
/// Bytes of a row whose texts are shown to be edited.
const MOST_EDITED_BYTES: u64 = 1 << 20;

/// How far the rows are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Rows that can already be asked for. Blank lines count: a row's number is its line.
    pub rows: u64,
    /// Whether nothing is left to look through.
    pub complete: bool,
    /// Whether a file had more rows than are kept: only JSON Lines have all of theirs.
    pub shortened: bool,
    /// Bytes looked through.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// A file of the data.
struct LensFile {
    file: DataFile,
    container: Container,
    bytes: u64,
    rows: RowsOf,
}

enum RowsOf {
    /// JSON Lines, by their places.
    Index(RwLock<LineIndex>),
    /// The first rows; whether they are all, once they were read.
    Kept(RwLock<Option<(Vec<Item>, bool)>>),
}

/// The rows of a project's training data, in the order of its files.
pub struct Lens {
    request: LoadRequest,
    codec: TextCodec,
    files: Vec<LensFile>,
    plans: Vec<Plan>,
}

impl Lens {
    /// Opens the training files of `request`; reads no more than the first rows of each.
    ///
    /// # Errors
    /// [`DataError`] when a file is no data or its columns are not understood.
    pub fn open(request: LoadRequest, codec: TextCodec) -> Result<Self, DataError> {
        let mut files = Vec::new();
        let mut plans = Vec::new();
        for (path, _) in &request.train {
            for file in list(path)?.train {
                let (container, source) = open(&file.path)?;
                let first = first_rows(&file, container, source)?;
                if first.is_empty() {
                    return Err(no_rows(&file));
                }
                plans.push(plan_of(&file, container, (request.schema.as_str(), &request.columns), &first)?);
                let bytes = std::fs::metadata(&file.path).map_or(0, |meta| meta.len());
                let rows = match container {
                    Container::JsonLines => RowsOf::Index(RwLock::default()),
                    _ => RowsOf::Kept(RwLock::default()),
                };
                files.push(LensFile { file, container, bytes, rows });
            }
        }
        if files.is_empty() {
            return Err(DataError::data("the data has no files to train on", "data.train", "choose other data"));
        }
        Ok(Self { request, codec, files, plans })
    }

    /// The files, in the order in which their rows are counted.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.file.path.as_path())
    }

    /// How far the rows are known.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let mut extent = Extent { complete: true, ..Extent::default() };
        for file in &self.files {
            let (rows, done, all) = file.known();
            // The numbers of later rows depend on how many there are before.
            if extent.complete {
                extent.rows += rows;
            }
            extent.complete &= all;
            extent.shortened |= file.is_shortened();
            extent.done += done;
            extent.total += file.bytes;
        }
        extent
    }

    /// Looks through some more of the files: a few milliseconds of work. Gives whether there is more to do.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn look_on(&self) -> Result<bool, DataError> {
        for file in &self.files {
            if file.look_on()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The rows from `first` on, counted from 0 over all files, at most `count` of them and at most `most_tokens` tokens
    /// of each. Rows that are not known yet are missing.
    ///
    /// # Errors
    /// [`DataError`] when a file cannot be read any more.
    pub fn rows(&self, first: u64, count: usize, most_tokens: usize) -> Result<Vec<LensRow>, DataError> {
        let mut found = Vec::new();
        let mut begin = 0;
        let end = first.saturating_add(count as u64);
        for (file, plan) in self.files.iter().zip(&self.plans) {
            let (known, _, all) = file.known();
            let from = first.max(begin) - begin;
            if begin < end && from < known {
                let wanted = (end - begin).min(known);
                for (number, item) in file.items(from, wanted)? {
                    found.push(self.row(file, plan, begin + number, item, most_tokens));
                }
            }
            begin += known;
            if !all || begin >= end {
                break;
            }
        }
        Ok(found)
    }

    fn row(&self, file: &LensFile, plan: &Plan, row: u64, item: Item, most_tokens: usize) -> LensRow {
        let (line, seen) = match item {
            Item::Bad { line, reason } => (line, Seen { problem: reason, ..Seen::default() }),
            Item::Row { line, row: columns } => (line, self.see(plan, columns)),
        };
        let count = |letter: char| seen.marks.iter().filter(|mark| mark.letter() == letter).count() as u64;
        LensRow {
            row,
            file: file.file.path.clone(),
            line,
            tokens: seen.ids.len() as u64,
            trained: count('t'),
            cut: count('x'),
            marks: seen.marks.iter().take(most_tokens).map(|mark| mark.letter()).collect(),
            borders: seen.borders.iter().filter(|at| **at < most_tokens).map(|at| *at as u64).collect(),
            ids: seen.ids.into_iter().take(most_tokens).collect(),
            pieces: seen.pieces.into_iter().take(most_tokens).collect(),
            problem: seen.problem,
            losses: Vec::new(),
        }
    }

    /// Tokens that the model sees at once, at most.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.request.max_tokens.max(2)
    }

    /// The texts of row `row` (counted from 0 over all files), and the row as the model sees it with the texts of
    /// `fields`, at most `most_tokens` tokens of it.
    ///
    /// # Errors
    /// [`DataError::Data`] when there is no such row, its file is no JSON Lines, it is very long, or it could not be
    /// trained with these texts; [`DataError::Io`].
    pub fn row_texts(&self, row: u64, fields: &[RowField], most_tokens: usize) -> Result<RowTexts, DataError> {
        let Some((file, plan, number)) = self.place_of(row) else {
            return Err(DataError::data(
                format!("there is no row {}", row + 1),
                "data.train",
                "look at the rows again and choose another",
            ));
        };
        let line = file.line(number)?;
        if line.is_empty() {
            return Err(refused(file, number, "the line is blank".to_owned()));
        }
        let original = edit::fields(&line);
        let line = if fields.is_empty() {
            line
        } else {
            self.edited(plan, &line, fields).map_err(|why| refused(file, number, why))?
        };
        let line_number = number + 1;
        let item = match parse_row(&line) {
            Ok(row) => Item::Row { line: line_number, row },
            Err(reason) => Item::Bad { line: line_number, reason },
        };
        Ok(RowTexts { row, fields: original, seen: self.row(file, plan, row, item, most_tokens) })
    }

    /// A line with other texts, of which it is known that it can be trained.
    ///
    /// # Errors
    /// Why it cannot.
    fn edited(&self, plan: &Plan, line: &[u8], fields: &[RowField]) -> Result<Vec<u8>, String> {
        let line = edit::changed(line, fields)?;
        match plan.convert(parse_row(&line)?)? {
            // What a thread is made of is only known when all rows are read.
            Converted::Sample(_) if is_threaded(plan) => {}
            Converted::Sample(sample) => {
                tokenise(&sample, &self.codec, self.request.loss_on, self.request.max_tokens)?;
            }
            Converted::LeftOut => {}
        }
        Ok(line)
    }

    /// The file of a row that is known, and its line there, counted from 0.
    fn place_of(&self, row: u64) -> Option<(&LensFile, &Plan, u64)> {
        let mut begin = 0;
        for (file, plan) in self.files.iter().zip(&self.plans) {
            let (known, _, all) = file.known();
            if row < begin + known {
                return Some((file, plan, row - begin));
            }
            if !all {
                return None;
            }
            begin += known;
        }
        None
    }

    fn see(&self, plan: &Plan, row: Row) -> Seen {
        let problem = |problem: String| Seen { problem, ..Seen::default() };
        if is_threaded(plan) {
            // Shown one by one these would be prompts without what was said before.
            return problem("the row is part of a thread; threads are put together when all rows are read".to_owned());
        }
        match plan.convert(row) {
            Ok(Converted::Sample(sample)) => see(&sample, &self.codec, self.request.loss_on, self.request.max_tokens),
            Ok(Converted::LeftOut) => problem("the row is labelled bad and is left out".to_owned()),
            Err(reason) => problem(reason),
        }
    }
}

/// The rows by which a file's columns are understood: as many as when all of it is read.
fn first_rows(file: &DataFile, container: Container, mut source: Box<dyn RowSource>) -> Result<Vec<Row>, DataError> {
    if container == Container::Text {
        return Ok(sniff::text_head(&file.path)?.into_iter().collect());
    }
    let mut rows = Vec::new();
    while rows.len() < BATCH_ROWS {
        match source.next_item()? {
            Some(Item::Row { row, .. }) => rows.push(row),
            Some(Item::Bad { .. }) => {}
            None => break,
        }
    }
    Ok(rows)
}

/// An edit that cannot be. `number` is the line, counted from 0.
fn refused(file: &LensFile, number: u64, why: String) -> DataError {
    let place = format!("{} line {}", file.file.path.display(), number + 1);
    DataError::data(why, place, "write the text so that the row can be trained, or take the edit back")
}

/// A line without what is around it: blanks, its end, and the mark that some files begin with. `number` counts from 0.
fn bare(line: &[u8], number: u64) -> &[u8] {
    let line = if number == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
    line.trim_ascii()
}

fn no_rows(file: &DataFile) -> DataError {
    DataError::data("none of the rows can be read", file.path.display(), "repair the rows, or choose other data")
}

impl LensFile {
    /// Rows known, bytes looked through, and whether that is all.
    fn known(&self) -> (u64, u64, bool) {
        match &self.rows {
            RowsOf::Index(index) => {
                let index = index.read();
                (index.lines(), index.bytes(), index.bytes() >= self.bytes)
            }
            RowsOf::Kept(kept) => match &*kept.read() {
                Some((items, _)) => (items.len() as u64, self.bytes, true),
                None => (0, 0, false),
            },
        }
    }

    fn is_shortened(&self) -> bool {
        match &self.rows {
            RowsOf::Index(_) => false,
            RowsOf::Kept(kept) => kept.read().as_ref().is_some_and(|(_, all)| !all),
        }
    }

    /// Looks through a block, or reads the rows that are kept; gives whether anything was left to do.
    fn look_on(&self) -> Result<bool, DataError> {
        if self.known().2 {
            return Ok(false);
        }
        let path = &self.file.path;
        match &self.rows {
            RowsOf::Index(index) => {
                let from = index.read().bytes();
                if from >= self.bytes {
                    // Somebody else has just looked at the last block.
                    return Ok(true);
                }
                let failed = |error| DataError::io("cannot read the data file", path, error);
                let mut file = File::open(path).map_err(failed)?;
                file.seek(SeekFrom::Start(from)).map_err(failed)?;
                let mut block = Vec::with_capacity(BLOCK);
                file.take((BLOCK as u64).min(self.bytes - from)).read_to_end(&mut block).map_err(failed)?;
                if block.is_empty() {
                    return Err(shorter(&self.file));
                }
                let mut index = index.write();
                // Somebody else may have looked at the same block meanwhile.
                if index.bytes() == from {
                    index.add(&block);
                }
            }
            RowsOf::Kept(kept) => {
                let read = self.keep()?;
                *kept.write() = Some(read);
            }
        }
        Ok(true)
    }

    fn keep(&self) -> Result<(Vec<Item>, bool), DataError> {
        if self.container == Container::Text {
            let row = sniff::text_head(&self.file.path)?;
            return Ok((row.into_iter().map(|row| Item::Row { line: 1, row }).collect(), true));
        }
        let (_, mut source) = open(&self.file.path)?;
        let mut items = Vec::new();
        while items.len() < MOST_KEPT && source.bytes_read() < MOST_KEPT_BYTES {
            match source.next_item()? {
                Some(item) => items.push(item),
                None => return Ok((items, true)),
            }
        }
        Ok((items, false))
    }

    /// Line `number`, counted from 0, of a file of JSON Lines that was looked through that far.
    fn line(&self, number: u64) -> Result<Vec<u8>, DataError> {
        let RowsOf::Index(index) = &self.rows else { return Err(clean::only_lines(self)) };
        let place = index.read().place(number);
        let Some((byte, skip)) = place else { return Err(shorter(&self.file)) };
        let path = &self.file.path;
        let failed = |error| DataError::io("cannot read the data file", path, error);
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(byte)).map_err(failed)?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        for _ in 0..skip {
            reader.skip_until(b'\n').map_err(failed)?;
        }
        let mut line = Vec::new();
        let taken = reader.take(MOST_EDITED_BYTES + 1).read_until(b'\n', &mut line).map_err(failed)?;
        if taken as u64 > MOST_EDITED_BYTES {
            let what = format!("a row of more than {} MiB is too long to be edited here", MOST_EDITED_BYTES >> 20);
            let place = format!("{} line {}", path.display(), number + 1);
            return Err(DataError::data(what, place, "edit the file with a text editor"));
        }
        Ok(bare(&line, number).to_vec())
    }

    /// The rows from `from` until before `end`, counted from 0, with their numbers; blank lines are missing.
    fn items(&self, from: u64, end: u64) -> Result<Vec<(u64, Item)>, DataError> {
        match &self.rows {
            RowsOf::Index(index) => {
                let place = index.read().place(from);
                let Some((byte, skip)) = place else { return Ok(Vec::new()) };
                let mut source = lines_from(&self.file.path, byte, from - skip, skip)?;
                let mut items = Vec::new();
                while let Some(item) = source.next_item()? {
                    let line = line_of(&item);
                    if line > end {
                        break;
                    }
                    items.push((line - 1, item));
                    if line == end {
                        break;
                    }
                }
                Ok(items)
            }
            RowsOf::Kept(kept) => {
                let kept = kept.read();
                let items = kept.as_ref().map(|(items, _)| items.as_slice()).unwrap_or_default();
                let numbered = (0..).zip(items.iter().cloned());
                Ok(numbered.skip(from as usize).take(end.saturating_sub(from) as usize).collect())
            }
        }
    }
}

/// The line of an item, counted from 1.
fn line_of(item: &Item) -> u64 {
    match item {
        Item::Row { line, .. } | Item::Bad { line, .. } => *line,
    }
}

fn shorter(file: &DataFile) -> DataError {
    let action = "wait until it is written, then look again";
    DataError::data("the file became shorter while it was read", file.path.display(), action)
}
