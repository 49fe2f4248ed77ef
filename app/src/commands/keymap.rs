//! Which keys carry out which command: those of the table, with a person's own on top.
//!
//! Place in the data flow: the settings hold a person's keys as words (`command+shift+S`; empty for none), by the key of
//! the command; every frame [`super::pressed`] makes a [`Keymap`] of them and leaves it with the context, where whoever
//! shows keys finds it.

use super::{Entry, Id, TABLE};
use egui::{Context, Key, KeyboardShortcut, Modifiers};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A person's own keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Keymap(BTreeMap<String, Option<KeyboardShortcut>>);

/// Why keys cannot be had for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Without Ctrl or Alt they write letters or move the focus.
    Bare,
    /// Text fields have a use for them.
    Editing,
    /// Another command has them.
    Taken(Id),
}

/// Something with keys.
#[derive(Debug, Clone, PartialEq)]
pub enum KeysAct {
    /// The next keys that are pressed belong to this command.
    Begin(Id),
    /// These were pressed, as words.
    Press(String),
    /// No other keys after all.
    Cancel,
    /// Every command has the keys of the table again.
    Reset,
}

impl Keymap {
    /// Reads the settings; words that mean no keys are passed over.
    #[must_use]
    pub fn of(settings: &BTreeMap<String, String>) -> Self {
        let read = |(key, words): (&String, &String)| {
            if words.is_empty() { Some((key.clone(), None)) } else { Some((key.clone(), Some(parse(words)?))) }
        };
        Self(settings.iter().filter_map(read).collect())
    }

    /// The keys of a command.
    #[must_use]
    pub fn shortcut(&self, entry: &Entry) -> Option<KeyboardShortcut> {
        self.0.get(entry.key).copied().unwrap_or(entry.shortcut)
    }

    /// Whether a command may have `keys`.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, id: Id, keys: &KeyboardShortcut) -> Result<(), Refusal> {
        let with = keys.modifiers;
        let firm = with.command || with.ctrl || with.alt || with.mac_cmd;
        if !firm && !is_free(keys.logical_key) {
            return Err(Refusal::Bare);
        }
        let editing = [Key::A, Key::C, Key::V, Key::X].contains(&keys.logical_key);
        if editing && with.command && !with.shift && !with.alt {
            return Err(Refusal::Editing);
        }
        let user = TABLE.iter().find(|entry| {
            // One key pauses and goes on: never both at once.
            let same = entry.id == id || is_toggle(entry.id) && is_toggle(id);
            !same && self.shortcut(entry) == Some(*keys)
        });
        user.map_or(Ok(()), |entry| Err(Refusal::Taken(entry.id)))
    }

    /// The keys in force in this context.
    #[must_use]
    pub(super) fn here(ctx: &Context) -> Option<Arc<Self>> {
        ctx.data(|data| data.get_temp(place()))
    }

    /// Leaves the keys with the context.
    pub(super) fn leave(self, ctx: &Context) {
        ctx.data_mut(|data| data.insert_temp(place(), Arc::new(self)));
    }
}

fn place() -> egui::Id {
    egui::Id::unique("keymap")
}

/// Whether a command shares its keys with its opposite.
#[must_use]
pub fn is_toggle(id: Id) -> bool {
    matches!(id, Id::Pause | Id::Resume)
}

/// Whether no widget has a use for a key.
#[must_use]
pub(super) fn is_function(key: Key) -> bool {
    key.name().strip_prefix('F').is_some_and(|number| number.parse::<u8>().is_ok())
}

/// Keys that neither write nor move the focus.
fn is_free(key: Key) -> bool {
    is_function(key) || matches!(key, Key::Space | Key::Home | Key::End | Key::PageUp | Key::PageDown | Key::Insert)
}

/// Keys as words: the same on every system, whatever its Ctrl is called.
#[must_use]
pub fn words(keys: &KeyboardShortcut) -> String {
    let with = keys.modifiers;
    let mut words = Vec::new();
    if with.command || with.ctrl || with.mac_cmd {
        words.push("command");
    }
    if with.alt {
        words.push("alt");
    }
    if with.shift {
        words.push("shift");
    }
    words.push(keys.logical_key.name());
    words.join("+")
}

/// Words as keys.
#[must_use]
pub fn parse(words: &str) -> Option<KeyboardShortcut> {
    let mut modifiers = Modifiers::NONE;
    let mut parts = words.split('+').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return Some(KeyboardShortcut::new(modifiers, Key::from_name(part)?));
        }
        modifiers = modifiers.plus(match part {
            "command" => Modifiers::COMMAND,
            "alt" => Modifiers::ALT,
            "shift" => Modifiers::SHIFT,
            _ => return None,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::entry;

    #[test]
    fn every_shortcut_of_the_table_survives_as_words() {
        for line in TABLE {
            if let Some(keys) = line.shortcut {
                assert_eq!(parse(&words(&keys)), Some(keys), "{}", words(&keys));
            }
        }
        assert_eq!((parse(""), parse("hyper+K"), parse("command+Nokey")), (None, None, None));
    }

    #[test]
    fn own_keys_win_and_none_is_none() {
        let own = |words: &str| Keymap::of(&BTreeMap::from([(entry(Id::Train).key.to_owned(), words.to_owned())]));
        assert_eq!(own("F9").shortcut(entry(Id::Train)), parse("F9"));
        assert_eq!(own("").shortcut(entry(Id::Train)), None);
        assert_eq!(own("nonsense").shortcut(entry(Id::Train)), entry(Id::Train).shortcut);
        assert_eq!(own("F9").shortcut(entry(Id::Stop)), entry(Id::Stop).shortcut);
    }

    #[test]
    fn keys_that_are_taken_or_write_text_are_refused_with_the_reason() {
        let plain = Keymap::default();
        let check = |id, words: &str| plain.check(id, &parse(words).expect("keys"));
        assert_eq!(check(Id::Train, "A"), Err(Refusal::Bare));
        assert_eq!(check(Id::Train, "shift+Tab"), Err(Refusal::Bare));
        assert_eq!(check(Id::Train, "command+C"), Err(Refusal::Editing));
        assert_eq!(check(Id::Train, "command+E"), Err(Refusal::Taken(Id::Export)));
        assert_eq!(check(Id::Train, "Space"), Err(Refusal::Taken(Id::Pause)));
        assert_eq!(check(Id::Resume, "Space"), Ok(()));
        assert_eq!(check(Id::Train, "command+Enter"), Ok(()));
        assert_eq!(check(Id::Train, "F9"), Ok(()));
        // Keys given away are free.
        let gone = Keymap::of(&BTreeMap::from([(entry(Id::Export).key.to_owned(), String::new())]));
        assert_eq!(gone.check(Id::Train, &parse("command+E").expect("keys")), Ok(()));
    }
}
