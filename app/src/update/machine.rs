//! This machine: the sheet of the self-test, and whether runs wait on a battery.

use crate::app::App;
use crate::state::machine::MachineAct;
use crate::state::{Ask, Sheet};
use temper_protocol::Command;

impl App {
    pub(super) fn perform_machine(&mut self, act: MachineAct) {
        match act {
            MachineAct::Open => self.state.sheet = Some(Sheet::Machine),
            MachineAct::PauseOnBattery(on) => {
                self.state.settings.pause_on_battery = on;
                self.save_settings();
                // An engine that starts later is told when it does.
                if self.services.client.is_some() {
                    self.ask(Command::PauseOnBattery { on }, Ask::Control);
                }
                self.notice(if on { t!("notice-battery-waits") } else { t!("notice-battery-trains") });
            }
        }
    }

    /// The settings were read: an engine that was started before knows them, too.
    pub(super) fn tell_of_battery(&mut self) {
        if !self.state.settings.pause_on_battery && self.services.client.is_some() {
            self.ask(Command::PauseOnBattery { on: false }, Ask::Control);
        }
    }
}
