//! What every namespace has: the service account `default` and the CA's certificate in `kube-root-ca.crt`
//! (`pkg/controller/serviceaccount`, `pkg/controller/certificates/rootcacertpublisher`).

use std::collections::BTreeSet;

use serde_json::json;

use super::manager::{Action, Controller, Now, Plan};
use super::object::Object;
use super::world::{Key, World, gvr};
use crate::local::{EventKind, WatchEvent};
use crate::status::Status;

const ROOT_CA: &str = "kube-root-ca.crt";

pub(crate) struct Accounts {
    ca: String,
}

impl Accounts {
    pub(crate) fn new(ca: &str) -> Self {
        Self { ca: ca.to_owned() }
    }
}

impl Controller for Accounts {
    fn observe(&mut self, e: &WatchEvent, _: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::NAMESPACES && e.kind != EventKind::Deleted {
            queue.insert(Key::of(&e.object));
        } else if (e.gvr == gvr::SERVICE_ACCOUNTS && e.object.name() == "default" && e.kind == EventKind::Deleted)
            || (e.gvr == gvr::CONFIG_MAPS && e.object.name() == ROOT_CA && e.kind != EventKind::Added)
        {
            queue.insert(Key::new("", e.object.namespace()));
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, _: Now) -> Plan {
        let mut plan = Plan::default();
        if world.get(&gvr::NAMESPACES, "", &key.name).is_none_or(|n| n.deleting()) {
            return plan;
        }
        if world.get(&gvr::SERVICE_ACCOUNTS, &key.name, "default").is_none() {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": key.name}});
            plan.create(&gvr::SERVICE_ACCOUNTS, &key.name, account);
        }
        match world.get(&gvr::CONFIG_MAPS, &key.name, ROOT_CA) {
            None => {
                let note = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed \
                    across distributions of Kubernetes clusters.";
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": ROOT_CA, "namespace": key.name, "annotations": {"kubernetes.io/description": note}},
                    "data": {"ca.crt": self.ca}});
                plan.create(&gvr::CONFIG_MAPS, &key.name, map);
            }
            Some(m) if m.at("/data/ca.crt").and_then(|c| c.as_str()) != Some(&self.ca) => {
                let mut map = (*m).clone();
                map["data"] = json!({"ca.crt": self.ca});
                plan.update(&gvr::CONFIG_MAPS, map);
            }
            Some(_) => {}
        }
        plan
    }

    fn refused(&mut self, _: &Key, _: &Action, why: &Status, _: &World, _: Now) -> Option<Plan> {
        // Somebody else made it, or the namespace went: both are fine.
        (why.reason == "AlreadyExists" || why.code == 404 || why.code == 403).then(Plan::default)
    }
}
