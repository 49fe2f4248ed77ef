//! What another start of the program hands over is a drop, and brings the window to the front; and the attention of the
//! system while the window is not there.
//!
//! Place in the data flow: the thread that listens puts paths into the door ([`crate::instance`]); before a frame they are
//! taken here and fall on the window with it, together with whatever else waits to be dropped, so that a file manager that
//! starts the program once for each of several chosen files drops them all at once.

use crate::app::App;
use egui::{Context, UserAttentionType, ViewportCommand};

impl App {
    /// Takes what other starts handed over.
    pub(super) fn take_handed(&mut self, ctx: &Context) {
        let mut came = false;
        while let Some(handed) = self.services.door.take() {
            came = true;
            self.waiting_drops.extend(handed.paths);
        }
        if came {
            self.come_to_front(ctx);
        }
        self.answer_call(ctx);
    }

    /// Shows the window to a person who asked for it elsewhere. Where a system lets no program do that by itself (Wayland,
    /// and Windows unless it likes to), its task bar shows where the window is.
    fn come_to_front(&mut self, ctx: &Context) {
        // A window that is large stays so: only one that is away is brought back.
        if ctx.input(|input| input.viewport().minimized) == Some(true) {
            ctx.send_viewport_cmd(ViewportCommand::Minimized(false));
        }
        ctx.send_viewport_cmd(ViewportCommand::Focus);
        self.call(ctx, UserAttentionType::Informational);
        ctx.request_repaint();
    }

    /// Asks for attention when nobody looks.
    pub(super) fn call(&mut self, ctx: &Context, kind: UserAttentionType) {
        if !is_looked_at(ctx) {
            self.called = true;
            ctx.send_viewport_cmd(ViewportCommand::RequestUserAttention(kind));
        }
    }

    /// Stops asking once somebody looks: X11 goes on until it is told.
    fn answer_call(&mut self, ctx: &Context) {
        if self.called && is_looked_at(ctx) {
            self.called = false;
            ctx.send_viewport_cmd(ViewportCommand::RequestUserAttention(UserAttentionType::Reset));
        }
    }
}

/// Whether the window has the keyboard. While it is away no frame is drawn, and only the raw input is of this moment.
pub(super) fn is_looked_at(ctx: &Context) -> bool {
    ctx.input(|input| input.raw.focused && input.viewport().minimized != Some(true))
}
