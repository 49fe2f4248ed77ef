//! One layer of 64 x 64 and goals of different structure for it.
//!
//! The weight has singular values that fall as i^-1/2 and the norm 8; the loss is the mean square over all inputs of
//! covariance C, whose eigenvalues fall as 1/i, relative to the loss before: 1 is no adaptation, 0 is solved. A goal is the
//! weight plus a change of norm 4. The learning rate falls as a cosine, the best of some rates counts. From few examples the
//! answers carry a tenth of their size as noise, and the score is still that over all inputs.

use crate::compare::Method;
use anyhow::{Context as _, Result};
use candle_core::{Device, Tensor};
use std::sync::Arc;
use temper_methods::SiteDims;
use temper_nn::layer_stats::gather;
use temper_nn::optim::{AdamW, AdamWConfig};
use temper_nn::rng::Stream;
use temper_nn::rules::{At, take_step};
use temper_nn::slots::Slots;
use temper_nn::{ForwardContext, FrozenLinear, FrozenWeight, Grads, LinearSite, ParamSet, StorageKind, linalg};

/// Features in and out.
pub(crate) const SIDE: usize = 64;
/// Rates that are tried unless a job has its own.
pub(crate) const RATES: &[f64] = &[3e-3, 1e-2, 3e-2];
/// Goals that a few-shot score is the mean of.
const DRAWS: u64 = 4;
const NAME: &str = "layers.0.attn.v";

/// Which kind of change is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Every entry drawn.
    Dense,
    /// Of this rank.
    LowRank(usize),
    /// Two Kronecker products of 8 x 8.
    Products,
    /// A curve through the weight's own values, W ∘ |W|.
    Curve,
    /// `W_ij B_i + B_i` over blocks of 8 x 8.
    Blocks,
    /// Of the first 16 pivots in the weight's triangular coordinates.
    Pivots,
    /// Inside the eight leading singular directions of the weight.
    Principal,
    /// Each row by a factor.
    Rows,
    /// The weight stays, every output is shifted.
    Shift,
    /// Outputs of the weight recombined by a matrix of rank 4.
    Recombined,
}

/// A method towards a goal. Record: what is left of the loss, and the norm of the change.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) method: Method,
    pub(crate) goal: Goal,
    pub(crate) steps: usize,
    pub(crate) rates: &'static [f64],
    /// Whether the rate stays what it is.
    pub(crate) stays: bool,
}

/// A method towards goals from so many examples. Record: what is left of the loss.
#[derive(Debug, Clone)]
pub(crate) struct FewShot {
    pub(crate) method: Method,
    pub(crate) goal: Goal,
    pub(crate) examples: usize,
    pub(crate) steps: usize,
}

/// Normal values with mean 0 and variance 1, (rows, cols).
pub(crate) fn normal(seed: u64, name: &str, rows: usize, cols: usize) -> Result<Tensor> {
    let mut values = vec![0f32; rows * cols];
    Stream::new(seed, name).fill_normal(&mut values, 1.0);
    Ok(Tensor::from_vec(values, (rows, cols), &Device::Cpu)?)
}

/// A random orthogonal matrix.
pub(crate) fn orthogonal(seed: u64, name: &str) -> Result<Tensor> {
    let values = wide(&normal(seed, name, SIDE, SIDE)?)?;
    narrow(&linalg::qr(&values, SIDE, SIDE)?.q, SIDE, SIDE)
}

fn wide(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

fn narrow(values: &[f64], rows: usize, cols: usize) -> Result<Tensor> {
    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
    Ok(Tensor::from_vec(values, (rows, cols), &Device::Cpu)?)
}

/// Frobenius norm.
pub(crate) fn norm(tensor: &Tensor) -> Result<f64> {
    Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
}

/// `tensor` with Frobenius norm `wanted`.
pub(crate) fn sized(tensor: &Tensor, wanted: f64) -> Result<Tensor> {
    Ok(tensor.affine(wanted / norm(tensor)?, 0.0)?)
}

/// `basis` with its columns multiplied by `values`.
pub(crate) fn columns_by(basis: &Tensor, values: impl Iterator<Item = f64>) -> Result<Tensor> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    let count = values.len();
    Ok(basis.broadcast_mul(&Tensor::from_vec(values, (1, count), &Device::Cpu)?)?)
}

fn kron(left: &Tensor, right: &Tensor) -> Result<Tensor> {
    let ((a, c), (b, d)) = (left.dims2()?, right.dims2()?);
    let (left, right) = (left.reshape((a, 1, c, 1))?, right.reshape((1, b, 1, d))?);
    Ok(left.broadcast_mul(&right)?.reshape((a * b, c * d))?)
}

/// A site over `weight` with a method on it that may look at inputs first.
pub(crate) fn adapted(weight: &Tensor, method: &Method, seed: u64, seen: &Tensor) -> Result<LinearSite> {
    let dims = SiteDims {
        name: NAME.to_owned(),
        hf_name: "model.layers.0.self_attn.v_proj".to_owned(),
        out_features: SIDE,
        in_features: SIDE,
        layer: Some(0),
        window: (1, 1),
        bias: true,
    };
    let plan = method.plan(&[dims], seed)?;
    let frozen = FrozenWeight::from_tensor(NAME, weight, StorageKind::F32)?;
    let mut site = LinearSite::new(NAME, FrozenLinear { weight: Arc::new(frozen), bias: None });
    match plan.slots(NAME) {
        Some(slots) => put(&mut site, slots, seed, seen)?,
        None if plan.promote.selector()?.selects(NAME) => site.promote()?,
        None => anyhow::bail!("{} leaves the layer out", method.id),
    }
    Ok(site)
}

fn put(site: &mut LinearSite, slots: &Slots, seed: u64, seen: &Tensor) -> Result<()> {
    let Some(wanted) = slots.gathers() else { return Ok(site.attach(slots, seed)?) };
    let mut passes = 0;
    let stats = gather(&[(&*site, wanted)], || -> Result<bool> {
        passes += 1;
        site.forward(seen, &ForwardContext::plain(1, seen.dim(0)?))?;
        Ok(passes < 1)
    })?;
    let stats = stats.get(site.name()).map(|stats| &**stats);
    Ok(site.attach_with(slots, seed, stats)?)
}

/// Mean square difference of a layer's answers to `x` from `wanted`.
fn loss(site: &LinearSite, x: &Tensor, wanted: &Tensor, step: u64) -> Result<Tensor> {
    let ctx = ForwardContext { training: true, step, ..ForwardContext::plain(1, x.dim(0)?) };
    Ok((site.forward(x, &ctx)? - wanted)?.sqr()?.mean_all()?)
}

/// Takes `steps` steps on everything that is trained of `sites`: `loss` is that of a step, `rate` gives its learning rate,
/// `after` is called behind each one.
pub(crate) fn descend<'a>(
    sites: &mut [&'a mut LinearSite],
    loss: impl Fn(&[&'a mut LinearSite], u64) -> Result<Tensor>,
    steps: usize,
    rate: impl Fn(usize) -> f64,
    mut after: impl FnMut(&[&'a mut LinearSite]) -> Result<()>,
) -> Result<()> {
    let all = |sites: &[&'a mut LinearSite]| ParamSet::new(sites.iter().flat_map(|site| site.params()).collect());
    let mut set = all(sites)?;
    let mut optimiser = AdamW::new(AdamWConfig { weight_decay: 0.0, ..AdamWConfig::default() });
    for step in 0..steps {
        let at = At { step: step as u64 + 1, total: steps as u64 };
        let mut grads = Grads::new();
        let mut total = loss(sites, at.step)?;
        for site in sites.iter() {
            if let Some(extra) = site.extra_loss()? {
                total = (total + extra)?;
            }
        }
        grads.collect(&set, &mut total.backward()?)?;
        for site in sites.iter() {
            site.map_grads(&mut grads)?;
        }
        if take_step(sites, &set, &mut optimiser, &mut grads, rate(step), at)?.params {
            set = all(sites)?;
        }
        after(sites)?;
    }
    Ok(())
}

/// Trains a site on (inputs, wanted answers), its loss times `factor`; the rest as in [`descend`].
pub(crate) fn train(
    site: &mut LinearSite,
    (x, wanted, factor): (&Tensor, &Tensor, f64),
    steps: usize,
    rate: impl Fn(usize) -> f64,
    mut after: impl FnMut(&LinearSite) -> Result<()>,
) -> Result<()> {
    let of = |sites: &[&mut LinearSite], step| match sites {
        [site, ..] => Ok(loss(site, x, wanted, step)?.affine(factor, 0.0)?),
        [] => anyhow::bail!("there is no layer"),
    };
    descend(&mut [site], of, steps, rate, |sites| sites.iter().try_for_each(|site| after(site)))
}

/// A rate that falls as a cosine over `steps`.
pub(crate) fn cosine(peak: f64, steps: usize) -> impl Fn(usize) -> f64 {
    move |step| peak * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos())
}

/// The layer of one seed.
struct Bench {
    seed: u64,
    weight: Tensor,
    left: Tensor,
    right: Tensor,
    /// Rows x of mean zero with Σ x xᵀ = 2 · SIDE · C: the loss over them is the loss over the whole distribution.
    inputs: Tensor,
}

impl Bench {
    fn new(seed: u64) -> Result<Self> {
        let (left, right) = (orthogonal(seed, "left")?, orthogonal(seed, "right")?);
        let spectrum = (1..=SIDE).map(|index| (index as f64).powf(-0.5));
        let weight = sized(&columns_by(&left, spectrum)?.matmul(&right.t()?)?, 8.0)?;
        let harmonic: f64 = (1..=SIDE).map(|index| 1.0 / index as f64).sum();
        let roots = (1..=SIDE).map(|index| (SIDE as f64 / harmonic / index as f64).sqrt());
        let rows = columns_by(&orthogonal(seed, "inputs")?, roots)?.t()?.contiguous()?;
        let inputs = Tensor::cat(&[&rows, &rows.neg()?], 0)?;
        Ok(Self { seed, weight, left, right, inputs })
    }

    /// The change that is wanted, in any size, draw `draw` of it.
    fn change(&self, goal: Goal, draw: u64) -> Result<Tensor> {
        let draw = |name: &str, rows: usize, cols: usize| normal(self.seed, &format!("{name} {draw}"), rows, cols);
        Ok(match goal {
            Goal::Dense => draw("dense", SIDE, SIDE)?,
            Goal::LowRank(rank) => draw("b", SIDE, rank)?.matmul(&draw("a", rank, SIDE)?)?,
            Goal::Recombined => draw("b", SIDE, 4)?.matmul(&draw("a", 4, SIDE)?)?.matmul(&self.weight)?,
            Goal::Products => {
                let product = |left: &str, right: &str| kron(&draw(left, 8, 8)?, &draw(right, 8, 8)?);
                (product("u", "v")? + product("other u", "other v")?)?
            }
            Goal::Curve => (&self.weight * self.weight.abs()?)?,
            Goal::Blocks => {
                let groups = (0..SIDE / 8).map(|group| -> Result<Tensor> {
                    let block = draw(&format!("block {group}"), 8, 8)?;
                    let pieces = (0..SIDE / 8).map(|piece| -> Result<Tensor> {
                        let own = self.weight.narrow(0, group * 8, 8)?.narrow(1, piece * 8, 8)?.contiguous()?;
                        Ok((own.matmul(&block)? + &block)?)
                    });
                    Ok(Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 1)?)
                });
                Tensor::cat(&groups.collect::<Result<Vec<_>>>()?, 0)?
            }
            Goal::Pivots => {
                let lu = linalg::leading_lu(&wide(&self.weight)?, SIDE, SIDE, 16)?;
                let moved = wide(&draw("pivots", 1, 16)?)?;
                columns_by(&narrow(&lu.l, SIDE, 16)?, moved.into_iter())?.matmul(&narrow(&lu.u, 16, SIDE)?)?
            }
            Goal::Principal => {
                let side = |basis: &Tensor| -> Result<Tensor> { Ok(basis.narrow(1, 0, 8)?.contiguous()?) };
                side(&self.left)?.matmul(&draw("core", 8, 8)?)?.matmul(&side(&self.right)?.t()?.contiguous()?)?
            }
            Goal::Rows => self.weight.broadcast_mul(&draw("rows", SIDE, 1)?)?,
            Goal::Shift => self.weight.zeros_like()?,
        })
    }

    /// The weight that is wanted, and the answers to `x` that it gives.
    fn wanted(&self, goal: Goal, draw: u64, x: &Tensor) -> Result<Tensor> {
        let before = x.matmul(&self.weight.t()?)?;
        if matches!(goal, Goal::Shift) {
            return Ok(before.broadcast_add(&normal(self.seed, "shift", 1, SIDE)?)?);
        }
        Ok((before + x.matmul(&sized(&self.change(goal, draw)?, 4.0)?.t()?)?)?)
    }

    /// Trains on (x, wanted) at a rate and gives what is left of the loss towards a goal over all inputs, and the norm of
    /// the change. Infinite where a rate was too high.
    fn fit(
        &self,
        method: &Method,
        (x, wanted): (&Tensor, &Tensor),
        (goal, draw): (Goal, u64),
        (steps, seed): (usize, u64),
        rate: &dyn Fn(usize) -> f64,
    ) -> Result<(f64, f64)> {
        let mut site = adapted(&self.weight, method, seed, &self.inputs)?;
        let mean = |tensor: &Tensor| -> Result<f64> { Ok(f64::from(tensor.sqr()?.mean_all()?.to_scalar::<f32>()?)) };
        let before = mean(&(x.matmul(&self.weight.t()?)? - wanted)?)?;
        let trained = train(&mut site, (x, wanted, 128.0 / before), steps, rate, |_| Ok(()));
        let (all, exact) = (&self.inputs, self.wanted(goal, draw, &self.inputs)?);
        let untouched = mean(&(all.matmul(&self.weight.t()?)? - &exact)?)?;
        let left = f64::from(loss(&site, all, &exact, 0)?.to_scalar::<f32>()?) / untouched;
        if trained.is_err() || !left.is_finite() {
            return Ok((f64::INFINITY, f64::INFINITY));
        }
        let merged = site.merged()?.context("it does not merge")?;
        Ok((left, norm(&(merged - &self.weight)?)?))
    }
}

impl Job {
    pub(crate) fn run(&self, seed: u64) -> Result<Vec<f64>> {
        let bench = Bench::new(seed)?;
        let wanted = bench.wanted(self.goal, 0, &bench.inputs)?;
        let mut best = (f64::INFINITY, f64::INFINITY);
        for lr in self.rates {
            let (falling, same) = (cosine(*lr, self.steps), |_| *lr);
            let rate: &dyn Fn(usize) -> f64 = if self.stays { &same } else { &falling };
            let about = (&bench.inputs, &wanted);
            let found = bench.fit(&self.method, about, (self.goal, 0), (self.steps, seed), rate)?;
            if found.0 < best.0 {
                best = found;
            }
        }
        Ok(vec![best.0, best.1])
    }
}

impl FewShot {
    pub(crate) fn run(&self, seed: u64) -> Result<Vec<f64>> {
        let bench = Bench::new(seed)?;
        let mut best = f64::INFINITY;
        for lr in RATES {
            let mut sum = 0.0;
            for draw in 0..DRAWS {
                let rows = bench.inputs.narrow(0, 0, SIDE)?.contiguous()?;
                let x = normal(seed, &format!("few {draw}"), self.examples, SIDE)?.matmul(&rows)?;
                let exact = bench.wanted(self.goal, draw, &x)?;
                let size = norm(&exact)? / (exact.elem_count() as f64).sqrt();
                let noise = normal(seed, &format!("noise {draw}"), self.examples, SIDE)?.affine(0.1 * size, 0.0)?;
                let (about, of) = ((&x, &(&exact + noise)?), (self.steps, seed + draw));
                sum += bench.fit(&self.method, about, (self.goal, draw), of, &cosine(*lr, self.steps))?.0;
            }
            best = best.min(sum / DRAWS as f64);
        }
        Ok(vec![best])
    }
}
