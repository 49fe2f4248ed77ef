//! The card Data: how the file was read, its first rows, how long they are, and what was set aside.

use super::columns::columns_ui;
use super::{card_problem, mark, missing, section};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::Ask;
use crate::state::lens::LensAct;
use crate::state::setup::Card;
use crate::theme::{Type, icons};
use crate::widgets::button::{Weight, focus_ring};
use crate::widgets::rows::{self, Rows};
use crate::widgets::text;
use crate::widgets::{Button, empty, panel};
use egui::{Align, Rect, Shape, Stroke, Ui, pos2, vec2};
use temper_protocol::project::Source;
use temper_protocol::{Event, event, named};

const KEY: f32 = 64.0;

/// Shows the card.
pub fn data_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let draft = &cx.state.draft;
    let chosen = !draft.project.data.train.is_empty();
    let fresh = fresh_preview(cx);
    let first = draft.project.data.train.first().and_then(|source| cx.state.known.get(&draft.resolve(source.path())));
    let ready = chosen && (fresh.is_some() || (first.is_some() && !draft.has_model()));
    let inside = panel::card(ui, cx.theme, rect, icons::TABLE, t!("common-data"), mark(cx, Card::Data, ready, chosen));
    let gone = cx.state.missing_data();
    scrolled(ui, inside, "data card", |ui, area| {
        if let Some((_, path)) = &gone {
            return missing::data_ui(cx, ui, area, path);
        }
        let used = card_problem(cx, ui, area, Card::Data);
        let area = area.with_min_y(area.top() + used);
        if chosen {
            filled(cx, ui, area, first, fresh);
        } else {
            nothing(cx, ui, area);
        }
    });
}

/// The preview, when it belongs to what is chosen now.
fn fresh_preview<'a>(cx: &PanelCtx<'a>) -> Option<&'a Event> {
    let answer = cx.state.setup.preview.as_ref()?;
    (answer.fingerprint == cx.state.draft.data_fingerprint()).then_some(&answer.event)
}

fn nothing(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect) {
    let acts = [
        empty::Act { label: t!("data-choose"), icon: icons::FILE_TEXT, tooltip: t!("data-choose-tip") },
        empty::Act { label: t!("data-starter"), icon: icons::TABLE, tooltip: t!("data-starter-tip") },
    ];
    let area = area.with_min_y(area.top() + 12.0);
    let words = if cx.state.drops_work { t!("data-none-lead") } else { t!("data-none-choose") };
    match empty::show(ui, cx.theme, area, icons::TABLE, t!("data-none"), words, &acts) {
        Some(0) => cx.send(UiCommand::ChooseFiles),
        Some(_) => cx.edit("data.train", |project| {
            project.data.train = vec![Source::Path(named::STARTER_DATA.to_owned())];
        }),
        None => {}
    }
}

fn filled(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, facts: Option<&Event>, preview: Option<&Event>) {
    let c = cx.c();
    let mut lines = Rows::new(area.with_min_y(area.top() + 6.0));
    let sources = &cx.state.draft.project.data.train;
    let name = sources.first().map(|source| format::plain_name(source.path())).unwrap_or_default();
    let name = if sources.len() > 1 { t!("data-and-more", name = name, more = sources.len() - 1) } else { name };
    let row = lines.next(22.0);
    let count = match (preview, facts) {
        (Some(Event::Preview { rows, estimated: true, .. }), _) => Some(t!("data-about", rows = about(*rows))),
        (Some(Event::Preview { rows, .. }), _) => Some(t!("data-rows", n = rows, rows = format::count(*rows))),
        (_, Some(Event::Dataset { rows, complete, .. })) => {
            let more = if *complete { "" } else { "+" };
            Some(t!("data-rows", n = rows, rows = format!("{}{more}", format::count(*rows))))
        }
        _ => None,
    };
    let count_words = count.unwrap_or_default();
    let width = text::width(ui, &count_words, Type::Body);
    text::line(ui, row, Align::Max, &count_words, Type::Body, c.text2);
    text::data(ui, row.with_max_x(row.right() - width - 8.0), Align::Min, &name, Type::Panel, c.text);
    match preview {
        Some(preview) => read(cx, ui, &mut lines, preview),
        None => seen(cx, ui, &mut lines, facts),
    }
    let used = Rect::from_min_max(area.min, pos2(area.right(), lines.y + 4.0));
    ui.allocate_rect(used, egui::Sense::hover());
}

/// What was reckoned: two digits of it are meant.
fn about(rows: u64) -> String {
    let step = 10_u64.pow(rows.max(1).ilog10().saturating_sub(1));
    format::count(rows / step * step)
}

/// Only what the drop zone saw: the model's tokenizer is missing, or the rows are still being read.
fn seen(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, facts: Option<&Event>) {
    let c = cx.c();
    if let Some(Event::Dataset { format: container, schema, confidence, bad_rows, columns, .. }) = facts {
        let sure = t!("data-confidence", confidence = format!("{confidence:.2}"));
        rows::key_value(ui, cx.theme, lines.next(22.0), KEY, t!("data-read-as"), &format::schema_words(schema), &sure);
        rows::key_value(ui, cx.theme, lines.next(22.0), KEY, t!("data-file"), format::container_words(container), "");
        rows::key_value(ui, cx.theme, lines.next(22.0), KEY, t!("data-columns"), &columns.join(", "), "");
        if *bad_rows > 0 {
            let aside = t!("data-rows", n = bad_rows, rows = format::count(*bad_rows));
            rows::key_value(ui, cx.theme, lines.next(22.0), KEY, t!("data-aside"), &aside, "");
        }
        lines.gap(6.0);
    }
    columns_ui(cx, ui, lines);
    let words = if cx.state.setup.problems.contains_key(&Card::Data) {
        return;
    } else if !cx.state.draft.has_model() {
        t!("data-needs-model")
    } else if cx.state.jobs.is_empty() && cx.state.draft.is_saved() {
        t!("data-waits-model")
    } else {
        t!("data-reading")
    };
    lines.y += text::block(ui, pos2(lines.area.left(), lines.y), lines.area.width(), words, Type::Body, c.text2);
}

fn read(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, preview: &Event) {
    let Event::Preview {
        train_rows,
        validation_rows,
        bad_rows,
        cut_rows,
        tokens,
        trained_tokens,
        median_tokens,
        longest_tokens,
        histogram,
        examples,
        quarantine,
        schema,
        confidence,
        estimated,
        ..
    } = preview
    else {
        return;
    };
    let c = cx.c();
    let sure = t!("data-confidence", confidence = format!("{confidence:.2}"));
    rows::key_value(ui, cx.theme, lines.next(22.0), KEY, t!("data-read-as"), &format::schema_words(schema), &sure);
    let split = t!("data-train-rows", rows = format::count(*train_rows));
    rows::key_value(
        ui,
        cx.theme,
        lines.next(22.0),
        KEY,
        t!("data-split"),
        &split,
        &t!("data-validation-rows", rows = format::count(*validation_rows)),
    );
    let share = if *tokens > 0 { *trained_tokens as f64 / *tokens as f64 } else { 0.0 };
    let trained = t!("data-trained", tokens = format::tokens(*trained_tokens), share = format::percent(share));
    rows::key_value(ui, cx.theme, lines.next(22.0), KEY, t!("data-tokens"), &format::tokens(*tokens), &trained);
    if *estimated {
        let top = pos2(lines.area.left(), lines.y + 2.0);
        let reading = cx.state.jobs.find(|ask| matches!(ask, Ask::Preview(_))).is_some();
        let words = if reading { t!("data-estimated") } else { t!("data-estimated-only") };
        lines.y += text::block(ui, top, lines.area.width(), words, Type::Body, c.text2) + 4.0;
    }
    if *bad_rows > 0 || *cut_rows > 0 {
        lines.gap(2.0);
        look(cx, ui, lines.next(28.0), *bad_rows, *cut_rows, !quarantine.is_empty());
    }
    lines.gap(4.0);
    if cx.state.setup.show_aside && !quarantine.is_empty() {
        aside(cx, ui, lines, quarantine, *bad_rows);
        return;
    }
    columns_ui(cx, ui, lines);
    panel::divider(ui, cx.theme, lines.area, lines.y + 3.0);
    lines.gap(7.0);
    first_rows(cx, ui, lines, examples);
    panel::divider(ui, cx.theme, lines.area, lines.y + 3.0);
    lines.gap(7.0);
    let row = lines.next(22.0);
    text::line(ui, row, Align::Min, t!("data-length"), Type::Strong, c.text);
    let note = t!("data-median", median = format::count(*median_tokens), longest = format::count(*longest_tokens));
    text::line(ui, row, Align::Max, &note, Type::Body, c.text2);
    let height = (lines.left() - 5.0).clamp(96.0, 200.0);
    let place = lines.next(height);
    lengths(cx, ui, place, histogram, *longest_tokens);
}

/// The line that says what needs a look.
fn look(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, bad: u64, cut: u64, can_show: bool) {
    let c = cx.c();
    ui.painter().rect_filled(row, 4.0, c.warn_bg);
    text::icon(ui.painter(), pos2(row.left() + 15.0, row.center().y), icons::WARNING, 16.0, c.warn);
    let mut parts = Vec::new();
    if bad > 0 {
        parts.push(t!("data-rows-aside", n = bad, rows = format::count(bad)));
    }
    if cut > 0 {
        parts.push(t!("data-rows-cut", n = cut, rows = format::count(cut)));
    }
    let shown = cx.state.setup.show_aside;
    let button = Button::new(if shown { t!("common-hide") } else { t!("common-show") }).weight(Weight::Link);
    let button = button.tooltip(t!("data-aside-tip")).name(t!("data-aside-name"));
    let width = button.width(ui);
    let place = Rect::from_min_size(pos2(row.right() - 8.0 - width, row.top() + 4.0), vec2(width, 20.0));
    let words = Rect::from_min_max(pos2(row.left() + 28.0, row.top()), pos2(place.left() - 8.0, row.bottom()));
    text::data(ui, words, Align::Min, &parts.join(", "), Type::Body, c.text);
    if can_show && button.show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::ShowAside(!shown));
    }
}

/// Rows set aside: file, line, reason.
fn aside(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, quarantine: &[event::QuarantineRow], all: u64) {
    let c = cx.c();
    section(cx, ui, lines.next(24.0), t!("data-aside"), t!("data-aside-note"));
    for bad in quarantine {
        let file = format::file_name(&bad.file.display().to_string()).to_owned();
        let place = t!("data-line", file = file, line = format::count(bad.line));
        text::data(ui, lines.next(18.0), Align::Min, &place, Type::Mono, c.text);
        let top = pos2(lines.area.left(), lines.y);
        lines.y += text::block(ui, top, lines.area.width(), &bad.reason, Type::Body, c.text2) + 6.0;
    }
    let more = all.saturating_sub(quarantine.len() as u64);
    if more > 0 {
        let words = t!("data-more-same", more = format::count(more));
        text::line(ui, lines.next(20.0), Align::Min, &words, Type::Body, c.text2);
    }
}

fn first_rows(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, examples: &[event::PreviewRow]) {
    let c = cx.c();
    let row = lines.next(22.0);
    section(cx, ui, row, t!("data-first-rows"), "");
    let lens = cx.button(ui, Id::TokenLens).weight(Weight::Link).keys(None);
    let width = lens.width(ui);
    let place = Rect::from_min_size(pos2(row.right() - width, row.top() + 1.0), vec2(width, 20.0));
    cx.press(ui, Id::TokenLens, lens, place);
    let head = lines.next(20.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    let columns = |row: Rect| {
        let line = row.with_max_x(row.left() + 28.0);
        let tokens = row.with_min_x(row.right() - 44.0);
        let middle = (line.right() + tokens.left()) / 2.0;
        let input = Rect::from_min_max(pos2(line.right() + 10.0, row.top()), pos2(middle - 2.0, row.bottom()));
        let output = Rect::from_min_max(pos2(middle + 4.0, row.top()), pos2(tokens.left() - 4.0, row.bottom()));
        [line, input, output, tokens]
    };
    for (index, name) in [t!("data-head-row"), t!("data-head-input"), t!("data-head-answer"), t!("data-head-tokens")]
        .into_iter()
        .enumerate()
    {
        let align = if index == 0 || index == 3 { Align::Max } else { Align::Min };
        text::line(ui, columns(head)[index], align, name, Type::Caption, c.text2);
    }
    let count = if lines.left() > 230.0 { 4 } else { 3 };
    for example in examples.iter().take(count) {
        let row = lines.next(22.0);
        rows::underline(ui, cx.theme, row);
        let [line, input, output, tokens] = columns(row);
        example_ui(cx, ui, row, example);
        text::line(ui, line, Align::Max, &example.line.to_string(), Type::Mono, c.text3);
        let flat = |words: &str| words.split_whitespace().collect::<Vec<_>>().join(" ");
        text::data(ui, input, Align::Min, &flat(&example.input), Type::Body, c.text);
        text::data(ui, output, Align::Min, &flat(&example.output), Type::Body, c.text);
        text::line(ui, tokens, Align::Max, &format::count(example.tokens), Type::Mono, c.text);
    }
}

/// A row of the first rows can be opened in the token lens, which begins at the top where its number is not known.
fn example_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, example: &event::PreviewRow) {
    let response = ui.allocate_rect(row, egui::Sense::click());
    let name = t!("data-row-lens", row = example.line);
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, name.as_str()));
    if response.hovered() {
        ui.painter().rect_filled(row, 0.0, cx.c().hover);
    }
    if response.has_focus() {
        focus_ring(ui, cx.theme, row.shrink(2.0), 0.0);
    }
    if response.clicked() {
        cx.send(UiCommand::Lens(LensAct::Open(example.row)));
    }
    response.on_hover_text(t!("data-row-lens-tip", trained = example.trained, tokens = example.tokens));
}

/// Histogram of row lengths with the limit, and the two sides in words.
fn lengths(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, histogram: &[u64], longest: u64) {
    let c = cx.c();
    let limit = cx.state.draft.project.data.max_tokens as f64;
    let end = (longest as f64).max(1.0);
    let span = end.max(if limit < end * 1.6 { limit * 1.04 } else { end });
    let plot = rect.with_max_y(rect.bottom() - 20.0);
    ui.painter().rect_filled(plot, 0.0, c.plot);
    let highest = histogram.iter().copied().max().unwrap_or(1).max(1) as f32;
    let x_of = |tokens: f64| plot.left() + (tokens / span) as f32 * plot.width();
    let bin = end / histogram.len().max(1) as f64;
    for (index, rows) in histogram.iter().enumerate() {
        if *rows == 0 {
            continue;
        }
        let (left, right) = (x_of(index as f64 * bin), x_of((index as f64 + 1.0) * bin));
        let height = (*rows as f32 / highest * (plot.height() - 8.0)).max(1.0);
        let beyond = index as f64 * bin >= limit;
        let bar =
            Rect::from_min_max(pos2(left, plot.bottom() - height), pos2((right - 1.0).max(left + 1.0), plot.bottom()));
        ui.painter().rect_filled(bar, 0.0, cx.theme.series(usize::from(beyond)));
    }
    ui.painter().hline(plot.left()..=plot.right(), plot.bottom() + 0.5, Stroke::new(1.0, c.line2));
    if limit <= span {
        let x = x_of(limit).round() + 0.5;
        let line = [pos2(x, plot.top()), pos2(x, plot.bottom())];
        ui.painter().extend(Shape::dashed_line(&line, Stroke::new(1.0, c.warn), 3.0, 3.0));
        let words = t!("data-cut-at", tokens = format::count(cx.state.draft.project.data.max_tokens as u64));
        let width = text::width(ui, &words, Type::Caption);
        let left = if x + 6.0 + width > plot.right() { x - 6.0 - width } else { x + 6.0 };
        let place = Rect::from_min_size(pos2(left, plot.top() + 3.0), vec2(width, 16.0));
        ui.painter().rect_filled(place.expand2(vec2(2.0, 0.0)), 0.0, c.plot);
        text::line(ui, place, Align::Min, &words, Type::Caption, c.warn);
    }
    let axis = Rect::from_min_max(pos2(plot.left(), plot.bottom() + 3.0), rect.max);
    text::paint(ui.painter(), axis, Align::Min, "0", Type::MonoCaption, c.text3);
    text::paint(ui.painter(), axis, Align::Center, &format::count((span / 2.0) as u64), Type::MonoCaption, c.text3);
    text::paint(ui.painter(), axis, Align::Max, &format::count(span as u64), Type::MonoCaption, c.text3);
    let within = histogram.iter().enumerate().filter(|(index, _)| (*index as f64) * bin < limit).map(|(_, rows)| rows);
    let within: u64 = within.sum();
    let all: u64 = histogram.iter().sum();
    let response = ui.allocate_rect(plot, egui::Sense::hover());
    let words = t!("data-lengths-words", within = format::count(within), beyond = format::count(all - within));
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, t!("data-lengths", words = words)));
    response.on_hover_text(words);
}
