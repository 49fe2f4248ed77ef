//! What lies over the room: the drop verdict, the palette, questions, texts to read.

pub mod card;
pub mod drop;
pub mod glossary;
pub mod help;
pub mod leaving;
pub mod lens;
pub mod longer;
pub mod machine;
pub mod mismatch;
pub mod palette;
pub mod preset;
pub mod queue;
pub mod races;
pub mod rehouse;
pub mod sheets;
pub mod support;

use crate::rooms::{PanelCtx, frame};
use crate::state::Sheet;
use crate::theme::Theme;
use crate::widgets::panel;
use egui::{Area, Context, Id, Order, Rect, Sense, Ui, vec2};

/// Shows the sheet, if there is one.
pub fn sheet_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    keep_focus(ui.ctx(), cx.state.sheet.is_some());
    match &cx.state.sheet {
        None => {}
        Some(Sheet::Palette { query, chosen }) => palette::palette_ui(cx, ui, query, *chosen),
        Some(Sheet::Help) => help::help_ui(cx, ui),
        Some(Sheet::Glossary { query, term }) => glossary::glossary_ui(cx, ui, query, *term),
        // Where the room would be, what is dropped is judged.
        Some(Sheet::Lens) if cx.state.drop.hovering => {}
        Some(Sheet::Lens) => lens::lens_ui(cx, ui),
        Some(Sheet::Text { title, note, text }) => sheets::text_ui(cx, ui, title, note, text),
        Some(Sheet::Place { folder }) => sheets::place_ui(cx, ui, folder),
        Some(Sheet::PathEntry { text, reason }) => sheets::path_ui(cx, ui, text, reason),
        Some(Sheet::Longer { run, steps }) => longer::longer_ui(cx, ui, *run, steps),
        Some(Sheet::Machine) => machine::machine_ui(cx, ui),
        Some(Sheet::Card { text }) => card::card_ui(cx, ui, text),
        Some(Sheet::Support) => support::support_ui(cx, ui),
        Some(Sheet::Preset { name }) => preset::preset_ui(cx, ui, name),
        Some(Sheet::Mismatch { found, differences }) => mismatch::mismatch_ui(cx, ui, found, differences),
        Some(Sheet::Rehouse(asked)) => rehouse::rehouse_ui(cx, ui, asked),
        Some(Sheet::Queue) => queue::queue_ui(cx, ui),
        Some(Sheet::Leaving) => leaving::leaving_ui(cx, ui),
        Some(Sheet::Races) => races::races_ui(cx, ui),
        Some(Sheet::Closing { waiting }) => sheets::closing_ui(cx, ui, *waiting),
    }
}

/// What had the keyboard in the room when a sheet came over it.
#[derive(Debug, Clone, Copy)]
enum Below {
    /// The sheet is open.
    Covered(Option<Id>),
    /// It was closed in the frame before: egui still takes the room for covered by it.
    Left(Id),
}

/// Gives the keyboard back to what had it before a sheet was opened: egui takes it away from everything that is
/// covered, and Escape from everything. Who closes a sheet and reaches for something else at once keeps that.
fn keep_focus(ctx: &Context, covered: bool) {
    let key = Id::unique("focus below a sheet");
    let known: Option<Below> = ctx.data(|data| data.get_temp(key));
    let focused = ctx.memory(|memory| memory.focused());
    let next = match (known, covered) {
        (Some(Below::Covered(before)), true) => Some(Below::Covered(before)),
        (Some(Below::Left(before)), true) => Some(Below::Covered(focused.or(Some(before)))),
        (None, true) => Some(Below::Covered(focused)),
        (Some(Below::Covered(Some(before))), false) => {
            ctx.request_repaint();
            Some(Below::Left(before))
        }
        (Some(Below::Left(before)), false) => {
            // It may be gone, with its room or by what was done in the sheet.
            let is_there = ctx.read_response(before).is_some_and(|response| response.enabled());
            if focused.is_none() && is_there {
                ctx.memory_mut(|memory| memory.request_focus(before));
                ctx.request_repaint();
            }
            None
        }
        (Some(Below::Covered(None)) | None, false) => None,
    };
    ctx.data_mut(|data| match next {
        Some(below) => {
            data.insert_temp(key, below);
        }
        None => data.remove::<Below>(key),
    });
}

/// A card of `size` over a dimmed room; a click beside it or Escape closes it.
pub(crate) fn over(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    name: &str,
    size: egui::Vec2,
    top: Option<f32>,
    content: impl FnOnce(&mut Ui, Rect),
) {
    let window = ui.max_rect();
    let size = size.min(window.size() - vec2(32.0, 32.0));
    let mut min = Rect::from_center_size(window.center(), size).min;
    if let Some(top) = top {
        min.y = window.top() + top;
    }
    over_at(cx, ui, name, Rect::from_min_size(min.round(), size), content);
}

/// A card in the place of the room, which is not drawn meanwhile ([`Sheet::covers_room`]).
pub(crate) fn over_room(cx: &PanelCtx<'_>, ui: &mut Ui, name: &str, content: impl FnOnce(&mut Ui, Rect)) {
    let rect = frame::room_rect(ui.max_rect(), cx.compact);
    over_at(cx, ui, name, rect, content);
}

fn over_at(cx: &PanelCtx<'_>, ui: &mut Ui, name: &str, card: Rect, content: impl FnOnce(&mut Ui, Rect)) {
    let window = ui.max_rect();
    let c = cx.c();
    let id = Id::unique(("sheet", name));
    let area = Area::new(id)
        .order(Order::Foreground)
        .fixed_pos(window.min)
        .constrain(false)
        .fade_in(false)
        .accessible_name(name);
    let response = area.show(ui.ctx(), |ui| {
        // Not a stop for the keyboard: Escape does the same.
        let scrim = ui.allocate_rect(window, Sense::CLICK);
        ui.painter().rect_filled(window, 0.0, Theme::fade(c.window, cx.theme.shares.scrim));
        panel::bordered(ui, card, c.card, c.line2);
        content(ui, card);
        scrim
    });
    ui.memory_mut(|memory| memory.set_modal_layer(response.response.layer_id));
    let beside = response.inner.clicked() && response.inner.interact_pointer_pos().is_some_and(|at| !card.contains(at));
    if beside || ui.input_mut(|input| input.consume_key(egui::Modifiers::NONE, egui::Key::Escape)) {
        cx.send(crate::commands::UiCommand::CloseSheet);
    }
}
