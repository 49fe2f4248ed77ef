//! A run with breaks is the run without them, bit for bit.

use crate::fixture::{Fixture, bytes_at, resumed, run, run_with, steps, warnings};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use temper_protocol::{Act, Code, Event, Problem, RunStatus, Value};
use temper_train::{RunControl, TrainRequest};

fn evals(events: &[Event]) -> Vec<(u64, u64, bool)> {
    let eval = |event: &Event| match event {
        Event::Eval { step, loss, best, .. } => Some((*step, loss.to_bits(), *best)),
        _ => None,
    };
    events.iter().filter_map(eval).collect()
}

#[test]
fn twenty_steps_are_ten_and_ten_more() {
    let fixture = Fixture::new();
    for method in ["lora", "full"] {
        let project = || {
            let mut project = fixture.project();
            project.method.id = method.to_owned();
            if method == "full" {
                project.method.settings.0.clear();
            }
            project.train.accumulate = 2;
            project
        };
        let whole = fixture.request(project(), &format!("{method}-whole"));
        let (outcome, events) = run(&whole);
        assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
        let mut parts = fixture.request(project(), &format!("{method}-parts"));
        parts.max_steps = Some(10);
        let (first, first_events) = run(&parts);
        assert_eq!((first.status, first.steps), (RunStatus::Finished, 10));
        let (second, second_events) = run(&resumed(&parts));
        assert_eq!((second.status, second.steps), (RunStatus::Finished, 20), "{:?}", second.problem);
        assert!(second_events.iter().any(|event| matches!(event, Event::Started { resumed_from: 10, .. })));
        assert!(bytes_at(&whole, 20) == bytes_at(&parts, 20), "{method}: weights or optimiser differ");
        let together: Vec<_> = evals(&first_events).into_iter().chain(evals(&second_events)).collect();
        assert_eq!(evals(&events), together);
        assert_eq!((outcome.best_step, outcome.best_loss.to_bits()), (second.best_step, second.best_loss.to_bits()));
        assert_eq!(outcome.base_loss.to_bits(), second.base_loss.to_bits());
        assert_eq!(outcome.forgetting.to_bits(), second.forgetting.to_bits());
    }
}

/// Methods whose adapters change while they train: shapes, masks and scores come back as they were.
#[test]
fn moving_adapters_resume_to_the_same_bits_and_tell_their_moves_at_once() {
    let fixture = Fixture::new();
    let number = |key: &str, value: i64| (key.to_owned(), Value::Integer(value));
    let cases = [
        ("sora", vec![("threshold".to_owned(), Value::Number(0.01))]),
        ("lora-pro", Vec::new()),
        ("adalora", vec![number("init_rank", 6), number("rank", 3), number("every_steps", 2)]),
        ("increlora", vec![number("rank", 2), number("top", 3), number("grow_by", 1), number("every_steps", 3)]),
        ("lamda", vec![("freeze_share".to_owned(), Value::Number(0.8))]),
        ("lamda++", vec![("freeze_share".to_owned(), Value::Number(0.8))]),
        ("soka", vec![number("max_terms", 3)]),
        ("diffora", vec![number("rank", 3), ("search_share".to_owned(), Value::Number(0.7))]),
        ("sara", vec![("refresh_share".to_owned(), Value::Number(0.35))]),
        ("lt-sft", vec![("search_share".to_owned(), Value::Number(0.35)), ("share".to_owned(), Value::Number(0.05))]),
        ("lt-sft", vec![("search_share".to_owned(), Value::Number(0.7)), ("l1".to_owned(), Value::Number(0.1))]),
        ("tlora", vec![number("bond", 2)]),
        ("flora", vec![number("rank", 3)]),
        ("mola", vec![number("rank", 2), ("balance".to_owned(), Value::Number(0.01))]),
        ("eva", vec![number("rank", 3)]),
        ("corda", vec![number("rank", 3), number("calibration_rows", 16)]),
    ];
    for (index, (method, settings)) in cases.into_iter().enumerate() {
        let project = || {
            let mut project = fixture.project();
            project.method.id = method.to_owned();
            project.method.settings.0.clear();
            project.method.settings.0.extend(settings.clone());
            project.train.accumulate = 2;
            project
        };
        let whole = fixture.request(project(), &format!("{method}-{index}-whole"));
        let (outcome, events) = run(&whole);
        assert_eq!(outcome.status, RunStatus::Finished, "{method}: {:?}", outcome.problem);
        let mut parts = fixture.request(project(), &format!("{method}-{index}-parts"));
        parts.max_steps = Some(10);
        let (first, _) = run(&parts);
        assert_eq!((first.status, first.steps), (RunStatus::Finished, 10), "{method}: {:?}", first.problem);
        let (second, _) = run(&resumed(&parts));
        assert_eq!((second.status, second.steps), (RunStatus::Finished, 20), "{method}: {:?}", second.problem);
        assert!(bytes_at(&whole, 20) == bytes_at(&parts, 20), "{method}: weights or optimiser differ");
        let memory =
            |run: &TrainRequest| fs::read(run.run_dir.join("checkpoints/step-00000020/memory.safetensors")).ok();
        assert!(memory(&whole) == memory(&parts), "{method}: what adapters remember differs");
        assert_eq!(memory(&whole).is_some(), !["sora", "soka", "tlora", "flora", "eva"].contains(&method), "{method}");
        // Ranks are measured at validations, every fifth step; a rule's move is told after its own step, one made before
        // the start after the first.
        let told = |wanted: &dyn Fn(u64) -> bool| {
            let hit =
                |event: &&Event| matches!(event, Event::Rank { step, rank, .. } if step % 5 != 0 && wanted(*rank));
            events.iter().filter(hit).count()
        };
        let moves = told(&|rank| rank > 0);
        assert_eq!(
            moves > 0,
            ["adalora", "increlora", "diffora", "lamda++", "soka", "eva"].contains(&method),
            "{method}: {moves} moves are told"
        );
        // What a search came by on its way is no result.
        let begun = settings.iter().find_map(|(key, value)| match value {
            Value::Number(share) if key == "search_share" => Some((share * 20.0).round() as u64),
            _ => None,
        });
        let begun = begun.unwrap_or(0);
        assert!(outcome.best_step >= begun, "{method}: the best step is {}", outcome.best_step);
        let trained =
            temper_train::load_trained(&whole.run_dir, &whole.model_path, false, None, None, &mut |_, _, _| ());
        let trained = trained.unwrap_or_else(|error| panic!("{method}: {}", Problem::from(error)));
        // Some leave layers out that matter little.
        let adapted = trained.model.sites().iter().filter(|site| site.is_adapted()).count();
        let all = trained.model.sites().len();
        assert_eq!(told(&|rank| rank == 0), all - adapted, "{method}: each layer that is left out is told once");
        assert!(adapted == all || ["eva", "diffora", "lt-sft"].contains(&method) && adapted > 0, "{method}: {adapted}");
    }
}

#[test]
fn rounded_bases_and_moments_in_8_bits_resume_to_the_same_bits() {
    let fixture = Fixture::new();
    fixture.configure(&[("hidden_size", 64), ("intermediate_size", 128), ("head_dim", 16)]);
    for (method, base, optim_state) in [
        ("lora", "nf4", "f32"),
        ("lora", "int8", "int8"),
        ("lora", "nf4-double", "f32"),
        ("lora", "int3-g32", "f32"),
        ("full", "auto", "int8"),
    ] {
        let project = || {
            let mut project = fixture.project();
            project.method.id = method.to_owned();
            if method == "full" {
                project.method.settings.0.clear();
            }
            base.clone_into(&mut project.model.base);
            optim_state.clone_into(&mut project.train.optim_state);
            project
        };
        let name = format!("{method}-{base}-{optim_state}");
        let whole = fixture.request(project(), &name);
        let (outcome, events) = run(&whole);
        assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
        assert_eq!(warnings(&events).contains(&"base"), base != "auto", "{name}: a rounded base is said");
        let mut parts = fixture.request(project(), &format!("{name}-parts"));
        parts.max_steps = Some(10);
        let (_, _) = run(&parts);
        let (second, _) = run(&resumed(&parts));
        assert_eq!((second.status, second.steps), (RunStatus::Finished, 20), "{:?}", second.problem);
        assert!(bytes_at(&whole, 20) == bytes_at(&parts, 20), "{name}: weights or optimiser differ");

        // Another storage is another run.
        let mut other = resumed(&parts);
        if optim_state == "int8" { "f32" } else { "int8" }.clone_into(&mut other.project.train.optim_state);
        let refused = temper_train::train(&other, &RunControl::new(), &mut |_| ());
        let problem = match refused {
            Ok(outcome) => outcome.problem.expect("refused"),
            Err(error) => Problem::from(error),
        };
        assert_eq!(problem.code, Code::ProjectInvalid, "{problem}");
    }
}

#[test]
fn a_base_that_a_method_rounded_itself_is_found_again_by_a_resumed_run() {
    let fixture = Fixture::new();
    fixture.configure(&[("hidden_size", 64), ("intermediate_size", 128), ("head_dim", 16)]);
    let mut bases = Vec::new();
    for weighing in ["plain", "fisher"] {
        let project = || {
            let mut project = fixture.project();
            "lq-lora".clone_into(&mut project.method.id);
            project.method.settings.0.clear();
            project.method.settings.0.insert("rank".to_owned(), Value::Integer(8));
            project.method.settings.0.insert("weighing".to_owned(), Value::Text(weighing.to_owned()));
            project
        };
        let whole = fixture.request(project(), weighing);
        let (outcome, _) = run(&whole);
        assert_eq!(outcome.status, RunStatus::Finished, "{weighing}: {:?}", outcome.problem);
        let mut parts = fixture.request(project(), &format!("{weighing}-parts"));
        parts.max_steps = Some(10);
        let (_, _) = run(&parts);
        let (second, _) = run(&resumed(&parts));
        assert_eq!((second.status, second.steps), (RunStatus::Finished, 20), "{weighing}: {:?}", second.problem);
        assert!(bytes_at(&whole, 20) == bytes_at(&parts, 20), "{weighing}: weights or optimiser differ");
        // Whoever loads the result has the base that was trained on: rounded, and the same from checkpoint to checkpoint.
        let loaded = |run_dir: &std::path::Path| {
            let trained = temper_train::load_trained(run_dir, &whole.model_path, false, None, None, &mut |_, _, _| ());
            let trained = trained.unwrap_or_else(|error| panic!("{weighing}: {}", Problem::from(error)));
            let held = |site: &temper_nn::LinearSite| {
                let weight = &site.frozen().expect("frozen").weight;
                assert!(weight.kind.is_memory_only(), "{weighing}: {} is held as {}", site.name(), weight.kind.name());
                weight.bytes().as_slice().to_vec()
            };
            trained.model.sites().into_iter().map(held).collect::<Vec<Vec<u8>>>()
        };
        let base = loaded(&whole.run_dir);
        assert!(base == loaded(&parts.run_dir), "{weighing}: another base");
        bases.push(base);
    }
    assert!(bases[0] != bases[1], "the weighing changes the base");
    let mut project = fixture.project();
    "lq-lora".clone_into(&mut project.method.id);
    project.method.settings.0.clear();
    project.method.settings.0.insert("budget".to_owned(), Value::Number(1.5));
    let problem = match temper_train::train(&fixture.request(project, "little"), &RunControl::new(), &mut |_| ()) {
        Ok(outcome) => outcome.problem.expect("refused"),
        Err(error) => Problem::from(error),
    };
    assert!(problem.what.contains("1.5") && problem.what.contains("2.24"), "{problem}");
}

#[test]
fn a_base_whose_rows_fill_no_blocks_is_refused_with_the_weight_and_what_to_do() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    "nf4".clone_into(&mut project.model.base);
    let problem = match temper_train::train(&fixture.request(project, "narrow"), &RunControl::new(), &mut |_| ()) {
        Ok(outcome) => outcome.problem.expect("refused"),
        Err(error) => Problem::from(error),
    };
    let text = problem.to_string();
    assert!(text.contains("q_proj") && text.contains("32 values") && text.contains("auto"), "{text}");
}

#[test]
fn breaking_off_anywhere_loses_nothing() {
    let fixture = Fixture::new();
    let whole = fixture.request(fixture.project(), "whole");
    let (_, events) = run(&whole);
    let expected = bytes_at(&whole, 20);
    for number in 0..8 {
        let request = fixture.request(fixture.project(), &format!("broken-{number}"));
        // The listener dies at some event: the run ends there without another word.
        let deadly = (number * 2 + 1) * events.len() / 17;
        let mut heard = 0;
        let died = catch_unwind(AssertUnwindSafe(|| {
            temper_train::train(&request, &RunControl::new(), &mut |_| {
                heard += 1;
                assert!(heard <= deadly, "the listener dies");
            })
        }));
        assert!(died.is_err());
        let (outcome, _) = run(&resumed(&request));
        assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 20), "{:?}", outcome.problem);
        assert!(bytes_at(&request, 20) == expected, "broken off at event {deadly}");
    }
}

#[test]
fn a_stop_in_the_middle_of_anything_loses_nothing() {
    let fixture = Fixture::new();
    let project = || {
        let mut project = fixture.project();
        project.train.accumulate = 3;
        project.train.eval_steps = 4;
        project.keep.every_steps = 4;
        project
    };
    let whole = fixture.request(project(), "whole");
    let (outcome, events) = run(&whole);
    let expected = bytes_at(&whole, 20);
    for number in 0..6 {
        let request = fixture.request(project(), &format!("stopped-{number}"));
        let control = RunControl::new();
        let (at, mut heard) = (events.len() * (number + 1) / 8, 0);
        let (first, _) = run_with(&request, &control, |_| {
            heard += 1;
            if heard == at {
                control.request(Act::Stop);
            }
        });
        assert_eq!(first.status, RunStatus::Stopped);
        let (second, _) = run(&resumed(&request));
        assert_eq!((second.status, second.steps), (RunStatus::Finished, 20), "{:?}", second.problem);
        assert!(bytes_at(&request, 20) == expected, "stopped at event {at}");
        assert_eq!((outcome.best_step, outcome.best_loss.to_bits()), (second.best_step, second.best_loss.to_bits()));
    }
}

#[test]
fn a_damaged_checkpoint_is_skipped_with_a_warning() {
    let fixture = Fixture::new();
    let whole = fixture.request(fixture.project(), "whole");
    run(&whole);
    for (number, file) in ["adapter.safetensors", "optimiser.safetensors", "state.json"].into_iter().enumerate() {
        let mut request = fixture.request(fixture.project(), &format!("damaged-{number}"));
        request.max_steps = Some(10);
        run(&request);
        let path = request.run_dir.join("checkpoints/step-00000010").join(file);
        let mut bytes = fs::read(&path).expect("reads");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("damages");
        let (outcome, events) = run(&resumed(&request));
        assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 20), "{:?}", outcome.problem);
        assert!(warnings(&events).contains(&"checkpoint_damaged"), "{file}");
        assert!(events.iter().any(|event| matches!(event, Event::Started { resumed_from: 5, .. })));
        assert!(bytes_at(&request, 20) == bytes_at(&whole, 20), "{file}");
    }
}

#[test]
fn a_run_that_has_ended_says_so_and_changes_nothing() {
    let fixture = Fixture::new();
    let request = fixture.request(fixture.project(), "run");
    let (first, _) = run(&request);
    let before = bytes_at(&request, 20);
    let (again, events) = run(&resumed(&request));
    assert_eq!((again.status, again.steps), (RunStatus::Finished, 20));
    assert_eq!((again.best_step, again.adapter), (first.best_step, first.adapter));
    assert!(warnings(&events).contains(&"already_finished"));
    assert!(!events.iter().any(|event| matches!(event, Event::Step { .. } | Event::Checkpoint { .. })));
    assert!(bytes_at(&request, 20) == before);
}

#[test]
fn another_base_other_data_or_settings_are_refused() {
    let fixture = Fixture::new();
    let mut request = fixture.request(fixture.project(), "run");
    request.max_steps = Some(5);
    run(&request);
    let refused = |change: &dyn Fn(&mut TrainRequest), named: &str| {
        let mut request = resumed(&request);
        change(&mut request);
        let error = temper_train::train(&request, &RunControl::new(), &mut |_| ()).expect_err("refused");
        let problem = Problem::from(error);
        assert_eq!(problem.code, Code::ProjectInvalid);
        assert!(problem.what.contains(named), "{problem}");
    };
    refused(&|request| request.project.train.lr_peak *= 2.0, "settings");
    refused(
        &|request| {
            request.project.method.settings.0.insert("rank".to_owned(), Value::Integer(2));
        },
        "settings",
    );
    let other_rows = fs::read_to_string(fixture.path("rows.jsonl")).expect("rows").replace("apple", "pears");
    fs::write(fixture.path("other.jsonl"), other_rows).expect("rows");
    refused(&|request| request.data_sources = vec![(fixture.path("other.jsonl"), 1.0)], "data");
    fs::create_dir_all(fixture.path("other")).expect("folder");
    for file in ["tokenizer.json", "tokenizer_config.json", "config.json"] {
        fs::copy(fixture.path("model").join(file), fixture.path("other").join(file)).expect("copy");
    }
    let config = fs::read_to_string(fixture.path("model/config.json")).expect("config");
    fs::write(fixture.path("other/config.json"), format!("{config} ")).expect("config");
    refused(&|request| request.model_path = fixture.path("other/config.json"), "base");
    // The same run elsewhere, with a new name and fewer threads, is the same run.
    let mut moved = resumed(&request);
    moved.project.name = "renamed".to_owned();
    moved.project.train.threads = 1;
    let (outcome, _) = run(&moved);
    assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 20));
}

#[test]
fn a_checkpoint_that_cannot_be_written_fails_the_run_and_leaves_the_last_one() {
    let fixture = Fixture::new();
    let whole = fixture.request(fixture.project(), "whole");
    run(&whole);
    let request = fixture.request(fixture.project(), "blocked");
    let obstacle = request.run_dir.join("checkpoints/.unfinished-00000010");
    let (outcome, _) = run_with(&request, &RunControl::new(), |event| {
        if matches!(event, Event::Checkpoint { step: 5, .. }) {
            fs::write(&obstacle, "in the way").expect("obstacle");
        }
    });
    assert_eq!(outcome.status, RunStatus::Failed);
    let problem = outcome.problem.expect("a problem");
    assert!(problem.code == Code::Io && problem.r#where.contains("unfinished"), "{problem}");
    assert_eq!(steps(&request).last(), Some(&5), "the checkpoint before is whole");
    fs::remove_file(&obstacle).expect("cleared");
    let (outcome, _) = run(&resumed(&request));
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    assert!(bytes_at(&request, 20) == bytes_at(&whole, 20));
}

#[test]
fn a_new_run_does_not_write_over_an_old_one() {
    let fixture = Fixture::new();
    let request = fixture.request(fixture.project(), "run");
    run(&request);
    let error = temper_train::train(&request, &RunControl::new(), &mut |_| ()).expect_err("refused");
    assert_eq!(Problem::from(error).code, Code::Usage);
}

#[test]
fn a_run_that_did_its_steps_is_given_more() {
    let fixture = Fixture::new();
    let project = || {
        let mut project = fixture.project();
        project.method.id = "lamda".to_owned();
        project.method.settings.0.clear();
        project
    };
    let given_more = |request: &TrainRequest, steps: u64| {
        let mut more = resumed(request);
        more.project.train.steps = steps;
        more
    };
    let whole = fixture.request(project(), "longer");
    let (outcome, _) = run(&whole);
    assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 20), "{:?}", outcome.problem);
    let parts = fixture.request(project(), "longer-parts");
    let (_, _) = run(&parts);

    let more = given_more(&whole, 30);
    let (outcome, events) = run(&more);
    assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, 30), "{:?}", outcome.problem);
    assert!(warnings(&events).contains(&"extended") && !warnings(&events).contains(&"already_finished"));
    let frozen = temper_protocol::project_file::load(&whole.run_dir).expect("the frozen project");
    assert_eq!(frozen.train.steps, 30, "the run's own settings say so from here on");
    let meta = temper_train::checkpoint::read_meta(&whole.run_dir.join("checkpoints/step-00000030")).expect("meta");
    assert_eq!(meta.state.planned_steps, 20, "what the method does at set times stays");
    assert!(evals(&events).iter().any(|(step, ..)| *step == 25));

    // In pieces, one of which ends before it has written anything.
    for end in [Some(20), Some(25), None] {
        let (outcome, _) = run(&TrainRequest { max_steps: end, ..given_more(&parts, 30) });
        assert_eq!((outcome.status, outcome.steps), (RunStatus::Finished, end.unwrap_or(30)), "{:?}", outcome.problem);
    }
    assert!(bytes_at(&whole, 30) == bytes_at(&parts, 30), "weights or optimiser differ");

    let refused = |request: &TrainRequest| match temper_train::train(request, &RunControl::new(), &mut |_| ()) {
        Ok(outcome) => outcome.problem.expect("refused"),
        Err(error) => Problem::from(error),
    };
    let fewer = refused(&given_more(&whole, 25));
    assert!(fewer.code == Code::Usage && fewer.action.contains("more than 30"), "{fewer}");
    let mut other = given_more(&whole, 40);
    other.project.train.lr_peak *= 2.0;
    assert_eq!(refused(&other).code, Code::ProjectInvalid, "more steps and other settings are another run");
    let rows = fixture.path("rows.jsonl");
    let text = fs::read_to_string(&rows).expect("data").replace("apple", "orange");
    fs::write(&rows, text).expect("data that changed since");
    let other = refused(&given_more(&whole, 40));
    assert!(other.code == Code::ProjectInvalid && other.what.contains("with other data"), "{other}");
    assert_eq!(temper_protocol::project_file::load(&whole.run_dir).expect("project").train.steps, 30);
}
