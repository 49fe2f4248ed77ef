//! Ways on that are one click away: settings with which a run fits, and what to do when its loss was no number.

use crate::kit;
use crate::scenes;
use crate::way_scenes::{not_finite, setup_tight};
use egui_kittest::kittest::Queryable as _;
use temper::commands::UiCommand;
use temper::state::{Room, Sheet};
use temper::testing::Stage;
use temper_protocol::{Code, Command, Problem};

#[test]
fn what_does_not_fit_offers_settings_that_do_and_takes_one_as_one_edit() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    setup_tight(&mut window, &stage);
    for words in [
        "12.4 GiB needed, 9.1 GiB free. Any of these makes it fit:",
        "7.9 GiB, same time",
        "5.2 GiB, +31 % time",
        "7.4 GiB, 212 rows cut",
        "It does not fit into memory as it stands. Pick one of the ways on the left.",
    ] {
        assert!(window.query_all_by_label(words).next().is_some(), "{words}");
    }
    assert!(window.query_by_label("Batch 2").is_some() && window.query_by_label("Length 256").is_some());
    stage.engine.reply_with(kit::answer);
    let measured = |stage: &Stage| stage.engine.count(|command| matches!(command, Command::Preflight { .. }));
    let before = (window.state().state.draft.project.clone(), measured(&stage));
    kit::press(&mut window, "Batch 2");
    let train = &window.state().state.draft.project.train;
    assert_eq!((train.batch, train.accumulate), (2, 2));
    window.run_steps(8);
    window.run();
    assert_eq!(measured(&stage), before.1 + 1, "the new settings are measured");
    assert!(window.query_by_label("Batch 2").is_none(), "what fits needs no way on");
    kit::press(&mut window, "Undo");
    assert_eq!(window.state().state.draft.project, before.0, "one undo takes both settings back");
}

#[test]
fn a_run_whose_loss_was_no_number_begins_again_slower_or_shows_its_row() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = scenes::run(&mut window, &stage, "failed", 96);
    let mut view = kit::view(7, "failed", 96);
    view.row.problem = Some(not_finite());
    stage.runs.publish(kit::snapshot(&folder, view, false));
    window.run();
    kit::press(&mut window, "Look at line 2,734");
    assert_eq!(window.state().state.sheet, Some(Sheet::Lens));
    assert_eq!(window.state().state.lens.chosen, 2733, "rows are counted from 0");
    kit::send(&mut window, UiCommand::CloseSheet);
    kit::press(&mut window, "From 50 at 5e-5");
    let state = &window.state().state;
    assert_eq!(state.room, Room::Setup);
    assert!((state.draft.project.train.lr_peak - 5e-5).abs() < 1e-12);
    assert_eq!(state.draft.project.train.from.as_deref(), Some("run:7@50"));
}

#[test]
fn a_row_of_other_data_is_not_looked_for_in_this() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = scenes::run(&mut window, &stage, "failed", 96);
    let mut view = kit::view(7, "failed", 96);
    view.row.problem = Some(Problem::new(Code::NonFinite, "the loss was not a number", "other.jsonl line 3", "look"));
    stage.runs.publish(kit::snapshot(&folder, view, false));
    window.run();
    assert!(window.query_by_label("Look at line 3").is_none());
    assert!(window.query_by_label("From 50 at 5e-5").is_some());
}
