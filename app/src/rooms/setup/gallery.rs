//! The gallery of methods: search, filters, families, and a tile for each method with its price and its badge.

use super::method::link_row;
use super::price::{self, Cost};
use crate::commands::UiCommand;
use crate::format;
use crate::reader::words::sentence_case;
use crate::rooms::PanelCtx;
use crate::state::draft::switch_method;
use crate::state::gallery::{Filter, families, fits};
use crate::theme::{Type, icons};
use crate::widgets::button::focus_ring;
use crate::widgets::field::{self, Field};
use crate::widgets::rows::Rows;
use crate::widgets::{choice, text};
use egui::{Align, Rect, Stroke, StrokeKind, Ui, pos2, vec2};
use temper_protocol::MethodCard;

/// Methods from which on a search is worth its place.
const SEARCH_FROM: usize = 5;
/// Methods listed until a person wants to see all: the form below them stays in sight.
const FEW: usize = 3;
/// Methods up to which a tile has room for two lines of summary.
const ROOMY_UP_TO: usize = 4;
/// Share of the row that the search has; the filter has the rest.
const SEARCH_SHARE: f32 = 0.58;

/// Shows the gallery.
pub(super) fn gallery_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows) {
    let c = cx.c();
    let methods = &cx.state.methods;
    if methods.is_empty() {
        let words = if cx.state.engine.problem.is_some() { t!("method-none") } else { t!("method-asking") };
        let top = pos2(lines.area.left(), lines.y);
        lines.y += text::block(ui, top, lines.area.width(), words, Type::Body, c.text2);
        return;
    }
    let many = methods.len() >= SEARCH_FROM;
    if many {
        search_ui(cx, ui, lines.next(26.0));
        lines.gap(6.0);
    }
    let setup = &cx.state.setup;
    let wanted = setup.method_query.to_lowercase();
    let found = |card: &&MethodCard| {
        wanted.is_empty() || format!("{} {} {}", card.title, card.summary, card.family).to_lowercase().contains(&wanted)
    };
    let model = cx.state.model_facts();
    let listed = |card: &&MethodCard| setup.method_filter.lets(card, model);
    let mut shown: Vec<&MethodCard> = methods.iter().filter(found).filter(listed).collect();
    let all = wanted.is_empty() && setup.method_filter == Filter::All;
    let few = many && all && !setup.all_methods;
    if few {
        // The chosen one first; the others stay in the order of the registry.
        shown.sort_by_key(|card| card.id != cx.state.draft.project.method.id);
        shown.truncate(FEW);
    }
    let order = families(methods);
    let grouped = many && !few && wanted.is_empty() && !matches!(setup.method_filter, Filter::Family(_));
    if grouped {
        shown.sort_by_key(|card| order.iter().position(|family| *family == card.family));
    }
    let mut family = "";
    for card in &shown {
        if grouped && card.family != family {
            family = &card.family;
            let words = sentence_case(family);
            text::line(ui, lines.next(20.0), Align::Min, &words, Type::Caption, c.text2);
        }
        let most = if methods.len() <= ROOMY_UP_TO { 36.0 } else { 18.0 };
        let summary = text::block_height(ui, lines.area.width() - 38.0, &card.summary, Type::Body).min(most);
        tile(cx, ui, lines.next(24.0 + summary), card);
        lines.gap(4.0);
    }
    if many {
        below_ui(cx, ui, lines, shown.len(), few);
    }
}

/// How many there are beside those listed, and the way to them.
fn below_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, shown: usize, few: bool) {
    let hidden = cx.state.methods.len().saturating_sub(shown);
    if few {
        let more = t!("method-more", hidden = hidden);
        if link_row(cx, ui, lines, &more, (t!("method-show-all"), t!("method-show-all-tip"))) {
            cx.send(UiCommand::AllMethods(true));
        }
    } else if hidden > 0 {
        let words = t!("method-hidden", hidden = hidden);
        if link_row(cx, ui, lines, &words, (t!("method-show-all"), t!("method-clear-tip"))) {
            cx.send(UiCommand::MethodQuery(String::new()));
            cx.send(UiCommand::MethodFilter(Filter::All));
        }
    } else {
        let all = t!("method-all", count = shown);
        if link_row(cx, ui, lines, &all, (t!("method-show-few"), t!("method-show-few-tip"))) {
            cx.send(UiCommand::AllMethods(false));
            cx.send(UiCommand::MethodQuery(String::new()));
            cx.send(UiCommand::MethodFilter(Filter::All));
        }
    }
}

/// Search and filter side by side.
fn search_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) {
    let setup = &cx.state.setup;
    let place = row.with_max_x(row.left() + (row.width() * SEARCH_SHARE).round());
    let hint = t!("method-search-hint", count = cx.state.methods.len());
    let search = Field {
        hint: &hint,
        icon: Some(icons::MAGNIFYING_GLASS),
        ..Field::new(t!("method-search"), &setup.method_query)
    };
    if let Some(text) = field::show(ui, cx.theme, place, search).changed {
        cx.send(UiCommand::MethodQuery(text));
    }
    let mut filters = vec![
        (Filter::All, t!("method-filter-all").to_owned()),
        (Filter::Fits, t!("method-filter-fits").to_owned()),
        (Filter::PlainLora, t!("method-filter-lora").to_owned()),
        (Filter::MovesRank, t!("method-filter-rank").to_owned()),
        (Filter::Protects, t!("method-filter-protects").to_owned()),
        (Filter::Merges, t!("method-filter-merges").to_owned()),
        (Filter::Rounded, t!("method-filter-rounded").to_owned()),
    ];
    filters.extend(families(&cx.state.methods).into_iter().map(|family| {
        let words = t!("method-filter-family", family = family);
        (Filter::Family(family.to_owned()), words)
    }));
    let names: Vec<String> = filters.iter().map(|(_, words)| words.clone()).collect();
    let chosen = filters.iter().position(|(filter, _)| *filter == setup.method_filter);
    let place = row.with_min_x(place.right() + 6.0);
    if let Some(index) = choice::select(ui, cx.theme, place, t!("method-filter"), &names, chosen)
        && let Some((filter, _)) = filters.into_iter().nth(index)
    {
        cx.send(UiCommand::MethodFilter(filter));
    }
}

/// What the tooltip of a tile says: summary, paper, how it leaves, what the contract tests found, whether it fits.
fn tip(card: &MethodCard, fits: bool) -> String {
    let mut tip = card.summary.clone();
    if !card.paper.is_empty() {
        tip.push_str(&format!("\n{}", card.paper));
    }
    tip.push_str(&format!("\n{}", t!("method-leaves-as", forms = card.exports_as.join(", "))));
    let contract = if card.waivers.is_empty() {
        t!("method-contract").to_owned()
    } else {
        t!("method-contract-but", waivers = card.waivers.join("; "))
    };
    tip.push_str(&format!("\n{contract}"));
    if !fits {
        tip.push_str(&format!("\n{}", t!("method-unfit", families = card.families.join(", "))));
    }
    tip
}

fn tile(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, card: &MethodCard) {
    let c = cx.c();
    let chosen = card.id == cx.state.draft.project.method.id;
    let model = cx.state.model_facts();
    let fits = fits(card, model);
    let response = choice::radio(ui, rect, &t!("method-name", name = card.title), chosen);
    let (fill, border) = if chosen {
        (c.accent_bg, c.accent)
    } else if response.hovered() {
        (c.hover, c.hover)
    } else {
        (c.raised, c.raised)
    };
    ui.painter().rect(rect, 4.0, fill, Stroke::new(1.0, border), StrokeKind::Inside);
    if response.has_focus() {
        focus_ring(ui, cx.theme, rect, 4.0);
    }
    choice::radio_mark(ui, cx.theme, pos2(rect.left() + 15.0, rect.top() + 13.0), chosen);
    let inner = Rect::from_min_max(pos2(rect.left() + 30.0, rect.top() + 3.0), rect.max - vec2(8.0, 3.0));
    let first = inner.with_max_y(inner.top() + 18.0);
    let cost = if fits { price::cost(cx.state, card) } else { None };
    let mut title = first;
    if cost == Some(Cost::Measured) {
        let words = t!("method-measured");
        text::line(ui, first, Align::Max, words, Type::Caption, c.text3);
        title.set_right(first.right() - text::width(ui, words, Type::Caption) - 8.0);
    }
    if let Some(Cost::Counted(cost)) = cost {
        let figure = format::parameters(cost);
        let unit = text::width(ui, t!("common-parameters"), Type::Body);
        text::line(ui, first, Align::Max, t!("common-parameters"), Type::Body, c.text2);
        let place = first.with_max_x(first.right() - unit - 5.0);
        text::line(ui, place, Align::Max, &figure, Type::Mono, c.text);
        title.set_right(place.right() - text::width(ui, &figure, Type::Mono) - 8.0);
    }
    let colour = if fits { c.text } else { c.text2 };
    let (mark, tone) = match (fits, card.waivers.is_empty()) {
        (false, _) => (Some(icons::PROHIBIT), c.text2),
        (true, true) => (Some(icons::SHIELD_CHECK), c.ok),
        (true, false) => (None, c.text2),
    };
    let words = text::data(ui, title.with_max_x(title.right() - 20.0), Align::Min, &card.title, Type::Strong, colour);
    if let Some(mark) = mark {
        text::icon(ui.painter(), pos2(words.rect.right() + 11.0, first.center().y), mark, 14.0, tone);
    }
    let rows = ((inner.bottom() - first.bottom()) / 18.0).round() as usize;
    text::clipped_block(ui, first.left_bottom(), inner.width(), rows, &card.summary, Type::Body, c.text2);
    if response.on_hover_text(tip(card, fits)).clicked() && !chosen {
        let old = cx.state.method().cloned();
        let new = card.clone();
        cx.edit("", |project| switch_method(project, old.as_ref(), &new));
    }
}
