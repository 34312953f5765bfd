//! Kinds that the controllers were not built for: the declarative rules of ResourceInterpreterCustomization. Pure.

use std::collections::BTreeMap;

use cfn_api::karmada::config::{
    AggregationRule, ComponentRule, CustomizationRules, DependencyRule, ReplicaRule,
    ResourceInterpreterCustomizationSpec, RevisionRule,
};
use cfn_api::karmada::work::{AggregatedStatusItem, Component, ReplicaRequirements};
use serde_json::{Map, Value};

use super::hub::Gvk;
use super::interpret;

/// What is known of one kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct KindRules {
    pub replicas: Option<ReplicaRule>,
    pub revision: Option<RevisionRule>,
    pub aggregation: Option<AggregationRule>,
    pub dependencies: Option<DependencyRule>,
}

/// The rules of all customizations: of several for a kind, the first by name has the word for each operation.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    customizations: BTreeMap<String, ResourceInterpreterCustomizationSpec>,
    kinds: BTreeMap<Gvk, KindRules>,
}

impl Rules {
    pub(super) fn get(&self, gvk: &Gvk) -> Option<&KindRules> {
        self.kinds.get(gvk)
    }

    /// Takes a customization in (or, `None`, out); returns the kinds that it is about.
    pub(super) fn set(&mut self, name: &str, spec: Option<ResourceInterpreterCustomizationSpec>) -> Vec<Gvk> {
        let of = |s: &ResourceInterpreterCustomizationSpec| Gvk {
            api_version: s.target.api_version.clone(),
            kind: s.target.kind.clone(),
        };
        let mut changed: Vec<Gvk> = spec.iter().map(of).collect();
        let old = match spec {
            Some(s) => self.customizations.insert(name.to_owned(), s),
            None => self.customizations.remove(name),
        };
        changed.extend(old.iter().map(of));
        changed.sort();
        changed.dedup();
        self.kinds.clear();
        for s in self.customizations.values() {
            let kind = self.kinds.entry(of(s)).or_default();
            let CustomizationRules {
                replica_resource,
                replica_revision,
                status_aggregation,
                dependency_interpretation,
                ..
            } = s.customizations.clone();
            kind.replicas = kind.replicas.take().or(replica_resource.and_then(|o| o.rule));
            kind.revision = kind.revision.take().or(replica_revision.and_then(|o| o.rule));
            kind.aggregation = kind.aggregation.take().or(status_aggregation.and_then(|o| o.rule));
            kind.dependencies = kind
                .dependencies
                .take()
                .or(dependency_interpretation.and_then(|o| o.rule));
        }
        changed
    }
}

/// Replicas of a template and what one needs.
pub(super) fn replicas(rule: &ReplicaRule, object: &Value) -> (i32, Option<ReplicaRequirements>) {
    if rule.replicas.is_empty() {
        return (0, None);
    }
    let n = object.pointer(&rule.replicas).and_then(Value::as_i64).unwrap_or(1);
    let pod = rule.pod.as_deref().and_then(|p| object.pointer(p));
    (
        i32::try_from(n).unwrap_or(i32::MAX),
        pod.and_then(interpret::requirements),
    )
}

/// The templates of a workload that has several.
pub(super) fn components(rule: &ReplicaRule, object: &Value) -> Vec<Component> {
    let one = |c: &ComponentRule| {
        let n = object.pointer(&c.replicas).and_then(Value::as_i64).unwrap_or(1);
        let pod = c.pod.as_deref().and_then(|p| object.pointer(p));
        Component {
            name: c.name.clone(),
            replicas: i32::try_from(n).unwrap_or(i32::MAX),
            replica_requirements: pod.and_then(interpret::requirements),
        }
    };
    rule.components.iter().map(one).collect()
}

/// Writes a member's replicas into a manifest, making the objects on the way.
pub(super) fn revise(rule: &RevisionRule, manifest: &mut Value, replicas: i32) {
    let mut at = manifest;
    for part in rule.replicas.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !at.is_object() && !at.is_null() {
            return;
        }
        at = &mut at[part];
    }
    *at = replicas.into();
}

/// The template's status from the members'; `None` while no member has told one.
pub(super) fn aggregate(rule: &AggregationRule, template: &Value, items: &[AggregatedStatusItem]) -> Option<Value> {
    let statuses: Vec<&Value> = items.iter().filter_map(|i| i.status.as_ref()).collect();
    if statuses.is_empty() {
        return None;
    }
    let mut status = template
        .get("status")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_else(Map::new);
    let numbers = |f: &String| -> Vec<i64> {
        let of = |s: &&Value| s.get(f.as_str()).and_then(Value::as_i64);
        statuses.iter().filter_map(of).collect()
    };
    for f in &rule.sum {
        status.insert(f.clone(), numbers(f).iter().sum::<i64>().into());
    }
    for (fields, pick) in [
        (&rule.max, (|n| n.into_iter().max()) as fn(Vec<i64>) -> Option<i64>),
        (&rule.min, |n| n.into_iter().min()),
    ] {
        for f in fields {
            if let Some(n) = pick(numbers(f)) {
                status.insert(f.clone(), n.into());
            }
        }
    }
    Some(Value::Object(status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_read_and_write_a_kind_of_ones_own() {
        let spec: ResourceInterpreterCustomizationSpec = serde_json::from_value(json!({
        "target": {"apiVersion": "workload.example.io/v1alpha1", "kind": "Workload"},
        "customizations": {
            "replicaResource": {"rule": {"replicas": "/spec/size", "pod": "/spec/pod/spec"}},
            "replicaRevision": {"rule": {"replicas": "/spec/size"}},
            "statusAggregation": {"rule": {"sum": ["ready"], "max": ["generation"]}},
            "retention": {"luaScript": "function Retain(d, o) return d end"},
        }}))
        .unwrap();
        let mut rules = Rules::default();
        let gvk = Gvk {
            api_version: "workload.example.io/v1alpha1".into(),
            kind: "Workload".into(),
        };
        assert_eq!(rules.set("a", Some(spec)), vec![gvk.clone()]);
        let kind = rules.get(&gvk).unwrap().clone();
        let mut object = json!({"spec": {"size": 7, "pod": {"spec": {"containers": [{"name": "c",
            "resources": {"requests": {"cpu": "1"}}}]}}}});
        let (n, needs) = replicas(&kind.replicas.unwrap(), &object);
        assert_eq!((n, needs.unwrap().resource_request["cpu"].0.as_str()), (7, "1"));
        revise(&kind.revision.unwrap(), &mut object, 3);
        assert_eq!(object["spec"]["size"], 3);
        let item = |ready, generation| AggregatedStatusItem {
            status: Some(json!({"ready": ready, "generation": generation})),
            ..Default::default()
        };
        let status = aggregate(&kind.aggregation.unwrap(), &object, &[item(2, 4), item(1, 9)]);
        assert_eq!(status, Some(json!({"ready": 3, "generation": 9})));
        assert_eq!(rules.set("a", None), vec![gvk.clone()]);
        assert_eq!(rules.get(&gvk), None);
    }
}
