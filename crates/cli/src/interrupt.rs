//! Ctrl-C. Where work polls (encoding, writing) the first one asks it to stop, so that it can say how far it came;
//! anywhere else, and the second time, the process ends at once. Either way the exit code is 130 and no half-written
//! file stays behind.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};

/// The exit code of a process that Ctrl-C ended: 128 + SIGINT.
pub(crate) const EXIT_CODE: u8 = 130;

/// Set by Ctrl-C, never reset.
static REQUESTED: AtomicBool = AtomicBool::new(false);
/// How many [`Polling`] are alive.
static POLLING: AtomicUsize = AtomicUsize::new(0);
/// Unfinished files, removed before the process ends at once.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes over Ctrl-C for the rest of the process.
pub(crate) fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        let again = REQUESTED.swap(true, Ordering::SeqCst);
        if again || POLLING.load(Ordering::SeqCst) == 0 {
            for path in unfinished().drain(..) {
                let _ = std::fs::remove_file(path);
            }
            std::process::exit(i32::from(EXIT_CODE));
        }
    })
    .context("Ctrl-C cannot be handled")
}

/// True once Ctrl-C was pressed, for those who poll it themselves.
pub(crate) fn flag() -> &'static AtomicBool {
    &REQUESTED
}

/// An error if Ctrl-C was pressed.
pub(crate) fn check() -> Result<(), Interrupted> {
    if REQUESTED.load(Ordering::SeqCst) { Err(Interrupted::BEFORE_WRITING) } else { Ok(()) }
}

/// While this lives, the code that holds it asks [`check`] or [`flag`] often, and Ctrl-C leaves the ending to it.
pub(crate) struct Polling(());

/// From here on the caller polls.
pub(crate) fn polling() -> Polling {
    POLLING.fetch_add(1, Ordering::SeqCst);
    Polling(())
}

impl Drop for Polling {
    fn drop(&mut self) {
        POLLING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Work that stopped because of Ctrl-C, and what is left of it.
#[derive(Debug)]
pub(crate) struct Interrupted(pub(crate) &'static str);

impl Interrupted {
    /// While computing or writing a file that has no name yet.
    pub(crate) const BEFORE_WRITING: Self = Self("interrupted; nothing was written");
}

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Interrupted {}

/// Remembers a file that must not outlive an interrupted process.
pub(crate) fn remove_if_interrupted(path: &Path) {
    unfinished().push(path.to_owned());
}

/// Runs the step that gives the file its final name. Ctrl-C waits for it, so it either happens whole or not at all.
pub(crate) fn finishing<T, E>(path: &Path, step: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let mut paths = unfinished();
    let result = step();
    if result.is_ok() {
        paths.retain(|unfinished| unfinished != path);
    }
    result
}

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}
