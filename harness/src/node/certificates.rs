//! Certificates and kubeconfigs of a node. The cluster's CA follows from its token, so a node needs no handshake to join and the
//! harness none to have its own kubeconfig. That is for testbeds: whoever has the token is the administrator.

use base64::Engine;
use cfn_net::pki::{Ca, KeyCert, PkiError, signing_request};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::flags::{Checked, Role};

/// Certificates of one node.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The cluster's CA.
    pub ca: KeyCert,
    /// Kubelet as a client of the API server.
    pub kubelet: KeyCert,
    /// Kubelet as a server.
    pub kubelet_serving: KeyCert,
    /// kube-proxy, and what of this process follows the nodes.
    pub proxy: KeyCert,
    /// Only a server has them.
    pub server: Option<ServerCertificates>,
}

/// Certificates of a control plane.
#[derive(Debug, Clone)]
pub struct ServerCertificates {
    /// The API server's.
    pub apiserver: KeyCert,
    /// The administrator, who also is the controllers and the scheduler.
    pub admin: KeyCert,
}

/// The CA of the cluster with this token.
///
/// # Errors
/// As [`Ca::new`].
pub fn cluster_ca(token: &str, now: Timestamp) -> Result<Ca, PkiError> {
    let secret = Sha256::new()
        .chain_update(b"cfn.akraino.org cluster CA\0")
        .chain_update(token.as_bytes())
        .finalize();
    Ca::of_secret("cfn-cluster-ca", now, &secret.into())
}

/// What the machine's id is: the same whenever this node starts.
#[must_use]
pub fn machine_id(token: &str, name: &str) -> String {
    let hash = Sha256::new()
        .chain_update(b"cfn.akraino.org machine id\0")
        .chain_update(token.as_bytes())
        .chain_update(b"/")
        .chain_update(name.as_bytes())
        .finalize();
    hash.iter().take(16).map(|b| format!("{b:02x}")).collect()
}

/// Makes the certificates of a node with this address and host name.
///
/// # Errors
/// As [`Ca::new`].
pub fn certificates(of: &Checked, ip: &str, hostname: &str, now: Timestamp) -> Result<Certificates, PkiError> {
    let ca = cluster_ca(&of.token, now)?;
    let group = |g: &str| vec![g.to_owned()];
    let own = [of.name.as_str(), ip, "127.0.0.1", "localhost"].map(str::to_owned);
    let server = match of.role {
        Role::Agent => None,
        Role::Server => {
            let mut sans: Vec<String> = own.to_vec();
            sans.extend(["::1", hostname, &of.services.address(1).to_string(), "kubernetes"].map(str::to_owned));
            for suffix in ["", ".svc", ".svc.cluster.local"] {
                sans.push(format!("kubernetes.default{suffix}"));
            }
            sans.extend(of.flags.tls_san.iter().cloned());
            sans.retain(|s| !s.is_empty());
            sans.sort_unstable();
            sans.dedup();
            Some(ServerCertificates {
                apiserver: ca.server("kube-apiserver", &sans, now)?,
                admin: ca.client("system:admin", &group("system:masters"), now)?,
            })
        }
    };
    Ok(Certificates {
        kubelet: ca.client(&format!("system:node:{}", of.name), &group("system:nodes"), now)?,
        kubelet_serving: ca.server(&format!("system:node:{}", of.name), &own, now)?,
        proxy: ca.client("system:kube-proxy", &[], now)?,
        server,
        ca: KeyCert {
            cert_pem: ca.cert_pem().to_owned(),
            key_pem: ca.key_pem().to_owned(),
        },
    })
}

/// A kubeconfig of one context, `default`, as K3s'.
#[must_use]
pub fn kubeconfig(server: &str, ca_pem: &str, identity: &KeyCert) -> String {
    let encode = |s: &str| base64::engine::general_purpose::STANDARD.encode(s);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: default
  cluster:
    certificate-authority-data: {}
    server: {server}
contexts:
- name: default
  context:
    cluster: default
    user: default
current-context: default
users:
- name: default
  user:
    client-certificate-data: {}
    client-key-data: {}
",
        encode(ca_pem),
        encode(&identity.cert_pem),
        encode(&identity.key_pem)
    )
}

/// A new key for service account tokens: kube-apiserver reads an elliptic key in SEC 1 form only.
///
/// # Errors
/// As [`Ca::new`].
pub fn service_account_key() -> Result<String, PkiError> {
    let (_, pkcs8) = signing_request("service-accounts", &[])?;
    sec1(&pkcs8).ok_or_else(|| PkiError::Parse("a new P-256 key is not in the form that is expected".to_owned()))
}

/// The SEC 1 form (RFC 5915) of a P-256 key in PKCS #8.
fn sec1(pkcs8_pem: &str) -> Option<String> {
    let engine = base64::engine::general_purpose::STANDARD;
    let body: String = pkcs8_pem.lines().filter(|l| !l.starts_with("-----")).collect();
    let der = engine.decode(body).ok()?;
    // PKCS #8 holds an ECPrivateKey without the name of its curve: version 1, 32 bytes of key, then the public key.
    let inner = [0x02, 0x01, 0x01, 0x04, 0x20];
    let at = der.windows(inner.len()).position(|w| w == inner)? + inner.len();
    let (key, rest) = (der.get(at..at + 32)?, der.get(at + 32..)?);
    let public = rest
        .get(..70)
        .filter(|p| p.starts_with(&[0xa1, 0x44, 0x03, 0x42, 0x00, 0x04]))?;
    let curve = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let mut made = vec![0x30, 0x77];
    made.extend(inner);
    made.extend(key);
    made.extend(curve);
    made.extend(public);
    let text = engine.encode(made);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|i| &text[i..text.len().min(i + 64)])
        .collect();
    Some(format!(
        "-----BEGIN EC PRIVATE KEY-----\n{}\n-----END EC PRIVATE KEY-----\n",
        lines.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::flags::tests::checked;

    #[test]
    fn the_token_makes_the_ca() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let (one, same, other) = (
            cluster_ca("t", now).unwrap(),
            cluster_ca("t", now).unwrap(),
            cluster_ca("u", now).unwrap(),
        );
        assert_eq!(one.key_pem(), same.key_pem());
        assert_ne!(one.key_pem(), other.key_pem());
        assert_ne!(machine_id("t", "a"), machine_id("t", "b"));
        assert_eq!(machine_id("t", "a").len(), 32);
    }

    #[test]
    fn only_a_server_is_the_administrator() {
        let now: Timestamp = "2026-05-01T00:00:00Z".parse().unwrap();
        let server = checked(Role::Server, &["--token=t", "--tls-san=hub.example,10.9.9.9"]);
        let made = certificates(&server, "10.0.0.2", "h", now).unwrap();
        assert!(made.server.is_some());
        let agent = checked(Role::Agent, &["--token=t", "--server=https://h"]);
        assert!(certificates(&agent, "10.0.0.3", "h", now).unwrap().server.is_none());
        let config = kubeconfig("https://h:1", &made.ca.cert_pem, &made.kubelet);
        let read = kube::config::Kubeconfig::from_yaml(&config).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("default"));
    }

    #[test]
    fn service_account_keys_are_sec1() {
        let pem = service_account_key().unwrap();
        let body: String = pem.lines().filter(|l| !l.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
        assert_eq!((der.len(), der[0], der[1] as usize), (121, 0x30, 119));
        assert_ne!(pem, service_account_key().unwrap());
    }
}
