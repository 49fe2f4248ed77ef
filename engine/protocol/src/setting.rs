//! Settings as data: a method declares what can be set, the form, the validation and the
//! documentation follow from the declaration.

use crate::{Code, Problem};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What kind of value a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingType {
    /// A whole number.
    Integer,
    /// A real number.
    Number,
    /// Yes or no.
    Flag,
    /// One of `choices`.
    Choice,
    /// Free text.
    Text,
    /// A list of texts; a single text stands for a list of one.
    List,
    /// A table from text to number, such as a rank pattern.
    Table,
}

/// A declared setting. `default`, `min` and `max` use the textual form so that declarations can be
/// constants; [`Setting::default_value`] parses it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Setting {
    /// Key in `[method]` of `project.toml`.
    pub key: &'static str,
    /// Label in forms.
    pub label: &'static str,
    /// Type of the value.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// Default, as text.
    pub default: &'static str,
    /// Smallest value allowed (numbers).
    pub min: Option<f64>,
    /// Largest value allowed (numbers).
    pub max: Option<f64>,
    /// Values of a choice.
    pub choices: &'static [&'static str],
    /// Unit shown beside the value; empty when there is none.
    pub unit: &'static str,
    /// One sentence of help.
    pub help: &'static str,
    /// Shown only behind "more" in forms.
    pub advanced: bool,
}

/// A value of a setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Yes or no.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// A real number.
    Number(f64),
    /// Text or choice.
    Text(String),
    /// A list of texts; numbers in it are read as texts, so that `layers = [0, 1]` works.
    List(#[serde(deserialize_with = "texts")] Vec<String>),
    /// Pattern to number.
    Table(BTreeMap<String, f64>),
}

/// Texts, or numbers as their texts.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Item {
        Text(String),
        Integer(i64),
        Number(f64),
    }
    let items = Vec::<Item>::deserialize(deserializer)?;
    let text = |item| match item {
        Item::Text(text) => text,
        Item::Integer(number) => number.to_string(),
        Item::Number(number) => number.to_string(),
    };
    Ok(items.into_iter().map(text).collect())
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(v) => write!(f, "{v}"),
            Self::Integer(v) => write!(f, "{v}"),
            Self::Number(v) => write!(f, "{v}"),
            Self::Text(v) => f.write_str(v),
            Self::List(v) => f.write_str(&v.join(", ")),
            Self::Table(v) => {
                let mut first = true;
                for (key, number) in v {
                    write!(f, "{}{key} = {number}", if first { "" } else { ", " })?;
                    first = false;
                }
                Ok(())
            }
        }
    }
}

impl Setting {
    /// The default as a value.
    #[must_use]
    pub fn default_value(&self) -> Value {
        self.parse(self.default).unwrap_or_else(|_| Value::Text(self.default.to_owned()))
    }

    /// Reads a value from text, as `--set key=value` and forms give it.
    ///
    /// # Errors
    /// A [`Problem`] that names the setting, the type wanted and the text given.
    pub fn parse(&self, text: &str) -> Result<Value, Problem> {
        let text = text.trim();
        let bad = |wanted: &str| {
            Problem::new(
                Code::MethodInvalid,
                format!("\"{text}\" is not {wanted}"),
                self.key,
                format!("give {wanted}; the default is {}", self.default),
            )
        };
        let value = match self.kind {
            SettingType::Integer => {
                Value::Integer(text.replace('_', "").parse().map_err(|_error| bad("a whole number"))?)
            }
            SettingType::Number => Value::Number(text.parse().map_err(|_error| bad("a number"))?),
            SettingType::Flag => Value::Flag(match text {
                "true" | "yes" | "on" | "1" => true,
                "false" | "no" | "off" | "0" => false,
                _ => return Err(bad("true or false")),
            }),
            SettingType::Choice | SettingType::Text => Value::Text(text.to_owned()),
            SettingType::List => Value::List(
                text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect(),
            ),
            SettingType::Table => {
                let mut table = BTreeMap::new();
                for part in text.split(',').filter(|part| !part.trim().is_empty()) {
                    let (key, number) = part.rsplit_once('=').ok_or_else(|| bad("a list like pattern=number"))?;
                    let number = number.trim().parse().map_err(|_error| bad("a list like pattern=number"))?;
                    table.insert(key.trim().to_owned(), number);
                }
                Value::Table(table)
            }
        };
        self.check(&value)?;
        Ok(value)
    }

    /// `value` as this setting's type where nothing is lost: a number stands for its text where texts or lists
    /// are wanted, because `--set method.layers=5` reads as one.
    #[must_use]
    pub fn adopt(&self, value: &Value) -> Value {
        match (self.kind, value) {
            (SettingType::Text | SettingType::List, Value::Integer(_) | Value::Number(_)) => {
                Value::Text(value.to_string())
            }
            _ => value.clone(),
        }
    }

    /// Checks type and range; integers are accepted where numbers are wanted.
    ///
    /// # Errors
    /// A [`Problem`] that names the setting and the range.
    pub fn check(&self, value: &Value) -> Result<(), Problem> {
        let number = match (self.kind, value) {
            (SettingType::Integer, Value::Integer(v)) => Some(*v as f64),
            (SettingType::Number, Value::Integer(v)) => Some(*v as f64),
            (SettingType::Number, Value::Number(v)) => Some(*v),
            (SettingType::Flag, Value::Flag(_))
            | (SettingType::Text, Value::Text(_))
            | (SettingType::List, Value::List(_) | Value::Text(_))
            | (SettingType::Table, Value::Table(_)) => None,
            (SettingType::Choice, Value::Text(v)) => {
                if self.choices.contains(&v.as_str()) {
                    None
                } else {
                    return Err(Problem::new(
                        Code::MethodInvalid,
                        format!("\"{v}\" is not a choice for {}", self.key),
                        self.key,
                        format!("choose one of: {}", self.choices.join(", ")),
                    ));
                }
            }
            _ => {
                return Err(Problem::new(
                    Code::MethodInvalid,
                    format!("{} does not take the value {value}", self.key),
                    self.key,
                    format!("the default is {}", self.default),
                ));
            }
        };
        if let Some(number) = number {
            let low = self.min.is_some_and(|min| number < min);
            let high = self.max.is_some_and(|max| number > max);
            if low || high || !number.is_finite() {
                let bound = |limit: Option<f64>| limit.map_or_else(|| "no limit".to_owned(), |v| v.to_string());
                return Err(Problem::new(
                    Code::MethodInvalid,
                    format!("{} = {number} is out of range", self.key),
                    self.key,
                    format!("give a value from {} to {}", bound(self.min), bound(self.max)),
                ));
            }
        }
        Ok(())
    }
}

/// Values of a method's settings, completed by the defaults of its declaration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Values(pub BTreeMap<String, Value>);

impl Values {
    /// Whole number under `key`, or 0 when the declaration has no such setting.
    #[must_use]
    pub fn integer(&self, key: &str) -> i64 {
        match self.0.get(key) {
            Some(Value::Integer(v)) => *v,
            Some(Value::Number(v)) => *v as i64,
            _ => 0,
        }
    }

    /// Number under `key`, or 0.
    #[must_use]
    pub fn number(&self, key: &str) -> f64 {
        match self.0.get(key) {
            Some(Value::Integer(v)) => *v as f64,
            Some(Value::Number(v)) => *v,
            _ => 0.0,
        }
    }

    /// Flag under `key`, or false.
    #[must_use]
    pub fn flag(&self, key: &str) -> bool {
        matches!(self.0.get(key), Some(Value::Flag(true)))
    }

    /// Text under `key`, or empty.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        match self.0.get(key) {
            Some(Value::Text(v)) => v,
            _ => "",
        }
    }

    /// List under `key`; a single text is a list of one.
    #[must_use]
    pub fn list(&self, key: &str) -> Vec<String> {
        match self.0.get(key) {
            Some(Value::List(v)) => v.clone(),
            Some(Value::Text(v)) if !v.is_empty() => vec![v.clone()],
            _ => Vec::new(),
        }
    }

    /// Table under `key`, or empty.
    #[must_use]
    pub fn table(&self, key: &str) -> BTreeMap<String, f64> {
        match self.0.get(key) {
            Some(Value::Table(v)) => v.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// Checks every value against `settings` and fills in the defaults of those that are absent.
    ///
    /// # Errors
    /// A [`Problem`] for an unknown key (with the nearest known one) or a value out of range.
    pub fn complete(&self, settings: &[Setting], place: &str) -> Result<Self, Problem> {
        let mut full = BTreeMap::new();
        for (key, value) in &self.0 {
            let Some(setting) = settings.iter().find(|setting| setting.key == key) else {
                let known: Vec<&str> = settings.iter().map(|setting| setting.key).collect();
                return Err(crate::project_file::unknown_key(key, &known, place));
            };
            let value = setting.adopt(value);
            setting.check(&value)?;
            full.insert(key.clone(), value);
        }
        for setting in settings {
            full.entry(setting.key.to_owned()).or_insert_with(|| setting.default_value());
        }
        Ok(Self(full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYERS: Setting = Setting {
        key: "layers",
        label: "Layers",
        kind: SettingType::List,
        default: "",
        min: None,
        max: None,
        choices: &[],
        unit: "",
        help: "",
        advanced: false,
    };

    #[test]
    fn numbers_stand_for_their_texts_in_lists() {
        for (written, list) in [("layers = 5", "5"), ("layers = [0, 1]", "0 1"), ("layers = [\"0-2\", 7]", "0-2 7")] {
            let values: Values = toml::from_str(written).unwrap();
            let values = values.complete(&[LAYERS], "[method]").unwrap();
            assert_eq!(values.list("layers").join(" "), list, "{written}");
        }
        let flag: Values = toml::from_str("layers = true").unwrap();
        assert!(flag.complete(&[LAYERS], "[method]").is_err());
    }
}
