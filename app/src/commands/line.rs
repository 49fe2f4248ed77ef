//! A line of the table of commands: its names, its keys, when it can be done, and what it does.
//!
//! Place in the data flow: [`super::table`] is made of these; palette, menus, shortcuts and help read them.

use super::UiCommand;
use super::keymap::Keymap;
use super::table::Id;
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
