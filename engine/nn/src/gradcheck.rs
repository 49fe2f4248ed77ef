//! Are the gradients right? Central differences and references against what the backward pass says.
//!
//! Place in the data flow: the tests of every operation, stage and adapter use these.
//!
//! An output y is reduced to the scalar `L = Σ r·y` with fixed random r; L is summed in f64 so that only the
//! operation's own rounding is left in the differences.

use crate::ops::{reference, seed_gradient};
use crate::param::Param;
use crate::rng::Stream;
use crate::{NnError, Result};
use candle_core::{DType, Device, Tensor, Var};

/// How closely to look.
#[derive(Clone, Debug)]
pub struct GradCheck {
    /// Seed of the projection and of the choice of elements.
    pub seed: u64,
    /// Half-width of the widest difference, relative to max(1, |x|).
    pub width: f64,
    /// Elements tried per input; all when there are fewer.
    pub samples: usize,
    /// Largest difference allowed, relative to the largest gradient of the input (or to 1e-3 if that is more).
    pub tolerance: f64,
}

impl GradCheck {
    /// For operations in f32: with differences at 2⁻⁵ and 2⁻⁶, extrapolated, the error of the method is below
    /// 1e-5 of the gradient and that of rounding about 1e-4; what is allowed is ten times that.
    #[must_use]
    pub const fn f32() -> Self {
        Self { seed: 1, width: 0.03125, samples: 40, tolerance: 2e-3 }
    }

    /// For graphs in f64.
    #[must_use]
    pub const fn f64() -> Self {
        Self { seed: 1, width: 1e-3, samples: 40, tolerance: 1e-7 }
    }
}

/// Output and gradients of a function at a point, as f64.
struct Evaluation {
    output: Vec<f64>,
    gradients: Vec<Option<Vec<f64>>>,
}

fn to_f64(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?)
}

fn projection(seed: u64, n: usize) -> Vec<f64> {
    let mut stream = Stream::new(seed, "gradcheck/projection");
    // f32 values, so that an f32 graph is seeded with exactly what the differences are projected on.
    (0..n).map(|_| f64::from(stream.normal() as f32)).collect()
}

fn evaluate(f: &dyn Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor], seed: u64) -> Result<Evaluation> {
    let vars = inputs.iter().map(Var::from_tensor).collect::<Result<Vec<_>, _>>()?;
    let tracked = vars.iter().map(|var| var.as_tensor().clone()).collect::<Vec<_>>();
    let y = f(&tracked)?;
    let values = projection(seed, y.elem_count());
    let gradient = Tensor::from_vec(values, y.dims(), &Device::Cpu)?.to_dtype(y.dtype())?;
    let store = seed_gradient(&y, &gradient)?.backward()?;
    let gradients = vars.iter().map(|var| store.get(var.as_tensor()).map(to_f64).transpose());
    Ok(Evaluation { output: to_f64(&y)?, gradients: gradients.collect::<Result<_>>()? })
}

/// Compares the gradients of `f` at `inputs` with central differences (Richardson-extrapolated from two widths).
/// Returns the worst relative difference found.
///
/// # Errors
/// [`NnError::GradientCheck`] naming input, element and both values when a difference is larger than allowed or
/// an input gets no gradient; whatever `f` returns.
pub fn check_gradients(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor], options: &GradCheck) -> Result<f64> {
    let inputs = inputs.iter().map(Tensor::contiguous).collect::<Result<Vec<_>, _>>()?;
    let Evaluation { output, gradients } = evaluate(&f, &inputs, options.seed)?;
    let projection = projection(options.seed, output.len());
    let mut stream = Stream::new(options.seed, "gradcheck/elements");
    let mut worst = 0f64;
    for (index, (input, gradient)) in inputs.iter().zip(&gradients).enumerate() {
        let Some(gradient) = gradient else {
            return Err(NnError::GradientCheck(format!("input {index} gets no gradient")));
        };
        let values = to_f64(input)?;
        let largest = gradient.iter().fold(1e-3f64, |largest, g| largest.max(g.abs()));
        let mut elements = (0..values.len()).collect::<Vec<_>>();
        stream.shuffle(&mut elements);
        for element in elements.into_iter().take(options.samples) {
            let width = options.width * values[element].abs().max(1.0);
            let difference = |width: f64| -> Result<f64> {
                let at = |shift: f64| -> Result<(f64, Vec<f64>)> {
                    let mut moved = values.clone();
                    moved[element] += shift;
                    let moved = Tensor::from_vec(moved, input.dims(), &Device::Cpu)?.to_dtype(input.dtype())?;
                    let place = to_f64(&moved)?[element];
                    let mut point = inputs.clone();
                    point[index] = moved;
                    Ok((place, to_f64(&f(&point)?)?))
                };
                let ((high_x, high), (low_x, low)) = (at(width)?, at(-width)?);
                let sum = high.iter().zip(&low).zip(&projection).map(|((high, low), r)| (high - low) * r).sum::<f64>();
                Ok(sum / (high_x - low_x))
            };
            let numeric = (4.0 * difference(width / 2.0)? - difference(width)?) / 3.0;
            let relative = (numeric - gradient[element]).abs() / largest;
            worst = worst.max(relative);
            if !within(relative, options.tolerance) {
                let found = gradient[element];
                return Err(NnError::GradientCheck(format!(
                    "input {index}, element {element}: backward {found:.6e}, differences {numeric:.6e}, \
                     relative to the largest gradient {relative:.2e}"
                )));
            }
        }
    }
    Ok(worst)
}

/// Compares the gradients that `forward` gives `params` with central differences (Richardson-extrapolated from two
/// widths). The parameters are moved and put back. Returns the worst relative difference found.
///
/// # Errors
/// [`NnError::GradientCheck`] naming parameter, element and both values when a difference is larger than allowed or
/// a parameter gets no gradient; whatever `forward` returns.
pub fn check_parameters(forward: impl Fn() -> Result<Tensor>, params: &[Param], options: &GradCheck) -> Result<f64> {
    let y = forward()?;
    let projection = projection(options.seed, y.elem_count());
    let seeds = Tensor::from_slice(&projection, y.dims(), &Device::Cpu)?.to_dtype(y.dtype())?;
    let store = seed_gradient(&y, &seeds)?.backward()?;
    let mut stream = Stream::new(options.seed, "gradcheck/parameters");
    let mut worst = 0f64;
    for param in params {
        let name = &param.name;
        let Some(gradient) = store.get(param.var.as_tensor()) else {
            return Err(NnError::GradientCheck(format!("`{name}` gets no gradient")));
        };
        let gradient = to_f64(gradient)?;
        let largest = gradient.iter().fold(1e-3f64, |largest, g| largest.max(g.abs()));
        // A copy: the values of the parameter itself are about to be written over.
        let start = param.var.as_tensor().copy()?.detach();
        let values = to_f64(&start)?;
        let mut elements = (0..values.len()).collect::<Vec<_>>();
        stream.shuffle(&mut elements);
        for element in elements.into_iter().take(options.samples) {
            let (Some(&value), Some(&found)) = (values.get(element), gradient.get(element)) else { continue };
            let at = |shift: f64| -> Result<(f64, Vec<f64>)> {
                let mut moved = values.clone();
                if let Some(place) = moved.get_mut(element) {
                    *place += shift;
                }
                let moved = Tensor::from_vec(moved, start.dims(), &Device::Cpu)?.to_dtype(start.dtype())?;
                param.var.set(&moved)?;
                let place = to_f64(&moved)?.get(element).copied().unwrap_or(value);
                Ok((place, to_f64(&forward()?)?))
            };
            let difference = |width: f64| -> Result<f64> {
                let ((high_x, high), (low_x, low)) = (at(width)?, at(-width)?);
                let sum = high.iter().zip(&low).zip(&projection).map(|((high, low), r)| (high - low) * r).sum::<f64>();
                Ok(sum / (high_x - low_x))
            };
            let width = options.width * value.abs().max(1.0);
            let numeric = (4.0 * difference(width / 2.0)? - difference(width)?) / 3.0;
            param.var.set(&start)?;
            let relative = (numeric - found).abs() / largest;
            worst = worst.max(relative);
            if relative.is_nan() || relative > options.tolerance {
                return Err(NnError::GradientCheck(format!(
                    "`{name}`, element {element}: backward {found:.6e}, differences {numeric:.6e}, relative to the \
                     largest gradient {relative:.2e}"
                )));
            }
        }
    }
    Ok(worst)
}

/// Compares `f` at f32 `inputs` with `reference` at the same values in f64: outputs within
/// `tolerance · max(1, largest output)`, gradients within `tolerance · max(0.01, largest gradient)` per input.
///
/// # Errors
/// [`NnError::GradientCheck`] naming what differs; whatever the functions return.
pub fn compare_with_reference(
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    reference: impl Fn(&[Tensor]) -> Result<Tensor>,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<()> {
    let inputs = inputs.iter().map(Tensor::contiguous).collect::<Result<Vec<_>, _>>()?;
    let wide = inputs.iter().map(reference::to_f64).collect::<Result<Vec<_>>>()?;
    let (found, expected) = (evaluate(&f, &inputs, 1)?, evaluate(&reference, &wide, 1)?);
    compare("the output", &found.output, &expected.output, tolerance, 1.0)?;
    for (index, pair) in found.gradients.iter().zip(&expected.gradients).enumerate() {
        match pair {
            (Some(found), Some(expected)) => {
                compare(&format!("the gradient of input {index}"), found, expected, tolerance, 1e-2)?;
            }
            (None, None) => {}
            _ => {
                let what = format!("only one of the two gives input {index} a gradient");
                return Err(NnError::GradientCheck(what));
            }
        }
    }
    Ok(())
}

/// Whether a difference is allowed; a NaN is not.
fn within(difference: f64, limit: f64) -> bool {
    difference <= limit
}

fn compare(what: &str, found: &[f64], expected: &[f64], tolerance: f64, floor: f64) -> Result<()> {
    if found.len() != expected.len() {
        let (found, expected) = (found.len(), expected.len());
        return Err(NnError::GradientCheck(format!("{what} has {found} values instead of {expected}")));
    }
    let largest = expected.iter().fold(floor, |largest, value| largest.max(value.abs()));
    for (element, (found, expected)) in found.iter().zip(expected).enumerate() {
        if !within((found - expected).abs(), tolerance * largest) {
            return Err(NnError::GradientCheck(format!(
                "{what}, element {element}: {found:.8e} instead of {expected:.8e} (largest {largest:.3e})"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(dtype: DType) -> Tensor {
        Tensor::from_slice(&[0.5f32, -1.5, 2.0, 0.1], 4, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    }

    #[test]
    fn right_gradients_pass_in_both_types() {
        let f = |x: &[Tensor]| Ok((x[0].exp()? * x[0].sqr()?)?);
        check_gradients(f, &[input(DType::F64)], &GradCheck::f64()).unwrap();
        check_gradients(f, &[input(DType::F32)], &GradCheck::f32()).unwrap();
    }

    #[test]
    fn a_wrong_gradient_a_missing_one_and_a_nan_are_found() {
        // The detached factor keeps the value and loses half of the gradient.
        let half = |x: &[Tensor]| Ok((&x[0] * x[0].detach())?);
        let error = check_gradients(half, &[input(DType::F32)], &GradCheck::f32()).unwrap_err().to_string();
        assert!(error.contains("input 0"), "{error}");
        let square = |x: &[Tensor]| Ok(x[0].sqr()?);
        assert!(compare_with_reference(half, square, &[input(DType::F32)], 1e-4).is_err());
        let cut = |x: &[Tensor]| Ok((x[0].sqr()? + x[1].detach())?);
        assert!(check_gradients(cut, &[input(DType::F32), input(DType::F32)], &GradCheck::f32()).is_err());
        let nan = |x: &[Tensor]| Ok(x[0].sqrt()?);
        assert!(check_gradients(nan, &[input(DType::F32)], &GradCheck::f32()).is_err());
    }
}
