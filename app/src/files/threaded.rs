//! The thread that does jobs for the window.
//!
//! Place in the data flow: [`Job`]s wait in a short queue, so that a disk that stands still is noticed; what is to be saved
//! is kept beside it when it is full, the newest of each file, and goes first as soon as there is room.

use super::{Backstage, Done, Job, Places, perform};
use crate::client::Wake;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use temper_protocol::{Code, Problem};

/// Jobs that wait at most, and answers.
const QUEUE: usize = 64;

/// How long the end of the program waits for the disk.
const PATIENCE: Duration = Duration::from_secs(10);
/// Distance of two looks for room in the queue meanwhile.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Does jobs on a thread.
pub struct Threaded {
    /// Nothing once it is to end.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    /// What is to be saved and found no room.
    kept: VecDeque<Job>,
    refused: Vec<Done>,
}

impl Threaded {
    /// Starts the thread; it ends when this is dropped, and everything that was sent was done.
    ///
    /// # Errors
    /// A [`Problem`] when the system gives no thread.
    pub fn start(places: Places, wake: Wake) -> Result<Self, Problem> {
        let (jobs, waiting) = sync_channel::<Job>(QUEUE);
        let (answers, done) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("files".to_owned())
            .spawn(move || {
                while let Ok(job) = waiting.recv() {
                    if let Some(answer) = perform(&places, job)
                        && answers.send(answer).is_err()
                    {
                        return;
                    }
                    // The window looks at what is done, and sends what was kept.
                    wake();
                }
            })
            .map_err(|error| Problem::internal(t!("problem-files-thread", error = error.to_string())))?;
        Ok(Self { jobs: Some(jobs), done, kept: VecDeque::new(), refused: Vec::new() })
    }

    /// Hands over what was kept, as far as there is room: before anything that was asked for later.
    fn send_kept(&mut self) {
        while let Some(job) = self.kept.pop_front() {
            if !self.try_send(job) {
                return;
            }
        }
    }

    /// Hands a job over; `false` when it is kept until there is room.
    fn try_send(&mut self, job: Job) -> bool {
        let sent = match &self.jobs {
            Some(jobs) => jobs.try_send(job),
            None => Err(TrySendError::Disconnected(job)),
        };
        match sent {
            Ok(()) => true,
            Err(TrySendError::Full(job)) if saves(&job).is_some() => {
                self.kept.push_front(job);
                false
            }
            Err(TrySendError::Full(job)) => {
                self.refuse_busy(&job);
                true
            }
            Err(TrySendError::Disconnected(job)) => {
                self.refused.push(refused(&job, Problem::internal(t!("problem-files-ended"))));
                true
            }
        }
    }

    fn refuse_busy(&mut self, job: &Job) {
        let problem = Problem::new(Code::Busy, t!("problem-disk-slow"), "", t!("problem-wait"));
        self.refused.push(refused(job, problem));
    }
}

impl Backstage for Threaded {
    fn send(&mut self, job: Job) {
        self.send_kept();
        if self.kept.is_empty() {
            self.try_send(job);
        } else if let Some(target) = saves(&job) {
            // The latest is the one that counts.
            self.kept.retain(|kept| saves(kept) != Some(target));
            self.kept.push_back(job);
        } else {
            // Done before what is kept, it could move a project away under it.
            self.refuse_busy(&job);
        }
    }

    fn drain(&mut self, into: &mut Vec<Done>) {
        into.extend(self.done.try_iter());
        self.send_kept();
        into.append(&mut self.refused);
    }
}

impl Drop for Threaded {
    /// What is to be saved is on disk before the program ends, unless the disk takes longer than anybody waits.
    fn drop(&mut self) {
        let begin = Instant::now();
        let left = || PATIENCE.saturating_sub(begin.elapsed());
        self.send_kept();
        while !self.kept.is_empty() && !left().is_zero() {
            // Room comes with the next answer, or without one.
            drop(self.done.recv_timeout(left().min(BETWEEN_LOOKS)));
            self.send_kept();
        }
        self.jobs = None;
        while self.done.recv_timeout(left()).is_ok() {}
    }
}

/// What a job writes that a later one of its kind writes anew; nothing for other jobs.
fn saves(job: &Job) -> Option<&Path> {
    match job {
        Job::SaveSettings(_) => Some(Path::new("")),
        Job::Save { folder, .. } => Some(folder),
        Job::SaveCompare { path, .. } | Job::SaveLayout { path, .. } => Some(path),
        _ => None,
    }
}

/// The answer to a job that nobody does: whoever waits for a certain answer gets that one.
fn refused(job: &Job, problem: Problem) -> Done {
    match job {
        Job::Save { folder, revision, .. } => Done::NotSaved { folder: folder.clone(), revision: *revision, problem },
        Job::Rehouse { .. } => Done::NotRehoused(problem),
        _ => Done::Failed(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use temper_protocol::Project;

    fn save(folder: &str, revision: u64) -> Job {
        let project = Box::new(Project::new("tone", "builtin:starter", &[], "lora"));
        Job::Save { folder: PathBuf::from(folder), project, revision, is_new: false }
    }

    fn rehouse() -> Job {
        Job::Rehouse { from: PathBuf::from("tone"), to: PathBuf::from("calm"), moves: true, with_runs: true }
    }

    #[test]
    fn who_waits_for_an_answer_gets_it_from_a_thread_that_is_gone_too() {
        let (jobs, gone) = sync_channel(1);
        let (_answers, done) = sync_channel(1);
        drop(gone);
        let mut files = Threaded { jobs: Some(jobs), done, kept: VecDeque::new(), refused: Vec::new() };
        files.send(rehouse());
        files.send(save("tone", 3));
        files.send(Job::LoadLayout(PathBuf::from("tone")));
        let mut told = Vec::new();
        files.drain(&mut told);
        assert!(
            matches!(told.as_slice(), [Done::NotRehoused(_), Done::NotSaved { revision: 3, .. }, Done::Failed(_)]),
            "{told:?}"
        );
    }

    #[test]
    fn what_is_to_be_saved_is_kept_while_the_queue_is_full_and_the_latest_goes_first() {
        let (jobs, waiting) = sync_channel(1);
        let (_answers, done) = sync_channel(1);
        let mut files = Threaded { jobs: Some(jobs), done, kept: VecDeque::new(), refused: Vec::new() };
        let layout = Job::SaveLayout { path: PathBuf::from("tone/layout.json"), text: "{}".to_owned() };
        for job in [save("tone", 1), save("tone", 2), layout.clone(), save("calm", 1), save("tone", 3), rehouse()] {
            files.send(job);
        }
        let mut told = Vec::new();
        files.drain(&mut told);
        assert!(matches!(told.as_slice(), [Done::NotRehoused(_)]), "it would overtake what is kept: {told:?}");
        let mut done = Vec::new();
        while let Ok(job) = waiting.try_recv() {
            done.push(job);
            files.drain(&mut told);
        }
        assert_eq!(done, [save("tone", 1), layout, save("calm", 1), save("tone", 3)]);
        assert_eq!(told.len(), 1, "nothing that was kept is said to have failed");
        files.send(rehouse());
        assert_eq!(waiting.try_recv(), Ok(rehouse()), "there is room again");
    }

    #[test]
    fn what_was_sent_is_on_disk_when_the_program_ends() {
        let root = tempfile::tempdir().expect("temporary folder");
        let wake: Wake = std::sync::Arc::new(|| {});
        let mut files = Threaded::start(super::super::tests::places(root.path()), wake).expect("a thread");
        let path = |index: usize| root.path().join(format!("{index}.txt"));
        for index in 0..20 {
            files.send(Job::WriteText { path: path(index), text: "whole".to_owned() });
        }
        let folder = root.path().join("tone");
        files.send(save(&folder.display().to_string(), 1));
        drop(files);
        assert!((0..20).all(|index| path(index).is_file()) && folder.join("project.toml").is_file());
    }
}
