//! Asking a step, going on with a run beyond its end, and a new run from a step.

use crate::kit::{self, Window};
use crate::step_scenes::{answer_but_not_steps, answer_steps, is_prompt};
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;
use temper::commands::{Id, UiCommand, entry};
use temper::reader::RunView;
use temper::state::step_ask::StepAct;
use temper::state::{Room, Sheet};
use temper::testing::Stage;
use temper_protocol::{Code, Command, Event, Problem, RunRef};

/// The room Watch with a run in it whose line is at `step`.
fn watching(stage: &Stage, view: RunView, step: u64) -> Window {
    let mut window = crate::watch::watching(stage, view);
    kit::send(&mut window, UiCommand::Scrub(Some(step)));
    window
}

/// Models that were asked, as the engine is told them: the run's state, or nothing for the base.
fn asked(stage: &Stage) -> Vec<Option<String>> {
    let script = stage.engine.0.lock();
    let adapter = |command: &Command| match command {
        Command::Generate { model, .. } => Some(model.adapters.first().cloned()),
        _ => None,
    };
    script.sent.iter().filter_map(|(_, command)| adapter(command)).collect()
}

fn shows(window: &Window, words: &str) -> bool {
    window.query_all_by_label_contains(words).next().is_some()
}

fn state(step: u64) -> Option<String> {
    Some(format!("run:7@{step}"))
}

/// Opens the panel, types a prompt and presses Enter, by keyboard alone.
fn ask(window: &mut Window, prompt: &str) {
    window.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::A);
    window.run();
    window.key_press_modifiers(Modifiers::COMMAND, Key::A);
    window.run();
    window.input_mut().events.push(egui::Event::Text(prompt.to_owned()));
    window.run();
    window.key_press(Key::Enter);
    window.run_steps(6);
}

#[test]
fn a_prompt_is_answered_by_the_base_and_by_the_state_kept_before_the_line() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_steps);
    let mut window = watching(&stage, kit::view(7, "finished", 1200), 260);
    assert!(shows(&window, "step 260: adapter as of 250, kept last"), "the scrubber says what would answer");
    ask(&mut window, "Where is it?");
    assert_eq!(asked(&stage), [None, state(250)]);
    match stage.engine.newest(is_prompt) {
        Some(Command::Generate { project, model, prompt, limits, .. }) => {
            assert_eq!(project, window.state().state.draft.folder);
            assert_eq!((model.model.as_str(), model.base.as_deref()), (kit::MODEL, Some("auto")));
            assert_eq!(prompt, "Where is it?");
            assert_eq!((limits.seed, limits.temperature), (42, 0.0), "the run's seed, greedy");
            assert_eq!(limits.max_tokens, kit::project().samples.max_tokens);
        }
        other => panic!("{other:?}"),
    }
    assert!(shows(&window, "You can check the status"), "the base's answer");
    assert!(shows(&window, "this is step 250."), "the adapter's");
    assert!(shows(&window, "Run 7 at step 250, before 260"));
    assert!(shows(&window, "24 tokens, stopped by itself"));
    assert!(!window.state().state.watch.ask.adapted.marks.is_empty(), "what differs is marked");
    kit::press(&mut window, "Show the samples");
    assert!(shows(&window, "Where is my order 4471?"));
}

#[test]
fn the_state_under_the_line_is_asked_when_the_line_rests_and_the_base_only_once() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_steps);
    let mut window = watching(&stage, kit::view(7, "finished", 1200), 250);
    kit::send(&mut window, UiCommand::Scrub(Some(500)));
    assert!(asked(&stage).is_empty(), "nothing before the first question");
    ask(&mut window, "Where is it?");
    assert!(shows(&window, "Run 7 at step 500"));
    kit::send(&mut window, UiCommand::Scrub(Some(300)));
    window.run_steps(6);
    assert_eq!(asked(&stage), [None, state(500), state(300)]);
    assert!(shows(&window, "this is step 300.") && shows(&window, "You can check the status"));
    // The same state: it has answered.
    kit::send(&mut window, UiCommand::Scrub(Some(310)));
    window.run_steps(6);
    assert_eq!(asked(&stage).len(), 3);
    // Keys go from one kept state to the next, wherever between them the line is.
    window.key_press(Key::Comma);
    window.run_steps(6);
    assert_eq!(window.state().state.watch.scrub, Some(300));
    window.key_press(Key::Comma);
    window.run_steps(6);
    window.key_press(Key::Period);
    window.run_steps(6);
    assert_eq!(window.state().state.watch.scrub, Some(300));
    assert_eq!(asked(&stage)[3..], [state(275), state(300)]);
    // A prompt that is being written is not asked by itself.
    kit::send(&mut window, UiCommand::StepAsk(StepAct::Prompt("And".to_owned())));
    kit::send(&mut window, UiCommand::Scrub(Some(900)));
    window.run_steps(6);
    assert_eq!(asked(&stage).len(), 5);
    kit::press(&mut window, "Ask this step");
    window.run_steps(6);
    assert_eq!(asked(&stage)[5..], [None, state(900)]);
}

#[test]
fn while_the_engine_trains_the_panel_says_so_and_asks_nothing() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_steps);
    let mut window = watching(&stage, kit::view(7, "running", 412), 250);
    ask(&mut window, "Where is it?");
    assert!(shows(&window, "The engine trains and does one thing at a time."));
    assert!(asked(&stage).is_empty());
    let hindrance = (entry(Id::StepAskNow).hindrance)(&window.state().state);
    assert_eq!(hindrance, Some("the engine trains; it answers when the run has ended"));
    // The run ends: the prompt is still there.
    let folder = window.state().state.draft.folder.clone().expect("a folder");
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "stopped", 412), false));
    window.run();
    kit::press(&mut window, "Ask this step");
    window.run_steps(6);
    assert_eq!(asked(&stage), [None, state(250)]);
}

#[test]
fn a_step_before_anything_was_kept_cannot_be_asked_or_branched_from() {
    let (_root, stage) = kit::stage();
    let mut view = kit::view(7, "finished", 1200);
    view.kept_states.retain(|step| *step >= 100);
    let mut window = watching(&stage, view, 60);
    window.key_press_modifiers(Modifiers::COMMAND | Modifiers::SHIFT, Key::A);
    window.run();
    assert!(shows(&window, "The run kept neither a snapshot nor a checkpoint"));
    for id in [Id::StepAskNow, Id::Branch, Id::EarlierState] {
        assert!(!entry(id).enabled(&window.state().state), "{id:?}");
    }
    assert!(entry(Id::LaterState).enabled(&window.state().state));
}

#[test]
fn an_answer_is_waited_for_by_name_stopped_and_its_failure_told_once() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_but_not_steps);
    let mut window = watching(&stage, kit::view(7, "finished", 1200), 250);
    ask(&mut window, "Where is it?");
    let progress = Event::Progress { done: 27, total: 270, unit: "bytes".to_owned(), stage: "reading".to_owned() };
    stage.engine.say(is_prompt, vec![progress]);
    window.run();
    assert!(shows(&window, "reading 10 %") && shows(&window, "waits for its turn"));
    let target = stage.engine.0.lock().sent.iter().rev().find(|(_, command)| is_prompt(command)).map(|(req, _)| *req);
    kit::press(&mut window, "Stop");
    let cancelled = stage.engine.newest(|command| matches!(command, Command::CancelRequest { .. }));
    assert_eq!(cancelled, Some(Command::CancelRequest { target: target.expect("a request") }));
    let stopped = Problem::new(Code::Cancelled, "stopped", "", "ask again");
    stage.engine.say(is_prompt, vec![Event::Error(stopped)]);
    window.run_steps(6);
    assert!(shows(&window, "not answered"));
    assert_eq!(asked(&stage), [None], "what was stopped is not asked again");

    kit::press(&mut window, "Ask this step");
    let text = Event::Text {
        source: "SmolLM2".to_owned(),
        text: "You can check it.".to_owned(),
        tokens: 4,
        stop_reason: "stop".to_owned(),
        tokens_per_sec: 1.0,
    };
    stage.engine.say(is_prompt, vec![text, Event::Done {}]);
    window.run_steps(4);
    assert_eq!(asked(&stage), [None, None, state(250)]);
    let damaged = Problem::new(Code::Io, "the snapshot is damaged", "step-00000250.snapshot", "ask another step");
    stage.engine.say(is_prompt, vec![Event::Error(damaged)]);
    window.run_steps(6);
    assert!(shows(&window, "The snapshot is damaged") && shows(&window, "Ask another step"));
    assert_eq!(asked(&stage).len(), 3, "a damaged state is not asked again");
    // Another step is.
    kit::send(&mut window, UiCommand::Scrub(Some(500)));
    window.run_steps(6);
    assert_eq!(asked(&stage).last(), Some(&state(500)));
    // An engine that goes away leaves nothing waiting.
    stage.engine.die();
    window.run();
    assert_eq!(window.state().state.watch.ask.working, None);
}

#[test]
fn what_comes_late_for_another_run_is_not_shown() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_but_not_steps);
    let mut window = watching(&stage, kit::view(7, "finished", 1200), 250);
    ask(&mut window, "Where is it?");
    kit::send(&mut window, UiCommand::Watch(6));
    assert_eq!(stage.engine.count(|command| matches!(command, Command::CancelRequest { .. })), 1);
    let text = Event::Text {
        source: "SmolLM2".to_owned(),
        text: "Too late".to_owned(),
        tokens: 2,
        stop_reason: "stop".to_owned(),
        tokens_per_sec: 1.0,
    };
    stage.engine.say(is_prompt, vec![text, Event::Done {}]);
    window.run();
    assert!(!shows(&window, "Too late"));
    let ask = &window.state().state.watch.ask;
    assert!(ask.open && ask.question.is_none(), "the panel stays");
    assert_eq!(ask.prompt.as_deref(), Some("Where is it?"), "and the prompt");
}

fn trained(stage: &Stage) -> Option<Command> {
    stage.engine.newest(|command| matches!(command, Command::Train { .. }))
}

#[test]
fn a_run_that_has_ended_is_given_more_steps() {
    let (_root, stage) = kit::stage();
    let mut window = watching(&stage, kit::view(7, "finished", 1200), 250);
    kit::press(&mut window, "More steps…");
    assert_eq!(window.state().state.sheet, Some(Sheet::Longer { run: 7, steps: "1800".to_owned() }));
    assert!(shows(&window, "600 steps more, 21 min"), "with its price at the run's own speed");
    assert!(shows(&window, "then by its schedule to step 1,800"), "the rate is drawn before it is accepted");
    kit::send(&mut window, UiCommand::LongerText("1,200".to_owned()));
    assert!(shows(&window, "at least 1,201"));
    kit::send(&mut window, UiCommand::ConfirmLonger);
    assert_eq!(trained(&stage), None, "not more than it has");
    kit::send(&mut window, UiCommand::LongerText("1,500".to_owned()));
    kit::press(&mut window, "Train on");
    match trained(&stage) {
        Some(Command::Train { set, resume, method: None, out: None, max_steps: None, .. }) => {
            assert_eq!(set, [("train.steps".to_owned(), "1500".to_owned())]);
            assert_eq!(resume, Some(RunRef::Id(7)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(window.state().state.sheet, None);
    assert!(!entry(Id::Extend).enabled(&window.state().state), "it goes on");
    // A refusal stays in this room.
    let refused = Problem::new(Code::ProjectInvalid, "the checkpoint was made with other settings", "", "restore them");
    stage.engine.say(|command| matches!(command, Command::Train { .. }), vec![Event::Error(refused)]);
    window.run();
    assert_eq!(window.state().state.room, Room::Watch);
    assert!(shows(&window, "The checkpoint was made with other settings"));
}

#[test]
fn a_new_run_starts_from_the_state_under_the_line_with_settings_to_change() {
    let (_root, stage) = kit::stage();
    let mut view = kit::view(7, "finished", 1200);
    if let Some(settings) = &mut view.settings {
        settings.train.lr_peak = 3e-4;
    }
    let mut window = watching(&stage, view, 260);
    let before = window.state().state.draft.project.clone();
    kit::press(&mut window, "New run from here…");
    assert_eq!(window.state().state.room, Room::Setup);
    let project = &window.state().state.draft.project;
    assert_eq!(project.train.from.as_deref(), Some("run:7@250"), "the state kept before the line, exactly");
    assert!((project.train.lr_peak - 3e-4).abs() < 1e-12, "the run's own settings, not those of the form");
    assert!(shows(&window, "starts with run 7 as of step 250"));
    kit::press(&mut window, "Start from the base");
    assert_eq!(window.state().state.draft.project.train.from, None);
    kit::send(&mut window, UiCommand::Undo);
    assert!(shows(&window, "starts with run 7 as of step 250"));
    kit::send(&mut window, UiCommand::Undo);
    assert_eq!(window.state().state.draft.project, before, "nothing of the form is lost");
    kit::send(&mut window, UiCommand::Redo);
    window.run_steps(6);
    kit::press(&mut window, "Train");
    window.run_steps(3);
    let folder = window.state().state.draft.folder.clone().expect("a folder");
    let saved = temper_protocol::project_file::load(&folder).expect("project.toml");
    assert_eq!(saved.train.from.as_deref(), Some("run:7@250"), "the engine reads it from the project file");
    assert!(trained(&stage).is_some());
}
