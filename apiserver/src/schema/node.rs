//! Parsed schemas: one node for each object of an OpenAPI schema, the same for built-in types and CRDs.

use super::archive::SCHEMAS;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, OnceLock};

/// JSON type a schema demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Anything.
    Any,
    /// An object.
    Object,
    /// A list.
    Array,
    /// A string.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A whole number or a string (`x-kubernetes-int-or-string`; built-in: IntOrString).
    IntOrString,
    /// A quantity: a string or a number.
    Quantity,
}

/// How a list is merged (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListType {
    /// As one value.
    #[default]
    Atomic,
    /// As a set of scalars.
    Set,
    /// As a map whose keys are these fields of the elements.
    Map(Vec<String>),
}

/// What an object may hold besides its properties.
#[derive(Debug, Clone, Default)]
pub(super) enum Additional {
    /// Nothing.
    #[default]
    Nothing,
    /// Anything.
    Anything,
    /// Values of this schema.
    Schema(Arc<Node>),
}

/// One schema. Children are shared, so that views are cheap.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) kind: Option<Type>,
    /// Name of a definition this stands for (`$ref`, or `allOf` around one).
    pub(super) reference: Option<String>,
    /// That definition, once somebody asked for it; `None` inside: there is none of that name.
    pub(super) definition: OnceLock<Option<Arc<Node>>>,
    /// Properties that are never absent in Go's types (see [`super::SchemaRef::never_absent`]).
    pub(super) never_absent: OnceLock<Vec<String>>,
    /// Properties that have a default (see [`super::SchemaRef::defaulted`]).
    pub(super) defaulted: OnceLock<Vec<String>>,
    pub(super) properties: BTreeMap<String, Arc<Node>>,
    pub(super) additional: Additional,
    pub(super) items: Option<Arc<Node>>,
    pub(super) list_type: Option<ListType>,
    /// `x-kubernetes-map-type: atomic`; `None` where it is not said.
    pub(super) atomic_map: Option<bool>,
    pub(super) patch_strategy: Vec<String>,
    pub(super) patch_merge_key: Option<String>,
    pub(super) default: Option<Value>,
    pub(super) format: Option<String>,
    pub(super) nullable: bool,
    pub(super) preserve_unknown: bool,
    pub(super) embedded_resource: bool,
    /// Of Kubernetes' own types: null means not given, and required fields are checked elsewhere.
    pub(super) builtin: bool,
    /// Properties that must be given (built-in: that are written even when they are empty).
    pub(super) required: Vec<String>,
    pub(super) checks: Option<Box<Checks>>,
}

/// Value validations; few nodes have any.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) enumeration: Vec<Value>,
    pub(super) minimum: Option<(f64, bool)>,
    pub(super) maximum: Option<(f64, bool)>,
    pub(super) multiple_of: Option<f64>,
    pub(super) min_length: Option<u64>,
    pub(super) max_length: Option<i64>,
    pub(super) pattern: Option<String>,
    /// The pattern compiled at the first use, or why it cannot be.
    pub(super) regex: OnceLock<Result<regex::Regex, String>>,
    pub(super) min_items: Option<u64>,
    pub(super) max_items: Option<u64>,
    pub(super) unique_items: bool,
    pub(super) min_properties: Option<u64>,
    pub(super) max_properties: Option<u64>,
    pub(super) all_of: Vec<Arc<Node>>,
    pub(super) any_of: Vec<Arc<Node>>,
    pub(super) one_of: Vec<Arc<Node>>,
    pub(super) not: Option<Arc<Node>>,
}

impl Node {
    /// A node that takes anything and keeps it.
    pub(super) fn anything() -> Node {
        Node {
            preserve_unknown: true,
            nullable: true,
            additional: Additional::Anything,
            ..Node::default()
        }
    }

    /// Parses a schema. Unknown keywords are ignored; whether a CRD's schema is structural is checked in `crd`.
    pub(super) fn parse(schema: &Value, builtin: bool) -> Node {
        let text = |key: &str| schema[key].as_str();
        let flag = |key: &str| schema[key] == true;
        let reference = text("$ref").or_else(|| match schema["allOf"].as_array()?.as_slice() {
            [only] => only["$ref"].as_str(),
            _ => None,
        });
        let int_or_string = flag("x-kubernetes-int-or-string") || text("format") == Some("int-or-string");
        let kind = match text("type") {
            _ if int_or_string => Some(Type::IntOrString),
            Some("object") => Some(Type::Object),
            Some("array") => Some(Type::Array),
            Some("string") => Some(Type::String),
            Some("integer") => Some(Type::Integer),
            Some("number") => Some(Type::Number),
            Some("boolean") => Some(Type::Boolean),
            _ => None,
        };
        let properties: BTreeMap<String, Arc<Node>> = schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, child)| (name.clone(), Arc::new(Node::parse(child, builtin))))
            .collect();
        let additional = match &schema["additionalProperties"] {
            Value::Object(child) if child.is_empty() => Additional::Anything,
            child @ Value::Object(_) => Additional::Schema(Arc::new(Node::parse(child, builtin))),
            Value::Bool(true) => Additional::Anything,
            _ => Additional::Nothing,
        };
        let list_type = text("x-kubernetes-list-type").map(|list_type| match list_type {
            "set" => ListType::Set,
            "map" => ListType::Map(texts(&schema["x-kubernetes-list-map-keys"])),
            _ => ListType::Atomic,
        });
        Node {
            kind,
            reference: reference.map(|r| r.rsplit('/').next().unwrap_or(r).to_owned()),
            properties,
            additional,
            items: schema.get("items").map(|items| Arc::new(Node::parse(items, builtin))),
            list_type,
            atomic_map: text("x-kubernetes-map-type").map(|map_type| map_type == "atomic"),
            patch_strategy: text("x-kubernetes-patch-strategy")
                .map(|s| s.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            patch_merge_key: text("x-kubernetes-patch-merge-key").map(str::to_owned),
            default: schema.get("default").cloned(),
            format: text("format").map(str::to_owned),
            nullable: flag("nullable"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded_resource: flag("x-kubernetes-embedded-resource"),
            builtin,
            required: texts(&schema["required"]),
            checks: Checks::parse(schema, builtin).map(Box::new),
            definition: OnceLock::new(),
            never_absent: OnceLock::new(),
            defaulted: OnceLock::new(),
        }
    }
}

impl Checks {
    fn parse(schema: &Value, builtin: bool) -> Option<Checks> {
        const KEYWORDS: [&str; 17] = [
            "enum",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "pattern",
            "minItems",
            "maxItems",
            "uniqueItems",
            "minProperties",
            "maxProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "format",
        ];
        // The built-in types are checked by `defaults`, as upstream checks them by hand.
        if builtin || !KEYWORDS.iter().any(|k| schema.get(*k).is_some()) {
            return None;
        }
        let count = |key: &str| schema[key].as_u64();
        let children = |key: &str| -> Vec<Arc<Node>> {
            schema[key]
                .as_array()
                .into_iter()
                .flatten()
                .map(|s| Arc::new(Node::parse(s, false)))
                .collect()
        };
        let bound = |key: &str, exclusive: &str| schema[key].as_f64().map(|b| (b, schema[exclusive] == true));
        Some(Checks {
            enumeration: schema["enum"].as_array().cloned().unwrap_or_default(),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: schema["multipleOf"].as_f64(),
            min_length: count("minLength"),
            max_length: schema["maxLength"].as_i64(),
            pattern: schema["pattern"].as_str().map(str::to_owned),
            regex: OnceLock::new(),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            unique_items: schema["uniqueItems"] == true,
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            all_of: children("allOf"),
            any_of: children("anyOf"),
            one_of: children("oneOf"),
            not: schema.get("not").map(|s| Arc::new(Node::parse(s, false))),
        })
    }
}

/// A list of strings.
pub(super) fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}

/// The definition of a built-in type; parses its package when it is the first one asked for.
pub(super) fn definition(name: &str) -> Option<Arc<Node>> {
    type Definitions = BTreeMap<String, Arc<Node>>;
    static PACKAGES: LazyLock<BTreeMap<String, OnceLock<Definitions>>> = LazyLock::new(|| {
        SCHEMAS
            .names()
            .map(|(name, _)| (name.to_owned(), OnceLock::new()))
            .collect()
    });
    let package = super::package(name);
    let definitions = PACKAGES.get(package)?.get_or_init(|| {
        let text = SCHEMAS.text(package).unwrap_or_default();
        let definitions: BTreeMap<String, Value> = serde_json::from_str(&text).expect("recorded definitions are JSON");
        definitions
            .into_iter()
            .map(|(name, schema)| {
                let node = builtin_definition(&name, &schema);
                (name, Arc::new(node))
            })
            .collect()
    });
    definitions.get(name).cloned()
}

/// Types whose JSON form OpenAPI does not tell get it here; the rest is as recorded.
fn builtin_definition(name: &str, schema: &Value) -> Node {
    let mut node = Node::parse(schema, true);
    match name.rsplit('.').next().unwrap_or_default() {
        "Quantity" => node.kind = Some(Type::Quantity),
        "RawExtension"
        | "FieldsV1"
        | "JSON"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrStringArray"
        | "Patch" => {
            node.preserve_unknown = true;
            node.additional = Additional::Anything;
        }
        _ => {}
    }
    node
}

/// Name of the definition of a built-in kind.
pub(super) fn definition_of_kind(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    static KINDS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
        serde_json::from_str(&SCHEMAS.text("kinds").unwrap_or_default()).expect("recorded kinds are JSON")
    });
    KINDS.get(&format!("{group}/{version}/{kind}")).map(String::as_str)
}
