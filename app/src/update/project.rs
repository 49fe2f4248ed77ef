//! Commands about the project: dropping, editing, opening, and the questions that follow from an edit.

use super::{SAVE_AFTER_SECS, SAVE_AGAIN_SECS};
use crate::app::App;
use crate::commands::UiCommand;
use crate::files::Job;
use crate::format;
use crate::state::draft::switch_method;
use crate::state::drop::{Dropped, Target, path_of, targets};
use crate::state::setup::Card;
use crate::state::{Ask, Room, Sheet};
use egui::Context;
use std::path::PathBuf;
use temper_protocol::project::Source;
use temper_protocol::{Code, Command, Event, Problem, Project, Value, named};

/// Quiet before a step is measured: it costs more than reading.
const MEASURE_AFTER_SECS: f64 = 1.0;
/// Rows shown in the data card.
const PREVIEW_ROWS: usize = 8;

/// The card whose settings an edit key belongs to.
fn card_of_key(key: &str) -> Card {
    match key.split('.').next().unwrap_or_default() {
        "model" => Card::Model,
        "data" => Card::Data,
        "method" => Card::Method,
        "keep" | "samples" => Card::Keep,
        _ => Card::Preflight,
    }
}

impl App {
    /// Carries out what concerns the project; gives back what does not.
    pub(super) fn perform_project(&mut self, command: UiCommand) -> Option<UiCommand> {
        match command {
            UiCommand::Drop(paths) => self.drop_paths(paths),
            UiCommand::MoveDropped => self.move_dropped(),
            UiCommand::ForgetDropped => self.state.setup.dropped = None,
            UiCommand::OpenExample { train } => {
                self.services.files.send(Job::PlaceExample { name: "quickstart".to_owned(), train });
            }
            UiCommand::OpenProject(path) => self.load(path),
            UiCommand::ForgetRecent(path) => {
                self.state.settings.recents.retain(|recent| recent.path != path);
                self.save_settings();
            }
            UiCommand::NewProject => self.new_project(),
            UiCommand::Edit(key, project) => {
                let now = self.state.now_secs;
                self.state.setup.problems.remove(&card_of_key(&key));
                self.state.setup.problems.remove(&Card::Preflight);
                self.state.draft.edit(&key, *project, now);
            }
            UiCommand::Undo | UiCommand::Redo => {
                let now = self.state.now_secs;
                self.state.setup.problems.clear();
                self.state.setup.dropped = None;
                if command == UiCommand::Undo {
                    self.state.draft.undo(now);
                } else {
                    self.state.draft.redo(now);
                }
            }
            UiCommand::MethodQuery(text) => self.state.setup.method_query = text,
            UiCommand::MethodFilter(filter) => self.state.setup.method_filter = filter,
            UiCommand::AllMethods(all) => self.state.setup.all_methods = all,
            UiCommand::OpenModule(module) => self.state.setup.open_module = module,
            UiCommand::SiteQuery(text) => self.state.setup.site_query = text,
            UiCommand::More(more) => self.state.setup.more = more,
            UiCommand::ShowAside(show) => self.state.setup.show_aside = show,
            UiCommand::AllRoles(all) => self.state.setup.all_roles = all,
            UiCommand::Measure => {
                self.state.setup.problems.remove(&Card::Preflight);
                self.asked.preflight.clear();
                self.state.setup.preflight = None;
            }
            other => return Some(other),
        }
        None
    }

    /// Asks what dropped paths are, unless the answers are there from hovering.
    pub(crate) fn drop_paths(&mut self, paths: Vec<PathBuf>) {
        self.state.sheet = None;
        let drop = &mut self.state.drop;
        drop.hovering = false;
        if drop.complete && drop.paths == paths && !drop.verdicts.is_empty() {
            let verdicts = std::mem::take(&mut drop.verdicts);
            self.apply_drop(&verdicts);
        } else if !paths.is_empty() {
            self.ask(Command::Inspect { paths: paths.clone() }, Ask::Drop(paths));
        }
    }

    /// Puts dropped things where they belong.
    pub(super) fn apply_drop(&mut self, things: &[Event]) {
        let mut project = self.state.draft.project.clone();
        let replaced = project.data.train.clone();
        let mut placed: Vec<Dropped> = Vec::new();
        let mut data_seen = false;
        let meant_for = self.state.drop.meant_for.take();
        if self.drop_on_export(things, meant_for) {
            return;
        }
        for thing in things {
            let (Some(path), (mut target, mut other)) = (path_of(thing), targets(thing)) else { continue };
            if meant_for.is_some_and(|meant| meant != Target::Export) && other == meant_for {
                std::mem::swap(&mut target, &mut other);
            }
            let text = path.display().to_string();
            self.state.known.insert(text.clone(), thing.clone());
            let Some(target) = target else {
                self.refuse(thing);
                continue;
            };
            if target == Target::Project {
                self.load(path.clone());
                return;
            }
            if self.is_other(thing, target) {
                return;
            }
            if let Some(problem) = self.no_method_of(thing).filter(|_| target == Target::Method) {
                self.state.setup.problems.insert(Card::Method, problem);
                continue;
            }
            if target == Target::Data && data_seen {
                project.data.train.push(Source::Path(text.clone()));
            } else {
                self.place(&mut project, thing, target);
            }
            data_seen |= target == Target::Data;
            let said = said(target, &text);
            let replaced = replaced.clone();
            placed.push(Dropped { text: said, path: text, target, other, edit: None, alone: true, replaced });
        }
        self.state.room = Room::Setup;
        let Some(last) = placed.pop() else { return };
        if project.name.is_empty() {
            project.name = name_from(&project);
        }
        let now = self.state.now_secs;
        let edit = self.state.draft.edit("", project, now);
        self.state.draft.open = true;
        self.state.setup.dropped = Some(Dropped { edit, alone: placed.is_empty(), ..last });
    }

    pub(super) fn place(&mut self, project: &mut Project, thing: &Event, target: Target) {
        let path = path_of(thing).map(|path| path.display().to_string()).unwrap_or_default();
        match (target, thing) {
            (Target::Model, _) => {
                project.model.path = path;
                self.state.setup.problems.remove(&Card::Model);
            }
            (Target::Data, _) => {
                if !self.in_place_of_missing(&mut project.data.train, &path) {
                    project.data.train = vec![Source::Path(path)];
                }
                self.state.setup.problems.remove(&Card::Data);
            }
            (Target::Keep, _) => {
                if !project.keep.probes.contains(&path) {
                    project.keep.probes.push(path);
                }
                self.state.setup.problems.remove(&Card::Keep);
            }
            (Target::Method, Event::Adapter { method, rank, .. }) => {
                let card = |id: &str| self.state.methods.iter().find(|card| card.id == id);
                let Some(new) = card(method) else { return };
                let old = card(&project.method.id);
                switch_method(project, old, new);
                if *rank > 0 && new.settings.iter().any(|setting| setting.key == "rank") {
                    let rank = i64::try_from(*rank).unwrap_or(i64::MAX);
                    project.method.settings.0.insert("rank".to_owned(), Value::Integer(rank));
                }
                self.state.setup.problems.remove(&Card::Method);
            }
            _ => {}
        }
        self.state.setup.problems.remove(&Card::Preflight);
    }

    /// Why a project cannot take the method of an adapter; nothing when it can. Some folders are read that no method here
    /// has the structure of, and a project with the name of none cannot be trained.
    fn no_method_of(&self, thing: &Event) -> Option<Problem> {
        let Event::Adapter { path, method, .. } = thing else { return None };
        let methods = &self.state.methods;
        if methods.iter().any(|card| card.id == *method) {
            return None;
        }
        let path = path.display().to_string();
        // The engine says them when it starts.
        let (what, action) = if methods.is_empty() {
            (t!("method-asking").to_owned(), t!("problem-wait"))
        } else {
            (t!("problem-no-method", method = method), t!("problem-no-method-action"))
        };
        Some(Problem::new(Code::Refused, what, path, action))
    }

    /// A thing that cannot be used is a problem of the card it was most likely meant for.
    fn refuse(&mut self, thing: &Event) {
        let Event::Unknown { path, why } = thing else { return };
        let extension = path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default();
        let (card, action) = match extension.as_str() {
            "gguf" | "safetensors" | "bin" | "pt" | "pth" | "ckpt" | "pkl" => (Card::Model, t!("problem-drop-model")),
            "json" | "jsonl" | "csv" | "tsv" | "parquet" | "txt" | "md" => (Card::Data, t!("problem-drop-data")),
            _ => (Card::Preflight, t!("problem-drop-any")),
        };
        // "what: why and what to do": the first part is the title, the rest stands below the path.
        let (what, action) = why.split_once(": ").map_or((why.as_str(), action), |(what, rest)| (what, rest));
        let problem = Problem::new(Code::Refused, what, path.display().to_string(), action);
        self.state.setup.problems.insert(card, problem);
    }

    fn move_dropped(&mut self) {
        let Some(dropped) = self.state.setup.dropped.take() else { return };
        let Some(other) = dropped.other else { return };
        let Some(thing) = self.state.known.get(&dropped.path).cloned() else { return };
        let now = self.state.now_secs;
        let mut project = dropped.take_back(&mut self.state.draft, now);
        if other == Target::Export {
            self.export_adapter(dropped.path);
            return;
        }
        let replaced = project.data.train.clone();
        self.place(&mut project, &thing, other);
        let edit = self.state.draft.edit("", project, now);
        self.state.setup.dropped = Some(Dropped {
            text: said(other, &dropped.path),
            target: other,
            other: Some(dropped.target),
            path: dropped.path,
            edit,
            alone: true,
            replaced,
        });
    }

    /// Saves edits after a moment of quiet.
    pub(super) fn save_edits(&mut self, ctx: &Context) {
        let draft = &mut self.state.draft;
        if draft.is_saved() || draft.saving_revision == draft.revision {
            return;
        }
        if self.state.rehousing {
            // Its folder is on the way to another place.
            return;
        }
        let quiet = self.state.now_secs - draft.edited_secs;
        if quiet < SAVE_AFTER_SECS && !self.state.setup.train_wanted {
            ctx.request_repaint_after_secs((SAVE_AFTER_SECS - quiet) as f32 + 0.01);
            return;
        }
        let wait = draft.wait_secs(self.state.now_secs, SAVE_AGAIN_SECS).filter(|_| !self.state.setup.train_wanted);
        if let Some(wait) = wait {
            ctx.request_repaint_after_secs(wait as f32 + 0.01);
            return;
        }
        self.save_now();
    }

    /// Asks for what the cards do not know yet.
    pub(super) fn ask_for_cards(&mut self, ctx: &Context) {
        if !self.state.draft.open {
            return;
        }
        self.ask_paths();
        let draft = &self.state.draft;
        if !draft.is_saved() || !draft.has_both() {
            return;
        }
        let project = draft.engine_folder(&self.state.places.draft());
        let (data, run) = self.asked.fingerprints.of(draft);
        if self.asked.preview != data {
            let data = data.to_owned();
            if let Some((request, _)) = self.state.jobs.find(|ask| matches!(ask, Ask::Preview(_))) {
                self.ask(Command::CancelRequest { target: request }, Ask::Cancel);
            }
            self.asked.preview.clone_from(&data);
            self.state.setup.problems.remove(&Card::Data);
            if let Some((request, _)) = self.state.jobs.find(|ask| matches!(ask, Ask::Peek(_))) {
                self.ask(Command::CancelRequest { target: request }, Ask::Cancel);
            }
            self.ask(Command::Peek { project: project.clone(), rows: PREVIEW_ROWS }, Ask::Peek(data.clone()));
            self.ask(Command::Preview { project, rows: PREVIEW_ROWS }, Ask::Preview(data));
            return;
        }
        // Whether another engine trains here is known with the first look into the store.
        if self.state.draft.folder.is_some() && self.state.runs.project != self.state.draft.folder {
            return;
        }
        let previewed = self.state.setup.preview.as_ref().is_some_and(|answer| {
            // A measurement beside the reading of all rows would measure both.
            let read = matches!(answer.event, Event::Preview { estimated: false, .. });
            answer.fingerprint == data && read
        });
        // Only in Setup: elsewhere nobody sees the figures, and a measurement takes all processors.
        let elsewhere = self.state.room != Room::Setup;
        let busy = self.state.is_training() || self.state.setup.train_wanted;
        if !previewed || self.asked.preflight == run || elsewhere || busy {
            return;
        }
        let run = run.to_owned();
        let quiet = self.state.now_secs - self.state.draft.edited_secs;
        if quiet < MEASURE_AFTER_SECS {
            ctx.request_repaint_after_secs((MEASURE_AFTER_SECS - quiet) as f32 + 0.01);
            return;
        }
        if let Some((request, _)) = self.state.jobs.find(|ask| matches!(ask, Ask::Preflight(_))) {
            self.ask(Command::CancelRequest { target: request }, Ask::Cancel);
        }
        self.asked.preflight.clone_from(&run);
        self.ask(Command::Preflight { project }, Ask::Preflight(run));
    }

    /// Asks what the project's model and data are.
    fn ask_paths(&mut self) {
        let draft = &self.state.draft;
        let model = draft.has_model().then(|| draft.resolve(&draft.project.model.path));
        let data = draft.project.data.train.iter().map(|source| draft.resolve(source.path()));
        let unknown: Vec<String> = model
            .into_iter()
            .chain(data)
            .filter(|path| named::random(path).is_none())
            .filter(|path| !self.state.known.contains_key(path) && !self.asked.paths.contains(path))
            .collect();
        for path in unknown {
            self.asked.paths.insert(path.clone());
            self.ask(Command::Inspect { paths: vec![PathBuf::from(&path)] }, Ask::Path(path));
        }
    }

    /// Opens the question where a new project shall live.
    pub(super) fn ask_place(&mut self, folder: &std::path::Path) {
        self.state.sheet = Some(Sheet::Place { folder: folder.display().to_string() });
    }
}

/// The draft's file lies elsewhere than the project will, so its paths must not be relative.
pub(super) fn make_absolute(project: &mut Project) {
    let fix = |path: &mut String| {
        if named::is_path(path)
            && let Ok(absolute) = std::path::absolute(&*path)
        {
            *path = absolute.display().to_string();
        }
    };
    fix(&mut project.model.path);
    for source in project.data.train.iter_mut().chain(&mut project.model.adapters) {
        match source {
            Source::Path(path) | Source::Weighted { path, .. } => fix(path),
        }
    }
    project.keep.probes.iter_mut().for_each(fix);
}

fn said(target: Target, path: &str) -> String {
    let name = format::plain_name(path);
    match target {
        Target::Model => t!("notice-is-model", name = name),
        Target::Data => t!("notice-is-data", name = name),
        Target::Method => t!("notice-is-method", name = name),
        Target::Keep => t!("notice-is-kept", name = name),
        Target::Project => t!("notice-opened", name = name),
        Target::Export => t!("notice-is-exported", name = name),
    }
}

/// A new project is named after its data, or its model while there is no data.
fn name_from(project: &Project) -> String {
    let path = project.data.train.first().map_or(project.model.path.as_str(), Source::path);
    let name = format::plain_name(path);
    let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
    let letters = stem.chars().map(|letter| if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { '-' });
    let plain: String = letters.collect();
    plain.trim_matches('-').to_owned()
}
