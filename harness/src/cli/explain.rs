//! `cfn explain`: why a binding on a live hub is where it is, and not elsewhere. Reads; changes nothing.

use std::path::PathBuf;

use cfn_api::cfn::{ComputingMetric, ComputingPolicy};
use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::work::{ClusterExplanation, ResourceBinding};
use cfn_scheduler::engine::{Config, Decision, Explain, Fleet, Member, Request, schedule};
use kube::api::ListParams;
use kube::{Api, Client};

use super::{CliError, out};
use crate::input::Problem;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A ResourceBinding: NAME or NAMESPACE/NAME
    binding: String,
    /// Its namespace, where the name does not say
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// The hub
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

async fn client(path: &std::path::Path) -> Result<Client, CliError> {
    let wrong =
        |e: String| CliError::from(Problem::of_file(path.display().to_string(), e).expected("a kubeconfig of the hub"));
    let k = kube::config::Kubeconfig::read_from(path).map_err(|e| wrong(e.to_string()))?;
    let config = kube::Config::from_custom_kubeconfig(k, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|e| wrong(e.to_string()))?;
    Client::try_from(config).map_err(|e| wrong(e.to_string()))
}

fn unreachable(what: &str, e: &kube::Error) -> CliError {
    CliError::Environment {
        what: format!("{what}: {e}"),
        cure: "check that the hub runs, that the kubeconfig is its own, and that it serves Karmada's API".into(),
    }
}

/// The objects of a kind, none where the hub does not have the kind (a Karmada without CFN's).
async fn all<K>(api: Api<K>, what: &str, optional: bool) -> Result<Vec<K>, CliError>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    match api.list(&ListParams::default()).await {
        Ok(list) => Ok(list.items),
        Err(kube::Error::Api(e)) if optional && e.code == 404 => Ok(Vec::new()),
        Err(e) => Err(unreachable(what, &e)),
    }
}

/// The engine's decision on this binding with the fleet as it is, every cluster explained.
fn decide(
    binding: &ResourceBinding,
    clusters: Vec<Cluster>,
    metrics: &[ComputingMetric],
    policies: &[ComputingPolicy],
) -> Decision {
    let mut fleet = Fleet::default();
    for c in clusters {
        let name = c.metadata.name.clone().unwrap_or_default();
        let metric = metrics
            .iter()
            .find(|m| m.spec.cluster == name || m.metadata.name.as_ref() == Some(&name));
        fleet.insert(Member::new(c, metric.cloned()));
    }
    let r = &binding.spec.resource;
    let policy_name = |k: &str| {
        let annotations = binding.metadata.annotations.as_ref();
        annotations.and_then(|a| a.get(k)).cloned().unwrap_or_default()
    };
    let propagation = policy_name("propagationpolicy.karmada.io/name");
    let means = |p: &&ComputingPolicy| {
        p.metadata.namespace == r.namespace
            && p.spec
                .target_refs
                .iter()
                .any(|t| t.kind == r.kind && t.name == r.name || t.kind == "PropagationPolicy" && t.name == propagation)
    };
    let policy = policies.iter().find(means).map(|p| &p.spec);
    let key = format!(
        "{}/{}",
        binding.metadata.namespace.as_deref().unwrap_or_default(),
        binding.metadata.name.as_deref().unwrap_or_default()
    );
    let request = Request {
        status: binding.status.as_ref(),
        policy,
        ..Request::of(&key, &binding.spec)
    };
    let config = Config {
        explain: Explain::All,
        ..Config::default()
    };
    schedule(&fleet, &request, &config)
}

/// One row per cluster: chosen ones first, then by name.
fn table(binding: &ResourceBinding, explanation: &[ClusterExplanation]) -> String {
    let mut rows = vec![
        ["CLUSTER", "NOW", "AGAIN", "ROOM", "SCORES", "WHY"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut sorted: Vec<&ClusterExplanation> = explanation.iter().collect();
    sorted.sort_by(|a, b| (a.replicas.is_none(), &a.cluster).cmp(&(b.replicas.is_none(), &b.cluster)));
    for e in sorted {
        let now = binding.spec.clusters.iter().find(|t| t.name == e.cluster);
        let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let scores: Vec<String> = e.scores.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let why = match (&e.filtered, &e.note, &e.latency) {
            (Some(f), _, _) => f.clone(),
            (None, Some(n), _) => n.clone(),
            (None, None, Some(l)) => format!("{:.1} ms in total", l.total),
            (None, None, None) => String::new(),
        };
        rows.push(vec![
            e.cluster.clone(),
            number(now.map(|t| i64::from(t.replicas))),
            number(e.replicas.map(i64::from)),
            number(e.available),
            scores.join(" "),
            why,
        ]);
    }
    out::table(&rows)
}

pub fn main(args: &Args) -> Result<(), CliError> {
    let (namespace, name) = args.binding.split_once('/').unwrap_or((&args.namespace, &args.binding));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| CliError::Environment {
        what: e.to_string(),
        cure: "free some file descriptors".into(),
    })?;
    runtime.block_on(async {
        let client = client(&args.kubeconfig).await?;
        let bindings: Api<ResourceBinding> = Api::namespaced(client.clone(), namespace);
        let binding = match bindings.get_opt(name).await.map_err(|e| unreachable("ResourceBinding", &e))? {
            Some(b) => b,
            None => {
                let known = all(bindings, "ResourceBindings", false).await?;
                let names: Vec<String> = known.into_iter().filter_map(|b| b.metadata.name).collect();
                let what = format!("no ResourceBinding {namespace}/{name}");
                let expected = if names.is_empty() { "a binding; this namespace has none".to_owned() } else { names.join(", ") };
                return Err(Problem::of_file(args.kubeconfig.display().to_string(), what).expected(expected).into());
            }
        };
        let clusters = all(Api::all(client.clone()), "Clusters", false).await?;
        let metrics = all(Api::all(client.clone()), "ComputingMetrics", true).await?;
        let policies = all(Api::namespaced(client, namespace), "ComputingPolicies", true).await?;
        let decision = decide(&binding, clusters, &metrics, &policies);
        if args.json {
            let text = serde_json::json!({"binding": format!("{namespace}/{name}"), "clusters": binding.spec.clusters,
                "again": decision.result.as_ref().ok(), "message": decision.result.as_ref().err().map(ToString::to_string),
                "explanation": decision.explanation});
            out::line(&text.to_string());
            return Ok(());
        }
        out::line(&format!("{namespace}/{name}: {} replicas", binding.spec.replicas));
        for c in binding.status.iter().flat_map(|s| &s.conditions) {
            out::line(&format!("{} {} {}: {}", c.type_, c.status, c.reason, c.message));
        }
        if let Err(e) = &decision.result {
            out::line(&format!("decided again it would be {}: {e}", e.reason()));
        }
        out::line(table(&binding, &decision.explanation).trim_end());
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_cluster_has_a_row_with_its_reason() {
        let cluster = |name: &str, taints: serde_json::Value| -> Cluster {
            serde_json::from_value(json!({
                "apiVersion": "cluster.karmada.io/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
                "spec": {"syncMode": "Pull", "taints": taints},
                "status": {"apiEnablements": [{"groupVersion": "apps/v1", "resources": [{"kind": "Deployment", "name": "deployments"}]}],
                    "resourceSummary": {"allocatable": {"cpu": "4", "pods": "10"}}}}))
            .unwrap()
        };
        let binding: ResourceBinding = serde_json::from_value(json!({
            "apiVersion": "work.karmada.io/v1alpha2", "kind": "ResourceBinding", "metadata": {"name": "w", "namespace": "default"},
            "spec": {"resource": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "default", "name": "w"}, "replicas": 2,
                "clusters": [{"name": "a", "replicas": 2}], "placement": {}}}))
        .unwrap();
        let clusters = vec![
            cluster("a", json!([])),
            cluster("b", json!([{"key": "k", "value": "v", "effect": "NoSchedule"}])),
        ];
        let decision = decide(&binding, clusters, &[], &[]);
        let text = table(&binding, &decision.explanation);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[1].starts_with("a ") && lines[1].contains("ClusterLocality=100"),
            "{text}"
        );
        assert!(
            lines[2].starts_with("b ")
                && lines[2].ends_with("TaintToleration: cluster(s) had untolerated taint {k=v:NoSchedule}"),
            "{text}"
        );
    }
}
