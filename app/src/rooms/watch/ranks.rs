//! The rank microscope: where the change is, how many directions it uses, and how that came about; of runs with routers
//! also which experts answer.
//!
//! Place in the data flow: the reader's thread hands over the ranks and routers of the step that is looked at; clicks leave
//! as commands. The layer below the map is drawn by `layer`, the map of experts by `experts`.

use crate::commands::{Id, UiCommand};
use crate::format;
use crate::plots::heat::{self, Heat};
use crate::reader::RunView;
use crate::reader::ranks::{Measure, RankView, short_module};
use crate::rooms::PanelCtx;
use crate::theme::{Type, icons};
use crate::widgets::text::{self, Piece};
use crate::widgets::{choice, empty, panel};
use egui::{Align, Rect, Ui, pos2, vec2};

/// Height of what is said about the chosen cell.
const DETAIL: f32 = 122.0;
/// Width of the scale beside the map.
const SCALE: f32 = 92.0;

/// How a value of the measure is written.
fn written(measure: Measure, value: f64) -> String {
    match measure {
        Measure::Rank => format!("{value:.0}"),
        Measure::Effective => format!("{value:.1}"),
        Measure::Change | Measure::Energy | Measure::Experts => format::percent(value),
    }
}

/// Where the map, the scale and the chosen cell's figures go.
pub(super) struct Places {
    pub(super) map: Rect,
    pub(super) scale: Rect,
    pub(super) detail: Rect,
}

impl Places {
    fn of(inside: Rect) -> Self {
        let map = Rect::from_min_max(
            pos2(inside.left() + 48.0, inside.top() + 8.0),
            pos2(inside.right() - SCALE, inside.bottom() - DETAIL - 22.0),
        );
        let scale = Rect::from_min_max(pos2(map.right() + 18.0, map.top()), pos2(inside.right(), map.bottom() + 20.0));
        Self { map, scale, detail: inside.with_min_y(inside.bottom() - DETAIL + 2.0) }
    }
}

/// Lets choose what the colour shows; gives what it shows now. Experts are offered where a layer has some.
fn measure_ui(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect, view: &RunView) -> Measure {
    let routed = !view.experts.routers.is_empty();
    let offered: Vec<Measure> =
        Measure::ALL.into_iter().filter(|measure| routed || *measure != Measure::Experts).collect();
    let shown = if offered.contains(&cx.state.watch.measure) { cx.state.watch.measure } else { Measure::default() };
    let chosen = offered.iter().position(|known| *known == shown);
    let names: Vec<&str> = offered.iter().map(|measure| measure.name()).collect();
    let width = choice::segments_width(ui, &names, Type::Caption);
    let name = t!("watch-colour-shows");
    let picked = if width <= head.width() {
        let place = Rect::from_min_size(pos2(head.right() - width, head.top() + 4.0), vec2(width, 20.0));
        choice::segments(ui, cx.theme, place, name, &names, chosen)
    } else {
        // A small window has no room for all side by side.
        let width = head.width().min(120.0);
        let place = Rect::from_min_size(pos2(head.right() - width, head.top() + 4.0), vec2(width, 20.0));
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        choice::select(ui, cx.theme, place, name, &names, chosen)
    };
    if let Some(measure) = picked.and_then(|index| offered.get(index)) {
        cx.send(UiCommand::RankMeasure(*measure));
    }
    shown
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
    let measure = measure_ui(cx, ui, head, view);
    let places = Places::of(inside);
    let label = Rect::from_min_size(pos2(inside.left(), places.map.bottom() + 3.0), vec2(42.0, 14.0));
    text::line(ui, label, Align::Max, t!("watch-layer"), Type::Caption, cx.c().text3);
    panel::divider(ui, cx.theme, inside, places.detail.top() - 4.0);
    if measure == Measure::Experts {
        super::experts::experts_ui(cx, ui, &places, view);
    } else {
        grid_ui(cx, ui, &places, view, measure);
    }
}

/// The map of modules by layers, its scale, and the chosen layer.
fn grid_ui(cx: &PanelCtx<'_>, ui: &mut Ui, places: &Places, view: &RunView, measure: Measure) {
    let rank = &view.rank;
    let (low, high) = rank.domain(measure);
    let share = |line: usize, column: usize| {
        let row = rank.cells.get(line)?.get(column)?.as_ref()?;
        let (value, span) = (rank.value(measure, row)?, high - low);
        Some(if span > 0.0 { ((value - low) / span) as f32 } else { 0.5 })
    };
    let words = |line: usize, column: usize| cell_words(rank, line, column);
    let short: Vec<String> = rank.modules.iter().map(|module| short_module(module).to_owned()).collect();
    let chosen = chosen_cell(cx, rank);
    let sentence = sentence(rank, measure);
    let heat = Heat {
        name: t!("watch-heat"),
        sentence: &sentence,
        rows: &short,
        columns: &rank.layers,
        share: &share,
        words: &words,
        chosen,
    };
    if let Some((line, column)) = heat::show(ui, cx.theme, places.map, &heat)
        && let Some(row) = rank.cells.get(line).and_then(|cells| cells.get(column)).and_then(Option::as_ref)
    {
        cx.send(UiCommand::Site(Some(row.site.clone())));
    }
    scale_ui(cx, ui, places.scale, rank, measure, low, high);
    let row = chosen.and_then(|(line, column)| rank.cells.get(line)?.get(column)?.as_ref());
    if let Some(row) = row {
        super::layer::layer_ui(cx, ui, places.detail, view, row);
    }
}

/// What the map shows: the mean, and where most is.
fn sentence(rank: &RankView, measure: Measure) -> String {
    let Some((row, most)) = rank.most(measure) else { return t!("watch-heat").to_owned() };
    t!(
        "watch-heat-sentence",
        step = format::count(rank.step),
        measure = measure.name(),
        mean = written(measure, rank.mean(measure)),
        most = written(measure, most),
        site = row.site
    )
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
            change = format::percent(row.energy),
            energy = format::percent(rank.value(Measure::Energy, row).unwrap_or(f64::NAN))
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

/// The colour scale with words at its top, middle and bottom, above `rest` points; gives the bar.
pub(super) fn legend(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, rest: f32, words: [&str; 3]) -> Rect {
    let c = cx.c();
    let bar = Rect::from_min_max(rect.min, pos2(rect.left() + 10.0, (rect.bottom() - rest).max(rect.top() + 30.0)));
    heat::scale(ui, cx.theme, bar);
    let [top, middle, bottom] = words;
    let label = |ui: &mut Ui, y: f32, words: &str| {
        let place = Rect::from_center_size(pos2(bar.right() + 6.0 + 35.0, y), vec2(70.0, 14.0));
        text::line(ui, place, Align::Min, words, Type::Caption, c.text2);
    };
    label(ui, bar.top() + 6.0, top);
    if bar.height() > 60.0 && !middle.is_empty() {
        label(ui, bar.center().y, middle);
    }
    label(ui, bar.bottom() - 6.0, bottom);
    bar
}

fn scale_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, rank: &RankView, measure: Measure, low: f64, high: f64) {
    let c = cx.c();
    let middle = if high > low { written(measure, (low + high) / 2.0) } else { String::new() };
    let least = t!("watch-or-less", value = written(measure, low));
    let bar = legend(cx, ui, rect, 44.0, [&written(measure, high), &middle, &least]);
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
