//! Objects that are the same in every cluster but for their uids and times: the roles with their bindings
//! (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`), flow schemas and priority levels, the APIServices of
//! built-in groups. They are admitted once in a process, and put into each cluster as they came out of that.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use super::{RBAC, flow, recorded};
use crate::aggregator::{self, SERVERS};
use crate::auth::signing::SigningKey;
use crate::auth::{BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, FLOWS, LEVELS, ROLES};
use crate::local::Gvr;
use crate::registry::{Call, Resource, Server, Settings, Target};
use crate::store::{Expect, Key, ResourceKey, Store};

/// When they were admitted: stands in for when a cluster starts.
const ADMITTED: &str = "1970-01-01T00:00:00Z";

/// In the order in which they are put: a flow schema finds its level.
static RESOURCES: [Gvr; 7] = [CLUSTER_ROLES, CLUSTER_BINDINGS, ROLES, BINDINGS, LEVELS, FLOWS, SERVERS];

struct Prepared {
    resource: ResourceKey,
    key: Key,
    value: Value,
}

static ALL: OnceLock<Vec<Prepared>> = OnceLock::new();

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
    for object in aggregator::builtin() {
        super::create(&server, "kube-apiserver", object);
    }
    let all = RESOURCES.iter().flat_map(|resource| {
        let objects = server.store.list(resource, None, None).objects;
        let found = server
            .catalog
            .find(&resource.group, &resource.version, &resource.resource);
        let stored = found.map_or_else(|| Arc::new(resource.clone()), |r| r.storage.clone());
        objects.into_iter().map(move |o| Prepared {
            resource: stored.clone(),
            key: (**o.key()).clone(),
            value: (*o.value()).clone(),
        })
    });
    all.collect()
}

/// Puts into `server`'s store what is not there. Of a store that was kept, flow schemas and priority levels become those of
/// this program where nobody has said that they are theirs.
pub(super) fn put(server: &Server) {
    for p in ALL.get_or_init(prepare) {
        if server.store.get(&p.resource, &p.key).is_none() {
            put_one(server, p);
        } else if p.resource.group == FLOWS.group
            && let Some(r) = server.catalog.find(&FLOWS.group, &FLOWS.version, &p.resource.resource)
        {
            ensure(server, &r, &p.key.name);
        }
    }
}

fn put_one(server: &Server, p: &Prepared) {
    let mut value = p.value.clone();
    born(&mut value, server.uid(), &server.now());
    if let Err(e) = server.store.put(&p.resource, p.key.clone(), Expect::Absent, value) {
        tracing::error!(error = %e, "{} {}", p.resource, p.key.name);
    }
}

/// A flow schema or priority level that a cluster starts with is there again when somebody deleted it, and as it was unless
/// who changed it says that it is theirs (`pkg/registry/flowcontrol/ensurer`, which looks every minute).
pub(in crate::registry) fn ensure(server: &Server, r: &Resource, name: &str) {
    let is_it = |p: &&Prepared| p.resource == r.storage && p.key.name == name;
    // There are none while they are admitted.
    let Some(p) = ALL.get().and_then(|all| all.iter().find(is_it)) else {
        return;
    };
    let Some(there) = server.store.get(&p.resource, &p.key) else {
        return put_one(server, p);
    };
    let value = there.value();
    let said = value["metadata"]["annotations"][flow::AUTOUPDATE].as_str();
    let said = said.and_then(|s| s.parse().ok());
    let first = value["metadata"]["generation"] == 1;
    let ours = flow::MANDATORY.contains(&name) || said.unwrap_or(first);
    let changed = ours && value["spec"] != p.value["spec"];
    if !changed && said == Some(ours) || !value["metadata"]["deletionTimestamp"].is_null() {
        return;
    }
    let mut new = (*value).clone();
    if changed {
        new["spec"] = p.value["spec"].clone();
    }
    new["metadata"]["annotations"][flow::AUTOUPDATE] = json!(ours.to_string());
    let target = Target {
        resource: r,
        namespace: "",
        name,
        subresource: None,
    };
    // Who wrote in between has it looked at again.
    if let Err(e) = server.update(&mut Call::internal(flow::PRODUCER), &target, new) {
        tracing::debug!(error = %e, "{} {name}", p.resource);
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
        assert_eq!(
            ALL.get_or_init(prepare).len(),
            57 + 8 + 11 + aggregator::builtin().count()
        );
        for p in ALL.get_or_init(prepare) {
            let mut value = p.value.clone();
            assert!(value.to_string().contains(ADMITTED));
            assert!(value["metadata"]["managedFields"].is_string(), "{}", p.key.name);
            born(&mut value, "u".to_owned(), "2026-01-01T00:00:00Z");
            assert!(!value.to_string().contains(ADMITTED), "{value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn flow_schemas_and_levels_come_back() {
        let server = Server::for_tests();
        let r = server
            .catalog
            .find(&FLOWS.group, &FLOWS.version, &FLOWS.resource)
            .unwrap();
        let get = |name: &str| (*server.store.get(&FLOWS, &Key::new("", name)).unwrap().value()).clone();
        let change = |name: &str, change: &dyn Fn(&mut Value)| {
            let mut v = get(name);
            change(&mut v);
            let target = Target {
                resource: &r,
                namespace: "",
                name,
                subresource: None,
            };
            server.update(&mut Call::internal("test"), &target, v).unwrap();
            get(name)["spec"]["matchingPrecedence"].clone()
        };
        let precedence = |v: &mut Value| v["spec"]["matchingPrecedence"] = json!(77);
        let theirs = |v: &mut Value| {
            precedence(v);
            v["metadata"]["annotations"][flow::AUTOUPDATE] = json!("false");
        };
        let was = get("probes");
        let mut call = Call::internal("test");
        let options = crate::registry::DeleteOptions::default();
        server.delete(&mut call, &r, "", "probes", &options).unwrap();
        let is = get("probes");
        assert_eq!(is["spec"], was["spec"]);
        assert_ne!(is["metadata"]["uid"], was["metadata"]["uid"]);
        assert_eq!(change("probes", &precedence), was["spec"]["matchingPrecedence"]);
        assert_eq!(change("probes", &theirs), 77);
        // They may be changed further, ...
        assert_eq!(change("probes", &|v| v["spec"]["matchingPrecedence"] = json!(78)), 78);
        // ... and those that must be there may not.
        let not_yours = |v: &mut Value| v["metadata"]["annotations"][flow::AUTOUPDATE] = json!("false");
        assert_eq!(change("catch-all", &not_yours), 10000);
        assert_eq!(get("catch-all")["metadata"]["annotations"][flow::AUTOUPDATE], "true");
        // A store that a program with others has written.
        let key = Key::new("", "global-default");
        let there = server.store.get(&FLOWS, &key).unwrap();
        let mut old = (*there.value()).clone();
        precedence(&mut old);
        server
            .store
            .put(&r.storage, key, Expect::Revision(there.revision), old)
            .unwrap();
        put(&server);
        let of = |name: &str| get(name)["spec"]["matchingPrecedence"].clone();
        assert_eq!((of("global-default"), of("probes")), (json!(9900), json!(78)));
    }
}
