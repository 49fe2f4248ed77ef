//! What every operation costs beside the same computation in plain candle tensors.
//!
//! Place in the data flow: `temper bench ops` and the criterion bench go through [`CASES`], the one list of what is
//! measured; a test holds that it has every operation of [`crate::ops`] and that both sides compute the same. The candle
//! side is written as a person would who wants it fast and has only candle: its own fused functions where they carry a
//! gradient, no copies that can be avoided. A pass is forward and backward, seeded the same way on both sides.

mod adapters;
mod language;
mod maps;

use crate::kernels::memory;
use crate::ops::seed_gradient;
use crate::rng::Stream;
use crate::{NnError, Result};
use candle_core::{Device, Tensor, Var};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Shapes of the cases.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Rows of a batch.
    pub rows: usize,
    /// Tokens of a row.
    pub width: usize,
    /// Features between blocks.
    pub hidden: usize,
    /// Features inside the feed-forward half.
    pub inner: usize,
    /// Query heads; a key head for every three.
    pub heads: usize,
    /// Features of a head.
    pub head_features: usize,
    /// Tokens that the head knows.
    pub vocabulary: usize,
    /// Rank of a low-rank change.
    pub rank: usize,
    /// Images of a batch.
    pub images: usize,
    /// Channels of a map.
    pub channels: usize,
    /// Height and width of a map.
    pub side: usize,
}

impl Sizes {
    /// SmolLM2-135M with 4 x 256 tokens; maps of 8 x 64 x 32 x 32.
    #[must_use]
    pub const fn full() -> Self {
        Self {
            rows: 4,
            width: 256,
            hidden: 576,
            inner: 1536,
            heads: 9,
            head_features: 64,
            vocabulary: 49_152,
            rank: 16,
            images: 8,
            channels: 64,
            side: 32,
        }
    }

    /// Small enough for a test.
    #[must_use]
    pub const fn small() -> Self {
        Self {
            rows: 2,
            width: 12,
            hidden: 24,
            inner: 40,
            heads: 3,
            head_features: 8,
            vocabulary: 50,
            rank: 4,
            images: 2,
            channels: 6,
            side: 8,
        }
    }

    /// Tokens of a batch.
    #[must_use]
    pub const fn tokens(&self) -> usize {
        self.rows * self.width
    }
}

/// Something to measure.
#[derive(Clone, Copy)]
pub struct Case {
    /// Name of the function in [`crate::ops`].
    pub op: &'static str,
    /// Which of its cases, empty for an operation with one.
    pub variant: &'static str,
    /// How far both sides agree.
    pub agreement: Agreement,
    build: fn(&Sizes) -> Result<Pair>,
}

/// How far both sides of a case agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Outputs and gradients.
    Everything,
    /// Outputs only.
    Output,
    /// Neither: they draw different random numbers.
    Nothing,
}

/// Every case, operation by operation.
pub const CASES: &[&[Case]] = &[language::CASES, adapters::CASES, maps::CASES];

impl Case {
    /// Name for tables: the operation and its variant.
    #[must_use]
    pub fn name(&self) -> String {
        if self.variant.is_empty() { self.op.to_owned() } else { format!("{}, {}", self.op, self.variant) }
    }

    /// Both sides with their inputs.
    ///
    /// # Errors
    /// Sizes that do not fit together.
    pub fn build(&self, sizes: &Sizes) -> Result<Pair> {
        (self.build)(sizes)
    }
}

/// One pass.
pub type Pass = Box<dyn Fn() -> Result<Outcome> + Send + Sync>;

/// Both sides of a case.
pub struct Pair {
    /// The operation.
    pub ours: Pass,
    /// Plain candle tensors.
    pub candle: Pass,
}

/// What a pass gives.
pub struct Outcome {
    /// Of the forward pass.
    pub output: Tensor,
    /// Of each input, empty where nothing is trained.
    pub gradients: Vec<Tensor>,
}

/// What a case costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Median seconds of a pass of ours.
    pub ours_secs: f64,
    /// Median seconds of a pass of candle's.
    pub candle_secs: f64,
    /// Memory of a pass of ours beyond its inputs, bytes; only where the system says.
    pub ours_bytes: Option<u64>,
    /// The same for candle.
    pub candle_bytes: Option<u64>,
}

/// Each measurement is repeated until it lasts this long.
const LEAST_SAMPLE: Duration = Duration::from_millis(10);

/// Measures both sides in turn, `rounds` times, after a pass each that is not counted but for its memory.
///
/// # Errors
/// What the passes say.
pub fn measure(pair: &Pair, rounds: usize) -> Result<Cost> {
    let (ours_bytes, ours_first) = first_pass(&pair.ours)?;
    let (candle_bytes, candle_first) = first_pass(&pair.candle)?;
    let repeats = |first: Duration| (LEAST_SAMPLE.as_secs_f64() / first.as_secs_f64().max(1e-7)).clamp(1.0, 1e4) as u32;
    let (ours_repeats, candle_repeats) = (repeats(ours_first), repeats(candle_first));
    let (mut ours, mut candle) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        ours.push(sample(&pair.ours, ours_repeats)?);
        candle.push(sample(&pair.candle, candle_repeats)?);
    }
    Ok(Cost { ours_secs: median(ours), candle_secs: median(candle), ours_bytes, candle_bytes })
}

/// Memory and time of a pass after a first one has brought tables and caches into being.
fn first_pass(pass: &Pass) -> Result<(Option<u64>, Duration)> {
    black_box(pass()?);
    let watch = memory::PeakWatch::begin();
    let begin = Instant::now();
    let outcome = pass()?;
    let elapsed = begin.elapsed();
    let bytes = watch.and_then(|watch| watch.beyond_start());
    black_box(outcome);
    Ok((bytes, elapsed))
}

fn sample(pass: &Pass, repeats: u32) -> Result<f64> {
    let begin = Instant::now();
    for _ in 0..repeats {
        black_box(pass()?);
    }
    Ok(begin.elapsed().as_secs_f64() / f64::from(repeats))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        Some(&upper) if values.len() % 2 == 1 => upper,
        Some(&upper) => f64::midpoint(values.get(middle.wrapping_sub(1)).copied().unwrap_or(upper), upper),
        None => f64::NAN,
    }
}

/// A tensor of standard normal values.
fn normal(name: &str, dims: &[usize]) -> Result<Tensor> {
    let mut values = vec![0f32; dims.iter().product()];
    Stream::new(7, name).fill_normal(&mut values, 1.0);
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// Both sides with gradients for all of `inputs`.
fn trained<F, G>(inputs: &[Tensor], ours: F, candle: G) -> Result<Pair>
where
    F: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
    G: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
{
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>, _>>()?;
    let inputs = vars.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>();
    let y = ours(&inputs)?;
    let gradient = if y.rank() == 0 { None } else { Some(normal("gradient", y.dims())?) };
    let candle = trained_pass(inputs.clone(), gradient.clone(), candle);
    Ok(Pair { ours: trained_pass(inputs, gradient, ours), candle })
}

fn trained_pass(
    inputs: Vec<Tensor>,
    gradient: Option<Tensor>,
    f: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> Pass {
    Box::new(move || {
        let output = f(&inputs)?;
        let loss = match &gradient {
            Some(gradient) => seed_gradient(&output, gradient)?,
            None => output.clone(),
        };
        let store = loss.backward()?;
        let gradients = inputs.iter().map(|input| {
            let missing = || NnError::GradientCheck("a case of the bench cuts a gradient".to_owned());
            store.get(input).cloned().ok_or_else(missing)
        });
        Ok(Outcome { gradients: gradients.collect::<Result<_>>()?, output: output.detach() })
    })
}

/// Both sides without gradients.
fn forward_only<F, G>(ours: F, candle: G) -> Pair
where
    F: Fn() -> Result<Tensor> + Send + Sync + 'static,
    G: Fn() -> Result<Tensor> + Send + Sync + 'static,
{
    let pass = |output: Tensor| Outcome { output, gradients: Vec::new() };
    Pair { ours: Box::new(move || Ok(pass(ours()?))), candle: Box::new(move || Ok(pass(candle()?))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all() -> impl Iterator<Item = &'static Case> {
        CASES.iter().copied().flatten()
    }

    #[test]
    fn every_public_operation_is_measured() {
        let source = include_str!("../ops/mod.rs");
        let exported = source.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
        let names = exported.flat_map(|list| {
            let list = list.rsplit("::").next().unwrap_or(list);
            list.trim_matches(['{', '}', '\n', ' ']).split(',').map(str::trim).collect::<Vec<_>>()
        });
        let functions = names.filter(|name| name.starts_with(|first: char| first.is_ascii_lowercase()));
        let functions = functions.collect::<BTreeSet<_>>();
        assert!(functions.contains("attention") && functions.len() > 20, "{functions:?}");
        assert_eq!(all().map(|case| case.op).collect::<BTreeSet<_>>(), functions);
        let names = all().map(Case::name).collect::<BTreeSet<_>>();
        assert_eq!(names.len(), all().count(), "no two cases have one name");
    }

    fn assert_close(case: &Case, what: &str, ours: &Tensor, candle: &Tensor) {
        assert_eq!(ours.dims(), candle.dims(), "{}: {what}", case.name());
        let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (ours, candle) = (values(ours), values(candle));
        let largest = candle.iter().fold(1f32, |largest, x| largest.max(x.abs()));
        for (a, b) in ours.iter().zip(&candle) {
            assert!((a - b).abs() <= 1e-3 * largest, "{}: {what} {a} {b}", case.name());
        }
    }

    #[test]
    fn both_sides_compute_the_same() {
        for case in all() {
            let pair = case.build(&Sizes::small()).unwrap();
            let (ours, candle) = ((pair.ours)().unwrap(), (pair.candle)().unwrap());
            assert_eq!(ours.gradients.len(), candle.gradients.len(), "{}", case.name());
            if case.agreement != Agreement::Nothing {
                assert_close(case, "output", &ours.output, &candle.output);
            }
            if case.agreement == Agreement::Everything {
                for (ours, candle) in ours.gradients.iter().zip(&candle.gradients) {
                    assert_close(case, "gradient", ours, candle);
                }
            }
        }
    }

    #[test]
    fn a_measurement_has_a_figure_for_both_sides() {
        let case = all().find(|case| case.op == "silu").unwrap();
        let cost = measure(&case.build(&Sizes::small()).unwrap(), 1).unwrap();
        assert!(cost.ours_secs > 0.0 && cost.candle_secs > 0.0);
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0])), (2.0, 2.5));
    }
}
