//! API servers of others behind this one (`k8s.io/kube-aggregator`): APIServices that name a service. Whether each can be
//! reached is looked at in the background ([`availability`]), with what it serves ([`discovery`]); requests below its group
//! and version are handed on by [`crate::http`], as the front proxy that [`front_proxy`] makes this server.

mod availability;
mod discovery;
mod front_proxy;
mod remote;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Notify;

use crate::auth::RequestHeader;
use crate::local::Gvr;
use crate::registry::{Resource, Server, text};
use crate::store::Object;

pub(crate) use availability::keep_watch;
use discovery::Discovered;
pub(crate) use front_proxy::FrontProxy;
pub(crate) use remote::Remote;

/// APIServices.
pub(crate) const SERVERS: Gvr = Gvr::new("apiregistration.k8s.io", "v1", "apiservices");

/// The APIServices with a service at a revision of the store.
type Known = (u64, Arc<[Arc<Remote>]>);

/// What this server knows of those behind it.
#[derive(Default)]
pub(crate) struct Aggregation {
    front_proxy: OnceLock<FrontProxy>,
    known: Mutex<Option<Known>>,
    /// Names of those that are to be looked at.
    due: Mutex<BTreeSet<String>>,
    wake: Notify,
    /// What each serves, by its name.
    discovered: Mutex<BTreeMap<String, Arc<Discovered>>>,
}

impl Aggregation {
    /// What was found of one when it was reached last; `None`: it is not reached.
    pub(crate) fn discovered(&self, name: &str) -> Option<Arc<Discovered>> {
        let all = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(name).cloned()
    }

    fn set_discovered(&self, name: &str, found: Option<Discovered>) {
        let mut all = self.discovered.lock().unwrap_or_else(PoisonError::into_inner);
        match found {
            Some(d) => drop(all.insert(name.to_owned(), Arc::new(d))),
            None => drop(all.remove(name)),
        }
    }

    fn look_at(&self, names: impl IntoIterator<Item = String>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let before = due.len();
        due.extend(names);
        if due.len() > before {
            self.wake.notify_one();
        }
    }

    fn take_due(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Server {
    /// This server as a front proxy; once.
    pub(crate) fn set_front_proxy(&self, proxy: FrontProxy) {
        proxy.publish(self);
        // It is believed here, too, as kubeadm has it.
        let trust = RequestHeader::new(proxy.ca_pem(), vec![front_proxy::NAME.to_owned()]);
        let _ = self.auth.request_header.set(trust);
        let _ = self.aggregation.front_proxy.set(proxy);
    }

    /// As what this server speaks to those behind it.
    pub(crate) fn front_proxy(&self) -> Option<&FrontProxy> {
        self.aggregation.front_proxy.get()
    }

    /// The APIServices with a service: mostly none, and they are asked for often.
    pub(crate) fn remotes(&self) -> Arc<[Arc<Remote>]> {
        let version = self.store.changed(&SERVERS);
        let mut known = self.aggregation.known.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((at, all)) if *at == version => all.clone(),
            _ => {
                let objects = self.store.list(&SERVERS, None, None).objects;
                let all: Arc<[_]> = objects
                    .iter()
                    .filter_map(|o| Remote::of(&o.peek()))
                    .map(Arc::new)
                    .collect();
                *known = Some((version, all.clone()));
                all
            }
        }
    }

    /// Who serves a path that this server does not serve itself: built-in groups are always its own, those of definitions
    /// are where an APIService says (`autoregister` makes none over one that is there).
    pub(crate) fn remote_of(&self, path: &str) -> Option<Arc<Remote>> {
        let mut parts = path.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (parts.next()?, parts.next()?);
        let all = self.remotes();
        let found = all.iter().find(|r| r.group == group && r.version == version)?;
        (!self.catalog.is_builtin(group, version)).then(|| found.clone())
    }

    /// Has those looked at that a write may concern; `object` is `None` where what was written is gone.
    pub(crate) fn look_at_remotes(&self, r: &Resource, object: Option<&Arc<Object>>) {
        let all = self.remotes();
        if all.is_empty() && r.plural != "apiservices" {
            return;
        }
        let value = object.map(|o| o.peek());
        let (ns, name) = object.map_or(("", ""), |o| (o.namespace(), o.name()));
        let of_slice = |v: &serde_json::Value| v["metadata"]["labels"]["kubernetes.io/service-name"].clone();
        let concerned = |remote: &Remote| match (&*r.plural, &value) {
            (_, None) => true,
            ("apiservices", Some(_)) => remote.name == name,
            ("services", Some(_)) => (remote.namespace.as_str(), remote.service.as_str()) == (ns, name),
            (_, Some(v)) => remote.namespace == ns && of_slice(v) == *remote.service,
        };
        let named = all.iter().filter(|r| concerned(r)).map(|r| r.name.clone());
        self.aggregation.look_at(named);
    }
}

/// Whether a resource is one that tells where others are.
pub(crate) fn is_about(r: &Resource) -> bool {
    r.is("apiregistration.k8s.io", "apiservices") || r.is("", "services") || r.is("discovery.k8s.io", "endpointslices")
}

/// The name of a service that slices are of, for errors.
fn shown(ns: &str, name: &str) -> String {
    format!("service/{name} in {}", crate::schema::quote(ns))
}

/// A text of a field, owned.
fn owned(v: &serde_json::Value, at: &str) -> String {
    text(v, at).to_owned()
}
