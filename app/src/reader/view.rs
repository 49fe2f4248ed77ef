//! Builds the view of one run from the store.

use super::beside::{Beside, time_is_known};
use super::curves;
use super::events::EventLog;
use super::experts;
use super::ranks::RankView;
use super::snapshot::{KeptSet, RunView, ViewRequest, XAxis};
use super::tracks::{Smooth, Track, Work};
use egui_plot::PlotPoint;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use temper_protocol::{Project, project_file, run_folder};
use temper_store::{Point, Reader, RunRow, SeriesMeta, StoreError};

/// Points read of a series that is measured now and then, such as validation.
const READ_POINTS: usize = 24_000;
/// Pairs of a step and its place that an axis of tokens or of time is made of.
const MAP_PAIRS: usize = 400;
/// Series of the joules that the processor drew, each since the one before.
const ENERGY: &str = "energy/joules";
/// Most steps without a number that are marked in a plot.
const MARKED_GAPS: usize = 60;

/// What is kept about the run being looked at, so that events and points are read once.
#[derive(Default)]
pub struct RunCache {
    run: Option<u64>,
    settings_text: String,
    settings: Option<Project>,
    log: EventLog,
    long: Long,
    beside: Beside,
}

/// Series with a point for every step.
struct Long {
    train: Track,
    smooth: Smooth,
    lr: Track,
    norm: Track,
    phases: BTreeMap<String, Work>,
    energy: Work,
}

impl Default for Long {
    fn default() -> Self {
        Self {
            train: Track::default(),
            smooth: Smooth::new(usize::MAX),
            lr: Track::default(),
            norm: Track::default(),
            phases: BTreeMap::new(),
            energy: Work::default(),
        }
    }
}

impl Long {
    fn follow(&mut self, source: &Source<'_>) -> Result<(), StoreError> {
        let Source { reader, run, .. } = source;
        let news = self.train.follow(reader, *run, "train_loss", source.meta("train_loss"))?;
        self.smooth.take(&news);
        self.lr.follow(reader, *run, "lr", source.meta("lr"))?;
        self.norm.follow(reader, *run, "grad_norm", source.meta("grad_norm"))?;
        self.phases.retain(|phase, _| source.meta(&format!("phase/{phase}")).is_some());
        for meta in &source.series {
            if let Some(phase) = meta.name.strip_prefix("phase/") {
                self.phases.entry(phase.to_owned()).or_default().follow(reader, *run, meta)?;
            }
        }
        match source.meta(ENERGY) {
            Some(meta) => self.energy.follow(reader, *run, meta)?,
            None => self.energy = Work::default(),
        }
        Ok(())
    }
}

struct Source<'a> {
    reader: &'a Reader,
    run: u64,
    series: Vec<SeriesMeta>,
}

impl Source<'_> {
    fn points(&self, name: &str, most: usize) -> Result<Vec<Point>, StoreError> {
        if self.meta(name).is_none() {
            return Ok(Vec::new());
        }
        self.reader.points(self.run, name, 0, u64::MAX, most)
    }

    fn meta(&self, name: &str) -> Option<&SeriesMeta> {
        self.series.iter().find(|series| series.name == name)
    }

    /// The newest temperature of each part, the processor first.
    fn temperatures(&self) -> Vec<(String, f64)> {
        let part = |series: &SeriesMeta| Some((series.name.strip_prefix("celsius/")?.to_owned(), series.last));
        let mut parts: Vec<(String, f64)> = self.series.iter().filter_map(part).collect();
        parts.sort_by(|a, b| b.0.cmp(&a.0));
        parts
    }

    fn last(&self, name: &str) -> f64 {
        self.meta(name).map_or(f64::NAN, |series| series.last)
    }
}

impl RunCache {
    /// Reads what is new about `row`, one of `runs`, and builds its view.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn build(
        &mut self,
        reader: &Reader,
        row: &RunRow,
        runs: &[RunRow],
        request: &ViewRequest,
    ) -> Result<RunView, StoreError> {
        if self.run != Some(row.run) {
            *self = Self { run: Some(row.run), beside: std::mem::take(&mut self.beside), ..Self::default() };
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
            kept_states: run_folder::kept_steps(&row.folder).into_iter().collect(),
            samples: self.log.samples.clone(),
            events: Arc::clone(&self.log.lines),
            exports: self.log.exports.clone(),
            preparing: if row.status == "preparing" { self.log.preparing.clone() } else { None },
            rss_mib: source.last("rss_mib"),
            celsius: source.temperatures(),
            trained_tokens: source.last("trained_tokens"),
            ..RunView::default()
        };
        self.long.follow(&source)?;
        self.fill_axis(&mut view, &source)?;
        self.fill_losses(&mut view, &source)?;
        self.fill_rates(&mut view);
        view.beside = self.beside.build(reader, runs, row.run, request)?;
        self.fill_kept(&mut view, &source)?;
        fill_ranks(&mut view, reader, request)?;
        view.experts = experts::read(reader, row.run, &source.series, request.rank_step)?;
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
            let series = |measure: &str| source.points(&format!("probe/{name}/{measure}"), READ_POINTS);
            let losses = series("loss")?;
            view.kept.push(KeptSet {
                name: name.to_owned(),
                base_loss: losses.first().filter(|point| point.step == 0).map_or(f64::NAN, |point| point.value),
                delta: curves::place(&series("loss_delta")?, &view.map, false),
                newest: source.meta(&format!("probe/{name}/loss_delta")).map(|meta| (meta.last_step, meta.last)),
                kl: curves::place(&series("kl")?, &view.map, false),
                flips: curves::place(&series("negative_flips")?, &view.map, false),
                positions: self.log.positions.iter().find(|(set, _)| set == name).map_or(0, |(_, count)| *count),
            });
        }
        Ok(())
    }

    /// Steps to tokens or to seconds of work.
    fn fill_axis(&self, view: &mut RunView, source: &Source<'_>) -> Result<(), StoreError> {
        let phases = &self.long.phases;
        view.phases = phases.iter().map(|(phase, work)| (phase.clone(), work.total())).collect();
        view.phases.sort_by(|a, b| b.1.total_cmp(&a.1));
        view.joules = source.meta(ENERGY).map(|_| self.long.energy.total());
        view.step_secs = step_secs(&view.row, phases, &self.log.starts);
        let pairs: Vec<(f64, f64)> = match view.request.x {
            XAxis::Step => Vec::new(),
            XAxis::Tokens => {
                let points = source.points("trained_tokens", MAP_PAIRS)?;
                points.iter().map(|point| (point.step as f64, point.value)).collect()
            }
            XAxis::Time => {
                // The phase measured most often has the steps; a few hundred of them are as good as all.
                let steps = phases.values().map(Work::steps).max_by_key(|steps| steps.len()).unwrap_or_default();
                let stride = steps.len().div_ceil(MAP_PAIRS).max(1);
                let chosen = steps.iter().step_by(stride).chain(steps.last());
                let secs = |step: u64| phases.values().map(|work| work.until(step)).sum::<f64>();
                let mut pairs: Vec<(f64, f64)> = chosen.map(|step| (*step as f64, secs(*step))).collect();
                pairs.dedup_by(|a, b| a.0 <= b.0);
                pairs
            }
        };
        if !pairs.is_empty() {
            view.map.pairs = std::iter::once((0.0, 0.0)).chain(pairs).collect();
        }
        Ok(())
    }

    fn fill_losses(&self, view: &mut RunView, source: &Source<'_>) -> Result<(), StoreError> {
        let (log_y, most) = (view.request.log_y, 2 * view.request.plot_px as usize);
        let (first, last) = view.request.steps.unwrap_or((0, u64::MAX));
        let gaps = self.long.train.points.gaps();
        let from = gaps.partition_point(|step| *step < first);
        let seen = gaps.get(from..gaps.partition_point(|step| *step <= last).max(from)).unwrap_or_default();
        view.non_finite = seen.iter().step_by(seen.len().div_ceil(MARKED_GAPS).max(1)).copied().collect();
        let (low, high, count) = view.request.reach(view.row.steps, most);
        let raw = self.long.train.points.window(low, high, count);
        let smoothed = self.long.smooth.points.window(low, high, count);
        view.train_newest = self.long.smooth.points.last().map(|point| point.value);
        let validation: Vec<Point> = source.points("loss/validation", READ_POINTS)?;
        let ends = self.long.smooth.points.ends(first, last).map(|(first, last)| [first, last]);
        view.sentence = curves::sentence(ends.as_ref().map_or(&[] as &[Point], |ends| ends), &validation, &view.row);
        view.train_smooth = curves::place(&smoothed, &view.map, log_y);
        view.train_raw = curves::place(&raw, &view.map, log_y);
        view.validation = curves::place(&validation, &view.map, log_y);
        Ok(())
    }

    fn fill_rates(&self, view: &mut RunView) {
        let most = 2 * view.request.plot_px as usize;
        let (first, last) = view.request.steps.unwrap_or((0, u64::MAX));
        let (low, high, count) = view.request.reach(view.row.steps, most);
        view.lr = curves::place(&self.long.lr.points.window(low, high, count / 2), &view.map, false);
        view.grad_norm = curves::place(&self.long.norm.points.window(low, high, count), &view.map, false);
        // Of all steps, not only of those that are drawn.
        let clip = view.settings.as_ref().map_or(0.0, |settings| settings.train.clip_norm);
        view.clipped_steps = if clip > 0.0 { self.long.norm.points.above(clip, first, last) } else { 0 };
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
    }
}

/// Step of the newest measurement of the kept sets among the series of a run.
#[must_use]
pub fn kept_step(series: &[SeriesMeta]) -> Option<u64> {
    let is_kept = |meta: &&SeriesMeta| meta.name.starts_with("probe/") && meta.name.ends_with("/loss_delta");
    series.iter().filter(is_kept).map(|meta| meta.last_step).max()
}

/// Seconds a step: work by phase over the steps that it was measured over, else the whole time over all steps.
fn step_secs(row: &RunRow, phases: &BTreeMap<String, Work>, starts: &[u64]) -> f64 {
    let secs: f64 = phases.values().map(Work::total).sum();
    // The phase measured most often was measured each time.
    let measured = phases.values().map(Work::steps).max_by_key(|steps| steps.len()).unwrap_or_default();
    let covered = covered_steps(measured, starts);
    if secs > 0.0 && covered > 0 {
        secs / covered as f64
    } else if time_is_known(row) {
        row.wall_secs / row.steps as f64
    } else {
        f64::NAN
    }
}

/// Steps that the work measured at the steps `measured` is of. Each measurement reaches back to the one before, or to
/// where the run went on since then, one of `starts`: what was done before that was not measured.
fn covered_steps(measured: &[u64], starts: &[u64]) -> u64 {
    let (mut before, mut covered) = (0, 0);
    for step in measured {
        let from = starts.iter().filter(|start| *start < step).copied().fold(before, u64::max);
        covered += step.saturating_sub(from);
        before = *step;
    }
    covered
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
