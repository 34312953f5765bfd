//! Label and field selectors.

mod field;
mod label;
mod label_text;

pub use field::FieldSelector;
pub use label::{LabelSelector, Operator, Requirement};

/// Why a selector could not be understood; `Display` is Kubernetes' text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// The selector's text or object is malformed: HTTP 400.
    #[error("{0}")]
    Malformed(String),
    /// A field that this kind does not select by: HTTP 400.
    #[error("field label not supported: {0}")]
    NotSupported(String),
}
