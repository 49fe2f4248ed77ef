//! Learning rate and gradient norm, under the loss on the same axis.

use super::curves::{Swatch, readout_row, visible};
use super::{Axis, plot_menu, plot_places, x_label};
use crate::commands::Id;
use crate::format;
use crate::plots::chart::{self, Chart, Curve, Marker};
use crate::plots::{retained, ticks};
use crate::reader::RunView;
use crate::reader::snapshot::value_at;
use crate::rooms::PanelCtx;
use crate::theme::Type;
use crate::widgets::{panel, text};
use egui::{Align, Rect, Stroke, Ui, pos2, vec2};

/// Shows learning rate and gradient norm.
pub fn rates_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView, axis: &Axis) {
    let theme = cx.theme;
    let (head, _) = panel::titled(ui, theme, rect, t!("watch-rates"), "");
    plot_menu(
        cx,
        ui,
        head,
        t!("watch-rates-menu"),
        &[Id::RatesTable, Id::SaveCurves, Id::RatesPicture, Id::RatesVector],
    );
    if view.lr.is_empty() {
        let place = Rect::from_min_size(rect.min + vec2(12.0, 32.0), vec2(rect.width() - 24.0, 20.0));
        text::line(ui, place, Align::Min, t!("watch-rates-lead"), Type::Body, cx.c().text2);
        return;
    }
    let (both, column) = plot_places(rect, 31.0, 8.0, cx.compact);
    let middle = (both.top() + both.height() * 0.44).round();
    let upper = both.with_max_y(middle - 6.0);
    let lower = both.with_min_y(middle + 6.0);
    let peak = view.lr.iter().chain(&view.lr_planned).map(|point| point.y).fold(0.0, f64::max);
    let curves = [
        Curve { name: t!("watch-rate"), points: &view.lr, colour: theme.series[7], width: 1.5, dashed: false },
        Curve {
            name: t!("watch-planned-rate"),
            points: &view.lr_planned,
            colour: theme.series[7],
            width: 1.0,
            dashed: true,
        },
    ];
    let marks = [0.0, peak];
    let chart = Chart {
        name: t!("watch-learning-rate"),
        sentence: "",
        x: axis.range,
        y: (0.0, (peak * 1.12).max(1e-12)),
        y_ticks: 1,
        y_values: &marks,
        log_y: false,
        y_label: |value, _| format::rate_short(value),
        x_labels: false,
        x_label: x_label(view.request.x),
        curves: &curves,
        behind: &[],
    };
    let shown = chart::show(ui, theme, upper, &chart);
    axis.lines(ui, theme, &shown, view.row.is_active());
    axis.take(cx, ui, view, &shown);
    norm_ui(cx, ui, lower, view, axis);
    rates_readout(cx, ui, upper, lower, column, view, axis);
}

fn clip_norm(view: &RunView) -> f64 {
    view.settings.as_ref().map_or(0.0, |settings| settings.train.clip_norm)
}

fn norm_ui(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, view: &RunView, axis: &Axis) {
    let theme = cx.theme;
    let clip = clip_norm(view);
    let mut norms: Vec<f64> = visible(&view.grad_norm, axis.range).filter(|norm| norm.is_finite()).collect();
    // A single spike must not flatten the rest: it leaves the plot at the top.
    let most = norms.len() * 98 / 100;
    let usual = if norms.is_empty() { 1.0 } else { *norms.select_nth_unstable_by(most, f64::total_cmp).1 };
    let top = (usual * 1.4).max(clip * 1.3).max(1e-6);
    let curves =
        [Curve { name: t!("watch-norm"), points: &view.grad_norm, colour: theme.series[3], width: 1.0, dashed: false }];
    let chart = Chart {
        name: t!("watch-gradient-norm"),
        sentence: "",
        x: axis.range,
        y: (0.0, top),
        y_ticks: 3,
        y_values: &[],
        log_y: false,
        y_label: ticks::decimals,
        x_labels: false,
        x_label: x_label(view.request.x),
        curves: &curves,
        behind: &[],
    };
    let shown = chart::show(ui, theme, plot, &chart);
    if clip > 0.0 && clip < top {
        let y = shown.y(clip).round() + 0.5;
        let line = [pos2(plot.left(), y), pos2(plot.right(), y)];
        retained::dashed(ui, "clip", line, Stroke::new(1.0, theme.colours.text3), (3.0, 3.0));
    }
    axis.lines(ui, theme, &shown, view.row.is_active());
    axis.take(cx, ui, view, &shown);
}

fn rates_readout(cx: &PanelCtx<'_>, ui: &mut Ui, upper: Rect, lower: Rect, column: Rect, view: &RunView, axis: &Axis) {
    let theme = cx.theme;
    let c = cx.c();
    let at = axis.reading();
    let row = |top: f32, height: f32| Rect::from_min_size(pos2(column.left(), top), vec2(column.width(), height));
    let rate = value_at(&view.lr, at).map_or_else(|| format::UNKNOWN.to_owned(), format::rate_wide);
    readout_row(
        ui,
        theme,
        row(upper.top() - 2.0, 18.0),
        Swatch::Line(theme.series[7], Marker::None),
        t!("watch-rate"),
        &rate,
    );
    if !view.lr_planned.is_empty() {
        text::line(
            ui,
            row(upper.top() + 15.0, 16.0).with_min_x(column.left() + 20.0),
            Align::Min,
            t!("watch-dashed"),
            Type::Caption,
            c.text2,
        );
    }
    let norm = value_at(&view.grad_norm, at).map_or_else(|| format::UNKNOWN.to_owned(), |norm| format!("{norm:.2}"));
    readout_row(
        ui,
        theme,
        row(lower.top() - 2.0, 18.0),
        Swatch::Line(theme.series[3], Marker::None),
        t!("watch-norm"),
        &norm,
    );
    let clip = clip_norm(view);
    if clip > 0.0 {
        let above = view.clipped_steps;
        let clip = format::plain(clip);
        let words = if above > 0 {
            t!("watch-clip-above", n = above, clip = clip, above = format::count(above))
        } else {
            t!("watch-clip", clip = clip)
        };
        let place = row(lower.top() + 15.0, 16.0).with_min_x(column.left() + 20.0);
        text::data(ui, place, Align::Min, &words, Type::Caption, c.text2)
            .on_hover_text(t!("watch-clip-tip", clip = clip));
    }
}
