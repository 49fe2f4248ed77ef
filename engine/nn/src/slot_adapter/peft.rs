//! The tensors of PEFT's own types, for the choices of slots that have one.

use super::chain::{HeldChain, Triple};
use super::kron::{HeldKron, Side};
use super::normalise::HeldNormaliser;
use super::transform::HeldTransform;
use super::{Change, SlotAdapter};
use crate::Result;
use crate::adapter::{Adapter as _, AdapterExport, PeftLayer, PeftSetting};
use crate::site::Layer;
use crate::slots::{Base, Delta, Map, Rule, Slots, Source};
use candle_core::{DType, Device, Tensor};

/// What PEFT's AdaLoRA adds to the number of directions before it divides by it.
const ADALORA_DIVISOR: f64 = 1e-5;

/// A tensor to keep: no variable that goes on being trained.
fn kept(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.contiguous()?.copy()?.detach())
}

fn layer(
    peft_type: &'static str,
    tensors: Vec<(&'static str, Tensor)>,
    settings: Vec<(&'static str, PeftSetting)>,
) -> PeftLayer {
    PeftLayer { peft_type, tensors, shared: Vec::new(), settings }
}

impl SlotAdapter {
    /// The layer in PEFT's own type; none for plain LoRA, and for what PEFT does not have.
    pub(super) fn peft_layer(&self, below: Layer<'_>) -> Result<Option<PeftLayer>> {
        let dropout = self.slots.dropout;
        if self.slots.base == Base::Dropped {
            return Ok(None);
        }
        match (&self.change, &self.transform, &self.normaliser, &self.bias) {
            (Change::LowRank(chain), HeldTransform::None, HeldNormaliser::RowMagnitude(magnitude), None) => {
                dora(chain, &magnitude.tensor()?).map(Some)
            }
            (Change::None, HeldTransform::None, HeldNormaliser::RowScale(scale), None) => {
                ia3(&scale.tensor()?.unsqueeze(1)?, false).map(Some)
            }
            (Change::None, HeldTransform::None, HeldNormaliser::ColumnScale(scale), None) => {
                ia3(&scale.tensor()?.unsqueeze(0)?, true).map(Some)
            }
            (Change::None, HeldTransform::None, HeldNormaliser::None, Some(bias)) => {
                let bias = kept(&bias.tensor()?.unsqueeze(0)?)?;
                Ok(Some(layer("BEFT", vec![("beft_bias", bias)], Vec::new())))
            }
            (Change::None, transform, HeldNormaliser::None, None) if transform.tiles().is_some() => {
                match transform.tiles() {
                    Some(blocks) => miss("bat", &blocks.tensor()?, dropout).map(Some),
                    None => Ok(None),
                }
            }
            (Change::LowRank(chain), HeldTransform::None, HeldNormaliser::None, None) => low_rank(&self.slots, chain),
            (Change::Kron(kron), HeldTransform::None, HeldNormaliser::None, None) => lokr(&self.slots, kron),
            (Change::LowRank(_), HeldTransform::None, HeldNormaliser::None, Some(_))
            | (Change::LowRank(_) | Change::None, HeldTransform::Left(_), HeldNormaliser::None, _) => {
                self.with_bias(below)
            }
            (
                Change::None | Change::LowRank(_) | Change::Kron(_) | Change::Scatter(_) | Change::LookUp(_),
                HeldTransform::None | HeldTransform::Left(_) | HeldTransform::RowGroups { .. } | HeldTransform::Ring(_),
                HeldNormaliser::None
                | HeldNormaliser::RowMagnitude(_)
                | HeldNormaliser::RowScale(_)
                | HeldNormaliser::ColumnScale(_),
                None | Some(_),
            ) => Ok(None),
        }
    }

    /// LoRA with a bias on its outer factor; 0 where the layer's bias stays as it is.
    fn with_bias(&self, below: Layer<'_>) -> Result<Option<PeftLayer>> {
        let Some(AdapterExport::LowRank { a, b, scale, rank, bias, .. }) = self.export(below)? else {
            return Ok(None);
        };
        let bias = match bias {
            // The scale multiplies it with the factors.
            Some(bias) => bias.affine(1.0 / scale, 0.0)?,
            None => Tensor::zeros(b.dim(0)?, DType::F32, &Device::Cpu)?,
        };
        let tensors = vec![("lora_A.weight", a), ("lora_B.weight", b), ("lora_B.bias", bias)];
        let mut settings = rank_and_alpha("lora_alpha", rank, scale);
        settings.push(("lora_bias", PeftSetting::Flag(true)));
        Ok(Some(layer("LORA", tensors, settings)))
    }
}

fn rank_and_alpha(alpha: &'static str, rank: usize, scale: f64) -> Vec<(&'static str, PeftSetting)> {
    vec![("r", PeftSetting::Integer(rank as u64)), (alpha, PeftSetting::Number(scale * rank as f64))]
}

fn dora(chain: &HeldChain, magnitude: &Tensor) -> Result<PeftLayer> {
    let (a, b, scale) = chain.joined()?;
    let mut settings = rank_and_alpha("lora_alpha", a.dim(0)?, scale);
    settings.push(("use_dora", PeftSetting::Flag(true)));
    let tensors = vec![("lora_A.weight", a), ("lora_B.weight", b), ("lora_magnitude_vector", kept(magnitude)?)];
    Ok(layer("LORA", tensors, settings))
}

/// `scale` (out, 1), or (1, in) where it is applied to the input.
fn ia3(scale: &Tensor, feed_forward: bool) -> Result<PeftLayer> {
    let settings = vec![("feedforward_modules", PeftSetting::Listed(feed_forward))];
    Ok(layer("IA3", vec![("ia3_l", kept(scale)?)], settings))
}

/// Trained blocks: (r, out) for sums of features, (out/r, r, r) for `bat`.
fn miss(form: &'static str, blocks: &Tensor, dropout: f64) -> Result<PeftLayer> {
    let rank = if form == "bat" { blocks.dim(1)? } else { blocks.dim(0)? };
    let mut settings = vec![("r", PeftSetting::Integer(rank as u64))];
    if form == "bat" {
        settings.push(("init_weights", PeftSetting::Text("bat")));
    }
    if dropout > 0.0 {
        settings.push(("miss_dropout", PeftSetting::Number(dropout)));
    }
    Ok(layer("MISS", vec![("miss_block", kept(blocks)?)], settings))
}

/// What PEFT has for a change of low rank beside plain LoRA.
fn low_rank(slots: &Slots, held: &HeldChain) -> Result<Option<PeftLayer>> {
    if let Some(pair) = held.pair() {
        return loha(slots.rank(), pair, held.scale()).map(Some);
    }
    let (Delta::Chain(chain), Some(triple)) = (&slots.delta, held.single()) else { return Ok(None) };
    match (chain.a.source, chain.b.source, chain.b.map) {
        (Source::TiledIdentity, Source::Dense(_), Map::None) if triple.diagonal().is_none() => {
            let d = triple.b.tensor()?.affine(held.scale(), 0.0)?.t()?;
            miss("balance", &d, slots.dropout).map(Some)
        }
        (Source::Shared { .. }, Source::Shared { .. }, Map::Rows(_)) => vera(triple, held.scale(), slots.dropout),
        (Source::Dense(_), Source::Dense(_), Map::None) if slots.rules.iter().any(Rule::keeps_top) => {
            adalora(triple, held.scale())
        }
        _ => Ok(None),
    }
}

fn vera(triple: &Triple, scale: f64, dropout: f64) -> Result<Option<PeftLayer>> {
    let (Some(rows), Some(core), Some(a), Some(b)) =
        (triple.b.row_scale(), triple.diagonal(), triple.a.shared()?, triple.b.shared()?)
    else {
        return Ok(None);
    };
    let tensors = vec![("vera_lambda_b", kept(&rows.affine(scale, 0.0)?)?), ("vera_lambda_d", kept(&core.tensor()?)?)];
    let mut settings =
        vec![("r", PeftSetting::Integer(a.dim(0)? as u64)), ("save_projection", PeftSetting::Flag(true))];
    if dropout > 0.0 {
        settings.push(("vera_dropout", PeftSetting::Number(dropout)));
    }
    let shared = vec![("vera_A", a), ("vera_B", b)];
    Ok(Some(PeftLayer { peft_type: "VERA", tensors, shared, settings }))
}

/// All directions with their strengths. PEFT divides its alpha by the number of directions and a little more.
fn adalora(triple: &Triple, scale: f64) -> Result<Option<PeftLayer>> {
    let Some(core) = triple.diagonal() else { return Ok(None) };
    let (a, b, core) = (kept(&triple.a.tensor()?)?, kept(&triple.b.tensor()?)?, kept(&core.tensor()?)?);
    let rank = core.elem_count();
    let settings = vec![
        ("init_r", PeftSetting::Integer(rank as u64)),
        ("target_r", PeftSetting::Integer(rank as u64)),
        ("lora_alpha", PeftSetting::Number(scale * (rank as f64 + ADALORA_DIVISOR))),
        // PEFT asks for a length of the run even where none follows.
        ("total_step", PeftSetting::Integer(1)),
    ];
    let tensors = vec![("lora_A", a), ("lora_B", b), ("lora_E", core.unsqueeze(1)?)];
    Ok(Some(layer("ADALORA", tensors, settings)))
}

fn loha(rank: usize, [first, second]: &[Triple; 2], scale: f64) -> Result<PeftLayer> {
    let tensors = vec![
        ("hada_w1_a", kept(&first.b.tensor()?)?),
        ("hada_w1_b", kept(&first.a.tensor()?)?),
        ("hada_w2_a", kept(&second.b.tensor()?)?),
        ("hada_w2_b", kept(&second.a.tensor()?)?),
    ];
    Ok(layer("LOHA", tensors, rank_and_alpha("alpha", rank, scale)))
}

fn lokr(slots: &Slots, held: &HeldKron) -> Result<Option<PeftLayer>> {
    let (Delta::Kron(kron), Some((u, v))) = (&slots.delta, held.single()) else { return Ok(None) };
    let mut rank = 0;
    let mut tensors = Vec::new();
    for (side, names) in [(u, ["lokr_w1", "lokr_w1_a", "lokr_w1_b"]), (v, ["lokr_w2", "lokr_w2_a", "lokr_w2_b"])] {
        let [whole, outer_name, inner_name] = names;
        match side {
            Side::Full(full) => tensors.push((whole, kept(&full.tensor()?)?)),
            Side::Product { outer, inner } => {
                rank = inner.tensor()?.dim(0)?;
                tensors.push((outer_name, kept(&outer.tensor()?)?));
                tensors.push((inner_name, kept(&inner.tensor()?)?));
            }
        }
    }
    let both = matches!(u, Side::Product { .. });
    if rank == 0 {
        // Both sides are whole: PEFT takes a side as whole from half of its longer edge on.
        rank = kron.v_size.0.max(kron.v_size.1).max(1);
    }
    let mut settings = rank_and_alpha("alpha", rank, held.scale());
    settings.push(("decompose_both", PeftSetting::Flag(both)));
    settings.push(("decompose_factor", PeftSetting::Number(f64::from(kron.decompose_factor))));
    Ok(Some(layer("LOKR", tensors, settings)))
}
