//! Answers to the project's sample prompts while training.

use crate::driver::Tokens;
use crate::error::Result;
use crate::start::Start;
use crate::watch::Watch;
use std::ops::ControlFlow;
use temper_data::TextCodec;
use temper_models::{Limits, Model, Sampling, generate};
use temper_nn::ForwardContext;
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

    /// Answers every prompt greedily and says the answers as of `step`; those of the start may be remembered by `start`.
    ///
    /// # Errors
    /// A stop or cancel; a model whose logits are not finite.
    pub fn answer(
        &self,
        model: &Model,
        codec: &TextCodec,
        step: u64,
        start: Option<&Start>,
        watch: &Watch<'_>,
    ) -> Result<()> {
        for (prompt, ids) in &self.prompts {
            watch.check()?;
            let answer = || self.tokens(model, ids, watch);
            let tokens = match start {
                Some(start) => start.known(&self.key(start, ids), answer)?,
                None => answer()?,
            };
            let text = codec.decode(&tokens, true)?;
            watch.say(Event::Sample { step, prompt: prompt.clone(), text });
        }
        Ok(())
    }

    /// The greedy answer to a prompt.
    fn tokens(&self, model: &Model, ids: &[u32], watch: &Watch<'_>) -> Result<Vec<u32>> {
        let mut on_token = |_| if watch.is_ending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let answer = generate(model, ids, &self.limits, Sampling::GREEDY, &mut on_token)?;
        // An answer that was broken off is none.
        watch.check()?;
        Ok(answer.tokens)
    }

    fn key(&self, start: &Start, ids: &[u32]) -> String {
        let ctx = ForwardContext::plain(1, ids.len());
        let prompt = Tokens { ids: ids.into(), targets: [].into(), ctx, examples: [].into() };
        let Limits { max_tokens, stop } = &self.limits;
        start.key(&format!("answer of at most {max_tokens} tokens up to {stop:?}"), [&prompt])
    }

    /// Whether there is nothing to answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }
}
