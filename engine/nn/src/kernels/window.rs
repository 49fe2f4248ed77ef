//! A window that moves over 2-D maps: which values of the input lie under which place of the window.
//!
//! Place in the data flow: convolution and pooling go over a map tap by tap, a tap being one place of the window; for
//! each tap the positions of the output form runs along the rows whose inputs lie `stride` apart.

use std::ops::Range;

/// A window over maps of one size. Pairs are (down, across).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Size of the input map.
    pub size: (usize, usize),
    /// Size of the output map.
    pub out: (usize, usize),
    /// Size of the window.
    pub kernel: (usize, usize),
    /// How far it moves.
    pub stride: (usize, usize),
    /// Zeros around the input.
    pub padding: (usize, usize),
}

/// A stretch of output positions of one row and the inputs that one tap sees from there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// First place in the output.
    pub out: usize,
    /// Its place in the input map.
    pub input: usize,
    /// Number of places.
    pub length: usize,
}

/// The output positions of one axis from which tap `tap` lies inside the `size` inputs.
fn reach(out: usize, size: usize, tap: usize, stride: usize, padding: usize) -> Range<usize> {
    let start = padding.saturating_sub(tap).div_ceil(stride).min(out);
    let end = (size + padding).saturating_sub(tap).div_ceil(stride).min(out);
    start..end.max(start)
}

impl Window {
    /// Values of the input map.
    pub(crate) const fn area(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// Values of the output map.
    pub(crate) const fn positions(&self) -> usize {
        self.out.0 * self.out.1
    }

    /// Places of the window.
    pub(crate) const fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Whether the output of a tap is the input itself.
    pub(crate) fn is_point(&self) -> bool {
        self.kernel == (1, 1) && self.stride == (1, 1) && self.padding == (0, 0)
    }

    /// Whether the windows lie side by side on the map, none reaching beyond it.
    pub(crate) fn is_tiling(&self) -> bool {
        self.kernel == self.stride && self.padding == (0, 0)
    }

    /// Calls `work` for every run of `tap` within the output rows `rows`; places in the output count from the first of
    /// those rows.
    #[inline(always)]
    pub(crate) fn runs(&self, tap: usize, rows: Range<usize>, mut work: impl FnMut(Run)) {
        let (down, across) = (tap / self.kernel.1, tap % self.kernel.1);
        let columns = reach(self.out.1, self.size.1, across, self.stride.1, self.padding.1);
        let seen = reach(self.out.0, self.size.0, down, self.stride.0, self.padding.0);
        if columns.is_empty() {
            return;
        }
        for row in rows.start.max(seen.start)..rows.end.min(seen.end) {
            let y = row * self.stride.0 + down - self.padding.0;
            let x = columns.start * self.stride.1 + across - self.padding.1;
            let out = (row - rows.start) * self.out.1 + columns.start;
            work(Run { out, input: y * self.size.1 + x, length: columns.len() });
        }
    }
}

/// `work(a, b)` for pairs of a run: `outputs` as they follow each other, `inputs` `stride` apart.
#[inline(always)]
pub(crate) fn over_pairs(outputs: &mut [f32], inputs: &[f32], stride: usize, mut work: impl FnMut(&mut f32, f32)) {
    match stride {
        1 => {
            for (a, &b) in outputs.iter_mut().zip(inputs) {
                work(a, b);
            }
        }
        2 => {
            // In pairs, which the compiler takes apart many at a time; the last input may stand alone.
            let (pairs, _) = inputs.as_chunks::<2>();
            let paired = pairs.len().min(outputs.len());
            let (outputs, last) = outputs.split_at_mut(paired);
            for (a, &[b, _]) in outputs.iter_mut().zip(pairs) {
                work(a, b);
            }
            for (a, &b) in last.iter_mut().zip(inputs.iter().skip(2 * paired)) {
                work(a, b);
            }
        }
        _ => {
            for (a, &b) in outputs.iter_mut().zip(inputs.iter().step_by(stride)) {
                work(a, b);
            }
        }
    }
}

/// As [`over_pairs`], writing to the inputs' side.
#[inline(always)]
pub(crate) fn over_pairs_back(inputs: &mut [f32], outputs: &[f32], stride: usize, mut work: impl FnMut(&mut f32, f32)) {
    if stride == 1 {
        for (a, &b) in inputs.iter_mut().zip(outputs) {
            work(a, b);
        }
    } else {
        for (a, &b) in inputs.iter_mut().step_by(stride).zip(outputs) {
            work(a, b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_the_same_for_every_stride() {
        for stride in 1..4 {
            for length in 0..9usize {
                // The last input is the last value there is, or has others after it.
                for rest in 0..3 {
                    let inputs = (0..(length.max(1) - 1) * stride + 1 + rest).map(|i| i as f32).collect::<Vec<_>>();
                    let mut outputs = vec![0f32; length];
                    over_pairs(&mut outputs, &inputs, stride, |a, b| *a += b);
                    let expected = (0..length).map(|i| (i * stride) as f32).collect::<Vec<_>>();
                    assert_eq!(outputs, expected, "{stride} {length}");
                    let mut back = vec![0f32; inputs.len()];
                    over_pairs_back(&mut back, &outputs, stride, |a, b| *a += b);
                    let kept = (0..length).map(|i| back[i * stride]).collect::<Vec<_>>();
                    assert_eq!(kept, expected, "{stride} {length}");
                    assert_eq!(back.iter().sum::<f32>(), expected.iter().sum::<f32>());
                }
            }
        }
    }

    #[test]
    fn runs_cover_exactly_what_lies_inside_the_map() {
        for (size, kernel, stride, padding) in [
            ((5, 4), (3, 3), (1, 1), (1, 1)),
            ((7, 9), (3, 2), (2, 3), (2, 1)),
            ((3, 3), (1, 1), (2, 2), (0, 0)),
            ((2, 6), (2, 5), (1, 2), (1, 4)),
        ] {
            let along =
                |size: usize, kernel: usize, stride: usize, padding: usize| (size + 2 * padding - kernel) / stride + 1;
            let out = (along(size.0, kernel.0, stride.0, padding.0), along(size.1, kernel.1, stride.1, padding.1));
            let window = Window { size, out, kernel, stride, padding };
            for tap in 0..window.taps() {
                let mut found = Vec::new();
                window.runs(tap, 0..out.0, |run| {
                    found.extend((0..run.length).map(|step| (run.out + step, run.input + step * stride.1)));
                });
                let mut expected = Vec::new();
                for row in 0..out.0 {
                    for column in 0..out.1 {
                        let y = (row * stride.0 + tap / kernel.1).checked_sub(padding.0).filter(|y| *y < size.0);
                        let x = (column * stride.1 + tap % kernel.1).checked_sub(padding.1).filter(|x| *x < size.1);
                        expected.extend(y.zip(x).map(|(y, x)| (row * out.1 + column, y * size.1 + x)));
                    }
                }
                assert_eq!(found, expected, "{window:?} tap {tap}");
            }
        }
    }
}
