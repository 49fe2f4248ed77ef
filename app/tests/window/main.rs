//! The window over a scripted engine: drop, train, pause, stop, export, errors in place, keyboard reach,
//! names for screen readers, and words that fit their places at both sizes.

mod beside;
mod card;
mod cards;
mod compare;
mod compared;
mod drops;
mod exports;
mod file_types;
mod german;
mod habits;
mod handed;
mod keyboard;
mod kit;
mod layout;
mod lens;
mod moves;
mod places;
mod project_scenes;
mod queue;
mod reach;
mod report;
mod rows;
mod runs;
mod scenes;
mod step_ask;
mod step_scenes;
mod store;
mod told;
mod watch;
