//! Runs that wait for their turn: what a person does to their order.
//!
//! Place in the data flow: the engine keeps the queue and writes its order into the store, from which the window reads it;
//! moving and taking out are told to the run as everything else is, through our engine or through the store.

use crate::app::App;
use crate::commands::UiCommand;
use crate::state::Sheet;
use temper_protocol::Act;

impl App {
    /// Carries out what concerns the runs that wait; gives back what does not.
    pub(super) fn perform_queue(&mut self, command: UiCommand) -> Option<UiCommand> {
        match command {
            UiCommand::OpenQueue => self.state.sheet = Some(Sheet::Queue),
            UiCommand::After(wish) => self.choose_after(wish),
            UiCommand::Tell(run, act) => self.steer_run(run, act),
            other => return Some(other),
        }
        None
    }

    /// Takes every run out that waits.
    pub(super) fn withdraw_waiting(&mut self) {
        let going = self.state.live_run().map(|row| row.run);
        let waiting: Vec<u64> = self.state.waiting_rows().iter().map(|row| row.run).collect();
        for run in waiting.into_iter().filter(|run| Some(*run) != going) {
            self.steer_run(run, Act::Cancel);
        }
    }
}
