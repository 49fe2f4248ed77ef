//! A copy of the data without some of its rows: those that a person left out, and those that occur a second time; and with
//! the texts of other rows as a person edited them.
//!
//! Lines are copied byte by byte and never written anew, so that what stays is exactly what was there, also around an edited
//! text. The original is only read.

use super::{Lens, LensFile, refused};
use crate::read::{Container, MOST_ROW_BYTES};
use crate::schema::Plan;
use crate::{DataError, hash};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use temper_protocol::data::RowField;
use temper_protocol::whole_file::Unfinished;

/// Lines between two looks at whether somebody wants it to end.
const REPORT_EVERY: u64 = 4096;

/// What a cleaned copy is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaning {
    /// Numbers of rows that are left out, counted from 0 over all files.
    pub leave_out: BTreeSet<u64>,
    /// Whether a row that is, byte for byte, as one before is left out.
    pub deduplicate: bool,
    /// Other texts of rows, by their numbers. A row that is left out is left out whatever its texts.
    pub edits: BTreeMap<u64, Vec<RowField>>,
}

/// What became of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// The copy.
    pub path: PathBuf,
    /// Rows in it.
    pub rows: u64,
    /// Rows in it that were edited.
    pub edited: u64,
    /// Rows left out by number.
    pub left_out: u64,
    /// Rows left out because they occur before.
    pub duplicates: u64,
    /// Size.
    pub bytes: u64,
    /// SHA-256 of the copy, hexadecimal.
    pub sha256: String,
}

/// What is copied.
#[derive(Clone, Copy)]
struct Source<'a> {
    lens: &'a Lens,
    file: &'a LensFile,
    plan: &'a Plan,
    cleaning: &'a Cleaning,
}

/// The copy while it is written; gone unless it is finished.
struct Copy {
    out: BufWriter<File>,
    partial: Unfinished,
    hash: Sha256,
    cleaned: Cleaned,
}

impl Lens {
    /// Writes the copy into `folder`, as `NAME-cleaned.jsonl` or the next free name. `tell` hears the bytes read.
    ///
    /// # Errors
    /// [`DataError::Data`] when a file is no JSON Lines, nothing would be left, or an edited row could not be trained,
    /// [`DataError::Setting`] when files have weights that a copy would lose, [`DataError::Io`], [`DataError::Cancelled`].
    pub fn clean(
        &self,
        cleaning: &Cleaning,
        folder: &Path,
        tell: &mut dyn FnMut(u64),
        cancel: &dyn Fn() -> bool,
    ) -> Result<Cleaned, DataError> {
        if let Some(other) = self.files.iter().find(|file| file.container != Container::JsonLines) {
            return Err(only_lines(other));
        }
        if self.request.train.iter().any(|(_, weight)| *weight != 1.0) {
            return Err(DataError::Setting {
                what: "the files have weights, which one copy of all of them would lose".to_owned(),
                place: "data.train".to_owned(),
                action: "clean each file in a project of its own, or take the weights away first".to_owned(),
            });
        }
        let name = |number| self.copy_name(folder, number);
        let failed = |error| DataError::io("cannot write the copy", &name(1), error);
        let (partial, file) = Unfinished::beside(&name(1)).map_err(failed)?;
        let cleaned = Cleaned::default();
        let mut copy = Copy { out: BufWriter::with_capacity(1 << 20, file), partial, hash: Sha256::new(), cleaned };
        let mut seen = BTreeSet::new();
        let (mut row, mut read) = (0, 0);
        for (file, plan) in self.files.iter().zip(&self.plans) {
            let source = Source { lens: self, file, plan, cleaning };
            copy.add(source, (&mut row, &mut read), &mut seen, tell, cancel)?;
        }
        if let Some(missing) = cleaning.edits.keys().find(|edited| **edited >= row) {
            let what = format!("row {} was edited, but the data has only {row} rows", missing + 1);
            return Err(DataError::data(what, "the cleaned copy", "look at the rows again and edit the one you mean"));
        }
        copy.finish(&name)
    }

    /// The name of a copy, the first of which is 1.
    fn copy_name(&self, folder: &Path, number: u32) -> PathBuf {
        let first = self.files.first().and_then(|file| file.file.path.file_stem());
        let stem = first.map_or_else(|| "data".to_owned(), |stem| stem.to_string_lossy().into_owned());
        match number {
            1 => folder.join(format!("{stem}-cleaned.jsonl")),
            _ => folder.join(format!("{stem}-cleaned-{number}.jsonl")),
        }
    }
}

/// Only JSON Lines have lines that can be copied or edited by themselves.
pub(super) fn only_lines(file: &LensFile) -> DataError {
    let action = "save the data as JSON Lines first, one object a line";
    let what = "only JSON Lines can be copied or edited row by row";
    DataError::data(what, file.file.path.display(), action)
}

impl Copy {
    fn add(
        &mut self,
        source: Source<'_>,
        (row, read): (&mut u64, &mut u64),
        seen: &mut BTreeSet<u64>,
        tell: &mut dyn FnMut(u64),
        cancel: &dyn Fn() -> bool,
    ) -> Result<(), DataError> {
        let path = &source.file.file.path;
        let failed = |error| DataError::io("cannot read the data file", path, error);
        let mut reader = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
        let mut line = Vec::new();
        let first = *row;
        loop {
            if row.is_multiple_of(REPORT_EVERY) {
                tell(*read);
                if cancel() {
                    return Err(DataError::Cancelled);
                }
            }
            line.clear();
            let taken = (&mut reader).take(MOST_ROW_BYTES as u64).read_until(b'\n', &mut line).map_err(failed)?;
            if taken == 0 {
                return Ok(());
            }
            if taken == MOST_ROW_BYTES && line.last() != Some(&b'\n') {
                let what = format!("a line is longer than {} MiB", MOST_ROW_BYTES >> 20);
                return Err(DataError::data(what, path.display(), "cut or remove the line first"));
            }
            *read += taken as u64;
            self.take(source, (*row, *row - first), &line, seen)?;
            *row += 1;
        }
    }

    /// Takes in a line: row `row` of the data, line `number` of its file, both counted from 0.
    fn take(
        &mut self,
        source: Source<'_>,
        (row, number): (u64, u64),
        line: &[u8],
        seen: &mut BTreeSet<u64>,
    ) -> Result<(), DataError> {
        let Source { lens, file, plan, cleaning } = source;
        let line = super::bare(line, number);
        let fields = cleaning.edits.get(&row);
        if line.is_empty() {
            return match fields {
                Some(_) => Err(refused(file, number, "the line is blank".to_owned())),
                None => Ok(()),
            };
        }
        if cleaning.leave_out.contains(&row) {
            self.cleaned.left_out += 1;
            return Ok(());
        }
        let edited = match fields {
            Some(fields) => Some(lens.edited(plan, line, fields).map_err(|why| refused(file, number, why))?),
            None => None,
        };
        let line = edited.as_deref().unwrap_or(line);
        if cleaning.deduplicate && !seen.insert(hash::number(&hash::of_parts([line]))) {
            self.cleaned.duplicates += 1;
            return Ok(());
        }
        self.cleaned.edited += u64::from(edited.is_some());
        for part in [line, b"\n"] {
            self.hash.update(part);
            let partial = self.partial.path();
            self.out.write_all(part).map_err(|error| DataError::io("cannot write the copy", partial, error))?;
            self.cleaned.bytes += part.len() as u64;
        }
        self.cleaned.rows += 1;
        Ok(())
    }

    /// Under its name only when it is complete: the first one that nothing has, also when another copy was written meanwhile.
    fn finish(mut self, name: &dyn Fn(u32) -> PathBuf) -> Result<Cleaned, DataError> {
        if self.cleaned.rows == 0 {
            return Err(DataError::data("no row would be left", "the cleaned copy", "take some rows in again"));
        }
        let partial = self.partial.path().to_path_buf();
        let failed = |error| DataError::io("cannot write the copy", &partial, error);
        self.out.flush().map_err(failed)?;
        self.out.get_ref().sync_all().map_err(failed)?;
        let mut number = 1;
        self.cleaned.path = loop {
            let place = name(number);
            match self.partial.put_new(&place) {
                Ok(()) => break place,
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < u32::MAX => number += 1,
                Err(error) => return Err(failed(error)),
            }
        };
        let digest: [u8; 32] = self.hash.finalize().into();
        self.cleaned.sha256 = hash::hex(&digest);
        Ok(self.cleaned)
    }
}
