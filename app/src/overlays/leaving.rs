//! The card that counts down before the window closes or the machine is shut down, and the way to say no.

use super::over;
use super::sheets::{acts, head};
use crate::commands::UiCommand;
use crate::rooms::PanelCtx;
use crate::state::afterwards::{After, COUNTDOWN_MILLIS};
use crate::theme::Type;
use crate::widgets::{bar, text};
use egui::{Rect, Ui, pos2, vec2};

/// Shows the card.
pub fn leaving_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    let after = &cx.state.afterwards;
    let Some(secs) = after.left_secs(cx.state.clock.now_millis()) else { return };
    let (title, words) = match after.wish {
        After::ShutDown => (t!("after-title-shut-down"), t!("after-shuts-down", n = secs, secs = secs)),
        After::Close | After::Nothing => (t!("after-title-close"), t!("after-closes", n = secs, secs = secs)),
    };
    over(cx, ui, title, vec2(520.0, 196.0), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, title);
        let height = text::block(ui, body.min, body.width(), &words, Type::Body, c.text);
        let track = Rect::from_min_size(pos2(body.left(), body.top() + height + 16.0), vec2(body.width(), 4.0));
        let share = secs as f32 * 1000.0 / COUNTDOWN_MILLIS as f32;
        bar::progress(ui, cx.theme, track, t!("after-left"), Some(share), c.accent);
        let buttons = [(t!("common-cancel"), t!("after-cancel-tip"), true, true)];
        if acts(cx, ui, body, &buttons).is_some() {
            cx.send(UiCommand::After(After::Nothing));
        }
    });
}
