//! INT2.1: what it adds to a base in bits, and when it imitates. The divergence itself is tested in `temper_nn`, the repair
//! of a real model in the trainer's tests.

use crate::bench::{Outcome, slots, values};
use temper_methods::{ModelDims, SiteDims, find};
use temper_nn::slots::{Scale, Slots};
use temper_protocol::Value;

/// The seven linear layers of a block of a 7B LLaMA.
fn block() -> Vec<SiteDims> {
    let site = |(name, out_features, in_features): (&str, usize, usize)| SiteDims {
        name: format!("layers.0.{name}"),
        hf_name: format!("model.layers.0.{name}"),
        out_features,
        in_features,
        layer: Some(0),
        bias: false,
        window: (1, 1),
    };
    let (hidden, inner) = (4096, 11008);
    let square = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"];
    let square = square.map(|name| (name, hidden, hidden)).into_iter();
    let wide = [("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden), ("mlp.down_proj", hidden, inner)];
    square.chain(wide).map(site).collect()
}

#[test]
fn adapters_in_16_bits_add_what_the_name_counts() -> Outcome {
    let sites = block();
    let values_of_base: u64 = sites.iter().map(|site| (site.out_features * site.in_features) as u64).sum();
    let dims = ModelDims { sites, own: Vec::new(), head_features: 64 };
    for (rank, bits) in [(8, 0.049), (16, 0.099), (32, 0.198)] {
        let trained = find("int2.1")?.trained_parameters(&values(&[("rank", Value::Integer(rank))]), &dims)?;
        let added = 16.0 * trained as f64 / values_of_base as f64;
        assert!((added - bits).abs() < 6e-4, "rank {rank}: {added}");
    }
    Ok(())
}

#[test]
fn it_is_lora_and_imitates_for_its_share_of_the_steps() -> Outcome {
    let expected = Slots { dropout: 0.05, ..Slots::low_rank(32, Scale::AlphaOverRank(128.0)) };
    assert_eq!(slots("int2.1", &[])?, expected);
    let method = find("int2.1")?;
    let imitation = method.imitates(&values(&[])).ok_or("it does not imitate")?;
    assert_eq!((imitation.divergence, imitation.cross_entropy, imitation.features), (1.0, 0.1, 0.0));
    let imitates: Vec<bool> = (1..=7).map(|step| imitation.is_at(step, 7)).collect();
    assert_eq!(imitates, [true, true, true, false, false, false, false]);
    assert!(method.belongs_to_its_base(&values(&[])));
    let whole = values(&[("repair_share", Value::Number(1.0))]);
    assert!(method.imitates(&whole).ok_or("it does not imitate")?.is_at(7, 7));
    let none = values(&[("repair_share", Value::Number(0.0))]);
    assert!(method.imitates(&none).is_none() && !method.belongs_to_its_base(&none));
    assert!(find("lora")?.imitates(&values(&[])).is_none());
    Ok(())
}
