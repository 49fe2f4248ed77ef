//! Prompt tuning: its size, and that it leaves alone what stands behind it.

use crate::bench::{Outcome, blocks, count_blocks, inserted, normal, off};
use temper_nn::{ForwardContext, Spread};
use temper_protocol::Value;

#[test]
fn parameter_count_is_n_times_d() -> Outcome {
    let model = blocks(12, 768, 768);
    assert_eq!(count_blocks("prompt", &model, &[])?, 20 * 768);
    assert_eq!(count_blocks("prompt", &model, &[("prompt_length", Value::Integer(100))])?, 100 * 768);
    Ok(())
}

#[test]
fn each_segment_gets_the_prompt_and_positions_count_through() -> Outcome {
    let start = ("start", Value::Text("normal".to_owned()));
    let all = inserted("prompt", &blocks(1, 8, 8), &[("prompt_length", Value::Integer(2)), start])?;
    let (stage, inserts) = all.first().ok_or("nothing was inserted")?;
    assert_eq!((stage.as_str(), inserts.prompt_length()), ("embed", 2));
    let prompt = inserts.prompt()?.ok_or("no prompt")?;
    let x = normal("x", 5, 8, 1.0)?.reshape((1, 5, 8))?;
    let ctx = ForwardContext::with_borders(5, vec![vec![0, 2, 5]]);
    let spread = Spread::new(&ctx.borders, ctx.width, 2);
    let wide = spread.put(&x, Some(&prompt))?;
    for start in [0, 4] {
        assert_eq!(off(&wide.narrow(1, start, 2)?.squeeze(0)?, &prompt)?, 0.0);
    }
    assert_eq!(spread.context(&ctx).positions[..], [0, 1, 2, 3, 0, 1, 2, 3, 4]);
    assert_eq!(off(&spread.take(&wide)?, &x)?, 0.0, "tokens keep their places for the labels");
    Ok(())
}
