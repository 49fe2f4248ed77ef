//! In full training every parameter gets a gradient, and it is the slope of the loss.

use crate::tools::{Golden, flat, golden, load, next_tokens};
use temper_models::{LlamaConfig, Model};
use temper_nn::{ForwardContext, Role};

#[test]
fn every_parameter_gets_the_slope_of_the_loss() {
    for case in ["bias", "gqa_untied", "gemma3_pattern", "gemma3_kinds"] {
        let mut model = load(&golden(case)).unwrap();
        model.promote(&|_| true).unwrap();
        let (tokens, batch, width) = Golden::open(case).tokens();
        let (targets, ctx) = (next_tokens(&tokens, width), ForwardContext::plain(batch, width));
        let loss = || f64::from(flat(&model.loss(&tokens, &targets, &ctx).unwrap())[0]);
        let gradients = model.loss(&tokens, &targets, &ctx).unwrap().backward().unwrap();
        for param in &model.params().unwrap() {
            let gradient = gradients.get(param.var.as_tensor()).unwrap().detach();
            let norm = flat(&gradient).iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            assert!(norm > 1e-3, "{case}: {} has a gradient of norm {norm:e}", param.name);
            // along the gradient the slope is its norm
            let start = param.var.as_tensor().copy().unwrap();
            let step = 0.02_f64.min(0.2 / norm);
            let at = |distance: f64| {
                let moved = (&start + (&gradient * (distance / norm)).unwrap()).unwrap();
                param.var.set(&moved).unwrap();
                loss()
            };
            let slope = (at(step) - at(-step)) / (2.0 * step);
            param.var.set(&start).unwrap();
            let error = (slope - norm).abs() / norm;
            assert!(error < 2e-2, "{case}: {} has slope {slope}, gradient {norm}", param.name);
        }
    }
}

#[test]
fn where_every_token_is_as_likely_the_exponential_of_the_loss_is_their_number() {
    let config = LlamaConfig { tied: false, ..LlamaConfig::new(53, 32, 1, 4) };
    let mut model = Model::random(&config, 5).unwrap();
    model.promote(&|name| name == "head").unwrap();
    for param in &model.params().unwrap() {
        param.var.set(&param.var.zeros_like().unwrap()).unwrap();
    }
    let tokens: Vec<u32> = (0..20).map(|at| at * 7 % 53).collect();
    let targets: Vec<u32> = (0..20).map(|at| at * 11 % 53).collect();
    let loss = model.loss(&tokens.into(), &targets.into(), &ForwardContext::plain(2, 10)).unwrap();
    let perplexity = (f64::from(flat(&loss)[0]) / 20.0).exp();
    assert!((perplexity - 53.0).abs() < 1e-4, "{perplexity}");
}

#[test]
fn norms_and_biases_do_not_decay_and_a_tied_table_is_one_parameter() {
    let mut model = load(&golden("bias")).unwrap();
    model.promote(&|_| true).unwrap();
    let params = model.params().unwrap();
    for param in &params {
        let vector = matches!(param.role, Role::Norm | Role::Bias);
        assert_eq!(param.decay, !vector, "{}", param.name);
    }
    assert_eq!(params.elements() as u64, model.parameter_count());
    let (embed, head) = (model.embed.params(), model.head.params());
    assert_eq!(embed[0].name, "embed");
    let shared = head.iter().find(|param| param.name == "embed").unwrap();
    assert_eq!(shared.var.as_tensor().id(), embed[0].var.as_tensor().id());
    assert!(params.get("head").is_none());

    let mut untied = load(&golden("gqa_untied")).unwrap();
    untied.promote(&|name| name == "head").unwrap();
    assert_eq!(untied.trained_weights(), ["head"]);
    assert_eq!(untied.params().unwrap().as_slice()[0].role, Role::Head);
}

#[test]
fn only_what_is_selected_is_trained_and_can_be_switched_off() {
    let mut model = load(&golden("tied")).unwrap();
    let (tokens, batch, width) = Golden::open("tied").tokens();
    let ctx = ForwardContext::plain(batch, width);
    let base = flat(&model.logits(&tokens, &ctx).unwrap());
    let selected = ["embed", "norm", "layers.1.mlp_norm", "layers.0.attn.q"];
    assert!(selected.iter().all(|name| model.promotable().iter().any(|known| known == name)));
    model.promote(&|name| selected.contains(&name)).unwrap();
    assert_eq!(model.trained_weights(), ["embed", "layers.0.attn.q.weight", "layers.1.mlp_norm", "norm"]);
    assert_eq!(flat(&model.logits(&tokens, &ctx).unwrap()), base, "promotion changes nothing");
    for param in &model.params().unwrap() {
        param.var.set(&(param.var.as_tensor() * 1.1).unwrap()).unwrap();
    }
    assert_ne!(flat(&model.logits(&tokens, &ctx).unwrap()), base);
    model.set_enabled(false);
    assert_eq!(flat(&model.logits(&tokens, &ctx).unwrap()), base, "switched off it is the base");
    model.set_enabled(true);
    assert_ne!(flat(&model.logits(&tokens, &ctx).unwrap()), base);
}
