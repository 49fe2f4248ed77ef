//! Home: the starter, the drop zone, recent projects; this machine, what fits it, what stays private.

use super::{PanelCtx, frame::part};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::state::settings::Recent;
use crate::theme::{Icon, Type, icons};
use crate::widgets::button::{Button, Weight, focus_ring};
use crate::widgets::rows::{self, Rows};
use crate::widgets::text::{self, Piece};
use crate::widgets::{bar, panel};
use egui::{Align, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};
use temper_protocol::Event;

const GAP: f32 = 8.0;

/// Shows the room.
pub fn home_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let right_width = if cx.compact { 360.0 } else { (rect.width() * 0.356).clamp(424.0, 520.0) };
    let left = rect.with_max_x(rect.right() - right_width - GAP);
    let right = rect.with_min_x(left.right() + GAP);
    let starter_height = if cx.compact { 306.0 } else { 312.0 };
    let recents = cx.state.settings.recents.len().min(5) as f32;
    let recent_height = if recents > 0.0 { 36.0 + 24.0 + recents * 32.0 } else { 120.0 };
    let starter = left.with_max_y(left.top() + starter_height);
    let recent = left.with_min_y(left.bottom() - recent_height.min(left.height() - starter_height - 150.0));
    let zone = Rect::from_min_max(pos2(left.left(), starter.bottom() + GAP), pos2(left.right(), recent.top() - GAP));
    part(ui, "starter", starter, |ui, rect| starter_ui(cx, ui, rect));
    part(ui, "drop zone", zone, |ui, rect| drop_zone(cx, ui, rect));
    part(ui, "recent", recent, |ui, rect| recent_ui(cx, ui, rect));
    let machine = right.with_max_y(right.top() + 244.0);
    let fits = Rect::from_min_size(pos2(right.left(), machine.bottom() + GAP), vec2(right.width(), 152.0));
    let private = Rect::from_min_size(pos2(right.left(), fits.bottom() + GAP), vec2(right.width(), 98.0));
    let keys = right.with_min_y(private.bottom() + GAP);
    part(ui, "machine", machine, |ui, rect| machine_ui(cx, ui, rect));
    part(ui, "fits", fits, |ui, rect| fits_ui(cx, ui, rect));
    part(ui, "private", private, |ui, rect| private_ui(cx, ui, rect));
    if keys.height() > 60.0 {
        part(ui, "keys", keys, |ui, rect| keys_ui(cx, ui, rect));
    }
}

/// One fact of the starter: what it is called and two lines about it.
struct Fact {
    icon: Icon,
    part: &'static str,
    name: String,
    lines: [String; 2],
}

fn starter_facts(cx: &PanelCtx<'_>) -> [Fact; 4] {
    let model = match cx.state.known.get("builtin:starter") {
        Some(Event::Model { parameters, storage, disk_bytes, .. }) => [
            format!("{} parameters", format::parameters(*parameters)),
            format!("{storage}, {}", format::bytes(*disk_bytes)),
        ],
        _ => ["a small Llama type".to_owned(), "part of the program".to_owned()],
    };
    let data = match cx.state.known.get("builtin:starter-data") {
        Some(Event::Dataset { rows, schema, .. }) => {
            [format!("{} rows", format::count(*rows)), format::schema_words(schema)]
        }
        _ => ["questions and answers".to_owned(), "part of the program".to_owned()],
    };
    let lora = cx.state.methods.iter().find(|card| card.id == "lora");
    let method = ["two thin matrices".to_owned(), "beside each weight".to_owned()];
    [
        Fact { icon: icons::CUBE, part: "Model", name: "Starter".to_owned(), lines: model },
        Fact { icon: icons::TABLE, part: "Data", name: "Starter data".to_owned(), lines: data },
        Fact {
            icon: icons::PUZZLE_PIECE,
            part: "Method",
            name: lora.map_or_else(|| "LoRA".to_owned(), |card| card.title.clone()),
            lines: method,
        },
        Fact {
            icon: icons::SHIELD_CHECK,
            part: "Keep",
            name: "Four kept sets".to_owned(),
            lines: ["prose, instructions,".to_owned(), "code, arithmetic".to_owned()],
        },
    ]
}

fn starter_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    panel::surface(ui, cx.theme, rect);
    let inner = rect.shrink(16.0);
    let button = Rect::from_min_size(pos2(inner.right() - 132.0, inner.top()), vec2(132.0, 32.0));
    let primary = cx.button(ui, Id::TrainExample).weight(Weight::Primary);
    cx.press(ui, Id::TrainExample, primary, button);
    let second = Rect::from_min_size(pos2(button.left(), button.bottom() + 6.0), vec2(132.0, 28.0));
    let look = Button::new("Open, look first").tooltip("Copies the example and opens it in Setup, ready to train");
    cx.press(ui, Id::OpenExample, look, second);
    let words = inner.width() - 148.0;
    let title = Rect::from_min_size(inner.min, vec2(words, 20.0));
    text::data(ui, title, Align::Min, "Start here: adapt a small model to a task", Type::Room, c.text);
    let lead = "Everything is bundled: a small model, data, and the material it must not forget. It trains on this \
                machine, nothing is fetched.";
    text::block(ui, inner.min + vec2(0.0, 27.0), words, lead, Type::Lead, c.text2);
    let facts = starter_facts(cx);
    let top = inner.top() + 76.0;
    let width = ((inner.width() - 24.0) / 4.0).floor();
    for (index, fact) in facts.iter().enumerate() {
        let left = inner.left() + index as f32 * (width + 8.0);
        let tile = Rect::from_min_size(pos2(left, top), vec2(width, 92.0));
        ui.painter().rect_filled(tile, 4.0, c.raised);
        if index > 0 {
            text::icon(ui.painter(), pos2(tile.left() - 4.0, tile.center().y), icons::CARET_RIGHT, 12.0, c.text3);
        }
        text::icon(ui.painter(), pos2(tile.left() + 18.0, tile.top() + 17.0), fact.icon, 16.0, c.text2);
        let mut lines = Rows::new(tile.shrink2(vec2(10.0, 8.0)));
        let head = lines.next(18.0);
        text::line(ui, head.with_min_x(head.left() + 22.0), Align::Min, fact.part, Type::Body, c.text2);
        lines.gap(5.0);
        let name = lines.next(18.0);
        text::data(ui, name, Align::Min, &fact.name, Type::Panel, c.text);
        for line in &fact.lines {
            let row = lines.next(17.0);
            text::data(ui, row, Align::Min, line, Type::Body, c.text2);
        }
    }
    let mut below = Rows::new(Rect::from_min_max(pos2(inner.left(), top + 106.0), inner.max));
    let expect = example_result(cx);
    let head = below.next(18.0);
    text::line(ui, head, Align::Min, "What you will see", Type::Body, c.text2);
    below.gap(3.0);
    for (word, line) in expect {
        let row = below.next(19.0);
        text::line(ui, row, Align::Min, word, Type::Body, c.text2);
        text::data(ui, row.with_min_x(row.left() + 84.0), Align::Min, &line, Type::Body, c.text);
    }
}

/// The last result of the example on this machine, or what will happen in words.
fn example_result(cx: &PanelCtx<'_>) -> Vec<(&'static str, String)> {
    let example = cx.state.settings.recents.iter().find(|recent| recent.model == "builtin:starter");
    if let Some(result) = example.and_then(|recent| recent.result.as_ref())
        && let (Some(base), Some(best)) = (result.base_loss, result.best_loss)
    {
        let forgetting = result.forgetting.map_or_else(|| format::UNKNOWN.to_owned(), format::signed_nats);
        return vec![
            (
                "loss",
                format!(
                    "{} to {} nats on rows it has not seen, last time here",
                    format::nats(base),
                    format::nats(best)
                ),
            ),
            ("forgetting", format!("{forgetting} nats on the worst kept set")),
            ("time", format::duration(result.wall_secs)),
        ];
    }
    vec![
        ("loss", "falls on rows the model has not seen".to_owned()),
        ("forgetting", "is measured on four kept sets, against a budget".to_owned()),
        ("samples", "answers before and after, side by side".to_owned()),
        ("export", "files for other programs, with a certificate".to_owned()),
    ]
}

fn drop_zone(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    ui.painter().rect_filled(rect, 6.0, c.panel);
    let edge = rect.shrink(0.5);
    let corners = [edge.left_top(), edge.right_top(), edge.right_bottom(), edge.left_bottom(), edge.left_top()];
    ui.painter().extend(Shape::dashed_line(&corners, Stroke::new(1.0, c.line2), 5.0, 4.0));
    let kinds_height = if rect.height() < 190.0 { 0.0 } else { 62.0 };
    let room = rect.height() - kinds_height;
    let block = 28.0 + 8.0 + 20.0 + 20.0 + 10.0 + 28.0;
    let mut y = rect.top() + ((room - block) / 2.0).max(8.0).round();
    text::icon(ui.painter(), pos2(rect.center().x, y + 12.0), icons::TRAY_ARROW_DOWN, 28.0, c.text2);
    y += 36.0;
    let row = |y: f32, height: f32| Rect::from_min_size(pos2(rect.left() + 12.0, y), vec2(rect.width() - 24.0, height));
    let (title, words) = if cx.state.drops_work {
        (
            "Drop a model, data, an adapter or a project anywhere on this window",
            "Before you let go, the window says what it is and where it will go. Files stay where they are.",
        )
    } else {
        (
            "Choose a model, data, an adapter or a project",
            "This window system (Wayland) reports no dropped files: use a dialog or paste a path.",
        )
    };
    text::line(ui, row(y, 20.0), Align::Center, title, Type::Card, c.text);
    text::line(ui, row(y + 21.0, 18.0), Align::Center, words, Type::Body, c.text2);
    y += 50.0;
    let buttons: Vec<(Id, Button<'_>)> = [Id::ChooseFiles, Id::ChooseFolder, Id::EnterPath]
        .into_iter()
        .map(|id| (id, if cx.compact { cx.button(ui, id).keys(None) } else { cx.button(ui, id) }))
        .collect();
    let widths: Vec<f32> = buttons.iter().map(|(_, button)| button.width(ui)).collect();
    let whole: f32 = widths.iter().sum::<f32>() + 8.0 * (widths.len() - 1) as f32;
    let mut x = (rect.center().x - whole / 2.0).round();
    for ((id, button), width) in buttons.into_iter().zip(widths) {
        cx.press(ui, id, button, Rect::from_min_size(pos2(x, y), vec2(width, 28.0)));
        x += width + 8.0;
    }
    if kinds_height > 0.0 {
        let line = rect.bottom() - kinds_height;
        ui.painter().hline(rect.left() + 16.0..=rect.right() - 16.0, line + 0.5, Stroke::new(1.0, c.line));
        kinds(cx, ui, Rect::from_min_max(pos2(rect.left() + 16.0, line), rect.max - vec2(16.0, 0.0)));
    }
}

fn kinds(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let kinds = [
        (icons::CUBE, "Models", "GGUF, safetensors"),
        (icons::TABLE, "Data", if cx.compact { "JSONL, CSV" } else { "JSONL, CSV, Parquet" }),
        (icons::PUZZLE_PIECE, "Adapters", "PEFT, GGUF LoRA"),
        (icons::ARCHIVE, "Projects", if cx.compact { "project.toml" } else { "folder or project.toml" }),
    ];
    let width = rect.width() / 4.0;
    for (index, (icon, name, files)) in kinds.into_iter().enumerate() {
        let left = rect.left() + index as f32 * width;
        text::icon(ui.painter(), pos2(left + 10.0, rect.center().y), icon, 20.0, c.text2);
        let place = Rect::from_min_size(pos2(left + 28.0, rect.center().y - 18.0), vec2(width - 30.0, 18.0));
        text::line(ui, place, Align::Min, name, Type::Medium, c.text);
        text::data(ui, place.translate(vec2(0.0, 18.0)), Align::Min, files, Type::Body, c.text2);
    }
}

fn recent_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, "Recent projects", "with the result of their last run");
    let recents = &cx.state.settings.recents;
    if recents.is_empty() {
        let mut lines = Rows::new(inside);
        let row = lines.next(20.0);
        text::line(ui, row, Align::Min, "Nothing here yet.", Type::Strong, c.text);
        let words = "Each project you open is listed with its last result: loss, forgetting and time.";
        lines.y += text::block(ui, pos2(inside.left(), lines.y), inside.width(), words, Type::Body, c.text2) + 8.0;
        let button = cx.button(ui, Id::NewProject);
        let width = button.width(ui);
        cx.press(ui, Id::NewProject, button, Rect::from_min_size(pos2(inside.left(), lines.y), vec2(width, 28.0)));
        return;
    }
    let mut lines = Rows::new(inside);
    let head = lines.next(22.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    let columns = [
        (0.0, 0.30, Align::Min, "project"),
        (0.30, 0.52, Align::Min, "model"),
        (0.52, 0.74, Align::Max, "loss, nats"),
        (0.74, 0.88, Align::Max, "forgetting"),
        (0.88, 1.0, Align::Max, "opened"),
    ];
    for (from, to, align, name) in columns {
        text::line(ui, rows::column(head, from, to), align, name, Type::Caption, c.text2);
    }
    for recent in recents {
        if lines.left() < 28.0 {
            break;
        }
        let row = lines.next(32.0);
        recent_row(cx, ui, row, recent);
    }
}

fn recent_row(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, recent: &Recent) {
    let c = cx.c();
    let response = ui.allocate_rect(row.expand2(vec2(8.0, 0.0)), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("Open {}", recent.name)));
    if response.hovered() {
        ui.painter().rect_filled(response.rect, 4.0, c.hover);
    }
    if response.has_focus() {
        focus_ring(ui, cx.theme, response.rect.shrink(2.0), 4.0);
    }
    rows::underline(ui, cx.theme, row);
    let column = |from: f32, to: f32| rows::column(row, from, to);
    let name = column(0.0, 0.29);
    text::icon(ui.painter(), pos2(name.left() + 8.0, name.center().y), icons::FOLDER, 16.0, c.text2);
    text::data(ui, name.with_min_x(name.left() + 22.0), Align::Min, &recent.name, Type::Strong, c.text);
    text::data(ui, column(0.30, 0.52), Align::Min, &format::plain_name(&recent.model), Type::Body, c.text2);
    let (loss, forgetting) = match &recent.result {
        Some(result) => {
            let loss = match (result.base_loss, result.best_loss) {
                (Some(base), Some(best)) => format!("{} to {}", format::nats(base), format::nats(best)),
                _ => format::UNKNOWN.to_owned(),
            };
            (loss, result.forgetting.map_or_else(|| format::UNKNOWN.to_owned(), format::signed_nats))
        }
        None => ("no run yet".to_owned(), String::new()),
    };
    let kind = if recent.result.is_some() { Type::Mono } else { Type::Body };
    text::data(ui, column(0.52, 0.74), Align::Max, &loss, kind, c.text);
    text::data(ui, column(0.74, 0.88), Align::Max, &forgetting, Type::Mono, c.text);
    let ago = format::ago(recent.opened_millis, cx.state.clock.now_millis());
    text::data(ui, column(0.885, 1.0), Align::Max, &ago, Type::Body, c.text2);
    if response.on_hover_text(recent.path.display().to_string()).clicked() {
        cx.send(UiCommand::OpenProject(recent.path.clone()));
    }
}

fn machine_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let (head, inside) = panel::titled(ui, cx.theme, rect, "This machine", "");
    let report = cx.state.settings.machine.as_ref();
    let selftest = report.and_then(|report| report.selftest.as_ref());
    let running = cx.state.jobs.find(|ask| *ask == crate::state::Ask::Doctor);
    if let Some(Event::Selftest { pass, .. }) = selftest
        && running.is_none()
    {
        let (icon, word, colour, area) = if *pass {
            (icons::CHECK_CIRCLE, "self-test passed", c.ok, c.ok_bg)
        } else {
            (icons::X_CIRCLE, "self-test failed", c.err, c.err_bg)
        };
        let width = bar::chip_width(ui, Some(icon), word);
        bar::chip(ui, pos2(head.right() - width, head.center().y), Some(icon), word, colour, area);
    }
    let mut lines = Rows::new(inside);
    lines.gap(2.0);
    let devices = report.map(|report| report.devices.as_slice()).unwrap_or_default();
    if devices.is_empty() {
        let words = "What this machine can do is measured once by the self-test: it trains a small model and \
                     checks learning, gradients, saving and speed.";
        lines.y += text::block(ui, pos2(inside.left(), lines.y), inside.width(), words, Type::Body, c.text2) + 6.0;
    }
    for device in devices.iter().take(3) {
        let Event::Device { kind, name, usable, note, threads, memory_mib } = device else { continue };
        let row = lines.next(22.0);
        let value = if *usable && *threads > 0 {
            format!("{threads} threads")
        } else if *usable {
            "ready".to_owned()
        } else {
            "not used".to_owned()
        };
        let key = if kind == "cpu" { "Processor".to_owned() } else { kind.to_uppercase() };
        let note = if note.is_empty() { name.clone() } else { note.clone() };
        rows::key_value(ui, cx.theme, row, 84.0, &key, &value, &note);
        if *memory_mib > 0.0 {
            let row = lines.next(22.0);
            rows::key_value(
                ui,
                cx.theme,
                row,
                84.0,
                "Memory",
                &format::mib(*memory_mib),
                if kind == "cpu" { "in all" } else { "on the device" },
            );
        }
    }
    let places = lines.next(22.0);
    let projects = cx.state.places.projects.display().to_string();
    text::line(ui, places, Align::Min, "Projects", Type::Body, c.text2);
    text::path(ui, places.with_min_x(places.left() + 84.0), &projects, Type::Body, c.text);
    lines.gap(6.0);
    panel::divider(ui, cx.theme, inside, lines.y);
    lines.gap(7.0);
    selftest_ui(cx, ui, &mut lines, selftest, running.map(|(_, running)| running));
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
    let name = if selftest.is_some() { "Run the self-test again" } else { "Run the self-test" };
    cx.press(ui, Id::Doctor, Button::icon_only(icons::ARROW_CLOCKWISE, name).enabled(running.is_none()), again);
    let words = row.with_max_x(again.left() - 6.0);
    if let Some(running) = running {
        let stage = if running.stage.is_empty() { "training a small model" } else { &running.stage };
        text::pieces(ui, words, &[Piece("Self-test", Type::Strong, c.text), Piece(stage, Type::Body, c.text2)]);
        let bar_rect = lines.next(12.0).with_max_x(again.left());
        let thin = Rect::from_center_size(bar_rect.center(), vec2(bar_rect.width(), 4.0));
        bar::progress(ui, cx.theme, thin, "Self-test", running.share(), c.accent);
        return;
    }
    let Some(Event::Selftest { pass, text: said, secs, tokens_per_sec, gemm_gflops }) = selftest else {
        text::pieces(ui, words, &[Piece("Self-test", Type::Strong, c.text), Piece("not run yet", Type::Body, c.text2)]);
        return;
    };
    let took = format!("took {}", format::duration(*secs));
    text::pieces(ui, words, &[Piece("Self-test", Type::Strong, c.text), Piece(&took, Type::Body, c.text2)]);
    let (icon, colour) = if *pass { (icons::CHECK_CIRCLE, c.ok) } else { (icons::X_CIRCLE, c.err) };
    text::icon(ui.painter(), pos2(lines.area.left() + 8.0, lines.y + 9.0), icon, 16.0, colour);
    let width = lines.area.width() - 22.0;
    lines.y +=
        text::clipped_block(ui, pos2(lines.area.left() + 22.0, lines.y), width, 2, said, Type::Body, c.text) + 2.0;
    for (name, figure, unit) in [
        ("Speed", format::speed(*tokens_per_sec), "tokens a second, small model"),
        ("Products", format!("{gemm_gflops:.0}"), "billion operations a second"),
    ] {
        if lines.left() < 18.0 {
            return;
        }
        let row = lines.next(20.0);
        text::line(ui, row, Align::Min, name, Type::Body, c.text2);
        let place = row.with_min_x(row.left() + 84.0);
        text::pieces(ui, place, &[Piece(&figure, Type::Mono, c.text), Piece(unit, Type::Body, c.text2)]);
    }
}

/// Sizes of common models with what LoRA of rank 16 on all linear layers adds to each.
const SIZES: [(&str, f64, f64); 4] =
    [("135 M", 134.5e6, 4.9e6), ("360 M", 361.8e6, 8.7e6), ("1.7 B", 1711e6, 18.1e6), ("7 B", 6738e6, 40.0e6)];

fn fits_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let note = "estimated, LoRA rank 16 on 4-bit weights";
    let (_, inside) = panel::titled(ui, cx.theme, rect, "What fits here", note);
    let report = cx.state.settings.machine.as_ref();
    let gflops = match report.and_then(|report| report.selftest.as_ref()) {
        Some(Event::Selftest { gemm_gflops, .. }) if *gemm_gflops > 0.0 => *gemm_gflops,
        _ => {
            let words =
                "The self-test measures this machine's speed; then the sizes of models that fit are listed here.";
            text::block(ui, inside.min, inside.width(), words, Type::Body, c.text2);
            return;
        }
    };
    let memory = super::status::machine_memory(cx).unwrap_or(f64::INFINITY);
    let mut lines = Rows::new(inside);
    let head = lines.next(22.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    for (from, to, align, name) in [
        (0.0, 0.22, Align::Max, "parameters"),
        (0.3, 0.62, Align::Max, "tokens per second"),
        (0.66, 1.0, Align::Max, "memory, GiB"),
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
            text::line(ui, rows::column(row, 0.3, 0.62), Align::Max, "does not fit", Type::Body, c.warn);
            let of = format!("{gib} of {:.1}", memory / 1024.0);
            text::line(ui, rows::column(row, 0.66, 1.0), Align::Max, &of, Type::Mono, c.warn);
        }
    }
}

/// A few keys, so that the palette is found; the help has all of them.
fn keys_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, "Keys worth knowing", "");
    let mut lines = Rows::new(inside);
    for id in [Id::Palette, Id::Train, Id::Pause, Id::Undo, Id::GoWatch, Id::Help] {
        if lines.left() < 22.0 {
            return;
        }
        let entry = crate::commands::entry(id);
        let row = lines.next(23.0);
        text::icon(ui.painter(), pos2(row.left() + 8.0, row.center().y), entry.icon, 16.0, c.text2);
        let keys = entry.keys(ui.ctx()).unwrap_or_default();
        text::line(ui, row, Align::Max, &keys, Type::MonoCaption, c.text);
        let words = Rect::from_min_max(pos2(row.left() + 24.0, row.top()), pos2(row.right() - 90.0, row.bottom()));
        let help = if cx.compact { "" } else { entry.help };
        let pieces = [Piece(entry.name, Type::Body, c.text), Piece(help, Type::Body, c.text2)];
        text::pieces(ui, words, &pieces);
    }
}

fn private_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, "Private by default", "");
    let lines = [
        "No telemetry: there is nothing to switch off.",
        "No network: the program makes no connection.",
        "Your texts stay in your files; only hashes are kept.",
    ];
    let mut rows = Rows::new(inside);
    for words in lines {
        let row = rows.next(20.0);
        text::icon(ui.painter(), pos2(row.left() + 7.0, row.center().y), icons::CHECK_BOLD, 13.0, c.text2);
        text::data(ui, row.with_min_x(row.left() + 22.0), Align::Min, words, Type::Body, c.text2);
    }
}
