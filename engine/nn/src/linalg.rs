//! Decompositions in f64: singular values, SVD, QR, and the spectrum of a product of two thin factors.
//!
//! Place in the data flow: initialisers of methods, telemetry of ranks, exporters. All matrices are row-major
//! slices.

use crate::{NnError, Result};
use faer::MatRef;

/// `A = U diag(s) Vᵀ` with k = min(rows, cols).
#[derive(Clone, Debug)]
pub struct Svd {
    /// (rows, k).
    pub u: Vec<f64>,
    /// k singular values, largest first.
    pub s: Vec<f64>,
    /// (cols, k).
    pub v: Vec<f64>,
}

/// `A = Q R` with k = min(rows, cols).
#[derive(Clone, Debug)]
pub struct Qr {
    /// (rows, k), orthonormal columns.
    pub q: Vec<f64>,
    /// (k, cols), upper triangular.
    pub r: Vec<f64>,
}

fn view(values: &[f64], rows: usize, cols: usize) -> Result<MatRef<'_, f64>> {
    if rows.checked_mul(cols) != Some(values.len()) {
        return Err(NnError::Shape(format!("{} values are no matrix of {rows} x {cols}", values.len())));
    }
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(NnError::Value(format!("a matrix with {value} in it has no decomposition")));
    }
    Ok(MatRef::from_row_major_slice(values, rows, cols))
}

fn row_major(matrix: MatRef<'_, f64>) -> Vec<f64> {
    let mut values = Vec::with_capacity(matrix.nrows() * matrix.ncols());
    for row in 0..matrix.nrows() {
        values.extend((0..matrix.ncols()).map(|col| matrix[(row, col)]));
    }
    values
}

fn not_converged<E: std::fmt::Debug>(error: E) -> NnError {
    NnError::Value(format!("the singular value decomposition did not converge: {error:?}"))
}

/// Singular values of a matrix (rows, cols), largest first.
///
/// # Errors
/// Sizes that do not fit, values that are not finite.
pub fn singular_values(values: &[f64], rows: usize, cols: usize) -> Result<Vec<f64>> {
    view(values, rows, cols)?.singular_values().map_err(not_converged)
}

/// Thin singular value decomposition of a matrix (rows, cols).
///
/// # Errors
/// Sizes that do not fit, values that are not finite.
pub fn svd(values: &[f64], rows: usize, cols: usize) -> Result<Svd> {
    let svd = view(values, rows, cols)?.thin_svd().map_err(not_converged)?;
    let diagonal = svd.S().column_vector();
    let s = (0..diagonal.nrows()).map(|index| diagonal[index]).collect();
    Ok(Svd { u: row_major(svd.U()), s, v: row_major(svd.V()) })
}

/// Thin QR decomposition of a matrix (rows, cols).
///
/// # Errors
/// Sizes that do not fit, values that are not finite.
pub fn qr(values: &[f64], rows: usize, cols: usize) -> Result<Qr> {
    let qr = view(values, rows, cols)?.qr();
    Ok(Qr { q: row_major(qr.compute_thin_Q().as_ref()), r: row_major(qr.thin_R()) })
}

/// Singular values of `B A` for `b` (out, rank) and `a` (rank, in), largest first, at most `rank` of them,
/// without forming the product: with `B = Q R` and `Aᵀ = P S` they are those of the small matrix `R Sᵀ`.
///
/// # Errors
/// Sizes that do not fit, values that are not finite.
pub fn product_singular_values(
    b: &[f32],
    a: &[f32],
    out_features: usize,
    rank: usize,
    in_features: usize,
) -> Result<Vec<f64>> {
    let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    let (b, a) = (wide(b), wide(a));
    let left = view(&b, out_features, rank)?.qr();
    let right = view(&a, rank, in_features)?.transpose().to_owned().qr();
    let core = left.thin_R() * right.thin_R().transpose();
    core.singular_values().map_err(not_converged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    fn random(name: &str, n: usize) -> Vec<f64> {
        let mut stream = Stream::new(1, name);
        (0..n).map(|_| stream.normal()).collect()
    }

    fn product(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            }
        }
        out
    }

    fn close(left: &[f64], right: &[f64]) {
        assert_eq!(left.len(), right.len());
        for (a, b) in left.iter().zip(right) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn svd_and_qr_give_the_matrix_back() {
        for (rows, cols) in [(7, 4), (4, 7), (5, 5), (1, 3)] {
            let (values, k) = (random("a", rows * cols), rows.min(cols));
            let Svd { u, s, v } = svd(&values, rows, cols).unwrap();
            assert!(s.is_sorted_by(|a, b| a >= b) && s.len() == k);
            let scaled = u.iter().enumerate().map(|(index, u)| u * s[index % k]).collect::<Vec<_>>();
            let v_t = (0..k * cols).map(|index| v[index % cols * k + index / cols]).collect::<Vec<_>>();
            close(&product(&scaled, &v_t, rows, k, cols), &values);
            close(&singular_values(&values, rows, cols).unwrap(), &s);
            let Qr { q, r } = qr(&values, rows, cols).unwrap();
            close(&product(&q, &r, rows, k, cols), &values);
        }
    }

    #[test]
    fn the_spectrum_of_a_product_needs_no_product() {
        for (out, rank, inp) in [(9, 3, 11), (2, 4, 9), (8, 4, 3)] {
            let (b, a) = (random("b", out * rank), random("a", rank * inp));
            let narrow = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<_>>();
            let spectrum = product_singular_values(&narrow(&b), &narrow(&a), out, rank, inp).unwrap();
            let dense = product(&b, &a, out, rank, inp);
            let expected = singular_values(&dense, out, inp).unwrap();
            for (a, b) in spectrum.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5 * (1.0 + b), "{a} {b}");
            }
            assert!(expected.iter().skip(spectrum.len()).all(|rest| *rest < 1e-9));
        }
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        assert!(singular_values(&[1.0; 5], 2, 3).is_err());
        assert!(svd(&[1.0, f64::NAN], 1, 2).is_err());
    }
}
