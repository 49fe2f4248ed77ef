//! Projects whose model carries finished adapters: from the key in the file to exports.

use crate::commands::{Bench, finished, train};
use std::path::{Path, PathBuf};
use temper_protocol::command::ExportSource;
use temper_protocol::project::Source;
use temper_protocol::{Code, Command, Event, ExportFormat, GenerateLimits, ModelRef, RunRef, RunStatus, project_file};

impl Bench {
    /// Changes a project's file.
    pub(crate) fn change(&self, project: &Path, change: impl FnOnce(&mut temper_protocol::Project)) {
        let mut read = project_file::load(project).expect("reads");
        change(&mut read);
        project_file::save(&read, project).expect("saves");
    }

    /// Exports the newest run; the reasons of its certificate.
    pub(crate) fn export(&mut self, project: &Path, format: ExportFormat, out: &Path) -> Vec<String> {
        let source = ExportSource::Run { run: RunRef::Last, step: None };
        let (project, out) = (Some(project.into()), out.to_path_buf());
        let order = Command::Export { project, source, format, dtype: None, out, card: None };
        match self.ask(order).expect("exports").pop() {
            Some(Event::Certificate { pass: true, reasons, .. }) => reasons,
            other => panic!("{other:#?}"),
        }
    }

    /// A finished adapter of `method` with its usual settings as a folder beside the project.
    fn adapter(&mut self, project: &Path, method: &str, seed: u64) -> PathBuf {
        self.change(project, |project| {
            project.method.settings.0.clear();
            project.train.seed = seed;
        });
        let out = project.join(format!("{method}-{seed}"));
        let exported = self.exported(project, method);
        std::fs::rename(exported, &out).expect("moves");
        out
    }

    /// A finished adapter of `method` with the project's settings as a folder of PEFT's.
    pub(crate) fn exported(&mut self, project: &Path, method: &str) -> PathBuf {
        self.change(project, |project| method.clone_into(&mut project.method.id));
        self.ask(train(project, None, None)).unwrap_or_else(|problem| panic!("{method}: {problem}"));
        let out = project.join("exported");
        self.export(project, ExportFormat::Peft, &out);
        out
    }

    fn answer(&mut self, project: &Path, adapters: &[String]) -> String {
        let model =
            ModelRef { model: self.path("model").display().to_string(), adapters: adapters.to_vec(), base: None };
        let limits = GenerateLimits { max_tokens: 12, ..GenerateLimits::default() };
        let prompt = "How much is the lantern?".to_owned();
        let order = Command::Generate { project: Some(project.into()), model, prompt, chat: true, limits };
        match self.ask(order).expect("answers").pop() {
            Some(Event::Text { text, .. }) => text,
            other => panic!("{other:#?}"),
        }
    }
}

fn tensors(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("adapter_model.safetensors")).expect("tensors")
}

fn checkpoint(project: &Path, run: u64) -> Vec<u8> {
    let folder = project.join(format!("runs/{run:04}/checkpoints/step-00000012"));
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a checkpoint");
    [read("adapter.safetensors"), read("optimiser.safetensors")].concat()
}

#[test]
fn a_run_on_top_of_two_adapters_is_trained_resumed_and_exported() {
    let mut bench = Bench::new();
    let project = bench.project("layers");
    let (first, second) = (bench.adapter(&project, "lora", 1), bench.adapter(&project, "dora", 2));
    let third = bench.adapter(&project, "lora", 3);
    let before = (tensors(&first), tensors(&second));
    bench.change(&project, |project| {
        project.method.id = "lora".to_owned();
        project.method.settings.0.clear();
        let second = Source::Weighted { path: "dora-2".to_owned(), weight: 0.5 };
        project.model.adapters = vec![Source::Path("lora-1".to_owned()), second];
    });
    let whole = bench.ask(train(&project, None, None)).expect("trains");
    let (status, _, base_loss, best_loss) = finished(&whole);
    assert_eq!(status, RunStatus::Finished, "{:#?}", whole.last());
    assert!(best_loss < base_loss, "{best_loss} of {base_loss}");
    let told = whole.iter().any(|event| {
        matches!(event, Event::Warning { code, text, .. } if code == "adapters" && text.contains("lora-1, dora-2 (weight 0.5)"))
    });
    assert!(told, "{whole:#?}");
    assert_eq!((tensors(&first), tensors(&second)), before, "what lies beneath is as it was");

    // The same again in two parts.
    bench.ask(train(&project, None, Some(7))).expect("the first part");
    bench.ask(train(&project, Some(RunRef::Last), None)).expect("the second part");
    assert!(checkpoint(&project, 4) == checkpoint(&project, 5), "in one part or two, the same bytes");

    // Alone it needs the others; merged it is all of them.
    let alone = project.join("alone");
    let reasons = bench.export(&project, ExportFormat::Peft, &alone).join("; ");
    assert!(reasons.contains("on top of lora-1, dora-2"), "{reasons}");
    let card = std::fs::read_to_string(alone.join("README.md")).expect("a card");
    assert!(card.contains("- lora-1\n- dora-2 (weight 0.5)\n"), "{card}");
    let merged = project.join("merged");
    bench.export(&project, ExportFormat::Hf, &merged);
    let with_run = bench.answer(&project, &["run:5".to_owned()]);
    let limits = GenerateLimits { max_tokens: 12, ..GenerateLimits::default() };
    let model = ModelRef { model: merged.display().to_string(), adapters: Vec::new(), base: None };
    let prompt = "How much is the lantern?".to_owned();
    let order = Command::Generate { project: None, model, prompt, chat: true, limits };
    let answered = bench.ask(order).expect("answers");
    assert!(matches!(answered.last(), Some(Event::Text { text, .. }) if *text == with_run), "{answered:#?}");
    for out in [alone, merged] {
        let events = bench.ask(Command::Verify { project: Some(project.clone()), path: out, against: None });
        let events = events.expect("verifies");
        assert!(matches!(events.last(), Some(Event::Certificate { pass: true, .. })), "{:#?}", events.last());
    }

    // One that has become another one is not what the run was trained on.
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        std::fs::copy(third.join(name), first.join(name)).expect("copies");
    }
    let source = ExportSource::Run { run: RunRef::Id(4), step: None };
    let order = Command::Export {
        project: Some(project.clone()),
        source,
        format: ExportFormat::Peft,
        dtype: None,
        out: project.join("never"),
        card: None,
    };
    let problem = bench.refused(order);
    assert!(problem.code == Code::AdapterInvalid && problem.what.contains("not the ones"), "{problem}");
}

#[test]
fn several_adapters_answer_together_whatever_their_kind() {
    let mut bench = Bench::new();
    let project = bench.project("several");
    let adapters = [bench.adapter(&project, "lora", 1), bench.adapter(&project, "dora", 2)];
    let names: Vec<String> = adapters.iter().map(|folder| folder.display().to_string()).collect();
    let turned: Vec<String> = names.iter().rev().cloned().collect();
    for names in [names, turned, vec!["run:1".to_owned(), adapters[1].display().to_string()]] {
        assert!(!bench.answer(&project, &names).is_empty(), "{names:?}");
    }
}

#[test]
fn what_cannot_lie_beneath_is_refused_before_anything_is_written() {
    let mut bench = Bench::new();
    let project = bench.project("refused");
    let good = bench.adapter(&project, "lora", 1);
    let prompt = bench.adapter(&project, "prompt", 1);
    let runs = std::fs::read_dir(project.join("runs")).expect("runs").count();
    let path = |folder: &Path| Source::Path(folder.display().to_string());
    for (adapters, reason, code) in [
        (vec![path(&good), path(&good)], "same adapter", Code::AdapterInvalid),
        (vec![path(&prompt)], "not defined", Code::AdapterInvalid),
        (vec![Source::Path("run:1".to_owned())], "no adapter folder", Code::NotFound),
        (vec![Source::Path("nowhere".to_owned())], "no adapter folder", Code::NotFound),
    ] {
        bench.change(&project, |project| project.model.adapters = adapters);
        let problem = bench.refused(train(&project, None, None));
        assert!(problem.what.contains(reason), "{problem}");
        assert_eq!(problem.code, code, "{problem}");
    }
    assert_eq!(std::fs::read_dir(project.join("runs")).expect("runs").count(), runs);
}
