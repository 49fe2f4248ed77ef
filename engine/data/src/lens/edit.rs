//! Texts inside the line of a row: where they stand, and the line with others in their places.
//!
//! Place in the data flow: [`super::Lens::row_texts`] shows them to be edited, [`super::Lens::clean`] writes what came of
//! it. A line is not written anew: what is not edited stays byte for byte, numbers and blanks included.

use crate::read::parse_row;
use std::ops::Range;
use temper_protocol::data::{RowField, WHOLE_LINE};

/// A text in a line.
struct Found {
    /// JSON pointer.
    place: String,
    /// Bytes of the line, quotes included.
    at: Range<usize>,
}

/// The texts of a line in the order in which they stand there; a line that is no row is one text.
pub(super) fn fields(line: &[u8]) -> Vec<RowField> {
    if parse_row(line).is_err() {
        return vec![RowField { place: WHOLE_LINE.to_owned(), text: String::from_utf8_lossy(line).into_owned() }];
    }
    let read = |found: Found| RowField { text: text_of(line, &found.at), place: found.place };
    texts(line).into_iter().map(read).collect()
}

/// The line with the texts of `fields` at their places.
///
/// # Errors
/// Why there is no such line.
pub(super) fn changed(line: &[u8], fields: &[RowField]) -> Result<Vec<u8>, String> {
    if let Some(whole) = fields.iter().find(|field| field.place == WHOLE_LINE) {
        // Line ends inside JSON are blanks between its parts, inside a text they are not allowed.
        let line = whole.text.replace(['\n', '\r'], " ").trim().to_owned().into_bytes();
        parse_row(&line)?;
        return Ok(line);
    }
    parse_row(line)?;
    let found = texts(line);
    if let Some(field) = fields.iter().find(|field| !found.iter().any(|found| found.place == field.place)) {
        return Err(format!("the row has no text at \"{}\"", field.place));
    }
    let mut out = Vec::with_capacity(line.len());
    let mut from = 0;
    for Found { place, at } in found {
        let Some(field) = fields.iter().find(|field| field.place == place) else { continue };
        // A text that is the same may be spelt otherwise in the file, and stays so.
        if text_of(line, &at) == field.text {
            continue;
        }
        out.extend_from_slice(line.get(from..at.start).unwrap_or_default());
        serde_json::to_writer(&mut out, &field.text).map_err(|error| format!("the text cannot be written: {error}"))?;
        from = at.end;
    }
    out.extend_from_slice(line.get(from..).unwrap_or_default());
    Ok(out)
}

fn text_of(line: &[u8], at: &Range<usize>) -> String {
    // The line was read as a whole before: a part of it can be read.
    line.get(at.clone()).and_then(|text| serde_json::from_slice(text).ok()).unwrap_or_default()
}

/// Where the texts of a line that is valid JSON stand. Names of fields are none of them.
fn texts(line: &[u8]) -> Vec<Found> {
    let mut walk = Walk { line, at: 0, found: Vec::new() };
    walk.value("");
    walk.found
}

/// Goes through valid JSON. Its depth is what the reader of rows allows.
struct Walk<'a> {
    line: &'a [u8],
    at: usize,
    found: Vec<Found>,
}

impl Walk<'_> {
    /// The next byte that is no blank.
    fn next(&mut self) -> Option<u8> {
        while self.line.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.line.get(self.at).copied()
    }

    fn value(&mut self, place: &str) {
        match self.next() {
            Some(b'"') => {
                let at = self.text();
                self.found.push(Found { place: place.to_owned(), at });
            }
            Some(b'{') => self.members(place),
            Some(b'[') => self.items(place),
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']');
                while self.line.get(self.at).is_some_and(|byte| !ends(byte)) {
                    self.at += 1;
                }
            }
        }
    }

    /// A text that begins here, with its quotes.
    fn text(&mut self) -> Range<usize> {
        let begin = self.at;
        self.at += 1;
        while let Some(byte) = self.line.get(self.at) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'"' => break,
                _ => {}
            }
        }
        begin..self.at.min(self.line.len())
    }

    fn members(&mut self, place: &str) {
        self.at += 1;
        loop {
            match self.next() {
                Some(b'"') => {
                    let name = self.text();
                    let name = text_of(self.line, &name).replace('~', "~0").replace('/', "~1");
                    // The colon.
                    self.next();
                    self.at += 1;
                    self.value(&format!("{place}/{name}"));
                }
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.at += 1;
    }

    fn items(&mut self, place: &str) {
        self.at += 1;
        let mut number = 0_usize;
        loop {
            match self.next() {
                Some(b']') | None => break,
                Some(b',') => self.at += 1,
                Some(_) => {
                    self.value(&format!("{place}/{number}"));
                    number += 1;
                }
            }
        }
        self.at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const LINE: &str =
        r#"{ "id":7.10, "a/b~": "x\"y\\", "turns":[{"role":"user","n":[1,"two",null,{}]},[],"na\u00efve"] }"#;

    fn field(place: &str, text: &str) -> RowField {
        RowField { place: place.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn texts_are_found_where_json_pointers_find_them() {
        let value: Value = serde_json::from_str(LINE).expect("JSON");
        let found = fields(LINE.as_bytes());
        let places: Vec<&str> = found.iter().map(|field| field.place.as_str()).collect();
        assert_eq!(places, ["/a~1b~0", "/turns/0/role", "/turns/0/n/1", "/turns/2"]);
        for field in &found {
            let there = value.pointer(&field.place).and_then(Value::as_str);
            assert_eq!(there, Some(field.text.as_str()), "{}", field.place);
        }
    }

    #[test]
    fn only_what_is_edited_changes() {
        let new = "say \"hi\"\n\tto Zoë";
        let line = changed(LINE.as_bytes(), &[field("/turns/0/n/1", new), field("/turns/2", "naïve")]).expect("a line");
        let line = String::from_utf8(line).expect("text");
        assert_eq!(line, LINE.replace("\"two\"", "\"say \\\"hi\\\"\\n\\tto Zoë\""), "the same text keeps its spelling");
        let value: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value.pointer("/turns/0/n/1").and_then(Value::as_str), Some(new));
        assert_eq!(changed(LINE.as_bytes(), &[]).expect("a line"), LINE.as_bytes());
    }

    #[test]
    fn a_text_that_is_not_there_is_refused() {
        let refused = changed(LINE.as_bytes(), &[field("/turns/9", "x")]).expect_err("no such place");
        assert!(refused.contains("/turns/9"), "{refused}");
        assert!(changed(LINE.as_bytes(), &[field("/id", "8")]).is_err(), "a number is no text");
    }

    #[test]
    fn a_broken_line_is_repaired_as_a_whole() {
        let broken = "{\"text\":\"a\"";
        assert_eq!(fields(broken.as_bytes()), [field(WHOLE_LINE, broken)]);
        let line = changed(broken.as_bytes(), &[field(WHOLE_LINE, " {\"text\":\n\"a\"} ")]).expect("a line");
        assert_eq!(line, b"{\"text\": \"a\"}");
        assert!(changed(broken.as_bytes(), &[field(WHOLE_LINE, broken)]).is_err());
        assert!(changed(broken.as_bytes(), &[field("/text", "b")]).is_err());
    }

    #[test]
    fn a_row_that_is_a_bare_text_is_its_own_place() {
        assert_eq!(fields(b"\"hello\""), [field("", "hello")]);
        assert_eq!(changed(b"\"hello\"", &[field("", "bye")]).expect("a line"), b"\"bye\"");
    }
}
