//! Layouts, remembered with each project: written a moment after they changed, put back when the project is opened.

use super::SAVE_AFTER_SECS;
use crate::app::App;
use crate::files::Job;
use crate::state::layout::{FILE_NAME, Layout};
use egui::Context;
use std::path::{Path, PathBuf};

/// What is known of the layout file of the open project.
#[derive(Debug, Default)]
pub(crate) struct LayoutKeeper {
    /// Project folder.
    folder: Option<PathBuf>,
    /// The file is being read: nothing is written before.
    reading: bool,
    /// What the file says, or would say if it were written.
    saved: Layout,
    /// What the window showed last.
    seen: Layout,
    /// Since when, seconds of the window's clock.
    seen_secs: f64,
}

impl App {
    /// Reads the layout of a project that was just opened.
    pub(super) fn load_layout(&mut self, folder: &Path) {
        self.flush_layout();
        self.layout = LayoutKeeper { folder: Some(folder.to_path_buf()), reading: true, ..LayoutKeeper::default() };
        self.services.files.send(Job::LoadLayout(folder.to_path_buf()));
    }

    /// Puts a layout back; `unreadable` when there is a file, but not one that can be used.
    pub(super) fn take_layout(&mut self, folder: &Path, layout: Option<Layout>, unreadable: bool) {
        if self.layout.folder.as_deref() != Some(folder) {
            return;
        }
        self.layout.reading = false;
        if unreadable {
            self.notice(t!("notice-layout"));
        }
        if let Some(layout) = layout {
            layout.restore(&mut self.state);
            if self.state.runs.project.as_deref() == Some(folder) {
                crate::state::layout::forget_missing_runs(&mut self.state);
            }
        }
        let now = Layout::of(&self.state, &Layout::default());
        self.layout.seen = now.clone();
        self.layout.saved = now;
    }

    /// Writes the layout after a moment of quiet, when it changed.
    pub(super) fn keep_layout(&mut self, ctx: &Context) {
        if self.state.draft.folder.is_none() {
            return;
        }
        if self.layout.folder != self.state.draft.folder {
            // A project that got its folder just now has no file yet.
            let now = Layout::of(&self.state, &Layout::default());
            let folder = self.state.draft.folder.clone();
            self.layout = LayoutKeeper { folder, saved: now.clone(), seen: now, ..LayoutKeeper::default() };
        }
        if self.layout.reading {
            return;
        }
        let now = Layout::of(&self.state, &self.layout.seen);
        if now != self.layout.seen {
            self.layout.seen = now;
            self.layout.seen_secs = self.state.now_secs;
        }
        if self.layout.seen == self.layout.saved {
            return;
        }
        let quiet = self.state.now_secs - self.layout.seen_secs;
        if quiet < SAVE_AFTER_SECS {
            ctx.request_repaint_after_secs((SAVE_AFTER_SECS - quiet) as f32 + 0.01);
            return;
        }
        self.flush_layout();
    }

    /// Writes what is not written yet.
    pub(crate) fn flush_layout(&mut self) {
        let keeper = &mut self.layout;
        let Some(folder) = keeper.folder.as_ref().filter(|_| !keeper.reading && keeper.seen != keeper.saved) else {
            return;
        };
        let job = Job::SaveLayout { path: folder.join(FILE_NAME), text: keeper.seen.text() };
        keeper.saved = keeper.seen.clone();
        self.services.files.send(job);
    }
}
