//! Adapters, merged models and their certificates.
//!
//! Place in the data flow: the host hands over a trained [`Model`] and where to write; [`export`] writes
//! beside the target, has the result read back by an independent path, and moves it to its place only
//! when the certificate passes (to `<out>.rejected` otherwise). [`verify`] repeats the check on files that
//! are there. [`read_peft`] is the way back: adapters made here or by Python PEFT onto a model.

pub mod beneath;
pub mod certificate;
pub mod change;
pub mod ends;
mod error;
mod gguf;
mod gguf_lora;
mod hf;
pub mod independent;
pub mod insertions;
mod measure;
mod merged;
mod mixture;
mod mlx;
pub mod output;
mod peft;
mod peft_types;
pub mod read_peft;
mod read_peft_types;
mod routed;
mod second_opinion;
mod sidecar;
mod sparse;
mod steps;
mod tensors;
pub mod train_on;
mod yardstick;

pub use beneath::Beneath;
pub use certificate::{Cases, Certificate, GREEDY_TOKENS, Limits};
pub use error::{ExportError, Result};
pub use hf::SHARD_BYTES;
pub use merged::merged_values;
pub use second_opinion::SecondOpinion;
pub use sidecar::{Card, Sidecar, body_of};
pub use tensors::{LazyTensor, write_safetensors};
pub use yardstick::Yardstick;

use ends::Stops;
use output::{Layout, OutputFolder};
use routed::MeanRouting;
use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_models::family::PartKind;
use temper_models::gguf::{GgufFile, gguf_tokenizer_parts};
use temper_models::{Model, ModelSource, names};
use temper_protocol::event::Check;
use temper_protocol::{Event, ExportFormat, StorageType};

/// End of the name of a rounded base, which is there only while it is measured.
const SCRATCH: &str = "yardstick.gguf";

/// What to export.
pub struct ExportRequest<'a> {
    /// The trained model: base with adapters, or trained weights.
    pub model: &'a Model,
    /// Its tokenizer and template as used in training.
    pub codec: &'a TextCodec,
    /// What to write.
    pub format: ExportFormat,
    /// Storage type; the base's own when absent.
    pub dtype: Option<StorageType>,
    /// Target folder.
    pub out: &'a Path,
    /// What the model card and the sidecar say.
    pub card: &'a Card,
    /// What the certificate runs over.
    pub cases: &'a Cases,
}

/// What was exported.
#[derive(Debug, Clone)]
pub struct Exported {
    /// Where it is now.
    pub path: PathBuf,
    /// The verdict.
    pub certificate: Certificate,
}

/// Writes, checks, and moves to the target. Emits `progress`, `written` and `certificate`.
///
/// # Errors
/// Whatever keeps the files from being written or read back; nothing is left then. A certificate that does
/// not pass is no error: see [`Certificate::pass`].
pub fn export(
    request: &ExportRequest<'_>,
    emit: &mut dyn FnMut(Event),
    cancelled: &dyn Fn() -> bool,
) -> Result<Exported> {
    let output = OutputFolder::begin(request.out)?;
    let mean = MeanRouting::of(request.model, request.format, request.cases)?;
    let storage = write_files(request, &output, emit, cancelled)?;
    let sidecar = Sidecar::new(request.format, &storage, request.card, &output.staging().hashes("")?)?;
    output.write(output::SIDECAR, &hf::pretty(&sidecar.to_json())?)?;
    let what = Written { format: request.format, storage, layout: output.staging(), beneath: &request.card.beneath };
    let mut certificate = check(request.model, request.codec, &what, request.cases, emit, cancelled)?;
    mean.tell(&mut certificate);
    beneath::tell(&mut certificate, request.format, &request.card.beneath);
    let layout = output.finish(certificate.pass(), single_name(request.format))?;
    let files = layout.hashes(single_name(request.format))?;
    let path = layout.root().to_path_buf();
    emit(Event::Written {
        format: request.format.name().to_owned(),
        bytes: files.iter().map(|file| file.2).sum(),
        sha256: output::combined_hash(&files),
        path: path.clone(),
    });
    emit(certificate.event(request.format, &path));
    Ok(Exported { path, certificate })
}

/// Checks an export again: a folder, or a GGUF file with its sidecar beside it; `beneath` are the adapters that lie frozen
/// beneath it. Emits `progress` and `certificate`.
///
/// # Errors
/// Something that is no export, or cannot be read back.
pub fn verify(
    model: &Model,
    codec: &TextCodec,
    (path, beneath): (&Path, &[Beneath]),
    cases: &Cases,
    emit: &mut dyn FnMut(Event),
    cancelled: &dyn Fn() -> bool,
) -> Result<Certificate> {
    let layout = Layout::of(path);
    let sidecar = Sidecar::read(&layout.path(output::SIDECAR))?;
    let what = Written { format: sidecar.format, storage: sidecar.storage.clone(), layout, beneath };
    let mean = MeanRouting::of(model, what.format, cases)?;
    let mut certificate = check(model, codec, &what, cases, emit, cancelled)?;
    mean.tell(&mut certificate);
    beneath::tell(&mut certificate, what.format, beneath);
    let files = sidecar.check_files(&what.layout.hashes(single_name(sidecar.format))?);
    certificate.add_files(files, &sidecar.storage);
    emit(certificate.event(sidecar.format, path));
    Ok(certificate)
}

/// Whether a folder holds an adapter that [`read_peft`] reads.
#[must_use]
pub fn is_adapter(folder: &Path) -> bool {
    folder.join(peft::CONFIG).is_file() || insertions::is_native(folder)
}

/// The format of the export at `path`, as its sidecar says.
///
/// # Errors
/// Something that is no export.
pub fn format_of(path: &Path) -> Result<ExportFormat> {
    Ok(Sidecar::read(&Layout::of(path).path(output::SIDECAR))?.format)
}

/// What lies in a layout.
struct Written<'a> {
    format: ExportFormat,
    storage: String,
    layout: Layout,
    /// Adapters that lie frozen beneath.
    beneath: &'a [Beneath],
}

/// The file that a single-file target stands for.
fn single_name(format: ExportFormat) -> &'static str {
    if format == ExportFormat::GgufLora { gguf_lora::FILE } else { gguf::FILE }
}

/// Writes the format's files and returns the storage type of its main tensors.
fn write_files(
    request: &ExportRequest<'_>,
    output: &OutputFolder,
    emit: &mut dyn FnMut(Event),
    cancelled: &dyn Fn() -> bool,
) -> Result<String> {
    let (model, codec, card) = (request.model, request.codec, request.card);
    if !matches!(request.format, ExportFormat::Peft | ExportFormat::Native) {
        insertions::check_mergeable(model, request.format.name())?;
    }
    let mut progress = |done: u64, total: u64| {
        emit(Event::Progress { done, total, unit: "tensors".to_owned(), stage: "writing".to_owned() });
        !cancelled()
    };
    match request.format {
        ExportFormat::Peft if model.has_insertions() => {
            let (config, tensors) = insertions::peft(model, &card.base_name)?;
            output.write(peft::CONFIG, &hf::pretty(&config)?)?;
            let tensors = insertions::lazy(&tensors)?;
            let total = tensors.len() as u64;
            write_safetensors(&output.path(peft::TENSORS), &tensors, &mut |done| progress(done, total))?;
            output.write("README.md", card.text(request.format).as_bytes())?;
            Ok("f32".to_owned())
        }
        ExportFormat::Native => {
            let (description, tensors) = insertions::native(model, &card.base_name, &card.method)?;
            output.write(insertions::CONFIG, &hf::pretty(&description)?)?;
            let tensors = insertions::lazy(&tensors)?;
            let total = tensors.len() as u64;
            write_safetensors(&output.path(insertions::TENSORS), &tensors, &mut |done| progress(done, total))?;
            output.write("README.md", card.text(request.format).as_bytes())?;
            Ok("f32".to_owned())
        }
        ExportFormat::Peft => {
            let modules = modules(model);
            let mut write = |config: &serde_json::Value, tensors: &[LazyTensor<'_>]| {
                output.write(peft::CONFIG, &hf::pretty(config)?)?;
                let total = tensors.len() as u64;
                write_safetensors(&output.path(peft::TENSORS), tensors, &mut |done| progress(done, total))
            };
            if let Some(layers) = peft_types::layers(model)? {
                let config = peft_types::config(&layers, &modules, &card.base_name, card.dropout)?;
                write(&config, &peft_types::tensors(&layers)?)?;
            } else {
                let changes = change::low_rank_changes(model)?;
                let config = peft::config(&changes, &modules, &card.base_name, card.dropout);
                write(&config, &peft::tensors(&changes))?;
            }
            output.write("README.md", card.text(request.format).as_bytes())?;
            Ok("f32".to_owned())
        }
        ExportFormat::Hf => {
            let dtype = request.dtype.unwrap_or_else(|| natural_dtype(model));
            hf::write(model, codec, dtype, output, SHARD_BYTES, &mut progress)?;
            output.write("README.md", card.text(request.format).as_bytes())?;
            Ok(dtype.name().to_owned())
        }
        ExportFormat::Gguf => {
            let mut failure = None;
            output
                .stream(gguf::FILE, |sink| {
                    gguf::write(model, codec, request.dtype, &card.name, sink, &mut progress).map_err(|error| {
                        let text = std::io::Error::other(error.to_string());
                        failure = Some(error);
                        text
                    })
                })
                .map_err(|error| failure.take().unwrap_or(error))?;
            written_card(request, output)?;
            let kind = request.dtype.map_or_else(
                // a large untouched table says nothing about how finely the change is kept
                || model.linear_storage().map_or("f32", temper_nn::StorageKind::name).to_owned(),
                |dtype| dtype.name().to_owned(),
            );
            Ok(kind)
        }
        ExportFormat::GgufLora => {
            let ModelSource::Gguf(base) = &model.source else {
                return Err(ExportError::NotRepresentable {
                    what: "a GGUF adapter belongs to a GGUF base, and this base is none".to_owned(),
                    action: "export to peft, or to gguf as a merged model".to_owned(),
                });
            };
            let changes = change::low_rank_changes(model)?;
            let architecture = base.get_string("general.architecture")?.unwrap_or_default();
            output.stream(gguf_lora::FILE, |sink| {
                gguf_lora::write(&changes, &architecture, &card.name, &card.base_name, sink)
            })?;
            written_card(request, output)?;
            progress(changes.len() as u64, changes.len() as u64);
            Ok("f32".to_owned())
        }
        ExportFormat::Mlx => {
            mlx::write(model, &card.base_name, output, &mut progress)?;
            output.write("README.md", card.text(request.format).as_bytes())?;
            Ok("f32".to_owned())
        }
        ExportFormat::Capsule => Err(no_capsule()),
    }
}

/// A capsule holds what a run was, which no model says.
fn no_capsule() -> ExportError {
    ExportError::NotRepresentable {
        what: "a capsule is made of a run, not of a bare adapter".to_owned(),
        action: "give the run: its number, last, or its folder".to_owned(),
    }
}

/// A card that somebody wrote lies beside a GGUF that has a folder; a lone file has no place for one.
fn written_card(request: &ExportRequest<'_>, output: &OutputFolder) -> Result<()> {
    if request.card.body.is_some() && !Layout::of(request.out).is_file() {
        output.write("README.md", request.card.text(request.format).as_bytes())?;
    }
    Ok(())
}

/// Module paths of every linear layer and norm of a model: what suffixes in a list of targets could hit.
fn modules(model: &Model) -> Vec<String> {
    let slots = names::slots(model.config.as_llama())
        .into_iter()
        .filter(|slot| slot.shape.len() == 2 || slot.kind == PartKind::Norm);
    slots.filter_map(|slot| slot.hf.strip_suffix(".weight").map(str::to_owned)).collect()
}

/// The base's own float type; blocks become f16, which holds every value they can take closely.
fn natural_dtype(model: &Model) -> StorageType {
    match model.main_storage() {
        Some(temper_nn::StorageKind::F32) | None => StorageType::F32,
        Some(temper_nn::StorageKind::Bf16) => StorageType::Bf16,
        Some(_) => StorageType::F16,
    }
}

fn check(
    model: &Model,
    codec: &TextCodec,
    what: &Written<'_>,
    cases: &Cases,
    emit: &mut dyn FnMut(Event),
    cancelled: &dyn Fn() -> bool,
) -> Result<Certificate> {
    let Written { format, storage, layout, beneath } = what;
    let folder = layout.root();
    emit(Event::Progress { done: 0, total: 0, unit: "prompts".to_owned(), stage: "reading back".to_owned() });
    let base = model.source.path();
    let lossless = matches!(storage.as_str(), "f32" | "f16");
    let (blocks, yardstick) = rounding(model, codec, what, cases, emit, cancelled)?;
    let mut second = match format {
        ExportFormat::Peft => SecondOpinion::peft(base, folder, beneath)?,
        ExportFormat::Hf => SecondOpinion::hf(folder)?,
        ExportFormat::Gguf => SecondOpinion::gguf(&layout.path(gguf::FILE), lossless)?,
        ExportFormat::GgufLora => SecondOpinion::gguf_lora(base, &layout.path(gguf_lora::FILE), beneath)?,
        ExportFormat::Native => SecondOpinion::native(base, folder, beneath)?,
        ExportFormat::Mlx => SecondOpinion::mlx(base, folder, beneath)?,
        ExportFormat::Capsule => return Err(no_capsule()),
    };
    let trained = codec.special().stop.clone();
    let (extra, written) = match format {
        ExportFormat::Hf => {
            let written = TextCodec::from_hf_folder(folder)?;
            (folder_checks(codec, &written, cases)?, written.special().stop.clone())
        }
        ExportFormat::Gguf => {
            let file = GgufFile::open(&layout.path(gguf::FILE))?;
            let stops = gguf_stop_check(codec, &file)?;
            (std::iter::once(stops).chain(blocks).collect(), gguf_stops(&file)?)
        }
        ExportFormat::Peft
        | ExportFormat::GgufLora
        | ExportFormat::Native
        | ExportFormat::Mlx
        | ExportFormat::Capsule => (Vec::new(), trained.clone()),
    };
    let stops = Stops { trained, written };
    let judged_by = (&stops, extra, yardstick.as_ref());
    certificate::certify(model, &mut second, storage, cases, judged_by, &mut |done, total| {
        emit(Event::Progress { done, total, unit: "prompts".to_owned(), stage: "comparing".to_owned() });
        !cancelled()
    })
}

/// For a merged GGUF in K-quants: whether its blocks hold the merged values, and what the same rounding does to the base.
/// The rounded base lies beside what is checked while it is asked, and takes as much room.
fn rounding(
    model: &Model,
    codec: &TextCodec,
    what: &Written<'_>,
    cases: &Cases,
    emit: &mut dyn FnMut(Event),
    cancelled: &dyn Fn() -> bool,
) -> Result<(Option<Check>, Option<Yardstick>)> {
    let dtype = StorageType::from_name(&what.storage).filter(|dtype| mixture::file_type(*dtype).is_some());
    let Some(dtype) = dtype.filter(|_| what.format == ExportFormat::Gguf) else { return Ok((None, None)) };
    let mut progress = |stage: &str, done: u64, total: u64| {
        emit(Event::Progress { done, total, unit: "tensors".to_owned(), stage: stage.to_owned() });
        !cancelled()
    };
    let file = what.layout.path(gguf::FILE);
    let blocks = steps::check(model, &file, &mut |done, total| progress("reading back", done, total))?;
    // Beside a file of its own, else in the folder, where an export that was broken off is cleared away.
    let beside = if what.layout.is_file() { file } else { what.layout.root().join("base") };
    let mut told = |done: u64, total: u64| progress("rounding the base", done, total);
    let yardstick = Yardstick::measure((model, codec), dtype, cases, beside.with_extension(SCRATCH), &mut told)?;
    Ok((Some(blocks), yardstick))
}

/// The written tokenizer gives the same tokens, and every token that ended answers in training ends them.
fn folder_checks(codec: &TextCodec, written: &TextCodec, cases: &Cases) -> Result<Vec<Check>> {
    let mut texts = 0;
    let mut equal = 0;
    for (_, tokens) in &cases.windows {
        let text = codec.decode(tokens, true)?;
        texts += 1;
        equal += usize::from(written.encode(&text, false)? == codec.encode(&text, false)?);
    }
    let stops = codec.special().stop.iter().all(|id| written.special().stop.contains(id));
    Ok(vec![
        Check {
            name: "same tokens from texts".to_owned(),
            measured: format!("{equal} of {texts}"),
            limit: "all".to_owned(),
            over: "probe texts".to_owned(),
            pass: equal == texts,
        },
        stop_check(stops, codec.special().stop.len()),
    ])
}

/// Stop tokens that a GGUF file names one by one.
fn gguf_listed(file: &GgufFile) -> Result<Vec<usize>> {
    let mut listed = Vec::new();
    for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
        listed.extend(file.get_usize(&format!("tokenizer.ggml.{key}"))?);
    }
    Ok(listed)
}

/// Tokens at which a chat program ends an answer of this file: those it names, and those that its tokens and template say.
fn gguf_stops(file: &GgufFile) -> Result<Vec<u32>> {
    if let Some(parts) = gguf_tokenizer_parts(file)?
        && let Ok(codec) = TextCodec::from_gguf(parts)
    {
        return Ok(codec.special().stop.clone());
    }
    // A tokenizer of a kind that is not read here: what is listed is what can be said.
    Ok(gguf_listed(file)?.into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
}

fn gguf_stop_check(codec: &TextCodec, file: &GgufFile) -> Result<Check> {
    let listed = gguf_listed(file)?;
    // Chat programs stop at the turn end; other stop tokens follow from the token types of the file.
    let wanted = codec.special().turn_end.or_else(|| codec.special().eos);
    Ok(stop_check(wanted.is_none_or(|id| listed.contains(&(id as usize))), 1))
}

fn stop_check(pass: bool, count: usize) -> Check {
    Check {
        name: "same stop tokens".to_owned(),
        measured: if pass { "listed".to_owned() } else { "missing".to_owned() },
        limit: "listed".to_owned(),
        over: if count == 1 { "1 stop token".to_owned() } else { format!("{count} stop tokens") },
        pass,
    }
}
