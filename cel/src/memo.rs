//! What was made of texts that come again: compiled expressions and patterns.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values by the texts that they were made of. Who chooses the texts chooses how many there are, so that their number is
/// bounded: where there are too many, all are forgotten, for those in use are soon made again.
#[derive(Debug)]
pub struct Memo<V> {
    most: usize,
    known: Mutex<BTreeMap<String, V>>,
}

impl<V: Clone> Memo<V> {
    /// One that remembers at most so many.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            known: Mutex::new(BTreeMap::new()),
        }
    }

    /// What was made of the text before; else what is made of it now.
    ///
    /// # Errors
    /// As `make`; failures are not remembered.
    pub fn get<E>(&self, text: &str, make: impl FnOnce(&str) -> Result<V, E>) -> Result<V, E> {
        if let Some(v) = self.known().get(text) {
            return Ok(v.clone());
        }
        // Nobody waits for the lock while one is made.
        let v = make(text)?;
        let mut known = self.known();
        if known.len() >= self.most {
            known.clear();
        }
        known.insert(text.to_owned(), v.clone());
        Ok(v)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, V>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_made_once_and_no_more_are_kept_than_may_be() {
        let memo = Memo::new(2);
        let mut made = Vec::new();
        for text in ["a", "b", "a", "no", "no", "c", "c", "a"] {
            let found = memo.get(text, |t| {
                made.push(text);
                if t == "no" { Err(()) } else { Ok(t.len()) }
            });
            assert_eq!(found, if text == "no" { Err(()) } else { Ok(1) });
            assert!(memo.known().len() <= 2);
        }
        assert_eq!(made, ["a", "b", "no", "no", "c", "a"]);
    }
}
