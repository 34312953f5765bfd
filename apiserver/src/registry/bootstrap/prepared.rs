//! Objects that are the same in every cluster but for their uids and times: the roles with their bindings
//! (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`), flow schemas and priority levels. They are admitted once in a
//! process, and put into each cluster as they came out of that.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::{RBAC, flow, recorded};
use crate::auth::signing::SigningKey;
use crate::auth::{BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, FLOWS, LEVELS, ROLES};
use crate::local::Gvr;
use crate::registry::{Server, Settings};
use crate::store::{Expect, Key, Store};

/// When they were admitted: stands in for when a cluster starts.
const ADMITTED: &str = "1970-01-01T00:00:00Z";

/// In the order in which they are put: a flow schema finds its level.
static RESOURCES: [Gvr; 6] = [CLUSTER_ROLES, CLUSTER_BINDINGS, ROLES, BINDINGS, LEVELS, FLOWS];

struct Prepared {
    resource: &'static Gvr,
    key: Key,
    value: Value,
}

static ALL: LazyLock<Vec<Prepared>> = LazyLock::new(prepare);

/// A clock that stands.
struct Standing;

impl cfn_net::Clock for Standing {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }
}

fn prepare() -> Vec<Prepared> {
    let settings = Settings {
        name: String::new(),
        admission: crate::defaults::AdmissionOptions::default(),
        ca_pem: String::new(),
        bootstrap_token: String::new(),
        allow_anonymous_health: false,
    };
    let (seed, store) = (cfn_net::Seed(0), Store::default());
    let server = Server::empty(settings, Arc::new(Standing), seed, store, SigningKey::seeded(seed));
    for name in super::NAMESPACES {
        super::create(
            &server,
            "kube-apiserver",
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        );
    }
    for mut object in recorded(include_bytes!("../../../data/policy.json.gz")) {
        // There is no authorizer of nodes, which know what of others belongs to which node: a role is for all of them.
        if object["kind"] == "ClusterRoleBinding" && object["metadata"]["name"] == "system:node" {
            object["subjects"] = json!([{"apiGroup": RBAC, "kind": "Group", "name": "system:nodes"}]);
        }
        super::create(&server, "kube-apiserver", object);
    }
    for (kind, objects) in [
        ("PriorityLevelConfiguration", flow::levels()),
        ("FlowSchema", flow::schemas()),
    ] {
        for mut object in objects {
            object["apiVersion"] = json!(format!("{}/{}", FLOWS.group, FLOWS.version));
            object["kind"] = json!(kind);
            super::create(&server, flow::PRODUCER, object);
        }
    }
    let all = RESOURCES.iter().flat_map(|resource| {
        let objects = server.store.list(resource, None, None).objects;
        objects.into_iter().map(move |o| Prepared {
            resource,
            key: (**o.key()).clone(),
            value: (*o.value()).clone(),
        })
    });
    all.collect()
}

/// Puts into `server`'s store what is not there.
pub(super) fn put(server: &Server) {
    let now = server.now();
    for p in ALL.iter() {
        let of = p.resource;
        let Some(r) = server.catalog.find(&of.group, &of.version, &of.resource) else {
            continue;
        };
        if server.store.get(&r.storage, &p.key).is_some() {
            continue;
        }
        let mut value = p.value.clone();
        born(&mut value, server.uid(), &now);
        // Nobody else has the store yet.
        if let Err(e) = server.store.put(&r.storage, p.key.clone(), Expect::Absent, value) {
            tracing::error!(error = %e, "{} {}", of.resource, p.key.name);
        }
    }
}

/// Gives an object its uid, and `now` for each time that is told in it.
fn born(value: &mut Value, uid: String, now: &str) {
    let metadata = &mut value["metadata"];
    metadata["uid"] = Value::String(uid);
    metadata["creationTimestamp"] = json!(now);
    if let Value::String(owners) = &mut metadata["managedFields"] {
        *owners = owners.replace(ADMITTED, now);
    }
    let conditions = value.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        condition["lastTransitionTime"] = json!(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_can_be_read() {
        assert_eq!(recorded(include_bytes!("../../../data/policy.json.gz")).len(), 57);
        assert_eq!(recorded(include_bytes!("../../../data/controllers.json.gz")).len(), 76);
    }

    #[test]
    fn nothing_of_when_they_were_admitted_is_left() {
        assert_eq!(ALL.len(), 57 + 8 + 11);
        for p in ALL.iter() {
            let mut value = p.value.clone();
            assert!(value.to_string().contains(ADMITTED));
            assert!(value["metadata"]["managedFields"].is_string(), "{}", p.key.name);
            born(&mut value, "u".to_owned(), "2026-01-01T00:00:00Z");
            assert!(!value.to_string().contains(ADMITTED), "{value}");
        }
    }
}
