//! What single kinds need beyond the common path: addresses of services, namespaces, definitions, signing requests.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::meta::{child, finalizers, metadata, set_finalizers};
use super::{Call, Resource, Server, text};
use crate::controllers::in_use::{CLAIM, VOLUME};
use crate::crd;
use crate::status::{Cause, Status};
use crate::store::Object;

/// `--service-cluster-ip-range` of kubeadm: 10.96.0.0/16 here, the first address is the API server's.
const SERVICE_NET: u32 = u32::from_be_bytes([10, 96, 0, 0]);
/// `--service-node-port-range`.
const NODE_PORTS: (u32, u32) = (30_000, 32_768);

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
                v["spec"]["finalizers"] = json!(["kubernetes"]);
                v["status"]["phase"] = json!("Active");
            }
            ("", "services") => self.allocate(call, r, None, v)?,
            ("", "pods") => self.admit_new_pod(call, ns, v)?,
            ("", "persistentvolumeclaims") => {
                self.check_claim_limits(ns, v)?;
                protect(v, CLAIM);
            }
            ("", "persistentvolumes") => protect(v, VOLUME),
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
            ("apiextensions.k8s.io", "customresourcedefinitions") => crd::admit(self, None, v, &self.now())?,
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
            // The plugin DefaultTolerationSeconds is about updates, too.
            ("", "pods", None) => crate::defaults::tolerate(v, &self.settings.admission),
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
            ("apiextensions.k8s.io", "customresourcedefinitions", None) => crd::admit(self, Some(old), v, &self.now())?,
            _ => {}
        }
        Ok(())
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
        Ok(())
    }

    /// After a write: `object` is what is stored now, `None` when it is gone.
    pub(super) fn written(&self, r: &Resource, object: Option<&Arc<Object>>) {
        if is_definition(r) {
            crd::changed(self);
        } else if object.is_none() && r.custom.is_some() {
            crd::emptied(self, r);
        }
    }

    /// The cluster address and node ports of a service.
    fn allocate(&self, call: &mut Call, r: &Resource, old: Option<&Value>, v: &mut Value) -> Result<(), Status> {
        let name = text(v, "/metadata/name").to_owned();
        let kind = text(v, "/spec/type").to_owned();
        let invalid = |field: &str, value: &Value, why: &str| {
            Err(Status::invalid(
                "",
                "Service",
                &name,
                vec![Cause::invalid(field, value, why)],
            ))
        };
        let spec = child(v, "spec");
        if kind == "ExternalName" {
            for k in [
                "clusterIP",
                "clusterIPs",
                "ipFamilies",
                "ipFamilyPolicy",
                "internalTrafficPolicy",
            ] {
                spec.remove(k);
            }
            return Ok(());
        }
        let mut used_addresses = BTreeSet::new();
        let mut used_ports = BTreeSet::new();
        for o in self.store.list(&r.storage, None, None).objects {
            if old.is_some_and(|old| text(old, "/metadata/uid") == text(&o.value, "/metadata/uid")) {
                continue;
            }
            used_addresses.insert(text(&o.value, "/spec/clusterIP").to_owned());
            for p in o.value["spec"]["ports"].as_array().into_iter().flatten() {
                used_ports.extend(p["nodePort"].as_u64());
            }
        }
        let asked = spec
            .get("clusterIP")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let before = old
            .map(|o| text(o, "/spec/clusterIP").to_owned())
            .filter(|s| !s.is_empty());
        let address = match (asked.as_str(), before) {
            ("", Some(b)) => b,
            (a, Some(b)) if a != b && b != "None" => {
                return invalid("spec.clusterIPs[0]", &json!([a]), "may not change once set");
            }
            ("", None) => {
                // A random start spreads addresses, as upstream's allocator does; then the next free one.
                let start = call.once("cluster address", || self.random_below(65_000));
                let free = (0..65_000)
                    .map(|i| 10 + (start + i) % 65_000)
                    .map(|n| Ipv4Addr::from(SERVICE_NET + n).to_string());
                match free.into_iter().find(|a| !used_addresses.contains(a)) {
                    Some(a) => a,
                    None => return Err(Status::internal("failed to allocate IP: range is full")),
                }
            }
            (a, _) => {
                if a != "None" && used_addresses.contains(a) {
                    return invalid(
                        "spec.clusterIPs",
                        &json!([a]),
                        "failed to allocate IP: provided IP is already allocated",
                    );
                }
                a.to_owned()
            }
        };
        spec.insert("clusterIPs".into(), json!([address]));
        spec.insert("clusterIP".into(), json!(address));
        if kind == "NodePort" || kind == "LoadBalancer" {
            let had = old.map(|o| o["spec"]["ports"].clone()).unwrap_or_default();
            let mut start = call.once("node port", || self.random_below(NODE_PORTS.1 - NODE_PORTS.0));
            for (i, p) in spec
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
                .enumerate()
            {
                if p["nodePort"].as_u64().is_none_or(|n| n == 0) {
                    let same = had[i]["nodePort"].as_u64().filter(|_| had[i]["port"] == p["port"]);
                    let n = NODE_PORTS.1 - NODE_PORTS.0;
                    let next = || {
                        (0..n)
                            .map(|k| u64::from(NODE_PORTS.0 + (start + k) % n))
                            .find(|x| !used_ports.contains(x))
                    };
                    let port = same.or_else(next).unwrap_or(u64::from(NODE_PORTS.0));
                    p["nodePort"] = json!(port);
                    start += 1;
                }
                used_ports.extend(p["nodePort"].as_u64());
            }
        }
        Ok(())
    }

    /// Where services have their addresses.
    pub(super) fn service_range() -> String {
        format!("{}/16", Ipv4Addr::from(SERVICE_NET))
    }

    /// A free service address is what `kubernetes` in `default` has, at the range's start.
    pub(super) fn first_service_address() -> String {
        Ipv4Addr::from(SERVICE_NET + 1).to_string()
    }
}

fn is_definition(r: &Resource) -> bool {
    r.is("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Sets a label unless it is there.
pub(super) fn label(v: &mut Value, key: &str, value: &str) {
    let labels = metadata(v).entry("labels").or_insert_with(|| json!({}));
    if let Some(m) = labels.as_object_mut() {
        m.entry(key).or_insert_with(|| json!(value));
    }
}
