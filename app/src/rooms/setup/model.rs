//! The card Model: what the file is, and what in it can be adapted, which is the tree beside it.

use super::{card_problem, mark, missing, tree};
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::setup::Card;
use crate::theme::{Type, icons};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{choice, empty, panel};
use crate::widgets::{term, text};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::project::BASES;
use temper_protocol::{Event, named};

const KEY: f32 = 92.0;

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
    tree::tree_ui(cx, ui, &mut lines, sites);
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
