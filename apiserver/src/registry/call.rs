//! Who asks, and how.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::webhook::Hooks;

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
    pub user: Arc<User>,
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
    /// What admission notes for the audit log.
    pub annotations: BTreeMap<String, String>,
    /// What webhooks said; `None`: they are not asked (what the server itself does to its store).
    pub hooks: Option<Hooks>,
}

impl Call {
    /// A call of the cluster's own parts.
    #[must_use]
    pub fn internal(manager: &str) -> Self {
        Self {
            user: Arc::new(User::new(format!("system:{manager}"), ["system:masters"])),
            manager: manager.to_owned(),
            dry_run: false,
            validation: None,
            duplicates: Vec::new(),
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
            hooks: None,
        }
    }

    /// Who asks and how, without what came of it so far.
    pub(super) fn circumstances(&self) -> Self {
        Self {
            user: self.user.clone(),
            manager: self.manager.clone(),
            dry_run: self.dry_run,
            validation: self.validation,
            duplicates: Vec::new(),
            warnings: Vec::new(),
            annotations: BTreeMap::new(),
            hooks: None,
        }
    }

    /// Something that is drawn at random: the same each time the operation is run.
    pub(super) fn once<T>(&mut self, what: &'static str, draw: impl FnOnce() -> T) -> T
    where
        T: Serialize + DeserializeOwned,
    {
        let Some(hooks) = &mut self.hooks else { return draw() };
        if let Some(v) = hooks.drawn(what) {
            return v;
        }
        let v = draw();
        hooks.keep_drawn(what, &v);
        v
    }

    /// The options of a request as admission sees them (`CreateOptions` and its kin).
    pub(super) fn options(&self, operation: &str) -> Value {
        let kind = match operation {
            "CREATE" => "CreateOptions",
            "DELETE" => "DeleteOptions",
            _ => "UpdateOptions",
        };
        let mut v = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if self.dry_run {
            v["dryRun"] = json!(["All"]);
        }
        if operation != "DELETE" {
            v["fieldManager"] = json!(self.manager);
            match self.validation {
                Some(FieldValidation::Strict) => v["fieldValidation"] = json!("Strict"),
                Some(FieldValidation::Ignore) => v["fieldValidation"] = json!("Ignore"),
                Some(FieldValidation::Warn) | None => {}
            }
        }
        v
    }
}
