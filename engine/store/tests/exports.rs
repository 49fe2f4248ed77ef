//! Exports hold every point, also those that are not numbers, and read back.

use std::collections::BTreeMap;
use temper_protocol::Event;
use temper_store::{NewRun, Reader, Store, export_csv_long, export_csv_wide, export_jsonl, export_tensorboard};

fn project() -> (tempfile::TempDir, u64) {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    let run = store.create_run(&NewRun::default()).expect("run");
    for step in 1..=3000 {
        let mut secs = BTreeMap::from([("a,b".to_owned(), step as f64 / 8.0)]);
        if step % 1000 == 0 {
            secs.insert("rare".to_owned(), if step == 2000 { f64::NAN } else { 1.0 });
        }
        store.push_event(run, &Event::Phases { step, secs }).expect("pushes");
    }
    let text = "two\nlines".to_owned();
    store.push_event(run, &Event::Sample { step: 3000, prompt: "p".to_owned(), text }).expect("pushes");
    store.flush().expect("flushes");
    (folder, run)
}

#[test]
fn csv_has_a_row_per_point_or_per_step() {
    let (folder, run) = project();
    let reader = Reader::open(folder.path()).expect("reader");
    let mut long = Vec::new();
    assert_eq!(export_csv_long(&reader, run, &mut long).expect("exports"), 3003);
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_reader(&long[..]).records().map(|row| row.expect("row")).collect();
    assert_eq!(rows.len(), 3003);
    assert_eq!(rows[7].iter().collect::<Vec<_>>(), ["1", "phase/a,b", "s", "8", "1"]);
    assert_eq!(rows[3001].iter().collect::<Vec<_>>(), ["1", "phase/rare", "s", "2000", "NaN"]);

    let mut wide = Vec::new();
    assert_eq!(export_csv_wide(&reader, run, &mut wide).expect("exports"), 3000);
    let mut wide = csv::Reader::from_reader(&wide[..]);
    assert_eq!(wide.headers().expect("headers"), vec!["step", "phase/a,b", "phase/rare"]);
    let rows: Vec<csv::StringRecord> = wide.records().map(|row| row.expect("row")).collect();
    assert_eq!(rows[998], vec!["999", "124.875", ""]);
    assert_eq!(rows[999], vec!["1000", "125", "1"]);
}

#[test]
fn json_lines_are_one_object_each() {
    let (folder, run) = project();
    let reader = Reader::open(folder.path()).expect("reader");
    let mut out = Vec::new();
    assert_eq!(export_jsonl(&reader, run, &mut out).expect("exports"), 3004);
    let lines: Vec<serde_json::Value> = std::str::from_utf8(&out)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"))
        .collect();
    assert_eq!(lines.len(), 3004);
    assert_eq!(lines[3001]["value"], serde_json::Value::Null, "not a number");
    assert_eq!(lines[3003]["event"]["text"], "two\nlines");
}

/// Splits a record file and checks lengths; the checksums are tested where they are made.
fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
        records.push(bytes[12..12 + length].to_vec());
        bytes = &bytes[12 + length + 4..];
    }
    records
}

#[test]
fn a_tensorboard_file_has_the_version_and_a_record_per_point() {
    let (folder, run) = project();
    let reader = Reader::open(folder.path()).expect("reader");
    let mut out = Vec::new();
    assert_eq!(export_tensorboard(&reader, run, &mut out).expect("exports"), 3003);
    let records = records(&out);
    assert_eq!(records.len(), 3004);
    assert!(records[0].ends_with(b"brain.Event:2"));
    // Step 300 (varint ac 02), then the summary with the tag and the value 37.5.
    let mut expected = vec![0x10, 0xac, 0x02, 0x2a, 18, 0x0a, 16, 0x0a, 9];
    expected.extend_from_slice(b"phase/a,b");
    expected.push(0x15);
    expected.extend_from_slice(&37.5_f32.to_le_bytes());
    assert_eq!(records[300][9..], expected);
}
