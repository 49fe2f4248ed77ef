//! Outputs of frozen blocks kept between epochs: the same states, the same losses, and no harm when it fails.

use crate::fixture::{Fixture, bytes_at, resumed, run, warnings};
use crate::tiny::{lay, project, rows, tiny_model};
use temper_nn::ops::with_slice;
use temper_protocol::{Event, Project, RunStatus, Value};
use temper_train::attach::attach;
use temper_train::driver::{Driver, Tokens};
use temper_train::phases::PhaseClock;
use temper_train::prefix::PrefixCache;

/// Rows with their example numbers as one batch of single rows, or packed into one row.
fn batch(lengths: &[usize], numbers: &[u32], packed: bool) -> Tokens {
    let all = rows(lengths);
    let chosen: Vec<_> = numbers.iter().map(|number| all[*number as usize].clone()).collect();
    let laid: Vec<_> = if packed { vec![chosen] } else { chosen.into_iter().map(|row| vec![row]).collect() };
    let width = laid.iter().map(|row| row.iter().map(|(ids, _)| ids.len()).sum()).max().unwrap_or(0) + 3;
    Tokens { examples: numbers.into(), ..lay(&laid, width, 0) }
}

/// The states at the positions of each example, in the order of the examples.
fn at_examples(tokens: &Tokens, states: &candle_core::Tensor) -> Vec<Vec<f32>> {
    let hidden = states.dims()[2];
    let mut found = Vec::new();
    with_slice(states, |values| {
        for (row, borders) in tokens.ctx.borders.iter().enumerate() {
            for border in borders.windows(2) {
                let place = |token: u32| (row * tokens.ctx.width + token as usize) * hidden;
                found.push(values[place(border[0])..place(border[1])].to_vec());
            }
        }
    })
    .expect("values");
    found
}

#[test]
fn states_come_back_whatever_row_an_example_is_packed_into() {
    let lengths = [9, 14, 5, 12];
    let upper = project("lora", &[("rank", Value::Integer(2)), ("layers", Value::Text("2".to_owned()))]);
    let mut model = tiny_model(true);
    let _attached = attach(&mut model, &upper).expect("attaches");
    let driver = Driver::new(&model, false);
    assert_eq!(driver.lowest_block(), 2);
    let folder = tempfile::tempdir().expect("folder");
    let mut cache = PrefixCache::create(folder.path(), &lengths, &model, &driver).expect("cache");

    let first = batch(&lengths, &[2, 0, 3], true);
    assert!(cache.load(&first).expect("reads").is_none(), "nothing was met yet");
    let computed =
        cache.states(&model, &driver, &first, &mut PhaseClock::default()).expect("computes").expect("states");
    let again = cache.load(&first).expect("reads").expect("met");
    assert_eq!(at_examples(&first, &computed), at_examples(&first, &again));

    // Other rows of the same examples: the same bits, so that a resumed run that computes what this one reads agrees.
    for packed in [false, true] {
        let other = batch(&lengths, &[3, 2, 0], packed);
        let read = cache.load(&other).expect("reads").expect("all were met");
        let computed = driver.prefix(&model, &other).expect("computes").expect("states");
        assert_eq!(at_examples(&other, &read), at_examples(&other, &computed), "packed: {packed}");
    }
    let mixed = batch(&lengths, &[0, 1], false);
    assert!(cache.load(&mixed).expect("reads").is_none(), "example 1 was not met");
    let unknown = Tokens { examples: [].into(), ..batch(&lengths, &[0], false) };
    assert!(cache.load(&unknown).expect("reads").is_none(), "text that is no example");
    let shorter = Tokens { examples: [0].into(), ..batch(&lengths, &[2], false) };
    assert!(cache.load(&shorter).expect("reads").is_none(), "another length is another example");
}

/// A run of several epochs over the fixture's rows in which only the upper of two blocks is trained.
fn upper(fixture: &Fixture, cache_mib: u64) -> Project {
    let mut project = fixture.project();
    project.method.settings.0.insert("layers".to_owned(), Value::Text("1".to_owned()));
    project.train.steps = 60;
    project.train.batch = 4;
    project.train.prefix_cache_mib = cache_mib;
    project
}

fn losses(events: &[Event]) -> Vec<f64> {
    let loss = |event: &Event| if let Event::Step { train_loss, .. } = event { Some(*train_loss) } else { None };
    events.iter().filter_map(loss).collect()
}

#[test]
fn later_epochs_read_what_the_first_computed_and_lose_nothing() {
    let fixture = Fixture::new();
    let (plain, plain_events) = run(&fixture.request(upper(&fixture, 0), "plain"));
    let request = fixture.request(upper(&fixture, 100), "kept");
    let (kept, events) = run(&request);
    assert_eq!((plain.status, kept.status), (RunStatus::Finished, RunStatus::Finished), "{:?}", kept.problem);
    let reads = |events: &[Event]| {
        let of = |event: &Event| matches!(event, Event::Phases { secs, .. } if secs.contains_key("prefix"));
        events.iter().any(of)
    };
    assert!(reads(&events) && !reads(&plain_events), "only the second run keeps outputs");
    let (plain_losses, kept_losses) = (losses(&plain_events), losses(&events));
    assert_eq!(kept_losses.len(), 60);
    for (step, (plain, kept)) in plain_losses.iter().zip(&kept_losses).enumerate() {
        assert!((plain - kept).abs() < 1e-5 * plain.abs(), "step {}: {plain} {kept}", step + 1);
    }
    let twice = fixture.request(upper(&fixture, 100), "twice");
    run(&twice);
    assert!(bytes_at(&request, 60) == bytes_at(&twice, 60), "the same run twice gives the same bytes");
    // A resumed run starts with an empty cache in the middle of an epoch.
    let mut parts = fixture.request(upper(&fixture, 100), "parts");
    parts.max_steps = Some(33);
    run(&parts);
    run(&resumed(&parts));
    assert!(bytes_at(&request, 60) == bytes_at(&parts, 60), "a break changes the result");
}

#[test]
fn what_does_not_fit_is_computed_again_and_said() {
    let fixture = Fixture::new();
    let mut project = upper(&fixture, 1);
    // 80 rows take far less than 1 MiB; rows of no use beyond one epoch take nothing at all.
    project.train.steps = 10;
    let (_, events) = run(&fixture.request(project, "short"));
    assert!(!warnings(&events).contains(&"prefix_cache"));
    let rows = std::fs::read_to_string(fixture.path("rows.jsonl")).expect("rows");
    std::fs::write(fixture.path("rows.jsonl"), vec![rows; 12].join("\n")).expect("more rows");
    let mut project = upper(&fixture, 1);
    project.train.steps = 900;
    let mut request = fixture.request(project, "large");
    request.max_steps = Some(2);
    let (outcome, events) = run(&request);
    assert_eq!(outcome.status, RunStatus::Finished, "{:?}", outcome.problem);
    assert!(warnings(&events).contains(&"prefix_cache"));
}
