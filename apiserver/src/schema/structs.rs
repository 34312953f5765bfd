//! The Go structs of the built-in kinds, as reading and writing their objects asks for them.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde_json::Value;

use super::messages::{Field, MESSAGES};

/// How a member holds values of its type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    Map,
}

/// A member of a Go struct.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    /// Its type's letter or name.
    pub(super) kind: &'static str,
    /// Its type, where that is a struct.
    pub(super) inner: Option<usize>,
    /// A scalar that is not written when it is zero.
    pub(super) scalar: bool,
    /// Its place in the declaration.
    pub(super) place: usize,
    /// Written whatever it is.
    pub(super) always: bool,
    /// A pointer that is written whatever it is: null where there is nothing.
    pub(super) null: bool,
    /// Names of the embedded structs that it is in.
    pub(super) embedded: Vec<&'static str>,
    /// What Go calls its type.
    pub(super) go: &'static str,
    /// What Go calls the type of the values of its list or map.
    pub(super) element: &'static str,
}

/// A Go struct: its members sorted by name, those of embedded structs among them.
pub(super) struct Struct {
    /// Its name without its package.
    pub(super) name: &'static str,
    members: Vec<Member>,
    /// Some of its members are not known.
    pub(super) open: bool,
}

impl Struct {
    pub(super) fn member(&self, name: &str) -> Option<&Member> {
        let found = self.members.binary_search_by(|m| m.name.cmp(name));
        found.ok().map(|i| &self.members[i])
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }
}

/// All of them, made once: every write goes through them.
pub(super) struct Structs {
    pub(super) all: Vec<Struct>,
    /// By apiVersion and kind.
    kinds: BTreeMap<&'static str, BTreeMap<&'static str, Kind>>,
}

/// A kind.
struct Kind {
    /// Its struct.
    of: usize,
    /// What an object of it is that says nothing, once somebody asked.
    nothing: OnceLock<Value>,
}

/// Types without fields, which are recorded nowhere.
const EMPTY: [&str; 3] = [
    "apiextensions/v1.CustomResourceSubresourceStatus",
    "apiserverinternal/v1alpha1.StorageVersionSpec",
    "scheduling/v1alpha2.BasicSchedulingPolicy",
];

pub(super) static KNOWN: LazyLock<Structs> = LazyLock::new(|| {
    let names = MESSAGES.messages.keys().map(String::as_str);
    let place: BTreeMap<&str, usize> = names.chain(EMPTY).zip(0..).collect();
    let of = |(name, fields): (&'static String, &'static Vec<Field>)| {
        let mut made = Struct {
            name: short(name, '.'),
            members: Vec::new(),
            open: false,
        };
        gather(fields, &place, &mut Vec::new(), &mut made);
        made.members.sort_by_key(|m| m.name);
        made
    };
    let mut kinds: BTreeMap<&str, BTreeMap<&str, Kind>> = BTreeMap::new();
    for (id, name) in &MESSAGES.kinds {
        if let (Some((api_version, kind)), Some(i)) = (id.rsplit_once('/'), place.get(name.as_str())) {
            kinds.entry(api_version).or_default().insert(
                kind,
                Kind {
                    of: *i,
                    nothing: OnceLock::new(),
                },
            );
        }
    }
    Structs {
        all: MESSAGES.messages.iter().map(of).chain(EMPTY.map(empty)).collect(),
        kinds,
    }
});

impl Structs {
    pub(super) fn of_kind(&'static self, api_version: &str, kind: &str) -> Option<&'static Struct> {
        self.all.get(self.kinds.get(api_version)?.get(kind)?.of)
    }

    /// What `make` made of a kind first.
    pub(super) fn nothing(
        &'static self,
        api_version: &str,
        kind: &str,
        make: impl FnOnce() -> Value,
    ) -> Option<&'static Value> {
        let known = self.kinds.get(api_version)?.get(kind)?;
        Some(known.nothing.get_or_init(make))
    }
}

/// Whether Go writes a member of a definition (`io.k8s.api.core.v1.PodSpec`) always; `None` where it is not known.
pub(super) fn written_always(definition: &str, member: &str) -> Option<bool> {
    let mut parts = definition.rsplit('.');
    let (name, version, group) = (parts.next()?, parts.next()?, parts.next()?);
    let message = format!("{group}/{version}.{name}");
    let fields = MESSAGES.messages.get(&message)?;
    let Field(_, _, _, _, _, always, ..) = fields.iter().find(|f| f.1 == member)?;
    Some(*always == 1)
}

fn empty(name: &'static str) -> Struct {
    Struct {
        name: short(name, '.'),
        members: Vec::new(),
        open: false,
    }
}

/// The struct that values of a type have in them: those that read JSON themselves have schemas.
fn within(kind: &str) -> &str {
    match kind {
        "A" | "B" | "L" => "apiextensions/v1.JSONSchemaProps",
        kind => kind,
    }
}

/// What follows the last `separator`.
fn short(name: &str, separator: char) -> &str {
    name.rsplit(separator).next().unwrap_or(name)
}

/// Puts these fields, and those of the structs embedded among them, into a struct.
fn gather(
    fields: &'static [Field],
    place: &BTreeMap<&str, usize>,
    embedded: &mut Vec<&'static str>,
    into: &mut Struct,
) {
    for Field(_, name, shape, kind, keep, written, go, _) in fields {
        let shape = match shape.as_str() {
            "<" => {
                match MESSAGES.messages.get(kind) {
                    Some(inner) => {
                        embedded.push(go);
                        gather(inner, place, embedded, into);
                        embedded.pop();
                    }
                    None => into.open = true,
                }
                continue;
            }
            "[]" => Shape::List,
            "{}" => Shape::Map,
            _ => Shape::One,
        };
        let (go, under) = go_names(go, kind);
        into.members.push(Member {
            name,
            shape,
            kind,
            place: into.members.len(),
            inner: place.get(within(kind)).copied(),
            scalar: *keep == 0 && shape == Shape::One && matches!(kind.as_str(), "s" | "i" | "b" | "f" | "y"),
            always: *written == 1,
            null: *written == 2,
            embedded: embedded.clone(),
            go,
            element: element(under),
        });
    }
}

/// What Go calls a type, and what that is.
fn go_names(recorded: &'static str, kind: &'static str) -> (&'static str, &'static str) {
    match recorded {
        "" => match kind {
            "s" => ("string", "string"),
            "b" => ("bool", "bool"),
            kind => (short(kind, '/'), ""),
        },
        text => text.split_once('=').unwrap_or((text, text)),
    }
}

/// The type of the values of a list or map type.
fn element(go: &'static str) -> &'static str {
    match go.strip_prefix("[]") {
        Some(of) => of,
        None => go.split_once(']').map_or("", |(_, of)| of),
    }
}
