//! Several tasks over one encoder, on a small random ViT: which path each takes, what they share, and that tasks which
//! disagree gain by what is their own.

use anyhow::{Context as _, Result, ensure};
use candle_core::{Device, Tensor};
use temper_models::vision::config::Classes;
use temper_models::{Labels, VisionConfig, VisionModel, VitConfig};
use temper_nn::rng::Stream;
use temper_nn::{AdamW, AdamWConfig, ForwardContext, Grads, ParamSet};
use temper_protocol::Value;
use temper_protocol::project::Method;
use temper_tests::fashion::method;
use temper_train::images::{ImageDriver, Pictures, attach};
use temper_train::verdict::{TaskScore, mean_relative_gain};

/// 4 x 4 images in patches of 2, heads of two classes: the model's own and one called `b`.
fn vit(seed: u64) -> Result<VisionModel> {
    let config = VitConfig { intermediate_size: 48, ..VitConfig::new(Classes::numbered(4, 1, 2), 2, 24, 3, 3) };
    let mut model = VisionModel::random(&VisionConfig::Vit(config), 5)?;
    model.add_task("b", vec!["no".to_owned(), "yes".to_owned()], seed)?;
    Ok(model)
}

fn noise(name: &str, dims: &[usize], std: f64) -> Result<Tensor> {
    let mut values = vec![0f32; dims.iter().product()];
    Stream::new(6, name).fill_normal(&mut values, std);
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

fn off(left: &Tensor, right: &Tensor) -> Result<f32> {
    Ok((left - right)?.abs()?.max_all()?.to_scalar()?)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn shake(params: &ParamSet, part: &str) -> Result<usize> {
    let mut moved = 0;
    for param in params.iter().filter(|param| param.name.contains(part)) {
        param.var.set(&(param.var.as_tensor() + noise(&param.name, param.var.dims(), 0.2)?)?)?;
        moved += 1;
    }
    Ok(moved)
}

/// Methods whose tasks have paths of their own, for both heads.
fn methods() -> Vec<Method> {
    let tasks = ("tasks", text("own,b"));
    let mtlora = |mode: &str| method("mtlora", &[tasks.clone(), ("mode", text(mode)), ("dropout", Value::Number(0.0))]);
    let adapter = |share: &str| method("adapter", &[tasks.clone(), ("share_tasks", text(share))]);
    vec![
        mtlora("matrix"),
        mtlora("matrix-v2"),
        adapter("none"),
        adapter("down"),
        method("polyhistor", std::slice::from_ref(&tasks)),
    ]
}

#[test]
fn at_the_start_every_task_answers_as_the_base_and_has_a_path_of_its_own() -> Result<()> {
    let images = noise("images", &[3, 1, 4, 4], 1.0)?;
    for method in methods() {
        let mut model = vit(1)?;
        let before = [model.logits(&images, 0)?, model.logits(&images, 1)?];
        attach(&mut model, &method, 0, 2)?;
        ensure!(model.branched() == ["", "b"], "{}: {:?}", method.id, model.branched());
        let flow = model.forward(&images, &model.context(3))?;
        for (task, name) in ["", "b"].into_iter().enumerate() {
            let own = flow.side.get(name).with_context(|| format!("{}: no path of {name:?}", method.id))?;
            ensure!(off(own, &flow.hidden)? <= 1e-5, "{}: {name:?} has left the shared stream", method.id);
            ensure!(
                off(&model.logits(&images, task)?, &before[task])? <= 1e-5,
                "{}: {name:?} starts elsewhere",
                method.id
            );
        }
    }
    Ok(())
}

#[test]
fn what_is_one_task_s_own_changes_that_task_alone() -> Result<()> {
    let images = noise("images", &[3, 1, 4, 4], 1.0)?;
    for method in methods() {
        let mut model = vit(1)?;
        let params = attach(&mut model, &method, 0, 2)?.params;
        // What generates layers is shared and zero at the start; with it moved, vectors tell tasks apart.
        shake(&params, "shared.")?;
        let before = [model.logits(&images, 0)?, model.logits(&images, 1)?];
        ensure!(shake(&params, "task_b")? > 0, "{}: nothing is b's own", method.id);
        ensure!(off(&model.logits(&images, 0)?, &before[0])? == 0.0, "{}: the other task changed", method.id);
        ensure!(off(&model.logits(&images, 1)?, &before[1])? > 1e-4, "{}: b did not change", method.id);
    }
    Ok(())
}

#[test]
fn without_changes_of_their_own_tasks_share_their_features() -> Result<()> {
    let images = noise("images", &[3, 1, 4, 4], 1.0)?;
    for mode in ["matrix", "matrix-v2"] {
        let mut model = vit(1)?;
        let settings = [("tasks", text("own,b")), ("mode", text(mode)), ("dropout", Value::Number(0.0))];
        let params = attach(&mut model, &method("mtlora", &settings), 0, 2)?.params;
        // What is shared has moved, and so has what is each task's own.
        let shared = shake(&params, "layers.2.attn.")? + shake(&params, "layers.2.mlp.up")?;
        ensure!(shared == 10, "{mode}: {shared} shared factors");
        let own = shake(&params, ".task_b.")? + shake(&params, ".own.")?;
        ensure!(own == 12, "{mode}: {own} factors of tasks");
        let sides = |model: &VisionModel| -> Result<[Tensor; 3]> {
            let flow = model.forward(&images, &model.context(3))?;
            let side =
                |name: &str| flow.side.get(name).cloned().with_context(|| format!("{mode}: no path of {name:?}"));
            Ok([side("")?, side("b")?, flow.hidden.clone()])
        };
        let [first, second, _] = sides(&model)?;
        ensure!(off(&first, &second)? > 1e-3, "{mode}: tasks do not differ with changes of their own");
        for param in params.iter().filter(|param| param.name.contains(".task_b.") || param.name.contains(".own.")) {
            param.var.set(&param.var.zeros_like()?)?;
        }
        let [first, second, hidden] = sides(&model)?;
        ensure!(off(&first, &second)? == 0.0, "{mode}: tasks without changes of their own differ");
        if mode == "matrix-v2" {
            ensure!(off(&first, &hidden)? <= 1e-6, "{mode}: a task's features are not the shared ones");
        } else {
            ensure!(off(&first, &hidden)? > 1e-4, "{mode}: the shared change of the task's layers is in its features");
        }
    }
    Ok(())
}

#[test]
fn in_the_mode_matrix_the_shared_change_of_a_task_s_layers_stays_out_of_its_output() -> Result<()> {
    let images = noise("images", &[3, 1, 4, 4], 1.0)?;
    for (mode, is_in) in [("matrix", false), ("matrix-v2", true)] {
        let mut model = vit(1)?;
        let settings = [("tasks", text("own,b")), ("mode", text(mode)), ("dropout", Value::Number(0.0))];
        let params = attach(&mut model, &method("mtlora", &settings), 0, 2)?.params;
        let before = model.logits(&images, 1)?;
        let moved = shake(&params, if is_in { "layers.2.mlp.down" } else { "layers.2.attn.o" })?;
        ensure!(moved == 2, "{moved} factors");
        // In the mode matrix the change of the attention's output reaches a task by the shared stream's MLP alone: with that
        // MLP's layers silent it does not reach it at all.
        if !is_in {
            let site = model.site_mut("layers.2.mlp.up").context("a layer")?;
            site.promote()?;
            for param in site.params().iter().filter(|param| param.name.starts_with("layers.2.mlp.up.")) {
                if param.name.ends_with(".weight") || param.name.ends_with(".bias") {
                    param.var.set(&param.var.zeros_like()?)?;
                }
            }
            let silent = model.logits(&images, 1)?;
            shake(&params, "layers.2.attn.o")?;
            ensure!(off(&model.logits(&images, 1)?, &silent)? <= 1e-6, "the shared change is in a task's output");
            continue;
        }
        ensure!(off(&model.logits(&images, 1)?, &before)? > 1e-4, "the shared change is missing");
    }
    Ok(())
}

#[test]
fn a_path_for_a_task_without_a_head_is_refused_and_tokens_do_not_merge_beside_one() -> Result<()> {
    let error =
        attach(&mut vit(1)?, &method("mtlora", &[("tasks", text("c"))]), 0, 2).err().map(|error| error.to_string());
    ensure!(error.as_ref().is_some_and(|error| error.contains("\"c\"")), "{error:?}");
    let mut model = vit(1)?;
    attach(&mut model, &method("pyra", &[]), 0, 2)?;
    attach(&mut model, &method("adapter", &[("tasks", text("b"))]), 0, 2)?;
    let error = model.logits(&noise("images", &[1, 1, 4, 4], 1.0)?, 0).err().map(|error| error.to_string());
    ensure!(error.as_ref().is_some_and(|error| error.contains("tokens cannot merge")), "{error:?}");
    Ok(())
}

/// Mean loss of both tasks after a training on two questions that need other features of every image, and how many numbers
/// were trained beside the classifiers.
fn trained(method: &Method, seed: u64) -> Result<(f64, usize)> {
    let mut model = vit(seed)?;
    attach(&mut model, method, 0, seed)?;
    model.promote(&|name| name == "head.b")?;
    let params = model.params()?;
    let images = noise(&format!("images {seed}"), &[48, 1, 4, 4], 1.0)?;
    let pixels: Vec<Vec<f32>> = images.flatten_from(1)?.to_vec2()?;
    let sign = |row: &Vec<f32>, at: [usize; 2]| u32::from(at.iter().map(|at| row[*at]).product::<f32>() > 0.0);
    let labels =
        |task: usize, at: [usize; 2]| Labels { task, classes: pixels.iter().map(|row| sign(row, at)).collect() };
    let ctx = ForwardContext { training: true, seed, ..model.context(48) };
    let batch = Pictures { pixels: images, labels: vec![labels(0, [0, 5]), labels(1, [2, 15])], ctx };
    let (driver, mut optimiser) = (ImageDriver::new(&model, false), AdamW::new(AdamWConfig::default()));
    let mut last = 0.0;
    for _ in 0..120 {
        let mut grads = Grads::new();
        last = driver.micro_step(&model, &batch, (1.0 / 96.0, 1.0), &mut grads)?.loss_sum / 96.0;
        optimiser.step(&params, &grads, 3e-3)?;
    }
    let heads =
        params.iter().filter(|param| param.name.starts_with("head")).map(|param| param.elements()).sum::<usize>();
    Ok((last, params.elements() - heads))
}

#[test]
fn tasks_that_disagree_gain_by_changes_of_their_own_at_equal_size() -> Result<()> {
    let own = [
        ("tasks", text("own,b")),
        ("rank", Value::Integer(1)),
        ("task_rank", Value::Integer(5)),
        ("also", text("nothing")),
        ("mode", text("matrix-v2")),
        ("dropout", Value::Number(0.0)),
    ];
    let shared = [("rank", Value::Integer(3)), ("alpha", Value::Number(12.0))];
    let (mut with, mut without) = (0.0, 0.0);
    for seed in 0..4 {
        let (loss, size) = trained(&method("mtlora", &own), seed)?;
        let (plain, other) = trained(&method("lora", &shared), seed)?;
        ensure!(size <= other && size * 10 >= other * 9, "{size} numbers against {other}");
        (with, without) = (with + loss / 4.0, without + plain / 4.0);
    }
    let gain = mean_relative_gain(&[TaskScore { value: with, reference: without, higher_is_better: false }]);
    ensure!(gain > 0.1, "{with} with changes of their own, {without} without: {gain}");
    Ok(())
}
