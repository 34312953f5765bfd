//! Users that a front proxy names in headers (`apiserver/pkg/authentication/request/headerrequest`), believed of those who
//! show a certificate of its CA.

use std::collections::BTreeMap;

use http::HeaderMap;
use jiff::Timestamp;

use super::x509::ClientCa;
use crate::http::decode;
use crate::registry::User;

const EXTRA: &str = "x-remote-extra-";

/// Whom to believe about others.
pub struct RequestHeader {
    ca: ClientCa,
    /// The names that its certificate may have; empty: any.
    allowed: Vec<String>,
}

impl RequestHeader {
    /// Those whose certificates `ca_pem` signed for one of the names `allowed`.
    #[must_use]
    pub fn new(ca_pem: &str, allowed: Vec<String>) -> Self {
        Self {
            ca: ClientCa::new(ca_pem),
            allowed,
        }
    }

    /// The user that a request's headers name, if who sends it is to be believed; `None`: it is the certificate's own.
    pub(crate) fn user(&self, headers: &HeaderMap, der: &[u8], now: Timestamp) -> Option<User> {
        let all = |name: &str| -> Vec<String> {
            let list = headers.get_all(name).iter();
            list.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
                .collect()
        };
        let first = |name: &str| all(name).into_iter().find(|v| !v.is_empty());
        // Nearly no request says so: certificates are looked at only then.
        let name = first("x-remote-user")?;
        let by = self.ca.verify(der).filter(|s| s.when.has(now))?;
        if !self.allowed.is_empty() && !self.allowed.contains(&by.user.name) {
            return None;
        }
        let mut user = User::new(name, all("x-remote-group"));
        user.uid = first("x-remote-uid").unwrap_or_default();
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for k in headers.keys().map(http::HeaderName::as_str) {
            if let Some(key) = k.strip_prefix(EXTRA) {
                // Keys are case-insensitive, and in lower case here as upstream.
                let key = decode(key, false).to_lowercase();
                extra.entry(key).or_default().extend(all(k));
            }
        }
        user.extra = extra;
        Some(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cfn_net::pki::Ca;
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    #[test]
    fn only_the_front_proxy_is_believed() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (ca, other) = (Ca::new("front", now).unwrap(), Ca::new("front", now).unwrap());
        let der = |ca: &Ca, name: &str| {
            let pair = ca.client(name, &[], now).unwrap();
            CertificateDer::from_pem_slice(pair.cert_pem.as_bytes())
                .unwrap()
                .to_vec()
        };
        let trust = RequestHeader::new(ca.cert_pem(), vec!["proxy".to_owned()]);
        let mut headers = HeaderMap::new();
        for (k, v) in [
            ("x-remote-user", "jane"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "dev"),
            ("x-remote-extra-example.org%2fscope", "1"),
        ] {
            headers.append(k, v.parse().unwrap());
        }
        headers.append("x-remote-group", "ops".parse().unwrap());
        let user = trust.user(&headers, &der(&ca, "proxy"), now).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("jane", "7"));
        assert_eq!(user.groups, ["dev", "ops"]);
        assert_eq!(user.extra["example.org/scope"], ["1"]);
        let late = now + jiff::SignedDuration::from_hours(24 * 400);
        for (der, when, why) in [
            (der(&ca, "other"), now, "another name"),
            (der(&other, "proxy"), now, "another CA"),
            (der(&ca, "proxy"), late, "expired"),
        ] {
            assert!(trust.user(&headers, &der, when).is_none(), "{why}");
        }
        headers.remove("x-remote-user");
        assert!(trust.user(&headers, &der(&ca, "proxy"), now).is_none());
    }
}
