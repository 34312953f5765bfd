//! What admission adds to pods from other objects, and refuses because of them: priority classes, runtime classes,
//! limit ranges, service accounts (`plugin/pkg/admission/{priority,runtimeclass,limitranger,serviceaccount}`).

use serde_json::{Map, Value, json};

use super::meta::{child, metadata};
use super::quota::pod_amounts;
use super::{Call, Server, text};
use crate::local::Gvr;
use crate::schema::quote;
use crate::status::Status;
use crate::store::Key;
use cfn_cel::quantity::Quantity;
use std::sync::Arc;

const PRIORITY_CLASSES: Gvr = Gvr::new("scheduling.k8s.io", "v1", "priorityclasses");
const RUNTIME_CLASSES: Gvr = Gvr::new("node.k8s.io", "v1", "runtimeclasses");
const LIMIT_RANGES: Gvr = Gvr::new("", "v1", "limitranges");
const SERVICE_ACCOUNTS: Gvr = Gvr::new("", "v1", "serviceaccounts");
/// Where containers find their token.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn forbidden(v: &Value, why: &str) -> Status {
    let name = match text(v, "/metadata/name") {
        "" => text(v, "/metadata/generateName"),
        n => n,
    };
    Status::forbidden("", "pods", name, why)
}

impl Server {
    /// Before the pod's defaults of creation.
    pub(super) fn admit_new_pod(&self, call: &mut Call, ns: &str, v: &mut Value) -> Result<(), Status> {
        // In the order of the plugins.
        self.apply_limit_ranges(ns, v)?;
        self.mount_token(call, ns, v)?;
        self.set_priority(v)?;
        self.set_runtime_class(v)?;
        let gated = v["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty());
        if gated && v["status"]["conditions"].is_null() {
            v["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False", "lastProbeTime": null,
                "lastTransitionTime": self.now(), "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates"}]);
        }
        Ok(())
    }

    fn set_priority(&self, v: &mut Value) -> Result<(), Status> {
        let said = text(v, "/spec/priorityClassName").to_owned();
        let class: Option<Arc<Value>> = if said.is_empty() {
            let all = self.store.list(&PRIORITY_CLASSES, None, None).objects;
            all.into_iter()
                .filter(|c| c.value()["globalDefault"] == true)
                .min_by_key(|c| c.value()["value"].as_i64())
                .map(|c| c.value())
        } else {
            self.store
                .get(&PRIORITY_CLASSES, &Key::new("", said.as_str()))
                .map(|c| c.value())
        };
        let (value, policy) = match &class {
            Some(class) => (
                class["value"].as_i64().unwrap_or(0),
                match text(class, "/preemptionPolicy") {
                    "" => "PreemptLowerPriority",
                    p => p,
                },
            ),
            None if said.is_empty() => (0, "PreemptLowerPriority"),
            // The two system classes are known before they are stored.
            None if said.starts_with("system-") => return Ok(()),
            None => return Err(forbidden(v, &format!("no PriorityClass with name {said} was found"))),
        };
        if let Some(p) = v["spec"]["priority"].as_i64().filter(|p| *p != value) {
            let why = format!(
                "the integer value of priority ({p}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
            );
            return Err(forbidden(v, &why));
        }
        let asked = text(v, "/spec/preemptionPolicy");
        if !asked.is_empty() && asked != policy {
            let why = format!(
                "the string value of PreemptionPolicy ({asked}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            );
            return Err(forbidden(v, &why));
        }
        let spec = child(v, "spec");
        if let Some(class) = &class {
            spec.insert("priorityClassName".into(), json!(text(class, "/metadata/name")));
        }
        spec.insert("priority".into(), json!(value));
        spec.entry("preemptionPolicy").or_insert_with(|| json!(policy));
        Ok(())
    }

    fn set_runtime_class(&self, v: &mut Value) -> Result<(), Status> {
        let name = text(v, "/spec/runtimeClassName").to_owned();
        let said = v["spec"]["overhead"].as_object().is_some_and(|o| !o.is_empty());
        if name.is_empty() {
            if said {
                return Err(forbidden(
                    v,
                    "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
                ));
            }
            return Ok(());
        }
        let Some(class) = self.store.get(&RUNTIME_CLASSES, &Key::new("", name.as_str())) else {
            return Err(forbidden(
                v,
                &format!("pod rejected: RuntimeClass {} not found", quote(name.as_str())),
            ));
        };
        let fixed = &class.value()["overhead"]["podFixed"];
        if said && v["spec"]["overhead"] != *fixed {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(forbidden(v, why));
        }
        if fixed.is_object() {
            v["spec"]["overhead"] = fixed.clone();
        }
        let scheduling = &class.value()["scheduling"];
        for (k, wanted) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
            let has = v["spec"]["nodeSelector"][k].as_str().map(str::to_owned);
            match has {
                Some(has) if Some(has.as_str()) != wanted.as_str() => {
                    let w = wanted.as_str().unwrap_or_default();
                    let why = format!(
                        "conflict: runtimeClass.scheduling.nodeSelector[{k}] = {w}; pod.spec.nodeSelector[{k}] = {has}"
                    );
                    return Err(forbidden(v, &why));
                }
                _ => {
                    child(&mut v["spec"], "nodeSelector").insert(k.clone(), wanted.clone());
                }
            }
        }
        if let Some(more) = scheduling["tolerations"].as_array() {
            let mut all = v["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
            all.extend(more.iter().filter(|t| !all.contains(t)).cloned().collect::<Vec<_>>());
            v["spec"]["tolerations"] = json!(all);
        }
        Ok(())
    }

    /// The volume with the service account's token, unless pod or account say no.
    fn mount_token(&self, call: &mut Call, ns: &str, v: &mut Value) -> Result<(), Status> {
        let name = match text(v, "/spec/serviceAccountName") {
            "" => "default",
            n => n,
        };
        let account = self.store.get(&SERVICE_ACCOUNTS, &Key::new(ns, name));
        // The default one may come later here: a cluster may run without who makes it.
        if account.is_none() && name != "default" {
            let quoted = quote(name);
            let why = format!("error looking up service account {ns}/{name}: serviceaccount {quoted} not found");
            return Err(forbidden(v, &why));
        }
        let allowed = match v["spec"]["automountServiceAccountToken"].as_bool() {
            Some(b) => b,
            None => account
                .as_ref()
                .and_then(|a| a.value()["automountServiceAccountToken"].as_bool())
                .unwrap_or(true),
        };
        // A mirror of a pod that its node was told of otherwise has no token.
        let mirror = !v["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null();
        if account.is_none() || !allowed || mirror {
            return Ok(());
        }
        let mounted = |c: &Value| {
            let mounts = c["volumeMounts"].as_array();
            mounts.is_some_and(|l| l.iter().any(|m| text(m, "/mountPath") == TOKEN_PATH))
        };
        let lists = ["initContainers", "containers"];
        let all = |v: &Value| {
            lists
                .iter()
                .all(|k| v["spec"][*k].as_array().is_none_or(|l| l.iter().all(mounted)))
        };
        if all(v) {
            return Ok(());
        }
        // One that is there already gets the containers that webhooks added.
        let volumes = v["spec"]["volumes"].as_array().into_iter().flatten();
        let there = volumes
            .map(|x| text(x, "/name"))
            .find(|n| n.starts_with("kube-api-access-"))
            .map(str::to_owned);
        let volume = match &there {
            Some(n) => n.clone(),
            None => call.once("token volume", || self.generated_name("kube-api-access-")),
        };
        for k in lists {
            for c in v["spec"][k].as_array_mut().into_iter().flatten() {
                if mounted(c) {
                    continue;
                }
                let mount = json!({"name": volume, "readOnly": true, "mountPath": TOKEN_PATH});
                match c["volumeMounts"].as_array_mut() {
                    Some(l) => l.push(mount),
                    None => c["volumeMounts"] = json!([mount]),
                }
            }
        }
        // Lists that are not there were made null above.
        for k in lists {
            if v["spec"][k].is_null() {
                child(v, "spec").remove(k);
            }
        }
        if there.is_some() {
            return Ok(());
        }
        let source = json!({"name": volume, "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}});
        match v["spec"]["volumes"].as_array_mut() {
            Some(l) => l.push(source),
            None => v["spec"]["volumes"] = json!([source]),
        }
        Ok(())
    }

    fn apply_limit_ranges(&self, ns: &str, v: &mut Value) -> Result<(), Status> {
        let ranges = self.store.list(&LIMIT_RANGES, Some(ns), None).objects;
        for r in &ranges {
            let range = r.value();
            let limits = range["spec"]["limits"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            default_resources(limits, v);
        }
        for r in &ranges {
            let range = r.value();
            let limits = range["spec"]["limits"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let errors = violations(limits, v);
            match errors.as_slice() {
                [] => {}
                [one] => return Err(forbidden(v, one)),
                many => return Err(forbidden(v, &format!("[{}]", many.join(", ")))),
            }
        }
        Ok(())
    }

    /// 403 when a claim is larger or smaller than a limit range of its namespace lets it be.
    pub(super) fn check_claim_limits(&self, ns: &str, v: &Value) -> Result<(), Status> {
        let size = &v["spec"]["resources"]["requests"];
        for r in self.store.list(&LIMIT_RANGES, Some(ns), None).objects {
            for l in r.value()["spec"]["limits"].as_array().into_iter().flatten() {
                if text(l, "/type") != "PersistentVolumeClaim" {
                    continue;
                }
                let mut errors = Vec::new();
                bounds("PersistentVolumeClaim", l, size, &Value::Null, true, &mut errors);
                if let Some(e) = errors.first() {
                    let name = text(v, "/metadata/name");
                    return Err(Status::forbidden("", "persistentvolumeclaims", name, e));
                }
            }
        }
        Ok(())
    }
}

/// Fills in containers' resources from a limit range's defaults, and says so in an annotation.
fn default_resources(limits: &[Value], v: &mut Value) {
    let of_containers: Vec<&Value> = limits.iter().filter(|l| text(l, "/type") == "Container").collect();
    let mut notes = Vec::new();
    for (key, prefix) in [("containers", "container"), ("initContainers", "init container")] {
        for c in v["spec"]
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let name = text(c, "/name").to_owned();
            for (list, default, word) in [
                ("requests", "defaultRequest", "request"),
                ("limits", "default", "limit"),
            ] {
                let mut set = Vec::new();
                for (k, q) in of_containers
                    .iter()
                    .flat_map(|l| l[default].as_object().into_iter().flatten())
                {
                    if c["resources"][list][k].is_null() {
                        let resources = child(c, "resources");
                        let all = resources.entry(list).or_insert_with(|| Value::Object(Map::new()));
                        all[k] = q.clone();
                        set.push(k.as_str());
                    }
                }
                set.sort_unstable();
                if !set.is_empty() {
                    notes.push(format!("{} {word} for {prefix} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let all = metadata(v).entry("annotations").or_insert_with(|| json!({}));
        all["kubernetes.io/limit-ranger"] = json!(format!("LimitRanger plugin set: {}", notes.join("; ")));
    }
}

fn violations(limits: &[Value], v: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for l in limits {
        match text(l, "/type") {
            "Container" => {
                for k in ["containers", "initContainers"] {
                    for c in v["spec"][k].as_array().into_iter().flatten() {
                        let r = &c["resources"];
                        bounds("Container", l, &r["requests"], &r["limits"], false, &mut errors);
                    }
                }
            }
            "Pod" => {
                let of = |list| super::quota::to_value(&pod_amounts(&v["spec"], list));
                bounds("Pod", l, &of("requests"), &of("limits"), false, &mut errors);
            }
            _ => {}
        }
    }
    errors
}

fn amount(list: &Value, k: &str) -> Option<Quantity> {
    Quantity::from_value(&list[k]).ok()
}

/// Least, most and ratio of one limit; `requests_only`: of things without limits.
fn bounds(kind: &str, limit: &Value, requests: &Value, limits: &Value, requests_only: bool, errors: &mut Vec<String>) {
    let each = |field: &str| {
        let all = limit[field].as_object().cloned().unwrap_or_default();
        all.into_iter()
            .filter_map(|(k, q)| Some((k, Quantity::from_value(&q).ok()?)))
    };
    for (k, min) in each("min") {
        let what = format!("minimum {k} usage per {kind} is {min}");
        match (amount(requests, &k), amount(limits, &k)) {
            (None, _) => errors.push(format!("{what}.  No request is specified")),
            (Some(r), _) if r < min => errors.push(format!("{what}, but request is {r}")),
            (_, Some(l)) if l < min => errors.push(format!("{what}, but limit is {l}")),
            _ => {}
        }
    }
    for (k, max) in each("max") {
        let what = format!("maximum {k} usage per {kind} is {max}");
        match (amount(requests, &k), amount(limits, &k)) {
            (None, _) if requests_only => errors.push(format!("{what}.  No request is specified")),
            (Some(r), _) if requests_only && r > max => errors.push(format!("{what}, but request is {r}")),
            _ if requests_only => {}
            (_, None) => errors.push(format!("{what}.  No limit is specified")),
            (_, Some(l)) if l > max => errors.push(format!("{what}, but limit is {l}")),
            (Some(r), _) if r > max => errors.push(format!("{what}, but request is {r}")),
            _ => {}
        }
    }
    for (k, ratio) in each("maxLimitRequestRatio") {
        let what = format!("{k} max limit to request ratio per {kind} is {ratio}");
        let zero = |q: &Quantity| !q.is_zero();
        match (amount(requests, &k).filter(zero), amount(limits, &k).filter(zero)) {
            (None, _) => errors.push(format!("{what}, but no request is specified or request is 0")),
            (_, None) => errors.push(format!("{what}, but no limit is specified or limit is 0")),
            (Some(r), Some(l)) => {
                let have = l.nano() as f64 / r.nano() as f64;
                if have > ratio.nano() as f64 / 1e9 {
                    errors.push(format!("{what}, but provided ratio is {have:.6}"));
                }
            }
        }
    }
}
