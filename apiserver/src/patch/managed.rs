//! `metadata.managedFields`: who owns which fields (`k8s.io/apimachinery/pkg/util/managedfields/internal`).
//!
//! In the trees of this server they are one string, the JSON that clients get ([`fold`], [`unfold`]).

use super::fieldset::FieldSet;
use super::path::quoted;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Update managers an object keeps apart; the oldest beyond are put together.
const MAX_UPDATE_MANAGERS: usize = 10;
/// Name under which they are put together.
const ANCIENT: &str = "ancient-changes";

/// What an owner did to own its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// Server-side apply.
    Apply,
    /// Anything else.
    Update,
}

/// Who owns fields. Applies of a manager are one owner whatever version they were made in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Empty for applies.
    version: String,
    pub(super) subresource: String,
}

impl Owner {
    pub(super) fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> Owner {
        Owner {
            manager: if manager.is_empty() {
                "unknown".to_owned()
            } else {
                manager.to_owned()
            },
            operation,
            version: if operation == Operation::Apply {
                String::new()
            } else {
                api_version.to_owned()
            },
            subresource: subresource.to_owned(),
        }
    }

    /// The version of updates; empty for applies.
    pub(super) fn api_version(&self) -> &str {
        &self.version
    }
}

/// What an owner owns.
#[derive(Debug, Clone)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    pub(super) api_version: String,
    pub(super) time: Option<String>,
}

/// All owners of an object's fields.
pub(super) type Managed = BTreeMap<Owner, Owned>;

/// One entry of `managedFields`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(default, borrow)]
    manager: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(default)]
    time: Option<String>,
    #[serde(borrow)]
    fields_type: Cow<'a, str>,
    #[serde(default, rename = "fieldsV1")]
    fields: Option<FieldSet>,
    #[serde(default, borrow)]
    subresource: Option<Cow<'a, str>>,
}

/// Reads `managedFields`, as the client sent them or as they are kept; `None` if an entry is malformed.
pub(super) fn decode(entries: &Value) -> Option<Managed> {
    let entries: Vec<Entry<'_>> = match entries {
        Value::String(kept) => serde_json::from_str(kept).ok()?,
        Value::Array(all) => all.iter().map(Entry::deserialize).collect::<Result<_, _>>().ok()?,
        _ => Vec::new(),
    };
    let mut managed = Managed::new();
    for entry in entries {
        let operation = match &*entry.operation {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if entry.api_version.is_empty() || entry.fields_type != "FieldsV1" {
            return None;
        }
        let (manager, subresource) = (entry.manager.unwrap_or_default(), entry.subresource.unwrap_or_default());
        let owner = Owner {
            manager: manager.to_string(),
            ..Owner::new(&manager, operation, &entry.api_version, &subresource)
        };
        let owned = Owned {
            set: entry.fields.unwrap_or_default(),
            api_version: entry.api_version.into_owned(),
            time: entry.time,
        };
        managed.insert(owner, owned);
    }
    Some(managed)
}

/// The owners to go on from when an object is written: those the request names if it names any that can be read,
/// else those of the live object. An empty list, or one empty entry, resets them.
pub(super) fn from_live_or_new(live: &Value, new: &Value, subresource: &str) -> Managed {
    let of_live = || decode(&live["metadata"]["managedFields"]).unwrap_or_default();
    if !subresource.is_empty() {
        return of_live();
    }
    let entries = &new["metadata"]["managedFields"];
    let reset = match entries.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    };
    if reset {
        return Managed::new();
    }
    match decode(entries) {
        Some(managed) if !managed.is_empty() => managed,
        _ => of_live(),
    }
}

/// Writes `managedFields` into an object, in upstream's order: applies before updates, then by time, manager,
/// version, subresource.
pub(super) fn encode(object: &mut Value, managed: &Managed) {
    set_aside(object);
    if managed.is_empty() {
        return;
    }
    let mut entries: Vec<(&Owner, &Owned)> = managed.iter().collect();
    // One alone, as new objects have, is in order.
    if entries.len() > 1 {
        entries.sort_by_cached_key(|(owner, owned)| {
            let time = owned.time.as_deref().and_then(|t| t.parse::<jiff::Timestamp>().ok());
            let seconds = time.map_or(0, |t| t.as_second());
            (
                owner.operation,
                seconds,
                owner.manager.clone(),
                owned.api_version.clone(),
                owner.subresource.clone(),
            )
        });
    }
    let mut text = String::with_capacity(512);
    for (i, (owner, owned)) in entries.into_iter().enumerate() {
        text.push_str(if i == 0 { "[" } else { "," });
        let operation = if owner.operation == Operation::Apply {
            "Apply"
        } else {
            "Update"
        };
        text.push_str("{\"manager\":");
        quoted(&owner.manager, &mut text);
        text.push_str(",\"operation\":");
        quoted(operation, &mut text);
        text.push_str(",\"apiVersion\":");
        quoted(&owned.api_version, &mut text);
        if let Some(time) = &owned.time {
            text.push_str(",\"time\":");
            quoted(time, &mut text);
        }
        text.push_str(",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
        owned.set.write(&mut text);
        if !owner.subresource.is_empty() {
            text.push_str(",\"subresource\":");
            quoted(&owner.subresource, &mut text);
        }
        text.push('}');
    }
    text.push(']');
    if let Value::Object(fields) = object {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Value::Object(metadata) = metadata {
            metadata.insert("managedFields".to_owned(), Value::String(text));
        }
    }
}

/// Whether nobody owns fields of an object, as it is kept, in another version than this.
pub fn is_of_one_version(object: &Value, api_version: &str) -> bool {
    let all = decode(&object["metadata"]["managedFields"]).unwrap_or_default();
    all.values().all(|owned| owned.api_version == api_version)
}

/// The versions in which fields of an object, as it is kept, are owned.
pub fn versions_of_owners(object: &Value) -> BTreeSet<String> {
    let all = decode(&object["metadata"]["managedFields"]).unwrap_or_default();
    all.into_values().map(|owned| owned.api_version).collect()
}

/// Takes `managedFields` out of an object.
pub fn set_aside(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

/// Makes a list of them where they are kept as text: for who looks at the tree.
pub fn unfold(object: &mut Value) {
    if let Some(fields) = object.get_mut("metadata").and_then(|m| m.get_mut("managedFields"))
        && let Value::String(text) = fields
    {
        *fields = serde_json::from_str(text).unwrap_or_default();
    }
}

/// Makes text of them: how objects are kept. A tree of them takes most of the room of an object, and most of the time to
/// copy one; almost nobody looks at them.
pub fn fold(object: &mut Value) {
    if let Some(fields) = object.get_mut("metadata").and_then(|m| m.get_mut("managedFields"))
        && fields.is_array()
    {
        *fields = Value::String(fields.to_string());
    }
}

/// The object with [`unfold`]ed fields, for who looks at the tree.
pub fn unfolded(object: &Value) -> Cow<'_, Value> {
    if !object["metadata"]["managedFields"].is_string() {
        return Cow::Borrowed(object);
    }
    let mut all = object.clone();
    unfold(&mut all);
    Cow::Owned(all)
}

/// Puts the oldest update managers together when there are too many.
pub(super) fn cap(managed: &mut Managed) {
    let mut updaters: Vec<Owner> = managed
        .keys()
        .filter(|o| o.operation == Operation::Update)
        .cloned()
        .collect();
    let mut count = updaters.len();
    if count <= MAX_UPDATE_MANAGERS {
        return;
    }
    updaters.sort_by_key(|owner| {
        let time = managed[owner]
            .time
            .as_deref()
            .and_then(|t| t.parse::<jiff::Timestamp>().ok());
        (time.map_or(0, |t| t.as_second()), owner.clone())
    });
    let mut first_of_version: BTreeMap<String, Owner> = BTreeMap::new();
    for owner in updaters {
        if count <= MAX_UPDATE_MANAGERS {
            break;
        }
        let version = managed[&owner].api_version.clone();
        let Some(first) = first_of_version.get(&version) else {
            first_of_version.insert(version, owner);
            continue;
        };
        let bucket = Owner::new(ANCIENT, Operation::Update, &version, "");
        if !managed.contains_key(&bucket)
            && let Some(owned) = managed.remove(first)
        {
            managed.insert(bucket.clone(), owned);
        }
        if let Some(owned) = managed.remove(&owner) {
            let set = managed
                .get(&bucket)
                .map_or_else(|| owned.set.clone(), |b| owned.set.union(&b.set));
            managed.insert(bucket, Owned { set, ..owned });
        }
        count -= 1;
    }
}
