//! The town of a topology: its roads, drawn from the run's seed, and which edge serves which part.

use cfn_net::Seed;
use cfn_v2x::road::{EdgeOptions, MapOptions, RoadMap, generate};
use cfn_v2x::roadside::options::PORT;

use crate::topology::{SiteRole, Topology};

/// The ConfigMap on the hub (namespace `default`, key `map`) that tells roadside services the town.
pub const CONFIG_MAP: &str = "road-map";

/// The town, if the topology has roads. An edge's roadside service is reached at the first node of the cluster at its
/// site (the service's pod shares the node's network); `address` is where a lane reaches that node.
#[must_use]
pub fn map(t: &Topology, seed: Seed, address: impl Fn(&str) -> String) -> Option<RoadMap> {
    let road = t.spec.road.as_ref()?;
    let node_at = |site: &str| {
        let mut at = t
            .nodes()
            .filter(|(c, n, _)| n.site.as_ref().unwrap_or(&c.site).as_str() == site);
        at.next().map(|(_, _, name)| name)
    };
    let edges = road.edges.iter().map(|e| {
        let site = t.spec.sites.iter().find(|s| s.name.value == e.value);
        let of_edge = |s: &&crate::topology::Site| {
            s.role == SiteRole::Radio && s.upf.as_ref().is_some_and(|u| u.value == e.value)
        };
        EdgeOptions {
            site: e.value.clone(),
            endpoint: format!("{}:{PORT}", address(&node_at(e).unwrap_or_else(|| e.value.clone()))),
            radio_sites: t
                .spec
                .sites
                .iter()
                .filter(of_edge)
                .map(|s| s.name.value.clone())
                .collect(),
            cells: site.and_then(|s| s.cells.as_ref()).map_or(1, |c| c.value as usize),
        }
    });
    let options = MapOptions {
        columns: road.columns.value as usize,
        rows: road.rows.value as usize,
        block: road.block.0,
        edges: edges.collect(),
    };
    Some(generate(&options, seed.child("town")))
}
