//! Reviews: questions asked by creating an object that is never stored.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Attributes;
use crate::registry::{Resource, Server, User, text};
use crate::status::{Cause, Status};

/// Whether `r` is a review; its answer, as `manager` asked.
pub(crate) fn review(
    server: &Server,
    user: &User,
    manager: &str,
    r: &Resource,
    ns: &str,
    body: &Value,
) -> Option<Result<Value, Status>> {
    if r.custom.is_some() {
        return None;
    }
    if r.plural.ends_with("accessreviews") {
        let spec = &body["spec"];
        if spec["resourceAttributes"].is_null() == spec["nonResourceAttributes"].is_null() {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            let cause = Cause::invalid("spec.resourceAttributes", &spec["resourceAttributes"], detail);
            return Some(Err(Status::invalid("authorization.k8s.io", "", "", vec![cause])));
        }
    }
    let status = match (&*r.group, &*r.plural) {
        ("authorization.k8s.io", "selfsubjectaccessreviews") => access(server, user, &body["spec"]),
        ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews") => {
            let spec = &body["spec"];
            if r.namespaced && text(spec, "/resourceAttributes/namespace") != ns {
                let m = "spec.resourceAttributes.namespace must match metadata.namespace";
                return Some(Err(Status::bad_request(m)));
            }
            access(server, &user_of(spec), spec)
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews") => {
            let (resources, paths) = server.rules_for(user, text(body, "/spec/namespace"));
            json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
        }
        ("authentication.k8s.io", "selfsubjectreviews") => json!({"userInfo": info(user)}),
        ("authentication.k8s.io", "tokenreviews") => match server.by_token(text(body, "/spec/token")) {
            Some(u) => {
                let mut u = u;
                u.groups.push("system:authenticated".to_owned());
                json!({"authenticated": true, "user": info(&u), "audiences": body["spec"]["audiences"].clone()})
            }
            None => json!({"user": {}, "error": "[invalid bearer token]"}),
        },
        _ => return None,
    };
    let mut v = body.clone();
    v["apiVersion"] = json!(r.api_version);
    v["kind"] = json!(r.kind);
    if !v["metadata"].is_object() {
        v["metadata"] = json!({});
    }
    if r.kind == "SelfSubjectReview" {
        v["metadata"]["creationTimestamp"] = json!(server.now());
    }
    if r.group == "authorization.k8s.io" {
        crate::patch::track_update(None, &mut v, manager, "", &r.schema(), &server.now(), &[]);
    }
    v["status"] = status;
    if let Some(a) = v["status"].get_mut("audiences").filter(|a| a.is_null()) {
        *a = json!([]);
    }
    Some(Ok(v))
}

fn user_of(spec: &Value) -> User {
    let groups = spec["groups"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let mut u = User::new(text(spec, "/user"), groups);
    u.uid = text(spec, "/uid").to_owned();
    u
}

fn info(u: &User) -> Value {
    let mut v = json!({"username": u.name, "groups": u.groups});
    if !u.uid.is_empty() {
        v["uid"] = json!(u.uid);
    }
    if u.extra != BTreeMap::new() {
        v["extra"] = json!(u.extra);
    }
    v
}

fn access(server: &Server, user: &User, spec: &Value) -> Value {
    let r = &spec["resourceAttributes"];
    let a = if r.is_object() {
        Attributes::resource(
            text(r, "/verb"),
            text(r, "/group"),
            text(r, "/resource"),
            text(r, "/subresource"),
        )
        .named(text(r, "/namespace"), text(r, "/name"))
    } else {
        let n = &spec["nonResourceAttributes"];
        Attributes::path(text(n, "/verb"), text(n, "/path"))
    };
    if server.allowed(user, &a) {
        json!({"allowed": true})
    } else {
        json!({"allowed": false})
    }
}
