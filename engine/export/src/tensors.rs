//! Streamed safetensors: each tensor is computed when its turn to be written comes, so that an export
//! never holds two.

use crate::error::{ExportError, Result};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::View;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use temper_protocol::StorageType;

/// Computes the f32 values of a tensor.
pub(crate) type Compute<'a> = Box<dyn Fn() -> Result<Vec<f32>> + 'a>;

/// A tensor that is computed when it is written.
pub struct LazyTensor<'a> {
    /// Name in the file.
    pub name: String,
    /// Shape.
    pub shape: Vec<usize>,
    /// Storage type in the file; block types have no place in safetensors.
    pub dtype: StorageType,
    /// The values.
    pub compute: Compute<'a>,
}

/// What the writing loop shares with the tensors.
struct Watch<'a> {
    failure: RefCell<Option<ExportError>>,
    progress: RefCell<&'a mut dyn FnMut(u64) -> bool>,
    written: RefCell<u64>,
}

struct Streamed<'a, 'w> {
    tensor: &'a LazyTensor<'a>,
    dtype: Dtype,
    width: usize,
    watch: Rc<Watch<'w>>,
}

impl View for Streamed<'_, '_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // The writer cannot be told of a failure here; it is kept, the rest of the file is filled with
        // zeros without work, and the caller throws the file away.
        let length = self.data_len();
        if self.watch.failure.borrow().is_some() {
            return Cow::Owned(vec![0; length]);
        }
        let computed = (self.tensor.compute)().and_then(|values| encode(&self.tensor.name, &values, self.tensor.dtype));
        match computed {
            Ok(bytes) => {
                *self.watch.written.borrow_mut() += 1;
                let done = *self.watch.written.borrow();
                if !(self.watch.progress.borrow_mut())(done) {
                    *self.watch.failure.borrow_mut() = Some(ExportError::Cancelled);
                }
                Cow::Owned(bytes)
            }
            Err(error) => {
                *self.watch.failure.borrow_mut() = Some(error);
                Cow::Owned(vec![0; length])
            }
        }
    }

    fn data_len(&self) -> usize {
        self.tensor.shape.iter().product::<usize>() * self.width
    }
}

/// Writes a safetensors file with the one metadata entry that every reader accepts. `progress` is told the
/// number of tensors written and answers whether to go on.
///
/// # Errors
/// I/O, a tensor that cannot be computed or is not finite, cancellation. The file is then of no use.
pub fn write_safetensors(path: &Path, tensors: &[LazyTensor<'_>], progress: &mut dyn FnMut(u64) -> bool) -> Result<()> {
    let watch =
        Rc::new(Watch { failure: RefCell::new(None), progress: RefCell::new(progress), written: RefCell::new(0) });
    let views = tensors
        .iter()
        .map(|tensor| {
            let (dtype, width) = match tensor.dtype {
                StorageType::F32 => (Dtype::F32, 4),
                StorageType::F16 => (Dtype::F16, 2),
                StorageType::Bf16 => (Dtype::BF16, 2),
                blocks @ (StorageType::Q8_0 | StorageType::Q4K | StorageType::Q5K | StorageType::Q6K) => {
                    return Err(ExportError::NotRepresentable {
                        what: format!("safetensors cannot hold {} blocks", blocks.name()),
                        action: "choose f32, f16 or bf16, or export to gguf".to_owned(),
                    });
                }
            };
            Ok((tensor.name.clone(), Streamed { tensor, dtype, width, watch: Rc::clone(&watch) }))
        })
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let written = safetensors::serialize_to_file(views, Some(metadata), path);
    if let Some(failure) = watch.failure.borrow_mut().take() {
        return Err(failure);
    }
    written.map_err(|error| match error {
        safetensors::SafeTensorError::IoError(error) => ExportError::Io { path: path.to_path_buf(), error },
        other => other.into(),
    })?;
    let file = std::fs::File::open(path).map_err(ExportError::io(path))?;
    share(&file).and_then(|()| file.sync_all()).map_err(ExportError::io(path))
}

/// The library writes through a private temporary file; the result is for every program of the person.
fn share(file: &std::fs::File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    let _only_unix_needs_it = file;
    Ok(())
}

/// Bytes of `values` in a float type, little endian. Values that are not finite, or stop being so in 16
/// bits, are refused: such a file would be useless.
///
/// # Errors
/// [`ExportError::NotRepresentable`] with the tensor's name.
pub(crate) fn encode(name: &str, values: &[f32], dtype: StorageType) -> Result<Vec<u8>> {
    let refuse = |what: String, action: &str| Err(ExportError::NotRepresentable { what, action: action.to_owned() });
    check_finite(name, values)?;
    match dtype {
        StorageType::F32 => Ok(bytemuck::cast_slice(values).to_vec()),
        StorageType::F16 => {
            let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
            if halves.iter().any(|value| !value.is_finite()) {
                return refuse(format!("{name} has numbers beyond the range of f16"), "choose bf16 or f32");
            }
            Ok(bytemuck::cast_slice(&halves).to_vec())
        }
        StorageType::Bf16 => {
            let halves: Vec<bf16> = values.iter().map(|value| bf16::from_f32(*value)).collect();
            Ok(bytemuck::cast_slice(&halves).to_vec())
        }
        StorageType::Q8_0 | StorageType::Q4K | StorageType::Q5K | StorageType::Q6K => {
            refuse(format!("{name} cannot be {} here", dtype.name()), "choose f32, f16 or bf16")
        }
    }
}

/// Refuses values that are not finite.
///
/// # Errors
/// [`ExportError::NotRepresentable`] with the tensor's name and the first entry concerned.
pub(crate) fn check_finite(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(ExportError::NotRepresentable {
            what: format!("{name} holds a number that is not finite (entry {index})"),
            action: "go back to an earlier checkpoint: this one must not be used".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lazy<'a>(name: &str, dtype: StorageType, compute: impl Fn() -> Result<Vec<f32>> + 'a) -> LazyTensor<'a> {
        LazyTensor { name: name.to_owned(), shape: vec![2, 2], dtype, compute: Box::new(compute) }
    }

    #[test]
    fn what_is_written_reads_back_in_every_float_type() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.safetensors");
        let values = vec![1.0f32, -2.5, 0.125, 3.0];
        let tensors = [
            lazy("a", StorageType::F32, || Ok(vec![1.0, -2.5, 0.125, 3.0])),
            lazy("b", StorageType::F16, || Ok(vec![1.0, -2.5, 0.125, 3.0])),
            lazy("c", StorageType::Bf16, || Ok(vec![1.0, -2.5, 0.125, 3.0])),
        ];
        let mut seen = Vec::new();
        write_safetensors(&path, &tensors, &mut |done| {
            seen.push(done);
            true
        })
        .unwrap();
        assert_eq!(seen, [1, 2, 3]);
        let read = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
        for name in ["a", "b", "c"] {
            let got: Vec<f32> =
                read[name].to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            assert_eq!(got, values, "{name}");
        }
    }

    #[test]
    fn same_tensors_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("1"), dir.path().join("2")];
        for path in &paths {
            let tensors =
                [lazy("z", StorageType::F32, || Ok(vec![1.0; 4])), lazy("a", StorageType::F16, || Ok(vec![2.0; 4]))];
            write_safetensors(path, &tensors, &mut |_| true).unwrap();
        }
        assert_eq!(std::fs::read(&paths[0]).unwrap(), std::fs::read(&paths[1]).unwrap());
    }

    #[test]
    fn numbers_that_are_not_finite_and_cancellation_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let bad = [lazy("layers.0", StorageType::F32, || Ok(vec![1.0, f32::NAN, 0.0, 0.0]))];
        let error = write_safetensors(&path, &bad, &mut |_| true).unwrap_err();
        assert!(error.to_string().contains("layers.0"), "{error}");
        let blocks = [lazy("w", StorageType::Q4K, || Ok(vec![1.0; 4]))];
        let error = write_safetensors(&path, &blocks, &mut |_| true).unwrap_err();
        assert!(error.to_string().contains("q4_k"), "{error}");
        let large = [lazy("w", StorageType::F16, || Ok(vec![1e6; 4]))];
        assert!(write_safetensors(&path, &large, &mut |_| true).is_err());
        let good = [lazy("w", StorageType::F32, || Ok(vec![1.0; 4])), lazy("x", StorageType::F32, || Ok(vec![1.0; 4]))];
        assert!(matches!(write_safetensors(&path, &good, &mut |_| false), Err(ExportError::Cancelled)));
    }
}
