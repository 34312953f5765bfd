//! What nodes of clusters that exist run, as their kubelets say: the API server passes a request on to a node's kubelet
//! (`/api/v1/nodes/NAME/proxy/pods`), where the kubeconfig's user may have that done (`nodes/proxy`).

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, ObjectList};
use kube::{Api, Client, ResourceExt};

use crate::lane::RunningPod;
use crate::scenario::Running;

/// The names of a cluster's nodes.
pub async fn nodes(client: &Client) -> kube::Result<Vec<String>> {
    let api: Api<Node> = Api::all(client.clone());
    let all = api.list_metadata(&ListParams::default()).await?;
    Ok(all.items.iter().map(ResourceExt::name_any).collect())
}

/// What one node's kubelet says.
pub async fn pods(client: &Client, node: &str) -> kube::Result<Vec<RunningPod>> {
    let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/pods"))
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    let list: ObjectList<Pod> = client.request(request).await?;
    Ok(list.items.iter().filter_map(running).collect())
}

/// Of all these nodes that are there, side by side.
pub async fn all(client: &Client, wanted: &Running) -> kube::Result<Vec<RunningPod>> {
    let asks = |n: &String| wanted.nodes.is_empty() || wanted.nodes.iter().any(|w| w.value == *n);
    let mut answers: FuturesUnordered<_> = nodes(client)
        .await?
        .into_iter()
        .filter(asks)
        .map(|n| async move { pods(client, &n).await })
        .collect();
    let mut found = Vec::new();
    while let Some(answer) = answers.next().await {
        found.extend(answer?.into_iter().filter(|p| {
            wanted.namespace.as_ref().is_none_or(|n| *n == p.namespace) && p.name.starts_with(&wanted.prefix)
        }));
    }
    Ok(found)
}

/// A pod of which a container runs.
fn running(pod: &Pod) -> Option<RunningPod> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let runs = |c: &k8s_openapi::api::core::v1::ContainerStatus| c.state.as_ref().is_some_and(|s| s.running.is_some());
    containers.iter().any(runs).then(|| RunningPod {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        restarts: containers
            .iter()
            .map(|c| u64::try_from(c.restart_count).unwrap_or_default())
            .sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_runs_when_a_container_does() {
        let pod = |state: &str| {
            let text = format!(
                "{{metadata: {{name: p, namespace: n, uid: u}}, status: {{containerStatuses: [{{name: a, image: i, \
                 imageID: i, ready: true, restartCount: 2, state: {{{state}}}}}]}}}}"
            );
            running(&serde_yaml::from_str(&text).unwrap())
        };
        let is = pod("running: {startedAt: '2026-01-01T00:00:00Z'}").unwrap();
        assert_eq!((is.name.as_str(), is.namespace.as_str(), is.restarts), ("p", "n", 2));
        assert_eq!(pod("waiting: {reason: ContainerCreating}"), None);
        assert_eq!(pod("terminated: {exitCode: 1}"), None);
        assert_eq!(running(&Pod::default()), None);
    }
}
