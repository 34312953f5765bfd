//! Patching: four formats, one path.

use serde_json::{Value, json};

use super::update::Proposal;
use super::{Call, FieldValidation, Resource, Server, Target, Written, identity, text};
use crate::patch::{self, PatchError};
use crate::schema;
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

impl PatchKind {
    /// The media types of patches and what they are, in the order in which refusals list them (`patchTypes` of
    /// `endpoints/installer.go`).
    const ALL: [(&str, Self); 4] = [
        ("application/json-patch+json", Self::Json),
        ("application/merge-patch+json", Self::Merge),
        ("application/strategic-merge-patch+json", Self::Strategic),
        ("application/apply-patch+yaml", Self::Apply { force: false }),
    ];

    /// What a media type is, without forcing anything.
    #[must_use]
    pub fn of(media_type: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == media_type)
            .map(|(_, kind)| *kind)
    }

    /// The media types that custom resources take, as refusals list them: strategies are in the schemas of built-in kinds.
    #[must_use]
    pub fn of_custom_resources() -> String {
        let taken = Self::ALL.iter().filter(|(_, kind)| *kind != Self::Strategic);
        taken.map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
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
            return Err(Status::unsupported_media_type(&PatchKind::of_custom_resources()));
        }
        if let PatchKind::Apply { force } = kind {
            return self.apply(call, t, force, body);
        }
        let names_owners = names_owners(kind, body);
        let lenient = call.validation == Some(FieldValidation::Ignore);
        let twice = std::mem::take(&mut call.duplicates);
        self.modify(call, t, false, &mut |call, old| {
            let old = match names_owners {
                true => patch::unfolded(&old.value()).into_owned().into(),
                false => old.value(),
            };
            let mut value = match kind {
                PatchKind::Strategic => self.patched_strategically(call, r, &old, body, &twice)?,
                _ => self.patched_as_json(call, r, kind, (&old, body), lenient, &twice)?,
            };
            identity::same(t, &value)?;
            // What is kept of them fits no schema, nor need it: it does not change.
            if !names_owners && let Some(m) = value["metadata"].as_object_mut() {
                match old["metadata"].get("managedFields") {
                    Some(kept) => drop(m.insert("managedFields".into(), kept.clone())),
                    None => drop(m.remove("managedFields")),
                }
            }
            Ok(Proposal {
                value,
                tracked: false,
                patched: true,
            })
        })
    }

    /// The object after a JSON or merge patch: it is decoded anew.
    fn patched_as_json(
        &self,
        call: &mut Call,
        r: &Resource,
        kind: PatchKind,
        (old, body): (&Value, &Value),
        lenient: bool,
        twice: &[String],
    ) -> Result<Value, Status> {
        let patched = || match kind {
            PatchKind::Json => patch::json_patch(old, body),
            // What is no object is decoded as it is where nobody looked at it before.
            _ if lenient && body.is_array() => Ok(body.clone()),
            _ => patch::merge_patch(old, body),
        };
        let mut value = patched().map_err(refused)?;
        if !names_owners(kind, body) {
            patch::set_aside(&mut value);
        }
        // As clients see it.
        let whole = |v: &Value| patch::unfolded(v).into_owned();
        let refuse = |why: &str| {
            let new = whole(&patched().unwrap_or_default());
            unfit_document((&r.api_version, &r.kind), kind, &whole(old), body, &new, why)
        };
        if !value.is_object() {
            let of = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
            let why = patch::mismatch(&value, of);
            return Err(refuse(&format!("couldn't get version/kind; json parse error: {why}")));
        }
        for field in ["apiVersion", "kind"] {
            let said = &value[field];
            if !said.is_null() && !said.is_string() {
                let (of, why) = (schema::json_kind(said), "couldn't get version/kind; json parse error");
                return Err(refuse(&format!(
                    "{why}: json: cannot unmarshal {of} into Go struct field .{field} of type string"
                )));
            }
        }
        if r.custom.is_some() {
            if text(&value, "/kind").is_empty() {
                let new = whole(&patched().unwrap_or_default());
                let shown = printed(&r.api_version, &r.kind, kind, &whole(old), body, &new).compact();
                return Err(refuse(&format!("Object 'Kind' is missing in '{shown}'")));
            }
            let said = text(&value, "/apiVersion");
            if said != r.api_version {
                let cause = Cause::invalid("apiVersion", &json!(said), &format!("must be {}", r.api_version));
                let (group, name) = (super::group_version(said).0, text(&value, "/metadata/name"));
                return Err(Status::invalid(group, text(&value, "/kind"), name, vec![cause]));
            }
        }
        if r.custom.is_none() && text(&value, "/apiVersion").is_empty() {
            // Then it is read as the internal type, which knows none of these names.
            let fields = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
            let fields = fields.filter(|name| !matches!(*name, "apiVersion" | "kind"));
            let unknown: Vec<String> = fields
                .map(|name| format!("unknown field {}", schema::quote(name)))
                .collect();
            let minded = [twice, &unknown].concat();
            return match call.validation {
                Some(FieldValidation::Strict) => Err(refuse(&format!("strict decoding error: {}", minded.join(", ")))),
                Some(FieldValidation::Warn) => {
                    call.warnings.extend(minded);
                    Ok(json!({}))
                }
                _ => Ok(json!({})),
            };
        }
        if r.custom.is_none() {
            let said = |field: &str, own: &str| match text(&value, field) {
                "" => own.to_owned(),
                said => said.to_owned(),
            };
            let (version, named) = (said("/apiVersion", &r.api_version), said("/kind", &r.kind));
            if version.matches('/').count() > 1 {
                return Err(refuse(&format!("unexpected GroupVersion string: {version}")));
            }
            let other = super::group_version(&version).0 != &*r.group || named != r.kind;
            if other && self.catalog.of_kind(&version, &named).is_some() {
                let of = super::group_version(&version).1;
                return Err(refuse(&format!(
                    "converting ({of}.{named}) to ({}.{}): unknown conversion",
                    super::go_package(&r.group),
                    r.kind
                )));
            }
            if self.catalog.of_kind(&version, &named).is_none() {
                let version = version.trim_start_matches('/');
                return Err(refuse(&schema::not_registered(version, &named)));
            }
        }
        super::server::check_type(r, &mut value)?;
        let strictly = |unknown: Vec<String>| [twice, &unknown].concat();
        self.fit_by(call, r, &mut value, schema::read, strictly)
            .map_err(|why| refuse(&why))?;
        Ok(value)
    }

    /// The object after a strategic merge patch: it is put into Go's types without a decoder.
    fn patched_strategically(
        &self,
        call: &mut Call,
        r: &Resource,
        old: &Value,
        body: &Value,
        twice: &[String],
    ) -> Result<Value, Status> {
        let mut spent = body.clone();
        let mut value = patch::spend(old, &mut spent, &r.schema()).map_err(refused)?;
        let unfit = |why: &str| {
            let patch = json!(schema::go_value(&spent));
            Status::invalid("", "", "", vec![Cause::invalid("patch", &patch, why)])
        };
        // It is of its kind whatever the patch calls it.
        for (field, own) in [("apiVersion", &r.api_version), ("kind", &r.kind)] {
            match &value[field] {
                Value::String(_) | Value::Null => {}
                Value::Number(n) if n.is_i64() => return Err(unfit("cannot convert int64 to string")),
                _ => return Err(unfit("unrecognized type: string")),
            }
            value[field] = json!(own);
        }
        if !names_owners(PatchKind::Strategic, body) {
            patch::set_aside(&mut value);
        }
        let strictly = |mut unknown: Vec<String>| {
            unknown.sort();
            [twice, &unknown].concat()
        };
        self.fit_by(call, r, &mut value, schema::convert, strictly)
            .map_err(|why| unfit(&why))?;
        Ok(value)
    }
}

/// What is wrong with the object that a patch makes, told of that object as Go's decoder gets it.
pub(super) fn unfit_document(
    (api_version, named): (&str, &str),
    kind: PatchKind,
    old: &Value,
    patch: &Value,
    new: &Value,
    why: &str,
) -> Status {
    let shown = schema::quote(&printed(api_version, named, kind, old, patch, new).compact());
    let cause = Cause::new("FieldValueInvalid", "patch", format!("Invalid value: {shown}: {why}"));
    Status::invalid("", "", "", vec![cause])
}

/// The object that a patch makes, as Go's decoder gets it.
fn printed(
    api_version: &str,
    named: &str,
    kind: PatchKind,
    old: &Value,
    patch: &Value,
    new: &Value,
) -> schema::Printed {
    let shown = schema::Printed::object(api_version, named, old);
    match kind {
        PatchKind::Json => shown.patched(old, new, patch),
        _ => shown.merged(patch, new),
    }
}

pub(super) fn refused(e: PatchError) -> Status {
    match e {
        PatchError::Malformed(m) => Status::bad_request(m),
        // errors.NewGenericServerResponse: the text of the patch is told to nobody.
        PatchError::DoesNotFit(_) => Status::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .about("", "", ""),
        PatchError::Unforeseen(m) => Status::new(500, "", m),
    }
}
