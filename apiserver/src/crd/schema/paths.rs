//! Paths of fields in a schema, as rules and selectable fields name them (`ValidFieldPath` of
//! `apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go`).

use serde_json::Value;

use super::{entries, schema_at};

/// What a path is made of: the signs `.`, `[` and `]`, and what stands between them. A text in single quotes is one,
/// whatever is in it.
fn tokens(path: &str) -> Vec<&str> {
    let (mut all, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        let end = if rest.starts_with('\'') {
            let bytes = rest.as_bytes();
            let close = (1..bytes.len()).find(|i| bytes[*i] == b'\'' && bytes[i - 1] != b'\\');
            close.map_or(rest.len(), |i| i + 1)
        } else {
            match rest.find(['.', '[', ']']) {
                Some(0) => 1,
                Some(i) => i,
                None => rest.len(),
            }
        };
        let (token, more) = rest.split_at(end);
        all.push(token);
        rest = more;
    }
    all
}

/// A text without its escapes, or the character that cannot be escaped.
fn unescaped(text: &str) -> Result<String, char> {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        out.push(match escaped {
            None => c,
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(c @ ('\'' | '\\')) => c,
            Some(other) => return Err(other),
        });
    }
    Ok(out)
}

/// The schema that a path leads to and the path as Kubernetes writes it (without the first dot), or why it leads nowhere.
pub(crate) fn found<'s>(path: &str, schema: &'s Value, arrays: bool) -> Result<(String, &'s Value), String> {
    const NOWHERE: &str = "does not refer to a valid field";
    let ended = || "unexpected end of JSON path".to_owned();
    let (mut at, mut written, mut tokens) = (schema, String::new(), tokens(path).into_iter());
    while let Some(token) = tokens.next() {
        let name = match token {
            "[" if !arrays => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = tokens.next().ok_or_else(ended)?;
                let inner = quoted.strip_prefix('\'').and_then(|q| q.strip_suffix('\''));
                let inner = inner.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                unescaped(inner).map_err(|c| format!("invalid string literal: invalid escape char \\{c}"))?
            }
            "." => tokens.next().ok_or_else(ended)?.to_owned(),
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        if entries(&at["properties"]).next().is_some() {
            if !written.is_empty() {
                written.push('.');
            }
            written.push_str(&name);
            at = at["properties"].get(&name).ok_or(NOWHERE)?;
        } else if let Some(values) = schema_at(&at["additionalProperties"]) {
            written.push_str(&format!("[{name}]"));
            at = values;
        } else {
            return Err(NOWHERE.to_owned());
        }
        if token == "[" {
            match tokens.next().ok_or_else(ended)? {
                "]" => {}
                other => return Err(format!("expected ] but got {other}")),
            }
        }
    }
    Ok((written, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_fields() {
        let schema = json!({"properties": {"spec": {"properties": {"a": {"type": "string"}, "b.c": {"type": "integer"},
            "m": {"additionalProperties": {"type": "boolean"}}}}}});
        for (path, arrays, wanted) in [
            (".spec.a", false, Ok("spec.a")),
            (".spec['b.c']", true, Ok("spec.b.c")),
            (".spec.m['x']", true, Ok("spec.m[x]")),
            (".spec['a']", false, Err("array notation is not allowed")),
            (".spec[a]", true, Err("expected single quoted string but got a")),
            (".spec['a'", true, Err("unexpected end of JSON path")),
            (".spec.", true, Err("unexpected end of JSON path")),
            (".spec.a.b", true, Err("does not refer to a valid field")),
            (".nosuch", true, Err("does not refer to a valid field")),
            ("spec", true, Err("expected [ or . but got: spec")),
            ("", true, Ok("")),
        ] {
            let found = found(path, &schema, arrays);
            let found = found.as_ref().map(|(p, _)| p.as_str()).map_err(String::as_str);
            assert_eq!(found, wanted, "{path}");
        }
    }
}
