//! Fields that may not change (`ValidateImmutableField` of `apimachinery/pkg/api/validation`): compared as Go compares them,
//! and shown as its types hold them. Nothing is made of a field that did not change.

use crate::schema::{FieldError, Printed, same};
use serde_json::Value;

/// What is said of most of them.
const DETAIL: &str = "field is immutable";

/// Places of an object of an internal type (`storage.StorageClass`, `spec.attacher`), each with the path that is told.
pub(super) fn places(of: &str, places: &[(&str, &str)], new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    for (at, path) in places {
        place(of, (at, path, DETAIL), new, old, errors);
    }
}

/// One place, with the path and the detail that are told.
pub(super) fn place(
    of: &str,
    (place, path, detail): (&str, &str, &str),
    new: &Value,
    old: &Value,
    errors: &mut Vec<FieldError>,
) {
    let (now, was) = (at(new, place), at(old, place));
    if now == was || is_same(new, place, now, was) {
        return;
    }
    errors.push(match now {
        // Texts are quoted as Go quotes them.
        Value::String(text) => FieldError::invalid(path, text.as_str(), detail),
        _ => FieldError::invalid_shown(path, &Printed::at(of, place, new).compact(), detail),
    });
}

/// What an object has at a place; null where there is nothing.
fn at<'v>(object: &'v Value, place: &str) -> &'v Value {
    place.split('.').fold(object, |v, step| &v[step])
}

fn is_same(object: &Value, place: &str, now: &Value, was: &Value) -> bool {
    let steps: Vec<&str> = place.split('.').collect();
    let of = |field: &str| object[field].as_str().unwrap_or_default();
    same(of("apiVersion"), of("kind"), &steps, now, was)
}

/// A value that is the same in all types: a text, a number, a time.
pub(super) fn value(new: &Value, old: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if new != old {
        errors.push(changed(path, new.clone()));
    }
}

/// Values as an internal type has them, where that says more than the objects do.
pub(super) fn printed(new: &Printed, old: &Printed, path: &str, errors: &mut Vec<FieldError>) {
    if !new.same(old) {
        errors.push(FieldError::invalid_shown(path, &new.compact(), DETAIL));
    }
}

/// A value that did change.
pub(super) fn changed(path: impl Into<String>, value: impl Into<Value>) -> FieldError {
    FieldError::invalid(path, value, DETAIL)
}

/// Fields that may not change, with what is said about them in place of their values.
pub(super) fn forbidden(new: &Value, old: Option<&Value>, fields: &[(&str, &str)], errors: &mut Vec<FieldError>) {
    for (field, detail) in fields {
        if old.is_some_and(|old| old[*field] != new[*field]) {
            errors.push(FieldError::forbidden(*field, *detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_changed_is_shown_as_go_holds_it() {
        let job = |spec: Value| json!({"apiVersion": "batch/v1", "kind": "Job", "spec": spec});
        let role =
            |role: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "roleRef": role});
        for (of, place, new, old, told) in [
            (
                "batch.Job",
                "spec.completions",
                job(json!({})),
                job(json!({"completions": 1})),
                "null",
            ),
            (
                "batch.Job",
                "spec.completions",
                job(json!({"completions": 2})),
                job(json!({})),
                "2",
            ),
            (
                "batch.Job",
                "spec.managedBy",
                job(json!({"managedBy": "a\u{7f}\u{e9}\"<"})),
                job(json!({})),
                "\"a\\x7f\u{e9}\\\"<\"",
            ),
            (
                "batch.Job",
                "spec.selector",
                job(json!({"selector": {"matchLabels": {"a": "<"}, "matchExpressions": []}})),
                job(json!({"selector": {}})),
                r#"{"matchLabels":{"a":"\u003c"}}"#,
            ),
            (
                "rbac.RoleBinding",
                "roleRef",
                role(json!({"name": "a"})),
                role(json!({"name": "b"})),
                r#"{"APIGroup":"","Kind":"","Name":"a"}"#,
            ),
        ] {
            let mut errors = Vec::new();
            places(of, &[(place, "x")], &new, &old, &mut errors);
            let told = format!("x: Invalid value: {told}: field is immutable");
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [told]);
        }
        // What is empty and what is not there are one to Go.
        let (empty, none) = (
            job(json!({"selector": {"matchExpressions": []}})),
            job(json!({"selector": {}})),
        );
        let mut errors = Vec::new();
        places(
            "batch.Job",
            &[("spec.selector", "spec.selector")],
            &empty,
            &none,
            &mut errors,
        );
        assert_eq!(errors, []);
    }
}
