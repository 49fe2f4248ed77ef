//! p-Adapter: where it works, its size. Its formulas are tested where they are computed.
//!
//! Acceptance, each with its test in `nn/src/insertion/tests_encoder.rs`:
//! - exponent 2 is plain smoothing, the gradient of the exponent, with edges to oneself and without:
//!   `a_laplacian_of_exponent_two_is_plain_smoothing_and_its_gradients_are_right`
//! - rows of α Ã and β sum to 1: `what_a_message_weighs_sums_to_one_at_every_exponent`
//! - the literal formula degenerates (.9998, .94, .55), ours stays below a half:
//!   `the_literal_formula_degenerates_and_ours_does_not`

use crate::bench::{Outcome, blocks, count_blocks};
use temper_methods::find;
use temper_nn::{Insert, Point};
use temper_protocol::{Value, Values};

#[test]
fn parameter_count_follows_nodes_gate_and_wide_layer() -> Outcome {
    // Heads of 4 features: nodes of one feature at reduction 4.
    let (d, heads) = (32, 8);
    let found = count_blocks("p-adapter", &blocks(2, d, d), &[("reduction", Value::Integer(4))])?;
    let smoothing = (2 * 4 + 1) + heads * (d + 1) + d * (heads + 1) + 2;
    let bottleneck = 2 * d * (d / 4) + d / 4 + d;
    assert_eq!(found, 2 * (smoothing + bottleneck) as u64);
    Ok(())
}

#[test]
fn it_accompanies_a_plain_bottleneck_behind_the_mlp_and_is_for_encoders() -> Outcome {
    let p_adapter = find("p-adapter")?;
    assert_eq!(p_adapter.declared().families, ["encoder"]);
    let plan = p_adapter.plan(&Values::default(), &blocks(2, 32, 32).sites, 1)?;
    let behind = plan.insertions.iter().filter(|insertion| match &insertion.what {
        Insert::Bottleneck(bottleneck) => bottleneck.reads == Point::MlpOut && bottleneck.width == 4,
        _ => false,
    });
    assert_eq!((plan.insertions.len(), behind.count()), (4, 2));
    Ok(())
}
