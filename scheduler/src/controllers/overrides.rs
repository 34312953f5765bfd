//! Override policies: what of a manifest differs in one cluster (Karmada's `pkg/util/overridemanager`). Pure.

use std::collections::BTreeMap;

use cfn_api::karmada::cluster::Cluster;
use cfn_api::karmada::overrides::{
    CommandArgsOverrider, FieldOverrider, ImageComponent, ImageOverrider, LabelAnnotationOverrider, Operator,
    OverrideSpec, Overriders, PatchOperation, PlaintextOverrider,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::detector::fit;
use super::hub::{Gvk, Key};
use crate::engine::affinity::cluster_matches;

/// Why an override could not be applied: the manifest has no such place, or the policy makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("override policy {policy}: {why}")]
pub(super) struct OverrideError {
    /// Which policy.
    pub policy: String,
    /// What is wrong.
    pub why: String,
}

/// What was applied, as the Work's annotation says it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Applied<'a> {
    policy_name: &'a str,
    overriders: &'a Overriders,
}

/// Applies the policies that mean this object and cluster, in the order of their names; returns the text of the
/// annotation with the applied ones, if there are any.
pub(super) fn apply<'a>(
    manifest: &mut Value,
    policies: impl Iterator<Item = (&'a str, &'a OverrideSpec)>,
    gvk: &Gvk,
    key: &Key,
    cluster: &Cluster,
) -> Result<Option<String>, OverrideError> {
    let labels: BTreeMap<String, String> = manifest
        .pointer("/metadata/labels")
        .and_then(|l| serde_json::from_value(l.clone()).ok())
        .unwrap_or_default();
    let meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        labels: Some(labels),
        ..Default::default()
    };
    let mut matching: Vec<(&str, &Overriders)> = Vec::new();
    for (name, spec) in policies {
        let selected =
            spec.resource_selectors.is_empty() || spec.resource_selectors.iter().any(|s| fit(s, gvk, key, &meta) > 0);
        if !selected {
            continue;
        }
        let means = |t: &Option<_>| t.as_ref().is_none_or(|a| cluster_matches(cluster, a));
        if spec.override_rules.is_empty() && spec.overriders != Overriders::default() && means(&spec.target_cluster) {
            matching.push((name, &spec.overriders));
        }
        let rules = spec.override_rules.iter().filter(|r| means(&r.target_cluster));
        matching.extend(rules.map(|r| (name, &r.overriders)));
    }
    matching.sort_by_key(|(name, _)| *name);
    for (name, overriders) in &matching {
        overrides(manifest, &gvk.kind, overriders).map_err(|why| OverrideError {
            policy: (*name).to_owned(),
            why,
        })?;
    }
    let applied: Vec<Applied<'_>> = matching
        .iter()
        .map(|(policy_name, overriders)| Applied {
            policy_name,
            overriders,
        })
        .collect();
    Ok((!applied.is_empty()).then(|| serde_json::to_string(&applied).unwrap_or_default()))
}

fn overrides(manifest: &mut Value, kind: &str, o: &Overriders) -> Result<(), String> {
    for i in &o.image_overrider {
        image(manifest, kind, i)?;
    }
    for c in &o.command_overrider {
        words(manifest, kind, "command", c);
    }
    for c in &o.args_overrider {
        words(manifest, kind, "args", c);
    }
    for l in &o.labels_overrider {
        strings(manifest, "labels", l);
    }
    for l in &o.annotations_overrider {
        strings(manifest, "annotations", l);
    }
    for f in &o.field_overrider {
        field(manifest, f)?;
    }
    for PlaintextOverrider { path, operator, value } in &o.plaintext {
        patch(manifest, path, *operator, value.as_ref())?;
    }
    Ok(())
}

/// Where a kind's pod spec stands.
fn pod_spec(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some("/spec"),
        "ReplicaSet" | "Deployment" | "DaemonSet" | "StatefulSet" | "Job" => Some("/spec/template/spec"),
        "CronJob" => Some("/spec/jobTemplate/spec/template/spec"),
        _ => None,
    }
}

fn image(manifest: &mut Value, kind: &str, o: &ImageOverrider) -> Result<(), String> {
    let change = |at: &mut Value| {
        if let Some(name) = at.as_str() {
            *at = renamed(name, o).into();
        }
    };
    if let Some(p) = &o.predicate {
        let at = manifest
            .pointer_mut(&p.path)
            .filter(|v| v.is_string())
            .ok_or_else(|| format!("{} is no image", p.path))?;
        change(at);
        return Ok(());
    }
    let Some(pod) = pod_spec(kind).and_then(|p| manifest.pointer_mut(p)) else {
        return Ok(());
    };
    for list in ["containers", "initContainers"] {
        for c in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(at) = c.get_mut("image") {
                change(at);
            }
        }
    }
    Ok(())
}

/// `registry`, `repository`, and tag or digest with the character before it.
fn parts(image: &str) -> (&str, &str, Option<(char, &str)>) {
    let (registry, rest) = match image.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("", image),
    };
    if let Some((name, digest)) = rest.split_once('@') {
        return (registry, name, Some(('@', digest)));
    }
    match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (registry, name, Some((':', tag))),
        _ => (registry, rest, None),
    }
}

fn renamed(image: &str, o: &ImageOverrider) -> String {
    let (registry, repository, tag) = parts(image);
    let value = o.value.as_deref().unwrap_or_default();
    let changed = |old: &str| match o.operator {
        Operator::Add => format!("{old}{value}"),
        Operator::Replace => value.to_owned(),
        Operator::Remove => String::new(),
    };
    let (mut registry, mut repository) = (registry.to_owned(), repository.to_owned());
    let mut tag = tag.map(|(c, t)| (c, t.to_owned()));
    match o.component {
        ImageComponent::Registry => registry = changed(&registry),
        ImageComponent::Repository => repository = changed(&repository),
        ImageComponent::Tag => {
            let (sign, old) = tag.clone().unwrap_or((':', String::new()));
            let new = changed(&old);
            let sign = if new.starts_with("sha256:") { '@' } else { sign };
            tag = (!new.is_empty()).then_some((sign, new));
        }
    }
    let mut name = if registry.is_empty() {
        repository
    } else if repository.is_empty() {
        registry
    } else {
        format!("{registry}/{repository}")
    };
    if let Some((sign, tag)) = tag {
        name.push(sign);
        name.push_str(&tag);
    }
    name
}

/// Adds words to a container's command or arguments, or takes them out.
fn words(manifest: &mut Value, kind: &str, what: &str, o: &CommandArgsOverrider) {
    let Some(pod) = pod_spec(kind).and_then(|p| manifest.pointer_mut(p)) else {
        return;
    };
    let containers = pod.get_mut("containers").and_then(Value::as_array_mut);
    for c in containers.into_iter().flatten() {
        let Some(c) = c
            .as_object_mut()
            .filter(|c| c.get("name") == Some(&Value::from(o.container_name.as_str())))
        else {
            continue;
        };
        let old = c.get(what).and_then(Value::as_array).cloned().unwrap_or_default();
        let new: Vec<Value> = match o.operator {
            Operator::Remove => old
                .into_iter()
                .filter(|w| !o.value.iter().any(|v| w.as_str() == Some(v)))
                .collect(),
            _ => old
                .into_iter()
                .chain(o.value.iter().map(|v| v.as_str().into()))
                .collect(),
        };
        c.insert(what.to_owned(), new.into());
    }
}

/// Labels or annotations. What is to be replaced or removed must be there.
fn strings(manifest: &mut Value, what: &str, o: &LabelAnnotationOverrider) {
    let Some(meta) = manifest.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let map = meta.entry(what).or_insert_with(|| Value::Object(Map::new()));
    let Some(map) = map.as_object_mut() else { return };
    for (k, v) in &o.value {
        match o.operator {
            Operator::Add => {
                map.insert(k.clone(), v.as_str().into());
            }
            Operator::Replace => {
                if let Some(old) = map.get_mut(k) {
                    *old = v.as_str().into();
                }
            }
            Operator::Remove => {
                map.remove(k);
            }
        }
    }
    if map.is_empty() {
        meta.remove(what);
    }
}

/// Changes a document inside a field.
fn field(manifest: &mut Value, f: &FieldOverrider) -> Result<(), String> {
    let at = manifest
        .pointer_mut(&f.field_path)
        .ok_or_else(|| format!("{} is not there", f.field_path))?;
    let text = at
        .as_str()
        .ok_or_else(|| format!("{} is no text", f.field_path))?
        .to_owned();
    let steps = |document: &mut Value, steps: &[PatchOperation]| {
        steps
            .iter()
            .try_for_each(|s| patch(document, &s.sub_path, s.operator, s.value.as_ref()))
    };
    if !f.json.is_empty() {
        let mut document: Value =
            serde_json::from_str(&text).map_err(|e| format!("{} is no JSON: {e}", f.field_path))?;
        steps(&mut document, &f.json)?;
        *at = document.to_string().into();
    } else if !f.yaml.is_empty() {
        let mut document: Value =
            serde_yaml::from_str(&text).map_err(|e| format!("{} is no YAML: {e}", f.field_path))?;
        steps(&mut document, &f.yaml)?;
        *at = serde_yaml::to_string(&document)
            .map_err(|e| format!("{}: {e}", f.field_path))?
            .into();
    }
    Ok(())
}

/// One step of a JSON patch (RFC 6902).
fn patch(document: &mut Value, path: &str, operator: Operator, value: Option<&Value>) -> Result<(), String> {
    let missing = || format!("{path} is not there");
    let (parent, last) = path
        .rsplit_once('/')
        .ok_or_else(|| format!("'{path}' is no JSON pointer"))?;
    let last = last.replace("~1", "/").replace("~0", "~");
    let new = || value.cloned().unwrap_or(Value::Null);
    match document.pointer_mut(parent).ok_or_else(missing)? {
        Value::Object(map) => match operator {
            Operator::Add => {
                map.insert(last, new());
            }
            Operator::Replace => *map.get_mut(&last).ok_or_else(missing)? = new(),
            Operator::Remove => {
                map.remove(&last).ok_or_else(missing)?;
            }
        },
        Value::Array(list) => {
            let at = if last == "-" {
                Some(list.len())
            } else {
                last.parse::<usize>().ok()
            };
            let at = at.ok_or_else(missing)?;
            match operator {
                Operator::Add if at <= list.len() => list.insert(at, new()),
                Operator::Replace if at < list.len() => list[at] = new(),
                Operator::Remove if at < list.len() => {
                    list.remove(at);
                }
                _ => return Err(missing()),
            }
        }
        _ => return Err(missing()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Value {
        json!({"kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}}, "spec": {"template": {"spec": {
            "containers": [{"name": "c", "image": "registry.example:5000/team/web:1", "command": ["run"], "args": ["--a=1"]}]}}}})
    }

    #[test]
    fn images_change_by_part() {
        use ImageComponent::{Registry, Repository, Tag};
        use Operator::{Add, Remove, Replace};
        for (image, component, operator, value, want) in [
            ("nginx:1", Registry, Replace, "mirror.example", "mirror.example/nginx:1"),
            ("r.io/nginx:1", Registry, Remove, "", "nginx:1"),
            ("r.io/nginx", Registry, Add, ".cn", "r.io.cn/nginx"),
            ("r.io/a/b:1", Repository, Replace, "c", "r.io/c:1"),
            ("r.io/a/b:1", Repository, Add, "-x", "r.io/a/b-x:1"),
            ("a/b:1", Tag, Replace, "2", "a/b:2"),
            ("a/b:1", Tag, Add, "-alpine", "a/b:1-alpine"),
            ("a/b:1", Tag, Remove, "", "a/b"),
            ("a/b", Tag, Add, "2", "a/b:2"),
            ("localhost/a", Registry, Replace, "x.io", "x.io/a"),
            ("h:5000/a@sha256:1", Tag, Replace, "sha256:2", "h:5000/a@sha256:2"),
        ] {
            let o = ImageOverrider {
                predicate: None,
                component,
                operator,
                value: Some(value.to_owned()).filter(|v| !v.is_empty()),
            };
            assert_eq!(renamed(image, &o), want, "{image} {component:?} {operator:?} {value}");
        }
    }

    #[test]
    fn every_overrider_does_its_part() {
        let o: Overriders = serde_json::from_value(json!({
            "plaintext": [{"path": "/spec/replicas", "operator": "add", "value": 3},
                {"path": "/spec/template/spec/containers/0/env", "operator": "add", "value": []}],
            "imageOverrider": [{"component": "Registry", "operator": "replace", "value": "m.io"}],
            "commandOverrider": [{"containerName": "c", "operator": "remove", "value": ["run"]}],
            "argsOverrider": [{"containerName": "c", "operator": "add", "value": ["--b=2"]}],
            "labelsOverrider": [{"operator": "add", "value": {"x": "1"}}, {"operator": "remove", "value": {"app": ""}},
                {"operator": "replace", "value": {"nobody": "2"}}],
            "annotationsOverrider": [{"operator": "add", "value": {"note": "{\"a\": 1}"}}],
            "fieldOverrider": [{"fieldPath": "/metadata/annotations/note", "json": [{"subPath": "/a", "operator": "replace", "value": 2}]}],
        }))
        .unwrap();
        let mut d = deployment();
        overrides(&mut d, "Deployment", &o).unwrap();
        assert_eq!(
            d,
            json!({"kind": "Deployment", "metadata": {"name": "web", "labels": {"x": "1"}, "annotations": {"note": "{\"a\":2}"}},
                "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "c", "image": "m.io/team/web:1",
                    "command": [], "args": ["--a=1", "--b=2"], "env": []}]}}}})
        );
        let wrong: Overriders = serde_json::from_value(
            json!({"plaintext": [{"path": "/spec/nothing/x", "operator": "replace", "value": 1}]}),
        )
        .unwrap();
        assert_eq!(
            overrides(&mut d, "Deployment", &wrong).unwrap_err(),
            "/spec/nothing/x is not there"
        );
    }

    #[test]
    fn yaml_inside_a_field_changes_too() {
        let f: FieldOverrider = serde_json::from_value(json!({"fieldPath": "/data/conf",
            "yaml": [{"subPath": "/server/port", "operator": "replace", "value": 81}]}))
        .unwrap();
        let mut m = json!({"data": {"conf": "server:\n  port: 80\n  name: a\n"}});
        field(&mut m, &f).unwrap();
        let after: Value = serde_yaml::from_str(m["data"]["conf"].as_str().unwrap()).unwrap();
        assert_eq!(after, json!({"server": {"port": 81, "name": "a"}}));
    }
}
