//! Cluster roles that are made of others: their rules are those of the roles that they select
//! (`pkg/controller/clusterroleaggregation`), written down with each write of a cluster role.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Server;
use crate::auth::CLUSTER_ROLES;
use crate::patch;
use crate::select::LabelSelector;
use crate::store::{Expect, Key, Object};

/// Who writes them upstream.
const MANAGER: &str = "clusterrole-aggregation-controller";

/// Brings up to date what is made of a role that was written: `new` is `None` where it is gone.
pub(super) fn written(server: &Server, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
    // Nothing selects what has no labels.
    let counts = |o: &Arc<Object>| {
        let value = o.value();
        value["aggregationRule"].is_object() || value["metadata"]["labels"].is_object()
    };
    if old.into_iter().chain(new).any(counts) {
        settle(server);
    }
}

/// Writes the rules that changed. A role may be made of one that is made of others, so all are looked at again after a
/// change: as often as there are such roles, which is enough where they do not select one another.
pub(super) fn settle(server: &Server) {
    let list = || server.store.list(&CLUSTER_ROLES, None, None).objects;
    let mut all = list();
    let made_of_others = |o: &&Arc<Object>| o.value()["aggregationRule"].is_object();
    for _ in 0..all.iter().filter(made_of_others).count() {
        let mut changed = false;
        for role in all.iter().filter(made_of_others) {
            let rules = rules(role, &all);
            let value = role.value();
            if value["rules"].as_array().map_or(&[][..], Vec::as_slice) != rules {
                // Who wrote in between has it looked at again.
                changed |= write(server, role, &value, &rules);
            }
        }
        if !changed {
            return;
        }
        all = list();
    }
}

/// The rules of the roles that `role` selects, selector by selector, by name; each once.
fn rules(role: &Arc<Object>, all: &[Arc<Object>]) -> Vec<Value> {
    let mut rules = Vec::new();
    let value = role.value();
    let selectors = value["aggregationRule"]["clusterRoleSelectors"].as_array();
    for selector in selectors.into_iter().flatten() {
        let Ok(selector) = LabelSelector::from_object(selector) else {
            continue;
        };
        for other in all.iter().filter(|o| o.name() != role.name()) {
            let other = other.value();
            if !selector.matches(&other["metadata"]["labels"]) {
                continue;
            }
            for rule in other["rules"].as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    rules
}

/// Whether it was written.
fn write(server: &Server, role: &Arc<Object>, value: &Value, rules: &[Value]) -> bool {
    let Some(r) = server
        .catalog
        .find(&CLUSTER_ROLES.group, &CLUSTER_ROLES.version, &CLUSTER_ROLES.resource)
    else {
        return false;
    };
    let applied =
        json!({"apiVersion": r.api_version, "kind": r.kind, "metadata": {"name": role.name()}, "rules": rules});
    match patch::apply(
        Some(value),
        &applied,
        MANAGER,
        &r.schema(),
        true,
        "",
        &server.now(),
        &[],
    ) {
        Ok(new) => {
            let (key, as_it_was) = (Key::new("", role.name()), Expect::Revision(role.revision));
            server.store.put(&r.storage, key, as_it_was, new).is_ok()
        }
        Err(e) => {
            tracing::error!(error = %e, "rules of {}", role.name());
            false
        }
    }
}
