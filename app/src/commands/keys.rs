//! From pressed keys to commands.

use super::{Entry, Id, Outbox, TABLE};
use crate::state::State;
use egui::{Key, KeyboardShortcut, Modifiers};

pub(super) const fn ctrl(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND, key))
}

pub(super) const fn ctrl_shift(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key))
}

pub(super) const fn plain(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::NONE, key))
}

/// The commands whose keys were pressed. Keys without a modifier belong to a focused widget first.
pub fn pressed(ctx: &egui::Context, state: &State, out: &Outbox) {
    let typing = ctx.text_edit_focused();
    let focused = ctx.memory(|memory| memory.focused().is_some());
    // egui takes Ctrl+Shift+Z for Ctrl+Z as well, so the longer ones come first.
    let with_shift = |entry: &&Entry| entry.shortcut.is_some_and(|keys| keys.modifiers.shift);
    let longer_first = TABLE.iter().filter(with_shift).chain(TABLE.iter().filter(|entry| !with_shift(entry)));
    for entry in longer_first {
        let Some(shortcut) = &entry.shortcut else { continue };
        let bare = shortcut.modifiers.is_none() && shortcut.logical_key != Key::F1;
        if bare && (typing || focused || state.sheet.is_some()) {
            continue;
        }
        if typing && matches!(entry.id, Id::Undo | Id::Redo) {
            // The text field has an undo of its own.
            continue;
        }
        if entry.enabled(state) && ctx.input_mut(|input| input.consume_shortcut(shortcut)) {
            out.push((entry.make)(state));
        }
    }
}
