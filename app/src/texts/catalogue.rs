//! The texts as files: which keys there are, and which arguments each takes, known while the program is compiled.
//!
//! Only the outline of Fluent is read here (where a message begins, which names stand behind a `$`); what a text says is
//! Fluent's own business, in `table`.

/// A text in a file.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its key.
    pub key: &'static str,
    /// Everything behind the `=`, up to the next message.
    pub body: &'static str,
}

/// Files of each language, in the same order.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        /// English files.
        pub const ENGLISH: &[&str] = &[$(include_str!(concat!("../../assets/texts/en/", $name, ".ftl"))),*];
        /// German files.
        pub const GERMAN: &[&str] = &[$(include_str!(concat!("../../assets/texts/de/", $name, ".ftl"))),*];
        /// Names of the files.
        pub const FILES: &[&str] = &[$($name),*];
    };
}

files![
    "commands",
    "frame",
    "common",
    "home",
    "setup",
    "model",
    "data",
    "lens",
    "method",
    "preset",
    "train",
    "keep",
    "preflight",
    "watch",
    "race",
    "compare",
    "export",
    "sheets",
    "drop",
    "words",
    "notice",
    "problem",
    "report",
    "card",
    "rehouse",
    "help",
    "glossary"
];

/// Every text there is: those of the English files, in the order in which they stand there.
pub static TEXTS: [Entry; COUNT] = entries(ENGLISH);

const COUNT: usize = count(ENGLISH);

/// Where the line at `start` ends: at its line feed, or at the end of the file.
const fn line_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < bytes.len() && bytes[at] != b'\n' {
        at += 1;
    }
    at
}

/// Whether a message begins at `start` of a line; comments, continued lines and blank ones do not.
const fn begins(bytes: &[u8], start: usize) -> bool {
    start < bytes.len() && bytes[start].is_ascii_lowercase()
}

const fn count(files: &[&str]) -> usize {
    let (mut file, mut found) = (0, 0);
    while file < files.len() {
        let bytes = files[file].as_bytes();
        let mut start = 0;
        while start < bytes.len() {
            if begins(bytes, start) {
                found += 1;
            }
            start = line_end(bytes, start) + 1;
        }
        file += 1;
    }
    found
}

const fn part(text: &'static str, from: usize, to: usize) -> &'static str {
    let (head, _) = text.split_at(to);
    let (_, middle) = head.split_at(from);
    middle
}

const fn entries<const N: usize>(files: &[&'static str]) -> [Entry; N] {
    let mut found = [Entry { key: "", body: "" }; N];
    let (mut file, mut next) = (0, 0);
    while file < files.len() {
        let text = files[file];
        let bytes = text.as_bytes();
        let mut start = 0;
        while start < bytes.len() {
            let mut end = line_end(bytes, start);
            if begins(bytes, start) {
                let mut key_end = start;
                while key_end < end && bytes[key_end] != b' ' && bytes[key_end] != b'=' {
                    key_end += 1;
                }
                // The lines below that are indented belong to the message.
                while end + 1 < bytes.len() && bytes[end + 1] == b' ' {
                    end = line_end(bytes, end + 1);
                }
                found[next] = Entry { key: part(text, start, key_end), body: part(text, key_end, end) };
                next += 1;
            }
            start = end + 1;
        }
        file += 1;
    }
    found
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    // Keys differ at their end rather than at their beginning.
    let mut at = left.len();
    while at > 0 {
        at -= 1;
        if left[at] != right[at] {
            return false;
        }
    }
    true
}

/// The place of `key` in [`TEXTS`], or their number when there is no such text.
#[must_use]
pub const fn place_of(key: &str) -> usize {
    let mut place = 0;
    while place < TEXTS.len() && !same(TEXTS[place].key.as_bytes(), key.as_bytes()) {
        place += 1;
    }
    place
}

/// Where the name that begins at `start` ends.
const fn name_end(body: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < body.len() && (body[at].is_ascii_alphanumeric() || body[at] == b'_') {
        at += 1;
    }
    at
}

/// Whether the arguments named in `body` are exactly `arguments`.
#[must_use]
pub const fn takes(body: &'static str, arguments: &[&str]) -> bool {
    let bytes = body.as_bytes();
    let mut argument = 0;
    while argument < arguments.len() {
        if !names(body, arguments[argument]) {
            return false;
        }
        argument += 1;
    }
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'$' {
            let name = part(body, at + 1, name_end(bytes, at + 1));
            let mut argument = 0;
            while argument < arguments.len() && !same(arguments[argument].as_bytes(), name.as_bytes()) {
                argument += 1;
            }
            if argument == arguments.len() {
                return false;
            }
        }
        at += 1;
    }
    true
}

/// Whether `$name` stands in `body`.
const fn names(body: &'static str, name: &str) -> bool {
    let bytes = body.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'$' && same(part(body, at + 1, name_end(bytes, at + 1)).as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

/// The name that begins at `start` of `body`, behind its `$`.
#[must_use]
pub fn name_at(body: &'static str, start: usize) -> &'static str {
    part(body, start, name_end(body.as_bytes(), start))
}

/// Names of the arguments in `body`, each once, in the order of the alphabet.
#[must_use]
pub fn arguments(body: &'static str) -> Vec<&'static str> {
    let mut found: Vec<&str> = body.match_indices('$').map(|(at, _)| name_at(body, at + 1)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The texts of `files`, for those that are not read while compiling.
#[must_use]
pub fn read(files: &[&'static str]) -> Vec<Entry> {
    let mut found = Vec::with_capacity(COUNT);
    for text in files {
        // One file has no more lines than this; the ends of messages are found by the same rules as above.
        let lone: [Entry; 600] = entries(&[*text]);
        found.extend(lone.into_iter().filter(|entry| !entry.key.is_empty()));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a comment\nfirst = One { $name } and\n    { $n -> [one] a *[other] b }\n\nsecond = Two\n";

    #[test]
    fn messages_are_found_with_their_lines_and_their_arguments() {
        let found: [Entry; count(&[FILE])] = entries(&[FILE]);
        assert_eq!(found.map(|entry| entry.key), ["first", "second"]);
        assert_eq!(arguments(found[0].body), ["n", "name"]);
        assert!(takes(found[0].body, &["name", "n"]) && !takes(found[0].body, &["name"]));
        assert!(!takes(found[0].body, &["n", "name", "more"]) && !takes(found[1].body, &["n"]));
        assert!(takes(found[1].body, &[]));
    }

    #[test]
    fn a_key_that_is_not_there_has_no_place() {
        assert_eq!(place_of("there-is-no-such-key"), TEXTS.len());
        assert_eq!(place_of(TEXTS[1].key), 1);
    }
}
