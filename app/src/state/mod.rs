//! Everything the window knows, as plain data: what is drawn follows from it and from nothing else.
//!
//! Place in the data flow: panels read a [`State`] and send [`crate::commands::UiCommand`]s; `update` and
//! `inbox` change it. No egui types beyond plot points, no files, no threads.

pub mod afterwards;
pub mod answers;
pub mod card;
pub mod columns;
pub mod compare;
pub mod compared;
pub mod draft;
pub mod drop;
pub mod earlier;
pub mod export;
pub mod gallery;
pub mod jobs;
pub mod judged;
mod labels;
pub mod layout;
pub mod lens;
pub mod lens_edit;
pub mod machine;
pub mod presets;
pub mod prices;
pub mod race;
pub mod rehouse;
pub mod relink;
pub mod remembered;
pub mod settings;
pub mod setup;
pub mod step_ask;
pub mod targets;
pub mod token_loss;
pub mod watch;

pub use draft::Draft;
pub use jobs::{Ask, Jobs};

use crate::files::Places;
use crate::reader::RunsSnapshot;
use crate::texts::Language;
use crate::theme::Look;
use settings::{Settings, ThemeChoice};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_protocol::{Event, MethodCard, Problem, named};
use temper_store::{INTERRUPTED, RunRow};

/// A room, in the order in which data flows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Room {
    /// Start, machine, recent projects.
    #[default]
    Home,
    /// Model, data, method, what to keep.
    Setup,
    /// A run while it goes on, and after.
    Watch,
    /// Several runs side by side.
    Compare,
    /// Files that leave the house, and their certificates.
    Export,
}

impl Room {
    /// Every room.
    pub const ALL: [Self; 5] = [Self::Home, Self::Setup, Self::Watch, Self::Compare, Self::Export];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Home => t!("common-home"),
            Self::Setup => t!("setup-title"),
            Self::Watch => t!("common-watch"),
            Self::Compare => t!("compare-title"),
            Self::Export => t!("preflight-export"),
        }
    }
}

/// The time of day, so that tests can stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The system's.
    System,
    /// Always this many milliseconds since 1970.
    Fixed(i64),
}

impl Clock {
    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_millis(self) -> i64 {
        match self {
            Self::Fixed(millis) => millis,
            Self::System => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

/// Something over the room: it takes the keyboard until it is closed.
#[derive(Debug, Clone, PartialEq)]
pub enum Sheet {
    /// The command palette.
    Palette {
        /// What was typed.
        query: String,
        /// The chosen entry.
        chosen: usize,
    },
    /// Shortcuts and words.
    Help,
    /// The token lens.
    Lens,
    /// The glossary.
    Glossary {
        /// What was typed into its search.
        query: String,
        /// Key of the chosen term; the first that is found when none.
        term: Option<&'static str>,
    },
    /// A text to read and copy: the command line, the project file.
    Text {
        /// Title.
        title: String,
        /// One sentence of explanation.
        note: String,
        /// The text.
        text: String,
    },
    /// Where a new project shall live, asked by the first training.
    Place {
        /// Folder, as typed.
        folder: String,
    },
    /// A path typed or pasted instead of a dialog.
    PathEntry {
        /// What was typed.
        text: String,
        /// Why there is no dialog; empty when the person chose this.
        reason: String,
    },
    /// How many steps a run shall have in all.
    Longer {
        /// The run.
        run: u64,
        /// Steps, as typed.
        steps: String,
    },
    /// The model card of the next export.
    Card {
        /// Its text, as edited.
        text: String,
    },
    /// What a run of the project as it stands can leave as.
    Support,
    /// A name for a preset of one's own.
    Preset {
        /// The name, as typed.
        name: String,
    },
    /// What was found is not what the project had.
    Mismatch {
        /// What was found.
        found: Box<Event>,
        /// In what it differs, a sentence each.
        differences: Vec<String>,
    },
    /// Where the project shall be copied or moved to.
    Rehouse(Box<rehouse::Rehouse>),
    /// The runs that wait.
    Queue,
    /// The races that are kept with the project.
    Races,
    /// The queue is done: the window closes, or the machine is shut down, unless somebody says no.
    Leaving,
    /// The self-test check by check, and the settings of the machine.
    Machine,
    /// The window shall close while a run goes on.
    Closing {
        /// The person chose to stop and keep; the window closes when the run has ended.
        waiting: bool,
    },
}

impl Sheet {
    /// Whether it stands in the room's place, so that nothing of the room would be seen. The lens scrolls: a room beneath
    /// it would take half of each frame.
    #[must_use]
    pub fn covers_room(&self) -> bool {
        matches!(self, Self::Lens)
    }
}

/// A command that waits for its new keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekey {
    /// The command.
    pub command: crate::commands::Id,
    /// Keys that were pressed and cannot be had, as words.
    pub wanted: String,
    /// Why not.
    pub why: String,
}

/// A message in the status bar that goes away by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The words.
    pub text: String,
    /// Until when, in seconds of the window's clock.
    pub until_secs: f64,
}

/// The engine, as the window sees it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineHealth {
    /// It could not be started, or broke.
    pub problem: Option<Problem>,
    /// The run it was training when it went away.
    pub lost_run: Option<u64>,
}

/// Everything the window knows.
#[derive(Debug)]
pub struct State {
    /// The room.
    pub room: Room,
    /// Whether the effective theme is the dark one.
    pub dark: bool,
    /// What is remembered.
    pub settings: Settings,
    /// The language of the system.
    pub system_language: Language,
    /// Whether the settings were read.
    pub settings_loaded: bool,
    /// Folders of the user.
    pub places: Places,
    /// Time of day.
    pub clock: Clock,
    /// Seconds since the window opened, from the last frame.
    pub now_secs: f64,
    /// Whether the window system reports files dropped on the window.
    pub drops_work: bool,
    /// The project being edited.
    pub draft: Draft,
    /// What was found out about paths: `model`, `dataset`, `adapter`, `project`, `unknown` events.
    pub known: BTreeMap<String, Event>,
    /// The registry.
    pub methods: Vec<MethodCard>,
    /// What methods train on the models that were looked at.
    pub prices: prices::Prices,
    /// The room Setup.
    pub setup: setup::Setup,
    /// The token lens.
    pub lens: lens::Lens,
    /// Files over the window.
    pub drop: drop::DropState,
    /// Requests that are not done.
    pub jobs: Jobs,
    /// The engine.
    pub engine: EngineHealth,
    /// The project's runs.
    pub runs: Arc<RunsSnapshot>,
    /// The room Watch.
    pub watch: watch::Watch,
    /// The race of methods that goes on or was the last one.
    pub race: Option<race::Race>,
    /// The races beside it: those that are kept, and the one that goes on while another is shown.
    pub races: race::Races,
    /// What happens when the queue is done.
    pub afterwards: afterwards::Afterwards,
    /// The room Compare.
    pub compare: compare::Compare,
    /// The room Export.
    pub export: export::Export,
    /// What lies over the room.
    pub sheet: Option<Sheet>,
    /// The command that waits for its new keys.
    pub rekey: Option<Rekey>,
    /// The disk copies or moves the project: nothing is written into its folder meanwhile, whatever lies over the room.
    pub rehousing: bool,
    /// Message in the status bar.
    pub notice: Option<Notice>,
}

impl State {
    /// A window that was just opened.
    #[must_use]
    pub fn new(places: Places, clock: Clock) -> Self {
        Self {
            room: Room::Home,
            dark: true,
            settings: Settings::default(),
            system_language: Language::English,
            settings_loaded: false,
            places,
            clock,
            now_secs: 0.0,
            drops_work: true,
            draft: Draft::default(),
            known: BTreeMap::new(),
            methods: Vec::new(),
            prices: prices::Prices::default(),
            setup: setup::Setup::default(),
            lens: lens::Lens::default(),
            drop: drop::DropState::default(),
            jobs: Jobs::default(),
            engine: EngineHealth::default(),
            runs: Arc::default(),
            watch: watch::Watch::default(),
            race: None,
            races: race::Races::default(),
            afterwards: afterwards::Afterwards::default(),
            compare: compare::Compare::default(),
            export: export::Export::default(),
            sheet: None,
            rekey: None,
            rehousing: false,
            notice: None,
        }
    }

    /// The theme that is shown.
    #[must_use]
    pub fn look(&self) -> Look {
        match (self.settings.theme, self.dark) {
            (ThemeChoice::Contrast, _) => Look::Contrast,
            (_, true) => Look::Dark,
            (_, false) => Look::Light,
        }
    }

    /// The language that the window speaks.
    #[must_use]
    pub const fn language(&self) -> Language {
        self.settings.language.language(self.system_language)
    }

    /// What was found out about the path of the project's model.
    #[must_use]
    pub fn model_facts(&self) -> Option<&Event> {
        self.known.get(&self.draft.resolve(&self.draft.project.model.path))
    }

    /// The chosen method's card.
    #[must_use]
    pub fn method(&self) -> Option<&MethodCard> {
        self.methods.iter().find(|card| card.id == self.draft.project.method.id)
    }

    /// The run that goes on, and whether an engine is at it.
    #[must_use]
    pub fn live_run(&self) -> Option<&RunRow> {
        let held = |row: &&RunRow| row.is_active() && self.is_held(row.run);
        let going = self.runs.runs.iter().find(|row| held(row) && !row.is_waiting());
        going.or_else(|| self.waiting_rows().into_iter().find(held)).or_else(|| self.runs.runs.iter().find(held))
    }

    /// Runs that wait for their turn, the next one first.
    #[must_use]
    pub fn waiting_rows(&self) -> Vec<&RunRow> {
        let row = |run: &u64| self.runs.runs.iter().find(|row| row.run == *run && row.is_waiting());
        self.runs.waiting.iter().filter_map(row).collect()
    }

    /// The status of a run as a person sees it: one that is on record as waiting, with nothing before it, prepares.
    #[must_use]
    pub fn status_of<'a>(&self, row: &'a RunRow) -> &'a str {
        let goes_on = |other: &&RunRow| other.run != row.run && other.is_active() && !other.is_waiting();
        let is_next = self.waiting_rows().first().is_none_or(|first| first.run == row.run);
        let waits = !is_next || self.runs.runs.iter().filter(goes_on).any(|other| self.is_held(other.run));
        if row.is_waiting() && !waits { "preparing" } else { &row.status }
    }

    /// Whether a run that is started now waits for its turn: our engine trains another one.
    #[must_use]
    pub fn can_queue(&self) -> bool {
        let starting = self.jobs.find(|ask| matches!(ask, Ask::Train { run: None, .. } | Ask::Race)).is_some();
        !starting && self.live_run().is_none_or(|row| self.trains(row.run))
    }

    /// Whether our engine trains `run` of the open project, or will.
    #[must_use]
    pub fn trains(&self, run: u64) -> bool {
        self.jobs.trains(self.draft.folder.as_deref(), run)
    }

    /// Whether an engine is at work on `run`: ours, or one that holds the project.
    #[must_use]
    pub fn is_held(&self, run: u64) -> bool {
        self.trains(run) || (self.runs.holder.is_some() && self.engine.lost_run != Some(run))
    }

    /// Whether anything is being trained, or is about to be.
    #[must_use]
    pub fn is_training(&self) -> bool {
        self.live_run().is_some() || self.jobs.find(Ask::trains).is_some()
    }

    /// The run that the room Watch shows.
    #[must_use]
    pub fn watched(&self) -> Option<&RunRow> {
        let view = self.runs.view.as_ref()?;
        Some(&view.row)
    }

    /// Whether `row` lost its engine and can go on from its last checkpoint.
    #[must_use]
    pub fn is_interrupted(&self, row: &RunRow) -> bool {
        row.status == INTERRUPTED || (row.is_active() && !self.is_held(row.run))
    }

    /// Whether the project's run database is damaged in a way that a repair helps: its problem names the command.
    #[must_use]
    pub fn is_database_damaged(&self) -> bool {
        [&self.runs.problem, &self.engine.problem].into_iter().flatten().any(names_repair)
    }

    /// The first CPU or GPU that the self-test found usable.
    #[must_use]
    pub fn device(&self) -> Option<&Event> {
        let report = self.settings.machine.as_ref()?;
        report.devices.iter().find(|device| matches!(device, Event::Device { usable: true, .. }))
    }
}

/// Whether what to do about a problem is a repair of the run database.
#[must_use]
pub fn names_repair(problem: &Problem) -> bool {
    problem.action.contains("--repair")
}

/// A path as the engine is asked about it: relative ones start at `folder`.
#[must_use]
pub fn resolve(folder: Option<&Path>, path: &str) -> String {
    if !named::is_path(path) {
        return path.to_owned();
    }
    let path = PathBuf::from(path);
    match folder {
        Some(folder) if path.is_relative() => folder.join(path).display().to_string(),
        _ => path.display().to_string(),
    }
}

/// The name under which the engine reports a kept set: `prose` of `builtin:prose`, `contracts` of a path.
#[must_use]
pub fn kept_name(probe: &str) -> String {
    match named::builtin(probe) {
        Some(name) => name.to_owned(),
        None => {
            let file = crate::format::file_name(probe);
            file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned()
        }
    }
}
