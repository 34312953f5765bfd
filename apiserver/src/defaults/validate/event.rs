//! Validation of events (`pkg/apis/core/validation/events.go` in Kubernetes): of both groups by what any event must be,
//! and of `events.k8s.io` by more. Errors name the fields of the internal type, whatever the group calls them.

use crate::defaults::validate_parts::{by_rule, needed, text};
use crate::defaults::{immutable, names};
use crate::schema::{FieldError, Printed};
use serde_json::{Value, json};

/// The group whose events are checked strictly.
const STRICT: &str = "events.k8s.io";

/// Most bytes of a name or a reason, and of what is told.
const NAME_LENGTH: usize = 128;
const NOTE_LENGTH: usize = 1024;

pub(super) fn event(group: &str, new: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    // The metadata of these is checked after what any event must be.
    let of_metadata = if group == STRICT {
        std::mem::take(errors)
    } else {
        Vec::new()
    };
    any(group == STRICT, new, errors);
    errors.extend(of_metadata);
    if group != STRICT {
        return;
    }
    match old {
        None => made(new, errors),
        Some(old) => changed(new, old, errors),
    }
}

/// `legacyValidateEvent`.
fn any(strict: bool, new: &Value, errors: &mut Vec<FieldError>) {
    let (about, controller, told) = if strict {
        ("regarding", "reportingController", "note")
    } else {
        ("involvedObject", "reportingComponent", "message")
    };
    let (of, at) = (text(&new[about], "namespace"), text(&new["metadata"], "namespace"));
    let timed = !new["eventTime"].is_null();
    // Of things without a namespace the events are in one all the same.
    let agree = match (of.is_empty(), timed) {
        (true, true) => matches!(at, "default" | "kube-system"),
        (true, false) => at == "default",
        (false, true) => true,
        (false, false) => of == at,
    };
    if !agree {
        let detail = "does not match event.namespace";
        errors.push(FieldError::invalid("involvedObject.namespace", of, detail));
    }
    if timed {
        let name = text(new, controller);
        needed(new, controller, "", errors);
        by_rule(name, controller.to_owned(), names::qualified_name, errors);
        for field in ["reportingInstance", "action", "reason"] {
            if needed(new, field, "", errors) {
                at_most(text(new, field), field, NAME_LENGTH, errors);
            }
        }
        at_most(text(new, told), "message", NOTE_LENGTH, errors);
    }
}

fn at_most(value: &str, field: &str, most: usize, errors: &mut Vec<FieldError>) {
    if value.len() > most {
        let detail = format!("can have at most {most} characters");
        errors.push(FieldError::invalid(field, "", detail));
    }
}

/// `validateV1EventSeries`.
fn series(new: &Value, errors: &mut Vec<FieldError>) {
    let series = &new["series"];
    if series.is_null() {
        return;
    }
    if series["count"].as_i64().unwrap_or_default() < 2 {
        errors.push(FieldError::invalid("series.count", "", "should be at least 2"));
    }
    if series["lastObservedTime"].is_null() {
        errors.push(FieldError::required("series.lastObservedTime", ""));
    }
}

/// `ValidateEventCreate`, the strict part.
fn made(new: &Value, errors: &mut Vec<FieldError>) {
    series(new, errors);
    if new["eventTime"].is_null() {
        errors.push(FieldError::required("eventTime", ""));
    }
    let kind = text(new, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(FieldError::invalid("type", "", format!("has invalid value: {kind}")));
    }
    let source = &new["deprecatedSource"];
    let given = [
        ("firstTimestamp", !new["deprecatedFirstTimestamp"].is_null()),
        ("lastTimestamp", !new["deprecatedLastTimestamp"].is_null()),
        ("count", new["deprecatedCount"].as_i64().is_some_and(|n| n != 0)),
        (
            "source",
            ["component", "host"].iter().any(|f| !text(source, f).is_empty()),
        ),
    ];
    for (field, _) in given.into_iter().filter(|(_, given)| *given) {
        errors.push(FieldError::invalid(field, "", "needs to be unset"));
    }
}

/// `ValidateEventUpdate`, the strict part: only the series goes on.
fn changed(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if new["series"] != old["series"] {
        series(new, errors);
    }
    let mut same = |field: &str, of: &str| match field {
        "regarding" | "related" | "deprecatedSource" => {
            // What is left out and what is empty are one, where the type has no pointer.
            let name = if field == "deprecatedSource" {
                "core.EventSource"
            } else {
                "core.ObjectReference"
            };
            let shown = |object: &Value| match &object[field] {
                Value::Null if field == "related" => Printed::plain(&Value::Null),
                Value::Null => Printed::internal(name, &json!({})),
                value => Printed::internal(name, value),
            };
            immutable::printed(&shown(new), &shown(old), of, errors);
        }
        "deprecatedCount" => {
            let count = |of: &Value| Value::from(of[field].as_i64().unwrap_or_default());
            immutable::value(&count(new), &count(old), of, errors);
        }
        "eventTime" | "deprecatedFirstTimestamp" | "deprecatedLastTimestamp" => {
            immutable::value(&new[field], &old[field], of, errors);
        }
        _ => immutable::value(&text(new, field).into(), &text(old, field).into(), of, errors),
    };
    for (field, of) in [
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("deprecatedSource", "source"),
        ("deprecatedFirstTimestamp", "firstTimestamp"),
        ("deprecatedLastTimestamp", "lastTimestamp"),
        ("deprecatedCount", "count"),
        ("reason", "reason"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
    ] {
        same(field, of);
    }
}
