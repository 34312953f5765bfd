//! This server as the front proxy of others: a CA of its own for the one certificate that it shows them, the headers that
//! tell whom it speaks for, and the ConfigMap from which they learn to believe both
//! (`authentication/request/headerrequest`, `controlplane/controller/clusterauthenticationtrust`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cfn_net::client::{ClientError, tls_client_config};
use cfn_net::pki::{Ca, KeyCert, PkiError};
use cfn_net::{Identity, Seed};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::remote::Remote;
use crate::anyone;
use crate::registry::{Call, Server, Target, User};

/// The name in its certificate, as kubeadm has it.
pub(super) const NAME: &str = "front-proxy-client";
const CA_NAME: &str = "front-proxy-ca";
const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";
/// TLS settings kept for the next connection.
const KEPT: usize = 64;

/// What this server shows those behind it.
pub(crate) struct FrontProxy {
    ca_pem: String,
    client: KeyCert,
    /// By CA, and "" for those that are not looked at.
    settings: Mutex<BTreeMap<String, Arc<rustls::ClientConfig>>>,
}

impl FrontProxy {
    /// The one whose CA has a key that `secret` says: the same after a restart, so that who learned to believe it does.
    pub(crate) fn of_secret(secret: &[u8; 32], now: Timestamp) -> Result<Self, PkiError> {
        Self::with(&Ca::of_secret(CA_NAME, now, secret)?, now)
    }

    /// One of a run that must be repeatable.
    pub(crate) fn seeded(seed: Seed, now: Timestamp) -> Result<Self, PkiError> {
        Self::with(&Ca::seeded(CA_NAME, now, seed.child("front proxy"))?, now)
    }

    fn with(ca: &Ca, now: Timestamp) -> Result<Self, PkiError> {
        Ok(Self {
            client: ca.client(NAME, &[], now)?,
            ca_pem: ca.cert_pem().to_owned(),
            settings: Mutex::default(),
        })
    }

    /// Who signed its certificate, PEM.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Its certificate and key.
    pub(crate) fn client(&self) -> &KeyCert {
        &self.client
    }

    /// TLS towards one behind this server.
    pub(super) fn tls(&self, to: &Remote) -> Result<Arc<rustls::ClientConfig>, ClientError> {
        let key = if to.insecure { "" } else { to.ca_pem.as_str() };
        let mut kept = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(c) = kept.get(key) {
            return Ok(c.clone());
        }
        let KeyCert { cert_pem, key_pem } = self.client.clone();
        let identity = Identity::Certificate { cert_pem, key_pem };
        let mut config = tls_client_config(&to.ca_pem, &identity)?;
        if to.insecure {
            anyone::take_every_certificate(&mut config);
        }
        let config = Arc::new(config);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key.to_owned(), config.clone());
        Ok(config)
    }

    /// Tells servers behind this one whom to believe, and who may read that.
    pub(super) fn publish(&self, server: &Server) {
        let list = |all: &[&str]| json!(all).to_string();
        let data = json!({"client-ca-file": server.settings.ca_pem, "requestheader-client-ca-file": self.ca_pem,
            "requestheader-allowed-names": list(&[NAME]), "requestheader-username-headers": list(&["X-Remote-User"]),
            "requestheader-uid-headers": list(&["X-Remote-Uid"]), "requestheader-group-headers": list(&["X-Remote-Group"]),
            "requestheader-extra-headers-prefix": list(&["X-Remote-Extra-"])});
        let metadata = |name: &str| json!({"name": name, "namespace": "kube-system"});
        let configured = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": data,
            "metadata": metadata("extension-apiserver-authentication")});
        let mut reader = metadata("extension-apiserver-authentication-reader");
        // As `bootstrappolicy` marks its own.
        reader["annotations"] = json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
        reader["labels"] = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
        let role = json!({"kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": reader,
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"],
                "resourceNames": ["extension-apiserver-authentication"]}]});
        for object in [configured, role] {
            if let Err(e) = put(server, object) {
                tracing::error!(error = %e, "what servers behind this one are told");
            }
        }
    }
}

/// Creates an object, or sets the data of one that is kept from before.
fn put(server: &Server, object: Value) -> Result<(), crate::status::Status> {
    let of = |k: &str| object[k].as_str().unwrap_or_default();
    let Some(r) = server.catalog.of_kind(of("apiVersion"), of("kind")) else {
        return Ok(());
    };
    let (ns, name) = (
        "kube-system",
        object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
    );
    let mut call = Call::internal("kube-apiserver");
    match server.create(&mut call, &r, ns, None, object.clone()) {
        Err(e) if e.is_already_exists() && object["data"].is_object() => {
            let mut there = (*server.get(&r, ns, &name)?.value()).clone();
            if let (Some(own), Some(data)) = (object["data"].as_object(), there["data"].as_object_mut()) {
                data.extend(own.clone());
            } else {
                there["data"] = object["data"].clone();
            }
            let target = Target {
                resource: &r,
                namespace: ns,
                name: &name,
                subresource: None,
            };
            server.update(&mut call, &target, there).map(drop)
        }
        Err(e) if !e.is_already_exists() => Err(e),
        _ => Ok(()),
    }
}

/// Bytes of an extra's key as they stand in a header's name (`transport.headerKeyEscape`).
fn escaped(key: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&b);
    key.bytes().fold(String::with_capacity(key.len()), |mut out, b| {
        match plain(b) {
            true => out.push(char::from(b)),
            false => out += &format!("%{b:02X}"),
        }
        out
    })
}

/// Says in the headers whom a request is of, and nothing else that was said of it (`transport.SetAuthProxyHeaders`).
pub(crate) fn set_headers(headers: &mut HeaderMap, user: &User) {
    let said: Vec<HeaderName> = headers
        .keys()
        .filter(|k| [USER, UID, GROUP].contains(*k) || k.as_str().starts_with(EXTRA))
        .cloned()
        .collect();
    for k in said {
        headers.remove(k);
    }
    let mut add = |name: HeaderName, value: &str| {
        // A name that no header can hold is told to nobody.
        if let Ok(v) = HeaderValue::from_str(value) {
            headers.append(name, v);
        }
    };
    add(USER, &user.name);
    if !user.uid.is_empty() {
        add(UID, &user.uid);
    }
    for g in &user.groups {
        add(GROUP, g);
    }
    for (key, values) in &user.extra {
        let Ok(name) = HeaderName::try_from(format!("{EXTRA}{}", escaped(key))) else {
            continue;
        };
        for v in values {
            add(name.clone(), v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_whom_a_request_is_of_and_nothing_else() {
        let mut headers = HeaderMap::new();
        for (k, v) in [
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x-remote-uid", "0"),
        ] {
            headers.insert(k, HeaderValue::from_static(v));
        }
        headers.insert("x-remote-extra-a", HeaderValue::from_static("b"));
        headers.insert("accept", HeaderValue::from_static("*/*"));
        let mut user = User::new("jane", ["dev", "ops"].map(str::to_owned));
        user.extra
            .insert("example.org/scope".into(), vec!["1".into(), "2".into()]);
        set_headers(&mut headers, &user);
        let all: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (k.as_str(), v.to_str().unwrap())).collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        assert_eq!(
            sorted,
            [
                ("accept", "*/*"),
                ("x-remote-extra-example.org%2fscope", "1"),
                ("x-remote-extra-example.org%2fscope", "2"),
                ("x-remote-group", "dev"),
                ("x-remote-group", "ops"),
                ("x-remote-user", "jane"),
            ]
        );
    }

    #[test]
    fn a_secret_makes_a_ca_that_is_believed_after_a_restart() {
        let (before, after): (Timestamp, Timestamp) = (
            "2026-01-01T00:00:00Z".parse().unwrap(),
            "2026-02-01T00:00:00Z".parse().unwrap(),
        );
        let (one, two) = (
            FrontProxy::of_secret(&[7; 32], before).unwrap(),
            FrontProxy::of_secret(&[7; 32], after).unwrap(),
        );
        let trust = crate::auth::RequestHeader::new(one.ca_pem(), vec![NAME.to_owned()]);
        let other = FrontProxy::of_secret(&[8; 32], before).unwrap();
        let der = |p: &FrontProxy| {
            use rustls_pki_types::{CertificateDer, pem::PemObject};
            CertificateDer::from_pem_slice(p.client.cert_pem.as_bytes())
                .unwrap()
                .to_vec()
        };
        let mut headers = HeaderMap::new();
        set_headers(&mut headers, &User::new("jane", ["dev".to_owned()]));
        let user = trust.user(&headers, &der(&two), after).unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups.as_slice()),
            ("jane", &["dev".to_owned()][..])
        );
        assert!(trust.user(&headers, &der(&other), after).is_none());
        assert!(trust.user(&HeaderMap::new(), &der(&one), after).is_none());
    }
}
