//! Built-in workloads: containers that are code of ours, run in this process when the image is ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cfn_net::{ClientConfig, Net, Seed, SharedClock};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::shell::{Input, Process};
use crate::controllers::object::Object;

/// Where bytes go.
pub type Write = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// A container of ours.
#[async_trait]
pub trait Workload: Send + Sync {
    /// Runs until it ends by itself or `ctx.cancel` asks it to; returns the exit code.
    async fn run(&self, ctx: WorkloadContext) -> i32;

    /// Whether it can be this container of this pod; if not, the container is a simulated one.
    fn runs(&self, pod: &Value, container: &Value) -> bool {
        let _ = (pod, container);
        true
    }

    /// Whether it is given the pod's volumes and what else a process has.
    fn has_files(&self) -> bool {
        false
    }
}

/// What a built-in container has around it.
pub struct WorkloadContext {
    /// The pod as the kubelet knew it when the container started.
    pub pod: Arc<Value>,
    /// The container's name.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Its arguments (`command` and `args`), `$(VAR)` expanded.
    pub args: Vec<String>,
    /// Its environment, references resolved.
    pub env: BTreeMap<String, String>,
    /// Its host name in the network: the pod's address, or the node's name with `hostNetwork`.
    pub host: String,
    /// The node it runs on.
    pub node: String,
    /// The node's site.
    pub site: String,
    /// The network.
    pub net: Net,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness of its own: the same for the same pod name, container and restart.
    pub seed: Seed,
    /// How it reaches its API server, with its service account's token; `None` when the node offers none.
    pub api: Option<ClientConfig>,
    /// Where it says whether it is ready; it is not until it says so.
    pub ready: watch::Sender<bool>,
    /// Its log, line by line.
    pub log: Arc<dyn Fn(&str) + Send + Sync>,
    /// Its log, bytes as they come.
    pub write: Write,
    /// Its files and what else a process has, when the workload asked for it.
    pub(crate) process: Option<Process>,
    /// Says that it has started, for those that are looked at before (`startupProbe`).
    pub(crate) started: Arc<dyn Fn() + Send + Sync>,
    /// Its standard input.
    pub(crate) input: Input,
    /// Asks it to end (SIGTERM). After the grace period its task is dropped (SIGKILL).
    pub cancel: CancellationToken,
}

/// The built-in workloads of a testbed, by the start of the image's name.
#[derive(Clone, Default)]
pub struct Workloads {
    by_prefix: BTreeMap<String, Arc<dyn Workload>>,
}

impl Workloads {
    /// Images that start with `image_prefix` are `w`. The longest prefix counts.
    pub fn register(&mut self, image_prefix: &str, w: Arc<dyn Workload>) {
        self.by_prefix.insert(image_prefix.to_owned(), w);
    }

    /// The workload that is a container, if one can be it.
    pub(crate) fn find_for(&self, pod: &Value, container: &Value) -> Option<Arc<dyn Workload>> {
        self.find(container.text("/image")).filter(|w| w.runs(pod, container))
    }

    /// The workload behind an image.
    #[must_use]
    pub fn find(&self, image: &str) -> Option<Arc<dyn Workload>> {
        let matching = self.by_prefix.iter().filter(|(p, _)| image.starts_with(p.as_str()));
        matching.max_by_key(|(p, _)| p.len()).map(|(_, w)| w.clone())
    }
}

impl std::fmt::Debug for Workloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_prefix.keys()).finish()
    }
}
