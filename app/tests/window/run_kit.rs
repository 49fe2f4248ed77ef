//! A run of the scenes, with numbers that agree with each other: what the reader would give of it.

use crate::kit::{MODULES, project};
use egui_plot::PlotPoint;
use std::path::PathBuf;
use std::sync::Arc;
use temper::reader::events::{EventKind, EventLine};
use temper::reader::ranks::RankView;
use temper::reader::snapshot::{CheckpointMark, KeptSet, RunView, RunsSnapshot, SamplePrompt};
use temper::reader::{ViewRequest, curves};
use temper::testing::NOW_MILLIS;
use temper_store::{Point, RankRow, RunRow};

/// What the worst kept set has lost at the end, nats.
const FORGOTTEN: f64 = 0.041;

/// A row of the list of runs.
pub(crate) fn row(run: u64, status: &str, steps: u64) -> RunRow {
    RunRow {
        run,
        folder: PathBuf::from(format!("runs/{run:04}")),
        method: "lora".to_owned(),
        status: status.to_owned(),
        settings_toml: temper_protocol::project_file::to_text(&project()).expect("project text"),
        created_millis: NOW_MILLIS - 852_000,
        seed: 42,
        steps,
        max_steps: 1200,
        best_step: steps / 50 * 50 - if steps > 100 { 50 } else { 0 },
        base_loss: 2.914,
        final_loss: 1.44,
        best_loss: 1.427,
        forgetting: FORGOTTEN,
        tokens_per_sec: 410.0,
        peak_rss_mib: 1638.0,
        wall_secs: if status == "running" { 0.0 } else { steps as f64 * 2.07 },
        trained_parameters: 4_884_480,
        model_parameters: 134_515_008,
        adapter: matches!(status, "finished" | "stopped").then(|| PathBuf::from("runs/0007/adapter")),
        ..RunRow::default()
    }
}

pub(crate) fn noise(step: u64) -> f64 {
    let step = step.wrapping_add(1).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let step = (step ^ (step >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let mixed = step.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    mixed as f64 / f64::from(u32::MAX >> 1) - 0.5
}

pub(crate) fn loss_at(step: f64) -> f64 {
    1.34 + 1.57 * (-step / 95.0).exp()
}

/// Validation loss: that of the base at first, lowest at step `best`.
fn validation_at(step: u64, best: u64) -> f64 {
    let at = step as f64;
    let left = 0.93 * (-at / 110.0).exp() + 0.07 * (1.0 - at / 1150.0);
    let late = if best > 0 && step > best { 0.007 + 0.0003 * (step - best) as f64 } else { 0.0 };
    1.427 + (2.914 - 1.427) * left + late
}

/// What a kept set that ends at `end` has lost at a step, nats.
fn lost_at(end: f64, step: u64) -> f64 {
    end * (1.0 - (-(step as f64) / 120.0).exp())
}

/// A run after `steps` steps, with numbers that agree with each other.
pub(crate) fn view(run: u64, status: &str, steps: u64) -> RunView {
    let row = row(run, status, steps);
    let raw: Vec<Point> =
        (1..=steps).map(|step| Point { step, value: loss_at(step as f64) + noise(step) * 0.22 }).collect();
    let smoothed = curves::smooth(&raw);
    let every = |interval: u64| (0..=steps / interval).map(move |index| index * interval);
    let validation: Vec<Point> =
        every(50).map(|step| Point { step, value: validation_at(step, row.best_step) }).collect();
    let map = temper::reader::snapshot::StepMap::default();
    let mut view = RunView {
        settings: Some(project()),
        request: ViewRequest::default(),
        sentence: curves::sentence(&smoothed, &validation, &row),
        train_raw: curves::place(&curves::thin(raw, 1400), &map, false),
        train_smooth: curves::place(&smoothed, &map, false),
        train_newest: smoothed.last().map(|point| point.value),
        validation: curves::place(&validation, &map, false),
        rss_mib: 1434.0,
        step_secs: 2.07,
        trained_tokens: steps as f64 * 322.0,
        ..RunView::default()
    };
    view.row = row;
    if view.row.best_step > 0 {
        view.row.best_loss = validation[(view.row.best_step / 50) as usize].value;
    }
    let train = project().train;
    view.lr = (1..=steps).map(|s| PlotPoint::new(s as f64, curves::planned_rate(&train, 1200, s))).collect();
    view.lr_planned = (0..=20)
        .map(|part| steps + (1200 - steps) * part / 20)
        .map(|step| PlotPoint::new(step as f64, curves::planned_rate(&train, 1200, step)))
        .collect();
    view.grad_norm = (1..=steps)
        .map(|step| {
            let spike = if step == 233 { 2.0 } else { 0.0 };
            PlotPoint::new(step as f64, 0.55 + 1.2 * (-(step as f64) / 60.0).exp() + noise(step) * 0.3 + spike)
        })
        .collect();
    view.clipped_steps = view.grad_norm.iter().filter(|point| point.y > train.clip_norm).count() as u64;
    view.checkpoints = every(50)
        .skip(1)
        .map(|step| CheckpointMark {
            step,
            bytes: 29_465_804,
            path: PathBuf::from(format!("runs/0007/checkpoints/{step}")),
        })
        .collect();
    view.kept_states = every(25).collect();
    view.kept = kept(steps);
    view.kept_step = Some(steps / 50 * 50);
    view.phases =
        [("backward", 46.0), ("forward", 31.0), ("probes", 11.0), ("optimiser", 6.0), ("saves", 4.0), ("data", 2.0)]
            .map(|(name, share)| (name.to_owned(), share * 8.5))
            .to_vec();
    view.samples = vec![
        SamplePrompt {
            prompt: "Where is my order 4471? It was due on Monday.".to_owned(),
            base: Some(
                "You can check the status of your order on the website. Orders usually arrive in 5 to 7 days."
                    .to_owned(),
            ),
            answers: vec![(
                steps / 50 * 50,
                "Sorry that it is late. Order 4471 was due on Monday; I will ask the carrier now and write back today."
                    .to_owned(),
            )],
        },
        SamplePrompt { prompt: "Hello".to_owned(), ..SamplePrompt::default() },
    ];
    view.rank = ranks(steps);
    view.events = Arc::new(events(steps, view.row.best_step));
    view
}

fn kept(steps: u64) -> Vec<KeptSet> {
    let sets = [
        ("prose", 0.031, 2.911),
        ("instructions", FORGOTTEN, 2.084),
        ("code", 0.012, 1.742),
        ("arithmetic", -0.007, 2.473),
    ];
    sets.iter()
        .map(|(name, end, base_loss)| {
            let points = |scale: f64| {
                (0..=steps / 50)
                    .map(|index| index * 50)
                    .map(|s| PlotPoint::new(s as f64, lost_at(*end, s) * scale))
                    .collect::<Vec<_>>()
            };
            KeptSet {
                name: (*name).to_owned(),
                base_loss: *base_loss,
                delta: points(1.0),
                newest: None,
                kl: points(0.45),
                flips: points(0.43),
                positions: 8192,
            }
        })
        .collect()
}

fn ranks(steps: u64) -> RankView {
    let mut rows = Vec::new();
    for layer in 0..30_u64 {
        for (index, (module, ..)) in MODULES.iter().enumerate() {
            let depth = layer as f64 / 29.0;
            let wave = noise(layer * 7 + index as u64) * 2.2;
            let used = (4.5 + 7.0 * depth + if index == 2 || index == 6 { 2.5 } else { 0.0 } + wave).clamp(2.0, 15.4);
            let energy = 0.004 + 0.016 * depth + noise(layer * 11 + index as u64).abs() * 0.004;
            let spectrum = (0..16).map(|k| (0.84 * (-(f64::from(k)) / used.max(1.0) * 1.6).exp()) as f32).collect();
            rows.push(RankRow {
                step: steps / 50 * 50,
                site: format!("layers.{layer}.{module}"),
                rank: 16,
                effective_rank: used,
                energy,
                spectrum,
            });
        }
    }
    let site = "layers.17.attn.v";
    let history = (1..=steps / 50)
        .map(|index| RankRow {
            step: index * 50,
            site: site.to_owned(),
            rank: 16,
            effective_rank: 13.0 - 4.0 * (1.0 - (-(index as f64) / 3.0).exp()),
            energy: 0.01,
            spectrum: Vec::new(),
        })
        .collect();
    RankView::new(rows, (1..=steps / 50).map(|index| index * 50).collect(), history)
}

fn events(steps: u64, best: u64) -> Vec<EventLine> {
    let line = |step, kind, text: &str| EventLine { step, at_millis: NOW_MILLIS, kind, text: text.to_owned() };
    let mut lines = vec![
        line(0, EventKind::Run, "Reading the model"),
        line(0, EventKind::Run, "Started: lora, 4.9 M parameters trained, cpu, 7 threads"),
        line(0, EventKind::Kept, "Kept sets measured on the base"),
        line(0, EventKind::Validation, "Base validation 2.914 nats"),
    ];
    for index in 1..=steps / 50 {
        let step = index * 50;
        let worst = lost_at(FORGOTTEN, step);
        let kept = format!("Kept sets measured, worst instructions {worst:+.3} of +0.050 nats");
        lines.push(line(step, EventKind::Kept, &kept));
        let (kind, words) = if step > best {
            (EventKind::Validation, "Validation")
        } else {
            (EventKind::Best, "Best so far, validation")
        };
        lines.push(line(step, kind, &format!("{words} {:.3} nats", validation_at(step, best))));
        lines.push(line(step, EventKind::File, "Checkpoint written, 28.1 MiB"));
    }
    lines
}

/// A snapshot with this run in front.
pub(crate) fn snapshot(folder: &std::path::Path, view: RunView, held: bool) -> RunsSnapshot {
    let mut runs = vec![view.row.clone()];
    runs.extend((1..view.row.run).rev().take(2).map(|earlier| row(earlier, "finished", 1200)));
    RunsSnapshot {
        project: Some(folder.to_path_buf()),
        runs,
        holder: held.then_some(4242),
        view: Some(Arc::new(view)),
        ..RunsSnapshot::default()
    }
}
