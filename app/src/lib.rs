//! Temper's window: a desktop studio for model adaptation.
//!
//! Place in the data flow: the window builds [`temper_protocol::Command`]s, an engine in a process of its
//! own answers with events, and everything about runs is read from the project's store. This library has
//! no tensors and no engine in it; the program `temper` joins both.
//!
//! Entry point: [`window::run`].

#[macro_use]
pub mod texts;

pub mod app;
pub mod client;
pub mod commands;
pub mod desktop;
pub mod dialogs;
pub mod files;
pub mod format;
pub mod glossary;
pub mod herald;
pub mod instance;
pub mod overlays;
pub mod plots;
pub mod probe;
pub mod reader;
pub mod report;
pub mod rooms;
pub mod screen;
pub mod shutdown;
pub mod state;
pub mod testing;
pub mod theme;
pub mod typed;
pub mod update;
pub mod widgets;
pub mod window;
