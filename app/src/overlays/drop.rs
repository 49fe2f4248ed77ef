//! While files hover over the window: what they are, where they would go, what would change.
//!
//! The place is decided by what a thing is, not by the pointer: several systems report neither pointer nor
//! keys while a file hovers.

use crate::format;
use crate::rooms::PanelCtx;
use crate::rooms::setup::{PREFLIGHT, ROOM_HEAD, card_rects};
use crate::state::Room;
use crate::state::drop::{Target, path_of, targets};
use crate::theme::{Icon, Theme, Type, icons};
use crate::widgets::rows::{self, Rows};
use crate::widgets::text::{self, Piece};
use crate::widgets::{bar, panel};
use egui::{Align, Rect, Shape, Stroke, StrokeKind, Ui, pos2, vec2};
use temper_protocol::Event;
use temper_protocol::project::Source;

/// Shows the overlay in the place of the room.
pub fn drop_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let head = Rect::from_min_size(rect.min + vec2(4.0, 0.0), vec2(rect.width(), 28.0));
    // An adapter that falls on the room Export stays there; everything else goes into a card of Setup.
    let exported = match cx.state.drop.verdicts.as_slice() {
        [thing @ Event::Adapter { .. }] if cx.state.room == Room::Export => Some(thing),
        _ => None,
    };
    text::paint(
        ui.painter(),
        head,
        Align::Min,
        if exported.is_some() { t!("preflight-export") } else { t!("setup-title") },
        Type::Room,
        Theme::fade(c.text, 1.0 - cx.theme.shares.scrim),
    );
    let drop = &cx.state.drop;
    let first = drop.verdicts.iter().find(|thing| targets(thing).0.is_some()).or_else(|| drop.verdicts.first());
    let strip = rect.with_min_y(rect.bottom() - PREFLIGHT);
    let area = Rect::from_min_max(pos2(rect.left(), rect.top() + ROOM_HEAD), pos2(rect.right(), strip.top() - 8.0));
    if let Some(thing) = exported {
        let place = area.with_max_x(area.left() + (area.width() * 0.5).round());
        card_ui(cx, ui, place, Target::Export, icons::EXPORT, t!("export-adapter"), &[thing], None);
        strip_ui(cx, ui, strip, first);
        return;
    }
    let cards = card_rects(area, cx.compact);
    let kinds = [
        (Target::Model, icons::CUBE, t!("common-model")),
        (Target::Data, icons::TABLE, t!("common-data")),
        (Target::Method, icons::PUZZLE_PIECE, t!("common-method")),
        (Target::Keep, icons::SHIELD_CHECK, t!("common-keep")),
    ];
    for (place, (target, icon, name)) in cards.into_iter().zip(kinds) {
        let fits: Vec<&Event> = drop.verdicts.iter().filter(|thing| targets(thing).0 == Some(target)).collect();
        let also = drop.verdicts.iter().find(|thing| targets(thing).1 == Some(target));
        card_ui(cx, ui, place, target, icon, name, &fits, also);
    }
    strip_ui(cx, ui, strip, first);
}

#[expect(clippy::too_many_arguments, reason = "the parts of one card, each named at the call")]
fn card_ui(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    rect: Rect,
    target: Target,
    icon: Icon,
    name: &str,
    fits: &[&Event],
    also: Option<&Event>,
) {
    let c = cx.c();
    let goes_here = !fits.is_empty();
    let fill = if goes_here { c.card } else { c.panel };
    ui.painter().rect_filled(rect, 6.0, fill);
    let head = rect.with_max_y(rect.top() + panel::CARD_HEAD);
    if goes_here {
        let round = egui::CornerRadius { nw: 6, ne: 6, sw: 0, se: 0 };
        ui.painter().rect_filled(head, round, c.accent_bg);
        ui.painter().rect_stroke(rect, 6.0, Stroke::new(2.0, c.accent), StrokeKind::Inside);
    } else if also.is_some() {
        let edge = rect.shrink(0.5);
        let corners = [edge.left_top(), edge.right_top(), edge.right_bottom(), edge.left_bottom(), edge.left_top()];
        ui.painter().extend(Shape::dashed_line(&corners, Stroke::new(1.0, c.line2), 5.0, 4.0));
    } else {
        ui.painter().rect_stroke(rect, 6.0, Stroke::new(1.0, c.line), StrokeKind::Inside);
    }
    let divider = if goes_here { c.accent } else { c.line };
    ui.painter().hline(rect.x_range(), head.bottom() - 0.5, Stroke::new(1.0, divider));
    let tone = if goes_here { c.accent } else { c.text2 };
    text::icon(ui.painter(), pos2(head.left() + 21.0, head.center().y), icon, 20.0, tone);
    let title = if goes_here || also.is_some() { c.text } else { c.text2 };
    text::line(ui, head.with_min_x(head.left() + 38.0), Align::Min, name, Type::Card, title);
    let chip = if goes_here {
        Some((icons::TRAY_ARROW_DOWN, t!("drop-here"), c.accent))
    } else if also.is_some() {
        Some((icons::PLUS, t!("drop-also"), c.text2))
    } else {
        None
    };
    if let Some((icon, word, colour)) = chip {
        let width = bar::chip_width(ui, Some(icon), word);
        let area = if goes_here { c.panel } else { c.raised };
        bar::chip(ui, pos2(head.right() - 10.0 - width, head.center().y), Some(icon), word, colour, area);
    }
    let inside = Rect::from_min_max(pos2(rect.left() + 12.0, head.bottom() + 12.0), rect.max - vec2(12.0, 8.0));
    match (fits.first(), also) {
        (Some(thing), _) => target_ui(cx, ui, inside, target, thing, fits.len()),
        (None, Some(thing)) => also_ui(cx, ui, inside, target, thing),
        (None, None) => refusal_ui(cx, ui, inside, target),
    }
}

fn refusal_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, target: Target) {
    let c = cx.c();
    let state = cx.state;
    let seen = !state.drop.verdicts.is_empty();
    let (title, words) = match target {
        Target::Model => (
            t!("drop-not-model"),
            current_model(cx).map_or_else(|| t!("drop-no-model").to_owned(), |name| t!("drop-stays", name = name)),
        ),
        Target::Data => (
            t!("drop-not-data"),
            current_data(cx).map_or_else(|| t!("drop-no-data").to_owned(), |name| t!("drop-stays", name = name)),
        ),
        Target::Method => {
            let method =
                state.method().map_or_else(|| state.draft.project.method.id.clone(), |card| card.title.clone());
            (t!("drop-not-adapter"), t!("drop-stays", name = method))
        }
        _ => (
            t!("drop-not-kept"),
            t!(
                "drop-sets-stay",
                n = state.draft.project.keep.probes.len(),
                count = state.draft.project.keep.probes.len()
            ),
        ),
    };
    if !seen {
        return;
    }
    text::icon(ui.painter(), pos2(rect.left() + 9.0, rect.top() + 9.0), icons::PROHIBIT, 18.0, c.text2);
    text::line(
        ui,
        Rect::from_min_size(rect.min + vec2(26.0, 0.0), vec2(rect.width() - 26.0, 18.0)),
        Align::Min,
        title,
        Type::Panel,
        c.text2,
    );
    text::block(ui, rect.min + vec2(26.0, 22.0), rect.width() - 26.0, &words, Type::Body, c.text3);
}

fn current_model(cx: &PanelCtx<'_>) -> Option<String> {
    let path = &cx.state.draft.project.model.path;
    (!path.is_empty()).then(|| format::plain_name(path))
}

fn current_data(cx: &PanelCtx<'_>) -> Option<String> {
    cx.state.draft.project.data.train.first().map(|source: &Source| format::plain_name(source.path()))
}

fn title(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, words: &str, more: &str) {
    let c = cx.c();
    text::line(ui, lines.next(20.0), Align::Min, words, Type::Panel, c.text);
    lines.gap(3.0);
    let top = pos2(lines.area.left(), lines.y);
    lines.y += text::block(ui, top, lines.area.width(), more, Type::Body, c.text2) + 8.0;
}

/// What changes: name, now, after the drop.
fn changes(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, changes: &[(&str, String, String)]) {
    let c = cx.c();
    let head = lines.next(20.0);
    rows::table_head(ui, cx.theme, head, 10.0);
    text::line(ui, head, Align::Min, t!("drop-changes"), Type::Caption, c.text2);
    text::line(ui, rows::column(head, 0.0, 0.55), Align::Max, t!("drop-now"), Type::Caption, c.text2);
    text::line(ui, head, Align::Max, t!("drop-after"), Type::Caption, c.text2);
    for (name, now, after) in changes {
        if lines.left() < 22.0 {
            return;
        }
        let row = lines.next(24.0);
        rows::underline(ui, cx.theme, row);
        text::line(ui, rows::column(row, 0.0, 0.4), Align::Min, name, Type::Body, c.text2);
        text::data(ui, rows::column(row, 0.3, 0.55), Align::Max, now, Type::Mono, c.text2);
        text::data(ui, rows::column(row, 0.57, 1.0), Align::Max, after, Type::MonoMedium, c.text);
    }
}

fn target_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, target: Target, thing: &Event, count: usize) {
    let mut lines = Rows::new(rect);
    let none = || format::UNKNOWN.to_owned();
    let takes = |old: Option<String>| match old {
        Some(old) => t!("drop-takes-place", old = old),
        None => t!("drop-nothing-chosen").to_owned(),
    };
    match (target, thing) {
        (Target::Model, Event::Model { parameters, layers, context, storage, disk_bytes, .. }) => {
            title(cx, ui, &mut lines, t!("drop-use-model"), &takes(current_model(cx)));
            let now = match cx.state.model_facts() {
                Some(Event::Model { parameters, layers, context, storage, disk_bytes, .. }) => [
                    format::parameters(*parameters),
                    format::count(*layers),
                    format::count(*context),
                    storage.clone(),
                    format::bytes(*disk_bytes),
                ],
                _ => std::array::from_fn(|_| none()),
            };
            let after = [
                format::parameters(*parameters),
                format::count(*layers),
                format::count(*context),
                storage.clone(),
                format::bytes(*disk_bytes),
            ];
            let names =
                [t!("common-parameters"), t!("drop-layers"), t!("drop-context"), t!("drop-storage"), t!("drop-size")];
            let table: Vec<_> =
                names.into_iter().zip(now.into_iter().zip(after)).map(|(n, (a, b))| (n, a, b)).collect();
            changes(cx, ui, &mut lines, &table);
        }
        (Target::Data, Event::Dataset { rows, bad_rows, schema, columns, complete, .. }) => {
            let words = if count > 1 { t!("drop-together", count = count) } else { String::new() };
            title(cx, ui, &mut lines, t!("drop-use-data"), &format!("{words}{}", takes(current_data(cx))));
            let now = match cx.state.setup.preview.as_ref().map(|answer| &answer.event) {
                Some(Event::Preview { rows, bad_rows, schema, .. }) => {
                    [format::count(*rows), format::count(*bad_rows), format::schema_words(schema)]
                }
                _ => std::array::from_fn(|_| none()),
            };
            let more = if *complete { "" } else { "+" };
            let after =
                [format!("{}{more}", format::count(*rows)), format::count(*bad_rows), format::schema_words(schema)];
            let names = [t!("drop-rows"), t!("drop-aside"), t!("drop-read-as")];
            let mut table: Vec<_> =
                names.into_iter().zip(now.into_iter().zip(after)).map(|(n, (a, b))| (n, a, b)).collect();
            table.push((t!("drop-columns"), none(), columns.join(", ")));
            changes(cx, ui, &mut lines, &table);
        }
        (Target::Method, Event::Adapter { method, rank, sites, parameters, base, .. }) => {
            title(cx, ui, &mut lines, t!("drop-use-settings"), t!("drop-use-settings-lead"));
            let project = &cx.state.draft.project;
            let now_rank = project.method.settings.0.get("rank").map_or_else(none, ToString::to_string);
            let table = [
                (t!("drop-method"), project.method.id.clone(), method.clone()),
                (t!("common-rank"), now_rank, rank.to_string()),
                (t!("drop-sites"), none(), format::count(*sites)),
                (t!("common-parameters"), none(), format::parameters(*parameters)),
                (
                    t!("drop-made-for"),
                    none(),
                    if base.is_empty() { t!("common-not-stated").to_owned() } else { base.clone() },
                ),
            ];
            changes(cx, ui, &mut lines, &table);
        }
        (Target::Export, Event::Adapter { method, rank, sites, parameters, base, .. }) => {
            title(cx, ui, &mut lines, t!("drop-export"), t!("drop-export-lead"));
            let made_for = if base.is_empty() { t!("common-not-stated") } else { base.as_str() };
            let table = [
                (t!("drop-method"), none(), method.clone()),
                (t!("common-rank"), none(), rank.to_string()),
                (t!("drop-sites"), none(), format::count(*sites)),
                (t!("common-parameters"), none(), format::parameters(*parameters)),
                (t!("drop-made-for"), none(), made_for.to_owned()),
            ];
            changes(cx, ui, &mut lines, &table);
        }
        _ => {}
    }
}

fn also_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, target: Target, thing: &Event) {
    if target != Target::Keep {
        return;
    }
    let mut lines = Rows::new(rect);
    title(cx, ui, &mut lines, t!("drop-keep"), t!("drop-keep-lead"));
    let sets = cx.state.draft.project.keep.probes.len();
    let rows = if let Event::Dataset { rows, .. } = thing { format::count(*rows) } else { format::UNKNOWN.to_owned() };
    let table = [
        (t!("drop-kept-sets"), sets.to_string(), (sets + 1).to_string()),
        (t!("drop-texts"), format::UNKNOWN.to_owned(), rows),
    ];
    changes(cx, ui, &mut lines, &table);
}

/// The verdict in one line: what it is.
#[must_use]
pub fn verdict(thing: &Event) -> (Icon, String) {
    let word = |text: &str| crate::reader::words::sentence_case(text);
    match thing {
        Event::Model { architecture, parameters, storage, .. } => (
            icons::CUBE,
            t!(
                "drop-model",
                family = word(architecture),
                parameters = format::parameters(*parameters),
                storage = storage
            ),
        ),
        Event::Dataset { schema, rows, format: container, complete, .. } => {
            let more = if *complete { "" } else { "+" };
            (
                icons::FILE_TEXT,
                t!(
                    "drop-data",
                    schema = format::schema_words(schema),
                    rows = format!("{}{more}", format::count(*rows)),
                    container = format::container_words(container)
                ),
            )
        }
        Event::Adapter { method, rank, sites, .. } => {
            (icons::PUZZLE_PIECE, t!("drop-adapter", method = method, rank = rank, sites = format::count(*sites)))
        }
        Event::Project { name, runs, .. } => {
            let runs = t!("drop-runs", n = runs, runs = format::count(*runs));
            (icons::FOLDER_OPEN, t!("drop-project", name = name, runs = runs))
        }
        Event::Unknown { .. } => (icons::PROHIBIT, t!("drop-unusable").to_owned()),
        _ => (icons::QUESTION, String::new()),
    }
}

/// Facts under the verdict: name, icon of its state, words.
fn facts(thing: &Event) -> Vec<(&'static str, bool, String)> {
    match thing {
        Event::Model { layers, hidden_size, tokenizer, chat_template, sites, .. } => vec![
            (
                t!("drop-shape"),
                true,
                t!(
                    "drop-shape-words",
                    n = layers,
                    layers = format::count(*layers),
                    width = format::count(*hidden_size)
                ),
            ),
            (
                t!("model-tokenizer"),
                !tokenizer.is_empty(),
                if tokenizer.is_empty() { t!("drop-none-found").to_owned() } else { tokenizer.clone() },
            ),
            (
                t!("model-template"),
                true,
                if chat_template.is_empty() { t!("drop-template-none").to_owned() } else { chat_template.clone() },
            ),
            (
                t!("drop-adaptable"),
                !sites.is_empty(),
                t!("drop-linear", n = sites.len(), count = format::count(sites.len() as u64)),
            ),
        ],
        Event::Dataset { confidence, rows, bad_rows, complete, columns, .. } => vec![
            (t!("data-read-as"), *confidence >= 0.8, t!("data-confidence", confidence = format!("{confidence:.2}"))),
            (
                t!("drop-read-so-far"),
                true,
                if *complete {
                    t!("drop-all-rows", n = rows, rows = format::count(*rows))
                } else {
                    t!("drop-first-rows", n = rows, rows = format::count(*rows))
                },
            ),
            (t!("data-columns"), true, columns.join(", ")),
            (
                t!("drop-look"),
                *bad_rows == 0,
                if *bad_rows == 0 {
                    t!("drop-look-none").to_owned()
                } else {
                    t!("data-rows-aside", n = bad_rows, rows = format::count(*bad_rows))
                },
            ),
        ],
        Event::Adapter { format: container, base, parameters, .. } => vec![
            (t!("drop-container"), true, container.clone()),
            (
                t!("drop-base"),
                !base.is_empty(),
                if base.is_empty() { t!("common-not-stated").to_owned() } else { base.clone() },
            ),
            (t!("model-parameters"), true, format::parameters(*parameters)),
        ],
        Event::Project { model, method, .. } => {
            vec![(t!("common-model"), true, format::plain_name(model)), (t!("common-method"), true, method.clone())]
        }
        Event::Unknown { why, .. } => vec![(t!("drop-why"), false, why.clone())],
        _ => Vec::new(),
    }
}

fn strip_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, thing: Option<&Event>) {
    let c = cx.c();
    let drop = &cx.state.drop;
    let border = match thing {
        Some(Event::Unknown { .. }) => c.warn,
        _ => c.accent,
    };
    ui.painter().rect(rect, 6.0, c.raised, Stroke::new(1.0, border), StrokeKind::Inside);
    let (icon, words) = match thing {
        Some(thing) => verdict(thing),
        None if drop.paths.is_empty() => (icons::QUESTION, t!("drop-over").to_owned()),
        None => (icons::MAGNIFYING_GLASS, t!("drop-looking").to_owned()),
    };
    text::icon(ui.painter(), pos2(rect.left() + 38.0, rect.top() + 46.0), icon, 36.0, c.text);
    let left = rect.left() + 72.0;
    let leave = t!("drop-leave");
    let leave_width = text::width(ui, leave, Type::Body);
    let head = Rect::from_min_max(pos2(left, rect.top() + 18.0), pos2(rect.right() - 16.0, rect.top() + 46.0));
    let room = if cx.compact { head } else { head.with_max_x(head.right() - leave_width - 20.0) };
    text::data(ui, room, Align::Min, &words, Type::Verdict, c.text);
    if !cx.compact {
        text::line(ui, head, Align::Max, leave, Type::Body, c.text2);
    }
    let name_row = Rect::from_min_max(pos2(left, rect.top() + 49.0), pos2(rect.right() - 16.0, rect.top() + 69.0));
    let shown = thing.and_then(path_of).or_else(|| drop.paths.first());
    if let Some(path) = shown {
        let name = format::file_name(&path.display().to_string()).to_owned();
        let more = drop.paths.len().saturating_sub(1);
        let note = if more > 0 { t!("drop-and-more", more = more) } else { String::new() };
        text::pieces(ui, name_row, &[Piece(&name, Type::Mono, c.text), Piece(&note, Type::Body, c.text2)]);
    }
    let facts = thing.map(facts).unwrap_or_default();
    let count = facts.len().max(1) as f32;
    let width = (rect.right() - 16.0 - left) / count;
    for (index, (name, good, words)) in facts.iter().enumerate() {
        let column =
            Rect::from_min_size(pos2(left + index as f32 * width, rect.top() + 82.0), vec2(width - 12.0, 18.0));
        text::line(ui, column, Align::Min, name, Type::Body, c.text2);
        let row = column.translate(vec2(0.0, 21.0));
        let (icon, colour) = if *good { (icons::CHECK_CIRCLE, c.ok) } else { (icons::WARNING, c.warn) };
        text::icon(ui.painter(), pos2(row.left() + 8.0, row.center().y), icon, 16.0, colour);
        text::data(ui, row.with_min_x(row.left() + 22.0), Align::Min, words, Type::Body, c.text);
    }
}
