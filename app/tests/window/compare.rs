//! Compare: the table of runs, curves, the trade-off, settings, verdict with rows, and the playground.

use crate::compared::{self, answer_but_not_compared, answer_prompts, comparison, is_comparison};
use crate::kit;
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;
use temper::commands::UiCommand;
use temper::reader::{CompareRequest, XAxis};
use temper::state::Room;
use temper::state::compare::{Column, CompareAct, Part};
use temper::testing::Stage;
use temper_protocol::{Code, Command, Event, Problem};

fn ready(stage: &Stage) -> kit::Window {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    compared::compared(&mut window, stage);
    window
}

fn act(window: &mut kit::Window, act: CompareAct) {
    kit::send(window, UiCommand::Compare(act));
}

fn chosen(window: &kit::Window) -> Vec<u64> {
    window.state().state.compared().iter().map(|row| row.run).collect()
}

fn says(window: &kit::Window, words: &str) -> bool {
    window.query_all_by_label_contains(words).next().is_some()
}

#[test]
fn an_empty_room_says_what_would_be_here_and_leads_there() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.key_press_modifiers(Modifiers::COMMAND, Key::Num4);
    window.run();
    assert_eq!(window.state().state.room, Room::Compare);
    window.get_by_label("Nothing to compare yet");
    kit::press(&mut window, "Go to Setup");
    assert_eq!(window.state().state.room, Room::Setup);
}

#[test]
fn runs_are_chosen_sorted_and_filtered() {
    let (_root, stage) = kit::stage();
    let mut window = ready(&stage);
    assert_eq!(chosen(&window), [7, 5, 3]);
    window.get_by_role_and_label(Role::CheckBox, "Compare Run 2").click();
    window.run();
    window.get_by_role_and_label(Role::CheckBox, "Compare Run 6").click();
    window.run();
    assert_eq!(chosen(&window), [7, 5, 3, 2, 6]);
    window.get_by_role_and_label(Role::CheckBox, "Compare Run 4").click();
    window.run();
    assert_eq!(chosen(&window), [7, 5, 3, 2, 6], "a sixth one is not taken");
    assert!(says(&window, "At most 5 runs are compared"), "and the reason is said");
    kit::press(&mut window, "Sort by forgetting, nats");
    let sorted: Vec<u64> = window.state().state.compare_table().iter().map(|row| row.run).collect();
    assert_eq!(sorted, [3, 6, 7, 4, 5, 2]);
    kit::press(&mut window, "Sorted by forgetting, nats, smallest first");
    assert!(window.state().state.compare.descending);
    assert_eq!(window.query_all_by_label("Over its forgetting budget").count(), 2, "runs 5 and 2");
    window.get_by_role_and_label(Role::TextInput, "Filter runs").focus();
    window.run();
    window.get_by_role_and_label(Role::TextInput, "Filter runs").type_text("full");
    window.run();
    let shown: Vec<u64> = window.state().state.compare_table().iter().map(|row| row.run).collect();
    assert_eq!(shown, [2]);
    act(&mut window, CompareAct::Filter("nothing like that".to_owned()));
    assert!(says(&window, "The filter hides all 6 runs"));
    kit::press(&mut window, "Show all");
    assert_eq!(window.state().state.compare_table().len(), 6);
}

#[test]
fn the_store_is_asked_for_the_chosen_runs_only_while_somebody_looks() {
    let (_root, stage) = kit::stage();
    let mut window = ready(&stage);
    act(&mut window, CompareAct::X(XAxis::Tokens));
    let asked = stage.runs.0.lock().request.compare.clone();
    assert_eq!(asked, CompareRequest { runs: vec![7, 5, 3], x: XAxis::Tokens });
    kit::send(&mut window, UiCommand::Go(Room::Home));
    assert_eq!(stage.runs.0.lock().request.compare, CompareRequest::default());
}

#[test]
fn curves_and_trade_off_are_plots_sentences_and_tables() {
    let (_root, stage) = kit::stage();
    let mut window = ready(&stage);
    assert!(says(&window, "Run 7 is lowest: 1.427 nats at step 350."));
    assert!(says(&window, "Runs 3, 6, 7: no other run is better in both."));
    window.get_by_role_and_label(Role::RadioButton, "Loss: train").click();
    window.run();
    assert!(!window.state().state.compare.validation);
    kit::press(&mut window, "Show as a table");
    assert!(window.state().state.compare.curves_table || window.state().state.compare.tradeoff_table);
    act(&mut window, CompareAct::CurvesTable(true));
    act(&mut window, CompareAct::TradeoffTable(true));
    assert_eq!(window.query_all_by_label("yes").count(), 3, "three runs are unbeaten");
    act(&mut window, CompareAct::Choose(7, false));
    act(&mut window, CompareAct::Choose(5, false));
    act(&mut window, CompareAct::Choose(3, false));
    assert!(says(&window, "Choose up to five runs"));
}

#[test]
fn only_settings_that_differ_are_shown_until_all_are_wanted() {
    let (_root, stage) = kit::stage();
    let mut window = ready(&stage);
    act(&mut window, CompareAct::Part(Part::Settings));
    window.get_by_label("method.rank");
    window.get_by_label("train.lr_peak");
    assert!(window.query_by_label("train.batch").is_none());
    assert!(says(&window, "equal settings not shown"));
    window.get_by_role_and_label(Role::CheckBox, "Differences only").click();
    window.run();
    window.get_by_label("train.batch");
}

#[test]
fn a_verdict_comes_with_its_rows_and_they_are_filtered_by_kind() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_but_not_compared);
    let mut window = ready(&stage);
    act(&mut window, CompareAct::Part(Part::Rows));
    act(&mut window, CompareAct::Data("/data/held-out.jsonl".to_owned()));
    kit::press(&mut window, "Compare on rows");
    match stage.engine.newest(is_comparison) {
        Some(Command::Compare { model, data, rows, project }) => {
            assert_eq!(model.model, kit::MODEL);
            assert_eq!(model.adapters, ["run:7", "run:5", "run:3"]);
            assert_eq!((data.as_str(), rows), ("/data/held-out.jsonl", 200));
            assert!(project.is_some());
        }
        other => panic!("expected a comparison, got {other:?}"),
    }
    let stage_words = "measuring run 7".to_owned();
    let progress = Event::Progress { done: 96, total: 480, unit: "rows".to_owned(), stage: stage_words };
    stage.engine.say(is_comparison, vec![progress]);
    window.run();
    assert!(says(&window, "96 of 480 rows"));
    stage.engine.say(is_comparison, comparison());
    window.run();
    assert!(says(&window, "Run 7 beats Run 5 on these 480 rows"));
    assert!(says(&window, "+3.1 points, 95 % interval +0.8 to +5.4"));
    assert!(says(&window, "24 rows newly right, 9 newly wrong (McNemar p = 0.014)"));
    assert!(says(&window, "do not tell which is better"), "runs 5 and 3");
    window.get_by_role_and_label(Role::RadioButton, "Rows shown: never learned 12").click();
    window.run();
    assert_eq!(window.state().state.compare.judged.shown().len(), 12);
    act(&mut window, CompareAct::KindsOf(1));
    window.get_by_role_and_label(Role::RadioButton, "Rows shown: learned, then forgotten 9").click();
    window.run();
    assert_eq!(window.state().state.compare.judged.shown().len(), 9);
}

#[test]
fn a_comparison_can_be_stopped_and_a_failed_one_says_why() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_but_not_compared);
    let mut window = ready(&stage);
    act(&mut window, CompareAct::Judge);
    let request =
        stage.engine.0.lock().sent.iter().rev().find(|(_, sent)| is_comparison(sent)).map(|(number, _)| *number);
    kit::press(&mut window, "Cancel");
    let stopped = stage.engine.newest(|command| matches!(command, Command::CancelRequest { .. }));
    assert_eq!(stopped, request.map(|target| Command::CancelRequest { target }));
    let cancelled = Problem::new(Code::Cancelled, "cancelled", "", "");
    stage.engine.say(is_comparison, vec![Event::Error(cancelled)]);
    window.run();
    assert_eq!(window.state().state.compare.judged.problem, None, "to stop is no problem");
    act(&mut window, CompareAct::Judge);
    let missing = Problem::new(Code::NotFound, "there is no such file", "/data/none.jsonl", "name another one");
    stage.engine.say(is_comparison, vec![Event::Error(missing)]);
    window.run();
    window.get_by_label("There is no such file");
    window.get_by_label("Name another one");
}

fn is_prompt(command: &Command) -> bool {
    matches!(command, Command::Generate { .. })
}

#[test]
fn base_and_runs_answer_one_after_the_other_and_differences_are_marked() {
    let (_root, stage) = kit::stage();
    let mut window = ready(&stage);
    stage.engine.reply_with(|command| if is_prompt(command) { Vec::new() } else { kit::answer(command) });
    act(&mut window, CompareAct::Part(Part::Ask));
    window.get_by_role_and_label(Role::TextInput, "Prompt for all").focus();
    window.run();
    window.key_press(Key::Enter);
    window.run();
    assert_eq!(stage.engine.count(is_prompt), 1, "one at a time");
    let text = |text: &str, stop: &str| Event::Text {
        source: "model".to_owned(),
        text: text.to_owned(),
        tokens: 3,
        stop_reason: stop.to_owned(),
        tokens_per_sec: 60.0,
    };
    stage.engine.say(is_prompt, vec![text("It comes", "")]);
    window.run();
    window.get_by_label("It comes");
    stage.engine.say(is_prompt, vec![text("It comes soon.", "stop"), Event::Done {}]);
    window.run();
    assert_eq!(stage.engine.count(is_prompt), 2);
    match stage.engine.newest(is_prompt) {
        Some(Command::Generate { model, prompt, chat, limits, .. }) => {
            assert_eq!(model.adapters, ["run:7"]);
            assert_eq!(prompt, kit::project().samples.prompts[0]);
            assert!(chat && limits.seed == 42 && limits.temperature.abs() < f64::EPSILON);
        }
        other => panic!("expected a prompt, got {other:?}"),
    }
    stage.engine.say(is_prompt, vec![text("It comes on Monday.", "stop"), Event::Done {}]);
    window.run();
    let answers = &window.state().state.compare.answers;
    assert_eq!(answers.columns[1].marks.as_slice(), std::slice::from_ref(&(9..19)));
    assert_eq!(answers.working, Some(2));
    kit::press(&mut window, "Stop");
    let cancelled = Problem::new(Code::Cancelled, "cancelled", "", "");
    stage.engine.say(is_prompt, vec![Event::Error(cancelled)]);
    window.run();
    assert_eq!(window.state().state.compare.answers.working, None);
    assert_eq!(stage.engine.count(is_prompt), 3, "nobody is asked after that");
}

#[test]
fn blind_answers_hide_their_names_until_a_vote_is_counted() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_prompts);
    let mut window = ready(&stage);
    act(&mut window, CompareAct::Part(Part::Ask));
    window.get_by_role_and_label(Role::CheckBox, "Blind, with votes").click();
    window.run();
    kit::press(&mut window, "Ask all");
    window.run_steps(8);
    window.get_by_label("Answer A");
    window.get_by_label("Answer D");
    assert!(window.query_by_label("base model").is_none(), "no name in the playground");
    let place = window.state().state.compare.answers.columns.iter().position(|answer| answer.who == Some(7));
    let name = ["Answer A", "Answer B", "Answer C", "Answer D"][place.expect("run 7 answers")];
    kit::press(&mut window, &format!("This is best: {name}"));
    window.get_by_label("base model");
    assert!(says(&window, "1 vote in this project"));
    assert!(says(&window, "Run 7 over base model 1 to 0 (sign test p = 1.000)"));
    kit::press(&mut window, "Forget votes");
    assert!(window.state().state.compare.answers.votes.is_empty());
}

#[test]
fn without_an_adapter_the_engine_is_not_asked_and_the_reason_is_said() {
    let (_root, stage) = kit::stage();
    let mut window = ready(&stage);
    act(&mut window, CompareAct::Choose(7, false));
    act(&mut window, CompareAct::Choose(5, false));
    act(&mut window, CompareAct::Choose(3, false));
    act(&mut window, CompareAct::Part(Part::Rows));
    window.get_by_label("No chosen run has left an adapter yet");
    act(&mut window, CompareAct::Judge);
    act(&mut window, CompareAct::AskAll);
    assert_eq!(stage.engine.count(is_comparison) + stage.engine.count(is_prompt), 0);
    assert_eq!(window.state().state.compare.sort, Column::Run);
}
