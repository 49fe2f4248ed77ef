//! Every command of the table by keyboard alone: by its own keys and by its name typed into the palette, in a state
//! where it can be done, with the effect it promises. A command without a case does not compile.

use crate::compared::compared;
use crate::kit::{self, Window};
use crate::step_scenes::{step_ask_empty, waiting};
use crate::{compare, export_scenes, race_scenes, report, scenes};
use egui::{Event, Key, KeyboardShortcut, Modifiers, OutputCommand, ViewportCommand};
use std::collections::BTreeSet;
use std::path::PathBuf;
use temper::commands::{Entry, Id, TABLE, UiCommand, entry};
use temper::dialogs::Pick;
use temper::state::afterwards::After;
use temper::state::compare::Part;
use temper::state::race::RaceAct;
use temper::state::settings::{LanguageChoice, ThemeChoice};
use temper::state::{Room, Sheet, State};
use temper::testing::Stage;
use temper::theme::Look;
use temper_protocol::housekeeping::Housekeeping;
use temper_protocol::{Act, Command, RunRef};

/// What shows that a command was carried out.
enum Proof {
    /// The state is so, and was not before.
    State(fn(&State) -> bool),
    /// This is the other way round than before.
    Turned(fn(&State) -> bool),
    /// The engine is told this once more.
    Engine(fn(&Command) -> bool),
    /// The run of another process is told this, through the store.
    Store(fn(&Command) -> bool),
    /// A file of this name is in the folder of the run or of the project, and was not before.
    File(&'static str),
    /// A text like this is put into the clipboard.
    Copied(fn(&str) -> bool),
    /// This dialog is opened.
    Dialog(Pick),
    /// The system is asked to show a folder.
    Shown,
    /// The window is asked to close.
    Closes,
}

/// A state in which a command can be done, and what shows that it was.
struct Case {
    ready: fn(&mut Window, &Stage),
    proof: Proof,
}

fn case(id: Id) -> Case {
    use Proof::{Closes, Copied, Dialog, Engine, File, Shown, State as Is, Store, Turned};
    let (ready, proof): (fn(&mut Window, &Stage), Proof) = match id {
        Id::GoHome => (opened, Is(|state| state.room == Room::Home)),
        Id::GoSetup => (finished, Is(|state| state.room == Room::Setup)),
        Id::GoWatch => (opened, Is(|state| state.room == Room::Watch)),
        Id::GoCompare => (opened, Is(|state| state.room == Room::Compare)),
        Id::GoExport => (opened, Is(|state| state.room == Room::Export)),
        Id::ChooseFiles => (opened, Dialog(Pick::Files)),
        Id::ChooseFolder => (opened, Dialog(Pick::Folder)),
        Id::EnterPath => (opened, Is(|state| matches!(state.sheet, Some(Sheet::PathEntry { .. })))),
        Id::NewProject => (opened, Is(|state| state.draft.folder.is_none())),
        Id::OpenExample => (nothing, Engine(|command| matches!(command, Command::CopyExample { .. }))),
        Id::TrainExample => (nothing, Engine(|command| matches!(command, Command::Train { resume: None, .. }))),
        Id::Undo => (edited, Is(|state| state.draft.project.train.seed == 42)),
        Id::Redo => (taken_back, Is(|state| state.draft.project.train.seed == 7)),
        Id::TokenLens => (opened, Is(|state| state.sheet == Some(Sheet::Lens))),
        Id::SavePreset => (opened, Is(|state| matches!(state.sheet, Some(Sheet::Preset { .. })))),
        Id::Measure => (opened, Engine(|command| matches!(command, Command::Preflight { .. }))),
        Id::Train => (opened, Engine(|command| matches!(command, Command::Train { resume: None, .. }))),
        Id::RaceMethods => (opened, Is(|state| state.setup.racing)),
        Id::StartRace => (ticked, Engine(race_scenes::is_race)),
        Id::StopRace => (racing, Engine(|command| matches!(command, Command::CancelRequest { .. }))),
        Id::ShowRace => (race_left, Is(|state| state.watch.race)),
        Id::PastRaces => (races_there, Is(|state| state.sheet == Some(Sheet::Races))),
        Id::UseWinner => (race_scenes::race_won, Is(|state| state.draft.project.method.id == "dora")),
        Id::CopyRace => (racing, Copied(is_table)),
        Id::SaveRace => (racing, File("race.csv")),
        Id::RacePng => (racing, File("race.png")),
        Id::RaceSvg => (racing, File("race.svg")),
        Id::Pause => (running, Store(|command| tells(command, Act::Pause))),
        Id::Resume => (paused, Store(|command| tells(command, Act::Resume))),
        Id::Stop => (running, Store(|command| tells(command, Act::Stop))),
        Id::FreeMemory => (paused, Store(|command| tells(command, Act::Stop))),
        Id::SaveNow => (running, Store(|command| tells(command, Act::SaveNow))),
        Id::SampleNow => (running, Store(|command| tells(command, Act::SampleNow))),
        Id::Continue => (stopped, Engine(|command| goes_on_with(command, 7))),
        Id::Queue => (waiting, Is(|state| state.sheet == Some(Sheet::Queue))),
        Id::AfterNothing => (after_chosen, Is(|state| state.afterwards.wish == After::Nothing)),
        Id::AfterClose => (waiting, Is(|state| state.afterwards.wish == After::Close)),
        Id::AfterShutDown => (waiting, Is(|state| state.afterwards.wish == After::ShutDown)),
        Id::Extend => (finished, Is(|state| matches!(state.sheet, Some(Sheet::Longer { run: 7, .. })))),
        Id::Branch => (scrubbed, Is(|state| state.draft.project.train.from.as_deref() == Some("run:7@250"))),
        Id::Live => (scrubbed, Is(|state| state.watch.scrub.is_none())),
        Id::EarlierState => (scrubbed, Is(|state| state.watch.scrub == Some(250))),
        Id::LaterState => (scrubbed, Is(|state| state.watch.scrub == Some(275))),
        Id::StepAskOpen => (finished, Is(|state| state.watch.ask.open)),
        Id::StepAskNow => (step_ask_empty, Engine(is_prompt)),
        Id::StepAskClose => (step_ask_empty, Is(|state| !state.watch.ask.open)),
        Id::ResetZoom => (zoomed, Is(|state| state.watch.steps.is_none())),
        Id::BesideAll => (finished, Is(|state| !state.watch.beside.is_empty())),
        Id::BesideNone => (beside, Is(|state| state.watch.beside.is_empty())),
        Id::CopyCurves => (finished, Copied(is_table)),
        Id::SaveCurves => (finished, File("curves.csv")),
        Id::SaveForgetting => (finished, File("forgetting.csv")),
        Id::SaveRanks => (finished, File("ranks.csv")),
        Id::RatesTable => (finished, Is(|state| reads(state, "learning_rate"))),
        Id::ForgettingTable => (finished, Is(|state| reads(state, "loss_delta"))),
        Id::RanksTable => (finished, Is(|state| reads(state, "effective_rank"))),
        Id::LossPicture => (finished, File("loss.png")),
        Id::RatesPicture => (finished, File("rates.png")),
        Id::ForgettingPicture => (finished, File("forgetting.png")),
        Id::RanksPicture => (finished, File("ranks.png")),
        Id::LossVector => (finished, File("loss.svg")),
        Id::RatesVector => (finished, File("rates.svg")),
        Id::ForgettingVector => (finished, File("forgetting.svg")),
        Id::RanksVector => (finished, File("ranks.svg")),
        Id::SpectrumTable | Id::SpectrumCsv | Id::SpectrumPng | Id::SpectrumSvg => microscope(id),
        Id::HistoryTable | Id::HistoryCsv | Id::HistoryPng | Id::HistorySvg => microscope(id),
        Id::ExpertsTable | Id::ExpertsCsv | Id::ExpertsPng | Id::ExpertsSvg => microscope(id),
        Id::Report => (reportable, File(temper::report::FILE_NAME)),
        Id::Repair => (damaged, Engine(|command| matches!(command, Command::Repair { .. }))),
        Id::Judge => (chosen, Engine(|command| matches!(command, Command::Compare { .. }))),
        Id::AskAll => (chosen, Engine(is_prompt)),
        Id::SaveRows => (everything, File("compared-rows.csv")),
        Id::CopyCompared => (everything, Copied(is_table)),
        Id::SaveCompared => (everything, File("compared-losses.csv")),
        Id::ComparedPng => (chosen, File("compared-losses.png")),
        Id::ComparedSvg => (chosen, File("compared-losses.svg")),
        Id::Smooth => (chosen, Turned(|state| state.compare.smooth)),
        Id::LogLosses => (chosen, Turned(|state| state.compare.log_y)),
        Id::ResetCompared => (everything, Is(|state| state.compare.zoom.is_none())),
        Id::CopyTradeoff => (chosen, Copied(is_table)),
        Id::SaveTradeoff => (chosen, File("loss-over-forgetting.csv")),
        Id::TradeoffPng => (chosen, File("loss-over-forgetting.png")),
        Id::TradeoffSvg => (chosen, File("loss-over-forgetting.svg")),
        Id::OrderRuns => (finished, Is(|state| state.room == Room::Compare && state.compare.part == Part::Order)),
        Id::StarRun => (finished, Engine(stars)),
        Id::TrashRun => (finished, Engine(|command| orders(command, &Housekeeping::Trash { runs: vec![7] }))),
        Id::PruneAll => (finished, Engine(|command| orders(command, &Housekeeping::Prune { runs: Vec::new() }))),
        Id::Export => (finished, Engine(|command| matches!(command, Command::Export { .. }))),
        Id::ChooseAdapter => (opened, Dialog(Pick::Folder)),
        Id::ModelCard => (exportable, Is(|state| matches!(state.sheet, Some(Sheet::Card { .. })))),
        Id::Support => (opened, Is(|state| state.sheet == Some(Sheet::Support))),
        Id::ShowCommand => (opened, Is(|state| reads(state, "temper train "))),
        Id::ShowProjectFile => (opened, Is(|state| reads(state, "[method]"))),
        Id::ShowFolder => (opened, Shown),
        Id::DuplicateProject => (opened, Is(|state| rehouses(state, false))),
        Id::MoveProject => (opened, Is(|state| rehouses(state, true))),
        Id::Doctor => (opened, Engine(|command| matches!(command, Command::Doctor {}))),
        Id::Machine => (opened, Is(|state| state.sheet == Some(Sheet::Machine))),
        Id::Battery => (opened, Turned(|state| state.settings.pause_on_battery)),
        Id::Dark => (light, Is(|state| state.look() == Look::Dark)),
        Id::Light => (opened, Is(|state| state.look() == Look::Light)),
        Id::Contrast => (opened, Is(|state| state.look() == Look::Contrast)),
        Id::SystemTheme => (opened, Is(|state| state.settings.theme == ThemeChoice::System)),
        Id::SystemLanguage => (opened, Is(|state| state.settings.language == LanguageChoice::System)),
        Id::English => (german, Is(|state| state.settings.language == LanguageChoice::English)),
        Id::German => (opened, Is(|state| state.settings.language == LanguageChoice::German)),
        Id::ZoomIn => (opened, Is(|state| state.settings.zoom > 1.05)),
        Id::ZoomOut => (opened, Is(|state| state.settings.zoom < 0.95)),
        Id::ZoomReset => (large, Is(|state| (state.settings.zoom - 1.0).abs() < 1e-3)),
        Id::Palette => (opened, Is(|state| matches!(state.sheet, Some(Sheet::Palette { .. })))),
        Id::Glossary => (opened, Is(|state| matches!(state.sheet, Some(Sheet::Glossary { .. })))),
        Id::Help => (opened, Is(|state| state.sheet == Some(Sheet::Help))),
        Id::ResetKeys => (own_keys, Is(|state| state.settings.keys.is_empty())),
        Id::Quit => (opened, Closes),
    };
    Case { ready, proof }
}

/// The commands about one layer and about experts: each is read as a table, and saved as figures, pixels and shapes.
fn microscope(id: Id) -> (fn(&mut Window, &Stage), Proof) {
    match id {
        Id::SpectrumTable => (finished, Proof::State(|state| reads(state, "singular_value"))),
        Id::SpectrumCsv => (finished, Proof::File("spectrum.csv")),
        Id::SpectrumPng => (finished, Proof::File("spectrum.png")),
        Id::SpectrumSvg => (finished, Proof::File("spectrum.svg")),
        Id::HistoryTable => (finished, Proof::State(|state| reads(state, "effective_rank  change_share"))),
        Id::HistoryCsv => (finished, Proof::File("rank-history.csv")),
        Id::HistoryPng => (finished, Proof::File("rank-history.png")),
        Id::HistorySvg => (finished, Proof::File("rank-history.svg")),
        Id::ExpertsTable => (routed, Proof::State(|state| reads(state, "entropy_nats"))),
        Id::ExpertsCsv => (routed, Proof::File("experts.csv")),
        Id::ExpertsPng => (routed, Proof::File("experts.png")),
        Id::ExpertsSvg => (routed, Proof::File("experts.svg")),
        other => panic!("{other:?} is no command about a layer"),
    }
}

fn tells(command: &Command, wanted: Act) -> bool {
    matches!(command, Command::Control { run: 7, act, .. } if *act == wanted)
}

fn goes_on_with(command: &Command, run: u64) -> bool {
    matches!(command, Command::Train { resume: Some(RunRef::Id(resumed)), .. } if *resumed == run)
}

fn is_prompt(command: &Command) -> bool {
    matches!(command, Command::Generate { .. })
}

fn orders(command: &Command, wanted: &Housekeeping) -> bool {
    matches!(command, Command::Housekeep { order, .. } if order == wanted)
}

fn stars(command: &Command) -> bool {
    let Command::Housekeep { order: Housekeeping::Label { run: 7, change }, .. } = command else { return false };
    change.starred == Some(true)
}

fn is_table(text: &str) -> bool {
    text.lines().count() > 3 && text.lines().all(|line| line.contains(','))
}

/// Whether a sheet shows a text with these words in it.
fn reads(state: &State, words: &str) -> bool {
    matches!(&state.sheet, Some(Sheet::Text { text, .. }) if text.contains(words))
}

fn rehouses(state: &State, moves: bool) -> bool {
    matches!(&state.sheet, Some(Sheet::Rehouse(asked)) if asked.moves == moves)
}

fn nothing(_window: &mut Window, _stage: &Stage) {}

fn opened(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
}

fn edited(window: &mut Window, stage: &Stage) {
    opened(window, stage);
    let mut project = window.state().state.draft.project.clone();
    project.train.seed = 7;
    kit::send(window, UiCommand::Edit(String::new(), Box::new(project)));
}

fn taken_back(window: &mut Window, stage: &Stage) {
    edited(window, stage);
    kit::send(window, UiCommand::Undo);
}

fn project_folder(stage: &Stage) -> PathBuf {
    stage.places.projects.join("customer-tone")
}

fn run_folder(stage: &Stage) -> PathBuf {
    project_folder(stage).join("runs/0007")
}

/// A finished run, with a folder of its own for what is saved.
fn finished(window: &mut Window, stage: &Stage) {
    let folder = kit::open(window, stage);
    let mut view = kit::view(7, "finished", 1200);
    view.row.folder = run_folder(stage);
    std::fs::create_dir_all(&view.row.folder).expect("run folder");
    stage.runs.publish(kit::snapshot(&folder, view, false));
    window.run();
    kit::send(window, UiCommand::Go(Room::Watch));
}

/// The same with routers on some layers; their load is not shown yet.
fn routed(window: &mut Window, stage: &Stage) {
    finished(window, stage);
    let mut view = scenes::routed_view("finished", 1200);
    view.row.folder = run_folder(stage);
    stage.runs.publish(kit::snapshot(&project_folder(stage), view, false));
    window.run();
}

fn running(window: &mut Window, stage: &Stage) {
    scenes::run(window, stage, "running", 412);
}

fn paused(window: &mut Window, stage: &Stage) {
    scenes::run(window, stage, "paused", 412);
}

fn stopped(window: &mut Window, stage: &Stage) {
    scenes::run(window, stage, "stopped", 412);
}

/// Between the states kept at steps 250 and 275.
fn scrubbed(window: &mut Window, stage: &Stage) {
    finished(window, stage);
    kit::send(window, UiCommand::Scrub(Some(260)));
}

fn zoomed(window: &mut Window, stage: &Stage) {
    finished(window, stage);
    kit::send(window, UiCommand::Zoomed(Some((10, 200))));
}

fn beside(window: &mut Window, stage: &Stage) {
    finished(window, stage);
    kit::send(window, UiCommand::Beside(6, true));
}

fn damaged(window: &mut Window, stage: &Stage) {
    let folder = kit::open(window, stage);
    stage.runs.publish(scenes::unreadable(&folder));
    window.run();
}

fn chosen(window: &mut Window, stage: &Stage) {
    compared(window, stage);
}

fn everything(window: &mut Window, stage: &Stage) {
    let folder = compared(window, stage);
    compare::everything(window, stage, &folder);
}

/// Two methods are ticked for a race.
fn ticked(window: &mut Window, stage: &Stage) {
    opened(window, stage);
    race_scenes::tick(window);
}

/// A race after its first round of two.
fn racing(window: &mut Window, stage: &Stage) {
    race_scenes::race_rounds(window, stage);
    window.run();
}

/// Something is to follow the queue.
fn after_chosen(window: &mut Window, stage: &Stage) {
    waiting(window, stage);
    kit::send(window, UiCommand::After(After::Close));
}

/// Three races are kept with the project.
fn races_there(window: &mut Window, stage: &Stage) {
    race_scenes::races_kept(window, stage);
}

/// A race goes on behind the view of one of its runs.
fn race_left(window: &mut Window, stage: &Stage) {
    racing(window, stage);
    kit::send(window, UiCommand::Race(RaceAct::Show(false)));
}

fn reportable(window: &mut Window, stage: &Stage) {
    report::ready(window, stage);
    kit::send(window, UiCommand::Go(Room::Watch));
}

/// A finished run that leaves as a folder, which has a place for a card.
fn exportable(window: &mut Window, stage: &Stage) {
    export_scenes::export_ready(window, stage);
    kit::send(window, UiCommand::ExportTarget(0));
}

fn light(window: &mut Window, stage: &Stage) {
    opened(window, stage);
    kit::send(window, UiCommand::Theme(ThemeChoice::Light));
}

fn german(window: &mut Window, stage: &Stage) {
    opened(window, stage);
    kit::send(window, UiCommand::Language(LanguageChoice::German));
}

fn large(window: &mut Window, stage: &Stage) {
    opened(window, stage);
    kit::send(window, UiCommand::Zoom(2));
}

fn own_keys(window: &mut Window, stage: &Stage) {
    opened(window, stage);
    let key = entry(Id::Doctor).key.to_owned();
    window.state_mut().state.settings.keys.insert(key, "F9".to_owned());
    window.run();
}

/// What the window asked the system for, frame by frame.
#[derive(Default)]
struct Asked {
    copied: Vec<String>,
    closes: usize,
}

impl Asked {
    fn frame(&mut self, window: &mut Window) {
        window.step();
        let output = window.output();
        for command in &output.platform_output.commands {
            if let OutputCommand::CopyText(text) = command {
                self.copied.push(text.clone());
            }
        }
        let commands = output.viewport_output.values().flat_map(|viewport| &viewport.commands);
        self.closes += commands.filter(|command| matches!(command, ViewportCommand::Close)).count();
    }

    /// These happen in one frame; then the window has time to do what follows from them.
    fn after(&mut self, window: &mut Window, events: impl IntoIterator<Item = Event>) {
        window.input_mut().events.extend(events);
        for _ in 0..SETTLED {
            self.frame(window);
        }
    }

    fn press(&mut self, window: &mut Window, keys: KeyboardShortcut) {
        self.after(
            window,
            [true, false].map(|pressed| Event::Key {
                key: keys.logical_key,
                physical_key: None,
                pressed,
                repeat: false,
                modifiers: keys.modifiers,
            }),
        );
    }
}

/// Frames after which nothing of a command is left to do: saving an edit and measuring a step wait for a moment of
/// quiet.
const SETTLED: usize = 10;

/// What can be counted of a proof before and after.
fn count(proof: &Proof, window: &Window, stage: &Stage, asked: &Asked) -> usize {
    let state = &window.state().state;
    match proof {
        Proof::State(holds) | Proof::Turned(holds) => usize::from(holds(state)),
        Proof::Engine(fits) => stage.engine.count(fits),
        Proof::Store(fits) => stage.runs.0.lock().steered.iter().filter(|command| fits(command)).count(),
        Proof::File(name) => {
            let runs = state.runs.runs.iter().map(|row| row.folder.clone());
            let folders: BTreeSet<PathBuf> =
                [project_folder(stage), run_folder(stage)].into_iter().chain(runs).collect();
            folders.iter().filter(|folder| folder.join(name).is_file()).count()
        }
        Proof::Copied(fits) => asked.copied.iter().filter(|text| fits(text)).count(),
        Proof::Dialog(wanted) => stage.picker.0.lock().asked.iter().filter(|pick| *pick == wanted).count(),
        Proof::Shown => stage.picker.0.lock().shown.len(),
        Proof::Closes => asked.closes,
    }
}

/// Carries a command out by `keys`, or by the palette without any; gives what is wrong with what happened.
fn fault(entry: &Entry, keys: Option<KeyboardShortcut>) -> Option<String> {
    let Case { ready, proof } = case(entry.id);
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    ready(&mut window, &stage);
    // As it is called in the language that is spoken now.
    let name = entry.name.get();
    if let Some(hindrance) = (entry.hindrance)(&window.state().state) {
        return Some(format!("{name} cannot be done in the state made for it: {hindrance}"));
    }
    let mut asked = Asked::default();
    let before = count(&proof, &window, &stage, &asked);
    if before > 0 && matches!(proof, Proof::State(_) | Proof::File(_)) {
        return Some(format!("{name}: what it does was done before"));
    }
    match keys {
        Some(keys) => asked.press(&mut window, keys),
        None => {
            asked.press(&mut window, KeyboardShortcut::new(Modifiers::COMMAND, Key::K));
            asked.after(&mut window, [Event::Text(name.to_owned())]);
            asked.press(&mut window, KeyboardShortcut::new(Modifiers::NONE, Key::Enter));
        }
    }
    let after = count(&proof, &window, &stage, &asked);
    let done = if matches!(proof, Proof::Turned(_)) { after != before } else { after > before };
    (!done).then(|| format!("{name} ({:?}) did nothing that shows", entry.id))
}

#[test]
fn every_command_with_keys_does_what_it_promises_by_them() {
    let keyed: Vec<(&Entry, KeyboardShortcut)> =
        TABLE.iter().filter_map(|entry| Some((entry, entry.shortcut?))).collect();
    assert!(keyed.len() > 20, "{} commands have keys", keyed.len());
    let faults: Vec<String> = keyed.iter().filter_map(|(entry, keys)| fault(entry, Some(*keys))).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), keyed.len(), faults.join("\n"));
}

#[test]
fn every_command_does_what_it_promises_by_its_name_in_the_palette() {
    // The palette itself is opened by its keys alone.
    let named: Vec<&Entry> = TABLE.iter().filter(|entry| entry.id != Id::Palette).collect();
    let faults: Vec<String> = named.iter().filter_map(|entry| fault(entry, None)).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), named.len(), faults.join("\n"));
}
