//! Objects as Go's API types hold them: what their comparisons call equal (`apiequality.Semantic.DeepEqual`), and what their
//! encoder leaves out.

use serde_json::{Map, Value, json};

/// Maps of built-in kinds that are no structs: an empty one is none.
const MAPS: [&str; 7] = [
    "labels",
    "annotations",
    "matchLabels",
    "nodeSelector",
    "limits",
    "requests",
    "overhead",
];

/// Whether two values of built-in kinds are equal to Go: what is null and empty lists and maps are as if they were not there.
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let within = |a: &Map<String, Value>, b: &Map<String, Value>| {
                a.iter().all(|(k, v)| match b.get(k).filter(|w| !nothing(k, w)) {
                    Some(w) => same(v, w),
                    None => nothing(k, v),
                })
            };
            within(a, b) && b.iter().all(|(k, v)| a.contains_key(k) || nothing(k, v))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

fn nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty() && MAPS.contains(&name),
        _ => false,
    }
}

/// A label selector with what Go writes of it and nothing else: keys and operators always, no empty lists and maps.
#[must_use]
pub fn selector(of: &Value) -> Value {
    let Some(fields) = of.as_object() else {
        return of.clone();
    };
    let mut fields = fields.clone();
    fields.retain(|_, v| !nothing("matchLabels", v));
    let expressions = fields.get_mut("matchExpressions").and_then(Value::as_array_mut);
    for expression in expressions.into_iter().flatten() {
        let mut all = expression.as_object().cloned().unwrap_or_default();
        all.retain(|_, v| !nothing("", v));
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
        for (a, b, equal) in [
            (json!({"a": []}), json!({}), true),
            (json!({}), json!({"a": null}), true),
            (json!({"labels": {}}), json!({}), true),
            (json!({"emptyDir": {}}), json!({}), false),
            (json!({"a": [1]}), json!({"a": [1]}), true),
            (json!({"a": [1]}), json!({"a": []}), false),
            (json!([{"x": []}]), json!([{}]), true),
        ] {
            assert_eq!(same(&a, &b), equal, "{a} {b}");
            assert_eq!(same(&b, &a), equal, "{b} {a}");
        }
    }

    #[test]
    fn selectors_are_as_go_writes_them() {
        let given =
            json!({"matchLabels": {}, "matchExpressions": [null, {"key": "a", "operator": "In", "values": []}]});
        let wanted = json!({"matchExpressions": [{"key": "", "operator": ""}, {"key": "a", "operator": "In"}]});
        assert_eq!(selector(&given), wanted);
    }
}
