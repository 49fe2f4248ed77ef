//! Figures of several runs, ready to draw and to write: their curves, and what each learned, forgot and weighs.
//!
//! Place in the data flow: made of a [`State`] in each frame; the room Compare draws them, `update` writes them as tables.

use super::State;
use crate::reader::ComparedRun;
use egui_plot::PlotPoint;
use temper_store::RunRow;

/// A run and the curve of it that is shown.
pub type Line<'a> = (u64, &'a [PlotPoint]);

/// A run by what it learned and forgot, both of its best checkpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Its number.
    pub run: u64,
    /// Worst kept set minus base, nats.
    pub forgetting: f64,
    /// Best validation loss, nats.
    pub loss: f64,
    /// Size of its adapter, MiB.
    pub mib: f64,
}

/// The curves that are shown, of those chosen runs that have points.
#[must_use]
pub fn lines(state: &State) -> Vec<Line<'_>> {
    let compare = &state.compare;
    let chosen: Vec<u64> = state.compared().iter().map(|row| row.run).collect();
    let points = |run: &'_ ComparedRun| if compare.validation { run.validation.len() } else { run.train.len() };
    let runs = state.runs.compared.iter().filter(|run| chosen.contains(&run.run) && points(run) > 0);
    runs.map(|run| (run.run, if compare.validation { run.validation.as_slice() } else { run.train.as_slice() }))
        .collect()
}

/// The lowest point of a curve.
#[must_use]
pub fn lowest(points: &[PlotPoint]) -> Option<PlotPoint> {
    points.iter().filter(|point| point.y.is_finite()).min_by(|a, b| a.y.total_cmp(&b.y)).copied()
}

/// What a run forgot as Compare says it everywhere: worst kept set minus base, nats, of its best checkpoint, which is what
/// is exported. Where nothing was measured up to that, what was measured last stands for it.
#[must_use]
pub fn forgetting_of(state: &State, row: &RunRow) -> f64 {
    state.runs.kept_at_best.get(&row.run).copied().unwrap_or(row.forgetting)
}

/// The runs of the table that have both a loss and a forgetting, in the table's order.
#[must_use]
pub fn places(state: &State) -> Vec<Place> {
    let place = |row: &RunRow| Place {
        run: row.run,
        forgetting: forgetting_of(state, row),
        loss: row.best_loss,
        mib: size_mib(row),
    };
    let rows = state.compare_table().into_iter();
    rows.map(place).filter(|place| place.loss.is_finite() && place.forgetting.is_finite()).collect()
}

/// Runs that no other run is better than in both, by forgetting.
#[must_use]
pub fn front(places: &[Place]) -> Vec<Place> {
    temper_protocol::front(places, |place| (place.forgetting, place.loss)).into_iter().copied().collect()
}

/// Size of a run's adapter, MiB: its numbers in four bytes each.
#[must_use]
pub fn size_mib(row: &RunRow) -> f64 {
    row.trained_parameters as f64 * 4.0 / (1024.0 * 1024.0)
}

/// The forgetting budget of a run, nats: its own, else that of the project as it is now.
#[must_use]
pub fn budget_of(state: &State, run: u64) -> f64 {
    let own = state.run_setting(run, "keep.budget_nats").and_then(|text| text.parse().ok());
    own.unwrap_or(state.draft.project.keep.budget_nats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Places;
    use crate::reader::RunsSnapshot;
    use crate::state::Clock;
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::Arc;

    #[test]
    fn a_place_is_that_of_the_best_checkpoint_in_both() {
        let folders = Places { config: PathBuf::new(), data: PathBuf::new(), projects: PathBuf::new() };
        let mut state = State::new(folders, Clock::Fixed(0));
        let row = |run: u64, forgetting: f64| RunRow { run, best_loss: 1.5, forgetting, ..RunRow::default() };
        let runs = vec![row(4, 0.3), row(3, f64::NAN), row(2, 0.3), row(1, 0.04)];
        // Run 2 lost its numbers at its best; nothing is known of the best of run 1.
        let kept_at_best = BTreeMap::from([(4, 0.02), (3, 0.01), (2, f64::NAN)]);
        state.runs = Arc::new(RunsSnapshot { runs, kept_at_best, ..RunsSnapshot::default() });
        let found: Vec<(u64, f64)> = places(&state).iter().map(|place| (place.run, place.forgetting)).collect();
        assert_eq!(found, [(4, 0.02), (3, 0.01), (1, 0.04)]);
    }

    #[test]
    fn the_front_has_those_that_nobody_beats_in_both() {
        let place = |run: u64, forgetting: f64, loss: f64| Place { run, forgetting, loss, mib: 1.0 };
        let places = [
            place(7, 0.043, 1.427),
            place(5, 0.068, 1.446),
            place(6, 0.031, 1.452),
            place(4, 0.047, 1.471),
            place(3, 0.019, 1.503),
        ];
        let runs: Vec<u64> = front(&places).iter().map(|place| place.run).collect();
        assert_eq!(runs, [3, 6, 7]);
    }
}
