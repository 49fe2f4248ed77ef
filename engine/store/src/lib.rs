//! The run store: one SQLite database per project, and the lock that keeps two engines apart.
//!
//! Place in the data flow: the engine's host writes through [`Store`] (events come in one by one and go
//! to disk in batches), the window and the command line read through [`Reader`] on a connection of their
//! own, and a window that re-attached to a running engine steers it with [`push_command`]. Exporters
//! write what a [`Reader`] sees as JSON lines, CSV or TensorBoard event files.
//!
//! Points of a series live in blocks with a pyramid of minima and maxima above them (see [`Reader::points`]),
//! so that a plot of any width costs about the same to read, whatever the length of the run.
//!
//! Nothing that a resume needs is only here: a damaged database can be set aside, what is readable of it goes into
//! a new one ([`Store::repair`]), and runs go on from their folders.

mod block;
mod commands;
mod csv_export;
mod database;
mod error;
mod jsonl_export;
mod links;
mod lock;
mod migrate;
mod pyramid;
mod reader;
mod relocate;
mod route;
mod rows;
mod salvage;
mod series;
mod store;
mod tensorboard;

pub use commands::push_command;
pub use csv_export::{export_csv_long, export_csv_wide};
pub use database::DB_NAME;
pub use error::StoreError;
pub use jsonl_export::export_jsonl;
pub use lock::{LOCK_NAME, ProjectLock};
pub use reader::Reader;
pub use relocate::{duplicate, relocate};
pub use rows::{
    ACTIVE_STATUSES, FileRow, INTERRUPTED, MEMORY_LOW, NewRun, Point, RankRow, RunRow, RunUpdate, SeriesMeta,
    StoredEvent,
};
pub use store::{Repair, Store};
pub use tensorboard::export_tensorboard;
