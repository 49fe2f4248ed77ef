//! The chosen row in full: where it comes from, what is counted, and every token under the pointer.

use super::{areas, edit, marks};
use crate::app::App;
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::lens::LensAct;
use crate::state::token_loss;
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::{Button, choice, text};
use egui::{Align, Pos2, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};
use std::sync::Arc;
use temper_protocol::event::LensRow;

/// Width of the scale of losses, and how many shades it has.
const SCALE: f32 = 80.0;
const SHADES: usize = 8;

/// Shows the chosen row.
pub(super) fn row_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let lens = &cx.state.lens;
    let whole = lens.whole.as_ref().filter(|(row, _)| *row == lens.chosen);
    // Until the whole row arrives, what the list has of it is shown.
    let found = match (lens.editor.told(lens.chosen), whole) {
        (Some(told), _) => Some(&told.seen),
        (None, Some((_, row))) => row.as_ref(),
        (None, None) => lens.row(lens.chosen),
    };
    let head = Rect::from_min_size(rect.min, vec2(rect.width(), 24.0));
    let head = head.with_max_x(acts_ui(cx, ui, head) - 16.0);
    let name = t!("lens-chosen", row = format::count(lens.chosen + 1));
    let Some(row) = found else {
        let why = if whole.is_some() { t!("lens-blank") } else { t!("lens-loading") };
        let pieces = [text::Piece(&name, Type::Strong, c.text), text::Piece(why, Type::Body, c.text3)];
        text::pieces(ui, head, &pieces);
        return;
    };
    let file = format::file_name(&row.file.display().to_string()).to_owned();
    // A row that is the line of the same number needs no second one.
    let place = if row.line == lens.chosen + 1 {
        file
    } else {
        t!("lens-place-of", file = file, line = format::count(row.line))
    };
    let counts = if row.tokens > 0 { marks::counts(row) } else { String::new() };
    let mut pieces = vec![
        text::Piece(&name, Type::Strong, c.text),
        text::Piece(&counts, Type::Body, c.text2),
        text::Piece(&place, Type::Body, c.text3),
    ];
    // In a small window the acts take the room of the file's name, which stands on the card as well.
    if text::pieces_width(ui, &pieces) > head.width() {
        pieces.pop();
    }
    text::pieces(ui, head, &pieces);
    let mut top = head.bottom() + 4.0;
    if !row.problem.is_empty() {
        let line = Rect::from_min_size(pos2(rect.left(), top), vec2(rect.width(), 26.0));
        ui.painter().rect_filled(line, 4.0, c.warn_bg);
        text::icon(ui.painter(), pos2(line.left() + 15.0, line.center().y), icons::WARNING, 16.0, c.warn);
        let why = t!("lens-not-trained", why = row.problem);
        let words = line.with_min_x(line.left() + 28.0).with_max_x(line.right() - 8.0);
        text::data(ui, words, Align::Min, &why, Type::Body, c.text);
        top = line.bottom() + 6.0;
    }
    let losses = lens.losses.of(lens.chosen, lens.editor.edits.get(&lens.chosen));
    if lens.losses.shown {
        losses_ui(cx, ui, Rect::from_min_size(pos2(rect.left(), top), vec2(rect.width(), 20.0)), row, losses);
        top += 24.0;
    }
    let mut rect = rect;
    if lens.editor.open {
        let middle = rect.center().x.round();
        edit::edit_ui(cx, ui, Rect::from_min_max(pos2(middle + 8.0, top), rect.max));
        rect.set_right(middle - 8.0);
    }
    scrolled(ui, rect.with_min_y(top).with_max_x(rect.right() - 8.0), "token lens row", |ui, area| {
        let height = tokens_ui(cx, ui, area, row, losses);
        ui.allocate_rect(Rect::from_min_size(area.min, vec2(area.width(), height)), Sense::hover());
    });
}

/// What can be done with rows, from the right; gives the left edge.
fn acts_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) -> f32 {
    let lens = &cx.state.lens;
    let place = |right: f32, width: f32| Rect::from_min_size(pos2(right - width, row.top()), vec2(width, 24.0));
    let hindrance = App::copy_hindrance(cx.state);
    let save = Button::new(t!("lens-save")).icon(icons::FLOPPY_DISK).enabled(hindrance.is_none());
    let save = save.tooltip(hindrance.unwrap_or_else(|| t!("lens-save-tip")));
    let at = place(row.right() - 8.0, save.width(ui));
    if save.show(ui, cx.theme, at).clicked() {
        cx.send(UiCommand::Lens(LensAct::SaveCopy));
    }
    let at = place(at.left() - 16.0, text::width(ui, t!("lens-deduplicate"), Type::Body) + 24.0);
    if choice::check(ui, cx.theme, at, t!("lens-deduplicate"), lens.deduplicate) {
        cx.send(UiCommand::Lens(LensAct::Deduplicate(!lens.deduplicate)));
    }
    let out = lens.left_out.contains(&lens.chosen);
    let (words, icon) = if out { (t!("lens-take-in"), icons::PLUS) } else { (t!("lens-leave-out"), icons::X) };
    let button = Button::new(words).icon(icon).tooltip(t!("lens-leave-out-tip"));
    let at = place(at.left() - 16.0, button.width(ui));
    if button.show(ui, cx.theme, at).clicked() {
        cx.send(UiCommand::Lens(LensAct::LeaveOut(lens.chosen)));
    }
    let at = place(at.left() - 8.0, 28.0);
    let open = lens.editor.open;
    let pencil = Button::icon_only(icons::PENCIL_SIMPLE, t!("lens-edit")).weight(Weight::Normal).selected(open);
    if pencil.tooltip(t!("lens-edit-tip")).show(ui, cx.theme, at).clicked() {
        cx.send(UiCommand::Lens(LensAct::Edit(!open)));
    }
    let at = place(at.left() - 8.0, 28.0);
    let shown = lens.losses.shown;
    let hindrance = (cx.state.is_training() && !shown).then(|| t!("commands-run-going"));
    let costs = Button::icon_only(icons::CHART_LINE_DOWN, t!("lens-loss")).weight(Weight::Normal).selected(shown);
    let costs = costs.tooltip(hindrance.unwrap_or_else(|| t!("lens-loss-tip"))).enabled(hindrance.is_none());
    if costs.show(ui, cx.theme, at).clicked() {
        cx.send(UiCommand::Lens(LensAct::Losses(!shown)));
    }
    let mut counts = Vec::new();
    if !lens.left_out.is_empty() {
        counts.push(t!("lens-left-out-count", rows = format::count(lens.left_out.len() as u64)));
    }
    if !lens.editor.edits.is_empty() {
        counts.push(t!("lens-edited-count", rows = format::count(lens.editor.edits.len() as u64)));
    }
    if counts.is_empty() {
        return at.left();
    }
    let words = counts.join(", ");
    let width = text::width(ui, &words, Type::Body);
    text::line(ui, place(at.left() - 12.0, width), Align::Min, &words, Type::Body, cx.c().warn);
    at.left() - 12.0 - width
}

/// The tokens as wrapped text; gives its height.
fn tokens_ui(cx: &PanelCtx<'_>, ui: &mut Ui, area: Rect, row: &LensRow, losses: Option<&[f64]>) -> f32 {
    let c = cx.c();
    let mut job = marks::whole(cx.theme, row);
    job.wrap.max_width = area.width();
    let galley = ui.painter().layout_job(job);
    let size = galley.size();
    areas::paint(ui.painter(), cx.theme, area.min, &galley, row, 0, losses);
    ui.painter().galley(area.min, Arc::clone(&galley), c.text);
    let place = Rect::from_min_size(area.min, vec2(size.x.max(1.0), size.y.max(1.0)));
    let response = ui.allocate_rect(place, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, marks::spoken(row)));
    let pointer = response.hover_pos().map(|at: Pos2| at - area.min);
    let under = pointer.and_then(|at| {
        // The nearest edge between two letters: the letter under the pointer is on one of its sides.
        let edge = galley.cursor_from_pos(at);
        let before = at.x < galley.pos_from_cursor(edge).left();
        token_at(row, edge.index.0.saturating_sub(usize::from(before)))
    });
    if let Some(token) = under {
        response.on_hover_text_at_pointer(token_words(row, token, losses));
    }
    let shown = row.pieces.len() as u64;
    if shown < row.tokens {
        let words = t!("lens-more", shown = format::count(shown), tokens = format::count(row.tokens));
        let line = Rect::from_min_size(pos2(area.left(), place.bottom() + 4.0), vec2(area.width(), 18.0));
        text::line(ui, line, Align::Min, &words, Type::Body, c.text2);
        return size.y + 26.0;
    }
    size.y
}

/// The token that holds letter `letter` of the text.
fn token_at(row: &LensRow, letter: usize) -> Option<usize> {
    let mut passed = 0;
    row.pieces.iter().enumerate().find_map(|(index, piece)| {
        let border = if row.borders.contains(&(index as u64)) { marks::BORDER.chars().count() } else { 0 };
        passed += border + piece.chars().count();
        (letter < passed).then_some(index)
    })
}

/// A token in words: its text, number, id, and what it is.
fn token_words(row: &LensRow, token: usize, losses: Option<&[f64]>) -> String {
    let piece = row.pieces.get(token).map(|piece| marks::visible(piece)).unwrap_or_default();
    let id = row.ids.get(token).copied().unwrap_or_default();
    let what = row.marks.chars().nth(token).map_or("", |letter| marks::Mark::of(letter).word());
    let place = format::count(token as u64 + 1);
    let mut words = t!("lens-token-tip", token = piece, place = place, id = id, what = what);
    if row.borders.contains(&(token as u64)) {
        words.push(' ');
        words.push_str(t!("lens-border-tip"));
    }
    if let Some(loss) = losses.and_then(|losses| losses.get(token)).filter(|loss| loss.is_finite()) {
        let chance = format::percent((-loss).exp());
        words.push(' ');
        words.push_str(&t!("lens-loss-token", loss = format!("{loss:.2}"), chance = chance));
    }
    words
}

/// What the tint means, and the mean over the trained tokens.
fn losses_ui(cx: &PanelCtx<'_>, ui: &mut Ui, line: Rect, row: &LensRow, losses: Option<&[f64]>) {
    let c = cx.c();
    let words = match losses {
        Some(losses) => match token_loss::mean_trained(losses, &row.marks) {
            Some(mean) => t!("lens-loss-mean", loss = format!("{mean:.2}")),
            None => t!("lens-loss-none").to_owned(),
        },
        None if cx.state.is_training() => t!("commands-run-going").to_owned(),
        None => t!("lens-loss-measuring").to_owned(),
    };
    let end = text::pieces(ui, line, &[text::Piece(&words, Type::Body, c.text2)]);
    let scale = Rect::from_min_size(pos2(end + 16.0, line.top()), vec2(SCALE, line.height()));
    let most = t!("lens-loss-scale", nats = format!("{:.0}", token_loss::MOST_NATS));
    if scale.right() + 16.0 + text::width(ui, &most, Type::Caption) > line.right() {
        return;
    }
    let part = SCALE / SHADES as f32;
    for shade in 0..SHADES {
        let strength = shade as f32 / (SHADES - 1) as f32;
        let min = pos2(scale.left() + shade as f32 * part, scale.top() + 4.0);
        ui.painter().rect_filled(Rect::from_min_size(min, vec2(part, 12.0)), 0.0, marks::tint(cx.theme, strength));
    }
    let border = Rect::from_min_max(scale.min + vec2(0.0, 4.0), pos2(scale.right(), scale.top() + 16.0));
    ui.painter().rect_stroke(border, 0.0, Stroke::new(1.0, c.line2), StrokeKind::Outside);
    text::line(ui, line.with_min_x(scale.right() + 8.0), Align::Min, &most, Type::Caption, c.text2);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_belong_to_their_token() {
        let pieces = ["ab", "", "ü", " c"].map(str::to_owned).to_vec();
        let row = LensRow { borders: vec![3], ..marks::example(pieces, "c") };
        let tokens: Vec<Option<usize>> = (0..7).map(|letter| token_at(&row, letter)).collect();
        // The border stands before the last token and is a letter of its own.
        assert_eq!(tokens, [Some(0), Some(0), Some(2), Some(3), Some(3), Some(3), None]);
    }

    #[test]
    fn a_token_says_what_it_costs_and_the_first_one_nothing() {
        let row = marks::example(["a", " b"].map(str::to_owned).to_vec(), "ct");
        let losses = [f64::NAN, std::f64::consts::LN_2];
        assert!(token_words(&row, 1, Some(&losses)).contains("0.69"));
        assert!(token_words(&row, 1, Some(&losses)).contains("50"), "a chance of one half");
        assert_eq!(token_words(&row, 0, Some(&losses)), token_words(&row, 0, None));
    }
}
