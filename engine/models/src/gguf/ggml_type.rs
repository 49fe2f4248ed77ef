//! The storage types of ggml by number: name and block size, also of those that cannot be computed with here, so that
//! the layout of any file can be checked and an unsupported tensor named.

use temper_nn::StorageKind;

/// A storage type as its number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgmlType {
    /// Number in the file.
    pub code: u32,
    /// Name as ggml prints it.
    pub name: &'static str,
    /// Elements per block.
    pub block_len: u64,
    /// Bytes per block.
    pub block_bytes: u64,
}

/// (number, name, elements per block, bytes per block), from ggml's type traits.
const TYPES: &[(u32, &str, u64, u64)] = &[
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
];

impl GgmlType {
    /// The type with this number, if ggml has one.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        let &(code, name, block_len, block_bytes) = TYPES.iter().find(|row| row.0 == code)?;
        Some(Self { code, name, block_len, block_bytes })
    }

    /// The type that weights of this kind have in a file; none for kinds that exist only in memory.
    #[must_use]
    pub fn of(kind: StorageKind) -> Option<Self> {
        Self::from_code(kind.ggml()?)
    }

    /// The kind of weight that it is here, if it can be computed with.
    #[must_use]
    pub fn kind(self) -> Option<StorageKind> {
        StorageKind::from_ggml(self.code)
    }

    /// Bytes of `elements` values; none if they do not fill whole blocks or the size overflows.
    #[must_use]
    pub fn bytes_for(self, elements: u64) -> Option<u64> {
        if !elements.is_multiple_of(self.block_len) {
            return None;
        }
        (elements / self.block_len).checked_mul(self.block_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_agree_with_the_kinds_we_compute_with() {
        let mut known = 0;
        for &(code, ..) in TYPES {
            let ggml = GgmlType::from_code(code).unwrap();
            if let Some(kind) = ggml.kind() {
                assert_eq!(ggml.block_len, kind.block_len() as u64, "{}", ggml.name);
                assert_eq!(ggml.block_bytes, kind.block_bytes() as u64, "{}", ggml.name);
                assert_eq!(GgmlType::of(kind), Some(ggml));
                known += 1;
            }
        }
        let in_memory = StorageKind::ALL.into_iter().filter(|kind| GgmlType::of(*kind).is_none()).count();
        assert_eq!(known + in_memory, StorageKind::ALL.len());
        assert_eq!(GgmlType::from_code(4), None);
    }

    #[test]
    fn sizes_need_whole_blocks_and_do_not_overflow() {
        let q4 = GgmlType::from_code(2).unwrap();
        assert_eq!(q4.bytes_for(64), Some(36));
        assert_eq!(q4.bytes_for(48), None);
        assert_eq!(GgmlType::from_code(0).unwrap().bytes_for(u64::MAX), None);
    }
}
