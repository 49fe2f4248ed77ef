//! The curves of methods that race, with the 95 % band of each round's difference to the leader; the rounds as a table.

use super::race::{difference_words, look_of, sentence, title_of};
use super::{plot_menu, plot_places, x_label};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::plots::chart::{self, Chart, Curve, Shown};
use crate::plots::ticks;
use crate::reader::XAxis;
use crate::reader::snapshot::value_at;
use crate::rooms::watch::curves::{Swatch, readout_row};
use crate::rooms::{PanelCtx, scrolled};
use crate::state::race::{Lane, Race, RaceAct};
use crate::theme::{Theme, Type, icons};
use crate::widgets::rows::{self, Rows};
use crate::widgets::{Button, empty, panel, text};
use egui::{Align, Rect, Sense, Shape, Stroke, Ui, pos2, vec2};
use egui_plot::PlotPoint;

/// What a round said about a method: its step, its loss, and half of the width of the band.
type Mark = (f64, f64, f64);

/// The plot, or the table.
pub(super) fn plot_panel(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, race: &Race, lanes: &[Lane]) {
    let validated = validated(cx, lanes);
    let title = if validated { t!("compare-validation-loss") } else { t!("compare-train-loss") };
    let (head, inside) = panel::titled(ui, cx.theme, rect, title, t!("common-nats"));
    let head = plot_menu(cx, ui, head, t!("race-menu"), &[Id::CopyRace, Id::SaveRace, Id::RacePng, Id::RaceSvg]);
    let place = Rect::from_min_size(pos2(head.right() - 20.0, head.top() + 4.0), vec2(20.0, 20.0));
    let on = race.as_table;
    let name = if on { t!("watch-show-curves") } else { t!("watch-show-table") };
    if Button::icon_only(icons::TABLE, name).selected(on).show(ui, cx.theme, place).clicked() {
        cx.send(UiCommand::Race(RaceAct::Table(!on)));
    }
    if on {
        table(cx, ui, inside, race);
        return;
    }
    let lines = lines(cx, lanes, validated);
    if lines.iter().all(|points| points.is_empty()) {
        let area = Rect::from_min_max(inside.min + vec2(0.0, 12.0), inside.max);
        let area = area.with_max_x(area.left() + area.width().min(560.0));
        empty::show(ui, cx.theme, area, icons::CHART_LINE, t!("race-no-curves"), t!("race-no-curves-lead"), &[]);
        return;
    }
    curves_ui(cx, ui, plot_places(rect, 32.0, 26.0, cx.compact), race, lanes, &lines);
}

/// Whether validation losses are drawn: as soon as a method has two of them.
fn validated(cx: &PanelCtx<'_>, lanes: &[Lane]) -> bool {
    let own = |run: u64| lanes.iter().any(|lane| lane.run == Some(run));
    cx.state.runs.compared.iter().any(|curves| own(curves.run) && curves.validation.len() > 1)
}

/// The curve of each lane; an empty one where nothing was measured.
fn lines<'a>(cx: &PanelCtx<'a>, lanes: &[Lane], validated: bool) -> Vec<&'a [PlotPoint]> {
    let state = cx.state;
    let curve = |lane: &Lane| -> &'a [PlotPoint] {
        let found = state.runs.compared.iter().find(|curves| Some(curves.run) == lane.run);
        match found {
            Some(curves) if validated => &curves.validation,
            Some(curves) => &curves.train,
            None => &[],
        }
    };
    lanes.iter().map(curve).collect()
}

/// What the rounds said about each lane.
fn marks(race: &Race, lanes: &[Lane]) -> Vec<Vec<Mark>> {
    let of = |lane: &Lane| {
        let mut marks = Vec::new();
        for round in &race.rounds {
            let found = round.standings.iter().find(|one| one.method == lane.method && one.loss.is_finite());
            if let Some(one) = found {
                let band = if one.band.is_finite() { one.band } else { 0.0 };
                marks.push((round.step as f64, one.loss, band));
            }
        }
        marks
    };
    lanes.iter().map(of).collect()
}

fn curves_ui(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    (plot, column): (Rect, Rect),
    race: &Race,
    lanes: &[Lane],
    lines: &[&[PlotPoint]],
) {
    let c = cx.c();
    let marks = marks(race, lanes);
    let last = lines.iter().filter_map(|points| points.last()).map(|point| point.x);
    let end = last.chain(marks.iter().flatten().map(|mark| mark.0)).fold(1.0, f64::max);
    let x = race.zoom.unwrap_or((0.0, end * 1.02));
    let inside = |place: f64| place >= x.0 && place <= x.1;
    let drawn = lines.iter().flat_map(|points| points.iter()).filter(|point| inside(point.x)).map(|point| point.y);
    let bands =
        marks.iter().flatten().filter(|mark| inside(mark.0)).flat_map(|mark| [mark.1 - mark.2, mark.1 + mark.2]);
    let y = ticks::range(drawn.chain(bands)).unwrap_or((0.0, 1.0));
    let words = sentence(cx.state, race);
    let mut curves: Vec<Curve<'_>> = Vec::with_capacity(lanes.len());
    for (lane, points) in lanes.iter().zip(lines) {
        let (colour, _) = look_of(cx.theme, lane);
        let name = title_of(cx.state, &lane.method);
        curves.push(Curve { name, points, colour, width: 2.0, dashed: false });
    }
    let chart = Chart {
        name: t!("race-plot"),
        sentence: &words,
        x,
        y,
        y_ticks: 5,
        y_values: &[],
        log_y: false,
        y_label: ticks::decimals,
        x_labels: true,
        x_label: x_label(XAxis::Step),
        curves: &curves,
        behind: &[],
    };
    let shown = chart::show(ui, cx.theme, plot, &chart);
    for (lane, marks) in lanes.iter().zip(&marks) {
        bands_ui(cx, ui, &shown, lane, marks);
    }
    if let Some(range) = shown.zoomed {
        cx.send(UiCommand::Race(RaceAct::Zoom(range)));
    }
    let reading = shown.hover.unwrap_or_else(|| x.1.min(end));
    if let Some(hover) = shown.hover {
        let place = shown.x(hover).round() + 0.5;
        ui.painter().vline(place, shown.rect.y_range(), Stroke::new(1.0, c.line2));
    }
    let mut readout = Rows::new(column);
    let at = x_label(XAxis::Step)(reading);
    text::data(ui, readout.next(20.0), Align::Min, &t!("compare-at-step", place = at), Type::Body, c.text2);
    for (lane, points) in lanes.iter().zip(lines) {
        if readout.left() < 38.0 {
            break;
        }
        let value = value_at(points, reading).map_or_else(|| format::UNKNOWN.to_owned(), format::nats);
        let (colour, mark) = look_of(cx.theme, lane);
        let name = title_of(cx.state, &lane.method);
        readout_row(ui, cx.theme, readout.next(20.0), Swatch::Line(colour, mark), name, &value);
    }
    if readout.left() > 40.0 {
        readout.gap(4.0);
        let most = (readout.left() / 16.0).floor() as usize;
        let top = pos2(column.left(), readout.y);
        text::clipped_block(ui, top, column.width(), most, t!("race-bars"), Type::Caption, c.text2);
    }
}

/// The rounds of a method: a bar as long as the band of its difference to the leader, and a band from round to round.
fn bands_ui(cx: &PanelCtx<'_>, ui: &Ui, shown: &Shown, lane: &Lane, marks: &[Mark]) {
    let (colour, mark) = look_of(cx.theme, lane);
    let painter = ui.painter().with_clip_rect(shown.rect.intersect(ui.clip_rect()));
    for pair in marks.windows(2) {
        let [from, to] = pair else { continue };
        let corners = vec![
            shown.at(from.0, from.1 + from.2),
            shown.at(to.0, to.1 + to.2),
            shown.at(to.0, to.1 - to.2),
            shown.at(from.0, from.1 - from.2),
        ];
        let fill = Theme::fade(colour, cx.theme.shares.band);
        painter.add(Shape::convex_polygon(corners, fill, Stroke::NONE));
    }
    for (step, loss, band) in marks {
        let (low, high) = (shown.at(*step, loss - band), shown.at(*step, loss + band));
        let stroke = Stroke::new(1.5, colour);
        painter.line_segment([low, high], stroke);
        for end in [low, high] {
            painter.line_segment([end - vec2(4.0, 0.0), end + vec2(4.0, 0.0)], stroke);
        }
        let centre = shown.at(*step, *loss);
        if shown.rect.contains(centre) {
            chart::marker(ui, centre, mark, colour, cx.c().plot);
        }
    }
}

/// What each round said, newest first.
fn table(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, race: &Race) {
    let c = cx.c();
    if race.rounds.is_empty() {
        let area = Rect::from_min_max(rect.min + vec2(0.0, 12.0), rect.max);
        let area = area.with_max_x(area.left() + area.width().min(560.0));
        empty::show(ui, cx.theme, area, icons::TABLE, t!("race-no-round"), t!("race-no-round-lead"), &[]);
        return;
    }
    let columns = [(0.0, 0.1), (0.1, 0.22), (0.22, 0.46), (0.46, 0.6), (0.6, 0.82), (0.82, 1.0)];
    let names = [
        t!("race-round-head"),
        t!("common-step"),
        t!("common-method"),
        t!("common-loss"),
        t!("race-difference"),
        t!("race-fate"),
    ];
    let align = |index: usize| if matches!(index, 2 | 5) { Align::Min } else { Align::Max };
    let place = |row: Rect, index: usize, (from, to): (f32, f32)| {
        let place = rows::column(row, from, to);
        // Words beside figures need some air.
        let left = if matches!(index, 2 | 5) { place.left() + 10.0 } else { place.left() };
        place.with_min_x(left).with_max_x(place.right() - 6.0)
    };
    let head = rect.with_max_y(rect.top() + 22.0);
    rows::table_head(ui, cx.theme, head, panel::MARGIN);
    for (index, (column, name)) in columns.into_iter().zip(names).enumerate() {
        text::data(ui, place(head, index, column), align(index), name, Type::Caption, c.text2);
    }
    scrolled(ui, rect.with_min_y(head.bottom()), "race rounds", |ui, area| {
        let mut lines = Rows::new(area);
        for round in race.rounds.iter().rev() {
            for one in &round.standings {
                let row = lines.next(22.0);
                rows::underline(ui, cx.theme, row);
                let fate = match &one.refused {
                    Some(why) => t!("race-refused", why = why),
                    None if one.stays && round.round == round.rounds => t!("race-winner").to_owned(),
                    None if one.stays => t!("race-stays").to_owned(),
                    None => t!("race-out").to_owned(),
                };
                let cells = [
                    format::count(round.round),
                    format::count(round.step),
                    title_of(cx.state, &one.method).to_owned(),
                    format::nats(one.loss),
                    difference_words(one.difference, one.band),
                    fate,
                ];
                for (index, (column, cell)) in columns.into_iter().zip(&cells).enumerate() {
                    let kind = if matches!(index, 2 | 5) { Type::Body } else { Type::Mono };
                    text::data(ui, place(row, index, column), align(index), cell, kind, c.text);
                }
            }
        }
        ui.allocate_rect(Rect::from_min_max(area.min, pos2(area.right(), lines.y)), Sense::hover());
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::race::Fate;
    use temper_protocol::event::{RaceRound, Standing};

    #[test]
    fn a_band_that_is_no_number_leaves_the_mark() {
        let one = |loss: f64, band: f64| Standing {
            method: "a".to_owned(),
            run: None,
            loss,
            difference: 0.1,
            band,
            stays: true,
            refused: None,
        };
        let round = |round, step, one| RaceRound { round, rounds: 3, step, standings: vec![one] };
        let mut race = Race::new(vec!["a".to_owned()], 40, 0);
        race.rounds =
            vec![round(1, 10, one(1.5, 0.02)), round(2, 20, one(1.4, f64::NAN)), round(3, 40, one(f64::NAN, f64::NAN))];
        let lane = Lane {
            method: "a".to_owned(),
            series: 0,
            run: None,
            removed: false,
            loss: 1.4,
            difference: 0.1,
            band: f64::NAN,
            steps: 20,
            step_secs: f64::NAN,
            fate: Fate::Open,
        };
        assert_eq!(marks(&race, &[lane]), [vec![(10.0, 1.5, 0.02), (20.0, 1.4, 0.0)]]);
    }
}
