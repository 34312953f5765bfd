//! The part of JSONPath that CRDs' printer columns use: fields, `['field']`, indexes, `[*]`, and filters
//! `[?(@.field=="value")]`.

use serde_json::Value;

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// Elements whose field (a path of its own) compares so with a value.
    Filter(Vec<Step>, bool, Value),
}

/// The values at a path, in order; none if it is malformed or leads nowhere.
pub(super) fn find<'v>(path: &str, root: &'v Value) -> Vec<&'v Value> {
    match parse(path) {
        Some(steps) => walk(&steps, root),
        None => Vec::new(),
    }
}

fn walk<'v>(steps: &[Step], root: &'v Value) -> Vec<&'v Value> {
    let mut found = vec![root];
    for step in steps {
        found = found
            .into_iter()
            .flat_map(|value| -> Vec<&'v Value> {
                match (step, value) {
                    (Step::Field(name), value) => value.get(name).into_iter().collect(),
                    (Step::Index(index), Value::Array(items)) => {
                        let index = if *index < 0 { items.len() as i64 + index } else { *index };
                        usize::try_from(index)
                            .ok()
                            .and_then(|i| items.get(i))
                            .into_iter()
                            .collect()
                    }
                    (Step::All, Value::Array(items)) => items.iter().collect(),
                    (Step::All, Value::Object(fields)) => fields.values().collect(),
                    (Step::Filter(path, equal, wanted), Value::Array(items)) => items
                        .iter()
                        .filter(|item| {
                            walk(path, item)
                                .first()
                                .is_some_and(|value| (*value == wanted) == *equal)
                        })
                        .collect(),
                    _ => Vec::new(),
                }
            })
            .collect();
    }
    found
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let path = path.trim();
    let path = path.strip_prefix('{').and_then(|p| p.strip_suffix('}')).unwrap_or(path);
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after)?;
            steps.push(parse_bracket(after[..end].trim())?);
            rest = &after[end + 1..];
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let (name, length) = parse_name(rest);
            match name.as_str() {
                "" if rest.starts_with('[') => {}
                "" => return None,
                "*" => steps.push(Step::All),
                _ => steps.push(Step::Field(name)),
            }
            rest = &rest[length..];
        }
    }
    Some(steps)
}

/// A field's name, in which `\.` is a dot; and how much text it took.
fn parse_name(text: &str) -> (String, usize) {
    let mut name = String::new();
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '.' | '[' if !escaped => return (name, i),
            c => {
                name.push(c);
                escaped = false;
            }
        }
    }
    (name, text.len())
}

/// Where the bracket closes, quotes and inner brackets skipped.
fn closing(text: &str) -> Option<usize> {
    let (mut quote, mut depth) = (None, 0);
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(i),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn parse_bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (operator, at) = ["==", "!="].into_iter().find_map(|o| Some((o, filter.find(o)?)))?;
        let path = parse(filter[..at].trim().strip_prefix('@')?)?;
        return Some(Step::Filter(path, operator == "==", literal(filter[at + 2..].trim())));
    }
    if let Some(name) = quoted(text) {
        return Some(Step::Field(name.to_owned()));
    }
    text.parse().ok().map(Step::Index)
}

fn quoted(text: &str) -> Option<&str> {
    ['\'', '"']
        .into_iter()
        .find_map(|q| text.strip_prefix(q)?.strip_suffix(q))
}

fn literal(text: &str) -> Value {
    match quoted(text) {
        Some(text) => text.into(),
        None => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find() {
        let object = json!({
            "spec": {"a": 1, "list": [{"n": "x"}, {"n": "y"}]}, "metadata": {"labels": {"app.io/x": "l"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Joined", "status": "False"}]}
        });
        let cases = [
            (".spec.a", vec![json!(1)]),
            (".spec.list[1].n", vec![json!("y")]),
            (".spec.list[-1].n", vec![json!("y")]),
            (".spec.list[*].n", vec![json!("x"), json!("y")]),
            (".metadata.labels['app.io/x']", vec![json!("l")]),
            (r".metadata.labels.app\.io/x", vec![json!("l")]),
            (r#".status.conditions[?(@.type=="Ready")].status"#, vec![json!("True")]),
            (".status.conditions[?(@.type=='Joined')].status", vec![json!("False")]),
            (".nope.x", vec![]),
            ("{.spec.a}", vec![json!(1)]),
            (".spec..a", vec![]),
        ];
        for (path, expected) in cases {
            assert_eq!(
                find(path, &object).into_iter().cloned().collect::<Vec<_>>(),
                expected,
                "{path}"
            );
        }
    }
}
