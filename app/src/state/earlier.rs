//! What earlier runs of the project were trained on: material that a model which learns the next thing may want to keep.

use super::State;
use temper_protocol::named;

/// Data of a run that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierTask {
    /// The newest run that was trained on it.
    pub run: u64,
    /// The file as the run's project names it.
    pub path: String,
}

/// Most that are offered, newest first.
const MOST: usize = 4;

/// Paths in a list of sources as a project file says it: `["a.jsonl", { path = "b.jsonl", weight = 2.0 }]`.
fn paths(sources: &str) -> Vec<String> {
    let Ok(table) = format!("sources = {sources}").parse::<toml::Table>() else { return Vec::new() };
    let Some(toml::Value::Array(sources)) = table.get("sources") else { return Vec::new() };
    let path = |source: &toml::Value| match source {
        toml::Value::String(path) => Some(path.clone()),
        toml::Value::Table(source) => source.get("path")?.as_str().map(str::to_owned),
        _ => None,
    };
    sources.iter().filter_map(path).collect()
}

/// Files that runs of this project learnt from, which the form neither trains on nor keeps now.
#[must_use]
pub fn earlier_tasks(state: &State) -> Vec<EarlierTask> {
    let project = &state.draft.project;
    let mut lists: Vec<&str> = Vec::new();
    let mut found: Vec<EarlierTask> = Vec::new();
    let mut over: Vec<u64> = state.runs.runs.iter().filter(|row| !row.is_active()).map(|row| row.run).collect();
    over.sort_unstable_by(|a, b| b.cmp(a));
    for run in over {
        let Some(list) = state.run_setting(run, "data.train") else { continue };
        // Most runs of a project have the same data: a list is read once.
        if lists.contains(&list) {
            continue;
        }
        lists.push(list);
        for path in paths(list) {
            let here = state.draft.resolve(&path);
            let trained = project.data.train.iter().any(|source| state.draft.resolve(source.path()) == here);
            let kept = project.keep.probes.iter().any(|probe| state.draft.resolve(probe) == here);
            let known = found.iter().any(|task| state.draft.resolve(&task.path) == here);
            // Bundled data are sets of their own.
            if !trained && !kept && !known && named::builtin(&path).is_none() {
                found.push(EarlierTask { run, path });
            }
        }
    }
    found.truncate(MOST);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_sources_is_read_with_and_without_weights() {
        assert_eq!(paths("[\"a.jsonl\", { path = \"b.jsonl\", weight = 2.0 }]"), ["a.jsonl", "b.jsonl"]);
        assert!(paths("\"a.jsonl\"").is_empty());
        assert!(paths("[").is_empty());
    }
}
