//! What the engine says.

use crate::app::App;
use crate::commands::UiCommand;
use crate::format;
use crate::reader::snapshot::ExportRecord;
use crate::reader::words::sentence_case;
use crate::state::columns::Columns;
use crate::state::drop::{Target, path_of};
use crate::state::export::Certificate;
use crate::state::machine::selftest;
use crate::state::settings::MachineReport;
use crate::state::setup::{Card, card_of};
use crate::state::{Ask, Room, Sheet, names_repair};
use egui::Context;
use std::path::Path;
use temper_protocol::{Code, Envelope, Event, Problem, named};

impl App {
    /// Takes in one event.
    pub(super) fn take_event(&mut self, ctx: &Context, envelope: Envelope) {
        let Envelope { req, event } = envelope;
        let Some(running) = self.state.jobs.get_mut(req) else {
            if let Event::Error(problem) = event
                && req == 0
            {
                self.state.engine.problem = Some(problem);
            }
            return;
        };
        if let Event::Progress { done, total, unit, stage } = &event {
            running.progress(stage, (*done, *total), unit, self.state.now_secs);
        }
        let ask = running.ask.clone();
        let last = event.is_last() || matches!(event, Event::Finished { .. });
        if let Event::Error(problem) = event {
            self.state.jobs.remove(req);
            if ask == Ask::Race {
                self.race_failed(ctx, problem);
            } else if let Ask::Step { side, run, kept } = ask {
                self.step_failed((side, run, kept), problem);
            } else if matches!(ask, Ask::Judge | Ask::Answer(_)) {
                self.compare_failed(&ask, problem);
            } else if problem.code != Code::Cancelled {
                self.take_problem(&ask, problem);
            } else if matches!(ask, Ask::Losses(..)) {
                self.state.lens.losses.shown = false;
            }
            self.collected.remove(&req);
            return;
        }
        self.take_answer(ctx, req, &ask, event);
        if last {
            self.state.jobs.remove(req);
            self.collected.remove(&req);
        }
    }

    fn take_answer(&mut self, ctx: &Context, req: u64, ask: &Ask, event: Event) {
        match (ask, event) {
            (Ask::Hover, Event::Done {}) => self.state.drop.complete = true,
            (Ask::Hover, event) if path_of(&event).is_some() => self.state.drop.verdicts.push(event),
            (Ask::Drop(_), Event::Done {}) => {
                let things = self.collected.remove(&req).unwrap_or_default();
                self.apply_drop(&things);
            }
            (Ask::Doctor, Event::Done {}) => self.machine_known(req),
            (Ask::Methods, Event::Done {}) => {
                let events = self.collected.remove(&req).unwrap_or_default();
                let card = |event| if let Event::Method(card) = event { Some(card) } else { None };
                self.state.methods = events.into_iter().filter_map(card).collect();
            }
            (Ask::Prices(key), Event::Prices(known)) => self.state.prices.take(key, known.prices),
            // Nothing can be counted then.
            (Ask::Prices(key), Event::Done {}) if self.state.prices.is_waiting(key) => {
                self.state.prices.take(key, Vec::new());
            }
            (Ask::Repair, Event::Done {}) => self.repaired(req),
            (Ask::Drop(_) | Ask::Doctor | Ask::Methods | Ask::Repair, event) => {
                self.collected.entry(req).or_default().push(event)
            }
            (Ask::Path(path), event @ Event::Unknown { .. }) => {
                let Event::Unknown { why, .. } = &event else { return };
                let model = self.state.draft.resolve(&self.state.draft.project.model.path) == *path;
                let (card, action) = if model {
                    (Card::Model, t!("problem-choose-model"))
                } else {
                    (Card::Data, t!("problem-choose-data"))
                };
                let problem = Problem::new(Code::NotFound, why.clone(), path.clone(), action);
                let Some(problem) = self.refuse_bare(path, problem) else { return };
                self.state.setup.problems.insert(card, problem);
            }
            (Ask::Path(path), event) if path_of(&event).is_some() => {
                self.state.known.insert(path.clone(), event);
            }
            // Asked by name, answered with the place the bundled files were unpacked to.
            (Ask::Starter, event @ Event::Model { .. }) => {
                self.state.known.insert(named::STARTER.to_owned(), event);
            }
            (Ask::Starter, event @ Event::Dataset { .. }) => {
                self.state.known.insert(named::STARTER_DATA.to_owned(), event);
            }
            (Ask::Preview(_), event @ Event::Warning { .. }) => self.collected.entry(req).or_default().push(event),
            // Those of data that was replaced meanwhile are nobody's.
            (Ask::Peek(fingerprint), Event::Columns(found)) if *fingerprint == self.state.draft.data_fingerprint() => {
                self.state.setup.columns = Some(Columns::new(&self.state.draft, found));
            }
            (Ask::Peek(fingerprint), event @ Event::Preview { .. }) => {
                // Whoever read all rows knows better.
                let read = self.state.setup.preview.as_ref().is_some_and(|known| known.fingerprint == *fingerprint);
                if !read {
                    self.state.setup.preview = Some(self.answer(event, fingerprint));
                }
            }
            (Ask::Clean, event) => self.take_copy(ctx, event),
            (Ask::Losses(row, texts), event) => self.take_losses(*row, texts, event),
            (Ask::RowTexts(_, texts), Event::RowTexts(told)) => self.state.lens.editor.accept(texts, told),
            (Ask::Index | Ask::Rows(_) | Ask::WholeRow(_), event) => self.take_rows(ask, event),
            (Ask::Preview(fingerprint), event @ Event::Preview { .. }) => {
                self.learn_exports(req);
                self.state.setup.preview = Some(self.answer(event, fingerprint));
            }
            (Ask::Preflight(fingerprint), event @ Event::Preflight { .. }) => {
                self.state.setup.problems.remove(&Card::Preflight);
                self.state.setup.preflight = Some(self.answer(event, fingerprint));
            }
            (Ask::Race, event) => self.take_race_event(ctx, event),
            (Ask::Train { project, .. }, event) => self.take_run_event(ctx, req, project, &event),
            (Ask::Example { train }, Event::Project { path, .. }) => {
                self.autostart = *train;
                self.perform(ctx, UiCommand::OpenProject(path));
            }
            (Ask::Export(_) | Ask::Verify(_), event) => self.take_export_event(req, ask, event),
            (Ask::Judge | Ask::Answer(_) | Ask::Tidy, event) => self.take_compare_event(ask, event),
            (Ask::Step { side, run, kept }, event) => self.take_step_event((*side, *run, *kept), event),
            _ => {}
        }
    }

    /// What a preview said about the ways in which its model can leave.
    fn learn_exports(&mut self, req: u64) {
        let model = self.state.draft.resolve(&self.state.draft.project.model.path);
        let said = self.collected.remove(&req).unwrap_or_default();
        let reason = said.into_iter().find_map(|event| match event {
            Event::Warning { code, text, .. } if code == "no_merged_gguf" => Some(text),
            _ => None,
        });
        match reason {
            Some(reason) => self.state.export.no_gguf.insert(model, reason),
            None => self.state.export.no_gguf.remove(&model),
        };
    }

    /// What a run says that cannot wait for the store: that it exists, and that it ended.
    fn take_run_event(&mut self, ctx: &Context, req: u64, project: &Path, event: &Event) {
        let run = match event {
            Event::Queued { run }
            | Event::Preparing { run, .. }
            | Event::Started { run, .. }
            | Event::Paused { run, .. }
            | Event::Resumed { run, .. }
            | Event::Finished { run, .. } => Some(*run),
            _ => None,
        };
        // A run of a project that was left goes on beside the one that is open, and shows nothing there.
        let is_open = self.state.draft.folder.as_deref() == Some(project);
        // Another run that goes on, when this one only waits or was taken out.
        let ahead = self.state.live_run().map(|row| row.run).filter(|ahead| !is_open || Some(*ahead) != run);
        match event {
            Event::Paused { .. } | Event::Resumed { .. } if is_open => self.state.watch.wish = None,
            // In whatever room: nobody asked for this pause.
            Event::Warning { code, .. } if code == "on_battery" => self.notice(t!("notice-on-battery")),
            Event::Finished { .. } if ahead.is_none() => {
                self.state.watch.wish = None;
                let others = self.state.jobs.iter().any(|(other, running)| other != req && running.ask.trains());
                if !others {
                    self.close_if_stopped(ctx);
                }
            }
            _ => {}
        }
        let waits = matches!(event, Event::Queued { .. });
        if let Some(run) = run
            && let Some(running) = self.state.jobs.get_mut(req)
        {
            let known = Ask::Train { project: project.to_path_buf(), run: Some(run) };
            if running.ask != known {
                running.ask = known;
                match ahead.filter(|_| waits) {
                    // What is looked at stays.
                    Some(ahead) => self.notice(t!("notice-waits", run = run, ahead = ahead)),
                    None if is_open => self.state.watch.run = Some(run),
                    None => {}
                }
            }
            let now = self.state.now_secs;
            let Some(running) = self.state.jobs.get_mut(req) else { return };
            if let Event::Preparing { stage, done, total, unit, .. } = event {
                running.progress(stage, (*done, *total), unit, now);
            } else {
                running.stage.clear();
            }
        }
        self.services.runs.nudge();
    }

    fn take_export_event(&mut self, req: u64, ask: &Ask, event: Event) {
        let secs = self.state.jobs.get(req).map_or(0.0, |running| running.took_secs(self.state.now_secs));
        let at_millis = self.state.clock.now_millis();
        let (project, target, run, adapter) = match ask {
            Ask::Export(asked) => (&asked.project, Some(asked.target), asked.run, asked.adapter.clone()),
            _ => (&self.state.draft.folder, None, super::export_run(&self.state).map(|row| row.run), None),
        };
        if *project != self.state.draft.folder {
            // That project was left; its store has what was written, for when it is opened again.
            return;
        }
        let export = &mut self.state.export;
        match event {
            Event::Written { format, path, bytes, sha256 } => {
                export.certificates.retain(|known| known.record.path != path);
                let record = ExportRecord { format, path, bytes, sha256, at_millis, ..ExportRecord::default() };
                export.certificates.insert(0, Certificate { target, run, adapter, record, secs });
            }
            Event::Certificate { pass, format, reasons, checks, path, .. } => {
                let index = match ask {
                    Ask::Verify(asked) => export.certificates.iter().position(|known| known.record.path == *asked),
                    _ => (!export.certificates.is_empty()).then_some(0),
                };
                let index = index.unwrap_or_else(|| {
                    let place = if let Ask::Verify(asked) = ask { asked.clone() } else { path.clone() };
                    let record = ExportRecord { format, path: place, at_millis, ..ExportRecord::default() };
                    export.certificates.insert(0, Certificate { target, run, adapter, record, secs });
                    0
                });
                let mut known = export.certificates.remove(index);
                known.record.pass = Some(pass);
                known.record.reasons = reasons;
                known.record.checks = checks;
                known.record.at_millis = at_millis;
                if !pass && !path.as_os_str().is_empty() {
                    // A refused export lies under another name.
                    known.record.path = path;
                }
                known.secs = secs;
                export.certificates.insert(0, known);
            }
            _ => {}
        }
    }

    fn repaired(&mut self, req: u64) {
        let said = self.collected.remove(&req).unwrap_or_default();
        let runs = said.iter().filter(|event| matches!(event, Event::Run { .. })).count() as u64;
        self.notice(t!("notice-repaired", n = runs, runs = format::count(runs)));
        self.state.engine.problem.take_if(|problem| names_repair(problem));
        self.services.runs.nudge();
    }

    fn machine_known(&mut self, req: u64) {
        let mut report = MachineReport { at_millis: self.state.clock.now_millis(), ..MachineReport::default() };
        for event in self.collected.remove(&req).unwrap_or_default() {
            match event {
                Event::Device { .. } => report.devices.push(event),
                Event::Selftest(_) => report.selftest = Some(event),
                _ => {}
            }
        }
        let first = self.state.settings.machine.replace(report).is_none();
        self.save_settings();
        // The first start tests by itself; what is wrong is shown once, and found on Home from then on.
        let failed = selftest(&self.state.settings).is_some_and(|found| !found.pass);
        if first && failed && self.state.sheet.is_none() {
            self.state.sheet = Some(Sheet::Machine);
        }
    }

    fn take_problem(&mut self, ask: &Ask, problem: Problem) {
        match ask {
            Ask::Hover => self.state.drop.complete = true,
            // Those of the room Compare, of a step and of a race were told to them.
            // What keeps a first look from the rows keeps the reading of all rows from them, too, which says so.
            Ask::Starter | Ask::Cancel | Ask::Race | Ask::Judge | Ask::Answer(_) | Ask::Step { .. } | Ask::Peek(_) => {}
            // A model that nothing can be counted of says why in its card; prices are known when a step was measured.
            Ask::Prices(key) => self.state.prices.take(key, Vec::new()),
            Ask::Index | Ask::Rows(_) | Ask::WholeRow(_) | Ask::Clean => self.state.lens.problem = Some(problem),
            Ask::RowTexts(row, texts) => self.state.lens.editor.refuse(*row, texts, problem),
            Ask::Losses(..) => {
                // Asked again at once, it would fail again.
                self.state.lens.losses.shown = false;
                self.notice(format!("{}; {}", sentence_case(&problem.what), problem.action));
            }
            Ask::Drop(_) if self.state.drop.meant_for.take() == Some(Target::Export) => {
                self.refuse_on_export(problem);
            }
            Ask::Drop(_) => {
                self.state.setup.problems.insert(card_of(&problem), problem);
                self.state.room = Room::Setup;
            }
            Ask::Path(path) => {
                let Some(problem) = self.refuse_bare(path, problem) else { return };
                if problem.code == Code::NotFound {
                    self.is_missing(path);
                }
                let model = self.state.draft.resolve(&self.state.draft.project.model.path) == *path;
                self.state.setup.problems.insert(if model { Card::Model } else { Card::Data }, problem);
            }
            // The card of what is no longer there says so already.
            Ask::Preview(_) | Ask::Preflight(_)
                if problem.code == Code::NotFound && !self.state.setup.missing.is_empty() => {}
            Ask::Preview(_) | Ask::Preflight(_) => {
                let card = match card_of(&problem) {
                    Card::Preflight if matches!(ask, Ask::Preview(_)) => Card::Data,
                    card => card,
                };
                self.state.setup.problems.insert(card, problem);
            }
            Ask::Train { project, .. } if self.state.draft.folder.as_ref() != Some(project) => {
                self.state.engine.problem = Some(problem);
            }
            Ask::Train { run, .. } => {
                if run.is_none() {
                    // It never started: the cards say why.
                    self.state.setup.problems.insert(card_of(&problem), problem);
                    self.state.room = Room::Setup;
                } else {
                    self.state.engine.problem = Some(problem);
                    self.state.watch.refused = *run;
                    if let Some(run) = run {
                        self.notice(t!("notice-not-gone-on", run = run));
                    }
                }
                self.services.runs.nudge();
            }
            Ask::Export(asked) if asked.project != self.state.draft.folder => {
                self.state.engine.problem = Some(problem);
            }
            Ask::Export(_) | Ask::Verify(_) => self.state.export.problem = Some(problem),
            Ask::Methods | Ask::Doctor | Ask::Control | Ask::Repair | Ask::Tidy | Ask::Example { .. } => {
                self.state.engine.problem = Some(problem);
            }
        }
    }

    /// The engine is gone: say what was lost, and what was not.
    pub(super) fn engine_gone(&mut self) {
        self.services.client = None;
        self.collected.clear();
        let waiting_to_close = self.state.sheet == Some(Sheet::Closing { waiting: true });
        // Of several runs it was at work on one; the others waited.
        let going = self.state.live_run().map(|row| row.run);
        for running in self.state.jobs.take_all() {
            match running.ask {
                Ask::Train { project, .. } if self.state.draft.folder.as_ref() != Some(&project) => {}
                Ask::Train { run: Some(run), .. } if going.is_none_or(|going| going == run) => {
                    self.state.engine.lost_run = Some(run);
                }
                Ask::Train { run: None, .. } => self.state.room = Room::Setup,
                Ask::Race => {
                    if let Some(race) = crate::state::race::own_mut(&mut self.state) {
                        let problem =
                            Problem::new(Code::Internal, t!("race-engine-gone"), "", t!("race-engine-action"));
                        race.end = Some(crate::state::race::End::Failed(problem));
                    }
                }
                Ask::Answer(_) => self.state.compare.answers.working = None,
                Ask::Prices(key) => self.state.prices.take(&key, Vec::new()),
                Ask::Step { .. } => self.state.watch.ask.working = None,
                // Asked again at once, it would perhaps break the next engine as well.
                ask @ (Ask::Preview(_)
                | Ask::Preflight(_)
                | Ask::Path(_)
                | Ask::Drop(_)
                | Ask::Index
                | Ask::Rows(_)
                | Ask::WholeRow(_)
                | Ask::RowTexts(..)
                | Ask::Losses(..)
                | Ask::Clean) => {
                    let problem = Problem::new(
                        Code::Internal,
                        t!("problem-engine-stopped-reading"),
                        "",
                        t!("problem-measure-again"),
                    );
                    self.take_problem(&ask, problem);
                }
                _ => {}
            }
        }
        if waiting_to_close {
            self.state.sheet = Some(Sheet::Closing { waiting: false });
        }
        self.services.runs.nudge();
    }
}
