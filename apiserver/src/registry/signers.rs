//! Who may approve and sign certificates, and for whom none are asked (`plugin/pkg/admission/certificates`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::policy::Review;
use super::{Server, User, text};
use crate::auth::Attributes;
use crate::controllers::signer;
use crate::schema::quote;
use crate::status::Status;

/// The signer of certificates that clients show to the API server.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

impl Server {
    /// Whether somebody may do this to requests for a signer, or for all of its domain (`IsAuthorizedForSignerName`).
    fn may(&self, user: &User, verb: &str, signer: &str) -> bool {
        let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
        [signer, &domain].iter().any(|name| {
            let asks = Attributes::resource(verb, "certificates.k8s.io", "signers", "");
            self.allowed(user, &asks.named("", name))
        })
    }

    /// Refuses approvals and certificates of those who may give none for that signer, and requests for what lets its
    /// holder do everything.
    pub(super) fn check_signer(&self, review: &Review<'_>, new: &Value) -> Result<(), Status> {
        let r = review.resource;
        if !r.is("certificates.k8s.io", "certificatesigningrequests") {
            return Ok(());
        }
        let refuse = |why: &str| Err(Status::forbidden(&r.group, &r.plural, text(new, "/metadata/name"), why));
        let denied = |verb: &str, old: &Value| {
            let signer = text(old, "/spec/signerName");
            let why = || {
                format!(
                    "user not permitted to {verb} requests with signerName {}",
                    quote(signer)
                )
            };
            (!self.may(&review.call.user, verb, signer)).then(why)
        };
        let status = |v: &Value, k: &str| v["status"][k].clone();
        let why = match (review.subresource, review.old) {
            ("approval", Some(old)) => denied("approve", old),
            ("status", Some(old)) => {
                let same = |k| status(old, k) == status(new, k);
                let signs = !(same("certificate") && same("conditions"));
                signs.then(|| denied("sign", old)).flatten()
            }
            ("", None) if text(new, "/spec/signerName") == CLIENT => {
                let pem = STANDARD.decode(text(new, "/spec/request")).unwrap_or_default();
                let subject = signer::subject(&String::from_utf8_lossy(&pem));
                let masters = subject.is_some_and(|(_, groups)| groups.iter().any(|g| g == "system:masters"));
                masters.then(|| format!("use of {CLIENT} signer with system:masters group is not allowed"))
            }
            _ => None,
        };
        why.map_or(Ok(()), |why| refuse(&why))
    }
}
