//! What rows mean: the families of data sets in use, recognised by their columns, and the one form all
//! of them are turned into.
//!
//! Recognition goes from the most specific family to the least (segments, messages, conversations,
//! preference pairs, labelled completions, prompt and completion, instruction and output, text); names
//! that are merely plausible come last and say so by a lower confidence. A project can name the schema
//! and the columns instead.
//!
//! Families made for other kinds of training: preference pairs are trained as prompt and chosen answer,
//! labelled completions as those labelled good, both with a warning; step-wise labels are refused.

mod convert;
mod detect;
mod plan;
mod thread;
mod turns;

pub use plan::Plan;
pub(crate) use plan::column_names;
pub(crate) use thread::{is_threaded, threads};

use crate::codec::ChatMessage;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A family of data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schema {
    /// `segments`: list of `{label, text}`; the exact form, no template.
    Segments,
    /// `messages`: list of `{role, content}`.
    Messages,
    /// `conversations`: list of `{from, value}`.
    Sharegpt,
    /// `prompt`, `chosen`, `rejected`.
    Preference,
    /// `prompt`, `completion`, `label`.
    Kto,
    /// `prompt`, `completions`, `labels`.
    Stepwise,
    /// `prompt`, `completion`: a question and its answer, through the chat template.
    PromptCompletion,
    /// `prompt`, `completion`: joined as they are, without a template; only by choice.
    RawCompletion,
    /// `instruction`, `input`, `output`.
    Alpaca,
    /// `text`: a document a row.
    Text,
    /// `prompt`, `answer`, `id`, `parent`: rows that form threads; only by mapping.
    Table,
}

impl Schema {
    /// All schemas in the order of recognition.
    pub const ALL: [Self; 11] = [
        Self::Segments,
        Self::Messages,
        Self::Sharegpt,
        Self::Preference,
        Self::Kto,
        Self::Stepwise,
        Self::PromptCompletion,
        Self::RawCompletion,
        Self::Alpaca,
        Self::Text,
        Self::Table,
    ];

    /// The name in project files and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::Messages => "messages",
            Self::Sharegpt => "sharegpt",
            Self::Preference => "preference",
            Self::Kto => "kto",
            Self::Stepwise => "stepwise",
            Self::PromptCompletion => "prompt-completion",
            Self::RawCompletion => "raw-completion",
            Self::Alpaca => "alpaca",
            Self::Text => "text",
            Self::Table => "table",
        }
    }

    /// The schema called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|schema| schema.name() == name)
    }

    /// Roles that `[data.columns]` may map, the needed ones first.
    #[must_use]
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            Self::Segments => &["segments"],
            Self::Messages => &["messages", "role", "content", "tools", "system"],
            Self::Sharegpt => &[
                "conversations",
                "from",
                "value",
                "tools",
                "system",
                "user",
                "assistant",
                "tool",
                "function",
                "system_role",
            ],
            Self::Preference => {
                &["chosen", "rejected", "prompt", "conversations", "messages", "from", "value", "system"]
            }
            Self::Kto => &["completion", "label", "prompt", "conversations", "messages", "from", "value", "system"],
            Self::Stepwise => &["prompt", "completions", "labels"],
            Self::PromptCompletion => &["prompt", "completion", "system", "tools"],
            Self::RawCompletion => &["prompt", "completion"],
            Self::Alpaca => &["instruction", "output", "input", "system", "history"],
            Self::Text => &["text"],
            Self::Table => &["prompt", "answer", "system", "id", "parent"],
        }
    }

    /// The roles without which no row can be read. Labelled completions have their answer either in a column of its own
    /// or at the end of a conversation, so that only the label is needed of them.
    #[must_use]
    pub fn needed(self) -> &'static [&'static str] {
        match self {
            Self::Segments => &["segments"],
            Self::Messages => &["messages"],
            Self::Sharegpt => &["conversations"],
            Self::Preference => &["chosen", "rejected"],
            Self::Kto => &["label"],
            Self::Stepwise => &["prompt", "completions", "labels"],
            Self::PromptCompletion | Self::RawCompletion => &["prompt", "completion"],
            Self::Alpaca => &["instruction", "output"],
            Self::Text => &["text"],
            Self::Table => &["prompt", "answer"],
        }
    }

    /// [`Self::roles`] that are whole columns; the others name fields and speakers inside turns.
    pub fn column_roles(self) -> impl Iterator<Item = &'static str> {
        self.roles().iter().copied().filter(|role| !plan::INNER.contains(role))
    }

    /// What a person should know before training on it.
    #[must_use]
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Preference => {
                Some("preference pairs are trained as question and chosen answer; the rejected answers are not used")
            }
            Self::Kto => Some("only answers labelled good are trained; the others are left out"),
            _ => None,
        }
    }
}

/// A piece of text with its mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Whether it is trained.
    pub label: bool,
    /// The text.
    pub text: String,
}

/// A turn with the data set's wishes about its loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// What the template sees.
    pub message: ChatMessage,
    /// Whether it is trained, where the data set says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<bool>,
    /// Ranges of characters of the content (from, behind the last) that differ from `train`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detail: Vec<(usize, usize, bool)>,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A document: all of it is trained, an end-of-text token is added, length has no limit.
    Text(String),
    /// Marked pieces, joined as they are.
    Segments {
        /// The pieces.
        parts: Vec<Segment>,
        /// Whether an end-of-text token is added (and trained).
        ends: bool,
    },
    /// A conversation for the chat template.
    Chat {
        /// The turns.
        turns: Vec<Turn>,
        /// Tools offered to the model.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tools: Option<Value>,
    },
}

/// A row in the one form that everything else works on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What it says.
    pub body: Body,
    /// Neighbouring turns of one speaker that were joined.
    #[serde(default)]
    pub repairs: u32,
}

/// A converted row.
#[derive(Debug, Clone, PartialEq)]
pub enum Converted {
    /// To be trained.
    Sample(Sample),
    /// Right, but not for this kind of training.
    LeftOut,
}

impl Sample {
    /// The question (or the beginning of the text) and the answer, for people.
    #[must_use]
    pub fn summary(&self) -> (String, String) {
        match &self.body {
            Body::Text(text) => (shorten(text), String::new()),
            Body::Segments { parts, .. } => {
                let joined = |label: bool| {
                    parts.iter().filter(|part| part.label == label).map(|part| part.text.as_str()).collect::<String>()
                };
                (shorten(&joined(false)), shorten(&joined(true)))
            }
            Body::Chat { turns, .. } => {
                let first = |role: &str| turns.iter().find(|turn| turn.message.role == role);
                let text = |turn: Option<&Turn>| {
                    let shown = turn.map(|turn| match &turn.message.content {
                        Value::String(text) => text.clone(),
                        Value::Null => Value::Object(turn.message.extra.clone()).to_string(),
                        other => other.to_string(),
                    });
                    shorten(&shown.unwrap_or_default())
                };
                (text(first("user").or_else(|| turns.first())), text(first("assistant")))
            }
        }
    }
}

fn shorten(text: &str) -> String {
    const MOST_CHARS: usize = 600;
    let mut short: String = text.chars().take(MOST_CHARS).collect();
    if text.chars().nth(MOST_CHARS).is_some() {
        short.push('…');
    }
    short
}
