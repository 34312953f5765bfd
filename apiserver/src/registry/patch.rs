//! Patching: four formats, one path.

use serde_json::{Value, json};

use super::create::reset_fields;
use super::update::Proposal;
use super::{Call, Server, Target, Written, group_version, text};
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
        self.modify(call, t, false, &mut |call, old| {
            let mut value = match kind {
                PatchKind::Json => patch::json_patch(&old.value, body),
                PatchKind::Merge => patch::merge_patch(&old.value, body),
                _ => patch::strategic_merge_patch(&old.value, body, &schema),
            }
            .map_err(|e| match e {
                // Upstream makes no status of what is wrong with these.
                PatchError::Malformed(m) if kind == PatchKind::Strategic => Status::new(500, "", m),
                e => refused(e),
            })?;
            same_name(t, &value)?;
            own_uid(t, &old.value, &value)?;
            super::server::check_type(r, &mut value)?;
            let fits = self.fit_schema(call, r, &mut value);
            if kind == PatchKind::Strategic {
                fits.map_err(|s| unfit(body, s))?;
            } else {
                fits?;
            }
            Ok(Proposal { value, tracked: false })
        })
    }

    fn apply(&self, call: &mut Call, t: &Target<'_>, force: bool, body: &Value) -> Result<Written, Status> {
        let r = t.resource;
        let mut body = body.clone();
        if text(&body, "/apiVersion").is_empty() || text(&body, "/kind").is_empty() {
            let (group, version) = group_version(text(&body, "/apiVersion"));
            let kind = text(&body, "/kind");
            return Err(Status::bad_request(format!(
                "invalid object type: {group}/{version}, Kind={kind}"
            )));
        }
        let (said, kind) = (text(&body, "/apiVersion"), text(&body, "/kind"));
        if r.custom.is_none() && (said != r.api_version || kind != r.kind) {
            let core = if said.contains('/') { "" } else { "/" };
            return Err(Status::bad_request(format!(
                "invalid object type: {core}{said}, Kind={kind}"
            )));
        }
        super::server::check_type(r, &mut body)?;
        same_name(t, &body)?;
        let sent = format!(
            "({}/{}; ",
            text(&body, "/metadata/namespace"),
            text(&body, "/metadata/name")
        );
        if body["metadata"]
            .get("managedFields")
            .is_some_and(|m| m.as_array().is_none_or(|a| !a.is_empty()))
        {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        super::meta::metadata(&mut body).insert("name".into(), json!(t.name));
        if r.namespaced {
            super::meta::metadata(&mut body).insert("namespace".into(), json!(t.namespace));
        }
        let schema = r.schema();
        // Refusals name the object as it was sent.
        let whole = format!("({}/{}; ", if r.namespaced { t.namespace } else { "" }, t.name);
        let told = |e: ApplyError| match e {
            ApplyError::NotTyped(m) => ApplyError::NotTyped(m.replacen(&whole, &sent, 1)),
            e => e,
        };
        self.check_known(call, t, &body).map_err(|e| match e {
            Known::Refused(s) => s,
            Known::NotTyped(m) => apply_refused(told(ApplyError::NotTyped(m))),
        })?;
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
            .map_err(|e| apply_refused(told(e)))
        };
        if self.stored(r, t.namespace, t.name).is_err() {
            if t.subresource.is_some() {
                return Err(Status::not_found(&r.group, &r.plural, t.name));
            }
            if !text(&body, "/metadata/resourceVersion").is_empty() || !text(&body, "/metadata/uid").is_empty() {
                return Err(Status::stale(&r.group, &r.plural, t.name));
            }
            let value = merge(None, &call.manager)?;
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
            let value = merge(Some(&old.value), &call.manager)?;
            own_uid(t, &old.value, &value)?;
            Ok(Proposal { value, tracked: true })
        })
    }

    /// An applied configuration is a part of an object: nothing is required of it, but all of it must be known.
    fn check_known(&self, call: &mut Call, t: &Target<'_>, value: &Value) -> Result<(), Known> {
        let r = t.resource;
        let twice = std::mem::take(&mut call.duplicates);
        if !twice.is_empty() {
            let all = twice.join("\n  ");
            match call.validation {
                Some(super::FieldValidation::Strict) => {
                    return Err(Known::Refused(Status::bad_request(format!(
                        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {all}"
                    ))));
                }
                Some(super::FieldValidation::Warn) => call.warnings.extend(twice),
                _ => {}
            }
        }
        let unknown: Vec<String> = crate::schema::unknown_fields(&r.schema(), value)
            .iter()
            .map(|u| {
                let path = u.trim_start_matches("unknown field ").trim_matches('"');
                format!(".{path}: field not declared in schema")
            })
            .collect();
        let what = match unknown.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            all => format!("errors:\n  {}", all.join("\n  ")),
        };
        let core = if r.api_version.contains('/') { "" } else { "/" };
        Err(Known::NotTyped(format!(
            "failed to create typed patch object ({}/{}; {core}{}, Kind={}): {what}",
            text(value, "/metadata/namespace"),
            text(value, "/metadata/name"),
            r.api_version,
            r.kind
        )))
    }
}

/// Why an applied configuration is not taken.
enum Known {
    Refused(Status),
    NotTyped(String),
}

/// A patch may name the object's uid, and no other.
fn own_uid(t: &Target<'_>, old: &Value, new: &Value) -> Result<(), Status> {
    let (was, uid) = (text(old, "/metadata/uid"), &new["metadata"]["uid"]);
    if uid.as_str().is_none_or(|u| u.is_empty() || u == was) {
        return Ok(());
    }
    let r = t.resource;
    let cause = Cause::invalid("metadata.uid", uid, "field is immutable");
    Err(Status::invalid(&r.group, &r.kind, t.name, vec![cause]))
}

/// What is wrong with the object that a strategic patch makes is told of the patch.
fn unfit(patch: &Value, s: Status) -> Status {
    let said = s.message.as_str();
    let (_, why) = said.split_once(" cannot be handled as a ").unwrap_or(("", said));
    let (_, why) = why.split_once(": ").unwrap_or(("", why));
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

fn apply_refused(e: ApplyError) -> Status {
    match e {
        ApplyError::BadRequest(m) => Status::bad_request(m),
        // Upstream answers 500 here, with this text.
        ApplyError::NotTyped(m) => Status::new(500, "", m),
        ApplyError::Conflicts(list) => {
            let causes = list
                .iter()
                .map(|c| Cause::new("FieldManagerConflict", c.field.clone(), c.message()))
                .collect();
            Status::apply_conflict(ApplyError::Conflicts(list).to_string(), causes)
        }
    }
}
