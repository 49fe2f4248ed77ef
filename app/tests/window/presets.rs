//! A person's own presets: kept under a name, listed for their method, used in another project, forgotten.

use crate::kit::{self, Window};
use crate::preset_scenes::{own_presets, saving_preset, set_rank};
use egui_kittest::kittest::Queryable as _;
use temper::commands::UiCommand;
use temper::state::Sheet;
use temper::state::presets::{OwnPreset, PresetAct};
use temper::state::settings::Settings;
use temper_protocol::Value;

fn rank(window: &Window) -> i64 {
    window.state().state.draft.project.method.settings.integer("rank")
}

#[test]
fn settings_are_kept_under_a_name_and_written() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    set_rank(&mut window, 4, 1e-4);
    kit::press(&mut window, "Save as preset…");
    assert_eq!(window.state().state.sheet, Some(Sheet::Preset { name: String::new() }));
    kit::press(&mut window, "Save");
    assert!(window.state().state.sheet.is_some(), "a preset has a name");
    kit::send(&mut window, UiCommand::Preset(PresetAct::Name(" small ".to_owned())));
    kit::press(&mut window, "Save");
    assert_eq!(window.state().state.sheet, None);
    let text = std::fs::read_to_string(stage.places.config.join("window.json")).expect("settings were written");
    let read = Settings::read(&text).presets;
    let names: Vec<_> = read.iter().map(|preset| (preset.name.as_str(), preset.method.as_str())).collect();
    assert_eq!(names, [("small", "lora")]);
    assert_eq!(read[0].settings.get("rank"), Some(&Value::Integer(4)));
}

#[test]
fn a_preset_is_used_and_taken_back_like_any_edit() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    own_presets(&mut window, &stage);
    window.get_by_label("Own presets: small").click();
    window.run();
    assert_eq!(rank(&window), 4);
    assert!((window.state().state.draft.project.train.lr_peak - 1e-4).abs() < 1e-12);
    window.get_by_label("Own presets: wide").click();
    window.run();
    assert_eq!(rank(&window), 64);
    kit::send(&mut window, UiCommand::Undo);
    assert_eq!(rank(&window), 4, "each choice is taken back by itself");
    kit::send(&mut window, UiCommand::Undo);
    assert_eq!(rank(&window), 24);
}

#[test]
fn presets_belong_to_their_method_and_can_be_forgotten() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    saving_preset(&mut window, &stage);
    window.get_by_label("replaces the one of this name");
    kit::press(&mut window, "Forget the preset small");
    let names = |window: &Window| -> Vec<String> {
        window.state().state.settings.presets.iter().map(|preset| preset.name.clone()).collect()
    };
    assert_eq!(names(&window), ["wide"]);
    kit::press(&mut window, "Save");
    assert_eq!(names(&window), ["wide"], "it was replaced");
    assert_eq!(window.state().state.settings.presets[0].settings.get("rank"), Some(&Value::Integer(24)));
    window.get_by_label("Method Full training").click();
    window.run();
    assert!(window.query_by_label("Own presets: wide").is_none(), "it is one of LoRA");
}

#[test]
fn what_a_method_does_not_know_any_more_is_left_out() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let project = &window.state().state.draft.project;
    let mut preset = OwnPreset::of("old", project);
    preset.settings.insert("rank".to_owned(), Value::Integer(12));
    preset.settings.insert("gone".to_owned(), Value::Integer(1));
    window.state_mut().state.settings.presets.push(preset);
    kit::send(&mut window, UiCommand::Preset(PresetAct::Use("old".to_owned())));
    assert_eq!(rank(&window), 12);
    assert!(!window.state().state.draft.project.method.settings.0.contains_key("gone"));
}
