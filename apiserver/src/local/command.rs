//! A command that runs in a container beside its own program: what it is told, and where what it says goes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

/// Pieces of input that may wait for the command to read them.
const UNREAD: usize = 64;

/// Which of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptor {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// Takes what a command writes, as it writes it.
pub type Hear = Arc<dyn Fn(Descriptor, &[u8]) + Send + Sync>;

/// The streams of a command.
#[derive(Clone)]
pub struct Stdio {
    /// What it writes.
    pub hear: Hear,
    /// Whether it is spoken with through a terminal.
    pub terminal: bool,
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdio").field("terminal", &self.terminal).finish()
    }
}

impl Stdio {
    /// Of a command whose words nobody wants.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            hear: Arc::new(|_, _| {}),
            terminal: false,
        }
    }
}

#[cfg(test)]
pub(crate) type Heard = Arc<std::sync::Mutex<[Vec<u8>; 2]>>;

#[cfg(test)]
impl Stdio {
    /// With what has been written so far, to the output and to the error.
    pub(crate) fn heard(terminal: bool) -> (Self, Heard) {
        let heard = Heard::default();
        let hears = heard.clone();
        let hear = Arc::new(move |to, bytes: &[u8]| {
            hears.lock().unwrap()[usize::from(to == Descriptor::Err)].extend_from_slice(bytes);
        });
        (Self { hear, terminal }, heard)
    }
}

/// The way to a command's standard input and its other end; dropping the sender is its end.
#[must_use]
pub fn input() -> (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Vec<u8>>) {
    mpsc::channel(UNREAD)
}

/// A command that runs in a container, to its exit code; dropping it ends the command.
pub type Execution = Pin<Box<dyn Future<Output = i32> + Send>>;
