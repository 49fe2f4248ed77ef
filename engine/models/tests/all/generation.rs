//! Continuing a text with the cache gives what full passes give.

use crate::insertions::{kinds, put};
use crate::tools::{flat, golden, load, relative};
use std::ops::ControlFlow;
use temper_models::{Generator, Limits, LlamaConfig, Model, Sampling, StopReason, generate};
use temper_nn::ForwardContext;
use temper_nn::slots::{Scale, Slots};

/// Logits of the last of `tokens` by one full pass.
fn full(model: &Model, tokens: &[u32]) -> Vec<f32> {
    let logits = flat(&model.logits(&tokens.into(), &ForwardContext::plain(1, tokens.len())).unwrap());
    logits[logits.len() - model.config.vocab_size()..].to_vec()
}

/// Feeds a prompt, then single tokens, then two at once, and compares every answer.
fn compare(model: &Model, tokens: &[u32], prompt: usize, what: &str) {
    let mut generator = Generator::new(model);
    let mut at = 0;
    let mut piece = prompt;
    while at < tokens.len() {
        let end = (at + piece).min(tokens.len());
        let logits = generator.feed(&tokens[at..end]).unwrap();
        assert_eq!(generator.position(), end);
        let error = relative(&logits, &full(model, &tokens[..end]));
        assert!(error < 1e-4, "{what}: {error:e} after {end} tokens");
        at = end;
        piece = if end.is_multiple_of(5) { 2 } else { 1 };
    }
}

fn some_tokens(count: u32, vocabulary: u32) -> Vec<u32> {
    (0..count).map(|i| (i * i * 7 + i * 3 + 1) % vocabulary).collect()
}

#[test]
fn the_cache_gives_the_logits_of_full_passes() {
    for case in ["gqa_untied", "head_dim", "bias", "rope_yarn", "rope_llama3"] {
        compare(&load(&golden(case)).unwrap(), &some_tokens(30, 96), 9, case);
    }
    // beyond its context of 32 a dynamic rotary scaling turns everything anew
    compare(&load(&golden("rope_dynamic")).unwrap(), &some_tokens(44, 96), 28, "rope_dynamic");
}

#[test]
fn the_cache_works_with_adapters_and_trained_weights() {
    let mut model = load(&golden("gqa_untied")).unwrap();
    let before = full(&model, &some_tokens(20, 96));
    model.promote(&|name| name == "layers.0.mlp.up" || name == "norm" || name == "head").unwrap();
    let slots = Slots::low_rank(4, Scale::AlphaOverRank(8.0));
    for site in model.sites_mut() {
        site.attach(&slots, 3).unwrap();
    }
    for param in &model.params().unwrap() {
        let (shape, count) = (param.var.shape().clone(), param.var.elem_count());
        let mut noise = vec![0.0; count];
        temper_nn::rng::Stream::new(9, &param.name).fill_normal(&mut noise, 0.05);
        let noise = candle_core::Tensor::from_vec(noise, shape, &candle_core::Device::Cpu).unwrap();
        param.var.set(&(param.var.as_tensor() + noise).unwrap()).unwrap();
    }
    assert!(relative(&full(&model, &some_tokens(20, 96)), &before) > 1e-2, "the model changed");
    compare(&model, &some_tokens(30, 96), 7, "adapted");
}

#[test]
fn the_cache_works_with_what_is_inserted() {
    for case in ["gqa_untied", "gemma3_pattern"] {
        for (what, insertions) in kinds(load(&golden(case)).unwrap().config.as_llama().layers) {
            let mut model = load(&golden(case)).unwrap();
            let before = full(&model, &some_tokens(20, 96));
            put(&mut model, &insertions);
            assert!(relative(&full(&model, &some_tokens(20, 96)), &before) > 1e-2, "{what}: the model changed");
            compare(&model, &some_tokens(24, 96), 7, what);
        }
    }
    // Beyond the context of a dynamic rotary scaling everything is run again.
    let mut dynamic = load(&golden("rope_dynamic")).unwrap();
    for (_, insertions) in kinds(dynamic.config.as_llama().layers) {
        put(&mut dynamic, &insertions);
    }
    compare(&dynamic, &some_tokens(40, 96), 20, "dynamic");
}

#[test]
fn what_stands_before_a_text_takes_positions_of_the_context() {
    let config = LlamaConfig { context: 16, ..LlamaConfig::new(64, 32, 2, 4) };
    let mut model = Model::random(&config, 1).unwrap();
    for (_, insertions) in kinds(2) {
        put(&mut model, &insertions);
    }
    assert_eq!(model.positions_before(), 5);
    assert!(Generator::new(&model).feed(&some_tokens(11, 64)).is_ok());
    let error = Generator::new(&model).feed(&some_tokens(12, 64)).unwrap_err().to_string();
    assert!(error.contains("17 tokens, 5 of them the adapter's,"), "{error}");
    let limits = Limits { max_tokens: 20, stop: Vec::new() };
    let done =
        generate(&model, &some_tokens(6, 64), &limits, Sampling::GREEDY, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((done.tokens.len(), done.stop_reason), (6, StopReason::Context));
}

#[test]
fn a_long_prompt_goes_in_pieces_and_a_sliding_window_holds() {
    let config = LlamaConfig { context: 700, ..LlamaConfig::new(64, 32, 2, 4) };
    compare(&Model::random(&config, 1).unwrap(), &some_tokens(604, 64), 600, "long");
    let window = LlamaConfig { sliding_window: Some(5), family: &temper_models::family::MISTRAL, ..config };
    compare(&Model::random(&window, 1).unwrap(), &some_tokens(40, 64), 12, "window");
    compare(&load(&golden("gemma3_pattern")).unwrap(), &some_tokens(40, 96), 12, "windows in some layers");
}

#[test]
fn greedy_generation_takes_the_best_token_of_full_passes() {
    let model = load(&golden("gqa_untied")).unwrap();
    let prompt = some_tokens(6, 96);
    let mut text = prompt.clone();
    let mut smallest = f32::INFINITY;
    for _ in 0..12 {
        let logits = full(&model, &text);
        let best = (0..96).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        let second = (0..96).filter(|&i| i != best).map(|i| logits[i]).fold(f32::NEG_INFINITY, f32::max);
        smallest = smallest.min(logits[best] - second);
        text.push(best as u32);
    }
    let mut heard = Vec::new();
    let limits = Limits { max_tokens: 12, stop: Vec::new() };
    let done = generate(&model, &prompt, &limits, Sampling::GREEDY, &mut |token| {
        heard.push(token);
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(done.tokens, text[6..]);
    assert_eq!(heard, done.tokens);
    assert_eq!(done.stop_reason, StopReason::MaxTokens);
    assert!((done.smallest_margin - smallest).abs() < 1e-4);

    let stop = Limits { max_tokens: 12, stop: vec![done.tokens[4]] };
    let first = done.tokens.iter().position(|token| stop.stop.contains(token)).unwrap();
    let stopped = generate(&model, &prompt, &stop, Sampling::GREEDY, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(stopped.tokens, done.tokens[..first]);
    assert_eq!(stopped.stop_reason, StopReason::StopToken(done.tokens[4]));

    let mut left = 3;
    let cancelled = generate(&model, &prompt, &limits, Sampling::GREEDY, &mut |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!((cancelled.tokens.len(), cancelled.stop_reason.name()), (3, "cancelled"));
}

#[test]
fn samples_follow_their_seed_and_the_context_ends_a_text() {
    let model = load(&golden("gqa_untied")).unwrap();
    let sample = |seed, max_tokens| {
        let sampling = Sampling { temperature: 2.0, top_p: 0.95, seed };
        let limits = Limits { max_tokens, stop: Vec::new() };
        generate(&model, &[1, 5, 9], &limits, sampling, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    assert_eq!(sample(1, 20), sample(1, 20));
    assert_ne!(sample(1, 20).tokens, sample(2, 20).tokens);
    let full = sample(1, 1000);
    assert_eq!(full.stop_reason, StopReason::Context);
    assert_eq!(full.tokens.len(), 64 - 3 + 1, "the last one is predicted from a full context");
    assert!(Generator::new(&model).feed(&[]).is_err());
    assert!(Generator::new(&model).feed(&[1; 65]).is_err());
    assert!(Generator::new(&model).feed(&[96]).is_err());
}
