//! The independent graphs: candle-transformers' llama, dense or on GGUF blocks, and its Gemma 3, dense. They answer for the
//! last token of what they are fed alone, so that windows are fed one token at a time, several windows side by side.
//!
//! Its Gemma 3 on GGUF blocks is left out: version 0.11 gates with SiLU there, which is another function.

use crate::error::{ExportError, Result};
use crate::independent::files::Tensors;
use candle_core::quantized::gguf_file;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::gemma3;
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
    /// What a Gemma 3 has beside this; none for a llama.
    pub gemma: Option<Gemma>,
    /// What this graph cannot run, in words; empty when it can.
    pub obstacles: Vec<String>,
}

/// Settings of Gemma 3 that llama has not.
#[derive(Debug, Clone)]
pub struct Gemma {
    /// Width of a head.
    pub head_dim: usize,
    /// Positions that most layers see.
    pub window: usize,
    /// Every how-manyth layer sees everything.
    pub period: usize,
    /// Rotary base of the other layers.
    pub local_theta: f64,
}

impl Gemma {
    fn into_candle(self, config: &Config) -> gemma3::Config {
        gemma3::Config {
            attention_bias: false,
            head_dim: self.head_dim,
            hidden_activation: Activation::GeluPytorchTanh,
            hidden_size: config.hidden_size,
            intermediate_size: config.intermediate_size,
            num_attention_heads: config.heads,
            num_hidden_layers: config.layers,
            num_key_value_heads: config.kv_heads,
            rms_norm_eps: config.rms_eps,
            rope_theta: config.rope_theta,
            rope_local_base_freq: self.local_theta,
            vocab_size: config.vocab_size,
            final_logit_softcapping: None,
            attn_logit_softcapping: None,
            query_pre_attn_scalar: self.head_dim,
            sliding_window: self.window,
            sliding_window_pattern: self.period,
            // it makes tables of this length for every layer; what is compared is far shorter
            max_position_embeddings: config.context.min(LONGEST_GEMMA_TEXT),
        }
    }
}

/// Tokens that the independent Gemma 3 has tables for.
const LONGEST_GEMMA_TEXT: usize = 4096;

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
pub struct Oracle(Graph);

enum Graph {
    Llama { llama: Box<Llama>, config: LlamaConfig },
    Gemma { model: Box<gemma3::Model>, window: usize },
}

/// A graph with what it remembers of the tokens so far.
enum Session<'a> {
    Llama { llama: &'a Llama, cache: Box<Cache> },
    Gemma(Box<gemma3::Model>),
}

impl Session<'_> {
    /// Logits (texts, vocabulary) after the last of `tokens` (texts, tokens), which begin at `position`.
    fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor> {
        Ok(match self {
            Self::Llama { llama, cache } => llama.forward(tokens, position, cache)?,
            Self::Gemma(model) => model.forward(tokens, position)?.squeeze(1)?,
        })
    }
}

impl Oracle {
    /// Builds the graph from named tensors in the layout of a Hugging Face folder.
    ///
    /// # Errors
    /// Missing or misshapen tensors, named by the independent loader.
    pub fn new(tensors: Tensors, config: Config) -> Result<Self> {
        let gemma = config.gemma.clone();
        let map: HashMap<String, Tensor> = tensors.into_iter().collect();
        let builder = VarBuilder::from_tensors(map, DType::F32, &Device::Cpu);
        Ok(Self(match gemma {
            None => {
                let config = config.into_candle();
                Graph::Llama { llama: Box::new(Llama::load(builder, &config)?), config }
            }
            Some(gemma) => {
                let window = gemma.window;
                let model = gemma3::Model::new(false, &gemma.into_candle(&config), builder)?;
                Graph::Gemma { model: Box::new(model), window }
            }
        }))
    }

    fn session(&self) -> Result<Session<'_>> {
        Ok(match &self.0 {
            Graph::Llama { llama, config } => {
                Session::Llama { llama, cache: Box::new(Cache::new(true, DType::F32, config, &Device::Cpu)?) }
            }
            Graph::Gemma { model, .. } => Session::Gemma(model.clone()),
        })
    }

    /// How many tokens may be fed at once: within a window, where its masks are right.
    fn most_at_once(&self) -> usize {
        match &self.0 {
            Graph::Llama { .. } => usize::MAX,
            Graph::Gemma { window, .. } => *window,
        }
    }

    /// Logits (vocabulary) after each token of each of `windows`, which are equally long.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn logits(&self, windows: &[&[u32]]) -> Result<Vec<Vec<Vec<f32>>>> {
        let mut session = self.session()?;
        let width = windows.iter().map(|window| window.len()).min().unwrap_or(0);
        let mut logits = vec![Vec::with_capacity(width); windows.len()];
        for position in 0..width {
            let column: Vec<u32> = windows.iter().filter_map(|window| window.get(position).copied()).collect();
            let input = Tensor::new(column.as_slice(), &Device::Cpu)?.unsqueeze(1)?;
            let answers = session.forward(&input, position)?.to_vec2()?;
            logits.iter_mut().zip(answers).for_each(|(window, answer)| window.push(answer));
        }
        Ok(logits)
    }

    /// The greedy continuation of `prompt`, at most `count` tokens.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn greedy(&self, prompt: &[u32], count: usize) -> Result<Vec<u32>> {
        let mut session = self.session()?;
        let mut answer: Vec<u32> = Vec::new();
        let (mut position, mut input) = (0, prompt.to_vec());
        if prompt.len() > self.most_at_once() {
            let (before, last) = prompt.split_at(prompt.len() - 1);
            for token in before {
                session.forward(&Tensor::new(&[[*token]], &Device::Cpu)?, position)?;
                position += 1;
            }
            input = last.to_vec();
        }
        while answer.len() < count && !input.is_empty() {
            let tensor = Tensor::new(input.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            let logits: Vec<f32> = session.forward(&tensor, position)?.flatten_all()?.to_vec1()?;
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
