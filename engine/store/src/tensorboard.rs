//! Series of a run as a TensorBoard event file.
//!
//! Place in the data flow: reads through [`Reader`]. The file is a sequence of records: length (u64),
//! masked CRC-32C of the length, a protocol buffer of type `Event`, masked CRC-32C of it, all
//! little-endian. The few fields needed are encoded here: `Event` has `wall_time` (1, double), `step` (2,
//! varint), `file_version` (3, text), `summary` (5, message); `Summary` repeats `value` (1, message) with
//! `tag` (1, text) and `simple_value` (2, float).
//!
//! Points carry no time of their own, so every record has the time at which the run was created: the
//! step axis is the one to look at.

use crate::csv_export::cannot_write;
use crate::error::StoreError;
use crate::reader::Reader;
use std::io::Write;

/// Table of the CRC with Castagnoli's polynomial, reflected.
const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// CRC-32C (Castagnoli) of `bytes`.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        let index = usize::from(*byte) ^ (crc as usize & 0xff);
        CRC_TABLE.get(index).copied().unwrap_or(0) ^ (crc >> 8)
    })
}

/// The CRC as record files store it: rotated and shifted, so that a CRC of data with CRCs inside stays
/// useful.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn varint(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// A field of bytes: text or an inner message.
fn bytes_field(field: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(field << 3 | 2);
    varint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

/// The start of an `Event`: its time in seconds since 1970.
fn event_at(wall_secs: f64) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend_from_slice(&wall_secs.to_le_bytes());
    event
}

fn write_record(out: &mut impl Write, message: &[u8]) -> Result<(), StoreError> {
    let length = (message.len() as u64).to_le_bytes();
    out.write_all(&length)
        .and_then(|()| out.write_all(&masked_crc32c(&length).to_le_bytes()))
        .and_then(|()| out.write_all(message))
        .and_then(|()| out.write_all(&masked_crc32c(message).to_le_bytes()))
        .map_err(cannot_write)
}

/// Writes the run's series; returns the number of points. Name the file
/// `events.out.tfevents.<seconds>.<host>` so that TensorBoard finds it.
///
/// # Errors
/// [`StoreError::NotFound`] when there is no such run; those of the database and of `out`.
pub fn export_tensorboard(reader: &Reader, run: u64, mut out: impl Write) -> Result<u64, StoreError> {
    let row = reader.run(run)?.ok_or_else(|| StoreError::NotFound { what: format!("run {run}") })?;
    let wall_secs = row.created_millis as f64 / 1e3;
    let mut version = event_at(wall_secs);
    bytes_field(3, b"brain.Event:2", &mut version);
    write_record(&mut out, &version)?;
    let mut written = 0;
    for series in reader.series_names(run)? {
        let mut cursor = reader.cursor(run, &series.name)?;
        while let Some(point) = cursor.peek() {
            let mut value = Vec::with_capacity(series.name.len() + 8);
            bytes_field(1, series.name.as_bytes(), &mut value);
            value.push(2 << 3 | 5);
            value.extend_from_slice(&(point.value as f32).to_le_bytes());
            let mut summary = Vec::with_capacity(value.len() + 4);
            bytes_field(1, &value, &mut summary);
            let mut event = event_at(wall_secs);
            event.push(2 << 3);
            varint(point.step, &mut event);
            bytes_field(5, &summary, &mut event);
            write_record(&mut out, &event)?;
            written += 1;
            cursor.advance()?;
        }
    }
    out.flush().map_err(cannot_write)?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard_and_of_real_files() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        // Every event file begins with a record of 24 bytes, so with these 12 bytes.
        let mut start = Vec::new();
        let mut version = event_at(1.0);
        bytes_field(3, b"brain.Event:2", &mut version);
        write_record(&mut start, &version).expect("writes");
        assert_eq!(start[..13], *b"\x18\0\0\0\0\0\0\0\xa3\x7fK\"\x09");
    }
}
