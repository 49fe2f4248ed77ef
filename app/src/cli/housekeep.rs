//! `temper runs`: what can be asked about the runs of a project, and what is done with them.

use clap::Args;
use std::path::PathBuf;
use temper_protocol::housekeeping::{DiskUse, Housekeeping, LabelChange};

/// What `runs` takes.
#[derive(Debug, Args)]
pub(crate) struct RunsArgs {
    /// Project folder or its project.toml
    pub(crate) project: PathBuf,
    /// Replace a damaged run database by a new one: the damaged file is kept, and runs are listed from what can
    /// be read of it and from their folders
    #[arg(long, group = "order")]
    pub(crate) repair: bool,
    /// List the runs in the trash
    #[arg(long, group = "order")]
    pub(crate) trashed: bool,
    /// What each run takes on the disk
    #[arg(long, group = "order")]
    disk: bool,
    /// Move runs to the trash of the project; nothing is deleted
    #[arg(long, value_name = "RUN", value_delimiter = ',', group = "order")]
    trash: Vec<u64>,
    /// Move runs back out of the trash
    #[arg(long, value_name = "RUN", value_delimiter = ',', group = "order")]
    restore: Vec<u64>,
    /// Delete for good what lies in the trash
    #[arg(long, group = "order")]
    empty_trash: bool,
    /// Delete all checkpoints of these runs but the best and the newest
    #[arg(long, value_name = "RUN", value_delimiter = ',', group = "order")]
    prune: Vec<u64>,
    /// The same for every run that is over
    #[arg(long, group = "order")]
    prune_all: bool,
    /// The run that --name, --note, --tags, --star and --unstar are about
    #[arg(long, value_name = "RUN", conflicts_with = "order")]
    run: Option<u64>,
    /// Call it something; "" takes the name away
    #[arg(long, requires = "run")]
    name: Option<String>,
    /// Note something about it; "" takes the note away
    #[arg(long, value_name = "TEXT", requires = "run")]
    note: Option<String>,
    /// Its tags, instead of those it has; "" takes all away
    #[arg(long, value_name = "TAG", value_delimiter = ',', requires = "run")]
    tags: Option<Vec<String>>,
    /// Mark it
    #[arg(long, requires = "run", conflicts_with = "unstar")]
    star: bool,
    /// Take the mark away
    #[arg(long, requires = "run")]
    unstar: bool,
}

impl RunsArgs {
    /// What is to be done; nothing when the runs are only listed.
    pub(crate) fn order(&self) -> Option<Housekeeping> {
        if let Some(run) = self.run {
            let starred = (self.star || self.unstar).then_some(self.star);
            let (name, note, tags) = (self.name.clone(), self.note.clone(), self.tags.clone());
            return Some(Housekeeping::Label { run, change: LabelChange { name, note, tags, starred } });
        }
        if self.disk {
            Some(Housekeeping::Disk {})
        } else if self.empty_trash {
            Some(Housekeeping::EmptyTrash {})
        } else if self.prune_all || !self.prune.is_empty() {
            Some(Housekeeping::Prune { runs: self.prune.clone() })
        } else if !self.trash.is_empty() {
            Some(Housekeeping::Trash { runs: self.trash.clone() })
        } else if !self.restore.is_empty() {
            Some(Housekeeping::Restore { runs: self.restore.clone() })
        } else {
            None
        }
    }
}

/// A run's part of the disk in a line.
pub(crate) fn disk_line(of: &DiskUse) -> String {
    let mib = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
    let DiskUse { run, bytes, checkpoints, checkpoint_bytes, freed_bytes } = of;
    let mut line =
        format!("run {run}: {:.1} MiB, of it {checkpoints} checkpoints {:.1} MiB", mib(*bytes), mib(*checkpoint_bytes));
    if *freed_bytes > 0 {
        line.push_str(&format!("; {:.1} MiB made free", mib(*freed_bytes)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        runs: RunsArgs,
    }

    fn order(words: &[&str]) -> Result<Option<Housekeeping>, clap::Error> {
        let line = ["runs", "p"].iter().chain(words);
        Line::try_parse_from(line).map(|line| line.runs.order())
    }

    #[test]
    fn words_become_orders() {
        assert_eq!(order(&[]).expect("parses"), None);
        let trash = order(&["--trash", "3,4"]).expect("parses");
        assert_eq!(trash, Some(Housekeeping::Trash { runs: vec![3, 4] }));
        assert_eq!(order(&["--prune-all"]).expect("parses"), Some(Housekeeping::Prune { runs: Vec::new() }));
        let label = order(&["--run", "2", "--name", "short answers", "--tags", "", "--unstar"]).expect("parses");
        let change = LabelChange {
            name: Some("short answers".to_owned()),
            note: None,
            tags: Some(vec![String::new()]),
            starred: Some(false),
        };
        assert_eq!(label, Some(Housekeeping::Label { run: 2, change }));
    }

    #[test]
    fn a_name_needs_its_run_and_one_thing_is_done_at_a_time() {
        assert!(order(&["--name", "x"]).is_err());
        assert!(order(&["--trash", "1", "--restore", "2"]).is_err());
        assert!(order(&["--run", "1", "--star", "--trash", "1"]).is_err());
    }

    #[test]
    fn a_line_says_what_became_free() {
        let of = DiskUse { run: 3, bytes: 3 << 20, checkpoints: 2, checkpoint_bytes: 2 << 20, freed_bytes: 0 };
        assert_eq!(disk_line(&of), "run 3: 3.0 MiB, of it 2 checkpoints 2.0 MiB");
        assert!(disk_line(&DiskUse { freed_bytes: 1 << 19, ..of }).ends_with("; 0.5 MiB made free"));
    }
}
