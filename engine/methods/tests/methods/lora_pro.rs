//! LoRA-Pro: its pair on a layer, its memory, and when it is ahead of LoRA. In f64 the pair is tested where it is computed.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - the induced gradient in f64 -> `nn/src/slot_adapter/gradient.rs`,
//!   `induced_gradient_is_independent_of_x_and_equals_the_projection`
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `lora-pro:`

use crate::bench::{Outcome, SIDE, count, dense_goal, fit, layer, low_rank_goal, normal, param, sized, slots, weight};
use candle_core::Tensor;
use std::collections::BTreeMap;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::Value;

fn settings(form: &str) -> [(&'static str, Value); 3] {
    [("rank", Value::Integer(8)), ("alpha", Value::Number(8.0)), ("form", Value::Text(form.to_owned()))]
}

/// LoRA under plain gradient descent.
fn plain() -> Slots {
    let chain = Chain {
        rank: 8,
        b: Factor::trained(Init::Zeros).moved_plainly(),
        core: Core::None,
        a: Factor::trained(Init::KaimingUniform).moved_plainly(),
    };
    Slots { delta: Delta::Chain(chain), scale: Scale::AlphaOverRank(8.0), ..Slots::default() }
}

fn best(slots: &Slots, goal: &Tensor, steps: usize, rates: &[f64]) -> Outcome<f64> {
    let mut best = f64::INFINITY;
    for lr in rates {
        let mut site = layer()?;
        site.attach(slots, 3)?;
        // Too high a rate leaves numbers that are not finite, which the pair refuses.
        let left = fit(&mut site, goal, steps, *lr).unwrap_or(f64::INFINITY);
        if left.is_finite() {
            best = best.min(left);
        }
    }
    Ok(best)
}

/// From 1e-3 on, each twice the one before.
fn rates() -> Vec<f64> {
    (0..13).map(|power| 1e-3 * f64::from(1 << power)).collect()
}

#[test]
fn params_are_loras() -> Outcome {
    assert_eq!(count("lora-pro", 48, 40, &settings("adam"))?, 8 * (48 + 40));
    Ok(())
}

/// A change of rank `rank` and norm 4.
fn goal_of_rank(rank: usize) -> Outcome<Tensor> {
    let change = normal("goal b", SIDE, rank, 1.0)?.matmul(&normal("goal a", rank, SIDE, 1.0)?)?;
    Ok((weight()? + sized(&change, 4.0)?)?)
}

/// The same on a dense goal is asked for over three seeds (`tests/examples/method_seeds`).
#[test]
fn thirty_plain_steps_leave_at_most_85_hundredths_of_loras_where_the_goal_has_a_rank() -> Outcome {
    for rank in [4, 16] {
        let goal = goal_of_rank(rank)?;
        let lora = best(&plain(), &goal, 30, &rates())?;
        let pro = best(&slots("lora-pro", &settings("sgd"))?, &goal, 30, &rates())?;
        assert!(pro <= 0.85 * lora, "rank {rank}: LoRA-Pro leaves {pro}, LoRA {lora}");
    }
    let goal = dense_goal()?;
    let (lora, pro) =
        (best(&plain(), &goal, 30, &rates())?, best(&slots("lora-pro", &settings("sgd"))?, &goal, 30, &rates())?);
    crate::bench::tell(&format!("dense: LoRA-Pro leaves {pro:.4}, LoRA {lora:.4}"));
    assert!(pro < lora, "LoRA-Pro leaves {pro}, LoRA {lora}");
    Ok(())
}

#[test]
fn with_moments_it_is_no_worse_than_loras_adam() -> Outcome {
    let goal = low_rank_goal()?;
    let rates = [1e-3, 3e-3, 1e-2, 3e-2, 0.1];
    let lora = best(&slots("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))])?, &goal, 30, &rates)?;
    let pro = best(&slots("lora-pro", &settings("adam"))?, &goal, 30, &rates)?;
    assert!(pro <= 1.1 * lora, "LoRA-Pro leaves {pro}, LoRA {lora}");
    Ok(())
}

#[test]
fn what_it_remembers_is_all_that_going_on_needs() -> Outcome {
    let goal = dense_goal()?;
    let attached = || -> Outcome<_> {
        let mut site = layer()?;
        site.attach(&slots("lora-pro", &settings("adam"))?, 3)?;
        Ok(site)
    };
    let mut whole = attached()?;
    fit(&mut whole, &goal, 5, 1e-2)?;
    let mut saved: BTreeMap<String, Tensor> = whole.memory()?.into_iter().collect();
    assert_eq!(saved.keys().map(String::as_str).collect::<Vec<_>>(), ["first.w", "second.w", "steps.w"]);
    let mut other = attached()?;
    for (param, old) in other.params().iter().zip(whole.params()) {
        param.var.set(&old.var.as_tensor().copy()?)?;
        saved.insert(old.name.clone(), old.var.as_tensor().copy()?);
    }
    other.restore(&|name| Ok(saved.get(name).cloned()))?;
    fit(&mut whole, &goal, 5, 1e-2)?;
    fit(&mut other, &goal, 5, 1e-2)?;
    let bits = |site| -> Outcome<Vec<f32>> { Ok(param(site, "w.a")?.flatten_all()?.to_vec1()?) };
    assert_eq!(bits(&whole)?, bits(&other)?);
    Ok(())
}

/// A pair as the method makes it of a gradient G of the weight, with factors whose Gram matrices are diagonal.
struct Pair {
    scale: f64,
    gradient: Tensor,
    /// Orthonormal columns of B and rows of A, and their sizes.
    left: Tensor,
    right: Tensor,
    sizes: [Vec<f64>; 2],
    own: [Tensor; 2],
    adjusted: [Tensor; 2],
}

fn columns(basis: &Tensor, sizes: &[f64]) -> Outcome<Tensor> {
    let sizes: Vec<f32> = sizes.iter().map(|size| *size as f32).collect();
    Ok(basis.broadcast_mul(&Tensor::from_vec(sizes, (1, 8), &candle_core::Device::Cpu)?)?)
}

fn pair() -> Outcome<Pair> {
    let mut site = layer()?;
    let settings = [settings("sgd").to_vec(), vec![("alpha", Value::Number(16.0))]].concat();
    site.attach(&slots("lora-pro", &settings)?, 3)?;
    let orthonormal = |name| -> Outcome<Tensor> { Ok(crate::bench::orthogonal(name)?.narrow(1, 0, 8)?.contiguous()?) };
    let (left, right) = (orthonormal("pair left")?, orthonormal("pair right")?);
    let sizes = [0.7, 1.3].map(|first| (0..8).map(|at| first + 0.1 * f64::from(at)).collect::<Vec<f64>>());
    let (b, a) = (columns(&left, &sizes[0])?, columns(&right, &sizes[1])?.t()?.contiguous()?);
    for param in site.params() {
        param.var.set(if param.name == "w.a" { &a } else { &b })?;
    }
    // Unit vectors as inputs: the gradient of the weight is what the answers, turned, are multiplied by.
    let gradient = normal("pair gradient", SIDE, SIDE, 1.0)?;
    let x = Tensor::eye(SIDE, candle_core::DType::F32, &candle_core::Device::Cpu)?;
    let y = site.forward(&x, &temper_nn::ForwardContext::plain(1, SIDE))?;
    let set = temper_nn::ParamSet::new(site.params())?;
    let mut grads = temper_nn::Grads::new();
    grads.collect(&set, &mut (y * gradient.t()?)?.sum_all()?.backward()?)?;
    let both = |grads: &temper_nn::Grads| -> Outcome<[Tensor; 2]> {
        let of = |name: &str| grads.get(name).cloned().ok_or_else(|| format!("{name} has no gradient"));
        Ok([of("w.b")?, of("w.a")?])
    };
    let own = both(&grads)?;
    site.map_grads(&mut grads)?;
    site.observe(&grads)?;
    site.map_step(&mut grads, temper_nn::rules::At { step: 1, total: 30 })?;
    Ok(Pair { scale: 2.0, gradient, left, right, sizes, own, adjusted: both(&grads)? })
}

impl Pair {
    /// The change of the weight that steps of both factors stand for.
    fn induced(&self, [outer, inner]: &[Tensor; 2]) -> Outcome<Tensor> {
        let (b, a) = (columns(&self.left, &self.sizes[0])?, columns(&self.right, &self.sizes[1])?.t()?);
        Ok((b.matmul(inner)? + outer.matmul(&a.contiguous()?)?)?.affine(self.scale, 0.0)?)
    }
}

fn norm(tensor: &Tensor) -> Outcome<f64> {
    Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt()))
}

/// P_B G + G P_A − P_B G P_A has no X in it, and the pair was made with one.
#[test]
fn induced_gradient_equals_the_projection_whatever_x_is() -> Outcome {
    let pair = pair()?;
    let (left, right) =
        (pair.left.matmul(&pair.left.t()?.contiguous()?)?, pair.right.matmul(&pair.right.t()?.contiguous()?)?);
    let (by_left, by_right) = (left.matmul(&pair.gradient)?, pair.gradient.matmul(&right)?);
    let wanted = ((&by_left + by_right)? - by_left.matmul(&right)?)?;
    let off = norm(&(pair.induced(&pair.adjusted)? - &wanted)?)? / norm(&wanted)?;
    assert!(off <= 1e-5, "{off:e}");
    Ok(())
}

#[test]
fn none_of_a_thousand_drawn_pairs_comes_closer_to_the_gradient() -> Outcome {
    let pair = pair()?;
    let ours = norm(&(pair.induced(&pair.adjusted)? - &pair.gradient)?)?;
    for draw in 0..1000 {
        let drawn = [normal(&format!("outer {draw}"), SIDE, 8, 1.0)?, normal(&format!("inner {draw}"), 8, SIDE, 1.0)?];
        let change = pair.induced(&drawn)?;
        // As long as serves it best.
        let along = f64::from((&change * &pair.gradient)?.sum_all()?.to_scalar::<f32>()?) / norm(&change)?.powi(2);
        let theirs = norm(&(change.affine(along, 0.0)? - &pair.gradient)?)?;
        assert!(ours <= theirs, "draw {draw} is {theirs} away, the pair {ours}");
    }
    Ok(())
}

/// M X + X N = −s⁻² M⁻¹ gA Aᵀ with M and N diagonal here, X read off the pair.
#[test]
fn the_equation_of_x_is_solved_to_1e_5() -> Outcome {
    let pair = pair()?;
    let squares = |sizes: &[f64]| sizes.iter().map(|size| size * size).collect::<Vec<f64>>();
    let [m, n] = [squares(&pair.sizes[0]), squares(&pair.sizes[1])];
    let rows = |values: &[Vec<f32>], by: &[f64]| -> Vec<Vec<f64>> {
        values.iter().zip(by).map(|(row, by)| row.iter().map(|value| f64::from(*value) * by).collect()).collect()
    };
    let a_t = columns(&pair.right, &pair.sizes[1])?;
    let onto = |inner: &Tensor| -> Outcome<Vec<Vec<f32>>> { Ok(inner.matmul(&a_t)?.to_vec2()?) };
    let inverse: Vec<f64> = m.iter().map(|m| 1.0 / (pair.scale * pair.scale * m)).collect();
    let plain = rows(&onto(&pair.own[1])?, &inverse);
    let moved = rows(&onto(&pair.adjusted[1])?, &[1.0; 8]);
    let (mut off, mut size) = (0.0, 0.0);
    for row in 0..8 {
        for col in 0..8 {
            let x = (moved[row][col] - plain[row][col]) / n[col];
            off += (m[row] * x + x * n[col] + plain[row][col]).powi(2);
            size += plain[row][col].powi(2);
        }
    }
    assert!(off.sqrt() <= 1e-5 * size.sqrt(), "{:e} of {:e}", off.sqrt(), size.sqrt());
    Ok(())
}

#[test]
fn the_pair_and_the_own_gradients_point_the_same_way() -> Outcome {
    let pair = pair()?;
    let product = |at: usize| -> Outcome<f64> {
        Ok(f64::from((&pair.own[at] * &pair.adjusted[at])?.sum_all()?.to_scalar::<f32>()?))
    };
    let inner = product(0)? + product(1)?;
    assert!(inner > 0.0, "{inner}");
    Ok(())
}
