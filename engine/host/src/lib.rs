//! The engine process: queue, run control, panic barrier, and the client that drives it in process.
