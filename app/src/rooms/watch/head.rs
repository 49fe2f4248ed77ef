//! Head of the room: which run, its state, its own settings, and the controls.

use crate::commands::{Id, UiCommand};
use crate::format;
use crate::reader::{RunView, words};
use crate::rooms::PanelCtx;
use crate::state::{Room, State};
use crate::theme::{Icon, Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::text::{self, Piece};
use crate::widgets::{Button, bar, choice};
use egui::{Color32, Rect, Ui, pos2, vec2};
use temper_protocol::Act;
use temper_store::RunRow;

/// From this width of the room there is a place for what is in the palette otherwise.
const ROOMY: f32 = 1280.0;

/// State of a run: icon, word, colour and area.
#[must_use]
pub fn state_of(cx: &PanelCtx<'_>, view: &RunView) -> (Option<Icon>, String, Color32, Color32) {
    let c = cx.c();
    let row = &view.row;
    if cx.state.is_interrupted(row) {
        return (Some(icons::X_CIRCLE), t!("words-interrupted").to_owned(), c.err, c.err_bg);
    }
    if let Some(wish) = cx.state.watch.wish.filter(|_| row.is_active()) {
        let word = match wish {
            Act::Pause => t!("watch-pausing"),
            Act::Resume => t!("watch-going-on"),
            Act::Stop => t!("watch-stopping"),
            Act::Cancel => t!("watch-cancelling"),
            Act::SaveNow => t!("watch-saving"),
            Act::SampleNow => t!("watch-asking"),
            Act::Sooner | Act::Later => t!("watch-moving"),
        };
        return (Some(icons::DOTS_THREE), word.to_owned(), c.info, c.info_bg);
    }
    match cx.state.status_of(row) {
        "running" => (Some(icons::CIRCLE_FILL), t!("watch-live").to_owned(), c.accent, c.accent_bg),
        status @ ("queued" | "preparing") => {
            (Some(icons::DOTS_THREE), words::status(status).to_owned(), c.info, c.info_bg)
        }
        "paused" => (Some(icons::PAUSE), t!("words-paused").to_owned(), c.warn, c.warn_bg),
        "finished" => (Some(icons::CHECK_CIRCLE), t!("words-finished").to_owned(), c.ok, c.ok_bg),
        "stopped" => (Some(icons::STOP), t!("watch-stopped-kept", step = format::count(row.steps)), c.ok, c.ok_bg),
        "failed" => (Some(icons::X_CIRCLE), t!("watch-stopped-at", step = format::count(row.steps)), c.err, c.err_bg),
        other => (Some(icons::PROHIBIT), words::status(other).to_owned(), c.text2, c.raised),
    }
}

/// State of any run in one word.
#[must_use]
pub fn word_of<'a>(state: &State, row: &'a RunRow) -> &'a str {
    if state.is_interrupted(row) { t!("words-interrupted") } else { words::status(state.status_of(row)) }
}

/// Shows the head.
pub fn head_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    let c = cx.c();
    let right = controls(cx, ui, rect, view);
    let runs = &cx.state.runs.runs;
    let names: Vec<String> = runs.iter().map(|row| t!("common-run", run = row.run)).collect();
    let chosen = runs.iter().position(|row| row.run == view.row.run);
    let mut x = rect.left();
    if names.len() > 1 {
        let place = Rect::from_min_size(pos2(x, rect.top() + 2.0), vec2(88.0, 24.0));
        if let Some(index) = choice::select(ui, cx.theme, place, t!("watch-run-name"), &names, chosen)
            && let Some(row) = runs.get(index)
        {
            cx.send(UiCommand::Watch(row.run));
        }
        let place = Rect::from_min_size(pos2(place.right() + 4.0, rect.top() + 2.0), vec2(24.0, 24.0));
        super::beside::chooser(cx, ui, place, view);
        x = place.right() + 10.0;
    } else {
        let place = Rect::from_min_max(pos2(x + 4.0, rect.top()), rect.max);
        x = text::pieces(ui, place, &[Piece(&t!("common-run", run = view.row.run), Type::Room, c.text)]) + 10.0;
    }
    let (icon, word, colour, area) = state_of(cx, view);
    let chip = bar::chip(ui, pos2(x, rect.center().y), icon, &word, colour, area);
    x += chip + 12.0;
    let (method, settings) = own_settings(cx, view);
    let lock_words = t!("watch-as-started");
    let lock = 20.0 + text::width(ui, lock_words, Type::Body);
    let words = Rect::from_min_max(pos2(x, rect.top()), pos2(right - lock - 24.0, rect.bottom()));
    if words.width() < 60.0 {
        return;
    }
    let end = text::pieces(ui, words, &[Piece(&method, Type::Strong, c.text), Piece(&settings, Type::Body, c.text2)]);
    let place = Rect::from_min_size(pos2(end + 30.0, rect.top()), vec2(lock, rect.height()));
    text::icon(ui.painter(), pos2(place.left() - 10.0, rect.center().y), icons::LOCK_SIMPLE, 16.0, c.text2);
    text::line(ui, place, egui::Align::Min, lock_words, Type::Body, c.text2).on_hover_text(t!("watch-as-started-tip"));
}

/// The run's own settings in words.
fn own_settings(cx: &PanelCtx<'_>, view: &RunView) -> (String, String) {
    let card = cx.state.methods.iter().find(|card| card.id == view.row.method);
    let method = card.map_or_else(|| view.row.method.clone(), |card| card.title.clone());
    let Some(project) = &view.settings else { return (method, String::new()) };
    let mut parts = Vec::new();
    let rank = match project.method.settings.0.get("rank") {
        Some(value) => Some(value.to_string()),
        None => card.and_then(|card| card.settings.iter().find(|s| s.key == "rank")).map(|s| s.default.clone()),
    };
    if let Some(rank) = rank {
        parts.push(t!("watch-rank-is", rank = rank));
    }
    parts.push(t!("watch-rate-is", rate = format::rate(project.train.lr_peak)));
    parts.push(t!("watch-seed-is", seed = project.train.seed));
    (method, parts.join(", "))
}

/// Buttons at the right; gives the end of what is left.
fn controls(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) -> f32 {
    let live = cx.state.live_run().is_some_and(|row| row.run == view.row.run);
    let mut right = rect.right();
    let mut place = |ui: &mut Ui, button: Button<'_>, id: Option<Id>| {
        let width = button.width(ui);
        let at = Rect::from_min_size(pos2(right - width, rect.top()), vec2(width, 28.0));
        right = at.left() - 6.0;
        match id {
            Some(id) => cx.press(ui, id, button, at).clicked(),
            None => button.show(ui, cx.theme, at).clicked(),
        }
    };
    let plain = |button: Button<'static>| if cx.compact { button.keys(None) } else { button };
    let waiting = cx.state.waiting_rows().len();
    if waiting > 0 {
        let entry = crate::commands::entry(Id::Queue);
        let label = t!("watch-waiting", n = waiting as u64, count = waiting);
        let button =
            if cx.compact { Button::icon_only(entry.icon, &label) } else { Button::new(&label).icon(entry.icon) };
        place(ui, button.tooltip(entry.help.get()), Some(Id::Queue));
    } else if live && rect.width() > ROOMY {
        let entry = crate::commands::entry(Id::Queue);
        let button = Button::icon_only(entry.icon, entry.name.get()).tooltip(entry.help.get());
        place(ui, button.weight(Weight::Normal), Some(Id::Queue));
    }
    if cx.state.race.is_some() {
        let entry = crate::commands::entry(Id::ShowRace);
        let label = t!("race-title");
        let button =
            if cx.compact { Button::icon_only(entry.icon, label) } else { Button::new(label).icon(entry.icon) };
        place(ui, button.tooltip(entry.help.get()), Some(Id::ShowRace));
    }
    if live {
        let is_paused = view.row.status == "paused";
        let pause = if is_paused { Id::Resume } else { Id::Pause };
        // The state of a paused run is what a checkpoint would hold: ending it with one is how its memory becomes free. In a
        // small window that is in the palette.
        let second = if is_paused && !cx.compact { Id::FreeMemory } else { Id::Stop };
        for id in [Id::SaveNow, second, pause] {
            let button = plain(cx.button(ui, id));
            place(ui, button, Some(id));
        }
    } else {
        if view.row.adapter.is_some() {
            let button = Button::new(t!("watch-export")).icon(icons::EXPORT).tooltip(t!("watch-export-tip"));
            if place(ui, button, None) {
                cx.send(UiCommand::ExportRun(view.row.run));
                cx.send(UiCommand::Go(Room::Export));
            }
        }
        if !cx.compact {
            let entry = crate::commands::entry(Id::Report);
            let button = Button::icon_only(entry.icon, entry.name.get()).tooltip(entry.help.get());
            place(ui, button.weight(Weight::Normal), Some(Id::Report));
        }
        for id in [Id::Extend, Id::Branch] {
            // In a small window they are in the palette.
            if !cx.compact && crate::commands::entry(id).enabled(cx.state) {
                let button = cx.button(ui, id).keys(None);
                place(ui, button, Some(id));
            }
        }
        let entry = crate::commands::entry(Id::Continue);
        if entry.enabled(cx.state) && view.row.status == "stopped" {
            let button = Button::new(t!("commands-resume")).icon(icons::PLAY).tooltip(entry.help.get());
            place(ui, button, Some(Id::Continue));
        }
    }
    right
}
