//! What a project or a command may name where a path can stand: something bundled, a run of the project, a new model.
//!
//! Place in the data flow: whoever writes such a name makes it here, and whoever reads one takes it apart here, so that the
//! window, the command line and the engine mean the same by it.

use crate::command::RunRef;

/// What stands before the name of something bundled.
pub const BUILTIN: &str = "builtin:";
/// What stands before the configuration of a new model with drawn weights.
pub const RANDOM: &str = "random:";
/// What stands before the run whose result is meant.
const OF_A_RUN: &str = "run:";

/// The bundled model.
pub const STARTER: &str = "builtin:starter";
/// The bundled data.
pub const STARTER_DATA: &str = "builtin:starter-data";
/// The bundled sets by which is measured what a model forgets: prose, instructions, code, arithmetic.
pub const KEPT: [&str; 4] = ["builtin:prose", "builtin:instructions", "builtin:code", "builtin:arithmetic"];

/// What stands before a part of the project itself.
const OF_THE_PROJECT: &str = "project:";
/// The rows that runs kept from their training, to be validated on: the same for all that split the same data alike.
pub const HELD_OUT: &str = "project:held-out";

/// The word by which something bundled is named.
#[must_use]
pub fn builtin(text: &str) -> Option<&str> {
    text.strip_prefix(BUILTIN)
}

/// The path of the configuration of a new model.
#[must_use]
pub fn random(text: &str) -> Option<&str> {
    text.strip_prefix(RANDOM)
}

/// The run whose result is named, and the step that is meant; the best one when there is none.
#[must_use]
pub fn run(text: &str) -> Option<(RunRef, Option<u64>)> {
    text.strip_prefix(OF_A_RUN).map(RunRef::parse)
}

/// The name of a run's result, of its best step or of a certain one.
#[must_use]
pub fn of_run(run: u64, step: Option<u64>) -> String {
    match step {
        Some(step) => format!("{OF_A_RUN}{run}@{step}"),
        None => format!("{OF_A_RUN}{run}"),
    }
}

/// Whether a text is the path of a file or a folder, and nothing that is named here.
#[must_use]
pub fn is_path(text: &str) -> bool {
    !text.is_empty() && [BUILTIN, RANDOM, OF_A_RUN, OF_THE_PROJECT].iter().all(|scheme| !text.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn names_are_read_as_they_are_made() {
        assert_eq!(run(&of_run(7, None)), Some((RunRef::Id(7), None)));
        assert_eq!(run(&of_run(7, Some(1200))), Some((RunRef::Id(7), Some(1200))));
        assert_eq!(run("run:last@3"), Some((RunRef::Last, Some(3))));
        assert_eq!(run("run:a@b"), Some((RunRef::Path(PathBuf::from("a@b")), None)));
        assert_eq!(run("runs/7"), None);
        assert_eq!((builtin(STARTER), builtin("starter")), (Some("starter"), None));
        assert_eq!((random("random:c.json"), random("c.json")), (Some("c.json"), None));
        assert!(KEPT.iter().chain(&[STARTER, STARTER_DATA]).all(|name| builtin(name).is_some()));
    }

    #[test]
    fn only_what_is_not_named_is_a_path() {
        for (text, path) in [
            ("a.gguf", true),
            ("/a/run:7", true),
            ("C:\\a", true),
            ("", false),
            (STARTER, false),
            ("run:7@3", false),
            (HELD_OUT, false),
            ("project.jsonl", true),
            ("random:c.json", false),
        ] {
            assert_eq!(is_path(text), path, "{text}");
        }
    }
}
