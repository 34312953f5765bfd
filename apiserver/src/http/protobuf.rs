//! Reading protobuf bodies: typed clients send built-in kinds in it. Which field is which member is data
//! (`data/messages.json.gz`, recorded from Kubernetes' types by `ci/record-messages`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::schema::zero::is_zero;
use crate::schema::{Field, MESSAGES, quote};
use crate::store::{DEEPEST, TOO_DEEP, depth};

/// What an encoded object starts with (`runtime/serializer/protobuf`).
pub(super) const MAGIC: &[u8] = b"k8s\0";

/// The object in a protobuf body.
pub(super) fn decode(body: &[u8]) -> Result<Value, String> {
    let body = body
        .strip_prefix(MAGIC)
        .ok_or("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for f in fields(body) {
        match f? {
            (1, Wire::Bytes(b)) => {
                for f in fields(b) {
                    match f? {
                        (1, Wire::Bytes(b)) => api_version = text(b),
                        (2, Wire::Bytes(b)) => kind = text(b),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(b)) => raw = b,
            _ => {}
        }
    }
    let m = &*MESSAGES;
    let name = m
        .kinds
        .get(&format!("{api_version}/{kind}"))
        .or_else(|| m.kinds.get(&format!("meta/{kind}")));
    let name = name.ok_or_else(|| {
        format!(
            "no kind {} is registered for version {}",
            quote(&kind),
            quote(&api_version)
        )
    })?;
    let mut object = message(name, raw, 0)?;
    object.insert("apiVersion".into(), json!(api_version));
    object.insert("kind".into(), json!(kind));
    let object = Value::Object(object);
    // A message may be several levels of its JSON, and have JSON in it.
    match depth(&object) > DEEPEST {
        true => Err(TOO_DEEP.to_owned()),
        false => Ok(object),
    }
}

enum Wire<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

fn varint(b: &mut &[u8]) -> Result<u64, String> {
    let mut n = 0_u64;
    for i in 0..10 {
        let (&x, rest) = b.split_first().ok_or("unexpected EOF")?;
        *b = rest;
        n |= u64::from(x & 0x7f) << (7 * i).min(63);
        if x < 0x80 {
            return Ok(n);
        }
    }
    Err("integer overflow".to_owned())
}

fn take<'a>(b: &mut &'a [u8], n: usize) -> Result<&'a [u8], String> {
    let (head, rest) = b.split_at_checked(n).ok_or("unexpected EOF")?;
    *b = rest;
    Ok(head)
}

/// The fields of a message, in order.
fn fields(mut b: &[u8]) -> impl Iterator<Item = Result<(u32, Wire<'_>), String>> {
    std::iter::from_fn(move || {
        if b.is_empty() {
            return None;
        }
        let next = (|| {
            let tag = varint(&mut b)?;
            let number = u32::try_from(tag >> 3).map_err(|_| "illegal tag")?;
            let little = |x: &[u8]| x.iter().rev().fold(0, |n, y| (n << 8) | u64::from(*y));
            let wire = match tag & 7 {
                0 => Wire::Number(varint(&mut b)?),
                1 => Wire::Fixed(little(take(&mut b, 8)?)),
                2 => {
                    let n = usize::try_from(varint(&mut b)?).map_err(|_| "illegal length")?;
                    Wire::Bytes(take(&mut b, n)?)
                }
                5 => Wire::Fixed(little(take(&mut b, 4)?)),
                w => return Err(format!("illegal wireType {w}")),
            };
            Ok((number, wire))
        })();
        if next.is_err() {
            b = &[];
        }
        Some(next)
    })
}

fn text(b: &[u8]) -> String {
    String::from_utf8_lossy(b).into_owned()
}

/// A message that is `within` so many others: any number of them costs the sender no more than some bytes each, so that
/// there has to be a last one.
fn message(name: &str, b: &[u8], within: usize) -> Result<Map<String, Value>, String> {
    if within > DEEPEST {
        return Err(TOO_DEEP.to_owned());
    }
    let mut object = Map::new();
    let Some(known) = MESSAGES.messages.get(name) else {
        return Ok(object);
    };
    for f in fields(b) {
        let (number, wire) = f?;
        let Some(Field(_, member, shape, kind, keep, ..)) = known.iter().find(|k| k.0 == number) else {
            continue;
        };
        match shape.as_str() {
            "<" => {
                if let Wire::Bytes(b) = wire {
                    object.extend(message(kind, b, within + 1)?);
                }
            }
            "[]" => {
                let list = object.entry(member.as_str()).or_insert_with(|| json!([]));
                // Packed numbers come in one piece.
                match (wire, kind.as_str(), list.as_array_mut()) {
                    (Wire::Bytes(mut b), "i", Some(list)) => {
                        while !b.is_empty() {
                            list.push(json!(varint(&mut b)?.cast_signed()));
                        }
                    }
                    (wire, kind, Some(list)) => list.push(value(kind, wire, within)?),
                    _ => {}
                }
            }
            "{}" => {
                let Wire::Bytes(b) = wire else { continue };
                let (mut k, mut v) = (String::new(), None);
                for f in fields(b) {
                    match f? {
                        (1, Wire::Bytes(b)) => k = text(b),
                        (2, w) => v = Some(value(kind, w, within)?),
                        _ => {}
                    }
                }
                let v = v.unwrap_or_else(|| json!(""));
                object.entry(member.as_str()).or_insert_with(|| json!({}))[k.as_str()] = v;
            }
            _ => {
                let v = value(kind, wire, within)?;
                if !v.is_null() && (*keep == 1 || !is_zero(&v)) {
                    object.insert(member.clone(), v);
                }
            }
        }
    }
    Ok(object)
}

/// One value by its type's letter, of a message that is `within` others.
fn value(kind: &str, wire: Wire<'_>, within: usize) -> Result<Value, String> {
    Ok(match (kind, wire) {
        ("b", Wire::Number(n)) => json!(n != 0),
        ("i", Wire::Number(n)) => json!(n.cast_signed()),
        ("f", Wire::Fixed(n)) => match f64::from_bits(n) {
            // As Go writes them in JSON.
            whole if whole.fract() == 0.0 && whole.abs() < 9e15 => json!(whole as i64),
            n => json!(n),
        },
        ("s", Wire::Bytes(b)) => json!(text(b)),
        ("y", Wire::Bytes(b)) => json!(STANDARD.encode(b)),
        ("T" | "M", Wire::Bytes(b)) => {
            let (mut seconds, mut nanos, mut any) = (0, 0, false);
            for f in fields(b) {
                match f? {
                    (1, Wire::Number(n)) => (seconds, any) = (n.cast_signed(), true),
                    (2, Wire::Number(n)) => nanos = i32::try_from(n.cast_signed()).unwrap_or_default(),
                    _ => {}
                }
            }
            match Timestamp::new(seconds, nanos) {
                Ok(t) if any && kind == "T" => json!(crate::registry::rfc3339(t)),
                Ok(t) if any => json!(format!("{t:.6}")),
                _ => Value::Null,
            }
        }
        ("Q", Wire::Bytes(b)) => {
            let mut quantity = String::new();
            for f in fields(b) {
                if let (1, Wire::Bytes(b)) = f? {
                    quantity = text(b);
                }
            }
            json!(quantity)
        }
        ("X", Wire::Bytes(b)) => {
            let (mut is_text, mut number, mut string) = (false, 0, String::new());
            for f in fields(b) {
                match f? {
                    (1, Wire::Number(n)) => is_text = n == 1,
                    (2, Wire::Number(n)) => number = n.cast_signed(),
                    (3, Wire::Bytes(b)) => string = text(b),
                    _ => {}
                }
            }
            if is_text { json!(string) } else { json!(number) }
        }
        ("R" | "F", Wire::Bytes(b)) => {
            let mut v = Value::Null;
            for f in fields(b) {
                if let (1, Wire::Bytes(b)) = f? {
                    v = serde_json::from_slice(b).map_err(|e| e.to_string())?;
                }
            }
            v
        }
        ("S", Wire::Bytes(b)) => {
            let mut items = Vec::new();
            for f in fields(b) {
                if let (1, Wire::Bytes(b)) = f? {
                    items.push(json!(text(b)));
                }
            }
            Value::Array(items)
        }
        ("A" | "B" | "L", Wire::Bytes(b)) => schema_or(kind, b, within)?,
        (name, Wire::Bytes(b)) => Value::Object(message(name, b, within + 1)?),
        _ => Value::Null,
    })
}

/// A schema, or what may stand in its place (`JSONSchemaPropsOr...`).
fn schema_or(kind: &str, b: &[u8], within: usize) -> Result<Value, String> {
    const SCHEMA: &str = "apiextensions/v1.JSONSchemaProps";
    let (mut schema, mut allows, mut list) = (None, false, Vec::new());
    for f in fields(b) {
        match (kind, f?) {
            ("B", (1, Wire::Number(n))) => allows = n != 0,
            ("B", (2, Wire::Bytes(b))) | ("A" | "L", (1, Wire::Bytes(b))) => {
                schema = Some(message(SCHEMA, b, within + 1)?)
            }
            ("A", (2, Wire::Bytes(b))) => list.push(Value::Object(message(SCHEMA, b, within + 1)?)),
            ("L", (2, Wire::Bytes(b))) => list.push(json!(text(b))),
            _ => {}
        }
    }
    Ok(match schema {
        Some(s) => Value::Object(s),
        None if kind == "B" => json!(allows),
        None => Value::Array(list),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut v = vec![(number << 3) | 2, u8::try_from(bytes.len()).unwrap()];
        v.extend_from_slice(bytes);
        v
    }

    #[test]
    fn a_config_map_decodes() {
        let entry = [field(1, b"k"), field(2, b"v")].concat();
        let raw = [field(1, &[field(1, b"x"), field(8, b"")].concat()), field(2, &entry)].concat();
        let type_meta = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
        let body = [MAGIC.to_vec(), field(1, &type_meta), field(2, &raw)].concat();
        assert_eq!(
            decode(&body).unwrap(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"k": "v"}})
        );
    }

    /// Schemas within schemas: each is `not` of the next, or one of its `properties`.
    #[test]
    fn what_is_deeper_than_json_may_be_is_refused() {
        fn long(number: u32, bytes: &[u8]) -> Vec<u8> {
            let mut v = Vec::new();
            for mut n in [u64::from(number << 3 | 2), bytes.len() as u64] {
                while n >= 0x80 {
                    v.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
                    n >>= 7;
                }
                v.push(u8::try_from(n).unwrap());
            }
            v.extend_from_slice(bytes);
            v
        }
        let number = |message: &str, member: &str| {
            let fields = &MESSAGES.messages[message];
            fields.iter().find(|f| f.1 == member).unwrap().0
        };
        let schema = "apiextensions/v1.JSONSchemaProps";
        let (not, properties) = (number(schema, "not"), number(schema, "properties"));
        let validation = number("apiextensions/v1.CustomResourceValidation", "openAPIV3Schema");
        let version = number("apiextensions/v1.CustomResourceDefinitionVersion", "schema");
        let versions = number("apiextensions/v1.CustomResourceDefinitionSpec", "versions");
        let spec = number("apiextensions/v1.CustomResourceDefinition", "spec");
        let body = |mut inner: Vec<u8>, times: usize, wrap: &dyn Fn(&[u8]) -> Vec<u8>| {
            for _ in 0..times {
                inner = wrap(&inner);
            }
            let raw = [validation, version, versions, spec]
                .iter()
                .fold(inner, |b, n| long(*n, &b));
            let type_meta = [
                long(1, b"apiextensions.k8s.io/v1"),
                long(2, b"CustomResourceDefinition"),
            ]
            .concat();
            [MAGIC.to_vec(), long(1, &type_meta), long(2, &raw)].concat()
        };
        let nots = |n| decode(&body(Vec::new(), n, &|b| long(not, b)));
        let properties = |n| {
            decode(&body(Vec::new(), n, &|b| {
                long(properties, &[long(1, b"p"), long(2, b)].concat())
            }))
        };
        assert!(nots(100).is_ok());
        assert!(properties(50).is_ok());
        for refused in [nots(200), nots(20_000), properties(80), properties(3_000)] {
            assert_eq!(refused.unwrap_err(), "exceeded max depth");
        }
    }

    #[test]
    fn broken_bodies_are_refused() {
        assert!(decode(b"{}").is_err());
        let type_meta = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
        let body = [MAGIC.to_vec(), field(1, &type_meta), vec![(2 << 3) | 2, 100, 1]].concat();
        assert!(decode(&body).is_err());
    }
}
