//! Building stones of declarations: a blank [`Setting`] per type, and the settings that many methods share.

use temper_protocol::{Setting, SettingType};

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
