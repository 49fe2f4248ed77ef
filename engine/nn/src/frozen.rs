//! Weights that are not trained, held as the file has them.
//!
//! Place in the data flow: readers of model files make [`FrozenWeight`]s over mapped bytes; the differentiable
//! operations multiply with them through a [`FrozenBackend`]. The dense f32 matrix of a weight in another
//! storage type never exists as a whole: products widen it block by block.

use crate::bytes::Bytes;
use crate::kernels::nf4_double::{self, SecondLevel};
use crate::kernels::{base_blocks, frozen};
use crate::storage::{self, StorageKind};
use crate::{NnError, Result};
use candle_core::{DType, Device, Tensor};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// A matrix (rows = out, cols = in) that is read only.
#[derive(Clone, Debug)]
pub struct FrozenWeight {
    /// The name the file gives it.
    pub name: String,
    /// Output features.
    pub rows: usize,
    /// Input features.
    pub cols: usize,
    /// How the values are stored.
    pub kind: StorageKind,
    bytes: Bytes,
    /// Logical row i is stored as row `row_order[i]`: GGUF permutes the rows of q and k.
    row_order: Option<Arc<[u32]>>,
    /// Its copy on a card, made when it is first needed.
    mirror: Arc<OnceLock<Tensor>>,
    /// What blocks of the kind `Nf4Double` are read with.
    second: Option<Arc<SecondLevel>>,
    /// What is added to the stored values.
    added: Option<Arc<Added>>,
}

/// A product that is added to the rows of a stored weight: what adapters left that lie frozen on it.
#[derive(Debug)]
struct Added {
    rank: usize,
    /// (rows, rank), with all scales folded in.
    b: Vec<f32>,
    /// (rank, cols).
    a: Vec<f32>,
}

impl Added {
    /// Adds its part to the rows from `first` on that fill `rows` (count, cols).
    fn add(&self, first: usize, rows: &mut [f32], cols: usize) {
        let factors = self.b.chunks_exact(self.rank.max(1)).skip(first);
        for (row, factors) in rows.chunks_exact_mut(cols.max(1)).zip(factors) {
            for (factor, a) in factors.iter().zip(self.a.chunks_exact(cols.max(1))) {
                for (value, a) in row.iter_mut().zip(a) {
                    *value += factor * a;
                }
            }
        }
    }
}

/// Rows that are read at a time while a weight is rounded.
const ROWS_AT_A_TIME: usize = 256;

impl FrozenWeight {
    /// A weight over stored bytes.
    ///
    /// # Errors
    /// [`NnError::Weight`] when rows do not fill whole blocks, the bytes have another size, or `row_order` is
    /// no permutation of the rows.
    pub fn new(
        name: impl Into<String>,
        rows: usize,
        cols: usize,
        kind: StorageKind,
        bytes: Bytes,
        row_order: Option<Arc<[u32]>>,
    ) -> Result<Self> {
        let name = name.into();
        let refuse = |what: String| NnError::Weight { name: name.clone(), what };
        if kind == StorageKind::Nf4Double {
            return Err(refuse("the bytes of nf4-double alone are no weight: it is rounded as a whole".to_owned()));
        }
        let row_bytes = kind.bytes_for(cols).ok_or_else(|| {
            refuse(format!("a row of {cols} values does not fill blocks of {} ({})", kind.block_len(), kind.name()))
        })?;
        if row_bytes.checked_mul(rows) != Some(bytes.len()) {
            let held = bytes.len();
            return Err(refuse(format!("{held} bytes do not hold {rows} x {cols} values of {}", kind.name())));
        }
        if let Some(order) = &row_order {
            let mut seen = vec![false; rows];
            let fits = order.len() == rows
                && order
                    .iter()
                    .all(|&row| seen.get_mut(row as usize).is_some_and(|seen| !std::mem::replace(seen, true)));
            if !fits {
                return Err(refuse(format!("the order of its rows is no permutation of {rows} rows")));
            }
        }
        Ok(Self { name, rows, cols, kind, bytes, row_order, mirror: Arc::default(), second: None, added: None })
    }

    /// A weight over f32 values in row-major order.
    ///
    /// # Errors
    /// [`NnError::Weight`] when there are not rows · cols of them.
    pub fn from_f32(name: impl Into<String>, rows: usize, cols: usize, values: Vec<f32>) -> Result<Self> {
        Self::new(name, rows, cols, StorageKind::F32, Bytes::from_f32(values), None)
    }

    /// A weight over a tensor (rows, cols), stored as `kind`.
    ///
    /// # Errors
    /// A tensor that is no f32 matrix, or rows that do not fill whole blocks.
    pub fn from_tensor(name: impl Into<String>, tensor: &Tensor, kind: StorageKind) -> Result<Self> {
        let (rows, cols) = tensor.dims2()?;
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        if kind == StorageKind::F32 {
            return Self::from_f32(name, rows, cols, values);
        }
        Self::rounded(name, rows, cols, kind, |range, out| {
            out.copy_from_slice(&values[range.start * cols..range.end * cols]);
            Ok(())
        })
    }

    /// A weight stored as `kind`, from rows that `read` writes out as f32: some rows at a time, for the kind whose scales
    /// are made over the whole weight twice.
    ///
    /// # Errors
    /// Rows that do not fill whole blocks, values that the kind cannot state, what `read` refuses.
    pub fn rounded(
        name: impl Into<String>,
        rows: usize,
        cols: usize,
        kind: StorageKind,
        mut read: impl FnMut(Range<usize>, &mut [f32]) -> Result<()>,
    ) -> Result<Self> {
        let name = name.into();
        if kind.bytes_for(cols).is_none() {
            let what = format!("a row of {cols} values does not fill blocks of {}", kind.block_len());
            return Err(NnError::Weight { name, what });
        }
        let mut values = Vec::new();
        let mut each = |work: &mut dyn FnMut(&[f32]) -> Result<()>| {
            for first in (0..rows).step_by(ROWS_AT_A_TIME) {
                let last = rows.min(first + ROWS_AT_A_TIME);
                values.resize((last - first) * cols, 0.0);
                read(first..last, &mut values)?;
                work(&values)?;
            }
            Ok::<(), NnError>(())
        };
        let mut bytes = Vec::with_capacity(kind.bytes_for(rows * cols).unwrap_or(0));
        let refused = |error: NnError| NnError::Weight { name: name.clone(), what: error.to_string() };
        if kind != StorageKind::Nf4Double {
            each(&mut |values| {
                bytes.extend(storage::quantise(kind, values).map_err(refused)?);
                Ok(())
            })?;
            return Self::new(name, rows, cols, kind, Bytes::owned(bytes), None);
        }
        let mut magnitudes = Vec::with_capacity(rows * cols / base_blocks::BLOCK);
        each(&mut |values| {
            magnitudes.extend(nf4_double::magnitudes(values));
            Ok(())
        })?;
        if let Some(bad) = magnitudes.iter().find(|magnitude| !magnitude.is_finite()) {
            let what = format!("it holds a value that is not finite ({bad}): take another copy of the model");
            return Err(NnError::Weight { name, what });
        }
        let (second, codes) = SecondLevel::of(&mut magnitudes);
        let mut done = 0;
        each(&mut |values| {
            let blocks = done..done + values.len() / base_blocks::BLOCK;
            done = blocks.end;
            nf4_double::shrink(values, &magnitudes[blocks.clone()], &codes[blocks], &mut bytes);
            Ok(())
        })?;
        Ok(Self {
            name,
            rows,
            cols,
            kind,
            bytes: Bytes::owned(bytes),
            row_order: None,
            mirror: Arc::default(),
            second: Some(Arc::new(second)),
            added: None,
        })
    }

    /// The same weight with `scale · b a` added to it, for `b` (rows, rank) and `a` (rank, cols) row by row. The stored
    /// values stay as they are and where they are: the product is added to rows while they are widened, which takes
    /// rank / n of a product over n inputs.
    ///
    /// # Errors
    /// [`NnError::Weight`] when the factors do not fit.
    pub fn with_product(&self, b: &[f32], a: &[f32], rank: usize, scale: f64) -> Result<Self> {
        if rank == 0 || b.len() != self.rows * rank || a.len() != rank * self.cols {
            let what = format!("factors of {} and {} values with rank {rank} do not fit it", b.len(), a.len());
            return Err(NnError::Weight { name: self.name.clone(), what });
        }
        let held = self.added.as_deref();
        let before = held.map_or(0, |added| added.rank);
        let (held_b, held_a): (&[f32], &[f32]) = held.map_or((&[], &[]), |added| (&added.b, &added.a));
        let mut wide = Vec::with_capacity(self.rows * (before + rank));
        for (row, own) in b.chunks_exact(rank).enumerate() {
            wide.extend_from_slice(held_b.get(row * before..(row + 1) * before).unwrap_or_default());
            wide.extend(own.iter().map(|value| (f64::from(*value) * scale) as f32));
        }
        let added = Added { rank: before + rank, b: wide, a: [held_a, a].concat() };
        Ok(Self { mirror: Arc::default(), added: Some(Arc::new(added)), ..self.clone() })
    }

    /// The stored bytes, in stored row order.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where each logical row is stored, when that is not in order.
    #[must_use]
    pub fn row_order(&self) -> Option<&[u32]> {
        self.row_order.as_deref()
    }

    /// Bytes of memory the values take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let added = self.added.as_ref().map_or(0, |added| size_of_val(&*added.a) + size_of_val(&*added.b));
        self.bytes.len() + self.second.as_ref().map_or(0, |second| second.bytes()) + added
    }

    /// Number of values.
    #[must_use]
    pub const fn elements(&self) -> usize {
        self.rows * self.cols
    }

    /// The values as they lie, when they are f32, in order and aligned: then no copy is needed.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        if self.kind != StorageKind::F32 || self.row_order.is_some() || self.added.is_some() {
            return None;
        }
        bytemuck::try_cast_slice(self.bytes.as_slice()).ok()
    }

    /// Widens logical rows to f32: `out` is (rows in range, cols).
    ///
    /// # Errors
    /// [`NnError::Weight`] when the range leaves the matrix or `out` has another size.
    pub fn read_rows(&self, range: Range<usize>, out: &mut [f32]) -> Result<()> {
        if range.start > range.end || range.end > self.rows || out.len() != range.len() * self.cols {
            let what = format!(
                "rows {}..{} of {} do not fit a buffer of {} values",
                range.start,
                range.end,
                self.rows,
                out.len()
            );
            return Err(NnError::Weight { name: self.name.clone(), what });
        }
        let first = range.start;
        self.read_stored(range, out)?;
        if let Some(added) = &self.added {
            added.add(first, out, self.cols);
        }
        Ok(())
    }

    /// The rows as they are stored.
    fn read_stored(&self, range: Range<usize>, out: &mut [f32]) -> Result<()> {
        let stored = self.bytes.as_slice();
        let row_bytes = self.row_bytes();
        if let Some(second) = &self.second {
            let bytes = &stored[range.start * row_bytes..range.end * row_bytes];
            nf4_double::widen(second, range.start * (self.cols / base_blocks::BLOCK), bytes, out);
            return Ok(());
        }
        match &self.row_order {
            None => {
                let bytes = &stored[range.start * row_bytes..range.end * row_bytes];
                storage::dequantise(self.kind, bytes, out)
            }
            Some(order) => {
                for (&row, out) in order[range].iter().zip(out.chunks_exact_mut(self.cols.max(1))) {
                    let start = row as usize * row_bytes;
                    storage::dequantise(self.kind, &stored[start..start + row_bytes], out)?;
                }
                Ok(())
            }
        }
    }

    /// Logical rows as f32: borrowed where the storage allows, else widened into `scratch`.
    ///
    /// # Errors
    /// As [`Self::read_rows`].
    pub fn rows_f32<'a>(&'a self, range: Range<usize>, scratch: &'a mut Vec<f32>) -> Result<&'a [f32]> {
        if let Some(values) = self.as_f32()
            && let Some(rows) = values.get(range.start * self.cols..range.end * self.cols)
        {
            return Ok(rows);
        }
        scratch.resize(range.len() * self.cols, 0.0);
        self.read_rows(range, scratch)?;
        Ok(scratch)
    }

    /// The whole matrix as f32, borrowed where the storage allows.
    ///
    /// # Errors
    /// As [`Self::read_rows`].
    pub fn to_f32(&self) -> Result<Cow<'_, [f32]>> {
        if let Some(values) = self.as_f32() {
            return Ok(Cow::Borrowed(values));
        }
        let mut values = vec![0f32; self.elements()];
        self.read_rows(0..self.rows, &mut values)?;
        Ok(Cow::Owned(values))
    }

    /// The whole matrix (rows, cols) as an f32 tensor: for tests, merging and promotion.
    ///
    /// # Errors
    /// As [`Self::read_rows`].
    pub fn to_tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.to_f32()?.into_owned(), (self.rows, self.cols), &Device::Cpu)?)
    }

    /// The matrix (rows, cols) on `device`, copied once and kept there: f32 where it is stored so, else in 16 bits. On
    /// the processor it is made anew each time.
    ///
    /// # Errors
    /// As [`Self::read_rows`]; the device has no room.
    pub fn on(&self, device: &Device) -> Result<Tensor> {
        if device.is_cpu() {
            return self.to_tensor();
        }
        if let Some(mirror) = self.mirror.get().filter(|mirror| mirror.device().same_device(device)) {
            return Ok(mirror.clone());
        }
        let kept = match self.kind {
            StorageKind::F32 => DType::F32,
            StorageKind::Bf16 => DType::BF16,
            _ => DType::F16,
        };
        let mirror = self.to_tensor()?.to_dtype(kept)?.to_device(device)?;
        Ok(self.mirror.get_or_init(|| mirror).clone())
    }

    /// Bytes of one stored row.
    fn row_bytes(&self) -> usize {
        // `new` accepted the columns, so this is no fallback that could matter.
        self.kind.bytes_for(self.cols).unwrap_or(0)
    }
}

/// What is added to the rows of a weight on their way into a product.
pub trait RowChange: Sync {
    /// Adds its part to the rows from `first` on that fill `rows` (count, cols).
    fn add(&self, first: usize, rows: &mut [f32]);
}

/// Products with a frozen weight. Nothing outside an implementation may assume where they run.
pub trait FrozenBackend: Send + Sync {
    /// `out (n, rows) (+)= x (n, cols) Wᵀ`.
    ///
    /// # Errors
    /// Sizes that do not fit the weight.
    fn matmul_nt(&self, weight: &FrozenWeight, x: &[f32], n: usize, out: &mut [f32], accumulate: bool) -> Result<()>;

    /// `out (n, cols) (+)= g (n, rows) W`.
    ///
    /// # Errors
    /// Sizes that do not fit the weight.
    fn matmul_nn(&self, weight: &FrozenWeight, g: &[f32], n: usize, out: &mut [f32], accumulate: bool) -> Result<()>;

    /// [`Self::matmul_nt`] with a change to the weight's rows: one product for both, without a changed copy of the weight.
    ///
    /// # Errors
    /// Sizes that do not fit the weight.
    fn matmul_nt_changed(
        &self,
        weight: &FrozenWeight,
        change: &dyn RowChange,
        x: &[f32],
        n: usize,
        out: &mut [f32],
        accumulate: bool,
    ) -> Result<()>;

    /// [`Self::matmul_nn`] in the same way.
    ///
    /// # Errors
    /// Sizes that do not fit the weight.
    fn matmul_nn_changed(
        &self,
        weight: &FrozenWeight,
        change: &dyn RowChange,
        g: &[f32],
        n: usize,
        out: &mut [f32],
        accumulate: bool,
    ) -> Result<()>;
}

/// The processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuBackend;

fn check(weight: &FrozenWeight, n: usize, wide: (&str, usize, usize), tall: (&str, usize, usize)) -> Result<()> {
    for (what, length, features) in [wide, tall] {
        if length != n * features {
            let what = format!("{what} has {length} values instead of {n} x {features}");
            return Err(NnError::Weight { name: weight.name.clone(), what });
        }
    }
    Ok(())
}

fn check_nt(weight: &FrozenWeight, x: &[f32], n: usize, out: &[f32]) -> Result<()> {
    check(weight, n, ("the input", x.len(), weight.cols), ("the output", out.len(), weight.rows))
}

fn check_nn(weight: &FrozenWeight, g: &[f32], n: usize, out: &[f32]) -> Result<()> {
    check(weight, n, ("the gradient", g.len(), weight.rows), ("the output", out.len(), weight.cols))
}

impl FrozenBackend for CpuBackend {
    fn matmul_nt(&self, weight: &FrozenWeight, x: &[f32], n: usize, out: &mut [f32], accumulate: bool) -> Result<()> {
        check_nt(weight, x, n, out)?;
        frozen::matmul_nt(weight, None, x, n, out, accumulate)
    }

    fn matmul_nn(&self, weight: &FrozenWeight, g: &[f32], n: usize, out: &mut [f32], accumulate: bool) -> Result<()> {
        check_nn(weight, g, n, out)?;
        frozen::matmul_nn(weight, None, g, n, out, accumulate)
    }

    fn matmul_nt_changed(
        &self,
        weight: &FrozenWeight,
        change: &dyn RowChange,
        x: &[f32],
        n: usize,
        out: &mut [f32],
        accumulate: bool,
    ) -> Result<()> {
        check_nt(weight, x, n, out)?;
        frozen::matmul_nt(weight, Some(change), x, n, out, accumulate)
    }

    fn matmul_nn_changed(
        &self,
        weight: &FrozenWeight,
        change: &dyn RowChange,
        g: &[f32],
        n: usize,
        out: &mut [f32],
        accumulate: bool,
    ) -> Result<()> {
        check_nn(weight, g, n, out)?;
        frozen::matmul_nn(weight, Some(change), g, n, out, accumulate)
    }
}

static BACKEND: OnceLock<Box<dyn FrozenBackend>> = OnceLock::new();

/// Chooses where products with frozen weights run; to be called once, before any. Returns whether the choice
/// took effect: a backend that is in use is not replaced.
pub fn set_backend(backend: Box<dyn FrozenBackend>) -> bool {
    BACKEND.set(backend).is_ok()
}

/// Where products with frozen weights run: the processor unless [`set_backend`] chose another.
#[must_use]
pub fn backend() -> &'static dyn FrozenBackend {
    BACKEND.get_or_init(|| Box::new(CpuBackend)).as_ref()
}
