//! What all controllers share: the client, the caches, the queues.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cfn_api::cfn::{ComputingMetric, ComputingPolicy, ComputingPolicySpec};
use cfn_api::conditions;
use cfn_api::karmada::apps::WorkloadRebalancer;
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::overrides::{ClusterOverridePolicy, OverridePolicy, OverrideSpec};
use cfn_api::karmada::policy::{ClusterPropagationPolicy, PropagationPolicy, PropagationSpec};
use cfn_api::karmada::quota::FederatedResourceQuota;
use cfn_api::karmada::taint::ClusterTaintPolicy;
use cfn_api::karmada::work::{
    ClusterExplanation, ClusterResourceBinding, ResourceBinding, ResourceBindingSpec, ResourceBindingStatus, SCHEDULED,
    TargetCluster, Work,
};
use cfn_api::names;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::customize::Rules;
use super::ocm::Ocm;
use super::queue::Queue;
use super::{Options, diff};
use crate::engine::Fleet;
use crate::engine::quantity::Amount;

/// Keys that one controller works on at the same time.
const WORKERS: usize = 32;

/// Namespace (empty: cluster-wide) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub ns: String,
    pub name: String,
}

impl Key {
    pub(super) fn new(ns: &str, name: &str) -> Self {
        Self {
            ns: ns.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(super) fn of(meta: &ObjectMeta) -> Self {
        Self {
            ns: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.ns.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.ns, self.name)
        }
    }
}

/// A propagation policy of either kind (no namespace: cluster-wide).
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub meta: ObjectMeta,
    pub spec: PropagationSpec,
}

impl From<PropagationPolicy> for Policy {
    fn from(p: PropagationPolicy) -> Self {
        Self {
            meta: p.metadata,
            spec: p.spec,
        }
    }
}

impl From<ClusterPropagationPolicy> for Policy {
    fn from(p: ClusterPropagationPolicy) -> Self {
        Self {
            meta: p.metadata,
            spec: p.spec.0,
        }
    }
}

/// A binding of either kind.
#[derive(Debug, Clone)]
pub(super) struct Binding {
    pub meta: ObjectMeta,
    pub spec: ResourceBindingSpec,
    pub status: ResourceBindingStatus,
}

impl Binding {
    /// Reads one; `None` when it is malformed.
    pub(super) fn read(object: DynamicObject) -> Option<Self> {
        let mut data = object.data;
        let mut part = |f: &str| {
            data.get_mut(f)
                .map(Value::take)
                .unwrap_or_else(|| Value::Object(Default::default()))
        };
        let spec = serde_json::from_value(part("spec")).ok()?;
        let status = serde_json::from_value(part("status")).ok()?;
        Some(Self {
            meta: object.metadata,
            spec,
            status,
        })
    }

    /// A status as it goes over the wire.
    pub(super) fn status_value(status: &ResourceBindingStatus) -> Value {
        serde_json::to_value(status).unwrap_or_default()
    }

    pub(super) fn key(&self) -> Key {
        Key::of(&self.meta)
    }

    pub(super) fn deleting(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// Label that carries this kind of binding's permanent id.
    pub(super) fn id_label(&self) -> &'static str {
        if self.meta.namespace.is_some() {
            names::RESOURCE_BINDING_ID
        } else {
            CLUSTER_BINDING_ID
        }
    }

    pub(super) fn permanent_id(&self) -> &str {
        self.meta
            .labels
            .as_ref()
            .and_then(|l| l.get(self.id_label()))
            .map_or("", String::as_str)
    }
}

/// Label: permanent id of a cluster-wide binding.
pub(super) const CLUSTER_BINDING_ID: &str = "clusterresourcebinding.karmada.io/permanent-id";
/// Annotation: name of a cluster-wide binding.
pub(super) const CLUSTER_BINDING_NAME: &str = "clusterresourcebinding.karmada.io/name";

/// Group, version and kind, ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gvk {
    pub api_version: String,
    pub kind: String,
}

impl Gvk {
    pub(super) fn full(&self) -> GroupVersionKind {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", &self.api_version));
        GroupVersionKind::gvk(group, version, &self.kind)
    }
}

/// The templates of one kind.
#[derive(Default)]
pub(super) struct Templates {
    pub resource: Option<ApiResource>,
    pub objects: BTreeMap<Key, Arc<DynamicObject>>,
}

/// What the hub's objects were when last seen.
#[derive(Default)]
pub(super) struct State {
    pub clusters: BTreeMap<String, Arc<Cluster>>,
    pub metrics: BTreeMap<String, Arc<ComputingMetric>>,
    pub fleet: Fleet,
    pub computing: BTreeMap<Key, Arc<ComputingPolicy>>,
    pub policies: BTreeMap<Key, Arc<Policy>>,
    pub bindings: BTreeMap<Key, Arc<Binding>>,
    pub works: BTreeMap<Key, Arc<Work>>,
    /// Works of a binding, by its permanent id.
    pub works_of: BTreeMap<String, BTreeSet<Key>>,
    /// When a cluster's lease was last renewed, by our clock.
    pub leases: BTreeMap<String, Timestamp>,
    pub templates: BTreeMap<Gvk, Templates>,
    pub requests: BTreeMap<String, Arc<CertificateSigningRequest>>,
    pub overrides: BTreeMap<Key, Arc<Override>>,
    pub rebalancers: BTreeMap<String, Arc<WorkloadRebalancer>>,
    pub namespaces: BTreeMap<String, Arc<Namespace>>,
    pub taint_policies: BTreeMap<String, Arc<ClusterTaintPolicy>>,
    pub quotas: BTreeMap<Key, Arc<FederatedResourceQuota>>,
    pub rules: Rules,
    pub ocm: Ocm,
    /// PriorityClasses of the hub.
    pub priorities: BTreeMap<String, i32>,
    /// Decisions whose words are not in the bindings' statuses yet.
    pub outcomes: BTreeMap<Key, Outcome>,
    /// Bindings whose last decision was that they fit nowhere, with when that was and how often in a row.
    pub unschedulable: BTreeMap<Key, (Instant, u32)>,
    /// Decisions that the caches do not show yet, with the version of the binding that they are about.
    pub assumed: BTreeMap<Key, (Option<String>, Vec<TargetCluster>)>,
    /// Room that decisions have taken and the clusters do not report yet, by cluster and binding.
    pub pending: BTreeMap<String, BTreeMap<Key, Pending>>,
    /// The clusters of the above, by binding.
    pub pending_on: BTreeMap<Key, BTreeSet<String>>,
    /// Bindings with propagateDeps.
    pub followed: BTreeSet<Key>,
    /// Since when a status waits to be written.
    pub status_since: BTreeMap<Key, Instant>,
    /// Since when an application is unhealthy in a cluster.
    pub unhealthy: BTreeMap<(Key, String), Timestamp>,
    /// When bindings last came back to a cluster after a failure (the budget of fail-back).
    pub returned: BTreeMap<String, Vec<Timestamp>>,
    /// Clusters whose roles and namespace are there.
    admitted: BTreeSet<String>,
}

impl State {
    /// The ComputingPolicy attached to a binding's template or to its policy; of several, the first by name.
    pub(super) fn computing_policy(&self, b: &Binding) -> Option<&ComputingPolicySpec> {
        let ns = b.meta.namespace.as_deref()?;
        let annotations = b.meta.annotations.as_ref();
        let policy = annotations.and_then(|a| a.get(names::PROPAGATION_POLICY_NAME));
        let r = &b.spec.resource;
        let group = r.api_version.split_once('/').map_or("", |(g, _)| g);
        self.computing
            .iter()
            .filter(|(k, _)| k.ns == ns)
            .map(|(_, p)| &p.spec)
            .find(|p| {
                p.target_refs.iter().any(|t| {
                    (t.kind == "PropagationPolicy" && Some(&t.name) == policy)
                        || (t.kind == r.kind && t.name == r.name && (t.group.is_empty() || t.group == group))
                })
            })
    }

    /// The policy that claimed a binding's template.
    pub(super) fn policy_of(&self, b: &Binding) -> Option<&Arc<Policy>> {
        self.policies.get(&super::detector::claimant(&b.meta)?)
    }

    /// Where a binding is, by the last decision.
    pub(super) fn placed<'a>(&'a self, key: &Key, b: &'a Binding) -> &'a [TargetCluster] {
        self.assumed.get(key).map_or(&b.spec.clusters, |(_, t)| t)
    }

    /// A binding's status with what the scheduler said since.
    pub(super) fn status_of(&self, b: &Binding) -> ResourceBindingStatus {
        let mut status = b.status.clone();
        if let Some(o) = self.outcomes.get(&b.key()) {
            o.tell(&mut status);
        }
        status
    }

    /// Whether the last decision about a binding was a placement.
    pub(super) fn scheduled(&self, b: &Binding) -> bool {
        match self.outcomes.get(&b.key()).and_then(|o| o.condition.as_ref()) {
            Some((value, ..)) => *value == "True",
            None => conditions::is_true(&b.status.conditions, SCHEDULED),
        }
    }

    pub(super) fn template(&self, b: &Binding) -> Option<&Arc<DynamicObject>> {
        let r = &b.spec.resource;
        let gvk = Gvk {
            api_version: r.api_version.clone(),
            kind: r.kind.clone(),
        };
        self.templates
            .get(&gvk)?
            .objects
            .get(&Key::new(r.namespace.as_deref().unwrap_or_default(), &r.name))
    }
}

/// An override policy of either kind (no namespace: cluster-wide).
#[derive(Debug, Clone)]
pub(super) struct Override {
    pub meta: ObjectMeta,
    pub spec: OverrideSpec,
}

impl From<OverridePolicy> for Override {
    fn from(p: OverridePolicy) -> Self {
        Self {
            meta: p.metadata,
            spec: p.spec,
        }
    }
}

impl From<ClusterOverridePolicy> for Override {
    fn from(p: ClusterOverridePolicy) -> Self {
        Self {
            meta: p.metadata,
            spec: p.spec.0,
        }
    }
}

/// Replicas that are on their way to a cluster.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pending {
    /// What they need, all together.
    pub amounts: BTreeMap<String, Amount>,
    /// Whether the cluster has them: its next report counts them.
    pub shown: bool,
    /// Since when.
    pub since: Instant,
}

/// What the scheduler has to say about a binding.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// The Scheduled condition: status, reason, message. `None` leaves it as it is.
    pub condition: Option<(&'static str, &'static str, String)>,
    /// The generation that was decided on.
    pub generation: Option<i64>,
    /// The affinity group in force.
    pub affinity: Option<String>,
    /// When a decision was made.
    pub scheduled_at: Option<Timestamp>,
    /// The reasons, where they are to be kept.
    pub explanation: Option<Vec<ClusterExplanation>>,
    /// When it was said.
    pub at: Timestamp,
}

impl Outcome {
    /// Writes it into a status.
    pub(super) fn tell(&self, status: &mut ResourceBindingStatus) {
        if let Some((value, reason, message)) = &self.condition {
            conditions::set(&mut status.conditions, SCHEDULED, value, reason, message, self.at);
        }
        if self.generation.is_some() {
            status.scheduler_observed_generation = self.generation;
        }
        if self.affinity.is_some() {
            status.scheduler_observing_affinity_name.clone_from(&self.affinity);
        }
        if let Some(at) = self.scheduled_at {
            status.last_scheduled_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
        }
        if let Some(e) = &self.explanation {
            status.explanation.clone_from(e);
        }
    }
}

/// What the detector looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detect {
    Policy(Key),
    Override(Key),
    Template(Gvk, Key),
}

pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Shared by all controllers of one hub.
pub(super) struct Hub {
    pub options: Options,
    state: Mutex<State>,
    pub detect: Queue<Detect>,
    pub schedule: Queue<Key>,
    pub bind: Queue<Key>,
    pub evict: Queue<Key>,
    pub cluster: Queue<String>,
    pub health: Queue<String>,
    pub signing: Queue<String>,
    pub status: Queue<Key>,
    pub depend: Queue<Key>,
    pub rebalance: Queue<String>,
    pub namespace: Queue<String>,
    pub quota: Queue<Key>,
    pub release: Queue<String>,
    pub deschedule: Queue<String>,
    pub placement: Queue<Key>,
    spawner: mpsc::UnboundedSender<Task>,
    /// Who writes a binding's clusters, one at a time: scheduler and eviction.
    writers: [tokio::sync::Mutex<()>; WORKERS],
    pub(super) waiting: watch::Sender<usize>,
}

impl Hub {
    pub(super) fn new(options: Options) -> (Arc<Self>, mpsc::UnboundedReceiver<Task>) {
        let (spawner, spawned) = mpsc::unbounded_channel();
        let hub = Self {
            options,
            state: Mutex::new(State::default()),
            detect: Queue::new(),
            schedule: Queue::new(),
            bind: Queue::new(),
            evict: Queue::new(),
            cluster: Queue::new(),
            health: Queue::new(),
            signing: Queue::new(),
            status: Queue::new(),
            depend: Queue::new(),
            rebalance: Queue::new(),
            namespace: Queue::new(),
            quota: Queue::new(),
            release: Queue::new(),
            deschedule: Queue::new(),
            placement: Queue::new(),
            spawner,
            writers: std::array::from_fn(|_| tokio::sync::Mutex::new(())),
            waiting: watch::Sender::new(0),
        };
        (Arc::new(hub), spawned)
    }

    /// The caches. Never held across an await.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// Runs a task for as long as the controllers run.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Fails only when the controllers end anyway.
        let _ = self.spawner.send(Box::pin(task));
    }

    pub(super) fn admitted(&self, cluster: &str) -> bool {
        self.state().admitted.contains(cluster)
    }

    pub(super) fn admit(&self, cluster: &str) {
        self.state().admitted.insert(cluster.to_owned());
    }

    pub(super) fn dismiss(&self, cluster: &str) {
        self.state().admitted.remove(cluster);
    }

    /// Waits until every cache of the first hour is filled.
    pub(super) async fn synced(&self) {
        let mut rx = self.waiting.subscribe();
        // The sender lives as long as we do.
        let _ = rx.wait_for(|n| *n == 0).await;
    }

    /// Tells whoever waits that the controllers are ready, then sleeps.
    pub(super) async fn when_synced(self: Arc<Self>) {
        self.synced().await;
        if let Some(ready) = &self.options.ready {
            ready.send_replace(true);
        }
        std::future::pending::<()>().await;
    }

    pub(super) fn api(&self, resource: &ApiResource, ns: &str) -> Api<DynamicObject> {
        if ns.is_empty() {
            Api::all_with(self.options.client.clone(), resource)
        } else {
            Api::namespaced_with(self.options.client.clone(), ns, resource)
        }
    }

    /// Sends a merge patch.
    pub(super) async fn patch(
        &self,
        resource: &ApiResource,
        key: &Key,
        patch: &Value,
    ) -> Result<DynamicObject, kube::Error> {
        self.api(resource, &key.ns)
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    /// Sends a merge patch to the status.
    pub(super) async fn patch_status(
        &self,
        resource: &ApiResource,
        key: &Key,
        patch: &Value,
    ) -> Result<DynamicObject, kube::Error> {
        self.api(resource, &key.ns)
            .patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
    }

    /// The resource of a binding with this key.
    pub(super) fn binding_resource(key: &Key) -> ApiResource {
        if key.ns.is_empty() {
            ApiResource::erase::<ClusterResourceBinding>(&())
        } else {
            ApiResource::erase::<ResourceBinding>(&())
        }
    }

    /// Waits until nobody else writes the clusters of a binding.
    pub(super) async fn alone(&self, key: &Key) -> tokio::sync::MutexGuard<'_, ()> {
        let n = usize::try_from(crate::engine::fnv1a(&key.to_string())).unwrap_or(0) % WORKERS;
        self.writers[n].lock().await
    }

    /// What names `template` may have to be followed by it.
    pub(super) fn needed_by(&self, template: &Key) {
        let state = self.state();
        for (k, b) in state
            .followed
            .range(Key::new(&template.ns, "")..)
            .map(|k| (k, state.bindings.get(k)))
        {
            if k.ns != template.ns {
                break;
            }
            if b.is_some() {
                self.depend.add(k.clone());
            }
        }
    }

    /// Asks for a binding's status to be brought up to date. Its Works report one by one: a moment's wait makes one
    /// write of them.
    pub(super) fn touch(&self, key: Key) {
        self.status.add_after(key, super::status::COALESCE);
    }

    /// Whether nothing waits to be placed or dispatched.
    pub(super) fn at_ease(&self) -> bool {
        let rest = self.options.only_scheduling || (self.detect.idle() && self.bind.idle());
        self.schedule.idle() && rest
    }

    /// Changes a binding's status to `status`, if that is a change.
    pub(super) async fn write_binding_status(
        &self,
        old: &Binding,
        status: &ResourceBindingStatus,
    ) -> Result<(), kube::Error> {
        let (before, after) = (Binding::status_value(&old.status), Binding::status_value(status));
        if let Some(p) = diff::merge_diff(&before, &after) {
            let key = old.key();
            let patch = serde_json::json!({"status": p});
            let object = self.patch_status(&Self::binding_resource(&key), &key, &patch).await?;
            self.saw_binding(object);
        }
        Ok(())
    }
}

/// Whether an error says that the object is not there.
pub(super) fn not_found(e: &kube::Error) -> bool {
    matches!(e, kube::Error::Api(s) if s.code == 404)
}

/// Whether an error says that the object exists already or is not what we thought.
pub(super) fn conflict(e: &kube::Error) -> bool {
    matches!(e, kube::Error::Api(s) if s.code == 409)
}

/// Deletes, and does not mind if it is gone.
pub(super) fn gone<T>(r: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match r {
        Ok(_) => Ok(()),
        Err(e) if not_found(&e) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Runs a reconciler over a queue for ever, several keys at once. A failure is tried again, later each time.
pub(super) async fn work<K, F>(
    hub: &Arc<Hub>,
    what: &'static str,
    queue: impl Fn(&Hub) -> &Queue<K>,
    reconcile: impl Fn(Arc<Hub>, K) -> F,
) where
    K: Ord + Clone + std::fmt::Debug,
    F: Future<Output = Result<(), kube::Error>>,
{
    hub.synced().await;
    let queue = queue(hub);
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some((key, result)) = running.next(), if !running.is_empty() => {
                let key: K = key;
                queue.done(&key);
                match result {
                    Ok(()) => queue.forget(&key),
                    Err(e) => {
                        let e: kube::Error = e;
                        tracing::debug!(controller = what, ?key, error = %e, "will be tried again");
                        queue.retry(key);
                    }
                }
            }
            key = queue.pop(), if running.len() < WORKERS => {
                let run = reconcile(Arc::clone(hub), key.clone());
                running.push(async move { (key, run.await) });
            }
        }
    }
}

/// The duration from `now` to `at`, nothing when it is past.
pub(super) fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}
