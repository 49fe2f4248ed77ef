//! The program's own work, from a folder with a model and data to a proved export.

use crate::kit::{QUICK, is_end};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use temper_data::TextCodec;
use temper_export::{Card, Cases, ExportRequest};
use temper_host::builtin::Builtins;
use temper_host::{LocalClient, Program};
use temper_models::{LlamaConfig, Model};
use temper_protocol::command::ExportSource;
use temper_protocol::project::{Source, Validation};
use temper_protocol::{
    Code, Command, EngineClient as _, Envelope, Event, ExportFormat, GenerateLimits, ModelRef, Problem, RunRef,
    RunStatus, StorageType, Value, Values, project_file,
};
use temper_store::{ProjectLock, Reader};

/// A folder with a tiny model, data and an engine.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    engine: LocalClient,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let builtins = Builtins::at(folder.path().join("builtin"));
        write_model(&builtins.path("starter").expect("starter"), &folder.path().join("model"));
        let mut engine = LocalClient::with(Box::new(Program::with(builtins)), QUICK).expect("engine");
        let thread = std::thread::current();
        engine.set_waker(Arc::new(move || thread.unpark()));
        Self { folder, engine }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Carries out a command; all its events but the last.
    pub(crate) fn ask(&mut self, command: Command) -> Result<Vec<Event>, Problem> {
        let mut events = self.all(command);
        match events.pop() {
            Some(Event::Error(problem)) => Err(problem),
            Some(Event::Done {}) | None => Ok(events),
            Some(finished) => {
                events.push(finished);
                Ok(events)
            }
        }
    }

    /// Carries out a command; all its events, also when it fails.
    pub(crate) fn all(&mut self, command: Command) -> Vec<Event> {
        let req = self.engine.send(command).expect("accepted");
        let begin = Instant::now();
        let mut heard: Vec<Envelope> = Vec::new();
        loop {
            self.engine.drain(&mut heard);
            if let Some(end) = heard.iter().position(|envelope| envelope.req == req && is_end(&envelope.event)) {
                assert_eq!(heard.len(), end + 1, "nothing comes after the last event");
                return heard.into_iter().map(|envelope| envelope.event).collect();
            }
            assert!(begin.elapsed() < crate::kit::PATIENCE, "waited in vain; heard {heard:#?}");
            std::thread::park_timeout(crate::kit::PATIENCE / 100);
        }
    }

    pub(crate) fn refused(&mut self, command: Command) -> Problem {
        match self.ask(command) {
            Err(problem) => {
                for part in [&problem.what, &problem.r#where, &problem.action] {
                    assert!(!part.is_empty(), "a part is missing: {problem:?}");
                }
                problem
            }
            Ok(events) => panic!("not refused: {events:#?}"),
        }
    }

    /// A project that trains for twelve steps.
    pub(crate) fn project(&mut self, name: &str) -> PathBuf {
        let dir = self.path(name);
        let model = self.path("model").display().to_string();
        let new = Command::NewProject {
            dir: dir.clone(),
            model,
            data: vec!["builtin:starter-data".to_owned()],
            method: "lora".to_owned(),
        };
        let events = self.ask(new).expect("a project");
        assert!(matches!(&events[..], [Event::Project { runs: 0, .. }]), "{events:#?}");
        let mut project = project_file::load(&dir).expect("reads");
        project.data.max_tokens = 64;
        project.train.steps = 12;
        project.train.batch = 2;
        project.train.lr_peak = 1e-2;
        project.train.warmup_steps = 2;
        project.train.checkpoint_steps = 4;
        project.train.eval_steps = 6;
        project.train.eval_rows = 8;
        project.keep.probes = vec!["builtin:prose".to_owned(), "builtin:code".to_owned()];
        project.keep.every_steps = 6;
        project.samples.prompts = vec!["How much is the lantern?".to_owned()];
        project.samples.max_tokens = 4;
        project_file::save(&project, &dir).expect("saves");
        dir
    }
}

/// A random model of the starter's tokenizer, as a Hugging Face folder.
fn write_model(starter: &Path, target: &Path) {
    let codec = TextCodec::from_hf_folder(starter).expect("tokenizer");
    let config = LlamaConfig { intermediate_size: 64, kv_heads: 2, context: 256, ..LlamaConfig::new(4096, 32, 2, 4) };
    let model = Model::random(&config, 5).expect("model");
    let window = codec.encode("The quick brown fox jumps over the lazy dog.", false).expect("tokens");
    let cases = Cases { windows: vec![("text".to_owned(), window.clone())], prompts: vec![window] };
    let request = ExportRequest {
        model: &model,
        codec: &codec,
        format: ExportFormat::Hf,
        dtype: Some(StorageType::F32),
        out: target,
        card: &Card::default(),
        cases: &cases,
    };
    temper_export::export(&request, &mut |_| {}, &|| false).expect("writes the model");
}

pub(crate) fn train(project: &Path, resume: Option<RunRef>, max_steps: Option<u64>) -> Command {
    Command::Train { project: project.to_path_buf(), set: Vec::new(), method: None, out: None, resume, max_steps }
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("lists").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

pub(crate) fn finished(events: &[Event]) -> (RunStatus, u64, f64, f64) {
    match events.last() {
        Some(Event::Finished { status, steps, base_loss, best_loss, .. }) => (*status, *steps, *base_loss, *best_loss),
        other => panic!("not finished: {other:?}"),
    }
}

/// Any step answers, as what was kept last at or before it; the answer says which.
fn any_step_answers(bench: &mut Bench, project: &Path, model: &str, limits: GenerateLimits) {
    for (asked, kept) in [(7, 7), (0, 0), (12, 12), (5000, 12)] {
        let model = ModelRef { model: model.to_owned(), adapters: vec![format!("run:1@{asked}")], base: None };
        let prompt = "How much is the lantern?".to_owned();
        let events = bench
            .ask(Command::Generate { project: Some(project.to_path_buf()), model, prompt, chat: true, limits })
            .expect("answers");
        let expected = format!("model + run 1 at step {kept}");
        assert!(
            matches!(events.last(), Some(Event::Text { source, .. }) if *source == expected),
            "{asked}: {events:#?}"
        );
    }
}

/// Certificates are among the run's events, whose last word about itself stays its end.
fn certificates_are_on_record(project: &Path, count: usize) {
    let reader = Reader::open(project).expect("a reader");
    let row = reader.runs().expect("runs").remove(0);
    let said = reader.events_after(row.run, 0, 10_000).expect("events");
    let passed = |stored: &&temper_store::StoredEvent| matches!(stored.event, Event::Certificate { pass: true, .. });
    assert_eq!(said.iter().filter(passed).count(), count);
    assert_eq!(row.status, "finished");
}

/// The newest run leaves as a folder of each kind, and its adapter is merged again with a card that somebody wrote.
fn leaves_and_is_proved(bench: &mut Bench, project: &Path, exports: &Path, model: String) {
    for format in [ExportFormat::Peft, ExportFormat::Hf] {
        let out = exports.join(format.name());
        let source = ExportSource::Run { run: RunRef::Last, step: None };
        let events = bench
            .ask(Command::Export {
                project: Some(project.to_path_buf()),
                source,
                format,
                dtype: None,
                out: out.clone(),
                card: None,
            })
            .expect("exports");
        assert!(matches!(events.last(), Some(Event::Certificate { pass: true, .. })), "{:#?}", events.last());
        let events = bench
            .ask(Command::Verify { project: Some(project.to_path_buf()), path: out, against: None })
            .expect("finds the run on record");
        assert!(matches!(events.last(), Some(Event::Certificate { pass: true, .. })), "{:#?}", events.last());
    }
    certificates_are_on_record(project, 2);
    let merged = Command::Export {
        project: None,
        source: ExportSource::Adapter { path: exports.join("peft"), model },
        format: ExportFormat::Hf,
        dtype: None,
        out: exports.join("again"),
        card: Some("---\ntags: x\n---\n# Written by hand\n".to_owned()),
    };
    let events = bench.ask(merged).expect("merges a bare adapter");
    assert!(matches!(events.last(), Some(Event::Certificate { pass: true, .. })), "{:#?}", events.last());
    let card = std::fs::read_to_string(exports.join("again").join("README.md")).expect("a card");
    assert!(card.starts_with("---\nbase_model: ") && card.ends_with("---\n# Written by hand\n"), "{card}");
}

#[test]
fn a_project_goes_from_nothing_to_a_certificate() {
    let mut bench = Bench::new();
    let project = bench.project("shop");

    let events = bench.ask(Command::Preview { project: project.clone(), rows: 3 }).expect("previews");
    match events.last() {
        Some(Event::Preview { examples, rows, trained_tokens, .. }) => {
            assert_eq!(examples.len(), 3);
            assert!(*rows > 100 && *trained_tokens > 0);
        }
        other => panic!("{other:?}"),
    }
    let events = bench.ask(Command::Preflight { project: project.clone() }).expect("measures");
    assert!(matches!(events.last(), Some(Event::Preflight { fits: true, max_steps: 12, .. })), "{events:#?}");

    let events = bench.ask(train(&project, None, None)).expect("trains");
    let (status, steps, base_loss, best_loss) = finished(&events);
    assert_eq!((status, steps), (RunStatus::Finished, 12), "{:#?}", events.last());
    assert!(best_loss < base_loss, "{best_loss} of {base_loss}");
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Step { .. })).count(), 12);
    assert!(events.iter().any(|event| matches!(event, Event::Sample { .. })));
    let reader = Reader::open(&project).expect("reader");
    let row = reader.run(1).expect("reads").expect("the run");
    assert_eq!((row.status.as_str(), row.steps), ("finished", 12));
    for hash in ["base", "data", "probes", "settings", "program"] {
        assert_eq!(row.hashes[hash].len(), 64, "{hash}");
    }
    let loss = reader.points(1, "train_loss", 0, 100, 100).expect("points");
    assert_eq!(loss.len(), 12);
    assert_eq!(ProjectLock::holder(&project), None);

    let events = bench.ask(train(&project, Some(RunRef::Last), None)).expect("says so");
    assert!(matches!(&events[..], [Event::Warning { code, .. }] if code == "already_finished"), "{events:#?}");

    let model = bench.path("model").display().to_string();
    let adapted = ModelRef { model: model.clone(), adapters: vec!["run:1".to_owned()], base: None };
    let limits = GenerateLimits { max_tokens: 8, ..GenerateLimits::default() };
    let mut texts = Vec::new();
    for model in [adapted.clone(), adapted.clone(), ModelRef { model: model.clone(), adapters: Vec::new(), base: None }]
    {
        let prompt = "How much is the lantern?".to_owned();
        let events = bench
            .ask(Command::Generate { project: Some(project.clone()), model, prompt, chat: true, limits })
            .expect("answers");
        match events.last() {
            Some(Event::Text { text, stop_reason, source, .. }) => {
                assert!(!stop_reason.is_empty());
                texts.push((source.clone(), text.clone()));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts[0], texts[1], "greedy answers are the same twice");
    assert_eq!((texts[0].0.as_str(), texts[2].0.as_str()), ("model + run 1", "model"));
    any_step_answers(&mut bench, &project, &model, limits);

    let events = bench
        .ask(Command::Evaluate {
            project: Some(project.clone()),
            model: adapted.clone(),
            data: "builtin:starter-data".to_owned(),
            metrics: vec!["nll".to_owned(), "kl".to_owned()],
        })
        .expect("measures");
    let values: Vec<f64> = events
        .iter()
        .filter_map(|event| match event {
            Event::Result { value, .. } => Some(*value),
            _ => None,
        })
        .collect();
    assert!(values.len() == 2 && values[0] < base_loss && values[1] > 0.0, "{values:?}");

    let exports = bench.path("exports");
    leaves_and_is_proved(&mut bench, &project, &exports, model);

    let inspected = bench
        .ask(Command::Inspect { paths: vec![exports.join("peft"), project.join("runs").join("0001"), project.clone()] })
        .expect("inspects");
    match &inspected[..] {
        [
            Event::Adapter { format: peft, rank, parameters, .. },
            Event::Adapter { format: native, method, rank: own_rank, parameters: own, .. },
            Event::Project { runs: 1, .. },
        ] => {
            assert_eq!((peft.as_str(), native.as_str(), method.as_str()), ("peft", "native", "lora"));
            assert_eq!((rank, parameters), (own_rank, own));
        }
        other => panic!("{other:#?}"),
    }
    let row = Reader::open(&project).expect("reader").run(1).expect("reads").expect("the run");
    assert_eq!(*parameters_of(&inspected), row.trained_parameters);

    let tokens = bench.path("tokens.safetensors");
    let ids = candle_core::Tensor::new(&[[5_i64, 9, 300, 7]], &candle_core::Device::Cpu).expect("tensor");
    candle_core::safetensors::save(&std::collections::HashMap::from([("a.input_ids", ids)]), &tokens).expect("saves");
    let out = bench.path("logits.safetensors");
    let adapted = ModelRef { adapters: vec!["run:1".to_owned()], ..adapted };
    let project = Some(project);
    bench.ask(Command::Logits { project, model: adapted, tokens, out: out.clone() }).expect("computes");
    let logits = candle_core::safetensors::load(&out, &candle_core::Device::Cpu).expect("loads");
    assert_eq!(logits["a.logits"].dims(), [1, 4, 4096]);
    let change = (&logits["a.logits"] - &logits["a.base_logits"]).expect("same shape");
    let change = change.abs().and_then(|change| change.max_all()).and_then(|max| max.to_scalar::<f32>()).expect("max");
    assert!(change > 1e-3, "the adapter changes something: {change}");
}

#[test]
fn a_lost_database_is_filled_from_the_folders_of_the_runs() {
    let mut bench = Bench::new();
    let project = bench.project("lost");
    bench.ask(train(&project, None, None)).expect("trains");
    let before = Reader::open(&project).expect("reader").run(1).expect("reads").expect("the run");
    let whole = bench.ask(Command::Repair { project: project.clone() }).expect("looks");
    assert!(matches!(&whole[..], [Event::Warning { code, .. }, Event::Run { run: 1, .. }] if code == "database_whole"));

    let file = project.join(temper_store::DB_NAME);
    std::fs::write(&file, b"no database at all").expect("writes");
    let problem = bench.refused(train(&project, None, None));
    assert!(problem.action.contains("--repair"), "{problem}");
    let events = bench.ask(Command::Repair { project: project.clone() }).expect("repairs");
    let codes: Vec<&str> = events
        .iter()
        .filter_map(|event| if let Event::Warning { code, .. } = event { Some(code.as_str()) } else { None })
        .collect();
    assert_eq!(codes, ["database_set_aside", "run_adopted"]);
    assert_eq!(std::fs::read(project.join("temper.db.damaged-1")).expect("kept"), b"no database at all");
    let after = Reader::open(&project).expect("reader").run(1).expect("reads").expect("the run");
    let told = |row: &temper_store::RunRow| {
        let figures = (row.status.clone(), row.steps, row.best_step, row.max_steps, row.seed, row.method.clone());
        (figures, row.base_loss.to_bits(), row.best_loss.to_bits(), row.folder.clone(), row.adapter.clone())
    };
    assert_eq!(told(&after), told(&before));
    assert_eq!(after.settings_toml, std::fs::read_to_string(after.folder.join("project.toml")).expect("frozen"));
    std::fs::remove_file(&file).expect("removes");
    let problem = Problem::from(Reader::open(&project).expect_err("lost"));
    assert!(problem.what.contains("missing") && problem.action.contains("--repair"), "{problem}");
}

fn parameters_of(inspected: &[Event]) -> &u64 {
    match inspected.first() {
        Some(Event::Adapter { parameters, .. }) => parameters,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_run_in_two_parts_is_one_run() {
    let mut bench = Bench::new();
    let project = bench.project("parts");
    let events = bench.ask(train(&project, None, Some(6))).expect("trains");
    assert_eq!(finished(&events).1, 6);
    let events = bench.ask(train(&project, Some(RunRef::Id(1)), None)).expect("goes on");
    assert!(
        events.iter().any(|event| matches!(event, Event::Started { run: 1, resumed_from: 6, .. })),
        "{:#?}",
        events.iter().filter(|event| matches!(event, Event::Started { .. })).collect::<Vec<_>>()
    );
    assert_eq!((finished(&events).0, finished(&events).1), (RunStatus::Finished, 12));
    let reader = Reader::open(&project).expect("reader");
    assert_eq!(reader.runs().expect("runs").len(), 1);
    let steps: Vec<u64> =
        reader.points(1, "train_loss", 0, 100, 100).expect("points").iter().map(|point| point.step).collect();
    assert_eq!(steps, (1..=12).collect::<Vec<_>>());

    // The database is lost; the folder is enough.
    drop(reader);
    for file in files_in(&project).into_iter().filter(|file| file.to_string_lossy().contains("temper.db")) {
        std::fs::remove_file(file).expect("removes");
    }
    let source = ExportSource::Run { run: RunRef::Last, step: Some(8) };
    let out = bench.path("early");
    let (project, format, out_dir) = (Some(project), ExportFormat::Peft, out.clone());
    let command = Command::Export { project, source, format, dtype: None, out: out_dir, card: None };
    let events = bench.ask(command).expect("exports");
    assert!(matches!(events.last(), Some(Event::Certificate { pass: true, .. })));
    assert!(out.join("adapter_model.safetensors").is_file());
}

#[test]
fn what_cannot_be_trained_is_refused_and_leaves_nothing() {
    let mut bench = Bench::new();
    let project = bench.project("bad");
    let before = files_in(&project);
    let order = |set: &[(&str, &str)], method: Option<&str>| Command::Train {
        project: project.clone(),
        set: set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        method: method.map(str::to_owned),
        out: None,
        resume: None,
        max_steps: None,
    };
    for (command, code, word) in [
        (order(&[("train.lr_peek", "1")], None), Code::ProjectInvalid, "lr_peak"),
        (order(&[("method.rnak", "4")], None), Code::ProjectInvalid, "rank"),
        (order(&[("train.batch", "0")], None), Code::ProjectInvalid, "batch"),
        (order(&[], Some("lorra")), Code::MethodInvalid, "lora"),
        (order(&[("model.path", "nowhere")], None), Code::NotFound, "nowhere"),
        (order(&[("model.path", "builtin:nothing")], None), Code::NotFound, "builtin:starter"),
        (order(&[("data.train", "[\"gone.jsonl\"]")], None), Code::NotFound, "gone.jsonl"),
        (order(&[("data.validation", "gone.jsonl")], None), Code::NotFound, "gone.jsonl"),
        (train(&project, Some(RunRef::Last), None), Code::NotFound, "no run"),
        (train(&bench.path("nowhere"), None, None), Code::NotFound, "nowhere"),
    ] {
        let problem = bench.refused(command);
        assert_eq!(problem.code, code, "{problem}");
        assert!(problem.to_string().contains(word), "{word} is not said: {problem}");
    }
    let weights = bench.path("model").join("model.safetensors");
    let whole = std::fs::read(&weights).expect("reads");
    std::fs::write(&weights, &whole[..whole.len() / 2]).expect("truncates");
    let problem = bench.refused(train(&project, None, None));
    assert!(problem.to_string().contains("model.safetensors"), "{problem}");
    std::fs::write(&weights, whole).expect("restores");
    assert_eq!(files_in(&project), before, "nothing was written");

    let used = bench.path("used");
    std::fs::create_dir(&used).expect("folder");
    std::fs::write(used.join("something"), "of somebody").expect("writes");
    let mut command = order(&[], None);
    if let Command::Train { out, .. } = &mut command {
        *out = Some(used);
    }
    assert_eq!(bench.refused(command).code, Code::Refused);
    assert_eq!(files_in(&project), before, "nothing was written");

    // What is found later is the end of a run, not of the engine.
    let broken = bench.path("broken.jsonl");
    std::fs::write(&broken, "{]\n".repeat(20)).expect("writes");
    let broken = broken.display().to_string();
    let events = bench.ask(order(&[("data.train", &format!("[{broken:?}]"))], None)).expect("a run");
    match events.last() {
        Some(Event::Finished { status: RunStatus::Failed, problem: Some(problem), .. }) => {
            assert!(problem.to_string().contains("broken.jsonl"), "{problem}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_method_keeps_the_settings_that_both_know() {
    let mut bench = Bench::new();
    let project = bench.project("other");
    let command = Command::Train {
        project: project.clone(),
        set: vec![("train.steps".to_owned(), "2".to_owned())],
        method: Some("full".to_owned()),
        out: Some(bench.path("elsewhere")),
        resume: None,
        max_steps: None,
    };
    let events = bench.ask(command).expect("trains");
    assert_eq!(finished(&events).0, RunStatus::Finished, "{:#?}", events.last());
    let row = Reader::open(&project).expect("reader").run(1).expect("reads").expect("the run");
    assert_eq!((row.method.as_str(), row.folder), ("full", bench.path("elsewhere")));
    assert_eq!(row.trained_parameters, row.model_parameters);
    let unchanged: Vec<Source> = project_file::load(&project).expect("reads").data.train;
    assert_eq!(unchanged, [Source::Path("builtin:starter-data".to_owned())]);
}

#[test]
fn files_and_folders_are_named_for_what_they_are() {
    let mut bench = Bench::new();
    let project = bench.project("named");
    let write = |name: &str, bytes: &[u8]| {
        let path = bench.path(name);
        std::fs::write(&path, bytes).expect("writes");
        path
    };
    let data = write("rows.jsonl", b"{\"question\": \"a\", \"answer\": \"b\"}\n{]\n");
    let picture = write("picture.png", b"\x89PNG\r\n\x1a\n\0\0");
    let pickle = write("weights.bin", b"\x80\x02}q\x00.");
    let truncated = write("cut.gguf", b"GGUF\x03\0\0");
    let paths = vec![bench.path("model"), data, project.join("project.toml"), picture, pickle, truncated];
    let events = bench.ask(Command::Inspect { paths }).expect("inspects");
    match &events[..] {
        [
            Event::Model { architecture, layers: 2, sites, .. },
            Event::Dataset { rows: 1, bad_rows: 1, columns, .. },
            Event::Project { name, method, .. },
            Event::Unknown { .. },
            Event::Unknown { why: pickled, .. },
            Event::Unknown { why: cut, .. },
        ] => {
            assert_eq!((architecture.as_str(), sites.len()), ("llama", 14));
            assert_eq!(columns, &["question", "answer"]);
            assert_eq!((name.as_str(), method.as_str()), ("named", "lora"));
            assert!(pickled.contains("pickle"), "{pickled}");
            assert!(cut.to_lowercase().contains("gguf") || cut.contains("truncated"), "{cut}");
        }
        other => panic!("{other:#?}"),
    }
    assert_eq!(bench.refused(Command::Inspect { paths: vec![bench.path("nowhere")] }).code, Code::NotFound);
    assert_eq!(bench.refused(Command::Inspect { paths: Vec::new() }).code, Code::Usage);
}

#[test]
fn images_and_their_models_are_named_and_not_taken_for_texts() {
    let mut bench = Bench::new();
    let vit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/golden-vision/vit_plain");
    let pictures = bench.path("pictures");
    std::fs::create_dir_all(&pictures).expect("a folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(pictures.join(name), bytes).expect("writes");
    write("train-images-idx3-ubyte", &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 9, 8, 7, 6]);
    write("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0, 0, 2, 1, 0]);
    let events = bench.ask(Command::Inspect { paths: vec![vit.clone(), pictures.clone()] }).expect("inspects");
    match &events[..] {
        [
            Event::Model { architecture, layers: 2, vocabulary: 5, sites, .. },
            Event::Dataset { format, schema, rows: 2, columns, .. },
        ] => {
            // six layers in each block, and the projection of the patches
            assert_eq!((architecture.as_str(), sites.len()), ("vit", 13));
            assert_eq!((format.as_str(), schema.as_str(), columns.len()), ("idx", "image-classes", 2));
        }
        other => panic!("{other:#?}"),
    }
    let refused = |model: &Path, data: &Path| {
        let found = temper_data::read::list(data).map_err(Problem::from).err();
        found.or_else(|| temper_models::ModelSource::open(model).ok()?.config().map_err(Problem::from).err())
    };
    let problem = refused(&vit, &pictures).expect("images are no texts");
    assert!(problem.action.contains("not trained from project.toml yet"), "{problem:?}");
    let problem = refused(&vit, &bench.path("model")).expect("a classifier continues no text");
    assert!(problem.action.contains("not trained from project.toml yet"), "{problem:?}");
}

#[test]
fn every_method_has_a_price_on_a_model_before_anything_is_loaded() {
    let mut bench = Bench::new();
    let model = bench.path("model").display().to_string();
    let ask = |bench: &mut Bench, method: &str, settings: Values| {
        let command = Command::Prices { model: model.clone(), method: method.to_owned(), settings };
        match &bench.ask(command).expect("counts")[..] {
            [Event::Prices(known)] => known.prices.clone(),
            other => panic!("{other:#?}"),
        }
    };
    let all = ask(&mut bench, "", Values::default());
    let of = |id: &str| all.iter().find(|price| price.method == id).expect("a price").trained_parameters;
    assert!(of("lora") > 0 && of("full") > of("lora"), "{all:#?}");
    let rank = of("lora") / 16;
    let settings = Values([("rank".to_owned(), Value::Integer(3))].into());
    let one = ask(&mut bench, "lora", settings);
    assert_eq!(one.iter().map(|price| price.trained_parameters).collect::<Vec<_>>(), [3 * rank]);
    assert!(ask(&mut bench, "no-such-method", Values::default()).is_empty());
    let nowhere = Command::Prices { model: "nowhere".to_owned(), method: String::new(), settings: Values::default() };
    assert_eq!(bench.refused(nowhere).code, Code::NotFound);
}

#[test]
fn the_registry_the_example_and_the_machine_are_there() {
    let mut bench = Bench::new();
    let methods = bench.ask(Command::Methods {}).expect("lists");
    assert!(methods.iter().any(|event| matches!(event, Event::Method(card) if card.id == "lora")));
    let dir = bench.path("example");
    let copy = Command::CopyExample { name: "quickstart".to_owned(), dir: dir.clone() };
    let events = bench.ask(copy.clone()).expect("copies");
    assert!(matches!(&events[..], [Event::Project { name, .. }] if name == "quickstart"), "{events:#?}");
    assert_eq!(bench.refused(copy).code, Code::Refused);
    let new =
        Command::NewProject { dir, model: "builtin:starter".to_owned(), data: Vec::new(), method: "lora".to_owned() };
    assert_eq!(bench.refused(new).code, Code::Refused);
    let events = bench.ask(Command::Doctor {}).expect("examines");
    assert!(events.iter().any(|event| matches!(event, Event::Device { usable: true, .. })));
    let Some(Event::Selftest(test)) = events.last() else { panic!("{events:#?}") };
    assert!(test.pass, "{test:#?}");
    let names: Vec<&str> = test.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["learning", "gradients", "repeating", "saving", "memory", "speed"]);
    // What passed says what was measured, and asks for nothing.
    assert!(test.checks.iter().all(|check| !check.measured.is_empty() && check.action.is_empty()), "{test:#?}");
}

#[test]
fn requests_that_make_no_sense_are_refused_in_words() {
    let mut bench = Bench::new();
    let model = ModelRef { model: bench.path("model").display().to_string(), adapters: Vec::new(), base: None };
    let generate = |prompt: &str, limits: GenerateLimits| Command::Generate {
        project: None,
        model: model.clone(),
        prompt: prompt.to_owned(),
        chat: false,
        limits,
    };
    let limits = GenerateLimits::default();
    assert_eq!(bench.refused(generate("", limits)).code, Code::Usage);
    assert_eq!(bench.refused(generate(&"word ".repeat(400), limits)).code, Code::Usage);
    assert_eq!(bench.refused(generate("a", GenerateLimits { max_tokens: 0, ..limits })).code, Code::Usage);
    assert_eq!(bench.refused(generate("a", GenerateLimits { temperature: f64::NAN, ..limits })).code, Code::Usage);
    assert_eq!(bench.refused(generate("a", GenerateLimits { top_p: 0.0, ..limits })).code, Code::Usage);
    let evaluate = |data: &str, metrics: &[&str]| Command::Evaluate {
        project: None,
        model: model.clone(),
        data: data.to_owned(),
        metrics: metrics.iter().map(|metric| (*metric).to_owned()).collect(),
    };
    assert_eq!(bench.refused(evaluate("builtin:prose", &["bleu"])).code, Code::Usage);
    assert_eq!(bench.refused(evaluate("nowhere.jsonl", &[])).code, Code::NotFound);
    let adapted = ModelRef { adapters: vec!["run:7".to_owned()], ..model.clone() };
    let command = Command::Generate { project: None, model: adapted, prompt: "a".to_owned(), chat: false, limits };
    assert_eq!(bench.refused(command).code, Code::NotFound);
    let verify = Command::Verify { project: None, path: bench.path("model"), against: None };
    assert_eq!(bench.refused(verify).code, Code::NotFound);
    let validation = Validation::Share(0.1);
    assert_eq!(project_file::load(&bench.project("fine")).expect("reads").data.validation, validation);
}
