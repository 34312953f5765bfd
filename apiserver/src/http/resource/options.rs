//! What the options of requests may say.

use serde_json::{Value, json};

use crate::status::{Cause, Status};

/// `validation.ValidateDryRun`.
pub(super) fn check_dry_run(all: &[Value], options: &str) -> Result<(), Status> {
    if all == [json!("All")] {
        return Ok(());
    }
    let text = format!("Unsupported value: {}: supported values: \"All\"", json!(all));
    let cause = Cause::new("FieldValueNotSupported", "dryRun", text);
    Err(Status::invalid("meta.k8s.io", options, "", vec![cause]))
}

/// `validation.ValidateFieldManager`.
pub(super) fn check_manager(manager: &str, options: &str) -> Result<(), Status> {
    let mut causes = Vec::new();
    if manager.len() > 128 {
        let text = "Too long: may not be more than 128 bytes";
        causes.push(Cause::new("FieldValueTooLong", "fieldManager", text.to_owned()));
    }
    // Go's unicode.IsPrint: spaces but the plain one are none.
    let wrong = |c: &char| c.is_control() || c.is_whitespace() && *c != ' ';
    if let Some((at, c)) = manager.char_indices().find(|(_, c)| wrong(c)) {
        let text = format!(
            "Invalid value: {}: invalid character U+{:04X} (at position {at})",
            crate::schema::quote(manager),
            u32::from(c)
        );
        causes.push(Cause::new("FieldValueInvalid", "fieldManager", text));
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("meta.k8s.io", options, "", causes))
}

/// A number in a query.
pub(super) fn number(text: &str) -> Result<i64, Status> {
    let wrong = |_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
    text.parse().map_err(wrong)
}

/// What is said of a revision that is none.
pub(super) fn not_a_version(text: &str) -> String {
    format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
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
            let text = format!("Unsupported value: {of:?}: supported values: {valid}");
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
