//! Keeping a project's runs in order: names, notes, tags and stars; the trash; disk.
//!
//! Place in the data flow: the window and the command line build a [`Housekeeping`], the store and the host carry it out,
//! and answer with the `run` events of what changed, or with [`DiskUse`].

use serde::{Deserialize, Serialize};

/// What a person said about a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunLabels {
    /// What it is called; empty when nobody named it.
    pub name: String,
    /// What was noted about it.
    pub note: String,
    /// Tags, in the order in which they were given.
    pub tags: Vec<String>,
    /// Whether it was marked.
    pub starred: bool,
    /// When it went to the trash, milliseconds since 1970; 0 when it is not there.
    pub trashed_millis: i64,
}

/// A change of what is said about a run; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelChange {
    /// Another name; empty takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another note; empty takes it away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Other tags, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Marked or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starred: Option<bool>,
}

/// Something to do with runs that are over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Housekeeping {
    /// Says something about a run: a `run` event.
    Label {
        /// The run.
        run: u64,
        /// What is said.
        change: LabelChange,
    },
    /// Moves runs to the project's trash: a `run` event each.
    Trash {
        /// The runs.
        runs: Vec<u64>,
    },
    /// Moves runs back to where they were: a `run` event each.
    Restore {
        /// The runs.
        runs: Vec<u64>,
    },
    /// Deletes for good what lies in the trash: a `disk` event for each run that is gone.
    EmptyTrash {},
    /// Deletes all checkpoints but the best and the newest: a `disk` event each.
    Prune {
        /// The runs; all that are over when empty.
        runs: Vec<u64>,
    },
    /// Says what runs take on the disk, those in the trash too: a `disk` event each.
    Disk {},
}

/// What a run takes on the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUse {
    /// The run.
    pub run: u64,
    /// All of its folder, bytes.
    pub bytes: u64,
    /// Checkpoints.
    pub checkpoints: u64,
    /// Their part of it, bytes.
    pub checkpoint_bytes: u64,
    /// What was made free just now, bytes.
    pub freed_bytes: u64,
}

impl LabelChange {
    /// What is said after the change. Words are trimmed; a tag stands once.
    #[must_use]
    pub fn applied(&self, before: &RunLabels) -> RunLabels {
        let mut after = before.clone();
        if let Some(name) = &self.name {
            name.trim().clone_into(&mut after.name);
        }
        if let Some(note) = &self.note {
            note.trim().clone_into(&mut after.note);
        }
        if let Some(tags) = &self.tags {
            after.tags.clear();
            for tag in tags.iter().map(|tag| tag.trim()).filter(|tag| !tag.is_empty()) {
                if !after.tags.iter().any(|known| known == tag) {
                    after.tags.push(tag.to_owned());
                }
            }
        }
        after.starred = self.starred.unwrap_or(before.starred);
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_stays_and_tags_stand_once() {
        let before =
            RunLabels { name: "first".to_owned(), note: "warm".to_owned(), starred: true, ..RunLabels::default() };
        let tags = [" tone", "tone", "", "short"].map(str::to_owned).to_vec();
        let change = LabelChange { tags: Some(tags), note: Some(String::new()), ..LabelChange::default() };
        let after = change.applied(&before);
        assert_eq!((after.name.as_str(), after.note.as_str(), after.starred), ("first", "", true));
        assert_eq!(after.tags, ["tone", "short"]);
    }

    #[test]
    fn an_act_is_one_flat_object() {
        let act = Housekeeping::Label { run: 3, change: LabelChange { starred: Some(true), ..LabelChange::default() } };
        let json = serde_json::to_string(&act).expect("serialises");
        assert_eq!(json, r#"{"act":"label","run":3,"change":{"starred":true}}"#);
        assert_eq!(serde_json::from_str::<Housekeeping>(&json).expect("reads"), act);
    }
}
