//! Signs approved certificate signing requests (`pkg/controller/certificates/signer`) and approves what a node asks
//! for itself while it joins (`.../approver/sarapprove.go`). Any other approval is somebody else's decision.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cfn_net::pki::Ca;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::manager::{Controller, Now, Plan};
use super::object::{Object, set_condition, stamp};
use super::world::{Key, World, gvr};
use crate::local::WatchEvent;

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// `--cluster-signing-duration`: one year.
const LONGEST: i64 = 365 * 24 * 3600;

pub(crate) struct Signer {
    ca: Arc<Ca>,
}

impl Signer {
    pub(crate) fn new(ca: Arc<Ca>) -> Self {
        Self { ca }
    }
}

impl Controller for Signer {
    fn observe(&mut self, e: &WatchEvent, _: &World, _: Now, queue: &mut BTreeSet<Key>) {
        if e.gvr == gvr::SIGNING_REQUESTS {
            queue.insert(Key::of(&e.object));
        }
    }

    fn reconcile(&mut self, key: &Key, world: &World, now: Now) -> Plan {
        let mut plan = Plan::default();
        let Some(csr) = world.get(&gvr::SIGNING_REQUESTS, "", &key.name) else {
            return plan;
        };
        let decided = |t: &str| csr.condition(t).is_some_and(|c| c["status"] == "True");
        if !csr.text("/status/certificate").is_empty() || decided("Denied") || decided("Failed") {
            return plan;
        }
        let mut changed = (*csr).clone();
        if !decided("Approved") {
            if is_node_bootstrap(&csr) {
                let message = "Auto approving kubelet client certificate after SubjectAccessReview.";
                set_condition(&mut changed, "Approved", "True", "AutoApproved", message, now.wall);
                touch(&mut changed, "Approved", now);
                plan.actions.push(super::manager::Action::Approve { object: changed });
            }
            return plan;
        }
        if !matches!(csr.text("/spec/signerName"), CLIENT | KUBELET) {
            return plan;
        }
        let seconds = csr
            .int("/spec/expirationSeconds")
            .unwrap_or(LONGEST)
            .clamp(600, LONGEST);
        let signed = request_pem(&csr)
            .ok_or_else(|| "spec.request is no PEM".to_owned())
            .and_then(|pem| self.ca.sign_csr(&pem, now.wall, seconds).map_err(|e| e.to_string()));
        match signed {
            Ok(pem) => changed["status"]["certificate"] = json!(STANDARD.encode(pem)),
            Err(e) => {
                set_condition(&mut changed, "Failed", "True", "SignerValidationFailure", &e, now.wall);
                touch(&mut changed, "Failed", now);
            }
        }
        plan.update_status(&gvr::SIGNING_REQUESTS, changed);
        plan
    }
}

fn touch(csr: &mut Value, kind: &str, now: Now) {
    if let Some(l) = csr.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        for c in l.iter_mut().filter(|c| c["type"] == kind) {
            c["lastUpdateTime"] = json!(stamp(now.wall));
        }
    }
}

fn request_pem(csr: &Value) -> Option<String> {
    String::from_utf8(STANDARD.decode(csr.text("/spec/request")).ok()?).ok()
}

/// A bootstrapping identity, or the node itself, asks for `system:node:<name>` in `system:nodes`.
fn is_node_bootstrap(csr: &Value) -> bool {
    if csr.text("/spec/signerName") != KUBELET {
        return false;
    }
    let Some((cn, orgs)) = request_pem(csr).as_deref().and_then(subject) else {
        return false;
    };
    let member = |g: &str| csr.items("/spec/groups").iter().any(|x| x == g);
    let itself = member("system:nodes") && csr.text("/spec/username") == cn;
    cn.starts_with("system:node:") && orgs == ["system:nodes"] && (member("system:bootstrappers") || itself)
}

/// Common name and organisations of a request.
pub(crate) fn subject(pem: &str) -> Option<(String, Vec<String>)> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok()?;
    let (_, csr) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let s = &csr.certification_request_info.subject;
    let cn = s.iter_common_name().next()?.as_str().ok()?.to_owned();
    let orgs = s
        .iter_organization()
        .filter_map(|o| o.as_str().ok())
        .map(str::to_owned)
        .collect();
    Some((cn, orgs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_are_approved() {
        let csr = |cn: &str, org: &str, signer: &str, groups: Value| {
            let (pem, _) = cfn_net::pki::signing_request(cn, &[org.to_owned()]).unwrap();
            json!({"spec": {"request": STANDARD.encode(pem), "signerName": signer, "groups": groups, "username": "u"}})
        };
        let boot = json!(["system:bootstrappers"]);
        for (c, expected) in [
            (csr("system:node:a", "system:nodes", KUBELET, boot.clone()), true),
            (csr("system:node:a", "system:nodes", CLIENT, boot.clone()), false),
            (csr("admin", "system:nodes", KUBELET, boot.clone()), false),
            (csr("system:node:a", "system:masters", KUBELET, boot), false),
            (csr("system:node:a", "system:nodes", KUBELET, json!([])), false),
        ] {
            assert_eq!(is_node_bootstrap(&c), expected, "{c}");
        }
    }
}
