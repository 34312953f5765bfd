//! Bindings.

use std::collections::BTreeSet;
use std::sync::Arc;

use cfn_api::cfn::TaskType;
use cfn_api::karmada::work::AggregatedStatusItem;
use kube::api::DynamicObject;

use crate::controllers::hub::{Binding, Hub, Key, State};
use crate::controllers::schedule;
use crate::controllers::watches::known;
use crate::engine::Resident;

impl State {
    /// What a binding has where, for the tasks that compete with it.
    pub(super) fn settle(&mut self, b: &Binding) {
        let task = self
            .computing_policy(b)
            .filter(|p| p.latency.is_some())
            .map(|p| p.task_type);
        let request = b
            .spec
            .replica_requirements
            .as_ref()
            .map(|r| r.resource_request.clone())
            .unwrap_or_default();
        let key = b.key().to_string();
        let shown = |cluster: &str| {
            let item: Option<&AggregatedStatusItem> =
                b.status.aggregated_status.iter().find(|i| i.cluster_name == cluster);
            let n = item
                .and_then(|i| i.status.as_ref())
                .and_then(|s| s.get("replicas"))
                .and_then(serde_json::Value::as_i64);
            i32::try_from(n.unwrap_or(0)).unwrap_or(0)
        };
        let targets = self.placed(&b.key(), b).to_vec();
        self.expect(b, &targets);
        let residents: Vec<(String, Resident)> = targets
            .iter()
            .map(|t| {
                let (replicas, shown) = (t.replicas, shown(&t.name));
                let r = Resident {
                    binding: key.clone(),
                    task,
                    replicas,
                    shown,
                    request: request.clone(),
                };
                (t.name.clone(), r)
            })
            .collect();
        self.fleet.settle(&key, residents);
    }
}

impl Hub {
    pub(in crate::controllers) fn saw_binding(&self, object: DynamicObject) {
        let Some(b) = Binding::read(object) else { return };
        let key = b.key();
        let mut state = self.state();
        let old = state.bindings.get(&key).cloned();
        if known(old.as_ref().map(|o| &o.meta), &b.meta) {
            return;
        }
        let b = Arc::new(b);
        state.bindings.insert(key.clone(), Arc::clone(&b));
        let known = state.assumed.get(&key);
        if known.is_some_and(|(version, t)| *t == b.spec.clusters || *version != b.meta.resource_version) {
            state.assumed.remove(&key);
        }
        state.settle(&b);
        if b.spec.propagate_deps == Some(true) && !b.deleting() {
            state.followed.insert(key.clone());
        }
        let moved = old.as_ref().is_none_or(|o| {
            o.spec.clusters != b.spec.clusters || o.status.aggregated_status != b.status.aggregated_status
        });
        if moved {
            self.yield_to(&state, &b);
        }
        // A change of the status alone is our own, or none that asks for a decision.
        let order = old
            .as_ref()
            .is_none_or(|o| o.spec != b.spec || o.meta.deletion_timestamp != b.meta.deletion_timestamp);
        let labelled = old
            .as_ref()
            .is_none_or(|o| o.meta.labels != b.meta.labels || o.meta.annotations != b.meta.annotations);
        let followed = state.followed.contains(&key);
        if order && !key.ns.is_empty() {
            for k in state.quotas.keys().filter(|k| k.ns == key.ns) {
                self.quota.add_after(k.clone(), crate::controllers::status::COALESCE);
            }
            let gone = old.as_ref().is_some_and(|o| o.spec.clusters != b.spec.clusters);
            if gone {
                // Company came or went, and a quota may have room.
                schedule::stir(self, &state);
            }
        }
        if self.options.timers.descheduler.is_some() {
            for cluster in state.waits_on(&b) {
                self.deschedule.add(cluster.clone());
            }
        }
        drop(state);
        self.release_later(&b.spec.clusters);
        if order || labelled {
            self.schedule.add_with(key.clone(), schedule::priority(&b.spec));
        }
        if order || labelled {
            self.bind.add(key.clone());
        }
        if followed && (order || labelled) {
            self.depend.add(key.clone());
        }
        let tasks = !b.spec.graceful_eviction_tasks.is_empty();
        let placed = old
            .as_ref()
            .is_none_or(|o| o.spec.clusters != b.spec.clusters || o.spec.placement != b.spec.placement);
        let watched = b.spec.failover.as_ref().is_some_and(|f| f.application.is_some());
        if tasks || placed || watched {
            self.evict.add(key);
        }
    }

    /// A task that yields to this one may have to leave a site they share.
    pub(super) fn yield_to(&self, state: &State, b: &Binding) {
        let Some(task) = state.computing_policy(b).map(|p| p.task_type) else {
            return;
        };
        let me = b.key().to_string();
        let mut others: BTreeSet<(Option<TaskType>, String)> = BTreeSet::new();
        for t in &b.spec.clusters {
            others.extend(
                state
                    .fleet
                    .residents(&t.name)
                    .filter(|r| r.binding != me && r.task.is_some_and(|o| o > task))
                    .map(|r| (r.task, r.binding.clone())),
            );
        }
        for (_, other) in others {
            let (ns, name) = other.split_once('/').unwrap_or(("", &other));
            self.schedule.add(Key::new(ns, name));
        }
    }

    pub(super) fn lost_binding(&self, key: &Key) {
        let mut state = self.state();
        let old = state.bindings.remove(key);
        if let Some(old) = &old {
            state.assumed.remove(key);
            state.expect(old, &[]);
        }
        state.fleet.settle(&key.to_string(), []);
        state.outcomes.remove(key);
        state.unschedulable.remove(key);
        let followed = state.followed.remove(key);
        self.reconsider(&state);
        schedule::stir(self, &state);
        for k in state.quotas.keys().filter(|k| k.ns == key.ns) {
            self.quota.add(k.clone());
        }
        drop(state);
        if followed {
            self.depend.add(key.clone());
        }
        self.bind.add(key.clone());
    }
}
