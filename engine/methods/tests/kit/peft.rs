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
            if peft.setting("lora_bias") == Some(PeftSetting::Flag(true)) {
                let shift = tensor("lora_B.bias")?.affine(scale, 0.0)?;
                return Ok((changed, Some(with(bias, &shift)?)));
            }
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
            (weight, Some(with(bias, &shift)?))
        }
        "VERA" => {
            let (rows, cols) = weight.dims2()?;
            let a = tensor("vera_A")?.narrow(1, 0, cols)?.contiguous()?;
            let b = tensor("vera_B")?.narrow(0, 0, rows)?.contiguous()?;
            let a = a.broadcast_mul(&tensor("vera_lambda_d")?.unsqueeze(1)?)?;
            let b = b.broadcast_mul(&tensor("vera_lambda_b")?.unsqueeze(1)?)?;
            ((weight + b.matmul(&a)?)?, bias)
        }
        "ADALORA" => {
            let scaled = tensor("lora_A")?.broadcast_mul(&tensor("lora_E")?)?;
            let scale = peft.number("lora_alpha") / (peft.number("init_r") + 1e-5);
            ((weight + tensor("lora_B")?.matmul(&scaled)?.affine(scale, 0.0)?)?, bias)
        }
        "LOHA" => {
            let product = |left: &str, right: &str| -> Outcome<Tensor> { Ok(tensor(left)?.matmul(&tensor(right)?)?) };
            let change = (product("hada_w1_a", "hada_w1_b")? * product("hada_w2_a", "hada_w2_b")?)?;
            ((weight + change.affine(peft.number("alpha") / peft.number("r"), 0.0)?)?, bias)
        }
        "LOKR" => {
            let side = |number: usize| -> Outcome<Tensor> {
                match peft.tensor(&format!("lokr_w{number}")) {
                    Some(whole) => Ok(wide(whole)?),
                    None => Ok(tensor(&format!("lokr_w{number}_a"))?.matmul(&tensor(&format!("lokr_w{number}_b"))?)?),
                }
            };
            let (u, v) = (side(1)?, side(2)?);
            let ((a, c), (b, d)) = (u.dims2()?, v.dims2()?);
            let u = u.reshape((a, 1, c, 1))?.broadcast_as((a, b, c, d))?;
            let v = v.reshape((1, b, 1, d))?.broadcast_as((a, b, c, d))?;
            let change = (u * v)?.reshape((a * b, c * d))?;
            ((weight + change.affine(peft.number("alpha") / peft.number("r"), 0.0)?)?, bias)
        }
        "MISS" if peft.setting("init_weights") == Some(PeftSetting::Text("bat")) => {
            let blocks = tensor("miss_block")?;
            let ((rows, cols), size) = (weight.dims2()?, blocks.dim(1)?);
            // (out/r, r, in/r, r) to (out/r, in/r, r, r): every block of a row group beside the others.
            let pieces = weight.reshape((rows / size, size, cols / size, size))?.transpose(1, 2)?.contiguous()?;
            let block = blocks.unsqueeze(1)?.broadcast_as(pieces.dims())?.contiguous()?;
            let changed = ((&pieces + pieces.matmul(&block)?)? + block)?;
            (changed.transpose(1, 2)?.contiguous()?.reshape((rows, cols))?, bias)
        }
        "MISS" => {
            let block = tensor("miss_block")?;
            let cols = weight.dim(1)?;
            let tiles = vec![block.t()?.contiguous()?; cols.div_ceil(block.dim(0)?)];
            ((weight + Tensor::cat(&tiles, 1)?.narrow(1, 0, cols)?)?, bias)
        }
        other => return Err(format!("the kit does not know PEFT's {other}").into()),
    })
}

/// A bias with a change, which becomes one where there was none.
fn with(bias: Option<Tensor>, shift: &Tensor) -> Outcome<Tensor> {
    Ok(match bias {
        Some(bias) => (bias + shift)?,
        None => shift.clone(),
    })
}
