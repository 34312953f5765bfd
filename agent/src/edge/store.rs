//! The node's disk: what was read, what is held back, the agent's own CA. One redb file; a commit that keeps a new
//! object is durable before the kubelet hears of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use cfn_net::pki::KeyCert;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// list key + "\n" + namespace/name -> object, JSON
const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
/// list key -> apiVersion, kind and resourceVersion of the list, JSON
const LISTS: TableDefinition<&str, &[u8]> = TableDefinition::new("lists");
/// path -> object that was read by itself, JSON
const SINGLE: TableDefinition<&str, &[u8]> = TableDefinition::new("single");
/// sequence -> held write, JSON
const HELD: TableDefinition<u64, &[u8]> = TableDefinition::new("held");
/// "cert" and "key" of the agent's CA, PEM
const KEYS: TableDefinition<&str, &[u8]> = TableDefinition::new("keys");

/// Why the disk could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The directory cannot be made.
    #[error("{path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file cannot be opened, read or written (no room, no permission, in use, damaged).
    #[error("edge store: {0}")]
    Database(#[from] redb::Error),
    /// The agent has ended; a request that it was still answering came too late.
    #[error("edge store: the agent has ended")]
    Closed,
    /// What was kept does not parse.
    #[error("edge store: {0}")]
    Json(#[from] serde_json::Error),
}

macro_rules! from_redb {
    ($($t:ident),*) => {$(
        impl From<redb::$t> for StoreError {
            fn from(e: redb::$t) -> Self {
                Self::Database(e.into())
            }
        }
    )*};
}
from_redb!(
    DatabaseError,
    TransactionError,
    TableError,
    StorageError,
    CommitError,
    SetDurabilityError
);

/// A write that waits for the hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub uri: String,
    /// Content type of the body.
    pub content_type: Option<String>,
    /// Body.
    pub body: Vec<u8>,
}

/// Head of a kept list.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    api_version: String,
    kind: String,
    resource_version: String,
}

/// The disk.
pub struct Store {
    db: RwLock<Option<Database>>,
}

/// The open file, while somebody uses it.
struct Open<'a>(RwLockReadGuard<'a, Option<Database>>);

impl Open<'_> {
    fn db(&self) -> Result<&Database, StoreError> {
        self.0.as_ref().ok_or(StoreError::Closed)
    }
}

fn object_key(list: &str, object: &Value) -> String {
    let m = &object["metadata"];
    format!(
        "{list}\n{}/{}",
        m["namespace"].as_str().unwrap_or(""),
        m["name"].as_str().unwrap_or("")
    )
}

/// Whether two versions of an object differ only in what a heartbeat changes; then the write need not be durable.
fn only_status(old: &Value, new: &Value) -> bool {
    let strip = |v: &Value| {
        let mut v = v.clone();
        if let Some(o) = v.as_object_mut() {
            o.remove("status");
            if let Some(m) = o.get_mut("metadata").and_then(Value::as_object_mut) {
                m.remove("resourceVersion");
                m.remove("managedFields");
            }
        }
        v
    };
    strip(old) == strip(new)
}

impl Store {
    /// Opens or makes the store in directory `dir`.
    ///
    /// # Errors
    /// When the directory or the file cannot be used.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(dir).map_err(|source| StoreError::Directory {
            path: dir.to_owned(),
            source,
        })?;
        let db = Database::create(dir.join("edge.redb"))?;
        let tx = db.begin_write()?;
        tx.open_table(OBJECTS)?;
        tx.open_table(LISTS)?;
        tx.open_table(SINGLE)?;
        tx.open_table(HELD)?;
        tx.open_table(KEYS)?;
        tx.commit()?;
        Ok(Self {
            db: RwLock::new(Some(db)),
        })
    }

    fn open_file(&self) -> Open<'_> {
        Open(self.db.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the file, whoever still holds the store: the next agent can open it.
    pub fn close(&self) {
        self.db.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The agent's CA, if it has one.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn keys(&self) -> Result<Option<KeyCert>, StoreError> {
        let open = self.open_file();
        let tx = open.db()?.begin_read()?;
        let table = tx.open_table(KEYS)?;
        let text = |k: &str| -> Result<Option<String>, StoreError> {
            Ok(table.get(k)?.map(|v| String::from_utf8_lossy(v.value()).into_owned()))
        };
        Ok(text("cert")?
            .zip(text("key")?)
            .map(|(cert_pem, key_pem)| KeyCert { cert_pem, key_pem }))
    }

    /// Keeps the agent's CA.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn keep_keys(&self, keys: &KeyCert) -> Result<(), StoreError> {
        let open = self.open_file();
        let tx = open.db()?.begin_write()?;
        {
            let mut table = tx.open_table(KEYS)?;
            table.insert("cert", keys.cert_pem.as_bytes())?;
            table.insert("key", keys.key_pem.as_bytes())?;
        }
        Ok(tx.commit()?)
    }

    /// Keeps a whole list, replacing the one of the same key.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn keep_list(&self, key: &str, list: &Value) -> Result<(), StoreError> {
        let head = Head {
            api_version: list["apiVersion"].as_str().unwrap_or_default().to_owned(),
            kind: list["kind"].as_str().unwrap_or_default().to_owned(),
            resource_version: list["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        };
        let open = self.open_file();
        let tx = open.db()?.begin_write()?;
        {
            let mut objects = tx.open_table(OBJECTS)?;
            let (from, to) = range(key);
            objects.retain_in(from.as_str()..to.as_str(), |_, _| false)?;
            for item in list["items"].as_array().into_iter().flatten() {
                objects.insert(object_key(key, item).as_str(), serde_json::to_vec(item)?.as_slice())?;
            }
            tx.open_table(LISTS)?
                .insert(key, serde_json::to_vec(&head)?.as_slice())?;
        }
        Ok(tx.commit()?)
    }

    /// Keeps what a watch of `key` said. Durable at once, but for mere heartbeats and bookmarks.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn keep_event(&self, key: &str, event: &Value) -> Result<(), StoreError> {
        let object = &event["object"];
        let open = self.open_file();
        let mut tx = open.db()?.begin_write()?;
        let mut durable = false;
        {
            let mut objects = tx.open_table(OBJECTS)?;
            let k = object_key(key, object);
            match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => {
                    durable = match objects.get(k.as_str())? {
                        Some(old) => !only_status(&serde_json::from_slice(old.value())?, object),
                        None => true,
                    };
                    objects.insert(k.as_str(), serde_json::to_vec(object)?.as_slice())?;
                }
                Some("DELETED") => {
                    durable = true;
                    objects.remove(k.as_str())?;
                }
                _ => {}
            }
            let mut lists = tx.open_table(LISTS)?;
            let version = object["metadata"]["resourceVersion"].as_str();
            let head = lists
                .get(key)?
                .map(|h| serde_json::from_slice::<Head>(h.value()))
                .transpose()?;
            if let (Some(mut head), Some(version)) = (head, version) {
                head.resource_version = version.to_owned();
                lists.insert(key, serde_json::to_vec(&head)?.as_slice())?;
            }
        }
        if !durable {
            tx.set_durability(Durability::None)?;
        }
        Ok(tx.commit()?)
    }

    /// A kept list, as the API server would send it.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn list(&self, key: &str) -> Result<Option<Value>, StoreError> {
        let open = self.open_file();
        let tx = open.db()?.begin_read()?;
        let Some(head) = tx
            .open_table(LISTS)?
            .get(key)?
            .map(|h| serde_json::from_slice::<Head>(h.value()))
            .transpose()?
        else {
            return Ok(None);
        };
        let objects = tx.open_table(OBJECTS)?;
        let (from, to) = range(key);
        let mut items = Vec::new();
        for entry in objects.range(from.as_str()..to.as_str())? {
            items.push(serde_json::from_slice::<Value>(entry?.1.value())?);
        }
        Ok(Some(serde_json::json!({
            "apiVersion": head.api_version,
            "kind": head.kind,
            "metadata": {"resourceVersion": head.resource_version},
            "items": items,
        })))
    }

    /// Keeps an object that was read or written by itself, also in every list that holds it.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn keep_object(&self, path: &str, object: &Value) -> Result<(), StoreError> {
        let open = self.open_file();
        let mut tx = open.db()?.begin_write()?;
        let durable;
        {
            let bytes = serde_json::to_vec(object)?;
            let mut single = tx.open_table(SINGLE)?;
            durable = match single.get(path)? {
                Some(old) => !only_status(&serde_json::from_slice(old.value())?, object),
                None => true,
            };
            single.insert(path, bytes.as_slice())?;
            let mut objects = tx.open_table(OBJECTS)?;
            for key in holders(&objects, path)? {
                objects.insert(key.as_str(), bytes.as_slice())?;
            }
        }
        if !durable {
            tx.set_durability(Durability::None)?;
        }
        Ok(tx.commit()?)
    }

    /// Forgets an object.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn forget(&self, path: &str) -> Result<(), StoreError> {
        if self.object(path)?.is_none() {
            return Ok(());
        }
        let open = self.open_file();
        let tx = open.db()?.begin_write()?;
        {
            tx.open_table(SINGLE)?.remove(path)?;
            let mut objects = tx.open_table(OBJECTS)?;
            for key in holders(&objects, path)? {
                objects.remove(key.as_str())?;
            }
        }
        Ok(tx.commit()?)
    }

    /// The object at `path`, read by itself or as part of a list.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn object(&self, path: &str) -> Result<Option<Value>, StoreError> {
        let open = self.open_file();
        let tx = open.db()?.begin_read()?;
        let single = tx
            .open_table(SINGLE)?
            .get(path)?
            .map(|v| serde_json::from_slice::<Value>(v.value()))
            .transpose()?;
        let objects = tx.open_table(OBJECTS)?;
        let (collection, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut newest = single;
        for entry in objects.iter()? {
            let (k, v) = entry?;
            if holds(k.value(), collection, name) {
                let found: Value = serde_json::from_slice(v.value())?;
                if newest.as_ref().is_none_or(|n| revision(&found) > revision(n)) {
                    newest = Some(found);
                }
            }
        }
        Ok(newest)
    }

    /// Holds a write; returns its place.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn hold(&self, write: &Held) -> Result<u64, StoreError> {
        let open = self.open_file();
        let tx = open.db()?.begin_write()?;
        let next;
        {
            let mut held = tx.open_table(HELD)?;
            // A later write of a heartbeat or status goes together with an earlier one to the same address.
            let mut write = write.clone();
            let mut same = Vec::new();
            for entry in held.iter()? {
                let (k, v) = entry?;
                let old: Held = serde_json::from_slice(v.value())?;
                if let Some(body) = together(&old, &write) {
                    write.body = body;
                    same.push(k.value());
                }
            }
            for k in same {
                held.remove(k)?;
            }
            next = held.last()?.map_or(0, |(k, _)| k.value() + 1);
            held.insert(next, serde_json::to_vec(&write)?.as_slice())?;
        }
        tx.commit()?;
        Ok(next)
    }

    /// What is held, in order.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn held(&self) -> Result<BTreeMap<u64, Held>, StoreError> {
        let open = self.open_file();
        let tx = open.db()?.begin_read()?;
        let table = tx.open_table(HELD)?;
        let mut all = BTreeMap::new();
        for entry in table.iter()? {
            let (k, v) = entry?;
            all.insert(k.value(), serde_json::from_slice(v.value())?);
        }
        Ok(all)
    }

    /// A held write has reached the hub.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub fn release(&self, place: u64) -> Result<(), StoreError> {
        let open = self.open_file();
        let tx = open.db()?.begin_write()?;
        tx.open_table(HELD)?.remove(place)?;
        Ok(tx.commit()?)
    }
}

/// The body of one write that does what `old` and then `new` do, when there is one: a PUT states all it means, patches
/// of a lease or a status can be put together.
fn together(old: &Held, new: &Held) -> Option<Vec<u8>> {
    if old.method != new.method || old.uri != new.uri || old.content_type != new.content_type {
        return None;
    }
    match new.method.as_str() {
        "PUT" => Some(new.body.clone()),
        "PATCH" if new.uri.contains("/leases/") || new.uri.contains("/status") => {
            let strategic = super::merge::kind(new.content_type.as_deref())?;
            let (first, second) = (
                serde_json::from_slice(&old.body).ok()?,
                serde_json::from_slice(&new.body).ok()?,
            );
            serde_json::to_vec(&super::merge::combine(&first, &second, strategic)).ok()
        }
        _ => None,
    }
}

fn range(list: &str) -> (String, String) {
    (format!("{list}\n"), format!("{list}\u{b}"))
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|r| r.parse().ok())
        .unwrap_or(0)
}

/// Whether the entry `key` of OBJECTS is the object `collection`/`name`: its list is of the same resource, perhaps of
/// every namespace.
fn holds(key: &str, collection: &str, name: &str) -> bool {
    let Some((list, id)) = key.split_once('\n') else {
        return false;
    };
    let (namespace, own) = id.split_once('/').unwrap_or(("", id));
    let list = list.split('?').next().unwrap_or(list);
    if own != name {
        return false;
    }
    if list == collection {
        return true;
    }
    // `/api/v1/pods` holds `/api/v1/namespaces/a/pods/...`.
    let (prefix, resource) = list.rsplit_once('/').unwrap_or(("", list));
    format!("{prefix}/namespaces/{namespace}/{resource}") == collection
}

fn holders(objects: &redb::Table<'_, &'static str, &'static [u8]>, path: &str) -> Result<Vec<String>, StoreError> {
    let (collection, name) = path.rsplit_once('/').unwrap_or(("", path));
    let mut keys = Vec::new();
    for entry in objects.iter()? {
        let key = entry?.0.value().to_owned();
        if holds(&key, collection, name) {
            keys.push(key);
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_lists_events_and_objects_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let key = "/api/v1/pods?fieldSelector=x";
        let pod = |name: &str, rv: &str, phase: &str| json!({"metadata": {"name": name, "namespace": "a", "resourceVersion": rv}, "status": {"phase": phase}});
        {
            let s = Store::open(dir.path()).unwrap();
            s.keep_list(
                key,
                &json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "5"},
                "items": [pod("p", "3", "Pending"), pod("q", "4", "Pending")]}),
            )
            .unwrap();
            s.keep_event(key, &json!({"type": "MODIFIED", "object": pod("p", "6", "Running")}))
                .unwrap();
            s.keep_event(key, &json!({"type": "DELETED", "object": pod("q", "7", "Pending")}))
                .unwrap();
            let held = |body: &str| Held {
                method: "PATCH".into(),
                uri: "/api/v1/namespaces/a/pods/p/status".into(),
                content_type: Some("application/strategic-merge-patch+json".into()),
                body: body.into(),
            };
            s.hold(&held(r#"{"status":{"phase":"Running"}}"#)).unwrap();
            s.hold(&held(r#"{"status":{"message":"m"}}"#)).unwrap();
        }
        let s = Store::open(dir.path()).unwrap();
        let list = s.list(key).unwrap().unwrap();
        assert_eq!(list["metadata"]["resourceVersion"], "7");
        assert_eq!(list["items"], json!([pod("p", "6", "Running")]));
        let path = "/api/v1/namespaces/a/pods/p";
        assert_eq!(s.object(path).unwrap().unwrap()["status"]["phase"], "Running");
        assert_eq!(s.object("/api/v1/namespaces/b/pods/p").unwrap(), None);
        s.keep_object(path, &pod("p", "6", "Failed")).unwrap();
        assert_eq!(s.list(key).unwrap().unwrap()["items"][0]["status"]["phase"], "Failed");
        let held = s.held().unwrap();
        assert_eq!(
            held.values().map(|h| h.body.clone()).collect::<Vec<_>>(),
            [br#"{"status":{"message":"m","phase":"Running"}}"#.to_vec()]
        );
        s.release(*held.keys().next().unwrap()).unwrap();
        assert!(s.held().unwrap().is_empty());
        s.forget(path).unwrap();
        assert_eq!(s.object(path).unwrap(), None);
    }
}
