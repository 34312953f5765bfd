//! API servers of others behind this one (`k8s.io/kube-aggregator`): APIServices that name a service. Whether each can be
//! reached is looked at in the background ([`availability`]), with what it serves ([`discovery`]); requests below its group
//! and version are handed on by [`crate::http`], as the front proxy that [`front_proxy`] makes this server.

mod autoregister;
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

pub(crate) use autoregister::{builtin, defined};
pub(crate) use availability::keep_watch;
use discovery::Discovered;
pub(crate) use front_proxy::{CA_NAME as FRONT_PROXY_CA, FrontProxy};
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

    /// Has those looked at that a write may concern: what was there, and what is there now.
    pub(crate) fn look_at_remotes(&self, r: &Resource, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
        let all = self.remotes();
        let written = || old.into_iter().chain(new);
        if r.plural == "apiservices" {
            // One that no longer names a service is known no more, and is to be forgotten.
            let named = written().filter(|o| Remote::of(&o.peek()).is_some());
            self.aggregation.look_at(named.map(|o| o.name().to_owned()));
            return autoregister::written(self, old, new);
        }
        if all.is_empty() {
            return;
        }
        let services: BTreeSet<(String, String)> = written().filter_map(|o| service_of(r, o)).collect();
        let concerned = |remote: &&Arc<Remote>| {
            let mut of = services.iter();
            of.any(|(ns, name)| remote.namespace == *ns && remote.service == *name)
        };
        let named = all.iter().filter(concerned).map(|r| r.name.clone());
        self.aggregation.look_at(named);
    }
}

/// Namespace and name of the service that an object is, or is a slice of.
fn service_of(r: &Resource, o: &Arc<Object>) -> Option<(String, String)> {
    let name = match &*r.plural {
        "services" => o.name().to_owned(),
        _ => o.peek()["metadata"]["labels"]["kubernetes.io/service-name"]
            .as_str()?
            .to_owned(),
    };
    Some((o.namespace().to_owned(), name))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Call, DeleteOptions};
    use serde_json::{Value, json};

    #[tokio::test(start_paused = true)]
    async fn a_write_has_those_looked_at_that_it_concerns() {
        let server = Server::for_tests();
        let of = |group: &str, plural: &str| server.catalog.find(group, "v1", plural).unwrap();
        let (services, apis, slices) = (
            of("", "services"),
            of("apiregistration.k8s.io", "apiservices"),
            of("discovery.k8s.io", "endpointslices"),
        );
        let create = |r: &Resource, ns: &str, v: Value| {
            server.create(&mut Call::internal("test"), r, ns, None, v).unwrap();
        };
        let delete = |r: &Resource, ns: &str, name: &str| {
            let done = server.delete(&mut Call::internal("test"), r, ns, name, &DeleteOptions::default());
            done.unwrap();
        };
        let due = || -> Vec<String> { server.aggregation.take_due().into_iter().collect() };
        let service = |name: &str| json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 443}]}});
        for (group, to) in [("a.example.com", "a"), ("b.example.com", "b")] {
            let v = json!({"metadata": {"name": format!("v1.{group}")}, "spec": {"group": group, "version": "v1",
                "insecureSkipTLSVerify": true, "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"namespace": "default", "name": to}}});
            create(&apis, "", v);
        }
        assert_eq!(due(), ["v1.a.example.com", "v1.b.example.com"]);
        for name in ["a", "c"] {
            create(&services, "default", service(name));
        }
        assert_eq!(due(), ["v1.a.example.com"]);
        let slice = json!({"metadata": {"name": "x", "labels": {"kubernetes.io/service-name": "b"}},
            "addressType": "IPv4", "endpoints": [], "ports": []});
        create(&slices, "default", slice);
        assert_eq!(due(), ["v1.b.example.com"]);
        delete(&services, "default", "c");
        assert_eq!(due(), [""; 0], "nobody names it");
        delete(&services, "default", "a");
        assert_eq!(due(), ["v1.a.example.com"]);
        delete(&slices, "default", "x");
        delete(&apis, "", "v1.a.example.com");
        assert_eq!(due(), ["v1.a.example.com", "v1.b.example.com"]);
    }
}
