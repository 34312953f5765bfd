//! Views on schemas: children, references resolved, attributes of a reference and of its definition together.

use super::node::{Additional, ListType, Node, Type, definition, definition_of_kind};
use serde_json::Value;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Definition of ObjectMeta.
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// A view on one schema; cheap to clone, `Send` and `Sync`.
///
/// Where a schema is a reference (`$ref`, or `allOf` around one as the built-in types have it), the definition says
/// what the value is, and the reference may add a default, a patch strategy or a map type.
#[derive(Clone)]
pub struct SchemaRef {
    /// The schema as it stands in its parent.
    outer: Arc<Node>,
    /// What it refers to; the same as `outer` without a reference.
    target: Arc<Node>,
    /// Under an `x-kubernetes-preserve-unknown-fields` of a schema further up.
    preserve_inherited: bool,
}

impl fmt::Debug for SchemaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.outer.reference.as_deref().unwrap_or("inline");
        write!(
            f,
            "SchemaRef({name}, {:?}, {} properties)",
            self.kind(),
            self.target.properties.len()
        )
    }
}

impl SchemaRef {
    pub(super) fn new(outer: Arc<Node>) -> SchemaRef {
        let target = match &outer.reference {
            Some(name) => {
                let known = outer.definition.get_or_init(|| definition(name));
                known.as_ref().unwrap_or(&ANYTHING).clone()
            }
            None => outer.clone(),
        };
        SchemaRef {
            outer,
            target,
            preserve_inherited: false,
        }
    }

    fn child(&self, node: &Arc<Node>) -> SchemaRef {
        let mut child = SchemaRef::new(node.clone());
        child.preserve_inherited = !self.target.builtin
            && node.reference.is_none()
            && (self.preserve_inherited || self.target.preserve_unknown);
        child
    }

    /// Schema of a built-in kind.
    pub fn for_gvk(group: &str, version: &str, kind: &str) -> Option<SchemaRef> {
        SchemaRef::named(definition_of_kind(group, version, kind)?)
    }

    /// Schema of a built-in definition (`io.k8s.api.core.v1.PodSpec`).
    pub fn named(name: &str) -> Option<SchemaRef> {
        definition(name)?;
        let outer = Node {
            reference: Some(name.to_owned()),
            builtin: true,
            ..Node::default()
        };
        Some(SchemaRef::new(Arc::new(outer)))
    }

    /// A schema that takes anything.
    pub fn anything() -> SchemaRef {
        SchemaRef::new(ANYTHING.clone())
    }

    /// A custom resource of which nothing is known but that it has `metadata`
    /// (`x-kubernetes-preserve-unknown-fields` at the root).
    pub fn opaque() -> SchemaRef {
        let mut node = Node {
            kind: Some(Type::Object),
            ..Node::anything()
        };
        add_object_fields(&mut node);
        SchemaRef::new(Arc::new(node))
    }

    /// JSON type.
    pub fn kind(&self) -> Type {
        self.target.kind.unwrap_or(Type::Any)
    }

    /// OpenAPI format (`int32`, `date-time`, ...).
    pub fn format(&self) -> Option<&str> {
        self.target.format.as_deref()
    }

    /// Name of the built-in definition this refers to.
    pub fn definition_name(&self) -> Option<&str> {
        self.outer.reference.as_deref()
    }

    /// Whether this is one of Kubernetes' own types.
    pub fn is_builtin(&self) -> bool {
        self.target.builtin
    }

    /// Schema of a declared property.
    pub fn property(&self, name: &str) -> Option<SchemaRef> {
        self.target.properties.get(name).map(|node| self.child(node))
    }

    /// Names of the declared properties, sorted.
    pub fn property_names(&self) -> impl Iterator<Item = &str> {
        self.target.properties.keys().map(String::as_str)
    }

    /// What a property of a built-in type is where it is not given, because Go's type has it by value or writes it empty:
    /// structs (their schemas have the default `{}`) are empty, lists and maps without `omitempty` (required in their
    /// schemas) are null. `None`: it may be absent.
    pub(crate) fn when_absent(&self, name: &str) -> Option<&'static Value> {
        static EMPTY: LazyLock<Value> = LazyLock::new(|| Value::Object(serde_json::Map::new()));
        let child = self.is_builtin().then(|| self.property(name)).flatten()?;
        if child.default() == Some(&*EMPTY) {
            return Some(&EMPTY);
        }
        // What is called required may be left out by Go all the same.
        let written = || {
            let of = self.definition_name()?;
            super::structs::written_always(of, name)
        };
        (self.is_required(name) && matches!(child.kind(), Type::Array | Type::Object) && written().unwrap_or(true))
            .then_some(&Value::Null)
    }

    /// Properties that are never absent ([`SchemaRef::when_absent`]).
    pub(crate) fn never_absent(&self) -> &[String] {
        self.target.never_absent.get_or_init(|| {
            let stays = |name: &&str| self.when_absent(name).is_some();
            self.property_names().filter(stays).map(str::to_owned).collect()
        })
    }

    /// Properties of other than built-in types that have a default.
    pub(super) fn defaulted(&self) -> &[String] {
        self.target.defaulted.get_or_init(|| {
            let has = |name: &&str| {
                let child = self.property(name);
                child.is_some_and(|c| !c.is_builtin() && c.default().is_some())
            };
            self.property_names().filter(has).map(str::to_owned).collect()
        })
    }

    /// Whether a property must be given.
    pub fn is_required(&self, name: &str) -> bool {
        self.target.required.iter().any(|required| required == name)
    }

    /// Schema of a field: a declared property, else what additional properties are; `None` if there may be none.
    pub fn field(&self, name: &str) -> Option<SchemaRef> {
        self.property(name).or_else(|| self.additional())
    }

    /// Schema of fields that are not declared; `None` if there may be none.
    pub fn additional(&self) -> Option<SchemaRef> {
        match &self.target.additional {
            Additional::Schema(node) => Some(self.child(node)),
            Additional::Anything => Some(SchemaRef::anything()),
            Additional::Nothing if self.preserves_unknown() => Some(SchemaRef::anything()),
            Additional::Nothing => None,
        }
    }

    /// Whether an object's fields are values of a schema of their own (`additionalProperties`): a map, not a struct.
    pub fn is_map(&self) -> bool {
        !matches!(self.target.additional, Additional::Nothing)
    }

    /// Schema of a list's elements.
    pub fn items(&self) -> Option<SchemaRef> {
        self.target.items.as_ref().map(|node| self.child(node))
    }

    /// How a list is merged.
    pub fn list_type(&self) -> &ListType {
        static ATOMIC: ListType = ListType::Atomic;
        self.outer
            .list_type
            .as_ref()
            .or(self.target.list_type.as_ref())
            .unwrap_or(&ATOMIC)
    }

    /// Whether an object is merged as one value.
    pub fn is_atomic_map(&self) -> bool {
        // What is kept as it came has no fields that anybody could own.
        let raw = || {
            self.definition_name()
                .is_some_and(|d| d.ends_with("runtime.RawExtension"))
        };
        self.outer.atomic_map.or(self.target.atomic_map).unwrap_or_else(raw)
    }

    /// Whether server-side apply takes any scalar here: what Go reads by itself (`k8s.io/kube-openapi/pkg/schemaconv`).
    pub(crate) fn is_untyped_scalar(&self) -> bool {
        let name = self.definition_name().and_then(|d| d.rsplit('.').next());
        matches!(name, Some("Time" | "MicroTime" | "Quantity" | "IntOrString"))
    }

    /// Whether strategic merge patches have this strategy here (`merge`, `replace`, `retainKeys`).
    pub fn has_patch_strategy(&self, strategy: &str) -> bool {
        self.outer.patch_strategy.iter().any(|s| s == strategy)
    }

    /// Field that tells a list's elements apart in strategic merge patches.
    pub fn patch_merge_key(&self) -> Option<&str> {
        self.outer.patch_merge_key.as_deref()
    }

    /// Default of the value.
    pub fn default(&self) -> Option<&Value> {
        self.outer.default.as_ref().or(self.target.default.as_ref())
    }

    /// Whether null may be given.
    pub fn nullable(&self) -> bool {
        self.outer.nullable || self.target.nullable
    }

    /// Whether fields that are not declared are kept.
    pub fn preserves_unknown(&self) -> bool {
        self.target.preserve_unknown || self.outer.preserve_unknown
    }

    /// Whether undeclared fields belong to the type in server-side apply: there also those under a schema that
    /// preserves them further up, and those of objects that declare none
    /// (`k8s.io/kube-openapi/pkg/schemaconv`, parseObject).
    pub(crate) fn deduces_unknown(&self) -> bool {
        self.preserves_unknown() || self.preserve_inherited || (self.target.properties.is_empty() && !self.is_map())
    }

    /// Whether the value is a whole object with apiVersion, kind and metadata.
    pub fn is_embedded_resource(&self) -> bool {
        self.target.embedded_resource
    }

    pub(super) fn node(&self) -> &Node {
        &self.target
    }
}

/// Gives a custom resource's schema the fields every object has.
pub(super) fn add_object_fields(node: &mut Node) {
    for name in ["apiVersion", "kind"] {
        let text = Node {
            kind: Some(Type::String),
            builtin: true,
            ..Node::default()
        };
        node.properties.insert(name.to_owned(), Arc::new(text));
    }
    let metadata = Node {
        reference: Some(OBJECT_META.to_owned()),
        builtin: true,
        ..Node::default()
    };
    node.properties.insert("metadata".to_owned(), Arc::new(metadata));
}

static ANYTHING: LazyLock<Arc<Node>> = LazyLock::new(|| Arc::new(Node::anything()));
