//! Objects and lists in the form a client asked for.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::negotiate::{Accepted, Encoding, Form};
use super::{Answer, protobuf_write, with_type, yaml};
use crate::patch::unfolded;
use crate::registry::{List, Resource, group_version};
use crate::status::Status;
use crate::store::Object;
use crate::table::{self, IncludeObject};

/// What an answer is made with.
#[derive(Clone, Copy)]
pub(super) struct Output {
    pub(super) accepted: Accepted,
    pub(super) include: IncludeObject,
    pub(super) now: Timestamp,
}

/// A document in an encoding, with its media type.
///
/// # Errors
/// 406 where there is no such message (`errNotMarshalable`).
pub(super) fn encoded(encoding: Encoding, v: &Value) -> Result<(&'static str, Bytes), Status> {
    let body = match encoding {
        Encoding::Json => Bytes::from(v.to_string()),
        Encoding::Yaml => Bytes::from(yaml::text(v)),
        Encoding::Protobuf => {
            let text = |k: &str| v[k].as_str().unwrap_or_default();
            let (api_version, kind) = (text("apiVersion"), text("kind"));
            protobuf_write::object(api_version, kind, v).ok_or_else(|| not_marshalable(api_version, kind))?
        }
    };
    Ok((encoding.media_type(), body))
}

fn not_marshalable(api_version: &str, kind: &str) -> Status {
    let version = group_version(api_version).1;
    let why = "does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message";
    Status::new(406, "NotAcceptable", format!("object *{version}.{kind} {why}"))
}

impl Output {
    /// What is shown of it in the version that was asked for.
    fn versioned<'a>(&self, v: &'a Value) -> Cow<'a, Value> {
        if !self.accepted.beta || v["apiVersion"] != "meta.k8s.io/v1" {
            return Cow::Borrowed(v);
        }
        let mut old = v.clone();
        // Rows have their objects as the table is.
        let rows = old
            .get_mut("rows")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .map(|row| &mut row["object"]);
        for shown in rows.filter(|o| o["apiVersion"] == "meta.k8s.io/v1") {
            shown["apiVersion"] = json!("meta.k8s.io/v1beta1");
        }
        old["apiVersion"] = json!("meta.k8s.io/v1beta1");
        Cow::Owned(old)
    }

    fn value(&self, code: u16, v: &Value) -> Result<Answer, Status> {
        let (kind, body) = encoded(self.accepted.encoding, &self.versioned(v))?;
        Ok(with_type(code, kind, body))
    }

    /// Anything that is no object of a resource (a Scale, a review, a Status).
    pub(super) fn other(&self, code: u16, v: &Value) -> Result<Answer, Status> {
        match self.accepted.form {
            // A Status is told as it is.
            _ if v["kind"] == "Status" => self.value(code, v),
            Form::Partial => self.value(code, &partial(v)),
            Form::PartialList => {
                let text = |k: &str| v[k].as_str().unwrap_or_default();
                Err(not_a_list(group_version(text("apiVersion")).0, text("kind")))
            }
            _ => self.value(code, &unfolded(v)),
        }
    }

    pub(super) fn object(&self, code: u16, r: &Resource, o: &Arc<Object>) -> Result<Answer, Status> {
        match (self.accepted.form, self.accepted.encoding) {
            (Form::Plain, Encoding::Json) => Ok(with_type(code, "application/json", o.bytes())),
            (Form::Plain, Encoding::Yaml) => self.value(code, &unfolded(&o.value())),
            (Form::Plain, Encoding::Protobuf) => self.value(code, &o.value()),
            (Form::Table, _) => self.value(code, &table_of(self, r, std::slice::from_ref(&o.value()), None)),
            (Form::Partial, _) => self.value(code, &partial(&o.value())),
            // Custom resources come in a type that may be a list.
            (Form::PartialList, _) if r.custom.is_some() => Err(Status::new(500, "", "content is not a list")),
            (Form::PartialList, _) => Err(not_a_list(&r.group, &r.kind)),
            (Form::Discovery, _) => Err(Status::not_acceptable(super::negotiate::SERVED)),
        }
    }

    pub(super) fn list(&self, r: &Resource, list: &List) -> Result<Answer, Status> {
        let mut meta = json!({"resourceVersion": list.revision.to_string()});
        if let Some(t) = &list.more {
            meta["continue"] = json!(t);
        } else if r.custom.is_some() && self.accepted.form == Form::Plain {
            // Lists of custom resources have it, empty.
            meta["continue"] = json!("");
        }
        if let Some(n) = list.remaining {
            meta["remainingItemCount"] = json!(n);
        }
        let values = || list.objects.iter().map(|o| o.peek()).collect::<Vec<Arc<Value>>>();
        match (self.accepted.form, self.accepted.encoding) {
            (Form::Plain, Encoding::Json) => {
                let head = format!(
                    "{{\"kind\":{},\"apiVersion\":{},\"metadata\":{meta},\"items\":[",
                    json!(r.list_kind()),
                    json!(r.api_version)
                );
                let bare = r.custom.is_none();
                let part = |o: &Arc<Object>| if bare { o.bare_bytes() } else { o.bytes() };
                let parts: Vec<Bytes> = list.objects.iter().map(part).collect();
                let size = parts.iter().map(|p| p.len() + 1).sum::<usize>() + head.len() + 2;
                let mut out = Vec::with_capacity(size);
                out.extend_from_slice(head.as_bytes());
                for (i, p) in parts.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(p);
                }
                out.extend_from_slice(b"]}");
                Ok(with_type(200, "application/json", Bytes::from(out)))
            }
            (Form::Plain, Encoding::Protobuf) => {
                let types = (&*r.api_version, &*r.kind, &*r.list_kind());
                let list = protobuf_write::list(types, &meta, list.objects.iter().map(|o| o.peek()));
                let body = list.ok_or_else(|| not_marshalable(&r.api_version, &r.list_kind()))?;
                Ok(with_type(200, Encoding::Protobuf.media_type(), body))
            }
            (Form::Plain, Encoding::Yaml) => self.value(
                200,
                &json!({"kind": r.list_kind(), "apiVersion": r.api_version, "metadata": meta,
                    "items": values().iter().map(|v| item(r, v)).collect::<Vec<_>>()}),
            ),
            (Form::Table, _) => self.value(200, &table_of(self, r, &values(), Some(&meta))),
            (Form::PartialList, _) => {
                let items: Vec<Value> = list.objects.iter().map(|o| partial(&o.peek())).collect();
                // Go's empty slice.
                let items = if items.is_empty() { Value::Null } else { items.into() };
                self.value(
                    200,
                    &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items}),
                )
            }
            (Form::Partial, _) => {
                let of = match r.custom.is_some() {
                    true => "unstructured.UnstructuredList".to_owned(),
                    false => internal(&r.group, &r.list_kind()),
                };
                Err(not_of_form("PartialObjectMetadata", "a list", &of))
            }
            (Form::Discovery, _) => Err(Status::not_acceptable(super::negotiate::SERVED)),
        }
    }

    /// An event of a watch.
    pub(super) fn event(&self, kind: &str, r: &Resource, o: &Arc<Object>) -> Result<Bytes, Status> {
        let encoding = self.accepted.encoding;
        let object = match self.accepted.form {
            Form::Table => {
                let table = table_of(self, r, std::slice::from_ref(&o.peek()), None);
                encoded(encoding, &self.versioned(&table))?.1
            }
            Form::Partial | Form::PartialList => encoded(encoding, &self.versioned(&partial(&o.peek())))?.1,
            Form::Plain | Form::Discovery if encoding == Encoding::Json => o.bytes(),
            Form::Plain | Form::Discovery => encoded(encoding, &o.peek())?.1,
        };
        Ok(framed(encoding, kind, &object))
    }

    /// The event that ends a watch that fails.
    pub(super) fn failed(&self, s: &Status) -> Bytes {
        // A Status has a form in every encoding.
        let (encoding, v) = (self.accepted.encoding, s.to_value());
        let object = encoded(encoding, &v).map_or_else(|_| Bytes::new(), |(_, body)| body);
        framed(encoding, "ERROR", &object)
    }
}

/// An event around its object, as streams of an encoding have it.
fn framed(encoding: Encoding, kind: &str, object: &[u8]) -> Bytes {
    if encoding == Encoding::Protobuf {
        return protobuf_write::event(kind, object);
    }
    let mut b = BytesMut::with_capacity(object.len() + 40);
    b.put_slice(b"{\"type\":\"");
    b.put_slice(kind.as_bytes());
    b.put_slice(b"\",\"object\":");
    b.put_slice(object);
    b.put_slice(b"}\n");
    b.freeze()
}

/// 406 for a form that fits objects where a list is asked for, or lists where an object is.
fn not_of_form(form: &str, what: &str, of: &str) -> Status {
    let text = format!("you requested {form}, but the requested object is {what} (*{of})");
    Status::new(406, "NotAcceptable", text)
}

fn not_a_list(group: &str, kind: &str) -> Status {
    not_of_form("PartialObjectMetadataList", "not a list", &internal(group, kind))
}

/// Go's name of an internal type.
fn internal(group: &str, kind: &str) -> String {
    let package = match group.split('.').next() {
        None | Some("" | "events") => "core",
        Some(first) => first,
    };
    format!("{package}.{kind}")
}

/// An object in a list: those of built-in kinds do not say what they are.
fn item(r: &Resource, v: &Value) -> Value {
    let mut v = unfolded(v).into_owned();
    if r.custom.is_none()
        && let Some(fields) = v.as_object_mut()
    {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    v
}

fn table_of(out: &Output, r: &Resource, objects: &[Arc<Value>], meta: Option<&Value>) -> Value {
    let columns = r.custom.as_ref().map(|c| c.columns.as_slice());
    table::table_for(&r.group, &r.kind, objects, columns, out.now, out.include, meta)
}

fn partial(v: &Value) -> Value {
    let metadata = crate::table::metadata(v);
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}
