//! Snapshots of a made-up run: exactness, budget, even spread, kills and damage at every place.

use super::*;
use crate::hashes::Hashes;
use crate::state::{STATE_SCHEMA, State};
use temper_nn::rng::Stream;
use temper_protocol::Code;

/// Values of each made-up state.
const COUNT: usize = 3000;

/// The state of `step`: values that drift, as trained ones do. From `moved` on there are more of them.
fn frame(step: u64, moved: u64) -> Frame {
    let mut state = State::new(7, temper_data::Cursor { epoch: 0, row: step, fingerprint: 1 });
    state.step = step;
    let meta = Meta {
        schema: STATE_SCHEMA,
        method: "made-up".to_owned(),
        whole_weights: false,
        hashes: Hashes::default(),
        within_budget: None,
        state,
        files: BTreeMap::new(),
    };
    let rows = if step >= moved { 3 } else { 2 };
    let mut start = Stream::new(1, "start");
    let drift: Vec<f64> = (0..COUNT).map(|_| start.normal()).collect();
    let mut noise = Stream::new(1, &format!("noise/{step}"));
    let mut bits: Vec<u32> = drift
        .iter()
        .map(|value| (value * (0.02 + 1e-4 * step as f64) + 1e-4 * noise.normal()) as f32)
        .map(f32::to_bits)
        .collect();
    // A parameter that began at zero, and a mask.
    bits.extend((0..rows * 10).map(|at| (step as f32 * 1e-3 * at as f32).to_bits()));
    bits.extend([1.0f32, 0.0, -0.0].map(f32::to_bits));
    let entry = |name: &str, shape: &[usize], trained| Entry { name: name.to_owned(), shape: shape.to_vec(), trained };
    let entries = vec![
        entry("layers.0.q.a", &[3, COUNT / 3], true),
        entry("layers.0.q.b", &[rows, 10], true),
        entry("mask.layers.0.q.a", &[3], false),
    ];
    Frame { meta, entries, bits }
}

fn same(one: &Frame, other: &Frame) -> bool {
    let text = |frame: &Frame| serde_json::to_string(&frame.meta).expect("text");
    one.entries == other.entries && one.bits == other.bits && text(one) == text(other)
}

/// Goes through `steps` with what there is in a folder.
fn walk(open: &mut Snapshots, steps: std::ops::RangeInclusive<u64>, moved: u64) {
    for step in steps {
        if open.wants(step) {
            open.take(frame(step, moved)).expect("taken");
            assert!(open.bytes() <= open.budget_bytes, "step {step}: {} bytes", open.bytes());
        }
    }
}

fn opened(run_dir: &Path, budget_bytes: u64) -> (Snapshots, Vec<String>) {
    let (mut open, notes) = Snapshots::open(run_dir, 1, 1).expect("opens");
    open.budget_bytes = budget_bytes;
    (open, notes)
}

fn files(run_dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(run_dir.join(SNAPSHOTS)).expect("lists").flatten();
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("reads")))
        .collect()
}

fn read_all(run_dir: &Path, moved: u64) {
    for step in steps(run_dir) {
        let read = Snapshot::read(&path_in(&run_dir.join(SNAPSHOTS), step)).expect("reads");
        assert!(same(&read.frame, &frame(step, moved)), "step {step} is another state");
    }
}

#[test]
fn every_step_comes_back_bit_for_bit_also_where_shapes_moved() {
    let folder = tempfile::tempdir().expect("temp");
    let (mut open, _) = opened(folder.path(), u64::MAX);
    walk(&mut open, 0..=40, 21);
    assert_eq!(steps(folder.path()).len(), 41);
    read_all(folder.path(), 21);
    let head = |step: u64| file::read(&path_in(&folder.path().join(SNAPSHOTS), step)).expect("reads").head;
    let alone: Vec<u64> = (0..=40).filter(|step| head(*step).before.is_none()).collect();
    assert_eq!(alone, [0, 16, 21, 32], "every sixteenth, and the first of another shape");
    // What changes slowly takes less than what stands alone.
    let size = |step: u64| open.sizes[&step];
    assert!(size(17) < size(16) * 9 / 10, "{} beside {}", size(17), size(16));
}

#[test]
fn parts_are_found_by_name_with_their_shapes() {
    let folder = tempfile::tempdir().expect("temp");
    let (mut open, _) = opened(folder.path(), u64::MAX);
    walk(&mut open, 0..=3, 2);
    let read = Snapshot::read(&path_in(&folder.path().join(SNAPSHOTS), 3)).expect("reads");
    let (trained, remembered) = (read.part(true), read.part(false));
    assert_eq!(trained.names().expect("names").len(), 2);
    let b = trained.tensor("layers.0.q.b").expect("there");
    assert_eq!(
        (b.dims(), b.get(2).and_then(|row| row.to_vec1::<f32>()).expect("row")[9]),
        (&[3, 10][..], 3.0 * 1e-3 * 29.0)
    );
    let mask = remembered.tensor("mask.layers.0.q.a").and_then(|mask| Ok(mask.to_vec1::<f32>()?)).expect("mask");
    assert_eq!(mask.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), [1.0f32, 0.0, -0.0].map(f32::to_bits));
    let problem = Problem::from(trained.tensor("mask.layers.0.q.a").expect_err("not trained"));
    assert!(problem.what.contains("mask.layers.0.q.a"), "{problem}");
}

#[test]
fn the_budget_is_kept_and_the_steps_stay_evenly_spread() {
    let folder = tempfile::tempdir().expect("temp");
    let budget = 120_000;
    let (mut open, _) = opened(folder.path(), budget);
    walk(&mut open, 0..=300, 150);
    let (every, last) = (open.every, 300 / open.every * open.every);
    let expected: Vec<u64> = (0..=last / every).map(|number| number * every).collect();
    assert_eq!(steps(folder.path()).into_iter().collect::<Vec<_>>(), expected);
    assert!(every.is_power_of_two() && every > 4, "{every}");
    assert!(open.bytes() > budget / 3, "{} of {budget} bytes are used", open.bytes());
    let on_disk: u64 = files(folder.path()).values().map(|bytes| bytes.len() as u64).sum();
    assert_eq!(open.bytes(), on_disk);
    read_all(folder.path(), 150);
}

#[test]
fn one_that_takes_more_than_the_budget_ends_them() {
    let folder = tempfile::tempdir().expect("temp");
    let (mut open, _) = opened(folder.path(), 2000);
    walk(&mut open, 0..=10, 99);
    assert!(steps(folder.path()).is_empty() && !open.wants(0) && !open.wants(16));
}

#[test]
fn a_run_with_breaks_has_the_bytes_of_a_run_without() {
    let whole = tempfile::tempdir().expect("temp");
    let (mut open, _) = opened(whole.path(), 120_000);
    walk(&mut open, 0..=200, 120);
    for broken in [0, 5, 31, 64, 100, 119, 121, 199] {
        for checkpoint in [0, broken / 2, broken] {
            let parts = tempfile::tempdir().expect("temp");
            let (mut open, _) = opened(parts.path(), 120_000);
            walk(&mut open, 0..=broken, 120);
            let (mut open, notes) = opened(parts.path(), 120_000);
            open.back_to(Some(checkpoint)).expect("goes back");
            assert!(notes.is_empty(), "{notes:?}");
            walk(&mut open, checkpoint..=200, 120);
            assert!(files(whole.path()) == files(parts.path()), "broken at {broken}, resumed from {checkpoint}");
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_thinning_leaves_files_that_can_all_be_read() {
    let folder = tempfile::tempdir().expect("temp");
    let (mut open, _) = opened(folder.path(), u64::MAX);
    walk(&mut open, 0..=40, 23);
    let before = files(folder.path());
    open.every = 2;
    open.rewrite().expect("thins out");
    let after = files(folder.path());
    assert_eq!((before.len(), after.len()), (41, 21));
    // Those that stay are written over in rising order, then the others are removed in falling order.
    let gone: Vec<&String> = before.keys().filter(|name| !after.contains_key(*name)).rev().collect();
    for done in 0..=after.len() + gone.len() {
        let killed = tempfile::tempdir().expect("temp");
        let place = killed.path().join(SNAPSHOTS);
        fs::create_dir_all(&place).expect("folder");
        for (name, bytes) in &before {
            let written = after.keys().take(done).any(|rewritten| rewritten == name);
            let removed = gone.iter().take(done.saturating_sub(after.len())).any(|gone| *gone == name);
            let bytes = if written { &after[name] } else { bytes };
            if !removed {
                fs::write(place.join(name), bytes).expect("writes");
            }
        }
        read_all(killed.path(), 23);
        let (reopened, notes) = opened(killed.path(), u64::MAX);
        assert!(notes.is_empty(), "{notes:?}");
        if done > 0 {
            assert_eq!(reopened.every, 2);
            assert!(files(killed.path()) == after, "killed after {done} of them");
        }
    }
}

#[test]
fn what_was_being_written_is_dropped_and_said() {
    let folder = tempfile::tempdir().expect("temp");
    let (mut open, _) = opened(folder.path(), u64::MAX);
    walk(&mut open, 0..=5, 99);
    let whole = files(folder.path());
    for length in [0, 10, 500] {
        let torn = folder.path().join(SNAPSHOTS).join(".unfinished-00000006");
        fs::write(&torn, &whole["step-00000005.snapshot"][..length]).expect("writes");
        let (_, notes) = opened(folder.path(), u64::MAX);
        assert!(notes.len() == 1 && notes[0].contains("step 6 was not finished"), "{notes:?}");
        assert!(files(folder.path()) == whole);
    }
}

#[test]
fn a_damaged_file_is_refused_by_name_and_dropped_with_those_that_build_on_it() {
    let folder = tempfile::tempdir().expect("temp");
    let (mut open, _) = opened(folder.path(), u64::MAX);
    walk(&mut open, 0..=20, 99);
    let name = "step-00000003.snapshot";
    let (path, whole) = (folder.path().join(SNAPSHOTS).join(name), files(folder.path()));
    let bytes = &whole[name];
    for place in [0, 9, 17, 25, 33, 70, bytes.len() / 2, bytes.len() - 1] {
        let mut other = bytes.clone();
        other[place] ^= 1;
        fs::write(&path, other).expect("damages");
        // The file itself, and one that is read through it.
        for step in [3, 7] {
            let read = Snapshot::read(&path_in(&folder.path().join(SNAPSHOTS), step));
            let problem = Problem::from(read.map(|_| ()).expect_err("damaged"));
            assert!(problem.code == Code::Io && problem.r#where.contains(name), "byte {place}: {problem}");
        }
    }
    for length in [0, 7, 40, 64, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).expect("cuts");
        let problem = Problem::from(Snapshot::read(&path).map(|_| ()).expect_err("cut"));
        assert!(problem.r#where.contains(name), "{length} bytes: {problem}");
    }
    let (mut open, notes) = opened(folder.path(), u64::MAX);
    assert_eq!(steps(folder.path()).into_iter().collect::<Vec<_>>(), [0, 1, 2, 16, 17, 18, 19, 20]);
    assert_eq!(notes.len(), 13, "{notes:?}");
    assert!(notes[0].contains("step 3 is dropped") && notes[1].contains("step 3, which it builds on, is gone"));
    walk(&mut open, 21..=24, 99);
    read_all(folder.path(), 99);
}

#[test]
fn a_snapshot_under_the_name_of_another_step_is_refused() {
    let folder = tempfile::tempdir().expect("temp");
    let (mut open, _) = opened(folder.path(), u64::MAX);
    walk(&mut open, 0..=2, 99);
    let place = folder.path().join(SNAPSHOTS);
    fs::copy(path_in(&place, 0), path_in(&place, 4)).expect("copies");
    let problem = Problem::from(Snapshot::read(&path_in(&place, 4)).map(|_| ()).expect_err("another step"));
    assert!(problem.what.contains("step 0") && problem.r#where.contains("step-00000004"), "{problem}");
}

#[test]
fn the_interval_follows_from_the_disk() {
    // 4.9 million numbers are 18.7 MiB, a snapshot 14: 36 of them.
    assert_eq!(interval(4_900_000, 1200, 512), Some(34));
    assert_eq!(interval(4_900_000, 1200, 0), None);
    assert_eq!(interval(4_900_000, 1200, 50), None, "three fit");
    assert_eq!(interval(4_900_000, 1200, 60), Some(300));
    assert_eq!(interval(4_900_000, 10, 512), Some(1));
    assert_eq!(interval(10_000, 1200, 512), Some(19), "never more than is of use");
    assert_eq!(interval(1_000_000_000, 1200, 512), None, "whole models are not copied");
    assert_eq!(interval(0, 0, 512), Some(1));
    let mib = expected_mib(4_900_000, 1200, 512);
    assert!(mib > 400.0 && mib <= 512.0, "{mib}");
    assert!((expected_mib(10_000, 1200, 512) - 64.0 * 40_000.0 * EXPECTED_SHARE / MIB).abs() < 1e-9);
}

#[test]
fn the_nearest_state_is_a_checkpoint_or_a_snapshot_at_or_before_the_step() {
    let folder = tempfile::tempdir().expect("temp");
    assert!(nearest(folder.path(), 10).is_none());
    fs::create_dir_all(folder.path().join("checkpoints/step-00000008")).expect("folder");
    let (mut open, _) = opened(folder.path(), u64::MAX);
    open.every = 4;
    walk(&mut open, 4..=14, 99);
    let at = |step: u64| nearest(folder.path(), step).map(|(step, path)| (step, is_snapshot(&path)));
    assert_eq!([3, 4, 7].map(at), [None, Some((4, true)), Some((4, true))]);
    assert_eq!(at(8), Some((8, false)), "of both the checkpoint is taken");
    assert_eq!([11, 12, 99].map(at), [Some((8, false)), Some((12, true)), Some((12, true))]);
}
