//! Everything a person can do in the window, as values, and the one table that names it.
//!
//! Place in the data flow: buttons, the palette, shortcuts and menus push [`UiCommand`]s; `update` carries
//! them out. [`TABLE`] gives each command of general use its name, shortcut and condition: palette, menus,
//! shortcuts and help are built from it and from nothing else.

mod compared;
mod conditions;
pub mod keymap;
mod keys;
mod layers;
mod line;
mod moments;
mod race;
mod search;
pub mod table;

pub use keys::pressed;
pub use line::{Entry, entry};
pub use search::search;
pub use table::{Id, TABLE};

use crate::reader::XAxis;
use crate::reader::events::EventKind;
use crate::reader::ranks::Measure;
use crate::screen::{Format, Plot};
use crate::state::Room;
use crate::state::afterwards::After;
use crate::state::card::CardAct;
use crate::state::compare::CompareAct;
use crate::state::export::Certificate;
use crate::state::gallery::Filter;
use crate::state::lens::LensAct;
use crate::state::machine::MachineAct;
use crate::state::presets::PresetAct;
use crate::state::race::RaceAct;
use crate::state::rehouse::RehouseAct;
use crate::state::relink::RelinkAct;
use crate::state::settings::{LanguageChoice, ThemeChoice};
use crate::state::step_ask::StepAct;
use crate::state::watch::SideTab;
use keymap::KeysAct;
use std::cell::RefCell;
use std::path::PathBuf;
use temper_protocol::{Act, Project};

/// One thing a person does.
#[derive(Debug, Clone, PartialEq)]
pub enum UiCommand {
    /// To another room.
    Go(Room),
    /// Theme.
    Theme(ThemeChoice),
    /// Language.
    Language(LanguageChoice),
    /// Scale up (positive) or down.
    Zoom(i32),
    /// Scale 100 %.
    ZoomReset,
    /// Opens the palette.
    OpenPalette,
    /// Text in the palette, and the chosen entry.
    Palette(String, usize),
    /// Opens the help.
    OpenHelp,
    /// Opens the glossary, at a term if one is given by its key.
    Glossary(Option<&'static str>),
    /// Text in the search of the glossary.
    GlossaryQuery(String),
    /// Closes what lies over the room.
    CloseSheet,
    /// Chooses files by a dialog.
    ChooseFiles,
    /// Chooses a folder by a dialog.
    ChooseFolder,
    /// Chooses texts to keep by a dialog.
    ChooseKept,
    /// Opens the field for a path.
    EnterPath,
    /// Text in the field for a path.
    PathText(String),
    /// Files were dropped, chosen or typed.
    Drop(Vec<PathBuf>),
    /// What was dropped goes elsewhere.
    MoveDropped,
    /// The note about the drop goes away.
    ForgetDropped,
    /// Opens the bundled example.
    OpenExample {
        /// Whether to train at once.
        train: bool,
    },
    /// Opens a project.
    OpenProject(PathBuf),
    /// Takes a project off the list.
    ForgetRecent(PathBuf),
    /// An empty project.
    NewProject,
    /// Changes the project; edits of one key in a row are one for undo.
    Edit(String, Box<Project>),
    /// Takes an edit back.
    Undo,
    /// Makes it again.
    Redo,
    /// Text in the search for methods.
    MethodQuery(String),
    /// Which methods are listed.
    MethodFilter(Filter),
    /// Lists every method in the Method card, or the chosen one and a few.
    AllMethods(bool),
    /// Text in the search for sites.
    SiteQuery(String),
    /// Lists the layers of a module one by one, or of none.
    OpenModule(Option<String>),
    /// Shows or hides the rest of the settings.
    More(bool),
    /// Shows or hides the rows set aside.
    ShowAside(bool),
    /// Shows all roles that columns can have, or those in use.
    AllRoles(bool),
    /// Something with a person's own presets.
    Preset(PresetAct),
    /// Measures a step.
    Measure,
    /// Trains.
    Train,
    /// Folder for the new project, as typed.
    PlaceText(String),
    /// Creates the project there and trains.
    ConfirmPlace,
    /// Goes on with a run from its last checkpoint.
    Resume(u64),
    /// Asks how many steps the watched run shall have in all.
    AskLonger,
    /// That number, as typed.
    LongerText(String),
    /// Goes on with the run up to that step.
    ConfirmLonger,
    /// A new run that starts as the watched one was at the step under the scrub line: its settings go into the form.
    Branch,
    /// A new run that starts as the watched one was at its last checkpoint, at a quarter of its rate: both go into the form.
    BranchSlower,
    /// The run that the form starts from is forgotten: it starts from the base.
    ForgetStart,
    /// Shows the runs that wait.
    OpenQueue,
    /// What happens when the queue is done.
    After(After),
    /// Moves a run that waits, or takes it out.
    Tell(u64, Act),
    /// Steers the live run.
    Act(Act),
    /// Looks at a run.
    Watch(u64),
    /// Horizontal axis.
    XAxis(XAxis),
    /// Logarithmic losses.
    LogY(bool),
    /// The loss as a table.
    AsTable(bool),
    /// Visible steps.
    Zoomed(Option<(u64, u64)>),
    /// Step under the scrub line.
    Scrub(Option<u64>),
    /// Asking a step.
    StepAsk(StepAct),
    /// What the rank microscope colours.
    RankMeasure(Measure),
    /// The site in the rank microscope.
    Site(Option<String>),
    /// The site whose router is looked at, and the expert of it, from 0.
    Expert(String, usize),
    /// Which prompt's answers are shown.
    Prompt(usize),
    /// Which events are shown.
    Filter(Option<EventKind>),
    /// Part of the right column.
    Tab(SideTab),
    /// Draws another run behind the loss, or not any more.
    Beside(u64, bool),
    /// Draws all other runs behind the loss, or none.
    BesideAll(bool),
    /// Pixels that the plots are wide.
    PlotPx(u32),
    /// The loss series as a file.
    SaveCurves,
    /// The series of a plot that is not among the curves, as a file.
    SaveTable(Plot),
    /// A run as one HTML file.
    SaveReport(u64),
    /// A plot as a picture.
    SavePicture(Plot, Format),
    /// The series of a plot as a table to read.
    ShowTable(Plot),
    /// The series of a plot into the clipboard.
    CopyTable(Plot),
    /// The loss series into the clipboard.
    CopyCurves,
    /// Something in the room Compare.
    Compare(CompareAct),
    /// Something with a race of methods.
    Race(RaceAct),
    /// Something in the token lens.
    Lens(LensAct),
    /// Something with keys.
    Keys(KeysAct),
    /// Something with what is no longer there.
    Relink(RelinkAct),
    /// Something with the place of the project.
    Rehouse(RehouseAct),
    /// Something with the model card.
    Card(CardAct),
    /// The run that is exported.
    ExportRun(u64),
    /// Chooses an adapter folder to export by a dialog.
    ChooseAdapter,
    /// The adapter folder that is exported instead of a run; empty while none is chosen.
    ExportAdapter(String),
    /// The base of that adapter folder, where it is not the project's model.
    ExportBase(Option<String>),
    /// The target.
    ExportTarget(usize),
    /// Where to write.
    ExportOut(Option<String>),
    /// Writes the chosen target.
    Export,
    /// Writes an export again in its place.
    WriteAgain(Box<Certificate>),
    /// Checks an export again.
    Verify(PathBuf),
    /// Opens a folder in the system's file manager.
    Reveal(PathBuf),
    /// Text into the clipboard, and what it is.
    Copy(String, &'static str),
    /// Stops a request.
    Cancel(u64),
    /// Shows what a run of the project as it stands can leave as.
    ShowSupport,
    /// Shows the equal command line.
    ShowCommand,
    /// Shows the project file.
    ShowProjectFile,
    /// Replaces a damaged run database by what can be read of it.
    Repair,
    /// Runs the self-test.
    Doctor,
    /// Something with this machine.
    Machine(MachineAct),
    /// Forgets a problem of the engine.
    ForgetProblem,
    /// Closes the window.
    Quit,
    /// Closes the window and lets the run go on.
    CloseKeepRunning,
    /// Stops the run, keeps it, then closes.
    CloseStop,
}

/// Where panels put their commands.
#[derive(Debug, Default)]
pub struct Outbox(RefCell<Vec<UiCommand>>);

impl Outbox {
    /// Hands a command over.
    pub fn push(&self, command: UiCommand) {
        self.0.borrow_mut().push(command);
    }

    /// Takes all commands, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<UiCommand> {
        std::mem::take(&mut *self.0.borrow_mut())
    }
}
