//! What would make a run fit into memory: each change with what it costs, one click away. They take the place of the gauges
//! that say nothing new while the memory does not suffice.

use super::super::PanelCtx;
use crate::commands::UiCommand;
use crate::format;
use crate::theme::Type;
use crate::widgets::{Button, text};
use egui::{Align, Rect, Ui, pos2, vec2};
use std::path::Path;
use temper_protocol::event::Remedy;
use temper_protocol::{Event, project_file};

/// Most buttons in the row.
const MOST: usize = 3;

/// Those that the pre-flight found, and the free memory they must fit into, MiB; none when the run fits.
pub fn found<'a>(cx: &PanelCtx<'a>) -> Option<(&'a [Remedy], f64)> {
    match cx.state.setup.preflight.as_ref().map(|answer| &answer.event) {
        Some(Event::Preflight { remedies, free_memory_mib, .. }) if !remedies.is_empty() => {
            Some((remedies, *free_memory_mib))
        }
        _ => None,
    }
}

/// A change in a few words.
fn label(remedy: &Remedy) -> String {
    match remedy.settings.first().map(|(key, value)| (key.as_str(), value.as_str())) {
        Some(("train.batch", value)) => t!("preflight-fix-batch", batch = value),
        Some(("train.recompute", _)) => t!("preflight-fix-recompute").to_owned(),
        Some(("data.max_tokens", value)) => {
            let tokens = value.parse().map_or_else(|_| value.to_owned(), format::count);
            t!("preflight-fix-length", tokens = tokens)
        }
        Some((key, value)) => format!("{key} = {value}"),
        None => String::new(),
    }
}

/// What the change costs beside what it needs.
fn price(remedy: &Remedy) -> String {
    let needs = format::mib(remedy.memory_mib);
    if remedy.rows_cut > 0 {
        let rows = format::count(remedy.rows_cut);
        return t!("preflight-fix-cuts", needs = needs, n = remedy.rows_cut, rows = rows);
    }
    match remedy.time_factor {
        Some(factor) if factor > 1.005 => {
            t!("preflight-fix-slower", needs = needs, more = format::percent(factor - 1.0))
        }
        Some(_) => t!("preflight-fix-same", needs = needs),
        None => needs,
    }
}

/// What the change means, and the settings as they would stand in the project file.
fn tip(remedy: &Remedy) -> String {
    let settings: Vec<String> = remedy.settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let settings = settings.join(", ");
    match remedy.settings.first().map(|(key, _)| key.as_str()) {
        Some("train.batch") => t!("preflight-fix-batch-tip", settings = settings),
        Some("train.recompute") => t!("preflight-fix-recompute-tip", settings = settings),
        Some("data.max_tokens") => t!("preflight-fix-length-tip", settings = settings),
        _ => settings,
    }
}

/// Shows them in a row; `needed_mib` is what the run would take as it stands.
pub fn remedies_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, needed_mib: f64) {
    let c = cx.c();
    let Some((remedies, free_mib)) = found(cx) else { return };
    let words = t!("preflight-fix", needed = format::mib(needed_mib), free = format::mib(free_mib));
    text::data(ui, rect.with_max_y(rect.top() + 18.0), Align::Min, &words, Type::Body, c.text);
    let shown = remedies.len().min(MOST);
    let width = ((rect.width() - 12.0 * (shown - 1) as f32) / shown as f32).min(220.0).floor();
    for (index, remedy) in remedies.iter().take(MOST).enumerate() {
        let left = rect.left() + index as f32 * (width + 12.0);
        let place = Rect::from_min_size(pos2(left, rect.top() + 25.0), vec2(width, 28.0));
        let (name, about) = (label(remedy), tip(remedy));
        if Button::new(&name).tooltip(&about).show(ui, cx.theme, place).clicked() {
            take(cx, remedy);
        }
        let note = Rect::from_min_size(pos2(left, place.bottom() + 4.0), vec2(width, 18.0));
        text::data(ui, note, Align::Min, &price(remedy), Type::Body, c.text2);
    }
}

/// Puts the settings into the project, as one edit.
fn take(cx: &PanelCtx<'_>, remedy: &Remedy) {
    let changed = project_file::to_text(&cx.state.draft.project)
        .and_then(|text| project_file::parse_with(&text, Path::new("project.toml"), &remedy.settings));
    if let Ok(project) = changed {
        cx.send(UiCommand::Edit(String::new(), Box::new(project)));
    }
}
