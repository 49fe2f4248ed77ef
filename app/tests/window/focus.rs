//! The way of the Tab key: in each room it passes every control and comes round, both ways, and what it has reached is
//! in view and marked.

use crate::{kit, scenes};
use egui::accesskit::{Action, Role};
use egui::{Color32, Key, Modifiers, Rect, Shape};
use egui_kittest::kittest::NodeT as _;
use std::collections::BTreeMap;
use temper::theme::{Look, Theme};

/// Rooms full of controls; their names are those of the scenes.
const ROOMS: &[&str] = &[
    "home",
    "setup_filled",
    "setup_more",
    "setup_errors",
    "race_ticking",
    "training",
    "scrubbed",
    "step_answered",
    "race_rounds",
    "compare_curves",
    "compare_rows",
    "playground",
    "export_refused",
];

/// What lies over a room: the keyboard stays in it until it is closed.
const SHEETS: &[&str] = &[
    "help",
    "glossary",
    "token_lens",
    "path_entry",
    "longer",
    "saving_preset",
    "model_card",
    "export_support",
    "duplicating",
    "queue",
    "machine_checks",
    "closing",
];

/// More stops than any room has.
const MOST: usize = 400;

/// A stop of the Tab key.
#[derive(Debug, Clone, PartialEq)]
struct Stop {
    node: String,
    name: String,
    place: Rect,
}

fn window_of(scene: &str, size: (f32, f32)) -> (tempfile::TempDir, kit::Window) {
    let scene = scenes::SCENES.iter().find(|other| other.name == scene).expect("a scene of this name");
    let (root, stage) = kit::stage();
    let mut window = kit::window(&stage, size, true);
    (scene.make)(&mut window, &stage);
    (root, window)
}

/// What has the focus.
fn focused(window: &kit::Window) -> Option<Stop> {
    let node = window.root().children_recursive().find(|node| node.is_focused())?;
    let known = node.accesskit_node();
    let name = format!("{:?} {}", known.role(), known.label().unwrap_or_default());
    Some(Stop { node: format!("{:?}", known.id()), name, place: node.rect() })
}

/// Controls that can have the focus, by node.
fn controls(window: &kit::Window) -> BTreeMap<String, String> {
    let nodes = window.root().children_recursive();
    let control = |node: egui_kittest::Node<'_>| {
        let node = node.accesskit_node();
        let takes = node.data().supports_action(Action::Focus) && !node.is_disabled();
        let named = node.label().filter(|name| !name.is_empty());
        let stop = takes && !matches!(node.role(), Role::Window | Role::Label);
        named.filter(|_| stop).map(|name| (format!("{:?}", node.id()), format!("{:?} {name}", node.role())))
    };
    nodes.filter_map(control).collect()
}

fn tab(window: &mut kit::Window, modifiers: Modifiers) -> Option<Stop> {
    window.key_press_modifiers(modifiers, Key::Tab);
    window.run();
    focused(window)
}

/// Every stop from the first one until it comes round.
fn walk(window: &mut kit::Window, modifiers: Modifiers) -> Result<Vec<Stop>, String> {
    let mut stops: Vec<Stop> = Vec::new();
    while stops.len() < MOST {
        let Some(stop) = tab(window, modifiers) else {
            return Err(format!("nothing has the focus after {:?}", stops.last()));
        };
        if stops.first().is_some_and(|first| first.node == stop.node) {
            return Ok(stops);
        }
        if stops.iter().any(|earlier| earlier.node == stop.node) {
            return Err(format!("it goes in circles and never comes round: {} again", stop.name));
        }
        stops.push(stop);
    }
    Err(format!("it has not come round after {MOST} stops"))
}

#[test]
fn tab_passes_every_control_of_each_room_and_comes_round() {
    let mut faults = Vec::new();
    for room in ROOMS {
        for size in kit::SIZES {
            let (_root, mut window) = window_of(room, size);
            let before = controls(&window);
            let stops = match walk(&mut window, Modifiers::NONE) {
                Ok(stops) => stops,
                Err(fault) => {
                    faults.push(format!("{room} {size:?}: {fault}"));
                    continue;
                }
            };
            // What comes into view on the way, or goes, is not asked for.
            let after = controls(&window);
            let here = before.iter().filter(|(node, _)| after.contains_key(*node));
            let missed = here.filter(|(node, _)| !stops.iter().any(|stop| stop.node == **node));
            faults.extend(missed.map(|(_, name)| format!("{room} {size:?}: {name} is not reached")));
            if stops.len() < 8 {
                faults.push(format!("{room} {size:?}: only {} stops", stops.len()));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_way_back_is_the_way_there() {
    for scene in ROOMS.iter().chain(SHEETS) {
        let (_root, mut window) = window_of(scene, kit::SIZES[0]);
        let there = walk(&mut window, Modifiers::NONE).unwrap_or_else(|fault| panic!("{scene}: {fault}"));
        // The walk ended where it began.
        let back = walk(&mut window, Modifiers::SHIFT).unwrap_or_else(|fault| panic!("{scene}, back: {fault}"));
        assert_eq!(there.len(), back.len(), "{scene}");
        let last = there.last().map(|stop| &stop.name);
        assert_eq!(back.first().map(|stop| &stop.name), last, "{scene}");
    }
}

/// Strokes in the colour of the focus that can be seen within `place`.
fn marks(window: &kit::Window, place: Rect) -> usize {
    let accent = Theme::of(Look::Dark).colours.accent;
    let shapes = &window.output().shapes;
    shapes.iter().map(|clipped| strokes(&clipped.shape, accent, clipped.clip_rect.intersect(place))).sum()
}

fn strokes(shape: &Shape, colour: Color32, place: Rect) -> usize {
    let stroke = match shape {
        Shape::Vec(shapes) => return shapes.iter().map(|shape| strokes(shape, colour, place)).sum(),
        Shape::Rect(rect) => rect.stroke,
        Shape::Circle(circle) => circle.stroke,
        _ => return 0,
    };
    let seen = place.is_positive() && place.intersects(shape.visual_bounding_rect());
    usize::from(seen && stroke.color == colour && stroke.width > 0.0)
}

#[test]
fn what_has_the_focus_is_in_view_and_marked() {
    let mut faults = Vec::new();
    for scene in ROOMS.iter().chain(SHEETS) {
        // The small window, where cards scroll.
        let (_root, mut window) = window_of(scene, kit::SIZES[1]);
        let first = tab(&mut window, Modifiers::NONE).unwrap_or_else(|| panic!("{scene}: Tab reaches nothing"));
        let mut stop = first.clone();
        for _ in 0..MOST {
            let with = marks(&window, stop.place.expand(10.0));
            let id = window.ctx.memory(|memory| memory.focused()).expect("a widget has the focus");
            window.ctx.memory_mut(|memory| memory.surrender_focus(id));
            window.run();
            let without = marks(&window, stop.place.expand(10.0));
            // Some take the keyboard whenever nobody has it.
            let insists = window.ctx.memory(|memory| memory.focused()) == Some(id);
            let others = if insists { 0 } else { without };
            if with <= others {
                faults.push(format!("{scene}: {} at {:?}", stop.name, stop.place));
            }
            window.ctx.memory_mut(|memory| memory.request_focus(id));
            window.run();
            let Some(next) = tab(&mut window, Modifiers::NONE) else { break };
            if next.node == first.node {
                break;
            }
            stop = next;
        }
    }
    assert!(faults.is_empty(), "{} stops are not seen:\n{}", faults.len(), faults.join("\n"));
}
