//! Decompositions in f64: singular values, SVD, QR, their leading parts, LU, and the spectrum of a product of two thin
//! factors.
//!
//! Place in the data flow: initialisers of methods, telemetry of ranks, exporters. All matrices are row-major
//! slices. Each is worked on by one thread, so that the bits do not depend on how many there are; who has many of them
//! shares them out ([`crate::at_once`]).

use crate::rng::Stream;
use crate::{NnError, Result};
use faer::linalg::solvers::DenseSolveCore as _;
use faer::{Mat, MatRef, Par, Side};
use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;
use std::sync::Once;

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

/// Inputs as f64, row by row of `features` values.
///
/// # Errors
/// Values that fill no rows or are not finite.
pub fn rows_of(rows: &[f32], features: usize) -> Result<Vec<f64>> {
    let count = rows.len() / features.max(1);
    let wide: Vec<f64> = rows.iter().copied().map(f64::from).collect();
    view(&wide, count, features)?;
    Ok(wide)
}

/// Adds `Xᵀ X` of inputs (n, features) to `sum` (features, features).
pub fn add_gram(sum: &mut [f64], inputs: &[f64], features: usize) {
    on_one_thread();
    let width = features.max(1);
    let inputs = MatRef::from_row_major_slice(inputs, inputs.len() / width, features);
    sum.par_chunks_mut(GRAM_ROWS * width).enumerate().for_each(|(block, sums)| {
        let part = inputs.subcols(block * GRAM_ROWS, sums.len() / width);
        let gram = part.transpose() * inputs;
        for (row, sums) in sums.chunks_mut(width).enumerate() {
            for (col, sum) in sums.iter_mut().enumerate() {
                *sum += gram[(row, col)];
            }
        }
    });
}

/// Inverse of a symmetric positive definite matrix, and `‖A A⁻¹ − I‖` (Frobenius).
///
/// # Errors
/// Sizes that do not fit, values that are not finite, a matrix that is not positive definite.
pub fn inverse(values: &[f64], side: usize) -> Result<(Vec<f64>, f64)> {
    let matrix = view(values, side, side)?;
    let not_definite = |error| NnError::Value(format!("a matrix has no inverse: {error:?}"));
    let inverse = matrix.llt(Side::Lower).map_err(not_definite)?.inverse();
    let product = matrix * &inverse;
    let off = |row: usize, col: usize| product[(row, col)] - if row == col { 1.0 } else { 0.0 };
    let squares = (0..side * side).map(|at| off(at / side.max(1), at % side.max(1)).powi(2)).sum::<f64>();
    Ok((row_major(inverse.as_ref()), squares.sqrt()))
}

/// Directions beyond those asked for that a fast decomposition follows.
pub(crate) const OVERSAMPLED: usize = 8;
/// Rows of a Gram matrix that one thread computes at a time.
const GRAM_ROWS: usize = 64;

/// Lets the library work on the calling thread: a decomposition that it shares out adds in an order that depends on the
/// number of threads.
fn on_one_thread() {
    static SAID: Once = Once::new();
    SAID.call_once(|| faer::set_global_parallelism(Par::Seq));
}

fn view(values: &[f64], rows: usize, cols: usize) -> Result<MatRef<'_, f64>> {
    on_one_thread();
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

/// The `rank` leading singular triplets of a matrix (rows, cols), for `rank` up to min(rows, cols): exactly with
/// `iterations` 0, else by projecting on `rank` + 8 random directions of `stream` that were sharpened by that many
/// products with A and its transpose (Halko, Martinsson and Tropp, "Finding structure with randomness", 2011,
/// algorithms 4.4 and 5.1).
///
/// # Errors
/// Sizes that do not fit, values that are not finite.
pub fn leading_svd(
    values: &[f64],
    rows: usize,
    cols: usize,
    rank: usize,
    iterations: usize,
    stream: &mut Stream,
) -> Result<Svd> {
    let matrix = view(values, rows, cols)?;
    let (side, width) = (rows.min(cols), rank + OVERSAMPLED);
    if rank > side {
        return Err(NnError::Shape(format!("a matrix of {rows} x {cols} has no {rank} singular values")));
    }
    let svd = |matrix: MatRef<'_, f64>| matrix.thin_svd().map_err(not_converged);
    let (u, s, v) = if iterations == 0 || width >= side {
        let svd = svd(matrix)?;
        (svd.U().to_owned(), svd.S().column_vector().to_owned(), svd.V().to_owned())
    } else {
        let start = Mat::from_fn(cols, width, |_, _| stream.normal());
        let mut basis = (matrix * &start).qr().compute_thin_Q();
        for _ in 0..iterations {
            let back = (matrix.transpose() * &basis).qr().compute_thin_Q();
            basis = (matrix * &back).qr().compute_thin_Q();
        }
        let small = basis.transpose() * matrix;
        let svd = svd(small.as_ref())?;
        (&basis * svd.U(), svd.S().column_vector().to_owned(), svd.V().to_owned())
    };
    Ok(Svd {
        u: row_major(u.as_ref().subcols(0, rank)),
        s: (0..rank).map(|index| s[index]).collect(),
        v: row_major(v.as_ref().subcols(0, rank)),
    })
}

/// `left (m, k) · right (k, n)` for sizes (m, k, n).
///
/// # Errors
/// Sizes that do not fit, values that are not finite.
pub fn product(left: &[f64], right: &[f64], (m, k, n): (usize, usize, usize)) -> Result<Vec<f64>> {
    let product = view(left, m, k)? * view(right, k, n)?;
    Ok(row_major(product.as_ref()))
}

/// One product of `A ≈ Σ s · U ⊗ V`.
#[derive(Clone, Debug)]
pub struct KroneckerTerm {
    /// Singular value.
    pub s: f64,
    /// (a, c), norm 1.
    pub u: Vec<f64>,
    /// (b, d), norm 1.
    pub v: Vec<f64>,
}

/// `A` (a b, c d) as (a c, b d): each block of (b, d) laid out as a row, so that a Kronecker product U ⊗ V with U (a, c)
/// becomes the product of a column and a row.
///
/// # Errors
/// Sizes that do not fit, values that are not finite.
pub fn block_rows(values: &[f64], (a, c): (usize, usize), (b, d): (usize, usize)) -> Result<Vec<f64>> {
    let matrix = view(values, a * b, c * d)?;
    let mut blocks = Vec::with_capacity(values.len());
    for (i, j) in (0..a).flat_map(|i| (0..c).map(move |j| (i, j))) {
        for (k, l) in (0..b).flat_map(|k| (0..d).map(move |l| (k, l))) {
            blocks.push(matrix[(i * b + k, j * d + l)]);
        }
    }
    Ok(blocks)
}

/// The `terms` strongest products of `A ≈ Σ s · U ⊗ V` for U (a, c), V (b, d) and A (a b, c d).
///
/// # Errors
/// Sizes that do not fit, values that are not finite, more terms than there are.
pub fn kronecker(
    values: &[f64],
    (a, c): (usize, usize),
    (b, d): (usize, usize),
    terms: usize,
    iterations: usize,
    stream: &mut Stream,
) -> Result<Vec<KroneckerTerm>> {
    let blocks = block_rows(values, (a, c), (b, d))?;
    let svd = leading_svd(&blocks, a * c, b * d, terms, iterations, stream)?;
    let column = |values: &[f64], term: usize| values.iter().skip(term).step_by(terms).copied().collect::<Vec<_>>();
    let term = |(term, s): (usize, &f64)| KroneckerTerm { s: *s, u: column(&svd.u, term), v: column(&svd.v, term) };
    Ok(svd.s.iter().enumerate().map(term).collect())
}

/// The first `rank` columns of Q and rows of R of `A = Q R`, for `rank` up to min(rows, cols): Q is what the first
/// columns of A span.
///
/// # Errors
/// Sizes that do not fit, values that are not finite.
pub fn leading_qr(values: &[f64], rows: usize, cols: usize, rank: usize) -> Result<Qr> {
    let matrix = view(values, rows, cols)?;
    if rank > rows.min(cols) {
        return Err(NnError::Shape(format!("a matrix of {rows} x {cols} has no {rank} directions")));
    }
    let q = matrix.subcols(0, rank).qr().compute_thin_Q();
    let r = q.transpose() * matrix;
    Ok(Qr { q: row_major(q.as_ref()), r: row_major(r.as_ref()) })
}

/// The leading part of `A = P L D U`: elimination with row exchanges.
#[derive(Clone, Debug)]
pub struct Lu {
    /// P L, (rows, k): the columns of the unit lower triangular factor, rows back in their place.
    pub l: Vec<f64>,
    /// k pivots.
    pub d: Vec<f64>,
    /// (k, cols), unit upper trapezoidal.
    pub u: Vec<f64>,
}

/// The first `rank` steps of Gaussian elimination with partial pivoting. A pivot below a millionth of the largest
/// gets a row of U with nothing but its 1: dividing by it would spread its rounding over the row.
///
/// # Errors
/// Sizes that do not fit, values that are not finite.
pub fn leading_lu(values: &[f64], rows: usize, cols: usize, rank: usize) -> Result<Lu> {
    const SMALLEST_PIVOT: f64 = 1e-6;
    let matrix = view(values, rows, cols)?;
    if rank > rows.min(cols) {
        return Err(NnError::Shape(format!("a matrix of {rows} x {cols} has no {rank} pivots")));
    }
    // Partial pivoting looks at one column at a time, so that the first columns decide the first pivots.
    let lu = matrix.subcols(0, rank).partial_piv_lu();
    let (order, lower) = (lu.P().arrays().0, lu.L());
    let mut l = vec![0f64; rows * rank];
    for (step, &row) in order.iter().enumerate() {
        for col in 0..rank {
            l[row * rank + col] = lower[(step, col)];
        }
    }
    // U = L11⁻¹ times the first rows of the permuted matrix, from above.
    let mut u = Mat::from_fn(rank, cols, |row, col| matrix[(order[row], col)]);
    for row in 0..rank {
        for above in 0..row {
            let factor = lower[(row, above)];
            for col in 0..cols {
                u[(row, col)] -= factor * u[(above, col)];
            }
        }
    }
    let d: Vec<f64> = (0..rank).map(|row| u[(row, row)]).collect();
    let largest = d.iter().fold(0f64, |largest, pivot| largest.max(pivot.abs()));
    for (row, &pivot) in d.iter().enumerate() {
        let usable = pivot.abs() > SMALLEST_PIVOT * largest;
        for col in 0..cols {
            let value = if usable && col >= row { u[(row, col)] / pivot } else { 0.0 };
            u[(row, col)] = if col == row { 1.0 } else { value };
        }
    }
    Ok(Lu { l, d, u: row_major(u.as_ref()) })
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
    fn leading_parts_are_those_of_the_whole() {
        for (rows, cols, rank) in [(30, 24, 4), (24, 30, 4), (9, 9, 9)] {
            let values = random("lead", rows * cols);
            let whole = svd(&values, rows, cols).unwrap();
            let exact = leading_svd(&values, rows, cols, rank, 0, &mut Stream::new(1, "svd")).unwrap();
            close(&exact.s, &whole.s[..rank]);
            let drawn = leading_svd(&values, rows, cols, rank, 16, &mut Stream::new(1, "svd")).unwrap();
            for (found, exact) in drawn.s.iter().zip(&exact.s) {
                assert!((found / exact - 1.0).abs() < 1e-3, "{found} {exact}");
            }
            let Qr { q, r } = leading_qr(&values, rows, cols, rank).unwrap();
            let all = qr(&values, rows, cols).unwrap();
            let side = rows.min(cols);
            for row in 0..rows {
                close(&q[row * rank..(row + 1) * rank], &all.q[row * side..row * side + rank]);
            }
            close(&r, &all.r[..rank * cols]);
        }
        assert!(leading_svd(&[1.0; 6], 2, 3, 3, 0, &mut Stream::new(1, "svd")).is_err());
        assert!(leading_qr(&[1.0; 6], 2, 3, 3).is_err() && leading_lu(&[1.0; 6], 2, 3, 3).is_err());
    }

    #[test]
    fn kronecker_products_add_up_to_the_matrix_and_one_is_found_again() {
        let (a, b, c, d) = (3, 2, 2, 4);
        let kron = |u: &[f64], v: &[f64]| -> Vec<f64> {
            let at = |row: usize, col: usize| u[row / b * c + col / d] * v[row % b * d + col % d];
            (0..a * b).flat_map(|row| (0..c * d).map(move |col| at(row, col))).collect()
        };
        let values = random("kron", a * b * c * d);
        let all = kronecker(&values, (a, c), (b, d), 6, 0, &mut Stream::new(1, "kron")).unwrap();
        let mut sum = vec![0.0; values.len()];
        for KroneckerTerm { s, u, v } in &all {
            sum.iter_mut().zip(kron(u, v)).for_each(|(sum, value)| *sum += s * value);
        }
        close(&sum, &values);
        let one = kron(&random("u", a * c), &random("v", b * d));
        let found = kronecker(&one, (a, c), (b, d), 1, 0, &mut Stream::new(1, "kron")).unwrap();
        close(&kron(&found[0].u, &found[0].v).iter().map(|x| x * found[0].s).collect::<Vec<_>>(), &one);
    }

    #[test]
    fn pivots_and_triangles_give_the_matrix_back() {
        for (rows, cols) in [(7, 4), (4, 7), (5, 5)] {
            let (values, k) = (random("lu", rows * cols), rows.min(cols));
            let Lu { l, d, u } = leading_lu(&values, rows, cols, k).unwrap();
            let scaled: Vec<f64> = l.iter().enumerate().map(|(index, l)| l * d[index % k]).collect();
            close(&product(&scaled, &u, rows, k, cols), &values);
            assert!((0..k).all(|row| u[row * cols + row] == 1.0));
            assert!(l.iter().all(|l| l.abs() <= 1.0), "row exchanges keep every multiplier at most 1");
            // The first steps alone are the first part of all of them.
            let part = leading_lu(&values, rows, cols, 2).unwrap();
            close(&part.d, &d[..2]);
            close(&part.u, &u[..2 * cols]);
        }
        let singular = leading_lu(&[1.0, 2.0, 2.0, 4.0], 2, 2, 2).unwrap();
        assert!(singular.u.iter().all(|u| u.is_finite()));
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
