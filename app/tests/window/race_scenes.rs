//! A race of methods as tests and pictures meet it: ticked, begun, after a round, won.

use crate::kit::{self, Window};
use egui_plot::PlotPoint;
use std::path::{Path, PathBuf};
use temper::commands::UiCommand;
use temper::reader::ComparedRun;
use temper::reader::snapshot::RunsSnapshot;
use temper::state::race::RaceAct;
use temper::testing::{NOW_MILLIS, Stage};
use temper_protocol::event::{RaceRound, Standing};
use temper_protocol::race_record::{RaceEnd, RaceRecord, Racer, SCHEMA};
use temper_protocol::{Command, Event};
use temper_store::RunRow;

/// Methods of the scenes' race: those of the registry, and two more like them.
pub(crate) const RACERS: [&str; 4] = ["lora", "full", "dora", "ia3"];

pub(crate) fn is_race(command: &Command) -> bool {
    matches!(command, Command::Race { .. })
}

/// The registry with enough methods for two rounds.
fn answer(command: &Command) -> Vec<Event> {
    let Command::Methods {} = command else { return kit::answer(command) };
    let mut methods = kit::methods();
    for (id, title) in [("dora", "DoRA"), ("ia3", "IA3")] {
        let Some(mut card) = kit::methods().into_iter().next() else { continue };
        id.clone_into(&mut card.id);
        title.clone_into(&mut card.title);
        methods.push(card);
    }
    methods.into_iter().map(Event::Method).chain([Event::Done {}]).collect()
}

/// Has the engine say its registry again, now with four methods.
fn with_methods(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer);
    let listed = answer(&Command::Methods {});
    let card = |event| if let Event::Method(card) = event { Some(card) } else { None };
    window.state_mut().state.methods = listed.into_iter().filter_map(card).collect();
}

/// Ticks the first two methods.
pub(crate) fn tick(window: &mut Window) {
    kit::send(window, UiCommand::Race(RaceAct::Choose(true)));
    for method in RACERS.iter().take(2) {
        kit::send(window, UiCommand::Race(RaceAct::Tick((*method).to_owned(), true)));
    }
}

/// Starts the race of what is ticked.
pub(crate) fn start(window: &mut Window, stage: &Stage) {
    kit::send(window, UiCommand::Race(RaceAct::Start));
    window.run_steps(3);
    assert_eq!(stage.engine.count(is_race), 1, "the race was asked for");
}

/// A standing of the scenes, as the engine tells it.
pub(crate) fn standing(method: &str, (loss, difference, band): (f64, f64, f64), stays: bool) -> Standing {
    let place = RACERS.iter().position(|one| *one == method).unwrap_or(0) as u64;
    Standing { method: method.to_owned(), run: Some(8 + place), loss, difference, band, stays, refused: None }
}

fn progress(method: &str, done: u64) -> Event {
    Event::Progress { done, total: 600, unit: "steps".to_owned(), stage: method.to_owned() }
}

fn row(method: &str, run: u64, status: &str, steps: u64) -> RunRow {
    RunRow { method: method.to_owned(), ..kit::row(run, status, steps) }
}

fn curves(run: u64, steps: u64, lead: f64) -> ComparedRun {
    let place = |step: u64| PlotPoint::new(step as f64, kit::loss_at(step as f64) + lead);
    ComparedRun {
        run,
        train: (1..=steps).map(place).collect(),
        validation: (0..=steps / 50).map(|part| place(part * 50)).collect(),
    }
}

/// The runs of the race, the first ones trained to `steps`.
fn publish(window: &mut Window, stage: &Stage, folder: &Path, steps: &[u64]) {
    let mut snapshot = RunsSnapshot { project: Some(folder.to_path_buf()), ..RunsSnapshot::default() };
    for (index, (method, steps)) in RACERS.iter().zip(steps).enumerate() {
        let run = 8 + index as u64;
        snapshot.runs.insert(0, row(method, run, "stopped", *steps));
        snapshot.compared.push(curves(run, *steps, 0.03 * index as f64));
    }
    stage.runs.publish(snapshot);
    window.run();
}

fn begun(window: &mut Window, stage: &Stage) -> PathBuf {
    with_methods(window, stage);
    let folder = kit::open(window, stage);
    kit::send(window, UiCommand::Race(RaceAct::Choose(true)));
    for method in RACERS {
        kit::send(window, UiCommand::Race(RaceAct::Tick(method.to_owned(), true)));
    }
    start(window, stage);
    folder
}

pub(crate) fn race_ticking(window: &mut Window, stage: &Stage) {
    with_methods(window, stage);
    kit::open(window, stage);
    tick(window);
}

pub(crate) fn race_begun(window: &mut Window, stage: &Stage) {
    let folder = begun(window, stage);
    publish(window, stage, &folder, &[96]);
    stage.engine.say(is_race, vec![progress("lora", 95), progress("lora", 96)]);
    window.run();
}

fn first_round() -> Event {
    let mut refused = standing("ia3", (f64::NAN, f64::NAN, f64::NAN), false);
    refused.run = None;
    refused.refused = Some("no layer matches".to_owned());
    let standings = vec![
        standing("lora", (1.427, 0.0, 0.0), true),
        standing("dora", (1.433, 0.006, 0.009), true),
        standing("full", (1.498, 0.071, 0.012), false),
        refused,
    ];
    Event::Race(RaceRound { round: 1, rounds: 2, step: 600, standings })
}

pub(crate) fn race_rounds(window: &mut Window, stage: &Stage) {
    let folder = begun(window, stage);
    publish(window, stage, &folder, &[712, 600, 600]);
    stage.engine.say(is_race, vec![first_round(), progress("lora", 711), progress("lora", 712)]);
    window.run();
}

pub(crate) fn race_won(window: &mut Window, stage: &Stage) {
    let folder = begun(window, stage);
    publish(window, stage, &folder, &[1200, 600, 1200]);
    let standings = vec![standing("dora", (1.401, 0.0, 0.0), true), standing("lora", (1.419, 0.018, 0.007), false)];
    let last = Event::Race(RaceRound { round: 2, rounds: 2, step: 1200, standings });
    stage.engine.say(is_race, vec![first_round(), last, Event::Done {}]);
    window.run();
}

/// A kept race of the scenes' methods; of two rounds when it is `whole`.
fn record(number: u64, end: Option<RaceEnd>, whole: bool) -> RaceRecord {
    let Event::Race(first) = first_round() else { return kept_of(number, Vec::new(), end) };
    let standings = vec![standing("dora", (1.401, 0.0, 0.0), true), standing("lora", (1.419, 0.018, 0.007), false)];
    let last = RaceRound { round: 2, rounds: 2, step: 1200, standings };
    kept_of(number, if whole { vec![first, last] } else { vec![first] }, end)
}

fn kept_of(number: u64, rounds: Vec<RaceRound>, end: Option<RaceEnd>) -> RaceRecord {
    let racer = |(place, method): (u64, &str)| Racer {
        method: method.to_owned(),
        run: (method != "ia3").then_some(8 + place),
        step_secs: Some(2.1),
    };
    let number_of_hours = i64::try_from(number).unwrap_or(0);
    RaceRecord {
        schema: SCHEMA,
        number,
        started_millis: NOW_MILLIS - 86_400_000 + number_of_hours * 3_600_000,
        steps: 1200,
        set: Vec::new(),
        settings_toml: String::new(),
        racers: (0..).zip(RACERS).map(racer).collect(),
        rounds,
        end,
    }
}

/// Three races are kept: one was won, one was stopped after a round, one was broken off before.
pub(crate) fn keep_races(folder: &Path) {
    let broken = kept_of(3, Vec::new(), None);
    for kept in [record(1, Some(RaceEnd::Whole), true), record(2, Some(RaceEnd::Stopped), false), broken] {
        kept.write(folder).expect("the record of a race");
    }
}

/// A project with kept races.
pub(crate) fn races_kept(window: &mut Window, stage: &Stage) -> PathBuf {
    with_methods(window, stage);
    keep_races(&stage.places.projects.join("customer-tone"));
    kit::open(window, stage)
}

pub(crate) fn races_listed(window: &mut Window, stage: &Stage) {
    races_kept(window, stage);
    kit::send(window, UiCommand::Race(RaceAct::List));
    window.run();
}

/// The race that was won, of whose runs one is gone.
pub(crate) fn race_kept(window: &mut Window, stage: &Stage) {
    let folder = races_kept(window, stage);
    let mut snapshot = RunsSnapshot { project: Some(folder), ..RunsSnapshot::default() };
    for (method, run, steps) in [("lora", 8, 1200), ("dora", 10, 1200)] {
        snapshot.runs.insert(0, row(method, run, "stopped", steps));
        snapshot.compared.push(curves(run, steps, 0.03 * (run - 8) as f64));
    }
    stage.runs.publish(snapshot);
    kit::send(window, UiCommand::Race(RaceAct::Open(1)));
    window.run();
}
