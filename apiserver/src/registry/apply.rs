//! Server-side apply: what is applied must be known, is merged, and becomes the caller's.

use serde_json::Value;

use super::strategy::reset_fields;
use super::update::{Proposal, not_a_number};
use super::{Call, FieldValidation, Resource, Server, Target, Written, group_version, identity, text};
use crate::patch::{self, ApplyError};
use crate::schema;
use crate::status::{Cause, Status};

impl Server {
    pub(super) fn apply(&self, call: &mut Call, t: &Target<'_>, force: bool, body: &Value) -> Result<Written, Status> {
        let r = t.resource;
        let (said, kind) = (text(body, "/apiVersion"), text(body, "/kind"));
        if said != r.api_version || kind != r.kind {
            return Err(another_kind(said, kind));
        }
        // Refusals name the object as it was sent.
        let sent = Sent {
            namespace: text(body, "/metadata/namespace").to_owned(),
            name: text(body, "/metadata/name").to_owned(),
            resource: r,
        };
        let schema = r.schema();
        let sub = t.subresource.unwrap_or_default();
        let now = self.now();
        let merge = |live: Option<&Value>, call: &mut Call| {
            let reset = reset_fields(r, t.subresource);
            let merged = patch::apply(live, body, &call.manager, &schema, force, sub, &now, reset);
            let mut merged = merged.map_err(|e| apply_refused(e, &sent))?;
            if r.custom.is_none() {
                // Who owns what is kept in a form of its own.
                let owners = patch::set_aside(&mut merged);
                schema::convert(&r.api_version, &r.kind, &mut merged).map_err(|why| sent.not_converted(&why))?;
                if let (Some(owners), Some(m)) = (owners, merged["metadata"].as_object_mut()) {
                    m.insert("managedFields".into(), owners);
                }
            }
            tell_twice(call)?;
            Ok(merged)
        };
        if self.stored(r, t.namespace, t.name).is_err() {
            if t.subresource.is_some() {
                return Err(Status::not_found(&r.group, &r.plural, t.name));
            }
            let mut value = merge(None, call)?;
            let uid = text(&value, "/metadata/uid");
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Status::conflict(&r.group, &r.plural, t.name, &why));
            }
            identity::same(t, &value)?;
            match text(&value, "/metadata/resourceVersion") {
                "" => {}
                version => {
                    crate::schema::parse_uint(version).map_err(not_a_number)?;
                    return Err(Status::stale(&r.group, &r.plural, t.name));
                }
            }
            patch::unfold(&mut value);
            match self.create_new(call, r, (t.namespace, Some(t.name)), value, true) {
                // Somebody was faster: then it is a change.
                Err(s) if s.is_already_exists() => {}
                done => {
                    return Ok(Written {
                        object: done?,
                        created: true,
                    });
                }
            }
        }
        self.modify(call, t, false, &mut |call, old| {
            let value = merge(Some(&old.value()), call)?;
            // Who applies no metadata any more, and was the only one to, takes all of it away.
            identity::same(t, &value)?;
            Ok(Proposal {
                value,
                tracked: true,
                patched: true,
            })
        })
    }
}

/// Refuses, or tells of, keys that are in the configuration twice: what could be applied without them.
fn tell_twice(call: &mut Call) -> Result<(), Status> {
    let twice = std::mem::take(&mut call.duplicates);
    if twice.is_empty() {
        return Ok(());
    }
    let all = twice.join("\n  ");
    match call.validation {
        Some(FieldValidation::Strict) => {
            return Err(Status::bad_request(format!(
                "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {all}"
            )));
        }
        Some(FieldValidation::Warn) => call.warnings.extend(twice),
        _ => {}
    }
    Ok(())
}

/// An applied configuration as its sender names it.
struct Sent<'a> {
    namespace: String,
    name: String,
    resource: &'a Resource,
}

impl Sent<'_> {
    fn shown(&self) -> String {
        let (namespace, name) = (&self.namespace, &self.name);
        format!("{namespace}/{name}; {}", self.of())
    }

    fn of(&self) -> String {
        let r = self.resource;
        let core = if r.group.is_empty() { "/" } else { "" };
        format!("{core}{}, Kind={}", r.api_version, r.kind)
    }

    /// Upstream answers 500 to what does not fit, with this text.
    fn not_typed(&self, what: &str) -> Status {
        let sent = self.shown();
        Status::new(500, "", format!("failed to create typed patch object ({sent}): {what}"))
    }

    /// And to what its type cannot take.
    fn not_converted(&self, why: &str) -> Status {
        let (sent, of) = (self.shown(), self.of());
        Status::new(
            500,
            "",
            format!(
                "failed to convert new object ({sent}) to proper version: unable to convert unstructured object to {of}: {why}"
            ),
        )
    }
}

/// 400 for an applied configuration of another kind.
pub(super) fn another_kind(api_version: &str, kind: &str) -> Status {
    let (group, version) = group_version(api_version);
    Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}"))
}

fn apply_refused(e: ApplyError, sent: &Sent<'_>) -> Status {
    match e {
        ApplyError::BadRequest(m) => Status::bad_request(m),
        ApplyError::NotTyped(what) => sent.not_typed(&what),
        ApplyError::Conflicts(list) => {
            let causes = list
                .iter()
                .map(|c| Cause::new("FieldManagerConflict", c.field.clone(), c.message()))
                .collect();
            Status::apply_conflict(ApplyError::Conflicts(list).to_string(), causes)
        }
    }
}
