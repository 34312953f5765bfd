//! APIServices of what this server serves itself (`kube-aggregator/pkg/controllers/autoregister`,
//! `pkg/controlplane/controller/crdregistration`): of each built-in group's versions from the start, and of each version
//! that a definition serves, which come and go with it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::SERVERS;
use crate::crd::DEFINITIONS;
use crate::registry::{Call, DeleteOptions, Resource, Server, Target, text};
use crate::store::{Key, Object};

/// Who writes them.
const MANAGER: &str = "kube-apiserver";
/// Whose APIServices are brought up to date (`AutoRegisterManagedLabel`).
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// As the server starts.
const ON_START: &str = "onstart";
/// Always.
const ALWAYS: &str = "true";

/// Group, the least priority of the group, version, its priority
/// (`cmd/kube-apiserver/app/aggregator.go`, `DefaultGenericAPIServicePriorities`): those that are served by default.
const PRIORITIES: [(&str, u32, &str, u32); 21] = [
    ("", 18000, "v1", 1),
    ("apps", 17800, "v1", 15),
    ("events.k8s.io", 17750, "v1", 15),
    ("authentication.k8s.io", 17700, "v1", 15),
    ("authorization.k8s.io", 17600, "v1", 15),
    ("autoscaling", 17500, "v1", 15),
    ("autoscaling", 17500, "v2", 30),
    ("batch", 17400, "v1", 15),
    ("certificates.k8s.io", 17300, "v1", 15),
    ("networking.k8s.io", 17200, "v1", 15),
    ("policy", 17100, "v1", 15),
    ("rbac.authorization.k8s.io", 17000, "v1", 15),
    ("storage.k8s.io", 16800, "v1", 15),
    ("admissionregistration.k8s.io", 16700, "v1", 15),
    ("apiextensions.k8s.io", 16700, "v1", 15),
    ("scheduling.k8s.io", 16600, "v1", 15),
    ("coordination.k8s.io", 16500, "v1", 15),
    ("node.k8s.io", 16300, "v1", 15),
    ("discovery.k8s.io", 16200, "v1", 15),
    ("resource.k8s.io", 16200, "v1", 21),
    ("flowcontrol.apiserver.k8s.io", 16100, "v1", 21),
];
/// Of the groups of definitions, which come last, and of their versions, which are in the order of their names.
const OF_DEFINITIONS: (u32, u32) = (1000, 100);

fn spec(group: &str, group_priority: u32, version: &str, priority: u32) -> Value {
    json!({"group": group, "version": version, "groupPriorityMinimum": group_priority, "versionPriority": priority})
}

fn api_service(spec: Value, managed: &str) -> Value {
    let name = format!("{}.{}", text(&spec, "/version"), text(&spec, "/group"));
    json!({"apiVersion": SERVERS.api_version(), "kind": "APIService",
        "metadata": {"name": name, "labels": {MANAGED: managed}}, "spec": spec})
}

/// Those of the built-in groups. The one that APIServices are in has none: it is the aggregator's own.
pub(crate) fn builtin() -> impl Iterator<Item = Value> {
    PRIORITIES
        .iter()
        .map(|&(group, of_group, version, priority)| api_service(spec(group, of_group, version, priority), ON_START))
}

/// After a write to a definition: the versions that it had, and has, are served or are not.
pub(crate) fn defined(server: &Server, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
    let mut versions = BTreeSet::new();
    for object in old.into_iter().chain(new) {
        let value = object.peek();
        let all = value["spec"]["versions"].as_array().into_iter().flatten();
        versions.extend(all.map(|v| (text(&value, "/spec/group").to_owned(), text(v, "/name").to_owned())));
    }
    for (group, version) in versions {
        settle(server, &group, &version);
    }
}

/// After a write to an APIService: one that is managed is as it should be, and one that is missed is there.
pub(super) fn written(server: &Server, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
    if let Some((version, group)) = new.or(old).and_then(|o| o.name().split_once('.')) {
        settle(server, group, version);
    }
}

/// Makes, mends or removes the APIService of a group's version as a definition has it served or none does
/// (`checkAPIService`). Those that somebody else made are theirs.
fn settle(server: &Server, group: &str, version: &str) {
    let Some(r) = server.catalog.find(&SERVERS.group, &SERVERS.version, &SERVERS.resource) else {
        return;
    };
    let name = format!("{version}.{group}");
    let wanted = served(server, group, version).then(|| spec(group, OF_DEFINITIONS.0, version, OF_DEFINITIONS.1));
    let there = server.store.get(&SERVERS, &Key::new("", name.as_str()));
    if let Err(e) = bring(server, &r, &name, wanted, there) {
        tracing::debug!(error = %e, "APIService {name}");
    }
}

fn bring(
    server: &Server,
    r: &Resource,
    name: &str,
    wanted: Option<Value>,
    there: Option<Arc<Object>>,
) -> Result<(), crate::status::Status> {
    let mut call = Call::internal(MANAGER);
    let Some(there) = there else {
        if let Some(spec) = wanted {
            server.create(&mut call, r, "", None, api_service(spec, ALWAYS))?;
        }
        return Ok(());
    };
    let value = there.value();
    if value["metadata"]["labels"][MANAGED] != ALWAYS || !value["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    match wanted {
        None => {
            let this_one = DeleteOptions {
                uid: Some(text(&value, "/metadata/uid").to_owned()),
                ..DeleteOptions::default()
            };
            server.delete(&mut call, r, "", name, &this_one)?;
        }
        Some(spec) if value["spec"] != spec => {
            let mut new = (*value).clone();
            new["spec"] = spec;
            let target = Target {
                resource: r,
                namespace: "",
                name,
                subresource: None,
            };
            server.update(&mut call, &target, new)?;
        }
        Some(_) => {}
    }
    Ok(())
}

/// Whether a definition has that version served.
fn served(server: &Server, group: &str, version: &str) -> bool {
    let serves = |o: &Arc<Object>| {
        let value = o.peek();
        let mut versions = value["spec"]["versions"].as_array().into_iter().flatten();
        text(&value, "/spec/group") == group && versions.any(|v| v["name"] == version && v["served"] == true)
    };
    server.store.list(&DEFINITIONS, None, None).objects.iter().any(serves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_version_has_one_but_that_of_apiservices() {
        let catalog = crate::registry::Catalog::default();
        let mut served: BTreeSet<String> = catalog
            .all()
            .iter()
            .map(|r| format!("{}.{}", r.version, r.group))
            .collect();
        assert!(served.remove("v1.apiregistration.k8s.io"));
        let named: BTreeSet<String> = builtin().map(|s| text(&s, "/metadata/name").to_owned()).collect();
        assert_eq!(named, served);
    }

    fn definition(plural: &str, versions: &[(&str, bool)]) -> Value {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let versions = versions
            .iter()
            .enumerate()
            .map(|(i, (name, served))| json!({"name": name, "served": served, "storage": i == 0, "schema": schema}));
        let kind = plural.to_uppercase();
        json!({"metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": versions.collect::<Vec<_>>(),
                "names": {"plural": plural, "singular": plural, "kind": kind, "listKind": format!("{kind}List")}}})
    }

    /// Those that are not of built-in groups, with what tells whose they are.
    fn custom(server: &Server) -> Vec<(String, Value)> {
        let all = server.store.list(&SERVERS, None, None).objects;
        let of_groups = all.iter().filter(|o| o.name().ends_with("example.com"));
        of_groups
            .map(|o| (o.name().to_owned(), o.value()["metadata"]["labels"][MANAGED].clone()))
            .collect()
    }

    struct As<'a> {
        server: &'a Server,
        resource: Arc<Resource>,
    }

    impl<'a> As<'a> {
        fn of(server: &'a Server, gvr: &crate::local::Gvr) -> Self {
            let resource = server.catalog.find(&gvr.group, &gvr.version, &gvr.resource).unwrap();
            Self { server, resource }
        }

        fn create(&self, v: Value) {
            let mut call = Call::internal("test");
            self.server.create(&mut call, &self.resource, "", None, v).unwrap();
        }

        fn update(&self, name: &str, change: impl Fn(&mut Value)) {
            let key = Key::new("", name);
            let mut v = (*self.server.store.get(&self.resource.storage, &key).unwrap().value()).clone();
            change(&mut v);
            let target = Target {
                resource: &self.resource,
                namespace: "",
                name,
                subresource: None,
            };
            self.server.update(&mut Call::internal("test"), &target, v).unwrap();
        }

        fn delete(&self, name: &str) {
            let options = DeleteOptions::default();
            let mut call = Call::internal("test");
            self.server
                .delete(&mut call, &self.resource, "", name, &options)
                .unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn they_come_and_go_with_what_is_served() {
        let server = Server::for_tests();
        let key = Key::new("", "v1.apps");
        let apps = server.store.get(&SERVERS, &key).unwrap().value();
        assert_eq!(apps["spec"], spec("apps", 17800, "v1", 15));
        assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
        let definitions = As::of(&server, &DEFINITIONS);
        definitions.create(definition("a", &[("v1", true), ("v2", false)]));
        definitions.create(definition("b", &[("v1", true)]));
        let one = |name: &str| (name.to_owned(), json!(ALWAYS));
        assert_eq!(custom(&server), [one("v1.example.com")]);
        definitions.update("a.example.com", |v| v["spec"]["versions"][1]["served"] = json!(true));
        assert_eq!(custom(&server), [one("v1.example.com"), one("v2.example.com")]);
        definitions.delete("a.example.com");
        assert_eq!(custom(&server), [one("v1.example.com")], "the other serves it still");
        definitions.delete("b.example.com");
        assert_eq!(custom(&server), []);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_managed_is_mended_and_others_are_left() {
        let server = Server::for_tests();
        let (definitions, services) = (As::of(&server, &DEFINITIONS), As::of(&server, &SERVERS));
        services.create(json!({"metadata": {"name": "v2.example.com"}, "spec": spec("example.com", 5, "v2", 5)}));
        definitions.create(definition("a", &[("v1", true), ("v2", true)]));
        let priority = |name: &str| {
            let found = server.store.get(&SERVERS, &Key::new("", name));
            found.map(|o| o.value()["spec"]["groupPriorityMinimum"].clone())
        };
        assert_eq!(priority("v2.example.com"), Some(json!(5)), "it was there before");
        services.update("v1.example.com", |v| v["spec"]["groupPriorityMinimum"] = json!(7));
        assert_eq!(priority("v1.example.com"), Some(json!(1000)));
        services.delete("v1.example.com");
        assert_eq!(priority("v1.example.com"), Some(json!(1000)));
        // Who takes the label away may say what they like.
        services.update("v1.example.com", |v| {
            v["metadata"]["labels"] = json!({});
            v["spec"]["groupPriorityMinimum"] = json!(7);
        });
        assert_eq!(priority("v1.example.com"), Some(json!(7)));
        services.create(
            json!({"metadata": {"name": "v3.example.com", "labels": {MANAGED: ALWAYS}},
            "spec": spec("example.com", 1000, "v3", 100)}),
        );
        assert_eq!(priority("v3.example.com"), None, "nothing serves it");
        services.delete("v1.example.com");
        assert_eq!(priority("v1.example.com"), Some(json!(1000)), "theirs is gone");
        // One of a built-in group is made as the server starts, and not again.
        services.delete("v1.apps");
        assert!(server.store.get(&SERVERS, &Key::new("", "v1.apps")).is_none());
    }
}
