//! What all controllers share: the client, the caches, the queues.

mod binding;
mod key;
mod outcome;
mod policy;
mod state;
mod work;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cfn_api::karmada::work::{ClusterResourceBinding, ResourceBinding, ResourceBindingStatus};
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::namespaces::InMembers;
use super::queue::Queue;
use super::{Options, diff};

pub(in crate::controllers) use binding::{Binding, CLUSTER_BINDING_ID, CLUSTER_BINDING_NAME};
pub(in crate::controllers) use key::{Detect, Gvk, Key};
pub(in crate::controllers) use outcome::Outcome;
pub(in crate::controllers) use policy::{Override, Policy};
pub(in crate::controllers) use state::{Pending, State};
use work::WORKERS;
pub(in crate::controllers) use work::{conflict, gone, not_found, until, work};

pub(in crate::controllers) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Shared by all controllers of one hub.
pub(in crate::controllers) struct Hub {
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
    pub namespace: Queue<InMembers>,
    pub quota: Queue<Key>,
    pub release: Queue<String>,
    pub deschedule: Queue<String>,
    pub placement: Queue<Key>,
    spawner: mpsc::UnboundedSender<Task>,
    /// Who writes a binding's clusters, one at a time: scheduler and eviction.
    writers: [tokio::sync::Mutex<()>; WORKERS],
    pub(in crate::controllers) waiting: watch::Sender<usize>,
}

impl Hub {
    pub(in crate::controllers) fn new(options: Options) -> (Arc<Self>, mpsc::UnboundedReceiver<Task>) {
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
    pub(in crate::controllers) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::controllers) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }

    /// Runs a task for as long as the controllers run.
    pub(in crate::controllers) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Fails only when the controllers end anyway.
        let _ = self.spawner.send(Box::pin(task));
    }

    pub(in crate::controllers) fn admitted(&self, cluster: &str) -> bool {
        self.state().admitted.contains(cluster)
    }

    pub(in crate::controllers) fn admit(&self, cluster: &str) {
        self.state().admitted.insert(cluster.to_owned());
    }

    pub(in crate::controllers) fn dismiss(&self, cluster: &str) {
        self.state().admitted.remove(cluster);
    }

    /// Waits until every cache of the first hour is filled.
    pub(in crate::controllers) async fn synced(&self) {
        let mut rx = self.waiting.subscribe();
        // The sender lives as long as we do.
        let _ = rx.wait_for(|n| *n == 0).await;
    }

    /// Tells whoever waits that the controllers are ready, then sleeps.
    pub(in crate::controllers) async fn when_synced(self: Arc<Self>) {
        self.synced().await;
        if let Some(ready) = &self.options.ready {
            ready.send_replace(true);
        }
        std::future::pending::<()>().await;
    }

    pub(in crate::controllers) fn api(&self, resource: &ApiResource, ns: &str) -> Api<DynamicObject> {
        if ns.is_empty() {
            Api::all_with(self.options.client.clone(), resource)
        } else {
            Api::namespaced_with(self.options.client.clone(), ns, resource)
        }
    }

    /// Sends a merge patch.
    pub(in crate::controllers) async fn patch(
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
    pub(in crate::controllers) async fn patch_status(
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
    pub(in crate::controllers) fn binding_resource(key: &Key) -> ApiResource {
        if key.ns.is_empty() {
            ApiResource::erase::<ClusterResourceBinding>(&())
        } else {
            ApiResource::erase::<ResourceBinding>(&())
        }
    }

    /// Waits until nobody else writes the clusters of a binding.
    pub(in crate::controllers) async fn alone(&self, key: &Key) -> tokio::sync::MutexGuard<'_, ()> {
        let n = usize::try_from(crate::engine::fnv1a(&key.to_string())).unwrap_or(0) % WORKERS;
        self.writers[n].lock().await
    }

    /// What names `template` may have to be followed by it.
    pub(in crate::controllers) fn needed_by(&self, template: &Key) {
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
    pub(in crate::controllers) fn touch(&self, key: Key) {
        self.status.add_after(key, super::status::COALESCE);
    }

    /// Whether nothing waits to be placed or dispatched.
    pub(in crate::controllers) fn at_ease(&self) -> bool {
        let rest = self.options.only_scheduling || (self.detect.idle() && self.bind.idle());
        self.schedule.idle() && rest
    }

    /// Changes a binding's status to `status`, if that is a change.
    pub(in crate::controllers) async fn write_binding_status(
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
