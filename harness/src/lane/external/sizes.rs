//! Whether clusters that exist have nodes as large as a topology's.

use cfn_cel::quantity::Quantity;
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::topology::Cluster;

/// Thousandths of a processor of each node, in order.
pub async fn of(client: &Client) -> kube::Result<Vec<i64>> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let mut all: Vec<i64> = nodes.items.iter().map(processors).collect();
    all.sort_unstable();
    Ok(all)
}

fn processors(node: &Node) -> i64 {
    let capacity = node.status.as_ref().and_then(|s| s.capacity.as_ref());
    let cpu = capacity.and_then(|c| c.get("cpu"));
    cpu.and_then(|c| c.0.parse::<Quantity>().ok())
        .map_or(0, |q| q.milli_value())
}

/// The same of a topology's cluster.
pub fn wanted(cluster: &Cluster) -> Vec<i64> {
    let cpu = |n: &crate::topology::Node| n.cpu.value.parse::<Quantity>().map_or(0, |q| q.milli_value());
    let mut all: Vec<i64> = cluster
        .nodes
        .iter()
        .flat_map(|n| std::iter::repeat_n(cpu(n), n.names().count()))
        .collect();
    all.sort_unstable();
    all
}

/// What is there, in words, where it is not what is wanted.
pub fn differs(wanted: &[i64], have: &[i64]) -> Option<String> {
    let words = |sizes: &[i64]| {
        let cores: Vec<String> = sizes.iter().map(|m| (*m as f64 / 1000.0).to_string()).collect();
        format!("{} nodes of {} CPUs", sizes.len(), cores.join(", "))
    };
    (wanted != have).then(|| format!("{}, the topology {}", words(have), words(wanted)))
}

#[cfg(test)]
mod tests {
    use super::differs;

    #[test]
    fn sizes_are_told() {
        assert_eq!(differs(&[2000, 4000], &[2000, 4000]), None);
        assert_eq!(
            differs(&[16_000, 16_000], &[1500]).unwrap(),
            "1 nodes of 1.5 CPUs, the topology 2 nodes of 16, 16 CPUs"
        );
    }
}
