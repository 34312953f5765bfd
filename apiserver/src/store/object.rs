//! A stored object: its value, its bytes once somebody asked for them, its revision.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use serde_json::Value;

/// A revision of the store, what `metadata.resourceVersion` says in decimal.
pub type Revision = u64;

/// One state of one object. Never changes.
#[derive(Debug)]
pub struct Object {
    /// The object, in the version it is stored in.
    pub value: Arc<Value>,
    /// The write that made this state.
    pub revision: Revision,
    bytes: OnceLock<Bytes>,
    bare: OnceLock<Bytes>,
    /// What custom resources are shown as: in other versions, with the defaults of today. `None`: as they are stored.
    shown: OnceLock<Mutex<BTreeMap<String, Option<Arc<Object>>>>>,
}

/// An object without its apiVersion and kind.
struct Bare<'a>(&'a Value);

impl serde::Serialize for Bare<'_> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(m) => s.collect_map(m.iter().filter(|(k, _)| *k != "apiVersion" && *k != "kind")),
            v => v.serialize(s),
        }
    }
}

impl Object {
    /// A state from its value.
    #[must_use]
    pub fn new(value: Value, revision: Revision) -> Self {
        Self {
            value: Arc::new(value),
            revision,
            bytes: OnceLock::new(),
            bare: OnceLock::new(),
            shown: OnceLock::new(),
        }
    }

    /// A state from what [`Object::bytes`] gave.
    pub(super) fn read(bytes: Bytes, revision: Revision) -> Self {
        let object = Self::new(serde_json::from_slice(&bytes).unwrap_or_default(), revision);
        let _ = object.bytes.set(bytes);
        object
    }

    /// What it is shown as, by a name of the way it is shown.
    pub(crate) fn shown(self: &Arc<Self>, id: &str) -> Option<Arc<Self>> {
        let known = self.shown.get()?.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).map(|o| o.as_ref().unwrap_or(self).clone())
    }

    /// Keeps what it is shown as.
    pub(crate) fn set_shown(self: &Arc<Self>, id: String, object: &Arc<Self>) {
        // Never itself: it would be kept for ever.
        let other = (!Arc::ptr_eq(self, object)).then(|| object.clone());
        let known = self.shown.get_or_init(Mutex::default);
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, other);
    }

    /// The object as JSON, serialised once for all who read it.
    pub fn bytes(&self) -> Bytes {
        self.bytes.get_or_init(|| written(&*self.value)).clone()
    }

    /// As [`Object::bytes`] without apiVersion and kind: how lists of built-in kinds have their items.
    pub fn bare_bytes(&self) -> Bytes {
        self.bare.get_or_init(|| written(&Bare(&self.value))).clone()
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// `metadata.namespace`, or empty.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"].as_str().unwrap_or_default()
    }
}

/// As JSON, without room to spare: it is kept.
fn written(value: &impl serde::Serialize) -> Bytes {
    let text = serde_json::to_vec(value).unwrap_or_default();
    Bytes::from(text.into_boxed_slice())
}

/// Sets `metadata.resourceVersion`.
pub(super) fn set_revision(value: &mut Value, revision: Revision) {
    if let Some(m) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        m.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
}
