//! The table of commands: name, help, icon, shortcut, condition, effect.

use super::{Outbox, UiCommand};
use crate::screen::{Format, Plot};
use crate::state::settings::ThemeChoice;
use crate::state::{Ask, Room, State};
use crate::theme::Icon;
use crate::theme::icons;
use egui::{Key, KeyboardShortcut, Modifiers};
use temper_protocol::Act;

/// Names a line of [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says what each is")]
pub enum Id {
    GoHome,
    GoSetup,
    GoWatch,
    GoExport,
    ChooseFiles,
    ChooseFolder,
    EnterPath,
    NewProject,
    OpenExample,
    TrainExample,
    Undo,
    Redo,
    Measure,
    Train,
    Pause,
    Resume,
    Stop,
    SaveNow,
    SampleNow,
    Continue,
    Live,
    ResetZoom,
    BesideAll,
    BesideNone,
    CopyCurves,
    SaveCurves,
    SaveForgetting,
    SaveRanks,
    LossPicture,
    RatesPicture,
    ForgettingPicture,
    RanksPicture,
    LossVector,
    RatesVector,
    ForgettingVector,
    RanksVector,
    Repair,
    Export,
    ShowCommand,
    ShowProjectFile,
    ShowFolder,
    Doctor,
    Dark,
    Light,
    SystemTheme,
    ZoomIn,
    ZoomOut,
    ZoomReset,
    Palette,
    Help,
    Quit,
}

/// A line of the table of commands.
pub struct Entry {
    /// Its key.
    pub id: Id,
    /// Its name, as buttons, menus and the palette show it.
    pub name: &'static str,
    /// One sentence for tooltips and the help.
    pub help: &'static str,
    /// Its icon.
    pub icon: Icon,
    /// Its keys.
    pub shortcut: Option<KeyboardShortcut>,
    /// Why it cannot be done now; nothing when it can.
    pub hindrance: fn(&State) -> Option<&'static str>,
    /// What it does.
    pub make: fn(&State) -> UiCommand,
}

const fn ctrl(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND, key))
}

const fn ctrl_shift(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key))
}

const fn plain(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::NONE, key))
}

fn always(_state: &State) -> Option<&'static str> {
    None
}

fn needs_project(state: &State) -> Option<&'static str> {
    (!state.draft.open).then_some("no project is open")
}

fn needs_folder(state: &State) -> Option<&'static str> {
    state.draft.folder.is_none().then_some("the project has no folder yet")
}

fn needs_both(state: &State) -> Option<&'static str> {
    if !state.draft.has_model() {
        Some("no model is chosen")
    } else if state.draft.project.data.train.is_empty() {
        Some("no data is chosen")
    } else {
        None
    }
}

fn can_train(state: &State) -> Option<&'static str> {
    if state.is_training() { Some("a run is going on") } else { needs_both(state) }
}

fn needs_live(state: &State) -> Option<&'static str> {
    state.live_run().is_none().then_some("no run is going on")
}

fn can_pause(state: &State) -> Option<&'static str> {
    match state.live_run() {
        None => Some("no run is going on"),
        Some(row) if row.status == "paused" => Some("the run is paused"),
        Some(_) => None,
    }
}

fn can_resume(state: &State) -> Option<&'static str> {
    match state.live_run() {
        Some(row) if row.status == "paused" => None,
        Some(_) => Some("the run is not paused"),
        None => Some("no run is going on"),
    }
}

fn can_continue(state: &State) -> Option<&'static str> {
    match state.watched() {
        Some(row) if state.is_interrupted(row) || row.status == "stopped" || row.status == "failed" => {
            if state.is_training() { Some("a run is going on") } else { None }
        }
        Some(_) => Some("the run is not interrupted"),
        None => Some("there is no run"),
    }
}

fn needs_run(state: &State) -> Option<&'static str> {
    state.watched().is_none().then_some("there is no run")
}

fn needs_kept(state: &State) -> Option<&'static str> {
    let measured = state.runs.view.as_ref().is_some_and(|view| view.kept_step.is_some());
    if measured { None } else { Some("no kept set was measured") }
}

fn needs_ranks(state: &State) -> Option<&'static str> {
    let measured = state.runs.view.as_ref().is_some_and(|view| !view.rank.steps.is_empty());
    if measured { None } else { Some("no rank was measured") }
}

fn needs_scrub(state: &State) -> Option<&'static str> {
    state.watch.scrub.is_none().then_some("the view is live already")
}

fn needs_zoom(state: &State) -> Option<&'static str> {
    state.watch.steps.is_none().then_some("the whole run is shown")
}

fn needs_others(state: &State) -> Option<&'static str> {
    (state.runs.runs.len() < 2).then_some("the project has no other run")
}

fn needs_beside(state: &State) -> Option<&'static str> {
    state.watch.beside.is_empty().then_some("no other run is drawn")
}

fn needs_damage(state: &State) -> Option<&'static str> {
    if !state.is_database_damaged() {
        Some("the run database is not damaged")
    } else if state.jobs.find(|ask| *ask == Ask::Repair).is_some() {
        Some("it is being repaired")
    } else {
        None
    }
}

fn can_export(state: &State) -> Option<&'static str> {
    if crate::update::export_run(state).is_none() {
        Some("no run has a result yet")
    } else if state.export.working.is_some() {
        Some("an export is being written")
    } else {
        let target = crate::state::export::TARGETS.get(state.export.target);
        let hindered = target.is_some_and(|target| crate::update::target_hindrance(state, target).is_some());
        hindered.then_some("the chosen target is not possible for this run")
    }
}

fn can_undo(state: &State) -> Option<&'static str> {
    (!state.draft.can_undo()).then_some("nothing to take back")
}

fn can_redo(state: &State) -> Option<&'static str> {
    (!state.draft.can_redo()).then_some("nothing to make again")
}

fn continue_run(state: &State) -> UiCommand {
    UiCommand::Resume(state.watched().map_or(0, |row| row.run))
}

fn reveal_project(state: &State) -> UiCommand {
    UiCommand::Reveal(state.draft.folder.clone().unwrap_or_default())
}

macro_rules! entries {
    ($(($id:ident, $name:literal, $help:literal, $icon:ident, $shortcut:expr, $hindrance:expr, $make:expr)),* $(,)?) => {
        &[$(Entry {
            id: Id::$id,
            name: $name,
            help: $help,
            icon: icons::$icon,
            shortcut: $shortcut,
            hindrance: $hindrance,
            make: $make,
        }),*]
    };
}

/// The table of commands.
pub static TABLE: &[Entry] = entries![
    (GoHome, "Go to Home", "Start, this machine, recent projects", HOUSE, ctrl(Key::Num1), always, |_| UiCommand::Go(
        Room::Home
    )),
    (
        GoSetup,
        "Go to Setup",
        "Model, data, method and what to keep",
        SLIDERS_HORIZONTAL,
        ctrl(Key::Num2),
        always,
        |_| { UiCommand::Go(Room::Setup) }
    ),
    (GoWatch, "Go to Watch", "The run: loss, forgetting, ranks, samples", CHART_LINE, ctrl(Key::Num3), always, |_| {
        UiCommand::Go(Room::Watch)
    }),
    (GoExport, "Go to Export", "Files to use elsewhere, with a certificate", EXPORT, ctrl(Key::Num4), always, |_| {
        UiCommand::Go(Room::Export)
    }),
    (ChooseFiles, "Choose files…", "Opens models, data or adapters", FILE_TEXT, ctrl(Key::O), always, |_| {
        UiCommand::ChooseFiles
    }),
    (
        ChooseFolder,
        "Choose folder…",
        "Opens a model folder or a project",
        FOLDER_OPEN,
        ctrl_shift(Key::O),
        always,
        |_| { UiCommand::ChooseFolder }
    ),
    (EnterPath, "Enter a path…", "Type or paste where a file is", TERMINAL, ctrl(Key::L), always, |_| {
        UiCommand::EnterPath
    }),
    (NewProject, "New empty project", "Starts over with nothing chosen", PLUS, ctrl(Key::N), always, |_| {
        UiCommand::NewProject
    }),
    (
        OpenExample,
        "Open the example",
        "Copies the bundled example and opens it ready to train",
        FOLDER_OPEN,
        None,
        always,
        |_| { UiCommand::OpenExample { train: false } }
    ),
    (TrainExample, "Open and train", "Opens the bundled example and trains it at once", PLAY, None, always, |_| {
        UiCommand::OpenExample { train: true }
    }),
    (Undo, "Undo", "Takes the last edit of the project back", ARROW_COUNTER_CLOCKWISE, ctrl(Key::Z), can_undo, |_| {
        UiCommand::Undo
    }),
    (Redo, "Redo", "Makes the edit again", ARROW_CLOCKWISE, ctrl_shift(Key::Z), can_redo, |_| UiCommand::Redo),
    (
        Measure,
        "Measure again",
        "Runs one real step and measures memory and time",
        CPU,
        ctrl(Key::M),
        needs_both,
        |_| { UiCommand::Measure }
    ),
    (Train, "Train", "Starts a run with these settings", PLAY, ctrl(Key::Enter), can_train, |_| UiCommand::Train),
    (Pause, "Pause", "Waits after the current micro-step", PAUSE, plain(Key::Space), can_pause, |_| UiCommand::Act(
        Act::Pause
    )),
    (Resume, "Go on", "Goes on where the run was paused", PLAY, plain(Key::Space), can_resume, |_| UiCommand::Act(
        Act::Resume
    )),
    (
        Stop,
        "Stop and keep",
        "Ends the run now; what it learnt stays and can be exported",
        STOP,
        ctrl_shift(Key::S),
        needs_live,
        |_| { UiCommand::Act(Act::Stop) }
    ),
    (SaveNow, "Save now", "Writes a checkpoint at the next step", FLOPPY_DISK, ctrl(Key::S), needs_live, |_| {
        UiCommand::Act(Act::SaveNow)
    }),
    (SampleNow, "Ask now", "Answers the sample prompts at the next step", CHAT_TEXT, None, needs_live, |_| {
        UiCommand::Act(Act::SampleNow)
    }),
    (
        Continue,
        "Go on from the last checkpoint",
        "Trains the interrupted run to its end",
        PLAY,
        None,
        can_continue,
        continue_run
    ),
    (Live, "Back to live", "Shows the newest step again", ARROW_LINE_RIGHT, plain(Key::End), needs_scrub, |_| {
        UiCommand::Scrub(None)
    }),
    (
        ResetZoom,
        "Show the whole run",
        "Resets the zoom of the plots",
        ARROW_COUNTER_CLOCKWISE,
        plain(Key::Home),
        needs_zoom,
        |_| { UiCommand::Zoomed(None) }
    ),
    (
        BesideAll,
        "Draw all other runs",
        "Their smoothed train losses, as thin lines behind this run's",
        CHART_LINE,
        None,
        needs_others,
        |_| { UiCommand::BesideAll(true) }
    ),
    (BesideNone, "Draw this run only", "Takes the other runs out of the loss plot", X, None, needs_beside, |_| {
        UiCommand::BesideAll(false)
    }),
    (CopyCurves, "Copy curves as CSV", "Step, loss, rate and norm into the clipboard", COPY, None, needs_run, |_| {
        UiCommand::CopyCurves
    }),
    (
        SaveCurves,
        "Save curves as CSV",
        "Writes step, loss, rate and norm beside the run",
        ROWS,
        None,
        needs_run,
        |_| { UiCommand::SaveCurves }
    ),
    (
        SaveForgetting,
        "Save forgetting as CSV",
        "Writes loss, KL and newly wrong of every kept set beside the run",
        ROWS,
        None,
        needs_kept,
        |_| { UiCommand::SaveTable(Plot::Forgetting) }
    ),
    (
        SaveRanks,
        "Save ranks as CSV",
        "Writes rank, effective rank and change of every layer beside the run",
        ROWS,
        None,
        needs_ranks,
        |_| { UiCommand::SaveTable(Plot::Ranks) }
    ),
    (LossPicture, "Save loss as PNG", "A picture of this plot beside the run", FLOPPY_DISK, None, needs_run, |_| {
        UiCommand::SavePicture(Plot::Loss, Format::Png)
    }),
    (RatesPicture, "Save rates as PNG", "A picture of this plot beside the run", FLOPPY_DISK, None, needs_run, |_| {
        UiCommand::SavePicture(Plot::Rates, Format::Png)
    }),
    (
        ForgettingPicture,
        "Save forgetting as PNG",
        "A picture of this plot beside the run",
        FLOPPY_DISK,
        None,
        needs_run,
        |_| { UiCommand::SavePicture(Plot::Forgetting, Format::Png) }
    ),
    (RanksPicture, "Save ranks as PNG", "A picture of this plot beside the run", FLOPPY_DISK, None, needs_run, |_| {
        UiCommand::SavePicture(Plot::Ranks, Format::Png)
    }),
    (
        LossVector,
        "Save loss as SVG",
        "This plot as shapes that scale, beside the run",
        FLOPPY_DISK,
        None,
        needs_run,
        |_| { UiCommand::SavePicture(Plot::Loss, Format::Svg) }
    ),
    (
        RatesVector,
        "Save rates as SVG",
        "This plot as shapes that scale, beside the run",
        FLOPPY_DISK,
        None,
        needs_run,
        |_| { UiCommand::SavePicture(Plot::Rates, Format::Svg) }
    ),
    (
        ForgettingVector,
        "Save forgetting as SVG",
        "This plot as shapes that scale, beside the run",
        FLOPPY_DISK,
        None,
        needs_run,
        |_| { UiCommand::SavePicture(Plot::Forgetting, Format::Svg) }
    ),
    (
        RanksVector,
        "Save ranks as SVG",
        "This plot as shapes that scale, beside the run",
        FLOPPY_DISK,
        None,
        needs_run,
        |_| { UiCommand::SavePicture(Plot::Ranks, Format::Svg) }
    ),
    (
        Repair,
        "Repair the run database",
        "Keeps the damaged file aside and lists the runs from what can be read and from their folders",
        SHIELD_CHECK,
        None,
        needs_damage,
        |_| { UiCommand::Repair }
    ),
    (
        Export,
        "Write and check",
        "Writes the chosen target, then compares it with the trained model",
        EXPORT,
        ctrl(Key::E),
        can_export,
        |_| { UiCommand::Export }
    ),
    (ShowCommand, "Show command", "The equal command line", TERMINAL, None, needs_both, |_| UiCommand::ShowCommand),
    (ShowProjectFile, "Project file", "The text of project.toml", FILE_CODE, None, needs_project, |_| {
        UiCommand::ShowProjectFile
    }),
    (
        ShowFolder,
        "Show project folder",
        "Opens it in the file manager",
        FOLDER_OPEN,
        None,
        needs_folder,
        reveal_project
    ),
    (Doctor, "Run the self-test", "Trains a small model and checks what it measures", CPU, None, always, |_| {
        UiCommand::Doctor
    }),
    (Dark, "Dark theme", "Light text on dark", MOON, None, always, |_| UiCommand::Theme(ThemeChoice::Dark)),
    (Light, "Light theme", "Dark text on light", SUN, None, always, |_| UiCommand::Theme(ThemeChoice::Light)),
    (SystemTheme, "Theme of the system", "Follows the system", CIRCLE, None, always, |_| UiCommand::Theme(
        ThemeChoice::System
    )),
    (ZoomIn, "Larger", "Everything ten per cent larger", PLUS, ctrl(Key::Plus), always, |_| UiCommand::Zoom(1)),
    (ZoomOut, "Smaller", "Everything ten per cent smaller", MAGNIFYING_GLASS, ctrl(Key::Minus), always, |_| {
        UiCommand::Zoom(-1)
    }),
    (ZoomReset, "Normal size", "Scale 100 %", EQUALS, ctrl(Key::Num0), always, |_| UiCommand::ZoomReset),
    (Palette, "Search commands", "Every action by name", MAGNIFYING_GLASS, ctrl(Key::K), always, |_| {
        UiCommand::OpenPalette
    }),
    (Help, "Help", "Shortcuts and the words used here", QUESTION, plain(Key::F1), always, |_| UiCommand::OpenHelp),
    (Quit, "Close the window", "Asks first when a run is going on", X, ctrl(Key::Q), always, |_| UiCommand::Quit),
];

/// A line of the table.
#[must_use]
pub fn entry(id: Id) -> &'static Entry {
    let found = TABLE.iter().find(|entry| entry.id == id);
    found.unwrap_or(&TABLE[0])
}

impl Entry {
    /// Whether it can be done now.
    #[must_use]
    pub fn enabled(&self, state: &State) -> bool {
        (self.hindrance)(state).is_none()
    }

    /// Its keys in words, for the system at hand.
    #[must_use]
    pub fn keys(&self, ctx: &egui::Context) -> Option<String> {
        let shortcut = self.shortcut.as_ref()?;
        // "Ctrl+1", not "Ctrl+Num1": egui's names of keys are good enough otherwise.
        Some(ctx.format_shortcut(shortcut))
    }
}

/// The commands whose keys were pressed. Keys without a modifier belong to a focused widget first.
pub fn pressed(ctx: &egui::Context, state: &State, out: &Outbox) {
    let typing = ctx.text_edit_focused();
    let focused = ctx.memory(|memory| memory.focused().is_some());
    // egui takes Ctrl+Shift+Z for Ctrl+Z as well, so the longer ones come first.
    let with_shift = |entry: &&Entry| entry.shortcut.is_some_and(|keys| keys.modifiers.shift);
    let longer_first = TABLE.iter().filter(with_shift).chain(TABLE.iter().filter(|entry| !with_shift(entry)));
    for entry in longer_first {
        let Some(shortcut) = &entry.shortcut else { continue };
        let bare = shortcut.modifiers.is_none() && shortcut.logical_key != Key::F1;
        if bare && (typing || focused || state.sheet.is_some()) {
            continue;
        }
        if typing && matches!(entry.id, Id::Undo | Id::Redo) {
            // The text field has an undo of its own.
            continue;
        }
        if entry.enabled(state) && ctx.input_mut(|input| input.consume_shortcut(shortcut)) {
            out.push((entry.make)(state));
        }
    }
}

/// Entries that match what was typed, best first: all words must occur, earlier is better.
#[must_use]
pub fn search(query: &str) -> Vec<&'static Entry> {
    let words: Vec<String> = query.to_lowercase().split_whitespace().map(str::to_owned).collect();
    let mut hits: Vec<(usize, usize, &'static Entry)> = Vec::new();
    for (index, entry) in TABLE.iter().enumerate() {
        if entry.id == Id::Palette {
            continue;
        }
        let name = entry.name.to_lowercase();
        let full = format!("{name} {}", entry.help.to_lowercase());
        let places: Option<Vec<usize>> = words.iter().map(|word| full.find(word.as_str())).collect();
        if let Some(places) = places {
            hits.push((places.iter().sum(), index, entry));
        }
    }
    hits.sort_by_key(|(place, index, _)| (*place, *index));
    hits.into_iter().map(|(_, _, entry)| entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_commands_that_can_both_be_done_share_keys_or_names() {
        for (index, first) in TABLE.iter().enumerate() {
            for second in &TABLE[index + 1..] {
                assert_ne!(first.name, second.name);
                assert_ne!(first.id, second.id);
                let shared = first.shortcut.is_some() && first.shortcut == second.shortcut;
                // One key pauses and goes on: never both at once.
                let toggles = matches!((first.id, second.id), (Id::Pause, Id::Resume));
                assert!(!shared || toggles, "{} and {}", first.name, second.name);
            }
        }
    }

    #[test]
    fn the_search_finds_by_any_word_and_prefers_the_name() {
        assert_eq!(search("pau").first().map(|entry| entry.id), Some(Id::Pause));
        assert_eq!(search("csv copy").first().map(|entry| entry.id), Some(Id::CopyCurves));
        assert!(search("xyzzy").is_empty());
        assert_eq!(search("").len(), TABLE.len() - 1);
    }

    #[test]
    fn each_id_has_its_line() {
        for line in TABLE {
            assert_eq!(entry(line.id).id, line.id);
            assert!(!line.help.is_empty());
        }
    }
}
