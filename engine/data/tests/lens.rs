//! Rows by number, token by token, and the first look: both say what the full reading says.

mod common;

use common::codec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper_data::lens::Cleaning;
use temper_data::tokens::seen::{Mark, see};
use temper_data::tokens::{LossOn, tokenise};
use temper_data::{DataError, Dataset, Lens, LoadRequest, ValidationSource, preview_event};
use temper_protocol::Event;
use temper_protocol::data::RowField;
use temper_protocol::event::LensRow;

fn request(paths: &[PathBuf], max_tokens: usize) -> LoadRequest {
    LoadRequest {
        train: paths.iter().map(|path| (path.clone(), 1.0)).collect(),
        validation: ValidationSource::Share(0.0),
        schema: "auto".to_owned(),
        columns: BTreeMap::new(),
        max_tokens,
        loss_on: LossOn::Answers,
        seed: 1,
        cache_dir: None,
    }
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("written");
    path
}

fn chat(number: usize) -> String {
    format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"question {number}\"}},{{\"role\":\"assistant\",\
         \"content\":\"answer {number} of many\"}}]}}\n"
    )
}

fn open(paths: &[PathBuf], max_tokens: usize) -> Lens {
    Lens::open(request(paths, max_tokens), codec()).expect("opens")
}

fn all_known(lens: &Lens) {
    while lens.look_on().expect("reads on") {}
}

/// The text of a row's tokens with one mark.
fn text_of(row: &LensRow, mark: char) -> String {
    row.pieces.iter().zip(row.marks.chars()).filter(|(_, own)| *own == mark).map(|(piece, _)| piece.as_str()).collect()
}

#[test]
fn what_is_shown_as_trained_is_what_is_trained() {
    let dir = tempfile::tempdir().expect("folder");
    let documents: String =
        (0..3).map(|n| format!("{{\"text\":\"{}\"}}\n", "a document of words, ".repeat(1 + 6 * n))).collect();
    let segments = "{\"segments\":[{\"label\":false,\"text\":\"say \"},{\"label\":true,\"text\":\"hello there\"}]}\n";
    let files = [("c.jsonl", chat(1) + &chat(2)), ("d.jsonl", documents), ("s.jsonl", segments.to_owned())];
    for (name, text) in files {
        for max_tokens in [2, 9, 24, 4096] {
            let path = write(dir.path(), name, &text);
            let lens = open(std::slice::from_ref(&path), max_tokens);
            all_known(&lens);
            let shown = lens.rows(0, 10, usize::MAX).expect("rows");
            let trained: u64 = shown.iter().filter(|row| row.problem.is_empty()).map(|row| row.trained).sum();
            // A limit may leave nothing to train, which is an error of the whole.
            let data = Dataset::load(&request(&[path], max_tokens), &codec(), &mut |_| {}, &|| false);
            let counted = data.as_ref().map_or(0, |data| data.stats.trained_tokens);
            assert_eq!(trained, counted, "{name}, at most {max_tokens} tokens");
        }
    }
}

#[test]
fn a_row_shows_its_template_its_question_and_its_answer() {
    let dir = tempfile::tempdir().expect("folder");
    let lens = open(&[write(dir.path(), "a.jsonl", &chat(7))], 4096);
    all_known(&lens);
    let rows = lens.rows(0, 1, usize::MAX).expect("rows");
    let row = &rows[0];
    assert_eq!(text_of(row, 'c'), "question 7");
    assert_eq!(text_of(row, 't'), "answer 7 of many<|im_end|>");
    assert_eq!(
        row.pieces.concat(),
        "<|im_start|>user\nquestion 7<|im_end|>\n<|im_start|>assistant\nanswer 7 of many<|im_end|>\n"
    );
    assert_eq!((row.tokens as usize, row.marks.len()), (row.ids.len(), row.ids.len()));
    // Only as many as were asked for, with the counts of all.
    let few = lens.rows(0, 1, 3).expect("rows");
    assert_eq!((few[0].pieces.len(), few[0].marks.len(), few[0].tokens), (3, 3, row.tokens));
}

#[test]
fn what_is_beyond_the_limit_is_cut_off_and_said() {
    let dir = tempfile::tempdir().expect("folder");
    let path = write(dir.path(), "a.jsonl", &chat(7));
    let whole = open(std::slice::from_ref(&path), 4096);
    all_known(&whole);
    let all = whole.rows(0, 1, usize::MAX).expect("rows")[0].tokens;
    let lens = open(&[path], all as usize - 4);
    all_known(&lens);
    let row = &lens.rows(0, 1, usize::MAX).expect("rows")[0];
    assert_eq!((row.tokens, row.cut), (all, 4));
    assert!(row.marks.ends_with("xxxx"), "{}", row.marks);
    assert!(row.problem.is_empty(), "{}", row.problem);
}

#[test]
fn documents_longer_than_a_row_have_borders_where_the_next_row_begins() {
    let sample = temper_data::Sample {
        body: temper_data::schema::Body::Text("one two three four five six seven eight nine ten".to_owned()),
        repairs: 0,
    };
    let rows = tokenise(&sample, &codec(), LossOn::Answers, 8).expect("rows");
    let seen = see(&sample, &codec(), LossOn::Answers, 8);
    assert!(rows.len() > 2);
    let mut starts = Vec::new();
    let mut at = 0;
    for row in &rows {
        starts.push(at);
        assert_eq!(seen.ids[at..at + row.ids.len()], row.ids[..], "rows share a token at each border");
        at += row.ids.len() - 1;
    }
    assert_eq!(seen.borders, starts[1..].to_vec());
    assert_eq!(seen.marks.iter().filter(|mark| **mark == Mark::Trained).count(), seen.ids.len() - 1);
}

#[test]
fn any_row_is_found_by_its_number_over_files_blank_and_broken_lines() {
    let dir = tempfile::tempdir().expect("folder");
    let mut first = String::new();
    for number in 0..700 {
        match number {
            300 => first.push('\n'),
            500 => first.push_str("{\"messages\": broken\n"),
            _ => first.push_str(&chat(number)),
        }
    }
    let second: String = (700..1000).map(chat).collect();
    let second = second.trim_end().to_owned();
    let paths = [write(dir.path(), "a.jsonl", &first), write(dir.path(), "b.jsonl", &second)];
    let lens = open(&paths, 4096);
    assert_eq!(lens.extent().rows, 0, "nothing is looked through before it is asked for");
    all_known(&lens);
    let extent = lens.extent();
    assert_eq!((extent.rows, extent.complete, extent.done), (1000, true, extent.total));
    for number in [0_u64, 1, 63, 64, 65, 299, 301, 499, 501, 699, 700, 701, 763, 999] {
        let rows = lens.rows(number, 1, usize::MAX).expect("rows");
        assert_eq!(rows.len(), 1, "row {number}");
        assert_eq!(rows[0].row, number);
        assert_eq!(text_of(&rows[0], 'c'), format!("question {number}"));
        let (file, line) = if number < 700 { (&paths[0], number + 1) } else { (&paths[1], number - 699) };
        assert_eq!((&rows[0].file, rows[0].line), (file, line));
    }
    assert!(lens.rows(300, 1, 10).expect("rows").is_empty(), "a blank line is no row");
    let broken = &lens.rows(500, 1, 10).expect("rows")[0];
    assert!(broken.problem.contains("not valid JSON"), "{}", broken.problem);
    let across = lens.rows(690, 20, usize::MAX).expect("rows");
    assert_eq!(across.iter().map(|row| row.row).collect::<Vec<_>>(), (690..710).collect::<Vec<_>>());
    assert!(lens.rows(1000, 5, 10).expect("rows").is_empty());
}

#[test]
fn files_without_lines_show_their_rows_in_order() {
    let dir = tempfile::tempdir().expect("folder");
    let table = write(dir.path(), "a.csv", "prompt,completion\n\"two\nlines\",one\nq2,a2\nq3,a3\n");
    let lens = open(&[table], 4096);
    all_known(&lens);
    assert_eq!(lens.extent().rows, 3);
    let rows = lens.rows(0, 10, usize::MAX).expect("rows");
    assert_eq!(rows.iter().map(|row| row.row).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(text_of(&rows[0], 'c'), "two\nlines");
    assert!(text_of(&rows[2], 't').starts_with("a3"));
}

fn figures(event: &Event) -> (u64, u64, u64, u64, bool) {
    match event {
        Event::Preview { rows, tokens, trained_tokens, bad_rows, estimated, .. } => {
            (*rows, *tokens, *trained_tokens, *bad_rows, *estimated)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_look_at_a_small_file_is_exact() {
    let dir = tempfile::tempdir().expect("folder");
    let text: String = (0..100).map(chat).collect::<String>() + "nonsense\n";
    let path = write(dir.path(), "a.jsonl", &text);
    let looked = open(std::slice::from_ref(&path), 64).peek(3, 0.0).expect("looks");
    let data = Dataset::load(&request(&[path], 64), &codec(), &mut |_| {}, &|| false).expect("loads");
    let read = preview_event(&data, 3);
    assert_eq!(figures(&looked), figures(&read));
    let (
        Event::Preview { quarantine: looked_aside, examples: looked_rows, .. },
        Event::Preview { quarantine, examples, .. },
    ) = (&looked, &read)
    else {
        panic!("previews");
    };
    assert_eq!(looked_aside, quarantine);
    assert_eq!(looked_rows, examples);
}

#[test]
fn first_rows_have_the_numbers_by_which_the_lens_finds_them() {
    let dir = tempfile::tempdir().expect("folder");
    let row = |number: usize, good: bool| {
        format!("{{\"prompt\":\"question {number}\",\"completion\":\"answer {number} of many\",\"label\":{good}}}")
    };
    // Two rows that are left out and one that is set aside lie before and between those that are trained.
    let rows = [
        row(0, false),
        row(1, true),
        "{\"prompt\":\"no answer\",\"label\":true}".to_owned(),
        row(3, false),
        row(4, true),
    ];
    let json = write(dir.path(), "a.json", &format!("[\n{}\n]\n", rows.join(",\n\n")));
    let lines = write(dir.path(), "b.jsonl", &format!("{}\n", rows.join("\n\n")));
    for (paths, numbers) in [
        (vec![json.clone()], vec![Some(1), Some(4)]),
        (vec![lines.clone()], vec![Some(2), Some(8)]),
        (vec![json, lines], vec![Some(1), Some(4), None, None]),
    ] {
        let lens = open(&paths, 64);
        all_known(&lens);
        let data = Dataset::load(&request(&paths, 64), &codec(), &mut |_| {}, &|| false).expect("loads");
        for preview in [lens.peek(8, 0.0).expect("looks"), preview_event(&data, 8)] {
            let Event::Preview { examples, .. } = preview else { panic!("a preview") };
            assert_eq!(examples.iter().map(|example| example.row).collect::<Vec<_>>(), numbers);
            for example in examples.iter().filter(|example| example.row.is_some()) {
                let found = lens.rows(example.row.unwrap_or(0), 1, 64).expect("reads").pop().expect("a row");
                assert_eq!((found.line, found.problem.as_str()), (example.line, ""), "{example:?}");
            }
        }
    }
}

#[test]
fn the_first_look_at_a_large_file_reckons_what_it_has_not_read() {
    let dir = tempfile::tempdir().expect("folder");
    // Rows grow along the file: the head alone would reckon far too many.
    let text: String = (0..8000)
        .map(|n| {
            let words = "word ".repeat(1 + n / 400);
            format!("{{\"prompt\":\"question {n}\",\"completion\":\"{words}\"}}\n")
        })
        .collect();
    let path = write(dir.path(), "a.jsonl", &text);
    let looked = open(std::slice::from_ref(&path), 256).peek(3, 0.25).expect("looks");
    let data = Dataset::load(&request(&[path], 256), &codec(), &mut |_| {}, &|| false).expect("loads");
    let (rows, tokens, trained, bad, estimated) = figures(&looked);
    let (all_rows, all_tokens, all_trained, ..) = figures(&preview_event(&data, 3));
    let near = |guess: u64, truth: u64| (guess as f64 / truth as f64 - 1.0).abs() < 0.15;
    assert!(estimated);
    assert_eq!(bad, 0);
    assert!(near(tokens, all_tokens), "{tokens} tokens instead of {all_tokens}");
    assert!(near(trained, all_trained), "{trained} trained instead of {all_trained}");
    assert!(rows > all_rows / 2 && rows < all_rows * 2, "{rows} rows instead of {all_rows}");
}

#[test]
fn a_cleaned_copy_has_every_other_row_as_it_was() {
    let dir = tempfile::tempdir().expect("folder");
    let first = chat(0) + &chat(1) + "\n" + &chat(1) + "not json\n";
    let second = chat(2) + chat(0).trim_end();
    let paths = [write(dir.path(), "a.jsonl", &first), write(dir.path(), "b.jsonl", &second)];
    let lens = open(&paths, 64);
    let clean = |cleaning: &Cleaning| {
        let cleaned = lens.clean(cleaning, dir.path(), &mut |_| {}, &|| false).expect("a copy");
        let text = std::fs::read_to_string(&cleaned.path).expect("the copy");
        assert_eq!(text.len() as u64, cleaned.bytes);
        (cleaned, text)
    };
    let (cleaned, text) = clean(&Cleaning { leave_out: [4, 5].into(), deduplicate: false, ..Cleaning::default() });
    assert_eq!((cleaned.rows, cleaned.left_out, cleaned.duplicates), (4, 2, 0));
    assert_eq!(text, chat(0) + &chat(1) + &chat(1) + &chat(0));
    assert!(cleaned.path.ends_with("a-cleaned.jsonl"));
    let (cleaned, text) = clean(&Cleaning { leave_out: [4].into(), deduplicate: true, ..Cleaning::default() });
    assert_eq!((cleaned.rows, cleaned.left_out, cleaned.duplicates), (3, 1, 2));
    assert_eq!(text, chat(0) + &chat(1) + &chat(2));
    assert!(cleaned.path.ends_with("a-cleaned-2.jsonl"), "nothing is overwritten: {}", cleaned.path.display());
    assert_eq!(std::fs::read_to_string(&paths[0]).expect("the original"), first);
}

#[test]
fn a_copy_that_is_given_up_or_empty_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("folder");
    let lens = open(&[write(dir.path(), "a.jsonl", &chat(0))], 64);
    let stopped = lens.clean(&Cleaning::default(), dir.path(), &mut |_| {}, &|| true);
    assert!(matches!(stopped, Err(DataError::Cancelled)), "{stopped:?}");
    let none = Cleaning { leave_out: [0].into(), deduplicate: false, ..Cleaning::default() };
    let empty = lens.clean(&none, dir.path(), &mut |_| {}, &|| false);
    assert!(matches!(empty, Err(DataError::Data { .. })), "{empty:?}");
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).expect("folder").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["a.jsonl"]);
}

#[test]
fn copies_that_are_written_at_once_are_both_whole_and_touch_nothing_else() {
    let dir = tempfile::tempdir().expect("folder");
    let lens = open(&[write(dir.path(), "a.jsonl", &(chat(0) + &chat(1)))], 64);
    for own in ["a-cleaned.jsonl.part", "a-cleaned.jsonl.1.part"] {
        write(dir.path(), own, "a person's own");
    }
    let mut meanwhile = None;
    // While the first is being written, a second one begins and is through.
    let mut other = |_read: u64| {
        let half = Cleaning { leave_out: [0].into(), ..Cleaning::default() };
        meanwhile.get_or_insert_with(|| lens.clean(&half, dir.path(), &mut |_| {}, &|| false).expect("a copy"));
    };
    let cleaned = lens.clean(&Cleaning::default(), dir.path(), &mut other, &|| false).expect("a copy");
    let meanwhile = meanwhile.expect("the other one");
    assert_ne!(cleaned.path, meanwhile.path);
    for (copy, text) in [(cleaned, chat(0) + &chat(1)), (meanwhile, chat(1))] {
        assert_eq!(std::fs::read_to_string(&copy.path).expect("the copy"), text, "{}", copy.path.display());
    }
    for own in ["a-cleaned.jsonl.part", "a-cleaned.jsonl.1.part"] {
        assert_eq!(std::fs::read_to_string(dir.path().join(own)).expect("stays"), "a person's own");
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 5, "nothing unfinished is left");
}

fn field(place: &str, text: &str) -> RowField {
    RowField { place: place.to_owned(), text: text.to_owned() }
}

#[test]
fn texts_of_a_row_are_shown_and_seen_as_edited() {
    let dir = tempfile::tempdir().expect("folder");
    let text: String = (0..200).map(chat).collect();
    let lens = open(&[write(dir.path(), "a.jsonl", &text)], 4096);
    all_known(&lens);
    let told = lens.row_texts(130, &[], usize::MAX).expect("texts");
    let places: Vec<_> = told.fields.iter().map(|field| (field.place.as_str(), field.text.as_str())).collect();
    let wanted = [
        ("/messages/0/role", "user"),
        ("/messages/0/content", "question 130"),
        ("/messages/1/role", "assistant"),
        ("/messages/1/content", "answer 130 of many"),
    ];
    assert_eq!(places, wanted);
    assert_eq!(told.seen, lens.rows(130, 1, usize::MAX).expect("rows")[0]);
    let edits = [field("/messages/1/content", "another answer")];
    let edited = lens.row_texts(130, &edits, usize::MAX).expect("texts");
    assert_eq!(edited.fields, told.fields, "what stands in the file is told");
    assert_eq!(text_of(&edited.seen, 't'), "another answer<|im_end|>");
    for (wrong, why) in [("", "no answer"), ("/messages/7/content", "no text at")] {
        let place = if wrong.is_empty() { "/messages/1/content" } else { wrong };
        let refused = lens.row_texts(130, &[field(place, "  ")], usize::MAX).expect_err("refused").to_string();
        assert!(refused.contains(why) && refused.contains("line 131"), "{refused}");
    }
    assert!(lens.row_texts(200, &[], 8).is_err(), "there is no such row");
}

#[test]
fn edited_rows_stand_in_the_copy_and_all_else_stays_as_it_was() {
    let dir = tempfile::tempdir().expect("folder");
    let odd = "{\"text\" : \"na\\u00efve\", \"score\":1.50}\n";
    let first = format!("\u{feff}{odd}\n{{\"text\":\"broken\n{{\"text\":\"same\"}}\n");
    let paths = [write(dir.path(), "a.jsonl", &first), write(dir.path(), "b.jsonl", "\u{feff}{\"text\":\"last\"}")];
    let lens = open(&paths, 64);
    let clean = |edits: &[(u64, RowField)]| {
        let edits = edits.iter().map(|(row, field)| (*row, vec![field.clone()])).collect();
        let cleaning = Cleaning { deduplicate: true, edits, ..Cleaning::default() };
        lens.clean(&cleaning, dir.path(), &mut |_| {}, &|| false)
    };
    let cleaned = clean(&[(2, field("#", "{\"text\":\"mended\"}")), (3, field("/text", "last"))]).expect("a copy");
    let text = std::fs::read_to_string(&cleaned.path).expect("the copy");
    // Row 3 became what row 4 says, which is then the second one of its kind.
    assert_eq!(text, format!("{odd}{{\"text\":\"mended\"}}\n{{\"text\":\"last\"}}\n"));
    assert_eq!((cleaned.rows, cleaned.edited, cleaned.duplicates), (3, 2, 1));
    for (row, edit) in
        [(0, field("/score", "2")), (1, field("/text", "x")), (3, field("/text", " ")), (5, field("/text", "x"))]
    {
        let refused = clean(&[(row, edit)]);
        assert!(matches!(refused, Err(DataError::Data { .. })), "row {row}: {refused:?}");
    }
    let left = std::fs::read_dir(dir.path()).expect("folder").count();
    assert_eq!(left, 3, "what was refused leaves nothing behind");
}
