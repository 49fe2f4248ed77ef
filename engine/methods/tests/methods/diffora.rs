//! DiffoRA: which layers gates choose, and that what is left is LoRA on them.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `spread.rs`, what begins with
//!   `diffora:`

use crate::alloc::{Bench, STEPS, plan, uniform};
use crate::bench::{Outcome, SIDE, count, inputs, layer, normal, off, slots, tell};
use candle_core::Tensor;
use temper_nn::{AdapterExport, ForwardContext};
use temper_protocol::Value;

fn settings(search: f64) -> [(&'static str, Value); 5] {
    [
        ("rank", Value::Integer(6)),
        ("alpha", Value::Number(6.0)),
        ("search_share", Value::Number(search)),
        ("gate_lr_ratio", Value::Number(5.0)),
        ("cost", Value::Number(0.1)),
    ]
}

fn adapted(bench: &Bench) -> Vec<usize> {
    (0..bench.sites.len()).filter(|at| bench.sites[*at].is_adapted()).collect()
}

#[test]
fn params_are_loras_and_a_gate() -> Outcome {
    assert_eq!(count("diffora", 48, 40, &settings(0.1))?, 6 * (48 + 40) + 1);
    Ok(())
}

/// The sheet's prototype: the four layers with most to learn, .14 left against .30.
#[test]
fn gates_find_the_layers_with_most_to_learn() -> Outcome {
    let (mut ours, mut theirs) = (0.0, 0.0);
    for seed in 1..=3 {
        let mut bench = Bench::new(&plan("diffora", &settings(0.1))?, seed)?;
        ours += bench.train(1e-2)? / 3.0;
        theirs += uniform(seed)? / 3.0;
        let kept = adapted(&bench);
        tell(&format!("seed {seed}: layers {kept:?} are kept"));
        assert!(kept.len() == 4 && kept[..2] == [0, 1], "{kept:?}");
    }
    tell(&format!("DiffoRA leaves {ours:.4}, LoRA of half the rank everywhere {theirs:.4}"));
    assert!(ours <= 0.7 * theirs, "DiffoRA leaves {ours}, LoRA {theirs}");
    Ok(())
}

#[test]
fn what_is_left_is_lora_on_the_chosen_layers() -> Outcome {
    let mut bench = Bench::new(&plan("diffora", &settings(0.1))?, 2)?;
    let last = STEPS / 10;
    for step in 1..=last {
        bench.step(step, STEPS, 1e-2)?;
    }
    // Chosen and begun again: gates are open to the bit, B is zero, half of the layers are as they were.
    let trained: usize = bench.params.trained()?;
    assert_eq!(trained, 4 * 6 * (32 + 32), "gates are held");
    assert_eq!(bench.moves.len(), 8, "every layer's choice is told");
    for site in bench.sites.iter().filter(|site| site.is_adapted()) {
        let exports = site.export()?;
        let [AdapterExport::LowRank { b, scale, rank: 6, .. }] = exports.as_slice() else {
            return Err("it is no LoRA".into());
        };
        assert!(*scale == 1.0 && b.abs()?.max_all()?.to_scalar::<f32>()? == 0.0);
        assert!(site.extra_loss()?.is_none(), "an open gate costs nothing");
    }
    bench.step(last + 1, STEPS, 1e-2)?;
    for site in bench.sites.iter().filter(|site| site.is_adapted()) {
        let exports = site.export()?;
        let [AdapterExport::LowRank { b, .. }] = exports.as_slice() else { return Err("it is no LoRA".into()) };
        let own = site.params().into_iter().find(|param| param.name.ends_with(".b")).ok_or("no B")?;
        assert_eq!(off(b, own.var.as_tensor())?, 0.0, "the gate changes B");
    }
    Ok(())
}

#[test]
fn with_open_gates_it_is_lora_to_1e_6() -> Outcome {
    let (mut gated, mut lora) = (layer()?, layer()?);
    gated.attach(&slots("diffora", &settings(0.1))?, 3)?;
    lora.attach(&slots("lora", &settings(0.1)[..2])?, 3)?;
    for site in [&gated, &lora] {
        for param in site.params() {
            let dims = param.var.dims();
            let open = param.name == "w.core";
            let values = if open {
                Tensor::full(40f32, dims, param.var.device())?
            } else {
                normal(&param.name, dims[0], dims[1], 0.3)?
            };
            param.var.set(&values)?;
        }
    }
    assert_eq!(gated.params().len(), lora.params().len() + 1, "a gate more");
    let (x, ctx) = (inputs()?, ForwardContext::plain(1, 2 * SIDE));
    let (ours, theirs) = (gated.forward(&x, &ctx)?, lora.forward(&x, &ctx)?);
    let largest = theirs.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(off(&ours, &theirs)? <= 1e-6 * largest.max(1.0), "{}", off(&ours, &theirs)?);
    Ok(())
}
