//! Zero values of built-in kinds, as Go's types have them: what is left out when it is zero is not there however it was
//! sent, and lists that are always written are null when they are empty.

use serde_json::{Map, Value};

use super::structs::{KNOWN, Member, Shape, Struct};

/// Whether Go would not write this value of a member that is left out when it is zero.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Null => false,
    }
}

impl Member {
    /// Calls `each` for what is below a value of this member.
    fn below(&self, value: &mut Value, each: fn(&'static Struct, &mut Map<String, Value>)) {
        let Some(inner) = self.inner.and_then(|i| KNOWN.all.get(i)) else {
            return;
        };
        let one = |v: &mut Value| {
            if let Value::Object(m) = v {
                each(inner, m);
            }
        };
        match (self.shape, value) {
            (Shape::List, Value::Array(all)) => all.iter_mut().for_each(one),
            (Shape::Map, Value::Object(all)) => all.values_mut().for_each(one),
            (Shape::One, one_of) => one(one_of),
            _ => {}
        }
    }

    /// The zero value of its type.
    pub(super) fn zero(&self) -> Value {
        match self.kind {
            _ if self.shape != Shape::One => Value::Null,
            "s" => "".into(),
            "i" | "f" | "X" => 0.into(),
            "b" => false.into(),
            "Q" => "0".into(),
            "D" => "0s".into(),
            kind if kind.len() > 1 => Value::Object(Map::new()),
            _ => Value::Null,
        }
    }
}

/// Puts in what Go writes always, and takes out lists and maps that are empty and are not written then.
pub fn write_always(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(of), Value::Object(m)) = (KNOWN.of_kind(api_version, kind), object) {
        always::<false>(of, m);
    }
}

/// As [`write_always`], before the object was stored: empty lists and maps that are written always are not null yet.
pub fn write_given(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(of), Value::Object(m)) = (KNOWN.of_kind(api_version, kind), object) {
        always::<true>(of, m);
    }
}

fn always<const EMPTY: bool>(of: &'static Struct, object: &mut Map<String, Value>) {
    object.retain(|name, value| {
        let Some(member) = of.member(name) else { return true };
        if member.shape != Shape::One && (value.is_null() || is_zero(value)) {
            if !EMPTY {
                *value = Value::Null;
            }
            return member.always;
        }
        if member.always && value.is_null() {
            *value = member.zero();
        }
        member.below(value, always::<EMPTY>);
        true
    });
    for member in of.members().iter().filter(|m| m.always) {
        if !object.contains_key(member.name) {
            let mut zero = member.zero();
            member.below(&mut zero, always::<EMPTY>);
            object.insert(member.name.to_owned(), zero);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
