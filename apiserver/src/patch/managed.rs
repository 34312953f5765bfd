//! `metadata.managedFields`: who owns which fields (`k8s.io/apimachinery/pkg/util/managedfields/internal`).

use super::fieldset::FieldSet;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

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

/// Reads `managedFields`; `None` if an entry is malformed.
pub(super) fn decode(entries: &Value) -> Option<Managed> {
    let mut managed = Managed::new();
    for entry in entries.as_array().into_iter().flatten() {
        let operation = match entry["operation"].as_str()? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let api_version = entry["apiVersion"].as_str().filter(|v| !v.is_empty())?;
        if entry["fieldsType"] != "FieldsV1" {
            return None;
        }
        let set = match entry.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::default(),
            Some(fields) => FieldSet::parse(fields)?,
        };
        let manager = entry["manager"].as_str().unwrap_or_default();
        let subresource = entry["subresource"].as_str().unwrap_or_default();
        let owner = Owner {
            manager: manager.to_owned(),
            ..Owner::new(manager, operation, api_version, subresource)
        };
        let time = entry["time"].as_str().map(str::to_owned);
        managed.insert(
            owner,
            Owned {
                set,
                api_version: api_version.to_owned(),
                time,
            },
        );
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
    strip(object);
    if managed.is_empty() {
        return;
    }
    let mut entries: Vec<(&Owner, &Owned)> = managed.iter().collect();
    entries.sort_by(|(a, x), (b, y)| {
        let seconds = |owned: &Owned| -> i64 {
            owned
                .time
                .as_deref()
                .and_then(|t| t.parse::<jiff::Timestamp>().ok())
                .map_or(0, |t| t.as_second())
        };
        (a.operation, seconds(x), &a.manager, &x.api_version, &a.subresource).cmp(&(
            b.operation,
            seconds(y),
            &b.manager,
            &y.api_version,
            &b.subresource,
        ))
    });
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|(owner, owned)| {
            let mut entry = Map::new();
            let operation = if owner.operation == Operation::Apply {
                "Apply"
            } else {
                "Update"
            };
            entry.insert("manager".to_owned(), owner.manager.clone().into());
            entry.insert("operation".to_owned(), operation.into());
            entry.insert("apiVersion".to_owned(), owned.api_version.clone().into());
            if let Some(time) = &owned.time {
                entry.insert("time".to_owned(), time.clone().into());
            }
            entry.insert("fieldsType".to_owned(), "FieldsV1".into());
            entry.insert("fieldsV1".to_owned(), owned.set.to_value());
            if !owner.subresource.is_empty() {
                entry.insert("subresource".to_owned(), owner.subresource.clone().into());
            }
            Value::Object(entry)
        })
        .collect();
    if let Value::Object(fields) = object {
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Value::Object(metadata) = metadata {
            metadata.insert("managedFields".to_owned(), Value::Array(entries));
        }
    }
}

/// Takes `managedFields` out of an object.
pub(super) fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
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
