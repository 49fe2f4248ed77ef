//! SoKA: the split of the weight into Kronecker products, and which goals few of them fit.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `soka:`

use crate::bench::{
    Outcome, SIDE, best_fit, count, inputs, layer, low_rank_goal, normal, off, param, sized, slots, tell, values,
    weight,
};
use candle_core::Tensor;
use temper_methods::{SiteDims, find};
use temper_nn::rules::set_ranks;
use temper_nn::{ForwardContext, linalg};
use temper_protocol::Value;

fn settings(terms: i64, start: &str) -> [(&'static str, Value); 3] {
    [("max_terms", Value::Integer(terms)), ("start", Value::Text(start.to_owned())), ("iterations", Value::Integer(0))]
}

fn kron(u: &Tensor, v: &Tensor) -> Outcome<Tensor> {
    let ((a, c), (b, d)) = (u.dims2()?, v.dims2()?);
    let (u, v) = (u.reshape((a, 1, c, 1))?, v.reshape((1, b, 1, d))?);
    Ok(u.broadcast_mul(&v)?.reshape((a * b, c * d))?)
}

#[test]
fn params_are_both_sides_of_every_term_and_uneven_sides_are_left_out() -> Outcome {
    assert_eq!(count("soka", 64, 64, &settings(2, "zero"))?, 2 * (64 + 64));
    assert_eq!(count("soka", 48, 40, &settings(3, "weight"))?, 3 * (6 * 5 + 8 * 8));
    assert_eq!(count("soka", 24, 24, &settings(256, "zero"))?, 16 * (16 + 36), "no weight has more terms");
    let site = SiteDims { out_features: 62, ..crate::bench::dims("model.layers.0.self_attn.v_proj", false) };
    let refused = find("soka")?.plan(&values(&settings(2, "zero")), &[site], 1);
    assert!(refused.is_err(), "62 = 2 · 31");
    Ok(())
}

#[test]
fn all_terms_are_the_weight_and_start_and_rest_always() -> Outcome {
    let mut whole = layer()?;
    whole.attach(&slots("soka", &settings(64, "weight"))?, 3)?;
    let mut sum = weight()?.zeros_like()?;
    for term in 0..SIDE {
        let number = if term == 0 { String::new() } else { term.to_string() };
        let (u, v) = (param(&whole, &format!("w.u{number}"))?, param(&whole, &format!("w.v{number}"))?);
        sum = (sum + kron(&u, &v)?)?;
    }
    assert!(off(&sum, &weight()?)? <= 1e-5);
    let mut site = layer()?;
    site.attach(&slots("soka", &settings(4, "weight"))?, 3)?;
    assert!(off(&site.merged()?.ok_or("it does not merge")?, &weight()?)? <= 1e-5);
    Ok(())
}

#[test]
fn a_spectrum_decides_how_many_terms_there_are() -> Outcome {
    let site = layer()?;
    let chosen = |energy: f64, least: i64| -> Outcome<usize> {
        let all =
            [&settings(16, "weight")[..], &[("energy", Value::Number(energy)), ("min_terms", Value::Integer(least))]]
                .concat();
        let dims = crate::bench::dims("model.layers.0.self_attn.v_proj", true);
        let mut plan = find("soka")?.plan(&values(&all), &[dims], 1)?.adapters;
        set_ranks(&mut plan, |_, slots, count| site.spectrum(slots, count, 1))?;
        Ok(plan.first().ok_or("no plan")?.1.rank())
    };
    let (few, many) = (chosen(0.01, 1)?, chosen(0.999, 1)?);
    assert!(few == 1 && many > 1 && many <= 16, "{few} and {many}");
    assert_eq!(chosen(0.01, 5)?, 5);
    Ok(())
}

/// The sheet's figures: two products are found by two terms below .01 where LoRA with twice the numbers leaves .48; on a
/// goal of rank 4 four terms leave .46 where LoRA solves it; from the weight two terms leave .39 of the first.
#[test]
fn sums_of_products_fit_their_own_kind_and_not_the_other() -> Outcome {
    let product = |at: usize| kron(&normal(&format!("ku{at}"), 8, 8, 1.0)?, &normal(&format!("kv{at}"), 8, 8, 1.0)?);
    let goal = (weight()? + sized(&(product(0)? + product(1)?)?, 4.0)?)?;
    let lora = slots("lora", &[("rank", Value::Integer(4)), ("alpha", Value::Number(4.0))])?;
    let two = best_fit(&slots("soka", &settings(2, "zero"))?, &goal, 400)?;
    let from_weight = best_fit(&slots("soka", &settings(2, "weight"))?, &goal, 400)?;
    let theirs = best_fit(&lora, &goal, 400)?;
    tell(&format!("two products: two terms leave {two:.4}, from the weight {from_weight:.4}, LoRA {theirs:.4}"));
    assert!(two < 0.01 && theirs > 0.3, "two terms leave {two}, LoRA {theirs}");
    assert!(from_weight > 10.0 * two, "{from_weight}");
    let low = low_rank_goal()?;
    let (four, theirs) = (best_fit(&slots("soka", &settings(4, "zero"))?, &low, 400)?, best_fit(&lora, &low, 400)?);
    tell(&format!("rank 4: four terms leave {four:.4}, LoRA {theirs:.4}"));
    assert!(four > 0.3 && theirs < 0.01, "four terms leave {four}, LoRA {theirs}");
    Ok(())
}

/// R(W)[i1 n1 + j1, i2 n2 + j2] = W[i1 m2 + i2, j1 n2 + j2], and back.
#[test]
fn laying_a_weight_out_by_blocks_and_back_is_the_weight_to_the_bit() -> Outcome {
    let ((m1, n1), (m2, n2)) = ((6, 5), (8, 3));
    let weight: Vec<f64> = (0..m1 * m2 * n1 * n2).map(|at| (at as f64 * 0.37).sin()).collect();
    let blocks = linalg::block_rows(&weight, (m1, n1), (m2, n2))?;
    assert_ne!(blocks, weight);
    let back = |at: usize| {
        let (row, col) = (at / (n1 * n2), at % (n1 * n2));
        let (i1, i2, j1, j2) = (row / m2, row % m2, col / n2, col % n2);
        blocks[(i1 * n1 + j1) * (m2 * n2) + i2 * n2 + j2]
    };
    assert_eq!((0..weight.len()).map(back).collect::<Vec<f64>>(), weight);
    Ok(())
}

/// vec(U X Vᵀ) for an input laid out as X.
#[test]
fn pieces_of_the_input_through_both_sides_equal_the_explicit_product() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("soka", &settings(2, "zero"))?, 3)?;
    for param in site.params() {
        param.var.set(&normal(&param.name, 8, 8, 0.3)?)?;
    }
    let sum =
        (kron(&param(&site, "w.u")?, &param(&site, "w.v")?)? + kron(&param(&site, "w.u1")?, &param(&site, "w.v1")?)?)?;
    let (x, ctx) = (inputs()?, ForwardContext::plain(1, 2 * SIDE));
    let expected = x.matmul(&(weight()? + sum)?.t()?)?;
    let largest = expected.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(off(&site.forward(&x, &ctx)?, &expected)? <= 1e-5 * largest.max(1.0));
    Ok(())
}
