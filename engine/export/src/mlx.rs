//! The MLX adapter folder: `adapter_config.json` and `adapters.safetensors`, as mlx-lm loads them.
//!
//! mlx-lm makes LoRA layers of everything that `keys` names in the last `num_layers` blocks, all of one rank and one scale,
//! and fills in the tensors of the file: `y = W x + scale · B (A x)` with A stored as (in, r) and B as (r, out). So thinner
//! factors are filled up with zeros, other scales are folded into B, and a layer that nothing was trained on has zeros.

use crate::change::{LowRankChange, low_rank_changes};
use crate::error::{ExportError, Result};
use crate::merged::Cancel;
use crate::output::OutputFolder;
use crate::tensors::{Compute, LazyTensor, write_safetensors};
use crate::{hf, read_peft};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use temper_models::names::{self, SiteName};
use temper_models::{LlamaConfig, Model};
use temper_nn::Role;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::StorageType;

/// Name of the configuration file.
pub(crate) const CONFIG: &str = "adapter_config.json";
/// Name of the tensor file.
pub(crate) const TENSORS: &str = "adapters.safetensors";

/// Values of `model_type` whose linear layers mlx-lm calls what a Hugging Face folder calls them.
const KNOWN: [&str; 3] = ["llama", "mistral", "gemma3_text"];

/// What goes into the folder.
pub(crate) struct Plan<'a> {
    /// The layers that mlx-lm will convert, in the order of the graph, each with its change if it has one.
    layers: Vec<(SiteName, Option<&'a LowRankChange>)>,
    /// Their names inside a block, sorted.
    keys: Vec<String>,
    /// How many of the last blocks are converted.
    blocks: usize,
    /// The rank of all of them.
    rank: usize,
    /// The scale of all of them.
    scale: f64,
}

impl<'a> Plan<'a> {
    /// Lays out `changes` as mlx-lm wants them.
    ///
    /// # Errors
    /// [`ExportError::NotRepresentable`] for a model whose layers mlx-lm calls otherwise, or cannot load.
    pub(crate) fn of(model: &Model, changes: &'a [LowRankChange]) -> Result<Self> {
        let config = model.config.as_llama();
        check_loads(config)?;
        Self::over(names::sites(config), config.layers, changes)
    }

    fn over(sites: Vec<SiteName>, all_blocks: usize, changes: &'a [LowRankChange]) -> Result<Self> {
        let changed: BTreeMap<&str, &LowRankChange> =
            changes.iter().map(|change| (change.hf.as_str(), change)).collect();
        let (mut keys, mut first) = (Vec::new(), all_blocks);
        for site in sites.iter().filter(|site| changed.contains_key(site.hf.as_str())) {
            first = first.min(site.layer);
            let key = in_block(site)?.to_owned();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys.sort();
        let mut layers = Vec::new();
        for site in sites.into_iter().filter(|site| site.layer >= first) {
            let is_converted = keys.iter().any(|key| in_block(&site).is_ok_and(|name| name == key));
            if is_converted {
                let change = changed.get(site.hf.as_str()).copied();
                layers.push((site, change));
            }
        }
        let rank = changes.iter().map(|change| change.rank).max().unwrap_or(1);
        Ok(Self { layers, keys, blocks: all_blocks - first, rank, scale: common_scale(changes) })
    }

    /// The configuration; `base` is the name of the base model, not its path. Dropout is for training alone and a finished
    /// adapter needs none.
    #[must_use]
    pub(crate) fn config(&self, base: &str) -> Value {
        json!({
            "fine_tune_type": "lora",
            "lora_parameters": { "dropout": 0.0, "keys": self.keys, "rank": self.rank, "scale": self.scale },
            "model": base,
            "num_layers": self.blocks,
        })
    }

    /// The tensors of the folder, f32.
    #[must_use]
    pub(crate) fn tensors(&self) -> Vec<LazyTensor<'_>> {
        let (rank, scale) = (self.rank, self.scale);
        let of_layer = |(site, change): &(SiteName, Option<&'a LowRankChange>)| {
            let (change, cols, rows) = (*change, site.in_features, site.out_features);
            let tensor = |factor: &str, shape: [usize; 2], compute: Compute<'a>| LazyTensor {
                name: format!("{}.lora_{factor}", site.hf),
                shape: shape.to_vec(),
                dtype: StorageType::F32,
                compute,
            };
            let a = move || -> Result<Vec<f32>> {
                Ok(change.map_or_else(|| vec![0.0; cols * rank], |change| inner(change, rank)))
            };
            let b = move || -> Result<Vec<f32>> {
                Ok(change.map_or_else(|| vec![0.0; rank * rows], |change| outer(change, rank, scale)))
            };
            [tensor("a", [cols, rank], Box::new(a)), tensor("b", [rank, rows], Box::new(b))]
        };
        self.layers.iter().flat_map(of_layer).collect()
    }
}

/// Writes the two files; `base` is the name of the base model. `progress` is told tensors done and in all, and answers
/// whether to go on.
///
/// # Errors
/// As [`Plan::of`]; a change that is not of low rank, I/O, cancellation.
pub(crate) fn write(model: &Model, base: &str, output: &OutputFolder, progress: &mut Cancel<'_>) -> Result<()> {
    let changes = low_rank_changes(model)?;
    let plan = Plan::of(model, &changes)?;
    output.write(CONFIG, &hf::pretty(&plan.config(base))?)?;
    let tensors = plan.tensors();
    let total = tensors.len() as u64;
    write_safetensors(&output.path(TENSORS), &tensors, &mut |done| progress(done, total))
}

/// Refuses models that mlx-lm does not load, or whose layers it calls otherwise.
fn check_loads(config: &LlamaConfig) -> Result<()> {
    let refuse = |what: String| {
        Err(ExportError::NotRepresentable {
            what,
            action: "export to peft, or to hf or gguf as a merged model".to_owned(),
        })
    };
    let family = config.family.hf_model_type;
    if !KNOWN.contains(&family) {
        return refuse(format!(
            "mlx-lm calls the layers of {family} otherwise; what is known here is {}",
            KNOWN.join(", ")
        ));
    }
    if !config.rope.hf_can_say(config.context) {
        let what = "mlx-lm loads a base by its config.json, which has no words for this model's rotary frequencies";
        return refuse(what.to_owned());
    }
    Ok(())
}

/// The name of a layer inside its block, `self_attn.q_proj`.
fn in_block(site: &SiteName) -> Result<&str> {
    site.hf.strip_prefix(&format!("model.layers.{}.", site.layer)).ok_or_else(|| ExportError::NotRepresentable {
        what: format!("{} lies in no block that mlx-lm counts", site.hf),
        action: "export to peft, or to hf or gguf as a merged model".to_owned(),
    })
}

/// The scale that most layers have, so that most B stay as they were trained.
fn common_scale(changes: &[LowRankChange]) -> f64 {
    let mut counts: Vec<(f64, usize)> = Vec::new();
    for change in changes {
        match counts.iter_mut().find(|(known, _)| (known - change.scale).abs() <= 1e-9 * change.scale.abs()) {
            Some((_, count)) => *count += 1,
            None => counts.push((change.scale, 1)),
        }
    }
    // Everything is divided by it; a change scaled by 0 has B folded to 0 instead.
    counts
        .into_iter()
        .filter(|(scale, _)| *scale != 0.0)
        .max_by_key(|(_, count)| *count)
        .map_or(1.0, |(scale, _)| scale)
}

/// A as (in, `rank`), its columns filled up with zeros.
fn inner(change: &LowRankChange, rank: usize) -> Vec<f32> {
    let mut values = vec![0f32; change.in_features * rank];
    for (column, source) in change.a.chunks_exact(change.in_features).enumerate() {
        for (target, value) in values.iter_mut().skip(column).step_by(rank).zip(source) {
            *target = *value;
        }
    }
    values
}

/// B as (`rank`, out), its rows filled up with zeros, times what `scale` does not give.
fn outer(change: &LowRankChange, rank: usize, scale: f64) -> Vec<f32> {
    let fold = change.scale / scale;
    let exact = (fold - 1.0).abs() <= 1e-9;
    let mut values = vec![0f32; rank * change.out_features];
    for (column, source) in change.b.chunks_exact(change.rank).enumerate() {
        for (target, value) in values.iter_mut().skip(column).step_by(change.out_features).zip(source) {
            *target = if exact { *value } else { (f64::from(*value) * fold) as f32 };
        }
    }
    values
}

/// Puts the adapter in `folder` on `model` and returns the number of layers: what answers for a folder whose base the
/// independent graph cannot run.
///
/// # Errors
/// [`ExportError::Adapter`] for a damaged folder or factors that do not fit.
pub(crate) fn attach(model: &mut Model, folder: &Path) -> Result<usize> {
    let config = read_peft::read_config(folder)?;
    let path = folder.join(TENSORS);
    let loaded = read_peft::load_tensors(&path)?;
    let scale = config.pointer("/lora_parameters/scale").and_then(Value::as_f64).ok_or_else(|| {
        ExportError::Adapter { path: folder.join(CONFIG), what: "lora_parameters.scale is missing".to_owned() }
    })?;
    let mut count = 0;
    for site in names::sites(model.config.as_llama()) {
        let factor = |name: &str| loaded.get(&format!("{}.lora_{name}", site.hf));
        let (Some(a), Some(b)) = (factor("a"), factor("b")) else { continue };
        let (a, b) = (a.t()?.contiguous()?, b.t()?.contiguous()?);
        let rank = a.dim(0)?;
        if a.dims() != [rank, site.in_features] || b.dims() != [site.out_features, rank] {
            return Err(ExportError::Adapter {
                path,
                what: format!("the factors of {} do not fit its layer", site.hf),
            });
        }
        let trained = || Factor::trained(Init::Zeros);
        let slots = Slots {
            delta: Delta::Chain(Chain { rank, b: trained(), core: Core::None, a: trained() }),
            scale: Scale::Fixed(scale),
            ..Slots::default()
        };
        read_peft::attach_layer(model, &site.name, &slots, &path, |role| match role {
            Role::FactorA => Some(&a),
            Role::FactorB => Some(&b),
            _ => None,
        })?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four blocks with two layers each, 3 numbers in and 2 out.
    fn sites() -> Vec<SiteName> {
        let named = |layer: usize, name: &str, hf: &str| SiteName {
            name: format!("layers.{layer}.attn.{name}"),
            hf: format!("model.layers.{layer}.self_attn.{hf}"),
            gguf: String::new(),
            out_features: 2,
            in_features: 3,
            layer,
        };
        (0..4).flat_map(|layer| [named(layer, "q", "q_proj"), named(layer, "v", "v_proj")]).collect()
    }

    fn change(layer: usize, module: &str, rank: usize, scale: f64) -> LowRankChange {
        LowRankChange {
            hf: format!("model.layers.{layer}.self_attn.{module}"),
            gguf: String::new(),
            gguf_rows: None,
            out_features: 2,
            in_features: 3,
            rank,
            a: (0..rank * 3).map(|value| value as f32 + 1.0).collect(),
            b: (0..rank * 2).map(|value| value as f32 - 1.5).collect(),
            scale,
            alpha: scale * rank as f64,
        }
    }

    /// scale · B A of a change, row by row.
    fn dense(change: &LowRankChange) -> Vec<f64> {
        let mut all = Vec::new();
        for row in change.b.chunks_exact(change.rank) {
            for col in 0..change.in_features {
                let product = |(k, b): (usize, &f32)| f64::from(*b) * f64::from(change.a[k * change.in_features + col]);
                all.push(change.scale * row.iter().enumerate().map(product).sum::<f64>());
            }
        }
        all
    }

    /// The same of what was written: scale · (A B) with A (in, r) and B (r, out), turned round.
    fn written(a: &[f32], b: &[f32], rank: usize, scale: f64) -> Vec<f64> {
        let mut all = Vec::new();
        for row in 0..2 {
            for col in 0..3 {
                let product = |k: usize| f64::from(a[col * rank + k]) * f64::from(b[k * 2 + row]);
                all.push(scale * (0..rank).map(product).sum::<f64>());
            }
        }
        all
    }

    #[test]
    fn ranks_are_filled_up_scales_folded_in_and_untrained_layers_are_zeros() {
        let changes = [change(2, "q_proj", 2, 2.0), change(3, "q_proj", 1, 2.0), change(3, "v_proj", 3, 0.5)];
        let plan = Plan::over(sites(), 4, &changes).unwrap();
        let config = plan.config("base");
        assert_eq!((&config["num_layers"], &config["fine_tune_type"]), (&json!(2), &json!("lora")));
        let wanted = json!({"dropout": 0.0, "keys": ["self_attn.q_proj", "self_attn.v_proj"], "rank": 3, "scale": 2.0});
        assert_eq!(config["lora_parameters"], wanted);
        let tensors = plan.tensors();
        let value = |name: &str, shape: &[usize]| {
            let tensor = tensors.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(tensor.shape, shape, "{name}");
            (tensor.compute)().unwrap()
        };
        assert_eq!(tensors.len(), 8, "two factors of two layers in the last two blocks");
        for layer in [2, 3] {
            for module in ["q_proj", "v_proj"] {
                let hf = format!("model.layers.{layer}.self_attn.{module}");
                let (a, b) = (value(&format!("{hf}.lora_a"), &[3, 3]), value(&format!("{hf}.lora_b"), &[3, 2]));
                let known = changes.iter().find(|change| change.hf == hf).map_or_else(|| vec![0.0; 6], dense);
                for (ours, theirs) in written(&a, &b, 3, 2.0).iter().zip(&known) {
                    assert!((ours - theirs).abs() < 1e-6, "{hf}: {ours} for {theirs}");
                }
            }
        }
    }

    #[test]
    fn a_uniform_adapter_keeps_its_values_and_a_scale_of_nothing_divides_nothing() {
        let changes: Vec<_> = (0..4).map(|layer| change(layer, "v_proj", 2, 3.0)).collect();
        let plan = Plan::over(sites(), 4, &changes).unwrap();
        assert_eq!((plan.blocks, plan.rank, plan.keys.as_slice()), (4, 2, ["self_attn.v_proj".to_owned()].as_slice()));
        let b = outer(&changes[0], 2, plan.scale);
        assert_eq!(b, [-1.5, 0.5, -0.5, 1.5], "turned round, nothing folded in");
        let silent = [change(0, "q_proj", 1, 0.0)];
        assert!((common_scale(&silent) - 1.0).abs() < 1e-12);
        assert_eq!(outer(&silent[0], 1, 1.0), [0.0, 0.0]);
    }

    #[test]
    fn a_model_that_mlx_calls_otherwise_is_refused() {
        let known = LlamaConfig::new(64, 32, 1, 2);
        assert!(check_loads(&known).is_ok());
        let mut odd = sites();
        odd[0].hf = "transformer.h.0.attn.q_proj".to_owned();
        let changes = [LowRankChange { hf: odd[0].hf.clone(), ..change(0, "q_proj", 1, 1.0) }];
        let error = Plan::over(odd, 4, &changes).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("transformer.h.0.attn.q_proj"), "{error}");
    }
}
