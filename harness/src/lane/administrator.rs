//! The hub's administrator, who accepts the registrations of members.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// Approves the signing requests of members whose registration is accepted.
pub(crate) async fn accept(
    hub: kube::Client,
    accepted: Arc<std::sync::Mutex<std::collections::BTreeSet<String>>>,
    mut changed: tokio::sync::watch::Receiver<u64>,
) {
    let api: Api<CertificateSigningRequest> = Api::all(hub);
    let mut events = std::pin::pin!(cfn_net::watch::watch(
        api.clone(),
        kube::runtime::watcher::Config::default()
    ));
    let mut waiting: BTreeMap<String, CertificateSigningRequest> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Some(Ok(kube::runtime::watcher::Event::Apply(c) | kube::runtime::watcher::Event::InitApply(c))) => {
                    let decided = c.status.as_ref().and_then(|s| s.conditions.as_ref()).is_some_and(|c| !c.is_empty());
                    if decided {
                        waiting.remove(&c.name_any());
                    } else {
                        waiting.insert(c.name_any(), c);
                    }
                }
                Some(Ok(kube::runtime::watcher::Event::Delete(c))) => { waiting.remove(&c.name_any()); }
                Some(_) => {}
                None => return,
            },
            changed = changed.changed() => if changed.is_err() { return },
        }
        let names: Vec<String> = waiting.keys().cloned().collect();
        for name in names {
            let ok = {
                let accepted = accepted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                accepted.iter().any(|c| requested_by(&waiting[&name], c))
            };
            if ok && approve(&api, &name).await {
                waiting.remove(&name);
            }
        }
    }
}

/// Whether a request asks for the agent's identity of `cluster` by its subject, and for nothing else: the name of the
/// request is the asker's choice and proves nothing.
fn requested_by(csr: &CertificateSigningRequest, cluster: &str) -> bool {
    let pem = String::from_utf8_lossy(&csr.spec.request.0);
    csr.spec.signer_name == "kubernetes.io/kube-apiserver-client"
        && cfn_net::pki::csr_subject(&pem).is_ok_and(|subject| {
            subject.cn == cfn_api::names::agent_user(cluster) && subject.orgs == [cfn_api::names::AGENT_GROUP]
        })
}

async fn approve(api: &Api<CertificateSigningRequest>, name: &str) -> bool {
    let patch: Value = json!({"status": {"conditions": [{
        "type": "Approved", "status": "True", "reason": "CfnAccepted", "message": "accepted by the hub's administrator",
    }]}});
    match api
        .patch_approval(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => true,
        Err(e) => {
            tracing::warn!("approving {name}: {e}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cfn_api::names::{AGENT_GROUP, agent_user};

    fn request(name: &str, user: &str, groups: &[&str]) -> CertificateSigningRequest {
        let groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        let (pem, _) = cfn_net::pki::signing_request(user, &groups).unwrap();
        let mut csr = CertificateSigningRequest::default();
        csr.metadata.name = Some(name.to_owned());
        csr.spec.signer_name = "kubernetes.io/kube-apiserver-client".to_owned();
        csr.spec.request = k8s_openapi::ByteString(pem.into_bytes());
        csr
    }

    #[test]
    fn nobody_gets_the_identity_of_another() {
        let a = agent_user("a");
        for (user, groups, fits) in [
            (a.as_str(), vec![AGENT_GROUP], true),
            (&agent_user("b"), vec![AGENT_GROUP], false),
            (&a, vec![AGENT_GROUP, "system:masters"], false),
            (&a, vec!["system:masters"], false),
            ("admin", vec![AGENT_GROUP], false),
        ] {
            assert_eq!(
                requested_by(&request("a-agent-x", user, &groups), "a"),
                fits,
                "{user} {groups:?}"
            );
        }
    }
}
