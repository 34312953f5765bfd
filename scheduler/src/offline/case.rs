//! Cases: each a decision with its own clusters.

use std::collections::BTreeMap;

use cfn_api::ocm::cluster::{AddOnPlacementScore, AddOnPlacementScoreStatus, AddOnScore};
use cfn_api::ocm::placement::Placement;
use jiff::Timestamp;
use serde_json::Value;

use super::document::{documents, read, read_object, take};
use super::karmada::{self, Item};
use super::world::{Work, World, case_choice, decision, read_names};
use super::{Format, OfflineError, Options, Output, ocm};

/// `--cases FILE`: each case has its own fleet.
///
/// # Errors
/// When the file cannot be used; then nothing was decided.
pub fn cases(bytes: &[u8], options: &Options) -> Result<Output, OfflineError> {
    let mut out = Output::default();
    let docs = documents(bytes)?;
    if docs.is_empty() {
        return Err(OfflineError::Nothing("case"));
    }
    for (at, doc) in docs.into_iter().enumerate() {
        out.lines.push(case(doc, at, options, &mut out.warnings)?);
    }
    Ok(out)
}

fn case(mut doc: Value, at: usize, options: &Options, warnings: &mut Vec<String>) -> Result<String, OfflineError> {
    let shape = |path: &str, what: &'static str, error: &str| OfflineError::Shape {
        at: at + 1,
        path: path.to_owned(),
        what,
        error: error.to_owned(),
    };
    if !doc.is_object() {
        return Err(shape(
            "the whole",
            "a case {id, clusters, spec} or {id, clusters, placement}",
            "not an object",
        ));
    }
    if doc.get("clusters").is_some_and(|c| !c.is_array()) {
        return Err(shape("clusters", "a list of clusters", "not a list"));
    }
    let id = doc.get("id").cloned().unwrap_or_else(|| at.into());
    let is_ocm = match (doc.get("placement").is_some(), doc.get("spec").is_some()) {
        (true, false) => true,
        (false, true) => false,
        (true, true) => options.format == Some(Format::Ocm),
        (false, false) => return Err(shape("spec", "a binding's spec, or a placement", "missing field")),
    };
    let format = Some(if is_ocm { Format::Ocm } else { Format::Karmada });
    let clusters = take(&mut doc, "clusters");
    let mut world = World::of(clusters, at, format)?;
    let text = |w: &mut String| w.insert_str(0, &format!("document {}: ", at + 1));
    world.warnings.iter_mut().for_each(text);
    warnings.append(&mut world.warnings);
    let mut options = options.clone();
    if let Some(now) = doc.get_mut("now").map(Value::take) {
        let now: String = read(now, at, "now", "a time (RFC 3339)")?;
        let parsed: Result<Timestamp, _> = now.parse();
        options.now = Some(parsed.map_err(|e| shape("now", "a time (RFC 3339)", &e.to_string()))?);
    }
    let mut field = |name: &str| doc.get_mut(name).map(Value::take).unwrap_or_default();
    if is_ocm {
        let choice = case_choice(id, field("placement"), at)?;
        let meta = &choice.placement.metadata;
        world.scores = scores(field("scores"), &choice.placement, at)?;
        let previous = field("previous");
        if !previous.is_null() {
            let names = read_names(previous, at, "previous")?;
            let owner = meta.name.as_deref().unwrap_or_default();
            let name = format!("{owner}-decision-1");
            world
                .decisions
                .push(decision(meta.namespace.clone(), &name, Some(owner), names));
        }
        let others = field("otherDecisions");
        if !others.is_null() {
            let others: BTreeMap<String, Value> = read(others, at, "otherDecisions", "clusters by decision")?;
            for (name, clusters) in others {
                let names = read_names(clusters, at, &format!("otherDecisions.{name}"))?;
                world
                    .decisions
                    .push(decision(meta.namespace.clone(), &name, None, names));
            }
        }
        let managed = world.managed_clusters();
        return Ok(Value::Object(ocm::line(&world, &managed, &choice, &options)).to_string());
    }
    let metrics = field("metrics");
    if !metrics.is_null() {
        let list: Vec<Value> = read(metrics, at, "metrics", "a list of ComputingMetrics")?;
        for (i, m) in list.into_iter().enumerate() {
            world
                .metrics
                .push(read_object(m, at, &format!("metrics[{i}]"), "a ComputingMetric")?);
        }
    }
    let mut item = Item::of_spec(id, field("spec"), at, "spec")?;
    let (status, policy) = (field("status"), field("policy"));
    if status.is_object() {
        item.status = Some(read(status, at, "status", "a binding's status")?);
    }
    if policy.is_object() {
        item.policy = Some(read(policy, at, "policy", "a ComputingPolicy's spec")?);
    }
    let work = Work {
        bindings: vec![(0, item)],
        ..Work::default()
    };
    let fleet = world.fleet(&work);
    let (_, item) = &work.bindings[0];
    let decided = item.decide(&fleet, &world, &work, &options);
    Ok(Value::Object(karmada::line(item, &decided, options.explain)).to_string())
}

/// Scores: objects, or values by cluster, which then count for every add-on score that the Placement speaks of.
fn scores(v: Value, placement: &Placement, at: usize) -> Result<Vec<AddOnPlacementScore>, OfflineError> {
    match v {
        Value::Array(list) => list
            .into_iter()
            .enumerate()
            .map(|(i, s)| read_object(s, at, &format!("scores[{i}]"), "an AddOnPlacementScore"))
            .collect(),
        Value::Null => Ok(Vec::new()),
        other => {
            let values: BTreeMap<String, i32> = read(other, at, "scores", "a score by cluster")?;
            let configured = &placement.spec.prioritizer_policy.configurations;
            let mut by_resource: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
            for a in configured
                .iter()
                .filter_map(|c| c.score_coordinate.as_ref()?.add_on.as_ref())
            {
                by_resource.entry(&a.resource_name).or_default().push(&a.score_name);
            }
            let mut out = Vec::new();
            for (resource, names) in by_resource {
                for (cluster, value) in &values {
                    let mut s = AddOnPlacementScore::default();
                    s.metadata.name = Some(resource.to_owned());
                    s.metadata.namespace = Some(cluster.clone());
                    let score = |name: &&str| AddOnScore {
                        name: (*name).to_owned(),
                        value: *value,
                    };
                    s.status = Some(AddOnPlacementScoreStatus {
                        scores: names.iter().map(score).collect(),
                        ..AddOnPlacementScoreStatus::default()
                    });
                    out.push(s);
                }
            }
            Ok(out)
        }
    }
}
