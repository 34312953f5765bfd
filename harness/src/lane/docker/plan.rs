//! What a testbed in containers consists of: pure, from a topology, a flavour, timers and a slot.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use cfn_cel::quantity::Quantity;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::address::{AddressError, Layout, SERVICES, layout, site_host};
use super::flavour::{Container as Rights, Driver, Flavour, Named, Role as Part, fill};
use super::kind;
use crate::timers::Timers;
use crate::topology::{Cluster, ClusterRole, Node, Topology};

/// Prefix of every label of ours.
pub const LABEL: &str = "cfn.akraino.org";
/// The label with a testbed's name.
pub const TESTBED: &str = "cfn.akraino.org/testbed";
/// The label with the owner: `<pid>@<boot id>`.
pub const OWNER: &str = "cfn.akraino.org/owner";
/// The image of shapers and of what stands at sites without hosts.
pub const SHAPER_IMAGE: &str = "cfn.akraino.org/shaper:1";
/// The host of the clients at sites where no other is.
pub const CLIENTS: &str = "clients";
/// A hub's workloads are templates, as on Karmada's API server: none of them runs there, and their status is what the
/// members report. ReplicaSets are left to our own components.
const HUB_CONTROLLERS: &str = "*,-deployment-controller,-statefulset-controller,-daemonset-controller,-job-controller,\
                               -cronjob-controller";
/// The kubelet's directory, on whose file system its pods' ephemeral storage is.
const KUBELET: &str = "/var/lib/kubelet";
/// The kubelet looks after a disk that is the node's own, by its default thresholds.
const OWN_DISK: &str = "evictionHard: {nodefs.available: 10%, nodefs.inodesFree: 5%, imagefs.available: 0%, \
                        imagefs.inodesFree: 0%, memory.available: 50Mi}\n";
/// What a shaper runs.
const SHAPE: [&str; 2] = ["link", "shape"];

/// What a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A cluster's control plane.
    ControlPlane,
    /// A cluster's node.
    Node,
    /// Clients at all sites where no host is, with an address at each; they answer probes there, too.
    Clients,
    /// Shapes what reaches a host; shares its network.
    Shaper,
}

impl Role {
    /// As labels have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::ControlPlane => "control-plane",
            Role::Node => "node",
            Role::Clients => "clients",
            Role::Shaper => "shaper",
        }
    }
}

/// A container to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its name for Docker.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its name in the testbed, and its host name.
    pub host: String,
    /// Where it is.
    pub site: String,
    /// Its cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Its address; none where it shares another's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// Its further addresses, by the site that each is at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// The container whose network it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<String>,
    /// Its image.
    pub image: String,
    /// Its command.
    pub command: Vec<String>,
    /// Its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What it may do and has.
    pub rights: Rights,
    /// The port that is published on the machine's loopback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<u16>,
    /// Volumes that are there already: path and name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, String>,
    /// Files put in before it starts: path and content.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it is started: hosts (0), then what shares their networks (1).
    pub stage: u8,
}

/// What a node gets through the API, once it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeDress {
    /// Its cluster.
    pub cluster: String,
    /// Labels (also on its command line, where the flavour has a flag).
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Extended resources.
    pub accelerators: BTreeMap<String, u32>,
}

/// A testbed to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BedPlan {
    /// Its name, and its network's.
    pub name: String,
    /// The topology.
    pub topology: String,
    /// The flavour.
    pub flavour: String,
    /// Addresses.
    pub layout: Layout,
    /// Containers, in the order of their start.
    pub containers: Vec<Container>,
    /// What nodes get through the API.
    pub nodes: BTreeMap<String, NodeDress>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The topology does not fit into a testbed's network.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// What differs between two testbeds of one topology.
#[derive(Debug, Clone)]
pub struct Identity<'a> {
    /// Which network: `10.<slot>.0.0/16`.
    pub slot: u8,
    /// The secret by which nodes join.
    pub token: &'a str,
    /// The process that owns it.
    pub owner: &'a str,
}

/// Plans a testbed.
///
/// # Errors
/// When the topology does not fit.
pub fn plan(t: &Topology, flavour: &Named, timers: &Timers, id: &Identity<'_>) -> Result<BedPlan, PlanError> {
    let layout = layout(t, id.slot)?;
    let mut p = Planner {
        topology: t,
        flavour,
        timers,
        id,
        layout: &layout,
        name: format!("cfn-{}", id.slot),
        containers: Vec::new(),
        nodes: BTreeMap::new(),
    };
    match flavour.flavour.driver {
        Driver::Containers | Driver::Kind => {
            for c in &t.spec.clusters {
                p.control_plane(c);
            }
            for (c, n, name) in t.nodes() {
                p.node(c, n, name);
            }
        }
        Driver::Kubeconfig => {
            for (c, n, name) in t.nodes() {
                p.dress(c, n, &name);
            }
        }
    }
    p.clients();
    p.shapers();
    let Planner {
        name,
        mut containers,
        nodes,
        ..
    } = p;
    containers.sort_by_key(|c| c.stage);
    Ok(BedPlan {
        name,
        topology: t.name().to_owned(),
        flavour: flavour.name.clone(),
        layout,
        containers,
        nodes,
    })
}

struct Planner<'a> {
    topology: &'a Topology,
    flavour: &'a Named,
    timers: &'a Timers,
    id: &'a Identity<'a>,
    layout: &'a Layout,
    name: String,
    containers: Vec<Container>,
    nodes: BTreeMap<String, NodeDress>,
}

impl Planner<'_> {
    fn spec(&self) -> &Flavour {
        &self.flavour.flavour
    }

    fn labels(&self, role: Role, host: &str, site: &str, cluster: Option<&str>) -> BTreeMap<String, String> {
        let mut l = BTreeMap::from([
            (TESTBED.to_owned(), self.name.clone()),
            (OWNER.to_owned(), self.id.owner.to_owned()),
            (format!("{LABEL}/role"), role.as_str().to_owned()),
            (format!("{LABEL}/site"), site.to_owned()),
            (format!("{LABEL}/topology"), self.topology.name().to_owned()),
            (format!("{LABEL}/host"), host.to_owned()),
        ]);
        if let Some(c) = cluster {
            l.insert(format!("{LABEL}/cluster"), c.to_owned());
        }
        if role == Role::Node {
            l.insert(format!("{LABEL}/node"), host.to_owned());
        }
        l
    }

    /// A host of a cluster, its texts filled in.
    fn host(&self, c: &Cluster, role: Role, name: &str, site: &str, part: &Part, more: Vec<String>) -> Container {
        let f = self.spec();
        let block = &self.layout.clusters[c.name.as_str()];
        let (pods, services) = (block.pods.to_string(), SERVICES.to_string());
        let mask = block.node_mask.to_string();
        let (server, address) = (
            self.layout.hosts[c.name.as_str()].to_string(),
            self.layout.hosts[name].to_string(),
        );
        let values = [
            ("token", self.id.token),
            ("server", &server),
            ("name", name),
            ("address", &address),
            ("pods", &pods),
            ("services", &services),
            ("nodeMask", &mask),
            ("image", self.flavour.image()),
        ];
        let mut command: Vec<String> = part.command.iter().map(|a| fill(a, &values)).collect();
        command.extend(more);
        let kind = f.driver == Driver::Kind;
        Container {
            name: if kind {
                let before = |h: &&Container| h.cluster.as_deref() == Some(c.name.as_str()) && h.role == role;
                kind::container(&self.name, &c.name, role, self.containers.iter().filter(before).count())
            } else {
                format!("{}-{name}", self.name)
            },
            role,
            host: name.to_owned(),
            site: site.to_owned(),
            cluster: Some(c.name.value.clone()),
            // kind lets Docker choose.
            address: (!kind).then(|| self.layout.hosts[name]),
            addresses: BTreeMap::new(),
            shares: None,
            image: self.flavour.image().to_owned(),
            command,
            env: part.env.iter().map(|(k, v)| (k.clone(), fill(v, &values))).collect(),
            rights: f.container.clone(),
            publish: (role == Role::ControlPlane).then_some(f.api_port),
            mounts: BTreeMap::new(),
            files: self.kubelet_files(),
            labels: self.labels(role, name, site, Some(&c.name)),
            stage: 0,
        }
    }

    fn control_plane(&mut self, c: &Cluster) {
        let f = self.spec();
        let mut more: Vec<String> = Vec::new();
        if !c.nodes.is_empty() {
            more.extend(f.server.without_node.iter().map(|a| a.value.clone()));
        }
        let t = self.timers;
        if let Some(text) = &f.flags.api_server {
            for (flag, value) in api_server_flags(t) {
                more.push(fill(text, &[("flag", flag), ("value", &value)]));
            }
        }
        if let Some(text) = &f.flags.controller_manager {
            for (flag, value) in controller_manager_flags(t) {
                more.push(fill(text, &[("flag", flag), ("value", &value)]));
            }
            if c.role == ClusterRole::Hub {
                more.push(fill(text, &[("flag", "controllers"), ("value", HUB_CONTROLLERS)]));
            }
        }
        if c.nodes.is_empty() {
            // It carries the components that run in the cluster, and is a node for that.
            more.extend(self.mirror());
        }
        let host = self.host(c, Role::ControlPlane, &c.name, &c.site, &f.server, more);
        self.containers.push(host);
    }

    fn node(&mut self, c: &Cluster, n: &Node, name: String) {
        let dress = self.dress(c, n, &name);
        let f = self.spec();
        let mut more = Vec::new();
        if let Some(text) = &f.flags.label {
            more.extend(
                dress
                    .labels
                    .iter()
                    .map(|(k, v)| fill(text, &[("key", k), ("value", v)])),
            );
        }
        if let Some(text) = &f.flags.taint {
            for x in &n.taints {
                let value = x.value.as_deref().unwrap_or_default();
                more.push(fill(text, &[("key", &x.key), ("value", value), ("effect", &x.effect)]));
            }
        }
        if let Some(text) = &f.flags.capacity {
            let capacity = format!("cpu={},memory={}", n.cpu, n.memory);
            more.push(fill(text, &[("capacity", &capacity)]));
        }
        if n.edge_agent {
            more.extend(f.flags.edge.iter().map(|e| e.value.clone()));
            if let Some(text) = &f.flags.edge_timer {
                for (flag, timer) in [
                    ("heartbeat-interval", "edgeHeartbeatInterval"),
                    ("heartbeat-timeout", "edgeHeartbeatTimeout"),
                ] {
                    let value = duration(self.timers.of(timer));
                    more.push(fill(text, &[("flag", flag), ("value", &value)]));
                }
            }
        }
        more.extend(self.mirror());
        if let (Some(text), Some(pods)) = (&f.flags.kubelet, &n.pods) {
            more.push(fill(text, &[("flag", "max-pods"), ("value", &pods.value.to_string())]));
        }
        let site = n.site.as_ref().unwrap_or(&c.site).value.clone();
        let mut host = self.host(c, Role::Node, &name, &site, &f.agent, more);
        if let Some(size) = n.ephemeral_storage.as_ref().and_then(|s| s.parse::<Quantity>().ok()) {
            host.rights.volumes.retain(|v| v != KUBELET);
            host.rights
                .tmpfs
                .push(format!("{KUBELET}:exec,dev,suid,mode=0750,size={}", size.value()));
            for text in host.files.values_mut() {
                text.push_str(OWN_DISK);
            }
        }
        self.containers.push(host);
    }

    fn mirror(&self) -> Option<String> {
        self.spec().flags.mirror.as_ref().map(|m| m.value.clone())
    }

    /// What the node has beyond what its kubelet says of itself; kept for when it has joined.
    fn dress(&mut self, c: &Cluster, n: &Node, name: &str) -> NodeDress {
        let (labels, mut annotations) = crate::lane::prepare::node_marks(c, n);
        // A real cluster acts on this one: here it is for the record.
        if let Some(address) = annotations.remove(crate::lane::prepare::PROVIDED_IP) {
            annotations.insert(format!("{LABEL}/address"), address);
        }
        let dress = NodeDress {
            cluster: c.name.value.clone(),
            labels,
            annotations,
            accelerators: n.accelerators.iter().map(|(k, v)| (k.clone(), v.value)).collect(),
        };
        self.nodes.insert(name.to_owned(), dress.clone());
        dress
    }

    /// The kubelet's timers as a drop-in of its configuration.
    fn kubelet_files(&self) -> BTreeMap<String, String> {
        let settings = kubelet_settings(self.timers);
        self.spec()
            .kubelet_config_dir
            .iter()
            .map(|dir| {
                let mut text = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n".to_owned();
                for (key, value) in &settings {
                    text.push_str(&format!(
                        "{key}: {}\n",
                        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
                    ));
                }
                (format!("{dir}/90-cfn.conf"), text)
            })
            .collect()
    }

    /// One container for the clients of all sites where no host is: a shaper like others, with an address per site.
    fn clients(&mut self) {
        let sites = self.topology.spec.sites.iter();
        let mut addresses: Vec<(String, Ipv4Addr)> = sites
            .filter_map(|s| Some((s.name.value.clone(), *self.layout.hosts.get(&site_host(&s.name))?)))
            .collect();
        if addresses.is_empty() {
            return;
        }
        let (site, address) = addresses.remove(0);
        let mut c = self.shaper(CLIENTS, &site, None);
        c.role = Role::Clients;
        c.labels = self.labels(Role::Clients, CLIENTS, &site, None);
        c.name = format!("{}-{CLIENTS}", self.name);
        c.address = Some(address);
        c.addresses = addresses.into_iter().collect();
        c.stage = 0;
        self.containers.push(c);
    }

    /// Every host has its shaper: links, and faults that may come.
    fn shapers(&mut self) {
        let hosts: Vec<Container> = self
            .containers
            .iter()
            .filter(|c| c.role != Role::Clients)
            .cloned()
            .collect();
        for h in hosts {
            let mut c = self.shaper(&h.host, &h.site, h.cluster.as_deref());
            c.shares = Some(h.name);
            self.containers.push(c);
        }
    }

    fn shaper(&self, host: &str, site: &str, cluster: Option<&str>) -> Container {
        Container {
            name: format!("{}-{host}.link", self.name),
            role: Role::Shaper,
            host: host.to_owned(),
            site: site.to_owned(),
            cluster: cluster.map(str::to_owned),
            address: None,
            addresses: BTreeMap::new(),
            shares: None,
            image: self.spec().shaper.clone(),
            command: SHAPE.map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            rights: Rights {
                cap_add: crate::link::CAPABILITIES.map(str::to_owned).to_vec(),
                ..Rights::default()
            },
            publish: None,
            mounts: BTreeMap::new(),
            files: BTreeMap::new(),
            labels: self.labels(Role::Shaper, host, site, cluster),
            stage: 1,
        }
    }
}

/// The timers that an API server keeps: flags and values.
pub(super) fn api_server_flags(t: &Timers) -> Vec<(&'static str, String)> {
    let seconds = t.seconds("defaultNotReadyToleration").to_string();
    vec![
        ("default-not-ready-toleration-seconds", seconds.clone()),
        ("default-unreachable-toleration-seconds", seconds),
    ]
}

/// The timers that a controller manager keeps: flags and values.
pub(super) fn controller_manager_flags(t: &Timers) -> Vec<(&'static str, String)> {
    let rate = 1.0 / t.of("nodeEvictionInterval").as_secs_f64();
    vec![
        ("node-monitor-period", duration(t.of("nodeMonitorPeriod"))),
        ("node-monitor-grace-period", duration(t.of("nodeMonitorGracePeriod"))),
        ("node-eviction-rate", rate.to_string()),
    ]
}

/// The timers that a kubelet keeps: keys of its configuration and values.
pub(super) fn kubelet_settings(t: &Timers) -> Vec<(&'static str, Value)> {
    vec![
        (
            "nodeStatusUpdateFrequency",
            duration(t.of("nodeStatusUpdateFrequency")).into(),
        ),
        (
            "nodeStatusReportFrequency",
            duration(t.of("nodeStatusReportFrequency")).into(),
        ),
        ("nodeLeaseDurationSeconds", t.seconds("nodeLeaseDuration").into()),
    ]
}

/// A duration as Go reads it.
fn duration(d: std::time::Duration) -> String {
    if d.subsec_millis() == 0 {
        format!("{}s", d.as_secs())
    } else {
        format!("{}ms", d.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::find_topology;

    fn of(topology: &str, flavour: &str) -> BedPlan {
        let t = find_topology(topology, None).unwrap().1;
        let id = Identity {
            slot: 101,
            token: "TOKEN",
            owner: "OWNER",
        };
        plan(
            &t,
            &Named::find(flavour).unwrap(),
            &Timers::find("fast-docker").unwrap(),
            &id,
        )
        .unwrap()
    }

    #[test]
    fn plans_are_as_they_were() {
        for (topology, flavour) in [
            ("r7-lab", "node"),
            ("default", "node"),
            ("two-edges", "node"),
            ("joint-oracle", "node"),
            ("two-edges", "k3s"),
            ("two-edges", "kind-node"),
        ] {
            insta::assert_yaml_snapshot!(format!("{topology}-{flavour}"), of(topology, flavour));
        }
    }

    #[test]
    fn names_are_unique_and_every_host_is_shaped() {
        for (topology, _) in crate::bundled::TOPOLOGIES {
            for flavour in ["node", "kind"] {
                let p = of(topology, flavour);
                let mut names: Vec<&str> = p.containers.iter().map(|c| c.name.as_str()).collect();
                names.sort_unstable();
                let all = names.len();
                names.dedup();
                assert_eq!(names.len(), all, "{topology}");
                for c in &p.containers {
                    let shaped = c.role == Role::Clients
                        || c.role == Role::Shaper
                        || p.containers.iter().any(|s| s.shares.as_deref() == Some(&c.name));
                    assert!(shaped, "{topology}: {}", c.name);
                    assert_eq!(c.labels[TESTBED], p.name);
                }
            }
        }
    }
}
