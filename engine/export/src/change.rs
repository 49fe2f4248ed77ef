//! The change that training made, as low-rank factors per site: what adapter files hold.

use crate::error::{ExportError, Result};
use std::sync::Arc;
use temper_models::Model;
use temper_models::names;
use temper_nn::AdapterExport;

/// `ΔW = scale · B A` at one site.
#[derive(Debug, Clone)]
pub struct LowRankChange {
    /// Module path in a Hugging Face model.
    pub hf: String,
    /// Tensor name in a GGUF file, with `.weight`.
    pub gguf: String,
    /// Order of the rows in a GGUF file.
    pub gguf_rows: Option<Arc<[u32]>>,
    /// Rows of the weight.
    pub out_features: usize,
    /// Columns of the weight.
    pub in_features: usize,
    /// Inner width.
    pub rank: usize,
    /// (rank, in), row by row.
    pub a: Vec<f32>,
    /// (out, rank), row by row.
    pub b: Vec<f32>,
    /// Factor in front.
    pub scale: f64,
    /// The alpha that the method named.
    pub alpha: f64,
}

/// The low-rank change of every adapted site, in the order of the graph.
///
/// # Errors
/// [`ExportError::NotRepresentable`] when something else than low-rank adapters was trained.
pub fn low_rank_changes(model: &Model) -> Result<Vec<LowRankChange>> {
    let whole = |what: String| ExportError::NotRepresentable {
        what,
        action: "export the merged model instead: --format hf or --format gguf".to_owned(),
    };
    let slots = names::slots(model.config.as_llama());
    let mut changes = Vec::new();
    for name in names::sites(model.config.as_llama()) {
        let Some(site) = model.site(&name.name) else { continue };
        let mut parts = Vec::new();
        for export in site.export()? {
            match export {
                AdapterExport::LowRank { bias: Some(_), .. } => {
                    return Err(whole(format!(
                        "the bias of {} was trained too, which plain LoRA does not hold",
                        name.hf
                    )));
                }
                AdapterExport::LowRank { a, b, scale, rank, alpha, bias: None } => {
                    let a = a.flatten_all()?.to_vec1::<f32>()?;
                    let b = b.flatten_all()?.to_vec1::<f32>()?;
                    parts.push((a, b, rank, scale, alpha));
                }
                AdapterExport::Dense { .. } => {
                    return Err(whole(format!("the change of {} is not of low rank", name.hf)));
                }
            }
        }
        let gguf_rows = slots
            .iter()
            .find(|slot| slot.site.as_deref() == Some(name.name.as_str()) && slot.shape.len() == 2)
            .and_then(|slot| slot.gguf_rows.clone());
        if let Some((a, b, rank, scale, alpha)) = join(parts, name.out_features) {
            changes.push(LowRankChange {
                gguf: format!("{}.weight", name.gguf),
                hf: name.hf,
                gguf_rows,
                out_features: name.out_features,
                in_features: name.in_features,
                rank,
                a,
                b,
                scale,
                alpha,
            });
        }
    }
    if let Some(name) = model.trained_weights().first() {
        return Err(whole(format!("{name} was trained as a whole, which no low-rank adapter holds")));
    }
    if changes.is_empty() {
        return Err(ExportError::NotRepresentable {
            what: "this model carries no adapter".to_owned(),
            action: "give a run or an adapter folder".to_owned(),
        });
    }
    Ok(changes)
}

type Part = (Vec<f32>, Vec<f32>, usize, f64, f64);

/// Several adapters on one site become one: A stacked, B side by side with the scales folded in.
fn join(mut parts: Vec<Part>, out_features: usize) -> Option<Part> {
    if parts.len() <= 1 {
        return parts.pop();
    }
    let rank: usize = parts.iter().map(|part| part.2).sum();
    let mut a = Vec::new();
    let mut b = vec![0f32; out_features * rank];
    let mut offset = 0;
    for (part_a, part_b, part_rank, scale, _) in &parts {
        a.extend_from_slice(part_a);
        for (row, values) in part_b.chunks_exact(*part_rank).enumerate() {
            let start = row * rank + offset;
            if let Some(target) = b.get_mut(start..start + part_rank) {
                for (target, value) in target.iter_mut().zip(values) {
                    *target = (f64::from(*value) * scale) as f32;
                }
            }
        }
        offset += part_rank;
    }
    Some((a, b, rank, 1.0, rank as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_adapters_on_a_site_become_their_exact_sum() {
        let first = (vec![1.0, 2.0], vec![3.0, 4.0], 1, 2.0, 2.0);
        let second = (vec![0.5, -1.0, 1.0, 1.0], vec![1.0, 0.0, 0.0, 1.0], 2, 0.5, 1.0);
        let dense = |part: &Part| {
            let (a, b, rank, scale, _) = part;
            let mut sum = [[0f64; 2]; 2];
            for (row, sum) in sum.iter_mut().enumerate() {
                for (col, sum) in sum.iter_mut().enumerate() {
                    for k in 0..*rank {
                        *sum += scale * f64::from(b[row * rank + k]) * f64::from(a[k * 2 + col]);
                    }
                }
            }
            sum
        };
        let (one, two) = (dense(&first), dense(&second));
        let joined = dense(&join(vec![first, second], 2).unwrap());
        for row in 0..2 {
            for col in 0..2 {
                assert!((joined[row][col] - one[row][col] - two[row][col]).abs() < 1e-6);
            }
        }
    }
}
