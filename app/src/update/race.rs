//! A race of methods: starting and stopping it, and what the engine says about it.
//!
//! Place in the data flow: a race is one request. Its `progress` events name the method that is trained and its step, a
//! `race` event ends each round; the runs themselves are ordinary ones and come from the store.

use crate::app::App;
use crate::commands::{Id, UiCommand, entry};
use crate::files::Job;
use crate::state::draft::switch_method;
use crate::state::race::{self, End, RACERS, Race, RaceAct};
use crate::state::{Ask, Room, Sheet};
use egui::{Context, UserAttentionType};
use std::path::{Path, PathBuf};
use temper_protocol::race_record::RaceRecord;
use temper_protocol::{Code, Command, Event, Problem};

impl App {
    /// Carries out what concerns a race; gives back what does not.
    pub(super) fn perform_race(&mut self, command: UiCommand) -> Option<UiCommand> {
        let UiCommand::Race(act) = command else { return Some(command) };
        match act {
            RaceAct::Choose(on) => {
                self.state.setup.racing = on;
                if on {
                    self.state.room = Room::Setup;
                    let own = self.state.draft.project.method.id.clone();
                    let fits = self.state.method().is_some_and(race::can_race);
                    if self.state.setup.racers.is_empty() && fits {
                        self.state.setup.racers.push(own);
                    }
                }
            }
            RaceAct::Tick(method, on) => self.tick_racer(method, on),
            RaceAct::Start => {
                if entry(Id::StartRace).enabled(&self.state) {
                    self.state.setup.race_wanted = true;
                    self.ask_to_train();
                }
            }
            RaceAct::Stop => self.stop_race(),
            RaceAct::Show(on) => {
                if on {
                    race::show_own(&mut self.state);
                }
                self.state.watch.race = on;
                self.state.room = Room::Watch;
            }
            RaceAct::List => {
                // Another program may have raced since.
                self.load_races();
                self.state.sheet = Some(Sheet::Races);
            }
            RaceAct::Open(number) => {
                if race::show_kept(&mut self.state, number) {
                    self.state.watch.race = true;
                    self.state.room = Room::Watch;
                    self.state.sheet = None;
                }
            }
            RaceAct::Table(on) => {
                if let Some(race) = &mut self.state.race {
                    race.as_table = on;
                }
            }
            RaceAct::Zoom(range) => {
                if let Some(race) = &mut self.state.race {
                    race.zoom = range;
                }
            }
            RaceAct::Use(method) => self.use_method(&method),
        }
        None
    }

    fn tick_racer(&mut self, method: String, on: bool) {
        let racers = &mut self.state.setup.racers;
        if !on {
            racers.retain(|other| *other != method);
        } else if racers.len() >= RACERS.1 {
            self.notice(t!("race-too-many"));
        } else if !racers.contains(&method) {
            racers.push(method);
        }
    }

    /// Starts the race that was asked for; the project is on disk.
    pub(super) fn begin_race(&mut self, project: PathBuf) {
        let methods = self.state.setup.racers.clone();
        let steps = self.state.draft.project.train.steps;
        let runs = &self.state.runs;
        let after_run = runs.runs.iter().chain(&runs.trashed).map(|row| row.run).max().unwrap_or(0);
        self.state.engine.problem = None;
        self.state.engine.lost_run = None;
        let command = Command::Race { project, methods: methods.clone(), set: Vec::new() };
        if self.ask(command, Ask::Race).is_some() {
            self.state.race = Some(Race::new(methods, steps, after_run));
            self.state.races.aside = None;
            self.state.setup.racing = false;
            self.state.watch.race = true;
            self.state.room = Room::Watch;
            self.services.runs.nudge();
        }
    }

    /// Has the kept races of the project read anew.
    pub(super) fn load_races(&mut self) {
        if let Some(folder) = self.state.draft.folder.clone() {
            self.services.files.send(Job::LoadRaces(folder));
        }
    }

    /// The races that are kept with the project in `folder`, newest first. Until one is started the newest is at hand.
    pub(super) fn take_races(&mut self, folder: &Path, kept: Vec<RaceRecord>) {
        if self.state.draft.folder.as_deref() != Some(folder) {
            return;
        }
        if self.state.race.is_none() && !race::goes_on(&self.state) {
            self.state.race = kept.first().map(Race::of_record);
        }
        self.state.races.kept = kept;
    }

    /// Stops the race, if one goes on.
    pub(super) fn stop_race(&mut self) {
        if let Some((request, _)) = self.state.jobs.find(|ask| *ask == Ask::Race) {
            self.ask(Command::CancelRequest { target: request }, Ask::Cancel);
        }
    }

    fn use_method(&mut self, method: &str) {
        let Some(card) = self.state.methods.iter().find(|card| card.id == method).cloned() else { return };
        let old = self.state.method().cloned();
        let mut project = self.state.draft.project.clone();
        switch_method(&mut project, old.as_ref(), &card);
        let now = self.state.now_secs;
        self.state.draft.edit("", project, now);
        self.state.setup.racing = false;
        self.state.room = Room::Setup;
        self.notice(t!("race-used", method = card.title));
    }

    /// What the engine says about the race.
    pub(super) fn take_race_event(&mut self, ctx: &Context, event: Event) {
        let now = self.state.now_secs;
        if matches!(event, Event::Done {}) {
            self.end_race(ctx, End::Whole);
        } else if let Event::Warning { text, .. } = event {
            self.notice(text);
        } else if let Some(race) = race::own_mut(&mut self.state) {
            match event {
                Event::Progress { stage, done, .. } => race.hear(&stage, done, now),
                Event::Race(round) => race.take(round),
                _ => {}
            }
        }
        self.services.runs.nudge();
    }

    /// The race did not come to its end.
    pub(super) fn race_failed(&mut self, ctx: &Context, problem: Problem) {
        let end = if problem.code == Code::Cancelled { End::Stopped } else { End::Failed(problem) };
        self.end_race(ctx, end);
    }

    fn end_race(&mut self, ctx: &Context, end: End) {
        // Who stopped it to close the window waits for this.
        if self.state.sheet == Some(Sheet::Closing { waiting: true }) {
            self.close_allowed = true;
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        }
        self.services.runs.nudge();
        self.load_races();
        let Some(race) = race::own_mut(&mut self.state) else { return };
        let failed = match &end {
            End::Failed(problem) => Some(t!("race-failed-because", why = problem.what)),
            // Whoever stopped it is there.
            End::Whole | End::Stopped => None,
        };
        let whole = end == End::Whole;
        race.end = Some(end);
        let winner = race.winner().filter(|_| whole).map(|one| one.method.clone());
        let won = winner.map(|id| {
            let card = self.state.methods.iter().find(|card| card.id == id);
            let title = card.map_or(id.as_str(), |card| card.title.as_str());
            t!("race-won-notice", method = title)
        });
        let (text, kind) = match (failed, won) {
            (Some(text), _) => (text, UserAttentionType::Critical),
            (None, Some(text)) => (text, UserAttentionType::Informational),
            (None, None) => return,
        };
        self.notice(text.clone());
        self.call(ctx, kind);
        self.tell_outside(ctx, &text);
    }
}
