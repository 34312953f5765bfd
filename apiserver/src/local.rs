//! Access to a cluster from inside its process: the same path as HTTP (versions, defaults, validation, admission),
//! synchronous, without authentication and authorisation. What the controllers stand on.

mod attached;
mod command;

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use cfn_net::SharedClock;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::registry::{Call, DeleteOptions, ListOptions, Propagation, Resource, Server, Target};
use crate::status::Status;
use crate::store::{Event, Object, Source};
use crate::webhook::{self, Hooks};

pub(crate) use attached::Follower;
pub use attached::{Attached, Ending, Input, Output};
pub use command::{Execution, OnOutput, Standard, Stdio};

pub use crate::store::EventKind;

/// Group, version, resource (plural).
#[derive(Debug, Clone, Eq, PartialOrd, Ord)]
pub struct Gvr {
    /// API group; empty: core.
    pub group: Cow<'static, str>,
    /// Version.
    pub version: Cow<'static, str>,
    /// Plural, lower case.
    pub resource: Cow<'static, str>,
}

impl PartialEq for Gvr {
    /// Resources differ in their names first: controllers ask this of every change.
    fn eq(&self, other: &Self) -> bool {
        self.resource == other.resource && self.group == other.group && self.version == other.version
    }
}

impl Hash for Gvr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Versions of one resource are seldom told apart.
        (&self.resource, &self.group).hash(state);
    }
}

impl Gvr {
    /// A resource known when this is compiled.
    #[must_use]
    pub const fn new(group: &'static str, version: &'static str, resource: &'static str) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            resource: Cow::Borrowed(resource),
        }
    }

    /// A resource known only now (a custom one).
    pub fn owned(group: impl Into<String>, version: impl Into<String>, resource: impl Into<String>) -> Self {
        Self {
            group: Cow::Owned(group.into()),
            version: Cow::Owned(version.into()),
            resource: Cow::Owned(resource.into()),
        }
    }

    /// `group/version`, or `version` in the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

impl fmt::Display for Gvr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.resource)
    }
}

/// A change somebody may watch.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which resource: in the version it is stored as.
    pub gvr: Gvr,
    /// The state after; the last state of a deleted object.
    pub object: Arc<Value>,
    /// The state before.
    pub previous: Option<Arc<Value>>,
    /// The state after as the store has it: who keeps it lets it be packed.
    pub(crate) stored: Arc<Object>,
    /// Revision of the store.
    pub revision: u64,
}

/// What of a container's log is asked for (`PodLogOptions`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Only so many last lines.
    pub tail: Option<usize>,
    /// Only what came at this time or later.
    pub since: Option<Timestamp>,
    /// Each line with its time.
    pub timestamps: bool,
    /// Only so many first bytes.
    pub limit: Option<usize>,
    /// That of the run before.
    pub previous: bool,
}

/// A connection to a port of a pod, when it is made.
pub type Forwarding = Pin<Box<dyn Future<Output = std::io::Result<cfn_net::Stream>> + Send>>;

/// What the API server asks the machine of a node (its kubelet's own API): logs and commands of containers.
pub trait NodeHook: Send + Sync {
    /// The log of a container so far, or `None` when it does not run here.
    fn log(&self, namespace: &str, pod: &str, container: &str, wanted: &LogOptions) -> Option<Vec<u8>>;
    /// What a container writes, and its input where that is wanted; `None` when it does not run here.
    fn attach(&self, namespace: &str, pod: &str, container: &str, stdin: bool) -> Option<Attached> {
        let _ = (namespace, pod, container, stdin);
        None
    }
    /// Connects to a port of a pod, or `None` when it does not run here.
    fn forward(&self, namespace: &str, pod: &str, port: u16) -> Option<Forwarding> {
        let _ = (namespace, pod, port);
        None
    }
    /// Runs a command in a container, or `None` when there is no such thing here.
    fn exec(&self, namespace: &str, pod: &str, container: &str, command: &[String], stdio: Stdio) -> Option<Execution> {
        let _ = (namespace, pod, container, command, stdio);
        None
    }
}

/// Who the controllers are.
const MANAGER: &str = "kube-controller-manager";

/// In-process access to one cluster. Cheap to clone.
#[derive(Clone)]
pub struct Local {
    server: Arc<Server>,
    /// What webhooks said; `None`: they are not asked.
    hooks: Option<Arc<Mutex<Hooks>>>,
}

impl Local {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server, hooks: None }
    }

    /// The same, with writes that webhooks are asked about: see [`Local::act`].
    fn asking(&self) -> Self {
        Self {
            server: self.server.clone(),
            hooks: Some(Arc::default()),
        }
    }

    /// Does something that is one write, with the webhooks that are about it; without such, at once.
    ///
    /// # Errors
    /// As the write.
    pub(crate) async fn act<T>(&self, write: impl Fn(&Self) -> Result<T, Status>) -> Result<T, Status> {
        let asking = self.asking();
        for _ in 0..webhook::ROUNDS {
            let done = write(&asking);
            let Some(hooks) = &asking.hooks else { return done };
            let mut told = std::mem::take(&mut *hooks.lock().unwrap_or_else(PoisonError::into_inner));
            if !told.wants() {
                return done;
            }
            self.server.answer(&mut told).await;
            *hooks.lock().unwrap_or_else(PoisonError::into_inner) = told;
        }
        Err(webhook::asked_too_often())
    }

    /// One write, with what is known of webhooks.
    fn write<T>(&self, manager: &str, f: impl FnOnce(&mut Call) -> Result<T, Status>) -> Result<T, Status> {
        let mut call = Call::internal(manager);
        let Some(hooks) = &self.hooks else { return f(&mut call) };
        call.hooks = Some(std::mem::take(
            &mut *hooks.lock().unwrap_or_else(PoisonError::into_inner),
        ));
        let done = f(&mut call);
        *hooks.lock().unwrap_or_else(PoisonError::into_inner) = call.hooks.take().unwrap_or_default();
        done
    }

    /// The server behind.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    fn resource(&self, gvr: &Gvr) -> Result<Arc<Resource>, Status> {
        self.server
            .catalog
            .find(&gvr.group, &gvr.version, &gvr.resource)
            .ok_or_else(Status::no_such_path)
    }

    /// Wall time of this cluster.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.server.clock
    }

    /// One object. `ns` is empty for cluster-scoped resources, here and everywhere below.
    ///
    /// # Errors
    /// 404 when it (or the resource) is not there.
    pub fn get(&self, gvr: &Gvr, ns: &str, name: &str) -> Result<Arc<Value>, Status> {
        let r = self.resource(gvr)?;
        Ok(self.server.get(&r, ns, name)?.value())
    }

    /// All objects (of `ns`), by namespace and name, and the store's revision.
    ///
    /// # Errors
    /// 404 when the resource is not there.
    pub fn list(&self, gvr: &Gvr, ns: Option<&str>) -> Result<(Vec<Arc<Value>>, u64), Status> {
        let r = self.resource(gvr)?;
        let l = self.server.list(&r, ns, &ListOptions::default())?;
        Ok((l.objects.into_iter().map(|o| o.value()).collect(), l.revision))
    }

    /// Changes of every resource, custom ones included, also those defined later.
    #[must_use]
    pub fn watch_all(&self) -> Changes {
        let (tx, rx) = mpsc::unbounded_channel();
        self.server.store.watch_all(Box::new(tx));
        Changes(rx)
    }

    /// Creates `obj` (with `metadata.generateName` when it has no name).
    ///
    /// # Errors
    /// 409 when it is there, 404 or 403 when its namespace is not there or goes, 422 when it is wrong.
    pub fn create(&self, gvr: &Gvr, ns: &str, obj: Value) -> Result<Arc<Value>, Status> {
        let r = self.resource(gvr)?;
        let made = self.write(MANAGER, |call| self.server.create(call, &r, ns, None, obj))?;
        Ok(made.value())
    }

    /// Replaces an object.
    ///
    /// # Errors
    /// 409 when it has a resourceVersion and that is stale, 404, 422.
    pub fn update(&self, gvr: &Gvr, ns: &str, obj: Value) -> Result<Arc<Value>, Status> {
        self.replace(gvr, ns, None, obj)
    }

    /// Replaces an object's status.
    ///
    /// # Errors
    /// As [`Local::update`].
    pub fn update_status(&self, gvr: &Gvr, ns: &str, obj: Value) -> Result<Arc<Value>, Status> {
        self.replace(gvr, ns, Some("status"), obj)
    }

    fn replace(&self, gvr: &Gvr, ns: &str, sub: Option<&str>, obj: Value) -> Result<Arc<Value>, Status> {
        let r = self.resource(gvr)?;
        let name = obj["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let target = Target {
            resource: &r,
            namespace: ns,
            name: &name,
            subresource: sub,
        };
        let done = self.write(MANAGER, |call| self.server.update(call, &target, obj))?;
        Ok(done.object.value())
    }

    /// Deletes with background propagation; finalizers and a pod's grace hold it.
    ///
    /// # Errors
    /// 404 when it is not there, 409 when it has another uid.
    pub fn delete(&self, gvr: &Gvr, ns: &str, name: &str, uid: Option<&str>) -> Result<(), Status> {
        let o = DeleteOptions {
            propagation: Some(Propagation::Background),
            uid: uid.map(str::to_owned),
            ..DeleteOptions::default()
        };
        let r = self.resource(gvr)?;
        self.write(MANAGER, |call| self.server.delete(call, &r, ns, name, &o))
            .map(drop)
    }

    /// Deletes without grace (finalizers hold it still).
    ///
    /// # Errors
    /// 404 when it is not there.
    pub fn delete_now(&self, gvr: &Gvr, ns: &str, name: &str) -> Result<(), Status> {
        let o = DeleteOptions {
            propagation: Some(Propagation::Background),
            grace_period_seconds: Some(0),
            ..DeleteOptions::default()
        };
        let r = self.resource(gvr)?;
        self.write(MANAGER, |call| self.server.delete(call, &r, ns, name, &o))
            .map(drop)
    }

    /// Binds a pod to a node (`pods/binding`).
    ///
    /// # Errors
    /// 404 when the pod is not there, 409 when it is bound already or another pod (`uid`).
    pub fn bind(&self, ns: &str, pod: &str, uid: &str, node: &str) -> Result<(), Status> {
        let r = self.resource(&Gvr::new("", "v1", "pods"))?;
        let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod, "namespace": ns, "uid": uid},
            "target": {"kind": "Node", "name": node}});
        self.write("kube-scheduler", |call| self.server.bind(call, &r, ns, pod, &body))
    }

    /// Takes the finalizer `kubernetes` off a namespace (`namespaces/finalize`): it goes once nothing else holds it.
    ///
    /// # Errors
    /// 404 when it is not there.
    pub fn finalize_namespace(&self, name: &str) -> Result<(), Status> {
        let r = self.resource(&Gvr::new("", "v1", "namespaces"))?;
        let mut ns = (*self.server.get(&r, "", name)?.value()).clone();
        ns["spec"]["finalizers"] = json!([]);
        let target = Target {
            resource: &r,
            namespace: "",
            name,
            subresource: Some("finalize"),
        };
        self.write(MANAGER, |call| self.server.update(call, &target, ns))
            .map(drop)
    }

    /// The resource of a kind (as owner references name it) and whether it is namespaced.
    #[must_use]
    pub fn resource_of(&self, api_version: &str, kind: &str) -> Option<(Gvr, bool)> {
        let r = self.server.catalog.of_kind(api_version, kind)?;
        Some((r.gvr(), r.namespaced))
    }

    /// Every resource that is stored (one version of each), custom ones included, and whether it is namespaced.
    #[must_use]
    pub fn resources(&self) -> Vec<(Gvr, bool)> {
        self.server
            .catalog
            .stored()
            .into_iter()
            .map(|r| (r.gvr(), r.namespaced))
            .collect()
    }

    /// Where logs and commands of the pods on `node` are answered; `None` takes it away.
    pub fn set_node_hook(&self, node: &str, hook: Option<Arc<dyn NodeHook>>) {
        self.server.set_node_hook(node, hook);
    }
}

/// Changes as they come. Those that wait to be read are held as the store holds them.
pub struct Changes(Source);

impl Changes {
    /// The next change; `None`: the cluster is gone.
    pub async fn recv(&mut self) -> Option<WatchEvent> {
        self.0.recv().await.map(|e| WatchEvent::of(&e))
    }

    /// The next change, if there is one already.
    pub fn try_recv(&mut self) -> Option<WatchEvent> {
        self.0.try_recv().ok().map(|e| WatchEvent::of(&e))
    }
}

impl WatchEvent {
    fn of(e: &Event) -> Self {
        Self {
            kind: e.kind,
            gvr: (*e.resource).clone(),
            // Of a backlog, most are packed by the time they are read.
            object: e.object.peek(),
            previous: e.previous.as_ref().map(|p| p.peek()),
            stored: e.object.clone(),
            revision: e.revision,
        }
    }
}
