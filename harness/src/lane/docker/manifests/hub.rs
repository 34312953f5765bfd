//! How a member's agent reaches the hub before it has an identity of its own.

use serde_json::{Value, json};

/// The hub, and a secret that is good for asking to join.
#[derive(Clone, PartialEq, Eq)]
pub struct HubAccess {
    /// `https://ADDRESS:PORT`, as the member reaches it.
    pub server: String,
    /// The CA of its certificate, PEM.
    pub ca_pem: String,
    /// A bootstrap token, `ID.SECRET`, or another bearer token that may ask for an agent's identity.
    pub token: String,
}

impl std::fmt::Debug for HubAccess {
    /// Without the token: it may come into a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubAccess")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// A kubeconfig with the bootstrap identity.
#[must_use]
pub fn kubeconfig(hub: &HubAccess) -> String {
    use base64::Engine;
    let ca = base64::engine::general_purpose::STANDARD.encode(&hub.ca_pem);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "hub",
        "clusters": [{"name": "hub", "cluster": {"server": hub.server, "certificate-authority-data": ca}}],
        "users": [{"name": "bootstrap", "user": {"token": hub.token}}],
        "contexts": [{"name": "hub", "context": {"cluster": "hub", "user": "bootstrap"}}],
    });
    // JSON is YAML.
    config.to_string()
}

/// Whether a text is a bootstrap token: six and sixteen lower-case letters or digits (Kubernetes' `bootstrapapi`).
#[must_use]
pub fn is_token(token: &str) -> bool {
    let of = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    token
        .split_once('.')
        .is_some_and(|(id, secret)| of(id, 6) && of(secret, 16))
}

/// The Secret by which the hub knows a bootstrap token; none when the text is none. Whoever has the token belongs to
/// `system:bootstrappers`, which may ask for certificates; the administrator, or `--auto-approve`, decides.
#[must_use]
pub fn bootstrap_token(token: &str) -> Option<Value> {
    let (id, secret) = token.split_once('.').filter(|_| is_token(token))?;
    Some(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("bootstrap-token-{id}"),
            "namespace": "kube-system",
            "labels": {"app.kubernetes.io/part-of": "cfn"},
        },
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "description": "for agents of members that join",
            "token-id": id,
            "token-secret": secret,
            "usage-bootstrap-authentication": "true",
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        for (token, good) in [
            ("abcdef.0123456789abcdef", true),
            ("abcdef.0123456789abcde", false),
            ("Abcdef.0123456789abcdef", false),
            ("abcdef0123456789abcdef", false),
        ] {
            assert_eq!(is_token(token), good, "{token}");
            assert_eq!(bootstrap_token(token).is_some(), good);
        }
    }

    #[test]
    fn a_kubeconfig_that_kube_reads_and_no_token_in_a_log() {
        let hub = HubAccess {
            server: "https://10.1.1.1:6443".into(),
            ca_pem: "PEM".into(),
            token: "abcdef.0123456789abcdef".into(),
        };
        let k = kube::config::Kubeconfig::from_yaml(&kubeconfig(&hub)).unwrap();
        assert_eq!(
            k.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
            Some("https://10.1.1.1:6443")
        );
        assert!(!format!("{hub:?}").contains("0123456789"));
    }
}
