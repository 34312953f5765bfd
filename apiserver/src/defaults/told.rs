//! Warnings as they are gathered: each once, and no more of them than a client is told (`registry::warning_headers`).

/// Characters that count of one warning, and those after which nothing more is told (`truncateItemRunes` and
/// `truncateAtTotalRunes` of `apiserver/pkg/endpoints/filters/warning.go`).
pub(crate) const MOST_OF_ONE: usize = 256;
pub(crate) const MOST: usize = 4 * 1024;

/// What is told of a write.
#[derive(Debug, Default)]
pub(super) struct Told {
    all: Vec<String>,
    characters: usize,
}

impl Told {
    /// Whether more would not be told.
    pub(super) fn is_full(&self) -> bool {
        self.characters > MOST
    }

    pub(super) fn push(&mut self, text: String) {
        // There are never more than fill a few kilobytes.
        if !self.is_full() && !self.all.contains(&text) {
            self.characters += text.chars().take(MOST_OF_ONE).count();
            self.all.push(text);
        }
    }

    pub(super) fn all(self) -> Vec<String> {
        self.all
    }
}
