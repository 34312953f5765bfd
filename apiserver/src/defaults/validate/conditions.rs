//! Conditions of a status (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`: `ValidateConditions`).

use super::text;
use crate::defaults::names;
use crate::defaults::validate_parts::{by_rule, list, repeated};
use crate::schema::FieldError;
use serde_json::Value;

const STATES: [&str; 3] = ["False", "True", "Unknown"];
/// Bytes of a reason.
const REASON: usize = 1024;
/// Bytes of a message.
const MESSAGE: usize = 32 * 1024;

/// What is wrong with `metav1.Condition`s of an object, at `path`.
pub(super) fn conditions(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let all = list(of, "conditions");
    let again = repeated(all.iter().map(|c| text(c, "type")));
    for ((i, condition), again) in all.iter().enumerate().zip(again) {
        let at = |field: &str| format!("{path}.conditions[{i}].{field}");
        let kind = text(condition, "type");
        if again {
            errors.push(FieldError::duplicate(at("type"), kind));
        }
        by_rule(kind, at("type"), names::qualified_name, errors);
        let state = text(condition, "status");
        if !STATES.contains(&state) {
            errors.push(FieldError::not_supported(at("status"), state, &STATES));
        }
        if let Some(seen) = condition["observedGeneration"].as_i64().filter(|n| *n < 0) {
            let detail = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(at("observedGeneration"), seen, detail));
        }
        if condition["lastTransitionTime"].is_null() {
            errors.push(FieldError::required(at("lastTransitionTime"), ""));
        }
        let reason = text(condition, "reason");
        if reason.is_empty() {
            errors.push(FieldError::required(at("reason"), ""));
        } else {
            by_rule(reason, at("reason"), names::condition_reason, errors);
            if reason.len() > REASON {
                errors.push(FieldError::too_long(at("reason"), REASON as u64));
            }
        }
        if text(condition, "message").len() > MESSAGE {
            errors.push(FieldError::too_long(at("message"), MESSAGE as u64));
        }
    }
}

/// Types of conditions that are there once and not empty (priority and fairness has its own).
pub(super) fn typed(status: &Value, errors: &mut Vec<FieldError>) {
    let all = list(status, "conditions");
    let again = repeated(all.iter().map(|c| text(c, "type")));
    for ((i, condition), again) in all.iter().enumerate().zip(again) {
        let (kind, path) = (text(condition, "type"), format!("status.conditions[{i}].type"));
        if again {
            errors.push(FieldError::duplicate(path.as_str(), kind));
        }
        if kind.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn conditions_are_checked_as_upstream_does() {
        let of = json!({"conditions": [
            {"type": "Ready", "status": "True", "reason": "Ok", "lastTransitionTime": "2024-01-01T00:00:00Z"},
            {"type": "Ready", "status": "x", "reason": "a b", "observedGeneration": -1},
        ]});
        let mut errors = Vec::new();
        conditions(&of, "status", &mut errors);
        let told: Vec<String> = errors
            .iter()
            .map(|e| e.to_string().chars().take(70).collect())
            .collect();
        assert_eq!(
            told,
            [
                "status.conditions[1].type: Duplicate value: \"Ready\"",
                "status.conditions[1].status: Unsupported value: \"x\": supported values:",
                "status.conditions[1].observedGeneration: Invalid value: -1: must be gr",
                "status.conditions[1].lastTransitionTime: Required value",
                "status.conditions[1].reason: Invalid value: \"a b\": a condition reason ",
            ]
        );
        let mut errors = Vec::new();
        typed(&json!({"conditions": [{}, {"type": "a"}, {"type": "a"}]}), &mut errors);
        assert_eq!(errors.len(), 2);
    }
}
