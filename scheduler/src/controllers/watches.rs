//! The watches: they keep the caches and say which keys must be looked at.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use cfn_api::cfn::{ComputingMetric, ComputingPolicy, TaskType};
use cfn_api::karmada::apps::WorkloadRebalancer;
use cfn_api::karmada::cluster::{Cluster, READY};
use cfn_api::karmada::config::ResourceInterpreterCustomization;
use cfn_api::karmada::overrides::{ClusterOverridePolicy, OverridePolicy};
use cfn_api::karmada::policy::{ClusterPropagationPolicy, PropagationPolicy, ReplicaSchedulingType};
use cfn_api::karmada::quota::FederatedResourceQuota;
use cfn_api::karmada::taint::ClusterTaintPolicy;
use cfn_api::karmada::work::{AggregatedStatusItem, ClusterResourceBinding, ResourceBinding, Work};
use cfn_api::{conditions, names};
use cfn_net::watch::watch;
use futures::StreamExt;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::runtime::watcher::{Config, Event};
use serde::de::DeserializeOwned;

use super::hub::{Binding, Detect, Gvk, Hub, Key, Override, Policy, State};
use super::{quota, schedule};
use crate::engine::{Member, Resident};

/// Starts the watches that the controllers wait for.
pub(super) fn start(hub: &Arc<Hub>) {
    let client = || hub.options.client.clone();
    base(hub, Api::<Cluster>::all(client()), Hub::saw_cluster, Hub::lost_cluster);
    base(hub, Api::<ComputingMetric>::all(client()), Hub::saw_metric, |h, k| {
        h.lost_metric(&k.name)
    });
    base(
        hub,
        Api::<ComputingPolicy>::all(client()),
        Hub::saw_computing,
        Hub::lost_computing,
    );
    let saw = |h: &Hub, p: PropagationPolicy| {
        h.saw_policy(Policy {
            meta: p.metadata,
            spec: p.spec,
        })
    };
    base(hub, Api::<PropagationPolicy>::all(client()), saw, Hub::lost_policy);
    let saw = |h: &Hub, p: ClusterPropagationPolicy| {
        h.saw_policy(Policy {
            meta: p.metadata,
            spec: p.spec.0,
        })
    };
    base(
        hub,
        Api::<ClusterPropagationPolicy>::all(client()),
        saw,
        Hub::lost_policy,
    );
    let resource = ApiResource::erase::<ResourceBinding>(&());
    base_with(hub, hub.api(&resource, ""), Hub::saw_binding, Hub::lost_binding);
    let resource = ApiResource::erase::<ClusterResourceBinding>(&());
    base_with(hub, hub.api(&resource, ""), Hub::saw_binding, Hub::lost_binding);
    base(hub, Api::<Work>::all(client()), Hub::saw_work, Hub::lost_work);
    let leases: Api<Lease> = Api::namespaced(client(), names::LEASE_NAMESPACE);
    base(hub, leases, Hub::saw_lease, Hub::lost_lease);
    let saw = |h: &Hub, p: OverridePolicy| {
        h.saw_override(Override {
            meta: p.metadata,
            spec: p.spec,
        })
    };
    base(hub, Api::<OverridePolicy>::all(client()), saw, Hub::lost_override);
    let saw = |h: &Hub, p: ClusterOverridePolicy| {
        h.saw_override(Override {
            meta: p.metadata,
            spec: p.spec.0,
        })
    };
    base(
        hub,
        Api::<ClusterOverridePolicy>::all(client()),
        saw,
        Hub::lost_override,
    );
    let saw = |h: &Hub, r: WorkloadRebalancer| {
        let name = r.metadata.name.clone().unwrap_or_default();
        h.state().rebalancers.insert(name.clone(), Arc::new(r));
        h.rebalance.add(name);
    };
    let lost = |h: &Hub, k: &Key| {
        h.state().rebalancers.remove(&k.name);
    };
    base(hub, Api::<WorkloadRebalancer>::all(client()), saw, lost);
    let saw = |h: &Hub, n: Namespace| {
        let name = n.metadata.name.clone().unwrap_or_default();
        h.state().namespaces.insert(name.clone(), Arc::new(n));
        h.namespace.add(name);
    };
    let lost = |h: &Hub, k: &Key| {
        h.state().namespaces.remove(&k.name);
        h.namespace.add(k.name.clone());
    };
    base(hub, Api::<Namespace>::all(client()), saw, lost);
    let saw = |h: &Hub, p: ClusterTaintPolicy| {
        let name = p.metadata.name.clone().unwrap_or_default();
        h.state().taint_policies.insert(name, Arc::new(p));
        h.judge_all();
    };
    let lost = |h: &Hub, k: &Key| {
        h.state().taint_policies.remove(&k.name);
    };
    base(hub, Api::<ClusterTaintPolicy>::all(client()), saw, lost);
    let saw = |h: &Hub, q: FederatedResourceQuota| {
        let key = Key::of(&q.metadata);
        let mut state = h.state();
        let old = state.quotas.insert(key.clone(), Arc::new(q.clone()));
        if old.is_none_or(|o| o.spec != q.spec) {
            schedule::stir(h, &state);
        }
        drop(state);
        h.quota.add(key);
    };
    let lost = |h: &Hub, k: &Key| {
        let mut state = h.state();
        state.quotas.remove(k);
        schedule::stir(h, &state);
        drop(state);
        h.quota.add(k.clone());
    };
    base(hub, Api::<FederatedResourceQuota>::all(client()), saw, lost);
    let saw = |h: &Hub, c: ResourceInterpreterCustomization| {
        h.customized(&c.metadata.name.clone().unwrap_or_default(), Some(c.spec));
    };
    let lost = |h: &Hub, k: &Key| h.customized(&k.name, None);
    base(hub, Api::<ResourceInterpreterCustomization>::all(client()), saw, lost);
    let saw = |h: &Hub, c: PriorityClass| {
        let name = c.metadata.name.clone().unwrap_or_default();
        h.state().priorities.insert(name, c.value.unwrap_or(0));
    };
    let lost = |h: &Hub, k: &Key| {
        h.state().priorities.remove(&k.name);
    };
    base(hub, Api::<PriorityClass>::all(client()), saw, lost);
    base(
        hub,
        Api::<CertificateSigningRequest>::all(client()),
        Hub::saw_request,
        |h, k| {
            h.state().requests.remove(&k.name);
        },
    );
}

fn base<K>(
    hub: &Arc<Hub>,
    api: Api<K>,
    saw: impl Fn(&Hub, K) + Send + 'static,
    lost: impl Fn(&Hub, &Key) + Send + 'static,
) where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    base_with(hub, api, saw, lost);
}

fn base_with<K>(
    hub: &Arc<Hub>,
    api: Api<K>,
    saw: impl Fn(&Hub, K) + Send + 'static,
    lost: impl Fn(&Hub, &Key) + Send + 'static,
) where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    hub.waiting.send_modify(|n| *n += 1);
    hub.spawn(follow(Arc::clone(hub), api, true, saw, lost));
}

/// A watch that nobody waits for: the hub may not serve the kind.
pub(super) fn optional<K>(
    hub: &Arc<Hub>,
    api: Api<K>,
    saw: impl Fn(&Hub, K) + Send + 'static,
    lost: impl Fn(&Hub, &Key) + Send + 'static,
) where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    hub.spawn(follow(Arc::clone(hub), api, false, saw, lost));
}

/// Watches the templates of a kind from now on. Asks the server for its plural and scope once.
pub(super) async fn templates(hub: &Arc<Hub>, gvk: &Gvk) -> Result<(), kube::Error> {
    if hub.state().templates.contains_key(gvk) {
        return Ok(());
    }
    let (resource, _) = kube::discovery::oneshot::pinned_kind(&hub.options.client, &gvk.full()).await?;
    hub.state().templates.entry(gvk.clone()).or_default().resource = Some(resource.clone());
    let (a, b) = (gvk.clone(), gvk.clone());
    let saw = move |h: &Hub, o: DynamicObject| h.saw_template(&a, o);
    let lost = move |h: &Hub, k: &Key| h.lost_template(&b, k);
    hub.spawn(follow(Arc::clone(hub), hub.api(&resource, ""), false, saw, lost));
    Ok(())
}

async fn follow<K>(hub: Arc<Hub>, api: Api<K>, counted: bool, saw: impl Fn(&Hub, K), lost: impl Fn(&Hub, &Key))
where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut counted = counted;
    let mut known: BTreeSet<Key> = BTreeSet::new();
    let mut listed: BTreeSet<Key> = BTreeSet::new();
    let stream = watch(api, Config::default().any_semantic());
    futures::pin_mut!(stream);
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(o)) => {
                listed.insert(Key::of(o.meta()));
                saw(&hub, o);
            }
            Ok(Event::InitDone) => {
                for key in known.difference(&listed) {
                    lost(&hub, key);
                }
                known = std::mem::take(&mut listed);
                if std::mem::take(&mut counted) {
                    hub.waiting.send_modify(|n| *n -= 1);
                }
            }
            Ok(Event::Apply(o)) => {
                known.insert(Key::of(o.meta()));
                saw(&hub, o);
            }
            Ok(Event::Delete(o)) => {
                let key = Key::of(o.meta());
                known.remove(&key);
                lost(&hub, &key);
            }
            Err(e) => tracing::debug!(error = %e, "watch"),
        }
    }
}

fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version
        .as_deref()
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

/// Whether what is cached is newer: an answer to a write arrives before the watch's older events.
pub(super) fn stale(cached: Option<&ObjectMeta>, seen: &ObjectMeta) -> bool {
    cached.is_some_and(|c| c.uid == seen.uid && version(c) > version(seen))
}

pub(super) fn ready(c: &Cluster) -> Option<&str> {
    let s = c.status.as_ref()?;
    conditions::get(&s.conditions, READY).map(|c| c.status.as_str())
}

impl State {
    fn refresh_member(&mut self, name: &str) {
        if let Some(c) = self.clusters.get(name) {
            let metric = self.metrics.get(name).map(|m| ComputingMetric::clone(m));
            self.fleet.insert(Member::new(Cluster::clone(c), metric));
            self.reported(name);
        }
    }

    /// What a binding has where, for the tasks that compete with it.
    fn settle(&mut self, b: &Binding) {
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
    fn saw_cluster(&self, c: Cluster) {
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
            for n in state.namespaces.keys() {
                if new_here {
                    self.namespace.add(n.clone());
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
            super::ocm::reconsider(self, &state);
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

    fn lost_cluster(&self, key: &Key) {
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

    fn saw_metric(&self, m: ComputingMetric) {
        let name = m.metadata.name.clone().unwrap_or_default();
        let mut state = self.state();
        let old = state.metrics.insert(name.clone(), Arc::new(m.clone()));
        let essence = |m: &ComputingMetric| m.status.as_ref().map(|s| (s.l0.clone(), s.accelerators.clone()));
        let changed = old.is_none_or(|o| o.spec != m.spec || essence(&o) != essence(&m));
        state.fleet.measure(&name, Some(m));
        if changed {
            self.reconsider(&state);
        }
    }

    fn lost_metric(&self, name: &str) {
        let mut state = self.state();
        state.metrics.remove(name);
        state.fleet.measure(name, None);
        self.reconsider(&state);
    }

    /// Everything with a ComputingPolicy may be better off elsewhere now.
    fn reconsider(&self, state: &State) {
        for (key, b) in &state.bindings {
            if state.computing_policy(b).is_some() {
                self.schedule.add(key.clone());
            }
        }
    }

    fn saw_computing(&self, p: ComputingPolicy) {
        let mut state = self.state();
        let key = Key::of(&p.metadata);
        let old = state.computing.insert(key.clone(), Arc::new(p.clone()));
        if old.is_some_and(|o| o.spec == p.spec) {
            return;
        }
        self.resettle(&mut state, &key.ns);
    }

    fn lost_computing(&self, key: &Key) {
        let mut state = self.state();
        state.computing.remove(key);
        self.resettle(&mut state, &key.ns);
    }

    fn resettle(&self, state: &mut State, ns: &str) {
        let bindings: Vec<Arc<Binding>> = state
            .bindings
            .iter()
            .filter(|(k, _)| k.ns == ns)
            .map(|(_, b)| Arc::clone(b))
            .collect();
        for b in bindings {
            state.settle(&b);
            self.schedule.add(b.key());
        }
    }

    pub(super) fn saw_policy(&self, p: Policy) {
        let key = Key::of(&p.meta);
        let mut state = self.state();
        if stale(state.policies.get(&key).map(|o| &o.meta), &p.meta) {
            return;
        }
        state.policies.insert(key.clone(), Arc::new(p));
        drop(state);
        self.detect.add(Detect::Policy(key));
    }

    fn lost_policy(&self, key: &Key) {
        self.state().policies.remove(key);
        self.detect.add(Detect::Policy(key.clone()));
    }

    pub(super) fn saw_template(&self, gvk: &Gvk, o: DynamicObject) {
        let key = Key::of(&o.metadata);
        let mut state = self.state();
        let templates = state.templates.entry(gvk.clone()).or_default();
        let old = templates.objects.get(&key).cloned();
        if stale(old.as_ref().map(|o| &o.metadata), &o.metadata) {
            return;
        }
        // Our own writes to its status are no news.
        let same = old
            .as_ref()
            .is_some_and(|old| without_status(old) == without_status(&o));
        templates.objects.insert(key.clone(), Arc::new(o));
        let binding = Key {
            name: names::binding_name(&gvk.kind, &key.name),
            ns: key.ns.clone(),
        };
        let bound = state.bindings.contains_key(&binding);
        drop(state);
        if !same {
            self.detect.add(Detect::Template(gvk.clone(), key));
            if bound {
                self.bind.add(binding);
            }
        }
    }

    fn lost_template(&self, gvk: &Gvk, key: &Key) {
        if let Some(t) = self.state().templates.get_mut(gvk) {
            t.objects.remove(key);
        }
        self.detect.add(Detect::Template(gvk.clone(), key.clone()));
    }

    pub(super) fn saw_binding(&self, object: DynamicObject) {
        let Some(b) = Binding::read(object) else { return };
        let key = b.key();
        let mut state = self.state();
        let old = state.bindings.get(&key).cloned();
        if stale(old.as_ref().map(|o| &o.meta), &b.meta) {
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
                self.quota.add_after(k.clone(), super::status::COALESCE);
            }
            let gone = old.as_ref().is_some_and(|o| o.spec.clusters != b.spec.clusters);
            if gone {
                // Company came or went, and a quota may have room.
                schedule::stir(self, &state);
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
    fn yield_to(&self, state: &State, b: &Binding) {
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

    fn lost_binding(&self, key: &Key) {
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

    pub(super) fn saw_work(&self, w: Work) {
        let key = Key::of(&w.metadata);
        let mut state = self.state();
        let old = state.works.get(&key).cloned();
        if stale(old.as_ref().map(|o| &o.metadata), &w.metadata) {
            return;
        }
        if let Some(id) = owner_id(&w) {
            state.works_of.entry(id).or_default().insert(key.clone());
        }
        let owner = owner(&w);
        let quota = quota::of_work(&w);
        let namespace = namespace_of(&w);
        let leaving = w.metadata.deletion_timestamp.is_some();
        let meta = |w: &Work| (w.metadata.labels.clone(), w.metadata.annotations.clone());
        let order = old
            .as_ref()
            .is_none_or(|o| o.spec != w.spec || meta(o) != meta(&w) || leaving);
        let told = old.as_ref().is_none_or(|o| o.status != w.status);
        state.works.insert(key.clone(), Arc::new(w));
        if let Some(b) = owner.as_ref().and_then(|k| state.bindings.get(k).cloned()) {
            let targets = state.placed(&b.key(), &b).to_vec();
            if told {
                state.expect(&b, &targets);
                self.release_later(&targets);
            }
        }
        drop(state);
        if let Some(owner) = owner {
            if order && old.is_some() {
                self.bind.add(owner.clone());
            }
            if told || order {
                self.touch(owner);
            }
        }
        if let Some(q) = quota.filter(|_| told) {
            self.quota.add(q);
        }
        if let Some(n) = namespace.filter(|_| order && old.is_some()) {
            self.namespace.add(n);
        }
        if leaving {
            self.cluster_of(&key);
        }
    }

    fn lost_work(&self, key: &Key) {
        let mut state = self.state();
        let old = state.works.remove(key);
        if let Some(id) = old.as_deref().and_then(owner_id)
            && let Some(keys) = state.works_of.get_mut(&id)
        {
            keys.remove(key);
            if keys.is_empty() {
                state.works_of.remove(&id);
            }
        }
        drop(state);
        if let Some(owner) = old.as_deref().and_then(owner) {
            self.bind.add(owner);
        }
        if let Some(n) = old.as_deref().and_then(namespace_of) {
            self.namespace.add(n);
        }
        if let Some(q) = old.as_deref().and_then(quota::of_work) {
            self.quota.add(q);
        }
        self.cluster_of(key);
    }

    /// A cluster that is leaving waits for its Works to go.
    fn cluster_of(&self, work: &Key) {
        if let Some(cluster) = work.ns.strip_prefix(names::EXECUTION_SPACE_PREFIX) {
            let leaving = self
                .state()
                .clusters
                .get(cluster)
                .is_some_and(|c| c.metadata.deletion_timestamp.is_some());
            if leaving {
                self.cluster.add(cluster.to_owned());
            }
        }
    }

    fn saw_override(&self, p: Override) {
        let key = Key::of(&p.meta);
        let mut state = self.state();
        let p = Arc::new(p);
        let old = state.overrides.insert(key.clone(), Arc::clone(&p));
        if old.is_some_and(|o| o.spec == p.spec && o.meta.deletion_timestamp == p.meta.deletion_timestamp) {
            return;
        }
        self.overridden(&state, &key);
        drop(state);
        self.detect.add(Detect::Override(key));
    }

    fn lost_override(&self, key: &Key) {
        let mut state = self.state();
        state.overrides.remove(key);
        self.overridden(&state, key);
    }

    /// The manifests that a policy may have a word in are made anew.
    fn overridden(&self, state: &State, policy: &Key) {
        for key in state
            .bindings
            .keys()
            .filter(|k| policy.ns.is_empty() || k.ns == policy.ns)
        {
            self.bind.add(key.clone());
        }
        if policy.ns.is_empty() {
            for n in state.namespaces.keys() {
                self.namespace.add(n.clone());
            }
        }
    }

    /// A customization came, changed or went: its kinds are read anew.
    fn customized(&self, name: &str, spec: Option<cfn_api::karmada::config::ResourceInterpreterCustomizationSpec>) {
        let mut state = self.state();
        let kinds = state.rules.set(name, spec);
        for gvk in kinds {
            let keys: Vec<Key> = state
                .templates
                .get(&gvk)
                .into_iter()
                .flat_map(|t| t.objects.keys().cloned())
                .collect();
            for k in keys {
                let binding = Key {
                    name: names::binding_name(&gvk.kind, &k.name),
                    ns: k.ns.clone(),
                };
                self.detect.add(Detect::Template(gvk.clone(), k));
                self.bind.add(binding);
            }
        }
    }

    /// Every cluster is judged anew.
    fn judge_all(&self) {
        for name in self.state().clusters.keys() {
            self.health.add(name.clone());
        }
    }

    fn saw_lease(&self, l: Lease) {
        let name = l.metadata.name.clone().unwrap_or_default();
        // By our clock, when it was seen to change: the agent's clock may be off.
        let now = self.now();
        self.state().leases.insert(name.clone(), now);
        self.health.add(name);
    }

    fn lost_lease(&self, key: &Key) {
        self.health.add(key.name.clone());
    }

    fn saw_request(&self, r: CertificateSigningRequest) {
        let name = r.metadata.name.clone().unwrap_or_default();
        self.state().requests.insert(name.clone(), Arc::new(r));
        self.signing.add(name);
    }
}

/// Whether a binding goes wherever it may: copies, or no replicas at all.
fn everywhere(b: &Binding) -> bool {
    let strategy = b.spec.placement.as_ref().and_then(|p| p.replica_scheduling.as_ref());
    b.spec.replicas == 0 || strategy.and_then(|s| s.replica_scheduling_type) != Some(ReplicaSchedulingType::Divided)
}

fn without_status(o: &DynamicObject) -> (ObjectMeta, serde_json::Value) {
    let mut meta = o.metadata.clone();
    meta.resource_version = None;
    meta.managed_fields = None;
    let mut data = o.data.clone();
    if let Some(map) = data.as_object_mut() {
        map.remove("status");
    }
    (meta, data)
}

/// The namespace that a Work is of, where it is one of the namespace controller's.
fn namespace_of(w: &Work) -> Option<String> {
    let mut owners = w.metadata.owner_references.iter().flatten();
    owners
        .find(|o| o.kind == "Namespace" && o.api_version == "v1")
        .map(|o| o.name.clone())
}

fn annotation<'a>(w: &'a Work, name: &str) -> Option<&'a str> {
    w.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The binding of a Work.
fn owner(w: &Work) -> Option<Key> {
    if let Some(name) = annotation(w, super::hub::CLUSTER_BINDING_NAME) {
        return Some(Key::new("", name));
    }
    Some(Key::new(
        annotation(w, names::RESOURCE_BINDING_NAMESPACE)?,
        annotation(w, names::RESOURCE_BINDING_NAME)?,
    ))
}

fn owner_id(w: &Work) -> Option<String> {
    let labels = w.metadata.labels.as_ref()?;
    labels
        .get(names::RESOURCE_BINDING_ID)
        .or_else(|| labels.get(super::hub::CLUSTER_BINDING_ID))
        .cloned()
}
