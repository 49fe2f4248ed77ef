//! What the host says when it cannot take a request.
//!
//! Place in the data flow: built where a request is taken or a thread started, said as the one last event of the request.

use temper_protocol::{Code, Problem};

pub(crate) fn no_thread(error: &std::io::Error, name: &str) -> Problem {
    let what = format!("the engine's thread cannot be started: {error}");
    Problem::new(Code::OutOfMemory, what, name, "close other programs and try again")
}

pub(crate) fn busy() -> Problem {
    Problem::new(
        Code::Busy,
        "the engine is busy and its queue is full",
        "engine",
        "wait for what is running, or stop it",
    )
}

pub(crate) fn no_such_run(run: u64) -> Problem {
    Problem::new(
        Code::NotFound,
        format!("run {run} does not wait or go on in this engine"),
        format!("run {run}"),
        "look at its status in the list of runs; an interrupted run can be resumed",
    )
}
