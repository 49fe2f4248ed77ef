//! Export: target, place, progress, certificate passed and refused.

use crate::{export_scenes, kit};
use egui_kittest::kittest::Queryable as _;
use std::path::PathBuf;
use temper::commands::UiCommand;
use temper::state::Room;
use temper::testing::Stage;
use temper_protocol::command::ExportSource;
use temper_protocol::{Code, Command, Event, ExportFormat, Problem, RunRef, StorageType};

fn is_export(command: &Command) -> bool {
    matches!(command, Command::Export { .. })
}

fn ready(stage: &Stage) -> (kit::Window, PathBuf) {
    let mut window = kit::window(stage, kit::SIZES[0], true);
    let folder = kit::open(&mut window, stage);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    kit::send(&mut window, UiCommand::Go(Room::Export));
    (window, folder)
}

fn written(path: &str) -> Event {
    Event::Written {
        format: "gguf".to_owned(),
        path: PathBuf::from(path),
        bytes: 269_484_032,
        sha256: "9f3c71d044ae0b52".to_owned(),
    }
}

fn certificate(pass: bool, path: &str) -> Event {
    let record = if pass { export_scenes::passed().record } else { export_scenes::refused().record };
    Event::Certificate {
        pass,
        format: "gguf".to_owned(),
        mean_abs_diff: 0.0007,
        max_abs_diff: 0.011,
        relative_diff: 1e-4,
        top1_agreement: 1.0,
        greedy_equal: true,
        reasons: record.reasons,
        checks: record.checks,
        path: PathBuf::from(path),
    }
}

#[test]
fn a_target_is_written_where_it_says_and_its_certificate_passes() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = ready(&stage);
    window.get_by_label("Target merged GGUF, f16").click();
    window.run();
    kit::press(&mut window, "Write and check");
    let out = folder.join("exports").join("customer-tone-run7-gguf-f16.gguf");
    match stage.engine.newest(is_export) {
        Some(Command::Export { source, format, dtype, out: place, .. }) => {
            assert_eq!(source, ExportSource::Run { run: RunRef::Id(7), step: None });
            assert_eq!(format, ExportFormat::Gguf);
            assert_eq!(dtype, Some(StorageType::F16));
            assert_eq!(place, out);
        }
        other => panic!("expected an export, got {other:?}"),
    }
    let progress = Event::Progress { done: 148, total: 272, unit: "tensors".to_owned(), stage: "merging".to_owned() };
    stage.engine.say(is_export, vec![progress]);
    window.run();
    assert!(window.query_all_by_label("148 of 272 tensors").next().is_some());
    let path = out.display().to_string();
    stage.engine.say(is_export, vec![written(&path), certificate(true, &path), Event::Done {}]);
    window.run();
    window.get_by_label("Passed: merged GGUF, f16");
    window.get_by_label("passed");
    assert!(window.state().state.exporting().is_none());
}

#[test]
fn a_k_quant_of_ones_choice_is_asked_for_at_every_size_of_the_window() {
    for (size, name, wanted, end) in [
        (kit::SIZES[0], "Target merged GGUF, Q4_K_M", StorageType::Q4K, "customer-tone-run7-gguf-q4_k.gguf"),
        (kit::SIZES[1], "Target merged GGUF, Q5_K_M", StorageType::Q5K, "customer-tone-run7-gguf-q5_k.gguf"),
        (kit::SIZES[1], "Target merged GGUF, Q6_K", StorageType::Q6K, "customer-tone-run7-gguf-q6_k.gguf"),
    ] {
        let (_root, stage) = kit::stage();
        let mut window = kit::window(&stage, size, true);
        let folder = kit::open(&mut window, &stage);
        stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
        window.run();
        kit::send(&mut window, UiCommand::Go(Room::Export));
        window.get_by_label(name).click();
        window.run();
        // The place is still there below all rows of the table.
        assert!(window.query_all_by_label("Where to write").next().is_some());
        kit::press(&mut window, "Write and check");
        match stage.engine.newest(is_export) {
            Some(Command::Export { format, dtype, out, .. }) => {
                assert_eq!((format, dtype), (ExportFormat::Gguf, Some(wanted)));
                assert_eq!(out, folder.join("exports").join(end));
            }
            other => panic!("expected an export, got {other:?}"),
        }
    }
}

#[test]
fn a_refusal_says_why_and_offers_ways_out() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = ready(&stage);
    window.get_by_label("Target merged GGUF, Q8_0").click();
    window.run();
    kit::press(&mut window, "Write and check");
    let path = "/exports/customer-tone-run7-gguf-q8_0.gguf.rejected";
    stage.engine.say(is_export, vec![written(path), certificate(false, path), Event::Done {}]);
    window.run();
    window.get_by_label("Refused: merged GGUF, Q8_0");
    window.get_by_label("refused");
    assert!(window.query_all_by_label_contains("rounding erases it").next().is_some(), "the reason is said");
    kit::press(&mut window, "Choose GGUF LoRA, 19 MiB");
    assert_eq!(window.state().state.export.target, 1);
    kit::press(&mut window, "Choose merged GGUF, f16, 257 MiB");
    assert_eq!(window.state().state.export.target, 5, "wider numbers of the same format");
}

#[test]
fn a_refused_k_quant_is_led_to_wider_numbers_and_not_to_what_its_method_cannot_leave_as() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = ready(&stage);
    let mut view = kit::view(7, "finished", 1200);
    view.row.method = "full".to_owned();
    stage.runs.publish(kit::snapshot(&folder, view, false));
    let mut refused = export_scenes::refused();
    refused.target = Some(10);
    refused.record.path = PathBuf::from("/exports/customer-tone-run7-gguf-q4_k.gguf.rejected");
    window.state_mut().state.export.certificates = vec![refused];
    window.run();
    for offered in ["Choose merged GGUF, Q8_0", "Choose merged GGUF, f16"] {
        assert_eq!(window.query_all_by_label_contains(offered).count(), 1, "{offered}");
    }
    for not in ["Choose PEFT", "Choose GGUF LoRA", "Choose merged GGUF, Q4"] {
        assert!(window.query_all_by_label_contains(not).next().is_none(), "{not}");
    }
    window.get_by_label_contains("Choose merged GGUF, Q8_0").click();
    window.run();
    assert_eq!(window.state().state.export.target, 7);
}

#[test]
fn what_the_store_has_of_a_run_stands_in_the_table_and_beside_it_for_that_run_alone() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = ready(&stage);
    let mut view = kit::view(7, "finished", 1200);
    view.exports = vec![export_scenes::passed().record];
    stage.runs.publish(kit::snapshot(&folder, view.clone(), false));
    window.run();
    window.get_by_label("Passed: merged GGUF");
    window.get_by_label("passed");
    kit::send(&mut window, UiCommand::ExportRun(6));
    assert!(window.query_by_label("passed").is_none(), "the watched run's");
    assert!(window.query_by_label("Passed: merged GGUF").is_none());
    let mut of_six = export_scenes::passed();
    (of_six.run, of_six.record.path) = (Some(6), PathBuf::from("/exports/customer-tone-run6-gguf-f16.gguf"));
    window.state_mut().state.export.certificates = vec![of_six];
    window.run();
    window.get_by_label("Passed: merged GGUF, f16");
    kit::send(&mut window, UiCommand::ExportRun(7));
    assert!(window.query_by_label("Passed: merged GGUF, f16").is_none(), "it is of run 6");
    window.get_by_label("Passed: merged GGUF");
    view.exports[0].at_millis -= 60_000;
    stage.runs.publish(kit::snapshot(&folder, view, false));
    window.run();
    assert!(window.query_by_label("passed").is_none(), "the run came to a better state since");
    window.get_by_label("older state");
}

#[test]
fn a_failed_export_is_a_problem_in_place_and_can_be_tried_again() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = ready(&stage);
    kit::press(&mut window, "Write and check");
    let full = Problem::new(Code::Io, "the disk is full", "/exports/x, 3 of 19 MiB written", "free 16 MiB");
    stage.engine.say(is_export, vec![Event::Error(full)]);
    window.run();
    window.get_by_label("Not written: the disk is full");
    window.get_by_label("Free 16 MiB");
    kit::press(&mut window, "Write and check");
    assert_eq!(stage.engine.count(is_export), 2);
    assert_eq!(window.state().state.export.problem, None);
}

#[test]
fn a_certificate_is_made_again_on_demand() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = ready(&stage);
    window.state_mut().state.export.certificates = vec![export_scenes::passed()];
    window.run();
    kit::press(&mut window, "Check again");
    let path = export_scenes::passed().record.path;
    let is_verify = |command: &Command| matches!(command, Command::Verify { .. });
    match stage.engine.newest(is_verify) {
        Some(Command::Verify { path: asked, .. }) => assert_eq!(asked, path),
        other => panic!("expected a check, got {other:?}"),
    }
    let again = certificate(false, &path.display().to_string());
    stage.engine.say(is_verify, vec![again, Event::Done {}]);
    window.run();
    let first = window.state().state.export.certificates.first().expect("a certificate");
    assert_eq!(first.record.pass, Some(false));
    assert_eq!(window.state().state.export.certificates.len(), 1);
}

#[test]
fn what_a_method_cannot_leave_as_cannot_be_chosen() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = ready(&stage);
    let mut view = kit::view(7, "finished", 1200);
    view.row.method = "full".to_owned();
    stage.runs.publish(kit::snapshot(&folder, view, false));
    window.run();
    kit::send(&mut window, UiCommand::ExportTarget(3));
    window.get_by_label("Target PEFT adapter").click();
    window.run();
    assert_eq!(window.state().state.export.target, 3, "full training leaves no adapter");
}

#[test]
fn a_destroyed_change_is_said_in_words_and_figures_have_their_thousands() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = ready(&stage);
    let mut destroyed = export_scenes::refused();
    let check = |name: &str, measured: &str, over: &str| temper_protocol::event::Check {
        name: name.to_owned(),
        measured: measured.to_owned(),
        limit: "70 %".to_owned(),
        over: over.to_owned(),
        pass: false,
    };
    destroyed.record.checks = vec![
        check("same best token", "4.1 %", "4096 positions"),
        check("share of the change that survives", "-830.0 %", "4096 positions"),
    ];
    destroyed.record.reasons = vec!["share of the change that survives: -830.0 % (limit 70 %)".to_owned()];
    window.state_mut().state.export.certificates = vec![destroyed];
    window.run();
    window.get_by_label("none");
    assert!(window.query_all_by_label_contains("None of the change survives").next().is_some());
    assert!(window.query_all_by_label_contains("830").next().is_none());
    assert_eq!(window.query_all_by_label("4,096 positions").count(), 2);
}

#[test]
fn a_damaged_export_is_written_again_in_its_place() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = ready(&stage);
    let mut damaged = export_scenes::passed();
    damaged.record.pass = Some(false);
    damaged.target = None;
    damaged.record.checks.push(temper_protocol::event::Check {
        name: "files are as they were written".to_owned(),
        measured: "0 of 1".to_owned(),
        limit: "all".to_owned(),
        over: "files".to_owned(),
        pass: false,
    });
    let path = damaged.record.path.clone();
    window.state_mut().state.export.certificates = vec![damaged];
    window.run();
    assert!(window.query_all_by_label_contains("Choose GGUF LoRA").next().is_none(), "another target mends nothing");
    kit::press(&mut window, "Write it again, 257 MiB");
    match stage.engine.newest(is_export) {
        Some(Command::Export { source, format, dtype, out, .. }) => {
            assert_eq!(source, ExportSource::Run { run: RunRef::Id(7), step: None });
            assert_eq!((format, dtype), (ExportFormat::Gguf, Some(StorageType::F16)));
            assert_eq!(out, path);
        }
        other => panic!("expected an export, got {other:?}"),
    }
    let again = path.display().to_string();
    stage.engine.say(is_export, vec![written(&again), certificate(true, &again), Event::Done {}]);
    window.run();
    let known: Vec<_> = window.state().state.export.certificates.iter().map(|known| known.record.pass).collect();
    assert_eq!(known, [Some(true)], "the new certificate takes the place of the refused one");
}

#[test]
fn a_tokenizer_without_a_name_in_gguf_greys_the_merged_targets_and_says_why() {
    let (_root, stage) = kit::stage();
    let why = "its way of splitting text has no name in GGUF; export to hf";
    stage.engine.reply_with(move |command| {
        let mut events = kit::answer(command);
        if matches!(command, Command::Preview { .. }) {
            let (code, text) = ("no_merged_gguf".to_owned(), why.to_owned());
            events.insert(0, Event::Warning { code, text, step: 0 });
        }
        events
    });
    let (mut window, _folder) = ready(&stage);
    assert_eq!(window.query_all_by_label("not possible").count(), 7, "seven merged GGUF targets");
    assert!(window.query_all_by_label_contains(why).next().is_some(), "the reason stands in the room");
    window.get_by_label("Target merged GGUF, f16").click();
    window.run();
    assert_eq!(window.state().state.export.target, 0, "what is not possible cannot be chosen");
    kit::send(&mut window, UiCommand::ExportTarget(5));
    window.key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::E);
    window.run();
    assert_eq!(stage.engine.count(is_export), 0, "nor written by its key");
    window.get_by_label("Target GGUF LoRA").click();
    window.run();
    assert_eq!(window.state().state.export.target, 1, "the adapter needs no tokenizer");
}

#[test]
fn a_gguf_base_can_keep_its_types_and_a_method_of_its_own_its_own_folder() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = ready(&stage);
    window.get_by_label("Target merged GGUF, as base").click();
    window.run();
    kit::press(&mut window, "Write and check");
    match stage.engine.newest(is_export) {
        Some(Command::Export { format, dtype, out, .. }) => {
            assert_eq!((format, dtype), (ExportFormat::Gguf, None));
            assert_eq!(out, folder.join("exports").join("customer-tone-run7-gguf.gguf"));
        }
        other => panic!("expected an export, got {other:?}"),
    }
    assert!(window.query_by_label("Target Temper adapter").is_none(), "LoRA leaves in forms that others read");
    for card in &mut window.state_mut().state.methods {
        card.exports_as = vec!["native".to_owned()];
    }
    window.run();
    window.get_by_label("Target Temper adapter");
}

#[test]
fn a_folder_base_offers_no_file_in_its_own_types() {
    let (_root, stage) = kit::stage();
    let (mut window, _folder) = ready(&stage);
    if let Some(Event::Model { format, .. }) = window.state_mut().state.known.get_mut(kit::MODEL) {
        "huggingface".clone_into(format);
    }
    window.run();
    assert!(window.query_by_label("Target merged GGUF, as base").is_none());
    window.get_by_label("Target merged GGUF, Q8_0");
}

#[test]
fn a_capsule_is_possible_whatever_was_trained_and_mlx_takes_low_rank_changes() {
    let (_root, stage) = kit::stage();
    let (mut window, folder) = ready(&stage);
    window.get_by_label("Target MLX adapter").click();
    window.run();
    assert!(window.query_all_by_label_contains("one rank and one scale for all layers").next().is_some());
    kit::press(&mut window, "Write and check");
    match stage.engine.newest(is_export) {
        Some(Command::Export { format, dtype, out, .. }) => {
            assert_eq!((format, dtype), (ExportFormat::Mlx, None));
            assert_eq!(out, folder.join("exports").join("customer-tone-run7-mlx"));
        }
        other => panic!("expected an export, got {other:?}"),
    }
    stage.engine.say(is_export, vec![Event::Done {}]);
    window.run();
    let mut view = kit::view(7, "finished", 1200);
    view.row.method = "full".to_owned();
    stage.runs.publish(kit::snapshot(&folder, view, false));
    window.run();
    window.get_by_label("Target capsule").click();
    window.run();
    assert!(window.query_all_by_label_contains("settings, hashes, figures").next().is_some());
    window.get_by_label("Target MLX adapter").click();
    window.run();
    let target = temper::state::export::TARGETS[window.state().state.export.target];
    assert_eq!(target.format, ExportFormat::Capsule, "full training leaves no two factors");
    kit::press(&mut window, "Write and check");
    match stage.engine.newest(is_export) {
        Some(Command::Export { format, out, .. }) => {
            assert_eq!(format, ExportFormat::Capsule);
            assert_eq!(out, folder.join("exports").join("customer-tone-run7.capsule"));
        }
        other => panic!("expected an export, got {other:?}"),
    }
}

#[test]
fn a_small_window_keeps_the_place_to_write_to_in_sight() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[1], true);
    let folder = kit::open(&mut window, &stage);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    kit::send(&mut window, UiCommand::Go(Room::Export));
    window.get_by_label("Target capsule");
    assert!(window.query_all_by_label_contains("Where to write").next().is_some());
}
