//! The matrix products of a training step: how many operations are useful, and how fast libraries do them.
//!
//! Useful operations are those of the mathematics, not of the way it is computed: 2 per weight and token forward and 2
//! for the gradient of the input where one is needed, 2 more where the weight itself is trained, 6 per value of an
//! adapter's factor, and for causal attention 3.5 times its forward products (2 forward, 5 backward, of which this
//! counts those of the visible half). Recomputation counts nothing.

use crate::driver::{Driver, Tokens};
use crate::error::Result;
use crate::watch::Watch;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use temper_models::Model;
use temper_nn::ops::IGNORE;
use temper_nn::{ParamSet, Weight};

/// A shape is repeated for this long at least, and at least three times.
const LEAST_TIME: Duration = Duration::from_millis(60);
const LEAST_REPEATS: usize = 3;

/// How the right operand lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    /// (k, n) row by row.
    Plain,
    /// (n, k) row by row.
    Transposed,
}

/// `out (m, n) = left (m, k) · right (k, n)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    m: usize,
    k: usize,
    n: usize,
    right: Right,
}

impl Shape {
    fn flop(self) -> f64 {
        2.0 * self.m as f64 * self.k as f64 * self.n as f64
    }
}

/// What a step has to work through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// Tokens, padding not counted.
    pub(super) tokens: usize,
    /// Positions with a target.
    pub(super) trained: usize,
    /// Pairs of a query and a key that it sees, in a layer that sees everything.
    pub(super) pairs: usize,
    /// The same in a layer that sees a window.
    pub(super) window_pairs: usize,
    /// Positions, padding included.
    pub(super) positions: usize,
}

impl Load {
    /// Of a causal model over `tokens`, in whose local layers a position sees `window` positions, itself included.
    pub(super) fn of(tokens: &Tokens, window: Option<usize>) -> Self {
        let lengths = || {
            let rows = tokens.ctx.borders.iter();
            rows.flat_map(|borders| borders.windows(2).map(|pair| (pair[1] - pair[0]) as usize))
        };
        let all = |length: usize| length * (length + 1) / 2;
        let within = |length: usize| {
            let full = window.unwrap_or(length).min(length);
            all(full) + (length - full) * full
        };
        Self {
            tokens: lengths().sum(),
            trained: tokens.targets.iter().filter(|target| **target != IGNORE).count(),
            pairs: lengths().map(all).sum(),
            window_pairs: lengths().map(within).sum(),
            positions: tokens.ids.len(),
        }
    }
}

/// The products of one step.
#[derive(Debug, Default)]
pub(super) struct Products {
    shapes: BTreeMap<Shape, u64>,
    attention_flop: f64,
}

impl Products {
    /// Counts the products of a step; those of the frozen blocks below not, where their outputs are kept.
    pub(super) fn of(model: &Model, params: &ParamSet, driver: &Driver, keeps_prefix: bool, load: Load) -> Self {
        let Load { tokens, trained, pairs, window_pairs, .. } = load;
        let mut products = Self::default();
        let lowest = driver.lowest_block();
        let config = model.config.as_llama();
        for (block, stage) in model.blocks.iter().enumerate() {
            let below_all = block < lowest;
            if below_all && keeps_prefix {
                continue;
            }
            for site in stage.sites() {
                let (out, inp) = (site.out_features(), site.in_features());
                products.add(tokens, inp, out, Right::Transposed);
                if !below_all {
                    products.add(tokens, out, inp, Right::Plain);
                }
                if matches!(site.weight, Weight::Trained { .. }) {
                    products.add(out, tokens, inp, Right::Plain);
                }
            }
            let pairs = if config.window_of(block).is_some() { window_pairs } else { pairs };
            let forward = 4.0 * pairs as f64 * config.query_width() as f64;
            products.attention_flop += forward * if below_all { 1.0 } else { 3.5 };
        }
        for param in params {
            let own = !param.name.ends_with(".a") && !param.name.ends_with(".b");
            if let (false, [rows, cols]) = (own, param.var.dims()) {
                // Forward, gradient of the factor, gradient of what comes in.
                products.add(tokens, *cols, *rows, Right::Transposed);
                products.add(*rows, tokens, *cols, Right::Plain);
                products.add(tokens, *rows, *cols, Right::Plain);
            }
        }
        let (vocabulary, hidden) = (config.vocab_size, config.hidden_size);
        products.add(trained, hidden, vocabulary, Right::Transposed);
        products.add(trained, vocabulary, hidden, Right::Plain);
        if params.iter().any(|param| matches!(param.role, temper_nn::Role::Embedding | temper_nn::Role::Head)) {
            products.add(vocabulary, trained, hidden, Right::Plain);
        }
        products
    }

    fn add(&mut self, m: usize, k: usize, n: usize, right: Right) {
        *self.shapes.entry(Shape { m, k, n, right }).or_default() += 1;
    }

    fn product_flop(&self) -> f64 {
        self.shapes.iter().map(|(shape, count)| shape.flop() * *count as f64).sum()
    }

    /// Useful operations of the step.
    pub(super) fn useful_flop(&self) -> f64 {
        self.product_flop() + self.attention_flop
    }
}

/// Operations a second over the step's products when each shape is done by the faster of faer and the gemm crate:
/// the harmonic mean weighted by operations.
pub(super) fn reference_rate(products: &Products, watch: &Watch<'_>) -> Result<f64> {
    let largest = |of: fn(&Shape) -> usize| products.shapes.keys().map(of).max().unwrap_or(0);
    let left = vec![0.5f32; largest(|shape| shape.m * shape.k)];
    let right = vec![0.25f32; largest(|shape| shape.k * shape.n)];
    let mut out = vec![0f32; largest(|shape| shape.m * shape.n)];
    let threads = rayon::current_num_threads();
    let mut secs = 0.0;
    for (done, (shape, count)) in products.shapes.iter().enumerate() {
        watch.preparing(
            "measuring this machine's matrix products",
            done as u64,
            products.shapes.len() as u64,
            "shapes",
        );
        watch.check()?;
        let (left, right) = (&left[..shape.m * shape.k], &right[..shape.k * shape.n]);
        let out = &mut out[..shape.m * shape.n];
        let by_faer = fastest(|| with_faer(*shape, left, right, out, threads));
        let by_gemm = fastest(|| with_gemm(*shape, left, right, out, threads));
        secs += by_faer.min(by_gemm) * *count as f64;
    }
    Ok(products.product_flop() / secs.max(f64::MIN_POSITIVE))
}

/// Median seconds of a repetition.
fn fastest(mut work: impl FnMut()) -> f64 {
    work();
    let begin = Instant::now();
    let mut secs = Vec::new();
    while secs.len() < LEAST_REPEATS || begin.elapsed() < LEAST_TIME {
        let started = Instant::now();
        work();
        secs.push(started.elapsed().as_secs_f64());
    }
    super::median(secs)
}

fn with_faer(shape: Shape, left: &[f32], right: &[f32], out: &mut [f32], threads: usize) {
    let Shape { m, k, n, right: layout } = shape;
    let right = match layout {
        Right::Plain => MatRef::from_row_major_slice(right, k, n),
        Right::Transposed => MatRef::from_row_major_slice(right, n, k).transpose(),
    };
    let left = MatRef::from_row_major_slice(left, m, k);
    let out = MatMut::from_row_major_slice_mut(out, m, n);
    let par = if threads > 1 { Par::rayon(threads) } else { Par::Seq };
    matmul(out, Accum::Replace, left, right, 1.0, par);
}

#[expect(unsafe_code, reason = "the gemm crate takes pointers")]
fn with_gemm(shape: Shape, left: &[f32], right: &[f32], out: &mut [f32], threads: usize) {
    let Shape { m, k, n, right: layout } = shape;
    let (right_col, right_row) = match layout {
        Right::Plain => (1, n as isize),
        Right::Transposed => (k as isize, 1),
    };
    assert!(left.len() == m * k && right.len() == k * n && out.len() == m * n, "operands of {shape:?}");
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    // SAFETY: the strides address exactly the m·k, k·n and m·n values whose number was asserted above, and `out` is
    // borrowed alone.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            false,
            left.as_ptr(),
            1,
            k as isize,
            right.as_ptr(),
            right_col,
            right_row,
            0.0f32,
            1.0f32,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use temper_nn::ForwardContext;

    #[test]
    fn padding_and_foreign_segments_are_no_work() {
        let ctx = ForwardContext { borders: Arc::new(vec![vec![0, 3, 5], vec![0, 4]]), ..ForwardContext::plain(2, 5) };
        let mut targets = [IGNORE; 10];
        (targets[1], targets[6]) = (7, 8);
        let tokens = Tokens { ids: [1; 10].into(), targets: targets.into(), ctx, examples: [].into() };
        let load = Load { tokens: 9, trained: 2, pairs: 6 + 3 + 10, window_pairs: 6 + 3 + 10, positions: 10 };
        assert_eq!(Load::of(&tokens, None), load);
        assert_eq!(Load::of(&tokens, Some(4)), load);
        // In each segment of n positions 1, 2, 2, ... of them are seen.
        assert_eq!(Load::of(&tokens, Some(2)), Load { window_pairs: 5 + 3 + 7, ..load });
        assert_eq!(Load::of(&tokens, Some(1)), Load { window_pairs: 9, ..load });
    }

    #[test]
    fn both_libraries_compute_the_product_that_is_counted() {
        for right in [Right::Plain, Right::Transposed] {
            let shape = Shape { m: 5, k: 7, n: 9, right };
            let left: Vec<f32> = (0..35).map(|value| value as f32 / 10.0).collect();
            let values: Vec<f32> = (0..63).map(|value| (value % 11) as f32).collect();
            let at = |k: usize, n: usize| match right {
                Right::Plain => values[k * 9 + n],
                Right::Transposed => values[n * 7 + k],
            };
            let expected: Vec<f32> =
                (0..45).map(|cell| (0..7).map(|k| left[cell / 9 * 7 + k] * at(k, cell % 9)).sum()).collect();
            let (mut by_faer, mut by_gemm) = (vec![0f32; 45], vec![0f32; 45]);
            with_faer(shape, &left, &values, &mut by_faer, 1);
            with_gemm(shape, &left, &values, &mut by_gemm, 1);
            for ((one, other), expected) in by_faer.iter().zip(&by_gemm).zip(&expected) {
                assert!((one - expected).abs() < 1e-3 && (other - expected).abs() < 1e-3, "{one} {other} {expected}");
            }
        }
    }
}
