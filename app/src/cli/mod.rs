//! The command line: grammar, one engine in this process, and the two ways to print what it says.

mod args;
mod bench_ui;
mod compared;
mod drive;
mod figures;
mod housekeep;
mod human;
mod project;
mod quickstart;
mod report;
mod runs;
mod show;
mod translate;

use args::{Bench, Cli, Task};
use clap::Parser as _;
use clap::error::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use temper::desktop::Desktop;
use temper::files::Places;
use temper::instance::{self, Handed, Host, Meeting, Place};
use temper::window::WindowOptions;
use temper_protocol::{Code, Problem};

/// Memory that cannot be had ends the program with a word, not with an abort.
#[global_allocator]
static ALLOCATOR: temper_host::memory::Allocator = temper_host::memory::Allocator;

/// Runs the program and returns its exit code: 0 success, 2 usage, 1 any other failure.
pub(crate) fn main() -> ExitCode {
    temper_host::memory::one_heap();
    let json_asked = std::env::args_os().any(|argument| argument == "--json");
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => error.exit(),
        Err(error) if json_asked => {
            let text = error.render().to_string();
            let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            return fail(true, &Problem::new(Code::Usage, what, "command line", "see temper --help"));
        }
        Err(error) => error.exit(),
    };
    let json = cli.json;
    start_log(matches!(cli.task, Some(Task::Engine)));
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => fail(json, &problem),
    }
}

/// Prints a problem in the form asked for and returns its exit code.
fn fail(json: bool, problem: &Problem) -> ExitCode {
    drive::print_problem(json, problem);
    ExitCode::from(problem.exit_code())
}

/// The log goes to standard error: warnings for people, more with `TEMPER_LOG`.
fn start_log(engine: bool) {
    let fallback = if engine { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("TEMPER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(fallback));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// Carries out the task. `Ok(false)` is a failure that has been printed already.
fn run(cli: Cli) -> Result<bool, Problem> {
    match cli.task {
        None => {
            // A mistyped command would otherwise open a window with nothing in it.
            if let Some(path) = cli.paths.iter().find(|path| !path.exists()) {
                return Err(Problem::new(
                    Code::Usage,
                    format!("\"{}\" is neither a command nor a file", path.display()),
                    "command line",
                    "see temper --help for the commands",
                ));
            }
            match meet(cli.paths, cli.new_window)? {
                Met::Handed => {
                    if !cli.json {
                        drive::print_line("the window that is open has taken it; --new-window opens another one");
                    }
                    Ok(true)
                }
                Met::Open(drops, host) => window(None, drops, false, host),
            }
        }
        Some(Task::Engine) => temper_host::engine_main().map(|()| true),
        Some(Task::Quickstart { headless, dir }) => {
            if !headless && Desktop::here().has_windows() {
                let project = quickstart::prepare(cli.json, dir)?;
                // It trains at once, which a window with another project in it could not.
                let host = match meet(Vec::new(), true)? {
                    Met::Handed => None,
                    Met::Open(_, host) => host,
                };
                window(Some(project), Vec::new(), true, host)
            } else {
                quickstart::run(cli.json, dir)
            }
        }
        Some(Task::Runs(arguments)) => runs::runs(cli.json, arguments),
        Some(Task::Show { run, project }) => show::show(cli.json, &run, project.as_deref()),
        Some(Task::Project { what }) => project::run(cli.json, &what),
        Some(Task::Report { run, project, out }) => report::report(cli.json, &run, project.as_deref(), &out),
        Some(Task::Methods { id, family }) => drive::Session::open(cli.json)?.methods(id.as_deref(), family.as_deref()),
        Some(Task::Bench { what: Bench::Ui(arguments) }) => bench_ui::run(cli.json, &arguments),
        Some(Task::Bench { what: Bench::UiWindow(arguments) }) => bench_ui::window::run(arguments),
        Some(task) => {
            let (awake, pauses) = match &task {
                Task::Train(arguments) => (arguments.keep_awake, arguments.pause_on_battery),
                _ => (false, false),
            };
            let command = translate::command(task)?;
            let mut session = drive::Session::open(cli.json)?;
            session.look_after(awake, pauses)?;
            session.carry_out(command)
        }
    }
}

/// What came of looking for a window that is open already.
enum Met {
    /// It has taken the paths.
    Handed,
    /// One opens here with these paths; what other starts hand over comes by the host, if it is one.
    Open(Vec<PathBuf>, Option<Host>),
}

/// Hands `paths` to the window that is open on this desktop, unless there is none or `another` is wanted.
fn meet(paths: Vec<PathBuf>, another: bool) -> Result<Met, Problem> {
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).map_err(|error| {
            let place = path.display().to_string();
            Problem::new(Code::Io, format!("this path has no place: {error}"), place, "give it from the root")
        })
    };
    let paths = paths.into_iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    if !Desktop::here().has_windows() {
        return Ok(Met::Open(paths, None));
    }
    let place = Place::of_user(&Places::of_user());
    Ok(match instance::meet(&place, &Handed::new(paths.clone()), another) {
        Meeting::Handed => Met::Handed,
        Meeting::Host(host) => Met::Open(paths, Some(host)),
        Meeting::Alone => Met::Open(paths, None),
    })
}

fn window(project: Option<PathBuf>, drops: Vec<PathBuf>, autostart: bool, host: Option<Host>) -> Result<bool, Problem> {
    let engine = temper::client::EngineLauncher::child(own_program()?, log_file());
    let door = host.as_ref().map(Host::door).unwrap_or_default();
    let options = WindowOptions { project, drops, autostart, engine, door, probe: None };
    // `host` lives until the window has closed.
    open_window(options)
}

/// Opens a window and returns when it is closed. Where the processor draws it, what one frame frees is kept for the next.
pub(crate) fn open_window(options: WindowOptions) -> Result<bool, Problem> {
    temper_host::memory::keep_frames();
    temper::window::run(options).map(|()| true)
}

/// The file of this program.
fn own_program() -> Result<PathBuf, Problem> {
    std::env::current_exe().map_err(|error| {
        Problem::new(
            Code::Io,
            format!("this program cannot find itself: {error}"),
            "engine",
            "start it by its full path",
        )
    })
}

/// Where the engine's error stream goes; nowhere when there is no folder for it.
fn log_file() -> Option<PathBuf> {
    let dirs = directories::ProjectDirs::from("", "", "temper")?;
    std::fs::create_dir_all(dirs.cache_dir()).ok()?;
    Some(dirs.cache_dir().join("engine.log"))
}
