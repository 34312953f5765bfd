//! Patching: four formats, one path.

use serde_json::{Value, json};

use super::create::reset_fields;
use super::update::Proposal;
use super::{Call, Resource, Server, Target, Written, group_version, text};
use crate::patch::{self, ApplyError, PatchError};
use crate::status::{Cause, Status};

/// The format of a patch (its media type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/apply-patch+yaml`.
    Apply {
        /// Take fields over from other managers.
        force: bool,
    },
}

/// Whether a patch may be about who owns which field.
fn names_owners(kind: PatchKind, body: &Value) -> bool {
    let above = |path: &str| matches!(path, "" | "/metadata") || path.starts_with("/metadata/managedFields");
    match kind {
        PatchKind::Json => body.as_array().into_iter().flatten().any(|step| {
            let named = |k: &str| step[k].as_str().is_some_and(above);
            named("path") || named("from")
        }),
        _ => body["metadata"].get("managedFields").is_some(),
    }
}

impl Server {
    /// Patches an object; an apply creates it where it is not there.
    ///
    /// # Errors
    /// 404, 409 (stale, or fields of others), 400 and 422 when it is wrong, 415 for a strategic patch of a custom resource.
    pub fn patch(&self, call: &mut Call, t: &Target<'_>, kind: PatchKind, body: &Value) -> Result<Written, Status> {
        let r = t.resource;
        if kind == PatchKind::Strategic && r.custom.is_some() {
            return Err(Status::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        if let PatchKind::Apply { force } = kind {
            return self.apply(call, t, force, body);
        }
        let schema = r.schema();
        let names_owners = names_owners(kind, body);
        self.modify(call, t, false, &mut |call, old| {
            let old = match names_owners {
                true => patch::unfolded(&old.value()).into_owned().into(),
                false => old.value(),
            };
            let patched = || match kind {
                PatchKind::Json => patch::json_patch(&old, body),
                PatchKind::Merge => patch::merge_patch(&old, body),
                _ => patch::strategic_merge_patch(&old, body, &schema),
            };
            let mut value = patched().map_err(|e| match e {
                // Upstream makes no status of what is wrong with these.
                PatchError::Malformed(m) if kind == PatchKind::Strategic => Status::new(500, "", m),
                e => refused(e),
            })?;
            // What is kept of them fits no schema, nor need it: it does not change.
            let kept = match names_owners {
                true => None,
                false => patch::set_aside(&mut value),
            };
            // As clients see it.
            let whole = |v: &Value| patch::unfolded(v).into_owned();
            let proposed = || whole(&patched().unwrap_or_default());
            if kind != PatchKind::Strategic && r.custom.is_none() {
                let said = |field: &str, own: &str| match text(&value, field) {
                    "" => own.to_owned(),
                    said => said.to_owned(),
                };
                let (version, named) = (said("/apiVersion", &r.api_version), said("/kind", &r.kind));
                if self.catalog.of_kind(&version, &named).is_none() {
                    let why = format!(
                        "no kind {named:?} is registered for version {version:?} in scheme \"pkg/runtime/scheme.go:111\""
                    );
                    return Err(unfit_document(r, &whole(&old), &proposed(), &why));
                }
            }
            super::server::check_type(r, &mut value)?;
            let fits = self.fit(call, r, &mut value);
            fits.map_err(|why| match kind {
                PatchKind::Strategic => unfit(body, &why),
                _ if r.custom.is_none() => unfit_document(r, &whole(&old), &proposed(), &why),
                _ => super::create::not_handled(r, &why),
            })?;
            if text(&value, "/metadata/name").is_empty() {
                return Err(nameless(t));
            }
            same_name(t, &value)?;
            own_uid(t, &old, &value)?;
            if let (Some(kept), Some(m)) = (kept, value["metadata"].as_object_mut()) {
                m.insert("managedFields".into(), kept);
            }
            Ok(Proposal { value, tracked: false })
        })
    }

    fn apply(&self, call: &mut Call, t: &Target<'_>, force: bool, body: &Value) -> Result<Written, Status> {
        let r = t.resource;
        let mut body = body.clone();
        let (said, kind) = (text(&body, "/apiVersion"), text(&body, "/kind"));
        let another = r.custom.is_none() && (said != r.api_version || kind != r.kind);
        if said.is_empty() || kind.is_empty() || another {
            return Err(another_kind(said, kind));
        }
        super::server::check_type(r, &mut body)?;
        same_name(t, &body)?;
        // Refusals name the object as it was sent.
        let sent = Sent {
            namespace: text(&body, "/metadata/namespace").to_owned(),
            name: text(&body, "/metadata/name").to_owned(),
            resource: r,
        };
        if body["metadata"]
            .get("managedFields")
            .is_some_and(|m| m.as_array().is_none_or(|a| !a.is_empty()))
        {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        let schema = r.schema();
        self.check_known(call, &sent, &body)?;
        let sub = t.subresource.unwrap_or_default();
        let now = self.now();
        let merge = |live: Option<&Value>, manager: &str| {
            patch::apply(
                live,
                &body,
                manager,
                &schema,
                force,
                sub,
                &now,
                reset_fields(r, t.subresource),
            )
            .map_err(|e| apply_refused(e, &sent))
        };
        if self.stored(r, t.namespace, t.name).is_err() {
            if t.subresource.is_some() {
                return Err(Status::not_found(&r.group, &r.plural, t.name));
            }
            if sent.name.is_empty() {
                merge(None, &call.manager)?;
                return Err(nameless(t));
            }
            if !text(&body, "/metadata/resourceVersion").is_empty() || !text(&body, "/metadata/uid").is_empty() {
                return Err(Status::stale(&r.group, &r.plural, t.name));
            }
            let mut value = merge(None, &call.manager)?;
            patch::unfold(&mut value);
            match self.create(call, r, t.namespace, Some(t.name), value) {
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
            let value = merge(Some(&old.value()), &call.manager)?;
            // Who applies no metadata any more, and was the only one to, takes all of it away.
            if text(&value, "/metadata/name").is_empty() {
                return Err(nameless(t));
            }
            own_uid(t, &old.value(), &value)?;
            Ok(Proposal { value, tracked: true })
        })
    }

    /// An applied configuration is a part of an object: nothing is required of it, but all of it must be known.
    fn check_known(&self, call: &mut Call, sent: &Sent<'_>, value: &Value) -> Result<(), Status> {
        let twice = std::mem::take(&mut call.duplicates);
        if !twice.is_empty() {
            let all = twice.join("\n  ");
            match call.validation {
                Some(super::FieldValidation::Strict) => {
                    return Err(Status::bad_request(format!(
                        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {all}"
                    )));
                }
                Some(super::FieldValidation::Warn) => call.warnings.extend(twice),
                _ => {}
            }
        }
        let unknown: Vec<String> = crate::schema::unknown_fields(&sent.resource.schema(), value)
            .iter()
            .map(|u| {
                let path = u.trim_start_matches("unknown field ").trim_matches('"');
                format!(".{path}: field not declared in schema")
            })
            .collect();
        match unknown.as_slice() {
            [] => Ok(()),
            [one] => Err(sent.not_typed(one)),
            all => Err(sent.not_typed(&format!("errors:\n  {}", all.join("\n  ")))),
        }
    }
}

/// An applied configuration as its sender names it.
struct Sent<'a> {
    namespace: String,
    name: String,
    resource: &'a Resource,
}

impl Sent<'_> {
    /// Upstream answers 500 to what does not fit, with this text.
    fn not_typed(&self, what: &str) -> Status {
        let (
            Self {
                namespace,
                name,
                resource: r,
            },
            core,
        ) = (self, if self.resource.group.is_empty() { "/" } else { "" });
        let (version, kind) = (&r.api_version, &r.kind);
        Status::new(
            500,
            "",
            format!("failed to create typed patch object ({namespace}/{name}; {core}{version}, Kind={kind}): {what}"),
        )
    }
}

/// 400 for an applied configuration of another kind.
pub(super) fn another_kind(api_version: &str, kind: &str) -> Status {
    let (group, version) = group_version(api_version);
    Status::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}"))
}

/// A patch may name the object's uid, and no other.
fn own_uid(t: &Target<'_>, old: &Value, new: &Value) -> Result<(), Status> {
    let (was, uid) = (text(old, "/metadata/uid"), &new["metadata"]["uid"]);
    if uid.as_str().is_none_or(|u| u.is_empty() || u == was) {
        return Ok(());
    }
    let r = t.resource;
    let cause = Cause::invalid("metadata.uid", uid, "field is immutable");
    // The common path and the kind's strategy both check it.
    Err(Status::invalid(&r.group, &r.kind, t.name, vec![cause.clone(), cause]))
}

/// What is wrong with the object that a patch makes, told of that object: what the patch changed is written by name.
fn unfit_document(r: &Resource, old: &Value, new: &Value, why: &str) -> Status {
    let shown = crate::schema::Printed::object(&r.api_version, &r.kind, old);
    let shown = crate::schema::quote(&shown.patched(old, new).compact());
    let cause = Cause::new("FieldValueInvalid", "patch", format!("Invalid value: {shown}: {why}"));
    Status::invalid("", "", "", vec![cause])
}

/// What is wrong with the object that a strategic patch makes is told of the patch.
fn unfit(patch: &Value, why: &str) -> Status {
    let why = match why.rsplit_once(" of type ") {
        // It is put into Go's types without a decoder.
        Some((_, of)) if why.starts_with("json: ") && (of.starts_with("int") || of == "bool") => {
            format!("unrecognized type: {of}")
        }
        _ => why.to_owned(),
    };
    let patch = json!(crate::schema::go_value(patch));
    Status::invalid("", "", "", vec![Cause::invalid("patch", &patch, &why)])
}

/// 400 for an object that does not say its name.
fn nameless(t: &Target<'_>) -> Status {
    Status::bad_request(format!(
        "the name of the object ({} based on URL) was undeterminable: name must be provided",
        t.name
    ))
}

fn same_name(t: &Target<'_>, v: &Value) -> Result<(), Status> {
    let name = text(v, "/metadata/name");
    if !name.is_empty() && name != t.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            t.name
        )));
    }
    let ns = text(v, "/metadata/namespace");
    if t.resource.namespaced && !ns.is_empty() && ns != t.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

fn refused(e: PatchError) -> Status {
    match e {
        PatchError::Malformed(m) => Status::bad_request(m),
        // errors.NewGenericServerResponse: the text of the patch is told to nobody.
        PatchError::DoesNotFit(_) => Status::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .about("", "", ""),
    }
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
