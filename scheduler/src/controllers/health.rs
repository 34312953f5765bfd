//! Cluster health: leases -> the Ready condition -> taints (Karmada's `pkg/controllers/cluster/cluster_controller.go`
//! with the failover of 1.4: NoSchedule at once, NoExecute after the eviction timeout).

use std::sync::Arc;
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::karmada::cluster::{Cluster, READY, SyncMode};
use cfn_api::names::{TAINT_NOT_READY, TAINT_UNREACHABLE};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ApiResource;
use serde_json::json;

use super::Timers;
use super::hub::{Hub, Key, gone, until, work};

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "health",
        |h| &h.health,
        |hub, name| async move { reconcile(&hub, &name).await },
    )
    .await;
}

/// What a cluster's taints should be, and when to look again.
#[derive(Debug, PartialEq)]
struct Verdict {
    taints: Vec<Taint>,
    again: Option<Timestamp>,
}

fn ours(t: &Taint) -> bool {
    matches!(t.key.as_str(), TAINT_NOT_READY | TAINT_UNREACHABLE)
}

/// Judges a cluster by its Ready condition. `silent_since`: its last sign of life.
fn judge(cluster: &Cluster, silent_since: Option<Timestamp>, timers: &Timers, now: Timestamp) -> Verdict {
    let present = &cluster.spec.taints;
    let keep = |again| Verdict {
        taints: present.clone(),
        again,
    };
    let Some(ready) = cluster
        .status
        .as_ref()
        .and_then(|s| conditions::get(&s.conditions, READY))
    else {
        return keep(None);
    };
    let changed = ready.last_transition_time.0;
    let others = || present.iter().filter(|t| !ours(t)).cloned().collect::<Vec<_>>();
    if ready.status == "True" {
        if !present.iter().any(ours) {
            return keep(None);
        }
        let due = changed + timers.cluster_success_threshold;
        return if now >= due {
            Verdict {
                taints: others(),
                again: None,
            }
        } else {
            keep(Some(due))
        };
    }
    let since = if ready.status == "Unknown" {
        silent_since.map_or(changed, |s| s.min(changed))
    } else {
        changed
    };
    let due = since + timers.cluster_failure_threshold;
    if now < due {
        return keep(Some(due));
    }
    let key = if ready.status == "Unknown" {
        TAINT_UNREACHABLE
    } else {
        TAINT_NOT_READY
    };
    // A change from not-ready to unreachable does not start the clock anew.
    let first = |effect: &str| {
        present
            .iter()
            .filter(|t| ours(t) && t.effect == effect)
            .filter_map(|t| t.time_added.as_ref())
            .map(|t| t.0)
            .min()
    };
    let taint = |effect: &str, at: Timestamp| Taint {
        key: key.into(),
        effect: effect.into(),
        value: None,
        time_added: Some(Time(at)),
    };
    let mut taints = others();
    let tainted = first("NoSchedule").unwrap_or(now);
    taints.push(taint("NoSchedule", tainted));
    if !timers.failover {
        return Verdict { taints, again: None };
    }
    let evict = tainted + timers.failover_eviction_timeout;
    match first("NoExecute") {
        Some(at) => taints.push(taint("NoExecute", at)),
        None if now >= evict => taints.push(taint("NoExecute", now)),
        None => {
            return Verdict {
                taints,
                again: Some(evict),
            };
        }
    }
    Verdict { taints, again: None }
}

async fn reconcile(hub: &Arc<Hub>, name: &str) -> Result<(), kube::Error> {
    let now = hub.now();
    let timers = &hub.options.timers;
    let (cluster, seen) = {
        let mut state = hub.state();
        let Some(cluster) = state.clusters.get(name).cloned() else {
            return Ok(());
        };
        if cluster.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let pulled = cluster.spec.sync_mode == SyncMode::Pull || state.leases.contains_key(name);
        // A cluster that never renewed a lease counts from when we first saw it.
        let seen = pulled.then(|| *state.leases.entry(name.to_owned()).or_insert(now));
        (cluster, seen)
    };
    let resource = ApiResource::erase::<Cluster>(&());
    let key = Key::new("", name);
    let ready = cluster
        .status
        .as_ref()
        .and_then(|s| conditions::get(&s.conditions, READY))
        .cloned();
    let mut again: Option<Timestamp> = None;
    if let (Some(seen), Some(ready)) = (seen, &ready) {
        let stale = seen + timers.cluster_monitor_grace_period;
        if now < stale {
            again = Some(stale);
        } else if ready.status != "Unknown" {
            let mut list = cluster
                .status
                .as_ref()
                .map(|s| s.conditions.clone())
                .unwrap_or_default();
            conditions::set(
                &mut list,
                READY,
                "Unknown",
                "ClusterStatusUnknown",
                "Cluster agent stopped posting cluster status.",
                now,
            );
            let patch = json!({"metadata": {"resourceVersion": cluster.metadata.resource_version}, "status": {"conditions": list}});
            gone(hub.patch_status(&resource, &key, &patch).await)?;
            // The watch brings the changed cluster back here.
            return Ok(());
        }
    }
    let mut verdict = judge(&cluster, seen, timers, now);
    {
        let state = hub.state();
        let policies = state
            .taint_policies
            .values()
            .filter(|p| p.metadata.deletion_timestamp.is_none());
        verdict.taints = super::taints::apply(&cluster, verdict.taints, policies.map(|p| &p.spec), now);
    }
    if verdict.taints != cluster.spec.taints {
        let patch = json!({"metadata": {"resourceVersion": cluster.metadata.resource_version}, "spec": {"taints": verdict.taints}});
        gone(hub.patch(&resource, &key, &patch).await)?;
    }
    let soonest = [again, verdict.again].into_iter().flatten().min();
    if let Some(at) = soonest {
        hub.health
            .add_after(name.to_owned(), until(now, at).max(Duration::from_millis(1)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).unwrap()
    }

    fn cluster(ready: &str, since: i64, taints: &[(&str, &str, i64)]) -> Cluster {
        let mut c = Cluster::default();
        let mut conditions = Vec::new();
        conditions::set(&mut conditions, READY, ready, "", "", at(since));
        c.status = Some(cfn_api::karmada::cluster::ClusterStatus {
            conditions,
            ..Default::default()
        });
        let taint = |(k, e, t): &(&str, &str, i64)| Taint {
            key: (*k).into(),
            effect: (*e).into(),
            value: None,
            time_added: Some(Time(at(*t))),
        };
        c.spec.taints = taints.iter().map(taint).collect();
        c
    }

    #[test]
    fn the_clock_of_1_4() {
        let timers = Timers::default();
        let (u, n) = (TAINT_UNREACHABLE, TAINT_NOT_READY);
        // (Ready, since, last sign of life, taints) at `now` -> taints, look again at.
        for (c, silent, now, taints, again) in [
            (cluster("False", 0, &[]), None, 10, vec![], Some(30)),
            (
                cluster("False", 0, &[]),
                None,
                30,
                vec![(n, "NoSchedule", 30)],
                Some(330),
            ),
            (
                cluster("Unknown", 40, &[]),
                Some(0),
                40,
                vec![(u, "NoSchedule", 40)],
                Some(340),
            ),
            (
                cluster("Unknown", 40, &[(u, "NoSchedule", 40)]),
                Some(0),
                340,
                vec![(u, "NoSchedule", 40), (u, "NoExecute", 340)],
                None,
            ),
            (
                cluster("Unknown", 50, &[(n, "NoSchedule", 30)]),
                Some(0),
                60,
                vec![(u, "NoSchedule", 30)],
                Some(330),
            ),
            (
                cluster("True", 400, &[(u, "NoSchedule", 40), ("x", "NoSchedule", 1)]),
                None,
                410,
                vec![(u, "NoSchedule", 40), ("x", "NoSchedule", 1)],
                Some(430),
            ),
            (
                cluster("True", 400, &[(u, "NoSchedule", 40), ("x", "NoSchedule", 1)]),
                None,
                430,
                vec![("x", "NoSchedule", 1)],
                None,
            ),
        ] {
            let v = judge(&c, silent.map(at), &timers, at(now));
            let got: Vec<_> = v
                .taints
                .iter()
                .map(|t| {
                    (
                        t.key.as_str(),
                        t.effect.as_str(),
                        t.time_added.as_ref().unwrap().0.as_second(),
                    )
                })
                .collect();
            assert_eq!((got, v.again), (taints, again.map(at)), "at {now}");
        }
    }
}
