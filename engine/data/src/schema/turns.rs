//! Lists of turns: other spellings of roles and fields, flags, tool calls, repairs.

use super::Turn;
use crate::codec::ChatMessage;
use serde_json::{Map, Value, json};

/// How a list of turns is written.
pub(super) struct Spelling<'a> {
    /// Field of the speaker.
    pub(super) role: &'a str,
    /// Field of what is said.
    pub(super) content: &'a str,
    /// The data set's names of speakers and ours.
    pub(super) speakers: Vec<(&'a str, &'static str)>,
    /// Whether a speaker outside the list is an error (ShareGPT) or left to the template (OpenAI).
    pub(super) strict: bool,
}

/// Fields that are about the loss, not for the template.
const FLAGS: &[&str] = &["train", "training", "weight", "train_detail"];

/// A value that is a list, or a text that holds one as JSON (a cell of a table).
pub(super) fn list_of(value: &Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items.clone()),
        Value::String(text) if text.trim_start().starts_with('[') => serde_json::from_str(text).ok(),
        _ => None,
    }
}

fn speaker(name: &str, spelling: &Spelling<'_>) -> Option<String> {
    if let Some((_, ours)) = spelling.speakers.iter().find(|(theirs, _)| *theirs == name) {
        return Some((*ours).to_owned());
    }
    let ours = match name.trim().to_ascii_lowercase().as_str() {
        "user" | "human" | "prompter" => "user",
        "assistant" | "gpt" | "model" | "bot" | "chatgpt" | "bard" | "ai" => "assistant",
        "system" | "developer" => "system",
        "tool" | "observation" | "function_response" => "tool",
        "function_call" => "function_call",
        _ if spelling.strict => return None,
        _ => return Some(name.to_owned()),
    };
    Some(ours.to_owned())
}

/// Turns of a list.
///
/// # Errors
/// Which turn cannot be read and why.
pub(super) fn turns_of(list: &[Value], spelling: &Spelling<'_>) -> Result<Vec<Turn>, String> {
    list.iter()
        .enumerate()
        .map(|(index, value)| turn_of(value, spelling).map_err(|why| format!("turn {}: {why}", index + 1)))
        .collect()
}

fn turn_of(value: &Value, spelling: &Spelling<'_>) -> Result<Turn, String> {
    let Some(fields) = value.as_object() else {
        return Err("is not an object with a speaker and a content".to_owned());
    };
    let name =
        fields.get(spelling.role).and_then(Value::as_str).ok_or_else(|| format!("has no \"{}\"", spelling.role))?;
    let role = speaker(name, spelling).ok_or_else(|| format!("the speaker \"{name}\" is unknown"))?;
    let mut extra: Map<String, Value> = fields
        .iter()
        .filter(|(key, value)| {
            *key != spelling.role && *key != spelling.content && !FLAGS.contains(&key.as_str()) && !value.is_null()
        })
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if let Some(calls) = extra.get_mut("tool_calls") {
        open_arguments(calls);
    }
    let calls_tools = extra.contains_key("tool_calls");
    let content = match fields.get(spelling.content) {
        Some(Value::String(text)) => Value::String(text.clone()),
        Some(Value::Array(parts)) => Value::String(text_of_parts(parts)?),
        Some(Value::Number(number)) => Value::String(number.to_string()),
        Some(Value::Bool(flag)) => Value::String(flag.to_string()),
        Some(object @ Value::Object(_)) if role == "tool" || role == "function_call" => {
            Value::String(object.to_string())
        }
        None | Some(Value::Null) if calls_tools => Value::Null,
        _ => return Err(format!("has no text in \"{}\"", spelling.content)),
    };
    let message = if role == "function_call" {
        function_call(content.as_str().unwrap_or_default())
    } else {
        ChatMessage { role, content, extra }
    };
    Ok(Turn { message, train: flag_of(fields), detail: detail_of(fields)? })
}

/// A call written as text `{"name": ..., "arguments": ...}` becomes a tool call, anything else stays text.
fn function_call(text: &str) -> ChatMessage {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let calls: Option<Vec<Value>> = parsed.and_then(|value| {
        let list = if let Value::Array(list) = value { list } else { vec![value] };
        let named = list.iter().all(|call| call.get("name").is_some_and(Value::is_string));
        (named && !list.is_empty())
            .then(|| list.into_iter().map(|call| json!({"type": "function", "function": call})).collect())
    });
    let mut message = ChatMessage::new("assistant", text);
    if let Some(calls) = calls {
        let mut calls = Value::Array(calls);
        open_arguments(&mut calls);
        message.content = Value::String(String::new());
        message.extra.insert("tool_calls".to_owned(), calls);
    }
    message
}

/// Arguments of tool calls come as objects or as JSON in a text; templates want objects.
fn open_arguments(calls: &mut Value) {
    for call in calls.as_array_mut().into_iter().flatten() {
        let inner = if call.get("function").is_some() { call.get_mut("function") } else { Some(call) };
        let Some(arguments) = inner.and_then(|function| function.get_mut("arguments")) else { continue };
        if let Some(parsed) = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok())
            && parsed.is_object()
        {
            *arguments = parsed;
        }
    }
}

fn text_of_parts(parts: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    for part in parts {
        match part {
            Value::String(piece) => text.push_str(piece),
            Value::Object(fields) => match fields.get("text") {
                Some(Value::String(piece)) => text.push_str(piece),
                _ => {
                    let kind = fields.get("type").and_then(Value::as_str).unwrap_or("unknown");
                    return Err(format!("holds a part of type \"{kind}\"; only text can be trained"));
                }
            },
            _ => return Err("holds a part that is not text".to_owned()),
        }
    }
    Ok(text)
}

fn flag_of(fields: &Map<String, Value>) -> Option<bool> {
    ["train", "training", "weight"].iter().find_map(|key| match fields.get(*key) {
        Some(Value::Bool(flag)) => Some(*flag),
        Some(Value::Number(weight)) => Some(weight.as_f64().unwrap_or(0.0) > 0.0),
        _ => None,
    })
}

/// Ranges of characters with a mark of their own; `end_offset` is the last character of the range.
fn detail_of(fields: &Map<String, Value>) -> Result<Vec<(usize, usize, bool)>, String> {
    let Some(list) = fields.get("train_detail").and_then(Value::as_array) else { return Ok(Vec::new()) };
    list.iter()
        .map(|range| {
            let offset =
                |key: &str| range.get(key).and_then(Value::as_u64).and_then(|offset| usize::try_from(offset).ok());
            let flag = range.get("train").and_then(Value::as_bool);
            match (offset("begin_offset"), offset("end_offset"), flag) {
                (Some(begin), Some(end), Some(flag)) if begin <= end => Ok((begin, end.saturating_add(1), flag)),
                _ => Err("has a train_detail without begin_offset, end_offset and train".to_owned()),
            }
        })
        .collect()
}

/// Joins neighbouring turns of one speaker (ShareGPT files hold them, templates refuse them). Returns how
/// many were joined. Turns with flags or tool calls are left alone.
pub(super) fn join_neighbours(turns: Vec<Turn>) -> (Vec<Turn>, u32) {
    let mut joined: Vec<Turn> = Vec::with_capacity(turns.len());
    let mut count = 0;
    let plain = |turn: &Turn| turn.message.extra.is_empty() && turn.train.is_none() && turn.detail.is_empty();
    for turn in turns {
        match joined.last_mut() {
            Some(last)
                if last.message.role == turn.message.role
                    && turn.message.role != "tool"
                    && plain(last)
                    && plain(&turn) =>
            {
                let text = format!("{}\n{}", last.message.text(), turn.message.text());
                last.message.content = Value::String(text);
                count += 1;
            }
            _ => joined.push(turn),
        }
    }
    (joined, count)
}
