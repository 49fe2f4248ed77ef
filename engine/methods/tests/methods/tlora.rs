//! TLoRA: the identity at the start, links that come apart, and what a turned weight can fit.

use crate::bench::{
    Outcome, SIDE, best_fit, count, fit, layer, low_rank_goal, normal, off, param, slots, tell, values, weight,
};
use candle_core::Tensor;
use temper_methods::find;
use temper_nn::slots::Right;
use temper_protocol::Value;

fn settings(rank: i64, bond: i64) -> [(&'static str, Value); 3] {
    [("rank", Value::Integer(rank)), ("alpha", Value::Number((rank as f64).sqrt())), ("bond", Value::Integer(bond))]
}

/// The identity with a small random turn.
fn turn(name: &str, side: usize) -> Outcome<Tensor> {
    let all: Vec<f64> =
        normal(name, side, side, 1.0)?.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let q: Vec<f32> = temper_nn::linalg::qr(&all, side, side)?.q.into_iter().map(|value| value as f32).collect();
    Ok(Tensor::from_vec(q, (side, side), &candle_core::Device::Cpu)?)
}

#[test]
fn params_are_the_small_matrices_and_the_factors() -> Outcome {
    assert_eq!(count("tlora", 48, 64, &settings(2, 1))?, 3 * 16 + 2 * (48 + 64));
    assert_eq!(count("tlora", 48, 576, &settings(1, 2))?, 4 * (64 + 64 + 81) + 48 + 576);
    // A width with large divisors only.
    let site = temper_methods::SiteDims {
        in_features: 2 * 509,
        ..crate::bench::dims("model.layers.0.self_attn.v_proj", false)
    };
    assert!(find("tlora")?.plan(&values(&settings(1, 1)), &[site], 1).is_err());
    Ok(())
}

#[test]
fn it_starts_as_the_weight_also_with_links_that_differ() -> Outcome {
    for bond in [1, 2, 3] {
        let mut site = layer()?;
        site.attach(&slots("tlora", &settings(1, bond))?, 3)?;
        assert!(off(&site.merged()?.ok_or("it does not merge")?, &weight()?)? <= 1e-5, "{bond} links");
        let ring = param(&site, "w.ring0")?;
        let links: Vec<f32> = ring.flatten_from(2)?.narrow(2, 0, 1)?.flatten_all()?.to_vec1()?;
        assert_eq!(links.len(), (bond * bond) as usize);
        let apart = links.iter().enumerate().all(|(at, link)| links[..at].iter().all(|other| other != link));
        assert!(apart, "{links:?}");
        let tail = find("tlora")?.plan(
            &values(&settings(1, bond)),
            &[crate::bench::dims("model.layers.0.mlp.v_proj", true)],
            1,
        )?;
        let Some((_, slots)) = tail.adapters.first() else { return Err("no plan".into()) };
        assert!(matches!(slots.right, Right::Ring { sizes: [4, 4, 4], .. }), "{:?}", slots.right);
    }
    Ok(())
}

#[test]
fn the_loss_is_the_distance_of_the_small_matrices_from_their_share() -> Outcome {
    let mut site = layer()?;
    let with = [&settings(1, 1)[..], &[("identity", Value::Number(2.0))]].concat();
    site.attach(&slots("tlora", &with)?, 3)?;
    assert_eq!(site.extra_loss()?.ok_or("no loss")?.to_scalar::<f32>()?, 0.0);
    let ring = site.params().into_iter().find(|param| param.name == "w.ring1").ok_or("no ring")?;
    ring.var.set(&(ring.var.as_tensor() + 0.5)?)?;
    assert!((site.extra_loss()?.ok_or("no loss")?.to_scalar::<f32>()? - 2.0 * 16.0 * 0.25).abs() < 1e-5);
    Ok(())
}

/// A goal whose inputs are turned by three small orthogonal matrices: the transform finds it where LoRA of rank 16 does not;
/// on a goal of low rank LoRA is better.
#[test]
fn a_turned_weight_fits_its_own_kind_and_not_the_other() -> Outcome {
    let (a, b, c) = (turn("t0", 4)?, turn("t1", 4)?, turn("t2", 4)?);
    let kron = |u: &Tensor, v: &Tensor| -> Outcome<Tensor> {
        let ((p, q), (r, s)) = (u.dims2()?, v.dims2()?);
        Ok(u.reshape((p, 1, q, 1))?.broadcast_mul(&v.reshape((1, r, 1, s))?)?.reshape((p * r, q * s))?)
    };
    let whole = kron(&kron(&a, &b)?, &c)?;
    assert_eq!(whole.dims(), [SIDE, SIDE]);
    let goal = weight()?.matmul(&whole)?;
    let lora = |rank: i64| slots("lora", &[("rank", Value::Integer(rank)), ("alpha", Value::Number(rank as f64))]);
    let mut ours = best_fit(&slots("tlora", &settings(1, 1))?, &goal, 400)?;
    // A large turn is far away: the transform may need a larger step than factors do.
    let mut site = layer()?;
    site.attach(&slots("tlora", &settings(1, 1))?, 3)?;
    ours = ours.min(fit(&mut site, &goal, 400, 1e-1)?);
    let theirs = best_fit(&lora(4)?, &goal, 400)?;
    tell(&format!("turned: TLoRA leaves {ours:.4}, LoRA of rank 4 {theirs:.4}"));
    let low = low_rank_goal()?;
    let (thin, plain) = (best_fit(&slots("tlora", &settings(3, 1))?, &low, 400)?, best_fit(&lora(4)?, &low, 400)?);
    tell(&format!("rank 4: TLoRA of rank 3 leaves {thin:.4}, LoRA {plain:.4}"));
    assert!(ours < 0.5 * theirs, "TLoRA leaves {ours}, LoRA {theirs}");
    assert!(thin > plain, "TLoRA leaves {thin}, LoRA {plain}");
    Ok(())
}
