//! `logits`: what a model makes of given tokens, for judges outside this program.
//!
//! In: a safetensors file of `<case>.input_ids`, i64 (rows, tokens) or (tokens). Out: `<case>.logits`, f32
//! (rows, tokens, vocabulary), and `<case>.base_logits` when there is an adapter.

use super::load::Loaded;
use crate::job::JobContext;
use candle_core::{DType, Device, Tensor};
use std::path::Path;
use std::sync::Arc;
use temper_export::{ExportError, LazyTensor, write_safetensors};
use temper_nn::ForwardContext;
use temper_protocol::whole_file::Unfinished;
use temper_protocol::{Code, Event, Problem, StorageType};
use temper_train::eval::AsBase;

/// Ending of the names of inputs.
const INPUT: &str = ".input_ids";

/// Tokens of a case.
struct Case {
    name: String,
    rows: usize,
    width: usize,
    ids: Arc<[u32]>,
}

/// Computes and writes.
pub(super) fn logits(loaded: &Loaded, tokens: &Path, out: &Path, context: &JobContext) -> Result<(), Problem> {
    let Loaded { model, adapter_name, .. } = loaded;
    let cases = read(tokens, model.config.vocab_size(), model.config.context())?;
    let mut tensors = Vec::new();
    for case in &cases {
        let shape = vec![case.rows, case.width, model.config.vocab_size()];
        let compute = |base: bool| -> Box<dyn Fn() -> Result<Vec<f32>, ExportError> + '_> {
            Box::new(move || {
                let _as_base = base.then(|| AsBase::of(model));
                let forward = ForwardContext::plain(case.rows, case.width);
                Ok(model.logits(&case.ids, &forward)?.flatten_all()?.to_vec1()?)
            })
        };
        let mut add = |name: &str, base: bool| {
            tensors.push(LazyTensor {
                name: format!("{}.{name}", case.name),
                shape: shape.clone(),
                dtype: StorageType::F32,
                compute: compute(base),
            });
        };
        add("logits", false);
        if !adapter_name.is_empty() {
            add("base_logits", true);
        }
    }
    let total = tensors.len() as u64;
    let failed = |error: std::io::Error| {
        Problem::new(
            Code::Io,
            format!("the file cannot be written: {error}"),
            out.display().to_string(),
            "check that you may write there",
        )
    };
    let (unfinished, file) = Unfinished::beside(out).map_err(failed)?;
    // It is written by its name.
    drop(file);
    write_safetensors(unfinished.path(), &tensors, &mut |done| {
        context.progress("computing", done, total, "tensors");
        !context.is_cancelled()
    })?;
    unfinished.put(out).map_err(failed)?;
    let (sha256, bytes) = temper_export::output::hash_file(out)?;
    context.emit(Event::Written { format: "safetensors".to_owned(), path: out.to_path_buf(), bytes, sha256 });
    Ok(())
}

fn read(tokens: &Path, vocabulary: usize, room: usize) -> Result<Vec<Case>, Problem> {
    let place = tokens.display().to_string();
    let bad = |what: String| {
        Problem::new(
            Code::Usage,
            what,
            place.clone(),
            "give a safetensors file of <case>.input_ids, i64 (rows, tokens)",
        )
    };
    let file = candle_core::safetensors::load(tokens, &Device::Cpu)
        .map_err(|error| bad(format!("the tokens cannot be read: {}", first_line(&error))))?;
    let mut inputs: Vec<(String, Tensor)> =
        file.into_iter().filter_map(|(name, tensor)| Some((name.strip_suffix(INPUT)?.to_owned(), tensor))).collect();
    inputs.sort_by(|a, b| a.0.cmp(&b.0));
    if inputs.is_empty() {
        return Err(bad("the file holds no <case>.input_ids".to_owned()));
    }
    let mut cases = Vec::with_capacity(inputs.len());
    for (name, tensor) in inputs {
        let (rows, width) = match *tensor.dims() {
            [width] => (1, width),
            [rows, width] => (rows, width),
            _ => return Err(bad(format!("{name}{INPUT} has the shape {:?}", tensor.dims()))),
        };
        if rows == 0 || width == 0 || width > room {
            return Err(bad(format!("{name}{INPUT} has {width} tokens in a row; the model reads 1 to {room}")));
        }
        let ids: Vec<i64> = tensor
            .to_dtype(DType::I64)
            .and_then(|tensor| tensor.flatten_all())
            .and_then(|tensor| tensor.to_vec1())
            .map_err(|error| bad(format!("{name}{INPUT} is not of whole numbers: {}", first_line(&error))))?;
        let ids: Arc<[u32]> = ids
            .into_iter()
            .map(|id| u32::try_from(id).ok().filter(|id| (*id as usize) < vocabulary).ok_or(id))
            .collect::<Result<Vec<u32>, i64>>()
            .map_err(|id| bad(format!("{name}{INPUT} holds {id}; the model knows 0 to {}", vocabulary - 1)))?
            .into();
        cases.push(Case { name, rows, width, ids });
    }
    Ok(cases)
}

fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
