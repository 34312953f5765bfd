//! What a built-in container needs before it starts: its environment and its token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cfn_net::Identity;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::Message;
use crate::controllers::object::Object;
use crate::node::NodeOptions;
use crate::node::dns::ResolvConf;
use crate::node::env::{self, Addresses};
use crate::node::files::{Inode, Volume};
use crate::node::mounts::{self, PodVolumes};
use crate::node::network::Network;
use crate::node::rest::Rest;
use crate::node::runtime::{Prepared, Runtime};
use crate::node::services::Services;
use crate::node::shell::Process;
use crate::node::status::Named;
use crate::node::volumes::{self, Sources};

/// How often volumes follow what their content comes from (the kubelet's sync and its caches: up to 2 minutes).
const FOLLOW: Duration = Duration::from_secs(10);

/// Everything a built-in container needs from the API server before it starts.
#[derive(Clone)]
pub(super) struct Preparation {
    pub(super) o: Arc<NodeOptions>,
    pub(super) rest: Rest,
    pub(super) runtime: Arc<Runtime>,
    pub(super) uid: String,
    pub(super) pod: Arc<Value>,
    pub(super) container: Value,
    pub(super) host_ip: String,
    pub(super) pod_ip: Option<String>,
    /// Whether it is given volumes.
    pub(super) has_files: bool,
    /// Where services of the cluster lead.
    pub(super) services: Arc<Services>,
    /// The kubelet's end.
    pub(super) cancel: CancellationToken,
}

impl Preparation {
    pub(super) async fn run(self) -> Message {
        let result = self.prepare().await.map(Box::new);
        Message::Prepared {
            uid: self.uid,
            container: self.container.name_of().to_owned(),
            result,
        }
    }

    async fn prepare(&self) -> Result<Prepared, String> {
        let ip = self.pod_ip.as_deref().unwrap_or(&self.host_ip);
        let addresses = Addresses {
            pod_ip: ip,
            host_ip: &self.host_ip,
        };
        let services = match self.has_files {
            true => env::of_services(&self.rest, &self.pod).await?,
            false => BTreeMap::new(),
        };
        let capacity = &self.o.capacity;
        let env = env::resolve(&self.rest, &self.pod, &self.container, &addresses, capacity, services).await?;
        let host = self.pod_ip.clone().unwrap_or_else(|| self.o.name.clone());
        let key = format!(
            "{}/{}/{}",
            self.pod.namespace(),
            self.pod.name(),
            self.container.name_of()
        );
        let (process, last_words) = match self.has_files {
            true => {
                let (p, w) = self.process(&env, ip).await?;
                (Some(p), Some(w))
            }
            false => (None, None),
        };
        Ok(Prepared {
            process,
            last_words,
            pod: self.pod.clone(),
            args: env::arguments(&self.container, &env),
            env,
            host,
            seed: self.o.seed.child("workload").child(&key),
            api: self.api().await?,
        })
    }

    /// What an interpreted container has, over the pod's volumes, which are made for its first one.
    async fn process(&self, env: &BTreeMap<String, String>, ip: &str) -> Result<(Process, Volume), String> {
        let Some(kept) = self.runtime.volumes(&self.uid) else {
            return Err("its pod is gone".into());
        };
        let mut kept = kept.lock().await;
        if kept.is_none() {
            let sources = self.sources(&self.pod);
            let mut made = PodVolumes::default();
            for v in self
                .pod
                .items("/spec/volumes")
                .iter()
                .filter(|v| v.get("hostPath").is_none())
            {
                made.by_name.insert(v.name_of().to_owned(), sources.make(v).await?);
            }
            let hosts = volumes::hosts(&self.pod, &self.o.name, ip);
            let file = |text: String| Some(Volume::new(Inode::file(0o644, text.into_bytes()), "61267"));
            made.hosts = file(hosts);
            made.resolv_conf = file(ResolvConf::of(&self.pod).text());
            if self.pod.items("/spec/volumes").iter().any(volumes::is_content) {
                tokio::spawn(self.clone().follow(made.clone()));
            }
            *kept = Some(made);
        }
        let (pod, node) = (&self.pod, &self.o.name);
        let volumes = kept.clone().unwrap_or_default();
        let made = mounts::container_files(pod, &self.container, node, env, &volumes, self.runtime.host_files())?;
        let host = self.pod_ip.clone().unwrap_or_else(|| node.clone());
        let net = Some(Network {
            net: self.o.net.clone(),
            host,
            of_node: self.pod_ip.is_none(),
            services: Some(self.services.clone()),
            files: None,
        });
        let process = Process::of(pod, &self.container, node, env, made.files, &self.o.clock, net);
        Ok((process, made.last_words))
    }

    fn sources<'a>(&'a self, pod: &'a Value) -> Sources<'a> {
        Sources {
            rest: &self.rest,
            node: &self.o,
            pod,
            addresses: Addresses {
                pod_ip: self.pod_ip.as_deref().unwrap_or(&self.host_ip),
                host_ip: &self.host_ip,
            },
        }
    }

    /// Volumes with content of the API follow it while their pod is here.
    async fn follow(self, made: PodVolumes) {
        loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return,
                () = tokio::time::sleep(FOLLOW) => {}
            }
            if self.runtime.volumes(&self.uid).is_none() {
                return;
            }
            let path = format!("/api/v1/namespaces/{}/pods/{}", self.pod.namespace(), self.pod.name());
            let Ok(pod) = self.rest.get(&path).await else { continue };
            let sources = self.sources(&pod);
            for v in self
                .pod
                .items("/spec/volumes")
                .iter()
                .filter(|v| volumes::is_content(v))
            {
                // What cannot be had now stays as it is.
                if let (Ok(tree), Some(kept)) = (sources.content(v).await, made.by_name.get(v.name_of())) {
                    *kept.tree() = tree;
                }
            }
        }
    }

    /// The API server with the pod's service account token (`serviceaccounts/token`). The last token is kept on the
    /// host's disk: a node that is cut off starts its pods again.
    async fn api(&self) -> Result<Option<cfn_net::ClientConfig>, String> {
        let Some(config) = &self.o.token_config else {
            return Ok(None);
        };
        if self.pod.pointer("/spec/automountServiceAccountToken") == Some(&json!(false)) {
            return Ok(None);
        }
        let account = match self.pod.text("/spec/serviceAccountName") {
            "" => "default",
            a => a,
        };
        let path = format!(
            "/api/v1/namespaces/{}/serviceaccounts/{account}/token",
            self.pod.namespace()
        );
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": 365 * 24 * 3600,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": self.pod.name(), "uid": self.pod.uid()}}});
        let token = match self.rest.post(&path, &body).await {
            Ok(t) => {
                let token = t.text("/status/token").to_owned();
                self.runtime.keep_token(&self.uid, &token);
                token
            }
            Err(e) => match self.runtime.token(&self.uid) {
                Some(t) if e.code() == 0 || e.code() >= 500 => t,
                _ => return Err(format!("MountVolume.SetUp failed for volume \"kube-api-access\": {e}")),
            },
        };
        Ok(Some(cfn_net::ClientConfig {
            identity: Identity::Token(token),
            ..config.clone()
        }))
    }
}
