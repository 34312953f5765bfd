//! Events of core/v1, as a recorder makes them (`client-go/tools/record`, `makeEvent`).

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{Object, stamp};

/// What is told of an object.
pub(crate) struct Event<'a> {
    pub(crate) about: &'a Value,
    /// Its kind.
    pub(crate) kind: &'a str,
    /// The part of it that is meant, where it is not all of it.
    pub(crate) field_path: Option<String>,
    /// Who tells it, and on which host; empty where that says nothing.
    pub(crate) component: &'a str,
    pub(crate) host: &'a str,
    pub(crate) warning: bool,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

impl Event<'_> {
    /// The namespace it is in: that of the object, or `default`.
    pub(crate) fn namespace(&self) -> &str {
        match self.about.namespace() {
            "" => "default",
            ns => ns,
        }
    }

    /// The object, told once.
    pub(crate) fn object(&self, name: &str, now: Timestamp) -> Value {
        let (about, time) = (self.about, stamp(now));
        let api_version = match about.text("/apiVersion") {
            "" => "v1",
            v => v,
        };
        let mut involved = json!({"apiVersion": api_version, "kind": self.kind, "name": about.name(),
            "namespace": about.namespace(), "uid": about.uid(), "resourceVersion": about.text("/metadata/resourceVersion")});
        if let Some(path) = &self.field_path {
            involved["fieldPath"] = json!(path);
        }
        let mut source = json!({"component": self.component});
        if !self.host.is_empty() {
            source["host"] = json!(self.host);
        }
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": self.namespace()},
            "involvedObject": involved, "type": if self.warning { "Warning" } else { "Normal" },
            "reason": self.reason, "message": self.message, "source": source,
            "firstTimestamp": time, "lastTimestamp": time, "count": 1,
            "reportingComponent": self.component, "reportingInstance": self.host, "eventTime": null})
    }
}
