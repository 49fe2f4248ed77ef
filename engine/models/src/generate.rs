//! Continuing a text: keys and values of the tokens so far are kept, so that each new token costs one position.
//!
//! Works with whatever the model is at the moment, adapters and trained weights included, and gives the logits that a
//! full forward pass gives (to rounding).

use crate::stage::StageCache;
use crate::{Model, ModelError, Result};
use std::ops::ControlFlow;
use std::sync::Arc;
use temper_nn::ForwardContext;
use temper_nn::rng::Stream;

/// Longest piece of a prompt that is run at once: bounds the memory of a long prompt.
const PREFILL_TOKENS: usize = 256;

/// A text being continued.
pub struct Generator<'a> {
    model: &'a Model,
    caches: Vec<StageCache>,
    /// The text so far.
    tokens: Vec<u32>,
}

impl<'a> Generator<'a> {
    /// An empty text.
    #[must_use]
    pub fn new(model: &'a Model) -> Self {
        Self { model, caches: vec![StageCache::default(); model.blocks.len()], tokens: Vec::new() }
    }

    /// Tokens so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// Adds tokens to the text; logits (vocabulary) for what follows the last one.
    ///
    /// # Errors
    /// No token, a token outside the vocabulary, or more tokens than the model's context holds.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let config = self.model.config.as_llama();
        let context = config.longest_text();
        if tokens.is_empty() {
            return Err(ModelError::Request("there is no token to continue from".to_owned()));
        }
        let before = self.model.positions_before();
        let total = before + self.tokens.len() + tokens.len();
        if total > context {
            let own = if before == 0 { String::new() } else { format!(", {before} of them the adapter's,") };
            return Err(ModelError::Request(format!(
                "{total} tokens{own} do not fit the model's context of {context}"
            )));
        }
        if config.rope.is_dynamic() && total > config.context {
            return self.run_again(tokens);
        }
        let mut last = None;
        for piece in tokens.chunks(PREFILL_TOKENS) {
            last = Some(self.run(piece)?);
        }
        last.ok_or_else(|| ModelError::Request("there is no token to continue from".to_owned()))
    }

    fn run(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let plain = ForwardContext::plain(1, tokens.len());
        let ids: Arc<[u32]> = tokens.into();
        // A prompt goes in before the first tokens and takes the first positions.
        let (flow, ctx) = if self.tokens.is_empty() {
            let ctx = self.model.inside(&plain).ctx().clone();
            (self.model.embed.forward(&ids, &plain)?, ctx)
        } else {
            let first = self.model.embed.inserts().prompt_length() + self.tokens.len();
            let first = u32::try_from(first).unwrap_or(u32::MAX);
            let positions = (first..).take(tokens.len()).collect();
            (self.model.embed.without_prompt(&ids, &plain)?, ForwardContext { positions, ..plain })
        };
        let mut flow = flow.detach();
        for (block, cache) in self.model.blocks.iter().zip(&mut self.caches) {
            flow = block.forward_cached(flow, &ctx, cache)?;
        }
        self.tokens.extend_from_slice(tokens);
        let last = flow.hidden.narrow(1, ctx.width - 1, 1)?;
        Ok(self.model.head.logits(&last)?.flatten_all()?.to_vec1()?)
    }

    /// The whole text in one pass: beyond the context of a dynamic rotary scaling each token changes the rotation of
    /// all the ones before it, and nothing that was kept is worth keeping.
    fn run_again(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let all: Arc<[u32]> = self.tokens.iter().chain(tokens).copied().collect();
        let hidden = self.model.forward_hidden(&all, &ForwardContext::plain(1, all.len()))?.hidden;
        self.tokens.extend_from_slice(tokens);
        let last = hidden.detach().narrow(1, all.len() - 1, 1)?;
        Ok(self.model.head.logits(&last)?.flatten_all()?.to_vec1()?)
    }
}

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0: the most probable token (of equal ones the lowest). Otherwise logits are divided by it.
    pub temperature: f64,
    /// Only the most probable tokens that together reach this share are drawn from; 1: all.
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Sampling {
    /// The most probable token each time.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, seed: 0 };
}

/// When to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// New tokens at most.
    pub max_tokens: usize,
    /// Tokens that end the text; they are not part of the answer.
    pub stop: Vec<u32>,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The model said so, with this token.
    StopToken(u32),
    /// As many tokens as were asked for.
    MaxTokens,
    /// The model's context is full.
    Context,
    /// The caller wanted no more.
    Cancelled,
}

impl StopReason {
    /// As it is reported: `stop`, `length`, `context`, `cancelled`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StopToken(_) => "stop",
            Self::MaxTokens => "length",
            Self::Context => "context",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A continued text.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// New tokens.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Smallest distance between the two best logits at any step: how firmly the greedy path was taken.
    pub smallest_margin: f32,
}

/// Continues `prompt`. `on_token` hears of every new token and may end the text.
///
/// # Errors
/// An empty prompt, one that does not fit the context, a token outside the vocabulary, or logits that are not finite.
pub fn generate(
    model: &Model,
    prompt: &[u32],
    limits: &Limits,
    sampling: Sampling,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Generated> {
    let mut generator = Generator::new(model);
    let mut stream = Stream::new(sampling.seed, "generate");
    let mut logits = generator.feed(prompt)?;
    let mut done = Generated { tokens: Vec::new(), stop_reason: StopReason::MaxTokens, smallest_margin: f32::INFINITY };
    while done.tokens.len() < limits.max_tokens {
        let (token, margin) = choose(&logits, sampling, &mut stream)?;
        done.smallest_margin = done.smallest_margin.min(margin);
        if limits.stop.contains(&token) {
            done.stop_reason = StopReason::StopToken(token);
            break;
        }
        done.tokens.push(token);
        if on_token(token).is_break() {
            done.stop_reason = StopReason::Cancelled;
            break;
        }
        if done.tokens.len() == limits.max_tokens {
            break;
        }
        if generator.position() + model.positions_before() >= model.config.as_llama().longest_text() {
            done.stop_reason = StopReason::Context;
            break;
        }
        logits = generator.feed(&[token])?;
    }
    Ok(done)
}

/// The next token, and the distance between the two best logits.
fn choose(logits: &[f32], sampling: Sampling, stream: &mut Stream) -> Result<(u32, f32)> {
    let (mut best, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (index, &logit) in logits.iter().enumerate() {
        if !logit.is_finite() {
            return Err(ModelError::Request(format!("the logit of token {index} is {logit}: the model is broken")));
        }
        if logit > first {
            (best, second, first) = (index, first, logit);
        } else if logit > second {
            second = logit;
        }
    }
    let index = if sampling.temperature > 0.0 { draw(logits, first, sampling, stream) } else { best };
    Ok((u32::try_from(index).unwrap_or(u32::MAX), first - second))
}

/// Draws from the softmax of the logits over the temperature, cut at `top_p`.
fn draw(logits: &[f32], largest: f32, sampling: Sampling, stream: &mut Stream) -> usize {
    let weight = |&logit: &f32| (f64::from(logit - largest) / sampling.temperature).exp();
    let mut ranked: Vec<(usize, f64)> = logits.iter().map(weight).enumerate().collect();
    // equal weights keep the order of the tokens, so that a seed means the same everywhere
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let total: f64 = ranked.iter().map(|(_, weight)| weight).sum();
    let mut kept = 0.0;
    let mut count = 0;
    for (_, weight) in &ranked {
        kept += weight;
        count += 1;
        if kept >= sampling.top_p * total {
            break;
        }
    }
    ranked.truncate(count);
    let mut left = stream.uniform() * kept;
    for (index, weight) in &ranked {
        left -= weight;
        if left < 0.0 {
            return *index;
        }
    }
    ranked.last().map_or(0, |(index, _)| *index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_lowest_of_equal_tokens_and_measures_the_margin() {
        let mut stream = Stream::new(1, "test");
        assert_eq!(choose(&[0.5, 2.0, 2.0, 1.0], Sampling::GREEDY, &mut stream).unwrap(), (1, 0.0));
        assert_eq!(choose(&[0.5, 3.0, 1.0], Sampling::GREEDY, &mut stream).unwrap(), (1, 2.0));
        assert!(choose(&[0.5, f32::NAN], Sampling::GREEDY, &mut stream).is_err());
    }

    #[test]
    fn draws_follow_the_probabilities_and_top_p_cuts_the_tail() {
        let logits = [0.6_f32.ln(), 0.3_f32.ln(), 0.1_f32.ln()];
        let count = |top_p| {
            let sampling = Sampling { temperature: 1.0, top_p, seed: 3 };
            let mut stream = Stream::new(3, "test");
            let mut counts = [0; 3];
            for _ in 0..4000 {
                let (token, _) = choose(&logits, sampling, &mut stream).unwrap();
                counts[token as usize] += 1;
            }
            counts
        };
        let all = count(1.0);
        for (found, expected) in all.iter().zip([2400_i32, 1200, 400]) {
            assert!((found - expected).abs() < 150, "{all:?}");
        }
        let most = count(0.8);
        assert_eq!(most[2], 0);
        assert!(most[0] > 2500 && most[1] > 1100, "{most:?}");
        assert_eq!(count(0.0), [4000, 0, 0]);
    }
}
