//! Names: of objects, of kinds, of what a queue holds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::GroupVersionKind;

/// Namespace (empty: cluster-wide) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::controllers) struct Key {
    pub ns: String,
    pub name: String,
}

impl Key {
    pub(in crate::controllers) fn new(ns: &str, name: &str) -> Self {
        Self {
            ns: ns.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(in crate::controllers) fn of(meta: &ObjectMeta) -> Self {
        Self {
            ns: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.ns.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.ns, self.name)
        }
    }
}

/// Group, version and kind, ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::controllers) struct Gvk {
    pub api_version: String,
    pub kind: String,
}

impl Gvk {
    pub(in crate::controllers) fn full(&self) -> GroupVersionKind {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        GroupVersionKind::gvk(group, version, &self.kind)
    }
}

/// What the detector looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::controllers) enum Detect {
    Policy(Key),
    Override(Key),
    Template(Gvk, Key),
}
