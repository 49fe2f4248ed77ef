//! The pre-flight strip: five measured gauges with their references, and the Train button at the end.

use super::super::PanelCtx;
use crate::commands::{Id, UiCommand};
use crate::format;
use crate::state::Ask;
use crate::state::setup::Card;
use crate::theme::{Type, icons};
use crate::widgets::bar::{self, Gauge};
use crate::widgets::button::Weight;
use crate::widgets::text::{self, Piece};
use crate::widgets::{Button, panel};
use egui::{Align, Rect, Stroke, Ui, pos2, vec2};
use temper_protocol::{Event, Problem};

/// Shows the strip.
pub fn preflight_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let problem = cx.state.setup.problems.get(&Card::Preflight);
    let border = if problem.is_some() { c.warn } else { c.line };
    panel::bordered(ui, rect, c.card, border);
    let acts_width = if cx.compact { 264.0 } else { 304.0 };
    let acts =
        Rect::from_min_max(pos2(rect.right() - 12.0 - acts_width, rect.top() + 11.0), rect.max - vec2(12.0, 4.0));
    let line = acts.left() - 12.0;
    ui.painter().vline(line.round() + 0.5, rect.top() + 12.0..=rect.bottom() - 12.0, Stroke::new(1.0, c.line));
    let left = Rect::from_min_max(rect.min + vec2(12.0, 0.0), pos2(line - 12.0, rect.bottom()));
    acts_ui(cx, ui, acts);
    let head = left.with_max_y(left.top() + 28.0);
    let answer = cx.state.setup.preflight.as_ref();
    match problem {
        Some(problem) => problem_ui(cx, ui, left, problem),
        None => {
            head_ui(cx, ui, head);
            match answer.map(|answer| &answer.event) {
                Some(Event::Preflight { .. }) => gauges(cx, ui, left.with_min_y(head.bottom() + 8.0)),
                _ => waiting(cx, ui, left.with_min_y(head.bottom() + 4.0)),
            }
        }
    }
}

fn is_fresh(cx: &PanelCtx<'_>) -> bool {
    let answer = cx.state.setup.preflight.as_ref();
    answer.is_some_and(|answer| answer.fingerprint == cx.state.draft.run_fingerprint())
}

fn head_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect) {
    let c = cx.c();
    let measuring = cx.state.jobs.find(|ask| matches!(ask, Ask::Preflight(_))).is_some();
    let title = [Piece(t!("preflight-title"), Type::Panel, c.text)];
    let end = text::pieces(ui, row, &title);
    let mut words_row = row.with_min_x(end + 10.0);
    let words = match (&cx.state.setup.preflight, measuring) {
        (Some(_), true) if !is_fresh(cx) => t!("preflight-measuring-again").to_owned(),
        (_, true) => t!("preflight-measuring").to_owned(),
        (Some(answer), false) if is_fresh(cx) => {
            let Event::Preflight { fits, .. } = &answer.event else { return };
            let (icon, colour) = if *fits { (icons::CHECK_CIRCLE, c.ok) } else { (icons::WARNING, c.warn) };
            text::icon(ui.painter(), pos2(words_row.left() + 8.0, row.center().y), icon, 16.0, colour);
            words_row.set_left(words_row.left() + 21.0);
            let ago = format::ago(answer.at_millis, cx.state.clock.now_millis());
            let train = &cx.state.draft.project.train;
            let tokens = format::count(cx.state.draft.project.data.max_tokens as u64);
            t!("preflight-measured", ago = ago, batch = train.batch, tokens = tokens)
        }
        (Some(_), false) => t!("preflight-changed").to_owned(),
        (None, false) => t!("preflight-unmeasured").to_owned(),
    };
    let end = text::pieces(ui, words_row.with_max_x(row.right() - 110.0), &[Piece(&words, Type::Body, c.text2)]);
    if measuring || !cx.state.draft.has_both() {
        return;
    }
    let entry = crate::commands::entry(Id::Measure);
    let button = Button::new(entry.name.get()).weight(Weight::Link).tooltip(entry.help.get());
    let place = Rect::from_min_size(pos2(end + 12.0, row.center().y - 10.0), vec2(button.width(ui), 20.0));
    cx.press(ui, Id::Measure, button, place);
}

fn waiting(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let words = if !cx.state.draft.has_model() {
        t!("preflight-needs-both")
    } else if !cx.state.draft.has_both() {
        t!("preflight-needs-data")
    } else if cx.state.jobs.find(|ask| matches!(ask, Ask::Preflight(_))).is_some() {
        t!("preflight-moment")
    } else if cx.state.setup.problems.is_empty() {
        t!("preflight-soon")
    } else {
        t!("preflight-blocked")
    };
    text::block(ui, rect.min + vec2(0.0, 2.0), rect.width().min(560.0), words, Type::Body, c.text2);
}

fn problem_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect, problem: &Problem) {
    let c = cx.c();
    let head = Rect::from_min_size(rect.min + vec2(0.0, 8.0), vec2(rect.width(), 28.0));
    text::icon(ui.painter(), pos2(head.left() + 12.0, head.center().y), icons::WARNING, 24.0, c.warn);
    let title = crate::reader::words::sentence_case(&problem.what);
    text::data(ui, head.with_min_x(head.left() + 36.0), Align::Min, &title, Type::Card, c.text);
    let mut y = head.bottom() + 2.0;
    let left = rect.left() + 36.0;
    let width = rect.right() - left;
    if !problem.r#where.is_empty() {
        let row = Rect::from_min_size(pos2(left, y), vec2(width, 18.0));
        text::path(ui, row, &problem.r#where, Type::Mono, c.text2);
        y += 20.0;
    }
    let action = crate::reader::words::sentence_case(&problem.action);
    y += text::clipped_block(ui, pos2(left, y), width, 2, &action, Type::Body, c.text) + 8.0;
    let mut x = left;
    let mut act = |ui: &mut Ui, label: &str, tip: &str, command: UiCommand| {
        let button = Button::new(label).tooltip(tip);
        let place = Rect::from_min_size(pos2(x, y.min(rect.bottom() - 36.0)), vec2(button.width(ui), 28.0));
        x = place.right() + 8.0;
        if button.show(ui, cx.theme, place).clicked() {
            cx.send(command);
        }
    };
    act(ui, t!("commands-measure"), t!("preflight-again-tip"), UiCommand::Measure);
    act(
        ui,
        t!("common-copy-report"),
        t!("common-copy-report-tip"),
        UiCommand::Copy(crate::widgets::problem::report(problem), t!("common-report")),
    );
}

/// What the time of a run is made of.
fn time_words(step_secs: f64, steps: u64, total_secs: f64) -> String {
    let stepping_secs = step_secs * steps as f64;
    t!(
        "preflight-time-tip",
        steps = format::duration(stepping_secs),
        rest = format::duration((total_secs - stepping_secs).max(0.0))
    )
}

/// What the steps draw, and what is said about it under the pointer; the first is empty where the machine does not tell.
fn energy_words(step_joules: Option<f64>, step_secs: f64, steps: u64) -> (String, String) {
    let Some(joules) = step_joules.filter(|_| step_secs > 0.0) else {
        return (String::new(), t!("preflight-energy-untold").to_owned());
    };
    let energy = format::energy(joules * steps as f64);
    let watts = format!("{:.0}", joules / step_secs);
    (t!("preflight-energy", energy = energy), t!("preflight-energy-tip", watts = watts, energy = energy))
}

fn gauges(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let Some(Event::Preflight {
        fits,
        peak_rss_mib,
        step_secs,
        total_secs,
        checkpoints_mib,
        export_mib,
        free_memory_mib,
        free_disk_mib,
        trained_parameters,
        max_steps,
        step_joules,
        ..
    }) = cx.state.setup.preflight.as_ref().map(|answer| &answer.event)
    else {
        return;
    };
    let c = cx.c();
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| (part / whole) as f32);
    let tone = |share: Option<f32>| if share.is_some_and(|share| share > 0.85) { c.warn } else { c.ok };
    let sized = |value: f64| format::mib_parts(value);
    let of = |free: f64, what: &str| {
        if free > 0.0 { t!("preflight-of-free", free = format::mib(free), what = what) } else { String::new() }
    };
    let memory = sized(*peak_rss_mib);
    let time = format::duration_parts(*total_secs);
    let (drawn, drawn_tip) = energy_words(*step_joules, *step_secs, *max_steps);
    let time_tip = format!("{}\n{drawn_tip}", time_words(*step_secs, *max_steps, *total_secs));
    let checkpoints = sized(*checkpoints_mib);
    let export = sized(*export_mib);
    let memory_share = share(*peak_rss_mib, *free_memory_mib);
    let model_parameters = match cx.state.model_facts() {
        Some(Event::Model { parameters, .. }) if *parameters > 0 => Some(*parameters),
        _ => None,
    };
    let trained_share = model_parameters.map(|all| *trained_parameters as f64 / all as f64);
    let trained = format::parameters(*trained_parameters);
    let (trained_figure, trained_unit) = trained.split_once(' ').unwrap_or((&trained, ""));
    let gauges = [
        Gauge {
            name: t!("preflight-memory"),
            figure: memory.0,
            unit: memory.1,
            reference: of(*free_memory_mib, t!("preflight-free")),
            share: memory_share,
            note: String::new(),
            colour: if *fits { tone(memory_share) } else { c.err },
            alarming: !fits,
            help: t!("preflight-memory-tip"),
        },
        Gauge {
            name: t!("preflight-time"),
            figure: time.0,
            unit: time.1,
            reference: if cx.compact {
                t!("preflight-a-step", step = format::duration(*step_secs))
            } else {
                t!("preflight-a-step-steps", step = format::duration(*step_secs), steps = format::count(*max_steps))
            },
            share: None,
            note: drawn,
            colour: c.ok,
            alarming: false,
            help: &time_tip,
        },
        Gauge {
            name: t!("common-checkpoints"),
            figure: checkpoints.0,
            unit: checkpoints.1,
            reference: of(*free_disk_mib, t!("preflight-free")),
            share: share(*checkpoints_mib, *free_disk_mib),
            note: String::new(),
            colour: tone(share(*checkpoints_mib, *free_disk_mib)),
            alarming: false,
            help: t!("preflight-checkpoints-tip"),
        },
        Gauge {
            name: t!("preflight-export"),
            figure: export.0,
            unit: export.1,
            reference: cx.state.draft.project.export.formats.join(", "),
            share: share(*export_mib, *free_disk_mib),
            note: String::new(),
            colour: tone(share(*export_mib, *free_disk_mib)),
            alarming: false,
            help: t!("preflight-export-tip"),
        },
        Gauge {
            name: t!("preflight-trained"),
            figure: trained_figure.to_owned(),
            unit: if trained_unit.is_empty() { t!("common-parameters") } else { trained_unit },
            reference: trained_share
                .map_or_else(String::new, |share| t!("preflight-of-model", share = format::percent(share))),
            share: trained_share.map(|share| share as f32),
            note: String::new(),
            colour: c.accent,
            alarming: false,
            help: t!("preflight-trained-tip"),
        },
    ];
    let width = (rect.width() / gauges.len() as f32).floor();
    let shown = if super::remedies::found(cx).is_some() { 1 } else { gauges.len() };
    for (index, gauge) in gauges.iter().take(shown).enumerate() {
        let left = rect.left() + index as f32 * width;
        let place = Rect::from_min_size(pos2(left, rect.top()), vec2(width - 22.0, bar::GAUGE_HEIGHT));
        bar::gauge(ui, cx.theme, place, gauge);
        if index > 0 {
            let x = (left - 12.0).round() + 0.5;
            ui.painter().vline(x, rect.top() + 2.0..=rect.top() + 76.0, Stroke::new(1.0, c.line));
        }
    }
    super::remedies::remedies_ui(cx, ui, rect.with_min_x(rect.left() + width), *peak_rss_mib);
}

fn acts_ui(cx: &PanelCtx<'_>, ui: &mut Ui, rect: Rect) {
    let c = cx.c();
    let train = cx.button(ui, Id::Train).weight(Weight::Primary);
    let mut first = rect.with_max_y(rect.top() + 36.0);
    let queue = crate::commands::entry(Id::Queue);
    if queue.enabled(cx.state) {
        // Beside what goes on Train lets a run wait; here is where it stands.
        let place = first.with_min_x(first.right() - 36.0);
        let button = Button::icon_only(queue.icon, queue.name.get()).tooltip(queue.help.get()).weight(Weight::Normal);
        cx.press(ui, Id::Queue, button, place);
        first.set_right(place.left() - 6.0);
    }
    cx.press(ui, Id::Train, train, first);
    let half = (rect.width() - 6.0) / 2.0;
    let row = Rect::from_min_size(rect.min + vec2(0.0, 42.0), vec2(half, 28.0));
    cx.press(ui, Id::ShowCommand, cx.button(ui, Id::ShowCommand), row);
    let second = row.translate(vec2(half + 6.0, 0.0));
    cx.press(ui, Id::ShowProjectFile, cx.button(ui, Id::ShowProjectFile), second);
    let words = verdict(cx);
    text::clipped_block(ui, rect.min + vec2(0.0, 78.0), rect.width(), 2, &words, Type::Body, c.text2);
}

/// What stands in the way of training, or what will happen.
fn verdict(cx: &PanelCtx<'_>) -> String {
    if let Some(hindrance) = (crate::commands::entry(Id::Train).hindrance)(cx.state) {
        return format!("{}.", crate::reader::words::sentence_case(hindrance));
    }
    if let Some((card, _)) = cx.state.setup.problems.iter().next() {
        let name = match card {
            Card::Model => t!("common-model"),
            Card::Data => t!("common-data"),
            Card::Method => t!("common-method"),
            Card::Keep => t!("common-keep"),
            Card::Preflight => t!("preflight-title"),
        };
        return t!("preflight-problem", name = name);
    }
    let answer = cx.state.setup.preflight.as_ref().filter(|_| is_fresh(cx)).map(|answer| &answer.event);
    match answer {
        Some(Event::Preflight { fits: false, remedies, .. }) if !remedies.is_empty() => t!("preflight-pick").to_owned(),
        Some(Event::Preflight { fits: false, warnings, .. }) => {
            warnings.first().cloned().unwrap_or_else(|| t!("preflight-no-fit").to_owned())
        }
        Some(Event::Preflight { warnings, .. }) if !warnings.is_empty() => {
            let sentences: Vec<String> = warnings
                .iter()
                .map(|warning| format!("{}.", crate::reader::words::sentence_case(warning.trim_end_matches('.'))))
                .collect();
            sentences.join(" ")
        }
        Some(_) => match cx.state.setup.preview.as_ref().map(|answer| &answer.event) {
            Some(Event::Preview { bad_rows, .. }) if *bad_rows > 0 => {
                t!("preflight-passes-but", n = bad_rows, rows = format::count(*bad_rows))
            }
            _ => t!("preflight-passes").to_owned(),
        },
        None if cx.state.draft.folder.is_none() => t!("preflight-asks-place").to_owned(),
        None => t!("preflight-as-it-goes").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_the_measured_step_times_the_steps() {
        let (drawn, tip) = energy_words(Some(360.0), 2.0, 1200);
        assert_eq!(drawn, "about 0.12 kWh");
        assert!(tip.contains("180 W") && tip.contains("0.12 kWh"), "{tip}");
    }

    #[test]
    fn a_machine_that_does_not_tell_is_said_to_be_one() {
        for (joules, secs) in [(None, 2.0), (Some(360.0), 0.0)] {
            let (drawn, tip) = energy_words(joules, secs, 1200);
            assert!(drawn.is_empty() && tip.contains("does not tell"), "{tip}");
        }
    }
}
