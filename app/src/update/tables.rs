//! The plots of a run as comma-separated values.

use crate::reader::snapshot::value_at;
use crate::screen::Plot;
use crate::state::State;

/// The series of `plot`; nothing when there is no run or nothing was measured.
pub(super) fn csv(state: &State, plot: Plot) -> Option<String> {
    match plot {
        Plot::Loss | Plot::Rates => curves_csv(state),
        Plot::Forgetting => forgetting_csv(state),
        Plot::Ranks => ranks_csv(state),
    }
}

/// A cell; names with a comma or a quote are quoted.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
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
            text.push_str(&format!("{},{step},{},{},{}\n", quoted(&set.name), point.y, cell(kl), cell(flips)));
        }
    }
    Some(text)
}

fn ranks_csv(state: &State) -> Option<String> {
    let rank = &state.runs.view.as_ref()?.rank;
    if rank.steps.is_empty() {
        return None;
    }
    let mut text = String::from("site,step,rank,effective_rank,change_share\n");
    for row in rank.rows().chain(&rank.others) {
        let site = quoted(&row.site);
        text.push_str(&format!("{site},{},{},{},{}\n", row.step, row.rank, row.effective_rank, row.energy));
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
    let mut places: Vec<f64> = view.train_raw.iter().chain(&view.validation).map(|point| point.x).collect();
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
