//! What if clusters were lost: every decision before, and after with the rest of the fleet.

use cfn_api::karmada::work::TargetCluster;
use serde_json::{Value, json};

use super::karmada::{Item, line, targets};
use super::world::{Work, World};
use super::{Options, ocm};
use crate::engine::Fleet;

/// Where a binding is now: as it says itself, else as it would be decided.
fn current(item: &Item, fleet: &Fleet, world: &World, work: &Work, options: &Options) -> Vec<TargetCluster> {
    if !item.spec.clusters.is_empty() {
        return item.spec.clusters.clone();
    }
    let quiet = Options {
        explain: false,
        ..options.clone()
    };
    item.decide(fleet, world, work, &quiet).result.unwrap_or_default()
}

/// A line for each decision; `before` is where it was, `moved` how many replicas are elsewhere now.
pub(super) fn lines(mut fleet: Fleet, world: &World, work: &Work, options: &Options) -> Vec<String> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let before: Vec<Vec<TargetCluster>> = work
        .bindings
        .iter()
        .map(|(_, i)| current(i, &fleet, world, work, options))
        .collect();
    let mut left = world.clone();
    for name in &options.lost {
        fleet.remove(name);
        left.clusters.retain(|c| c.metadata.name.as_ref() != Some(name));
        left.managed.retain(|c| c.metadata.name.as_ref() != Some(name));
    }
    for ((at, item), before) in work.bindings.iter().zip(before) {
        let mut after = item.clone();
        after.spec.clusters = before
            .iter()
            .filter(|t| !options.lost.contains(&t.name))
            .cloned()
            .collect();
        let decision = after.decide(&fleet, &left, work, options);
        let mut map = line(item, &decision, options.explain);
        map.insert("before".into(), targets(&before));
        if let Ok(list) = &decision.result {
            let had = |name: &str| {
                before
                    .iter()
                    .filter(|t| t.name == name)
                    .map(|t| t.replicas)
                    .sum::<i32>()
            };
            let moved: i32 = list.iter().map(|t| (t.replicas - had(&t.name)).max(0)).sum();
            map.insert("moved".into(), moved.into());
        }
        out.push((*at, Value::Object(map).to_string()));
    }
    let (whole, rest) = (world.managed_clusters(), left.managed_clusters());
    for (at, choice) in &work.placements {
        let before = ocm::line(world, &whole, choice, options);
        let mut map = ocm::line(&left, &rest, choice, options);
        let was = before.get("decisions").cloned().unwrap_or_else(|| json!([]));
        map.insert("before".into(), was);
        out.push((*at, Value::Object(map).to_string()));
    }
    out.sort_by_key(|(at, _)| *at);
    out.into_iter().map(|(_, l)| l).collect()
}
