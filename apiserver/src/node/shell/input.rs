//! The standard input of a command.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

/// What a command reads: what is there already, then what is typed by who is attached. Those who share it take from one
/// another, as processes with one open file do.
#[derive(Clone, Default)]
pub(crate) struct Input {
    rest: Arc<Mutex<Rest>>,
    typed: Option<Arc<tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>>>,
}

/// What has come and is not read to its end: the bytes from `at` on.
#[derive(Default)]
struct Rest {
    data: Vec<u8>,
    at: usize,
}

impl Rest {
    /// The bytes up to a line's end, without copying what is after it; else all there are.
    fn line(&mut self) -> (Vec<u8>, bool) {
        match self.data[self.at..].iter().position(|b| *b == b'\n') {
            Some(n) => {
                let line = self.data[self.at..self.at + n].to_vec();
                self.at += n + 1;
                (line, true)
            }
            None => (self.take(), false),
        }
    }

    fn take(&mut self) -> Vec<u8> {
        let Self { mut data, at } = std::mem::take(self);
        data.drain(..at);
        data
    }
}

impl Input {
    /// What is there, and no more.
    pub(crate) fn of(data: Vec<u8>) -> Self {
        Self {
            rest: Arc::new(Mutex::new(Rest { data, at: 0 })),
            typed: None,
        }
    }

    /// What is typed.
    pub(crate) fn typed(by: mpsc::Receiver<Vec<u8>>) -> Self {
        Self {
            rest: Arc::default(),
            typed: Some(Arc::new(tokio::sync::Mutex::new(by))),
        }
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next bytes, once there are any; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&self) -> Option<Vec<u8>> {
        let rest = self.rest().take();
        if !rest.is_empty() {
            return Some(rest);
        }
        match &self.typed {
            // Nothing is the end for who reads now, as a terminal has it.
            Some(typed) => typed.lock().await.recv().await.filter(|b| !b.is_empty()),
            None => None,
        }
    }

    /// Everything up to the end.
    pub(crate) async fn all(&self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(more) = self.next().await {
            all.extend(more);
        }
        all
    }

    /// The next line without its end, and whether it had one; `None` at the end.
    pub(crate) async fn line(&self) -> Option<(Vec<u8>, bool)> {
        let mut line = Vec::new();
        loop {
            let (more, ended) = self.rest().line();
            line.extend(more);
            if ended {
                return Some((line, true));
            }
            let Some(more) = self.next().await else { break };
            *self.rest() = Rest { data: more, at: 0 };
        }
        (!line.is_empty()).then_some((line, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_and_the_rest() {
        let input = Input::of(b"a\nb c\n\nd".to_vec());
        assert_eq!(input.line().await, Some((b"a".to_vec(), true)));
        assert_eq!(input.clone().line().await, Some((b"b c".to_vec(), true)));
        assert_eq!(input.line().await, Some((Vec::new(), true)));
        assert_eq!(input.line().await, Some((b"d".to_vec(), false)));
        assert_eq!(input.line().await, None);
    }

    #[tokio::test]
    async fn a_line_is_read_without_what_is_after_it() {
        let input = Input::of(b"\n".repeat(1 << 20));
        let mut lines = 0;
        while input.line().await.is_some() {
            lines += 1;
        }
        assert_eq!(lines, 1 << 20);
    }

    #[tokio::test]
    async fn what_is_typed_comes_until_who_types_goes() {
        let (tell, told) = mpsc::channel(4);
        let input = Input::typed(told);
        tell.send(b"on".to_vec()).await.unwrap();
        tell.send(b"e\ntwo".to_vec()).await.unwrap();
        assert_eq!(input.line().await, Some((b"one".to_vec(), true)));
        tell.send(b"!".to_vec()).await.unwrap();
        drop(tell);
        assert_eq!(input.all().await, b"two!");
        assert_eq!(input.next().await, None);
    }
}
