//! CustomResourceDefinitions: what their versions become in the catalog, their status, their end
//! (`apiextensions-apiserver/pkg/{controller,apiserver}`; the controllers' work is done within the write here).

mod definition;
mod openapi;
pub(crate) mod rules;
mod validate;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::local::Gvr;
use crate::registry::{Call, DeleteOptions, ListOptions, Resource, Server, text};
use crate::status::{Cause, Status};
use crate::store::{Expect, Key, Object};

pub(crate) use openapi::{document as openapi_document, hash as openapi_hash, v2_additions};

const DEFINITIONS: Gvr = Gvr::new("apiextensions.k8s.io", "v1", "customresourcedefinitions");
/// Holds a definition until its objects are gone (`customResourceCleanupFinalizer`).
const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// A definition's uid and generation, and the resources made from it.
type Made = (String, Vec<Arc<Resource>>);

/// Resources made from definitions, kept while the definition stays the same.
#[derive(Default)]
pub struct Definitions {
    made: Mutex<BTreeMap<String, Made>>,
}

/// Checks a definition and writes its status: names accepted and established at once.
pub(crate) fn admit(
    server: &Server,
    old: Option<&Value>,
    v: &mut Value,
    now: &str,
    dry_run: bool,
) -> Result<(), Status> {
    let name = text(v, "/metadata/name").to_owned();
    let (group, plural) = (
        text(v, "/spec/group").to_owned(),
        text(v, "/spec/names/plural").to_owned(),
    );
    let kind = text(v, "/spec/names/kind").to_owned();
    let mut causes = Vec::new();
    for (field, value) in [
        ("spec.group", &group),
        ("spec.names.plural", &plural),
        ("spec.names.kind", &kind),
    ] {
        if value.is_empty() {
            causes.push(Cause::required(field, ""));
        }
    }
    if !group.is_empty() && !plural.is_empty() && name != format!("{plural}.{group}") {
        causes.push(Cause::invalid(
            "metadata.name",
            &json!(name),
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    if let Some(names) = v["spec"]["names"].as_object_mut() {
        names.entry("singular").or_insert_with(|| json!(kind.to_lowercase()));
        names.entry("listKind").or_insert_with(|| json!(format!("{kind}List")));
    }
    if v["spec"]["conversion"].is_null() {
        v["spec"]["conversion"] = json!({"strategy": "None"});
    }
    let versions = v["spec"]["versions"].as_array().cloned().unwrap_or_default();
    let storage: Vec<&str> = versions
        .iter()
        .filter(|x| x["storage"] == true)
        .map(|x| text(x, "/name"))
        .collect();
    if storage.len() != 1 {
        causes.push(Cause::invalid(
            "spec.versions",
            &json!(versions.iter().map(|x| text(x, "/name")).collect::<Vec<_>>()),
            "must have exactly one version marked as storage version",
        ));
    }
    for (i, version) in versions.iter().enumerate() {
        // What all versions have in common stands at the top in Go's internal type.
        let at = if versions.len() == 1 {
            "spec.validation.openAPIV3Schema".to_owned()
        } else {
            format!("spec.versions[{i}].schema.openAPIV3Schema")
        };
        for (path, detail) in crate::schema::schema_errors(&version["schema"]["openAPIV3Schema"]) {
            let path = format!("{at}{}{path}", if path.is_empty() { "" } else { "." });
            let reason = match detail.split(':').next().unwrap_or_default() {
                "Required value" => "FieldValueRequired",
                "Unsupported value" => "FieldValueNotSupported",
                "Forbidden" => "FieldValueForbidden",
                "Duplicate value" => "FieldValueDuplicate",
                "Invalid value" if detail.contains(" in body must be of type ") => "FieldValueTypeInvalid",
                _ => "FieldValueInvalid",
            };
            causes.push(Cause::new(reason, path, detail));
        }
        rules::unreadable(&version["schema"]["openAPIV3Schema"], &at, &mut causes);
    }
    validate::definition(v, old, &mut causes);
    if !causes.is_empty() {
        return Err(Status::invalid(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            &name,
            causes,
        ));
    }
    if old.is_none() && dry_run {
        // Nobody gets to it.
        v["status"] =
            json!({"acceptedNames": {"kind": "", "plural": ""}, "conditions": null, "storedVersions": storage});
        return Ok(());
    }
    // Names taken by another definition of the group.
    let taken = server
        .store
        .list(&DEFINITIONS, None, None)
        .objects
        .into_iter()
        .any(|o| {
            o.name() != name
                && text(&o.value, "/spec/group") == group
                && (text(&o.value, "/spec/names/kind") == kind || text(&o.value, "/spec/names/plural") == plural)
        });
    let was = |t: &str| {
        let list = old.and_then(|o| o["status"]["conditions"].as_array());
        list.and_then(|l| l.iter().find(|c| c["type"] == t)).cloned()
    };
    let condition = |t: &str, status: &str, reason: &str, message: &str| match was(t).filter(|c| c["status"] == status)
    {
        Some(c) => c,
        None => json!({"type": t, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}),
    };
    let mut conditions = if taken {
        vec![
            condition(
                "NamesAccepted",
                "False",
                "KindConflict",
                "another definition of this group has these names",
            ),
            condition("Established", "False", "NotAccepted", "not all names are accepted"),
        ]
    } else {
        vec![
            condition("NamesAccepted", "True", "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                "True",
                "InitialNamesAccepted",
                "the initial names have been accepted",
            ),
        ]
    };
    conditions.extend(was("Terminating"));
    let mut stored: Vec<String> = old
        .and_then(|o| o["status"]["storedVersions"].as_array())
        .map(|a| a.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    if !stored.iter().any(|s| storage.contains(&s.as_str())) {
        stored.extend(storage.first().map(|s| (*s).to_owned()));
    }
    v["status"] = json!({"acceptedNames": if taken { json!({"kind": "", "plural": ""}) } else { v["spec"]["names"].clone() },
        "conditions": conditions, "storedVersions": stored});
    if old.is_none() {
        let list = v["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let mut list: Vec<Value> = list.into_iter().filter(|f| f != FINALIZER).collect();
        list.push(json!(FINALIZER));
        v["metadata"]["finalizers"] = Value::Array(list);
    }
    Ok(())
}

/// After a write to a definition: the catalog follows, and one that is being deleted takes its objects along.
pub(crate) fn changed(server: &Server) {
    let mut ending = Vec::new();
    let mut resources: Vec<Arc<Resource>> = Vec::new();
    {
        let mut made = server.definitions.made.lock().unwrap_or_else(PoisonError::into_inner);
        let objects = server.store.list(&DEFINITIONS, None, None).objects;
        let mut kept = BTreeMap::new();
        for o in &objects {
            let version = format!(
                "{}/{}",
                text(&o.value, "/metadata/uid"),
                o.value["metadata"]["generation"]
            );
            let old = made.remove(o.name());
            let entry = match old {
                Some((v, list)) if v == version => (v, list),
                old => {
                    // The key that objects are stored under outlives a change of the storage version.
                    let key = old.and_then(|(_, l)| l.first().map(|r| r.storage.clone()));
                    let key = key.or_else(|| {
                        let (group, plural) = (text(&o.value, "/spec/group"), text(&o.value, "/spec/names/plural"));
                        server.store.stored_as(group, plural)
                    });
                    (version, definition::resources(&o.value, key))
                }
            };
            let established = o.value["status"]["conditions"]
                .as_array()
                .is_some_and(|l| l.iter().any(|c| c["type"] == "Established" && c["status"] == "True"));
            if established {
                resources.extend(entry.1.iter().cloned());
            }
            kept.insert(o.name().to_owned(), entry);
            if !o.value["metadata"]["deletionTimestamp"].is_null() {
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
        && !o.value["metadata"]["deletionTimestamp"].is_null()
        && server.store.list(&r.storage, None, None).objects.is_empty()
    {
        finish(server, &o);
    }
}

/// Deletes the objects of a definition that is being deleted, and lets it go when none is left.
fn finish(server: &Server, definition: &Object) {
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
        .any(|o| o.value["metadata"]["deletionTimestamp"].is_null())
    {
        let mut call = Call::internal("kube-apiserver");
        let _ = server.delete_collection(&mut call, &r, None, &ListOptions::default(), &DeleteOptions::default());
        // Of those stored in another version nobody could be asked to convert them: they go as they are.
        for o in server.store.list(&r.storage, None, None).objects {
            let kept = o.value["metadata"]["finalizers"]
                .as_array()
                .is_some_and(|f| !f.is_empty());
            if !kept {
                let namespace = o.value["metadata"]["namespace"].as_str().unwrap_or_default();
                let key = Key::new(namespace, o.name());
                let _ = server.store.remove(&r.storage, &key, o.revision, (*o.value).clone());
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
        let mut v = (*o.value).clone();
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
