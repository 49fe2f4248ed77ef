//! How the numbers of a weight are stored: floats of three widths, the block formats of GGUF, and block formats that
//! exist only in memory.
//!
//! Place in the data flow: readers name the [`StorageKind`] of each tensor; [`crate::FrozenWeight`] widens
//! rows to f32 through [`dequantise`]; writers shrink through [`quantise`].
//!
//! The block layouts of files are those of ggml; candle's `k_quants` holds the slow and certain conversions, the
//! common formats have vectorised ones in [`crate::kernels`] that give the same bits. NF4 to NF2, int8 and whole numbers
//! of 2 to 4 bits are our own layouts of known formats (`kernels/{base_blocks,few_levels,nf4_double,grouped}.rs`): a person
//! chooses them for a frozen base, which is narrowed while it is read, and no writer takes them. What each kind costs and changes is measured in
//! `engine/decisions/007-storage-and-optimiser-state.md`.

use crate::kernels::grouped::{self, GroupedInt};
use crate::kernels::{base_blocks, blocks, few_levels, nf4_double, super_blocks};
use crate::{NnError, Result};
use candle_core::quantized::k_quants::{
    BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4_1, BlockQ4K, BlockQ5_0, BlockQ5_1, BlockQ5K, BlockQ6K, BlockQ8_0, BlockQ8K,
    GgmlType,
};
use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};

/// A storage type. Names and numbers are those of ggml, for all that files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StorageKind {
    /// 32-bit float.
    F32,
    /// 16-bit float (IEEE half).
    F16,
    /// 16-bit float with the exponent of f32.
    Bf16,
    /// 4 bits, scale per 32.
    Q4_0,
    /// 4 bits, scale and minimum per 32.
    Q4_1,
    /// 5 bits, scale per 32.
    Q5_0,
    /// 5 bits, scale and minimum per 32.
    Q5_1,
    /// 8 bits, scale per 32.
    Q8_0,
    /// 2 bits in super-blocks of 256.
    Q2K,
    /// 3 bits in super-blocks of 256.
    Q3K,
    /// 4 bits in super-blocks of 256.
    Q4K,
    /// 5 bits in super-blocks of 256.
    Q5K,
    /// 6 bits in super-blocks of 256.
    Q6K,
    /// 8 bits in super-blocks of 256.
    Q8K,
    /// QLoRA's NormalFloat: 4 bits, largest magnitude per 64; in memory only.
    Nf4,
    /// NormalFloat of 3 bits, largest magnitude per 64; in memory only.
    Nf3,
    /// NormalFloat of 2 bits, largest magnitude per 64; in memory only.
    Nf2,
    /// 8 bits, largest magnitude per 64; in memory only.
    Int8,
    /// NF4 whose magnitudes are quantised a second time; in memory only, and only as a whole weight
    /// ([`crate::FrozenWeight::rounded`]): the second level lies across rows.
    Nf4Double,
    /// Whole numbers of 2 to 4 bits with a step and a zero point per group; in memory only.
    Grouped(GroupedInt),
}

impl StorageKind {
    /// All whose blocks can be read without the rest of their weight: every one but [`Self::Nf4Double`].
    pub const ALL: [Self; 27] = {
        let mut all = [Self::F32; 27];
        let mut at = 0;
        while at < 18 {
            all[at] = Self::PLAIN[at];
            at += 1;
        }
        while at < 27 {
            all[at] = Self::Grouped(GroupedInt::ALL[at - 18]);
            at += 1;
        }
        all
    };

    const PLAIN: [Self; 18] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Q8K,
        Self::Nf4,
        Self::Nf3,
        Self::Nf2,
        Self::Int8,
    ];

    /// Elements per block.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K | Self::Q8K => 256,
            Self::Nf4 | Self::Nf3 | Self::Nf2 | Self::Nf4Double | Self::Int8 => base_blocks::BLOCK,
            Self::Grouped(kind) => kind.block_len(),
        }
    }

    /// Bytes per block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Q8K => 292,
            Self::Nf4 => base_blocks::NF4_BYTES,
            Self::Nf3 => few_levels::NF3_BYTES,
            Self::Nf2 => few_levels::NF2_BYTES,
            Self::Int8 => base_blocks::INT8_BYTES,
            Self::Nf4Double => nf4_double::BYTES,
            Self::Grouped(kind) => kind.block_bytes(),
        }
    }

    /// Name as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Q8K => "Q8_K",
            Self::Nf4 => "nf4",
            Self::Nf3 => "nf3",
            Self::Nf2 => "nf2",
            Self::Int8 => "int8",
            Self::Nf4Double => "nf4-double",
            Self::Grouped(kind) => kind.name(),
        }
    }

    /// From the number GGUF files use; `None` for types this program has no arithmetic for.
    #[must_use]
    pub fn from_ggml(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.ggml() == Some(number))
    }

    /// The number GGUF files use; `None` for kinds that exist only in memory.
    #[must_use]
    pub const fn ggml(self) -> Option<u32> {
        Some(match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q2K => 10,
            Self::Q3K => 11,
            Self::Q4K => 12,
            Self::Q5K => 13,
            Self::Q6K => 14,
            Self::Q8K => 15,
            Self::Bf16 => 30,
            Self::Nf4 | Self::Nf3 | Self::Nf2 | Self::Int8 | Self::Nf4Double | Self::Grouped(_) => return None,
        })
    }

    /// Whether only a base in memory is held so, and no file.
    #[must_use]
    pub const fn is_memory_only(self) -> bool {
        self.ggml().is_none()
    }

    /// Bits that a value takes, block scales included (of [`Self::Nf4Double`] without the 0.002 of its second level).
    #[must_use]
    pub const fn bits_per_value(self) -> f64 {
        (self.block_bytes() * 8) as f64 / self.block_len() as f64
    }

    /// Bytes that `elements` values take; `None` when they do not fill whole blocks or the product overflows.
    #[must_use]
    pub const fn bytes_for(self, elements: usize) -> Option<usize> {
        if !elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (elements / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether values are stored one by one rather than in blocks.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }
}

fn storage_error(kind: StorageKind, what: String) -> NnError {
    NnError::Storage { kind: kind.name(), what }
}

/// Widens stored values to f32 into `out`, whose length says how many there are.
///
/// # Errors
/// [`NnError::Storage`] when `bytes` and `out` do not have fitting sizes.
pub fn dequantise(kind: StorageKind, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    check_sizes(kind, bytes, out)?;
    match kind {
        StorageKind::F32 => bytemuck::cast_slice_mut::<f32, u8>(out).copy_from_slice(bytes),
        StorageKind::F16 => widen_half::<f16>(bytes, out, |half, out| half.convert_to_f32_slice(out)),
        StorageKind::Bf16 => blocks::widen_bf16(bytes, out),
        StorageKind::Q4_0 => blocks::widen_q4_0(bytes, out),
        StorageKind::Q4_1 => blocks::widen_q4_1(bytes, out),
        StorageKind::Q5_0 => blocks::widen_q5_0(bytes, out),
        StorageKind::Q5_1 => blocks::widen_q5_1(bytes, out),
        StorageKind::Q8_0 => blocks::widen_q8_0(bytes, out),
        StorageKind::Q4K => super_blocks::widen_q4_k(bytes, out),
        StorageKind::Q5K => super_blocks::widen_q5_k(bytes, out),
        StorageKind::Q6K => super_blocks::widen_q6_k(bytes, out),
        StorageKind::Q2K => widen_blocks::<BlockQ2K>(bytes, out),
        StorageKind::Q3K => widen_blocks::<BlockQ3K>(bytes, out),
        StorageKind::Q8K => widen_blocks::<BlockQ8K>(bytes, out),
        StorageKind::Nf4 => base_blocks::widen_nf4(bytes, out),
        StorageKind::Nf3 => few_levels::widen_nf3(bytes, out),
        StorageKind::Nf2 => few_levels::widen_nf2(bytes, out),
        StorageKind::Int8 => base_blocks::widen_int8(bytes, out),
        StorageKind::Grouped(kind) => grouped::widen(kind, bytes, out),
        StorageKind::Nf4Double => return Err(only_whole()),
    }
    Ok(())
}

/// As [`dequantise`], by candle's conversions or value by value throughout: what the vectorised ones are measured
/// against.
///
/// # Errors
/// As [`dequantise`].
pub fn dequantise_reference(kind: StorageKind, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    check_sizes(kind, bytes, out)?;
    match kind {
        StorageKind::F32 => bytemuck::cast_slice_mut::<f32, u8>(out).copy_from_slice(bytes),
        StorageKind::F16 => widen_half::<f16>(bytes, out, |half, out| half.convert_to_f32_slice(out)),
        StorageKind::Bf16 => widen_half::<bf16>(bytes, out, |half, out| half.convert_to_f32_slice(out)),
        StorageKind::Q4_0 => widen_blocks::<BlockQ4_0>(bytes, out),
        StorageKind::Q4_1 => widen_blocks::<BlockQ4_1>(bytes, out),
        StorageKind::Q5_0 => widen_blocks::<BlockQ5_0>(bytes, out),
        StorageKind::Q5_1 => widen_blocks::<BlockQ5_1>(bytes, out),
        StorageKind::Q8_0 => widen_blocks::<BlockQ8_0>(bytes, out),
        StorageKind::Q2K => widen_blocks::<BlockQ2K>(bytes, out),
        StorageKind::Q3K => widen_blocks::<BlockQ3K>(bytes, out),
        StorageKind::Q4K => widen_blocks::<BlockQ4K>(bytes, out),
        StorageKind::Q5K => widen_blocks::<BlockQ5K>(bytes, out),
        StorageKind::Q6K => widen_blocks::<BlockQ6K>(bytes, out),
        StorageKind::Q8K => widen_blocks::<BlockQ8K>(bytes, out),
        StorageKind::Nf4 => base_blocks::widen_nf4_reference(bytes, out),
        StorageKind::Nf3 => few_levels::widen_nf3_reference(bytes, out),
        StorageKind::Nf2 => few_levels::widen_nf2_reference(bytes, out),
        StorageKind::Int8 => base_blocks::widen_int8_reference(bytes, out),
        StorageKind::Grouped(kind) => grouped::widen_reference(kind, bytes, out),
        StorageKind::Nf4Double => return Err(only_whole()),
    }
    Ok(())
}

fn only_whole() -> NnError {
    let what = "its second level lies across rows: it is made and read as a whole weight".to_owned();
    storage_error(StorageKind::Nf4Double, what)
}

fn check_sizes(kind: StorageKind, bytes: &[u8], out: &[f32]) -> Result<()> {
    if kind.bytes_for(out.len()) == Some(bytes.len()) {
        return Ok(());
    }
    Err(storage_error(kind, format!("{} bytes do not hold {} values", bytes.len(), out.len())))
}

/// Shrinks f32 values to a storage type, as candle (and so ggml's reference code) does; to the nearest level for the
/// kinds that exist only in memory.
///
/// # Errors
/// [`NnError::Storage`] when the values do not fill whole blocks, or one is too large for the kind's scales.
pub fn quantise(kind: StorageKind, values: &[f32]) -> Result<Vec<u8>> {
    if kind.bytes_for(values.len()).is_none() {
        let what = format!("{} values do not fill blocks of {}", values.len(), kind.block_len());
        return Err(storage_error(kind, what));
    }
    if kind.is_memory_only()
        && let Some(value) = values.iter().find(|value| value.is_finite() && value.abs() > base_blocks::MOST)
    {
        let most = base_blocks::MOST;
        let what = format!("a value of {value} is beyond {most}, the most a block can state: hold the base as f32");
        return Err(storage_error(kind, what));
    }
    Ok(match kind {
        StorageKind::F32 => bytemuck::cast_slice(values).to_vec(),
        StorageKind::F16 => {
            let mut half = vec![f16::ZERO; values.len()];
            half.convert_from_f32_slice(values);
            bytemuck::cast_slice(&half).to_vec()
        }
        StorageKind::Bf16 => {
            let mut half = vec![bf16::ZERO; values.len()];
            half.convert_from_f32_slice(values);
            bytemuck::cast_slice(&half).to_vec()
        }
        StorageKind::Q4_0 => shrink_blocks::<BlockQ4_0>(values),
        StorageKind::Q4_1 => shrink_blocks::<BlockQ4_1>(values),
        StorageKind::Q5_0 => shrink_blocks::<BlockQ5_0>(values),
        StorageKind::Q5_1 => shrink_blocks::<BlockQ5_1>(values),
        StorageKind::Q8_0 => shrink_blocks::<BlockQ8_0>(values),
        StorageKind::Q2K => shrink_blocks::<BlockQ2K>(values),
        StorageKind::Q3K => shrink_blocks::<BlockQ3K>(values),
        StorageKind::Q4K => shrink_blocks::<BlockQ4K>(values),
        StorageKind::Q5K => shrink_blocks::<BlockQ5K>(values),
        StorageKind::Q6K => shrink_blocks::<BlockQ6K>(values),
        StorageKind::Q8K => shrink_blocks::<BlockQ8K>(values),
        StorageKind::Nf4 => base_blocks::shrink_nf4(values),
        StorageKind::Nf3 => few_levels::shrink_nf3(values),
        StorageKind::Nf2 => few_levels::shrink_nf2(values),
        StorageKind::Int8 => base_blocks::shrink_int8(values),
        StorageKind::Grouped(kind) => grouped::shrink(kind, values),
        StorageKind::Nf4Double => return Err(only_whole()),
    })
}

/// Halves as they lie in the file; a slice on an odd address is copied first.
fn widen_half<H: bytemuck::Pod>(bytes: &[u8], out: &mut [f32], convert: impl Fn(&[H], &mut [f32])) {
    if let Ok(half) = bytemuck::try_cast_slice::<u8, H>(bytes) {
        convert(half, out);
    } else {
        let half = bytemuck::pod_collect_to_vec::<u8, H>(bytes);
        convert(&half, out);
    }
}

/// The block structs of candle are `repr(C)` records of plain integers and halves: any bytes are valid.
/// Only the types named in this module may take this road.
trait PlainBlock: GgmlType {}
impl PlainBlock for BlockQ4_0 {}
impl PlainBlock for BlockQ4_1 {}
impl PlainBlock for BlockQ5_0 {}
impl PlainBlock for BlockQ5_1 {}
impl PlainBlock for BlockQ8_0 {}
impl PlainBlock for BlockQ2K {}
impl PlainBlock for BlockQ3K {}
impl PlainBlock for BlockQ4K {}
impl PlainBlock for BlockQ5K {}
impl PlainBlock for BlockQ6K {}
impl PlainBlock for BlockQ8K {}

fn widen_blocks<B: PlainBlock>(bytes: &[u8], out: &mut [f32]) {
    let count = bytes.len() / size_of::<B>();
    if bytes.as_ptr().cast::<B>().is_aligned() {
        #[expect(unsafe_code, reason = "candle's block types are opaque, their bytes cannot be given another way")]
        // SAFETY: `B` is a repr(C) record of integers and halves without padding (candle asserts the sizes),
        // valid for any bytes; the pointer is aligned (checked above) and `count` blocks lie within `bytes`,
        // which outlives the slice.
        let blocks = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<B>(), count) };
        B::to_float(blocks, out);
    } else {
        let mut blocks = vec![B::zeros(); count];
        block_bytes_mut(&mut blocks).copy_from_slice(&bytes[..count * size_of::<B>()]);
        B::to_float(&blocks, out);
    }
}

fn shrink_blocks<B: PlainBlock>(values: &[f32]) -> Vec<u8> {
    let mut blocks = vec![B::zeros(); values.len() / B::BLCK_SIZE];
    B::from_float(values, &mut blocks);
    block_bytes_mut(&mut blocks).to_vec()
}

fn block_bytes_mut<B: PlainBlock>(blocks: &mut [B]) -> &mut [u8] {
    let length = size_of_val(blocks);
    #[expect(unsafe_code, reason = "candle's block types are opaque, their bytes cannot be had another way")]
    // SAFETY: `B` is a repr(C) record of integers and halves without padding (candle asserts the sizes), so
    // every byte is initialised and any byte may be written; the borrow of `blocks` is passed on.
    unsafe {
        std::slice::from_raw_parts_mut(blocks.as_mut_ptr().cast::<u8>(), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn values(n: usize) -> Vec<f32> {
        let mut values = vec![0f32; n];
        Stream::new(1, "storage").fill_normal(&mut values, 0.5);
        values
    }

    #[test]
    fn sizes_and_numbers_are_those_of_ggml() {
        for kind in StorageKind::ALL {
            match kind.ggml() {
                Some(number) => assert_eq!(StorageKind::from_ggml(number), Some(kind)),
                None => assert!(kind.is_memory_only(), "{}", kind.name()),
            }
            let bytes = quantise(kind, &values(512)).unwrap();
            assert_eq!(Some(bytes.len()), kind.bytes_for(512), "{}", kind.name());
        }
        assert_eq!(StorageKind::from_ggml(9), None);
        assert_eq!(StorageKind::Q4_1.bytes_for(33), None);
        assert!((StorageKind::Nf4.bits_per_value() - 4.25).abs() < 1e-9);
        assert!((StorageKind::Nf3.bits_per_value() - 3.25).abs() < 1e-9);
        assert!((StorageKind::Nf2.bits_per_value() - 2.25).abs() < 1e-9);
        assert!((StorageKind::Int8.bits_per_value() - 8.25).abs() < 1e-9);
        assert_eq!(StorageKind::Q8K.bytes_for(usize::MAX / 256 * 256), None, "an overflow is no size");
    }

    #[test]
    fn every_kind_comes_back_close_to_what_went_in() {
        let original = values(1024);
        let files = [0.0, 1e-3, 1e-2, 0.2, 0.16, 0.1, 0.08, 0.02, 0.6, 0.35, 0.15, 0.08, 0.04, 0.02];
        let blocks = [0.32, 0.5, 1.0, 0.01];
        // What lies beyond the range that is covered is cut: that is the worst error with few bits.
        let grouped = [1.3, 1.3, 1.3, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4];
        let tolerances: Vec<f32> = files.into_iter().chain(blocks).chain(grouped).collect();
        assert_eq!(StorageKind::ALL.len(), tolerances.len());
        for (kind, tolerance) in StorageKind::ALL.into_iter().zip(tolerances) {
            let mut back = vec![0f32; original.len()];
            dequantise(kind, &quantise(kind, &original).unwrap(), &mut back).unwrap();
            let worst = original.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(worst <= tolerance, "{}: {worst}", kind.name());
        }
    }

    #[test]
    fn vectorised_conversions_give_the_bits_of_the_reference_even_misaligned() {
        for kind in StorageKind::ALL {
            let bytes = quantise(kind, &values(2048)).unwrap();
            let mut expected = vec![0f32; 2048];
            dequantise_reference(kind, &bytes, &mut expected).unwrap();
            let mut shifted = vec![0u8; bytes.len() + 1];
            shifted[1..].copy_from_slice(&bytes);
            for bytes in [bytes.as_slice(), &shifted[1..]] {
                let mut out = vec![0f32; 2048];
                dequantise(kind, bytes, &mut out).unwrap();
                let same = out.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{}", kind.name());
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let mut out = vec![0f32; 64];
        assert!(dequantise(StorageKind::Q4_0, &[0; 35], &mut out).is_err());
        assert!(dequantise(StorageKind::Q6K, &[0; 210], &mut out).is_err());
        assert!(quantise(StorageKind::Q8_0, &[0.0; 31]).is_err());
        assert!(quantise(StorageKind::Nf4, &[0.0; 96]).is_err());
        let error = quantise(StorageKind::Int8, &[7e4; 64]).unwrap_err().to_string();
        assert!(error.contains("70000") && error.contains("f32"), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_widened(seed: u64, which in 0usize..27) {
            let kind = StorageKind::ALL[which];
            let mut stream = Stream::new(seed, "bytes");
            let bytes = (0..kind.bytes_for(512).unwrap()).map(|_| stream.next_u64() as u8).collect::<Vec<_>>();
            let (mut out, mut expected) = (vec![0f32; 512], vec![0f32; 512]);
            dequantise(kind, &bytes, &mut out).unwrap();
            dequantise_reference(kind, &bytes, &mut expected).unwrap();
            for (a, b) in out.iter().zip(&expected) {
                proptest::prop_assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()));
            }
        }
    }
}
