//! Capsules: a run leaves as one, is checked, repeated from it, and a changed one is found out.

use crate::commands::{Bench, train};
use std::path::{Path, PathBuf};
use temper_protocol::command::ExportSource;
use temper_protocol::event::Check;
use temper_protocol::{Code, Command, Event, ExportFormat, RunRef, project_file};

/// A trained project and its capsule.
fn capsule(bench: &mut Bench) -> (PathBuf, PathBuf) {
    let project = bench.project("shop");
    bench.ask(train(&project, None, None)).expect("trains");
    bench.export(&project, ExportFormat::Peft, &project.join("exports").join("adapter"));
    let out = project.join("exports").join("shop.capsule");
    let reasons = bench.export(&project, ExportFormat::Capsule, &out);
    assert!(reasons.is_empty(), "{reasons:?}");
    (project, out)
}

fn verified(bench: &mut Bench, project: &Path, path: &Path, against: Option<RunRef>) -> (bool, Vec<Check>, String) {
    let order = Command::Verify { project: Some(project.to_path_buf()), path: path.to_path_buf(), against };
    match bench.ask(order).expect("is checked").pop() {
        Some(Event::Certificate { pass, checks, reasons, format, .. }) => {
            assert_eq!(format, "capsule");
            (pass, checks, reasons.join("; "))
        }
        other => panic!("{other:#?}"),
    }
}

fn measured<'a>(checks: &'a [Check], name: &str) -> &'a str {
    let check = checks.iter().find(|check| check.name == name);
    check.map_or_else(|| panic!("no {name} in {checks:#?}"), |check| check.measured.as_str())
}

#[test]
fn a_run_leaves_as_a_capsule_and_is_repeated_from_it() {
    let mut bench = Bench::new();
    let (project, out) = capsule(&mut bench);
    let text = std::fs::read_to_string(out.join("capsule.json")).expect("a description");
    let said: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(said["schema"], 1);
    assert_eq!(said["training"]["method"], "lora");
    assert_eq!(said["training"]["steps"], 12);
    assert_eq!(said["certificates"][0]["format"], "peft", "what is on record goes along");
    assert!(said["metrics"]["best_loss"].as_f64() < said["metrics"]["base_loss"].as_f64());
    let keys: Vec<&String> = said.as_object().expect("a table").keys().collect();
    assert!(keys.is_sorted(), "{keys:?}");

    // Nothing of this machine, and no text of the person's.
    let root = bench.path("").display().to_string();
    let root = root.trim_end_matches(['/', '\\']);
    for name in ["capsule.json", "project.toml", "README.md", "temper.json"] {
        let text = std::fs::read_to_string(out.join(name)).expect("text");
        assert!(!text.contains(root) && !text.contains("How much is the lantern"), "{name}: {text}");
    }

    // Where model and data are, they are compared; where they are not, that is said.
    let (pass, checks, reasons) = verified(&mut bench, &project, &out, None);
    assert!(pass, "{reasons}");
    for what in ["base model", "data", "kept sets"] {
        assert_eq!(measured(&checks, what), "the same");
    }
    let elsewhere = bench.path("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    let moved = elsewhere.join("shop.capsule");
    std::fs::rename(&out, &moved).expect("moves");
    let (pass, checks, reasons) = verified(&mut bench, &elsewhere, &moved, None);
    assert!(
        pass && reasons.contains("not here, so not compared: ") && reasons.contains("model/config.json"),
        "{reasons}"
    );
    assert_eq!(measured(&checks, "base model"), "not here");

    // Somebody else trains from its settings, with the model beside them.
    let again = bench.path("again");
    std::fs::create_dir_all(again.join("model")).expect("a folder");
    std::fs::copy(moved.join("project.toml"), again.join("project.toml")).expect("copies");
    for entry in std::fs::read_dir(bench.path("model")).expect("lists") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, again.join("model").join(path.file_name().expect("a name"))).expect("copies");
    }
    bench.ask(train(&again, None, None)).expect("trains again");
    let (pass, checks, reasons) = verified(&mut bench, &again, &moved, Some(RunRef::Last));
    assert!(pass, "{reasons}");
    assert_eq!(measured(&checks, "the run started from the same"), "the same");
    assert_eq!(measured(&checks, "the run trained the same"), "every byte");
    assert_eq!(measured(&checks, "best validation loss, difference"), "0.0000");

    // A run with other settings is no repetition.
    bench.change(&again, |project| project.train.seed += 1);
    bench.ask(train(&again, None, None)).expect("trains");
    let (pass, _, reasons) = verified(&mut bench, &again, &moved, Some(RunRef::Last));
    assert!(!pass && reasons.contains("did not start from the same settings"), "{reasons}");
}

#[test]
fn a_changed_capsule_is_refused_with_the_name_of_the_file() {
    let mut bench = Bench::new();
    let (project, out) = capsule(&mut bench);
    let spoil = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let file = out.join(name);
        let whole = std::fs::read(&file).expect("reads");
        let mut other = whole.clone();
        change(&mut other);
        std::fs::write(&file, other).expect("writes");
        (file, whole)
    };
    for name in ["project.toml", "adapter.safetensors", "README.md"] {
        let (file, whole) = spoil(name, &|bytes| bytes.push(b'\n'));
        let (pass, checks, reasons) = verified(&mut bench, &project, &out, None);
        assert!(!pass && reasons.contains(&format!("{name} was changed after it was written")), "{name}: {reasons}");
        let all = files(&out);
        assert_eq!(measured(&checks, "files are as they were written"), format!("{} of {all}", all - 1));
        std::fs::write(file, whole).expect("writes back");
    }
    assert!(verified(&mut bench, &project, &out, None).0, "as it was");

    let (file, whole) = spoil("capsule.json", &|bytes| bytes.truncate(20));
    let broken = Command::Verify { project: Some(project.clone()), path: out.clone(), against: None };
    let problem = bench.refused(broken);
    assert!(problem.code == Code::CertificateFailed && problem.what.contains("capsule.json"), "{problem}");
    std::fs::write(file, whole).expect("writes back");

    std::fs::remove_file(out.join("README.md")).expect("removes");
    let (pass, _, reasons) = verified(&mut bench, &project, &out, None);
    assert!(!pass && reasons.contains("README.md is missing from the capsule"), "{reasons}");
}

#[test]
fn a_capsule_needs_a_run_whose_settings_are_what_it_trained_with() {
    let mut bench = Bench::new();
    let project = bench.project("shop");
    bench.ask(train(&project, None, None)).expect("trains");
    let order = |source: ExportSource, out: &str| Command::Export {
        project: Some(project.clone()),
        source,
        format: ExportFormat::Capsule,
        dtype: None,
        out: project.join(out),
        card: None,
    };
    let run = || ExportSource::Run { run: RunRef::Last, step: None };
    let bare = ExportSource::Adapter { path: project.clone(), model: "builtin:starter".to_owned() };
    assert_eq!(bench.refused(order(bare, "a.capsule")).code, Code::Usage);
    assert_eq!(bench.refused(order(run(), "a.gguf")).code, Code::Usage);
    let frozen = project.join("runs").join("0001");
    let mut settings = project_file::load(&frozen).expect("reads");
    settings.train.lr_peak *= 2.0;
    project_file::save(&settings, &frozen).expect("saves");
    let problem = bench.refused(order(run(), "a.capsule"));
    assert!(problem.code == Code::ProjectInvalid && problem.r#where.contains("project.toml"), "{problem}");
    assert!(!project.join("a.capsule").exists());
}

/// How many files a capsule has beside the list of their hashes.
fn files(capsule: &Path) -> usize {
    std::fs::read_dir(capsule).expect("lists").count() - 1
}
