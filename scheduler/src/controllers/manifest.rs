//! What of a template goes into a Work (Karmada's `pkg/util/helper/binding.go`, `pkg/resourceinterpreter/default/native/prune`).

use std::collections::BTreeMap;

use cfn_api::names;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::hub::{Binding, CLUSTER_BINDING_NAME, Gvk, Hub, Key};
use super::overrides::{self, OverrideError};
use super::{customize, interpret};

/// Annotations of a Work: the overrides in it, of cluster-wide policies and of the namespace's.
pub(super) const APPLIED_OVERRIDES: [&str; 2] = [
    "policy.karmada.io/applied-cluster-overrides",
    "policy.karmada.io/applied-overrides",
];

/// The manifest of `template` for `cluster`, and its Work's labels and annotations.
pub(super) struct Manifest {
    pub object: Value,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// What of a template is the same for every cluster.
pub(super) struct Base {
    object: Value,
    uid: String,
    generation: Option<i64>,
}

impl Base {
    /// The pruned template.
    pub(super) fn object(&self) -> &Value {
        &self.object
    }
}

/// Prepares a template for all clusters.
pub(super) fn base(b: &Binding, template: &DynamicObject) -> Base {
    of(&b.spec.resource.kind, template)
}

/// The same without a binding.
pub(super) fn of(kind: &str, template: &DynamicObject) -> Base {
    let mut object = serde_json::to_value(template).unwrap_or_default();
    let uid = template.metadata.uid.clone().unwrap_or_default();
    prune(kind, &mut object, &uid);
    Base {
        object,
        uid,
        generation: template.metadata.generation.filter(|g| *g > 0),
    }
}

/// The manifest for one cluster: replicas, overrides, what marks it as ours.
pub(super) fn build(
    hub: &Hub,
    b: &Binding,
    base: &Base,
    cluster: &str,
    work: &Key,
    work_id: &str,
) -> Result<Manifest, OverrideError> {
    let mut object = base.object.clone();
    let r = &b.spec.resource;
    let gvk = Gvk {
        api_version: r.api_version.clone(),
        kind: r.kind.clone(),
    };
    if let Some(t) = b.spec.clusters.iter().find(|t| t.name == cluster && t.replicas > 0) {
        let rule = hub.state().rules.get(&gvk).and_then(|r| r.revision.clone());
        match rule {
            Some(rule) => customize::revise(&rule, &mut object, t.replicas),
            None => interpret::revise(&r.kind, &mut object, t.replicas, &b.spec.clusters, cluster),
        }
    }
    preserve_state(b, cluster, &mut object);
    let mut annotations = override_for(hub, &mut object, &gvk, cluster)?;
    let applied = annotations.clone();
    let resolution = b.spec.conflict_resolution.as_deref().unwrap_or("Abort").to_lowercase();
    let key = b.key();
    if key.ns.is_empty() {
        annotations.insert(CLUSTER_BINDING_NAME.to_owned(), key.name.clone());
    } else {
        annotations.insert(names::RESOURCE_BINDING_NAMESPACE.to_owned(), key.ns.clone());
        annotations.insert(names::RESOURCE_BINDING_NAME.to_owned(), key.name.clone());
    }
    annotations.insert(names::CONFLICT_RESOLUTION.to_owned(), resolution);
    let labels = BTreeMap::from([
        (b.id_label().to_owned(), b.permanent_id().to_owned()),
        (names::WORK_ID.to_owned(), work_id.to_owned()),
    ]);
    let inner = annotations.iter().filter(|(k, _)| !applied.contains_key(*k));
    let inner = inner.map(|(k, v)| (k.clone(), v.clone())).collect();
    mark(&mut object, base, work, inner, &labels);
    Ok(Manifest {
        object,
        labels,
        annotations,
    })
}

/// Applies the override policies that mean `object` in `cluster`: cluster-wide ones first.
pub(super) fn override_for(
    hub: &Hub,
    object: &mut Value,
    gvk: &Gvk,
    cluster: &str,
) -> Result<BTreeMap<String, String>, OverrideError> {
    let text = |f: &str| object.pointer(f).and_then(Value::as_str).unwrap_or_default().to_owned();
    let key = Key {
        ns: text("/metadata/namespace"),
        name: text("/metadata/name"),
    };
    let state = hub.state();
    let mut annotations = BTreeMap::new();
    let Some(c) = state.clusters.get(cluster) else {
        return Ok(annotations);
    };
    for (annotation, ns) in APPLIED_OVERRIDES.iter().zip(["", key.ns.as_str()]) {
        if *annotation == APPLIED_OVERRIDES[1] && ns.is_empty() {
            continue;
        }
        let policies = state
            .overrides
            .iter()
            .filter(|(k, p)| k.ns == ns && p.meta.deletion_timestamp.is_none())
            .map(|(k, p)| (k.name.as_str(), &p.spec));
        if let Some(text) = overrides::apply(object, policies, gvk, &key, c)? {
            annotations.insert((*annotation).to_owned(), text);
        }
    }
    Ok(annotations)
}

/// State of an application that failed over goes to its replacement as labels (`injectReservedLabelState`).
fn preserve_state(b: &Binding, cluster: &str, object: &mut Value) {
    let Some(task) = b
        .spec
        .graceful_eviction_tasks
        .last()
        .filter(|_| b.spec.clusters.len() == 1)
    else {
        return;
    };
    let directly = matches!(task.purge_mode.as_deref(), Some("Directly" | "Immediately"));
    if !directly || task.clusters_before_failover.iter().any(|c| c == cluster) {
        return;
    }
    let mut labels = strings(object["metadata"].get("labels"));
    labels.extend(task.preserved_label_state.clone());
    if !labels.is_empty() {
        object["metadata"]["labels"] = json!(labels);
    }
}

/// Marks a manifest as the hub's: its Work, its template, and which labels and annotations came from here.
pub(super) fn mark(
    object: &mut Value,
    base: &Base,
    work: &Key,
    annotations: BTreeMap<String, String>,
    labels: &BTreeMap<String, String>,
) {
    let meta = &mut object["metadata"];
    let mut inner = strings(meta.get("annotations"));
    inner.extend(annotations);
    inner.insert(names::WORK_NAMESPACE.into(), work.ns.clone());
    inner.insert(names::WORK_NAME.into(), work.name.clone());
    inner.insert(names::TEMPLATE_UID.into(), base.uid.clone());
    // Kinds without a spec have no generation.
    inner.extend(
        base.generation
            .map(|g| (names::TEMPLATE_GENERATION.to_owned(), g.to_string())),
    );
    let mut inner_labels = strings(meta.get("labels"));
    inner_labels.extend(labels.clone());
    inner_labels.insert(names::MANAGED_LABEL.into(), "true".into());
    inner.insert(
        names::MANAGED_LABELS.into(),
        inner_labels.keys().cloned().collect::<Vec<_>>().join(","),
    );
    inner.insert(names::MANAGED_ANNOTATIONS.into(), String::new());
    let keys = inner.keys().cloned().collect::<Vec<_>>().join(",");
    inner.insert(names::MANAGED_ANNOTATIONS.into(), keys);
    meta["annotations"] = json!(inner);
    meta["labels"] = json!(inner_labels);
}

fn strings(v: Option<&Value>) -> BTreeMap<String, String> {
    v.and_then(|v| serde_json::from_value(v.clone()).ok())
        .unwrap_or_default()
}

/// Takes away what the hub's API server added and a member's must decide itself.
fn prune(kind: &str, object: &mut Value, uid: &str) {
    let Some(root) = object.as_object_mut() else { return };
    root.remove("status");
    if let Some(meta) = root.get_mut("metadata").and_then(Value::as_object_mut) {
        for f in [
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "generation",
            "managedFields",
            "resourceVersion",
            "selfLink",
            "uid",
            "ownerReferences",
            "finalizers",
        ] {
            meta.remove(f);
        }
        if kind == "Deployment"
            && let Some(a) = meta.get_mut("annotations").and_then(Value::as_object_mut)
        {
            a.remove("deployment.kubernetes.io/revision");
        }
    }
    let spec = root.get_mut("spec").and_then(Value::as_object_mut);
    match (kind, spec) {
        ("Service", Some(spec)) => {
            let headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
            if !headless {
                spec.remove("clusterIP");
                spec.remove("clusterIPs");
            }
        }
        // The hub generated a selector around the template's uid; the member generates its own.
        ("Job", Some(spec)) if spec.get("manualSelector") != Some(&Value::Bool(true)) => {
            let generated = |m: &mut Map<String, Value>| {
                for l in ["controller-uid", "batch.kubernetes.io/controller-uid"] {
                    if m.get(l).and_then(Value::as_str) == Some(uid) {
                        m.remove(l);
                    }
                }
                m.remove("job-name");
                m.remove("batch.kubernetes.io/job-name");
            };
            for path in [
                &["selector", "matchLabels"][..],
                &["template", "metadata", "labels"][..],
            ] {
                let mut at = spec.get_mut(path[0]);
                for p in &path[1..] {
                    at = at.and_then(|v| v.get_mut(*p));
                }
                if let Some(m) = at.and_then(Value::as_object_mut) {
                    generated(m);
                }
            }
        }
        _ => {}
    }
    match kind {
        // Tokens' names are the member's own.
        "ServiceAccount" => {
            root.remove("secrets");
        }
        "PersistentVolumeClaim" => {
            if let Some(a) = root
                .get_mut("metadata")
                .and_then(|m| m.get_mut("annotations"))
                .and_then(Value::as_object_mut)
            {
                a.remove("volume.kubernetes.io/selected-node");
            }
        }
        _ => {}
    }
}
