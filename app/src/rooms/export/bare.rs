//! The adapter folder that is exported instead of a run: where it lies, the base it goes onto, and what its files say.

use crate::commands::UiCommand;
use crate::format;
use crate::rooms::PanelCtx;
use crate::state::export::BareAdapter;
use crate::theme::{Type, icons};
use crate::update::{bare_facts, bare_path};
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{Button, panel, text};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::Event;

/// Width of the names of the rows.
const KEY: f32 = 84.0;
/// Height of a row with a field.
const ROW: f32 = 28.0;
/// Height of a row with a fact.
const FACT: f32 = 23.0;
/// Height of the panel.
pub(super) const HEIGHT: f32 = panel::HEAD + 2.0 * ROW + 2.0 * FACT + 8.0;

/// Shows the panel.
pub(super) fn bare_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, bare: &BareAdapter) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("export-adapter"), t!("export-adapter-note"));
    let mut lines = Rows::new(inside);
    let row = lines.next(ROW);
    text::line(ui, row, Align::Min, t!("export-folder"), Type::Body, c.text2);
    let choose = Button::icon_only(icons::FOLDER_OPEN, t!("export-adapter-choose")).weight(Weight::Normal);
    let button = Rect::from_min_size(pos2(row.right() - 26.0, row.top() + 1.0), vec2(26.0, 26.0));
    let place = Rect::from_min_max(pos2(row.left() + KEY, row.top() + 1.0), pos2(button.left() - 6.0, button.bottom()));
    let entry = Field {
        hint: t!("export-adapter-hint"),
        tooltip: t!("export-adapter-tip"),
        path: true,
        ..Field::new(t!("export-adapter"), &bare.path)
    };
    if let Some(typed) = field::show(ui, cx.theme, place, entry).committed {
        cx.send(UiCommand::ExportAdapter(path_of(&typed)));
    }
    if choose.show(ui, cx.theme, button).clicked() {
        cx.send(UiCommand::ChooseAdapter);
    }
    let row = lines.next(ROW);
    text::line(ui, row, Align::Min, t!("drop-base"), Type::Body, c.text2);
    let place = Rect::from_min_max(pos2(row.left() + KEY, row.top() + 1.0), pos2(row.right(), row.bottom() - 1.0));
    let base = bare.model.as_ref().unwrap_or(&cx.state.draft.project.model.path);
    let entry = Field {
        hint: t!("export-base-hint"),
        tooltip: t!("export-base-tip"),
        path: true,
        ..Field::new(t!("export-base"), base)
    };
    if let Some(typed) = field::show(ui, cx.theme, place, entry).committed {
        let typed = path_of(&typed);
        cx.send(UiCommand::ExportBase((!typed.is_empty()).then_some(typed)));
    }
    let (holds, made_for) = facts(cx);
    rows::key_value(ui, cx.theme, lines.next(FACT), KEY, t!("export-holds"), &holds, "");
    rows::key_value(ui, cx.theme, lines.next(FACT), KEY, t!("export-made-for"), &made_for, "");
}

/// What the folder holds and what it was made for, in words.
fn facts(cx: &PanelCtx<'_>) -> (String, String) {
    let unknown = || format::UNKNOWN.to_owned();
    let Some(path) = bare_path(cx.state) else { return (unknown(), unknown()) };
    match bare_facts(cx.state) {
        Some(Event::Adapter { method, rank, sites, base, .. }) => {
            let method = cx.state.method_title(method);
            let words = t!("export-adapter-words", method = method, rank = rank, sites = format::count(*sites));
            let made_for = if base.is_empty() { t!("common-not-stated") } else { base.as_str() };
            (words, made_for.to_owned())
        }
        _ if cx.state.export.problem.is_some() || cx.state.known.contains_key(&path) => {
            (t!("drop-not-adapter").to_owned(), unknown())
        }
        _ => (t!("drop-looking").to_owned(), unknown()),
    }
}

/// A path as people write it; the names of bundled things stay.
fn path_of(typed: &str) -> String {
    let typed = typed.trim();
    if typed.starts_with("builtin:") || typed.is_empty() {
        return typed.to_owned();
    }
    crate::typed::paths(typed).first().map_or_else(String::new, |path| path.display().to_string())
}
