//! Tables whose rows answer each other: `id` and `parent` make threads, every row without a child is the
//! end of a conversation.

use super::convert::exchange;
use super::{Body, Plan, Sample, Schema};
use crate::codec::ChatMessage;
use crate::read::Row;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A thread's last line and its conversation, or the reason why there is none.
pub(crate) type Threads = Vec<(u64, Result<Sample, String>)>;

fn key(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Whether `plan` reads a file as threads.
pub(crate) fn is_threaded(plan: &Plan) -> bool {
    plan.schema == Schema::Table && plan.columns.contains_key("parent") && plan.columns.contains_key("id")
}

/// All conversations of a table, in the order of their last rows.
pub(crate) fn threads(rows: Vec<(u64, Row)>, plan: &Plan) -> Threads {
    let rows: Vec<(u64, Row)> = rows.into_iter().map(|(line, row)| (line, plan.rename(row))).collect();
    let by_id: BTreeMap<String, usize> =
        rows.iter().enumerate().filter_map(|(index, (_, row))| Some((key(row.get("id"))?, index))).collect();
    let parents: BTreeSet<usize> =
        rows.iter().filter_map(|(_, row)| by_id.get(&key(row.get("parent"))?).copied()).collect();
    let mut found = Vec::new();
    for (last, (line, _)) in rows.iter().enumerate() {
        if !parents.contains(&last) {
            found.push((*line, conversation(last, &rows, &by_id)));
        }
    }
    // A ring has no end; its rows would vanish without a word.
    if found.is_empty()
        && let Some((line, _)) = rows.first()
    {
        found.push((*line, Err("the parents of these rows form a ring".to_owned())));
    }
    found
}

fn conversation(last: usize, rows: &[(u64, Row)], by_id: &BTreeMap<String, usize>) -> Result<Sample, String> {
    let mut path = Vec::new();
    let mut next = Some(last);
    while let Some(index) = next {
        if path.contains(&index) {
            return Err("the parents of this row form a ring".to_owned());
        }
        path.push(index);
        let row = rows.get(index).map(|(_, row)| row);
        let parent = row.and_then(|row| key(row.get("parent")));
        next = match parent {
            Some(parent) => Some(
                *by_id.get(&parent).ok_or_else(|| format!("the parent \"{parent}\" of the thread does not exist"))?,
            ),
            None => None,
        };
    }
    let mut turns = Vec::new();
    for index in path.into_iter().rev() {
        let Some((_, row)) = rows.get(index) else { continue };
        if turns.is_empty()
            && let Some(system) = row.get("system").and_then(Value::as_str).filter(|text| !text.trim().is_empty())
        {
            turns.push(super::Turn { message: ChatMessage::new("system", system), train: None, detail: Vec::new() });
        }
        turns.extend(exchange(row)?);
    }
    Ok(Sample { body: Body::Chat { turns, tools: None }, repairs: 0 })
}
