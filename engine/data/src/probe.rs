//! Text whose loss must not rise: fixed windows of tokens from a file.

use crate::batch::{Batch, eval_batches};
use crate::codec::TextCodec;
use crate::dataset::Example;
use crate::read::{Item, Row, open};
use crate::schema::{Converted, Plan};
use crate::tokens::{LossOn, tokenise};
use crate::{DataError, hash};
use std::collections::BTreeMap;
use std::path::Path;

/// Rows that decide on the schema of a probe file.
const FIRST_ROWS: usize = 200;
/// So many times the wanted tokens are read at most; windows are spread over them.
const READ_TIMES: usize = 8;

/// Windows of equal width. The loss over them is that of every token but the first of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSet {
    /// Name: the file's without its ending.
    pub name: String,
    /// Ids of each window; each begins with what the tokenizer puts before every text.
    pub windows: Vec<Vec<u32>>,
    /// Tokens of a window.
    pub width: usize,
    /// What a person should know, such as that there are fewer windows than wanted.
    pub note: Option<String>,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl ProbeSet {
    /// Usual number of windows.
    pub const WINDOWS: usize = 64;
    /// Usual width.
    pub const WIDTH: usize = 128;

    /// Reads `windows` windows of `width` tokens from a text or data file. Conversations are rendered by
    /// the chat template, documents joined by end-of-text tokens; windows are spread evenly over what was
    /// read. Fewer windows are made when there is too little text, with a note.
    ///
    /// # Errors
    /// [`DataError`] when the file cannot be used or has too little text for one window.
    pub fn load(path: &Path, codec: &TextCodec, windows: usize, width: usize) -> Result<Self, DataError> {
        let (windows, width) = (windows.max(1), width.max(2));
        let wanted = windows.saturating_mul(width);
        let (_, mut source) = open(path)?;
        let mut ids: Vec<u32> = Vec::new();
        let mut plan: Option<Plan> = None;
        let mut bad: Option<(u64, String)> = None;
        let mut rows: Vec<(u64, Row)> = Vec::new();
        let mut more = true;
        while more && ids.len() < wanted.saturating_mul(READ_TIMES) {
            rows.clear();
            while more && rows.len() < FIRST_ROWS {
                match source.next_item()? {
                    Some(Item::Row { line, row }) => rows.push((line, row)),
                    Some(Item::Bad { line, reason }) => bad = bad.or(Some((line, reason))),
                    None => more = false,
                }
            }
            if plan.is_none() && !rows.is_empty() {
                let first: Vec<Row> = rows.iter().map(|(_, row)| row.clone()).collect();
                plan = Some(Plan::decide(&first, "auto", &BTreeMap::new(), &path.display().to_string())?);
            }
            let Some(plan) = &plan else { continue };
            for (line, row) in rows.drain(..) {
                match plan.convert(row).and_then(|converted| tokens_of(converted, codec)) {
                    Ok(tokens) => ids.extend(tokens),
                    Err(reason) => bad = bad.or(Some((line, reason))),
                }
            }
        }
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let sha256 = hash::hex(&hash::of_file(path, &|| false)?);
        let prefix = codec.text_prefix();
        let fresh = width.saturating_sub(prefix.len()).max(1);
        let count = (ids.len() / fresh).min(windows);
        if count == 0 {
            let why = bad.map(|(line, reason)| format!("; line {line}: {reason}")).unwrap_or_default();
            return Err(DataError::data(
                format!("the probe set has {} tokens, one window needs {width}{why}", ids.len()),
                path.display(),
                "choose a longer text",
            ));
        }
        let spread = ids.len() - count * fresh;
        let window = |number: usize| {
            let start = number * fresh + spread * number / count.saturating_sub(1).max(1);
            let start = start.min(ids.len() - fresh);
            prefix.iter().chain(ids.get(start..start + fresh).unwrap_or_default()).copied().take(width).collect()
        };
        let note =
            (count < windows).then(|| format!("{name} has text for {count} windows of {width} tokens, not {windows}"));
        Ok(Self { name, windows: (0..count).map(window).collect(), width, note, sha256 })
    }

    /// The windows as batches of `rows` rows, every position but each row's last with a target.
    #[must_use]
    pub fn batches(&self, rows: usize, pad_id: u32) -> Vec<Batch> {
        let examples: Vec<Example> = self
            .windows
            .iter()
            .zip(1_u64..)
            .map(|(ids, line)| Example {
                ids: ids.clone(),
                trained: (0..ids.len()).map(|at| at > 0).collect(),
                file: 0,
                line,
            })
            .collect();
        eval_batches(&examples, rows, self.width, false, pad_id)
    }
}

fn tokens_of(converted: Converted, codec: &TextCodec) -> Result<Vec<u32>, String> {
    match converted {
        Converted::LeftOut => Ok(Vec::new()),
        Converted::Sample(sample) => {
            let rows = tokenise(&sample, codec, LossOn::Everything, usize::MAX)?;
            Ok(rows.into_iter().flat_map(|row| row.ids).collect())
        }
    }
}
