//! What the options of requests may say.

use serde_json::{Value, json};

use crate::http::query::Query;
use crate::registry::FieldValidation;
use crate::status::{Cause, Status};

/// `validation.ValidateDryRun`.
pub(super) fn dry_run_causes(all: &[Value]) -> Option<Cause> {
    let text = || format!("Unsupported value: {}: supported values: \"All\"", json!(all));
    let good = all.iter().all(|v| v == "All");
    (!good).then(|| Cause::new("FieldValueNotSupported", "dryRun", text()))
}

/// `validation.ValidateFieldManager`.
fn manager_causes(manager: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if manager.len() > 128 {
        let text = "Too long: may not be more than 128 bytes";
        causes.push(Cause::new("FieldValueTooLong", "fieldManager", text.to_owned()));
    }
    let wrong = manager.char_indices().filter(|(_, c)| !crate::schema::is_print(*c));
    causes.extend(wrong.map(|(at, c)| {
        let text = format!(
            "Invalid value: {}: invalid character U+{:04X} (at position {at})",
            crate::schema::quote(manager),
            u32::from(c)
        );
        Cause::new("FieldValueInvalid", "fieldManager", text)
    }));
    causes
}

/// What a write says of itself in its query.
pub(super) struct WriteOptions {
    pub(super) dry_run: bool,
    pub(super) validation: FieldValidation,
}

impl WriteOptions {
    /// Create, update and patch options; `patch`: whether it is an apply.
    ///
    /// # Errors
    /// 422 for what they may not say.
    pub(super) fn read(q: &Query, verb: &str, patch: Option<bool>) -> Result<Self, Status> {
        let manager = q.first("fieldManager").unwrap_or_default();
        let mut causes = Vec::new();
        match patch {
            Some(true) if manager.is_empty() => {
                causes.push(Cause::required("fieldManager", "is required for apply patch"));
            }
            Some(false) if q.has("force") => {
                causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
            }
            _ => {}
        }
        causes.extend(manager_causes(manager));
        let asked: Vec<Value> = q.all("dryRun").into_iter().map(Value::from).collect();
        causes.extend(dry_run_causes(&asked));
        let validation = match q.first("fieldValidation").unwrap_or_default() {
            "Strict" => FieldValidation::Strict,
            "Ignore" => FieldValidation::Ignore,
            "" | "Warn" => FieldValidation::Warn,
            other => {
                let other = crate::schema::quote(other);
                let text =
                    format!("Unsupported value: {other}: supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"");
                causes.push(Cause::new("FieldValueNotSupported", "fieldValidation", text));
                FieldValidation::Warn
            }
        };
        let options = match verb {
            "update" => "UpdateOptions",
            "patch" => "PatchOptions",
            _ => "CreateOptions",
        };
        match causes.is_empty() {
            true => Ok(Self {
                dry_run: !asked.is_empty(),
                validation,
            }),
            false => Err(Status::invalid("meta.k8s.io", options, "", causes)),
        }
    }
}

/// A whole number of a query.
pub(super) fn number(text: &str) -> Result<i64, Status> {
    crate::schema::parse_int(text).map_err(Status::bad_request)
}

/// The number of a query under a key, where it is given.
pub(super) fn number_of(q: &Query, key: &str) -> Result<Option<i64>, Status> {
    q.first(key).map(number).transpose()
}

/// The ports of `?ports=`, each of which may be a list (`runtime.Convert_Slice_string_To_Slice_int32`, and of each
/// `strconv.ParseUint` for 16 bits).
///
/// # Errors
/// 400 for what is none.
pub(super) fn ports(all: &[String]) -> Result<Vec<u16>, Status> {
    let one = |p: &str| {
        crate::schema::parse_uint_of::<u16>(p)
            .map_err(|why| Status::bad_request(format!("cannot convert to []int32: {why}")))
    };
    all.iter().flat_map(|p| p.split(',')).map(one).collect()
}

/// A revision.
///
/// # Errors
/// What is said of one that is none.
pub(super) fn revision(text: &str) -> Result<u64, String> {
    let told = |why| format!("resourceVersion: Invalid value: {}: {why}", crate::schema::quote(text));
    crate::schema::parse_uint(text).map_err(told)
}

/// What a client says of the state that it wants to see.
pub(super) struct Said<'a> {
    pub(super) matching: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    pub(super) initial: bool,
    pub(super) continues: bool,
}

impl Said<'_> {
    /// `ValidateListOptions`.
    pub(super) fn check(&self, watch: bool) -> Result<(), Status> {
        let field = "resourceVersionMatch";
        let mut causes = Vec::new();
        let mut forbid = |field: &str, why: &str| causes.push(Cause::forbidden(field, why));
        let unsupported = |of: &str, valid: &str| {
            let text = format!(
                "Unsupported value: {}: supported values: {valid}",
                crate::schema::quote(of)
            );
            Cause::new("FieldValueNotSupported", field, text)
        };
        let continued = "resourceVersionMatch is forbidden when continue is provided";
        if watch {
            // A watch from now starts with what is there.
            let assumed = self.matching.is_none() && !self.initial && matches!(self.version, None | Some("0"));
            if self.initial && self.matching != Some("NotOlderThan") {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                forbid(field, why);
            }
            if self.matching.is_some() && !self.initial {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                forbid(field, why);
            }
            if let Some(other) = self.matching.filter(|m| *m != "NotOlderThan") {
                causes.push(unsupported(other, "\"NotOlderThan\""));
            }
            if self.continues && (assumed || self.matching.is_some()) {
                causes.push(Cause::forbidden(field, continued));
            }
        } else {
            if let Some(matching) = self.matching {
                if self.version.is_none() {
                    let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                    forbid(field, why);
                }
                if self.continues {
                    forbid(field, continued);
                }
                if !matches!(matching, "Exact" | "NotOlderThan") {
                    causes.push(unsupported(matching, "\"Exact\", \"NotOlderThan\", \"\""));
                } else if matching == "Exact" && self.version == Some("0") {
                    let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
                    forbid(field, why);
                }
            }
            if self.initial {
                causes.push(Cause::forbidden(
                    "sendInitialEvents",
                    "sendInitialEvents is forbidden for list",
                ));
            }
        }
        match causes.is_empty() {
            true => Ok(()),
            false => Err(Status::invalid("meta.k8s.io", "ListOptions", "", causes)),
        }
    }
}
