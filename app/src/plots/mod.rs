//! Instruments: curves over steps, heat maps, bars. They draw what a snapshot holds and copy none of it.

pub mod chart;
pub mod heat;
pub mod labels;
mod lines;
pub mod retained;
pub mod svg;
pub mod threads;
pub mod ticks;

pub use chart::{Chart, Curve, Shown};
pub use threads::Thread;
