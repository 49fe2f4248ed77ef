//! Who of a change's parts answers for a token: the one choice that depends on the input.
//!
//! ```text
//! l = R x      top: the largest of l, of equal ones the first      w_e = e^l_e / Σ_top e^l for e in top, else 0
//! Δ(x) = Σ_e w_e · B_e A_e      A_e: rows e · r and on of A, B_e: the same columns of B, r = rank / experts
//! ```
//!
//! Place in the data flow: a field of [`super::Slots`]; [`crate::ops::route`] is its operation, `slot_adapter/mix.rs` holds
//! the router and what it was seen doing.

use super::factor::Factor;

/// Who of a change's parts answers for a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// The change as it is, for every token. What merges, leaves as LoRA and runs fused.
    One,
    /// Groups of a chain's directions, chosen by a router.
    Routed(Router),
}

/// A router over the experts of a chain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Router {
    /// How many groups of directions there are, as many in each.
    pub experts: usize,
    /// How many of them answer for a token.
    pub top: usize,
    /// R, (experts, in); no bias.
    pub factor: Factor,
}

impl Router {
    /// Whether a chain of this rank has such experts.
    #[must_use]
    pub const fn fits(&self, rank: usize) -> bool {
        let fits = self.experts > 0 && rank >= self.experts && rank.is_multiple_of(self.experts);
        fits && self.top > 0 && self.top <= self.experts
    }
}

impl Mix {
    pub(super) fn trained_entries(&self, in_features: usize) -> usize {
        match self {
            Self::One => 0,
            Self::Routed(router) => router.factor.trained_entries(router.experts, in_features),
        }
    }
}
