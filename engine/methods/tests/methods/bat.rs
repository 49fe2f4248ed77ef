//! Bat: blocks of the weight through one trained block per row group.
//!
//! Acceptance: bullet -> test, where it does not stand in this file.
//! - goals and comparisons over three seeds -> `tests/examples/method_seeds`, `layer_cases.rs`, what begins with
//!   `bat:`

use crate::bench::{Outcome, SIDE, best_fit, count, dense_goal, layer, normal, off, param, slots, weight};
use candle_core::Tensor;
use temper_protocol::Value;

fn settings(block: i64) -> [(&'static str, Value); 1] {
    [("rank", Value::Integer(block))]
}

/// `W_ij + W_ij B_i + B_i`, block by block.
fn blockwise(blocks: &Tensor) -> Outcome<Tensor> {
    let (before, size) = (weight()?, blocks.dim(1)?);
    let mut rows = Vec::new();
    for group in 0..SIDE / size {
        let block = blocks.get(group)?;
        let mut pieces = Vec::new();
        for piece in 0..SIDE / size {
            let own = before.narrow(0, group * size, size)?.narrow(1, piece * size, size)?.contiguous()?;
            pieces.push(((&own + own.matmul(&block)?)? + &block)?);
        }
        rows.push(Tensor::cat(&pieces, 1)?);
    }
    Ok(Tensor::cat(&rows, 0)?)
}

#[test]
fn params_are_block_times_out_and_blocks_divide_both_sides() -> Outcome {
    assert_eq!(count("bat", 48, 32, &settings(16))?, 16 * 48);
    assert_eq!(count("bat", 48, 40, &settings(16))?, 8 * 48, "8 is the largest that divides 48 and 40");
    assert_eq!(count("bat", 7, 5, &settings(16))?, 7);
    Ok(())
}

#[test]
fn blockwise_is_dense() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("bat", &settings(8))?, 3)?;
    site.params()[0].var.set(&normal("blocks", 8, 64, 0.2)?.reshape((8, 8, 8))?)?;
    let expected = blockwise(&param(&site, "w.blocks")?)?;
    assert!(off(&site.merged()?.ok_or("it does not merge")?, &expected)? <= 1e-5);
    Ok(())
}

#[test]
fn the_frozen_weight_can_be_returned_to() -> Outcome {
    let mut site = layer()?;
    site.attach(&slots("bat", &settings(8))?, 3)?;
    // I + B of a group may have no inverse: merging cannot be undone, but nothing was overwritten.
    let minus = crate::bench::diagonal((0..8).map(|_| -1.0))?;
    site.params()[0].var.set(&Tensor::stack(&vec![minus; 8], 0)?)?;
    assert!(off(&site.frozen().ok_or("no weight")?.weight.to_tensor()?, &weight()?)? == 0.0);
    site.set_enabled(false);
    let (x, ctx) = (crate::bench::inputs()?, temper_nn::ForwardContext::plain(1, 2 * SIDE));
    assert_eq!(off(&site.forward(&x, &ctx)?, &layer()?.forward(&x, &ctx)?)?, 0.0);
    Ok(())
}

/// At 512 numbers: its own kind of change is solved where LoRA of rank 4 is not; a dense one goes less well.
#[test]
fn changes_of_its_kind_are_solved_and_dense_ones_fit_less_well_than_loras() -> Outcome {
    let lora = [("rank", Value::Integer(4)), ("alpha", Value::Number(4.0))];
    let goal = blockwise(&normal("goal", 8, 64, 0.1)?.reshape((8, 8, 8))?)?;
    let (bat, other) =
        (best_fit(&slots("bat", &settings(8))?, &goal, 400)?, best_fit(&slots("lora", &lora)?, &goal, 400)?);
    assert!(bat < 0.01 && other > 0.05, "Bat leaves {bat}, LoRA {other}");
    let bat = best_fit(&slots("bat", &settings(8))?, &dense_goal()?, 400)?;
    let other = best_fit(&slots("lora", &lora)?, &dense_goal()?, 400)?;
    assert!(bat > other && bat < 0.97, "Bat leaves {bat}, LoRA {other}");
    Ok(())
}
