//! A topology: the sites, links, clusters and nodes of a testbed, and the road that vehicles drive on. Read from
//! YAML, checked whole before anything is brought up.

pub(crate) mod check;
mod cluster;
mod place;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use cluster::{Cluster, ClusterRole, Node, SyncMode, TaintSpec};
pub use place::{Link, Road, Site, SiteRole};

use crate::input::{At, Problems, Source, parse};

/// The API version of our own files.
pub const API_VERSION: &str = "cfn.akraino.org/v1alpha1";

/// A topology file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Topology {
    /// Always `cfn.akraino.org/v1alpha1`.
    pub api_version: At<String>,
    /// Always `Topology`.
    pub kind: At<String>,
    /// Its name.
    pub metadata: Metadata,
    /// What there is.
    pub spec: TopologySpec,
}

/// The metadata of our files.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The name by which others refer to it: lower-case letters, digits, `-` and `.`.
    pub name: At<String>,
    /// For the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// What a topology consists of.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopologySpec {
    /// Places. Within one, the network is not shaped.
    pub sites: Vec<Site>,
    /// What the network does between two sites. Bytes travel over links only, by the way of least latency.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Clusters: exactly one hub, and members.
    pub clusters: Vec<Cluster>,
    /// Whether the hub's administrator accepts every member's registration at once (else a scenario step does).
    #[serde(default = "yes")]
    pub auto_accept: bool,
    /// The road area of the vehicles, if any drive here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub road: Option<Road>,
}

fn yes() -> bool {
    true
}

impl Topology {
    /// Reads and checks a topology.
    ///
    /// # Errors
    /// A wrong file: what is wrong first. A right file that makes no sense: all of it at once.
    pub fn read(source: &Source) -> Result<Self, Problems> {
        let t: Topology = parse(source)?;
        check::check(source, &t).into_result()?;
        Ok(t)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// The hub (there is exactly one in a checked topology).
    #[must_use]
    pub fn hub(&self) -> &Cluster {
        self.spec
            .clusters
            .iter()
            .find(|c| c.role == ClusterRole::Hub)
            .unwrap_or(&self.spec.clusters[0])
    }

    /// The members, in the file's order.
    pub fn members(&self) -> impl Iterator<Item = &Cluster> {
        self.spec.clusters.iter().filter(|c| c.role == ClusterRole::Member)
    }

    /// A cluster by name.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.spec.clusters.iter().find(|c| *c.name == name)
    }

    /// Every node as it will be called, with its cluster: a node with `count: 3` is `name-1`, `name-2`, `name-3`.
    pub fn nodes(&self) -> impl Iterator<Item = (&Cluster, &Node, String)> {
        self.spec.clusters.iter().flat_map(|c| {
            c.nodes
                .iter()
                .flat_map(move |n| n.names().map(move |name| (c, n, name)))
        })
    }
}
