//! Adaptation methods as data: one file per method, and the registry that lists them.
//!
//! Place in the data flow: the trainer asks [`find`] for the method that a project names and lets it turn
//! settings and layer shapes into a [`Plan`]: slots per linear layer, and which of the model's own weights
//! become trained. The registry also feeds the gallery, the forms, the documentation page and the contract
//! tests, so that adding a method is one file here and one word in the list below.

pub mod common;
pub mod error;
pub mod method;
pub mod page;
pub mod patterns;
pub mod points;
pub mod price;
pub mod rates;
pub mod settings;
pub mod targets;

pub use error::MethodError;
pub use method::{Imitation, Method, ModelDims, OwnDims, Plan, Promote, Selector, SiteDims};
use temper_protocol::MethodCard;

/// Declares one module per name and the registry of their `METHOD`s, in this order.
macro_rules! methods {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        const REGISTRY: &[&dyn Method] = &[$($name::METHOD),*];

        /// Names of the method modules, in registry order.
        pub const MODULES: &[&str] = &[$(stringify!($name)),*];

        /// Text of the method modules, in registry order.
        const SOURCES: &[&str] = &[$(include_str!(concat!(stringify!($name), ".rs"))),*];
    };
}

// `cargo fmt` does not follow modules that a macro declares: format method files by name.
methods![
    lora,
    lq_lora,
    int2_1,
    eora,
    dora,
    pissa,
    olora,
    vera,
    ia3,
    bitfit,
    ln,
    loha,
    lokr,
    miss,
    bat,
    paca,
    hydra,
    nola,
    loldu,
    comp_lora,
    sora,
    lora_pro,
    adalora,
    increlora,
    lamda,
    lamda_pp,
    eva,
    corda,
    soka,
    diffora,
    flora,
    tlora,
    mola,
    lt_sft,
    sara,
    adapter,
    par_adapter,
    prefix,
    prompt,
    mam,
    inv_adapter,
    p_adapter,
    pyra,
    das,
    mtlora,
    polyhistor,
    pela,
    sketchtune,
    full
];

/// Every method, in gallery order.
#[must_use]
pub fn registry() -> &'static [&'static dyn Method] {
    REGISTRY
}

/// How a method describes itself to the window and on the command line, with its usual learning rate.
#[must_use]
pub fn card(method: &dyn Method) -> MethodCard {
    let declared = method.declared();
    MethodCard {
        lr_peak: rates::lr_peak(declared, ""),
        page: page::page(method),
        protects_knowledge: method.protects_knowledge(),
        ..declared.card()
    }
}

/// The method called `id`.
///
/// # Errors
/// [`MethodError::Unknown`] with the nearest id.
pub fn find(id: &str) -> Result<&'static dyn Method, MethodError> {
    let ids = || REGISTRY.iter().map(|method| method.declared().id);
    REGISTRY.iter().copied().find(|method| method.declared().id == id).ok_or_else(|| MethodError::Unknown {
        id: id.to_owned(),
        nearest: error::nearest(id, ids()).map(str::to_owned),
        known: ids().collect::<Vec<_>>().join(", "),
    })
}

/// Name of the module that holds the method called `id`: `lamda++` is in `lamda_pp`, `lora-fa` in `lora_fa`.
#[must_use]
pub fn module_name(id: &str) -> String {
    let mut name = String::with_capacity(id.len() + 1);
    let mut after_plus = false;
    for character in id.chars() {
        match character {
            '+' => name.push_str(if after_plus { "p" } else { "_p" }),
            '-' | '.' | ' ' => name.push('_'),
            other => name.extend(other.to_lowercase()),
        }
        after_plus = character == '+';
    }
    name
}
