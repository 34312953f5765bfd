//! What somebody who is attached to a container has of it: what it writes, and its standard input.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

/// Pieces that somebody who is attached may be behind.
pub(crate) const BEHIND: usize = 1024;
/// Bytes that they may be, whatever the pieces are: a piece may be as large as what is written at once.
const BYTES_BEHIND: usize = 1 << 20;
/// Pieces of input that may wait for the container to read them.
const UNREAD: usize = 64;

/// Why nothing more comes of what a container writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The container has ended.
    Exited,
    /// It was not read for too long, and pieces of it are lost.
    Behind,
    /// The host is gone.
    Lost,
}

/// What a container writes from now on.
#[derive(Debug)]
pub struct Output {
    said: mpsc::Receiver<Vec<u8>>,
    ending: Arc<OnceLock<Ending>>,
    /// Bytes that are said and not read.
    behind: Arc<AtomicUsize>,
}

impl Output {
    /// The next piece; `None`: there are no more, see [`Output::ending`]. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Vec<u8>> {
        let piece = self.said.recv().await?;
        self.behind.fetch_sub(piece.len(), Ordering::Relaxed);
        Some(piece)
    }

    /// Why there are no more.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending.get().copied().unwrap_or(Ending::Lost)
    }
}

/// Who writes what an [`Output`] reads.
#[derive(Debug)]
pub(crate) struct Follower {
    tell: mpsc::Sender<Vec<u8>>,
    ending: Arc<OnceLock<Ending>>,
    behind: Arc<AtomicUsize>,
}

impl Follower {
    pub(crate) fn new() -> (Self, Output) {
        let (tell, said) = mpsc::channel(BEHIND);
        let (ending, behind) = (Arc::default(), Arc::default());
        let follower = Self {
            tell,
            ending: Arc::clone(&ending),
            behind: Arc::clone(&behind),
        };
        (follower, Output { said, ending, behind })
    }

    /// Hands a piece on; false: the other end takes no more.
    pub(crate) fn tell(&self, bytes: &[u8]) -> bool {
        // A piece that is larger than that alone is taken by who has read all before it.
        let behind = self.behind.fetch_add(bytes.len(), Ordering::Relaxed);
        let room = behind == 0 || behind + bytes.len() <= BYTES_BEHIND;
        let told = room && self.tell.try_send(bytes.to_vec()).is_ok();
        if !told {
            self.end(Ending::Behind);
        }
        told
    }

    /// Says why there is no more; the first reason counts.
    pub(crate) fn end(&self, why: Ending) {
        let _ = self.ending.set(why);
    }
}

/// The way to a container's standard input; dropping the last one is its end.
#[derive(Debug, Clone)]
pub struct Input {
    tell: mpsc::Sender<Vec<u8>>,
    /// Whether the input ends with what this client sends (`stdinOnce`, without a terminal). Else a client that has no more
    /// to say is done with the container, too.
    pub once: bool,
}

impl Input {
    pub(crate) fn new(once: bool) -> (Self, mpsc::Receiver<Vec<u8>>) {
        let (tell, told) = mpsc::channel(UNREAD);
        (Self { tell, once }, told)
    }

    /// Hands bytes on, once there is room; false: nobody reads any more.
    pub async fn send(&self, bytes: Vec<u8>) -> bool {
        self.tell.send(bytes).await.is_ok()
    }
}

/// A container that somebody is attached to.
#[derive(Debug)]
pub struct Attached {
    /// What it writes.
    pub output: Output,
    /// Its standard input, where it is asked for and open.
    pub input: Option<Input>,
}
