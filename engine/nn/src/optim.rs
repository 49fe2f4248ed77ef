//! AdamW with groups, decay exclusion and a state that can be stored and resumed to the bit.
//!
//! Place in the data flow: the trainer hands it parameters, gradients and the learning rate of the step; its
//! state goes into checkpoints as safetensors.
//!
//! Loshchilov, Hutter, "Decoupled Weight Decay Regularization" (2019), algorithm 2; the order of operations and
//! the place of epsilon are PyTorch's.

use crate::kernels::adamw;
use crate::ops::Values;
use crate::param::{Grads, Param};
use crate::{NnError, Result};
use candle_core::{CpuStorage, InplaceOp1, Layout};
use parking_lot::Mutex;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Settings of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamWConfig {
    /// Decay rate of the first moment.
    pub beta1: f64,
    /// Decay rate of the second moment.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f64,
    /// Decoupled weight decay, applied to parameters that allow it.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// What is remembered of one parameter.
#[derive(Clone, Debug, PartialEq)]
struct Moments {
    steps: u64,
    shape: Vec<usize>,
    first: Vec<f32>,
    second: Vec<f32>,
}

/// The optimiser.
#[derive(Clone, Debug)]
pub struct AdamW {
    /// Settings; may be changed between steps.
    pub config: AdamWConfig,
    moments: BTreeMap<String, Moments>,
}

const FIRST: &str = "first.";
const SECOND: &str = "second.";
const STEPS: &str = "steps.";

impl AdamW {
    /// Without memory.
    #[must_use]
    pub const fn new(config: AdamWConfig) -> Self {
        Self { config, moments: BTreeMap::new() }
    }

    /// Moves every parameter that has a gradient, in place. `lr` is the learning rate of the step; each
    /// parameter's own ratio is multiplied in. A parameter without gradient is left alone, decay included.
    ///
    /// # Errors
    /// [`NnError::Param`] when a gradient or the remembered state has another shape than the parameter.
    pub fn step<'a>(&mut self, params: impl IntoIterator<Item = &'a Param>, grads: &Grads, lr: f64) -> Result<()> {
        for param in params {
            let Some(gradient) = grads.get(&param.name) else { continue };
            let refuse = |what: String| NnError::Param { name: param.name.clone(), what };
            if gradient.dims() != param.var.dims() {
                let (gradient, var) = (gradient.dims(), param.var.dims());
                return Err(refuse(format!("a gradient of shape {gradient:?} for a parameter of shape {var:?}")));
            }
            let moments = self.moments.entry(param.name.clone()).or_insert_with(|| Moments {
                steps: 0,
                shape: param.var.dims().to_vec(),
                first: vec![0.0; param.elements()],
                second: vec![0.0; param.elements()],
            });
            if moments.shape != param.var.dims() {
                let (held, var) = (&moments.shape, param.var.dims());
                return Err(refuse(format!("the optimiser remembers shape {held:?}, the parameter has {var:?}")));
            }
            let lr = lr * param.lr_ratio;
            let numbers = numbers(&self.config, moments.steps + 1, lr, param.decay);
            let gradient = gradient.contiguous()?;
            let update = Update { gradient: Values::of(&gradient)?, moments: Mutex::new(&mut *moments), step: numbers };
            param.var.inplace_op1(&update)?;
            drop(update);
            moments.steps += 1;
        }
        Ok(())
    }

    /// Bytes of memory the state takes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.moments.values().map(|moments| (moments.first.len() + moments.second.len()) * size_of::<f32>()).sum()
    }

    /// Forgets what is remembered of one parameter, for one that was reset or changed its shape.
    pub fn forget(&mut self, name: &str) {
        self.moments.remove(name);
    }

    /// How many steps a parameter took.
    #[must_use]
    pub fn steps(&self, name: &str) -> u64 {
        self.moments.get(name).map_or(0, |moments| moments.steps)
    }

    /// The state without copies: per parameter in the order of the names its name, shape, first and second
    /// moment and number of steps. For a writer that streams what [`Self::to_safetensors`] holds in memory.
    pub fn state(&self) -> impl Iterator<Item = (&str, &[usize], &[f32], &[f32], u64)> {
        self.moments.iter().map(|(name, moments)| {
            let Moments { steps, shape, first, second } = moments;
            (name.as_str(), shape.as_slice(), first.as_slice(), second.as_slice(), *steps)
        })
    }

    /// The state as the bytes of a safetensors file: `first.NAME` and `second.NAME` (f32, of the parameter's
    /// shape) and `steps.NAME` (i64, one value). The settings are not in it.
    ///
    /// # Errors
    /// Only what safetensors reports.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let steps = self.moments.values().map(|moments| (moments.steps as i64).to_le_bytes()).collect::<Vec<_>>();
        let mut views = Vec::with_capacity(self.moments.len() * 3);
        for ((name, moments), steps) in self.moments.iter().zip(&steps) {
            for (kind, values) in [(FIRST, &moments.first), (SECOND, &moments.second)] {
                let view = TensorView::new(Dtype::F32, moments.shape.clone(), bytemuck::cast_slice(values))?;
                views.push((format!("{kind}{name}"), view));
            }
            views.push((format!("{STEPS}{name}"), TensorView::new(Dtype::I64, vec![1], steps)?));
        }
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    /// Reads what [`Self::to_safetensors`] wrote.
    ///
    /// # Errors
    /// [`NnError::Safetensors`] for bytes that are no such file, [`NnError::Param`] for a parameter whose three
    /// tensors are not all there or do not fit each other.
    pub fn from_safetensors(config: AdamWConfig, bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes)?;
        let mut moments = BTreeMap::new();
        for full_name in file.names() {
            let known = [FIRST, SECOND, STEPS].iter().find_map(|kind| full_name.strip_prefix(kind));
            let refuse = |name: &str, what: &str| NnError::Param { name: name.to_owned(), what: what.to_owned() };
            let name = known.ok_or_else(|| refuse(full_name, "this is no tensor of an optimiser's state"))?;
            if moments.contains_key(name) {
                continue;
            }
            let part = |kind: &str, dtype: Dtype| {
                let missing = |_| refuse(name, "its optimiser state is incomplete");
                let view = file.tensor(&format!("{kind}{name}")).map_err(missing)?;
                if view.dtype() == dtype { Ok(view) } else { Err(refuse(name, "its optimiser state has a wrong type")) }
            };
            let (first, second) = (part(FIRST, Dtype::F32)?, part(SECOND, Dtype::F32)?);
            let steps = part(STEPS, Dtype::I64)?;
            let steps = <[u8; 8]>::try_from(steps.data()).map(i64::from_le_bytes).ok();
            let steps = steps.and_then(|steps| u64::try_from(steps).ok());
            let steps = steps.ok_or_else(|| refuse(name, "its number of steps is no count"))?;
            if first.shape() != second.shape() {
                return Err(refuse(name, "its two moments differ in shape"));
            }
            moments.insert(
                name.to_owned(),
                Moments {
                    steps,
                    shape: first.shape().to_vec(),
                    first: bytemuck::pod_collect_to_vec(first.data()),
                    second: bytemuck::pod_collect_to_vec(second.data()),
                },
            );
        }
        Ok(Self { config, moments })
    }
}

/// The constants of step number `t` (from 1).
fn numbers(config: &AdamWConfig, t: u64, lr: f64, decay: bool) -> adamw::Step {
    // Beyond this both corrections are 1 in f64 for any usable rate.
    let t = i32::try_from(t).unwrap_or(i32::MAX);
    adamw::Step {
        beta1: config.beta1 as f32,
        beta2: config.beta2 as f32,
        rest1: (1.0 - config.beta1) as f32,
        rest2: (1.0 - config.beta2) as f32,
        epsilon: config.epsilon as f32,
        keep: if decay { (1.0 - lr * config.weight_decay) as f32 } else { 1.0 },
        step_size: (lr / (1.0 - config.beta1.powi(t))) as f32,
        second_correction: (1.0 - config.beta2.powi(t)).sqrt() as f32,
    }
}

/// The step as an in-place operation: the only way candle lets a parameter be written without a copy.
struct Update<'a> {
    gradient: Values<'a>,
    moments: Mutex<&'a mut Moments>,
    step: adamw::Step,
}

impl InplaceOp1 for Update<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let CpuStorage::F32(values) = storage else {
            candle_core::bail!("parameters are trained in f32");
        };
        let range = layout.contiguous_offsets().map(|(start, end)| start..end);
        let Some(parameter) = range.and_then(|range| values.get_mut(range)) else {
            candle_core::bail!("the values of a parameter do not lie in order");
        };
        let mut moments = self.moments.lock();
        let Moments { first, second, .. } = &mut **moments;
        adamw::step(parameter, &self.gradient, first, second, self.step);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::param::Role;
    use crate::rng::Stream;
    use candle_core::{Device, Tensor, Var};

    const CONFIG: AdamWConfig = AdamWConfig { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };

    fn param(name: &str, n: usize, lr_ratio: f64, decay: bool) -> Param {
        let mut values = vec![0f32; n];
        Stream::new(1, name).fill_normal(&mut values, 1.0);
        let var = Var::from_vec(values, n, &Device::Cpu).unwrap();
        Param { name: name.to_owned(), var, role: Role::Weight, lr_ratio, decay }
    }

    fn gradients(params: &[Param], step: u64) -> Grads {
        let mut grads = Grads::new();
        for param in params {
            let mut values = vec![0f32; param.elements()];
            Stream::new(step, &param.name).fill_normal(&mut values, 0.1);
            let n = values.len();
            grads.add(&param.name, &Tensor::from_vec(values, n, &Device::Cpu).unwrap()).unwrap();
        }
        grads
    }

    fn values(param: &Param) -> Vec<f32> {
        param.var.to_vec1().unwrap()
    }

    #[test]
    fn fifty_steps_follow_the_same_algorithm_in_f64() {
        let params = [param("a", 1000, 1.0, true), param("b", 37, 4.0, true), param("c", 5, 1.0, false)];
        let mut expected =
            params.iter().map(|param| values(param).into_iter().map(f64::from).collect::<Vec<_>>()).collect::<Vec<_>>();
        let mut first = expected.iter().map(|p| vec![0f64; p.len()]).collect::<Vec<_>>();
        let mut second = first.clone();
        let mut optimiser = AdamW::new(CONFIG);
        for t in 1..=50 {
            let lr = 1e-2 / f64::from(t);
            let grads = gradients(&params, t as u64);
            optimiser.step(&params, &grads, lr).unwrap();
            for (index, param) in params.iter().enumerate() {
                let lr = lr * param.lr_ratio;
                let gradient = grads.get(&param.name).unwrap().to_vec1::<f32>().unwrap();
                for (i, g) in gradient.into_iter().map(f64::from).enumerate() {
                    let (p, m, v) = (&mut expected[index][i], &mut first[index][i], &mut second[index][i]);
                    if param.decay {
                        *p -= lr * CONFIG.weight_decay * *p;
                    }
                    *m = CONFIG.beta1 * *m + (1.0 - CONFIG.beta1) * g;
                    *v = CONFIG.beta2 * *v + (1.0 - CONFIG.beta2) * g * g;
                    let m_hat = *m / (1.0 - CONFIG.beta1.powi(t));
                    let v_hat = *v / (1.0 - CONFIG.beta2.powi(t));
                    *p -= lr * m_hat / (v_hat.sqrt() + CONFIG.epsilon);
                }
            }
        }
        for (param, expected) in params.iter().zip(&expected) {
            for (value, expected) in values(param).into_iter().zip(expected) {
                assert!(
                    (f64::from(value) - expected).abs() < 3e-6 * (1.0 + expected.abs()),
                    "{}: {value} {expected}",
                    param.name
                );
            }
        }
        assert_eq!(optimiser.steps("a"), 50);
        assert_eq!(optimiser.memory_bytes(), (1000 + 37 + 5) * 8);
    }

    #[test]
    fn a_stored_state_goes_on_to_the_same_bits() {
        let straight = [param("a", 100, 1.0, true), param("b", 7, 2.0, false)];
        let mut optimiser = AdamW::new(CONFIG);
        let resumed = [param("a", 100, 1.0, true), param("b", 7, 2.0, false)];
        let mut before = AdamW::new(CONFIG);
        for step in 0..5 {
            optimiser.step(&straight, &gradients(&straight, step), 1e-3).unwrap();
            before.step(&resumed, &gradients(&resumed, step), 1e-3).unwrap();
        }
        let bytes = before.to_safetensors().unwrap();
        assert_eq!(bytes, before.to_safetensors().unwrap(), "the same state gives the same bytes");
        let mut after = AdamW::from_safetensors(CONFIG, &bytes).unwrap();
        for step in 5..9 {
            optimiser.step(&straight, &gradients(&straight, step), 1e-3).unwrap();
            after.step(&resumed, &gradients(&resumed, step), 1e-3).unwrap();
        }
        for (left, right) in straight.iter().zip(&resumed) {
            assert_eq!(values(left), values(right));
        }
        assert_eq!(after.steps("b"), 9);
    }

    #[test]
    fn a_parameter_without_gradient_is_left_alone_and_one_of_another_shape_refused() {
        let params = [param("a", 4, 1.0, true), param("b", 4, 1.0, true)];
        let before = values(&params[1]);
        let mut optimiser = AdamW::new(CONFIG);
        optimiser.step(&params, &gradients(&params[..1], 1), 0.1).unwrap();
        assert_eq!(values(&params[1]), before);
        let other = [param("a", 5, 1.0, true)];
        let error = optimiser.step(&other, &gradients(&other, 1), 0.1).unwrap_err().to_string();
        assert!(error.contains("`a`"), "{error}");
        optimiser.forget("a");
        optimiser.step(&other, &gradients(&other, 1), 0.1).unwrap();
        assert!(AdamW::from_safetensors(CONFIG, b"nonsense").is_err());
    }
}
