//! A sample as the model sees it, token by token: for people who want to know what is trained and why.
//!
//! Place in the data flow: beside [`super::tokenise`], which makes what is trained; this keeps what that one throws away
//! (the text of each token, what comes from the template, what is cut off). A test holds both to the same tokens.

use super::mask::{MaskError, answer_spans, content_spans};
use super::{LossOn, encode_marked, segment_spans};
use crate::codec::TextCodec;
use crate::schema::{Body, Sample};
use std::ops::Range;

/// What a token is to the training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Predicting it counts.
    Trained,
    /// The model reads it, nothing is learnt from it.
    Context,
    /// Written by the chat template or the tokenizer, not by the data; read only.
    Template,
    /// Beyond the longest row: the model never sees it.
    CutOff,
}

impl Mark {
    /// The letter that stands for it in events.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            Self::Trained => 't',
            Self::Context => 'c',
            Self::Template => 'm',
            Self::CutOff => 'x',
        }
    }
}

/// A sample token by token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Ids.
    pub ids: Vec<u32>,
    /// The text of each; joined they are the whole. Empty where a token ends inside a character.
    pub pieces: Vec<String>,
    /// What each is.
    pub marks: Vec<Mark>,
    /// Tokens with which another training row begins: long documents are trained in several.
    pub borders: Vec<usize>,
    /// Why the sample is not trained; empty when it is.
    pub problem: String,
}

/// Shows a sample. What cannot even be tokenised has a problem and no tokens.
#[must_use]
pub fn see(sample: &Sample, codec: &TextCodec, loss_on: LossOn, max_tokens: usize) -> Seen {
    let max_tokens = max_tokens.max(2);
    let seen = match &sample.body {
        Body::Text(text) => document(text, codec, max_tokens),
        Body::Segments { parts, ends } => {
            let (text, spans) = segment_spans(parts, loss_on);
            marked(codec, &text, &spans, std::slice::from_ref(&(0..text.len()))).map(|mut seen| {
                if *ends && let Some(eos) = codec.special().eos {
                    seen.push(codec, eos, Mark::Trained);
                }
                seen.cut(max_tokens);
                seen
            })
        }
        Body::Chat { turns, tools } => answer_spans(codec, turns, tools.as_ref(), loss_on)
            .map_err(|error| match error {
                MaskError::Template(why) | MaskError::Place(why) => why,
            })
            .and_then(|(text, spans)| {
                let contents = content_spans(codec, turns, tools.as_ref(), &text);
                // Where the template hides the contents, nothing is claimed to be its own.
                let whole = 0..text.len();
                let contents = if contents.is_empty() { std::slice::from_ref(&whole) } else { contents.as_slice() };
                let mut seen = marked(codec, &text, &spans, contents)?;
                seen.cut(max_tokens);
                Ok(seen)
            }),
    };
    seen.unwrap_or_else(|problem| Seen { problem, ..Seen::default() })
}

impl Seen {
    fn push(&mut self, codec: &TextCodec, id: u32, mark: Mark) {
        self.ids.push(id);
        self.pieces.push(codec.token(id).unwrap_or_default());
        self.marks.push(mark);
    }

    /// Marks what lies beyond the longest row, and says whether anything is left to train.
    fn cut(&mut self, max_tokens: usize) {
        if let Some(first) = self.marks.first_mut().filter(|mark| **mark == Mark::Trained) {
            *first = Mark::Context;
        }
        let any = self.marks.contains(&Mark::Trained);
        let all = self.ids.len();
        self.marks.iter_mut().skip(max_tokens).for_each(|mark| *mark = Mark::CutOff);
        if !any {
            "no token of the row is trained".clone_into(&mut self.problem);
        } else if !self.marks.contains(&Mark::Trained) {
            self.problem = format!("the row has {all} tokens and its answers begin behind the limit of {max_tokens}");
        }
    }
}

/// A document: everything is trained but the first token of the first row.
fn document(text: &str, codec: &TextCodec, max_tokens: usize) -> Result<Seen, String> {
    let mut seen = Seen::default();
    for id in codec.text_prefix() {
        seen.push(codec, *id, Mark::Template);
    }
    let own = seen.ids.len();
    let (ids, offsets) = codec.encode_with_offsets(text).map_err(|error| error.to_string())?;
    add(&mut seen, text, &ids, &offsets, |_| Mark::Trained);
    if let Some(eos) = codec.special().eos.filter(|eos| seen.ids.last() != Some(eos)) {
        seen.push(codec, eos, Mark::Trained);
    }
    if seen.ids.len() < 2 {
        return Err("the text has fewer than two tokens".to_owned());
    }
    for (index, mark) in seen.marks.iter_mut().enumerate() {
        *mark = match index {
            0 if own > 0 => Mark::Template,
            0 => Mark::Context,
            _ => Mark::Trained,
        };
    }
    let mut border = max_tokens - 1;
    while border + 1 < seen.ids.len() {
        seen.borders.push(border);
        border += max_tokens - 1;
    }
    Ok(seen)
}

fn marked(codec: &TextCodec, text: &str, trained: &[Range<usize>], contents: &[Range<usize>]) -> Result<Seen, String> {
    let (ids, flags) = encode_marked(codec, text, trained)?;
    let (_, offsets) = codec.encode_with_offsets(text).map_err(|error| error.to_string())?;
    let mut next = 0;
    let mut seen = Seen::default();
    add(&mut seen, text, &ids, &offsets, |index| {
        let token = offsets.get(index).cloned().unwrap_or_default();
        while contents.get(next).is_some_and(|content| content.end <= token.start) {
            next += 1;
        }
        let inside = contents.get(next).is_some_and(|content| content.start < token.end && token.start < content.end);
        match flags.get(index) {
            Some(true) => Mark::Trained,
            _ if inside => Mark::Context,
            _ => Mark::Template,
        }
    });
    Ok(seen)
}

/// Adds tokens with the text between the end of the one before and their own end, so that nothing is shown twice.
fn add(seen: &mut Seen, text: &str, ids: &[u32], offsets: &[Range<usize>], mut mark: impl FnMut(usize) -> Mark) {
    let mut at = 0;
    for (index, (id, range)) in ids.iter().zip(offsets).enumerate() {
        let piece = text.get(at..range.end.max(at)).unwrap_or_default();
        at = range.end.max(at);
        seen.ids.push(*id);
        seen.pieces.push(piece.to_owned());
        seen.marks.push(mark(index));
    }
}
