//! What a file is, by its first bytes and its name, and what is refused before anything is read from it.

use super::Container;
use crate::DataError;
use std::path::Path;

/// Names under which Python pickles travel. Unpickling runs code from the file; this program never does.
const PICKLE_NAMES: &[&str] = &["bin", "pt", "pth", "pkl", "pickle", "ckpt", "joblib", "npy", "npz"];
const ARCHIVES: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ", "xz"),
    (b"7z\xbc\xaf", "7z"),
    (b"BZh", "bzip2"),
];

fn extension(path: &Path) -> String {
    path.extension().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// Whether the extension is one of a data file.
pub(super) fn is_data_name(path: &Path) -> bool {
    let known = ["json", "jsonl", "ndjson", "csv", "tsv", "parquet", "txt", "text", "md", "markdown"];
    known.contains(&extension(path).as_str())
}

/// Whether the extension is one of a pickle.
pub(super) fn is_pickle_name(path: &Path) -> bool {
    PICKLE_NAMES.contains(&extension(path).as_str())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The container of the file at `path` whose first bytes are `head`.
///
/// # Errors
/// [`DataError::Refused`] for pickles; [`DataError::Data`] for everything else that is no data file.
pub(super) fn container_of(path: &Path, head: &[u8]) -> Result<Container, DataError> {
    let place = path.display().to_string();
    let data = |what: &str, action: &str| Err(DataError::data(what, &place, action));
    // Protocol byte and a protocol number in use; text cannot begin like this.
    let pickle_bytes =
        matches!(head, [0x80, 2..=5, ..]) || (head.starts_with(b"PK\x03\x04") && contains(head, b"data.pkl"));
    if pickle_bytes || is_pickle_name(path) {
        return Err(DataError::Refused {
            what: "Python pickle files are not read: opening one runs whatever program is inside it".to_owned(),
            place,
            action: "export the data as JSON Lines, CSV or Parquet".to_owned(),
        });
    }
    if head.is_empty() {
        return data("the data file is empty", "choose a file with at least one row");
    }
    if head.starts_with(b"GGUF") {
        return data("this is a model file, not a data set", "drop it on the model card");
    }
    if let Some((_, kind)) = ARCHIVES.iter().find(|(magic, _)| head.starts_with(magic)) {
        return data(&format!("this is a {kind} archive"), "unpack it first and choose the files inside");
    }
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return data("the data file is UTF-16, not UTF-8", "save it as UTF-8");
    }
    let extension = extension(path);
    if head.starts_with(b"PAR1") {
        return Ok(Container::Parquet);
    }
    if extension == "parquet" {
        return data("the file is damaged: it does not begin like a Parquet file", "get it again");
    }
    if head.starts_with(b"ARROW1") || head.starts_with(b"\xff\xff\xff\xff") {
        return data("this is an Arrow file", "save the table as Parquet or JSON Lines");
    }
    if head.contains(&0) && !matches!(extension.as_str(), "jsonl" | "ndjson" | "json" | "csv" | "tsv") {
        return data("this is a binary file of an unknown kind", "choose JSON, JSON Lines, CSV, Parquet or text");
    }
    match extension.as_str() {
        "jsonl" | "ndjson" => Ok(Container::JsonLines),
        "json" => Ok(json_kind(head)),
        "csv" => Ok(Container::Csv),
        "tsv" => Ok(Container::Tsv),
        "txt" | "text" | "md" | "markdown" => Ok(Container::Text),
        _ => match first_byte(head) {
            Some(b'{' | b'[') => Ok(json_kind(head)),
            _ => data("the kind of this file is unknown", "rename it to .jsonl, .json, .csv, .tsv, .parquet or .txt"),
        },
    }
}

/// The first byte behind a byte-order mark and blanks.
fn first_byte(head: &[u8]) -> Option<u8> {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    head.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// Tells JSON Lines, which people also call `.json`, from one JSON document: in lines, most of the first
/// lines are objects of their own.
fn json_kind(head: &[u8]) -> Container {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let mut lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    if lines.len() > 1 {
        // The last one may be cut by the end of the head.
        lines.pop();
    }
    lines.retain(|line| !line.is_empty());
    lines.truncate(20);
    let whole = |line: &&&[u8]| {
        let bare = matches!(line, [b'{', .., b'}'] | [b'[', .., b']'])
            && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
        bare && (line.starts_with(b"{") || lines.len() > 1)
    };
    let good = lines.iter().filter(whole).count();
    if good > 0 && good * 2 >= lines.len() { Container::JsonLines } else { Container::Json }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, head: &str) -> Container {
        container_of(Path::new(name), head.as_bytes()).expect("a data file")
    }

    #[test]
    fn json_and_json_lines_are_told_apart_by_content() {
        assert_eq!(kind("a.json", "{\"a\":1}\n{\"a\":2}\n"), Container::JsonLines);
        assert_eq!(kind("a.json", "{\"a\":1}\nbroken\n{\"a\":2}\n"), Container::JsonLines);
        assert_eq!(kind("a.json", "[{\"a\":1},\n{\"a\":2}]\n"), Container::Json);
        assert_eq!(kind("a.json", "[{\"a\":1},{\"a\":2}]"), Container::Json);
        assert_eq!(kind("a.json", "{\n  \"a\": 1\n}\n"), Container::Json);
        assert_eq!(kind("a", "\u{feff}  {\"a\":1}\n{\"a\":2}\n"), Container::JsonLines);
        assert_eq!(kind("a.jsonl", "not json"), Container::JsonLines);
    }

    #[test]
    fn pickles_are_refused_by_name_and_by_content() {
        for (name, head) in
            [("m.bin", "x"), ("data.pkl", "x"), ("a.PT", "x"), ("a.txt", "PK\x03\x04...archive/data.pkl")]
        {
            assert!(matches!(container_of(Path::new(name), head.as_bytes()), Err(DataError::Refused { .. })), "{name}");
        }
        assert!(matches!(container_of(Path::new("a.jsonl"), b"\x80\x04\x95"), Err(DataError::Refused { .. })));
    }

    #[test]
    fn what_is_no_data_file_is_named() {
        let what = |name: &str, head: &[u8]| container_of(Path::new(name), head).expect_err("no data file").to_string();
        assert!(what("a.jsonl", b"").contains("empty"));
        assert!(what("a.jsonl", b"GGUF\x03").contains("model"));
        assert!(what("a.jsonl.gz", b"\x1f\x8b\x08").contains("gzip"));
        assert!(what("a.csv", b"\xff\xfea\x00").contains("UTF-16"));
        assert!(what("a.parquet", b"hello").contains("damaged"));
        assert!(what("a.docx", b"hello").contains("unknown"));
    }
}
