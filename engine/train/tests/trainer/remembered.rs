//! What a run measures before its first step is remembered for the next one, and only where it is the same.

use crate::fixture::{Fixture, bytes_at, run};
use std::fs;
use std::path::PathBuf;
use temper_protocol::Event;
use temper_train::TrainRequest;

/// A request of two steps that remembers, in a run folder of its own.
fn request(fixture: &Fixture, run: &str) -> TrainRequest {
    let mut project = fixture.project();
    project.train.steps = 2;
    project.samples.prompts = vec!["Where is the door?".to_owned()];
    project.samples.max_tokens = 4;
    TrainRequest { base_cache_dir: Some(fixture.path("cache")), ..fixture.request(project, run) }
}

/// Everything that is said as of step 0 and of the first step, without the figures of speed.
fn start_of(events: &[Event]) -> Vec<Event> {
    let of_start = |event: &&Event| {
        matches!(event, Event::Eval { step: 0, .. } | Event::Probe { step: 0, .. } | Event::Sample { step: 0, .. })
    };
    events.iter().filter(of_start).cloned().collect()
}

/// Whether the base's answers to the kept text were computed.
fn measured(events: &[Event]) -> bool {
    let stage = "measuring what must not be forgotten";
    events.iter().any(|event| matches!(event, Event::Preparing { stage: found, .. } if found == stage))
}

fn entries(fixture: &Fixture) -> Vec<PathBuf> {
    let all = fs::read_dir(fixture.path("cache")).expect("the cache");
    let mut all: Vec<PathBuf> = all.map(|entry| entry.expect("entry").path()).collect();
    all.retain(|path| path.extension().is_some_and(|ending| ending == "base"));
    all.sort();
    all
}

#[test]
fn the_next_run_takes_the_same_figures_and_measures_nothing() {
    let fixture = Fixture::new();
    let (first, second) = (request(&fixture, "first"), request(&fixture, "second"));
    let (_, events) = run(&first);
    assert!(measured(&events));
    // Hidden states of one set, validation, kept sets, one answer.
    assert_eq!(entries(&fixture).len(), 4);
    let (_, again) = run(&second);
    assert!(!measured(&again));
    assert_eq!(entries(&fixture).len(), 4);
    assert_eq!(start_of(&again), start_of(&events));
    assert_eq!(start_of(&again).len(), 3);
    let mut plain = request(&fixture, "plain");
    plain.base_cache_dir = None;
    let (_, alone) = run(&plain);
    assert!(measured(&alone));
    assert_eq!(start_of(&alone), start_of(&events), "measuring gives the same numbers");
    assert_eq!(bytes_at(&first, 2), bytes_at(&second, 2));
    assert_eq!(bytes_at(&first, 2), bytes_at(&plain, 2));
    let kept = |request: &TrainRequest| fs::read(request.run_dir.join("kept/0000.safetensors")).expect("hidden states");
    assert_eq!(kept(&first), kept(&second));
}

#[test]
fn another_base_another_method_or_another_text_is_measured() {
    let fixture = Fixture::new();
    run(&request(&fixture, "first"));
    assert_eq!(entries(&fixture).len(), 4);
    // The base's own hidden states do not depend on the method.
    let mut other_rank = request(&fixture, "rank");
    other_rank.project.method.settings.0.insert("rank".to_owned(), temper_protocol::Value::Integer(2));
    let (_, events) = run(&other_rank);
    assert!(!measured(&events));
    assert_eq!(entries(&fixture).len(), 7);

    let prose = fs::read_to_string(fixture.path("prose.txt")).expect("text");
    fs::write(fixture.path("prose.txt"), prose.replace("quiet", "silent")).expect("writes");
    let (_, events) = run(&request(&fixture, "text"));
    assert!(measured(&events));
    assert_eq!(entries(&fixture).len(), 9, "validation and the answer are as before");

    let config = fs::read_to_string(fixture.path("model/config.json")).expect("config");
    fs::write(fixture.path("model/config.json"), format!("{config} ")).expect("writes");
    let (_, events) = run(&request(&fixture, "base"));
    assert!(measured(&events));
    assert_eq!(entries(&fixture).len(), 13);
}

#[test]
fn damaged_entries_are_measured_and_written_anew() {
    let fixture = Fixture::new();
    let (_, events) = run(&request(&fixture, "first"));
    let whole: Vec<Vec<u8>> = entries(&fixture).iter().map(|path| fs::read(path).expect("reads")).collect();
    for path in entries(&fixture) {
        let mut bytes = fs::read(&path).expect("reads");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).expect("damages");
    }
    let (_, again) = run(&request(&fixture, "second"));
    assert!(measured(&again));
    assert_eq!(start_of(&again), start_of(&events));
    let now: Vec<Vec<u8>> = entries(&fixture).iter().map(|path| fs::read(path).expect("reads")).collect();
    assert!(now == whole, "the entries are what they were");
    let (_, third) = run(&request(&fixture, "third"));
    assert!(!measured(&third));
    assert_eq!(start_of(&third), start_of(&events));
}
