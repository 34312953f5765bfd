//! `cfn bench hub`: against any hub by kubeconfig, or by itself on embedded clusters.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cfn_api::karmada::cluster::{Cluster, ClusterSpec, SyncMode};
use cfn_api::names;
use futures::TryStreamExt;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use super::measure::{Bed, BenchError, Requests, percentile};
use super::memory;
use crate::cli::{CliError, out, run};
use crate::input::{At, Problem};
use crate::lane::{Controls, Defects, Plan};
use crate::scenario::{Fault, FaultKind, find_topology};
use crate::timers::Timers;

/// Registrations in flight.
const PARALLEL: usize = 64;
/// Bindings on the member that is lost.
const LOST: usize = 30;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The hub; embedded clusters without
    #[arg(long, requires = "member")]
    kubeconfig: Option<PathBuf>,
    /// A member of that hub, NAME=KUBECONFIG; twice at least
    #[arg(long, value_name = "NAME=KUBECONFIG")]
    member: Vec<String>,
    /// What is measured
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "latency,throughput,lost,join,memory,register"
    )]
    only: Vec<Measurement>,
    /// How often the latency is measured
    #[arg(long, default_value_t = 20)]
    times: usize,
    /// Deployments under one policy
    #[arg(long, default_value_t = 1000)]
    deployments: usize,
    /// Clusters that register, and that the memory is measured with
    #[arg(long, default_value_t = 3500)]
    clusters: usize,
    /// Timers of the embedded hub (profile or file) [default: karmada-1.4; of what is lost, joins and registers: fast]
    #[arg(long)]
    timers: Option<String>,
    /// Seed of the embedded clusters
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Measurement {
    /// Policy created -> pods Running in two members (aim: p50 <= 15 ms; a real Karmada: 151 ms)
    Latency,
    /// Many Deployments under one policy -> Works applied in two members; requests to the hub a binding (aims: 2,000
    /// bindings/s, 6 requests, none answered 409; a real Karmada: 2.3 to 7.8/s, 29 requests)
    Throughput,
    /// A member lost and back, on embedded clusters (aims: 30 bindings moved within 1 s of the timer that allows it, no
    /// replica too many 2 s after the heal)
    Lost,
    /// A member joins, on embedded clusters (aim: 100 ms)
    Join,
    /// What a cluster costs in the scheduler's fleet (aim: 4 KB)
    Memory,
    /// Many clusters register, on embedded clusters (aim: 3,500 in 60 s)
    Register,
}

fn failed(e: BenchError) -> CliError {
    CliError::Failed(e.to_string())
}

pub fn main(args: Args) -> Result<(), CliError> {
    let lane = run::find_lane("local", None)?;
    let rt = lane.runtime().map_err(|e| CliError::io("starting a runtime", &e))?;
    let result = rt.block_on(async {
        match &args.kubeconfig {
            Some(hub) => {
                let mut members = BTreeMap::new();
                for m in &args.member {
                    let (name, path) = m.split_once('=').ok_or_else(|| {
                        CliError::from(Problem::of_file("--member", m.clone()).expected("NAME=KUBECONFIG"))
                    })?;
                    members.insert(name.to_owned(), outside(&PathBuf::from(path)).await?);
                }
                if members.len() < 2 {
                    let p = Problem::of_file("--member", format!("{} given", members.len()));
                    return Err(p.expected("two members at least").into());
                }
                let bed = Bed {
                    hub: outside(hub).await?,
                    members,
                };
                bed.prepare().await.map_err(failed)?;
                placements(&args, &args.only, &bed).await
            }
            None => embedded(&args).await,
        }
    });
    rt.shutdown_timeout(Duration::from_secs(2));
    result
}

pub(super) async fn outside(path: &std::path::Path) -> Result<kube::Client, CliError> {
    let wrong = |e: String| CliError::from(Problem::of_file(path.display().to_string(), e).expected("a kubeconfig"));
    let k = kube::config::Kubeconfig::read_from(path).map_err(|e| wrong(e.to_string()))?;
    let config = kube::Config::from_custom_kubeconfig(k, &kube::config::KubeConfigOptions::default())
        .await
        .map_err(|e| wrong(e.to_string()))?;
    kube::Client::try_from(config).map_err(|e| wrong(e.to_string()))
}

pub(super) fn milliseconds(d: Duration) -> String {
    let ms = d.as_secs_f64() * 1e3;
    let digits = if ms < 1.0 { 2 } else { 1 };
    format!("{ms:.digits$} ms")
}

/// Leases are renewed whether anything is placed or not.
fn is_heartbeat(request: &str) -> bool {
    request.contains("leases")
}

fn show(requests: &Requests, bindings: usize) {
    let mut rows: Vec<(&String, &u64)> = requests.iter().collect();
    rows.sort_by_key(|(k, n)| (std::cmp::Reverse(**n), (*k).clone()));
    for (what, n) in rows.into_iter().filter(|(_, n)| **n as usize * 20 >= bindings) {
        out::line(&format!("    {n:>7}  {what}"));
    }
}

/// What can be measured at any hub.
async fn placements(args: &Args, only: &[Measurement], bed: &Bed) -> Result<(), CliError> {
    // First, as memory that others have given back would be taken again and not show.
    if only.contains(&Measurement::Memory) {
        let clusters: Api<Cluster> = Api::all(bed.hub.clone());
        let like = clusters.list(&ListParams::default()).await;
        let like = like.map_err(|e| failed(e.into()))?.items;
        out::line(&match memory::each(&like, args.clusters) {
            Some(bytes) => format!(
                "memory of the scheduler's fleet: {:.1} KB a cluster, n {}",
                bytes as f64 / 1e3,
                args.clusters
            ),
            None => "memory of the scheduler's fleet: this system does not tell".to_owned(),
        });
    }
    if only.contains(&Measurement::Latency) {
        let all = bed.latency(args.times.max(1)).await.map_err(failed)?;
        out::line(&format!(
            "policy created -> pods Running in 2 members: p50 {}, p95 {}, n {}",
            milliseconds(percentile(&all, 50)),
            milliseconds(percentile(&all, 95)),
            all.len()
        ));
        let times = args.times.max(1);
        let (to_applied, in_all) = bed.quiet(times).await.map_err(failed)?;
        if !in_all.is_empty() {
            // The policy and the list of Works are asked by the one who measures.
            let counts = |k: &str| !is_heartbeat(k) && k != "CREATE propagationpolicies 201" && k != "LIST works 200";
            let sum = |r: &Requests| {
                let counted = r.iter().filter(|(k, _)| counts(k));
                counted.map(|(_, n)| *n).sum::<u64>() as f64 / times as f64
            };
            out::line(&format!(
                "requests to the hub for one binding when nothing else is placed: {:.1} until both Works are applied, {:.1} with all statuses back",
                sum(&to_applied),
                sum(&in_all)
            ));
            show(&in_all, times);
        }
    }
    if only.contains(&Measurement::Throughput) {
        let t = bed.throughput(args.deployments.max(1)).await.map_err(failed)?;
        let n = t.bindings as f64;
        let sum = |r: &Requests, beats: bool| {
            let counted = r.iter().filter(|(k, _)| is_heartbeat(k) == beats);
            counted.map(|(_, n)| *n).sum::<u64>() as f64
        };
        let conflicts: u64 = t
            .in_all
            .iter()
            .filter(|(k, _)| k.ends_with(" 409"))
            .map(|(_, n)| n)
            .sum();
        out::line(&format!(
            "{} Deployments under one policy -> both Works applied: {:.0} bindings/s ({:.2} s); statuses back after {:.2} s",
            t.bindings,
            n / t.applied.as_secs_f64(),
            t.applied.as_secs_f64(),
            t.settled.as_secs_f64()
        ));
        if t.in_all.is_empty() {
            out::line("requests: the hub's /metrics does not tell");
        } else {
            out::line(&format!(
                "requests to the hub a binding: {:.2} until the Works are applied, {:.2} with all statuses back; beside them {:.2} and {:.2} of leases; answered 409: {conflicts}",
                sum(&t.to_applied, false) / n,
                sum(&t.in_all, false) / n,
                sum(&t.to_applied, true) / n,
                sum(&t.in_all, true) / n
            ));
            out::line("  until the Works are applied");
            show(&t.to_applied, t.bindings);
            out::line("  with all statuses back");
            show(&t.in_all, t.bindings);
        }
    }
    Ok(())
}

impl Measurement {
    /// Whether it waits for timers, so that fast ones spare whoever measures minutes. For what keeps the machine busy they are
    /// no measure: a lease that is late by a second would be a cluster that is lost, and its bindings moved in between.
    fn waits(self) -> bool {
        matches!(self, Self::Lost | Self::Join | Self::Register)
    }
}

async fn embedded(args: &Args) -> Result<(), CliError> {
    for (waits, usual) in [(false, "karmada-1.4"), (true, "fast")] {
        let only: Vec<Measurement> = args.only.iter().copied().filter(|m| m.waits() == waits).collect();
        if !only.is_empty() {
            let timers = Timers::find(args.timers.as_deref().unwrap_or(usual))?;
            on_testbed(args, &only, &timers).await?;
        }
    }
    Ok(())
}

/// Brings embedded clusters up, measures and takes them down.
async fn on_testbed(args: &Args, only: &[Measurement], timers: &Timers) -> Result<(), CliError> {
    let (_, mut topology) = find_topology("push-pull", None)?;
    // One pod of each Deployment runs in each member; the usual 110 a node would leave most waiting for ever.
    let pods = u32::try_from(args.deployments).unwrap_or(u32::MAX).max(110);
    for node in topology.spec.clusters.iter_mut().flat_map(|c| &mut c.nodes) {
        node.pods = Some(At::nowhere(pods));
    }
    let lane = run::find_lane("local", None)?;
    let scratch = std::env::temp_dir().join(format!("cfn-bench-{}", std::process::id()));
    let plan = Plan {
        topology,
        timers: timers.clone(),
        seed: args.seed,
        dir: scratch.clone(),
        defects: Defects::default(),
        explain: false,
        isolation: Default::default(),
    };
    let testbed = lane.up(&plan).await?;
    let hub = testbed.clients["host"].clone();
    let member = |n: &str| (n.to_owned(), testbed.clients[n].clone());
    let bed = Bed {
        hub,
        members: [member("member1"), member("member2"), member("member3")].into(),
    };
    let result = async {
        for m in bed.members.keys() {
            bed.until_ready(m, Duration::from_secs(60)).await.map_err(failed)?;
        }
        bed.prepare().await.map_err(failed)?;
        placements(args, only, &bed).await?;
        if only.contains(&Measurement::Lost) {
            lost(&bed, &*testbed.controls, timers).await?;
        }
        if only.contains(&Measurement::Join) {
            join(&bed, &*testbed.controls).await?;
        }
        if only.contains(&Measurement::Register) {
            register(&bed.hub, args.clusters).await?;
        }
        Ok(())
    }
    .await;
    testbed.controls.down().await;
    let _ = std::fs::remove_dir_all(&scratch);
    result
}

/// A member's control plane and nodes are lost, then back.
async fn lost(bed: &Bed, controls: &dyn Controls, timers: &Timers) -> Result<(), CliError> {
    bed.occupy("member1", LOST).await.map_err(failed)?;
    let fault = Fault {
        cluster: Some(At::nowhere("member1".to_owned())),
        ..Fault::of(FaultKind::Crash)
    };
    let bound = timers.of("clusterMonitorGracePeriod")
        + timers.of("clusterFailureThreshold")
        + timers.of("failoverEvictionTimeout")
        + timers.of("defaultNotReadyToleration")
        + Duration::from_secs(60);
    controls.fault(&fault).await?;
    let tainted = bed.until_tainted("member1", bound).await.map_err(failed)?;
    let allowed = tainted + timers.of("defaultNotReadyToleration");
    let moved = bed.until_left("member1", bound).await.map_err(failed)?;
    let running = bed
        .until_running(&["member2", "member3"], LOST, Duration::from_secs(60))
        .await
        .map_err(failed)?;
    out::line(&format!(
        "member lost: {LOST} bindings moved {} after the toleration ends, their pods Running elsewhere after {}",
        milliseconds(moved.saturating_duration_since(allowed)),
        milliseconds(running.saturating_duration_since(allowed))
    ));
    controls.heal(&fault).await?;
    let healed = Instant::now();
    let clean = bed
        .until_running(&["member1", "member2", "member3"], LOST, Duration::from_secs(60))
        .await
        .map_err(failed)?;
    out::line(&format!(
        "member back: no replica too many after {}",
        milliseconds(clean.duration_since(healed))
    ));
    bed.clean("lost").await.map_err(failed)
}

/// A Pull member leaves and joins again.
async fn join(bed: &Bed, controls: &dyn Controls) -> Result<(), CliError> {
    let clusters: Api<Cluster> = Api::all(bed.hub.clone());
    let mut all = Vec::new();
    for _ in 0..5 {
        controls.leave("member3").await?;
        let end = Instant::now() + Duration::from_secs(60);
        while clusters
            .get_opt("member3")
            .await
            .map_err(|e| failed(e.into()))?
            .is_some()
        {
            if Instant::now() > end {
                return Err(CliError::Failed("member3 does not leave".into()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let start = Instant::now();
        controls.join("member3").await?;
        let ready = bed
            .until_ready("member3", Duration::from_secs(60))
            .await
            .map_err(failed)?;
        all.push(ready.duration_since(start));
    }
    all.sort();
    out::line(&format!(
        "join (request, acceptance, certificate, Cluster Ready): p50 {}, worst {}, n {}",
        milliseconds(percentile(&all, 50)),
        milliseconds(percentile(&all, 100)),
        all.len()
    ));
    Ok(())
}

/// What `n` agents do at the hub when they register: request, Cluster, status, lease; then until each has its roles and
/// namespace. The certificates are the hub's own to make.
async fn register(hub: &kube::Client, n: usize) -> Result<(), CliError> {
    let start = Instant::now();
    let hub = Arc::new(hub.clone());
    futures::stream::iter((0..n).map(Ok::<_, kube::Error>))
        .try_for_each_concurrent(PARALLEL, |i| {
            let hub = hub.clone();
            async move {
                let name = format!("edge-{i:05}");
                let (user, groups) = (names::agent_user(&name), [names::AGENT_GROUP.to_owned()]);
                let (pem, _) = cfn_net::pki::signing_request(&user, &groups)
                    .map_err(|e| kube::Error::Service(Box::new(std::io::Error::other(e.to_string()))))?;
                let csr: CertificateSigningRequest = serde_json::from_value(json!({"metadata": {"name": format!("{name}-agent")}, "spec": {
                    "request": k8s_openapi::ByteString(pem.into_bytes()),
                    "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}}))
                .map_err(kube::Error::SerdeError)?;
                let requests: Api<CertificateSigningRequest> = Api::all((*hub).clone());
                requests.create(&PostParams::default(), &csr).await?;
                let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Bench", "message": ""}]}});
                requests
                    .patch_approval(&csr.name_any(), &PatchParams::default(), &Patch::Merge(approved))
                    .await?;
                let spec = ClusterSpec {
                    sync_mode: SyncMode::Pull,
                    region: Some(format!("region-{}", i % 50)),
                    ..ClusterSpec::default()
                };
                let clusters: Api<Cluster> = Api::all((*hub).clone());
                clusters.create(&PostParams::default(), &Cluster::new(&name, spec)).await?;
                let now = cfn_net::Clock::now(&cfn_net::SystemClock);
                let status = json!({"status": {
                    "conditions": [{"type": "Ready", "status": "True", "reason": "ClusterReady", "message": "", "lastTransitionTime": now}],
                    "apiEnablements": [{"groupVersion": "apps/v1", "resources": [{"name": "deployments", "kind": "Deployment"}]}],
                    "resourceSummary": {"allocatable": {"cpu": "16", "memory": "64Gi", "pods": "110"}}}});
                clusters.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await?;
                let leases: Api<Lease> = Api::namespaced((*hub).clone(), names::LEASE_NAMESPACE);
                let lease: Lease = serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}}))
                    .map_err(kube::Error::SerdeError)?;
                leases.create(&PostParams::default(), &lease).await?;
                Ok(())
            }
        })
        .await
        .map_err(|e| failed(e.into()))?;
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all((*hub).clone());
    let roles: Api<k8s_openapi::api::rbac::v1::ClusterRoleBinding> = Api::all((*hub).clone());
    let end = start + Duration::from_secs(600);
    loop {
        let list = ListParams::default();
        let made = namespaces.list_metadata(&list).await.map_err(|e| failed(e.into()))?;
        let here = made
            .items
            .iter()
            .filter(|n| n.name_any().starts_with("karmada-es-edge-"))
            .count();
        let given = roles.list_metadata(&list).await.map_err(|e| failed(e.into()))?;
        let allowed = given
            .items
            .iter()
            .filter(|r| r.name_any().starts_with("system:karmada:agent:edge-"))
            .count();
        if here >= n && allowed >= n {
            break;
        }
        if Instant::now() > end {
            return Err(CliError::Failed(format!(
                "{here} of {n} clusters are registered after 600 s"
            )));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    out::line(&format!(
        "{n} clusters registered (request, certificate, Cluster, status, lease, roles, namespace): {:.1} s",
        start.elapsed().as_secs_f64()
    ));
    Ok(())
}
