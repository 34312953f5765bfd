//! Zero values of built-in kinds, as Go's types have them: what is left out when it is zero is not there however it was
//! sent, and lists that are always written are null when they are empty.

use serde_json::{Map, Value};

use super::messages::{Field, MESSAGES, each_field};

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
    each_field(fields, &mut |Field(_, member, shape, kind, keep, _)| {
        let Some(value) = object.get_mut(member) else { return };
        let plain = shape.is_empty() && matches!(kind.as_str(), "s" | "i" | "b" | "f" | "y");
        if *keep == 0 && plain && is_zero(value) {
            object.remove(member);
            return;
        }
        below(value, shape, kind, zeros);
    });
}

/// Puts in what Go writes always, and takes out lists and maps that are empty and are not written then.
pub fn write_always(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(fields), Value::Object(m)) = (fields(api_version, kind), object) {
        always(fields, m);
    }
}

/// The zero value of a type, by its letter.
fn zero(kind: &str) -> Value {
    match kind {
        "s" => "".into(),
        "i" | "f" | "X" => 0.into(),
        "b" => false.into(),
        "Q" => "0".into(),
        "D" => "0s".into(),
        kind if kind.len() > 1 => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

fn always(fields: &'static [Field], object: &mut Map<String, Value>) {
    each_field(fields, &mut |Field(_, member, shape, kind, _, written)| {
        let absent = object.get(member).is_none_or(Value::is_null);
        if !shape.is_empty() && (absent || object.get(member).is_some_and(is_zero)) {
            match written {
                1 => drop(object.insert(member.clone(), Value::Null)),
                _ => drop(object.remove(member)),
            }
            return;
        }
        if absent && *written == 1 {
            object.insert(member.clone(), zero(kind));
        }
        if let Some(value) = object.get_mut(member) {
            below(value, shape, kind, always);
        }
    });
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
    fn what_is_always_written_is_there() {
        let mut role = json!({"metadata": {"name": "a"}, "rules": []});
        write_always("rbac.authorization.k8s.io/v1", "Role", &mut role);
        assert_eq!(role, json!({"metadata": {"name": "a"}, "rules": null}));
        let mut pod = json!({"metadata": {}, "spec": {"containers": []}, "status": {"containerStatuses":
            [{"name": "c", "state": {"terminated": {"exitCode": 1}}}]}});
        write_always("v1", "Pod", &mut pod);
        assert_eq!(
            pod["status"]["containerStatuses"][0],
            json!({"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "", "lastState": {},
                "state": {"terminated": {"exitCode": 1, "startedAt": null, "finishedAt": null}}})
        );
    }
}
