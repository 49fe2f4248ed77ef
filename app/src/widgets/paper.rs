//! A field for text of several lines, as high as its text. What is being typed lives in egui's memory until the field is
//! left, so the state holds only texts that were meant.

use super::text;
use crate::theme::{Theme, Type};
use egui::text::LayoutJob;
use egui::{Frame, Id, Margin, Pos2, Rect, Stroke, StrokeKind, TextBuffer, TextEdit, Ui, vec2};

/// A field for text of several lines.
#[derive(Debug, Clone, Copy)]
pub struct Paper<'a> {
    /// Name for screen readers; also names the field among others.
    pub name: &'a str,
    /// The text when nobody types.
    pub value: &'a str,
    /// What it is for.
    pub tooltip: &'a str,
    /// Whether the text is refused.
    pub wrong: bool,
}

/// Shows the field; gives its height, and its text when it was left and differs from the value. Tab leaves it, and Escape,
/// which keeps what was typed: whole texts are too much to lose by a key.
pub fn show(ui: &mut Ui, theme: &Theme, top_left: Pos2, width: f32, paper: Paper<'_>) -> (f32, Option<String>) {
    let c = &theme.colours;
    let id = Id::unique(("paper", ui.scope_id(), paper.name));
    let had_focus = ui.memory(|memory| memory.has_focus(id));
    // Whether anything was typed, and not whether the field has the keyboard, says that it is left: a click elsewhere and
    // Escape take the keyboard away before the field is shown.
    let typed: Option<String> = ui.data(|data| data.get_temp(id));
    let edited = typed.is_some();
    let mut buffer = typed.unwrap_or_else(|| paper.value.to_owned());
    let room = width - 16.0;
    let job = move |text: &str| LayoutJob::simple(text.to_owned(), Type::Body.font(), c.text, room);
    let line = text::galley(ui.painter(), "0", Type::Body).size().y;
    let inner_height = ui.painter().layout_job(job(&buffer)).size().y.max(line);
    let height = inner_height + 8.0;
    let rect = Rect::from_min_size(top_left, vec2(width, height));
    let border = if paper.wrong {
        c.err
    } else if had_focus {
        c.accent
    } else {
        c.ctl
    };
    ui.painter().rect(rect, 4.0, c.panel, Stroke::new(1.0, border), StrokeKind::Inside);
    let mut layouter = |ui: &Ui, text: &dyn TextBuffer, _room: f32| ui.painter().layout_job(job(text.as_str()));
    let edit = TextEdit::multiline(&mut buffer)
        .id(id)
        .frame(Frame::NONE)
        .margin(Margin::ZERO)
        .font(Type::Body.font())
        .text_color(c.text)
        .desired_width(room)
        .desired_rows(1)
        .layouter(&mut layouter);
    let inner = Rect::from_min_size(top_left + vec2(8.0, 4.0), vec2(room, inner_height));
    let response = ui.put(inner, edit).accessible_name(paper.name);
    let mut committed = None;
    if response.has_focus() {
        ui.data_mut(|data| data.insert_temp(id, buffer));
    } else if edited {
        ui.data_mut(|data| data.remove_temp::<String>(id));
        committed = (buffer != paper.value).then_some(buffer);
    }
    response.on_hover_text(paper.tooltip);
    (height, committed)
}
