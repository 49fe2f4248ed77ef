//! How a method describes itself, so that the gallery, the form, the plots, the documentation page and
//! the contract tests can be made from its declaration.

use crate::{Setting, SettingType};
use serde::{Deserialize, Serialize};

/// What sort of thing a method is; each kind has one trait in the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A map of single linear layers: slots of the one equation.
    Adapter,
    /// Something at a named point of a stage: prefix, prompt, bottleneck.
    Insertion,
    /// A way to hold the frozen weights.
    Base,
    /// Repair of a quantised or compressed base.
    Repair,
    /// A continual-learning strategy.
    Strategy,
    /// Adaptation on an unlabelled stream.
    Stream,
    /// Combination of several models or adapters.
    Merger,
    /// Adaptation from one domain to another.
    Domain,
    /// A read-only measurement.
    Probe,
}

/// Where a method comes from.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Paper {
    /// Title of the paper.
    pub title: &'static str,
    /// First author and others.
    pub authors: &'static str,
    /// Year of publication.
    pub year: u32,
    /// Identifier such as an arXiv number.
    pub id: &'static str,
}

/// A series that a method plots while it trains.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct SeriesDef {
    /// Name in the store.
    pub name: &'static str,
    /// Unit of the values.
    pub unit: &'static str,
    /// Direction of improvement; `None` when neither is better.
    pub higher_is_better: Option<bool>,
    /// One sentence of meaning.
    pub help: &'static str,
}

/// A clause of the contract that a method cannot meet, with the reason.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Waiver {
    /// `start`, `merge`, `own-base`.
    pub clause: &'static str,
    /// Why it cannot hold.
    pub reason: &'static str,
}

/// The declaration of a method, as its own file writes it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Declared {
    /// Stable identifier, used in project files.
    pub id: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Gallery family, such as `low-rank` or `everything`.
    pub family: &'static str,
    /// What it works on: families by name (`llama`, `vit`) or by what they are (`decoder`, `encoder`, `vision`,
    /// `convolution`, `batch-norm`); one of them is enough, empty means every model.
    pub families: &'static [&'static str],
    /// Bases it works on: `dense`, `blocks`; empty means all.
    pub bases: &'static [&'static str],
    /// Title in the gallery.
    pub title: &'static str,
    /// One sentence for the gallery.
    pub summary: &'static str,
    /// Where it comes from; `None` for plain practice.
    pub paper: Option<Paper>,
    /// Formats it can leave as, best first: `peft`, `gguf-lora`, `hf`, `gguf`, `native`.
    pub exports_as: &'static [&'static str],
    /// Name of its type in PEFT, if there is one.
    pub peft_type: Option<&'static str>,
    /// Whether it folds into the weights exactly.
    pub mergeable: bool,
    /// What can be set.
    pub settings: &'static [Setting],
    /// What it plots.
    pub series: &'static [SeriesDef],
    /// Contract clauses it cannot meet.
    pub waivers: &'static [Waiver],
    /// Documentation in plain words: maths, cost, pitfalls.
    pub docs: &'static str,
}

/// The owned form of a setting, as it crosses the process boundary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingCard {
    /// Key in `[method]`.
    pub key: String,
    /// Label in forms.
    pub label: String,
    /// Type of the value.
    #[serde(rename = "type")]
    pub kind: SettingType,
    /// Default, as text.
    pub default: String,
    /// Smallest value allowed.
    pub min: Option<f64>,
    /// Largest value allowed.
    pub max: Option<f64>,
    /// Values of a choice.
    pub choices: Vec<String>,
    /// Unit, or empty.
    pub unit: String,
    /// Help.
    pub help: String,
    /// Behind "more" in forms.
    pub advanced: bool,
}

/// The owned form of a declaration: the `method` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodCard {
    /// Identifier.
    pub id: String,
    /// Kind.
    pub kind: Kind,
    /// Gallery family.
    pub family: String,
    /// Model families it works on; empty means all.
    pub families: Vec<String>,
    /// Bases it works on; empty means all.
    pub bases: Vec<String>,
    /// Title.
    pub title: String,
    /// One sentence.
    pub summary: String,
    /// Title of the paper, or empty.
    pub paper: String,
    /// Year of the paper, or 0.
    pub year: u32,
    /// Formats it can leave as.
    pub exports_as: Vec<String>,
    /// PEFT's type name.
    pub peft_type: Option<String>,
    /// Whether it folds into the weights exactly.
    pub mergeable: bool,
    /// What can be set.
    pub settings: Vec<SettingCard>,
    /// Clauses of the contract that it cannot meet, each with the reason; empty when it meets all.
    #[serde(default)]
    pub waivers: Vec<String>,
    /// Whether it was made to leave alone what the model knows.
    #[serde(default)]
    pub protects_knowledge: bool,
    /// The highest learning rate that it usually takes; 0 when nobody said.
    #[serde(default)]
    pub lr_peak: f64,
    /// Documentation.
    pub docs: String,
    /// The whole page, as Markdown.
    #[serde(default)]
    pub page: String,
}

impl Declared {
    /// Every form that the method leaves in, best first: what it declares, and what follows from that. mlx-lm takes two
    /// factors for each layer, as a GGUF adapter holds them.
    #[must_use]
    pub fn leaves_as(&self) -> Vec<&'static str> {
        let with_kin = |format: &&'static str| match *format {
            "gguf-lora" => vec!["gguf-lora", "mlx"],
            other => vec![other],
        };
        self.exports_as.iter().flat_map(with_kin).collect()
    }

    /// The owned form.
    #[must_use]
    pub fn card(&self) -> MethodCard {
        let owned = |list: &[&str]| list.iter().map(|item| (*item).to_owned()).collect();
        MethodCard {
            id: self.id.to_owned(),
            kind: self.kind,
            family: self.family.to_owned(),
            families: owned(self.families),
            bases: owned(self.bases),
            title: self.title.to_owned(),
            summary: self.summary.to_owned(),
            paper: self.paper.map_or_else(String::new, |paper| {
                format!("{} ({}, {}, {})", paper.title, paper.authors, paper.year, paper.id)
            }),
            year: self.paper.map_or(0, |paper| paper.year),
            exports_as: owned(&self.leaves_as()),
            peft_type: self.peft_type.map(str::to_owned),
            mergeable: self.mergeable,
            settings: self
                .settings
                .iter()
                .map(|setting| SettingCard {
                    key: setting.key.to_owned(),
                    label: setting.label.to_owned(),
                    kind: setting.kind,
                    default: setting.default.to_owned(),
                    min: setting.min,
                    max: setting.max,
                    choices: owned(setting.choices),
                    unit: setting.unit.to_owned(),
                    help: setting.help.to_owned(),
                    advanced: setting.advanced,
                })
                .collect(),
            waivers: self.waivers.iter().map(|waiver| format!("{}: {}", waiver.clause, waiver.reason)).collect(),
            protects_knowledge: false,
            lr_peak: 0.0,
            docs: self.docs.to_owned(),
            page: String::new(),
        }
    }
}
