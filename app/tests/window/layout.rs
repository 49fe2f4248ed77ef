//! Every state at both sizes: words inside the window, inside their panel, not over each other; every
//! control has a name.

use crate::{kit, scenes};
use egui::epaint::{ClippedShape, Shape};
use egui::{Pos2, Rect};
use egui_kittest::kittest::NodeT as _;

/// A painted line of text.
struct Words {
    ink: Rect,
    clip: Rect,
    text: String,
    /// The end was replaced by an ellipsis.
    cut: bool,
}

fn collect(shape: &Shape, clip: Rect, into: &mut Vec<Words>) {
    match shape {
        Shape::Vec(shapes) => shapes.iter().for_each(|shape| collect(shape, clip, into)),
        Shape::Text(text) => {
            let ink = text.galley.mesh_bounds.translate(text.pos.to_vec2());
            if ink.is_positive() {
                into.push(Words { ink, clip, text: text.galley.text().to_owned(), cut: text.galley.elided });
            }
        }
        _ => {}
    }
}

fn words(shapes: &[ClippedShape]) -> Vec<Words> {
    let mut found = Vec::new();
    for ClippedShape { clip_rect, shape, .. } in shapes {
        collect(shape, *clip_rect, &mut found);
    }
    // What a scroll area hides is not on the screen.
    found.retain(|words| words.ink.intersect(words.clip).is_positive());
    found
}

/// A sheet or a list lies over the room on purpose.
fn has_sheet(name: &str) -> bool {
    [
        "palette",
        "help",
        "glossary",
        "help_keys",
        "token_lens",
        "lens_edit",
        "lens_looking",
        "lens_loss",
        "place",
        "path_entry",
        "longer",
        "saving_preset",
        "queue",
        "leaving",
        "races_listed",
        "model_card",
        "export_support",
        "own_card",
        "duplicating",
        "moving",
        "other_model",
        "machine_checks",
        "machine_failed",
        "closing",
        "command",
        "project_file",
        "choosing_others",
    ]
    .contains(&name)
}

/// Letters of a private use area are icons; they may touch what they belong to.
fn is_icon(text: &str) -> bool {
    text.chars().all(|letter| ('\u{e000}'..='\u{f8ff}').contains(&letter))
}

/// How many lines end in an ellipsis because there was no room.
pub(crate) fn cut_lines(shapes: &[ClippedShape]) -> Vec<String> {
    words(shapes).into_iter().filter(|words| words.cut).map(|words| words.text).collect()
}

/// Finds words outside their places and over each other.
pub(crate) fn check(name: &str, size: (f32, f32), shapes: &[ClippedShape], faults: &mut Vec<String>) {
    let window = Rect::from_min_size(Pos2::ZERO, size.into()).expand(0.5);
    let all = words(shapes);
    assert!(all.len() > 20, "{name} shows next to nothing");
    for line in &all {
        let place = format!("{name} at {}: \"{}\" {:?}", size.0, line.text, line.ink);
        if !window.contains_rect(line.ink.intersect(line.clip)) {
            faults.push(format!("outside the window: {place}"));
        }
        if line.ink.left() < line.clip.left() - 1.0 || line.ink.right() > line.clip.right() + 1.0 {
            faults.push(format!("cut off at the side: {place}"));
        }
    }
    if has_sheet(name) {
        return;
    }
    for (index, first) in all.iter().enumerate() {
        for second in &all[index + 1..] {
            let (a, b) = (first.ink.intersect(first.clip), second.ink.intersect(second.clip));
            let both = a.shrink(1.0).intersect(b.shrink(1.0));
            if both.is_positive() && !is_icon(&first.text) && !is_icon(&second.text) {
                faults.push(format!(
                    "over each other in {name} at {}: \"{}\" and \"{}\" at {both:?}",
                    size.0, first.text, second.text
                ));
            }
        }
    }
}

#[test]
fn words_fit_their_places_in_every_state() {
    let mut faults = Vec::new();
    for scene in scenes::SCENES {
        for size in kit::SIZES {
            let (_root, stage) = kit::stage();
            let mut window = kit::window(&stage, size, true);
            (scene.make)(&mut window, &stage);
            check(scene.name, size, &window.output().shapes, &mut faults);
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn every_control_has_a_name_in_every_state() {
    use egui::accesskit::Role;
    for scene in scenes::SCENES {
        let (_root, stage) = kit::stage();
        let mut window = kit::window(&stage, kit::SIZES[0], true);
        (scene.make)(&mut window, &stage);
        assert!(window.unnamed_widgets().is_empty(), "{}: {:?}", scene.name, window.unnamed_widgets());
        let mut controls = 0;
        for node in window.root().children_recursive() {
            let node = node.accesskit_node();
            let control = matches!(
                node.role(),
                Role::Button
                    | Role::CheckBox
                    | Role::RadioButton
                    | Role::ComboBox
                    | Role::Slider
                    | Role::Tab
                    | Role::MenuItem
            );
            if control {
                controls += 1;
                let label = node.label().unwrap_or_default();
                assert!(!label.trim().is_empty(), "{}: a {:?} without a name", scene.name, node.role());
            }
        }
        assert!(controls > 5, "{} has next to no controls", scene.name);
    }
}

#[test]
fn a_window_far_too_small_scrolls_instead_of_breaking() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, (640.0, 400.0), true);
    kit::open(&mut window, &stage);
    let all = words(&window.output().shapes);
    let train = all.iter().filter(|words| words.text == "Train").count();
    assert!(all.iter().any(|words| words.text == "temper"), "the top bar is there");
    assert_eq!(train, 0, "the Train button is beyond the edge until one scrolls");
    use egui_kittest::kittest::Queryable as _;
    window.get_by_label("Train").scroll_to_me();
    window.run();
    let all = words(&window.output().shapes);
    assert!(all.iter().any(|words| words.text == "Train"), "scrolling brings it into view");
}

#[test]
fn the_most_used_settings_need_no_scrolling_in_a_small_window() {
    use egui_kittest::kittest::Queryable as _;
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[1], true);
    kit::open(&mut window, &stage);
    let strip = window.get_by_label("Pre-flight").rect().top();
    for name in ["Rank", "Alpha", "Learning rate", "Steps", "Batch"] {
        let field = window.get_by_role_and_label(egui::accesskit::Role::TextInput, name).rect();
        assert!(field.bottom() < strip - 14.0, "{name} is at {field:?}, the pre-flight begins at {strip}");
    }
    // What stands below the settings is in the card as well, not half behind its edge.
    for name in ["More settings", "Race methods…"] {
        let link = window.get_by_role_and_label(egui::accesskit::Role::Button, name).rect();
        // The card's edge is 8 points above the words of the strip.
        assert!(link.bottom() < strip - 8.0, "{name} is at {link:?}, the pre-flight begins at {strip}");
    }
    // The list chooses the method, as the tiles of a large window do.
    window.get_by_role_and_label(egui::accesskit::Role::ComboBox, "Method").click();
    window.run();
    window.get_by_role_and_label(egui::accesskit::Role::MenuItem, "Full training").click();
    window.run();
    assert_eq!(window.state().state.draft.project.method.id, "full");
}
