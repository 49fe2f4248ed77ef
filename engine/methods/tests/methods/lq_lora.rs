//! LQ-LoRA: the split of the weight, its base of another storage, and what it is worth on few bits. The programme that
//! spreads bits is tested beside it (`temper_nn::budget`), the weighed decomposition in `temper_nn::repair`.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - codebooks from their derivation -> `nn/src/kernels/base_blocks.rs`, `the_levels_follow_from_the_derivation`
//! - errors of 128 x 128 in NF3 -> `nn/src/repair.rs`,
//!   `errors_in_three_bits_are_those_expected_of_a_drawn_weight_and_of_one_nearly_of_low_rank`
//! - sums of squares of single samples -> `nn/src/site/tests.rs`,
//!   `fisher_information_is_the_sum_of_the_squares_of_each_samples_gradient`
//! - the base of a resumed run -> `train/tests/trainer/resume.rs`,
//!   `a_base_that_a_method_rounded_itself_is_found_again_by_a_resumed_run`
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `language.rs` and `small_net.rs`,
//!   what begins with `lq-lora:`

use crate::bench::{
    Outcome, SIDE, count, fit, layer, low_rank_goal, normal, off, orthogonal, sized, slots, values, weight,
};
use candle_core::Tensor;
use temper_methods::find;
use temper_nn::budget::{Candidate, allocate, total};
use temper_nn::repair::{Compensation, Shape, Weighing, compensate};
use temper_nn::rng::Stream;
use temper_nn::slots::{Calibration, Slots};
use temper_nn::{
    Bits, FrozenLinear, FrozenWeight, Gather, Group, GroupedInt, LayerStats, LinearSite, StorageKind, linalg,
};
use temper_protocol::Value;

const fn grouped(bits: Bits, group: Group) -> StorageKind {
    StorageKind::Grouped(GroupedInt { bits, group })
}

/// The method's slots of rank 8 with the storage that the trainer would fill in.
fn chosen(wanted: StorageKind, rounds: i64) -> Outcome<Slots> {
    let settings = [
        ("rank", Value::Integer(8)),
        ("alpha", Value::Number(8.0)),
        ("rounds", Value::Integer(rounds)),
        ("iterations", Value::Integer(0)),
    ];
    let mut slots = slots("lq-lora", &settings)?;
    if let Calibration::Repair { storage, .. } = &mut slots.calibration {
        *storage = Some(wanted);
    }
    Ok(slots)
}

fn attached(wanted: StorageKind, rounds: i64) -> Outcome<LinearSite> {
    let mut site = layer()?;
    site.attach(&chosen(wanted, rounds)?, 3)?;
    Ok(site)
}

/// Frobenius distance of the layer's weight from the original.
fn error(site: &LinearSite) -> Outcome<f32> {
    let merged = site.merged()?.ok_or("it does not merge")?;
    Ok((merged - weight()?)?.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt())
}

#[test]
fn storage_formula_of_the_bases_on_three_configurations() {
    let bits = |kind: StorageKind| kind.bits_per_value();
    // Codes, and per group a step of 16 bits and a zero point of 8; NF4 with its magnitude in 8 bits, f32 per 256 of them.
    assert!((bits(grouped(Bits::Three, Group::G64)) - (3.0 + 24.0 / 64.0)).abs() < 1e-12);
    assert!((bits(grouped(Bits::Two, Group::G32)) - (2.0 + 24.0 / 32.0)).abs() < 1e-12);
    assert!((bits(StorageKind::Nf4Double) + 32.0 / (64.0 * 256.0) - 4.127).abs() < 1e-3);
    // Codes and a magnitude of 16 bits a block of 64.
    assert!((bits(StorageKind::Nf3) - (3.0 + 16.0 / 64.0)).abs() < 1e-12);
    assert!((bits(StorageKind::Nf2) - (2.0 + 16.0 / 64.0)).abs() < 1e-12);
}

#[test]
fn any_base_is_rounded_to_the_storage_asked_for_and_off_it_is_what_it_was() -> Outcome {
    let site = attached(grouped(Bits::Two, Group::G32), 10)?;
    assert_eq!(site.frozen().ok_or("no frozen weight")?.weight.kind, grouped(Bits::Two, Group::G32));
    let (x, ctx) = (crate::bench::inputs()?, temper_nn::ForwardContext::plain(1, 128));
    site.set_enabled(false);
    assert!(off(&site.forward(&x, &ctx)?, &layer()?.forward(&x, &ctx)?)? == 0.0);
    Ok(())
}

#[test]
fn first_round_errs_less_than_rounding_alone_and_the_best_error_does_not_rise_with_rounds() -> Outcome {
    for kind in [grouped(Bits::Two, Group::G32), grouped(Bits::Three, Group::G64), StorageKind::Nf4] {
        let alone = FrozenWeight::from_tensor("w", &weight()?, kind)?.to_tensor()?;
        let mut last = (alone - weight()?)?.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
        for rounds in [1, 3, 10, 100] {
            let now = error(&attached(kind, rounds)?)?;
            assert!(now <= last * (1.0 + 1e-5), "{} after {rounds} rounds: {now}, before {last}", kind.name());
            last = now;
        }
    }
    Ok(())
}

#[test]
fn at_the_start_the_output_is_that_of_base_and_product_together() -> Outcome {
    let site = attached(StorageKind::Nf4, 10)?;
    let (a, b) = (crate::bench::param(&site, "w.a")?, crate::bench::param(&site, "w.b")?);
    let together = (site.frozen().ok_or("no frozen weight")?.weight.to_tensor()? + b.matmul(&a)?)?;
    assert!(off(&together, &site.merged()?.ok_or("it does not merge")?)? < 1e-5);
    Ok(())
}

#[test]
fn params_are_loras_and_the_budget_is_asked_for() -> Outcome {
    assert_eq!(count("lq-lora", 48, 40, &[("rank", Value::Integer(4))])?, 4 * (48 + 40));
    let method = find("lq-lora")?;
    assert_eq!(method.bits_per_value(&values(&[])), Some(3.0));
    assert_eq!(method.bits_per_value(&values(&[("budget", Value::Number(0.0))])), None);
    let fisher = [("weighing", Value::Text("fisher".to_owned())), ("calibration_rows", Value::Integer(9))];
    let (plain, fisher) = (slots("lq-lora", &[])?, slots("lq-lora", &fisher)?);
    assert_eq!((plain.gathers(), plain.calibration_rows()), (None, 0));
    assert_eq!((fisher.gathers(), fisher.calibration_rows()), (Some(Gather::Fisher), 9));
    assert!(method.belongs_to_its_base(&values(&[])));
    Ok(())
}

/// A change of norm 4 inside the eight leading singular directions of the weight.
fn principal_goal() -> Outcome<Tensor> {
    let side = |name: &str| -> Outcome<Tensor> { Ok(orthogonal(name)?.narrow(1, 0, 8)?.contiguous()?) };
    let change = side("left")?.matmul(&normal("core", 8, 8, 1.0)?)?.matmul(&side("right")?.t()?.contiguous()?)?;
    Ok((weight()? + sized(&change, 4.0)?)?)
}

/// What is left of `goal` after `steps` steps at the best of three rates: LQ-LoRA, and LoRA over the same rounding.
fn both(goal: &Tensor, steps: usize) -> Outcome<(f64, f64)> {
    let kind = grouped(Bits::Two, Group::G32);
    let zero = |lr: f64| -> Outcome<f64> {
        let held = FrozenWeight::from_tensor("w", &weight()?, kind)?;
        let mut site = LinearSite::new("w", FrozenLinear { weight: held.into(), bias: None });
        site.attach(&slots("lora", &[("rank", Value::Integer(8)), ("alpha", Value::Number(8.0))])?, 3)?;
        fit(&mut site, goal, steps, lr)
    };
    let lq = |lr: f64| fit(&mut attached(kind, 100)?, goal, steps, lr);
    let best = |of: &dyn Fn(f64) -> Outcome<f64>| -> Outcome<f64> { Ok(of(3e-3)?.min(of(1e-2)?).min(of(3e-2)?)) };
    Ok((best(&lq)?, best(&zero)?))
}

#[test]
fn at_few_bits_it_starts_lower_and_ends_no_worse_where_the_weights_own_directions_move() -> Outcome {
    let goal = principal_goal()?;
    let (start, end) = (both(&goal, 0)?, both(&goal, 100)?);
    assert!(start.0 < start.1, "start: {} beside {}", start.0, start.1);
    assert!(end.0 <= end.1, "end: {} beside {}", end.0, end.1);
    Ok(())
}

/// What the page warns of: the rank is taken up by the weight's own directions.
#[test]
fn at_few_bits_it_starts_lower_and_ends_worse_where_new_directions_are_needed() -> Outcome {
    let goal = low_rank_goal()?;
    let (start, end) = (both(&goal, 0)?, both(&goal, 100)?);
    assert!(start.0 < start.1, "start: {} beside {}", start.0, start.1);
    assert!(end.0 > end.1, "end: {} beside {}: the page says otherwise", end.0, end.1);
    Ok(())
}

#[test]
fn the_codebooks_of_two_three_and_four_bits_are_the_known_ones_and_the_nearest_code_is_taken() -> Outcome {
    let two = [-1.0f32, 0.0, 0.33792, 1.0];
    let three = [-1.0f32, -0.47863, -0.21714, 0.0, 0.16093, 0.33792, 0.56262, 1.0];
    let four = [
        -1.0f32,
        -0.696_192_8,
        -0.525_073_05,
        -0.394_917_5,
        -0.284_441_38,
        -0.184_773_43,
        -0.091_050_04,
        0.0,
        0.079_580_3,
        0.160_930_2,
        0.246_112_3,
        0.337_915_24,
        0.440_709_83,
        0.562_617,
        0.722_956_84,
        1.0,
    ];
    for (kind, codes) in [(StorageKind::Nf2, two.as_slice()), (StorageKind::Nf3, &three), (StorageKind::Nf4, &four)] {
        let rounded = |values: Vec<f32>| -> Outcome<Vec<f32>> {
            let tensor = Tensor::from_vec(values, (1, 64), &candle_core::Device::Cpu)?;
            Ok(FrozenWeight::from_tensor("w", &tensor, kind)?.to_tensor()?.flatten_all()?.to_vec1()?)
        };
        let exact: Vec<f32> = codes.iter().cycle().take(64).copied().collect();
        assert!(rounded(exact.clone())?.iter().zip(&exact).all(|(found, code)| (found - code).abs() <= 1e-4));
        let drawn: Vec<f32> = (0..64u8).map(|at| if at == 0 { 1.0 } else { f32::from(at).sin() * 0.999 }).collect();
        for (found, value) in rounded(drawn.clone())?.iter().zip(&drawn) {
            let nearest = codes.iter().map(|code| (code - value).abs()).fold(f32::INFINITY, f32::min);
            assert!((found - value).abs() <= nearest + 1e-3, "{}: {value} became {found}", kind.name());
        }
    }
    Ok(())
}

/// What was gathered where sample gradients are `gradient(row, column)`.
fn seen(gradient: impl Fn(usize, usize) -> f32) -> Outcome<LayerStats> {
    let mut stats = LayerStats::new(Gather::Fisher, SIDE);
    stats.take_in(&(0..SIDE * SIDE).map(|at| gradient(at / SIDE, at % SIDE)).collect::<Vec<f32>>())?;
    Ok(stats)
}

/// The layer with LQ-LoRA weighed by what was seen, or not.
fn weighed(stats: Option<&LayerStats>) -> Outcome<LinearSite> {
    let mut slots = chosen(grouped(Bits::Three, Group::G32), 100)?;
    if let (Calibration::Repair { fisher_rows, .. }, Some(_)) = (&mut slots.calibration, stats) {
        *fisher_rows = 8;
    }
    let mut site = layer()?;
    site.attach_with(&slots, 3, stats)?;
    Ok(site)
}

#[test]
fn fisher_weighs_the_split_and_where_all_counts_alike_it_is_the_plain_one() -> Outcome {
    let plain = weighed(None)?;
    let alike = weighed(Some(&seen(|_, _| 0.25)?))?;
    let merged = |site: &LinearSite| -> Outcome<Tensor> { Ok(site.merged()?.ok_or("it does not merge")?) };
    assert!(off(&merged(&plain)?, &merged(&alike)?)? <= 1e-6);
    // F = u vᵀ: rows and columns whose gradients are of very different sizes.
    let size = |at: usize| 0.05 + (at * 13 % SIDE) as f32 / SIDE as f32;
    let fisher = |row: usize, column: usize| size(row) * size(SIDE - 1 - column);
    let ours = weighed(Some(&seen(fisher)?))?;
    assert_eq!(ours.frozen().ok_or("no frozen weight")?.weight.kind, grouped(Bits::Three, Group::G32));
    let error = |site: &LinearSite| -> Outcome<f32> {
        let rest = (merged(site)? - weight()?)?.to_vec2::<f32>()?;
        let weighed = rest.iter().enumerate().map(|(row, values)| {
            values.iter().enumerate().map(|(column, value)| (value * fisher(row, column)).powi(2)).sum::<f32>()
        });
        Ok(weighed.sum::<f32>().sqrt())
    };
    let (plain, ours) = (error(&plain)?, error(&ours)?);
    assert!(ours < 0.95 * plain, "{ours} beside {plain}");
    Ok(())
}

/// What the base was rounded by is remembered: without the data the same weight is made of it again.
#[test]
fn a_weighed_base_is_made_again_from_what_is_remembered() -> Outcome {
    let stats = seen(|row, column| (row + 1) as f32 / (column + 1) as f32)?;
    let site = weighed(Some(&stats))?;
    let remembered = site.memory()?;
    let names: Vec<&str> = remembered.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["fisher_rows.w", "fisher_cols.w", "rounded_to.w"]);
    // Nothing was looked at, and the plan knows no storage.
    let mut slots = chosen(grouped(Bits::Three, Group::G32), 100)?;
    if let Calibration::Repair { fisher_rows, storage, .. } = &mut slots.calibration {
        (*fisher_rows, *storage) = (8, None);
    }
    let mut again = layer()?;
    again.attach(&slots, 3)?;
    assert_eq!(again.frozen().ok_or("no frozen weight")?.weight.kind, StorageKind::F32, "the base is as it was");
    let find = |name: &str| Ok(remembered.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor.clone()));
    again.restore(&find)?;
    let bytes = |site: &LinearSite| -> Outcome<Vec<u8>> {
        Ok(site.frozen().ok_or("no frozen weight")?.weight.bytes().as_slice().to_vec())
    };
    assert!(bytes(&again)? == bytes(&site)?, "another base");
    for param in again.params() {
        param.var.set(&crate::bench::param(&site, &param.name)?)?;
    }
    let merged = |site: &LinearSite| -> Outcome<Tensor> { Ok(site.merged()?.ok_or("it does not merge")?) };
    assert_eq!(off(&merged(&again)?, &merged(&site)?)?, 0.0);
    Ok(())
}

#[test]
fn weighed_decomposition_is_the_plain_one_where_all_count_alike_and_beats_it_where_rows_and_columns_do_not() -> Outcome
{
    const SMALL: usize = 24;
    let drawn = |name: &str, count: usize| -> Outcome<Vec<f64>> {
        Ok(normal(name, 1, count, 1.0)?.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
    };
    let rest = drawn("rest", SMALL * SMALL)?;
    let shape = Shape { out_features: SMALL, in_features: SMALL, rank: 6, iterations: 0 };
    let by = |weighing: Weighing<'_>| compensate(&rest, shape, weighing, &mut Stream::new(1, "weighed"));
    let product = |found: &Compensation| linalg::product(&found.b, &found.a, (SMALL, 6, SMALL));
    let plain = product(&by(Weighing::Plain)?)?;
    let alike = product(&by(Weighing::Separable { rows: &[2.0; SMALL], cols: &[0.5; SMALL] })?)?;
    assert!(plain.iter().zip(&alike).all(|(plain, alike)| (plain - alike).abs() < 1e-8));
    let sizes =
        |name: &str| -> Outcome<Vec<f64>> { Ok(drawn(name, SMALL)?.iter().map(|size| size.abs() + 0.01).collect()) };
    let (rows, cols) = (sizes("rows")?, sizes("cols")?);
    let weighed = product(&by(Weighing::Separable { rows: &rows, cols: &cols })?)?;
    let error = |found: &[f64]| {
        let off = |at: usize| ((rest[at] - found[at]) * rows[at / SMALL] * cols[at % SMALL]).powi(2);
        (0..SMALL * SMALL).map(off).sum::<f64>()
    };
    assert!(error(&weighed) < error(&plain), "{} beside {}", error(&weighed), error(&plain));
    Ok(())
}

#[test]
fn used_bits_keep_the_budget_no_shared_storage_is_better_and_more_bits_never_cost_more() -> Outcome {
    let (mut layers, mut values) = (Vec::new(), 0.0);
    for layer in 0..20 {
        let (size, height) = (1000.0 * f64::from(layer % 5 + 1), f64::from(layer * 7 % 11 + 1));
        values += size;
        let of = |bits: f64| Candidate { bits: bits * size, cost: size * height * 0.25f64.powf(bits) };
        layers.push([2.19, 2.75, 3.19, 4.19, 8.25].map(of).to_vec());
    }
    let mut last = f64::INFINITY;
    for budget in [2.2, 2.75, 3.2, 4.2, 6.0] {
        let answer = allocate(&layers, values, budget).ok_or("it fits")?;
        assert!(total(&layers, &answer, |of| of.bits) <= budget * values * (1.0 + 1e-9), "{budget}");
        let cost = total(&layers, &answer, |of| of.cost);
        for storage in 0..5 {
            let alike = vec![storage; layers.len()];
            if total(&layers, &alike, |of| of.bits) <= budget * values {
                assert!(cost <= total(&layers, &alike, |of| of.cost), "{budget}: storage {storage} for all is better");
            }
        }
        assert!(cost <= last, "{budget}");
        last = cost;
    }
    Ok(())
}
