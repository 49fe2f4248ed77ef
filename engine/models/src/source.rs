//! Where a model came from, and its tensors whatever the format: one list that weights are taken from.

use crate::config::LlamaConfig;
use crate::gguf::{GgufFile, config_from_gguf};
use crate::hf::{HfFolder, config_from_hf};
use crate::names::Slot;
use crate::{ModelError, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_nn::{Bytes, StorageKind};

/// Where a model came from.
#[derive(Debug, Clone)]
pub enum ModelSource {
    /// A Hugging Face folder.
    HfFolder(Arc<HfFolder>),
    /// A GGUF file.
    Gguf(Arc<GgufFile>),
    /// New, from a configuration and a seed.
    Random,
}

impl ModelSource {
    /// Opens what lies at `path`: a GGUF file by its first bytes, a `.safetensors` file with config.json beside it,
    /// or a folder with config.json, or with one GGUF file and nothing else to load.
    ///
    /// # Errors
    /// There is no model, or it is damaged, or its weights are pickled.
    pub fn open(path: &Path) -> Result<Self> {
        let information = std::fs::metadata(path).map_err(|error| ModelError::io(path, error))?;
        if information.is_dir() {
            if !path.join("config.json").is_file()
                && let Some(file) = only_gguf(path)?
            {
                return Ok(Self::Gguf(Arc::new(GgufFile::open(&file)?)));
            }
            return Ok(Self::HfFolder(Arc::new(HfFolder::open(path)?)));
        }
        if starts_with(path, &crate::gguf::MAGIC)? || has_extension(path, "gguf") {
            return Ok(Self::Gguf(Arc::new(GgufFile::open(path)?)));
        }
        if has_extension(path, "safetensors") {
            return Ok(Self::HfFolder(Arc::new(HfFolder::open(path)?)));
        }
        if is_pickle(path)? {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(ModelError::Pickle { path: path.to_owned(), file });
        }
        Err(ModelError::not_a_model(path, "it is neither GGUF nor safetensors"))
    }

    /// The configuration that it states; none for [`Self::Random`].
    ///
    /// # Errors
    /// Unknown architecture, or missing or impossible settings.
    pub fn config(&self) -> Result<Option<LlamaConfig>> {
        match self {
            Self::HfFolder(folder) => config_from_hf(&folder.config_json, &folder.config_path).map(Some),
            Self::Gguf(file) => config_from_gguf(file).map(Some),
            Self::Random => Ok(None),
        }
    }

    /// The file or folder, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::HfFolder(folder) => &folder.dir,
            Self::Gguf(file) => file.path(),
            Self::Random => Path::new("(new model)"),
        }
    }

    /// The same source over fresh maps: pages that were read to convert its weights are given back.
    pub(crate) fn reopen(self) -> Result<Self> {
        match &self {
            Self::HfFolder(folder) => Self::open(&folder.opened),
            Self::Gguf(file) => Self::open(file.path()),
            Self::Random => Ok(self),
        }
    }

    /// `huggingface`, `gguf` or `random`.
    #[must_use]
    pub fn format(&self) -> &'static str {
        match self {
            Self::HfFolder(_) => "huggingface",
            Self::Gguf(_) => "gguf",
            Self::Random => "random",
        }
    }

    /// What a tensor is called in this source.
    #[must_use]
    pub fn name_of(&self, slot: &Slot) -> String {
        match self {
            Self::Gguf(_) => slot.gguf.clone(),
            Self::HfFolder(_) | Self::Random => slot.hf.clone(),
        }
    }

    /// Files with their sizes.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        match self {
            Self::HfFolder(folder) => folder.files.clone(),
            Self::Gguf(file) => vec![(file.path().to_owned(), file.file_bytes())],
            Self::Random => Vec::new(),
        }
    }

    /// Every tensor in the order of the files.
    pub(crate) fn tensors(&self) -> Result<Vec<SourceTensor>> {
        match self {
            Self::HfFolder(folder) => Ok(folder
                .tensors
                .iter()
                .map(|tensor| SourceTensor {
                    name: tensor.name.clone(),
                    shape: tensor.shape.clone(),
                    kind: tensor.kind,
                    type_name: tensor.dtype.clone(),
                    data: tensor.data.clone(),
                })
                .collect()),
            Self::Gguf(file) => file
                .tensors()
                .iter()
                .map(|tensor| {
                    Ok(SourceTensor {
                        name: tensor.name.clone(),
                        shape: tensor.shape(),
                        kind: tensor.kind(),
                        type_name: tensor.ggml_type.name.to_owned(),
                        data: file.data(tensor)?,
                    })
                })
                .collect(),
            Self::Random => Ok(Vec::new()),
        }
    }

    /// Whether a tensor that the graph has no use for may be there: rotary buffers that old files carry, the
    /// rotary factors that the configuration has read already, and a head beside a tied embedding.
    pub(crate) fn may_ignore(&self, name: &str, config: &LlamaConfig) -> bool {
        match self {
            Self::Gguf(_) => name == "rope_freqs.weight" || name.ends_with(".attn_rot_embd.weight"),
            Self::HfFolder(_) | Self::Random => {
                name.ends_with(".rotary_emb.inv_freq") || (config.tied && name == "lm_head.weight")
            }
        }
    }
}

/// A tensor of a source.
#[derive(Debug, Clone)]
pub(crate) struct SourceTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: Option<StorageKind>,
    pub(crate) type_name: String,
    pub(crate) data: Bytes,
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|error| ModelError::io(path, error))?;
    let mut bytes = Vec::new();
    file.take(8).read_to_end(&mut bytes).map_err(|error| ModelError::io(path, error))?;
    Ok(bytes)
}

fn starts_with(path: &Path, magic: &[u8]) -> Result<bool> {
    Ok(first_bytes(path)?.starts_with(magic))
}

/// A bare pickle (protocol 2 and later) or torch's zip of one.
fn is_pickle(path: &Path) -> Result<bool> {
    let bytes = first_bytes(path)?;
    let named = ["bin", "pt", "pth", "ckpt", "pkl"].iter().any(|extension| has_extension(path, extension));
    let bare = matches!(bytes.as_slice(), [0x80, 2..=5, ..]);
    Ok(bare || (named && bytes.starts_with(b"PK")))
}

/// The only GGUF file of a folder.
fn only_gguf(dir: &Path) -> Result<Option<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|error| ModelError::io(dir, error))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| ModelError::io(dir, error))?.path();
        if has_extension(&path, "gguf") {
            found.push(path);
        }
    }
    found.sort();
    match found.len() {
        0 => Ok(None),
        1 => Ok(found.pop()),
        count => Err(ModelError::not_a_model(dir, format!("it holds {count} GGUF files: choose one of them"))),
    }
}
