//! Families of data sets: recognition, mapping, conversion, repairs, what is refused.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use temper_data::read::Row;
use temper_data::schema::{Body, Converted, Plan, Sample, Schema};

fn row(value: Value) -> Row {
    let Value::Object(row) = value else { panic!("a row is an object") };
    row
}

fn plan(value: &Value) -> Plan {
    Plan::decide(&[row(value.clone())], "auto", &BTreeMap::new(), "here").expect("recognised")
}

fn sample(value: Value) -> Sample {
    match plan(&value).convert(row(value)).expect("converted") {
        Converted::Sample(sample) => sample,
        Converted::LeftOut => panic!("left out"),
    }
}

/// Turns as "role: content" (with tool calls and flags behind).
fn turns(value: Value) -> Vec<String> {
    let Body::Chat { turns, .. } = sample(value).body else { panic!("no conversation") };
    let show = |turn: &temper_data::schema::Turn| {
        let calls = turn.message.extra.get("tool_calls").map(|calls| format!(" calls {calls}")).unwrap_or_default();
        let train = turn.train.map(|flag| format!(" train={flag}")).unwrap_or_default();
        format!("{}: {}{calls}{train}", turn.message.role, turn.message.text())
    };
    turns.iter().map(show).collect()
}

fn refused(value: Value) -> String {
    plan(&value).convert(row(value)).expect_err("refused")
}

#[test]
fn every_family_is_recognised_by_its_columns() {
    let user = json!({"role": "user", "content": "q"});
    let answer = json!({"role": "assistant", "content": "a"});
    let talk = json!([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]);
    let cases = [
        (json!({"segments": [{"label": true, "text": "x"}], "messages": [user, answer]}), Schema::Segments),
        (json!({"messages": [user, answer], "text": "x"}), Schema::Messages),
        (json!({"conversations": talk, "instruction": "i", "output": "o"}), Schema::Sharegpt),
        (json!({"conversation": talk}), Schema::Sharegpt),
        (json!({"conversations": [user, answer]}), Schema::Messages),
        (json!({"prompt": "p", "chosen": "c", "rejected": "r"}), Schema::Preference),
        (json!({"conversations": talk, "chosen": talk[1], "rejected": talk[1]}), Schema::Preference),
        (json!({"prompt": "p", "completion": "c", "label": true}), Schema::Kto),
        (json!({"messages": [user, answer], "kto_tag": false}), Schema::Kto),
        (json!({"prompt": "p", "completions": ["a"], "labels": [true]}), Schema::Stepwise),
        (json!({"prompt": "p", "completion": "c"}), Schema::PromptCompletion),
        (json!({"instruction": "i", "input": "", "output": "o"}), Schema::Alpaca),
        (json!({"instruction": "i", "context": "", "response": "o", "category": "x"}), Schema::Alpaca),
        (json!({"text": "t", "id": 1}), Schema::Text),
        (json!({"Question": "q", "Answer": "a"}), Schema::PromptCompletion),
        (json!({"content": "long"}), Schema::Text),
        (json!({"messages": "[{\"role\": \"user\", \"content\": \"q\"}]"}), Schema::Messages),
    ];
    for (value, schema) in cases {
        assert_eq!(plan(&value).schema, schema, "{value}");
    }
    let exact = plan(&json!({"prompt": "p", "completion": "c"})).confidence;
    let guessed = plan(&json!({"question": "p", "answer": "c"})).confidence;
    assert!(exact > 0.9 && guessed < 0.7, "{exact} {guessed}");
    let nothing = Plan::decide(&[row(json!({"a": 1, "b": 2}))], "auto", &BTreeMap::new(), "here");
    assert!(nothing.expect_err("unclear").to_string().contains("a, b"));
}

#[test]
fn confidence_falls_with_rows_that_disagree() {
    let good = row(json!({"prompt": "p", "completion": "c"}));
    let other = row(json!({"x": "p", "y": "c"}));
    let rows = [good.clone(), good.clone(), other, good];
    let plan = Plan::decide(&rows, "auto", &BTreeMap::new(), "here").expect("recognised");
    assert!(plan.confidence > 0.6 && plan.confidence < 0.8, "{}", plan.confidence);
}

#[test]
fn a_project_names_schema_and_columns() {
    let value = json!({"frage": "q", "antwort": "a"});
    let columns = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(role, column)| ((*role).to_owned(), (*column).to_owned())).collect()
    };
    let decide =
        |schema: &str, pairs: &[(&str, &str)]| Plan::decide(&[row(value.clone())], schema, &columns(pairs), "here.csv");
    let plan = decide("auto", &[("prompt", "frage"), ("completion", "antwort")]).expect("by roles");
    assert_eq!((plan.schema, plan.confidence), (Schema::PromptCompletion, 1.0));
    let Converted::Sample(sample) = plan.convert(row(value.clone())).expect("converted") else { panic!("left out") };
    assert_eq!(sample.summary(), ("q".to_owned(), "a".to_owned()));
    let raw = decide("raw-completion", &[("prompt", "frage"), ("completion", "antwort")]).expect("by name");
    let Converted::Sample(sample) = raw.convert(row(value.clone())).expect("converted") else { panic!("left out") };
    assert!(matches!(sample.body, Body::Segments { ends: true, .. }));

    let unknown = decide("alpacca", &[]).expect_err("unknown schema").to_string();
    assert!(unknown.contains("alpacca") && unknown.contains("alpaca"), "{unknown}");
    let column = decide("auto", &[("prompt", "nope"), ("completion", "antwort")]).expect_err("no column").to_string();
    assert!(column.contains("nope") && column.contains("frage"), "{column}");
    let role = decide("text", &[("prompt", "frage")]).expect_err("no role").to_string();
    assert!(role.contains("\"prompt\""), "{role}");
    assert!(decide("auto", &[("nonsense", "frage")]).is_err());
}

#[test]
fn alpaca_joins_instruction_and_input_and_keeps_system_and_history() {
    let full = json!({"system": "s", "instruction": "i", "input": "x", "output": "o", "history": [["q1", "a1"]]});
    assert_eq!(turns(full), ["system: s", "user: q1", "assistant: a1", "user: i\nx", "assistant: o"]);
    assert_eq!(turns(json!({"instruction": "i", "output": "o"})), ["user: i", "assistant: o"]);
    assert!(refused(json!({"instruction": "i", "output": " "})).contains("\"output\" is empty"));
    assert!(refused(json!({"instruction": "", "input": "", "output": "o"})).contains("empty"));
}

#[test]
fn sharegpt_joins_neighbours_calls_tools_and_names_unknown_speakers() {
    let value = json!({"system": "s", "conversations": [
        {"from": "human", "value": "a"}, {"from": "human", "value": "b"},
        {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}"},
        {"from": "observation", "value": "42"}, {"from": "gpt", "value": "c"},
    ]});
    assert_eq!(sample(value.clone()).repairs, 1);
    let call = r#"[{"type":"function","function":{"name":"f","arguments":{"x":1}}}]"#;
    let expected = [
        "system: s".to_owned(),
        "user: a\nb".to_owned(),
        format!("assistant:  calls {call}"),
        "tool: 42".to_owned(),
        "assistant: c".to_owned(),
    ];
    assert_eq!(turns(value), expected);
    let alien = json!({"conversations": [{"from": "human", "value": "a"}, {"from": "alien", "value": "b"}]});
    assert!(refused(alien).contains("turn 2: the speaker \"alien\" is unknown"));
    assert!(refused(json!({"conversations": [{"from": "human", "value": "a"}]})).contains("no answer"));
}

#[test]
fn messages_keep_flags_parts_and_tool_calls() {
    let value = json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c", "weight": 0},
        {"role": "user", "content": "d", "train": true},
        {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
    ]});
    let expected = [
        "user: ab",
        "assistant: c train=false",
        "user: d train=true",
        "assistant:  calls [{\"function\":{\"name\":\"f\",\"arguments\":{}}}]",
    ];
    assert_eq!(turns(value), expected);
    let image = json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]});
    assert!(refused(image).contains("image_url"));
    assert!(refused(json!({"messages": [{"role": "user"}]})).contains("turn 1"));
    assert!(refused(json!({"messages": [{"role": "assistant", "content": ""}]})).contains("no answer"));
}

#[test]
fn preference_pairs_are_trained_on_the_chosen_answer() {
    assert_eq!(turns(json!({"prompt": "p", "chosen": "c", "rejected": "r"})), ["user: p", "assistant: c"]);
    let user = json!({"role": "user", "content": "p"});
    let answer = |text: &str| json!({"role": "assistant", "content": text});
    let lists = json!({"prompt": [user], "chosen": [answer("c")], "rejected": [answer("r")]});
    assert_eq!(turns(lists), ["user: p", "assistant: c"]);
    let implicit = json!({"chosen": [user, answer("c")], "rejected": [user, answer("r")]});
    assert_eq!(turns(implicit), ["user: p", "assistant: c"]);
    let repeated = json!({"prompt": "p", "chosen": [user, answer("c")], "rejected": [user, answer("r")]});
    assert_eq!(turns(repeated), ["user: p", "assistant: c"]);
    let factory = json!({"conversations": [{"from": "human", "value": "p"}],
        "chosen": {"from": "gpt", "value": "c"}, "rejected": {"from": "gpt", "value": "r"}});
    assert_eq!(turns(factory), ["user: p", "assistant: c"]);
    assert!(Schema::Preference.warning().expect("a warning").contains("rejected"));
}

#[test]
fn labelled_answers_are_taken_when_good_and_steps_are_refused() {
    assert_eq!(turns(json!({"prompt": "p", "completion": "c", "label": true})), ["user: p", "assistant: c"]);
    let bad = json!({"prompt": "p", "completion": "c", "label": "False"});
    assert_eq!(plan(&bad).convert(row(bad)).expect("right"), Converted::LeftOut);
    let steps = json!({"prompt": "p", "completions": ["a"], "labels": [true]});
    assert!(refused(steps).contains("reward"));
}

#[test]
fn segments_need_a_mark_and_texts_need_words() {
    let Body::Segments { parts, ends } =
        sample(json!({"segments": [{"label": false, "text": "a"}, {"label": 1, "text": "b"}]})).body
    else {
        panic!("no segments")
    };
    assert_eq!((parts.len(), ends, parts[1].label), (2, false, true));
    assert!(refused(json!({"segments": [{"label": false, "text": "a"}]})).contains("no segment"));
    assert!(refused(json!({"text": " \n"})).contains("empty"));
}

#[test]
fn tools_are_offered_as_lists() {
    let tools = |value: Value| {
        let talk = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]);
        match sample(json!({"messages": talk, "tools": value})).body {
            Body::Chat { tools, .. } => tools,
            _ => None,
        }
    };
    assert_eq!(tools(json!("[{\"name\": \"f\"}]")), Some(json!([{"name": "f"}])));
    assert_eq!(tools(json!([{"name": "f"}])), Some(json!([{"name": "f"}])));
    assert_eq!(tools(json!("")), None);
}
