//! Words that the glossary explains: a dotted line under them, what they mean under the pointer, the glossary on a
//! click, and on F1 while a control about them has the keyboard.
//!
//! Place in the data flow: whoever shows a term calls [`explain`]; a click leaves a wish with the context, which
//! [`crate::commands::pressed`] takes as a command in the next pass, as it takes keys. The words are no stop for the
//! keyboard: what has the keyboard beside them ([`on_focus`]) answers to F1, and the palette finds every term.

use crate::glossary::{self, Term};
use crate::theme::Theme;
use egui::{Context, CursorIcon, Id, Rect, Sense, Shape, Ui, pos2};

/// Points from dot to dot, and their radius.
const DOTS: (f32, f32) = (3.0, 0.6);

fn wish() -> Id {
    Id::unique("wish for a term")
}

fn focus() -> Id {
    Id::unique("term of the focused control")
}

/// Marks `words` as the name of a term; `tip` is what is said about them here.
pub fn explain(ui: &mut Ui, theme: &Theme, words: Rect, term: &'static Term, tip: &str) {
    if words.width() < 4.0 {
        return;
    }
    let id = Id::unique(("term", ui.scope_id(), term.key, words.left() as i32));
    let response = ui.interact(words, id, Sense::CLICK);
    let c = &theme.colours;
    let colour = if response.hovered() { c.text2 } else { c.text3 };
    let y = words.bottom() - 0.5;
    let line = [pos2(words.left(), y), pos2(words.right(), y)];
    ui.painter().extend(Shape::dotted_line(&line, colour, DOTS.0, DOTS.1));
    let said = |ui: &mut Ui| {
        // As wide as other tooltips, whatever was shown there before.
        ui.set_max_width(ui.spacing().tooltip_width);
        let about = if tip.is_empty() { String::new() } else { format!("{tip}\n") };
        ui.label(format!("{about}{}: {}\n{}", term.word.get(), term.meaning.get(), t!("glossary-more")));
    };
    if response.on_hover_cursor(CursorIcon::Help).on_hover_ui(said).clicked() {
        let ctx = ui.ctx();
        ctx.data_mut(|data| data.insert_temp(wish(), term.key));
        ctx.request_repaint();
    }
}

/// Marks the words of a label when they name a term; `tip` is what is said about them here.
pub fn label(ui: &mut Ui, theme: &Theme, place: Rect, words: &str, tip: &str) {
    if let Some(term) = glossary::of_label(words) {
        explain(ui, theme, place, term, tip);
    }
}

/// As [`on_focus`], for a control whose label may name a term.
pub fn label_on_focus(ui: &Ui, row: Rect, words: &str) {
    if let Some(term) = glossary::of_label(words) {
        on_focus(ui, row, term);
    }
}

/// Remembers the term if what has the keyboard stands in `row`.
pub fn on_focus(ui: &Ui, row: Rect, term: &'static Term) {
    let ctx = ui.ctx();
    let Some(id) = ctx.memory(|memory| memory.focused()) else { return };
    let Some(control) = ctx.read_response(id) else { return };
    if row.contains(control.rect.center()) {
        let pass = ctx.cumulative_pass_nr();
        ctx.data_mut(|data| data.insert_temp(focus(), (pass, term.key)));
    }
}

/// The term whose words were clicked in the pass before.
pub(crate) fn take_wish(ctx: &Context) -> Option<&'static str> {
    ctx.data_mut(|data| data.remove_temp::<&'static str>(wish()))
}

/// The term of the control that has the keyboard, as of this pass or the one before.
pub(crate) fn focused(ctx: &Context) -> Option<&'static str> {
    let known: Option<(u64, &'static str)> = ctx.data(|data| data.get_temp(focus()));
    let pass = ctx.cumulative_pass_nr();
    let has_focus = ctx.memory(|memory| memory.focused().is_some());
    known.filter(|(when, _)| has_focus && when + 1 >= pass).map(|(_, term)| term)
}
