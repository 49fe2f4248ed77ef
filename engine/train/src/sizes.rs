//! How large the entries of queries and keys grow while a run goes on.
//!
//! Place in the data flow: measured beside the kept sets, on the run's first validation batch, and said as
//! [`Event::Attention`], one a block. Nothing follows from it by itself.
//!
//! Source: "Computational Limits of Low-Rank Adaptation (LoRA) for Transformer-Based Models" (2024). With Γ the largest
//! absolute entry of the products that the attention compares and L tokens: as long as Γ = o(√log L), LoRA's gradients can
//! be approximated in almost linear time; as soon as Γ may reach √(κ log L) for any growing κ, nothing faster than almost
//! quadratic time is possible (under the strong exponential time hypothesis). The constants are asymptotic, so that there
//! is no line that a model crosses: what counts is ρ = max(q∞, k∞) / √(ln L) beside the same of the base.

use crate::driver::{Driver, Tokens};
use crate::error::Result;
use crate::eval::AsBase;
use crate::watch::Watch;
use temper_models::{AttentionSizes, Model};
use temper_protocol::Event;
use temper_protocol::event::AttentionSize;

/// Growth of the ratio over the base's from which a person is told what it means.
const GROWN: f64 = 1.5;

/// What was measured of the base, once per process.
#[derive(Debug, Default)]
pub(crate) struct Sizes {
    base: Vec<Option<AttentionSizes>>,
    told: bool,
}

fn largest(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).fold(0.0, f64::max)
}

/// ρ: the largest entry over √(ln L) for texts of `tokens` tokens.
#[must_use]
pub fn ratio(q_max: f64, k_max: f64, tokens: usize) -> f64 {
    q_max.max(k_max) / (tokens.max(2) as f64).ln().sqrt()
}

impl Sizes {
    /// Measures every block on `tokens` and says it; the first time also the model without what was put on it.
    ///
    /// # Errors
    /// A failing tensor operation; a stop or cancel.
    pub(crate) fn tell(
        &mut self,
        driver: &Driver,
        model: &Model,
        tokens: &Tokens,
        step: u64,
        watch: &Watch<'_>,
    ) -> Result<()> {
        if self.base.is_empty() {
            watch.check()?;
            let _as_base = AsBase::of(model);
            self.base = driver.attention_sizes(model, tokens)?;
        }
        watch.check()?;
        let longest = tokens.ctx.positions.iter().max().map_or(0, |last| *last as usize + 1);
        let width = model.config.as_llama().head_dim as f64;
        let mut worst: Option<(usize, f64)> = None;
        for (block, (now, base)) in driver.attention_sizes(model, tokens)?.iter().zip(&self.base).enumerate() {
            let (Some(now), Some(base)) = (now, base) else { continue };
            let (q_max, k_max) = (largest(&now.q_max), largest(&now.k_max));
            let (at, was) = (ratio(q_max, k_max, longest), ratio(largest(&base.q_max), largest(&base.k_max), longest));
            watch.say(Event::Attention(AttentionSize {
                step,
                block: format!("layers.{block}"),
                q_max,
                k_max,
                change_share: if q_max > 0.0 { largest(&now.change_max) / q_max } else { 0.0 },
                ratio: at,
                scaled_ratio: at * width.powf(-0.25),
                base_ratio: was,
            }));
            if was > 0.0 && worst.is_none_or(|(_, growth)| at / was > growth) {
                worst = Some((block, at / was));
            }
        }
        if let Some((block, growth)) = worst
            && growth > GROWN
            && !std::mem::replace(&mut self.told, true)
        {
            watch.warn(
                "attention_grows",
                format!(
                    "the largest entries that the attention of block {block} compares are {growth:.2} times those of the base: \
                     theory allows fast approximate training only while they stay small beside the root of the logarithm of \
                     the length; this program computes exactly and is no slower for it, and quality can still be good, but \
                     answers get sharper and rounding to few bits costs more: a lower learning rate or alpha keeps them down"
                ),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_falls_with_the_root_of_the_logarithm_of_the_length() {
        assert!((ratio(3.0, 2.0, 64) / ratio(3.0, 2.0, 64 * 64) - 2f64.sqrt()).abs() < 1e-12);
        assert!((ratio(6.0, 2.0, 64) - 2.0 * ratio(3.0, 2.0, 64)).abs() < 1e-12);
        assert_eq!(ratio(1.0, 5.0, 64), ratio(5.0, 1.0, 64));
    }
}
