//! The map: plain data, shippable as JSON.

use serde::{Deserialize, Serialize};

/// A junction or bend, metres.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Node {
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
    /// A traffic light stands here: its offset into the cycle, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<f64>,
}

/// One direction of a street between two nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Road {
    /// Index of the node where it starts.
    pub from: usize,
    /// Index of the node where it ends.
    pub to: usize,
    /// Speed limit, metres per second.
    pub speed_limit: f64,
}

/// A radio cell: where its antenna stands, which site of the network its radio is, which edge site serves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cell {
    /// Name, unique in the map.
    pub name: String,
    /// Site in [`cfn_net::Net`] where a vehicle in this cell is.
    pub radio_site: String,
    /// Edge site (its UPF and MEC host) behind this cell.
    pub edge_site: String,
    /// East, metres.
    pub x: f64,
    /// North, metres.
    pub y: f64,
}

/// An edge site: a MEC host that serves several cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EdgeSite {
    /// Name of the site.
    pub site: String,
    /// `host:port` in [`cfn_net::Net`] where its roadside service speaks MQTT.
    pub endpoint: String,
}

/// Roads, cells and edge sites. JSON in an environment variable or a ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoadMap {
    /// Junctions and bends.
    pub nodes: Vec<Node>,
    /// Directed roads.
    pub roads: Vec<Road>,
    /// Radio cells.
    pub cells: Vec<Cell>,
    /// Edge sites.
    pub edges: Vec<EdgeSite>,
}

/// Why a map is unusable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MapError {
    /// No roads, cells or edges at all.
    #[error("the map has no {0}")]
    Empty(&'static str),
    /// A road names a node that is not there, or leads from a node to itself.
    #[error("road {0} does not join two nodes of the map")]
    Road(usize),
    /// A cell names an edge site that is not there.
    #[error("cell {cell} is served by {edge}, which is no edge site of the map")]
    Cell {
        /// The cell.
        cell: String,
        /// What it names.
        edge: String,
    },
    /// An endpoint is not `host:port`.
    #[error("endpoint {0:?} is not host:port")]
    Endpoint(String),
}

/// Hysteresis of the attachment: another cell must be this much stronger (the A3 offset of 3GPP TS 38.331, commonly 3 dB).
pub const HYSTERESIS_DB: f64 = 3.0;
/// Path-loss exponent of an urban macro cell (3GPP TR 38.901 UMa non-line-of-sight is 39.08 log10 d; 3.5 is between that
/// and line of sight).
pub const PATH_LOSS_EXPONENT: f64 = 3.5;

impl RoadMap {
    /// Checks what serde cannot.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), MapError> {
        for (what, empty) in [
            ("roads", self.roads.is_empty()),
            ("cells", self.cells.is_empty()),
            ("edges", self.edges.is_empty()),
        ] {
            if empty {
                return Err(MapError::Empty(what));
            }
        }
        let n = self.nodes.len();
        if let Some(i) = self
            .roads
            .iter()
            .position(|r| r.from >= n || r.to >= n || r.from == r.to)
        {
            return Err(MapError::Road(i));
        }
        for c in &self.cells {
            if !self.edges.iter().any(|e| e.site == c.edge_site) {
                return Err(MapError::Cell {
                    cell: c.name.clone(),
                    edge: c.edge_site.clone(),
                });
            }
        }
        for e in &self.edges {
            split_endpoint(&e.endpoint)?;
        }
        Ok(())
    }

    /// The edge site behind a cell (by index).
    #[must_use]
    pub fn edge_of(&self, cell: usize) -> &str {
        self.cells.get(cell).map_or("", |c| c.edge_site.as_str())
    }

    /// `(host, port)` of a site's roadside service.
    #[must_use]
    pub fn endpoint(&self, site: &str) -> Option<(String, u16)> {
        let e = self.edges.iter().find(|e| e.site == site)?;
        split_endpoint(&e.endpoint).ok()
    }

    /// Length of a road, metres.
    #[must_use]
    pub fn length(&self, road: usize) -> f64 {
        let r = &self.roads[road];
        let (a, b) = (&self.nodes[r.from], &self.nodes[r.to]);
        (b.x - a.x).hypot(b.y - a.y)
    }

    /// Direction of a road, radians.
    #[must_use]
    pub fn heading(&self, road: usize) -> f64 {
        let r = &self.roads[road];
        let (a, b) = (&self.nodes[r.from], &self.nodes[r.to]);
        (b.y - a.y).atan2(b.x - a.x)
    }

    /// Point at `offset` metres along a road.
    #[must_use]
    pub fn point(&self, road: usize, offset: f64) -> (f64, f64) {
        let r = &self.roads[road];
        let (a, b) = (&self.nodes[r.from], &self.nodes[r.to]);
        let t = offset / self.length(road).max(1e-9);
        (a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t)
    }

    /// Width and height of the box around all nodes, metres.
    #[must_use]
    pub fn extent(&self) -> (f64, f64) {
        let (mut w, mut h) = (0.0_f64, 0.0_f64);
        for n in &self.nodes {
            w = w.max(n.x);
            h = h.max(n.y);
        }
        (w, h)
    }
}

/// `host:port` as a pair.
fn split_endpoint(endpoint: &str) -> Result<(String, u16), MapError> {
    endpoint
        .rsplit_once(':')
        .and_then(|(h, p)| Some((h.to_owned(), p.parse().ok()?)))
        .filter(|(h, _)| !h.is_empty())
        .ok_or_else(|| MapError::Endpoint(endpoint.to_owned()))
}

/// The cell a vehicle at `(x, y)` is attached to: the one it was in, until another is [`HYSTERESIS_DB`] stronger.
///
/// With path loss `10 n log10 d` and equal transmit power, "h dB stronger" is "nearer by the factor 10^(h / 10 n)".
#[must_use]
pub fn attach(map: &RoadMap, current: Option<usize>, x: f64, y: f64) -> usize {
    let d2 = |c: &Cell| (c.x - x).powi(2) + (c.y - y).powi(2);
    let mut best = (0, f64::INFINITY);
    for (i, c) in map.cells.iter().enumerate() {
        let d = d2(c);
        if d < best.1 {
            best = (i, d);
        }
    }
    match current {
        Some(c) if c < map.cells.len() => {
            // squared distances, so the factor is squared as well
            let factor = 10_f64.powf(2.0 * HYSTERESIS_DB / (10.0 * PATH_LOSS_EXPONENT));
            if best.1 * factor < d2(&map.cells[c]) { best.0 } else { c }
        }
        _ => best.0,
    }
}
