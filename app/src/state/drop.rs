//! Files over the window and files just dropped: what they are and where they go.

use super::Draft;
use std::path::PathBuf;
use temper_protocol::project::Source;
use temper_protocol::{Event, Project};

/// Where a dropped thing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The base model.
    Model,
    /// Training data.
    Data,
    /// Method and rank of an adapter.
    Method,
    /// What must not be forgotten.
    Keep,
    /// A project that opens.
    Project,
    /// The room Export.
    Export,
}

/// The place of a thing, and the second possible place.
#[must_use]
pub fn targets(thing: &Event) -> (Option<Target>, Option<Target>) {
    match thing {
        Event::Model { .. } => (Some(Target::Model), None),
        Event::Dataset { .. } => (Some(Target::Data), Some(Target::Keep)),
        Event::Adapter { .. } => (Some(Target::Method), Some(Target::Export)),
        Event::Project { .. } => (Some(Target::Project), None),
        _ => (None, None),
    }
}

/// The path that an `inspect` answer is about.
#[must_use]
pub fn path_of(thing: &Event) -> Option<&PathBuf> {
    match thing {
        Event::Model { path, .. }
        | Event::Dataset { path, .. }
        | Event::Adapter { path, .. }
        | Event::Project { path, .. }
        | Event::Unknown { path, .. } => Some(path),
        _ => None,
    }
}

/// Files over the window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DropState {
    /// Whether something hovers.
    pub hovering: bool,
    /// Paths that hover; empty when the system does not tell.
    pub paths: Vec<PathBuf>,
    /// Answers about them so far.
    pub verdicts: Vec<Event>,
    /// Whether all answers are there.
    pub complete: bool,
    /// What the files of an open dialog are meant for, when that is not what their kind says.
    pub meant_for: Option<Target>,
}

/// What was just dropped, so that a second choice is one click away.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// The path.
    pub path: String,
    /// Where it went.
    pub target: Target,
    /// Where it could go instead.
    pub other: Option<Target>,
    /// What happened, in words.
    pub text: String,
    /// Number of the edit that put it there; nothing when it was there already.
    pub edit: Option<u64>,
    /// Nothing else was dropped with it.
    pub alone: bool,
    /// The training data of before.
    pub replaced: Vec<Source>,
}

impl Dropped {
    /// Whether an undo takes back exactly this drop: it changed the project, and nothing was edited since.
    #[must_use]
    pub fn is_last_edit(&self, draft: &Draft) -> bool {
        self.edit == Some(draft.revision)
    }

    /// Takes it from its place and gives the project to put it elsewhere. What was edited since, or dropped with it, stays.
    pub fn take_back(&self, draft: &mut Draft, now_secs: f64) -> Project {
        if self.alone && self.is_last_edit(draft) {
            // What was there before the drop comes back.
            draft.undo(now_secs);
            return draft.project.clone();
        }
        let mut project = draft.project.clone();
        match self.target {
            Target::Data => {
                let train = &mut project.data.train;
                train.retain(|source| source.path() != self.path);
                if train.is_empty() {
                    // It had taken their place.
                    *train = self.replaced.iter().filter(|source| source.path() != self.path).cloned().collect();
                }
            }
            Target::Keep => project.keep.probes.retain(|probe| *probe != self.path),
            // A method may have been edited on; nothing else has a second place.
            Target::Model | Target::Method | Target::Project | Target::Export => {}
        }
        project
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/data/tone.jsonl";

    /// A project that trains on `before`, onto which the data was dropped.
    fn dropped(before: &[&str]) -> (Draft, Dropped) {
        let before: Vec<String> = before.iter().map(|path| (*path).to_owned()).collect();
        let mut draft = Draft::opened(PathBuf::from("/p/tone"), Project::new("tone", "m.gguf", &before, "lora"));
        let replaced = draft.project.data.train.clone();
        let mut project = draft.project.clone();
        project.data.train = vec![Source::Path(PATH.to_owned())];
        let edit = draft.edit("", project, 0.0);
        let (path, target, other) = (PATH.to_owned(), Target::Data, Some(Target::Keep));
        let dropped = Dropped { path, target, other, text: String::new(), edit, alone: true, replaced };
        (draft, dropped)
    }

    fn train(project: &Project) -> Vec<&str> {
        project.data.train.iter().map(Source::path).collect()
    }

    #[test]
    fn what_was_there_before_comes_back_and_later_edits_stay() {
        let (mut draft, dropped) = dropped(&["/data/old.jsonl"]);
        let mut longer = draft.project.clone();
        longer.train.steps = 7;
        let mut edited = draft.clone();
        edited.edit("train.steps", longer, 1.0);
        assert!(dropped.is_last_edit(&draft) && !dropped.is_last_edit(&edited));
        for (draft, steps) in [(&mut draft, 200), (&mut edited, 7)] {
            let project = dropped.take_back(draft, 2.0);
            assert_eq!((train(&project), project.train.steps), (vec!["/data/old.jsonl"], steps));
        }
    }

    #[test]
    fn what_was_there_already_takes_no_other_edit_back() {
        let (mut draft, dropped) = dropped(&[PATH]);
        let mut longer = draft.project.clone();
        longer.train.steps = 7;
        draft.edit("train.steps", longer, 1.0);
        assert_eq!(dropped.edit, None);
        let project = dropped.take_back(&mut draft, 2.0);
        assert_eq!((train(&project), project.train.steps), (Vec::new(), 7));
    }

    #[test]
    fn what_was_dropped_with_it_stays() {
        let (mut draft, dropped) = dropped(&[]);
        draft.project.data.train.push(Source::Path("/data/more.jsonl".to_owned()));
        let project = Dropped { alone: false, ..dropped }.take_back(&mut draft, 2.0);
        assert_eq!(train(&project), ["/data/more.jsonl"]);
    }
}
