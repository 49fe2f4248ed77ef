//! The experts of routers in the rank microscope: how many choices fall on each, layer by layer, and what the chosen router
//! does.
//!
//! Place in the data flow: the reader's thread hands over the routers as of the step under the scrub line; a click on a cell
//! leaves as a command. Shown only for runs whose layers have routers.

use super::layer::title;
use super::ranks::{Places, legend};
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::plots::heat::{self, Heat};
use crate::reader::RunView;
use crate::reader::experts::Router;
use crate::reader::ranks::{short_module, split_site};
use crate::rooms::PanelCtx;
use crate::screen::Plot;
use crate::theme::Type;
use crate::widgets::choice;
use crate::widgets::text::{self, Piece};
use egui::{Align, Align2, Rect, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2};

/// Height of a row below which not every row is named.
const NAMED: f32 = 13.0;

/// The map of experts by layers of one module, its scale, and the chosen router.
pub(super) fn experts_ui(cx: &PanelCtx<'_>, ui: &mut Ui, places: &Places, view: &RunView) {
    Plot::Experts.leave_place(ui.ctx(), places.map.union(places.scale).union(places.detail).expand2(vec2(8.0, 0.0)));
    let Some(router) = view.experts.looked_at(cx.state.watch.site.as_deref()) else { return };
    let (layer, module) = split_site(&router.site).unwrap_or((0, router.site.as_str()));
    let columns = view.experts.of_module(module);
    let layers: Vec<u64> = columns.iter().map(|(layer, _)| *layer).collect();
    let experts = columns.iter().map(|(_, router)| router.load.len()).max().unwrap_or_default();
    let load = |expert: usize, column: usize| columns.get(column)?.1.load.get(expert).copied();
    let most = columns.iter().filter_map(|(_, router)| router.busiest()).map(|(_, share)| share).fold(0.0, f64::max);
    let share = |expert: usize, column: usize| {
        let share = load(expert, column).filter(|share| share.is_finite())?;
        Some(if most > 0.0 { (share / most) as f32 } else { 0.0 })
    };
    let words = |expert: usize, column: usize| {
        let (expert_name, layer) = (expert + 1, layers.get(column).copied().unwrap_or_default());
        match load(expert, column) {
            Some(share) => {
                t!(
                    "watch-expert-cell",
                    expert = expert_name,
                    module = module,
                    layer = layer,
                    load = format::percent(share)
                )
            }
            None => t!("watch-expert-cell-none", expert = expert_name, module = module, layer = layer),
        }
    };
    // Letters and figures that are the same in every language; where rows are low, some have none.
    let stride = (NAMED * experts as f32 / places.map.height().max(1.0)).ceil().max(1.0) as usize;
    let name = |expert: usize| if expert.is_multiple_of(stride) { format!("E{}", expert + 1) } else { String::new() };
    let rows: Vec<String> = (0..experts).map(name).collect();
    let expert = chosen_expert(cx, router);
    let column = layers.iter().position(|known| *known == layer);
    let sentence = sentence(&columns, module);
    let heat = Heat {
        name: t!("watch-experts-heat"),
        sentence: &sentence,
        rows: &rows,
        columns: &layers,
        share: &share,
        words: &words,
        chosen: column.map(|column| (expert, column)),
    };
    if let Some((expert, column)) = heat::show(ui, cx.theme, places.map, &heat)
        && let Some((_, router)) = columns.get(column).filter(|(_, router)| expert < router.load.len())
    {
        cx.send(UiCommand::Expert(router.site.clone(), expert));
    }
    let (high, middle) = (format::percent(most), format::percent(most / 2.0));
    let bar = legend(cx, ui, places.scale, 44.0, [&high, &middle, &format::percent(0.0)]);
    let below = Rect::from_min_size(pos2(places.scale.left(), bar.bottom() + 8.0), vec2(places.scale.width(), 22.0));
    module_ui(cx, ui, below, view, module, layer);
    router_ui(cx, ui, places.detail, router, expert);
}

/// The expert that is looked at: the chosen one if the router has it, or its busiest.
fn chosen_expert(cx: &PanelCtx<'_>, router: &Router) -> usize {
    let chosen = cx.state.watch.expert.filter(|expert| *expert < router.load.len());
    chosen.or_else(|| router.busiest().map(|(expert, _)| expert)).unwrap_or_default()
}

/// What the map shows in a sentence: the busiest expert, and how many hardly answer.
fn sentence(columns: &[(u64, &Router)], module: &str) -> String {
    let busiest = columns.iter().filter_map(|(layer, router)| Some((*layer, router.busiest()?)));
    let Some((layer, (expert, share))) = busiest.max_by(|(_, (_, a)), (_, (_, b))| a.total_cmp(b)) else {
        return t!("watch-experts-heat").to_owned();
    };
    let step = columns.iter().map(|(_, router)| router.step).max().unwrap_or_default();
    let all: usize = columns.iter().map(|(_, router)| router.load.len()).sum();
    let dead: u64 = columns.iter().map(|(_, router)| router.dead).sum();
    t!(
        "watch-experts-sentence",
        module = module,
        step = format::count(step),
        expert = expert + 1,
        layer = layer,
        load = format::percent(share),
        dead = dead,
        all = all
    )
}

/// Lets choose the module whose routers are shown, where several have some; the layer stays if it can.
fn module_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView, module: &str, layer: u64) {
    let modules = view.experts.modules();
    if modules.len() < 2 {
        text::data(ui, rect, Align::Min, module, Type::Caption, cx.c().text2);
        return;
    }
    let short: Vec<String> = modules.iter().map(|module| short_module(module).to_owned()).collect();
    let chosen = modules.iter().position(|known| *known == module);
    let picked = choice::select(ui, cx.theme, rect, t!("watch-experts-module"), &short, chosen);
    if let Some(module) = picked.and_then(|index| modules.get(index)) {
        let routers = view.experts.of_module(module);
        let same = routers.iter().find(|(known, _)| *known == layer).or_else(|| routers.first());
        if let Some((_, router)) = same {
            cx.send(UiCommand::Site(Some(router.site.clone())));
        }
    }
}

/// What the chosen router does: a bar for each expert, its entropy, and how many experts hardly answer.
fn router_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, router: &Router, expert: usize) {
    let c = cx.c();
    let head = rect.with_max_y(rect.top() + 20.0);
    let share = format::percent(router.load.get(expert).copied().unwrap_or(f64::NAN));
    let number = (expert + 1).to_string();
    text::pieces(
        ui,
        head,
        &[
            Piece(&router.site, Type::MonoMedium, c.text),
            Piece(t!("watch-expert"), Type::Body, c.text2),
            Piece(&number, Type::Mono, c.text),
            Piece(t!("watch-load"), Type::Body, c.text2),
            Piece(&share, Type::Mono, c.text),
        ],
    );
    let split = rect.left() + rect.width() * 0.62;
    let bars =
        Rect::from_min_max(pos2(rect.left() + 36.0, head.bottom() + 18.0), pos2(split - 20.0, rect.bottom() - 16.0));
    let left = Rect::from_min_max(pos2(rect.left(), bars.top() - 18.0), pos2(bars.right(), rect.bottom()));
    let ids = [Id::ExpertsTable, Id::ExpertsCsv, Id::ExpertsPng, Id::ExpertsSvg];
    title(cx, ui, left, [t!("watch-load-title"), t!("watch-load-title")], t!("watch-experts-menu"), &ids);
    bars_ui(cx, ui, bars, router, expert);
    let count = router.load.len();
    let entropy = t!(
        "watch-entropy-of",
        entropy = format!("{:.2}", router.entropy),
        most = format!("{:.2}", router.most_entropy())
    );
    let idle = t!("watch-dead-of", dead = router.dead, all = count);
    let mut line = Rect::from_min_max(pos2(split + 8.0, head.bottom() + 2.0), pos2(rect.right(), head.bottom() + 20.0));
    for (name, value) in [(t!("watch-entropy"), &entropy), (t!("watch-dead"), &idle)] {
        text::line(ui, line, Align::Min, name, Type::Caption, c.text2);
        line = line.translate(vec2(0.0, 18.0));
        text::data(ui, line, Align::Min, value, Type::Mono, c.text);
        line = line.translate(vec2(0.0, 22.0));
    }
}

/// A bar for each expert of the router, and where all would stand if its choices were even.
fn bars_ui(cx: &PanelCtx<'_>, ui: &mut Ui, plot: Rect, router: &Router, expert: usize) {
    let c = cx.c();
    ui.painter().rect_filled(plot, 0.0, c.plot);
    ui.painter().hline(plot.x_range(), plot.bottom() + 0.5, Stroke::new(1.0, c.line2));
    let response = ui.allocate_rect(plot, Sense::hover());
    let count = router.load.len();
    let Some((busiest, most)) = router.busiest().filter(|(_, most)| *most > 0.0) else {
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, t!("watch-load-none", site = router.site)));
        return;
    };
    let words = t!(
        "watch-load-sentence",
        site = router.site,
        step = format::count(router.step),
        expert = busiest + 1,
        load = format::percent(most),
        even = format::percent(1.0 / count as f64),
        dead = router.dead,
        all = count
    );
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, &words));
    response.on_hover_text(words);
    let width = plot.width() / count.max(4) as f32;
    let top = |share: f64| plot.bottom() - (share / most) as f32 * (plot.height() - 3.0);
    for (index, share) in router.load.iter().enumerate().filter(|(_, share)| share.is_finite()) {
        let left = plot.left() + index as f32 * width;
        let upper = top(*share).min(plot.bottom() - 1.0);
        let bar = Rect::from_min_max(pos2(left, upper), pos2((left + width - 1.0).max(left + 1.0), plot.bottom()));
        ui.painter().rect_filled(bar, 0.0, if index == expert { c.accent } else { cx.theme.series[0] });
    }
    let y = top(1.0 / count as f64).round() + 0.5;
    let even = [pos2(plot.left(), y), pos2(plot.right(), y)];
    ui.painter().extend(Shape::dashed_line(&even, Stroke::new(1.0, c.text2), 3.0, 3.0));
    let label = |at: egui::Pos2, align: Align2, words: &str| {
        text::paint_at(ui.painter(), at, align, words, Type::MonoCaption, c.text3);
    };
    label(pos2(plot.left() - 5.0, plot.top() + 4.0), Align2::RIGHT_CENTER, &format::percent(most));
    label(pos2(plot.left() - 5.0, plot.bottom() - 2.0), Align2::RIGHT_CENTER, "0");
    label(pos2(plot.left() + width / 2.0, plot.bottom() + 9.0), Align2::CENTER_CENTER, "1");
    if count > 2 {
        let x = plot.left() + width * (count as f32 - 0.5);
        label(pos2(x, plot.bottom() + 9.0), Align2::CENTER_CENTER, &count.to_string());
    }
}
