//! Watch as tests and pictures meet it when a step is asked, a run is given more steps, or a new one starts from a step.

use crate::kit::{self, Window};
use crate::scenes;
use std::path::Path;
use temper::commands::UiCommand;
use temper::reader::snapshot::RunsSnapshot;
use temper::state::afterwards::After;
use temper::state::step_ask::StepAct;
use temper::testing::Stage;
use temper_protocol::{Code, Command, Event, Problem};

/// Who is asked, as the engine names it, and an answer of its own.
pub(crate) fn answer_steps(command: &Command) -> Vec<Event> {
    let Command::Generate { model, .. } = command else { return kit::answer(command) };
    let (source, text) = match model.adapters.first().and_then(|name| name.rsplit_once('@')) {
        None => ("SmolLM2".to_owned(), "You can check the status of your order on the website.".to_owned()),
        Some((_, step)) => (
            format!("SmolLM2 + run 7 at step {step}"),
            format!("Sorry that it is late. I will ask the carrier now; this is step {step}."),
        ),
    };
    let text = Event::Text { source, text, tokens: 24, stop_reason: "stop".to_owned(), tokens_per_sec: 58.0 };
    vec![text, Event::Done {}]
}

/// As [`answer_steps`], but a prompt is answered when a test says so.
pub(crate) fn answer_but_not_steps(command: &Command) -> Vec<Event> {
    if matches!(command, Command::Generate { .. }) { Vec::new() } else { kit::answer(command) }
}

pub(crate) fn is_prompt(command: &Command) -> bool {
    matches!(command, Command::Generate { .. })
}

/// The room to ask in. What is typed fits the field: it has the focus, and a text that is longer scrolls in it.
fn opened(window: &mut Window) {
    kit::send(window, UiCommand::StepAsk(StepAct::Prompt("Where is my order?".to_owned())));
    kit::send(window, UiCommand::StepAsk(StepAct::Open(true)));
}

pub(crate) fn step_ask_empty(window: &mut Window, stage: &Stage) {
    scenes::run(window, stage, "finished", 1200);
    kit::send(window, UiCommand::Scrub(Some(260)));
    opened(window);
}

pub(crate) fn step_ask_busy(window: &mut Window, stage: &Stage) {
    scenes::run(window, stage, "running", 412);
    opened(window);
}

pub(crate) fn step_answered(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_steps);
    step_ask_empty(window, stage);
    kit::send(window, UiCommand::StepAsk(StepAct::Ask));
    window.run_steps(6);
}

pub(crate) fn step_loading(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_but_not_steps);
    step_ask_empty(window, stage);
    kit::send(window, UiCommand::StepAsk(StepAct::Ask));
    let progress =
        Event::Progress { done: 81, total: 270, unit: "bytes".to_owned(), stage: "reading the model".to_owned() };
    stage.engine.say(is_prompt, vec![progress]);
    window.run();
}

pub(crate) fn step_failed(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_but_not_steps);
    step_ask_empty(window, stage);
    kit::send(window, UiCommand::StepAsk(StepAct::Ask));
    let text = "You can check the status of your order on the website.".to_owned();
    let source = "SmolLM2".to_owned();
    let base = Event::Text { source, text, tokens: 24, stop_reason: "stop".to_owned(), tokens_per_sec: 58.0 };
    stage.engine.say(is_prompt, vec![base, Event::Done {}]);
    window.run();
    let damaged = Problem::new(
        Code::Io,
        "the snapshot is damaged: its content does not match its hash",
        "runs/0007/snapshots/step-00000250.snapshot",
        "ask another step",
    );
    stage.engine.say(is_prompt, vec![Event::Error(damaged)]);
    window.run();
}

pub(crate) fn branched(window: &mut Window, stage: &Stage) {
    scenes::run(window, stage, "finished", 1200);
    kit::send(window, UiCommand::Scrub(Some(260)));
    kit::send(window, UiCommand::Branch);
}

pub(crate) fn longer(window: &mut Window, stage: &Stage) {
    scenes::run(window, stage, "finished", 1200);
    kit::send(window, UiCommand::AskLonger);
}

/// Run 7 goes on, these wait.
pub(crate) fn with_waiting(folder: &Path, waiting: &[u64]) -> RunsSnapshot {
    let mut snapshot = kit::snapshot(folder, kit::view(7, "running", 412), true);
    for run in waiting {
        snapshot.runs.insert(0, kit::row(*run, "queued", 0));
    }
    snapshot.runs.sort_by_key(|row| std::cmp::Reverse(row.run));
    snapshot.waiting = waiting.to_vec();
    snapshot
}

pub(crate) fn queue(window: &mut Window, stage: &Stage) {
    let folder = scenes::run(window, stage, "running", 412);
    stage.runs.publish(with_waiting(&folder, &[9, 8, 10]));
    window.run();
    kit::send(window, UiCommand::OpenQueue);
}

pub(crate) fn waiting(window: &mut Window, stage: &Stage) {
    queue(window, stage);
    kit::send(window, UiCommand::CloseSheet);
}

/// The watched run ends.
pub(crate) fn end(window: &mut Window, stage: &Stage, folder: &Path, status: &str, problem: Option<Problem>) {
    let mut view = kit::view(7, status, 1200);
    view.row.problem = problem;
    stage.runs.publish(kit::snapshot(folder, view, false));
    window.run();
}

/// The card that counts down to what follows the queue.
pub(crate) fn leaving(window: &mut Window, stage: &Stage) {
    let folder = scenes::run(window, stage, "running", 412);
    kit::send(window, UiCommand::After(After::ShutDown));
    end(window, stage, &folder, "finished", None);
}
