//! What methods train on a model, counted from its shapes before anything is loaded, and what their results hold.

use serde::{Deserialize, Serialize};

/// What a method trains on a model, and how much its adapter files hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodPrice {
    /// Method id.
    pub method: String,
    /// Numbers that are trained.
    pub trained_parameters: u64,
    /// Numbers in its PEFT adapter; none where it leaves as none or that is known only after the training.
    #[serde(default)]
    pub peft_parameters: Option<u64>,
    /// Numbers in its GGUF adapter, which has two factors for each layer whatever the method has; none as above.
    #[serde(default)]
    pub gguf_lora_parameters: Option<u64>,
}

/// Prices of one method or of all that can be used on a model, in the order of the registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodPrices {
    /// One a method; methods whose settings fit nothing on this model are missing.
    pub prices: Vec<MethodPrice>,
}
