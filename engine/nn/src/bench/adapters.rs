//! Cases of the operations that adapters are made of beside the low-rank product.

use super::{Agreement, Case, Pair, Sizes, language, normal, trained};
use crate::Result;
use crate::frozen::FrozenWeight;
use crate::ops::{self, Choice, Codes, Dropout, FrozenLinear, Places, Seeded, Seen, reference};
use crate::rng::Stream;
use crate::storage::StorageKind;
use candle_core::{Device, Tensor, Var};
use std::sync::Arc;

const fn case(op: &'static str, build: fn(&Sizes) -> Result<Pair>) -> Case {
    Case { op, variant: "", agreement: Agreement::Everything, build }
}

/// All of them.
pub(super) const CASES: &[Case] = &[
    case("scale_features", scale_features),
    case("scale_rows", scale_rows),
    case("add_bias", add_bias),
    case("add_constant", add_constant),
    Case { op: "dropout", variant: "", agreement: Agreement::Nothing, build: dropout },
    case("seeded_sum", seeded_sum),
    case("linear_row_groups", linear_row_groups),
    case("linear_at", linear_at),
    case("linear_look_up", linear_look_up),
    case("route", route),
    case("expert_balance", expert_balance),
    case("tap", tap),
];

fn activations(sizes: &Sizes) -> Result<Tensor> {
    normal("x", &[sizes.tokens(), sizes.hidden])
}

fn scale_features(sizes: &Sizes) -> Result<Pair> {
    let inputs = [activations(sizes)?, normal("scale", &[sizes.hidden])?];
    trained(&inputs, |x| ops::scale_features(&x[0], &x[1]), |x| Ok(x[0].broadcast_mul(&x[1])?))
}

fn scale_rows(sizes: &Sizes) -> Result<Pair> {
    let inputs = [normal("weight", &[sizes.inner, sizes.hidden])?, normal("scale", &[sizes.inner])?];
    trained(&inputs, |x| ops::scale_rows(&x[0], &x[1]), |x| Ok(x[0].broadcast_mul(&x[1].unsqueeze(1)?)?))
}

fn add_bias(sizes: &Sizes) -> Result<Pair> {
    let bias = normal("bias", &[sizes.hidden])?;
    let same = bias.clone();
    let candle = move |x: &[Tensor]| Ok(x[0].broadcast_add(&same)?);
    trained(&[activations(sizes)?], move |x| ops::add_bias(&x[0], &bias), candle)
}

fn add_constant(sizes: &Sizes) -> Result<Pair> {
    let constant = normal("constant", &[sizes.tokens(), sizes.hidden])?;
    let same = constant.clone();
    let candle = move |x: &[Tensor]| Ok((&x[0] - &same)?);
    trained(&[activations(sizes)?], move |x| ops::add_constant(&x[0], &constant, -1.0), candle)
}

/// Candle draws its mask in the pass, as ours does.
fn dropout(sizes: &Sizes) -> Result<Pair> {
    let rows = (0..sizes.rows as u64).collect();
    let drop = Dropout { p: 0.1, key: 5, rows, width: sizes.width };
    trained(&[activations(sizes)?], move |x| ops::dropout(&x[0], &drop), |x| language::candle_dropout(&x[0], 0.1))
}

/// Drawing the matrices is part of the operation, which is there to hold none of them; candle's side draws them once a
/// pass and keeps them until its end, ours anew in both directions.
fn seeded_sum(sizes: &Sizes) -> Result<Pair> {
    const BASES: usize = 64;
    let start = normal("start", &[sizes.rank, sizes.hidden])?;
    let seeded = Arc::new(Seeded { key: 3, start, bases: BASES });
    let same = Arc::clone(&seeded);
    let candle = move |c: &[Tensor]| reference::seeded_sum(&c[0], &same);
    trained(&[normal("c", &[BASES])?], move |c| ops::seeded_sum(&c[0], &seeded), candle)
}

/// One entry of a hundred; candle's side multiplies by the whole matrix, in which it puts the values.
fn linear_at(sizes: &Sizes) -> Result<Pair> {
    let (rows, cols) = (sizes.inner, sizes.hidden);
    let numbers: Vec<u32> = (0..rows * cols).step_by(100).filter_map(|number| u32::try_from(number).ok()).collect();
    let places = Arc::new(Places::new(rows, cols, &numbers)?);
    let same = Arc::clone(&places);
    let inputs = [activations(sizes)?, normal("values", &[numbers.len()])?];
    let candle = move |x: &[Tensor]| reference::linear_at(&x[0], &x[1], &same);
    trained(&inputs, move |x| ops::linear_at(&x[0], &x[1], &places), candle)
}

/// Two of eight experts.
fn route(sizes: &Sizes) -> Result<Pair> {
    let inputs = [normal("h", &[sizes.tokens(), 8 * sizes.rank])?, normal("logits", &[sizes.tokens(), 8])?];
    // Choosing is part of the operation.
    let ours = |x: &[Tensor]| ops::route(&x[0], &x[1], &Arc::new(Choice::of(&x[1], 2)?));
    trained(&inputs, ours, |x| reference::route(&x[0], &x[1], &Choice::of(&x[1], 2)?))
}

fn expert_balance(sizes: &Sizes) -> Result<Pair> {
    let counted: Arc<[bool]> = (0..sizes.tokens()).map(|token| token % 5 != 4).collect();
    let same = Arc::clone(&counted);
    let logits = normal("logits", &[sizes.tokens(), 8])?;
    let choice = Arc::new(Choice::of(&logits, 2)?);
    let other = Arc::clone(&choice);
    let candle = move |x: &[Tensor]| reference::expert_balance(&x[0], &other, &same);
    trained(&[logits], move |x| ops::expert_balance(&x[0], &choice, &counted), candle)
}

fn linear_row_groups(sizes: &Sizes) -> Result<Pair> {
    const SIDE: usize = 8;
    let dense = (normal("weight", &[sizes.inner, sizes.hidden])? * (1.0 / sizes.hidden as f64).sqrt())?;
    let weight = FrozenWeight::from_tensor("weight", &dense, StorageKind::F32)?;
    let layer = FrozenLinear { weight: Arc::new(weight), bias: None };
    let blocks = (normal("blocks", &[sizes.inner / SIDE, SIDE, SIDE])? * 0.1)?;
    let candle = move |x: &[Tensor]| reference::linear_row_groups(&x[0], &dense, None, &x[1], true);
    let ours = move |x: &[Tensor]| ops::linear_row_groups(&x[0], &layer, &x[1], true);
    trained(&[activations(sizes)?, blocks], ours, candle)
}

/// A weight of 16 numbers a row and quarter of it; candle's side gathers it whole, in both directions.
fn linear_look_up(sizes: &Sizes) -> Result<Pair> {
    const GROUPS: usize = 4;
    let dims = (sizes.inner, sizes.hidden);
    let mut stream = Stream::new(4, "codes");
    let codes: Vec<u8> = (0..dims.0 * dims.1).map(|_| stream.below(1 << ops::MOST_BITS) as u8).collect();
    let group = |col: usize| (0..GROUPS).rev().find(|group| ops::columns(dims.1, GROUPS, *group).contains(&col));
    let place =
        |(at, code): (usize, &u8)| ((group(at % dims.1).unwrap_or(0) << ops::MOST_BITS) + usize::from(*code)) as u32;
    let places: Vec<u32> = codes.iter().enumerate().map(place).collect();
    let places = Tensor::from_vec(places, dims, &Device::Cpu)?;
    let held = Arc::new(Codes::pack(dims, GROUPS, ops::MOST_BITS, &codes)?);
    let table = (normal("table", &[dims.0, held.table_width()])? * (1.0 / dims.1 as f64).sqrt())?;
    let ours = move |x: &[Tensor]| ops::linear_look_up(&x[0], &held, &x[1]);
    trained(&[activations(sizes)?, table], ours, move |x| reference::linear_look_up(&x[0], &places, &x[1]))
}

/// A frozen layer with the gradient of its weight seen in passing; candle keeps it where the weight is a variable.
fn tap(sizes: &Sizes) -> Result<Pair> {
    let dense = (normal("weight", &[sizes.inner, sizes.hidden])? * (1.0 / sizes.hidden as f64).sqrt())?;
    let weight = FrozenWeight::from_tensor("weight", &dense, StorageKind::F32)?;
    let layer = FrozenLinear { weight: Arc::new(weight), bias: None };
    let (seen, variable) = (Arc::new(Seen::default()), Var::from_tensor(&dense)?);
    let ours = move |x: &[Tensor]| {
        // Each pass starts anew, as candle's does.
        drop(seen.take());
        ops::tap(&ops::linear(&x[0], &layer)?, &x[0], &seen)
    };
    trained(&[activations(sizes)?], ours, move |x| Ok(x[0].matmul(&variable.t()?)?))
}
