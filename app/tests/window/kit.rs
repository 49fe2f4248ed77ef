//! What the tests of the window share: a scripted engine with answers for one model and one data set, a
//! made-up run whose numbers agree with each other, and a harness with the window's own fonts.

use egui::vec2;
use egui_kittest::Harness;
use egui_plot::PlotPoint;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use temper::app::App;
use temper::commands::UiCommand;
use temper::reader::events::{EventKind, EventLine};
use temper::reader::ranks::RankView;
use temper::reader::snapshot::{CheckpointMark, KeptSet, RunView, RunsSnapshot, SamplePrompt};
use temper::reader::{ViewRequest, curves};
use temper::state::settings::{LanguageChoice, ThemeChoice};
use temper::testing::{NOW_MILLIS, Stage};
use temper::texts::{Language, Text};
use temper_protocol::event::{PreviewRow, QuarantineRow, SelfTest, SiteInfo};
use temper_protocol::method::{Kind, MethodCard, SettingCard};
use temper_protocol::project::Source;
use temper_protocol::{Command, Event, Project, SettingType};
use temper_store::{Point, RankRow, RunRow};

/// The model of the scenes.
pub(crate) const MODEL: &str = "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
/// The data of the scenes.
pub(crate) const DATA: &str = "/data/support-tone.jsonl";
/// Normal and small window.
pub(crate) const SIZES: [(f32, f32); 2] = [(1280.0, 800.0), (1024.0, 700.0)];

const MODULES: [(&str, u64, u64); 7] = [
    ("attn.q", 576, 576),
    ("attn.k", 192, 576),
    ("attn.v", 192, 576),
    ("attn.o", 576, 576),
    ("mlp.gate", 1536, 576),
    ("mlp.up", 1536, 576),
    ("mlp.down", 576, 1536),
];

/// The scenes' model, as `inspect` says it.
pub(crate) fn model(path: &str) -> Event {
    let sites = (0..30).flat_map(|layer| {
        MODULES.iter().map(move |(module, out_features, in_features)| SiteInfo {
            site: format!("layers.{layer}.{module}"),
            out_features: *out_features,
            in_features: *in_features,
            storage: "Q4_1".to_owned(),
        })
    });
    Event::Model {
        path: PathBuf::from(path),
        format: "gguf".to_owned(),
        architecture: "llama".to_owned(),
        parameters: 134_515_008,
        layers: 30,
        hidden_size: 576,
        vocabulary: 49_152,
        context: 8192,
        storage: "Q4_1".to_owned(),
        tokenizer: "byte-level BPE".to_owned(),
        chat_template: "ChatML".to_owned(),
        sites: sites.collect(),
        licence: "Apache-2.0".to_owned(),
        disk_bytes: 97_517_568,
        memory_bytes: 123_731_968,
    }
}

/// The bundled starter.
pub(crate) fn starter() -> Event {
    match model("builtin:starter") {
        Event::Model { sites, .. } => Event::Model {
            path: PathBuf::from("builtin:starter"),
            format: "builtin".to_owned(),
            architecture: "llama".to_owned(),
            parameters: 4_100_000,
            layers: 6,
            hidden_size: 192,
            vocabulary: 4096,
            context: 512,
            storage: "f16".to_owned(),
            tokenizer: "byte-level BPE".to_owned(),
            chat_template: "ChatML".to_owned(),
            sites: sites.into_iter().take(42).collect(),
            licence: "Apache-2.0 OR MIT".to_owned(),
            disk_bytes: 8_300_000,
            memory_bytes: 8_300_000,
        },
        other => other,
    }
}

/// The scenes' data, as `inspect` says it.
pub(crate) fn dataset(path: &str) -> Event {
    Event::Dataset {
        path: PathBuf::from(path),
        format: "JSON Lines".to_owned(),
        schema: "messages".to_owned(),
        confidence: 0.99,
        rows: 4812,
        bad_rows: 7,
        columns: vec!["messages".to_owned(), "ticket_id".to_owned()],
        complete: true,
    }
}

/// The data as the model sees it.
pub(crate) fn preview() -> Event {
    let histogram = vec![0, 60, 240, 520, 760, 810, 690, 540, 400, 280, 190, 120, 80, 50, 30, 20, 10, 6, 4, 2];
    let row = |line, input: &str, output: &str, tokens, trained| PreviewRow {
        line,
        input: input.to_owned(),
        output: output.to_owned(),
        tokens,
        trained,
        row: Some(line - 1),
    };
    let aside = |line, reason: &str| QuarantineRow { file: PathBuf::from(DATA), line, reason: reason.to_owned() };
    Event::Preview {
        rows: 4812,
        train_rows: 4325,
        validation_rows: 480,
        bad_rows: 7,
        cut_rows: 31,
        tokens: 1_021_400,
        trained_tokens: 388_200,
        median_tokens: 198,
        longest_tokens: 731,
        histogram,
        examples: vec![
            row(1, "Where is my order?", "Sorry that it is late. I am looking it up now.", 186, 70),
            row(2, "I want my money back", "I understand. You can return it within 30 days.", 241, 95),
            row(3, "Can I change the address?", "Of course. Which address shall it go to?", 97, 31),
        ],
        quarantine: vec![
            aside(88, "the conversation has no answer to train on"),
            aside(412, "line is not valid JSON: expected `,` or `}` at column 218"),
        ],
        schema: "messages".to_owned(),
        confidence: 0.99,
        mapping: BTreeMap::from([("messages".to_owned(), "messages".to_owned())]),
        estimated: false,
    }
}

/// What a run would need.
pub(crate) fn preflight() -> Event {
    Event::Preflight {
        fits: true,
        peak_rss_mib: 1638.0,
        step_secs: 2.07,
        total_secs: 2484.0,
        disk_mib: 929.0,
        warnings: Vec::new(),
        free_memory_mib: 18_227.0,
        free_disk_mib: 217_088.0,
        checkpoints_mib: 672.0,
        export_mib: 257.0,
        trained_parameters: 4_884_480,
        max_steps: 1200,
    }
}

fn setting(key: &str, label: &str, kind: SettingType, default: &str, advanced: bool) -> SettingCard {
    SettingCard {
        key: key.to_owned(),
        label: label.to_owned(),
        kind,
        default: default.to_owned(),
        min: matches!(kind, SettingType::Integer | SettingType::Number).then_some(0.0),
        max: matches!(kind, SettingType::Integer | SettingType::Number).then_some(1024.0),
        choices: if kind == SettingType::Choice {
            vec!["kaiming".to_owned(), "gaussian".to_owned()]
        } else {
            Vec::new()
        },
        unit: String::new(),
        help: format!("what {label} does"),
        advanced,
    }
}

/// The registry of the scenes.
pub(crate) fn methods() -> Vec<MethodCard> {
    let card = |id: &str, family: &str, title: &str, summary: &str, exports: &[&str], settings| MethodCard {
        id: id.to_owned(),
        kind: Kind::Adapter,
        family: family.to_owned(),
        families: Vec::new(),
        bases: Vec::new(),
        title: title.to_owned(),
        summary: summary.to_owned(),
        paper: "LoRA: Low-Rank Adaptation of Large Language Models (Hu et al., 2021, arXiv 2106.09685)".to_owned(),
        year: 2021,
        exports_as: exports.iter().map(|format| (*format).to_owned()).collect(),
        peft_type: Some("LORA".to_owned()),
        mergeable: true,
        settings,
        waivers: Vec::new(),
        protects_knowledge: false,
        lr_peak: if family == "everything" { 2e-5 } else { 2e-4 },
        docs: String::new(),
        page: String::new(),
    };
    let lora = vec![
        setting("rank", "Rank", SettingType::Integer, "16", false),
        setting("alpha", "Alpha", SettingType::Number, "32", false),
        setting("targets", "Layers to adapt", SettingType::List, "all-linear", false),
        setting("exclude", "Layers to leave out", SettingType::List, "", true),
        setting("layers", "Blocks to adapt", SettingType::List, "", true),
        setting("dropout", "Dropout", SettingType::Number, "0", false),
        setting("rslora", "Rank-stabilised scale", SettingType::Flag, "false", false),
        setting("lora_plus_ratio", "LoRA+ ratio", SettingType::Number, "1", true),
        setting("init", "Start of A", SettingType::Choice, "kaiming", true),
        setting("rank_pattern", "Ranks by layer", SettingType::Table, "", true),
    ];
    let full = vec![
        setting("layers", "Blocks to train", SettingType::List, "", false),
        setting("train_embeddings", "Train the embedding", SettingType::Flag, "true", false),
        setting("train_norms", "Train the norms", SettingType::Flag, "true", true),
    ];
    let lora_words = "Trains two thin matrices beside each frozen layer: little memory, small files, exact merging.";
    let full_words = "Trains every weight: the closest fit to the data, the most memory, the most forgetting.";
    vec![
        card("lora", "low-rank", "LoRA", lora_words, &["peft", "gguf-lora", "hf", "gguf"], lora),
        card("full", "everything", "Full training", full_words, &["hf", "gguf"], full),
    ]
}

/// The machine of the scenes.
pub(crate) fn devices() -> Vec<Event> {
    let device = |kind: &str, name: &str, usable, note: &str, threads, memory_mib| Event::Device {
        kind: kind.to_owned(),
        name: name.to_owned(),
        usable,
        note: note.to_owned(),
        threads,
        memory_mib,
    };
    vec![
        device("cpu", "8-core processor", true, "AVX2, FMA", 8, 23_552.0),
        device("cuda", "", false, "no NVIDIA driver was found; the processor is used", 0, 0.0),
        Event::Selftest(SelfTest {
            pass: true,
            text: "A model of 1.0 M parameters learnt from 5.02 to 3.87 nats in 60 steps; gradients, saving and \
                   repeating agree."
                .to_owned(),
            secs: 6.2,
            tokens_per_sec: 38_412.0,
            gemm_gflops: 212.0,
            checks: crate::machine_scenes::checks(),
        }),
    ]
}

/// What the scripted engine answers.
pub(crate) fn answer(command: &Command) -> Vec<Event> {
    let mut events = match command {
        Command::Inspect { paths } => paths.iter().map(|path| inspect(&path.display().to_string())).collect(),
        Command::Methods {} => methods().into_iter().map(Event::Method).collect(),
        Command::Doctor {} => devices(),
        Command::Preview { .. } => vec![preview()],
        Command::Preflight { .. } => vec![preflight()],
        Command::CopyExample { dir, .. } => {
            let project = Project::new("quickstart", "builtin:starter", &["builtin:starter-data".to_owned()], "lora");
            std::fs::create_dir_all(dir).expect("folder for the example");
            temper_protocol::project_file::save(&project, &dir.join("project.toml")).expect("example project");
            vec![Event::Project {
                path: dir.clone(),
                name: "quickstart".to_owned(),
                model: "builtin:starter".to_owned(),
                method: "lora".to_owned(),
                runs: 0,
            }]
        }
        // These end with their own events, which a test says when it wants them.
        Command::Train { .. }
        | Command::Race { .. }
        | Command::Export { .. }
        | Command::Verify { .. }
        | Command::CleanRows { .. } => {
            return Vec::new();
        }
        other => crate::rows::answer(other),
    };
    events.push(Event::Done {});
    events
}

/// What `inspect` says about a path, by its name.
pub(crate) fn inspect(path: &str) -> Event {
    match path {
        "builtin:starter" => starter(),
        _ if path.ends_with(".gguf") => model(path),
        _ if path.ends_with("adapter") => crate::rows::adapter(path),
        _ if path.contains("-data") || path.ends_with(".jsonl") || path.ends_with(".txt") => dataset(path),
        _ => Event::Unknown {
            path: PathBuf::from(path),
            why: "it is a pickle, which can run programs while it is read".to_owned(),
        },
    }
}

/// The window in a harness.
pub(crate) type Window = Harness<'static, App>;

/// What the window says for an English text in its own language.
pub(crate) fn said(english: &str) -> &str {
    match Text::all().find(|text| text.in_language(Language::English) == english) {
        Some(text) => text.get(),
        None => english,
    }
}

/// Presses the topmost button called `name` in English.
pub(crate) fn press(window: &mut Window, name: &str) {
    use egui::accesskit::Role;
    use egui_kittest::kittest::Queryable as _;
    let name = said(name);
    let found = window.query_all_by_role_and_label(Role::Button, name).last();
    found.unwrap_or_else(|| panic!("there is no button called \"{name}\"")).click();
    window.run();
}

/// A window over scripts, with everything in a temporary folder.
pub(crate) fn stage() -> (tempfile::TempDir, Stage) {
    let root = tempfile::tempdir().expect("temporary folder");
    let stage = Stage::new(root.path());
    stage.engine.reply_with(answer);
    (root, stage)
}

/// A harness with the window in it, settled.
pub(crate) fn window(stage: &Stage, size: (f32, f32), dark: bool) -> Harness<'static, App> {
    window_in(stage, size, dark, LanguageChoice::English)
}

/// As [`window`], in another language.
pub(crate) fn window_in(stage: &Stage, size: (f32, f32), dark: bool, language: LanguageChoice) -> Window {
    let app = stage.app();
    let mut harness = Harness::builder()
        .with_size(vec2(size.0, size.1))
        .with_max_steps(24)
        .with_context_setup(temper::theme::install)
        .with_render_options(egui_kittest_options())
        .build_eframe(|_cc| app);
    harness.run();
    let theme = if dark { ThemeChoice::Dark } else { ThemeChoice::Light };
    send(&mut harness, UiCommand::Theme(theme));
    send(&mut harness, UiCommand::Language(language));
    harness
}

fn egui_kittest_options() -> eframe::egui_wgpu::RendererOptions {
    eframe::egui_wgpu::RendererOptions::PREDICTABLE
}

/// Carries a command out as a click would, then lets the window settle.
pub(crate) fn send(harness: &mut Harness<'static, App>, command: UiCommand) {
    let ctx = harness.ctx.clone();
    harness.state_mut().send(&ctx, command);
    harness.run();
}

/// The project of the scenes.
pub(crate) fn project() -> Project {
    let mut project = Project::new("customer-tone", MODEL, &[DATA.to_owned()], "lora");
    project.train.steps = 1200;
    project.train.batch = 4;
    project.train.warmup_steps = 60;
    project.samples.prompts = vec!["Where is my order 4471? It was due on Monday.".to_owned(), "Hello".to_owned()];
    project
}

/// Opens the project of the scenes from its folder.
pub(crate) fn open(harness: &mut Harness<'static, App>, stage: &Stage) -> PathBuf {
    let folder = stage.places.projects.join("customer-tone");
    std::fs::create_dir_all(&folder).expect("project folder");
    temper_protocol::project_file::save(&project(), &folder.join("project.toml")).expect("project file");
    send(harness, UiCommand::OpenProject(folder.clone()));
    stage.runs.publish(RunsSnapshot { project: Some(folder.clone()), ..RunsSnapshot::default() });
    harness.run();
    // The measurement waits for a moment of quiet.
    harness.run_steps(6);
    harness.run();
    folder
}

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
        forgetting: 0.041,
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

/// A run after `steps` steps, with numbers that agree with each other.
pub(crate) fn view(run: u64, status: &str, steps: u64) -> RunView {
    let row = row(run, status, steps);
    let raw: Vec<Point> =
        (1..=steps).map(|step| Point { step, value: loss_at(step as f64) + noise(step) * 0.22 }).collect();
    let smoothed = curves::smooth(&raw);
    let every = |interval: u64| (0..=steps / interval).map(move |index| index * interval);
    let validation: Vec<Point> = every(50)
        .map(|step| Point { step, value: loss_at(step as f64) + 0.05 + (step as f64 / 400.0 - 0.7).max(0.0) * 0.06 })
        .collect();
    let map = temper::reader::snapshot::StepMap::default();
    let mut view = RunView {
        settings: Some(project()),
        request: ViewRequest::default(),
        sentence: curves::sentence(&smoothed, &validation, &row),
        train_raw: curves::place(&curves::thin(raw, 1400), &map, false),
        train_smooth: curves::place(&smoothed, &map, false),
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
    view.events = Arc::new(events(steps));
    view
}

fn kept(steps: u64) -> Vec<KeptSet> {
    let sets = [
        ("prose", 0.031, 2.911),
        ("instructions", 0.044, 2.084),
        ("code", 0.012, 1.742),
        ("arithmetic", -0.007, 2.473),
    ];
    sets.iter()
        .map(|(name, end, base_loss)| {
            let at = |step: u64| end * (1.0 - (-(step as f64) / 120.0).exp());
            let points = |scale: f64| {
                (0..=steps / 50)
                    .map(|index| index * 50)
                    .map(|s| PlotPoint::new(s as f64, at(s) * scale))
                    .collect::<Vec<_>>()
            };
            KeptSet {
                name: (*name).to_owned(),
                base_loss: *base_loss,
                delta: points(1.0),
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

fn events(steps: u64) -> Vec<EventLine> {
    let line = |step, kind, text: &str| EventLine { step, at_millis: NOW_MILLIS, kind, text: text.to_owned() };
    let mut lines = vec![
        line(0, EventKind::Run, "Reading the model"),
        line(0, EventKind::Run, "Started: lora, 4.9 M parameters trained, cpu, 7 threads"),
        line(0, EventKind::Kept, "Kept sets measured on the base"),
        line(0, EventKind::Validation, "Base validation 2.914 nats"),
    ];
    for index in 1..=steps / 50 {
        let step = index * 50;
        lines.push(line(step, EventKind::Kept, "Kept sets measured, worst instructions +0.041 of +0.050 nats"));
        lines.push(line(step, EventKind::Best, "Best validation so far, 1.427 nats"));
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

/// The paths of the project's data.
pub(crate) fn train_paths(project: &Project) -> Vec<&str> {
    project.data.train.iter().map(Source::path).collect()
}
