//! Members, their leases, and what is judged by them.

use std::sync::Arc;

use cfn_api::cfn::ComputingMetric;
use cfn_api::conditions;
use cfn_api::karmada::cluster::{Cluster, READY};
use cfn_api::karmada::policy::ReplicaSchedulingType;
use k8s_openapi::api::coordination::v1::Lease;

use crate::controllers::hub::{Binding, Hub, Key, State};
use crate::controllers::namespaces::{InMembers, propagated};
use crate::controllers::schedule;
use crate::controllers::watches::stale;
use crate::engine::Member;

impl State {
    pub(super) fn refresh_member(&mut self, name: &str) {
        if let Some(c) = self.clusters.get(name) {
            let metric = self.metrics.get(name).map(|m| ComputingMetric::clone(m));
            self.fleet.insert(Member::new(Cluster::clone(c), metric));
            self.reported(name);
        }
    }
}

impl Hub {
    pub(super) fn saw_cluster(&self, c: Cluster) {
        let name = c.metadata.name.clone().unwrap_or_default();
        let mut state = self.state();
        let old = state.clusters.get(&name).cloned();
        if stale(old.as_ref().map(|o| &o.metadata), &c.metadata) {
            return;
        }
        let new = Arc::new(c);
        state.clusters.insert(name.clone(), Arc::clone(&new));
        state.refresh_member(&name);
        let apis = |c: &Cluster| c.status.as_ref().map(|s| s.api_enablements.clone());
        let room = |c: &Cluster| c.status.as_ref().map(|s| s.resource_summary.clone());
        let old = old.as_deref();
        let identity = old.is_none_or(|o| {
            o.metadata.labels != new.metadata.labels
                || o.spec != new.spec
                || o.metadata.deletion_timestamp != new.metadata.deletion_timestamp
                || apis(o) != apis(&new)
        });
        let capacity = old.is_none_or(|o| room(o) != room(&new));
        let health = old.is_none_or(|o| ready(o) != ready(&new));
        // What a ClusterTaintPolicy may go by.
        let said = !state.taint_policies.is_empty()
            && old
                .is_none_or(|o| o.status.as_ref().map(|s| &s.conditions) != new.status.as_ref().map(|s| &s.conditions));
        let tainted =
            old.is_none_or(|o| o.spec.taints != new.spec.taints || o.metadata.annotations != new.metadata.annotations);
        if capacity || identity || health || tainted {
            schedule::stir(self, &state);
        }
        // A report of room alone concerns those who look for the best room all the time, and nobody else.
        let weighing = capacity && !state.computing.is_empty();
        if identity || health || tainted || weighing {
            for (key, b) in &state.bindings {
                let here = b.spec.clusters.iter().any(|t| t.name == name);
                let leaving = b.spec.graceful_eviction_tasks.iter().any(|t| t.from_cluster == name);
                if tainted && (here || leaving) || health && !b.spec.graceful_eviction_tasks.is_empty() {
                    self.evict.add(key.clone());
                }
                let later = b.status.scheduler_observing_affinity_name.is_some();
                if identity && (everywhere(b) || here)
                    || (capacity || identity) && state.computing_policy(b).is_some()
                    || (health || tainted) && later
                {
                    self.schedule.add_with(key.clone(), schedule::priority(&b.spec));
                }
            }
        }
        let new_here = old.is_none();
        if new_here || identity {
            if new_here {
                for (n, _) in state.namespaces.iter().filter(|(_, ns)| propagated(ns)) {
                    self.namespace.add(InMembers::one(n, &name));
                }
            }
            for k in state.quotas.keys() {
                self.quota.add(k.clone());
            }
            // What an override means may have changed with the cluster's labels.
            if !state.overrides.is_empty() {
                for (key, b) in &state.bindings {
                    if b.spec.clusters.iter().any(|t| t.name == name) {
                        self.bind.add(key.clone());
                    }
                }
            }
        }
        let waits = new.status.as_ref().is_some_and(|s| !s.unschedulable.is_empty());
        if identity || capacity || tainted {
            crate::controllers::ocm::reconsider(self, &state);
        }
        drop(state);
        if waits && self.options.timers.descheduler.is_some() {
            self.deschedule.add(name.clone());
        }
        if identity || health || tainted {
            self.cluster.add(name.clone());
        }
        if health || identity || said {
            self.health.add(name);
        }
    }

    pub(super) fn lost_cluster(&self, key: &Key) {
        let mut state = self.state();
        state.clusters.remove(&key.name);
        state.fleet.remove(&key.name);
        for (k, b) in &state.bindings {
            if everywhere(b) || b.spec.clusters.iter().any(|t| t.name == key.name) {
                self.schedule.add(k.clone());
            }
        }
        drop(state);
        self.health.add(key.name.clone());
    }

    /// Every cluster is judged anew.
    pub(super) fn judge_all(&self) {
        for name in self.state().clusters.keys() {
            self.health.add(name.clone());
        }
    }

    pub(super) fn saw_lease(&self, l: Lease) {
        let name = l.metadata.name.clone().unwrap_or_default();
        // By our clock, when it was seen to change: the agent's clock may be off.
        let now = self.now();
        self.state().leases.insert(name.clone(), now);
        self.health.add(name);
    }

    pub(super) fn lost_lease(&self, key: &Key) {
        self.health.add(key.name.clone());
    }
}

pub(in crate::controllers) fn ready(c: &Cluster) -> Option<&str> {
    let s = c.status.as_ref()?;
    conditions::get(&s.conditions, READY).map(|c| c.status.as_str())
}

/// Whether a binding goes wherever it may: copies, or no replicas at all.
fn everywhere(b: &Binding) -> bool {
    let strategy = b.spec.placement.as_ref().and_then(|p| p.replica_scheduling.as_ref());
    b.spec.replicas == 0 || strategy.and_then(|s| s.replica_scheduling_type) != Some(ReplicaSchedulingType::Divided)
}
