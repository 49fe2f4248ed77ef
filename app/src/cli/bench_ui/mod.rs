//! `temper bench ui`: what the real window costs, each figure beside its limit.
//!
//! Place in the data flow: this process makes the projects and starts the program again and again, as window and as
//! engine, with [`window`] on the other side; it measures from outside what can be measured there, and answers with one
//! `figures` event like every bench.

mod child;
mod project;
mod training;
pub(crate) mod window;

use crate::cli::args::UiArgs;
use crate::cli::drive::{print_error, print_json};
use crate::cli::figures;
use child::{Started, processor_secs};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use temper::desktop::Desktop;
use temper::probe::{Report, Share};
use temper::state::settings::{MachineReport, Settings};
use temper_protocol::event::{Figure, Figures};
use temper_protocol::{Code, Event, Problem, named};

/// Limits of the product: milliseconds a frame, seconds to open many runs and to the first frame, per cent of one
/// processor when idle, per cent of a training run's speed.
const FRAME_MS: f64 = 4.0;
const OPEN_SECS: f64 = 2.0;
const START_SECS: f64 = 1.5;
const IDLE_PERCENT: f64 = 1.0;
const TRAINING_PERCENT: f64 = 5.0;

/// A window that was opened is left alone for so long before it counts as idle.
const SETTLE: Duration = Duration::from_secs(6);
/// Longest wait until the engine that a window started has answered everything.
const QUIET_WAIT: Duration = Duration::from_secs(60);

/// Measures and prints.
///
/// # Errors
/// A [`Problem`] when there is no display, or the window or the engine cannot be started.
pub(crate) fn run(json: bool, arguments: &UiArgs) -> Result<bool, Problem> {
    if !Desktop::here().has_windows() {
        return Err(Problem::new(
            Code::NotFound,
            "there is no display to open the window on",
            "DISPLAY and WAYLAND_DISPLAY are not set",
            "run it on a desktop, or on a virtual screen: xvfb-run -s \"-screen 0 1440x900x24\" temper bench ui",
        ));
    }
    let work = tempfile::tempdir().map_err(|error| {
        let place = "the folder for temporary files";
        Problem::new(Code::Io, format!("no temporary folder: {error}"), place, "make room there or set TMPDIR")
    })?;
    let bench = Bench { json, arguments, home: work.path().join("home"), project: work.path().join("runs") };
    let mut rows = Rows::default();
    let wants = |what: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == what);
    bench.settings()?;
    if wants("frames") || wants("idle") || wants("training") {
        bench.note(&format!("writing {} runs of {} steps", arguments.runs, arguments.points));
        let shape = project::Shape { runs: arguments.runs.max(2), points: arguments.points, phases: false };
        project::write(&bench.project, &shape, named::STARTER)?;
    }
    if wants("start") {
        bench.start(&mut rows)?;
    }
    if wants("open") {
        bench.open(&mut rows)?;
    }
    if wants("frames") {
        bench.frames(&mut rows)?;
    }
    if wants("lens") {
        bench.lens(&mut rows)?;
    }
    if wants("idle") {
        bench.idle(&mut rows)?;
    }
    if wants("training") {
        training::measure(&bench, &mut rows)?;
    }
    let event = Event::Figures(rows.table(arguments));
    if json {
        print_json(&event);
    } else if let Event::Figures(table) = &event {
        figures::table(table);
    }
    Ok(true)
}

/// What all measurements need.
struct Bench<'a> {
    json: bool,
    arguments: &'a UiArgs,
    home: PathBuf,
    project: PathBuf,
}

impl Bench<'_> {
    /// Says what is done now; the answer of the bench goes to standard output, this does not.
    fn note(&self, words: &str) {
        if !self.json {
            print_error(&format!("{words} ..."));
        }
    }

    fn seconds(&self) -> Duration {
        Duration::from_secs_f64(self.arguments.seconds.clamp(1.0, 3600.0))
    }

    /// Settings of a window that was open before: the self-test of a first start is no part of any figure.
    fn settings(&self) -> Result<(), Problem> {
        let config = window::places(&self.home).config;
        let failed = |error: std::io::Error| {
            Problem::new(Code::Io, error.to_string(), config.display().to_string(), "make room there or set TMPDIR")
        };
        let machine = Some(MachineReport::default());
        std::fs::create_dir_all(&config).map_err(failed)?;
        std::fs::create_dir_all(&self.project).map_err(failed)?;
        std::fs::write(config.join("window.json"), Settings { machine, ..Settings::default() }.text()).map_err(failed)
    }

    /// Opens the window with a plan.
    fn window(&self, plan: &str, project: Option<&Path>, run: Option<u64>) -> Result<Started, Problem> {
        let mut line: Vec<OsString> = ["bench", "ui-window", "--plan", plan].map(OsString::from).to_vec();
        line.extend([OsString::from("--home"), self.home.clone().into_os_string()]);
        line.extend([OsString::from("--seconds"), OsString::from(self.arguments.seconds.to_string())]);
        if let Some(project) = project {
            line.extend([OsString::from("--project"), project.as_os_str().to_owned()]);
        }
        if let Some(run) = run {
            line.extend([OsString::from("--run"), OsString::from(run.to_string())]);
        }
        Started::program("the window", &line)
    }

    /// From starting the program to its first frame on the screen.
    fn start(&self, rows: &mut Rows) -> Result<(), Problem> {
        self.note("starting the program");
        let mut secs = Vec::new();
        // The first start finds no file in memory; it is no figure of the program but of the disk.
        for index in 0..=self.arguments.starts.max(1) {
            let mut window = self.window("start", None, None)?;
            let (when, ()) = window.wait(|line| line.contains("first_frame").then_some(()))?;
            if index > 0 {
                secs.push((when - window.since).as_secs_f64());
            }
            window.finish();
        }
        rows.limit("start to the first frame, median", median(&mut secs), START_SECS, "s");
        rows.plain("the same, slowest", secs.last().copied().unwrap_or(f64::NAN), "s");
        Ok(())
    }

    /// From the command that opens a project with many long runs to what it wants to see on the screen.
    fn open(&self, rows: &mut Rows) -> Result<(), Problem> {
        let shape = project::Shape {
            runs: self.arguments.open_runs.max(2),
            points: self.arguments.open_points.max(2),
            phases: true,
        };
        let project::Shape { runs, points, .. } = shape;
        self.note(&format!("writing {runs} runs of {points} steps with ten series"));
        let folder = self.home.with_file_name("many");
        let failed = |error: std::io::Error| {
            Problem::new(Code::Io, error.to_string(), folder.display().to_string(), "make room there or set TMPDIR")
        };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        project::write(&folder, &shape, named::STARTER)?;
        self.note("opening them");
        let mut window = self.window("open", Some(&folder), Some(runs))?;
        let (_, said) = window.wait(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value.get("opened").is_some().then_some(value)
        })?;
        window.finish();
        let opened = said.get("opened").cloned().unwrap_or_default();
        let secs = |name: &str| opened.get(name).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
        let report: Report = serde_json::from_value(said.get("frames").cloned().unwrap_or_default())
            .map_err(|error| Problem::internal(format!("the window's figures cannot be read: {error}")))?;
        rows.limit("many long runs opened, the newest on the screen", secs("newest_secs"), OPEN_SECS, "s");
        rows.limit("five of its runs over each other in Compare", secs("compared_secs"), OPEN_SECS, "s");
        rows.limit("all of them behind the loss of the newest in Watch", secs("all_secs"), OPEN_SECS, "s");
        rows.limit("a frame of Compare over all of them, 99 of 100 below", report.drawing.p99_ms, FRAME_MS, "ms");
        std::fs::remove_dir_all(&folder).map_err(failed)
    }

    /// Frames of the script over all runs, while the newest goes on.
    fn frames(&self, rows: &mut Rows) -> Result<(), Problem> {
        self.note("moving, zooming and scrolling");
        let newest = self.arguments.runs.max(2);
        let live = project::Live::start(&self.project, newest, self.arguments.points)?;
        let mut window = self.window("frames", Some(&self.project), Some(newest))?;
        let (_, said) = window.wait(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value.get("frames").is_some().then_some(value)
        })?;
        window.finish();
        drop(live);
        let report: Report = serde_json::from_value(said.get("frames").cloned().unwrap_or_default())
            .map_err(|error| Problem::internal(format!("the window's figures cannot be read: {error}")))?;
        let number = |name: &str| said.get(name).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
        let Share { median_ms, p99_ms, worst_ms } = report.drawing;
        rows.limit("a frame on the window's thread, 99 of 100 below", p99_ms, FRAME_MS, "ms");
        rows.plain("the same, median", median_ms, "ms");
        rows.plain("the same, worst", worst_ms, "ms");
        rows.plain("of it tessellation, 99 of 100 below", report.tessellation.p99_ms, "ms");
        rows.plain("with renderer and window system, 99 of 100 below", report.all.p99_ms, "ms");
        rows.plain("all threads of the program, mean: a software renderer draws on some", number("program_ms"), "ms");
        rows.plain("frames drawn", report.frames as f64, "");
        rows.plain("other runs in the plot", number("other_runs"), "");
        rows.plain("points drawn a frame", number("points"), "");
        Ok(())
    }

    /// Frames of the token lens over many rows, while the same rows are all read for the card Data.
    fn lens(&self, rows: &mut Rows) -> Result<(), Problem> {
        self.note(&format!("scrolling through {} rows", self.arguments.rows));
        let folder = self.home.join("rows");
        project::write_rows(&folder, self.arguments.rows.max(1), &self.arguments.model)?;
        let mut window = self.window("lens", Some(&folder), None)?;
        let (_, said) = window.wait(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value.get("frames").is_some().then_some(value)
        })?;
        window.finish();
        let report: Report = serde_json::from_value(said.get("frames").cloned().unwrap_or_default())
            .map_err(|error| Problem::internal(format!("the window's figures cannot be read: {error}")))?;
        let number = |name: &str| said.get(name).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
        let Share { median_ms, p99_ms, worst_ms } = report.drawing;
        rows.limit("a frame of the token lens on the window's thread, 99 of 100 below", p99_ms, FRAME_MS, "ms");
        rows.plain("the same, median", median_ms, "ms");
        rows.plain("the same, worst", worst_ms, "ms");
        rows.plain("frames drawn of the token lens", report.frames as f64, "");
        rows.plain("of them with every row in view there", 100.0 * number("filled"), "%");
        rows.plain("rows of the data", number("rows"), "");
        Ok(())
    }

    /// Processor use of a window that nobody touches.
    fn idle(&self, rows: &mut Rows) -> Result<(), Problem> {
        self.note("leaving the window alone");
        let home = self.window("idle", None, None)?;
        rows.limit("processor use when idle, Home", self.idle_percent(home)?, IDLE_PERCENT, "%");
        let watch = self.window("idle", Some(&self.project), Some(1))?;
        let percent = self.idle_percent(watch)?;
        rows.limit("processor use when idle, a finished run in Watch", percent, IDLE_PERCENT, "%");
        Ok(())
    }

    fn idle_percent(&self, mut window: Started) -> Result<f64, Problem> {
        window.wait(|line| line.contains("opened").then_some(()))?;
        let used = || processor_secs(window.pid()).unwrap_or(f64::NAN);
        // Its engine answers first questions about the project; that is work, not idling.
        let until = Instant::now() + QUIET_WAIT;
        loop {
            let before = used();
            std::thread::sleep(SETTLE);
            let is_quiet = used() - before < 0.1 * SETTLE.as_secs_f64();
            if is_quiet || before.is_nan() || Instant::now() > until {
                break;
            }
        }
        let (since, before) = (Instant::now(), used());
        std::thread::sleep(self.seconds());
        Ok(100.0 * (used() - before) / since.elapsed().as_secs_f64())
    }
}

/// Rows of the table.
#[derive(Default)]
struct Rows(Vec<Vec<Figure>>);

impl Rows {
    /// A figure that must stay below a limit.
    fn limit(&mut self, name: &str, value: f64, limit: f64, unit: &str) {
        let word = if value < limit { "yes" } else { "no" };
        let holds = if value.is_nan() { Figure::Missing } else { word.into() };
        self.0.push(vec![name.into(), value.into(), limit.into(), unit.into(), holds]);
    }

    /// A figure that explains others.
    fn plain(&mut self, name: &str, value: f64, unit: &str) {
        self.0.push(vec![name.into(), value.into(), Figure::Missing, unit.into(), Figure::Missing]);
    }

    fn table(self, arguments: &UiArgs) -> Figures {
        Figures {
            what: "ui".to_owned(),
            text: format!(
                "The real window over {} runs of {} steps. A frame is the processor time of the window's thread from its \
                 input to its shapes, and the tessellation of those shapes, while a script moves, zooms and scrolls and \
                 the newest run goes on; many long runs are {} of {} steps with ten series each; idle use is that of \
                 window and engine, per cent of one processor. Training is one run in the same project, watched with all \
                 others behind it, in {} pairs of spans of {:.1} s: in one the window runs, in the other it is held.",
                arguments.runs,
                arguments.points,
                arguments.open_runs,
                arguments.open_points,
                arguments.pairs,
                training::SPAN.as_secs_f64()
            ),
            columns: ["figure", "measured", "below", "unit", "holds"].map(str::to_owned).to_vec(),
            rows: self.0,
        }
    }
}

/// The middle of some values, which are sorted; of an even number the mean of the two in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len().is_multiple_of(2)) {
        (None, _) => f64::NAN,
        (Some(value), false) => *value,
        (Some(value), true) => 0.5 * (value + values.get(middle - 1).copied().unwrap_or(*value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_at_its_limit_does_not_hold_and_an_unmeasured_one_says_nothing() {
        let mut rows = Rows::default();
        rows.limit("a", 3.9, 4.0, "ms");
        rows.limit("b", 4.0, 4.0, "ms");
        rows.limit("c", f64::NAN, 4.0, "ms");
        let holds: Vec<Option<&Figure>> = rows.0.iter().map(|row| row.last()).collect();
        assert_eq!(holds, [Some(&Figure::from("yes")), Some(&Figure::from("no")), Some(&Figure::Missing)]);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert_eq!(median(&mut [4.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&mut []).is_nan());
    }
}
