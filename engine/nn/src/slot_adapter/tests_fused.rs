//! Every choice of slots as a fused half carries it, against the graph.

use super::tests::{other_choices, random, shake, site, structures};
use super::*;
use crate::LinearSite;
use crate::fused::Need;
use crate::slots::{
    Base, Calibration, Chain, Core, Delta, Factor, Init, Kron, KronFactor, Normaliser, Picked, Right, Scale, Scatter,
    Source,
};

/// Whether the layer is fused; if so, that output, gradient of the input and of every parameter are those of the graph, and
/// whether its output is lent.
fn is_fused_as_the_graph(name: &str, site: &LinearSite, rows: usize) -> Option<bool> {
    let ctx = ForwardContext { training: true, seed: 1, step: 3, ..ForwardContext::plain(2, rows) };
    let (x, g) = (random("x", &[2 * rows, 6]), random("g", &[2 * rows, 5]));
    let flat = |tensor: &Tensor| values(tensor).unwrap();
    let layer = site.fused(&ctx).unwrap()?;
    let (y, inner) = layer.forward_new(&flat(&x), 2 * rows).unwrap();
    let mut added = vec![1f32; y.len()];
    layer.forward(&flat(&x), 2 * rows, &mut added, true).unwrap();
    let (mut dx, mut grads) = (vec![0f32; 12 * rows], Grads::new());
    layer.backward(&flat(&x), &inner, &flat(&g), 2 * rows, Some(&mut dx), false, &mut grads).unwrap();
    let mut twice = dx.clone();
    layer.backward(&flat(&x), &inner, &flat(&g), 2 * rows, Some(&mut twice), true, &mut Grads::new()).unwrap();
    let input = candle_core::Var::from_tensor(&x.reshape((2, rows, 6)).unwrap()).unwrap();
    let expected = site.forward(input.as_tensor(), &ctx).unwrap();
    let seeded = ops::seed_gradient(&expected, &g.reshape((2, rows, 5)).unwrap()).unwrap();
    let mut store = seeded.backward().unwrap();
    let close = |found: &[f32], expected: &Tensor, what: &str| {
        let expected = flat(expected);
        let size = expected.iter().fold(1f32, |size, value| size.max(value.abs()));
        assert_eq!(found.len(), expected.len(), "{name}: {what}");
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        assert!(off < 2e-5 * size, "{name}: {what} is off by {off} of {size}");
    };
    close(&y, &expected, "the output");
    close(&added, &(&expected + 1.0).unwrap(), "the output added");
    let d_input = store.remove(input.as_tensor()).unwrap();
    close(&dx, &d_input, "the gradient of the input");
    close(&twice, &(&d_input * 2.0).unwrap(), "the gradient of the input added");
    assert_eq!(grads.len(), site.params().len(), "{name}");
    for param in site.params() {
        let expected = store.remove(param.var.as_tensor()).unwrap();
        close(&flat(grads.get(&param.name).unwrap()), &expected, &param.name);
    }
    // With a lent output: the same from a part of it that is found again.
    let (lent, mut found) = layer.forward_lent(&flat(&x), 2 * rows).unwrap();
    assert_eq!(lent, y, "{name}");
    let is_lent = layer.lacks_output(&found);
    layer.restore(&mut found, &lent, 2 * rows).unwrap();
    assert!(!layer.lacks_output(&found), "{name}");
    let (mut dx_of_lent, mut of_lent) = (vec![0f32; 12 * rows], Grads::new());
    layer.backward(&flat(&x), &found, &flat(&g), 2 * rows, Some(&mut dx_of_lent), false, &mut of_lent).unwrap();
    assert_eq!(dx_of_lent, dx, "{name}");
    for (param, gradient) in grads.iter() {
        close(&flat(of_lent.get(param).unwrap()), gradient, &format!("{param} of a lent output"));
    }
    // Without the gradient of the input, and with no more of the input than is asked for.
    let read = match layer.need(2 * rows) {
        Need::Nothing => Vec::new(),
        Need::Columns(columns) => {
            flat(&x).chunks(6).flat_map(|row| columns.iter().map(|&at| row[at as usize]).collect::<Vec<_>>()).collect()
        }
        Need::Whole => flat(&x),
    };
    let mut again = Grads::new();
    layer.backward(&read, &inner, &flat(&g), 2 * rows, None, false, &mut again).unwrap();
    for (one, other) in grads.iter().zip(again.iter()) {
        assert!(one.0 == other.0 && flat(one.1) == flat(other.1), "{name}: {}", one.0);
    }
    Some(is_lent)
}

/// Everything that a fused half carries, against the graph: few positions, and so many that changes go into the rows of
/// the weight.
#[test]
fn fused_layers_compute_what_the_graph_does() {
    let init = Init::Gaussian { std: 0.5 };
    let sketched = Slots {
        base: Base::Dropped,
        calibration: Calibration::Sketch,
        delta: Delta::LookUp { groups: 2, bits: 2, table: Factor::trained(Init::Calibrated) },
        ..Slots::default()
    };
    let alone = Slots {
        base: Base::Dropped,
        calibration: Calibration::Svd { iterations: 0 },
        delta: Delta::Chain(Chain {
            rank: 3,
            b: Factor::trained(Init::Calibrated),
            core: Core::None,
            a: Factor::trained(Init::Calibrated),
        }),
        ..Slots::default()
    };
    let picked = |map: Factor| Slots {
        delta: Delta::Chain(Chain { rank: 6, b: map, core: Core::Diagonal(map), a: Factor::of(Source::Select) }),
        normaliser: Normaliser::ColumnScale(Factor::trained(init)),
        ..Slots::default()
    };
    let many = |base| Slots {
        base,
        calibration: if base == Base::Residual { Calibration::Kronecker { iterations: 0 } } else { Calibration::None },
        scale: Scale::Fixed(0.7),
        delta: Delta::Kron(Kron {
            terms: 2,
            u_size: (5, 3),
            v_size: (1, 2),
            u: KronFactor::Full(Factor::trained(if base == Base::Residual { Init::Calibrated } else { init })),
            v: KronFactor::Full(Factor::trained(if base == Base::Residual { Init::Calibrated } else { init })),
            decompose_factor: -1,
        }),
        ..Slots::default()
    };
    let other = Slots {
        delta: Delta::Kron(Kron {
            terms: 3,
            u_size: (1, 2),
            v_size: (5, 3),
            u: KronFactor::Full(Factor::trained(init)),
            v: KronFactor::Product { rank: 2, outer: Factor::trained(init), inner: Factor::trained(init) },
            decompose_factor: -1,
        }),
        ..Slots::default()
    };
    let entries = |picked| Slots {
        scale: Scale::Fixed(0.7),
        delta: Delta::Scatter(Scatter { picked, values: Factor::trained(init) }),
        ..Slots::default()
    };
    let more = [
        ("all entries in rows", entries(Picked::All)),
        ("many entries in rows", entries(Picked::Smallest { share: 0.3 })),
        ("few entries in rows", entries(Picked::Smallest { share: 0.1 })),
        ("products in rows", many(Base::Original)),
        ("products in rows, residual", many(Base::Residual)),
        ("products of products in rows", other),
        ("sketched", sketched),
        ("alone", alone),
        ("every input, scaled", picked(Factor::trained(init))),
    ];
    for (trained_base, bias) in [(false, true), (false, false), (true, true)] {
        let (mut left, mut lent) = (Vec::new(), Vec::new());
        for (name, slots) in structures().into_iter().chain(other_choices()).chain(more.clone()) {
            let mut site = site(5, 6);
            if !bias {
                let weight = Arc::clone(&site.frozen().unwrap().weight);
                site = LinearSite::new("here", ops::FrozenLinear { weight, bias: None });
            }
            if trained_base {
                site.promote().unwrap();
            }
            let frozen_only = slots.right != Right::None || slots.base == Base::Dropped;
            if trained_base && (frozen_only || matches!(slots.normaliser, Normaliser::RowMagnitude(_))) {
                continue;
            }
            site.attach(&slots, 7).unwrap();
            shake(&site);
            for rows in [4, 40] {
                match is_fused_as_the_graph(name, &site, rows) {
                    None if !left.contains(&name) => left.push(name),
                    Some(true) if !lent.contains(&name) => lent.push(name),
                    None | Some(_) => {}
                }
            }
        }
        // Those of `structures` drop features.
        let entries = ["all entries", "smallest entries"];
        let bare_entries = ["all entries in rows", "many entries in rows", "few entries in rows"];
        let expected = match trained_base {
            true => [&entries[..], &bare_entries[..]].concat(),
            false => [&["magnitude, dropout"], &entries[..], &["ring"]].concat(),
        };
        assert_eq!(left, expected, "what is left to the graph");
        let scaled = ["row scale", "row scale, chain", "left"];
        // A bias behind the magnitudes would take digits with it.
        let magnitudes = ["magnitude alone", "magnitude", "magnitude, residual"];
        let expected = if bias { scaled.to_vec() } else { [&magnitudes[..], &scaled].concat() };
        assert_eq!(lent, expected, "whose output is lent");
    }
}
