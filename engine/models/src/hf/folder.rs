//! The weights of a folder: which files, which tensors in them, all mapped.

use crate::{ModelError, Result, files};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use temper_nn::{Bytes, StorageKind};

/// A tensor of a folder.
#[derive(Debug, Clone)]
pub struct HfTensor {
    /// Name.
    pub name: String,
    /// Shape, slowest dimension first.
    pub shape: Vec<usize>,
    /// Type as safetensors names it.
    pub dtype: String,
    /// The kind of weight it is, if it can be computed with.
    pub kind: Option<StorageKind>,
    /// File that holds it.
    pub file: PathBuf,
    /// Its data, still in the map.
    pub data: Bytes,
}

/// A folder with config.json and safetensors weights.
#[derive(Debug, Clone)]
pub struct HfFolder {
    /// What was opened: the folder, or a single weight file in it.
    pub opened: PathBuf,
    /// The folder.
    pub dir: PathBuf,
    /// config.json as it is.
    pub config_json: Value,
    /// Where the configuration was read.
    pub config_path: PathBuf,
    /// Every tensor: file by file, in the order in which they lie in each.
    pub tensors: Vec<HfTensor>,
    /// Weight files with their sizes.
    pub files: Vec<(PathBuf, u64)>,
}

impl HfFolder {
    /// Opens a folder, or a single `.safetensors` file with config.json beside it. Only headers are read.
    ///
    /// # Errors
    /// No configuration, no weights, only pickled weights, a damaged header, or an index that names missing files.
    pub fn open(path: &Path) -> Result<Self> {
        let single = path.is_file();
        let dir = if single { path.parent().unwrap_or_else(|| Path::new("")).to_owned() } else { path.to_owned() };
        let config_path = dir.join("config.json");
        if !config_path.is_file() {
            return Err(ModelError::not_a_model(path, format!("{} is missing", config_path.display())));
        }
        let config_json = files::json(&config_path)?;
        let weight_files = if single { vec![path.to_owned()] } else { weight_files(&dir)? };
        let mut tensors = Vec::new();
        let mut files = Vec::new();
        for file in weight_files {
            let bytes = files::map(&file)?;
            files.push((file.clone(), bytes.as_slice().len() as u64));
            read_header(&file, &bytes, &mut tensors)?;
        }
        let mut seen = BTreeSet::new();
        let twice: Vec<String> = tensors
            .iter()
            .filter(|tensor| !seen.insert(tensor.name.as_str()))
            .map(|tensor| format!("{} is in more than one file", tensor.name))
            .collect();
        if !twice.is_empty() {
            return Err(ModelError::Tensors { path: dir, problems: twice });
        }
        Ok(Self { opened: path.to_owned(), dir, config_json, config_path, tensors, files })
    }
}

/// The safetensors files of a folder: one, or those that the index names.
fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let index = dir.join("model.safetensors.index.json");
    let one = dir.join("model.safetensors");
    if index.is_file() {
        return indexed_files(dir, &index);
    }
    if one.is_file() {
        return Ok(vec![one]);
    }
    let entries = std::fs::read_dir(dir).map_err(|error| ModelError::io(dir, error))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| ModelError::io(dir, error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let ends = |name: &str, suffix: &str| name.to_ascii_lowercase().ends_with(suffix);
    let found: Vec<&String> =
        names.iter().filter(|name| ends(name, ".safetensors") && !name.starts_with("adapter_")).collect();
    match found.as_slice() {
        [only] => Ok(vec![dir.join(only.as_str())]),
        [] => {
            let pickled =
                |name: &&String| [".bin", ".pt", ".pth", ".ckpt", ".pkl"].iter().any(|suffix| ends(name, suffix));
            match names.iter().find(pickled) {
                Some(file) => Err(ModelError::Pickle { path: dir.to_owned(), file: file.clone() }),
                None => Err(ModelError::not_a_model(dir, "there is no .safetensors file in it")),
            }
        }
        several => Err(ModelError::not_a_model(
            dir,
            format!("it has {} .safetensors files but no model.safetensors.index.json", several.len()),
        )),
    }
}

fn indexed_files(dir: &Path, index: &Path) -> Result<Vec<PathBuf>> {
    let json = files::json(index)?;
    let map = json.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| ModelError::damaged(index, "it has no weight_map"))?;
    let mut by_file: BTreeMap<&str, usize> = BTreeMap::new();
    for (tensor, file) in map {
        let file = file.as_str().ok_or_else(|| ModelError::damaged(index, format!("{tensor} has no file name")))?;
        let plain = Path::new(file).components().count() == 1 && !file.starts_with("..");
        if !plain || !file.ends_with(".safetensors") {
            return Err(ModelError::damaged(
                index,
                format!("{tensor} lies in \"{file}\", not a file beside the index"),
            ));
        }
        *by_file.entry(file).or_default() += 1;
    }
    let missing: Vec<String> = by_file
        .iter()
        .filter(|(file, _)| !dir.join(file).is_file())
        .map(|(file, count)| format!("{file} with {count} tensors is missing"))
        .collect();
    if !missing.is_empty() {
        return Err(ModelError::Tensors { path: dir.to_owned(), problems: missing });
    }
    Ok(by_file.keys().map(|file| dir.join(file)).collect())
}

fn read_header(file: &Path, bytes: &Bytes, tensors: &mut Vec<HfTensor>) -> Result<()> {
    let all = bytes.as_slice();
    let (header, metadata) = SafeTensors::read_metadata(all).map_err(|error| damaged(file, all.len(), &error))?;
    let start = header + 8;
    for name in metadata.offset_keys() {
        let info = metadata.info(&name).ok_or_else(|| ModelError::damaged(file, format!("{name} has no entry")))?;
        let (from, to) = info.data_offsets;
        let data = bytes.slice(start + from..start + to).ok();
        let data = data.ok_or_else(|| ModelError::damaged(file, format!("tensor {name} lies outside the file")))?;
        let kind = match info.dtype {
            Dtype::F32 => Some(StorageKind::F32),
            Dtype::F16 => Some(StorageKind::F16),
            Dtype::BF16 => Some(StorageKind::Bf16),
            _ => None,
        };
        tensors.push(HfTensor {
            shape: info.shape.clone(),
            dtype: format!("{:?}", info.dtype),
            kind,
            file: file.to_owned(),
            data,
            name,
        });
    }
    Ok(())
}

/// What the safetensors library found, in words that say what it means for the file.
fn damaged(file: &Path, bytes: usize, error: &safetensors::SafeTensorError) -> ModelError {
    use safetensors::SafeTensorError as E;
    let why = match error {
        E::HeaderTooSmall | E::InvalidHeaderLength => {
            format!("its header is longer than its {bytes} bytes: truncated, or not a safetensors file")
        }
        E::HeaderTooLarge => "its header has an absurd length: not a safetensors file".to_owned(),
        E::MetadataIncompleteBuffer => {
            format!("its header describes another number of bytes than the {bytes} it has: truncated?")
        }
        E::InvalidOffset(name) => format!("tensor {name} does not begin where the one before it ends"),
        other => format!("its header cannot be read: {other}"),
    };
    ModelError::damaged(file, why)
}
