//! Which vision graphs there are, and what every one of them can tell.

use super::head::Pooling;
use super::slots::{SlotList, VisionSlot};
use crate::capability::Capability;
use crate::cnn::CnnConfig;
use crate::vit::VitConfig;
use crate::{ModelError, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Configuration of a vision model, by graph.
#[derive(Debug, Clone, PartialEq)]
pub enum VisionConfig {
    /// A vision transformer.
    Vit(VitConfig),
    /// A small convolutional network.
    Cnn(CnnConfig),
}

/// What every graph has: the images it takes, and the classes that its heads tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Classes {
    /// Size of the images (height, width).
    pub image_size: (usize, usize),
    /// Channels of the images.
    pub channels: usize,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Further tasks: a name, and the names of its classes. Each has a head of its own.
    pub tasks: Vec<(String, Vec<String>)>,
}

impl Classes {
    /// Square images and classes that are called by their numbers.
    #[must_use]
    pub fn numbered(image_size: usize, channels: usize, classes: usize) -> Self {
        let labels = (0..classes).map(|class| class.to_string()).collect();
        Self { image_size: (image_size, image_size), channels, labels, tasks: Vec::new() }
    }

    pub(crate) fn head_slots(&self, width: usize, slots: &mut SlotList) {
        slots.site("head", "classifier", &[self.labels.len(), width], 1.0, true);
        for (task, labels) in &self.tasks {
            let (name, file) = (format!("head.{task}"), format!("task_classifiers.{task}"));
            slots.site(&name, &file, &[labels.len(), width], 1.0, true);
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        let sizes =
            [("image height", self.image_size.0), ("image width", self.image_size.1), ("num_channels", self.channels)];
        for (key, size) in sizes {
            if size == 0 || size > 1 << 14 {
                return Err(format!("{key} is {size}, from 1 to {} are possible", 1 << 14));
            }
        }
        for (task, labels) in std::iter::once((String::new(), &self.labels))
            .chain(self.tasks.iter().map(|(task, labels)| (task.clone(), labels)))
        {
            if labels.is_empty() || labels.len() > 1 << 20 {
                return Err(format!("the head {task:?} has {} classes", labels.len()));
            }
            if task.contains('.') {
                return Err(format!("the task {task:?} has a dot in its name"));
            }
        }
        Ok(())
    }

    pub(crate) fn read(json: &Value) -> Result<Self, String> {
        let image_size = match json.get("image_size") {
            None => (224, 224),
            Some(Value::Array(sides)) => match sides.as_slice() {
                [height, width] => (whole(height, "image_size")?, whole(width, "image_size")?),
                _ => return Err("image_size has other than two sides".to_owned()),
            },
            Some(side) => (whole(side, "image_size")?, whole(side, "image_size")?),
        };
        let labels = match json.get("id2label").and_then(Value::as_object) {
            Some(names) => {
                let name = |class: usize| names.get(&class.to_string()).and_then(Value::as_str).map(str::to_owned);
                (0..names.len()).map(name).collect::<Option<Vec<_>>>().ok_or("id2label has gaps")?
            }
            None => (0..size(json, "num_labels", 2)?).map(|class| format!("LABEL_{class}")).collect(),
        };
        let mut tasks = Vec::new();
        for (task, names) in json.get("task_labels").and_then(Value::as_object).into_iter().flatten() {
            let names = names.as_array().ok_or("task_labels holds lists of names")?;
            let names = names.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            tasks.push((task.clone(), names.ok_or("task_labels holds lists of names")?));
        }
        Ok(Self { image_size, channels: size(json, "num_channels", 3)?, labels, tasks })
    }

    pub(crate) fn write(&self, all: &mut Map<String, Value>) {
        let (height, width) = self.image_size;
        let names: Map<String, Value> =
            self.labels.iter().enumerate().map(|(class, label)| (class.to_string(), json!(label))).collect();
        let numbers: Map<String, Value> =
            self.labels.iter().enumerate().map(|(class, label)| (label.clone(), json!(class))).collect();
        let square = if height == width { json!(height) } else { json!([height, width]) };
        all.insert("image_size".to_owned(), square);
        all.insert("num_channels".to_owned(), json!(self.channels));
        all.insert("id2label".to_owned(), Value::Object(names));
        all.insert("label2id".to_owned(), Value::Object(numbers));
        if !self.tasks.is_empty() {
            let tasks: Map<String, Value> =
                self.tasks.iter().map(|(task, labels)| (task.clone(), json!(labels))).collect();
            all.insert("task_labels".to_owned(), Value::Object(tasks));
        }
    }
}

fn whole(value: &Value, key: &str) -> Result<usize, String> {
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number <= 1 << 24).ok_or_else(|| format!("{key} is {value}, not a possible size"))
}

/// A size of config.json, or what its absence means.
pub(crate) fn size(json: &Value, key: &str, default: usize) -> Result<usize, String> {
    match json.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => whole(value, key),
    }
}

/// A number of config.json, or what its absence means.
pub(crate) fn number(json: &Value, key: &str, default: f64) -> Result<f64, String> {
    match json.get(key) {
        None => Ok(default),
        Some(value) => value
            .as_f64()
            .filter(|number| number.is_finite() && *number >= 0.0)
            .ok_or_else(|| format!("{key} is {value}")),
    }
}

impl VisionConfig {
    /// Whether a config.json describes a vision model, by its class or type.
    #[must_use]
    pub fn describes(json: &Value) -> bool {
        graph_of(json).is_some()
    }

    /// Reads config.json; `path` is only for messages.
    ///
    /// # Errors
    /// No vision model, or settings that are impossible or that the graph does not have.
    pub fn from_json(json: &Value, path: &Path) -> Result<Self> {
        let read = match graph_of(json) {
            Some("vit") => VitConfig::from_json(json).map(Self::Vit),
            Some(_) => CnnConfig::from_json(json).map(Self::Cnn),
            None => return Err(ModelError::not_a_model(path, "config.json describes no vision model")),
        };
        let config = read.map_err(|why| ModelError::config(path, why))?;
        config.check().map_err(|why| ModelError::config(path, why))?;
        Ok(config)
    }

    /// The configuration as config.json, keys in alphabetic order.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all = match self {
            Self::Vit(config) => config.to_json(),
            Self::Cnn(config) => config.to_json(),
        };
        self.classes().write(&mut all);
        all.sort_keys();
        Value::Object(all)
    }

    /// Checks that the numbers belong together.
    ///
    /// # Errors
    /// A sentence naming the setting.
    pub fn check(&self) -> Result<(), String> {
        self.classes().check()?;
        match self {
            Self::Vit(config) => config.check(),
            Self::Cnn(config) => config.check(),
        }
    }

    /// Name of the family.
    #[must_use]
    pub const fn family(&self) -> &'static str {
        match self {
            Self::Vit(_) => "vit",
            Self::Cnn(_) => "cnn",
        }
    }

    /// What methods may ask for.
    #[must_use]
    pub const fn capabilities(&self) -> &'static [Capability] {
        match self {
            Self::Vit(_) => &[Capability::Vision, Capability::Encoder],
            Self::Cnn(_) => &[Capability::Vision, Capability::Convolution, Capability::BatchNorm],
        }
    }

    /// Images and classes.
    #[must_use]
    pub const fn classes(&self) -> &Classes {
        match self {
            Self::Vit(config) => &config.classes,
            Self::Cnn(config) => &config.classes,
        }
    }

    pub(crate) const fn classes_mut(&mut self) -> &mut Classes {
        match self {
            Self::Vit(config) => &mut config.classes,
            Self::Cnn(config) => &mut config.classes,
        }
    }

    /// Gives every layer a bias.
    pub(crate) const fn give_biases(&mut self) {
        match self {
            Self::Vit(config) => config.qkv_bias = true,
            Self::Cnn(config) => config.conv_bias = true,
        }
    }

    /// Blocks.
    #[must_use]
    pub fn layers(&self) -> usize {
        match self {
            Self::Vit(config) => config.layers,
            Self::Cnn(config) => config.widths.len(),
        }
    }

    /// Width of what the head pools.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::Vit(config) => config.hidden_size,
            Self::Cnn(config) => config.widths.last().copied().unwrap_or(config.stem_width),
        }
    }

    /// Features of a head of the attention; 0 where there is none.
    #[must_use]
    pub fn head_features(&self) -> usize {
        match self {
            Self::Vit(config) => config.hidden_size / config.heads.max(1),
            Self::Cnn(_) => 0,
        }
    }

    /// Positions of an image after the stem: tokens, or 1 for maps, whose stages count their own places.
    #[must_use]
    pub fn positions(&self) -> usize {
        match self {
            Self::Vit(config) => config.tokens(),
            Self::Cnn(_) => 1,
        }
    }

    /// Tokens at the beginning that stand for something by their place: the class token.
    #[must_use]
    pub fn protected(&self) -> usize {
        usize::from(self.pooling() == Pooling::ClassToken)
    }

    /// How the head makes one vector of an image.
    #[must_use]
    pub const fn pooling(&self) -> Pooling {
        match self {
            Self::Vit(config) => config.pooling,
            Self::Cnn(_) => Pooling::Maps,
        }
    }

    /// Every tensor in writing order.
    #[must_use]
    pub fn slots(&self) -> Vec<VisionSlot> {
        let mut slots = SlotList::default();
        match self {
            Self::Vit(config) => config.slots(&mut slots),
            Self::Cnn(config) => config.slots(&mut slots),
        }
        self.classes().head_slots(self.hidden_size(), &mut slots);
        slots.0
    }
}

/// The graph that a config.json asks for.
fn graph_of(json: &Value) -> Option<&'static str> {
    let class = json.get("architectures").and_then(|all| all.get(0)).and_then(Value::as_str);
    let named = match class {
        Some(class) => class,
        None => json.get("model_type").and_then(Value::as_str)?,
    };
    match named {
        "ViTForImageClassification" | "vit" => Some("vit"),
        "TemperCnn" | "temper-cnn" => Some("cnn"),
        _ => None,
    }
}
