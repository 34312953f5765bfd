//! Whether an object is as expected: the expected tree is a part of the seen one. Operators stand where a value
//! could: `{$gte: 2}`.

use std::fmt;

use serde_json::Value;

/// One place where an object is not as expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Where: `status.readyReplicas`.
    pub path: String,
    /// What was expected there.
    pub expected: String,
    /// What is there.
    pub seen: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, seen {}", self.path, self.expected, self.seen)
    }
}

/// The operators, with what they want.
pub const OPERATORS: &[(&str, &str)] = &[
    ("$eq", "equal to the value"),
    ("$ne", "there, and not equal to the value"),
    ("$gt", "greater than the number"),
    ("$gte", "the number or greater"),
    ("$lt", "less than the number"),
    ("$lte", "the number or less"),
    ("$in", "one of the list"),
    ("$exists", "true: there; false: not there"),
    ("$contains", "a string with this in it"),
    ("$startsWith", "a string that begins so"),
    ("$any", "a list or map of which some value matches"),
    ("$all", "a list or map of which every value matches"),
    ("$none", "a list or map of which no value matches, or nothing"),
    ("$size", "a list or map whose length matches"),
    ("$exactly", "a list of exactly these, in any order"),
];

fn operator(v: &Value) -> Option<(&str, &Value)> {
    let m = v.as_object()?;
    let (k, arg) = m.iter().next()?;
    (m.len() == 1 && k.starts_with('$')).then_some((k.as_str(), arg))
}

/// Wrong operators in an expected tree: (path, operator).
#[must_use]
pub fn wrong_operators(expected: &Value) -> Vec<(String, String)> {
    fn go(v: &Value, path: &str, out: &mut Vec<(String, String)>) {
        match v {
            Value::Object(m) => {
                for (k, v) in m {
                    let here = join(path, k);
                    if k.starts_with('$') && (m.len() > 1 || !OPERATORS.iter().any(|(o, _)| o == k)) {
                        out.push((here.clone(), k.clone()));
                    }
                    go(v, &here, out);
                }
            }
            Value::Array(a) => a
                .iter()
                .enumerate()
                .for_each(|(i, v)| go(v, &format!("{path}[{i}]"), out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    go(expected, "", &mut out);
    out
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn short(v: &Value) -> String {
    let s = v.to_string();
    if s.chars().count() > 160 {
        format!("{}...", s.chars().take(160).collect::<String>())
    } else {
        s
    }
}

/// Everything that is not as expected; empty when it matches.
#[must_use]
pub fn mismatches(expected: &Value, seen: &Value) -> Vec<Mismatch> {
    let mut out = Vec::new();
    compare(expected, Some(seen), "", &mut out);
    out
}

/// Whether it matches.
#[must_use]
pub fn matches(expected: &Value, seen: &Value) -> bool {
    mismatches(expected, seen).is_empty()
}

fn fits(expected: &Value, seen: Option<&Value>) -> bool {
    let mut out = Vec::new();
    compare(expected, seen, "", &mut out);
    out.is_empty()
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => (a - b).abs() < 1e-9,
        _ => a == b,
    }
}

/// Each expected element is matched by a seen one of its own, in any order; `exact`: and none is left over.
fn elements(expected: &[Value], seen: &[Value], exact: bool) -> bool {
    // Augmenting paths: expected lists are short, and a greedy choice could take another's only partner.
    fn place(i: usize, fit: &[Vec<bool>], used: &mut [Option<usize>], tried: &mut [bool]) -> bool {
        for j in 0..used.len() {
            if fit[i][j] && !tried[j] {
                tried[j] = true;
                if used[j].is_none_or(|k| place(k, fit, used, tried)) {
                    used[j] = Some(i);
                    return true;
                }
            }
        }
        false
    }
    if exact && expected.len() != seen.len() {
        return false;
    }
    let fit: Vec<Vec<bool>> = expected
        .iter()
        .map(|e| seen.iter().map(|s| fits(e, Some(s))).collect())
        .collect();
    let mut used = vec![None; seen.len()];
    (0..expected.len()).all(|i| place(i, &fit, &mut used, &mut vec![false; seen.len()]))
}

fn compare(expected: &Value, seen: Option<&Value>, path: &str, out: &mut Vec<Mismatch>) {
    let mut miss = |expected: String| {
        out.push(Mismatch {
            path: path.to_owned(),
            expected,
            seen: seen.map_or("nothing".into(), short),
        });
    };
    if let Some((op, arg)) = operator(expected) {
        let values = || -> Vec<&Value> {
            match seen {
                Some(Value::Array(a)) => a.iter().collect(),
                Some(Value::Object(m)) => m.values().collect(),
                _ => Vec::new(),
            }
        };
        let number = |ok: fn(f64, f64) -> bool| match (seen.and_then(Value::as_f64), arg.as_f64()) {
            (Some(s), Some(a)) => ok(s, a),
            _ => false,
        };
        let text = |ok: fn(&str, &str) -> bool| match (seen.and_then(Value::as_str), arg.as_str()) {
            (Some(s), Some(a)) => ok(s, a),
            _ => false,
        };
        let good = match op {
            "$eq" => seen.is_some_and(|s| equal(s, arg)),
            "$ne" => seen.is_some_and(|s| !equal(s, arg)),
            "$gt" => number(|s, a| s > a),
            "$gte" => number(|s, a| s >= a),
            "$lt" => number(|s, a| s < a),
            "$lte" => number(|s, a| s <= a),
            "$in" => arg.as_array().is_some_and(|l| l.iter().any(|a| fits(a, seen))),
            "$exists" => seen.is_some_and(|s| !s.is_null()) == arg.as_bool().unwrap_or(true),
            "$contains" => text(|s, a| s.contains(a)),
            "$startsWith" => text(|s, a| s.starts_with(a)),
            "$any" => values().iter().any(|s| fits(arg, Some(s))),
            "$all" => seen.is_some() && values().iter().all(|s| fits(arg, Some(s))),
            "$none" => !values().iter().any(|s| fits(arg, Some(s))),
            "$size" => {
                let n = Value::from(values().len());
                fits(arg, Some(&n))
            }
            "$exactly" => match (arg.as_array(), seen) {
                (Some(a), Some(Value::Array(s))) => elements(a, s, true),
                (Some(a), None) => a.is_empty(),
                _ => false,
            },
            _ => false,
        };
        if !good {
            miss(short(expected));
        }
        return;
    }
    match (expected, seen) {
        (Value::Object(e), Some(Value::Object(s))) => {
            for (k, v) in e {
                compare(v, s.get(k), &join(path, k), out);
            }
        }
        // A map of operators that all accept absence also matches nothing at all.
        (Value::Object(e), None) => {
            let none = Value::Object(serde_json::Map::new());
            if e.is_empty() || !fits(expected, Some(&none)) {
                miss(short(expected));
            }
        }
        (Value::Array(e), Some(Value::Array(s))) => {
            if !elements(e, s, false) {
                miss(short(expected));
            }
        }
        (e, Some(s)) if equal(e, s) => {}
        (Value::Null, None) => {}
        _ => miss(short(expected)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trees() {
        let seen = json!({
            "spec": {"replicas": 2, "clusters": [{"name": "a", "replicas": 1}, {"name": "b", "replicas": 1}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            "metadata": {"labels": {"app": "sentiment"}},
        });
        for (expected, want) in [
            (json!({"spec": {"replicas": 2}}), true),
            (json!({"spec": {"replicas": 2.0}}), true),
            (json!({"spec": {"replicas": {"$gte": 3}}}), false),
            (json!({"spec": {"clusters": [{"name": "b"}]}}), true),
            (json!({"spec": {"clusters": [{"name": "b"}, {"name": "b"}]}}), false),
            (json!({"spec": {"clusters": [{"replicas": 1}, {"name": "a"}]}}), true),
            (
                json!({"spec": {"clusters": {"$exactly": [{"name": "b"}, {"name": "a"}]}}}),
                true,
            ),
            (json!({"spec": {"clusters": {"$exactly": [{"name": "b"}]}}}), false),
            (json!({"spec": {"clusters": {"$size": 2}}}), true),
            (json!({"spec": {"clusters": {"$size": {"$lt": 2}}}}), false),
            (json!({"spec": {"clusters": {"$none": {"name": "c"}}}}), true),
            (json!({"spec": {"paused": {"$exists": false}}}), true),
            (json!({"spec": {"template": {"x": {"$exists": false}}}}), true),
            (json!({"spec": {"template": {"x": 1}}}), false),
            (
                json!({"metadata": {"labels": {"app": {"$in": ["x", "sentiment"]}}}}),
                true,
            ),
            (json!({"metadata": {"labels": {"app": {"$startsWith": "senti"}}}}), true),
            (
                json!({"status": {"conditions": {"$any": {"type": "Ready", "status": "True"}}}}),
                true,
            ),
            (json!({"status": {"conditions": {"$all": {"type": "Ready"}}}}), true),
        ] {
            assert_eq!(matches(&expected, &seen), want, "{expected}");
        }
        let m = mismatches(&json!({"spec": {"replicas": 1}, "status": {"ready": 1}}), &seen);
        let said: Vec<String> = m.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "spec.replicas: expected 1, seen 2",
                "status.ready: expected 1, seen nothing"
            ]
        );
        assert_eq!(
            wrong_operators(&json!({"a": {"$gt": 1}, "b": {"$gteq": 1}})),
            [("b.$gteq".into(), "$gteq".into())]
        );
    }
}
