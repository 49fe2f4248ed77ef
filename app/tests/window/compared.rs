//! The room Compare as tests and pictures meet it: six runs whose numbers agree with each other, a comparison of three of
//! them on 480 rows, and answers to a prompt.

use crate::kit::{self, Window};
use egui_plot::PlotPoint;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper::commands::UiCommand;
use temper::reader::snapshot::RunsSnapshot;
use temper::reader::{ComparedRun, compared};
use temper::state::Room;
use temper::state::compare::{Column, CompareAct, Grouping, Part};
use temper::testing::Stage;
use temper_protocol::comparison::{ComparedRow, Comparison, Interval, RowKind, RowKinds, RowScores, Verdict};
use temper_protocol::housekeeping::{DiskUse, Housekeeping};
use temper_protocol::{Command, Event, project_file};
use temper_store::RunRow;

/// Number, method, rank, learning rate, best loss, its step, forgetting, trained parameters, minutes.
type Kind = (u64, &'static str, u64, f64, f64, u64, f64, u64, f64);

const RUNS: [Kind; 6] = [
    (7, "lora", 16, 2e-4, 1.427, 1150, 0.041, 4_884_480, 41.4),
    (6, "lora", 16, 1e-4, 1.452, 900, 0.031, 4_884_480, 42.0),
    (5, "lora", 16, 4e-4, 1.446, 600, 0.068, 4_884_480, 38.0),
    (4, "lora", 32, 1e-4, 1.471, 750, 0.047, 9_768_960, 47.0),
    (3, "lora", 8, 2e-4, 1.503, 1000, 0.019, 2_442_240, 40.0),
    (2, "full", 0, 4e-4, 1.498, 150, 0.131, 134_515_008, 44.0),
];

fn run_row(kind: &Kind) -> RunRow {
    let (run, method, rank, lr_peak, best_loss, best_step, forgetting, trained_parameters, minutes) = *kind;
    let mut project = kit::project();
    project.method.id = method.to_owned();
    project.train.lr_peak = lr_peak;
    let mut settings_toml = project_file::to_text(&project).expect("project text");
    if rank > 0 {
        settings_toml = settings_toml.replace("[method]\n", &format!("[method]\nrank = {rank}\n"));
    }
    RunRow {
        method: method.to_owned(),
        settings_toml,
        best_loss,
        best_step,
        forgetting,
        trained_parameters,
        wall_secs: 60.0 * minutes,
        tokens_per_sec: 16_800.0 / minutes,
        ..kit::row(run, "finished", 1200)
    }
}

/// A loss that is `best` at `best_step` and rises a little afterwards.
fn curve(best: f64, best_step: u64) -> Vec<PlotPoint> {
    let value = |step: f64| {
        let at = step / best_step as f64;
        if at < 1.0 { best + (2.914 - best) * (1.0 - at).powi(4) } else { best + 0.02 * (at - 1.0).min(2.4) }
    };
    (0..=24).map(|index| f64::from(index) * 50.0).map(|step| PlotPoint::new(step, value(step))).collect()
}

/// A project with six runs.
pub(crate) fn six_runs(folder: &Path) -> RunsSnapshot {
    let runs: Vec<RunRow> = RUNS.iter().map(run_row).collect();
    let curves = RUNS.iter().map(|kind| ComparedRun {
        run: kind.0,
        train: curve(kind.4 - 0.05, 1200),
        validation: curve(kind.4, kind.5),
    });
    let settings = runs.iter().map(|row| (row.run, Arc::new(compared::flatten(&row.settings_toml)))).collect();
    RunsSnapshot {
        compared: curves.collect(),
        differing: compared::differing(&settings),
        settings,
        runs,
        ..kit::snapshot(folder, kit::view(7, "finished", 1200), false)
    }
}

/// As [`kit::answer`], but comparisons are not answered at once.
pub(crate) fn answer_but_not_compared(command: &Command) -> Vec<Event> {
    if matches!(command, Command::Compare { .. }) { Vec::new() } else { kit::answer(command) }
}

/// What the engine says about runs 7, 5 and 3 on 480 rows.
pub(crate) fn comparison() -> Vec<Event> {
    let texts = ["Where is my order 4471? It was due on Monday.", "I want my money back", "Can I change the address?"];
    let rows: Vec<ComparedRow> = (0..480)
        .map(|index| ComparedRow {
            file: PathBuf::from("/data/held-out.jsonl"),
            line: index + 1,
            text: texts[index as usize % 3].to_owned(),
            tokens: 80,
        })
        .collect();
    let scores = |model: &str, loss: f64, right: u64| RowScores {
        model: model.to_owned(),
        step: None,
        losses: (0..480).map(|row| 80.0 * (loss + 0.3 * kit::noise(row))).collect(),
        right: vec![right; 480],
    };
    let kinds = |model: &str, forgotten: u64| RowKinds {
        model: model.to_owned(),
        kinds: (0..480)
            .map(|row| match row {
                0..12 => RowKind::Never,
                row if row < 12 + forgotten => RowKind::Forgotten,
                100..140 => RowKind::Easy,
                140..200 => RowKind::Partly,
                _ => RowKind::Learned,
            })
            .collect(),
    };
    let interval = |value: f64, half: f64| Interval { value, low: value - half, high: value + half };
    let verdict = |a: &str, b: &str, loss: (f64, f64), points: (f64, f64), flips: (u64, u64, f64)| Verdict {
        a: a.to_owned(),
        b: b.to_owned(),
        rows: 480,
        loss: interval(loss.0, loss.1),
        points: interval(points.0, points.1),
        only_a: flips.0,
        only_b: flips.1,
        p_flips: flips.2,
    };
    let parts = vec![
        Comparison::Rows { rows },
        Comparison::Scores(scores("base", 2.914, 42)),
        Comparison::Scores(scores("run 7", 1.427, 58)),
        Comparison::Scores(scores("run 5", 1.446, 55)),
        Comparison::Scores(scores("run 3", 1.503, 53)),
        Comparison::Kinds(kinds("run 7", 3)),
        Comparison::Kinds(kinds("run 5", 9)),
        Comparison::Kinds(kinds("run 3", 0)),
        Comparison::Verdict(verdict("base", "run 7", (-1.487, 0.05), (20.0, 3.0), (2, 96, 1e-6))),
        Comparison::Verdict(verdict("run 5", "run 7", (-0.019, 0.011), (3.1, 2.3), (9, 24, 0.0136))),
        Comparison::Verdict(verdict("run 7", "run 3", (0.076, 0.02), (-6.0, 2.0), (30, 11, 0.004))),
        Comparison::Verdict(verdict("run 5", "run 3", (0.010, 0.03), (-2.0, 2.4), (20, 14, 0.392))),
    ];
    parts.into_iter().map(Event::Comparison).chain([Event::Done {}]).collect()
}

/// As [`kit::answer`], and prompts are answered at once.
pub(crate) fn answer_prompts(command: &Command) -> Vec<Event> {
    let Command::Generate { model, .. } = command else { return kit::answer(command) };
    let text = match model.adapters.first().map(String::as_str) {
        None => "You can check the status of your order on the website. Orders usually arrive in 5 to 7 days.",
        Some("run:7") => {
            "Sorry that it is late. Order 4471 was due on Monday; I will ask the carrier now and write back today."
        }
        Some("run:5") => "Sorry that it is late. Order 4471 will be with you very soon, thanks for your patience.",
        Some(_) => "You can check the status of your order with the carrier. Orders usually arrive in 5 days.",
    };
    let event = Event::Text {
        source: "model".to_owned(),
        text: text.to_owned(),
        tokens: 24,
        stop_reason: "stop".to_owned(),
        tokens_per_sec: 58.0,
    };
    vec![event, Event::Done {}]
}

pub(crate) fn compare_empty(window: &mut Window, _stage: &Stage) {
    kit::send(window, UiCommand::Go(Room::Compare));
}

pub(crate) fn compare_act(window: &mut Window, act: CompareAct) {
    kit::send(window, UiCommand::Compare(act));
}

/// The project with six runs, three of them chosen.
pub(crate) fn compared(window: &mut Window, stage: &Stage) -> PathBuf {
    let folder = kit::open(window, stage);
    stage.runs.publish(six_runs(&folder));
    window.run();
    kit::send(window, UiCommand::Go(Room::Compare));
    compare_act(window, CompareAct::Choose(6, false));
    compare_act(window, CompareAct::Choose(3, true));
    folder
}

pub(crate) fn compare_curves(window: &mut Window, stage: &Stage) {
    compared(window, stage);
}

pub(crate) fn compare_tables(window: &mut Window, stage: &Stage) {
    compared(window, stage);
    compare_act(window, CompareAct::CurvesTable(true));
    compare_act(window, CompareAct::TradeoffTable(true));
    compare_act(window, CompareAct::Sort(Column::Best));
}

pub(crate) fn compare_settings(window: &mut Window, stage: &Stage) {
    compared(window, stage);
    compare_act(window, CompareAct::Part(Part::Settings));
}

pub(crate) fn compare_no_verdict(window: &mut Window, stage: &Stage) {
    compared(window, stage);
    compare_act(window, CompareAct::Part(Part::Rows));
}

pub(crate) fn is_comparison(command: &Command) -> bool {
    matches!(command, Command::Compare { .. })
}

pub(crate) fn comparing(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_but_not_compared);
    compared(window, stage);
    compare_act(window, CompareAct::Judge);
    let stage_words = "measuring run 7".to_owned();
    let progress = Event::Progress { done: 96, total: 480, unit: "rows".to_owned(), stage: stage_words };
    stage.engine.say(is_comparison, vec![progress]);
    window.run();
}

pub(crate) fn compare_rows(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_but_not_compared);
    compared(window, stage);
    compare_act(window, CompareAct::Judge);
    stage.engine.say(is_comparison, comparison());
    window.run();
}

/// A project with so many runs that most of them are out of view.
pub(crate) fn many_runs(window: &mut Window, stage: &Stage) {
    let folder = kit::open(window, stage);
    let mut snapshot = six_runs(&folder);
    let rows = (1..=200).rev().map(|run| {
        let kind = RUNS[run as usize % RUNS.len()];
        let spread = 0.001 * run as f64;
        run_row(&(run, kind.1, kind.2, kind.3, kind.4 + spread, kind.5, kind.6 - 0.1 * spread, kind.7, kind.8))
    });
    snapshot.runs = rows.collect();
    snapshot.settings =
        snapshot.runs.iter().map(|row| (row.run, Arc::new(compared::flatten(&row.settings_toml)))).collect();
    stage.runs.publish(snapshot);
    window.run();
    kit::send(window, UiCommand::Go(Room::Compare));
    compare_act(window, CompareAct::Group(Grouping::Method));
}

/// What is said about three runs, one more in the trash, and what they take on the disk.
pub(crate) fn compare_order(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_order);
    let folder = compared(window, stage);
    let mut snapshot = six_runs(&folder);
    let mut put_aside = snapshot.runs.remove(5);
    put_aside.labels.trashed_millis = 1;
    snapshot.trashed = vec![put_aside];
    let labels = &mut snapshot.runs[0].labels;
    (labels.name, labels.starred) = ("warm and short answers".to_owned(), true);
    labels.tags = vec!["tone".to_owned(), "release".to_owned()];
    snapshot.runs[2].labels.note = "forgets arithmetic".to_owned();
    stage.runs.publish(snapshot);
    window.run();
    compare_act(window, CompareAct::Part(Part::Order));
    window.run();
}

/// As [`kit::answer`], and what runs take on the disk.
pub(crate) fn answer_order(command: &Command) -> Vec<Event> {
    let Command::Housekeep { order: Housekeeping::Disk {}, .. } = command else { return kit::answer(command) };
    let disk =
        |run: u64| DiskUse { run, bytes: run << 23, checkpoints: run - 1, checkpoint_bytes: run << 22, freed_bytes: 0 };
    (2..=7).map(|run| Event::Disk(disk(run))).chain([Event::Done {}]).collect()
}

pub(crate) fn playground_empty(window: &mut Window, stage: &Stage) {
    compared(window, stage);
    compare_act(window, CompareAct::Part(Part::Ask));
}

pub(crate) fn playground(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_prompts);
    compared(window, stage);
    compare_act(window, CompareAct::AskAll);
    window.run_steps(8);
}

/// Five runs are chosen: with the base one more than there is room for.
pub(crate) fn playground_five(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_prompts);
    compared(window, stage);
    compare_act(window, CompareAct::Choose(6, true));
    compare_act(window, CompareAct::Choose(2, true));
    compare_act(window, CompareAct::Temperature(0.7));
    compare_act(window, CompareAct::AskAll);
    window.run_steps(8);
}

pub(crate) fn playground_blind(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_prompts);
    compared(window, stage);
    compare_act(window, CompareAct::Blind(true));
    compare_act(window, CompareAct::AskAll);
    window.run_steps(8);
}
