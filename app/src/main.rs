//! The program: the window, the command line and the engine process in one binary.
//!
//! Place in the data flow: `temper` without a command opens the window (which starts `temper engine` as
//! its child); every other command builds one protocol command and hands it to an engine in this process.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
