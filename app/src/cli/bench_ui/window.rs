//! The other side of `temper bench ui`: opens the real window as the bench asks and prints what it measures.

use crate::cli::args::UiWindowArgs;
use crate::cli::drive::print_line;
use crate::cli::{log_file, own_program};
use std::path::Path;
use std::sync::Arc;
use temper::files::Places;
use temper::instance::Door;
use temper::probe::{Plan, Probe};
use temper_protocol::{Code, Problem};

/// Folders of a window whose settings are below `home`.
pub(super) fn places(home: &Path) -> Places {
    Places { config: home.join("config"), data: home.join("data"), projects: home.join("projects") }
}

/// Opens the window and returns when it has closed.
///
/// # Errors
/// A [`Problem`] when there can be no window.
pub(crate) fn run(arguments: UiWindowArgs) -> Result<bool, Problem> {
    let UiWindowArgs { plan, home, project, run, seconds } = arguments;
    let plan = match (plan.as_str(), run) {
        ("start", _) => Plan::Start,
        ("open", Some(run)) => Plan::Open { run },
        ("idle", run) => Plan::Idle { run },
        ("lens", _) => Plan::Lens { secs: seconds },
        ("frames", Some(run)) => Plan::Frames { run, secs: seconds },
        _ => return Err(Problem::new(Code::Usage, "this is measured on a run", "--run", "name a run of the project")),
    };
    // What is timed is opened by the plan, when the window stands.
    let (project, later) = if matches!(plan, Plan::Open { .. }) { (None, project) } else { (project, None) };
    let probe = Probe { plan, places: places(&home), project: later, say: Arc::new(print_line) };
    let engine = temper::client::EngineLauncher::child(own_program()?, log_file());
    let options = temper::window::WindowOptions {
        project,
        drops: Vec::new(),
        autostart: false,
        engine,
        door: Door::default(),
        probe: Some(probe),
    };
    super::super::open_window(options)
}
