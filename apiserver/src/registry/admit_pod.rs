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
const NODES: Gvr = Gvr::new("", "v1", "nodes");

/// Labels of nodes that their pods get.
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(super) fn forbidden(v: &Value, why: &str) -> Status {
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
        self.admit_account(call, ns, v)?;
        self.set_priority(v)?;
        self.set_runtime_class(v)?;
        call.warnings.extend(read_app_armor(v));
        if let Some(node) = v["spec"]["nodeName"].as_str().map(str::to_owned) {
            self.label_topology(&node, v);
        }
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
        if scheduling.is_object() {
            // Those of DefaultTolerationSeconds, which comes before, are there already.
            crate::defaults::tolerate(v, &self.settings.admission);
            let own = v["spec"]["tolerations"].as_array().into_iter().flatten();
            let more = scheduling["tolerations"].as_array().into_iter().flatten();
            v["spec"]["tolerations"] = merge_tolerations(&own.chain(more).cloned().collect::<Vec<_>>()).into();
        }
        Ok(())
    }

    /// A pod that is on a node gets the labels of where that is (`plugin/pkg/admission/podtopologylabels`).
    pub(super) fn label_topology(&self, node: &str, v: &mut Value) {
        let Some(node) = self.store.get(&NODES, &Key::new("", node)) else {
            return;
        };
        let value = node.peek();
        for key in TOPOLOGY {
            if let Some(place) = value["metadata"]["labels"].get(key) {
                child(&mut v["metadata"], "labels").insert(key.into(), place.clone());
            }
        }
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

/// AppArmor profiles that annotations name become those of fields, where these say nothing (`applyAppArmorVersionSkew`);
/// answers what to tell of that.
fn read_app_armor(v: &mut Value) -> Vec<String> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let noted = v["metadata"]["annotations"].as_object();
    let noted: Map<String, Value> = noted
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.strip_prefix(PREFIX)?.to_owned(), v.clone())))
        .collect();
    if noted.is_empty() || v["spec"]["os"]["name"] == "windows" {
        return Vec::new();
    }
    let of_pod = v["spec"]["securityContext"]["appArmorProfile"].clone();
    let profile = |said: &str| match said {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        local => local
            .strip_prefix("localhost/")
            // What validation of the field refuses stays a note.
            .filter(|name| !name.is_empty() && name.trim() == *name && name.len() <= 4095)
            .map(|name| json!({"type": "Localhost", "localhostProfile": name})),
    };
    let mut told = Vec::new();
    let spec = child(v, "spec");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for c in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = text(c, "/name").to_owned();
            let Some(said) = noted.get(&name).and_then(Value::as_str) else {
                continue;
            };
            if !c["securityContext"]["appArmorProfile"].is_null() {
                continue;
            }
            let field = profile(said);
            if field.as_ref() == Some(&of_pod) {
                continue;
            }
            if let Some(field) = field {
                child(c, "securityContext").insert("appArmorProfile".into(), field);
            }
            told.push(format!(
                "metadata.annotations[{PREFIX}{name}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
            ));
        }
    }
    told
}

/// Whether `wide` tolerates all that `t` does (`isSuperset`).
fn tolerates_all_of(wide: &Value, t: &Value) -> bool {
    if wide == t {
        return true;
    }
    let (of, to) = (
        |k: &str| wide[k].as_str().unwrap_or_default(),
        |k: &str| t[k].as_str().unwrap_or_default(),
    );
    if to("key") != of("key") && !(of("key").is_empty() && of("operator") == "Exists") {
        return false;
    }
    if to("effect") != of("effect") && !of("effect").is_empty() {
        return false;
    }
    if of("effect") == "NoExecute"
        && let Some(seconds) = wide["tolerationSeconds"].as_i64()
        && t["tolerationSeconds"].as_i64().is_none_or(|s| s > seconds)
    {
        return false;
    }
    match of("operator") {
        "Equal" | "" => to("operator") == "Equal" && to("value") == of("value"),
        operator => operator == "Exists",
    }
}

/// All tolerations but those that another makes needless (`MergeTolerations`).
fn merge_tolerations(all: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for (i, t) in all.iter().enumerate() {
        let needless = merged.iter().any(|m| tolerates_all_of(m, t))
            || all[i + 1..]
                .iter()
                .any(|later| later != t && tolerates_all_of(later, t));
        if !needless {
            merged.push(t.clone());
        }
    }
    merged
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
