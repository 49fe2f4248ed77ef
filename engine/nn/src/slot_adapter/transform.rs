//! What the base is multiplied by: a low-rank recombination of the layer's outputs, blocks per group of rows, a ring of
//! small matrices.

use super::chain::{HeldChain, Spot};
use super::held::{Held, Place, values};
use super::ring::HeldRing;
use crate::adapter::MergedWeight;
use crate::ops::{FrozenLinear, linear_row_groups, low_rank};
use crate::param::{Param, Role};
use crate::slots::{Base, Delta, Left, Right};
use crate::{NnError, Result};
use candle_core::{Device, Tensor};

/// A transform with its tensors.
pub(super) enum HeldTransform {
    None,
    /// `I + s · B A` from the left.
    Left(Box<HeldChain>),
    /// `I + B_i` per group of rows from the right, and `B_i` added to each block where tiled.
    RowGroups {
        size: usize,
        blocks: Held,
        tiled: bool,
    },
    /// A ring of small matrices from the right.
    Ring(HeldRing),
}

/// What a left transform adds to the layer below: `scale · B A` and a change of the bias.
pub(super) struct Product {
    /// (r, in): the transform's own A times the weight.
    pub(super) a: Tensor,
    /// (out, r).
    pub(super) b: Tensor,
    /// Factor in front.
    pub(super) scale: f64,
    /// (out).
    pub(super) bias: Option<Tensor>,
}

impl HeldTransform {
    pub(super) fn build(
        name: &str,
        (left, right, delta): (&Left, &Right, &Delta),
        scale: f64,
        (out_features, in_features): (usize, usize),
        seed: u64,
    ) -> Result<Self> {
        match (left, right) {
            (Left::LowRank(chain), _) => {
                let spot = Spot {
                    prefix: &format!("{name}.left_"),
                    suffix: "",
                    size: (out_features, out_features),
                    seed,
                    starts: None,
                    principal: None,
                };
                Ok(Self::Left(Box::new(HeldChain::chain(chain, scale, Base::Original, &spot)?)))
            }
            (Left::None, Right::RowGroups { size, blocks }) => {
                let size = *size;
                let fits = size > 0 && out_features.is_multiple_of(size) && in_features.is_multiple_of(size);
                if !fits {
                    let what = format!("has blocks of {size}, which do not fill {out_features} x {in_features}");
                    return Err(NnError::Adapter { site: name.to_owned(), what });
                }
                let (name, shape) = (format!("{name}.blocks"), [out_features / size, size, size]);
                let role = Role::FactorB;
                let place = Place { name: &name, role, shape: &shape, seed, found: None, principal: None };
                Ok(Self::RowGroups { size, blocks: Held::build(blocks, &place)?, tiled: *delta == Delta::Tile })
            }
            (Left::None, Right::Ring { sizes, bond, group }) => {
                Ok(Self::Ring(HeldRing::build(name, *sizes, *bond, *group, in_features, seed)?))
            }
            (Left::None, Right::None) => Ok(Self::None),
        }
    }

    /// The layer with the transform, for `x` (.., in); `below` gives the layer as it is on any input. None when there is none.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        frozen: Option<&FrozenLinear>,
        below: impl FnOnce(&Tensor) -> Result<Tensor>,
        site: &str,
    ) -> Result<Option<Tensor>> {
        match self {
            Self::None => Ok(None),
            Self::Left(chain) => {
                let h = below(x)?;
                let mut y = h.clone();
                for term in chain.terms()? {
                    y = (y + low_rank(&h, &term.a, &term.b, term.scale as f32, None)?)?;
                }
                Ok(Some(y))
            }
            Self::Ring(ring) => below(&ring.apply(x)?).map(Some),
            Self::RowGroups { blocks, tiled, .. } => match frozen {
                Some(layer) => Ok(Some(linear_row_groups(x, layer, &blocks.tensor()?, *tiled)?)),
                None => {
                    let what = "changes blocks of a frozen weight and must be the first adapter on one".to_owned();
                    Err(NnError::Adapter { site: site.to_owned(), what })
                }
            },
        }
    }

    /// Applied to a weight and bias.
    pub(super) fn merge_into(&self, weight: &mut MergedWeight) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Ring(ring) => ring.merge_into(weight),
            Self::Left(chain) => {
                let (a, b, scale) = chain.joined()?;
                let rank = a.dim(0)?;
                let (folded, shift) = (fold(&a, weight)?, self.bias_change(weight.bias.as_deref())?);
                weight.add_product(&values(&b)?, &folded, rank, scale)?;
                if let Some(shift) = shift {
                    weight.add_bias(&shift);
                }
                Ok(())
            }
            Self::RowGroups { size, blocks, tiled } => {
                let (size, blocks) = (*size, values(&blocks.tensor()?)?);
                let before = weight.weight.clone();
                let cols = weight.in_features;
                weight.add_rows(|row, sum| {
                    let group = row / size;
                    let block = blocks.get(group * size * size..(group + 1) * size * size).unwrap_or_default();
                    let own = before.get(row * cols..(row + 1) * cols).unwrap_or_default();
                    let tile = block.chunks(size).nth(row % size).unwrap_or_default();
                    for (sum, own) in sum.chunks_mut(size).zip(own.chunks(size)) {
                        for (own, block) in own.iter().zip(block.chunks(size)) {
                            for (sum, block) in sum.iter_mut().zip(block) {
                                *sum += f64::from(*own) * f64::from(*block);
                            }
                        }
                        if *tiled {
                            for (sum, tile) in sum.iter_mut().zip(tile) {
                                *sum += f64::from(*tile);
                            }
                        }
                    }
                });
                Ok(())
            }
        }
    }

    /// What a left transform makes of a bias: `s · B A b`.
    fn bias_change(&self, bias: Option<&[f32]>) -> Result<Option<Vec<f32>>> {
        let (Self::Left(chain), Some(bias)) = (self, bias) else { return Ok(None) };
        let (a, b, scale) = chain.joined()?;
        let bias = Tensor::from_slice(bias, (bias.len(), 1), &Device::Cpu)?;
        Ok(Some(values(&b.matmul(&a.matmul(&bias)?)?.affine(scale, 0.0)?)?))
    }

    /// The change of the weight below as a product; none for what is none.
    pub(super) fn as_product(&self, below: &MergedWeight) -> Result<Option<Product>> {
        let Self::Left(chain) = self else { return Ok(None) };
        let (a, b, scale) = chain.joined()?;
        let a = Tensor::from_vec(fold(&a, below)?, (a.dim(0)?, below.in_features), &Device::Cpu)?;
        let shift = self.bias_change(below.bias.as_deref())?;
        let bias = shift.map(|shift| Tensor::from_vec(shift, below.out_features, &Device::Cpu)).transpose()?;
        Ok(Some(Product { a, b, scale, bias }))
    }

    pub(super) fn params(&self) -> Vec<Param> {
        match self {
            Self::None => Vec::new(),
            Self::Ring(ring) => ring.params().collect(),
            Self::Left(chain) => chain.params(),
            Self::RowGroups { blocks, .. } => blocks.params().collect(),
        }
    }

    /// The blocks of a tiled transform.
    pub(super) fn tiles(&self) -> Option<&Held> {
        match self {
            Self::RowGroups { blocks, tiled: true, .. } => Some(blocks),
            Self::None | Self::Left(_) | Self::RowGroups { .. } | Self::Ring(_) => None,
        }
    }
}

/// `A W` (r, in) for A (r, out).
fn fold(a: &Tensor, weight: &MergedWeight) -> Result<Vec<f32>> {
    let (rank, values) = (a.dim(0)?, values(a)?);
    let mut folded = vec![0f32; rank * weight.in_features];
    let (out_features, in_features) = (weight.out_features, weight.in_features);
    crate::gemm::gemm_nn(&values, &weight.weight, &mut folded, rank, in_features, out_features, 1.0, false);
    Ok(folded)
}
