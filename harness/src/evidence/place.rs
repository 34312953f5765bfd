//! The map of a topology: sites, what stands in them, and the links between them.

use serde::{Deserialize, Serialize};

/// One topology as the report draws it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Map {
    /// The topology's name.
    pub name: String,
    /// Its sites, in the file's order.
    pub sites: Vec<Site>,
    /// Its links, in the file's order.
    pub links: Vec<Link>,
}

/// One site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Site {
    /// The site's name.
    pub name: String,
    /// Its level: `center`, `cloud`, `core`, `edge`, `radio`, `terminal`, `client`, or empty. Orders the rows of the
    /// map.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub level: String,
    /// Clusters (or parts of them) at this site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<Cluster>,
}

/// A cluster, or the part of it at one site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// The cluster's name.
    pub name: String,
    /// `hub`, `member`, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// Its nodes at this site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
}

/// A link between two sites. Words and units as in AdvantEDGE.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// One end.
    pub from: String,
    /// The other end.
    pub to: String,
    /// What to write on it: `9.4 ms`, `20 ms ± 2 ms`.
    pub latency: String,
    /// Everything else that shapes it: `100 Mbit/s down, loss 0.1 %`; shown on hover and in the table.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}
