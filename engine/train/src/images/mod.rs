//! Training of classifiers of images.
//!
//! Place in the data flow: images of `temper-data`, a `temper-models` vision model and a method of `temper-methods` in,
//! a trained model out. [`driver`] runs a micro-step stage by stage as [`crate::driver`] does for texts, [`mod@fit`] is the
//! loop over steps with the schedule, the optimiser and the hooks of every training here, [`mod@attach`] puts a method on
//! a model.

pub mod attach;
pub mod driver;
pub mod fit;
pub mod skipping;

pub use attach::{Attached, attach};
pub use driver::{ImageDriver, Pictures};
pub use fit::{Accuracy, Fitted, Images, Imitated, evaluate, fit};
pub use skipping::{SearchPoint, Skipping};
