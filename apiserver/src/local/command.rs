//! A command that runs in a container beside its own program: what it reads, and where what it writes goes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

/// Which of a command's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    /// Its standard output.
    Output,
    /// Its standard error.
    Error,
}

/// Takes what a command writes, as it writes it.
pub type OnOutput = Arc<dyn Fn(Standard, &[u8]) + Send + Sync>;

/// The standard streams of a command.
pub struct Stdio {
    /// What it reads; dropping the sender is the end. `None`: nothing.
    pub stdin: Option<mpsc::Receiver<Vec<u8>>>,
    /// Takes what it writes.
    pub output: OnOutput,
    /// Whether it is spoken with through a terminal, whose screen is the standard output.
    pub tty: bool,
}

impl fmt::Debug for Stdio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdin = self.stdin.is_some();
        f.debug_struct("Stdio")
            .field("stdin", &stdin)
            .field("tty", &self.tty)
            .finish_non_exhaustive()
    }
}

impl Stdio {
    /// Of a command that reads nothing and whose words nobody wants.
    #[must_use]
    pub fn null() -> Self {
        Self {
            stdin: None,
            output: Arc::new(|_, _| {}),
            tty: false,
        }
    }
}

#[cfg(test)]
pub(crate) type Heard = Arc<std::sync::Mutex<[Vec<u8>; 2]>>;

#[cfg(test)]
impl Stdio {
    /// With what has been written so far, to the output and to the error.
    pub(crate) fn heard(stdin: Option<mpsc::Receiver<Vec<u8>>>, tty: bool) -> (Self, Heard) {
        let heard = Heard::default();
        let hears = heard.clone();
        let output = Arc::new(move |to, bytes: &[u8]| {
            hears.lock().unwrap()[usize::from(to == Standard::Error)].extend_from_slice(bytes);
        });
        (Self { stdin, output, tty }, heard)
    }
}

/// A command that runs in a container, to its exit code; dropping it ends the command.
pub type Execution = Pin<Box<dyn Future<Output = i32> + Send>>;
