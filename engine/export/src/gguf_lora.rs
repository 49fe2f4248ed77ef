//! The GGUF adapter: `adapter.lora.alpha` once for the file, factors per tensor.
//!
//! A reader scales each pair by `alpha / r` with r read from the tensor, so a scale that differs between
//! tensors is folded into B. Query and key rows follow the file order of the base.

use crate::change::LowRankChange;
use crate::error::{ExportError, Result};
use std::io::Write;
use temper_models::gguf::GgufWriter;
use temper_nn::StorageKind;

/// File name of the adapter.
pub(crate) const FILE: &str = "adapter.gguf";

/// Writes the adapter. `architecture` is exactly the base's; `name` names the adapter.
///
/// # Errors
/// I/O errors of the sink.
pub(crate) fn write(
    changes: &[LowRankChange],
    architecture: &str,
    name: &str,
    base_name: &str,
    sink: &mut dyn Write,
) -> std::io::Result<()> {
    let alpha = common_alpha(changes);
    let mut writer = GgufWriter::new();
    writer.set("general.architecture", architecture)?;
    writer.set("general.type", "adapter")?;
    writer.set("general.name", name)?;
    writer.set("general.base_model.count", 1u32)?;
    writer.set("general.base_model.0.name", base_name)?;
    writer.set("general.file_type", 0u32)?;
    writer.set("adapter.type", "lora")?;
    writer.set("adapter.lora.alpha", alpha as f32)?;
    for change in changes {
        writer.declare(&format!("{}.lora_a", change.gguf), &[change.rank, change.in_features], StorageKind::F32)?;
        writer.declare(&format!("{}.lora_b", change.gguf), &[change.out_features, change.rank], StorageKind::F32)?;
    }
    let mut tensors = writer.start(sink)?;
    for change in changes {
        tensors.write(&format!("{}.lora_a", change.gguf), bytemuck::cast_slice(&change.a))?;
        let b = file_order(change, alpha).map_err(std::io::Error::other)?;
        tensors.write(&format!("{}.lora_b", change.gguf), bytemuck::cast_slice(&b))?;
    }
    tensors.finish()?;
    Ok(())
}

/// The alpha most pairs agree on, so that most B stay as they were trained.
fn common_alpha(changes: &[LowRankChange]) -> f64 {
    let mut counts: Vec<(f64, usize)> = Vec::new();
    for change in changes {
        let alpha = change.scale * change.rank as f64;
        match counts.iter_mut().find(|(known, _)| (known - alpha).abs() <= 1e-9 * alpha.abs()) {
            Some((_, count)) => *count += 1,
            None => counts.push((alpha, 1)),
        }
    }
    // An alpha of 0 would switch the division off in readers; a change scaled by 0 has B folded to 0 instead.
    counts.into_iter().filter(|(alpha, _)| *alpha > 0.0).max_by_key(|(_, count)| *count).map_or(1.0, |(alpha, _)| alpha)
}

/// B with the rows in file order and the scale that `alpha / rank` does not give folded in.
fn file_order(change: &LowRankChange, alpha: f64) -> Result<Vec<f32>> {
    let fold = change.scale / (alpha / change.rank as f64);
    let exact = (fold - 1.0).abs() <= 1e-9;
    let mut rows = vec![0f32; change.b.len()];
    for (row, values) in change.b.chunks_exact(change.rank).enumerate() {
        let stored = match &change.gguf_rows {
            Some(order) => order.get(row).map(|stored| *stored as usize),
            None => Some(row),
        };
        let target = stored
            .and_then(|stored| rows.get_mut(stored * change.rank..(stored + 1) * change.rank))
            .ok_or_else(|| ExportError::Adapter {
                path: FILE.into(),
                what: format!("row {row} of {} has no place", change.gguf),
            })?;
        for (target, value) in target.iter_mut().zip(values) {
            *target = if exact { *value } else { (f64::from(*value) * fold) as f32 };
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(rank: usize, scale: f64) -> LowRankChange {
        LowRankChange {
            hf: "m".into(),
            gguf: "blk.0.attn_q.weight".into(),
            gguf_rows: Some([0u32, 2, 1, 3].as_slice().into()),
            out_features: 4,
            in_features: 2,
            rank,
            a: vec![1.0; rank * 2],
            b: (0..4 * rank).map(|value| value as f32).collect(),
            scale,
            alpha: scale * rank as f64,
        }
    }

    #[test]
    fn rows_go_to_their_place_in_the_file() {
        let rows = file_order(&change(1, 2.0), 2.0).unwrap();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0]);
    }

    #[test]
    fn a_scale_that_alpha_does_not_give_is_folded_into_b() {
        let odd = change(2, 3.0);
        let alpha = common_alpha(&[change(1, 2.0), change(1, 2.0), odd.clone()]);
        assert!((alpha - 2.0).abs() < 1e-12);
        let rows = file_order(&odd, alpha).unwrap();
        // alpha / rank is 1, the wanted scale is 3
        assert_eq!(rows[2..4], [odd.b[4] * 3.0, odd.b[5] * 3.0]);
    }
}
