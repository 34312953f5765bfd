//! What single kinds need beyond the common path: addresses of services, namespaces, definitions, signing requests.

use std::sync::{Arc, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::conditions;
use super::meta::{child, finalizers, set_finalizers};
use super::{Call, Resource, Server, text};
use crate::aggregator;
use crate::controllers::in_use::{ATTRIBUTES, CLAIM, VOLUME};
use crate::controllers::node_health::NOT_READY;
use crate::crd;
use crate::local::Gvr;
use crate::schema::quote;
use crate::status::{Cause, Status};
use crate::store::{Key, Object};
use cfn_cel::quantity::Quantity;

const STORAGE_CLASSES: Gvr = Gvr::new("storage.k8s.io", "v1", "storageclasses");

const INGRESS_CLASSES: Gvr = Gvr::new("networking.k8s.io", "v1", "ingressclasses");

/// Storage in use is not deleted under those who use it (`StorageObjectInUseProtection`).
fn protect(v: &mut Value, finalizer: &str) {
    let mut all = finalizers(v);
    if !all.iter().any(|f| f == finalizer) {
        all.push(finalizer.to_owned());
        set_finalizers(v, &all);
    }
}

impl Server {
    /// Held over writes that read other objects first.
    pub(super) fn exclusive_for(&self, r: &Resource, ns: &str) -> Option<MutexGuard<'_, ()>> {
        let needed = r.is("", "services") || is_definition(r) || r.namespaced && self.has_quotas(ns);
        needed.then(|| self.exclusive.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn admit_create(&self, call: &mut Call, r: &Resource, ns: &str, v: &mut Value) -> Result<(), Status> {
        if r.custom.is_some() {
            return Ok(());
        }
        match (&*r.group, &*r.plural) {
            ("", "namespaces") => {
                let all = v["spec"]["finalizers"].as_array().cloned().unwrap_or_default();
                let own = json!("kubernetes");
                let missing = (!all.contains(&own)).then_some(own);
                v["spec"]["finalizers"] = all.into_iter().chain(missing).collect();
                v["status"]["phase"] = json!("Active");
            }
            ("", "services") => self.allocate(call, r, None, v)?,
            // Who comes by the API is not ready until it says so (`TaintNodesByCondition`).
            ("", "nodes") if call.validation.is_some() => {
                let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
                let spec = child(v, "spec");
                spec.remove("configSource");
                match spec.get_mut("taints").and_then(Value::as_array_mut) {
                    Some(all) if all.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule") => {}
                    Some(all) => all.push(taint),
                    None => drop(spec.insert("taints".into(), json!([taint]))),
                }
            }
            ("", "pods") => self.admit_new_pod(call, ns, v)?,
            ("", "persistentvolumeclaims") => {
                protect(v, CLAIM);
                // plugin/pkg/admission/storage/storageclass/setdefault
                let noted = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
                if v["spec"]["storageClassName"].is_null() && v.pointer(noted).is_none() {
                    let beta = "storageclass.beta.kubernetes.io/is-default-class";
                    let class =
                        self.default_class(&STORAGE_CLASSES, &["storageclass.kubernetes.io/is-default-class", beta]);
                    class.map(|name| child(v, "spec").insert("storageClassName".into(), name.into()));
                }
            }
            // plugin/pkg/admission/network/defaultingressclass
            ("networking.k8s.io", "ingresses") => {
                let noted = "/metadata/annotations/kubernetes.io~1ingress.class";
                if v["spec"]["ingressClassName"].is_null() && v.pointer(noted).is_none() {
                    let class = self.default_class(&INGRESS_CLASSES, &["ingressclass.kubernetes.io/is-default-class"]);
                    class.map(|name| child(v, "spec").insert("ingressClassName".into(), name.into()));
                }
            }
            ("", "persistentvolumes") => {
                protect(v, VOLUME);
                v["status"]["lastPhaseTransitionTime"] = json!(self.now());
            }
            ("apiregistration.k8s.io", "apiservices") => match v["spec"]["service"].is_object() {
                true => v["status"] = json!({}),
                false => v["status"] = json!({"conditions": [conditions::local(&self.now())]}),
            },
            ("storage.k8s.io", "volumeattributesclasses") => protect(v, ATTRIBUTES),
            ("certificates.k8s.io", "certificatesigningrequests") => {
                // pkg/registry/certificates: who asks is not the asker's to say.
                let spec = child(v, "spec");
                for k in ["username", "uid", "groups", "extra"] {
                    spec.remove(k);
                }
                spec.insert("username".into(), json!(call.user.name));
                if !call.user.uid.is_empty() {
                    spec.insert("uid".into(), json!(call.user.uid));
                }
                spec.insert("groups".into(), json!(call.user.groups));
                if !call.user.extra.is_empty() {
                    spec.insert("extra".into(), json!(call.user.extra));
                }
            }
            ("apiextensions.k8s.io", "customresourcedefinitions") => crd::admit(None, v),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn admit_update(
        &self,
        call: &mut Call,
        r: &Resource,
        sub: Option<&str>,
        old: &Value,
        v: &mut Value,
    ) -> Result<(), Status> {
        if r.custom.is_some() {
            return Ok(());
        }
        // The cluster's own parts write what they read, and that is prepared.
        if sub.is_none() && call.validation.is_some() {
            crate::defaults::prepare(&r.group, &r.kind, Some(old), v);
        }
        match (&*r.group, &*r.plural, sub) {
            ("", "namespaces", None) => v["spec"]["finalizers"] = old["spec"]["finalizers"].clone(),
            ("", "services", None) => {
                self.allocate(call, r, Some(old), v)?;
                crate::defaults::prepare_for_create("", "Service", v, &self.settings.admission);
            }
            // What Go writes always.
            ("", "events", None) => {
                crate::defaults::prepare_for_create("", "Event", v, &self.settings.admission);
            }
            ("", "pods", Some("resize")) => resized(old, v),
            // The plugin DefaultTolerationSeconds is about updates, too.
            ("", "pods", None) => {
                keep_priority(old, v);
                crate::defaults::tolerate(v, &self.settings.admission);
            }
            // What nodes were set up with is not told any more (pkg/registry/core/node).
            ("", "nodes", None) if old["spec"]["configSource"].is_null() => {
                child(v, "spec").remove("configSource");
            }
            ("certificates.k8s.io", "certificatesigningrequests", None) => v["spec"] = old["spec"].clone(),
            ("certificates.k8s.io", "certificatesigningrequests", Some(_)) => {
                let now = self.now();
                for c in v["status"]["conditions"].as_array_mut().into_iter().flatten() {
                    for k in ["lastUpdateTime", "lastTransitionTime"] {
                        if c[k].is_null() {
                            c[k] = json!(now);
                        }
                    }
                }
            }
            // A feature that is gone: kept by nodes that have it (nodeStatusStrategy).
            ("", "nodes", Some("status")) if old["status"]["config"].is_null() => {
                child(v, "status").remove("config");
            }
            ("", "persistentvolumes", Some("status")) if old["status"]["phase"] == v["status"]["phase"] => {
                let field = "lastPhaseTransitionTime";
                let was = &old["status"][field];
                if v["status"][field].is_null() && !was.is_null() {
                    v["status"][field] = was.clone();
                }
            }
            ("", "persistentvolumes", Some("status")) => {
                let field = "lastPhaseTransitionTime";
                if v["status"][field].is_null() || old["status"][field] == v["status"][field] {
                    v["status"][field] = json!(self.now());
                }
            }
            ("apiextensions.k8s.io", "customresourcedefinitions", None) => crd::admit(Some(old), v),
            _ => {}
        }
        Ok(())
    }

    /// The newest class that one of these annotations makes the default.
    fn default_class(&self, of: &Gvr, annotations: &[&str]) -> Option<String> {
        let all = self.store.list(of, None, None).objects;
        let is_default = |o: &&Arc<Object>| {
            let noted = &o.peek()["metadata"]["annotations"];
            annotations.iter().any(|a| noted[*a] == "true")
        };
        let newest_first = |a: &&Arc<Object>, b: &&Arc<Object>| {
            let (x, y) = (a.value(), b.value());
            let born = |v: &Value| text(v, "/metadata/creationTimestamp").to_owned();
            born(&y).cmp(&born(&x)).then_with(|| a.name().cmp(b.name()))
        };
        let class = all.iter().filter(is_default).min_by(newest_first)?;
        Some(class.name().to_owned())
    }

    /// Only what a class allows grows (`plugin/pkg/admission/storage/persistentvolume/resize`).
    pub(super) fn check_growth(&self, old: &Value, v: &Value) -> Result<(), Status> {
        let size = |v: &Value| Quantity::from_value(&v["spec"]["resources"]["requests"]["storage"]).ok();
        let (Some(before), Some(after)) = (size(old), size(v)) else {
            return Ok(());
        };
        if after <= before {
            return Ok(());
        }
        let class = |v: &Value| match text(v, "/metadata/annotations/volume.beta.kubernetes.io~1storage-class") {
            "" => text(v, "/spec/storageClassName").to_owned(),
            noted => noted.to_owned(),
        };
        let name = class(v);
        let grows = |o: Arc<Object>| o.value()["allowVolumeExpansion"] == true;
        if name == class(old) && self.store.get(&STORAGE_CLASSES, &Key::new("", name)).is_some_and(grows) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                   support resize";
        let name = text(v, "/metadata/name");
        Err(Status::forbidden("", "persistentvolumeclaims", name, why))
    }

    /// A pod may not be resized to more than its node has (`plugin/pkg/admission/podresize`).
    pub(super) fn check_room(&self, old: &Value, v: &Value) -> Result<(), Status> {
        let (name, node) = (text(v, "/metadata/name"), text(v, "/spec/nodeName"));
        if node.is_empty() || old["metadata"]["generation"] == v["metadata"]["generation"] {
            return Ok(());
        }
        let refuse = |why: &str| Status::forbidden("", "pods", name, why);
        let Some(object) = self.store.get(&Gvr::new("", "v1", "nodes"), &Key::new("", node)) else {
            return Err(refuse(&format!("node {} not found", quote(node))));
        };
        let mut causes = Vec::new();
        let value = object.value();
        let (mut why, os) = (String::new(), text(&value, "/metadata/labels/kubernetes.io~1os"));
        if !matches!(os, "" | "linux") {
            let (node, os) = (quote(node), quote(os));
            why = format!("pod resize is only supported on linux nodes, node {node} is {os}");
            causes.push(Cause::new("UnsupportedPlatform", "", ""));
        } else {
            let has =
                |name: &str| Quantity::from_value(&object.value()["status"]["allocatable"][name]).unwrap_or_default();
            let asked = super::quota::pod_amounts(&v["spec"], "requests");
            let wants = |name: &str| asked.get(name).copied().unwrap_or_default();
            let mut short = Vec::new();
            if wants("cpu") > has("cpu") {
                let (wants, has) = (wants("cpu").milli_value(), has("cpu").milli_value());
                short.push(format!("cpu, requested: {wants}, allocatable: {has}"));
            }
            if wants("memory") > has("memory") {
                let (wants, has) = (wants("memory").value(), has("memory").value());
                short.push(format!("memory, requested: {wants}, allocatable: {has}"));
            }
            if !short.is_empty() {
                why = format!("node didn't have enough allocatable resources: {}", short.join("; "));
                causes.push(Cause::new("NodeCapacity", "", ""));
            }
        }
        if causes.is_empty() {
            return Ok(());
        }
        let mut status = refuse(&why);
        status.details.get_or_insert_default().causes = causes;
        Err(status)
    }

    pub(super) fn admit_delete(&self, r: &Resource, name: &str) -> Result<(), Status> {
        // plugin/pkg/admission/namespace/lifecycle: immortal namespaces.
        if r.is("", "namespaces") && matches!(name, "default" | "kube-system" | "kube-public") {
            return Err(Status::forbidden(
                "",
                "namespaces",
                name,
                "this namespace may not be deleted",
            ));
        }
        // pkg/registry/scheduling/priorityclass/storage
        if r.is("scheduling.k8s.io", "priorityclasses") && is_system_class(name) {
            let why = "this is a system priority class and cannot be deleted";
            return Err(Status::forbidden(&r.group, &r.plural, name, why));
        }
        Ok(())
    }

    /// After a write: `object` is what is stored now, `None` when it is gone; `old` is what was there before.
    pub(super) fn written(&self, r: &Resource, old: Option<&Arc<Object>>, object: Option<&Arc<Object>>) {
        if r.is("", "services") {
            self.keep_addresses(old, object);
        }
        if is_definition(r) {
            crd::changed(self);
            aggregator::defined(self, old, object);
        } else if object.is_none() && r.custom.is_some() {
            crd::emptied(self, r);
        } else if r.custom.is_none() {
            conditions::settle(self, r, old, object);
        }
    }
}

fn is_system_class(name: &str) -> bool {
    crate::defaults::SYSTEM_CLASSES.iter().any(|(class, _)| *class == name)
}

fn is_definition(r: &Resource) -> bool {
    r.is("apiextensions.k8s.io", "customresourcedefinitions")
}

/// What creation made of a pod's class stays where an update does not say it.
fn keep_priority(old: &Value, new: &mut Value) {
    let Some(spec) = new["spec"].as_object_mut() else {
        return;
    };
    for field in ["priority", "preemptionPolicy"] {
        let kept = &old["spec"][field];
        if spec.get(field).is_none_or(Value::is_null) && !kept.is_null() {
            spec.insert(field.to_owned(), kept.clone());
        }
    }
}

/// Of a pod that is resized nothing but resources is another (`dropNonResizeUpdates`).
fn resized(old: &Value, v: &mut Value) {
    let asked = v["spec"].take();
    let mut spec = old["spec"].clone();
    spec["resources"] = asked["resources"].clone();
    for which in ["containers", "initContainers"] {
        for (i, c) in spec[which].as_array_mut().into_iter().flatten().enumerate() {
            let wanted = &asked[which][i];
            if wanted["name"] != c["name"] {
                continue;
            }
            for field in ["resources", "resizePolicy"] {
                c[field] = wanted[field].clone();
            }
        }
    }
    super::meta::drop_nulls(&mut spec);
    v["spec"] = spec;
}
