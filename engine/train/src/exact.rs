//! Numbers in `state.json` that must come back bit for bit.
//!
//! JSON readers may round the last digit of a number, and JSON has no not-a-number: these are written as
//! text in the shortest form that reads back to the same value.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number that survives JSON exactly, including NaN and the infinities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exact(pub f64);

impl Default for Exact {
    /// Not measured yet.
    fn default() -> Self {
        Self(f64::NAN)
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:?}", self.0))
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|error| D::Error::custom(format!("\"{text}\" is not a number: {error}")))
    }
}

/// For `#[serde(with = "exact")]` on plain numbers.
pub(crate) mod plain {
    use super::{Deserialize as _, Deserializer, Exact, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Exact(*value).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Exact::deserialize(deserializer).map(|value| value.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_comes_back_with_the_same_bits(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let text = serde_json::to_string(&Exact(value)).expect("writes");
            let back: Exact = serde_json::from_str(&text).expect("reads");
            prop_assert!(back.0.to_bits() == bits || (value.is_nan() && back.0.is_nan()));
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!(serde_json::from_str::<Exact>("\"three\"").is_err());
        assert!(serde_json::from_str::<Exact>("null").is_err());
    }
}
