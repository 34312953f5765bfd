//! `metav1.Status` as an error: codes, reasons and texts as `k8s.io/apimachinery/pkg/api/errors` makes them, since
//! kubectl prints them and clients decide by them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::schema::quote;

/// One cause of a refusal (`metav1.StatusCause`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, `FieldManagerConflict`, ...
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// The field's path, `spec.containers[0].name`.
    pub field: String,
}

impl Cause {
    /// A cause from its parts.
    pub fn new(reason: impl Into<Cow<'static, str>>, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        }
    }

    /// `Required value: detail` at `field` (field.Required).
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        let m = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self::new("FieldValueRequired", field, m)
    }

    /// `Invalid value: "v": detail` at `field` (field.Invalid).
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new("FieldValueInvalid", field, format!("Invalid value: {value}: {detail}"))
    }

    /// `Forbidden: detail` at `field` (field.Forbidden).
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new("FieldValueForbidden", field, format!("Forbidden: {detail}"))
    }
}

/// What the request was about (`metav1.StatusDetails`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    /// Name of the object.
    pub name: String,
    /// API group.
    pub group: String,
    /// Resource (plural) or, for invalid objects, kind.
    pub kind: String,
    /// The object's uid.
    pub uid: String,
    /// Causes, in order.
    pub causes: Vec<Cause>,
    /// When to try again, in seconds; 0: not said.
    pub retry_after_seconds: u32,
}

/// A request that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// HTTP code.
    pub code: u16,
    /// `NotFound`, `Conflict`, ...
    pub reason: Cow<'static, str>,
    /// For people; kubectl prints it.
    pub message: String,
    /// What it was about.
    pub details: Option<Box<Details>>,
    /// `metadata.continue`: where a list that is forgotten may go on; empty: nowhere.
    pub more: String,
    /// Whether the answer says `X-Content-Type-Options: nosniff`, as what is refused before any handler does.
    pub(crate) unsniffed: bool,
}

/// Marks what Go's mux answers rather than an API handler.
const PAGE: &str = "PageNotFound";

impl std::error::Error for Status {}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// `resource.group`, or `resource` in the core group (schema.GroupResource.String).
#[must_use]
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

impl Status {
    /// Any failure.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            more: String::new(),
            unsniffed: false,
        }
    }

    /// The same with details.
    #[must_use]
    pub fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        let d = self.details.get_or_insert_default();
        d.group = group.to_owned();
        d.kind = kind.to_owned();
        d.name = name.to_owned();
        self
    }

    /// 404 for an object: `pods "x" not found`.
    #[must_use]
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let m = format!("{} {} not found", qualified(group, resource), quote(name));
        Self::new(404, "NotFound", m).about(group, resource, name)
    }

    /// 404 for a path that is no resource.
    #[must_use]
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").about("", "", "")
    }

    /// 404 for a path that nothing serves: plain text, no Status ([`Status::is_page`]).
    #[must_use]
    pub fn page_not_found() -> Self {
        Self::new(404, PAGE, "404 page not found")
    }

    /// Any answer of Go's `http.Error`: plain text, no Status.
    #[must_use]
    pub fn page(code: u16, text: impl Into<String>) -> Self {
        Self::new(code, PAGE, text)
    }

    /// The same, refused before a handler of resources was asked (`responsewriters.RespondWithError`).
    #[must_use]
    pub(crate) fn unsniffed(mut self) -> Self {
        self.unsniffed = true;
        self
    }

    /// Whether it was refused so.
    pub(crate) fn is_unsniffed(&self) -> bool {
        self.unsniffed
    }

    /// Whether this is answered as plain text.
    #[must_use]
    pub fn is_page(&self) -> bool {
        self.reason == PAGE
    }

    /// 400 for a body that says it is of a kind and version and cannot be read as another kind (`transformDecodeError` of
    /// `apiserver/pkg/endpoints/handlers/rest.go`).
    #[must_use]
    pub fn not_handled(said: &str, version: &str, kind: &str, why: &str) -> Self {
        let version = quote(version);
        Self::bad_request(format!(
            "{said} in version {version} cannot be handled as a {kind}: {why}"
        ))
    }

    /// 409 on create: `pods "x" already exists`.
    #[must_use]
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let m = format!("{} {} already exists", qualified(group, resource), quote(name));
        Self::new(409, "AlreadyExists", m).about(group, resource, name)
    }

    /// 409 on a write: `Operation cannot be fulfilled on pods "x": why`.
    #[must_use]
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let m = format!(
            "Operation cannot be fulfilled on {} {}: {why}",
            qualified(group, resource),
            quote(name)
        );
        Self::new(409, "Conflict", m).about(group, resource, name)
    }

    /// 409 on a stale resourceVersion.
    #[must_use]
    pub fn stale(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 of server-side apply, one cause per conflicting field.
    #[must_use]
    pub fn apply_conflict(message: impl Into<String>, causes: Vec<Cause>) -> Self {
        let details = Details {
            causes,
            ..Details::default()
        };
        Self {
            details: Some(Box::new(details)),
            ..Self::new(409, "Conflict", message)
        }
    }

    /// 403: `pods "x" is forbidden: why`.
    #[must_use]
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let q = qualified(group, resource);
        let m = match (resource, name) {
            ("", _) => format!("forbidden: {why}"),
            (_, "") => format!("{q} is forbidden: {why}"),
            _ => format!("{q} {} is forbidden: {why}", quote(name)),
        };
        Self::new(403, "Forbidden", m).about(group, resource, name)
    }

    /// 422: `Pod "x" is invalid: causes`.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let one = |c: &Cause| {
            // Go prints the path of the object itself so.
            let field = if c.field.is_empty() { "<nil>" } else { &c.field };
            format!("{field}: {}", c.message)
        };
        let mut list: Vec<String> = Vec::new();
        // What is found twice is told once (`ToAggregate`).
        let mut told = BTreeSet::new();
        for text in causes.iter().map(one) {
            if told.insert(text.clone()) {
                list.push(text);
            }
        }
        let text = if list.len() == 1 {
            list.concat()
        } else {
            format!("[{}]", list.join(", "))
        };
        let m = format!("{} {} is invalid: {text}", qualified(group, kind), quote(name));
        let mut s = Self::new(422, "Invalid", m).about(group, kind, name);
        s.details.get_or_insert_default().causes = causes;
        s
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 405.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .about("", "", "")
    }

    /// 406.
    #[must_use]
    pub fn not_acceptable(accepted: &str) -> Self {
        Self::new(
            406,
            "NotAcceptable",
            format!("only the following media types are accepted: {accepted}"),
        )
    }

    /// 410 of a list's continue token or, inside a watch, of its start.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415.
    #[must_use]
    pub fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}"),
        )
    }

    /// 429: an eviction that a budget does not allow now.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let details = Details {
            retry_after_seconds,
            ..Details::default()
        };
        Self {
            details: Some(Box::new(details)),
            ..Self::new(429, "TooManyRequests", message)
        }
    }

    /// 500.
    pub fn internal(message: impl fmt::Display) -> Self {
        let message = message.to_string();
        let mut status = Self::new(500, "InternalError", format!("Internal error occurred: {message}"));
        status.details.get_or_insert_default().causes = vec![Cause::new("", "", message)];
        status
    }

    /// 503.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// Whether the write was stale (not: already exists).
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    /// Whether the object to create is there already.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// The `metav1.Status` object as JSON, its fields in the order that Kubernetes writes them.
    #[must_use]
    pub fn to_json(&self) -> String {
        let v = self.to_value();
        let mut details = String::new();
        if let Some(d) = v.get("details") {
            let causes = d["causes"].as_array().into_iter().flatten();
            let causes: Vec<String> = causes.map(|c| ordered(c, &["reason", "message", "field"])).collect();
            let mut parts = fields(d, &["name", "group", "kind", "uid"]);
            if !causes.is_empty() {
                parts.push(format!("\"causes\":[{}]", causes.join(",")));
            }
            parts.extend(fields(d, &["retryAfterSeconds"]));
            details = format!("{{{}}}", parts.join(","));
        }
        let mut parts = fields(&v, &["kind", "apiVersion", "metadata", "status", "message", "reason"]);
        if !details.is_empty() {
            parts.push(format!("\"details\":{details}"));
        }
        parts.extend(fields(&v, &["code"]));
        format!("{{{}}}", parts.join(","))
    }

    /// The `metav1.Status` object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut m = Map::new();
        m.insert("kind".into(), json!("Status"));
        m.insert("apiVersion".into(), json!("v1"));
        let meta = if self.more.is_empty() {
            json!({})
        } else {
            json!({"continue": self.more})
        };
        m.insert("metadata".into(), meta);
        m.insert("status".into(), json!("Failure"));
        m.insert("message".into(), json!(self.message));
        if !self.reason.is_empty() {
            m.insert("reason".into(), json!(self.reason));
        }
        if let Some(d) = &self.details {
            m.insert("details".into(), d.to_value());
        }
        m.insert("code".into(), json!(self.code));
        Value::Object(m)
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut m = Map::new();
        for (k, v) in [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ] {
            if !v.is_empty() {
                m.insert(k.into(), json!(v));
            }
        }
        if !self.causes.is_empty() {
            let causes = self.causes.iter().map(|c| {
                let mut o = Map::new();
                for (k, v) in [
                    ("reason", &*c.reason),
                    ("message", c.message.as_str()),
                    ("field", c.field.as_str()),
                ] {
                    if !v.is_empty() {
                        o.insert(k.into(), json!(v));
                    }
                }
                Value::Object(o)
            });
            m.insert("causes".into(), causes.collect());
        }
        if self.retry_after_seconds > 0 {
            m.insert("retryAfterSeconds".into(), json!(self.retry_after_seconds));
        }
        Value::Object(m)
    }
}

/// Fields of an object as JSON writes them, those that are there.
fn fields(v: &Value, names: &[&str]) -> Vec<String> {
    let there = names.iter().filter_map(|n| v.get(*n).map(|x| (n, x)));
    there.map(|(n, x)| format!("{}:{}", json!(n), escaped(x))).collect()
}

fn ordered(v: &Value, names: &[&str]) -> String {
    format!("{{{}}}", fields(v, names).join(","))
}

/// JSON as Go writes it, which keeps texts from being read as HTML.
fn escaped(v: &Value) -> String {
    let mut text = v.to_string();
    for (c, to) in [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")] {
        if text.contains(c) {
            text = text.replace(c, to);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_of_kubernetes() {
        let cases = [
            (Status::not_found("", "pods", "x"), "pods \"x\" not found"),
            (
                Status::not_found("apps", "deployments", "x"),
                "deployments.apps \"x\" not found",
            ),
            (
                Status::already_exists("", "namespaces", "a"),
                "namespaces \"a\" already exists",
            ),
            (
                Status::stale("", "pods", "x"),
                "Operation cannot be fulfilled on pods \"x\": the object has been modified; please apply your changes to the latest version and try again",
            ),
            (
                Status::invalid("", "Pod", "x", vec![Cause::required("spec.containers", "")]),
                "Pod \"x\" is invalid: spec.containers: Required value",
            ),
        ];
        for (s, text) in cases {
            assert_eq!(s.message, text);
        }
    }
}
