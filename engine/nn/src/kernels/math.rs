//! Elementary functions written without branches, so that the compiler vectorises the loops around them.
//!
//! Place in the data flow: softmax, activations and the cross-entropy call them within [`super::simd`] bodies.
//! They use no fused multiply-add: results are the same on every instruction set.

/// Adding and subtracting this rounds a float to the nearest integer (1.5 · 2^23).
const ROUNDER: f32 = 12_582_912.0;
/// Below this the result is 0 (it would be denormal).
const EXP_LOW: f32 = -87.33;
/// Above this the result is infinite.
const EXP_HIGH: f32 = 88.37;

/// e^x within 2 units in the last place; 0 below -87.33, infinite above 88.37, NaN for NaN.
///
/// Range reduction and polynomial as in the Cephes library (Moshier, 1989).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    // ln 2 in two parts: the first, 355/512, has few enough bits for n · part to be exact.
    let r = x - n * (355.0 / 512.0) + n * 2.121_944_4e-4;
    let mut p = 1.987_569_2e-4;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_6e-1;
    p = p * r + 0.5;
    p = p * (r * r) + r + 1.0;
    // The low bits of `shifted` hold n; moved into the exponent they multiply by 2^n.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3F80_0000));
    let value = p * power;
    let value = if x < EXP_LOW { 0.0 } else { value };
    if x > EXP_HIGH { f32::INFINITY } else { value }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent, absolute error below 2e-7.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// The distribution function of the standard normal, `Φ(x) = erfc(-x/√2)/2`, and `e^(-x²/2)`, from which its density
/// follows; relative error of Φ below 3e-6 down to x = -9, absolute error below 2e-7.
///
/// `erfc(z) = e^(-z²) · t · q(t)` with `t = 1/(1 + z/2)` for z ≥ 0; q is the polynomial of degree 8 whose largest
/// relative error on 0 ≤ z ≤ 6.6 is least (3.2e-8), found by reweighted least squares.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    let bell = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + (0.5 * std::f32::consts::FRAC_1_SQRT_2) * x.abs());
    let mut q = -0.055_552_09;
    q = q * t + 0.267_022_9;
    q = q * t - 0.449_885_82;
    q = q * t + 0.234_039_5;
    q = q * t + 0.004_829_897;
    q = q * t + 0.188_788_8;
    q = q * t + 0.246_802_8;
    q = q * t + 0.281_834_32;
    q = q * t + 0.282_119_64;
    let tail = 0.5 * bell * t * q;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_two_units_in_the_last_place() {
        let mut worst = 0f64;
        let mut x = -87.3f32;
        while x < 88.3 {
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - expected).abs() / expected);
            x += 0.000_7;
        }
        assert!(worst < 2.4e-7, "{worst:e}");
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn the_ends_are_zero_infinity_and_nan() {
        assert_eq!(exp(-88.0), 0.0);
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan() && sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!((tanh(50.0), tanh(-50.0)), (1.0, -1.0));
        assert_eq!((sigmoid(100.0), sigmoid(-100.0)), (1.0, 0.0));
    }

    #[test]
    fn the_normal_distribution_follows_libm() {
        let mut x = -9f32;
        while x < 9.0 {
            let wide = f64::from(x);
            let expected = 0.5 * libm::erfc(-wide * std::f64::consts::FRAC_1_SQRT_2);
            let (found, bell) = normal(x);
            let error = (f64::from(found) - expected).abs();
            assert!(error < 2e-7 && error < 3e-6 * expected, "{x}: {found:e} {expected:e}");
            assert!((f64::from(bell) - (-0.5 * wide * wide).exp()).abs() < 2e-7, "{x}");
            x += 0.000_9;
        }
        assert_eq!((normal(-1e4).0, normal(f32::NEG_INFINITY).0), (0.0, 0.0));
        assert_eq!((normal(1e4).0, normal(f32::INFINITY).0), (1.0, 1.0));
        assert!(normal(f32::NAN).0.is_nan());
    }

    #[test]
    fn exp_and_tanh_are_as_close_as_libms() {
        // Distance in units in the last place of the rounded true value, over the range where training lives.
        let ulps = |found: f32, expected: f64| {
            let rounded = expected as f32;
            let unit = f64::from(f32::from_bits(rounded.abs().to_bits() + 1)) - f64::from(rounded.abs());
            (f64::from(found) - expected).abs() / unit
        };
        let (mut ours, mut theirs, mut largest_of_tanh) = (0f64, 0f64, 0f64);
        let mut x = -20f32;
        while x < 20.0 {
            let expected = f64::from(x).exp();
            ours = ours.max(ulps(exp(x), expected));
            theirs = theirs.max(ulps(libm::expf(x), expected));
            largest_of_tanh = largest_of_tanh.max((f64::from(tanh(x)) - f64::from(libm::tanhf(x))).abs());
            x += 0.001_1;
        }
        assert!(ours < 2.0 && theirs < 2.0, "{ours} and {theirs} units");
        assert!(largest_of_tanh < 3e-7, "{largest_of_tanh:e}");
    }

    #[test]
    fn sigmoid_and_tanh_follow_f64() {
        let mut x = -20f32;
        while x < 20.0 {
            let wide = f64::from(x);
            assert!((f64::from(sigmoid(x)) - 1.0 / (1.0 + (-wide).exp())).abs() < 2e-7);
            assert!((f64::from(tanh(x)) - wide.tanh()).abs() < 3e-7, "{x}");
            x += 0.003;
        }
    }
}
