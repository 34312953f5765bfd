//! Zero values of built-in kinds, as Go's types have them: what is left out when it is zero is not there however it was
//! sent, and lists that are always written are null when they are empty.

use serde_json::{Map, Value};

use super::messages::{Field, MESSAGES};

/// The fields of a kind.
fn fields(api_version: &str, kind: &str) -> Option<&'static [Field]> {
    let name = MESSAGES.kinds.get(&format!("{api_version}/{kind}"))?;
    MESSAGES.messages.get(name).map(Vec::as_slice)
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Null => false,
    }
}

/// Calls `each` for a member and what is below it.
fn below(member: &mut Value, shape: &str, kind: &str, each: fn(&'static [Field], &mut Map<String, Value>)) {
    let Some(inner) = MESSAGES.messages.get(kind) else {
        return;
    };
    let one = |v: &mut Value| {
        if let Value::Object(m) = v {
            each(inner, m);
        }
    };
    match (shape, member) {
        ("[]", Value::Array(all)) => all.iter_mut().for_each(one),
        ("{}", Value::Object(all)) => all.values_mut().for_each(one),
        ("", one_of) => one(one_of),
        _ => {}
    }
}

/// Takes out scalars that are zero and are not written then.
pub fn drop_zeros(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(fields), Value::Object(m)) = (fields(api_version, kind), object) {
        zeros(fields, m);
    }
}

fn zeros(fields: &'static [Field], object: &mut Map<String, Value>) {
    for Field(_, member, shape, kind, keep) in fields {
        if shape == "<" {
            if let Some(inner) = MESSAGES.messages.get(kind) {
                zeros(inner, object);
            }
            continue;
        }
        let Some(value) = object.get_mut(member) else { continue };
        let plain = shape.is_empty() && matches!(kind.as_str(), "s" | "i" | "b" | "f" | "y");
        if *keep == 0 && plain && is_zero(value) {
            object.remove(member);
            continue;
        }
        below(value, shape, kind, zeros);
    }
}

/// Makes lists and maps null that are always written and are empty, and takes out others that are empty.
pub fn null_lists(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(fields), Value::Object(m)) = (fields(api_version, kind), object) {
        nulls(fields, m);
    }
}

fn nulls(fields: &'static [Field], object: &mut Map<String, Value>) {
    for Field(_, member, shape, kind, keep) in fields {
        if shape == "<" {
            if let Some(inner) = MESSAGES.messages.get(kind) {
                nulls(inner, object);
            }
            continue;
        }
        if !shape.is_empty() && object.get(member).is_none_or(is_zero) {
            match keep {
                0 => drop(object.remove(member)),
                _ => drop(object.insert(member.clone(), Value::Null)),
            }
        } else if let Some(value) = object.get_mut(member) {
            below(value, shape, kind, nulls);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn zeros_are_as_go_writes_them() {
        let mut class = json!({"globalDefault": false, "value": 0, "description": ""});
        drop_zeros("scheduling.k8s.io/v1", "PriorityClass", &mut class);
        assert_eq!(class, json!({"value": 0}));
        let mut pod = json!({"metadata": {"labels": {"a": ""}, "annotations": {}}, "spec": {"containers": [{"name": "c", "stdin": false,
            "securityContext": {"privileged": false}}], "hostNetwork": false}});
        drop_zeros("v1", "Pod", &mut pod);
        assert_eq!(
            pod,
            json!({"metadata": {"labels": {"a": ""}, "annotations": {}}, "spec": {"containers": [{"name": "c",
                "securityContext": {"privileged": false}}]}}),
            "what is held by a pointer stays"
        );
    }

    #[test]
    fn lists_that_are_always_written_are_null() {
        let mut role = json!({"rules": []});
        null_lists("rbac.authorization.k8s.io/v1", "Role", &mut role);
        assert_eq!(role, json!({"rules": null}));
        let mut slice = json!({"endpoints": [{"addresses": ["10.0.0.1"]}]});
        null_lists("discovery.k8s.io/v1", "EndpointSlice", &mut slice);
        assert_eq!(
            slice,
            json!({"endpoints": [{"addresses": ["10.0.0.1"]}], "ports": null})
        );
    }
}
