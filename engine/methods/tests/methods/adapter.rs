//! Bottleneck adapters: counts, starts, placements, what is shared.

use crate::bench::{Outcome, blocks, count_blocks, inserted, moved, normal, off};
use temper_nn::Point;
use temper_protocol::Value;

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

#[test]
fn parameter_count_is_2rd_per_place() -> Outcome {
    let (model, width) = (blocks(12, 1024, 1024), ("width", Value::Integer(512)));
    let bare = ("bias", Value::Flag(false));
    assert_eq!(count_blocks("adapter", &model, &[width.clone(), bare.clone()])?, 12 * 2 * 512 * 1024);
    let both = ("placement", text("houlsby"));
    assert_eq!(count_blocks("adapter", &model, &[width, bare, both])?, 2 * 12 * 2 * 512 * 1024);
    Ok(())
}

#[test]
fn parameters_per_site_with_biases_at_reduction_8() -> Outcome {
    let d = 768;
    let found = count_blocks("adapter", &blocks(1, d, d), &[("width", Value::Integer(d as i64 / 8))])?;
    assert_eq!(found, (2 * d * (d / 8) + d / 8 + d) as u64);
    Ok(())
}

#[test]
fn lora_style_init_equals_the_base_exactly_and_classic_init_is_close() -> Outcome {
    let x = normal("x", 5, 24, 1.0)?;
    for (start, limit) in [("zero-up", 0.0), ("normal", 0.2)] {
        let all = inserted("adapter", &blocks(2, 24, 8), &[("start", text(start))])?;
        assert_eq!(all.len(), 2);
        for (_, inserts) in &all {
            let off = off(&inserts.apply(Point::MlpOut, x.clone(), &[])?, &x)?;
            assert!(off <= limit && (limit == 0.0 || off > 0.0), "{start} is off by {off}");
        }
    }
    Ok(())
}

#[test]
fn a_sequential_adapter_reads_what_the_half_adds() -> Outcome {
    let (x, other) = (normal("x", 5, 24, 1.0)?, normal("other", 5, 24, 1.0)?);
    let all = inserted("adapter", &blocks(1, 24, 8), &[("placement", text("houlsby"))])?;
    for (_, inserts) in &all {
        moved(inserts)?;
        for (point, entry) in [(Point::AttnOut, Point::AttnIn), (Point::MlpOut, Point::MlpIn)] {
            let alone = inserts.apply(point, x.clone(), &[])?;
            assert!(off(&alone, &x)? > 1e-2);
            assert_eq!(off(&inserts.apply(point, x.clone(), &[(entry, &other)])?, &alone)?, 0.0);
        }
    }
    Ok(())
}

#[test]
fn shared_is_less_than_one_each_by_their_number() -> Outcome {
    let model = blocks(6, 32, 8);
    let own = count_blocks("adapter", &model, &[])?;
    let of = |share: &str| count_blocks("adapter", &model, &[("share", text(share))]);
    assert_eq!(own, 6 * of("both")?);
    assert_eq!(of("down")? + of("up")?, own + of("both")?, "half-shared");
    // With both, every block answers alike, and a change in one is a change in all.
    let all = inserted("adapter", &model, &[("share", text("both"))])?;
    let (_, first) = all.first().ok_or("no block")?;
    moved(first)?;
    let x = normal("x", 5, 32, 1.0)?;
    let wanted = first.apply(Point::MlpOut, x.clone(), &[])?;
    for (_, inserts) in &all {
        assert_eq!(off(&inserts.apply(Point::MlpOut, x.clone(), &[])?, &wanted)?, 0.0);
    }
    Ok(())
}

#[test]
fn tasks_share_a_layer_or_both_or_have_their_own() -> Outcome {
    let (model, d, width) = (blocks(6, 32, 8), 32, 4);
    let count = |share: &str| {
        let settings =
            [("tasks", text("own,b,c")), ("share_tasks", text(share)), ("width", Value::Integer(width as i64))];
        count_blocks("adapter", &model, &settings)
    };
    let (down, up) = ((width * d + width) as u64, (d * width + d) as u64);
    assert_eq!(count("none")?, 6 * 3 * (down + up));
    assert_eq!(count("down")?, 6 * (down + 3 * up));
    assert_eq!(count("up")?, 6 * (3 * down + up));
    assert_eq!(3 * count("both")?, count("none")?, "fewer by the number of tasks");
    let refused = count_blocks("adapter", &model, &[("tasks", text("own,b")), ("share", text("down"))]);
    assert!(refused.is_err_and(|error| error.to_string().contains("share no layers between blocks")));
    Ok(())
}
