//! What all controllers share: the client, the caches, the queues.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cfn_api::cfn::{ComputingMetric, ComputingPolicy, ComputingPolicySpec};
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::policy::PropagationSpec;
use cfn_api::karmada::work::{
    ClusterResourceBinding, ResourceBinding, ResourceBindingSpec, ResourceBindingStatus, Work,
};
use cfn_api::names;
use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::queue::Queue;
use super::{Options, diff};
use crate::engine::Fleet;

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

/// What the detector looks at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Detect {
    Policy(Key),
    Template(Gvk, Key),
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

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
    spawner: mpsc::UnboundedSender<Task>,
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
            spawner,
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

/// Runs a reconciler over a queue for ever. A failure is tried again, later each time.
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
    loop {
        let key = queue(hub).pop().await;
        match reconcile(Arc::clone(hub), key.clone()).await {
            Ok(()) => queue(hub).forget(&key),
            Err(e) => {
                tracing::debug!(controller = what, ?key, error = %e, "will be tried again");
                queue(hub).retry(key);
            }
        }
    }
}

/// The duration from `now` to `at`, nothing when it is past.
pub(super) fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}
