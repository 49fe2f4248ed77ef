//! The plots of a run, and those of several, as comma-separated values.

use crate::format::csv_cell;
use crate::reader::XAxis;
use crate::reader::ranks::{Measure, energy};
use crate::reader::snapshot::value_at;
use crate::screen::Plot;
use crate::state::compared::{self, Place};
use crate::state::{Room, State};
use std::path::PathBuf;

/// The series of `plot`; nothing when there is no run or nothing was measured.
pub(super) fn csv(state: &State, plot: Plot) -> Option<String> {
    match plot {
        Plot::Loss | Plot::Rates => curves_csv(state),
        Plot::Forgetting => forgetting_csv(state),
        Plot::Ranks => ranks_csv(state),
        Plot::Spectrum => spectrum_csv(state),
        Plot::History => history_csv(state),
        Plot::Experts => experts_csv(state),
        Plot::Race => race_csv(state),
        Plot::Compared => compared_csv(state),
        Plot::Tradeoff => tradeoff_csv(state),
    }
}

/// Where files about `plot` go: to the run that is looked at, or to the project.
pub(crate) fn folder(state: &State, plot: Plot) -> Option<PathBuf> {
    match plot.room() {
        // A race is several runs of the project.
        _ if plot == Plot::Race => state.draft.folder.clone(),
        Room::Compare => state.draft.folder.clone(),
        _ => state.watched().map(|row| row.folder.clone()),
    }
}

/// What each round of the race said, a line for each method.
fn race_csv(state: &State) -> Option<String> {
    let race = state.race.as_ref().filter(|race| !race.rounds.is_empty())?;
    let mut text = String::from("round,step,method,run,loss,difference,band_95,stays,refused\n");
    let cell = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    for round in &race.rounds {
        for one in &round.standings {
            let run = one.run.map(|run| run.to_string()).unwrap_or_default();
            let why = csv_cell(one.refused.as_deref().unwrap_or_default());
            let figures = [one.loss, one.difference, one.band].map(cell).join(",");
            let (number, step, stays) = (round.round, round.step, one.stays);
            text.push_str(&format!("{number},{step},{},{run},{figures},{stays},{why}\n", csv_cell(&one.method)));
        }
    }
    Some(text)
}

/// The curves of the chosen runs, a line for each point.
fn compared_csv(state: &State) -> Option<String> {
    let lines = compared::lines(state);
    if lines.is_empty() {
        return None;
    }
    let place = match state.compare.x {
        XAxis::Step => "step",
        XAxis::Tokens => "tokens",
        XAxis::Time => "secs",
    };
    let loss = if state.compare.validation { "validation_loss" } else { "train_loss" };
    let mut text = format!("run,{place},{loss}\n");
    for (run, points) in lines {
        for point in points {
            text.push_str(&format!("{run},{},{}\n", point.x, point.y));
        }
    }
    Some(text)
}

/// Loss, forgetting and size of every run of the table that has them.
fn tradeoff_csv(state: &State) -> Option<String> {
    let places = compared::places(state);
    if places.is_empty() {
        return None;
    }
    let front = compared::front(&places);
    let mut text = String::from("run,best_loss,forgetting,adapter_mib,budget,unbeaten\n");
    for place in &places {
        let unbeaten = front.iter().any(|other| other.run == place.run);
        let Place { run, forgetting, loss, mib } = place;
        let budget = compared::budget_of(state, *run);
        text.push_str(&format!("{run},{loss},{forgetting},{mib},{budget},{unbeaten}\n"));
    }
    Some(text)
}

fn forgetting_csv(state: &State) -> Option<String> {
    let view = state.runs.view.as_ref()?;
    view.kept_step?;
    let mut text = String::from("set,step,loss_delta,kl,newly_wrong_share\n");
    let cell = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for set in &view.kept {
        for point in &set.delta {
            let step = view.map.step(point.x).round();
            let (kl, flips) = (value_at(&set.kl, point.x), value_at(&set.flips, point.x));
            text.push_str(&format!("{},{step},{},{},{}\n", csv_cell(&set.name), point.y, cell(kl), cell(flips)));
        }
    }
    Some(text)
}

fn ranks_csv(state: &State) -> Option<String> {
    let rank = &state.runs.view.as_ref()?.rank;
    if rank.steps.is_empty() {
        return None;
    }
    let mut text = String::from("site,step,rank,effective_rank,change_share,energy_share\n");
    for row in rank.rows().chain(&rank.others) {
        let site = csv_cell(&row.site);
        let energy = rank.value(Measure::Energy, row).unwrap_or(f64::NAN);
        text.push_str(&format!("{site},{},{},{},{},{energy}\n", row.step, row.rank, row.effective_rank, row.energy));
    }
    Some(text)
}

/// The singular values of the layer that is looked at, and what share of their energy they have up to each.
fn spectrum_csv(state: &State) -> Option<String> {
    let rank = &state.runs.view.as_ref()?.rank;
    let row = rank.looked_at(state.watch.site.as_deref()).filter(|row| !row.spectrum.is_empty())?;
    let all = energy(&row.spectrum);
    let mut text = String::from("site,step,index,singular_value,energy_so_far\n");
    let (site, step) = (csv_cell(&row.site), row.step);
    let mut sum = 0.0;
    for (place, value) in row.spectrum.iter().enumerate() {
        sum += f64::from(*value).powi(2);
        let share = if all > 0.0 { sum / all } else { 0.0 };
        text.push_str(&format!("{site},{step},{},{value},{share}\n", place + 1));
    }
    Some(text)
}

/// The layer that is looked at, a line for each measurement.
fn history_csv(state: &State) -> Option<String> {
    let history = &state.runs.view.as_ref()?.rank.history;
    if history.is_empty() {
        return None;
    }
    let mut text = String::from("site,step,rank,effective_rank,change_share\n");
    for row in history {
        let site = csv_cell(&row.site);
        text.push_str(&format!("{site},{},{},{},{}\n", row.step, row.rank, row.effective_rank, row.energy));
    }
    Some(text)
}

/// What each router chose, a line for each of its experts.
fn experts_csv(state: &State) -> Option<String> {
    let routers = &state.runs.view.as_ref()?.experts.routers;
    if routers.is_empty() {
        return None;
    }
    let cell = |value: f64| if value.is_finite() { value.to_string() } else { String::new() };
    let mut text = String::from("site,step,expert,load,entropy_nats,hardly_used\n");
    for router in routers {
        let (site, step, entropy, dead) = (csv_cell(&router.site), router.step, cell(router.entropy), router.dead);
        for (expert, share) in router.load.iter().enumerate() {
            text.push_str(&format!("{site},{step},{},{},{entropy},{dead}\n", expert + 1, cell(*share)));
        }
    }
    Some(text)
}

/// The curves of the watched run as comma-separated values.
pub(super) fn curves_csv(state: &State) -> Option<String> {
    let view = state.runs.view.as_ref()?;
    let mut text = String::from("step,train_loss,train_loss_smoothed,validation_loss,learning_rate,gradient_norm\n");
    let unlog = |value: f64| if view.request.log_y { 10f64.powf(value) } else { value };
    let cell = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let exact = |points: &[egui_plot::PlotPoint], x: f64| {
        points.iter().find(|point| (point.x - x).abs() < 1e-9).map(|point| point.y)
    };
    let seen = view.seen(&view.train_raw).iter().chain(view.seen(&view.validation));
    let mut places: Vec<f64> = seen.map(|point| point.x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    for x in places {
        text.push_str(&format!(
            "{},{},{},{},{},{}\n",
            view.map.step(x).round(),
            cell(exact(&view.train_raw, x).map(unlog)),
            cell(value_at(&view.train_smooth, x).map(unlog)),
            cell(exact(&view.validation, x).map(unlog)),
            cell(value_at(&view.lr, x)),
            cell(exact(&view.grad_norm, x)),
        ));
    }
    Some(text)
}
