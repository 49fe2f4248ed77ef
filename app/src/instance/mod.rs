//! One window for a person and a desktop: a second start hands over what it was given and ends.
//!
//! Place in the data flow: before a window opens, the program asks [`meet`] whether there is one already. If there is, the
//! paths go to it and this program is done. If not, it becomes the host: it holds a lock, listens, and puts what comes into
//! a [`Door`], from which the window takes it as a drop (see `update/handed.rs`).
//!
//! Who holds the lock is the window. The system lets go of it when the program ends, however it ends, so that what a killed
//! program left behind is never mistaken for a window. Everything lies in a folder that only its owner may enter: a local
//! socket, or where the standard library has none (Windows) a folder that messages are put into. Nothing listens on a
//! network address.

mod door;
mod message;
mod place;
#[cfg(unix)]
mod socket;
#[cfg(any(not(unix), test))]
mod spool;

pub use door::Door;
pub use message::Handed;
pub use place::Place;

#[cfg(unix)]
use socket as carrier;
#[cfg(not(unix))]
use spool as carrier;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::time::{Duration, Instant};

/// How long a start waits for a window that holds the lock and does not listen: one that just opens, or just closes.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// What came of asking for the window that is open.
#[derive(Debug)]
pub enum Meeting {
    /// It has taken everything and comes to the front: this program is done.
    Handed,
    /// There is none: this program opens it and listens as long as this value lives.
    Host(Host),
    /// This program opens a window that nobody hands anything to.
    Alone,
}

/// The right to be the window of this person and desktop. Given back when dropped.
#[derive(Debug)]
pub struct Host {
    // Fields are dropped in this order: it stops listening while it still holds the lock.
    _listener: carrier::Listener,
    _lock: File,
    door: Door,
}

impl Host {
    /// Where what is handed over waits for the window.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door.clone()
    }
}

/// Hands `handed` to the window of `place`, or makes this program its host. With `another` nothing is handed over: a window
/// opens in any case, and hosts if nobody else does.
///
/// Whatever goes wrong only costs the hand-over: the window opens alone, and the log says why.
#[must_use]
pub fn meet(place: &Place, handed: &Handed, another: bool) -> Meeting {
    try_meet(place, handed, another, PATIENCE).unwrap_or_else(|error| {
        tracing::warn!("this window opens beside any other one: {error}");
        Meeting::Alone
    })
}

fn try_meet(place: &Place, handed: &Handed, another: bool, patience: Duration) -> io::Result<Meeting> {
    place.prepare()?;
    let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(place.lock())?;
    let end = Instant::now() + patience;
    loop {
        match lock.try_lock() {
            Ok(()) => {
                let door = Door::default();
                let listener = carrier::listen(place, door.clone())?;
                return Ok(Meeting::Host(Host { _listener: listener, _lock: lock, door }));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if another {
            return Ok(Meeting::Alone);
        }
        if carrier::send(place, handed)? {
            return Ok(Meeting::Handed);
        }
        if Instant::now() >= end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the window that is open does not listen"));
        }
        std::thread::sleep(BETWEEN_TRIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: &tempfile::TempDir) -> Place {
        Place::new(root.path().join("window"), "test")
    }

    fn handed(paths: &[&str]) -> Handed {
        let absolute = |path: &&str| std::path::absolute(path).expect("a working folder");
        Handed::new(paths.iter().map(absolute).collect())
    }

    fn host(meeting: Meeting) -> Host {
        match meeting {
            Meeting::Host(host) => host,
            other => panic!("expected to be the host, not {other:?}"),
        }
    }

    #[test]
    fn a_second_start_hands_its_paths_to_the_first_and_a_third_can_be_a_window_of_its_own() {
        let root = tempfile::tempdir().expect("temporary folder");
        let place = place(&root);
        let first = host(meet(&place, &handed(&["/a/model.gguf"]), false));
        assert!(first.door().take().is_none(), "what the host was started with it opens itself");
        let second = meet(&place, &handed(&["/a/rows 1.jsonl", "/a/ä.csv"]), false);
        assert!(matches!(second, Meeting::Handed), "{second:?}");
        assert!(matches!(meet(&place, &handed(&[]), false), Meeting::Handed), "a start without paths is one as well");
        assert!(matches!(meet(&place, &handed(&["/a/b"]), true), Meeting::Alone));
        assert_eq!(first.door().take(), Some(handed(&["/a/rows 1.jsonl", "/a/ä.csv"])));
        assert_eq!(first.door().take(), Some(handed(&[])));
        assert_eq!(first.door().take(), None, "who wants another window hands nothing over");
    }

    #[test]
    fn the_next_start_after_a_closed_or_killed_window_is_the_window() {
        let root = tempfile::tempdir().expect("temporary folder");
        let place = place(&root);
        drop(host(meet(&place, &handed(&[]), false)));
        // A killed program leaves its socket; only its lock is gone.
        place.prepare().expect("folder");
        leave_behind(&place);
        let next = host(meet(&place, &handed(&[]), false));
        assert!(matches!(meet(&place, &handed(&["/a/b"]), false), Meeting::Handed));
        assert_eq!(next.door().take(), Some(handed(&["/a/b"])));
    }

    /// What a killed host leaves: a socket that nobody listens on, a message that nobody took.
    fn leave_behind(place: &Place) {
        #[cfg(unix)]
        drop(std::os::unix::net::UnixListener::bind(place.socket()).expect("socket"));
        #[cfg(not(unix))]
        std::fs::write(place.spool().join("1-1.hand"), "{}").expect("message");
    }

    #[test]
    fn a_window_that_holds_the_lock_and_never_listens_costs_the_hand_over_and_nothing_else() {
        let root = tempfile::tempdir().expect("temporary folder");
        let place = place(&root);
        place.prepare().expect("folder");
        let lock = File::create(place.lock()).expect("lock file");
        lock.try_lock().expect("nobody else holds it");
        let error = try_meet(&place, &handed(&["/a/b"]), false, Duration::ZERO).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
