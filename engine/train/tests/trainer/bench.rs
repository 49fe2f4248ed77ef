//! The benches on a tiny model: what they count is what was trained and read, whatever the time it took.

use crate::fixture::Fixture;
use std::fs;
use temper_protocol::event::{Figure, TrainBench};
use temper_protocol::{Code, Event, Problem};
use temper_train::RunControl;
use temper_train::bench::rows::RowsRequest;
use temper_train::bench::{BenchRequest, DataBenchRequest};

fn request(fixture: &Fixture, width: usize, row_tokens: std::ops::RangeInclusive<usize>) -> BenchRequest {
    let mut project = fixture.project();
    project.train.recompute = "off".to_owned();
    let dump = Some(fixture.path("fed.jsonl"));
    let rows = RowsRequest { path: fixture.path("rows.jsonl"), row_tokens, packing: true, dump };
    BenchRequest {
        project,
        model_path: fixture.path("model/config.json"),
        width,
        steps: 3,
        keep_prefix: false,
        rows: Some(rows),
    }
}

#[test]
fn rows_of_data_are_packed_counted_and_written_down() {
    let fixture = Fixture::new();
    let request = request(&fixture, 96, 10..=90);
    let event = temper_train::bench::train(&request, &RunControl::new(), &mut |_| ()).expect("measures");
    let Event::Bench(bench) = event else { panic!("{event:?}") };
    let TrainBench { tokens_per_step, trained_tokens_per_step, padding_share, losses, tokens_per_sec, .. } = bench;
    assert!(tokens_per_sec > 0.0 && losses.iter().all(|loss| loss.is_finite()));
    let text = fs::read_to_string(fixture.path("fed.jsonl")).expect("the dump");
    let steps: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(steps.len(), 3);
    let rows = |step: usize| steps[step]["rows"].as_array().expect("rows").clone();
    let list = |row: &serde_json::Value, key: &str| -> Vec<i64> {
        row[key].as_array().expect("a list").iter().map(|value| value.as_i64().expect("a number")).collect()
    };
    let (mut tokens, mut trained, mut positions, mut segments) = (0, 0, 0, 0);
    for step in 0..3 {
        let rows = rows(step);
        assert_eq!(rows.len(), 2);
        let width = rows.iter().map(|row| list(row, "ids").len()).max().expect("a row");
        for row in &rows {
            let (ids, labels, borders) = (list(row, "ids"), list(row, "labels"), list(row, "borders"));
            assert_eq!(ids.len(), labels.len());
            assert_eq!(*borders.last().expect("a border"), ids.len() as i64);
            assert!(borders.windows(2).all(|pair| (10..=90).contains(&(pair[1] - pair[0]))), "{borders:?}");
            for border in &borders[..borders.len() - 1] {
                assert_eq!(labels[*border as usize], -100, "nothing is predicted across a border");
            }
            let answers = ids.iter().zip(&labels).filter(|(_, label)| **label != -100);
            assert!(answers.clone().all(|(id, label)| id == label));
            // The first step is not counted.
            if step > 0 {
                tokens += ids.len();
                trained += answers.count();
                positions += width;
                segments += borders.len() - 1;
            }
        }
    }
    assert_eq!(tokens_per_step as usize, (tokens as f64 / 2.0).round() as usize);
    assert!((trained_tokens_per_step - trained as f64 / 2.0).abs() < 1e-9);
    assert!((padding_share - (1.0 - tokens as f64 / positions as f64)).abs() < 1e-9);
    assert!(segments > 4 && trained > 0 && trained < tokens / 2, "packed, and prompts are not trained");
}

#[test]
fn rows_that_do_not_fit_or_do_not_exist_are_refused() {
    let fixture = Fixture::new();
    let refused = |width, row_tokens| {
        let request = request(&fixture, width, row_tokens);
        Problem::from(temper_train::bench::train(&request, &RunControl::new(), &mut |_| ()).expect_err("refused"))
    };
    assert_eq!(refused(32, 10..=90).code, Code::Usage);
    let none = refused(96, 80..=90);
    assert_eq!(none.code, Code::DataInvalid);
    assert!(none.what.contains("80 to 90"), "{none}");
}

#[test]
fn the_data_bench_says_how_full_rows_are() {
    let fixture = Fixture::new();
    let scratch = tempfile::tempdir().expect("temp");
    let request = DataBenchRequest {
        project: fixture.project(),
        // Only its tokenizer is used.
        model_path: std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/starter"),
        path: fixture.path("rows.jsonl"),
        width: 128,
        batch: 4,
        threads: 2,
        preview: false,
        scratch: scratch.path().to_path_buf(),
    };
    let event = temper_train::bench::data(&request, &RunControl::new(), &mut |_| ()).expect("measures");
    let Event::Figures(table) = event else { panic!("{event:?}") };
    assert_eq!(table.what, "data");
    let of = |name: &str| {
        let row =
            table.rows.iter().find(|row| row[0] == Figure::from(name)).unwrap_or_else(|| panic!("{name}: {table:?}"));
        if let Figure::Number(value) = row[1] { value } else { panic!("{row:?}") }
    };
    assert!(of("read, one thread") > 0.0 && of("read and tokenised, 2 threads") > 0.0);
    assert!(of("from the token cache") > 0.0);
    let (apart, alike, packed) = (
        of("padding, rows in the file's order"),
        of("padding, rows of similar length together"),
        of("padding, packed"),
    );
    assert!(alike <= apart && alike < 15.0 && packed < 15.0, "{apart} {alike} {packed}");
    assert!(of("packed rows are full to") > 70.0);
    assert!(scratch.path().read_dir().expect("scratch").next().is_some(), "the cache was used");
}
