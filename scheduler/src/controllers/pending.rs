//! Assume and deduct: room that a decision has given away counts as taken before the cluster reports it, so that
//! decisions made at the same time never give the same room away twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cfn_api::karmada::work::TargetCluster;
use serde_json::Value;
use tokio::time::Instant;

use super::hub::{Binding, Hub, Key, Pending, State, work};
use crate::engine::quantity::Amount;

/// After its replicas are there, a cluster's summary has them within this time.
const REPORTED: Duration = Duration::from_secs(1);
/// Replicas that do not come within this time do not come.
const GIVEN_UP: Duration = Duration::from_secs(30);

/// Lets go of room that the clusters must have reported by now.
pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "release",
        |h| &h.release,
        |hub, cluster| async move {
            let mut state = hub.state();
            state.release(&cluster, |p| {
                let age = Instant::now().saturating_duration_since(p.since);
                age >= GIVEN_UP || (p.shown && age >= REPORTED)
            });
            if state.pending.get(&cluster).is_some_and(|m| !m.is_empty()) {
                hub.release.add_after(cluster, REPORTED);
            }
            Ok(())
        },
    )
    .await;
}

/// What replicas of a binding need; of a workload of several templates: so many whole sets.
fn amounts(b: &Binding, replicas: i64) -> BTreeMap<String, Amount> {
    if !b.spec.components.is_empty() {
        let mut all: BTreeMap<String, Amount> = BTreeMap::new();
        for c in &b.spec.components {
            let n = replicas.saturating_mul(i64::from(c.replicas));
            let requests = c.replica_requirements.iter().flat_map(|r| &r.resource_request);
            let needs = requests.filter_map(|(k, q)| Some((k.clone(), Amount::parse(q)?.times(n))));
            for (k, a) in needs.chain([("pods".to_owned(), Amount::whole(n))]) {
                let sum = all.entry(k).or_default();
                *sum = *sum + a;
            }
        }
        return all;
    }
    let requests = b.spec.replica_requirements.iter().flat_map(|r| &r.resource_request);
    let mut all: BTreeMap<String, Amount> = requests
        .filter_map(|(k, q)| Some((k.clone(), Amount::parse(q)?.times(replicas))))
        .collect();
    all.insert("pods".to_owned(), Amount::whole(replicas));
    all
}

/// Replicas, or whole sets of components, that a cluster is to get.
fn wanted(b: &Binding, t: &TargetCluster) -> i64 {
    if b.spec.components.is_empty() {
        i64::from(t.replicas)
    } else {
        1
    }
}

impl State {
    /// Replicas of a binding that `cluster` says it has; of several templates: a set when the workload is healthy.
    fn shown(&self, b: &Binding, cluster: &str) -> i64 {
        let keys = self.works_of.get(b.permanent_id()).into_iter().flatten();
        let work = keys
            .filter(|k| super::status::execution_cluster(&k.ns) == Some(cluster))
            .find_map(|k| self.works.get(k));
        let told = work.and_then(|w| w.status.as_ref()?.manifest_statuses.first());
        if !b.spec.components.is_empty() {
            return i64::from(told.is_some_and(|m| m.health.as_deref() == Some("Healthy")));
        }
        let reported = told
            .and_then(|m| m.status.as_ref())
            .and_then(|s| s.get("replicas").or_else(|| s.get("active")))
            .and_then(Value::as_i64);
        reported.unwrap_or(0)
    }

    /// Remembers a decision until the caches show it, and takes its room.
    pub(super) fn assume(&mut self, b: &Binding, targets: &[TargetCluster]) {
        let key = b.key();
        if targets == b.spec.clusters {
            self.assumed.remove(&key);
        } else {
            self.assumed
                .insert(key.clone(), (b.meta.resource_version.clone(), targets.to_vec()));
        }
        self.expect(b, targets);
    }

    /// Takes the room of what of a binding is on its way to its clusters.
    pub(super) fn expect(&mut self, b: &Binding, targets: &[TargetCluster]) {
        let key = b.key();
        let left: Vec<String> = self
            .pending_on
            .get(&key)
            .into_iter()
            .flatten()
            .filter(|c| targets.iter().all(|t| t.name != **c))
            .cloned()
            .collect();
        for cluster in left {
            self.release_one(&cluster, &key);
        }
        for t in targets.iter().filter(|t| wanted(b, t) > 0) {
            let missing = wanted(b, t) - self.shown(b, &t.name);
            let old = self.pending.get(&t.name).and_then(|m| m.get(&key)).cloned();
            if missing <= 0 {
                // They are there: the cluster's next report has them, and until then they count here.
                if let Some(p) = self.pending.get_mut(&t.name).and_then(|m| m.get_mut(&key))
                    && !p.shown
                {
                    p.shown = true;
                    p.since = Instant::now();
                }
                continue;
            }
            let amounts = amounts(b, missing);
            if old.as_ref().is_some_and(|p| p.amounts == amounts) {
                continue;
            }
            self.fleet.promise(&t.name, &key.to_string(), amounts.clone());
            let p = Pending {
                amounts,
                shown: false,
                since: old.map_or_else(Instant::now, |p| p.since),
            };
            self.pending.entry(t.name.clone()).or_default().insert(key.clone(), p);
            self.pending_on.entry(key.clone()).or_default().insert(t.name.clone());
        }
    }

    fn release_one(&mut self, cluster: &str, key: &Key) {
        if self.pending.get_mut(cluster).and_then(|m| m.remove(key)).is_some() {
            self.fleet.forget(cluster, &key.to_string());
        }
        if let Some(on) = self.pending_on.get_mut(key) {
            on.remove(cluster);
            if on.is_empty() {
                self.pending_on.remove(key);
            }
        }
    }

    /// Gives room back.
    pub(super) fn release(&mut self, cluster: &str, which: impl Fn(&Pending) -> bool) {
        let Some(all) = self.pending.get(cluster) else { return };
        let gone: Vec<Key> = all.iter().filter(|(_, p)| which(p)).map(|(k, _)| k.clone()).collect();
        for key in gone {
            self.release_one(cluster, &key);
        }
    }

    /// A member's summary is new: what it must show by now counts no longer.
    pub(super) fn reported(&mut self, cluster: &str) {
        self.release(cluster, |p| p.shown);
    }
}

impl Hub {
    /// Looks at the pending room of a binding's clusters again, when it must have been reported.
    pub(super) fn release_later(&self, clusters: &[TargetCluster]) {
        for t in clusters.iter().filter(|t| t.replicas > 0 || !t.components.is_empty()) {
            self.release.add_after(t.name.clone(), REPORTED);
        }
    }
}
