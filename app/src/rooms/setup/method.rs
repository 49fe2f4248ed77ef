//! The card Method: the gallery, presets, and the form made from the method's own declaration.

use super::form::{self, Label};
use super::price::Cost;
use super::{card_problem, gallery, mark, presets, price, race, train};
use crate::commands::{Id, UiCommand, entry};
use crate::format;
use crate::glossary;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::draft::switch_method;
use crate::state::gallery::fits;
use crate::state::setup::Card;
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::rows::Rows;
use crate::widgets::text;
use crate::widgets::{Button, choice, panel};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::{MethodCard, Project, Value};

/// Width of the method's own settings in a small window: name, field, and a note such as "+75 MiB".
const OWN_COLUMN: f32 = 212.0;

/// Shows the card.
pub fn method_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let method = cx.state.method();
    let head = mark(cx, Card::Method, method.is_some(), true);
    let inside = panel::card(ui, cx.theme, rect, icons::PUZZLE_PIECE, t!("common-method"), head);
    support_link(cx, ui, rect);
    scrolled(ui, inside, "method card", |ui, area| {
        let used = card_problem(cx, ui, area, Card::Method);
        // A small window has no height to spare: what is below the last setting shall still be in sight.
        let (above, below) = if cx.compact { (5.0, 0.0) } else { (8.0, 6.0) };
        let mut lines = Rows::new(area.with_min_y(area.top() + used + above));
        let racing = cx.state.setup.racing && !cx.state.methods.is_empty();
        if racing {
            race::racers_ui(cx, ui, &mut lines);
        } else if let Some(method) = method.filter(|_| cx.compact) {
            short(cx, ui, &mut lines, method);
            race::invite_ui(cx, ui, &mut lines);
        } else {
            gallery::gallery_ui(cx, ui, &mut lines);
            race::invite_ui(cx, ui, &mut lines);
        }
        if let Some(method) = method.filter(|_| !cx.compact && !racing) {
            panel::divider(ui, cx.theme, area, lines.y + 4.0);
            lines.gap(10.0);
            settings(cx, ui, &mut lines, method);
        }
        let used = Rect::from_min_max(area.min, pos2(area.right(), lines.y + below));
        ui.allocate_rect(used, egui::Sense::hover());
    });
}

/// The link to what a run can leave as, in the head of the card: in sight however far the card is scrolled.
fn support_link(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let line = entry(Id::Support);
    let hindrance = (line.hindrance)(cx.state);
    let button = Button::new(line.name.get()).weight(Weight::Link).enabled(hindrance.is_none());
    let button = button.tooltip(hindrance.unwrap_or_else(|| line.help.get()));
    // The mark of the card has the right end.
    let right = rect.right() - 44.0;
    let top = rect.top() + (panel::CARD_HEAD - 20.0) / 2.0;
    let place = Rect::from_min_max(pos2(right - button.width(ui), top), pos2(right, top + 20.0));
    cx.press(ui, Id::Support, button, place);
}

/// A remark below the list and a link beside it; whether it was clicked.
pub(super) fn link_row(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    lines: &mut Rows,
    remark: &str,
    (name, tip): (&str, &str),
) -> bool {
    let row = lines.next(20.0);
    text::line(ui, row, Align::Min, remark, Type::Body, cx.c().text2);
    let button = Button::new(name).weight(Weight::Link).tooltip(tip);
    let width = button.width(ui);
    button.show(ui, cx.theme, row.with_min_x(row.right() - width)).clicked()
}

/// The project's highest learning rate; 0 in it stands for what the method usually takes.
#[must_use]
pub fn rate(project: &Project, card: Option<&MethodCard>) -> f64 {
    let chosen = project.train.lr_peak;
    if chosen == 0.0 { card.map_or(0.0, |card| card.lr_peak) } else { chosen }
}

/// The card in a small window: the methods as a list, and the settings that everybody looks at in two columns, so that
/// none of them has to be scrolled to.
fn short(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, card: &MethodCard) {
    let row = lines.next(26.0);
    let left = presets::segments_ui(cx, ui, row, card);
    // There is no room to say of each whether it works on the model: those that do not are left out.
    let model = cx.state.model_facts();
    let offered = |method: &&MethodCard| method.id == card.id || fits(method, model);
    let offered: Vec<&MethodCard> = cx.state.methods.iter().filter(offered).collect();
    let titles: Vec<String> = offered.iter().map(|method| method.title.clone()).collect();
    let chosen = offered.iter().position(|method| method.id == card.id);
    let list = Rect::from_min_max(row.min + vec2(0.0, 1.0), pos2(left - 12.0, row.bottom() - 1.0));
    if let Some(new) = choice::select(ui, cx.theme, list, t!("common-method"), &titles, chosen)
        .filter(|index| Some(*index) != chosen)
        .and_then(|index| offered.get(index))
    {
        cx.edit("", |project| switch_method(project, Some(card), new));
    }
    text::data(ui, lines.next(18.0), Align::Min, &card.summary, Type::Body, cx.c().text2);
    lines.gap(2.0);
    presets::own_ui(cx, ui, lines, card);
    // The method's own notes are short; those of the run ("1.1 passes") need more room.
    let rest = lines.rest();
    let middle = rest.left() + OWN_COLUMN.min(rest.width() / 2.0);
    let mut own = Rows::new(rest.with_max_x(middle));
    for setting in card.settings.iter().filter(|setting| !setting.advanced && setting.key != "targets") {
        one(cx, ui, &mut own, card, setting);
    }
    let mut run = Rows::new(rest.with_min_x(middle + 12.0));
    train::main_rows(cx, ui, &mut run);
    // The link to the rest stands under the shorter column where there is room for it.
    lines.y = own.y.max(run.y);
    let shorter = if own.y < run.y { &mut own } else { &mut run };
    let fits = shorter.y + MORE_ROW <= lines.y && more_width(cx, ui, card) <= shorter.area.width();
    let row = if fits { shorter.next(MORE_ROW) } else { lines.next(MORE_ROW) };
    more_link(cx, ui, row, card);
    more_settings(cx, ui, lines, card);
}

fn settings(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, card: &MethodCard) {
    let c = cx.c();
    let head = lines.next(26.0);
    let left = presets::segments_ui(cx, ui, head, card);
    text::data(ui, head.with_max_x(left - 8.0), Align::Min, &card.title, Type::Strong, c.text);
    lines.gap(4.0);
    presets::own_ui(cx, ui, lines, card);
    for setting in card.settings.iter().filter(|setting| !setting.advanced && setting.key != "targets") {
        one(cx, ui, lines, card, setting);
    }
    train::main_rows(cx, ui, lines);
    more_link(cx, ui, lines.next(MORE_ROW), card);
    more_settings(cx, ui, lines, card);
}

/// Height of the row with the link to the rest of the settings.
const MORE_ROW: f32 = 26.0;

/// What the link to the rest of the settings stands beside.
fn more_words(cx: &PanelCtx<'_>, card: &MethodCard) -> String {
    let hidden = card.settings.iter().filter(|setting| setting.advanced).count() + train::MORE_ROWS;
    if cx.state.setup.more { t!("method-all-shown").to_owned() } else { t!("method-hidden-rows", more = hidden - 2) }
}

fn more_button(cx: &PanelCtx<'_>) -> Button<'static> {
    let button = Button::new(if cx.state.setup.more { t!("method-less") } else { t!("common-show") });
    button.weight(Weight::Link).name(t!("method-more-settings")).tooltip(t!("method-more-tip"))
}

/// Least width of the row with the link.
fn more_width(cx: &PanelCtx<'_>, ui: &Ui, card: &MethodCard) -> f32 {
    text::width(ui, &more_words(cx, card), Type::Body) + 8.0 + more_button(cx).width(ui)
}

/// The link to the rest of the settings.
fn more_link(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, card: &MethodCard) {
    text::line(ui, row, Align::Min, &more_words(cx, card), Type::Body, cx.c().text2);
    let button = more_button(cx);
    let width = button.width(ui);
    if button.show(ui, cx.theme, row.with_min_x(row.right() - width)).clicked() {
        cx.send(UiCommand::More(!cx.state.setup.more));
    }
}

/// The rest of the settings, when it is open.
fn more_settings(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, card: &MethodCard) {
    if !cx.state.setup.more {
        return;
    }
    let advanced: Vec<_> = card.settings.iter().filter(|s| s.advanced || s.key == "targets").collect();
    if !advanced.is_empty() {
        title(cx, ui, lines, &card.title);
        for setting in advanced {
            one(cx, ui, lines, card, setting);
        }
    }
    train::more_rows(cx, ui, lines);
}

/// A group title in the long form.
pub fn title(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, words: &str) {
    panel::divider(ui, cx.theme, lines.area, lines.y + 3.0);
    lines.gap(6.0);
    text::line(ui, lines.next(24.0), Align::Min, words, Type::Strong, cx.c().text);
}

fn one(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    lines: &mut Rows,
    card: &MethodCard,
    setting: &temper_protocol::method::SettingCard,
) {
    let values = &cx.state.draft.project.method.settings;
    let default =
        form::read_setting(setting, &setting.default).unwrap_or_else(|_| Value::Text(setting.default.clone()));
    let value = values.0.get(&setting.key).unwrap_or(&default);
    let note = note(cx, card, &setting.key);
    if let Some(new) = form::setting(cx, ui, lines, setting, value, &note) {
        let key = setting.key.clone();
        cx.edit(&format!("method.{key}"), |project| {
            project.method.settings.0.insert(key, new);
        });
    }
}

/// The price of a setting: what it costs on this model.
fn note(cx: &PanelCtx<'_>, card: &MethodCard, key: &str) -> String {
    let project = &cx.state.draft.project;
    match key {
        "rank" => {
            let Some(Cost::Counted(cost)) = price::cost(cx.state, card) else { return String::new() };
            format!("+{}", format::bytes(cost * price::bytes_per_trained(project)))
        }
        "alpha" => {
            let number = |key: &str| match project.method.settings.0.get(key) {
                Some(_) => project.method.settings.number(key),
                None => card.settings.iter().find(|s| s.key == key).and_then(|s| s.default.parse().ok()).unwrap_or(0.0),
            };
            let rank = number("rank").max(1.0);
            let stabilised = project.method.settings.flag("rslora");
            let scale = number("alpha") / if stabilised { rank.sqrt() } else { rank };
            t!("method-scale", scale = format::plain((scale * 100.0).round() / 100.0))
        }
        _ => String::new(),
    }
}

/// A label without a price.
#[must_use]
pub fn label<'a>(name: &'a str, help: &'a str, note: &'a str) -> Label<'a> {
    Label { name, help, note, term: glossary::of_label(name) }
}
