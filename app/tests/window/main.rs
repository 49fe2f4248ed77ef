//! The window over a scripted engine: drop, train, pause, stop, export, errors in place, keyboard reach,
//! names for screen readers, and words that fit their places at both sizes.

mod beside;
mod cards;
mod compare;
mod compared;
mod drops;
mod exports;
mod file_types;
mod german;
mod glossary;
mod habits;
mod handed;
mod keyboard;
mod kit;
mod layout;
mod layouts;
mod lens;
mod machine;
mod machine_scenes;
mod lens_edit;
mod mapping;
mod moves;
mod queue;
mod race;
mod race_scenes;
mod reach;
mod rows;
mod runs;
mod scenes;
mod step_ask;
mod step_scenes;
mod store;
mod told;
mod watch;
