//! Tests of the engine: with scripted work (`runs`, `process`) and with the program's own (`commands`).

mod beneath;
mod capsule;
mod commands;
mod compare;
mod housekeep;
mod kit;
mod lens;
mod longer;
mod memory;
mod power;
mod process;
mod runs;
mod told;
mod train_on;
