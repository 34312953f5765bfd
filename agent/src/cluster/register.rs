//! Joining: a certificate signing request, accepted on the hub by its administrator, then the Cluster object. OCM's
//! double opt-in: the member asks, the hub accepts, and until then nothing else works.

use cfn_api::karmada::cluster::{Cluster, ClusterSpec, SyncMode};
use cfn_api::names;
use cfn_net::{Transport, pki};
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;

use super::identity::{AgentIdentity, Term};
use super::member::{Context, is_not_found, until_ok};
use super::{AgentError, ClusterAgentOptions};

/// Field manager of everything an agent writes.
pub const MANAGER: &str = "cfn-agent";

/// The kept identity, or a new one: makes a key, asks for a certificate, waits until it is issued.
///
/// # Errors
/// When the request is denied or the key cannot be made or kept.
pub async fn identity(options: &ClusterAgentOptions) -> Result<AgentIdentity, AgentError> {
    let mut asker = options.hub.clone();
    if let Some(kept) = AgentIdentity::load(options).await {
        match kept.term(options.clock.now()) {
            Term::Good => return Ok(kept),
            // An agent renews as itself: a bootstrap identity may be gone by now.
            Term::Ending => asker.identity = kept.as_identity(),
            Term::Over => {}
        }
    }
    let hub = asker.client(&options.net, &options.host)?;
    let user = names::agent_user(&options.cluster);
    let groups = [names::AGENT_GROUP.to_owned()];
    let (request, key_pem) = match options.net.transport() {
        // A run that is repeated has the same keys; nobody else ever hears of them.
        Transport::Memory => pki::signing_request_seeded(&user, &groups, options.seed.child(&user))?,
        Transport::Tcp | Transport::Host => pki::signing_request(&user, &groups)?,
    };
    let api: Api<CertificateSigningRequest> = Api::all(hub);
    let csr = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-agent-", options.cluster)),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: "kubernetes.io/kube-apiserver-client".to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "client auth".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let created = until_ok("asking for a certificate", || async {
        api.create(&PostParams::default(), &csr).await
    })
    .await;
    let cert_pem = certificate(&api, &created.name_any(), &options.cluster).await?;
    let identity = AgentIdentity { cert_pem, key_pem };
    identity.save(options).await?;
    Ok(identity)
}

/// Waits until the request `name` has its certificate.
async fn certificate(api: &Api<CertificateSigningRequest>, name: &str, cluster: &str) -> Result<String, AgentError> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(cfn_net::watch::watch(api.clone(), config));
    loop {
        let Some(event) = events.next().await else {
            std::future::pending().await
        };
        let Ok(watcher::Event::Apply(csr) | watcher::Event::InitApply(csr)) = event else {
            continue;
        };
        let Some(status) = csr.status else { continue };
        if let Some(denied) = status
            .conditions
            .iter()
            .flatten()
            .find(|c| c.type_ == "Denied" || c.type_ == "Failed")
        {
            let message = denied
                .message
                .clone()
                .or_else(|| denied.reason.clone())
                .unwrap_or_default();
            return Err(AgentError::Denied {
                cluster: cluster.to_owned(),
                message,
            });
        }
        if let Some(pem) = status
            .certificate
            .and_then(|c| String::from_utf8(c.0).ok())
            .filter(|c| !c.is_empty())
        {
            return Ok(pem);
        }
    }
}

/// Creates the Cluster object, or brings what is ours in it up to date.
pub async fn cluster(ctx: &Context) {
    let o = &ctx.options;
    let id = until_ok("reading the member's identity", || async {
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(ctx.member.clone());
        namespaces.get("kube-system").await.map(|n| n.uid())
    })
    .await;
    let api: Api<Cluster> = Api::all(ctx.hub.clone());
    let object = Cluster {
        metadata: ObjectMeta {
            name: Some(o.cluster.clone()),
            labels: (!o.labels.is_empty()).then(|| o.labels.clone()),
            annotations: (!o.annotations.is_empty()).then(|| o.annotations.clone()),
            ..ObjectMeta::default()
        },
        spec: ClusterSpec {
            id,
            sync_mode: SyncMode::Pull,
            provider: o.provider.clone(),
            region: o.region.clone(),
            zones: o.zones.clone(),
            ..ClusterSpec::default()
        },
        status: None,
    };
    until_ok("registering the cluster", || async {
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(s)) if s.code == 409 => {
                let patch = json!({
                    "metadata": {"labels": object.metadata.labels, "annotations": object.metadata.annotations},
                    "spec": {"provider": o.provider, "region": o.region, "zones": o.zones, "syncMode": "Pull"},
                });
                api.patch(&o.cluster, &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .map(|_| ())
            }
            Err(e) => Err(e),
        }
    })
    .await;
}

/// Returns when the hub has removed the Cluster: the member has left.
pub async fn until_removed(ctx: &Context) {
    let api: Api<Cluster> = Api::all(ctx.hub.clone());
    let name = &ctx.options.cluster;
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(cfn_net::watch::watch(api.clone(), config));
    let mut seen = false;
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => seen = false,
            Ok(watcher::Event::InitApply(_) | watcher::Event::Apply(_)) => seen = true,
            Ok(watcher::Event::Delete(_)) => return,
            // A relist without it: removed while we were away. Ask once more, by name, to be sure.
            Ok(watcher::Event::InitDone) if !seen => {
                if matches!(api.get(name).await, Err(e) if is_not_found(&e)) {
                    return;
                }
            }
            Ok(watcher::Event::InitDone) | Err(_) => {}
        }
    }
}
