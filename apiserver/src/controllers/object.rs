//! Reading and building Kubernetes objects as JSON values: what the controllers share.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::registry::at;

/// Accessors of an object's common fields; absent fields read as empty.
pub(crate) trait Object {
    /// `metadata.name`.
    fn name(&self) -> &str;
    /// `metadata.namespace`, empty when cluster scoped.
    fn namespace(&self) -> &str;
    /// `metadata.uid`.
    fn uid(&self) -> &str;
    /// What is at a JSON pointer.
    fn at(&self, pointer: &str) -> Option<&Value>;
    /// The text at a JSON pointer.
    fn text(&self, pointer: &str) -> &str;
    /// The integer at a JSON pointer.
    fn int(&self, pointer: &str) -> Option<i64>;
    /// The truth value at a JSON pointer, false when absent.
    fn flag(&self, pointer: &str) -> bool;
    /// The list at a JSON pointer.
    fn items(&self, pointer: &str) -> &[Value];
    /// The date at a JSON pointer.
    fn time(&self, pointer: &str) -> Option<Timestamp>;
    /// A label.
    fn label(&self, key: &str) -> Option<&str>;
    /// An annotation.
    fn annotation(&self, key: &str) -> Option<&str>;
    /// Whether `metadata.deletionTimestamp` is set.
    fn deleting(&self) -> bool;
    /// Whether `metadata.finalizers` has `name`.
    fn has_finalizer(&self, name: &str) -> bool;
    /// The owner reference with `controller: true`.
    fn controller(&self) -> Option<&Value>;
    /// The condition of `status.conditions` with this type.
    fn condition(&self, kind: &str) -> Option<&Value>;
}

fn meta<'a>(v: &'a Value, key: &str) -> &'a str {
    v.get("metadata")
        .and_then(|m| m.get(key))
        .and_then(Value::as_str)
        .unwrap_or("")
}

fn entry<'a>(v: &'a Value, map: &str, key: &str) -> Option<&'a str> {
    v.get("metadata")?.get(map)?.get(key)?.as_str()
}

impl Object for Value {
    fn name(&self) -> &str {
        meta(self, "name")
    }
    fn namespace(&self) -> &str {
        meta(self, "namespace")
    }
    fn uid(&self) -> &str {
        meta(self, "uid")
    }
    fn at(&self, pointer: &str) -> Option<&Value> {
        at(self, pointer)
    }
    fn text(&self, pointer: &str) -> &str {
        at(self, pointer).and_then(Value::as_str).unwrap_or("")
    }
    fn int(&self, pointer: &str) -> Option<i64> {
        at(self, pointer).and_then(Value::as_i64)
    }
    fn flag(&self, pointer: &str) -> bool {
        at(self, pointer).and_then(Value::as_bool).unwrap_or(false)
    }
    fn items(&self, pointer: &str) -> &[Value] {
        at(self, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
    fn time(&self, pointer: &str) -> Option<Timestamp> {
        at(self, pointer)?.as_str()?.parse().ok()
    }
    fn label(&self, key: &str) -> Option<&str> {
        entry(self, "labels", key)
    }
    fn annotation(&self, key: &str) -> Option<&str> {
        entry(self, "annotations", key)
    }
    fn deleting(&self) -> bool {
        self.get("metadata")
            .and_then(|m| m.get("deletionTimestamp"))
            .is_some_and(|v| !v.is_null())
    }
    fn has_finalizer(&self, name: &str) -> bool {
        self.items("/metadata/finalizers").iter().any(|f| f == name)
    }
    fn controller(&self) -> Option<&Value> {
        self.items("/metadata/ownerReferences")
            .iter()
            .find(|o| o.flag("/controller"))
    }
    fn condition(&self, kind: &str) -> Option<&Value> {
        self.items("/status/conditions").iter().find(|c| c["type"] == kind)
    }
}

/// A date as `metav1.Time` (whole seconds).
pub(crate) fn stamp(t: Timestamp) -> String {
    Timestamp::from_second(t.as_second()).unwrap_or(t).to_string()
}

/// A date as `metav1.MicroTime`.
pub(crate) fn micro(t: Timestamp) -> String {
    format!("{t:.6}")
}

/// The whole time from `from` to `to`, zero when it is negative.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// The object at `key` of `v`, made when absent.
pub(crate) fn child<'a>(v: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !v.is_object() {
        *v = json!({});
    }
    let slot = &mut v[key];
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("made an object above")
}

/// Sets an entry of `metadata.<map>` (labels, annotations).
pub(crate) fn set_meta(v: &mut Value, map: &str, key: &str, value: &str) {
    child(v, "metadata");
    child(&mut v["metadata"], map).insert(key.to_owned(), json!(value));
}

/// Takes `name` out of `metadata.finalizers`.
pub(crate) fn remove_finalizer(v: &mut Value, name: &str) {
    if let Some(l) = v.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut) {
        l.retain(|f| f != name);
    }
}

/// A controller's owner reference to `owner`.
pub(crate) fn owner_reference(api_version: &str, kind: &str, owner: &Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": owner.name(), "uid": owner.uid(),
        "controller": true, "blockOwnerDeletion": true})
}

/// An object that these own no more.
pub(crate) fn without_owners(v: &Value, uids: &[&str]) -> Value {
    let mut v = v.clone();
    if let Some(l) = v.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut) {
        l.retain(|o| !uids.contains(&o.text("/uid")));
    }
    v
}

/// An object that `owner`, of that version and kind, controls from now on.
pub(crate) fn adopted(v: &Value, api_version: &str, kind: &str, owner: &Value) -> Value {
    let mut v = v.clone();
    child(&mut v, "metadata");
    child_list(&mut v["metadata"], "ownerReferences").push(owner_reference(api_version, kind, owner));
    v
}

/// Sets a condition in `status.conditions`: `lastTransitionTime` moves only when the status changes. True when
/// anything changed.
pub(crate) fn set_condition(
    v: &mut Value,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    child(v, "status");
    let list = child_list(&mut v["status"], "conditions");
    match list.iter_mut().find(|c| c["type"] == kind) {
        Some(c) => {
            let same = c["status"] == status && c.text("/reason") == reason && c.text("/message") == message;
            if same {
                return false;
            }
            if c["status"] != status {
                c["lastTransitionTime"] = json!(stamp(now));
            }
            c["status"] = json!(status);
            for (key, text) in [("reason", reason), ("message", message)] {
                match text {
                    "" => {
                        c.as_object_mut().map(|c| c.remove(key));
                    }
                    _ => c[key] = json!(text),
                }
            }
        }
        None => {
            let mut c = json!({"type": kind, "status": status, "lastTransitionTime": stamp(now)});
            for (key, text) in [("reason", reason), ("message", message)] {
                if !text.is_empty() {
                    c[key] = json!(text);
                }
            }
            list.push(c);
        }
    }
    true
}

/// The list at `key` of `v`, made when absent.
pub(crate) fn child_list<'a>(v: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    if !v.is_object() {
        *v = json!({});
    }
    let slot = &mut v[key];
    if !slot.is_array() {
        *slot = json!([]);
    }
    slot.as_array_mut().expect("made a list above")
}

/// Whether `labels` match a `metav1.LabelSelector`. An empty selector matches everything, an absent one nothing.
pub(crate) fn selects(selector: Option<&Value>, labels: Option<&Value>) -> bool {
    let Some(selector) = selector.filter(|s| s.is_object()) else {
        return false;
    };
    let get = |k: &str| labels.and_then(|l| l.get(k)).and_then(Value::as_str);
    let exact = selector.get("matchLabels").and_then(Value::as_object);
    exact.is_none_or(|m| m.iter().all(|(k, v)| get(k) == v.as_str()))
        && selector.items("/matchExpressions").iter().all(|e| requirement(e, &get))
}

/// One requirement of a label selector or node selector: `key operator values`.
pub(crate) fn requirement<'a>(e: &Value, get: &dyn Fn(&str) -> Option<&'a str>) -> bool {
    let have = get(e.text("/key"));
    let among = |v: &str| e.items("/values").iter().any(|x| x == v);
    let number = |s: &str| s.parse::<i64>().ok();
    let wanted = || e.items("/values").first().and_then(Value::as_str).and_then(number);
    match e.text("/operator") {
        "In" => have.is_some_and(among),
        "NotIn" => !have.is_some_and(among),
        "Exists" => have.is_some(),
        "DoesNotExist" => have.is_none(),
        "Gt" => matches!((have.and_then(number), wanted()), (Some(a), Some(b)) if a > b),
        "Lt" => matches!((have.and_then(number), wanted()), (Some(a), Some(b)) if a < b),
        _ => false,
    }
}

/// Whether `selector` (a LabelSelector) selects `object` by its labels.
pub(crate) fn selects_object(selector: Option<&Value>, object: &Value) -> bool {
    selects(selector, object.at("/metadata/labels"))
}

/// Resolves an IntOrString against `total`; percentages round up or down.
pub(crate) fn int_or_percent(v: Option<&Value>, total: i64, up: bool, default: i64) -> i64 {
    match v {
        Some(Value::Number(n)) => n.as_i64().unwrap_or(default),
        Some(Value::String(s)) => match s.strip_suffix('%').and_then(|p| p.parse::<i64>().ok()) {
            Some(p) if up => (total * p + 99) / 100,
            Some(p) => total * p / 100,
            None => s.parse().unwrap_or(default),
        },
        _ => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let labels = json!({"app": "x", "n": "5"});
        for (selector, expected) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "x"}}), true),
            (json!({"matchLabels": {"app": "y"}}), false),
            (
                json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["x", "y"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "z", "operator": "NotIn", "values": ["x"]}]}),
                true,
            ),
            (json!({"matchExpressions": [{"key": "z", "operator": "Exists"}]}), false),
            (
                json!({"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["4"]}]}),
                true,
            ),
        ] {
            assert_eq!(selects(Some(&selector), Some(&labels)), expected, "{selector}");
        }
        assert!(!selects(None, Some(&labels)));
    }

    #[test]
    fn percentages() {
        assert_eq!(int_or_percent(Some(&json!("25%")), 3, true, 1), 1);
        assert_eq!(int_or_percent(Some(&json!("25%")), 3, false, 1), 0);
        assert_eq!(int_or_percent(Some(&json!(2)), 3, false, 1), 2);
    }
}
