//! Building stones of declarations: a blank [`Setting`] per type, and the settings and series that many methods share.

use temper_protocol::{SeriesDef, Setting, SettingType};

const BLANK: Setting = Setting {
    key: "",
    label: "",
    kind: SettingType::Text,
    default: "",
    min: None,
    max: None,
    choices: &[],
    unit: "",
    help: "",
    advanced: false,
};

/// A whole number; set key, label, default, range and help.
pub const INTEGER: Setting = Setting { kind: SettingType::Integer, ..BLANK };
/// A real number; set key, label, default, range and help.
pub const NUMBER: Setting = Setting { kind: SettingType::Number, ..BLANK };
/// Yes or no; set key, label, default and help.
pub const FLAG: Setting = Setting { kind: SettingType::Flag, default: "false", ..BLANK };
/// One of several; set key, label, default, choices and help.
pub const CHOICE: Setting = Setting { kind: SettingType::Choice, ..BLANK };
/// Pattern to number; set key, label and help.
pub const TABLE: Setting = Setting { kind: SettingType::Table, advanced: true, ..BLANK };

/// Which linear layers are adapted.
pub const TARGETS: Setting = Setting {
    key: "targets",
    label: "Layers to adapt",
    kind: SettingType::List,
    default: "all-linear",
    help: "all-linear (every linear layer but the output head), names such as q_proj or attn.q, or a regular \
           expression that matches whole module paths (start it with re: when it could be taken for a name)",
    ..BLANK
};

/// Which of those are left out again.
pub const EXCLUDE: Setting = Setting {
    key: "exclude",
    label: "Layers to leave out",
    kind: SettingType::List,
    help: "names or regular expressions, as for the layers to adapt; leaving out wins",
    advanced: true,
    ..BLANK
};

/// Which blocks are adapted.
pub const LAYERS: Setting = Setting {
    key: "layers",
    label: "Blocks to adapt",
    kind: SettingType::List,
    help: "block numbers from 0, such as 0-5,10 or 20-; empty means all",
    advanced: true,
    ..BLANK
};

/// Inner width of the change; set the default.
pub const RANK: Setting = Setting {
    key: "rank",
    label: "Rank",
    default: "16",
    min: Some(1.0),
    max: Some(1024.0),
    help: "inner width of the change; memory and parameters grow with it",
    ..INTEGER
};

/// Strength of the change; set the default.
pub const ALPHA: Setting = Setting {
    key: "alpha",
    label: "Alpha",
    default: "32",
    min: Some(0.001),
    max: Some(65536.0),
    help: "strength: the change is multiplied by alpha / rank",
    ..NUMBER
};

/// Dropout on the adapter's input.
pub const DROPOUT: Setting = Setting {
    key: "dropout",
    label: "Dropout",
    default: "0",
    min: Some(0.0),
    max: Some(0.9),
    help: "share of the adapter's inputs dropped while training; 0.05 to 0.1 helps on small data",
    ..NUMBER
};

/// How a weight is decomposed for the start.
pub const ITERATIONS: Setting = Setting {
    key: "iterations",
    label: "Decomposition",
    default: "4",
    min: Some(0.0),
    max: Some(64.0),
    help: "rounds of the fast randomised decomposition; 0 decomposes exactly, which takes longer on large layers",
    advanced: true,
    ..INTEGER
};

/// How often layers compete for directions; set default and help.
pub const EVERY_STEPS: Setting = Setting {
    key: "every_steps",
    label: "Steps between two choices",
    default: "10",
    min: Some(1.0),
    max: Some(100_000.0),
    ..INTEGER
};

/// Weight of an extra loss; set the default.
pub const ORTHOGONALITY: Setting = Setting {
    key: "orthogonality",
    label: "Orthogonality",
    default: "0.5",
    min: Some(0.0),
    max: Some(100.0),
    help: "weight of the loss that keeps the directions of a layer apart",
    advanced: true,
    ..NUMBER
};

/// How many directions the change of a layer uses.
pub const EFFECTIVE_RANK: SeriesDef = SeriesDef {
    name: "effective_rank",
    unit: "",
    higher_is_better: None,
    help: "how many directions the change of a layer really uses: the exponential of the entropy of its normalised \
           singular values",
};

/// Size of the change of a layer.
pub const ENERGY: SeriesDef = SeriesDef {
    name: "energy",
    unit: "",
    higher_is_better: None,
    help: "size of the change of a layer over the size of its weight, ‖W_eff − W‖ / ‖W‖",
};

/// Size of the change of a bias.
pub const BIAS_SHIFT: SeriesDef = SeriesDef {
    name: "bias_shift",
    unit: "",
    higher_is_better: None,
    help: "size of the change of a layer's bias, ‖b_eff − b‖",
};

/// How much data a method looks at before it starts; set the default.
pub const CALIBRATION_ROWS: Setting = Setting {
    key: "calibration_rows",
    label: "Rows to look at",
    default: "256",
    min: Some(1.0),
    max: Some(65536.0),
    help: "rows of the training data that the base reads before the first step, at most; no row is read twice",
    advanced: true,
    ..INTEGER
};
