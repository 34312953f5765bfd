//! What the controllers know: every object, as the watch told it, with the indexes they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use fnv::FnvHashMap;
use serde_json::Value;

use super::object::Object as _;
use crate::local::{EventKind, Gvr, WatchEvent};
use crate::store::{self, Object};

/// Resources that controllers name.
pub(crate) mod gvr {
    use crate::local::Gvr;
    pub(crate) static PODS: Gvr = Gvr::new("", "v1", "pods");
    pub(crate) static NODES: Gvr = Gvr::new("", "v1", "nodes");
    pub(crate) static EVENTS: Gvr = Gvr::new("", "v1", "events");
    pub(crate) static NAMESPACES: Gvr = Gvr::new("", "v1", "namespaces");
    pub(crate) static SERVICES: Gvr = Gvr::new("", "v1", "services");
    pub(crate) static ENDPOINTS: Gvr = Gvr::new("", "v1", "endpoints");
    pub(crate) static CLAIMS: Gvr = Gvr::new("", "v1", "persistentvolumeclaims");
    pub(crate) static VOLUMES: Gvr = Gvr::new("", "v1", "persistentvolumes");
    pub(crate) static ATTRIBUTES: Gvr = Gvr::new("storage.k8s.io", "v1", "volumeattributesclasses");
    pub(crate) static CONFIG_MAPS: Gvr = Gvr::new("", "v1", "configmaps");
    pub(crate) static SECRETS: Gvr = Gvr::new("", "v1", "secrets");
    pub(crate) static SERVICE_ACCOUNTS: Gvr = Gvr::new("", "v1", "serviceaccounts");
    pub(crate) static DEPLOYMENTS: Gvr = Gvr::new("apps", "v1", "deployments");
    pub(crate) static REPLICA_SETS: Gvr = Gvr::new("apps", "v1", "replicasets");
    pub(crate) static REPLICATION_CONTROLLERS: Gvr = Gvr::new("", "v1", "replicationcontrollers");
    pub(crate) static RESOURCE_QUOTAS: Gvr = Gvr::new("", "v1", "resourcequotas");
    pub(crate) static DISRUPTION_BUDGETS: Gvr = Gvr::new("policy", "v1", "poddisruptionbudgets");
    pub(crate) static CRON_JOBS: Gvr = Gvr::new("batch", "v1", "cronjobs");
    pub(crate) static DAEMON_SETS: Gvr = Gvr::new("apps", "v1", "daemonsets");
    pub(crate) static STATEFUL_SETS: Gvr = Gvr::new("apps", "v1", "statefulsets");
    pub(crate) static CONTROLLER_REVISIONS: Gvr = Gvr::new("apps", "v1", "controllerrevisions");
    pub(crate) static JOBS: Gvr = Gvr::new("batch", "v1", "jobs");
    pub(crate) static SERVICE_RANGES: Gvr = crate::registry::RANGES;
    pub(crate) static ADDRESSES: Gvr = crate::registry::ADDRESSES;
    pub(crate) static LEASES: Gvr = Gvr::new("coordination.k8s.io", "v1", "leases");
    pub(crate) static ENDPOINT_SLICES: Gvr = Gvr::new("discovery.k8s.io", "v1", "endpointslices");
    pub(crate) static SIGNING_REQUESTS: Gvr = Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests");
}

/// Namespace (empty when cluster scoped) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub ns: Arc<str>,
    pub name: Arc<str>,
}

impl Key {
    pub(crate) fn new(ns: &str, name: &str) -> Self {
        Self {
            ns: ns.into(),
            name: name.into(),
        }
    }
    pub(crate) fn of(v: &Value) -> Self {
        Self::new(v.namespace(), v.name())
    }
}

/// An object's place: resource and key.
pub(crate) type Place = (Gvr, Key);

/// An object's place in the indexes: its resource, and the key that its store has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Spot {
    /// The resource, by when it was first seen.
    nth: usize,
    key: Arc<store::Key>,
}

/// A UID (RFC 9562) as a number, where it is one as Kubernetes writes it: every object has one, and text takes three times
/// the room.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Uid {
    Number(u128),
    Text(Box<str>),
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        let digit = |c: u8| match c {
            b'0'..=b'9' => Some(u128::from(c - b'0')),
            b'a'..=b'f' => Some(u128::from(c - b'a' + 10)),
            _ => None,
        };
        let number = text.bytes().enumerate().try_fold(0, |n: u128, (i, c)| match i {
            8 | 13 | 18 | 23 => (c == b'-').then_some(n),
            _ => Some(n << 4 | digit(c)?),
        });
        match number.filter(|_| text.len() == 36) {
            Some(n) => Self::Number(n),
            None => Self::Text(text.into()),
        }
    }
}

/// All objects, those of a resource ordered, with indexes by UID, owner and node. There are many: what is here of one is counted in bytes.
#[derive(Default)]
pub(crate) struct World {
    objects: FnvHashMap<Gvr, OfResource>,
    seen: Vec<Gvr>,
    by_uid: FnvHashMap<Uid, Spot>,
    dependents: BTreeMap<Box<str>, BTreeSet<Spot>>,
    on_node: BTreeMap<Box<str>, BTreeSet<Arc<store::Key>>>,
    /// Pods and ReplicaSets without a controller.
    loose: FnvHashMap<Gvr, BTreeSet<Arc<store::Key>>>,
}

/// The objects of a resource.
struct OfResource {
    /// Which one it is, by when it was first seen.
    nth: usize,
    objects: BTreeMap<Arc<store::Key>, Arc<Object>>,
}

/// The first key of a namespace and all after it.
fn from(ns: &str) -> (Bound<store::Key>, Bound<store::Key>) {
    (Bound::Included(store::Key::new(ns, "")), Bound::Unbounded)
}

impl World {
    /// Takes one event in.
    pub(crate) fn apply(&mut self, e: &WatchEvent) {
        let key = e.stored.key();
        let of_kind = match self.objects.get_mut(&e.gvr) {
            Some(m) => m,
            None => {
                let first = OfResource {
                    nth: self.seen.len(),
                    objects: BTreeMap::new(),
                };
                self.seen.push(e.gvr.clone());
                self.objects.entry(e.gvr.clone()).or_insert(first)
            }
        };
        let spot = Spot {
            nth: of_kind.nth,
            key: key.clone(),
        };
        let of_kind = &mut of_kind.objects;
        if e.kind == EventKind::Deleted {
            if let Some(old) = of_kind.remove(key) {
                self.unindex(&e.gvr, spot, &old.peek());
            }
            return;
        }
        if let Some(known) = of_kind.get_mut(key) {
            let old = std::mem::replace(known, e.stored.clone());
            let old = e.previous.clone().unwrap_or_else(|| old.peek());
            // Most writes are of a status.
            if !same_indexes(&old, &e.object) {
                self.unindex(&e.gvr, spot.clone(), &old);
                self.index(&e.gvr, spot, &e.object);
            }
            return;
        }
        of_kind.insert(key.clone(), e.stored.clone());
        self.index(&e.gvr, spot, &e.object);
    }

    fn index(&mut self, gvr: &Gvr, spot: Spot, v: &Value) {
        let key = &spot.key;
        for o in v.items("/metadata/ownerReferences") {
            add(&mut self.dependents, o.text("/uid"), spot.clone());
        }
        if *gvr == gvr::PODS && !v.text("/spec/nodeName").is_empty() {
            add(&mut self.on_node, v.text("/spec/nodeName"), key.clone());
        }
        if (*gvr == gvr::PODS || *gvr == gvr::REPLICA_SETS) && v.controller().is_none() {
            self.loose.entry(gvr.clone()).or_default().insert(key.clone());
        }
        self.by_uid.insert(v.uid().into(), spot);
    }

    fn unindex(&mut self, gvr: &Gvr, spot: Spot, v: &Value) {
        let key = &spot.key;
        let uid = v.uid().into();
        if self.by_uid.get(&uid) == Some(&spot) {
            self.by_uid.remove(&uid);
        }
        for o in v.items("/metadata/ownerReferences") {
            remove(&mut self.dependents, o.text("/uid"), &spot);
        }
        if *gvr == gvr::PODS {
            remove(&mut self.on_node, v.text("/spec/nodeName"), key);
        }
        if let Some(all) = self.loose.get_mut(gvr) {
            all.remove(key);
        }
    }

    fn place(&self, spot: &Spot) -> Option<Place> {
        let gvr = self.seen.get(spot.nth)?;
        Some((gvr.clone(), Key::new(&spot.key.namespace, &spot.key.name)))
    }

    fn at_spot(&self, spot: &Spot) -> Option<Arc<Value>> {
        let gvr = self.seen.get(spot.nth)?;
        Some(self.objects.get(gvr)?.objects.get(&spot.key)?.value())
    }

    /// One object.
    pub(crate) fn get(&self, gvr: &Gvr, ns: &str, name: &str) -> Option<Arc<Value>> {
        Some(self.objects.get(gvr)?.objects.get(&store::Key::new(ns, name))?.value())
    }

    /// All objects of a resource, by namespace and name.
    pub(crate) fn list<'a>(&'a self, gvr: &Gvr) -> impl Iterator<Item = Arc<Value>> + use<'a> {
        let all = self.objects.get(gvr).into_iter().flat_map(|m| m.objects.values());
        all.map(Object::value)
    }

    /// All objects of a resource in one namespace, by name.
    pub(crate) fn list_in<'a>(&'a self, gvr: &Gvr, ns: &'a str) -> impl Iterator<Item = Arc<Value>> {
        self.objects.get(gvr).into_iter().flat_map(move |m| {
            m.objects
                .range::<store::Key, _>(from(ns))
                .take_while(move |(k, _)| k.namespace == ns)
                .map(|(_, o)| o.value())
        })
    }

    /// Where the object with this UID is.
    pub(crate) fn find(&self, uid: &str) -> Option<Place> {
        self.place(self.by_uid.get(&uid.into())?)
    }

    /// The object at a place.
    pub(crate) fn at(&self, place: &Place) -> Option<Arc<Value>> {
        self.get(&place.0, &place.1.ns, &place.1.name)
    }

    /// Everything that names `uid` as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> impl Iterator<Item = (Place, Arc<Value>)> {
        let spots = self.dependents.get(uid).into_iter().flatten();
        spots.filter_map(|s| Some((self.place(s)?, self.at_spot(s)?)))
    }

    /// Objects of one resource that `uid` controls.
    pub(crate) fn controlled<'a>(&'a self, gvr: &'a Gvr, uid: &'a str) -> impl Iterator<Item = Arc<Value>> {
        let nth = self.objects.get(gvr).map(|m| m.nth);
        let spots = self.dependents.get(uid).into_iter().flatten();
        spots
            .filter(move |s| Some(s.nth) == nth)
            .filter_map(|s| self.at_spot(s))
            .filter(move |v| v.controller().is_some_and(|o| o.text("/uid") == uid))
    }

    /// Pods bound to a node, by namespace and name.
    pub(crate) fn pods_on<'a>(&'a self, node: &str) -> impl Iterator<Item = Arc<Value>> + use<'a> {
        let pods = self.objects.get(&gvr::PODS);
        self.on_node
            .get(node)
            .into_iter()
            .flatten()
            .filter_map(move |k| Some(pods?.objects.get(k)?.value()))
    }

    /// Pods, or ReplicaSets, of a namespace that have no controller, by name: few among many.
    pub(crate) fn loose<'a>(&'a self, gvr: &Gvr, ns: &'a str) -> impl Iterator<Item = Arc<Value>> + use<'a> {
        let all = self.objects.get(gvr);
        let keys = self.loose.get(gvr).map(|l| l.range::<store::Key, _>(from(ns)));
        let keys = keys.into_iter().flatten().take_while(move |k| k.namespace == ns);
        keys.filter_map(move |k| Some(all?.objects.get(k)?.value()))
    }

    /// Names of nodes that pods are bound to, whether the nodes exist or not.
    pub(crate) fn nodes_of_pods(&self) -> impl Iterator<Item = &str> {
        self.on_node.keys().map(|n| &**n)
    }

    /// Everything in a namespace, by resource and name.
    pub(crate) fn content<'a>(&'a self, ns: &'a str) -> impl Iterator<Item = (&'a Gvr, Arc<Value>)> {
        let mut all: Vec<_> = self.objects.iter().collect();
        all.sort_by_key(|(gvr, _)| *gvr);
        all.into_iter().flat_map(move |(gvr, m)| {
            m.objects
                .range::<store::Key, _>(from(ns))
                .take_while(move |(k, _)| k.namespace == ns)
                .map(move |(_, o)| (gvr, o.value()))
        })
    }
}

/// Whether two states of an object are found by the same owner, node and controller.
fn same_indexes(old: &Value, new: &Value) -> bool {
    old.uid() == new.uid()
        && old.items("/metadata/ownerReferences") == new.items("/metadata/ownerReferences")
        && old.text("/spec/nodeName") == new.text("/spec/nodeName")
}

fn add<T: Ord>(index: &mut BTreeMap<Box<str>, BTreeSet<T>>, key: &str, item: T) {
    match index.get_mut(key) {
        Some(set) => drop(set.insert(item)),
        None => drop(index.insert(key.into(), BTreeSet::from([item]))),
    }
}

fn remove<T: Ord>(index: &mut BTreeMap<Box<str>, BTreeSet<T>>, key: &str, item: &T) {
    if let Some(set) = index.get_mut(key) {
        set.remove(item);
        if set.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
pub(crate) fn world_of(objects: &[(&Gvr, Value)]) -> World {
    let mut w = World::default();
    for (i, (gvr, v)) in objects.iter().enumerate() {
        w.apply(&WatchEvent {
            kind: EventKind::Added,
            gvr: (*gvr).clone(),
            object: Arc::new(v.clone()),
            stored: Arc::new(Object::new(v.clone(), i as u64 + 1)),
            previous: None,
            revision: i as u64 + 1,
        });
    }
    w
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_found_by_uids_of_any_form() {
        let uids = [
            "00000000-0000-4000-8000-0000000000ab",
            // Neither is the first: not its digits, not its dashes.
            "00000000-0000-4000-8000-0000000000AB",
            "0000000000004000800000000000000000ab",
            "1",
        ];
        let maps: Vec<Value> = (0..uids.len())
            .map(|i| json!({"metadata": {"namespace": "default", "name": format!("m{i}"), "uid": uids[i]}}))
            .collect();
        let named: Vec<_> = maps.iter().map(|v| (&gvr::CONFIG_MAPS, v.clone())).collect();
        let world = world_of(&named);
        for (i, uid) in uids.iter().enumerate() {
            let (_, key) = world.find(uid).unwrap();
            assert_eq!(*key.name, format!("m{i}"));
        }
        assert!(world.find("00000000-0000-4000-8000-0000000000ac").is_none());
    }
}
