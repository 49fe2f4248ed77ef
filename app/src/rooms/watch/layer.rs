//! One layer of the rank microscope: its figures, the singular values of its change, and its effective rank over the run.
//!
//! Place in the data flow: `ranks` draws the map and says which layer is chosen; its history was asked of the reader's
//! thread with the site.

use crate::commands::Id;
use crate::format;
use crate::plots::ticks;
use crate::reader::RunView;
use crate::reader::ranks::{RankView, needed};
use crate::rooms::PanelCtx;
use crate::screen::Plot;
use crate::theme::Type;
use crate::widgets::text::{self, Piece};
use egui::{Align, Align2, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};
use temper_store::RankRow;

/// Says what `row` is, and draws its spectrum and its history.
pub(super) fn layer_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView, row: &RankRow) {
    let c = cx.c();
    let head = rect.with_max_y(rect.top() + 20.0);
    let (figure, effective, change) =
        (row.rank.to_string(), format!("{:.1}", row.effective_rank), format::percent(row.energy));
    text::pieces(
        ui,
        head,
        &[
            Piece(&row.site, Type::MonoMedium, c.text),
            Piece(t!("watch-rank"), Type::Body, c.text2),
            Piece(&figure, Type::Mono, c.text),
            Piece(t!("watch-effective"), Type::Body, c.text2),
            Piece(&effective, Type::Mono, c.text),
            Piece(t!("watch-change"), Type::Body, c.text2),
            Piece(&change, Type::Mono, c.text),
            Piece(if cx.compact { "" } else { t!("watch-of-norm") }, Type::Body, c.text2),
        ],
    );
    let split = rect.left() + rect.width() * 0.62;
    let spectrum =
        Rect::from_min_max(pos2(rect.left() + 36.0, head.bottom() + 18.0), pos2(split - 20.0, rect.bottom() - 16.0));
    let history = Rect::from_min_max(pos2(split + 32.0, spectrum.top()), pos2(rect.right(), spectrum.bottom()));
    let left = Rect::from_min_max(pos2(rect.left(), spectrum.top() - 18.0), pos2(spectrum.right(), rect.bottom()));
    Plot::Spectrum.leave_place(ui.ctx(), left);
    let ids = [Id::SpectrumTable, Id::SpectrumCsv, Id::SpectrumPng, Id::SpectrumSvg];
    title(cx, ui, left, [t!("watch-singular"), t!("watch-singular")], t!("watch-spectrum-menu"), &ids);
    spectrum_ui(cx, ui, spectrum, row);
    let right = Rect::from_min_max(pos2(history.left() - 28.0, left.top()), rect.max);
    Plot::History.leave_place(ui.ctx(), right);
    let ids = [Id::HistoryTable, Id::HistoryCsv, Id::HistoryPng, Id::HistorySvg];
    let names = [t!("watch-effective-over"), t!("glossary-effective")];
    title(cx, ui, right.with_min_x(history.left()), names, t!("watch-history-menu"), &ids);
    history_ui(cx, ui, history, &view.rank, view);
}

/// The title of a small plot, the longer one where it has room, and its menu at the right.
pub(super) fn title(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, names: [&'static str; 2], menu: &str, ids: &[Id]) {
    let head = Rect::from_min_size(plot.min - vec2(0.0, 6.0), vec2(plot.width(), 24.0));
    let left = super::plot_menu(cx, ui, head, menu, ids);
    let line = Rect::from_min_max(plot.min, pos2(left.right(), plot.top() + 16.0));
    let [long, short] = names;
    let fits = text::width(ui, long, Type::Caption) <= line.width();
    text::line(ui, line, Align::Min, if fits { long } else { short }, Type::Caption, cx.c().text2);
}

/// Bars of the singular values, and where nine tenths of the energy are.
fn spectrum_ui(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, row: &RankRow) {
    let c = cx.c();
    ui.painter().rect_filled(plot, 0.0, c.plot);
    let response = ui.allocate_rect(plot, Sense::hover());
    let values: Vec<f64> =
        row.spectrum.iter().map(|value| f64::from(*value)).filter(|value| value.is_finite()).collect();
    ui.painter().hline(plot.x_range(), plot.bottom() + 0.5, Stroke::new(1.0, c.line2));
    let (Some(largest), count) = (values.first().copied().filter(|value| *value > 0.0), values.len()) else {
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, t!("watch-spectrum-none", site = row.site)));
        let place = plot.shrink2(vec2(8.0, 0.0));
        text::line(ui, place, Align::Min, t!("watch-no-change"), Type::Caption, c.text2);
        return;
    };
    let needed = needed(&row.spectrum);
    let words = t!(
        "watch-spectrum",
        site = row.site,
        count = count,
        largest = short_value(largest),
        smallest = values.last().copied().map(short_value).unwrap_or_default(),
        needed = needed
    );
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &words));
    response.on_hover_text(words);
    let width = plot.width() / count.max(8) as f32;
    for (index, value) in values.iter().enumerate() {
        let height = ((value / largest) as f32 * (plot.height() - 3.0)).max(1.0);
        let left = plot.left() + index as f32 * width;
        let bar = Rect::from_min_max(
            pos2(left, plot.bottom() - height),
            pos2((left + width - 1.0).max(left + 1.0), plot.bottom()),
        );
        ui.painter().rect_filled(bar, 0.0, cx.theme.series[0]);
    }
    let label = |y: f32, words: &str| {
        text::paint_at(
            ui.painter(),
            pos2(plot.left() - 5.0, y),
            Align2::RIGHT_CENTER,
            words,
            Type::MonoCaption,
            c.text3,
        );
    };
    label(plot.top() + 4.0, &short_value(largest));
    label(plot.bottom() - 2.0, "0");
    let below = |x: f32, words: &str| {
        text::paint_at(
            ui.painter(),
            pos2(x, plot.bottom() + 9.0),
            Align2::CENTER_CENTER,
            words,
            Type::MonoCaption,
            c.text3,
        );
    };
    below(plot.left() + width / 2.0, "1");
    if count > 2 {
        below(plot.left() + width * (count as f32 - 0.5), &count.to_string());
    }
    let x = (plot.left() + needed as f32 * width - 0.5).round() + 0.5;
    let line = [pos2(x, plot.top()), pos2(x, plot.bottom())];
    ui.painter().extend(Shape::dashed_line(&line, Stroke::new(1.0, c.text2), 3.0, 3.0));
    let words = t!("watch-energy", needed = needed, count = count);
    let wide = text::width(ui, &words, Type::Caption);
    let left = if x + 5.0 + wide < plot.right() { x + 5.0 } else { (plot.right() - wide - 2.0).max(plot.left() + 2.0) };
    let place = Rect::from_min_size(pos2(left, plot.top() + 1.0), vec2(wide, 16.0));
    ui.painter().rect_filled(place.expand2(vec2(2.0, 0.0)), 0.0, c.plot);
    text::line(ui, place, Align::Min, &words, Type::Caption, c.text2);
}

fn short_value(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 0.01 {
        format!("{value:.2}")
    } else {
        format!("{value:.0e}")
    }
}

/// Effective rank of the site over the run.
fn history_ui(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, rank: &RankView, view: &RunView) {
    let c = cx.c();
    ui.painter().rect_filled(plot, 0.0, c.plot);
    ui.painter().hline(plot.x_range(), plot.bottom() + 0.5, Stroke::new(1.0, c.line2));
    let response = ui.allocate_rect(plot, Sense::hover());
    let history = &rank.history;
    let values = history.iter().map(|row| row.effective_rank);
    let Some((low, high)) = ticks::range(values) else {
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, t!("watch-history-unread")));
        let place = plot.shrink2(vec2(8.0, 0.0));
        text::line(ui, place, Align::Min, t!("watch-click-cell"), Type::Caption, c.text2);
        return;
    };
    let last = view.row.steps.max(1) as f32;
    let place = |row: &RankRow| {
        let x = plot.left() + row.step as f32 / last * plot.width();
        let share = ((row.effective_rank - low) / (high - low)) as f32;
        pos2(x, plot.bottom() - share * plot.height())
    };
    let points: Vec<egui::Pos2> = history.iter().map(place).collect();
    if let (Some(first), Some(end)) = (history.first(), history.last()) {
        let words = t!(
            "watch-history",
            first = format!("{:.1}", first.effective_rank),
            end = format!("{:.1}", end.effective_rank)
        );
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &words));
        response.on_hover_text(words);
    }
    if let [only] = points.as_slice() {
        ui.painter().circle_filled(*only, 2.5, cx.theme.series[0]);
    }
    ui.painter().line(points, Stroke::new(1.5, cx.theme.series[0]));
    let (values, decimals) = ticks::two_or_more(low, high, 2);
    for value in values {
        let y = plot.bottom() - ((value - low) / (high - low)) as f32 * plot.height();
        let words = format!("{value:.decimals$}");
        text::paint_at(
            ui.painter(),
            pos2(plot.left() - 5.0, y),
            Align2::RIGHT_CENTER,
            &words,
            Type::MonoCaption,
            c.text3,
        );
    }
    let below = |x: f32, align: Align2, words: &str| {
        text::paint_at(ui.painter(), pos2(x, plot.bottom() + 9.0), align, words, Type::MonoCaption, c.text3);
    };
    below(plot.left(), Align2::LEFT_CENTER, "0");
    below(plot.right(), Align2::RIGHT_CENTER, &format::count(view.row.steps));
}
