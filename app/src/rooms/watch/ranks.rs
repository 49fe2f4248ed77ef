//! The rank microscope: where the change is, how many directions it uses, and how that came about.

use crate::commands::{Id, UiCommand};
use crate::format;
use crate::plots::heat::{self, Heat};
use crate::plots::ticks;
use crate::reader::RunView;
use crate::reader::ranks::{Measure, RankView, short_module};
use crate::rooms::PanelCtx;
use crate::theme::{Type, icons};
use crate::widgets::text::{self, Piece};
use crate::widgets::{choice, empty, panel};
use egui::{Align, Align2, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};
use temper_store::RankRow;

/// How a value of the measure is written.
fn written(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Rank => format!("{value:.0}"),
        Measure::Effective => format!("{value:.1}"),
        Measure::Change => format::percent(value),
    }
}

/// Shows the panel.
pub fn ranks_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    let rank = &view.rank;
    let note = if rank.steps.is_empty() { String::new() } else { t!("watch-step-is", step = format::count(rank.step)) };
    let (head, inside) = panel::titled(ui, cx.theme, rect, t!("watch-microscope"), &note);
    if rank.modules.is_empty() {
        let (title, words) = if view.row.is_active() {
            (t!("watch-not-measured"), t!("watch-ranks-lead"))
        } else {
            (t!("watch-ranks-never"), t!("watch-ranks-never-lead"))
        };
        empty::show(ui, cx.theme, inside, icons::ROWS, title, words, &[]);
        return;
    }
    let head = super::plot_menu(
        cx,
        ui,
        head,
        t!("watch-ranks-menu"),
        &[Id::RanksTable, Id::SaveRanks, Id::RanksPicture, Id::RanksVector],
    );
    let measure = cx.state.watch.measure;
    let names: Vec<&str> = Measure::ALL.iter().map(|measure| measure.name()).collect();
    let width = choice::segments_width(ui, &names, Type::Caption);
    let place = Rect::from_min_size(pos2(head.right() - width, head.top() + 4.0), vec2(width, 20.0));
    let chosen = Measure::ALL.iter().position(|known| *known == measure);
    if let Some(index) = choice::segments(ui, cx.theme, place, t!("watch-colour-shows"), &names, chosen) {
        cx.send(UiCommand::RankMeasure(Measure::ALL[index]));
    }
    let detail_height = 122.0;
    let scale_width = 92.0;
    let map = Rect::from_min_max(
        pos2(inside.left() + 48.0, inside.top() + 8.0),
        pos2(inside.right() - scale_width, inside.bottom() - detail_height - 22.0),
    );
    let (low, high) = rank.domain(measure);
    let share = |line: usize, column: usize| {
        let row = rank.cells.get(line)?.get(column)?.as_ref()?;
        let span = high - low;
        Some(if span > 0.0 { ((measure.of(row) - low) / span) as f32 } else { 0.5 })
    };
    let words = |line: usize, column: usize| cell_words(rank, line, column);
    let short: Vec<String> = rank.modules.iter().map(|module| short_module(module).to_owned()).collect();
    let chosen = chosen_cell(cx, rank);
    let heat =
        Heat { name: t!("watch-heat"), rows: &short, columns: &rank.layers, share: &share, words: &words, chosen };
    if let Some((line, column)) = heat::show(ui, cx.theme, map, &heat)
        && let Some(row) = rank.cells.get(line).and_then(|cells| cells.get(column)).and_then(Option::as_ref)
    {
        cx.send(UiCommand::Site(Some(row.site.clone())));
    }
    let label = Rect::from_min_size(pos2(inside.left(), map.bottom() + 3.0), vec2(42.0, 14.0));
    text::line(ui, label, Align::Max, t!("watch-layer"), Type::Caption, cx.c().text3);
    let side = Rect::from_min_max(pos2(map.right() + 18.0, map.top()), pos2(inside.right(), map.bottom() + 20.0));
    scale_ui(cx, ui, side, rank, measure, low, high);
    let detail = inside.with_min_y(inside.bottom() - detail_height + 2.0);
    panel::divider(ui, cx.theme, inside, detail.top() - 4.0);
    detail_ui(cx, ui, detail, view, chosen);
}

/// A cell in words: module, layer, and what was measured there.
fn cell_words(rank: &RankView, line: usize, column: usize) -> String {
    let module = rank.modules.get(line).map_or("", String::as_str);
    let layer = rank.layers.get(column).copied().unwrap_or_default();
    match rank.cells.get(line).and_then(|cells| cells.get(column)).and_then(Option::as_ref) {
        Some(row) => t!(
            "watch-cell",
            module = module,
            layer = layer,
            rank = row.rank,
            effective = format!("{:.1}", row.effective_rank),
            change = format::percent(row.energy)
        ),
        None => t!("watch-cell-not", module = module, layer = layer),
    }
}

/// The cell of the chosen site, or the one that changed most.
fn chosen_cell(cx: &PanelCtx<'_>, rank: &RankView) -> Option<(usize, usize)> {
    let place = |site: &str| {
        rank.cells.iter().enumerate().find_map(|(line, cells)| {
            let column = cells.iter().position(|cell| cell.as_ref().is_some_and(|row| row.site == site))?;
            Some((line, column))
        })
    };
    let wanted = cx.state.watch.site.as_deref().and_then(place);
    wanted.or_else(|| place(&rank.most_changed()?.site))
}

fn scale_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, rank: &RankView, measure: Measure, low: f64, high: f64) {
    let c = cx.c();
    let bar = Rect::from_min_max(rect.min, pos2(rect.left() + 10.0, (rect.bottom() - 44.0).max(rect.top() + 30.0)));
    heat::scale(ui, cx.theme, bar);
    let label = |ui: &mut Ui, y: f32, words: &str| {
        let place = Rect::from_center_size(pos2(bar.right() + 6.0 + 35.0, y), vec2(70.0, 14.0));
        text::line(ui, place, Align::Min, words, Type::Caption, c.text2);
    };
    label(ui, bar.top() + 6.0, &written(measure, high));
    if bar.height() > 60.0 && high > low {
        label(ui, bar.center().y, &written(measure, (low + high) / 2.0));
    }
    label(ui, bar.bottom() - 6.0, &t!("watch-or-less", value = written(measure, low)));
    let mean = written(measure, rank.mean(measure));
    let row = Rect::from_min_size(pos2(rect.left(), bar.bottom() + 8.0), vec2(rect.width(), 18.0));
    text::pieces(ui, row, &[Piece(t!("watch-mean"), Type::Body, c.text2), Piece(&mean, Type::Mono, c.text)]);
    if !rank.others.is_empty() {
        let words = t!("watch-sites-more", n = rank.others.len(), more = rank.others.len());
        let names: Vec<&str> = rank.others.iter().map(|row| row.site.as_str()).collect();
        text::data(ui, row.translate(vec2(0.0, 17.0)), Align::Min, &words, Type::Caption, c.text3)
            .on_hover_text(names.join(", "));
    }
}

fn detail_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView, chosen: Option<(usize, usize)>) {
    let c = cx.c();
    let rank = &view.rank;
    let row = chosen.and_then(|(line, column)| rank.cells.get(line)?.get(column)?.as_ref());
    let Some(row) = row else { return };
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
    let title = |ui: &mut Ui, plot: Rect, words: &str| {
        let place = Rect::from_min_size(pos2(plot.left(), plot.top() - 18.0), vec2(plot.width(), 16.0));
        text::line(ui, place, Align::Min, words, Type::Caption, c.text2);
    };
    title(ui, spectrum, t!("watch-singular"));
    spectrum_ui(cx, ui, spectrum, row);
    title(ui, history, if history.width() > 150.0 { t!("watch-effective-over") } else { t!("glossary-effective") });
    history_ui(cx, ui, history, rank, view);
}

/// Bars of the singular values, and where nine tenths of the energy are.
fn spectrum_ui(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, row: &RankRow) {
    let c = cx.c();
    ui.painter().rect_filled(plot, 0.0, c.plot);
    let values: Vec<f64> =
        row.spectrum.iter().map(|value| f64::from(*value)).filter(|value| value.is_finite()).collect();
    ui.painter().hline(plot.x_range(), plot.bottom() + 0.5, Stroke::new(1.0, c.line2));
    let (Some(largest), count) = (values.first().copied().filter(|value| *value > 0.0), values.len()) else {
        let place = plot.shrink2(vec2(8.0, 0.0));
        text::line(ui, place, Align::Min, t!("watch-no-change"), Type::Caption, c.text2);
        return;
    };
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
    let energy: f64 = values.iter().map(|value| value * value).sum();
    let mut sum = 0.0;
    let needed = values.iter().position(|value| {
        sum += value * value;
        sum >= 0.9 * energy
    });
    let needed = needed.map_or(count, |index| index + 1);
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
