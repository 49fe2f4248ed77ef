//! A model is the sum of its stages, and rows of several segments are those segments apart.

use crate::tools::{Golden, flat, golden, load, next_tokens, relative};
use candle_core::Var;
use std::sync::Arc;
use temper_models::{BaseKind, Flow, LlamaConfig, Model};
use temper_nn::slots::{Scale, Slots};
use temper_nn::{ForwardContext, Grads, ops};

#[test]
fn backward_stage_by_stage_gives_the_gradients_of_one_graph() {
    let mut model = load(&golden("tied")).unwrap();
    model.promote(&|_| true).unwrap();
    let (tokens, batch, width) = Golden::open("tied").tokens();
    let (targets, ctx) = (next_tokens(&tokens, width), ForwardContext::plain(batch, width));

    let whole = model.loss(&tokens, &targets, &ctx).unwrap().backward().unwrap();

    // forward: each stage gets its input as a variable of its own
    let mut inputs: Vec<Var> = Vec::new();
    let mut outputs = vec![model.embed.forward(&tokens, &ctx).unwrap()];
    for block in &model.blocks {
        let input = Var::from_tensor(&outputs.last().unwrap().hidden.detach()).unwrap();
        outputs.push(block.forward(Flow::new(input.as_tensor().clone()), &ctx).unwrap());
        inputs.push(input);
    }
    let input = Var::from_tensor(&outputs.last().unwrap().hidden.detach()).unwrap();
    let loss = model.head.loss(input.as_tensor(), &targets).unwrap();

    // backward: from the head down, each stage started with the gradient of the one above
    let mut grads = Grads::new();
    let mut store = loss.backward().unwrap();
    let mut gradient = store.remove(input.as_tensor()).unwrap();
    grads.collect(&model.head.params(), &mut store).unwrap();
    for ((block, input), output) in model.blocks.iter().zip(&inputs).zip(&outputs[1..]).rev() {
        let mut store = ops::seed_gradient(&output.hidden, &gradient).unwrap().backward().unwrap();
        gradient = store.remove(input.as_tensor()).unwrap();
        grads.collect(&block.params(), &mut store).unwrap();
    }
    let mut store = ops::seed_gradient(&outputs[0].hidden, &gradient).unwrap().backward().unwrap();
    grads.collect(&model.embed.params(), &mut store).unwrap();

    let params = model.params().unwrap();
    assert_eq!(grads.len(), params.len());
    for param in &params {
        let expected = flat(whole.get(param.var.as_tensor()).unwrap());
        let error = relative(&flat(grads.get(&param.name).unwrap()), &expected);
        assert!(error < 1e-5, "{}: {error:e}", param.name);
    }
}

#[test]
fn segments_in_a_row_do_not_see_each_other_and_padding_changes_nothing() {
    let model = load(&golden("gqa_untied")).unwrap();
    let text: Vec<u32> = (0..20).map(|i| i * 13 % 96).collect();
    let (first, second) = text.split_at(12);
    let alone = |tokens: &[u32]| flat(&model.logits(&tokens.into(), &ForwardContext::plain(1, tokens.len())).unwrap());
    let mut row = text.clone();
    row.extend([0; 5]);
    let packed = model.logits(&row.into(), &ForwardContext::with_borders(25, vec![vec![0, 12, 20]])).unwrap();
    let packed = flat(&packed);
    let apart: Vec<f32> = alone(first).into_iter().chain(alone(second)).collect();
    let error = relative(&packed[..apart.len()], &apart);
    assert!(error < 1e-5, "{error:e}");
}

#[test]
fn an_adapter_changes_the_model_where_it_sits() {
    let mut model = load(&golden("mha")).unwrap();
    let (tokens, batch, width) = Golden::open("mha").tokens();
    let ctx = ForwardContext::plain(batch, width);
    let base = flat(&model.logits(&tokens, &ctx).unwrap());
    let slots = Slots::low_rank(4, Scale::AlphaOverRank(8.0));
    for name in ["layers.0.attn.q", "layers.1.mlp.down"] {
        model.site_mut(name).unwrap().attach(&slots, 1).unwrap();
    }
    assert_eq!(model.params().unwrap().len(), 4);
    assert_eq!(flat(&model.logits(&tokens, &ctx).unwrap()), base, "B is zero at the start");
    let b = model.param("layers.1.mlp.down.b").unwrap();
    b.var.set(&b.var.as_tensor().ones_like().unwrap()).unwrap();
    assert_ne!(flat(&model.logits(&tokens, &ctx).unwrap()), base);
    assert!(model.trained_weights().is_empty(), "adapters are not weights of the model");
    model.set_enabled(false);
    assert_eq!(flat(&model.logits(&tokens, &ctx).unwrap()), base);

    let loss = model.loss(&tokens, &next_tokens(&tokens, width), &ctx).unwrap();
    assert!(!loss.track_op(), "switched off, nothing is trained");
    model.set_enabled(true);
    let gradients = model.loss(&tokens, &next_tokens(&tokens, width), &ctx).unwrap().backward().unwrap();
    for param in &model.params().unwrap() {
        let gradient = flat(gradients.get(param.var.as_tensor()).unwrap());
        let zero = gradient.iter().all(|value| *value == 0.0);
        assert_eq!(zero, param.name == "layers.0.attn.q.a", "{}: its B is still zero", param.name);
    }
}

#[test]
fn a_new_model_follows_its_seed_and_its_scale() {
    let config = LlamaConfig { tied: false, mlp_bias: true, ..LlamaConfig::new(300, 96, 8, 4) };
    let (a, b, c) = (Model::random(&config, 1), Model::random(&config, 1), Model::random(&config, 2));
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    let std = |name: &str| {
        let values = a.read_weight(name).unwrap();
        let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        (squares / values.len() as f64).sqrt()
    };
    assert!(a.trained_weights().is_empty());
    for weight in a.named_weights() {
        let name = &weight.slot.name;
        assert_eq!(weight.read().unwrap(), b.read_weight(name).unwrap(), "{name}");
        if weight.slot.shape.len() == 2 {
            assert_ne!(weight.read().unwrap(), c.read_weight(name).unwrap(), "{name}");
        }
    }
    assert!((std("embed") - 0.02).abs() < 5e-4);
    assert!((std("head") - 0.02).abs() < 5e-4);
    assert!((std("layers.3.attn.q.weight") - 0.02).abs() < 5e-4);
    assert!((std("layers.3.attn.o.weight") - 0.005).abs() < 2e-4);
    assert!((std("layers.3.mlp.down.weight") - 0.005).abs() < 2e-4);
    assert!(a.read_weight("layers.3.mlp.down.bias").unwrap().iter().all(|value| *value == 0.0));
    assert!(a.read_weight("norm").unwrap().iter().all(|value| *value == 1.0));
    assert_eq!(a.main_storage(), None);
    // an untrained model knows nothing: close to ln(vocabulary) nats per token
    let tokens: Arc<[u32]> = (0..32).map(|i| i * 37 % 300).collect();
    let loss = a.loss(&tokens, &next_tokens(&tokens, 32), &ForwardContext::plain(1, 32)).unwrap();
    assert!((flat(&loss)[0] / 31.0 - 300_f32.ln()).abs() < 0.2);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new.json");
    std::fs::write(&path, config.to_hf_json("float32").to_string()).unwrap();
    let from_file = Model::random_from_file(&path, 1, BaseKind::Auto).unwrap();
    assert_eq!(from_file.read_weight("embed").unwrap(), a.read_weight("embed").unwrap());
    assert_eq!(from_file.config, a.config);
}

#[test]
fn tokens_outside_the_vocabulary_are_an_error() {
    let model = load(&golden("mha")).unwrap();
    let ctx = ForwardContext::plain(1, 2);
    let error = model.logits(&[1, 96].into(), &ctx).unwrap_err().to_string();
    assert!(error.contains("token 96"), "{error}");
    assert!(model.logits(&[1, 2, 3].into(), &ctx).is_err(), "more tokens than the context says");
    assert!(model.loss(&[1, 2].into(), &[96, 1].into(), &ctx).is_err(), "a target outside");
}
