//! propagateDeps: what a template names (ConfigMaps, Secrets, accounts, claims) follows it to its clusters (Karmada's
//! `pkg/dependenciesdistributor`). Each of them gets a binding that says who needs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cfn_api::karmada::config::DependencyRule;
use cfn_api::karmada::work::{BindingSnapshot, ObjectReference, ResourceBindingSpec};
use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::core::TypeMeta;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::detector::claimant;
use super::hub::{Binding, Gvk, Hub, Key, conflict, gone, work};
use super::{interpret, name, watches};

pub(super) async fn run(hub: Arc<Hub>) {
    work(
        &hub,
        "dependencies",
        |h| &h.depend,
        |hub, key| async move { reconcile(&hub, &key).await },
    )
    .await;
}

/// An object that another one names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Dependency {
    pub api_version: String,
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    pub name: String,
}

impl Dependency {
    fn gvk(&self) -> Gvk {
        Gvk {
            api_version: self.api_version.clone(),
            kind: self.kind.clone(),
        }
    }
}

/// What a template names, in order.
pub(super) fn of(rule: Option<&DependencyRule>, kind: &str, object: &Value) -> Vec<Dependency> {
    let namespace = object
        .pointer("/metadata/namespace")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut all = Vec::new();
    let mut add = |api_version: &str, kind: &str, name: Option<&str>| {
        if let Some(name) = name.filter(|n| !n.is_empty()) {
            all.push(Dependency {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            });
        }
    };
    let pods: Vec<&Value> = match rule {
        Some(rule) => {
            for r in &rule.references {
                let name = object.pointer(&r.name).and_then(Value::as_str);
                add(&r.api_version, &r.kind, name);
            }
            rule.pods.iter().filter_map(|p| object.pointer(p)).collect()
        }
        None => {
            if kind == "Ingress" {
                for t in interpret::list(&object["spec"], "tls") {
                    add("v1", "Secret", t["secretName"].as_str());
                }
            }
            interpret::pod(kind, object).into_iter().collect()
        }
    };
    for pod in pods {
        named_by_pod(pod, &mut add);
    }
    // A claim that the set makes itself is nobody else's.
    let made: Vec<String> = interpret::list(&object["spec"], "volumeClaimTemplates")
        .filter_map(|t| t["metadata"]["name"].as_str().map(str::to_owned))
        .collect();
    all.retain(|d| d.kind != "PersistentVolumeClaim" || !made.contains(&d.name));
    all.sort();
    all.dedup();
    all
}

fn named_by_pod(pod: &Value, add: &mut impl FnMut(&str, &str, Option<&str>)) {
    for s in interpret::list(pod, "imagePullSecrets") {
        add("v1", "Secret", s["name"].as_str());
    }
    for lists in ["containers", "initContainers", "ephemeralContainers"] {
        for c in interpret::list(pod, lists) {
            for e in interpret::list(c, "envFrom") {
                add("v1", "ConfigMap", e["configMapRef"]["name"].as_str());
                add("v1", "Secret", e["secretRef"]["name"].as_str());
            }
            for e in interpret::list(c, "env") {
                add("v1", "ConfigMap", e["valueFrom"]["configMapKeyRef"]["name"].as_str());
                add("v1", "Secret", e["valueFrom"]["secretKeyRef"]["name"].as_str());
            }
        }
    }
    for v in interpret::list(pod, "volumes") {
        add("v1", "ConfigMap", v["configMap"]["name"].as_str());
        add("v1", "Secret", v["secret"]["secretName"].as_str());
        add(
            "v1",
            "PersistentVolumeClaim",
            v["persistentVolumeClaim"]["claimName"].as_str(),
        );
        for s in interpret::list(&v["projected"], "sources") {
            add("v1", "ConfigMap", s["configMap"]["name"].as_str());
            add("v1", "Secret", s["secret"]["name"].as_str());
        }
    }
    let account = pod["serviceAccountName"].as_str().filter(|a| *a != "default");
    add("v1", "ServiceAccount", account);
}

/// The label on what a binding needs.
fn label(key: &Key) -> String {
    format!("{}{}", names::DEPENDED_BY_PREFIX, name::reference(&key.ns, &key.name))
}

async fn reconcile(hub: &Arc<Hub>, key: &Key) -> Result<(), kube::Error> {
    let (b, deps, attached) = {
        let state = hub.state();
        let b = state.bindings.get(key).cloned().filter(|b| !b.deleting());
        let wants = b.as_ref().filter(|b| b.spec.propagate_deps == Some(true));
        let deps = wants.and_then(|b| {
            let template = state.template(b)?;
            let body = serde_json::to_value(&**template).ok()?;
            let gvk = Gvk {
                api_version: b.spec.resource.api_version.clone(),
                kind: b.spec.resource.kind.clone(),
            };
            let rule = state.rules.get(&gvk).and_then(|r| r.dependencies.as_ref());
            Some(of(rule, &gvk.kind, &body))
        });
        let label = label(key);
        let has = |b: &Binding| b.meta.labels.as_ref().is_some_and(|l| l.contains_key(&label));
        let attached: Vec<Arc<Binding>> = state
            .bindings
            .iter()
            .filter(|(k, o)| k.ns == key.ns && has(o))
            .map(|(_, o)| Arc::clone(o))
            .collect();
        (b, deps.unwrap_or_default(), attached)
    };
    if let Some(b) = b.as_ref().filter(|b| b.spec.propagate_deps == Some(true)) {
        let text = serde_json::to_string(&deps).unwrap_or_default();
        let told = b.meta.annotations.as_ref().and_then(|a| a.get(names::DEPENDENCIES));
        if told != Some(&text) {
            let patch = json!({"metadata": {"annotations": {names::DEPENDENCIES: text}}});
            let o = hub.patch(&Hub::binding_resource(key), key, &patch).await?;
            hub.saw_binding(o);
        }
    }
    let mut kept = Vec::new();
    if let Some(b) = &b {
        for d in &deps {
            watches::templates(hub, &d.gvk()).await?;
            let at = Key {
                ns: d.namespace.clone(),
                name: names::binding_name(&d.kind, &d.name),
            };
            attach(hub, b, d, &at).await?;
            kept.push(at);
        }
    }
    for a in attached.iter().filter(|a| !kept.contains(&a.key())) {
        detach(hub, key, a).await?;
    }
    Ok(())
}

fn snapshot(b: &Binding) -> BindingSnapshot {
    BindingSnapshot {
        namespace: b.meta.namespace.clone(),
        name: b.key().name,
        clusters: b.spec.clusters.clone(),
    }
}

/// Makes the binding of `d` say that `b` needs it.
async fn attach(hub: &Hub, b: &Binding, d: &Dependency, at: &Key) -> Result<(), kube::Error> {
    let (object, existing) = {
        let state = hub.state();
        let of = Key::new(&d.namespace, &d.name);
        let object = state.templates.get(&d.gvk()).and_then(|t| t.objects.get(&of).cloned());
        (object, state.bindings.get(at).cloned())
    };
    let Some(object) = object.filter(|o| o.metadata.deletion_timestamp.is_none()) else {
        // It brings us back when it comes.
        return Ok(());
    };
    let (label, own) = (label(&b.key()), snapshot(b));
    let resource = Hub::binding_resource(at);
    let Some(old) = existing else {
        let meta = &object.metadata;
        let uid = meta.uid.clone().unwrap_or_default();
        let spec = ResourceBindingSpec {
            resource: ObjectReference {
                api_version: d.api_version.clone(),
                kind: d.kind.clone(),
                namespace: meta.namespace.clone(),
                name: d.name.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
            },
            required_by: vec![own],
            conflict_resolution: b.spec.conflict_resolution.clone(),
            preserve_resources_on_deletion: b.spec.preserve_resources_on_deletion,
            ..Default::default()
        };
        let owner = OwnerReference {
            api_version: d.api_version.clone(),
            kind: d.kind.clone(),
            name: d.name.clone(),
            uid: uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        let labels = BTreeMap::from([
            (label, b.permanent_id().to_owned()),
            (
                names::RESOURCE_BINDING_ID.to_owned(),
                name::permanent_id(&["binding", &uid]),
            ),
        ]);
        let new = DynamicObject {
            types: Some(TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            }),
            metadata: ObjectMeta {
                name: Some(at.name.clone()),
                namespace: meta.namespace.clone(),
                labels: Some(labels),
                finalizers: Some(vec![names::BINDING_FINALIZER.to_owned()]),
                owner_references: Some(vec![owner]),
                ..Default::default()
            },
            data: json!({"spec": spec}),
        };
        return match hub.api(&resource, &at.ns).create(&PostParams::default(), &new).await {
            Ok(o) => {
                hub.saw_binding(o);
                Ok(())
            }
            Err(e) if conflict(&e) && hub.state().bindings.contains_key(at) => Ok(()),
            Err(e) => Err(e),
        };
    };
    let mut required = old.spec.required_by.clone();
    match required
        .iter_mut()
        .find(|r| r.namespace == own.namespace && r.name == own.name)
    {
        Some(r) => *r = own,
        None => required.push(own),
    }
    let labelled = old.meta.labels.as_ref().is_some_and(|l| l.contains_key(&label));
    if required == old.spec.required_by && labelled {
        return Ok(());
    }
    let patch = json!({"metadata": {"labels": {label: b.permanent_id()}}, "spec": {"requiredBy": required}});
    let o = hub.patch(&resource, at, &patch).await?;
    hub.saw_binding(o);
    Ok(())
}

/// `key` needs `a` no longer. What nobody needs and no policy placed goes.
async fn detach(hub: &Hub, key: &Key, a: &Binding) -> Result<(), kube::Error> {
    if a.deleting() {
        return Ok(());
    }
    let at = a.key();
    let resource = Hub::binding_resource(&at);
    let mut required = a.spec.required_by.clone();
    required.retain(|r| r.namespace.as_deref().unwrap_or_default() != key.ns || r.name != key.name);
    if required.is_empty() && a.spec.placement.is_none() && claimant(&a.meta).is_none() {
        return gone(
            hub.api(&resource, &at.ns)
                .delete(&at.name, &DeleteParams::background())
                .await,
        );
    }
    let labels: Map<String, Value> = [(label(key), Value::Null)].into_iter().collect();
    let rest = if required.is_empty() {
        Value::Null
    } else {
        json!(required)
    };
    let patch = json!({"metadata": {"labels": labels}, "spec": {"requiredBy": rest}});
    match hub.patch(&resource, &at, &patch).await {
        Ok(o) => {
            hub.saw_binding(o);
            Ok(())
        }
        Err(e) => gone::<()>(Err(e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_names_what_its_pods_use() {
        let d = json!({"metadata": {"namespace": "n"}, "spec": {"template": {"spec": {
            "serviceAccountName": "runner", "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "env"}}],
                "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "token", "key": "t"}}}]}],
            "volumes": [{"name": "v", "configMap": {"name": "env"}}, {"name": "p", "persistentVolumeClaim": {"claimName": "disk"}},
                {"name": "q", "projected": {"sources": [{"secret": {"name": "cert"}}]}}]}}}});
        let found: Vec<String> = of(None, "Deployment", &d)
            .iter()
            .map(|d| format!("{}/{}", d.kind, d.name))
            .collect();
        assert_eq!(
            found,
            [
                "ConfigMap/env",
                "PersistentVolumeClaim/disk",
                "Secret/cert",
                "Secret/pull",
                "Secret/token",
                "ServiceAccount/runner"
            ]
        );
        assert_eq!(
            serde_json::to_string(&of(
                None,
                "Ingress",
                &json!({"metadata": {"namespace": "n"}, "spec": {"tls": [{"secretName": "s"}]}})
            ))
            .unwrap(),
            r#"[{"apiVersion":"v1","kind":"Secret","namespace":"n","name":"s"}]"#
        );
    }
}
