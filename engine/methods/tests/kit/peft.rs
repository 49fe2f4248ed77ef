//! What PEFT computes from the tensors of each of its types, in plain dense f64: the export clause holds our forms
//! against it. Formulas as in PEFT 0.21; the judge proves that PEFT itself agrees.

use super::Outcome;
use candle_core::{DType, Tensor};
use temper_nn::{PeftLayer, PeftSetting};

/// Weight (out, in) and bias (out) of a layer with `peft` on it, f64.
pub(crate) fn applied(peft: &PeftLayer, weight: &Tensor, bias: Option<&Tensor>) -> Outcome<(Tensor, Option<Tensor>)> {
    let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64);
    let (weight, bias) = (wide(weight)?, bias.map(wide).transpose()?);
    let tensor = |name: &str| -> Outcome<Tensor> {
        Ok(wide(peft.tensor(name).ok_or_else(|| format!("{} has no {name}", peft.peft_type))?)?)
    };
    Ok(match peft.peft_type {
        "LORA" => {
            let (a, b) = (tensor("lora_A.weight")?, tensor("lora_B.weight")?);
            let scale = peft.number("lora_alpha") / peft.number("r");
            let changed = (weight + b.matmul(&a)?.affine(scale, 0.0)?)?;
            if peft.setting("use_dora") != Some(PeftSetting::Flag(true)) {
                return Ok((changed, bias));
            }
            let norm = changed.sqr()?.sum_keepdim(1)?.sqrt()?;
            let factor = tensor("lora_magnitude_vector")?.unsqueeze(1)?.broadcast_div(&norm)?;
            (changed.broadcast_mul(&factor)?, bias)
        }
        "IA3" => {
            let scale = tensor("ia3_l")?;
            let changed = weight.broadcast_mul(&scale)?;
            if peft.setting("feedforward_modules") == Some(PeftSetting::Listed(true)) {
                return Ok((changed, bias));
            }
            (changed, bias.map(|bias| bias.mul(&scale.squeeze(1)?)).transpose()?)
        }
        "BEFT" => {
            let shift = tensor("beft_bias")?.squeeze(0)?;
            let bias = match bias {
                Some(bias) => (bias + shift)?,
                None => shift,
            };
            (weight, Some(bias))
        }
        other => return Err(format!("the kit does not know PEFT's {other}").into()),
    })
}
