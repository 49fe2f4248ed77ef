//! How the window looks: colours by role, type scale, icons, and the one function that installs them.
//!
//! Place in the data flow: panels get a [`Theme`] and name roles ([`Colours::text2`], [`Type::Body`]);
//! colour values are in `assets/theme/*.toml` and nowhere else.

pub mod icons;
pub mod install;
pub mod tokens;
pub mod types;

pub use icons::Icon;
pub use install::install;
pub use tokens::{Colours, Look, Theme};
pub use types::Type;
