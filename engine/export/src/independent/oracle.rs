//! The independent graph: candle-transformers' llama, dense or on GGUF blocks. It answers for the last token of what it
//! is fed alone, so that windows are fed one token at a time, several windows side by side.

use crate::error::{ExportError, Result};
use crate::independent::files::Tensors;
use candle_core::quantized::gguf_file;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config as LlamaConfig, Llama, Llama3RopeConfig, Llama3RopeType};
use candle_transformers::models::quantized_llama::ModelWeights;
use std::collections::HashMap;
use std::path::Path;

/// A configuration as read by the independent reader.
#[derive(Debug, Clone)]
pub struct Config {
    /// Width.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Vocabulary entries.
    pub vocab_size: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Epsilon of the norms.
    pub rms_eps: f64,
    /// Rotary base.
    pub rope_theta: f64,
    /// Rotary scaling of the llama-3 kind: factor, low, high, original context.
    pub llama3: Option<(f64, f64, f64, usize)>,
    /// Longest context.
    pub context: usize,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// What this graph cannot run, in words; empty when it can.
    pub obstacles: Vec<String>,
}

impl Config {
    fn into_candle(self) -> LlamaConfig {
        LlamaConfig {
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            vocab_size: self.vocab_size,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.kv_heads,
            use_flash_attn: false,
            rms_norm_eps: self.rms_eps,
            rope_theta: self.rope_theta as f32,
            bos_token_id: None,
            eos_token_id: None,
            rope_scaling: self.llama3.map(|(factor, low, high, original)| Llama3RopeConfig {
                factor: factor as f32,
                low_freq_factor: low as f32,
                high_freq_factor: high as f32,
                original_max_position_embeddings: original,
                rope_type: Llama3RopeType::Llama3,
            }),
            max_position_embeddings: self.context,
            tie_word_embeddings: self.tied,
        }
    }
}

/// A model in the independent graph, f32 on the processor.
pub struct Oracle {
    llama: Llama,
    config: LlamaConfig,
}

impl Oracle {
    /// Builds the graph from named tensors in the layout of a Hugging Face folder.
    ///
    /// # Errors
    /// Missing or misshapen tensors, named by the independent loader.
    pub fn new(tensors: Tensors, config: Config) -> Result<Self> {
        let config = config.into_candle();
        let map: HashMap<String, Tensor> = tensors.into_iter().collect();
        let builder = VarBuilder::from_tensors(map, DType::F32, &Device::Cpu);
        let llama = Llama::load(builder, &config)?;
        Ok(Self { llama, config })
    }

    /// Logits (vocabulary) after each token of each of `windows`, which are equally long.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn logits(&self, windows: &[&[u32]]) -> Result<Vec<Vec<Vec<f32>>>> {
        let mut cache = Cache::new(true, DType::F32, &self.config, &Device::Cpu)?;
        let width = windows.iter().map(|window| window.len()).min().unwrap_or(0);
        let mut logits = vec![Vec::with_capacity(width); windows.len()];
        for position in 0..width {
            let column: Vec<u32> = windows.iter().filter_map(|window| window.get(position).copied()).collect();
            let input = Tensor::new(column.as_slice(), &Device::Cpu)?.unsqueeze(1)?;
            let answers = self.llama.forward(&input, position, &mut cache)?.to_vec2()?;
            logits.iter_mut().zip(answers).for_each(|(window, answer)| window.push(answer));
        }
        Ok(logits)
    }

    /// The greedy continuation of `prompt`, at most `count` tokens.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn greedy(&self, prompt: &[u32], count: usize) -> Result<Vec<u32>> {
        let mut cache = Cache::new(true, DType::F32, &self.config, &Device::Cpu)?;
        let mut answer: Vec<u32> = Vec::new();
        let (mut input, mut position) = (prompt.to_vec(), 0);
        while answer.len() < count && !input.is_empty() {
            let tensor = Tensor::new(input.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            let logits: Vec<f32> = self.llama.forward(&tensor, position, &mut cache)?.flatten_all()?.to_vec1()?;
            position += input.len();
            let token = best(&logits);
            answer.push(token);
            input = vec![token];
        }
        Ok(answer)
    }
}

/// A GGUF file run on its own blocks, as a chat program would.
pub struct QuantisedOracle(ModelWeights);

impl QuantisedOracle {
    /// Opens a GGUF file.
    ///
    /// # Errors
    /// What the independent reader or graph refuses.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |error: candle_core::Error| ExportError::ReadBack {
            path: path.to_path_buf(),
            what: error.to_string().lines().next().unwrap_or_default().to_owned(),
        };
        let mut file = std::fs::File::open(path).map_err(ExportError::io(path))?;
        let content = gguf_file::Content::read(&mut file).map_err(fail)?;
        Ok(Self(ModelWeights::from_gguf(content, &mut file, &Device::Cpu).map_err(fail)?))
    }

    /// The greedy continuation of `prompt`, at most `count` tokens.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn greedy(&mut self, prompt: &[u32], count: usize) -> Result<Vec<u32>> {
        self.0.clear_kv_cache();
        let mut answer: Vec<u32> = Vec::new();
        let mut input = prompt.to_vec();
        let mut position = 0;
        while answer.len() < count && !input.is_empty() {
            let tensor = Tensor::new(input.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            let logits: Vec<f32> = self.0.forward(&tensor, position)?.flatten_all()?.to_vec1()?;
            position += input.len();
            let token = best(&logits);
            answer.push(token);
            input = vec![token];
        }
        Ok(answer)
    }
}

/// Index of the largest logit; the first of equals.
fn best(logits: &[f32]) -> u32 {
    let mut index = 0;
    let mut largest = f32::NEG_INFINITY;
    for (candidate, value) in logits.iter().enumerate() {
        if *value > largest {
            largest = *value;
            index = candidate;
        }
    }
    index as u32
}
