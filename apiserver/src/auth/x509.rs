//! Client certificates: the subject's common name is the user, its organizations are the groups
//! (`apiserver/pkg/authentication/request/x509`).

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::digest::{hex, sha256};
use crate::registry::User;

/// Whom a certificate names, and when.
pub(super) struct Subject {
    pub(super) user: User,
    pub(super) when: Validity,
}

/// When a certificate counts, in seconds of Unix time.
pub(super) struct Validity {
    not_before: i64,
    not_after: i64,
}

impl Validity {
    pub(super) fn has(&self, now: Timestamp) -> bool {
        (self.not_before..=self.not_after).contains(&now.as_second())
    }
}

/// The CA that client certificates must be signed by.
pub(super) struct ClientCa {
    der: Option<Vec<u8>>,
}

impl ClientCa {
    pub(super) fn new(pem: &str) -> Self {
        Self {
            der: CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|d| d.to_vec()),
        }
    }

    /// Whom the certificate names, if the CA signed it and it is for clients.
    pub(super) fn verify(&self, der: &[u8]) -> Option<Subject> {
        let (_, ca) = X509Certificate::from_der(self.der.as_deref()?).ok()?;
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        cert.verify_signature(Some(ca.public_key())).ok()?;
        let usage = cert.extended_key_usage().ok()??;
        if !usage.value.client_auth && !usage.value.any {
            return None;
        }
        let subject = cert.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let groups: Vec<String> = subject
            .iter_organization()
            .filter_map(|o| o.as_str().ok().map(str::to_owned))
            .collect();
        let mut user = User::new(name, groups);
        user.extra.insert(
            "authentication.kubernetes.io/credential-id".to_owned(),
            vec![format!("X509SHA256={}", hex(&sha256([der])))],
        );
        let validity = cert.validity();
        Some(Subject {
            user,
            when: Validity {
                not_before: validity.not_before.timestamp(),
                not_after: validity.not_after.timestamp(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cfn_net::pki::Ca;

    #[test]
    fn only_this_clusters_client_certificates_count() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (ca, other) = (Ca::new("a", now).unwrap(), Ca::new("a", now).unwrap());
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
        let mine = ca.client("jane", &["dev".to_owned(), "ops".to_owned()], now).unwrap();
        let seen = ClientCa::new(ca.cert_pem()).verify(&der(&mine.cert_pem)).unwrap();
        assert_eq!((seen.user.name.as_str(), seen.user.groups.len()), ("jane", 2));
        assert!(seen.when.has(now) && !seen.when.has("2030-01-01T00:00:00Z".parse().unwrap()));
        assert!(ClientCa::new(other.cert_pem()).verify(&der(&mine.cert_pem)).is_none());
        let serving = ca.server("h", &["h".to_owned()], now).unwrap();
        assert!(ClientCa::new(ca.cert_pem()).verify(&der(&serving.cert_pem)).is_none());
    }
}
