//! What is wrong with a file, for the one who wrote it.

use std::fmt;

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde_saphyr::Location;

use super::nearest;
use super::source::Source;

/// One thing wrong in one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name as the user gave it.
    pub file: String,
    /// Its text, when it could be read.
    text: Option<NamedText>,
    /// Line, from 1; 0 when the problem has no place in the file.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// Where the wrong value begins, and its length, in bytes.
    span: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What was expected.
    pub expected: Option<String>,
    /// The nearest valid name.
    pub nearest: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedText(std::sync::Arc<NamedSourceText>);

#[derive(Debug, PartialEq, Eq)]
struct NamedSourceText {
    named: NamedSource<String>,
}

impl Problem {
    /// A problem at a place of `source`.
    pub fn new(source: &Source, at: Location, message: impl Into<String>) -> Self {
        let named = NamedSource::new(&source.name, source.text.to_string());
        let span = (at.line() > 0).then(|| {
            let s = at.span();
            match (s.byte_offset(), s.byte_len()) {
                (Some(o), Some(l)) => (o as usize, l as usize),
                _ => (s.offset() as usize, s.len() as usize),
            }
        });
        Self {
            file: source.name.clone(),
            text: Some(NamedText(std::sync::Arc::new(NamedSourceText { named }))),
            line: at.line(),
            column: at.column(),
            span,
            message: message.into(),
            expected: None,
            nearest: None,
        }
    }

    /// A problem of a whole file (it is not there, cannot be read ...).
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            text: None,
            line: 0,
            column: 0,
            span: None,
            message: message.into(),
            expected: None,
            nearest: None,
        }
    }

    /// Adds what was expected.
    #[must_use]
    pub fn expected(mut self, what: impl Into<String>) -> Self {
        self.expected = Some(what.into());
        self
    }

    /// Adds the valid names: what was expected, and the nearest to `wrong`.
    #[must_use]
    pub fn one_of<'a>(mut self, wrong: &str, valid: impl IntoIterator<Item = &'a str>) -> Self {
        let valid: Vec<&str> = valid.into_iter().collect();
        self.nearest = nearest(wrong, valid.iter().copied()).map(ToOwned::to_owned);
        if self.expected.is_none() {
            const SHOWN: usize = 12;
            let more = if valid.len() > SHOWN {
                format!(" or {} more", valid.len() - SHOWN)
            } else {
                String::new()
            };
            let names = valid
                .iter()
                .take(SHOWN)
                .map(|v| format!("`{v}`"))
                .collect::<Vec<_>>()
                .join(", ");
            self.expected = Some(if valid.is_empty() {
                "nothing here".into()
            } else {
                format!("one of {names}{more}")
            });
        }
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let mut said = Vec::new();
        if let Some(e) = &self.expected {
            said.push(format!("expected {e}"));
        }
        if let Some(n) = &self.nearest {
            said.push(format!("did you mean `{n}`?"));
        }
        (!said.is_empty()).then(|| Box::new(said.join("; ")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span?;
        self.text.as_ref().map(|t| &t.0.named as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (offset, len) = self.span?;
        Some(Box::new(std::iter::once(LabeledSpan::new(
            Some("here".into()),
            offset,
            len,
        ))))
    }
}

/// All that is wrong with the input, at once. The process ends with status 2.
#[derive(Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// `Ok` when there is none.
    ///
    /// # Errors
    /// Itself, when there is any.
    pub fn into_result(self) -> Result<(), Problems> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl From<Problem> for Problems {
    fn from(p: Problem) -> Self {
        Self(vec![p])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, p) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{p}")?;
            if let Some(h) = p.help() {
                write!(f, " ({h})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
