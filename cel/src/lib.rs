//! The Common Expression Language as Kubernetes and Open Cluster Management speak it: rules of
//! CustomResourceDefinitions, admission policies, match conditions, selectors of clusters. Parsed once, evaluated many times; an evaluation has a budget of steps, so that no expression can
//! hold a write up.
//!
//! Written after the language definition (github.com/google/cel-spec) and the list of Kubernetes' additions
//! (kubernetes.io/docs/reference/using-api/cel). Evaluation goes by the types of the
//! values met; what upstream refuses when it type-checks, [`check`] refuses in the same words. Names nobody declared are
//! refused by both.

pub mod address;
mod antlr;
mod check;
pub mod cost;
mod email;
mod eval;
mod format;
mod formats;
mod functions;
pub mod go;
mod lex;
mod list;
mod memo;
mod methods;
mod moment;
pub mod names;
mod numbers;
mod parse;
pub mod pattern;
pub mod quantity;
mod room;
mod semver;
mod source;
pub mod strconv;
pub mod strfmt;
#[cfg(test)]
mod tests;
pub mod time;
mod tree;
mod types;
mod url;
mod value;
mod work;

use std::collections::BTreeMap;

pub use check::{Environment, Expression, check};
pub use list::{List, ListKind};
pub use memo::Memo;
pub use moment::{Moment, MomentError};
pub use semver::Version;
pub use types::{ObjectType, Type};
pub use url::Url;
pub use value::{Key, Value};

/// Words that are no names in expressions (the language definition's keywords, literals and reserved words).
pub const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Why an expression is none, or has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CelError {
    /// It cannot be read: where (a byte's place) and why.
    #[error("compilation failed: {}", source::told(source_text, *at, detail))]
    Syntax {
        /// Place of the first byte that does not fit.
        at: usize,
        /// What does not fit.
        detail: String,
        /// The expression.
        source_text: String,
    },
    /// It names something that is not declared.
    #[error("compilation failed: ERROR: <input>:1:1: undeclared reference to '{0}' (in container '')\n | {1}\n | ^")]
    Undeclared(String, String),
    /// Its types do not fit: all that is wrong, as it is told.
    #[error("compilation failed: {0}")]
    Types(String),
    /// What it has of constants has no value.
    #[error("program instantiation failed: {0}")]
    Constant(String),
    /// It has no value for what it was given.
    #[error("{0}")]
    Evaluation(String),
}

impl CelError {
    /// An error of an evaluation.
    pub fn evaluation(text: impl Into<String>) -> Self {
        Self::Evaluation(text.into())
    }
}

/// What the names of an expression stand for.
pub type Scope = BTreeMap<String, Value>;

/// Methods that values have here and not everywhere: a method's name, the value, its arguments. `None`: no such method.
pub type Methods<'a> = dyn Fn(&str, &Value, &[Value]) -> Option<Result<Value, CelError>> + 'a;

/// An expression that was read.
#[derive(Debug, Clone)]
pub struct Program {
    root: parse::Expr,
    text: String,
}

/// Steps one evaluation may take (upstream counts costs: 10,000,000 per expression; a step here is about ten there).
const BUDGET: u64 = 1_000_000;

impl Program {
    /// Reads `text`, which was checked before.
    ///
    /// # Errors
    /// [`CelError::Syntax`].
    pub fn read(text: &str) -> Result<Self, CelError> {
        let text = text.to_owned();
        let root = parse::parse(&text)?;
        Ok(Self { root, text })
    }

    /// Reads `text`, whose free names must be among `declared`.
    ///
    /// # Errors
    /// [`CelError::Syntax`], [`CelError::Undeclared`].
    pub fn compile(text: &str, declared: &[&str]) -> Result<Self, CelError> {
        Self::compile_with(text, declared, &[])
    }

    /// As [`Program::compile`], where values also have `methods`: see [`Program::evaluate_with`].
    ///
    /// # Errors
    /// As [`Program::compile`].
    pub fn compile_with(text: &str, declared: &[&str], methods: &[&str]) -> Result<Self, CelError> {
        let root = parse::parse(text)?;
        let mut bound: Vec<String> = declared.iter().map(|s| (*s).to_owned()).collect();
        match root.undeclared(&mut bound, methods) {
            Some(name) => Err(CelError::Undeclared(name, text.to_owned())),
            None => Ok(Self {
                root,
                text: text.to_owned(),
            }),
        }
    }

    /// Whether it names something of this name.
    #[must_use]
    pub fn mentions(&self, name: &str) -> bool {
        self.root.mentions(name)
    }

    /// The text it was read from.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value.
    ///
    /// # Errors
    /// [`CelError::Evaluation`]: a missing key, operands that do not fit, a division by zero, too many steps.
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, CelError> {
        self.evaluate_with(scope, &|_, _, _| None)
    }

    /// Its value, where values also have these methods, which come before the language's own.
    ///
    /// # Errors
    /// As [`Program::evaluate`], and what a method says.
    pub fn evaluate_with(&self, scope: &Scope, methods: &Methods<'_>) -> Result<Value, CelError> {
        eval::Evaluation::new(scope, methods, BUDGET).value(&self.root)
    }

    /// Its value as a truth value.
    ///
    /// # Errors
    /// As [`Program::evaluate`], and when it is something else.
    pub fn holds(&self, scope: &Scope) -> Result<bool, CelError> {
        match self.evaluate(scope)? {
            Value::Bool(b) => Ok(b),
            v => Err(CelError::evaluation(format!("expected bool, got {}", v.type_name()))),
        }
    }
}
