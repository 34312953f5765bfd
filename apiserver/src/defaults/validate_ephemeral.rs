//! Validation of containers that are put into a pod that runs (`validateEphemeralContainers` in Kubernetes).

use super::validate_parts::{list, repeated, text};
use super::validate_pod;
use crate::schema::FieldError;
use serde_json::Value;
use std::collections::BTreeSet;

/// What the others have and these may not, in the order the type declares.
const NOT_THESE: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

const DETAIL: &str = "cannot be set for an Ephemeral Container";

/// The ephemeral containers of a pod or a template whose volumes are these.
pub(super) fn containers(spec: &Value, volumes: &BTreeSet<&str>, path: &str, errors: &mut Vec<FieldError>) {
    let others: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|which| list(spec, which))
        .map(|c| text(c, "name"))
        .collect();
    let all = list(spec, "ephemeralContainers");
    let again = repeated(all.iter().map(|container| text(container, "name")));
    for ((i, container), again) in all.iter().enumerate().zip(again) {
        let path = format!("{path}.ephemeralContainers[{i}]");
        validate_pod::container(container, volumes, spec, &path, errors);
        validate_pod::only_for_pod(container, &path, errors);
        let name = text(container, "name");
        if again || others.contains(&name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others.contains(&target) {
            errors.push(FieldError::not_found(format!("{path}.targetContainerName"), target));
        }
        for field in NOT_THESE.iter().filter(|f| is_set(f, &container[**f])) {
            errors.push(FieldError::forbidden(format!("{path}.{field}"), DETAIL));
        }
        for (j, mount) in list(container, "volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"].iter().filter(|f| !text(mount, f).is_empty()) {
                let at = format!("{path}.volumeMounts[{j}].{field}");
                errors.push(FieldError::forbidden(at, DETAIL));
            }
        }
    }
}

/// Whether Go holds a field's value for something: all that is there, but for resources that say nothing.
fn is_set(field: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) if field == "resources" => fields.values().any(|v| !v.is_null()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn they_are_no_part_of_what_runs() {
        let told = |container: Value| {
            let mut container = container;
            for (field, value) in [
                ("image", "i"),
                ("terminationMessagePolicy", "File"),
                ("imagePullPolicy", "Always"),
            ] {
                container[field] = json!(value);
            }
            let spec = json!({"containers": [{"name": "c"}], "ephemeralContainers": [container]});
            let mut errors = Vec::new();
            containers(&spec, &BTreeSet::new(), "spec", &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let at = |rest: &str| vec![format!("spec.ephemeralContainers[0].{rest}")];
        for (container, wanted) in [
            (
                json!({"name": "e", "targetContainerName": "c", "resources": {}}),
                vec![],
            ),
            (json!({"name": "c"}), at("name: Duplicate value: \"c\"")),
            (
                json!({"name": "e", "targetContainerName": "x"}),
                at("targetContainerName: Not found: \"x\""),
            ),
            (
                json!({"name": "e", "livenessProbe": {}}),
                at("livenessProbe: Forbidden: cannot be set for an Ephemeral Container"),
            ),
        ] {
            assert_eq!(told(container), wanted);
        }
    }
}
