//! The admission plugin PodSecurity (`plugin/pkg/admission/security/podsecurity`): pods keep to what the labels of their
//! namespace ask for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::policy::Review;
use super::server::refuse;
use super::{Call, Resource, Server, text};
use crate::local::Gvr;
use crate::pod_security::{self, Level, LevelVersion, Violation};
use crate::schema::quote;
use crate::status::Status;
use crate::store::Key;

const NAMESPACES: Gvr = Gvr::new("", "v1", "namespaces");
const PODS: Gvr = Gvr::new("", "v1", "pods");
/// So many pods of a namespace are looked at when it asks for more (`defaultNamespaceMaxPodsToCheck`).
const MOST: usize = 3000;

/// Where the template of the pods that a resource makes is; `None`: it makes none.
fn template(r: &Resource) -> Option<&'static str> {
    match (&*r.group, &*r.plural) {
        ("", "podtemplates") => Some("/template"),
        ("", "replicationcontrollers")
        | ("apps", "replicasets" | "deployments" | "statefulsets" | "daemonsets")
        | ("batch", "jobs") => Some("/spec/template"),
        ("batch", "cronjobs") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Whether an update gives a pod another image, or another container (`isSignificantPodUpdate`).
fn is_significant(old: &Value, new: &Value) -> bool {
    let list = |v: &Value, k: &str| v["spec"][k].as_array().cloned().unwrap_or_default();
    let lists_differ = ["containers", "initContainers"].iter().any(|k| {
        let (was, is) = (list(old, k), list(new, k));
        was.len() != is.len() || was.iter().zip(&is).any(|(a, b)| a["image"] != b["image"])
    });
    let was = list(old, "ephemeralContainers");
    let is_new = |c: &Value| !was.iter().any(|o| o["name"] == c["name"] && o["image"] == c["image"]);
    lists_differ || list(new, "ephemeralContainers").iter().any(is_new)
}

impl Server {
    /// Refuses, notes or warns of what does not keep to the standard of its namespace, and labels that name none.
    pub(super) fn check_pod_security(&self, call: &mut Call, review: &Review<'_>, new: &Value) -> Result<(), Status> {
        let r = review.resource;
        if r.custom.is_some() {
            return Ok(());
        }
        let pods = match review.subresource {
            "" if r.is("", "namespaces") => return self.check_labels(call, review, new),
            "" | "ephemeralcontainers" | "resize" if r.is("", "pods") => true,
            "" if template(r).is_some() => false,
            _ => return Ok(()),
        };
        let Some(namespace) = self.store.get(&NAMESPACES, &Key::new("", review.namespace)) else {
            return Ok(());
        };
        let (policy, errors) = pod_security::policy(&namespace.peek()["metadata"]["labels"]);
        let note = |call: &mut Call, key: &str, what: String| {
            call.annotations
                .insert(format!("pod-security.kubernetes.io/{key}"), what);
        };
        if errors.is_empty() && policy.is_privileged() {
            if pods {
                note(call, "enforce-policy", policy.enforce.to_string());
            }
            return Ok(());
        }
        let free = |l: LevelVersion| l.level == Level::Privileged;
        if !pods && errors.is_empty() && free(policy.warn) && free(policy.audit) {
            return Ok(());
        }
        if pods && review.old.is_some_and(|old| !is_significant(old, new)) {
            return Ok(());
        }
        let pod = match template(r) {
            Some(path) => new.pointer(path),
            None => Some(new),
        };
        let Some(pod) = pod.filter(|p| p.is_object()) else {
            return Ok(());
        };
        if !errors.is_empty() {
            let told: Vec<String> = errors.iter().map(|e| format!("{}: {}", e.path, e.message())).collect();
            let told = match told.as_slice() {
                [one] => one.clone(),
                all => format!("[{}]", all.join(", ")),
            };
            note(call, "error", format!("Failed to parse policy: {told}"));
        }
        let found = |asked| pod_security::evaluate(asked, &pod["metadata"], &pod["spec"]);
        let told = |asked: LevelVersion, all: &[Violation]| {
            let asked = quote(&asked.to_string());
            format!("violate PodSecurity {asked}: {}", pod_security::details(all))
        };
        // What is asked for twice is looked at once.
        let enforced = pods.then(|| found(policy.enforce));
        let of = |asked: LevelVersion| match &enforced {
            Some(all) if asked == policy.enforce => all.clone(),
            _ => found(asked),
        };
        let noted = of(policy.audit);
        if !noted.is_empty() {
            note(
                call,
                "audit-violations",
                format!("would {}", told(policy.audit, &noted)),
            );
        }
        if let Some(all) = &enforced {
            note(call, "enforce-policy", policy.enforce.to_string());
            if !all.is_empty() {
                let why = told(policy.enforce, all).replacen("violate", "violates", 1);
                return Err(Status::forbidden("", "pods", text(new, "/metadata/name"), &why));
            }
        }
        let warned = of(policy.warn);
        if !warned.is_empty() {
            call.warnings.push(format!("would {}", told(policy.warn, &warned)));
        }
        Ok(())
    }

    /// The labels of a namespace name standards; pods that are there and do not keep to a stricter one are told of.
    fn check_labels(&self, call: &mut Call, review: &Review<'_>, new: &Value) -> Result<(), Status> {
        let name = text(new, "/metadata/name");
        let (asked, errors) = pod_security::policy(&new["metadata"]["labels"]);
        let Some(old) = review.old else {
            return refuse(review.resource, name, &errors);
        };
        let (before, old_errors) = pod_security::policy(&old["metadata"]["labels"]);
        if errors != old_errors {
            refuse(review.resource, name, &errors)?;
        }
        let (asked, before) = (asked.enforce, before.enforce);
        let relaxed = asked.level <= before.level && asked.version() == before.version();
        if asked == before || asked.level == Level::Privileged || relaxed {
            return Ok(());
        }
        call.warnings.extend(self.violators(name, asked));
        Ok(())
    }

    /// What there is in a namespace that does not keep to `asked` (`EvaluatePodsInNamespace`).
    fn violators(&self, namespace: &str, asked: LevelVersion) -> Vec<String> {
        let pods = self.store.list(&PODS, Some(namespace), None).objects;
        // Of each controller one pod comes first: they are alike.
        let mut seen = BTreeSet::new();
        let (mut first, mut others) = (Vec::new(), Vec::new());
        for pod in pods {
            let value = pod.peek();
            let owners = value["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            let mut controllers = owners.filter(|o| o["controller"] == true);
            let of = controllers.next().map(|o| text(o, "/uid").to_owned());
            match of.is_none_or(|uid| seen.insert(uid)) {
                true => first.push(value),
                false => others.push(value),
            }
        }
        first.append(&mut others);
        let mut warnings = Vec::new();
        if first.len() > MOST {
            warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {MOST} of {} existing pods",
                first.len()
            ));
        }
        let mut by_reason: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for pod in first.iter().take(MOST) {
            let all = pod_security::evaluate(asked, &pod["metadata"], &pod["spec"]);
            if !all.is_empty() {
                let name = text(pod, "/metadata/name");
                by_reason.entry(pod_security::reasons(&all)).or_default().push(name);
            }
        }
        if !by_reason.is_empty() {
            let (of, asked) = (quote(namespace), quote(&asked.to_string()));
            warnings.push(format!(
                "existing pods in namespace {of} violate the new PodSecurity enforce level {asked}"
            ));
        }
        let told = by_reason.iter().map(|(reason, names)| {
            let name = names.iter().min().copied().unwrap_or_default();
            match names.len() {
                1 => format!("{name}: {reason}"),
                2 => format!("{name} (and 1 other pod): {reason}"),
                n => format!("{name} (and {} other pods): {reason}", n - 1),
            }
        });
        let told: BTreeSet<String> = told.collect();
        warnings.extend(told);
        warnings
    }
}
