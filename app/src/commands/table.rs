//! The table of commands: name, help, icon, shortcut, condition, effect.

use super::UiCommand;
use super::compared::{
    can_trash, compared_png, compared_svg, needs_compared, needs_compared_zoom, needs_curves, needs_rows, order_runs,
    prune_all, report_run, star_run, tradeoff_png, tradeoff_svg, trash_run, turn_log, turn_smooth, whole,
};
use super::conditions::{
    always, can_continue, can_export, can_pause, can_redo, can_resume, can_train, can_undo, continue_run, needs_beside,
    needs_both, needs_damage, needs_folder, needs_kept, needs_live, needs_others, needs_own_keys, needs_project,
    needs_ranks, needs_run, needs_scrub, needs_zoom, reveal_project, turn_battery,
};
use super::keymap::KeysAct;
use super::keys::{ctrl, ctrl_shift, plain, shift};
use super::layers::{
    experts_csv, experts_png, experts_svg, history_csv, history_png, history_svg, needs_change, needs_experts,
    needs_history, show_experts, show_history, show_spectrum, spectrum_csv, spectrum_png, spectrum_svg,
};
use super::line::Entry;
use super::moments::{needs_after, needs_earlier, needs_later, needs_queue, needs_step_ask};
use super::race::{
    can_start, needs_going, needs_methods, needs_past_races, needs_race, needs_rounds, needs_winner, use_winner,
};
use crate::screen::{Format, Plot};
use crate::state::Room;
use crate::state::afterwards::After;
use crate::state::card::CardAct;
use crate::state::compare::CompareAct;
use crate::state::lens::LensAct;
use crate::state::machine::MachineAct;
use crate::state::presets::PresetAct;
use crate::state::race::RaceAct;
use crate::state::rehouse::RehouseAct;
use crate::state::settings::{LanguageChoice, ThemeChoice};
use crate::state::step_ask::StepAct;
use crate::theme::icons;
use crate::update::{
    ask_hindrance, branch_hindrance, card_hindrance, judge_hindrance, longer_hindrance, preset_hindrance,
    rehouse_hindrance, step_hindrance, support_hindrance, to_kept_state,
};
use egui::Key;
use temper_protocol::Act;

/// Names a line of [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table below says what each is")]
pub enum Id {
    GoHome,
    GoSetup,
    GoWatch,
    GoCompare,
    GoExport,
    ChooseFiles,
    ChooseFolder,
    EnterPath,
    NewProject,
    OpenExample,
    TrainExample,
    Undo,
    Redo,
    TokenLens,
    SavePreset,
    Measure,
    Train,
    RaceMethods,
    StartRace,
    StopRace,
    ShowRace,
    PastRaces,
    UseWinner,
    CopyRace,
    SaveRace,
    RacePng,
    RaceSvg,
    Pause,
    Resume,
    Stop,
    FreeMemory,
    SaveNow,
    SampleNow,
    Continue,
    Queue,
    AfterNothing,
    AfterClose,
    AfterShutDown,
    Extend,
    Branch,
    Live,
    EarlierState,
    LaterState,
    StepAskOpen,
    StepAskNow,
    StepAskClose,
    ResetZoom,
    BesideAll,
    BesideNone,
    CopyCurves,
    SaveCurves,
    SaveForgetting,
    SaveRanks,
    RatesTable,
    ForgettingTable,
    RanksTable,
    LossPicture,
    RatesPicture,
    ForgettingPicture,
    RanksPicture,
    LossVector,
    RatesVector,
    ForgettingVector,
    RanksVector,
    SpectrumTable,
    SpectrumCsv,
    SpectrumPng,
    SpectrumSvg,
    HistoryTable,
    HistoryCsv,
    HistoryPng,
    HistorySvg,
    ExpertsTable,
    ExpertsCsv,
    ExpertsPng,
    ExpertsSvg,
    Report,
    Repair,
    Judge,
    AskAll,
    SaveRows,
    CopyCompared,
    SaveCompared,
    ComparedPng,
    ComparedSvg,
    Smooth,
    LogLosses,
    ResetCompared,
    CopyTradeoff,
    SaveTradeoff,
    TradeoffPng,
    TradeoffSvg,
    OrderRuns,
    StarRun,
    TrashRun,
    PruneAll,
    Export,
    ChooseAdapter,
    ModelCard,
    Support,
    ShowCommand,
    ShowProjectFile,
    ShowFolder,
    DuplicateProject,
    MoveProject,
    Doctor,
    Machine,
    Battery,
    Dark,
    Light,
    Contrast,
    SystemTheme,
    SystemLanguage,
    English,
    German,
    ZoomIn,
    ZoomOut,
    ZoomReset,
    Palette,
    Glossary,
    Help,
    ResetKeys,
    Quit,
}

macro_rules! entries {
    ($(($id:ident, $name:literal, $help:literal, $icon:ident, $shortcut:expr, $hindrance:expr, $make:expr)),* $(,)?) => {
        &[$(Entry {
            id: Id::$id,
            key: $name,
            name: k!($name),
            help: k!($help),
            icon: icons::$icon,
            shortcut: $shortcut,
            hindrance: $hindrance,
            make: $make,
        }),*]
    };
}

/// The table of commands.
pub static TABLE: &[Entry] = entries![
    (GoHome, "commands-go-home", "commands-go-home-help", HOUSE, ctrl(Key::Num1), always, |_| UiCommand::Go(
        Room::Home
    )),
    (GoSetup, "commands-go-setup", "commands-go-setup-help", SLIDERS_HORIZONTAL, ctrl(Key::Num2), always, |_| {
        UiCommand::Go(Room::Setup)
    }),
    (GoWatch, "commands-go-watch", "commands-go-watch-help", CHART_LINE, ctrl(Key::Num3), always, |_| {
        UiCommand::Go(Room::Watch)
    }),
    (GoCompare, "commands-go-compare", "commands-go-compare-help", SCALES, ctrl(Key::Num4), always, |_| {
        UiCommand::Go(Room::Compare)
    }),
    (GoExport, "commands-go-export", "commands-go-export-help", EXPORT, ctrl(Key::Num5), always, |_| {
        UiCommand::Go(Room::Export)
    }),
    (ChooseFiles, "commands-choose-files", "commands-choose-files-help", FILE_TEXT, ctrl(Key::O), always, |_| {
        UiCommand::ChooseFiles
    }),
    (
        ChooseFolder,
        "commands-choose-folder",
        "commands-choose-folder-help",
        FOLDER_OPEN,
        ctrl_shift(Key::O),
        always,
        |_| { UiCommand::ChooseFolder }
    ),
    (EnterPath, "commands-enter-path", "commands-enter-path-help", TERMINAL, ctrl(Key::L), always, |_| {
        UiCommand::EnterPath
    }),
    (NewProject, "commands-new-project", "commands-new-project-help", PLUS, ctrl(Key::N), always, |_| {
        UiCommand::NewProject
    }),
    (OpenExample, "commands-open-example", "commands-open-example-help", FOLDER_OPEN, None, always, |_| {
        UiCommand::OpenExample { train: false }
    }),
    (TrainExample, "commands-train-example", "commands-train-example-help", PLAY, None, always, |_| {
        UiCommand::OpenExample { train: true }
    }),
    (Undo, "commands-undo", "commands-undo-help", ARROW_COUNTER_CLOCKWISE, ctrl(Key::Z), can_undo, |_| {
        UiCommand::Undo
    }),
    (Redo, "commands-redo", "commands-redo-help", ARROW_CLOCKWISE, ctrl_shift(Key::Z), can_redo, |_| UiCommand::Redo),
    (TokenLens, "commands-token-lens", "commands-token-lens-help", EYE, ctrl(Key::T), needs_both, |_| {
        UiCommand::Lens(LensAct::Open(None))
    }),
    (SavePreset, "commands-preset", "commands-preset-help", FLOPPY_DISK, None, preset_hindrance, |_| {
        UiCommand::Preset(PresetAct::Open)
    }),
    (Measure, "commands-measure", "commands-measure-help", CPU, ctrl(Key::M), needs_both, |_| { UiCommand::Measure }),
    (Train, "commands-train", "commands-train-help", PLAY, ctrl(Key::Enter), can_train, |_| UiCommand::Train),
    (RaceMethods, "commands-race", "commands-race-help", TROPHY, None, needs_methods, |_| {
        UiCommand::Race(RaceAct::Choose(true))
    }),
    (StartRace, "commands-race-start", "commands-race-start-help", PLAY, None, can_start, |_| {
        UiCommand::Race(RaceAct::Start)
    }),
    (StopRace, "commands-race-stop", "commands-race-stop-help", STOP, None, needs_going, |_| {
        UiCommand::Race(RaceAct::Stop)
    }),
    (ShowRace, "commands-race-show", "commands-race-show-help", TROPHY, None, needs_race, |_| {
        UiCommand::Race(RaceAct::Show(true))
    }),
    (PastRaces, "commands-races", "commands-races-help", CLOCK_COUNTER_CLOCKWISE, None, needs_past_races, |_| {
        UiCommand::Race(RaceAct::List)
    }),
    (UseWinner, "commands-race-use", "commands-race-use-help", CHECK, None, needs_winner, use_winner),
    (CopyRace, "commands-race-copy", "commands-race-copy-help", COPY, None, needs_rounds, |_| {
        UiCommand::CopyTable(Plot::Race)
    }),
    (SaveRace, "commands-race-save", "commands-race-save-help", ROWS, None, needs_rounds, |_| {
        UiCommand::SaveTable(Plot::Race)
    }),
    (RacePng, "commands-race-png", "commands-race-png-help", FLOPPY_DISK, None, needs_race, |_| {
        UiCommand::SavePicture(Plot::Race, Format::Png)
    }),
    (RaceSvg, "commands-race-svg", "commands-race-svg-help", FLOPPY_DISK, None, needs_race, |_| {
        UiCommand::SavePicture(Plot::Race, Format::Svg)
    }),
    (Pause, "commands-pause", "commands-pause-help", PAUSE, plain(Key::Space), can_pause, |_| UiCommand::Act(
        Act::Pause
    )),
    (Resume, "commands-resume", "commands-resume-help", PLAY, plain(Key::Space), can_resume, |_| UiCommand::Act(
        Act::Resume
    )),
    (Stop, "commands-stop", "commands-stop-help", STOP, ctrl_shift(Key::S), needs_live, |_| {
        UiCommand::Act(Act::Stop)
    }),
    (FreeMemory, "commands-free-memory", "commands-free-memory-help", ARCHIVE, None, can_resume, |_| {
        UiCommand::Act(Act::Stop)
    }),
    (SaveNow, "commands-save-now", "commands-save-now-help", FLOPPY_DISK, ctrl(Key::S), needs_live, |_| {
        UiCommand::Act(Act::SaveNow)
    }),
    (SampleNow, "commands-sample-now", "commands-sample-now-help", CHAT_TEXT, None, needs_live, |_| {
        UiCommand::Act(Act::SampleNow)
    }),
    (Continue, "commands-continue", "commands-continue-help", PLAY, None, can_continue, continue_run),
    (Live, "commands-live", "commands-live-help", ARROW_LINE_RIGHT, plain(Key::End), needs_scrub, |_| {
        UiCommand::Scrub(None)
    }),
    (Queue, "commands-queue", "commands-queue-help", QUEUE, None, needs_queue, |_| UiCommand::OpenQueue),
    (AfterNothing, "commands-after-nothing", "commands-after-nothing-help", QUEUE, None, needs_after, |_| {
        UiCommand::After(After::Nothing)
    }),
    (AfterClose, "commands-after-close", "commands-after-close-help", X, None, needs_queue, |_| {
        UiCommand::After(After::Close)
    }),
    (AfterShutDown, "commands-after-shut-down", "commands-after-shut-down-help", MOON, None, needs_queue, |_| {
        UiCommand::After(After::ShutDown)
    }),
    (Extend, "commands-extend", "commands-extend-help", ARROW_LINE_RIGHT, None, longer_hindrance, |_| {
        UiCommand::AskLonger
    }),
    (Branch, "commands-branch", "commands-branch-help", GIT_BRANCH, None, branch_hindrance, |_| UiCommand::Branch),
    (
        EarlierState,
        "commands-earlier-state",
        "commands-earlier-state-help",
        CARET_LEFT,
        plain(Key::Comma),
        needs_earlier,
        |state| to_kept_state(state, false)
    ),
    (
        LaterState,
        "commands-later-state",
        "commands-later-state-help",
        CARET_RIGHT,
        plain(Key::Period),
        needs_later,
        |state| to_kept_state(state, true)
    ),
    (
        StepAskOpen,
        "commands-step-ask",
        "commands-step-ask-help",
        CLOCK_COUNTER_CLOCKWISE,
        ctrl_shift(Key::A),
        needs_run,
        |_| UiCommand::StepAsk(StepAct::Open(true))
    ),
    (StepAskNow, "commands-step-ask-now", "commands-step-ask-now-help", CHAT_TEXT, None, step_hindrance, |_| {
        UiCommand::StepAsk(StepAct::Ask)
    }),
    (StepAskClose, "commands-step-samples", "commands-step-samples-help", ROWS, None, needs_step_ask, |_| {
        UiCommand::StepAsk(StepAct::Open(false))
    }),
    (
        ResetZoom,
        "commands-reset-zoom",
        "commands-reset-zoom-help",
        ARROW_COUNTER_CLOCKWISE,
        plain(Key::Home),
        needs_zoom,
        |_| { UiCommand::Zoomed(None) }
    ),
    (BesideAll, "commands-beside-all", "commands-beside-all-help", CHART_LINE, None, needs_others, |_| {
        UiCommand::BesideAll(true)
    }),
    (BesideNone, "commands-beside-none", "commands-beside-none-help", X, None, needs_beside, |_| {
        UiCommand::BesideAll(false)
    }),
    (CopyCurves, "commands-copy-curves", "commands-copy-curves-help", COPY, None, needs_run, |_| {
        UiCommand::CopyCurves
    }),
    (SaveCurves, "commands-save-curves", "commands-save-curves-help", ROWS, None, needs_run, |_| {
        UiCommand::SaveCurves
    }),
    (SaveForgetting, "commands-save-forgetting", "commands-save-forgetting-help", ROWS, None, needs_kept, |_| {
        UiCommand::SaveTable(Plot::Forgetting)
    }),
    (SaveRanks, "commands-save-ranks", "commands-save-ranks-help", ROWS, None, needs_ranks, |_| {
        UiCommand::SaveTable(Plot::Ranks)
    }),
    (RatesTable, "commands-rates-table", "commands-rates-table-help", TABLE, None, needs_run, |_| {
        UiCommand::ShowTable(Plot::Rates)
    }),
    (ForgettingTable, "commands-forgetting-table", "commands-forgetting-table-help", TABLE, None, needs_kept, |_| {
        UiCommand::ShowTable(Plot::Forgetting)
    }),
    (RanksTable, "commands-ranks-table", "commands-ranks-table-help", TABLE, None, needs_ranks, |_| {
        UiCommand::ShowTable(Plot::Ranks)
    }),
    (LossPicture, "commands-loss-picture", "commands-loss-picture-help", FLOPPY_DISK, None, needs_run, |_| {
        UiCommand::SavePicture(Plot::Loss, Format::Png)
    }),
    (RatesPicture, "commands-rates-picture", "commands-rates-picture-help", FLOPPY_DISK, None, needs_run, |_| {
        UiCommand::SavePicture(Plot::Rates, Format::Png)
    }),
    (
        ForgettingPicture,
        "commands-forgetting-picture",
        "commands-forgetting-picture-help",
        FLOPPY_DISK,
        None,
        needs_run,
        |_| { UiCommand::SavePicture(Plot::Forgetting, Format::Png) }
    ),
    (RanksPicture, "commands-ranks-picture", "commands-ranks-picture-help", FLOPPY_DISK, None, needs_run, |_| {
        UiCommand::SavePicture(Plot::Ranks, Format::Png)
    }),
    (LossVector, "commands-loss-vector", "commands-loss-vector-help", FLOPPY_DISK, None, needs_run, |_| {
        UiCommand::SavePicture(Plot::Loss, Format::Svg)
    }),
    (RatesVector, "commands-rates-vector", "commands-rates-vector-help", FLOPPY_DISK, None, needs_run, |_| {
        UiCommand::SavePicture(Plot::Rates, Format::Svg)
    }),
    (
        ForgettingVector,
        "commands-forgetting-vector",
        "commands-forgetting-vector-help",
        FLOPPY_DISK,
        None,
        needs_run,
        |_| { UiCommand::SavePicture(Plot::Forgetting, Format::Svg) }
    ),
    (RanksVector, "commands-ranks-vector", "commands-ranks-vector-help", FLOPPY_DISK, None, needs_run, |_| {
        UiCommand::SavePicture(Plot::Ranks, Format::Svg)
    }),
    (
        SpectrumTable,
        "commands-spectrum-table",
        "commands-spectrum-table-help",
        TABLE,
        None,
        needs_change,
        show_spectrum
    ),
    (SpectrumCsv, "commands-spectrum-csv", "commands-spectrum-csv-help", ROWS, None, needs_change, spectrum_csv),
    (SpectrumPng, "commands-spectrum-png", "commands-spectrum-png-help", FLOPPY_DISK, None, needs_change, spectrum_png),
    (SpectrumSvg, "commands-spectrum-svg", "commands-spectrum-svg-help", FLOPPY_DISK, None, needs_change, spectrum_svg),
    (HistoryTable, "commands-history-table", "commands-history-table-help", TABLE, None, needs_history, show_history),
    (HistoryCsv, "commands-history-csv", "commands-history-csv-help", ROWS, None, needs_history, history_csv),
    (HistoryPng, "commands-history-png", "commands-history-png-help", FLOPPY_DISK, None, needs_history, history_png),
    (HistorySvg, "commands-history-svg", "commands-history-svg-help", FLOPPY_DISK, None, needs_history, history_svg),
    (ExpertsTable, "commands-experts-table", "commands-experts-table-help", TABLE, None, needs_experts, show_experts),
    (ExpertsCsv, "commands-experts-csv", "commands-experts-csv-help", ROWS, None, needs_experts, experts_csv),
    (ExpertsPng, "commands-experts-png", "commands-experts-png-help", FLOPPY_DISK, None, needs_experts, experts_png),
    (ExpertsSvg, "commands-experts-svg", "commands-experts-svg-help", FLOPPY_DISK, None, needs_experts, experts_svg),
    (Report, "commands-report", "commands-report-help", FILE_TEXT, None, needs_run, report_run),
    (Repair, "commands-repair", "commands-repair-help", SHIELD_CHECK, None, needs_damage, |_| { UiCommand::Repair }),
    (Judge, "commands-judge", "commands-judge-help", SCALES, None, judge_hindrance, |_| {
        UiCommand::Compare(CompareAct::Judge)
    }),
    (AskAll, "commands-ask-all", "commands-ask-all-help", CHAT_TEXT, None, ask_hindrance, |_| {
        UiCommand::Compare(CompareAct::AskAll)
    }),
    (SaveRows, "commands-save-rows", "commands-save-rows-help", ROWS, None, needs_rows, |_| UiCommand::Compare(
        CompareAct::SaveRows
    )),
    (CopyCompared, "commands-copy-compared", "commands-copy-compared-help", COPY, None, needs_curves, |_| {
        UiCommand::CopyTable(Plot::Compared)
    }),
    (SaveCompared, "commands-save-compared", "commands-save-compared-help", ROWS, None, needs_curves, |_| {
        UiCommand::SaveTable(Plot::Compared)
    }),
    (
        ComparedPng,
        "commands-compared-png",
        "commands-compared-png-help",
        FLOPPY_DISK,
        None,
        needs_compared,
        compared_png
    ),
    (
        ComparedSvg,
        "commands-compared-svg",
        "commands-compared-svg-help",
        FLOPPY_DISK,
        None,
        needs_compared,
        compared_svg
    ),
    (Smooth, "commands-smooth", "commands-smooth-help", CHART_LINE_DOWN, None, needs_compared, turn_smooth),
    (LogLosses, "commands-log", "commands-log-help", CHART_LINE, None, needs_compared, turn_log),
    (ResetCompared, "commands-whole", "commands-whole-help", ARROW_COUNTER_CLOCKWISE, None, needs_compared_zoom, whole),
    (CopyTradeoff, "commands-copy-tradeoff", "commands-copy-tradeoff-help", COPY, None, needs_compared, |_| {
        UiCommand::CopyTable(Plot::Tradeoff)
    }),
    (SaveTradeoff, "commands-save-tradeoff", "commands-save-tradeoff-help", ROWS, None, needs_compared, |_| {
        UiCommand::SaveTable(Plot::Tradeoff)
    }),
    (
        TradeoffPng,
        "commands-tradeoff-png",
        "commands-tradeoff-png-help",
        FLOPPY_DISK,
        None,
        needs_compared,
        tradeoff_png
    ),
    (
        TradeoffSvg,
        "commands-tradeoff-svg",
        "commands-tradeoff-svg-help",
        FLOPPY_DISK,
        None,
        needs_compared,
        tradeoff_svg
    ),
    (OrderRuns, "commands-order", "commands-order-help", BOOKMARK_SIMPLE, None, needs_run, order_runs),
    (StarRun, "commands-star", "commands-star-help", STAR, None, needs_run, star_run),
    (TrashRun, "commands-trash", "commands-trash-help", TRASH, None, can_trash, trash_run),
    (PruneAll, "commands-prune", "commands-prune-help", ARCHIVE, None, needs_run, prune_all),
    (Export, "commands-export", "commands-export-help", EXPORT, ctrl(Key::E), can_export, |_| { UiCommand::Export }),
    (ChooseAdapter, "commands-choose-adapter", "commands-choose-adapter-help", PUZZLE_PIECE, None, always, |_| {
        UiCommand::ChooseAdapter
    }),
    (ModelCard, "commands-model-card", "commands-model-card-help", FILE_TEXT, None, card_hindrance, |_| {
        UiCommand::Card(CardAct::Open)
    }),
    (Support, "commands-support", "commands-support-help", EXPORT, None, support_hindrance, |_| UiCommand::ShowSupport),
    (ShowCommand, "commands-show-command", "commands-show-command-help", TERMINAL, None, needs_both, |_| {
        UiCommand::ShowCommand
    }),
    (
        ShowProjectFile,
        "commands-show-project-file",
        "commands-show-project-file-help",
        FILE_CODE,
        None,
        needs_project,
        |_| { UiCommand::ShowProjectFile }
    ),
    (ShowFolder, "commands-show-folder", "commands-show-folder-help", FOLDER_OPEN, None, needs_folder, reveal_project),
    (
        DuplicateProject,
        "commands-duplicate-project",
        "commands-duplicate-project-help",
        COPY,
        None,
        rehouse_hindrance,
        |_| UiCommand::Rehouse(RehouseAct::Open { moves: false })
    ),
    (MoveProject, "commands-move-project", "commands-move-project-help", FOLDER, None, rehouse_hindrance, |_| {
        UiCommand::Rehouse(RehouseAct::Open { moves: true })
    }),
    (Doctor, "commands-doctor", "commands-doctor-help", CPU, None, always, |_| { UiCommand::Doctor }),
    (Machine, "commands-machine", "commands-machine-help", SHIELD_CHECK, None, always, |_| {
        UiCommand::Machine(MachineAct::Open)
    }),
    (Battery, "commands-battery", "commands-battery-help", PLUGS_CONNECTED, None, always, turn_battery),
    (Dark, "commands-dark", "commands-dark-help", MOON, None, always, |_| UiCommand::Theme(ThemeChoice::Dark)),
    (Light, "commands-light", "commands-light-help", SUN, None, always, |_| UiCommand::Theme(ThemeChoice::Light)),
    (Contrast, "commands-contrast", "commands-contrast-help", EYE, None, always, |_| UiCommand::Theme(
        ThemeChoice::Contrast
    )),
    (SystemTheme, "commands-system-theme", "commands-system-theme-help", CIRCLE, None, always, |_| UiCommand::Theme(
        ThemeChoice::System
    )),
    (SystemLanguage, "commands-system-language", "commands-system-language-help", CHAT_TEXT, None, always, |_| {
        UiCommand::Language(LanguageChoice::System)
    }),
    (English, "commands-english", "commands-english-help", CHAT_TEXT, None, always, |_| UiCommand::Language(
        LanguageChoice::English
    )),
    (German, "commands-german", "commands-german-help", CHAT_TEXT, None, always, |_| UiCommand::Language(
        LanguageChoice::German
    )),
    (ZoomIn, "commands-zoom-in", "commands-zoom-in-help", PLUS, ctrl(Key::Plus), always, |_| UiCommand::Zoom(1)),
    (ZoomOut, "commands-zoom-out", "commands-zoom-out-help", MAGNIFYING_GLASS, ctrl(Key::Minus), always, |_| {
        UiCommand::Zoom(-1)
    }),
    (ZoomReset, "commands-zoom-reset", "commands-zoom-reset-help", EQUALS, ctrl(Key::Num0), always, |_| {
        UiCommand::ZoomReset
    }),
    (Palette, "commands-palette", "commands-palette-help", MAGNIFYING_GLASS, ctrl(Key::K), always, |_| {
        UiCommand::OpenPalette
    }),
    (Glossary, "commands-glossary", "commands-glossary-help", BOOKMARK_SIMPLE, shift(Key::F1), always, |_| {
        UiCommand::Glossary(None)
    }),
    (Help, "commands-help", "commands-help-help", QUESTION, plain(Key::F1), always, |_| UiCommand::OpenHelp),
    (
        ResetKeys,
        "commands-reset-keys",
        "commands-reset-keys-help",
        ARROW_COUNTER_CLOCKWISE,
        None,
        needs_own_keys,
        |_| UiCommand::Keys(KeysAct::Reset)
    ),
    (Quit, "commands-quit", "commands-quit-help", X, ctrl(Key::Q), always, |_| UiCommand::Quit),
];
