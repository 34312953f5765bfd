//! Templates, and requests for certificates.

use std::collections::BTreeMap;
use std::sync::Arc;

use cfn_api::names;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::api::{DynamicObject, TypeMeta};

use crate::controllers::detector::{CLAIM_ANNOTATIONS, CLAIM_LABELS};
use crate::controllers::hub::{Detect, Gvk, Hub, Key};
use crate::controllers::watches::known;

impl Hub {
    pub(in crate::controllers) fn saw_template(&self, gvk: &Gvk, o: DynamicObject) {
        let key = Key::of(&o.metadata);
        if self.keep_template(gvk, o, same_but_status) {
            self.detect.add(Detect::Template(gvk.clone(), key));
        }
    }

    /// As [`Hub::saw_template`], of an answer to the detector's own claim, which is no news to it.
    pub(in crate::controllers) fn claimed_template(&self, gvk: &Gvk, o: DynamicObject) {
        let key = Key::of(&o.metadata);
        if self.keep_template(gvk, o, same_but_claim) {
            self.detect.add(Detect::Template(gvk.clone(), key));
        }
    }

    /// Takes in a template; whether it is another than before, by `same`. Its Works are looked at again after any change
    /// but of its status: that one is our own.
    fn keep_template(&self, gvk: &Gvk, mut o: DynamicObject, same: fn(&DynamicObject, &DynamicObject) -> bool) -> bool {
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
        if known(old.as_ref().map(|o| &o.metadata), &o.metadata) {
            return false;
        }
        let changed = old.as_ref().is_none_or(|old| !same_but_status(old, &o));
        let news = old.as_ref().is_none_or(|old| !same(old, &o));
        templates.objects.insert(key.clone(), Arc::new(o));
        let binding = Key {
            name: names::binding_name(&gvk.kind, &key.name),
            ns: key.ns,
        };
        let bound = state.bindings.contains_key(&binding);
        drop(state);
        if changed && bound {
            self.bind.add(binding);
        }
        news
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

/// Whether two states of a template differ in nothing that goes to the members, but perhaps in whose it is.
fn same_but_claim(a: &DynamicObject, b: &DynamicObject) -> bool {
    let (m, n) = (&a.metadata, &b.metadata);
    without(m.labels.as_ref(), &CLAIM_LABELS).eq(without(n.labels.as_ref(), &CLAIM_LABELS))
        && without(m.annotations.as_ref(), &CLAIM_ANNOTATIONS).eq(without(n.annotations.as_ref(), &CLAIM_ANNOTATIONS))
        && same_beyond_marks(a, b)
}

fn same_but_status(a: &DynamicObject, b: &DynamicObject) -> bool {
    a.metadata.labels == b.metadata.labels
        && a.metadata.annotations == b.metadata.annotations
        && same_beyond_marks(a, b)
}

/// Whether all but labels, annotations and status is the same.
fn same_beyond_marks(a: &DynamicObject, b: &DynamicObject) -> bool {
    let (m, n) = (&a.metadata, &b.metadata);
    let parts = |v: &'_ DynamicObject| {
        v.data
            .as_object()
            .map(|o| o.len() - usize::from(o.contains_key("status")))
    };
    m.uid == n.uid
        && m.generation == n.generation
        && m.deletion_timestamp == n.deletion_timestamp
        && m.finalizers == n.finalizers
        && m.owner_references == n.owner_references
        && parts(a) == parts(b)
        && a.data
            .as_object()
            .into_iter()
            .flatten()
            .all(|(k, v)| k == "status" || b.data.get(k) == Some(v))
}

fn without<'a>(
    all: Option<&'a BTreeMap<String, String>>,
    names: &'a [&'a str],
) -> impl Iterator<Item = (&'a String, &'a String)> {
    all.into_iter().flatten().filter(|(k, _)| !names.contains(&k.as_str()))
}
