//! Training on from adapter folders of PEFT's types: the same answers at the start, and a step that changes what the method
//! declares.

use crate::commands::{Bench, finished, train};
use std::collections::BTreeMap;
use std::path::Path;
use temper_protocol::{Code, Command, Event, ModelRef, RunStatus, Value};

/// Settings by key.
type Settings = Vec<(&'static str, Value)>;

/// A type, the method that has its structure, and settings small enough for a tiny model.
fn types() -> Vec<(&'static str, &'static str, Settings)> {
    let number = |key: &'static str, value: i64| (key, Value::Integer(value));
    let targets = |names: &str| ("targets", Value::Text(names.to_owned()));
    vec![
        ("LORA", "lora", vec![number("rank", 3), ("rslora", Value::Flag(true)), targets("q_proj,down_proj")]),
        ("LORA", "dora", vec![number("rank", 3), targets("q_proj,up_proj")]),
        ("ADALORA", "adalora", vec![number("init_rank", 6), number("rank", 3)]),
        ("IA3", "ia3", Vec::new()),
        ("BEFT", "bitfit", vec![("create", Value::Flag(true)), targets("q_proj,v_proj")]),
        ("VERA", "vera", vec![number("rank", 12)]),
        ("LOHA", "loha", vec![number("rank", 2)]),
        ("LOKR", "lokr", vec![number("rank", 2), number("decompose_factor", 4), ("decompose_both", Value::Flag(true))]),
        ("MISS", "miss", vec![number("rank", 8)]),
        ("MISS", "bat", vec![number("rank", 8), targets("q_proj,o_proj")]),
        ("LN_TUNING", "ln", vec![("layers", Value::Text("1".to_owned()))]),
        ("PREFIX_TUNING", "prefix", vec![number("prefix_length", 5), number("net_width", 6)]),
        ("PROMPT_TUNING", "prompt", vec![number("prompt_length", 5)]),
    ]
}

impl Bench {
    /// Logits of the model with an adapter.
    fn logits(&mut self, project: &Path, adapter: &str) -> Vec<f32> {
        let tokens = self.path("tokens.safetensors");
        let ids = candle_core::Tensor::new(&[[5_i64, 9, 300, 7, 41, 2000]], &candle_core::Device::Cpu).expect("tensor");
        candle_core::safetensors::save(&std::collections::HashMap::from([("a.input_ids", ids)]), &tokens)
            .expect("saves");
        let model = ModelRef {
            model: self.path("model").display().to_string(),
            adapters: vec![adapter.to_owned()],
            base: None,
        };
        let out = self.path("logits.safetensors");
        let order = Command::Logits { project: Some(project.into()), model, tokens, out: out.clone() };
        self.ask(order).expect("computes");
        let logits = candle_core::safetensors::load(&out, &candle_core::Device::Cpu).expect("loads");
        logits["a.logits"].flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
    }
}

/// The trained tensors of a checkpoint, each as the bits of its values.
fn saved(project: &Path, run: u64, step: u64) -> BTreeMap<String, Vec<u32>> {
    let folder = project.join(format!("runs/{run:04}/checkpoints/step-{step:08}"));
    let mut files = ["adapter.safetensors", "model.safetensors"].map(|name| folder.join(name)).into_iter();
    let file = files.find(|file| file.is_file()).expect("weights");
    let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).expect("loads");
    let bits = |tensor: &candle_core::Tensor| {
        let values: Vec<f32> = tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values");
        values.into_iter().map(f32::to_bits).collect()
    };
    tensors.iter().map(|(name, tensor)| (name.clone(), bits(tensor))).collect()
}

fn off_by(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    found.iter().zip(expected).fold(0f32, |off, (a, b)| off.max((a - b).abs())) / largest
}

#[test]
fn every_type_is_trained_on_from_where_it_stands() {
    for (peft_type, method, settings) in types() {
        let mut bench = Bench::new();
        let project = bench.project(method);
        bench.change(&project, |project| {
            project.method.settings.0 =
                settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        });
        let folder = bench.exported(&project, method);
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).expect("a configuration"))
                .expect("json");
        assert_eq!(config["peft_type"], peft_type, "{method}");
        let loaded = bench.logits(&project, &folder.display().to_string());

        // Without a step a run saves what it starts with. What was drawn comes from another seed.
        bench.change(&project, |project| {
            project.method.id = "lora".to_owned();
            project.method.settings.0.clear();
            project.train.from = Some(folder.display().to_string());
            project.train.seed = 99;
            project.train.warmup_steps = 0;
            project.train.steps = 0;
        });
        let events = bench.ask(train(&project, None, None)).unwrap_or_else(|problem| panic!("{method}: {problem}"));
        assert_eq!(finished(&events).0, RunStatus::Finished, "{method}: {:#?}", events.last());
        let off = off_by(&bench.logits(&project, "run:2"), &loaded);
        assert!(off < 1e-5, "{method} starts {off:e} beside the adapter");

        // A step changes everything that is declared as trained; a resumed run goes on with the same.
        bench.change(&project, |project| {
            project.train.steps = 4;
            project.train.checkpoint_steps = 1;
            project.train.keep_checkpoints = 10;
        });
        let events = bench.ask(train(&project, None, None)).unwrap_or_else(|problem| panic!("{method}: {problem}"));
        assert_eq!(finished(&events).0, RunStatus::Finished, "{method}: {:#?}", events.last());
        let (before, after) = (saved(&project, 3, 0), saved(&project, 3, 1));
        assert!(before.keys().eq(after.keys()) && !before.is_empty(), "{method}");
        assert_eq!(before, saved(&project, 2, 0), "{method}: the start is the same");
        for (name, values) in &before {
            assert!(*values != after[name], "{method}: {name} was not changed by a step");
        }
        bench.ask(train(&project, None, Some(2))).unwrap_or_else(|problem| panic!("{method}: {problem}"));
        bench.ask(train(&project, Some(temper_protocol::RunRef::Last), None)).expect("resumes");
        assert_eq!(saved(&project, 4, 4), saved(&project, 3, 4), "{method}: in two parts the same");
        let whole = bench.logits(&project, "run:3");
        assert!(off_by(&whole, &loaded) > 1e-4, "{method}: four steps change something");

        // And it leaves again as what it came from.
        let again = project.join("again");
        bench.export(&project, temper_protocol::ExportFormat::Peft, &again);
        let off = off_by(&bench.logits(&project, &again.display().to_string()), &bench.logits(&project, "run:4"));
        assert!(off < 1e-5, "{method}: {off:e}");
    }
}

#[test]
fn a_folder_that_no_method_here_has_the_structure_of_is_refused_with_the_reason() {
    let mut bench = Bench::new();
    let project = bench.project("refused");
    bench.change(&project, |project| project.method.settings.0.clear());
    let folder = bench.exported(&project, "loha");
    let file = folder.join("adapter_config.json");
    let config = std::fs::read_to_string(&file).expect("reads");
    let runs = || std::fs::read_dir(project.join("runs")).expect("runs").count();
    let before = runs();
    bench.change(&project, |project| project.train.from = Some(folder.display().to_string()));
    for (from, to, reason) in
        [("\"r\": 4", "\"r\": 4, \"rank_pattern\": {\"q_proj\": 2}", "rank differs"), ("LOHA", "OFT", "OFT")]
    {
        assert!(config.contains(from), "{config}");
        std::fs::write(&file, config.replace(from, to)).expect("writes");
        let problem = bench.refused(train(&project, None, None));
        assert!(problem.code == Code::AdapterInvalid && problem.what.contains(reason), "{problem}");
    }
    // Tensors of another shape than the settings say are found when the model is there.
    std::fs::write(&file, config.replace("\"r\": 4", "\"r\": 3")).expect("writes");
    match bench.ask(train(&project, None, None)).expect("ends").pop() {
        Some(Event::Finished { status: RunStatus::Failed, problem: Some(problem), .. }) => {
            assert!(problem.code == Code::AdapterInvalid && problem.what.contains("hada_w1_a"), "{problem}");
        }
        other => panic!("{other:#?}"),
    }
    assert!(runs() <= before + 1, "at most the failed run's own folder");
}
