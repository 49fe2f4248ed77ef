//! What a certificate compares over: windows of text and prompts.
//!
//! Place in the data flow: `export` and `verify` make them from the run's kept sets, its own data (where the
//! change is largest) and its sample prompts; the bundled probe sets stand in for what a project does not
//! name.

use crate::builtin::Builtins;
use crate::names;
use std::path::{Path, PathBuf};
use temper_data::{ProbeSet, TextCodec};
use temper_export::Cases;
use temper_models::Model;
use temper_protocol::{Problem, Project, named};

/// Windows of each set.
const WINDOWS: usize = 2;
/// Tokens of a window.
const WIDTH: usize = 64;
/// Prompts continued greedily.
const PROMPTS: usize = 6;
/// Questions asked as a chat program asks them, where the project names too few prompts: their answers are short enough to
/// come to an end, which the beginning of a text seldom does.
const QUESTIONS: [&str; 2] = ["What is the capital of France?", "Is ice cold? Answer with one word."];
/// Tokens at the beginning of a window that make a prompt.
const PROMPT_TOKENS: usize = 24;

/// The cases of a result. `project` is the frozen project of its run, with the folder its paths start from.
pub(super) fn cases(
    builtins: &Builtins,
    project: Option<(&Project, &Path)>,
    model: &Model,
    codec: &TextCodec,
) -> Result<Cases, Problem> {
    let mut sets: Vec<(String, PathBuf)> = Vec::new();
    let mut prompts: Vec<String> = Vec::new();
    if let Some((project, folder)) = project {
        sets = names::probe_paths(builtins, &project.keep.probes, folder)?;
        if let Some(source) = project.data.train.first() {
            sets.push(("data".to_owned(), names::data_path(builtins, source.path(), folder)?));
        }
        prompts.clone_from(&project.samples.prompts);
    }
    if sets.len() < 2 {
        sets.extend(names::probe_paths(builtins, &named::KEPT.map(str::to_owned), Path::new(""))?);
    }
    let room = model.config.context();
    let width = WIDTH.min(room.saturating_sub(temper_export::GREEDY_TOKENS)).max(2);
    let mut cases = Cases::default();
    let fits = |ids: &Vec<u32>| !ids.is_empty() && ids.len() + temper_export::GREEDY_TOKENS <= room;
    for prompt in prompts.iter().take(PROMPTS / 2) {
        cases.prompts.extend(Some(codec.encode_prompt(prompt, true)?).filter(fits));
    }
    for question in QUESTIONS.iter().skip(prompts.len()) {
        // A template that takes no lone question is asked nothing.
        cases.prompts.extend(codec.encode_prompt(question, true).ok().filter(fits));
    }
    for (name, path) in sets {
        let set = match ProbeSet::load(&path, codec, WINDOWS, width) {
            Ok(set) => set,
            // Data that trains well may be too short for a window; others are there to compare over.
            Err(error) => {
                tracing::info!(%error, set = name, "not compared over");
                continue;
            }
        };
        if cases.prompts.len() < PROMPTS
            && let Some(window) = set.windows.first()
        {
            cases.prompts.push(window.iter().take(PROMPT_TOKENS).copied().collect());
        }
        cases.windows.extend(set.windows.into_iter().map(|window| (name.clone(), window)));
    }
    Ok(cases)
}
