//! What the contract is checked on: a handful of linear layers of different shapes and storage, the same with every base
//! that is rounded in memory, and every setting of a method tried at other values than its default.

pub(crate) mod peft;

use candle_core::{Device, Tensor, Var};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use temper_methods::{Method, ModelDims, Plan, SiteDims};
use temper_nn::layer_stats::gather;
use temper_nn::rng::Stream;
use temper_nn::slots::Slots;
use temper_nn::{
    Bits, ForwardContext, FrozenLinear, FrozenWeight, Gather, Group, GroupedInt, LayerStats, LinearSite, Param,
    StorageKind,
};
use temper_protocol::{Setting, SettingType, Value, Values};

/// Result of a check.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Batch rows and positions of every input.
pub(crate) const ROWS: usize = 2;
/// See [`ROWS`].
pub(crate) const WIDTH: usize = 3;

/// A clause's one condition.
pub(crate) fn ensure(condition: bool, what: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(what().into()) }
}

/// Normal values, the same for the same name.
pub(crate) fn random(name: &str, shape: &[usize], std: f64) -> Outcome<Tensor> {
    let mut values = vec![0f32; shape.iter().product()];
    Stream::new(20, name).fill_normal(&mut values, std);
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Name here, Hugging Face's name, (out, in), storage, bias.
type Layer = (&'static str, &'static str, (usize, usize), StorageKind, bool);

const LAYERS: [Layer; 6] = [
    ("layers.0.attn.q", "model.layers.0.self_attn.q_proj", (7, 5), StorageKind::F32, true),
    ("layers.0.attn.k", "model.layers.0.self_attn.k_proj", (24, 32), StorageKind::F32, false),
    ("layers.0.mlp.down", "model.layers.0.mlp.down_proj", (48, 32), StorageKind::F16, false),
    ("layers.1.attn.v", "model.layers.1.self_attn.v_proj", (24, 64), StorageKind::Q8_0, true),
    ("layers.1.attn.o", "model.layers.1.self_attn.o_proj", (32, 32), StorageKind::Bf16, true),
    ("layers.1.mlp.up", "model.layers.1.mlp.up_proj", (40, 96), StorageKind::Q4_1, false),
];

/// Layers whose rows fill the blocks of every base that is rounded in memory, and larger than any rank that is tried with
/// the columns a randomised decomposition adds; their storage is that of the base.
const ROUNDED_LAYERS: [Layer; 3] = [
    ("layers.0.attn.v", "model.layers.0.self_attn.v_proj", (96, 128), StorageKind::F32, true),
    ("layers.0.attn.k", "model.layers.0.self_attn.k_proj", (80, 192), StorageKind::F32, false),
    ("layers.1.mlp.down", "model.layers.1.mlp.down_proj", (128, 128), StorageKind::F32, false),
];

/// The bases that are rounded in memory, of the grouped ones one per width.
pub(crate) fn rounded_bases() -> [StorageKind; 8] {
    let grouped = |bits, group| StorageKind::Grouped(GroupedInt { bits, group });
    [
        StorageKind::Int8,
        StorageKind::Nf4,
        StorageKind::Nf4Double,
        StorageKind::Nf3,
        StorageKind::Nf2,
        grouped(Bits::Four, Group::G64),
        grouped(Bits::Three, Group::G32),
        grouped(Bits::Two, Group::G32),
    ]
}

thread_local! {
    /// The base that [`sites`] are held as: none for the mixed layers.
    static BASE: Cell<Option<StorageKind>> = const { Cell::new(None) };
}

/// Does `work` with all layers held as `base`, rounded from f32 that they remember.
pub(crate) fn over<R>(base: Option<StorageKind>, work: impl FnOnce() -> R) -> R {
    BASE.set(base);
    let result = work();
    BASE.set(None);
    result
}

fn layers() -> &'static [Layer] {
    if BASE.get().is_some() { &ROUNDED_LAYERS } else { &LAYERS }
}

/// The layers: tall, wide and square, stored as f32, f16, bf16, Q8_0 and Q4_1, with and without bias; or all rounded.
pub(crate) fn sites() -> Outcome<Vec<LinearSite>> {
    let of = |&(name, _, (rows, cols), kind, bias): &Layer| {
        let dense = random(name, &[rows, cols], 0.3)?;
        let weight = FrozenWeight::from_tensor(name, &dense, BASE.get().unwrap_or(kind))?;
        let bias = if bias { Some(random(&format!("{name}.bias"), &[rows], 0.3)?) } else { None };
        let site = LinearSite::new(name, FrozenLinear { weight: Arc::new(weight), bias });
        Ok(match BASE.get() {
            Some(_) => site.with_source(Arc::new(FrozenWeight::from_tensor(name, &dense, StorageKind::F32)?)),
            None => site,
        })
    };
    layers().iter().map(of).collect()
}

/// Their shapes; there is nothing else in this "model".
pub(crate) fn dims() -> ModelDims {
    let sites = layers().iter().map(|&(name, hf_name, (out_features, in_features), _, bias)| SiteDims {
        name: name.to_owned(),
        hf_name: hf_name.to_owned(),
        out_features,
        in_features,
        layer: name.split('.').nth(1).and_then(|layer| layer.parse().ok()),
        bias,
        window: (1, 1),
    });
    ModelDims { sites: sites.collect(), own: Vec::new(), head_features: 4 }
}

/// Applies a plan as the trainer does.
pub(crate) fn apply(plan: &Plan, sites: &mut [LinearSite], seed: u64) -> Outcome {
    let selector = plan.promote.selector()?;
    for site in sites {
        if selector.selects(site.name()) {
            site.promote()?;
        }
        if let Some(slots) = plan.slots(site.name()) {
            let stats = looked_at(site, slots)?;
            site.attach_with(slots, seed, stats.as_deref())?;
        }
    }
    Ok(())
}

/// What the calibration of a site's slots wants to have seen of its inputs, or of its gradients.
fn looked_at(site: &LinearSite, slots: &Slots) -> Outcome<Option<Arc<LayerStats>>> {
    let Some(wanted) = slots.gathers() else { return Ok(None) };
    let (rows, width) = (4, 16);
    let x = random(&format!("{}.seen", site.name()), &[rows, width, site.in_features()], 1.0)?;
    let mut passes = 0;
    let mut stats = gather(&[(site, wanted)], || -> Outcome<bool> {
        passes += 1;
        let seen = Var::from_tensor(&x)?;
        let y = site.forward(seen.as_tensor(), &ForwardContext::plain(rows, width))?;
        if wanted == Gather::Fisher {
            y.sqr()?.sum_all()?.backward()?;
        }
        Ok(passes < 1)
    })?;
    Ok(stats.remove(site.name()))
}

/// The layers with a method on them.
pub(crate) fn adapted(method: &dyn Method, values: &Values, seed: u64) -> Outcome<Vec<LinearSite>> {
    let plan = method.plan(values, &dims().sites, seed)?;
    let mut sites = sites()?;
    apply(&plan, &mut sites, seed)?;
    Ok(sites)
}

/// An input for a site.
pub(crate) fn input(site: &LinearSite) -> Outcome<Tensor> {
    random(&format!("{}.x", site.name()), &[ROWS, WIDTH, site.in_features()], 1.0)
}

/// A pass without noise.
pub(crate) fn plain() -> ForwardContext {
    ForwardContext::plain(ROWS, WIDTH)
}

/// A training pass, with dropout where the method has it.
pub(crate) fn training() -> ForwardContext {
    ForwardContext { training: true, seed: 4, step: 2, ..plain() }
}

/// Everything trained on these sites.
pub(crate) fn params(sites: &[LinearSite]) -> Vec<Param> {
    sites.iter().flat_map(LinearSite::params).collect()
}

/// Moves every parameter by random amounts, as training would.
pub(crate) fn shake(params: &[Param], std: f64) -> Outcome {
    for param in params {
        let noise = random(&format!("shake/{}", param.name), param.var.dims(), std)?;
        // What a mask holds, training does not move.
        let noise = match &param.mask {
            Some(mask) => (noise * mask)?,
            None => noise,
        };
        param.var.set(&(param.var.as_tensor() + noise)?)?;
    }
    Ok(())
}

/// Largest absolute value.
pub(crate) fn largest(tensor: &Tensor) -> Outcome<f32> {
    Ok(tensor.abs()?.max_all()?.to_scalar()?)
}

/// Largest absolute difference over the largest absolute value of `right` (or over 1, if that is more).
pub(crate) fn difference(left: &Tensor, right: &Tensor) -> Outcome<f32> {
    Ok(largest(&(left - right)?)? / largest(right)?.max(1.0))
}

/// The bytes of all parameters, in order.
pub(crate) fn bytes(params: &[Param]) -> Outcome<Vec<(String, Vec<f32>)>> {
    params.iter().map(|param| Ok((param.name.clone(), param.var.flatten_all()?.to_vec1()?))).collect()
}

/// A fresh variable with the values of a tensor.
pub(crate) fn variable(tensor: &Tensor) -> Outcome<Var> {
    Ok(Var::from_tensor(tensor)?)
}

/// A method's settings with what else to try: every flag turned, every choice, numbers below and above the
/// default, then everything changed at once. Targets, layers and tables have tests of their own.
pub(crate) fn variants(method: &dyn Method) -> Vec<(String, Values)> {
    let mut variants = vec![("defaults".to_owned(), Values::default())];
    let mut together = BTreeMap::new();
    for setting in method.declared().settings {
        for value in others(setting) {
            variants.push((
                format!("{} = {value}", setting.key),
                Values(BTreeMap::from([(setting.key.to_owned(), value.clone())])),
            ));
            together.insert(setting.key.to_owned(), value);
        }
    }
    variants.push(("everything changed".to_owned(), Values(together)));
    variants
}

fn others(setting: &Setting) -> Vec<Value> {
    let within = |value: f64| value.max(setting.min.unwrap_or(value)).min(setting.max.unwrap_or(value));
    match (setting.kind, setting.default_value()) {
        (SettingType::Flag, Value::Flag(default)) => vec![Value::Flag(!default)],
        (SettingType::Choice, Value::Text(default)) => setting
            .choices
            .iter()
            .filter(|choice| **choice != default)
            .map(|choice| Value::Text((*choice).to_owned()))
            .collect(),
        (SettingType::Integer, Value::Integer(default)) => {
            let numbers = [within(f64::MIN_POSITIVE), within(default as f64 + 3.0)];
            numbers.map(|number| Value::Integer(number as i64)).to_vec()
        }
        (SettingType::Number, default) => {
            let default = match default {
                Value::Integer(number) => number as f64,
                Value::Number(number) => number,
                _ => 0.0,
            };
            [within(default / 2.0), within(default * 1.5 + 0.25)].map(Value::Number).to_vec()
        }
        _ => Vec::new(),
    }
}
