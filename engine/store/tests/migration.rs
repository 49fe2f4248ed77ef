//! Stored old databases open and keep their content.

use temper_protocol::Event;
use temper_store::{NewRun, Reader, Store, StoreError};

fn old_project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("folder");
    let connection = rusqlite::Connection::open(folder.path().join(temper_store::DB_NAME)).expect("opens");
    connection.execute_batch(include_str!("old/schema-0.sql")).expect("fixture");
    folder
}

fn check(reader: &Reader) {
    let runs = reader.runs().expect("runs");
    assert_eq!(
        runs.iter().map(|row| (row.run, row.status.as_str())).collect::<Vec<_>>(),
        [(2, "failed"), (1, "finished")]
    );
    assert_eq!((runs[1].steps, runs[1].best_step, runs[1].best_loss), (3000, 2000, 2.5));
    assert_eq!(runs[1].created_millis, 1_764_000_000_000);
    assert!(runs[0].final_loss.is_nan());
    let series = reader.series_names(1).expect("series");
    assert_eq!(
        series.iter().map(|meta| (meta.name.as_str(), meta.unit.as_str(), meta.count)).collect::<Vec<_>>(),
        [("loss/validation", "nats", 2), ("train_loss", "nats", 3000)]
    );
    let all = reader.points(1, "train_loss", 0, u64::MAX, 10_000).expect("points");
    assert_eq!(all.len(), 3000);
    for point in &all {
        if point.step == 1500 {
            assert!(point.value.is_nan());
        } else {
            assert!((point.value - (3.0 - point.step as f64 / 3000.0)).abs() < 1e-12);
        }
    }
    assert!(reader.points(1, "train_loss", 0, u64::MAX, 300).expect("points").len() <= 300);
    let events = reader.events_after(2, 0, 10).expect("events");
    assert_eq!((events[0].id, events[0].at_millis), (5, 1_764_003_601_000));
    assert!(matches!(&events[0].event, Event::Warning { code, .. } if code == "spike"));
}

#[test]
fn a_row_per_point_becomes_blocks() {
    let folder = old_project();
    let store = Store::open(folder.path()).expect("migrates");
    check(&Reader::open(folder.path()).expect("reader"));
    assert_eq!(store.create_run(&NewRun::default()).expect("run"), 3);
    drop(store);
    Store::open(folder.path()).expect("opens again");
}

#[test]
fn a_reader_migrates_what_it_can_write() {
    let folder = old_project();
    check(&Reader::open(folder.path()).expect("reader"));
}

#[test]
fn a_migration_happens_wholly_or_not_at_all() {
    let folder = old_project();
    let file = folder.path().join(temper_store::DB_NAME);
    let connection = rusqlite::Connection::open(&file).expect("opens");
    connection
        .execute_batch("PRAGMA foreign_keys = OFF; INSERT INTO points VALUES (99, 'lost', 1, 1.0)")
        .expect("a point without a run");
    assert!(Store::open(folder.path()).is_err());
    let left: i64 = connection.query_row("SELECT count(*) FROM points", [], |row| row.get(0)).expect("still there");
    assert_eq!(left, 3005);
}

#[test]
fn a_newer_database_is_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    drop(Store::open(folder.path()).expect("store"));
    let connection = rusqlite::Connection::open(folder.path().join(temper_store::DB_NAME)).expect("opens");
    connection.pragma_update(None, "user_version", 99).expect("newer");
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Newer { found: 99, .. })));
    assert!(matches!(Reader::open(folder.path()), Err(StoreError::Newer { found: 99, .. })));
}
