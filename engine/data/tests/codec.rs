//! The codec against golden vectors: byte-level and SentencePiece vocabularies from GGUF metadata,
//! folders, files for an export, streaming, errors.

mod common;

use common::{CHATML, bpe_parts, codec, fixture, numbers, texts};
use serde_json::{Value, json};
use temper_data::{ChatMessage, DataError, GgufTokenizer, StreamDecoder, TemplateOrigin, TextCodec, TokenizerKind};
use temper_protocol::{Code, Problem};

fn spm_parts(spm: &Value) -> GgufTokenizer {
    let float = |value: &Value| value.as_f64().expect("a score") as f32;
    let id = |name: &str| spm[name].as_u64().map(|id| id as u32);
    GgufTokenizer {
        place: "spm.gguf".to_owned(),
        model: "llama".to_owned(),
        pre: "default".to_owned(),
        tokens: texts(&spm["tokens"]),
        token_types: numbers(&spm["token_types"]).into_iter().map(|kind| kind as i32).collect(),
        scores: spm["scores"].as_array().expect("scores").iter().map(float).collect(),
        bos: id("bos"),
        eos: id("eos"),
        unk: id("unk"),
        add_space_prefix: spm["add_space_prefix"].as_bool(),
        ..GgufTokenizer::default()
    }
}

#[test]
fn byte_level_ids_equal_those_of_the_tokenizers_package() {
    let golden = fixture("tiny_bpe.json");
    let strings = texts(&golden["strings"]);
    for (pre, expected) in golden["expected"].as_object().expect("by name") {
        let codec = TextCodec::from_gguf(bpe_parts(pre)).expect("a known name");
        assert_eq!(codec.kind(), TokenizerKind::ByteLevelBpe);
        for (text, ids) in strings.iter().zip(expected.as_array().expect("ids")) {
            assert_eq!(codec.encode(text, false).expect("encodes"), numbers(ids), "{pre}: {text:?}");
            if pre != "qwen2" {
                let ids = numbers(ids);
                assert_eq!(&codec.decode(&ids, false).expect("decodes"), text, "{pre}");
            }
        }
    }
}

#[test]
fn sentence_piece_ids_equal_those_of_the_sentencepiece_package() {
    for spm in fixture("tiny_spm.json").as_array().expect("two vocabularies") {
        let codec = TextCodec::from_gguf(spm_parts(spm)).expect("a SentencePiece vocabulary");
        assert_eq!(codec.kind(), TokenizerKind::SentencePieceBpe);
        let cases = texts(&spm["strings"]).into_iter().zip(spm["expected"].as_array().expect("ids"));
        for ((text, ids), decoded) in cases.zip(texts(&spm["decoded"])) {
            assert_eq!(codec.encode(&text, false).expect("encodes"), numbers(ids), "{text:?}");
            assert_eq!(codec.decode(&numbers(ids), false).expect("decodes"), decoded, "{text:?}");
        }
        let with_bos = codec.encode("Hello", true).expect("encodes");
        assert_eq!(with_bos.first().copied(), codec.special().bos);
        assert_eq!(with_bos.get(1..), Some(codec.encode("Hello", false).expect("encodes").as_slice()));
    }
}

#[test]
fn offsets_are_bytes_and_cover_the_text() {
    for text in texts(&fixture("tiny_bpe.json")["strings"]) {
        let (ids, offsets) = codec().encode_with_offsets(&text).expect("encodes");
        assert_eq!(ids, codec().encode(&text, false).expect("encodes"));
        let mut covered = 0;
        for range in &offsets {
            assert!(text.get(range.clone()).is_some(), "{text:?} {range:?} is not at characters");
            assert!(range.start <= covered, "{text:?}: a gap before {range:?}");
            covered = covered.max(range.end);
        }
        assert_eq!(covered, text.len(), "{text:?}");
    }
}

#[test]
fn streamed_text_is_whole_and_never_ends_inside_a_character() {
    let codec = codec();
    for text in texts(&fixture("tiny_bpe.json")["strings"]) {
        let mut stream = StreamDecoder::new(false);
        let mut shown = String::new();
        for id in codec.encode(&text, false).expect("encodes") {
            let piece = stream.push(&codec, id).expect("decodes");
            assert!(!piece.contains('\u{FFFD}'), "{text:?}: {piece:?}");
            shown.push_str(&piece);
        }
        shown.push_str(&stream.finish(&codec).expect("decodes"));
        assert_eq!(shown, text);
    }
}

#[test]
fn a_stream_that_ends_inside_a_character_shows_it_as_broken() {
    let codec = codec();
    let ids = codec.encode("😀", false).expect("encodes");
    assert!(ids.len() > 1);
    let mut stream = StreamDecoder::new(false);
    assert_eq!(stream.push(&codec, ids[0]).expect("decodes"), "");
    assert!(stream.finish(&codec).expect("decodes").contains('\u{FFFD}'));
}

#[test]
fn long_documents_in_pieces_have_the_ids_of_the_whole() {
    let paragraph = texts(&fixture("tiny_bpe.json")["strings"]).join("\nword\n\n");
    let text = paragraph.repeat(300);
    assert!(text.len() > 200_000);
    let spm = fixture("tiny_spm.json");
    let spm = spm.as_array().expect("two").iter().map(|spm| TextCodec::from_gguf(spm_parts(spm)).expect("spm"));
    let bpe = ["smollm", "llama-bpe", "qwen2"].map(|pre| TextCodec::from_gguf(bpe_parts(pre)).expect("bpe"));
    for codec in bpe.into_iter().chain(spm) {
        let whole = codec.encode(&text, false).expect("encodes");
        assert_eq!(codec.encode_document(&text).expect("encodes"), whole, "{:?}", codec.kind());
    }
}

#[test]
fn special_ids_and_the_end_of_a_turn_are_found() {
    let codec = codec();
    let special = codec.special();
    assert_eq!((special.bos, special.eos, special.turn_end), (Some(0), Some(2), Some(2)));
    // <|endoftext|> ends a text although the file does not name it.
    assert_eq!(special.stop, vec![0, 2]);
    assert_eq!(codec.pad_id(), 2);
    assert!(codec.text_prefix().is_empty());
    let prompt = codec.encode_prompt("Hello", true).expect("encodes");
    let text = codec.decode(&prompt, false).expect("decodes");
    assert_eq!(text, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(codec.decode(&prompt, true).expect("decodes"), "user\nHello\nassistant\n");
}

#[test]
fn what_cannot_be_right_is_refused_by_name() {
    let problem = |parts: GgufTokenizer| Problem::from(TextCodec::from_gguf(parts).expect_err("wrong"));
    let unknown = problem(bpe_parts("klingon-bpe"));
    assert_eq!(unknown.code, Code::TokenizerInvalid);
    assert!(unknown.what.contains("klingon-bpe"), "{unknown}");
    let kind = problem(GgufTokenizer { model: "bert".to_owned(), ..bpe_parts("smollm") });
    assert!(kind.what.contains("bert"), "{kind}");
    let types = problem(GgufTokenizer { token_types: vec![1; 3], ..bpe_parts("smollm") });
    assert!(types.what.contains("3 token types"), "{types}");
    let id = problem(GgufTokenizer { eos: Some(100_000), ..bpe_parts("smollm") });
    assert!(id.what.contains("eos") && id.what.contains("100000"), "{id}");
    let merge = problem(GgufTokenizer { merges: vec!["one".to_owned()], ..bpe_parts("smollm") });
    assert!(merge.what.contains("merge 0"), "{merge}");
    let oov = problem(GgufTokenizer { merges: vec!["qqqq zzzz".to_owned()], ..bpe_parts("smollm") });
    assert!(oov.what.contains("qqqq"), "{oov}");
    let template = GgufTokenizer { chat_template: Some("{% for %}".to_owned()), ..bpe_parts("smollm") };
    assert!(problem(template).what.contains("chat template"));
    assert!(problem(GgufTokenizer::default()).what.contains("no tokenizer.ggml.tokens"));
}

#[test]
fn exported_files_give_the_same_codec_again() {
    for add_bos in [false, true] {
        let from_gguf = TextCodec::from_gguf(GgufTokenizer { add_bos: Some(add_bos), ..bpe_parts("llama-bpe") });
        let from_gguf = from_gguf.expect("codec");
        let folder = tempfile::tempdir().expect("folder");
        for (name, bytes) in from_gguf.hf_files() {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        let from_folder = TextCodec::from_hf_folder(folder.path()).expect("the folder is complete");
        for text in texts(&fixture("tiny_bpe.json")["strings"]) {
            let ids = |codec: &TextCodec| codec.encode(&text, true).expect("encodes");
            assert_eq!(ids(&from_gguf), ids(&from_folder));
        }
        assert_eq!(from_folder.text_prefix().is_empty(), !add_bos);
        assert_eq!(from_folder.chat_template(), CHATML);
        assert_eq!(from_folder.template_origin(), TemplateOrigin::Model);
        assert_eq!(from_folder.special().eos, Some(2));
        assert_eq!(from_folder.special().turn_end, Some(2));
        // The files of a folder travel unchanged.
        let again = from_folder.hf_files();
        let original = std::fs::read(folder.path().join("tokenizer.json")).expect("read");
        assert_eq!(again.iter().find(|(name, _)| name == "tokenizer.json").map(|(_, bytes)| bytes), Some(&original));
    }
}

#[test]
fn pieces_that_a_file_defines_come_before_those_that_were_learned() {
    // as Gemma's files have it: runs of spaces and of newlines are user-defined, with a score below every other
    let pieces: [(&str, i32, f32); 10] = [
        ("<unk>", 2, 0.0),
        ("a", 1, -9.0),
        ("b", 1, -9.5),
        ("▁", 1, -8.0),
        ("▁b", 1, -1.0),
        ("ab", 1, -2.0),
        ("  ", 4, -1000.0),
        ("   ", 4, -1000.0),
        ("\n", 4, -1000.0),
        ("\n\n", 4, -1000.0),
    ];
    let codec = TextCodec::from_gguf(GgufTokenizer {
        place: "gemma.gguf".to_owned(),
        model: "llama".to_owned(),
        tokens: pieces.iter().map(|piece| piece.0.to_owned()).collect(),
        token_types: pieces.iter().map(|piece| piece.1).collect(),
        scores: pieces.iter().map(|piece| piece.2).collect(),
        unk: Some(0),
        add_bos: Some(false),
        add_space_prefix: Some(false),
        ..GgufTokenizer::default()
    })
    .expect("a SentencePiece vocabulary");
    let cases: [(&str, &[u32]); 7] = [
        ("ab b", &[5, 4]),
        ("a  b", &[1, 6, 2]),
        ("a   b", &[1, 7, 2]),
        ("a     b", &[1, 7, 6, 2]),
        ("a▁▁b", &[1, 6, 2]),
        ("a\n\n\nb", &[1, 9, 8, 2]),
        ("   ", &[7]),
    ];
    for (text, ids) in cases {
        assert_eq!(codec.encode(text, false).expect("encodes"), ids, "{text:?}");
        assert_eq!(codec.decode(ids, false).expect("decodes"), text.replace('▁', " "), "{text:?}");
    }
}

#[test]
fn sentence_piece_files_give_the_same_codec_again() {
    for spm in fixture("tiny_spm.json").as_array().expect("two") {
        let from_gguf = TextCodec::from_gguf(spm_parts(spm)).expect("spm");
        let folder = tempfile::tempdir().expect("folder");
        for (name, bytes) in from_gguf.hf_files() {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        let from_folder = TextCodec::from_hf_folder(folder.path()).expect("the folder is complete");
        assert_eq!(from_folder.kind(), TokenizerKind::SentencePieceBpe);
        for text in texts(&spm["strings"]) {
            assert_eq!(
                from_gguf.encode(&text, true).expect("encodes"),
                from_folder.encode(&text, true).expect("encodes")
            );
        }
    }
}

#[test]
fn the_way_back_into_gguf_gives_the_same_ids() {
    for pre in ["smollm", "gpt-2", "llama-bpe", "qwen2", "tekken", "gpt-4o"] {
        let codec = TextCodec::from_gguf(bpe_parts(pre)).expect("codec");
        let parts = codec.gguf_parts().expect("a named way of splitting");
        let again = TextCodec::from_gguf(parts).expect("codec");
        for text in texts(&fixture("tiny_bpe.json")["strings"]) {
            assert_eq!(codec.encode(&text, true).expect("ids"), again.encode(&text, true).expect("ids"), "{pre}");
        }
    }
}

fn folder_with(files: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

#[test]
fn a_folder_is_read_with_all_its_ways_to_say_things() {
    let json = String::from_utf8(codec().to_tokenizer_json().to_vec()).expect("text");
    let named = json!({
        "bos_token": {"content": "<|endoftext|>", "special": true}, "eos_token": "<|endoftext|>",
        "chat_template": [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": CHATML}],
    });
    let generation = json!({"eos_token_id": [0, 2]});
    let folder = folder_with(&[
        ("tokenizer.json", json),
        ("tokenizer_config.json", named.to_string()),
        ("generation_config.json", generation.to_string()),
    ]);
    let codec = TextCodec::from_hf_folder(folder.path()).expect("folder");
    assert_eq!(codec.chat_template(), CHATML);
    assert_eq!((codec.special().bos, codec.special().eos), (Some(0), Some(0)));
    // The template ends a turn with another token than the one that ends a text.
    assert_eq!(codec.special().turn_end, Some(2));
    assert_eq!(codec.special().stop, vec![0, 2]);

    std::fs::write(folder.path().join("chat_template.jinja"), "own").expect("written");
    assert_eq!(TextCodec::from_hf_folder(folder.path()).expect("folder").chat_template(), "own");
}

#[test]
fn folders_without_a_usable_tokenizer_say_what_to_do() {
    let problem = |files: &[(&str, String)]| {
        Problem::from(TextCodec::from_hf_folder(folder_with(files).path()).expect_err("no tokenizer"))
    };
    let none = problem(&[]);
    assert_eq!(none.code, Code::TokenizerInvalid);
    assert!(none.what.contains("no tokenizer.json"), "{none}");
    let old = problem(&[("tokenizer.model", "x".to_owned())]);
    assert!(old.action.contains("save_pretrained"), "{old}");
    let kind = json!({"version": "1.0", "model": {"type": "Abacus", "vocab": {}}});
    let unknown = problem(&[("tokenizer.json", kind.to_string())]);
    assert!(unknown.what.contains("Abacus"), "{unknown}");
    let damaged = problem(&[("tokenizer.json", "{".to_owned())]);
    assert!(damaged.what.contains("damaged"), "{damaged}");
}

#[test]
fn a_model_without_a_template_gets_the_plain_one_and_exports_it() {
    let parts = GgufTokenizer { chat_template: None, ..bpe_parts("smollm") };
    let plain = TextCodec::from_gguf(parts.clone()).expect("codec");
    assert_eq!(plain.template_origin(), TemplateOrigin::Plain);
    let turns = [ChatMessage::new("system", "S"), ChatMessage::new("user", "Q"), ChatMessage::new("assistant", "A")];
    let text = plain.render_chat(&turns, None, true).expect("renders");
    assert_eq!(text, "System: S\n\nUser: Q\n\nAssistant: A<|im_end|>\n\nAssistant:");
    assert_eq!(plain.special().turn_end, Some(2));
    let exported = plain.hf_files();
    let template = exported.iter().find(|(name, _)| name == "chat_template.jinja").expect("exported");
    assert_eq!(template.1, plain.chat_template().as_bytes());

    let with_bos = TextCodec::from_gguf(GgufTokenizer { add_bos: Some(true), ..parts }).expect("codec");
    assert!(with_bos.render_chat(&turns, None, false).expect("renders").starts_with("<|endoftext|>System: S"));
}

#[test]
fn a_template_of_the_project_wins_and_changes_the_fingerprint() {
    let own = codec();
    let before = own.fingerprint().to_owned();
    let changed = own.with_chat_template("{% for m in messages %}{{ m.content }}|{% endfor %}").expect("template");
    assert_ne!(changed.fingerprint(), before);
    assert_eq!(changed.template_origin(), TemplateOrigin::Project);
    assert_eq!(changed.special().turn_end, None);
    let turns = [ChatMessage::new("user", "Q"), ChatMessage::new("assistant", "A")];
    assert_eq!(changed.render_chat(&turns, None, false).expect("renders"), "Q|A|");
    assert!(changed.hf_files().iter().any(|(name, _)| name == "chat_template.jinja"));
    assert!(matches!(codec().with_chat_template("{{"), Err(DataError::Tokenizer { .. })));
}

#[test]
fn templates_render_as_in_transformers() {
    let golden = fixture("templates.json");
    for case in golden["cases"].as_array().expect("cases") {
        let template = case["template"].as_str().expect("a template");
        let codec = codec().with_chat_template(template).expect("compiles");
        let messages: Vec<ChatMessage> = serde_json::from_value(case["messages"].clone()).expect("messages");
        let tools = Some(&case["tools"]).filter(|tools| !tools.is_null());
        let prompt = case["prompt"].as_bool().expect("a flag");
        let name = case["name"].as_str().expect("a name");
        match (codec.render_marked(&messages, tools, prompt), case["error"].as_str()) {
            (Ok(rendered), None) => {
                assert_eq!(rendered.text, case["text"].as_str().expect("text"), "{name}");
                let spans: Vec<Vec<usize>> = serde_json::from_value(case["spans"].clone()).unwrap_or_default();
                let ours: Vec<Vec<usize>> = rendered.generated.iter().map(|span| vec![span.start, span.end]).collect();
                assert_eq!(ours, spans, "{name}");
                assert_eq!(codec.template_marks_answers(), template.contains("endgeneration"));
            }
            (Err(error), Some(expected)) => assert!(error.to_string().contains(expected), "{name}: {error}"),
            (outcome, expected) => panic!("{name}: {outcome:?}, expected {expected:?}"),
        }
    }
}
