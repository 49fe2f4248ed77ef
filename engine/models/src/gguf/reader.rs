//! Reading: the file is mapped, its structure checked once, and metadata and tensors are handed out as slices of it.

use super::value::{decode_value, skip_value};
use super::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, GgmlType, MAGIC, MAX_DIMS, Value, ValueType};
use crate::{ModelError, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use temper_nn::{Bytes, StorageKind};

/// A metadata entry: where it stands in the file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Type of the value.
    pub value_type: ValueType,
    /// The whole entry in the file: key, type and value.
    raw: Range<usize>,
    /// The value alone.
    value: Range<usize>,
}

/// A tensor: what the file says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GgufTensor {
    /// Name.
    pub name: String,
    /// Dimensions as in the file: the fastest first, so a matrix is (columns, rows).
    pub dims: Vec<u64>,
    /// Storage type.
    pub ggml_type: GgmlType,
    /// Offset from the start of the tensor data.
    pub offset: u64,
    /// Bytes of data.
    pub bytes: u64,
}

impl GgufTensor {
    /// Shape with the slowest dimension first, as everything else here counts: a matrix is (rows, columns).
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        // sizes were checked against a mapped file, so they fit
        self.dims.iter().rev().map(|&dim| usize::try_from(dim).unwrap_or(usize::MAX)).collect()
    }

    /// The kind of weight it is, if it can be computed with.
    #[must_use]
    pub fn kind(&self) -> Option<StorageKind> {
        self.ggml_type.kind()
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// An open GGUF file.
#[derive(Debug, Clone)]
pub struct GgufFile {
    path: PathBuf,
    bytes: Bytes,
    version: u32,
    alignment: u64,
    entries: Vec<Entry>,
    keys: BTreeMap<String, usize>,
    tensors: Vec<GgufTensor>,
    names: BTreeMap<String, usize>,
    data_start: usize,
}

impl GgufFile {
    /// Maps and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, or its structure is broken: the message names the key or tensor.
    pub fn open(path: &Path) -> Result<Self> {
        Self::parse(crate::files::map(path)?, path)
    }

    /// Checks the bytes of a file; `path` is only for messages.
    ///
    /// # Errors
    /// The structure is broken: the message names the key or tensor.
    pub fn parse(bytes: Bytes, path: &Path) -> Result<Self> {
        let parsed = parse(bytes.as_slice()).map_err(|why| ModelError::damaged(path, why))?;
        Ok(Self {
            path: path.to_owned(),
            version: parsed.version,
            alignment: parsed.alignment,
            keys: parsed.entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect(),
            entries: parsed.entries,
            names: parsed.tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.clone(), at)).collect(),
            tensors: parsed.tensors,
            data_start: parsed.data_start,
            bytes,
        })
    }

    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Version of the format: 2 or 3.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Alignment of tensor data, bytes.
    #[must_use]
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// Size of the file, bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }

    /// Metadata in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The exact bytes of an entry (key, type, value), to be copied into another file.
    #[must_use]
    pub fn raw_entry(&self, entry: &Entry) -> &[u8] {
        self.bytes.as_slice().get(entry.raw.clone()).unwrap_or_default()
    }

    /// The value of an entry. Text that is not UTF-8 is decoded with replacement characters; the raw bytes keep it.
    ///
    /// # Errors
    /// Only if the entry belongs to another file.
    pub fn value(&self, entry: &Entry) -> Result<Value> {
        let bytes = self.bytes.as_slice().get(entry.value.clone()).unwrap_or_default();
        decode_value(&mut Cursor::new(bytes), entry.value_type)
            .map_err(|why| ModelError::damaged(&self.path, format!("metadata {}: {why}", entry.key)))
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The value of a key, none if absent.
    ///
    /// # Errors
    /// The value cannot be decoded.
    pub fn get(&self, key: &str) -> Result<Option<Value>> {
        self.keys.get(key).and_then(|&at| self.entries.get(at)).map(|entry| self.value(entry)).transpose()
    }

    /// A value of a wanted type, none if absent.
    ///
    /// # Errors
    /// The value is of another type.
    pub fn get_as<T>(&self, key: &str, wanted: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        let text = || format!("metadata {key} is {value}, which is not {wanted}");
        read(&value).map(Some).ok_or_else(|| ModelError::config(&self.path, text()))
    }

    /// A whole number, none if absent.
    ///
    /// # Errors
    /// The value is no whole number.
    pub fn get_usize(&self, key: &str) -> Result<Option<usize>> {
        self.get_as(key, "a whole number", |value| value.as_u64().and_then(|number| number.try_into().ok()))
    }

    /// A number, none if absent.
    ///
    /// # Errors
    /// The value is no number.
    pub fn get_f64(&self, key: &str) -> Result<Option<f64>> {
        self.get_as(key, "a number", Value::as_f64)
    }

    /// A text, none if absent.
    ///
    /// # Errors
    /// The value is no text.
    pub fn get_string(&self, key: &str) -> Result<Option<String>> {
        self.get_as(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// A truth value, none if absent.
    ///
    /// # Errors
    /// The value is neither true nor false.
    pub fn get_bool(&self, key: &str) -> Result<Option<bool>> {
        self.get_as(key, "true or false", Value::as_bool)
    }

    /// Tensors in the order of the file.
    #[must_use]
    pub fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    /// The tensor of that name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<&GgufTensor> {
        self.names.get(name).and_then(|&at| self.tensors.get(at))
    }

    /// The data of a tensor of this file, still in the map.
    ///
    /// # Errors
    /// Only if the tensor belongs to another file.
    pub fn data(&self, tensor: &GgufTensor) -> Result<Bytes> {
        let range = usize::try_from(tensor.offset).ok().and_then(|offset| {
            let start = self.data_start.checked_add(offset)?;
            Some(start..start.checked_add(usize::try_from(tensor.bytes).ok()?)?)
        });
        range
            .and_then(|range| self.bytes.slice(range).ok())
            .ok_or_else(|| ModelError::damaged(&self.path, format!("tensor {} lies outside the file", tensor.name)))
    }
}

/// A position in borrowed bytes; every read checks what is left.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        let end = usize::try_from(count).ok().and_then(|count| self.at.checked_add(count));
        let slice = end.and_then(|end| self.bytes.get(self.at..end));
        let slice =
            slice.ok_or_else(|| format!("{count} bytes are needed, {} are left: truncated?", self.remaining()))?;
        self.at += slice.len();
        Ok(slice)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let slice = self.take(N as u64)?;
        slice.try_into().ok().ok_or_else(|| "unexpected end of the file".to_owned())
    }

    pub(super) fn u8(&mut self) -> Result<u8, String> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], String> {
        let length = self.u64()?;
        if length > self.remaining() {
            return Err(format!("a text claims {length} bytes, {} are left", self.remaining()));
        }
        self.take(length)
    }
}

struct Parsed {
    version: u32,
    alignment: u64,
    entries: Vec<Entry>,
    tensors: Vec<GgufTensor>,
    data_start: usize,
}

fn parse(bytes: &[u8]) -> Result<Parsed, String> {
    let mut cursor = Cursor::new(bytes);
    if cursor.array::<4>().is_ok_and(|magic| magic != MAGIC) {
        return Err("it does not start with \"GGUF\"".to_owned());
    }
    let version = match cursor.u32()? {
        version @ (2 | 3) => version,
        swapped if matches!(swapped.swap_bytes(), 1..=3) => return Err("it is a big-endian file".to_owned()),
        other => return Err(format!("it has version {other}, versions 2 and 3 are known")),
    };
    let tensor_count = cursor.u64()?;
    let entry_count = cursor.u64()?;
    // least sizes: key length, type and one byte of value; name length, dimension count, type and offset
    let needed = entry_count.checked_mul(13).zip(tensor_count.checked_mul(24)).and_then(|(a, b)| a.checked_add(b));
    if needed.is_none_or(|bytes| bytes > cursor.remaining()) {
        return Err(format!(
            "it claims {entry_count} metadata entries and {tensor_count} tensors, more than it can hold"
        ));
    }

    let mut entries: Vec<Entry> = Vec::new();
    for number in 0..entry_count {
        let previous = entries.last().map_or_else(String::new, |entry: &Entry| format!(" (after {})", entry.key));
        let entry = parse_entry(&mut cursor).map_err(|why| format!("metadata entry {number}{previous}: {why}"))?;
        entries.push(entry);
    }
    refuse_duplicates("metadata key", entries.iter().map(|entry| entry.key.as_str()))?;
    let alignment = alignment(bytes, &entries)?;

    let mut tensors: Vec<GgufTensor> = Vec::new();
    for number in 0..tensor_count {
        let previous =
            tensors.last().map_or_else(String::new, |tensor: &GgufTensor| format!(" (after {})", tensor.name));
        let tensor = parse_tensor(&mut cursor).map_err(|why| format!("tensor {number}{previous}: {why}"))?;
        tensors.push(tensor);
    }
    refuse_duplicates("tensor", tensors.iter().map(|tensor| tensor.name.as_str()))?;

    let data_start = (cursor.at as u64).checked_next_multiple_of(alignment).ok_or("the alignment is absurd")?;
    check_layout(&tensors, data_start, bytes.len() as u64, alignment)?;
    let data_start = usize::try_from(data_start).ok().ok_or("the file is larger than the address space")?;
    Ok(Parsed { version, alignment, entries, tensors, data_start })
}

fn parse_entry(cursor: &mut Cursor<'_>) -> Result<Entry, String> {
    let start = cursor.at;
    let key = std::str::from_utf8(cursor.string()?).map_err(|error| format!("the key is not text: {error}"))?;
    if key.is_empty() {
        return Err("the key is empty".to_owned());
    }
    let code = cursor.u32()?;
    let value_type = ValueType::from_code(code).ok_or_else(|| format!("{key} has the unknown value type {code}"))?;
    let value_start = cursor.at;
    skip_value(cursor, value_type, 0).map_err(|why| format!("{key}: {why}"))?;
    Ok(Entry { key: key.to_owned(), value_type, raw: start..cursor.at, value: value_start..cursor.at })
}

fn parse_tensor(cursor: &mut Cursor<'_>) -> Result<GgufTensor, String> {
    let name = std::str::from_utf8(cursor.string()?).map_err(|error| format!("the name is not text: {error}"))?;
    if name.is_empty() {
        return Err("the name is empty".to_owned());
    }
    let rank = cursor.u32()?;
    if rank as usize > MAX_DIMS {
        return Err(format!("{name} has {rank} dimensions, at most {MAX_DIMS} are possible"));
    }
    let dims =
        (0..rank).map(|_| cursor.u64()).collect::<Result<Vec<_>, _>>().map_err(|why| format!("{name}: {why}"))?;
    let code = cursor.u32().map_err(|why| format!("{name}: {why}"))?;
    let offset = cursor.u64().map_err(|why| format!("{name}: {why}"))?;
    let ggml_type = GgmlType::from_code(code).ok_or_else(|| format!("{name} has the unknown storage type {code}"))?;
    if dims.contains(&0) {
        return Err(format!("{name} has an empty dimension: {dims:?}"));
    }
    let elements = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
    let elements = elements.ok_or_else(|| format!("{name} has absurd dimensions: {dims:?}"))?;
    let row = dims.first().copied().unwrap_or(1);
    if !row.is_multiple_of(ggml_type.block_len) {
        let (kind, block) = (ggml_type.name, ggml_type.block_len);
        return Err(format!("{name} has rows of {row} values, {kind} needs a multiple of {block}"));
    }
    let bytes = ggml_type.bytes_for(elements).ok_or_else(|| format!("{name} has absurd dimensions: {dims:?}"))?;
    Ok(GgufTensor { name: name.to_owned(), dims, ggml_type, offset, bytes })
}

/// The alignment that the metadata states, 32 if none.
fn alignment(bytes: &[u8], entries: &[Entry]) -> Result<u64, String> {
    let Some(entry) = entries.iter().find(|entry| entry.key == ALIGNMENT_KEY) else { return Ok(DEFAULT_ALIGNMENT) };
    let raw = bytes.get(entry.value.clone()).unwrap_or_default();
    let value = decode_value(&mut Cursor::new(raw), entry.value_type)?;
    match value.as_u64() {
        Some(0) => Err(format!("{ALIGNMENT_KEY} is 0")),
        Some(alignment) if alignment <= u64::from(u32::MAX) => Ok(alignment),
        _ => Err(format!("{ALIGNMENT_KEY} is {value}, which is no alignment")),
    }
}

fn refuse_duplicates<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<(), String> {
    let mut sorted: Vec<&str> = names.collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(pair) => Err(format!("the {what} {} appears twice", pair.first().copied().unwrap_or_default())),
        None => Ok(()),
    }
}

/// Every tensor must start on the alignment, lie inside the file and overlap no other.
fn check_layout(tensors: &[GgufTensor], data_start: u64, file_bytes: u64, alignment: u64) -> Result<(), String> {
    for tensor in tensors {
        let name = &tensor.name;
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(format!("tensor {name} starts at {}, off the alignment of {alignment}", tensor.offset));
        }
        let end = data_start.checked_add(tensor.offset).and_then(|start| start.checked_add(tensor.bytes));
        if end.is_none_or(|end| end > file_bytes) {
            let end = end.map_or_else(|| "an absurd position".to_owned(), |end| format!("byte {end}"));
            return Err(format!("tensor {name} ends at {end}, but the file has {file_bytes} bytes: truncated?"));
        }
    }
    let mut ordered: Vec<&GgufTensor> = tensors.iter().collect();
    ordered.sort_by_key(|tensor| tensor.offset);
    for pair in ordered.windows(2) {
        if let [first, second] = pair
            && first.offset + first.bytes > second.offset
        {
            return Err(format!("tensors {} and {} overlap", first.name, second.name));
        }
    }
    Ok(())
}
