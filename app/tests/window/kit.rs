//! What the tests of the window share: a scripted engine with answers for one model and one data set, a
//! made-up run whose numbers agree with each other, and a harness with the window's own fonts.

pub(crate) use crate::run_kit::{loss_at, noise, row, snapshot, view};
use egui::vec2;
use egui_kittest::Harness;
use std::collections::BTreeMap;
use std::path::PathBuf;
use temper::app::App;
use temper::commands::UiCommand;
use temper::reader::snapshot::RunsSnapshot;
use temper::state::settings::{LanguageChoice, ThemeChoice};
use temper::testing::Stage;
use temper::texts::{Language, Text};
use temper_protocol::event::{PreviewRow, QuarantineRow, SelfTest, SiteInfo};
use temper_protocol::method::{Kind, MethodCard, SettingCard};
use temper_protocol::project::Source;
use temper_protocol::{Command, Event, Project, SettingType};

/// The model of the scenes.
pub(crate) const MODEL: &str = "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
/// The data of the scenes.
pub(crate) const DATA: &str = "/data/support-tone.jsonl";
/// Normal and small window.
pub(crate) const SIZES: [(f32, f32); 2] = [(1280.0, 800.0), (1024.0, 700.0)];

pub(crate) const MODULES: [(&str, u64, u64); 7] = [
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
        remedies: Vec::new(),
        step_joules: Some(93.0),
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
        card("lora", "low-rank", "LoRA", lora_words, &["peft", "gguf-lora", "mlx", "hf", "gguf"], lora),
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

/// The paths of the project's data.
pub(crate) fn train_paths(project: &Project) -> Vec<&str> {
    project.data.train.iter().map(Source::path).collect()
}
