//! LoHa: the elementwise product as thin factors, its rank, and its start.

use crate::bench::{Outcome, best_fit, count, layer, low_rank_goal, normal, off, param, slots, weight};
use temper_nn::{AdapterExport, LinearSite};
use temper_protocol::Value;

fn settings(rank: i64) -> [(&'static str, Value); 2] {
    [("rank", Value::Integer(rank)), ("alpha", Value::Number(rank as f64))]
}

fn moved(rank: i64) -> Outcome<LinearSite> {
    let mut site = layer()?;
    site.attach(&slots("loha", &settings(rank))?, 3)?;
    for param in site.params() {
        let noise = normal(&param.name, 1, param.elements(), 0.3)?.reshape(param.var.dims())?;
        param.var.set(&(param.var.as_tensor() + noise)?)?;
    }
    Ok(site)
}

#[test]
fn params_are_two_loras() -> Outcome {
    assert_eq!(count("loha", 48, 40, &settings(4))?, 2 * 4 * (48 + 40));
    Ok(())
}

#[test]
fn the_thin_factors_are_the_elementwise_product() -> Outcome {
    let site = moved(3)?;
    let product =
        |b: &str, a: &str| -> Outcome<candle_core::Tensor> { Ok(param(&site, b)?.matmul(&param(&site, a)?)?) };
    let change = (product("w.b1", "w.a1")? * product("w.b2", "w.a2")?)?;
    let merged = site.merged()?.ok_or("it does not merge")?;
    assert!(off(&merged, &(weight()? + change)?)? < 1e-4);
    let exports = site.export()?;
    assert!(matches!(exports.as_slice(), [AdapterExport::LowRank { rank: 9, .. }]));
    Ok(())
}

#[test]
fn its_rank_goes_to_the_square() -> Outcome {
    let telemetry = moved(3)?.telemetry()?.ok_or("nothing is measured")?;
    let used = telemetry.spectrum.iter().filter(|value| **value > 1e-4 * telemetry.spectrum[0]).count();
    assert_eq!((telemetry.rank, used), (9, 9));
    Ok(())
}

#[test]
fn only_one_factor_starts_at_zero() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("loha", &settings(4))?, 3)?;
    for (name, zero) in [("w.b1", false), ("w.a1", false), ("w.b2", true), ("w.a2", false)] {
        let largest = param(&site, name)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert_eq!(largest == 0.0, zero, "{name}");
    }
    Ok(())
}

#[test]
fn it_learns_a_low_rank_goal_in_part() -> Outcome {
    let left = best_fit(&slots("loha", &settings(4))?, &low_rank_goal()?, 400)?;
    assert!(left < 0.7, "{left} is left");
    Ok(())
}
