//! containerd's configuration on a node in a container.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::flags::FlagsError;

/// Its socket.
pub const SOCKET: &str = "/run/containerd/containerd.sock";
/// Its configuration.
pub const CONFIG: &str = "/etc/containerd/config.toml";
/// Where it looks for other addresses of a registry.
pub const HOSTS: &str = "/etc/containerd/certs.d";
/// Where it keeps what images consist of.
pub const CONTENT: &str = "/var/lib/containerd/io.containerd.content.v1.content/blobs";
/// What holds a pod's namespaces: comes with the node image.
pub const PAUSE: &str = "cfn.akraino.org/pause:1";

/// The configuration. Beside what the CRI documentation has: OOM scores are only raised, because a container without
/// CAP_SYS_RESOURCE cannot lower them; no AppArmor inside a container; nothing is synced, state is as durable as the
/// container's volume; plugins that need devices or kernel modules are off.
#[must_use]
pub fn config() -> String {
    let off = [
        "nri.v1.nri",
        "tracing.processor.v1.otlp",
        "internal.v1.tracing",
        "snapshotter.v1.blockfile",
        "snapshotter.v1.erofs",
        "differ.v1.erofs",
        "mount-handler.v1.erofs",
        "image-verifier.v1.bindir",
    ]
    .map(|p| format!("'io.containerd.{p}'"))
    .join(", ");
    format!(
        "version = 4
root = '/var/lib/containerd'
state = '/run/containerd'
disabled_plugins = [{off}]

[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{PAUSE}'
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = '{HOSTS}'

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ['/opt/cni/bin']
    conf_dir = '/etc/cni/net.d'
    max_conf_num = 1
    use_internal_loopback = true

[plugins.'io.containerd.metadata.v1.bolt']
  no_sync = true

[plugins.'io.containerd.grpc.v1.cri']
  disable_tcp_service = true
"
    )
}

/// K3s' registries.yaml, what of it is followed.
#[derive(Debug, Default, Deserialize)]
pub struct Registries {
    /// Other addresses, by registry; `*` for every other one.
    #[serde(default)]
    mirrors: BTreeMap<String, Mirror>,
    /// How an address is spoken to.
    #[serde(default)]
    configs: BTreeMap<String, Config>,
}

#[derive(Debug, Default, Deserialize)]
struct Mirror {
    #[serde(default)]
    endpoint: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    tls: Tls,
}

#[derive(Debug, Default, Deserialize)]
struct Tls {
    #[serde(default)]
    insecure_skip_verify: bool,
    ca_file: Option<String>,
}

/// The `hosts.toml` files, by path below [`HOSTS`], for registries.yaml's text and this node's own mirror, which is
/// asked first.
///
/// # Errors
/// When the text is not K3s' registries.yaml.
pub fn hosts(registries_yaml: Option<&str>, mirror: Option<&str>) -> Result<BTreeMap<String, String>, FlagsError> {
    let registries: Registries = match registries_yaml.filter(|t| !t.trim().is_empty()) {
        Some(text) => serde_yaml::from_str(text).map_err(|e| FlagsError::Registries(e.to_string()))?,
        None => Registries::default(),
    };
    let mut all = registries.mirrors;
    if mirror.is_some() {
        all.entry("*".to_owned()).or_default();
    }
    let mut files = BTreeMap::new();
    for (name, of) in all {
        let mut text = String::new();
        for endpoint in mirror.into_iter().chain(of.endpoint.iter().map(String::as_str)) {
            let url = if endpoint.contains("://") {
                endpoint.to_owned()
            } else {
                format!("https://{endpoint}")
            };
            text.push_str(&format!("[host.\"{url}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"));
            let authority = url.split_once("://").map_or(url.as_str(), |(_, r)| r);
            let authority = authority.split('/').next().unwrap_or(authority);
            if let Some(config) = registries.configs.get(authority) {
                if config.tls.insecure_skip_verify {
                    text.push_str("  skip_verify = true\n");
                }
                if let Some(ca) = &config.tls.ca_file {
                    text.push_str(&format!("  ca = \"{ca}\"\n"));
                }
            }
        }
        let directory = if name == "*" { "_default" } else { name.as_str() };
        files.insert(format!("{directory}/hosts.toml"), text);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_and_the_mirror() {
        let yaml = "
mirrors:
  docker.io:
    endpoint: [https://mirror.example:5000/v2, plain.example]
  '*': {}
configs:
  mirror.example:5000:
    auth: {username: u, password: p}
    tls: {insecure_skip_verify: true, ca_file: /ca.pem}
";
        let files = hosts(Some(yaml), Some("http://127.0.0.1:10262")).unwrap();
        insta::assert_snapshot!(files["docker.io/hosts.toml"], @r#"
        [host."http://127.0.0.1:10262"]
          capabilities = ["pull", "resolve"]
        [host."https://mirror.example:5000/v2"]
          capabilities = ["pull", "resolve"]
          skip_verify = true
          ca = "/ca.pem"
        [host."https://plain.example"]
          capabilities = ["pull", "resolve"]
        "#);
        assert_eq!(
            files.keys().collect::<Vec<_>>(),
            ["_default/hosts.toml", "docker.io/hosts.toml"]
        );
        assert!(hosts(None, None).unwrap().is_empty());
        assert!(matches!(
            hosts(Some("mirrors: 3"), None),
            Err(FlagsError::Registries(_))
        ));
    }
}
