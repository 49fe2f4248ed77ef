//! A first look at data, its rows one by one, a cleaned copy; and that none of it waits for other work.

use crate::commands::Bench;
use crate::kit::{Client, job};
use std::path::{Path, PathBuf};
use temper_host::Work;
use temper_protocol::data::{RowEdit, RowField, RowTexts, WHOLE_LINE};
use temper_protocol::event::{DataRows, LensRow};
use temper_protocol::project::Source;
use temper_protocol::{Command, Event, ModelRef, Problem, project_file};

fn conversation(number: usize) -> String {
    format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"What is {number} and one?\"}},{{\"role\":\"assistant\",\
         \"content\":\"It is {}, and that is all.\"}}]}}\n",
        number + 1
    )
}

/// A project over `rows` conversations, the third of which is no JSON.
fn project(bench: &mut Bench, rows: usize) -> PathBuf {
    let dir = bench.project("rows");
    let text: String =
        (0..rows).map(|row| if row == 2 { "{\"messages\":\n".to_owned() } else { conversation(row) }).collect();
    std::fs::write(dir.join("rows.jsonl"), text).expect("written");
    let mut project = project_file::load(&dir).expect("reads");
    project.data.train = vec![Source::Path("rows.jsonl".to_owned())];
    project_file::save(&project, &dir).expect("saves");
    dir
}

fn preview(events: &[Event]) -> (u64, u64, u64, bool) {
    match events.iter().find(|event| matches!(event, Event::Preview { .. })) {
        Some(Event::Preview { rows, trained_tokens, bad_rows, estimated, .. }) => {
            (*rows, *trained_tokens, *bad_rows, *estimated)
        }
        _ => panic!("{events:#?}"),
    }
}

fn rows(bench: &mut Bench, project: &Path, first: u64, count: usize) -> Vec<LensRow> {
    let command = Command::Rows { project: project.to_path_buf(), first, count, most_tokens: 1000 };
    match bench.ask(command).expect("rows").pop() {
        Some(Event::Rows(DataRows { rows, .. })) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_first_look_and_the_rows_say_what_the_full_reading_says() {
    let mut bench = Bench::new();
    let dir = project(&mut bench, 200);
    let looked = preview(&bench.ask(Command::Peek { project: dir.clone(), rows: 3 }).expect("looks"));
    let read = preview(&bench.ask(Command::Preview { project: dir.clone(), rows: 3 }).expect("reads"));
    assert_eq!(looked, read);
    assert!(!read.3 && read.2 == 1);
    let indexed = bench.ask(Command::IndexRows { project: dir.clone() }).expect("indexes");
    let last = indexed.iter().rev().find_map(|event| if let Event::Rows(rows) = event { Some(rows) } else { None });
    let DataRows { known, complete, .. } = last.expect("how many rows");
    assert_eq!((*known, *complete), (200, true));
    let shown = rows(&mut bench, &dir, 0, 200);
    assert_eq!(shown.iter().map(|row| row.trained).sum::<u64>(), read.1);
    assert!(shown[2].problem.contains("not valid JSON"), "{}", shown[2].problem);
    assert!(shown[7].pieces.concat().contains("What is 7 and one?"));
    // Another file under the same name is another data set.
    std::fs::write(dir.join("rows.jsonl"), conversation(5000) + &conversation(5001)).expect("written");
    let shown = rows(&mut bench, &dir, 0, 200);
    assert_eq!(shown.len(), 2);
    assert!(shown[0].pieces.concat().contains("5000"));
}

#[test]
fn a_cleaned_copy_lies_beside_the_project_and_is_told() {
    let mut bench = Bench::new();
    let dir = project(&mut bench, 6);
    let command = |stamp: &str| Command::CleanRows {
        project: dir.clone(),
        leave_out: vec![0, 2],
        deduplicate: true,
        edits: Vec::new(),
        stamp: stamp.to_owned(),
    };
    let stamp = |bench: &mut Bench| {
        let rows = Command::Rows { project: dir.clone(), first: 0, count: 1, most_tokens: 8 };
        match bench.ask(rows).expect("rows").pop() {
            Some(Event::Rows(DataRows { stamp, .. })) => stamp,
            other => panic!("{other:?}"),
        }
    };
    let before = stamp(&mut bench);
    let six = std::fs::read_to_string(dir.join("rows.jsonl")).expect("the rows");
    let nine: String = (0..9).map(conversation).collect();
    std::fs::write(dir.join("rows.jsonl"), nine).expect("written");
    let problem = bench.ask(command(&before)).expect_err("rows 0 and 2 are others now");
    assert!(problem.what.contains("changed since its rows were chosen"), "{problem}");
    assert_ne!(stamp(&mut bench), before);
    std::fs::write(dir.join("rows.jsonl"), six).expect("written");
    let now = stamp(&mut bench);
    let events = bench.ask(command(&now)).expect("cleans");
    let written = events.iter().find_map(|event| match event {
        Event::Written { path, bytes, .. } => Some((path.clone(), *bytes)),
        _ => None,
    });
    let (path, bytes) = written.expect("written");
    assert_eq!(path.parent().and_then(Path::file_name), dir.file_name());
    let text = std::fs::read_to_string(&path).expect("the copy");
    assert_eq!(text, [1, 3, 4, 5].map(conversation).concat());
    assert_eq!(bytes, text.len() as u64);
    let told = events.iter().any(|event| matches!(event, Event::Warning { code, .. } if code == "cleaned"));
    assert!(told, "{events:#?}");
}

fn texts(bench: &mut Bench, project: &Path, row: u64, fields: Vec<RowField>) -> Result<RowTexts, Problem> {
    let command = Command::RowTexts { project: project.to_path_buf(), row, fields, most_tokens: 1000 };
    match bench.ask(command)?.pop() {
        Some(Event::RowTexts(texts)) => Ok(texts),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_are_edited_as_far_as_they_can_be_trained() {
    let mut bench = Bench::new();
    let dir = project(&mut bench, 4);
    let field = |place: &str, text: &str| RowField { place: place.to_owned(), text: text.to_owned() };
    let told = texts(&mut bench, &dir, 1, Vec::new()).expect("texts");
    assert!(told.fields.contains(&field("/messages/1/content", "It is 2, and that is all.")), "{told:?}");
    let better = field("/messages/1/content", "It is two.");
    let seen = texts(&mut bench, &dir, 1, vec![better.clone()]).expect("texts").seen;
    assert!(seen.pieces.concat().contains("It is two."), "{seen:?}");
    let problem = texts(&mut bench, &dir, 1, vec![field("/messages/1/content", "")]).expect_err("no answer");
    assert!(problem.what.contains("no answer") && problem.r#where.contains("line 2"), "{problem}");
    let edits = vec![
        RowEdit { row: 1, fields: vec![better] },
        RowEdit { row: 2, fields: vec![field(WHOLE_LINE, conversation(2).trim())] },
    ];
    let (leave_out, stamp) = (vec![0], String::new());
    let command = Command::CleanRows { project: dir.clone(), leave_out, deduplicate: false, edits, stamp };
    let events = bench.ask(command).expect("cleans");
    let written = events.iter().find_map(|event| match event {
        Event::Written { path, .. } => Some(path.clone()),
        _ => None,
    });
    let text = std::fs::read_to_string(written.expect("written")).expect("the copy");
    let edited = conversation(1).replace("It is 2, and that is all.", "It is two.");
    assert_eq!(text, edited + &conversation(2) + &conversation(3));
}

#[test]
fn what_tokens_cost_adds_up_to_what_the_row_costs() {
    let mut bench = Bench::new();
    let dir = project(&mut bench, 2);
    let losses = |bench: &mut Bench, row: u64, fields: Vec<RowField>| {
        let command = Command::RowLosses { project: dir.clone(), row, fields, most_tokens: 1000 };
        match bench.ask(command).expect("losses").pop() {
            Some(Event::Rows(DataRows { mut rows, .. })) => rows.pop().expect("the row"),
            other => panic!("{other:?}"),
        }
    };
    let row = losses(&mut bench, 1, Vec::new());
    assert_eq!(row.losses.len(), row.ids.len());
    assert!(row.losses[0].is_nan() && row.losses[1..].iter().all(|loss| loss.is_finite() && *loss > 0.0), "{row:?}");
    // The command that measures whole rows goes another way, through batches with padding.
    std::fs::write(dir.join("one.jsonl"), conversation(1)).expect("written");
    let said = project_file::load(&dir).expect("reads");
    let model = ModelRef { model: said.model.path, adapters: Vec::new(), base: Some(said.model.base) };
    let data = dir.join("one.jsonl").display().to_string();
    let metrics = vec!["nll".to_owned()];
    let events = bench.ask(Command::Evaluate { project: Some(dir.clone()), model, data, metrics }).expect("measured");
    let whole =
        events.iter().find_map(|event| if let Event::Result { value, .. } = event { Some(*value) } else { None });
    let trained = row.losses.iter().zip(row.marks.chars()).filter(|(_, mark)| *mark == 't').map(|(loss, _)| *loss);
    let (sum, count) = trained.fold((0.0, 0.0), |(sum, count), loss| (sum + loss, count + 1.0));
    let whole = whole.expect("a result");
    assert!((sum / count - whole).abs() < 1e-4 * whole, "{} and {whole}", sum / count);
    // Another answer costs something else from its first token on, and the question what it did.
    let edited =
        losses(&mut bench, 1, vec![RowField { place: "/messages/1/content".to_owned(), text: "No.".to_owned() }]);
    let first = row.marks.find('t').expect("trained");
    let same = row.losses[1..first].iter().zip(&edited.losses[1..first]).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(same && edited.losses.len() != row.losses.len());
}

#[test]
fn columns_are_told_above_all_when_their_meaning_is_not_clear() {
    let mut bench = Bench::new();
    let dir = project(&mut bench, 4);
    std::fs::write(dir.join("rows.jsonl"), "{\"ask\":\"Why?\",\"reply\":\"So.\",\"score\":1}\n").expect("written");
    let columns = |events: &[Event]| {
        let found =
            events.iter().find_map(|event| if let Event::Columns(found) = event { Some(found.clone()) } else { None });
        found.expect("columns")
    };
    let command = || Command::Peek { project: dir.clone(), rows: 3 };
    let unclear = bench.all(command());
    assert!(matches!(unclear.last(), Some(Event::Error(problem)) if problem.what.contains("not clear")), "{unclear:?}");
    let found = columns(&unclear);
    let names: Vec<_> = found.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!((names, found.schema.as_str()), (vec!["ask", "reply", "score"], ""));
    let mut project = project_file::load(&dir).expect("reads");
    project.data.schema = "prompt-completion".to_owned();
    project.data.columns =
        [("prompt", "ask"), ("completion", "reply")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    project_file::save(&project, &dir).expect("saves");
    let events = bench.all(command());
    assert_eq!(
        (columns(&events).schema, columns(&events).mapping),
        ("prompt-completion".to_owned(), project.data.columns)
    );
    assert_eq!(preview(&events).0, 1);
}

#[test]
fn looks_wait_neither_for_light_work_nor_for_a_long_look() {
    let mut client = Client::new(Box::new(|command| {
        // The first two hold their threads until they are cancelled.
        let wait = || {
            job(|context| {
                while !context.is_cancelled() {
                    std::thread::yield_now();
                }
                Ok(())
            })
        };
        Ok(match command {
            Command::Doctor {} => Work::Light(wait()),
            Command::IndexRows { .. } => Work::Look(wait()),
            _ => Work::Look(job(|_| Ok(()))),
        })
    }));
    let light = client.send(Command::Doctor {});
    let long = client.send(Command::IndexRows { project: PathBuf::from("p") });
    let short = client.send(Command::Methods {});
    assert_eq!(client.end_of(short), Event::Done {});
    for request in [light, long] {
        client.send(Command::CancelRequest { target: request });
        client.end_of(request);
    }
}
