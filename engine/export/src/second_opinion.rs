//! Who answers for the written files: the independent graph where it can run them, else a fresh reading
//! of the files through our own graph, which is then said.

use crate::beneath::{self, Beneath};
use crate::error::Result;
use crate::independent::{self, Config, Oracle, QuantisedOracle, Tensors};
use crate::measure::compare_case;
use crate::{insertions, mlx, read_peft};
use candle_core::{DType, Tensor};
use std::path::Path;
use temper_models::{BaseKind, Model};

/// A reader of written files that answers with logits.
pub struct SecondOpinion {
    reader: Reader,
    /// A GGUF file as a chat program would run it; continues prompts on its own blocks.
    chat: Option<QuantisedOracle>,
    notes: Vec<String>,
}

enum Reader {
    Independent(Box<Oracle>),
    Own(Box<Model>),
}

impl SecondOpinion {
    /// Over a merged Hugging Face folder.
    ///
    /// # Errors
    /// Files that cannot be read back.
    pub fn hf(folder: &Path) -> Result<Self> {
        let config = independent::read_hf_config(folder)?;
        let tensors = independent::read_hf(folder)?;
        Self::choose(tensors, config, || Ok(Model::load(folder, BaseKind::Auto, &mut |_, _, _| {})?))
    }

    /// Over a merged GGUF file. With `on_blocks`, prompts are continued on the file's own blocks.
    ///
    /// # Errors
    /// Files that cannot be read back.
    pub fn gguf(file: &Path, on_blocks: bool) -> Result<Self> {
        let (tensors, config) = independent::read_gguf(file)?;
        // on blocks candle-transformers has llama alone right
        let runnable = config.obstacles.is_empty() && config.gemma.is_none();
        let mut opinion = Self::choose(tensors, config, || Ok(Model::load(file, BaseKind::Auto, &mut |_, _, _| {})?))?;
        if runnable && on_blocks {
            opinion.chat = Some(QuantisedOracle::open(file)?);
        }
        Ok(opinion)
    }

    /// Over a PEFT adapter beside its base, a folder or a GGUF file, with what lies frozen `beneath` it.
    ///
    /// # Errors
    /// Files that cannot be read back.
    pub fn peft(base: &Path, adapter: &Path, beneath: &[Beneath]) -> Result<Self> {
        let (tensors, mut config) = read_base(base)?;
        let tensors = with_beneath(tensors, &mut config, beneath)?;
        let adapted = independent::adapter_over(tensors, adapter)?;
        config.obstacles.extend(adapted.obstacles);
        Self::choose(adapted.tensors, config, || {
            let mut model = Model::load(base, BaseKind::Auto, &mut |_, _, _| {})?;
            beneath::lay(&mut model, beneath)?;
            read_peft::attach(&mut model, adapter)?;
            Ok(model)
        })
    }

    /// Over an MLX adapter beside its base, a folder or a GGUF file, with what lies frozen `beneath` it.
    ///
    /// # Errors
    /// Files that cannot be read back.
    pub fn mlx(base: &Path, adapter: &Path, beneath: &[Beneath]) -> Result<Self> {
        let (tensors, mut config) = read_base(base)?;
        let tensors = with_beneath(tensors, &mut config, beneath)?;
        let adapted = independent::mlx_over(tensors, adapter)?;
        config.obstacles.extend(adapted.obstacles);
        Self::choose(adapted.tensors, config, || {
            let mut model = Model::load(base, BaseKind::Auto, &mut |_, _, _| {})?;
            beneath::lay(&mut model, beneath)?;
            mlx::attach(&mut model, adapter)?;
            Ok(model)
        })
    }

    /// Over a native adapter folder beside its base: no other program reads it, so a fresh reading through our own graph
    /// answers.
    ///
    /// # Errors
    /// Files that cannot be read back.
    pub fn native(base: &Path, adapter: &Path, beneath: &[Beneath]) -> Result<Self> {
        let mut model = Model::load(base, BaseKind::Auto, &mut |_, _, _| {})?;
        beneath::lay(&mut model, beneath)?;
        insertions::attach_native(&mut model, adapter)?;
        let note = "checked by a fresh reading through Temper's own graph: no other program reads this format";
        Ok(Self { reader: Reader::Own(Box::new(model)), chat: None, notes: vec![note.to_owned()] })
    }

    /// Over a GGUF adapter beside its GGUF base.
    ///
    /// # Errors
    /// Files that cannot be read back, or a base that the independent graph cannot run.
    pub fn gguf_lora(base: &Path, adapter: &Path, beneath: &[Beneath]) -> Result<Self> {
        let (mut tensors, mut config) = independent::gguf_lora_over(base, adapter)?;
        if !beneath.is_empty() {
            // The adapter is a sum to what lies beneath it.
            let (bare, _) = independent::read_gguf(base)?;
            let changed = with_beneath(bare.clone(), &mut config, beneath)?;
            for (name, tensor) in changed {
                let (Some(own), Some(bare)) = (tensors.get(&name), bare.get(&name)) else { continue };
                let sum = (tensor + (own - bare)?)?;
                tensors.insert(name, sum);
            }
        }
        let what = config.obstacles.join("; ");
        Self::choose(tensors, config, || Err(crate::ExportError::ReadBack { path: adapter.to_path_buf(), what }))
    }

    fn choose(tensors: Tensors, config: Config, own: impl FnOnce() -> Result<Model>) -> Result<Self> {
        if config.obstacles.is_empty() {
            let oracle = Oracle::new(tensors, config)?;
            return Ok(Self { reader: Reader::Independent(Box::new(oracle)), chat: None, notes: Vec::new() });
        }
        drop(tensors);
        let note = format!("checked by a fresh reading through Temper's own graph: {}", config.obstacles.join("; "));
        Ok(Self { reader: Reader::Own(Box::new(own()?)), chat: None, notes: vec![note] })
    }

    /// Logits after each token of each of `windows`, which are equally long.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn logits(&self, windows: &[&[u32]]) -> Result<Vec<Vec<Vec<f32>>>> {
        match &self.reader {
            Reader::Independent(oracle) => oracle.logits(windows),
            Reader::Own(model) => windows.iter().map(|tokens| compare_case::trained_logits(model, tokens)).collect(),
        }
    }

    /// The greedy continuation.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn greedy(&mut self, prompt: &[u32], count: usize) -> Result<Vec<u32>> {
        match (&mut self.chat, &self.reader) {
            (Some(chat), _) => chat.greedy(prompt, count),
            (None, Reader::Independent(oracle)) => oracle.greedy(prompt, count),
            (None, Reader::Own(model)) => compare_case::greedy(model, prompt, count),
        }
    }

    /// What the reader of the certificate should know.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// The tensors of a base by the independent readers, with its configuration.
fn read_base(base: &Path) -> Result<(Tensors, Config)> {
    if is_gguf(base) {
        return independent::read_gguf(base);
    }
    Ok((independent::read_hf(base)?, independent::read_hf_config(base)?))
}

/// The tensors of a base with adapters merged into them, the first one first.
fn with_beneath(mut tensors: Tensors, config: &mut Config, beneath: &[Beneath]) -> Result<Tensors> {
    for adapter in beneath {
        if insertions::is_native(&adapter.folder) {
            config.obstacles.push(format!("no other program reads {}, which lies beneath it", adapter.name));
            continue;
        }
        let before = tensors.clone();
        let adapted = independent::adapter_over(tensors, &adapter.folder)?;
        config.obstacles.extend(adapted.obstacles);
        tensors = adapted.tensors;
        if adapter.weight == 1.0 {
            continue;
        }
        for (name, after) in &mut tensors {
            let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
            let before = match before.get(name) {
                Some(before) if before.id() == after.id() => continue,
                Some(before) => wide(before)?,
                None => wide(&after.zeros_like()?)?,
            };
            let change = (wide(after)? - &before)?.affine(adapter.weight, 0.0)?;
            *after = (before + change)?.to_dtype(DType::F32)?;
        }
    }
    Ok(tensors)
}
