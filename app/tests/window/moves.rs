//! Ranks that move: methods that share a rank out or change it while they train are trained for some steps by the program
//! itself, and the heat map shows a layer's cell with another rank at the next measurement.

use crate::kit;
use crate::store::Watcher;
use egui::accesskit::Role;
use egui_kittest::kittest::NodeT as _;
use std::path::Path;
use temper::commands::UiCommand;
use temper::reader::{RunSource as _, RunView, ViewRequest};
use temper::state::Room;
use temper_protocol::{Project, Value, project_file};

const BINARY: &str = env!("CARGO_BIN_EXE_temper");
const STEPS: u64 = 16;

/// A project that trains `method` for some steps on the starter and measures often.
fn write_project(folder: &Path, method: &str, settings: &[(&str, Value)]) {
    let mut project = Project::new("moves", "builtin:starter", &["builtin:starter-data".to_owned()], method);
    project.train.steps = STEPS;
    project.train.batch = 1;
    project.train.lr_peak = 3e-3;
    project.train.warmup_steps = 1;
    project.train.eval_steps = 4;
    project.train.checkpoint_steps = 0;
    project.keep.every_steps = 0;
    project.data.max_tokens = 64;
    for (key, value) in settings {
        project.method.settings.0.insert((*key).to_owned(), value.clone());
    }
    project_file::save(&project, &folder.join(project_file::FILE_NAME)).expect("a project file");
}

/// What the window's reader makes of the run at `step`.
fn view_at(watcher: &mut Watcher, project: &Path, step: u64) -> RunView {
    watcher.reader.look(ViewRequest {
        project: Some(project.to_path_buf()),
        rank_step: Some(step),
        ..ViewRequest::default()
    });
    let asked = |view: &RunView| view.request.rank_step == Some(step);
    let snapshot = watcher.wait(|snapshot| snapshot.view.as_ref().is_some_and(|view| asked(view)));
    RunView::clone(snapshot.view.as_ref().expect("a view"))
}

/// The name of the cell of the heat map that is chosen.
fn cell(window: &kit::Window) -> String {
    let nodes = window.root().children_recursive();
    let cell = nodes.into_iter().find(|node| node.accesskit_node().role() == Role::GridCell).expect("a cell");
    cell.accesskit_node().label().expect("a name")
}

/// Trains `method`, finds a site whose rank moved between two measurements, and looks at its cell at both.
fn moves(method: &str, settings: &[(&str, Value)]) {
    let project = tempfile::tempdir().expect("temporary folder");
    write_project(project.path(), method, settings);
    let run = |words: &[&str]| std::process::Command::new(BINARY).args(words).output().expect("the program starts");
    let folder = project.path().to_str().expect("a name");
    let done = run(&["train", folder]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut watcher = Watcher::new();
    let last = view_at(&mut watcher, project.path(), STEPS);
    let views: Vec<RunView> = last.rank.steps.iter().map(|step| view_at(&mut watcher, project.path(), *step)).collect();
    let moved = views.windows(2).find_map(|pair| {
        let [earlier, later] = pair else { return None };
        let after = |site: &str| later.rank.row(site).map(|row| row.rank);
        let row = earlier.rank.rows().find(|row| after(&row.site).is_some_and(|rank| rank != row.rank))?;
        Some((row.site.clone(), row.rank, after(&row.site)?, earlier, later))
    });
    let (site, before, after, earlier, later) = moved.expect("a rank moves");

    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let opened = kit::open(&mut window, &stage);
    stage.runs.publish(kit::snapshot(&opened, earlier.clone(), false));
    window.run();
    kit::send(&mut window, UiCommand::Go(Room::Watch));
    kit::send(&mut window, UiCommand::Site(Some(site.clone())));
    let words = cell(&window);
    assert!(words.contains(&format!(": rank {before}, ")), "{method}, {site}: {words}");
    stage.runs.publish(kit::snapshot(&opened, later.clone(), false));
    window.run();
    let words = cell(&window);
    assert!(words.contains(&format!(": rank {after}, ")), "{method}, {site}: {words}");

    let shown = run(&["show", "last", "--project", folder]);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(text.contains("rank moved"), "{method}: {text}");
}

#[test]
fn adalora_moves_ranks() {
    moves("adalora", &[("every_steps", Value::Integer(1))]);
}

#[test]
fn eva_moves_ranks() {
    moves("eva", &[]);
}

#[test]
fn increlora_moves_ranks() {
    moves("increlora", &[("every_steps", Value::Integer(2))]);
}

#[test]
fn sora_moves_ranks() {
    moves("sora", &[("threshold", Value::Number(0.02))]);
}

#[test]
fn soka_moves_ranks() {
    moves("soka", &[]);
}

#[test]
fn lamda_pp_moves_ranks() {
    moves("lamda++", &[]);
}

#[test]
fn diffora_moves_ranks() {
    moves("diffora", &[("search_share", Value::Number(0.3))]);
}
