//! CustomResourceDefinitions: what their versions become in the catalog, their status, their end
//! (`apiextensions-apiserver/pkg/{controller,apiserver}`; the controllers' work is done within the write here).

mod definition;
mod names;
pub(crate) mod object;
mod openapi;
mod parts;
pub(crate) mod rules;
mod schema;
mod types;
mod validate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::local::Gvr;
use crate::registry::{Call, DeleteOptions, ListOptions, Resource, Server, text};
use crate::store::{Expect, Key, Object};

pub(crate) use definition::priority as version_priority;
pub use schema::schema_errors;
pub(crate) use validate::{errors, name_errors, warnings};

pub(crate) use openapi::{document as openapi_document, hash as openapi_hash, v2_additions};

pub(crate) const DEFINITIONS: Gvr = Gvr::new("apiextensions.k8s.io", "v1", "customresourcedefinitions");
/// Holds a definition until its objects are gone (`customResourceCleanupFinalizer`).
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// A definition's uid and generation, and the resources made from it.
type Made = (String, Vec<Arc<Resource>>);

/// Resources made from definitions, kept while the definition stays the same.
#[derive(Default)]
pub struct Definitions {
    made: Mutex<BTreeMap<String, Made>>,
}

/// Prepares a definition and its status: names are accepted after it is written (see [`names`]).
pub(crate) fn admit(old: Option<&Value>, v: &mut Value) {
    let kind = text(v, "/spec/names/kind").to_owned();
    if let Some(names) = v["spec"]["names"].as_object_mut()
        && !kind.is_empty()
    {
        names.entry("singular").or_insert_with(|| json!(kind.to_lowercase()));
        names.entry("listKind").or_insert_with(|| json!(format!("{kind}List")));
    }
    if v["spec"]["conversion"].is_null() {
        v["spec"]["conversion"] = json!({"strategy": "None"});
    }
    let mut status = match old {
        Some(old) => old["status"].clone(),
        None => json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": null}),
    };
    let versions = v["spec"]["versions"].as_array();
    if let Some(storage) = versions.and_then(|l| l.iter().find(|x| x["storage"] == true)) {
        let mut stored = status["storedVersions"].as_array().cloned().unwrap_or_default();
        if !stored.contains(&storage["name"]) {
            stored.push(storage["name"].clone());
        }
        status["storedVersions"] = Value::Array(stored);
    }
    v["status"] = status;
}

/// A definition as the first request to delete it leaves it (its storage's `Delete`).
pub(crate) fn mark(v: &mut Value, now: &str) {
    let mut list = v["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !list.iter().any(|f| f == FINALIZER) {
        list.push(json!(FINALIZER));
    }
    v["metadata"]["finalizers"] = Value::Array(list);
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    let mut conditions = v["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|c| c["type"] != "Terminating");
    conditions.push(
        json!({"type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
        "message": message, "lastTransitionTime": now}),
    );
    v["status"]["conditions"] = Value::Array(conditions);
}

/// After a write to a definition: the catalog follows, and one that is being deleted takes its objects along.
pub(crate) fn changed(server: &Server) {
    names::settle(server);
    let mut ending = Vec::new();
    let mut resources: Vec<Arc<Resource>> = Vec::new();
    {
        let mut made = server.definitions.made.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = server.store.list(&DEFINITIONS, None, None).objects;
        let mut kept = BTreeMap::new();
        for o in &objects {
            let version = format!(
                "{}/{}",
                text(&o.value(), "/metadata/uid"),
                o.value()["metadata"]["generation"]
            );
            let old = made.remove(o.name());
            let entry = match old {
                Some((v, list)) if v == version => (v, list),
                old => {
                    // The key that objects are stored under outlives a change of the storage version.
                    let key = old.and_then(|(_, l)| l.first().map(|r| r.storage.clone()));
                    let key = key.or_else(|| {
                        let value = o.value();
                        let (group, plural) = (text(&value, "/spec/group"), text(&value, "/spec/names/plural"));
                        server.store.stored_as(group, plural)
                    });
                    (version, definition::resources(&o.value(), key))
                }
            };
            let established = o.value()["status"]["conditions"]
                .as_array()
                .is_some_and(|l| l.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
            if established {
                resources.extend(entry.1.iter().cloned());
            }
            kept.insert(o.name().to_owned(), entry);
            if !o.value()["metadata"]["deletionTimestamp"].is_null() {
                ending.push(o.clone());
            }
        }
        // What is left in `made` is defined no more.
        for (_, list) in made.values() {
            if let Some(r) = list.first() {
                server.store.drop_resource(&r.storage);
            }
        }
        *made = kept;
    }
    resources.sort_by(|a, b| {
        (&a.group, definition::priority(&a.version), &a.plural).cmp(&(
            &b.group,
            definition::priority(&b.version),
            &b.plural,
        ))
    });
    server.catalog.set_custom(resources);
    for o in ending {
        finish(server, &o);
    }
}

/// After an object of a custom resource is gone: a definition that waited for it goes too.
pub(crate) fn emptied(server: &Server, r: &Resource) {
    let Some(c) = &r.custom else { return };
    if let Some(o) = server.store.get(&DEFINITIONS, &Key::new("", c.definition.as_str()))
        && !o.value()["metadata"]["deletionTimestamp"].is_null()
        && server.store.list(&r.storage, None, None).objects.is_empty()
    {
        finish(server, &o);
    }
}

/// Deletes the objects of a definition that is being deleted, and lets it go when none is left.
fn finish(server: &Server, definition: &Arc<Object>) {
    let name = definition.name();
    let Some(r) = server
        .catalog
        .all_custom()
        .into_iter()
        .filter(|r| r.custom.as_ref().is_some_and(|c| c.definition == name))
        // As they are stored: who converts them may be gone already.
        .max_by_key(|r| r.api_version == r.storage_version)
    else {
        return release(server, name);
    };
    let objects = server.store.list(&r.storage, None, None).objects;
    if objects
        .iter()
        .any(|o| o.value()["metadata"]["deletionTimestamp"].is_null())
    {
        let mut call = Call::internal("kube-apiserver");
        let _ = server.delete_collection(&mut call, &r, None, &ListOptions::default(), &DeleteOptions::default());
        // Of those stored in another version nobody could be asked to convert them: they go as they are.
        for o in server.store.list(&r.storage, None, None).objects {
            let kept = o.value()["metadata"]["finalizers"]
                .as_array()
                .is_some_and(|f| !f.is_empty());
            if !kept {
                let _ = server
                    .store
                    .remove(&r.storage, o.key(), o.revision, (*o.value()).clone());
            }
        }
    }
    if server.store.list(&r.storage, None, None).objects.is_empty() {
        release(server, name);
    }
}

/// Takes the finalizer off; the definition goes if that was the last.
fn release(server: &Server, name: &str) {
    let key = Key::new("", name);
    let resource: Arc<Gvr> = Arc::new(DEFINITIONS);
    while let Some(o) = server.store.get(&DEFINITIONS, &key) {
        let mut v = (*o.value()).clone();
        let mut left = v["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let before = left.len();
        left.retain(|f| f != FINALIZER);
        if left.len() == before {
            return;
        }
        let last = left.is_empty();
        match v["metadata"].as_object_mut() {
            Some(m) if last => drop(m.remove("finalizers")),
            Some(m) => drop(m.insert("finalizers".into(), Value::Array(left))),
            None => return,
        }
        let done = if last {
            server.store.remove(&resource, &key, o.revision, v)
        } else {
            server
                .store
                .put(&resource, key.clone(), Expect::Revision(o.revision), v)
        };
        if done.is_ok() {
            return changed(server);
        }
    }
}
