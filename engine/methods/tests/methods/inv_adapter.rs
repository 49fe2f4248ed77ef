//! Invertible language adapters: the map and its inverse, counts, what is trained.
//!
//! Acceptance that stands elsewhere: where all tokens are as likely, the exponential of the loss is their number,
//! `models/tests/all/gradients.rs`, `where_every_token_is_as_likely_the_exponential_of_the_loss_is_their_number`; a second
//! language, the first intact, `tests/examples/method_seeds/language.rs`.

use crate::bench::{Outcome, blocks, count_blocks, inserted, moved, normal, off};
use temper_nn::{Inserts, Point};
use temper_protocol::Value;

fn stage<'a>(all: &'a [(String, Inserts)], name: &str) -> Outcome<&'a Inserts> {
    let found = all.iter().find(|(stage, _)| stage == name).map(|(_, inserts)| inserts);
    found.ok_or_else(|| format!("nothing in {name}").into())
}

#[test]
fn inverse_of_forward_is_x_to_1e_6_and_zero_is_identity() -> Outcome {
    let x = normal("x", 5, 32, 1.0)?;
    let all = inserted("inv-adapter", &blocks(2, 32, 8), &[])?;
    let (there, back) = (stage(&all, "embed")?, stage(&all, "head")?);
    assert_eq!(off(&there.apply(Point::EmbedOut, x.clone(), &[])?, &x)?, 0.0, "F = G = 0");
    moved(there)?;
    let mapped = there.apply(Point::EmbedOut, x.clone(), &[])?;
    let largest = mapped.abs()?.max_all()?.to_scalar::<f32>()?;
    assert!(off(&mapped, &x)? > 1e-2);
    assert!(off(&back.apply(Point::HeadIn, mapped, &[])?, &x)? <= 1e-6 * largest.max(1.0));
    Ok(())
}

#[test]
fn adapter_parameters_per_layer_are_74_544_at_768() -> Outcome {
    let of = |layers: usize| count_blocks("inv-adapter", &blocks(layers, 768, 768), &[]);
    assert_eq!(of(3)? - of(2)?, 74_544);
    assert_eq!(74_544, 2 * 768 * (768 / 16) + 768 / 16 + 768);
    // The map: two nets from half to half over a quarter of the features.
    assert_eq!(of(2)? - 2 * 74_544, 2 * (2 * 384 * 192 + 192 + 384));
    Ok(())
}

#[test]
fn only_named_tensors_are_trained() -> Outcome {
    let all = inserted("inv-adapter", &blocks(2, 32, 8), &[("layers", Value::Text("1".to_owned()))])?;
    let mut names: Vec<String> = all.iter().flat_map(|(_, inserts)| inserts.params()).map(|param| param.name).collect();
    names.sort();
    names.dedup();
    let map = |net: &str| ["down", "down_bias", "up", "up_bias"].map(|part| format!("shared.embed_out.{net}_{part}"));
    let own = ["down", "down_bias", "up", "up_bias"].map(|part| format!("layers.1.mlp_out.{part}"));
    let mut wanted: Vec<String> = own.into_iter().chain(map("f")).chain(map("g")).collect();
    wanted.sort();
    assert_eq!(names, wanted);
    Ok(())
}

#[test]
fn the_order_of_a_stack_counts() -> Outcome {
    let x = normal("x", 5, 32, 1.0)?;
    let (language, task) =
        (inserted("inv-adapter", &blocks(1, 32, 8), &[])?, inserted("adapter", &blocks(1, 32, 8), &[])?);
    let (language, task) = (stage(&language, "layers.0")?, stage(&task, "layers.0")?);
    moved(language)?;
    moved(task)?;
    let through = |first: &Inserts, second: &Inserts| -> Outcome<_> {
        Ok(second.apply(Point::MlpOut, first.apply(Point::MlpOut, x.clone(), &[])?, &[])?)
    };
    assert!(off(&through(language, task)?, &through(task, language)?)? > 1e-3);
    Ok(())
}
