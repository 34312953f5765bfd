//! `pods/binding` and `pods/eviction`.

use serde_json::{Value, json};

use super::meta::metadata;
use super::policy::Review;
use super::update::Proposal;
use super::{Call, DeleteOptions, Resource, Server, Target, text};
use crate::local::Gvr;
use crate::schema::{FieldError, quote};
use crate::select::LabelSelector;
use crate::status::{Cause, Details, Status};

const BUDGETS: Gvr = Gvr::new("policy", "v1", "poddisruptionbudgets");

impl Server {
    /// Binds a pod to the node that a Binding names (`BindingREST.assignPod`).
    ///
    /// # Errors
    /// 404, 409 when it is bound or being deleted, 422 for a target that is no node.
    pub fn bind(&self, call: &mut Call, pods: &Resource, ns: &str, name: &str, binding: &Value) -> Result<(), Status> {
        // Bindings of the old path have the name nowhere else.
        if text(binding, "/metadata/name") != name {
            let why = "name in URL does not match name in Binding object";
            return Err(Status::bad_request(why));
        }
        let node = text(binding, "/target/name").to_owned();
        // Go's handler tells what `ValidatePodBinding` found without making a status of it.
        let mut wrong = Vec::new();
        let kind = text(binding, "/target/kind");
        if !matches!(kind, "" | "Node") {
            wrong.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]).to_string());
        }
        if node.is_empty() {
            wrong.push(FieldError::required("target.name", "").to_string());
        }
        match wrong.as_slice() {
            [] => {}
            [one] => return Err(Status::new(500, "", one.as_str())),
            all => return Err(Status::new(500, "", format!("[{}]", all.join(", ")))),
        }
        self.review_about(call, pods, ns, "binding", binding)?;
        let uid = text(binding, "/metadata/uid").to_owned();
        let wanted = text(binding, "/metadata/resourceVersion").to_owned();
        let now = self.now();
        let t = Target {
            resource: pods,
            namespace: ns,
            name,
            subresource: Some("binding"),
        };
        self.modify(call, &t, false, &mut |_, old| {
            let refused = |why: String| Err(Status::conflict("", "pods/binding", name, &why));
            let mut v = (*old.value()).clone();
            if !uid.is_empty() && uid != text(&v, "/metadata/uid") {
                return refused(format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    text(&v, "/metadata/uid")
                ));
            }
            let version = text(&v, "/metadata/resourceVersion");
            if !wanted.is_empty() && wanted != version {
                return refused(format!(
                    "Precondition failed: ResourceVersion in precondition: {wanted}, ResourceVersion in object meta: {version}"
                ));
            }
            if !v["metadata"]["deletionTimestamp"].is_null() {
                return refused(format!("pod {name} is being deleted, cannot be assigned to a host"));
            }
            let bound = text(&v, "/spec/nodeName");
            if !bound.is_empty() {
                return refused(format!("pod {name} is already assigned to node {}", quote(bound)));
            }
            if v["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
                return refused(format!("pod {name} has non-empty .spec.schedulingGates"));
            }
            v["spec"]["nodeName"] = json!(node);
            for field in ["annotations", "labels"] {
                if let Some(add) = binding["metadata"][field].as_object() {
                    let all = metadata(&mut v).entry(field).or_insert_with(|| json!({}));
                    add.iter().for_each(|(k, x)| all[k.as_str()] = x.clone());
                }
            }
            if kind == "Node" {
                self.label_topology(&node, &mut v);
            }
            set_condition(
                &mut v,
                json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}),
            );
            // It is on its node now.
            v["status"].as_object_mut().map(|m| m.remove("nominatedNodeName"));
            Ok(Proposal {
                value: v,
                // A binding goes past those who own fields.
                tracked: true,
                patched: false,
            })
        })
        .map(drop)
    }

    /// Lets webhooks see what a subresource is sent.
    fn review_about(&self, call: &mut Call, r: &Resource, ns: &str, sub: &str, sent: &Value) -> Result<(), Status> {
        let who = call.circumstances();
        let review = Review {
            call: &who,
            resource: r,
            namespace: ns,
            name: None,
            subresource: sub,
            operation: "CREATE",
            old: None,
        };
        self.validate_by_webhooks(call, &review, Some(sent))
    }

    /// Deletes a pod if its disruption budget lets it (`EvictionREST.Create`).
    ///
    /// # Errors
    /// 404, 429 when the budget does not allow it now.
    pub fn evict(
        &self,
        call: &mut Call,
        pods: &Resource,
        ns: &str,
        name: &str,
        eviction: &Value,
    ) -> Result<(), Status> {
        if text(eviction, "/metadata/name") != name {
            let why = "name in URL does not match name in Eviction object";
            return Err(Status::bad_request(why));
        }
        let pod = self.get(pods, ns, name)?;
        self.review_about(call, pods, ns, "eviction", eviction)?;
        let options = DeleteOptions::from_body(&eviction["deleteOptions"], None)?;
        let value = pod.value();
        let phase = text(&value, "/status/phase");
        let free = matches!(phase, "Succeeded" | "Failed" | "Pending")
            || !pod.value()["metadata"]["deletionTimestamp"].is_null();
        if !free {
            self.check_budgets(pods, ns, name, &pod.value())?;
        }
        self.delete(call, pods, ns, name, &options).map(drop)
    }

    fn check_budgets(&self, pods: &Resource, ns: &str, name: &str, pod: &Value) -> Result<(), Status> {
        let all = self.store.list(&BUDGETS, Some(ns), None).objects;
        let selects = |b: &Value, p: &Value| {
            LabelSelector::from_object(&b["spec"]["selector"]).is_ok_and(|s| s.matches(&p["metadata"]["labels"]))
        };
        let mine: Vec<_> = all.iter().filter(|b| selects(&b.value(), pod)).collect();
        let budget = match mine.as_slice() {
            [] => return Ok(()),
            [one] => one,
            _ => {
                return Err(Status::internal(format!(
                    "This pod {} has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                    quote(name)
                )));
            }
        };
        // No controller keeps status.disruptionsAllowed here: it is counted when asked for.
        let peers = self.store.list(&pods.storage, Some(ns), None).objects;
        let peers: Vec<_> = peers
            .iter()
            .filter(|p| {
                selects(&budget.value(), &p.value())
                    && !matches!(text(&p.value(), "/status/phase"), "Succeeded" | "Failed")
            })
            .collect();
        let healthy = peers.iter().filter(|p| is_healthy(&p.value())).count() as i64;
        let expected = peers.len() as i64;
        let spec = &budget.value()["spec"];
        let wanted = if spec["maxUnavailable"].is_null() {
            scaled(&spec["minAvailable"], expected)
        } else {
            expected - scaled(&spec["maxUnavailable"], expected)
        };
        if is_healthy(pod) && healthy - wanted <= 0 {
            let mut s =
                Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10);
            let why = format!(
                "The disruption budget {} needs {wanted} healthy pods and has {healthy} currently",
                budget.name()
            );
            s.details = Some(Box::new(Details {
                causes: vec![Cause::new("DisruptionBudget", "", why)],
                ..Details::default()
            }));
            return Err(s);
        }
        Ok(())
    }
}

fn is_healthy(p: &Value) -> bool {
    let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
    p["metadata"]["deletionTimestamp"].is_null()
        && p["status"]["conditions"]
            .as_array()
            .is_some_and(|a| a.iter().any(ready))
}

/// A number, or a percentage of `of` rounded up (intstr.GetScaledValueFromIntOrPercent).
fn scaled(v: &Value, of: i64) -> i64 {
    match v {
        Value::String(s) => {
            let percent: i64 = s.trim_end_matches('%').parse().unwrap_or(0);
            (of * percent + 99) / 100
        }
        v => v.as_i64().unwrap_or(0),
    }
}

/// Puts a condition in the place of the one of its type.
pub(super) fn set_condition(v: &mut Value, condition: Value) {
    if !v["status"]["conditions"].is_array() {
        v["status"]["conditions"] = json!([]);
    }
    if let Some(list) = v["status"]["conditions"].as_array_mut() {
        match list.iter_mut().find(|c| c["type"] == condition["type"]) {
            Some(c) => *c = condition,
            None => list.push(condition),
        }
    }
}
