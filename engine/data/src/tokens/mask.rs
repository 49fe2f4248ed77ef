//! Where in a rendered conversation the answers are, as byte ranges.
//!
//! Three ways, the first that is certain is taken:
//! 1. The template marks answers with `{% generation %}` blocks, one for each assistant turn.
//! 2. Prefix difference: a turn is what lies between the conversation rendered up to it (with the
//!    generation prompt) and rendered with it - taken only when both are really prefixes of the whole.
//! 3. Alignment: the conversation is rendered once more with a mark in place of each content. The pieces
//!    between the marks are the template's own text; they and the contents (as they are, trimmed, or
//!    without their reasoning part) must make up the whole from its beginning to behind the turn. This
//!    covers templates that change earlier turns later on.
//!
//! Markers are never searched for, neither as tokens nor as text. When no way is certain the row is
//! refused: a wrong mask trains the model to ask the user's questions.

use super::LossOn;
use crate::codec::{ChatMessage, TextCodec};
use crate::schema::Turn;
use serde_json::Value;
use std::ops::Range;

/// Why there is no mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaskError {
    /// The template refuses the conversation.
    Template(String),
    /// The answers cannot be placed in the rendered text.
    Place(String),
}

/// The rendered conversation and the byte ranges that count, ascending and apart.
///
/// # Errors
/// [`MaskError`].
pub fn answer_spans(
    codec: &TextCodec,
    turns: &[Turn],
    tools: Option<&Value>,
    loss_on: LossOn,
) -> Result<(String, Vec<Range<usize>>), MaskError> {
    let messages: Vec<ChatMessage> = turns.iter().map(|turn| turn.message.clone()).collect();
    let rendered =
        codec.render_marked(&messages, tools, false).map_err(|error| MaskError::Template(error.to_string()))?;
    let last_answer = turns.iter().rposition(is_answer);
    let wants = |(index, turn): (usize, &Turn)| {
        turn.train.unwrap_or_else(|| match loss_on {
            LossOn::Answers => is_answer(turn),
            LossOn::LastAnswer => Some(index) == last_answer,
            LossOn::Everything => true,
        })
    };
    let wanted: Vec<bool> = turns.iter().enumerate().map(wants).collect();
    let flagged = turns.iter().any(|turn| turn.train.is_some() || !turn.detail.is_empty());
    if loss_on == LossOn::Everything && !flagged {
        let everything = std::iter::once(0..rendered.text.len()).collect();
        return Ok((rendered.text, everything));
    }
    if !wanted.contains(&true) {
        return Err(MaskError::Place("there is no answer to train on".to_owned()));
    }
    let finder = Finder { codec, messages: &messages, tools, text: &rendered.text, generated: &rendered.generated };
    let mut spans = if loss_on == LossOn::Everything {
        // Everything but what is flagged off.
        let off: Vec<bool> = turns.iter().map(|turn| turn.train == Some(false)).collect();
        subtract(rendered.text.len(), &finder.spans(&off)?)
    } else {
        finder.spans(&wanted)?.into_iter().map(|(_, span)| span).collect()
    };
    if turns.iter().any(|turn| !turn.detail.is_empty()) {
        spans = finder.detailed(turns, spans)?;
    }
    spans.retain(|span| span.start < span.end);
    spans.sort_by_key(|span| span.start);
    Ok((rendered.text, spans))
}

/// Byte ranges of `text`, which [`answer_spans`] rendered, that the data wrote itself: the contents of the turns. Only those
/// that can be placed for sure; the rest is the template's, or cannot be told from it.
#[must_use]
pub fn content_spans(codec: &TextCodec, turns: &[Turn], tools: Option<&Value>, text: &str) -> Vec<Range<usize>> {
    let messages: Vec<ChatMessage> = turns.iter().map(|turn| turn.message.clone()).collect();
    let finder = Finder { codec, messages: &messages, tools, text, generated: &[] };
    finder.align().unwrap_or_default().into_iter().flatten().collect()
}

fn is_answer(turn: &Turn) -> bool {
    turn.message.role == "assistant"
}

/// The ranges of `0..length` outside `taken`.
fn subtract(length: usize, taken: &[(usize, Range<usize>)]) -> Vec<Range<usize>> {
    let mut left = Vec::new();
    let mut start = 0;
    for (_, span) in taken {
        left.push(start..span.start.max(start));
        start = span.end.max(start);
    }
    left.push(start..length);
    left
}

struct Finder<'a> {
    codec: &'a TextCodec,
    messages: &'a [ChatMessage],
    tools: Option<&'a Value>,
    text: &'a str,
    generated: &'a [Range<usize>],
}

impl Finder<'_> {
    /// Ranges of the wanted turns with their numbers.
    fn spans(&self, wanted: &[bool]) -> Result<Vec<(usize, Range<usize>)>, MaskError> {
        let indices: Vec<usize> = (0..self.messages.len()).filter(|index| wanted.get(*index) == Some(&true)).collect();
        if let Some(spans) = self.by_generation(&indices) {
            return Ok(spans);
        }
        let mut spans = Vec::with_capacity(indices.len());
        let mut aligned: Option<Vec<Option<Range<usize>>>> = None;
        for index in indices {
            if let Some(span) = self.by_prefix(index) {
                spans.push((index, span));
                continue;
            }
            if aligned.is_none() {
                aligned = Some(self.align()?);
            }
            let content = aligned.as_ref().and_then(|spans| spans.get(index).cloned().flatten());
            let content = content.ok_or_else(|| {
                MaskError::Place(format!("the chat template shows turn {} in a way that cannot be marked", index + 1))
            })?;
            let end = self.turn_end_behind(content.end);
            spans.push((index, content.start..end));
        }
        Ok(spans)
    }

    /// The template's own blocks, when there is exactly one for each assistant turn.
    fn by_generation(&self, indices: &[usize]) -> Option<Vec<(usize, Range<usize>)>> {
        let answers: Vec<usize> = (0..self.messages.len())
            .filter(|index| self.messages.get(*index).is_some_and(|m| m.role == "assistant"))
            .collect();
        if self.generated.is_empty() || self.generated.len() != answers.len() {
            return None;
        }
        indices
            .iter()
            .map(|index| {
                let block = self.generated.get(answers.iter().position(|answer| answer == index)?)?;
                let closed = self.codec.special().stop.iter().any(|id| {
                    let token = self.codec.token(*id);
                    token.is_some_and(|token| {
                        self.text.get(block.clone()).is_some_and(|text| text.trim_end().ends_with(&token))
                    })
                });
                let end = if closed { block.end } else { self.turn_end_behind(block.end) };
                Some((*index, block.start..end))
            })
            .collect()
    }

    /// What lies between the conversation up to a turn and the conversation with it.
    fn by_prefix(&self, index: usize) -> Option<Range<usize>> {
        let message = self.messages.get(index)?;
        let render =
            |count: usize, prompt: bool| self.codec.render_chat(self.messages.get(..count)?, self.tools, prompt).ok();
        let before = render(index, message.role == "assistant")?;
        let with_turn = if index + 1 == self.messages.len() { self.text.to_owned() } else { render(index + 1, false)? };
        let certain =
            self.text.starts_with(&with_turn) && with_turn.starts_with(&before) && before.len() < with_turn.len();
        if !certain {
            return None;
        }
        Some(before.len()..self.end_of_turn(before.len()..with_turn.len(), message.text()))
    }

    /// The end of a turn inside its range: behind the first stop token that follows the content. The blanks
    /// that templates write behind it are never generated. Without a stop token the range ends as it is.
    fn end_of_turn(&self, range: Range<usize>, content: &str) -> usize {
        let Some(turn) = self.text.get(range.clone()) else { return range.end };
        let content = content.trim();
        let from = turn.find(content).map_or(0, |at| at + content.len());
        let stops =
            self.codec.special().stop.iter().filter_map(|id| self.codec.token(*id)).filter(|token| !token.is_empty());
        let rest = turn.get(from..).unwrap_or_default();
        let first = stops.filter_map(|token| rest.find(&token).map(|at| at + token.len())).min();
        first.map_or(range.end, |behind| range.start + from + behind)
    }

    /// `at`, or the place behind the stop token that follows, blanks between them included.
    fn turn_end_behind(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let blanks = rest.len() - rest.trim_start().len();
        match self.codec.control_at(rest.trim_start()) {
            Some((id, len)) if self.codec.special().stop.contains(&id) => at + blanks + len,
            _ => at,
        }
    }

    /// Ranges of contents by alignment: from the first turn on as far as the whole agrees, `None` for turns
    /// without a text and for those behind the first disagreement. A content counts only when the
    /// template's text before it and behind it is there, too.
    fn align(&self) -> Result<Vec<Option<Range<usize>>>, MaskError> {
        let spoken: String = self.messages.iter().map(|message| message.text()).collect();
        let mark = (0xF_8000..0xF_F000_u32)
            .filter_map(char::from_u32)
            .find(|c| !spoken.contains(*c) && !self.codec.chat_template().contains(*c))
            .ok_or_else(|| MaskError::Place("the conversation uses every private-use character".to_owned()))?;
        let marked: Vec<ChatMessage> = self
            .messages
            .iter()
            .map(|message| {
                let mut message = message.clone();
                if !message.text().trim().is_empty() {
                    message.content = Value::String(mark.to_string());
                }
                message
            })
            .collect();
        let frame = self
            .codec
            .render_chat(&marked, self.tools, false)
            .map_err(|error| MaskError::Template(error.to_string()))?;
        let mut literals = frame.split(mark);
        let mut at = literals.next().filter(|first| self.text.starts_with(first)).map(str::len);
        let mut spans = Vec::with_capacity(self.messages.len());
        for message in self.messages {
            if message.text().trim().is_empty() {
                spans.push(None);
                continue;
            }
            let shown = at.zip(literals.next()).and_then(|(start, literal)| {
                let rest = self.text.get(start..)?;
                let fits = |content: &&str| rest.strip_prefix(*content).is_some_and(|tail| tail.starts_with(literal));
                let content = variants(message.text()).into_iter().find(fits)?;
                Some((start..start + content.len(), literal.len()))
            });
            at = shown.as_ref().map(|(span, literal)| span.end + literal);
            spans.push(shown.map(|(span, _)| span));
        }
        Ok(spans)
    }

    /// Applies ranges of characters with marks of their own.
    fn detailed(&self, turns: &[Turn], spans: Vec<Range<usize>>) -> Result<Vec<Range<usize>>, MaskError> {
        let mut on = vec![false; self.text.len()];
        for span in spans {
            on.get_mut(span).into_iter().for_each(|part| part.fill(true));
        }
        let contents = self.align()?;
        for (turn, content) in turns.iter().zip(contents).filter(|(turn, _)| !turn.detail.is_empty()) {
            let said = content.and_then(|range| Some((range.start, self.text.get(range)?)));
            let (start, said) = said.filter(|(_, said)| *said == turn.message.text()).ok_or_else(|| {
                MaskError::Place("a train_detail belongs to a turn that the template changes".to_owned())
            })?;
            let byte = |chars: usize| said.char_indices().nth(chars).map_or(said.len(), |(at, _)| at);
            for (from, to, flag) in &turn.detail {
                let range = start + byte(*from)..start + byte(*to);
                on.get_mut(range).into_iter().for_each(|part| part.fill(*flag));
            }
        }
        let mut spans: Vec<Range<usize>> = Vec::new();
        for at in (0..on.len()).filter(|at| on.get(*at) == Some(&true)) {
            match spans.last_mut() {
                Some(last) if last.end == at => last.end = at + 1,
                _ => spans.push(at..at + 1),
            }
        }
        Ok(spans)
    }
}

/// The forms in which templates show a content: as it is, trimmed on either side, without the reasoning
/// before `</think>`.
fn variants(content: &str) -> Vec<&str> {
    let mut forms = vec![content, content.trim(), content.trim_start(), content.trim_end()];
    if let Some((_, answer)) = content.rsplit_once("</think>") {
        forms.extend([answer, answer.trim_start_matches('\n'), answer.trim()]);
    }
    forms
}
