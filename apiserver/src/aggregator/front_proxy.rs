//! This server as the front proxy of others: a CA of its own for the one certificate that it shows them, the headers that
//! tell whom it speaks for, and the ConfigMap from which they learn to believe both
//! (`authentication/request/headerrequest`, `controlplane/controller/clusterauthenticationtrust`).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use cfn_net::Identity;
use cfn_net::client::tls_client_config;
use cfn_net::pki::{Ca, KeyCert, PkiError};
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::remote::Remote;
use crate::anyone;
use crate::certificate::Certificate;
use crate::registry::{Call, Server, Target, User};

/// The name in its certificate, as kubeadm has it.
pub(super) const NAME: &str = "front-proxy-client";
/// The name of its CA, and of the files that keep that, as kubeadm has them.
pub(crate) const CA_NAME: &str = "front-proxy-ca";
const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";
/// TLS settings kept for the next connection.
const KEPT: usize = 64;

/// What this server shows those behind it.
pub(crate) struct FrontProxy {
    ca: Ca,
    /// When it began: its certificate counts from then.
    since: Timestamp,
    /// Made for the first server behind this one: mostly there is none.
    client: Certificate,
    settings: Mutex<BTreeMap<Trust, Arc<rustls::ClientConfig>>>,
}

/// Whose certificates a connection takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Trust {
    Everybody,
    /// Those that the CAs of this PEM signed; there may be none.
    Authorities(String),
}

impl Trust {
    fn of(to: &Remote) -> Self {
        match to.insecure {
            true => Self::Everybody,
            false => Self::Authorities(to.ca_pem.clone()),
        }
    }
}

impl FrontProxy {
    /// One whose certificate `ca` signs.
    pub(crate) fn new(ca: Ca, since: Timestamp) -> Self {
        Self {
            client: Certificate::of(&ca),
            ca,
            since,
            settings: Mutex::default(),
        }
    }

    /// Who signed its certificate, PEM.
    pub(crate) fn ca_pem(&self) -> &str {
        self.ca.cert_pem()
    }

    /// Its certificate and key.
    pub(crate) fn client(&self) -> Result<&KeyCert, PkiError> {
        self.client.get(|key| self.ca.client_at(key, NAME, &[], self.since))
    }

    /// TLS towards one behind this server.
    pub(super) fn tls(&self, to: &Remote) -> io::Result<Arc<rustls::ClientConfig>> {
        let trust = Trust::of(to);
        let mut kept = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(c) = kept.get(&trust) {
            return Ok(c.clone());
        }
        let KeyCert { cert_pem, key_pem } = self.client().map_err(io::Error::other)?.clone();
        let identity = Identity::Certificate { cert_pem, key_pem };
        let authorities = match &trust {
            Trust::Everybody => "",
            Trust::Authorities(pem) => pem,
        };
        let mut config = tls_client_config(authorities, &identity).map_err(io::Error::other)?;
        if trust == Trust::Everybody {
            anyone::take_every_certificate(&mut config);
        }
        let config = Arc::new(config);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(trust, config.clone());
        Ok(config)
    }

    /// Tells servers behind this one whom to believe.
    pub(super) fn publish(&self, server: &Server) {
        let list = |all: &[&str]| json!(all).to_string();
        let data = json!({"client-ca-file": server.settings.ca_pem, "requestheader-client-ca-file": self.ca_pem(),
            "requestheader-allowed-names": list(&[NAME]), "requestheader-username-headers": list(&["X-Remote-User"]),
            "requestheader-uid-headers": list(&["X-Remote-Uid"]), "requestheader-group-headers": list(&["X-Remote-Group"]),
            "requestheader-extra-headers-prefix": list(&["X-Remote-Extra-"])});
        let configured = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": data,
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"}});
        if let Err(e) = put(server, configured) {
            tracing::error!(error = %e, "what servers behind this one are told");
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
///
/// # Errors
/// Where no header can hold that: a request that says less goes nowhere, as with Go's transport.
pub(crate) fn set_headers(headers: &mut HeaderMap, user: &User) -> Result<(), http::Error> {
    let said: Vec<HeaderName> = headers
        .keys()
        .filter(|k| [USER, UID, GROUP].contains(*k) || k.as_str().starts_with(EXTRA))
        .cloned()
        .collect();
    for k in said {
        headers.remove(k);
    }
    // Not only ASCII: names go as the bytes that they are.
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes());
    headers.append(USER, value(&user.name)?);
    if !user.uid.is_empty() {
        headers.append(UID, value(&user.uid)?);
    }
    for g in &user.groups {
        headers.append(GROUP, value(g)?);
    }
    for (key, values) in &user.extra {
        let name = HeaderName::try_from(format!("{EXTRA}{}", escaped(key)))?;
        for v in values {
            headers.append(name.clone(), value(v)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use cfn_net::server::tls_server_config;
    use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    const NOW: &str = "2026-01-01T00:00:00Z";

    fn proxy() -> FrontProxy {
        let now: Timestamp = NOW.parse().unwrap();
        FrontProxy::new(Ca::new(CA_NAME, now).unwrap(), now)
    }

    /// Whether each of these remotes is connected to, in turn, by one front proxy.
    async fn taken(to: &[Remote], ca: &Ca) -> Vec<bool> {
        let proxy = proxy();
        let now = cfn_net::Clock::now(&cfn_net::SystemClock);
        let sans = [to[0].server_name()];
        let own = tls_server_config(&ca.server("s", &sans, now).unwrap(), None).unwrap();
        let mut all = Vec::new();
        for remote in to {
            let (here, there) = tokio::io::duplex(64 * 1024);
            let name = ServerName::try_from(remote.server_name()).unwrap();
            let client = TlsConnector::from(proxy.tls(remote).unwrap()).connect(name, here);
            let (client, _) = tokio::join!(client, TlsAcceptor::from(own.clone()).accept(there));
            all.push(client.is_ok());
        }
        all
    }

    #[tokio::test]
    async fn who_is_believed_of_one_server_is_not_of_another() {
        // What looks at certificates has the time of the machine.
        let now = cfn_net::Clock::now(&cfn_net::SystemClock);
        let (ca, other) = (Ca::new("a", now).unwrap(), Ca::new("b", now).unwrap());
        let of = |insecure: bool, ca_pem: &str| {
            let mut v = json!({"metadata": {"name": "v1.g"}, "spec": {"group": "g", "version": "v1",
                "insecureSkipTLSVerify": insecure, "service": {"namespace": "n", "name": "s"}}});
            v["spec"]["caBundle"] = json!(STANDARD.encode(ca_pem));
            Remote::of(&v).unwrap()
        };
        let (anyone, none) = (of(true, ""), of(false, ""));
        let (good, bad, odd) = (
            of(false, ca.cert_pem()),
            of(false, other.cert_pem()),
            of(true, other.cert_pem()),
        );
        let all = [
            (&anyone, true),
            (&none, false),
            (&good, true),
            (&bad, false),
            (&odd, true),
        ];
        for all in [all.to_vec(), all.into_iter().rev().collect()] {
            let (remotes, wanted): (Vec<Remote>, Vec<bool>) = all.into_iter().map(|(r, ok)| (r.clone(), ok)).unzip();
            assert_eq!(taken(&remotes, &ca).await, wanted);
        }
    }

    #[test]
    fn names_that_are_not_ascii_are_passed_on_and_others_not_at_all() {
        let mut headers = HeaderMap::new();
        set_headers(&mut headers, &User::new("Jörg", ["büro".to_owned()])).unwrap();
        assert_eq!(headers[USER].as_bytes(), "Jörg".as_bytes());
        assert_eq!(headers[GROUP].as_bytes(), "büro".as_bytes());
        assert!(set_headers(&mut headers, &User::new("a\nb", [""; 0])).is_err());
        assert!(set_headers(&mut headers, &User::new("a", ["\u{7f}".to_owned()])).is_err());
    }

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
        set_headers(&mut headers, &user).unwrap();
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
    fn a_front_proxy_of_the_same_ca_is_believed_after_a_restart() {
        let (before, after): (Timestamp, Timestamp) = (NOW.parse().unwrap(), "2026-02-01T00:00:00Z".parse().unwrap());
        let one = proxy();
        let kept = Ca::from_pem(one.ca_pem(), one.ca.key_pem()).unwrap();
        let two = FrontProxy::new(kept, after);
        let trust = crate::auth::RequestHeader::new(one.ca_pem(), vec![NAME.to_owned()]);
        let der = |p: &FrontProxy| {
            let pem = p.client().unwrap().cert_pem.as_bytes();
            CertificateDer::from_pem_slice(pem).unwrap().to_vec()
        };
        assert_eq!(der(&one), der(&one), "it is made once");
        let mut headers = HeaderMap::new();
        set_headers(&mut headers, &User::new("jane", ["dev".to_owned()])).unwrap();
        let user = trust.user(&headers, &der(&two), after).unwrap();
        assert_eq!(
            (user.name.as_str(), user.groups.as_slice()),
            ("jane", &["dev".to_owned()][..])
        );
        assert!(trust.user(&headers, &der(&proxy()), before).is_none());
        assert!(trust.user(&HeaderMap::new(), &der(&one), after).is_none());
    }
}
