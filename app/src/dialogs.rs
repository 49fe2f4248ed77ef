//! File dialogs of the system and its file manager, opened without ever blocking a frame.
//!
//! Place in the data flow: the window asks a [`Picker`] from the UI thread (macOS demands it), the answer
//! comes back through a bounded channel and the window is woken. On a Linux machine without a desktop
//! portal the dialog answers at once with nothing; the window then offers its own path field and says why.

use crate::client::Wake;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::{Context, Poll, Wake as TaskWake, Waker};
use std::time::{Duration, Instant};

/// An answer faster than a person can give means that there is no dialog.
const TOO_FAST: Duration = Duration::from_millis(200);

/// What a dialog asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// One or more files.
    Files,
    /// A folder.
    Folder,
}

/// What a dialog answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Picked {
    /// Paths; empty when the person cancelled.
    Paths(Vec<PathBuf>),
    /// This system offers no dialog.
    Unavailable,
    /// No file manager shows this folder.
    NotShown(PathBuf),
}

/// Opens dialogs, and folders in the file manager.
pub trait Picker {
    /// Opens a dialog; call from the UI thread.
    fn pick(&mut self, what: Pick, title: &str);
    /// Shows a folder in the file manager; there is an answer only when none does.
    fn show_folder(&mut self, folder: &Path);
    /// The answer, once it is there.
    fn poll(&mut self) -> Option<Picked>;
}

/// Dialogs of the system.
pub struct SystemPicker {
    answers: Receiver<Picked>,
    sender: SyncSender<Picked>,
    wake: Wake,
}

impl SystemPicker {
    /// A picker that wakes the window with `wake` when an answer is there.
    #[must_use]
    pub fn new(wake: Wake) -> Self {
        let (sender, answers) = sync_channel(4);
        Self { answers, sender, wake }
    }

    fn answer<F>(&self, dialog: F)
    where
        F: Future<Output = Option<Vec<PathBuf>>> + Send + 'static,
    {
        let (sender, wake) = (self.sender.clone(), Arc::clone(&self.wake));
        let waiting = std::thread::Builder::new().name("file-dialog".to_owned()).spawn(move || {
            let asked = Instant::now();
            let picked = match block_on(dialog) {
                Some(paths) => Picked::Paths(paths),
                None if asked.elapsed() < TOO_FAST => Picked::Unavailable,
                None => Picked::Paths(Vec::new()),
            };
            if sender.try_send(picked).is_ok() {
                wake();
            }
        });
        if waiting.is_err() && self.sender.try_send(Picked::Unavailable).is_ok() {
            (self.wake)();
        }
    }
}

impl Picker for SystemPicker {
    fn pick(&mut self, what: Pick, title: &str) {
        let dialog = rfd::AsyncFileDialog::new().set_title(title);
        match what {
            Pick::Files => {
                let files = dialog.pick_files();
                self.answer(async move {
                    let files = files.await?;
                    Some(files.iter().map(|file| file.path().to_path_buf()).collect())
                });
            }
            Pick::Folder => {
                let folder = dialog.pick_folder();
                self.answer(async move { Some(vec![folder.await?.path().to_path_buf()]) });
            }
        }
    }

    fn show_folder(&mut self, folder: &Path) {
        let (sender, wake, folder) = (self.sender.clone(), Arc::clone(&self.wake), folder.to_path_buf());
        // Finding a program that shows it takes a while.
        let shown = std::thread::Builder::new().name("show-folder".to_owned()).spawn(move || {
            if let Err(error) = open::that_detached(&folder) {
                tracing::warn!("no file manager shows {}: {error}", folder.display());
                if sender.try_send(Picked::NotShown(folder)).is_ok() {
                    wake();
                }
            }
        });
        if let Err(error) = shown {
            tracing::warn!("no thread to show a folder: {error}");
        }
    }

    fn poll(&mut self) -> Option<Picked> {
        self.answers.try_recv().ok()
    }
}

struct Unpark(std::thread::Thread);

impl TaskWake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picker() -> SystemPicker {
        SystemPicker::new(Arc::new(|| {}))
    }

    #[test]
    fn an_instant_nothing_means_that_there_is_no_dialog() {
        let picker = picker();
        picker.answer(async { None });
        assert_eq!(picker.answers.recv().expect("answer"), Picked::Unavailable);
    }

    #[test]
    fn paths_come_through() {
        let picker = picker();
        picker.answer(async { Some(vec![PathBuf::from("a.jsonl")]) });
        assert_eq!(picker.answers.recv().expect("answer"), Picked::Paths(vec![PathBuf::from("a.jsonl")]));
    }
}
