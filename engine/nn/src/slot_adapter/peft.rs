//! The tensors of PEFT's own types, for the choices of slots that have one.

use super::SlotAdapter;
use super::normalise::HeldNormaliser;
use crate::Result;
use crate::adapter::{PeftLayer, PeftSetting};
use candle_core::Tensor;

/// A tensor to keep: no variable that goes on being trained.
fn kept(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.copy()?.detach())
}

impl SlotAdapter {
    /// The layer in PEFT's own type; none for plain LoRA, and for what PEFT does not have.
    pub(super) fn peft_layer(&self) -> Result<Option<PeftLayer>> {
        match (&self.chain, &self.normaliser, &self.bias) {
            (Some(chain), HeldNormaliser::RowMagnitude(magnitude), None) => {
                let (a, b, scale) = chain.joined()?;
                let rank = a.dim(0)?;
                Ok(Some(PeftLayer {
                    peft_type: "LORA",
                    tensors: vec![
                        ("lora_A.weight", a),
                        ("lora_B.weight", b),
                        ("lora_magnitude_vector", kept(magnitude.tensor())?),
                    ],
                    settings: vec![
                        ("r", PeftSetting::Integer(rank as u64)),
                        ("lora_alpha", PeftSetting::Number(scale * rank as f64)),
                        ("use_dora", PeftSetting::Flag(true)),
                    ],
                }))
            }
            (None, HeldNormaliser::RowScale(scale), None) => Ok(Some(ia3(&scale.tensor().unsqueeze(1)?, false)?)),
            (None, HeldNormaliser::ColumnScale(scale), None) => Ok(Some(ia3(&scale.tensor().unsqueeze(0)?, true)?)),
            (None, HeldNormaliser::None, Some(bias)) => {
                let bias = kept(&bias.tensor().unsqueeze(0)?)?;
                Ok(Some(PeftLayer { peft_type: "BEFT", tensors: vec![("beft_bias", bias)], settings: Vec::new() }))
            }
            (
                None | Some(_),
                HeldNormaliser::None
                | HeldNormaliser::RowMagnitude(_)
                | HeldNormaliser::RowScale(_)
                | HeldNormaliser::ColumnScale(_),
                None | Some(_),
            ) => Ok(None),
        }
    }
}

/// `scale` (out, 1), or (1, in) where it is applied to the input.
fn ia3(scale: &Tensor, feed_forward: bool) -> Result<PeftLayer> {
    Ok(PeftLayer {
        peft_type: "IA3",
        tensors: vec![("ia3_l", kept(scale)?)],
        settings: vec![("feedforward_modules", PeftSetting::Listed(feed_forward))],
    })
}
