//! This machine: the self-test check by check with what to do about it, and whether runs wait on a battery.

use super::over;
use super::sheets::{acts, head};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::reader::words::sentence_case;
use crate::rooms::PanelCtx;
use crate::state::Ask;
use crate::state::machine::{MachineAct, check_action, check_name, selftest};
use crate::theme::{Type, icons};
use crate::widgets::rows::Rows;
use crate::widgets::{bar, choice, panel, text};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::event::MachineCheck;

const WIDTH: f32 = 680.0;
/// Height of a check, and where its measured words begin.
const ROW: f32 = 26.0;
const MEASURED: f32 = 190.0;

/// Shows the sheet.
pub fn machine_ui(cx: &PanelCtx<'_>, ui: &mut Ui) {
    let found = selftest(&cx.state.settings);
    let checks = found.map(|found| found.checks.as_slice()).unwrap_or_default();
    let inner = WIDTH - 40.0;
    let lead = match found {
        _ if cx.state.jobs.find(|ask| *ask == Ask::Doctor).is_some() => t!("home-selftest-goes-on"),
        None => t!("home-machine-lead"),
        Some(found) if checks.is_empty() && found.pass => t!("home-selftest-old"),
        Some(found) if found.pass => t!("home-selftest-all"),
        Some(_) => t!("home-selftest-some"),
    };
    let rows: f32 = checks.iter().map(|check| ROW + action_height(ui, inner, check)).sum();
    let note = t!("home-battery-note");
    let height = 174.0
        + text::block_height(ui, inner, lead, Type::Body)
        + rows
        + text::block_height(ui, inner - 22.0, note, Type::Body);
    over(cx, ui, t!("home-machine"), vec2(WIDTH, height), None, |ui, rect| {
        let c = cx.c();
        let body = head(cx, ui, rect, t!("home-machine"));
        let mut lines = Rows::new(body);
        lines.y += text::block(ui, body.min, body.width(), lead, Type::Body, c.text2) + 8.0;
        let place = lines.next(4.0);
        if let Some((_, running)) = cx.state.jobs.find(|ask| *ask == Ask::Doctor) {
            bar::progress(ui, cx.theme, place, t!("common-selftest"), running.share(), c.accent);
        }
        lines.gap(4.0);
        for check in checks {
            check_ui(cx, ui, &mut lines, check);
        }
        lines.gap(6.0);
        panel::divider(ui, cx.theme, body, lines.y);
        lines.gap(8.0);
        let waits = cx.state.settings.pause_on_battery;
        let row = lines.next(24.0);
        if choice::check(ui, cx.theme, row, t!("home-battery"), waits) {
            cx.send(UiCommand::Machine(MachineAct::PauseOnBattery(!waits)));
        }
        text::block(ui, pos2(body.left() + 22.0, lines.y), body.width() - 22.0, note, Type::Body, c.text2);
        let idle = cx.state.jobs.find(|ask| *ask == Ask::Doctor).is_none();
        let name = if found.is_some() { t!("home-selftest-again") } else { t!("home-selftest-run") };
        let buttons =
            [(name, t!("commands-doctor-help"), true, idle), (t!("common-close"), t!("sheets-close-tip"), false, true)];
        match acts(cx, ui, body, &buttons) {
            Some(0) => cx.send((crate::commands::entry(Id::Doctor).make)(cx.state)),
            Some(_) => cx.send(UiCommand::CloseSheet),
            None => {}
        }
    });
}

fn action_height(ui: &Ui, width: f32, check: &MachineCheck) -> f32 {
    if check.pass {
        return 0.0;
    }
    text::block_height(ui, width - MEASURED, check_action(&check.name, &check.action), Type::Body) + 4.0
}

fn check_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, check: &MachineCheck) {
    let c = cx.c();
    let row = lines.next(ROW);
    let (icon, colour) = if check.pass { (icons::CHECK_CIRCLE, c.ok) } else { (icons::X_CIRCLE, c.err) };
    text::icon(ui.painter(), pos2(row.left() + 8.0, row.center().y), icon, 16.0, colour);
    // Meaning never rests on a colour or a form alone: a screen reader reads the word.
    let verdict = if check.pass { t!("home-check-passed") } else { t!("home-check-failed") };
    let name = format!("{}: {verdict}", check_name(&check.name));
    let name_place = Rect::from_min_max(pos2(row.left() + 22.0, row.top()), pos2(row.left() + MEASURED, row.bottom()));
    text::data(ui, name_place, Align::Min, &name, Type::Strong, c.text);
    let measured = row.with_min_x(row.left() + MEASURED + 4.0);
    let words = sentence_case(&format::figures(&check.measured));
    text::data(ui, measured, Align::Min, &words, Type::Body, c.text2);
    if !check.pass {
        let action = check_action(&check.name, &check.action);
        let at = pos2(row.left() + MEASURED + 4.0, lines.y);
        lines.y += text::block(ui, at, row.width() - MEASURED - 4.0, action, Type::Body, c.text) + 4.0;
    }
}
