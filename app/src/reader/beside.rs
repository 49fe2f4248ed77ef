//! Other runs of the project behind the loss of the open one: smoothed train losses, kept in bounded memory.
//!
//! Place in the data flow: the person chooses runs, [`super::ViewRequest`] names them, and each new view holds one thin
//! line for each. A run that is over is read once; one that goes on is extended by what is new.

use super::curves;
use super::snapshot::{StepMap, ViewRequest, XAxis};
use super::tracks::{Follower, Smooth};
use egui_plot::PlotPoint;
use std::collections::BTreeMap;
use temper_store::{Point, Reader, RunRow, StoreError};

/// Most points kept of each run: 32 Ki points are more than a plot across three screens shows.
const KEPT_POINTS: usize = 32_768;
/// Up to this many lines each has a point a pixel; more lines have a quarter of that, to stay readable and quick.
const FINE_LINES: usize = 8;

/// Another run's loss.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BesideRun {
    /// Its number.
    pub run: u64,
    /// Smoothed train loss by place on the axis of the open run's view.
    pub points: Vec<PlotPoint>,
}

/// Lines of other runs.
#[derive(Debug, Default)]
pub struct Beside {
    runs: BTreeMap<u64, Line>,
}

#[derive(Debug)]
struct Line {
    follower: Follower,
    curve: Smooth,
    /// The step at which it was over, once it was.
    over: Option<u64>,
}

impl Beside {
    /// The lines that `request` wants beside run `open`, in the order of the list of runs.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn build(
        &mut self,
        reader: &Reader,
        runs: &[RunRow],
        open: u64,
        request: &ViewRequest,
    ) -> Result<Vec<BesideRun>, StoreError> {
        let wanted = |row: &&RunRow| row.run != open && request.beside.contains(&row.run);
        let rows: Vec<&RunRow> = runs.iter().filter(wanted).collect();
        self.keep_only(|run| request.beside.contains(&run));
        let limit = if rows.len() > FINE_LINES { request.plot_px / 4 } else { request.plot_px } as usize;
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(map) = axis(reader, row, request.x)? else { continue };
            let points = self.window(reader, row, request.steps.unwrap_or((0, u64::MAX)), limit)?;
            lines.push(BesideRun { run: row.run, points: curves::place(&points, &map, request.log_y) });
        }
        Ok(lines)
    }

    /// Forgets the runs that are not `wanted` any more.
    pub(super) fn keep_only(&mut self, wanted: impl Fn(u64) -> bool) {
        self.runs.retain(|run, _| wanted(*run));
    }

    /// The smoothed train loss of a run between two steps, in at most `limit` points or so.
    pub(super) fn window(
        &mut self,
        reader: &Reader,
        row: &RunRow,
        (first, last): (u64, u64),
        limit: usize,
    ) -> Result<Vec<Point>, StoreError> {
        self.follow(reader, row)?;
        Ok(self.runs.get(&row.run).map_or_else(Vec::new, |line| line.curve.points.window(first, last, limit)))
    }

    fn follow(&mut self, reader: &Reader, row: &RunRow) -> Result<(), StoreError> {
        let line = self.runs.entry(row.run).or_insert_with(|| Line {
            follower: Follower::default(),
            curve: Smooth::new(KEPT_POINTS),
            over: None,
        });
        // A run that ended changes only by going on, and then it has more steps.
        let over = (!row.is_active()).then_some(row.steps);
        if over.is_some() && line.over == over {
            return Ok(());
        }
        let series = reader.series_names(row.run)?;
        let meta = series.iter().find(|meta| meta.name == "train_loss");
        line.curve.take(&line.follower.news(reader, row.run, "train_loss", meta)?);
        line.over = over;
        Ok(())
    }
}

/// Places of another run's steps; nothing when they are not known.
pub(super) fn axis(reader: &Reader, row: &RunRow, x: XAxis) -> Result<Option<StepMap>, StoreError> {
    Ok(match x {
        XAxis::Step => Some(StepMap::default()),
        XAxis::Tokens => {
            let points = reader.points(row.run, "trained_tokens", 0, u64::MAX, 400)?;
            let pairs = points.iter().map(|point| (point.step as f64, point.value));
            (!points.is_empty()).then(|| StepMap { pairs: std::iter::once((0.0, 0.0)).chain(pairs).collect() })
        }
        // Only its whole time is known without reading all its phases.
        XAxis::Time => {
            let known = row.wall_secs > 0.0 && row.steps > 0;
            known.then(|| StepMap { pairs: vec![(0.0, 0.0), (row.steps as f64, row.wall_secs)] })
        }
    })
}
