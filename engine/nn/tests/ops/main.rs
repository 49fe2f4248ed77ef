//! Every differentiable operation against its reference in f64 and against finite differences.
//!
//! Tolerances: outputs and gradients agree with the f64 reference to 1e-4 of the largest value (f32 arithmetic over
//! sums of a few hundred terms leaves about 1e-6); differences in f32 agree to 2e-3, which is what their own
//! rounding allows.

#[cfg(test)]
mod adapters;
#[cfg(test)]
mod attention;
#[cfg(test)]
mod diagonal;
#[cfg(test)]
mod head;
#[cfg(test)]
mod linear;
#[cfg(test)]
mod maps;
#[cfg(test)]
mod pointwise;
#[cfg(test)]
mod support;
