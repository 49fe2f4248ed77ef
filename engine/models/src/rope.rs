//! Rotary positions: the frequencies of every scaling variant, as transformers and llama.cpp compute them.
//!
//! RoPE: Su et al. 2021 (arXiv:2104.09864). A head of width d has d/2 frequencies; frequency i turns the pair
//! (i, i + d/2) by `position * inv_freq[i]`.

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::f64::consts::PI;
use std::sync::Arc;
use temper_nn::ops::RotaryTable;

/// How frequencies are scaled for contexts beyond the one a model was trained on.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Positions divided by `factor` (kaiokendev 2023).
    Linear {
        /// By how much the context grew.
        factor: f64,
    },
    /// The base grows with the length of the text beyond the model's context ("dynamic NTK", emozilla 2023); up to
    /// that context it equals `Default`.
    Dynamic {
        /// How fast it grows.
        factor: f64,
    },
    /// Low frequencies divided, high ones kept, those between blended (Llama 3.1).
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context before scaling, tokens.
        original_context: usize,
    },
    /// YaRN (Peng et al. 2023, arXiv:2309.00071): interpolated and original frequencies blended by a ramp, and
    /// attention sharpened by a factor on cosine and sine.
    Yarn {
        /// By how much the context grew.
        factor: f64,
        /// Context before scaling, tokens.
        original_context: usize,
        /// Frequencies with more rotations than this over the original context are kept.
        beta_fast: f64,
        /// Frequencies with fewer rotations than this are divided.
        beta_slow: f64,
        /// Factor on cosine and sine; none: from `factor` and the two below.
        attention_factor: Option<f64>,
        /// Numerator's multiplier in the attention factor.
        mscale: Option<f64>,
        /// Denominator's multiplier in the attention factor.
        mscale_all_dim: Option<f64>,
        /// Whether the ramp's borders are rounded to whole frequencies.
        truncate: bool,
    },
}

/// Names of the variants, for messages.
pub const KNOWN_SCALINGS: &str = "default, linear, dynamic, llama3, yarn";

/// Rotary settings of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Scaling.
    pub scaling: RopeScaling,
    /// Divisor of each frequency: the `rope_freqs.weight` tensor of a GGUF file, in which llama.cpp keeps what
    /// `Llama3` computes. It applies before `scaling`.
    pub frequency_factors: Option<Vec<f32>>,
}

/// `0.1 m ln(s) + 1` for s > 1 (YaRN, eq. 22).
fn yarn_mscale(scale: f64, multiplier: f64) -> f64 {
    if scale <= 1.0 { 1.0 } else { 0.1 * multiplier * scale.ln() + 1.0 }
}

/// The factors that Llama 3 scaling divides each frequency by.
fn llama3_factors(inv_freq: &[f64], factor: f64, low: f64, high: f64, original: f64) -> Vec<f64> {
    let divisor = |frequency: &f64| {
        let wavelength = 2.0 * PI / frequency;
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    inv_freq.iter().map(divisor).collect()
}

/// `theta^(-2i/d)` for i in 0..d/2.
fn base_frequencies(theta: f64, head_dim: usize) -> Vec<f64> {
    (0..head_dim / 2).map(|i| theta.powf(-((2 * i) as f64) / head_dim as f64)).collect()
}

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&value| value as f32).collect()
}

impl Rope {
    /// Checks the numbers.
    pub(crate) fn check(&self, head_dim: usize) -> Result<(), String> {
        let positive = |what: &str, value: f64| {
            if value.is_finite() && value > 0.0 { Ok(()) } else { Err(format!("rotary setting {what} is {value}")) }
        };
        positive("rope_theta", self.theta)?;
        match &self.scaling {
            RopeScaling::Default => {}
            RopeScaling::Linear { factor } | RopeScaling::Dynamic { factor } => positive("factor", *factor)?,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                positive("factor", *factor)?;
                positive("low_freq_factor", *low_freq_factor)?;
                positive("original_max_position_embeddings", count(*original_context))?;
                positive("high_freq_factor - low_freq_factor", high_freq_factor - low_freq_factor)?;
            }
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor, .. } => {
                positive("factor", *factor)?;
                positive("original_max_position_embeddings", count(*original_context))?;
                positive("beta_fast", *beta_fast)?;
                positive("beta_slow", *beta_slow)?;
                positive("attention_factor", attention_factor.unwrap_or(1.0))?;
                positive("rope_theta - 1", self.theta - 1.0)?;
            }
        }
        if let Some(factors) = &self.frequency_factors {
            if factors.len() != head_dim / 2 {
                return Err(format!("{} frequency factors for {} frequencies", factors.len(), head_dim / 2));
            }
            factors.iter().try_for_each(|&factor| positive("frequency factor", factor.into()))?;
        }
        Ok(())
    }

    /// Whether the frequencies depend on the length of the text.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        matches!(self.scaling, RopeScaling::Dynamic { .. })
    }

    /// Frequencies (d/2) and the factor on cosine and sine for a text of `length` tokens; `context` is the model's.
    #[must_use]
    pub fn frequencies(&self, head_dim: usize, context: usize, length: usize) -> (Vec<f32>, f32) {
        let mut base = base_frequencies(self.theta, head_dim);
        if let Some(factors) = &self.frequency_factors {
            base.iter_mut().zip(factors).for_each(|(frequency, &factor)| *frequency /= f64::from(factor));
        }
        match &self.scaling {
            RopeScaling::Default => (narrow(&base), 1.0),
            RopeScaling::Linear { factor } => (narrow(&base.iter().map(|f| f / factor).collect::<Vec<_>>()), 1.0),
            RopeScaling::Dynamic { factor } => {
                if length <= context {
                    return (narrow(&base), 1.0);
                }
                let (dim, length, context) = (count(head_dim), count(length), count(context));
                let grown = (factor * length / context - (factor - 1.0)).powf(dim / (dim - 2.0).max(1.0));
                (narrow(&base_frequencies(self.theta * grown, head_dim)), 1.0)
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let original = count(*original_context);
                let factors = llama3_factors(&base, *factor, *low_freq_factor, *high_freq_factor, original);
                (narrow(&base.iter().zip(factors).map(|(f, factor)| f / factor).collect::<Vec<_>>()), 1.0)
            }
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => {
                let dim = count(head_dim);
                let border = |rotations: f64| {
                    dim * (count(*original_context) / (rotations * 2.0 * PI)).ln() / (2.0 * self.theta.ln())
                };
                let (mut low, mut high) = (border(*beta_fast), border(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, high) = (low.max(0.0), high.min(dim - 1.0));
                let span = if low == high { 0.001 } else { high - low };
                let blended = base.iter().enumerate().map(|(i, f)| {
                    let ramp = ((count(i) - low) / span).clamp(0.0, 1.0);
                    f / factor * ramp + f * (1.0 - ramp)
                });
                (
                    narrow(&blended.collect::<Vec<_>>()),
                    narrow(&[self.attention_factor()]).first().copied().unwrap_or(1.0),
                )
            }
        }
    }

    /// Factor on cosine and sine; 1 for all but YaRN.
    #[must_use]
    pub fn attention_factor(&self) -> f64 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor: Some(stated), .. } => stated,
            // as in the reference, a multiplier of 0 counts as absent
            RopeScaling::Yarn { factor, mscale: Some(top), mscale_all_dim: Some(bottom), .. }
                if top != 0.0 && bottom != 0.0 =>
            {
                yarn_mscale(factor, top) / yarn_mscale(factor, bottom)
            }
            RopeScaling::Yarn { factor, .. } => yarn_mscale(factor, 1.0),
            _ => 1.0,
        }
    }

    /// What `rope_freqs.weight` of a GGUF file must hold, none if all are 1.
    #[must_use]
    pub fn gguf_factors(&self, head_dim: usize) -> Option<Vec<f32>> {
        if self.frequency_factors.is_some() {
            return self.frequency_factors.clone();
        }
        let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } = self.scaling else {
            return None;
        };
        let base = base_frequencies(self.theta, head_dim);
        Some(narrow(&llama3_factors(&base, factor, low_freq_factor, high_freq_factor, count(original_context))))
    }

    /// The scaling as a Hugging Face configuration can say it: frequency factors of a GGUF file are recognised as
    /// the Llama 3 settings they were made of. Factors that no known setting gives stay unsaid.
    #[must_use]
    pub fn hf_scaling(&self, context: usize) -> RopeScaling {
        let Some(factors) = &self.frequency_factors else { return self.scaling.clone() };
        if factors.iter().all(|&factor| factor == 1.0) {
            return self.scaling.clone();
        }
        self.recognise_llama3(factors, context).unwrap_or_else(|| self.scaling.clone())
    }

    /// Whether [`Self::hf_scaling`] says everything.
    #[must_use]
    pub fn hf_can_say(&self, context: usize) -> bool {
        match &self.frequency_factors {
            Some(factors) if factors.iter().any(|&factor| factor != 1.0) => {
                self.recognise_llama3(factors, context).is_some()
            }
            _ => true,
        }
    }

    fn recognise_llama3(&self, factors: &[f32], context: usize) -> Option<RopeScaling> {
        if self.scaling != RopeScaling::Default {
            return None;
        }
        let factor = f64::from(factors.iter().copied().fold(1.0_f32, f32::max));
        let base = base_frequencies(self.theta, factors.len() * 2);
        let divided = (count(context) / factor).round();
        let originals = [8192.0, divided, 4096.0, 2048.0, 16384.0, 32768.0, 131_072.0];
        originals.into_iter().find_map(|original| {
            let expected = llama3_factors(&base, factor, 1.0, 4.0, original);
            let close = |(a, b): (&f32, f64)| (f64::from(*a) - b).abs() <= 1e-4 * b;
            let equal = factors.iter().zip(expected).all(close);
            equal.then_some(RopeScaling::Llama3 {
                factor,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: original as usize,
            })
        })
    }

    /// The settings in the form of `rope_parameters`.
    #[must_use]
    pub fn to_hf_json(&self, context: usize) -> Map<String, Value> {
        let (name, mut all) = match self.hf_scaling(context) {
            RopeScaling::Default => ("default", Vec::new()),
            RopeScaling::Linear { factor } => ("linear", vec![("factor", json!(factor))]),
            RopeScaling::Dynamic { factor } => ("dynamic", vec![("factor", json!(factor))]),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => (
                "llama3",
                vec![
                    ("factor", json!(factor)),
                    ("high_freq_factor", json!(high_freq_factor)),
                    ("low_freq_factor", json!(low_freq_factor)),
                    ("original_max_position_embeddings", json!(original_context)),
                ],
            ),
            RopeScaling::Yarn {
                factor,
                original_context,
                beta_fast,
                beta_slow,
                attention_factor,
                mscale,
                mscale_all_dim,
                truncate,
            } => {
                let mut all = vec![
                    ("beta_fast", json!(beta_fast)),
                    ("beta_slow", json!(beta_slow)),
                    ("factor", json!(factor)),
                    ("original_max_position_embeddings", json!(original_context)),
                ];
                let optional =
                    [("attention_factor", attention_factor), ("mscale", mscale), ("mscale_all_dim", mscale_all_dim)];
                all.extend(optional.into_iter().filter_map(|(key, value)| value.map(|value| (key, json!(value)))));
                if !truncate {
                    all.push(("truncate", json!(false)));
                }
                ("yarn", all)
            }
        };
        all.push(("rope_theta", json!(self.theta)));
        all.push(("rope_type", json!(name)));
        all.sort_by_key(|(key, _)| *key);
        all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

fn count(value: usize) -> f64 {
    value as f64
}

/// The tables of one model: shared by its blocks.
#[derive(Debug)]
pub struct RopeTables {
    rope: Rope,
    head_dim: usize,
    context: usize,
    standard: Arc<RotaryTable>,
    /// The last one made for a longer text than the context, with its length.
    stretched: Mutex<Option<(usize, Arc<RotaryTable>)>>,
}

impl RopeTables {
    /// Tables for a model.
    #[must_use]
    pub fn new(rope: Rope, head_dim: usize, context: usize) -> Self {
        let (inv_freq, attention) = rope.frequencies(head_dim, context, 0);
        let standard = Arc::new(RotaryTable::new(inv_freq, attention));
        Self { rope, head_dim, context, standard, stretched: Mutex::new(None) }
    }

    /// The table for a text of `length` tokens.
    #[must_use]
    pub fn table(&self, length: usize) -> Arc<RotaryTable> {
        if !self.rope.is_dynamic() || length <= self.context {
            return Arc::clone(&self.standard);
        }
        let mut stretched = self.stretched.lock();
        match stretched.as_ref() {
            Some((known, table)) if *known == length => Arc::clone(table),
            _ => {
                let (inv_freq, attention) = self.rope.frequencies(self.head_dim, self.context, length);
                let table = Arc::new(RotaryTable::new(inv_freq, attention));
                *stretched = Some((length, Arc::clone(&table)));
                table
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope { theta: 10_000.0, scaling, frequency_factors: None }
    }

    #[test]
    fn default_frequencies_are_powers_of_theta() {
        let (inv_freq, attention) = rope(RopeScaling::Default).frequencies(8, 64, 9999);
        assert_eq!(inv_freq, [1.0, 0.1, 0.01, 0.001]);
        assert_eq!(attention, 1.0);
    }

    #[test]
    fn dynamic_equals_default_up_to_the_context_and_slows_down_beyond() {
        let dynamic = rope(RopeScaling::Dynamic { factor: 2.0 });
        let default = rope(RopeScaling::Default).frequencies(16, 32, 0).0;
        assert_eq!(dynamic.frequencies(16, 32, 32).0, default);
        let beyond = dynamic.frequencies(16, 32, 48).0;
        assert_eq!(beyond[0], 1.0);
        assert!(beyond.iter().skip(1).zip(&default[1..]).all(|(a, b)| a < b));
        // theta' = theta * (2 * 48 / 32 - 1)^(16/14) = theta * 2^(8/7)
        let expected = (10_000.0_f64 * 2.0_f64.powf(8.0 / 7.0)).powf(-14.0 / 16.0);
        assert!((f64::from(beyond[7]) - expected).abs() < 1e-9);
    }

    #[test]
    fn llama3_settings_survive_the_way_through_a_gguf_file() {
        let scaling =
            RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 8192 };
        let original = Rope { theta: 500_000.0, scaling: scaling.clone(), frequency_factors: None };
        let factors = original.gguf_factors(64).unwrap();
        assert!(factors.contains(&1.0) && factors.contains(&32.0));
        assert!(factors.iter().any(|&f| f > 1.0 && f < 32.0), "some frequency is blended");
        let read = Rope { theta: 500_000.0, scaling: RopeScaling::Default, frequency_factors: Some(factors) };
        let (a, b) = (original.frequencies(64, 131_072, 0).0, read.frequencies(64, 131_072, 0).0);
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-6 * a));
        assert_eq!(read.hf_scaling(131_072), scaling);
        assert!(read.hf_can_say(131_072));
        let odd = Rope { frequency_factors: Some(vec![1.0, 1.3, 2.0, 3.0]), ..read };
        assert!(!odd.hf_can_say(131_072));
    }

    #[test]
    fn yarn_sharpens_attention_by_the_logarithm_of_the_factor() {
        let yarn = |mscale, mscale_all_dim| {
            rope(RopeScaling::Yarn {
                factor: 4.0,
                original_context: 16,
                beta_fast: 32.0,
                beta_slow: 1.0,
                attention_factor: None,
                mscale,
                mscale_all_dim,
                truncate: true,
            })
            .attention_factor()
        };
        assert!((yarn(None, None) - (1.0 + 0.1 * 4.0_f64.ln())).abs() < 1e-12);
        let ratio = (1.0 + 0.1 * 4.0_f64.ln()) / (1.0 + 0.05 * 4.0_f64.ln());
        assert!((yarn(Some(1.0), Some(0.5)) - ratio).abs() < 1e-12);
        assert_eq!(yarn(Some(0.0), Some(0.5)), yarn(None, None));
    }

    #[test]
    fn impossible_settings_are_named() {
        assert!(rope(RopeScaling::Linear { factor: 0.0 }).check(8).unwrap_err().contains("factor"));
        assert!(rope(RopeScaling::Default).check(8).is_ok());
        let short = Rope { frequency_factors: Some(vec![1.0; 3]), ..rope(RopeScaling::Default) };
        assert!(short.check(8).unwrap_err().contains("3 frequency factors for 4"));
    }
}
