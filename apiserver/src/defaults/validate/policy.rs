//! Validation of admission policies and their bindings (`pkg/apis/admissionregistration/validation` in Kubernetes).

use super::admission::{match_conditions, rule};
use super::expressions::{self, expression};
use crate::defaults::names;
use crate::defaults::validate_parts::{by_rule, choice, label_selector, list, named, needed, repeated, text, texts};
use crate::schema::FieldError;
use cfn_cel::{Environment, RESERVED, Type, check};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// What a mutating policy may be asked about.
const MUTABLE: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// What validating and mutating policies have in common, up to their variables; the variables' types.
fn common(spec: &Value, mutating: bool, errors: &mut Vec<FieldError>) -> BTreeMap<String, Type> {
    choice(spec, "failurePolicy", &["Fail", "Ignore"], "spec", errors);
    let params = spec["paramKind"].is_object();
    if params {
        param_kind(&spec["paramKind"], "spec.paramKind", errors);
    }
    let (constraints, path) = (&spec["matchConstraints"], "spec.matchConstraints");
    if constraints.is_object() {
        match_resources(constraints, path, errors);
        if list(constraints, "resourceRules").is_empty() {
            errors.push(FieldError::required(format!("{path}.resourceRules"), ""));
        }
        if mutating {
            mutable(constraints, path, errors);
        }
    } else {
        errors.push(FieldError::required(path, ""));
    }
    let environment = expressions::admission(params, true, false);
    match_conditions(
        list(spec, "matchConditions"),
        &environment,
        "spec.matchConditions",
        errors,
    );
    let mut known = BTreeMap::new();
    for (i, one) in list(spec, "variables").iter().enumerate() {
        variable(one, &environment, &format!("spec.variables[{i}]"), &mut known, errors);
    }
    known
}

fn mutable(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for rule in list(resources, "resourceRules") {
        for operation in texts(rule, "operations").into_iter().filter(|o| !MUTABLE.contains(o)) {
            let at = format!("{path}.resourceRules.operations");
            errors.push(FieldError::not_supported(at, operation, &MUTABLE));
        }
    }
}

/// The environment, with the variables met so far.
fn with_variables(environment: &Environment, known: &BTreeMap<String, Type>) -> Environment {
    let mut environment = environment.clone();
    let of = Type::object("kubernetes.variables", known.clone());
    environment.variables.insert("variables".to_owned(), of);
    environment
}

fn variable(
    one: &Value,
    environment: &Environment,
    path: &str,
    known: &mut BTreeMap<String, Type>,
    errors: &mut Vec<FieldError>,
) {
    let (name, at) = (text(one, "name"), format!("{path}.name"));
    let first = |c: char| c == '_' || c.is_ascii_alphabetic();
    if name.trim().is_empty() {
        errors.push(FieldError::required(at, "name is not specified"));
    } else if !name.starts_with(first)
        || !name.chars().all(|c| first(c) || c.is_ascii_digit())
        || RESERVED.contains(&name)
    {
        errors.push(FieldError::invalid(at, name, "must be a valid CEL identifier"));
    }
    let (e, at) = (text(one, "expression"), format!("{path}.expression"));
    if e.trim().is_empty() {
        return errors.push(FieldError::required(at, "expression is not specified"));
    }
    let of = match check(e, &with_variables(environment, known)) {
        Ok(t) => expressions::of_variable(&t),
        Err(why) => {
            errors.push(FieldError::invalid(at, e, why.to_string()));
            Type::Dyn
        }
    };
    known.insert(name.to_owned(), of);
}

fn param_kind(kind: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let at = format!("{path}.apiVersion");
    if needed(kind, "apiVersion", path, errors) {
        let whole = text(kind, "apiVersion");
        let (group, version) = whole.split_once('/').unwrap_or(("", whole));
        if version.contains('/') {
            let detail = format!("unexpected GroupVersion string: {whole}");
            errors.push(FieldError::invalid(at, whole, detail));
        } else {
            let why = names::dns1123_subdomain(group).join(",");
            if !group.is_empty() && !why.is_empty() {
                errors.push(FieldError::invalid(at.as_str(), group, why));
            }
            let why = names::dns1035_label(version).join(",");
            if version.is_empty() {
                errors.push(FieldError::invalid(at, whole, "version must be specified"));
            } else if !why.is_empty() {
                errors.push(FieldError::invalid(at, version, why));
            }
        }
    }
    let name = text(kind, "kind");
    let why = names::dns1035_label(&name.to_lowercase()).join(",");
    if needed(kind, "kind", path, errors) && !why.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {why}");
        errors.push(FieldError::invalid(format!("{path}.kind"), name, detail));
    }
}

/// `validateValidatingAdmissionPolicySpec`.
pub(super) fn validating(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let known = common(spec, false, errors);
    let params = spec["paramKind"].is_object();
    let environment = |authorizer: bool| {
        let environment = expressions::admission(params, authorizer, false);
        // Without variables there is nothing of that name.
        if list(spec, "variables").is_empty() {
            environment
        } else {
            with_variables(&environment, &known)
        }
    };
    let (checks, notes) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if checks.is_empty() && notes.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required("spec.validations", detail));
        errors.push(FieldError::required("spec.auditAnnotations", detail));
        return;
    }
    for (i, one) in checks.iter().enumerate() {
        let path = format!("spec.validations[{i}]");
        match text(one, "expression") {
            e if e.trim().is_empty() => {
                let detail = "expression is not specified";
                errors.push(FieldError::required(format!("{path}.expression"), detail));
            }
            e => expression(
                e,
                &environment(true),
                &[Type::Bool],
                format!("{path}.expression"),
                errors,
            ),
        }
        messages(one, &environment(false), &path, errors);
    }
    let mut seen = BTreeSet::new();
    for (i, note) in notes.iter().enumerate() {
        let (path, own) = (format!("spec.auditAnnotations[{i}]"), text(note, "key"));
        let key = format!("{}/{own}", text(&new["metadata"], "name"));
        by_rule(&key, format!("{path}.key"), names::qualified_name, errors);
        let (at, e) = (format!("{path}.valueExpression"), text(note, "valueExpression").trim());
        if e.is_empty() {
            errors.push(FieldError::required(at, "valueExpression is not specified"));
        } else {
            expression(e, &environment(true), &[Type::Text, Type::Null], at, errors);
        }
        if seen.contains(&own) {
            errors.push(FieldError::duplicate(format!("{path}.key"), own));
        }
        seen.insert(own);
    }
}

/// What a validation says where it does not hold.
fn messages(one: &Value, environment: &Environment, path: &str, errors: &mut Vec<FieldError>) {
    let (e, at) = (text(one, "messageExpression"), format!("{path}.messageExpression"));
    if !e.is_empty() && e.trim().is_empty() {
        errors.push(FieldError::invalid(at, e, "must be non-empty if specified"));
    } else if !e.is_empty() {
        expression(e, environment, &[Type::Text], at, errors);
    }
    let message = text(one, "message");
    if !message.is_empty() && message.trim().is_empty() {
        let detail = "must be non-empty if specified";
        errors.push(FieldError::invalid(format!("{path}.message"), message, detail));
    } else if message.trim().contains('\n') {
        let detail = "must not contain line breaks";
        errors.push(FieldError::invalid(format!("{path}.message"), message, detail));
    }
    let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    if let Some(reason) = one["reason"].as_str().filter(|r| !reasons.contains(r)) {
        errors.push(FieldError::not_supported(format!("{path}.reason"), reason, &reasons));
    }
}

/// `validateMutatingAdmissionPolicySpec`.
pub(super) fn mutating(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    let known = common(spec, true, errors);
    let environment = expressions::admission(spec["paramKind"].is_object(), true, true);
    let environment = with_variables(&environment, &known);
    let all = list(spec, "mutations");
    if all.is_empty() {
        let detail = "mutations must contain at least one item";
        errors.push(FieldError::required("spec.mutations", detail));
    }
    for (i, one) in all.iter().enumerate() {
        mutation(one, &environment, &format!("spec.mutations[{i}]"), errors);
    }
    if needed(spec, "reinvocationPolicy", "spec", errors) {
        choice(spec, "reinvocationPolicy", &["IfNeeded", "Never"], "spec", errors);
    }
}

fn mutation(one: &Value, environment: &Environment, path: &str, errors: &mut Vec<FieldError>) {
    let patch = Type::object("JSONPatch", []);
    let (own, other, wanted) = match text(one, "patchType") {
        "" => return errors.push(FieldError::required(format!("{path}.patchType"), "")),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Type::list(patch)),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Type::object("Object", [])),
        _ => return choice(one, "patchType", &["ApplyConfiguration", "JSONPatch"], path, errors),
    };
    let kind = text(one, "patchType");
    if one[own].is_object() {
        let at = format!("{path}.{own}.expression");
        match text(&one[own], "expression").trim() {
            "" => errors.push(FieldError::required(at, "")),
            e => expression(e, environment, &[wanted], at, errors),
        }
    } else {
        let detail = format!("must be specified when patchType is {kind}");
        errors.push(FieldError::required(format!("{path}.{own}"), detail));
    }
    if one[other].is_object() {
        let detail = format!("must not be specified when patchType is {kind}");
        errors.push(FieldError::invalid(
            format!("{path}.{other}"),
            format!("{{{other}}}"),
            detail,
        ));
    }
}

fn match_resources(resources: &Value, path: &str, errors: &mut Vec<FieldError>) {
    choice(resources, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    for field in ["namespaceSelector", "objectSelector"] {
        label_selector(&resources[field], &format!("{path}.{field}"), errors);
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (i, one) in list(resources, field).iter().enumerate() {
            let path = format!("{path}.{field}[{i}]");
            let all = texts(one, "resourceNames");
            for ((j, name), again) in all.iter().enumerate().zip(repeated(&all)) {
                let at = format!("{path}.resourceNames[{j}]");
                by_rule(name, at.clone(), names::path_segment, errors);
                if again {
                    errors.push(FieldError::duplicate(at, *name));
                }
            }
            rule(one, &path, errors);
        }
    }
}

/// What bindings of both kinds have.
fn bound(spec: &Value, errors: &mut Vec<FieldError>) {
    if needed(spec, "policyName", "spec", errors) {
        named(spec, "policyName", names::dns1123_subdomain, "spec", errors);
    }
    let reference = &spec["paramRef"];
    if reference.is_object() {
        param_ref(reference, "spec.paramRef", errors);
    }
    if spec["matchResources"].is_object() {
        match_resources(&spec["matchResources"], "spec.matchResources", errors);
    }
}

fn param_ref(reference: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (name, selector) = (text(reference, "name"), !reference["selector"].is_null());
    let detail = "name and selector are mutually exclusive";
    if !name.is_empty() {
        by_rule(name, format!("{path}.name"), names::path_segment, errors);
        if selector {
            errors.push(FieldError::forbidden(format!("{path}.name"), detail));
        }
    }
    if selector {
        label_selector(&reference["selector"], &format!("{path}.selector"), errors);
        if !name.is_empty() {
            errors.push(FieldError::forbidden(format!("{path}.selector"), detail));
        }
    }
    if name.is_empty() && !selector {
        let detail = "one of name or selector must be specified";
        errors.push(FieldError::required(path, detail));
    }
    if needed(reference, "parameterNotFoundAction", path, errors) {
        choice(reference, "parameterNotFoundAction", &["Deny", "Allow"], path, errors);
    }
}

pub(super) fn mutating_binding(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    bound(spec, errors);
    mutable(&spec["matchResources"], "spec.matchResources", errors);
}

pub(super) fn validating_binding(new: &Value, errors: &mut Vec<FieldError>) {
    let spec = &new["spec"];
    bound(spec, errors);
    let actions = texts(spec, "validationActions");
    let path = "spec.validationActions";
    if actions.is_empty() {
        let detail = "at least one validation action is required";
        errors.push(FieldError::required(path, detail));
    }
    let valid = ["Audit", "Deny", "Warn"];
    for ((i, action), again) in actions.iter().enumerate().zip(repeated(&actions)) {
        if !valid.contains(action) {
            errors.push(FieldError::not_supported(format!("{path}[{i}]"), *action, &valid));
        } else if again {
            errors.push(FieldError::duplicate(format!("{path}[{i}]"), *action));
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the \
                      API response and headers serves no purpose)";
        errors.push(FieldError::invalid(path, json!(actions), detail));
    }
}
