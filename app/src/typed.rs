//! Paths that were typed or pasted: as file managers, terminals and people write them.
//!
//! Place in the data flow: the field for a path gives its text, and what comes out is dropped on the window. Where a window
//! system reports no dropped files this is the way in, so it takes what a file manager's "copy" puts there.

use std::path::{Path, PathBuf};

/// What stands before the path of a local file in an address.
const SCHEME: &str = "file://";

/// The paths that `text` names: one as it is, several as addresses (`file:///a%20b file:///c`) or in quotation marks.
#[must_use]
pub fn paths(text: &str) -> Vec<PathBuf> {
    let home = directories::BaseDirs::new();
    paths_of(text, home.as_ref().map(|dirs| dirs.home_dir()))
}

/// The one folder that `text` names, with its whole path: the window has no folder of its own that a shorter one could start
/// from.
#[must_use]
pub fn folder(text: &str) -> Option<PathBuf> {
    let mut named = paths(text);
    let folder = named.pop().filter(|_| named.is_empty())?;
    folder.is_absolute().then_some(folder)
}

fn paths_of(text: &str, home: Option<&Path>) -> Vec<PathBuf> {
    let text = text.trim();
    let words: Vec<&str> = text.split_whitespace().collect();
    if !words.is_empty() && words.iter().all(|word| word.starts_with(SCHEME)) {
        return words.into_iter().map(|word| path(word, home)).collect();
    }
    let parts = quoted(text).unwrap_or_else(|| vec![text]);
    parts.into_iter().filter(|part| !part.is_empty()).map(|part| path(part, home)).collect()
}

/// What stands in quotation marks, if everything does: `"a b" 'c'`.
fn quoted(text: &str) -> Option<Vec<&str>> {
    let mut rest = text;
    let mut parts = Vec::new();
    while let Some(mark) = rest.chars().next() {
        let inside = rest.strip_prefix(['"', '\''])?;
        let end = inside.find(mark)?;
        parts.push(&inside[..end]);
        rest = inside[end + mark.len_utf8()..].trim_start();
    }
    Some(parts)
}

/// One path, of an address or with `~` for the person's own folder.
fn path(text: &str, home: Option<&Path>) -> PathBuf {
    if let Some(address) = text.strip_prefix(SCHEME) {
        let address = address.strip_prefix("localhost").unwrap_or(address);
        let decoded = decoded(address);
        // `file:///C:/models` names a drive, where there are drives.
        let drive = decoded.strip_prefix('/').filter(|rest| cfg!(windows) && rest.as_bytes().get(1) == Some(&b':'));
        return PathBuf::from(drive.unwrap_or(&decoded));
    }
    match (text.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_path_buf(),
        (Some(rest), Some(home)) if rest.starts_with(['/', '\\']) => home.join(&rest[1..]),
        _ => PathBuf::from(text),
    }
}

/// An address with its `%20` as letters; as it is when that is no text.
fn decoded(address: &str) -> String {
    let bytes = address.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = if *byte == b'%' { bytes.get(at + 1..at + 3) } else { None };
        // A sign would be taken for a part of the number.
        let digits = digits.filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        let code =
            digits.and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match code {
            Some(code) => {
                plain.push(code);
                at += 3;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let home = Path::new("/people/ada");
        paths_of(text, Some(home)).iter().map(|path| path.display().to_string().replace('\\', "/")).collect()
    }

    #[test]
    fn paths_are_read_as_people_and_file_managers_write_them() {
        let drive = if cfg!(windows) { "C:/m.gguf" } else { "/C:/m.gguf" };
        let cases: [(&str, &[&str]); 15] = [
            ("", &[]),
            ("  /data/my rows.jsonl\n", &["/data/my rows.jsonl"]),
            ("\"/data/my rows.jsonl\"", &["/data/my rows.jsonl"]),
            ("'/a b' \"/it's\"", &["/a b", "/it's"]),
            ("/a \"b\" c", &["/a \"b\" c"]),
            ("\"half", &["\"half"]),
            ("~/models/m.gguf", &["/people/ada/models/m.gguf"]),
            ("~", &["/people/ada"]),
            ("~bob/m.gguf", &["~bob/m.gguf"]),
            ("file:///a/my%20rows.jsonl", &["/a/my rows.jsonl"]),
            ("file:///a/k%C3%A4se file://localhost/b%25", &["/a/käse", "/b%"]),
            ("file:///a/100%", &["/a/100%"]),
            ("file:///a/%ff", &["/a/%ff"]),
            ("file:///a/%+f", &["/a/%+f"]),
            ("file:///C:/m.gguf", &[drive]),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_folder_is_named_alone_and_in_full() {
        let root = if cfg!(windows) { "C:/" } else { "/" };
        let whole = format!("{root}data/new one");
        for (text, good) in [
            (format!("  {whole} "), true),
            (format!("\"{whole}\""), true),
            (format!("\"{whole}\" \"{whole}-2\""), false),
            ("new one".to_owned(), false),
            ("./new".to_owned(), false),
            ("../new".to_owned(), false),
            (" ".to_owned(), false),
        ] {
            assert_eq!(folder(&text), good.then(|| PathBuf::from(&whole)), "{text}");
        }
    }

    #[test]
    fn without_a_folder_of_ones_own_a_tilde_is_a_letter() {
        assert_eq!(paths_of("~/m.gguf", None), [PathBuf::from("~/m.gguf")]);
    }
}
