//! Speed, memory, time, and where the time goes.

use crate::format::{self, JOULES_A_WATT_HOUR};
use crate::reader::RunView;
use crate::rooms::PanelCtx;
use crate::rooms::status::machine_memory;
use crate::theme::Type;
use crate::widgets::panel;
use crate::widgets::rows::Rows;
use crate::widgets::text::{self, Piece};
use egui::{Align, Rect, Role, Sense, Stroke, Ui, WidgetInfo, pos2, vec2};

/// Place of the trained tokens among the gauges.
const TRAINED: usize = 2;
/// Types of figure and unit of a gauge, the largest first.
const TYPES: [(Type, Type); 3] =
    [(Type::Figure, Type::Body), (Type::MonoMedium, Type::Body), (Type::MonoMedium, Type::Caption)];
/// Types where none of these fit.
const LEAST_TYPES: (Type, Type) = (Type::MonoCaption, Type::Caption);

/// Colour of each phase by name, so that it stays when the order changes.
fn series_of(phase: &str) -> usize {
    match phase {
        "forward" => 0,
        "backward" => 6,
        "optimiser" => 2,
        "data" | "prefix" => 7,
        "eval" => 5,
        "probes" => 1,
        "saves" => 3,
        _ => 4,
    }
}

/// The name of a phase in the window's language; one that is not known stays as it is.
pub(crate) fn phase_words(phase: &str) -> &str {
    match phase {
        "forward" => t!("watch-phase-forward"),
        "backward" => t!("watch-phase-backward"),
        "optimiser" => t!("watch-phase-optimiser"),
        "data" => t!("watch-phase-data"),
        "prefix" => t!("watch-phase-prefix"),
        "eval" => t!("watch-phase-eval"),
        "probes" => t!("watch-phase-probes"),
        "saves" => t!("watch-phase-saves"),
        "samples" => t!("watch-phase-samples"),
        other => other,
    }
}

/// Shows the panel.
pub fn speed_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    let c = cx.c();
    panel::surface(ui, cx.theme, rect);
    let inner = rect.shrink2(vec2(12.0, 8.0));
    let row = &view.row;
    let memory = format::mib_parts(view.rss_mib);
    let left_secs = row.max_steps.saturating_sub(row.steps) as f64 * view.step_secs;
    let left = if row.is_active() { format::duration_parts(left_secs) } else { format::duration_parts(row.wall_secs) };
    let steps = if row.is_active() { row.max_steps.saturating_sub(row.steps) } else { row.steps };
    let tokens = trained_tokens(view);
    let mut gauges = vec![
        (
            t!("watch-speed"),
            format::speed(row.tokens_per_sec),
            t!("frame-speed-unit"),
            if view.step_secs.is_finite() {
                t!("preflight-a-step", step = format::duration(view.step_secs))
            } else {
                t!("frame-not-measured").to_owned()
            },
        ),
        (
            t!("watch-memory"),
            memory.0,
            memory.1,
            match machine_memory(cx).filter(|_| !cx.compact) {
                _ if row.peak_rss_mib <= 0.0 => t!("frame-not-measured").to_owned(),
                Some(all) => {
                    t!("watch-peak-of", peak = format!("{:.1}", row.peak_rss_mib / 1024.0), all = format::mib(all))
                }
                None => t!("watch-peak", peak = format::mib(row.peak_rss_mib)),
            },
        ),
        (
            t!("watch-trained"),
            tokens.0,
            tokens.1,
            if cx.compact { t!("common-tokens") } else { t!("watch-tokens-with-loss") }.to_owned(),
        ),
        (
            if row.is_active() { t!("watch-left") } else { t!("watch-took") },
            left.0,
            left.1,
            t!("watch-steps", n = steps, steps = format::count(steps)),
        ),
    ];
    if let Some(heat) = heat(view) {
        // A small window has room for four.
        if cx.compact {
            gauges.remove(TRAINED);
        }
        gauges.push(heat);
    }
    let width = inner.width() / gauges.len() as f32;
    for (index, (name, figure, unit, note)) in gauges.iter().enumerate() {
        let left = inner.left() + index as f32 * width;
        let mut lines = Rows::new(Rect::from_min_size(pos2(left, inner.top()), vec2(width - 12.0, 52.0)));
        text::line(ui, lines.next(16.0), Align::Min, name, Type::Caption, c.text2);
        figure_ui(cx, ui, lines.next(20.0), figure, unit);
        text::data(ui, lines.next(16.0), Align::Min, note, Type::Caption, c.text2);
        if index > 0 {
            let x = (left - 9.0).round() + 0.5;
            ui.painter().vline(x, inner.top() + 2.0..=inner.top() + 46.0, Stroke::new(1.0, c.line));
        }
    }
    phases(cx, ui, Rect::from_min_max(pos2(inner.left(), inner.top() + 55.0), inner.max), view);
}

/// Figure and unit of a gauge. In a narrow column both are smaller rather than cut off: a speed is nothing without its
/// unit, nor are hours without their minutes.
fn figure_ui(cx: &PanelCtx<'_>, ui: &mut Ui, place: Rect, figure: &str, unit: &str) {
    let c = cx.c();
    let pieces = |(large, small): (Type, Type)| [Piece(figure, large, c.text), Piece(unit, small, c.text2)];
    // Pieces begin at whole points.
    let room = place.width() + text::PIECE_GAP - 1.0;
    let types = TYPES.into_iter().find(|types| text::pieces_width(ui, &pieces(*types)) <= room);
    text::pieces(ui, place, &pieces(types.unwrap_or(LEAST_TYPES)));
}

/// The name of a part of the machine in the window's language.
fn part_words(part: &str) -> &str {
    match part {
        "processor" => t!("watch-processor"),
        "graphics" => t!("watch-graphics"),
        other => other,
    }
}

/// Temperature of the first part, and behind it the other parts and what was drawn; nothing where the system does not
/// tell.
fn heat(view: &RunView) -> Option<(&'static str, String, &'static str, String)> {
    let energy = view.joules.map(|joules| t!("watch-wh-drawn", energy = format!("{:.1}", joules / JOULES_A_WATT_HOUR)));
    let Some(((part, degrees), others)) = view.celsius.split_first() else {
        let joules = view.joules?;
        let figure = format!("{:.1}", joules / JOULES_A_WATT_HOUR);
        return Some((t!("watch-drawn"), figure, t!("watch-watt-hours"), t!("watch-drawn-note").to_owned()));
    };
    let mut notes = vec![part_words(part).to_owned()];
    let other = |(part, degrees): &(String, f64)| {
        t!("watch-degrees", part = part_words(part), degrees = format!("{degrees:.0}"))
    };
    notes.extend(others.iter().map(other));
    notes.extend(energy);
    Some((t!("watch-warmth"), format!("{degrees:.0}"), "°C", notes.join(", ")))
}

fn trained_tokens(view: &RunView) -> (String, &'static str) {
    let tokens = view.trained_tokens;
    if !tokens.is_finite() || tokens <= 0.0 {
        return (format::UNKNOWN.to_owned(), "");
    }
    let words = format::tokens(tokens as u64);
    match words.split_once(' ') {
        Some((figure, "k")) => (figure.to_owned(), "k"),
        Some((figure, _)) => (figure.to_owned(), "M"),
        None => (words, ""),
    }
}

fn phases(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    let c = cx.c();
    let bar = rect.with_max_y(rect.top() + 8.0);
    let total: f64 = view.phases.iter().map(|(_, secs)| secs).sum();
    ui.painter().rect_filled(bar, 2.0, c.raised);
    let labels = rect.with_min_y(bar.bottom() + 4.0);
    if total <= 0.0 {
        text::line(ui, labels, Align::Min, t!("watch-phases-lead"), Type::Caption, c.text2);
        return;
    }
    let mut x = bar.left();
    let mut words = Vec::new();
    for (name, secs) in &view.phases {
        let share = secs / total;
        let right = x + share as f32 * bar.width();
        let part = Rect::from_min_max(pos2(x, bar.top()), pos2((right - 1.0).max(x), bar.bottom()));
        ui.painter().rect_filled(part, 0.0, cx.theme.series(series_of(name)));
        words.push(format!("{} {} ({})", phase_words(name), format::percent(share), format::duration(*secs)));
        x = right;
    }
    let response = ui.allocate_rect(bar, Sense::hover());
    let spoken = t!("watch-time-spent", parts = words.join(", "));
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &spoken));
    response.on_hover_text(words.join("\n"));
    let mut x = labels.left();
    for (phase, secs) in &view.phases {
        let name = phase_words(phase);
        let share = format!("{:.0} %", secs / total * 100.0);
        let name_width = text::width(ui, name, Type::Caption);
        let needed = 12.0 + name_width + 4.0 + text::width(ui, &share, Type::MonoCaption);
        if x + needed > labels.right() {
            break;
        }
        let swatch = Rect::from_center_size(pos2(x + 4.0, labels.center().y), vec2(8.0, 8.0));
        ui.painter().rect_filled(swatch, 0.0, cx.theme.series(series_of(phase)));
        let place = Rect::from_min_max(pos2(x + 12.0, labels.top()), labels.max);
        text::line(ui, place, Align::Min, name, Type::Caption, c.text2);
        let place = place.with_min_x(place.left() + name_width + 4.0);
        text::line(ui, place, Align::Min, &share, Type::MonoCaption, c.text);
        x += needed + 12.0;
    }
}
