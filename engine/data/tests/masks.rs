//! Which tokens count, for templates that mark answers, are prefix-stable, change earlier turns, or trim.

mod common;

use common::{CHATML, codec, fixture};
use proptest::prelude::*;
use serde_json::json;
use temper_data::schema::{Body, Segment, Turn};
use temper_data::tokens::{LossOn, Tokens, tokenise};
use temper_data::{ChatMessage, Sample, TextCodec};

fn chat(turns: &[(&str, &str)]) -> Vec<Turn> {
    turns
        .iter()
        .map(|(role, text)| Turn { message: ChatMessage::new(role, text), train: None, detail: Vec::new() })
        .collect()
}

fn sample(turns: Vec<Turn>) -> Sample {
    Sample { body: Body::Chat { turns, tools: None }, repairs: 0 }
}

fn encode(codec: &TextCodec, sample: &Sample, loss_on: LossOn) -> Result<Tokens, String> {
    tokenise(sample, codec, loss_on, 4096).map(|rows| rows.into_iter().next().expect("one row"))
}

/// The trained stretches as text.
fn trained(codec: &TextCodec, row: &Tokens) -> Vec<String> {
    let mut stretches: Vec<Vec<u32>> = Vec::new();
    let mut open = false;
    for (id, flag) in row.ids.iter().zip(&row.trained) {
        if *flag && !open {
            stretches.push(Vec::new());
        }
        if *flag && let Some(stretch) = stretches.last_mut() {
            stretch.push(*id);
        }
        open = *flag;
    }
    stretches.iter().map(|ids| codec.decode(ids, false).expect("decodes")).collect()
}

fn template(name: &str) -> TextCodec {
    let golden = fixture("templates.json");
    let cases = golden["cases"].as_array().expect("cases");
    let case = cases.iter().find(|case| case["name"] == name).expect("the template exists");
    codec().with_chat_template(case["template"].as_str().expect("text")).expect("compiles")
}

const TALK: &[(&str, &str)] =
    &[("user", "What is 2 + 2?"), ("assistant", "It is 4."), ("user", "And 3 + 3?"), ("assistant", "six\n")];

#[test]
fn answers_and_the_ends_of_turns_are_trained_whatever_the_template() {
    let cases = [
        ("chatml", ["It is 4.<|im_end|>", "six\n<|im_end|>"]),
        ("chatml_marked", ["It is 4.<|im_end|>", "six\n<|im_end|>"]),
        ("alternating", [" It is 4. <|im_end|>", " six <|im_end|>"]),
        ("reasoning", ["It is 4.<|im_end|>", "<think>\n\n</think>\n\nsix\n<|im_end|>"]),
    ];
    for (name, expected) in cases {
        let codec = template(name);
        let row = encode(&codec, &sample(chat(TALK)), LossOn::Answers).expect("masked");
        assert_eq!(trained(&codec, &row), expected, "{name}");
        assert!(!row.trained[0] && !row.cut);
        let last = encode(&codec, &sample(chat(TALK)), LossOn::LastAnswer).expect("masked");
        assert_eq!(trained(&codec, &last), expected[1..], "{name}");
        assert_eq!(last.ids, row.ids);
    }
}

#[test]
fn a_block_that_ends_before_the_end_of_the_turn_is_extended() {
    let source = "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}{% endgeneration %}{{ eos_token }}{% else %}U:{{ m.content }}\n{% endif %}{% endfor %}";
    let codec = codec().with_chat_template(source).expect("compiles");
    let row = encode(&codec, &sample(chat(TALK)), LossOn::Answers).expect("masked");
    assert_eq!(trained(&codec, &row), ["It is 4.<|im_end|>", "six\n<|im_end|>"]);
}

#[test]
fn a_template_that_drops_earlier_reasoning_is_marked_by_alignment() {
    let codec = template("reasoning");
    let talk = chat(&[
        ("user", "Hi"),
        ("assistant", "<think>\nGreet.\n</think>\n\nHello!"),
        ("user", "Why?"),
        ("assistant", "<think>\nExplain.\n</think>\n\nBecause."),
    ]);
    let row = encode(&codec, &sample(talk.clone()), LossOn::LastAnswer).expect("the last turn is prefix-stable");
    assert_eq!(trained(&codec, &row), ["<think>\nExplain.\n</think>\n\nBecause.<|im_end|>"]);
    // The first answer is shown without its reasoning as soon as another question follows.
    let row = encode(&codec, &sample(talk), LossOn::Answers).expect("aligned");
    assert_eq!(trained(&codec, &row), ["Hello!<|im_end|>", "<think>\nExplain.\n</think>\n\nBecause.<|im_end|>"]);
}

#[test]
fn turns_that_a_template_trims_or_rewrites_later_are_aligned() {
    // A token that holds the blank before an answer and its first word belongs to the answer.
    // The last turn is shown differently while it is the last: no rendered prefix is one.
    let source = "{% for m in messages %}{{ m.role }}{% if loop.last %} (last){% endif %}: {{ m.content | trim }}{{ eos_token }}\n{% endfor %}";
    let codec = codec().with_chat_template(source).expect("compiles");
    let talk = chat(&[("user", " a "), ("assistant", "  user b  "), ("user", "user"), ("assistant", "assistant")]);
    let row = encode(&codec, &sample(talk), LossOn::Answers).expect("aligned");
    assert_eq!(trained(&codec, &row), [" user b<|im_end|>", " assistant<|im_end|>"]);
}

#[test]
fn a_template_that_hides_an_answer_is_refused() {
    let source =
        "{% for m in messages %}{{ m.role }}{% if loop.last %}!{% endif %}: {{ m.content | upper }}\n{% endfor %}";
    let codec = codec().with_chat_template(source).expect("compiles");
    let why = encode(&codec, &sample(chat(TALK)), LossOn::Answers).expect_err("cannot be placed");
    assert!(why.contains("cannot be"), "{why}");
    let alternating = template("alternating");
    let why = encode(&alternating, &sample(chat(&TALK[1..])), LossOn::Answers).expect_err("refused");
    assert!(why.contains("Roles must alternate"), "{why}");
}

#[test]
fn flags_of_turns_win() {
    let codec = codec();
    let mut talk = chat(TALK);
    talk[1].train = Some(false);
    talk[2].train = Some(true);
    let row = encode(&codec, &sample(talk.clone()), LossOn::Answers).expect("masked");
    assert_eq!(trained(&codec, &row), ["<|im_start|>user\nAnd 3 + 3?<|im_end|>", "six\n<|im_end|>"]);
    let row = encode(&codec, &sample(talk.clone()), LossOn::Everything).expect("masked");
    assert!(!trained(&codec, &row).concat().contains("It is 4."));
    assert!(trained(&codec, &row).concat().contains("What is 2 + 2?"));
    talk[1].train = None;
    talk[1].detail = vec![(0, 6, false)];
    let row = encode(&codec, &sample(talk), LossOn::Answers).expect("masked");
    assert_eq!(trained(&codec, &row)[0], "4.<|im_end|>");
}

#[test]
fn everything_means_every_token_but_the_first() {
    let row = encode(&codec(), &sample(chat(TALK)), LossOn::Everything).expect("masked");
    assert_eq!(row.trained.iter().filter(|flag| !**flag).count(), 1);
    assert!(!row.trained[0]);
}

#[test]
fn tool_calls_are_answers() {
    let codec = template("tools");
    let mut call = ChatMessage { role: "assistant".to_owned(), content: json!(null), extra: serde_json::Map::new() };
    call.extra.insert("tool_calls".to_owned(), json!([{"function": {"name": "f", "arguments": {"x": 1}}}]));
    let turns = vec![chat(&[("user", "q")]).remove(0), Turn { message: call, train: None, detail: Vec::new() }];
    // The template writes a list behind the last turn, so only the whole is no prefix of anything.
    let source = codec.chat_template().rsplit_once("{{- {'a'").expect("the tail").0.to_owned();
    let codec = codec.with_chat_template(&source).expect("compiles");
    let row = encode(&codec, &sample(turns), LossOn::Answers).expect("masked");
    assert_eq!(trained(&codec, &row), ["<call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</call><|im_end|>"]);
}

#[test]
fn rows_are_cut_at_the_right_and_refused_when_nothing_is_left() {
    let codec = codec();
    let long = sample(chat(&[("user", "q"), ("assistant", &"word ".repeat(50))]));
    let row = tokenise(&long, &codec, LossOn::Answers, 20).expect("cut").remove(0);
    assert!(row.cut && row.ids.len() == 20 && row.trained.len() == 20);
    let why = tokenise(&long, &codec, LossOn::Answers, 5).expect_err("nothing left");
    assert!(why.contains("limit of 5"), "{why}");
}

#[test]
fn documents_end_with_the_end_of_text_and_every_token_is_predicted_once() {
    let codec = codec();
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(20);
    let document = Sample { body: Body::Text(text.clone()), repairs: 0 };
    let rows = tokenise(&document, &codec, LossOn::Answers, 16).expect("chunks");
    assert!(rows.len() > 5);
    let whole: Vec<u32> = codec.encode(&text, false).expect("ids").into_iter().chain([2]).collect();
    let predicted: Vec<u32> = rows.iter().flat_map(|row| row.ids.iter().skip(1)).copied().collect();
    assert_eq!(predicted, whole[1..]);
    for pair in rows.windows(2) {
        assert_eq!(pair[0].ids.last(), pair[1].ids.first());
    }
    let count = rows.iter().flat_map(|row| &row.trained).filter(|flag| **flag).count();
    assert_eq!(count, whole.len() - 1);
    let single = Sample { body: Body::Text("x".to_owned()), repairs: 0 };
    assert_eq!(tokenise(&single, &codec, LossOn::Answers, 16).expect("two tokens")[0].ids.len(), 2);
}

#[test]
fn segments_are_marked_as_they_say() {
    let codec = codec();
    let parts = [(false, "Question: why? Answer:"), (true, " because."), (false, "\nNext:"), (true, " done")];
    let parts: Vec<Segment> = parts.map(|(label, text)| Segment { label, text: text.to_owned() }).to_vec();
    let body = |ends| Sample { body: Body::Segments { parts: parts.clone(), ends }, repairs: 0 };
    let row = encode(&codec, &body(false), LossOn::Answers).expect("masked");
    assert_eq!(trained(&codec, &row), [" because.", " done"]);
    let row = encode(&codec, &body(true), LossOn::LastAnswer).expect("masked");
    assert_eq!(trained(&codec, &row), [" done<|im_end|>"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is said, even the template's own words, exactly the answers are trained.
    #[test]
    fn exactly_the_answers_are_trained(
        words in prop::collection::vec("[ a-z<|>_\\n]{0,12}(user|assistant|im_start|é😀|\\n)?", 2..8),
    ) {
        let codec = codec();
        prop_assert_eq!(codec.chat_template(), CHATML);
        let roles = ["user", "assistant"].into_iter().cycle();
        let talk: Vec<(&str, &str)> = roles.zip(words.iter().map(String::as_str)).collect();
        let expected: Vec<String> =
            talk.iter().filter(|(role, _)| *role == "assistant").map(|(_, text)| format!("{text}<|im_end|>")).collect();
        let row = encode(&codec, &sample(chat(&talk)), LossOn::Answers).expect("masked");
        // A token may hold the last byte of the prompt and the first of the answer; none does here,
        // because the prompt ends with a newline that only merges with newlines.
        let found = trained(&codec, &row);
        prop_assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!(found.trim_start_matches('\n') == expected.trim_start_matches('\n'), "{found:?} {expected:?}");
        }
    }
}
