//! The rooms, and the frame around them.
//!
//! Place in the data flow: everything here reads a [`PanelCtx`] and sends commands; nothing changes the
//! state or waits. A panel is a function of the context, the [`egui::Ui`] and the rectangle it fills.

pub mod compare;
pub mod export;
pub mod frame;
pub mod home;
pub mod setup;
pub mod status;
pub mod watch;

use crate::commands::{self, Id, Outbox, UiCommand};
use crate::state::State;
use crate::theme::{Colours, Theme};
use crate::widgets::Button;
use egui::{Context, Rect, Response, Ui};
use temper_protocol::Project;

/// What every panel gets.
pub struct PanelCtx<'a> {
    /// What is known.
    pub state: &'a State,
    /// How it looks.
    pub theme: &'static Theme,
    /// Where commands go.
    pub out: &'a Outbox,
    /// Whether the window is small: rail of icons, two columns of cards, tabs.
    pub compact: bool,
}

impl PanelCtx<'_> {
    /// Colours by role.
    #[must_use]
    pub fn c(&self) -> &'static Colours {
        &self.theme.colours
    }

    /// Sends a command.
    pub fn send(&self, command: UiCommand) {
        self.out.push(command);
    }

    /// Changes the project; edits of one `key` in a row are taken back together.
    pub fn edit(&self, key: &str, change: impl FnOnce(&mut Project)) {
        let mut project = self.state.draft.project.clone();
        change(&mut project);
        self.send(UiCommand::Edit(key.to_owned(), Box::new(project)));
    }

    /// A button made from the table of commands: name, keys, tooltip and condition come from there.
    pub fn button(&self, ui: &Ui, id: Id) -> Button<'static> {
        let entry = commands::entry(id);
        let hindrance = (entry.hindrance)(self.state);
        let button = Button::new(entry.name.get()).icon(entry.icon).keys(entry.keys(ui.ctx()));
        button.tooltip(hindrance.unwrap_or_else(|| entry.help.get())).enabled(hindrance.is_none())
    }

    /// Shows a button of the table and carries its command out.
    pub fn press(&self, ui: &mut Ui, id: Id, button: Button<'_>, rect: Rect) -> Response {
        let response = button.show(ui, self.theme, rect);
        if response.clicked() {
            self.send((commands::entry(id).make)(self.state));
        }
        response
    }
}

/// Shows `content` in `rect`, in a scroll area when it may be higher than that.
pub fn scrolled(ui: &mut Ui, rect: Rect, salt: &str, content: impl FnOnce(&mut Ui, Rect)) {
    // The scroll bar has its place in the margin of the card, beside the content and not on it.
    let outer = rect.with_max_x(rect.right() + 7.0);
    let mut child = ui.new_child(egui::UiBuilder::new().id_salt(salt).max_rect(outer));
    child.set_clip_rect(rect.expand2(egui::vec2(7.0, 0.0)).intersect(ui.clip_rect()));
    egui::ScrollArea::vertical().id_salt(salt).auto_shrink(false).show(&mut child, |ui| {
        let top = ui.min_rect().min;
        let area = Rect::from_min_size(top, rect.size());
        content(ui, area);
        follow_focus(ui);
    });
    ui.advance_cursor_after_rect(rect);
}

/// Scrolls to what the keyboard has just reached in this scroll area, when it is not wholly in view: egui moves the
/// focus, not the view. To be called inside the area, after its content.
pub fn follow_focus(ui: &Ui) {
    let ctx = ui.ctx();
    let Some(id) = ctx.memory(|memory| memory.focused()) else { return };
    let before: Option<egui::Id> = ctx.data(|data| data.get_temp(last_focus()));
    // Who clicks sees what he clicks: nothing moves under the pointer.
    let by_pointer = ctx.input(|input| input.pointer.any_down() || input.pointer.any_released());
    if before == Some(id) || by_pointer {
        return;
    }
    let Some(focused) = ctx.read_response(id) else { return };
    let is_mine = focused.layer_id == ui.layer_id() && ui.min_rect().contains(focused.rect.center());
    if is_mine && !focused.interact_rect.contains_rect(focused.rect) {
        ui.scroll_to_rect(focused.rect.expand(FOCUS_MARGIN), None);
    }
}

/// Room around what the keyboard has reached: its ring, or the frame of a field.
const FOCUS_MARGIN: f32 = 8.0;

/// Notes what has the focus at the end of a frame, so that the next one knows what is new.
pub fn note_focus(ctx: &Context) {
    if ctx.will_discard() {
        return;
    }
    let focused = ctx.memory(|memory| memory.focused());
    ctx.data_mut(|data| {
        if let Some(id) = focused {
            data.insert_temp(last_focus(), id);
        } else {
            data.remove::<egui::Id>(last_focus());
        }
    });
}

fn last_focus() -> egui::Id {
    egui::Id::unique("focus of the last frame")
}
