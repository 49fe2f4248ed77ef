//! Files over the window and files just dropped: what they are and where they go.

use std::path::PathBuf;
use temper_protocol::Event;

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
}
