//! What the engine tells without training: what files and folders are, what methods cost, what it and the machine can do.

use crate::commands::Bench;
use std::path::Path;
use temper_protocol::{Code, Command, Event, Problem, Value, Values};

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
