//! What a schema's fields may say, each for itself and together (`ValidateCustomResourceDefinitionOpenAPISchema`).

use serde_json::Value;

use super::context::{Context, Costs};
use super::structural::wrong_type;
use super::{Demands, entries, list, rules, schema_at};
use crate::registry::text;
use crate::schema::FieldError;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What a part of a schema takes over from what it stands in.
#[derive(Debug, Clone, Default)]
struct Within {
    /// In an object's metadata, kind or apiVersion.
    metadata: bool,
    /// Why there may be no defaults.
    no_defaults: Option<String>,
    /// The outermost part whose values cannot be told from their old ones.
    uncorrelatable: Option<String>,
}

/// What is wrong with a schema: with its form first, then with its rules.
pub(super) fn errors(
    schema: &Value,
    path: &str,
    context: Option<&Context<'_>>,
    demands: Demands,
    costs: &mut Costs,
) -> Vec<FieldError> {
    let mut walk = Walk {
        demands,
        costs,
        rules: Vec::new(),
    };
    let mut found = walk.part(schema, path, &Within::default(), true, context);
    found.append(&mut walk.rules);
    found
}

struct Walk<'c> {
    demands: Demands,
    costs: &'c mut Costs,
    /// What is wrong with rules.
    rules: Vec<FieldError>,
}

impl Walk<'_> {
    /// What is wrong with the form of a part.
    fn part(
        &mut self,
        s: &Value,
        path: &str,
        within: &Within,
        root: bool,
        context: Option<&Context<'_>>,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.supported(s, path, within, &mut errors);
        if s["uniqueItems"] == true {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            errors.push(FieldError::forbidden(format!("{path}.uniqueItems"), detail));
        }
        let more = &s["additionalProperties"];
        if !more.is_null() {
            let at = format!("{path}.additionalProperties");
            let named = entries(&s["properties"]).next().is_some();
            if named && *more != true {
                let detail = "additionalProperties and properties are mutual exclusive";
                errors.push(FieldError::forbidden(at.as_str(), detail));
            }
            let mut inner = within.clone();
            if within.metadata {
                inner.no_defaults = Some("inside additionalProperties applying to object metadata".to_owned());
            }
            if let Some(more) = schema_at(more) {
                let of = context.map(|c| c.of(more));
                errors.extend(self.part(more, &at, &inner, false, of.as_ref()));
            }
        }
        for (name, child) in entries(&s["properties"]) {
            let mut inner = within.clone();
            // What another kind of map would be nobody knows.
            if !matches!(s["x-kubernetes-map-type"].as_str(), None | Some("granular" | "atomic")) {
                inner.uncorrelatable.get_or_insert_with(|| path.to_owned());
            }
            let embedded = root || s["x-kubernetes-embedded-resource"] == true;
            if embedded && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
                inner.metadata = true;
                if root {
                    inner.no_defaults = Some(format!("in top-level {name}"));
                }
            }
            let of = context.map(|c| c.of(child));
            errors.extend(self.part(child, &format!("{path}.properties[{name}]"), &inner, false, of.as_ref()));
        }
        self.others(s, path, within, &mut errors);
        if let Some(items) = schema_at(&s["items"]) {
            let mut inner = within.clone();
            if s["x-kubernetes-list-type"] != "map" {
                inner.uncorrelatable.get_or_insert_with(|| path.to_owned());
            }
            let of = context.map(|c| c.of(items));
            errors.extend(self.part(items, &format!("{path}.items"), &inner, false, of.as_ref()));
        }
        for (i, item) in list(&s["items"]).iter().enumerate() {
            errors.extend(self.part(item, &format!("{path}.items[{i}]"), within, false, None));
        }
        for (name, part) in entries(&s["dependencies"]) {
            if let Some(part) = schema_at(part) {
                errors.extend(self.part(part, &format!("{path}.dependencies[{name}]"), within, false, None));
            }
        }
        if s["x-kubernetes-preserve-unknown-fields"] == false {
            let at = format!("{path}.x-kubernetes-preserve-unknown-fields");
            errors.push(FieldError::invalid(at, false, "must be true or undefined"));
        }
        self.lists(s, path, &mut errors);
        rules::written(s, path, &mut errors);
        if errors.is_empty()
            && let Some(context) = context
        {
            let uncorrelatable = within.uncorrelatable.as_deref();
            rules::errors(
                context,
                path,
                uncorrelatable,
                self.demands.costs,
                self.costs,
                &mut self.rules,
            );
        }
        errors
    }

    /// Parts that are told of by name or by number and have no rules.
    fn others(&mut self, s: &Value, path: &str, within: &Within, errors: &mut Vec<FieldError>) {
        if let Some(not) = schema_at(&s["not"]) {
            errors.extend(self.part(not, &format!("{path}.not"), within, false, None));
        }
        for field in ["allOf", "oneOf", "anyOf"] {
            for (i, child) in list(&s[field]).iter().enumerate() {
                errors.extend(self.part(child, &format!("{path}.{field}[{i}]"), within, false, None));
            }
        }
        for (name, child) in entries(&s["definitions"]) {
            errors.extend(self.part(child, &format!("{path}.definitions[{name}]"), within, false, None));
        }
    }

    /// Fields that are not supported, here or at all (`specStandardValidatorV3`).
    fn supported(&self, s: &Value, path: &str, within: &Within, errors: &mut Vec<FieldError>) {
        let kind = text(s, "/type");
        if self.demands.types && unknown_type(s) {
            errors.push(FieldError::not_supported(format!("{path}.type"), kind, &TYPES));
        }
        if let Some(why) = within.no_defaults.as_ref().filter(|_| !s["default"].is_null()) {
            let detail = format!("must not be set {why}");
            errors.push(FieldError::forbidden(format!("{path}.default"), detail));
        }
        let some = |field: &str| s[field].as_object().is_some_and(|m| !m.is_empty());
        for (field, said) in [
            ("id", !text(s, "/id").is_empty()),
            ("additionalItems", !s["additionalItems"].is_null()),
            ("patternProperties", some("patternProperties")),
            ("definitions", some("definitions")),
            ("dependencies", !s["dependencies"].is_null()),
            ("$ref", !s["$ref"].is_null()),
        ] {
            if said {
                let detail = format!("{field} is not supported");
                errors.push(FieldError::forbidden(format!("{path}.{field}"), detail));
            }
        }
        if kind == "null" {
            let detail = "type cannot be set to null, use nullable as an alternative";
            errors.push(FieldError::forbidden(format!("{path}.type"), detail));
        }
        if !list(&s["items"]).is_empty() {
            let detail = "items must be a schema object and not an array";
            errors.push(FieldError::forbidden(format!("{path}.items"), detail));
        }
        if within.metadata && s["x-kubernetes-embedded-resource"] == true {
            let at = format!("{path}.x-kubernetes-embedded-resource");
            errors.push(FieldError::forbidden(at, "must not be used inside of resource meta"));
        }
    }

    /// Kinds of lists and maps, and what they are of.
    fn lists(&self, s: &Value, path: &str, errors: &mut Vec<FieldError>) {
        let kind = text(s, "/type");
        let (map, own) = (
            s["x-kubernetes-map-type"].as_str(),
            s["x-kubernetes-list-type"].as_str(),
        );
        let (at_map, at_list) = (
            format!("{path}.x-kubernetes-map-type"),
            format!("{path}.x-kubernetes-list-type"),
        );
        if map.is_some() && kind != "object" {
            let detail = "must be object if x-kubernetes-map-type is specified";
            errors.push(wrong_type(format!("{path}.type"), kind, detail));
        }
        if let Some(map) = map.filter(|m| !matches!(*m, "atomic" | "granular")) {
            errors.push(FieldError::not_supported(at_map, map, &["atomic", "granular"]));
        }
        if own.is_some() && kind != "array" {
            let detail = "must be array if x-kubernetes-list-type is specified";
            errors.push(wrong_type(format!("{path}.type"), kind, detail));
        } else if self.demands.atomic_sets {
            errors.extend(set_of_more(s, path));
        }
        if let Some(own) = own.filter(|o| !matches!(*o, "atomic" | "set" | "map")) {
            errors.push(FieldError::not_supported(
                at_list.as_str(),
                own,
                &["atomic", "set", "map"],
            ));
        }
        let keys = list(&s["x-kubernetes-list-map-keys"]);
        if !keys.is_empty() {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            match own {
                None => errors.push(FieldError::required(at_list, detail)),
                Some("map") => {}
                Some(own) => errors.push(FieldError::invalid(at_list, own, detail)),
            }
        }
        if own == Some("map") {
            list_map(s, path, errors);
        }
        if self.demands.keys {
            errors.extend(nullable_keys(s, path));
        }
    }
}

/// Whether a schema's type is none of those there are.
pub(super) fn unknown_type(s: &Value) -> bool {
    let kind = text(s, "/type");
    !kind.is_empty() && !TYPES.contains(&kind)
}

/// What is wrong with the items of a set.
pub(super) fn set_of_more(s: &Value, path: &str) -> Option<FieldError> {
    let items = schema_at(&s["items"]).filter(|_| s["x-kubernetes-list-type"] == "set")?;
    let field = match text(items, "/type") {
        "array" => "x-kubernetes-list-type",
        "object" => "x-kubernetes-map-type",
        _ => return None,
    };
    let said = items[field].as_str();
    if said == Some("atomic") || said.is_none() && items["type"] == "array" {
        return None;
    }
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    // Of maps upstream shows the kind of list, too.
    let shown = items["x-kubernetes-list-type"].clone();
    Some(FieldError::invalid(format!("{path}.items.{field}"), shown, detail))
}

fn list_map(s: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (at, said) = (
        format!("{path}.x-kubernetes-list-map-keys"),
        &s["x-kubernetes-list-map-keys"],
    );
    let keys = list(said);
    if keys.is_empty() {
        errors.push(FieldError::required(
            at.as_str(),
            "must not be empty if x-kubernetes-list-type is map",
        ));
    }
    if s.get("items").is_none() {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(format!("{path}.items"), detail));
        return;
    }
    let Some(items) = schema_at(&s["items"]) else {
        let detail = "must only have a single schema if x-kubernetes-list-type is map";
        errors.push(FieldError::invalid_internal(
            format!("{path}.items"),
            "apiextensions.JSONSchemaPropsOrArray",
            &s["items"],
            detail,
        ));
        return;
    };
    let kind = text(items, "/type");
    if kind != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(format!("{path}.items.type"), kind, detail));
        return;
    }
    for (i, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        match items["properties"].get(name) {
            Some(own) if matches!(text(own, "/type"), "array" | "object") => {
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                let at = format!("{path}.items.properties[{name}].type");
                errors.push(FieldError::invalid(at, kind, detail));
            }
            Some(_) => {}
            None => {
                let detail = "entries must all be names of item properties";
                errors.push(FieldError::invalid(at.as_str(), said.clone(), detail));
            }
        }
        if keys[..i].contains(key) {
            let detail = "must not contain duplicate entries";
            errors.push(FieldError::invalid(at.as_str(), said.clone(), detail));
        }
    }
}

/// Items and keys of sets and maps that may be null or absent (`validateMapListKeysMapSet`).
pub(super) fn nullable_keys(s: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let own = text(s, "/x-kubernetes-list-type");
    let Some(items) = schema_at(&s["items"]).filter(|_| matches!(own, "set" | "map")) else {
        return errors;
    };
    if items["nullable"] == true {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {own}");
        errors.push(FieldError::forbidden(format!("{path}.items.nullable"), detail));
    }
    let keys = list(&s["x-kubernetes-list-map-keys"]).iter().filter(|_| own == "map");
    for key in keys.filter_map(Value::as_str) {
        let Some(property) = items["properties"].get(key) else {
            continue;
        };
        let at = format!("{path}.items.properties[{key}]");
        if !list(&items["required"]).iter().any(|n| n == key) && property["default"].is_null() {
            let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required \
                          property";
            errors.push(FieldError::required(format!("{at}.default"), detail));
        }
        if property["nullable"] == true {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(format!("{at}.nullable"), detail));
        }
    }
    errors
}
