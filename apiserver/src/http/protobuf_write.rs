//! Objects of built-in kinds in protobuf, byte for byte as the generated `Marshal` of `k8s.io/api` writes their structs:
//! fields by their numbers, maps sorted by their keys, what is no pointer whether it says anything or not. What is written
//! is the JSON tree of an object, by what `data/messages.json.gz` knows of its type.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::protobuf::MAGIC;
use super::wire::Backward;
use crate::schema::{Field, MESSAGES};

/// Room that is made for an object, in bytes: few need more.
const USUAL: usize = 4_096;

/// How a field holds values of its type.
#[derive(Clone, Copy)]
enum Shape {
    One,
    /// One that Go may hold none of.
    Pointer,
    List,
    Map,
    /// A struct whose members are among those of the struct it is in.
    Embedded,
}

/// A field's type; the letters are those of `ci/record-messages`.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Integer,
    Boolean,
    Float,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Json,
    Texts,
    SchemaOrList,
    SchemaOrBoolean,
    SchemaOrTexts,
    Message(usize),
}

struct Member {
    number: u32,
    name: &'static str,
    shape: Shape,
    of: Type,
}

/// The messages of the API's types: their fields from the highest number to the lowest.
struct Plans {
    messages: Vec<Vec<Member>>,
    places: BTreeMap<&'static str, usize>,
}

const SCHEMA: &str = "apiextensions/v1.JSONSchemaProps";
const LIST_META: &str = "meta/v1.ListMeta";

static PLANS: LazyLock<Plans> = LazyLock::new(|| {
    let fields = MESSAGES.messages.values().flatten();
    let mut places: BTreeMap<&str, usize> = MESSAGES.messages.keys().map(String::as_str).zip(0..).collect();
    // Structs without fields are recorded nowhere.
    for empty in fields.map(|f| f.3.as_str()).filter(|kind| kind.len() > 1) {
        let next = places.len();
        places.entry(empty).or_insert(next);
    }
    let mut messages: Vec<Vec<Member>> = Vec::new();
    messages.resize_with(places.len(), Vec::new);
    for (name, known) in &MESSAGES.messages {
        let mut plan: Vec<Member> = known.iter().map(|f| member(f, &places)).collect();
        plan.sort_by_key(|m| std::cmp::Reverse(m.number));
        messages[places[name.as_str()]] = plan;
    }
    Plans { messages, places }
});

fn member(
    Field(number, name, shape, kind, _, _, _, pointer): &'static Field,
    places: &BTreeMap<&str, usize>,
) -> Member {
    let of = match kind.as_str() {
        "s" => Type::Text,
        "i" => Type::Integer,
        "b" => Type::Boolean,
        "f" => Type::Float,
        "y" => Type::Bytes,
        "T" => Type::Time,
        "M" => Type::MicroTime,
        "Q" => Type::Quantity,
        "X" => Type::IntOrString,
        "R" | "F" => Type::Json,
        "S" => Type::Texts,
        "A" => Type::SchemaOrList,
        "B" => Type::SchemaOrBoolean,
        "L" => Type::SchemaOrTexts,
        message => Type::Message(places[message]),
    };
    let shape = match shape.as_str() {
        "[]" => Shape::List,
        "{}" => Shape::Map,
        "<" => Shape::Embedded,
        _ if *pointer == 1 => Shape::Pointer,
        _ => Shape::One,
    };
    Member {
        number: *number,
        name,
        shape,
        of,
    }
}

/// Name of the message that an object of a kind is.
fn place_of(api_version: &str, kind: &str) -> Option<usize> {
    let places = &PLANS.places;
    let own = MESSAGES.kinds.get(&format!("{api_version}/{kind}"));
    let place = own.and_then(|name| places.get(name.as_str()));
    // What is of every group is in none: Status, discovery and metadata alone.
    let shared = |version: &str| places.get(format!("meta/{version}.{kind}").as_str());
    let beta = || {
        (api_version == "meta.k8s.io/v1beta1")
            .then(|| shared("v1beta1"))
            .flatten()
    };
    let any = || matches!(api_version, "" | "v1" | "meta.k8s.io/v1" | "meta.k8s.io/v1beta1").then(|| shared("v1"));
    place.or_else(beta).or_else(|| any().flatten()).copied()
}

/// An object by its apiVersion and kind; `None`: no such message is known.
pub(super) fn object(api_version: &str, kind: &str, v: &Value) -> Option<Bytes> {
    let of = place_of(api_version, kind)?;
    let mut out = Backward::with_capacity(USUAL);
    envelope(&mut out, api_version, kind, |out| message(out, of, v));
    Some(out.finish())
}

/// A list of objects of a kind.
pub(super) fn list(
    (api_version, kind, list_kind): (&str, &str, &str),
    metadata: &Value,
    items: impl DoubleEndedIterator<Item = Arc<Value>>,
) -> Option<Bytes> {
    let of = place_of(api_version, kind)?;
    let meta = *PLANS.places.get(LIST_META)?;
    let mut out = Backward::with_capacity(USUAL);
    // All lists have these numbers (`getStreamingListData`).
    envelope(&mut out, api_version, list_kind, |out| {
        for item in items.rev() {
            out.message(2, |out| message(out, of, &item));
        }
        out.message(1, |out| message(out, meta, metadata));
    });
    Some(out.finish())
}

/// An event of a watch, with its length before it (`metav1.WatchEvent` in a `LengthDelimitedFrame`).
pub(super) fn event(kind: &str, object: &[u8]) -> Bytes {
    let mut out = Backward::with_capacity(object.len() + 32);
    out.message(2, |out| out.text(1, object));
    out.text(1, kind);
    let length = u32::try_from(out.len()).unwrap_or(u32::MAX);
    out.put(&length.to_be_bytes());
    out.finish()
}

/// `runtime.Unknown`: what it is, then what `raw` writes.
fn envelope(out: &mut Backward, api_version: &str, kind: &str, raw: impl FnOnce(&mut Backward)) {
    // Nothing is said of encoding and type.
    out.text(4, "");
    out.text(3, "");
    out.message(2, raw);
    out.message(1, |out| {
        out.text(2, kind);
        out.text(1, api_version);
    });
    out.put(MAGIC);
}

fn message(out: &mut Backward, of: usize, v: &Value) {
    for m in &PLANS.messages[of] {
        let given = || v.get(m.name).filter(|v| !v.is_null());
        match (m.shape, m.of) {
            (Shape::Embedded, Type::Message(inner)) => out.message(m.number, |out| message(out, inner, v)),
            (Shape::One | Shape::Embedded, of) => value(out, m.number, of, given().unwrap_or(&Value::Null)),
            (Shape::Pointer, of) => {
                if let Some(v) = given() {
                    value(out, m.number, of, v);
                }
            }
            (Shape::List, of) => match given() {
                Some(Value::Array(all)) => {
                    for v in all.iter().rev() {
                        value(out, m.number, of, v);
                    }
                }
                // Kept as text ([`crate::patch::fold`]).
                Some(Value::String(folded)) if m.name == "managedFields" => managed(out, m.number, folded),
                _ => {}
            },
            (Shape::Map, of) => {
                for (k, v) in given().and_then(Value::as_object).into_iter().flat_map(Map::iter).rev() {
                    out.message(m.number, |out| {
                        if !(v.is_null() && matches!(of, Type::Bytes)) {
                            value(out, 2, of, v);
                        }
                        out.text(1, k);
                    });
                }
            }
        }
    }
}

/// One value of a field; null: what Go has where nothing was given.
fn value(out: &mut Backward, number: u32, of: Type, v: &Value) {
    match of {
        Type::Text => out.text(number, v.as_str().unwrap_or_default()),
        Type::Integer => out.integer(number, integer(v)),
        Type::Boolean => out.boolean(number, v == true),
        Type::Float => out.double(number, v.as_f64().unwrap_or_default()),
        Type::Bytes => out.text(
            number,
            STANDARD.decode(v.as_str().unwrap_or_default()).unwrap_or_default(),
        ),
        Type::Time => out.message(number, |out| time(out, v.as_str(), false)),
        Type::MicroTime => out.message(number, |out| time(out, v.as_str(), true)),
        Type::Quantity => out.message(number, |out| match v {
            Value::Null => out.text(1, "0"),
            Value::String(text) => out.text(1, text),
            other => out.text(1, other.to_string()),
        }),
        Type::IntOrString => out.message(number, |out| {
            out.text(3, v.as_str().unwrap_or_default());
            out.integer(2, integer(v));
            out.boolean(1, v.is_string());
        }),
        Type::Json => out.message(number, |out| {
            if !v.is_null() {
                out.text(1, v.to_string());
            }
        }),
        Type::Texts => out.message(number, |out| texts(out, 1, v)),
        Type::SchemaOrList => out.message(number, |out| match v {
            Value::Array(all) => {
                for v in all.iter().rev() {
                    schema(out, 2, v);
                }
            }
            one => schema(out, 1, one),
        }),
        Type::SchemaOrBoolean => out.message(number, |out| {
            if v.is_object() {
                schema(out, 2, v);
            }
            // A schema allows, too.
            out.boolean(1, v.is_object() || v == true);
        }),
        Type::SchemaOrTexts => out.message(number, |out| match v {
            Value::Object(_) => schema(out, 1, v),
            _ => texts(out, 2, v),
        }),
        Type::Message(inner) => out.message(number, |out| message(out, inner, v)),
    }
}

fn schema(out: &mut Backward, number: u32, v: &Value) {
    if let Some(of) = PLANS.places.get(SCHEMA) {
        out.message(number, |out| message(out, *of, v));
    }
}

fn texts(out: &mut Backward, number: u32, v: &Value) {
    for v in v.as_array().into_iter().flatten().rev() {
        out.text(number, v.as_str().unwrap_or_default());
    }
}

fn integer(v: &Value) -> i64 {
    let unsigned = || v.as_u64().map(u64::cast_signed);
    // What was written as a number with a point is one without by now.
    v.as_i64().or_else(unsigned).unwrap_or_default()
}

/// `metav1.Timestamp`; nothing where there is no time (`ProtoTime`, which knows seconds only, and `ProtoMicroTime`).
fn time(out: &mut Backward, text: Option<&str>, micro: bool) {
    const NANOS: i128 = 1_000_000_000;
    // Go's zero, the first of January of the year 1.
    const ZERO: i128 = -62_135_596_800 * NANOS;
    let Some(t) = text.and_then(|t| t.parse::<Timestamp>().ok()) else {
        return;
    };
    let t = t.as_nanosecond();
    if t == ZERO {
        return;
    }
    let nanos = if micro { t.rem_euclid(NANOS) / 1_000 * 1_000 } else { 0 };
    out.integer(2, i64::try_from(nanos).unwrap_or_default());
    out.integer(1, i64::try_from(t.div_euclid(NANOS)).unwrap_or_default());
}

/// `metav1.ManagedFieldsEntry` in folded metadata, whose field sets are not looked into.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry<'a> {
    #[serde(borrow)]
    manager: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fields_type: Cow<'a, str>,
    #[serde(borrow)]
    fields_v1: Option<&'a RawValue>,
    #[serde(borrow)]
    subresource: Cow<'a, str>,
}

fn managed(out: &mut Backward, number: u32, folded: &str) {
    // A webhook may have written what is no JSON there: Go would not have read it.
    let entries: Vec<Entry<'_>> = serde_json::from_str(folded).unwrap_or_default();
    for e in entries.iter().rev() {
        out.message(number, |out| {
            out.text(8, &*e.subresource);
            if let Some(set) = e.fields_v1 {
                out.message(7, |out| out.text(1, set.get()));
            }
            out.text(6, &*e.fields_type);
            if let Some(t) = &e.time {
                out.message(4, |out| time(out, Some(t), false));
            }
            out.text(3, &*e.api_version);
            out.text(2, &*e.operation);
            out.text(1, &*e.manager);
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::protobuf::decode;
    use super::*;
    use crate::schema;

    /// One object of each kind, as full as it can be, and statuses of some.
    fn objects() -> Vec<Value> {
        let read = |name: &str| {
            let path = format!("{}/../ci/unseen/{name}", env!("CARGO_MANIFEST_DIR"));
            // A request for a certificate is put in where they are played.
            let text = std::fs::read_to_string(path).unwrap().replace("\"CSR\"", "\"Y3Ny\"");
            let lines = text.lines().map(|l| serde_json::from_str(l).unwrap());
            lines.collect::<Vec<Value>>()
        };
        [read("objects.jsonl"), read("status.jsonl")].concat()
    }

    #[test]
    fn every_kind_says_the_same_in_protobuf() {
        for mut o in objects() {
            let of = |k: &str| o[k].as_str().unwrap().to_owned();
            let (api_version, kind) = (of("apiVersion"), of("kind"));
            o["metadata"]["managedFields"] = json!([{"manager": "m", "operation": "Apply", "apiVersion": api_version,
                "time": "2024-01-02T03:04:05Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:x": {}}},
                "subresource": "status"}]);
            o["metadata"]["creationTimestamp"] = json!("2024-01-02T03:04:05Z");
            schema::read(&api_version, &kind, &mut o).unwrap();
            schema::write_always(&api_version, &kind, &mut o);
            let bytes = object(&api_version, &kind, &o).unwrap();
            let mut decoded = decode(&bytes).unwrap();
            assert_eq!(
                object(&api_version, &kind, &decoded).unwrap(),
                bytes,
                "{api_version} {kind}"
            );
            schema::write_always(&api_version, &kind, &mut decoded);
            assert_eq!(decoded, o, "{api_version} {kind}");
            // Field sets that are kept as text are written as those in the tree.
            crate::patch::fold(&mut o);
            assert!(o["metadata"]["managedFields"].is_string());
            assert_eq!(object(&api_version, &kind, &o).unwrap(), bytes, "{api_version} {kind}");
        }
    }

    fn raw(api_version: &str, kind: &str, v: &Value) -> Vec<u8> {
        let mut head = Backward::with_capacity(64);
        head.message(1, |out| {
            out.text(2, kind);
            out.text(1, api_version);
        });
        head.put(MAGIC);
        let all = object(api_version, kind, v).unwrap();
        let rest = all.strip_prefix(&*head.finish()).unwrap();
        // Nothing of encoding and type; the length of the middle takes one byte here.
        let raw = rest.strip_suffix(&[26, 0, 34, 0]).unwrap();
        assert_eq!((raw[0], usize::from(raw[1])), (18, raw.len() - 2));
        raw[2..].to_vec()
    }

    /// What `k8s.io/api` v0.36.3 makes of these.
    #[test]
    fn what_is_no_pointer_is_always_there() {
        let metadata = [
            10, 32, 10, 1, b'a', 18, 0, 26, 0, 34, 0, 42, 0, 50, 0, 56, 0, 66, 0, 90, 6, 10, 1, b'k', 18, 1, b'v', 90,
            6, 10, 1, b'l', 18, 1, b'w',
        ];
        let v = json!({"metadata": {"name": "a", "labels": {"l": "w", "k": "v"}}});
        let mut expected = metadata.to_vec();
        expected[1] = u8::try_from(expected.len() - 2).unwrap();
        assert_eq!(raw("v1", "ConfigMap", &v), expected);
        // An empty value is there, null is not.
        let secret = json!({"metadata": null, "data": {"x": "", "z": "AAEC"}, "immutable": false});
        let mut expected = vec![10, 16, 10, 0, 18, 0, 26, 0, 34, 0, 42, 0, 50, 0, 56, 0, 66, 0];
        expected.extend([
            18, 5, 10, 1, b'x', 18, 0, 18, 8, 10, 1, b'z', 18, 3, 0, 1, 2, 26, 0, 40, 0,
        ]);
        assert_eq!(raw("v1", "Secret", &secret), expected);
    }

    #[test]
    fn numbers_times_and_what_is_of_two_kinds() {
        let scale = json!({"metadata": {}, "spec": {"replicas": -1}});
        let bytes = raw("autoscaling/v1", "Scale", &scale);
        let minus = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert!(bytes.ends_with(&[&[18, 11, 8][..], &minus, &[26, 4, 8, 0, 18, 0]].concat()));
        let of = |text: Option<&str>, micro: bool| {
            let mut out = Backward::with_capacity(16);
            time(&mut out, text, micro);
            out.finish().to_vec()
        };
        assert_eq!(of(Some("1970-01-01T00:00:01.0000019Z"), true), [8, 1, 16, 0xe8, 7]);
        assert_eq!(of(Some("1970-01-01T00:00:01.9Z"), false), [8, 1, 16, 0]);
        assert_eq!(
            of(Some("1969-12-31T23:59:59.000002Z"), true),
            [&[8][..], &minus, &[16, 0xd0, 15]].concat()
        );
        assert!(of(Some("0001-01-01T00:00:00Z"), true).is_empty() && of(None, true).is_empty());
        let field = |of: Type, v: Value| {
            let mut out = Backward::with_capacity(16);
            value(&mut out, 1, of, &v);
            out.finish().to_vec()
        };
        assert_eq!(field(Type::IntOrString, json!(80)), [10, 6, 8, 0, 16, 80, 26, 0]);
        assert_eq!(field(Type::IntOrString, json!("a")), [10, 7, 8, 1, 16, 0, 26, 1, b'a']);
        assert_eq!(field(Type::IntOrString, Value::Null), [10, 6, 8, 0, 16, 0, 26, 0]);
        assert_eq!(field(Type::Quantity, Value::Null), [10, 3, 10, 1, b'0']);
        assert_eq!(field(Type::Json, Value::Null), [10, 0]);
        assert_eq!(field(Type::SchemaOrBoolean, json!(false)), [10, 2, 8, 0]);
    }

    #[test]
    fn an_event_has_its_length_before_it() {
        let e = event("ADDED", b"xy");
        assert_eq!(
            &e[..],
            [&[0, 0, 0, 13, 10, 5][..], b"ADDED", &[18, 4, 10, 2], b"xy"].concat()
        );
    }
}
