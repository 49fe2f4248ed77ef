//! Data sets: split, weights, quarantine, cache, cancelling, errors, preview, probe sets.

mod common;

use common::codec;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use temper_data::tokens::LossOn;
use temper_data::{DataError, Dataset, Example, LoadRequest, ProbeSet, Schema, ValidationSource, preview_event};
use temper_protocol::{Code, Event, Problem};

fn request(path: &Path, share: f64) -> LoadRequest {
    LoadRequest {
        train: vec![(path.to_owned(), 1.0)],
        validation: ValidationSource::Share(share),
        schema: "auto".to_owned(),
        columns: BTreeMap::new(),
        max_tokens: 64,
        loss_on: LossOn::Answers,
        seed: 1,
        cache_dir: None,
    }
}

fn load(request: &LoadRequest) -> Result<Dataset, DataError> {
    Dataset::load(request, &codec(), &mut |_| {}, &|| false)
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

fn pairs(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|n| format!("{{\"prompt\":\"question {n}\",\"completion\":\"answer {n}\"}}\n")).collect()
}

fn ids(examples: &[Example]) -> BTreeSet<Vec<u32>> {
    examples.iter().map(|example| example.ids.clone()).collect()
}

#[test]
fn the_split_is_stable_when_a_file_grows_and_keeps_duplicates_together() {
    let dir = tempfile::tempdir().expect("folder");
    let small = load(&request(&write(dir.path(), "a.jsonl", &pairs(0..200)), 0.1)).expect("loads");
    let more = pairs(0..300) + &pairs(0..50);
    let large = load(&request(&write(dir.path(), "b.jsonl", &more), 0.1)).expect("loads");
    assert!((8..40).contains(&small.validation.len()), "{}", small.validation.len());
    assert!(ids(&small.validation).is_subset(&ids(&large.validation)));
    assert!(ids(&small.train).is_subset(&ids(&large.train)));
    assert!(ids(&large.train).is_disjoint(&ids(&large.validation)));
    assert_eq!(large.train.len() + large.validation.len(), 350);
    let other = load(&LoadRequest { seed: 2, ..request(&dir.path().join("a.jsonl"), 0.1) }).expect("loads");
    assert_ne!(ids(&other.validation), ids(&small.validation));
    let two = load(&request(&write(dir.path(), "c.jsonl", &pairs(0..2)), 0.01)).expect("loads");
    assert_eq!((two.train.len(), two.validation.len()), (1, 1));
}

#[test]
fn weights_and_several_sources() {
    let dir = tempfile::tempdir().expect("folder");
    let one = write(dir.path(), "one.jsonl", &pairs(0..10));
    let two = write(dir.path(), "two.jsonl", &pairs(100..140));
    let weighted = LoadRequest { train: vec![(one, 3.0), (two, 0.5)], ..request(dir.path(), 0.0) };
    let data = load(&weighted).expect("loads");
    let of_file = |file: u32| data.train.iter().filter(|example| example.file == file).count();
    assert_eq!(of_file(0), 30);
    assert!((10..30).contains(&of_file(1)), "{}", of_file(1));
    assert_eq!(load(&weighted).expect("loads"), data);
    assert_eq!(data.files.len(), 2);
}

#[test]
fn a_validation_file_or_folder_is_used_as_it_is() {
    let dir = tempfile::tempdir().expect("folder");
    let train = write(dir.path(), "train.jsonl", &pairs(0..20));
    let held_out = write(dir.path(), "valid.jsonl", &pairs(18..25));
    let by_path = LoadRequest { validation: ValidationSource::Path(held_out), ..request(&train, 0.0) };
    let data = load(&by_path).expect("loads");
    assert_eq!((data.train.len(), data.validation.len()), (20, 7));
    assert!(data.warnings.iter().any(|text| text.starts_with("2 of 7 validation rows also")), "{:?}", data.warnings);
    let by_folder = load(&request(dir.path(), 0.5)).expect("loads");
    assert_eq!((by_folder.train.len(), by_folder.validation.len()), (20, 7));
}

#[test]
fn bad_rows_are_set_aside_with_file_line_and_reason() {
    let dir = tempfile::tempdir().expect("folder");
    let long = format!("{{\"prompt\":\"{}\",\"completion\":\"a\"}}\n", "word ".repeat(100));
    let text = pairs(0..3) + "broken\n{\"prompt\":\"q\",\"completion\":\"\"}\n" + &long;
    let path = write(dir.path(), "a.jsonl", &text);
    let data = load(&request(&path, 0.0)).expect("loads");
    assert_eq!((data.train.len(), data.stats.bad_rows), (3, 3));
    let found: Vec<(u64, &str)> = data.quarantine.iter().map(|row| (row.line, row.reason.as_str())).collect();
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 5, 6]);
    assert!(found[0].1.contains("not valid JSON") && found[1].1.contains("\"completion\" is empty"), "{found:?}");
    assert!(found[2].1.contains("behind the limit of 64"), "{found:?}");
    assert_eq!(data.quarantine[0].file, path);
    assert!(data.warnings.iter().any(|text| text.starts_with("3 rows were set aside")));
}

#[test]
fn without_a_good_row_the_first_reasons_are_told() {
    let dir = tempfile::tempdir().expect("folder");
    let problem =
        |name: &str, text: &str| Problem::from(load(&request(&write(dir.path(), name, text), 0.1)).expect_err("bad"));
    let broken = problem("a.jsonl", "x\ny\nz\nw\n");
    assert_eq!(broken.code, Code::DataInvalid);
    assert!(
        broken.what.contains("none of 4 rows") && broken.what.contains("line 1") && broken.what.contains("line 3"),
        "{broken}"
    );
    assert!(!broken.what.contains("line 4"), "{broken}");
    assert!(problem("b.jsonl", "").what.contains("empty"));
    assert!(problem("c.jsonl", "\n\n").what.contains("no rows"));
    let masked = problem("d.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n");
    assert!(masked.what.contains("no answer to train on"), "{masked}");
    let cut = format!("{{\"prompt\":\"{}\",\"completion\":\"a\"}}\n", "word ".repeat(100));
    assert!(problem("e.jsonl", &cut).what.contains("behind the limit"));
    assert!(problem("f.txt", "\u{feff}").what.contains("empty"));
    let unclear = problem("g.csv", "x,y\n1,2\n");
    assert!(unclear.what.contains("x, y") && unclear.action.contains("data.columns"), "{unclear}");
    let labelled = problem("h.jsonl", "{\"prompt\":\"q\",\"completion\":\"a\",\"label\":false}\n");
    assert!(labelled.what.contains("labelled bad"), "{labelled}");
}

#[test]
fn a_cached_file_is_taken_when_nothing_changed_and_rebuilt_when_damaged() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(dir.path(), "a.jsonl", &(pairs(0..40) + "broken\n"));
    let cache = dir.path().join("cache");
    let with_cache = LoadRequest { cache_dir: Some(cache.clone()), ..request(&path, 0.1) };
    let load_counted = |request: &LoadRequest| {
        let data = load(request).expect("loads");
        (
            data.stats.cached_files,
            Dataset { stats: temper_data::Stats { cached_files: 0, ..data.stats.clone() }, ..data },
        )
    };
    let (cached, first) = load_counted(&with_cache);
    assert_eq!(cached, 0);
    let (cached, second) = load_counted(&with_cache);
    assert_eq!(cached, 1);
    assert_eq!(first, second);
    assert_eq!(load(&request(&path, 0.1)).expect("loads").train, first.train);
    let entries = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&cache).expect("cache").map(|entry| entry.expect("entry").path());
        entries.collect()
    };
    assert_eq!(entries().len(), 1);
    let entry = entries().remove(0);
    let bytes = std::fs::read(&entry).expect("read");
    for damage in 0..3 {
        let mut damaged = bytes.clone();
        match damage {
            0 => damaged.truncate(bytes.len() / 2),
            1 => damaged[bytes.len() / 2] ^= 1,
            _ => damaged.clear(),
        }
        std::fs::write(&entry, damaged).expect("written");
        let (cached, again) = load_counted(&with_cache);
        assert_eq!((cached, &again), (0, &first));
        assert_eq!(std::fs::read(&entry).expect("read"), bytes);
    }
    let (cached, _) = load_counted(&LoadRequest { max_tokens: 32, ..with_cache.clone() });
    assert_eq!(cached, 0);
    // The seed decides on the split only.
    assert_eq!(load_counted(&LoadRequest { seed: 9, ..with_cache }).0, 1);
}

#[test]
fn a_cache_that_cannot_be_written_does_not_stop_the_run() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(dir.path(), "a.jsonl", &pairs(0..4));
    let file = write(dir.path(), "not-a-folder", "x");
    let data = load(&LoadRequest { cache_dir: Some(file), ..request(&path, 0.0) }).expect("loads");
    assert_eq!(data.train.len(), 4);
}

#[test]
fn loading_tells_how_far_it_is_and_can_be_cancelled() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(dir.path(), "a.jsonl", &pairs(0..3000));
    let mut told = Vec::new();
    let data = Dataset::load(&request(&path, 0.0), &codec(), &mut |progress| told.push(progress), &|| false);
    assert_eq!(data.expect("loads").train.len(), 3000);
    assert!(told.len() >= 3 && told.windows(2).all(|pair| pair[0].done <= pair[1].done));
    assert_eq!(told.last().map(|last| (last.done, last.stage)), told.last().map(|last| (last.total, "tokenising")));
    let cancelled = Dataset::load(&request(&path, 0.0), &codec(), &mut |_| {}, &|| true);
    assert!(matches!(cancelled, Err(DataError::Cancelled)));
}

#[test]
fn threads_of_a_table_become_conversations() {
    let dir = tempfile::tempdir().expect("folder");
    let text = "id,parent,q,a\n1,,one,eins\n2,1,two,zwei\n3,1,three,drei\n4,9,lost,x\n5,6,ring,x\n6,5,ring,x\n";
    let path = write(dir.path(), "a.csv", text);
    let columns = [("prompt", "q"), ("answer", "a"), ("id", "id"), ("parent", "parent")];
    let columns = columns.iter().map(|(role, column)| ((*role).to_owned(), (*column).to_owned())).collect();
    let data = load(&LoadRequest { columns, ..request(&path, 0.0) }).expect("loads");
    assert_eq!(data.schema, Schema::Table);
    let codec = codec();
    let shown: Vec<String> = data.train.iter().map(|row| codec.decode(&row.ids, true).expect("decodes")).collect();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[0], "user\none\nassistant\neins\nuser\ntwo\nassistant\nzwei\n");
    assert!(data.quarantine.iter().any(|row| row.line == 5 && row.reason.contains("\"9\"")), "{:?}", data.quarantine);
}

#[test]
fn a_text_file_is_split_by_its_pieces() {
    let dir = tempfile::tempdir().expect("folder");
    let text: String = (0..400).map(|n| format!("Sentence number {n} says that {} is a number.\n", n * 7)).collect();
    let data = load(&request(&write(dir.path(), "a.txt", &text), 0.2)).expect("loads");
    assert_eq!(data.schema, Schema::Text);
    assert!(data.train.len() > 50 && data.validation.len() > 10);
    let all = data.train.iter().chain(&data.validation);
    assert!(all.clone().all(|row| row.ids.len() <= 64 && row.trained.iter().skip(1).all(|flag| *flag)));
    assert_eq!(all.filter(|row| row.ids.last() == Some(&2)).count(), 1);
}

#[test]
fn the_preview_shows_what_the_setup_room_needs() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(dir.path(), "a.jsonl", &(pairs(0..50) + "broken\n"));
    let data = load(&request(&path, 0.2)).expect("loads");
    let Event::Preview {
        rows,
        train_rows,
        validation_rows,
        bad_rows,
        histogram,
        examples,
        quarantine,
        schema,
        mapping,
        longest_tokens,
        median_tokens,
        tokens,
        trained_tokens,
        confidence,
        ..
    } = preview_event(&data, 5)
    else {
        panic!("no preview")
    };
    assert_eq!((rows, bad_rows, examples.len(), quarantine.len()), (50, 1, 5, 1));
    assert_eq!(train_rows + validation_rows, 50);
    assert_eq!(histogram.iter().sum::<u64>(), 50);
    assert_eq!(
        (examples[1].line, examples[1].input.as_str(), examples[1].output.as_str()),
        (2, "question 1", "answer 1")
    );
    assert!(examples[1].trained > 0 && examples[1].trained < examples[1].tokens);
    assert_eq!(schema, "prompt-completion");
    assert_eq!(mapping.get("prompt").map(String::as_str), Some("prompt"));
    assert!(median_tokens <= longest_tokens && longest_tokens <= 64 && trained_tokens < tokens && confidence > 0.9);
}

#[test]
fn other_kinds_of_training_data_come_with_a_warning() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(dir.path(), "a.jsonl", "{\"prompt\":\"p\",\"chosen\":\"c\",\"rejected\":\"r\"}\n");
    let data = load(&request(&path, 0.0)).expect("loads");
    assert!(data.warnings.iter().any(|text| text.contains("rejected answers are not used")), "{:?}", data.warnings);
}

#[test]
fn probe_sets_are_windows_of_equal_width() {
    let dir = tempfile::tempdir().expect("folder");
    let codec = codec();
    let text: String = (0..300).map(|n| format!("Line {n} of the prose that must be kept.\n")).collect();
    let path = write(dir.path(), "prose.txt", &text);
    let probes = ProbeSet::load(&path, &codec, 8, 32).expect("loads");
    assert_eq!((probes.name.as_str(), probes.windows.len(), &probes.note), ("prose", 8, &None));
    assert!(probes.windows.iter().all(|window| window.len() == 32));
    assert_eq!(probes.windows.iter().collect::<BTreeSet<_>>().len(), 8);
    assert_eq!(ProbeSet::load(&path, &codec, 8, 32).expect("loads"), probes);
    let batches = probes.batches(3, 0);
    assert_eq!(batches.iter().map(|batch| batch.rows).collect::<Vec<_>>(), [3, 3, 2]);
    assert_eq!(batches.iter().map(|batch| batch.trained_tokens).sum::<usize>(), 8 * 31);
    let few = ProbeSet::load(&path, &codec, 100_000, 32).expect("loads");
    assert!(few.note.expect("a note").contains("windows of 32 tokens"));
    let chats = write(dir.path(), "chats.jsonl", &pairs(0..40));
    assert_eq!(ProbeSet::load(&chats, &codec, 4, 16).expect("loads").windows.len(), 4);
    let short = ProbeSet::load(&write(dir.path(), "short.txt", "too short"), &codec, 4, 128).expect_err("too short");
    assert!(short.to_string().contains("one window needs 128"), "{short}");
}

#[test]
fn a_described_folder_is_loaded_with_its_columns_and_tags() {
    let dir = tempfile::tempdir().expect("folder");
    write(dir.path(), "a.json", r#"[{"q": "Q1", "r": "R1"}]"#);
    let talk = r#"[{"talk": [{"who": "u", "what": "Q2"}, {"who": "a", "what": "R2"}]}]"#;
    write(dir.path(), "b.json", talk);
    write(
        dir.path(),
        "dataset_info.json",
        r#"{"one": {"file_name": "a.json", "columns": {"prompt": "q", "query": "absent", "response": "r"}},
            "two": {"file_name": "b.json", "formatting": "sharegpt", "columns": {"messages": "talk", "system": "absent"},
                    "tags": {"role_tag": "who", "content_tag": "what", "user_tag": "u", "assistant_tag": "a"}}}"#,
    );
    let data = load(&request(dir.path(), 0.0)).expect("loads");
    let codec = codec();
    let shown: Vec<String> = data.train.iter().map(|row| codec.decode(&row.ids, true).expect("decodes")).collect();
    assert_eq!(shown, ["user\nQ1\nassistant\nR1\n", "user\nQ2\nassistant\nR2\n"]);
    assert_eq!(data.stats.bad_rows, 0);
}
