//! Two layers with a function between them, over some features of the rows of a buffer.
//!
//! Place in the data flow: the bottlenecks of a fused half ([`crate::fused`]) call the plain arithmetic; the invertible
//! map of the embeddings ([`crate::insertion`]) records it as an operation that reads some features and changes others.
//! The backward pass needs what the function takes, (n, width), and the input; everything between is made again.

use super::{Gate, Values, activate, activate_backward, output, rows_and_features, slice, tensor};
use crate::Result;
use crate::error::shape_error;
use crate::gemm::{matrix, matrix_mut, product, strided};
use crate::kernels::reduce::{sum_of, sum_of_rows};
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use faer::{MatMut, MatRef};
use rayon::prelude::*;
use std::ops::Range;

/// Values per piece of work.
const PIECE: usize = 1 << 14;

/// Some features of the rows of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Features of a row.
    stride: usize,
    /// The first one.
    first: usize,
    /// How many.
    features: usize,
}

impl Part {
    /// All features of rows of so many.
    pub(crate) fn whole(features: usize) -> Self {
        Self { stride: features, first: 0, features }
    }

    /// These features of rows of `stride`, within which they lie.
    fn of(features: &Range<usize>, stride: usize) -> Self {
        Self { stride, first: features.start, features: features.len() }
    }

    /// Rows of a buffer.
    fn count(self, values: &[f32]) -> usize {
        values.len() / self.stride.max(1)
    }

    fn rows(self, values: &[f32]) -> impl Iterator<Item = &[f32]> {
        let rows = values.chunks_exact(self.stride.max(1));
        rows.map(move |row| row.get(self.first..self.first + self.features).unwrap_or_default())
    }

    fn matrix(self, values: &[f32]) -> MatRef<'_, f32> {
        let from = values.get(self.first..).unwrap_or_default();
        strided(from, self.count(values), self.features, self.stride)
    }

    fn matrix_mut(self, values: &mut [f32]) -> MatMut<'_, f32> {
        let count = self.count(values);
        matrix_mut(values, count, self.stride).subcols_mut(self.first, self.features)
    }
}

/// `scale · (f(x W_dᵀ + b_d) W_uᵀ + b_u)`.
pub(crate) struct Net<'a> {
    /// W_d (width, in).
    pub down: &'a [f32],
    /// b_d (width).
    pub down_bias: Option<&'a [f32]>,
    /// W_u (out, width).
    pub up: &'a [f32],
    /// b_u (out).
    pub up_bias: Option<&'a [f32]>,
    /// Features between the layers.
    pub width: usize,
    /// f.
    pub activation: Gate,
    /// Factor in front.
    pub scale: f32,
}

/// Gradients of what a [`Net`] is made of; those of biases also where it has none.
pub(crate) struct NetGradients {
    pub down: Vec<f32>,
    pub down_bias: Vec<f32>,
    pub up: Vec<f32>,
    pub up_bias: Vec<f32>,
}

impl<'a> Net<'a> {
    /// With biases, from W_d, b_d, W_u and b_u one behind the other; none when there are not as many values.
    fn of_flat(flat: &'a [f32], between: &Between) -> Option<Self> {
        let Between { read, write, width, activation, scale } = between;
        let (down, rest) = flat.split_at_checked(width * read.len())?;
        let (down_bias, rest) = rest.split_at_checked(*width)?;
        let (up, up_bias) = rest.split_at_checked(write.len() * width)?;
        let net = Self {
            down,
            down_bias: Some(down_bias),
            up,
            up_bias: Some(up_bias),
            width: *width,
            activation: *activation,
            scale: *scale,
        };
        (up_bias.len() == write.len()).then_some(net)
    }

    /// What the function takes, (n, width), for the features `read` of `x`.
    pub(crate) fn inner(&self, x: &[f32], read: Part) -> Vec<f32> {
        let n = read.count(x);
        let mut inner = vec![0f32; n * self.width];
        if let Some(bias) = self.down_bias {
            inner.chunks_exact_mut(self.width.max(1)).for_each(|row| row.copy_from_slice(bias));
        }
        let down = matrix(self.down, self.width, read.features).transpose();
        product(matrix_mut(&mut inner, n, self.width), read.matrix(x), down, 1.0, self.down_bias.is_some());
        inner
    }

    /// Adds the result for `inner` to the features `write` of `out`.
    pub(crate) fn add(&self, inner: &[f32], out: &mut [f32], write: Part) {
        let active = activate(self.activation, inner);
        let active = matrix(&active, write.count(out), self.width);
        let up = matrix(self.up, write.features, self.width).transpose();
        product(write.matrix_mut(out), active, up, self.scale, true);
        if let Some(bias) = self.up_bias {
            let stride = write.stride.max(1);
            out.par_chunks_mut(PIECE.div_ceil(stride) * stride).for_each(|rows| {
                for row in rows.chunks_exact_mut(stride) {
                    for (out, bias) in row.iter_mut().skip(write.first).zip(bias) {
                        *out += self.scale * bias;
                    }
                }
            });
        }
    }

    /// For the gradient in the features `write` of `g`: adds that of the input to the features `read` of `dx`, and returns
    /// those of the layers. `inner` is what [`Self::inner`] gave.
    pub(crate) fn backward(
        &self,
        (x, read): (&[f32], Part),
        inner: &[f32],
        (g, write): (&[f32], Part),
        dx: Option<&mut [f32]>,
    ) -> NetGradients {
        let (n, width) = (write.count(g), self.width);
        let active = activate(self.activation, inner);
        let mut up = vec![0f32; write.features * width];
        let g_matrix = write.matrix(g);
        product(
            matrix_mut(&mut up, write.features, width),
            g_matrix.transpose(),
            matrix(&active, n, width),
            self.scale,
            false,
        );
        let mut up_bias = sum_of(write.rows(g), write.features);
        up_bias.iter_mut().for_each(|sum| *sum *= self.scale);
        let mut d_active = active;
        product(
            matrix_mut(&mut d_active, n, width),
            g_matrix,
            matrix(self.up, write.features, width),
            self.scale,
            false,
        );
        let d_inner = activate_backward(self.activation, inner, &d_active);
        let d_matrix = matrix(&d_inner, n, width);
        let mut down = vec![0f32; width * read.features];
        let down_matrix = matrix_mut(&mut down, width, read.features);
        product(down_matrix, d_matrix.transpose(), read.matrix(x), 1.0, false);
        if let Some(dx) = dx {
            product(read.matrix_mut(dx), d_matrix, matrix(self.down, width, read.features), 1.0, true);
        }
        NetGradients { down, down_bias: sum_of_rows(&d_inner, width), up, up_bias }
    }
}

/// A net that reads some features of a row and is added to others.
#[derive(Clone, Debug)]
pub(crate) struct Between {
    /// What it reads.
    pub read: Range<usize>,
    /// What it is added to; none of what it reads.
    pub write: Range<usize>,
    /// Features between its layers.
    pub width: usize,
    /// The function between them.
    pub activation: Gate,
    /// Factor on it.
    pub scale: f32,
}

/// `x` (.., features) with the net's result for the features that it reads added to those that it changes. `flat` holds
/// W_d (width, in), b_d, W_u (out, width) and b_u one behind the other. Gradients for both where tracked. For f32 in main
/// memory.
///
/// # Errors
/// Shapes that do not fit.
pub(crate) fn bottleneck_between(x: &Tensor, flat: &Tensor, between: Between) -> Result<Tensor> {
    let (_, features) = rows_and_features(x)?;
    let Between { read, write, width, .. } = &between;
    let wanted = width * (read.len() + write.len() + 1) + write.len();
    let apart = read.end <= write.start || write.end <= read.start;
    if !apart || read.end.max(write.end) > features || flat.dims() != [wanted] {
        let what = format!("from {read:?} over {width} to {write:?} of {features} features, {:?} values", flat.dims());
        return shape_error(what);
    }
    Ok(x.contiguous()?.apply_op2(&flat.contiguous()?, between)?)
}

impl CustomOp2 for Between {
    fn name(&self) -> &'static str {
        "bottleneck-between"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        flat: &CpuStorage,
        flat_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (x, stride) = (slice(x, x_layout)?, x_layout.dims().last().copied().unwrap_or(0));
        let Some(net) = Net::of_flat(slice(flat, flat_layout)?, self) else { candle_core::bail!("too few values") };
        let mut y = x.to_vec();
        let inner = net.inner(x, Part::of(&self.read, stride));
        net.add(&inner, &mut y, Part::of(&self.write, stride));
        output(y, x_layout.shape().clone())
    }

    fn bwd(
        &self,
        x: &Tensor,
        flat: &Tensor,
        _y: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (values, g, flat_values) = (Values::of(x)?, Values::of(&gradient)?, Values::of(flat)?);
        let Some(net) = Net::of_flat(&flat_values, self) else { candle_core::bail!("too few values") };
        let stride = x.dims().last().copied().unwrap_or(0);
        let (read, write) = (Part::of(&self.read, stride), Part::of(&self.write, stride));
        let mut dx = x.track_op().then(|| g.to_vec());
        let inner = net.inner(&values, read);
        let of = net.backward((&values, read), &inner, (&g, write), dx.as_deref_mut());
        let d_flat = || tensor([of.down, of.down_bias, of.up, of.up_bias].concat(), flat.dims());
        let dx = dx.map(|dx| tensor(dx, x.dims())).transpose()?;
        Ok((dx, flat.track_op().then(d_flat).transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{GradCheck, check_gradients, compare_with_reference};
    use crate::rng::Stream;
    use candle_core::{D, Device};

    fn normal(name: &str, dims: &[usize]) -> Tensor {
        let mut values = vec![0f32; dims.iter().product()];
        Stream::new(2, name).fill_normal(&mut values, 0.7);
        Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
    }

    /// The same of plain tensors.
    fn slow(x: &Tensor, flat: &Tensor, between: &Between) -> Result<Tensor> {
        let Between { read, write, width, activation, scale } = between.clone();
        let mut start = 0;
        let mut take = |count: usize| {
            start += count;
            flat.narrow(0, start - count, count)
        };
        let down = take(width * read.len())?.reshape((width, read.len()))?;
        let down_bias = take(width)?;
        let up = take(write.len() * width)?.reshape((write.len(), width))?;
        let up_bias = take(write.len())?;
        let features = x.dim(D::Minus1)?;
        let inner = x.reshape(((), features))?.narrow(1, read.start, read.len())?;
        let inner = inner.matmul(&down.t()?)?.broadcast_add(&down_bias)?;
        let active = match activation {
            Gate::Relu => inner.relu()?,
            Gate::Silu => super::super::reference::silu(&inner)?,
            Gate::Gelu => super::super::reference::gelu(&inner)?,
            Gate::GeluTanh => super::super::reference::gelu_tanh(&inner)?,
        };
        let change = active.matmul(&up.t()?)?.broadcast_add(&up_bias)?.affine(f64::from(scale), 0.0)?;
        let change = change.pad_with_zeros(1, write.start, features - write.end)?;
        Ok((x + change.reshape(x.dims())?)?)
    }

    #[test]
    fn a_net_between_features_is_two_layers_of_plain_tensors() {
        let cases = [
            ((3, 7), 2..6, 6..7, 3, Gate::Gelu, 0.7),
            ((5, 9), 4..9, 0..4, 5, Gate::Silu, -1.0),
            ((70, 33), 0..16, 17..33, 65, Gate::GeluTanh, 2.0),
            ((1, 2), 0..1, 1..2, 1, Gate::Relu, 1.0),
        ];
        for ((rows, features), read, write, width, activation, scale) in cases {
            let values = width * (read.len() + write.len() + 1) + write.len();
            let inputs = [normal("x", &[2, rows, features]), normal("flat", &[values])];
            let between = Between { read, write, width, activation, scale };
            let fast = |x: &[Tensor]| bottleneck_between(&x[0], &x[1], between.clone());
            let options = GradCheck { samples: 12, ..GradCheck::f32() };
            if activation != Gate::Relu {
                check_gradients(fast, &inputs, &options).unwrap();
            }
            compare_with_reference(fast, |x| slow(&x[0], &x[1], &between), &inputs, 1e-4).unwrap();
        }
    }

    #[test]
    fn parts_that_meet_or_lie_outside_are_refused() {
        let (x, flat) = (normal("x", &[2, 6]), normal("flat", &[2 * 7 + 3]));
        let of = |read, write| Between { read, write, width: 2, activation: Gate::Gelu, scale: 1.0 };
        assert!(bottleneck_between(&x, &flat, of(0..3, 3..6)).is_ok());
        assert!(bottleneck_between(&x, &flat, of(0..3, 2..5)).is_err(), "they meet");
        assert!(bottleneck_between(&x, &flat, of(1..4, 4..7)).is_err(), "outside");
        assert!(bottleneck_between(&x, &normal("flat", &[16]), of(0..3, 3..6)).is_err(), "too few values");
    }
}
