//! The window in German: it changes at once, says what it should, remembers it, and every room has room for the words.

use crate::{kit, layout, scenes};
use egui::accesskit::Role;
use egui_kittest::kittest::Queryable as _;
use temper::commands::{Id, UiCommand, entry, search};
use temper::state::Room;
use temper::state::settings::{LanguageChoice, Settings};
use temper::texts::Language;

#[test]
fn a_few_known_words_are_german_and_change_at_once() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.get_by_label("This machine");
    kit::send(&mut window, UiCommand::Language(LanguageChoice::German));
    for label in ["Dieser Rechner", "Nützliche Tasten", "Jetzt trainieren", "Dateien wählen…"] {
        assert!(window.query_all_by_label(label).next().is_some(), "\"{label}\" is on Home");
    }
    assert!(window.query_by_label("This machine").is_none());
    kit::open(&mut window, &stage);
    for label in ["Trainieren", "Vorabmessung", "Vergessensbudget", "Erste Zeilen"] {
        assert!(window.query_all_by_label(label).next().is_some(), "\"{label}\" is in Setup");
    }
    // Fields have accessible names of their own.
    window.get_by_role_and_label(Role::TextInput, "Lernrate");
    kit::send(&mut window, UiCommand::Go(Room::Export));
    assert!(window.query_all_by_label("Noch kein Ergebnis").next().is_some());
    kit::send(&mut window, UiCommand::Language(LanguageChoice::English));
    assert!(window.query_all_by_label("No result yet").next().is_some());
}

#[test]
fn the_choice_is_remembered_and_the_system_decides_without_one() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window_in(&stage, kit::SIZES[0], true, LanguageChoice::German);
    let text = std::fs::read_to_string(stage.places.config.join("window.json")).expect("settings");
    assert_eq!(Settings::read(&text).language, LanguageChoice::German);
    window.state_mut().state.system_language = Language::German;
    kit::send(&mut window, UiCommand::Language(LanguageChoice::System));
    assert_eq!(window.state().state.language(), Language::German);
    assert_eq!(LanguageChoice::English.language(Language::German), Language::English);
}

#[test]
fn the_palette_finds_both_names_and_help_and_palette_change_the_language() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window_in(&stage, kit::SIZES[0], true, LanguageChoice::German);
    for (query, id) in [("rückg", Id::Undo), ("undo", Id::Undo), ("measure again", Id::Measure)] {
        let first = search(query).first().map(|entry| entry.id);
        assert_eq!(first, Some(id), "{query}");
    }
    kit::send(&mut window, UiCommand::OpenHelp);
    window.get_by_role_and_label(Role::RadioButton, "Sprache: English").click();
    window.run();
    window.get_by_role_and_label(Role::RadioButton, "Language: Deutsch").click();
    window.run();
    kit::send(&mut window, UiCommand::CloseSheet);
    kit::send(&mut window, UiCommand::OpenPalette);
    let name = entry(Id::English).name.get();
    window.get_by_role_and_label(Role::TextInput, "Befehle suchen").type_text(name);
    window.run();
    window.key_press(egui::Key::Enter);
    window.run();
    assert_eq!(window.state().state.settings.language, LanguageChoice::English);
}

#[test]
fn german_words_fit_their_places_as_the_english_ones_do() {
    let mut faults = Vec::new();
    for scene in scenes::SCENES {
        for size in kit::SIZES {
            let cut = [LanguageChoice::English, LanguageChoice::German].map(|language| {
                let (_root, stage) = kit::stage();
                let mut window = kit::window_in(&stage, size, true, language);
                (scene.make)(&mut window, &stage);
                if language == LanguageChoice::German {
                    layout::check(scene.name, size, &window.output().shapes, &mut faults);
                }
                layout::cut_lines(&window.output().shapes)
            });
            let [english, german] = cut;
            if german.len() > english.len() {
                let new: Vec<_> = german.iter().filter(|line| !english.contains(line)).collect();
                faults.push(format!("cut off in {} at {}: {new:?}", scene.name, size.0));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
