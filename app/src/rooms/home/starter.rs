//! The starter card: what the bundled example is made of, what it will show, and the button that trains it.

use crate::commands::Id;
use crate::format;
use crate::rooms::PanelCtx;
use crate::theme::{Icon, Type, icons};
use crate::widgets::button::{Button, Weight};
use crate::widgets::panel;
use crate::widgets::rows::Rows;
use crate::widgets::text;
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::Event;

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

/// Shows the card.
pub(super) fn starter_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
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
        let forgetting = match result.forgetting {
            Some(nats) => format!("{} nats on the worst kept set", format::signed_nats(nats)),
            None => "was not measured".to_owned(),
        };
        return vec![
            (
                "loss",
                format!(
                    "{} to {} nats on rows it has not seen, last time here",
                    format::nats(base),
                    format::nats(best)
                ),
            ),
            ("forgetting", forgetting),
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
