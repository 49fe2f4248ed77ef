//! The card Model: what the file is, and what in it can be adapted.

use super::{card_problem, mark, missing, section};
use crate::commands::UiCommand;
use crate::format;
use crate::reader::ranks::split_site;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::setup::Card;
use crate::theme::{Type, icons};
use crate::widgets::field::{self, Field};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{Button, choice, empty, panel};
use crate::widgets::{term, text};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::event::SiteInfo;
use temper_protocol::project::BASES;
use temper_protocol::{Event, SettingType, Value, named};

const KEY: f32 = 92.0;
/// Most single layers that a search lists.
const MOST_FOUND: usize = 64;

/// Shows the card.
pub fn model_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let draft = &cx.state.draft;
    let facts = cx.state.model_facts();
    let reading = draft.has_model() && facts.is_none();
    let head = mark(cx, Card::Model, facts.is_some(), reading);
    let inside = panel::card(ui, cx.theme, rect, icons::CUBE, t!("common-model"), head);
    let missing = cx.state.missing_model();
    scrolled(ui, inside, "model card", |ui, area| {
        if let Some(path) = &missing {
            return missing::model_ui(cx, ui, area, path);
        }
        let used = card_problem(cx, ui, area, Card::Model);
        let area = area.with_min_y(area.top() + used);
        match facts {
            Some(Event::Model { .. }) => filled(cx, ui, area, facts),
            _ if draft.has_model() && used == 0.0 => wait(cx, ui, area),
            _ => nothing(cx, ui, area),
        }
    });
}

fn nothing(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect) {
    let acts = [
        empty::Act { label: t!("model-choose-file"), icon: icons::FILE_TEXT, tooltip: t!("model-choose-file-tip") },
        empty::Act {
            label: t!("model-choose-folder"),
            icon: icons::FOLDER_OPEN,
            tooltip: t!("model-choose-folder-tip"),
        },
        empty::Act { label: t!("model-starter"), icon: icons::CUBE, tooltip: t!("model-starter-tip") },
    ];
    let area = area.with_min_y(area.top() + 12.0);
    let words = if cx.state.drops_work { t!("model-none-lead") } else { t!("model-none-choose") };
    match empty::show(ui, cx.theme, area, icons::CUBE, t!("model-none"), words, &acts) {
        Some(0) => cx.send(UiCommand::ChooseFiles),
        Some(1) => cx.send(UiCommand::ChooseFolder),
        Some(_) => cx.edit("model.path", |project| project.model.path = named::STARTER.to_owned()),
        None => {}
    }
}

fn wait(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect) {
    let name = format::plain_name(&cx.state.draft.project.model.path);
    let mut lines = Rows::new(area.with_min_y(area.top() + 12.0));
    text::data(ui, lines.next(20.0), Align::Min, &name, Type::Panel, cx.c().text);
    text::line(ui, lines.next(20.0), Align::Min, t!("model-reading"), Type::Body, cx.c().text2);
}

fn filled(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, facts: Option<&Event>) {
    let Some(Event::Model {
        architecture,
        parameters,
        layers,
        hidden_size,
        vocabulary,
        context,
        storage,
        tokenizer,
        chat_template,
        sites,
        licence,
        disk_bytes,
        memory_bytes,
        format: container,
        ..
    }) = facts
    else {
        return;
    };
    let c = cx.c();
    let mut lines = Rows::new(area.with_min_y(area.top() + 6.0));
    // A bundled model is known by its name, not by where it was unpacked.
    let name = format::plain_name(&cx.state.draft.project.model.path);
    text::data(ui, lines.next(22.0), Align::Min, &name, Type::Panel, c.text);
    let or_none = |text: &str| if text.is_empty() { t!("common-none").to_owned() } else { text.to_owned() };
    let kind = |text: &str| match text {
        "gguf" => t!("model-gguf").to_owned(),
        "huggingface" => t!("model-folder").to_owned(),
        "builtin" => t!("model-bundled").to_owned(),
        other => other.to_owned(),
    };
    let facts: [(&str, String, String); 8] = [
        (t!("model-family"), crate::reader::words::sentence_case(architecture), kind(container)),
        (
            t!("model-parameters"),
            format::parameters(*parameters),
            t!("model-shape", n = layers, layers = layers, hidden_size = hidden_size),
        ),
        (t!("model-context"), format::count(*context), t!("common-tokens").to_owned()),
        (t!("model-storage"), storage.clone(), String::new()),
        (t!("model-tokenizer"), or_none(tokenizer), t!("model-entries", entries = format::count(*vocabulary))),
        (
            t!("model-template"),
            or_none(chat_template),
            if chat_template.is_empty() { t!("model-template-none").to_owned() } else { String::new() },
        ),
        (
            t!("model-licence"),
            if licence.is_empty() { t!("common-not-stated").to_owned() } else { licence.clone() },
            if licence.is_empty() { String::new() } else { t!("model-licence-stated").to_owned() },
        ),
        (t!("model-size"), format::bytes(*disk_bytes), t!("model-memory", memory = format::bytes(*memory_bytes))),
    ];
    for (key, value, note) in &facts {
        rows::key_value(ui, cx.theme, lines.next(22.0), KEY, key, value, note);
    }
    held_as(cx, ui, lines.next(26.0));
    lines.gap(5.0);
    panel::divider(ui, cx.theme, area, lines.y);
    lines.gap(6.0);
    tree(cx, ui, &mut lines, sites);
    ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), lines.y + 4.0)), egui::Sense::hover());
}

/// How the frozen weights are held in memory.
fn held_as(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) {
    let help = t!("model-held-tip");
    let name = text::line(ui, row, Align::Min, t!("model-held"), Type::Body, cx.c().text2).on_hover_text(help);
    term::label(ui, cx.theme, name.rect, t!("model-held"), help);
    term::label_on_focus(ui, row, t!("model-held"));
    let current = BASES.iter().position(|base| *base == cx.state.draft.project.model.base);
    let place = Rect::from_min_size(pos2(row.left() + KEY, row.top() + 2.0), vec2(row.width() - KEY, 22.0));
    let chosen = if choice::segments_width(ui, &BASES, Type::Body) <= place.width() {
        choice::segments(ui, cx.theme, place, t!("model-held"), &BASES, current)
    } else {
        choice::select(ui, cx.theme, place, t!("model-held"), &BASES.map(str::to_owned), current)
    };
    if let Some(chosen) = chosen {
        cx.edit("model.base", |project| BASES[chosen].clone_into(&mut project.model.base));
    }
}

/// A module with the shapes of its sites.
struct Module {
    name: String,
    shape: String,
    sites: usize,
}

fn modules(sites: &[SiteInfo]) -> (Vec<Module>, usize, Vec<&SiteInfo>) {
    let mut modules: Vec<Module> = Vec::new();
    let mut layers = std::collections::BTreeSet::new();
    let mut others = Vec::new();
    for site in sites {
        let Some((layer, module)) = split_site(&site.site) else {
            others.push(site);
            continue;
        };
        layers.insert(layer);
        match modules.iter_mut().find(|known| known.name == module) {
            Some(known) => known.sites += 1,
            None => modules.push(Module {
                name: module.to_owned(),
                shape: format!("{} × {}", site.out_features, site.in_features),
                sites: 1,
            }),
        }
    }
    (modules, layers.len(), others)
}

/// Whether `targets` adapt `module`, by name or the end of it.
#[must_use]
pub fn is_target(targets: &[String], module: &str) -> bool {
    targets.iter().any(|target| {
        target == "all-linear"
            || target == module
            || module.strip_suffix(target.as_str()).is_some_and(|rest| rest.ends_with('.'))
    })
}

/// The target setting of the method as a list.
#[must_use]
pub fn targets(cx: &PanelCtx<'_>) -> Option<Vec<String>> {
    let setting = cx.state.method()?.settings.iter().find(|setting| setting.key == "targets")?;
    let list = cx.state.draft.project.method.settings.list("targets");
    Some(if list.is_empty() { vec![setting.default.clone()] } else { list })
}

fn tree(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, sites: &[SiteInfo]) {
    let c = cx.c();
    let (modules, layers, others) = modules(sites);
    let row = lines.next(24.0);
    section(
        cx,
        ui,
        row,
        t!("model-sites"),
        &t!("model-sites-count", n = sites.len(), count = format::count(sites.len() as u64)),
    );
    if sites.is_empty() {
        return;
    }
    lines.gap(2.0);
    let query = &cx.state.setup.site_query;
    let place = lines.next(26.0);
    let search = Field {
        hint: t!("model-search"),
        icon: Some(icons::MAGNIFYING_GLASS),
        ..Field::new(t!("model-search"), query)
    };
    if let Some(text) = field::show(ui, cx.theme, place, search).changed {
        cx.send(UiCommand::SiteQuery(text));
    }
    lines.gap(4.0);
    let targets = targets(cx);
    let on = |module: &Module| targets.as_ref().is_some_and(|targets| is_target(targets, &module.name));
    let all = modules.iter().all(on);
    let head = lines.next(22.0);
    if targets.is_some() {
        let place = head.with_max_x(head.left() + 100.0);
        let response = choice::check_mark(ui, cx.theme, place, t!("model-adapt-all"), all);
        if response.on_hover_text(t!("model-adapt-all-tip")).clicked() && !all {
            set_targets(cx, vec!["all-linear".to_owned()]);
        }
    } else {
        text::icon(ui.painter(), pos2(head.left() + 7.0, head.center().y), icons::CHECK_BOLD, 12.0, c.text2);
    }
    text::line(ui, head.with_min_x(head.left() + 22.0), Align::Min, t!("model-layers"), Type::Mono, c.text);
    let per_layer = sites.len().saturating_sub(others.len()) / layers.max(1);
    text::line(
        ui,
        head,
        Align::Max,
        &t!("model-layers-sites", layers = layers, per_layer = per_layer),
        Type::Body,
        c.text2,
    );
    let wanted = query.to_lowercase();
    let shown: Vec<&Module> = modules.iter().filter(|module| module.name.to_lowercase().contains(&wanted)).collect();
    for module in &shown {
        let row = lines.next(22.0);
        let open = cx.state.setup.open_module.as_deref() == Some(module.name.as_str());
        let (icon, name) = if open {
            (icons::CARET_DOWN, t!("model-fold", name = module.name))
        } else {
            (icons::CARET_RIGHT, t!("model-unfold", name = module.name))
        };
        let caret = Rect::from_min_size(pos2(row.left() - 2.0, row.top() + 1.0), vec2(20.0, 20.0));
        if Button::icon_only(icon, &name).show(ui, cx.theme, caret).clicked() {
            cx.send(UiCommand::OpenModule((!open).then(|| module.name.clone())));
        }
        let row_in = row.with_min_x(row.left() + 22.0);
        if targets.is_some() {
            let place = row_in.with_max_x(row_in.left() + 120.0);
            let name = t!("model-adapt", name = module.name);
            let tip = t!("model-layers-of", sites = module.sites, shape = module.shape);
            if choice::check_mark(ui, cx.theme, place, &name, on(module)).on_hover_text(tip).clicked() {
                toggle(cx, &modules, module, on(module));
            }
        }
        text::data(
            ui,
            row_in.with_min_x(row_in.left() + 22.0).with_max_x(row.right() - 90.0),
            Align::Min,
            &module.name,
            Type::Mono,
            c.text,
        );
        text::line(ui, row, Align::Max, &module.shape, Type::Mono, c.text2);
        if open {
            let of_module = |site: &&SiteInfo| split_site(&site.site).is_some_and(|(_, name)| name == module.name);
            leaves(cx, ui, lines, sites.iter().filter(of_module));
        }
    }
    // A search such as "17.attn" is for single layers.
    if !wanted.is_empty() && shown.is_empty() {
        let found = sites.iter().filter(|site| site.site.to_lowercase().contains(&wanted));
        leaves(cx, ui, lines, found.take(MOST_FOUND));
    }
    if shown.len() < modules.len() {
        let hidden = t!("model-hidden", more = modules.len() - shown.len());
        text::line(ui, lines.next(22.0), Align::Min, &hidden, Type::Body, c.text2);
    }
    for site in others.iter().take(3) {
        let row = lines.next(22.0);
        text::icon(ui.painter(), pos2(row.left() + 7.0, row.center().y), icons::LOCK_SIMPLE, 14.0, c.text3);
        text::data(
            ui,
            row.with_min_x(row.left() + 22.0).with_max_x(row.right() - 90.0),
            Align::Min,
            &site.site,
            Type::Mono,
            c.text2,
        );
        text::line(ui, row, Align::Max, &format!("{} × {}", site.out_features, site.in_features), Type::Mono, c.text2);
    }
}

/// Single layers with their shape and how the file stores them.
fn leaves<'a>(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, sites: impl Iterator<Item = &'a SiteInfo>) {
    let c = cx.c();
    for site in sites {
        let row = lines.next(18.0);
        let words = format!("{} × {}  {}", site.out_features, site.in_features, site.storage);
        let width = text::width(ui, &words, Type::MonoCaption);
        text::line(ui, row, Align::Max, &words, Type::MonoCaption, c.text2);
        let place =
            Rect::from_min_max(pos2(row.left() + 44.0, row.top()), pos2(row.right() - width - 8.0, row.bottom()));
        text::data(ui, place, Align::Min, &site.site, Type::MonoCaption, c.text2);
    }
}

fn set_targets(cx: &PanelCtx<'_>, targets: Vec<String>) {
    let list = cx
        .state
        .method()
        .and_then(|card| card.settings.iter().find(|setting| setting.key == "targets"))
        .is_some_and(|setting| setting.kind == SettingType::List);
    let value = match targets.as_slice() {
        [one] => Value::Text(one.clone()),
        _ if list => Value::List(targets),
        _ => Value::Text(targets.join(", ")),
    };
    cx.edit("method.targets", |project| {
        project.method.settings.0.insert("targets".to_owned(), value);
    });
}

fn toggle(cx: &PanelCtx<'_>, modules: &[Module], module: &Module, was_on: bool) {
    let Some(old) = targets(cx) else { return };
    let chosen: Vec<String> = modules
        .iter()
        .filter(|known| if known.name == module.name { !was_on } else { is_target(&old, &known.name) })
        .map(|known| known.name.clone())
        .collect();
    // Nothing to adapt is nothing to train: the last one stays.
    if !chosen.is_empty() {
        set_targets(cx, if chosen.len() == modules.len() { vec!["all-linear".to_owned()] } else { chosen });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_match_whole_parts_of_a_name() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(is_target(&list(&["all-linear"]), "attn.q"));
        assert!(is_target(&list(&["attn.q"]), "attn.q"));
        assert!(is_target(&list(&["q_proj"]), "self_attn.q_proj"));
        assert!(!is_target(&list(&["proj"]), "self_attn.q_proj"));
    }
}
