//! Resource quotas: what objects use of what a quota counts (`pkg/quota/v1`), and the admission that holds creates back
//! (`plugin/pkg/admission/resourcequota`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Resource, Server, text};
use crate::local::Gvr;
use crate::status::{Status, qualified};
use crate::store::{Key, StoreError};
use cfn_cel::quantity::Quantity;

/// What quotas have used after a write, by their name.
pub(super) type Charges = Vec<(String, Amounts)>;

/// Amounts by the name that quotas know them by.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

const QUOTAS: Gvr = Gvr::new("", "v1", "resourcequotas");

/// Core resources that quotas count under their bare name.
const COUNTED: [&str; 7] = [
    "pods",
    "services",
    "secrets",
    "configmaps",
    "resourcequotas",
    "replicationcontrollers",
    "persistentvolumeclaims",
];

/// What one object uses, whatever quotas there are.
pub(crate) fn usage(gvr: &Gvr, v: &Value) -> Amounts {
    let one = Quantity::from_units(1);
    let mut used = Amounts::new();
    used.insert(format!("count/{}", qualified(&gvr.group, &gvr.resource)), one);
    if !gvr.group.is_empty() {
        return used;
    }
    match &*gvr.resource {
        // Ended pods count as objects only.
        "pods" if matches!(text(v, "/status/phase"), "Succeeded" | "Failed") => {}
        "pods" => {
            used.insert("pods".into(), one);
            used.extend(pod_usage(&v["spec"]));
        }
        "services" => {
            used.insert("services".into(), one);
            let ports = v["spec"]["ports"].as_array().map_or(0, Vec::len);
            let ports = Quantity::from_units(i64::try_from(ports).unwrap_or(i64::MAX));
            match text(v, "/spec/type") {
                "NodePort" => {
                    used.insert("services.nodeports".into(), ports);
                }
                "LoadBalancer" => {
                    if v["spec"]["allocateLoadBalancerNodePorts"] != false {
                        used.insert("services.nodeports".into(), ports);
                    }
                    used.insert("services.loadbalancers".into(), one);
                }
                _ => {}
            }
        }
        "persistentvolumeclaims" => {
            used.insert("persistentvolumeclaims".into(), one);
            let size = Quantity::from_value(&v["spec"]["resources"]["requests"]["storage"]).ok();
            used.extend(size.map(|q| ("requests.storage".into(), q)));
            let class = text(v, "/spec/storageClassName");
            if !class.is_empty() {
                let of = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
                used.insert(of("persistentvolumeclaims"), one);
                used.extend(size.map(|q| (of("requests.storage"), q)));
            }
        }
        plain if COUNTED.contains(&plain) => {
            used.insert(plain.to_owned(), one);
        }
        _ => {}
    }
    used
}

/// What a pod's containers ask for together.
pub(crate) fn pod_requests(spec: &Value) -> serde_json::Map<String, Value> {
    let mut spec = spec.clone();
    spec.as_object_mut().map(|m| m.remove("overhead"));
    let all = pod_amounts(&spec, "requests").into_iter();
    all.map(|(name, amount)| (name, amount.to_string().into())).collect()
}

/// The sum over containers, or the largest init container where that is more; restartable ones run along.
pub(crate) fn pod_amounts(spec: &Value, list: &str) -> Amounts {
    let of = |c: &Value| -> Amounts {
        let all = c["resources"][list].as_object().into_iter().flatten();
        all.filter_map(|(k, v)| Some((k.clone(), Quantity::from_value(v).ok()?)))
            .collect()
    };
    let add = |to: &mut Amounts, from: &Amounts| {
        for (k, q) in from {
            let sum = to.get(k).map_or(*q, |old| *old + *q);
            to.insert(k.clone(), sum);
        }
    };
    let max = |to: &mut Amounts, from: &Amounts| {
        for (k, q) in from {
            if to.get(k).is_none_or(|old| old < q) {
                to.insert(k.clone(), *q);
            }
        }
    };
    let items = |k: &str| spec[k].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut total = Amounts::new();
    for c in items("containers") {
        add(&mut total, &of(c));
    }
    let (mut along, mut most) = (Amounts::new(), Amounts::new());
    for c in items("initContainers") {
        let mut now = of(c);
        if text(c, "/restartPolicy") == "Always" {
            add(&mut along, &now);
            max(&mut most, &along);
        } else {
            add(&mut now, &along);
            max(&mut most, &now);
        }
    }
    add(&mut total, &along);
    max(&mut total, &most);
    let overhead: Amounts = spec["overhead"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), Quantity::from_value(v).ok()?)))
        .collect();
    for (k, q) in overhead {
        if list == "requests" || total.contains_key(&k) {
            let sum = total.get(&k).map_or(q, |old| *old + q);
            total.insert(k, sum);
        }
    }
    total
}

fn pod_usage(spec: &Value) -> Amounts {
    let mut used = Amounts::new();
    for (k, q) in pod_amounts(spec, "requests") {
        if matches!(k.as_str(), "cpu" | "memory" | "ephemeral-storage") || k.starts_with("hugepages-") {
            used.insert(k.clone(), q);
        }
        used.insert(format!("requests.{k}"), q);
    }
    for (k, q) in pod_amounts(spec, "limits") {
        if matches!(k.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(format!("limits.{k}"), q);
        }
    }
    used
}

/// Whether a quota with scopes is about this object: scopes are of pods.
fn in_scope(quota: &Value, gvr: &Gvr, v: &Value) -> bool {
    let plain = quota["spec"]["scopes"].as_array().into_iter().flatten();
    let plain = plain.filter_map(Value::as_str).map(|s| (s, "Exists", &Value::Null));
    let selected = quota["spec"]["scopeSelector"]["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|e| (text(e, "/scopeName"), text(e, "/operator"), &e["values"]));
    let mut all = plain.chain(selected).peekable();
    if all.peek().is_none() {
        return true;
    }
    if !gvr.group.is_empty() || gvr.resource != "pods" {
        return false;
    }
    let spec = &v["spec"];
    all.all(|(scope, operator, values)| match scope {
        "Terminating" => spec["activeDeadlineSeconds"].as_i64().is_some_and(|n| n >= 0),
        "NotTerminating" => spec["activeDeadlineSeconds"].is_null(),
        "BestEffort" => crate::defaults::qos_class(spec) == "BestEffort",
        "NotBestEffort" => crate::defaults::qos_class(spec) != "BestEffort",
        "PriorityClass" => {
            let class = text(spec, "/priorityClassName");
            let among = values.as_array().is_some_and(|l| l.iter().any(|x| x == class));
            match operator {
                "In" => among,
                "NotIn" => !among,
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        "CrossNamespacePodAffinity" => ["podAffinity", "podAntiAffinity"].iter().any(|k| {
            spec["affinity"][k].to_string().contains("\"namespaces\"")
                || spec["affinity"][k].to_string().contains("\"namespaceSelector\"")
        }),
        _ => false,
    })
}

/// What a quota limits.
fn hard(quota: &Value) -> Amounts {
    let all = quota["spec"]["hard"].as_object().into_iter().flatten();
    all.filter_map(|(k, v)| Some((k.clone(), Quantity::from_value(v).ok()?)))
        .collect()
}

/// What of a quota's limits is used by `objects`: every limited name is there.
pub(crate) fn used<'a>(quota: &Value, objects: impl Iterator<Item = (&'a Gvr, &'a Value)>) -> Amounts {
    let mut sum: Amounts = hard(quota).into_keys().map(|k| (k, Quantity::ZERO)).collect();
    for (gvr, v) in objects {
        if !in_scope(quota, gvr, v) {
            continue;
        }
        for (k, q) in usage(gvr, v) {
            if let Some(s) = sum.get_mut(&k) {
                *s += q;
            }
        }
    }
    sum
}

/// Amounts as objects write them.
pub(crate) fn to_value(amounts: &Amounts) -> Value {
    Value::Object(amounts.iter().map(|(k, q)| (k.clone(), json!(q.to_string()))).collect())
}

/// CPU and memory that quotas want said (`podEvaluator.Constraints`).
const MUST_SAY: [&str; 6] = [
    "cpu",
    "limits.cpu",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.memory",
];

/// `must specify limits.cpu for: a,b; ...`.
fn missing(hard: &Amounts, spec: &Value) -> Option<String> {
    let mut parts = Vec::new();
    for name in MUST_SAY.iter().filter(|n| hard.contains_key(**n)) {
        let (list, resource) = name.split_once('.').unwrap_or(("requests", name));
        let without: BTreeSet<&str> = ["containers", "initContainers"]
            .iter()
            .flat_map(|k| spec[k].as_array().into_iter().flatten())
            .filter(|c| c["resources"][list][resource].is_null())
            .map(|c| text(c, "/name"))
            .collect();
        if !without.is_empty() {
            let list: Vec<_> = without.into_iter().collect();
            parts.push(format!("{name} for: {}", list.join(",")));
        }
    }
    (!parts.is_empty()).then(|| format!("must specify {}", parts.join("; ")))
}

impl Server {
    /// Whether a namespace has quotas: its creates go one after the other then.
    pub(super) fn has_quotas(&self, ns: &str) -> bool {
        !ns.is_empty() && !self.store.list(&QUOTAS, Some(ns), None).objects.is_empty()
    }

    /// What an object in the place of `old` is to be charged to the quotas of its namespace once it is written.
    ///
    /// # Errors
    /// 403 when one would be exceeded.
    pub(super) fn check_quotas(
        &self,
        r: &Resource,
        ns: &str,
        old: Option<&Value>,
        v: &Value,
    ) -> Result<Charges, Status> {
        // Both are plugins that look at what is valid.
        if r.is("", "persistentvolumeclaims") && old.is_none() {
            self.check_claim_limits(ns, v)?;
        }
        if !r.namespaced {
            return Ok(Charges::new());
        }
        let gvr = &*r.storage;
        let name = text(v, "/metadata/name");
        let refuse = |why: String| Err(Status::forbidden(&r.group, &r.plural, name, &why));
        let mut quotas = self.store.list(&QUOTAS, Some(ns), None).objects;
        quotas.retain(|q| in_scope(&q.peek(), gvr, v));
        for q in &quotas {
            if r.is("", "pods")
                && old.is_none()
                && let Some(what) = missing(&hard(&q.peek()), &v["spec"])
            {
                return refuse(format!("failed quota: {}: {what}", q.name()));
            }
        }
        let before = old.map(|o| usage(gvr, o)).unwrap_or_default();
        let more: Amounts = usage(gvr, v)
            .into_iter()
            .map(|(k, q)| {
                let b = before.get(&k).copied().unwrap_or(Quantity::ZERO);
                (k, q - b)
            })
            .filter(|(_, q)| *q > Quantity::ZERO)
            .collect();
        let mut charges = Charges::new();
        for q in quotas {
            let quota = q.peek();
            let hard = hard(&quota);
            let more: Amounts = more
                .iter()
                .filter(|(k, _)| hard.contains_key(*k))
                .map(|(k, q)| (k.clone(), *q))
                .collect();
            if more.is_empty() {
                continue;
            }
            let counted = |g: &Gvr| usage(g, &Value::Null).keys().any(|k| hard.contains_key(k)) || g == gvr;
            let objects: Vec<_> = self
                .store
                .resources()
                .into_iter()
                .filter(|g| counted(g))
                .flat_map(|g| {
                    let list = self.store.list(&g, Some(ns), None).objects;
                    list.into_iter().map(move |o| (g.clone(), o.peek()))
                })
                .collect();
            let mut have = used(&quota, objects.iter().map(|(g, o)| (&**g, &**o)));
            // What is gone is given back by the controller, not before.
            for (k, have) in &mut have {
                let noted = Quantity::from_value(&quota["status"]["used"][k]);
                *have = noted.map_or(*have, |n| n.max(*have));
            }
            let exceeded: Vec<&String> = more
                .iter()
                .filter(|(k, d)| have[*k] + **d > hard[*k])
                .map(|(k, _)| k)
                .collect();
            if exceeded.is_empty() {
                let after = more.iter().map(|(k, d)| (k.clone(), have[k] + *d)).collect();
                charges.push((q.name().to_owned(), after));
                continue;
            }
            let say = |f: &dyn Fn(&String) -> Quantity| {
                let list: Vec<String> = exceeded.iter().map(|k| format!("{k}={}", f(k))).collect();
                list.join(",")
            };
            return refuse(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                q.name(),
                say(&|k| more[k]),
                say(&|k| have[k]),
                say(&|k| hard[k])
            ));
        }
        Ok(charges)
    }

    /// Notes in quotas' statuses what is used after a write, as admission does (`checkQuotas`): at once, where their
    /// controller would by and by. Before it has said what is limited there is nothing to note, and what it has noted
    /// meanwhile stays where it is more.
    pub(super) fn charge(&self, ns: &str, charges: &Charges) {
        let Some(r) = self.catalog.find(&QUOTAS.group, &QUOTAS.version, &QUOTAS.resource) else {
            return;
        };
        for (name, used) in charges {
            let key = Key::new(ns, name.as_str());
            // Its controller may write in between, and counts what is stored: it does not matter who is last.
            for _ in 0..5 {
                let Some(quota) = self.store.get(&QUOTAS, &key) else {
                    break;
                };
                let mut new = (*quota.value()).clone();
                if !new["status"]["hard"].is_object() {
                    break;
                }
                for (k, amount) in used {
                    let noted = Quantity::from_value(&new["status"]["used"][k]).unwrap_or_default();
                    new["status"]["used"][k] = json!(noted.max(*amount).to_string());
                }
                if !matches!(self.put_own_status(&r, &quota, new), Err(StoreError::Changed)) {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_uses_what_its_containers_ask_for() {
        let pods = Gvr::new("", "v1", "pods");
        let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}}},
            {"resources": {"requests": {"cpu": "200m", "example.com/gpu": "2"}}}],
            "initContainers": [{"resources": {"requests": {"cpu": "250m"}}}]}});
        let u = usage(&pods, &pod);
        let of = |k: &str| u.get(k).map(ToString::to_string);
        assert_eq!(of("requests.cpu"), Some("300m".into()));
        assert_eq!(of("cpu"), Some("300m".into()));
        assert_eq!(of("limits.cpu"), Some("1".into()));
        assert_eq!(of("requests.example.com/gpu"), Some("2".into()));
        assert_eq!(of("count/pods"), Some("1".into()));
        let quota = json!({"spec": {"hard": {"pods": "3", "requests.cpu": "1"}, "scopes": ["NotTerminating"]}});
        let sum = used(&quota, [(&pods, &pod), (&pods, &pod)].into_iter());
        assert_eq!(to_value(&sum), json!({"pods": "2", "requests.cpu": "600m"}));
        assert_eq!(missing(&hard(&quota), &pod["spec"]), None);
    }
}
