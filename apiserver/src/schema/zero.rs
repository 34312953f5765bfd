//! Zero values of built-in kinds, as Go's types have them: what is left out when it is zero is not there however it was
//! sent, and lists that are always written are null when they are empty.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::structs::{KNOWN, Member, Shape, Struct};

/// Whether Go would not write this value of a member that is left out when it is zero.
pub(crate) fn is_zero(value: &Value) -> bool {
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
            (Shape::One, Value::Array(all)) if self.kind == "A" => all.iter_mut().for_each(one),
            (Shape::One, one_of) => one(one_of),
            _ => {}
        }
    }

    /// Whether `holds` of all that is below a value of this member.
    fn all_below(&self, value: &Value, holds: fn(&'static Struct, &Map<String, Value>) -> bool) -> bool {
        let Some(inner) = self.inner.and_then(|i| KNOWN.all.get(i)) else {
            return true;
        };
        let one = |v: &Value| v.as_object().is_none_or(|m| holds(inner, m));
        match (self.shape, value) {
            (Shape::List, Value::Array(all)) => all.iter().all(one),
            (Shape::Map, Value::Object(all)) => all.values().all(one),
            (Shape::One, Value::Array(all)) if self.kind == "A" => all.iter().all(one),
            (Shape::One, v) => one(v),
            _ => true,
        }
    }

    /// The zero value of its type.
    pub(super) fn zero(&self) -> Value {
        match self.shape {
            Shape::One => self.zero_of_one(),
            _ => Value::Null,
        }
    }

    /// The zero value of its type, or of the values in its list or map.
    pub(super) fn zero_of_one(&self) -> Value {
        zero_of(self.kind).unwrap_or_else(|| match self.kind.len() > 1 {
            true => Value::Object(Map::new()),
            false => Value::Null,
        })
    }
}

/// The zero value of a type that has a letter, as JSON has it, where it is not null.
pub(super) fn zero_of(letter: &str) -> Option<Value> {
    Some(match letter {
        "s" => "".into(),
        "i" | "f" | "X" => 0.into(),
        "b" => false.into(),
        "Q" => "0".into(),
        "D" => "0s".into(),
        _ => return None,
    })
}

/// Puts in what Go writes always, and takes out lists and maps that are empty and are not written then.
pub fn write_always(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(of), Value::Object(m)) = (KNOWN.of_kind(api_version, kind), object) {
        always::<false>(of, m);
    }
}

/// An object that says nothing but what it is, as Go writes it.
pub fn nothing<'a>(api_version: &str, kind: &str) -> Cow<'a, Value> {
    let make = || {
        let mut object = json!({"apiVersion": api_version, "kind": kind});
        write_always(api_version, kind, &mut object);
        object
    };
    match KNOWN.nothing(api_version, kind, make) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(make()),
    }
}

/// As [`write_always`], before the object was stored: empty lists and maps that are written always are not null yet.
pub fn write_given(api_version: &str, kind: &str, object: &mut Value) {
    if let (Some(of), Value::Object(m)) = (KNOWN.of_kind(api_version, kind), object) {
        always::<true>(of, m);
    }
}

/// Whether [`write_given`] would leave an object as it is, so that nobody need copy it to find out.
pub fn is_given(api_version: &str, kind: &str, object: &Value) -> bool {
    match (KNOWN.of_kind(api_version, kind), object) {
        (Some(of), Value::Object(m)) => given(of, m),
        _ => true,
    }
}

fn given(of: &'static Struct, object: &Map<String, Value>) -> bool {
    let stays = |name: &String, value: &Value| match of.member(name) {
        None => true,
        Some(m) if m.shape != Shape::One && (value.is_null() || is_zero(value)) => m.always,
        Some(m) if m.always && value.is_null() => false,
        Some(m) => m.all_below(value, given),
    };
    object.iter().all(|(name, value)| stays(name, value))
        && of
            .members()
            .iter()
            .all(|m| !m.always && !m.null || object.contains_key(m.name))
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
        // What was read as no schema is not stored.
        if !EMPTY && member.kind == "A" && value.is_null() {
            return false;
        }
        if member.always && value.is_null() {
            *value = member.zero();
        }
        member.below(value, always::<EMPTY>);
        true
    });
    for member in of.members().iter().filter(|m| m.null) {
        object.entry(member.name).or_insert(Value::Null);
    }
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

    #[test]
    fn an_object_is_given_when_writing_it_changes_nothing() {
        for (kind, spec) in [
            ("Pod", json!({"containers": [{"name": "c", "resources": {}}]})),
            ("Pod", json!({"containers": [{"name": "c"}], "volumes": []})),
            ("Pod", json!({"containers": null, "nodeSelector": {"a": "b"}})),
            (
                "Service",
                json!({"ports": [{"port": 80, "targetPort": 80}], "selector": {}}),
            ),
            (
                "Service",
                json!({"ports": [{"port": 80, "targetPort": 80}], "selector": {"a": "b"}}),
            ),
        ] {
            let mut object = json!({"metadata": {"name": "a"}, "spec": spec, "status": {}});
            for _ in 0..2 {
                let before = object.clone();
                write_given("v1", kind, &mut object);
                assert_eq!(is_given("v1", kind, &before), before == object, "{kind}: {before}");
            }
        }
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
