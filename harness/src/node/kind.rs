//! What kind (v0.33) asks of a node image, beside what every node is: kubeadm, of which it calls `init` and `join`
//! with a file that says everything.

use serde::Deserialize;
use serde_yaml::Value;

use super::flags::Role;

/// Where kind puts kubeadm's configuration.
pub const CONFIG: &str = "/kind/kubeadm.conf";
/// What kind waits for in a new node's log (its `nodeReachedCgroupsReadyRegexp` and systemd's words).
pub const READY: &str = "Reached target Multi-User System.";
/// Where the stand-in says what the node shall be.
pub fn role_file() -> String {
    format!("{}/kind", super::RUN)
}

/// The kubeconfig with which the stand-in looks for the node: kubeadm ends when the node is there.
#[must_use]
pub fn waits_for(role: Role) -> &'static str {
    match role {
        Role::Server => "/etc/rancher/k3s/k3s.yaml",
        Role::Agent => "/etc/cfn/node/kubelet.kubeconfig",
    }
}

/// Why kind's configuration cannot be followed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KindError {
    /// It does not parse.
    #[error("{CONFIG}: {0}")]
    Yaml(String),
    /// Something that a node needs is not in it.
    #[error("{CONFIG}: there is no {0}")]
    Missing(&'static str),
}

/// The command line of a node that kind configured: for `kubeadm init` a server, for `kubeadm join` an agent.
///
/// # Errors
/// When the configuration lacks something.
pub fn line(role: Role, config: &str) -> Result<Vec<String>, KindError> {
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_str(config) {
        documents.push(Value::deserialize(document).map_err(|e| KindError::Yaml(e.to_string()))?);
    }
    let find = |kind: &str, path: &[&str]| {
        let mut at = documents.iter().find(|d| d["kind"].as_str() == Some(kind))?;
        for key in path {
            at = match key.parse::<usize>() {
                Ok(i) => at.get(i)?,
                Err(_) => at.get(*key)?,
            };
        }
        Some(at)
    };
    let text = |kind: &str, path: &[&str]| find(kind, path).and_then(Value::as_str).map(str::to_owned);
    let mut line = Vec::new();
    let registration = match role {
        Role::Server => {
            let token = text("InitConfiguration", &["bootstrapTokens", "0", "token"]);
            line.push("server".to_owned());
            line.push(format!(
                "--token={}",
                token.ok_or(KindError::Missing("bootstrap token"))?
            ));
            for (flag, key) in [("cluster-cidr", "podSubnet"), ("service-cidr", "serviceSubnet")] {
                if let Some(v) = text("ClusterConfiguration", &["networking", key]) {
                    line.push(format!("--{flag}={v}"));
                }
            }
            let names = find("ClusterConfiguration", &["apiServer", "certSANs"]).and_then(Value::as_sequence);
            for name in names.into_iter().flatten().filter_map(Value::as_str) {
                line.push(format!("--tls-san={name}"));
            }
            line.push("--node-taint=node-role.kubernetes.io/control-plane:NoSchedule".to_owned());
            "InitConfiguration"
        }
        Role::Agent => {
            let token = text("JoinConfiguration", &["discovery", "bootstrapToken", "token"]);
            let server = text(
                "JoinConfiguration",
                &["discovery", "bootstrapToken", "apiServerEndpoint"],
            );
            line.push("agent".to_owned());
            line.push(format!(
                "--token={}",
                token.ok_or(KindError::Missing("bootstrap token"))?
            ));
            line.push(format!(
                "--server=https://{}",
                server.ok_or(KindError::Missing("apiServerEndpoint"))?
            ));
            "JoinConfiguration"
        }
    };
    // A list of name and value (v1beta4), before that a map.
    let extra = find(registration, &["nodeRegistration", "kubeletExtraArgs"]);
    let mut arguments: Vec<(String, String)> = Vec::new();
    for item in extra.and_then(Value::as_sequence).into_iter().flatten() {
        if let (Some(n), Some(v)) = (item["name"].as_str(), item["value"].as_str()) {
            arguments.push((n.to_owned(), v.to_owned()));
        }
    }
    for (n, v) in extra.and_then(Value::as_mapping).into_iter().flatten() {
        if let (Some(n), Some(v)) = (n.as_str(), v.as_str()) {
            arguments.push((n.to_owned(), v.to_owned()));
        }
    }
    for (name, value) in arguments {
        match name.as_str() {
            "node-labels" if value.is_empty() => {}
            "node-labels" => line.push(format!("--node-label={value}")),
            "node-ip" => line.push(format!("--node-ip={value}")),
            // Docker's socket of an older kind, and what our kubelet has another way.
            "runtime-cgroups" | "container-runtime-endpoint" => {}
            _ => line.push(format!("--kubelet-arg={name}={value}")),
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
networking: {podSubnet: "10.244.0.0/16", serviceSubnet: "10.96.0.0/16"}
apiServer: {certSANs: [localhost, "127.0.0.1"]}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- token: "abcdef.0123456789abcdef"
nodeRegistration:
  kubeletExtraArgs:
  - {name: node-ip, value: "172.18.0.2"}
  - {name: provider-id, value: "kind://docker/k/k-control-plane"}
  - {name: node-labels, value: ""}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
nodeRegistration:
  kubeletExtraArgs: {node-ip: "172.18.0.3", node-labels: "a=b"}
discovery:
  bootstrapToken: {apiServerEndpoint: "k-control-plane:6443", token: "abcdef.0123456789abcdef"}
"#;

    #[test]
    fn kubeadm_becomes_our_flags() {
        insta::assert_snapshot!(line(Role::Server, CONF).unwrap().join("\n"), @r"
        server
        --token=abcdef.0123456789abcdef
        --cluster-cidr=10.244.0.0/16
        --service-cidr=10.96.0.0/16
        --tls-san=localhost
        --tls-san=127.0.0.1
        --node-taint=node-role.kubernetes.io/control-plane:NoSchedule
        --node-ip=172.18.0.2
        --kubelet-arg=provider-id=kind://docker/k/k-control-plane
        ");
        insta::assert_snapshot!(line(Role::Agent, CONF).unwrap().join("\n"), @r"
        agent
        --token=abcdef.0123456789abcdef
        --server=https://k-control-plane:6443
        --node-ip=172.18.0.3
        --node-label=a=b
        ");
        assert_eq!(
            line(Role::Agent, "kind: JoinConfiguration"),
            Err(KindError::Missing("bootstrap token"))
        );
    }
}
