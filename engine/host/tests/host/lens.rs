//! A first look at data, its rows one by one, a cleaned copy; and that none of it waits for other work.

use crate::commands::Bench;
use crate::kit::{Client, job};
use std::path::{Path, PathBuf};
use temper_host::Work;
use temper_protocol::event::{DataRows, LensRow};
use temper_protocol::project::Source;
use temper_protocol::{Command, Event, project_file};

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
    let command = Command::CleanRows { project: dir.clone(), leave_out: vec![0, 2], deduplicate: true };
    let events = bench.ask(command).expect("cleans");
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
