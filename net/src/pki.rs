//! Certificates of a testbed: a CA of its own per cluster, made from nothing in under a millisecond.
//!
//! Keys are ECDSA P-256 from the operating system's randomness, or, where a run must be repeatable, Ed25519 drawn
//! from a [`Seed`] ([`Ca::seeded`], [`signing_request_seeded`]): an Ed25519 signature is a function of key and text
//! and always of one length, so the same seed gives the same bytes on the wire. Seeded keys are no secret; they are
//! for simulated runs.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use rand::Rng;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ED25519, SanType,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::seed::Seed;
use crate::subject::{Kind, with_subject};
pub use crate::subject::{Subject, csr_subject};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The request or key is not what it says, or the library refused.
    #[error("certificate: {0}")]
    Rcgen(#[from] rcgen::Error),
    /// A date outside what X.509 can say.
    #[error("certificate: date out of range")]
    Date,
    /// What is given is no certificate or request.
    #[error("certificate: {0}")]
    Parse(String),
}

/// A key with its certificate chain, both PEM.
#[derive(Debug, Clone)]
pub struct KeyCert {
    /// Certificate, PEM.
    pub cert_pem: String,
    /// Private key, PKCS#8 PEM.
    pub key_pem: String,
}

/// A certificate authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    cert_pem: String,
    key_pem: String,
    /// Where keys come from, when not from the operating system, and how many were made.
    seed: Option<(Seed, AtomicU64)>,
}

/// The place of a key among those that a CA makes ([`Ca::reserve`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved(u64);

/// A key of the operating system's randomness, or the one that the seed says.
fn new_key(seed: Option<Seed>) -> Result<KeyPair, PkiError> {
    let Some(seed) = seed else {
        return Ok(KeyPair::generate()?);
    };
    let mut bytes = [0; 32];
    seed.rng("key").fill_bytes(&mut bytes);
    ed25519(&bytes)
}

/// The Ed25519 key of these bytes.
fn ed25519(secret: &[u8; 32]) -> Result<KeyPair, PkiError> {
    // PKCS#8 of an Ed25519 key (RFC 8410, 7): a fixed beginning, then the 32 bytes.
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ];
    der.extend(secret);
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(der),
        &PKCS_ED25519,
    )?)
}

fn date(t: Timestamp) -> Result<time::OffsetDateTime, PkiError> {
    time::OffsetDateTime::from_unix_timestamp(t.as_second()).map_err(|_| PkiError::Date)
}

fn name(cn: &str, orgs: &[String]) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    for o in orgs {
        dn.push(DnType::OrganizationName, o.as_str());
    }
    dn.push(DnType::CommonName, cn);
    dn
}

impl Ca {
    /// A new CA called `cn`, valid for ten years around `now`.
    ///
    /// # Errors
    /// When the library refuses (never on a working machine).
    pub fn new(cn: &str, now: Timestamp) -> Result<Self, PkiError> {
        Self::make(cn, now, new_key(None)?, None)
    }

    /// The CA whose key is `secret`: whoever has the secret makes the same CA, with no word exchanged. The keys that
    /// it makes for others come from the operating system.
    ///
    /// # Errors
    /// As [`Ca::new`].
    pub fn of_secret(cn: &str, now: Timestamp, secret: &[u8; 32]) -> Result<Self, PkiError> {
        Self::make(cn, now, ed25519(secret)?, None)
    }

    /// As [`Ca::new`], with its key and all keys it makes drawn from `seed`.
    ///
    /// # Errors
    /// As [`Ca::new`].
    pub fn seeded(cn: &str, now: Timestamp, seed: Seed) -> Result<Self, PkiError> {
        let seed = seed.child("ca");
        Self::make(cn, now, new_key(Some(seed))?, Some(seed))
    }

    fn make(cn: &str, now: Timestamp, key: KeyPair, seed: Option<Seed>) -> Result<Self, PkiError> {
        let mut p = CertificateParams::default();
        p.distinguished_name = name(cn, &[]);
        p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        p.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        p.not_before = date(now)? - time::Duration::hours(1);
        p.not_after = date(now)? + time::Duration::days(3650);
        let cert_pem = p.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self {
            issuer: Issuer::new(p, key),
            cert_pem,
            key_pem,
            seed: seed.map(|s| (s, AtomicU64::new(0))),
        })
    }

    /// A CA kept from before.
    ///
    /// # Errors
    /// When the PEM does not hold a CA and its key.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let issuer = Issuer::from_ca_cert_pem(cert_pem, KeyPair::from_pem(key_pem)?)?;
        Ok(Self {
            issuer,
            cert_pem: cert_pem.to_owned(),
            key_pem: key_pem.to_owned(),
            seed: None,
        })
    }

    /// The CA's certificate, PEM.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The CA's key, PEM.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// A place for a key that is made later, if ever: the keys of a run that must be repeatable do not depend on which
    /// of them is asked for first.
    #[must_use]
    pub fn reserve(&self) -> Reserved {
        let made = self.seed.as_ref().map(|(_, made)| made);
        Reserved(made.map_or(0, |made| made.fetch_add(1, Ordering::Relaxed)))
    }

    fn key(&self, at: Reserved) -> Result<KeyPair, PkiError> {
        new_key(self.seed.as_ref().map(|(s, _)| s.child(&at.0.to_string())))
    }

    /// Whom a client certificate (DER) names, when this CA signed it, it is valid at `now` and for client
    /// authentication (what kube-apiserver asks of one); none otherwise.
    #[must_use]
    pub fn verify_client(&self, der: &[u8], now: Timestamp) -> Option<Subject> {
        let own = CertificateDer::from_pem_slice(self.cert_pem.as_bytes()).ok()?;
        let (_, own) = X509Certificate::from_der(&own).ok()?;
        let (_, cert) = X509Certificate::from_der(der).ok()?;
        cert.verify_signature(Some(own.public_key())).ok()?;
        let at = ASN1Time::from_timestamp(now.as_second()).ok()?;
        let usage = cert.extended_key_usage().ok()?;
        let for_clients = usage.is_none_or(|u| u.value.client_auth || u.value.any);
        (cert.issuer() == own.subject() && cert.validity().is_valid_at(at) && for_clients)
            .then(|| Subject::of(cert.subject()))
    }

    /// A serving certificate for `sans` (names or addresses), one year.
    ///
    /// # Errors
    /// When a name is not one.
    pub fn server(&self, cn: &str, sans: &[String], now: Timestamp) -> Result<KeyCert, PkiError> {
        self.server_at(self.reserve(), cn, sans, now)
    }

    /// As [`Ca::server`], with the key of a place: the same each time where keys are drawn from a seed.
    ///
    /// # Errors
    /// As [`Ca::server`].
    pub fn server_at(&self, at: Reserved, cn: &str, sans: &[String], now: Timestamp) -> Result<KeyCert, PkiError> {
        let key = self.key(at)?;
        let mut p = CertificateParams::default();
        p.distinguished_name = name(cn, &[]);
        for s in sans {
            p.subject_alt_names.push(match s.parse() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(s.as_str().try_into()?),
            });
        }
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        p.not_before = date(now)? - time::Duration::hours(1);
        p.not_after = date(now)? + time::Duration::days(365);
        Ok(KeyCert {
            cert_pem: p.signed_by(&key, &self.issuer)?.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    /// A client certificate: user `cn` in groups `orgs` (Kubernetes' reading of a subject), one year.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn client(&self, cn: &str, orgs: &[String], now: Timestamp) -> Result<KeyCert, PkiError> {
        self.client_at(self.reserve(), cn, orgs, now)
    }

    /// As [`Ca::client`], with the key of a place.
    ///
    /// # Errors
    /// As [`Ca::client`].
    pub fn client_at(&self, at: Reserved, cn: &str, orgs: &[String], now: Timestamp) -> Result<KeyCert, PkiError> {
        let key = self.key(at)?;
        let mut p = CertificateParams::default();
        p.distinguished_name = name(cn, orgs);
        p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        p.not_before = date(now)? - time::Duration::hours(1);
        p.not_after = date(now)? + time::Duration::days(365);
        let cert = p.signed_by(&key, &self.issuer)?;
        let cert_pem = self.named(
            &cert,
            &Subject {
                cn: cn.to_owned(),
                orgs: orgs.to_vec(),
            },
        )?;
        Ok(KeyCert {
            cert_pem,
            key_pem: key.serialize_pem(),
        })
    }

    /// Signs a request (PEM) as a client certificate with the subject it asks for, for `seconds`. Whether the
    /// subject may be asked for is the caller's decision.
    ///
    /// # Errors
    /// When the request does not parse or its signature is wrong.
    pub fn sign_csr(&self, csr_pem: &str, now: Timestamp, seconds: i64) -> Result<String, PkiError> {
        let mut csr = CertificateSigningRequestParams::from_pem(csr_pem)?;
        csr.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        csr.params.not_before = date(now)? - time::Duration::minutes(5);
        csr.params.not_after = date(now)? + time::Duration::seconds(seconds);
        self.named(&csr.signed_by(&self.issuer)?, &csr_subject(csr_pem)?)
    }

    /// A certificate that this CA signed, naming `subject`.
    fn named(&self, cert: &rcgen::Certificate, subject: &Subject) -> Result<String, PkiError> {
        if subject.orgs.len() < 2 {
            return Ok(cert.pem());
        }
        with_subject(cert.der(), Kind::Certificate, subject, self.issuer.key())
    }
}

/// From when to when a certificate (PEM) is valid.
///
/// # Errors
/// When it does not parse.
pub fn validity(cert_pem: &str) -> Result<(Timestamp, Timestamp), PkiError> {
    let der = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|e| PkiError::Parse(e.to_string()))?;
    let (_, cert) = X509Certificate::from_der(&der).map_err(|e| PkiError::Parse(e.to_string()))?;
    let at = |t: ASN1Time| Timestamp::from_second(t.timestamp()).map_err(|e| PkiError::Parse(e.to_string()));
    Ok((at(cert.validity().not_before)?, at(cert.validity().not_after)?))
}

/// A fresh key and a signing request for user `cn` in groups `orgs`: (request PEM, key PEM).
///
/// # Errors
/// When the library refuses.
pub fn signing_request(cn: &str, orgs: &[String]) -> Result<(String, String), PkiError> {
    request(cn, orgs, new_key(None)?)
}

/// As [`signing_request`], with a key drawn from `seed`.
///
/// # Errors
/// When the library refuses.
pub fn signing_request_seeded(cn: &str, orgs: &[String], seed: Seed) -> Result<(String, String), PkiError> {
    request(cn, orgs, new_key(Some(seed.child("request")))?)
}

fn request(cn: &str, orgs: &[String], key: KeyPair) -> Result<(String, String), PkiError> {
    let mut p = CertificateParams::default();
    p.distinguished_name = name(cn, orgs);
    let csr = p.serialize_request(&key)?;
    let pem = if orgs.len() < 2 {
        csr.pem()?
    } else {
        with_subject(
            csr.der(),
            Kind::Request,
            &Subject {
                cn: cn.to_owned(),
                orgs: orgs.to_vec(),
            },
            &key,
        )?
    };
    Ok((pem, key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;

    fn der(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }

    #[test]
    fn clients_are_known_by_their_certificate() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let orgs = ["system:nodes".to_owned(), "b".to_owned()];
        for ca in [Ca::new("one", now).unwrap(), Ca::seeded("one", now, Seed(1)).unwrap()] {
            let subject = Subject {
                cn: "system:node:n1".into(),
                orgs: orgs.to_vec(),
            };
            let cert = ca.client(&subject.cn, &orgs, now).unwrap();
            assert_eq!(ca.verify_client(&der(&cert.cert_pem), now), Some(subject.clone()));
            let (csr, _) = signing_request(&subject.cn, &orgs).unwrap();
            assert_eq!(csr_subject(&csr).unwrap(), subject);
            let signed = der(&ca.sign_csr(&csr, now, 3600).unwrap());
            assert_eq!(ca.verify_client(&signed, now), Some(subject.clone()));
            let kept = Ca::from_pem(ca.cert_pem(), ca.key_pem()).unwrap();
            assert_eq!(kept.verify_client(&signed, now), Some(subject));
            for (late, why) in [(-600, "not yet valid"), (3601, "expired")] {
                let at = now + jiff::SignedDuration::from_secs(late);
                assert_eq!(ca.verify_client(&signed, at), None, "{why}");
            }
            let other = Ca::new("one", now).unwrap();
            assert_eq!(other.verify_client(&signed, now), None, "another CA of the same name");
            let serving = ca.server("s", &["s".to_owned()], now).unwrap();
            assert_eq!(ca.verify_client(&der(&serving.cert_pem), now), None, "not for clients");
            assert_eq!(ca.verify_client(b"none", now), None);
        }
        assert!(csr_subject("none").is_err());
    }

    #[test]
    fn a_seed_makes_the_same_certificates() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let make = || {
            let ca = Ca::seeded("c", now, Seed(3)).unwrap();
            let (one, two) = (ca.client("u", &[], now).unwrap(), ca.client("u", &[], now).unwrap());
            assert_ne!(one.key_pem, two.key_pem);
            let (csr, key) = signing_request_seeded("u", &[], Seed(4)).unwrap();
            let signed = ca.sign_csr(&csr, now, 60).unwrap();
            (ca.cert_pem().to_owned(), one.cert_pem, two.cert_pem, csr, key, signed)
        };
        assert_eq!(make(), make());
        // Whichever is asked for first.
        let ca = Ca::seeded("c", now, Seed(3)).unwrap();
        let (one, two) = (ca.reserve(), ca.reserve());
        let again = ca.client_at(two, "u", &[], now).unwrap().cert_pem;
        assert_eq!(
            (ca.client_at(one, "u", &[], now).unwrap().cert_pem, again),
            (make().1, make().2)
        );
        let cert = der(&make().1);
        assert!(base64::engine::general_purpose::STANDARD.encode(cert).len() < 1000);
    }
}
