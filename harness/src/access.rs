//! Which API server is spoken to, and as whom: a kubeconfig's context, or the pod's own service account.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use cfn_net::{ClientConfig, Identity};
use kube::config::Kubeconfig;

use crate::input::Problem;

/// Where Kubernetes puts a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A kubeconfig and the context in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The file.
    pub path: PathBuf,
    /// The context; the file's current one without.
    pub context: Option<String>,
}

impl std::str::FromStr for Target {
    type Err = std::convert::Infallible;

    /// `FILE` or `FILE:CONTEXT`. A file of the whole name wins.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let whole = Self {
            path: s.into(),
            context: None,
        };
        Ok(match s.rsplit_once(':') {
            Some((path, context)) if !whole.path.exists() && !path.is_empty() && !context.is_empty() => Self {
                path: path.into(),
                context: Some(context.to_owned()),
            },
            _ => whole,
        })
    }
}

/// Why there is no access.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The kubeconfig cannot be used.
    #[error("{0}")]
    Input(Box<Problem>),
    /// There is none, and this is no pod either.
    #[error("{what}")]
    Nowhere {
        /// What is missing.
        what: String,
        /// What helps.
        cure: String,
    },
}

/// The API server of `target`; without one, of the cluster that this pod runs in. `timeout` is how long a request may
/// take.
///
/// # Errors
/// See [`AccessError`].
pub fn config(target: Option<&Target>, timeout: Duration) -> Result<ClientConfig, AccessError> {
    match target {
        Some(t) => of_kubeconfig(t, timeout),
        None => in_cluster(timeout),
    }
}

/// Whether this process is a pod with a service account.
#[must_use]
pub fn is_in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() && Path::new(SERVICE_ACCOUNT).join("token").exists()
}

fn in_cluster(timeout: Duration) -> Result<ClientConfig, AccessError> {
    let missing = |what: String| AccessError::Nowhere {
        what,
        cure: "name a kubeconfig, or run in a pod that has a service account".into(),
    };
    let env =
        |name: &str| std::env::var(name).map_err(|_| missing(format!("no kubeconfig is named and {name} is not set")));
    let (host, port) = (env("KUBERNETES_SERVICE_HOST")?, env("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let dir = Path::new(SERVICE_ACCOUNT);
    let ca = dir.join("ca.crt");
    let ca_pem = std::fs::read_to_string(&ca).map_err(|e| missing(format!("reading {}: {e}", ca.display())))?;
    Ok(ClientConfig {
        server: format!("https://{host}:{port}"),
        ca_pem,
        identity: Identity::TokenFile(dir.join("token")),
        timeout,
    })
}

fn of_kubeconfig(target: &Target, timeout: Duration) -> Result<ClientConfig, AccessError> {
    let shown = target.path.display().to_string();
    let wrong =
        |what: String, expected: &str| AccessError::Input(Box::new(Problem::of_file(&shown, what).expected(expected)));
    // Relative paths in the file are made whole.
    let k = Kubeconfig::read_from(&target.path).map_err(|e| wrong(e.to_string(), "a kubeconfig"))?;
    if k.contexts.is_empty() {
        return Err(wrong("it has no contexts".into(), "a kubeconfig"));
    }
    let name = target
        .context
        .as_deref()
        .or(k.current_context.as_deref())
        .unwrap_or_default();
    let context = k
        .contexts
        .iter()
        .find(|c| c.name == name)
        .and_then(|c| c.context.as_ref());
    let Some(context) = context else {
        let mut p = Problem::of_file(&shown, format!("no context `{name}`"));
        p = p.one_of(name, k.contexts.iter().map(|c| c.name.as_str()));
        return Err(AccessError::Input(Box::new(p)));
    };
    let cluster = k
        .clusters
        .iter()
        .find(|c| c.name == context.cluster)
        .and_then(|c| c.cluster.as_ref());
    let cluster = cluster.ok_or_else(|| wrong(format!("no cluster `{}`", context.cluster), "the context's cluster"))?;
    let user = k.auth_infos.iter().find(|a| Some(&a.name) == context.user.as_ref());
    let user = serde_json::to_value(user.and_then(|a| a.auth_info.clone()).unwrap_or_default()).unwrap_or_default();
    for (there, field) in [
        (
            cluster.insecure_skip_tls_verify == Some(true),
            "insecure-skip-tls-verify",
        ),
        (cluster.proxy_url.is_some(), "proxy-url"),
        (cluster.tls_server_name.is_some(), "tls-server-name"),
        (user.get("exec").is_some_and(|v| !v.is_null()), "exec"),
        (user.get("auth-provider").is_some_and(|v| !v.is_null()), "auth-provider"),
        (user.get("username").is_some_and(|v| !v.is_null()), "username"),
    ] {
        if there {
            return Err(wrong(
                format!("`{field}` is not supported"),
                "a certificate authority, and a client certificate, a token or a token file",
            ));
        }
    }
    let server = cluster.server.clone().filter(|s| s.starts_with("https://"));
    let server = server.ok_or_else(|| wrong("its cluster has no server".into(), "server: https://HOST:PORT"))?;
    let text = |f: &str| user.get(f).and_then(serde_json::Value::as_str).map(str::to_owned);
    let pem = |field: &str, data: Option<String>, file: Option<String>| match (data, file) {
        (Some(d), _) => base64::engine::general_purpose::STANDARD
            .decode(d.trim())
            .ok()
            .and_then(|b| String::from_utf8(b).ok())
            .map(Some)
            .ok_or_else(|| wrong(format!("{field}-data is not base64 of PEM"), "PEM in base64")),
        (None, Some(f)) => std::fs::read_to_string(&f)
            .map(Some)
            .map_err(|e| wrong(format!("{field} {f}: {e}"), "a file that can be read")),
        (None, None) => Ok(None),
    };
    let authority = "certificate-authority";
    let ca_pem = pem(
        authority,
        cluster.certificate_authority_data.clone(),
        cluster.certificate_authority.clone(),
    )?
    .ok_or_else(|| wrong("its cluster has no certificate authority".into(), authority))?;
    let part = |field: &str| pem(field, text(&format!("{field}-data")), text(field));
    let identity = match (part("client-certificate")?, part("client-key")?) {
        (Some(cert_pem), Some(key_pem)) => Identity::Certificate { cert_pem, key_pem },
        (None, None) => match (text("token"), text("tokenFile")) {
            (_, Some(f)) => Identity::TokenFile(f.into()),
            (Some(t), None) => Identity::Token(t),
            (None, None) => Identity::Anonymous,
        },
        _ => return Err(wrong("a certificate without its key, or the key alone".into(), "both")),
    };
    Ok(ClientConfig {
        server,
        ca_pem,
        identity,
        timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(user: &str, cluster: &str, context: Option<&str>) -> Result<ClientConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(dir.path().join("token"), "from-file").unwrap();
        std::fs::write(dir.path().join("tls.crt"), "CERT").unwrap();
        std::fs::write(dir.path().join("tls.key"), "KEY").unwrap();
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: a, \
             contexts: [{{name: a, context: {{cluster: c, user: u}}}}, {{name: b, context: {{cluster: d, user: u}}}}], \
             clusters: [{{name: c, cluster: {{{cluster}}}}}], users: [{{name: u, user: {{{user}}}}}]}}"
        );
        std::fs::write(&path, text).unwrap();
        let target = Target {
            path,
            context: context.map(str::to_owned),
        };
        config(Some(&target), Duration::from_secs(1)).map_err(|e| format!("{e:?}"))
    }

    #[test]
    fn identities() {
        // "CA" in base64.
        let cluster = "server: 'https://10.0.0.1:6443', certificate-authority-data: Q0E=";
        let of = |user: &str| read(user, cluster, None).unwrap();
        let c = of("client-certificate: tls.crt, client-key-data: S0VZMg==");
        assert_eq!((c.server.as_str(), c.ca_pem.as_str()), ("https://10.0.0.1:6443", "CA"));
        assert!(
            matches!(c.identity, Identity::Certificate { cert_pem, key_pem } if cert_pem == "CERT" && key_pem == "KEY2")
        );
        assert!(matches!(of("token: abc").identity, Identity::Token(t) if t == "abc"));
        assert!(matches!(of("tokenFile: token").identity, Identity::TokenFile(p) if p.ends_with("token")));
        assert!(matches!(of("").identity, Identity::Anonymous));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cluster = "server: 'https://10.0.0.1:6443', certificate-authority-data: Q0E=";
        for (user, cluster, context, says) in [
            ("", cluster, Some("x"), "no context `x`"),
            ("", cluster, Some("b"), "no cluster `d`"),
            ("exec: {command: aws}", cluster, None, "`exec`"),
            (
                "",
                "server: 'https://h', insecure-skip-tls-verify: true",
                None,
                "insecure-skip-tls-verify",
            ),
            ("", "server: 'https://h'", None, "no certificate authority"),
            (
                "",
                "server: 'http://h', certificate-authority-data: Q0E=",
                None,
                "no server",
            ),
            ("client-certificate: tls.crt", cluster, None, "without its key"),
            (
                "client-certificate: none.crt, client-key: tls.key",
                cluster,
                None,
                "none.crt",
            ),
            (
                "client-certificate-data: '*', client-key: tls.key",
                cluster,
                None,
                "not base64",
            ),
        ] {
            let e = read(user, cluster, context).unwrap_err();
            assert!(e.contains(says), "{user} {cluster}: {e}");
            assert!(!e.contains("KEY"), "no secret in an error");
        }
    }

    #[test]
    fn a_context_after_the_file() {
        let t: Target = "/no/such:ctx".parse().unwrap();
        assert_eq!((t.path.to_str(), t.context.as_deref()), (Some("/no/such"), Some("ctx")));
        let t: Target = "/no/such".parse().unwrap();
        assert_eq!((t.path.to_str(), t.context), (Some("/no/such"), None));
    }
}
