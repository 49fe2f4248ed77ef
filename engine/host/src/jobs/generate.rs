//! `generate`: a model continues a prompt, word by word.

use super::load::Loaded;
use crate::job::JobContext;
use std::ops::ControlFlow;
use std::time::Instant;
use temper_data::StreamDecoder;
use temper_models::{Limits, Sampling, StopReason};
use temper_protocol::{Code, Event, GenerateLimits, Problem};

/// Checks limits that come from outside.
pub(super) fn check(limits: &GenerateLimits) -> Result<(), Problem> {
    let bad = |what: String, place: &str, action: &str| Err(Problem::new(Code::Usage, what, place, action));
    if limits.max_tokens == 0 {
        return bad("no token is asked for".to_owned(), "--max-tokens", "give at least 1");
    }
    if !limits.temperature.is_finite() || limits.temperature < 0.0 {
        return bad(format!("{} is no temperature", limits.temperature), "--temperature", "give 0 or more");
    }
    if !(limits.top_p > 0.0 && limits.top_p <= 1.0) {
        return bad(
            format!("{} is no share of probability", limits.top_p),
            "--top-p",
            "give more than 0 and at most 1",
        );
    }
    Ok(())
}

/// Answers the prompt.
pub(super) fn generate(
    loaded: &Loaded,
    prompt: &str,
    chat: bool,
    limits: GenerateLimits,
    context: &JobContext,
) -> Result<(), Problem> {
    let Loaded { model, codec, .. } = loaded;
    let source = loaded.name();
    let ids = codec.encode_prompt(prompt, chat)?;
    if ids.is_empty() {
        return Err(Problem::new(Code::Usage, "the prompt is empty", "--prompt", "give at least one word"));
    }
    let room = model.config.context();
    if ids.len() >= room {
        return Err(Problem::new(
            Code::Usage,
            format!("the prompt has {} tokens, the model reads {room} at once", ids.len()),
            "--prompt",
            "give a shorter prompt",
        ));
    }
    let stop = codec.special().stop.clone();
    let sampling = Sampling { temperature: limits.temperature, top_p: limits.top_p, seed: limits.seed };
    let begin = Instant::now();
    let mut decoder = StreamDecoder::new(true);
    let mut text = String::new();
    let mut tokens = 0_u64;
    let mut failed = None;
    let say = |text: &str, tokens: u64, stop_reason: &str| {
        context.emit(Event::Text {
            source: source.clone(),
            text: text.to_owned(),
            tokens,
            stop_reason: stop_reason.to_owned(),
            tokens_per_sec: tokens as f64 / begin.elapsed().as_secs_f64().max(1e-9),
        });
    };
    let done = temper_models::generate(
        model,
        &ids,
        &Limits { max_tokens: limits.max_tokens, stop },
        sampling,
        &mut |token| {
            tokens += 1;
            match decoder.push(codec, token) {
                Ok(piece) => text.push_str(&piece),
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            if context.is_cancelled() {
                return ControlFlow::Break(());
            }
            say(&text, tokens, "");
            ControlFlow::Continue(())
        },
    )?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    text.push_str(&decoder.finish(codec)?);
    // A full context is a length like any other to whoever reads the event.
    let reason = if done.stop_reason == StopReason::Context { "length" } else { done.stop_reason.name() };
    say(&text, tokens, reason);
    Ok(())
}
