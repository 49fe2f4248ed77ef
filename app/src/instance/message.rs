//! What a second start says to the window that is open: one line of JSON, and one word back.
//!
//! The line is `{"temper": 1, "paths": ["/absolute/path", ...]}`. Whatever is not that is refused whole. A later version may
//! add fields, which this one passes over.

use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Version of the line.
const VERSION: u32 = 1;
/// Longest line, bytes: a few thousand long paths.
const LONGEST: u64 = 1 << 20;
/// Most paths of one start.
const MOST_PATHS: usize = 4096;

/// What a start was given: files and folders that count as dropped together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    temper: u32,
    /// Absolute paths; none for a start that only wants to see the window.
    pub paths: Vec<PathBuf>,
}

impl Default for Handed {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Handed {
    /// With `paths`, which are absolute: the window was started in another folder.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { temper: VERSION, paths }
    }

    /// The line that says it.
    ///
    /// # Errors
    /// When a path is no valid Unicode, which JSON cannot say, or there is too much to say in one line.
    pub(super) fn line(&self) -> io::Result<String> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        if line.len() as u64 > LONGEST || self.paths.len() > MOST_PATHS {
            return Err(invalid("there are too many paths for one message"));
        }
        Ok(line)
    }

    /// Reads the line up to its end.
    ///
    /// # Errors
    /// When it does not end, is too long, or is not what [`Self::line`] writes.
    pub(super) fn read(from: impl Read) -> io::Result<Self> {
        let mut line = Vec::new();
        let mut from = io::BufReader::new(from.take(LONGEST));
        io::BufRead::read_until(&mut from, b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(invalid("the message does not end"));
        }
        Self::parse(&line)
    }

    /// Reads a whole line.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(super) fn parse(line: &[u8]) -> io::Result<Self> {
        let handed: Self = serde_json::from_slice(line)?;
        if handed.temper != VERSION {
            return Err(invalid("the message is of another version"));
        }
        if handed.paths.len() > MOST_PATHS {
            return Err(invalid("the message has too many paths"));
        }
        if !handed.paths.iter().all(|path| is_plain(path)) {
            return Err(invalid("the message has a path that is not absolute"));
        }
        Ok(handed)
    }
}

/// Whether a path means the same in every folder, and nothing was hidden in it.
fn is_plain(path: &Path) -> bool {
    path.is_absolute() && !path.to_string_lossy().contains('\0')
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that is absolute on this system.
    fn absolute(name: &str) -> PathBuf {
        std::path::absolute(name).expect("a working folder")
    }

    #[test]
    fn a_line_comes_back_as_it_was_and_later_fields_are_passed_over() {
        let handed = Handed::new(vec![absolute("a b.gguf"), absolute("käse\n.jsonl")]);
        let line = handed.line().expect("a line");
        assert_eq!(line.matches('\n').count(), 1, "a line is a line whatever is in a path");
        assert_eq!(Handed::read(line.as_bytes()).expect("the same"), handed);
        let later = line.replacen('{', "{\"new\": true, ", 1);
        assert_eq!(Handed::read(later.as_bytes()).expect("the same"), handed);
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        let good = Handed::new(vec![absolute("a")]).line().expect("a line");
        let cut = good.trim_end();
        let other_version = good.replacen('1', "2", 1);
        let many = format!("{{\"temper\": 1, \"paths\": [{}\"/a\"]}}\n", "\"/a\", ".repeat(MOST_PATHS));
        let long = format!("{{\"temper\": 1, \"paths\": [\"/{}\"]}}\n", "a".repeat(LONGEST as usize));
        let bad: [&str; 9] = [
            "",
            "\n",
            "GET / HTTP/1.1\n",
            "{\"temper\": 1}\n",
            "{\"temper\": 1, \"paths\": [\"relative.gguf\"]}\n",
            "{\"temper\": 1, \"paths\": [\"/a\\u0000b\"]}\n",
            cut,
            &many,
            &long,
        ];
        for line in bad {
            let shown: String = line.chars().take(60).collect();
            assert!(Handed::read(line.as_bytes()).is_err(), "{shown:?} was taken");
        }
        assert!(Handed::read(other_version.as_bytes()).is_err());
        assert!(Handed::read(&[0xff, 0xfe, b'\n'][..]).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn a_path_that_json_cannot_say_is_no_message() {
        use std::os::unix::ffi::OsStringExt as _;
        let path = PathBuf::from(std::ffi::OsString::from_vec(b"/a/\xff.gguf".to_vec()));
        assert!(Handed::new(vec![path]).line().is_err());
    }
}
