//! What a run says of how large queries and keys grow: when it is measured, beside what, and when a person is told what
//! it means. The numbers themselves are checked on a block in `models/tests/all/attention_sizes.rs`.

use crate::fixture::{Fixture, run, warnings};
use temper_protocol::event::AttentionSize;
use temper_protocol::{Event, RunStatus, Value};

fn sizes(events: &[Event]) -> Vec<&AttentionSize> {
    events.iter().filter_map(|event| if let Event::Attention(size) = event { Some(size) } else { None }).collect()
}

/// Every measurement says each block once, so a measurement at any other step would be seen: steps between cost nothing.
#[test]
fn sizes_are_said_at_the_start_and_at_each_measurement_and_at_no_step_between() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.train.steps = 5;
    project.train.lr_peak = 1e-4;
    project.train.eval_steps = 2;
    project.keep.probes.clear();
    let (outcome, events) = run(&fixture.request(project, "run"));
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    let said = sizes(&events);
    let places: Vec<(u64, &str)> = said.iter().map(|size| (size.step, size.block.as_str())).collect();
    let due = [0, 2, 4, 5].into_iter().flat_map(|step| ["layers.0", "layers.1"].map(|block| (step, block)));
    assert_eq!(places, due.collect::<Vec<_>>());
    for size in &said {
        let start = said.iter().find(|first| first.block == size.block).expect("the first of the block");
        assert_eq!(size.base_ratio, start.base_ratio, "the base stays what it was");
        assert!(size.q_max > 0.0 && size.k_max > 0.0 && size.ratio > 0.0);
        assert!((size.scaled_ratio - size.ratio * 8f64.powf(-0.25)).abs() < 1e-12, "heads are 8 wide");
        if size.step == 0 {
            assert_eq!(size.change_share, 0.0, "LoRA starts as its base");
            assert!((size.ratio / size.base_ratio - 1.0).abs() < 1e-6, "{size:?}");
        } else {
            assert!(size.change_share > 0.0, "step {}", size.step);
        }
    }
    assert!(!warnings(&events).contains(&"attention_grows"), "five small steps");
}

#[test]
fn queries_that_grow_far_beyond_the_base_are_said_once_with_what_it_means() {
    let fixture = Fixture::new();
    let mut project = fixture.project();
    project.method.settings.0.insert("targets".to_owned(), Value::Text("q_proj".to_owned()));
    project.train.steps = 9;
    project.train.lr_peak = 10.0;
    project.train.warmup_steps = 0;
    project.train.eval_steps = 3;
    project.keep.probes.clear();
    let (outcome, events) = run(&fixture.request(project, "run"));
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    let told = events.iter().filter_map(|event| match event {
        Event::Warning { code, text, .. } if code == "attention_grows" => Some(text),
        _ => None,
    });
    let told: Vec<&String> = told.collect();
    assert_eq!(told.len(), 1, "at three measurements");
    assert!(told[0].contains("times those of the base") && told[0].contains("a lower learning rate"), "{}", told[0]);
    let last = *sizes(&events).last().expect("measured");
    assert!(last.step == 9 && last.change_share > 0.9, "{last:?}: the queries are the change's");
}
