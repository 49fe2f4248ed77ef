//! Things inserted into a whole model: packed rows, labels, shared parts, what is left alone.

use crate::tools::{flat, relative};
use candle_core::{Device, Tensor};
use std::sync::Arc;
use temper_models::{LlamaConfig, Model, Stage};
use temper_nn::insertion::{Activation, Bottleneck, BottleneckStart, Coupling, Prefix, Prompt, PromptStart, Share};
use temper_nn::ops::IGNORE;
use temper_nn::rng::Stream;
use temper_nn::{ForwardContext, Insert, Insertion, Point};

/// Insertions of each kind for a model of so many blocks.
pub(crate) fn kinds(layers: usize) -> Vec<(&'static str, Vec<Insertion>)> {
    let at = |stage: &str, what: &Insert| Insertion { stage: stage.to_owned(), what: what.clone() };
    let each = |what: Insert| (0..layers).map(|layer| at(&format!("layers.{layer}"), &what)).collect::<Vec<_>>();
    let bottleneck = |reads: Point, adds: Point, share: Share| {
        let (activation, start) = (Activation::Gelu, BottleneckStart::ZeroUp);
        Insert::Bottleneck(Bottleneck { reads, adds, width: 5, activation, scale: 2.0, start, bias: true, share })
    };
    let map = |inverse: bool| Insert::Coupling(Coupling { width: 6, activation: Activation::Gelu, inverse });
    vec![
        ("prompt", vec![at("embed", &Insert::Prompt(Prompt { length: 3, start: PromptStart::Vocabulary }))]),
        ("prefix", each(Insert::Prefix(Prefix { length: 2, through: None }))),
        ("sequential", each(bottleneck(Point::AttnOut, Point::AttnOut, Share::None))),
        ("parallel", each(bottleneck(Point::MlpIn, Point::MlpOut, Share::Down))),
        ("block", each(bottleneck(Point::Block, Point::Block, Share::Both))),
        ("coupling", vec![at("embed", &map(false)), at("head", &map(true))]),
    ]
}

/// Inserts and moves every parameter.
pub(crate) fn put(model: &mut Model, insertions: &[Insertion]) {
    model.insert_all(insertions, 4).unwrap();
    for param in &model.params().unwrap() {
        let mut noise = vec![0f32; param.elements()];
        Stream::new(9, &param.name).fill_normal(&mut noise, 0.2);
        let noise = Tensor::from_vec(noise, param.var.dims(), &Device::Cpu).unwrap();
        param.var.set(&(param.var.as_tensor() + noise).unwrap()).unwrap();
    }
}

fn base() -> Model {
    let config = LlamaConfig { kv_heads: 2, ..LlamaConfig::new(64, 32, 2, 4) };
    Model::random(&config, 1).unwrap()
}

fn tokens(count: usize) -> Vec<u32> {
    (0..count as u32).map(|at| (at * at * 5 + at + 3) % 64).collect()
}

fn logits(model: &Model, tokens: &[u32], ctx: &ForwardContext) -> Vec<f32> {
    flat(&model.logits(&tokens.into(), ctx).unwrap())
}

#[test]
fn segments_of_a_packed_row_answer_as_texts_alone() {
    for (what, insertions) in kinds(2) {
        let mut model = base();
        put(&mut model, &insertions);
        let all = tokens(16);
        // Two segments and padding; one segment and padding.
        let ctx = ForwardContext::with_borders(8, vec![vec![0, 3, 7], vec![0, 5]]);
        let packed = logits(&model, &all, &ctx);
        for (start, count) in [(0, 3), (3, 4), (8, 5)] {
            let alone = logits(&model, &all[start..start + count], &ForwardContext::plain(1, count));
            let error = relative(&packed[start * 64..(start + count) * 64], &alone);
            assert!(error < 1e-5, "{what}: {error:e} at {start}");
        }
    }
}

#[test]
fn a_prompt_is_a_longer_text_whose_labels_stay_where_they_were() {
    let (plain, mut model) = (base(), base());
    let prompt = Insert::Prompt(Prompt { length: 3, start: PromptStart::Normal });
    put(&mut model, &[Insertion { stage: "embed".to_owned(), what: prompt }]);
    let ids: Arc<[u32]> = tokens(6).into();
    let ctx = ForwardContext::plain(1, 6);
    // By hand: the rows in front, then the untouched blocks, then the head over the last six.
    let rows = model.param("embed_out.prompt").unwrap();
    let embedded = plain.embed.forward(&ids, &ctx).unwrap();
    let mut flow = embedded.clone();
    flow.hidden = Tensor::cat(&[&rows.var.unsqueeze(0).unwrap(), &embedded.hidden], 1).unwrap();
    for block in &plain.blocks {
        flow = block.forward(flow, &ForwardContext::plain(1, 9)).unwrap();
    }
    let last = flow.hidden.narrow(1, 3, 6).unwrap().contiguous().unwrap();
    let targets: Arc<[u32]> = [IGNORE, 4, 9, IGNORE, 2, 7].into();
    let expected = plain.head.loss(&last, &targets).unwrap().to_scalar::<f32>().unwrap();
    let found = model.loss(&ids, &targets, &ctx).unwrap().to_scalar::<f32>().unwrap();
    assert!((found - expected).abs() <= 1e-5 * expected, "{found} instead of {expected}");
    assert_eq!(relative(&logits(&model, &ids, &ctx), &flat(&plain.head.logits(&last).unwrap())), 0.0);
}

#[test]
fn a_prompt_can_start_from_the_vocabulary() {
    let mut model = base();
    let prompt = Insert::Prompt(Prompt { length: 5, start: PromptStart::Vocabulary });
    model.insert_all(&[Insertion { stage: "embed".to_owned(), what: prompt }], 4).unwrap();
    let table = model.read_weight("embed").unwrap();
    let rows: Vec<Vec<f32>> = model.param("embed_out.prompt").unwrap().var.to_vec2().unwrap();
    assert!(rows.iter().all(|row| table.chunks(32).any(|known| known == row.as_slice())));
    assert_ne!(rows[0], rows[1]);
}

#[test]
fn shared_parts_are_one_parameter_whose_gradients_add_up() {
    let (_, insertions) = kinds(2).into_iter().find(|(what, _)| *what == "parallel").unwrap();
    let mut model = base();
    put(&mut model, &insertions);
    let params = model.params().unwrap();
    let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("shared.")).count(), 2, "{names:?}");
    assert_eq!(names.len(), 2 + 2 * 2);
    let of_block = |block: &dyn Stage| block.params().iter().any(|param| param.name == "shared.mlp_out.down");
    assert!(model.blocks.iter().all(|block| of_block(block.as_ref())));
}

#[test]
fn a_block_leaves_the_fused_path_only_for_what_needs_its_graph() {
    let ctx = ForwardContext::plain(1, 6);
    let fused = |model: &Model| -> Vec<bool> {
        model.blocks.iter().map(|block| block.fused(&ctx).unwrap().is_some()).collect()
    };
    for (kind, left) in [("block", false), ("sequential", true), ("parallel", true), ("prefix", true)] {
        let mut model = base();
        let (_, insertions) = kinds(2).into_iter().find(|(what, _)| *what == kind).unwrap();
        put(&mut model, &insertions[1..]);
        assert_eq!(fused(&model), [true, left], "{kind}");
        // Two at the same place are not what a fused half has room for.
        if kind == "sequential" {
            put(&mut model, &insertions[1..]);
            assert_eq!(fused(&model), [true, false], "{kind} twice");
        }
        model.set_enabled(false);
        assert_eq!(fused(&model), [true, true]);
        assert_eq!(relative(&logits(&model, &tokens(6), &ctx), &logits(&base(), &tokens(6), &ctx)), 0.0);
    }
}

#[test]
fn a_stage_that_is_not_there_is_named() {
    let (_, insertions) = kinds(3).into_iter().find(|(what, _)| *what == "prefix").unwrap();
    let error = base().insert_all(&insertions, 4).unwrap_err().to_string();
    assert!(error.contains("layers.2"), "{error}");
}
