//! What an API server and its webhooks would refuse before a scheduler sees it, with the field's path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use cfn_api::cfn::ComputingPolicy;
use cfn_api::karmada::policy::{ClusterAffinity, Placement};
use cfn_api::karmada::work::{ResourceBinding, ResourceBindingSpec};
use cfn_api::ocm::placement;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::engine::quantity::Amount;

/// Parts of Karmada's API that decide nothing here and are let pass unread.
const UNREAD: [&str; 6] = [
    "spec.components",
    "spec.schedulePriority",
    "spec.workloadAffinityGroups",
    "spec.failover",
    "spec.suspension",
    "spec.replicaRequirements",
];

fn spec_schema(crd: CustomResourceDefinition) -> Option<JSONSchemaProps> {
    let mut version = crd.spec.versions.into_iter().next()?;
    let mut properties = version.schema.take()?.open_api_v3_schema?.properties?;
    properties.remove("spec")
}

/// Kinds whose specs people write.
#[derive(Debug, Clone, Copy)]
pub(super) enum Written {
    Binding,
    OcmPlacement,
    ComputingPolicy,
}

fn schema(of: Written) -> Option<&'static JSONSchemaProps> {
    static BINDING: OnceLock<Option<JSONSchemaProps>> = OnceLock::new();
    static PLACEMENT: OnceLock<Option<JSONSchemaProps>> = OnceLock::new();
    static POLICY: OnceLock<Option<JSONSchemaProps>> = OnceLock::new();
    match of {
        Written::Binding => BINDING.get_or_init(|| spec_schema(ResourceBinding::crd())),
        Written::OcmPlacement => PLACEMENT.get_or_init(|| spec_schema(placement::Placement::crd())),
        Written::ComputingPolicy => POLICY.get_or_init(|| spec_schema(ComputingPolicy::crd())),
    }
    .as_ref()
}

/// The first field of a spec that its API does not have, in the words of strict decoding.
pub(super) fn unknown_field(spec: &Value, of: Written) -> Option<String> {
    let path = find_unknown(spec, schema(of)?, "spec")?;
    Some(format!("strict decoding error: unknown field \"{path}\""))
}

fn find_unknown(v: &Value, schema: &JSONSchemaProps, path: &str) -> Option<String> {
    if UNREAD.contains(&path) || schema.x_kubernetes_preserve_unknown_fields == Some(true) {
        return None;
    }
    match v {
        Value::Object(o) => {
            if let Some(JSONSchemaPropsOrBool::Schema(inner)) = &schema.additional_properties {
                return o
                    .iter()
                    .find_map(|(k, v)| find_unknown(v, inner, &format!("{path}.{k}")));
            }
            let properties = schema.properties.as_ref()?;
            o.iter().find_map(|(k, v)| {
                let at = format!("{path}.{k}");
                match properties.get(k) {
                    Some(inner) => find_unknown(v, inner, &at),
                    None if UNREAD.contains(&at.as_str()) => None,
                    None => Some(at),
                }
            })
        }
        Value::Array(a) => {
            let JSONSchemaPropsOrArray::Schema(inner) = schema.items.as_ref()? else {
                return None;
            };
            a.iter()
                .enumerate()
                .find_map(|(i, v)| find_unknown(v, inner, &format!("{path}[{i}]")))
        }
        _ => None,
    }
}

const QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The first of these that is no quantity.
pub(super) fn bad_quantity(map: &BTreeMap<String, Quantity>, path: &str) -> Option<String> {
    let (key, q) = map.iter().find(|(_, q)| Amount::parse(q).is_none())?;
    Some(format!("{path}.{key}: Invalid value: {:?}: {QUANTITY}", q.0))
}

/// Why Karmada's API would not take a binding's spec.
pub(super) fn binding(spec: &ResourceBindingSpec) -> Option<String> {
    if spec.replicas < 0 {
        let n = spec.replicas;
        return Some(format!(
            "spec.replicas: Invalid value: {n}: must be greater than or equal to 0"
        ));
    }
    if let Some(i) = spec.clusters.iter().position(|t| t.replicas < 0) {
        let n = spec.clusters[i].replicas;
        return Some(format!(
            "spec.clusters[{i}].replicas: Invalid value: {n}: must be greater than or equal to 0"
        ));
    }
    if let Some(r) = &spec.replica_requirements {
        let path = "spec.replicaRequirements.resourceRequest";
        if let Some(why) = bad_quantity(&r.resource_request, path) {
            return Some(why);
        }
    }
    spec.placement.as_ref().and_then(placement)
}

/// Why Karmada's webhook would not take a placement (`pkg/util/validation`).
fn placement(p: &Placement) -> Option<String> {
    let at = "spec.placement";
    if p.cluster_affinity.is_some() && !p.cluster_affinities.is_empty() {
        return Some(format!("{at}: clusterAffinities cannot co-exist with clusterAffinity"));
    }
    if let Some(why) = p
        .cluster_affinity
        .as_ref()
        .and_then(|a| affinity(a, &format!("{at}.clusterAffinity")))
    {
        return Some(why);
    }
    let mut names = BTreeSet::new();
    for (i, term) in p.cluster_affinities.iter().enumerate() {
        let at = format!("{at}.clusterAffinities[{i}]");
        if term.affinity_name.is_empty() {
            return Some(format!("{at}.affinityName: Required value"));
        }
        if !names.insert(&term.affinity_name) {
            let name = &term.affinity_name;
            return Some(format!(
                "{at}.affinityName: Invalid value: {name:?}: each affinity term in a policy must have a unique name"
            ));
        }
        if let Some(why) = affinity(&term.affinity, &at) {
            return Some(why);
        }
    }
    for (i, c) in p.spread_constraints.iter().enumerate() {
        let at = format!("{at}.spreadConstraints[{i}]");
        let given = |s: &Option<String>| s.as_ref().is_some_and(|s| !s.is_empty());
        let why = if given(&c.spread_by_field) && given(&c.spread_by_label) {
            "spreadByLabel should not co-exist with spreadByField"
        } else if c.min_groups < 0 {
            "minGroups lower than 0 is not allowed"
        } else if c.max_groups < 0 {
            "maxGroups lower than 0 is not allowed"
        } else if c.max_groups > 0 && c.max_groups < c.min_groups {
            "maxGroups lower than minGroups is not allowed"
        } else {
            continue;
        };
        return Some(format!("{at}: {why}"));
    }
    let weights = p.replica_scheduling.as_ref().and_then(|s| s.weight_preference.as_ref());
    for (i, w) in weights.iter().flat_map(|w| &w.static_weight_list).enumerate() {
        let at = format!("{at}.replicaScheduling.weightPreference.staticWeightList[{i}]");
        if w.weight < 0 {
            let n = w.weight;
            return Some(format!(
                "{at}.weight: Invalid value: {n}: should be greater than or equal to 1"
            ));
        }
        if let Some(why) = affinity(&w.target_cluster, &format!("{at}.targetCluster")) {
            return Some(why);
        }
    }
    None
}

fn affinity(a: &ClusterAffinity, at: &str) -> Option<String> {
    for (i, r) in a.field_selector.iter().flat_map(|f| &f.match_expressions).enumerate() {
        let at = format!("{at}.fieldSelector.matchExpressions[{i}]");
        if !matches!(r.key.as_str(), "provider" | "region" | "zone") {
            return Some(format!(
                "{at}.key: Unsupported value: {:?}: unsupported key, must be provider, region, or zone",
                r.key
            ));
        }
        if !matches!(r.operator.as_str(), "In" | "NotIn" | "Exists" | "DoesNotExist") {
            return Some(format!(
                "{at}.operator: Unsupported value: {:?}: must be In, NotIn, Exists or DoesNotExist",
                r.operator
            ));
        }
    }
    let selector = a.label_selector.as_ref()?;
    crate::engine::affinity::check_selector(selector)
        .err()
        .map(|why| format!("{at}.labelSelector: {why}"))
}
