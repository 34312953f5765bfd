//! An in-memory MVCC store: every write has the next revision; the newest state is an ordered map, the recent past
//! a ring of events per resource, so that a watch can start at a revision that was.
//!
//! Synchronous: no lock is held across an await. Watchers are unbounded channels filled inside the write's
//! critical section, so that what a watcher sees is in revision order.
//!
//! With a data directory ([`Store::open`]) every write goes to a [`log`] as well, in the same order. The write's
//! caller goes on at once; whoever tells somebody outside what is stored waits for [`Store::durable`] first.

mod history;
pub mod log;
mod object;
mod pack;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use fnv::FnvHashMap;
use serde_json::Value;

use history::History;
use log::{Image, Log, LogError, LogOptions, Recovery, TableImage};
pub use object::{Object, Revision};
use pack::Packer;
pub use watch::{Event, EventKind, Sink, Source};

use crate::local::Gvr;

/// The stored resource. All versions of a resource share one, whatever version it names.
pub type ResourceKey = Arc<Gvr>;

/// A name in a namespace (empty: cluster scope).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: a create.
    Absent,
    /// The object at this revision: an update.
    Revision(Revision),
}

/// Why a write did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Something is there already.
    #[error("exists")]
    Exists,
    /// Nothing is there.
    #[error("absent")]
    Absent,
    /// Another revision is there.
    #[error("changed")]
    Changed,
    /// The revision asked for is older than what is kept: (oldest kept, asked).
    #[error("too old resource version: {1} ({0})")]
    TooOld(Revision, Revision),
}

/// Nesting of an object that can be written and read again: serde_json reads 128, and what lists and events put around an
/// object is some. Whoever makes objects deeper than they came sees to it (bodies: [`crate::http`], [`crate::patch`]).
pub(crate) const DEEPEST: usize = 120;

/// What is said of what is deeper, whatever it came in.
pub(crate) const TOO_DEEP: &str = "exceeded max depth";

/// How many levels a value has: none, where it is neither a list nor an object.
pub(crate) fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Object(fields) => fields.values().map(depth).max(),
        Value::Array(items) => items.iter().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or(0)
}

/// A page of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The objects, by namespace, then name.
    pub objects: Vec<Arc<Object>>,
    /// The store's revision at that moment.
    pub revision: Revision,
}

#[derive(Default)]
struct Table {
    objects: BTreeMap<Arc<Key>, Arc<Object>>,
    history: History,
    /// Revision of the last write to this table.
    changed: Revision,
    watchers: Vec<Box<dyn Sink>>,
}

struct State {
    revision: Revision,
    /// Looked into several times for every request. In no order.
    tables: FnvHashMap<ResourceKey, Table>,
    watchers_of_all: Vec<Box<dyn Sink>>,
}

/// The store of one cluster.
pub struct Store {
    state: Mutex<State>,
    packer: Arc<Packer>,
    /// Where writes are kept; `None`: in memory alone.
    log: Option<Log>,
}

impl Default for Store {
    fn default() -> Self {
        // Kubernetes reserves 0; etcd's first write is 2.
        Self {
            state: Mutex::new(State {
                revision: 1,
                tables: FnvHashMap::default(),
                watchers_of_all: Vec::new(),
            }),
            packer: Arc::default(),
            log: None,
        }
    }
}

impl Store {
    /// The store that `dir` keeps (an empty one where there is none yet), and what was found.
    ///
    /// A watch may go on from the last write to its resource; from before that it is [`StoreError::TooOld`], as with
    /// a kube-apiserver that was restarted: events of the past are not kept for a process that is no more.
    ///
    /// # Errors
    /// [`LogError`] when the directory cannot be used or what is in it is broken.
    pub fn open(dir: &Path, options: &LogOptions) -> Result<(Self, Recovery), LogError> {
        let packer: Arc<Packer> = Arc::default();
        let (log, restored) = Log::open(dir, options, &packer)?;
        packer.has(restored.image.tables.iter().map(|t| t.objects.len()).sum());
        let mut state = State {
            revision: restored.image.revision,
            tables: FnvHashMap::default(),
            watchers_of_all: Vec::new(),
        };
        for t in restored.image.tables {
            let table = Table {
                objects: t.objects.into_iter().map(|o| (o.key().clone(), o)).collect(),
                history: History::after(t.changed),
                changed: t.changed,
                ..Table::default()
            };
            state.tables.insert(t.resource, table);
        }
        let store = Self {
            state: Mutex::new(state),
            packer,
            log: Some(log),
        };
        Ok((store, restored.recovery))
    }

    /// The newest revision that outlives this process (in memory alone: the newest).
    #[must_use]
    pub fn durable_revision(&self) -> Revision {
        match &self.log {
            None => Revision::MAX,
            Some(l) => l.durable(),
        }
    }

    /// Waits until all that was written up to now outlives this process. At once for a store in memory.
    ///
    /// # Errors
    /// When the log cannot be written any more.
    pub async fn durable(&self) -> Result<(), LogError> {
        match &self.log {
            None => Ok(()),
            Some(l) => {
                let revision = self.revision();
                if l.durable() >= revision {
                    return Ok(());
                }
                l.wait(revision).await
            }
        }
    }

    /// A future that is done when `revision` outlives this process, or never will.
    pub(crate) fn until_durable(&self, revision: Revision) -> impl Future<Output = ()> + Send + 'static {
        let wait = self.log.as_ref().map(|l| l.wait(revision));
        async move {
            if let Some(w) = wait
                && w.await.is_err()
            {
                // What is not on disk is told to nobody.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the log cannot be written any more: for ever while it can, and for a store in memory.
    pub async fn failed(&self) -> LogError {
        match &self.log {
            None => std::future::pending().await,
            Some(l) => l.failed().await,
        }
    }

    /// The key under which objects of a resource are stored, whatever its version.
    #[must_use]
    pub fn stored_as(&self, group: &str, plural: &str) -> Option<ResourceKey> {
        let state = self.state();
        let same = |k: &&ResourceKey| k.group == group && k.resource == plural;
        state.tables.keys().filter(same).min().cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state().revision
    }

    /// The revision of the last write to `resource`; 0: never written.
    #[must_use]
    pub fn changed(&self, resource: &Gvr) -> Revision {
        self.state().tables.get(resource).map_or(0, |t| t.changed)
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &Gvr, key: &Key) -> Option<Arc<Object>> {
        self.state().tables.get(resource)?.objects.get(key).cloned()
    }

    /// Objects of `resource` in `namespace` (all of them when `None`) whose key is after `after`.
    #[must_use]
    pub fn list(&self, resource: &Gvr, namespace: Option<&str>, after: Option<&Key>) -> Page {
        let state = self.state();
        let revision = state.revision;
        // Most requests ask for quotas, limits and policies that are not there.
        let Some(table) = state.tables.get(resource).filter(|t| !t.objects.is_empty()) else {
            return Page {
                objects: Vec::new(),
                revision,
            };
        };
        let start = match (after, namespace) {
            (Some(k), _) => Bound::Excluded(k.clone()),
            (None, Some(ns)) => Bound::Included(Key::new(ns, "")),
            (None, None) => Bound::Unbounded,
        };
        let range = table.objects.range::<Key, _>((start, Bound::Unbounded));
        let objects = match namespace {
            None => range.map(|(_, o)| o.clone()).collect(),
            Some(ns) => range
                .take_while(|(k, _)| k.namespace == ns)
                .map(|(_, o)| o.clone())
                .collect(),
        };
        Page { objects, revision }
    }

    /// As [`Store::list`], as it was at `revision`; `None`: that is forgotten.
    #[must_use]
    pub fn list_at(
        &self,
        resource: &Gvr,
        namespace: Option<&str>,
        after: Option<&Key>,
        revision: Revision,
    ) -> Option<Page> {
        let mut page = self.list(resource, namespace, after);
        let state = self.state();
        let Some(table) = state.tables.get(resource) else {
            page.revision = revision.min(page.revision);
            return Some(page);
        };
        if revision < table.history.forgotten {
            return None;
        }
        if revision > state.revision {
            return Some(page);
        }
        // Later events are undone, newest first. (The list above may be newer than the lock: that is undone, too.)
        let mut objects: BTreeMap<Arc<Key>, Arc<Object>> =
            page.objects.into_iter().map(|o| (o.key().clone(), o)).collect();
        for e in table.history.since(&Arc::new(resource.clone()), revision).rev() {
            let key = e.object.key().clone();
            if namespace.is_some_and(|ns| ns != key.namespace) || after.is_some_and(|a| *key <= *a) {
                continue;
            }
            match e.previous {
                Some(p) => drop(objects.insert(key, p)),
                None => drop(objects.remove(&key)),
            }
        }
        Some(Page {
            objects: objects.into_values().collect(),
            revision,
        })
    }

    /// Every resource that has an object now, in order.
    #[must_use]
    pub fn resources(&self) -> Vec<ResourceKey> {
        let state = self.state();
        let in_use = state.in_order().into_iter().filter(|(_, t)| !t.objects.is_empty());
        in_use.map(|(k, _)| k.clone()).collect()
    }

    /// Writes `value` (its resourceVersion is set here) as the object at `key`.
    ///
    /// # Errors
    /// [`StoreError`] when what is there is not what `expect` says.
    pub fn put(
        &self,
        resource: &ResourceKey,
        key: Key,
        expect: Expect,
        mut value: Value,
    ) -> Result<Arc<Object>, StoreError> {
        let mut locked = self.state();
        let state = &mut *locked;
        let table = state.tables.entry(resource.clone()).or_default();
        let previous = table.objects.get(&key).cloned();
        match (expect, &previous) {
            (Expect::Absent, Some(_)) => return Err(StoreError::Exists),
            (Expect::Revision(_), None) => return Err(StoreError::Absent),
            (Expect::Revision(r), Some(o)) if o.revision != r => return Err(StoreError::Changed),
            _ => {}
        }
        state.revision += 1;
        let revision = state.revision;
        object::set_revision(&mut value, revision);
        let key = previous.as_ref().map_or_else(|| Arc::new(key), |p| p.key().clone());
        let object = Object::kept(key.clone(), value, revision, &self.packer);
        let logged = self.log.is_some().then(|| (*key).clone());
        table.objects.insert(key, object.clone());
        match &previous {
            Some(p) => self.packer.passed(p),
            None => self.packer.came(),
        }
        let kind = if previous.is_some() {
            EventKind::Modified
        } else {
            EventKind::Added
        };
        let event = Event {
            kind,
            resource: resource.clone(),
            object: object.clone(),
            previous,
            revision,
        };
        let event = Self::publish(table, &mut state.watchers_of_all, event);
        self.keep(state, logged, event);
        drop(locked);
        self.packer.work();
        Ok(object)
    }

    /// Removes the object at `key`; `last` is the state to tell watchers (its resourceVersion becomes the removal's).
    ///
    /// # Errors
    /// [`StoreError`] when it is not there at `revision`.
    pub fn remove(
        &self,
        resource: &ResourceKey,
        key: &Key,
        revision: Revision,
        mut last: Value,
    ) -> Result<Arc<Object>, StoreError> {
        let mut locked = self.state();
        let state = &mut *locked;
        let table = state.tables.entry(resource.clone()).or_default();
        match table.objects.get(key) {
            None => return Err(StoreError::Absent),
            Some(o) if o.revision != revision => return Err(StoreError::Changed),
            Some(_) => {}
        }
        let known = Arc::new(key.clone());
        let previous = table.objects.remove(key);
        if let Some(p) = &previous {
            self.packer.passed(p);
            self.packer.went(1);
        }
        state.revision += 1;
        let revision = state.revision;
        object::set_revision(&mut last, revision);
        let object = Object::kept(known, last, revision, &self.packer);
        self.packer.passed(&object);
        let event = Event {
            kind: EventKind::Deleted,
            resource: resource.clone(),
            object: object.clone(),
            previous,
            revision,
        };
        let event = Self::publish(table, &mut state.watchers_of_all, event);
        self.keep(state, self.log.is_some().then(|| key.clone()), event);
        drop(locked);
        self.packer.work();
        Ok(object)
    }

    /// Gives a write to the log, and a picture of everything when the log asks for one: within the critical section,
    /// so that both are in the order of revisions.
    fn keep(&self, state: &State, key: Option<Key>, event: Arc<Event>) {
        if let (Some(log), Some(key)) = (&self.log, key) {
            log.write(key, event);
            if log.wants_snapshot() {
                log.snapshot(state.image());
            }
        }
    }

    fn publish(table: &mut Table, all: &mut Vec<Box<dyn Sink>>, event: Event) -> Arc<Event> {
        let event = Arc::new(event);
        table.changed = event.revision;
        table.history.push(&event);
        // A watcher that went away is found here, at the next event.
        table.watchers.retain(|w| w.send(&event));
        all.retain(|w| w.send(&event));
        event
    }

    /// Events of `resource` after `since`, then all that come.
    ///
    /// # Errors
    /// [`StoreError::TooOld`] when events after `since` are forgotten.
    pub fn watch_since(&self, resource: &ResourceKey, since: Revision) -> Result<Source, StoreError> {
        let mut state = self.state();
        let table = state.tables.entry(resource.clone()).or_default();
        if since < table.history.forgotten {
            return Err(StoreError::TooOld(table.history.forgotten, since));
        }
        let (tx, rx) = tokio::sync::mpsc::unbounded_channel();
        for e in table.history.since(resource, since) {
            // The receiver is held right here.
            let _ = tx.send(Arc::new(e));
        }
        table.watchers.retain(|w| !w.is_closed());
        table.watchers.push(Box::new(tx));
        Ok(rx)
    }

    /// The objects of `resource` now and all events from here: nothing between them is lost.
    #[must_use]
    pub fn list_and_watch(&self, resource: &ResourceKey, namespace: Option<&str>) -> (Page, Source) {
        let mut state = self.state();
        let revision = state.revision;
        let table = state.tables.entry(resource.clone()).or_default();
        let objects = table
            .objects
            .iter()
            .filter(|(k, _)| namespace.is_none_or(|ns| k.namespace == ns))
            .map(|(_, o)| o.clone())
            .collect();
        let (tx, rx) = tokio::sync::mpsc::unbounded_channel();
        table.watchers.retain(|w| !w.is_closed());
        table.watchers.push(Box::new(tx));
        (Page { objects, revision }, rx)
    }

    /// All that exists, then all events, into `sink`.
    pub fn watch_all(&self, sink: Box<dyn Sink>) {
        let mut state = self.state();
        for (resource, table) in state.in_order() {
            table.all_added(resource, &*sink);
        }
        state.watchers_of_all.push(sink);
    }

    /// Forgets `resource` (a custom resource that is no longer defined); its watchers' channels close.
    pub fn drop_resource(&self, resource: &Gvr) {
        let mut state = self.state();
        let dropped = state.tables.remove_entry(resource);
        if let Some((_, table)) = &dropped {
            self.packer.went(table.objects.len());
        }
        if let (Some((key, _)), Some(log)) = (dropped, &self.log) {
            log.drop_resource(key, state.revision);
        }
    }
}

impl State {
    /// Who looks at all sees them in the order of their names, on every machine.
    fn in_order(&self) -> Vec<(&ResourceKey, &Table)> {
        let mut all: Vec<_> = self.tables.iter().collect();
        all.sort_by_key(|(resource, _)| *resource);
        all
    }

    fn image(&self) -> Image {
        let tables = self.in_order().into_iter().map(|(resource, t)| TableImage {
            resource: resource.clone(),
            changed: t.changed,
            objects: t.objects.values().cloned().collect(),
        });
        Image {
            revision: self.revision,
            tables: tables.collect(),
        }
    }
}

impl Table {
    fn all_added(&self, resource: &ResourceKey, sink: &dyn Sink) {
        for o in self.objects.values() {
            sink.send(&Arc::new(Event {
                kind: EventKind::Added,
                resource: resource.clone(),
                object: o.clone(),
                previous: None,
                revision: o.revision,
            }));
        }
    }
}
