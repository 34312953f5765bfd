//! Objects as Go's API types hold them: what their comparisons call equal (`apiequality.Semantic.DeepEqual`), and what their
//! encoder leaves out.

use serde_json::{Map, Value, json};

use super::structs::{KNOWN, Member, Shape, Struct};

/// Whether what two objects of a kind have at a path (members' names, none of them in a list) is equal to Go: empty lists
/// and maps are as if they were not there, and so is null. Of kinds that are not known, objects are structs.
#[must_use]
pub fn same(api_version: &str, kind: &str, path: &[&str], a: &Value, b: &Value) -> bool {
    let (mut of, mut member) = (KNOWN.of_kind(api_version, kind), None);
    for step in path {
        member = of.and_then(|o| o.member(step));
        of = member.and_then(within);
    }
    match path {
        [] => same_one(of, a, b),
        _ => is_nothing(member, a) && is_nothing(member, b) || same_member(member, a, b),
    }
}

/// The struct that a member is, or has in its list or map.
fn within(member: &Member) -> Option<&'static Struct> {
    member.inner.and_then(|i| KNOWN.all.get(i))
}

fn same_member(member: Option<&Member>, a: &Value, b: &Value) -> bool {
    let of = member.and_then(within);
    match (member.map(|m| m.shape), a, b) {
        (Some(Shape::Map), Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| same_one(of, v, w)))
        }
        _ => same_one(of, a, b),
    }
}

fn same_one(of: Option<&'static Struct>, a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let member = |k: &str| of.and_then(|o| o.member(k));
            let within = |a: &Map<String, Value>, b: &Map<String, Value>| {
                a.iter().all(|(k, v)| {
                    let member = member(k);
                    match b.get(k).filter(|w| !is_nothing(member, w)) {
                        Some(w) => same_member(member, v, w),
                        None => is_nothing(member, v),
                    }
                })
            };
            within(a, b) && b.iter().all(|(k, v)| a.contains_key(k) || is_nothing(member(k), v))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_one(of, a, b)),
        _ => a == b,
    }
}

/// Whether a member's value is as good as none.
fn is_nothing(member: Option<&Member>, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty() && member.is_some_and(|m| m.shape == Shape::Map),
        // A text or number that is no pointer is there whether it is given or not.
        zero => member.is_some_and(|m| m.shape == Shape::One && (m.scalar || m.always) && *zero == m.zero()),
    }
}

/// A label selector with what Go writes of it and nothing else: keys and operators always, no empty lists and maps.
#[must_use]
pub fn selector(of: &Value) -> Value {
    let Some(fields) = of.as_object() else {
        return of.clone();
    };
    let mut fields = fields.clone();
    fields.retain(|name, v| {
        let empty = v.as_object().is_some_and(Map::is_empty) && name == "matchLabels";
        !empty && !is_nothing(None, v)
    });
    let expressions = fields.get_mut("matchExpressions").and_then(Value::as_array_mut);
    for expression in expressions.into_iter().flatten() {
        let mut all = expression.as_object().cloned().unwrap_or_default();
        all.retain(|_, v| !is_nothing(None, v));
        for name in ["key", "operator"] {
            all.entry(name).or_insert_with(|| json!(""));
        }
        *expression = Value::Object(all);
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_not_there() {
        let pod = |spec: Value| json!({ "spec": spec });
        for (a, b, equal) in [
            (pod(json!({"containers": []})), pod(json!({})), true),
            (pod(json!({})), pod(json!({"hostname": null})), true),
            (json!({"metadata": {"labels": {}}}), json!({"metadata": {}}), true),
            (pod(json!({"nodeSelector": {}})), pod(json!({})), true),
            (
                pod(json!({"volumes": [{"name": "a", "emptyDir": {}}]})),
                pod(json!({"volumes": [{"name": "a"}]})),
                false,
            ),
            (
                pod(json!({"volumes": [{"name": "a", "csi": {"driver": "d", "volumeAttributes": {}}}]})),
                pod(json!({"volumes": [{"name": "a", "csi": {"driver": "d"}}]})),
                true,
            ),
            (
                pod(json!({"containers": [{}]})),
                pod(json!({"containers": [{"args": []}]})),
                true,
            ),
            (pod(json!({"containers": [{}]})), pod(json!({"containers": []})), false),
        ] {
            assert!(same("v1", "Pod", &[], &a, &b) == equal, "{a} {b}");
            assert!(same("v1", "Pod", &[], &b, &a) == equal, "{b} {a}");
        }
        let class = |parameters: Value| json!({ "parameters": parameters });
        assert!(same(
            "storage.k8s.io/v1",
            "StorageClass",
            &[],
            &class(json!({})),
            &json!({})
        ));
        let attachment = |node: Value| json!({"spec": {"nodeName": node}});
        let (empty, none) = (attachment(json!("")), attachment(Value::Null));
        assert!(same("storage.k8s.io/v1", "VolumeAttachment", &[], &empty, &none));
        let topology = ["nodeTopology"];
        let same_topology = |a: Value, b: Value| same("storage.k8s.io/v1", "CSIStorageCapacity", &topology, &a, &b);
        assert!(!same_topology(json!({}), Value::Null));
        // A selector of nodes is a struct here.
        let slice = |selector: Value| json!({"spec": {"nodeSelector": selector}});
        let (empty, none) = (slice(json!({})), slice(Value::Null));
        assert!(!same("resource.k8s.io/v1", "ResourceSlice", &[], &empty, &none));
        assert!(same("v1", "Pod", &["spec", "nodeSelector"], &json!({}), &Value::Null));
    }

    #[test]
    fn selectors_are_as_go_writes_them() {
        let given =
            json!({"matchLabels": {}, "matchExpressions": [null, {"key": "a", "operator": "In", "values": []}]});
        let wanted = json!({"matchExpressions": [{"key": "", "operator": ""}, {"key": "a", "operator": "In"}]});
        assert_eq!(selector(&given), wanted);
    }
}
