//! This machine: devices, self-test, and what fits it.

use crate::commands::Id;
use crate::format;
use crate::rooms::PanelCtx;
use crate::rooms::status::machine_memory;
use crate::theme::{Type, icons};
use crate::widgets::button::{Button, Weight};
use crate::widgets::rows::{self, Rows};
use crate::widgets::text::{self, Piece};
use crate::widgets::{bar, panel};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::Event;
use temper_protocol::event::SelfTest;

/// Width of the column of keys.
const KEYS: f32 = 84.0;
/// Lines that what is said about a device takes at most.
const NOTE_LINES: usize = 2;

/// Shows devices and self-test.
pub(super) fn machine_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("home-machine"), "");
    let report = cx.state.settings.machine.as_ref();
    let selftest = report.and_then(|report| report.selftest.as_ref());
    let running = cx.state.jobs.find(|ask| *ask == crate::state::Ask::Doctor);
    if let Some(Event::Selftest(SelfTest { pass, .. })) = selftest
        && running.is_none()
    {
        let (icon, word, colour, area) = if *pass {
            (icons::CHECK_CIRCLE, t!("home-selftest-passed"), c.ok, c.ok_bg)
        } else {
            (icons::X_CIRCLE, t!("home-selftest-failed"), c.err, c.err_bg)
        };
        let width = bar::chip_width(ui, Some(icon), word);
        bar::chip(ui, pos2(head.right() - width, head.center().y), Some(icon), word, colour, area);
    }
    let mut lines = Rows::new(inside);
    lines.gap(2.0);
    let devices = report.map(|report| report.devices.as_slice()).unwrap_or_default();
    if devices.is_empty() {
        let words = t!("home-machine-lead");
        lines.y += text::block(ui, pos2(inside.left(), lines.y), inside.width(), words, Type::Body, c.text2) + 6.0;
    }
    let is_usable = |device: &&Event| matches!(device, Event::Device { usable: true, .. });
    let unused = devices.iter().find(|device| !is_usable(device));
    for device in devices.iter().filter(is_usable).take(2).chain(unused) {
        let Event::Device { kind, name, usable, note, threads, memory_mib } = device else { continue };
        let row = lines.next(22.0);
        let value = if *usable && *threads > 0 {
            t!("home-threads", n = threads, threads = threads)
        } else if *usable {
            t!("home-ready").to_owned()
        } else {
            t!("home-not-used").to_owned()
        };
        let key = match kind.as_str() {
            "cpu" => t!("home-processor"),
            _ => t!("home-graphics"),
        };
        let note = if note.is_empty() { name.clone() } else { format::figures(note) };
        let (note, free) = split_free(&note);
        device_row(cx, ui, &mut lines, (key, value.as_str(), note));
        if *memory_mib > 0.0 {
            let row = lines.next(22.0);
            let note = match (free.is_empty(), kind.as_str()) {
                (false, _) => t!("home-memory-free", free = free),
                (true, "cpu") => t!("home-memory-all").to_owned(),
                (true, _) => t!("home-memory-device").to_owned(),
            };
            rows::key_value(ui, cx.theme, row, KEYS, t!("home-memory"), &format::mib(*memory_mib), &note);
        }
    }
    let places = lines.next(22.0);
    let projects = cx.state.places.projects.display().to_string();
    text::line(ui, places, Align::Min, t!("home-projects"), Type::Body, c.text2);
    text::path(ui, places.with_min_x(places.left() + KEYS), &projects, Type::Body, c.text);
    lines.gap(6.0);
    panel::divider(ui, cx.theme, inside, lines.y);
    lines.gap(7.0);
    selftest_ui(cx, ui, &mut lines, selftest, running.map(|(_, running)| running));
}

/// What an engine says about a device, and how much memory it says is free at the end of that.
fn split_free(note: &str) -> (&str, &str) {
    let end = note.rsplit_once("; ").and_then(|(what, end)| Some((what, end.strip_suffix(" free")?)));
    end.unwrap_or((note, ""))
}

/// Key, value and note of a device; why one is not used may take a second line.
fn device_row(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, (key, value, note): (&str, &str, &str)) {
    let c = cx.c();
    let left = lines.area.left() + KEYS + text::width(ui, value, Type::Body) + text::PIECE_GAP;
    let room = lines.area.right() - left;
    if text::width(ui, note, Type::Body) <= room {
        rows::key_value(ui, cx.theme, lines.next(22.0), KEYS, key, value, note);
        return;
    }
    let most = NOTE_LINES as f32 * Type::Body.line_height();
    let row = lines.next(4.0 + text::block_height(ui, room, note, Type::Body).min(most));
    rows::key_value(ui, cx.theme, row.with_max_y(row.top() + 22.0), KEYS, key, value, "");
    text::clipped_block(ui, pos2(left, row.top() + 2.0), room, NOTE_LINES, note, Type::Body, c.text2);
}

fn selftest_ui(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    lines: &mut Rows,
    selftest: Option<&Event>,
    running: Option<&crate::state::jobs::Running>,
) {
    let c = cx.c();
    let row = lines.next(22.0);
    let again = Rect::from_min_size(pos2(row.right() - 24.0, row.top() - 1.0), vec2(24.0, 24.0));
    let name = if selftest.is_some() { t!("home-selftest-again") } else { t!("home-selftest-run") };
    cx.press(ui, Id::Doctor, Button::icon_only(icons::ARROW_CLOCKWISE, name).enabled(running.is_none()), again);
    let mut words = row.with_max_x(again.left() - 6.0);
    if selftest.is_some() && running.is_none() {
        let details =
            Button::new(t!("home-selftest-details")).weight(Weight::Link).tooltip(t!("commands-machine-help"));
        let width = details.width(ui);
        let place = Rect::from_min_size(pos2(words.right() - width, row.top()), vec2(width, 22.0));
        cx.press(ui, Id::Machine, details, place);
        words = words.with_max_x(place.left() - 8.0);
    }
    if let Some(running) = running {
        let stage = if running.stage.is_empty() { t!("home-selftest-stage") } else { &running.stage };
        text::pieces(
            ui,
            words,
            &[Piece(t!("common-selftest"), Type::Strong, c.text), Piece(stage, Type::Body, c.text2)],
        );
        let bar_rect = lines.next(12.0).with_max_x(again.left());
        let thin = Rect::from_center_size(bar_rect.center(), vec2(bar_rect.width(), 4.0));
        bar::progress(ui, cx.theme, thin, t!("common-selftest"), running.share(), c.accent);
        return;
    }
    let Some(Event::Selftest(SelfTest { pass, text: said, secs, tokens_per_sec, gemm_gflops, .. })) = selftest else {
        text::pieces(
            ui,
            words,
            &[
                Piece(t!("common-selftest"), Type::Strong, c.text),
                Piece(t!("home-selftest-never"), Type::Body, c.text2),
            ],
        );
        return;
    };
    let took = t!("home-selftest-took", time = format::duration(*secs));
    text::pieces(ui, words, &[Piece(t!("common-selftest"), Type::Strong, c.text), Piece(&took, Type::Body, c.text2)]);
    let (icon, colour) = if *pass { (icons::CHECK_CIRCLE, c.ok) } else { (icons::X_CIRCLE, c.err) };
    text::icon(ui.painter(), pos2(lines.area.left() + 8.0, lines.y + 9.0), icon, 16.0, colour);
    let width = lines.area.width() - 22.0;
    let said = crate::reader::words::sentence_case(&format::figures(said));
    lines.y +=
        text::clipped_block(ui, pos2(lines.area.left() + 22.0, lines.y), width, 2, &said, Type::Body, c.text) + 2.0;
    let operations = format::count(gemm_gflops.round().max(0.0) as u64);
    for (name, figure, unit, tip) in [
        (t!("home-speed"), format::speed(*tokens_per_sec), t!("home-speed-unit"), t!("home-speed-tip")),
        (t!("home-products"), operations, t!("home-products-unit"), t!("home-products-tip")),
    ] {
        if lines.left() < 18.0 {
            return;
        }
        let row = lines.next(20.0);
        text::line(ui, row, Align::Min, name, Type::Body, c.text2).on_hover_text(tip);
        let place = row.with_min_x(row.left() + KEYS);
        text::pieces(ui, place, &[Piece(&figure, Type::Mono, c.text), Piece(unit, Type::Body, c.text2)]);
    }
}

/// Sizes of common models with what LoRA of rank 16 on all linear layers adds to each.
const SIZES: [(&str, f64, f64); 4] =
    [("135 M", 134.5e6, 4.9e6), ("360 M", 361.8e6, 8.7e6), ("1.7 B", 1711e6, 18.1e6), ("7 B", 6738e6, 40.0e6)];

/// Shows which sizes of models fit.
pub(super) fn fits_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let note = t!("home-fits-note");
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("home-fits"), note);
    let report = cx.state.settings.machine.as_ref();
    let gflops = match report.and_then(|report| report.selftest.as_ref()) {
        Some(Event::Selftest(SelfTest { gemm_gflops, .. })) if *gemm_gflops > 0.0 => *gemm_gflops,
        _ => {
            let words = t!("home-fits-lead");
            text::block(ui, inside.min, inside.width(), words, Type::Body, c.text2);
            return;
        }
    };
    let memory = machine_memory(cx).unwrap_or(f64::INFINITY);
    let mut lines = Rows::new(inside);
    let head = lines.next(22.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    for (from, to, align, name) in [
        (0.0, 0.22, Align::Max, t!("common-parameters")),
        (0.3, 0.62, Align::Max, t!("home-fits-speed")),
        (0.66, 1.0, Align::Max, t!("home-fits-memory")),
    ] {
        text::line(ui, rows::column(head, from, to), align, name, Type::Caption, c.text2);
    }
    for (name, parameters, trained) in SIZES {
        let row = lines.next(22.0);
        // Forward, recomputed forward and backward through the inputs: six operations a parameter and
        // token, at half the rate of the plain product. Weights at 5 bits, adapter with gradient and two
        // moments in f32, and a quarter GiB for activations of one row of 512 tokens.
        let speed = gflops * 1e9 * 0.5 / (6.0 * parameters);
        let needed_mib = (parameters * 5.0 / 8.0 + trained * 16.0) / 1_048_576.0 + 256.0;
        let fits = needed_mib < memory * 0.9;
        text::line(ui, rows::column(row, 0.0, 0.22), Align::Max, name, Type::Mono, c.text);
        let gib = format!("{:.1}", needed_mib / 1024.0);
        if fits {
            text::line(ui, rows::column(row, 0.3, 0.62), Align::Max, &format::speed(speed), Type::Mono, c.text);
            text::line(ui, rows::column(row, 0.66, 1.0), Align::Max, &gib, Type::Mono, c.text);
        } else {
            text::line(ui, rows::column(row, 0.3, 0.62), Align::Max, t!("home-fits-not"), Type::Body, c.warn);
            let of = t!("home-fits-of", gib = gib, memory = format!("{:.1}", memory / 1024.0));
            text::line(ui, rows::column(row, 0.66, 1.0), Align::Max, &of, Type::Mono, c.warn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::split_free;

    #[test]
    fn free_memory_is_told_with_the_memory() {
        assert_eq!(split_free("AVX2, FMA; 21.1 GiB free"), ("AVX2, FMA", "21.1 GiB"));
        for whole in ["AVX2, FMA", "no driver was found; the processor is used", "6.0 GiB free", ""] {
            assert_eq!(split_free(whole), (whole, ""), "nothing is split off");
        }
    }
}
