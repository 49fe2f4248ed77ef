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
