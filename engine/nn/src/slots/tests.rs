//! What slots count and what they refuse.

use super::*;

#[test]
fn only_trained_factors_count() {
    let chain = |b: Factor, core: Core, a: Factor| Slots {
        delta: Delta::Chain(Chain { rank: 3, b, core, a }),
        ..Slots::default()
    };
    let (trained, frozen) = (Factor::trained(Init::Zeros), Factor::frozen(Init::KaimingUniform));
    assert_eq!(Slots::default().trained_entries(7, 5), 0);
    assert_eq!(chain(trained, Core::None, trained).trained_entries(7, 5), 3 * (7 + 5));
    assert_eq!(chain(frozen, Core::Diagonal(trained), frozen).trained_entries(7, 5), 3);
    assert_eq!(chain(trained, Core::Dense(trained), frozen).trained_entries(7, 5), 21 + 9);
    let normaliser = |normaliser| Slots { normaliser, ..Slots::default() }.trained_entries(7, 5);
    assert_eq!(normaliser(Normaliser::RowMagnitude(Group::default())), 7);
    assert_eq!(normaliser(Normaliser::RowScale(trained)), 7);
    assert_eq!(normaliser(Normaliser::ColumnScale(trained)), 5);
    assert_eq!(Slots { bias: Some(trained), ..Slots::default() }.trained_entries(7, 5), 7);
}

#[test]
fn the_rank_in_a_file_counts_what_the_factors_become() {
    let (trained, summed) = (Factor::trained(Init::Zeros), Factor::of(Source::TiledIdentity));
    let chain = |rank: usize, a: Factor| Chain { rank, b: trained, core: Core::None, a };
    let with = |delta: Delta| Slots { delta, ..Slots::default() };
    assert_eq!(Slots::low_rank(4, Scale::Fixed(1.0)).exported_rank(), Some(4));
    assert_eq!(with(Delta::Chain(chain(64, summed))).exported_rank(), Some(64), "what is not trained is written, too");
    assert_eq!(with(Delta::Hadamard(chain(3, trained), chain(4, trained))).exported_rank(), Some(12));
    let residual = |a: Factor| Slots { base: Base::Residual, ..with(Delta::Chain(chain(4, a))) }.exported_rank();
    assert_eq!((residual(trained), residual(summed)), (Some(8), Some(4)), "the start is taken off again");
    let left = Slots { left: Left::LowRank(Box::new(chain(2, trained))), ..Slots::low_rank(4, Scale::Fixed(1.0)) };
    assert_eq!(left.exported_rank(), Some(6));
    for other in [
        Slots::default(),
        with(Delta::Tile),
        Slots { normaliser: Normaliser::RowMagnitude(Group::default()), ..Slots::low_rank(4, Scale::Fixed(1.0)) },
        Slots { base: Base::Dropped, ..with(Delta::LookUp { groups: 1, bits: 2, table: trained }) },
    ] {
        assert_eq!(other.exported_rank(), None, "{other:?}");
    }
}

#[test]
fn slots_that_no_layer_could_have_are_refused() {
    let plain = Slots::low_rank(4, Scale::Fixed(1.0));
    let looked_up = |groups: usize, bits: usize| Slots {
        base: Base::Dropped,
        calibration: Calibration::Sketch,
        delta: Delta::LookUp { groups, bits, table: Factor::trained(Init::Calibrated) },
        ..Slots::default()
    };
    let routed = |experts: usize, top: usize| Slots {
        mix: Mix::Routed(Router { experts, top, factor: Factor::trained(Init::KaimingUniform) }),
        ..Slots::low_rank(4, Scale::Fixed(1.0))
    };
    assert!(plain.check("here").is_ok() && looked_up(4, 4).check("here").is_ok());
    assert!(routed(2, 2).check("here").is_ok() && routed(4, 1).check("here").is_ok());
    assert_eq!(routed(4, 1).trained_entries(7, 5), 4 * (7 + 5) + 4 * 5);
    for bad in [
        Slots { dropout: 1.0, ..plain.clone() },
        Slots { dropout: f64::NAN, ..plain.clone() },
        Slots { scale: Scale::AlphaOverRank(f64::INFINITY), ..plain.clone() },
        Slots {
            delta: Delta::Chain(Chain {
                rank: 2,
                b: Factor::trained(Init::Calibrated),
                core: Core::None,
                a: Factor::trained(Init::Zeros),
            }),
            ..plain.clone()
        },
        Slots::low_rank(0, Scale::Fixed(1.0)),
        Slots { base: Base::Residual, ..Slots::default() },
        Slots { base: Base::Dropped, ..plain.clone() },
        Slots { base: Base::Dropped, calibration: Calibration::Sketch, ..Slots::default() },
        Slots { calibration: Calibration::Sketch, ..plain },
        Slots { base: Base::Original, ..looked_up(4, 4) },
        Slots { normaliser: Normaliser::RowMagnitude(Group::default()), ..looked_up(4, 4) },
        looked_up(0, 4),
        looked_up(4, 5),
        routed(3, 1),
        routed(2, 3),
        routed(0, 1),
        Slots { bias: Some(Factor::trained(Init::Zeros)), ..routed(2, 1) },
        Slots { delta: Delta::None, ..routed(2, 1) },
        Slots { loss: ExtraLoss::Balance { weight: 0.1 }, ..Slots::low_rank(4, Scale::Fixed(1.0)) },
        Slots { calibration: Calibration::Qr, scale: Scale::Fixed(0.0), ..Slots::low_rank(2, Scale::Fixed(1.0)) },
    ] {
        let error = bad.check("layers.0.attn.q").unwrap_err().to_string();
        assert!(error.contains("layers.0.attn.q"), "{error}");
    }
}
