//! The room Export: what can be written, what is chosen, what came out.

use crate::reader::snapshot::ExportRecord;
use temper_protocol::{ExportFormat, Problem, StorageType};

/// A line of the table of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetKind {
    /// Format.
    pub format: ExportFormat,
    /// Storage of the tensors; the base's own when absent.
    pub dtype: Option<StorageType>,
    /// Name in the table.
    pub name: &'static str,
    /// Programs that open it.
    pub opens_in: &'static str,
}

/// Everything that can be written, in the order of the table.
pub const TARGETS: [TargetKind; 8] = [
    TargetKind { format: ExportFormat::Peft, dtype: None, name: "PEFT adapter", opens_in: "transformers, vLLM" },
    TargetKind { format: ExportFormat::GgufLora, dtype: None, name: "GGUF LoRA", opens_in: "llama.cpp, Ollama" },
    TargetKind {
        format: ExportFormat::Hf,
        dtype: Some(StorageType::Bf16),
        name: "merged folder, bf16",
        opens_in: "transformers, vLLM",
    },
    TargetKind {
        format: ExportFormat::Hf,
        dtype: Some(StorageType::F16),
        name: "merged folder, f16",
        opens_in: "transformers, vLLM",
    },
    TargetKind {
        format: ExportFormat::Hf,
        dtype: Some(StorageType::F32),
        name: "merged folder, f32",
        opens_in: "transformers",
    },
    TargetKind {
        format: ExportFormat::Gguf,
        dtype: Some(StorageType::F16),
        name: "merged GGUF, f16",
        opens_in: "llama.cpp, Ollama",
    },
    TargetKind {
        format: ExportFormat::Gguf,
        dtype: Some(StorageType::F32),
        name: "merged GGUF, f32",
        opens_in: "llama.cpp, Ollama",
    },
    TargetKind {
        format: ExportFormat::Gguf,
        dtype: Some(StorageType::Q8_0),
        name: "merged GGUF, Q8_0",
        opens_in: "llama.cpp, Ollama",
    },
];

/// A format in words.
#[must_use]
pub fn format_words(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Peft => "PEFT adapter",
        ExportFormat::Hf => "merged folder",
        ExportFormat::Gguf => "merged GGUF",
        ExportFormat::GgufLora => "GGUF LoRA",
    }
}

impl TargetKind {
    /// The end of the file or folder name: `peft`, `hf-bf16`.
    #[must_use]
    pub fn suffix(&self) -> String {
        match self.dtype {
            Some(dtype) => format!("{}-{}", self.format.name(), dtype.name()),
            None => self.format.name().to_owned(),
        }
    }

    /// Whether what is written is one file, not a folder.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.format, ExportFormat::Gguf | ExportFormat::GgufLora)
    }

    /// Size in bytes, estimated from the numbers of parameters.
    #[must_use]
    pub fn bytes(&self, model_parameters: u64, trained_parameters: u64) -> u64 {
        let (count, bits) = match (self.format, self.dtype) {
            (ExportFormat::Peft | ExportFormat::GgufLora, None | Some(StorageType::F32)) => (trained_parameters, 32),
            (ExportFormat::Peft | ExportFormat::GgufLora, _) => (trained_parameters, 16),
            (_, Some(StorageType::F32)) => (model_parameters, 32),
            // 32 values and one 16-bit scale a block.
            (_, Some(StorageType::Q8_0)) => return model_parameters * 34 / 32,
            _ => (model_parameters, 16),
        };
        count * bits / 8
    }
}

/// An export of this session, with the target it was made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// The target, when it is one of the table.
    pub target: Option<usize>,
    /// What was written and measured.
    pub record: ExportRecord,
    /// Wall time of writing and comparing, seconds.
    pub secs: f64,
}

/// The room Export.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    /// The run; the newest that can be exported when none is chosen.
    pub run: Option<u64>,
    /// The chosen target.
    pub target: usize,
    /// Where to write, when it is not the usual place.
    pub out: Option<String>,
    /// Target of the request that is being worked on.
    pub working: Option<usize>,
    /// Results of this session, newest first.
    pub certificates: Vec<Certificate>,
    /// Why the last export or check failed.
    pub problem: Option<Problem>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_the_parameters() {
        let bytes = |index: usize| TARGETS[index].bytes(1_000_000, 1000);
        assert_eq!(bytes(0), 4000);
        assert_eq!(bytes(2), 2_000_000);
        assert_eq!(bytes(4), 4_000_000);
        assert_eq!(bytes(7), 1_062_500);
    }

    #[test]
    fn every_target_has_a_name_of_its_own() {
        for (index, target) in TARGETS.iter().enumerate() {
            assert!(TARGETS[index + 1..].iter().all(|other| other.suffix() != target.suffix()));
        }
    }
}
