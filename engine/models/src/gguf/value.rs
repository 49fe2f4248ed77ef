//! Metadata values: their types, decoding from and encoding to the bytes of a file.
//!
//! Decoding happens on demand; the reader only walks over the bytes (`skip_value`) to check them.

use super::reader::Cursor;
use std::fmt;

/// Deepest nesting of arrays that is read; files in the wild have one level.
const MAX_DEPTH: usize = 16;

/// Type of a metadata value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ValueType {
    /// 8-bit unsigned.
    U8 = 0,
    /// 8-bit signed.
    I8 = 1,
    /// 16-bit unsigned.
    U16 = 2,
    /// 16-bit signed.
    I16 = 3,
    /// 32-bit unsigned.
    U32 = 4,
    /// 32-bit signed.
    I32 = 5,
    /// 32-bit float.
    F32 = 6,
    /// One byte, 0 or 1.
    Bool = 7,
    /// Length and UTF-8 bytes.
    String = 8,
    /// Element type, length, elements.
    Array = 9,
    /// 64-bit unsigned.
    U64 = 10,
    /// 64-bit signed.
    I64 = 11,
    /// 64-bit float.
    F64 = 12,
}

impl ValueType {
    /// The type with this number.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::String,
            9 => Self::Array,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    /// Bytes of one value, for the types of fixed size.
    fn fixed_bytes(self) -> Option<u64> {
        Some(match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
            Self::String | Self::Array => return None,
        })
    }

    /// Fewest bytes one value takes in a file: what a length may claim at most.
    fn least_bytes(self) -> u64 {
        self.fixed_bytes().unwrap_or(if self == Self::String { 8 } else { 12 })
    }
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are those of ValueType, documented there")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// An array of values of one type, held no wider than in the file.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the variants are those of ValueType, documented there")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Self>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Array {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::U32(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::String(v) => v.len(),
            Self::Array(v) => v.len(),
            Self::U64(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements as signed integers, if they are integers that fit.
    #[must_use]
    pub fn integers(&self) -> Option<Vec<i64>> {
        Some(match self {
            Self::U8(v) => v.iter().map(|&x| x.into()).collect(),
            Self::I8(v) => v.iter().map(|&x| x.into()).collect(),
            Self::U16(v) => v.iter().map(|&x| x.into()).collect(),
            Self::I16(v) => v.iter().map(|&x| x.into()).collect(),
            Self::U32(v) => v.iter().map(|&x| x.into()).collect(),
            Self::I32(v) => v.iter().map(|&x| x.into()).collect(),
            Self::U64(v) => v.iter().map(|&x| i64::try_from(x).ok()).collect::<Option<_>>()?,
            Self::I64(v) => v.clone(),
            _ => return None,
        })
    }

    /// The elements as floats, if they are floats.
    #[must_use]
    pub fn floats(&self) -> Option<Vec<f32>> {
        Some(match self {
            Self::F32(v) => v.clone(),
            Self::F64(v) => v.iter().map(|&x| x as f32).collect(),
            _ => return None,
        })
    }

    fn element_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend((self.element_type() as u32).to_le_bytes());
        out.extend((self.len() as u64).to_le_bytes());
        match self {
            Self::U8(v) => out.extend_from_slice(v),
            Self::I8(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Self::U16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Self::I16(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Self::U32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Self::I32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Self::F32(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Self::Bool(v) => v.iter().for_each(|&x| out.push(x.into())),
            Self::String(v) => v.iter().for_each(|x| encode_string(x, out)),
            Self::Array(v) => v.iter().for_each(|x| x.encode(out)),
            Self::U64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Self::I64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
            Self::F64(v) => v.iter().for_each(|x| out.extend(x.to_le_bytes())),
        }
    }
}

impl Value {
    /// Its type.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }

    /// The value as an unsigned integer, if it is a whole number that fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(x) => Some(x.into()),
            Self::U16(x) => Some(x.into()),
            Self::U32(x) => Some(x.into()),
            Self::U64(x) => Some(x),
            Self::I8(x) => x.try_into().ok(),
            Self::I16(x) => x.try_into().ok(),
            Self::I32(x) => x.try_into().ok(),
            Self::I64(x) => x.try_into().ok(),
            _ => None,
        }
    }

    /// The value as a float, if it is a number.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::F32(x) => Some(x.into()),
            Self::F64(x) => Some(x),
            Self::I8(_)
            | Self::I16(_)
            | Self::I32(_)
            | Self::I64(_)
            | Self::U8(_)
            | Self::U16(_)
            | Self::U32(_)
            | Self::U64(_) => self.as_u64().map(|x| x as f64),
            _ => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The truth value, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The array, if it is one.
    #[must_use]
    pub fn as_array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }

    /// Appends the value without its type.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::U8(x) => out.push(*x),
            Self::I8(x) => out.extend(x.to_le_bytes()),
            Self::U16(x) => out.extend(x.to_le_bytes()),
            Self::I16(x) => out.extend(x.to_le_bytes()),
            Self::U32(x) => out.extend(x.to_le_bytes()),
            Self::I32(x) => out.extend(x.to_le_bytes()),
            Self::F32(x) => out.extend(x.to_le_bytes()),
            Self::Bool(x) => out.push((*x).into()),
            Self::String(x) => encode_string(x, out),
            Self::Array(x) => x.encode(out),
            Self::U64(x) => out.extend(x.to_le_bytes()),
            Self::I64(x) => out.extend(x.to_le_bytes()),
            Self::F64(x) => out.extend(x.to_le_bytes()),
        }
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<f32> for Value {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) => write!(f, "\"{text}\""),
            Self::Array(array) => write!(f, "array of {} {:?}", array.len(), array.element_type()),
            Self::Bool(x) => write!(f, "{x}"),
            Self::U64(x) => write!(f, "{x}"),
            Self::I64(x) => write!(f, "{x}"),
            Self::I8(x) => write!(f, "{x}"),
            Self::I16(x) => write!(f, "{x}"),
            Self::I32(x) => write!(f, "{x}"),
            Self::U8(x) => write!(f, "{x}"),
            Self::U16(x) => write!(f, "{x}"),
            Self::U32(x) => write!(f, "{x}"),
            Self::F32(x) => write!(f, "{x}"),
            Self::F64(x) => write!(f, "{x}"),
        }
    }
}

/// Appends length and bytes of `text`.
pub(super) fn encode_string(text: &str, out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Steps over a value of type `kind` and checks it without keeping anything.
pub(super) fn skip_value(cursor: &mut Cursor<'_>, kind: ValueType, depth: usize) -> Result<(), String> {
    match kind {
        ValueType::Bool => match cursor.u8()? {
            0 | 1 => Ok(()),
            other => Err(format!("a truth value is {other}, neither 0 nor 1")),
        },
        ValueType::String => cursor.string().map(|_| ()),
        ValueType::Array => {
            if depth >= MAX_DEPTH {
                return Err(format!("arrays are nested more than {MAX_DEPTH} deep"));
            }
            let (element, count) = array_head(cursor)?;
            match element.fixed_bytes() {
                // the product cannot overflow: the head was checked against what is left of the file
                Some(bytes) if element != ValueType::Bool => cursor.take(count * bytes).map(|_| ()),
                _ => (0..count).try_for_each(|_| skip_value(cursor, element, depth + 1)),
            }
        }
        fixed => cursor.take(fixed.fixed_bytes().unwrap_or(1)).map(|_| ()),
    }
}

/// Element type and count of an array; the count is checked against the bytes that are left.
fn array_head(cursor: &mut Cursor<'_>) -> Result<(ValueType, u64), String> {
    let code = cursor.u32()?;
    let element = ValueType::from_code(code).ok_or_else(|| format!("unknown value type {code} in an array"))?;
    let count = cursor.u64()?;
    let needed = count.checked_mul(element.least_bytes());
    if needed.is_none_or(|bytes| bytes > cursor.remaining()) {
        return Err(format!("an array claims {count} elements, but only {} bytes are left", cursor.remaining()));
    }
    Ok((element, count))
}

/// Reads a value of type `kind` that [`skip_value`] has accepted.
pub(super) fn decode_value(cursor: &mut Cursor<'_>, kind: ValueType) -> Result<Value, String> {
    Ok(match kind {
        ValueType::U8 => Value::U8(cursor.u8()?),
        ValueType::I8 => Value::I8(i8::from_le_bytes(cursor.array()?)),
        ValueType::U16 => Value::U16(u16::from_le_bytes(cursor.array()?)),
        ValueType::I16 => Value::I16(i16::from_le_bytes(cursor.array()?)),
        ValueType::U32 => Value::U32(cursor.u32()?),
        ValueType::I32 => Value::I32(i32::from_le_bytes(cursor.array()?)),
        ValueType::F32 => Value::F32(f32::from_le_bytes(cursor.array()?)),
        ValueType::Bool => Value::Bool(cursor.u8()? != 0),
        ValueType::String => Value::String(String::from_utf8_lossy(cursor.string()?).into_owned()),
        ValueType::Array => Value::Array(decode_array(cursor, 0)?),
        ValueType::U64 => Value::U64(cursor.u64()?),
        ValueType::I64 => Value::I64(i64::from_le_bytes(cursor.array()?)),
        ValueType::F64 => Value::F64(f64::from_le_bytes(cursor.array()?)),
    })
}

fn decode_array(cursor: &mut Cursor<'_>, depth: usize) -> Result<Array, String> {
    if depth >= MAX_DEPTH {
        return Err(format!("arrays are nested more than {MAX_DEPTH} deep"));
    }
    let (element, count) = array_head(cursor)?;
    fn many<T>(count: u64, mut read: impl FnMut() -> Result<T, String>) -> Result<Vec<T>, String> {
        (0..count).map(|_| read()).collect()
    }
    Ok(match element {
        ValueType::U8 => Array::U8(cursor.take(count)?.to_vec()),
        ValueType::I8 => Array::I8(many(count, || Ok(i8::from_le_bytes(cursor.array()?)))?),
        ValueType::U16 => Array::U16(many(count, || Ok(u16::from_le_bytes(cursor.array()?)))?),
        ValueType::I16 => Array::I16(many(count, || Ok(i16::from_le_bytes(cursor.array()?)))?),
        ValueType::U32 => Array::U32(many(count, || cursor.u32())?),
        ValueType::I32 => Array::I32(many(count, || Ok(i32::from_le_bytes(cursor.array()?)))?),
        ValueType::F32 => Array::F32(many(count, || Ok(f32::from_le_bytes(cursor.array()?)))?),
        ValueType::Bool => Array::Bool(many(count, || Ok(cursor.u8()? != 0))?),
        ValueType::String => Array::String(many(count, || Ok(String::from_utf8_lossy(cursor.string()?).into_owned()))?),
        ValueType::Array => Array::Array(many(count, || decode_array(cursor, depth + 1))?),
        ValueType::U64 => Array::U64(many(count, || cursor.u64())?),
        ValueType::I64 => Array::I64(many(count, || Ok(i64::from_le_bytes(cursor.array()?)))?),
        ValueType::F64 => Array::F64(many(count, || Ok(f64::from_le_bytes(cursor.array()?)))?),
    })
}
