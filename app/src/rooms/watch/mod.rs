//! Watch: the run on one horizontal axis at the left, what it did to the model at the right.
//!
//! Everything shown is the run's own: its settings as started, its series, its events; never the form's.

pub mod beside;
pub mod curves;
pub mod events;
pub mod experts;
pub mod head;
pub mod kept;
pub mod layer;
pub mod race;
pub mod race_plot;
pub mod ranks;
pub mod rates;
pub mod samples;
pub mod scrub;
pub mod speed;
pub mod step_ask;
pub mod trouble;

use super::PanelCtx;
use super::frame::part;
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::plots::{Shown, ticks};
use crate::reader::{RunView, XAxis};
use crate::screen::Plot;
use crate::state::watch::SideTab;
use crate::theme::{Theme, Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::{Button, choice, empty, panel, text};
use egui::{Id as EguiId, Popup, Rect, Stroke, Ui, pos2, vec2};

const GAP: f32 = 8.0;
/// Width of the readout column beside a plot.
pub const READOUT: f32 = 140.0;
/// The same in a small window.
pub const SMALL_READOUT: f32 = 138.0;

/// Shows the room.
pub fn watch_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    if crate::state::race::is_shown(cx.state) {
        race::race_ui(cx, ui, rect);
        return;
    }
    let Some(view) = cx.state.runs.view.as_deref() else {
        part(ui, "empty", rect, |ui, rect| no_run(cx, ui, rect));
        return;
    };
    part(ui, "head", Rect::from_min_size(rect.min, vec2(rect.width(), 28.0)), |ui, rect| {
        head::head_ui(cx, ui, rect, view)
    });
    let area = rect.with_min_y(rect.top() + 36.0);
    let right_width = if cx.compact { 380.0 } else { (area.width() * 0.456).clamp(500.0, 760.0).round() };
    let mut left = area.with_max_x(area.right() - right_width - GAP);
    let right = area.with_min_x(left.right() + GAP);
    if let Some(height) = trouble::height(cx, ui, left.width(), view) {
        let band = left.with_max_y(left.top() + height);
        part(ui, "trouble", band, |ui, rect| trouble::trouble_ui(cx, ui, rect, view));
        left.set_top(band.bottom() + GAP);
    }
    left_column(cx, ui, left, view);
    if cx.compact {
        tabs(cx, ui, right, view);
    } else {
        right_column(cx, ui, right, view);
    }
}

fn no_run(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let head = Rect::from_min_size(rect.min + vec2(4.0, 0.0), vec2(rect.width(), 28.0));
    text::line(ui, head, egui::Align::Min, t!("common-watch"), Type::Room, cx.c().text);
    let rect = rect.with_min_y(rect.top() + 36.0);
    panel::surface(ui, cx.theme, rect);
    let area = Rect::from_min_size(rect.min + vec2(24.0, 24.0), vec2(rect.width().min(620.0) - 48.0, 160.0));
    let preparing = cx.state.jobs.find(|ask| matches!(ask, crate::state::Ask::Train { .. }));
    if let Some((_, running)) = preparing {
        curves::wait(cx, ui, area, &running.stage, running.done, running.total, &running.unit);
        return;
    }
    if cx.state.runs.problem.is_some() {
        empty::show(ui, cx.theme, area, icons::WARNING, t!("watch-unread"), t!("watch-unread-lead"), &[]);
        return;
    }
    let acts = [
        empty::Act {
            label: t!("commands-go-setup"),
            icon: icons::SLIDERS_HORIZONTAL,
            tooltip: t!("watch-none-setup-tip"),
        },
        empty::Act {
            label: t!("commands-open-example"),
            icon: icons::FOLDER_OPEN,
            tooltip: t!("watch-none-example-tip"),
        },
    ];
    let words = t!("watch-none-lead");
    match empty::show(ui, cx.theme, area, icons::CHART_LINE, t!("frame-no-run"), words, &acts) {
        Some(0) => cx.send(UiCommand::Go(crate::state::Room::Setup)),
        Some(_) => cx.send(UiCommand::OpenExample { train: false }),
        None => {}
    }
}

fn left_column(cx: &PanelCtx<'_>, ui: &mut Ui, left: Rect, view: &RunView) {
    let scrub_height = 52.0;
    let rates_height = if cx.compact { 112.0 } else { 124.0 };
    let room = left.height() - scrub_height - rates_height - 3.0 * GAP;
    // The plot that is watched gets the height; what is too low to be read gives its place to it.
    let both = room * 0.47 >= 92.0;
    let loss_height = if both { (room * 0.53).round() } else { (room + GAP).round() };
    let loss = left.with_max_y(left.top() + loss_height);
    let rates = Rect::from_min_size(pos2(left.left(), loss.bottom() + GAP), vec2(left.width(), rates_height));
    let scrub = left.with_min_y(left.bottom() - scrub_height);
    let kept = Rect::from_min_max(pos2(left.left(), rates.bottom() + GAP), pos2(left.right(), scrub.top() - GAP));
    let axis = Axis::new(cx, ui, view);
    part(ui, "loss", loss, |ui, rect| {
        Plot::Loss.leave_place(ui.ctx(), rect);
        curves::loss_ui(cx, ui, rect, view, &axis);
    });
    part(ui, "rates", rates, |ui, rect| {
        Plot::Rates.leave_place(ui.ctx(), rect);
        rates::rates_ui(cx, ui, rect, view, &axis);
    });
    if both {
        part(ui, "kept", kept, |ui, rect| {
            Plot::Forgetting.leave_place(ui.ctx(), rect);
            kept::kept_ui(cx, ui, rect, view, &axis);
        });
    }
    part(ui, "scrub", scrub, |ui, rect| scrub::scrub_ui(cx, ui, rect, view, &axis));
}

fn right_column(cx: &PanelCtx<'_>, ui: &mut Ui, right: Rect, view: &RunView) {
    let speed_height = 98.0;
    let room = right.height() - speed_height - 3.0 * GAP;
    let rank_height = (room * 0.51).min(330.0).round();
    let rest = room - rank_height;
    let sample_height = (rest * 0.52).round();
    let rank = right.with_max_y(right.top() + rank_height);
    let speed = Rect::from_min_size(pos2(right.left(), rank.bottom() + GAP), vec2(right.width(), speed_height));
    let samples = Rect::from_min_size(pos2(right.left(), speed.bottom() + GAP), vec2(right.width(), sample_height));
    let events = right.with_min_y(samples.bottom() + GAP);
    part(ui, "rank", rank, |ui, rect| rank_panel(cx, ui, rect, view));
    part(ui, "speed", speed, |ui, rect| speed::speed_ui(cx, ui, rect, view));
    part(ui, "samples", samples, |ui, rect| samples::samples_ui(cx, ui, rect, view));
    part(ui, "events", events, |ui, rect| events::events_ui(cx, ui, rect, view));
}

fn rank_panel(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, view: &RunView) {
    Plot::Ranks.leave_place(ui.ctx(), rect);
    ranks::ranks_ui(cx, ui, rect, view);
}

fn tabs(cx: &PanelCtx<'_>, ui: &mut Ui, right: Rect, view: &RunView) {
    let names: Vec<&str> = SideTab::ALL.iter().map(|tab| tab.name()).collect();
    let chosen = SideTab::ALL.iter().position(|tab| *tab == cx.state.watch.tab);
    let bar = right.with_max_y(right.top() + 28.0);
    part(ui, "tabs", bar, |ui, rect| {
        if let Some(index) = choice::segments(ui, cx.theme, rect, t!("watch-view"), &names, chosen) {
            cx.send(UiCommand::Tab(SideTab::ALL[index]));
        }
    });
    let speed = right.with_min_y(right.bottom() - 98.0);
    let area = Rect::from_min_max(pos2(right.left(), bar.bottom() + GAP), pos2(right.right(), speed.top() - GAP));
    part(ui, "speed", speed, |ui, rect| speed::speed_ui(cx, ui, rect, view));
    match cx.state.watch.tab {
        SideTab::Rank => part(ui, "rank", area, |ui, rect| rank_panel(cx, ui, rect, view)),
        SideTab::Samples => part(ui, "samples", area, |ui, rect| samples::samples_ui(cx, ui, rect, view)),
        SideTab::Events => part(ui, "events", area, |ui, rect| events::events_ui(cx, ui, rect, view)),
    }
}

/// The horizontal axis that all plots share, and the lines that go through all of them.
pub struct Axis {
    /// Visible range.
    pub range: (f64, f64),
    /// Place of the newest step.
    pub live: f64,
    /// Place of the scrub line, when it is not live.
    pub scrub: Option<f64>,
    /// Place under the pointer, in whichever plot.
    pub hover: Option<f64>,
    hover_id: EguiId,
}

impl Axis {
    fn new(cx: &PanelCtx<'_>, ui: &Ui, view: &RunView) -> Self {
        let live = view.map.place(view.row.steps as f64);
        let range = match cx.state.watch.steps {
            Some((first, last)) => (view.map.place(first as f64), view.map.place(last as f64)),
            None => (0.0, ticks::far_end((live * 1.03).max(view.map.place(10.0)).max(1e-6))),
        };
        let scrub = cx.state.watch.scrub.map(|step| view.map.place(step as f64));
        let hover_id = EguiId::unique("watch hover");
        let pass = ui.ctx().cumulative_pass_nr();
        let seen: Option<(u64, f64)> = ui.data(|data| data.get_temp(hover_id));
        // Only what the pointer was over in the last pass: a plot that is left forgets it by itself.
        let hover = seen.filter(|(when, _)| when + 1 >= pass).map(|(_, place)| place);
        Self { range, live, scrub, hover, hover_id }
    }

    /// Where values are read: under the pointer, at the scrub line, or at the newest step; where that is out of view, at
    /// the end of the view that is nearest to it, since the curves are known no farther.
    #[must_use]
    pub fn reading(&self) -> f64 {
        self.hover.or(self.scrub).unwrap_or(self.live).min(self.range.1).max(self.range.0)
    }

    /// Places of the scrub line and the live line in a plot: labels keep clear of them.
    #[must_use]
    pub fn kept_clear(&self, shown: &Shown, active: bool) -> Vec<Rect> {
        let places = [active.then_some(self.live), self.scrub].into_iter().flatten();
        let strip = |place: f64| {
            let x = shown.x(place);
            Rect::from_min_max(pos2(x - 1.5, shown.rect.top()), pos2(x + 1.5, shown.rect.bottom()))
        };
        places.map(strip).collect()
    }

    /// Draws scrub line, live line and the line under the pointer through a plot.
    pub fn lines(&self, ui: &Ui, theme: &Theme, shown: &Shown, active: bool) {
        let c = &theme.colours;
        let inside = |x: f32| x >= shown.rect.left() - 0.5 && x <= shown.rect.right() + 0.5;
        let line = |place: f64, stroke: Stroke| {
            let x = shown.x(place).round() + 0.5;
            if inside(x) {
                ui.painter().vline(x, shown.rect.y_range(), stroke);
            }
        };
        if active {
            line(self.live, Stroke::new(2.0, c.accent));
        }
        if let Some(scrub) = self.scrub {
            line(scrub, Stroke::new(1.0, Theme::fade(c.text, theme.shares.scrub_line)));
        }
        if let Some(hover) = self.hover {
            line(hover, Stroke::new(1.0, Theme::fade(c.text, 0.4)));
        }
    }

    /// What the pointer does in a plot becomes a wish.
    pub fn take(&self, cx: &PanelCtx<'_>, ui: &Ui, view: &RunView, shown: &Shown) {
        if let Some(place) = shown.hover {
            let pass = ui.ctx().cumulative_pass_nr();
            ui.data_mut(|data| data.insert_temp(self.hover_id, (pass, place)));
        }
        match shown.zoomed {
            Some(Some((low, high))) => {
                let step = |place: f64| view.map.step(place).round().max(0.0) as u64;
                let (first, last) = (step(low), step(high));
                if last > first + 1 {
                    cx.send(UiCommand::Zoomed(Some((first, last))));
                }
            }
            Some(None) => {
                cx.send(UiCommand::Zoomed(None));
                cx.send(UiCommand::Scrub(None));
            }
            None => {}
        }
        if let Some(place) = shown.clicked {
            let step = view.map.step(place).round().clamp(0.0, view.row.steps as f64) as u64;
            cx.send(UiCommand::Scrub(Some(step)));
        }
    }
}

/// The menu of a plot at the right end of its head: save, copy, reset. Gives what is left of the head.
pub fn plot_menu(cx: &PanelCtx<'_>, ui: &mut Ui, head: Rect, name: &str, ids: &[Id]) -> Rect {
    let place = Rect::from_min_size(pos2(head.right() - 20.0, head.top() + 4.0), vec2(20.0, 20.0));
    let response = Button::icon_only(icons::DOTS_THREE, name).show(ui, cx.theme, place);
    Popup::menu(&response).width(240.0).show(|ui| {
        for id in ids {
            let (row, _) = ui.allocate_exact_size(vec2(240.0, 28.0), egui::Sense::hover());
            let button = cx.button(ui, *id).weight(Weight::Quiet).left();
            if cx.press(ui, *id, button, row).clicked() {
                ui.close();
            }
        }
    });
    head.with_max_x(place.left() - 4.0)
}

/// How a place on the axis is written.
#[must_use]
pub fn x_label(axis: XAxis) -> fn(f64) -> String {
    match axis {
        XAxis::Step => |value| format::count(value.round().max(0.0) as u64),
        XAxis::Tokens => |value| format::tokens(value.round().max(0.0) as u64),
        XAxis::Time => format::duration,
    }
}

/// Part of a panel that is the plot, and the column beside it.
#[must_use]
pub fn plot_places(rect: Rect, top: f32, bottom: f32, compact: bool) -> (Rect, Rect) {
    let readout = if compact { SMALL_READOUT } else { READOUT };
    let plot = Rect::from_min_max(
        pos2(rect.left() + crate::plots::chart::GUTTER, rect.top() + top),
        pos2(rect.right() - 12.0 - readout - 16.0, rect.bottom() - bottom),
    );
    let column =
        Rect::from_min_max(pos2(plot.right() + 16.0, plot.top()), pos2(rect.right() - 12.0, rect.bottom() - 6.0));
    (plot, column)
}
