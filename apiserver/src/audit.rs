//! The audit log: who asked for what, and what became of it, as JSON lines of `audit.k8s.io/v1` Events at level
//! Metadata: no body of a request or an answer is ever in it, so no secret and no token.
//!
//! Each request has one line, at stage ResponseComplete; a watch has another one when it begins (ResponseStarted). The
//! line is in the file before the answer goes out.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::User;

/// Where the lines go.
pub struct Audit {
    file: Mutex<File>,
}

impl Audit {
    /// Appends to the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self {
            file: Mutex::new(options.open(path)?),
        })
    }

    /// Writes one event.
    pub(crate) fn write(&self, event: &Value) {
        let line = format!("{event}\n");
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(e) = file.write_all(line.as_bytes()) {
            tracing::error!(error = %e, "audit log");
        }
    }
}

/// What is known of a request when it arrives.
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) uri: String,
    pub(crate) verb: String,
    pub(crate) user: std::sync::Arc<User>,
    pub(crate) impersonated: Option<User>,
    pub(crate) sources: Vec<String>,
    pub(crate) agent: String,
    /// What it is about; `None`: a path that is no resource.
    pub(crate) object: Option<Value>,
    pub(crate) received: Timestamp,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A watch begins.
    Started,
    /// The answer is complete.
    Complete,
}

/// RFC 3339 with microseconds (`metav1.MicroTime`).
fn micro(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn user(u: &User) -> Value {
    let mut v = json!({"username": u.name});
    if !u.uid.is_empty() {
        v["uid"] = json!(u.uid);
    }
    if !u.groups.is_empty() {
        v["groups"] = json!(u.groups);
    }
    if !u.extra.is_empty() {
        v["extra"] = json!(u.extra);
    }
    v
}

/// Addresses that the headers of proxies name, nearest to the client first (`utilnet.SourceIPs`).
pub(crate) fn sources(headers: &HeaderMap) -> Vec<String> {
    let list = |name: &str| {
        let value = headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let parts = value.split(',').map(str::trim);
        parts
            .filter(|p| p.parse::<std::net::IpAddr>().is_ok())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut all = list("x-forwarded-for");
    if all.is_empty() {
        all = list("x-real-ip");
    }
    all
}

/// `User-Agent`.
pub(crate) fn agent(headers: &HeaderMap) -> String {
    let value = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok());
    value.unwrap_or_default().to_owned()
}

impl Request {
    /// The event of `stage`; `why` is the message of an answer that is a refusal, with its reason.
    pub(crate) fn event(
        &self,
        stage: Stage,
        code: u16,
        why: Option<(&str, &str)>,
        annotations: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Value {
        let mut v = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": self.id,
            "stage": match stage { Stage::Started => "ResponseStarted", Stage::Complete => "ResponseComplete" },
            "requestURI": self.uri, "verb": self.verb, "user": user(&self.user)});
        if let Some(u) = &self.impersonated {
            v["impersonatedUser"] = user(u);
        }
        if !self.sources.is_empty() {
            v["sourceIPs"] = json!(self.sources);
        }
        if !self.agent.is_empty() {
            v["userAgent"] = json!(self.agent);
        }
        if let Some(o) = &self.object {
            v["objectRef"] = o.clone();
        }
        v["responseStatus"] = json!({"metadata": {}, "code": code});
        if let Some((reason, message)) = why {
            v["responseStatus"]["status"] = json!("Failure");
            v["responseStatus"]["message"] = json!(message);
            if !reason.is_empty() {
                v["responseStatus"]["reason"] = json!(reason);
            }
        }
        v["requestReceivedTimestamp"] = json!(micro(self.received));
        v["stageTimestamp"] = json!(micro(now));
        if !annotations.is_empty() {
            v["annotations"] = json!(annotations);
        }
        v
    }
}
