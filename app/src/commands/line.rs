//! A line of the table of commands: its names, its keys, when it can be done, and what it does.
//!
//! Place in the data flow: [`super::table`] is made of these; palette, menus, shortcuts and help read them.

use super::UiCommand;
use super::keymap::Keymap;
use super::table::{Id, TABLE};
use crate::state::State;
use crate::texts::Text;
use crate::theme::Icon;
use egui::KeyboardShortcut;

/// A line of the table of commands.
pub struct Entry {
    /// Its key.
    pub id: Id,
    /// Its name in the settings.
    pub key: &'static str,
    /// Its name, as buttons, menus and the palette show it.
    pub name: Text,
    /// One sentence for tooltips and the help.
    pub help: Text,
    /// Its icon.
    pub icon: Icon,
    /// Its keys, unless a person has others.
    pub shortcut: Option<KeyboardShortcut>,
    /// Why it cannot be done now; nothing when it can.
    pub hindrance: fn(&State) -> Option<&'static str>,
    /// What it does.
    pub make: fn(&State) -> UiCommand,
}

impl Entry {
    /// Whether it can be done now.
    #[must_use]
    pub fn enabled(&self, state: &State) -> bool {
        (self.hindrance)(state).is_none()
    }

    /// Its keys in words, for the system at hand.
    #[must_use]
    pub fn keys(&self, ctx: &egui::Context) -> Option<String> {
        let own = Keymap::here(ctx);
        let shortcut = own.map_or(self.shortcut, |keymap| keymap.shortcut(self))?;
        // "Ctrl+1", not "Ctrl+Num1": egui's names of keys are good enough otherwise.
        Some(ctx.format_shortcut(&shortcut))
    }
}

/// The line of the table that `id` names.
#[must_use]
pub fn entry(id: Id) -> &'static Entry {
    let found = TABLE.iter().find(|entry| entry.id == id);
    found.unwrap_or(&TABLE[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_commands_that_can_both_be_done_share_keys_or_names() {
        for (index, first) in TABLE.iter().enumerate() {
            for second in &TABLE[index + 1..] {
                assert_ne!(first.name.get(), second.name.get());
                assert_ne!(first.id, second.id);
                let shared = first.shortcut.is_some() && first.shortcut == second.shortcut;
                // One key pauses and goes on: never both at once.
                let toggles = matches!((first.id, second.id), (Id::Pause, Id::Resume));
                assert!(!shared || toggles, "{} and {}", first.name.get(), second.name.get());
            }
        }
    }

    #[test]
    fn each_id_has_its_line() {
        for line in TABLE {
            assert_eq!(entry(line.id).id, line.id);
            assert!(!line.help.get().is_empty());
        }
    }
}
