//! What of a template goes into a Work (Karmada's `pkg/util/helper/binding.go`, `pkg/resourceinterpreter/default/native/prune`).

use std::collections::BTreeMap;

use cfn_api::names;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use super::hub::{Binding, CLUSTER_BINDING_NAME, Key};
use super::interpret;

/// The manifest of `template` for `cluster`, and its Work's labels and annotations.
pub(super) struct Manifest {
    pub object: Value,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

pub(super) fn build(b: &Binding, template: &DynamicObject, cluster: &str, work: &Key, work_id: &str) -> Manifest {
    let mut object = serde_json::to_value(template).unwrap_or_default();
    let uid = template.metadata.uid.clone().unwrap_or_default();
    let generation = template.metadata.generation.filter(|g| *g > 0);
    let kind = b.spec.resource.kind.as_str();
    prune(kind, &mut object, &uid);
    if let Some(t) = b.spec.clusters.iter().find(|t| t.name == cluster && t.replicas > 0) {
        interpret::revise(kind, &mut object, t.replicas, &b.spec.clusters, cluster);
    }
    let resolution = b.spec.conflict_resolution.as_deref().unwrap_or("Abort").to_lowercase();
    let key = b.key();
    let mut annotations = BTreeMap::new();
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
    let meta = &mut object["metadata"];
    let mut inner = strings(meta.get("annotations"));
    inner.extend(annotations.clone());
    inner.insert(names::WORK_NAMESPACE.into(), work.ns.clone());
    inner.insert(names::WORK_NAME.into(), work.name.clone());
    inner.insert(names::TEMPLATE_UID.into(), uid);
    // Kinds without a spec have no generation.
    inner.extend(generation.map(|g| (names::TEMPLATE_GENERATION.to_owned(), g.to_string())));
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
    Manifest {
        object,
        labels,
        annotations,
    }
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
