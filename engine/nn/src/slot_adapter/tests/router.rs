//! A router over experts: gradients, special cases, and the mean that stands in its place.

use super::*;
use crate::slots::{ExtraLoss, Router};

/// `experts` of two directions each, of which `top` answer, with random starts.
fn routed(experts: usize, top: usize) -> Slots {
    let one = Factor::trained(Init::Gaussian { std: 0.5 });
    Slots {
        delta: Delta::Chain(Chain { rank: 2 * experts, b: one, core: Core::None, a: one }),
        mix: Mix::Routed(Router { experts, top, factor: one }),
        scale: Scale::Fixed(0.7),
        dropout: 0.25,
        loss: ExtraLoss::Balance { weight: 0.3 },
        ..Slots::default()
    }
}

#[test]
fn a_router_and_its_experts_have_right_gradients_with_the_loss_that_is_owed() {
    let x = random("x", &[2, 4, 6]);
    let ctx = ForwardContext { training: true, seed: 1, step: 3, ..ForwardContext::plain(2, 4) };
    for (experts, top) in [(1, 1), (3, 2), (4, 4), (4, 1)] {
        let slots = routed(experts, top);
        let mut site = site(5, 6);
        site.attach(&slots, 7).unwrap();
        let params = site.params();
        let entries: usize = params.iter().map(|param| param.trained().unwrap()).sum();
        assert_eq!(entries, slots.trained_entries(5, 6));
        let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
        assert_eq!(names, ["here.a", "here.b", "here.router"]);
        // Who is chosen is no matter of a small step.
        site.hold_constants(true);
        let total = || {
            let y = site.forward(&x, &ctx)?.sqr()?.sum_all()?;
            let owed = site.extra_loss()?.expect("a training pass owes its balance");
            assert!(site.extra_loss()?.is_none(), "once");
            Ok((y + owed)?)
        };
        check_parameters(total, &params, &GradCheck::f32())
            .unwrap_or_else(|error| panic!("{top} of {experts}: {error}"));
        site.forward(&x, &ForwardContext::plain(2, 4)).unwrap();
        assert!(site.extra_loss().unwrap().is_none(), "a pass that trains nothing owes nothing");
        assert!(site.fused(&ctx).unwrap().is_none());
    }
}

#[test]
fn one_expert_is_its_chain_and_permuted_experts_are_the_same() {
    let (x, ctx) = (random("x", &[2, 4, 6]), ForwardContext::plain(2, 4));
    let mut single = site(5, 6);
    single.attach(&routed(1, 1), 7).unwrap();
    let mut plain = site(5, 6);
    plain.attach(&Slots { mix: Mix::One, loss: ExtraLoss::None, ..routed(1, 1) }, 7).unwrap();
    let off = largest_difference(&single.forward(&x, &ctx).unwrap(), &plain.forward(&x, &ctx).unwrap());
    assert!(off <= 1e-6, "{off}");
    let mut site = site(5, 6);
    site.attach(&routed(4, 2), 7).unwrap();
    let before = site.forward(&x, &ctx).unwrap();
    let order = Tensor::new(&[2u32, 0, 3, 1], &Device::Cpu).unwrap();
    let wide = Tensor::new(&[4u32, 5, 0, 1, 6, 7, 2, 3], &Device::Cpu).unwrap();
    for param in site.params() {
        let (numbers, dim) = match param.name.as_str() {
            "here.router" => (&order, 0),
            "here.a" => (&wide, 0),
            _ => (&wide, 1),
        };
        param.var.set(&param.var.index_select(numbers, dim).unwrap()).unwrap();
    }
    assert!(largest_difference(&site.forward(&x, &ctx).unwrap(), &before) <= 1e-6);
}

#[test]
fn a_router_fits_no_weight_but_its_mean_does() {
    let x = random("x", &[2, 4, 6]);
    let mut site = site(5, 6);
    site.attach(&routed(4, 2), 7).unwrap();
    // The second row is padding after its first token.
    let borders = vec![vec![0, 4], vec![0, 1]];
    let ctx = ForwardContext { training: true, step: 1, ..ForwardContext::with_borders(4, borders) };
    site.forward(&x, &ctx).unwrap();
    let routing = site.telemetry().unwrap().unwrap().routing.unwrap();
    assert!((routing.load.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    assert!((routing.mean.iter().sum::<f64>() - 1.0).abs() < 1e-6);
    assert!(routing.entropy > 0.0 && routing.entropy < 4f64.ln());
    // Ten choices of five tokens.
    assert!(routing.load.iter().all(|load| ((load * 10.0).round() - load * 10.0).abs() < 1e-5), "{:?}", routing.load);
    site.forward(&x, &ctx).unwrap();
    assert_eq!(
        site.telemetry().unwrap().unwrap().routing.unwrap(),
        routing,
        "a pass that is computed again counts once"
    );
    assert!(site.merge().unwrap().is_none() && site.export().is_err());
    let ctx = ForwardContext::plain(2, 4);
    let before = site.forward(&x, &ctx).unwrap();
    assert!(!site.fix_routing(true));
    let y = site.forward(&x, &ctx).unwrap();
    assert!(largest_difference(&y, &before) > 1e-3, "a mean is no router");
    let product = |weight: &Tensor| x.reshape((8, 6)).unwrap().matmul(&weight.t().unwrap()).unwrap();
    let merged = product(&site.merged().unwrap().unwrap()).broadcast_add(&random("bias", &[5])).unwrap();
    assert!(largest_difference(&merged.reshape((2, 4, 5)).unwrap(), &y) < 1e-5);
    assert!(matches!(site.export().unwrap().as_slice(), [AdapterExport::LowRank { rank: 8, .. }]));
    assert!(site.fix_routing(false));
    assert_eq!(largest_difference(&site.forward(&x, &ctx).unwrap(), &before), 0.0);
    // What was seen is in the checkpoint.
    let saved = site.memory().unwrap();
    let mut other = super::site(5, 6);
    other.attach(&routed(4, 2), 7).unwrap();
    assert!(other.memory().unwrap().is_empty());
    other.restore(&|name| Ok(saved.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor.clone()))).unwrap();
    assert_eq!(other.telemetry().unwrap().unwrap().routing.unwrap(), routing);
}
