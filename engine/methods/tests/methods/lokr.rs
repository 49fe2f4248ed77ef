//! LoKr: how sides are split, the product, and what few numbers can fit.

use crate::bench::{Outcome, SIDE, best_fit, count, dense_goal, layer, normal, off, param, slots, weight};
use candle_core::Tensor;
use temper_nn::slots::{Delta, KronFactor};
use temper_protocol::Value;

fn settings(rank: i64) -> [(&'static str, Value); 2] {
    [("rank", Value::Integer(rank)), ("alpha", Value::Number(rank as f64))]
}

fn kron(u: &Tensor, v: &Tensor) -> Outcome<Tensor> {
    let ((a, c), (b, d)) = (u.dims2()?, v.dims2()?);
    let (u, v) = (u.reshape((a, 1, c, 1))?, v.reshape((1, b, 1, d))?);
    Ok(u.broadcast_mul(&v)?.reshape((a * b, c * d))?)
}

/// The sizes that PEFT's factorisation gives.
#[test]
fn sides_are_split_as_peft_splits_them() -> Outcome {
    // (out, in, rank, factor): rows and columns of the small side, whether the large one is thin.
    for (out, inp, rank, factor, small, thin) in [
        (64, 64, 2, -1, (8, 8), true),
        (64, 64, 4, -1, (8, 8), false),
        (48, 40, 2, -1, (6, 5), true),
        (48, 40, 2, 4, (4, 4), true),
        (48, 40, 2, 7, (6, 5), true),
        (7, 5, 2, -1, (1, 1), true),
    ] {
        let settings = [("rank", Value::Integer(rank)), ("decompose_factor", Value::Integer(factor))];
        let site = temper_methods::SiteDims {
            out_features: out,
            in_features: inp,
            ..crate::bench::dims("model.layers.0.self_attn.v_proj", false)
        };
        let plan = temper_methods::find("lokr")?.plan(&crate::bench::values(&settings), &[site], 1)?;
        let Some((_, slots)) = plan.adapters.first() else { return Err("no plan".into()) };
        let Delta::Kron(kron) = &slots.delta else { return Err("it is no Kronecker product".into()) };
        assert_eq!(kron.u_size, small, "{out} x {inp}, rank {rank}, factor {factor}");
        assert_eq!((kron.u_size.0 * kron.v_size.0, kron.u_size.1 * kron.v_size.1), (out, inp));
        assert_eq!(matches!(kron.v, KronFactor::Product { .. }), thin, "{out} x {inp}, rank {rank}");
    }
    Ok(())
}

#[test]
fn params_are_both_sides() -> Outcome {
    assert_eq!(count("lokr", 64, 64, &settings(2))?, 64 + 2 * (8 + 8));
    assert_eq!(count("lokr", 64, 64, &settings(8))?, 64 + 64);
    let both = [("rank", Value::Integer(2)), ("decompose_both", Value::Flag(true))];
    assert_eq!(count("lokr", 64, 64, &both)?, 2 * (8 + 8) + 2 * (8 + 8));
    Ok(())
}

#[test]
fn the_change_is_the_kronecker_product() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("lokr", &settings(8))?, 3)?;
    site.params()[0].var.set(&normal("u", 8, 8, 0.3)?)?;
    let expected = (weight()? + kron(&param(&site, "w.u")?, &param(&site, "w.v")?)?)?;
    assert!(off(&site.merged()?.ok_or("it does not merge")?, &expected)? < 1e-5);
    assert!(site.measures_whole_weight());
    Ok(())
}

#[test]
fn a_goal_of_its_kind_is_solved_by_128_numbers_and_a_dense_one_is_not() -> Outcome {
    let change = crate::bench::sized(&kron(&normal("gu", 8, 8, 1.0)?, &normal("gv", 8, 8, 1.0)?)?, 4.0)?;
    let solved = best_fit(&slots("lokr", &settings(8))?, &(weight()? + change)?, 400)?;
    assert!(solved < 0.01, "a Kronecker goal is left at {solved}");
    let dense = best_fit(&slots("lokr", &settings(8))?, &dense_goal()?, 400)?;
    assert!(dense > 0.6 && dense < 1.0, "a dense goal is left at {dense}");
    assert_eq!(SIDE, 64);
    Ok(())
}
