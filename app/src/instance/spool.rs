//! Hands over by a folder that messages are put into: for systems whose sockets have no place in the file system that the
//! standard library knows (Windows).
//!
//! Place in the data flow: a start writes `N.hand` under another name first; the window's thread looks a few times a second,
//! claims a message by renaming it to `N.taken`, puts it into the door and removes it. Whoever waits sees it go; what nobody
//! claims is taken back by renaming it, so that exactly one of both has it.

use super::{Door, Handed, Place};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How often the window looks.
const LOOK: Duration = Duration::from_millis(200);
/// How often a start looks whether it was heard.
const ASK: Duration = Duration::from_millis(20);
/// How long it waits for that.
const WAIT: Duration = Duration::from_secs(3);

/// A thread that looks until this is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    _stop: SyncSender<()>,
}

/// Looks for messages at `place` and puts them into `door`. Only for the holder of the lock: what lies there was left
/// behind, by starts that have opened windows of their own since.
///
/// # Errors
/// When the folder cannot be made or emptied, or the system gives no thread.
pub(super) fn listen(place: &Place, door: Door) -> io::Result<Listener> {
    let folder = place.spool();
    std::fs::create_dir_all(&folder)?;
    for entry in std::fs::read_dir(&folder)? {
        std::fs::remove_file(entry?.path())?;
    }
    let (stop, stopped) = sync_channel(1);
    std::thread::Builder::new().name("door".to_owned()).spawn(move || {
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            if let Err(error) = look(&folder, &door) {
                tracing::warn!("no other start can hand files to this window any more: {error}");
                return;
            }
        }
    })?;
    Ok(Listener { _stop: stop })
}

/// Takes every message that lies in the folder, by name.
fn look(folder: &Path, door: &Door) -> io::Result<()> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "hand"));
    found.sort();
    for path in found {
        let claimed = path.with_extension("taken");
        if std::fs::rename(&path, &claimed).is_err() {
            // Its start has given up and taken it back.
            continue;
        }
        match std::fs::File::open(&claimed).and_then(Handed::read) {
            Ok(handed) => {
                if !door.put(handed) {
                    // Its start takes it back and opens a window of its own.
                    return std::fs::rename(&claimed, &path);
                }
            }
            Err(error) => tracing::warn!("a message of another start is ignored: {error}"),
        }
        std::fs::remove_file(&claimed)?;
    }
    Ok(())
}

/// Puts `handed` where the window of `place` looks, and waits until it has gone. `false` when nobody takes it.
///
/// # Errors
/// When it cannot be written.
pub(super) fn send(place: &Place, handed: &Handed) -> io::Result<bool> {
    send_within(&place.spool(), handed, WAIT)
}

fn send_within(folder: &Path, handed: &Handed, patience: Duration) -> io::Result<bool> {
    /// Tells messages of one process apart.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let line = handed.line()?;
    std::fs::create_dir_all(folder)?;
    let name = format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let (written, message) = (folder.join(format!("{name}.part")), folder.join(format!("{name}.hand")));
    std::fs::write(&written, line)?;
    std::fs::rename(&written, &message)?;
    let end = Instant::now() + patience;
    while message.exists() || message.with_extension("taken").exists() {
        if Instant::now() >= end {
            return take_back(&written, &message);
        }
        std::thread::sleep(ASK);
    }
    Ok(true)
}

/// Takes a message back that nobody claimed. `true` when somebody claims it at this moment after all.
fn take_back(written: &Path, message: &Path) -> io::Result<bool> {
    if std::fs::rename(message, written).is_err() {
        return Ok(true);
    }
    std::fs::remove_file(written)?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: &tempfile::TempDir) -> Place {
        let place = Place::new(root.path().join("window"), "test");
        place.prepare().expect("folder");
        place
    }

    fn handed(name: &str) -> Handed {
        Handed::new(vec![std::path::absolute(name).expect("a working folder")])
    }

    #[test]
    fn messages_are_taken_whole_and_nonsense_is_ignored() {
        let root = tempfile::tempdir().expect("temporary folder");
        let place = place(&root);
        let door = Door::default();
        std::fs::create_dir_all(place.spool()).expect("folder");
        std::fs::write(place.spool().join("0-0.hand"), handed("old").line().expect("a line")).expect("left behind");
        let _listener = listen(&place, door.clone()).expect("a listener");
        std::fs::write(place.spool().join("0-1.hand"), "nonsense").expect("nonsense");
        assert!(send(&place, &handed("new")).expect("written"), "somebody looks");
        assert_eq!(door.take(), Some(handed("new")), "neither what was left behind nor nonsense");
        assert_eq!(door.take(), None);
        assert_eq!(std::fs::read_dir(place.spool()).expect("folder").count(), 0, "nothing stays");
    }

    #[test]
    fn what_nobody_takes_is_taken_back() {
        let root = tempfile::tempdir().expect("temporary folder");
        let place = place(&root);
        assert!(!send_within(&place.spool(), &handed("a"), Duration::ZERO).expect("written"));
        assert_eq!(std::fs::read_dir(place.spool()).expect("folder").count(), 0);
    }

    #[test]
    fn a_window_that_takes_nothing_any_more_leaves_the_message_to_its_start() {
        let root = tempfile::tempdir().expect("temporary folder");
        let message = root.path().join("1-1.hand");
        std::fs::write(&message, handed("a").line().expect("a line")).expect("message");
        let door = Door::default();
        while door.put(Handed::default()) {}
        look(root.path(), &door).expect("a look");
        assert!(message.exists(), "it can be taken back");
        assert!(door.take().is_some());
        look(root.path(), &door).expect("a look");
        assert!(!message.exists(), "there is room again");
    }

    #[test]
    fn what_is_claimed_while_it_is_taken_back_has_arrived() {
        let root = tempfile::tempdir().expect("temporary folder");
        let folder = root.path();
        let (written, message) = (folder.join("1-1.part"), folder.join("1-1.hand"));
        assert!(take_back(&written, &message).expect("nothing to take back"));
    }
}
