//! Compare: the table of runs, curves, the trade-off, settings, verdict with rows, and the playground.

use crate::compared::{
    self, answer_but_not_compared, answer_order, answer_prompts, compare_order, comparison, is_comparison, many_runs,
    six_runs,
};
use crate::kit;
use egui::accesskit::Role;
use egui::epaint::Shape;
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;
use temper::commands::UiCommand;
use temper::reader::{CompareRequest, XAxis};
use temper::screen::{Format, Plot};
use temper::state::Room;
use temper::state::compare::{Column, CompareAct, Grouping, Part, TableRow};
use temper::state::judged::RowSort;
use temper::testing::Stage;
use temper_protocol::housekeeping::{DiskUse, Housekeeping, LabelChange};
use temper_protocol::{Code, Command, Event, Problem};

fn ready(stage: &Stage) -> kit::Window {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    compared::compared(&mut window, stage);
    window
}

fn act(window: &mut kit::Window, act: CompareAct) {
    kit::send(window, UiCommand::Compare(act));
}

/// Curves that are zoomed, and a comparison on rows.
pub(crate) fn everything(window: &mut kit::Window, stage: &Stage, folder: &std::path::Path) {
    stage.engine.reply_with(answer_but_not_compared);
    stage.runs.publish(six_runs(folder));
    window.run();
    act(window, CompareAct::Judge);
    stage.engine.say(is_comparison, comparison());
    act(window, CompareAct::Zoom(Some((100.0, 900.0))));
    window.run();
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
    assert_eq!(asked, CompareRequest { runs: vec![7, 5, 3], x: XAxis::Tokens, raw: false });
    act(&mut window, CompareAct::Smooth(false));
    let compare = &window.state().state.compare;
    assert!(!compare.validation, "whoever switches smoothing off wants to see the train losses");
    assert!(stage.runs.0.lock().request.compare.raw);
    act(&mut window, CompareAct::Validation(true));
    assert!(!stage.runs.0.lock().request.compare.raw, "validation is drawn as measured anyway");
    kit::send(&mut window, UiCommand::Go(Room::Home));
    assert_eq!(stage.runs.0.lock().request.compare, CompareRequest::default());
}

#[test]
fn curves_and_trade_off_are_plots_sentences_and_tables() {
    let (_root, stage) = kit::stage();
    let mut window = ready(&stage);
    assert!(says(&window, "Run 7 is lowest: 1.427 nats at step 1,150."));
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
    // The head of a column, and the row.
    for label in ["rank", "learning rate", "Rank", "Learning rate"] {
        assert!(window.query_all_by_label(label).next().is_some(), "{label}");
    }
    assert!(window.query_all_by_label("4e-4").next().is_some() && window.query_by_label("0.0004").is_none());
    assert!(window.query_by_label("Batch").is_none());
    assert!(says(&window, "equal settings not shown"));
    window.get_by_role_and_label(Role::CheckBox, "Differences only").click();
    window.run();
    window.get_by_label("Batch");
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
fn names_are_shown_where_there_can_be_no_vote() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_prompts);
    let mut window = ready(&stage);
    act(&mut window, CompareAct::Blind(true));
    let ask = |window: &mut kit::Window| {
        act(window, CompareAct::AskAll);
        window.run_steps(8);
    };
    ask(&mut window);
    act(&mut window, CompareAct::Vote(Some(1)));
    let named =
        |window: &kit::Window| window.query_by_label("base model").is_some() && says(window, "1 vote in this project");
    assert!(named(&window));
    let problem = |code| Event::Error(Problem::new(code, "no answer", "", "ask again"));
    stage.engine.reply_with(move |command| match command {
        Command::Generate { model, .. } if model.adapters == ["run:5"] => vec![problem(Code::OutOfMemory)],
        other => answer_prompts(other),
    });
    ask(&mut window);
    assert!(named(&window), "one answer failed");
    stage.engine.reply_with(|command| if is_prompt(command) { Vec::new() } else { kit::answer(command) });
    ask(&mut window);
    assert!(!named(&window), "answers come");
    stage.engine.say(is_prompt, vec![problem(Code::Cancelled)]);
    window.run();
    assert!(named(&window), "they were stopped");
    stage.engine.reply_with(answer_prompts);
    ask(&mut window);
    assert!(!named(&window), "the vote is waited for");
    window.get_by_role_and_label(Role::CheckBox, "Blind, with votes").click();
    window.run();
    assert!(named(&window), "nobody is blind any more");
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

#[test]
fn both_plots_leave_as_tables_and_pictures_beside_the_project() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = compared::compared(&mut window, &stage);
    act(&mut window, CompareAct::CurvesTable(true));
    kit::send(&mut window, UiCommand::Go(Room::Home));
    for (plot, stem) in [(Plot::Compared, "compared-losses"), (Plot::Tradeoff, "loss-over-forgetting")] {
        kit::send(&mut window, UiCommand::SaveTable(plot));
        for (format, end) in [(Format::Png, "png"), (Format::Svg, "svg")] {
            kit::send(&mut window, UiCommand::SavePicture(plot, format));
            window.run_steps(8);
            let path = folder.join(format!("{stem}.{end}"));
            assert!(path.is_file(), "{} was not written", path.display());
        }
    }
    assert_eq!(window.state().state.room, Room::Compare, "the plot must be seen to be taken");
    assert!(!window.state().state.compare.curves_table, "and as a plot");
    let curves = std::fs::read_to_string(folder.join("compared-losses.csv")).expect("a table of curves");
    assert_eq!(curves.lines().next(), Some("run,step,validation_loss"));
    assert_eq!(curves.lines().count(), 1 + 3 * 25, "three runs of 25 points");
    let places = std::fs::read_to_string(folder.join("loss-over-forgetting.csv")).expect("a table of runs");
    assert_eq!(places.lines().filter(|line| line.ends_with(",true")).count(), 3, "three runs are unbeaten");
    let drawing = std::fs::read_to_string(folder.join("compared-losses.svg")).expect("a drawing");
    assert!(drawing.contains("Validation loss") && drawing.contains("<polyline"), "words and lines");
}

#[test]
fn a_logarithmic_axis_keeps_its_values_in_words() {
    let (_root, stage) = kit::stage();
    let mut window = ready(&stage);
    window.get_by_role_and_label(Role::RadioButton, "Vertical axis: log").click();
    window.run();
    assert!(window.state().state.compare.log_y);
    assert!(says(&window, "Run 7 is lowest: 1.427 nats at step 1,150."), "nats, not their logarithm");
}

#[test]
fn of_two_hundred_runs_only_those_in_view_are_laid_out_and_groups_say_how_many() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    many_runs(&mut window, &stage);
    let rows = window.state().state.compare_rows();
    assert_eq!(rows.len(), 202, "two methods, each with a head");
    assert!(matches!(&rows[0], TableRow::Group(_, count) if *count > 100), "{:?}", rows[0]);
    let laid_out = window.query_all_by_role(Role::CheckBox).count();
    assert!(laid_out < 24, "{laid_out} check boxes for six rows in view");
    act(&mut window, CompareAct::Group(Grouping::None));
    assert_eq!(window.state().state.compare_rows().len(), 200);
}

#[test]
fn seed_and_temperature_reach_the_engine_and_one_can_be_left_out() {
    let (_root, stage) = kit::stage();
    let mut window = ready(&stage);
    stage.engine.reply_with(|command| if is_prompt(command) { Vec::new() } else { kit::answer(command) });
    act(&mut window, CompareAct::Part(Part::Ask));
    act(&mut window, CompareAct::Choose(6, true));
    act(&mut window, CompareAct::Choose(2, true));
    let asked = |window: &kit::Window| window.state().state.answering();
    assert_eq!(asked(&window), [None, Some(7), Some(5), Some(3), Some(6)], "five of six");
    window.get_by_role_and_label(Role::CheckBox, "Ask Run 2").click();
    window.run();
    assert!(says(&window, "At most 5 answers stand side by side"), "the reason is said");
    window.get_by_role_and_label(Role::CheckBox, "Ask base model").click();
    window.run();
    assert_eq!(
        asked(&window),
        [Some(7), Some(5), Some(3), Some(6), Some(2)],
        "the fifth run has the place of the base"
    );
    for (name, text) in [("Seed", "7"), ("Temperature", "0.7")] {
        window.get_by_role_and_label(Role::TextInput, name).focus();
        window.run();
        window.key_press_modifiers(Modifiers::COMMAND, Key::A);
        window.get_by_role_and_label(Role::TextInput, name).type_text(text);
        window.run();
        window.key_press(Key::Enter);
        window.run();
    }
    kit::press(&mut window, "Ask all");
    match stage.engine.newest(is_prompt) {
        Some(Command::Generate { model, limits, .. }) => {
            assert_eq!(model.adapters, ["run:7"], "the first who is asked");
            assert_eq!(limits.seed, 7);
            assert!((limits.temperature - 0.7).abs() < 1e-12, "{}", limits.temperature);
        }
        other => panic!("expected a prompt, got {other:?}"),
    }
    assert!(says(&window, "seed 7, temperature 0.70"));
    act(&mut window, CompareAct::Temperature(99.0));
    assert!((window.state().state.compare.answers.sampling.temperature - 2.0).abs() < 1e-12);
}

#[test]
fn votes_and_the_choice_of_runs_are_there_when_the_project_is_opened_again() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_prompts);
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = compared::compared(&mut window, &stage);
    act(&mut window, CompareAct::Blind(true));
    act(&mut window, CompareAct::AskAll);
    window.run_steps(8);
    act(&mut window, CompareAct::Vote(Some(1)));
    act(&mut window, CompareAct::Temperature(0.5));
    let before = window.state().state.compare.clone();
    assert_eq!(before.answers.votes.len(), 1);
    drop(window);
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::send(&mut window, UiCommand::OpenProject(folder.clone()));
    window.run_steps(4);
    let compare = &window.state().state.compare;
    assert_eq!((compare.chosen.clone(), &compare.answers.votes), (Some(vec![7, 5, 3]), &before.answers.votes));
    assert!((compare.answers.sampling.temperature - 0.5).abs() < 1e-12);
    act(&mut window, CompareAct::ForgetVotes);
    let text = std::fs::read_to_string(folder.join("compare.json")).expect("the file");
    assert!(!text.contains("winner"), "{text}");
}

#[test]
fn rows_are_sorted_by_the_heads_of_their_columns_and_saved() {
    let (_root, stage) = kit::stage();
    stage.engine.reply_with(answer_but_not_compared);
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = compared::compared(&mut window, &stage);
    act(&mut window, CompareAct::Judge);
    stage.engine.say(is_comparison, comparison());
    window.run();
    kit::press(&mut window, "Sort the rows by difference");
    let judged = &window.state().state.compare.judged;
    assert_eq!((judged.sort, judged.descending), (RowSort::Difference, true));
    let shown: Vec<f64> = judged.shown().iter().map(|row| judged.difference(*row)).collect();
    assert!(shown.windows(2).all(|pair| pair[0] >= pair[1]), "largest first");
    kit::press(&mut window, "Rows sorted by difference, largest first");
    assert!(!window.state().state.compare.judged.descending);
    act(&mut window, CompareAct::Against(2));
    let judged = &window.state().state.compare.judged;
    let gap = judged.loss(1, 4) - judged.loss(2, 4);
    assert!((judged.difference(4) - gap).abs() < 1e-12, "run 7 less run 5");
    kit::press(&mut window, "Save the rows with all losses as CSV");
    let text = std::fs::read_to_string(folder.join("compared-rows.csv")).expect("a table of rows");
    assert_eq!(text.lines().count(), 481);
}

fn newest_order(stage: &Stage) -> Option<Housekeeping> {
    match stage.engine.newest(|command| matches!(command, Command::Housekeep { .. })) {
        Some(Command::Housekeep { order, .. }) => Some(order),
        _ => None,
    }
}

#[test]
fn runs_are_named_tagged_starred_pruned_and_put_aside_from_the_window() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    compare_order(&mut window, &stage);
    assert!(says(&window, "warm and short answers"), "the name stands in the table");
    assert!(says(&window, "24 MiB, 2 checkpoints"), "run 3: what it takes on the disk");
    kit::press(&mut window, "Star Run 6");
    let change = LabelChange { starred: Some(true), ..LabelChange::default() };
    assert_eq!(newest_order(&stage), Some(Housekeeping::Label { run: 6, change }));
    window.get_by_role_and_label(Role::TextInput, "Tags of Run 5").focus();
    window.run();
    window.get_by_role_and_label(Role::TextInput, "Tags of Run 5").type_text("short, tone");
    window.run();
    window.key_press(Key::Enter);
    window.run();
    let tags = Some(vec!["short".to_owned(), "tone".to_owned()]);
    assert_eq!(
        newest_order(&stage),
        Some(Housekeeping::Label { run: 5, change: LabelChange { tags, ..LabelChange::default() } })
    );
    kit::press(&mut window, "Prune: Run 5");
    assert_eq!(newest_order(&stage), Some(Housekeeping::Prune { runs: vec![5] }));
    let freed = DiskUse { run: 5, bytes: 1 << 20, checkpoints: 2, checkpoint_bytes: 1 << 19, freed_bytes: 3 << 20 };
    let is_prune = |command: &Command| matches!(command, Command::Housekeep { order: Housekeeping::Prune { .. }, .. });
    stage
        .engine
        .reply_with(move |command: &Command| if is_prune(command) { Vec::new() } else { answer_order(command) });
    act(&mut window, CompareAct::Tidy(Housekeeping::Prune { runs: vec![5] }));
    stage.engine.say(is_prune, vec![Event::Disk(freed), Event::Done {}]);
    window.run();
    assert!(says(&window, "3.0 MiB made free") && says(&window, "1.0 MiB, 2 checkpoints"));
    kit::press(&mut window, "To trash: Run 3");
    assert_eq!(newest_order(&stage), Some(Housekeeping::Trash { runs: vec![3] }));
    kit::press(&mut window, "Bring back: Run 2");
    assert_eq!(newest_order(&stage), Some(Housekeeping::Restore { runs: vec![2] }));
}

#[test]
fn the_trash_is_emptied_only_after_a_second_click() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    compare_order(&mut window, &stage);
    assert!(says(&window, "1 run in the trash"));
    kit::press(&mut window, "Delete for good");
    assert_eq!(newest_order(&stage), Some(Housekeeping::Disk {}), "nothing was deleted");
    kit::press(&mut window, "Keep");
    assert!(!window.state().state.compare.emptying);
    kit::press(&mut window, "Delete for good");
    kit::press(&mut window, "Yes, delete");
    assert_eq!(newest_order(&stage), Some(Housekeeping::EmptyTrash {}));
}

#[test]
fn starred_runs_can_stand_together() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    compare_order(&mut window, &stage);
    act(&mut window, CompareAct::Group(Grouping::Star));
    let heads: Vec<(String, usize)> = window
        .state()
        .state
        .compare_rows()
        .into_iter()
        .filter_map(|row| if let TableRow::Group(name, count) = row { Some((name, count)) } else { None })
        .collect();
    assert_eq!(heads, [("starred".to_owned(), 1), ("others".to_owned(), 4)]);
    act(&mut window, CompareAct::Filter("release".to_owned()));
    assert_eq!(window.state().state.compare_table().len(), 1, "tags are filtered by");
}

#[test]
fn the_table_says_in_which_settings_the_runs_differ() {
    let (_root, stage) = kit::stage();
    let window = ready(&stage);
    assert_eq!(window.state().state.runs.differing, ["method.rank", "train.lr_peak"]);
    for label in ["rank", "learning rate"] {
        assert!(window.query_all_by_label(label).next().is_some(), "the form's label, small as the heads: \"{label}\"");
    }
    assert!(window.query_by_label("lr_peak").is_none());
    assert!(window.query_all_by_label("4e-4").count() >= 2, "runs 5 and 2, written as everywhere");
    assert!(window.query_by_label("0.0004").is_none());
}

#[test]
fn no_dashed_line_runs_through_the_name_of_a_run() {
    let (_root, stage) = kit::stage();
    let window = ready(&stage);
    let (mut names, mut dashes) = (Vec::new(), Vec::new());
    for clipped in &window.output().shapes {
        match &clipped.shape {
            Shape::Text(words) if words.galley.text().starts_with("Run ") => {
                names.push((words.galley.text().to_owned(), words.visual_bounding_rect()));
            }
            // Pieces of the budget's line are 5 points long, those of the front 4.
            Shape::LineSegment { points: [from, to], .. } if from.distance(*to) < 5.5 => {
                dashes.push(from.lerp(*to, 0.5));
            }
            _ => {}
        }
    }
    assert!(names.len() >= 6 && dashes.len() > 40, "{} names, {} dashes", names.len(), dashes.len());
    for (name, ink) in &names {
        assert!(!dashes.iter().any(|dash| ink.contains(*dash)), "a line runs through \"{name}\" at {ink:?}");
    }
}
