//! What was inserted leaves: prompts and prefixes in PEFT's own types, everything else in a folder of this program.
//!
//! Place in the data flow: [`crate::export`] comes here for a model with insertions; [`crate::read_peft`] comes here for the
//! folders. Merged formats are refused: nothing here is a change of a weight.
//!
//! The native folder is `temper_adapter.json`, the list of insertions as values, and `adapter.safetensors`, f32, with the
//! names that the parameters have in a model. Nets that only training needs are folded away. Layers with routers leave in
//! such a folder too (`routed.rs`), and changes of single entries (`sparse.rs`), each kind by itself.

use crate::error::{ExportError, Result};
use crate::read_peft::{self, PeftSummary};
use crate::routed::{self, RoutedLayer};
use crate::sparse::{self, SparseLayer};
use crate::tensors::LazyTensor;
use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use temper_models::Model;
use temper_models::insert::Folded;
use temper_nn::insertion::{Prefix, Prompt, PromptStart};
use temper_nn::{Insert, Insertion, Inserts};
use temper_protocol::StorageType;

/// Name of the description in a native folder.
pub const CONFIG: &str = "temper_adapter.json";
/// Name of the tensor file beside it.
pub(crate) const TENSORS: &str = "adapter.safetensors";
/// PEFT's types that are read and written here.
pub(crate) const PEFT_TYPES: [&str; 2] = ["PREFIX_TUNING", "PROMPT_TUNING"];
/// The one tensor of both.
pub(crate) const PROMPT: &str = "prompt_embeddings";
/// Version of the native folder.
const SCHEMA: u64 = 1;

/// A named tensor for a file.
type Named = (String, Tensor);

/// The description of a native folder.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: String,
    schema: u64,
    /// Name of the base model.
    base: String,
    /// Id of the method that made them.
    method: String,
    #[serde(default)]
    insertions: Vec<Insertion>,
    /// Linear layers with routers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    routed: Vec<RoutedLayer>,
    /// Linear layers of which single entries are changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sparse: Vec<SparseLayer>,
}

/// Refuses a model with insertions for a format that only changed weights fit.
///
/// # Errors
/// [`ExportError::NotRepresentable`], saying what was inserted and where it can go.
pub(crate) fn check_mergeable(model: &Model, format: &str) -> Result<()> {
    let folded = model.folded_insertions()?;
    let Some((first, _)) = folded.first() else { return Ok(()) };
    let (what, why) = match first.what {
        Insert::Bottleneck(_) => ("a bottleneck", "there is a function between its layers, so no weight can hold it"),
        Insert::Prefix(_) => ("a prefix", "keys and values before the text are no change of a weight"),
        Insert::Prompt(_) => ("a prompt", "rows before the text are no change of a weight"),
        Insert::Coupling(_) => ("an invertible map", "there are functions in it, so no weight can hold it"),
        Insert::Laplacian(_) => ("a smoothing", "it is a function of the attention's own weights"),
        Insert::Merge(_) => ("a merging of tokens", "it is no change of a weight"),
        Insert::Branch(_) => ("a path of a task", "it leads beside what other tasks share"),
        Insert::Skip(_) => ("a net in a block's place", "a block that is left out is a change of the graph"),
    };
    let action = if peft(model, "").is_ok() {
        "export the adapter instead: --format peft or --format native"
    } else {
        "export the adapter instead: --format native"
    };
    let what = format!("{what} was inserted at {}, and {why}: the format {format} cannot hold it", first.stage);
    Err(ExportError::NotRepresentable { what, action: action.to_owned() })
}

/// Whether weights or linear layers were changed beside what was inserted.
fn check_alone(model: &Model) -> Result<()> {
    let adapted = model.sites().into_iter().find(|site| site.is_adapted()).map(|site| site.name().to_owned());
    let Some(name) = adapted.or_else(|| model.trained_weights().into_iter().next()) else { return Ok(()) };
    Err(ExportError::NotRepresentable {
        what: format!("{name} was changed too, and one adapter folder holds either insertions or changes of weights"),
        action: "train and export the two one after the other".to_owned(),
    })
}

/// PEFT's configuration and tensors; `base` is the name of the base model.
///
/// # Errors
/// [`ExportError::NotRepresentable`] for what PEFT has no type for.
pub(crate) fn peft(model: &Model, base: &str) -> Result<(Value, Vec<Named>)> {
    check_alone(model)?;
    let config = model.config.as_llama();
    let folded = model.folded_insertions()?;
    let (kind, length, width, heads, tensor) = match prompt_of(&folded) {
        Some((rows, length)) => ("PROMPT_TUNING", length, config.hidden_size, config.heads, rows),
        None => {
            let (all, length) = prefix_of(&folded, config.layers)?;
            let (heads, features) = (config.kv_heads, config.head_dim);
            ("PREFIX_TUNING", length, heads * features, heads, all)
        }
    };
    let mut written = json!({
        "base_model_name_or_path": base,
        "inference_mode": true,
        "num_attention_heads": heads,
        "num_layers": config.layers,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": length,
        "peft_type": kind,
        "task_type": "CAUSAL_LM",
        "token_dim": width,
    });
    if let (Some(written), true) = (written.as_object_mut(), kind == "PREFIX_TUNING") {
        written.insert("prefix_projection".to_owned(), json!(false));
    }
    Ok((written, vec![(PROMPT.to_owned(), tensor)]))
}

/// The rows of a prompt, when it is all there is.
fn prompt_of(folded: &[Folded]) -> Option<(Tensor, usize)> {
    match folded {
        [(Insertion { what: Insert::Prompt(prompt), .. }, tensors)] => {
            Some((tensors.first()?.1.clone(), prompt.length))
        }
        _ => None,
    }
}

/// Keys and values of all blocks as PEFT has them, (length, 2 · blocks · features): keys, then values, block by block.
fn prefix_of(folded: &[Folded], layers: usize) -> Result<(Tensor, usize)> {
    let refuse = || ExportError::NotRepresentable {
        what: "PEFT has types for a prompt, and for a prefix of one length in every block, and for nothing else that \
               can be inserted"
            .to_owned(),
        action: "export it as native instead: --format native".to_owned(),
    };
    let mut parts = Vec::with_capacity(2 * layers);
    let mut lengths = Vec::with_capacity(layers);
    for (index, (insertion, tensors)) in folded.iter().enumerate() {
        let (Insert::Prefix(prefix), true) = (&insertion.what, insertion.stage == format!("layers.{index}")) else {
            return Err(refuse());
        };
        lengths.push(prefix.length);
        parts.extend(tensors.iter().map(|(_, tensor)| tensor.clone()));
    }
    let length = lengths.first().copied().unwrap_or(0);
    if lengths.len() != layers || lengths.iter().any(|other| *other != length) || parts.len() != 2 * layers {
        return Err(refuse());
    }
    Ok((Tensor::cat(&parts, 1)?, length))
}

/// The description and the tensors of a native folder.
///
/// # Errors
/// [`ExportError::NotRepresentable`] for a model without insertions, or with more than them.
pub(crate) fn native(model: &Model, base: &str, method: &str) -> Result<(Value, Vec<Named>)> {
    let folded = model.folded_insertions()?;
    let (routed, mut tensors) = routed::layers(model)?;
    let mut sparse = Vec::new();
    if folded.is_empty() && routed.is_empty() {
        (sparse, tensors) = sparse::layers(model)?;
    }
    let nothing = folded.is_empty() && routed.is_empty() && sparse.is_empty();
    if !folded.is_empty() || nothing {
        check_alone(model)?;
    }
    if nothing {
        return Err(ExportError::NotRepresentable {
            what:
                "nothing was inserted into this model and no layer has a router: the native folder holds nothing else"
                    .to_owned(),
            action: "export to peft, or to hf or gguf as a merged model".to_owned(),
        });
    }
    let mut insertions = Vec::with_capacity(folded.len());
    for (insertion, own) in folded {
        insertions.push(insertion);
        // What stages have in common comes once for each of them.
        tensors.extend(own);
    }
    let description = Description {
        format: "temper-adapter".to_owned(),
        schema: SCHEMA,
        base: base.to_owned(),
        method: method.to_owned(),
        insertions,
        routed,
        sparse,
    };
    Ok((serde_json::to_value(description)?, tensors.into_iter().collect()))
}

/// Tensors as they are written.
///
/// # Errors
/// A tensor that is not f32.
pub(crate) fn lazy(tensors: &[Named]) -> Result<Vec<LazyTensor<'static>>> {
    let lazy = |(name, tensor): &Named| -> Result<LazyTensor<'static>> {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        let compute = Box::new(move || Ok(values.clone()));
        Ok(LazyTensor { name: name.clone(), shape: tensor.dims().to_vec(), dtype: StorageType::F32, compute })
    };
    tensors.iter().map(lazy).collect()
}

/// Whether a folder is a native one.
#[must_use]
pub fn is_native(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

/// Puts the insertions of a native folder into a model and returns how many.
///
/// # Errors
/// [`ExportError::Adapter`] for a damaged folder, or one that does not fit the model.
pub fn attach_native(model: &mut Model, folder: &Path) -> Result<usize> {
    let description = describe_native(folder)?;
    let path = folder.join(TENSORS);
    let loaded = read_peft::load_tensors(&path)?;
    if !description.routed.is_empty() {
        routed::attach(model, &description.routed, &loaded, &path)?;
        return Ok(description.routed.len());
    }
    if !description.sparse.is_empty() {
        sparse::attach(model, &description.sparse, &loaded, &path)?;
        return Ok(description.sparse.len());
    }
    insert(model, &description.insertions, &loaded, &path)?;
    Ok(description.insertions.len())
}

/// What a native folder says about itself.
///
/// # Errors
/// A damaged folder.
pub(crate) fn summary(folder: &Path) -> Result<PeftSummary> {
    let description = describe_native(folder)?;
    let path = folder.join(TENSORS);
    let bytes = std::fs::read(&path).map_err(ExportError::io(&path))?;
    let tensors = safetensors::SafeTensors::deserialize(&bytes)
        .map_err(|error| ExportError::Adapter { path: path.clone(), what: error.to_string() })?;
    let parameters = tensors.iter().map(|(_, view)| view.shape().iter().map(|dim| *dim as u64).product::<u64>()).sum();
    let Description { base, method, insertions, routed, sparse, .. } = description;
    let rank = routed.iter().map(RoutedLayer::directions).max().unwrap_or(0) as u64;
    let sites = (insertions.len() + routed.len() + sparse.len()) as u64;
    Ok(PeftSummary { peft_type: method, base, rank, sites, parameters })
}

/// Why no frozen weight can hold what a native folder does; none where one can.
///
/// # Errors
/// A damaged folder.
pub(crate) fn not_a_weight(folder: &Path) -> Result<Option<String>> {
    let description = describe_native(folder)?;
    if !description.routed.is_empty() {
        return Ok(Some("its routers choose by the input, and a frozen weight is the same for all inputs".to_owned()));
    }
    Ok(description.insertions.first().map(|first| undefined(&format!("what it inserts at {}", first.stage))))
}

/// The sentence for what is put between the layers.
pub(crate) fn undefined(what: &str) -> String {
    format!("{what} is no change of a weight, and how two such things act on each other is not defined")
}

fn describe_native(folder: &Path) -> Result<Description> {
    let path = folder.join(CONFIG);
    let text = std::fs::read_to_string(&path).map_err(ExportError::io(&path))?;
    let broken = |what: String| ExportError::Adapter { path: path.clone(), what };
    let description: Description = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
    if description.format != "temper-adapter" || description.schema != SCHEMA {
        let (format, schema) = (description.format, description.schema);
        return Err(broken(format!(
            "it is {format:?} of version {schema}; this program knows temper-adapter of {SCHEMA}"
        )));
    }
    Ok(description)
}

/// Puts a prompt or prefix of PEFT's into a model; none for another type.
///
/// # Errors
/// [`ExportError::Adapter`] for settings and tensors that do not fit the model.
pub(crate) fn attach_peft(
    model: &mut Model,
    config: &Value,
    loaded: &BTreeMap<String, Tensor>,
    path: &Path,
) -> Result<Option<usize>> {
    let kind = config.get("peft_type").and_then(Value::as_str).unwrap_or_default();
    if !PEFT_TYPES.contains(&kind) {
        return Ok(None);
    }
    let (insertions, values) = of_peft(model, config, loaded, path)?;
    insert(model, &insertions, &values, path)?;
    Ok(Some(insertions.len()))
}

/// Gives a prompt or prefix that a model carries already the values of one of PEFT's.
///
/// # Errors
/// As [`attach_peft`]; another kind or length than the model carries.
pub(crate) fn refill(model: &mut Model, config: &Value, loaded: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
    let (_, values) = of_peft(model, config, loaded, path)?;
    fill(model, &values, path)
}

/// What a folder of PEFT's inserts, with the values of its parameters by their names here.
fn of_peft(
    model: &Model,
    config: &Value,
    loaded: &BTreeMap<String, Tensor>,
    path: &Path,
) -> Result<(Vec<Insertion>, BTreeMap<String, Tensor>)> {
    let kind = config.get("peft_type").and_then(Value::as_str).unwrap_or_default();
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    let others: Vec<&str> = loaded.keys().map(String::as_str).filter(|name| *name != PROMPT).collect();
    if !others.is_empty() {
        return Err(broken(format!("{} is not expected", others.join(", "))));
    }
    let tensor = loaded.get(PROMPT).ok_or_else(|| broken(format!("{PROMPT} is missing")))?.to_dtype(DType::F32)?;
    let length = config.get("num_virtual_tokens").and_then(Value::as_u64).unwrap_or(0) as usize;
    let sizes = model.config.as_llama();
    let (layers, features, hidden) = (sizes.layers, sizes.kv_heads * sizes.head_dim, sizes.hidden_size);
    let wanted = if kind == "PROMPT_TUNING" { [length, hidden] } else { [length, 2 * layers * features] };
    if length == 0 || tensor.dims() != wanted {
        let found = tensor.dims();
        return Err(broken(format!("{PROMPT} is {found:?}; {length} virtual tokens of this model are {wanted:?}")));
    }
    let mut values = BTreeMap::new();
    let insertions: Vec<Insertion> = if kind == "PROMPT_TUNING" {
        values.insert("embed_out.prompt".to_owned(), tensor);
        let prompt = Prompt { length, start: PromptStart::Normal };
        vec![Insertion { stage: "embed".to_owned(), what: Insert::Prompt(prompt) }]
    } else {
        let mut all = Vec::with_capacity(layers);
        for layer in 0..layers {
            let stage = format!("layers.{layer}");
            for (part, index) in [("keys", 2 * layer), ("values", 2 * layer + 1)] {
                let rows = tensor.narrow(1, index * features, features)?.contiguous()?;
                values.insert(format!("{stage}.attn_kv.{part}"), rows);
            }
            all.push(Insertion { stage, what: Insert::Prefix(Prefix { length, through: None }) });
        }
        all
    };
    Ok((insertions, values))
}

/// Builds insertions in a model that has none yet and gives their parameters the values of a file.
fn insert(model: &mut Model, insertions: &[Insertion], values: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    if model.has_insertions() {
        return Err(broken(
            "the model carries insertions already; one adapter of this kind can be used at a time".to_owned(),
        ));
    }
    check_sizes(insertions, values).map_err(&broken)?;
    model.insert_all(insertions, 0)?;
    fill(model, values, path)
}

/// What an insertion calls its sizes.
const SIZES: [&str; 6] = ["width", "length", "rank", "task_width", "copies", "through"];

/// Refuses sizes that are larger than the whole file: memory is asked for before shapes are compared, and a description may
/// be damaged.
fn check_sizes(insertions: &[Insertion], values: &BTreeMap<String, Tensor>) -> Result<(), String> {
    let held = values.values().map(Tensor::elem_count).sum::<usize>() as u64;
    for insertion in insertions {
        let written = serde_json::to_value(insertion).map_err(|error| error.to_string())?;
        let mut open = vec![&written];
        while let Some(value) = open.pop() {
            match value {
                Value::Object(fields) => {
                    let size = |(key, value): (&String, &Value)| {
                        let size = value.as_u64().filter(|size| SIZES.contains(&key.as_str()) && *size > held)?;
                        Some(format!("{}: {key} is {size}, and the file has {held} numbers in all", insertion.stage))
                    };
                    if let Some(fault) = fields.iter().find_map(size) {
                        return Err(fault);
                    }
                    open.extend(fields.values());
                }
                Value::Array(items) => open.extend(items),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Gives the parameters of what is inserted the values of a file: all of them and no other.
fn fill(model: &Model, values: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    let blocks = model.blocks.iter().filter_map(|block| block.inserts());
    let inserts = std::iter::once(model.embed.inserts()).chain(blocks).chain([model.head.inserts()]);
    let params: BTreeMap<String, _> =
        inserts.flat_map(Inserts::params).map(|param| (param.name.clone(), param)).collect();
    let mut faults: Vec<String> = values
        .keys()
        .filter(|name| !params.contains_key(*name))
        .map(|name| format!("{name} is not expected"))
        .collect();
    for (name, param) in &params {
        match values.get(name) {
            None => faults.push(format!("{name} is missing")),
            Some(value) if value.dims() != param.var.dims() => {
                faults.push(format!("{name} is {:?} instead of {:?}", value.dims(), param.var.dims()));
            }
            Some(value) => {
                let value = value.to_dtype(DType::F32)?.contiguous()?;
                if value.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                    param.var.set(&value)?;
                } else {
                    faults.push(format!("{name} holds numbers that are not finite"));
                }
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(broken(faults.join("; "))) }
}
