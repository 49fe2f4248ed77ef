//! The drop zone with its other ways in, and the recent projects.

use crate::commands::{Id, UiCommand};
use crate::format;
use crate::rooms::PanelCtx;
use crate::state::settings::Recent;
use crate::theme::{Type, icons};
use crate::widgets::button::{Button, focus_ring};
use crate::widgets::panel;
use crate::widgets::rows::{self, Rows};
use crate::widgets::text;
use egui::{Align, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};

/// Shows the drop zone.
pub(super) fn drop_zone(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    ui.painter().rect_filled(rect, 6.0, c.panel);
    let edge = rect.shrink(0.5);
    let corners = [edge.left_top(), edge.right_top(), edge.right_bottom(), edge.left_bottom(), edge.left_top()];
    ui.painter().extend(Shape::dashed_line(&corners, Stroke::new(1.0, c.line2), 5.0, 4.0));
    let kinds_height = if rect.height() < 190.0 { 0.0 } else { 62.0 };
    let room = rect.height() - kinds_height;
    let block = 28.0 + 8.0 + 20.0 + 20.0 + 10.0 + 28.0;
    let mut y = rect.top() + ((room - block) / 2.0).max(8.0).round();
    text::icon(ui.painter(), pos2(rect.center().x, y + 12.0), icons::TRAY_ARROW_DOWN, 28.0, c.text2);
    y += 36.0;
    let row = |y: f32, height: f32| Rect::from_min_size(pos2(rect.left() + 12.0, y), vec2(rect.width() - 24.0, height));
    let (title, words) = if cx.state.drops_work {
        (t!("home-drop"), t!("home-drop-lead"))
    } else {
        (t!("home-choose"), t!("home-choose-lead"))
    };
    text::line(ui, row(y, 20.0), Align::Center, title, Type::Card, c.text);
    text::line(ui, row(y + 21.0, 18.0), Align::Center, words, Type::Body, c.text2);
    y += 50.0;
    let buttons: Vec<(Id, Button<'_>)> = [Id::ChooseFiles, Id::ChooseFolder, Id::EnterPath]
        .into_iter()
        .map(|id| (id, if cx.compact { cx.button(ui, id).keys(None) } else { cx.button(ui, id) }))
        .collect();
    let widths: Vec<f32> = buttons.iter().map(|(_, button)| button.width(ui)).collect();
    let whole: f32 = widths.iter().sum::<f32>() + 8.0 * (widths.len() - 1) as f32;
    let mut x = (rect.center().x - whole / 2.0).round();
    for ((id, button), width) in buttons.into_iter().zip(widths) {
        cx.press(ui, id, button, Rect::from_min_size(pos2(x, y), vec2(width, 28.0)));
        x += width + 8.0;
    }
    if kinds_height > 0.0 {
        let line = rect.bottom() - kinds_height;
        ui.painter().hline(rect.left() + 16.0..=rect.right() - 16.0, line + 0.5, Stroke::new(1.0, c.line));
        kinds(cx, ui, Rect::from_min_max(pos2(rect.left() + 16.0, line), rect.max - vec2(16.0, 0.0)));
    }
}

fn kinds(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let kinds = [
        (icons::CUBE, t!("home-kind-models"), t!("home-kind-models-files")),
        (
            icons::TABLE,
            t!("home-kind-data"),
            if cx.compact { t!("home-kind-data-short") } else { t!("home-kind-data-files") },
        ),
        (icons::PUZZLE_PIECE, t!("home-kind-adapters"), t!("home-kind-adapters-files")),
        (
            icons::ARCHIVE,
            t!("home-kind-projects"),
            if cx.compact { t!("home-kind-projects-short") } else { t!("home-kind-projects-files") },
        ),
    ];
    let width = rect.width() / 4.0;
    for (index, (icon, name, files)) in kinds.into_iter().enumerate() {
        let left = rect.left() + index as f32 * width;
        text::icon(ui.painter(), pos2(left + 10.0, rect.center().y), icon, 20.0, c.text2);
        let place = Rect::from_min_size(pos2(left + 28.0, rect.center().y - 18.0), vec2(width - 30.0, 18.0));
        text::line(ui, place, Align::Min, name, Type::Medium, c.text);
        text::data(ui, place.translate(vec2(0.0, 18.0)), Align::Min, files, Type::Body, c.text2);
    }
}

/// Width of the button that takes a project off the list, and the space before it.
const FORGET: f32 = 28.0;

/// Shows the recent projects.
pub(super) fn recent_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let (_, inside) = panel::titled(ui, cx.theme, rect, t!("home-recent"), t!("home-recent-note"));
    let recents = &cx.state.settings.recents;
    if recents.is_empty() {
        let mut lines = Rows::new(inside);
        let row = lines.next(20.0);
        text::line(ui, row, Align::Min, t!("home-recent-none"), Type::Strong, c.text);
        let words = t!("home-recent-lead");
        lines.y += text::block(ui, pos2(inside.left(), lines.y), inside.width(), words, Type::Body, c.text2) + 8.0;
        let button = cx.button(ui, Id::NewProject);
        let width = button.width(ui);
        cx.press(ui, Id::NewProject, button, Rect::from_min_size(pos2(inside.left(), lines.y), vec2(width, 28.0)));
        return;
    }
    let mut lines = Rows::new(inside);
    let head = lines.next(22.0);
    rows::table_head(ui, cx.theme, head, 12.0);
    let columns = [
        (0.0, 0.30, Align::Min, t!("home-column-project")),
        (0.30, 0.52, Align::Min, t!("home-column-model")),
        (0.52, 0.74, Align::Max, t!("home-column-loss")),
        (0.74, 0.88, Align::Max, t!("home-column-forgetting")),
        (0.88, 1.0, Align::Max, t!("home-column-opened")),
    ];
    for (from, to, align, name) in columns {
        let head = head.with_max_x(head.right() - FORGET);
        text::line(ui, rows::column(head, from, to), align, name, Type::Caption, c.text2);
    }
    for recent in recents {
        if lines.left() < 28.0 {
            break;
        }
        let row = lines.next(32.0);
        recent_row(cx, ui, row, recent);
    }
}

fn recent_row(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, recent: &Recent) {
    let c = cx.c();
    let forget = Rect::from_center_size(pos2(row.right() - 10.0, row.center().y), vec2(22.0, 22.0));
    let name = t!("home-forget", name = recent.name);
    let tip = t!("home-forget-tip");
    if Button::icon_only(icons::X, &name).tooltip(tip).show(ui, cx.theme, forget).clicked() {
        cx.send(UiCommand::ForgetRecent(recent.path.clone()));
    }
    let row = row.with_max_x(row.right() - FORGET);
    let response = ui.allocate_rect(row.with_min_x(row.left() - 8.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, t!("home-open", name = recent.name)));
    if response.hovered() {
        ui.painter().rect_filled(response.rect, 4.0, c.hover);
    }
    if response.has_focus() {
        focus_ring(ui, cx.theme, response.rect.shrink(2.0), 4.0);
    }
    rows::underline(ui, cx.theme, row);
    let column = |from: f32, to: f32| rows::column(row, from, to);
    let name = column(0.0, 0.29);
    text::icon(ui.painter(), pos2(name.left() + 8.0, name.center().y), icons::FOLDER, 16.0, c.text2);
    text::data(ui, name.with_min_x(name.left() + 22.0), Align::Min, &recent.name, Type::Strong, c.text);
    text::data(ui, column(0.30, 0.52), Align::Min, &format::plain_name(&recent.model), Type::Body, c.text2);
    let (loss, forgetting) = match &recent.result {
        Some(result) => {
            let loss = match (result.base_loss, result.best_loss) {
                (Some(base), Some(best)) => {
                    t!("home-loss-change", base = format::nats(base), best = format::nats(best))
                }
                _ => t!("home-not-validated").to_owned(),
            };
            (loss, result.forgetting.map_or_else(|| t!("home-not-measured").to_owned(), format::signed_nats))
        }
        None => (t!("home-no-run").to_owned(), String::new()),
    };
    // Figures stand in the mono face, words in the text face.
    let kind = |cell: &str| if cell.contains(|letter: char| letter.is_ascii_digit()) { Type::Mono } else { Type::Body };
    text::data(ui, column(0.52, 0.74), Align::Max, &loss, kind(&loss), c.text);
    text::data(ui, column(0.74, 0.88), Align::Max, &forgetting, kind(&forgetting), c.text);
    let ago = format::ago(recent.opened_millis, cx.state.clock.now_millis());
    text::data(ui, column(0.885, 1.0), Align::Max, &ago, Type::Body, c.text2);
    if response.on_hover_text(recent.path.display().to_string()).clicked() {
        cx.send(UiCommand::OpenProject(recent.path.clone()));
    }
}
