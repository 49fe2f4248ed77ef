//! Trained parameters and their gradients, always in the order of their names.
//!
//! Place in the data flow: stages and adapters hand out [`Param`]s; the trainer gathers them in a
//! [`ParamSet`], fills [`Grads`] from backward passes and gives both to [`crate::optim::AdamW`].

use crate::kernels::reduce;
use crate::{NnError, Result, ops};
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// What a parameter is within its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// First factor of a low-rank change, (rank, in).
    FactorA,
    /// Second factor of a low-rank change, (out, rank).
    FactorB,
    /// What stands between the factors.
    Core,
    /// A trained multiplier.
    Scale,
    /// A dense weight, (out, in).
    Weight,
    /// A bias.
    Bias,
    /// Weight of a normalisation.
    Norm,
    /// Token embeddings, (vocabulary, hidden).
    Embedding,
    /// Output head, (vocabulary, hidden).
    Head,
}

/// A trained parameter.
#[derive(Clone, Debug)]
pub struct Param {
    /// Unique within the model, e.g. `layers.3.attn.q.adapter.a`.
    pub name: String,
    /// The values, f32.
    pub var: Var,
    /// What it is.
    pub role: Role,
    /// Its learning rate relative to the run's.
    pub lr_ratio: f64,
    /// Whether weight decay applies to it.
    pub decay: bool,
    /// How its gradient becomes a step.
    pub update: Update,
    /// 1 for each value that is trained and 0 for each that stays as it is, in the shape of the values; none where all
    /// are trained. The optimiser multiplies gradient and decay by it and leaves the moments of the others alone.
    pub mask: Option<Tensor>,
}

/// How a gradient becomes a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Update {
    /// Through the optimiser's moments.
    #[default]
    AdamW,
    /// As it is, times the learning rate: for gradients that an adapter has turned into a step itself.
    Plain,
}

impl Param {
    /// A parameter in the run's own learning-rate group, trained as a whole.
    #[must_use]
    pub fn new(name: impl Into<String>, var: Var, role: Role, decay: bool) -> Self {
        Self { name: name.into(), var, role, lr_ratio: 1.0, decay, update: Update::AdamW, mask: None }
    }

    /// Number of values.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.var.elem_count()
    }

    /// Number of values that are trained: those that no mask holds.
    ///
    /// # Errors
    /// A mask that is not f32.
    pub fn trained(&self) -> Result<usize> {
        let Some(mask) = &self.mask else { return Ok(self.elements()) };
        ops::with_slice(mask, |mask| mask.iter().filter(|value| **value != 0.0).count())
    }
}

/// Parameters in the order of their names, without doubles.
#[derive(Clone, Debug, Default)]
pub struct ParamSet(Vec<Param>);

impl ParamSet {
    /// Sorts by name.
    ///
    /// # Errors
    /// [`NnError::Param`] when two share a name.
    pub fn new(mut params: Vec<Param>) -> Result<Self> {
        params.sort_by(|left, right| left.name.cmp(&right.name));
        for pair in params.windows(2) {
            if let [first, second] = pair
                && first.name == second.name
            {
                return Err(NnError::Param { name: first.name.clone(), what: "the name occurs twice".to_owned() });
            }
        }
        Ok(Self(params))
    }

    /// In the order of their names.
    pub fn iter(&self) -> std::slice::Iter<'_, Param> {
        self.0.iter()
    }

    /// As a slice, in the order of their names.
    #[must_use]
    pub fn as_slice(&self) -> &[Param] {
        &self.0
    }

    /// By name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Param> {
        let place = self.0.binary_search_by(|param| param.name.as_str().cmp(name)).ok()?;
        self.0.get(place)
    }

    /// How many parameters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many values all parameters have together.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.0.iter().map(Param::elements).sum()
    }

    /// How many values are trained: those that no mask holds.
    ///
    /// # Errors
    /// A mask that is not f32.
    pub fn trained(&self) -> Result<usize> {
        self.0.iter().map(Param::trained).sum()
    }
}

impl<'a> IntoIterator for &'a ParamSet {
    type Item = &'a Param;
    type IntoIter = std::slice::Iter<'a, Param>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Gradients by parameter name, detached from any graph.
#[derive(Clone, Debug, Default)]
pub struct Grads(BTreeMap<String, Tensor>);

impl Grads {
    /// No gradients.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the gradients of `params` out of `store` and adds them.
    ///
    /// # Errors
    /// Shapes that do not fit what is already held.
    pub fn collect<'a>(&mut self, params: impl IntoIterator<Item = &'a Param>, store: &mut GradStore) -> Result<()> {
        for param in params {
            if let Some(gradient) = store.remove(param.var.as_tensor()) {
                self.add(&param.name, &gradient)?;
            }
        }
        Ok(())
    }

    /// Adds `gradient` to what is held under `name`.
    ///
    /// # Errors
    /// [`NnError::Param`] when the shapes differ.
    pub fn add(&mut self, name: &str, gradient: &Tensor) -> Result<()> {
        // A gradient may hang on a graph of its own (candle detaches the incoming one only); holding that
        // graph until the step would hold its activations too.
        let gradient = gradient.detach();
        match self.0.entry(name.to_owned()) {
            Entry::Vacant(place) => {
                place.insert(gradient);
            }
            Entry::Occupied(mut place) => {
                if place.get().dims() != gradient.dims() {
                    let what = format!("gradient of shape {:?} added to {:?}", gradient.dims(), place.get().dims());
                    return Err(NnError::Param { name: name.to_owned(), what });
                }
                let sum = ops::sum(place.get(), &gradient)?;
                place.insert(sum);
            }
        }
        Ok(())
    }

    /// Puts `gradient` in the place of what is held under `name`.
    pub fn set(&mut self, name: &str, gradient: &Tensor) {
        self.0.insert(name.to_owned(), gradient.detach());
    }

    /// By parameter name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.0.remove(name)
    }

    /// In the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(name, gradient)| (name.as_str(), gradient))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Euclidean norm over all values of all gradients, summed in f64 in the order of the names.
    ///
    /// # Errors
    /// A gradient that is not f32.
    pub fn global_norm(&self) -> Result<f64> {
        let mut sum = 0.0;
        for gradient in self.0.values() {
            sum += ops::with_slice(gradient, reduce::sum_of_squares)?;
        }
        Ok(sum.sqrt())
    }

    /// Multiplies one gradient by a mask of its shape.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn mask(&mut self, name: &str, mask: &Tensor) -> Result<()> {
        if let Some(gradient) = self.0.get_mut(name) {
            *gradient = gradient.mul(mask)?;
        }
        Ok(())
    }

    /// Multiplies all gradients by `factor`.
    ///
    /// # Errors
    /// Only what candle reports.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        for gradient in self.0.values_mut() {
            *gradient = gradient.affine(factor, 0.0)?;
        }
        Ok(())
    }

    /// Scales the gradients down so that their global norm is at most `max_norm`; returns the norm before.
    /// As in PyTorch: the factor is `max_norm / (norm + 1e-6)` and never above 1. A norm that is not finite
    /// leaves the gradients alone: whether to skip the step is the caller's decision.
    ///
    /// # Errors
    /// A gradient that is not f32.
    pub fn clip_global_norm(&mut self, max_norm: f64) -> Result<f64> {
        let norm = self.global_norm()?;
        let factor = max_norm / (norm + 1e-6);
        if norm.is_finite() && factor < 1.0 {
            self.scale(factor)?;
        }
        Ok(norm)
    }

    /// Whether every value of every gradient is a finite number.
    ///
    /// # Errors
    /// A gradient that is not f32.
    pub fn all_finite(&self) -> Result<bool> {
        for gradient in self.0.values() {
            if !ops::with_slice(gradient, reduce::all_finite)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn param(name: &str) -> Param {
        let var = Var::from_vec(vec![0f32; 4], 4, &Device::Cpu).unwrap();
        Param::new(name, var, Role::Weight, true)
    }

    fn vector(values: &[f32]) -> Tensor {
        Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
    }

    #[test]
    fn parameters_are_ordered_by_name_and_a_double_is_refused() {
        let set = ParamSet::new(vec![param("b"), param("a"), param("c")]).unwrap();
        let names = set.iter().map(|param| param.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(set.elements(), 12);
        assert!(set.get("b").is_some() && set.get("d").is_none());
        let error = ParamSet::new(vec![param("a"), param("a")]).unwrap_err().to_string();
        assert!(error.contains("`a`"), "{error}");
    }

    #[test]
    fn gradients_add_up_and_are_clipped_by_their_common_norm() {
        let mut grads = Grads::new();
        grads.add("x", &vector(&[1.0, 2.0])).unwrap();
        grads.add("x", &vector(&[2.0, 2.0])).unwrap();
        grads.add("y", &vector(&[12.0])).unwrap();
        assert!((grads.global_norm().unwrap() - 13.0).abs() < 1e-12);
        assert!(grads.add("y", &vector(&[1.0, 1.0])).is_err(), "a gradient of another shape");
        let norm = grads.clip_global_norm(1.3).unwrap();
        assert!((norm - 13.0).abs() < 1e-12);
        assert!((grads.global_norm().unwrap() - 1.3).abs() < 1e-5);
        assert!((grads.clip_global_norm(5.0).unwrap() - 1.3).abs() < 1e-5);
        assert!((grads.global_norm().unwrap() - 1.3).abs() < 1e-5, "a small gradient is left alone");
    }

    #[test]
    fn one_value_that_is_not_finite_is_found() {
        let mut grads = Grads::new();
        grads.add("x", &vector(&[1.0; 100])).unwrap();
        assert!(grads.all_finite().unwrap());
        let mut values = vec![0f32; 1000];
        values[999] = f32::NAN;
        grads.add("y", &vector(&values)).unwrap();
        assert!(!grads.all_finite().unwrap());
    }

    #[test]
    fn collecting_moves_the_gradients_of_the_given_parameters() {
        let (p, q) = (param("p"), param("q"));
        let y = (p.var.as_tensor() * 3.0).unwrap().sum_all().unwrap();
        let y = (y + q.var.sum_all().unwrap()).unwrap();
        let mut store = y.backward().unwrap();
        let mut grads = Grads::new();
        grads.collect([&p], &mut store).unwrap();
        assert_eq!(grads.len(), 1);
        assert_eq!(grads.get("p").unwrap().to_vec1::<f32>().unwrap(), [3.0; 4]);
        assert!(store.get(q.var.as_tensor()).is_some());
    }
}
