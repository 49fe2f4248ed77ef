//! A person's own presets: the settings of a method under a name, beside gentle, balanced and strong.
//!
//! Place in the data flow: `update` keeps them with the settings of the window, so that every project has them; the card
//! Method lists those of the chosen method and puts one into the project like any other edit.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use temper_protocol::{MethodCard, Project, Value};

/// Most presets that are kept; the oldest go first.
pub const MOST: usize = 200;

/// Something with a person's own presets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresetAct {
    /// Asks for a name for the settings of now.
    Open,
    /// That name, as typed.
    Name(String),
    /// Keeps the settings of now under the name.
    Keep,
    /// Puts the preset of this name into the project.
    Use(String),
    /// Forgets the preset of this name.
    Forget(String),
}

/// Settings of a method under a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OwnPreset {
    /// What the person called it; a method has each name once.
    pub name: String,
    /// Registry id of the method.
    pub method: String,
    /// The method's settings that were given; the others have their defaults.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
    /// Highest learning rate; 0 stands for what the method usually takes.
    #[serde(default)]
    pub lr_peak: f64,
}

impl OwnPreset {
    /// The settings of `project` under a name.
    #[must_use]
    pub fn of(name: &str, project: &Project) -> Self {
        let written = |value: &Value| !matches!(value, Value::Number(number) if !number.is_finite());
        let settings = project.method.settings.0.iter().filter(|(_, value)| written(value));
        Self {
            name: name.trim().to_owned(),
            method: project.method.id.clone(),
            settings: settings.map(|(key, value)| (key.clone(), value.clone())).collect(),
            lr_peak: if project.train.lr_peak.is_finite() { project.train.lr_peak } else { 0.0 },
        }
    }

    /// Puts it into `project`, whose method is that of `card`: what the method does not know any more is left out.
    pub fn apply(&self, project: &mut Project, card: &MethodCard) {
        let known = |key: &str| card.settings.iter().any(|setting| setting.key == key);
        let settings = self.settings.iter().filter(|(key, _)| known(key));
        project.method.settings.0 = settings.map(|(key, value)| (key.clone(), value.clone())).collect();
        project.train.lr_peak = self.lr_peak;
    }

    /// Whether `project` has these settings already.
    #[must_use]
    pub fn is_in(&self, project: &Project, card: &MethodCard) -> bool {
        let mut other = project.clone();
        self.apply(&mut other, card);
        other.method == project.method && (other.train.lr_peak - project.train.lr_peak).abs() < f64::EPSILON
    }
}

/// Presets of a method, in the order of their names.
#[must_use]
pub fn of_method<'a>(presets: &'a [OwnPreset], method: &str) -> Vec<&'a OwnPreset> {
    let mut found: Vec<&OwnPreset> = presets.iter().filter(|preset| preset.method == method).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Keeps `preset` instead of one of the same method and name; whether there was one.
pub fn keep(presets: &mut Vec<OwnPreset>, preset: OwnPreset) -> bool {
    let before = presets.len();
    presets.retain(|other| other.method != preset.method || other.name != preset.name);
    let replaced = presets.len() < before;
    presets.push(preset);
    let over = presets.len().saturating_sub(MOST);
    presets.drain(..over);
    replaced
}

/// Reads presets one by one: one that cannot be read is left out, and takes no other setting of the window with it.
///
/// # Errors
/// Only when what stands there is no JSON.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OwnPreset>, D::Error> {
    let found = serde_json::Value::deserialize(deserializer)?;
    let serde_json::Value::Array(found) = found else { return Ok(Vec::new()) };
    let presets = found.into_iter().filter_map(|one| serde_json::from_value::<OwnPreset>(one).ok());
    Ok(presets.filter(|preset| !preset.name.is_empty() && preset.lr_peak.is_finite()).take(MOST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::settings::Settings;

    fn preset(name: &str, method: &str, rank: i64) -> OwnPreset {
        let settings = BTreeMap::from([
            ("rank".to_owned(), Value::Integer(rank)),
            ("alpha".to_owned(), Value::Number(32.0)),
            ("targets".to_owned(), Value::List(vec!["attn.q".to_owned()])),
        ]);
        OwnPreset { name: name.to_owned(), method: method.to_owned(), settings, lr_peak: 2e-4 }
    }

    #[test]
    fn a_name_is_there_once_for_each_method() {
        let mut presets = Vec::new();
        assert!(!keep(&mut presets, preset("small", "lora", 4)));
        assert!(!keep(&mut presets, preset("small", "dora", 4)));
        assert!(keep(&mut presets, preset("small", "lora", 8)));
        keep(&mut presets, preset("a", "lora", 2));
        let of_lora: Vec<_> = of_method(&presets, "lora").into_iter().map(|known| known.name.as_str()).collect();
        assert_eq!(of_lora, ["a", "small"]);
        assert_eq!(of_method(&presets, "lora")[1].settings["rank"], Value::Integer(8));
        for number in 0..MOST {
            keep(&mut presets, preset(&format!("n{number}"), "lora", 1));
        }
        assert_eq!(presets.len(), MOST);
        assert!(of_method(&presets, "dora").is_empty(), "the oldest went");
    }

    #[test]
    fn they_survive_a_start_and_a_broken_one_takes_nothing_with_it() {
        let mut settings = Settings { zoom: 1.25, ..Settings::default() };
        settings.presets = vec![preset("small", "lora", 4), preset("wide", "lora", 64)];
        assert_eq!(Settings::read(&settings.text()), settings);
        let text = "{\"zoom\": 1.5, \"presets\": [7, {\"name\": \"x\", \"method\": \"lora\"}, {\"name\": \"y\"}]}";
        let read = Settings::read(text);
        assert!((read.zoom - 1.5).abs() < f32::EPSILON);
        let names: Vec<_> = read.presets.iter().map(|known| known.name.as_str()).collect();
        assert_eq!(names, ["x"]);
        assert!(Settings::read("{\"presets\": \"none\", \"zoom\": 1.5}").presets.is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_not_kept() {
        let mut project = Project::new("p", "m", &[], "lora");
        project.method.settings.0.insert("alpha".to_owned(), Value::Number(f64::NAN));
        project.method.settings.0.insert("rank".to_owned(), Value::Integer(4));
        let kept = OwnPreset::of("  mine ", &project);
        assert_eq!((kept.name.as_str(), kept.settings.len()), ("mine", 1));
    }
}
