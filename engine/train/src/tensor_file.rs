//! Safetensors files of a checkpoint: written in one pass with their hash, read back with checks.
//!
//! The same tensors give the same bytes: names are sorted, the header carries exactly one metadata entry
//! (`format`: `pt`). Layout: <https://github.com/huggingface/safetensors#format>.

use crate::error::{Result, TrainError};
use candle_core::{DType, Device, Tensor};
use safetensors::SafeTensors;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_nn::ops::with_slice;
use temper_nn::{Bytes, Map};
use temper_protocol::{Code, Problem};

/// What was written: size and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSum {
    /// Bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// Writes bytes and hashes them on the way.
struct Hashing<W: Write> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.hash.update(buffer.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Lower-case hexadecimal digits of `bytes`.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes `body` to a new file, flushes it to the disk and returns its sum.
pub(crate) fn write_file(path: &Path, body: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<FileSum> {
    let write = || -> std::io::Result<FileSum> {
        let file = File::create(path)?;
        let mut writer = Hashing { inner: BufWriter::with_capacity(1 << 20, file), hash: Sha256::new(), bytes: 0 };
        body(&mut writer)?;
        let Hashing { inner, hash, bytes } = writer;
        let file = inner.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(FileSum { bytes, sha256: hex(&hash.finalize()) })
    };
    write().map_err(|error| TrainError::io(path, error))
}

/// A tensor on its way into a file.
pub enum Values<'a> {
    /// f32, in main memory.
    Tensor(&'a Tensor),
    /// f32 values and their shape.
    Floats(&'a [f32], &'a [usize]),
    /// Bytes and their shape.
    Bytes(&'a [u8], &'a [usize]),
    /// One whole number.
    Count(i64),
}

impl Values<'_> {
    fn dtype(&self) -> &'static str {
        match self {
            Self::Count(_) => "I64",
            Self::Tensor(_) | Self::Floats(..) => "F32",
            Self::Bytes(..) => "U8",
        }
    }

    /// Wider values come first in the file, so that each lies at a multiple of its size.
    fn rank(&self) -> u8 {
        match self {
            Self::Count(_) => 0,
            Self::Tensor(_) | Self::Floats(..) => 1,
            Self::Bytes(..) => 2,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Self::Tensor(tensor) => tensor.dims(),
            Self::Floats(_, shape) | Self::Bytes(_, shape) => shape,
            Self::Count(_) => &[1],
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Tensor(tensor) => tensor.elem_count() * size_of::<f32>(),
            Self::Floats(values, _) => size_of_val(*values),
            Self::Bytes(bytes, _) => bytes.len(),
            Self::Count(_) => size_of::<i64>(),
        }
    }

    fn write(&self, writer: &mut dyn Write) -> Result<std::io::Result<()>> {
        Ok(match self {
            Self::Tensor(tensor) => with_slice(tensor, |values| write_f32(writer, values))?,
            Self::Floats(values, _) => write_f32(writer, values),
            Self::Bytes(bytes, _) => writer.write_all(bytes),
            Self::Count(count) => writer.write_all(&count.to_le_bytes()),
        })
    }
}

/// Writes tensors under their names, one at a time, so that a large model is never held twice. Whole numbers
/// come first (they need the wider alignment), then floats, then bytes, each by name.
///
/// # Errors
/// An input or output error; a tensor that is not f32.
pub fn write_tensors<'a>(path: &Path, tensors: impl IntoIterator<Item = (String, Values<'a>)>) -> Result<FileSum> {
    let mut tensors: Vec<(String, Values<'_>)> = tensors.into_iter().collect();
    let place = |(name, values): &(String, Values<'_>)| (values.rank(), name.clone());
    tensors.sort_by_cached_key(place);
    let mut header = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    let mut offset = 0;
    for (name, values) in &tensors {
        if let Values::Tensor(tensor) = values
            && tensor.dtype() != DType::F32
        {
            return Err(Problem::internal(format!("tensor {name} is {:?}, not f32", tensor.dtype())).into());
        }
        let end = offset + values.bytes();
        let name = serde_json::Value::from(name.as_str());
        header.push_str(&format!(
            ",{name}:{{\"dtype\":\"{}\",\"shape\":{:?},\"data_offsets\":[{offset},{end}]}}",
            values.dtype(),
            values.shape()
        ));
        offset = end;
    }
    header.push('}');
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    let mut failed = None;
    let sum = write_file(path, |writer| {
        writer.write_all(&(header.len() as u64).to_le_bytes())?;
        writer.write_all(header.as_bytes())?;
        for (_, values) in &tensors {
            match values.write(writer) {
                Ok(written) => written?,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        Ok(())
    })?;
    failed.map_or(Ok(sum), Err)
}

fn write_f32(writer: &mut dyn Write, values: &[f32]) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(4 << 14);
    for part in values.chunks(1 << 14) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
        writer.write_all(&bytes)?;
    }
    Ok(())
}

/// Saved tensors by name, however they are kept.
pub trait Tensors {
    /// Names of all, sorted.
    ///
    /// # Errors
    /// What holds them is damaged.
    fn names(&self) -> Result<BTreeSet<String>>;

    /// One of them, f32.
    ///
    /// # Errors
    /// A [`Problem`] that names what holds them when it is damaged, and the tensor when it is absent.
    fn tensor(&self, name: &str) -> Result<Tensor>;

    /// Where they are kept.
    fn path(&self) -> &Path;
}

/// A file of f32 tensors, mapped: each is copied out when it is asked for.
pub struct TensorFile {
    path: PathBuf,
    map: Arc<Map>,
}

impl TensorFile {
    /// Opens a file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_path_buf(), map: Bytes::map_file(path)? })
    }

    fn damaged(&self, why: impl std::fmt::Display) -> TrainError {
        let action = "use another checkpoint";
        let what = format!("the checkpoint file is damaged: {why}");
        Problem::new(Code::Io, what, self.path.display().to_string(), action).into()
    }

    fn read(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(self.map.as_slice()).map_err(|error| self.damaged(error))
    }

    /// One tensor.
    ///
    /// # Errors
    /// A [`Problem`] that names the file when it is damaged, and the tensor when it is absent or not f32.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let file = self.read()?;
        let view = file.tensor(name).map_err(|_absent| self.damaged(format!("tensor {name} is missing")))?;
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(self.damaged(format!("tensor {name} is {:?}, not f32", view.dtype())));
        }
        let values: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok(Tensor::from_vec(values, view.shape(), &Device::Cpu)?)
    }

    /// Names of all tensors, sorted.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn names(&self) -> Result<BTreeSet<String>> {
        Ok(self.read()?.names().into_iter().map(str::to_owned).collect())
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Tensors for TensorFile {
    fn names(&self) -> Result<BTreeSet<String>> {
        Self::names(self)
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        Self::tensor(self, name)
    }

    fn path(&self) -> &Path {
        Self::path(self)
    }
}

/// SHA-256 of a file, hexadecimal, read in blocks.
///
/// # Errors
/// An input error.
pub fn hash_file(path: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let read = |hash: &mut Sha256| -> std::io::Result<()> {
        let mut file = File::open(path)?;
        let mut block = vec![0_u8; 1 << 20];
        loop {
            let count = std::io::Read::read(&mut file, &mut block)?;
            if count == 0 {
                return Ok(());
            }
            hash.update(block.get(..count).unwrap_or_default());
        }
    };
    read(&mut hash).map_err(|error| TrainError::io(path, error))?;
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<FileSum> {
        write_tensors(path, tensors.iter().map(|(name, tensor)| (name.clone(), Values::Tensor(tensor))))
    }

    fn sample() -> BTreeMap<String, Tensor> {
        let tensor = |values: &[f32], shape: &[usize]| Tensor::from_slice(values, shape, &Device::Cpu).expect("tensor");
        BTreeMap::from([
            ("b.second".to_owned(), tensor(&[1.5, -2.25, f32::MIN_POSITIVE, 4.0, 5.0, 6.0], &[2, 3])),
            ("a \"quoted\"".to_owned(), tensor(&[7.0], &[])),
            ("empty".to_owned(), tensor(&[], &[0, 4])),
        ])
    }

    #[test]
    fn comes_back_bit_for_bit_and_the_same_tensors_give_the_same_bytes() {
        let folder = tempfile::tempdir().expect("temp");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        let sum = write(&one, &sample()).expect("writes");
        assert_eq!(write(&two, &sample()).expect("writes"), sum);
        assert_eq!(std::fs::read(&one).expect("reads"), std::fs::read(&two).expect("reads"));
        assert_eq!(hash_file(&one).expect("hashes"), sum.sha256);
        assert_eq!(std::fs::metadata(&one).expect("size").len(), sum.bytes);
        let back = TensorFile::open(&one).expect("opens");
        assert!(back.names().expect("reads").iter().eq(sample().keys()));
        for (name, tensor) in sample() {
            let read = back.tensor(&name).expect("reads");
            assert_eq!(read.dims(), tensor.dims(), "{name}");
            let values = |tensor: &Tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("values");
            assert_eq!(values(&read), values(&tensor), "{name}");
        }
    }

    #[test]
    fn a_cut_file_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("temp");
        let path = folder.path().join("weights.safetensors");
        write(&path, &sample()).expect("writes");
        let bytes = std::fs::read(&path).expect("reads");
        for length in [0, 4, 8, 60, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).expect("cuts");
            let problem = Problem::from(TensorFile::open(&path).and_then(|file| file.names()).expect_err("cut"));
            assert!(problem.r#where.contains("weights.safetensors"), "{problem}");
        }
    }

    #[test]
    fn a_full_disk_is_an_io_error_that_names_the_file() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let problem = Problem::from(write(full, &sample()).expect_err("no space"));
        assert_eq!(problem.code, Code::Io);
        assert!(problem.r#where.contains("/dev/full") && problem.action.contains("free"), "{problem}");
    }
}
