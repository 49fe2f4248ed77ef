//! Builds the view of one run from the store.

use super::curves::{self, CURVE_POINTS};
use super::events::EventLog;
use super::ranks::RankView;
use super::snapshot::{KeptSet, RunView, ViewRequest, XAxis};
use egui_plot::PlotPoint;
use std::path::Path;
use std::sync::Arc;
use temper_protocol::{Project, project_file};
use temper_store::{Point, Reader, RunRow, SeriesMeta, StoreError};

/// Points read per series: enough to smooth honestly, few enough to read twice a second.
const READ_POINTS: usize = 24_000;
/// Steps before the visible range that smoothing needs.
const LEAD_STEPS: u64 = 200;

/// What is kept about the run being looked at, so that events are read once.
#[derive(Default)]
pub struct RunCache {
    run: Option<u64>,
    settings_text: String,
    settings: Option<Project>,
    log: EventLog,
}

struct Source<'a> {
    reader: &'a Reader,
    run: u64,
    series: Vec<SeriesMeta>,
}

impl Source<'_> {
    fn points(&self, name: &str, range: Option<(u64, u64)>) -> Result<Vec<Point>, StoreError> {
        if !self.series.iter().any(|series| series.name == name) {
            return Ok(Vec::new());
        }
        let (first, last) = range.unwrap_or((0, u64::MAX));
        self.reader.points(self.run, name, first, last, READ_POINTS)
    }

    fn last(&self, name: &str) -> f64 {
        self.series.iter().find(|series| series.name == name).map_or(f64::NAN, |series| series.last)
    }
}

impl RunCache {
    /// Reads what is new about `row` and builds its view.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn build(&mut self, reader: &Reader, row: &RunRow, request: &ViewRequest) -> Result<RunView, StoreError> {
        if self.run != Some(row.run) {
            *self = Self { run: Some(row.run), ..Self::default() };
        }
        if self.settings.is_none() || self.settings_text != row.settings_toml {
            self.settings_text.clone_from(&row.settings_toml);
            self.settings = project_file::parse(&row.settings_toml, Path::new("run")).ok();
            let budget = self.settings.as_ref().map_or(f64::NAN, |settings| settings.keep.budget_nats);
            self.log = EventLog::new(budget);
        }
        loop {
            let events = reader.events_after(row.run, self.log.last_id, 2000)?;
            self.log.extend(&events);
            if events.len() < 2000 {
                break;
            }
        }
        let source = Source { reader, run: row.run, series: reader.series_names(row.run)? };
        let mut view = RunView {
            row: row.clone(),
            settings: self.settings.clone(),
            request: request.clone(),
            checkpoints: self.log.checkpoints.clone(),
            samples: self.log.samples.clone(),
            events: Arc::clone(&self.log.lines),
            exports: self.log.exports.clone(),
            preparing: if row.status == "preparing" { self.log.preparing.clone() } else { None },
            rss_mib: source.last("rss_mib"),
            trained_tokens: source.last("trained_tokens"),
            ..RunView::default()
        };
        fill_axis(&mut view, &source)?;
        fill_losses(&mut view, &source)?;
        fill_rates(&mut view, &source)?;
        self.fill_kept(&mut view, &source)?;
        fill_ranks(&mut view, reader, request)?;
        Ok(view)
    }

    fn fill_kept(&self, view: &mut RunView, source: &Source<'_>) -> Result<(), StoreError> {
        let mut names: Vec<&str> = source
            .series
            .iter()
            .filter_map(|series| series.name.strip_prefix("probe/")?.strip_suffix("/loss_delta"))
            .collect();
        // In the order of the project, so that each set keeps its colour in every room.
        let order: Vec<String> = self.settings.iter().flat_map(|settings| &settings.keep.probes).cloned().collect();
        let place = |name: &str| {
            let known = |probe: &String| probe == name || crate::state::kept_name(probe) == name;
            order.iter().position(known).unwrap_or(order.len())
        };
        names.sort_by(|a, b| place(a).cmp(&place(b)).then_with(|| a.cmp(b)));
        view.kept_step = kept_step(&source.series);
        for name in names {
            let series = |measure: &str| source.points(&format!("probe/{name}/{measure}"), None);
            let losses = series("loss")?;
            view.kept.push(KeptSet {
                name: name.to_owned(),
                base_loss: losses.first().filter(|point| point.step == 0).map_or(f64::NAN, |point| point.value),
                delta: curves::place(&series("loss_delta")?, &view.map, false),
                kl: curves::place(&series("kl")?, &view.map, false),
                flips: curves::place(&series("negative_flips")?, &view.map, false),
                positions: self.log.positions.iter().find(|(set, _)| set == name).map_or(0, |(_, count)| *count),
            });
        }
        Ok(())
    }
}

/// Step of the newest measurement of the kept sets among the series of a run.
#[must_use]
pub fn kept_step(series: &[SeriesMeta]) -> Option<u64> {
    let is_kept = |meta: &&SeriesMeta| meta.name.starts_with("probe/") && meta.name.ends_with("/loss_delta");
    series.iter().filter(is_kept).map(|meta| meta.last_step).max()
}

/// Steps to tokens or to seconds of work.
fn fill_axis(view: &mut RunView, source: &Source<'_>) -> Result<(), StoreError> {
    let mut phases: Vec<(String, f64)> = Vec::new();
    let mut work: Vec<(u64, f64)> = Vec::new();
    for series in &source.series {
        if let Some(phase) = series.name.strip_prefix("phase/") {
            let points = source.points(&series.name, None)?;
            phases.push((phase.to_owned(), points.iter().map(|point| point.value).filter(|v| v.is_finite()).sum()));
            work.extend(points.iter().filter(|point| point.value.is_finite()).map(|point| (point.step, point.value)));
        }
    }
    phases.sort_by(|a, b| b.1.total_cmp(&a.1));
    let total_secs: f64 = phases.iter().map(|(_, secs)| secs).sum();
    view.phases = phases;
    view.step_secs = recent_step_secs(view, source, total_secs)?;
    let pairs: Vec<(f64, f64)> = match view.request.x {
        XAxis::Step => Vec::new(),
        XAxis::Tokens => {
            let points = source.points("trained_tokens", None)?;
            points.iter().map(|point| (point.step as f64, point.value)).collect()
        }
        XAxis::Time => {
            work.sort_by_key(|(step, _)| *step);
            let mut elapsed = 0.0;
            let mut pairs: Vec<(f64, f64)> = Vec::new();
            for (step, secs) in work {
                elapsed += secs;
                match pairs.last_mut() {
                    Some(last) if (last.0 - step as f64).abs() < 0.5 => last.1 = elapsed,
                    _ => pairs.push((step as f64, elapsed)),
                }
            }
            pairs
        }
    };
    if !pairs.is_empty() {
        view.map.pairs = std::iter::once((0.0, 0.0)).chain(curves_thin(pairs)).collect();
    }
    Ok(())
}

/// A map of a few hundred pairs is as good as one of thousands.
fn curves_thin(pairs: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let stride = pairs.len().div_ceil(400).max(1);
    let last = pairs.last().copied();
    let mut thinned: Vec<(f64, f64)> = pairs.into_iter().step_by(stride).collect();
    if let Some(last) = last
        && thinned.last() != Some(&last)
    {
        thinned.push(last);
    }
    thinned
}

/// Seconds a step: tokens of a step over tokens per second where known, else work over steps.
fn recent_step_secs(view: &RunView, source: &Source<'_>, total_secs: f64) -> Result<f64, StoreError> {
    let steps = view.row.steps;
    if view.row.wall_secs > 0.0 && steps > 0 {
        return Ok(view.row.wall_secs / steps as f64);
    }
    if total_secs > 0.0 {
        let measured = source.series.iter().filter(|series| series.name.starts_with("phase/"));
        let last = measured.map(|series| series.last_step).max().unwrap_or(0);
        if last > 0 {
            return Ok(total_secs / last as f64);
        }
    }
    Ok(f64::NAN)
}

fn fill_losses(view: &mut RunView, source: &Source<'_>) -> Result<(), StoreError> {
    let log_y = view.request.log_y;
    let visible = view.request.steps;
    let range = visible.map(|(first, last)| (first.saturating_sub(LEAD_STEPS), last.saturating_add(1)));
    let raw = source.points("train_loss", range)?;
    view.non_finite = raw.iter().filter(|point| !point.value.is_finite()).map(|point| point.step).collect();
    let smoothed = curves::smooth(&raw);
    let validation: Vec<Point> = source.points("loss/validation", None)?;
    view.sentence = curves::sentence(&smoothed, &validation, &view.row);
    view.train_smooth = curves::place(&curves::thin(smoothed, CURVE_POINTS), &view.map, log_y);
    view.train_raw = curves::place(&curves::thin(raw, CURVE_POINTS), &view.map, log_y);
    view.validation = curves::place(&validation, &view.map, log_y);
    Ok(())
}

fn fill_rates(view: &mut RunView, source: &Source<'_>) -> Result<(), StoreError> {
    let range = view.request.steps.map(|(first, last)| (first.saturating_sub(1), last.saturating_add(1)));
    view.lr = curves::place(&curves::thin(source.points("lr", range)?, CURVE_POINTS / 2), &view.map, false);
    let norms = curves::thin(source.points("grad_norm", range)?, CURVE_POINTS);
    view.grad_norm = curves::place(&norms, &view.map, false);
    let (done, planned) = (view.row.steps, view.row.max_steps);
    if let Some(settings) = &view.settings
        && view.row.is_active()
        && planned > done
    {
        let span = planned - done;
        let steps = (0..=40).map(|part| done + span * part / 40);
        let rate = |step| curves::planned_rate(&settings.train, planned, step);
        view.lr_planned = steps.map(|step| PlotPoint::new(view.map.place(step as f64), rate(step))).collect();
    }
    Ok(())
}

fn fill_ranks(view: &mut RunView, reader: &Reader, request: &ViewRequest) -> Result<(), StoreError> {
    let steps = reader.rank_steps(view.row.run)?;
    if steps.is_empty() {
        return Ok(());
    }
    let rows = reader.rank_at(view.row.run, request.rank_step.unwrap_or(u64::MAX))?;
    view.rank = RankView::new(rows, steps, Vec::new());
    let site = request.site.clone().or_else(|| view.rank.most_changed().map(|row| row.site.clone()));
    if let Some(site) = site {
        view.rank.history = reader.rank_history(view.row.run, &site)?;
    }
    Ok(())
}
