//! The room Export: what can be written, what is chosen, what came out.

use crate::reader::snapshot::ExportRecord;
use crate::state::{Ask, State};
use crate::texts::Text;
use std::collections::BTreeMap;
use std::path::PathBuf;
use temper_protocol::{CAPSULE_ADAPTER_BYTES, ExportFormat, MethodCard, Problem, StorageType};

/// A line of the table of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetKind {
    /// Format.
    pub format: ExportFormat,
    /// Storage of the tensors; the base's own when absent.
    pub dtype: Option<StorageType>,
    /// Name in the table.
    pub name: Text,
    /// Programs that open it.
    pub opens_in: &'static str,
}

/// Everything that can be written, in the order of the table.
pub const TARGETS: [TargetKind; 15] = [
    TargetKind { format: ExportFormat::Peft, dtype: None, name: k!("export-peft"), opens_in: "transformers, vLLM" },
    TargetKind {
        format: ExportFormat::GgufLora,
        dtype: None,
        name: k!("export-gguf-lora"),
        opens_in: "llama.cpp, Ollama",
    },
    TargetKind {
        format: ExportFormat::Hf,
        dtype: Some(StorageType::Bf16),
        name: k!("export-hf-bf16"),
        opens_in: "transformers, vLLM",
    },
    TargetKind {
        format: ExportFormat::Hf,
        dtype: Some(StorageType::F16),
        name: k!("export-hf-f16"),
        opens_in: "transformers, vLLM",
    },
    TargetKind {
        format: ExportFormat::Hf,
        dtype: Some(StorageType::F32),
        name: k!("export-hf-f32"),
        opens_in: "transformers",
    },
    TargetKind {
        format: ExportFormat::Gguf,
        dtype: Some(StorageType::F16),
        name: k!("export-gguf-f16"),
        opens_in: "llama.cpp, Ollama",
    },
    TargetKind {
        format: ExportFormat::Gguf,
        dtype: Some(StorageType::F32),
        name: k!("export-gguf-f32"),
        opens_in: "llama.cpp, Ollama",
    },
    TargetKind {
        format: ExportFormat::Gguf,
        dtype: Some(StorageType::Q8_0),
        name: k!("export-gguf-q8"),
        opens_in: "llama.cpp, Ollama",
    },
    TargetKind {
        format: ExportFormat::Gguf,
        dtype: Some(StorageType::Q6K),
        name: k!("export-gguf-q6k"),
        opens_in: "llama.cpp, Ollama",
    },
    TargetKind {
        format: ExportFormat::Gguf,
        dtype: Some(StorageType::Q5K),
        name: k!("export-gguf-q5k"),
        opens_in: "llama.cpp, Ollama",
    },
    TargetKind {
        format: ExportFormat::Gguf,
        dtype: Some(StorageType::Q4K),
        name: k!("export-gguf-q4k"),
        opens_in: "llama.cpp, Ollama",
    },
    TargetKind { format: ExportFormat::Gguf, dtype: None, name: k!("export-gguf-base"), opens_in: "llama.cpp, Ollama" },
    TargetKind { format: ExportFormat::Native, dtype: None, name: k!("export-native"), opens_in: "Temper" },
    TargetKind { format: ExportFormat::Mlx, dtype: None, name: k!("export-mlx"), opens_in: "mlx-lm" },
    TargetKind { format: ExportFormat::Capsule, dtype: None, name: k!("export-capsule"), opens_in: "Temper" },
];

/// A format in words.
#[must_use]
pub fn format_words(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Peft => t!("export-peft"),
        ExportFormat::Hf => t!("export-hf"),
        ExportFormat::Gguf => t!("export-gguf"),
        ExportFormat::GgufLora => t!("export-gguf-lora"),
        ExportFormat::Native => t!("export-native"),
        ExportFormat::Mlx => t!("export-mlx"),
        ExportFormat::Capsule => t!("export-capsule"),
    }
}

/// What the files of a run hold, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Numbers of the merged model.
    pub model: u64,
    /// Numbers of the PEFT adapter.
    pub peft: u64,
    /// Numbers of the GGUF adapter, which has two factors for each layer whatever the method trained.
    pub gguf_lora: u64,
    /// Numbers that were trained.
    pub trained: u64,
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

    /// Whether a result of the method leaves in this form. A capsule says what a run was, whatever it trained.
    #[must_use]
    pub fn is_form_of(&self, card: &MethodCard) -> bool {
        self.format == ExportFormat::Capsule || card.exports_as.iter().any(|format| format == self.format.name())
    }

    /// What the name of a file or folder of a run ends with, behind `NAME-runN`.
    #[must_use]
    pub fn ending(&self) -> String {
        let suffix = self.suffix();
        if self.format == ExportFormat::Capsule {
            format!(".{suffix}")
        } else if self.is_file() {
            format!("-{suffix}.gguf")
        } else {
            format!("-{suffix}")
        }
    }

    /// Size in bytes, estimated from the numbers in the files.
    #[must_use]
    pub fn bytes(&self, held: &Held) -> u64 {
        let adapter = match self.format {
            ExportFormat::Peft => Some(held.peft),
            ExportFormat::GgufLora | ExportFormat::Mlx => Some(held.gguf_lora),
            ExportFormat::Native => Some(held.trained),
            // A large adapter stays where it is: what is left is text.
            ExportFormat::Capsule => Some(held.trained).filter(|count| count * 4 <= CAPSULE_ADAPTER_BYTES).or(Some(0)),
            ExportFormat::Hf | ExportFormat::Gguf => None,
        };
        match (adapter, self.dtype) {
            (Some(count), None | Some(StorageType::F32)) => count * 4,
            (Some(count), _) => count * 2,
            (None, Some(dtype)) => (held.model as f64 * dtype.bytes_per_value()).round() as u64,
            (None, None) => held.model * 2,
        }
    }
}

/// An adapter folder that belongs to no run of the project, and the base that it goes onto.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BareAdapter {
    /// The folder; empty while none is chosen.
    pub path: String,
    /// The base model, where it is not the project's.
    pub model: Option<String>,
}

/// What an export was asked for: all of it may be chosen anew before the engine begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exporting {
    /// The project it is of.
    pub project: Option<PathBuf>,
    /// Place of the target in [`TARGETS`].
    pub target: usize,
    /// The run, where it is of one.
    pub run: Option<u64>,
    /// The adapter folder, where it is of one and of no run.
    pub adapter: Option<BareAdapter>,
}

impl Exporting {
    /// Its format in words.
    #[must_use]
    pub fn words(&self) -> &'static str {
        TARGETS.get(self.target).map_or_else(|| t!("export-the-export"), |target| format_words(target.format))
    }
}

impl State {
    /// The export of the open project that waits or is being written, and its request.
    #[must_use]
    pub fn exporting(&self) -> Option<(u64, &Exporting)> {
        self.jobs.iter().find_map(|(request, running)| match &running.ask {
            Ask::Export(asked) if asked.project == self.draft.folder => Some((request, asked)),
            _ => None,
        })
    }
}

/// An export of this session, with the target it was made for.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// The target, when it is one of the table.
    pub target: Option<usize>,
    /// The run it is of, where that is known.
    pub run: Option<u64>,
    /// The adapter folder it is of, where it is of one and of no run.
    pub adapter: Option<BareAdapter>,
    /// What was written and measured.
    pub record: ExportRecord,
    /// Wall time of writing and comparing, seconds.
    pub secs: f64,
}

impl Certificate {
    /// The target that it was written as: the one asked for, else the one of this format whose name ends the file's.
    #[must_use]
    pub fn target_index(&self) -> Option<usize> {
        self.target.or_else(|| target_of(&self.record))
    }

    /// Where it lies, or would lie had it passed.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        place_of(&self.record)
    }
}

fn place_of(record: &ExportRecord) -> PathBuf {
    let path = record.path.display().to_string();
    path.strip_suffix(".rejected").map_or_else(|| record.path.clone(), PathBuf::from)
}

/// The target that an export on record looks like: the one of its format whose name ends the file's.
#[must_use]
pub fn target_of(record: &ExportRecord) -> Option<usize> {
    let name = place_of(record).file_name()?.to_string_lossy().into_owned();
    let stem = name.strip_suffix(".gguf").unwrap_or(&name).to_owned();
    let of_format = |(_, target): &(usize, &TargetKind)| target.format.name() == record.format;
    let named = TARGETS.iter().enumerate().filter(of_format).find(|(_, target)| stem.ends_with(&target.suffix()));
    Some(named.or_else(|| TARGETS.iter().enumerate().find(of_format))?.0)
}

/// The room Export.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Export {
    /// The run; the newest that can be exported when none is chosen.
    pub run: Option<u64>,
    /// An adapter folder instead of a run.
    pub adapter: Option<BareAdapter>,
    /// The chosen target.
    pub target: usize,
    /// Where to write, when it is not the usual place.
    pub out: Option<String>,
    /// The run whose model card somebody wrote, and its text; filled from the run when absent.
    pub card: Option<(u64, String)>,
    /// Why a merged GGUF cannot be written, by model path as the engine is asked about it.
    pub no_gguf: BTreeMap<String, String>,
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
        let held = Held { model: 1_000_000, peft: 1000, gguf_lora: 2000, trained: 900 };
        let bytes = |index: usize| TARGETS[index].bytes(&held);
        assert_eq!(bytes(0), 4000);
        assert_eq!(bytes(1), 8000, "converted into two factors a layer");
        assert_eq!(bytes(2), 2_000_000);
        assert_eq!(bytes(4), 4_000_000);
        assert_eq!(bytes(7), 1_062_500);
        assert_eq!(bytes(8), 820_313, "super-blocks of 256 values take 210 bytes");
        assert!(bytes(10) > 562_500 && bytes(10) < bytes(9) && bytes(9) < bytes(8), "4 and 5 bits, some of them 6");
    }

    #[test]
    fn an_export_is_known_by_what_its_name_ends_with() {
        let certificate = |format: &str, path: &str| Certificate {
            target: None,
            run: None,
            adapter: None,
            record: ExportRecord { format: format.to_owned(), path: PathBuf::from(path), ..ExportRecord::default() },
            secs: 0.0,
        };
        assert_eq!(certificate("gguf", "/e/tone-run7-gguf-q8_0.gguf.rejected").target_index(), Some(7));
        assert_eq!(certificate("gguf", "/e/tone-run7-gguf.gguf").target_index(), Some(11), "in the types of the base");
        assert_eq!(certificate("gguf", "/e/tone-run7-gguf-q4_k.gguf").target_index(), Some(10));
        assert_eq!(certificate("native", "/e/tone-run7-native").target_index(), Some(12));
        assert_eq!(certificate("hf", "/e/tone-run7-hf-f16").target_index(), Some(3));
        assert_eq!(certificate("hf", "/e/other-name").target_index(), Some(2), "the first of its format");
        assert_eq!(certificate("onnx", "/e/other-name").target_index(), None);
        for (format, name) in [(ExportFormat::Mlx, "/e/other-name"), (ExportFormat::Capsule, "/e/tone-run7.capsule")] {
            let found = certificate(format.name(), name).target_index().expect("one of the table");
            assert_eq!(TARGETS[found].format, format);
        }
        assert_eq!(certificate("gguf", "/e/a.gguf.rejected").place(), PathBuf::from("/e/a.gguf"));
    }

    #[test]
    fn mlx_has_two_factors_a_layer_and_a_capsule_a_small_adapter() {
        let held = Held { model: 1_000_000, peft: 1000, gguf_lora: 2000, trained: 900 };
        let of = |format: ExportFormat| TARGETS.iter().find(|target| target.format == format).expect("a target");
        assert_eq!(of(ExportFormat::Mlx).bytes(&held), 8000);
        assert_eq!(of(ExportFormat::Capsule).bytes(&held), 3600);
        let large = Held { trained: CAPSULE_ADAPTER_BYTES, ..held };
        assert_eq!(of(ExportFormat::Capsule).bytes(&large), 0, "a large adapter stays with its run");
        let endings =
            [ExportFormat::Mlx, ExportFormat::Capsule, ExportFormat::GgufLora].map(|format| of(format).ending());
        assert_eq!(endings, ["-mlx", ".capsule", "-gguf-lora.gguf"]);
    }

    #[test]
    fn every_target_has_a_name_of_its_own() {
        for (index, target) in TARGETS.iter().enumerate() {
            assert!(TARGETS[index + 1..].iter().all(|other| other.suffix() != target.suffix()));
        }
    }
}
