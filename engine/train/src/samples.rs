//! Answers to the project's sample prompts while training.

use crate::error::Result;
use crate::watch::Watch;
use std::ops::ControlFlow;
use temper_data::TextCodec;
use temper_models::{Limits, Model, Sampling, generate};
use temper_protocol::Event;
use temper_protocol::project::Samples;

/// Sample prompts as token ids.
pub struct Prompts {
    prompts: Vec<(String, Vec<u32>)>,
    limits: Limits,
}

impl Prompts {
    /// Encodes the prompts; with `chat` they go through the chat template. Prompts that leave no room for an
    /// answer in the model's context are left out with a warning.
    ///
    /// # Errors
    /// A prompt that the tokenizer or the template refuses.
    pub fn new(samples: &Samples, codec: &TextCodec, chat: bool, context: usize, watch: &Watch<'_>) -> Result<Self> {
        let mut prompts = Vec::new();
        for prompt in &samples.prompts {
            let ids = codec.encode_prompt(prompt, chat)?;
            if ids.is_empty() || ids.len() >= context {
                let text = format!("a sample prompt of {} tokens does not fit the model: {prompt}", ids.len());
                watch.warn("sample_prompt", text);
                continue;
            }
            prompts.push((prompt.clone(), ids));
        }
        let limits = Limits { max_tokens: samples.max_tokens, stop: codec.special().stop.clone() };
        Ok(Self { prompts, limits })
    }

    /// Answers every prompt greedily and says the answers as of `step`.
    ///
    /// # Errors
    /// A stop or cancel; a model whose logits are not finite.
    pub fn answer(&self, model: &Model, codec: &TextCodec, step: u64, watch: &Watch<'_>) -> Result<()> {
        for (prompt, ids) in &self.prompts {
            watch.check()?;
            let mut on_token = |_| if watch.is_ending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let answer = generate(model, ids, &self.limits, Sampling::GREEDY, &mut on_token)?;
            watch.check()?;
            let text = codec.decode(&answer.tokens, true)?;
            watch.say(Event::Sample { step, prompt: prompt.clone(), text });
        }
        Ok(())
    }

    /// Whether there is nothing to answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }
}
