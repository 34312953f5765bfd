//! Lines for Open Cluster Management's Placements.

use std::collections::{BTreeMap, BTreeSet};

use cfn_api::ocm::cluster::ManagedCluster;
use cfn_api::ocm::placement::Placement;
use serde_json::{Map, Value, json};

use super::Options;
use super::world::{Choice, Work, World};
use crate::engine::ocm::{self, Code, View};

/// Decides a Placement. Sets count where the world has any.
fn decide(
    world: &World,
    managed: &[ManagedCluster],
    placement: &Placement,
    options: &Options,
) -> Result<(ocm::Choice, Vec<ocm::Group>), String> {
    let clusters: Vec<&ManagedCluster> = if world.sets.is_empty() && world.set_bindings.is_empty() {
        managed
            .iter()
            .filter(|c| c.metadata.deletion_timestamp.is_none())
            .collect()
    } else {
        let eligible = ocm::eligible(placement, &world.sets, &world.set_bindings, managed);
        eligible.map_err(|e| e.to_string())?.clusters
    };
    let view = View {
        decisions: world.decisions.iter().collect(),
        now: options.now,
        ..View::of(clusters).with_scores(&world.scores)
    };
    let mut choice = ocm::choose(&view, placement);
    let strategy = &placement.spec.decision_strategy.group_strategy;
    let groups = ocm::decision_groups(&view, strategy, &choice).unwrap_or_else(|status| {
        choice.decisions.clear();
        choice.status = status;
        Vec::new()
    });
    Ok((choice, groups))
}

/// The choice of the Placement of this namespace and name.
pub(super) fn named(
    world: &World,
    work: &Work,
    (namespace, name): &(Option<String>, String),
    options: &Options,
) -> Result<ocm::Choice, String> {
    let is = |p: &&(usize, Choice)| {
        let m = &p.1.placement.metadata;
        m.namespace == *namespace && m.name.as_ref() == Some(name)
    };
    let shown = format!("{}/{name}", namespace.as_deref().unwrap_or_default());
    let Some((_, found)) = work.placements.iter().find(is) else {
        return Err(format!("placement {shown} not found"));
    };
    if let Some(why) = &found.refused {
        return Err(format!("placement {shown}: {why}"));
    }
    let (choice, _) = decide(world, &world.managed_clusters(), &found.placement, options)?;
    if choice.status.code >= Code::Error {
        return Err(format!("placement {shown}: {}", choice.status.message));
    }
    Ok(choice)
}

fn explain(clusters: &[ManagedCluster], choice: &ocm::Choice) -> Value {
    let passed: Vec<BTreeSet<&str>> = choice
        .filters
        .iter()
        .map(|f| f.clusters.iter().map(String::as_str).collect())
        .collect();
    let chosen: BTreeSet<&str> = choice.decisions.iter().map(String::as_str).collect();
    let one = |c: &ManagedCluster| {
        let name = c.metadata.name.as_deref().unwrap_or_default();
        let mut out = Map::new();
        out.insert("cluster".into(), name.into());
        if let Some(at) = passed.iter().position(|p| !p.contains(name)) {
            let plugin = choice.filters[at].name.rsplit(',').next().unwrap_or_default();
            let why = if plugin == "Predicate" {
                "no predicate matches, or it is in no eligible set".to_owned()
            } else {
                let taints: Vec<String> = c
                    .spec
                    .taints
                    .iter()
                    .map(|t| format!("{}={}:{}", t.key, t.value, t.effect))
                    .collect();
                format!("untolerated among the taints {}", taints.join(", "))
            };
            out.insert("filtered".into(), format!("{plugin}: {why}").into());
        } else {
            let scores: BTreeMap<&str, i64> = choice
                .prioritizers
                .iter()
                .filter_map(|p| Some((p.name.as_str(), *p.scores.get(name)?)))
                .collect();
            out.insert("scores".into(), json!(scores));
            out.insert("sum".into(), choice.sum.get(name).copied().into());
            out.insert("chosen".into(), chosen.contains(name).into());
        }
        Value::Object(out)
    };
    clusters.iter().map(one).collect()
}

/// The line of one Placement.
pub(super) fn line(world: &World, managed: &[ManagedCluster], item: &Choice, options: &Options) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("id".into(), item.id.clone());
    let decided = match &item.refused {
        Some(why) => Err(why.clone()),
        None => decide(world, managed, &item.placement, options),
    };
    let (choice, groups) = match decided {
        Ok(d) => d,
        Err(why) => {
            out.insert("error".into(), "error".into());
            out.insert("message".into(), why.into());
            return out;
        }
    };
    let filters: Vec<Value> = choice
        .filters
        .iter()
        .map(|f| json!({"name": f.name, "filteredClusters": f.clusters}))
        .collect();
    let prioritizers: Vec<Value> = choice
        .prioritizers
        .iter()
        .map(|p| json!({"name": p.name, "weight": p.weight, "scores": p.scores}))
        .collect();
    out.insert("decisions".into(), json!(choice.decisions));
    out.insert("sum".into(), json!(choice.sum));
    out.insert("filters".into(), filters.into());
    out.insert("prioritizers".into(), prioritizers.into());
    out.insert("unscheduled".into(), choice.unscheduled.into());
    out.insert("status".into(), (choice.status.code as u8).to_string().into());
    if !choice.status.message.is_empty() {
        out.insert("message".into(), choice.status.message.clone().into());
    }
    let strategy = &item.placement.spec.decision_strategy.group_strategy;
    if groups.len() > 1 || !strategy.decision_groups.is_empty() {
        let list: Vec<Value> = groups
            .iter()
            .map(|g| json!({"name": g.name, "clusters": g.clusters}))
            .collect();
        out.insert("decisionGroups".into(), list.into());
    }
    if options.explain {
        out.insert("explanation".into(), explain(managed, &choice));
    }
    out
}

/// A line for each Placement, with its place.
pub(super) fn lines(world: &World, work: &Work, options: &Options) -> Vec<(usize, String)> {
    if work.placements.is_empty() {
        return Vec::new();
    }
    let managed = world.managed_clusters();
    let one = |(at, item): &(usize, Choice)| (*at, Value::Object(line(world, &managed, item, options)).to_string());
    work.placements.iter().map(one).collect()
}
