//! The GGUF reader and writer on their own: round trips, damage of every kind.

use crate::tools::every_value;
use proptest::prelude::*;
use std::path::Path;
use temper_models::gguf::{Array, GgmlType, GgufFile, GgufWriter, MAGIC, Value};
use temper_nn::{Bytes, StorageKind};

fn parse(bytes: &[u8]) -> temper_models::Result<GgufFile> {
    GgufFile::parse(Bytes::owned(bytes.to_vec()), Path::new("test.gguf"))
}

fn message(bytes: &[u8]) -> String {
    parse(bytes).unwrap_err().to_string()
}

/// Two tensors and every type of metadata.
fn small_file() -> Vec<u8> {
    let mut writer = GgufWriter::new();
    for (key, value) in every_value() {
        writer.set(key, value).unwrap();
    }
    writer.declare("first", &[3, 32], StorageKind::Q8_0).unwrap();
    writer.declare("second", &[5], StorageKind::F32).unwrap();
    let mut sink = writer.start(Vec::new()).unwrap();
    sink.write("first", &[7; 3 * 20]).unwrap();
    assert_eq!(sink.expected(), Some("first"), "a tensor may come in pieces");
    sink.write("first", &[7; 3 * 14]).unwrap();
    sink.write("second", &[1; 20]).unwrap();
    sink.finish().unwrap()
}

/// Reads everything that can be read.
fn visit(file: &GgufFile) {
    for entry in file.entries() {
        file.value(entry).unwrap();
        assert!(!file.raw_entry(entry).is_empty());
    }
    for tensor in file.tensors() {
        assert_eq!(file.data(tensor).unwrap().len() as u64, tensor.bytes);
    }
}

#[test]
fn what_is_written_is_read_in_the_same_order() {
    let bytes = small_file();
    let file = parse(&bytes).unwrap();
    assert_eq!((file.version(), file.alignment(), file.file_bytes()), (3, 32, bytes.len() as u64));
    let expected = every_value();
    assert_eq!(file.entries().len(), expected.len());
    for (entry, (key, value)) in file.entries().iter().zip(&expected) {
        assert_eq!(entry.key, *key);
        assert_eq!(file.value(entry).unwrap(), *value);
    }
    let first = file.tensor("first").unwrap();
    assert_eq!((first.shape(), first.kind(), first.elements()), (vec![3, 32], Some(StorageKind::Q8_0), 96));
    assert_eq!(first.dims, [32, 3]);
    assert_eq!(file.data(first).unwrap().as_slice(), [7; 102]);
    let second = file.tensor("second").unwrap();
    assert_eq!(second.offset, 128, "aligned to 32");
    assert_eq!(file.data(second).unwrap().as_slice(), [1; 20]);
    assert!(file.tensor("third").is_none());
}

#[test]
fn metadata_is_copied_byte_for_byte_and_replaced_in_place() {
    let original = parse(&small_file()).unwrap();
    let mut writer = GgufWriter::new();
    writer.copy_metadata(&original).unwrap();
    writer.set("e.u32", Value::F32(0.5)).unwrap();
    writer.set("z.new", "last").unwrap();
    writer.remove("b.i8");
    writer.declare("only", &[2], StorageKind::F16).unwrap();
    let announced = writer.file_bytes();
    let mut sink = writer.start(Vec::new()).unwrap();
    sink.write("only", &[0; 4]).unwrap();
    let bytes = sink.finish().unwrap();
    assert_eq!(bytes.len() as u64, announced);
    let copy = parse(&bytes).unwrap();
    let keys = |file: &GgufFile| file.entries().iter().map(|entry| entry.key.clone()).collect::<Vec<_>>();
    let mut expected = keys(&original);
    expected.retain(|key| key != "b.i8");
    expected.push("z.new".to_owned());
    assert_eq!(keys(&copy), expected);
    for entry in copy.entries() {
        match entry.key.as_str() {
            "e.u32" => assert_eq!(copy.value(entry).unwrap(), Value::F32(0.5)),
            "z.new" => assert_eq!(copy.value(entry).unwrap(), Value::from("last")),
            key => {
                let before = original.entries().iter().find(|entry| entry.key == key).unwrap();
                assert_eq!(copy.raw_entry(entry), original.raw_entry(before), "{key}");
            }
        }
    }
}

#[test]
fn alignment_is_as_found_and_never_zero() {
    for alignment in [8_u32, 24, 64, 4096] {
        let mut writer = GgufWriter::new();
        writer.set("general.alignment", alignment).unwrap();
        writer.declare("a", &[3], StorageKind::F16).unwrap();
        writer.declare("b", &[3], StorageKind::F16).unwrap();
        let mut sink = writer.start(Vec::new()).unwrap();
        sink.write("a", &[1; 6]).unwrap();
        sink.write("b", &[2; 6]).unwrap();
        let file = parse(&sink.finish().unwrap()).unwrap();
        assert_eq!(file.alignment(), u64::from(alignment));
        assert_eq!(file.tensor("b").unwrap().offset, u64::from(alignment));
        assert_eq!(file.data(file.tensor("b").unwrap()).unwrap().as_slice(), [2; 6]);
    }
    for wrong in [0_u32, 4, 12] {
        assert!(GgufWriter::new().set("general.alignment", wrong).is_err(), "{wrong} is not written");
    }
    let mut writer = GgufWriter::new();
    writer.set("general.alignment", 8_u32).unwrap();
    let mut bytes = writer.start(Vec::new()).unwrap().finish().unwrap();
    let at = bytes.windows(4).rposition(|window| window == 8_u32.to_le_bytes()).unwrap();
    bytes[at..at + 4].copy_from_slice(&0_u32.to_le_bytes());
    assert!(message(&bytes).contains("general.alignment is 0"));
    bytes[at..at + 4].copy_from_slice(&1_u32.to_le_bytes());
    assert_eq!(parse(&bytes).unwrap().alignment(), 1);
}

#[test]
fn the_writer_refuses_what_no_reader_could_use() {
    let mut writer = GgufWriter::new();
    assert!(writer.declare("", &[1], StorageKind::F32).is_err());
    assert!(writer.declare(&"x".repeat(64), &[1], StorageKind::F32).is_err());
    assert!(writer.declare("odd", &[4, 31], StorageKind::Q4_0).is_err());
    assert!(writer.declare("odd", &[32, 1, 1, 1, 1], StorageKind::F32).is_err());
    assert!(writer.declare("empty", &[0, 32], StorageKind::F32).is_err());
    let error = writer.declare("held", &[2, 64], StorageKind::Nf4).unwrap_err().to_string();
    assert!(error.contains("held") && error.contains("nf4") && error.contains("f16"), "{error}");
    writer.declare("a", &[4], StorageKind::F32).unwrap();
    assert!(writer.declare("a", &[4], StorageKind::F32).is_err());
    writer.declare("b", &[4], StorageKind::F32).unwrap();
    let mut sink = writer.start(Vec::new()).unwrap();
    assert!(sink.write("b", &[0; 16]).is_err(), "out of order");
    assert!(sink.write("a", &[0; 17]).is_err(), "too long");
    sink.write("a", &[0; 16]).unwrap();
    let error = sink.finish().unwrap_err().to_string();
    assert!(error.contains("data of b is missing"), "{error}");
}

#[test]
fn version_2_is_read_and_others_are_refused() {
    let with_version = |version: u32| {
        let mut bytes = small_file();
        bytes[4..8].copy_from_slice(&version.to_le_bytes());
        bytes
    };
    visit(&parse(&with_version(2)).unwrap());
    assert!(message(&with_version(1)).contains("version 1"));
    assert!(message(&with_version(4)).contains("version 4"));
    assert!(message(&with_version(3_u32.swap_bytes())).contains("big-endian"));
    assert!(message(b"GGML\x03\0\0\0").contains("GGUF"));
    assert!(parse(b"").is_err());
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = small_file();
    let end = bytes.len() - 12; // the last tensor has 20 bytes, 12 more are padding
    for length in 0..end {
        assert!(parse(&bytes[..length]).is_err(), "cut at {length}");
    }
    assert!(message(&bytes[..end - 1]).contains("second"), "the tensor is named");
    visit(&parse(&bytes[..end]).unwrap());
}

#[test]
fn any_flipped_bit_of_the_header_is_survived() {
    let bytes = small_file();
    let header = bytes.len() - 160;
    for bit in 0..header * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(file) = parse(&flipped) {
            visit(&file);
        }
    }
}

#[test]
fn absurd_claims_are_refused_before_anything_is_allocated() {
    let head = |tensors: u64, entries: u64| {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(entries.to_le_bytes());
        bytes
    };
    assert!(message(&head(u64::MAX, 0)).contains("more than it can hold"));
    assert!(message(&head(0, u64::MAX)).contains("more than it can hold"));
    assert!(message(&head(1 << 61, 1 << 61)).contains("more than it can hold"));
    let key = |bytes: &mut Vec<u8>, kind: u32| {
        bytes.extend(1_u64.to_le_bytes());
        bytes.push(b'k');
        bytes.extend(kind.to_le_bytes());
    };
    let mut long_text = head(0, 1);
    key(&mut long_text, 8);
    long_text.extend(u64::MAX.to_le_bytes());
    assert!(message(&long_text).contains("k: a text claims"));
    for element in [0_u32, 8, 9, 12] {
        let mut long_array = head(0, 1);
        key(&mut long_array, 9);
        long_array.extend(element.to_le_bytes());
        long_array.extend((u64::MAX / 8).to_le_bytes());
        assert!(message(&long_array).contains("an array claims"), "element type {element}");
    }
    let mut deep = head(0, 1);
    key(&mut deep, 9);
    for _ in 0..100_000 {
        deep.extend(9_u32.to_le_bytes());
        deep.extend(1_u64.to_le_bytes());
    }
    assert!(message(&deep).contains("nested"));
}

/// A file with the given tensors: name, dims, type, offset; `data` bytes follow.
fn with_tensors(tensors: &[(&str, &[u64], u32, u64)], data: usize) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    for (name, dims, kind, offset) in tensors {
        bytes.extend((name.len() as u64).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + data, 0);
    bytes
}

#[test]
fn tensors_that_cannot_be_are_named() {
    let one = |dims: &[u64], kind, offset| message(&with_tensors(&[("w.weight", dims, kind, offset)], 256));
    for text in [
        one(&[u64::MAX, 4], 0, 0),
        one(&[1 << 40, 1 << 40], 0, 0),
        one(&[0, 4], 0, 0),
        one(&[4; 5], 0, 0),
        one(&[4], 999, 0),
        one(&[33, 2], 8, 0),
        one(&[4], 0, 1),
        one(&[4], 0, 256),
        one(&[4], 0, u64::MAX - 31),
        one(&[65], 0, 0),
    ] {
        assert!(text.contains("w.weight"), "{text}");
    }
    let overlap = message(&with_tensors(&[("a", &[16], 0, 0), ("b", &[16], 0, 32)], 256));
    assert!(overlap.contains("a and b overlap"), "{overlap}");
    let twice = message(&with_tensors(&[("a", &[4], 0, 0), ("a", &[4], 0, 32)], 256));
    assert!(twice.contains("a appears twice"), "{twice}");
    let unsupported = parse(&with_tensors(&[("a", &[256], 23, 0)], 256)).unwrap();
    let tensor = unsupported.tensor("a").unwrap();
    assert_eq!((tensor.ggml_type.name, tensor.kind(), tensor.bytes), ("IQ4_XS", None, 136));
    assert_eq!(GgmlType::from_code(23).unwrap().name, "IQ4_XS");
}

#[test]
fn text_that_is_not_utf8_is_kept_in_the_raw_entry() {
    let mut bytes = small_file();
    let at = bytes.windows(5).position(|window| window == "naïv".as_bytes()).unwrap();
    bytes[at + 2] = 0xff;
    let file = parse(&bytes).unwrap();
    let entry = file.entries().iter().find(|entry| entry.key == "i.string").unwrap();
    assert!(file.value(entry).unwrap().as_str().unwrap().contains('\u{fffd}'));
    assert!(file.raw_entry(entry).contains(&0xff));
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u64>().prop_map(Value::U64),
        (-1e30_f32..1e30).prop_map(Value::F32),
        (-1e300_f64..1e300).prop_map(Value::F64),
        any::<bool>().prop_map(Value::Bool),
        any::<String>().prop_map(Value::String),
        prop::collection::vec(any::<i32>(), 0..20).prop_map(|all| Value::Array(Array::I32(all))),
        prop::collection::vec(any::<String>(), 0..10).prop_map(|all| Value::Array(Array::String(all))),
        prop::collection::vec(prop::collection::vec(any::<bool>(), 0..4), 0..4)
            .prop_map(|all| Value::Array(Array::Array(all.into_iter().map(Array::Bool).collect()))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..600), real in any::<bool>()) {
        if real && bytes.len() >= 24 {
            bytes[..4].copy_from_slice(&MAGIC);
            bytes[4..8].copy_from_slice(&3_u32.to_le_bytes());
            bytes[9..16].fill(0);
            bytes[17..24].fill(0);
        }
        if let Ok(file) = parse(&bytes) {
            visit(&file);
        }
    }

    #[test]
    fn damage_in_several_places_is_survived(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        shorten in any::<bool>(),
    ) {
        let mut bytes = small_file();
        for (place, value) in places {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(file) = parse(&bytes) {
            visit(&file);
        }
    }

    #[test]
    fn any_metadata_survives_the_round_trip(
        values in prop::collection::btree_map("[a-z.]{1,12}", any_value(), 0..8),
        rows in 1_usize..4,
    ) {
        let mut writer = GgufWriter::new();
        for (key, value) in &values {
            writer.set(key, value.clone()).unwrap();
        }
        writer.declare("t", &[rows, 64], StorageKind::Q4_1).unwrap();
        let data: Vec<u8> = (0..rows * 40).map(|byte| byte as u8).collect();
        let mut sink = writer.start(Vec::new()).unwrap();
        sink.write("t", &data).unwrap();
        let file = parse(&sink.finish().unwrap()).unwrap();
        prop_assert_eq!(file.entries().len(), values.len());
        for (entry, (key, value)) in file.entries().iter().zip(&values) {
            prop_assert_eq!(&entry.key, key);
            prop_assert_eq!(&file.value(entry).unwrap(), value);
        }
        let read = file.data(&file.tensors()[0]).unwrap();
        prop_assert_eq!(read.as_slice(), data.as_slice());
    }
}
