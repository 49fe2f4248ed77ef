//! A whole project on disk for tests of runs: a tiny new llama with the starter's tokenizer, a few rows of
//! data, a kept text.

use std::fs;
use std::path::{Path, PathBuf};
use temper_protocol::{Event, Project, Value};
use temper_train::{Outcome, RunControl, TrainRequest};

/// A folder with everything a run needs; gone when dropped.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
}

fn starter(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/starter").join(file)
}

impl Fixture {
    /// Writes the folder.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("temp");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("model")).expect("folder");
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(starter(file), path("model").join(file)).expect("the starter's tokenizer");
        }
        fs::copy(starter("config.json"), path("model/config.json")).expect("the starter's configuration");
        let words = ["apple", "bread", "candle", "door", "engine", "forest", "garden", "house", "island", "jacket"];
        let row = |index: usize| {
            let word = |by: usize| words[(index * by + index / 10) % words.len()];
            let (question, answer) = (format!("Where is the {}?", word(3)), format!("Behind the {}.", word(7)));
            serde_json::json!({"messages": [
                {"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
            .to_string()
        };
        let rows: Vec<String> = (0..80).map(row).collect();
        fs::write(path("rows.jsonl"), rows.join("\n")).expect("data");
        let text = "The harbour was quiet in the morning, and the boats lay side by side. ".repeat(60);
        fs::write(path("prose.txt"), text).expect("kept text");
        let fixture = Self { folder };
        fixture.configure(&[
            ("hidden_size", 32),
            ("intermediate_size", 64),
            ("num_hidden_layers", 2),
            ("num_attention_heads", 4),
            ("num_key_value_heads", 2),
            ("head_dim", 8),
        ]);
        fixture
    }

    /// Changes sizes of the model.
    pub(crate) fn configure(&self, sizes: &[(&str, u64)]) {
        let file = self.path("model/config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file).expect("config")).expect("json");
        for (key, value) in sizes {
            config[*key] = (*value).into();
        }
        fs::write(&file, config.to_string()).expect("config");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A project of 20 steps: LoRA, batch 2, a checkpoint and a validation every 5 steps.
    pub(crate) fn project(&self) -> Project {
        let mut project = Project::new("tiny", "random:model/config.json", &["rows.jsonl".to_owned()], "lora");
        project.method.settings.0.insert("rank".to_owned(), Value::Integer(4));
        project.method.settings.0.insert("dropout".to_owned(), Value::Number(0.1));
        project.data.max_tokens = 48;
        project.train.steps = 20;
        project.train.batch = 2;
        project.train.lr_peak = 5e-3;
        project.train.warmup_steps = 2;
        project.train.threads = 2;
        project.train.checkpoint_steps = 5;
        project.train.eval_steps = 5;
        project.keep.probes = vec!["prose.txt".to_owned()];
        project.keep.every_steps = 10;
        project.keep.budget_nats = 100.0;
        project
    }

    /// A request of `project` in run folder `run`.
    pub(crate) fn request(&self, project: Project, run: &str) -> TrainRequest {
        let keeps = !project.keep.probes.is_empty();
        TrainRequest {
            project,
            project_dir: self.folder.path().to_path_buf(),
            run: 1,
            run_dir: self.path(run),
            model_path: self.path("model/config.json"),
            data_sources: vec![(self.path("rows.jsonl"), 1.0)],
            validation_path: None,
            probes: if keeps { vec![("prose".to_owned(), self.path("prose.txt"))] } else { Vec::new() },
            cache_dir: None,
            base_cache_dir: None,
            resume: None,
            beneath: None,
            start_from: None,
            max_steps: None,
        }
    }
}

/// Runs a request to its end and returns its events.
pub(crate) fn run(request: &TrainRequest) -> (Outcome, Vec<Event>) {
    run_with(request, &RunControl::new(), |_| ())
}

/// Runs a request with a listener.
pub(crate) fn run_with(
    request: &TrainRequest,
    control: &RunControl,
    mut listen: impl FnMut(&Event),
) -> (Outcome, Vec<Event>) {
    let mut events = Vec::new();
    let outcome = temper_train::train(request, control, &mut |event| {
        listen(&event);
        events.push(event);
    });
    (outcome.expect("the run starts"), events)
}

/// The same request, going on from its own folder.
pub(crate) fn resumed(request: &TrainRequest) -> TrainRequest {
    TrainRequest { resume: Some(request.run_dir.clone()), max_steps: None, ..request.clone() }
}

/// Bytes of weights and optimiser at a step.
pub(crate) fn bytes_at(request: &TrainRequest, step: u64) -> (Vec<u8>, Vec<u8>) {
    let folder = request.run_dir.join(format!("checkpoints/step-{step:08}"));
    let whole = request.project.method.id == "full";
    let weights = folder.join(if whole { "model.safetensors" } else { "adapter.safetensors" });
    (fs::read(weights).expect("weights"), fs::read(folder.join("optimiser.safetensors")).expect("optimiser"))
}

/// Steps of the checkpoints that are there.
pub(crate) fn steps(request: &TrainRequest) -> Vec<u64> {
    temper_train::checkpoint::Checkpoints::existing(&request.run_dir).steps().into_iter().collect()
}

/// Codes of the warnings.
pub(crate) fn warnings(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Warning { code, .. } => Some(code.as_str()),
            _ => None,
        })
        .collect()
}
