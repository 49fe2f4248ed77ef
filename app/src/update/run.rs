//! Commands about runs: training, steering, what is looked at, closing.

use crate::app::App;
use crate::commands::UiCommand;
use crate::files::Job;
use crate::reader::RunsSnapshot;
use crate::screen::Plot;
use crate::state::jobs::Running;
use crate::state::settings::{Recent, RecentResult};
use crate::state::watch::Watch;
use crate::state::{Ask, Room, Sheet, State};
use egui::Context;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use temper_protocol::{Act, Command, RunRef};
use temper_store::RunRow;

/// The run that the room Export offers: the chosen one, or the newest with a result; none while it is about an adapter
/// folder.
#[must_use]
pub fn export_run(state: &State) -> Option<&RunRow> {
    if state.export.adapter.is_some() {
        return None;
    }
    let has_result = |row: &&RunRow| row.adapter.is_some() && !row.is_active();
    match state.export.run {
        Some(run) => state.runs.runs.iter().find(|row| row.run == run),
        None => state.runs.runs.iter().find(has_result),
    }
}

/// What stays when another run is looked at: how it is looked at, not where.
fn kept(watch: &mut Watch) -> Watch {
    let beside = std::mem::take(&mut watch.beside);
    let ask = watch.ask.for_another_run();
    Watch { x: watch.x, tab: watch.tab, beside, ask, plot_px: watch.plot_px, ..Watch::default() }
}

impl App {
    /// Carries out what concerns the view of a run; gives back what does not.
    pub(super) fn perform_view(&mut self, ctx: &Context, command: UiCommand) -> Option<UiCommand> {
        if matches!(command, UiCommand::Watch(_)) {
            self.stop_step_answer();
        }
        let now = self.state.now_secs;
        let watch = &mut self.state.watch;
        match command {
            UiCommand::StepAsk(act) => self.step_act(act),
            UiCommand::Watch(run) => {
                *watch = Watch { run: Some(run), log_y: watch.log_y, ..kept(watch) };
                self.state.room = Room::Watch;
            }
            UiCommand::XAxis(axis) => {
                watch.x = axis;
                watch.steps = None;
            }
            UiCommand::LogY(log) => watch.log_y = log,
            UiCommand::AsTable(table) => watch.as_table = table,
            UiCommand::Zoomed(steps) => watch.steps = steps,
            UiCommand::Scrub(step) => (watch.scrub, watch.moved_secs) = (step, now),
            UiCommand::RankMeasure(measure) => watch.measure = measure,
            UiCommand::Site(site) => watch.site = site,
            UiCommand::Expert(site, expert) => (watch.site, watch.expert) = (Some(site), Some(expert)),
            UiCommand::Prompt(prompt) => watch.prompt = prompt,
            UiCommand::Filter(filter) => watch.filter = filter,
            UiCommand::Tab(tab) => watch.tab = tab,
            UiCommand::Beside(run, on) => {
                if on {
                    watch.beside.insert(run);
                } else {
                    watch.beside.remove(&run);
                }
            }
            UiCommand::BesideAll(on) => {
                let runs = &self.state.runs.runs;
                watch.beside = if on { runs.iter().map(|row| row.run).collect() } else { BTreeSet::new() };
            }
            UiCommand::PlotPx(px) => watch.plot_px = px,
            UiCommand::CopyCurves => {
                if let Some(text) = super::tables::curves_csv(&self.state) {
                    ctx.copy_text(text);
                    self.notice(t!("notice-curves-copied"));
                }
            }
            UiCommand::SaveTable(plot) => {
                let text = super::tables::csv(&self.state, plot);
                if let (Some(text), Some(folder)) = (text, super::tables::folder(&self.state, plot)) {
                    let path = folder.join(format!("{}.csv", plot.stem()));
                    self.services.files.send(Job::WriteText { path, text });
                }
            }
            UiCommand::ShowTable(plot) => {
                if let Some(csv) = super::tables::csv(&self.state, plot) {
                    let tabled = super::tabled::aligned(&csv, super::tabled::MOST_ROWS);
                    let title = match plot {
                        Plot::Rates => t!("watch-rates"),
                        Plot::Forgetting => t!("watch-forgetting"),
                        Plot::Ranks => t!("watch-microscope"),
                        Plot::Spectrum => t!("watch-singular"),
                        Plot::History => t!("watch-effective-over"),
                        Plot::Experts => t!("watch-experts-heat"),
                        _ => t!("watch-loss"),
                    };
                    let (shown, all) = (tabled.shown, tabled.all);
                    let note = t!("sheets-table-note", shown = shown, all = all);
                    self.state.sheet = Some(Sheet::Text { title: title.to_owned(), note, text: tabled.text });
                }
            }
            UiCommand::CopyTable(plot) => {
                if let Some(text) = super::tables::csv(&self.state, plot) {
                    ctx.copy_text(text);
                    let what = match plot {
                        Plot::Tradeoff => t!("compare-tradeoff"),
                        Plot::Race => t!("race-title"),
                        _ => t!("compare-curves"),
                    };
                    self.notice(t!("notice-copied", what = what));
                }
            }
            UiCommand::SavePicture(plot, format) => {
                if let Some(tab) = plot.tab() {
                    watch.tab = tab;
                }
                // The palette reaches it from every room; the plot must be drawn to be taken.
                self.state.room = plot.room();
                self.show_plot(plot);
                self.state.sheet = None;
                self.pictures.want(plot, format);
            }
            UiCommand::SaveReport(run) => self.save_report(run),
            UiCommand::SaveCurves => {
                if let (Some(text), Some(row)) = (super::tables::curves_csv(&self.state), self.state.watched()) {
                    let path = row.folder.join("curves.csv");
                    self.services.files.send(Job::WriteText { path, text });
                }
            }
            other => return Some(other),
        }
        None
    }

    /// Carries out what concerns running; gives back what does not.
    pub(super) fn perform_run(&mut self, ctx: &Context, command: UiCommand) -> Option<UiCommand> {
        match command {
            UiCommand::Train => {
                self.state.setup.race_wanted = false;
                self.ask_to_train();
            }
            UiCommand::PlaceText(text) => {
                if let Some(Sheet::Place { folder }) = &mut self.state.sheet {
                    *folder = text;
                }
            }
            UiCommand::ConfirmPlace => self.confirm_place(),
            UiCommand::Resume(run) => self.resume(run),
            UiCommand::Act(act) => self.steer(act),
            UiCommand::CloseKeepRunning => {
                self.close_allowed = true;
                ctx.send_viewport_cmd(egui::ViewportCommand::Close);
            }
            UiCommand::CloseStop => {
                // Who stops and goes does not want the next one to begin.
                self.withdraw_waiting();
                self.stop_race();
                self.steer(Act::Stop);
                self.stop_elsewhere();
                self.state.sheet = Some(Sheet::Closing { waiting: true });
            }
            other => return Some(other),
        }
        None
    }

    /// Trains the project, or asks first where it shall live.
    pub(super) fn ask_to_train(&mut self) {
        if self.state.draft.folder.is_some() {
            self.state.setup.train_wanted = true;
        } else {
            let name = self.state.draft.project.name.clone();
            let name = if name.is_empty() { "project".to_owned() } else { name };
            self.services.files.send(Job::PlaceProject { name });
        }
    }

    /// Has the report of `run` written into its folder.
    fn save_report(&mut self, run: u64) {
        let row = self.state.runs.runs.iter().find(|row| row.run == run);
        if let (Some(row), Some(project)) = (row, self.state.draft.folder.clone()) {
            let path = row.folder.join(crate::report::FILE_NAME);
            self.services.files.send(Job::WriteReport { project, run, path });
        }
    }

    fn confirm_place(&mut self) {
        let Some(Sheet::Place { folder }) = &self.state.sheet else { return };
        // Where a shorter path would start from is nothing that a person sees; the sheet says so.
        let Some(folder) = crate::typed::folder(folder) else { return };
        let draft = &mut self.state.draft;
        if draft.project.name.is_empty()
            && let Some(name) = folder.file_name()
        {
            draft.project.name = name.to_string_lossy().into_owned();
        }
        draft.folder = Some(folder);
        draft.is_new = true;
        // The new folder has nothing yet, whatever the draft's folder has.
        draft.revision += 1;
        self.state.setup.train_wanted = true;
        self.state.sheet = None;
    }

    /// Starts the run that was asked for, once the project is on disk.
    pub(super) fn start_wanted_run(&mut self) {
        let draft = &self.state.draft;
        if !self.state.setup.train_wanted || !draft.is_saved() {
            return;
        }
        let Some(project) = draft.folder.clone() else { return };
        self.state.setup.train_wanted = false;
        let race = std::mem::take(&mut self.state.setup.race_wanted);
        if !draft.has_both() || (self.state.is_training() && !self.state.can_queue()) {
            return;
        }
        // A measurement would only compete with the run for memory.
        if let Some((request, _)) = self.state.jobs.find(|ask| matches!(ask, Ask::Preflight(_))) {
            self.ask(Command::CancelRequest { target: request }, Ask::Cancel);
        }
        if race {
            self.begin_race(project);
            return;
        }
        self.train(project, None);
    }

    fn train(&mut self, project: PathBuf, resume: Option<RunRef>) {
        let ask = Ask::Train { project: project.clone(), run: None };
        let command = Command::Train { project, set: Vec::new(), method: None, out: None, resume, max_steps: None };
        if self.state.is_training() {
            // It waits for its turn; what is looked at stays.
            self.ask(command, ask);
            self.services.runs.nudge();
            return;
        }
        self.train_as(command, ask);
    }

    /// Trains; the number of the run may be known.
    pub(super) fn train_as(&mut self, command: Command, ask: Ask) {
        self.state.engine.problem = None;
        self.state.engine.lost_run = None;
        if self.ask(command, ask).is_some() {
            self.state.watch = kept(&mut self.state.watch);
            self.state.room = Room::Watch;
            self.services.runs.nudge();
        }
    }

    fn resume(&mut self, run: u64) {
        let Some(project) = self.state.draft.folder.clone() else { return };
        self.train(project, Some(RunRef::Id(run)));
        self.state.watch.run = Some(run);
    }

    /// Steers the live run: our own engine by request, another one through the store.
    fn steer(&mut self, act: Act) {
        let Some(run) = self.state.live_run().map(|row| row.run) else { return };
        self.steer_run(run, act);
        self.state.watch.wish = Some(act);
        self.services.runs.nudge();
    }

    /// Tells a run something: through our engine, or through the store when another one has it.
    pub(super) fn steer_run(&mut self, run: u64, act: Act) {
        if self.state.trains(run) {
            let project = self.state.draft.folder.clone();
            self.ask(Command::Control { project, run, act }, Ask::Control);
        } else {
            // The store is the project's own.
            self.services.runs.steer(Command::Control { project: None, run, act });
        }
        self.services.runs.nudge();
    }

    /// Stops what our engine trains of other projects than the open one; what is not known by its number yet is taken back.
    fn stop_elsewhere(&mut self) {
        let of_others = |(request, running): (u64, &Running)| match &running.ask {
            Ask::Train { project, run } if self.state.draft.folder.as_ref() != Some(project) => {
                Some(run.map_or(Command::CancelRequest { target: request }, |run| Command::Control {
                    project: Some(project.clone()),
                    run,
                    act: Act::Stop,
                }))
            }
            _ => None,
        };
        let commands: Vec<Command> = self.state.jobs.iter().filter_map(of_others).collect();
        for command in commands {
            self.ask(command, Ask::Control);
        }
    }

    /// Takes a new snapshot in, and remembers the newest result of the project.
    pub(super) fn take_snapshot(&mut self, snapshot: Arc<RunsSnapshot>) {
        if snapshot.project != self.state.draft.folder {
            return;
        }
        let before = self.state.live_run().map(|row| row.status.clone());
        self.state.runs = snapshot;
        // A run that goes on without a window is what its owner wants to see first.
        if std::mem::take(&mut self.just_opened) {
            crate::state::layout::forget_missing_runs(&mut self.state);
            if self.state.live_run().is_some() {
                self.state.room = Room::Watch;
            }
        }
        let now = self.state.live_run().map(|row| row.status.clone());
        if before != now {
            self.state.watch.wish = None;
        }
        let newest = self.state.runs.runs.iter().find(|row| !row.is_active() && row.steps > 0);
        if let (Some(row), Some(folder)) = (newest, self.state.draft.folder.clone()) {
            let finite = |value: f64| value.is_finite().then_some(value);
            let result = RecentResult {
                run: row.run,
                status: row.status.clone(),
                base_loss: finite(row.base_loss),
                best_loss: finite(row.best_loss),
                forgetting: finite(row.forgetting),
                wall_secs: row.wall_secs,
            };
            let known = self.state.settings.recents.first();
            if known.is_none_or(|recent| recent.path == folder && recent.result.as_ref() != Some(&result)) {
                self.remember(folder, Some(result));
            }
        }
    }

    pub(super) fn remember(&mut self, path: PathBuf, result: Option<RecentResult>) {
        let project = &self.state.draft.project;
        let name = if project.name.is_empty() {
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        } else {
            project.name.clone()
        };
        let model = project.model.path.clone();
        let opened_millis = self.state.clock.now_millis();
        self.state.settings.remember(Recent { path, name, model, opened_millis, result });
        self.save_settings();
    }
}
