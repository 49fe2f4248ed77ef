//! What methods insert into a fused half: a bottleneck beside what the half adds, keys and values before its own.
//!
//! Place in the data flow: [`crate::Inserts::fused`] hands them out. What a bottleneck reads the half has at hand anyway;
//! kept of it is what its function takes. A prefix goes into the attention's own tiles and keeps nothing.

use super::FusedFactor;
use crate::kernels::attention::Ahead;
use crate::ops::{Gate, Net, Part, Values};
use crate::{Grads, Result};

/// `value + scale · (f(read W_dᵀ + b_d) W_uᵀ + b_u)` for what a half adds to the stream.
pub struct FusedInsert {
    /// W_d (width, hidden).
    pub down: FusedFactor,
    /// b_d (width).
    pub down_bias: Option<FusedFactor>,
    /// W_u (hidden, width).
    pub up: FusedFactor,
    /// b_u (hidden).
    pub up_bias: Option<FusedFactor>,
    /// f.
    pub activation: Gate,
    /// Factor in front.
    pub scale: f32,
    /// Whether it reads the value that it is added to; else the normed input of the half.
    pub sequential: bool,
}

impl FusedInsert {
    /// What a sequential one among them may be.
    pub(super) fn sequential(insert: Option<&Self>) -> Option<&Self> {
        insert.filter(|insert| insert.sequential)
    }

    /// What a parallel one among them may be.
    pub(super) fn parallel(insert: Option<&Self>) -> Option<&Self> {
        insert.filter(|insert| !insert.sequential)
    }

    /// Calls `work` with the values, and with the features of a row.
    fn with_net<R>(&self, work: impl FnOnce(&Net<'_>, Part) -> R) -> Result<R> {
        let (width, features) = self.down.value.dims2()?;
        let (down, up) = (Values::of(&self.down.value)?, Values::of(&self.up.value)?);
        let (down_bias, up_bias) = (values(self.down_bias.as_ref())?, values(self.up_bias.as_ref())?);
        let net = Net {
            down: &down,
            down_bias: down_bias.as_deref(),
            up: &up,
            up_bias: up_bias.as_deref(),
            width,
            activation: self.activation,
            scale: self.scale,
        };
        Ok(work(&net, Part::whole(features)))
    }

    /// Adds Δ of `read` (n, hidden) to `out`; returns what the function takes, (n, width).
    pub(crate) fn add(&self, read: &[f32], out: &mut [f32]) -> Result<Vec<f32>> {
        self.with_net(|net, part| {
            let inner = net.inner(read, part);
            net.add(&inner, out, part);
            inner
        })
    }

    /// For the gradient `g` of Δ: adds that of `read` to `dx`, and those of the layers to `grads`. `inner` is what
    /// [`Self::add`] returned, or empty, where it is computed again.
    pub(crate) fn backward(
        &self,
        read: &[f32],
        inner: &[f32],
        g: &[f32],
        dx: Option<&mut [f32]>,
        grads: &mut Grads,
    ) -> Result<()> {
        let of = self.with_net(|net, part| {
            let again = if inner.is_empty() { net.inner(read, part) } else { Vec::new() };
            let inner = if inner.is_empty() { &again } else { inner };
            net.backward((read, part), inner, (g, part), dx)
        })?;
        self.down.add(grads, Some(of.down))?;
        self.up.add(grads, Some(of.up))?;
        for (bias, gradient) in [(&self.down_bias, of.down_bias), (&self.up_bias, of.up_bias)] {
            if let Some(bias) = bias {
                bias.add(grads, Some(gradient))?;
            }
        }
        Ok(())
    }
}

fn values(factor: Option<&FusedFactor>) -> Result<Option<Values<'_>>> {
    Ok(factor.map(|factor| Values::of(&factor.value)).transpose()?)
}

/// Trained keys and values before those of every segment. Keys are not rotated; tokens stand behind them, so that their
/// positions are larger by [`Self::count`].
pub struct FusedPrefix {
    /// Keys, then values, (2, count, kv heads, features).
    pub key_values: FusedFactor,
    /// How many keys.
    pub count: usize,
}

impl FusedPrefix {
    /// What the positions of the tokens are raised by.
    pub(super) fn shift(&self) -> u32 {
        u32::try_from(self.count).unwrap_or(u32::MAX)
    }

    /// Calls `work` with what an attention of so many features of keys takes.
    ///
    /// # Errors
    /// Another number of features.
    pub(crate) fn with_ahead<R>(prefix: Option<&Self>, narrow: usize, work: impl FnOnce(Ahead<'_>) -> R) -> Result<R> {
        let Some(prefix) = prefix else { return Ok(work(Ahead::default())) };
        let wanted = prefix.count * narrow;
        let both = Values::of(&prefix.key_values.value)?;
        if both.len() != 2 * wanted {
            let dims = prefix.key_values.value.dims();
            return crate::error::shape_error(format!("a prefix {dims:?} before keys of {narrow} features"));
        }
        let (keys, values) = both.split_at(wanted);
        Ok(work(Ahead { count: prefix.count, keys, values }))
    }
}
