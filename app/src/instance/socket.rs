//! Hands over by a local socket.
//!
//! Place in the data flow: a start writes one line and waits for one word; the window's thread reads the line, puts it into
//! the door and answers. The socket lies in a folder that only its owner may enter, so only their programs can connect.

use super::{Door, Handed, Place};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The word for what was taken.
const TAKEN: &str = "taken";
/// The word for what was understood while the window takes nothing.
const BUSY: &str = "busy";
/// The word for what was not understood.
const REFUSED: &str = "refused";

/// How long one end waits for a piece of what the other says.
const WAIT: Duration = Duration::from_secs(2);

/// A thread that listens until this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    path: PathBuf,
    stop: Arc<AtomicBool>,
}

/// Listens at `place` and puts what comes into `door`. Only for the holder of the lock: what lies there was left behind.
///
/// # Errors
/// When the socket cannot be made, or the system gives no thread.
pub(super) fn listen(place: &Place, door: Door) -> io::Result<Listener> {
    let path = place.socket();
    match std::fs::remove_file(&path) {
        Ok(()) => tracing::debug!("a socket of a program that is gone was removed"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let socket = UnixListener::bind(&path)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    std::thread::Builder::new().name("door".to_owned()).spawn(move || {
        for stream in socket.incoming() {
            if stopped.load(Ordering::Relaxed) {
                return;
            }
            match stream.and_then(|stream| hear(&stream, &door)) {
                Ok(()) => {}
                Err(error) if is_of_one_start(&error) => {
                    tracing::warn!("a message of another start is ignored: {error}")
                }
                Err(error) => {
                    tracing::warn!("no other start can hand files to this window any more: {error}");
                    return;
                }
            }
        }
    })?;
    Ok(Listener { path, stop })
}

/// Whether an error is about one start and not about the socket.
fn is_of_one_start(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::InvalidData
            | Kind::UnexpectedEof
            | Kind::WouldBlock
            | Kind::TimedOut
            | Kind::BrokenPipe
            | Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::NotConnected
            | Kind::Interrupted
    )
}

/// Takes the message of one start.
fn hear(mut stream: &UnixStream, door: &Door) -> io::Result<()> {
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    let heard = Handed::read(stream);
    let answer = match &heard {
        Ok(handed) if door.put(handed.clone()) => TAKEN,
        Ok(_) => BUSY,
        Err(_) => REFUSED,
    };
    let answered = stream.write_all(answer.as_bytes());
    heard?;
    answered
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread, which waits for the next start.
        drop(UnixStream::connect(&self.path));
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!("the socket stays behind: {error}");
        }
    }
}

/// Says `handed` to whoever listens at `place`. `false` when nobody does.
///
/// # Errors
/// When somebody listens and does not take it.
pub(super) fn send(place: &Place, handed: &Handed) -> io::Result<bool> {
    let line = handed.line()?;
    let mut stream = match UnixStream::connect(place.socket()) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    stream.write_all(line.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.take(64).read_to_string(&mut answer)?;
    if answer == TAKEN {
        Ok(true)
    } else {
        let why = format!("the window that is open answered \"{answer}\"");
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a window answers to a line; empty when it closes without a word.
    fn answer(place: &Place, line: &[u8]) -> String {
        let mut stream = UnixStream::connect(place.socket()).expect("somebody listens");
        stream.write_all(line).expect("said");
        stream.shutdown(Shutdown::Write).expect("said all");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    #[test]
    fn nonsense_is_refused_and_the_next_message_is_taken() {
        let root = tempfile::tempdir().expect("temporary folder");
        let place = Place::new(root.path().join("window"), "test");
        place.prepare().expect("folder");
        let door = Door::default();
        let listener = listen(&place, door.clone()).expect("a listener");
        for line in
            [&b""[..], b"\xff\xfe\n", b"{\"temper\": 9, \"paths\": []}\n", b"{\"temper\": 1, \"paths\": [\"a\"]}\n"]
        {
            assert_eq!(answer(&place, line), REFUSED, "{}", line.escape_ascii());
        }
        assert_eq!(door.take(), None);
        assert!(send(&place, &Handed::new(vec![PathBuf::from("/a/b")])).expect("taken"));
        assert_eq!(door.take(), Some(Handed::new(vec![PathBuf::from("/a/b")])));
        drop(listener);
        assert!(!place.socket().exists());
        assert!(!send(&place, &Handed::default()).expect("nobody listens"), "nobody listens any more");
    }

    #[test]
    fn a_window_that_takes_nothing_any_more_says_so() {
        let root = tempfile::tempdir().expect("temporary folder");
        let place = Place::new(root.path().join("window"), "test");
        place.prepare().expect("folder");
        let door = Door::default();
        while door.put(Handed::default()) {}
        let _listener = listen(&place, door).expect("a listener");
        let refused = send(&place, &Handed::default()).expect_err("it is busy");
        assert!(refused.to_string().contains(BUSY), "{refused}");
    }
}
