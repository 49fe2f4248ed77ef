//! The gradient of a weight as the two factors of a chain see it, and LoRA-Pro's pair of gradients made of it.
//!
//! Wang et al. 2024, "LoRA-Pro: Are Low-Rank Adapters Properly Optimized?" (arXiv 2407.18242). With the weight's gradient G
//! and ΔW = s B A the factors have gB = s G Aᵀ and gA = s Bᵀ G. Of all steps (δA, δB) the one whose change
//! `s (B δA + δB A)` lies closest to G is, with M = BᵀB and N = A Aᵀ,
//!
//! ```text
//! δA = s⁻² M⁻¹ gA + X A        δB = s⁻² (I − B M⁻¹ Bᵀ) gB N⁻¹ − B X        for any X
//! s (B δA + δB A) = P_B G + G P_A − P_B G P_A                              which no X changes
//! ```
//!
//! and the X that stays closest to (gA, gB) solves `M X + X N = −s⁻² M⁻¹ gA Aᵀ`. All of it in f64: M and N are (r, r).

use crate::linalg;
use crate::{NnError, Result};
use candle_core::{DType, Device, Tensor};

/// Added to eigenvalues before they are inverted.
const RIDGE: f64 = 1e-8;
/// Eigenvalues below this share of the largest belong to directions that are not there.
const NOTHING: f64 = 1e-12;

/// The factors of a chain with their gradients, f64.
pub(super) struct Pair {
    a: Tensor,
    b: Tensor,
    grad_a: Tensor,
    grad_b: Tensor,
    scale: f64,
}

/// A symmetric matrix without negative eigenvalues.
struct Gram {
    /// Eigenvectors as columns.
    vectors: Tensor,
    values: Vec<f64>,
}

impl Gram {
    fn of(matrix: &Tensor) -> Result<Self> {
        let side = matrix.dim(0)?;
        let svd = linalg::svd(&matrix.flatten_all()?.to_vec1::<f64>()?, side, side)?;
        Ok(Self { vectors: Tensor::from_vec(svd.u, (side, side), &Device::Cpu)?, values: svd.s })
    }

    /// Its inverse on the directions that are there.
    fn inverse(&self) -> Result<Tensor> {
        let least = NOTHING * self.values.first().copied().unwrap_or(0.0);
        let inverse = |value: &f64| if *value <= least { 0.0 } else { 1.0 / (value + RIDGE) };
        let inverse: Vec<f64> = self.values.iter().map(inverse).collect();
        let scaled = self.vectors.broadcast_mul(&Tensor::new(inverse, &Device::Cpu)?)?;
        Ok(scaled.matmul(&self.vectors.t()?)?)
    }
}

/// The X of `M X + X N = right`.
fn sylvester(m: &Gram, n: &Gram, right: &Tensor) -> Result<Tensor> {
    let turned = m.vectors.t()?.matmul(right)?.matmul(&n.vectors)?;
    let mut values = turned.flatten_all()?.to_vec1::<f64>()?;
    let columns = n.values.len().max(1);
    for (row, m) in values.chunks_mut(columns).zip(&m.values) {
        for (value, n) in row.iter_mut().zip(&n.values) {
            *value = if m + n > 0.0 { *value / (m + n) } else { 0.0 };
        }
    }
    let turned = Tensor::from_vec(values, turned.dims(), &Device::Cpu)?;
    Ok(m.vectors.matmul(&turned)?.matmul(&n.vectors.t()?)?)
}

impl Pair {
    /// From f32 tensors: A (r, in), B (out, r) and their gradients.
    pub(super) fn new(a: &Tensor, b: &Tensor, grad_a: &Tensor, grad_b: &Tensor, scale: f64) -> Result<Self> {
        if scale == 0.0 {
            return Err(NnError::Value("a change that is multiplied by 0 has no gradient".to_owned()));
        }
        let wide = |tensor: &Tensor| tensor.detach().to_dtype(DType::F64)?.contiguous();
        Ok(Self { a: wide(a)?, b: wide(b)?, grad_a: wide(grad_a)?, grad_b: wide(grad_b)?, scale })
    }

    /// The pair (δA, δB) of smallest distance to the weight's gradient; with X 0, or with the one that stays closest to
    /// the factors' own gradients.
    pub(super) fn adjusted(&self, with_x: bool) -> Result<(Tensor, Tensor)> {
        let (m, n) = (Gram::of(&self.b.t()?.matmul(&self.b)?)?, Gram::of(&self.a.matmul(&self.a.t()?)?)?);
        let per_square = 1.0 / (self.scale * self.scale);
        let m_inverse = m.inverse()?;
        let inner = m_inverse.matmul(&self.grad_a)?.affine(per_square, 0.0)?;
        let seen = self.b.matmul(&m_inverse.matmul(&self.b.t()?.matmul(&self.grad_b)?)?)?;
        let outer = (&self.grad_b - seen)?.matmul(&n.inverse()?)?.affine(per_square, 0.0)?;
        if !with_x {
            return Ok((inner, outer));
        }
        let x = sylvester(&m, &n, &inner.matmul(&self.a.t()?)?.neg()?)?;
        Ok(((inner + x.matmul(&self.a)?)?, (outer - self.b.matmul(&x)?)?))
    }

    /// The change of the weight that the pair stands for, (out, in): G projected on what the factors reach.
    pub(super) fn reached(&self) -> Result<Tensor> {
        let (inner, outer) = self.adjusted(false)?;
        Ok((self.b.matmul(&inner)? + outer.matmul(&self.a)?)?.affine(self.scale, 0.0)?)
    }

    /// The same factors with the gradients they have where the weight's is `gradient` (out, in), f64.
    pub(super) fn under(&self, gradient: &Tensor) -> Result<Self> {
        let grad_a = self.b.t()?.matmul(gradient)?.affine(self.scale, 0.0)?;
        let grad_b = gradient.matmul(&self.a.t()?)?.affine(self.scale, 0.0)?;
        Ok(Self { a: self.a.clone(), b: self.b.clone(), grad_a, grad_b, scale: self.scale })
    }
}

/// Adam's moments of a whole weight (Kingma and Ba 2015), with its usual constants: β₁ 0.9, β₂ 0.999, ε 1e-8.
#[derive(Debug, Clone)]
pub(super) struct WholeMoments {
    pub(super) steps: u64,
    /// (out, in), f32.
    pub(super) first: Tensor,
    /// (out, in), f32.
    pub(super) second: Tensor,
}

impl WholeMoments {
    /// Without memory, for a weight of this shape.
    pub(super) fn new(dims: &[usize]) -> Result<Self> {
        let zeros = Tensor::zeros(dims, DType::F32, &Device::Cpu)?;
        Ok(Self { steps: 0, first: zeros.clone(), second: zeros })
    }

    /// Takes in a gradient (f64) and gives the step of length 1 that Adam would take, f64.
    pub(super) fn step(&mut self, gradient: &Tensor) -> Result<Tensor> {
        const BETAS: (f64, f64) = (0.9, 0.999);
        self.steps += 1;
        let blend = |old: &Tensor, new: &Tensor, beta: f64| -> Result<Tensor> {
            Ok((old.to_dtype(DType::F64)?.affine(beta, 0.0)? + new.affine(1.0 - beta, 0.0)?)?)
        };
        let first = blend(&self.first, gradient, BETAS.0)?;
        let second = blend(&self.second, &gradient.sqr()?, BETAS.1)?;
        (self.first, self.second) = (first.to_dtype(DType::F32)?, second.to_dtype(DType::F32)?);
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let (first_left, second_left) = (1.0 - BETAS.0.powi(steps), 1.0 - BETAS.1.powi(steps));
        let size = second.affine(1.0 / second_left, 0.0)?.sqrt()?.affine(1.0, 1e-8)?;
        Ok((first.affine(1.0 / first_left, 0.0)? / size)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    const SCALE: f64 = 1.7;

    fn random(name: &str, rows: usize, cols: usize) -> Tensor {
        let mut stream = Stream::new(4, name);
        let values: Vec<f64> = (0..rows * cols).map(|_| stream.normal()).collect();
        Tensor::from_vec(values, (rows, cols), &Device::Cpu).unwrap()
    }

    /// Factors of rank 3 on a weight of 7 x 9 whose gradient is G.
    fn pair() -> (Pair, Tensor) {
        let (a, b, g) = (random("a", 3, 9), random("b", 7, 3), random("g", 7, 9));
        let empty = Pair { a, b, grad_a: g.clone(), grad_b: g.clone(), scale: SCALE };
        (empty.under(&g).unwrap(), g)
    }

    fn norm(tensor: &Tensor) -> f64 {
        tensor.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
    }

    fn induced(pair: &Pair, (inner, outer): &(Tensor, Tensor)) -> Tensor {
        let sum = pair.b.matmul(inner).unwrap() + outer.matmul(&pair.a).unwrap();
        sum.unwrap().affine(SCALE, 0.0).unwrap()
    }

    fn projector(columns: &Tensor) -> Tensor {
        let gram = Gram::of(&columns.t().unwrap().matmul(columns).unwrap()).unwrap();
        columns.matmul(&gram.inverse().unwrap()).unwrap().matmul(&columns.t().unwrap()).unwrap()
    }

    #[test]
    fn induced_gradient_is_independent_of_x_and_equals_the_projection() {
        let (pair, g) = pair();
        let (p_b, p_a) = (projector(&pair.b), projector(&pair.a.t().unwrap().contiguous().unwrap()));
        let both = p_b.matmul(&g).unwrap().matmul(&p_a).unwrap();
        let projected = ((p_b.matmul(&g).unwrap() + g.matmul(&p_a).unwrap()).unwrap() - both).unwrap();
        for with_x in [false, true] {
            let found = induced(&pair, &pair.adjusted(with_x).unwrap());
            assert!(norm(&(found - &projected).unwrap()) < 1e-5 * norm(&projected), "with X: {with_x}");
        }
        assert!(norm(&(pair.reached().unwrap() - &projected).unwrap()) < 1e-5 * norm(&projected));
    }

    #[test]
    fn no_drawn_pair_of_a_thousand_comes_closer_to_the_gradient() {
        let (pair, g) = pair();
        let best = norm(&(induced(&pair, &pair.adjusted(true).unwrap()) - &g).unwrap());
        let own = (pair.grad_a.clone(), pair.grad_b.clone());
        for draw in 0..1000 {
            let drawn = (random(&format!("a{draw}"), 3, 9), random(&format!("b{draw}"), 7, 3));
            for step in [&drawn, &own] {
                let step = induced(&pair, step);
                // The best length of each is found exactly, so that only directions are compared.
                let length = (&step * &g).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap() / norm(&step).powi(2);
                let off = norm(&(step.affine(length, 0.0).unwrap() - &g).unwrap());
                assert!(off >= best - 1e-9, "{off} is below {best}");
            }
        }
    }

    #[test]
    fn the_equation_of_x_is_solved_and_the_loss_falls() {
        let (pair, _) = pair();
        let (m, n) = (pair.b.t().unwrap().matmul(&pair.b).unwrap(), pair.a.matmul(&pair.a.t().unwrap()).unwrap());
        let right = random("right", 3, 3);
        let x = sylvester(&Gram::of(&m).unwrap(), &Gram::of(&n).unwrap(), &right).unwrap();
        let left = (m.matmul(&x).unwrap() + x.matmul(&n).unwrap()).unwrap();
        assert!(norm(&(left - &right).unwrap()) < 1e-5 * norm(&right));
        let (inner, outer) = pair.adjusted(true).unwrap();
        let along =
            |left: &Tensor, right: &Tensor| (left * right).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        assert!(along(&inner, &pair.grad_a) + along(&outer, &pair.grad_b) >= 0.0);
    }

    #[test]
    fn where_b_is_zero_only_b_moves() {
        let (a, g) = (random("a", 3, 9), random("g", 7, 9));
        let b = Tensor::zeros((7, 3), DType::F64, &Device::Cpu).unwrap();
        let pair = Pair { a, b, grad_a: g.clone(), grad_b: g.clone(), scale: SCALE }.under(&g).unwrap();
        let (inner, outer) = pair.adjusted(true).unwrap();
        assert_eq!(norm(&inner), 0.0);
        assert!(norm(&outer) > 0.1);
    }
}
