//! What a request's path means (`apiserver/pkg/endpoints/request/requestinfo.go`).

use std::ops::Deref;

use http::Method;
use serde_json::{Value, json};

use super::Incoming;
use crate::auth::Attributes;
use crate::select::FieldSelector;
use crate::status::Status;

/// Parts of a path that say what it means; what comes behind is a pod's or a service's own.
const SEGMENTS: usize = 10;

/// Those parts.
pub(super) struct Segments<'a> {
    all: [&'a str; SEGMENTS],
    n: usize,
}

impl<'a> Segments<'a> {
    pub(super) fn of(parts: impl Iterator<Item = &'a str>) -> Self {
        let (mut all, mut n) = ([""; SEGMENTS], 0);
        for (place, part) in all.iter_mut().zip(parts) {
            *place = part;
            n += 1;
        }
        Self { all, n }
    }
}

impl<'a> Deref for Segments<'a> {
    type Target = [&'a str];

    fn deref(&self) -> &Self::Target {
        &self.all[..self.n]
    }
}

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

    /// What has to be allowed for it.
    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes::resource(self.verb, &self.group, &self.resource, &self.subresource)
            .named(&self.namespace, &self.name)
    }

    /// `None`: the path names no resource.
    ///
    /// # Errors
    /// 500 for a path that ends where it should say what is to be watched.
    pub(super) fn parse(r: &Incoming, uri: &str) -> Result<Option<Self>, Status> {
        // Of what is between two slashes nothing is left out.
        let segments = Segments::of(r.path.trim_matches('/').split('/'));
        let (group, version, rest) = match &*segments {
            ["api", v, rest @ ..] if !rest.is_empty() => ("", *v, rest),
            ["apis", g, v, rest @ ..] if !rest.is_empty() => (*g, *v, rest),
            _ => return Ok(None),
        };
        // The old ways to watch, and to be led on.
        let (special, rest) = match rest {
            ["watch" | "proxy"] => {
                return Err(Status::page(
                    500,
                    format!(
                        "Internal Server Error: {}: failed to create RequestInfo: unable to determine kind and \
                         namespace from url, {uri}",
                        crate::schema::quote(uri)
                    ),
                ));
            }
            ["watch", rest @ ..] => (Some("watch"), rest),
            ["proxy", rest @ ..] => (Some("proxy"), rest),
            rest => (None, rest),
        };
        let (namespace, parts) = match rest {
            ["namespaces", ns, sub, ..] if !matches!(*sub, "status" | "finalize") => (*ns, &rest[2..]),
            ["namespaces", ns, ..] => (*ns, rest),
            _ => ("", rest),
        };
        let resource = parts.first().copied().unwrap_or_default();
        let mut name = parts.get(1).copied().unwrap_or_default().to_owned();
        let subresource = match special {
            Some("proxy") => "",
            _ => parts.get(2).copied().unwrap_or_default(),
        };
        let mut verb = match r.method {
            _ if special.is_some() => special.unwrap_or_default(),
            Method::GET | Method::HEAD => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        if name.is_empty() && verb == "get" {
            verb = if r.query.is("watch") { "watch" } else { "list" };
            if let Some(Ok(f)) = r.query.first("fieldSelector").map(FieldSelector::parse)
                && let Some(n) = f.exact("metadata.name")
                && path_segment_error(n).is_none()
            {
                n.clone_into(&mut name);
            }
        }
        if name.is_empty() && verb == "delete" {
            verb = "deletecollection";
        }
        Ok(Some(Self {
            verb,
            group: group.to_owned(),
            version: version.to_owned(),
            namespace: namespace.to_owned(),
            resource: resource.to_owned(),
            name,
            subresource: subresource.to_owned(),
        }))
    }
}

/// What is wrong with a name that is to be a part of a path (`content.IsPathSegmentName`).
pub(super) fn path_segment_error(name: &str) -> Option<String> {
    if matches!(name, "." | "..") {
        return Some(format!("may not be '{name}'"));
    }
    let wrong: Vec<String> = ["/", "%"]
        .iter()
        .filter(|c| name.contains(**c))
        .map(|c| format!("may not contain '{c}'"))
        .collect();
    (!wrong.is_empty()).then(|| format!("[{}]", wrong.join(" ")))
}
