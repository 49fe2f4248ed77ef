//! The glossary: from a click on a word, from F1 on a field, from the palette, and by its own search.

use crate::kit;
use egui::accesskit::Role;
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;
use temper::commands::UiCommand;
use temper::glossary::{TERMS, term};
use temper::state::{Room, Sheet};

fn open_at(window: &kit::Window) -> Option<&'static str> {
    match &window.state().state.sheet {
        Some(Sheet::Glossary { term, .. }) => *term,
        _ => None,
    }
}

#[test]
fn f1_on_a_field_explains_its_term_and_elsewhere_opens_the_help() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    for (field, key) in [("Learning rate", "rate"), ("Rank", "rank"), ("Batch", "batch")] {
        window.get_by_role_and_label(Role::TextInput, field).focus();
        window.run();
        window.key_press(Key::F1);
        window.run();
        assert_eq!(open_at(&window), Some(key), "{field}");
        let meaning = term(key).map(|term| term.meaning.get()).unwrap_or_default();
        assert!(window.query_all_by_label(meaning).next().is_some(), "{meaning}");
        window.key_press(Key::Escape);
        window.run();
        assert_eq!(window.state().state.sheet, None);
    }
    kit::send(&mut window, UiCommand::Go(Room::Home));
    window.key_press(Key::F1);
    window.run();
    assert_eq!(window.state().state.sheet, Some(Sheet::Help));
    kit::press(&mut window, "Glossary");
    assert!(matches!(window.state().state.sheet, Some(Sheet::Glossary { term: None, .. })));
}

#[test]
fn a_click_on_the_name_of_a_row_opens_the_glossary_there() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    let names = window.query_all_by_role_and_label(Role::Label, "Rank");
    let place = names.map(|node| node.rect().center()).next().expect("the row is named");
    window.hover_at(place);
    window.run();
    for pressed in [true, false] {
        let button = egui::PointerButton::Primary;
        let event = egui::Event::PointerButton { pos: place, button, pressed, modifiers: Modifiers::NONE };
        window.input_mut().events.push(event);
        window.step();
    }
    window.run();
    assert_eq!(open_at(&window), Some("rank"));
}

#[test]
fn the_palette_finds_terms_after_commands() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.key_press_modifiers(Modifiers::COMMAND, Key::K);
    window.run();
    let field = window.get_by_role_and_label(Role::TextInput, "Search commands");
    field.type_text("mcnemar");
    window.run();
    window.key_press(Key::Enter);
    window.run();
    assert_eq!(open_at(&window), Some("mcnemar"));
}

#[test]
fn the_search_narrows_the_list_and_a_term_of_it_can_be_chosen() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    window.key_press_modifiers(Modifiers::SHIFT, Key::F1);
    window.run();
    let first = TERMS.first().map(|term| term.meaning.get()).unwrap_or_default();
    assert!(window.query_all_by_label(first).next().is_some(), "the first term is explained");
    kit::send(&mut window, UiCommand::GlossaryQuery("rank".to_owned()));
    kit::press(&mut window, "effective rank");
    let chosen = Some(Sheet::Glossary { query: "rank".to_owned(), term: Some("effective") });
    assert_eq!(window.state().state.sheet, chosen, "the search stays");
    kit::send(&mut window, UiCommand::GlossaryQuery("xyzzy".to_owned()));
    assert!(window.query_all_by_label("No term is called that.").next().is_some());
}

#[test]
fn a_term_leads_to_related_ones_and_says_where_it_is_met() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    kit::open(&mut window, &stage);
    kit::send(&mut window, UiCommand::Glossary(Some("forgetting")));
    for words in ["Related terms", "Seen in"] {
        assert!(window.query_all_by_label(words).next().is_some(), "{words}");
    }
    let budgets = window.query_all_by_role_and_label(Role::Button, "budget").count();
    assert_eq!(budgets, 2, "in the list, and beside the term that it belongs to");
    kit::press(&mut window, "budget");
    assert_eq!(open_at(&window), Some("budget"));
    kit::send(&mut window, UiCommand::Glossary(Some("rank")));
    assert!(window.query_all_by_label("Rank microscope").next().is_some(), "which stands in another room");
    kit::send(&mut window, UiCommand::Glossary(Some("nf4")));
    assert!(window.query_all_by_label("Seen in").next().is_none(), "no room names it");
}
