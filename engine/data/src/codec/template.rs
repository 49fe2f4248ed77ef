//! Chat templates: Jinja text that turns a conversation into the text a model was tuned on.
//!
//! Rendering follows transformers: block tags swallow the newline behind them and the blanks before
//! them, `raise_exception`, `strftime_now` and `tojson` exist, Python's string methods work, and
//! `{% generation %}` blocks mark what the assistant says. The marks are made by two characters from a
//! private-use plane that occur neither in the template nor in the conversation; they are taken out of
//! the result again and leave byte ranges behind.

use super::python::{self, TemplateDate};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value};
use regex::{Captures, Regex};
use std::collections::BTreeMap;
use std::ops::Range;

const NAME: &str = "chat";
const OPEN: &str = "temper_generation_open";
const CLOSE: &str = "temper_generation_close";

/// The template of models that have none: roles in words, an answer ends with the end-of-text token.
/// It is exported with the model, so that others talk to it in the same form. A tokenizer that begins
/// every text with a token gets `{{ bos_token }}` in front of it.
pub const PLAIN_TEMPLATE: &str = "{% for message in messages %}\
{% if message['role'] == 'assistant' %}Assistant: {{ message['content'] }}{{ eos_token }}{{ '\\n\\n' }}\
{% elif message['role'] == 'system' %}System: {{ message['content'] }}{{ '\\n\\n' }}\
{% elif message['role'] == 'user' %}User: {{ message['content'] }}{{ '\\n\\n' }}\
{% else %}{{ message['role'] }}: {{ message['content'] }}{{ '\\n\\n' }}\
{% endif %}{% endfor %}\
{% if add_generation_prompt %}Assistant:{% endif %}";

/// A turn of a conversation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ChatMessage {
    /// `system`, `user`, `assistant`, `tool` or whatever the template knows.
    pub role: String,
    /// Text, a list of typed parts, or null for a turn that only calls tools.
    pub content: serde_json::Value,
    /// Everything else that templates look at, such as `tool_calls` or `name`.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl ChatMessage {
    /// A turn of plain text.
    #[must_use]
    pub fn new(role: &str, content: &str) -> Self {
        Self {
            role: role.to_owned(),
            content: serde_json::Value::String(content.to_owned()),
            extra: serde_json::Map::new(),
        }
    }

    /// The content when it is text, else empty.
    #[must_use]
    pub fn text(&self) -> &str {
        self.content.as_str().unwrap_or_default()
    }

    fn template_value(&self) -> Value {
        let own = [
            ("role".to_owned(), Value::from(self.role.as_str())),
            ("content".to_owned(), python::to_template_value(&self.content)),
        ];
        let extra = self.extra.iter().map(|(key, value)| (key.clone(), python::to_template_value(value)));
        Value::from_pairs(own.into_iter().chain(extra))
    }
}

/// A rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Byte ranges of `{% generation %}` blocks, in order; empty when the template has none.
    pub generated: Vec<Range<usize>>,
}

/// A compiled chat template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    has_generation: bool,
    /// Special tokens by the name templates use, such as `bos_token`.
    tokens: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Compiles `source`.
    ///
    /// # Errors
    /// The line and message of a syntax error.
    pub(super) fn new(source: &str, tokens: BTreeMap<String, String>, date: TemplateDate) -> Result<Self, String> {
        let (marked, has_generation) = mark_generation(source)?;
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(|e| say(&e))?;
        environment.set_syntax(syntax);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Seq | ValueKind::Map => {
                let mut text = String::new();
                python::repr(value, &mut text);
                out.write_str(&text).map_err(|error| Error::new(ErrorKind::WriteFailure, error.to_string()))
            }
            _ => minijinja::escape_formatter(out, state, value),
        });
        environment.add_filter("tojson", |value: Value, options: Kwargs| python::to_json(&value, options));
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", move |format: String| date.strftime(&format));
        environment.add_template_owned(NAME, marked).map_err(|error| say(&error))?;
        Ok(Self { source: source.to_owned(), environment, has_generation, tokens })
    }

    /// The text that was compiled.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template marks what the assistant says.
    pub(super) fn has_generation(&self) -> bool {
        self.has_generation
    }

    /// Renders a conversation; `add_generation_prompt` ends it where the assistant would begin.
    ///
    /// # Errors
    /// What the template says, such as "roles must alternate", with its line.
    pub(super) fn render(
        &self,
        messages: &[ChatMessage],
        tools: Option<&serde_json::Value>,
        extra: &[(&str, Value)],
        add_generation_prompt: bool,
    ) -> Result<Rendered, String> {
        let (open, close) = self.marks(messages)?;
        let mut context: Vec<(String, Value)> =
            self.tokens.iter().map(|(name, token)| (name.clone(), Value::from(token.as_str()))).collect();
        let turns: Vec<Value> = messages.iter().map(ChatMessage::template_value).collect();
        context.push(("messages".to_owned(), Value::from(turns)));
        context.push(("tools".to_owned(), tools.map_or_else(|| Value::from(()), python::to_template_value)));
        context.push(("documents".to_owned(), Value::from(())));
        context.push(("add_generation_prompt".to_owned(), Value::from(add_generation_prompt)));
        context.push((OPEN.to_owned(), Value::from(open)));
        context.push((CLOSE.to_owned(), Value::from(close)));
        context.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let template = self.environment.get_template(NAME).map_err(|error| say(&error))?;
        let text = template.render(Value::from_pairs(context)).map_err(|error| say(&error))?;
        Ok(if self.has_generation { take_marks(&text, open, close) } else { Rendered { text, generated: Vec::new() } })
    }

    /// Two characters that occur in none of the texts.
    fn marks(&self, messages: &[ChatMessage]) -> Result<(char, char), String> {
        if !self.has_generation {
            return Ok(('\u{F0000}', '\u{F0001}'));
        }
        let spoken = serde_json::to_string(messages).map_err(|error| error.to_string())?;
        (0..32_000_u32)
            .filter_map(|pair| char::from_u32(0xF_0000 + 2 * pair).zip(char::from_u32(0xF_0001 + 2 * pair)))
            .find(|(open, close)| ![*open, *close].iter().any(|c| spoken.contains(*c) || self.source.contains(*c)))
            .ok_or_else(|| "the conversation uses every private-use character".to_owned())
    }
}

/// Message and line of a template error; what `raise_exception` says comes first.
fn say(error: &Error) -> String {
    let message = error.detail().map_or_else(|| error.kind().to_string(), ToOwned::to_owned);
    error.line().map_or_else(|| message.clone(), |line| format!("{message} (chat template line {line})"))
}

/// Replaces `{% generation %}` and `{% endgeneration %}` by tags that print the marks. The tag is kept a
/// block (an `if`), so that the newline and blanks around it are treated as those of the original.
fn mark_generation(source: &str) -> Result<(String, bool), String> {
    let tag = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").map_err(|error| error.to_string())?;
    let mut found = false;
    let marked = tag.replace_all(source, |parts: &Captures<'_>| {
        found = true;
        let group = |index| parts.get(index).map_or("", |part| part.as_str());
        let name = if group(2).is_empty() { OPEN } else { CLOSE };
        format!("{{%{} if true %}}{{{{ {name} }}}}{{% endif {}%}}", group(1), group(3))
    });
    Ok((marked.into_owned(), found))
}

/// Takes the marks out of a text and returns the ranges between them. A mark without its partner, left
/// by a template that cuts its own output, ends at the end of the text.
fn take_marks(text: &str, open: char, close: char) -> Rendered {
    let mut clean = String::with_capacity(text.len());
    let mut generated = Vec::new();
    let mut start = None;
    for c in text.chars() {
        if c == open {
            start = Some(clean.len());
        } else if c == close {
            if let Some(start) = start.take().filter(|start| *start < clean.len()) {
                generated.push(start..clean.len());
            }
        } else {
            clean.push(c);
        }
    }
    if let Some(start) = start.filter(|start| *start < clean.len()) {
        generated.push(start..clean.len());
    }
    Rendered { text: clean, generated }
}
