//! What a run of the project as it stands can leave as, over the room Setup.

use super::over;
use super::sheets::{acts, head};
use crate::commands::UiCommand;
use crate::rooms::PanelCtx;
use crate::rooms::export::support;
use egui::{Ui, vec2};

const WIDTH: f32 = 800.0;
/// Height of the head, the button and the space around them.
const FRAME: f32 = 106.0;

/// Shows the table.
pub fn support_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    let height = FRAME + support::height(cx, ui, WIDTH - 40.0);
    over(cx, ui, t!("commands-support"), vec2(WIDTH, height), None, |ui, rect| {
        let body = head(cx, ui, rect, t!("commands-support"));
        support::support_ui(cx, ui, body.with_max_y(body.bottom() - 42.0));
        let buttons = [(t!("common-close"), t!("sheets-close-tip"), false, true)];
        if acts(cx, ui, body, &buttons).is_some() {
            cx.send(UiCommand::CloseSheet);
        }
    });
}
