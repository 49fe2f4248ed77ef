//! A run as one HTML file: what stands in it, that nothing in it runs, and the ways to it.

use crate::kit;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper::commands::{Id, UiCommand, entry};
use temper::reader::view::RunCache;
use temper::reader::{RunsSnapshot, ViewRequest};
use temper::report;
use temper::state::Room;
use temper::testing::Stage;
use temper::texts::{Language, speak};
use temper_protocol::event::{Check, ExpertLoad, MachineState};
use temper_protocol::housekeeping::LabelChange;
use temper_protocol::{Event, RunStatus, project_file};
use temper_store::{NewRun, Reader, RunRow, Store};

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn probe(step: u64, set: &str, loss_delta: f64) -> Event {
    Event::Probe {
        step,
        set: set.to_owned(),
        loss: 2.0 + loss_delta,
        loss_delta,
        kl: 0.01,
        top1_agreement: 0.97,
        perplexity_ratio: 1.0,
        negative_flips: 0.02,
        positions: 160,
    }
}

fn rank(step: u64, site: &str, rank: u64) -> Event {
    Event::Rank { step, site: site.to_owned(), rank, effective_rank: 3.5, energy: 0.04, spectrum: vec![1.0, 0.5] }
}

fn finished(run: u64) -> Event {
    Event::Finished {
        run,
        status: RunStatus::Finished,
        steps: 20,
        best_step: 20,
        base_loss: 3.1,
        final_loss: 2.2,
        best_loss: 2.2,
        forgetting: 0.041,
        tokens_per_sec: 410.0,
        cpu_secs_per_step: 1.0,
        peak_rss_mib: 1638.0,
        wall_secs: 42.0,
        adapter: None,
        problem: None,
    }
}

/// A run that was trained, measured, sampled and exported.
fn trained(folder: &Path) -> RunRow {
    let store = Store::open(folder).expect("a store");
    let settings_toml = project_file::to_text(&kit::project()).expect("project text");
    let mut new = NewRun { method: "lora".to_owned(), settings_toml, max_steps: 20, seed: 42, ..NewRun::default() };
    new.hashes.insert("base".to_owned(), HASH.to_owned());
    let run = store.create_run(&new).expect("a run");
    let eval = |step, loss| Event::Eval { step, split: "validation".to_owned(), loss, best: step > 0 };
    let sample = |step, text: &str| Event::Sample { step, prompt: "Is <b> bold?".to_owned(), text: text.to_owned() };
    let mut events = vec![eval(0, 3.1), probe(0, "prose", 0.0), sample(0, "No."), rank(1, "layers.0.attn.q", 16)];
    events.extend((1..=20).map(|step| Event::Step {
        step,
        max_steps: 20,
        train_loss: 3.0 - step as f64 / 25.0,
        lr: 2e-4,
        grad_norm: 1.0,
        tokens_per_sec: 400.0,
        trained_tokens: step * 300,
        rss_mib: 1400.0,
    }));
    let secs = [("forward".to_owned(), 12.0), ("backward".to_owned(), 24.0)].into_iter().collect();
    events.extend([
        Event::Phases { step: 20, secs },
        Event::Machine(MachineState { step: 10, celsius: BTreeMap::new(), joules: Some(2600.0) }),
        Event::Machine(MachineState { step: 20, celsius: BTreeMap::new(), joules: Some(10_000.0) }),
        eval(20, 2.2),
        probe(20, "prose", 0.041),
        rank(20, "layers.0.attn.q", 12),
        Event::Experts(ExpertLoad {
            step: 20,
            site: "layers.0.attn.q".to_owned(),
            load: vec![0.875, 0.125],
            entropy: 0.5,
            dead: 0,
        }),
        sample(20, "</pre><script>alert(1)</script>"),
        Event::Written {
            format: "peft".to_owned(),
            path: folder.join("exports/tone-run1-peft"),
            bytes: 20_000_000,
            sha256: HASH.to_owned(),
        },
        Event::Certificate {
            pass: true,
            format: "peft".to_owned(),
            mean_abs_diff: 0.0,
            max_abs_diff: 0.0,
            relative_diff: 0.0,
            top1_agreement: 1.0,
            greedy_equal: true,
            reasons: Vec::new(),
            checks: vec![Check {
                name: "same best token".to_owned(),
                measured: "100 %".to_owned(),
                limit: "99 %".to_owned(),
                over: "4096 positions".to_owned(),
                pass: true,
            }],
            path: folder.join("exports/tone-run1-peft"),
        },
        finished(run),
    ]);
    for event in &events {
        store.push_event(run, event).expect("written");
    }
    store.label(run, &LabelChange { name: Some("short & calm".to_owned()), ..LabelChange::default() }).expect("a name");
    store.flush().expect("flushed");
    Reader::open(folder).expect("a reader").run(run).expect("read").expect("the run")
}

#[test]
fn a_report_holds_the_run_and_runs_nothing() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let row = trained(folder.path());
    let reader = Reader::open(folder.path()).expect("a reader");
    let page = report::text(&reader, &row).expect("a report");
    for words in [
        "Run 1 of customer-tone: short &amp; calm",
        "2.200 nats at step 20",
        "worst kept set +0.041 nats against the base at step 20: within the budget of +0.050",
        "410 tokens a second",
        "1.6 GiB",
        "3.5 Wh, drawn by the whole processor",
        "42 s",
        "Backward",
        "67 %",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "support-tone.jsonl",
        HASH,
        "Passed: PEFT adapter",
        "4,096 positions",
        "layers.0.attn.q",
        "Experts of the routers",
        "88 %",
        "0.69",
        "Base validation 3.100 nats",
        "Is &lt;b&gt; bold?",
        "No.",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "[method]",
        "<polyline points=",
        "prefers-color-scheme:dark",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(page.contains(words), "\"{words}\" is missing");
    }
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
    assert_eq!(page.matches("<section>").count(), page.matches("</section>").count());
    assert_eq!(page.matches("<details>").count(), page.matches("</details>").count());
    assert_eq!(page.matches("<table>").count(), page.matches("</table>").count());
    assert_eq!(page, report::text(&reader, &row).expect("again"), "equal runs have equal reports");
    speak(Language::German);
    let german = report::text(&reader, &row).expect("a report");
    speak(Language::English);
    assert!(german.contains("<html lang=\"de\">") && german.contains("Validierung der Basis 3.100 Nats"));
}

#[test]
fn a_run_that_never_began_has_a_report_too() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let store = Store::open(folder.path()).expect("a store");
    let run = store.create_run(&NewRun { method: "lora".to_owned(), ..NewRun::default() }).expect("a run");
    store.flush().expect("flushed");
    let file = folder.path().join("r.html");
    report::write(folder.path(), run, &file).expect("a report");
    let page = std::fs::read_to_string(&file).expect("the file");
    assert!(page.contains("<h1>Run 1</h1>") && !page.contains("NaN") && !page.contains("<polyline"));
    assert!(!page.contains("whole processor"), "nothing is said of energy where the machine told nothing");
    let missing = report::write(folder.path(), 9, &file).expect_err("there is no such run");
    assert!(missing.what.contains('9'), "{missing}");
}

/// Has the window show the trained run; gives the place of its report.
pub(crate) fn ready(window: &mut kit::Window, stage: &Stage) -> PathBuf {
    let folder = kit::open(window, stage);
    let row = trained(&folder);
    let reader = Reader::open(&folder).expect("a reader");
    let rows = vec![row.clone()];
    let request = ViewRequest { project: Some(folder.clone()), ..ViewRequest::default() };
    let view = RunCache::default().build(&reader, &row, &rows, &request).expect("a view");
    std::fs::create_dir_all(&row.folder).expect("the run's folder");
    let file = row.folder.join(report::FILE_NAME);
    stage.runs.publish(RunsSnapshot {
        project: Some(folder),
        runs: rows,
        view: Some(Arc::new(view)),
        ..RunsSnapshot::default()
    });
    window.run();
    file
}

#[test]
fn the_report_is_reached_from_watch_from_compare_and_by_its_command() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let file = ready(&mut window, &stage);
    let written = |what: &str| {
        let page = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(page.contains("short &amp; calm"), "no report from {what}");
        std::fs::remove_file(&file).expect("it can be written again");
    };
    kit::send(&mut window, UiCommand::Go(Room::Watch));
    kit::press(&mut window, "Report of the run");
    written("Watch");
    let notice = window.state().state.notice.as_ref().map(|notice| notice.text.clone());
    assert!(notice.is_some_and(|words| words.contains(report::FILE_NAME)), "the window says where it is");
    kit::send(&mut window, UiCommand::Go(Room::Compare));
    kit::send(
        &mut window,
        UiCommand::Compare(temper::state::compare::CompareAct::Part(temper::state::compare::Part::Order)),
    );
    kit::press(&mut window, "Report of this run: Run 1");
    written("Compare");
    let report = entry(Id::Report);
    let command = (report.make)(&window.state().state);
    assert_eq!(command, UiCommand::SaveReport(1));
    kit::send(&mut window, command);
    written("the command");
}
