//! The token lens: rows that are shown are asked for, and nothing else.

use crate::app::App;
use crate::commands::UiCommand;
use crate::state::lens::{LIST_TOKENS, LensAct, PAGE, WHOLE_TOKENS, row_of};
use crate::state::lens_edit::{Texts, fields};
use crate::state::{Ask, Sheet, State};
use egui::Context;
use temper_protocol::event::DataRows;
use temper_protocol::project::Source;
use temper_protocol::{Command, Event};

/// Pages that may be on their way at once.
const MOST_ASKED: usize = 2;

/// Whether the answer is about rows of the data that is looked at: of other data it would be about other rows.
fn is_about_rows(ask: &Ask) -> bool {
    matches!(ask, Ask::Index | Ask::Rows(_) | Ask::WholeRow(_) | Ask::RowTexts(..) | Ask::Losses(..))
}

impl App {
    /// Carries out what concerns the token lens; gives back what does not.
    pub(super) fn perform_lens(&mut self, command: UiCommand) -> Option<UiCommand> {
        let UiCommand::Lens(act) = command else { return Some(command) };
        match act {
            LensAct::Open(row) => {
                self.state.sheet = Some(Sheet::Lens);
                self.state.lens.problem = None;
                if let Some(row) = row {
                    // Rows beyond the known ones are looked for when they are asked for.
                    let lens = &mut self.state.lens;
                    lens.known = lens.known.max(row + 1);
                    lens.choose(row);
                }
            }
            LensAct::Scrolled(top, part, room) => {
                self.state.lens.room = room;
                self.state.lens.scroll(top, part);
            }
            LensAct::Choose(row) => self.state.lens.choose(row),
            LensAct::GoTo(text) => match row_of(&text) {
                Some(row) if row < self.state.lens.known => self.state.lens.choose(row),
                _ => {
                    let last = crate::format::count(self.state.lens.known);
                    self.notice(t!("lens-no-row", last = last));
                }
            },
            LensAct::LeaveOut(row) => {
                let left_out = &mut self.state.lens.left_out;
                if !left_out.remove(&row) && row < self.state.lens.known {
                    left_out.insert(row);
                }
            }
            LensAct::Deduplicate(on) => self.state.lens.deduplicate = on,
            LensAct::Edit(open) => self.state.lens.editor.open = open,
            LensAct::Text(row, place, text) => {
                if let Some(texts) = self.state.lens.editor.left(row, place, text) {
                    self.ask_texts(row, texts);
                }
            }
            LensAct::TakeBack(row) => self.state.lens.editor.take_back(row),
            LensAct::Losses(shown) => self.state.lens.losses.shown = shown,
            LensAct::SaveCopy => self.save_copy(),
            LensAct::StopLooking => {
                if let Some((request, _)) = self.state.jobs.find(|ask| *ask == Ask::Index) {
                    self.ask(Command::CancelRequest { target: request }, Ask::Cancel);
                }
            }
        }
        self.state.lens.keep_stamp();
        None
    }

    /// Asks for the rows that the lens shows and does not have.
    pub(super) fn ask_for_rows(&mut self) {
        if self.state.sheet != Some(Sheet::Lens) || !self.state.draft.is_saved() || !self.state.draft.has_both() {
            return;
        }
        let data = self.state.draft.data_fingerprint();
        let project = self.state.draft.engine_folder(&self.state.places.draft());
        if self.state.lens.fingerprint != data {
            let (chosen, known) = (self.state.lens.chosen, self.state.lens.known);
            let again = self.state.lens.begin(data, self.state.draft.rows_fingerprint());
            if chosen > 0 {
                // A row was asked for before anything was known.
                self.state.lens.known = known;
                self.state.lens.choose(chosen);
            }
            self.forget_asked(is_about_rows);
            self.ask(Command::IndexRows { project: project.clone() }, Ask::Index);
            for (row, texts) in again {
                self.ask_texts(row, texts);
            }
        }
        if self.state.lens.problem.is_some() {
            return;
        }
        let shown = self.state.lens.shown();
        // Rows that were scrolled past before they arrived are not waited for.
        self.forget_asked(|ask| matches!(ask, Ask::Rows(page) if !shown.contains(page)));
        let chosen = self.state.lens.chosen;
        let has_whole = self.state.lens.whole.as_ref().is_some_and(|(row, _)| *row == chosen);
        if !has_whole && self.state.jobs.find(|ask| matches!(ask, Ask::WholeRow(_))).is_none() {
            let command =
                Command::Rows { project: project.clone(), first: chosen, count: 1, most_tokens: WHOLE_TOKENS };
            self.ask(command, Ask::WholeRow(chosen));
        }
        let asked = self.state.jobs.find(|ask| matches!(ask, Ask::RowTexts(row, _) if *row == chosen)).is_some();
        if self.state.lens.editor.wants(chosen) && !asked {
            let accepted = self.state.lens.editor.edits.get(&chosen).cloned().unwrap_or_default();
            self.ask_texts(chosen, accepted);
        }
        self.ask_losses(chosen);
        for page in shown {
            let asked = self.state.jobs.iter().filter(|(_, running)| matches!(running.ask, Ask::Rows(_))).count();
            let known = self.state.lens.pages.contains_key(&page);
            let on_its_way = self.state.jobs.find(|ask| *ask == Ask::Rows(page)).is_some();
            if known || on_its_way || asked >= MOST_ASKED {
                continue;
            }
            let project = project.clone();
            let first = page * PAGE;
            self.ask(Command::Rows { project, first, count: PAGE as usize, most_tokens: LIST_TOKENS }, Ask::Rows(page));
        }
    }

    /// Asks what the tokens of the chosen row cost, one row at a time: a row that was passed meanwhile is not measured.
    fn ask_losses(&mut self, chosen: u64) {
        let lens = &self.state.lens;
        let texts = lens.editor.edits.get(&chosen);
        let there = matches!(&lens.whole, Some((row, Some(_))) if *row == chosen);
        let busy = self.state.is_training() || self.state.jobs.find(|ask| matches!(ask, Ask::Losses(..))).is_some();
        if !there || busy || !lens.losses.wants(chosen, texts) {
            return;
        }
        let texts = texts.cloned().unwrap_or_default();
        let project = self.state.draft.engine_folder(&self.state.places.draft());
        let fields = fields(&texts);
        let command = Command::RowLosses { project, row: chosen, fields, most_tokens: WHOLE_TOKENS };
        self.ask(command, Ask::Losses(chosen, texts));
    }

    /// Takes in what the tokens of a row cost.
    pub(super) fn take_losses(&mut self, row: u64, texts: &Texts, event: Event) {
        if let Event::Rows(DataRows { rows, .. }) = event {
            let losses = rows.into_iter().next().map(|row| row.losses).unwrap_or_default();
            self.state.lens.losses.take(row, texts.clone(), losses);
        }
    }

    fn ask_texts(&mut self, row: u64, texts: Texts) {
        let project = self.state.draft.engine_folder(&self.state.places.draft());
        let command = Command::RowTexts { project, row, fields: fields(&texts), most_tokens: WHOLE_TOKENS };
        self.ask(command, Ask::RowTexts(row, texts));
    }

    /// Why no cleaned copy can be written now; nothing when it can.
    #[must_use]
    pub fn copy_hindrance(state: &State) -> Option<&'static str> {
        if !state.lens.editor.trials.is_empty() {
            Some(t!("lens-edit-open"))
        } else if !state.lens.is_changed() {
            Some(t!("lens-nothing-changed"))
        } else if state.draft.folder.is_none() {
            Some(t!("commands-no-folder"))
        } else if state.rehousing {
            // The copy would be written to where the project no longer is.
            Some(t!("rehouse-going"))
        } else {
            state.jobs.find(|ask| *ask == Ask::Clean).is_some().then_some(t!("lens-job-copy"))
        }
    }

    fn save_copy(&mut self) {
        let Some(project) = self.state.draft.folder.clone() else { return };
        if Self::copy_hindrance(&self.state).is_none() && self.state.draft.is_saved() {
            let leave_out = self.state.lens.left_out.iter().copied().collect();
            let deduplicate = self.state.lens.deduplicate;
            let edits = self.state.lens.editor.all();
            let lens = &self.state.lens;
            let stamp = if lens.names_rows() { lens.chosen_stamp.clone() } else { String::new() };
            self.ask(Command::CleanRows { project, leave_out, deduplicate, edits, stamp }, Ask::Clean);
        }
    }

    /// The cleaned copy is written: the project takes it, which can be undone like any edit.
    pub(super) fn take_copy(&mut self, ctx: &Context, event: Event) {
        match event {
            Event::Written { path, .. } => {
                let folder = self.state.draft.folder.as_deref();
                let Some(inside) = folder.and_then(|folder| path.strip_prefix(folder).ok()) else {
                    // Another project was opened meanwhile: its data is none of this copy's business.
                    self.notice(t!("notice-written", path = path.display().to_string()));
                    return;
                };
                let name = inside.display().to_string();
                let mut project = self.state.draft.project.clone();
                project.data.train = vec![Source::Path(name)];
                self.perform(ctx, UiCommand::Edit(String::new(), Box::new(project)));
            }
            Event::Warning { text, .. } => self.notice(crate::reader::words::sentence_case(&text)),
            _ => {}
        }
    }

    /// Takes in rows, or how many there are.
    pub(super) fn take_rows(&mut self, ask: &Ask, event: Event) {
        let Event::Rows(DataRows { known, complete, shortened, stamp, rows, .. }) = event else { return };
        let lens = &mut self.state.lens;
        lens.stamp = stamp;
        lens.keep_stamp();
        let was_last = lens.known;
        lens.known = if complete { known } else { known.max(lens.known) };
        (lens.complete, lens.shortened) = (complete, shortened);
        match ask {
            Ask::Rows(page) => lens.take(*page, rows),
            Ask::WholeRow(row) => lens.whole = Some((*row, rows.into_iter().next())),
            _ => {}
        }
        if complete && was_last > known {
            lens.choose(lens.chosen);
            lens.scroll(lens.top, lens.part);
        }
    }
}
