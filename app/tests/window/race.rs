//! A race of methods, from the boxes in Setup to the winner in the form.

use crate::kit::{self, Window};
use crate::race_scenes::{self, RACERS, is_race, standing};
use egui::accesskit::Role;
use egui_kittest::kittest::Queryable as _;
use temper::commands::{Id, UiCommand, entry};
use temper::state::Room;
use temper::state::race::{End, Fate, RaceAct, lanes};
use temper::testing::Stage;
use temper_protocol::event::RaceRound;
use temper_protocol::{Code, Command, Event, Problem};

/// The engine tells the only round of two methods; with it the race ends when `last`.
pub(crate) fn say_rounds(window: &mut Window, stage: &Stage, last: bool) {
    let standings = vec![standing("lora", (1.427, 0.0, 0.0), true), standing("full", (1.446, 0.019, 0.008), !last)];
    let rounds = if last { 1 } else { 2 };
    let mut events = vec![Event::Race(RaceRound { round: 1, rounds, step: 1200 / rounds, standings })];
    if last {
        events.push(Event::Done {});
    }
    stage.engine.say(is_race, events);
    window.run();
}

#[test]
fn methods_are_ticked_and_started_with_the_keyboard_and_the_mouse() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, &stage);
    kit::press(&mut window, "Race methods…");
    assert_eq!(window.state().state.setup.racers, ["lora"], "the method of the project is in it");
    assert!(!entry(Id::StartRace).enabled(&window.state().state), "one alone does not race");
    window.get_by_role_and_label(Role::CheckBox, "Race Full training").focus();
    window.run();
    window.key_press(egui::Key::Space);
    window.run();
    assert_eq!(window.state().state.setup.racers, ["lora", "full"]);
    kit::press(&mut window, "Start the race");
    window.run_steps(3);
    let asked = stage.engine.newest(is_race);
    let methods = vec!["lora".to_owned(), "full".to_owned()];
    assert_eq!(asked, Some(Command::Race { project: folder, methods, set: Vec::new() }));
    let state = &window.state().state;
    assert_eq!((state.room, state.watch.race), (Room::Watch, true));
    assert!(!entry(Id::Train).enabled(state), "the engine is busy");
    assert!(window.query_all_by_label_contains("The race begins.").next().is_some());
}

#[test]
fn what_the_engine_would_refuse_is_said_before() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    race_scenes::tick(&mut window);
    assert!(entry(Id::StartRace).enabled(&window.state().state));
    let mut project = window.state().state.draft.project.clone();
    project.train.epochs = Some(2.0);
    kit::send(&mut window, UiCommand::Edit(String::new(), Box::new(project)));
    assert!((entry(Id::StartRace).hindrance)(&window.state().state).is_some_and(|why| why.contains("steps")));
    kit::send(&mut window, UiCommand::Race(RaceAct::Start));
    window.run_steps(3);
    assert_eq!(stage.engine.count(is_race), 0);
}

#[test]
fn lanes_say_who_leads_who_dropped_out_and_why() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    race_scenes::race_rounds(&mut window, &stage);
    let lanes = lanes(&window.state().state);
    let order: Vec<(&str, &Fate)> = lanes.iter().map(|lane| (lane.method.as_str(), &lane.fate)).collect();
    let refused = Fate::Refused("no layer matches".to_owned());
    let expected = [("lora", &Fate::Runs), ("dora", &Fate::Waits), ("full", &Fate::Behind(1, 600)), ("ia3", &refused)];
    assert_eq!(order, expected);
    assert_eq!(lanes[0].steps, 712);
    for words in
        ["leads with 1.427 nats", "which is not clear", "out after round 1 (600)", "cannot run: no layer matches"]
    {
        assert!(window.query_all_by_label_contains(words).next().is_some(), "{words}");
    }
    // The plot says the same in its name; the store is asked for the curves of its runs.
    assert!(window.query_all_by_label_contains("Losses of methods that race: After round 1").next().is_some());
    assert_eq!(stage.runs.0.lock().request.compare.runs, [8, 10, 9], "that of the one that never ran is not there");
    // A run of it, and back.
    kit::press(&mut window, "Run 8");
    assert_eq!((window.state().state.watch.race, window.state().state.watch.run), (false, Some(8)));
    kit::send(&mut window, UiCommand::Race(RaceAct::Show(true)));
    kit::press(&mut window, "Show as a table");
    assert!(window.query_all_by_label("+0.071 ± 0.012").next().is_some());
}

#[test]
fn the_winner_goes_into_the_form_and_can_be_taken_back() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    race_scenes::race_won(&mut window, &stage);
    let race = window.state().state.race.clone().expect("a race");
    assert_eq!(race.end, Some(End::Whole));
    assert_eq!(race.winner().map(|one| one.method.as_str()), Some(RACERS[2]));
    kit::press(&mut window, "Use the winner");
    let state = &window.state().state;
    assert_eq!((state.room, state.draft.project.method.id.as_str()), (Room::Setup, "dora"));
    kit::send(&mut window, UiCommand::Undo);
    assert_eq!(window.state().state.draft.project.method.id, "lora");
}

#[test]
fn a_race_is_stopped_and_written_as_a_table() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    race_scenes::race_rounds(&mut window, &stage);
    kit::press(&mut window, "Stop the race");
    let is_cancel = |command: &Command| matches!(command, Command::CancelRequest { .. });
    assert!(stage.engine.count(is_cancel) > 0);
    stage.engine.say(is_race, vec![Event::Error(Problem::new(Code::Cancelled, "cancelled", "", ""))]);
    window.run();
    let state = &window.state().state;
    assert_eq!(state.race.as_ref().and_then(|race| race.end.clone()), Some(End::Stopped));
    assert_eq!(state.engine.problem, None, "who stops is not told of a problem");
    assert!(!entry(Id::UseWinner).enabled(state));
    kit::send(&mut window, UiCommand::SaveTable(temper::screen::Plot::Race));
    let folder = window.state().state.draft.folder.clone().expect("a folder");
    let text = std::fs::read_to_string(folder.join("race.csv")).expect("a table");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert_eq!(lines[2], "1,600,dora,10,1.433,0.006,0.009,true,");
    assert_eq!(lines[4], "1,600,ia3,,,,,false,no layer matches");
}

#[test]
fn an_engine_that_goes_away_ends_the_race_with_words() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    race_scenes::race_begun(&mut window, &stage);
    stage.engine.die();
    window.run();
    let end = window.state().state.race.as_ref().and_then(|race| race.end.clone());
    assert!(matches!(end, Some(End::Failed(_))), "{end:?}");
    assert!(window.query_all_by_label_contains("The race could not go on").next().is_some());
}

#[test]
fn a_run_that_ends_with_a_round_is_no_news_and_the_end_of_the_race_is() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    race_scenes::race_begun(&mut window, &stage);
    let folder = window.state().state.draft.folder.clone().expect("a folder");
    let notice = |window: &Window| window.state().state.notice.as_ref().map(|notice| notice.text.clone());
    for (status, held) in [("running", true), ("stopped", false)] {
        stage.runs.publish(kit::snapshot(&folder, kit::view(8, status, 600), held));
        window.run();
        assert_eq!(notice(&window), None, "{status}");
    }
    say_rounds(&mut window, &stage, true);
    assert_eq!(notice(&window).as_deref(), Some("The race is over: LoRA won"));
}

#[test]
fn past_races_are_listed_and_one_is_opened_though_a_run_of_it_is_gone() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    race_scenes::races_listed(&mut window, &stage);
    for words in ["won with 1.401 nats", "Race 2 stopped", "Race 3 ended early", "LoRA, Full training, DoRA, IA3"] {
        assert!(window.query_all_by_label_contains(words).next().is_some(), "{words}");
    }
    race_scenes::race_kept(&mut window, &stage);
    let state = &window.state().state;
    assert_eq!((state.room, state.watch.race, state.sheet.is_none()), (Room::Watch, true, true));
    let lanes = lanes(state);
    let seen: Vec<_> = lanes.iter().map(|lane| (lane.method.as_str(), lane.run, lane.removed, &lane.fate)).collect();
    let refused = Fate::Refused("no layer matches".to_owned());
    let expected = [
        ("dora", Some(10), false, &Fate::Won),
        ("lora", Some(8), false, &Fate::Behind(2, 1200)),
        ("full", None, true, &Fate::Behind(1, 600)),
        ("ia3", None, false, &refused),
    ];
    assert_eq!(seen, expected);
    assert_eq!(stage.runs.0.lock().request.compare.runs, [10, 8], "what is gone is not asked for");
    for words in ["Race 1", "DoRA won with 1.401 nats at step", "removed"] {
        assert!(window.query_all_by_label_contains(words).next().is_some(), "{words}");
    }
    kit::press(&mut window, "Use the winner");
    assert_eq!(window.state().state.draft.project.method.id, "dora");
}

#[test]
fn a_past_race_is_looked_at_while_one_goes_on_which_loses_nothing() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    race_scenes::race_begun(&mut window, &stage);
    let folder = window.state().state.draft.folder.clone().expect("a folder");
    race_scenes::keep_races(&folder);
    kit::send(&mut window, UiCommand::Race(RaceAct::List));
    window.run();
    // The newest one without an end is the one that goes on.
    assert!(window.query_all_by_label_contains("Race 3 goes on").next().is_some());
    kit::press(&mut window, "Open race 2");
    let shown = |window: &Window| window.state().state.race.as_ref().and_then(|race| race.number);
    assert_eq!(shown(&window), Some(2));
    say_rounds(&mut window, &stage, false);
    assert_eq!(shown(&window), Some(2), "what is looked at stays");
    kit::send(&mut window, UiCommand::Race(RaceAct::Show(true)));
    let race = window.state().state.race.clone().expect("a race");
    assert_eq!((race.number, race.rounds.len()), (None, 1), "the round was heard");
}

#[test]
fn the_newest_race_is_at_hand_when_its_project_is_opened_again() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    race_scenes::races_kept(&mut window, &stage);
    let state = &window.state().state;
    assert!(entry(Id::ShowRace).enabled(state) && !state.watch.race);
    let race = state.race.as_ref().expect("a race");
    assert_eq!(race.number, Some(3));
    assert!(matches!(race.end, Some(End::Failed(_))), "its end is not on record");
}
