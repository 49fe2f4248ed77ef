//! The self-test as tests and pictures meet it: everything works, or something does not.

use crate::kit::{self, Window};
use temper::commands::UiCommand;
use temper::state::machine::MachineAct;
use temper::testing::Stage;
use temper_protocol::event::MachineCheck;
use temper_protocol::{Command, Event};

/// What the scenes' machine was checked for.
pub(crate) fn checks() -> Vec<MachineCheck> {
    [
        ("learning", "loss 5.02 to 3.87 nats in 12 steps"),
        ("gradients", "0.03 % beside the measured change of the loss"),
        ("repeating", "12 of 12 losses the same bits the second time"),
        ("saving", "written, read back and equal, 214 MiB/s"),
        ("memory", "18227 MiB free"),
        ("speed", "38412 tokens/s, matrix product 212 GFLOP/s"),
    ]
    .map(|(name, measured)| MachineCheck {
        name: name.to_owned(),
        pass: true,
        measured: measured.to_owned(),
        action: String::new(),
    })
    .to_vec()
}

/// The machine of the scenes with a full disk.
pub(crate) fn answer_with_full_disk(command: &Command) -> Vec<Event> {
    let mut events = kit::answer(command);
    for event in &mut events {
        let Event::Selftest(found) = event else { continue };
        found.pass = false;
        for check in found.checks.iter_mut().filter(|check| check.name == "saving") {
            check.pass = false;
            "no space left on device".clone_into(&mut check.measured);
            "free some disk".clone_into(&mut check.action);
        }
    }
    events
}

pub(crate) fn machine_checks(window: &mut Window, _stage: &Stage) {
    kit::send(window, UiCommand::Machine(MachineAct::Open));
}

pub(crate) fn machine_failed(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(answer_with_full_disk);
    kit::send(window, UiCommand::Doctor);
    window.run_steps(3);
    machine_checks(window, stage);
}
