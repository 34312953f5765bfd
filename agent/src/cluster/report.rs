//! Reporting: the Cluster's status on the hub, written when something changed and at least once per
//! `--cluster-status-update-frequency`.

use std::collections::BTreeMap;
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::karmada::cluster::{
    ApiEnablement, ApiResourceKind, COMPLETE_API_ENABLEMENTS, Cluster, ClusterStatus, READY,
};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::inventory;
use super::member::Context;

/// Changes of nodes and pods within this time go into one write.
const COALESCE: Duration = Duration::from_millis(10);
/// While they go on changing, a write comes so long after the one before at the soonest, and each further one twice as
/// long: what is on its way the hub has assumed already.
const BETWEEN: Duration = Duration::from_millis(100);
/// How long it becomes at most.
const LONGEST_BETWEEN: Duration = Duration::from_secs(1);

/// A copy of one kind of the member's objects.
pub(super) struct Copy<K> {
    objects: BTreeMap<String, K>,
    fresh: BTreeMap<String, K>,
    /// Whether the first list is in.
    pub(super) synced: bool,
}

impl<K: kube::Resource> Copy<K> {
    pub(super) fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            fresh: BTreeMap::new(),
            synced: false,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &K> {
        self.objects.values()
    }

    fn key(object: &K) -> String {
        format!(
            "{}/{}",
            object.meta().namespace.as_deref().unwrap_or(""),
            object.meta().name.as_deref().unwrap_or("")
        )
    }

    pub(super) fn take(&mut self, event: watcher::Event<K>) {
        match event {
            watcher::Event::Init => self.fresh = BTreeMap::new(),
            watcher::Event::InitApply(o) => {
                self.fresh.insert(Self::key(&o), o);
            }
            watcher::Event::InitDone => {
                self.objects = std::mem::take(&mut self.fresh);
                self.synced = true;
            }
            watcher::Event::Apply(o) => {
                self.objects.insert(Self::key(&o), o);
            }
            watcher::Event::Delete(o) => {
                self.objects.remove(&Self::key(&o));
            }
        }
    }
}

/// Watches the member and writes the status, for ever.
pub async fn run(ctx: &Context) {
    let mut nodes = Copy::<Node>::new();
    let mut pods = Copy::<Pod>::new();
    let mut node_events = std::pin::pin!(watch::<Node>(ctx));
    let mut pod_events = std::pin::pin!(watch::<Pod>(ctx));
    // What the hub has; read once, then what was written last.
    let mut written: Option<ClusterStatus> = None;
    let mut apis: Vec<ApiEnablement> = Vec::new();
    let mut due = Instant::now() + COALESCE;
    let mut next_write = Instant::now();
    let mut between = BETWEEN;
    let mut next_check = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(event) = node_events.next() => {
                if let Ok(event) = event {
                    nodes.take(event);
                    due = due.min(next_write.max(Instant::now() + COALESCE));
                }
            }
            Some(event) = pod_events.next() => {
                if let Ok(event) = event {
                    pods.take(event);
                    due = due.min(next_write.max(Instant::now() + COALESCE));
                }
            }
            () = sleep_until(due) => {
                let period = ctx.options.timers.cluster_status_update_frequency;
                // A change of nodes or pods alone says that the member answers; its APIs are as they were.
                let check = written.is_none() || Instant::now() >= next_check;
                let synced = nodes.synced && pods.synced;
                if !(check || synced) {
                    due = next_check;
                    continue;
                }
                let asked = if check { Some(health(ctx).await) } else { None };
                if matches!(asked, Some(Ok(_)))
                    && let Ok(found) = enablements(&ctx.member).await {
                        apis = found;
                    }
                let mut status = written.clone().unwrap_or_default();
                fill(&mut status, ctx, &nodes, &pods, &apis, asked);
                // Now and then in any case: the hub may have thought us gone.
                if check || written.as_ref() != Some(&status) {
                    match write(ctx, written.as_ref(), &status).await {
                        Ok(()) => {
                            written = Some(status);
                            let now = Instant::now();
                            // Whether it was quiet since the last one may be written after.
                            between = match now < next_write + between {
                                true => (2 * between).min(LONGEST_BETWEEN),
                                false => BETWEEN,
                            };
                            next_write = now + between;
                        }
                        Err(e) => {
                            tracing::debug!("status of {}: {e}", ctx.options.cluster);
                            due = Instant::now() + period / 10;
                            continue;
                        }
                    }
                }
                if check {
                    next_check = Instant::now() + period;
                }
                due = next_check;
            }
        }
    }
}

fn watch<K>(ctx: &Context) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + use<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    cfn_net::watch::watch(Api::<K>::all(ctx.member.clone()), watcher::Config::default())
}

/// Asks the member's API server whether it is ready: `Err` with reason and message when it is not
/// (`getClusterHealthStatus`).
async fn health(ctx: &Context) -> Result<String, (&'static str, String)> {
    let version = match ctx.member.apiserver_version().await {
        Ok(v) => v.git_version,
        Err(e) => return Err(("ClusterNotReachable", format!("cluster is not reachable: {e}"))),
    };
    let ready = http::Request::get("/readyz").body(Vec::new());
    match ready.map_err(|e| e.to_string()) {
        Ok(request) => match ctx.member.request_text(request).await {
            Ok(_) => Ok(version),
            Err(e) => Err((
                "ClusterNotReady",
                format!("cluster is reachable but health endpoint responded without ok: {e}"),
            )),
        },
        Err(e) => Err(("ClusterNotReachable", e)),
    }
}

fn fill(
    status: &mut ClusterStatus,
    ctx: &Context,
    nodes: &Copy<Node>,
    pods: &Copy<Pod>,
    apis: &[ApiEnablement],
    health: Option<Result<String, (&'static str, String)>>,
) {
    let now = ctx.options.clock.now();
    match health {
        None => {}
        Some(Ok(version)) => {
            let message = "cluster is healthy and ready to accept workloads";
            conditions::set(&mut status.conditions, READY, "True", "ClusterReady", message, now);
            status.kubernetes_version = Some(version);
        }
        Some(Err((reason, message))) => {
            conditions::set(&mut status.conditions, READY, "False", reason, &message, now);
        }
    }
    if !apis.is_empty() {
        let message = "API enablements are complete";
        let kind = COMPLETE_API_ENABLEMENTS;
        conditions::set(&mut status.conditions, kind, "True", "FullAPIEnablements", message, now);
        status.api_enablements = apis.to_vec();
    }
    if nodes.synced && pods.synced {
        status.node_summary = Some(inventory::nodes(nodes.iter()));
        let summary = inventory::resources(nodes.iter(), pods.iter());
        status.resource_summary = Some(summary.clone());
        status.unschedulable = inventory::unschedulable_replicas(pods.iter());
        if ctx.options.timers.scheduler_estimator {
            status.free_nodes = inventory::free_nodes(nodes.iter(), pods.iter());
        }
        let compute = Some(super::metric::Compute {
            service_time: inventory::service_time(nodes.iter()),
            utilization: inventory::utilization(&summary),
            accelerators: inventory::accelerators(nodes.iter()),
        });
        ctx.inventory.send_if_modified(|old| {
            let news = *old != compute;
            *old = compute;
            news
        });
    }
}

/// Writes a status over the one that the hub has, as far as they differ. What is gone (the requests of the last pod) is
/// taken away by name: a merge patch keeps what it does not mention.
async fn write(ctx: &Context, old: Option<&ClusterStatus>, status: &ClusterStatus) -> kube::Result<()> {
    let api: Api<Cluster> = Api::all(ctx.hub.clone());
    let name = &ctx.options.cluster;
    let old = match old {
        Some(s) => json!(s),
        None => json!(api.get(name).await?.status),
    };
    let mut patch = json!(status);
    forget(&old, &mut patch);
    leave_out(&old, &mut patch);
    patch["conditions"] = json!(status.conditions);
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": patch})))
        .await
        .map(|c| {
            tracing::trace!("status of {} at {:?}", c.name_any(), c.resource_version());
        })
}

/// Adds a null for every field of `old` that `new` lacks (RFC 7396).
pub(super) fn forget(old: &Value, new: &mut Value) {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object_mut()) else {
        return;
    };
    for (k, v) in old {
        match new.get_mut(k) {
            Some(n) => forget(v, n),
            None => {
                new.insert(k.clone(), Value::Null);
            }
        }
    }
}

/// Leaves out of a merge patch what `old` has the same; the outermost object stays, empty or not.
fn leave_out(old: &Value, patch: &mut Value) {
    let (Some(old), Some(patch)) = (old.as_object(), patch.as_object_mut()) else {
        return;
    };
    patch.retain(|k, new| match old.get(k) {
        Some(was) if was == new => false,
        Some(was) => {
            leave_out(was, new);
            true
        }
        None => true,
    });
}

/// The APIs of a server, from its aggregated discovery: two requests.
async fn enablements(client: &kube::Client) -> kube::Result<Vec<ApiEnablement>> {
    let mut all = Vec::new();
    for path in ["/api", "/apis"] {
        let request = http::Request::get(path)
            .header(
                http::header::ACCEPT,
                "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            )
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        all.extend(groups(&client.request::<Value>(request).await?));
    }
    all.sort_by(|a: &ApiEnablement, b| a.group_version.cmp(&b.group_version));
    Ok(all)
}

fn groups(discovery: &Value) -> Vec<ApiEnablement> {
    let text = |v: &Value, k: &str| v[k].as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for group in discovery["items"].as_array().into_iter().flatten() {
        let name = text(&group["metadata"], "name");
        for version in group["versions"].as_array().into_iter().flatten() {
            let v = text(version, "version");
            let mut resources: Vec<_> = version["resources"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|r| ApiResourceKind {
                    name: text(r, "resource"),
                    kind: text(&r["responseKind"], "kind"),
                })
                .collect();
            resources.sort_by(|a, b| a.name.cmp(&b.name));
            let group_version = if name.is_empty() { v } else { format!("{name}/{v}") };
            all.push(ApiEnablement {
                group_version,
                resources,
            });
        }
    }
    all
}
