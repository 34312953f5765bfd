//! Who asks, and how.

use std::collections::BTreeMap;

/// An authenticated user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Opaque identity, empty: none.
    pub uid: String,
    /// Further attributes.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// A user from name and groups.
    pub fn new(name: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            name: name.into(),
            groups: groups.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// What becomes of fields the schema does not know (query parameter `fieldValidation`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// They are dropped silently.
    Ignore,
    /// They are dropped with a warning.
    #[default]
    Warn,
    /// The request is refused.
    Strict,
}

/// One request's circumstances.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who asks.
    pub user: User,
    /// Name of the field manager.
    pub manager: String,
    /// `dryRun=All`: everything but the write.
    pub dry_run: bool,
    /// What becomes of unknown fields; `None`: they are not looked for (callers in process).
    pub validation: Option<FieldValidation>,
    /// Fields that the body has twice: `duplicate field "spec.replicas"`.
    pub duplicates: Vec<String>,
    /// Warnings to tell the client.
    pub warnings: Vec<String>,
}

impl Call {
    /// A call of the cluster's own parts.
    #[must_use]
    pub fn internal(manager: &str) -> Self {
        Self {
            user: User::new(format!("system:{manager}"), ["system:masters"]),
            manager: manager.to_owned(),
            dry_run: false,
            validation: None,
            duplicates: Vec::new(),
            warnings: Vec::new(),
        }
    }
}
