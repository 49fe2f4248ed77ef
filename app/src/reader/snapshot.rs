//! Plain values that the window draws: runs, curves, kept sets, ranks, samples, events.

use super::beside::BesideRun;
use super::compared::{CompareRequest, ComparedRun, RunSettings};
use super::curves::inside;
use super::events::EventLine;
use super::experts::ExpertView;
use super::ranks::RankView;
use crate::texts::Language;
use egui_plot::PlotPoint;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use temper_protocol::event::Check;
use temper_protocol::{Problem, Project};
use temper_store::RunRow;

/// What the horizontal axis of a plot counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum XAxis {
    /// Optimiser steps.
    #[default]
    Step,
    /// Tokens trained.
    Tokens,
    /// Seconds of work.
    Time,
}

/// Pixels that a plot is wide before one was drawn.
pub const PLOT_PX: u32 = 700;

/// What the window wants to see.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewRequest {
    /// Project folder; nothing is read without one.
    pub project: Option<PathBuf>,
    /// Run number; the newest when absent.
    pub run: Option<u64>,
    /// Horizontal axis.
    pub x: XAxis,
    /// Whether losses are drawn on a logarithmic axis.
    pub log_y: bool,
    /// Visible steps when zoomed.
    pub steps: Option<(u64, u64)>,
    /// Step that the rank microscope shows; the newest when absent.
    pub rank_step: Option<u64>,
    /// Site whose history is wanted.
    pub site: Option<String>,
    /// Other runs whose loss is wanted behind that of the run.
    pub beside: BTreeSet<u64>,
    /// What the room Compare shows.
    pub compare: CompareRequest,
    /// Pixels that the plots are wide: curves have at most two points for each.
    pub plot_px: u32,
    /// Language of the words in the view.
    pub language: Language,
}

impl ViewRequest {
    /// First and last step to read of a run that is at step `end`, and in how many points, so that those in view have
    /// `most`: half as many more on either side, for a plot that is moved or zoomed out before the next answer.
    #[must_use]
    pub fn reach(&self, end: u64, most: usize) -> (u64, u64, usize) {
        let Some((first, last)) = self.steps else { return (0, u64::MAX, most) };
        let span = last.saturating_sub(first).max(1);
        let low = first.saturating_sub(span / 2);
        let high = last.saturating_add(span / 2).min(end.max(last));
        (low, high, (most as f64 * high.saturating_sub(low) as f64 / span as f64).round() as usize)
    }
}

impl Default for ViewRequest {
    fn default() -> Self {
        Self {
            project: None,
            run: None,
            x: XAxis::default(),
            log_y: false,
            steps: None,
            rank_step: None,
            site: None,
            beside: BTreeSet::new(),
            compare: CompareRequest::default(),
            plot_px: PLOT_PX,
            language: Language::English,
        }
    }
}

/// The state of a project's runs at one moment.
#[derive(Debug, Clone, Default)]
pub struct RunsSnapshot {
    /// Project folder.
    pub project: Option<PathBuf>,
    /// Runs, newest first, without those in the trash.
    pub runs: Vec<RunRow>,
    /// Runs that wait for their turn, the next one first.
    pub waiting: Vec<u64>,
    /// Runs in the trash.
    pub trashed: Vec<RunRow>,
    /// Process that holds the project, if any.
    pub holder: Option<u32>,
    /// The run that is looked at.
    pub view: Option<Arc<RunView>>,
    /// Curves of the runs that are compared, in the order of choosing.
    pub compared: Vec<ComparedRun>,
    /// Settings of all runs by number.
    pub settings: BTreeMap<u64, RunSettings>,
    /// Settings that two of them have with different values, those that people ask about first in front.
    pub differing: Vec<String>,
    /// What the best checkpoints had forgotten by run, nats; see [`super::forgetting::AtBest`]. Runs of which that was not
    /// measured are missing.
    pub kept_at_best: BTreeMap<u64, f64>,
    /// Why the store cannot be read.
    pub problem: Option<Problem>,
}

/// Steps and their place on the horizontal axis.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepMap {
    /// Pairs of step and place, both increasing; empty means that they are equal.
    pub pairs: Vec<(f64, f64)>,
}

/// A written checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointMark {
    /// Step.
    pub step: u64,
    /// Size.
    pub bytes: u64,
    /// Folder.
    pub path: PathBuf,
}

/// A kept set over the run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeptSet {
    /// Name, such as `prose` or a file's name.
    pub name: String,
    /// Loss of the base, nats.
    pub base_loss: f64,
    /// Loss minus base by place on the axis, without what is no number.
    pub delta: Vec<PlotPoint>,
    /// Step and loss minus base of the newest measurement, which may be no number; absent, it is the last of `delta`.
    pub newest: Option<(u64, f64)>,
    /// KL to the base by place on the axis.
    pub kl: Vec<PlotPoint>,
    /// Share newly wrong by place on the axis.
    pub flips: Vec<PlotPoint>,
    /// Positions measured.
    pub positions: u64,
}

impl KeptSet {
    /// Loss minus base as it was measured last, nats, or no number; nothing when it never was.
    #[must_use]
    pub fn newest_delta(&self) -> Option<f64> {
        self.newest.map(|(_, value)| value).or_else(|| self.delta.last().map(|point| point.y))
    }
}

/// Answers to one prompt.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SamplePrompt {
    /// The prompt.
    pub prompt: String,
    /// The base's answer.
    pub base: Option<String>,
    /// Answers by step, oldest first.
    pub answers: Vec<(u64, String)>,
}

/// A wait before the first step.
#[derive(Debug, Clone, PartialEq)]
pub struct Preparing {
    /// What is done.
    pub stage: String,
    /// Done so far.
    pub done: u64,
    /// Total; 0 when not known.
    pub total: u64,
    /// Unit of both.
    pub unit: String,
}

/// An export that the store knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExportRecord {
    /// Format.
    pub format: String,
    /// Where.
    pub path: PathBuf,
    /// Size.
    pub bytes: u64,
    /// Hash.
    pub sha256: String,
    /// Whether the certificate passed; absent while it is being made.
    pub pass: Option<bool>,
    /// Rows of the certificate.
    pub checks: Vec<Check>,
    /// Why it was refused, or what limits it.
    pub reasons: Vec<String>,
    /// When, milliseconds since 1970.
    pub at_millis: i64,
}

/// One run, ready to draw.
#[derive(Debug, Clone, Default)]
pub struct RunView {
    /// Its row in the list of runs.
    pub row: RunRow,
    /// The project as frozen for it.
    pub settings: Option<Project>,
    /// What this view was made for.
    pub request: ViewRequest,
    /// Steps and their places on the axis.
    pub map: StepMap,
    /// Raw train loss (log10 of it on a logarithmic axis, as all losses here).
    pub train_raw: Vec<PlotPoint>,
    /// Smoothed train loss.
    pub train_smooth: Vec<PlotPoint>,
    /// The same at the newest step, nats on either axis, whatever is in view.
    pub train_newest: Option<f64>,
    /// Validation loss at measured steps.
    pub validation: Vec<PlotPoint>,
    /// Learning rate.
    pub lr: Vec<PlotPoint>,
    /// Learning rate still to come.
    pub lr_planned: Vec<PlotPoint>,
    /// Gradient norm before clipping.
    pub grad_norm: Vec<PlotPoint>,
    /// Visible steps whose gradient was longer than the clip norm, and was shortened to it; 0 where nothing is clipped.
    pub clipped_steps: u64,
    /// Steps whose loss was no number; of very many, some.
    pub non_finite: Vec<u64>,
    /// Other runs that were chosen, in the order of the list of runs.
    pub beside: Vec<BesideRun>,
    /// Checkpoints.
    pub checkpoints: Vec<CheckpointMark>,
    /// Steps of which the run kept a checkpoint or a snapshot, rising: these can be asked.
    pub kept_states: Vec<u64>,
    /// Kept sets in the project's order.
    pub kept: Vec<KeptSet>,
    /// Step of their newest measurement; 0 is the base, nothing before that.
    pub kept_step: Option<u64>,
    /// Seconds by phase since the start, largest first.
    pub phases: Vec<(String, f64)>,
    /// Resident memory now, MiB.
    pub rss_mib: f64,
    /// Degrees Celsius by part of the machine as told last; empty where the system does not tell.
    pub celsius: Vec<(String, f64)>,
    /// Joules that the processor drew since the run's first step, where the system tells.
    pub joules: Option<f64>,
    /// Tokens trained so far.
    pub trained_tokens: f64,
    /// Seconds a step, lately.
    pub step_secs: f64,
    /// Samples by prompt.
    pub samples: Vec<SamplePrompt>,
    /// Everything that happened, oldest first.
    pub events: Arc<Vec<EventLine>>,
    /// Ranks.
    pub rank: RankView,
    /// What routers choose, where layers have some.
    pub experts: ExpertView,
    /// The wait before the first step.
    pub preparing: Option<Preparing>,
    /// What the loss did, in a sentence.
    pub sentence: String,
    /// Exports of this run, oldest first.
    pub exports: Vec<ExportRecord>,
}

impl RunView {
    /// The points of a curve of this view that are seen: curves reach beyond a plot that is zoomed.
    #[must_use]
    pub fn seen<'a>(&self, points: &'a [PlotPoint]) -> &'a [PlotPoint] {
        let Some((first, last)) = self.request.steps else { return points };
        inside(points, (self.map.place(first as f64), self.map.place(last as f64)))
    }
}

impl StepMap {
    /// Place of `step` on the axis, interpolated.
    #[must_use]
    pub fn place(&self, step: f64) -> f64 {
        interpolate(&self.pairs, step, |pair| pair).unwrap_or(step)
    }

    /// Step at `place`, interpolated.
    #[must_use]
    pub fn step(&self, place: f64) -> f64 {
        interpolate(&self.pairs, place, |(step, place)| (place, step)).unwrap_or(place)
    }
}

/// Linear interpolation through pairs with increasing values; constant slope beyond the ends.
fn interpolate(pairs: &[(f64, f64)], at: f64, turned: impl Fn((f64, f64)) -> (f64, f64)) -> Option<f64> {
    let after = pairs.partition_point(|pair| turned(*pair).0 < at).clamp(1, pairs.len().max(2) - 1);
    let (x0, y0) = turned(*pairs.get(after - 1)?);
    let (x1, y1) = turned(*pairs.get(after)?);
    let width = x1 - x0;
    if width <= 0.0 { Some(y1) } else { Some(y0 + (y1 - y0) * (at - x0) / width) }
}

/// The value of a curve at `x`: the last point at or before it.
#[must_use]
pub fn value_at(points: &[PlotPoint], x: f64) -> Option<f64> {
    let after = points.partition_point(|point| point.x <= x + 1e-9);
    let index = after.checked_sub(1)?;
    points.get(index).map(|point| point.y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_map_there_and_back() {
        let map = StepMap { pairs: vec![(0.0, 0.0), (10.0, 1000.0), (20.0, 3000.0)] };
        assert!((map.place(5.0) - 500.0).abs() < 1e-9);
        assert!((map.place(15.0) - 2000.0).abs() < 1e-9);
        assert!((map.step(2000.0) - 15.0).abs() < 1e-9);
        assert!((map.place(30.0) - 5000.0).abs() < 1e-9, "the slope goes on beyond the end");
        assert!((StepMap::default().place(7.0) - 7.0).abs() < 1e-9);
    }

    #[test]
    fn a_zoomed_view_reads_half_as_much_on_either_side_and_as_finely() {
        let reach = |steps, end| ViewRequest { steps, ..ViewRequest::default() }.reach(end, 1000);
        assert_eq!(reach(None, 90), (0, u64::MAX, 1000), "all");
        assert_eq!(reach(Some((400, 600)), 5000), (300, 700, 2000));
        assert_eq!(reach(Some((0, 600)), 600), (0, 600, 1000), "a run has nothing beyond its ends");
        assert_eq!(reach(Some((50, 250)), 260), (0, 260, 1300));
        assert_eq!(
            reach(Some((900, 1100)), 1000),
            (800, 1100, 1500),
            "what is in view counts where the run ends in it"
        );
        assert_eq!(reach(Some((7, 7)), 90), (7, 7, 0), "a single step; a curve has six points at least");
        let (low, high, _) = reach(Some((0, u64::MAX)), 10);
        assert_eq!((low, high), (0, u64::MAX));
    }

    #[test]
    fn what_is_seen_of_a_curve_ends_where_the_plot_does() {
        let points: Vec<PlotPoint> = (0..10).map(|x| PlotPoint::new(f64::from(x), 0.0)).collect();
        let view = |steps| RunView { request: ViewRequest { steps, ..ViewRequest::default() }, ..RunView::default() };
        let ends = |view: &RunView| view.seen(&points).first().zip(view.seen(&points).last()).map(|(a, b)| (a.x, b.x));
        assert_eq!(ends(&view(Some((3, 6)))), Some((3.0, 6.0)));
        assert_eq!(ends(&view(None)), Some((0.0, 9.0)));
        assert_eq!(ends(&view(Some((60, 70)))), None);
    }

    #[test]
    fn a_curve_is_read_at_the_last_point_before() {
        let points = vec![PlotPoint::new(1.0, 3.0), PlotPoint::new(5.0, 2.0)];
        assert_eq!(value_at(&points, 0.5), None);
        assert_eq!(value_at(&points, 4.0), Some(3.0));
        assert_eq!(value_at(&points, 5.0), Some(2.0));
    }
}
