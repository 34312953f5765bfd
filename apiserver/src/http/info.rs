//! What a request's path means (`apiserver/pkg/endpoints/request/requestinfo.go`).

use std::borrow::Cow;

use http::Method;
use serde_json::{Value, json};

use super::Incoming;
use super::query::decode;
use crate::select::FieldSelector;

/// A request for a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestInfo {
    pub(super) verb: &'static str,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) resource: String,
    pub(super) name: String,
    pub(super) subresource: String,
}

impl RequestInfo {
    /// What it is about, as the audit log says it.
    pub(super) fn reference(&self) -> Value {
        let mut v = json!({});
        for (k, x) in [
            ("resource", &self.resource),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("apiGroup", &self.group),
            ("apiVersion", &self.version),
            ("subresource", &self.subresource),
        ] {
            if !x.is_empty() {
                v[k] = json!(x);
            }
        }
        v
    }

    /// `None`: the path names no resource.
    pub(super) fn parse(r: &Incoming) -> Option<Self> {
        let mut segments: Vec<Cow<'_, str>> = Vec::with_capacity(8);
        segments.extend(r.path.split('/').filter(|s| !s.is_empty()).map(|s| decode(s, false)));
        let (group, version, rest) = match segments.as_slice() {
            [api, v, rest @ ..] if api == "api" && !rest.is_empty() => ("", v, rest),
            [apis, g, v, rest @ ..] if apis == "apis" && !rest.is_empty() => (&**g, v, rest),
            _ => return None,
        };
        // The old way to watch.
        let (watched, rest) = match rest {
            [w, rest @ ..] if w == "watch" && !rest.is_empty() => (true, rest),
            rest => (false, rest),
        };
        let mut namespace = "";
        let rest = match rest {
            // A namespace itself, or one of its own subresources.
            [n, name] if n == "namespaces" => {
                namespace = name;
                rest
            }
            [n, name, sub] if n == "namespaces" && (sub == "status" || sub == "finalize") => {
                namespace = name;
                rest
            }
            [n, ns, more @ ..] if n == "namespaces" && !more.is_empty() => {
                namespace = ns;
                more
            }
            _ => rest,
        };
        let resource = rest.first()?.clone().into_owned();
        let mut name = rest.get(1).map_or_else(String::new, |n| n.clone().into_owned());
        let subresource = match rest.get(2) {
            // What follows is a path of another server.
            Some(p) if p == "proxy" => p.clone().into_owned(),
            _ => rest.get(2..).map(|s| s.join("/")).unwrap_or_default(),
        };
        let verb = match r.method {
            Method::GET if watched => "watch",
            _ if watched => "",
            Method::GET | Method::HEAD if name.is_empty() && r.query.is("watch") => "watch",
            Method::GET | Method::HEAD if name.is_empty() => "list",
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ => "",
        };
        if matches!(verb, "list" | "watch" | "deletecollection")
            && let Some(Ok(f)) = r.query.get("fieldSelector").map(FieldSelector::parse)
            && let Some(n) = f.exact("metadata.name")
        {
            n.clone_into(&mut name);
        }
        Some(Self {
            verb,
            group: group.to_owned(),
            version: version.clone().into_owned(),
            namespace: namespace.to_owned(),
            resource,
            name,
            subresource,
        })
    }
}
