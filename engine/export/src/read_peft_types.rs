//! Reads adapters of PEFT's types that have their own tensors per layer: ADALORA, IA3, BEFT, VERA, LOHA, LOKR, MISS, LN_TUNING.
//!
//! Each type says which slots the tensors of a layer stand for and which parameter takes which tensor; shapes are held
//! against the layer before anything is attached.

use crate::error::{ExportError, Result};
use crate::read_peft::Patterns;
use candle_core::{DType, Tensor};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use temper_models::family::PartKind;
use temper_models::{Model, names};
use temper_nn::Role;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Kron, KronFactor, Normaliser, Right, Scale, Slots, Source};

/// The types that are read here.
pub(crate) const TYPES: [&str; 8] = ["ADALORA", "IA3", "BEFT", "VERA", "LOHA", "LOKR", "MISS", "LN_TUNING"];

/// What PEFT's AdaLoRA adds to the number of directions before it divides by it.
const ADALORA_DIVISOR: f64 = 1e-5;

/// What ends the names of the tensors that occur once per layer.
const ONCE: [&str; 9] = [
    ".lora_E",
    ".ia3_l",
    ".beft_bias",
    ".vera_lambda_b",
    ".hada_w1_a",
    ".lokr_w1",
    ".lokr_w1_a",
    ".miss_block",
    ".ln_tuning_layers.weight",
];

/// Whether a tensor stands for a layer of one of these types.
pub(crate) fn is_one_per_layer(name: &str) -> bool {
    ONCE.iter().any(|ending| name.ends_with(ending))
}

/// What a layer of a file becomes: slots, and the values of its parameters by the end of their names.
struct Reading {
    slots: Slots,
    values: Vec<(&'static str, Tensor)>,
}

/// The file and what its configuration says.
struct File<'a> {
    peft_type: &'a str,
    config: &'a Value,
    loaded: &'a BTreeMap<String, Tensor>,
    ranks: Patterns,
    alphas: Patterns,
}

/// Attaches an adapter of one of [`TYPES`] and returns the number of layers; none for another type.
///
/// # Errors
/// [`ExportError::Adapter`] for unexpected, missing or misshapen tensors, all named together; nothing is attached then.
pub(crate) fn attach(
    model: &mut Model,
    config: &Value,
    loaded: &BTreeMap<String, Tensor>,
    path: &Path,
) -> Result<Option<usize>> {
    let peft_type = config.get("peft_type").and_then(Value::as_str).unwrap_or_default();
    if !TYPES.contains(&peft_type) {
        return Ok(None);
    }
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    if peft_type == "LN_TUNING" {
        return norms(model, loaded, path).map(Some);
    }
    let ranks = Patterns::read(config, "rank_pattern", "r", 8.0).map_err(&broken)?;
    let alphas = Patterns::read(config, "alpha_pattern", "alpha", 8.0).map_err(&broken)?;
    let file = File { peft_type, config, loaded, ranks, alphas };
    let sites: BTreeMap<String, names::SiteName> =
        names::sites(model.config.as_llama()).into_iter().map(|site| (site.hf.clone(), site)).collect();
    let (mut faults, mut found) = (Vec::new(), Vec::new());
    let mut used: BTreeSet<String> = ["base_model.vera_A", "base_model.vera_B"].map(str::to_owned).into();
    for module in file.modules() {
        let Some(site) = sites.get(module) else {
            faults.push(format!("the model has no linear layer {module}"));
            continue;
        };
        match file.layer(site) {
            Ok((reading, names)) => {
                used.extend(names.iter().map(|name| format!("base_model.model.{module}.{name}")));
                found.push((site, reading));
            }
            Err(fault) => faults.push(format!("{module}: {fault}")),
        }
    }
    if faults.is_empty() {
        faults.extend(loaded.keys().filter(|name| !used.contains(*name)).map(|name| format!("{name} is not expected")));
    }
    if found.is_empty() && faults.is_empty() {
        faults.push("it holds no tensors".to_owned());
    }
    if !faults.is_empty() {
        return Err(broken(faults.join("; ")));
    }
    for (site, reading) in &found {
        put(model, &site.name, reading, path)?;
    }
    Ok(Some(found.len()))
}

/// Puts slots on a site and the values into its parameters.
fn put(model: &mut Model, name: &str, reading: &Reading, path: &Path) -> Result<()> {
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    let site = model.site_mut(name).ok_or_else(|| broken(format!("the model has no site {name}")))?;
    site.attach(&reading.slots, 0)?;
    let adapter = site.adapters().last().ok_or_else(|| broken(format!("{name} took no adapter")))?;
    for param in adapter.params() {
        let value = reading.values.iter().find(|(key, _)| param.name.ends_with(&format!(".{key}")));
        let (_, value) = value.ok_or_else(|| broken(format!("{} has no values", param.name)))?;
        let value = value.to_dtype(DType::F32)?.contiguous()?.reshape(param.var.dims())?;
        if !value.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Err(broken(format!("{name} holds numbers that are not finite")));
        }
        param.var.set(&value)?;
    }
    Ok(())
}

/// Trained norms take the place of the model's.
fn norms(model: &mut Model, loaded: &BTreeMap<String, Tensor>, path: &Path) -> Result<usize> {
    let names = named_norms(model, loaded, path)?;
    model.promote(&|name| names.contains_key(name))?;
    for param in &model.params()? {
        if let Some(tensor) = names.get(&param.name) {
            param.var.set(tensor)?;
        }
    }
    Ok(names.len())
}

/// Gives norms that are trained already the values of a file, which has to have all of them and no other.
///
/// # Errors
/// [`ExportError::Adapter`] for norms that are trained here and not there, or the other way round.
pub(crate) fn refill_norms(model: &Model, loaded: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
    let names = named_norms(model, loaded, path)?;
    let trained = model.params()?;
    let missing = trained.iter().map(|param| &param.name).filter(|name| !names.contains_key(*name));
    let mut faults: Vec<String> = missing.map(|name| format!("{name} is trained and not in it")).collect();
    let foreign = names.keys().filter(|name| trained.get(name).is_none());
    faults.extend(foreign.map(|name| format!("{name} is in it and not trained")));
    if !faults.is_empty() {
        return Err(ExportError::Adapter { path: path.to_path_buf(), what: faults.join("; ") });
    }
    for param in &trained {
        if let Some(tensor) = names.get(&param.name) {
            param.var.set(tensor)?;
        }
    }
    Ok(())
}

/// The norms of a file by their names here, f32.
fn named_norms(model: &Model, loaded: &BTreeMap<String, Tensor>, path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let slots = names::slots(model.config.as_llama());
    let mut names = BTreeMap::new();
    let mut faults = Vec::new();
    for (key, tensor) in loaded {
        let module =
            key.strip_prefix("base_model.model.").and_then(|rest| rest.strip_suffix(".ln_tuning_layers.weight"));
        let slot = module.and_then(|module| {
            let hf = format!("{module}.weight");
            slots.iter().find(|slot| slot.kind == PartKind::Norm && slot.hf == hf)
        });
        match slot {
            Some(slot) if tensor.dims() == slot.shape => {
                let values = tensor.to_dtype(DType::F32)?.contiguous()?;
                if values.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                    names.insert(slot.name.clone(), values);
                } else {
                    faults.push(format!("{key} holds numbers that are not finite"));
                }
            }
            _ => faults.push(format!("{key} of shape {:?} is no norm of this model", tensor.dims())),
        }
    }
    if names.is_empty() && faults.is_empty() {
        faults.push("it holds no tensors".to_owned());
    }
    if faults.is_empty() {
        Ok(names)
    } else {
        Err(ExportError::Adapter { path: path.to_path_buf(), what: faults.join("; ") })
    }
}

/// Gives layers with shared matrices the vectors of a file, and its matrices instead of the ones that were drawn: they go
/// with the layers into checkpoints and files from then on.
///
/// # Errors
/// [`ExportError::Adapter`] for layers that are adapted here and not there, or the other way round, and for shapes that
/// differ.
pub(crate) fn refill_vera(model: &mut Model, loaded: &BTreeMap<String, Tensor>, path: &Path) -> Result<()> {
    let broken = |what: String| ExportError::Adapter { path: path.to_path_buf(), what };
    let take = |name: &str, shape: Option<&[usize]>| -> Result<Tensor> {
        let tensor = loaded.get(name).ok_or_else(|| broken(format!("{name} is missing")))?;
        if let Some(shape) = shape.filter(|shape| tensor.dims() != *shape) {
            return Err(broken(format!("{name} has shape {:?} instead of {shape:?}", tensor.dims())));
        }
        let tensor = tensor.to_dtype(DType::F32)?.contiguous()?;
        if !tensor.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
            return Err(broken(format!("{name} holds numbers that are not finite")));
        }
        Ok(tensor)
    };
    let (a, b) = (take("base_model.vera_A", None)?, take("base_model.vera_B", None)?);
    let mut used = 2;
    for name in names::sites(model.config.as_llama()) {
        let Some(site) = model.site_mut(&name.name).filter(|site| site.is_adapted()) else { continue };
        site.restore(&|key| {
            Ok(match key {
                "shared.a" => Some(a.clone()),
                "shared.b" => Some(b.clone()),
                _ => None,
            })
        })
        .map_err(|error| broken(format!("{}: {error}", name.hf)))?;
        for param in site.params() {
            let vector = if param.role == Role::Core { "vera_lambda_d" } else { "vera_lambda_b" };
            param.var.set(&take(&format!("base_model.model.{}.{vector}", name.hf), Some(param.var.dims()))?)?;
            used += 1;
        }
    }
    if used != loaded.len() {
        return Err(broken(format!(
            "it holds {} tensors, of which {used} belong to the layers that are trained",
            loaded.len()
        )));
    }
    Ok(())
}

impl File<'_> {
    /// The layers that the file names.
    fn modules(&self) -> BTreeSet<&str> {
        let module = |name: &'_ &String| ONCE.iter().any(|ending| name.ends_with(ending));
        let named = self.loaded.keys().filter(module).filter_map(|name| {
            let rest = name.strip_prefix("base_model.model.")?;
            ONCE.iter().find_map(|ending| rest.strip_suffix(ending))
        });
        named.collect()
    }

    fn text(&self, key: &str) -> &str {
        self.config.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// A layer and the names of its tensors, or what does not fit.
    fn layer(&self, site: &names::SiteName) -> Result<(Reading, Vec<&'static str>), String> {
        let (rows, cols) = (site.out_features, site.in_features);
        let get = |name: &str| self.loaded.get(&format!("base_model.model.{}.{name}", site.hf));
        let need = |name: &'static str, shape: &[usize]| -> Result<Tensor, String> {
            let tensor = get(name).ok_or_else(|| format!("{name} is missing"))?;
            if tensor.dims() == shape {
                return Ok(tensor.clone());
            }
            Err(format!("{name} has shape {:?} instead of {shape:?}", tensor.dims()))
        };
        let dims = |name: &str| get(name).map(|tensor| tensor.dims().to_vec()).unwrap_or_default();
        let trained = Factor::trained(Init::Zeros);
        let alone = |normaliser: Normaliser| Slots { normaliser, ..Slots::default() };
        let scale = self.alphas.value(&site.hf) / self.ranks.value(&site.hf);
        match self.peft_type {
            "IA3" => {
                let by_row = dims("ia3_l") == [rows, 1];
                let scale = if by_row { need("ia3_l", &[rows, 1])? } else { need("ia3_l", &[1, cols])? };
                let factor = trained.without_decay();
                let slots = alone(if by_row { Normaliser::RowScale(factor) } else { Normaliser::ColumnScale(factor) });
                Ok((Reading { slots, values: vec![("scale", scale)] }, vec!["ia3_l"]))
            }
            "BEFT" => {
                let shift = need("beft_bias", &[1, rows])?;
                let slots = Slots { bias: Some(trained.without_decay()), ..Slots::default() };
                Ok((Reading { slots, values: vec![("shift", shift)] }, vec!["beft_bias"]))
            }
            "LOHA" => {
                let rank = self.ranks.value(&site.hf) as usize;
                let chain = || Chain { rank, b: trained, core: Core::None, a: trained };
                let slots =
                    Slots { delta: Delta::Hadamard(chain(), chain()), scale: Scale::Fixed(scale), ..Slots::default() };
                let values = vec![
                    ("b1", need("hada_w1_a", &[rows, rank])?),
                    ("a1", need("hada_w1_b", &[rank, cols])?),
                    ("b2", need("hada_w2_a", &[rows, rank])?),
                    ("a2", need("hada_w2_b", &[rank, cols])?),
                ];
                Ok((Reading { slots, values }, vec!["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"]))
            }
            "ADALORA" => {
                let rank = dims("lora_A").first().copied().unwrap_or(0);
                let number = |key: &str, default: f64| self.config.get(key).and_then(Value::as_f64).unwrap_or(default);
                // The divisor is the number of directions at the start, also where some have left.
                let scale = number("lora_alpha", 8.0) / (number("init_r", 12.0) + ADALORA_DIVISOR);
                let chain = Chain { rank, b: trained, core: Core::Diagonal(trained), a: trained };
                let slots = Slots { delta: Delta::Chain(chain), scale: Scale::Fixed(scale), ..Slots::default() };
                let (a, b) = (need("lora_A", &[rank, cols])?, need("lora_B", &[rows, rank])?);
                let values = vec![("a", a), ("b", b), ("core", need("lora_E", &[rank, 1])?)];
                Ok((Reading { slots, values }, vec!["lora_A", "lora_B", "lora_E"]))
            }
            "VERA" => self.vera(site, need("vera_lambda_b", &[rows])?, get("vera_lambda_d")),
            "MISS" => self.miss(site, get("miss_block")),
            _ => self.lokr(site, scale),
        }
    }

    /// The shared matrices become frozen factors of the layer: they may come from any generator.
    fn vera(
        &self,
        site: &names::SiteName,
        outer: Tensor,
        inner: Option<&Tensor>,
    ) -> Result<(Reading, Vec<&'static str>), String> {
        let whole = |name: &str| {
            self.loaded.get(name).ok_or_else(|| format!("{name} is missing: save the adapter with its projections"))
        };
        let (a, b) = (whole("base_model.vera_A")?, whole("base_model.vera_B")?);
        let cut = |tensor: &Tensor, dim: usize, length: usize| {
            let cut = tensor.narrow(dim, 0, length).and_then(|cut| cut.contiguous());
            cut.map_err(|_error| format!("the shared matrix {:?} is too small", tensor.dims()))
        };
        let (a, b) = (cut(a, 1, site.in_features)?, cut(b, 0, site.out_features)?);
        let rank = a.dims().first().copied().unwrap_or(0);
        let inner = inner.filter(|inner| inner.dims() == [rank]).ok_or("vera_lambda_d does not fit vera_A")?;
        let trained = Factor::trained(Init::Zeros);
        // Read as an ordinary chain with a trained core and outer scale; the matrices themselves stay as they are.
        let fixed = trained.with_lr_ratio(0.0).without_decay();
        let slots = Slots {
            delta: Delta::Chain(Chain { rank, b: fixed, core: Core::Diagonal(trained), a: fixed }),
            ..Slots::default()
        };
        let b = b.broadcast_mul(&outer.unsqueeze(1).map_err(|error| error.to_string())?);
        let b = b.map_err(|error| error.to_string())?;
        let values = vec![("a", a), ("b", b), ("core", inner.clone())];
        Ok((Reading { slots, values }, vec!["vera_lambda_b", "vera_lambda_d"]))
    }

    fn miss(&self, site: &names::SiteName, block: Option<&Tensor>) -> Result<(Reading, Vec<&'static str>), String> {
        let (rows, cols) = (site.out_features, site.in_features);
        let block = block.ok_or("miss_block is missing")?;
        let trained = Factor::trained(Init::Zeros);
        let turned = |tensor: &Tensor| tensor.t().and_then(|tensor| tensor.contiguous());
        let (slots, values) = match (self.text("init_weights"), block.dims()) {
            ("bat", [groups, size, same]) if size == same && groups * size == rows && cols % size.max(&1) == 0 => {
                let right = Right::RowGroups { size: *size, blocks: trained };
                (Slots { right, delta: Delta::Tile, ..Slots::default() }, vec![("blocks", block.clone())])
            }
            ("", [rank, features]) if *features == rows && *rank > 0 => {
                let a = Factor::of(Source::TiledIdentity);
                let chain = Chain { rank: *rank, b: trained, core: Core::None, a };
                let d = turned(block).map_err(|error| error.to_string())?;
                (Slots { delta: Delta::Chain(chain), ..Slots::default() }, vec![("b", d)])
            }
            (form, dims) => return Err(format!("miss_block {dims:?} of form \"{form}\" does not fit {rows} x {cols}")),
        };
        Ok((Reading { slots, values }, vec!["miss_block"]))
    }

    fn lokr(&self, site: &names::SiteName, scale: f64) -> Result<(Reading, Vec<&'static str>), String> {
        let get = |name: &str| self.loaded.get(&format!("base_model.model.{}.{name}", site.hf));
        let trained = Factor::trained(Init::Zeros);
        let (mut values, mut used) = (Vec::new(), Vec::new());
        let mut side = |whole: &'static str, thin: [&'static str; 2], keys: [&'static str; 3]| {
            if let Some(tensor) = get(whole) {
                values.push((keys[0], tensor.clone()));
                used.push(whole);
                let size = tensor.dims2().map_err(|error| error.to_string())?;
                return Ok((size, KronFactor::Full(trained)));
            }
            let (Some(outer), Some(inner)) = (get(thin[0]), get(thin[1])) else {
                return Err(format!("{whole} is missing, and so are {} and {}", thin[0], thin[1]));
            };
            let ((rows, rank), (same, cols)) = match (outer.dims2(), inner.dims2()) {
                (Ok(outer), Ok(inner)) => (outer, inner),
                _ => return Err(format!("{} is no matrix", thin[0])),
            };
            if rank != same {
                return Err(format!("{} and {} do not fit each other", thin[0], thin[1]));
            }
            values.extend([(keys[1], outer.clone()), (keys[2], inner.clone())]);
            used.extend(thin);
            Ok(((rows, cols), KronFactor::Product { rank, outer: trained, inner: trained }))
        };
        let (u_size, u) = side("lokr_w1", ["lokr_w1_a", "lokr_w1_b"], ["u", "u_b", "u_a"])?;
        let (v_size, v) = side("lokr_w2", ["lokr_w2_a", "lokr_w2_b"], ["v", "v_b", "v_a"])?;
        if (u_size.0 * v_size.0, u_size.1 * v_size.1) != (site.out_features, site.in_features) {
            return Err(format!("{u_size:?} times {v_size:?} is not {} x {}", site.out_features, site.in_features));
        }
        let decompose_factor = self.config.get("decompose_factor").and_then(Value::as_i64).unwrap_or(-1);
        let decompose_factor = i32::try_from(decompose_factor).unwrap_or(-1);
        let kron = Kron { terms: 1, u_size, v_size, u, v, decompose_factor };
        let slots = Slots { delta: Delta::Kron(kron), scale: Scale::Fixed(scale), ..Slots::default() };
        Ok((Reading { slots, values }, used))
    }
}
