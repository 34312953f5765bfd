//! Simulated nodes: a kubelet and a container runtime in one process, behind the Kubernetes API only. The kubelet
//! talks through the [`kube::Client`] it is given, which may lead to the API server or to an edge agent's proxy. How
//! containers live is data ([`Stages`]); containers whose image is ours run for real ([`Workload`]).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use cfn_net::{ClientConfig, Net, Seed, SharedClock};
use k8s_openapi::api::core::v1::Taint;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::controllers::Timers;
use crate::local::{LogOptions, NodeHook};

mod dns;
pub(crate) use dns::CLUSTER_DNS;
mod env;
mod events;
mod files;
mod heartbeat;
mod images;
mod kernel;
mod kubelet;
mod lifecycle;
mod log;
mod mounts;
mod network;
mod probes;
mod pull;
mod rest;
mod runtime;
mod services;
pub mod shell;
mod stages;
mod status;
#[cfg(test)]
mod tests;
mod volumes;
mod workload;
mod writer;

pub use runtime::RunningPod;
pub use stages::{ContainerKind, Delay, Next, Requirement, Stage, Stages, StagesError, State, When};
pub use workload::{Workload, WorkloadContext, Workloads, Write};

/// What a node is made of.
#[derive(Clone)]
pub struct NodeOptions {
    /// The node's name, which is its host's name in the network too (put there before).
    pub name: String,
    /// Labels beside `kubernetes.io/hostname`, `os` and `arch`.
    pub labels: BTreeMap<String, String>,
    /// Annotations it registers with.
    pub annotations: BTreeMap<String, String>,
    /// Taints it registers with.
    pub taints: Vec<Taint>,
    /// What it has, `cpu: "4"`; 4 CPUs, 8Gi and 110 pods where nothing is said. All of it is allocatable.
    pub capacity: BTreeMap<String, String>,
    /// The node's only way to its API server.
    pub client: kube::Client,
    /// The network its pods are hosts of.
    pub net: Net,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness of this node.
    pub seed: Seed,
    /// Periods.
    pub timers: Timers,
    /// Code behind images of ours.
    pub workloads: Workloads,
    /// How other containers live.
    pub stages: Stages,
    /// Its pods' addresses, IPv4, `10.1.2.0/24`; the first one is the node's own unless its name is an address.
    pub pod_cidr: String,
    /// How built-in pods reach their API server; their service account's token is put in.
    pub token_config: Option<ClientConfig>,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// `pod_cidr` is no IPv4 network with room for pods.
    #[error("pod CIDR '{0}' is no IPv4 network such as 10.1.2.0/24")]
    PodCidr(String),
    /// The node's name is no host of the network.
    #[error("node '{0}' is no host of the network")]
    UnknownHost(String),
}

/// A node's kubelet, while it runs.
struct Process {
    cancel: CancellationToken,
    tasks: JoinSet<()>,
}

struct Inner {
    options: Arc<NodeOptions>,
    host_ip: String,
    runtime: Arc<runtime::Runtime>,
    process: Mutex<Option<Process>>,
    crashed: Mutex<bool>,
}

/// A node. Cheap to clone; the last one dropped ends everything on the host.
#[derive(Clone)]
pub struct NodeHandle {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeHandle")
            .field("name", &self.inner.options.name)
            .finish_non_exhaustive()
    }
}

/// Address and size of an IPv4 network.
fn network(cidr: &str) -> Option<(Ipv4Addr, u32)> {
    let (base, bits) = cidr.split_once('/')?;
    let bits: u32 = bits.parse().ok().filter(|b| (8..=29).contains(b))?;
    let size = 1_u32 << (32 - bits);
    let base: Ipv4Addr = base.parse().ok()?;
    Some((Ipv4Addr::from(u32::from(base) & !(size - 1)), size))
}

/// Starts a node: its host is on, its kubelet registers and beats, all in the background.
///
/// # Errors
/// When the options do not hold together. An API server that is out of reach is no error: the kubelet goes on trying.
#[allow(
    clippy::unused_async,
    reason = "part of the interface: starting may have to wait one day"
)]
pub async fn start(o: NodeOptions) -> Result<NodeHandle, NodeError> {
    let (base, size) = network(&o.pod_cidr).ok_or_else(|| NodeError::PodCidr(o.pod_cidr.clone()))?;
    if o.net.site_of(&o.name).is_none() {
        return Err(NodeError::UnknownHost(o.name.clone()));
    }
    let own = Ipv4Addr::from(u32::from(base) + 1).to_string();
    let host_ip = if o.name.parse::<std::net::IpAddr>().is_ok() {
        o.name.clone()
    } else {
        own
    };
    let pods: u32 = o.capacity.get("pods").and_then(|p| p.parse().ok()).unwrap_or(110);
    // A node that is said to run more pods than its range has addresses runs them nevertheless.
    let addresses = match pods > runtime::room(size) {
        true => runtime::Addresses::Shared,
        false => runtime::Addresses::Own,
    };
    let runtime = runtime::Runtime::new(&o.name, o.net.clone(), o.clock.clone(), (base, size), addresses);
    let runtime = Arc::new(runtime);
    let inner = Inner {
        options: Arc::new(o),
        host_ip,
        runtime,
        process: Mutex::new(None),
        crashed: Mutex::new(false),
    };
    let handle = NodeHandle { inner: Arc::new(inner) };
    handle.spawn();
    Ok(handle)
}

impl NodeHandle {
    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.options.name
    }

    /// The node's address (`status.addresses`, `hostIP`).
    #[must_use]
    pub fn host_ip(&self) -> &str {
        &self.inner.host_ip
    }

    fn take(&self) -> Option<Process> {
        self.inner.process.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn spawn(&self) {
        let i = &self.inner;
        let mut process = i.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.is_some() {
            return;
        }
        let cancel = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let rest = rest::Rest::new(i.options.client.clone());
        tasks.spawn(heartbeat::run(
            i.options.clone(),
            i.host_ip.clone(),
            rest.clone(),
            cancel.clone(),
        ));
        let writer = Arc::new(writer::Writer::default());
        let (tell, messages) = mpsc::unbounded_channel();
        let (w, r, t, c) = (writer.clone(), rest.clone(), tell.clone(), cancel.clone());
        tasks.spawn(async move {
            tokio::select! {
                biased;
                () = c.cancelled() => {}
                () = w.run(&r, &t) => {}
            }
        });
        let (o, rt) = (i.options.clone(), i.runtime.clone());
        let kubelet = kubelet::Kubelet::new(o, rest, rt, i.host_ip.clone(), writer, tell, cancel.clone());
        tasks.spawn(kubelet.run(messages));
        *process = Some(Process { cancel, tasks });
    }

    /// Ends the kubelet; containers go on.
    pub async fn stop(&self) {
        if let Some(mut p) = self.take() {
            p.cancel.cancel();
            while p.tasks.join_next().await.is_some() {}
        }
    }

    /// The host dies: the kubelet, its containers and its connections with it.
    pub async fn crash(&self) {
        *self.inner.crashed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.inner.runtime.crash();
        self.stop().await;
    }

    /// Starts the kubelet again (and the host, after [`NodeHandle::crash`]). It learns its pods from its API endpoint:
    /// containers that still run are adopted as they are; those that died are started anew, `restartCount` one more.
    #[allow(clippy::unused_async, reason = "as stop and crash")]
    pub async fn restart(&self) {
        let crashed = std::mem::take(&mut *self.inner.crashed.lock().unwrap_or_else(PoisonError::into_inner));
        if crashed {
            self.inner.runtime.boot();
        }
        self.spawn();
    }

    /// Whether the kubelet runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.inner
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// What really runs on the host now, whatever any API says.
    #[must_use]
    pub fn running(&self) -> Vec<RunningPod> {
        self.inner.runtime.running()
    }

    /// The log of a container of ours so far (the last 2000 lines), or `None` when it is not on this host.
    #[must_use]
    pub fn logs(&self, namespace: &str, pod: &str, container: &str) -> Option<String> {
        let log = self
            .inner
            .runtime
            .log(namespace, pod, container, &LogOptions::default())?;
        Some(String::from_utf8_lossy(&log).into_owned())
    }

    /// What the API server asks for logs.
    #[must_use]
    pub fn hook(&self) -> Arc<dyn NodeHook> {
        self.inner.runtime.clone()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(p) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            p.cancel.cancel();
        }
        for uid in self.runtime.pods() {
            self.runtime.remove(&uid);
        }
    }
}
