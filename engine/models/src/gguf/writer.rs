//! Writing: metadata and tensor declarations first, then the data of each tensor, streamed.
//!
//! Nothing is held but the header, so a file of any size is written from a row buffer. The caller writes to a
//! temporary name, syncs and renames.

use super::value::encode_string;
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, Entry, GgmlType, GgufFile, MAGIC, MAX_DIMS, MAX_NAME_BYTES, Value};
use std::io::{self, Write};
use temper_nn::StorageKind;

/// The header of a file to be written: metadata and tensors.
#[derive(Debug, Clone, Default)]
pub struct GgufWriter {
    entries: Vec<(String, Vec<u8>)>,
    alignment: Option<u64>,
    tensors: Vec<Declared>,
}

#[derive(Debug, Clone)]
struct Declared {
    name: String,
    dims: Vec<u64>,
    ggml_type: GgmlType,
    bytes: u64,
    offset: u64,
}

fn wrong(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.into())
}

impl GgufWriter {
    /// An empty header.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies an entry of another file, byte for byte; an entry with that key is replaced where it stands.
    ///
    /// # Errors
    /// The entry is an alignment that cannot be written.
    pub fn add_raw_metadata(&mut self, file: &GgufFile, entry: &Entry) -> io::Result<()> {
        if entry.key == ALIGNMENT_KEY {
            self.alignment = Some(checked_alignment(file.alignment())?);
        }
        self.put(&entry.key, file.raw_entry(entry).to_vec());
        Ok(())
    }

    /// Copies all metadata of another file in its order.
    ///
    /// # Errors
    /// The file has an alignment that cannot be written.
    pub fn copy_metadata(&mut self, file: &GgufFile) -> io::Result<()> {
        file.entries().iter().try_for_each(|entry| self.add_raw_metadata(file, entry))
    }

    /// Sets a value; an entry with that key is replaced where it stands.
    ///
    /// # Errors
    /// The key is empty, or the value is an alignment that is not a positive multiple of 8.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> io::Result<()> {
        let value = value.into();
        if key.is_empty() {
            return Err(wrong("a metadata key is empty"));
        }
        if key == ALIGNMENT_KEY {
            let alignment = value.as_u64().ok_or_else(|| wrong(format!("{ALIGNMENT_KEY} is {value}")))?;
            self.alignment = Some(checked_alignment(alignment)?);
        }
        let mut raw = Vec::new();
        encode_string(key, &mut raw);
        raw.extend((value.value_type() as u32).to_le_bytes());
        value.encode(&mut raw);
        self.put(key, raw);
        Ok(())
    }

    /// Removes an entry, if there is one.
    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(existing, _)| existing != key);
        if key == ALIGNMENT_KEY {
            self.alignment = None;
        }
    }

    /// Declares the next tensor; `shape` has the slowest dimension first, as `GgufTensor::shape` gives it.
    ///
    /// # Errors
    /// The name is taken, empty or too long for ggml, the shape does not fill whole blocks, or GGUF has no such kind.
    pub fn declare(&mut self, name: &str, shape: &[usize], kind: StorageKind) -> io::Result<()> {
        let dims = shape.iter().rev().map(|&dim| dim as u64).collect();
        let ggml_type = GgmlType::of(kind).ok_or_else(|| {
            let kind = kind.name();
            wrong(format!("tensor {name} cannot be written as {kind}, which exists only in memory: choose f16 or q8_0"))
        })?;
        self.declare_as(name, dims, ggml_type)
    }

    /// Declares a tensor with the dimensions and type that it has in another file.
    ///
    /// # Errors
    /// As for [`Self::declare`].
    pub fn declare_as(&mut self, name: &str, dims: Vec<u64>, ggml_type: GgmlType) -> io::Result<()> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(wrong(format!("tensor name \"{name}\" must have 1 to {MAX_NAME_BYTES} bytes")));
        }
        if self.tensors.iter().any(|tensor| tensor.name == name) {
            return Err(wrong(format!("tensor {name} is declared twice")));
        }
        let elements = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
        let whole_rows = dims.first().is_none_or(|row| row.is_multiple_of(ggml_type.block_len));
        let bytes = elements.and_then(|elements| ggml_type.bytes_for(elements));
        match bytes {
            Some(bytes) if whole_rows && dims.len() <= MAX_DIMS && !dims.contains(&0) => {
                self.tensors.push(Declared { name: name.to_owned(), dims, ggml_type, bytes, offset: 0 });
                Ok(())
            }
            _ => Err(wrong(format!("tensor {name} cannot have dimensions {dims:?} as {}", ggml_type.name))),
        }
    }

    /// Bytes that the file will have.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        let alignment = self.alignment.unwrap_or(DEFAULT_ALIGNMENT);
        let padded = |bytes: u64| bytes.next_multiple_of(alignment);
        padded(self.header().len() as u64) + self.tensors.iter().map(|tensor| padded(tensor.bytes)).sum::<u64>()
    }

    /// Writes the header; the data of every tensor must follow in the order of declaration.
    ///
    /// # Errors
    /// The sink failed.
    pub fn start<W: Write>(mut self, mut sink: W) -> io::Result<GgufTensorSink<W>> {
        let alignment = self.alignment.unwrap_or(DEFAULT_ALIGNMENT);
        let mut offset = 0_u64;
        for tensor in &mut self.tensors {
            tensor.offset = offset;
            offset = tensor
                .bytes
                .checked_next_multiple_of(alignment)
                .and_then(|bytes| offset.checked_add(bytes))
                .ok_or_else(|| wrong("the file would be absurdly large"))?;
        }
        let mut header = self.header();
        pad(&mut header, alignment);
        sink.write_all(&header)?;
        Ok(GgufTensorSink { sink, alignment, tensors: self.tensors, next: 0, written: 0 })
    }

    fn header(&self) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend(MAGIC);
        header.extend(3_u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.entries.len() as u64).to_le_bytes());
        for (_, raw) in &self.entries {
            header.extend_from_slice(raw);
        }
        for tensor in &self.tensors {
            encode_string(&tensor.name, &mut header);
            header.extend(u32::try_from(tensor.dims.len()).unwrap_or(0).to_le_bytes());
            tensor.dims.iter().for_each(|dim| header.extend(dim.to_le_bytes()));
            header.extend(tensor.ggml_type.code.to_le_bytes());
            header.extend(tensor.offset.to_le_bytes());
        }
        header
    }

    fn put(&mut self, key: &str, raw: Vec<u8>) {
        match self.entries.iter_mut().find(|(existing, _)| existing == key) {
            Some((_, old)) => *old = raw,
            None => self.entries.push((key.to_owned(), raw)),
        }
    }
}

/// What other readers accept: a positive multiple of 8.
fn checked_alignment(alignment: u64) -> io::Result<u64> {
    if alignment == 0 || !alignment.is_multiple_of(8) || alignment > u64::from(u32::MAX) {
        return Err(wrong(format!("{ALIGNMENT_KEY} must be a positive multiple of 8, not {alignment}")));
    }
    Ok(alignment)
}

fn pad(bytes: &mut Vec<u8>, alignment: u64) {
    let padded = (bytes.len() as u64).next_multiple_of(alignment);
    bytes.resize(usize::try_from(padded).unwrap_or(bytes.len()), 0);
}

/// Takes the data of the declared tensors, one after the other.
#[derive(Debug)]
pub struct GgufTensorSink<W: Write> {
    sink: W,
    alignment: u64,
    tensors: Vec<Declared>,
    next: usize,
    written: u64,
}

impl<W: Write> GgufTensorSink<W> {
    /// Name of the tensor whose data is expected next, none when all are written.
    #[must_use]
    pub fn expected(&self) -> Option<&str> {
        self.tensors.get(self.next).map(|tensor| tensor.name.as_str())
    }

    /// Writes a piece of the expected tensor's data; when it is complete the next one is expected.
    ///
    /// # Errors
    /// The sink failed, the tensor is not the expected one, or the piece is too long.
    pub fn write(&mut self, name: &str, piece: &[u8]) -> io::Result<()> {
        let tensor = self.tensors.get(self.next).ok_or_else(|| wrong(format!("{name} was not declared")))?;
        if tensor.name != name {
            return Err(wrong(format!("data for {name} came where {} was expected", tensor.name)));
        }
        let total = self.written + piece.len() as u64;
        if total > tensor.bytes {
            return Err(wrong(format!("{name} has {} bytes, {total} were given", tensor.bytes)));
        }
        self.sink.write_all(piece)?;
        self.written = total;
        if total == tensor.bytes {
            let padding = total.next_multiple_of(self.alignment) - total;
            io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.sink)?;
            self.next += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Flushes and returns the sink.
    ///
    /// # Errors
    /// The sink failed, or a declared tensor has not been written.
    pub fn finish(mut self) -> io::Result<W> {
        if let Some(missing) = self.expected() {
            return Err(wrong(format!("the data of {missing} is missing")));
        }
        self.sink.flush()?;
        Ok(self.sink)
    }
}
