//! The stage driver against the whole graph, recomputation against kept activations, accumulation against
//! one batch, packing against single rows.

use crate::tiny::{lay, project, rows, tiny_config, tiny_model, trained};
use candle_core::Tensor;
use std::path::Path;
use temper_models::{BaseKind, LlamaConfig, Model};
use temper_nn::{Grads, Param};
use temper_protocol::{Project, Value};
use temper_train::attach::attach;
use temper_train::driver::{Driver, Tokens};
use temper_train::phases::PhaseClock;

/// A model with a method on it whose parameters are all away from 0, so that every gradient matters.
fn adapted(project: &Project, tied: bool) -> (Model, Vec<Param>) {
    adapt(tiny_model(tied), project)
}

fn adapt(mut model: Model, project: &Project) -> (Model, Vec<Param>) {
    let params = attach(&mut model, project).expect("attaches").params.as_slice().to_vec();
    for param in &params {
        let mut noise = vec![0_f32; param.elements()];
        temper_nn::rng::Stream::new(21, &param.name).fill_normal(&mut noise, 0.05);
        let noise = Tensor::from_vec(noise, param.var.shape(), &candle_core::Device::Cpu).expect("noise");
        param.var.set(&(param.var.as_tensor() + noise).expect("sum")).expect("set");
    }
    (model, params)
}

fn lora(dropout: f64) -> Project {
    project("lora", &[("rank", Value::Integer(4)), ("dropout", Value::Number(dropout))])
}

fn drive(model: &Model, batches: &[Tokens], recompute: bool) -> (f64, Grads) {
    drive_with(&Driver::new(model, recompute), model, batches)
}

fn drive_with(driver: &Driver, model: &Model, batches: &[Tokens]) -> (f64, Grads) {
    let tokens: usize = batches.iter().map(trained).sum();
    let (mut grads, mut loss) = (Grads::new(), 0.0);
    for batch in batches {
        let scales = (1.0 / tokens as f64, 1.0 / batches.len() as f64);
        let micro = driver.micro_step(model, batch, scales, &mut grads, &mut PhaseClock::default());
        loss += micro.expect("micro-step").loss_sum;
    }
    (loss / tokens as f64, grads)
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("values")
}

/// Largest difference between two sets of gradients over the largest value of any.
fn difference(one: &Grads, other: &Grads) -> f64 {
    assert_eq!(
        one.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        other.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    let (mut largest, mut difference) = (0_f32, 0_f32);
    for ((_, one), (_, other)) in one.iter().zip(other.iter()) {
        for (one, other) in values(one).iter().zip(values(other)) {
            largest = largest.max(one.abs());
            difference = difference.max((one - other).abs());
        }
    }
    f64::from(difference / largest)
}

fn mixed_batch() -> Tokens {
    let rows = rows(&[9, 14, 5, 12]);
    let (first, second) = rows.split_at(2);
    lay(&[first.to_vec(), second.to_vec(), rows[1..2].to_vec()], 24, 0)
}

#[test]
fn stages_give_the_gradients_of_the_whole_graph() {
    for (method, tied) in [("lora", true), ("full", true), ("full", false)] {
        let project = if method == "lora" { lora(0.1) } else { project("full", &[]) };
        let (model, params) = adapted(&project, tied);
        let batch = mixed_batch();
        let loss = model.loss(&batch.ids, &batch.targets, &batch.ctx).expect("loss");
        let scaled = loss.affine(1.0 / trained(&batch) as f64, 0.0).expect("mean");
        let mut store = scaled.backward().expect("backward");
        let mut whole = Grads::new();
        whole.collect(&params, &mut store).expect("gradients");
        assert_eq!(whole.len(), params.len(), "{method}: every parameter has a gradient");
        for recompute in [false, true] {
            let (mean, staged) = drive(&model, std::slice::from_ref(&batch), recompute);
            assert!((mean - f64::from(scaled.to_scalar::<f32>().expect("scalar"))).abs() < 1e-5, "{method}");
            let difference = difference(&whole, &staged);
            assert!(difference < 1e-5, "{method}, tied {tied}, recompute {recompute}: {difference}");
        }
    }
}

#[test]
fn fused_blocks_and_graphs_agree_with_biases_windows_and_parts_that_are_not_trained() {
    let partly = [("rank", Value::Integer(3)), ("targets", Value::Text("q_proj,down_proj".to_owned()))];
    let upper = [("rank", Value::Integer(2)), ("layers", Value::Text("1".to_owned()))];
    for project in [lora(0.2), project("lora", &partly), project("lora", &upper), project("full", &[])] {
        let config = LlamaConfig { attention_bias: true, mlp_bias: true, sliding_window: Some(6), ..tiny_config(true) };
        compare_paths(Model::random(&config, 7).expect("model"), &project);
        compare_paths(gemma(), &project);
    }
}

/// Gemma 3 with norms away from 1, of the golden vectors: norms on the heads and behind the halves, local layers.
fn gemma() -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/golden/gemma3_pattern");
    Model::load(&folder, BaseKind::Auto, &mut |_, _, _| {}).expect("the golden folder")
}

/// The fused path against the graph: the same loss and gradients.
fn compare_paths(model: Model, project: &Project) {
    let (model, params) = adapt(model, project);
    let batch = mixed_batch();
    assert!(model.blocks.iter().all(|block| block.fused(&batch.ctx).expect("fuses").is_some()), "nothing was fused");
    for recompute in [false, true] {
        let graphs = Driver::new(&model, recompute).unfused();
        let (loss, grads) = drive_with(&graphs, &model, std::slice::from_ref(&batch));
        let (fused_loss, fused_grads) = drive(&model, std::slice::from_ref(&batch), recompute);
        assert_eq!(fused_grads.len(), params.len());
        assert!((loss - fused_loss).abs() < 1e-6 * loss.max(1.0), "{loss} {fused_loss}");
        let difference = difference(&grads, &fused_grads);
        assert!(difference < 1e-5, "{}, {}: {difference}", model.config.family().id, project.method.id);
    }
}

/// Everything that a fused block carries beside plain chains, on a whole model: the graph's loss and gradients, and the
/// same bits whether activations are kept or computed again.
#[test]
fn other_structures_and_insertions_agree_with_the_graph_and_with_recomputation() {
    let few = [("rank", Value::Integer(4))];
    let narrow = [("width", Value::Integer(4))];
    let both = [("width", Value::Integer(4)), ("placement", Value::Text("houlsby".to_owned()))];
    let short = [("prefix_length", Value::Integer(3))];
    let direct = [("prefix_length", Value::Integer(5)), ("net_width", Value::Integer(0))];
    let text = |value: &str| Value::Text(value.to_owned());
    let bare = [("width", Value::Integer(5)), ("bias", Value::Flag(false)), ("activation", text("silu"))];
    let all = [("width", Value::Integer(3)), ("placement", text("both")), ("share", text("both"))];
    let cases: &[(&str, &[(&str, Value)])] = &[
        ("dora", &few),
        ("ia3", &[]),
        ("hydra", &few),
        ("bat", &few),
        ("lokr", &few),
        ("soka", &[]),
        ("paca", &few),
        ("miss", &few),
        ("vera", &few),
        ("pela", &[]),
        ("sketchtune", &[]),
        ("adapter", &both),
        ("par-adapter", &narrow),
        ("adapter", &bare),
        ("par-adapter", &all),
        ("inv-adapter", &[]),
        ("prefix", &short),
        ("prefix", &direct),
        ("mam", &[]),
    ];
    for (method, settings) in cases {
        for is_gemma in [false, true] {
            let project = project(method, settings);
            compare_paths(if is_gemma { gemma() } else { tiny_model(true) }, &project);
            let (model, _) = adapt(if is_gemma { gemma() } else { tiny_model(true) }, &project);
            let batch = mixed_batch();
            let (loss, kept) = drive(&model, std::slice::from_ref(&batch), false);
            let (loss_again, recomputed) = drive(&model, std::slice::from_ref(&batch), true);
            assert_eq!(loss.to_bits(), loss_again.to_bits(), "{method}");
            for ((name, kept), (_, recomputed)) in kept.iter().zip(recomputed.iter()) {
                assert_eq!(values(kept), values(recomputed), "{method}: {name}");
            }
        }
    }
}

/// Extra losses depend on the adapters alone: fused blocks leave them out and the driver adds them, once a micro-step.
#[test]
fn extra_losses_have_the_same_gradients_in_fused_blocks_as_in_the_graph() {
    let weighty = |id: &str, key: &str| project(id, &[(key, Value::Number(3.0)), ("dropout", Value::Number(0.1))]);
    for project in [weighty("sora", "l1"), weighty("adalora", "orthogonality")] {
        let (model, params) = adapted(&project, true);
        let batch = mixed_batch();
        let tokens = trained(&batch) as f64;
        let run = |driver: &Driver| {
            let mut grads = Grads::new();
            let clock = &mut PhaseClock::default();
            let micro = driver.micro_step(&model, &batch, (1.0 / tokens, 0.5), &mut grads, clock).expect("micro-step");
            (micro.extra_loss, grads)
        };
        let (graph_loss, graph) = run(&Driver::new(&model, false).unfused());
        let without: f64 = {
            let mut grads = Grads::new();
            let clock = &mut PhaseClock::default();
            let fused = Driver::new(&model, true);
            fused.micro_step(&model, &batch, (1.0 / tokens, 0.0), &mut grads, clock).expect("micro-step");
            difference(&graph, &grads)
        };
        assert!(without > 1e-2, "{}: the extra loss weighs nothing: {without}", project.method.id);
        for recompute in [false, true] {
            let (fused_loss, fused) = run(&Driver::new(&model, recompute));
            assert_eq!(fused.len(), params.len());
            assert!(
                graph_loss > 0.0 && (graph_loss - fused_loss).abs() < 1e-5 * graph_loss,
                "{graph_loss} {fused_loss}"
            );
            let off = difference(&graph, &fused);
            assert!(off < 1e-5, "{}: {off}", project.method.id);
        }
    }
}

#[test]
fn recomputed_and_kept_activations_agree_bit_for_bit() {
    let cases = [(lora(0.2), false), (project("full", &[]), false), (lora(0.2), true), (project("full", &[]), true)];
    for (project, is_gemma) in cases {
        let (model, _) = if is_gemma { adapt(gemma(), &project) } else { adapted(&project, true) };
        let batch = mixed_batch();
        let (loss, kept) = drive(&model, std::slice::from_ref(&batch), false);
        let (loss_again, recomputed) = drive(&model, std::slice::from_ref(&batch), true);
        assert_eq!(loss.to_bits(), loss_again.to_bits());
        for ((name, kept), (_, recomputed)) in kept.iter().zip(recomputed.iter()) {
            assert_eq!(values(kept), values(recomputed), "{name}");
        }
        assert_eq!(kept.len(), recomputed.len());
        for blocks in 1..model.blocks.len() {
            let (loss_again, partly) =
                drive_with(&Driver::keeping(&model, blocks), &model, std::slice::from_ref(&batch));
            assert_eq!(loss.to_bits(), loss_again.to_bits());
            for ((name, kept), (_, partly)) in kept.iter().zip(partly.iter()) {
                assert_eq!(values(kept), values(partly), "{name}, {blocks} blocks kept");
            }
        }
    }
}

#[test]
fn one_batch_of_eight_equals_eight_of_one_dropout_included() {
    let (model, _) = adapted(&lora(0.3), true);
    let rows = rows(&[9, 14, 5, 12, 7, 16, 11, 3]);
    let together: Vec<_> = rows.iter().map(|row| vec![row.clone()]).collect();
    let (loss, grads) = drive(&model, &[lay(&together, 16, 0)], true);
    let apart: Vec<Tokens> =
        rows.iter().enumerate().map(|(index, row)| lay(&[vec![row.clone()]], 16, index as u64)).collect();
    let (loss_apart, grads_apart) = drive(&model, &apart, true);
    assert!((loss - loss_apart).abs() < 1e-6, "{loss} {loss_apart}");
    let difference = difference(&grads, &grads_apart);
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn packed_rows_have_the_losses_and_gradients_of_single_rows() {
    let (model, _) = adapted(&lora(0.0), false);
    let rows = rows(&[9, 14, 5, 12]);
    let (loss, grads) = drive(&model, &[lay(std::slice::from_ref(&rows), 40, 0)], false);
    let single: Vec<_> = rows.iter().map(|row| vec![row.clone()]).collect();
    let (loss_single, grads_single) = drive(&model, &[lay(&single, 14, 0)], false);
    assert!((loss - loss_single).abs() < 1e-5, "{loss} {loss_single}");
    let difference = difference(&grads, &grads_single);
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn backward_stops_at_the_lowest_trained_stage() {
    let upper = project("lora", &[("rank", Value::Integer(2)), ("layers", Value::Text("2".to_owned()))]);
    let (model, params) = adapted(&upper, true);
    assert!(params.iter().all(|param| param.name.starts_with("layers.2.")));
    let batch = mixed_batch();
    let (_, staged) = drive(&model, std::slice::from_ref(&batch), true);
    let loss = model.loss(&batch.ids, &batch.targets, &batch.ctx).expect("loss");
    let mut store = loss.affine(1.0 / trained(&batch) as f64, 0.0).expect("mean").backward().expect("backward");
    let mut whole = Grads::new();
    whole.collect(&params, &mut store).expect("gradients");
    assert!(difference(&whole, &staged) < 1e-5);
}

#[test]
fn a_tied_embedding_gets_the_gradients_of_both_ends() {
    let (model, _) = adapted(&project("full", &[]), true);
    let (_, grads) = drive(&model, &[mixed_batch()], true);
    let embed = values(grads.get("embed").expect("embed"));
    // The head's part reaches every token of the vocabulary, the embedding's only those in the batch.
    assert!(embed.chunks(32).all(|row| row.iter().any(|value| *value != 0.0)));
    assert!(grads.get("head").is_none());
}
