//! Starts that are computed from weights and data: layers are worked on side by side, and that changes no bit.

use crate::fixture::{Fixture, run, steps};
use std::collections::BTreeMap;
use std::fs;
use temper_protocol::{RunStatus, Value};

#[test]
fn starts_are_the_same_bytes_for_any_number_of_threads() {
    let fixture = Fixture::new();
    // Large enough that a decomposition would be shared out.
    fixture.configure(&[("hidden_size", 192), ("intermediate_size", 384), ("head_dim", 48)]);
    let number = |key: &'static str, value: i64| (key, Value::Integer(value));
    let cases = [
        ("pissa", "auto", vec![number("rank", 8), number("iterations", 0)]),
        ("pissa", "auto", vec![number("rank", 8), number("iterations", 2)]),
        ("olora", "auto", vec![number("rank", 8)]),
        ("corda", "auto", vec![number("rank", 8), number("calibration_rows", 8)]),
        ("eva", "auto", vec![number("rank", 4)]),
        ("lamda++", "auto", vec![number("rank", 8)]),
        ("soka", "auto", vec![number("max_terms", 3)]),
        ("eora", "int3-g32", vec![number("rank", 8), number("calibration_rows", 8)]),
        ("lq-lora", "auto", vec![number("rank", 8)]),
        (
            "lq-lora",
            "auto",
            vec![number("rank", 8), number("calibration_rows", 8), ("weighing", Value::Text("fisher".to_owned()))],
        ),
    ];
    for (index, (method, base, settings)) in cases.into_iter().enumerate() {
        let bytes = |threads: usize| -> BTreeMap<String, Vec<u8>> {
            let mut project = fixture.project();
            project.method.id = method.to_owned();
            project.method.settings.0.clear();
            project.method.settings.0.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
            base.clone_into(&mut project.model.base);
            project.train.steps = 1;
            project.train.threads = threads;
            let request = fixture.request(project, &format!("{method}-{index}-{threads}"));
            let (outcome, _) = run(&request);
            assert_eq!(outcome.status, RunStatus::Finished, "{method}: {:?}", outcome.problem);
            assert_eq!(steps(&request), [0, 1], "{method}");
            let folder = request.run_dir.join("checkpoints/step-00000000");
            let files = ["adapter.safetensors", "memory.safetensors"];
            files.iter().filter_map(|file| Some(((*file).to_owned(), fs::read(folder.join(file)).ok()?))).collect()
        };
        let one = bytes(1);
        assert!(one.contains_key("adapter.safetensors"), "{method}");
        for threads in [2, 5] {
            assert!(bytes(threads) == one, "{method}: {threads} threads start otherwise than one");
        }
    }
}
