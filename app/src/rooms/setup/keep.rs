//! The card Keep: what the model must still know afterwards, the budget, and the prompts it is asked.

use super::form::{self, integer};
use super::method::label;
use super::{card_problem, mark, section};
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::earlier::earlier_tasks;
use crate::state::kept_name;
use crate::state::setup::Card;
use crate::texts::Text;
use crate::theme::{Type, icons};
use crate::widgets::field::{self, Field};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{Button, choice, panel};
use crate::widgets::{term, text};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::named;

/// Bundled sets, in the order of the table.
pub const BUNDLED: [(&str, Text, Text); 4] = [
    (named::KEPT[0], k!("keep-prose"), k!("keep-prose-note")),
    (named::KEPT[1], k!("keep-instructions"), k!("keep-instructions-note")),
    (named::KEPT[2], k!("keep-code"), k!("keep-code-note")),
    (named::KEPT[3], k!("keep-arithmetic"), k!("keep-arithmetic-note")),
];

const ON_EXCEED: [(&str, Text); 5] = [
    ("warn", k!("keep-do-warn")),
    ("slow-down", k!("keep-do-slow")),
    ("replay", k!("keep-do-replay")),
    ("roll-back", k!("keep-do-back")),
    ("stop", k!("keep-do-stop")),
];
/// Right end of the budget slider, nats.
const BUDGET_END: f64 = 1.0;
const PROMPT_LIMIT: usize = 8;

/// A kept set's name in words.
#[must_use]
pub fn words_of(probe: &str) -> String {
    let bundled = BUNDLED.iter().find(|(path, ..)| *path == probe || kept_name(path) == probe);
    bundled.map_or_else(|| format::plain_name(probe), |(_, name, _)| name.get().to_owned())
}

/// Shows the card.
pub fn keep_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let keep = &cx.state.draft.project.keep;
    let ready = !keep.probes.is_empty();
    let inside =
        panel::card(ui, cx.theme, rect, icons::SHIELD_CHECK, t!("common-keep"), mark(cx, Card::Keep, ready, false));
    scrolled(ui, inside, "keep card", |ui, area| {
        let used = card_problem(cx, ui, area, Card::Keep);
        let mut lines = Rows::new(area.with_min_y(area.top() + used + 8.0));
        let every = match keep.every_steps {
            0 => t!("keep-measured-ends").to_owned(),
            steps => t!("keep-measured-every", n = steps, steps = format::count(steps)),
        };
        let words = t!("keep-lead", every = every);
        let top = pos2(area.left(), lines.y);
        lines.y += text::block(ui, top, area.width(), &words, Type::Body, cx.c().text2) + 6.0;
        sets(cx, ui, &mut lines);
        panel::divider(ui, cx.theme, area, lines.y + 4.0);
        lines.gap(9.0);
        budget(cx, ui, &mut lines);
        panel::divider(ui, cx.theme, area, lines.y + 4.0);
        lines.gap(9.0);
        prompts(cx, ui, &mut lines);
        let used = Rect::from_min_max(area.min, pos2(area.right(), lines.y + 6.0));
        ui.allocate_rect(used, egui::Sense::hover());
    });
}

/// The base's loss on a set, from the newest run of this project that measured it.
fn base_loss(cx: &PanelCtx<'_>, probe: &str) -> Option<f64> {
    let view = cx.state.runs.view.as_ref()?;
    let same_model = view.settings.as_ref()?.model.path == cx.state.draft.project.model.path;
    let name = kept_name(probe);
    let set = view.kept.iter().find(|set| set.name == name || set.name == probe)?;
    (same_model && set.base_loss.is_finite()).then_some(set.base_loss)
}

fn sets(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let c = cx.c();
    let head = lines.next(22.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    text::line(ui, head.with_min_x(head.left() + 22.0), Align::Min, t!("keep-material"), Type::Caption, c.text2);
    text::line(ui, head, Align::Max, t!("keep-base-loss"), Type::Caption, c.text2)
        .on_hover_text(t!("keep-base-loss-tip"));
    let probes = &cx.state.draft.project.keep.probes;
    let own: Vec<&String> = probes.iter().filter(|probe| !BUNDLED.iter().any(|(path, ..)| path == probe)).collect();
    let bundled =
        BUNDLED.iter().map(|(path, name, note)| ((*path).to_owned(), name.get().to_owned(), note.get().to_owned()));
    let own = own.into_iter().map(|path| (path.clone(), format::plain_name(path), t!("keep-yours").to_owned()));
    let earlier = earlier_tasks(cx.state).into_iter().map(|task| {
        let note = t!("keep-earlier", run = task.run);
        (task.path.clone(), format::plain_name(&task.path), note)
    });
    for (path, name, note) in bundled.chain(own).chain(earlier) {
        let row = lines.next(24.0);
        rows::underline(ui, cx.theme, row);
        let on = probes.contains(&path);
        let measured = base_loss(cx, &path);
        let loss = measured.map_or_else(|| t!("keep-not-yet").to_owned(), format::nats);
        let kind = if measured.is_none() { Type::Body } else { Type::Mono };
        let width = text::width(ui, &loss, kind);
        text::line(ui, row, Align::Max, &loss, kind, if kind == Type::Mono { c.text } else { c.text3 });
        let place = row.with_max_x(row.right() - width - 8.0);
        let response = choice::check_mark(ui, cx.theme, place, &t!("keep-keep", name = name), on);
        let words = place.with_min_x(place.left() + 22.0);
        let pieces = [text::Piece(&name, Type::Body, c.text), text::Piece(&note, Type::Body, c.text3)];
        text::pieces(ui, words, &pieces);
        let tip = match named::builtin(&path) {
            Some(_) => t!("keep-bundled-tip", name = name, note = note),
            None => path.clone(),
        };
        if response.on_hover_text(tip).clicked() {
            cx.edit("", |project| {
                if on {
                    project.keep.probes.retain(|probe| *probe != path);
                } else {
                    project.keep.probes.push(path);
                }
            });
        }
    }
    lines.gap(5.0);
    let row = lines.next(26.0);
    let button = Button::new(t!("keep-add")).icon(icons::PLUS).tooltip(t!("keep-add-tip"));
    let width = button.width(ui);
    if button.show(ui, cx.theme, row.with_max_x(row.left() + width)).clicked() {
        cx.send(UiCommand::ChooseKept);
    }
    if cx.state.drops_work {
        let hint = row.with_min_x(row.left() + width + 10.0);
        text::data(ui, hint, Align::Min, t!("keep-add-hint"), Type::Body, c.text3);
    }
}

fn budget(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let c = cx.c();
    let keep = &cx.state.draft.project.keep;
    let row = lines.next(22.0);
    let name = text::line(ui, row, Align::Min, t!("keep-budget"), Type::Strong, c.text);
    term::label(ui, cx.theme, name.rect, t!("keep-budget"), "");
    let unit = t!("keep-budget-unit");
    text::line(ui, row, Align::Max, unit, Type::Body, c.text2);
    let place = row.with_max_x(row.right() - text::width(ui, unit, Type::Body) - 5.0);
    text::line(ui, place, Align::Max, &format::signed_nats(keep.budget_nats), Type::Mono, c.text);
    let track = lines.next(20.0);
    term::label_on_focus(ui, track, t!("keep-budget"));
    let moved = choice::slider(ui, cx.theme, track, t!("keep-budget-name"), keep.budget_nats, 0.0..=BUDGET_END);
    if let Some(budget) = moved {
        let rounded = (budget * 200.0).round().max(1.0) / 200.0;
        cx.edit("keep.budget_nats", |project| project.keep.budget_nats = rounded);
    }
    let axis = lines.next(14.0);
    for (value, words) in [(0.0, "0"), (0.05, "0.05"), (0.2, "0.20"), (0.5, "0.50"), (1.0, "1.00")] {
        let share = choice::slider_share(value, 0.0, BUDGET_END) as f32;
        let x = axis.left() + 6.0 + share * (axis.width() - 12.0);
        let width = text::width(ui, words, Type::MonoCaption);
        let left = (x - width / 2.0).clamp(axis.left(), axis.right() - width);
        let place = Rect::from_min_size(pos2(left, axis.top()), vec2(width, 14.0));
        text::paint(ui.painter(), place, Align::Min, words, Type::MonoCaption, c.text3);
    }
    lines.gap(4.0);
    let more = format::percent(keep.budget_nats.exp() - 1.0);
    let mut words = t!("keep-budget-words", budget = format::signed_nats(keep.budget_nats), more = more);
    if let Some(row) = cx.state.runs.runs.iter().find(|row| row.forgetting.is_finite() && !row.is_active()) {
        words.push_str(&t!("keep-last-run", run = row.run, forgetting = format::signed_nats(row.forgetting)));
    }
    let top = pos2(lines.area.left(), lines.y);
    lines.y += text::block(ui, top, lines.area.width(), &words, Type::Body, c.text2) + 4.0;
    let row = lines.next(20.0);
    let help = t!("keep-exceed-tip");
    let name = text::line(ui, row, Align::Min, t!("keep-exceed"), Type::Body, c.text2).on_hover_text(help);
    term::label(ui, cx.theme, name.rect, t!("keep-exceed"), help);
    let names: Vec<&str> = ON_EXCEED.iter().map(|(_, name)| name.get()).collect();
    let current = ON_EXCEED.iter().position(|(value, _)| *value == keep.on_exceed);
    let place = lines.next(24.0);
    if let Some(index) = choice::segments(ui, cx.theme, place, t!("keep-exceed"), &names, current)
        && let Some((value, _)) = ON_EXCEED.get(index)
    {
        cx.edit("keep.on_exceed", |project| (*value).clone_into(&mut project.keep.on_exceed));
    }
    lines.gap(4.0);
    let row = label(t!("keep-interval"), t!("keep-interval-tip"), t!("common-steps-apart"));
    if let Some(steps) = form::figure(cx, ui, lines, &row, &keep.every_steps.to_string(), integer(0, 1_000_000)) {
        cx.edit("keep.every_steps", |project| {
            project.keep.every_steps = steps;
            project.samples.every_steps = steps;
        });
    }
}

fn prompts(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let c = cx.c();
    let samples = &cx.state.draft.project.samples;
    let note =
        if samples.prompts.is_empty() { t!("keep-prompts-none").to_owned() } else { samples.prompts.len().to_string() };
    section(cx, ui, lines.next(22.0), t!("keep-prompts"), &note);
    if samples.prompts.is_empty() {
        let words = t!("keep-prompts-lead");
        let top = pos2(lines.area.left(), lines.y);
        lines.y += text::block(ui, top, lines.area.width(), words, Type::Body, c.text2) + 4.0;
    }
    for (index, prompt) in samples.prompts.iter().enumerate() {
        let row = lines.next(24.0);
        let close = Rect::from_min_size(pos2(row.right() - 20.0, row.top() + 2.0), vec2(20.0, 20.0));
        text::data(ui, row.with_max_x(close.left() - 6.0), Align::Min, prompt, Type::Body, c.text);
        let name = t!("keep-remove-prompt", number = index + 1);
        if Button::icon_only(icons::X, &name).show(ui, cx.theme, close).clicked() {
            cx.edit("", |project| {
                project.samples.prompts.remove(index);
            });
        }
    }
    if samples.prompts.len() < PROMPT_LIMIT {
        lines.gap(2.0);
        let row = lines.next(26.0);
        let field = Field { hint: t!("keep-prompt-hint"), ..Field::new(t!("keep-prompt-new"), "") };
        let typed = field::show(ui, cx.theme, row, field);
        if let Some(prompt) = typed.committed.filter(|text| !text.trim().is_empty()) {
            cx.edit("", |project| project.samples.prompts.push(prompt.trim().to_owned()));
        }
    }
}
