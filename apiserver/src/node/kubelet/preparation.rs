//! What a built-in container needs before it starts: its environment and its token.

use std::sync::Arc;

use cfn_net::Identity;
use serde_json::{Value, json};

use super::Message;
use crate::controllers::object::Object;
use crate::node::NodeOptions;
use crate::node::env::{self, Addresses};
use crate::node::rest::Rest;
use crate::node::runtime::{Prepared, Runtime};
use crate::node::status::Named;

/// Everything a built-in container needs from the API server before it starts.
pub(super) struct Preparation {
    pub(super) o: Arc<NodeOptions>,
    pub(super) rest: Rest,
    pub(super) runtime: Arc<Runtime>,
    pub(super) uid: String,
    pub(super) pod: Arc<Value>,
    pub(super) container: Value,
    pub(super) host_ip: String,
    pub(super) pod_ip: Option<String>,
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
        let env = env::resolve(&self.rest, &self.pod, &self.container, &addresses).await?;
        let host = self.pod_ip.clone().unwrap_or_else(|| self.o.name.clone());
        let key = format!(
            "{}/{}/{}",
            self.pod.namespace(),
            self.pod.name(),
            self.container.name_of()
        );
        Ok(Prepared {
            pod: self.pod.clone(),
            args: env::arguments(&self.container, &env),
            env,
            host,
            seed: self.o.seed.child("workload").child(&key),
            api: self.api().await?,
        })
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
