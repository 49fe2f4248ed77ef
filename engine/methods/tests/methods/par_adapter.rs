//! Parallel adapters: counts, the scale, what is read.

use crate::bench::{Outcome, blocks, count_blocks, inserted, moved, normal, off};
use temper_nn::Point;
use temper_protocol::Value;

#[test]
fn parameter_count_is_2rd_per_place() -> Outcome {
    let settings = [("width", Value::Integer(512)), ("bias", Value::Flag(false))];
    assert_eq!(count_blocks("par-adapter", &blocks(12, 1024, 256), &settings)?, 12 * 2 * 512 * 1024);
    Ok(())
}

#[test]
fn lora_style_init_equals_the_base_exactly() -> Outcome {
    let (value, entry) = (normal("value", 5, 24, 1.0)?, normal("entry", 5, 24, 1.0)?);
    for (_, inserts) in inserted("par-adapter", &blocks(2, 24, 8), &[])? {
        assert_eq!(off(&inserts.apply(Point::MlpOut, value.clone(), &[(Point::MlpIn, &entry)])?, &value)?, 0.0);
    }
    Ok(())
}

#[test]
fn a_scale_of_zero_is_identity_and_the_change_grows_with_it() -> Outcome {
    let (value, entry) = (normal("value", 5, 24, 1.0)?, normal("entry", 5, 24, 1.0)?);
    let change = |scale: f64| -> Outcome<candle_core::Tensor> {
        let all = inserted("par-adapter", &blocks(1, 24, 8), &[("scale", Value::Number(scale))])?;
        let (_, inserts) = all.first().ok_or("no block")?;
        moved(inserts)?;
        Ok((inserts.apply(Point::MlpOut, value.clone(), &[(Point::MlpIn, &entry)])? - &value)?)
    };
    let zero = change(0.0)?;
    assert_eq!(off(&zero, &zero.zeros_like()?)?, 0.0);
    let one = change(1.0)?;
    assert!(off(&one, &zero)? > 1e-2);
    assert!(off(&change(4.0)?, &one.affine(4.0, 0.0)?)? <= 1e-4);
    Ok(())
}

#[test]
fn a_parallel_adapter_reads_the_entry_of_the_half_and_nothing_else() -> Outcome {
    let (value, other) = (normal("value", 5, 24, 1.0)?, normal("other", 5, 24, 1.0)?);
    let entry = normal("entry", 5, 24, 1.0)?;
    let both = [("placement", Value::Text("both".to_owned()))];
    for (_, inserts) in inserted("par-adapter", &blocks(1, 24, 8), &both)? {
        moved(&inserts)?;
        for (from, to) in [(Point::AttnIn, Point::AttnOut), (Point::MlpIn, Point::MlpOut)] {
            let change = |value: &candle_core::Tensor| -> Outcome<candle_core::Tensor> {
                Ok((inserts.apply(to, value.clone(), &[(from, &entry)])? - value)?)
            };
            assert!(off(&change(&value)?, &change(&other)?)? <= 1e-5, "what the half adds changes the adapter");
        }
    }
    Ok(())
}
