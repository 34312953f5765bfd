//! What the kinds' strategies say of writing over their objects (`pkg/registry/*/*/strategy.go` in Kubernetes).

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::Resource;
use super::kept::identical_but_metadata;
use super::meta::{metadata, same_spec};
use crate::defaults::{self, TEMPLATE_GENERATION};
use crate::schema;

/// Kinds that a PUT may create (`AllowCreateOnUpdate`).
pub(super) fn may_create_by_update(r: &Resource) -> bool {
    r.is("coordination.k8s.io", "leases")
        || r.is("", "events")
        || r.is("events.k8s.io", "events")
        || r.is("", "endpoints")
        || r.is("", "limitranges")
        || r.is("", "services")
        || r.is("node.k8s.io", "runtimeclasses")
        || r.group == "rbac.authorization.k8s.io" && r.custom.is_none()
}

/// Kinds that may be written over without saying from what (`AllowUnconditionalUpdate`).
pub(super) fn may_be_unconditional(r: &Resource) -> bool {
    let not = match &*r.group {
        "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "apiregistration.k8s.io"
        | "coordination.k8s.io"
        | "node.k8s.io"
        | "policy" => true,
        "storage.k8s.io" => matches!(
            &*r.plural,
            "csidrivers" | "csinodes" | "csistoragecapacities" | "volumeattachments"
        ),
        "certificates.k8s.io" => matches!(&*r.plural, "clustertrustbundles" | "podcertificaterequests"),
        _ => false,
    };
    r.custom.is_none() && !not
}

/// The status that a workload has before anything happened: what its Go type writes always.
pub(super) fn first_status(r: &Resource) -> Option<Value> {
    let zero = |fields: &[&str]| Value::Object(fields.iter().map(|f| ((*f).to_owned(), 0.into())).collect());
    Some(
        if r.is("apps", "deployments") || r.is("batch", "jobs") || r.is("batch", "cronjobs") {
            zero(&[])
        } else if r.is("apps", "replicasets") || r.is("", "replicationcontrollers") {
            zero(&["replicas"])
        } else if r.is("apps", "statefulsets") {
            zero(&["replicas", "availableReplicas"])
        } else if r.is("autoscaling", "horizontalpodautoscalers") && r.version == "v2" {
            json!({"currentMetrics": null, "desiredReplicas": 0})
        } else if r.is("policy", "poddisruptionbudgets") {
            zero(&["currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"])
        } else if r.is("apps", "daemonsets") {
            zero(&[
                "currentNumberScheduled",
                "numberMisscheduled",
                "desiredNumberScheduled",
                "numberReady",
            ])
        } else if r.custom.is_some() || r.is("certificates.k8s.io", "certificatesigningrequests") {
            return None;
        } else {
            // Go writes the struct with what it must have.
            let status = r.schema().field("status")?;
            let mut first = Map::new();
            for name in status.property_names().filter(|n| status.is_required(n)) {
                let zero: Value = match status.field(name).map(|f| f.kind()) {
                    Some(schema::Type::Integer) => 0.into(),
                    Some(schema::Type::Boolean) => false.into(),
                    _ => continue,
                };
                first.insert(name.to_owned(), zero);
            }
            Value::Object(first)
        },
    )
}

/// Kinds whose status a create may bring along (their strategies do not reset it).
pub(super) fn keeps_status_on_create(r: &Resource) -> bool {
    r.is("", "nodes") || r.is("", "persistentvolumes")
}

/// Which fields a write through `sub` never owns (the strategies' `GetResetFields`).
pub(super) fn reset_fields(r: &Resource, sub: Option<&str>) -> &'static [&'static str] {
    match sub {
        None if r.is("certificates.k8s.io", "certificatesigningrequests") => &[".spec", ".status"],
        None if r.has_status() => &[".status"],
        Some("status") if status_keeps_metadata(r) => &[".spec", ".metadata"],
        Some("status") if r.is("apps", "deployments") => &[".spec", ".metadata.labels"],
        Some("status") => &[".spec"],
        _ => &[],
    }
}

/// Whether a write of a status changes nothing of the metadata (`metav1.ResetObjectMetaForStatus`).
pub(super) fn status_keeps_metadata(r: &Resource) -> bool {
    r.custom.is_some()
        || matches!(
            (&*r.group, &*r.plural),
            ("admissionregistration.k8s.io", "validatingadmissionpolicies")
                | ("apiextensions.k8s.io", "customresourcedefinitions")
                | (
                    "flowcontrol.apiserver.k8s.io",
                    "flowschemas" | "prioritylevelconfigurations"
                )
                | ("networking.k8s.io", "servicecidrs")
                | ("resource.k8s.io", "resourceclaims")
                | ("storage.k8s.io", "volumeattachments")
        )
}

/// What a write through a subresource, or beside one, leaves as it was (`PrepareForUpdate`); of a status with
/// `only_status` all of the metadata, too.
pub(super) fn keep_beside(r: &Resource, subresource: Option<&str>, only_status: bool, old: &Value, new: &mut Value) {
    match subresource {
        // Controllers in process write a status and nothing else, from objects that may be behind.
        Some("status") => {
            keep_all_but_status(r, only_status, old, new);
            super::convert::keep_told(old, new);
        }
        // pkg/registry/core/namespace: namespaceFinalizeStrategy.
        Some("finalize") => {
            let wanted = new["spec"]["finalizers"].clone();
            restore(old, new);
            match wanted {
                Value::Null => drop(new["spec"].as_object_mut().map(|m| m.remove("finalizers"))),
                wanted => new["spec"]["finalizers"] = wanted,
            }
        }
        // Only the conditions: pkg/registry/certificates/certificates csrApprovalStrategy.
        Some("approval") => {
            let conditions = new["status"]["conditions"].clone();
            restore(old, new);
            if !conditions.is_null() {
                new["status"]["conditions"] = conditions;
            }
        }
        // pkg/registry/core/pod: dropNonEphemeralContainerUpdates.
        Some("ephemeralcontainers") => {
            let wanted = new["spec"]["ephemeralContainers"].clone();
            let uid = new["metadata"]["uid"].clone();
            *new = old.clone();
            new["metadata"]["uid"] = uid;
            new["spec"]["ephemeralContainers"] = wanted;
        }
        Some("resize") | None if r.has_status() => match old.get("status") {
            Some(s) => new["status"] = s.clone(),
            None => drop(new.as_object_mut().map(|m| m.remove("status"))),
        },
        _ => {}
    }
}

/// A write to `status` changes the status; of the metadata what the kind's status strategy lets through.
fn keep_all_but_status(r: &Resource, only_status: bool, old: &Value, new: &mut Value) {
    // Custom resources and some others keep all of their metadata; most built-in kinds let labels, annotations and
    // finalizers pass.
    // Definitions' strategy resets their metadata to what they are already.
    let definition = r.is("apiextensions.k8s.io", "customresourcedefinitions");
    let passes = (!status_keeps_metadata(r) || definition) && !only_status;
    let (Some(fields), Some(kept)) = (new.as_object_mut(), old.as_object()) else {
        return;
    };
    fields.retain(|k, _| k == "status" || kept.contains_key(k));
    for (k, v) in kept.iter().filter(|(k, _)| *k != "status") {
        match fields.get_mut(k) {
            Some(Value::Object(m)) if k == "metadata" && passes => {
                if r.is("apps", "deployments") {
                    match v.get("labels") {
                        Some(v) => drop(m.insert("labels".into(), v.clone())),
                        None => drop(m.remove("labels")),
                    }
                }
                if !r.is("", "nodes") {
                    match v.get("ownerReferences") {
                        Some(v) => drop(m.insert("ownerReferences".into(), v.clone())),
                        None => drop(m.remove("ownerReferences")),
                    }
                }
            }
            Some(Value::Object(m)) if k == "metadata" => {
                let (managed, uid) = (m.remove("managedFields"), m.remove("uid"));
                let others = v.as_object().into_iter().flatten();
                *m = others
                    .filter(|(k, _)| managed.is_none() || *k != "managedFields")
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                if let Some(managed) = managed {
                    m.insert("managedFields".into(), managed);
                }
                // Another one is for validation to refuse.
                if let Some(uid) = uid {
                    m.insert("uid".into(), uid);
                }
            }
            // Mostly it is what it was: to look is cheaper than to write.
            Some(there) if there == v => {}
            _ => drop(fields.insert(k.clone(), v.clone())),
        }
    }
}

/// Makes all but the metadata as it was.
fn restore(old: &Value, new: &mut Value) {
    let meta = new["metadata"].take();
    *new = old.clone();
    new["metadata"] = meta;
}

/// Kinds that count what is sent, before what features that are off would bring is taken out.
pub(super) fn counts_what_is_sent(r: &Resource) -> bool {
    r.is("discovery.k8s.io", "endpointslices") || r.is("resource.k8s.io", "resourceslices")
}

/// The generation of an object that is written; `None`: its kind has none. `client`: a client wrote the object itself, not
/// a subresource; `sent`: of a kind that counts what is sent, it sent something else.
pub(super) fn generation(
    r: &Resource,
    subresource: Option<&str>,
    client: bool,
    sent: bool,
    old: &Value,
    new: &Value,
) -> Option<i64> {
    let before = old["metadata"]["generation"].as_i64();
    if r.is("storage.k8s.io", "csidrivers") && !same_spec(old, new, false, true) {
        // It has none until it changes (pkg/registry/storage/csidriver).
        return Some(before.unwrap_or_default() + 1);
    }
    if !r.has_generation() {
        return None;
    }
    let before = before.unwrap_or(1);
    // Binding writes past the strategy that counts (pkg/registry/core/pod/storage), and classes of priority never count
    // (pkg/registry/scheduling/priorityclass).
    if subresource == Some("binding") || r.is("scheduling.k8s.io", "priorityclasses") {
        return Some(before);
    }
    // Slices count their labels (pkg/registry/discovery/endpointslice).
    let relabelled =
        || r.is("discovery.k8s.io", "endpointslices") && old["metadata"]["labels"] != new["metadata"]["labels"];
    // Deployments count their annotations (pkg/registry/apps/deployment).
    let annotated = || r.is("apps", "deployments") && client && annotations(old) != annotations(new);
    // These count what is another value to `reflect.DeepEqual`: an empty list is not none.
    let strict = r.is("networking.k8s.io", "networkpolicies") || r.plural.ends_with("webhookconfigurations");
    let same =
        || same_spec(old, new, r.has_status(), r.custom.is_none()) && (!strict || identical_but_metadata(old, new));
    Some(before + i64::from(sent || relabelled() || annotated() || !same()))
}

/// An object's annotations; none are as good as no list of them.
fn annotations(v: &Value) -> Option<&Map<String, Value>> {
    v["metadata"]["annotations"].as_object().filter(|all| !all.is_empty())
}

/// Counts another template of a daemon set, as what features that are off would bring is not there. The count was a field
/// before apps/v1.
pub(super) fn count_template(r: &Resource, client: bool, old: &Value, new: &mut Value) {
    let same = {
        let mut prepared = Cow::Borrowed(&*new);
        if client {
            defaults::prepare(&r.group, &r.kind, Some(old), prepared.to_mut());
        }
        let (was, is) = (&old["spec"]["template"], &prepared["spec"]["template"]);
        schema::same(&r.api_version, &r.kind, &["spec", "template"], was, is)
    };
    let before = old["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    let before: i64 = before.and_then(|n| n.parse().ok()).unwrap_or(1);
    let all = metadata(new).entry("annotations").or_insert_with(|| json!({}));
    all[TEMPLATE_GENERATION] = json!((before + i64::from(!same)).to_string());
}

/// What the keys of a kind's objects in etcd begin with (`SpecialDefaultResourcePrefixes` of
/// `pkg/kubeapiserver/default_storage_factory_builder.go`).
pub(super) fn storage_prefix(r: &Resource) -> Cow<'_, str> {
    match (&*r.group, &*r.plural) {
        ("", "replicationcontrollers") => "controllers".into(),
        ("", "endpoints") => "services/endpoints".into(),
        ("", "services") => "services/specs".into(),
        ("", "nodes") => "minions".into(),
        ("networking.k8s.io", "ingresses") => "ingress".into(),
        (g @ ("apiextensions.k8s.io" | "apiregistration.k8s.io"), p) => format!("{g}/{p}").into(),
        (g, p) if r.custom.is_some() => format!("{g}/{p}").into(),
        (_, p) => p.into(),
    }
}
