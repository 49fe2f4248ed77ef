//! The project being edited, with its history.

use std::path::{Path, PathBuf};
use temper_protocol::project::Data;
use temper_protocol::{MethodCard, Project};

const HISTORY_LIMIT: usize = 200;
/// Quiet that ends an edit: what changes the same field later is another one for undo.
const JOIN_SECS: f64 = 2.0;
/// At the end of a key: each edit is an act of its own, such as a click in a tree.
pub const ALONE: char = '!';

/// A project being edited.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// What will run.
    pub project: Project,
    /// Its folder; none before the first training of a new project.
    pub folder: Option<PathBuf>,
    /// Its folder was just chosen and has nothing of it yet: no other project may lie there.
    pub is_new: bool,
    /// Whether there is anything: a project was opened or something was dropped.
    pub open: bool,
    /// Number of the last edit.
    pub revision: u64,
    /// Number of the edit that is on disk.
    pub saved_revision: u64,
    /// Number of the edit that is on its way to the disk.
    pub saving_revision: u64,
    /// When the last edit happened, seconds of the window's clock.
    pub edited_secs: f64,
    /// The edit that could not be written, and when that was, seconds of the window's clock.
    pub refused: Option<(u64, f64)>,
    past: Vec<Project>,
    future: Vec<Project>,
    last_key: String,
}

impl Default for Draft {
    fn default() -> Self {
        let mut project = Project::new("", "", &[], "lora");
        project.samples.prompts = Vec::new();
        // What the method usually takes, whichever it will be.
        project.train.lr_peak = 0.0;
        Self {
            project,
            folder: None,
            is_new: false,
            open: false,
            revision: 0,
            saved_revision: 0,
            saving_revision: 0,
            edited_secs: 0.0,
            refused: None,
            past: Vec::new(),
            future: Vec::new(),
            last_key: String::new(),
        }
    }
}

impl Draft {
    /// A project read from `folder`.
    #[must_use]
    pub fn opened(folder: PathBuf, project: Project) -> Self {
        Self { project, folder: Some(folder), open: true, ..Self::default() }
    }

    /// Replaces the project. Edits of the same `key` that follow each other without a pause count as one for undo; those of
    /// an empty key, or of one with [`ALONE`] at its end, never do. Gives the number of the edit, if it changes anything.
    pub fn edit(&mut self, key: &str, project: Project, now_secs: f64) -> Option<u64> {
        if project == self.project {
            return None;
        }
        let follows = key == self.last_key && now_secs - self.edited_secs <= JOIN_SECS;
        let goes_on = follows && !key.is_empty() && !key.ends_with(ALONE) && !self.past.is_empty();
        if !goes_on {
            self.past.push(self.project.clone());
            if self.past.len() > HISTORY_LIMIT {
                self.past.remove(0);
            }
        }
        self.future.clear();
        key.clone_into(&mut self.last_key);
        self.changed(project, now_secs);
        Some(self.revision)
    }

    fn changed(&mut self, project: Project, now_secs: f64) {
        self.project = project;
        self.open = true;
        self.revision += 1;
        self.edited_secs = now_secs;
    }

    /// Takes the last edit back.
    pub fn undo(&mut self, now_secs: f64) {
        if let Some(earlier) = self.past.pop() {
            self.future.push(self.project.clone());
            self.last_key.clear();
            self.changed(earlier, now_secs);
        }
    }

    /// Makes the edit that was taken back again.
    pub fn redo(&mut self, now_secs: f64) {
        if let Some(later) = self.future.pop() {
            self.past.push(self.project.clone());
            self.last_key.clear();
            self.changed(later, now_secs);
        }
    }

    /// The edit `revision` could not be written: it is not on its way any more, and is tried again later.
    pub fn refuse(&mut self, revision: u64, now_secs: f64) {
        if self.saving_revision == revision {
            self.saving_revision = self.saved_revision;
        }
        self.refused = Some((revision, now_secs));
    }

    /// Seconds until an edit that could not be written is tried again; nothing when it need not wait.
    #[must_use]
    pub fn wait_secs(&self, now_secs: f64, between_secs: f64) -> Option<f64> {
        let (revision, since) = self.refused?;
        let left = since + between_secs - now_secs;
        (revision == self.revision && left > 0.0).then_some(left)
    }

    /// Whether there is an edit to take back.
    #[must_use]
    pub fn can_undo(&self) -> bool {
        !self.past.is_empty()
    }

    /// Whether there is an edit to make again.
    #[must_use]
    pub fn can_redo(&self) -> bool {
        !self.future.is_empty()
    }

    /// Whether the disk has what is shown.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.saved_revision == self.revision
    }

    /// A path of the project as the engine is asked about it.
    #[must_use]
    pub fn resolve(&self, path: &str) -> String {
        super::resolve(self.folder.as_deref(), path)
    }

    /// Whether model and data are chosen.
    #[must_use]
    pub fn has_both(&self) -> bool {
        self.has_model() && !self.project.data.train.is_empty()
    }

    /// Whether a model is chosen.
    #[must_use]
    pub fn has_model(&self) -> bool {
        !self.project.model.path.is_empty()
    }

    /// The folder the engine reads: the project's own, or that of the draft.
    #[must_use]
    pub fn engine_folder(&self, draft: &Path) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| draft.to_path_buf())
    }

    /// What the data preview depends on; equal text, equal preview.
    #[must_use]
    pub fn data_fingerprint(&self) -> String {
        format!("{:?} {:?} {:?}", self.project.model.path, self.project.data, self.folder)
    }

    /// What gives the rows of the data their numbers and texts, however the model sees them.
    #[must_use]
    pub fn rows_fingerprint(&self) -> String {
        let Data { train, schema, columns, .. } = &self.project.data;
        let paths: Vec<String> = train.iter().map(|source| self.resolve(source.path())).collect();
        format!("{paths:?} {schema:?} {columns:?}")
    }

    /// What the pre-flight depends on.
    #[must_use]
    pub fn run_fingerprint(&self) -> String {
        let Project { method, train, keep, export, .. } = &self.project;
        format!("{} {:?} {method:?} {train:?} {keep:?} {export:?}", self.data_fingerprint(), self.project.model.base)
    }
}

/// The fingerprints of a draft as every frame asks for them: written again only when the draft has changed.
#[derive(Debug, Default)]
pub struct Fingerprints {
    of: Option<(Project, Option<PathBuf>)>,
    data: String,
    run: String,
}

impl Fingerprints {
    /// What data preview and pre-flight of `draft` depend on.
    pub fn of(&mut self, draft: &Draft) -> (&str, &str) {
        let same = |(project, folder): &(Project, _)| *project == draft.project && *folder == draft.folder;
        if !self.of.as_ref().is_some_and(same) {
            self.of = Some((draft.project.clone(), draft.folder.clone()));
            (self.data, self.run) = (draft.data_fingerprint(), draft.run_fingerprint());
        }
        (&self.data, &self.run)
    }
}

/// Another method in the project: settings that both know stay, and a learning rate that was the old one's usual becomes
/// the new one's.
pub fn switch_method(project: &mut Project, old: Option<&MethodCard>, new: &MethodCard) {
    let usual = old.map(|card| card.lr_peak);
    let knows = |key: &String| new.settings.iter().any(|setting| setting.key == *key);
    project.method.settings.0.retain(|key, _| knows(key));
    if usual.is_some_and(|usual| (usual - project.train.lr_peak).abs() < usual * 1e-6) {
        project.train.lr_peak = 0.0;
    }
    project.method.id.clone_from(&new.id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_steps(draft: &Draft, steps: u64) -> Project {
        let mut project = draft.project.clone();
        project.train.steps = steps;
        project
    }

    #[test]
    fn edits_of_one_field_are_taken_back_together() {
        let mut draft = Draft::default();
        let before = draft.project.clone();
        draft.edit("train.steps", with_steps(&draft, 2), 0.0);
        draft.edit("train.steps", with_steps(&draft, 20), 0.1);
        draft.edit("train.seed", with_steps(&draft, 30), 0.2);
        draft.undo(1.0);
        assert_eq!(draft.project.train.steps, 20);
        draft.undo(1.0);
        assert_eq!(draft.project, before);
        assert!(!draft.can_undo());
        draft.redo(1.0);
        assert_eq!(draft.project.train.steps, 20);
    }

    #[test]
    fn a_pause_ends_an_edit_and_some_are_never_joined() {
        let mut draft = Draft::default();
        // As a slider is dragged: longer than a pause in all, without one.
        for steps in 1..=30 {
            draft.edit("train.steps", with_steps(&draft, steps), steps as f64 * 0.2);
        }
        draft.edit("train.steps", with_steps(&draft, 40), 3600.0);
        draft.undo(3601.0);
        assert_eq!(draft.project.train.steps, 30, "what was done an hour ago is another edit");
        draft.undo(3602.0);
        assert!(!draft.can_undo());
        for key in ["", "method.targets!"] {
            let mut draft = Draft::default();
            draft.edit(key, with_steps(&draft, 1), 0.0);
            draft.edit(key, with_steps(&draft, 2), 0.1);
            draft.undo(0.2);
            assert_eq!(draft.project.train.steps, 1, "\"{key}\"");
        }
    }

    #[test]
    fn an_edit_that_changes_nothing_is_none() {
        let mut draft = Draft::default();
        assert_eq!(draft.edit("name", draft.project.clone(), 0.0), None);
        assert!(draft.is_saved());
        assert!(!draft.can_undo());
    }

    #[test]
    fn relative_paths_start_at_the_project() {
        let draft = Draft::opened(PathBuf::from("/p/tone"), Project::new("tone", "m.gguf", &[], "lora"));
        assert_eq!(draft.resolve("m.gguf"), "/p/tone/m.gguf");
        assert_eq!(draft.resolve("builtin:starter"), "builtin:starter");
        assert_eq!(draft.resolve("/abs/m.gguf"), "/abs/m.gguf");
    }

    #[test]
    fn rows_are_the_same_while_their_files_and_columns_are() {
        let data = ["/data/a.jsonl".to_owned(), "builtin:starter-data".to_owned()];
        let mut draft = Draft { project: Project::new("tone", "m.gguf", &data, "lora"), ..Draft::default() };
        let first = draft.rows_fingerprint();
        draft.project.data.max_tokens += 1;
        draft.project.data.validation = temper_protocol::project::Validation::Share(0.3);
        draft.project.model.path = "other.gguf".to_owned();
        draft.folder = Some(PathBuf::from("/p/tone"));
        assert_eq!(draft.rows_fingerprint(), first, "the model sees them otherwise, and they are the same");
        let mut other = draft.clone();
        other.project.data.schema = "text".to_owned();
        assert_ne!(other.rows_fingerprint(), first);
        other.clone_from(&draft);
        other.project.data.columns.insert("text".to_owned(), "reply".to_owned());
        assert_ne!(other.rows_fingerprint(), first);
        other.clone_from(&draft);
        other.project.data.train.reverse();
        assert_ne!(other.rows_fingerprint(), first, "row 1 is another one");
        draft.project.data.train = vec![temper_protocol::project::Source::Path("a.jsonl".to_owned())];
        let here = draft.rows_fingerprint();
        draft.folder = Some(PathBuf::from("/p/other"));
        assert_ne!(draft.rows_fingerprint(), here, "relative places are others there");
    }

    #[test]
    fn fingerprints_follow_the_draft() {
        let mut draft = Draft::opened(PathBuf::from("/p/tone"), Project::new("tone", "m.gguf", &[], "lora"));
        let mut kept = Fingerprints::default();
        let mut seen = |draft: &Draft| {
            let (data, run) = kept.of(draft);
            assert_eq!((data, run), (draft.data_fingerprint().as_str(), draft.run_fingerprint().as_str()));
            (data.to_owned(), run.to_owned())
        };
        let first = seen(&draft);
        assert_eq!(seen(&draft), first);
        draft.edit("train.steps", with_steps(&draft, 9), 0.0);
        let longer = seen(&draft);
        assert!(longer.0 == first.0 && longer.1 != first.1, "more steps: the same data, another run");
        draft.project.data.max_tokens += 1;
        let cut = seen(&draft);
        assert!(cut.0 != first.0 && cut.1 != longer.1, "other rows, without an edit being told");
        draft.folder = Some(PathBuf::from("/p/other"));
        assert_ne!(seen(&draft).0, cut.0, "relative places are others there");
    }
}
