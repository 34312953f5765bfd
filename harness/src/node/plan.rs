//! Which files a node consists of and which processes run on it: a function of its flags and what the machine is.

use std::net::Ipv4Addr;

use cfn_net::pki::KeyCert;

use super::certificates::{Certificates, kubeconfig};
use super::flags::{Checked, FlagsError, Role};
use super::{CONFIG, RUN, containerd, control, kubelet, mirror, network};

/// A file of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its mode; what holds a key is for root alone.
    pub mode: u32,
}

/// What must hold before a process starts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Probe {
    /// Something listens on this Unix socket.
    Socket(String),
    /// Something listens on this port of loopback.
    Port(u16),
    /// This file is there.
    File(String),
    /// This address of the API server answers well.
    Ready(String),
}

/// A process that runs as long as the node, and is started again when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its name, also of its log and its pid file.
    pub name: &'static str,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Beyond the node's own environment.
    pub env: Vec<(&'static str, &'static str)>,
    /// What must hold first.
    pub after: Vec<Probe>,
}

impl Process {
    /// A process that can start at once.
    #[must_use]
    pub fn new(name: &'static str, argv: Vec<String>) -> Self {
        Self {
            name,
            argv,
            env: Vec::new(),
            after: Vec::new(),
        }
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    /// Only when this holds.
    #[must_use]
    pub fn after(mut self, probe: Probe) -> Self {
        self.after.push(probe);
        self
    }
}

/// What the machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its resolv.conf.
    pub resolv_conf: String,
    /// K3s' registries.yaml, where it is.
    pub registries: Option<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Written before anything runs.
    pub files: Vec<File>,
    /// Kept running.
    pub processes: Vec<Process>,
}

/// There when the images that came with the node are imported: no pod needs one in vain.
#[must_use]
pub fn imported() -> String {
    format!("{RUN}/imported")
}

fn edge_client() -> String {
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: edge
  cluster:
    certificate-authority: {}
    server: https://{}
contexts:
- name: edge
  context:
    cluster: edge
    user: node
current-context: edge
users:
- name: node
  user: {{}}
",
        kubelet::edge_ca(),
        kubelet::EDGE
    )
}

/// The node that the flags ask for.
///
/// # Errors
/// When registries.yaml is not K3s'.
pub fn plan(of: &Checked, machine: &Machine, certificates: &Certificates) -> Result<Plan, FlagsError> {
    let c = certificates;
    let mut files = Vec::new();
    let mut put = |path: String, text: String, mode: u32| files.push(File { path, text, mode });
    let here = |name: &str| format!("{CONFIG}/{name}");
    put(here("ca.crt"), c.ca.cert_pem.clone(), 0o644);
    let mut pairs: Vec<(&str, &KeyCert)> = Vec::new();
    let mut processes = Vec::new();
    if let (Role::Server, Some(server)) = (of.role, &c.server) {
        pairs.extend([("apiserver", &server.apiserver), ("admin", &server.admin)]);
        put(here("ca.key"), c.ca.key_pem.clone(), 0o600);
        let text = kubeconfig(&of.api, &c.ca.cert_pem, &server.admin);
        put(control::admin_kubeconfig(), text, 0o600);
        processes.extend(control::processes(of, machine.ip));
    }
    if of.runs_pods() {
        pairs.push(("kubelet-serving", &c.kubelet_serving));
        for (name, who) in [
            ("kubelet", &c.kubelet),
            ("kube-proxy", &c.proxy),
            ("upstream", &c.kubelet),
        ] {
            if of.flags.cfn_edge == (name == "upstream") {
                put(
                    here(&format!("{name}.kubeconfig")),
                    kubeconfig(&of.api, &c.ca.cert_pem, who),
                    0o600,
                );
            }
        }
        if of.flags.cfn_edge {
            put(kubelet::edge_kubeconfig(), edge_client(), 0o600);
        }
        put(here("kubelet.yaml"), kubelet::config(of), 0o644);
        put(here("resolv.conf"), network::resolv_conf(&machine.resolv_conf), 0o644);
        put(containerd::CONFIG.to_owned(), containerd::config(), 0o644);
        let own = of.flags.cfn_mirror.then(|| format!("http://{}", mirror::ADDRESS));
        for (path, text) in containerd::hosts(machine.registries.as_deref(), own.as_deref())? {
            put(format!("{}/{path}", containerd::HOSTS), text, 0o644);
        }
        processes.extend(kubelet::processes(of, machine.ip));
    }
    for (name, pair) in pairs {
        put(here(&format!("{name}.crt")), pair.cert_pem.clone(), 0o644);
        put(here(&format!("{name}.key")), pair.key_pem.clone(), 0o600);
    }
    Ok(Plan { files, processes })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::node::certificates::ServerCertificates;
    use crate::node::flags::tests::checked;

    fn show(role: Role, line: &[&str]) -> String {
        let of = checked(role, line);
        let pair = |name: &str| KeyCert {
            cert_pem: format!("{name} certificate"),
            key_pem: format!("{name} key"),
        };
        let certificates = Certificates {
            ca: pair("ca"),
            kubelet: pair("kubelet"),
            kubelet_serving: pair("kubelet-serving"),
            proxy: pair("kube-proxy"),
            server: (role == Role::Server).then(|| ServerCertificates {
                apiserver: pair("apiserver"),
                admin: pair("admin"),
            }),
        };
        let machine = Machine {
            ip: [10, 0, 0, 2].into(),
            resolv_conf: "nameserver 127.0.0.11\n".into(),
            registries: None,
        };
        let plan = plan(&of, &machine, &certificates).unwrap();
        let mut text = String::new();
        for f in &plan.files {
            let _ = writeln!(text, "{:o} {}", f.mode, f.path);
            if f.path.ends_with("key") || f.path.ends_with("kubeconfig") {
                assert_eq!(f.mode, 0o600, "{}", f.path);
            }
        }
        for p in &plan.processes {
            let env: Vec<String> = p.env.iter().map(|(n, v)| format!("{n}={v} ")).collect();
            let _ = writeln!(
                text,
                "\n{}: {}{}\n  after {:?}",
                p.name,
                env.concat(),
                p.argv.join("\n  "),
                p.after
            );
        }
        text
    }

    #[test]
    fn nodes() {
        insta::assert_snapshot!("server", show(Role::Server, &["--token=t", "--kube-apiserver-arg=v=2"]));
        insta::assert_snapshot!("server_alone", show(Role::Server, &["--token=t", "--disable-agent"]));
        let line = [
            "--token=t",
            "--server=https://10.0.0.1:6443",
            "--node-label=a=b,c=d",
            "--node-taint=edge=true:NoSchedule",
            "--kubelet-arg=node-status-update-frequency=1s",
            "--disable-kube-proxy",
        ];
        insta::assert_snapshot!("agent", show(Role::Agent, &line));
        let line = [
            "--token=t",
            "--server=https://10.0.0.1:6443",
            "--cfn-edge",
            "--cfn-mirror",
        ];
        insta::assert_snapshot!("edge", show(Role::Agent, &line));
    }
}
