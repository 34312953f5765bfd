//! Reviews: questions asked by creating an object that is never stored.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Attributes;
use crate::defaults::names;
use crate::registry::{Resource, Server, User, text};
use crate::select::{FieldSelector, LabelSelector};
use crate::status::{Cause, Status};

/// Whether objects of `r` are questions.
pub(crate) fn is_review(r: &Resource) -> bool {
    r.custom.is_none() && matches!(&*r.group, "authorization.k8s.io" | "authentication.k8s.io")
}

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
        let causes = access_errors(r, ns, body, manager, &server.now());
        if !causes.is_empty() {
            return Some(Err(Status::invalid("authorization.k8s.io", "", "", causes)));
        }
    }
    let status = match (&*r.group, &*r.plural) {
        ("authorization.k8s.io", "selfsubjectaccessreviews") => access(server, user, &body["spec"]),
        ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews") => {
            let spec = &body["spec"];
            access(server, &user_of(spec), spec)
        }
        ("authorization.k8s.io", "selfsubjectrulesreviews") => {
            if text(body, "/spec/namespace").is_empty() {
                return Some(Err(Status::bad_request("no namespace on request")));
            }
            let (resources, paths) = server.rules_for(user, text(body, "/spec/namespace"));
            json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
        }
        ("authentication.k8s.io", "selfsubjectreviews") => json!({"userInfo": info(user)}),
        ("authentication.k8s.io", "tokenreviews") if text(body, "/spec/token").is_empty() => {
            let why = "token is required for TokenReview in authentication";
            return Some(Err(Status::bad_request(why)));
        }
        ("authentication.k8s.io", "tokenreviews") => {
            let audiences = body["spec"]["audiences"].as_array().into_iter().flatten();
            let audiences: Vec<String> = audiences.filter_map(Value::as_str).map(str::to_owned).collect();
            match server.token_review(text(body, "/spec/token"), &audiences) {
                Ok((mut u, audiences)) => {
                    u.groups.push("system:authenticated".to_owned());
                    json!({"authenticated": true, "user": info(&u), "audiences": audiences})
                }
                Err(why) => json!({"user": {}, "error": why.of_review()}),
            }
        }
        _ => return None,
    };
    let mut v = body.clone();
    // Go leaves out an empty list.
    if v["spec"]["audiences"].as_array().is_some_and(Vec::is_empty)
        && let Some(spec) = v["spec"].as_object_mut()
    {
        spec.remove("audiences");
    }
    if !v["metadata"].is_object() {
        v["metadata"] = json!({});
    }
    // These two are answered with an object of their own.
    if r.kind == "SelfSubjectReview" {
        v = json!({"metadata": {"creationTimestamp": server.now()}});
    } else if r.kind == "SelfSubjectRulesReview" {
        v = json!({"metadata": {}, "spec": {}});
    } else {
        track(r, &mut v, manager, &server.now());
    }
    v["apiVersion"] = json!(r.api_version);
    v["kind"] = json!(r.kind);
    v["status"] = status;
    Some(Ok(v))
}

/// What is wrong with a question about access (`pkg/apis/authorization/validation`).
fn access_errors(r: &Resource, ns: &str, body: &Value, manager: &str, now: &str) -> Vec<Cause> {
    let spec = &body["spec"];
    let mut causes = Vec::new();
    let (of, other) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    // As Go's internal type has it.
    let shown = json!({"Path": text(other, "/path"), "Verb": text(other, "/verb")});
    if of.is_null() && other.is_null() {
        let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        causes.push(Cause::invalid("spec.resourceAttributes", &Value::Null, detail));
    } else if !of.is_null() && !other.is_null() {
        let detail = "cannot be specified in combination with resourceAttributes";
        causes.push(Cause::invalid("spec.nonResourceAttributes", &shown, detail));
    }
    let nobody = text(spec, "/user").is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty);
    if r.plural != "selfsubjectaccessreviews" && nobody {
        let detail = "at least one of user or group must be specified";
        causes.push(Cause::invalid("spec.user", &json!(""), detail));
    }
    for field in ["fieldSelector", "labelSelector"] {
        let (selector, path) = (&of[field], format!("spec.resourceAttributes.{field}"));
        if selector.is_null() {
            continue;
        }
        let raw = text(selector, "/rawSelector");
        let listed = selector["requirements"].as_array().is_some_and(|l| !l.is_empty());
        if !raw.is_empty() && listed {
            let detail = "may not specified at the same time as requirements";
            causes.push(Cause::invalid(format!("{path}.rawSelector"), &json!(raw), detail));
        }
        if raw.is_empty() && !listed {
            let detail = format!("when {path} is specified, requirements or rawSelector is required");
            causes.push(Cause::required(format!("{path}.requirements"), &detail));
        }
        let all = selector["requirements"].as_array().into_iter().flatten();
        for (i, requirement) in all.enumerate() {
            let at = format!("{path}.requirements[{i}]");
            requirement_errors(requirement, field == "labelSelector", &at, &mut causes);
        }
    }
    let local = r.plural == "localsubjectaccessreviews";
    let mut metadata = body["metadata"].clone();
    if let Some(m) = metadata.as_object_mut() {
        m.remove("managedFields");
        if local {
            m.remove("namespace");
        }
        if !m.is_empty() {
            let mut told = body.clone();
            track(r, &mut told, manager, now);
            let told = crate::patch::unfolded(&told);
            let shown = crate::schema::Printed::internal("meta.ObjectMeta", &told["metadata"]).compact();
            let detail = if local {
                "must be empty except for namespace"
            } else {
                "must be empty"
            };
            let text = format!("Invalid value: {shown}: {detail}");
            causes.push(Cause::new("FieldValueInvalid", "metadata", text));
        }
    }
    if r.plural == "localsubjectaccessreviews" {
        let said = text(of, "/namespace");
        if !of.is_null() && said != ns {
            let detail = "must match metadata.namespace";
            causes.push(Cause::invalid(
                "spec.resourceAttributes.namespace",
                &json!(said),
                detail,
            ));
        }
        if !other.is_null() {
            let detail = "disallowed on this kind of request";
            causes.push(Cause::invalid("spec.nonResourceAttributes", &shown, detail));
        }
    }
    causes
}

/// Notes who asked.
fn track(r: &Resource, v: &mut Value, manager: &str, now: &str) {
    v["apiVersion"] = json!(r.api_version);
    v["kind"] = json!(r.kind);
    crate::patch::track_update(None, v, manager, "", &r.schema(), now, &[]);
}

/// `ValidateLabelSelectorRequirement`, `ValidateFieldSelectorRequirement`: operators that nobody knows are let through.
fn requirement_errors(v: &Value, of_labels: bool, at: &str, causes: &mut Vec<Cause>) {
    let key = text(v, "/key");
    let values: Vec<&str> = v["values"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if !of_labels && key.is_empty() {
        causes.push(Cause::required(format!("{at}.key"), "must be specified"));
    }
    match text(v, "/operator") {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be specified when `operator` is 'In' or 'NotIn'";
            causes.push(Cause::required(format!("{at}.values"), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            causes.push(Cause::forbidden(format!("{at}.values"), detail));
        }
        _ => {}
    }
    if !of_labels {
        return;
    }
    for why in names::qualified_name(key) {
        causes.push(Cause::invalid(format!("{at}.key"), &json!(key), &why));
    }
    for (i, value) in values.iter().enumerate() {
        for why in names::label_value(value) {
            causes.push(Cause::invalid(format!("{at}.values[{i}]"), &json!(value), &why));
        }
    }
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
    let mut status = json!({"allowed": server.allowed(user, &a)});
    if status["allowed"] == true
        && let Some(reason) = server.reason(user, &a)
    {
        status["reason"] = json!(reason);
    }
    let ignored = ignored_selectors(r);
    if !ignored.is_empty() {
        status["evaluationError"] = json!(ignored.join("; "));
    }
    status
}

/// What of a question's selectors cannot be read (`BuildEvaluationError` of `pkg/registry/authorization/util`).
fn ignored_selectors(of: &Value) -> Vec<String> {
    let field = |requirement: &Value| {
        let values = requirement["values"].as_array().map_or(0, Vec::len);
        matches!(text(requirement, "/operator"), "In" | "NotIn") && values == 1
    };
    let label = |requirement: &Value| LabelSelector::from_object(&json!({"matchExpressions": [requirement]})).is_ok();
    let told = |name: &str, raw_is_read: fn(&str) -> bool, is_read: &dyn Fn(&Value) -> bool| {
        let selector = &of[name];
        let all = selector["requirements"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let read = all.iter().filter(|r| is_read(r)).count();
        let raw = text(selector, "/rawSelector");
        let how = match all.len() {
            0 if !raw.is_empty() && !raw_is_read(raw) => "ignored",
            n if read == n => return None,
            _ if read == 0 => "ignored",
            _ => "partially ignored",
        };
        Some(format!("spec.resourceAttributes.{name} {how} due to parse error"))
    };
    [
        told("fieldSelector", |t| FieldSelector::parse(t).is_ok(), &field),
        told("labelSelector", |t| LabelSelector::parse(t).is_ok(), &label),
    ]
    .into_iter()
    .flatten()
    .collect()
}
