//! `temper show`: one run with its figures, where its rank went, and its settings; reads the run store directly.

use crate::cli::drive::{print_json, print_line};
use crate::cli::runs::{duration, nats, project_folder, project_of_run, signed};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper_protocol::{Code, Problem, RunRef};
use temper_store::{RankRow, Reader, RunRow};

/// Layers that are named one by one.
const MOST_MOVED: usize = 12;

/// The project folder and the row of `run`: a number, `last`, or its folder.
///
/// # Errors
/// A problem when there is no such run.
pub(crate) fn found(run: &str, project: Option<&Path>) -> Result<(PathBuf, RunRow), Problem> {
    let (reference, _) = RunRef::parse(run);
    let folder = match &reference {
        RunRef::Path(path) => project_of_run(path)?,
        _ => project_folder(project.unwrap_or_else(|| Path::new(".")))?,
    };
    let rows = Reader::open(&folder)?.runs()?;
    let found = rows.into_iter().find(|row| match &reference {
        RunRef::Last => true,
        RunRef::Id(id) => row.run == *id,
        RunRef::Path(path) => row.folder.file_name() == path.file_name(),
    });
    let row = found.ok_or_else(|| {
        Problem::new(
            Code::NotFound,
            format!("there is no run {run}"),
            folder.display().to_string(),
            "list the runs with: temper runs PROJECT",
        )
    })?;
    Ok((folder, row))
}

/// Prints one run with its settings.
///
/// # Errors
/// A problem when there is no such run.
pub(crate) fn show(json: bool, run: &str, project: Option<&Path>) -> Result<bool, Problem> {
    let (folder, row) = found(run, project)?;
    let reader = Reader::open(&folder)?;
    if json {
        print_json(&row.to_event());
        return Ok(true);
    }
    print_line(&format!("run {}: {} ({})", row.run, row.status, row.method));
    print_line(&format!("  folder            {}", row.folder.display()));
    print_line(&format!("  steps             {} of {}, best at {}", row.steps, row.max_steps, row.best_step));
    print_line(&format!(
        "  validation loss   {} before, {} best, {} at the end (nats per trained token)",
        nats(row.base_loss),
        nats(row.best_loss),
        nats(row.final_loss)
    ));
    print_line(&format!("  forgetting        {} nats (worst kept set minus base)", signed(row.forgetting)));
    print_line(&format!("  parameters        {} trained of {}", row.trained_parameters, row.model_parameters));
    print_line(&format!(
        "  speed, memory     {:.0} tokens/s, peak {:.0} MiB, {}",
        row.tokens_per_sec,
        row.peak_rss_mib,
        duration(row.wall_secs)
    ));
    if let Some(adapter) = &row.adapter {
        print_line(&format!("  result            {}", adapter.display()));
    }
    if let Some(problem) = &row.problem {
        print_line(&format!("  ended by          {problem}"));
    }
    ranks(&reader, row.run)?;
    attention(&reader, row.run)?;
    experts(&reader, row.run)?;
    print_line("  settings as started:");
    for line in row.settings_toml.lines() {
        print_line(&format!("    {line}"));
    }
    Ok(true)
}

/// Prints where the rank went: of layers whose rank in use has changed the first and the last, of others how many there
/// are of each rank.
fn ranks(reader: &Reader, run: u64) -> Result<(), Problem> {
    let steps = reader.rank_steps(run)?;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Ok(()) };
    let (before, after) = (reader.rank_at(run, *first)?, reader.rank_at(run, *last)?);
    let (moved, resting) = moves(&before, &after);
    let counts: Vec<String> = resting.iter().map(|(rank, count)| format!("{rank} in {count}")).collect();
    if !counts.is_empty() {
        print_line(&format!("  rank              {} layers, unchanged since step {first}", counts.join(", ")));
    }
    for line in moved.iter().take(MOST_MOVED) {
        print_line(&format!("  rank moved        {line}"));
    }
    if moved.len() > MOST_MOVED {
        print_line(&format!("  rank moved        {} more", moved.len() - MOST_MOVED));
    }
    Ok(())
}

/// The layers whose rank is another now, in words, largest move first; and how many others there are of each rank.
fn moves(before: &[RankRow], after: &[RankRow]) -> (Vec<String>, BTreeMap<u64, usize>) {
    let earlier: BTreeMap<&str, u64> = before.iter().map(|row| (row.site.as_str(), row.rank)).collect();
    let mut moved: Vec<(u64, String)> = Vec::new();
    let mut resting = BTreeMap::new();
    for row in after {
        match earlier.get(row.site.as_str()) {
            Some(rank) if *rank != row.rank => {
                moved.push((rank.abs_diff(row.rank), format!("{} {rank} -> {}", row.site, row.rank)));
            }
            _ => *resting.entry(row.rank).or_insert(0) += 1,
        }
    }
    moved.sort_by_key(|(by, _)| std::cmp::Reverse(*by));
    (moved.into_iter().map(|(_, line)| line).collect(), resting)
}

/// Prints the block whose attention compares the largest entries beside the base's.
fn attention(reader: &Reader, run: u64) -> Result<(), Problem> {
    let series = reader.series_names(run)?;
    let last: BTreeMap<&str, f64> = series.iter().map(|series| (series.name.as_str(), series.last)).collect();
    let growth = |name: &&str| -> Option<(String, f64, f64)> {
        let block = name.strip_prefix("attention/")?.strip_suffix("/ratio")?;
        let (ratio, base) = (last.get(name)?, last.get(format!("attention/{block}/base_ratio").as_str())?);
        (*base > 0.0).then(|| (block.to_owned(), *ratio, *base))
    };
    let worst = last.keys().filter_map(growth).max_by(|one, other| (one.1 / one.2).total_cmp(&(other.1 / other.2)));
    if let Some((block, ratio, base)) = worst {
        print_line(&format!(
            "  attention         largest entry over √ln(length) {ratio:.2}, {base:.2} in the base ({block}, of all blocks the one \
             that grew most)"
        ));
    }
    Ok(())
}

/// Prints what routers did, where there are some: how many experts hardly answer, and the busiest of all.
fn experts(reader: &Reader, run: u64) -> Result<(), Problem> {
    let series = reader.series_names(run)?;
    let last: Vec<(&str, f64)> = series.iter().map(|series| (series.name.as_str(), series.last)).collect();
    if let Some(line) = routers(&last) {
        print_line(&format!("  experts           {line}"));
    }
    Ok(())
}

/// One line about the last values of series of experts; none where there are none.
fn routers(last: &[(&str, f64)]) -> Option<String> {
    let mut loads: Vec<(&str, &str, f64)> = Vec::new();
    for (name, value) in last {
        if let Some((site, expert)) = name.strip_prefix("experts/").and_then(|rest| rest.split_once("/load/")) {
            loads.push((site, expert, *value));
        }
    }
    let (site, expert, load) = loads.iter().max_by(|one, other| one.2.total_cmp(&other.2))?;
    let dead: f64 = last
        .iter()
        .filter(|(name, _)| name.starts_with("experts/") && name.ends_with("/dead"))
        .map(|(_, dead)| dead)
        .sum();
    Some(format!(
        "{dead:.0} of {} hardly answer; the busiest, {expert} of {site}, takes {:.0} % of its router's choices",
        loads.len(),
        100.0 * load
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_whose_rank_moved_are_named_and_the_others_counted() {
        let row = |site: &str, rank| RankRow {
            step: 1,
            site: site.to_owned(),
            rank,
            effective_rank: 1.0,
            energy: 0.0,
            spectrum: Vec::new(),
        };
        let before = [row("a", 8), row("b", 8), row("c", 8), row("d", 8)];
        let after = [row("a", 8), row("b", 2), row("c", 10), row("e", 4)];
        let (moved, resting) = moves(&before, &after);
        assert_eq!(moved, ["b 8 -> 2", "c 8 -> 10"]);
        assert_eq!(resting, BTreeMap::from([(4, 1), (8, 1)]));
    }

    #[test]
    fn experts_are_counted_and_the_busiest_is_named() {
        assert_eq!(routers(&[("loss/validation", 1.0), ("attention/layers.0/ratio", 2.0)]), None);
        let last = [
            ("experts/layers.0.attn.q/load/0", 0.25),
            ("experts/layers.0.attn.q/load/1", 0.75),
            ("experts/layers.0.attn.q/dead", 0.0),
            ("experts/layers.1.attn.q/load/0", 0.99),
            ("experts/layers.1.attn.q/load/1", 0.01),
            ("experts/layers.1.attn.q/dead", 1.0),
        ];
        let line = routers(&last).unwrap();
        assert!(line.starts_with("1 of 4") && line.contains("0 of layers.1.attn.q, takes 99 %"), "{line}");
    }
}
