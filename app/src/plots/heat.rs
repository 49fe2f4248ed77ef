//! A heat map of modules, or of experts, by layers: one mesh, a cell can be pointed at, clicked, and walked with arrows.

use crate::theme::{Theme, Type};
use crate::widgets::button::focus_ring;
use crate::widgets::text;
use egui::{
    Align, EventFilter, Id, Key, Mesh, Pos2, Rect, Role, Sense, Shape, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

/// What to draw.
pub struct Heat<'a> {
    /// Its name, which stays the same while values change.
    pub name: &'a str,
    /// What it shows in a sentence, for screen readers.
    pub sentence: &'a str,
    /// Row names.
    pub rows: &'a [String],
    /// Column numbers.
    pub columns: &'a [u64],
    /// Share of the scale, by row and column; nothing where nothing was measured.
    pub share: &'a dyn Fn(usize, usize) -> Option<f32>,
    /// Words about a cell: module, layer, value.
    pub words: &'a dyn Fn(usize, usize) -> String,
    /// The chosen cell.
    pub chosen: Option<(usize, usize)>,
}

/// Draws the map in `rect`, row names to its left and column numbers below; gives the cell chosen now.
pub fn show(ui: &mut Ui, theme: &Theme, rect: Rect, heat: &Heat<'_>) -> Option<(usize, usize)> {
    let c = &theme.colours;
    let (lines, columns) = (heat.rows.len(), heat.columns.len());
    if lines == 0 || columns == 0 {
        return None;
    }
    let edge =
        |index: usize, count: usize, from: f32, length: f32| (from + length * index as f32 / count as f32).round();
    let cell = |line: usize, column: usize| {
        let left = edge(column, columns, rect.left(), rect.width());
        let right = edge(column + 1, columns, rect.left(), rect.width());
        let top = edge(line, lines, rect.top(), rect.height());
        let bottom = edge(line + 1, lines, rect.top(), rect.height());
        Rect::from_min_max(pos2(left, top), pos2((right - 1.0).max(left + 1.0), (bottom - 1.0).max(top + 1.0)))
    };
    let mut mesh = Mesh::default();
    mesh.reserve_vertices(4 * lines * columns);
    mesh.reserve_triangles(2 * lines * columns);
    let mut missing = Vec::new();
    for line in 0..lines {
        for column in 0..columns {
            let place = cell(line, column);
            match (heat.share)(line, column) {
                Some(share) => mesh.add_colored_rect(place, theme.heat(share)),
                None => missing.push(place),
            }
        }
    }
    ui.painter().add(Shape::mesh(mesh));
    for place in missing {
        ui.painter().rect_filled(place, 0.0, c.raised);
        ui.painter().line_segment([place.left_bottom(), place.right_top()], Stroke::new(1.0, c.text3));
    }
    for (line, name) in heat.rows.iter().enumerate() {
        let place = cell(line, 0);
        let label = Rect::from_min_max(pos2(rect.left() - 60.0, place.top()), pos2(rect.left() - 6.0, place.bottom()));
        let colour = if heat.chosen.is_some_and(|(chosen, _)| chosen == line) { c.text } else { c.text3 };
        text::paint(ui.painter(), label, Align::Max, name, Type::MonoCaption, colour);
    }
    let stride = columns.div_ceil(7).max(1);
    for (column, number) in heat.columns.iter().enumerate() {
        let last = column + 1 == columns;
        if (column.is_multiple_of(stride) && column + stride / 2 < columns) || last {
            let place = cell(lines - 1, column);
            let label = Rect::from_center_size(pos2(place.center().x, rect.bottom() + 10.0), vec2(24.0, 14.0));
            text::paint(ui.painter(), label, Align::Center, &number.to_string(), Type::MonoCaption, c.text3);
        }
    }
    let held = heat.chosen.filter(|(line, column)| *line < lines && *column < columns).unwrap_or((0, 0));
    let place = cell(held.0, held.1);
    let by_key = keyboard(ui, theme, place, heat, held, (lines, columns));
    let picked = pointer(ui, rect, heat, (lines, columns)).or(by_key);
    if heat.chosen == Some(held) {
        let frame = place.expand(2.0);
        ui.painter().rect_stroke(frame, 2.0, Stroke::new(2.0, c.cell_frame), StrokeKind::Middle);
    }
    picked
}

/// The cell that has the keyboard: one stop of the Tab key for the whole map, moved by arrows, Home and End.
fn keyboard_id(ui: &Ui, name: &str) -> Id {
    Id::unique(("heat cell", ui.scope_id(), name))
}

fn keyboard(
    ui: &Ui,
    theme: &Theme,
    place: Rect,
    heat: &Heat<'_>,
    held: (usize, usize),
    (lines, columns): (usize, usize),
) -> Option<(usize, usize)> {
    // Only focus is sensed here: clicks are those of the map under it.
    let response = ui.interact(place, keyboard_id(ui, heat.name), Sense::FOCUSABLE);
    response.widget_info(|| WidgetInfo::labeled(Role::GridCell, true, (heat.words)(held.0, held.1)));
    if !response.has_focus() {
        return None;
    }
    let filter = EventFilter { horizontal_arrows: true, vertical_arrows: true, ..EventFilter::default() };
    ui.memory_mut(|memory| memory.set_focus_lock_filter(response.id, filter));
    focus_ring(ui, theme, place.expand(3.0), 3.0);
    let presses = |key| ui.input(|input| input.num_presses(key));
    let measured = |cell: &(usize, usize)| (heat.share)(cell.0, cell.1).is_some();
    let mut at = held;
    // Each press goes to the next cell with a value; where there is none the walk stays.
    for _ in 0..presses(Key::ArrowLeft) {
        at = (0..at.1).rev().map(|column| (at.0, column)).find(measured).unwrap_or(at);
    }
    for _ in 0..presses(Key::ArrowRight) {
        at = (at.1 + 1..columns).map(|column| (at.0, column)).find(measured).unwrap_or(at);
    }
    for _ in 0..presses(Key::ArrowUp) {
        at = (0..at.0).rev().map(|line| (line, at.1)).find(measured).unwrap_or(at);
    }
    for _ in 0..presses(Key::ArrowDown) {
        at = (at.0 + 1..lines).map(|line| (line, at.1)).find(measured).unwrap_or(at);
    }
    if presses(Key::Home) > 0 {
        at = (0..columns).map(|column| (at.0, column)).find(measured).unwrap_or(at);
    }
    if presses(Key::End) > 0 {
        at = (0..columns).rev().map(|column| (at.0, column)).find(measured).unwrap_or(at);
    }
    (at != held).then_some(at)
}

fn pointer(ui: &mut Ui, rect: Rect, heat: &Heat<'_>, (lines, columns): (usize, usize)) -> Option<(usize, usize)> {
    let response = ui.allocate_rect(rect, Sense::CLICK);
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, heat.sentence));
    let cell_at = |pointer: Pos2| {
        let share = |value: f32, from: f32, length: f32| ((value - from) / length).clamp(0.0, 0.999_9);
        let line = (share(pointer.y, rect.top(), rect.height()) * lines as f32) as usize;
        let column = (share(pointer.x, rect.left(), rect.width()) * columns as f32) as usize;
        (line.min(lines - 1), column.min(columns - 1))
    };
    let mut picked = None;
    if response.clicked()
        && let Some(pointer) = response.interact_pointer_pos()
    {
        picked = Some(cell_at(pointer));
        let id = keyboard_id(ui, heat.name);
        ui.memory_mut(|memory| memory.request_focus(id));
    }
    if let Some(pointer) = response.hover_pos() {
        let (line, column) = cell_at(pointer);
        let words = (heat.words)(line, column);
        response.on_hover_text_at_pointer(words);
    }
    picked
}

/// The colour scale beside a heat map, from low to high upwards.
pub fn scale(ui: &Ui, theme: &Theme, rect: Rect) {
    let mut mesh = Mesh::default();
    let parts = 24;
    for part in 0..parts {
        let share = (part as f32 + 0.5) / parts as f32;
        let bottom = rect.bottom() - rect.height() * part as f32 / parts as f32;
        let top = rect.bottom() - rect.height() * (part + 1) as f32 / parts as f32;
        mesh.add_colored_rect(
            Rect::from_min_max(pos2(rect.left(), top), pos2(rect.right(), bottom)),
            theme.heat(share),
        );
    }
    ui.painter().add(Shape::mesh(mesh));
}
