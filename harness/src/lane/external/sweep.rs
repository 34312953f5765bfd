//! Leaving nothing: what the run made is deleted, in an order in which the components still do their part of it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use cfn_api::cfn::ComputingMetric;
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::Work;
use cfn_api::names::{BOOTSTRAP_ACCOUNT, CFN_NAMESPACE, LEASE_NAMESPACE, execution_namespace};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::inventory::{Before, is_components, is_components_namespace};
use super::{Bed, LABEL};

/// How long the components, and the clusters' own garbage collection, may take for each part.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

type Result<T = ()> = kube::Result<T>;

/// A missing thing is as good as deleted; so is a kind that is not there.
fn gone(r: Result) -> Result {
    match r {
        Err(kube::Error::Api(s)) if s.code == 404 => Ok(()),
        r => r,
    }
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result
where
    K: Clone + DeserializeOwned + Debug,
{
    gone(api.delete(name, &DeleteParams::background()).await.map(drop))
}

/// All objects that `api` has.
async fn all<K>(api: &Api<K>) -> Result<Vec<K>>
where
    K: Clone + DeserializeOwned + Debug,
{
    Ok(api.list(&ListParams::default()).await?.items)
}

/// What is waited for to be gone.
enum Left<'a> {
    /// Works of these members.
    Works(&'a BTreeSet<String>),
    /// These members.
    Members(&'a BTreeSet<String>),
    /// Namespaces that the components made.
    Namespaces(&'a Before),
    /// CRDs with this label.
    Kinds(&'a str),
}

impl Left<'_> {
    /// What there still is.
    async fn names(&self, client: &Client) -> Result<Vec<String>> {
        match self {
            Left::Works(members) => {
                let mut left = Vec::new();
                for m in *members {
                    let api: Api<Work> = Api::namespaced(client.clone(), &execution_namespace(m));
                    left.extend(all(&api).await?.iter().map(ResourceExt::name_any));
                }
                Ok(left)
            }
            Left::Members(members) => {
                let there = all::<Cluster>(&Api::all(client.clone())).await?;
                let names = there.iter().map(ResourceExt::name_any);
                Ok(names.filter(|n| members.contains(n)).collect())
            }
            Left::Namespaces(before) => {
                let there = all::<Namespace>(&Api::all(client.clone())).await?;
                let names = there.iter().map(ResourceExt::name_any);
                Ok(names
                    .filter(|n| is_components_namespace(n) && !before.namespaces.contains(n))
                    .collect())
            }
            Left::Kinds(run) => {
                let there = all::<CustomResourceDefinition>(&Api::all(client.clone())).await?;
                let ours = there.iter().filter(|c| c.labels().get(LABEL).is_some_and(|l| l == run));
                Ok(ours.map(ResourceExt::name_any).collect())
            }
        }
    }

    /// Waits until there is nothing; tells what is left when it takes too long.
    async fn gone(&self, client: &Client, patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            match self.names(client).await {
                Ok(l) if l.is_empty() => return,
                Err(kube::Error::Api(s)) if s.code == 404 => return,
                Ok(l) if Instant::now() >= until => {
                    tracing::warn!("left after {patience:?}: {}", l.join(", "));
                    return;
                }
                Err(e) if Instant::now() >= until => {
                    tracing::warn!("cleaning up: {e}");
                    return;
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

impl Bed {
    /// Takes everything of this run away; what could not be is told.
    pub(super) async fn clean(&self) {
        let told = |what: &str, r: Result| {
            if let Err(e) = r {
                tracing::warn!("cleaning up {what}: {e}");
            }
        };
        let patience = PATIENCE + self.timers.of("clusterLeaveTimeout");
        let ours = self.joined.lock().await.clone();
        if let Ok(hub) = self.hub()
            && !ours.is_empty()
        {
            // A component that a scenario killed still has to let go of what it did.
            if let Err(e) = self.all_running().await {
                tracing::warn!("cleaning up: {e}");
            }
            told("what was applied", self.labelled(&hub.client, false).await);
            Left::Works(&ours).gone(&hub.client, patience).await;
            let api: Api<Cluster> = Api::all(hub.client.clone());
            for m in &ours {
                told(m, delete(&api, m).await);
            }
            Left::Members(&ours).gone(&hub.client, patience).await;
        }
        self.cancel.cancel();
        for (_, p) in std::mem::take(&mut *self.processes.lock().await) {
            let _ = tokio::time::timeout(Duration::from_secs(5), p.task).await;
        }
        let before = self.before.lock().await.clone();
        for (name, c) in &self.clusters {
            // Nothing was made where nothing was looked at.
            let Some(before) = before.get(name) else { continue };
            told(name, self.rest(&c.client, before, &ours).await);
        }
    }

    /// Deletes what bears our label; `all` includes what the run stands on: namespaces, CRDs.
    async fn labelled(&self, client: &Client, all: bool) -> Result {
        let ours = ListParams::default().labels(&format!("{LABEL}={}", self.name));
        let found = Discovery::new(client.clone()).run().await?;
        for group in found.groups() {
            for (resource, can) in group.recommended_resources() {
                let base = matches!(resource.kind.as_str(), "Namespace" | "CustomResourceDefinition");
                let account = matches!(resource.kind.as_str(), "ServiceAccount" | "ConfigMap");
                if !can.supports_operation(verbs::LIST) || !can.supports_operation(verbs::DELETE) || (base && !all) {
                    continue;
                }
                let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
                let items = match api.list(&ours).await {
                    Ok(l) => l.items,
                    Err(kube::Error::Api(s)) if [403, 404, 405].contains(&s.code) => continue,
                    Err(e) => return Err(e),
                };
                for o in items {
                    let namespace = o.namespace().unwrap_or_default();
                    if account && !all && namespace == CFN_NAMESPACE {
                        // What agents ask with is needed to the end.
                        continue;
                    }
                    let api: Api<DynamicObject> = match can.scope {
                        Scope::Cluster => Api::all_with(client.clone(), &resource),
                        Scope::Namespaced => Api::namespaced_with(client.clone(), &namespace, &resource),
                    };
                    delete(&api, &o.name_any()).await?;
                }
            }
        }
        Ok(())
    }

    /// What the components made under fixed names and was not there before, and what they stood on.
    async fn rest(&self, client: &Client, before: &Before, ours: &BTreeSet<String>) -> Result {
        let account = format!("system:serviceaccount:{CFN_NAMESPACE}:{BOOTSTRAP_ACCOUNT}");
        let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
        for r in all(&requests).await? {
            if r.spec.username.as_deref() == Some(&account) {
                delete(&requests, &r.name_any()).await?;
            }
        }
        let leases: Api<Lease> = Api::namespaced(client.clone(), LEASE_NAMESPACE);
        let metrics: Api<ComputingMetric> = Api::all(client.clone());
        for m in ours {
            delete(&leases, m).await?;
            delete(&metrics, m).await?;
        }
        self.labelled(client, true).await?;
        let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
        for b in all(&bindings).await? {
            if fresh(&b.name_any(), &before.bindings) {
                delete(&bindings, &b.name_any()).await?;
            }
        }
        let roles: Api<ClusterRole> = Api::all(client.clone());
        for r in all(&roles).await? {
            if fresh(&r.name_any(), &before.roles) {
                delete(&roles, &r.name_any()).await?;
            }
        }
        let namespaces: Api<Namespace> = Api::all(client.clone());
        let made = Left::Namespaces(before);
        for n in made.names(client).await? {
            delete(&namespaces, &n).await?;
        }
        made.gone(client, PATIENCE).await;
        Left::Kinds(&self.name).gone(client, PATIENCE).await;
        Ok(())
    }
}

/// Whether the components made it in this run.
fn fresh(name: &str, before: &BTreeSet<String>) -> bool {
    is_components(name) && !before.contains(name)
}
