//! Places inside an object: `spec.replicas`, `status.conditions[type=Ready].status`, `metadata.annotations["a.b/c"]`,
//! `spec.clusters[*].replicas`.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
enum Part<'a> {
    Key(&'a str),
    Each,
    Where(&'a str, &'a str),
}

fn parts(path: &str) -> Vec<Part<'_>> {
    let mut out = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(r) = rest.strip_prefix('.') {
            rest = r;
        } else if let Some(r) = rest.strip_prefix("[\"") {
            let (key, r) = r.split_once("\"]").unwrap_or((r, ""));
            out.push(Part::Key(key));
            rest = r;
        } else if let Some(r) = rest.strip_prefix('[') {
            let (inner, r) = r.split_once(']').unwrap_or((r, ""));
            out.push(match inner.split_once('=') {
                Some((k, v)) => Part::Where(k, v),
                None if inner == "*" => Part::Each,
                None => Part::Key(inner),
            });
            rest = r;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            out.push(Part::Key(&rest[..end]));
            rest = &rest[end..];
        }
    }
    out
}

/// Everything at `path` in `v`.
#[must_use]
pub fn find<'a>(v: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut now = vec![v];
    for part in parts(path) {
        now = now
            .into_iter()
            .flat_map(|v| -> Vec<&Value> {
                match (&part, v) {
                    (Part::Key(k), Value::Object(m)) => m.get(*k).into_iter().collect(),
                    (Part::Key(k), Value::Array(a)) => {
                        k.parse().ok().and_then(|i: usize| a.get(i)).into_iter().collect()
                    }
                    (Part::Each, Value::Array(a)) => a.iter().collect(),
                    (Part::Each, Value::Object(m)) => m.values().collect(),
                    (Part::Where(k, want), Value::Array(a)) => a
                        .iter()
                        .filter(|x| x.get(*k).and_then(Value::as_str) == Some(*want))
                        .collect(),
                    _ => Vec::new(),
                }
            })
            .collect();
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds() {
        let v = json!({"spec": {"clusters": [{"name": "a", "replicas": 1}, {"name": "b", "replicas": 2}]},
            "metadata": {"annotations": {"x.y/z": "1"}}});
        for (path, want) in [
            ("spec.clusters[*].replicas", json!([1, 2])),
            ("spec.clusters[name=b].replicas", json!([2])),
            ("spec.clusters[1].name", json!(["b"])),
            ("metadata.annotations[\"x.y/z\"]", json!(["1"])),
            ("spec.nothing.here", json!([])),
        ] {
            assert_eq!(json!(find(&v, path)), want, "{path}");
        }
    }
}
