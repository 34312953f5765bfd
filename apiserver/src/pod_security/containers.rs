//! The containers of a pod, and how rules tell of them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Pod;

/// `"a", "b"`: as it stands, nothing is escaped (`joinQuote`).
pub(super) fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let all: Vec<String> = items.into_iter().map(|i| format!("\"{}\"", i.as_ref())).collect();
    all.join(", ")
}

/// One or more of something (`pluralize`).
pub(super) fn plural<'a>(one: &'a str, more: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { more }
}

/// `containers "a", "b"`.
pub(super) fn told(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// Whoever sets something: the pod, and these containers.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    let mut all = Vec::new();
    if pod {
        all.push("pod".to_owned());
    }
    if !names.is_empty() {
        all.push(told(names));
    }
    (!all.is_empty()).then(|| all.join(" and "))
}

pub(super) use crate::registry::list;

impl Pod<'_> {
    /// All containers: init containers first, ephemeral ones last (`visitContainers`).
    pub(super) fn containers(&self) -> impl Iterator<Item = &Value> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|k| list(self.spec, k))
    }

    /// Names of the containers that something is true of.
    pub(super) fn which(&self, mut is: impl FnMut(&Value) -> bool) -> Vec<&str> {
        let bad = self.containers().filter(|c| is(c));
        bad.map(|c| c["name"].as_str().unwrap_or_default()).collect()
    }

    /// Names of the containers that have something that may not be, and all of that.
    pub(super) fn with<'a, F, I>(&'a self, found: F) -> (Vec<&'a str>, BTreeSet<String>)
    where
        F: Fn(&'a Value) -> I,
        I: IntoIterator<Item = String>,
    {
        let (mut names, mut all) = (Vec::new(), BTreeSet::new());
        for c in self.containers() {
            let before = names.len();
            for what in found(c) {
                all.insert(what);
                if names.len() == before {
                    names.push(c["name"].as_str().unwrap_or_default());
                }
            }
        }
        (names, all)
    }
}
