//! Settings of the chosen runs side by side: all of them, or only those that differ.

use super::explain;
use crate::commands::UiCommand;
use crate::format;
use crate::rooms::{PanelCtx, scrolled};
use crate::state::State;
use crate::state::compare::CompareAct;
use crate::theme::{Type, icons};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{choice, panel, text};
use egui::{Align, Rect, Sense, Ui, pos2, vec2};

/// A setting and its value in each chosen run; nothing where a run does not have it.
struct Line<'a> {
    key: &'a str,
    values: Vec<Option<&'a str>>,
}

impl Line<'_> {
    fn differs(&self) -> bool {
        self.values.windows(2).any(|pair| matches!(pair, [a, b] if a != b))
    }
}

/// Every setting that one of the runs has, in the order in which they come up.
fn lines<'a>(state: &'a State, runs: &[u64]) -> Vec<Line<'a>> {
    let settings = |run: &u64| state.runs.settings.get(run).map(|of| of.as_slice()).unwrap_or_default();
    let mut keys: Vec<&'a str> = Vec::new();
    for (key, _) in runs.iter().flat_map(settings) {
        if !keys.contains(&key.as_str()) {
            keys.push(key);
        }
    }
    let line = |key: &'a str| Line { key, values: runs.iter().map(|run| state.run_setting(*run, key)).collect() };
    keys.into_iter().map(line).collect()
}

/// Shows the panel.
pub fn settings_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let runs: Vec<u64> = cx.state.compared().iter().map(|row| row.run).collect();
    let all = lines(cx.state, &runs);
    // One run differs from nothing: all of its settings are shown.
    let several = runs.len() > 1;
    let only = cx.state.compare.differences && several;
    let differing = all.iter().filter(|line| line.differs()).count();
    let equal = all.len() - differing;
    let note = t!("compare-equal", n = equal as u64, count = format::count(equal as u64));
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("compare-settings"), if only { &note } else { "" });
    let words = t!("compare-differences");
    let width = text::width(ui, words, Type::Body) + 26.0;
    let place = Rect::from_min_size(pos2(head.right() - width, head.top() + 4.0), vec2(width, 20.0));
    if several && choice::check(ui, cx.theme, place, words, only) {
        cx.send(UiCommand::Compare(CompareAct::Differences(!only)));
    }
    if all.is_empty() {
        let words = if runs.is_empty() { t!("compare-choose-lead") } else { t!("compare-no-settings-lead") };
        explain(cx, ui, inside, icons::SLIDERS_HORIZONTAL, t!("compare-no-settings"), words);
        return;
    }
    if only && differing == 0 {
        explain(cx, ui, inside, icons::EQUALS, t!("compare-all-equal"), t!("compare-all-equal-lead"));
        return;
    }
    let column = |row: Rect, index: usize| {
        let width = (row.width() - KEY) / runs.len().max(1) as f32;
        let left = row.left() + KEY + index as f32 * width;
        Rect::from_min_size(pos2(left, row.top()), vec2(width - 8.0, row.height()))
    };
    let heads = inside.with_max_y(inside.top() + 24.0);
    rows::table_head(ui, cx.theme, heads, 12.0);
    super::column_head(cx, ui, heads.with_max_x(heads.left() + KEY), t!("compare-setting"), false);
    for (index, run) in runs.iter().enumerate() {
        let place = column(heads, index);
        super::swatch(ui, cx.theme, pos2(place.left(), place.center().y), *run);
        let name = t!("common-run", run = run);
        text::data(ui, place.with_min_x(place.left() + 20.0), Align::Min, &name, Type::Strong, cx.c().text);
    }
    scrolled(ui, inside.with_min_y(heads.bottom()), "compared settings", |ui, area| {
        let mut body = Rows::new(area);
        for line in all.iter().filter(|line| !only || line.differs()) {
            let row = body.next(22.0);
            rows::underline(ui, cx.theme, row);
            let key = row.with_max_x(row.left() + KEY - 8.0);
            let label = cx.state.setting_label(line.key);
            text::data(ui, key, Align::Min, label, Type::Body, cx.c().text2).on_hover_text(line.key);
            for (index, value) in line.values.iter().enumerate() {
                let place = column(row, index);
                match value.map(|value| format::setting(line.key, value)) {
                    Some(value) => text::data(ui, place, Align::Min, &value, Type::Mono, cx.c().text),
                    None => text::data(ui, place, Align::Min, format::UNKNOWN, Type::Mono, cx.c().text3),
                };
            }
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), body.y)), Sense::hover());
    });
}

/// Width of the names.
const KEY: f32 = 190.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_a_run_does_not_have_differs() {
        let line = |values: &[Option<&'static str>]| Line { key: "method.rank", values: values.to_vec() }.differs();
        assert!(!line(&[Some("16"), Some("16")]));
        assert!(line(&[Some("16"), Some("8"), Some("16")]));
        assert!(line(&[Some("16"), None]));
        assert!(!line(&[Some("16")]));
    }
}
