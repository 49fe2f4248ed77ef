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
use temper_protocol::{Event, named};

/// One fact of the starter: what it is called and two lines about it.
struct Fact {
    icon: Icon,
    part: &'static str,
    name: String,
    lines: [String; 2],
}

fn starter_facts(cx: &PanelCtx<'_>) -> [Fact; 4] {
    let model = match cx.state.known.get(named::STARTER) {
        Some(Event::Model { parameters, storage, disk_bytes, .. }) => [
            t!("home-starter-parameters", parameters = format::parameters(*parameters)),
            format!("{storage}, {}", format::bytes(*disk_bytes)),
        ],
        _ => [t!("home-starter-model").to_owned(), t!("home-starter-bundled").to_owned()],
    };
    let data = match cx.state.known.get(named::STARTER_DATA) {
        Some(Event::Dataset { rows, schema, .. }) => {
            [t!("home-starter-rows", rows = format::count(*rows)), format::schema_words(schema)]
        }
        _ => [t!("home-starter-questions").to_owned(), t!("home-starter-bundled").to_owned()],
    };
    let lora = cx.state.methods.iter().find(|card| card.id == "lora");
    let method = [t!("home-starter-method").to_owned(), t!("home-starter-beside").to_owned()];
    [
        Fact { icon: icons::CUBE, part: t!("common-model"), name: t!("home-starter-name").to_owned(), lines: model },
        Fact { icon: icons::TABLE, part: t!("common-data"), name: t!("home-starter-data").to_owned(), lines: data },
        Fact {
            icon: icons::PUZZLE_PIECE,
            part: t!("common-method"),
            name: lora.map_or_else(|| "LoRA".to_owned(), |card| card.title.clone()),
            lines: method,
        },
        Fact {
            icon: icons::SHIELD_CHECK,
            part: t!("common-keep"),
            name: t!("home-starter-kept").to_owned(),
            lines: [t!("home-starter-kept-1").to_owned(), t!("home-starter-kept-2").to_owned()],
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
    let look = Button::new(t!("home-look-first")).tooltip(t!("home-look-first-tip"));
    cx.press(ui, Id::OpenExample, look, second);
    let words = inner.width() - 148.0;
    let title = Rect::from_min_size(inner.min, vec2(words, 20.0));
    text::data(ui, title, Align::Min, t!("home-start"), Type::Room, c.text);
    let lead = t!("home-start-lead");
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
    text::line(ui, head, Align::Min, t!("home-expect"), Type::Body, c.text2);
    below.gap(3.0);
    for (word, line) in expect {
        let row = below.next(19.0);
        text::line(ui, row, Align::Min, word, Type::Body, c.text2);
        text::data(ui, row.with_min_x(row.left() + 84.0), Align::Min, &line, Type::Body, c.text);
    }
}

/// The last result of the example on this machine, or what will happen in words.
fn example_result(cx: &PanelCtx<'_>) -> Vec<(&'static str, String)> {
    let example = cx.state.settings.recents.iter().find(|recent| recent.model == named::STARTER);
    if let Some(result) = example.and_then(|recent| recent.result.as_ref())
        && let (Some(base), Some(best)) = (result.base_loss, result.best_loss)
    {
        let forgetting = match result.forgetting {
            Some(nats) => t!("home-expect-forgetting", nats = format::signed_nats(nats)),
            None => t!("home-expect-unmeasured").to_owned(),
        };
        return vec![
            (t!("common-loss"), t!("home-expect-loss", base = format::nats(base), best = format::nats(best))),
            (t!("common-forgetting"), forgetting),
            (t!("home-expect-time"), format::duration(result.wall_secs)),
        ];
    }
    vec![
        (t!("common-loss"), t!("home-expect-loss-words").to_owned()),
        (t!("common-forgetting"), t!("home-expect-forgetting-words").to_owned()),
        (t!("home-expect-samples"), t!("home-expect-samples-words").to_owned()),
        (t!("home-expect-export"), t!("home-expect-export-words").to_owned()),
    ]
}
