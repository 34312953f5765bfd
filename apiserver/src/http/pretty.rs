//! JSON for people: when it is asked for, and how it is set (kube-apiserver's `negotiation.isPrettyPrint`).

use bytes::Bytes;
use http::{HeaderValue, header};

use super::{Answer, Incoming, ResponseBody, negotiate};

/// Programs whose users read what comes.
const READ_BY_PEOPLE: [&str; 3] = ["curl", "Wget", "Mozilla/5.0"];
/// What a step to the right is.
const STEP: &[u8] = b"  ";

/// Whether a request wants its answer set for people: `?pretty=`, `Accept: application/json;pretty=1`, or a program
/// whose users read what comes, unless it says `?pretty=false`.
pub(super) fn wanted(r: &Incoming) -> bool {
    let text = |h| r.headers.get(h).and_then(|v: &HeaderValue| v.to_str().ok());
    if negotiate::pretty(&r.headers) {
        return true;
    }
    match r.query.first("pretty").filter(|p| !p.is_empty()) {
        // As Go's strconv.ParseBool.
        Some(p) => matches!(p, "1" | "t" | "T" | "true" | "TRUE" | "True"),
        None => text(header::USER_AGENT).is_some_and(|a| READ_BY_PEOPLE.iter().any(|p| a.starts_with(p))),
    }
}

/// Sets an answer's JSON for people. Watches stay as they are, and so do OpenAPI documents.
pub(super) fn set(r: &Incoming, answer: &mut Answer) {
    let json = answer.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) == Some(b"application/json");
    if !json || r.path.starts_with("/openapi") || !wanted(r) {
        return;
    }
    if let Some(bytes) = answer.body().whole() {
        let set = Bytes::from(indented(bytes));
        if answer.headers().contains_key(header::CONTENT_LENGTH) {
            answer.headers_mut().insert(header::CONTENT_LENGTH, set.len().into());
        }
        *answer.body_mut() = ResponseBody::full(set);
    }
}

/// Valid JSON without spaces, set as Go's `json.MarshalIndent` does: two spaces a level, nothing in what is empty.
pub(super) fn indented(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut text, mut escaped) = (0_usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        for _ in 0..depth {
            out.extend_from_slice(STEP);
        }
    };
    for (i, &b) in json.iter().enumerate() {
        if text {
            out.push(b);
            text = escaped || b != b'"';
            escaped = !escaped && b == b'\\';
            continue;
        }
        match b {
            b'"' => {
                text = true;
                out.push(b);
            }
            b'{' | b'[' => {
                out.push(b);
                if !matches!(json.get(i + 1), Some(b'}' | b']')) {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                if !matches!(i.checked_sub(1).and_then(|i| json.get(i)), Some(b'{' | b'[')) {
                    depth = depth.saturating_sub(1);
                    line(&mut out, depth);
                }
                out.push(b);
            }
            b',' => {
                out.push(b);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            b' ' | b'\n' | b'\r' | b'\t' => {}
            _ => out.push(b),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_says_the_same() {
        for (json, set) in [
            ("{}", "{}"),
            ("[]", "[]"),
            (r#"{"a":1}"#, "{\n  \"a\": 1\n}"),
            (
                r#"{"a":{},"b":[],"c":[1,{"d":null}]}"#,
                "{\n  \"a\": {},\n  \"b\": [],\n  \"c\": [\n    1,\n    {\n      \"d\": null\n    }\n  ]\n}",
            ),
            (r#"{"a\\":"x\"{,:}"}"#, "{\n  \"a\\\\\": \"x\\\"{,:}\"\n}"),
        ] {
            let seen = String::from_utf8(indented(json.as_bytes())).unwrap();
            assert_eq!(seen, set);
            let value = |t: &str| serde_json::from_str::<serde_json::Value>(t).unwrap();
            assert_eq!(value(&seen), value(json));
        }
    }
}
