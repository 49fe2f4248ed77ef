//! Recognising the schema of a single row.

use super::Schema;
use super::turns::list_of;
use crate::read::Row;
use serde_json::Value;
use std::collections::BTreeMap;

/// A guess: schema, columns that need renaming, and how sure the names make us.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Guess {
    pub(super) schema: Schema,
    pub(super) columns: BTreeMap<String, String>,
    pub(super) confidence: f64,
}

/// Question and answer under other names, best first.
const PAIRS: &[(&str, &str)] = &[
    ("question", "answer"),
    ("query", "response"),
    ("query", "answer"),
    ("prompt", "response"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("prompt", "chosen"),
    ("question", "response"),
    ("question", "output"),
    ("input", "output"),
    ("input", "target"),
    ("input", "response"),
    ("source", "target"),
    ("problem", "solution"),
    ("user", "assistant"),
    ("human", "assistant"),
    ("q", "a"),
];

fn keys_of(row: &Row, column: &str, keys: &[&str]) -> Option<bool> {
    let list = list_of(row.get(column)?)?;
    let first: Option<&Value> = list.first();
    Some(first.is_some_and(|turn| keys.iter().all(|key| turn.get(*key).is_some())))
}

fn is_text_or_list(row: &Row, column: &str) -> bool {
    matches!(row.get(column), Some(Value::String(_) | Value::Array(_) | Value::Object(_)))
}

fn is_flag(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(_)) => true,
        Some(Value::Number(number)) => matches!(number.as_i64(), Some(0 | 1)),
        Some(Value::String(text)) => matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "0" | "1"),
        _ => false,
    }
}

/// The schema of `row`, `None` when its columns say nothing.
pub(super) fn detect(row: &Row) -> Option<Guess> {
    let sure = |schema: Schema, confidence: f64| Some(Guess { schema, columns: BTreeMap::new(), confidence });
    let mapped = |schema: Schema, columns: &[(&str, &str)], confidence: f64| {
        let columns = columns.iter().map(|(role, column)| ((*role).to_owned(), (*column).to_owned())).collect();
        Some(Guess { schema, columns, confidence })
    };
    if keys_of(row, "segments", &["label", "text"]) == Some(true) {
        return sure(Schema::Segments, 0.99);
    }
    let pair = is_text_or_list(row, "chosen") && is_text_or_list(row, "rejected");
    for column in ["messages", "conversations", "conversation", "dialog", "dialogue", "chat"] {
        let (openai, sharegpt) = (keys_of(row, column, &["role"]), keys_of(row, column, &["from", "value"]));
        if openai != Some(true) && sharegpt != Some(true) {
            continue;
        }
        let own = if openai == Some(true) { "messages" } else { "conversations" };
        let columns: &[(&str, &str)] = if own == column { &[] } else { &[(own, column)] };
        if pair {
            return mapped(Schema::Preference, columns, 0.95);
        }
        if let Some(label) = ["kto_tag", "label"].into_iter().find(|name| is_flag(row.get(*name))) {
            let with_label: Vec<_> = columns.iter().copied().chain([("label", label)]).collect();
            return mapped(Schema::Kto, &with_label, 0.9);
        }
        let schema = if own == "messages" { Schema::Messages } else { Schema::Sharegpt };
        return mapped(schema, columns, if columns.is_empty() { 0.99 } else { 0.9 });
    }
    if pair {
        return sure(Schema::Preference, 0.95);
    }
    let has = |column: &str| row.contains_key(column);
    if has("prompt") && has("completions") && has("labels") {
        return sure(Schema::Stepwise, 0.95);
    }
    if is_text_or_list(row, "prompt") && is_text_or_list(row, "completion") {
        return if is_flag(row.get("label")) { sure(Schema::Kto, 0.9) } else { sure(Schema::PromptCompletion, 0.97) };
    }
    if has("instruction") && has("output") {
        return sure(Schema::Alpaca, 0.97);
    }
    if matches!(row.get("text"), Some(Value::String(_))) {
        return sure(Schema::Text, if row.len() == 1 { 0.97 } else { 0.8 });
    }
    plausible(row)
}

/// Names that are not exact: other spellings, and a single column of text.
fn plausible(row: &Row) -> Option<Guess> {
    let named = |wanted: &str| row.keys().find(|name| name.trim().eq_ignore_ascii_case(wanted)).cloned();
    let guess = |schema: Schema, columns: Vec<(&str, String)>, confidence: f64| {
        let columns = columns.into_iter().map(|(role, column)| (role.to_owned(), column)).collect();
        Some(Guess { schema, columns, confidence })
    };
    for (instruction, output) in [("instruction", "response"), ("instruction", "answer"), ("instruction", "output")] {
        if let (Some(instruction), Some(output)) = (named(instruction), named(output)) {
            let input = named("input").or_else(|| named("context")).map(|column| ("input", column));
            let columns = [("instruction", instruction), ("output", output)].into_iter().chain(input).collect();
            return guess(Schema::Alpaca, columns, 0.75);
        }
    }
    if let (Some(prompt), Some(completion)) = (named("prompt"), named("completion")) {
        return guess(Schema::PromptCompletion, vec![("prompt", prompt), ("completion", completion)], 0.75);
    }
    for (question, answer) in PAIRS {
        if let (Some(question), Some(answer)) = (named(question), named(answer)) {
            return guess(Schema::PromptCompletion, vec![("prompt", question), ("completion", answer)], 0.65);
        }
    }
    for name in ["text", "content", "document", "article", "body"] {
        if let Some(column) = named(name).filter(|column| matches!(row.get(column), Some(Value::String(_)))) {
            return guess(Schema::Text, vec![("text", column)], 0.55);
        }
    }
    let mut texts = row.iter().filter(|(_, value)| value.is_string());
    match (texts.next(), texts.next()) {
        (Some((column, _)), None) if row.len() == 1 => guess(Schema::Text, vec![("text", column.clone())], 0.5),
        _ => None,
    }
}
