//! Resource quotas: what is used of them, in their status (`pkg/controller/resourcequota`).

use std::collections::BTreeSet;

use serde_json::json;

use super::manager::{Controller, Now, Plan};
use super::object::Object;
use super::world::{Key, World, gvr};
use crate::local::WatchEvent;
use crate::registry::{quota_amounts, quota_used};

pub(crate) struct Quotas;

impl Controller for Quotas {
    fn observe(&mut self, e: &WatchEvent, world: &World, _: Now, queue: &mut BTreeSet<Key>) {
        let ns = e.object.namespace();
        if ns.is_empty() {
            return;
        }
        // What is about to be counted anew anyway.
        queue.extend(world.list_in(&gvr::RESOURCE_QUOTAS, ns).map(|q| Key::of(&q)));
    }

    fn reconcile(&mut self, key: &Key, world: &World, _: Now) -> Plan {
        let mut plan = Plan::default();
        let Some(quota) = world.get(&gvr::RESOURCE_QUOTAS, &key.ns, &key.name) else {
            return plan;
        };
        let content: Vec<_> = world.content(&key.ns).collect();
        let used = quota_used(&quota, content.iter().map(|(g, v)| (*g, &**v)));
        let status = json!({"hard": quota["spec"]["hard"], "used": quota_amounts(&used)});
        if quota.get("status") != Some(&status) && !quota["spec"]["hard"].is_null() {
            let mut changed = (*quota).clone();
            changed["status"] = status;
            plan.update_status(&gvr::RESOURCE_QUOTAS, changed);
        }
        plan
    }
}
