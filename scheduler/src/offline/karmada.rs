//! Lines for Karmada's bindings.

use cfn_api::cfn::{ComputingPolicy, ComputingPolicySpec};
use cfn_api::karmada::work::{ResourceBindingSpec, ResourceBindingStatus, TargetCluster};
use cfn_api::ocm::PLACEMENT_LABEL;
use serde_json::{Map, Value, json};

use super::check::{self, Written};
use super::document::read;
use super::world::{Work, World};
use super::{OfflineError, Options, ocm};
use crate::engine::{Config, Decision, Explain, Fleet, Request, ScheduleError, schedule};

/// A binding to place.
#[derive(Debug, Clone)]
pub struct Item {
    /// What its line is called: a number or `namespace/name`.
    pub id: Value,
    /// The binding.
    pub spec: ResourceBindingSpec,
    /// Its status, where given.
    pub status: Option<ResourceBindingStatus>,
    /// The ComputingPolicy that applies.
    pub policy: Option<ComputingPolicySpec>,
    /// Namespace and name of the OCM Placement that chooses its clusters.
    pub(super) placement: Option<(Option<String>, String)>,
    /// Why its API would not take it.
    pub(super) refused: Option<String>,
}

impl Item {
    pub(super) fn of_spec(id: Value, spec: Value, at: usize, path: &str) -> Result<Self, OfflineError> {
        let unknown = check::unknown_field(&spec, Written::Binding);
        let spec: ResourceBindingSpec = read(spec, at, path, "a binding's spec")?;
        Ok(Self {
            refused: unknown.or_else(|| check::binding(&spec)),
            id,
            spec,
            status: None,
            policy: None,
            placement: None,
        })
    }

    pub(super) fn of_object(mut doc: Value, at: usize) -> Result<Self, OfflineError> {
        let text = |f: &str| doc["metadata"].get(f).and_then(Value::as_str).map(str::to_owned);
        let (namespace, name) = (text("namespace"), text("name"));
        let id = match (&namespace, name) {
            (Some(n), Some(name)) => format!("{n}/{name}").into(),
            (None, Some(name)) => name.into(),
            (_, None) => at.into(),
        };
        let placement = doc["metadata"]["annotations"]
            .get(PLACEMENT_LABEL)
            .and_then(Value::as_str)
            .map(|p| (namespace, p.to_owned()));
        let status = doc.get_mut("status").map(Value::take).filter(|v| !v.is_null());
        let status = status
            .map(|s| read(s, at, "status", "a binding's status"))
            .transpose()?;
        let spec = doc.get_mut("spec").map(Value::take).unwrap_or_default();
        let item = Self::of_spec(id, spec, at, "spec")?;
        Ok(Self {
            status,
            placement,
            ..item
        })
    }

    /// Finds its ComputingPolicy.
    pub(super) fn attach(&mut self, policies: &[ComputingPolicy]) {
        let r = &self.spec.resource;
        let means = |p: &&ComputingPolicy| {
            p.metadata.namespace == r.namespace
                && p.spec.target_refs.iter().any(|t| t.kind == r.kind && t.name == r.name)
        };
        self.policy = policies.iter().find(means).map(|p| p.spec.clone());
    }

    /// How the fleet knows it.
    pub(super) fn key(&self) -> String {
        self.id.as_str().map_or_else(|| self.id.to_string(), str::to_owned)
    }

    /// Decides, within what its Placement chose where it has one.
    pub(super) fn decide(&self, fleet: &Fleet, world: &World, work: &Work, options: &Options) -> Decision {
        let failed = |message: String| Decision {
            result: Err(ScheduleError::Other(message)),
            affinity: None,
            explanation: Vec::new(),
        };
        if let Some(why) = &self.refused {
            return failed(why.clone());
        }
        let within = match &self.placement {
            None => None,
            Some(named) => match ocm::named(world, work, named, options) {
                Ok(choice) => Some(choice.decisions),
                Err(why) => return failed(why),
            },
        };
        let key = self.key();
        let request = Request {
            status: self.status.as_ref(),
            policy: self.policy.as_ref(),
            within: within.as_deref(),
            ..Request::of(&key, &self.spec)
        };
        let config = Config {
            explain: if options.explain { Explain::All } else { Explain::None },
            ..Config::default()
        };
        schedule(fleet, &request, &config)
    }
}

/// Clusters and replicas, by name.
pub(super) fn targets(list: &[TargetCluster]) -> Value {
    let mut list: Vec<&TargetCluster> = list.iter().collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list.into_iter()
        .map(|t| json!({"name": t.name, "replicas": t.replicas}))
        .collect()
}

/// A decision's line.
pub(super) fn line(item: &Item, decision: &Decision, explain: bool) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("id".into(), item.id.clone());
    match &decision.result {
        Ok(list) => {
            out.insert("result".into(), targets(list));
        }
        Err(e) => {
            let class = if matches!(e, ScheduleError::Other(_)) {
                "error"
            } else {
                e.reason()
            };
            out.insert("error".into(), class.into());
            out.insert("message".into(), e.to_string().into());
        }
    }
    if explain {
        let list = serde_json::to_value(&decision.explanation).unwrap_or_default();
        out.insert("explanation".into(), list);
    }
    out
}

/// A line for each binding, with its place.
pub(super) fn lines(fleet: &Fleet, world: &World, work: &Work, options: &Options) -> Vec<(usize, String)> {
    let one = |(at, item): &(usize, Item)| {
        let decision = item.decide(fleet, world, work, options);
        (*at, Value::Object(line(item, &decision, options.explain)).to_string())
    };
    work.bindings.iter().map(one).collect()
}

/// The line that says how far the whole batch is from the best that any scheduler could do.
pub(super) fn bound(fleet: &Fleet, world: &World, work: &Work, options: &Options) -> Result<String, OfflineError> {
    let mut within = Vec::new();
    for (_, item) in work.bindings.iter().filter(|(_, i)| i.refused.is_none()) {
        let chosen = match &item.placement {
            None => None,
            Some(named) => match ocm::named(world, work, named, options) {
                Ok(choice) => Some(choice.decisions),
                Err(_) => continue,
            },
        };
        within.push((item, item.key(), chosen));
    }
    let batch: Vec<Request<'_>> = within
        .iter()
        .map(|(item, key, chosen)| Request {
            status: item.status.as_ref(),
            policy: item.policy.as_ref(),
            within: chosen.as_deref(),
            ..Request::of(key, &item.spec)
        })
        .collect();
    let b = crate::engine::bound::bound(fleet, &batch)?;
    let round = |n: f64| (n * 1000.0).round() / 1000.0;
    let mut out = json!({"wanted": b.wanted, "placed": b.placed, "possible": b.possible,
        "withinPercent": round(b.within_percent())});
    if let (Some((ours, least)), Some(percent)) = (b.latency, b.latency_within_percent()) {
        out["latency"] = json!({"milliseconds": round(ours), "least": round(least), "withinPercent": round(percent)});
    }
    Ok(json!({"bound": out}).to_string())
}
