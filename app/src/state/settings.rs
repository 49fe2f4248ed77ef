//! What the window remembers from one start to the next: theme, language, scale, recent projects, self-test.

use super::presets::{self, OwnPreset};
use crate::texts::Language;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use temper_protocol::Event;

/// Which theme to use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThemeChoice {
    /// As the system says.
    #[default]
    System,
    /// Dark.
    Dark,
    /// Light.
    Light,
    /// High contrast.
    Contrast,
}

/// Which language to speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LanguageChoice {
    /// As the system says.
    #[default]
    System,
    /// English.
    English,
    /// German.
    German,
}

impl LanguageChoice {
    /// The language meant, where the system speaks `system`.
    #[must_use]
    pub const fn language(self, system: Language) -> Language {
        match self {
            Self::System => system,
            Self::English => Language::English,
            Self::German => Language::German,
        }
    }
}

/// A project that was open before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recent {
    /// Folder.
    pub path: PathBuf,
    /// Name.
    pub name: String,
    /// Model path or builtin name.
    pub model: String,
    /// When it was last open, milliseconds since 1970.
    pub opened_millis: i64,
    /// What its newest run ended with.
    #[serde(default)]
    pub result: Option<RecentResult>,
}

/// The result of a run, as the list of recent projects shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecentResult {
    /// Run number.
    pub run: u64,
    /// Status.
    pub status: String,
    /// Validation loss of the base.
    pub base_loss: Option<f64>,
    /// Best validation loss.
    pub best_loss: Option<f64>,
    /// Worst kept set minus base.
    pub forgetting: Option<f64>,
    /// Wall time.
    pub wall_secs: f64,
}

/// What the self-test found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineReport {
    /// When, milliseconds since 1970.
    pub at_millis: i64,
    /// `device` events.
    pub devices: Vec<Event>,
    /// The `selftest` event.
    pub selftest: Option<Event>,
}

/// Everything remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Theme.
    pub theme: ThemeChoice,
    /// Language.
    pub language: LanguageChoice,
    /// Scale of the window, 0.75 to 2.
    pub zoom: f32,
    /// A person's own keys as words, by the key of the command; empty words are no keys.
    pub keys: BTreeMap<String, String>,
    /// Newest first.
    pub recents: Vec<Recent>,
    /// Last self-test.
    pub machine: Option<MachineReport>,
    /// Whether runs wait while the machine is on its battery; machines without one never notice.
    pub pause_on_battery: bool,
    /// A person's own presets of methods' settings, oldest first.
    #[serde(deserialize_with = "presets::read")]
    pub presets: Vec<OwnPreset>,
}

/// Largest file that is read: far more than a person's own presets take.
pub const MOST_BYTES: u64 = 8 << 20;
/// Smallest and largest scale.
pub const ZOOM_RANGE: (f32, f32) = (0.75, 2.0);
const RECENT_LIMIT: usize = 12;

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: ThemeChoice::System,
            language: LanguageChoice::System,
            zoom: 1.0,
            keys: BTreeMap::new(),
            recents: Vec::new(),
            machine: None,
            pause_on_battery: true,
            presets: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads settings; a text that is none gives the usual ones.
    #[must_use]
    pub fn read(text: &str) -> Self {
        Self::understand(text).unwrap_or_default()
    }

    /// Reads settings one by one: what cannot be read, such as a theme of another version, is as usual and takes no other
    /// setting with it. Nothing when the text is no settings at all.
    #[must_use]
    pub fn understand(text: &str) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_str(text).ok()?;
        fields.retain(|key, value| {
            let alone = Map::from_iter([(key.clone(), value.clone())]);
            serde_json::from_value::<Self>(Value::Object(alone)).is_ok()
        });
        let mut settings: Self = serde_json::from_value(Value::Object(fields)).ok()?;
        if !settings.zoom.is_finite() {
            settings.zoom = 1.0;
        }
        settings.zoom = settings.zoom.clamp(ZOOM_RANGE.0, ZOOM_RANGE.1);
        Some(settings)
    }

    /// The text to write.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Puts a project in front.
    pub fn remember(&mut self, recent: Recent) {
        let known = self.recents.iter().position(|other| other.path == recent.path);
        let earlier = known.map(|index| self.recents.remove(index));
        let result = recent.result.clone().or_else(|| earlier.and_then(|earlier| earlier.result));
        self.recents.insert(0, Recent { result, ..recent });
        self.recents.truncate(RECENT_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(name: &str, run: Option<u64>) -> Recent {
        let result = run.map(|run| RecentResult {
            run,
            status: "finished".to_owned(),
            base_loss: Some(3.0),
            best_loss: Some(2.0),
            forgetting: Some(0.01),
            wall_secs: 5.0,
        });
        Recent { path: PathBuf::from(name), name: name.to_owned(), model: "m".to_owned(), opened_millis: 1, result }
    }

    #[test]
    fn settings_survive_and_nonsense_is_forgotten() {
        let mut settings = Settings { zoom: 1.25, theme: ThemeChoice::Light, ..Settings::default() };
        settings.language = LanguageChoice::German;
        settings.pause_on_battery = false;
        settings.remember(recent("a", Some(1)));
        assert_eq!(Settings::read(&settings.text()), settings);
        assert_eq!(Settings::read("{"), Settings::default());
        assert!(Settings::read("{\"zoom\": 1.5}").pause_on_battery, "settings of before runs waited");
        assert!((Settings::read("{\"zoom\": 90.0}").zoom - ZOOM_RANGE.1).abs() < f32::EPSILON);
    }

    /// Settings of which none is the usual one.
    fn all_chosen() -> Settings {
        let preset =
            OwnPreset { name: "small".to_owned(), method: "lora".to_owned(), settings: BTreeMap::new(), lr_peak: 2e-4 };
        Settings {
            theme: ThemeChoice::Light,
            language: LanguageChoice::German,
            zoom: 1.25,
            keys: BTreeMap::from([("train".to_owned(), "F9".to_owned())]),
            recents: vec![recent("a", Some(1))],
            machine: Some(MachineReport { at_millis: 7, ..MachineReport::default() }),
            pause_on_battery: false,
            presets: vec![preset],
        }
    }

    #[test]
    fn a_setting_that_cannot_be_read_takes_no_other_with_it() {
        let value = |settings: Settings| serde_json::to_value(settings).expect("a value");
        let (chosen, usual) = (value(all_chosen()), value(Settings::default()));
        assert_eq!(Settings::read(&chosen.to_string()), all_chosen());
        let keys: Vec<&String> = chosen.as_object().expect("settings").keys().collect();
        for key in keys {
            assert_ne!(chosen[key], usual[key], "{key} is chosen");
            for wrong in [serde_json::json!([true]), serde_json::json!({"nobody": []})] {
                let (mut damaged, mut expected) = (chosen.clone(), chosen.clone());
                damaged[key] = wrong;
                expected[key] = usual[key].clone();
                let expected: Settings = serde_json::from_value(expected).expect("settings");
                assert_eq!(Settings::read(&damaged.to_string()), expected, "{damaged}");
            }
        }
    }

    #[test]
    fn what_another_version_wrote_is_passed_over() {
        let text = "{\"theme\": \"sepia\", \"zoom\": 1.5, \"of_tomorrow\": [1], \
                    \"machine\": {\"at_millis\": 7, \"devices\": [{\"event\": \"of_tomorrow\"}], \"selftest\": null}}";
        let expected = Settings { zoom: 1.5, ..Settings::default() };
        assert_eq!(Settings::understand(text), Some(expected));
        for text in ["", "half a fi", "[]", "7", "{\"zoom\": 1.5"] {
            assert_eq!(Settings::understand(text), None, "\"{text}\" is no settings");
        }
    }

    #[test]
    fn a_project_opened_again_moves_to_the_front_and_keeps_its_result() {
        let mut settings = Settings::default();
        settings.remember(recent("a", Some(1)));
        settings.remember(recent("b", None));
        settings.remember(recent("a", None));
        assert_eq!(settings.recents.len(), 2);
        assert_eq!(settings.recents[0].name, "a");
        assert_eq!(settings.recents[0].result.as_ref().map(|result| result.run), Some(1));
    }
}
