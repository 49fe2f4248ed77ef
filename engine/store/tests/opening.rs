//! A project with many long runs opens by reading little: counted, not timed.

use std::collections::BTreeMap;
use temper_protocol::Event;
use temper_store::{NewRun, Reader, Store};

const RUNS: u64 = 200;
const SERIES: usize = 10;
const POINTS: u64 = 20_000;

/// One run is written point by point; the others are copies of its rows, which is what they would hold.
/// Only every tenth gets the points themselves: lists and summaries must not need them, and a gigabyte
/// would be much for a test.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let first = store.create_run(&NewRun::default()).expect("run");
    for step in 1..=POINTS {
        let secs: BTreeMap<String, f64> =
            (0..SERIES).map(|series| (format!("s{series}"), (step * (series as u64 + 3) % 1013) as f64)).collect();
        store.push_event(first, &Event::Phases { step, secs }).expect("pushes");
    }
    store.flush().expect("flushes");
    for _ in 1..RUNS {
        store.create_run(&NewRun::default()).expect("run");
    }
    drop(store);
    let connection = rusqlite::Connection::open(folder.path().join(temper_store::DB_NAME)).expect("opens");
    connection
        .execute_batch(
            "PRAGMA synchronous = OFF;
             BEGIN;
             CREATE TEMP TABLE template AS SELECT * FROM series;
             INSERT INTO series(run, name, unit, count, first_step, last_step, min, max, last)
                 SELECT runs.run, t.name, t.unit, t.count, t.first_step, t.last_step, t.min, t.max, t.last
                 FROM runs JOIN template t WHERE runs.run > 1;
             INSERT INTO blocks(series, level, seq, count, first_step, last_step, min, max, data)
                 SELECT s.series, b.level, b.seq, b.count, b.first_step, b.last_step, b.min, b.max, b.data
                 FROM series s JOIN template t ON t.name = s.name JOIN blocks b ON b.series = t.series
                 WHERE s.run % 10 = 0;
             COMMIT;",
        )
        .expect("copies");
    folder
}

#[test]
fn two_hundred_long_runs_open_by_reading_little() {
    let folder = project();
    let reader = Reader::open(folder.path()).expect("reader");
    let runs = reader.runs().expect("runs");
    assert_eq!(runs.len() as u64, RUNS);
    let mut series = 0;
    for run in &runs {
        series += reader.series_names(run.run).expect("series").len();
    }
    assert_eq!(series, SERIES * RUNS as usize);
    assert_eq!(reader.blob_bytes_read(), 0, "lists and summaries read no points");
    for meta in reader.series_names(RUNS).expect("series") {
        assert_eq!(meta.count, POINTS);
        let points = reader.points(RUNS, &meta.name, 0, u64::MAX, 600).expect("points");
        assert!(points.len() > 300 && points.len() <= 600);
    }
    // A series has 320 KB of points; a plot of 600 points reads 20 KB.
    assert!(reader.blob_bytes_read() <= 10 * 24 * 1024, "{} bytes", reader.blob_bytes_read());
}
