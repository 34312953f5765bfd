//! The command line and environment of a node: K3s' names and spellings, and ours, which begin with `--cfn-`.

use std::net::Ipv4Addr;

use super::capacity::Capacity;

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The control plane, and a node too unless `--disable-agent`.
    Server,
    /// A node.
    Agent,
}

/// Why flags cannot be followed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FlagsError {
    /// There is no token.
    #[error("no token: expected --token or K3S_TOKEN, the same on every node of the cluster")]
    NoToken,
    /// An agent does not know where its server is.
    #[error("no server: an agent needs --server or K3S_URL, such as https://10.0.0.2:6443")]
    NoServer,
    /// The server's address is not one.
    #[error("server `{0}`: expected such as https://10.0.0.2:6443")]
    Server(String),
    /// A further server of a cluster.
    #[error("a cluster has one server here: --server and K3S_URL are for agents")]
    SecondServer,
    /// A node name that Kubernetes refuses.
    #[error("node name `{0}`: expected lower-case letters, digits, `-` and `.`, a letter or digit first and last")]
    Name(String),
    /// A network that is none.
    #[error("{flag} `{value}`: expected an IPv4 network such as 10.42.0.0/16")]
    Cidr {
        /// Of which flag.
        flag: &'static str,
        /// What was given.
        value: String,
    },
    /// registries.yaml is not K3s'.
    #[error("/etc/rancher/k3s/registries.yaml: {0}")]
    Registries(String),
}

/// Flags of `cfn node server` and `cfn node agent`.
#[derive(Debug, Clone, PartialEq, clap::Args)]
pub struct Flags {
    /// Secret that all nodes of the cluster share; whoever has it is the cluster's administrator
    #[arg(long, short = 't', env = "K3S_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Agent: where the API server is
    #[arg(long, short = 's', env = "K3S_URL")]
    pub server: Option<String>,
    /// Name of the node; the host's
    #[arg(long, env = "K3S_NODE_NAME")]
    pub node_name: Option<String>,
    /// Address of the node; the first of eth*
    #[arg(long, short = 'i')]
    pub node_ip: Option<Ipv4Addr>,
    /// Label that the node registers with, NAME=VALUE
    #[arg(long, value_delimiter = ',')]
    pub node_label: Vec<String>,
    /// Taint that the node registers with, NAME=VALUE:EFFECT
    #[arg(long, value_delimiter = ',')]
    pub node_taint: Vec<String>,
    /// Server: further name or address in the API server's certificate
    #[arg(long, value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// Server: port of the API server
    #[arg(long, default_value_t = 6443)]
    pub https_listen_port: u16,
    /// Network of the pods
    #[arg(long, default_value = "10.42.0.0/16")]
    pub cluster_cidr: String,
    /// Network of the services
    #[arg(long, default_value = "10.43.0.0/16")]
    pub service_cidr: String,
    /// Address of the cluster's DNS; the tenth of the services
    #[arg(long)]
    pub cluster_dns: Option<Ipv4Addr>,
    /// Server: where the administrator's kubeconfig is written
    #[arg(
        long,
        short = 'o',
        env = "K3S_KUBECONFIG_OUTPUT",
        default_value = "/etc/rancher/k3s/k3s.yaml"
    )]
    pub write_kubeconfig: String,
    /// Server: its mode
    #[arg(long, env = "K3S_KUBECONFIG_MODE", default_value = "600")]
    pub write_kubeconfig_mode: String,
    /// Flag for kubelet, NAME=VALUE
    #[arg(long, allow_hyphen_values = true)]
    pub kubelet_arg: Vec<String>,
    /// Flag for kube-proxy, NAME=VALUE
    #[arg(long, allow_hyphen_values = true)]
    pub kube_proxy_arg: Vec<String>,
    /// Server: flag for kube-apiserver, NAME=VALUE
    #[arg(long, allow_hyphen_values = true)]
    pub kube_apiserver_arg: Vec<String>,
    /// Server: flag for kube-controller-manager, NAME=VALUE
    #[arg(long, allow_hyphen_values = true)]
    pub kube_controller_manager_arg: Vec<String>,
    /// Server: flag for kube-scheduler, NAME=VALUE
    #[arg(long, allow_hyphen_values = true)]
    pub kube_scheduler_arg: Vec<String>,
    /// Server: flag for etcd, NAME=VALUE
    #[arg(long, allow_hyphen_values = true)]
    pub etcd_arg: Vec<String>,
    /// Server: no kubelet on it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub disable_agent: bool,
    /// No kube-proxy
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub disable_kube_proxy: bool,
    /// Kubelet talks to an edge agent on this node, which keeps what it reads on the node's disk
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub cfn_edge: bool,
    /// Flag for the edge agent, NAME=VALUE
    #[arg(long, allow_hyphen_values = true)]
    pub cfn_edge_arg: Vec<String>,
    /// What the node says it has, such as cpu=16,memory=32Gi; the machine's own
    #[arg(long)]
    pub cfn_capacity: Option<Capacity>,
    /// Pulls are answered from the images that were imported on this node
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub cfn_mirror: bool,
    /// K3s' packaged components that are not wanted; there are none here
    #[arg(long, value_delimiter = ',', hide = true)]
    pub disable: Vec<String>,
    /// The API server's address for others; ours is the node's
    #[arg(long, hide = true)]
    pub advertise_address: Option<Ipv4Addr>,
    /// K3s' network; ours is a bridge and routes
    #[arg(long, hide = true)]
    pub flannel_backend: Option<String>,
    /// K3s' snapshotter; ours is overlayfs
    #[arg(long, hide = true)]
    pub snapshotter: Option<String>,
    /// There is none here
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub disable_network_policy: bool,
    /// There is none here
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub disable_cloud_controller: bool,
    /// There is none here
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub disable_helm_controller: bool,
}

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: Ipv4Addr,
    bits: u8,
}

impl Cidr {
    fn parse(flag: &'static str, value: &str) -> Result<Self, FlagsError> {
        let made = value.split_once('/').and_then(|(base, bits)| {
            let bits: u8 = bits.parse().ok().filter(|b| *b <= 30)?;
            Some(Self {
                base: base.parse().ok()?,
                bits,
            })
        });
        made.ok_or_else(|| FlagsError::Cidr {
            flag,
            value: value.to_owned(),
        })
    }

    /// The `n`th address of the network.
    #[must_use]
    pub fn address(&self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base).wrapping_add(n))
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

/// Flags that hold together, with what follows from them.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// What the node is.
    pub role: Role,
    /// The flags as they were given.
    pub flags: Flags,
    /// The token.
    pub token: String,
    /// The node's name.
    pub name: String,
    /// Network of the pods.
    pub pods: Cidr,
    /// Network of the services.
    pub services: Cidr,
    /// Where the API server is, as this node reaches it.
    pub api: String,
}

impl Checked {
    /// Checks the flags of a node on the host `hostname`.
    ///
    /// # Errors
    /// When something is missing or is not what it must be.
    pub fn new(role: Role, flags: Flags, hostname: &str) -> Result<Self, FlagsError> {
        let given = |v: &Option<String>| v.clone().filter(|s| !s.is_empty());
        let token = given(&flags.token).ok_or(FlagsError::NoToken)?;
        let name = given(&flags.node_name)
            .unwrap_or_else(|| hostname.to_owned())
            .to_lowercase();
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !name.chars().all(|c| inside(c) || c == '-' || c == '.')
            || !name.starts_with(inside)
            || !name.ends_with(inside)
        {
            return Err(FlagsError::Name(name));
        }
        let api = match (role, given(&flags.server)) {
            (Role::Server, None) => format!("https://127.0.0.1:{}", flags.https_listen_port),
            (Role::Server, Some(_)) => return Err(FlagsError::SecondServer),
            (Role::Agent, None) => return Err(FlagsError::NoServer),
            (Role::Agent, Some(url)) => {
                let rest = url.strip_prefix("https://").map(|r| r.trim_end_matches('/'));
                match rest.filter(|r| !r.is_empty() && !r.contains('/')) {
                    Some(authority) if authority.contains(':') => format!("https://{authority}"),
                    Some(host) => format!("https://{host}:6443"),
                    None => return Err(FlagsError::Server(url)),
                }
            }
        };
        Ok(Self {
            role,
            token,
            name,
            pods: Cidr::parse("--cluster-cidr", &flags.cluster_cidr)?,
            services: Cidr::parse("--service-cidr", &flags.service_cidr)?,
            api,
            flags,
        })
    }

    /// Whether pods run here.
    #[must_use]
    pub fn runs_pods(&self) -> bool {
        self.role == Role::Agent || !self.flags.disable_agent
    }

    /// Address of the cluster's DNS.
    #[must_use]
    pub fn dns(&self) -> Ipv4Addr {
        self.flags.cluster_dns.unwrap_or_else(|| self.services.address(10))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    /// Flags as a command line gives them.
    pub fn flags(line: &[&str]) -> Flags {
        Line::try_parse_from(std::iter::once("node").chain(line.iter().copied()))
            .unwrap()
            .flags
    }

    /// Flags that hold together.
    pub fn checked(role: Role, line: &[&str]) -> Checked {
        Checked::new(role, flags(line), "Host").unwrap()
    }

    #[test]
    fn both_spellings_and_lists() {
        let one = flags(&[
            "--token=t",
            "--node-label=a=b",
            "--node-label",
            "c=d,e=f",
            "--disable-agent",
        ]);
        assert_eq!(one.token.as_deref(), Some("t"));
        assert_eq!(one.node_label, ["a=b", "c=d", "e=f"]);
        assert!(one.disable_agent && !one.cfn_edge);
        let two = flags(&[
            "--disable-agent=false",
            "--cfn-edge=true",
            "--kubelet-arg",
            "v=2",
            "--kubelet-arg=--x=1",
        ]);
        assert!(!two.disable_agent && two.cfn_edge);
        assert_eq!(two.kubelet_arg, ["v=2", "--x=1"]);
        assert!(Line::try_parse_from(["node", "--no-such-flag"]).is_err());
    }

    #[test]
    fn checks() {
        let agent = checked(
            Role::Agent,
            &["--token=t", "--server=https://10.0.0.2/", "--node-name=Edge-1"],
        );
        assert_eq!(
            (agent.api.as_str(), agent.name.as_str()),
            ("https://10.0.0.2:6443", "edge-1")
        );
        let server = checked(Role::Server, &["--token=t", "--https-listen-port=7443"]);
        assert_eq!(
            (server.api.as_str(), server.name.as_str()),
            ("https://127.0.0.1:7443", "host")
        );
        assert_eq!(server.dns().to_string(), "10.43.0.10");
        let cidr = |flag, value: &str| FlagsError::Cidr {
            flag,
            value: value.to_owned(),
        };
        let table: [(Role, &[&str], FlagsError); 7] = [
            (Role::Server, &[], FlagsError::NoToken),
            (Role::Agent, &["--token=t"], FlagsError::NoServer),
            (
                Role::Agent,
                &["--token=t", "--server=10.0.0.2"],
                FlagsError::Server("10.0.0.2".into()),
            ),
            (
                Role::Server,
                &["--token=t", "--server=https://10.0.0.2"],
                FlagsError::SecondServer,
            ),
            (
                Role::Server,
                &["--token=t", "--node-name=a_b"],
                FlagsError::Name("a_b".into()),
            ),
            (
                Role::Server,
                &["--token=t", "--cluster-cidr=10.42.0.0"],
                cidr("--cluster-cidr", "10.42.0.0"),
            ),
            (
                Role::Server,
                &["--token=t", "--service-cidr=a/16"],
                cidr("--service-cidr", "a/16"),
            ),
        ];
        for (role, line, want) in table {
            assert_eq!(Checked::new(role, flags(line), "h").unwrap_err(), want, "{line:?}");
        }
    }
}
