//! Rows of every schema into samples.

use super::plan::Plan;
use super::turns::{Spelling, join_neighbours, list_of, turns_of};
use super::{Body, Converted, Sample, Schema, Segment, Turn};
use crate::codec::ChatMessage;
use crate::read::Row;
use serde_json::Value;

/// Turns a row, its columns named by role already, into a sample.
pub(super) fn convert(row: Row, plan: &Plan) -> Result<Converted, String> {
    let sample = |body: Body| Ok(Converted::Sample(Sample { body, repairs: 0 }));
    match plan.schema {
        Schema::Segments => sample(Body::Segments { parts: segments(&row)?, ends: false }),
        Schema::Text => {
            let text = text(&row, "text")?;
            if text.trim().is_empty() {
                return Err("the text is empty".to_owned());
            }
            sample(Body::Text(text))
        }
        Schema::RawCompletion => {
            let parts = vec![
                Segment { label: false, text: text(&row, "prompt")? },
                Segment { label: true, text: filled(&row, "completion")? },
            ];
            sample(Body::Segments { parts, ends: true })
        }
        Schema::Messages => conversation(&row, plan, "messages", Vec::new()),
        Schema::Sharegpt => conversation(&row, plan, "conversations", Vec::new()),
        Schema::PromptCompletion => question_answer(&row, plan, "completion"),
        Schema::Alpaca => alpaca(&row),
        Schema::Preference => question_answer(&row, plan, "chosen"),
        Schema::Kto => {
            let good = flag(row.get("label")).ok_or("the label is neither true nor false")?;
            if !good {
                return Ok(Converted::LeftOut);
            }
            if row.contains_key("completion") {
                question_answer(&row, plan, "completion")
            } else {
                let column = if row.contains_key("messages") { "messages" } else { "conversations" };
                conversation(&row, plan, column, Vec::new())
            }
        }
        Schema::Stepwise => {
            Err("step-wise labels are for reward models, which this program does not train; map prompt \
                                 and completion instead"
                .to_owned())
        }
        Schema::Table => {
            let mut turns = system_turn(&row)?;
            turns.extend(exchange(&row)?);
            sample(Body::Chat { turns, tools: None })
        }
    }
}

fn flag(value: Option<&Value>) -> Option<bool> {
    match value? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_f64()? > 0.0),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Some(true),
            "false" | "0" | "no" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn text(row: &Row, column: &str) -> Result<String, String> {
    match row.get(column) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(flag)) => Ok(flag.to_string()),
        Some(Value::Null) | None => Err(format!("\"{column}\" is missing")),
        Some(_) => Err(format!("\"{column}\" is not a text")),
    }
}

/// A text that is not blank.
fn filled(row: &Row, column: &str) -> Result<String, String> {
    let text = text(row, column)?;
    if text.trim().is_empty() { Err(format!("\"{column}\" is empty")) } else { Ok(text) }
}

/// A text that may be missing.
fn optional(row: &Row, column: &str) -> Result<Option<String>, String> {
    match row.get(column) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(row, column).map(|text| Some(text).filter(|text| !text.trim().is_empty())),
    }
}

fn said(role: &str, text: &str) -> Turn {
    Turn { message: ChatMessage::new(role, text), train: None, detail: Vec::new() }
}

fn system_turn(row: &Row) -> Result<Vec<Turn>, String> {
    Ok(optional(row, "system")?.map(|text| said("system", &text)).into_iter().collect())
}

/// Question and answer of a table row.
pub(super) fn exchange(row: &Row) -> Result<[Turn; 2], String> {
    Ok([said("user", &filled(row, "prompt")?), said("assistant", &filled(row, "answer")?)])
}

fn segments(row: &Row) -> Result<Vec<Segment>, String> {
    let list = row.get("segments").and_then(list_of).ok_or("\"segments\" is not a list")?;
    let parts: Vec<Segment> = list
        .iter()
        .enumerate()
        .map(|(index, part)| {
            let label = flag(part.get("label")).ok_or_else(|| format!("segment {} has no label", index + 1))?;
            let text = part.get("text").and_then(Value::as_str);
            let text = text.ok_or_else(|| format!("segment {} has no text", index + 1))?.to_owned();
            Ok(Segment { label, text })
        })
        .collect::<Result<_, String>>()?;
    if parts.iter().any(|part| part.label && !part.text.is_empty()) {
        Ok(parts)
    } else {
        Err("no segment is marked for training".to_owned())
    }
}

fn spelling<'a>(plan: &'a Plan, list: &[Value]) -> Spelling<'a> {
    let mapped = plan.columns.contains_key("from") || plan.columns.contains_key("role");
    let openai = if mapped {
        plan.columns.contains_key("role")
    } else {
        list.first().is_some_and(|turn| turn.get("role").is_some())
    };
    let speakers = [
        ("user", "user"),
        ("assistant", "assistant"),
        ("tool", "tool"),
        ("function", "function_call"),
        ("system_role", "system"),
    ];
    let speakers = speakers.iter().filter(|(role, _)| plan.columns.contains_key(*role));
    Spelling {
        role: plan.inner(if openai { "role" } else { "from" }),
        content: plan.inner(if openai { "content" } else { "value" }),
        speakers: speakers.map(|(role, ours)| (plan.inner(role), *ours)).collect(),
        strict: !openai,
    }
}

fn turns_in(value: &Value, plan: &Plan) -> Result<Option<Vec<Turn>>, String> {
    match value {
        // LLaMA-Factory writes the chosen answer as a single turn.
        Value::Object(_) => {
            let list = [value.clone()];
            turns_of(&list, &spelling(plan, &list)).map(Some)
        }
        _ => match list_of(value) {
            Some(list) => turns_of(&list, &spelling(plan, &list)).map(Some),
            None => Ok(None),
        },
    }
}

fn tools(row: &Row) -> Result<Option<Value>, String> {
    match row.get("tools") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => {
            serde_json::from_str(text).map(Some).map_err(|error| format!("\"tools\" is not valid JSON: {error}"))
        }
        Some(Value::Array(list)) if list.is_empty() => Ok(None),
        Some(list @ Value::Array(_)) => Ok(Some(list.clone())),
        Some(_) => Err("\"tools\" is not a list".to_owned()),
    }
}

/// A list of turns, with a system text of the row in front and an answer behind.
fn conversation(row: &Row, plan: &Plan, column: &str, answer: Vec<Turn>) -> Result<Converted, String> {
    let value = row.get(column).ok_or_else(|| format!("\"{column}\" is missing"))?;
    let mut turns = turns_in(value, plan)?.ok_or_else(|| format!("\"{column}\" is not a list of turns"))?;
    let repair = column == "conversations";
    if turns.first().is_none_or(|turn| turn.message.role != "system") {
        let mut all = system_turn(row)?;
        all.append(&mut turns);
        turns = all;
    }
    turns.extend(answer);
    finish(turns, tools(row)?, repair)
}

fn finish(turns: Vec<Turn>, tools: Option<Value>, repair: bool) -> Result<Converted, String> {
    let (turns, repairs) = if repair { join_neighbours(turns) } else { (turns, 0) };
    let answers = |turn: &Turn| {
        let filled = !turn.message.text().trim().is_empty() || turn.message.extra.contains_key("tool_calls");
        (turn.message.role == "assistant" && filled) || turn.train == Some(true)
    };
    if !turns.iter().any(answers) {
        return Err("there is no answer to train on".to_owned());
    }
    Ok(Converted::Sample(Sample { body: Body::Chat { turns, tools }, repairs }))
}

/// Prompt and answer, each a text or a list of turns. Without a prompt, both answers share their first
/// turns and the chosen one is the whole conversation.
fn question_answer(row: &Row, plan: &Plan, column: &str) -> Result<Converted, String> {
    let value = row.get(column).ok_or_else(|| format!("\"{column}\" is missing"))?;
    let answer = match turns_in(value, plan)? {
        Some(turns) => turns,
        None => vec![said("assistant", &filled(row, column)?)],
    };
    for list in ["messages", "conversations"] {
        if row.contains_key(list) {
            return conversation(row, plan, list, answer);
        }
    }
    let mut turns = system_turn(row)?;
    match row.get("prompt") {
        None | Some(Value::Null) if answer.len() > 1 => {}
        None | Some(Value::Null) => return Err("\"prompt\" is missing".to_owned()),
        Some(prompt) => match turns_in(prompt, plan)? {
            Some(list) => turns.extend(list),
            None => turns.push(said("user", &filled(row, "prompt")?)),
        },
    }
    // Some preference sets repeat the prompt inside the chosen conversation.
    let spoken = turns.len();
    if spoken > 0 && answer.len() > spoken && answer.iter().zip(&turns).all(|(a, b)| a.message == b.message) {
        turns.clear();
    }
    turns.extend(answer);
    finish(turns, tools(row)?, false)
}

fn alpaca(row: &Row) -> Result<Converted, String> {
    let mut turns = system_turn(row)?;
    if let Some(history) = row.get("history").filter(|value| !value.is_null()) {
        for (index, pair) in list_of(history).ok_or("\"history\" is not a list")?.iter().enumerate() {
            let side = |at: usize| pair.get(at).and_then(Value::as_str);
            match (side(0), side(1)) {
                (Some(question), Some(answer)) => turns.extend([said("user", question), said("assistant", answer)]),
                _ => return Err(format!("\"history\" entry {} is not a pair of texts", index + 1)),
            }
        }
    }
    let instruction = optional(row, "instruction")?;
    let input = optional(row, "input")?;
    let question: Vec<&str> = [instruction.as_deref(), input.as_deref()].into_iter().flatten().collect();
    if question.is_empty() {
        return Err("\"instruction\" and \"input\" are empty".to_owned());
    }
    turns.push(said("user", &question.join("\n")));
    turns.push(said("assistant", &filled(row, "output")?));
    finish(turns, None, false)
}
