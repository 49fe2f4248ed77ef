//! From pressed keys to commands.

use super::keymap::{self, Keymap, KeysAct};
use super::{Entry, Id, Outbox, TABLE, UiCommand};
use crate::state::{Sheet, State};
use crate::widgets::{field, term};
use egui::{Event, Key, KeyboardShortcut, Modifiers};

pub(super) const fn ctrl(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND, key))
}

pub(super) const fn ctrl_shift(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), key))
}

pub(super) const fn shift(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::SHIFT, key))
}

pub(super) const fn plain(key: Key) -> Option<KeyboardShortcut> {
    Some(KeyboardShortcut::new(Modifiers::NONE, key))
}

/// The commands whose keys were pressed. Keys without a modifier belong to a focused widget first.
pub fn pressed(ctx: &egui::Context, state: &State, out: &Outbox) {
    let keymap = Keymap::of(&state.settings.keys);
    keymap.clone().leave(ctx);
    if state.rekey.is_some() && state.sheet == Some(Sheet::Help) {
        capture(ctx, out);
        return;
    }
    if let Some(term) = term::take_wish(ctx) {
        out.push(UiCommand::Glossary(Some(term)));
    }
    let typing = ctx.text_edit_focused();
    // After Tab the focus is in the next field: what is taken back there is the edit of the last one.
    let untouched = state.sheet.is_none() && field::is_untouched(ctx);
    let focused = ctx.memory(|memory| memory.focused().is_some());
    let mut keyed: Vec<(KeyboardShortcut, &Entry)> =
        TABLE.iter().filter_map(|entry| Some((keymap.shortcut(entry)?, entry))).collect();
    // egui takes Ctrl+Shift+Z for Ctrl+Z as well, so those with more modifiers come first.
    keyed.sort_by_key(|(keys, _)| !more_modifiers(keys));
    let taken: Vec<KeyboardShortcut> = keyed.iter().map(|(shortcut, _)| *shortcut).collect();
    for &(shortcut, entry) in &keyed {
        let bare = shortcut.modifiers.is_none() && !keymap::is_function(shortcut.logical_key);
        if bare && (typing || focused || state.sheet.is_some()) {
            continue;
        }
        if typing && !untouched && matches!(entry.id, Id::Undo | Id::Redo) {
            // The text field has an undo of its own.
            continue;
        }
        if !entry.enabled(state) {
            // Keys of what cannot be done now do nothing: with nothing to make again, Ctrl+Shift+Z is no Ctrl+Z.
            let other = |(keys, other): &(KeyboardShortcut, &Entry)| *keys == shortcut && other.enabled(state);
            if more_modifiers(&shortcut) && !keyed.iter().any(other) {
                ctx.input_mut(|input| input.consume_shortcut(&shortcut));
            }
            continue;
        }
        let twin = twin(&shortcut).filter(|twin| !taken.contains(twin));
        let pressed = ctx.input_mut(|input| {
            input.consume_shortcut(&shortcut) || twin.is_some_and(|twin| input.consume_shortcut(&twin))
        });
        if pressed {
            // On a control that is about a term, help is the meaning of that term.
            let term = term::focused(ctx).filter(|_| entry.id == Id::Help);
            out.push(term.map_or_else(|| (entry.make)(state), |term| UiCommand::Glossary(Some(term))));
        }
    }
}

fn more_modifiers(keys: &KeyboardShortcut) -> bool {
    keys.modifiers.shift || keys.modifiers.alt
}

/// Other keys that people expect to do the same, unless a command has them.
fn twin(keys: &KeyboardShortcut) -> Option<KeyboardShortcut> {
    match (keys.modifiers, keys.logical_key) {
        // On many keyboards plus is the upper half of this key, and nobody holds Shift for it.
        (Modifiers::COMMAND, Key::Plus) => ctrl(Key::Equals),
        // To do again, as Windows has it.
        (with, Key::Z) if with == Modifiers::COMMAND.plus(Modifiers::SHIFT) => ctrl(Key::Y),
        _ => None,
    }
}

/// Takes the next keys for the command that waits for them: Escape for none of it, Backspace for no keys.
fn capture(ctx: &egui::Context, out: &Outbox) {
    let pressed = ctx.input_mut(|input| {
        let first = input.events.iter().find_map(|event| match event {
            Event::Key { key, pressed: true, repeat: false, modifiers, .. } => Some((*key, *modifiers)),
            _ => None,
        });
        input.events.retain(|event| !matches!(event, Event::Key { .. } | Event::Text(_)));
        first
    });
    let Some((key, modifiers)) = pressed else { return };
    out.push(UiCommand::Keys(match key {
        Key::Escape if modifiers.is_none() => KeysAct::Cancel,
        Key::Backspace if modifiers.is_none() => KeysAct::Press(String::new()),
        _ => KeysAct::Press(keymap::words(&KeyboardShortcut::new(modifiers, key))),
    }));
}
