//! Other runs of the project behind the loss of the open one: smoothed train losses, kept in bounded memory.
//!
//! Place in the data flow: the person chooses runs, [`super::ViewRequest`] names them, and each new view holds one thin
//! line for each. A run that is over is read once; one that goes on is extended by what is new.

use super::curves;
use super::snapshot::{StepMap, ViewRequest, XAxis};
use super::tracks::{Follower, Smooth};
use egui_plot::PlotPoint;
use std::collections::BTreeMap;
use std::sync::Arc;
use temper_store::{INTERRUPTED, Point, Reader, RunRow, StoreError};

/// Most points kept of each run: 32 Ki points are more than a plot across three screens shows.
const KEPT_POINTS: usize = 32_768;
/// Up to this many lines each has a point a pixel; more lines share as many points, to stay readable and quick.
const FINE_LINES: usize = 8;
/// No line has fewer than a point in this many pixels.
const COARSEST: usize = 6;

/// Another run's loss.
#[derive(Debug, Clone, PartialEq)]
pub struct BesideRun {
    /// Its number.
    pub run: u64,
    /// Smoothed train loss by place on the axis of the open run's view. As long as neither changes, views share it.
    pub points: Arc<[PlotPoint]>,
    /// Smallest and largest loss of all points.
    extent: Option<(f64, f64)>,
}

impl BesideRun {
    /// The line of run `run`, with increasing x and finite y.
    #[must_use]
    pub fn new(run: u64, points: impl Into<Arc<[PlotPoint]>>) -> Self {
        let points = points.into();
        Self { run, extent: extent_of(&points), points }
    }

    /// Smallest and largest loss of the points whose x is in `range`; nothing when none is.
    #[must_use]
    pub fn extent(&self, range: (f64, f64)) -> Option<(f64, f64)> {
        let ends = self.points.first().zip(self.points.last());
        if ends.is_some_and(|(first, last)| range.0 <= first.x && last.x <= range.1) {
            return self.extent;
        }
        extent_of(curves::inside(&self.points, range))
    }
}

/// How many points each of `lines` lines has on a plot of `plot_px` pixels.
fn points_each(plot_px: usize, lines: usize) -> usize {
    (plot_px * FINE_LINES / lines.max(1)).clamp(plot_px / COARSEST, plot_px)
}

fn extent_of(points: &[PlotPoint]) -> Option<(f64, f64)> {
    let values = points.iter().map(|point| (point.y, point.y));
    values.reduce(|(low, high), (value, _)| (low.min(value), high.max(value)))
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
    /// The step at which it was over and the seconds it took until then, once it was.
    over: Option<(u64, f64)>,
    /// What was last drawn of it, and for what; only of a run that is over.
    drawn: Option<(Wish, BesideRun)>,
}

/// What decides which points of a run that is over are drawn, and where.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Wish {
    x: XAxis,
    log_y: bool,
    steps: Option<(u64, u64)>,
    limit: usize,
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
        let limit = points_each(request.plot_px as usize, rows.len());
        let wish = Wish { x: request.x, log_y: request.log_y, steps: request.steps, limit };
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            self.follow(reader, row)?;
            let Some(line) = self.runs.get_mut(&row.run) else { continue };
            if let Some((_, known)) = line.drawn.as_ref().filter(|(of, _)| *of == wish) {
                lines.push(known.clone());
                continue;
            }
            let Some(map) = axis(reader, row, request.x)? else { continue };
            let (low, high, count) = request.reach(row.steps, limit);
            let points = line.curve.points.window(low, high, count);
            let run = BesideRun::new(row.run, curves::place(&points, &map, request.log_y));
            line.drawn = line.over.is_some().then(|| (wish, run.clone()));
            lines.push(run);
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
            drawn: None,
        });
        // A run that ended changes only by going on: then it has more steps, or, from a checkpoint, took longer for them.
        let over = (!row.is_active()).then_some((row.steps, row.wall_secs));
        if over.is_some() && line.over == over {
            return Ok(());
        }
        let series = reader.series_names(row.run)?;
        let meta = series.iter().find(|meta| meta.name == "train_loss");
        line.curve.take(&line.follower.news(reader, row.run, "train_loss", meta)?);
        line.over = over;
        line.drawn = None;
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
            time_is_known(row).then(|| StepMap { pairs: vec![(0.0, 0.0), (row.steps as f64, row.wall_secs)] })
        }
    })
}

/// Whether the wall time of a run is that of all its steps. It is told at the end: one that goes on again, or lost its
/// engine, has that of its earlier stretches.
pub(super) fn time_is_known(row: &RunRow) -> bool {
    !row.is_active() && row.status != INTERRUPTED && row.wall_secs > 0.0 && row.steps > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_protocol::{Event, RunStatus};
    use temper_store::{NewRun, Store};

    fn step(step: u64) -> Event {
        Event::Step {
            step,
            max_steps: 400,
            train_loss: 3.0 - step as f64 / 400.0,
            lr: 1e-4,
            grad_norm: 1.0,
            tokens_per_sec: 900.0,
            trained_tokens: 10 * step,
            rss_mib: 1.0,
        }
    }

    fn finished(run: u64) -> Event {
        Event::Finished {
            run,
            status: RunStatus::Finished,
            steps: 300,
            best_step: 300,
            base_loss: 3.0,
            final_loss: 2.2,
            best_loss: 2.2,
            forgetting: 0.0,
            tokens_per_sec: 900.0,
            cpu_secs_per_step: 0.5,
            peak_rss_mib: 1.0,
            wall_secs: 150.0,
            adapter: None,
            problem: None,
        }
    }

    #[test]
    fn views_share_the_line_of_a_run_that_is_over_and_only_of_one() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("a store");
        for over in [true, false] {
            let run = store.create_run(&NewRun::default()).expect("a run");
            (1..=300).for_each(|at| store.push_event(run, &step(at)).expect("pushed"));
            if over {
                store.push_event(run, &finished(run)).expect("pushed");
            }
        }
        store.flush().expect("written");
        let reader = Reader::open(folder.path()).expect("readable");
        let mut lines = Beside::default();
        let mut look = |request: &ViewRequest| {
            let runs = reader.runs().expect("runs");
            let mut found = lines.build(&reader, &runs, 3, request).expect("lines");
            found.sort_by_key(|line| line.run);
            let [over, going] = <[BesideRun; 2]>::try_from(found).expect("both runs");
            (over, going)
        };
        let request = ViewRequest { x: XAxis::Step, beside: [1, 2].into(), plot_px: 200, ..ViewRequest::default() };
        let (over, going) = look(&request);
        store.push_event(2, &step(301)).expect("pushed");
        store.flush().expect("written");
        let later = look(&request);
        assert!(Arc::ptr_eq(&over.points, &later.0.points), "nothing of it can have changed");
        assert_eq!(later.1.points.last().map(|point| point.x), Some(301.0), "what goes on is read on");
        assert_eq!(going.points.last().map(|point| point.x), Some(300.0));
        for other in [
            ViewRequest { log_y: true, ..request.clone() },
            ViewRequest { x: XAxis::Tokens, ..request.clone() },
            ViewRequest { steps: Some((10, 50)), ..request.clone() },
            ViewRequest { plot_px: 60, ..request.clone() },
        ] {
            assert_ne!(look(&other).0.points, over.points, "{other:?}");
        }
        assert_eq!(look(&request).0.points, over.points);
    }

    #[test]
    fn a_run_that_went_back_and_ended_where_it_had_is_read_again() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("a store");
        let runs = [0; 2].map(|_| store.create_run(&NewRun::default()).expect("a run"));
        let mut lines = Beside::default();
        let mut end_at = |loss: f64, wall_secs: f64| {
            store.truncate_after(runs[0], 100).expect("back at its checkpoint");
            for at in 101..=300 {
                let mut event = step(at);
                if let Event::Step { train_loss, .. } = &mut event {
                    *train_loss = loss;
                }
                store.push_event(runs[0], &event).expect("pushed");
            }
            let mut event = finished(runs[0]);
            if let Event::Finished { wall_secs: known, .. } = &mut event {
                *known = wall_secs;
            }
            store.push_event(runs[0], &event).expect("pushed");
            store.flush().expect("written");
            let reader = Reader::open(folder.path()).expect("readable");
            let request = ViewRequest { beside: [runs[0]].into(), plot_px: 200, ..ViewRequest::default() };
            let found = lines.build(&reader, &reader.runs().expect("runs"), runs[1], &request).expect("lines");
            found[0].points.last().map(|point| point.y)
        };
        let near = |found: Option<f64>, loss: f64| found.is_some_and(|found| (found - loss).abs() < 1e-3);
        let [first, second] = [end_at(2.0, 150.0), end_at(1.0, 240.0)];
        assert!(near(first, 2.0) && near(second, 1.0), "{first:?}, {second:?}");
    }

    #[test]
    fn a_run_that_goes_on_again_has_no_place_by_time_until_it_ends() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let _store = Store::open(folder.path()).expect("a store");
        let reader = Reader::open(folder.path()).expect("readable");
        // 100 s are those of its first 100 steps.
        let middle = |status: &str| {
            let row = RunRow { status: status.to_owned(), steps: 150, wall_secs: 100.0, ..RunRow::default() };
            axis(&reader, &row, XAxis::Time).expect("an axis").map(|map| map.place(75.0))
        };
        assert_eq!(["running", "paused", INTERRUPTED, "finished"].map(middle), [None, None, None, Some(50.0)]);
    }

    #[test]
    fn more_lines_share_the_points_of_a_few_and_none_becomes_a_stump() {
        let each = [0, 1, 8, 9, 16, 32, 49, 1000].map(|lines| points_each(800, lines));
        assert_eq!(each, [800, 800, 800, 711, 400, 200, 133, 133]);
        assert_eq!(points_each(0, 20), 0, "a plot that has not said its width");
    }

    #[test]
    fn the_extent_is_that_of_the_points_in_the_range() {
        let points: Vec<PlotPoint> =
            [4.0, 1.0, 3.0, 2.0].into_iter().zip(1..).map(|(y, x)| PlotPoint::new(x, y)).collect();
        let line = BesideRun::new(1, points);
        assert_eq!(line.extent((0.0, 9.0)), Some((1.0, 4.0)));
        assert_eq!(line.extent((1.0, 4.0)), Some((1.0, 4.0)));
        assert_eq!(line.extent((2.5, 9.0)), Some((2.0, 3.0)));
        assert_eq!(line.extent((7.0, 9.0)), None);
        let one = BesideRun::new(1, vec![PlotPoint::new(2.0, 5.0)]);
        assert_eq!((one.extent((0.0, 3.0)), one.extent((3.0, 4.0))), (Some((5.0, 5.0)), None));
        assert_eq!(BesideRun::new(1, Vec::new()).extent((0.0, 3.0)), None);
    }
}
