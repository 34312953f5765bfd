//! What kind (v0.33) asks of a node image, beside what every node is: kubeadm, of which it calls `init` and `join`
//! with a file that says everything.

use serde::Deserialize;
use serde_yaml::Value;

use super::flags::Role;

/// Where kind puts kubeadm's configuration.
pub const CONFIG: &str = "/kind/kubeadm.conf";
/// What kind waits for in a new node's log (its `nodeReachedCgroupsReadyRegexp` and systemd's words).
pub const READY: &str = "Reached target Multi-User System.";
/// A drop-in of kubelet's configuration: what kind's says of it.
pub const KUBELET_DROP_IN: &str = "/etc/kubernetes/kubelet.conf.d/50-kind.conf";
/// What of kind's kubelet configuration is of its own image: systemd, and a cgroup that its entrypoint makes.
const OF_ITS_IMAGE: [&str; 3] = ["metadata", "cgroupDriver", "cgroupRoot"];
/// Prefix of kubelet flags in kind's configuration that are not kubelet's but our node's.
const OURS: &str = "cfn-";
/// Prefix of those that are the edge agent's.
const EDGE: &str = "cfn-edge-";

/// Where the stand-in says what the node shall be: kept over restarts.
#[must_use]
pub fn role_file() -> String {
    format!("{}/kind", super::STATE)
}

/// The kubeconfigs, one of which a node of this role has, with which the stand-in looks for the node: kubeadm ends when
/// the node is there. The second of an agent's is that of a node with an edge agent.
#[must_use]
pub fn waits_for(role: Role) -> &'static [&'static str] {
    match role {
        Role::Server => &["/etc/rancher/k3s/k3s.yaml"],
        Role::Agent => &["/etc/cfn/node/kubelet.kubeconfig", "/etc/cfn/node/upstream.kubeconfig"],
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

/// kubeadm's configuration as kind wrote it.
#[derive(Debug)]
pub struct Config(Vec<Value>);

impl Config {
    /// Reads its documents.
    ///
    /// # Errors
    /// When one does not parse.
    pub fn read(text: &str) -> Result<Self, KindError> {
        let mut documents = Vec::new();
        for document in serde_yaml::Deserializer::from_str(text) {
            documents.push(Value::deserialize(document).map_err(|e| KindError::Yaml(e.to_string()))?);
        }
        Ok(Self(documents))
    }

    fn document(&self, kind: &str) -> Option<&Value> {
        self.0.iter().find(|d| d["kind"].as_str() == Some(kind))
    }

    fn find(&self, kind: &str, path: &[&str]) -> Option<&Value> {
        let mut at = self.document(kind)?;
        for key in path {
            at = match key.parse::<usize>() {
                Ok(i) => at.get(i)?,
                Err(_) => at.get(*key)?,
            };
        }
        Some(at)
    }

    fn text(&self, kind: &str, path: &[&str]) -> Option<String> {
        self.find(kind, path).and_then(Value::as_str).map(str::to_owned)
    }

    /// Arguments: a list of name and value (v1beta4), before that a map.
    fn arguments(&self, kind: &str, path: &[&str]) -> Vec<(String, String)> {
        let extra = self.find(kind, path);
        let list = extra.and_then(Value::as_sequence).into_iter().flatten();
        let map = extra.and_then(Value::as_mapping).into_iter().flatten();
        list.filter_map(|i| Some((i["name"].as_str()?.to_owned(), i["value"].as_str()?.to_owned())))
            .chain(map.filter_map(|(n, v)| Some((n.as_str()?.to_owned(), v.as_str()?.to_owned()))))
            // kind names some that it has nothing to say of.
            .filter(|(_, v)| !v.is_empty())
            .collect()
    }

    /// The command line of the node: for `kubeadm init` a server, for `kubeadm join` an agent.
    ///
    /// # Errors
    /// When the configuration lacks something.
    pub fn line(&self, role: Role) -> Result<Vec<String>, KindError> {
        let mut line = Vec::new();
        let registration = match role {
            Role::Server => {
                let token = self.text("InitConfiguration", &["bootstrapTokens", "0", "token"]);
                let token = token.ok_or(KindError::Missing("bootstrap token"))?;
                line.extend(["server".to_owned(), format!("--token={token}")]);
                let names = self.find("ClusterConfiguration", &["apiServer", "certSANs"]);
                for name in names.and_then(Value::as_sequence).into_iter().flatten() {
                    line.extend(name.as_str().map(|n| format!("--tls-san={n}")));
                }
                for (flag, path) in [
                    ("kube-apiserver-arg", ["apiServer", "extraArgs"].as_slice()),
                    ("kube-controller-manager-arg", &["controllerManager", "extraArgs"]),
                    ("kube-scheduler-arg", &["scheduler", "extraArgs"]),
                    ("etcd-arg", &["etcd", "local", "extraArgs"]),
                ] {
                    for (name, value) in self.arguments("ClusterConfiguration", path) {
                        line.push(format!("--{flag}={name}={value}"));
                    }
                }
                "InitConfiguration"
            }
            Role::Agent => {
                let at = |key| ["discovery", "bootstrapToken", key];
                let token = self.text("JoinConfiguration", &at("token"));
                let token = token.ok_or(KindError::Missing("bootstrap token"))?;
                let server = self.text("JoinConfiguration", &at("apiServerEndpoint"));
                let server = server.ok_or(KindError::Missing("apiServerEndpoint"))?;
                line.extend([
                    "agent".to_owned(),
                    format!("--token={token}"),
                    format!("--server=https://{server}"),
                ]);
                "JoinConfiguration"
            }
        };
        for (flag, key) in [("cluster-cidr", "podSubnet"), ("service-cidr", "serviceSubnet")] {
            let network = self.text("ClusterConfiguration", &["networking", key]);
            line.extend(network.map(|n| format!("--{flag}={n}")));
        }
        let name = self.text(registration, &["nodeRegistration", "name"]);
        line.extend(name.map(|n| format!("--node-name={n}")));
        match self
            .find(registration, &["nodeRegistration", "taints"])
            .and_then(Value::as_sequence)
        {
            // As kubeadm: a list, also an empty one, takes the place of the control plane's own taint.
            Some(taints) => line.extend(taints.iter().filter_map(taint).map(|t| format!("--node-taint={t}"))),
            None if role == Role::Server => {
                line.push("--node-taint=node-role.kubernetes.io/control-plane:NoSchedule".to_owned());
            }
            None => {}
        }
        if self.document("KubeletConfiguration").is_some() {
            let directory = KUBELET_DROP_IN.rsplit_once('/').map_or("", |(d, _)| d);
            line.push(format!("--kubelet-arg=config-dir={directory}"));
        }
        for (name, value) in self.arguments(registration, &["nodeRegistration", "kubeletExtraArgs"]) {
            match name.as_str() {
                "node-labels" => line.push(format!("--node-label={value}")),
                "node-ip" => line.push(format!("--node-ip={value}")),
                // Docker's socket of an older kind, and what our kubelet has another way.
                "runtime-cgroups" | "container-runtime-endpoint" => {}
                n => match (n.strip_prefix(EDGE), n.starts_with(OURS)) {
                    (Some(flag), _) => line.push(format!("--cfn-edge-arg={flag}={value}")),
                    (None, true) => line.push(format!("--{n}={value}")),
                    (None, false) => line.push(format!("--kubelet-arg={n}={value}")),
                },
            }
        }
        Ok(line)
    }

    /// What kubelet's configuration says beyond the image's own, for [`KUBELET_DROP_IN`].
    ///
    /// # Errors
    /// When it cannot be written as YAML (never).
    pub fn kubelet(&self) -> Result<Option<String>, KindError> {
        let Some(Value::Mapping(document)) = self.document("KubeletConfiguration") else {
            return Ok(None);
        };
        let mut document = document.clone();
        document.retain(|k, _| !k.as_str().is_some_and(|k| OF_ITS_IMAGE.contains(&k)));
        let text = serde_yaml::to_string(&document).map_err(|e| KindError::Yaml(e.to_string()))?;
        Ok(Some(text))
    }
}

/// The node's name in a command line; its host's where none is given.
#[must_use]
pub fn node_name<'a>(line: impl IntoIterator<Item = &'a str>, hostname: &str) -> String {
    let given = line.into_iter().find_map(|f| f.strip_prefix("--node-name="));
    given.unwrap_or(hostname).to_lowercase()
}

/// A taint as kubelet's flag has it.
fn taint(t: &Value) -> Option<String> {
    let text = |key: &str| t.get(key).and_then(Value::as_str);
    let value = text("value").map(|v| format!("={v}")).unwrap_or_default();
    Some(format!("{}{value}:{}", text("key")?, text("effect")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
networking: {podSubnet: "10.244.0.0/16", serviceSubnet: "10.96.0.0/16"}
apiServer:
  certSANs: [localhost, "127.0.0.1"]
  extraArgs:
  - {name: runtime-config, value: ""}
  - {name: default-not-ready-toleration-seconds, value: "3"}
controllerManager: {extraArgs: {node-monitor-period: 500ms}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- token: "abcdef.0123456789abcdef"
nodeRegistration:
  name: hub
  kubeletExtraArgs:
  - {name: node-ip, value: "172.18.0.2"}
  - {name: provider-id, value: "kind://docker/k/k-control-plane"}
  - {name: node-labels, value: ""}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
nodeRegistration:
  name: edge-1
  taints:
  - {key: edge, value: "true", effect: NoSchedule}
  - {key: far, effect: NoExecute}
  kubeletExtraArgs:
    node-ip: "172.18.0.3"
    node-labels: "a=b"
    max-pods: "20"
    cfn-capacity: cpu=16,memory=32Gi
    cfn-edge: "true"
    cfn-edge-heartbeat-interval: 1s
discovery:
  bootstrapToken: {apiServerEndpoint: "k-control-plane:6443", token: "abcdef.0123456789abcdef"}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
metadata: {name: config}
cgroupDriver: systemd
cgroupRoot: /kubelet
failSwapOn: false
nodeStatusUpdateFrequency: 2s
"#;

    #[test]
    fn kubeadm_becomes_our_flags() {
        let config = Config::read(CONF).unwrap();
        insta::assert_snapshot!(config.line(Role::Server).unwrap().join("\n"), @r"
        server
        --token=abcdef.0123456789abcdef
        --tls-san=localhost
        --tls-san=127.0.0.1
        --kube-apiserver-arg=default-not-ready-toleration-seconds=3
        --kube-controller-manager-arg=node-monitor-period=500ms
        --cluster-cidr=10.244.0.0/16
        --service-cidr=10.96.0.0/16
        --node-name=hub
        --node-taint=node-role.kubernetes.io/control-plane:NoSchedule
        --kubelet-arg=config-dir=/etc/kubernetes/kubelet.conf.d
        --node-ip=172.18.0.2
        --kubelet-arg=provider-id=kind://docker/k/k-control-plane
        ");
        let agent = config.line(Role::Agent).unwrap();
        insta::assert_snapshot!(agent.join("\n"), @r"
        agent
        --token=abcdef.0123456789abcdef
        --server=https://k-control-plane:6443
        --cluster-cidr=10.244.0.0/16
        --service-cidr=10.96.0.0/16
        --node-name=edge-1
        --node-taint=edge=true:NoSchedule
        --node-taint=far:NoExecute
        --kubelet-arg=config-dir=/etc/kubernetes/kubelet.conf.d
        --node-ip=172.18.0.3
        --node-label=a=b
        --kubelet-arg=max-pods=20
        --cfn-capacity=cpu=16,memory=32Gi
        --cfn-edge=true
        --cfn-edge-arg=heartbeat-interval=1s
        ");
        insta::assert_snapshot!(config.kubelet().unwrap().unwrap(), @r"
        apiVersion: kubelet.config.k8s.io/v1beta1
        kind: KubeletConfiguration
        failSwapOn: false
        nodeStatusUpdateFrequency: 2s
        ");
        assert_eq!(node_name(agent.iter().map(String::as_str), "Host"), "edge-1");
        let none = Config::read("kind: JoinConfiguration").unwrap();
        assert_eq!(none.line(Role::Agent), Err(KindError::Missing("bootstrap token")));
        assert_eq!(none.kubelet(), Ok(None));
        assert_eq!(node_name(["agent"], "Host"), "host");
    }

    #[test]
    fn a_list_of_taints_takes_the_place_of_the_control_planes_own() {
        let of = |taints: &str| {
            let text = format!(
                "kind: InitConfiguration\nbootstrapTokens: [{{token: t}}]\nnodeRegistration: {{taints: {taints}}}\n"
            );
            let line = Config::read(&text).unwrap().line(Role::Server).unwrap();
            line.into_iter()
                .filter(|f| f.starts_with("--node-taint"))
                .collect::<Vec<_>>()
        };
        let own = "--node-taint=node-role.kubernetes.io/control-plane:NoSchedule";
        assert_eq!(of("null"), [own]);
        assert!(of("[]").is_empty());
        assert_eq!(of("[{key: a, effect: NoSchedule}]"), ["--node-taint=a:NoSchedule"]);
    }

    #[test]
    fn every_line_is_one_of_a_node() {
        use crate::node::flags::tests::flags;
        let config = Config::read(CONF).unwrap();
        for role in [Role::Server, Role::Agent] {
            let line = config.line(role).unwrap();
            let line: Vec<&str> = line.iter().skip(1).map(String::as_str).collect();
            let f = flags(&line);
            assert_eq!(f.cluster_cidr, "10.244.0.0/16");
            assert_eq!(f.cfn_edge, role == Role::Agent);
        }
    }
}
