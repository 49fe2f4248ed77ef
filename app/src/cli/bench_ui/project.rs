//! The project that `temper bench ui` shows: a run database with as many runs and points as asked, as an engine writes it.
//!
//! Place in the data flow: made once in a temporary folder; the window reads it through the store like any other, and
//! [`Live`] goes on writing into its newest run as a training run does.

use std::f64::consts::PI;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use temper_protocol::project::Source;
use temper_protocol::{Code, Event, Problem, Project, RunStatus, named, project_file};
use temper_store::{NewRun, ProjectLock, Store, StoreError};

/// Points that are written in one transaction.
const BATCH: u64 = 20_000;
/// Steps that the run that goes on writes each time, and how often it does.
const LIVE_STEPS: u64 = 5;
const LIVE_INTERVAL: Duration = Duration::from_millis(500);
/// Kept sets of the run that is looked at.
const KEPT: [&str; 4] = ["prose", "instructions", "code", "arithmetic"];
/// Modules in a layer, as the rank microscope shows them.
const MODULES: [&str; 7] = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.gate", "mlp.up", "mlp.down"];
const LAYERS: u64 = 30;

/// A noise between -0.5 and 0.5 that is the same for the same run and step.
fn noise(run: u64, step: u64) -> f64 {
    let mixed = ((run << 40) ^ step.wrapping_add(1)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33;
    mixed as f64 / f64::from(u32::MAX >> 1) - 0.5
}

fn loss(run: u64, step: u64, points: u64) -> f64 {
    let share = step as f64 / points.max(1) as f64;
    let floor = 1.3 + 0.02 * (run % 17) as f64;
    floor + 1.5 * (-share * (6.0 + (run % 5) as f64)).exp() + 0.02 * (share * 9.0 * PI + run as f64).sin()
}

fn step_event(run: u64, step: u64, points: u64) -> Event {
    Event::Step {
        step,
        max_steps: 2 * points,
        train_loss: loss(run, step, points) + 0.25 * noise(run, step),
        lr: 2e-4 * (1.0 - 0.5 * step as f64 / points as f64),
        grad_norm: 0.6 + 0.3 * noise(run + 1000, step),
        tokens_per_sec: 900.0 + 40.0 * noise(run + 2000, step),
        trained_tokens: step * 512,
        rss_mib: 1400.0,
    }
}

/// How much a project holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Runs.
    pub(super) runs: u64,
    /// Steps of each.
    pub(super) points: u64,
    /// Whether each step has the times of its four phases too: ten series then.
    pub(super) phases: bool,
}

fn phases_event(run: u64, step: u64) -> Event {
    let part = |share: f64, salt: u64| share * (1.0 + 0.1 * noise(run + salt, step));
    let phases = [("forward", 0.16), ("backward", 0.28), ("optimiser", 0.04), ("data", 0.01)];
    let secs = phases.iter().zip(0..).map(|((name, share), salt)| ((*name).to_owned(), part(*share, 3000 + salt)));
    Event::Phases { step, secs: secs.collect() }
}

/// Writes the project with its runs into `folder`; the newest run has all that the room Watch shows.
///
/// # Errors
/// Those of the disk.
pub(super) fn write(folder: &Path, shape: &Shape, model: &str) -> Result<(), Problem> {
    let Shape { runs, points, phases } = *shape;
    let project = project(model);
    project_file::save(&project, &folder.join(project_file::FILE_NAME))?;
    let settings_toml = project_file::to_text(&project)?;
    let store = Store::open(folder)?;
    for _ in 0..runs {
        let new = NewRun {
            method: "lora".to_owned(),
            settings_toml: settings_toml.clone(),
            max_steps: 2 * points,
            seed: 42,
            ..NewRun::default()
        };
        let run = store.create_run(&new)?;
        store.push_event(run, &Event::Eval { step: 0, split: "validation".to_owned(), loss: 3.0, best: true })?;
        for step in 1..=points {
            store.push_event(run, &step_event(run, step, points))?;
            if phases {
                store.push_event(run, &phases_event(run, step))?;
            }
            if step % BATCH == 0 {
                store.flush()?;
            }
        }
        measurements(&store, run, points, if run == runs { 100 } else { 4 })?;
        if run < runs {
            store.push_event(run, &finished(run, points))?;
        }
        store.flush()?;
    }
    Ok(())
}

/// Writes a project in `folder` whose data has `rows` conversations, a line each.
///
/// # Errors
/// Those of the disk.
pub(super) fn write_rows(folder: &Path, rows: u64, model: &str) -> Result<(), Problem> {
    let file = folder.join("rows.jsonl");
    let failed = |error: std::io::Error| {
        let action = "make room there or set TMPDIR";
        Problem::new(Code::Io, error.to_string(), file.display().to_string(), action)
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut out = BufWriter::new(std::fs::File::create(&file).map_err(failed)?);
    for row in 0..rows {
        let more = "and once more, ".repeat((6.0 * (noise(row, 1) + 0.5)) as usize);
        let (ask, say) = (format!("Where is order {row}?"), format!("It leaves today, {more}thank you."));
        writeln!(
            out,
            "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{ask}\"}},\
             {{\"role\":\"assistant\",\"content\":\"{say}\"}}]}}"
        )
        .map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    let mut project = project(model);
    project.data.train = vec![Source::Path("rows.jsonl".to_owned())];
    project_file::save(&project, &folder.join(project_file::FILE_NAME))?;
    Ok(())
}

/// The project of the bench: nothing is measured on the way that would disturb a comparison of speeds.
pub(super) fn project(model: &str) -> Project {
    let mut project = Project::new("bench-ui", model, &[named::STARTER_DATA.to_owned()], "lora");
    project.train.steps = 1_000_000;
    project.train.eval_steps = 0;
    project.train.checkpoint_steps = 0;
    project.keep.every_steps = 0;
    project.samples.every_steps = 0;
    project
}

/// Validations, kept sets, ranks, samples and checkpoints, `count` of each over the run.
fn measurements(store: &Store, run: u64, points: u64, count: u64) -> Result<(), StoreError> {
    for index in 0..=count {
        let step = points * index / count;
        let share = index as f64 / count as f64;
        let validation = loss(run, step, points) + 0.05;
        store.push_event(
            run,
            &Event::Eval { step, split: "validation".to_owned(), loss: validation, best: index == count },
        )?;
        for (place, set) in KEPT.iter().enumerate() {
            let loss_delta = (0.04 - 0.012 * place as f64) * (1.0 - (-4.0 * share).exp());
            let probe = Event::Probe {
                step,
                set: (*set).to_owned(),
                loss: 2.0 + loss_delta,
                loss_delta,
                kl: loss_delta.abs() * 0.4,
                top1_agreement: 0.97,
                perplexity_ratio: loss_delta.exp(),
                negative_flips: loss_delta.abs() * 0.4,
                positions: 8192,
            };
            store.push_event(run, &probe)?;
        }
        if index % 10 == 0 && index > 0 {
            ranks(store, run, step)?;
            let path = PathBuf::from(format!("checkpoints/{step}"));
            store.push_event(run, &Event::Checkpoint { step, path, bytes: 29_465_804 })?;
        }
        if index % 25 == 0 {
            let text = format!("An answer after {step} steps that is long enough to fill two lines of the panel.");
            store.push_event(run, &Event::Sample { step, prompt: "Where is my order?".to_owned(), text })?;
        }
    }
    store.flush()
}

fn ranks(store: &Store, run: u64, step: u64) -> Result<(), StoreError> {
    for layer in 0..LAYERS {
        for module in MODULES {
            let spectrum = (0..16).map(|index| 0.8 * (-0.3 * index as f32).exp()).collect();
            let rank = Event::Rank {
                step,
                site: format!("layers.{layer}.{module}"),
                rank: 16,
                effective_rank: 6.0 + 0.2 * layer as f64 + noise(layer, step),
                energy: 0.004 + 0.0005 * layer as f64,
                spectrum,
            };
            store.push_event(run, &rank)?;
        }
    }
    Ok(())
}

fn finished(run: u64, points: u64) -> Event {
    let best_loss = loss(run, points, points) + 0.05;
    Event::Finished {
        run,
        status: RunStatus::Finished,
        steps: points,
        best_step: points,
        base_loss: 3.0,
        final_loss: best_loss,
        best_loss,
        forgetting: 0.04,
        tokens_per_sec: 900.0,
        cpu_secs_per_step: 0.5,
        peak_rss_mib: 1400.0,
        wall_secs: points as f64 * 0.5,
        adapter: None,
        problem: None,
    }
}

/// A training run as the store sees one: steps go on until this is dropped.
pub(super) struct Live {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<Result<(), StoreError>>>,
}

impl Live {
    /// Goes on with `run` of the project in `folder` from step `points` on.
    ///
    /// # Errors
    /// Those of the disk; [`StoreError::Busy`] when another engine holds the project.
    pub(super) fn start(folder: &Path, run: u64, points: u64) -> Result<Self, Problem> {
        let lock = ProjectLock::acquire(folder)?;
        let store = Store::open(folder)?;
        let (stop, stopped) = sync_channel(1);
        let work = move || {
            let _held = lock;
            let mut step = points;
            loop {
                for _ in 0..LIVE_STEPS {
                    step += 1;
                    store.push_event(run, &step_event(run, step, points))?;
                }
                store.flush()?;
                if stopped.recv_timeout(LIVE_INTERVAL) != Err(RecvTimeoutError::Timeout) {
                    return Ok(());
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("bench-run".to_owned())
            .spawn(work)
            .map_err(|error| Problem::internal(format!("no thread for the run of the bench: {error}")))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && let Ok(Err(error)) = thread.join()
        {
            tracing::warn!("the run of the bench broke off: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_store::Reader;

    #[test]
    fn the_database_holds_every_run_with_every_point() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let shape = Shape { runs: 3, points: 2_000, phases: true };
        write(folder.path(), &shape, "builtin:starter").expect("written");
        let live = Live::start(folder.path(), 3, 2_000).expect("a run");
        drop(live);
        let reader = Reader::open(folder.path()).expect("a reader");
        let runs = reader.runs().expect("runs");
        assert_eq!(runs.len(), 3);
        for row in &runs {
            let series = reader.series_names(row.run).expect("series");
            let train = series.iter().find(|meta| meta.name == "train_loss").expect("a loss");
            assert!(train.count >= 2_000, "{}", train.count);
            assert_eq!(series.iter().filter(|meta| meta.count >= 2_000).count(), 10, "series with a point a step");
            assert_eq!(row.status == "finished", row.run < 3);
        }
        assert_eq!(reader.rank_at(3, u64::MAX).expect("ranks").len(), 210);
    }
}
