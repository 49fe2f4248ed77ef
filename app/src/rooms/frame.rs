//! The frame: top bar, rail, status bar, and the room between them.

use super::{PanelCtx, compare, export, home, setup, status, watch};
use crate::commands::{self, Id, UiCommand};
use crate::format;
use crate::state::settings::ThemeChoice;
use crate::state::{Room, Sheet};
use crate::theme::{Icon, Look, Type, icons};
use crate::widgets::button::{Button, Weight, focus_ring};
use crate::widgets::problem::{self, Way};
use crate::widgets::text;
use egui::{Align, Popup, Rect, Role, Sense, Stroke, StrokeKind, Ui, UiBuilder, WidgetInfo, pos2, vec2};
use temper_protocol::Event;

const TOP: f32 = 40.0;
const STATUS: f32 = 32.0;
const GAP: f32 = 8.0;
/// Below this width the small layout is used.
pub const COMPACT_WIDTH: f32 = 1180.0;

fn rail_width(compact: bool) -> f32 {
    if compact { 48.0 } else { 72.0 }
}

/// The rectangle of the room in a window of `rect`.
#[must_use]
pub fn room_rect(rect: Rect, compact: bool) -> Rect {
    Rect::from_min_max(rect.min + vec2(rail_width(compact) + GAP, TOP + GAP), rect.max - vec2(GAP, STATUS + GAP))
}

/// Shows everything.
pub fn window_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    let rect = ui.max_rect();
    let c = cx.c();
    ui.painter().rect_filled(rect, 0.0, c.window);
    part(ui, "top bar", Rect::from_min_size(rect.min, vec2(rect.width(), TOP)), |ui, rect| top_bar(cx, ui, rect));
    let rail = Rect::from_min_max(
        pos2(rect.left(), rect.top() + TOP),
        pos2(rect.left() + rail_width(cx.compact), rect.bottom() - STATUS),
    );
    part(ui, "rail", rail, |ui, rect| rail_ui(cx, ui, rect));
    let mut room = room_rect(rect, cx.compact);
    if cx.state.drop.hovering {
        part(ui, "room", room, |ui, rect| crate::overlays::drop::drop_ui(cx, ui, rect));
    } else if !cx.state.sheet.as_ref().is_some_and(Sheet::covers_room) {
        let of_engine = cx.state.engine.problem.as_ref().filter(|_| !watch::trouble::tells_of_engine(cx.state));
        if let Some(problem) = of_engine.or(cx.state.runs.problem.as_ref()) {
            let height = problem::wide_height(ui, room.width(), problem, "", ways_out(cx).len());
            let band = Rect::from_min_size(room.min, vec2(room.width(), height));
            part(ui, "problem", band, |ui, rect| engine_problem(cx, ui, rect, problem));
            room.set_top(band.bottom() + GAP);
        }
        part(ui, "room", room, |ui, rect| match cx.state.room {
            Room::Home => home::home_ui(cx, ui, rect),
            Room::Setup => setup::setup_ui(cx, ui, rect),
            Room::Watch => watch::watch_ui(cx, ui, rect),
            Room::Compare => compare::compare_ui(cx, ui, rect),
            Room::Export => export::export_ui(cx, ui, rect),
        });
    }
    let bar = Rect::from_min_max(pos2(rect.left(), rect.bottom() - STATUS), rect.max);
    part(ui, "status bar", bar, |ui, rect| status::status_ui(cx, ui, rect));
}

/// A part of the window with ids of its own, clipped to its rectangle.
pub fn part(ui: &mut Ui, name: &str, rect: Rect, content: impl FnOnce(&mut Ui, Rect)) {
    let builder = UiBuilder::new().id_salt(name).max_rect(rect);
    ui.scope_builder(builder, |ui| {
        ui.set_clip_rect(rect.intersect(ui.clip_rect()));
        content(ui, rect);
    });
}

/// Ways out of a problem of the engine or the store.
fn ways_out(cx: &PanelCtx<'_>) -> Vec<Way<'static>> {
    let mut ways = Vec::new();
    let repair = commands::entry(Id::Repair);
    if repair.enabled(cx.state) {
        ways.push(Way {
            label: repair.name.get().into(),
            price: repair.help.get().into(),
            primary: true,
            command: UiCommand::Repair,
        });
    }
    // A store that cannot be read stays a problem until it can.
    if cx.state.engine.problem.is_some() {
        let price = t!("frame-note-closes").into();
        ways.push(Way { label: t!("frame-dismiss").into(), price, primary: false, command: UiCommand::ForgetProblem });
    }
    ways
}

fn engine_problem(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, problem: &temper_protocol::Problem) {
    let ways = ways_out(cx);
    let title = crate::reader::words::sentence_case(&problem.what);
    problem::wide(ui, cx.theme, rect, &title, problem, "", &ways, false, cx.out);
}

fn divider(ui: &Ui, cx: &PanelCtx<'_>, x: f32, rect: Rect) {
    ui.painter().vline(x + 0.5, rect.center().y - 8.0..=rect.center().y + 8.0, Stroke::new(1.0, cx.c().line2));
}

fn top_bar(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    ui.painter().rect_filled(rect, 0.0, c.panel);
    ui.painter().hline(rect.left()..=rect.right(), rect.bottom() - 0.5, Stroke::new(1.0, c.line));
    // The mark: a curve falling in three bars.
    for (index, height) in [14.0, 9.0, 5.0].into_iter().enumerate() {
        let left = rect.left() + 16.0 + index as f32 * 6.0;
        let bar = Rect::from_min_size(pos2(left, rect.center().y + 7.0 - height), vec2(4.0, height));
        ui.painter().rect_filled(bar, 0.0, c.text);
    }
    let name = Rect::from_min_size(pos2(rect.left() + 40.0, rect.top()), vec2(54.0, rect.height()));
    text::line(ui, name, Align::Min, "temper", Type::Card, c.text);
    divider(ui, cx, rect.left() + 100.0, rect);
    project_menu(cx, ui, rect);
    search(cx, ui, rect);
    machine(cx, ui, rect);
}

fn project_menu(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let draft = &cx.state.draft;
    let name = match (&draft.folder, draft.open) {
        _ if !draft.project.name.is_empty() => draft.project.name.clone(),
        (Some(folder), _) => format::file_name(&folder.display().to_string()).to_owned(),
        (None, true) => t!("frame-new-project").to_owned(),
        (None, false) => t!("frame-no-project").to_owned(),
    };
    let limit = if cx.compact { 150.0 } else { 240.0 };
    let shown = text::width(ui, &name, Type::Medium).min(limit);
    let place = Rect::from_min_size(pos2(rect.left() + 106.0, rect.top() + 6.0), vec2(shown + 56.0, 28.0));
    let response = ui.allocate_rect(place, Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, t!("frame-project", name = name)));
    if response.hovered() {
        ui.painter().rect_filled(place, 4.0, c.hover);
    }
    if response.has_focus() {
        focus_ring(ui, cx.theme, place, 4.0);
    }
    text::icon(ui.painter(), pos2(place.left() + 14.0, place.center().y), icons::FOLDER_OPEN, 16.0, c.text2);
    let words = Rect::from_min_size(pos2(place.left() + 28.0, place.top()), vec2(shown + 1.0, 28.0));
    text::data(ui, words, Align::Min, &name, Type::Medium, c.text);
    text::icon(ui.painter(), pos2(place.right() - 12.0, place.center().y), icons::CARET_DOWN, 12.0, c.text2);
    let tip =
        draft.folder.as_ref().map_or_else(|| t!("frame-project-tip").to_owned(), |folder| folder.display().to_string());
    let response = response.on_hover_text(tip);
    Popup::menu(&response).width(280.0).show(|ui| {
        for id in [Id::NewProject, Id::ChooseFolder, Id::ChooseFiles, Id::EnterPath, Id::OpenExample] {
            menu_entry(cx, ui, id);
        }
        menu_line(cx, ui);
        for id in [Id::ShowProjectFile, Id::ShowFolder, Id::DuplicateProject, Id::MoveProject] {
            menu_entry(cx, ui, id);
        }
        let others = cx.state.settings.recents.iter().filter(|recent| draft.folder.as_ref() != Some(&recent.path));
        let others: Vec<_> = others.take(5).collect();
        if !others.is_empty() {
            menu_line(cx, ui);
        }
        for recent in others {
            let path = recent.path.display().to_string();
            if menu_row(cx, ui, icons::CLOCK_COUNTER_CLOCKWISE, (&recent.name, &path), None, true) {
                cx.send(UiCommand::OpenProject(recent.path.clone()));
            }
        }
        menu_line(cx, ui);
        menu_entry(cx, ui, Id::Quit);
    });
}

fn menu_line(cx: &PanelCtx<'_>, ui: &mut Ui) {
    let (line, _) = ui.allocate_exact_size(vec2(280.0, 9.0), Sense::hover());
    ui.painter().hline(line.left() + 4.0..=line.right() - 4.0, line.center().y, Stroke::new(1.0, cx.c().line2));
}

fn menu_entry(cx: &PanelCtx<'_>, ui: &mut Ui, id: Id) {
    let entry = commands::entry(id);
    let hindrance = (entry.hindrance)(cx.state);
    let tip = hindrance.unwrap_or_else(|| entry.help.get());
    let words = (entry.name.get(), tip);
    if menu_row(cx, ui, entry.icon, words, entry.keys(ui.ctx()), hindrance.is_none()) {
        cx.send((entry.make)(cx.state));
    }
}

/// A row of a menu: its icon, its words and their explanation, its keys; gives whether it was chosen.
fn menu_row(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    icon: Icon,
    (name, tip): (&str, &str),
    keys: Option<String>,
    enabled: bool,
) -> bool {
    let c = cx.c();
    let sense = if enabled { Sense::click() } else { Sense::hover() };
    let (row, response) = ui.allocate_exact_size(vec2(280.0, 28.0), sense);
    response.widget_info(|| WidgetInfo::labeled(Role::MenuItem, enabled, name));
    if enabled && (response.hovered() || response.has_focus()) {
        ui.painter().rect_filled(row, 4.0, c.hover);
    }
    let colour = if enabled { c.text } else { c.text3 };
    text::icon(
        ui.painter(),
        pos2(row.left() + 18.0, row.center().y),
        icon,
        16.0,
        if enabled { c.text2 } else { c.text3 },
    );
    let right = row.right() - 12.0 - keys.as_ref().map_or(0.0, |keys| text::width(ui, keys, Type::MonoCaption) + 8.0);
    let words = Rect::from_min_max(pos2(row.left() + 34.0, row.top()), pos2(right, row.bottom()));
    text::data(ui, words, Align::Min, name, Type::Body, colour);
    if let Some(keys) = keys {
        let place = row.with_max_x(row.right() - 12.0);
        text::paint(ui.painter(), place, Align::Max, &keys, Type::MonoCaption, c.text3);
    }
    let clicked = response.on_hover_text(tip).clicked();
    if clicked {
        ui.close();
    }
    clicked
}

fn search(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let width = if cx.compact { 240.0 } else { 400.0 };
    let place = Rect::from_center_size(rect.center(), vec2(width, 26.0));
    let response = ui.allocate_rect(place, Sense::click());
    let entry = commands::entry(Id::Palette);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, entry.name.get()));
    let fill = if response.hovered() { c.raised } else { c.panel };
    ui.painter().rect(place, 4.0, fill, Stroke::new(1.0, c.ctl), StrokeKind::Inside);
    if response.has_focus() {
        focus_ring(ui, cx.theme, place, 4.0);
    }
    text::icon(ui.painter(), pos2(place.left() + 17.0, place.center().y), icons::MAGNIFYING_GLASS, 16.0, c.text2);
    text::paint(ui.painter(), place.with_min_x(place.left() + 30.0), Align::Min, entry.name.get(), Type::Body, c.text3);
    if let Some(keys) = entry.keys(ui.ctx()) {
        let cap_width = text::width(ui, &keys, Type::MonoCaption) + 10.0;
        let cap = Rect::from_min_size(pos2(place.right() - 5.0 - cap_width, place.top() + 4.0), vec2(cap_width, 18.0));
        ui.painter().rect(cap, 3.0, c.raised, Stroke::new(1.0, c.line2), StrokeKind::Inside);
        text::paint(ui.painter(), cap, Align::Center, &keys, Type::MonoCaption, c.text2);
    }
    if response.on_hover_text(entry.help.get()).clicked() {
        cx.send(UiCommand::OpenPalette);
    }
}

/// Offline, device and theme, from the right.
fn machine(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let theme = Rect::from_min_size(pos2(rect.right() - 40.0, rect.top() + 6.0), vec2(28.0, 28.0));
    let (icon, name, next) = match cx.state.look() {
        Look::Dark => (icons::MOON, t!("frame-to-light"), ThemeChoice::Light),
        Look::Light => (icons::SUN, t!("frame-to-contrast"), ThemeChoice::Contrast),
        Look::Contrast => (icons::EYE, t!("frame-to-dark"), ThemeChoice::Dark),
    };
    if Button::icon_only(icon, name).show(ui, cx.theme, theme).clicked() {
        cx.send(UiCommand::Theme(next));
    }
    divider(ui, cx, theme.left() - 6.0, rect);
    let (device, tip) = device_words(cx);
    let left = fact(cx, ui, rect, theme.left() - 12.0, icons::CPU, &device, &tip);
    divider(ui, cx, left - 10.0, rect);
    let words = t!("frame-offline-tip");
    fact(cx, ui, rect, left - 20.0, icons::WIFI_SLASH, t!("frame-offline"), words);
}

/// Icon and words that end at `right`; gives their left edge.
fn fact(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, right: f32, icon: Icon, words: &str, tip: &str) -> f32 {
    let width = text::width(ui, words, Type::Body);
    let place = Rect::from_min_max(pos2(right - width, rect.top()), pos2(right, rect.bottom()));
    text::line(ui, place, Align::Min, words, Type::Body, cx.c().text2).on_hover_text(tip);
    text::icon(ui.painter(), pos2(place.left() - 15.0, rect.center().y), icon, 16.0, cx.c().text2);
    place.left() - 23.0
}

/// The device in two words, and the rest for the tooltip.
fn device_words(cx: &PanelCtx<'_>) -> (String, String) {
    match cx.state.device() {
        Some(Event::Device { kind, name, note, threads, .. }) => {
            let kind = format::device_kind(kind);
            let words = if *threads > 0 {
                t!("frame-device-threads", kind = kind, n = threads, threads = threads)
            } else {
                kind
            };
            (words, format!("{name}. {}", format::figures(note)))
        }
        _ => (t!("frame-device-unknown").to_owned(), t!("frame-device-unknown-tip").to_owned()),
    }
}

fn rail_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    ui.painter().rect_filled(rect, 0.0, c.panel);
    ui.painter().vline(rect.right() - 0.5, rect.top()..=rect.bottom(), Stroke::new(1.0, c.line));
    let glyphs = [icons::HOUSE, icons::SLIDERS_HORIZONTAL, icons::CHART_LINE, icons::SCALES, icons::EXPORT];
    let ids = [Id::GoHome, Id::GoSetup, Id::GoWatch, Id::GoCompare, Id::GoExport];
    for (index, room) in Room::ALL.into_iter().enumerate() {
        let top = rect.top() + 8.0 + index as f32 * 56.0;
        let place = Rect::from_min_size(pos2(rect.left() + 4.0, top), vec2(rect.width() - 8.0, 52.0));
        let response = rail_entry(cx, ui, place, glyphs[index], room.name(), cx.state.room == room);
        let live = room == Room::Watch && cx.state.is_training();
        if live {
            let dot = pos2(place.center().x + 14.0, place.top() + if cx.compact { 16.0 } else { 12.0 });
            ui.painter().circle_filled(dot, 3.5, c.accent);
        }
        let entry = commands::entry(ids[index]);
        let keys = entry.keys(ui.ctx()).unwrap_or_default();
        let live_words = if live { t!("frame-live") } else { "" };
        if response.on_hover_text(format!("{} ({keys}): {}{live_words}", room.name(), entry.help.get())).clicked() {
            cx.send((entry.make)(cx.state));
        }
    }
    let help = Rect::from_center_size(pos2(rect.center().x, rect.bottom() - 24.0), vec2(36.0, 36.0));
    let entry = commands::entry(Id::Help);
    let open = cx.state.sheet == Some(Sheet::Help);
    let button = Button::icon_only(icons::QUESTION, entry.name.get()).keys(entry.keys(ui.ctx())).selected(open);
    if button.weight(Weight::Quiet).show(ui, cx.theme, help).clicked() {
        cx.send(UiCommand::OpenHelp);
    }
}

fn rail_entry(cx: &PanelCtx<'_>, ui: &mut Ui, place: Rect, icon: Icon, name: &str, chosen: bool) -> egui::Response {
    let c = cx.c();
    let response = ui.allocate_rect(place, Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Tab, true, chosen, name));
    if chosen {
        ui.painter().rect_filled(place, 6.0, c.raised);
        let bar = Rect::from_min_max(pos2(place.left() - 4.0, place.top()), pos2(place.left() - 1.0, place.bottom()));
        ui.painter().rect_filled(bar, 0.0, c.accent);
    } else if response.hovered() {
        ui.painter().rect_filled(place, 6.0, c.hover);
    }
    if response.has_focus() {
        focus_ring(ui, cx.theme, place.shrink(2.0), 6.0);
    }
    let colour = if chosen { c.text } else { c.text2 };
    if cx.compact {
        text::icon(ui.painter(), place.center(), icon, 20.0, colour);
    } else {
        text::icon(ui.painter(), pos2(place.center().x, place.top() + 18.0), icon, 20.0, colour);
        let words = Rect::from_min_max(pos2(place.left(), place.top() + 30.0), place.max);
        let kind = if chosen { Type::Strong } else { Type::Body };
        text::paint(ui.painter(), words.with_max_y(words.top() + 20.0), Align::Center, name, kind, colour);
    }
    response
}
