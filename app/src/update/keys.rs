//! A person's own keys: asked for in the help, checked, kept in the settings.

use crate::app::App;
use crate::commands::keymap::{self, Keymap, KeysAct, Refusal, is_toggle};
use crate::commands::{Id, TABLE, UiCommand, entry};
use crate::state::Rekey;

impl App {
    /// Carries out what concerns keys; gives back what does not.
    pub(super) fn perform_keys(&mut self, command: UiCommand) -> Option<UiCommand> {
        let UiCommand::Keys(act) = command else { return Some(command) };
        match act {
            KeysAct::Begin(command) => {
                self.state.rekey = Some(Rekey { command, wanted: String::new(), why: String::new() });
            }
            KeysAct::Press(words) => self.press_keys(&words),
            KeysAct::Cancel => self.state.rekey = None,
            KeysAct::Reset => {
                self.state.rekey = None;
                self.state.settings.keys.clear();
                self.save_settings();
                self.notice(t!("help-keys-are-reset"));
            }
        }
        None
    }

    /// Gives keys to the command that waits for them. Those of another command are taken from it when they are pressed a
    /// second time.
    fn press_keys(&mut self, words: &str) {
        let Some(rekey) = &self.state.rekey else { return };
        let (command, again) = (rekey.command, rekey.wanted == words);
        let Some(keys) = keymap::parse(words) else {
            // None at all.
            self.set_keys(command, String::new());
            return;
        };
        let refusal = Keymap::of(&self.state.settings.keys).check(command, &keys);
        let why = match refusal {
            Ok(()) => {
                self.set_keys(command, words.to_owned());
                return;
            }
            Err(Refusal::Taken(other)) if again => {
                self.set_keys(other, String::new());
                self.set_keys(command, words.to_owned());
                return;
            }
            Err(Refusal::Taken(other)) => t!("help-keys-taken", command = entry(other).name.get()),
            Err(Refusal::Bare) => t!("help-keys-bare").to_owned(),
            Err(Refusal::Editing) => t!("help-keys-editing").to_owned(),
        };
        self.state.rekey = Some(Rekey { command, wanted: words.to_owned(), why });
    }

    fn set_keys(&mut self, command: Id, words: String) {
        let own = TABLE.iter().filter(|line| line.id == command || is_toggle(line.id) && is_toggle(command));
        for line in own {
            let table = line.shortcut.as_ref().map(keymap::words).unwrap_or_default();
            if table == words {
                self.state.settings.keys.remove(line.key);
            } else {
                self.state.settings.keys.insert(line.key.to_owned(), words.clone());
            }
        }
        self.state.rekey = None;
        self.save_settings();
    }
}
