//! Open Cluster Management's Placements on the hub: each gets its PlacementDecisions and conditions (upstream's
//! `pkg/placement/controllers/scheduling`). Clusters that only Karmada's registry knows can be chosen too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use cfn_api::conditions;
use cfn_api::ocm::PLACEMENT_LABEL;
use cfn_api::ocm::cluster::{AddOnPlacementScore, ManagedCluster};
use cfn_api::ocm::placement::{Placement, PlacementDecision, PlacementStatus};
use cfn_api::ocm::set::{ManagedClusterSet, ManagedClusterSetBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Api, ApiResource, DeleteParams, PostParams};
use serde_json::json;

use super::diff::merge_diff;
use super::hub::{Binding, Hub, Key, State, gone, until, work};
use super::watches::{optional, stale};
use crate::engine::ocm::{self, Code, Counts, View, as_managed};

/// Changes within this time are one look at every Placement.
const COALESCE: Duration = Duration::from_millis(5);

/// What the hub has of Open Cluster Management.
#[derive(Default)]
pub(super) struct Ocm {
    clusters: BTreeMap<String, ManagedCluster>,
    sets: BTreeMap<String, ManagedClusterSet>,
    bindings: BTreeMap<Key, ManagedClusterSetBinding>,
    placements: BTreeMap<Key, Placement>,
    decisions: BTreeMap<Key, PlacementDecision>,
    scores: BTreeMap<Key, AddOnPlacementScore>,
}

impl Ocm {
    /// The clusters that a Placement has by its decisions; `None` while it has none.
    fn chosen(&self, placement: &Key) -> Option<Vec<String>> {
        let mine: Vec<&PlacementDecision> = self
            .decisions
            .values()
            .filter(|d| owner(d).as_ref() == Some(placement))
            .collect();
        let of = |d: &PlacementDecision| {
            let list = d.status.iter().flat_map(|s| &s.decisions);
            list.map(|c| c.cluster_name.clone()).collect::<Vec<_>>()
        };
        (!mine.is_empty()).then(|| mine.into_iter().flat_map(of).collect())
    }
}

/// The Placement that narrows a binding's clusters: named by an annotation of the binding or of its policy.
fn narrowed_by(state: &State, b: &Binding) -> Option<Key> {
    let named = |m: &ObjectMeta| m.annotations.as_ref()?.get(PLACEMENT_LABEL).cloned();
    let name = named(&b.meta).or_else(|| named(&state.policy_of(b)?.meta))?;
    Some(Key::new(b.meta.namespace.as_deref()?, &name))
}

/// The clusters that a Placement leaves to a binding. A Placement without decisions leaves none.
pub(super) fn within(state: &State, b: &Binding) -> Option<Vec<String>> {
    let placement = narrowed_by(state, b)?;
    Some(state.ocm.chosen(&placement).unwrap_or_default())
}

/// Every Placement may be better off elsewhere now.
pub(super) fn reconsider(hub: &Hub, state: &State) {
    for key in state.ocm.placements.keys() {
        hub.placement.add_after(key.clone(), COALESCE);
    }
}

/// One cache with its watch; a change is a reason to look at the Placements again.
macro_rules! follow {
    ($hub:expr, $kind:ty, $field:ident, $key:expr) => {
        optional(
            $hub,
            Api::<$kind>::all($hub.options.client.clone()),
            |h: &Hub, o: $kind| {
                let key = $key(&Key::of(&o.metadata));
                let mut state = h.state();
                let old = state.ocm.$field.insert(key, o.clone());
                // What others write of the status (leases, versions) changes no decision by itself, but is cheap to ask.
                if old.is_none_or(|old| old != o) {
                    reconsider(h, &state);
                }
            },
            |h: &Hub, k: &Key| {
                let mut state = h.state();
                state.ocm.$field.remove(&$key(k));
                reconsider(h, &state);
            },
        )
    };
}

fn name(k: &Key) -> String {
    k.name.clone()
}

/// Starts the watches. A hub without these kinds has none of them, and nobody waits.
fn start(hub: &Arc<Hub>) {
    follow!(hub, ManagedCluster, clusters, name);
    follow!(hub, ManagedClusterSet, sets, name);
    follow!(hub, ManagedClusterSetBinding, bindings, Key::clone);
    follow!(hub, AddOnPlacementScore, scores, Key::clone);
    optional(
        hub,
        Api::<PlacementDecision>::all(hub.options.client.clone()),
        |h: &Hub, d: PlacementDecision| h.saw_decision(d),
        |h: &Hub, k: &Key| {
            let mut state = h.state();
            let gone = state.ocm.decisions.remove(k);
            if let Some(owner) = gone.as_ref().and_then(owner) {
                h.placement.add(owner);
            }
        },
    );
    optional(
        hub,
        Api::<Placement>::all(hub.options.client.clone()),
        |h: &Hub, p: Placement| {
            let key = Key::of(&p.metadata);
            let mut state = h.state();
            let old = state.ocm.placements.get(&key);
            if stale(old.map(|o| &o.metadata), &p.metadata) {
                return;
            }
            let news = old.is_none_or(|o| o.spec != p.spec || o.metadata.labels != p.metadata.labels);
            state.ocm.placements.insert(key.clone(), p);
            if news {
                h.placement.add(key);
            }
        },
        |h: &Hub, k: &Key| {
            h.state().ocm.placements.remove(k);
            h.placement.add(k.clone());
        },
    );
}

/// The Placement that a decision is of.
fn owner(d: &PlacementDecision) -> Option<Key> {
    let label = d.metadata.labels.as_ref()?.get(PLACEMENT_LABEL)?;
    Some(Key::new(d.metadata.namespace.as_deref()?, label))
}

impl Hub {
    fn saw_decision(&self, d: PlacementDecision) {
        let key = Key::of(&d.metadata);
        let mut state = self.state();
        let old = state.ocm.decisions.get(&key);
        if stale(old.map(|o| &o.metadata), &d.metadata) {
            return;
        }
        let news = old.is_none_or(|o| o.status != d.status);
        let placement = owner(&d);
        state.ocm.decisions.insert(key, d);
        for (k, b) in state.bindings.iter().filter(|_| news) {
            if narrowed_by(&state, b) == placement && placement.is_some() {
                self.schedule.add(k.clone());
            }
        }
    }
}

pub(super) async fn run(hub: Arc<Hub>) {
    start(&hub);
    work(
        &hub,
        "placement",
        |h| &h.placement,
        |hub, key| async move { reconcile(&hub, &key).await },
    )
    .await;
}

/// What is to be written for a Placement.
struct Answer {
    placement: Placement,
    decisions: Vec<PlacementDecision>,
    status: PlacementStatus,
    wait: Option<Duration>,
}

fn answer(hub: &Hub, key: &Key) -> Option<Answer> {
    let state = hub.state();
    let o = &state.ocm;
    let placement = o.placements.get(key)?.clone();
    if placement.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let karmadas = state.clusters.iter().filter(|(n, _)| !o.clusters.contains_key(*n));
    let managed: Vec<ManagedCluster> = o
        .clusters
        .values()
        .cloned()
        .chain(karmadas.map(|(_, c)| as_managed(c)))
        .collect();
    let sets: Vec<ManagedClusterSet> = o.sets.values().cloned().collect();
    let bindings: Vec<ManagedClusterSetBinding> = o.bindings.values().cloned().collect();
    let now = hub.now();
    let mut placement_read = placement.clone();
    for c in &mut placement_read.spec.prioritizer_policy.configurations {
        // As the API server's default has it.
        c.weight.get_or_insert(1);
    }
    let (choice, groups, eligible_sets, bound, available) =
        match ocm::eligible(&placement_read, &sets, &bindings, &managed) {
            Err(e) => {
                let mut choice = ocm::Choice::default();
                choice.status.code = Code::Misconfigured;
                choice.status.message = e.to_string();
                (choice, Vec::new(), Vec::new(), 0, 0)
            }
            Ok(e) => {
                let available = e.clusters.len();
                let view = View {
                    decisions: o.decisions.values().collect(),
                    now: Some(now),
                    ..View::of(e.clusters).with_scores(o.scores.values())
                };
                let mut choice = ocm::choose(&view, &placement_read);
                let strategy = &placement_read.spec.decision_strategy.group_strategy;
                let groups = ocm::decision_groups(&view, strategy, &choice).unwrap_or_else(|status| {
                    choice.decisions.clear();
                    choice.status = status;
                    Vec::new()
                });
                (choice, groups, e.sets, e.bindings, available)
            }
        };
    let counts = Counts {
        sets_in_spec: &placement.spec.cluster_sets,
        eligible_sets: &eligible_sets,
        bindings: bound,
        available,
        feasible: choice.feasible,
        unscheduled: choice.unscheduled,
    };
    let (decisions, listed) = ocm::placement_decisions(&placement, &groups);
    let mut status = placement.status.clone().unwrap_or_default();
    for (kind, value, reason, message) in ocm::conditions(&counts, &choice.status) {
        conditions::set(&mut status.conditions, kind, value, reason, &message, now);
    }
    status.number_of_selected_clusters = i32::try_from(choice.decisions.len()).unwrap_or(i32::MAX);
    status.decision_groups = listed;
    Some(Answer {
        placement,
        decisions,
        status,
        wait: choice.requeue_at.map(|at| until(now, at)),
    })
}

async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let api: Api<PlacementDecision> = Api::namespaced(hub.options.client.clone(), &key.ns);
    let Some(a) = answer(hub, key) else {
        // Its decisions go with it.
        let mine: Vec<Key> = decisions_of(hub, key);
        for k in mine {
            gone(api.delete(&k.name, &DeleteParams::background()).await)?;
        }
        return Ok(());
    };
    if let Some(wait) = a.wait {
        hub.placement.add_after(key.clone(), wait.max(Duration::from_millis(1)));
    }
    let wanted: BTreeSet<Option<&String>> = a.decisions.iter().map(|d| d.metadata.name.as_ref()).collect();
    for k in decisions_of(hub, key) {
        if !wanted.contains(&Some(&k.name)) {
            gone(api.delete(&k.name, &DeleteParams::background()).await)?;
        }
    }
    for d in a.decisions {
        put(hub, &api, &a.placement, d).await?;
    }
    let before = serde_json::to_value(a.placement.status.clone().unwrap_or_default()).unwrap_or_default();
    if let Some(p) = merge_diff(&before, &serde_json::to_value(&a.status).unwrap_or_default()) {
        let resource = ApiResource::erase::<Placement>(&());
        gone(hub.patch_status(&resource, key, &json!({"status": p})).await)?;
    }
    Ok(())
}

fn decisions_of(hub: &Hub, placement: &Key) -> Vec<Key> {
    let state = hub.state();
    let mine = state
        .ocm
        .decisions
        .iter()
        .filter(|(_, d)| owner(d).as_ref() == Some(placement));
    mine.map(|(k, _)| k.clone()).collect()
}

/// Creates a decision or brings it up to date: its labels, and its clusters, which are its status.
async fn put(
    hub: &Hub,
    api: &Api<PlacementDecision>,
    placement: &Placement,
    mut new: PlacementDecision,
) -> Result<(), kube::Error> {
    let key = Key::of(&new.metadata);
    let old = hub.state().ocm.decisions.get(&key).cloned();
    let resource = ApiResource::erase::<PlacementDecision>(&());
    let there = match old {
        Some(old) if old.metadata.labels == new.metadata.labels => old,
        Some(_) => {
            let labels = json!({"metadata": {"labels": new.metadata.labels}});
            let o = hub.patch(&resource, &key, &labels).await?;
            o.try_parse().unwrap_or_default()
        }
        None => {
            new.metadata.owner_references = Some(vec![OwnerReference {
                api_version: "cluster.open-cluster-management.io/v1beta1".into(),
                kind: "Placement".into(),
                name: placement.metadata.name.clone().unwrap_or_default(),
                uid: placement.metadata.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]);
            api.create(&PostParams::default(), &new).await?
        }
    };
    if there.status != new.status {
        let o = hub
            .patch_status(&resource, &key, &json!({"status": new.status}))
            .await?;
        if let Ok(d) = o.try_parse() {
            hub.saw_decision(d);
        }
    } else {
        hub.saw_decision(there);
    }
    Ok(())
}
