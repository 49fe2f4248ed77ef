//! Commands that write results: exports, certificates, tables, and the equal command line.

use super::support::Leaving;
use crate::app::App;
use crate::commands::UiCommand;
use crate::format;
use crate::reader::compared::flatten;
use crate::reader::words::sentence_case;
use crate::state::export::{Exporting, TARGETS, TargetKind};
use crate::state::{Ask, Sheet, State};
use std::path::PathBuf;
use temper_protocol::command::ExportSource;
use temper_protocol::project::Source;
use temper_protocol::{Command, Event, ExportFormat, Project, RunRef, project_file};

impl App {
    /// Carries out what concerns files that leave the window.
    pub(super) fn perform_export(&mut self, command: UiCommand) {
        match command {
            UiCommand::ExportRun(run) => {
                self.state.export.run = Some(run);
                self.state.export.adapter = None;
                self.state.export.out = None;
            }
            UiCommand::ExportTarget(target) => {
                self.state.export.target = target;
                self.state.export.out = None;
            }
            UiCommand::ExportOut(out) => self.state.export.out = out,
            UiCommand::Export => self.export(),
            UiCommand::WriteAgain(certificate) => {
                let Some(target) = certificate.target_index() else { return };
                self.state.export.run = certificate.run.or(self.state.export.run);
                self.state.export.adapter.clone_from(&certificate.adapter);
                self.state.export.target = target;
                self.state.export.out = Some(certificate.place().display().to_string());
                self.export();
            }
            UiCommand::Verify(path) => {
                self.state.export.problem = None;
                let project = self.state.draft.folder.clone();
                self.ask(Command::Verify { project, path: path.clone(), against: None }, Ask::Verify(path));
            }
            UiCommand::ShowSupport => self.state.sheet = Some(Sheet::Support),
            UiCommand::ShowCommand => {
                self.state.sheet = Some(Sheet::Text {
                    title: t!("sheets-command").to_owned(),
                    note: t!("sheets-command-note").to_owned(),
                    text: command_line(&self.state),
                });
            }
            UiCommand::ShowProjectFile => {
                let text = project_file::to_text(&self.state.draft.project).unwrap_or_else(|problem| problem.what);
                let place = match &self.state.draft.folder {
                    Some(folder) => folder.join(project_file::FILE_NAME).display().to_string(),
                    None => t!("sheets-file-unsaved").to_owned(),
                };
                self.state.sheet = Some(Sheet::Text { title: t!("sheets-file").to_owned(), note: place, text });
            }
            _ => {}
        }
    }

    fn export(&mut self) {
        if self.state.rehousing {
            // The engine would write to where the project no longer is.
            self.notice(sentence_case(t!("rehouse-going")));
            return;
        }
        let Some(source) = export_source(&self.state) else { return };
        let Some(target) = TARGETS.get(self.state.export.target) else { return };
        let out = export_out(&self.state);
        let asked = Exporting {
            project: self.state.draft.folder.clone(),
            target: self.state.export.target,
            run: super::export_run(&self.state).map(|row| row.run),
            adapter: self.state.export.adapter.clone(),
        };
        let command = Command::Export {
            project: asked.project.clone(),
            source,
            format: target.format,
            dtype: target.dtype,
            out,
            card: super::card_text(&self.state),
        };
        self.state.export.problem = None;
        self.ask(command, Ask::Export(asked));
    }
}

/// What the engine is told to export: the run, or the adapter folder and its base.
fn export_source(state: &State) -> Option<ExportSource> {
    if state.export.adapter.is_some() {
        let path = PathBuf::from(super::bare_path(state)?);
        return Some(ExportSource::Adapter { path, model: super::bare_base(state)? });
    }
    Some(ExportSource::Run { run: RunRef::Id(super::export_run(state)?.run), step: None })
}

/// Method of what is exported, and its model as the engine is asked about it.
fn method_and_model(state: &State) -> Option<(&str, String)> {
    if state.export.adapter.is_some() {
        let Some(Event::Adapter { method, .. }) = super::bare_facts(state) else { return None };
        return Some((method.as_str(), super::bare_base(state).unwrap_or_default()));
    }
    let row = super::export_run(state)?;
    Some((row.method.as_str(), state.model_of(row.run)))
}

/// Why `target` cannot be written from what is exported; nothing when it can.
#[must_use]
pub fn target_hindrance(state: &State, target: &TargetKind) -> Option<String> {
    if state.export.adapter.is_some() && target.format == ExportFormat::Capsule {
        return Some(t!("export-capsule-of-run").to_owned());
    }
    let (method, model) = method_and_model(state)?;
    Leaving::of(state, method, &model).hindrance(target)
}

/// Targets that the table lists, by their places in [`TARGETS`]: two of them only where they mean something. A merged file
/// in the types of its base needs a GGUF base; the program's own folder is for methods that no other format holds.
#[must_use]
pub fn offered_targets(state: &State) -> Vec<usize> {
    let gguf = matches!(super::export_base(state), Some(Event::Model { format, .. }) if format == "gguf");
    let means = |target: &TargetKind| match target.format {
        ExportFormat::Gguf if target.dtype.is_none() => gguf,
        ExportFormat::Native => target_hindrance(state, target).is_none(),
        _ => true,
    };
    let listed = |entry: &(usize, &TargetKind)| entry.0 == state.export.target || means(entry.1);
    TARGETS.iter().enumerate().filter(listed).map(|(index, _)| index).collect()
}

/// Where the chosen export goes: as typed, or `exports/NAME-runN-FORMAT` in the project folder (`NAME-runN.capsule`); of an
/// adapter folder `exports/FOLDER-FORMAT`.
#[must_use]
pub fn export_out(state: &State) -> PathBuf {
    if let Some(out) = &state.export.out {
        return PathBuf::from(out);
    }
    let folder = state.draft.folder.clone().unwrap_or_else(|| state.places.projects.clone());
    let Some(target) = TARGETS.get(state.export.target) else { return folder };
    let name = match &state.export.adapter {
        Some(bare) if bare.path.is_empty() => "adapter".to_owned(),
        Some(bare) => format::file_name(&bare.path).to_owned(),
        None => {
            let name = if state.draft.project.name.is_empty() { "model" } else { &state.draft.project.name };
            format!("{name}-run{}", super::export_run(state).map_or(0, |row| row.run))
        }
    };
    folder.join("exports").join(format!("{name}{}", target.ending()))
}

/// A path as a shell reads it.
fn quoted(path: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-:+@,=".contains(letter);
    if !path.is_empty() && path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

/// The command line that does the same as the Train button.
#[must_use]
pub fn command_line(state: &State) -> String {
    let draft = &state.draft;
    match &draft.folder {
        Some(folder) => format!("temper train {}", quoted(&folder.display().to_string())),
        None => {
            let folder = state.places.projects.join(&draft.project.name).display().to_string();
            let mut text = format!("temper new {} \\\n", quoted(&folder));
            text.push_str(&format!("    --model {} \\\n", quoted(&draft.project.model.path)));
            for source in &draft.project.data.train {
                text.push_str(&format!("    --data {} \\\n", quoted(source.path())));
            }
            text.push_str(&format!("    --method {}\n", quoted(&draft.project.method.id)));
            text.push_str(&format!("temper train {}", quoted(&folder)));
            for (key, value) in differing(&draft.project) {
                text.push_str(&format!(" \\\n    --set {}", quoted(&format!("{key}={value}"))));
            }
            text
        }
    }
}

/// Settings that `temper new` would write otherwise, as dotted keys with the values that `--set` takes.
fn differing(project: &Project) -> Vec<(String, String)> {
    let data: Vec<String> = project.data.train.iter().map(|source| source.path().to_owned()).collect();
    let flat = |project: &Project| flatten(&project_file::to_text(project).unwrap_or_default());
    let usual = flat(&Project::new(&project.name, &project.model.path, &data, &project.method.id));
    let plain = project.data.train.iter().all(|source| matches!(source, Source::Path(_)));
    let is_said = |key: &str| match key {
        "model.path" | "method.id" => true,
        "data.train" => plain,
        // 0 is what the method usually takes, and that is what `temper new` writes.
        "train.lr_peak" => project.train.lr_peak == 0.0,
        _ => false,
    };
    // A rate that was chosen is said in any case: what `temper new` writes depends on the method.
    let differs = |pair: &(String, String)| pair.0 == "train.lr_peak" || !usual.contains(pair);
    flat(project).into_iter().filter(|pair| !is_said(&pair.0) && differs(pair)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_what_differs_from_a_new_project() {
        let mut project = Project::new("tone", "m.gguf", &["d.jsonl".to_owned()], "lora");
        project.train.lr_peak = 0.0;
        assert!(differing(&project).is_empty(), "{:?}", differing(&project));
        project.train.steps = 24;
        project.samples.prompts = vec!["What is AI?".to_owned()];
        let said = differing(&project);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said.contains(&("train.steps".to_owned(), "24".to_owned())), "{said:?}");
        let set = [said[0].clone(), said[1].clone()];
        let read = project_file::parse_with(
            &project_file::to_text(&Project::new("tone", "m.gguf", &["d.jsonl".to_owned()], "lora")).expect("text"),
            std::path::Path::new("project.toml"),
            &set,
        );
        let read = read.expect("a project");
        assert_eq!((read.train.steps, read.samples.prompts), (24, project.samples.prompts));
    }

    #[test]
    fn paths_with_spaces_are_quoted() {
        assert_eq!(quoted("/a/b.gguf"), "/a/b.gguf");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
