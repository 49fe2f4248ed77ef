//! PEFT adapters over the tensors of their base, by PEFT's own formulas in f64: the second opinion on adapter folders.
//! Shares no code with the writer.

use crate::error::{ExportError, Result};
use crate::independent::files::{Tensors, first_line, json, read_back};
use candle_core::{DType, Device, Tensor};
use serde_json::Value as Json;
use std::path::Path;

/// What an adapter makes of its base.
pub struct Adapted {
    /// The changed tensors, with all others.
    pub tensors: Tensors,
    /// Why the independent graph cannot run them, if so.
    pub obstacles: Vec<String>,
}

/// An adapter folder on its way into a base.
struct Folder<'a> {
    path: &'a Path,
    config: Json,
    loaded: Tensors,
}

/// Adds a PEFT adapter to the tensors of its base; scales from the configuration alone.
///
/// # Errors
/// A damaged adapter, one that does not fit, or a type that is not known here.
pub fn adapter_over(base: Tensors, adapter: &Path) -> Result<Adapted> {
    let config = json(&adapter.join("adapter_config.json"))?;
    let file = adapter.join("adapter_model.safetensors");
    let loaded =
        candle_core::safetensors::load(&file, &Device::Cpu).map_err(|error| read_back(&file, first_line(&error)))?;
    let wide = loaded.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(DType::F64)?)));
    let wide = wide.collect::<Result<Tensors>>()?;
    let folder = Folder { path: &file, config, loaded: wide };
    let kind = folder.text("peft_type").to_owned();
    let mut adapted = Adapted { tensors: base, obstacles: Vec::new() };
    match kind.as_str() {
        "LORA" => folder.lora(&mut adapted)?,
        "ADALORA" => folder.adalora(&mut adapted)?,
        "IA3" => folder.ia3(&mut adapted)?,
        "BEFT" => folder.beft(&mut adapted)?,
        "VERA" => folder.vera(&mut adapted)?,
        "LOHA" => folder.loha(&mut adapted)?,
        "LOKR" => folder.lokr(&mut adapted)?,
        "MISS" => folder.miss(&mut adapted)?,
        "LN_TUNING" => folder.norms(&mut adapted)?,
        // Nothing that weights could hold.
        "PREFIX_TUNING" | "PROMPT_TUNING" => {
            adapted.obstacles.push(format!("the independent graph has no place for {kind}"));
        }
        other => return Err(read_back(&file, format!("the independent reader does not know {other}"))),
    }
    Ok(adapted)
}

impl Folder<'_> {
    fn text(&self, key: &str) -> &str {
        self.config.get(key).and_then(Json::as_str).unwrap_or_default()
    }

    fn flag(&self, key: &str) -> bool {
        self.config.get(key).and_then(Json::as_bool).unwrap_or(false)
    }

    fn broken(&self, what: String) -> ExportError {
        read_back(self.path, what)
    }

    /// Tensors whose name ends so, by module path.
    fn ending(&self, ending: &str) -> Vec<(&str, &Tensor)> {
        let named = self
            .loaded
            .iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix("base_model.model.")?.strip_suffix(ending)?, tensor)));
        named.collect()
    }

    /// A tensor of a module.
    fn tensor(&self, module: &str, name: &str) -> Result<&Tensor> {
        let name = format!("base_model.model.{module}.{name}");
        self.loaded.get(&name).ok_or_else(|| self.broken(format!("{name} is missing")))
    }

    /// A number of a module: its own in the table of exceptions, or the one of all.
    fn number(&self, key: &str, pattern: &str, module: &str) -> Result<f64> {
        let own = self.config.get(pattern).and_then(Json::as_object).and_then(|patterns| {
            patterns.iter().find(|(name, _)| name.replace('\\', "") == module).and_then(|(_, value)| value.as_f64())
        });
        own.or_else(|| self.config.get(key).and_then(Json::as_f64))
            .ok_or_else(|| self.broken(format!("{key} is missing from the configuration")))
    }

    /// The weight of a module, f64.
    fn weight(&self, adapted: &Adapted, module: &str) -> Result<Tensor> {
        let name = format!("{module}.weight");
        let weight = adapted.tensors.get(&name).ok_or_else(|| self.broken(format!("the base has no {name}")))?;
        Ok(weight.to_dtype(DType::F64)?)
    }

    fn lora(&self, adapted: &mut Adapted) -> Result<()> {
        for (module, a) in self.ending(".lora_A.weight") {
            let b = self.tensor(module, "lora_B.weight")?;
            let rank = a.dim(0)? as f64;
            let alpha = self.number("lora_alpha", "alpha_pattern", module)?;
            let scale = if self.flag("use_rslora") { alpha / rank.sqrt() } else { alpha / rank };
            let mut changed = (self.weight(adapted, module)? + b.matmul(a)?.affine(scale, 0.0)?)?;
            if self.flag("use_dora") {
                let magnitude = self.tensor(module, "lora_magnitude_vector")?;
                let norm = changed.sqr()?.sum_keepdim(1)?.sqrt()?;
                changed = changed.broadcast_mul(&magnitude.unsqueeze(1)?.broadcast_div(&norm)?)?;
            }
            adapted.put(module, "weight", &changed)?;
            if self.flag("lora_bias") {
                adapted.shift(module, &self.tensor(module, "lora_B.bias")?.affine(scale, 0.0)?)?;
            }
        }
        Ok(())
    }

    fn adalora(&self, adapted: &mut Adapted) -> Result<()> {
        for (module, strengths) in self.ending(".lora_E") {
            let (a, b) = (self.tensor(module, "lora_A")?, self.tensor(module, "lora_B")?);
            let divisor = self.number("init_r", "", module)? + 1e-5;
            let scale = self.number("lora_alpha", "", module)? / divisor;
            let change = b.matmul(&a.broadcast_mul(strengths)?)?.affine(scale, 0.0)?;
            adapted.put(module, "weight", &(self.weight(adapted, module)? + change)?)?;
        }
        Ok(())
    }

    fn ia3(&self, adapted: &mut Adapted) -> Result<()> {
        for (module, scale) in self.ending(".ia3_l") {
            let changed = self.weight(adapted, module)?.broadcast_mul(scale)?;
            adapted.put(module, "weight", &changed)?;
            let bias = adapted.tensors.get(&format!("{module}.bias")).cloned();
            if let (Some(bias), 1) = (bias, scale.dim(1)?) {
                adapted.put(module, "bias", &(bias.to_dtype(DType::F64)? * scale.squeeze(1)?)?)?;
            }
        }
        Ok(())
    }

    fn beft(&self, adapted: &mut Adapted) -> Result<()> {
        for (module, shift) in self.ending(".beft_bias") {
            adapted.shift(module, &shift.squeeze(0)?)?;
        }
        Ok(())
    }

    fn vera(&self, adapted: &mut Adapted) -> Result<()> {
        let shared = |name: &str| {
            let name = format!("base_model.{name}");
            self.loaded.get(&name).ok_or_else(|| self.broken(format!("{name} is missing")))
        };
        let (a, b) = (shared("vera_A")?, shared("vera_B")?);
        for (module, outer) in self.ending(".vera_lambda_b") {
            let weight = self.weight(adapted, module)?;
            let (rows, cols) = weight.dims2()?;
            let inner = self.tensor(module, "vera_lambda_d")?.unsqueeze(1)?;
            let a = a.narrow(1, 0, cols)?.broadcast_mul(&inner)?;
            let b = b.narrow(0, 0, rows)?.broadcast_mul(&outer.unsqueeze(1)?)?;
            adapted.put(module, "weight", &(weight + b.contiguous()?.matmul(&a.contiguous()?)?)?)?;
        }
        Ok(())
    }

    /// `alpha / r` of a module.
    fn scale(&self, module: &str) -> Result<f64> {
        Ok(self.number("alpha", "alpha_pattern", module)? / self.number("r", "rank_pattern", module)?)
    }

    fn loha(&self, adapted: &mut Adapted) -> Result<()> {
        for (module, outer) in self.ending(".hada_w1_a") {
            let first = outer.matmul(self.tensor(module, "hada_w1_b")?)?;
            let second = self.tensor(module, "hada_w2_a")?.matmul(self.tensor(module, "hada_w2_b")?)?;
            let change = (first * second)?.affine(self.scale(module)?, 0.0)?;
            adapted.put(module, "weight", &(self.weight(adapted, module)? + change)?)?;
        }
        Ok(())
    }

    fn lokr(&self, adapted: &mut Adapted) -> Result<()> {
        let modules = self.ending(".lokr_w1").into_iter().chain(self.ending(".lokr_w1_a")).map(|(module, _)| module);
        for module in modules {
            let side = |number: usize| -> Result<Tensor> {
                let name = format!("lokr_w{number}");
                if let Ok(whole) = self.tensor(module, &name) {
                    return Ok(whole.clone());
                }
                let (outer, inner) = (format!("{name}_a"), format!("{name}_b"));
                Ok(self.tensor(module, &outer)?.matmul(self.tensor(module, &inner)?)?)
            };
            let (u, v) = (side(1)?, side(2)?);
            let ((a, c), (b, d)) = (u.dims2()?, v.dims2()?);
            let left = u.reshape((a, 1, c, 1))?.broadcast_as((a, b, c, d))?;
            let change = (left * v.reshape((1, b, 1, d))?.broadcast_as((a, b, c, d))?)?.reshape((a * b, c * d))?;
            let change = change.affine(self.scale(module)?, 0.0)?;
            adapted.put(module, "weight", &(self.weight(adapted, module)? + change)?)?;
        }
        Ok(())
    }

    fn miss(&self, adapted: &mut Adapted) -> Result<()> {
        let form = self.text("init_weights");
        if !matches!(form, "" | "bat") {
            return Err(self.broken(format!("the independent reader does not know MISS of the form {form}")));
        }
        for (module, block) in self.ending(".miss_block") {
            let weight = self.weight(adapted, module)?;
            let (rows, cols) = weight.dims2()?;
            let changed = if form == "bat" {
                let size = block.dim(1)?;
                let mut groups = Vec::new();
                for group in 0..rows / size {
                    let (own, added) = (weight.narrow(0, group * size, size)?, block.get(group)?);
                    let mut pieces = Vec::new();
                    for piece in 0..cols / size {
                        let piece = own.narrow(1, piece * size, size)?.contiguous()?;
                        pieces.push(((&piece + piece.matmul(&added)?)? + &added)?);
                    }
                    groups.push(Tensor::cat(&pieces, 1)?);
                }
                Tensor::cat(&groups, 0)?
            } else {
                let tiles = vec![block.t()?.contiguous()?; cols.div_ceil(block.dim(0)?)];
                (weight + Tensor::cat(&tiles, 1)?.narrow(1, 0, cols)?)?
            };
            adapted.put(module, "weight", &changed)?;
        }
        Ok(())
    }

    fn norms(&self, adapted: &mut Adapted) -> Result<()> {
        for (module, weight) in self.ending(".ln_tuning_layers.weight") {
            self.weight(adapted, module)?;
            adapted.put(module, "weight", weight)?;
        }
        Ok(())
    }
}

impl Adapted {
    /// Adds to a bias, which the independent graph does not have.
    fn shift(&mut self, module: &str, change: &Tensor) -> Result<()> {
        let bias = match self.tensors.get(&format!("{module}.bias")) {
            Some(bias) => (bias.to_dtype(DType::F64)? + change)?,
            None => change.clone(),
        };
        self.put(module, "bias", &bias)?;
        let obstacle = "the independent graph has no biases";
        if !self.obstacles.iter().any(|known| known == obstacle) {
            self.obstacles.push(obstacle.to_owned());
        }
        Ok(())
    }

    fn put(&mut self, module: &str, name: &str, tensor: &Tensor) -> Result<()> {
        self.tensors.insert(format!("{module}.{name}"), tensor.to_dtype(DType::F32)?);
        Ok(())
    }
}
