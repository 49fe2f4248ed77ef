//! Polyhistor: sizes, and what they do not grow with. What a generated matrix is, is tested where it is made.
//!
//! Acceptance, each with its test; without a file it is in `nn/src/insertion/tests_task.rs`:
//! - shape and values of the Kronecker product:
//!   `a_generated_layer_is_a_kronecker_product_of_what_the_vector_of_its_task_makes`
//! - the sum over q, and a rank of at most q times that of S:
//!   `a_generated_layer_sums_over_its_rank_and_has_at_most_that_times_the_rank_of_its_scaling`
//! - the parameter formula: here, `parameter_count_is_vectors_generators_and_a_scaling_for_each_block`
//! - tasks differ, equal vectors make equal adapters:
//!   `equal_vectors_make_equal_adapters_and_blocks_share_what_makes_them`
//! - at equal size no worse than adapters of their own: `tests/examples/method_seeds/tasks.rs` (it does not come out; the
//!   page has the numbers)

use crate::bench::{Outcome, blocks, count_blocks, values};
use temper_methods::find;
use temper_nn::Point;
use temper_protocol::Value;

fn tasks(names: &str) -> (&'static str, Value) {
    ("tasks", Value::Text(names.to_owned()))
}

#[test]
fn parameter_count_is_vectors_generators_and_a_scaling_for_each_block() -> Outcome {
    let (d, k, q, m, layers) = (96u64, 64, 8, 2, 12);
    let model = blocks(layers as usize, d as usize, d as usize);
    let (width, generators) = (d / 4, |width: u64| 2 * (2 * k * q * (d + width) / m));
    let found = count_blocks("polyhistor", &model, &[tasks("own,depth,edges")])?;
    assert_eq!(found, 3 * k + generators(width) + layers * 2 * (2 * m * m));
    let one = count_blocks("polyhistor", &model, &[tasks("own")])?;
    assert_eq!(found - one, 2 * k, "a further task costs its vector");
    let plain = count_blocks("polyhistor", &model, &[tasks("own"), ("copies", Value::Integer(1))])?;
    assert!(plain > one, "copies take numbers out of the generators");
    let mlp = count_blocks("polyhistor", &model, &[tasks("own"), ("placement", Value::Text("mlp".to_owned()))])?;
    assert_eq!(mlp, k + generators(width) / 2 + layers * 2 * m * m);
    Ok(())
}

#[test]
fn copies_that_do_not_divide_are_refused_and_so_is_a_task_named_twice() -> Outcome {
    let model = blocks(2, 32, 32);
    let refused = |settings: &[(&str, Value)]| -> Outcome<String> {
        let plan = find("polyhistor")?.plan(&values(settings), &model.sites, 1);
        Ok(plan.err().ok_or("it is accepted")?.to_string())
    };
    assert!(refused(&[("copies", Value::Integer(3))])?.contains("does not divide 32 features"));
    assert!(refused(&[tasks("own,a,a")])?.contains("a is listed twice"));
    let plan = find("polyhistor")?.plan(&values(&[]), &model.sites, 1)?;
    let points: Vec<Point> = plan.insertions.iter().map(|insertion| insertion.what.point()).collect();
    assert_eq!(points, [Point::AttnOut, Point::MlpOut, Point::AttnOut, Point::MlpOut]);
    Ok(())
}
