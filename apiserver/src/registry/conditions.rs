//! What the server itself says in the statuses of flow schemas and API services: whether the priority level of the one is
//! there (`apiserver/pkg/util/flowcontrol`), which upstream's controller finds in the background and is said here at once;
//! and whether the other can be reached, which [`crate::aggregator`] finds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::meta::rfc3339;
use super::strategy::reset_fields;
use super::{Resource, Server, bootstrap, service_ranges, text};
use crate::aggregator;
use crate::auth::{FLOWS, LEVELS};
use crate::controllers::object::set_condition;
use crate::local::Gvr;
use crate::patch;
use crate::store::{Expect, Key, Object, StoreError};

/// Who says it of flow schemas.
const CONSUMER: &str = "api-priority-and-fairness-config-consumer-v1";

/// Who says it of the range of services that the server was started with.
const CIDR_CONTROLLER: &str = "kubernetes-service-cidr-controller";

/// A condition that should be there.
pub(crate) struct Condition {
    pub(crate) kind: &'static str,
    pub(crate) holds: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The condition of an API service that this server is itself.
pub(super) fn local(now: &str) -> Value {
    json!({"type": "Available", "status": "True", "lastTransitionTime": now, "reason": "Local",
        "message": "Local APIServices are always available"})
}

/// Brings up to date what depends on objects of `r`: `new` is `None` where one is gone.
pub(super) fn settle(server: &Server, r: &Resource, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
    if r.group == "flowcontrol.apiserver.k8s.io" {
        if let Some(object) = new.or(old) {
            bootstrap::ensure(server, r, object.name());
        }
        for flow in server.store.list(&FLOWS, None, None).objects {
            let level = text(&flow.value(), "/spec/priorityLevelConfiguration/name").to_owned();
            let found = server.store.get(&LEVELS, &Key::new("", level.as_str())).is_some();
            // Who wrote in between has it looked at again.
            server.say(&FLOWS, &flow, &dangling(&level, found));
        }
    } else if r.is("networking.k8s.io", "servicecidrs") {
        // The range that the server was started with is its own; others are for controllers to say something of.
        service_ranges::keep_own(server);
    } else if r.is("rbac.authorization.k8s.io", "clusterroles") {
        super::aggregated_roles::written(server, old, new);
    } else if aggregator::is_about(r) {
        server.look_at_remotes(r, old, new);
    }
}

fn dangling(level: &str, found: bool) -> Condition {
    let (reason, then) = match found {
        true => ("Found", "and it exists"),
        false => ("NotFound", "but there is no such object"),
    };
    let level = crate::schema::quote(level);
    Condition {
        kind: "Dangling",
        holds: !found,
        reason,
        message: format!("This FlowSchema references the PriorityLevelConfiguration object named {level} {then}"),
    }
}

impl Server {
    /// Writes a condition of an object without a namespace that is not there yet; `false`: somebody else wrote in between.
    pub(crate) fn say(&self, of: &Gvr, object: &Arc<Object>, c: &Condition) -> bool {
        let now = self.clock.now();
        let old = object.value();
        let state = if c.holds { "True" } else { "False" };
        let mut conditions = old["status"]["conditions"].as_array().into_iter().flatten();
        let is_there = |o: &Value| {
            let said = (
                text(o, "/type"),
                text(o, "/status"),
                text(o, "/reason"),
                text(o, "/message"),
            );
            said == (c.kind, state, c.reason, c.message.as_str())
        };
        if conditions.any(is_there) {
            return true;
        }
        let mut new = (*old).clone();
        let Some(r) = self.catalog.find(&of.group, &of.version, &of.resource) else {
            return true;
        };
        if !set_condition(&mut new, c.kind, state, c.reason, &c.message, now) {
            return true;
        }
        let (schema, stamp) = (r.schema(), rfc3339(now));
        let applier = match &*r.plural {
            "flowschemas" => Some(CONSUMER),
            "servicecidrs" => Some(CIDR_CONTROLLER),
            _ => None,
        };
        if let Some(applier) = applier {
            let mut all = new["status"]["conditions"].as_array().cloned().unwrap_or_default();
            all.retain(|there| there["type"] == c.kind);
            // Whoever applies says nothing of what is empty.
            for said in all.iter_mut().filter_map(Value::as_object_mut) {
                said.retain(|_, v| *v != "");
            }
            let applied = json!({"apiVersion": r.api_version, "kind": r.kind, "metadata": {"name": object.name()},
            "status": {"conditions": all}});
            match patch::apply(Some(&old), &applied, applier, &schema, true, "status", &stamp, &[]) {
                Ok(v) => {
                    new = v;
                    let all = new["status"]["conditions"].as_array_mut().into_iter().flatten();
                    for said in all.filter_map(Value::as_object_mut) {
                        said.entry("reason").or_insert_with(|| "".into());
                    }
                }
                Err(e) => {
                    tracing::error!(error = %e, "condition of {}", object.name());
                    return true;
                }
            }
            let key = Key::new("", object.name());
            return self
                .store
                .put(&r.storage, key, Expect::Revision(object.revision), new)
                .is_ok();
        }
        self.put_own_status(&r, object, new).is_ok()
    }

    /// Writes what this server itself says in a status, as its own, unless somebody wrote in between.
    pub(crate) fn put_own_status(
        &self,
        r: &Resource,
        old: &Arc<Object>,
        mut new: Value,
    ) -> Result<Arc<Object>, StoreError> {
        let (schema, now) = (r.schema(), self.now());
        let reset = reset_fields(r, Some("status"));
        patch::track_update(
            Some(&old.value()),
            &mut new,
            "kube-apiserver",
            "status",
            &schema,
            &now,
            reset,
        );
        let key = Key::new(old.namespace(), old.name());
        self.store.put(&r.storage, key, Expect::Revision(old.revision), new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Call, DeleteOptions};

    fn create(server: &Server, plural: &str, v: Value) -> Arc<Value> {
        let r = server.catalog.find(&FLOWS.group, "v1", plural).unwrap();
        server
            .create(&mut Call::internal("test"), &r, "", None, v)
            .unwrap()
            .value()
    }

    fn condition(server: &Server, of: &Gvr, name: &str) -> Value {
        let found = server.store.get(of, &Key::new("", name)).unwrap().value();
        found["status"]["conditions"][0].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flow_schema_dangles_while_its_level_is_not_there() {
        let server = Server::for_tests();
        let flow = json!({"metadata": {"name": "f"}, "spec": {"priorityLevelConfiguration": {"name": "l"}}});
        create(&server, "flowschemas", flow);
        let told = condition(&server, &FLOWS, "f");
        assert_eq!((text(&told, "/status"), text(&told, "/reason")), ("True", "NotFound"));
        let level = json!({"metadata": {"name": "l"}, "spec": {"type": "Limited",
            "limited": {"nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}}}});
        create(&server, "prioritylevelconfigurations", level);
        let told = condition(&server, &FLOWS, "f");
        assert_eq!((text(&told, "/status"), text(&told, "/reason")), ("False", "Found"));
        let levels = server.catalog.find(&LEVELS.group, "v1", &LEVELS.resource).unwrap();
        let mut call = Call::internal("test");
        server
            .delete(&mut call, &levels, "", "l", &DeleteOptions::default())
            .unwrap();
        assert_eq!(text(&condition(&server, &FLOWS, "f"), "/reason"), "NotFound");
    }

    #[tokio::test(start_paused = true)]
    async fn a_condition_is_written_once_and_over_nothing_newer() {
        let server = Server::for_tests();
        let flow = json!({"metadata": {"name": "f"}, "spec": {"priorityLevelConfiguration": {"name": "l"}}});
        create(&server, "flowschemas", flow);
        let get = || server.store.get(&FLOWS, &Key::new("", "f")).unwrap();
        let (before, there) = (get(), dangling("l", false));
        assert!(server.say(&FLOWS, &before, &there));
        assert_eq!(get().revision, before.revision, "it stands already");
        assert!(server.say(&FLOWS, &before, &dangling("l", true)));
        assert!(get().revision > before.revision);
        // Who looked before that does not undo it.
        assert!(!server.say(&FLOWS, &before, &dangling("m", true)));
        assert_eq!(text(&condition(&server, &FLOWS, "f"), "/reason"), "Found");
    }
}
