//! One layer of 64 x 64 and goals of different structure for it, trained by the real optimiser: the small bench on
//! which methods show what they promise.
//!
//! The weight has singular values that fall as i^-1/2; the loss is the mean square over all inputs of covariance C (its
//! eigenvalues fall as 1/i), relative to the loss before: 1 is no adaptation, 0 is solved.

use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use temper_methods::{ModelDims, SiteDims, find};
use temper_nn::insertion::At;
use temper_nn::layer_stats::gather;
use temper_nn::optim::{AdamW, AdamWConfig};
use temper_nn::rng::Stream;
use temper_nn::rules::{self, take_step};
use temper_nn::slots::Slots;
use temper_nn::{
    ForwardContext, FrozenLinear, FrozenWeight, Grads, InsertDims, Insertion, Inserts, LinearSite, ParamSet, Point,
    StorageKind, linalg,
};
use temper_protocol::{Value, Values};

/// Result of a test.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Features in and out.
pub(crate) const SIDE: usize = 64;

/// Shows a figure to whoever runs the tests with their output.
#[expect(clippy::print_stdout, reason = "figures of the benches are read in the output of the tests")]
pub(crate) fn tell(what: &str) {
    println!("{what}");
}

/// Settings from key and value.
pub(crate) fn values(settings: &[(&str, Value)]) -> Values {
    Values(settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
}

/// The layer of the bench under the name `hf`, as methods see it.
pub(crate) fn dims(hf: &str, bias: bool) -> SiteDims {
    SiteDims {
        name: "w".to_owned(),
        hf_name: hf.to_owned(),
        out_features: SIDE,
        in_features: SIDE,
        layer: Some(0),
        bias,
        window: (1, 1),
    }
}

/// What the method `id` does to the layer of the bench, called `hf`.
pub(crate) fn slots_on(id: &str, hf: &str, settings: &[(&str, Value)]) -> Outcome<Slots> {
    let plan = find(id)?.plan(&values(settings), &[dims(hf, true)], 1)?;
    Ok(plan.adapters.first().ok_or("the layer is left out")?.1.clone())
}

/// What the method `id` does to the layer of the bench.
pub(crate) fn slots(id: &str, settings: &[(&str, Value)]) -> Outcome<Slots> {
    slots_on(id, "model.layers.0.self_attn.v_proj", settings)
}

/// How many numbers the method `id` trains on a layer of (out, in) called v_proj.
pub(crate) fn count(id: &str, out_features: usize, in_features: usize, settings: &[(&str, Value)]) -> Outcome<u64> {
    let site = SiteDims { out_features, in_features, ..dims("model.layers.0.self_attn.v_proj", true) };
    Ok(find(id)?
        .trained_parameters(&values(settings), &ModelDims { sites: vec![site], own: Vec::new(), head_features: 4 })?)
}

/// The value of a parameter by its name.
pub(crate) fn param(site: &LinearSite, name: &str) -> Outcome<Tensor> {
    let param = site.params().into_iter().find(|param| param.name == name).ok_or_else(|| format!("no {name}"))?;
    Ok(param.var.as_tensor().clone())
}

/// Largest absolute difference.
pub(crate) fn off(left: &Tensor, right: &Tensor) -> Outcome<f32> {
    Ok((left - right)?.abs()?.max_all()?.to_scalar()?)
}

/// Normal values, (rows, cols).
pub(crate) fn normal(name: &str, rows: usize, cols: usize, std: f64) -> Outcome<Tensor> {
    let mut values = vec![0f32; rows * cols];
    Stream::new(31, name).fill_normal(&mut values, std);
    Ok(Tensor::from_vec(values, (rows, cols), &Device::Cpu)?)
}

/// A random orthogonal matrix.
pub(crate) fn orthogonal(name: &str) -> Outcome<Tensor> {
    let values: Vec<f64> =
        normal(name, SIDE, SIDE, 1.0)?.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
    let q: Vec<f32> = linalg::qr(&values, SIDE, SIDE)?.q.into_iter().map(|value| value as f32).collect();
    Ok(Tensor::from_vec(q, (SIDE, SIDE), &Device::Cpu)?)
}

/// `tensor` with Frobenius norm `norm`.
pub(crate) fn sized(tensor: &Tensor, norm: f64) -> Outcome<Tensor> {
    let now = f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt());
    Ok(tensor.affine(norm / now, 0.0)?)
}

/// A diagonal matrix.
pub(crate) fn diagonal(values: impl Iterator<Item = f64>) -> Outcome<Tensor> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    let side = values.len();
    let mut all = vec![0f32; side * side];
    for (at, value) in values.into_iter().enumerate() {
        all[at * side + at] = value;
    }
    Ok(Tensor::from_vec(all, (side, side), &Device::Cpu)?)
}

/// The weight before adaptation, norm 8.
pub(crate) fn weight() -> Outcome<Tensor> {
    let spectrum = diagonal((1..=SIDE).map(|index| (index as f64).powf(-0.5)))?;
    sized(&orthogonal("left")?.matmul(&spectrum)?.matmul(&orthogonal("right")?.t()?)?, 8.0)
}

/// A layer over [`weight`].
pub(crate) fn layer() -> Outcome<LinearSite> {
    let weight = FrozenWeight::from_tensor("w", &weight()?, StorageKind::F32)?;
    Ok(LinearSite::new("w", FrozenLinear { weight: Arc::new(weight), bias: None }))
}

/// Rows x of mean zero with Σ x xᵀ = 2 · SIDE · C: the loss over them is the loss over the whole distribution.
pub(crate) fn inputs() -> Outcome<Tensor> {
    let harmonic: f64 = (1..=SIDE).map(|index| 1.0 / index as f64).sum();
    let scale = SIDE as f64 / harmonic;
    let roots = diagonal((1..=SIDE).map(|index| (scale / index as f64).sqrt()))?;
    let rows = roots.matmul(&orthogonal("inputs")?.t()?)?;
    Ok(Tensor::cat(&[&rows, &rows.neg()?], 0)?)
}

/// A goal weight: the weight plus a dense change of norm 4.
pub(crate) fn dense_goal() -> Outcome<Tensor> {
    Ok((weight()? + sized(&normal("dense", SIDE, SIDE, 1.0)?, 4.0)?)?)
}

/// A goal weight: the weight plus a change of rank 4 and norm 4.
pub(crate) fn low_rank_goal() -> Outcome<Tensor> {
    let change = normal("low b", SIDE, 4, 1.0)?.matmul(&normal("low a", 4, SIDE, 1.0)?)?;
    Ok((weight()? + sized(&change, 4.0)?)?)
}

/// Puts slots on a layer that may look at all inputs first.
pub(crate) fn put(site: &mut LinearSite, slots: &Slots, seed: u64) -> Outcome {
    put_after(site, slots, seed, &inputs()?)
}

/// The same with other inputs to look at.
pub(crate) fn put_after(site: &mut LinearSite, slots: &Slots, seed: u64, x: &Tensor) -> Outcome {
    let Some(wanted) = slots.gathers() else { return Ok(site.attach(slots, seed)?) };
    let mut passes = 0;
    let stats = gather(&[(&*site, wanted)], || -> Outcome<bool> {
        passes += 1;
        site.forward(x, &ForwardContext::plain(1, x.dim(0)?))?;
        Ok(passes < 1)
    })?;
    let seen = stats.get(site.name()).map(|stats| &**stats);
    Ok(site.attach_with(slots, seed, seen)?)
}

/// Mean square difference of a layer's answers from `wanted`.
pub(crate) fn loss(site: &LinearSite, x: &Tensor, wanted: &Tensor) -> Outcome<Tensor> {
    let ctx = ForwardContext::plain(1, x.dim(0)?);
    Ok((site.forward(x, &ctx)? - wanted)?.sqr()?.mean_all()?)
}

/// Trains `site` to answer `x` with `wanted`, the learning rate falling as a cosine; the gradient is that of the loss over
/// the loss of the untouched weight.
pub(crate) fn train(site: &mut LinearSite, x: &Tensor, wanted: &Tensor, steps: usize, lr: f64) -> Outcome {
    let before = f64::from(loss(&layer()?, x, wanted)?.to_scalar::<f32>()?);
    let mut set = ParamSet::new(site.params())?;
    let mut optimiser = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
    for step in 0..steps {
        let mut grads = Grads::new();
        let mut total = loss(site, x, wanted)?.affine(128.0 / before, 0.0)?;
        if let Some(extra) = site.extra_loss()? {
            total = (total + extra)?;
        }
        grads.collect(&set, &mut total.backward()?)?;
        site.map_grads(&mut grads)?;
        let share = step as f64 / steps as f64;
        let lr = lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
        let at = rules::At { step: step as u64 + 1, total: steps as u64 };
        if take_step(&mut [&mut *site], &set, &mut optimiser, &mut grads, lr, at)?.params {
            set = ParamSet::new(site.params())?;
        }
    }
    Ok(())
}

/// The loss over all inputs, relative to the untouched weight's.
fn score(site: &LinearSite, goal: &Tensor) -> Outcome<f64> {
    let x = inputs()?;
    let wanted = x.matmul(&goal.t()?)?;
    let (now, before) = (loss(site, &x, &wanted)?, loss(&layer()?, &x, &wanted)?);
    Ok(f64::from(now.to_scalar::<f32>()? / before.to_scalar::<f32>()?))
}

/// Trains `site` towards `goal` for `steps` steps on all inputs and returns the loss over the loss before.
pub(crate) fn fit(site: &mut LinearSite, goal: &Tensor, steps: usize, lr: f64) -> Outcome<f64> {
    let x = inputs()?;
    train(site, &x, &x.matmul(&goal.t()?)?, steps, lr)?;
    score(site, goal)
}

/// The same from `count` drawn inputs whose answers carry a tenth of their size as noise; the best of three learning rates,
/// on the average of four goals.
pub(crate) fn few_shot(
    slots: &Slots,
    goal: impl Fn(u64) -> Outcome<Tensor>,
    count: usize,
    steps: usize,
) -> Outcome<f64> {
    const DRAWS: u64 = 4;
    let mut best = f64::INFINITY;
    for lr in [3e-3, 1e-2, 3e-2] {
        let mut sum = 0.0;
        for draw in 0..DRAWS {
            let goal = goal(draw)?;
            let mixed = inputs()?.narrow(0, 0, SIDE)?.contiguous()?;
            let x = normal(&format!("few {draw}"), count, SIDE, 1.0)?.matmul(&mixed)?;
            let exact = x.matmul(&goal.t()?)?;
            let size = f64::from(exact.sqr()?.mean_all()?.to_scalar::<f32>()?.sqrt());
            let wanted = (&exact + normal(&format!("noise {draw}"), count, SIDE, 0.1 * size)?)?;
            let mut site = layer()?;
            put(&mut site, slots, 3 + draw)?;
            train(&mut site, &x, &wanted, steps, lr)?;
            sum += score(&site, &goal)?;
        }
        best = best.min(sum / DRAWS as f64);
    }
    Ok(best)
}

/// The best of three learning rates for `slots` on a fresh layer.
pub(crate) fn best_fit(slots: &Slots, goal: &Tensor, steps: usize) -> Outcome<f64> {
    let mut best = f64::INFINITY;
    for lr in [3e-3, 1e-2, 3e-2] {
        let mut site = layer()?;
        put(&mut site, slots, 3)?;
        best = best.min(fit(&mut site, goal, steps, lr)?);
    }
    Ok(best)
}

/// So many blocks of `hidden` features whose keys have `keys`, as methods see them.
pub(crate) fn blocks(count: usize, hidden: usize, keys: usize) -> ModelDims {
    let site = |layer: usize| SiteDims {
        name: format!("layers.{layer}.attn.k"),
        hf_name: format!("model.layers.{layer}.self_attn.k_proj"),
        out_features: keys,
        in_features: hidden,
        layer: Some(layer),
        bias: false,
        window: (1, 1),
    };
    ModelDims { sites: (0..count).map(site).collect(), own: Vec::new(), head_features: 4 }
}

/// How many numbers the method `id` trains on these blocks.
pub(crate) fn count_blocks(id: &str, dims: &ModelDims, settings: &[(&str, Value)]) -> Outcome<u64> {
    Ok(find(id)?.trained_parameters(&values(settings), dims)?)
}

/// What the method `id` puts into the stages of such a model, built, by the names of the stages in the order of the plan.
/// A head has 4 features.
pub(crate) fn inserted(id: &str, dims: &ModelDims, settings: &[(&str, Value)]) -> Outcome<Vec<(String, Inserts)>> {
    let points = |stage: &str| -> &[Point] {
        match stage {
            "embed" => &[Point::EmbedOut],
            "head" => &[Point::HeadIn],
            _ => &[Point::AttnKv, Point::AttnOut, Point::Between, Point::MlpOut, Point::Block],
        }
    };
    let site = dims.sites.first().ok_or("no block")?;
    let sizes = InsertDims {
        hidden: site.in_features,
        kv_heads: site.out_features / 4,
        head_dim: 4,
        open: true,
        protected: 1,
        inner: 4 * site.in_features,
    };
    let (mut shared, mut all) = (BTreeMap::new(), Vec::<(String, Inserts)>::new());
    for insertion in find(id)?.plan(&values(settings), &dims.sites, 1)?.insertions {
        let Insertion { stage, what } = insertion;
        if all.iter().all(|(known, _)| *known != stage) {
            all.push((stage.clone(), Inserts::default()));
        }
        let (_, inserts) = all.iter_mut().find(|(known, _)| *known == stage).ok_or("no stage")?;
        inserts.attach(&what, points(&stage), &mut At::new(&stage, sizes, 7, &mut shared))?;
    }
    Ok(all)
}

/// Moves every parameter of what was inserted.
pub(crate) fn moved(inserts: &Inserts) -> Outcome {
    for param in inserts.params() {
        let dims = param.var.dims();
        let noise = normal(&param.name, 1, param.elements(), 0.3)?.reshape(dims)?;
        param.var.set(&(param.var.as_tensor() + noise)?)?;
    }
    Ok(())
}
