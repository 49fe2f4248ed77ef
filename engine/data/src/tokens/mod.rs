//! Samples to token ids, each with a mark that says whether predicting it counts.
//!
//! The rules: a conversation is rendered as one text and encoded once, the mask is made from byte ranges
//! of that text ([`mask`]); a token counts when it stands for at least one byte of an answer; the token
//! that ends a turn belongs to the answer, else the model would never learn to stop; documents are
//! trained whole and end with the end-of-text token; the first token of a row never counts, because
//! nothing predicts it.

pub mod mask;
pub mod seen;

use crate::codec::TextCodec;
use crate::schema::{Body, Sample, Segment};
use mask::{MaskError, answer_spans};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Which tokens count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossOn {
    /// Every answer of a conversation.
    Answers,
    /// The last answer of a conversation.
    LastAnswer,
    /// Every token.
    Everything,
}

impl LossOn {
    /// The name in project files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::LastAnswer => "last-answer",
            Self::Everything => "everything",
        }
    }

    /// The choice called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Answers, Self::LastAnswer, Self::Everything].into_iter().find(|choice| choice.name() == name)
    }
}

/// A row of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Ids.
    pub ids: Vec<u32>,
    /// Whether predicting the id of the same place counts; the first is always false.
    pub trained: Vec<bool>,
    /// Whether the row was longer and lost its end.
    pub cut: bool,
}

/// Token rows of a sample: one, or several for a long document. `max_tokens` is at least 2.
///
/// A document longer than `max_tokens` becomes rows that share one token: the last of a row is the first
/// of the next, so that every token but the very first is predicted exactly once. Everything else is cut
/// at its right end.
///
/// # Errors
/// The reason why the sample cannot be trained.
pub fn tokenise(sample: &Sample, codec: &TextCodec, loss_on: LossOn, max_tokens: usize) -> Result<Vec<Tokens>, String> {
    let max_tokens = max_tokens.max(2);
    match &sample.body {
        Body::Text(text) => {
            let mut ids = codec.text_prefix().to_vec();
            ids.extend(codec.encode_document(text).map_err(|error| error.to_string())?);
            if let Some(eos) = codec.special().eos.filter(|eos| ids.last() != Some(eos)) {
                ids.push(eos);
            }
            chunks(&ids, max_tokens)
        }
        Body::Segments { parts, ends } => {
            let (text, spans) = segment_spans(parts, loss_on);
            let (mut ids, mut trained) = encode_marked(codec, &text, &spans)?;
            if *ends && let Some(eos) = codec.special().eos {
                ids.push(eos);
                trained.push(true);
            }
            fit(ids, trained, max_tokens).map(|row| vec![row])
        }
        Body::Chat { turns, tools } => {
            let (text, spans) = answer_spans(codec, turns, tools.as_ref(), loss_on).map_err(|error| match error {
                MaskError::Template(why) | MaskError::Place(why) => why,
            })?;
            let (ids, trained) = encode_marked(codec, &text, &spans)?;
            fit(ids, trained, max_tokens).map(|row| vec![row])
        }
    }
}

fn chunks(ids: &[u32], max_tokens: usize) -> Result<Vec<Tokens>, String> {
    if ids.len() < 2 {
        return Err("the text has fewer than two tokens".to_owned());
    }
    let mut rows = Vec::new();
    let mut start = 0;
    while start + 1 < ids.len() {
        let end = start.saturating_add(max_tokens).min(ids.len());
        let ids = ids.get(start..end).unwrap_or_default().to_vec();
        let trained = (0..ids.len()).map(|index| index > 0).collect();
        rows.push(Tokens { ids, trained, cut: false });
        start = end - 1;
    }
    Ok(rows)
}

fn segment_spans(parts: &[Segment], loss_on: LossOn) -> (String, Vec<Range<usize>>) {
    let mut text = String::new();
    let mut spans = Vec::new();
    for part in parts {
        let start = text.len();
        text.push_str(&part.text);
        if (part.label || loss_on == LossOn::Everything) && !part.text.is_empty() {
            spans.push(start..text.len());
        }
    }
    if loss_on == LossOn::LastAnswer {
        spans = spans.pop().into_iter().collect();
    }
    (text, spans)
}

/// Ids of `text` and for each whether it stands for a byte inside `spans` (ascending, apart).
fn encode_marked(codec: &TextCodec, text: &str, spans: &[Range<usize>]) -> Result<(Vec<u32>, Vec<bool>), String> {
    let (ids, offsets) = codec.encode_with_offsets(text).map_err(|error| error.to_string())?;
    let mut next = 0;
    let trained = offsets
        .iter()
        .map(|token| {
            while spans.get(next).is_some_and(|span| span.end <= token.start) {
                next += 1;
            }
            spans.get(next).is_some_and(|span| span.start < token.end && token.start < span.end)
        })
        .collect();
    Ok((ids, trained))
}

/// Cuts at the right end and makes sure that something is left to train.
fn fit(mut ids: Vec<u32>, mut trained: Vec<bool>, max_tokens: usize) -> Result<Tokens, String> {
    let length = ids.len();
    if let Some(first) = trained.first_mut() {
        *first = false;
    }
    if !trained.contains(&true) {
        return Err("no token of the row is trained".to_owned());
    }
    let cut = length > max_tokens;
    ids.truncate(max_tokens);
    trained.truncate(max_tokens);
    if trained.contains(&true) {
        Ok(Tokens { ids, trained, cut })
    } else {
        Err(format!("the row has {length} tokens and its answers begin behind the limit of {max_tokens}"))
    }
}
