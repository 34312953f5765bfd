//! Policies: what propagates, what overrides, how kinds are read.

use std::sync::Arc;

use cfn_api::names;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::controllers::hub::{Detect, Hub, Key, Override, Policy, State};
use crate::controllers::namespaces::InMembers;
use crate::controllers::watches::stale;

impl Hub {
    pub(in crate::controllers) fn saw_policy(&self, p: Policy) {
        let key = Key::of(&p.meta);
        if self.keep_policy(p) {
            self.detect.add(Detect::Policy(key));
        }
    }

    /// Takes in a policy; whether that is news.
    pub(in crate::controllers) fn keep_policy(&self, p: Policy) -> bool {
        let key = Key::of(&p.meta);
        let mut state = self.state();
        let old = state.policies.get(&key).cloned();
        if stale(old.as_ref().map(|o| &o.meta), &p.meta) {
            return false;
        }
        let view = |m: &ObjectMeta| {
            (
                m.uid.clone(),
                m.labels.clone(),
                m.annotations.clone(),
                m.finalizers.clone(),
                m.deletion_timestamp.clone(),
            )
        };
        let same = old.is_some_and(|o| o.spec == p.spec && view(&o.meta) == view(&p.meta));
        state.policies.insert(key, Arc::new(p));
        !same
    }

    pub(super) fn lost_policy(&self, key: &Key) {
        self.state().policies.remove(key);
        self.detect.add(Detect::Policy(key.clone()));
    }

    pub(super) fn saw_override(&self, p: Override) {
        let key = Key::of(&p.meta);
        let mut state = self.state();
        let p = Arc::new(p);
        let old = state.overrides.insert(key.clone(), Arc::clone(&p));
        if old.is_some_and(|o| o.spec == p.spec && o.meta.deletion_timestamp == p.meta.deletion_timestamp) {
            return;
        }
        self.overridden(&state, &key);
        drop(state);
        self.detect.add(Detect::Override(key));
    }

    pub(super) fn lost_override(&self, key: &Key) {
        let mut state = self.state();
        state.overrides.remove(key);
        self.overridden(&state, key);
    }

    /// The manifests that a policy may have a word in are made anew.
    pub(super) fn overridden(&self, state: &State, policy: &Key) {
        for key in state
            .bindings
            .keys()
            .filter(|k| policy.ns.is_empty() || k.ns == policy.ns)
        {
            self.bind.add(key.clone());
        }
        if policy.ns.is_empty() {
            for n in state.namespaces.keys() {
                self.namespace.add(InMembers::all(n));
            }
        }
    }

    /// A customization came, changed or went: its kinds are read anew.
    pub(super) fn customized(
        &self,
        name: &str,
        spec: Option<cfn_api::karmada::config::ResourceInterpreterCustomizationSpec>,
    ) {
        let mut state = self.state();
        let kinds = state.rules.set(name, spec);
        for gvk in kinds {
            let keys: Vec<Key> = state
                .templates
                .get(&gvk)
                .into_iter()
                .flat_map(|t| t.objects.keys().cloned())
                .collect();
            for k in keys {
                let binding = Key {
                    name: names::binding_name(&gvk.kind, &k.name),
                    ns: k.ns.clone(),
                };
                self.detect.add(Detect::Template(gvk.clone(), k));
                self.bind.add(binding);
            }
        }
    }
}
