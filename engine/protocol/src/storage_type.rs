//! How the numbers of an exported model are stored, as people name it.
//!
//! Place in the data flow: part of the export command and of a project's settings; the engine chooses the type of each
//! tensor from it.

use serde::{Deserialize, Serialize};

/// Storage type of exported tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// bfloat16.
    Bf16,
    /// GGUF 8-bit blocks.
    Q8_0,
    /// GGUF super-blocks of 4 bits, mixed with 6 bits as llama.cpp's `Q4_K_M`.
    Q4K,
    /// GGUF super-blocks of 5 bits, mixed with 6 bits as llama.cpp's `Q5_K_M`.
    Q5K,
    /// GGUF super-blocks of 6 bits, as llama.cpp's `Q6_K`.
    Q6K,
}

impl StorageType {
    /// All types, widest first.
    pub const ALL: [Self; 7] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q6K, Self::Q5K, Self::Q4K];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        }
    }

    /// The type called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Bytes that a value takes in a merged model of usual shape. A mixture of 4 or 5 with 6 bits is reckoned with half of
    /// the layers' value and down projections, about 15 % of a model, at 6 bits; the files differ with their shapes.
    #[must_use]
    pub fn bytes_per_value(self) -> f64 {
        // Super-blocks of 256 values take 144, 176 and 210 bytes.
        match self {
            Self::F32 => 4.0,
            Self::F16 | Self::Bf16 => 2.0,
            Self::Q8_0 => 34.0 / 32.0,
            Self::Q4K => 0.85 * 144.0 / 256.0 + 0.15 * 210.0 / 256.0,
            Self::Q5K => 0.85 * 176.0 / 256.0 + 0.15 * 210.0 / 256.0,
            Self::Q6K => 210.0 / 256.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_are_what_a_command_holds() {
        for kind in StorageType::ALL {
            assert_eq!(StorageType::from_name(kind.name()), Some(kind));
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", kind.name()));
        }
        for unknown in ["q4", "Q4_K", "q2_k", "q4_k_m", ""] {
            assert_eq!(StorageType::from_name(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn fewer_bits_take_less_room() {
        let sizes = StorageType::ALL.map(StorageType::bytes_per_value);
        assert!(sizes.windows(2).all(|pair| pair[0] >= pair[1]), "{sizes:?}");
    }
}
