//! Signing requests of agents: a member works only after the hub's administrator accepted it (as in Open Cluster
//! Management). Here an accepted agent gets its roles; with `auto_approve` a request that says exactly what an agent's
//! must is accepted without asking.

use std::sync::Arc;

use cfn_api::names::{AGENT_GROUP, BOOTSTRAP_ACCOUNT, CFN_NAMESPACE, agent_user};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::ApiResource;
use serde_json::json;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use super::bootstrap;
use super::hub::{Hub, gone, work};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const BOOTSTRAPPERS: &str = "system:bootstrappers";

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "signing",
        |h| &h.signing,
        |hub, name| async move { reconcile(&hub, &name).await },
    )
    .await;
}

/// The cluster whose agent asks for a client certificate in the right form; `None` for every other request.
fn agent_of(csr: &CertificateSigningRequest) -> Option<String> {
    let spec = &csr.spec;
    let mut usages: Vec<&str> = spec
        .usages
        .iter()
        .flatten()
        .map(String::as_str)
        .filter(|u| !matches!(*u, "digital signature" | "key encipherment"))
        .collect();
    usages.sort_unstable();
    if spec.signer_name != SIGNER || usages != ["client auth"] {
        return None;
    }
    let (_, pem) = x509_parser::pem::parse_x509_pem(&spec.request.0).ok()?;
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let subject = &request.certification_request_info.subject;
    let names: Vec<&str> = subject.iter_common_name().filter_map(|a| a.as_str().ok()).collect();
    let groups: Vec<&str> = subject.iter_organization().filter_map(|a| a.as_str().ok()).collect();
    let [user] = names[..] else { return None };
    let cluster = user.strip_prefix(&agent_user(""))?;
    if groups != [AGENT_GROUP] || cluster.is_empty() {
        return None;
    }
    // Who asks: somebody with a bootstrap token or account, or the agent itself when it renews.
    let account = format!("system:serviceaccount:{CFN_NAMESPACE}:{BOOTSTRAP_ACCOUNT}");
    let by = spec.username.as_deref();
    let may = spec.groups.iter().flatten().any(|g| g == BOOTSTRAPPERS) || by == Some(user) || by == Some(&account);
    may.then(|| cluster.to_owned())
}

fn has(csr: &CertificateSigningRequest, kind: &str) -> bool {
    csr.status
        .as_ref()
        .and_then(|s| s.conditions.as_ref())
        .is_some_and(|c| c.iter().any(|c| c.type_ == kind && c.status == "True"))
}

async fn reconcile(hub: &Arc<Hub>, name: &str) -> Result<(), kube::Error> {
    let Some(csr) = hub.state().requests.get(name).cloned() else {
        return Ok(());
    };
    let Some(cluster) = agent_of(&csr) else { return Ok(()) };
    if has(&csr, "Denied") {
        return Ok(());
    }
    if has(&csr, "Approved") {
        return bootstrap::admit(hub, &cluster).await;
    }
    if !hub.options.auto_approve {
        return Ok(());
    }
    bootstrap::admit(hub, &cluster).await?;
    let patch = json!({"status": {"conditions": [{
        "type": "Approved",
        "status": "True",
        "reason": "AutoApproved",
        "message": "The request is exactly an agent's, and the hub accepts agents by itself.",
        "lastUpdateTime": hub.now(),
    }]}});
    let resource = ApiResource::erase::<CertificateSigningRequest>(&());
    let params = kube::api::PatchParams::default();
    let patch = kube::api::Patch::Merge(&patch);
    gone(
        hub.api(&resource, "")
            .patch_subresource("approval", name, &params, &patch)
            .await,
    )
}
