//! What a run of the project as it stands can leave as, before anything is trained: over Setup, and in the room Export.

use crate::{export_scenes, kit};
use egui::Key;
use egui::accesskit::Role;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use temper::commands::{Id, UiCommand, entry};
use temper::state::export::TARGETS;
use temper::state::{Room, Sheet};
use temper::testing::Stage;
use temper_protocol::Event;

const NO_FORM: &str = "Not possible: this method does not leave in that form";
const LEAD: &str = "This is what a run of these settings can leave as: ";

/// Whether the table says these words in the row of a target.
fn says(window: &kit::Window, target: &str, words: &str) -> bool {
    let name = window.query_all_by_label(target).last().unwrap_or_else(|| panic!("there is no row of {target}"));
    let y = name.rect().center().y;
    window.query_all_by_label(words).any(|node| node.rect().y_range().contains(y))
}

/// Setup, with an engine that counts what LoRA trains.
fn setup(stage: &Stage, method: &str) -> kit::Window {
    stage.engine.reply_with(export_scenes::counting);
    let mut window = kit::window(stage, kit::SIZES[0], true);
    kit::open(&mut window, stage);
    let mut project = window.state().state.draft.project.clone();
    method.clone_into(&mut project.method.id);
    kit::send(&mut window, UiCommand::Edit(String::new(), Box::new(project)));
    window
}

/// Makes another model of that of the scenes.
fn become_a(window: &mut kit::Window, wanted_format: &str, wanted: &str) {
    if let Some(Event::Model { format, architecture, .. }) = window.state_mut().state.known.get_mut(kit::MODEL) {
        wanted_format.clone_into(format);
        wanted.clone_into(architecture);
    }
    window.run();
}

#[test]
fn setup_lists_what_is_possible_and_escape_gives_the_keyboard_back() {
    let (_root, stage) = kit::stage();
    let mut window = setup(&stage, "full");
    window.get_by_role_and_label(Role::Button, "What can be exported").focus();
    window.run();
    window.key_press(Key::Space);
    window.run();
    assert_eq!(window.state().state.sheet, Some(Sheet::Support));
    assert!(window.query_all_by_label_contains(LEAD).next().is_some());
    assert!(says(&window, "PEFT adapter", NO_FORM));
    assert!(says(&window, "GGUF LoRA", NO_FORM));
    assert!(says(&window, "merged GGUF, f16", "possible"));
    assert!(says(&window, "merged GGUF, f16", "llama.cpp, Ollama"));
    assert!(says(&window, "merged GGUF, f16", "257"), "MiB of 134.5 M numbers of two bytes");
    assert!(says(&window, "merged GGUF, as base", "93"), "as large as the base's file");
    for target in TARGETS {
        assert!(window.query_all_by_label(target.name.get()).next().is_some(), "{}", target.name.get());
    }
    window.key_press(Key::Escape);
    window.run();
    assert_eq!(window.state().state.sheet, None);
    let focused = window.root().children_recursive().find(|node| node.is_focused());
    let name = focused.and_then(|node| node.accesskit_node().label());
    assert_eq!(name.as_deref(), Some("What can be exported"));
}

#[test]
fn the_keyboard_is_given_back_to_nothing_that_is_gone() {
    let (_root, stage) = kit::stage();
    let mut window = setup(&stage, "lora");
    window.get_by_role_and_label(Role::Button, "What can be exported").focus();
    window.run();
    window.key_press(Key::Space);
    window.run();
    kit::send(&mut window, UiCommand::Go(Room::Home));
    assert_eq!(window.ctx.memory(|memory| memory.focused()), None);
}

#[test]
fn the_room_export_shows_the_table_until_there_is_a_run() {
    let (_root, stage) = kit::stage();
    let mut window = setup(&stage, "lora");
    kit::send(&mut window, UiCommand::Go(Room::Export));
    window.get_by_label("No result yet");
    assert!(window.query_all_by_label_contains(LEAD).next().is_some());
    assert!(says(&window, "PEFT adapter", "possible"));
    assert!(says(&window, "PEFT adapter", "19"), "MiB of 4.9 M numbers of four bytes");
    assert!(says(&window, "Temper adapter", NO_FORM));
    assert!(window.query_by_label("Target PEFT adapter").is_none(), "there is nothing to choose for");
    kit::send(&mut window, UiCommand::Go(Room::Setup));
    let mut project = window.state().state.draft.project.clone();
    "full".clone_into(&mut project.method.id);
    kit::send(&mut window, UiCommand::Edit(String::new(), Box::new(project)));
    kit::send(&mut window, UiCommand::Go(Room::Export));
    assert!(says(&window, "PEFT adapter", NO_FORM) && says(&window, "GGUF LoRA", NO_FORM), "it follows the draft");
    let folder = window.state().state.draft.folder.clone().expect("a project folder");
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    window.get_by_label("Target PEFT adapter");
    assert!(window.query_all_by_label_contains(LEAD).next().is_none());
}

#[test]
fn without_a_model_there_is_no_table() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    assert!((entry(Id::Support).hindrance)(&window.state().state).is_some());
    kit::send(&mut window, UiCommand::Go(Room::Export));
    window.get_by_label("No result yet");
    assert!(window.query_all_by_label_contains(LEAD).next().is_none());
}

#[test]
fn a_size_that_nobody_counted_is_unknown() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    kit::send(&mut window, UiCommand::ShowSupport);
    assert!(says(&window, "PEFT adapter", "possible"));
    assert!(says(&window, "PEFT adapter", temper::format::UNKNOWN));
}

#[test]
fn a_classifier_of_images_leaves_as_nothing() {
    let (_root, stage) = kit::stage();
    let mut window = setup(&stage, "lora");
    become_a(&mut window, "huggingface", "vit");
    kit::send(&mut window, UiCommand::ShowSupport);
    let why = "Not possible: classifiers of images are not trained from a project yet";
    assert_eq!(window.query_all_by_label(why).count(), TARGETS.len());
    assert!(window.query_all_by_label("possible").next().is_none());
}

#[test]
fn a_method_for_other_models_leaves_as_nothing() {
    let (_root, stage) = kit::stage();
    let mut window = setup(&stage, "lora");
    for card in &mut window.state_mut().state.methods {
        card.families = vec!["encoder".to_owned()];
    }
    kit::send(&mut window, UiCommand::ShowSupport);
    let why = "Not possible: the method is not for this model, it needs encoder";
    assert_eq!(window.query_all_by_label(why).count(), TARGETS.len());
}

#[test]
fn a_merged_gguf_says_what_the_tokenizer_and_the_base_allow() {
    let (_root, stage) = kit::stage();
    let mut window = setup(&stage, "lora");
    become_a(&mut window, "huggingface", "llama");
    kit::send(&mut window, UiCommand::ShowSupport);
    let no_types = "Not possible: the base is no GGUF file whose types could be kept";
    assert!(says(&window, "merged GGUF, as base", no_types));
    assert!(says(&window, "merged GGUF, f16", "possible"));
    let unsure = "is known once data is read";
    assert!(window.query_all_by_label_contains(unsure).next().is_none(), "the data is read");
    window.state_mut().state.setup.preview = None;
    window.run();
    assert!(window.query_all_by_label_contains(unsure).next().is_some());
    let nameless = "its way of splitting text has no name in GGUF; export to hf";
    window.state_mut().state.export.no_gguf.insert(kit::MODEL.to_owned(), nameless.to_owned());
    window.run();
    assert!(says(&window, "merged GGUF, f16", &format!("Not possible: {nameless}")));
    assert!(says(&window, "GGUF LoRA", "possible"), "an adapter needs no tokenizer");
}

#[test]
fn the_table_and_the_room_export_give_the_same_reasons() {
    let (_root, stage) = kit::stage();
    let mut window = setup(&stage, "lora");
    let folder = window.state().state.draft.folder.clone().expect("a project folder");
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.state_mut().state.export.no_gguf.insert(kit::MODEL.to_owned(), "it has no name".to_owned());
    for card in &mut window.state_mut().state.methods {
        card.exports_as.retain(|format| format != "peft");
    }
    window.run();
    let state = &window.state().state;
    let rows = temper::update::supports(state);
    assert!(rows.iter().any(|row| row.hindrance.is_none()) && rows.iter().any(|row| row.hindrance.is_some()));
    for row in rows {
        let of_run = temper::update::target_hindrance(state, row.target);
        assert_eq!(row.hindrance, of_run, "{}", row.target.suffix());
    }
}

#[test]
fn the_tiles_of_the_gallery_say_how_a_method_leaves() {
    let (_root, stage) = kit::stage();
    let window = setup(&stage, "lora");
    for (tile, forms) in [("Method LoRA", "peft, gguf-lora, mlx, hf, gguf"), ("Method Full training", "hf, gguf")] {
        let node = window.get_by_label(tile);
        let tip = node.accesskit_node().data().description().unwrap_or_default().to_owned();
        assert!(tip.contains(&format!("Leaves as: {forms}")), "{tile}: {tip}");
    }
}
