//! The room Compare: what a person does there, and what the engine says about the chosen runs.
//!
//! Place in the data flow: a comparison is one request with many parts; the playground is a request for each answer, sent
//! when the one before has ended, so that the engine keeps one base and nothing runs side by side.

use crate::app::App;
use crate::commands::UiCommand;
use crate::files::Job;
use crate::reader::ranks::Measure;
use crate::reader::{CompareRequest, XAxis};
use crate::screen::Plot;
use crate::state::answers::{HOTTEST, MOST_ANSWERS, Who};
use crate::state::compare::{Column, CompareAct, MOST, Part};
use crate::state::remembered::{self, Remembered};
use crate::state::{Ask, Room, State, race};
use temper_protocol::housekeeping::Housekeeping;
use temper_protocol::project::Validation;
use temper_protocol::{Code, Command, Event, ModelRef, Problem, named};

/// The data that the chosen runs are compared on: as typed, else the project's validation file, the rows that the runs
/// kept from their training, its first kept set, or its training data.
#[must_use]
pub fn compare_data(state: &State) -> String {
    if let Some(data) = &state.compare.judged.data {
        return data.clone();
    }
    let project = &state.draft.project;
    if let Validation::Path(path) = &project.data.validation {
        return path.clone();
    }
    if has_held_out(state) {
        return named::HELD_OUT.to_owned();
    }
    let first = project.keep.probes.first().map(String::as_str);
    first.or_else(|| project.data.train.first().map(|source| source.path())).unwrap_or_default().to_owned()
}

/// Whether the chosen runs kept the same rows from their training: they split the same data alike.
fn has_held_out(state: &State) -> bool {
    let splits = |(key, _): &&(String, String)| {
        let of_data = key.strip_prefix("data.");
        key == "train.seed" || of_data.is_some_and(|name| !matches!(name, "max_tokens" | "packing" | "loss_on"))
    };
    let rows = state.compared_adapters();
    let share = |run: u64| state.run_setting(run, "data.validation")?.parse::<f64>().ok();
    let of = |run: u64| state.runs.settings.get(&run).map(|flat| flat.iter().filter(splits).collect::<Vec<_>>());
    let Some(first) = rows.first().map(|row| row.run) else { return false };
    share(first).is_some_and(|share| share > 0.0) && rows.iter().all(|row| of(row.run) == of(first))
}

/// The prompt of the playground: as typed, else the project's first sample prompt.
#[must_use]
pub fn playground_prompt(state: &State) -> String {
    let first = || state.draft.project.samples.prompts.first().cloned().unwrap_or_default();
    state.compare.answers.prompt.clone().unwrap_or_else(first)
}

/// Why the chosen runs cannot be compared on rows now; nothing when they can.
#[must_use]
pub fn judge_hindrance(state: &State) -> Option<&'static str> {
    if state.jobs.find(|ask| *ask == Ask::Judge).is_some() {
        return Some(t!("compare-judging"));
    }
    if compare_data(state).trim().is_empty() {
        return Some(t!("compare-no-data"));
    }
    engine_hindrance(state)
}

/// Why the base and the chosen runs cannot be asked now; nothing when they can.
#[must_use]
pub fn ask_hindrance(state: &State) -> Option<&'static str> {
    if state.compare.answers.working.is_some() {
        return Some(t!("compare-answering"));
    }
    if playground_prompt(state).trim().is_empty() {
        return Some(t!("compare-no-prompt"));
    }
    engine_hindrance(state).or_else(|| state.answering().is_empty().then(|| t!("compare-nobody")))
}

fn engine_hindrance(state: &State) -> Option<&'static str> {
    let base = state.compared_base().err();
    // The engine does one thing at a time; the answer would come after the run.
    base.or_else(|| state.is_training().then(|| t!("commands-run-going")))
}

impl App {
    /// What the store's reader is asked for; nothing while nobody looks.
    pub(super) fn compare_request(&self) -> CompareRequest {
        if race::is_shown(&self.state) {
            return CompareRequest { runs: race::watched_runs(&self.state), x: XAxis::Step, raw: false };
        }
        if self.state.room != Room::Compare {
            return CompareRequest::default();
        }
        let runs = self.state.compared().iter().map(|row| row.run).collect();
        let compare = &self.state.compare;
        CompareRequest { runs, x: compare.x, raw: !compare.validation && !compare.smooth }
    }

    /// Carries out what concerns the room Compare; gives back what does not.
    pub(super) fn perform_compare(&mut self, command: UiCommand) -> Option<UiCommand> {
        let UiCommand::Compare(act) = command else { return Some(command) };
        let before = Remembered::of(&self.state.compare);
        self.do_compare(act);
        self.keep_compare(&before);
        None
    }

    /// Writes what is remembered with the project, when that has changed.
    fn keep_compare(&mut self, before: &Remembered) {
        let now = Remembered::of(&self.state.compare);
        if let Some(folder) = self.state.draft.folder.as_ref().filter(|_| now != *before) {
            self.services.files.send(Job::SaveCompare { path: folder.join(remembered::FILE_NAME), text: now.text() });
        }
    }

    /// Shows a plot as a plot.
    pub(super) fn show_plot(&mut self, plot: Plot) {
        let compare = &mut self.state.compare;
        match plot {
            Plot::Compared => {
                compare.part = Part::Curves;
                compare.curves_table = false;
            }
            Plot::Tradeoff => {
                compare.part = Part::Tradeoff;
                compare.tradeoff_table = false;
            }
            Plot::Race => {
                self.state.watch.race = true;
                if let Some(race) = &mut self.state.race {
                    race.as_table = false;
                }
            }
            Plot::Ranks | Plot::Spectrum | Plot::History => {
                self.state.watch.race = false;
                // Where the load of experts is shown there is no spectrum.
                if self.state.watch.measure == Measure::Experts {
                    self.state.watch.measure = Measure::default();
                }
            }
            Plot::Experts => {
                self.state.watch.race = false;
                self.state.watch.measure = Measure::Experts;
            }
            Plot::Loss | Plot::Rates | Plot::Forgetting => self.state.watch.race = false,
        }
    }

    fn do_compare(&mut self, act: CompareAct) {
        let compare = &mut self.state.compare;
        match act {
            CompareAct::Choose(run, on) => self.choose(run, on),
            CompareAct::Sort(column) => {
                if compare.sort == column {
                    compare.descending = !compare.descending;
                } else {
                    compare.sort = column;
                    // What is better stands on top.
                    compare.descending = matches!(column, Column::Run | Column::Speed);
                }
            }
            CompareAct::Filter(text) => compare.filter = text,
            CompareAct::Group(grouping) => compare.grouping = grouping,
            CompareAct::Part(part) => {
                compare.part = part;
                compare.emptying = false;
                // The palette reaches it from every room.
                self.state.room = Room::Compare;
                if part == Part::Order {
                    self.tidy(Housekeeping::Disk {});
                }
            }
            CompareAct::Tidy(order) => self.tidy(order),
            CompareAct::Emptying(on) => compare.emptying = on,
            CompareAct::X(axis) => {
                compare.x = axis;
                compare.zoom = None;
            }
            CompareAct::Zoom(range) => compare.zoom = range,
            CompareAct::Validation(on) => compare.validation = on,
            CompareAct::Smooth(on) => {
                compare.smooth = on;
                compare.validation = false;
            }
            CompareAct::LogY(on) => compare.log_y = on,
            CompareAct::CurvesTable(on) => compare.curves_table = on,
            CompareAct::TradeoffTable(on) => compare.tradeoff_table = on,
            CompareAct::Differences(on) => compare.differences = on,
            CompareAct::Data(text) => compare.judged.data = Some(text),
            CompareAct::RowCount(count) => compare.judged.row_count = count,
            CompareAct::Kind(kind) => compare.judged.kind = kind,
            CompareAct::KindsOf(place) => compare.judged.kinds_of = place,
            CompareAct::Against(place) => compare.judged.against = place,
            CompareAct::SortRows(sort) => compare.judged.sort_by(sort),
            CompareAct::SaveRows => self.save_rows(),
            CompareAct::Prompt(text) => compare.answers.prompt = Some(text),
            CompareAct::Chat(on) => compare.answers.plain = !on,
            CompareAct::Blind(on) => compare.answers.set_blind(on),
            CompareAct::Vote(place) => compare.answers.vote(place),
            CompareAct::ForgetVotes => compare.answers.votes.clear(),
            CompareAct::Judge => self.judge(),
            CompareAct::AskAll => self.ask_all(),
            CompareAct::Answering(who, on) => self.answering(who, on),
            CompareAct::Seed(seed) => compare.answers.sampling.seed = seed,
            CompareAct::Temperature(of) if of.is_finite() => {
                compare.answers.sampling.temperature = of.clamp(0.0, HOTTEST);
            }
            CompareAct::Temperature(_) => {}
        }
    }

    fn tidy(&mut self, order: Housekeeping) {
        let compare = &mut self.state.compare;
        compare.emptying = false;
        if matches!(order, Housekeeping::Disk {}) {
            compare.disk.clear();
        }
        if let Some(project) = self.state.draft.folder.clone() {
            self.ask(Command::Housekeep { project, order }, Ask::Tidy);
        }
    }

    fn save_rows(&mut self) {
        let judged = &self.state.compare.judged;
        if let Some(folder) = self.state.draft.folder.as_ref().filter(|_| !judged.rows.is_empty()) {
            let path = folder.join("compared-rows.csv");
            self.services.files.send(Job::WriteText { path, text: judged.csv() });
        }
    }

    /// Asks somebody too, or not any more. There is room for five.
    fn answering(&mut self, who: Who, on: bool) {
        let asked = self.state.answering();
        let left_out = &mut self.state.compare.answers.left_out;
        if !on {
            left_out.insert(who);
        } else if asked.len() >= MOST_ANSWERS {
            self.notice(t!("compare-most-answers", most = MOST_ANSWERS));
        } else {
            left_out.remove(&who);
        }
    }

    fn choose(&mut self, run: u64, on: bool) {
        let mut chosen: Vec<u64> = self.state.compared().iter().map(|row| row.run).collect();
        if !on {
            chosen.retain(|other| *other != run);
        } else if chosen.len() >= MOST {
            self.notice(t!("compare-most", most = MOST));
        } else if !chosen.contains(&run) {
            chosen.push(run);
        }
        self.state.compare.chosen = Some(chosen);
    }

    fn judge(&mut self) {
        if judge_hindrance(&self.state).is_some() {
            return;
        }
        let Ok(model) = self.state.compared_base() else { return };
        let data = compare_data(&self.state).trim().to_owned();
        let runs: Vec<Who> = self.state.compared_adapters().iter().map(|row| Some(row.run)).collect();
        let command = Command::Compare {
            project: self.state.draft.folder.clone(),
            model: ModelRef { model, adapters: adapters(&runs), base: self.held_as(&runs) },
            data: self.state.draft.resolve(&data),
            rows: self.state.compare.judged.row_count,
        };
        self.state.compare.judged.begin(data);
        self.state.compare.part = Part::Rows;
        self.state.room = Room::Compare;
        self.ask(command, Ask::Judge);
    }

    /// How the runs held their base, as the first one says.
    fn held_as(&self, runs: &[Who]) -> Option<String> {
        let first = runs.iter().flatten().next()?;
        self.state.run_setting(*first, "model.base").map(str::to_owned)
    }

    fn ask_all(&mut self) {
        if ask_hindrance(&self.state).is_some() {
            return;
        }
        let Ok(base) = self.state.compared_base() else { return };
        let prompt = playground_prompt(&self.state);
        let who = self.state.answering();
        self.state.compare.answers.begin(prompt, base, who);
        self.state.compare.part = Part::Ask;
        self.state.room = Room::Compare;
        self.ask_next(0);
    }

    /// Asks the model at `index` of the playground; ends when there is none.
    fn ask_next(&mut self, index: usize) {
        let answers = &self.state.compare.answers;
        let all: Vec<Who> = answers.columns.iter().map(|answer| answer.who).collect();
        let Some(who) = all.get(index) else {
            self.state.compare.answers.working = None;
            return;
        };
        let command = Command::Generate {
            project: self.state.draft.folder.clone(),
            model: ModelRef {
                model: answers.base.clone(),
                adapters: adapters(std::slice::from_ref(who)),
                base: self.held_as(&all),
            },
            prompt: answers.asked.clone(),
            chat: !answers.plain,
            limits: answers.sampling.limits(),
        };
        let sent = self.ask(command, Ask::Answer(index)).is_some();
        self.state.compare.answers.working = sent.then_some(index);
    }

    /// What the engine says to the room Compare.
    pub(super) fn take_compare_event(&mut self, ask: &Ask, event: Event) {
        match (ask, event) {
            (Ask::Judge, Event::Comparison(part)) => self.state.compare.judged.take(part),
            (Ask::Answer(index), Event::Text { text, tokens, stop_reason, tokens_per_sec, .. }) => {
                self.state.compare.answers.take(*index, text, tokens, stop_reason, tokens_per_sec);
            }
            (Ask::Answer(index), Event::Done {}) => self.ask_next(index + 1),
            (Ask::Tidy, Event::Disk(disk)) => {
                if disk.freed_bytes > 0 {
                    self.notice(t!("compare-freed", size = crate::format::bytes(disk.freed_bytes)));
                }
                if disk.bytes > 0 {
                    self.state.compare.disk.insert(disk.run, disk);
                } else {
                    self.state.compare.disk.remove(&disk.run);
                }
            }
            (Ask::Tidy, Event::Done {}) => self.services.runs.nudge(),
            _ => {}
        }
    }

    /// A comparison or an answer did not come about, or was stopped.
    pub(super) fn compare_failed(&mut self, ask: &Ask, problem: Problem) {
        let stopped = problem.code == Code::Cancelled;
        match ask {
            Ask::Judge if !stopped => self.state.compare.judged.problem = Some(problem),
            Ask::Answer(_) if stopped => self.state.compare.answers.working = None,
            Ask::Answer(index) => {
                if let Some(answer) = self.state.compare.answers.columns.get_mut(*index) {
                    answer.problem = Some(problem.to_string());
                }
                self.ask_next(index + 1);
            }
            _ => {}
        }
    }
}

/// The runs as the engine names their adapters; the base has none.
fn adapters(runs: &[Who]) -> Vec<String> {
    runs.iter().flatten().map(|run| named::of_run(*run, None)).collect()
}
