//! Templates, and requests for certificates.

use std::sync::Arc;

use cfn_api::names;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, TypeMeta};

use crate::controllers::hub::{Detect, Gvk, Hub, Key};
use crate::controllers::watches::stale;

impl Hub {
    pub(in crate::controllers) fn saw_template(&self, gvk: &Gvk, mut o: DynamicObject) {
        // Items of a list of built-in kinds do not say what they are.
        let full = gvk.full();
        o.types.get_or_insert_with(|| TypeMeta {
            api_version: full.api_version(),
            kind: full.kind,
        });
        let key = Key::of(&o.metadata);
        let mut state = self.state();
        let templates = state.templates.entry(gvk.clone()).or_default();
        let old = templates.objects.get(&key).cloned();
        if stale(old.as_ref().map(|o| &o.metadata), &o.metadata) {
            return;
        }
        // Our own writes to its status are no news.
        let same = old
            .as_ref()
            .is_some_and(|old| without_status(old) == without_status(&o));
        templates.objects.insert(key.clone(), Arc::new(o));
        let binding = Key {
            name: names::binding_name(&gvk.kind, &key.name),
            ns: key.ns.clone(),
        };
        let bound = state.bindings.contains_key(&binding);
        drop(state);
        if !same {
            self.detect.add(Detect::Template(gvk.clone(), key));
            if bound {
                self.bind.add(binding);
            }
        }
    }

    pub(super) fn lost_template(&self, gvk: &Gvk, key: &Key) {
        if let Some(t) = self.state().templates.get_mut(gvk) {
            t.objects.remove(key);
        }
        self.detect.add(Detect::Template(gvk.clone(), key.clone()));
    }

    pub(super) fn saw_request(&self, r: CertificateSigningRequest) {
        let name = r.metadata.name.clone().unwrap_or_default();
        self.state().requests.insert(name.clone(), Arc::new(r));
        self.signing.add(name);
    }
}

fn without_status(o: &DynamicObject) -> (ObjectMeta, serde_json::Value) {
    let mut meta = o.metadata.clone();
    meta.resource_version = None;
    meta.managed_fields = None;
    let mut data = o.data.clone();
    if let Some(map) = data.as_object_mut() {
        map.remove("status");
    }
    (meta, data)
}
