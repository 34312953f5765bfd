//! Push mode: members without an agent of their own. The hub's side reaches into each member with the credentials that
//! its Cluster names, and does there what an agent would: status, lease, Works (Karmada's controller manager).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cfn_api::karmada::cluster::{Cluster, ClusterSpec, LocalSecretReference, SyncMode};
use cfn_api::names;
use cfn_net::{ClientConfig, Identity, Net, Seed, SharedClock};
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::member::{Context, is_not_found, until_ok};
use super::register::MANAGER;
use super::{AgentTimers, ClusterAgentOptions, customize, execute, lease, report};

/// Key of the member's CA in the secret.
const CA: &str = "caBundle";
/// Key of the bearer token in the secret.
const TOKEN: &str = "token";
/// How long a token that [`join`] asks for is good, seconds (a year; the member's API server may give less).
const TOKEN_SECONDS: i64 = 365 * 24 * 3600;
/// Longest that a request to a member may take.
const LONGEST_REQUEST: Duration = Duration::from_secs(10);

/// What reaching into members needs.
#[derive(Clone)]
pub struct PushOptions {
    /// The hub, with the rights of its administrator.
    pub hub: kube::Client,
    /// The network, and the host in it that the members are reached from.
    pub net: Net,
    /// The host.
    pub host: String,
    /// Wall time.
    pub clock: SharedClock,
    /// Randomness.
    pub seed: Seed,
    /// How often what happens.
    pub timers: AgentTimers,
}

/// Why a member cannot be reached by its Cluster's secret.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The API server said no.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The Cluster has no apiEndpoint or secretRef.
    #[error("cluster '{0}' has no apiEndpoint or secretRef")]
    Incomplete(String),
    /// The secret lacks a token or a CA.
    #[error("secret '{secret}' has no usable '{key}'")]
    Secret {
        /// Namespace and name.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// Endpoint or credentials do not parse.
    #[error(transparent)]
    Client(#[from] cfn_net::client::ClientError),
}

/// What of a Cluster decides how it is reached.
type Reach = (Option<String>, Option<LocalSecretReference>);

fn reach(c: &Cluster) -> Option<Reach> {
    (c.spec.sync_mode == SyncMode::Push && c.spec.secret_ref.is_some())
        .then(|| (c.spec.api_endpoint.clone(), c.spec.secret_ref.clone()))
}

/// Serves every Push member of the hub until cancelled.
pub async fn run(options: PushOptions, cancel: CancellationToken) -> Result<(), PushError> {
    let options = Arc::new(options);
    let api: Api<Cluster> = Api::all(options.hub.clone());
    let mut events = std::pin::pin!(cfn_net::watch::watch(api, watcher::Config::default()));
    let mut served: BTreeMap<String, (Reach, CancellationToken)> = BTreeMap::new();
    let mut listed: Vec<Cluster> = Vec::new();
    let mut tasks = JoinSet::new();
    let all = cancel.child_token();
    let _ends_with_us = all.clone().drop_guard();
    loop {
        let event = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            Some(e) = events.next() => e,
        };
        let mut serve = |c: Cluster| {
            let name = c.name_any();
            let wanted = reach(&c);
            if served.get(&name).map(|(r, _)| r) == wanted.as_ref() {
                return;
            }
            if let Some((_, stop)) = served.remove(&name) {
                stop.cancel();
            }
            if let Some(reach) = wanted {
                let stop = all.child_token();
                tasks.spawn(member(Arc::clone(&options), c, stop.clone()));
                served.insert(name, (reach, stop));
            }
        };
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(c)) => listed.push(c),
            Ok(watcher::Event::InitDone) => {
                let here: Vec<String> = listed.iter().map(ResourceExt::name_any).collect();
                for c in std::mem::take(&mut listed) {
                    serve(c);
                }
                served.retain(|n, (_, stop)| {
                    let stays = here.contains(n);
                    if !stays {
                        stop.cancel();
                    }
                    stays
                });
            }
            Ok(watcher::Event::Apply(c)) => serve(c),
            Ok(watcher::Event::Delete(c)) => {
                if let Some((_, stop)) = served.remove(&c.name_any()) {
                    stop.cancel();
                }
            }
            Err(e) => tracing::debug!("watching clusters: {e}"),
        }
    }
}

/// One member, until it is dismissed.
async fn member(options: Arc<PushOptions>, cluster: Cluster, stop: CancellationToken) {
    let name = cluster.name_any();
    let work = async {
        let client = until_ok(&format!("reaching {name}"), || client(&options, &cluster)).await;
        let o = ClusterAgentOptions {
            cluster: name.clone(),
            site: options.net.site_of(&options.host).unwrap_or_default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            provider: None,
            region: None,
            zones: Vec::new(),
            net: options.net.clone(),
            host: options.host.clone(),
            // Never used: the hub's client is there already.
            hub: ClientConfig {
                server: String::new(),
                ca_pem: String::new(),
                identity: Identity::Anonymous,
                timeout: LONGEST_REQUEST,
            },
            member: client,
            clock: options.clock.clone(),
            seed: options.seed.child(&name),
            timers: options.timers.clone(),
            state: super::identity::State::Forgotten,
            ready: None,
            autonomy: false,
        };
        let ctx = Context::new(options.hub.clone(), o);
        tokio::select! {
            biased;
            () = lease::renew(&ctx) => {}
            () = report::run(&ctx) => {}
            () = execute::run(&ctx) => {}
            () = customize::run(&ctx) => {}
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// A client of the member, with the credentials of the secret that its Cluster names.
async fn client(options: &PushOptions, cluster: &Cluster) -> Result<kube::Client, PushError> {
    let incomplete = || PushError::Incomplete(cluster.name_any());
    let reference = cluster.spec.secret_ref.as_ref().ok_or_else(incomplete)?;
    let server = cluster.spec.api_endpoint.clone().ok_or_else(incomplete)?;
    let api: Api<Secret> = Api::namespaced(options.hub.clone(), &reference.namespace);
    let secret = api.get(&reference.name).await?;
    let text = |key: &'static str| {
        let data = secret.data.as_ref().and_then(|d| d.get(key));
        data.and_then(|b| String::from_utf8(b.0.clone()).ok())
            .filter(|t| !t.is_empty())
            .ok_or_else(|| PushError::Secret {
                secret: format!("{}/{}", reference.namespace, reference.name),
                key,
            })
    };
    let config = ClientConfig {
        server,
        ca_pem: text(CA)?,
        identity: Identity::Token(text(TOKEN)?),
        timeout: options
            .timers
            .cluster_status_update_frequency
            .clamp(Duration::from_millis(500), LONGEST_REQUEST),
    };
    Ok(config.client(&options.net, &options.host)?)
}

/// What a Push member is registered with.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Name on the hub.
    pub name: String,
    /// Labels of its Cluster.
    pub labels: BTreeMap<String, String>,
    /// Annotations of its Cluster.
    pub annotations: BTreeMap<String, String>,
    /// Provider, region, zones, taints; endpoint and mode are filled in.
    pub spec: ClusterSpec,
    /// `https://host:port` of the member's API server, as the hub reaches it.
    pub endpoint: String,
    /// The CA of that server, PEM.
    pub ca_pem: String,
}

/// Registers a Push member: an account of the hub's in the member, its token in a secret on the hub, the Cluster.
///
/// # Errors
/// When one of the two API servers refuses.
pub async fn join(hub: &kube::Client, member: &kube::Client, r: &Registration) -> Result<(), PushError> {
    let account = format!("karmada-{}", r.name);
    let params = PatchParams::apply(MANAGER).force();
    for client in [member, hub] {
        let api: Api<Namespace> = Api::all(client.clone());
        let ns = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names::LEASE_NAMESPACE}});
        api.patch(names::LEASE_NAMESPACE, &params, &Patch::Apply(&ns)).await?;
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(member.clone(), names::LEASE_NAMESPACE);
    let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
    accounts.patch(&account, &params, &Patch::Apply(&object)).await?;
    let bindings: Api<ClusterRoleBinding> = Api::all(member.clone());
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": names::LEASE_NAMESPACE}],
    });
    bindings.patch(&account, &params, &Patch::Apply(&binding)).await?;
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            expiration_seconds: Some(TOKEN_SECONDS),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    };
    let token = accounts
        .create_token_request(&account, &PostParams::default(), &request)
        .await?
        .status
        .and_then(|s| s.token)
        .unwrap_or_default();
    let id = Api::<Namespace>::all(member.clone()).get("kube-system").await?.uid();
    let secrets: Api<Secret> = Api::namespaced(hub.clone(), names::LEASE_NAMESPACE);
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": r.name, "namespace": names::LEASE_NAMESPACE},
        "data": {CA: ByteString(r.ca_pem.clone().into_bytes()), TOKEN: ByteString(token.into_bytes())},
    });
    secrets.patch(&r.name, &params, &Patch::Apply(&secret)).await?;
    let clusters: Api<Cluster> = Api::all(hub.clone());
    let object = Cluster {
        metadata: ObjectMeta {
            name: Some(r.name.clone()),
            labels: (!r.labels.is_empty()).then(|| r.labels.clone()),
            annotations: (!r.annotations.is_empty()).then(|| r.annotations.clone()),
            ..ObjectMeta::default()
        },
        spec: ClusterSpec {
            id,
            sync_mode: SyncMode::Push,
            api_endpoint: Some(r.endpoint.clone()),
            secret_ref: Some(LocalSecretReference {
                namespace: names::LEASE_NAMESPACE.to_owned(),
                name: r.name.clone(),
            }),
            ..r.spec.clone()
        },
        status: None,
    };
    match clusters.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(s)) if s.code == 409 => {
            let patch = json!({"metadata": {"labels": object.metadata.labels}, "spec": object.spec});
            clusters
                .patch(&r.name, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
        }
        other => {
            other?;
        }
    }
    Ok(())
}

/// Takes back what [`join`] made in the member and the secret on the hub; the Cluster is the caller's to delete.
///
/// # Errors
/// When one of the two API servers refuses.
pub async fn unjoin(hub: &kube::Client, member: &kube::Client, name: &str) -> Result<(), PushError> {
    let account = format!("karmada-{name}");
    let params = kube::api::DeleteParams::default();
    let gone = |r: Result<(), kube::Error>| match r {
        Err(e) if !is_not_found(&e) => Err(e),
        _ => Ok(()),
    };
    let accounts: Api<ServiceAccount> = Api::namespaced(member.clone(), names::LEASE_NAMESPACE);
    gone(accounts.delete(&account, &params).await.map(|_| ()))?;
    let bindings: Api<ClusterRoleBinding> = Api::all(member.clone());
    gone(bindings.delete(&account, &params).await.map(|_| ()))?;
    let secrets: Api<Secret> = Api::namespaced(hub.clone(), names::LEASE_NAMESPACE);
    gone(secrets.delete(name, &params).await.map(|_| ()))?;
    Ok(())
}
