//! Fields for text and numbers. What is being typed lives in egui's memory until it is committed, so the
//! state holds only values that were meant.

use super::text;
use crate::theme::{Icon, Theme, Type};
use egui::text::{LayoutJob, TextWrapping};
use egui::{Align2, Context, Frame, Id, Margin, Rect, Response, Stroke, StrokeKind, TextBuffer, TextEdit, Ui, pos2};

/// A field.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// Name for screen readers; also names the field among others.
    pub name: &'a str,
    /// The value when nobody types.
    pub value: &'a str,
    /// Shown while it is empty.
    pub hint: &'a str,
    /// Figures instead of words: right-aligned in JetBrains Mono.
    pub figure: bool,
    /// A path: its end is shown while nobody types.
    pub path: bool,
    /// Icon in front.
    pub icon: Option<Icon>,
    /// What is wrong with the value.
    pub wrong: Option<&'a str>,
    /// What it is for.
    pub tooltip: &'a str,
}

impl<'a> Field<'a> {
    /// A field for words.
    #[must_use]
    pub fn new(name: &'a str, value: &'a str) -> Self {
        Self { name, value, hint: "", figure: false, path: false, icon: None, wrong: None, tooltip: "" }
    }
}

/// What happened to a field.
#[derive(Debug)]
pub struct Typed {
    /// New text while typing.
    pub changed: Option<String>,
    /// Text when Enter was pressed or the field was left, if it differs from the value.
    pub committed: Option<String>,
    /// Enter was pressed.
    pub entered: bool,
    /// The field itself.
    pub response: Response,
}

/// What stands in a field that has the focus, and what stood there when it got it.
#[derive(Debug, Clone, Default)]
struct Writing {
    text: String,
    before: String,
}

impl Writing {
    fn is_untouched(&self) -> bool {
        self.text == self.before
    }
}

/// Whether the focus is in a field that nothing was written in yet: its own undo has nothing to take back there.
#[must_use]
pub fn is_untouched(ctx: &Context) -> bool {
    let writing = |id| ctx.data(|data| data.get_temp::<Writing>(id));
    ctx.memory(|memory| memory.focused()).and_then(writing).is_some_and(|writing| writing.is_untouched())
}

/// Shows a field in `rect`.
pub fn show(ui: &mut Ui, theme: &Theme, rect: Rect, field: Field<'_>) -> Typed {
    let c = &theme.colours;
    let id = Id::unique(("field", ui.scope_id(), field.name));
    let had_focus = ui.memory(|memory| memory.has_focus(id));
    let kind = if field.figure { Type::Mono } else { Type::Body };
    let writing = had_focus.then(|| ui.data(|data| data.get_temp::<Writing>(id))).flatten();
    // An undo may change the value under a field that has the focus and was not written in.
    let writing = writing.filter(|writing| !writing.is_untouched() || writing.before == field.value);
    let before = writing.as_ref().map_or_else(|| field.value.to_owned(), |writing| writing.before.clone());
    let mut buffer: String = if had_focus {
        writing.map_or_else(|| field.value.to_owned(), |writing| writing.text)
    } else if field.path {
        text::path_end(ui, field.value, kind, rect.width() - 16.0)
    } else {
        field.value.to_owned()
    };
    let border = if field.wrong.is_some() {
        c.err
    } else if had_focus {
        c.accent
    } else {
        c.ctl
    };
    ui.painter().rect(rect, 4.0, c.panel, Stroke::new(1.0, border), StrokeKind::Inside);
    let mut inner = rect.shrink2(egui::vec2(8.0, 0.0));
    if let Some(icon) = field.icon {
        text::icon(ui.painter(), pos2(rect.left() + 16.0, rect.center().y), icon, 16.0, c.text3);
        inner.set_left(rect.left() + 30.0);
    }
    let row = kind.line_height();
    let inner = Rect::from_center_size(inner.center(), egui::vec2(inner.width(), row));
    let align = if field.figure { Align2::RIGHT_CENTER } else { Align2::LEFT_CENTER };
    // What does not fit ends in an ellipsis until it is edited; what is announced stays whole.
    let mut shortened = |ui: &Ui, text: &dyn TextBuffer, _room: f32| {
        let mut job = LayoutJob::simple_singleline(text.as_str().to_owned(), kind.font(), c.text);
        job.wrap = TextWrapping::truncate_at_width(inner.width());
        ui.painter().layout_job(job)
    };
    let mut edit = TextEdit::singleline(&mut buffer)
        .id(id)
        .frame(Frame::NONE)
        .margin(Margin::ZERO)
        .font(kind.font())
        .text_color(c.text)
        .hint_text(egui::RichText::new(field.hint).color(c.text3))
        .desired_width(inner.width())
        .align(align)
        .clip_text(true);
    if !had_focus && !field.figure {
        edit = edit.layouter(&mut shortened);
    }
    let response = ui.put(inner, edit).accessible_name(field.name);
    let entered = response.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
    let escaped = response.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Escape));
    let changed = (response.changed() && (had_focus || !field.path)).then(|| buffer.clone());
    let left = response.lost_focus() && !escaped;
    let committed = (left && had_focus && buffer != field.value).then(|| buffer.clone());
    if response.has_focus() {
        // In its first frame the field shows the end of a path; what is edited is the whole.
        let text = if had_focus || !field.path { buffer } else { field.value.to_owned() };
        ui.data_mut(|data| data.insert_temp(id, Writing { text, before }));
    } else if response.lost_focus() {
        ui.data_mut(|data| data.remove_temp::<Writing>(id));
    }
    let response = match field.wrong {
        Some(wrong) => response.on_hover_text(wrong),
        None if field.tooltip.is_empty() => response.on_hover_text(field.name),
        None => response.on_hover_text(field.tooltip),
    };
    Typed { changed, committed, entered, response }
}

/// A field of many lines that fills `area` and grows below it; gives what was typed in this frame.
pub fn area(ui: &mut Ui, theme: &Theme, area: Rect, (name, tip): (&str, &str), value: &str) -> Option<String> {
    let mut buffer = value.to_owned();
    let rows = (area.height() / Type::Mono.line_height()).floor().max(3.0) as usize;
    let edit = TextEdit::multiline(&mut buffer)
        .id(Id::unique(("area", ui.scope_id(), name)))
        .frame(Frame::NONE)
        .margin(Margin::ZERO)
        .font(Type::Mono.font())
        .text_color(theme.colours.text)
        .desired_width(area.width())
        .desired_rows(rows);
    let response = ui.add(edit).accessible_name(name).on_hover_text(tip);
    if response.has_focus() {
        let frame = response.rect.expand(3.0);
        ui.painter().rect_stroke(frame, 3.0, Stroke::new(1.0, theme.colours.accent), StrokeKind::Inside);
    }
    response.changed().then_some(buffer)
}
