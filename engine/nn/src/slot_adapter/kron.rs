//! A change as a sum of Kronecker products, applied without ever being a matrix.

use super::calibrate::Starts;
use super::held::{Held, Place, values};
use crate::adapter::MergedWeight;
use crate::frozen::FrozenWeight;
use crate::fused::{FusedFactor, FusedKron};
use crate::ops::linear_trained;
use crate::param::{Param, Role};
use crate::slots::{Base, Factor, Kron, KronFactor};
use crate::{NnError, Result};
use candle_core::Tensor;
use std::sync::Arc;

/// `s · Σ U_t ⊗ V_t` with its tensors.
pub(super) struct HeldKron {
    scale: f64,
    u_size: (usize, usize),
    v_size: (usize, usize),
    terms: Vec<(Side, Side)>,
    /// What a residual base takes off the weight.
    taken: Vec<(Tensor, Tensor)>,
}

/// One side of a product.
pub(super) enum Side {
    Full(Held),
    Product { outer: Held, inner: Held },
}

impl Side {
    fn build(
        factor: &KronFactor,
        name: &str,
        role: Role,
        (rows, cols): (usize, usize),
        seed: u64,
        found: Option<&[f32]>,
    ) -> Result<Self> {
        let hold = |factor: &Factor, name: &str, role: Role, shape: [usize; 2]| {
            Held::build(factor, &Place { name, role, shape: &shape, seed, found, principal: None })
        };
        Ok(match factor {
            KronFactor::Full(factor) => Self::Full(hold(factor, name, role, [rows, cols])?),
            KronFactor::Product { rank, outer, inner } => Self::Product {
                outer: hold(outer, &format!("{name}_b"), Role::FactorB, [rows, *rank])?,
                inner: hold(inner, &format!("{name}_a"), Role::FactorA, [*rank, cols])?,
            },
        })
    }

    /// The whole side; differentiable.
    pub(super) fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Full(held) => held.tensor(),
            Self::Product { outer, inner } => {
                linear_trained(&outer.tensor()?, &inner.tensor()?.t()?.contiguous()?, None)
            }
        }
    }

    fn fused(&self) -> Result<FusedFactor> {
        match self {
            Self::Full(held) => held.fused(),
            Self::Product { .. } => FusedFactor::folded(self.tensor()?, self.params()),
        }
    }

    fn params(&self) -> Vec<Param> {
        match self {
            Self::Full(held) => held.params().collect(),
            Self::Product { outer, inner } => outer.params().chain(inner.params()).collect(),
        }
    }
}

/// A product with its scale.
type Product = (Tensor, Tensor, f64);

/// `Σ s · x (U ⊗ V)ᵀ`: V over the inner part of the features, then U over the outer part.
fn applied(
    products: &[Product],
    (u_size, v_size): ((usize, usize), (usize, usize)),
    x: &Tensor,
) -> Result<Option<Tensor>> {
    let ((a, c), (b, d)) = (u_size, v_size);
    let n = x.elem_count() / (c * d).max(1);
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = a * b;
    }
    let pieces = x.contiguous()?.reshape((n * c, d))?;
    let mut sum: Option<Tensor> = None;
    for (u, v, scale) in products {
        let inner = linear_trained(&pieces, v, None)?.reshape((n, c, b))?.transpose(1, 2)?.contiguous()?;
        let outer = linear_trained(&inner.reshape((n * b, c))?, u, None)?.reshape((n, b, a))?;
        let y = outer.transpose(1, 2)?.contiguous()?.reshape(shape.as_slice())?.affine(*scale, 0.0)?;
        sum = Some(match sum {
            Some(sum) => (sum + y)?,
            None => y,
        });
    }
    Ok(sum)
}

impl HeldKron {
    /// Builds the factors under the names `<prefix>u`, `<prefix>v`, those of the next terms with their number.
    pub(super) fn build(
        prefix: &str,
        kron: &Kron,
        scale: f64,
        base: Base,
        seed: u64,
        starts: Option<&Starts>,
    ) -> Result<Self> {
        let mut terms = Vec::with_capacity(kron.terms);
        for term in 0..kron.terms {
            let number = if term == 0 { String::new() } else { term.to_string() };
            let part = |values: fn(&Starts) -> &Vec<f32>, (rows, cols): (usize, usize)| {
                starts.and_then(|starts| values(starts).get(term * rows * cols..(term + 1) * rows * cols))
            };
            let (u_name, v_name) = (format!("{prefix}u{number}"), format!("{prefix}v{number}"));
            let u = Side::build(&kron.u, &u_name, Role::FactorB, kron.u_size, seed, part(|s| &s.b, kron.u_size))?;
            let v = Side::build(&kron.v, &v_name, Role::FactorA, kron.v_size, seed, part(|s| &s.a, kron.v_size))?;
            terms.push((u, v));
        }
        let mut held = Self { scale, u_size: kron.u_size, v_size: kron.v_size, terms, taken: Vec::new() };
        if base == Base::Residual {
            let copy = |side: &Side| -> Result<Tensor> { Ok(side.tensor()?.copy()?.detach()) };
            held.taken = held.terms.iter().map(|(u, v)| Ok((copy(u)?, copy(v)?))).collect::<Result<_>>()?;
        }
        Ok(held)
    }

    /// The products with their scales: the trained ones, then what is taken off.
    fn products(&self) -> Result<Vec<Product>> {
        let trained = self.terms.iter().map(|(u, v)| Ok((u.tensor()?, v.tensor()?, self.scale)));
        let taken = self.taken.iter().map(|(u, v)| Ok((u.clone(), v.clone(), -self.scale)));
        trained.chain(taken).collect()
    }

    /// `Σ s · x (U ⊗ V)ᵀ` for `x` (.., c d).
    pub(super) fn forward(&self, x: &Tensor) -> Result<Option<Tensor>> {
        applied(&self.products()?, (self.u_size, self.v_size), x)
    }

    /// The same as a function of its own, which takes the products as they are now.
    pub(super) fn detached(&self) -> Result<impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + use<>> {
        let (products, sizes) = (self.products()?, (self.u_size, self.v_size));
        Ok(move |x: &Tensor| {
            let none = || NnError::Value("a sum of Kronecker products has no term".to_owned());
            applied(&products, sizes, x)?.ok_or_else(none)
        })
    }

    /// In the rows of a frozen weight.
    pub(super) fn in_rows(&self, weight: &Arc<FrozenWeight>) -> Result<FusedKron> {
        let terms = self.terms.iter().map(|(u, v)| Ok((u.fused()?, v.fused()?))).collect::<Result<_>>()?;
        let (scale, taken) = (self.scale as f32, self.taken.clone());
        let (weight, u_size, v_size) = (Arc::clone(weight), self.u_size, self.v_size);
        Ok(FusedKron { weight, scale, terms, taken, u_size, v_size })
    }

    /// Adds the change to a weight, rounded once.
    pub(super) fn merge_into(&self, weight: &mut MergedWeight) -> Result<()> {
        let ((_, c), (b, d)) = (self.u_size, self.v_size);
        let products = self.products()?;
        let products: Vec<(Vec<f32>, Vec<f32>, f64)> =
            products.iter().map(|(u, v, scale)| Ok((values(u)?, values(v)?, *scale))).collect::<Result<_>>()?;
        weight.add_rows(|row, sum| {
            for (u, v, scale) in &products {
                let (u, v) = (u.chunks(c.max(1)).nth(row / b), v.chunks(d.max(1)).nth(row % b));
                let pieces = sum.chunks_mut(d.max(1)).zip(u.unwrap_or_default());
                for (sum, u) in pieces {
                    for (sum, v) in sum.iter_mut().zip(v.unwrap_or_default()) {
                        *sum += scale * f64::from(*u) * f64::from(*v);
                    }
                }
            }
        });
        Ok(())
    }

    pub(super) fn params(&self) -> Vec<Param> {
        self.terms.iter().flat_map(|(u, v)| [u.params(), v.params()]).flatten().collect()
    }

    /// Factor in front.
    pub(super) fn scale(&self) -> f64 {
        self.scale
    }

    /// The two sides of its only product; none when there are several.
    pub(super) fn single(&self) -> Option<(&Side, &Side)> {
        match (self.terms.as_slice(), self.taken.as_slice()) {
            ([(u, v)], []) => Some((u, v)),
            _ => None,
        }
    }
}
