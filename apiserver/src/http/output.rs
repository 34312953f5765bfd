//! Objects and lists in the form a client asked for.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::negotiate::{Accepted, Form};
use super::{Answer, with_type, yaml};
use crate::patch::unfolded;
use crate::registry::{List, Resource};
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

impl Output {
    fn value(&self, code: u16, v: &Value) -> Answer {
        let mut old;
        let v = match (self.accepted.beta, v["apiVersion"].as_str()) {
            (true, Some("meta.k8s.io/v1")) => {
                old = v.clone();
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
                &old
            }
            _ => v,
        };
        if self.accepted.yaml {
            return with_type(code, "application/yaml", Bytes::from(yaml::text(v)));
        }
        with_type(code, "application/json", Bytes::from(v.to_string()))
    }

    /// Anything that is no object of a resource (a Scale, a review, a Status).
    pub(super) fn other(&self, code: u16, v: &Value) -> Answer {
        self.value(code, &unfolded(v))
    }

    pub(super) fn object(&self, code: u16, r: &Resource, o: &Arc<Object>) -> Result<Answer, Status> {
        Ok(match self.accepted.form {
            Form::Plain if !self.accepted.yaml => with_type(code, "application/json", o.bytes()),
            Form::Plain => self.value(code, &unfolded(&o.value())),
            Form::Table => self.value(code, &table_of(self, r, std::slice::from_ref(&o.value()), None)),
            Form::Partial => self.value(code, &partial(&o.value())),
            // Custom resources come in a type that may be a list.
            Form::PartialList if r.custom.is_some() => return Err(Status::new(500, "", "content is not a list")),
            Form::PartialList => return Err(not_of_form("PartialObjectMetadataList", "not a list", r, &r.kind)),
            Form::Discovery => return Err(Status::not_acceptable(super::negotiate::SERVED)),
        })
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
        Ok(match self.accepted.form {
            Form::Plain if !self.accepted.yaml => {
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
                with_type(200, "application/json", Bytes::from(out))
            }
            Form::Plain => self.value(
                200,
                &json!({"kind": r.list_kind(), "apiVersion": r.api_version, "metadata": meta,
                    "items": values().iter().map(|v| item(r, v)).collect::<Vec<_>>()}),
            ),
            Form::Table => self.value(200, &table_of(self, r, &values(), Some(&meta))),
            Form::PartialList => {
                let items: Vec<Value> = list.objects.iter().map(|o| partial(&o.peek())).collect();
                // Go's empty slice.
                let items = if items.is_empty() { Value::Null } else { items.into() };
                self.value(
                    200,
                    &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items}),
                )
            }
            Form::Partial => return Err(not_of_form("PartialObjectMetadata", "a list", r, &r.list_kind())),
            Form::Discovery => {
                return Err(Status::not_acceptable(super::negotiate::SERVED));
            }
        })
    }

    /// An object inside a watch.
    pub(super) fn event(&self, r: &Resource, o: &Arc<Object>) -> Bytes {
        match self.accepted.form {
            Form::Table => Bytes::from(table_of(self, r, std::slice::from_ref(&o.value()), None).to_string()),
            Form::Partial | Form::PartialList => Bytes::from(partial(&o.value()).to_string()),
            Form::Plain | Form::Discovery => o.bytes(),
        }
    }
}

/// 406 for a form that fits objects where a list is asked for, or lists where an object is.
fn not_of_form(form: &str, what: &str, r: &Resource, kind: &str) -> Status {
    // Go's name of the internal type.
    let package = match r.group.split('.').next() {
        None | Some("" | "events") => "core",
        Some(first) => first,
    };
    let of = match r.custom.is_some() && kind.ends_with("List") {
        true => "unstructured.UnstructuredList".to_owned(),
        false => format!("{package}.{kind}"),
    };
    let text = format!("you requested {form}, but the requested object is {what} (*{of})");
    Status::new(406, "NotAcceptable", text)
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
