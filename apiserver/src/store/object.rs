//! A stored object: its tree, its JSON once somebody asked for it, its revision.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Key;
use super::pack::{Packed, Packer};

/// A revision of the store, what `metadata.resourceVersion` says in decimal.
pub type Revision = u64;

/// What custom resources are shown as, by a name of the way they are shown. `None`: as they are stored.
type Shown = BTreeMap<String, Option<Arc<Object>>>;

/// One state of one object. Never changes.
#[derive(Debug)]
pub struct Object {
    key: Arc<Key>,
    /// The write that made this state.
    pub revision: Revision,
    form: Mutex<Form>,
    /// Who packs it when it is not used; `None`: nobody.
    packer: Option<Arc<Packer>>,
    /// Whether there is a newer state, or none any more.
    past: AtomicBool,
    /// What custom resources are shown as: in other versions, with the defaults of today.
    shown: OnceLock<Box<Mutex<Shown>>>,
}

/// How an object is held.
#[derive(Debug)]
enum Form {
    Open(Box<Open>),
    /// Nobody asked for it lately, and there are many others.
    Packed(Packed),
}

/// Room that is made for an object's JSON, in bytes: few need more, and what is not used is given back.
const USUAL: usize = 2_048;

/// An object at hand.
#[derive(Debug)]
struct Open {
    value: Arc<Value>,
    /// Whether somebody asked for it since the packer last came by.
    used: bool,
    bytes: Option<Bytes>,
    bare: Option<Bytes>,
}

impl Open {
    fn new(value: Value) -> Box<Self> {
        Box::new(Self {
            value: Arc::new(value),
            used: false,
            bytes: None,
            bare: None,
        })
    }

    fn bare(&mut self) -> Bytes {
        self.bare.get_or_insert_with(|| written(&Bare(&self.value))).clone()
    }
}

/// An object without its apiVersion and kind.
struct Bare<'a>(&'a Value);

impl Serialize for Bare<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Value::Object(all) = self.0 else {
            return self.0.serialize(s);
        };
        let mut out = s.serialize_map(None)?;
        for (k, v) in all.iter().filter(|(k, _)| *k != "apiVersion" && *k != "kind") {
            match v {
                Value::Object(metadata) if k == "metadata" => out.serialize_entry(k, &Metadata(metadata))?,
                v => out.serialize_entry(k, v)?,
            }
        }
        out.end()
    }
}

/// An object's metadata, whose `managedFields` are JSON already ([`crate::patch::fold`]).
struct Metadata<'a>(&'a Map<String, Value>);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_map(None)?;
        for (k, v) in self.0 {
            let kept = v.as_str().filter(|_| k == "managedFields");
            // A webhook may have written what is no JSON there: that is told as it is.
            match kept.and_then(|text| serde_json::from_str::<&RawValue>(text).ok()) {
                Some(json) => out.serialize_entry(k, json)?,
                None => out.serialize_entry(k, v)?,
            }
        }
        out.end()
    }
}

impl Object {
    /// A state from its tree, in the version it is stored in.
    #[must_use]
    pub fn new(value: Value, revision: Revision) -> Self {
        let text = |k: &str| value["metadata"][k].as_str().unwrap_or_default();
        let key = Key::new(text("namespace"), text("name"));
        Self::of(Arc::new(key), value, revision)
    }

    fn of(key: Arc<Key>, value: Value, revision: Revision) -> Self {
        Self {
            key,
            revision,
            form: Mutex::new(Form::Open(Open::new(value))),
            packer: None,
            past: AtomicBool::new(false),
            shown: OnceLock::new(),
        }
    }

    /// The state of the object at `key`, packed by `packer` when it is not used.
    pub(super) fn kept(key: Arc<Key>, mut value: Value, revision: Revision, packer: &Arc<Packer>) -> Arc<Self> {
        crate::patch::fold(&mut value);
        let object = Arc::new(Self {
            packer: Some(packer.clone()),
            ..Self::of(key, value, revision)
        });
        packer.opened(&object);
        object
    }

    /// Its namespace and name.
    #[must_use]
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// `metadata.namespace`, or empty.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    fn form(&self) -> MutexGuard<'_, Form> {
        self.form.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object, in the version it is stored in.
    pub fn value(self: &Arc<Self>) -> Arc<Value> {
        let mut form = self.form();
        let value = match &mut *form {
            Form::Open(o) => {
                o.used = true;
                return o.value.clone();
            }
            Form::Packed(p) => p.value(),
        };
        let open = Open::new(value);
        let value = open.value.clone();
        *form = Form::Open(open);
        drop(form);
        if let Some(p) = &self.packer {
            p.opened(self);
            // Who reads many objects packs as many.
            p.work();
        }
        value
    }

    /// As [`Object::value`], for who looks at very many: one that is packed stays so.
    pub fn peek(&self) -> Arc<Value> {
        match &*self.form() {
            Form::Open(o) => o.value.clone(),
            Form::Packed(p) => Arc::new(p.value()),
        }
    }

    /// Whether this is its apiVersion.
    pub fn is_version(&self, api_version: &str) -> bool {
        match &*self.form() {
            Form::Open(o) => o.value["apiVersion"] == api_version,
            Form::Packed(p) => p.is_version(api_version),
        }
    }

    /// Packs it, if it was not used since this was last called. False: it is to be looked at again.
    pub(super) fn pack(&self, packer: &Packer) -> bool {
        let (value, bytes, bare) = match &mut *self.form() {
            Form::Packed(_) => return true,
            Form::Open(o) if o.used => {
                o.used = false;
                return false;
            }
            Form::Open(o) => (o.value.clone(), o.bytes.clone(), o.bare.clone()),
        };
        self.becomes(value, bytes, bare, |v, head, bare| packer.pack(v, head, bare));
        true
    }

    /// Makes a tree JSON; whether that may be compressed.
    pub(super) fn write(&self, packer: &Packer) -> bool {
        let (value, bytes, bare) = match &*self.form() {
            Form::Packed(p) => return p.is_plain().is_some(),
            Form::Open(o) => (o.value.clone(), o.bytes.clone(), o.bare.clone()),
        };
        self.becomes(value, bytes, bare, |v, head, bare| packer.plain(v, head, bare));
        matches!(&*self.form(), Form::Packed(p) if p.is_plain().is_some())
    }

    /// Compresses what is JSON, while nobody waits for it.
    pub(super) fn compress(&self, packer: &Packer) {
        let plain = match &*self.form() {
            Form::Packed(p) => p.plain_copy(),
            Form::Open(_) => None,
        };
        let Some(compressed) = plain.and_then(|p| packer.compressed(&p)) else {
            return;
        };
        // Meanwhile somebody may have made it a tree again.
        let mut form = self.form();
        if matches!(&*form, Form::Packed(_)) {
            *form = Form::Packed(compressed);
        }
    }

    /// Is packed, while nobody waits for it; one without a kind stays as it is.
    fn becomes(
        &self,
        value: Arc<Value>,
        bytes: Option<Bytes>,
        bare: Option<Bytes>,
        pack: impl FnOnce(&Value, String, Bytes) -> Packed,
    ) {
        let Some(head) = head(&value) else { return };
        let bare = bare
            .or_else(|| without_head(&bytes?, &head))
            .unwrap_or_else(|| written(&Bare(&value)));
        let packed = pack(&value, head, bare);
        let before = std::mem::replace(&mut *self.form(), Form::Packed(packed));
        drop(before);
    }

    /// Whether it is a tree now.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.form(), Form::Open(_))
    }

    /// Whether it is a state that was.
    pub(super) fn is_past(&self) -> bool {
        self.past.load(Ordering::Relaxed)
    }

    pub(super) fn set_past(&self) {
        self.past.store(true, Ordering::Relaxed);
    }

    /// Whether it is packed now.
    #[cfg(test)]
    pub(super) fn is_packed(&self) -> bool {
        matches!(&*self.form(), Form::Packed(_))
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
        let known = self.shown.get_or_init(Box::default);
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, other);
    }

    /// The object as JSON, serialised once for all who read it.
    pub fn bytes(&self) -> Bytes {
        match &mut *self.form() {
            Form::Open(o) => o.bytes.get_or_insert_with(|| whole(&o.value)).clone(),
            Form::Packed(p) => p.bytes(),
        }
    }

    /// As [`Object::bytes`], for who asks for every object that is stored: it is not kept.
    pub(super) fn json(&self) -> Bytes {
        let value = match &*self.form() {
            Form::Open(o) => match &o.bytes {
                Some(b) => return b.clone(),
                None => o.value.clone(),
            },
            Form::Packed(p) => return p.bytes(),
        };
        whole(&value)
    }

    /// As [`Object::bytes`] without apiVersion and kind: how lists of built-in kinds have their items.
    pub fn bare_bytes(&self) -> Bytes {
        match &mut *self.form() {
            Form::Open(o) => o.bare(),
            Form::Packed(p) => p.bare(),
        }
    }
}

/// The beginning of an object's JSON, in the order that Kubernetes writes it in; `None`: it has no kind.
pub(super) fn head(value: &Value) -> Option<String> {
    let (kind, api_version) = (value.get("kind")?, value.get("apiVersion")?);
    Some(format!("{{\"kind\":{kind},\"apiVersion\":{api_version}"))
}

/// The whole JSON of an object from its head and what is after it.
pub(super) fn joined(mut head: Vec<u8>, bare: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let end = head.len();
    bare(&mut head);
    // Its first brace was the head's already.
    if head.len() == end + 2 {
        head.remove(end);
    } else if let Some(brace) = head.get_mut(end) {
        *brace = b',';
    }
    Bytes::from(head.into_boxed_slice())
}

/// What [`joined`] made of a head and this.
fn without_head(whole: &[u8], head: &str) -> Option<Bytes> {
    let rest = whole.strip_prefix(head.as_bytes())?;
    let mut bare = Vec::with_capacity(rest.len() + 1);
    bare.push(b'{');
    bare.extend_from_slice(rest.strip_prefix(b",").unwrap_or(rest));
    Some(Bytes::from(bare.into_boxed_slice()))
}

fn whole(value: &Value) -> Bytes {
    let Some(head) = head(value) else {
        return written(value);
    };
    joined(head.into_bytes(), |out| {
        out.reserve(USUAL);
        let _ = serde_json::to_writer(out, &Bare(value));
    })
}

/// As JSON, without room to spare: it is kept.
fn written(value: &impl serde::Serialize) -> Bytes {
    let mut text = Vec::with_capacity(USUAL);
    let _ = serde_json::to_writer(&mut text, value);
    Bytes::from(text.into_boxed_slice())
}

/// Sets `metadata.resourceVersion`.
pub(super) fn set_revision(value: &mut Value, revision: Revision) {
    if let Some(m) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        m.insert("resourceVersion".to_owned(), Value::String(revision.to_string()));
    }
}
