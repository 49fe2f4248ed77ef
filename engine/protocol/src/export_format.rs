//! The formats that a result can be written in.
//!
//! Place in the data flow: a part of the `export` command, of export records and of project files. Whoever writes,
//! checks or shows an export matches on this.

use serde::{Deserialize, Serialize};

/// What an export writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ExportFormat {
    /// A Hugging Face PEFT adapter folder.
    #[serde(rename = "peft")]
    Peft,
    /// A merged Hugging Face folder.
    #[serde(rename = "hf")]
    Hf,
    /// A merged GGUF file.
    #[serde(rename = "gguf")]
    Gguf,
    /// A GGUF adapter.
    #[serde(rename = "gguf-lora")]
    GgufLora,
    /// An adapter folder of this program, for what no other format holds.
    #[serde(rename = "native")]
    Native,
    /// An adapter folder that mlx-lm loads.
    #[serde(rename = "mlx")]
    Mlx,
    /// What a run was and what came of it, for somebody else to check and to repeat.
    #[serde(rename = "capsule")]
    Capsule,
}

/// Largest adapter that a capsule takes along, bytes; a larger one stays where it is and only its hash leaves.
pub const CAPSULE_ADAPTER_BYTES: u64 = 64 << 20;

/// Name of the file that says what a capsule holds.
pub const CAPSULE_FILE: &str = "capsule.json";

impl ExportFormat {
    /// All formats, in the order of the export room.
    pub const ALL: [Self; 7] =
        [Self::Peft, Self::Hf, Self::Gguf, Self::GgufLora, Self::Native, Self::Mlx, Self::Capsule];

    /// The name on the command line and in project files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Peft => "peft",
            Self::Hf => "hf",
            Self::Gguf => "gguf",
            Self::GgufLora => "gguf-lora",
            Self::Native => "native",
            Self::Mlx => "mlx",
            Self::Capsule => "capsule",
        }
    }

    /// The format called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}
