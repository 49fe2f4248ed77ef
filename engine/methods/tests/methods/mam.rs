//! Mix-and-match: the size of its parts, and that it is made of them.

use crate::bench::{Outcome, blocks, count_blocks};
use temper_methods::find;
use temper_nn::{Insert, Point};
use temper_protocol::{Value, Values};

#[test]
fn encoder_decoder_with_36_attentions_and_24_mlps_has_27_4_million() -> Outcome {
    let direct = [("prefix_length", Value::Integer(30)), ("net_width", Value::Integer(0))];
    let beside = [direct.to_vec(), vec![("width", Value::Integer(512))]].concat();
    // 24 blocks of both, and the prefix of the 12 attentions that look across.
    let all = count_blocks("mam", &blocks(24, 1024, 1024), &beside)?
        + count_blocks("prefix", &blocks(12, 1024, 1024), &direct)?;
    assert_eq!(all, 36 * 2 * 30 * 1024 + 24 * (2 * 512 * 1024 + 512 + 1024));
    assert!((all as f64 / 1e6 - 27.4).abs() < 0.05, "{all}");
    Ok(())
}

#[test]
fn each_block_gets_a_prefix_and_a_scaled_adapter_beside_its_mlp() -> Outcome {
    let plan = find("mam")?.plan(&Values::default(), &blocks(3, 32, 8).sites, 1)?;
    assert_eq!(plan.insertions.len(), 6);
    for layer in 0..3 {
        let stage = format!("layers.{layer}");
        let own: Vec<&Insert> = plan
            .insertions
            .iter()
            .filter(|insertion| insertion.stage == stage)
            .map(|insertion| &insertion.what)
            .collect();
        let [Insert::Prefix(prefix), Insert::Bottleneck(beside)] = own.as_slice() else {
            return Err(format!("{stage} has {own:?}").into());
        };
        assert_eq!((prefix.length, beside.scale), (30, 4.0));
        assert_eq!((beside.reads, beside.adds), (Point::MlpIn, Point::MlpOut));
    }
    Ok(())
}
