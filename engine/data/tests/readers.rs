//! Readers: every container, every kind of damage, and bytes that are nothing at all.

use arrow::array::{Array as _, ArrayRef, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_data::read::{Container, Item, list, open};
use temper_data::{DataError, Schema, sniff};
use temper_protocol::{Code, Problem};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Container, good lines with the text of column `text`, bad lines with reasons.
type Everything = (Container, Vec<(u64, String)>, Vec<(u64, String)>);

fn read_all(path: &Path) -> Result<Everything, DataError> {
    let (container, mut source) = open(path)?;
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    while let Some(item) = source.next_item()? {
        match item {
            Item::Row { line, row } => {
                let text = row.get("text").and_then(|text| text.as_str()).unwrap_or_default();
                good.push((line, text.to_owned()));
            }
            Item::Bad { line, reason } => bad.push((line, reason)),
        }
    }
    Ok((container, good, bad))
}

fn good(name: &str, bytes: impl AsRef<[u8]>) -> Everything {
    let folder = Folder::new();
    read_all(&folder.write(name, bytes)).expect("readable")
}

fn rows(lines: &[(u64, &str)]) -> Vec<(u64, String)> {
    lines.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
}

#[test]
fn json_lines_keep_their_line_numbers_and_lose_only_broken_lines() {
    let text = b"\xef\xbb\xbf{\"text\":\"a\"}\n\n{broken\n{\"text\":\"b\"}\r\n\"bare\"\n[1]\n\xff\xfe\n7\n{}\n{\"text\":\"end\"}";
    let (container, found, bad) = good("a.jsonl", text);
    assert_eq!(container, Container::JsonLines);
    assert_eq!(found, rows(&[(1, "a"), (4, "b"), (5, "bare"), (10, "end")]));
    assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), vec![3, 6, 7, 8, 9]);
    assert_eq!(bad[0].1, "the row is not valid JSON: key must be a string (character 2 of the row)");
    assert!(bad[2].1.contains("not UTF-8"));
    assert!(bad[4].1.contains("empty"));
}

#[test]
fn a_json_array_is_read_row_by_row() {
    let text = "[\n {\"text\": \"a, ]} \\\" \\\\\"},\n {\"text\": \"b\", \"more\": [{\"x\": [1]}]},\n nonsense,\n {\"text\": 1 2},\n {\"text\": \"c\"}\n]\n";
    let (container, found, bad) = good("a.json", text);
    assert_eq!(container, Container::Json);
    assert_eq!(found, rows(&[(2, "a, ]} \" \\"), (3, "b"), (6, "c")]));
    assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), vec![4, 5]);
}

#[test]
fn json_cut_short_says_so_and_keeps_what_is_whole() {
    let (_, found, bad) = good("a.json", "[{\"text\":\"a\"},\n{\"text\":\"b");
    assert_eq!(found, rows(&[(1, "a")]));
    assert!(bad[0].1.contains("ends inside this row"), "{bad:?}");
    let (_, found, bad) = good("b.json", "[{\"text\":\"a\"},");
    assert_eq!((found.len(), bad.len()), (1, 1));
    let (_, found, bad) = good("c.json", "[{\"text\":\"a\"}] trailing");
    assert_eq!((found.len(), bad.len()), (1, 1));
}

#[test]
fn json_objects_one_after_another_and_objects_around_rows() {
    let (container, found, _) = good("a.json", "{\n\"text\": \"a\"\n}\n{\n\"text\": \"b\"\n}\n");
    assert_eq!((container, found.len()), (Container::Json, 2));
    let (_, found, _) = good("b.json", "{\n\"version\": 1,\n\"data\": [{\"text\": \"a\"}, {\"text\": \"b\"}]}");
    assert_eq!(found, rows(&[(1, "a"), (2, "b")]));
    let (_, found, _) = good("c.json", "{\n\"text\": \"one row\",\n\"data\": [{\"text\": \"no row\"}]}");
    assert_eq!(found, rows(&[(1, "one row")]));
}

#[test]
fn tables_find_their_separator_and_set_aside_rows_of_another_width() {
    let (container, found, bad) = good("a.csv", "\u{feff}text,more\n\"a, \"\"quoted\"\"\nline\",1\nb,2,3\nc,4\n");
    assert_eq!(container, Container::Csv);
    assert_eq!(found, rows(&[(2, "a, \"quoted\"\nline"), (5, "c")]));
    assert_eq!(bad, vec![(4, "3 cells where the header has 2".to_owned())]);
    assert_eq!(good("b.csv", "text;n\n1,5;x\n2,5;y\n").1, rows(&[(2, "1,5"), (3, "2,5")]));
    assert_eq!(good("c.tsv", "text\tn\na,b\t1\n").1, rows(&[(2, "a,b")]));
    assert_eq!(good("d.csv", "text\na\nb\n").1, rows(&[(2, "a"), (3, "b")]));
    let (_, found, bad) = good("e.csv", b"text,n\n\xff,1\nb,2\n");
    assert_eq!(found, rows(&[(3, "b")]));
    assert!(bad[0].1.contains("\"text\" is not UTF-8"));
}

#[test]
fn a_text_file_is_one_document() {
    assert_eq!(good("a.md", "# Title\n\nBody\n").1, rows(&[(1, "# Title\n\nBody\n")]));
    let (_, found, bad) = good("a.txt", b"one\ntwo\n\xff");
    assert!(found.is_empty());
    assert_eq!(bad[0].0, 3);
    assert!(bad[0].1.contains("byte 9"), "{bad:?}");
}

fn parquet_file(folder: &Folder, name: &str) -> PathBuf {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
    let roles = Arc::new(StringArray::from(vec!["user", "assistant", "user", "assistant"]));
    let said = Arc::new(StringArray::from(vec!["q", "r", "s", "t"]));
    let field = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
    let turns = StructArray::from(vec![(field("role"), roles as ArrayRef), (field("content"), said as ArrayRef)]);
    let item = Arc::new(Field::new("item", turns.data_type().clone(), true));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([2, 2, 0]), Arc::new(turns), None);
    let batch = RecordBatch::try_from_iter(vec![("text", texts), ("messages", Arc::new(lists) as ArrayRef)]);
    let batch = batch.expect("a table");
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    folder.write(name, bytes)
}

#[test]
fn parquet_rows_hold_lists_and_leave_nulls_out() {
    let folder = Folder::new();
    let path = parquet_file(&folder, "a.parquet");
    let (container, mut source) = open(&path).expect("opens");
    assert_eq!((container, source.rows_total()), (Container::Parquet, Some(3)));
    let mut found = Vec::new();
    while let Some(item) = source.next_item().expect("reads") {
        let Item::Row { line, row } = item else { panic!("{item:?}") };
        found.push((line, serde_json::to_string(&row).expect("JSON")));
    }
    assert_eq!(
        found[0].1,
        r#"{"text":"a","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]}"#
    );
    assert_eq!(found[1].1, r#"{"messages":[{"role":"user","content":"s"},{"role":"assistant","content":"t"}]}"#);
    assert_eq!(found[2].0, 3);
    let sniffed = sniff(&path).expect("a data set");
    assert_eq!((sniffed.schema, sniffed.rows, sniffed.bad_rows), (Some(Schema::Messages), 2, 1));
}

#[test]
fn every_bit_of_a_parquet_file_may_flip_without_a_crash() {
    let folder = Folder::new();
    let bytes = std::fs::read(parquet_file(&folder, "a.parquet")).expect("read");
    let mut refused = 0;
    for at in (4..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let path = folder.write("damaged.parquet", &damaged);
        refused += usize::from(read_all(&path).is_err());
        let cut = folder.write("cut.parquet", &bytes[..at]);
        assert!(matches!(read_all(&cut), Err(DataError::Data { .. })));
    }
    assert!(refused > 0);
}

#[test]
fn folders_give_their_files_a_role() {
    let folder = Folder::new();
    for name in
        ["train.jsonl", "more/extra.csv", "validation/a.jsonl", "test.jsonl", "README.md", ".hidden.jsonl", "x.bin"]
    {
        folder.write(name, "{\"text\":\"a\"}\n");
    }
    let files = list(folder.path()).expect("listed");
    let names = |files: &[temper_data::read::DataFile]| {
        let relative = |file: &temper_data::read::DataFile| {
            file.path.strip_prefix(folder.path()).expect("inside").display().to_string()
        };
        files.iter().map(relative).collect::<Vec<_>>()
    };
    assert_eq!(names(&files.train), ["more/extra.csv", "train.jsonl"]);
    assert_eq!(names(&files.validation), ["validation/a.jsonl"]);
    assert_eq!(files.test.len(), 1);
}

#[test]
fn folders_without_data_say_why() {
    let folder = Folder::new();
    assert!(list(folder.path()).expect_err("empty").to_string().contains("no data files"));
    folder.write("a.pkl", "x");
    let problem = Problem::from(list(folder.path()).expect_err("pickles"));
    assert_eq!(problem.code, Code::Refused);
    let missing = Problem::from(list(&folder.path().join("nowhere")).expect_err("missing"));
    assert_eq!(missing.code, Code::NotFound);
}

#[test]
fn a_described_folder_maps_its_columns() {
    let folder = Folder::new();
    folder.write("a.json", r#"[{"q": "Q", "r": "R"}]"#);
    folder.write("b.json", r#"[{"talk": [{"who": "u", "what": "Q"}, {"who": "a", "what": "R"}]}]"#);
    folder.write(
        "dataset_info.json",
        r#"{"one": {"file_name": "a.json", "columns": {"prompt": "q", "response": "r"}},
            "outside": {"file_name": "../secret.json"}, "online": {"hf_hub_url": "x/y"},
            "two": {"file_name": "b.json", "formatting": "sharegpt", "columns": {"messages": "talk"},
                    "tags": {"role_tag": "who", "content_tag": "what", "user_tag": "u", "assistant_tag": "a"}}}"#,
    );
    let files = list(folder.path()).expect("listed");
    assert_eq!(files.train.len(), 2);
    assert_eq!(files.train[0].columns.get("instruction").map(String::as_str), Some("q"));
    assert_eq!(files.train[1].columns.get("from").map(String::as_str), Some("who"));
}

#[test]
fn sniffing_reads_the_first_rows_only() {
    let folder = Folder::new();
    let line = "{\"prompt\":\"q\",\"completion\":\"a\"}\n";
    let path = folder.write("a.jsonl", line.repeat(5000) + "broken\n");
    let sniffed = sniff(&path).expect("a data set");
    assert_eq!(sniffed.schema, Some(Schema::PromptCompletion));
    assert_eq!((sniffed.rows, sniffed.bad_rows, sniffed.complete), (1000, 0, false));
    assert!(sniffed.confidence > 0.9);
    let path = folder.write("b.jsonl", line.repeat(3) + "broken\n{\"prompt\":\"q\",\"completion\":\"\"}\n");
    let sniffed = sniff(&path).expect("a data set");
    assert_eq!((sniffed.rows, sniffed.bad_rows, sniffed.complete), (3, 2, true));
    let unclear = sniff(&folder.write("c.csv", "x,y,z\n1,2,3\n")).expect("a table");
    assert_eq!(unclear.schema, None);
    assert!(unclear.why.contains("x, y, z"), "{}", unclear.why);
    let text = sniff(&folder.write("d.txt", "a".repeat(3 << 20))).expect("a text");
    assert_eq!((text.schema, text.complete), (Some(Schema::Text), false));
    let error = sniff(&folder.write("e.jsonl", "x\ny\n")).expect_err("no rows");
    assert!(error.to_string().contains("line 1"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        name in prop::sample::select(vec!["a.json", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.txt", "a.md", "a"]),
        magic in prop::sample::select(vec![&b""[..], b"PAR1", b"[", b"{", b"[{\"text\":\"", b"{\"messages\":[", b"text,b\n\""]),
    ) {
        let folder = Folder::new();
        let path = folder.write(name, [magic, bytes.as_slice(), magic].concat());
        if let Ok((_, good, bad)) = read_all(&path) {
            prop_assert!(good.len() + bad.len() <= bytes.len() + 2 * magic.len() + 1);
        }
        if let Ok(sniffed) = sniff(&path) {
            prop_assert!(sniffed.rows <= 1000 && sniffed.confidence <= 1.0);
        }
    }

    #[test]
    fn lines_of_text_survive_every_container(texts in prop::collection::vec("[^\\x00]{1,20}", 1..20)) {
        let folder = Folder::new();
        let objects: Vec<String> = texts.iter().map(|text| serde_json::json!({"text": text}).to_string()).collect();
        let mut table = csv::Writer::from_writer(Vec::new());
        for text in std::iter::once("text").chain(texts.iter().map(String::as_str)) {
            table.write_record([text, "x"]).expect("written");
        }
        let files = [
            folder.write("a.jsonl", objects.join("\n")),
            folder.write("a.json", format!("[{}]", objects.join(",\n"))),
            folder.write("a.csv", table.into_inner().expect("bytes")),
        ];
        for path in files {
            let (_, good, bad) = read_all(&path).expect("readable");
            prop_assert!(bad.is_empty(), "{bad:?}");
            prop_assert_eq!(good.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), texts.clone());
        }
    }
}
