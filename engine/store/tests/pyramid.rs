//! The pyramid against brute force: any way of writing, cutting and reopening a series gives the same
//! points, extremes and gaps as a plain list would.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use temper_protocol::Event;
use temper_store::{NewRun, Point, Reader, Store};

/// What happens to a series.
#[derive(Debug, Clone)]
enum Act {
    /// Points are appended; every so many one is not a number.
    Append { points: usize, seed: u64 },
    /// The trainer goes back to an earlier step and goes on from there.
    RollBack { share: f64 },
    /// The run resumes from a checkpoint.
    Truncate { share: f64 },
    /// What waits goes to disk.
    Flush,
    /// Another engine goes on with the run.
    Reopen,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1_usize..9000, any::<u64>()).prop_map(|(points, seed)| Act::Append { points, seed }),
        1 => (0.0..1.0).prop_map(|share| Act::RollBack { share }),
        1 => (0.0..1.05).prop_map(|share| Act::Truncate { share }),
        2 => Just(Act::Flush),
        1 => Just(Act::Reopen),
    ]
}

/// A reproducible number for position `index`.
fn mixed(seed: u64, index: u64) -> u64 {
    let mut state = seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

fn value_of(mixed: u64) -> f64 {
    match mixed % 4001 {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => f64::NEG_INFINITY,
        _ => (mixed >> 11) as f64 / (1_u64 << 53) as f64 - 0.5,
    }
}

fn push(store: &Store, run: u64, point: Point) {
    let secs = BTreeMap::from([("x".to_owned(), point.value)]);
    store.push_event(run, &Event::Phases { step: point.step, secs }).expect("pushes");
}

/// Performs `acts` on a store and on a list.
fn perform(folder: &Path, acts: &[Act]) -> (u64, Vec<Point>) {
    let mut store = Store::open(folder).expect("store");
    let run = store.create_run(&NewRun::default()).expect("run");
    let mut model: Vec<Point> = Vec::new();
    for act in acts {
        match act {
            Act::Append { points, seed } => {
                let mut step = model.last().map_or(0, |point| point.step);
                for index in 0..*points as u64 {
                    let mixed = mixed(*seed, index);
                    step += 1 + mixed % 3;
                    let point = Point { step, value: value_of(mixed) };
                    push(&store, run, point);
                    model.push(point);
                }
            }
            Act::RollBack { share } if !model.is_empty() => {
                let at = ((model.len() as f64 * share) as usize).min(model.len() - 1);
                let point = Point { step: model[at].step, value: 7.0 };
                push(&store, run, point);
                model.truncate(at);
                model.push(point);
            }
            Act::Truncate { share } => {
                let last = model.last().map_or(0, |point| point.step);
                let step = (last as f64 * share) as u64;
                store.truncate_after(run, step).expect("truncates");
                model.retain(|point| point.step <= step);
            }
            Act::Reopen => {
                store.flush().expect("flushes");
                drop(store);
                store = Store::open(folder).expect("store");
            }
            Act::RollBack { .. } | Act::Flush => store.flush().expect("flushes"),
        }
    }
    store.flush().expect("flushes");
    (run, model)
}

fn numbers(points: &[Point]) -> impl Iterator<Item = f64> {
    points.iter().map(|point| point.value).filter(|value| !value.is_nan())
}

fn same(a: &[Point], b: &[Point]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.step == b.step && a.value.to_bits() == b.value.to_bits())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stretch_has_the_points_or_the_extremes_of_brute_force(
        acts in prop::collection::vec(acts(), 1..8),
        stretches in prop::collection::vec((0.0..1.0, 0.0..1.0, 3_usize..3000), 12),
    ) {
        let folder = tempfile::tempdir().expect("folder");
        let (run, model) = perform(folder.path(), &acts);
        let reader = Reader::open(folder.path()).expect("reader");

        let all = reader.points(run, "phase/x", 0, u64::MAX, usize::MAX / 4).expect("all points");
        prop_assert!(same(&all, &model), "{} points of {}", all.len(), model.len());
        let meta = reader.series_names(run).expect("series");
        prop_assert_eq!(meta.len(), usize::from(!model.is_empty()));
        if let (Some(meta), Some(first), Some(last)) = (meta.first(), model.first(), model.last()) {
            prop_assert_eq!(meta.count, model.len() as u64);
            prop_assert_eq!((meta.first_step, meta.last_step), (first.step, last.step));
            prop_assert_eq!(meta.min.to_bits(), numbers(&model).reduce(f64::min).unwrap_or(f64::NAN).to_bits());
            prop_assert_eq!(meta.max.to_bits(), numbers(&model).reduce(f64::max).unwrap_or(f64::NAN).to_bits());
            prop_assert_eq!(meta.last.is_nan(), last.value.is_nan());
        }

        let end = model.last().map_or(0, |point| point.step);
        for (from, to, max_points) in stretches {
            let (from, to) = ((end as f64 * from) as u64, (end as f64 * to) as u64);
            let brute: Vec<Point> =
                model.iter().copied().filter(|point| (from..=to).contains(&point.step)).collect();
            let got = reader.points(run, "phase/x", from, to, max_points).expect("points");
            prop_assert!(got.len() <= max_points, "{} points instead of {max_points}", got.len());
            if brute.len() <= max_points {
                prop_assert!(same(&got, &brute));
                continue;
            }
            prop_assert!(got.windows(2).all(|pair| pair[0].step < pair[1].step), "steps rise");
            let is_true = |point: &Point| {
                brute.binary_search_by_key(&point.step, |point| point.step)
                    .is_ok_and(|at| brute[at].value.to_bits() == point.value.to_bits())
            };
            prop_assert!(got.iter().all(is_true), "every point is one of the series");
            prop_assert_eq!(numbers(&got).reduce(f64::min), numbers(&brute).reduce(f64::min));
            prop_assert_eq!(numbers(&got).reduce(f64::max), numbers(&brute).reduce(f64::max));
            let gap = |points: &[Point]| points.iter().find(|point| point.value.is_nan()).map(|point| point.step);
            prop_assert_eq!(gap(&got), gap(&brute), "the first gap stays visible");
            // Enough is left to fill the plot: a third of what was asked for, or a coarse level's worth.
            prop_assert!(got.len() * 5 >= max_points.min(brute.len()), "{} of {max_points}", got.len());
        }
    }
}

#[test]
fn an_overview_reads_a_small_part_of_a_long_series() {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = store.create_run(&NewRun::default()).expect("run");
    for step in 1..=200_000 {
        push(&store, run, Point { step, value: step as f64 });
    }
    store.flush().expect("flushes");
    let reader = Reader::open(folder.path()).expect("reader");
    let points = reader.points(run, "phase/x", 0, u64::MAX, 1000).expect("points");
    assert!(points.len() > 400 && points.len() <= 1000, "{}", points.len());
    // All points would be 3.2 MB.
    assert!(reader.blob_bytes_read() <= 300_000, "{} bytes", reader.blob_bytes_read());
    let before = reader.blob_bytes_read();
    let points = reader.points(run, "phase/x", 100_001, 100_400, 1000).expect("points");
    assert_eq!(points.len(), 400);
    assert!(reader.blob_bytes_read() - before <= 2 * 16_384, "two blocks at most");
}
