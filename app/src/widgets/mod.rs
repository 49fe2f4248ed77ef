//! Small parts that every room is made of. Each has an accessible name and can be reached by keyboard.
//!
//! Panels place them in exact rectangles; nothing here decides where it goes.

pub mod bar;
pub mod button;
pub mod choice;
pub mod empty;
pub mod field;
pub mod panel;
pub mod paper;
pub mod problem;
pub mod rows;
pub mod term;
pub mod text;

pub use button::Button;
pub use rows::Rows;
