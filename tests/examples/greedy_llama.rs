//! Greedy answers of a GGUF file through candle-transformers' quantised llama, a program that knows nothing of ours.
//!
//! `greedy_llama MODEL.gguf TOKENIZER.json PROMPTS.json COUNT` reads a JSON list of prompts and prints one JSON line for
//! each: the answer's tokens and text, and the smallest gap between its two best logits at any step. Used by
//! `tests/tools/e2e_model.py` against `temper generate`.

use anyhow::{Context as _, anyhow, bail};
use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::ModelWeights;
use std::io::Write as _;
use std::path::Path;
use tokenizers::Tokenizer;

/// The best token and how far its logit is above the second best.
fn best(logits: &[f32]) -> (u32, f32) {
    let (mut token, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (candidate, value) in (0_u32..).zip(logits) {
        if *value > first {
            (token, second, first) = (candidate, first, *value);
        } else if *value > second {
            second = *value;
        }
    }
    (token, first - second)
}

fn open(path: &Path) -> anyhow::Result<ModelWeights> {
    let mut file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let content = gguf_file::Content::read(&mut file)?;
    Ok(ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokenizer, prompts, count] = arguments.as_slice() else {
        bail!("usage: greedy_llama MODEL.gguf TOKENIZER.json PROMPTS.json COUNT");
    };
    let mut model = open(Path::new(model))?;
    let tokenizer = Tokenizer::from_file(tokenizer).map_err(|error| anyhow!("{tokenizer}: {error}"))?;
    let prompts: Vec<String> = serde_json::from_reader(std::fs::File::open(prompts)?)?;
    let count: usize = count.parse()?;
    for prompt in prompts {
        model.clear_kv_cache();
        let encoded = tokenizer.encode(prompt.as_str(), false).map_err(|error| anyhow!("{prompt}: {error}"))?;
        let (mut input, mut answer, mut position, mut margin) =
            (encoded.get_ids().to_vec(), Vec::new(), 0, f32::INFINITY);
        while answer.len() < count {
            let tensor = Tensor::new(input.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
            let logits: Vec<f32> = model.forward(&tensor, position)?.flatten_all()?.to_vec1()?;
            let (token, gap) = best(&logits);
            position += input.len();
            margin = margin.min(gap);
            answer.push(token);
            input = vec![token];
        }
        let text = tokenizer.decode(&answer, true).map_err(|error| anyhow!("{prompt}: {error}"))?;
        let line = serde_json::json!({ "prompt": prompt, "tokens": answer, "text": text, "margin": margin });
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}
