//! What the columns of the data are for: each column as a chip, each role as a slot. A chip is dragged onto a slot; without
//! a pointer, each slot is a list of the columns.

use super::section;
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::PanelCtx;
use crate::state::columns::Columns;
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::rows::Rows;
use crate::widgets::{Button, choice, text};
use egui::{
    Align, CursorIcon, DragAndDrop, Id, LayerId, Order, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2,
    vec2,
};
use temper_protocol::data::{ColumnInfo, RoleInfo};

const CHIP: f32 = 22.0;
const SLOT: f32 = 26.0;
/// Share of a slot's width for the name of its role.
const NAME: f32 = 0.42;

/// The name of a column that is being dragged.
struct Dragged(String);

/// Shows the columns, the form of the rows and its roles; nothing while the columns are not known.
pub(super) fn columns_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let Some(columns) = cx.state.setup.columns.as_ref().filter(|columns| columns.belong_to(&cx.state.draft)) else {
        return;
    };
    section(cx, ui, lines.next(24.0), t!("data-columns"), t!("data-columns-note"));
    for column in &columns.found.columns {
        chip_ui(cx, ui, lines.next(CHIP + 2.0), column);
    }
    lines.gap(4.0);
    form_ui(cx, ui, lines.next(SLOT), columns);
    let data = &cx.state.draft.project.data;
    let Some(form) = columns.form(data) else {
        let top = pos2(lines.area.left(), lines.y + 2.0);
        let words = t!("data-form-unclear");
        lines.y += text::block(ui, top, lines.area.width(), words, Type::Body, cx.c().warn) + 6.0;
        return;
    };
    let all = cx.state.setup.all_roles;
    let shown = |role: &&RoleInfo| all || role.needed || columns.column_of(data, &role.role).is_some();
    for role in form.roles.iter().filter(shown) {
        slot_ui(cx, ui, lines.next(SLOT), columns, role);
    }
    let hidden = form.roles.iter().filter(|role| !shown(role)).count();
    if hidden > 0 || all {
        let label = if all { t!("data-roles-fewer") } else { t!("data-roles-more") };
        let button = Button::new(label).weight(Weight::Link).tooltip(t!("data-roles-more-tip"));
        let row = lines.next(22.0);
        let place = Rect::from_min_size(pos2(row.left(), row.top() + 1.0), vec2(button.width(ui), 20.0));
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(UiCommand::AllRoles(!all));
        }
    }
    lines.gap(2.0);
}

/// What the values of a column are, in words.
fn kind_words(kind: &str) -> &'static str {
    match kind {
        "text" => t!("data-kind-text"),
        "number" => t!("data-kind-number"),
        "flag" => t!("data-kind-flag"),
        "turns" => t!("data-kind-turns"),
        "list" => t!("data-kind-list"),
        "object" => t!("data-kind-object"),
        "empty" => t!("data-kind-empty"),
        _ => t!("data-kind-mixed"),
    }
}

/// A column: its name, what its values are, and one of them. It is dragged; the keyboard has the lists of the slots.
fn chip_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, column: &ColumnInfo) {
    let c = cx.c();
    let place = Rect::from_min_size(row.min + vec2(0.0, 1.0), vec2(row.width(), CHIP));
    let response = ui.allocate_rect(place, Sense::DRAG);
    response.dnd_set_drag_payload(Dragged(column.name.clone()));
    let kind = kind_words(&column.kind);
    let mut said = t!("data-column-said", column = column.name, kind = kind);
    if !column.example.is_empty() {
        said = format!("{said}: {}", column.example);
    }
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &said));
    let fill = if response.hovered() { c.hover } else { c.raised };
    ui.painter().rect(place, 4.0, fill, Stroke::new(1.0, c.line2), StrokeKind::Inside);
    if response.dragged()
        && let Some(at) = ui.input(|input| input.pointer.interact_pos())
    {
        carried(cx, ui, at, &column.name);
    }
    response.on_hover_text(said);
    let inner = place.shrink2(vec2(8.0, 0.0));
    let name = inner.with_max_x(inner.left() + inner.width() * 0.36);
    let kind_place =
        Rect::from_min_max(pos2(name.right() + 6.0, inner.top()), pos2(name.right() + 56.0, inner.bottom()));
    let example = inner.with_min_x(kind_place.right() + 6.0);
    text::data(ui, name, Align::Min, &column.name, Type::Mono, c.text);
    text::data(ui, kind_place, Align::Min, kind, Type::Caption, c.text2);
    text::data(ui, example, Align::Min, &column.example, Type::Caption, c.text3);
}

/// The chip under the pointer while it is carried.
fn carried(cx: &PanelCtx<'_>, ui: &Ui, at: egui::Pos2, name: &str) {
    let c = cx.c();
    let painter = ui.ctx().layer_painter(LayerId::new(Order::Tooltip, Id::unique("carried column")));
    let width = text::width(ui, name, Type::Mono) + 16.0;
    let place = Rect::from_min_size(at + vec2(10.0, 4.0), vec2(width, CHIP));
    painter.rect(place, 4.0, c.accent_bg, Stroke::new(1.0, c.accent), StrokeKind::Inside);
    text::paint(&painter, place.shrink2(vec2(8.0, 0.0)), Align::Min, name, Type::Mono, c.text);
    ui.ctx().set_cursor_icon(CursorIcon::Grabbing);
}

/// The list of forms that rows may have.
fn form_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, columns: &Columns) {
    let data = &cx.state.draft.project.data;
    let pick = row.shrink2(vec2(0.0, 2.0));
    let forms = columns.found.forms.iter();
    let schemas: Vec<&str> = std::iter::once("auto").chain(forms.map(|form| form.schema.as_str())).collect();
    let words = |schema: &&str| match *schema {
        // Two forms are called the same elsewhere, where only one of them is meant.
        "raw-completion" => t!("data-form-raw").to_owned(),
        "segments" => t!("data-form-segments").to_owned(),
        "table" => t!("data-form-table").to_owned(),
        "auto" => match columns.found.schema.as_str() {
            "" => t!("data-form-auto").to_owned(),
            found if data.schema == "auto" => t!("data-form-found", form = format::schema_words(found)),
            _ => t!("data-form-auto").to_owned(),
        },
        other => format::schema_words(other),
    };
    let choices: Vec<String> = schemas.iter().map(words).collect();
    let chosen = schemas.iter().position(|schema| *schema == data.schema);
    if let Some(index) = choice::select(ui, cx.theme, pick, t!("data-form-name"), &choices, chosen)
        && let Some(schema) = schemas.get(index)
    {
        let new = columns.read_as(data, schema);
        cx.edit("data.schema", |project| project.data = new);
    }
}

/// A role and the column it has: a place to drop a chip, and a list of the columns.
fn slot_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, columns: &Columns, role: &RoleInfo) {
    let c = cx.c();
    let data = &cx.state.draft.project.data;
    let now = columns.column_of(data, &role.role);
    let missing = role.needed && now.is_none();
    let name = row.with_max_x(row.left() + row.width() * NAME - 22.0);
    text::data(ui, name, Align::Min, &role.role, Type::Mono, if missing { c.warn } else { c.text });
    let arrow = pos2(row.left() + row.width() * NAME - 11.0, row.center().y);
    text::icon(ui.painter(), arrow, icons::CARET_LEFT, 14.0, if missing { c.warn } else { c.text2 });
    let pick = Rect::from_min_max(pos2(row.left() + row.width() * NAME, row.top() + 2.0), row.max - vec2(0.0, 2.0));
    let none = if role.needed { t!("data-slot-missing") } else { t!("data-slot-none") };
    let names = columns.found.columns.iter().map(|column| column.name.clone());
    let choices: Vec<String> = std::iter::once(none.to_owned()).chain(names).collect();
    let place = now.and_then(|now| columns.found.columns.iter().position(|column| column.name == now));
    let chosen = place.map_or(0, |place| place + 1);
    let said = t!("data-slot", role = role.role);
    let picked = choice::select(ui, cx.theme, pick, &said, &choices, Some(chosen));
    let mut wanted = picked.map(|index| index.checked_sub(1).and_then(|place| columns.found.columns.get(place)));
    let carried = DragAndDrop::payload::<Dragged>(ui.ctx());
    if let Some(carried) = carried {
        let over = ui.rect_contains_pointer(row);
        let border = if over { Stroke::new(cx.theme.focus_width, c.accent) } else { Stroke::new(1.0, c.accent) };
        ui.painter().rect_stroke(pick, 4.0, border, StrokeKind::Inside);
        if over && ui.input(|input| input.pointer.any_released()) {
            DragAndDrop::clear_payload(ui.ctx());
            wanted = columns.found.columns.iter().find(|column| column.name == carried.0).map(Some);
        }
    }
    if let Some(column) = wanted
        && column.map(|column| column.name.as_str()) != now
    {
        let new = columns.assigned(data, &role.role, column.map(|column| column.name.as_str()));
        // Each move is taken back by itself, also when the same role is filled twice in a row.
        cx.edit("", |project| project.data = new);
    }
}
