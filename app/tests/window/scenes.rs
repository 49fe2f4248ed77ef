//! Every state of every room, as a person meets it: for pictures, and for tests over all of them.

use crate::compared::{
    compare_curves, compare_empty, compare_no_verdict, compare_order, compare_rows, compare_settings, compare_tables,
    comparing, many_runs, playground, playground_blind, playground_empty, playground_five,
};
use crate::export_scenes::{
    export_adapter, export_before, export_empty, export_no_adapter, export_no_gguf, export_passed, export_problem,
    export_ready, export_refused, export_support, exporting,
};
use crate::kit;
use crate::machine_scenes::{machine_checks, machine_failed};
use crate::preset_scenes::{own_presets, saving_preset};
use crate::project_scenes::{duplicating, model_card, model_gone, moving, other_model, own_card};
use crate::race_scenes::{race_begun, race_kept, race_rounds, race_ticking, race_won, races_listed};
use crate::rows::{
    help_keys, lens_edit, lens_looking, lens_loss, setup_columns, setup_estimated, setup_unclear, token_lens,
};
use crate::step_scenes::{
    branched, leaving, longer, queue, step_answered, step_ask_busy, step_ask_empty, step_failed, step_loading, waiting,
};
use crate::way_scenes::{not_finite, setup_tight};
use egui_kittest::Harness;
use egui_plot::PlotPoint;
use std::path::PathBuf;
use temper::app::App;
use temper::commands::UiCommand;
use temper::reader::BesideRun;
use temper::reader::experts::ExpertView;
use temper::reader::ranks::Measure;
use temper::reader::snapshot::{Preparing, RunView, RunsSnapshot};
use temper::state::setup::Card;
use temper::state::{Room, Sheet};
use temper::testing::Stage;
use temper_protocol::{Code, Problem};
use temper_store::Point;

/// A named state of the window.
pub(crate) struct Scene {
    /// Name of its picture.
    pub(crate) name: &'static str,
    /// Brings a fresh window into the state.
    pub(crate) make: fn(&mut Harness<'static, App>, &Stage),
}

macro_rules! scenes {
    ($($name:ident),* $(,)?) => {
        /// Every state.
        pub(crate) const SCENES: &[Scene] = &[$(Scene { name: stringify!($name), make: $name }),*];
    };
}

scenes![
    home_first,
    home,
    home_no_drops,
    setup_empty,
    setup_no_drops,
    setup_filled,
    setup_dropped,
    setup_more,
    setup_aside,
    setup_errors,
    setup_full,
    setup_tight,
    setup_reading,
    setup_estimated,
    setup_columns,
    setup_unclear,
    own_presets,
    saving_preset,
    token_lens,
    lens_edit,
    lens_looking,
    lens_loss,
    hover_model,
    hover_data,
    hover_adapter,
    hover_unknown,
    hover_export,
    watch_empty,
    preparing,
    training,
    early,
    stopped_early,
    scrubbed,
    step_ask_empty,
    step_ask_busy,
    step_answered,
    step_loading,
    step_failed,
    branched,
    waiting,
    race_ticking,
    race_begun,
    race_rounds,
    race_won,
    races_listed,
    race_kept,
    experts,
    table,
    few_others,
    many_others,
    choosing_others,
    paused,
    finished,
    failed,
    engine_gone,
    no_samples,
    compare_empty,
    compare_curves,
    compare_tables,
    compare_settings,
    compare_no_verdict,
    comparing,
    compare_rows,
    compare_order,
    many_runs,
    playground_empty,
    playground,
    playground_five,
    playground_blind,
    export_empty,
    export_before,
    export_support,
    export_ready,
    export_no_gguf,
    exporting,
    export_passed,
    export_refused,
    export_problem,
    export_no_adapter,
    export_adapter,
    model_card,
    own_card,
    duplicating,
    moving,
    model_gone,
    other_model,
    palette,
    help,
    glossary,
    help_keys,
    place,
    longer,
    queue,
    leaving,
    machine_checks,
    machine_failed,
    path_entry,
    closing,
    command,
    project_file,
    engine_problem,
    damaged,
];

type Window = Harness<'static, App>;

fn home_first(_window: &mut Window, _stage: &Stage) {}

/// A window system that reports no dropped files.
fn home_no_drops(window: &mut Window, _stage: &Stage) {
    window.state_mut().state.drops_work = false;
    window.run();
}

fn setup_no_drops(window: &mut Window, stage: &Stage) {
    home_no_drops(window, stage);
    kit::send(window, UiCommand::Go(Room::Setup));
}

fn home(window: &mut Window, stage: &Stage) {
    let folder = kit::open(window, stage);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "finished", 1200), false));
    window.run();
    kit::send(window, UiCommand::Go(Room::Home));
}

fn setup_empty(window: &mut Window, _stage: &Stage) {
    kit::send(window, UiCommand::Go(Room::Setup));
}

fn setup_filled(window: &mut Window, stage: &Stage) {
    let folder = kit::open(window, stage);
    stage.runs.publish(kit::snapshot(&folder, kit::view(6, "finished", 1200), false));
    window.run();
}

fn setup_dropped(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    kit::send(window, UiCommand::Drop(vec![PathBuf::from("/data/billing-tone.jsonl")]));
}

fn setup_more(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    kit::send(window, UiCommand::More(true));
}

fn setup_aside(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    kit::send(window, UiCommand::ShowAside(true));
}

fn setup_full(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    let mut project = window.state().state.draft.project.clone();
    project.method.id = "full".to_owned();
    kit::send(window, UiCommand::Edit(String::new(), Box::new(project)));
}

fn setup_reading(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(|_| Vec::new());
    kit::open(window, stage);
}

fn setup_errors(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    let problem = |code, what: &str, place: &str, action: &str| Problem::new(code, what, place, action);
    let problems = [
        (
            Card::Model,
            problem(
                Code::ModelInvalid,
                "the file ends in the middle of a tensor",
                "SmolLM2-135M-Instruct.Q4_1.gguf, blk.17.ffn_up.weight",
                "download it again; its size should be 97,517,568 bytes",
            ),
        ),
        (
            Card::Data,
            problem(
                Code::DataInvalid,
                "no token is left to train on",
                "support-tone.jsonl, 4,812 rows",
                "set loss on to everything, or give rows with answers",
            ),
        ),
        (
            Card::Method,
            problem(
                Code::MethodInvalid,
                "no layer matches the targets",
                "method.targets = query",
                "choose one of: attn.q, attn.k, attn.v, attn.o",
            ),
        ),
        (
            Card::Keep,
            problem(
                Code::NotFound,
                "the kept texts are not there",
                "keep.probes: contracts.txt",
                "choose the file again or switch the set off",
            ),
        ),
        (
            Card::Preflight,
            problem(
                Code::OutOfMemory,
                "12.4 GiB needed, 9.1 GiB free",
                "4 × 2,048 tokens",
                "lower the batch to 2, or switch recompute on: 5.2 GiB, 31 % more time",
            ),
        ),
    ];
    for (card, found) in problems {
        window.state_mut().state.setup.problems.insert(card, found);
    }
    window.run();
}

fn hover(window: &mut Window, path: &str) {
    let file = egui::HoveredFile { path: Some(PathBuf::from(path)), ..egui::HoveredFile::default() };
    for _ in 0..3 {
        window.input_mut().hovered_files = vec![file.clone()];
        window.step();
    }
    window.input_mut().hovered_files = vec![file];
}

fn hover_model(window: &mut Window, _stage: &Stage) {
    hover(window, kit::MODEL);
}

fn hover_data(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    hover(window, "/data/billing-tone.jsonl");
}

fn hover_adapter(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    hover(window, "/adapters/tone-adapter");
}

fn hover_unknown(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    hover(window, "/downloads/model.pt");
}

/// An adapter over the room that writes it for others.
fn hover_export(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    kit::send(window, UiCommand::Go(Room::Export));
    hover(window, "/adapters/tone-adapter");
}

fn watch_empty(window: &mut Window, _stage: &Stage) {
    kit::send(window, UiCommand::Go(Room::Watch));
}

pub(crate) fn run(window: &mut Window, stage: &Stage, status: &str, steps: u64) -> PathBuf {
    let folder = kit::open(window, stage);
    let held = matches!(status, "running" | "paused" | "preparing");
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, status, steps), held));
    window.run();
    kit::send(window, UiCommand::Go(Room::Watch));
    folder
}

fn preparing(window: &mut Window, stage: &Stage) {
    let folder = run(window, stage, "preparing", 0);
    let mut view = kit::view(7, "preparing", 0);
    view.train_raw.clear();
    view.validation.clear();
    view.kept.clear();
    view.kept_step = None;
    view.rank = temper::reader::ranks::RankView::default();
    view.samples.clear();
    view.phases.clear();
    view.lr.clear();
    view.grad_norm.clear();
    view.clipped_steps = 0;
    view.train_smooth.clear();
    view.row.best_step = 0;
    view.row.tokens_per_sec = 0.0;
    view.rss_mib = f64::NAN;
    view.step_secs = f64::NAN;
    view.preparing = Some(Preparing {
        stage: "measuring what must not be forgotten".to_owned(),
        done: 3,
        total: 4,
        unit: "kept sets".to_owned(),
    });
    stage.runs.publish(kit::snapshot(&folder, view, true));
    window.run();
}

fn training(window: &mut Window, stage: &Stage) {
    run(window, stage, "running", 412);
}

/// Before the first validation and the first measurement of the kept sets.
pub(crate) fn early_view(status: &str) -> RunView {
    let mut view = kit::view(7, status, 30);
    view.row.best_loss = f64::NAN;
    view.row.forgetting = f64::NAN;
    view.rank = temper::reader::ranks::RankView::default();
    view
}

fn early(window: &mut Window, stage: &Stage) {
    let folder = run(window, stage, "running", 30);
    stage.runs.publish(kit::snapshot(&folder, early_view("running"), true));
    window.run();
}

fn stopped_early(window: &mut Window, stage: &Stage) {
    let folder = run(window, stage, "stopped", 30);
    stage.runs.publish(kit::snapshot(&folder, early_view("stopped"), false));
    window.run();
}

fn scrubbed(window: &mut Window, stage: &Stage) {
    run(window, stage, "running", 412);
    kit::send(window, UiCommand::Scrub(Some(250)));
    kit::send(window, UiCommand::Site(Some("layers.17.attn.v".to_owned())));
}

/// A run whose layers have routers on two modules, with more experts higher up and one that hardly answers.
pub(crate) fn routed_view(status: &str, steps: u64) -> RunView {
    let mut view = kit::view(7, status, steps);
    let mut points = Vec::new();
    for layer in 0..30_u64 {
        for (index, module) in ["attn.q", "attn.v"].into_iter().enumerate() {
            let experts = 2 + 2 * (layer / 8) as usize;
            let mut tell = |measure: String, value: f64| {
                points.push((
                    format!("experts/layers.{layer}.{module}/{measure}"),
                    Point { step: steps / 50 * 50, value },
                ));
            };
            let idle = layer == 20 && index == 0;
            let weight = |expert: usize| {
                let even = 1.0 + kit::noise(layer * 16 + expert as u64 * 3 + index as u64);
                if idle && expert + 1 == experts { 0.01 } else { even }
            };
            let all: f64 = (0..experts).map(weight).sum();
            for expert in 0..experts {
                tell(format!("load/{expert}"), weight(expert) / all);
            }
            tell("entropy".to_owned(), 0.92 * (experts as f64).ln());
            tell("dead".to_owned(), if idle { 1.0 } else { 0.0 });
        }
    }
    view.experts = ExpertView::new(points);
    view
}

fn experts(window: &mut Window, stage: &Stage) {
    let folder = run(window, stage, "finished", 1200);
    stage.runs.publish(kit::snapshot(&folder, routed_view("finished", 1200), false));
    window.run();
    kit::send(window, UiCommand::RankMeasure(Measure::Experts));
}

fn table(window: &mut Window, stage: &Stage) {
    run(window, stage, "running", 412);
    kit::send(window, UiCommand::AsTable(true));
}

fn few_others(window: &mut Window, stage: &Stage) {
    let folder = run(window, stage, "running", 412);
    stage.runs.publish(kit::snapshot(&folder, with_others(kit::view(7, "running", 412), 3), true));
    window.run();
}

fn many_others(window: &mut Window, stage: &Stage) {
    let folder = run(window, stage, "finished", 1200);
    stage.runs.publish(kit::snapshot(&folder, with_others(kit::view(7, "finished", 1200), 49), false));
    window.run();
}

fn choosing_others(window: &mut Window, stage: &Stage) {
    few_others(window, stage);
    kit::send(window, UiCommand::Beside(6, true));
    kit::press(window, "Draw other runs behind the loss");
}

fn paused(window: &mut Window, stage: &Stage) {
    run(window, stage, "paused", 412);
}

fn finished(window: &mut Window, stage: &Stage) {
    run(window, stage, "finished", 1200);
}

fn failed(window: &mut Window, stage: &Stage) {
    let folder = run(window, stage, "failed", 96);
    let mut view = kit::view(8, "failed", 96);
    view.non_finite = vec![97];
    view.row.adapter = None;
    view.row.problem = Some(not_finite());
    stage.runs.publish(kit::snapshot(&folder, view, false));
    window.run();
}

fn engine_gone(window: &mut Window, stage: &Stage) {
    let folder = run(window, stage, "running", 412);
    stage.runs.publish(kit::snapshot(&folder, kit::view(7, "running", 412), false));
    window.run();
}

fn no_samples(window: &mut Window, stage: &Stage) {
    let folder = run(window, stage, "running", 30);
    let mut view = kit::view(7, "running", 30);
    view.samples.clear();
    if let Some(settings) = &mut view.settings {
        settings.samples.prompts.clear();
        settings.keep.probes.clear();
    }
    view.kept.clear();
    view.kept_step = None;
    view.rank = temper::reader::ranks::RankView::default();
    stage.runs.publish(kit::snapshot(&folder, view, true));
    window.run();
}

fn palette(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    kit::send(window, UiCommand::OpenPalette);
}

fn help(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    kit::send(window, UiCommand::OpenHelp);
}

fn glossary(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    kit::send(window, UiCommand::Glossary(Some("forgetting")));
}

fn place(window: &mut Window, _stage: &Stage) {
    kit::send(window, UiCommand::Drop(vec![PathBuf::from(kit::MODEL), PathBuf::from(kit::DATA)]));
    window.state_mut().state.sheet = Some(Sheet::Place { folder: "/people/ada/Temper/support-tone".to_owned() });
    window.run();
}

fn path_entry(window: &mut Window, _stage: &Stage) {
    window.state_mut().state.sheet = Some(Sheet::PathEntry {
        text: String::new(),
        reason: "This system offers no file dialog (no desktop portal answers).".to_owned(),
    });
    window.run();
}

fn closing(window: &mut Window, stage: &Stage) {
    run(window, stage, "running", 412);
    window.state_mut().state.sheet = Some(Sheet::Closing { waiting: false });
    window.run();
}

fn command(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    kit::send(window, UiCommand::ShowCommand);
}

fn project_file(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    kit::send(window, UiCommand::ShowProjectFile);
}

fn engine_problem(window: &mut Window, stage: &Stage) {
    setup_filled(window, stage);
    window.state_mut().state.engine.problem = Some(Problem::new(
        Code::Internal,
        "the engine stopped unexpectedly (signal: 9)",
        "",
        "go on from the last checkpoint; the log file says more",
    ));
    window.run();
}

fn damaged(window: &mut Window, stage: &Stage) {
    let folder = kit::open(window, stage);
    stage.runs.publish(unreadable(&folder));
    window.run();
}

/// `view` with lines of `count` other runs behind its loss.
pub(crate) fn with_others(mut view: RunView, count: u64) -> RunView {
    let line = |run: u64| {
        let point = |step: u64| {
            let drift =
                0.02 * kit::noise(run * 31) + 0.008 * run as f64 + 0.015 * (step as f64 / 90.0 + run as f64).sin();
            PlotPoint::new(step as f64, kit::loss_at(step as f64 * (1.0 + 0.2 * kit::noise(run))) + drift)
        };
        BesideRun::new(run, (1..=240).map(|part| point(5 * part)).collect::<Vec<_>>())
    };
    view.beside = (1..=count).rev().map(line).collect();
    view
}

/// A project whose run database cannot be read.
pub(crate) fn unreadable(folder: &std::path::Path) -> RunsSnapshot {
    let file = folder.join(temper_store::DB_NAME);
    let error = temper_store::StoreError::Damaged { file, what: "file is not a database".to_owned() };
    RunsSnapshot { project: Some(folder.to_path_buf()), problem: Some(error.into()), ..RunsSnapshot::default() }
}
